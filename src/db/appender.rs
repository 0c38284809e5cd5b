//! The writing end: a buffer of rows that becomes one atomic commit.

use crate::db::{Db, SyncPolicy, millis};
use crate::error::{AppendError, Error, ErrorKind, Result};
use crate::format::wal_metadata::{MAX_FAMILIES, MAX_FAMILY_BYTES, MAX_HELP_BYTES, MAX_UNIT_BYTES};
use crate::head::{Row, Verdicts};
use crate::model::{Labels, Metadata, SeriesRef};

/// Collects samples and commits them together: all are seen and durable, or none.
///
/// Owned and `Send`: give each writing thread its own. The buffers are kept from commit to commit. Dropping it, or
/// [`rollback`](Appender::rollback), forgets what was not committed.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use silverback::{Db, Options, labels};
/// let db = Db::open(dir.path(), Options::default())?;
/// let mut app = db.appender()?;
/// let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
/// app.append_ref(up, 16_000, 1.0)?;
/// let committed = app.commit()?;
/// assert_eq!(committed.appended(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is stored before commit()"]
pub struct Appender {
    db: Db,
    rows: Vec<Row>,
    families: Vec<(String, Metadata)>,
    verdicts: Verdicts,
    batch: Option<u32>,
}

impl Appender {
    pub(crate) fn new(db: Db) -> Appender {
        Appender { db, rows: Vec::new(), families: Vec::new(), verdicts: Verdicts::default(), batch: None }
    }

    /// Buffers one sample of the series with these labels, and returns its reference for
    /// [`append_ref`](Appender::append_ref). Cost: one hash of the labels; a new series is entered in the head's index.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// let labels = labels!("up", "job" => "node")?;
    /// let up = app.append(&labels, 1_000, 1.0)?;
    /// assert_eq!(app.append(&labels, 2_000, 1.0)?, up, "equal labels are one series");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AppendError::Ceiling`] for a series or a sample too many, [`AppendError::StaleRef`] on a closed handle.
    /// Verdicts that depend on other samples come from [`commit`](Appender::commit).
    pub fn append(&mut self, labels: &Labels, t: i64, v: f64) -> Result<SeriesRef, AppendError> {
        self.make_room(1)?;
        let head = &self.db.shared().head;
        if self.batch.is_none() {
            self.batch = Some(head.begin_batch());
        }
        let series = head.series(labels)?;
        self.rows.push(Row { series, t, v });
        Ok(series)
    }

    /// Buffers one sample of a known series: no hashing, and it never waits for the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// let up = app.append(&labels!("up")?, 1_000, 1.0)?;
    /// app.append_ref(up, 2_000, 1.0)?;
    /// assert_eq!(app.commit()?.appended(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AppendError::StaleRef`] if the series is gone or of another handle: call
    /// [`append`](Appender::append) with its labels. [`AppendError::Ceiling`] for a sample too many.
    pub fn append_ref(&mut self, series: SeriesRef, t: i64, v: f64) -> Result<(), AppendError> {
        self.make_room(1)?;
        if !self.db.shared().head.is_live(series) {
            return Err(AppendError::StaleRef);
        }
        self.rows.push(Row { series, t, v });
        Ok(())
    }

