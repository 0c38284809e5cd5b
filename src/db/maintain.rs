//! One step of maintenance after the other: flush, merge, retention, clean-up.
//!
//! A step is whole: it ends with a swap of the manifest or with nothing changed. The background thread and
//! [`Db::maintain`] run the same steps under the maintenance lock, one at a time; a failed step removes
//! its unfinished files, or leaves them, unlisted, to be removed by the next open.

use std::sync::Arc;

use crate::block::{Writer, WriterOptions};
use crate::compact::{self, Candidate, Form, Keep};
use crate::db::commit;
use crate::db::counters::count;
use crate::db::open::set_aside;
use crate::db::publish::Edit;
use crate::db::report::Event;
use crate::db::version::{LiveBlock, LiveTombstone, Version};
use crate::db::{Db, Shared, SyncPolicy, millis};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::format::manifest::Floor;
use crate::head::HeadView;
use crate::model::{Cancel, Lsn, TimeRange};
use crate::source::Source;
use crate::wal;

/// Series without rows that leave together.
const COLLECTED_SERIES: usize = 4_096;

/// How much a call of maintenance should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What is due.
    Due,
    /// All of the head too, whatever its age.
    Everything,
}

/// What a block that is to be written will be.
#[derive(Clone, Copy, Debug)]
struct Target {
    range: TimeRange,
    through: Lsn,
    level: u8,
    /// That of the block's own sequence, if it is new.
    precedence: Option<u64>,
    form: Form,
}

