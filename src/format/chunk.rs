//! One chunk: a byte that says how its samples are coded, and the coded samples.
//!
//! ```text
//!   kind:4 encoding:4 │ payload_bytes:varint │ payload
//!          1 gorilla                           timestamps and values     (format-spec/gorilla.md)
//!          2 columns                           values, and where in `times` the timestamps are    (format-spec/columns.md)
//!   0 float; others reserved for histograms
//! ```
//!
//! Chunks stand back to back in the body of a `chunk_group`, whose checksum covers them: a chunk has
//! none of its own. A chunk says neither its time range nor its series: the index does.
//!
//! In memory, an [`EncodedChunk`] of encoding `columns` has its timestamps with it: where they stand is a matter
//! of the block that it comes from, or goes to.
//!
//! **Invariants.** A payload is at most [`MAX_PAYLOAD_BYTES`] long, which the largest gorilla payload is not.
//! What this version cannot read is refused by name. Whether times ascend is not a matter of the
//! bytes of a gorilla payload: [`gorilla::decode_ordered_into`] checks it for those who rely on it.

use std::hash::BuildHasher;
use std::ops::Deref;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::error::{DecodeError, DecodeReason};
use crate::format::columns::{self, values};
use crate::format::cursor::{Reader, Write};
use crate::format::gorilla;
use crate::model::Columns;

const STRUCTURE: &str = "chunk";

/// Encoding 1: `gorilla`.
const ENCODING_GORILLA: u8 = 1;
/// Encoding 2: `columns`.
const ENCODING_COLUMNS: u8 = 2;
/// Value kind 0, in the upper four bits: floats. Others are reserved.
const KIND_FLOAT: u8 = 0;
/// The largest payload. 65,535 rows of the worst kind take less than 1,200,000 bytes in `gorilla`, and in `columns`.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 2_097_152;
/// The largest chunk: the byte before, a length of four bytes, the payload.
pub(crate) const MAX_CHUNK_BYTES: usize = 2_097_157;

/// Timestamps that chunks share, and what is known of them from one look at all: whoever meets them again in the next chunk need not look.
#[derive(Clone, Debug)]
pub(crate) struct Timestamps {
    t: Arc<[i64]>,
    digest: u64,
    ascend: bool,
}

impl Timestamps {
    fn new(t: Arc<[i64]>) -> Timestamps {
        let digest = FixedState::default().hash_one(&*t);
        let ascend = t.iter().zip(t.iter().skip(1)).all(|(a, b)| a < b);
        Timestamps { t, digest, ascend }
    }

    /// The same for the same timestamps, in this process.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Whether each is above the one before.
    pub(crate) fn ascend(&self) -> bool {
        self.ascend
    }
}

impl From<Vec<i64>> for Timestamps {
    fn from(t: Vec<i64>) -> Timestamps {
        Timestamps::new(t.into())
    }
}

impl From<&[i64]> for Timestamps {
    fn from(t: &[i64]) -> Timestamps {
        Timestamps::new(t.into())
    }
}

impl Deref for Timestamps {
    type Target = [i64];

    fn deref(&self) -> &[i64] {
        &self.t
    }
}

impl PartialEq for Timestamps {
    fn eq(&self, other: &Timestamps) -> bool {
        Arc::ptr_eq(&self.t, &other.t) || self.t == other.t
    }
}

impl Eq for Timestamps {}

/// How a chunk in memory is coded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `gorilla`: timestamps and values in one bit stream.
    Gorilla,
    /// `columns`: the payload is a column of values; these are the timestamps.
    Columns(Timestamps),
}

/// How a stored chunk is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Coding {
    /// `gorilla`.
    Gorilla,
    /// `columns`.
    Columns,
}

/// One chunk in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EncodedChunk {
    /// How the payload is coded.
    pub(crate) encoding: Encoding,
    /// The coded samples.
    pub(crate) payload: Vec<u8>,
}

/// One chunk as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRef<'a> {
    /// How the payload is coded.
    pub(crate) coding: Coding,
    /// The coded samples.
    pub(crate) payload: &'a [u8],
}

impl EncodedChunk {
    /// The number of rows that the chunk says it has.
    pub(crate) fn rows(&self) -> Result<u32, DecodeError> {
        match &self.encoding {
            Encoding::Gorilla => gorilla::rows(&self.payload),
            Encoding::Columns(t) => Ok(u32::try_from(t.len()).unwrap_or(u32::MAX)),
        }
    }

    /// Appends all rows to `out`; on an error `out` is as it was.
    pub(crate) fn decode_into(&self, out: &mut Columns) -> Result<(), DecodeError> {
        match &self.encoding {
            Encoding::Gorilla => gorilla::decode_into(&self.payload, out),
            Encoding::Columns(t) => {
                values::decode(&self.payload, t.len(), 0..t.len(), &mut out.v)?;
                out.t.extend_from_slice(t);
                Ok(())
            }
        }
    }