    /// Buffers samples of many series at one time: a scrape. A stale reference, or a row beyond the batch's ceiling, is told by
    /// [`commit`](Appender::commit) as a rejection.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// let cpus = ["0", "1"].map(|cpu| Labels::from_pairs([("__name__", "load"), ("cpu", cpu)]));
    /// let first = app.append(&cpus[0].clone()?, 1_000, 0.25)?;
    /// let second = app.append(&cpus[1].clone()?, 1_000, 0.75)?;
    /// app.append_row(2_000, &[(first, 0.5), (second, 0.5)]);
    /// assert_eq!(app.commit()?.appended(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append_row(&mut self, t: i64, row: &[(SeriesRef, f64)]) {
        self.rows.extend(row.iter().map(|&(series, v)| Row { series, t, v }));
    }

    /// Buffers type, unit and help of a metric family; stored with the commit if it is news.
    ///
    /// # Errors
    /// [`ErrorKind::Ceiling`] for a name of no or more than 65,535 bytes, a unit of more than 1,024, a help text of more
    /// than 65,535, and for more than 65,536 families in one commit. Nothing is buffered then, and what was stays.
    pub fn set_metadata(&mut self, family: &str, metadata: Metadata) -> Result<()> {
        check_metadata(family, &metadata)?;
        if self.families.len() >= MAX_FAMILIES {
            let what =
                format!("metadata of more than {MAX_FAMILIES} families in one commit; commit more often");
            return Err(Error::new(ErrorKind::Ceiling, what));
        }
        self.families.push((family.to_owned(), metadata));
        Ok(())
    }

    /// The number of samples buffered.
    pub fn pending(&self) -> usize {
        self.rows.len()
    }

    /// Commits what is buffered. With [`SyncPolicy::EachCommit`] it is durable on return; commits
    /// of several threads share syncs.
    ///
    /// A rejected sample never dooms the rest: see [`Committed::rejected`].
    ///
    /// Metadata that is news is a record of its own in front of the samples: what ends the commit between the two (a
    /// crash, a full disk) may leave the metadata stored and the samples not, never the other way round.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// app.append(&labels!("up")?, 1_000, 1.0)?;
    /// match app.commit() {
    ///     Ok(committed) => assert_eq!((committed.appended(), committed.rejected().len()), (1, 0)),
    ///     Err(e) if e.kind() == ErrorKind::NoSpace => { /* free space, then app.commit() again */ }
    ///     Err(e) if e.applied() == Applied::Unknown => { /* open the database again and look */ }
    ///     Err(e) => return Err(e.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] and [`ErrorKind::Ceiling`]: nothing was applied, the samples are still buffered, try
    /// again when there is room. A failed sync ([`Applied::Unknown`](crate::Applied::Unknown)): it is not known
    /// whether the commit survives; the handle takes no more writes. [`ErrorKind::Poisoned`],
    /// [`ErrorKind::Closed`], [`ErrorKind::ReadOnly`]: nothing was applied.
    pub fn commit(&mut self) -> Result<Committed> {
        let shared = self.db.shared();
        shared.check_writable()?;
        self.check_ceilings()?;
        let outcome = shared.commit(&self.rows, &self.families, &mut self.verdicts);
        let synced = outcome.and_then(|(lsn, ahead)| {
            match shared.options.sync {
                SyncPolicy::EachCommit => return shared.sync_through(lsn),
                SyncPolicy::Interval(every) => shared.sync_if_due(lsn, millis(every))?,
                SyncPolicy::Never => {}
            }
            if ahead { shared.want_sync_ahead() } else { Ok(()) }
        });
        match synced {
            Err(e) if e.can_be_mended() => Err(e),
            Err(e) => {
                self.db.shared().tell_poison();
                self.rollback();
                Err(e)
            }
            Ok(()) => {
                let committed = self.committed();
                self.rollback();
                Ok(committed)
            }
        }
    }

    /// Forgets the samples buffered after the first `pending` (see [`pending`](Appender::pending)): takes back a part of a
    /// batch that failed half-way. Metadata stays. Keeps everything if there are no more than that.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = silverback::Db::open(dir.path(), silverback::Options::default())?;
    /// # let mut app = db.appender()?;
    /// let up = app.append(&silverback::labels!("up")?, 1_000, 1.0)?;
    /// let before = app.pending();
    /// app.append_ref(up, 2_000, 1.0)?;
    /// app.rollback_to(before);
    /// assert_eq!(app.commit()?.appended(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rollback_to(&mut self, pending: usize) {
        self.rows.truncate(pending);
    }

    /// Forgets what is buffered, metadata too.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// app.append(&labels!("up")?, 1_000, 1.0)?;
    /// app.rollback();
    /// assert_eq!(app.commit()?.appended(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rollback(&mut self) {
        self.rows.clear();
        self.families.clear();
        self.verdicts.clear();
        if let Some(round) = self.batch.take() {
            self.db.shared().head.end_batch(round);
        }
    }

    fn make_room(&self, rows: usize) -> Result<(), AppendError> {
        match self.rows.len() + rows <= self.db.shared().options.max_batch {
            true => Ok(()),
            false => Err(AppendError::Ceiling),
        }
    }

    fn check_ceilings(&self) -> Result<()> {
        let shared = self.db.shared();
        let ceiling = |what: String| Err(Error::new(ErrorKind::Ceiling, what));
        if self.rows.len() > shared.options.max_batch {
            return ceiling(format!(
                "the batch has {} samples, {} is the most (Options::max_batch); commit more often",
                self.rows.len(),
                shared.options.max_batch
            ));
        }
        let (bytes, most) = (shared.head.bytes(), shared.options.head_memory);
        if bytes >= most && !self.rows.is_empty() {
            shared.wake_maintenance();
            return ceiling(format!(
                "the head holds {bytes} bytes, {most} is the most (Options::head_memory); wait for a flush, or run maintain()"
            ));
        }
        Ok(())
    }

    fn committed(&self) -> Committed {
        let rejected = self.verdicts.rejected.iter().filter_map(|&(index, why)| {
            let row = self.rows.get(index)?;
            Some(Rejection { index, series: row.series, t: row.t, why })
        });
        Committed {
            appended: self.verdicts.accepted.len() as u64,
            duplicates: self.verdicts.duplicates,
            conflicts: self.verdicts.rejected.iter().filter(|(_, why)| *why == AppendError::Conflict).count()
                as u64,
            rejected: rejected.collect(),
            series: 0,
            block_bytes: 0,
            stored_equal: 0,
            stored_other: 0,
        }
    }
}

