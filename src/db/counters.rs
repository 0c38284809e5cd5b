//! What happened since open, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::db::{Db, Shared, Stats};
use crate::head::Verdicts;
use crate::model::TimeRange;

/// Counters of one handle.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    appended: AtomicU64,
    duplicates: AtomicU64,
    rejected: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) merges: AtomicU64,
    /// Bytes of the blocks that flushes and loads wrote, that merges read, and that they wrote.
    pub(crate) new_block_bytes: AtomicU64,
    pub(crate) merge_read_bytes: AtomicU64,
    pub(crate) merge_written_bytes: AtomicU64,
    /// The most bytes that the inputs and the result of one merge took together.
    pub(crate) merge_peak_bytes: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) quarantined: AtomicU64,
}

impl Counters {
    /// Counts a commit by its verdicts.
    pub(crate) fn committed(&self, verdicts: &Verdicts) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.appended.fetch_add(verdicts.accepted.len() as u64, Ordering::Relaxed);
        self.duplicates.fetch_add(verdicts.duplicates, Ordering::Relaxed);
        self.rejected.fetch_add(verdicts.rejected.len() as u64, Ordering::Relaxed);
    }
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// So many more.
pub(crate) fn count_many(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Db {
    /// Figures as of now. Cost: linear in the series of the head.
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
    /// assert_eq!((stats.head_series, stats.head_samples, stats.time), (1, 2, Some((1_000, 2_000))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> Stats {
        let shared = self.shared();
        let version = shared.version();
        let c = &shared.counters;
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Stats {
            head_series: shared.head.series_count() as u64,
            head_samples: shared.head.rows(),
            head_bytes: shared.head.bytes(),
            blocks: version.blocks.len() as u64,
            block_samples: version.blocks.iter().map(|b| b.block.meta().samples).sum(),
            block_bytes: version.block_bytes(),
            wal_bytes: shared.wal_bytes(),
            tombstones: version.tombstones.len() as u64,
            time: shared.time_of_samples(),
            readers: shared.head.readers() as u64,
            commits: read(&c.commits),
            samples_appended: read(&c.appended),
            duplicates: read(&c.duplicates),
            rejected: read(&c.rejected),
            syncs: shared.group.syncs(),
            flushes: read(&c.flushes),
            merges: read(&c.merges),
            new_block_bytes: read(&c.new_block_bytes),
            merge_read_bytes: read(&c.merge_read_bytes),
            merge_written_bytes: read(&c.merge_written_bytes),
            merge_peak_bytes: read(&c.merge_peak_bytes),
            blocks_dropped: read(&c.dropped),
            maintenance_failures: read(&c.failures),
            quarantined: read(&c.quarantined),
            poisoned: shared.group.failure().is_some(),
        }
    }

    /// Writes the store's own metrics as OpenMetrics text, `# EOF` included, to be served or scraped.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = silverback::Db::open(dir.path(), silverback::Options::default())?;
    /// let mut page = String::from("# TYPE requests counter\nrequests_total 7\n"); // your own metrics first
    /// db.write_openmetrics(&mut page)?;
    /// assert!(page.contains("silverback_commits_total 0\n") && page.ends_with("# EOF\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Only the writer's own.
    pub fn write_openmetrics(&self, out: &mut dyn std::fmt::Write) -> std::fmt::Result {
        let s = self.stats();
        let gauges = [
            ("head_series", "Active series in the head.", s.head_series),
            ("head_samples", "Samples in the head.", s.head_samples),
            ("head_size_bytes", "Bytes of the head's labels, chunks and bookkeeping.", s.head_bytes),
            ("blocks", "Live blocks.", s.blocks),
            ("blocks_size_bytes", "Bytes of the blocks' files.", s.block_bytes),
            ("wal_size_bytes", "Bytes of the log.", s.wal_bytes),
            ("tombstones", "Deletes that are not cleaned up yet.", s.tombstones),
            ("readers", "Live queriers on the head.", s.readers),
            (
                "merge_peak_bytes",
                "The most bytes that one merge's inputs and result took together.",
                s.merge_peak_bytes,
            ),
            ("poisoned", "1 if writes are refused since a sync failed.", u64::from(s.poisoned)),
        ];
        let counters = [
            ("commits", "Commits.", s.commits),
            ("samples_appended", "Samples stored by commits.", s.samples_appended),
            ("samples_duplicate", "Samples that were stored already.", s.duplicates),
            ("samples_rejected", "Samples that were not taken.", s.rejected),
            ("wal_syncs", "Syncs of the log.", s.syncs),
            ("flushes", "Flushes of the head into a block.", s.flushes),
            ("merges", "Merges of blocks.", s.merges),
            ("new_block_bytes", "Bytes of blocks that flushes and loads wrote.", s.new_block_bytes),
            ("merge_read_bytes", "Bytes of blocks that merges read.", s.merge_read_bytes),
            ("merge_written_bytes", "Bytes of blocks that merges wrote.", s.merge_written_bytes),
            ("blocks_dropped", "Blocks dropped by retention.", s.blocks_dropped),
            ("maintenance_failures", "Maintenance steps that failed.", s.maintenance_failures),
            ("quarantined", "Unreadable blocks found.", s.quarantined),
        ];
        for (name, help, value) in gauges {
            writeln!(out, "# TYPE silverback_{name} gauge")?;
            if name.ends_with("_bytes") {
                writeln!(out, "# UNIT silverback_{name} bytes")?;
            }
            writeln!(out, "# HELP silverback_{name} {help}")?;
            writeln!(out, "silverback_{name} {value}")?;
        }
        for (name, help, value) in counters {
            writeln!(out, "# TYPE silverback_{name} counter")?;
            writeln!(out, "# HELP silverback_{name} {help}")?;
            writeln!(out, "silverback_{name}_total {value}")?;
        }
        writeln!(out, "# EOF")
    }
}

impl Shared {
    pub(crate) fn wal_bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, |w| w.lock().wal.bytes())
    }

    /// The hull of all samples' times.
    pub(crate) fn time_of_samples(&self) -> Option<(i64, i64)> {
        let blocks = self.version();
        let hull = blocks
            .blocks
            .iter()
            .map(|b| TimeRange::inclusive(b.block.meta().min_t, b.block.meta().max_t))
            .fold(self.head.time_range(), TimeRange::hull);
        (!hull.is_empty()).then(|| (hull.start(), hull.end() - 1))
    }
}
