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
//! - into chunks of columns at the borders of windows of time (see `block::window`). A small one takes the next with it if that is in the same window.
//!
//! Series are taken in batches of [`BATCH_SERIES`] or [`BATCH_SAMPLES`], whichever is full first:
//!
//! ```text
//!   this thread     read 1 │ read 2        │ write 1, read 3 │ write 2, read 4 │ …
//!   the pool               │ code 1 ·····  │ code 2 ·····    │ code 3 ·····    │ …
//! ```
//!
//! What is written depends on the series alone, and comes in their order, whoever coded it. What was coded anew is decoded again
//! and compared, before it leaves the processor that coded it.
//!
//! Memory: three batches (chunks to be read are places, not bytes; of coded columns the timestamps are shared), and for each
//! thread the chunks of one series that overlap at one time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use crate::block::{Made, NewChunk, SeriesSink, Writer, window};
use crate::error::{Error, ErrorKind, Result};
use crate::format::chunk::{EncodedChunk, Encoding};
use crate::format::columns::values;
use crate::format::gorilla;
use crate::model::{Cancel, Columns, Labels, Metadata, TimeRange};
use crate::source::{Piece, SampleMerge, SeriesMerge, Source, visible};

/// Rows of a chunk that is cut here.
pub(crate) const CHUNK_ROWS: usize = 120;
/// A chunk with fewer rows is merged with its neighbours.
const SMALL_ROWS: usize = 60;
/// Bytes that a chunk takes beside its values, roughly.
const CHUNK_BYTES: u64 = 12;
/// Rows that are merged at a time; those of two chunks wait for the next.
const BATCH_ROWS: usize = 8_192;

/// Series of a batch, at most.
const BATCH_SERIES: usize = 1_024;
/// Samples of a batch, roughly: one series may have more.
const BATCH_SAMPLES: usize = 262_144;
/// A batch with fewer samples is not worth another thread.
const PARALLEL_SAMPLES: usize = 32_768;
/// Series that a thread of the pool takes at least.
const SERIES_AT_A_TIME: usize = 4;

/// By what means a block is written.
pub(crate) struct Means<'a> {
    /// Ends it.
    pub(crate) cancel: &'a Cancel,
    /// Codes beside the caller.
    pub(crate) pool: Option<&'a rayon::ThreadPool>,
    /// Called with each some bytes that were written, and may take its time.
    pub(crate) pace: &'a (dyn Fn(u64) + Sync),
}

