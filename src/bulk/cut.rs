//! The last step: merged rows become the chunks of blocks.
//!
//! ```text
//!   rows of a series ──▶ only the group's ──▶ one row a timestamp ──▶ by block range ──▶ chunks ──▶ BlockSink
//! ```
//!
//! Of rows with one timestamp the first wins; the others are counted, as duplicates if their value
//! has the same bits, as conflicts otherwise. Since nothing was dropped before, the counts are
//! exact, and the same whatever the memory was. A chunk that was coded on the way here is written as it is, if it is
//! just what would be cut; blocks are the same bytes either way. The rows of a series come in time order, so that
//! at any time one range is being filled, and finished chunks are handed on when they are many:
//! a series of any length needs no more than `pending_bytes` here.

use super::Sizes;
use super::merge::{Coded, RowSink};
use super::ranges::range_of;
use crate::block::{BlockSink, NewChunk};
use crate::error::Result;
use crate::format::chunk::{EncodedChunk, Encoding};
use crate::format::gorilla;
use crate::model::{Columns, Labels, Metadata, TimeRange};

/// Rows of a chunk.
pub(super) const CHUNK_ROWS: usize = 120;
/// Rows of a chunk of a series that has very many in one block, so that their number, which a
/// block bounds, suffices for hundreds of millions of samples.
const LONG_CHUNK_ROWS: usize = 960;

/// What was written, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Series that were seen, with a row in the group or not.
    pub(super) series: u64,
    /// Samples written.
    pub(super) samples: u64,
    /// Samples that were there already.
    pub(super) duplicates: u64,
    /// Samples whose timestamp had another value already.
    pub(super) conflicts: u64,
}

/// Makes the block of a range.
pub(super) type MakeSink<'a, S> = &'a mut dyn FnMut(TimeRange) -> Result<S>;

/// Takes merged rows, keeps those of one group of ranges, and writes the blocks of the group.
pub(super) struct Cutter<'a, S> {
    range_ms: i64,
    group: TimeRange,
    pending_bytes_max: usize,
    long_series_chunks: usize,
    make: MakeSink<'a, S>,
    blocks: Vec<(TimeRange, S)>,
    labels: Option<Labels>,
    /// Timestamp and value bits of the row that won last.
    last: Option<(i64, u64)>,
    /// The range of `open` and `pending`.
    here: TimeRange,
    open: Columns,
    /// A chunk with fewer rows than are cut: written as it is if no more follow, otherwise decoded into `open`, which is
    /// empty until then.
    held: Option<Coded>,
    /// Chunks of the series in this range, those handed on included.
    chunks: usize,
    pending: Vec<NewChunk>,
    pending_bytes: usize,
    counts: Counts,
}

