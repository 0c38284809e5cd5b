//! The database: one directory, one writer, many readers; what ties head, log, blocks and manifest together.
//!
//! ```text
//!   open ─▶ recover ─▶ Shared { head, writer(commit lock, log), group, version, publish, maintenance }
//!                        │ appender ─ commit.rs       │ maintain.rs: flush, retention, clean-up; merge.rs
//!                        │ querier: version + pin     │ delete.rs, snapshot.rs, verify.rs, bulk_load.rs
//! ```
//!
//! Lock order: merge, maintenance, commit, publish, version, then the head's. A swap of the manifest happens under
//! the publish lock, so swaps are in one order; the version lock is only held to read or replace an `Arc`, so no
//! reader waits for a disk.
//!
//! Threads (with [`Maintenance::Background`], and the syncer for [`SyncPolicy::Interval`]) are made here and
//! nowhere else; they hold no `Db`, so that dropping the last handle ends them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::block::KeptColumns;
use crate::env::LockGuard;
use crate::error::{Error, ErrorKind, Result};
use crate::head::{Head, HeadView};
use crate::model::{Cancel, Metadata, TimeRange};
use crate::query::{Limits, Querier};
use crate::source::Source;
use crate::sync::{Mutex, RwLock};

mod appender;
mod background;
mod blocks;
mod bulk_load;
mod commit;
mod counters;
mod delete;
mod layout;
mod maintain;
mod manifests;
mod merge;
mod open;
mod options;
mod publish;
mod recover;
mod report;
mod snapshot;
mod stored;
mod verify;
mod version;
mod workers;

#[cfg(test)]
mod tests;

pub use appender::{Appender, Committed, Rejection};
pub use blocks::{BlockInfo, Part};
pub use bulk_load::BulkLoader;
use options::millis;
pub use options::{Maintenance, Options, ReadMode, SyncPolicy};
pub use report::{Event, OpenReport, Stats, VerifyReport};
pub use workers::Workers;

use background::Threads;
use commit::{Group, Writer};
use counters::Counters;
use layout::Layout;
use manifests::Manifests;
use version::Version;

/// A handle on an open database. Clones are one handle; `Send + Sync`.
///
/// Dropping the last clone syncs and joins, and loses errors: call [`close`](Db::close) to see them.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use silverback::{Db, Options, Sample, labels};
///
/// let db = Db::open(dir.path(), Options::default())?;
/// let mut app = db.appender()?;
/// app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
/// app.commit()?;
///
/// let querier = db.querier(0..60_000)?;
/// for series in querier.select(&r#"up{job=~"n.*"}"#.parse()?)? {
///     for sample in series?.samples() {
///         assert_eq!(sample?, Sample { t: 1_000, v: 1.0 });
///     }
/// }
/// db.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Db(Arc<Handle>);

/// Ends the threads with the last clone.
struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

/// What all parts of one handle share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) layout: Layout,
    pub(crate) manifests: Manifests,
    pub(crate) head: Arc<Head>,
    /// `None` when opened read-only.
    pub(crate) writer: Option<Writer>,
    pub(crate) group: Group,
    pub(crate) version: RwLock<Arc<Version>>,
    pub(crate) publish: Mutex<()>,
    /// Held by a merge from its plan to its swap.
    pub(crate) merging: Mutex<()>,
    /// The sequences of the blocks that a merge reads.
    pub(crate) maintenance: Mutex<Vec<u64>>,
    /// Ends a merge when the handle is closed.
    pub(crate) ending: Cancel,
    /// Whether a flush is at work.
    pub(crate) flushing: AtomicBool,
    pub(crate) bell: background::Bell,
    pub(crate) counters: Counters,
    pub(crate) pool: Arc<rayon::ThreadPool>,
    /// Timestamps that all blocks keep.
    pub(crate) kept: Arc<KeptColumns>,
    pub(crate) report: OpenReport,
    next_sequence: AtomicU64,
    /// The first commit that the log may hold, or 0.
    oldest_logged: AtomicU64,
    /// The first segment of the log, or the next.
    oldest_segment: AtomicU64,
    /// What happened under a lock and is to be told.
    untold: Mutex<Vec<Event>>,
    closed: AtomicBool,
    poison_told: AtomicBool,
    /// Whether the head was full enough to be flushed early when last looked at.
    pressed: AtomicBool,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
}

