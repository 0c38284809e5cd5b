//! What the benches store: deterministic, plain.

use silverback::{Columns, Db, Labels, Maintenance, Options, Selector, SyncPolicy, TimeRange, labels};

/// Between two samples of a series.
pub(crate) const STEP_MS: i64 = 15_000;
/// The first sample.
pub(crate) const START_MS: i64 = 1_700_006_400_000;

/// Options for a database that does nothing by itself.
pub(crate) fn options(sync: SyncPolicy) -> Options {
    Options::default().maintenance(Maintenance::Manual).sync(sync).head_memory(16 << 30)
}

/// The labels of a series: 10 of a family, 500 of an instance.
pub(crate) fn labels_of(series: u32) -> Labels {
    let (instance, family) = (series / 500, series % 500 / 10);
    labels!(
        format!("bench_{family}_total"),
        "instance" => format!("host-{instance:04}.example.com:9100"),
        "dc" => format!("dc{}", instance % 4),
        "device" => format!("dev{}", series % 10),
        "job" => "node",
    )
    .expect("the labels are valid")
}

/// A counter that grows unevenly.
pub(crate) fn counter(series: u32, row: u32) -> f64 {
    let wobble = random(u64::from(series) << 32 | u64::from(row)) % 32;
    f64::from(row) * 100.0 + wobble as f64
}

/// A number that looks random, by the finalizer of splitmix64 (Steele, Lea, Flood).
pub(crate) fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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
