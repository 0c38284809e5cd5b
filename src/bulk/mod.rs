//! Backfill: samples in any order and any amount become blocks, without log or head, in bounded memory.
//!
//! ```text
//!   series(), extend()                              finish()
//!        │                                             │
//!        ▼             memory full                     ▼
//!   Table + Buffer ──sort──▶ spill/0, spill/1, … ──k-way merge──▶ first wins ──▶ ranges ──▶ chunks ──▶ blocks
//!        └────────────────── all of it fits ──────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `table` | label sets of the current epoch as numbers of their pairs; what a [`BulkRef`] means |
//! | `buffer` | samples in memory, in the order they came, and sorted |
//! | `slab` | a part of them, and how it is packed |
//! | `times` | timestamps that packed stretches share |
//! | `run` | sorted samples on disk: written, read back, removed |
//! | `merge` | sorted streams into one, ties in the order of the input |
//! | `ranges` | which block ranges there are |
//! | `cut` | merged rows: the first of a timestamp wins; chunks |
//! | `blocks` | which are cut in the pool, and written to blocks |
//!
//! # Which value wins
//! The first that came in. Runs are written in the order of the input and merged so that ties keep
//! it; nothing is dropped before the merge, so that result and counts are exact and do not depend on the memory.
//!
//! # Memory
//! Three quarters of [`LoaderOptions::memory_bytes`] hold what comes in: label table (which may take
//! three quarters of that) and samples. Before they outgrow it, the samples are sorted and written
//! as a run; scratch for the rows of a series is reckoned in. Most are packed before (see `slab`): one or two bytes a sample instead of 16; what comes row by row is gathered and packed when the
//! memory is full, and only what that does not help is spilled, packed as it is. The rest
//! is for sorting the series, and then for the writer's and reader's units.
//! Merging holds a unit and a piece for each run, so that only so many are merged at once as fit;
//! more runs than that are first merged into longer ones. Blocks being written need memory of
//! their own for their index; how many are open at once follows from the number of series, and what spans more ranges
//! is written in several passes over the runs. Disk: a run holds 2 to 9 bytes a sample.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::block::BlockSink;
use crate::env::{EntryKind, Fs};
use crate::error::{Error, ErrorKind, Result};
use crate::format::spill_run::UNIT_TARGET_BYTES;
use crate::model::{Cancel, Labels, Metadata, TimeRange};

mod blocks;
mod buffer;
mod cut;
mod merge;
mod ranges;
mod run;
mod slab;
mod table;
mod times;

use blocks::{Cutter, MakeSink};
use buffer::{Buffer, Shape};
use cut::{Counts, Rules};
use merge::{Input, merge};
use ranges::Ranges;
use run::{Run, RunWriter};
use table::Table;
use times::SharedTimes;

/// The least memory with which a load works.
pub(crate) const MIN_MEMORY_BYTES: u64 = 4 * 1_024 * 1_024;
/// Rows are gathered if they take this part of what may come in.
const GATHER_SHARE: usize = 4;
/// The most runs that are open at once, whatever the memory: each is a file.
const MAX_FAN_IN: usize = 128;
/// The most blocks that are open at once, whatever the memory: each has several files.
const MAX_OPEN_BLOCKS: usize = 16;
/// The most that a run holds in memory while it is merged: the largest unit and label set twice, and a piece.
const RUN_BYTES: usize = 640 * 1_024;

/// A series of one bulk load: what [`series`](crate::BulkLoader::series) returns and
/// [`extend`](crate::BulkLoader::extend) takes, so that labels are hashed once.
///
/// Valid until a later call of `series` finds the label table full and begins a new one: then it
/// is stale, and using it is an error of kind
/// [`Append(StaleRef)`](crate::AppendError::StaleRef), upon which `series` gives a fresh one. It
/// never means another series, and one of another loader is an error too.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::*;
/// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
/// let mut bulk = db.bulk_loader()?;
/// let up: BulkRef = bulk.series(&labels!("up")?)?;
/// bulk.extend(up, &[1_000, 2_000], &[1.0, 0.0])?;
/// assert_eq!(bulk.finish()?.appended(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BulkRef(pub(crate) u64);

