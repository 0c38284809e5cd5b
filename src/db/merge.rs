//! Merges: the blocks that the plan names are read while flushes, retention and deletes go on, and one swap puts the new one in
//! their place.
//!
//! ```text
//!   [merge lock ───────────────────────────────────────────────────────────────────────────────────────]
//!     [maintenance lock]  plan ▸ reserve        read ▸ code ▸ write ▸ sync ▸ read back        [maintenance lock]  swap ▸ release
//! ```
//!
//! One merge runs at a time. Its inputs are *reserved*: retention lets them be, and what hides samples of them. All else may come in between:
//! - A **flush** or a **load** makes a block with a new sequence, which is a precedence above all that the merge reads, and so above
//!   the result, too: as if it had come after the merge. If it shares time with the result, the next plan says so.
//! - A **delete** is numbered above all deletes that the merge applies, and so above the `through` of the result: it hides from the
//!   result what it hid from the inputs. It is not forgotten before the swap, since the inputs are under it.
//! - **Retention** of others changes nothing: what the merge reads is kept by its version.
//!
//! Before the swap a new block is *read back*: each unit is checked, and all of it is compared with what the writer was given. What was not
//! written as it should be is an error, the block is removed, and the inputs stay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::block::{Writer, WriterOptions};
use crate::compact::{self, Candidate, Form, Means};
use crate::db::Shared;
use crate::db::counters::{count, count_many};
use crate::db::maintain::Extent;
use crate::db::publish::Edit;
use crate::db::report::Event;
use crate::db::version::{LiveBlock, Version};
use crate::error::Result;
use crate::model::{Cancel, Lsn, TimeRange};
use crate::source::Source;

/// How often a merge that rests while there is a flush looks whether it is done, and how many times: then it goes on beside it.
const LOOK_FOR_FLUSH: Duration = Duration::from_millis(5);
const LOOKS_FOR_FLUSH: u32 = 20;

/// What a block that is to be written will be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewBlock {
    pub(crate) range: TimeRange,
    pub(crate) through: Lsn,
    pub(crate) level: u8,
    /// That of the block's own sequence, if it is new.
    pub(crate) precedence: Option<u64>,
    pub(crate) form: Form,
}

/// A merge that was planned: its inputs are reserved.
pub(crate) struct Job {
    version: Arc<Version>,
    step: compact::Plan,
}

impl Job {
    fn inputs(&self) -> impl Iterator<Item = &Arc<LiveBlock>> {
        self.step.inputs.iter().filter_map(|&i| self.version.blocks.get(i))
    }
}

impl Shared {
    /// Merges the blocks that the plan names next, at so many bytes a second. Whether there were any.
    pub(crate) fn merge(&self, extent: Extent, cancel: &Cancel, rate: Option<u64>) -> Result<bool> {
        let _one_at_a_time = self.merging.lock();
        let cancel = &cancel.or(&self.ending);
        self.check_writable()?;
        cancel.check()?;
        let Some(job) = self.plan_merge(extent)? else { return Ok(false) };
        #[cfg(feature = "tracing")]
        let _span =
            tracing::info_span!("merge", blocks = job.step.inputs.len(), range = ?job.step.range).entered();
        let written = self.write_merged(&job, cancel, rate);
        self.end_merge(&job, written).map(|()| true)
    }

    /// Releases the inputs, and puts what was written in their place.
    pub(crate) fn end_merge(&self, job: &Job, written: Result<Option<Arc<LiveBlock>>>) -> Result<()> {
        let mut reserved = self.maintenance.lock();
        reserved.clear();
        // Closing ends a merge; who called for it is told so.
        let added = written.map_err(|e| self.check_open().err().unwrap_or(e))?;
        let samples = added.as_ref().map_or(0, |b| b.block.meta().samples);
        let remove = job.inputs().map(|b| b.entry.sequence).collect();
        self.publish(Edit { add: added.into_iter().collect(), remove, ..Edit::default() }, || {})?;
        self.manifests.make_reserve();
        count(&self.counters.merges);
        self.tell_later(Event::Merged { blocks: job.step.inputs.len(), range: job.step.range, samples });
        Ok(())
    }

