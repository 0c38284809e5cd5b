//! One postings list in `index`: the series that have one label pair, ascending.
//!
//! ```text
//!   1 to 16 ids     ┌─────────┬────────────┬─────────────────────┬─────┬───────┐
//!                   │ n: 1 B  │ id: varint │ id - previous - 1 … │  …  │ crc32 │
//!                   └─────────┴────────────┴─────────────────────┴─────┴───────┘
//!   more            ┌─────────┬────────────────────────────────────────┬───────┐
//!                   │ 0: 1 B  │ roaring bitmap, portable serialisation │ crc32 │
//!                   └─────────┴────────────────────────────────────────┴───────┘
//! ```
//!
//! Roaring costs 18 bytes for one id, plain deltas two to five; beyond 16 ids, and for the runs
//! that label order makes of ids, roaring wins (20,000 neighbours are one 15-byte run).
//!
//! Invariants: never empty, strictly ascending, every id below the block's count of series. The
//! checksum comes first, since a fifth of all single-bit flips of a bitmap are another valid bitmap.
//! Decoding allocates in proportion to the bytes given (and 256 KiB at most for a lying header).

use roaring::RoaringBitmap;

use super::cursor::{Reader, Write, checked, place_seed, seal};
use crate::error::{DecodeError, DecodeReason};

const STRUCTURE: &str = "postings_list";
/// The most ids that are stored as plain deltas.
pub(crate) const MAX_PLAIN_IDS: usize = 16;
/// The first byte of a list that is a roaring bitmap.
pub(crate) const ROARING_TAG: u8 = 0;
/// Bytes of the smallest list: a count, one id, the checksum.
pub(crate) const MIN_LIST_BYTES: u32 = 6;

/// Appends the list of `ids` (ascending, not empty), which will stand at `offset`.
pub(crate) fn encode_sorted(ids: &[u32], salt: u32, offset: u64, out: &mut Vec<u8>) {
    match u8::try_from(ids.len()) {
        Ok(n) if ids.len() <= MAX_PLAIN_IDS => encode_plain(n, ids.iter().copied(), salt, offset, out),
        _ => {
            let sorted = RoaringBitmap::from_sorted_iter(ids.iter().copied());
            encode_roaring(sorted.unwrap_or_else(|_| ids.iter().copied().collect()), salt, offset, out);
        }
    }
}

/// Appends the list of `ids` (not empty), which will stand at `offset`.
pub(crate) fn encode(ids: RoaringBitmap, salt: u32, offset: u64, out: &mut Vec<u8>) {
    match u8::try_from(ids.len()) {
        Ok(n) if usize::from(n) <= MAX_PLAIN_IDS => encode_plain(n, ids.iter(), salt, offset, out),
        _ => encode_roaring(ids, salt, offset, out),
    }
}

fn encode_plain(n: u8, ids: impl Iterator<Item = u32>, salt: u32, offset: u64, out: &mut Vec<u8>) {
    let from = out.len();
    out.put_u8(n);
    let mut next = 0u32;
    for id in ids {
        out.put_varint(u64::from(id.wrapping_sub(next)));
        next = id.wrapping_add(1);
    }
    seal(out, from, place_seed(salt, offset));
}

fn encode_roaring(mut ids: RoaringBitmap, salt: u32, offset: u64, out: &mut Vec<u8>) {
    let from = out.len();
    out.put_u8(ROARING_TAG);
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
    let n = r.u8()?;
    match n {
        ROARING_TAG => decode_roaring(series, r),
        n if usize::from(n) <= MAX_PLAIN_IDS => decode_plain(n, series, r),
        n => {
            let reason = DecodeReason::AboveMaximum { found: u64::from(n), maximum: MAX_PLAIN_IDS as u64 };
            Err(r.error(reason))
        }
    }
}

fn decode_plain(n: u8, series: u32, mut r: Reader<'_>) -> Result<RoaringBitmap, DecodeError> {
    let mut ids = RoaringBitmap::new();
    let mut next = 0u32;
    for _ in 0..n {
        let id = next.checked_add(r.varint32()?).filter(|&id| id < series);
        let id = id.ok_or_else(|| r.invalid("a series number is not below the count of series"))?;
        ids.insert(id);
        next = id.saturating_add(1);
    }
    r.finish()?;
    Ok(ids)
}

fn decode_roaring(series: u32, mut r: Reader<'_>) -> Result<RoaringBitmap, DecodeError> {
    let mut rest = r.bytes(r.remaining())?;
    let ids = RoaringBitmap::deserialize_from(&mut rest)
        .map_err(|_| r.invalid("the bytes are no valid roaring bitmap"))?;
    if !rest.is_empty() {
        return Err(r.error(DecodeReason::TrailingBytes));
    }
    if ids.len() <= MAX_PLAIN_IDS as u64 {
        return Err(r.invalid("a bitmap of so few series is stored as plain deltas"));
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
        assert!(!ids.is_empty());
        let mut out = Vec::new();
        encode(ids.clone(), PLACE.0, PLACE.1, &mut out);
        assert_eq!(decode(PLACE.0, PLACE.1, u32::MAX, &out), Ok(ids.clone()));
        let mut sorted = Vec::new();
        encode_sorted(&ids.iter().collect::<Vec<u32>>(), PLACE.0, PLACE.1, &mut sorted);
        assert_eq!(sorted, out, "both encoders write the same bytes");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    fn encoded(ids: &[u32]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_sorted(ids, 1, 64, &mut out);
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
        let mut other = Vec::new();
        encode(ids.iter().copied().collect(), 1, 64, &mut other);
        assert_eq!(other, bytes);
    }

    #[test]
    fn sizes_around_the_limit_and_the_ends() {
        for n in [1u32, 2, 15, 16, 17, 100, 70_000] {
            round_trip(&(0..n).collect::<Vec<_>>());
            round_trip(&(0..n).map(|i| i * 3 + 5).collect::<Vec<_>>());
        }
        round_trip(&[u32::MAX - 1]);
        round_trip(&[0, u32::MAX - 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_set_round_trips(ids in prop::collection::btree_set(0u32..200_000, 1..400)) {
            round_trip(&ids.into_iter().collect::<Vec<_>>());
        }
        #[test]
        fn bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&data);
        }
    }

    #[test]
    fn damage_is_found() {
        for ids in [vec![3, 4, 90], (0..40).map(|i| i * i).collect::<Vec<u32>>()] {
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
        assert!(sealed(&[1, 5]).is_ok());
        assert!(sealed(&[1, 5, 5]).is_err(), "trailing");
        assert!(sealed(&[17, 0]).is_err(), "too many plain ids");
        assert!(sealed(&[0]).is_err(), "no bitmap");
        let mut few = vec![0];
        RoaringBitmap::from_iter(0..16).serialize_into(&mut few).unwrap();
        assert!(sealed(&few).is_err(), "a bitmap for so few");
        let mut many = vec![0];
        RoaringBitmap::from_iter(0..17).serialize_into(&mut many).unwrap();
        assert!(sealed(&many).is_ok());
        many.push(0);
        assert!(sealed(&many).is_err(), "trailing");
        let past_the_end = [2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert!(sealed(&past_the_end).is_err());
    }

    #[test]
    fn golden() {
        testing::golden("postings_list", &encoded(&[3, 4, 300]));
    }
}