/// How a load works, and what it may take.
#[derive(Clone, Debug)]
pub(crate) struct LoaderOptions {
    /// The memory for labels, samples, sorting and merging; at least [`MIN_MEMORY_BYTES`].
    pub(crate) memory_bytes: u64,
    /// The length of the blocks' ranges: that of the final level.
    pub(crate) range_ms: i64,
    /// The most blocks that may come out.
    pub(crate) max_blocks: usize,
    /// Threads that code samples beside the caller's; without, the caller does.
    pub(crate) pool: Option<Arc<rayon::ThreadPool>>,
}

/// What a finished load wrote.
#[derive(Clone, Debug)]
pub(crate) struct Loaded<M> {
    /// The blocks, in time order, with their ranges.
    pub(crate) blocks: Vec<(TimeRange, M)>,
    /// Distinct series that have samples.
    pub(crate) series: u64,
    /// Samples written.
    pub(crate) samples: u64,
    /// Samples that came again with the same value.
    pub(crate) duplicates: u64,
    /// Samples that came again with another value; the first won.
    pub(crate) conflicts: u64,
    /// From the first to the last timestamp; empty if there are no samples.
    #[cfg_attr(not(test), expect(dead_code, reason = "measured by tests"))]
    pub(crate) range: TimeRange,
    /// Runs that were spilled.
    #[cfg_attr(not(test), expect(dead_code, reason = "measured by tests"))]
    pub(crate) runs: u64,
    /// Bytes written to spill files, runs merged into longer ones included.
    #[cfg_attr(not(test), expect(dead_code, reason = "measured by tests"))]
    pub(crate) spilled_bytes: u64,
    /// The most memory that was held, by the loader's own account, without the blocks being written.
    #[cfg_attr(not(test), expect(dead_code, reason = "measured by tests"))]
    pub(crate) peak_bytes: u64,
}

/// The sizes that follow from the memory.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    load_bytes: usize,
    table_bytes: usize,
    slab_rows: usize,
    times_bytes: usize,
    unit_target_bytes: usize,
    fan_in: usize,
    pending_bytes: usize,
    long_series_chunks: usize,
    blocks_bytes: usize,
}

impl Sizes {
    fn of(memory_bytes: u64) -> Sizes {
        let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let load_bytes = memory - memory / 4;
        Sizes {
            load_bytes,
            table_bytes: load_bytes - load_bytes / 4,
            slab_rows: (memory / 4_096).clamp(64, 65_536),
            times_bytes: memory / 64,
            unit_target_bytes: (memory / 256).clamp(4_096, UNIT_TARGET_BYTES),
            fan_in: (memory / 2 / RUN_BYTES).clamp(2, MAX_FAN_IN),
            pending_bytes: memory / 16,
            long_series_chunks: 131_072,
            blocks_bytes: memory / 2,
        }
    }
}

/// A load in progress. Dropping it removes its spill files; nothing else was written.
pub(crate) struct Loader {
    fs: Arc<dyn Fs>,
    spill_dir: PathBuf,
    sizes: Sizes,
    range_ms: i64,
    pool: Option<Arc<rayon::ThreadPool>>,
    cancel: Cancel,
    table: Table,
    buffer: Buffer,
    families: BTreeMap<String, Metadata>,
    family_bytes: usize,
    ranges: Ranges,
    runs: Vec<Run>,
    next_run: u64,
    tally: Tally,
    /// A spill failed: samples are lost, and so is the load.
    failed: Option<Error>,
}

/// What is counted on the way.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    series_of_all_epochs: usize,
    label_bytes_of_all_epochs: usize,
    runs: u64,
    spilled_bytes: u64,
    peak_bytes: usize,
}

