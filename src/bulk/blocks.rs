//! The last step: merged rows become chunks, in the pool, and then blocks.
//!
//! ```text
//!   series after series ─▶ batch ── full ─▶ cut by the pool ┐
//!                          batch ── full ─▶ cut by the pool ┼─ in order ─▶ BlockSink of each range
//!                          batch (being filled) ────────────┘
//! ```
//!
//! What is a chunk is decided and coded a batch of series at a time (see `cut`), beside the thread that merges and writes. A series
//! of more rows than a batch is cut by the caller as it comes, and its chunks are handed on when they are many, so that a
//! series of any length needs no more than `pending_bytes` here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use super::Sizes;
use super::cut::{Counts, Cut, Rules};
use super::merge::{Coded, RowSink};
use crate::block::{BlockSink, NewChunk};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Columns, Labels, Metadata, TimeRange};

/// The most batches that are being cut at a time.
const MAX_CUTTING: usize = 3;
/// The most series of a batch.
const MAX_SERIES: usize = 2_048;

/// Makes the block of a range.
pub(super) type MakeSink<'a, S> = &'a mut dyn FnMut(TimeRange) -> Result<S>;

/// Takes merged rows, keeps those of one group of ranges, and writes the blocks of the group.
pub(super) struct Cutter<'a, S> {
    rules: Rules,
    batch_rows: usize,
    pending_bytes: usize,
    pool: Option<Arc<rayon::ThreadPool>>,
    batch: Batch,
    /// In the order of the series.
    cutting: VecDeque<Receiver<Result<Done>>>,
    /// The series that is too long for a batch.
    long: Option<(Labels, Cut)>,
    blocks: Blocks<'a, S>,
    counts: Counts,
}

/// Series that will be cut together.
#[derive(Debug, Default)]
struct Batch {
    /// Their labels, and where the parts of each end.
    series: Vec<(Labels, usize)>,
    parts: Vec<Part>,
    /// The rows of all parts that are not coded.
    rows: Columns,
    /// Rows of all parts, and the bytes of those that are coded.
    total_rows: usize,
    coded_bytes: usize,
    /// Rows of the last series, and the first of `rows` that is its.
    series_rows: usize,
    first_row: usize,
}

/// A part of a series.
#[derive(Debug)]
enum Part {
    /// So many of the rows.
    Rows(usize),
    Coded(Coded),
}

impl Batch {
    fn begin(&mut self, labels: &Labels) {
        self.series.push((labels.clone(), self.parts.len()));
        (self.series_rows, self.first_row) = (0, self.rows.len());
    }

    fn add(&mut self, part: Part, rows: usize) {
        self.parts.push(part);
        self.total_rows += rows;
        self.series_rows += rows;
        if let Some((_, end)) = self.series.last_mut() {
            *end = self.parts.len();
        }
    }

    fn coded(&mut self, coded: Coded) {
        let rows = coded.t.len();
        self.coded_bytes += coded.values.capacity();
        self.add(Part::Coded(coded), rows);
    }

    fn rows(&mut self, t: &[i64], v: &[f64]) {
        self.rows.t.extend_from_slice(t);
        self.rows.v.extend_from_slice(v);
        self.add(Part::Rows(t.len()), t.len());
    }

    fn memory_bytes(&self) -> usize {
        16 * self.rows.t.capacity() + self.coded_bytes + size_of::<Part>() * self.parts.len()
    }

    /// Takes the last series out.
    fn split_last(&mut self) -> Batch {
        let before = self.series.len().saturating_sub(2);
        let parts =
            if self.series.len() < 2 { 0 } else { self.series.get(before).map_or(0, |(_, end)| *end) };
        let last = Batch {
            series: self.series.pop().map(|(labels, end)| (labels, end - parts)).into_iter().collect(),
            parts: self.parts.split_off(parts),
            rows: Columns {
                t: self.rows.t.split_off(self.first_row),
                v: self.rows.v.split_off(self.first_row),
            },
            total_rows: self.series_rows,
            series_rows: self.series_rows,
            ..Batch::default()
        };
        self.total_rows -= self.series_rows;
        last
    }

