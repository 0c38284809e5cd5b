//! The file `times`: columns of timestamps that the series of a block share, each under its own checksum.
//!
//! ```text
//!   times    column │ column │ …
//!   column   body_bytes:u32 │ rows:varint │ packed timestamps │ crc:u32
//! ```
//!
//! A column is the read unit; a chunk names it by its offset. The file has no header: it is empty if no chunk is of
//! columns, and the checksums, which start from the block's salt and the column's offset, bind it to its block.
//!
//! **Invariants.** Timestamps ascend strictly and are below `i64::MAX`: who has a column need not check them again. The
//! length is checked against a maximum before anything is allocated by it.
//!
//! **Cost.** Regular timestamps take some 30 bytes for a thousand rows, jitter of some milliseconds a byte or less for each.

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{DecodeError, DecodeReason};
use crate::format::columns::MAX_ROWS;
use crate::format::cursor::{Reader, Write, checked, place_seed, seal};
use crate::format::packed::{self, Plan};

const STRUCTURE: &str = "time_column";

/// The largest body; 65,535 rows of the worst kind take less than 600,000 bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1_048_576;
/// The bytes of a column besides its body.
pub(crate) const FRAME_BYTES: usize = 8;
/// The bytes of the length before the body.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Appends a column, which will stand at `offset`: from one to [`MAX_ROWS`] timestamps that ascend.
pub(crate) fn encode(t: &[i64], salt: u32, offset: u64, out: &mut Vec<u8>) {
    assert!(!t.is_empty() && t.len() <= MAX_ROWS, "a column has from 1 to 65,535 rows");
    let x: Vec<u64> = t.iter().map(|t| t.cast_unsigned()).collect();
    let start = out.len();
    let mut body = Vec::new();
    body.put_varint(t.len() as u64);
    Plan::best(&x).encode(&x, &mut body);
    out.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(&body);
    seal(out, start, place_seed(salt, offset));
}

/// The bytes of a whole column, by its first four.
pub(crate) fn column_bytes(first: &[u8]) -> Result<usize, DecodeError> {
    let Some(length) = first.get(..LENGTH_BYTES).map(LittleEndian::read_u32) else {
        return Err(DecodeError::new(STRUCTURE, first.len() as u64, DecodeReason::Truncated));
    };
    match usize::try_from(length) {
        Ok(n) if n <= MAX_BODY_BYTES => Ok(n + FRAME_BYTES),
        _ => {
            let reason =
                DecodeReason::AboveMaximum { found: u64::from(length), maximum: MAX_BODY_BYTES as u64 };
            Err(DecodeError::new(STRUCTURE, 0, reason))
        }
    }
}

/// Verifies the column that was read at `offset`, given exactly its bytes; its timestamps.
pub(crate) fn decode(salt: u32, offset: u64, bytes: &[u8]) -> Result<Vec<i64>, DecodeError> {
    let framed = checked(STRUCTURE, place_seed(salt, offset), bytes)?;
    let mut r = Reader::new(STRUCTURE, framed);
    let stated = r.u32()? as usize;
    if stated != r.remaining() {
        return Err(r.invalid("the column has another length than it says"));
    }
    let rows = r.count(MAX_ROWS)?;
    if rows == 0 {
        return Err(r.invalid("a column has no rows"));
    }
    let mut t: Vec<i64> = Vec::with_capacity(rows);
    packed::decode(&mut r, rows, 0..rows, |_, x| t.extend(x.iter().map(|x| x.cast_signed())))?;
    let ascend = t.iter().zip(t.iter().skip(1)).all(|(a, b)| a < b);
    if !ascend || t.last() == Some(&i64::MAX) {
        return Err(r.invalid("the timestamps of a column do not ascend, or are reserved"));
    }
    r.finish()?;
    Ok(t)
}

/// The property that fuzzing checks: an accepted column, sealed or not, is written back to equal timestamps, and passes at
/// its place only.
pub(crate) fn fuzz(data: &[u8]) {
    const PLACE: (u32, u64) = (7, 4_096);
    let mut sealed = Vec::new();
    sealed.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
    sealed.extend_from_slice(data);
    seal(&mut sealed, 0, place_seed(PLACE.0, PLACE.1));
    for bytes in [data, &sealed] {
        let Ok(t) = decode(PLACE.0, PLACE.1, bytes) else { continue };
        let mut written = Vec::new();
        encode(&t, PLACE.0, PLACE.1, &mut written);
        assert_eq!(column_bytes(&written), Ok(written.len()));
        assert_eq!(decode(PLACE.0, PLACE.1, &written), Ok(t));
        assert!(decode(PLACE.0, PLACE.1 + 1, &written).is_err(), "passes at another place");
        assert!(decode(PLACE.0 + 1, PLACE.1, &written).is_err(), "passes in another file");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::testing;

    #[test]
    fn the_worked_example() {
        let t = [1_000, 16_000, 31_003, 46_000, 61_001];
        let mut bytes = Vec::new();
        encode(&t, 1, 0, &mut bytes);
        testing::golden("time_column", &bytes);
        assert_eq!(decode(1, 0, &bytes).as_deref(), Ok(&t[..]));
        assert_eq!(column_bytes(&bytes), Ok(bytes.len()));
        testing::truncations_fail(&bytes, |bytes| decode(1, 0, bytes));
        testing::bit_flips_fail_or_agree(&bytes, |bytes| decode(1, 0, bytes));
        fuzz(&bytes);
    }

    #[test]
    fn regular_timestamps_take_next_to_nothing() {
        let t: Vec<i64> = (0..1_000).map(|i| 1_600_000_000_000 + 15_000 * i).collect();
        let mut bytes = Vec::new();
        encode(&t, 1, 0, &mut bytes);
        assert!(bytes.len() < 40, "{} bytes", bytes.len());
        assert_eq!(decode(1, 0, &bytes), Ok(t));
    }

    #[test]
    fn times_that_do_not_ascend_or_are_reserved_are_refused() {
        for t in [&[5, 5][..], &[5, 4], &[1, 2, i64::MAX], &[i64::MAX, i64::MIN]] {
            let mut bytes = Vec::new();
            encode(t, 1, 0, &mut bytes);
            assert!(matches!(decode(1, 0, &bytes).unwrap_err().reason, DecodeReason::Invalid(_)));
        }
    }

    #[test]
    fn the_length_has_a_maximum() {
        let first = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
        assert_eq!(column_bytes(&first(MAX_BODY_BYTES)), Ok(MAX_BODY_BYTES + FRAME_BYTES));
        assert!(column_bytes(&first(MAX_BODY_BYTES + 1)).is_err());
        assert!(column_bytes(&[0, 0, 0]).is_err());
        let t: Vec<i64> = (0..65_535).map(|i| (i * i % 7 + i * 9) << 43).collect();
        let mut bytes = Vec::new();
        encode(&t, 1, 0, &mut bytes);
        assert!(bytes.len() < 600_000);
        assert!(decode(1, 0, &bytes) == Ok(t));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn columns_round_trip(steps in proptest::collection::vec(1i64..1 << 40, 1..400), first in -1i64 << 50..1 << 50) {
            let t: Vec<i64> = steps.iter().scan(first, |t, step| { *t += step; Some(*t) }).collect();
            let mut bytes = Vec::new();
            encode(&t, 3, 9, &mut bytes);
            prop_assert_eq!(decode(3, 9, &bytes), Ok(t));
        }
    }
}