impl Loader {
    /// A load that spills to files `0`, `1`, … in `spill_dir`, which is created if it is missing.
    /// Names that are taken are passed over, so that two loads may share the directory.
    ///
    /// # Errors
    /// `InvalidOptions` for a memory below [`MIN_MEMORY_BYTES`], a range below 1 ms, or no blocks;
    /// `Io` if the directory cannot be created.
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        spill_dir: PathBuf,
        options: &LoaderOptions,
        cancel: Cancel,
    ) -> Result<Loader> {
        if options.memory_bytes < MIN_MEMORY_BYTES {
            return Err(Error::new(ErrorKind::InvalidOptions, "a bulk load needs 4 MiB of memory at least"));
        }
        if options.range_ms < 1 || options.max_blocks < 1 {
            return Err(Error::new(
                ErrorKind::InvalidOptions,
                "a bulk load needs a block range and a block at least",
            ));
        }
        Loader::with_sizes(fs, spill_dir, options, cancel, Sizes::of(options.memory_bytes))
    }

    fn with_sizes(
        fs: Arc<dyn Fs>,
        spill_dir: PathBuf,
        options: &LoaderOptions,
        cancel: Cancel,
        sizes: Sizes,
    ) -> Result<Loader> {
        let stat =
            fs.stat(&spill_dir).map_err(|e| Error::io("look for the spill directory", &spill_dir, e))?;
        if stat.is_none_or(|entry| entry.kind != EntryKind::Dir) {
            fs.create_dir(&spill_dir).map_err(|e| Error::io("create the spill directory", &spill_dir, e))?;
        }
        Ok(Loader {
            fs,
            spill_dir,
            sizes,
            range_ms: options.range_ms,
            pool: options.pool.clone(),
            cancel,
            table: Table::new(),
            buffer: Buffer::new(Shape {
                slab_rows: sizes.slab_rows,
                range_ms: options.range_ms,
                times_bytes: sizes.times_bytes,
                pool: options.pool.clone(),
            }),
            families: BTreeMap::new(),
            family_bytes: 0,
            ranges: Ranges::new(options.range_ms, options.max_blocks),
            runs: Vec::new(),
            next_run: 0,
            tally: Tally::default(),
            failed: None,
        })
    }

    /// Whether [`series`](Loader::series) can take these labels and leave the references so far valid.
    pub(crate) fn has_room(&self, labels: &Labels) -> bool {
        self.table.memory_bytes() + Table::series_bytes(labels) <= self.sizes.table_bytes
            || self.table.has(labels)
    }

    /// The reference of a series; cost: a hash and a look-up. If the label table is full, a new one
    /// begins, and the references of the old one are stale from here on. Only this does that, never `extend`.
    ///
    /// # Errors
    /// Those of writing a run; after such a failure the load is lost and every call fails.
    pub(crate) fn series(&mut self, labels: &Labels) -> Result<BulkRef> {
        self.check()?;
        let more = Table::series_bytes(labels);
        let full = self.table.memory_bytes() + more > self.sizes.table_bytes;
        if let Some(known) = self.table.find(labels) {
            return Ok(known);
        }
        if full {
            self.spill()?;
            self.table = Table::new();
        } else {
            self.make_room(more)?;
        }
        self.tally.series_of_all_epochs += 1;
        self.tally.label_bytes_of_all_epochs += labels.as_bytes().len();
        let series = self.table.insert(labels)?;
        self.note_peak(0);
        Ok(series)
    }

    /// Appends samples to a series: any order, any mix. Cost: a copy; no hashing.
    ///
    /// # Errors
    /// `Append(StaleRef)` for a reference that is stale or another loader's, `InvalidArgument` for
    /// columns of unequal length, `Append(BadTimestamp)` for `i64::MAX`, `Ceiling` for more blocks
    /// than allowed: nothing of the call was taken. Those of writing a run: the load is lost.
    pub(crate) fn extend(&mut self, series: BulkRef, t: &[i64], v: &[f64]) -> Result<()> {
        self.check()?;
        let series = self.table.resolve(series)?;
        if t.len() != v.len() {
            return Err(Error::new(ErrorKind::InvalidArgument, "as many timestamps as values are needed"));
        }
        self.ranges.add(t)?;
        let (mut t, mut v) = (t, v);
        while !t.is_empty() {
            self.make_room(self.buffer.growth_bytes())?;
            let n = self.buffer.append(series, t, v)?;
            self.note_peak(0);
            (t, v) = (t.get(n..).unwrap_or_default(), v.get(n..).unwrap_or_default());
        }
        Ok(())
    }

    /// Sets the metadata of a family; what is set last stands. Every block gets all of it.
    ///
    /// # Errors
    /// `Ceiling` if families take more than an eighth of the memory.
    pub(crate) fn metadata(&mut self, family: &str, metadata: &Metadata) -> Result<()> {
        let cost = |m: &Metadata| 2 * family.len() + m.unit.len() + m.help.len() + 160;
        let freed = self.families.get(family).map_or(0, cost);
        let bytes = self.family_bytes - freed + cost(metadata);
        if bytes > self.sizes.load_bytes / 6 {
            return Err(Error::new(
                ErrorKind::Ceiling,
                "the metadata take more than an eighth of the memory",
            ));
        }
        self.family_bytes = bytes;
        self.families.insert(family.to_owned(), metadata.clone());
        Ok(())
    }

    /// Writes the blocks; `make` makes the one of a range (at most one call for each range).
    /// Blocks are finished in time order. Spill files are removed, whatever the outcome; what
    /// became of finished blocks if a later one fails is the caller's.
    ///
    /// # Errors
    /// Those of reading and writing runs, of `make`, and of the blocks; `Cancelled`.
    pub(crate) fn finish<S: BlockSink>(mut self, make: MakeSink<'_, S>) -> Result<Loaded<S::Meta>> {
        self.check()?;
        let groups = self.ranges.groups(self.open_blocks());
        if groups.len() > 1 || !self.runs.is_empty() {
            self.spill()?;
            self.table = Table::new();
        }
        let times = SharedTimes::new(self.sizes.times_bytes);
        self.reduce_runs(&times)?;
        let (cancel, mut blocks, mut totals) = (self.cancel.clone(), Vec::new(), Counts::default());
        for (pass, &group) in groups.iter().enumerate() {
            let mut cutter =
                Cutter::new(self.rules(group, &times), &self.sizes, self.pool.clone(), &mut *make);
            let peak = merge(self.inputs(pass, group, &times)?, &cancel, &mut cutter)?;
            self.note_peak(peak);
            if pass + 1 == groups.len() {
                // Writing the index of a block takes memory of its own.
                self.table = Table::new();
            }
            let families = self.families.iter().map(|(name, metadata)| (name.as_str(), metadata));
            let counts = cutter.finish(families, &mut blocks)?;
            // The first pass reads all runs and so sees every series.
            totals.series = if pass == 0 { counts.series } else { totals.series };
            totals.samples += counts.samples;
            totals.duplicates += counts.duplicates;
            totals.conflicts += counts.conflicts;
        }
        let Counts { series, samples, duplicates, conflicts } = totals;
        let (range, peak_bytes) = (self.ranges.hull(), self.tally.peak_bytes as u64);
        let Tally { runs, spilled_bytes, .. } = self.tally;
        Ok(Loaded { blocks, series, samples, duplicates, conflicts, range, runs, spilled_bytes, peak_bytes })
    }

    /// How the ranges of a group are cut.
    fn rules(&self, group: TimeRange, times: &SharedTimes) -> Rules {
        let long_series_chunks = self.sizes.long_series_chunks;
        Rules { range_ms: self.range_ms, group, long_series_chunks, times: times.clone() }
    }

    /// Samples and labels that are in memory, and what goes with them.
    fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.buffer.memory_bytes() + self.family_bytes
    }

    /// Whether the load may go on.
    fn check(&self) -> Result<()> {
        self.cancel.check()?;
        match &self.failed {
            Some(e) => Err(e.duplicate()),
            None => Ok(()),
        }
    }

    /// Takes note of what is held, `merging_bytes` (of what is no longer in the buffer) included.
    fn note_peak(&mut self, merging_bytes: usize) {
        self.tally.peak_bytes = self.tally.peak_bytes.max(self.memory_bytes() + merging_bytes);
    }

    /// Makes sure that so much more fits the memory: waits for what is being packed, then gathers what is not, if it is much, then
    /// writes a run.
    fn make_room(&mut self, more: usize) -> Result<()> {
        let fits = |load: &Loader| load.memory_bytes() + more <= load.sizes.load_bytes;
        if fits(self) {
            return Ok(());
        }
        self.buffer.collect(0)?;
        if fits(self) {
            return Ok(());
        }
        if self.buffer.loose_bytes() >= self.sizes.load_bytes / GATHER_SHARE {
            self.buffer.gather(self.table.len());
        }
        if fits(self) { Ok(()) } else { self.spill() }
    }

    /// Writes the samples in memory as a run. After a failure the load is lost.
    /// Writes what is buffered as a sorted run.
    pub(crate) fn spill(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let spilled = self.try_spill();
        if let Err(e) = &spilled {
            self.failed = Some(e.duplicate());
        }
        spilled
    }

    fn try_spill(&mut self) -> Result<()> {
        let mut writer = self.run_writer()?;
        let sorted = self.buffer.sort(&self.table)?;
        let peak = merge(vec![Box::new(sorted)], &self.cancel, &mut writer)?;
        self.note_peak(peak);
        let run = writer.finish()?;
        self.tally.runs += 1;
        self.tally.spilled_bytes += run.bytes();
        self.runs.push(run);
        Ok(())
    }

    fn run_writer(&mut self) -> Result<RunWriter> {
        RunWriter::create(&self.fs, &self.spill_dir, &mut self.next_run, self.sizes.unit_target_bytes)
    }

    /// Merges neighbouring runs into longer ones until all that are left can be merged at once.
    /// Neighbours only, since the order of runs is the order of the input.
    fn reduce_runs(&mut self, times: &SharedTimes) -> Result<()> {
        let mut at = 0;
        while self.runs.len() > self.sizes.fan_in {
            let excess = self.runs.len() - self.sizes.fan_in;
            if at + 1 >= self.runs.len() {
                at = 0;
            }
            let to = self.runs.len().min(at + self.sizes.fan_in.min(excess + 1));
            let mut writer = self.run_writer()?;
            let some = self.runs.get(at..to).unwrap_or_default();
            let inputs = some.iter().map(|run| boxed_reader(run, times)).collect::<Result<_>>()?;
            let peak = merge(inputs, &self.cancel, &mut writer)?;
            self.note_peak(peak);
            let run = writer.finish()?;
            self.tally.spilled_bytes += run.bytes();
            self.runs.splice(at..to, [run]);
            at += 1;
        }
        Ok(())
    }

    /// What a pass for one group of ranges merges: the runs that have rows of it (all of them in
    /// the first pass, which counts the series), or the samples in memory if there are no runs.
    fn inputs(
        &mut self,
        pass: usize,
        group: TimeRange,
        times: &SharedTimes,
    ) -> Result<Vec<Box<dyn Input + '_>>> {
        if self.runs.is_empty() {
            return Ok(vec![Box::new(self.buffer.sort(&self.table)?)]);
        }
        let wanted = self.runs.iter().filter(|run| pass == 0 || run.overlaps(group));
        wanted.map(|run| boxed_reader(run, times)).collect()
    }

    /// How many blocks may be open at once, by a rough measure of what the index of one takes.
    fn open_blocks(&self) -> usize {
        let Tally { series_of_all_epochs: series, label_bytes_of_all_epochs: label_bytes, .. } = self.tally;
        let block_bytes =
            series.saturating_mul(96).saturating_add(label_bytes / 2).saturating_add(64 * 1_024);
        (self.sizes.blocks_bytes / block_bytes).clamp(1, MAX_OPEN_BLOCKS)
    }
}

fn boxed_reader<'a>(run: &'a Run, times: &SharedTimes) -> Result<Box<dyn Input + 'a>> {
    Ok(Box::new(run.read(times)?))
}

#[cfg(test)]
mod tests;
