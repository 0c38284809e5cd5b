//! The head: the newest samples, in memory, indexed by label; the log guards it.
//!
//! ```text
//!   SeriesRef = tag of the handle (16) │ generation (16) │ slot (32)
//!   index   labels ─▶ slot, (name, value) ─▶ postings        one read-write lock
//!   shards  slot ─▶ Gate, Series { rows, marks, archive }     slots in runs of 1,024, SHARDS locks
//!   live    slot ─▶ generation                                no lock
//!   pins    readers: (commit, edition), and the end of what a flush reads
//! ```
//!
//! Writers come one at a time (the commit lock is in `db`): first [`Head::judge`] gives a verdict
//! on each row, then the log takes what was accepted, then [`Head::apply`] adds it and
//! [`Head::set_visible`] shows the whole commit at once. Readers take a [`Pin`] and see exactly the commits
//! up to it, across shards; they hold a shard's lock only while they copy out one series.
//!
//! Rows leave in two ways, both by *editions* (see `series`): a delete, under the commit lock, and
//! the truncation after a flush, beside running commits. Series without rows are collected. What goes through all series beside
//! commits takes the lock of one at a time, and goes from shard to shard (`shard::apart`), so that a commit never finds it back at the same lock.
//!
//! Lock order: index, shard, pins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use roaring::RoaringBitmap;

use crate::error::{AppendError, Error, Result};
use crate::model::{Cancel, Labels, Lsn, Matcher, Metadata, SeriesRef, TimeRange};
use crate::postings;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Rank, RwLock};
use crate::wal::{self, LabelsOf, WalSample};

mod index;
mod live;
mod order;
mod pins;
mod series;
mod shard;
mod verdict;
mod view;

#[cfg(test)]
mod tests;

use index::HeadIndex;
pub(crate) use index::Removed;
use live::Live;
pub(crate) use pins::Pin;
use pins::Pins;
use series::{Readers, SERIES_BYTES, Series};
use shard::{RUN, SHARDS, Shard, shard_of};
pub(crate) use verdict::{Row, Verdicts};
pub(crate) use view::HeadView;

/// What the head needs to know of the options.
#[derive(Clone, Debug)]
pub(crate) struct HeadOptions {
    /// How far behind the newest row of its series a row may come.
    pub(crate) out_of_order_window_ms: i64,
    /// How far ahead of the clock a row may be.
    pub(crate) max_future_ms: i64,
    /// Active series, at most.
    pub(crate) max_series: usize,
    /// Bytes of labels, chunks and bookkeeping, at most.
    pub(crate) max_bytes: u64,
}

/// The newest samples.
#[derive(Debug)]
pub(crate) struct Head {
    options: HeadOptions,
    tag: u64,
    index: RwLock<HeadIndex>,
    shards: Vec<RwLock<Shard>>,
    live: Live,
    families: Mutex<BTreeMap<String, Metadata>>,
    pins: Arc<Pins>,
    batches: Mutex<BTreeMap<u32, usize>>,
    visible: AtomicU64,
    edition: AtomicU64,
    round: AtomicU32,
    bytes: AtomicU64,
    hull: Mutex<Hull>,
}

/// Series that may be removed.
#[derive(Debug)]
pub(crate) struct Empty {
    pub(crate) slots: Vec<u32>,
    /// The round in which one must not have been asked for.
    pub(crate) safe: u32,
}

/// The times of the rows: `recent` since the last tightening began.
#[derive(Debug)]
struct Hull {
    all: TimeRange,
    recent: TimeRange,
    newest_t: Option<i64>,
}

/// Series that leave under one lock of the index, and lists that they leave: who makes a series waits.
const LOCKED_SERIES: usize = 4_096;
const LOCKED_LISTS: usize = 256;
const LOCKED_NAMES: usize = 16;
const NOTHING: TimeRange = TimeRange::new(0, 0);

impl SeriesRef {
    fn of(tag: u64, generation: u16, slot: u32) -> SeriesRef {
        SeriesRef(tag << 48 | u64::from(generation) << 32 | u64::from(slot))
    }

    /// The slot, if this is a reference of the handle with that tag.
    fn slot(self, tag: u64) -> Option<(u32, u16)> {
        (self.0 >> 48 == tag & 0xffff).then_some(self.parts())
    }

    /// Slot and generation, of whatever handle.
    #[expect(clippy::cast_possible_truncation, reason = "they are parts of its 64 bits")]
    fn parts(self) -> (u32, u16) {
        (self.0 as u32, (self.0 >> 32) as u16)
    }

    /// What the references of one handle to the slots of one run have in common.
    fn run(self) -> u64 {
        self.0 & !(0xffff << 32 | (RUN as u64 - 1))
    }
}

