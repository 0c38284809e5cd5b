//! Merging four blocks into one; opening included: of 10,000 series whose samples interleave, and of 1,000 series with 5,103 samples
//! each, one block after the other, that are of columns already.

use std::time::Duration;

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use silverback::{Cancel, Db, Options, Selector, SyncPolicy};

use crate::data::{STEP_MS, column, load, options, read};

const SERIES: u32 = 10_000;
const ROWS: u32 = 120;
const BLOCKS: u32 = 4;
const LONG_SERIES: u32 = 1_000;
const LONG_ROWS: u32 = 5_103;
/// 243 of them, as long as a block of the highest level, hold just the rows of one block.
const SHORT_RANGE: Duration = Duration::from_secs(315);

pub(crate) fn benches(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let original = Db::open(dir.path().join("original"), options(SyncPolicy::Never)).expect("a database");
    for block in 0..BLOCKS {
        load(&original, SERIES, |series| column(series, block, ROWS, BLOCKS));
    }
    assert_eq!(original.stats().blocks, u64::from(BLOCKS));
    let samples = u64::from(SERIES * ROWS * BLOCKS);
    let merge = |name: &str| {
        let copy = dir.path().join(name);
        original.snapshot(&copy).expect("a copy");
        move || {
            let db = Db::open(&copy, options(SyncPolicy::Never)).expect("a database");
            db.compact(&Cancel::default()).expect("a merge");
            (db, copy)
        }
    };
    let (db, _) = merge("check")();
    assert_eq!(db.stats().blocks, 1);
    assert_eq!(read(&db, &Selector::all()), (SERIES.into(), samples));
    drop(db);

    let mut group = criterion.benchmark_group("compact");
    group.throughput(Throughput::Elements(samples)).sample_size(10).sampling_mode(SamplingMode::Flat);
    let mut number = 0;
    group.bench_function("4_blocks_10000x120", |b| {
        b.iter_batched(
            || {
                number += 1;
                merge(&format!("copy-{number}"))
            },
            |merge| merge(),
            BatchSize::PerIteration,
        );
    });
    group.finish();
    adjacent(criterion);
}

/// Options with which all four blocks are in one window of the highest level.
fn wide() -> Options {
    options(SyncPolicy::Never).block_range(SHORT_RANGE * 9)
}

/// Chunks at their target are copied.
fn adjacent(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let narrow = options(SyncPolicy::Never).block_range(SHORT_RANGE);
    let original = Db::open(dir.path().join("original"), narrow).expect("a database");
    let window_ms = i64::from(LONG_ROWS) * STEP_MS;
    // One more, far away, shows that the window of the four is complete.
    for block in [0, 1, 2, 3, 20] {
        load(&original, LONG_SERIES, |series| {
            let mut rows = column(series, 0, if block == 20 { 1 } else { LONG_ROWS }, 1);
            let first = rows.t.first().copied().unwrap_or(0);
            rows.t.iter_mut().for_each(|t| *t += (9 * 2_468 + block) * window_ms - first);
            rows
        });
    }
    original.compact(&Cancel::default()).expect("columns");
    assert_eq!(original.stats().blocks, u64::from(BLOCKS) + 1);
    let samples = u64::from(LONG_SERIES) * u64::from(LONG_ROWS * BLOCKS + 1);
    let mut number = 0;
    let mut merge = || {
        number += 1;
        let copy = dir.path().join(format!("copy-{number}"));
        original.snapshot(&copy).expect("a copy");
        move || {
            let db = Db::open(&copy, wide()).expect("a database");
            db.compact(&Cancel::default()).expect("a merge");
            (db, copy)
        }
    };
    let (db, _) = merge()();
    assert_eq!(db.stats().blocks, 2);
    assert_eq!(read(&db, &Selector::all()), (LONG_SERIES.into(), samples));
    drop(db);
    let mut group = criterion.benchmark_group("compact");
    group.throughput(Throughput::Elements(samples)).sample_size(10).sampling_mode(SamplingMode::Flat);
    group.bench_function("adjacent_4_blocks_1000x5103", |b| {
        b.iter_batched(&mut merge, |merge| merge(), BatchSize::PerIteration);
    });
    group.finish();
}
