//! Short names for long things: a series in a handle, a commit in the log.

/// A series of one open handle: what [`append`](crate::Appender::append) returns and
/// [`append_ref`](crate::Appender::append_ref) takes, so that labels are hashed once.
///
/// Valid while its handle is open. It is never reused for another series: one that is stale, or
/// of another handle, is an error when used.
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