    /// Cuts all series.
    fn cut(self, rules: Rules) -> Result<Done> {
        let Batch { mut series, parts, rows, .. } = self;
        let (mut cut, mut parts) = (Cut::new(rules), parts.into_iter());
        let (mut from, mut row) = (0, 0);
        for (_, end) in &mut series {
            cut.begin();
            for part in parts.by_ref().take(*end - from) {
                match part {
                    Part::Coded(coded) => cut.coded(coded)?,
                    Part::Rows(n) => {
                        let (t, v) = (rows.t.get(row..row + n), rows.v.get(row..row + n));
                        cut.rows(t.unwrap_or_default(), v.unwrap_or_default())?;
                        row += n;
                    }
                }
            }
            cut.end()?;
            from = std::mem::replace(end, cut.done.len());
        }
        Ok(Done { series, cut })
    }
}

/// Series that were cut.
#[derive(Debug)]
struct Done {
    /// Their labels, and where the chunks of each end.
    series: Vec<(Labels, usize)>,
    cut: Cut,
}

impl<'a, S: BlockSink> Cutter<'a, S> {
    /// Writes the ranges of the group, cut by the threads of `pool`, or by the caller.
    pub(super) fn new(
        rules: Rules,
        sizes: &Sizes,
        pool: Option<Arc<rayon::ThreadPool>>,
        make: MakeSink<'a, S>,
    ) -> Cutter<'a, S> {
        Cutter {
            rules,
            batch_rows: sizes.slab_rows,
            pending_bytes: sizes.pending_bytes,
            pool,
            batch: Batch::default(),
            cutting: VecDeque::new(),
            long: None,
            blocks: Blocks { make, all: Vec::new() },
            counts: Counts::default(),
        }
    }

    /// Finishes the blocks, in time order, each with all the metadata.
    pub(super) fn finish<'m>(
        mut self,
        families: impl Iterator<Item = (&'m str, &'m Metadata)> + Clone,
        blocks: &mut Vec<(TimeRange, S::Meta)>,
    ) -> Result<Counts> {
        self.send()?;
        self.collect(0)?;
        self.blocks.all.sort_by_key(|(range, _)| range.start());
        for (range, mut block) in self.blocks.all {
            for (name, metadata) in families.clone() {
                block.add_family(name, metadata)?;
            }
            blocks.push((range, block.finish()?));
        }
        Ok(self.counts)
    }

    /// Has the batch cut.
    fn send(&mut self) -> Result<()> {
        if self.batch.series.is_empty() {
            return Ok(());
        }
        self.collect(MAX_CUTTING - 1)?;
        let (batch, rules) = (std::mem::take(&mut self.batch), self.rules.clone());
        let (sender, receiver) = sync_channel(1);
        let cut = move || {
            // Nobody waits for it if the load failed.
            let _ = sender.send(batch.cut(rules));
        };
        match &self.pool {
            Some(pool) => pool.spawn(cut),
            None => cut(),
        }
        self.cutting.push_back(receiver);
        Ok(())
    }

    /// Writes what was cut, until at most so many batches are being cut.
    fn collect(&mut self, most: usize) -> Result<()> {
        while self.cutting.len() > most {
            let Some(receiver) = self.cutting.pop_front() else { break };
            let lost = |e| Error::io("code samples in", "memory", std::io::Error::other(e));
            let Done { series, cut } = receiver.recv().map_err(lost)??;
            let mut from = 0;
            for (labels, to) in series {
                let (chunks, ranges) = (cut.done.get(from..to), cut.ranges.get(from..to));
                self.blocks.write(&labels, chunks.unwrap_or_default(), ranges.unwrap_or_default())?;
                from = to;
            }
            self.counts.add(cut.counts);
        }
        Ok(())
    }

    /// Makes sure that so many more rows of the series fit the batch; if not, it is a long one from here on.
    fn make_room(&mut self, rows: usize) -> Result<()> {
        if self.long.is_some() || self.batch.series_rows + rows <= self.batch_rows {
            return Ok(());
        }
        let Batch { series, parts, rows, .. } = self.batch.split_last();
        self.send()?;
        self.collect(0)?;
        let Some((labels, _)) = series.into_iter().next() else { return Ok(()) };
        self.long = Some((labels, Cut::new(self.rules.clone())));
        if let Some((_, cut)) = &mut self.long {
            cut.begin();
        }
        let mut row = 0;
        for part in parts {
            match part {
                Part::Coded(coded) => self.coded(coded)?,
                Part::Rows(n) => {
                    let (t, v) = (rows.t.get(row..row + n), rows.v.get(row..row + n));
                    self.rows(t.unwrap_or_default(), v.unwrap_or_default())?;
                    row += n;
                }
            }
        }
        Ok(())
    }

    /// Hands on what was cut of the long series, if it is much.
    fn hand_on(&mut self, at_least_bytes: usize) -> Result<()> {
        let Some((labels, cut)) = &mut self.long else { return Ok(()) };
        if cut.memory_bytes() >= at_least_bytes {
            self.blocks.write(labels, &cut.done, &cut.ranges)?;
            cut.taken();
        }
        Ok(())
    }
}

