//! How a database is opened: private fields, chained setters, validated at open.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::block;
use crate::compact;
use crate::db::report::Event;
use crate::env::{Clock, Fs, RealFs, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Cancel;

/// When a commit is durable.
///
/// ```
/// use std::time::Duration;
/// use silverback::{Options, SyncPolicy};
/// let options = Options::default().sync(SyncPolicy::Interval(Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// When [`commit`](crate::Appender::commit) returns; commits that wait together share one sync.
    #[default]
    EachCommit,
    /// At most this long after: a power cut loses at most the last interval, never the order. With
    /// [`Maintenance::Manual`] there is no thread that syncs: commits and [`Db::maintain`](crate::Db::maintain) do it when
    /// it is due.
    Interval(Duration),
    /// When the system writes it: a power cut loses any suffix of the commits.
    Never,
}

/// Who runs maintenance: flush, merges, retention, clean-up.
///
/// ```
/// use silverback::{Maintenance, Options};
/// let options = Options::default().maintenance(Maintenance::Manual); // then call Db::maintain
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Maintenance {
    /// Two threads of the handle: one flushes and keeps to the retention, one merges.
    #[default]
    Background,
    /// The caller, by [`Db::maintain`](crate::Db::maintain): no thread is started.
    Manual,
}

/// How blocks are read.
///
/// ```
/// use silverback::{Options, ReadMode};
/// let options = Options::default().read_mode(ReadMode::Positioned);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadMode {
    /// Through memory maps: no copies. A file that something else truncates ends the process.
    #[default]
    Mapped,
    /// By positioned reads: every unit is copied and verified at each read; safe against truncation.
    Positioned,
}

/// Options of [`Db::open`](crate::Db::open). `Options::default()` is a good start; each setter returns the options.
///
/// ```
/// use silverback::{Options, SyncPolicy};
/// use std::time::Duration;
/// let options = Options::default()
///     .sync(SyncPolicy::Interval(Duration::from_secs(1)))
///     .retention(Duration::from_secs(30 * 86_400));
/// ```
#[derive(Clone)]
pub struct Options {
    pub(crate) sync: SyncPolicy,
    pub(crate) retention: Option<Duration>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) out_of_order_window: Duration,
    pub(crate) max_future: Option<Duration>,
    pub(crate) head_memory: u64,
    pub(crate) max_series: usize,
    pub(crate) max_batch: usize,
    pub(crate) max_query_series: u64,
    pub(crate) max_query_samples: u64,
    pub(crate) block_range: Duration,
    pub(crate) threads: usize,
    pub(crate) merge_rate: Option<u64>,
    pub(crate) maintenance: Maintenance,
    pub(crate) read_mode: ReadMode,
    pub(crate) allow_network: bool,
    pub(crate) create: bool,
    pub(crate) manifest_generation: Option<u64>,
    pub(crate) wal_segment_bytes: u64,
    pub(crate) bulk_memory: u64,
    pub(crate) cancel: Cancel,
    pub(crate) on_event: Option<EventListener>,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Told of every event, from the thread that it happens on.
pub(crate) type EventListener = Arc<dyn Fn(&Event) + Send + Sync>;

impl Default for Options {
    fn default() -> Options {
        Options {
            sync: SyncPolicy::EachCommit,
            retention: None,
            retention_bytes: None,
            out_of_order_window: Duration::ZERO,
            max_future: Some(Duration::from_secs(86_400)),
            head_memory: 1 << 30,
            max_series: 10_000_000,
            max_batch: 1_000_000,
            max_query_series: 10_000_000,
            max_query_samples: 1_000_000_000,
            block_range: Duration::from_secs(7_200),
            threads: 0,
            merge_rate: Some(16 << 20),
            maintenance: Maintenance::Background,
            read_mode: ReadMode::Mapped,
            allow_network: false,
            create: true,
            manifest_generation: None,
            wal_segment_bytes: 64 << 20,
            bulk_memory: 256 << 20,
            cancel: Cancel::default(),
            on_event: None,
            fs: Arc::new(RealFs),
            clock: Arc::new(SystemClock),
        }
    }
}

impl Options {
    /// When a commit is durable. Default: [`SyncPolicy::EachCommit`].
    pub fn sync(mut self, policy: SyncPolicy) -> Options {
        self.sync = policy;
        self
    }

    /// Drops blocks that are wholly older than `min(now, newest sample) - age`. Default: keep for ever.
    pub fn retention(mut self, age: Duration) -> Options {
        self.retention = Some(age);
        self
    }

    /// Drops the oldest blocks while blocks and log take more than this many bytes. Default: no limit.
    pub fn retention_bytes(mut self, bytes: u64) -> Options {
        self.retention_bytes = Some(bytes);
        self
    }

