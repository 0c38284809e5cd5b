//! Many sources into one block: the head's flush, and the merge of blocks, are this one function.
//!
//! ```text
//!   pieces of a series   ├─ 120 ─┤ ├─ 120 ─┤ ├── 95 ──┤      ├12┤ ├─ 120 ─┤ ├─ 120 ─┤
//!                                               ├── 80 ──┤
//!   written              copied    copied    merged, re-cut       copied    copied
//!                                            ├─ 94 ─┤├─ 93 ─┤
//! ```
//!
//! A chunk is copied as it is, without decoding its values, if no other overlaps it, if the range and the
//! deletions leave it whole, if it is of the wanted [`Form`], and if it is not small. All else goes through the sample
//! merge, which trims, drops what is deleted and lets the highest precedence win, and is cut anew:
//! - into gorilla chunks of [`CHUNK_ROWS`] while there is plenty, and the rest evenly. A remainder that would make a small
//!   chunk takes the next chunk with it, so that merging again and again leaves no crumbs;
//! - into chunks of columns at the borders of windows of time (see `window`). A small one takes the next with it if that is in the same window.
//!
//! Memory: the coded chunks of one series, the chunks of it that overlap at one time, one batch.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::block::{NewChunk, SeriesSink, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::format::block_meta::BlockMeta;
use crate::format::chunk::{EncodedChunk, Encoding};
use crate::format::columns::values;
use crate::format::gorilla;
use crate::model::{Cancel, Columns, Metadata, TimeRange};
use crate::source::{Piece, SampleMerge, SeriesMerge, Source, visible};

use super::window;

/// Rows of a chunk that is cut here.
pub(crate) const CHUNK_ROWS: usize = 120;
/// A chunk with fewer rows is merged with its neighbours.
const SMALL_ROWS: usize = 60;
/// Rows that are merged at a time.
const BATCH_ROWS: usize = 1_024;

/// How chunks are to be coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the head has them: quick to write, 120 rows, each with timestamps of its own.
    Gorilla,
    /// Columns of up to 1,024 rows, with shared timestamps: small and quick to read.
    Columns,
}

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
    form: Form,
    mut writer: Writer,
    cancel: &Cancel,
) -> Result<Option<BlockMeta>> {
    match write_into(sources, range, form, &mut writer, cancel)?.series {
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
    form: Form,
    sink: &mut dyn SeriesSink,
    cancel: &Cancel,
) -> Result<Written> {
    let mut merge = SeriesMerge::open(sources, &[], range, None, cancel)?;
    let mut packer = Packer { range, form, cancel, rows: Columns::default(), chunks: Vec::new() };
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
    form: Form,
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
        let (small_rows, crumbs) = match self.form {
            Form::Gorilla => (SMALL_ROWS, !self.rows.is_empty() && self.rows.len() < SMALL_ROWS),
            Form::Columns => (window::SMALL_ROWS, window::goes_on(&self.rows.t, piece.chunk.min_t)),
        };
        if crumbs || piece.max_rows() < small_rows || !piece.is_whole(self.range) {
            return Ok(false);
        }
        self.cancel.check()?;
        let (chunk, handle) = (piece.chunk.encoded()?, &piece.chunk);
        if self.form == Form::Columns && chunk.encoding == Encoding::Gorilla {
            return Ok(false);
        }
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
            let plenty = match self.form {
                Form::Gorilla => 2 * CHUNK_ROWS,
                Form::Columns => 2 * window::MAX_ROWS,
            };
            let mut cut = 0;
            while self.rows.len() - cut > plenty {
                let rows = self.next_rows(cut);
                self.cut(cut..cut + rows)?;
                cut += rows;
            }
            self.rows.t.drain(..cut);
            self.rows.v.drain(..cut);
        }
        Ok(())
    }

    /// How many rows from `at` on make the next chunk, if there are plenty.
    fn next_rows(&self, at: usize) -> usize {
        match self.form {
            Form::Gorilla => CHUNK_ROWS,
            Form::Columns => window::rows(self.rows.t.get(at..).unwrap_or_default()),
        }
    }

    /// Cuts all rows: by windows, or into as few chunks as may be, of even size.
    fn flush(&mut self) -> Result<()> {
        let rows = self.rows.len();
        if self.form == Form::Columns {
            let mut cut = 0;
            while cut < rows {
                let rows = self.next_rows(cut);
                self.cut(cut..cut + rows)?;
                cut += rows;
            }
            self.rows.clear();
            return Ok(());
        }
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
        let chunk = match self.form {
            Form::Gorilla => EncodedChunk { encoding: Encoding::Gorilla, payload: gorilla::encode(t, v) },
            Form::Columns => {
                EncodedChunk { encoding: Encoding::Columns(t.into()), payload: values::encode(v) }
            }
        };
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
