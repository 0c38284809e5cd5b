//! The frame around one record of the write-ahead log.
//!
//! ```text
//!   0      4 len          bytes of payload, at most 64 MiB
//!   4      1 kind         1 commit, 2 metadata, 3 restated metadata, 4 close; never 0
//!   5      8 lsn
//!   13     8 synced_lsn   every record up to this LSN was durable when this one was written
//!   21   len payload      by kind: wal_commit, wal_metadata, wal_metadata, nothing
//!   +0     4 crc32 of all of the above, seeded with the segment's salt
//!   +4     1 end = 0x5a   never zero
//! ```
//!
//! Space that was reserved and not written yet reads as zeros. No frame begins with a zero kind, so
//! zeros are no record; and no frame ends with a zero byte, so a frame that was written short, even
//! by one byte, is no record either: reserved zeros can never complete it. Both matter, since the
//! checksum alone allows each (the CRC of nothing is 0, and a checksum may end in a zero byte).
//!
//! LSNs of commits and metadata strictly increase; restated metadata and a close carry the last one
//! before them again. Cost: 26 bytes a record, one pass of CRC.

use crate::error::{DecodeError, DecodeReason};
use crate::format::cursor::{self, Reader, Write};
use crate::model::Lsn;

/// The name of this structure's page.
const STRUCTURE: &str = "wal_record";
/// The largest payload.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 67_108_864;
/// The bytes before the payload.
pub(crate) const PREFIX_BYTES: usize = 21;
/// The bytes behind the payload: checksum and end byte.
pub(crate) const SUFFIX_BYTES: usize = 5;
/// The last byte of every frame.
pub(crate) const END: u8 = 0x5a;

/// What a record's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// One commit (`wal_commit`).
    Commit,
    /// Metadata that is new (`wal_metadata`).
    Metadata,
    /// Metadata that an earlier segment held too (`wal_metadata`), so that this one is self-contained.
    Restated,
    /// Nothing: the log was closed, and everything before is durable.
    Close,
}

impl RecordKind {
    /// The code on disk.
    fn code(self) -> u8 {
        match self {
            RecordKind::Commit => 1,
            RecordKind::Metadata => 2,
            RecordKind::Restated => 3,
            RecordKind::Close => 4,
        }
    }

    fn from_code(code: u8) -> Option<RecordKind> {
        match code {
            1 => Some(RecordKind::Commit),
            2 => Some(RecordKind::Metadata),
            3 => Some(RecordKind::Restated),
            4 => Some(RecordKind::Close),
            _ => None,
        }
    }

    /// Whether a record of this kind has an LSN of its own, above every one before it.
    pub(crate) fn is_new(self) -> bool {
        matches!(self, RecordKind::Commit | RecordKind::Metadata)
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// What the payload is.
    pub(crate) kind: RecordKind,
    /// Its place in the order of commits.
    pub(crate) lsn: Lsn,
    /// Records up to this one were durable when this one was written.
    pub(crate) synced_lsn: Lsn,
    /// What it holds.
    pub(crate) payload: &'a [u8],
}

/// What a frame says of itself before its checksum can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// What the payload is.
    pub(crate) kind: RecordKind,
    /// Its place in the order of commits.
    pub(crate) lsn: Lsn,
    /// Records up to this one were durable when this one was written.
    pub(crate) synced_lsn: Lsn,
    /// The length of the payload.
    pub(crate) payload_bytes: usize,
}

impl Prefix {
    /// Reads the first bytes of a frame, unverified: to find out how many bytes to read and verify.
    pub(crate) fn peek(bytes: &[u8]) -> Result<Prefix, DecodeError> {
        let mut r = Reader::new(STRUCTURE, bytes);
        let found = r.u32()?;
        let payload_bytes = usize::try_from(found).ok().filter(|n| *n <= MAX_PAYLOAD_BYTES);
        let Some(payload_bytes) = payload_bytes else {
            let reason =
                DecodeReason::AboveMaximum { found: u64::from(found), maximum: MAX_PAYLOAD_BYTES as u64 };
            return Err(DecodeError::new(STRUCTURE, 0, reason));
        };
        let Some(kind) = RecordKind::from_code(r.u8()?) else {
            return Err(DecodeError::new(STRUCTURE, 4, DecodeReason::Invalid("no such kind of record")));
        };
        let (lsn, synced_lsn) = (Lsn(r.u64()?), Lsn(r.u64()?));
        if synced_lsn > lsn || (kind.is_new() && synced_lsn == lsn) {
            let what = "the record claims that what follows it was durable";
            return Err(DecodeError::new(STRUCTURE, 13, DecodeReason::Invalid(what)));
        }
        Ok(Prefix { kind, lsn, synced_lsn, payload_bytes })
    }

    /// The length of the whole frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        PREFIX_BYTES + self.payload_bytes + SUFFIX_BYTES
    }
}

impl<'a> Record<'a> {
    /// Appends the frame. The caller keeps the payload within [`MAX_PAYLOAD_BYTES`].
    pub(crate) fn encode(&self, salt: u32, out: &mut Vec<u8>) {
        let from = out.len();
        out.reserve(PREFIX_BYTES + self.payload.len() + SUFFIX_BYTES);
        out.put_u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        out.put_u8(self.kind.code());
        out.put_u64(self.lsn.0);
        out.put_u64(self.synced_lsn.0);
        out.extend_from_slice(self.payload);
        cursor::seal(out, from, salt);
        out.put_u8(END);
    }

