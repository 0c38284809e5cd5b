//! One postings list in `index`: the series that have one label pair, ascending; more than stand in a `terms_page`.
//!
//! ```text
//!   ┌────────────────────────────────────────┬───────┐
//!   │ roaring bitmap, portable serialisation │ crc32 │
//!   └────────────────────────────────────────┴───────┘
//! ```
//!
//! Up to 16 ids stand in the entry of the pair as plain deltas; beyond that, and for the runs
//! that label order makes of ids, roaring wins (20,000 neighbours are one 15-byte run).
//!
//! Invariants: strictly ascending, every id below the block's count of series. The
//! checksum comes first, since a fifth of all single-bit flips of a bitmap are another valid bitmap.
//! Decoding allocates in proportion to the bytes given (and 256 KiB at most for a lying header).

use roaring::RoaringBitmap;

use super::cursor::{Reader, checked, place_seed, seal};
use crate::error::{DecodeError, DecodeReason};

const STRUCTURE: &str = "postings_list";
/// The most ids that stand in a `terms_page`; a list has more.
pub(crate) const MAX_INLINE_IDS: usize = 16;
/// Bytes of the smallest list: one run, the checksum.
pub(crate) const MIN_LIST_BYTES: u32 = 19;

/// Appends the list of `ids` (more than [`MAX_INLINE_IDS`]), which will stand at `offset`.
pub(crate) fn encode(mut ids: RoaringBitmap, salt: u32, offset: u64, out: &mut Vec<u8>) {
    let from = out.len();
    ids.optimize();
    // Writing into a vector cannot fail.
    let _ = ids.serialize_into(&mut *out);
    seal(out, from, place_seed(salt, offset));
}

/// Decodes the list that stands at `offset` in the index of a block of `series` series.
pub(crate) fn decode(
    salt: u32,
    offset: u64,
    series: u32,
    bytes: &[u8],
) -> Result<RoaringBitmap, DecodeError> {
    let body = checked(STRUCTURE, place_seed(salt, offset), bytes)?;
    let mut r = Reader::new(STRUCTURE, body);
    let mut rest = r.bytes(r.remaining())?;
    let ids = RoaringBitmap::deserialize_from(&mut rest)
        .map_err(|_| r.invalid("the bytes are no valid roaring bitmap"))?;
    if !rest.is_empty() {
        return Err(r.error(DecodeReason::TrailingBytes));
    }
    if ids.len() <= MAX_INLINE_IDS as u64 {
        return Err(r.invalid("so few series stand in the entry of their pair"));
    }
    match ids.max() {
        Some(last) if last < series => Ok(ids),
        _ => Err(r.invalid("a series number is not below the count of series")),
    }
}

/// The most bytes that a list takes in a block of `series` series: what a reader checks before it allocates.
pub(crate) fn maximum_bytes(series: u32) -> u64 {
    // Each container of 65,536 ids costs at most its bitmap and its share of the header.
    128 + u64::from(series).div_ceil(65_536) * 8_208
}

/// The property that fuzzing checks: what is accepted, sealed or not, is written back to an equal set.
pub(crate) fn fuzz(data: &[u8]) {
    const PLACE: (u32, u64) = (7, 4_096);
    let mut sealed = data.to_vec();
    seal(&mut sealed, 0, place_seed(PLACE.0, PLACE.1));
    for bytes in [data, &sealed] {
        let Ok(ids) = decode(PLACE.0, PLACE.1, u32::MAX, bytes) else { continue };
        assert!(ids.len() > MAX_INLINE_IDS as u64);
        let mut out = Vec::new();
        encode(ids.clone(), PLACE.0, PLACE.1, &mut out);
        assert_eq!(decode(PLACE.0, PLACE.1, u32::MAX, &out), Ok(ids));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    fn encoded(ids: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(ids.iter().copied().collect(), 1, 64, &mut out);
        out
    }

    fn round_trip(ids: &[u32]) {
        let bytes = encoded(ids);
        let got = decode(1, 64, u32::MAX, &bytes).unwrap();
        assert_eq!(got.iter().collect::<Vec<_>>(), ids);
        assert!(bytes.len() as u64 <= maximum_bytes(ids.last().unwrap() + 1));
        assert!(bytes.len() >= MIN_LIST_BYTES as usize);
        assert!(decode(1, 65, u32::MAX, &bytes).is_err(), "another place");
        assert!(decode(2, 64, u32::MAX, &bytes).is_err(), "another file");
        let last = *ids.last().unwrap();
        assert!(decode(1, 64, last, &bytes).is_err(), "an id that is not below the count");
        assert!(decode(1, 64, last + 1, &bytes).is_ok());
    }

    #[test]
    fn sizes_around_the_limit_and_the_ends() {
        for n in [17u32, 18, 100, 70_000] {
            round_trip(&(0..n).collect::<Vec<_>>());
            round_trip(&(0..n).map(|i| i * 3 + 5).collect::<Vec<_>>());
            round_trip(&(u32::MAX - n..u32::MAX).collect::<Vec<_>>());
        }
        assert_eq!(encoded(&(0..17).collect::<Vec<u32>>()).len(), MIN_LIST_BYTES as usize);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_set_round_trips(ids in prop::collection::btree_set(0u32..200_000, 17..400)) {
            round_trip(&ids.into_iter().collect::<Vec<_>>());
        }
        #[test]
        fn bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&data);
        }
    }

    #[test]
    fn damage_is_found() {
        for ids in [(3..60).collect(), (0..40).map(|i| i * i).collect::<Vec<u32>>()] {
            let bytes = encoded(&ids);
            testing::truncations_fail(&bytes, |b| decode(1, 64, 10_000, b));
            testing::bit_flips_fail_or_agree(&bytes, |b| decode(1, 64, 10_000, b));
        }
    }

    #[test]
    fn forged_lists_are_refused() {
        let sealed = |body: &[u8]| {
            let mut out = body.to_vec();
            seal(&mut out, 0, place_seed(1, 64));
            decode(1, 64, u32::MAX, &out)
        };
        assert!(sealed(&[]).is_err(), "no byte");
        let mut few = Vec::new();
        RoaringBitmap::from_iter(0..16).serialize_into(&mut few).unwrap();
        assert!(sealed(&few).is_err(), "a bitmap for so few");
        let mut many = Vec::new();
        RoaringBitmap::from_iter(0..17).serialize_into(&mut many).unwrap();
        assert!(sealed(&many).is_ok());
        many.push(0);
        assert!(sealed(&many).is_err(), "trailing");
    }

    #[test]
    fn golden() {
        testing::golden("postings_list", &encoded(&(3..23).chain([300]).collect::<Vec<u32>>()));
    }
}
