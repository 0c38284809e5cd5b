//! One step of maintenance after the other: flush, retention, clean-up; merges are in `merge`.
//!
//! A step is whole: it ends with a swap of the manifest or with nothing changed. The background threads and
//! [`Db::maintain`] run the same steps. Flush, retention and clean-up are short and run under the maintenance lock, one at a
//! time; a merge may be long and holds that lock only while it begins and while it ends, so that no flush waits for
//! it. A failed step removes its unfinished files, or leaves them, unlisted, to be removed by the next open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::compact::{self, Form, Keep, Means};
use crate::db::commit;
use crate::db::counters::{count, count_many};
use crate::db::merge::{NewBlock, candidates};
use crate::db::open::set_aside;
use crate::db::publish::Edit;
use crate::db::report::Event;
use crate::db::version::{LiveBlock, LiveTombstone, Version};
use crate::db::{Db, Shared, SyncPolicy, millis};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::format::manifest::Floor;
use crate::head::{HeadView, Pin};
use crate::model::{Cancel, Lsn, TimeRange};
use crate::source::Source;
use crate::wal;

/// How many series, or pairs, the log forgets under one lock.
const FORGOTTEN_AT_ONCE: usize = 4_096;

/// How much a call of maintenance should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What is due.
    Due,
    /// All of the head too, whatever its age.
    Everything,
}

impl Db {
    /// Runs maintenance until nothing is due: flush of complete ranges, merges, retention, clean-up of deletes and of the log.
    /// Waits for a step that another thread is at: flush and retention wait for a flush, merges for a merge.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// // With `Maintenance::Manual` nothing happens in the background: call this now and then.
    /// let db = Db::open(dir.path().join("metrics"), Options::default().maintenance(Maintenance::Manual))?;
    /// db.maintain()?;
    /// assert_eq!(db.stats().flushes, 0, "nothing was due");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first step's that failed; what was done before stays done.
    pub fn maintain(&self) -> Result<()> {
        let shared = self.shared();
        shared.check_writable()?;
        shared.maintain(Extent::Due, &shared.options.cancel).inspect_err(|_| shared.tell_poison())
    }

    /// Flushes all of the head, merges to a fixpoint, and leaves no superseded file behind that no reader holds.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
    /// # app.append_ref(up, 2_000, 0.0)?;
    /// # app.commit()?;
    /// db.compact(&Cancel::default())?;
    /// assert_eq!((db.stats().head_samples, db.stats().block_samples), (0, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`maintain`](Db::maintain); [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
    pub fn compact(&self, cancel: &Cancel) -> Result<()> {
        let shared = self.shared();
        shared.check_writable()?;
        shared.maintain(Extent::Everything, cancel).inspect_err(|_| shared.tell_poison())
    }
}

impl Shared {
    /// Steps until nothing is left to do. What a step did is told right after it, when no lock is held.
    pub(crate) fn maintain(&self, extent: Extent, cancel: &Cancel) -> Result<()> {
        self.begin(extent)?;
        self.repeat(|| Ok(self.settle(extent, cancel)? || self.merge(extent, cancel, None)?)).map(drop)
    }

    /// The steps of the thread that flushes. Whether there were any.
    pub(crate) fn settle_all(&self) -> Result<bool> {
        self.begin(Extent::Due)?;
        self.repeat(|| self.settle(Extent::Due, &self.options.cancel))
    }

    /// The steps of the thread that merges, in its spare time. Whether there were any.
    pub(crate) fn merge_all(&self) -> Result<bool> {
        self.repeat(|| self.merge(Extent::Due, &self.options.cancel, self.options.merge_rate))
    }

    fn repeat(&self, step: impl Fn() -> Result<bool>) -> Result<bool> {
        let mut steps = 0;
        loop {
            let progressed = step();
            self.tell();
            match progressed? {
                true => steps += 1,
                false => return Ok(steps > 0),
            }
        }
    }

    fn begin(&self, extent: Extent) -> Result<()> {
        let _one_at_a_time = self.maintenance.lock();
        if let SyncPolicy::Interval(every) = self.options.sync {
            self.sync_if_due(self.head.visible(), millis(every))?;
        }
        match extent {
            Extent::Due => Ok(()),
            Extent::Everything => self.rotate_log(),
        }
    }

    /// One flush or retirement, and the clean-up after it. Whether there may be more to do.
    fn settle(&self, extent: Extent, cancel: &Cancel) -> Result<bool> {
        let merging = self.maintenance.lock();
        cancel.check()?;
        self.check_writable()?;
        let progressed = self.next(extent, cancel, &merging)?;
        self.collect_head();
        self.remove_segments()?;
        if progressed {
            self.manifests.make_reserve();
        }
        Ok(progressed || self.forget_tombstones()?)
    }

