//! Opening a database whose samples are all in the log, in the shapes of Prometheus's benchmark of loading one: batches of
//! series, each with so many samples.
//!
//! Read-only, so that each opening finds the same log: what a writer does besides is a few calls of the system.

use criterion::{Criterion, Throughput};
use silverback::{Db, Selector, SeriesRef, SyncPolicy};

use crate::data::{START_MS, STEP_MS, counter, labels_of, options, read};

/// Batches, series of a batch, samples of a series.
const SHAPES: [(u32, u32, u32); 3] = [(10, 100, 7_200), (10, 10_000, 50), (10, 1_000, 480)];

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    group.sample_size(10);
    for (batches, series, rows) in SHAPES {
        group.throughput(Throughput::Elements(u64::from(batches * series * rows)));
        let dir = tempfile::tempdir().expect("a directory");
        let mut made = false;
        group.bench_function(format!("{batches}x{series}x{rows}"), |b| {
            let reopen = || Db::open_read_only(dir.path(), options(SyncPolicy::Never)).expect("a database");
            // Only if it is asked for.
            if !std::mem::replace(&mut made, true) {
                write(dir.path(), batches, series, rows);
                let expected = (u64::from(batches * series), u64::from(batches * series * rows));
                assert_eq!(read(&reopen(), &Selector::all()), expected);
            }
            b.iter(|| reopen().open_report().replayed_samples);
        });
    }
    group.finish();
}

/// Writes the log: scrape by scrape, a commit for each batch.
fn write(dir: &std::path::Path, batches: u32, series: u32, rows: u32) {
    let db = Db::open(dir, options(SyncPolicy::Never)).expect("a database");
    let mut app = db.appender().expect("an appender");
    let mut known: Vec<Vec<SeriesRef>> = Vec::new();
    for batch in 0..batches {
        let numbers = batch * series..(batch + 1) * series;
        let first = numbers.map(|n| app.append(&labels_of(n), START_MS, counter(n, 0)).expect("a series"));
        known.push(first.collect());
        app.commit().expect("a commit");
    }
    for row in 1..rows {
        for (batch, first) in known.iter().zip((0..).step_by(series as usize)) {
            let t = START_MS + i64::from(row) * STEP_MS;
            let samples: Vec<_> = batch.iter().zip(first..).map(|(s, n)| (*s, counter(n, row))).collect();
            app.append_row(t, &samples);
            app.commit().expect("a commit");
        }
    }
    db.close().expect("the log is written");
}
