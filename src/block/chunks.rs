//! The `chunks` file as a [`ChunkStore`]: groups are read whole, verified, and the last few kept.
//!
//! A chunk of columns is decoded with its column of timestamps from `times`. Neighbouring series have their chunks in one group, so that a few groups in memory spare most
//! reads and checksums of a scan. What is kept was verified and is our own copy.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::times::Times;
use super::unit::{ReadMode, UnitFile};
use crate::env::Fs;
use crate::error::{DecodeError, Error, Result};
use crate::format::block_meta::BlockMeta;
use crate::format::chunk::{ChunkRef, Coding, EncodedChunk, Encoding, Timestamps};
use crate::format::chunk_group::{self, FRAME_BYTES, HEADER_BYTES};
use crate::format::columns::Payload;
use crate::format::gorilla;
use crate::model::{Columns, TimeRange};
use crate::source::{ChunkPlace, ChunkStore};

/// Groups kept for each block.
const SLOTS: usize = 4;
/// The bytes of a group before its body.
const BODY_AT: u64 = 4;

/// The chunk file of one block, and the timestamps that its chunks share.
#[derive(Debug)]
pub(super) struct Chunks {
    file: UnitFile,
    salt: u32,
    times: Times,
    slots: [Mutex<Option<Arc<Group>>>; SLOTS],
}

/// A verified group.
#[derive(Debug)]
pub(super) struct Group {
    offset: u64,
    body: Vec<u8>,
}

impl Group {
    /// The chunks back to back.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Where the next group stands.
    pub(super) fn end(&self) -> u64 {
        self.offset + (self.body.len() + FRAME_BYTES) as u64
    }
}

impl Chunks {
    /// Opens the file; reads nothing of it.
    pub(super) fn open(
        fs: &dyn Fs,
        path: PathBuf,
        mode: ReadMode,
        meta: &BlockMeta,
        times: Times,
    ) -> Result<Chunks> {
        let file = UnitFile::open(fs, path, mode, meta.chunks_bytes)?;
        Ok(Chunks { file, salt: meta.salt, times, slots: Default::default() })
    }

    /// The file.
    pub(super) fn file(&self) -> &UnitFile {
        &self.file
    }

    /// The columns of timestamps.
    pub(super) fn times(&self) -> &Times {
        &self.times
    }

    /// Verifies the header of the file.
    pub(super) fn check_header(&self) -> Result<()> {
        let header = self.file.read("chunk_group", 0, HEADER_BYTES)?;
        match chunk_group::decode_header(&header).map_err(|e| self.file.corrupt(0, e))? == self.salt {
            true => Ok(()),
            false => Err(self.file.invalid("chunk_group", 0, "the file is of another block")),
        }
    }

    /// Reads and verifies a group.
    pub(super) fn read_group(&self, offset: u64) -> Result<Group> {
        let corrupt = |e| self.file.corrupt(offset, e);
        let first = self.file.read("chunk_group", offset, 4)?;
        let bytes = chunk_group::group_bytes(&first).map_err(corrupt)?;
        let group = self.file.read("chunk_group", offset, bytes)?;
        let body = chunk_group::decode_group(self.salt, offset, &group).map_err(corrupt)?;
        Ok(Group { offset, body: body.to_vec() })
    }

    /// A group, from memory if it was among the last ones.
    fn group(&self, offset: u64) -> Result<Arc<Group>> {
        let slot = self.slots.iter().cycle().nth((offset >> 14) as usize % SLOTS);
        let Some(slot) = slot else { return self.read_group(offset).map(Arc::new) };
        let kept = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(group) = kept.filter(|group| group.offset == offset) {
            return Ok(group);
        }
        let group = Arc::new(self.read_group(offset)?);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&group));
        Ok(group)
    }

    /// The chunk at a place; `act` gets it with a way to name what is wrong in it.
    fn with<R>(
        &self,
        at: ChunkPlace,
        act: impl FnOnce(ChunkRef<'_>, &dyn Fn(DecodeError) -> Error) -> Result<R>,
    ) -> Result<R> {
        let group = self.group(at.group)?;
        let chunk = chunk_group::chunk_at(&group.body, at.within)
            .map_err(|e| self.file.corrupt(at.group + BODY_AT, e))?;
        act(chunk, &|e| self.file.corrupt(at.group + BODY_AT + u64::from(at.within), e))
    }

    /// Appends the rows of a chunk that are in `wanted` to `out`, in strict time order; of a gorilla chunk, all of them.
    /// On an error `out` is as it was.
    pub(super) fn decode_chunk(
        &self,
        chunk: ChunkRef<'_>,
        wanted: TimeRange,
        corrupt: &dyn Fn(DecodeError) -> Error,
        out: &mut Columns,
    ) -> Result<()> {
        if chunk.coding == Coding::Gorilla {
            return gorilla::decode_ordered_into(chunk.payload, out).map_err(corrupt);
        }
        let payload = Payload::decode(chunk.payload).map_err(corrupt)?;
        let column = self.column(&payload, corrupt)?;
        let before = out.len();
        payload.times(&column, &mut out.t).map_err(corrupt)?;
        let t = out.t.get(before..).unwrap_or_default();
        let rows = t.partition_point(|t| *t < wanted.start())..t.partition_point(|t| *t < wanted.end());
        out.t.truncate(before + rows.end);
        out.t.drain(before..before + rows.start.min(rows.end));
        payload.decode_values(rows, &mut out.v).map_err(|e| {
            out.t.truncate(before);
            corrupt(e)
        })
    }

    /// The timestamps and the coded values of a chunk of columns.
    pub(super) fn undecoded<'a>(
        &self,
        chunk: ChunkRef<'a>,
        corrupt: &dyn Fn(DecodeError) -> Error,
    ) -> Result<(Timestamps, &'a [u8])> {
        let payload = Payload::decode(chunk.payload).map_err(corrupt)?;
        let column = self.column(&payload, corrupt)?;
        if payload.is_all_of(column.len()) {
            return Ok((column, payload.values));
        }
        let mut rows = Vec::with_capacity(payload.rows);
        payload.times(&column, &mut rows).map_err(corrupt)?;
        Ok((rows.into(), payload.values))
    }

    /// The column of timestamps that a chunk names.
    fn column(&self, payload: &Payload<'_>, corrupt: &dyn Fn(DecodeError) -> Error) -> Result<Timestamps> {
        self.times.column(payload.column)?.ok_or_else(|| corrupt(payload.without_column()))
    }
}

impl ChunkStore for Chunks {
    fn decode(&self, at: ChunkPlace, wanted: TimeRange, out: &mut Columns) -> Result<()> {
        self.with(at, |chunk, corrupt| self.decode_chunk(chunk, wanted, corrupt, out))
    }

    fn encoded(&self, at: ChunkPlace) -> Result<EncodedChunk> {
        self.with(at, |chunk, corrupt| {
            if chunk.coding == Coding::Gorilla {
                return Ok(EncodedChunk { encoding: Encoding::Gorilla, payload: chunk.payload.to_vec() });
            }
            let (t, values) = self.undecoded(chunk, corrupt)?;
            Ok(EncodedChunk { encoding: Encoding::Columns(t), payload: values.to_vec() })
        })
    }
}