    /// What is due next. Whether there was anything. Where a flush finds the disk full, retention may make the room.
    fn next(&self, extent: Extent, cancel: &Cancel, merging: &[u64]) -> Result<bool> {
        match self.flush(extent, cancel) {
            Err(e) if e.kind() == ErrorKind::NoSpace && e.applied() == Applied::No => {
                match self.retire(merging)? {
                    true => Ok(true),
                    false => Err(e),
                }
            }
            flushed => Ok(flushed? || self.retire(merging)?),
        }
    }

    /// Flushes the oldest range that is complete (or any, if everything goes). Whether there was one.
    fn flush(&self, extent: Extent, cancel: &Cancel) -> Result<bool> {
        // The pin comes first: a row that a commit adds before the range later than this is above the floor.
        let now = self.head.pin();
        let Some(range) = self.range_to_flush(extent) else { return Ok(false) };
        let pin = Arc::new(now.before(range.end()));
        drop(now);
        #[cfg(feature = "tracing")]
        let _span = tracing::info_span!("flush", ?range).entered();
        self.flushing.store(true, Ordering::Relaxed);
        let flushed = self.flush_range(range, &pin, extent, cancel);
        self.flushing.store(false, Ordering::Relaxed);
        flushed.map(|()| true)
    }

    /// Makes the rows of a range that the pin sees into a block, and takes them out of the head.
    fn flush_range(&self, range: TimeRange, pin: &Arc<Pin>, extent: Extent, cancel: &Cancel) -> Result<()> {
        self.sync_through(pin.lsn())?;
        let view = HeadView::new(Arc::clone(&self.head), Arc::clone(pin));
        let source: Arc<dyn Source> = Arc::new(view);
        // A flush is quick, and the merges after it write columns; if all is to be compacted, there may be none.
        let form = if extent == Extent::Everything { Form::Columns } else { Form::Gorilla };
        let new = NewBlock { range, through: pin.lsn(), level: 0, precedence: None, form };
        let added = self.write_block(&[source], new, &Means::plain(cancel))?;
        let samples = added.as_ref().map_or(0, |b| b.block.meta().samples);
        let bytes = added.as_ref().map_or(0, |b| b.block.bytes());
        // The range is the oldest with rows: older ones of these commits are all in blocks, or deleted.
        let floor = Floor { range: TimeRange::new(i64::MIN, range.end()), through: pin.lsn() };
        let edit =
            Edit { add: added.into_iter().collect(), floor: Some(floor), lsn: pin.lsn(), ..Edit::default() };
        let edition = {
            let guard = self.publish.lock();
            let edition = self.head.next_edition();
            self.publish_locked(&guard, edit, || self.head.publish_edition(edition))?;
            edition
        };
        self.head.truncate(range, pin, edition)?;
        count(&self.counters.flushes);
        count_many(&self.counters.new_block_bytes, bytes);
        self.tell_later(Event::Flushed { range, samples });
        Ok(())
    }

    /// The oldest block range with rows in the head, if it is to be flushed: all rows of a range are there once
    /// the newest is half a range (and the out-of-order window) past its end; a full head does not wait.
    fn range_to_flush(&self, extent: Extent) -> Option<TimeRange> {
        let hull = self.head.time_range();
        if hull.is_empty() {
            return None;
        }
        let width = self.options.block_range_ms();
        let start = hull.start().div_euclid(width).saturating_mul(width);
        let range = TimeRange::new(start, start.saturating_add(width));
        let slack = (width / 2).max(millis(self.options.out_of_order_window));
        let complete = self.head.newest_t()? >= range.end().saturating_add(slack);
        (complete || self.is_pressed() || extent == Extent::Everything).then_some(range)
    }

    /// Drops the blocks that retention says, but for those that a merge reads. Whether there were any.
    fn retire(&self, merging: &[u64]) -> Result<bool> {
        let version = self.version();
        let Some(newest) = self.newest_sample() else { return Ok(false) };
        let keep = Keep {
            retention_ms: self.options.retention.map(millis),
            max_bytes: self.options.retention_bytes.map(|total| total.saturating_sub(self.wal_bytes())),
        };
        if keep.retention_ms.is_none() && keep.max_bytes.is_none() {
            return Ok(false);
        }
        let mut blocks = candidates(&version, Extent::Due)?;
        for (candidate, block) in blocks.iter_mut().zip(&version.blocks) {
            candidate.reserved = merging.contains(&block.entry.sequence);
        }
        let go = compact::expired(&blocks, keep, self.options.clock.now_ms(), newest);
        let gone: Vec<&Arc<LiveBlock>> = go.iter().filter_map(|&i| version.blocks.get(i)).collect();
        if gone.is_empty() {
            return Ok(false);
        }
        let remove = gone.iter().map(|b| b.entry.sequence).collect();
        self.publish(Edit { remove, ..Edit::default() }, || {})?;
        for block in gone {
            count(&self.counters.dropped);
            self.tell_later(Event::Dropped { range: block.range(), bytes: block.block.bytes() });
        }
        Ok(true)
    }

