//! What the benches store and read: databases of made-up series.

use silverback::{Columns, Db, Maintenance, Options, Selector, SyncPolicy, TimeRange};

pub(crate) use crate::made::{START_MS, STEP_MS, counter, labels_of, random};

/// Options for a database that does nothing by itself.
pub(crate) fn options(sync: SyncPolicy) -> Options {
    Options::default().maintenance(Maintenance::Manual).sync(sync).head_memory(16 << 30)
}

/// The rows of a series, from `first` on, each `stride`th.
pub(crate) fn column(series: u32, first: u32, rows: u32, stride: u32) -> Columns {
    let numbers = || (0..rows).map(|i| first + i * stride);
    Columns {
        t: numbers().map(|row| START_MS + i64::from(row) * STEP_MS).collect(),
        v: numbers().map(|row| counter(series, row)).collect(),
    }
}

/// Loads columns as a block.
pub(crate) fn load(db: &Db, series: u32, column: impl Fn(u32) -> Columns) {
    let mut loader = db.bulk_loader().expect("a loader");
    for number in 0..series {
        let columns = column(number);
        let reference = loader.series(&labels_of(number)).expect("a series");
        loader.extend(reference, &columns.t, &columns.v).expect("columns");
    }
    assert_eq!(loader.finish().expect("blocks").series(), u64::from(series));
}

/// Reads what a selector selects: series and samples.
pub(crate) fn read(db: &Db, selector: &Selector) -> (u64, u64) {
    let querier = db.querier(TimeRange::ALL).expect("a querier");
    let (mut series, mut samples, mut columns) = (0, 0, Columns::default());
    for found in querier.select(selector).expect("series") {
        series += 1;
        let mut rows = found.expect("a series").samples();
        loop {
            columns.clear();
            match rows.read_into(&mut columns, 4_096).expect("samples") {
                0 => break,
                read => samples += read as u64,
            }
        }
    }
    (series, samples)
}
