//! Merging four blocks of 10,000 series, whose samples interleave, into one; opening included.

use criterion::{BatchSize, Criterion, SamplingMode, Throughput};
use silverback::{Cancel, Db, Selector, SyncPolicy};

use crate::data::{column, load, options, read};

const SERIES: u32 = 10_000;
const ROWS: u32 = 120;
const BLOCKS: u32 = 4;

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
}