impl Head {
    /// An empty head; `tag` tells its references from those of other handles.
    pub(crate) fn new(options: HeadOptions, tag: u64) -> Head {
        let shards = (0..SHARDS).map(|_| RwLock::new(Rank::Shard, Shard::default())).collect();
        Head {
            options,
            tag: tag & 0xffff,
            index: RwLock::new(Rank::HeadIndex, HeadIndex::default()),
            shards,
            live: Live::default(),
            families: Mutex::new(Rank::Leaf, BTreeMap::new()),
            pins: Pins::new(),
            batches: Mutex::new(Rank::Leaf, BTreeMap::new()),
            visible: AtomicU64::new(0),
            edition: AtomicU64::new(0),
            round: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            hull: Mutex::new(Rank::Leaf, Hull { all: NOTHING, recent: NOTHING, newest_t: None }),
        }
    }

    /// The series with these labels, made if it is new.
    ///
    /// # Errors
    /// [`AppendError::Ceiling`] if it is new and one series or byte too many.
    pub(crate) fn series(&self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        self.find_or_create(labels, true)
    }

    /// The slot of the series with these labels, made if it is new, whatever the ceilings: what is in the log was
    /// within them once. `None` only if all slots are in use.
    pub(crate) fn recover_series(&self, labels: &Labels) -> Option<u32> {
        let series = self.find_or_create(labels, false).ok()?;
        series.slot(self.tag).map(|(slot, _)| slot)
    }

    fn find_or_create(&self, labels: &Labels, bounded: bool) -> Result<SeriesRef, AppendError> {
        let round = self.round.load(Ordering::SeqCst);
        let (hash, known) = {
            let index = self.index.read();
            let hash = index.hash(labels);
            (hash, index.find(hash, labels))
        };
        let (slot, generation) = match known.filter(|known| self.touch(*known, round)) {
            Some(known) => known,
            None => self.create((hash, labels), round, bounded)?,
        };
        Ok(SeriesRef::of(self.tag, generation, slot))
    }

    /// Keeps a known series from being collected in this round; answers no if it was collected just now.
    fn touch(&self, (slot, generation): (u32, u16), round: u32) -> bool {
        let Some(shard) = self.shard(slot) else { return false };
        let touched = shard.read().series(slot).filter(|s| s.generation == generation).map(|s| s.touched);
        match touched {
            None => false,
            Some(touched) if touched >= round => true,
            Some(_) => match shard.write().series_mut(slot).filter(|s| s.generation == generation) {
                Some(series) => {
                    series.touched = round;
                    true
                }
                None => false,
            },
        }
    }

    /// The lock of a slot.
    fn shard(&self, slot: u32) -> Option<&RwLock<Shard>> {
        self.shards.get(shard_of(slot))
    }

    fn create(
        &self,
        (hash, labels): (u64, &Labels),
        round: u32,
        bounded: bool,
    ) -> Result<(u32, u16), AppendError> {
        let mut index = self.index.write();
        if let Some(known) = index.find(hash, labels) {
            return match self.touch(known, round) {
                true => Ok(known),
                false => Err(AppendError::StaleRef),
            };
        }
        let full = index.len() >= self.options.max_series || self.bytes() >= self.options.max_bytes;
        if bounded && full {
            return Err(AppendError::Ceiling);
        }
        let before = index.memory_bytes();
        let (slot, generation) = index.insert(hash, labels).ok_or(AppendError::Ceiling)?;
        self.grow(SERIES_BYTES + index.memory_bytes().saturating_sub(before));
        if let Some(shard) = self.shard(slot) {
            shard.write().enter(slot, Series::new(generation, round));
            self.live.enter(slot, generation);
        }
        Ok((slot, generation))
    }

    /// Whether a reference is of a live series of this handle.
    pub(crate) fn is_live(&self, series: SeriesRef) -> bool {
        series.slot(self.tag).is_some_and(|(slot, generation)| self.live.is(slot, generation))
    }

    /// The labels of a live slot, and its generation.
    pub(crate) fn labels_of(&self, slot: u32) -> Option<(Labels, u16)> {
        self.index.read().labels_of(slot)
    }

    /// Notes metadata of families.
    pub(crate) fn set_metadata(&self, family: &str, metadata: Metadata) {
        self.families.lock().insert(family.to_owned(), metadata);
    }

    /// The metadata of one family.
    pub(crate) fn family(&self, name: &str) -> Option<Metadata> {
        self.families.lock().get(name).cloned()
    }