impl Db {
    /// Opens the database in a directory for reading and writing; makes it if it is not there.
    ///
    /// Replays the log, moves unreadable blocks to `quarantine/` (see [`open_report`](Db::open_report)), and starts
    /// maintenance. Deletes and truncates nothing of yours. Cost: the log is replayed; of each block only a footer is read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// let db = Db::open(dir.path().join("metrics"), Options::default())?;
    /// assert!(db.open_report().created);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] with the holder's pid, [`ErrorKind::NotADatabase`] for a directory with other things in it,
    /// [`ErrorKind::NewerFormat`], [`ErrorKind::Corrupt`] for a damaged manifest or tombstones file,
    /// [`ErrorKind::NetworkFilesystem`], [`ErrorKind::InvalidOptions`], [`ErrorKind::Io`].
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Db> {
        open::writer(dir.as_ref(), options)
    }

    /// Opens a database for reading, beside a live writer or without one: writes not one byte, takes no lock. It shows
    /// the state as of this call. Cost: as [`open`](Db::open), the log is replayed into memory of its own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
    /// # app.append_ref(up, 2_000, 0.0)?;
    /// # app.commit()?;
    /// let reader = Db::open_read_only(dir.path(), Options::default())?; // while `db` is open for writing
    /// assert_eq!(reader.appender().unwrap_err().kind(), ErrorKind::ReadOnly);
    /// assert_eq!(reader.stats().head_samples, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`open`](Db::open), without [`ErrorKind::Locked`].
    pub fn open_read_only(dir: impl AsRef<Path>, options: Options) -> Result<Db> {
        open::reader(dir.as_ref(), options)
    }

    /// What open found: damage, quarantine, what was replayed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// for damage in &db.open_report().damage {
    ///     eprintln!("{damage}"); // names file and offset
    /// }
    /// assert!(db.open_report().quarantined.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_report(&self) -> &OpenReport {
        &self.shared().report
    }

    /// A buffer for samples that become one commit. Cost: an empty buffer; keep it, so that it keeps its allocations.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`], [`ErrorKind::Closed`], [`ErrorKind::Poisoned`].
    pub fn appender(&self) -> Result<Appender> {
        self.shared().check_writable()?;
        Ok(Appender::new(self.clone()))
    }

    /// A reader of the samples in `range`, as of this call: later commits, deletes, flushes and
    /// merges do not change what it sees. Holds no lock that a commit waits for. Its ceilings are those of
    /// [`Options::max_query_series`] and [`Options::max_query_samples`] until its own setters replace them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
    /// # app.commit()?;
    /// let querier = db.querier(0..1_500)?;
    /// app.append_ref(up, 1_200, 1.0)?;
    /// app.commit()?; // too late for this querier
    /// let series = querier.select(&"up".parse()?)?.next().unwrap()?;
    /// assert_eq!(series.samples().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Closed`]; [`ErrorKind::InvalidArgument`] for an empty range.
    pub fn querier(&self, range: impl Into<TimeRange>) -> Result<Querier> {
        let range = range.into();
        self.shared().check_open()?;
        if range.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("the time range {range:?} is empty: its end must be after its start"),
            ));
        }
        Ok(self.shared().querier(range))
    }

    /// Type, unit and help of a metric family, or `None` if it is not known. Cost: a look-up in the head, then in each
    /// block, newest first, until one has it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::{Db, Metadata, MetricType, Options};
    /// # let db = Db::open(dir.path(), Options::default())?;
    /// # let mut app = db.appender()?;
    /// app.set_metadata("up", Metadata { metric_type: MetricType::Gauge, ..Metadata::default() })?;
    /// app.commit()?;
    /// assert_eq!(db.metadata("up")?.unwrap().metric_type, MetricType::Gauge);
    /// # Ok::<(), silverback::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a block that may know it is damaged.
    pub fn metadata(&self, family: &str) -> Result<Option<Metadata>> {
        self.shared().check_open()?;
        if let Some(metadata) = self.shared().head.family(family) {
            return Ok(Some(metadata));
        }
        let version = self.shared().version();
        let mut blocks = version.blocks.clone();
        blocks.sort_by_key(|b| std::cmp::Reverse(b.entry.precedence));
        for block in &blocks {
            if let Some(metadata) = version.view(block).metadata(family)? {
                return Ok(Some(metadata));
            }
        }
        Ok(None)
    }

    /// Type, unit and help of all families, sorted by name.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// app.set_metadata("up", Metadata { help: "Whether it answers.".to_owned(), ..Metadata::default() })?;
    /// app.commit()?;
    /// let (name, metadata) = db.families()?.remove(0);
    /// assert_eq!((name.as_str(), metadata.help.as_str()), ("up", "Whether it answers."));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a block is damaged.
    pub fn families(&self) -> Result<Vec<(String, Metadata)>> {
        self.shared().check_open()?;
        let version = self.shared().version();
        let mut blocks = version.blocks.clone();
        blocks.sort_by_key(|b| b.entry.precedence);
        let mut all = std::collections::BTreeMap::new();
        for block in &blocks {
            all.extend(version.view(block).families()?);
        }
        all.extend(self.shared().head.all_families());
        Ok(all.into_iter().collect())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.shared().layout.root()
    }

    /// Syncs the log and ends every clone: later calls are [`ErrorKind::Closed`], live queriers finish.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// let clone = db.clone();
    /// db.close()?;
    /// assert_eq!(clone.appender().unwrap_err().kind(), ErrorKind::Closed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Whatever the last sync says, or the failure that poisoned the handle.
    pub fn close(&self) -> Result<()> {
        let shared = self.shared();
        if shared.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.0.end_threads();
        let outcome = shared.close_log();
        *shared.lock.lock() = None;
        outcome
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    fn from_shared(shared: Arc<Shared>, threads: Option<Threads>) -> Db {
        let threads = Mutex::new(crate::sync::Rank::Leaf, threads);
        Db(Arc::new(Handle { shared, threads }))
    }
}

