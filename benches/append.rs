//! Append by reference and commit: 10 and 100 series, 1, 5 and 100 samples of each in a commit, each policy; and series
//! that are made: 10,000 by their labels, with a sample each, in one commit.
//!
//! The head grows while appends are measured, as it does between two flushes.

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use silverback::{Db, Labels, Selector, SeriesRef, SyncPolicy};

use crate::data::{START_MS, STEP_MS, counter, labels_of, options, read};

pub(crate) fn benches(criterion: &mut Criterion) {
    let policies = [
        ("never", SyncPolicy::Never),
        ("interval", SyncPolicy::Interval(Duration::from_secs(1))),
        ("each_commit", SyncPolicy::EachCommit),
    ];
    let mut group = criterion.benchmark_group("append_commit");
    for (name, policy) in policies {
        for series in [10u32, 100] {
            for rows in [1u32, 5, 100] {
                group.throughput(Throughput::Elements(u64::from(series * rows)));
                group.bench_function(format!("{name}/{series}x{rows}"), |b| {
                    let dir = tempfile::tempdir().expect("a directory");
                    let db = Db::open(dir.path(), options(policy)).expect("a database");
                    let mut app = db.appender().expect("an appender");
                    let first = |n| app.append(&labels_of(n), START_MS, counter(n, 0)).expect("a series");
                    let known: Vec<SeriesRef> = (0..series).map(first).collect();
                    app.commit().expect("a commit");
                    let mut row = 0u32;
                    b.iter(|| {
                        for _ in 0..rows {
                            row += 1;
                            let t = START_MS + i64::from(row) * STEP_MS;
                            for (&series, number) in known.iter().zip(0..) {
                                app.append_ref(series, t, counter(number, row)).expect("a sample");
                            }
                        }
                        app.commit().expect("a commit").appended()
                    });
                    let expected = u64::from(series) * u64::from(row + 1);
                    assert_eq!(read(&db, &Selector::all()), (series.into(), expected));
                });
            }
        }
    }
    group.finish();
    create(criterion);
}

/// Series that are new.
const CREATED: u32 = 10_000;

fn create(criterion: &mut Criterion) {
    let labels: Vec<Labels> = (0..CREATED).map(labels_of).collect();
    let mut group = criterion.benchmark_group("create");
    group.throughput(Throughput::Elements(u64::from(CREATED))).sample_size(10);
    group.bench_function(format!("never/{CREATED}"), |b| {
        let empty = || {
            let dir = tempfile::tempdir().expect("a directory");
            let db = Db::open(dir.path(), options(SyncPolicy::Never)).expect("a database");
            (dir, db)
        };
        let fill = |(dir, db): (tempfile::TempDir, Db)| {
            let mut app = db.appender().expect("an appender");
            for labels in &labels {
                app.append(labels, START_MS, 1.0).expect("a series");
            }
            assert_eq!(app.commit().expect("a commit").appended(), u64::from(CREATED));
            (dir, db)
        };
        b.iter_batched(empty, fill, BatchSize::PerIteration);
    });
    group.finish();
}
