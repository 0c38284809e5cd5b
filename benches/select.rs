//! Selecting in a block of 1,000,000 series by each kind of matcher, labels included; and decoding.

use criterion::{Criterion, Throughput};
use silverback::{Cancel, Columns, Db, Options, Selector, SyncPolicy, TimeRange};

use crate::data::{column, counter, load, options, read};

const SERIES: u32 = 1_000_000;
const DECODED_SERIES: u32 = 1_000;
const DECODED_ROWS: u32 = 960;
const SUMMED_SERIES: u32 = 1_024;
const SUMMED_ROWS: u32 = 240;

pub(crate) fn benches(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), options(SyncPolicy::EachCommit)).expect("a database");
    load(&db, SERIES, |series| column(series, 0, 2, 1));
    let instance = |i: u32| format!("host-{i:04}.example.com:9100");
    let ten: Vec<String> = (0..10).map(|i| instance(i * 17)).collect();
    let questions = [
        ("exact", format!(r#"{{instance="{}"}}"#, instance(123)), 500),
        ("exact_two", r#"bench_7_total{device="dev3"}"#.to_owned(), 2_000),
        ("alternation", format!(r#"bench_7_total{{instance=~"{}"}}"#, ten.join("|")), 100),
        ("prefix", r#"bench_7_total{instance=~"host-00.*"}"#.to_owned(), 1_000),
        ("suffix", r#"bench_7_total{instance=~".*7.example.com:9100"}"#.to_owned(), 2_000),
        ("negative", r#"bench_7_total{device!~"dev[0-6]",dc!="dc1"}"#.to_owned(), 4_500),
        ("empty_matching", r#"bench_7_total{absent=~"|x",job!=""}"#.to_owned(), 20_000),
    ];
    let mut group = criterion.benchmark_group("select");
    for (name, text, expected) in questions {
        let selector: Selector = text.parse().expect("a selector");
        assert_eq!(read(&db, &selector), (expected, 2 * expected), "{text}");
        group.throughput(Throughput::Elements(expected));
        group.bench_function(name, |b| {
            b.iter(|| {
                let querier = db.querier(TimeRange::ALL).expect("a querier");
                querier.select(&selector).expect("series").filter(Result::is_ok).count()
            })
        });
    }
    group.finish();
    drop(db);
    decode(criterion);
}

/// Reading what a load wrote, and what `compact` made of it.
fn decode(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), options(SyncPolicy::EachCommit)).expect("a database");
    load(&db, DECODED_SERIES, |series| column(series, 0, DECODED_ROWS, 1));
    let samples = u64::from(DECODED_SERIES) * u64::from(DECODED_ROWS);
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(samples)).sample_size(10);
    for form in ["gorilla", "columns"] {
        if form == "columns" {
            db.compact(&Cancel::default()).expect("a merge");
        }
        assert_eq!(read(&db, &Selector::all()), (DECODED_SERIES.into(), samples));
        group.bench_function(format!("batches/1000x960/{form}"), |b| b.iter(|| read(&db, &Selector::all())));
        group.bench_function(format!("samples/1000x960/{form}"), |b| {
            b.iter(|| {
                let querier = db.querier(TimeRange::ALL).expect("a querier");
                let series = querier.select(&Selector::all()).expect("series");
                series.map(|s| s.expect("a series").samples().filter(Result::is_ok).count()).sum::<usize>()
            })
        });
    }
    group.finish();
    drop(db);
    sum(criterion);
}

/// The sum of 1,024 series of 240 samples, from a database that is opened for it; its files are in the system's cache.
fn sum(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), options(SyncPolicy::EachCommit)).expect("a database");
    load(&db, SUMMED_SERIES, |series| column(series, 0, SUMMED_ROWS, 1));
    db.compact(&Cancel::default()).expect("a merge");
    db.close().expect("closed");
    let once = || {
        let db = Db::open_read_only(dir.path(), Options::default()).expect("a database");
        let querier = db.querier(TimeRange::ALL).expect("a querier");
        let (mut sums, mut columns) = (vec![0.0; SUMMED_ROWS as usize], Columns::default());
        for series in querier.select(&Selector::all()).expect("series") {
            columns.clear();
            series.expect("a series").samples().read_into(&mut columns, 4_096).expect("samples");
            sums.iter_mut().zip(&columns.v).for_each(|(sum, v)| *sum += v);
        }
        sums
    };
    let expected = |row| (0..SUMMED_SERIES).map(|series| counter(series, row)).sum::<f64>();
    assert!(once().into_iter().zip((0..SUMMED_ROWS).map(expected)).all(|(a, b)| a == b));
    let mut group = criterion.benchmark_group("sum");
    group.throughput(Throughput::Elements((SUMMED_SERIES * SUMMED_ROWS).into()));
    group.bench_function("1024x240", |b| b.iter(once));
    group.finish();
}
