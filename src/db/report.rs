//! What the store tells: reports of open and verify, events, statistics.

use std::fmt;
use std::path::PathBuf;

use crate::error::Error;
use crate::model::TimeRange;

/// What [`Db::open`](crate::Db::open) found.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::*;
/// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
/// let report = db.open_report();
/// assert!(report.created && report.damage.is_empty());
/// assert_eq!(report.replayed_samples, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct OpenReport {
    /// Whether the database was made anew.
    pub created: bool,
    /// The manifest's generation.
    pub generation: u64,
    /// Blocks that are served.
    pub blocks: usize,
    /// Records of the log that were replayed.
    pub replayed_records: u64,
    /// Samples of the log that went into the head.
    pub replayed_samples: u64,
    /// What could not be read: each names file and offset. The rest is served.
    pub damage: Vec<Error>,
    /// What was moved to `quarantine/` (nothing is, read-only), by its path there.
    pub quarantined: Vec<PathBuf>,
}

/// What [`Db::verify`](crate::Db::verify) found.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::*;
/// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
/// # let mut app = db.appender()?;
/// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
/// # app.append_ref(up, 2_000, 0.0)?;
/// # app.commit()?;
/// let report = db.verify()?;
/// for fault in &report.faults {
///     eprintln!("{fault}");
/// }
/// assert!(report.is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Files read.
    pub files: u64,
    /// Bytes read and checked.
    pub bytes: u64,
    /// Each fault, with file and offset; empty if all is well.
    pub faults: Vec<Error>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Something that happened in the background.
///
/// ```
/// use silverback::{Event, Options};
/// let options = Options::default().on_event(|event| match event {
///     Event::MaintenanceFailed { error } => eprintln!("it is tried again: {error}"),
///     Event::Poisoned { error } => eprintln!("open the database again: {error}"),
///     other => eprintln!("{other}"),
/// });
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The head's rows in a range became a block.
    Flushed {
        /// The range.
        range: TimeRange,
        /// Samples in the block; 0 if there was nothing left to store.
        samples: u64,
    },
    /// Blocks were merged into one.
    Merged {
        /// How many.
        blocks: usize,
        /// The range of the result.
        range: TimeRange,
        /// Samples in the result.
        samples: u64,
    },
    /// Retention dropped a block.
    Dropped {
        /// Its range.
        range: TimeRange,
        /// Its size.
        bytes: u64,
    },
    /// Open reads the log: told after each mebibyte, and at the end of each of its files.
    Recovering {
        /// Bytes of the log that were read.
        bytes: u64,
        /// Bytes of the log.
        total_bytes: u64,
    },
    /// Something unreadable was moved to `quarantine/`.
    Quarantined {
        /// Where it is now.
        path: PathBuf,
    },
    /// A maintenance step failed; it is tried again.
    MaintenanceFailed {
        /// Why.
        error: Error,
    },
    /// A sync failed: the handle takes no more writes until the database is reopened.
    Poisoned {
        /// Why.
        error: Error,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Flushed { range, samples } => write!(f, "flushed {samples} samples of {range:?}"),
            Event::Merged { blocks, range, samples } => {
                write!(f, "merged {blocks} blocks into {range:?}, {samples} samples")
            }
            Event::Dropped { range, bytes } => write!(f, "retention dropped {range:?}, {bytes} bytes"),
            Event::Recovering { bytes, total_bytes } => {
                write!(f, "read {bytes} of the log's {total_bytes} bytes")
            }
            Event::Quarantined { path } => write!(f, "moved to quarantine: {}", path.display()),
            Event::MaintenanceFailed { error } => write!(f, "maintenance failed: {error}"),
            Event::Poisoned { error } => write!(f, "no more writes until reopened: {error}"),
        }
    }
}

/// Figures of an open database, as of the call.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::*;
/// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
/// # let mut app = db.appender()?;
/// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
/// # app.append_ref(up, 2_000, 0.0)?;
/// # app.commit()?;
/// let stats = db.stats();
/// let bytes = stats.block_bytes + stats.wal_bytes;
/// println!("{} samples, {bytes} bytes", stats.block_samples + stats.head_samples);
/// assert!(!stats.poisoned);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Active series in the head.
    pub head_series: u64,
    /// Samples in the head.
    pub head_samples: u64,
    /// Bytes of the head's labels, chunks and bookkeeping, roughly.
    pub head_bytes: u64,
    /// Live blocks.
    pub blocks: u64,
    /// Samples in blocks, deleted ones that are not cleaned up yet included.
    pub block_samples: u64,
    /// Bytes of the blocks' files.
    pub block_bytes: u64,
    /// Bytes of the log.
    pub wal_bytes: u64,
    /// Deletes that are not cleaned up yet.
    pub tombstones: u64,
    /// The oldest and newest timestamps stored, in milliseconds; `None` if there are no samples.
    pub time: Option<(i64, i64)>,
    /// Live queriers on the head.
    pub readers: u64,
    /// Commits since open.
    pub commits: u64,
    /// Samples appended since open.
    pub samples_appended: u64,
    /// Samples that were duplicates since open.
    pub duplicates: u64,
    /// Samples rejected since open.
    pub rejected: u64,
    /// Syncs of the log since open.
    pub syncs: u64,
    /// Flushes since open.
    pub flushes: u64,
    /// Merges since open.
    pub merges: u64,
    /// Bytes of the blocks that flushes and loads wrote since open.
    pub new_block_bytes: u64,
    /// Bytes of the blocks that merges read since open.
    pub merge_read_bytes: u64,
    /// Bytes of the blocks that merges wrote since open. See [`Stats::write_amplification`].
    pub merge_written_bytes: u64,
    /// The most bytes that the inputs and the result of one merge took together since open: the inputs go
    /// with their last reader after the merge, so a merge needs room for its result beside them.
    pub merge_peak_bytes: u64,
    /// Blocks dropped by retention since open.
    pub blocks_dropped: u64,
    /// Maintenance steps that failed since open.
    pub maintenance_failures: u64,
    /// Unreadable blocks found since open.
    pub quarantined: u64,
    /// Whether writes are refused until the database is reopened.
    pub poisoned: bool,
}

impl Stats {
    /// How often a byte that came into a block was written in all, by flushes, loads and merges since open, the log aside: 1 if
    /// nothing was merged, `None` if nothing was flushed or loaded.
    pub fn write_amplification(&self) -> Option<f64> {
        let all = self.new_block_bytes.saturating_add(self.merge_written_bytes);
        (self.new_block_bytes > 0).then(|| all as f64 / self.new_block_bytes as f64)
    }
}