impl<'a> Means<'a> {
    /// On the caller's thread, without a rest.
    pub(crate) fn plain(cancel: &'a Cancel) -> Means<'a> {
        Means { cancel, pool: None, pace: &|_| {} }
    }
}

const NOT_DECODED: &str =
    "a chunk that was just coded does not decode to its samples: the memory or the processor is at fault";

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
    means: &Means<'_>,
) -> Result<Option<Made>> {
    writer.heed(means.cancel);
    match write_into(sources, range, form, &mut writer, means)?.series {
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
    sink: &mut (dyn SeriesSink + Send),
    means: &Means<'_>,
) -> Result<Written> {
    let cancel = means.cancel;
    let mut merge = SeriesMerge::open(sources, &[], range, None, cancel)?;
    let mut written = Written::default();
    let mut batch = Batch::read(&mut merge, range, cancel)?;
    let mut packed = Vec::new();
    while !batch.series.is_empty() || !packed.is_empty() {
        let pool = means.pool.filter(|pool| pool.current_num_threads() > 1);
        let pool = pool.filter(|_| batch.samples >= PARALLEL_SAMPLES);
        let ready = std::mem::take(&mut packed);
        let put_and_read = || -> Result<(u64, Batch)> {
            let bytes = put(ready, sink, &mut written)?;
            Ok((bytes, Batch::read(&mut merge, range, cancel)?))
        };
        let (bytes, next);
        (packed, (bytes, next)) = match pool {
            Some(pool) => {
                let pack = || batch.pack_in_pool(form, range, cancel);
                let (packed, other) = pool.install(|| rayon::join(pack, put_and_read));
                (packed?, other?)
            }
            None => (batch.pack(form, range, cancel)?, put_and_read()?),
        };
        batch = next;
        (means.pace)(bytes);
    }
    if written.series > 0 {
        for (name, metadata) in families(sources)? {
            sink.add_family(&name, &metadata)?;
        }
    }
    Ok(written)
}

/// Gives some series to the sink; how many bytes they take, roughly.
fn put(packed: Vec<Packed>, sink: &mut (dyn SeriesSink + Send), written: &mut Written) -> Result<u64> {
    let mut bytes = 0;
    for (labels, chunks) in packed.iter().filter(|(_, chunks)| !chunks.is_empty()) {
        sink.add(labels, chunks)?;
        written.series += 1;
        written.chunks += chunks.len() as u64;
        written.samples += chunks.iter().map(|chunk| u64::from(chunk.rows)).sum::<u64>();
        bytes += chunks.iter().map(|chunk| chunk.chunk.payload.len() as u64 + CHUNK_BYTES).sum::<u64>();
    }
    Ok(bytes)
}

/// A series with its new chunks; none if it has no samples.
type Packed = (Labels, Vec<NewChunk>);

/// Series that are coded together.
#[derive(Default)]
struct Batch {
    series: Vec<(Labels, Arc<[Piece]>)>,
    /// As many as the pieces have, what overlaps or is deleted included.
    samples: usize,
}

impl Batch {
    /// The next ones; none at the end.
    fn read(merge: &mut SeriesMerge, range: TimeRange, cancel: &Cancel) -> Result<Batch> {
        let mut batch = Batch::default();
        while batch.series.len() < BATCH_SERIES && batch.samples < BATCH_SAMPLES {
            cancel.check()?;
            let Some(merged) = merge.next()? else { break };
            let pieces: Arc<[Piece]> = visible(merged.parts, range).into();
            batch.samples += pieces.iter().map(Piece::max_rows).sum::<usize>();
            batch.series.push((merged.labels, pieces));
        }
        Ok(batch)
    }

    fn pack(self, form: Form, range: TimeRange, cancel: &Cancel) -> Result<Vec<Packed>> {
        let mut packer = Packer::new(form, range, cancel);
        self.series.into_iter().map(|series| packer.series(series)).collect()
    }

    fn pack_in_pool(self, form: Form, range: TimeRange, cancel: &Cancel) -> Result<Vec<Packed>> {
        let series = self.series.into_par_iter().with_min_len(SERIES_AT_A_TIME);
        let packer = || Packer::new(form, range, cancel);
        series.map_init(packer, |packer, series| packer.series(series)).collect()
    }
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
    /// What was coded last, decoded.
    decoded: Columns,
}

impl<'a> Packer<'a> {
    fn new(form: Form, range: TimeRange, cancel: &'a Cancel) -> Packer<'a> {
        let (rows, chunks, decoded) = (Columns::default(), Vec::new(), Columns::default());
        Packer { range, form, cancel, rows, chunks, decoded }
    }

    /// The new chunks of a series.
    fn series(&mut self, (labels, pieces): (Labels, Arc<[Piece]>)) -> Result<Packed> {
        self.pack(pieces)?;
        Ok((labels, std::mem::take(&mut self.chunks)))
    }

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

    /// Encodes some of the rows as a chunk, which must decode to them.
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
        self.decoded.clear();
        let decodes = chunk.decode_into(&mut self.decoded).is_ok();
        if !decodes || self.decoded.t != t || !is_same(&self.decoded.v, v) {
            return Err(Error::new(ErrorKind::Corrupt, NOT_DECODED));
        }
        self.chunks.push(NewChunk { min_t, max_t, rows, chunk });
        Ok(())
    }
}

/// Whether values are the same to the bit.
fn is_same(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
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