impl<S: BlockSink> RowSink for Cutter<'_, S> {
    fn begin(&mut self, labels: &Labels) -> Result<()> {
        self.batch.begin(labels);
        Ok(())
    }

    fn rows(&mut self, t: &[i64], v: &[f64]) -> Result<()> {
        self.make_room(t.len())?;
        match &mut self.long {
            None => self.batch.rows(t, v),
            Some((_, cut)) => {
                cut.rows(t, v)?;
                self.hand_on(self.pending_bytes)?;
            }
        }
        Ok(())
    }

    fn coded(&mut self, coded: Coded) -> Result<()> {
        self.make_room(coded.t.len())?;
        match &mut self.long {
            None => self.batch.coded(coded),
            Some((_, cut)) => {
                cut.coded(coded)?;
                self.hand_on(self.pending_bytes)?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if let Some((_, cut)) = &mut self.long {
            cut.end()?;
            self.hand_on(0)?;
            if let Some((_, cut)) = self.long.take() {
                self.counts.add(cut.counts);
            }
            return Ok(());
        }
        match self.batch.total_rows >= self.batch_rows || self.batch.series.len() >= MAX_SERIES {
            true => self.send(),
            false => Ok(()),
        }
    }

    fn memory_bytes(&self) -> usize {
        let cutting = self.cutting.len() * 16 * self.batch_rows;
        self.batch.memory_bytes() + cutting + self.long.as_ref().map_or(0, |(_, cut)| cut.memory_bytes())
    }
}

/// The blocks that are being written.
struct Blocks<'a, S> {
    make: MakeSink<'a, S>,
    all: Vec<(TimeRange, S)>,
}

impl<S: BlockSink> Blocks<'_, S> {
    /// Gives the chunks of a series to the blocks of their ranges.
    fn write(&mut self, labels: &Labels, mut chunks: &[NewChunk], mut ranges: &[TimeRange]) -> Result<()> {
        while let Some(&here) = ranges.first() {
            let n = ranges.iter().take_while(|range| **range == here).count();
            let (Some((now, later)), Some(ranges_later)) = (chunks.split_at_checked(n), ranges.get(n..))
            else {
                break;
            };
            self.block(here)?.add(labels, now)?;
            (chunks, ranges) = (later, ranges_later);
        }
        Ok(())
    }

    fn block(&mut self, range: TimeRange) -> Result<&mut S> {
        let place = match self.all.iter().position(|(known, _)| *known == range) {
            Some(place) => place,
            None => {
                let block = (self.make)(range)?;
                self.all.push((range, block));
                self.all.len() - 1
            }
        };
        let missing = || Error::new(ErrorKind::InvalidArgument, "a block that was just made is missing");
        self.all.get_mut(place).map(|(_, block)| block).ok_or_else(missing)
    }
}
