//! The public bulk loader: `bulk`'s sorting and merging, and one swap that publishes all of its blocks.

use std::path::PathBuf;
use std::sync::Arc;

use crate::block::{Writer, WriterOptions};
use crate::bulk::{BulkRef, Loader, LoaderOptions};
use crate::db::appender::check_metadata;
use crate::db::counters::count_many;
use crate::db::merge::salt;
use crate::db::publish::Edit;
use crate::db::stored::{self, Stored};
use crate::db::version::LiveBlock;
use crate::db::{Committed, Db, Shared, Workers};
use crate::env::Fs;
use crate::error::{Applied, Error, Result};
use crate::model::{Labels, Metadata, TimeRange};

/// The most blocks that one load may make.
const MAX_BLOCKS: usize = 10_000;

/// Backfills columns of samples: no log, no head, bounded memory; all blocks appear at once with
/// [`finish`](BulkLoader::finish), durable, or none does.
///
/// Samples may come in any order. Within one load, a second value at a timestamp of a series is a conflict: the first
/// stays. Against what is stored: the head's samples win over the load's, the load's over older blocks'.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::{Db, Options, labels};
/// let db = Db::open(dir.path(), Options::default())?;
/// let mut bulk = db.bulk_loader()?;
/// let cpu = bulk.series(&labels!("cpu", "core" => 0)?)?;
/// bulk.extend(cpu, &[0, 15_000, 30_000], &[0.5, 0.25, 0.75])?;
/// assert_eq!(bulk.finish()?.appended(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is stored before finish()"]
pub struct BulkLoader {
    loader: Loader,
    spill: SpillDir,
    db: Db,
}

/// The directory of one load's sorted runs, which go before it. What cannot be removed goes at the next open.
struct SpillDir(Arc<dyn Fs>, PathBuf);

impl Drop for SpillDir {
    fn drop(&mut self) {
        let _next_open_does = self.0.remove_dir(&self.1);
    }
}

impl Db {
    /// A loader for backfilling. Several may run at once; each publishes at its own finish.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly), [`ErrorKind::Closed`](crate::ErrorKind::Closed),
    /// [`ErrorKind::Poisoned`](crate::ErrorKind::Poisoned), I/O errors.
    pub fn bulk_loader(&self) -> Result<BulkLoader> {
        let shared = self.shared();
        shared.check_writable()?;
        let levels = shared.options.level_ranges_ms();
        let options = LoaderOptions {
            memory_bytes: shared.options.bulk_memory,
            range_ms: levels.last().copied().unwrap_or(shared.options.block_range_ms()),
            max_blocks: MAX_BLOCKS,
            pool: Some(Arc::clone(&shared.pool)),
        };
        let dir = shared.layout.spill().join(format!("load-{}", shared.take_sequence()));
        let fs = Arc::clone(&shared.options.fs);
        fs.create_dir(&dir).map_err(|e| Error::io("create the directory", &dir, e))?;
        let spill = SpillDir(Arc::clone(&fs), dir.clone());
        let loader = Loader::new(fs, dir, &options, shared.options.cancel.clone())?;
        Ok(BulkLoader { loader, spill, db: self.clone() })
    }
}

impl BulkLoader {
    /// The reference of the series with these labels, for [`extend`](BulkLoader::extend). Cost: one hash.
    ///
    /// # Errors
    /// I/O errors of a spill.
    pub fn series(&mut self, labels: &Labels) -> Result<BulkRef> {
        self.loader.series(labels)
    }

    /// Whether [`series`](BulkLoader::series) can take these labels and leave all references so far valid; otherwise
    /// it begins a new table of series, and they are stale.
    pub fn has_room(&self, labels: &Labels) -> bool {
        self.loader.has_room(labels)
    }

    /// The threads of the store, for work that prepares what this loader is given.
    pub fn workers(&self) -> Workers {
        Workers::new(&self.db.shared().pool)
    }

    /// Adds samples to a series: timestamps in milliseconds and values, of equal length, in any order. No hashing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for unequal lengths or the reserved
    /// timestamp `i64::MAX`; [`AppendError::StaleRef`](crate::AppendError::StaleRef) for a reference from
    /// before a spill or of another loader: ask [`series`](BulkLoader::series) again; I/O errors of a spill.
    pub fn extend(&mut self, series: BulkRef, t: &[i64], v: &[f64]) -> Result<()> {
        self.loader.extend(series, t, v)
    }