    /// The next merge, if there is one to be done; its inputs are reserved.
    pub(crate) fn plan_merge(&self, extent: Extent) -> Result<Option<Job>> {
        let mut reserved = self.maintenance.lock();
        let version = self.version();
        let Some(newest) = self.newest_sample() else { return Ok(None) };
        let candidates = candidates(&version, extent)?;
        let step = compact::plan(&candidates, &self.options.level_ranges_ms(), newest);
        let job = step.map(|step| Job { version, step });
        *reserved = job.iter().flat_map(Job::inputs).map(|b| b.entry.sequence).collect();
        Ok(job)
    }

    /// Writes what the inputs hold together, deletes applied.
    pub(crate) fn write_merged(
        &self,
        job: &Job,
        cancel: &Cancel,
        rate: Option<u64>,
    ) -> Result<Option<Arc<LiveBlock>>> {
        let version = &job.version;
        let sources: Vec<Arc<dyn Source>> =
            job.inputs().map(|b| Arc::new(version.view(b)) as Arc<dyn Source>).collect();
        // The deletes of this version are applied on the way: the result is as if committed after them.
        let commits = job.inputs().map(|b| b.entry.through);
        let through = commits.chain(version.tombstones.iter().map(|t| t.lsn)).max().unwrap_or_default();
        let precedence = job.inputs().map(|b| b.entry.precedence).max();
        let (range, level) = (job.step.range, job.step.level);
        let new = NewBlock { range, through, level, precedence, form: Form::Columns };
        let read_bytes = job.inputs().map(|b| b.block.bytes()).sum();
        count_many(&self.counters.merge_read_bytes, read_bytes);
        let pace = |bytes: u64| self.rest_after(bytes, rate);
        // One that nobody waits for keeps to its own thread: commits and a flush need processors, too.
        let pool = rate.is_none().then_some(&*self.pool);
        let means = Means { cancel, pool, pace: &pace };
        let added = self.write_block(&sources, new, &means)?;
        let written_bytes = added.as_ref().map_or(0, |b| b.block.bytes());
        count_many(&self.counters.merge_written_bytes, written_bytes);
        // Until the swap the inputs and the result are both there.
        self.counters.merge_peak_bytes.fetch_max(read_bytes + written_bytes, Ordering::Relaxed);
        Ok(added)
    }

    /// Rests for as long as writing so many bytes may take, and then while a flush is at work, but not for ever; or until the handle is closed.
    fn rest_after(&self, bytes: u64, rate: Option<u64>) {
        let Some(rate) = rate else { return };
        self.bell.rest(Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64));
        for _ in 0..LOOKS_FOR_FLUSH {
            if !self.flushing.load(Ordering::Relaxed) {
                return;
            }
            self.bell.rest(LOOK_FOR_FLUSH);
        }
    }

    /// Writes the samples of sources in a range as one block under a new name, reads it back, and does not publish it;
    /// `None` if there are none. A new block's precedence is its sequence; a merged one keeps its inputs' highest.
    pub(crate) fn write_block(
        &self,
        sources: &[Arc<dyn Source>],
        new: NewBlock,
        means: &Means<'_>,
    ) -> Result<Option<Arc<LiveBlock>>> {
        let NewBlock { range, through, level, precedence, form } = new;
        let sequence = self.take_sequence();
        let dir = self.unfinished_block(range, sequence);
        let options = WriterOptions { salt: salt(sequence), range, through, level };
        let writer = Writer::create(Arc::clone(&self.options.fs), dir.clone(), options)
            .inspect_err(|_| self.discard_block(range, sequence))?;
        let precedence = precedence.unwrap_or(sequence);
        let adopt = |made| self.adopt(&dir, &made, (sequence, precedence), means.cancel).map(Arc::new);
        let written = compact::write(sources, range, form, writer, means);
        written
            .and_then(|made| made.map(adopt).transpose())
            .inspect_err(|_| self.discard_block(range, sequence))
    }
}

/// What the plan and retention know of the blocks. A rewrite is due for every block that a delete touches, or that has no
/// columns yet, if everything is to be compacted, and otherwise once a delete touches a notable part.
pub(crate) fn candidates(version: &Version, extent: Extent) -> Result<Vec<Candidate>> {
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
            reserved: false,
        })
    };
    version.blocks.iter().map(candidate).collect()
}

/// Salts a block's checksums, so that a unit of another block does not pass.
pub(crate) fn salt(sequence: u64) -> u32 {
    crate::format::cursor::crc(0x5b10_c001, &sequence.to_le_bytes())
}