    /// How far behind the newest sample of its series a sample may come. Default: zero, in order only.
    pub fn out_of_order_window(mut self, window: Duration) -> Options {
        self.out_of_order_window = window;
        self
    }

    /// How far ahead of the clock a sample may be; `None` for no limit. Default: one day.
    pub fn max_future(mut self, ahead: impl Into<Option<Duration>>) -> Options {
        self.max_future = ahead.into();
        self
    }

    /// Bytes of memory for the head (labels, chunks, bookkeeping): maintenance flushes early from three quarters of
    /// it; at all of it appends fail with a ceiling error. Default: 1 GiB.
    pub fn head_memory(mut self, bytes: u64) -> Options {
        self.head_memory = bytes;
        self
    }

    /// Active series in the head, at most. Default: 10 million.
    pub fn max_series(mut self, series: usize) -> Options {
        self.max_series = series;
        self
    }

    /// Samples in one commit, at most. Default: 1 million.
    pub fn max_batch(mut self, samples: usize) -> Options {
        self.max_batch = samples;
        self
    }

    /// Series that one [`select`](crate::Querier::select) gives out, at most: one more is an error of kind
    /// [`Ceiling`](ErrorKind::Ceiling). [`Querier::max_series`](crate::Querier::max_series) replaces it for one querier.
    /// Default: 10 million.
    pub fn max_query_series(mut self, series: u64) -> Options {
        self.max_query_series = series;
        self
    }

    /// Samples that all series of one [`select`](crate::Querier::select) give out together, at most: one more is an error of
    /// kind [`Ceiling`](ErrorKind::Ceiling). [`Querier::max_samples`](crate::Querier::max_samples) replaces it for one querier.
    /// Samples stream, so that this bounds time, not memory. Default: 1,000 million.
    pub fn max_query_samples(mut self, samples: u64) -> Options {
        self.max_query_samples = samples;
        self
    }

    /// The range of the blocks that the head is flushed into; merged blocks are 3, 9, 27, 81 and 243 times
    /// as long. Default: two hours. A database should be opened with the same range always: blocks of other ranges are
    /// read and merged all the same.
    pub fn block_range(mut self, range: Duration) -> Options {
        self.block_range = range;
        self
    }

    /// Threads of the pool for opening, verifying, wide selects and merges; 0 for one per processor. Default: 0.
    pub fn threads(mut self, threads: usize) -> Options {
        self.threads = threads;
        self
    }

    /// Bytes a second that merges in the background write, at most. Such a merge takes one thread, and rests while a flush is at work, so that it
    /// leaves processors and disk to appends. `None`: no limit, the threads of the pool, and no rest; so are the merges of
    /// [`Db::maintain`](crate::Db::maintain) and [`Db::compact`](crate::Db::compact), which somebody waits for. Default: 16 MiB,
    /// which are some 15 million samples.
    pub fn merge_rate(mut self, bytes_per_second: impl Into<Option<u64>>) -> Options {
        self.merge_rate = bytes_per_second.into();
        self
    }

    /// Who runs maintenance. Default: [`Maintenance::Background`].
    pub fn maintenance(mut self, by: Maintenance) -> Options {
        self.maintenance = by;
        self
    }

    /// How blocks are read. Default: [`ReadMode::Mapped`] (feature `mmap`; positioned without it).
    pub fn read_mode(mut self, mode: ReadMode) -> Options {
        self.read_mode = mode;
        self
    }

    /// Opens even on a network filesystem, whose locks and syncs may lie. Default: refuse.
    pub fn allow_network_filesystem(mut self, allow: bool) -> Options {
        self.allow_network = allow;
        self
    }

    /// Whether to create a database where there is none. Default: yes (never when opened read-only).
    pub fn create(mut self, create: bool) -> Options {
        self.create = create;
        self
    }

    /// Opens by an older manifest, after an error said that the newest is damaged and offered this one.
    pub fn manifest_generation(mut self, generation: u64) -> Options {
        self.manifest_generation = Some(generation);
        self
    }

    /// Memory for one bulk load before it spills sorted runs. Default: 256 MiB.
    pub fn bulk_memory(mut self, bytes: u64) -> Options {
        self.bulk_memory = bytes;
        self
    }

    /// Stops open, maintenance, verify and snapshot when cancelled.
    pub fn cancel(mut self, cancel: &Cancel) -> Options {
        self.cancel = cancel.clone();
        self
    }

