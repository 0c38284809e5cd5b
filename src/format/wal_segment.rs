//! The header of a write-ahead log segment: which one it is, and where the log ended before it.
//!
//! ```text
//!   0      8 magic "SBWALSEG"
//!   8      4 version = 1
//!   12     8 sequence            the number in the file's name
//!   20     8 first_lsn           no record that is new in this segment has a smaller one
//!   28     4 salt                seeds every record's checksum: crc32(sequence, first_lsn)
//!   32     8 previous sequence   0: the log starts here
//!   40     8 previous end        bytes of the previous segment that count; what follows is dead
//!   48     8 previous lsn        the last LSN of the log before this segment
//!   56     4 crc32 of the 56 bytes above
//!   60       records (wal_record)
//! ```
//!
//! Invariants: `sequence > previous.sequence`, `first_lsn > previous.lsn`; a segment without a
//! predecessor says 0 for its sequence and its end. These 60 bytes stay where they are in every later
//! version, so that a reader can tell a newer file from a damaged one. Cost: one read of 60 bytes.

use crate::error::{DecodeError, DecodeReason};
use crate::format::cursor::{self, Reader, Write};
use crate::model::Lsn;

/// The name of this structure's page.
const STRUCTURE: &str = "wal_segment";
/// The first bytes of every segment.
pub(crate) const MAGIC: &[u8; 8] = b"SBWALSEG";
/// The newest version that this build reads, and the one it writes.
pub(crate) const VERSION: u32 = 1;
/// The length of a header.
pub(crate) const HEADER_BYTES: usize = 60;

/// Where the log ended before a segment: bytes of that segment beyond `bytes` are a dead tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PrevEnd {
    /// The sequence of the previous segment, or 0.
    pub(crate) sequence: u64,
    /// How many of its bytes count, header included.
    pub(crate) bytes: u64,
    /// The last LSN of the log up to there.
    pub(crate) lsn: Lsn,
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// The number in the file's name, from 1.
    pub(crate) sequence: u64,
    /// No record that is new in this segment has a smaller LSN.
    pub(crate) first_lsn: Lsn,
    /// Where the log ended before.
    pub(crate) previous: PrevEnd,
}

impl SegmentHeader {
    /// The seed of every record's checksum, so that a record of another segment does not pass here.
    pub(crate) fn salt(&self) -> u32 {
        let mut bytes = Vec::with_capacity(16);
        bytes.put_u64(self.sequence);
        bytes.put_u64(self.first_lsn.0);
        cursor::crc(0, &bytes)
    }

    /// The header's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u64(self.sequence);
        out.put_u64(self.first_lsn.0);
        out.put_u32(self.salt());
        out.put_u64(self.previous.sequence);
        out.put_u64(self.previous.bytes);
        out.put_u64(self.previous.lsn.0);
        cursor::seal(&mut out, 0, 0);
        out
    }

    /// Reads exactly one header.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, DecodeError> {
        let mut whole = Reader::new(STRUCTURE, bytes);
        let body = cursor::checked(STRUCTURE, 0, whole.bytes(HEADER_BYTES)?)?;
        whole.finish()?;
        let mut r = Reader::new(STRUCTURE, body);
        if r.bytes(MAGIC.len())? != MAGIC {
            return Err(DecodeError::new(STRUCTURE, 0, DecodeReason::BadMagic));
        }
        let version = r.u32()?;
        if version > VERSION {
            return Err(r.error(DecodeReason::NewerVersion { found: version, known: VERSION }));
        }
        if version == 0 {
            return Err(r.invalid("there is no version 0"));
        }
        let (sequence, first_lsn, salt) = (r.u64()?, Lsn(r.u64()?), r.u32()?);
        let previous = PrevEnd { sequence: r.u64()?, bytes: r.u64()?, lsn: Lsn(r.u64()?) };
        r.finish()?;
        let header = SegmentHeader { sequence, first_lsn, previous };
        header.validate(salt)?;
        Ok(header)
    }

    fn validate(&self, salt: u32) -> Result<(), DecodeError> {
        let invalid = |offset, what| Err(DecodeError::new(STRUCTURE, offset, DecodeReason::Invalid(what)));
        if self.sequence <= self.previous.sequence {
            return invalid(12, "the sequence is not above that of the previous segment");
        }
        if self.first_lsn <= self.previous.lsn {
            return invalid(20, "the first LSN is not above the last of the previous segment");
        }
        if salt != self.salt() {
            return invalid(28, "the salt is not that of this sequence and first LSN");
        }
        let has_predecessor = self.previous.sequence > 0;
        if has_predecessor != (self.previous.bytes >= HEADER_BYTES as u64) {
            return invalid(40, "the previous segment's end does not fit its sequence");
        }
        if !has_predecessor && self.previous.bytes > 0 {
            return invalid(40, "a segment without a predecessor names an end of it");
        }
        Ok(())
    }
}

