//! Selecting in a block of 1,000,000 series by each kind of matcher, labels included; and decoding.

use criterion::{Criterion, Throughput};
use silverback::{Db, Selector, SyncPolicy, TimeRange};

use crate::data::{column, load, options, read};

const SERIES: u32 = 1_000_000;
const DECODED_SERIES: u32 = 1_000;
const DECODED_ROWS: u32 = 960;

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

fn decode(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), options(SyncPolicy::EachCommit)).expect("a database");
    load(&db, DECODED_SERIES, |series| column(series, 0, DECODED_ROWS, 1));
    let samples = u64::from(DECODED_SERIES) * u64::from(DECODED_ROWS);
    assert_eq!(read(&db, &Selector::all()), (DECODED_SERIES.into(), samples));
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(samples)).sample_size(10);
    group.bench_function("columns/1000x960", |b| b.iter(|| read(&db, &Selector::all())));
    group.bench_function("samples/1000x960", |b| {
        b.iter(|| {
            let querier = db.querier(TimeRange::ALL).expect("a querier");
            let series = querier.select(&Selector::all()).expect("series");
            series.map(|s| s.expect("a series").samples().filter(Result::is_ok).count()).sum::<usize>()
        })
    });
    group.finish();
}