    /// Reads the frame at the start of `bytes`; more may follow it. Says how long it is.
    pub(crate) fn decode(salt: u32, bytes: &'a [u8]) -> Result<(Record<'a>, usize), DecodeError> {
        let prefix = Prefix::peek(bytes)?;
        let mut r = Reader::new(STRUCTURE, bytes);
        let body = cursor::checked(STRUCTURE, salt, r.bytes(prefix.frame_bytes() - 1)?)?;
        if r.u8()? != END {
            let end = r.offset() as u64 - 1;
            let what = "the frame does not end with its end byte";
            return Err(DecodeError::new(STRUCTURE, end, DecodeReason::Invalid(what)));
        }
        let payload = body.get(PREFIX_BYTES..).unwrap_or_default();
        let Prefix { kind, lsn, synced_lsn, .. } = prefix;
        Ok((Record { kind, lsn, synced_lsn, payload }, r.offset()))
    }
}

/// The property that fuzzing checks: what is accepted is written back byte for byte.
pub(crate) fn fuzz(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else {
        return;
    };
    let check = |bytes: &[u8]| {
        if let Ok((record, n)) = Record::decode(u32::from(*seed), bytes) {
            let mut again = Vec::new();
            record.encode(u32::from(*seed), &mut again);
            assert_eq!(Some(&*again), bytes.get(..n), "a record was accepted in another form");
        }
    };
    check(bytes);
    // The same with a right length, checksum and end, so that what is behind them is reached.
    if let Some((prefix, payload)) = bytes.split_at_checked(PREFIX_BYTES) {
        let mut sealed = Vec::new();
        sealed.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        sealed.extend_from_slice(prefix.get(4..).unwrap_or_default());
        sealed.extend_from_slice(payload);
        cursor::seal(&mut sealed, 0, u32::from(*seed));
        sealed.put_u8(END);
        check(&sealed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing;
    use proptest::prelude::*;

    const SALT: u32 = 0x1234_5678;

    fn example() -> Vec<u8> {
        let mut out = Vec::new();
        Record { kind: RecordKind::Metadata, lsn: Lsn(7), synced_lsn: Lsn(5), payload: b"payload" }
            .encode(SALT, &mut out);
        out
    }

    #[test]
    fn golden() {
        testing::golden("wal_record", &example());
    }

    #[test]
    fn damage_is_refused() {
        let bytes = example();
        testing::truncations_fail(&bytes, |b| Record::decode(SALT, b).map(|(r, _)| r.lsn));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(SALT, &bad).is_err(), "bit {bit}");
        }
        assert!(Record::decode(SALT + 1, &bytes).is_err(), "the salt of another segment");
        let mut fuzzed = vec![0x78];
        fuzzed.extend_from_slice(&bytes);
        fuzz(&fuzzed);
    }

    #[test]
    fn zeros_are_no_record_and_complete_none() {
        assert!(Record::decode(0, &[0; 64]).is_err());
        // Whatever the payload is, a frame that was cut short and padded with zeros is refused.
        for n in 0..2_000u64 {
            let mut bytes = Vec::new();
            Record { kind: RecordKind::Commit, lsn: Lsn(n + 1), synced_lsn: Lsn(0), payload: &[] }
                .encode(0, &mut bytes);
            let last = bytes.len() - 1;
            bytes[last] = 0;
            bytes.extend_from_slice(&[0; 8]);
            assert!(Record::decode(0, &bytes).is_err(), "record {n}");
        }
    }

    #[test]
    fn the_length_is_bounded_before_anything_is_read() {
        let mut bytes = example();
        bytes[..4].copy_from_slice(&67_108_864u32.to_le_bytes());
        assert_eq!(Record::decode(SALT, &bytes).unwrap_err().reason, DecodeReason::Truncated);
        bytes[..4].copy_from_slice(&67_108_865u32.to_le_bytes());
        let reason = DecodeReason::AboveMaximum { found: 67_108_865, maximum: 67_108_864 };
        assert_eq!(Record::decode(SALT, &bytes).unwrap_err().reason, reason);
    }

    #[test]
    fn kinds_and_lsns_must_make_sense() {
        let with = |kind: u8, lsn: u8, synced: u8| {
            let mut bytes = example();
            bytes.truncate(bytes.len() - SUFFIX_BYTES);
            (bytes[4], bytes[5], bytes[13]) = (kind, lsn, synced);
            cursor::seal(&mut bytes, 0, SALT);
            bytes.push(END);
            Record::decode(SALT, &bytes).map(|(r, _)| r.kind)
        };
        assert!(with(0, 7, 5).is_err() && with(5, 7, 5).is_err());
        assert_eq!(with(1, 7, 6), Ok(RecordKind::Commit));
        assert!(with(1, 7, 7).is_err(), "a commit cannot be durable before it is written");
        assert_eq!(with(4, 7, 7), Ok(RecordKind::Close));
        assert!(with(4, 7, 8).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn round_trip(lsn in 1u64.., salt: u32, code in 1u8..=4, payload: Vec<u8>, rest: Vec<u8>) {
            let kind = RecordKind::from_code(code).unwrap();
            let record = Record { kind, lsn: Lsn(lsn), synced_lsn: Lsn(lsn / 2), payload: &payload };
            let mut bytes = Vec::new();
            record.encode(salt, &mut bytes);
            let n = bytes.len();
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(Record::decode(salt, &bytes), Ok((record, n)));
        }
    }
}
