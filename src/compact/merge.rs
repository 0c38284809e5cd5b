//! Many sources into one block: the head's flush, and the merge of blocks, are this one function.
//!
//! ```text
//!   pieces of a series   ├─ 120 ─┤ ├─ 120 ─┤ ├── 95 ──┤      ├12┤ ├─ 120 ─┤ ├─ 120 ─┤
//!                                               ├── 80 ──┤
//!   written              copied    copied    merged, re-cut       copied    copied
//!                                            ├─ 94 ─┤├─ 93 ─┤
//! ```
//!
//! A chunk is copied as it is, without decoding, if no other overlaps it, if the range and the
//! deletions leave it whole, and if it is not small. All else goes through the sample merge, which trims,
//! drops what is deleted and lets the highest precedence win, and is cut anew: into chunks of
//! [`CHUNK_ROWS`] while there is plenty, and the rest evenly. A remainder that would make a small
//! chunk takes the next chunk with it, so that merging again and again leaves no crumbs.
//!
//! Memory: the coded chunks of one series, the chunks of it that overlap at one time, one batch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::block::{NewChunk, SeriesSink, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::format::block_meta::BlockMeta;
use crate::format::chunk::{EncodedChunk, Encoding};
use crate::format::gorilla;
use crate::model::{Cancel, Columns, Metadata, TimeRange};
use crate::source::{Piece, SampleMerge, SeriesMerge, Source, visible};

/// Rows of a chunk that is cut here.
pub(crate) const CHUNK_ROWS: usize = 120;
/// A chunk with fewer rows is merged with its neighbours.
const SMALL_ROWS: usize = 60;
/// Rows that are merged at a time.
const BATCH_ROWS: usize = 1_024;

/// What a merge wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Series with at least one sample.
    pub(crate) series: u64,
    /// Samples.
    pub(crate) samples: u64,
    /// Chunks.
    pub(crate) chunks: u64,
}

/// Writes what `sources` hold together in `range` as one block; `None`, and no files, if that is nothing.
pub(crate) fn write(
    sources: &[Arc<dyn Source>],
    range: TimeRange,
    mut writer: Writer,
    cancel: &Cancel,
) -> Result<Option<BlockMeta>> {
    match write_into(sources, range, &mut writer, cancel)?.series {
        0 => {
            writer.discard();
            Ok(None)
        }
        _ => writer.finish().map(Some),
    }
}

/// Gives `sink` what `sources` hold together in `range`: every series that has a sample, and, if
/// there is one, the metadata of all families.
pub(crate) fn write_into(
    sources: &[Arc<dyn Source>],
    range: TimeRange,
    sink: &mut dyn SeriesSink,
    cancel: &Cancel,
) -> Result<Written> {
    let mut merge = SeriesMerge::open(sources, &[], range, None, cancel)?;
    let mut packer = Packer { range, cancel, rows: Columns::default(), chunks: Vec::new() };
    let mut written = Written::default();
    loop {
        cancel.check()?;
        let Some(merged) = merge.next()? else { break };
        packer.pack(visible(merged.parts, range).into())?;
        if packer.chunks.is_empty() {
            continue;
        }
        sink.add(&merged.labels, &packer.chunks)?;
        written.series += 1;
        written.chunks += packer.chunks.len() as u64;
        written.samples += packer.chunks.iter().map(|chunk| u64::from(chunk.rows)).sum::<u64>();
        packer.chunks.clear();
    }
    if written.series > 0 {
        for (name, metadata) in families(sources)? {
            sink.add_family(&name, &metadata)?;
        }
    }
    Ok(written)
}

/// The families of all sources; of several that know one, the highest precedence tells.
fn families(sources: &[Arc<dyn Source>]) -> Result<BTreeMap<String, Metadata>> {
    let mut ascending: Vec<_> = sources.iter().collect();
    ascending.sort_by_key(|source| source.precedence());
    let mut families = BTreeMap::new();
    for source in ascending {
        families.extend(source.families()?);
    }
    Ok(families)
}