impl Db {
    /// Runs maintenance until nothing is due: flush of complete ranges, merges, retention, clean-up of deletes and of the log.
    /// Waits for a step that another thread is at.
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
        loop {
            let progressed = self.step(extent, cancel);
            self.tell();
            if !progressed? {
                return Ok(());
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

    /// One flush, retirement or merge, and the clean-up after it. Whether there may be more to do.
    fn step(&self, extent: Extent, cancel: &Cancel) -> Result<bool> {
        let _one_at_a_time = self.maintenance.lock();
        cancel.check()?;
        self.check_writable()?;
        let progressed = self.next(extent, cancel)?;
        self.collect_head();
        self.remove_segments()?;
        if progressed {
            self.manifests.make_reserve();
        }
        Ok(progressed || self.forget_tombstones()?)
    }

    /// What is due next. Whether there was anything. Where a flush finds the disk full, retention may make the room.
    fn next(&self, extent: Extent, cancel: &Cancel) -> Result<bool> {
        match self.flush(extent, cancel) {
            Err(e) if e.kind() == ErrorKind::NoSpace && e.applied() == Applied::No => match self.retire()? {
                true => Ok(true),
                false => Err(e),
            },
            flushed => Ok(flushed? || self.retire()? || self.merge(extent, cancel)?),
        }
    }

    /// Flushes the oldest range that is complete (or any, if everything goes). Whether there was one.
    fn flush(&self, extent: Extent, cancel: &Cancel) -> Result<bool> {
        // The pin comes first: a row that a commit adds before the range later than this is above the floor.
        let pin = self.head.pin();
        let Some(range) = self.range_to_flush(extent) else { return Ok(false) };
        #[cfg(feature = "tracing")]
        let _span = tracing::info_span!("flush", ?range).entered();
        self.sync_through(pin.lsn())?;
        let view = HeadView::new(Arc::clone(&self.head), Arc::clone(&pin));
        let source: Arc<dyn Source> = Arc::new(view);
        // A flush is quick, and the merges after it write columns; if all is to be compacted, there may be none.
        let form = if extent == Extent::Everything { Form::Columns } else { Form::Gorilla };
        let target = Target { range, through: pin.lsn(), level: 0, precedence: None, form };
        let added = self.write_block(&[source], target, cancel)?;
        let samples = added.as_ref().map_or(0, |b| b.block.meta().samples);
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
        self.head.truncate(range, &pin, edition)?;
        count(&self.counters.flushes);
        self.tell_later(Event::Flushed { range, samples });
        Ok(true)
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

    /// Writes the samples of sources in a range as one block under a new name, not published yet;
    /// `None` if there are none. A new block's precedence is its sequence; a merged one keeps its inputs' highest.
    fn write_block(
        &self,
        sources: &[Arc<dyn Source>],
        target: Target,
        cancel: &Cancel,
    ) -> Result<Option<Arc<LiveBlock>>> {
        let Target { range, through, level, precedence, form } = target;
        let sequence = self.take_sequence();
        let dir = self.unfinished_block(range, sequence);
        let options = WriterOptions { salt: salt(sequence), range, through, level };
        let writer = Writer::create(Arc::clone(&self.options.fs), dir.clone(), options)
            .inspect_err(|_| self.discard_block(range, sequence))?;
        let adopt = |meta| self.adopt(&dir, &meta, sequence, precedence.unwrap_or(sequence)).map(Arc::new);
        let written = compact::write(sources, range, form, writer, cancel);
        written
            .and_then(|meta| meta.map(adopt).transpose())
            .inspect_err(|_| self.discard_block(range, sequence))
    }

    /// Merges the blocks that the plan names next. Whether there were any.
    fn merge(&self, extent: Extent, cancel: &Cancel) -> Result<bool> {
        let version = self.version();
        let Some(newest) = self.newest_sample() else { return Ok(false) };
        let candidates = candidates(&version, extent)?;
        let Some(step) = compact::plan(&candidates, &self.options.level_ranges_ms(), newest) else {
            return Ok(false);
        };
        #[cfg(feature = "tracing")]
        let _span = tracing::info_span!("merge", blocks = step.inputs.len(), range = ?step.range).entered();
        let inputs: Vec<&Arc<LiveBlock>> =
            step.inputs.iter().filter_map(|&i| version.blocks.get(i)).collect();
        let sources: Vec<Arc<dyn Source>> =
            inputs.iter().map(|b| Arc::new(version.view(b)) as Arc<dyn Source>).collect();
        // The deletes of this version are applied on the way: the result is as if committed after them.
        let commits = inputs.iter().map(|b| b.entry.through);
        let through = commits.chain(version.tombstones.iter().map(|t| t.lsn)).max().unwrap_or_default();
        let precedence = inputs.iter().map(|b| b.entry.precedence).max();
        let target =
            Target { range: step.range, through, level: step.level, precedence, form: Form::Columns };
        let added = self.write_block(&sources, target, cancel)?;
        let samples = added.as_ref().map_or(0, |b| b.block.meta().samples);
        let remove = inputs.iter().map(|b| b.entry.sequence).collect();
        self.publish(Edit { add: added.into_iter().collect(), remove, ..Edit::default() }, || {})?;
        count(&self.counters.merges);
        self.tell_later(Event::Merged { blocks: inputs.len(), range: step.range, samples });
        Ok(true)
    }

    /// Drops the blocks that retention says. Whether there were any.
    fn retire(&self) -> Result<bool> {
        let version = self.version();
        let Some(newest) = self.newest_sample() else { return Ok(false) };
        let keep = Keep {
            retention_ms: self.options.retention.map(millis),
            max_bytes: self.options.retention_bytes.map(|total| total.saturating_sub(self.wal_bytes())),
        };
        if keep.retention_ms.is_none() && keep.max_bytes.is_none() {
            return Ok(false);
        }
        let blocks = candidates(&version, Extent::Due)?;
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
        // Not all under one lock: commits go on between.
        for slots in empty.slots.chunks(COLLECTED_SERIES) {
            let removed = self.head.remove(slots, empty.safe);
            let mut state = writer.lock();
            removed.slots.iter().for_each(|&slot| state.wal.forget(slot));
            removed.pairs.iter().for_each(|&pair| state.wal.forget_pair(pair));
            self.head.release(&removed);
        }
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
    fn newest_sample(&self) -> Option<i64> {
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

/// What the plan and retention know of the blocks. A rewrite is due for every block that a delete touches, or that has no
/// columns yet, if everything is to be compacted, and otherwise once a delete touches a notable part.
fn candidates(version: &Version, extent: Extent) -> Result<Vec<Candidate>> {
    let candidate = |block: &Arc<LiveBlock>| {
        let meta = block.block.meta();
        let (series, touched) = (u64::from(meta.series), version.touched_series(block)?);
        Ok(Candidate {
            range: block.range(),
            samples: TimeRange::inclusive(meta.min_t, meta.max_t),
            precedence: block.entry.precedence,
            bytes: block.block.bytes(),
            series,
            touched_series: match extent {
                Extent::Everything if touched > 0 || meta.times_bytes == 0 => series,
                _ => touched,
            },
        })
    };
    version.blocks.iter().map(candidate).collect()
}

/// Salts a block's checksums, so that a unit of another block does not pass.
pub(crate) fn salt(sequence: u64) -> u32 {
    crate::format::cursor::crc(0x5b10_c001, &sequence.to_le_bytes())
}

/// What failed, told to who listens.
pub(crate) fn tell_failure(shared: &Shared, error: Error) {
    count(&shared.counters.failures);
    shared.event(&Event::MaintenanceFailed { error });
}