    /// Told of each [`Event`] (flushes, merges, retention, recovery, quarantine, failures), from the thread that it happens on: be
    /// brief, and call nothing of the store. The feature `tracing` tells the same as events.
    ///
    /// ```
    /// use silverback::{Event, Options};
    /// let options = Options::default().on_event(|event| match event {
    ///     Event::MaintenanceFailed { .. } | Event::Poisoned { .. } => eprintln!("store: {event}"),
    ///     _ => {}
    /// });
    /// ```
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Options {
        self.on_event = Some(Arc::new(listener));
        self
    }

    /// The size at which the log starts another segment, in bytes. Default: 64 MiB.
    pub fn wal_segment_bytes(mut self, bytes: u64) -> Options {
        self.wal_segment_bytes = bytes;
        self
    }

    /// Another filesystem and clock: tests and simulations.
    pub(crate) fn env(mut self, fs: Arc<dyn Fs>, clock: Arc<dyn Clock>) -> Options {
        self.fs = fs;
        self.clock = clock;
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = |what: &'static str| Err(Error::new(ErrorKind::InvalidOptions, what));
        if self.block_range_ms() < 1_000 {
            return wrong("block_range must be at least one second");
        }
        if self.block_range > Duration::from_secs(366 * 86_400) {
            return wrong("block_range must be at most 366 days");
        }
        if self.max_batch == 0 || self.max_batch > 4_000_000 {
            return wrong("max_batch must be from 1 to 4,000,000 samples");
        }
        if self.max_query_series == 0 || self.max_query_samples == 0 {
            return wrong(
                "max_query_series and max_query_samples must be at least 1; u64::MAX is no ceiling",
            );
        }
        if self.max_series == 0 || self.max_series > u32::MAX as usize {
            return wrong("max_series must be from 1 to 4,294,967,295");
        }
        if self.head_memory < 1 << 20 {
            return wrong("head_memory must be at least 1 MiB");
        }
        if self.bulk_memory < 4 << 20 {
            return wrong("bulk_memory must be at least 4 MiB");
        }
        if !(1 << 16..=1 << 32).contains(&self.wal_segment_bytes) {
            return wrong("wal_segment_bytes must be from 64 KiB to 4 GiB");
        }
        if self.retention.is_some_and(|r| r.is_zero()) {
            return wrong("retention must be longer than zero; leave it out to keep everything");
        }
        if matches!(self.sync, SyncPolicy::Interval(d) if d.is_zero()) {
            return wrong("a sync interval of zero is SyncPolicy::EachCommit");
        }
        if self.merge_rate.is_some_and(|rate| rate < 1 << 16) {
            return wrong("merge_rate must be at least 64 KiB a second; leave it out to be not held back");
        }
        if self.threads > 1_024 {
            return wrong("threads must be at most 1,024");
        }
        Ok(())
    }

    /// Tells the listener, if there is one.
    pub(crate) fn tell(&self, event: &Event) {
        #[cfg(feature = "tracing")]
        match event {
            Event::MaintenanceFailed { .. } | Event::Poisoned { .. } => tracing::error!("{event}"),
            Event::Quarantined { .. } => tracing::warn!("{event}"),
            Event::Recovering { .. } => tracing::debug!("{event}"),
            _ => tracing::info!("{event}"),
        }
        if let Some(listener) = &self.on_event {
            listener(event);
        }
    }

    pub(crate) fn block_read_mode(&self) -> block::ReadMode {
        match self.read_mode {
            ReadMode::Mapped => block::ReadMode::Mapped,
            ReadMode::Positioned => block::ReadMode::Positioned,
        }
    }

    pub(crate) fn block_range_ms(&self) -> i64 {
        millis(self.block_range)
    }

    /// The ranges of blocks by level, each three times the one before, as in Prometheus.
    pub(crate) fn level_ranges_ms(&self) -> Vec<i64> {
        compact::levels(self.block_range_ms(), self.block_range_ms().saturating_mul(243))
    }
}

/// A duration in milliseconds, saturating.
pub(crate) fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("sync", &self.sync)
            .field("retention", &self.retention)
            .field("retention_bytes", &self.retention_bytes)
            .field("out_of_order_window", &self.out_of_order_window)
            .field("max_future", &self.max_future)
            .field("head_memory", &self.head_memory)
            .field("max_series", &self.max_series)
            .field("max_batch", &self.max_batch)
            .field("max_query_series", &self.max_query_series)
            .field("max_query_samples", &self.max_query_samples)
            .field("block_range", &self.block_range)
            .field("threads", &self.threads)
            .field("merge_rate", &self.merge_rate)
            .field("maintenance", &self.maintenance)
            .field("read_mode", &self.read_mode)
            .finish_non_exhaustive()
    }
}