/// The property that fuzzing checks: what is accepted is written back byte for byte.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(header) = SegmentHeader::decode(data) {
        assert_eq!(header.encode(), data, "a header was accepted in another form");
    }
    // The checksum stops nearly everything: seal the bytes, so that what is behind it is reached.
    if let Some(body) = data.get(..HEADER_BYTES - 4) {
        let mut sealed = body.to_vec();
        cursor::seal(&mut sealed, 0, 0);
        if let Ok(header) = SegmentHeader::decode(&sealed) {
            assert_eq!(header.encode(), sealed, "a header was accepted in another form");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DecodeReason;
    use crate::format::testing;
    use proptest::prelude::*;

    fn example() -> SegmentHeader {
        SegmentHeader {
            sequence: 3,
            first_lsn: Lsn(42),
            previous: PrevEnd { sequence: 2, bytes: 1_000, lsn: Lsn(41) },
        }
    }

    fn resealed(change: impl FnOnce(&mut Vec<u8>)) -> Result<SegmentHeader, DecodeError> {
        let mut bytes = example().encode();
        bytes.truncate(HEADER_BYTES - 4);
        change(&mut bytes);
        cursor::seal(&mut bytes, 0, 0);
        SegmentHeader::decode(&bytes)
    }

    #[test]
    fn golden() {
        testing::golden("wal_segment", &example().encode());
    }

    #[test]
    fn damage_is_refused() {
        let bytes = example().encode();
        assert_eq!(bytes.len(), HEADER_BYTES);
        testing::truncations_fail(&bytes, SegmentHeader::decode);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(SegmentHeader::decode(&longer).unwrap_err().reason, DecodeReason::TrailingBytes);
        fuzz(&bytes);
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let newer = resealed(|b| b[8] = 2).unwrap_err();
        assert_eq!(newer.reason, DecodeReason::NewerVersion { found: 2, known: 1 });
        assert!(matches!(resealed(|b| b[8] = 0).unwrap_err().reason, DecodeReason::Invalid(_)));
        assert_eq!(resealed(|b| b[0] = b'X').unwrap_err().reason, DecodeReason::BadMagic);
    }

    #[test]
    fn fields_that_contradict_each_other_are_refused() {
        assert!(resealed(|_| ()).is_ok());
        assert!(resealed(|b| b[12] = 2).is_err(), "the sequence of its predecessor");
        assert!(resealed(|b| b[20] = 41).is_err(), "the LSN of its predecessor");
        assert!(resealed(|b| b[28] ^= 1).is_err(), "another salt");
        assert!(resealed(|b| b[40..48].fill(0)).is_err(), "a predecessor without an end");
        assert!(resealed(|b| b[32] = 0).is_err(), "an end without a predecessor");
        assert!(
            resealed(|b| {
                b[32..48].fill(0);
                b[40] = 1;
            })
            .is_err(),
            "an end below a header's length without a predecessor"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn round_trip(sequence in 2u64.., back in 1u64.., bytes in 60u64.., lsn in 0u64..u64::MAX) {
            let header = SegmentHeader {
                sequence,
                first_lsn: Lsn(lsn).next(),
                previous: PrevEnd { sequence: sequence - 1 - back % (sequence - 1), bytes, lsn: Lsn(lsn) },
            };
            let header = match header.previous.sequence {
                0 => SegmentHeader { previous: PrevEnd { bytes: 0, ..header.previous }, ..header },
                _ => header,
            };
            prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        }
    }
}