    /// Appends the first `rows` rows to `out`; fewer in the chunk are an error, more are not looked
    /// at. On an error `out` is as it was.
    pub(crate) fn decode_rows_into(&self, rows: u32, out: &mut Columns) -> Result<(), DecodeError> {
        let Encoding::Columns(t) = &self.encoding else {
            return gorilla::decode_rows_into(&self.payload, rows, out);
        };
        let Some(first) = t.get(..usize::try_from(rows).unwrap_or(usize::MAX)) else {
            let reason = DecodeReason::Invalid("a chunk has fewer rows than were counted");
            return Err(DecodeError::new(STRUCTURE, 0, reason));
        };
        values::decode(&self.payload, t.len(), 0..first.len(), &mut out.v)?;
        out.t.extend_from_slice(first);
        Ok(())
    }
}

impl<'a> ChunkRef<'a> {
    /// A gorilla chunk.
    pub(crate) fn gorilla(payload: &'a [u8]) -> ChunkRef<'a> {
        ChunkRef { coding: Coding::Gorilla, payload }
    }

    /// Appends the bytes on disk to `out`. The payload is at most [`MAX_PAYLOAD_BYTES`] long, as one
    /// of any encoder here is.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        assert!(self.payload.len() <= MAX_PAYLOAD_BYTES, "a chunk's payload is above its maximum");
        let encoding = match self.coding {
            Coding::Gorilla => ENCODING_GORILLA,
            Coding::Columns => ENCODING_COLUMNS,
        };
        out.put_u8(KIND_FLOAT << 4 | encoding);
        out.put_sized(self.payload);
    }

