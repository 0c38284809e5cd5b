//! The head: the newest samples, in memory, indexed by label; the log guards it.
//!
//! ```text
//!   SeriesRef = tag of the handle (16) │ generation (16) │ slot (32)
//!   index   labels ─▶ slot, (name, value) ─▶ postings        one read-write lock
//!   shards  slot ─▶ Gate, Series { rows, marks, archive }     slots in runs of 1,024, SHARDS locks
//!   live    slot ─▶ generation                                no lock
//!   pins    readers: (commit, edition)
//! ```
//!
//! Writers come one at a time (the commit lock is in `db`): first [`Head::judge`] gives a verdict
//! on each row, then the log takes what was accepted, then [`Head::apply`] adds it and
//! [`Head::set_visible`] shows the whole commit at once. Readers take a [`Pin`] and see exactly the commits
//! up to it, across shards; they hold a shard's lock only while they copy out one series.
//!
//! Rows leave in two ways, both by *editions* (see `series`): a delete, under the commit lock, and
//! the truncation after a flush, beside running commits. Series without rows are collected.
//!
//! Lock order: index, shard, pins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::error::{AppendError, Error, Result};
use crate::model::{Cancel, Labels, Lsn, Matcher, Metadata, SeriesRef, TimeRange};
use crate::postings;
use crate::sync::{Mutex, Rank, RwLock};
use crate::wal::WalSample;

mod index;
mod live;
mod pins;
mod series;
mod verdict;
mod view;

#[cfg(test)]
mod tests;

use index::HeadIndex;
use live::Live;
pub(crate) use pins::Pin;
use pins::Pins;
use series::{SERIES_BYTES, Series};
pub(crate) use verdict::{Row, Verdicts};
pub(crate) use view::HeadView;

/// Locks over the series; a commit takes one at a time.
const SHARDS: usize = 16;
/// Consecutive slots of one shard, so that a scrape's rows stay under one lock.
const RUN: usize = 1_024;