/// Refuses metadata that log and blocks cannot hold, before anything is made of it.
pub(crate) fn check_metadata(family: &str, metadata: &Metadata) -> Result<()> {
    let texts = [
        ("name", family.len(), MAX_FAMILY_BYTES),
        ("unit", metadata.unit.len(), MAX_UNIT_BYTES),
        ("help text", metadata.help.len(), MAX_HELP_BYTES),
    ];
    let shown: String = family.chars().take(80).collect();
    for (what, bytes, most) in texts {
        if bytes > most {
            let what = format!("the {what} of metric family `{shown}` has {bytes} bytes, {most} is the most");
            return Err(Error::new(ErrorKind::Ceiling, what));
        }
    }
    match family.is_empty() {
        false => Ok(()),
        true => Err(Error::new(ErrorKind::Ceiling, "metadata of a metric family that has no name")),
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.rollback();
    }
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender").field("pending", &self.rows.len()).finish_non_exhaustive()
    }
}

/// What became of a commit's samples.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::*;
/// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
/// # let mut app = db.appender()?;
/// app.append(&labels!("up")?, 1_000, 1.0)?;
/// app.append(&labels!("up")?, 1_000, 1.0)?; // again
/// app.append(&labels!("up")?, 1_000, 2.0)?; // something else at that time
/// let committed = app.commit()?;
/// assert_eq!((committed.appended(), committed.duplicates(), committed.conflicts()), (1, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Committed {
    pub(crate) appended: u64,
    pub(crate) duplicates: u64,
    pub(crate) rejected: Vec<Rejection>,
    pub(crate) conflicts: u64,
    pub(crate) series: u64,
    pub(crate) block_bytes: u64,
    pub(crate) stored_equal: u64,
    pub(crate) stored_other: u64,
}

impl Committed {
    /// Samples stored.
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// Samples that were stored already, with the same value bit for bit: harmless.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Samples not taken because the series already had another value at their timestamp. A bulk load counts them here
    /// and lists none.
    pub fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// Distinct series that a bulk load stored samples of; 0 for a commit.
    pub fn series(&self) -> u64 {
        self.series
    }

    /// Bytes of the blocks that a bulk load wrote; 0 for a commit.
    pub fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Samples of a bulk load that the store had already, with the same value bit for bit; 0 for a commit. Loading the same
    /// again changes nothing. Samples committed while the load ended may be counted or not.
    pub fn stored_equal(&self) -> u64 {
        self.stored_equal
    }

    /// Samples of a bulk load at timestamps at which the store had another value for their series; 0 for a commit. The head's value stays what
    /// is seen, an older block's does not.
    pub fn stored_other(&self) -> u64 {
        self.stored_other
    }

    /// Samples that were not taken, in the order of the batch.
    pub fn rejected(&self) -> &[Rejection] {
        &self.rejected
    }
}

/// A sample that was not taken.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::*;
/// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
/// # let mut app = db.appender()?;
/// app.append(&labels!("up")?, 1_000, 1.0)?;
/// app.append(&labels!("up")?, 1_000, 2.0)?;
/// for rejection in app.commit()?.rejected() {
///     assert_eq!((rejection.index, rejection.t, rejection.why), (1, 1_000, AppendError::Conflict));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rejection {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// Its series.
    pub series: SeriesRef,
    /// Its timestamp.
    pub t: i64,
    /// Why.
    pub why: AppendError,
}