    /// Reads one chunk and leaves `r` after it. The payload is not looked into.
    pub(crate) fn decode(r: &mut Reader<'a>) -> Result<ChunkRef<'a>, DecodeError> {
        let start = r.clone();
        let first = r.u8()?;
        if first >> 4 != KIND_FLOAT {
            return Err(start.error(DecodeReason::Unsupported("a chunk of another value kind than float")));
        }
        let coding = match first {
            ENCODING_GORILLA => Coding::Gorilla,
            ENCODING_COLUMNS => Coding::Columns,
            0 => return Err(start.invalid("a chunk has the encoding 0, which is none")),
            _ => return Err(start.error(DecodeReason::Unsupported("a chunk of an unknown encoding"))),
        };
        let payload = r.sized_bytes(MAX_PAYLOAD_BYTES)?;
        Ok(ChunkRef { coding, payload })
    }

    /// The number of rows that the payload says it has.
    #[cfg(test)]
    pub(crate) fn rows(self) -> Result<u32, DecodeError> {
        match self.coding {
            Coding::Gorilla => gorilla::rows(self.payload),
            Coding::Columns => {
                columns::Payload::decode(self.payload).map(|p| u32::try_from(p.rows).unwrap_or(u32::MAX))
            }
        }
    }
}

/// The property that fuzzing checks: a chunk that is accepted is written back as it was; a gorilla payload that decodes has as
/// many rows as it says, the same rows in parts, and passes the check of order exactly if it is ordered.
pub(crate) fn fuzz(data: &[u8]) {
    let mut reader = Reader::new(STRUCTURE, data);
    let Ok(chunk) = ChunkRef::decode(&mut reader) else { return };
    let mut written = Vec::new();
    chunk.encode(&mut written);
    assert_eq!(Some(&*written), data.get(..reader.offset()), "a chunk is not written back as it was");
    assert!(written.len() <= MAX_CHUNK_BYTES);
    match chunk.coding {
        Coding::Gorilla => fuzz_gorilla(chunk.payload),
        Coding::Columns => columns::fuzz(chunk.payload),
    }
}

fn fuzz_gorilla(payload: &[u8]) {
    let chunk = EncodedChunk { encoding: Encoding::Gorilla, payload: payload.to_vec() };
    let (mut all, mut part, mut ordered) = (Columns::default(), Columns::default(), Columns::default());
    let decoded = chunk.decode_into(&mut all);
    let in_order = gorilla::decode_ordered_into(payload, &mut ordered);
    assert_eq!(in_order.is_ok(), decoded.is_ok() && gorilla::is_ordered(&all.t));
    assert_eq!(ordered.t, if in_order.is_ok() { all.t.as_slice() } else { &[] });
    if decoded.is_ok() {
        let rows = all.len() as u64;
        assert_eq!(chunk.rows().map(u64::from), Ok(rows));
        assert!(u32::try_from(rows / 2).is_ok_and(|half| chunk.decode_rows_into(half, &mut part).is_ok()));
        assert_eq!(Some(&*part.t), all.t.get(..part.len()), "half of the rows");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing;

    fn decode(bytes: &[u8]) -> Result<(Coding, Vec<u8>), DecodeError> {
        let mut r = Reader::new(STRUCTURE, bytes);
        let chunk = ChunkRef::decode(&mut r)?;
        r.finish()?;
        Ok((chunk.coding, chunk.payload.to_vec()))
    }

    fn gorilla_chunk(t: &[i64]) -> EncodedChunk {
        let v: Vec<f64> = t.iter().map(|&t| t as f64).collect();
        EncodedChunk { encoding: Encoding::Gorilla, payload: gorilla::encode(t, &v) }
    }

    #[test]
    fn the_worked_example() {
        let payload = gorilla::encode(&[1_000, 16_000], &[1.0, 1.0]);
        let mut bytes = Vec::new();
        ChunkRef::gorilla(&payload).encode(&mut bytes);
        testing::golden("chunk", &bytes);
        assert_eq!(decode(&bytes), Ok((Coding::Gorilla, payload)));
        testing::truncations_fail(&bytes, decode);
        bytes.push(0);
        assert_eq!(decode(&bytes).unwrap_err().reason, DecodeReason::TrailingBytes);
    }

    #[test]
    fn chunks_round_trip() {
        for rows in [0, 1, 2, 3, 120, 1_024] {
            let chunk = gorilla_chunk(&(0..rows).map(|i| i * 15_000 + i % 7).collect::<Vec<_>>());
            for coding in [Coding::Gorilla, Coding::Columns] {
                let mut bytes = Vec::new();
                ChunkRef { coding, payload: &chunk.payload }.encode(&mut bytes);
                assert_eq!(decode(&bytes), Ok((coding, chunk.payload.clone())));
                fuzz(&bytes);
            }
            assert_eq!(chunk.rows().map(i64::from), Ok(rows));
            assert_eq!(ChunkRef::gorilla(&chunk.payload).rows().map(i64::from), Ok(rows));
        }
    }

    #[test]
    fn every_other_encoding_and_kind_is_refused_by_name() {
        for first in (0..=u8::MAX).filter(|first| ![ENCODING_GORILLA, ENCODING_COLUMNS].contains(first)) {
            let error = decode(&[first, 2, 0, 0]).unwrap_err();
            assert_eq!(error.offset, 0);
            match first {
                0 => assert!(matches!(error.reason, DecodeReason::Invalid(_))),
                _ => assert!(matches!(error.reason, DecodeReason::Unsupported(_)), "{first}"),
            }
        }
    }

    #[test]
    fn a_payload_has_a_maximum() {
        for bytes in [MAX_PAYLOAD_BYTES - 1, MAX_PAYLOAD_BYTES] {
            let payload = vec![7; bytes];
            let mut out = Vec::new();
            ChunkRef::gorilla(&payload).encode(&mut out);
            assert!(out.len() <= MAX_CHUNK_BYTES);
            assert_eq!(decode(&out), Ok((Coding::Gorilla, payload)));
        }
        let mut out = vec![ENCODING_GORILLA];
        out.put_varint(MAX_PAYLOAD_BYTES as u64 + 1);
        let reason = DecodeReason::AboveMaximum { found: 2_097_153, maximum: 2_097_152 };
        assert_eq!(decode(&out).unwrap_err().reason, reason);
    }

    #[test]
    fn the_check_of_order_takes_only_ascending_times_below_the_reserved_one() {
        let check = |t: &[i64]| {
            let mut out = Columns { t: vec![9], v: vec![9.0] };
            let outcome = gorilla::decode_ordered_into(&gorilla_chunk(t).payload, &mut out);
            assert_eq!(
                (out.t.len(), out.v.len()),
                if outcome.is_ok() { (1 + t.len(), 1 + t.len()) } else { (1, 1) }
            );
            outcome.is_ok()
        };
        assert!(check(&[5]) && check(&[i64::MIN, 0, i64::MAX - 1]) && check(&[5, 6, 7]));
        assert!(!check(&[]) && !check(&[5, 5]) && !check(&[5, 6, 4]) && !check(&[5, i64::MAX]));
    }

    #[test]
    fn the_first_rows_alone_can_be_read() {
        let t = [1, 2, 3];
        let columns = EncodedChunk {
            encoding: Encoding::Columns(t[..].into()),
            payload: values::encode(&[1.0, 2.0, 3.0]),
        };
        for chunk in [gorilla_chunk(&t), columns] {
            let mut out = Columns::default();
            assert_eq!(chunk.rows(), Ok(3));
            chunk.decode_rows_into(2, &mut out).unwrap();
            assert_eq!((&*out.t, &*out.v), (&[1, 2][..], &[1.0, 2.0][..]));
            assert!(chunk.decode_rows_into(4, &mut out).is_err());
            assert_eq!((out.t.len(), out.v.len()), (2, 2));
        }
    }
}