    /// Notes type, unit and help of a metric family.
    ///
    /// # Errors
    /// [`ErrorKind::Ceiling`](crate::ErrorKind::Ceiling) for texts too large or families too many.
    pub fn set_metadata(&mut self, family: &str, metadata: &Metadata) -> Result<()> {
        check_metadata(family, metadata)?;
        self.loader.metadata(family, metadata)
    }

    /// Spills now, as a load above its memory does.
    #[cfg(test)]
    pub(crate) fn spill(&mut self) -> Result<()> {
        self.loader.spill()
    }

    /// Sorts what was added into blocks of the highest level, syncs them, and publishes them with one swap of the manifest.
    /// Conflicts within the load are counted, [`Committed::conflicts`], and those with what is stored: [`Committed::stored_other`].
    ///
    /// # Errors
    /// I/O errors and [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled): nothing was stored, spill files are gone;
    /// unless [`applied`](crate::Error::applied) says that it is unknown: then the handle takes no more writes.
    pub fn finish(self) -> Result<Committed> {
        let BulkLoader { loader, spill: _until_the_end, db } = self;
        let shared = db.shared();
        shared.check_writable()?;
        let mut made = Vec::new();
        let outcome = finish(shared, loader, &mut made);
        match &outcome {
            Ok(_) => shared.wake_maintenance(),
            Err(e) if e.applied() == Applied::Unknown => shared.tell_poison(),
            Err(_) => made.iter().for_each(|m| shared.discard_block(m.range, m.sequence)),
        }
        outcome
    }
}

/// A block that a load makes.
struct Made {
    range: TimeRange,
    sequence: u64,
}

fn finish(shared: &Shared, loader: Loader, made: &mut Vec<Made>) -> Result<Committed> {
    let Some(writer) = &shared.writer else { return Ok(Committed::default()) };
    let through = writer.lock().last_lsn;
    let level = u8::try_from(shared.options.level_ranges_ms().len().saturating_sub(1)).unwrap_or(0);
    let mut make = |range: TimeRange| {
        let sequence = shared.take_sequence();
        made.push(Made { range, sequence });
        let options = WriterOptions { salt: salt(sequence), range, through, level };
        Writer::create(Arc::clone(&shared.options.fs), shared.unfinished_block(range, sequence), options)
    };
    let loaded = loader.finish(&mut make)?;
    let mut blocks = Vec::new();
    for (_, finished) in &loaded.blocks {
        let Some(m) = made.iter().find(|m| m.range == finished.meta.range) else { continue };
        let unfinished = shared.unfinished_block(m.range, m.sequence);
        blocks.push(shared.adopt(&unfinished, finished, (m.sequence, m.sequence), &shared.options.cancel)?);
    }
    let Stored { equal: stored_equal, other: stored_other } = stored::count(shared, &blocks)?;
    let block_bytes = blocks.iter().map(|b| b.block.bytes()).sum();
    count_many(&shared.counters.new_block_bytes, block_bytes);
    if !blocks.is_empty() {
        publish_load(shared, writer, blocks)?;
    }
    Ok(Committed {
        appended: loaded.samples,
        duplicates: loaded.duplicates,
        rejected: Vec::new(),
        series: loaded.series,
        conflicts: loaded.conflicts,
        block_bytes,
        stored_equal,
        stored_other,
    })
}

/// Shows the blocks of a load. It takes its number here, in the order of commits: deletes made while it sorted came
/// before it, and what was committed before it is durable before it is.
fn publish_load(shared: &Shared, writer: &crate::db::commit::Writer, blocks: Vec<LiveBlock>) -> Result<()> {
    let mut state = writer.lock();
    shared.check_writable()?;
    let lsn = state.last_lsn.next();
    state.last_lsn = lsn;
    shared.group.wrote(state.wal.sync_point(), lsn);
    shared.sync_through(lsn)?;
    let published = |mut block: LiveBlock| {
        block.entry.through = lsn;
        Arc::new(block)
    };
    let add = blocks.into_iter().map(published).collect();
    shared.publish(Edit { add, lsn, ..Edit::default() }, || {})
}
