//! Short names for long things: a series in a handle, a commit in the log.

/// A series of one open handle: what [`append`](crate::Appender::append) returns and
/// [`append_ref`](crate::Appender::append_ref) takes, so that labels are hashed once.
///
/// Valid while its handle is open. It is never reused for another series: one that is stale, or
/// of another handle, is an error when used.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::*;
/// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
/// # let mut app = db.appender()?;
/// let up: SeriesRef = app.append(&labels!("up")?, 1_000, 1.0)?;
/// app.append_ref(up, 2_000, 1.0)?;
/// app.commit()?;
///
/// let other = Db::open(dir.path().join("other"), Options::default())?;
/// assert_eq!(other.appender()?.append_ref(up, 3_000, 1.0), Err(AppendError::StaleRef));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub(crate) u64);

/// Log sequence number: commits, deletes and bulk publications are numbered from 1 in one order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Lsn(pub(crate) u64);

impl Lsn {
    /// The one after this.
    pub(crate) fn next(self) -> Lsn {
        Lsn(self.0.saturating_add(1))
    }
}