    /// The metadata of all families, sorted.
    pub(crate) fn all_families(&self) -> Vec<(String, Metadata)> {
        self.families.lock().iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// The newest commit that readers may see.
    pub(crate) fn visible(&self) -> Lsn {
        Lsn(self.visible.load(Ordering::SeqCst))
    }

    /// Shows commits up to `lsn`: after all of their rows were applied.
    pub(crate) fn set_visible(&self, lsn: Lsn) {
        self.visible.store(lsn.0, Ordering::SeqCst);
    }

    /// Pins what is visible now.
    pub(crate) fn pin(&self) -> Arc<Pin> {
        Arc::new(self.pins.take(|| (self.visible(), self.edition.load(Ordering::SeqCst))))
    }

    /// Live readers.
    pub(crate) fn readers(&self) -> usize {
        self.pins.count()
    }

    /// Removes the rows in `range` from the series that fulfil the matchers; runs under the commit lock, and where no
    /// pin can be taken meanwhile. Readers made before go on seeing them.
    pub(crate) fn delete(&self, matchers: &[Matcher], range: TimeRange) -> Result<()> {
        let ids = postings::select(&*self.index.read(), matchers, &Cancel::default())?;
        let edition = self.next_edition();
        let archives = self.pins.read_before(edition, None);
        for slot in &ids {
            self.edit(slot, (edition, archives), range, Lsn(u64::MAX))?;
        }
        self.publish_edition(edition);
        Ok(())
    }

    /// The number of an edition that begins now: publish it together with the block of a flush, then truncate.
    pub(crate) fn next_edition(&self) -> u64 {
        self.edition.load(Ordering::SeqCst) + 1
    }

    /// Drops the rows in `range` that were visible to `pin`: after a flush has published them in a
    /// block, with this edition. Runs beside commits, which note for the pin what it does not see: it must live until the end. New readers
    /// may see a row in the block and here until it is done.
    pub(crate) fn truncate(&self, range: TimeRange, pin: &Pin, edition: u64) -> Result<()> {
        // The pin itself reads nothing of what is replaced any more.
        let archives = self.pins.read_before(edition, Some(pin));
        let slots = self.index.read().slots();
        shard::apart(&slots).try_for_each(|slot| self.edit(slot, (edition, archives), range, pin.lsn()))
    }

    /// Readers pinned from here on see the edits of this edition.
    pub(crate) fn publish_edition(&self, edition: u64) {
        self.edition.store(edition, Ordering::SeqCst);
    }

    fn edit(&self, slot: u32, (edition, archives): (u64, bool), range: TimeRange, lsn: Lsn) -> Result<()> {
        let Some(shard) = self.shard(slot) else { return Ok(()) };
        let mut shard = shard.write();
        let Some(series) = shard.series_mut(slot) else { return Ok(()) };
        let edited = series.data.without(range, lsn).map_err(|e| Error::corrupt("(head)", 0, e))?;
        let Some(edited) = edited else { return Ok(()) };
        if archives {
            // What it replaces counts until it is pruned.
            let data = edited.beside(&series.data);
            self.grow(data.bytes());
            series.data.replace(edition, data);
        } else {
            let before = series.data.bytes();
            let data = edited.instead_of(&mut series.data);
            self.grow(data.bytes());
            series.data.supersede(data);
            self.shrink(before);
        }
        Ok(())
    }

    /// Forgets archived data that no reader asks for, and begins a round. Gives the slots of the series that have no rows, were
    /// not asked for in the last round, and are in no batch: they may be [removed](Head::remove).
    pub(crate) fn collect(&self) -> Empty {
        let edition = self.edition.load(Ordering::SeqCst);
        let readers = Readers { edition, pinned: self.pins.editions() };
        let round = self.round.fetch_add(1, Ordering::SeqCst);
        let safe = self.batches.lock().keys().next().copied().unwrap_or(u32::MAX).min(round);
        let (mut empty, mut freed) = (Vec::new(), 0);
        let slots = self.index.read().slots();
        for slot in shard::apart(&slots) {
            let Some(shard) = self.shard(slot) else { continue };
            let mut shard = shard.write();
            let Some(series) = shard.series_mut(slot) else { continue };
            freed += series.data.prune_archive(&readers);
            if series.is_empty() && series.touched < safe {
                empty.push(slot);
            }
        }
        empty.sort_unstable();
        self.shrink(freed);
        Empty { slots: empty, safe }
    }

    /// Removes series that are still empty, and were not asked for since. Says what is free now, once it is
    /// [released](Head::release). Not all under one lock: commits and readers go on between, and may meet a series that has left
    /// still in a list of postings.
    pub(crate) fn remove(&self, slots: &[u32], safe: u32) -> Removed {
        let leaves = |slot: &u32| {
            let Some(shard) = self.shard(*slot) else { return false };
            let left = shard.write().leave_if(*slot, |s| s.is_empty() && s.touched < safe);
            if left {
                self.live.leave(*slot);
                self.shrink(SERIES_BYTES);
            }
            left
        };
        let (mut removed, mut pairs, mut places) = (Removed::default(), RoaringBitmap::new(), 0);
        for slots in slots.chunks(LOCKED_SERIES) {
            let mut index = self.index.write();
            let leaving: Vec<u32> = slots.iter().copied().filter(leaves).collect();
            places += index.forget(&leaving, &mut pairs);
            removed.slots.extend(leaving);
        }
        if removed.slots.is_empty() {
            return removed;
        }
        let slots = removed.slots.iter().copied().collect();
        let mut pairs = pairs.into_iter().peekable();
        while pairs.peek().is_some() {
            let some = pairs.by_ref().take(LOCKED_LISTS);
            removed.pairs.extend(self.shrink_index(|index| index.leave_pairs(&slots, some)));
        }
        self.shrink_index(|index| index.leave_all(&slots, places));
        let names = self.index.read().name_numbers();
        for from in (0..names).step_by(LOCKED_NAMES) {
            self.shrink_index(|index| index.leave_names(&slots, from..from + LOCKED_NAMES));
        }
        removed
    }

    /// Edits the index, and counts what it gives back.
    fn shrink_index<T>(&self, edit: impl FnOnce(&mut HeadIndex) -> T) -> T {
        let mut index = self.index.write();
        let before = index.memory_bytes();
        let done = edit(&mut index);
        self.shrink(before.saturating_sub(index.memory_bytes()));
        done
    }

    /// Gives slots and numbers of label pairs back for new series, once the log has forgotten them.
    pub(crate) fn release(&self, removed: &Removed) {
        for slots in removed.slots.rchunks(LOCKED_SERIES) {
            self.index.write().release(slots, &[]);
        }
        for pairs in removed.pairs.chunks(LOCKED_SERIES) {
            self.index.write().release(&[], pairs);
        }
    }

    /// A batch begins: series that it asks for by labels stay until it ends.
    pub(crate) fn begin_batch(&self) -> u32 {
        let mut batches = self.batches.lock();
        let round = self.round.load(Ordering::SeqCst);
        *batches.entry(round).or_insert(0) += 1;
        round
    }

    /// The batch that began in that round is committed or rolled back.
    pub(crate) fn end_batch(&self, round: u32) {
        let mut batches = self.batches.lock();
        if let Some(n) = batches.get_mut(&round) {
            *n -= 1;
            if *n == 0 {
                batches.remove(&round);
            }
        }
    }

    /// A range that holds all rows; it may be larger than the tightest one.
    pub(crate) fn time_range(&self) -> TimeRange {
        self.hull.lock().all
    }

    /// The newest timestamp ever applied, if any was.
    pub(crate) fn newest_t(&self) -> Option<i64> {
        self.hull.lock().newest_t
    }

    /// Tightens the range after rows have left. Cost: linear in the series.
    pub(crate) fn tighten(&self) {
        self.hull.lock().recent = NOTHING;
        let mut all = NOTHING;
        self.for_each(|s| all = all.hull(s.data.time_range()));
        let mut hull = self.hull.lock();
        hull.all = all.hull(hull.recent);
    }

    fn widen(&self, rows: &[WalSample]) {
        if rows.is_empty() {
            return;
        }
        let range = wal::hull(rows);
        let newest_t = range.end().saturating_sub(1);
        let mut hull = self.hull.lock();
        hull.all = hull.all.hull(range);
        hull.recent = hull.recent.hull(range);
        hull.newest_t = hull.newest_t.max(Some(newest_t));
    }

    fn for_each(&self, mut f: impl FnMut(&Series)) {
        for shard in &self.shards {
            // A run under each lock: a commit that waits for it waits as long in a large head as in a small one.
            for run in 0.. {
                let shard = shard.read();
                let Some(series) = shard.series_of_run(run) else { break };
                series.for_each(&mut f);
            }
        }
    }

    /// Active series.
    pub(crate) fn series_count(&self) -> usize {
        self.index.read().len()
    }

    /// Rows, seen or not. Cost: linear in the series.
    pub(crate) fn rows(&self) -> u64 {
        let mut rows = 0;
        self.for_each(|s| rows += s.data.rows());
        rows
    }

    /// Bytes of labels, chunks and bookkeeping, roughly.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn grow(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn shrink(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes.min(self.bytes()), Ordering::Relaxed);
    }
}

impl LabelsOf for Head {
    fn pairs_of(&self, series: u32, tell: &mut dyn FnMut(Option<u32>, &[u8])) {
        self.index.read().pairs_of(series).for_each(|(number, text)| tell(Some(number), text));
    }
}