impl<'a, S: BlockSink> Cutter<'a, S> {
    /// Writes the ranges within `group` (a union of aligned ranges of `range_ms`).
    pub(super) fn new(
        range_ms: i64,
        group: TimeRange,
        sizes: &Sizes,
        make: MakeSink<'a, S>,
    ) -> Cutter<'a, S> {
        Cutter {
            range_ms,
            group,
            pending_bytes_max: sizes.pending_bytes,
            long_series_chunks: sizes.long_series_chunks,
            make,
            blocks: Vec::new(),
            labels: None,
            last: None,
            here: TimeRange::new(0, 0),
            open: Columns::default(),
            held: None,
            chunks: 0,
            pending: Vec::new(),
            pending_bytes: 0,
            counts: Counts::default(),
        }
    }

    /// Finishes the blocks, in time order, each with all the metadata.
    pub(super) fn finish<'m>(
        mut self,
        families: impl Iterator<Item = (&'m str, &'m Metadata)> + Clone,
        blocks: &mut Vec<(TimeRange, S::Meta)>,
    ) -> Result<Counts> {
        self.blocks.sort_by_key(|(range, _)| range.start());
        for (range, mut block) in self.blocks {
            for (name, metadata) in families.clone() {
                block.add_family(name, metadata)?;
            }
            blocks.push((range, block.finish()?));
        }
        Ok(self.counts)
    }

    /// Takes rows with distinct, ascending timestamps, all later than those before.
    fn push(&mut self, mut t: &[i64], mut v: &[f64]) -> Result<()> {
        self.counts.samples += t.len() as u64;
        self.release()?;
        while let Some(&first) = t.first() {
            if !self.here.contains(first) {
                self.leave_range()?;
                self.here = range_of(first, self.range_ms);
            }
            let inside = t.partition_point(|&t| t < self.here.end());
            let n = inside.min(self.chunk_rows() - self.open.len());
            let (Some((t_now, t_rest)), Some((v_now, v_rest))) =
                (t.split_at_checked(n), v.split_at_checked(n))
            else {
                return Ok(());
            };
            (t, v) = (t_rest, v_rest);
            self.open.t.extend_from_slice(t_now);
            self.open.v.extend_from_slice(v_now);
            if self.open.len() == self.chunk_rows() {
                self.close_chunk()?;
            }
        }
        Ok(())
    }

    /// The rows at which the open chunk is closed.
    fn chunk_rows(&self) -> usize {
        if self.chunks < self.long_series_chunks { CHUNK_ROWS } else { LONG_CHUNK_ROWS }
    }

    fn close_chunk(&mut self) -> Result<()> {
        let (Some(&min_t), Some(&max_t)) = (self.open.t.first(), self.open.t.last()) else { return Ok(()) };
        let payload = gorilla::encode(&self.open.t, &self.open.v);
        let rows = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        self.open.clear();
        let chunk = EncodedChunk { encoding: Encoding::Gorilla, payload };
        self.finish_chunk(NewChunk { min_t, max_t, rows, chunk })
    }

    fn finish_chunk(&mut self, chunk: NewChunk) -> Result<()> {
        self.chunks += 1;
        self.pending_bytes += chunk.chunk.payload.capacity() + size_of::<NewChunk>();
        self.pending.push(chunk);
        match self.pending_bytes >= self.pending_bytes_max {
            true => self.hand_on(),
            false => Ok(()),
        }
    }

    /// Gives the finished chunks to the block of their range.
    fn hand_on(&mut self) -> Result<()> {
        let (Some(labels), false) = (&self.labels, self.pending.is_empty()) else { return Ok(()) };
        if !self.blocks.iter().any(|(range, _)| *range == self.here) {
            let block = (self.make)(self.here)?;
            self.blocks.push((self.here, block));
        }
        if let Some((_, block)) = self.blocks.iter_mut().find(|(range, _)| *range == self.here) {
            block.add(labels, &self.pending)?;
        }
        self.pending.clear();
        self.pending_bytes = 0;
        Ok(())
    }

    /// Decodes the chunk that is held, since rows follow.
    fn release(&mut self) -> Result<()> {
        if let Some(held) = self.held.take() {
            self.open = held.decode()?;
        }
        Ok(())
    }

    /// Whether a chunk may stay as it is: all of it new, in one range of the group, and no longer than is cut.
    fn fits(&self, chunk: &NewChunk) -> bool {
        let range = range_of(chunk.min_t, self.range_ms);
        let new = self.last.is_none_or(|(last, _)| last < chunk.min_t);
        let inside = range.contains(chunk.max_t) && self.group.contains(chunk.min_t);
        let begins = !self.here.contains(chunk.min_t) || (self.open.is_empty() && self.held.is_none());
        new && inside && begins && chunk.rows as usize <= self.chunk_rows()
    }

    fn leave_range(&mut self) -> Result<()> {
        match self.held.take() {
            Some(held) => self.finish_chunk(held.chunk)?,
            None => self.close_chunk()?,
        }
        self.chunks = 0;
        self.hand_on()
    }
}

impl<S: BlockSink> RowSink for Cutter<'_, S> {
    fn begin(&mut self, labels: &Labels) -> Result<()> {
        self.labels = Some(labels.clone());
        self.last = None;
        self.counts.series += 1;
        Ok(())
    }

    fn rows(&mut self, t: &[i64], v: &[f64]) -> Result<()> {
        let from = t.partition_point(|&t| t < self.group.start());
        let to = t.partition_point(|&t| t < self.group.end());
        let (Some(t), Some(v)) = (t.get(from..to), v.get(from..to)) else { return Ok(()) };
        let mut stretch = 0;
        for (i, (&now, value)) in t.iter().zip(v).enumerate() {
            match self.last {
                Some((last, bits)) if last == now => {
                    self.push(t.get(stretch..i).unwrap_or_default(), v.get(stretch..i).unwrap_or_default())?;
                    stretch = i + 1;
                    let same = bits == value.to_bits();
                    self.counts.duplicates += u64::from(same);
                    self.counts.conflicts += u64::from(!same);
                }
                _ => self.last = Some((now, value.to_bits())),
            }
        }
        self.push(t.get(stretch..).unwrap_or_default(), v.get(stretch..).unwrap_or_default())
    }

    fn coded(&mut self, coded: Coded) -> Result<()> {
        if !self.fits(&coded.chunk) {
            let rows = coded.decode()?;
            return self.rows(&rows.t, &rows.v);
        }
        if !self.here.contains(coded.chunk.min_t) {
            self.leave_range()?;
            self.here = range_of(coded.chunk.min_t, self.range_ms);
        }
        self.counts.samples += u64::from(coded.chunk.rows);
        self.last = Some((coded.chunk.max_t, coded.last_v.to_bits()));
        if (coded.chunk.rows as usize) < self.chunk_rows() {
            self.held = Some(coded);
            return Ok(());
        }
        self.finish_chunk(coded.chunk)
    }

    fn end(&mut self) -> Result<()> {
        self.leave_range()
    }

    fn memory_bytes(&self) -> usize {
        self.pending_bytes + 16 * self.open.t.capacity()
    }
}
