//! Opening a database whose samples are all in the log: 1,000 series of 240 samples.
//!
//! Read-only, so that each opening finds the same log: what a writer does besides is a few calls of the system.

use criterion::{Criterion, Throughput};
use silverback::{Db, Selector, SyncPolicy};

use crate::data::{START_MS, STEP_MS, counter, labels_of, options, read};

const SERIES: u32 = 1_000;
const ROWS: u32 = 240;

pub(crate) fn benches(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path(), options(SyncPolicy::Never)).expect("a database");
    let labels: Vec<_> = (0..SERIES).map(labels_of).collect();
    let mut app = db.appender().expect("an appender");
    for row in 0..ROWS {
        for (labels, series) in labels.iter().zip(0..) {
            let t = START_MS + i64::from(row) * STEP_MS;
            app.append(labels, t, counter(series, row)).expect("a sample");
        }
        app.commit().expect("a commit");
    }
    db.close().expect("the log is written");
    let reopen = || Db::open_read_only(dir.path(), options(SyncPolicy::Never)).expect("a database");
    let samples = u64::from(SERIES * ROWS);
    assert_eq!(read(&reopen(), &Selector::all()), (SERIES.into(), samples));

    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(samples)).sample_size(10);
    group.bench_function("1000x240", |b| b.iter(|| reopen().open_report().replayed_samples));
    group.finish();
}