/// Makes the pieces of one series into new chunks.
struct Packer<'a> {
    range: TimeRange,
    cancel: &'a Cancel,
    /// Merged rows that are in no chunk yet.
    rows: Columns,
    /// The chunks made so far, of one series.
    chunks: Vec<NewChunk>,
}

impl Packer<'_> {
    /// Fills `chunks` from pieces in order of `min_t`.
    fn pack(&mut self, pieces: Arc<[Piece]>) -> Result<()> {
        let mut rest = 0..pieces.len();
        while let Some(group) = first_group(&pieces, rest.clone()) {
            rest.start = group.end;
            let copied = match pieces.get(group.clone()) {
                Some([alone]) => self.copy(alone)?,
                _ => false,
            };
            if !copied {
                self.merge(Arc::clone(&pieces), group)?;
            }
        }
        self.flush()
    }

    /// Takes a chunk over as it is, if it may be; `false` if it has to be merged.
    fn copy(&mut self, piece: &Piece) -> Result<bool> {
        let crumbs = !self.rows.is_empty() && self.rows.len() < SMALL_ROWS;
        if crumbs || piece.max_rows() < SMALL_ROWS || !piece.is_whole(self.range) {
            return Ok(false);
        }
        self.cancel.check()?;
        let (chunk, handle) = (piece.chunk.encoded()?, &piece.chunk);
        let rows = chunk.rows().map_err(|e| {
            Error::new(ErrorKind::Corrupt, format!("a chunk cannot be merged: {e}; run verify"))
        })?;
        if rows != handle.rows {
            // A chunk of the head that grows: its bytes have rows that are not for us.
            return Ok(false);
        }
        self.flush()?;
        self.chunks.push(NewChunk { min_t: handle.min_t, max_t: handle.max_t, rows, chunk });
        Ok(true)
    }

    /// Merges the pieces of `span` into rows, and cuts chunks while there is plenty.
    fn merge(&mut self, pieces: Arc<[Piece]>, span: Range<usize>) -> Result<()> {
        let mut merge = SampleMerge::new(pieces, span, self.range);
        while merge.read_into(BATCH_ROWS, BATCH_ROWS, self.cancel, &mut self.rows)? > 0 {
            let mut cut = 0;
            while self.rows.len() - cut > 2 * CHUNK_ROWS {
                self.cut(cut..cut + CHUNK_ROWS)?;
                cut += CHUNK_ROWS;
            }
            self.rows.t.drain(..cut);
            self.rows.v.drain(..cut);
        }
        Ok(())
    }

    /// Cuts all rows into as few chunks as may be, of even size.
    fn flush(&mut self) -> Result<()> {
        let rows = self.rows.len();
        let count = rows.div_ceil(CHUNK_ROWS);
        for i in 0..count {
            self.cut(rows * i / count..rows * (i + 1) / count)?;
        }
        self.rows.clear();
        Ok(())
    }

    /// Encodes some of the rows as a chunk.
    fn cut(&mut self, rows: Range<usize>) -> Result<()> {
        let t = self.rows.t.get(rows.clone()).unwrap_or_default();
        let v = self.rows.v.get(rows).unwrap_or_default();
        let (Some(&min_t), Some(&max_t), Ok(rows)) = (t.first(), t.last(), u32::try_from(t.len())) else {
            return Err(Error::new(ErrorKind::InvalidArgument, "a chunk without rows was to be cut"));
        };
        let chunk = EncodedChunk { encoding: Encoding::Gorilla, payload: gorilla::encode(t, v) };
        self.chunks.push(NewChunk { min_t, max_t, rows, chunk });
        Ok(())
    }
}

/// The first of `rest` and what is connected to it by shared time; `None` if there is none.
fn first_group(pieces: &[Piece], rest: Range<usize>) -> Option<Range<usize>> {
    let (first, others) = pieces.get(rest.clone())?.split_first()?;
    let mut max_t = first.chunk.max_t;
    let connected = others.iter().take_while(|piece| {
        let overlaps = piece.chunk.min_t <= max_t;
        max_t = max_t.max(piece.chunk.max_t);
        overlaps
    });
    Some(rest.start..rest.start + 1 + connected.count())
}

#[cfg(test)]
mod tests;
