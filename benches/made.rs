//! Labels, times and values that the benches make: deterministic, plain.

use silverback::{Labels, labels};

/// Between two samples of a series.
pub(crate) const STEP_MS: i64 = 15_000;
/// The first sample.
pub(crate) const START_MS: i64 = 1_700_006_400_000;

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