/// What the head needs to know of the options.
#[derive(Clone, Debug)]
pub(crate) struct HeadOptions {
    /// Chunks end at multiples of it, so that a flush takes whole ones.
    pub(crate) range_ms: i64,
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

/// The series of one lock, and their gates; both by place.
#[derive(Debug, Default)]
struct Shard {
    gates: Vec<Gate>,
    series: Vec<Option<Series>>,
}

/// What the verdict on a common row needs of its series, and nothing else: 1,000 of them take 16 KB.
#[derive(Clone, Copy, Debug)]
struct Gate {
    /// The first time that is in order after what was applied, and what the batch in progress has accepted.
    next_t: i64,
    /// Of the series that lives there, if one does.
    generation: Option<u16>,
}

/// The gate of nobody.
const SHUT: Gate = Gate { next_t: i64::MIN, generation: None };

/// The times of the rows: `recent` since the last tightening began.
#[derive(Debug)]
struct Hull {
    all: TimeRange,
    recent: TimeRange,
    newest_t: Option<i64>,
}

const NOTHING: TimeRange = TimeRange::new(0, 0);

/// Where a slot lives.
fn place(slot: u32) -> (usize, usize) {
    let slot = slot as usize;
    let run = slot / RUN;
    (run % SHARDS, run / SHARDS * RUN + slot % RUN)
}

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
        let (slot, generation) = match known {
            Some(slot) => match self.touch(slot, labels, round) {
                Some(generation) => (slot, generation),
                None => self.create((hash, labels), round, bounded)?,
            },
            None => self.create((hash, labels), round, bounded)?,
        };
        Ok(SeriesRef::of(self.tag, generation, slot))
    }

    /// Keeps a known series from being collected in this round; `None` if it was collected just now.
    fn touch(&self, slot: u32, labels: &Labels, round: u32) -> Option<u16> {
        let (shard, at) = place(slot);
        if let Some(Some(s)) = self.shards.get(shard)?.read().series.get(at)
            && s.touched >= round
            && s.labels == *labels
        {
            return Some(s.generation);
        }
        let mut shard = self.shards.get(shard)?.write();
        let s = shard.series.get_mut(at)?.as_mut().filter(|s| s.labels == *labels)?;
        s.touched = round;
        Some(s.generation)
    }

    fn create(
        &self,
        (hash, labels): (u64, &Labels),
        round: u32,
        bounded: bool,
    ) -> Result<(u32, u16), AppendError> {
        let mut index = self.index.write();
        if let Some(slot) = index.find(hash, labels) {
            return self.touch(slot, labels, round).map(|g| (slot, g)).ok_or(AppendError::StaleRef);
        }
        let full = index.len() >= self.options.max_series || self.bytes() >= self.options.max_bytes;
        if bounded && full {
            return Err(AppendError::Ceiling);
        }
        let (slot, generation) = index.insert(hash, labels).ok_or(AppendError::Ceiling)?;
        let (shard, at) = place(slot);
        if let Some(shard) = self.shards.get(shard) {
            let mut shard = shard.write();
            if shard.series.len() <= at {
                shard.series.resize_with(at + 1, || None);
                shard.gates.resize(at + 1, SHUT);
            }
            if let Some(gate) = shard.gates.get_mut(at) {
                *gate = Gate { generation: Some(generation), ..SHUT };
            }
            if let Some(place) = shard.series.get_mut(at) {
                *place = Some(Series::new(labels.clone(), generation, round));
                self.live.enter(slot, generation);
            }
        }
        self.grow(SERIES_BYTES + 2 * labels.as_bytes().len() as u64);
        Ok((slot, generation))
    }

    /// Whether a reference is of a live series of this handle.
    pub(crate) fn is_live(&self, series: SeriesRef) -> bool {
        series.slot(self.tag).is_some_and(|(slot, generation)| self.live.is(slot, generation))
    }

    /// The labels of a live slot.
    pub(crate) fn labels_of(&self, slot: u32) -> Option<Labels> {
        let (shard, at) = place(slot);
        let shard = self.shards.get(shard)?.read();
        shard.series.get(at)?.as_ref().map(|s| s.labels.clone())
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
        for slot in &ids {
            self.edit(slot, edition, range, Lsn(u64::MAX))?;
        }
        self.publish_edition(edition);
        Ok(())
    }

    /// The number of an edition that begins now: publish it together with the block of a flush, then truncate.
    pub(crate) fn next_edition(&self) -> u64 {
        self.edition.load(Ordering::SeqCst) + 1
    }

    /// Drops the rows in `range` that were visible to `pin`: after a flush has published them in a
    /// block, with this edition. Runs beside commits. New readers may see a row in the block and here until it is done.
    pub(crate) fn truncate(&self, range: TimeRange, pin: &Pin, edition: u64) -> Result<()> {
        let slots: Vec<u32> = self.index.read().slots();
        for slot in slots {
            self.edit(slot, edition, range, pin.lsn())?;
        }
        Ok(())
    }

    /// Readers pinned from here on see the edits of this edition.
    pub(crate) fn publish_edition(&self, edition: u64) {
        self.edition.store(edition, Ordering::SeqCst);
    }

    fn edit(&self, slot: u32, edition: u64, range: TimeRange, lsn: Lsn) -> Result<()> {
        let (shard, at) = place(slot);
        let Some(shard) = self.shards.get(shard) else { return Ok(()) };
        let mut shard = shard.write();
        let Some(Some(series)) = shard.series.get_mut(at) else { return Ok(()) };
        let edited = series.data.without(range, lsn).map_err(|e| Error::corrupt("(head)", 0, e))?;
        if let Some(data) = edited {
            let (before, after) = (series.data.bytes(), data.bytes());
            series.replace(edition, data);
            self.shrink(before.saturating_sub(after));
        }
        Ok(())
    }

    /// Forgets archived data that no reader can ask for, and series that have no rows, were not
    /// asked for since the last round, and are in no batch. Returns the slots that are free now.
    pub(crate) fn collect(&self) -> Vec<u32> {
        let oldest_edition = self.pins.oldest_edition().unwrap_or(u64::MAX);
        let round = self.round.fetch_add(1, Ordering::SeqCst);
        let safe = self.batches.lock().keys().next().copied().unwrap_or(u32::MAX).min(round);
        let mut empty = Vec::new();
        for slot in self.index.read().slots() {
            let (shard, at) = place(slot);
            let Some(shard) = self.shards.get(shard) else { continue };
            let mut shard = shard.write();
            let Some(Some(series)) = shard.series.get_mut(at) else { continue };
            series.prune_archive(oldest_edition);
            if series.is_empty() && series.touched < safe {
                empty.push(slot);
            }
        }
        self.remove(&empty, safe)
    }

    fn remove(&self, slots: &[u32], safe: u32) -> Vec<u32> {
        let mut index = self.index.write();
        let mut removed = Vec::new();
        for &slot in slots {
            let (shard, at) = place(slot);
            let Some(shard) = self.shards.get(shard) else { continue };
            let mut shard = shard.write();
            let Shard { gates, series } = &mut *shard;
            let (Some(gate), Some(place)) = (gates.get_mut(at), series.get_mut(at)) else { continue };
            if let Some(series) = place.take_if(|s| s.is_empty() && s.touched < safe) {
                *gate = SHUT;
                self.live.leave(slot);
                index.remove(slot, &series.labels);
                self.shrink(SERIES_BYTES + 2 * series.labels.as_bytes().len() as u64);
                removed.push(slot);
            }
        }
        removed
    }

    /// Gives slots back for new series, once the log has forgotten them.
    pub(crate) fn release(&self, slots: &[u32]) {
        self.index.write().release(slots);
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
        let (min, max) = rows.iter().fold((i64::MAX, i64::MIN), |(min, max), r| (min.min(r.t), max.max(r.t)));
        let range = TimeRange::inclusive(min, max);
        let mut hull = self.hull.lock();
        hull.all = hull.all.hull(range);
        hull.recent = hull.recent.hull(range);
        hull.newest_t = hull.newest_t.max(Some(max));
    }

    fn for_each(&self, mut f: impl FnMut(&Series)) {
        for shard in &self.shards {
            shard.read().series.iter().flatten().for_each(&mut f);
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