impl Handle {
    fn end_threads(&self) {
        let threads = self.threads.lock().take();
        self.shared.ending.cancel();
        if let Some(threads) = threads {
            self.shared.bell.end();
            threads.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end_threads();
        if !self.shared.closed.swap(true, Ordering::SeqCst) {
            // Documented: dropping loses errors.
            let _lost = self.shared.close_log();
        }
        *self.shared.lock.lock() = None;
    }
}

impl Shared {
    pub(crate) fn check_open(&self) -> Result<()> {
        match self.closed.load(Ordering::SeqCst) {
            false => Ok(()),
            true => {
                Err(Error::new(ErrorKind::Closed, "the database handle was closed").at(self.layout.root()))
            }
        }
    }

    /// The published state.
    pub(crate) fn version(&self) -> Arc<Version> {
        Arc::clone(&self.version.read())
    }

    /// A querier of what is published and visible now, within the store's ceilings.
    pub(crate) fn querier(&self, range: TimeRange) -> Querier {
        let limits =
            Limits { max_series: self.options.max_query_series, max_samples: self.options.max_query_samples };
        // In one moment: a flush that came between would have its rows in neither, or the head without the range of them.
        let (version, pin, head) = {
            let version = self.version.read();
            let pin = self.head.pin();
            (Arc::clone(&version), Arc::clone(&pin), HeadView::new(Arc::clone(&self.head), pin))
        };
        let mut sources = version.sources(range);
        if head.time_range().overlaps(range) {
            sources.push(Arc::new(head));
        }
        Querier::new(sources, range, limits, Some(Arc::clone(&self.pool)), Arc::new((version, pin)))
    }

    /// Remembers an event of a step that holds locks: listeners are told by [`tell`](Shared::tell).
    pub(crate) fn tell_later(&self, event: Event) {
        self.untold.lock().push(event);
    }

    /// Tells what happened; no lock is held.
    pub(crate) fn tell(&self) {
        let events = std::mem::take(&mut *self.untold.lock());
        events.iter().for_each(|event| self.event(event));
    }

    /// Tells an event at once; no lock is held.
    pub(crate) fn event(&self, event: &Event) {
        self.options.tell(event);
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("path", &self.path()).finish_non_exhaustive()
    }
}