    /// Forgets deletes that nothing on disk is under any more. Whether there were any.
    fn forget_tombstones(&self) -> Result<bool> {
        let guard = self.publish.lock();
        let version = self.version();
        let oldest = self.oldest_logged();
        let needed = |t: &&LiveTombstone| {
            oldest.is_some_and(|oldest| oldest < t.lsn)
                || version.blocks.iter().any(|b| b.entry.through < t.lsn && b.range().overlaps(t.range))
        };
        let kept: Vec<LiveTombstone> = version.tombstones.iter().filter(needed).cloned().collect();
        if kept.len() == version.tombstones.len() {
            return Ok(false);
        }
        self.publish_locked(&guard, Edit { tombstones: Some(kept), ..Edit::default() }, || {})?;
        Ok(true)
    }

    /// Forgets what no reader asks for any more and series without rows.
    fn collect_head(&self) {
        let Some(writer) = &self.writer else { return };
        let empty = self.head.collect();
        let removed = self.head.remove(&empty.slots, empty.safe);
        // Not all under one lock: commits go on between.
        for slots in removed.slots.chunks(FORGOTTEN_AT_ONCE) {
            let mut state = writer.lock();
            slots.iter().for_each(|&slot| state.wal.forget(slot));
        }
        for pairs in removed.pairs.chunks(FORGOTTEN_AT_ONCE) {
            let mut state = writer.lock();
            pairs.iter().for_each(|&pair| state.wal.forget_pair(pair));
        }
        self.head.release(&removed);
        self.head.tighten();
    }

    /// Starts a new segment, so that all before can go once it is flushed.
    pub(crate) fn rotate_log(&self) -> Result<()> {
        match &self.writer {
            Some(writer) => {
                let mut state = writer.lock();
                self.note_unknown(state.wal.rotate())?;
                self.group.wrote(state.wal.sync_point(), state.last_lsn);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Removes the sealed segments whose every sample has been flushed. One that is damaged may hold what nobody could
    /// read: it is set aside, once it is the oldest.
    fn remove_segments(&self) -> Result<()> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let version = self.version();
        let mut moved = Vec::new();
        let mut kept = false;
        let mut state = writer.lock();
        for segment in state.wal.segments().to_vec() {
            if !is_flushed(&version, segment.range, segment.last_lsn) || (segment.damaged && kept) {
                kept = true;
                continue;
            }
            let path = &segment.path;
            if segment.damaged && self.options.fs.stat(path).is_ok_and(|entry| entry.is_some()) {
                moved.push(set_aside(&*self.options.fs, &self.layout, path)?);
            }
            state.wal.leave(segment.sequence)?;
        }
        drop(state);
        let unlinked = self.unlink_segments(writer);
        self.note_oldest_logged(&writer.lock().wal);
        unlinked?;
        for path in moved {
            count(&self.counters.quarantined);
            self.event(&Event::Quarantined { path });
        }
        Ok(())
    }

    /// Removes the files of segments that leave, oldest first; the system is not waited for under the commit lock.
    fn unlink_segments(&self, writer: &commit::Writer) -> Result<()> {
        loop {
            let leaving = writer.lock().wal.leaves_next();
            let Some(path) = leaving else { return Ok(()) };
            wal::unlink(&*self.options.fs, &path)?;
            writer.lock().wal.left(&path);
        }
    }

    /// The newest timestamp stored.
    pub(crate) fn newest_sample(&self) -> Option<i64> {
        let version = self.version();
        let blocks = version.blocks.iter().map(|b| b.block.meta().max_t).max();
        blocks.max(self.head.newest_t())
    }
}

/// Whether all samples of a range up to a commit have been flushed: floors cover the range.
fn is_flushed(version: &Version, range: TimeRange, last: Lsn) -> bool {
    let mut covered = crate::model::Intervals::default();
    for floor in version.manifest.floors.iter().filter(|f| f.through >= last) {
        covered.add(floor.range);
    }
    covered.covers(range)
}

/// What failed, told to who listens.
pub(crate) fn tell_failure(shared: &Shared, error: Error) {
    count(&shared.counters.failures);
    shared.event(&Event::MaintenanceFailed { error });
}
