//! The payload of a metadata record: type, unit and help of metric families.
//!
//! ```text
//!   count: varint                    at most 65,536
//!   count × family: sized str        not empty, at most 65,535 bytes
//!           type: u8                 0 unknown, 1 counter, 2 gauge, 3 histogram, 4 summary,
//!                                    5 gaugehistogram, 6 info, 7 stateset
//!           unit: sized str          at most 1,024 bytes
//!           help: sized str          at most 65,535 bytes
//! ```
//!
//! A sized str is its length in bytes as a varint, then UTF-8. Families stand in the order in which
//! they were told; if one is told twice, the later entry holds. Equal lists have equal bytes.

use crate::error::DecodeError;
use crate::format::cursor::{Reader, Write};
use crate::model::{MAX_LABEL_VALUE_BYTES, Metadata, MetricType};

/// The name of this structure's page.
const STRUCTURE: &str = "wal_metadata";
/// The most families in one record.
pub(crate) const MAX_FAMILIES: usize = 65_536;
/// The longest family name, in bytes: that of a label value, since a metric name is one.
pub(crate) const MAX_FAMILY_BYTES: usize = 65_535;
/// The longest unit, in bytes.
pub(crate) const MAX_UNIT_BYTES: usize = 1_024;
/// The longest help text, in bytes.
pub(crate) const MAX_HELP_BYTES: usize = 65_535;
/// The least bytes that an entry takes: a name of one byte, and nothing else.
const MIN_ENTRY_BYTES: usize = 5;

const _: () = assert!(MAX_FAMILY_BYTES == MAX_LABEL_VALUE_BYTES);

/// Whether an entry is within the maxima, so that [`encode`] writes what [`decode`] accepts.
pub(crate) fn fits(family: &str, metadata: &Metadata) -> bool {
    !family.is_empty()
        && family.len() <= MAX_FAMILY_BYTES
        && metadata.unit.len() <= MAX_UNIT_BYTES
        && metadata.help.len() <= MAX_HELP_BYTES
}

/// Appends the payload. The caller keeps to [`fits`] and [`MAX_FAMILIES`].
pub(crate) fn encode(families: &[(&str, &Metadata)], out: &mut Vec<u8>) {
    out.put_varint(families.len() as u64);
    for (family, metadata) in families {
        out.put_sized(family.as_bytes());
        out.put_u8(type_code(metadata.metric_type));
        out.put_sized(metadata.unit.as_bytes());
        out.put_sized(metadata.help.as_bytes());
    }
}

/// Reads a whole payload.
pub(crate) fn decode(payload: &[u8]) -> Result<Vec<(&str, Metadata)>, DecodeError> {
    let mut r = Reader::new(STRUCTURE, payload);
    let count = r.count(MAX_FAMILIES)?;
    let mut families = Vec::with_capacity(count.min(r.remaining() / MIN_ENTRY_BYTES));
    for _ in 0..count {
        let family = r.sized_str(MAX_FAMILY_BYTES)?;
        if family.is_empty() {
            return Err(r.invalid("a family has no name"));
        }
        let Some(&metric_type) = MetricType::ALL.get(usize::from(r.u8()?)) else {
            return Err(r.invalid("no such metric type"));
        };
        let unit = r.sized_str(MAX_UNIT_BYTES)?.to_owned();
        let help = r.sized_str(MAX_HELP_BYTES)?.to_owned();
        families.push((family, Metadata { metric_type, unit, help }));
    }
    r.finish()?;
    Ok(families)
}

/// The place of a type in [`MetricType::ALL`].
fn type_code(metric_type: MetricType) -> u8 {
    let place = MetricType::ALL.iter().position(|t| *t == metric_type);
    place.and_then(|i| u8::try_from(i).ok()).unwrap_or(0)
}

/// The property that fuzzing checks: what is accepted is written back byte for byte.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(families) = decode(data) {
        let borrowed: Vec<(&str, &Metadata)> = families.iter().map(|(f, m)| (*f, m)).collect();
        let mut again = Vec::new();
        encode(&borrowed, &mut again);
        assert_eq!(again, data, "metadata was accepted in another form");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DecodeReason;
    use crate::format::testing;
    use proptest::prelude::*;

    fn metadata(metric_type: MetricType, unit: &str, help: &str) -> Metadata {
        Metadata { metric_type, unit: unit.into(), help: help.into() }
    }

    fn encoded(families: &[(&str, &Metadata)]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(families, &mut out);
        out
    }

    #[test]
    fn golden_and_damage() {
        let (up, time) =
            (metadata(MetricType::Gauge, "", "Up?"), metadata(MetricType::Counter, "seconds", "Time."));
        let bytes = encoded(&[("up", &up), ("time_seconds", &time)]);
        testing::golden("wal_metadata", &bytes);
        assert_eq!(decode(&bytes), Ok(vec![("up", up), ("time_seconds", time)]));
        testing::truncations_fail(&bytes, |b| decode(b).map(|families| families.len()));
        // No checksum of its own (the frame has it): a flip is refused, or another valid list.
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fuzz(&bad);
        }
        let trailing: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert_eq!(decode(&trailing).unwrap_err().reason, DecodeReason::TrailingBytes);
    }

    #[test]
    fn limits() {
        let long = |n| "x".repeat(n);
        let check = |family: &str, m: &Metadata| {
            let fits = fits(family, m);
            assert_eq!(decode(&encoded(&[(family, m)])).is_ok(), fits);
            fits
        };
        let gauge = |unit, help| Metadata { metric_type: MetricType::Gauge, unit, help };
        for (n, expected) in [(0, false), (1, true), (65_535, true), (65_536, false)] {
            assert_eq!(check(&long(n), &Metadata::default()), expected, "a name of {n} bytes");
        }
        for (n, expected) in [(1_023, true), (1_024, true), (1_025, false)] {
            assert_eq!(check("f", &gauge(long(n), String::new())), expected, "a unit of {n} bytes");
        }
        for (n, expected) in [(65_534, true), (65_535, true), (65_536, false)] {
            assert_eq!(check("f", &gauge(String::new(), long(n))), expected, "a help of {n} bytes");
        }
        for (n, expected) in [(65_535, true), (65_536, true), (65_537, false)] {
            let bare = Metadata::default();
            let many = vec![("f", &bare); n];
            assert_eq!(decode(&encoded(&many)).is_ok(), expected, "{n} families");
        }
    }

    #[test]
    fn a_count_beyond_the_bytes_allocates_nothing_much() {
        assert_eq!(decode(&[0xff, 0xff, 0x03]).unwrap_err().reason, DecodeReason::Truncated);
        assert!(decode(b"\x01\x01f\x08\x00\x00").is_err(), "no such type");
        assert!(decode(b"\x01\x01\xff\x00\x00\x00").is_err(), "not UTF-8");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn round_trip(list in prop::collection::vec(("[a-zé:]{1,20}", 0usize..8, "[a-z]{0,9}", "\\PC{0,40}"), 0..20)) {
            let list: Vec<(String, Metadata)> = list
                .into_iter()
                .map(|(f, t, unit, help)| (f, Metadata { metric_type: MetricType::ALL[t], unit, help }))
                .collect();
            let borrowed: Vec<(&str, &Metadata)> = list.iter().map(|(f, m)| (f.as_str(), m)).collect();
            let bytes = encoded(&borrowed);
            let back: Vec<(String, Metadata)> =
                decode(&bytes).unwrap().into_iter().map(|(f, m)| (f.to_owned(), m)).collect();
            prop_assert_eq!(back, list);
        }
    }
}
