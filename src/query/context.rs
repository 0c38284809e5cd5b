//! What everything that comes from one `select` shares: the range, cancellation, ceilings, and the
//! guard that keeps files and the head's snapshot alive.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind};
use crate::model::{Cancel, TimeRange};

/// Ceilings on one `select`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most series that a [`SeriesSet`](super::SeriesSet) gives out.
    pub(crate) max_series: u64,
    /// The most samples that all [`Samples`](super::Samples) of one `select` give out together.
    pub(crate) max_samples: u64,
}

impl Limits {
    /// No ceiling.
    #[cfg(test)]
    pub(crate) const NONE: Limits = Limits { max_series: u64::MAX, max_samples: u64::MAX };
}

/// What one `select` and its descendants share.
pub(super) struct Context {
    pub(super) range: TimeRange,
    pub(super) limits: Limits,
    pub(super) cancel: Cancel,
    /// Samples that may still be given out; not counted down if there is no ceiling.
    samples_left: AtomicU64,
    _guard: Arc<dyn Send + Sync>,
}

impl Context {
    /// A new account.
    pub(super) fn new(
        range: TimeRange,
        limits: Limits,
        cancel: Cancel,
        guard: Arc<dyn Send + Sync>,
    ) -> Context {
        Context { range, limits, cancel, samples_left: AtomicU64::new(limits.max_samples), _guard: guard }
    }

    /// Takes samples from the account: `n`, or as many as are left.
    pub(super) fn take_samples(&self, n: usize) -> usize {
        if self.limits.max_samples == u64::MAX {
            return n;
        }
        let wanted = n as u64;
        let take = |left: u64| Some(left.saturating_sub(wanted));
        let left = match self.samples_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(left) | Err(left) => left,
        };
        usize::try_from(left).map_or(n, |left| left.min(n))
    }

    /// Gives back samples that were taken and not given out.
    pub(super) fn return_samples(&self, n: usize) {
        if self.limits.max_samples != u64::MAX {
            self.samples_left.fetch_add(n as u64, Ordering::Relaxed);
        }
    }

    /// The error of a query that has more samples than it may.
    pub(super) fn too_many_samples(&self) -> Error {
        let limit = self.limits.max_samples;
        Error::new(
            ErrorKind::Ceiling,
            format!("the query has more than {limit} samples; narrow it or raise max_samples"),
        )
    }

    /// The error of a query that has more series than it may.
    pub(super) fn too_many_series(&self) -> Error {
        let limit = self.limits.max_series;
        Error::new(
            ErrorKind::Ceiling,
            format!("the query has more than {limit} series; narrow it or raise max_series"),
        )
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("range", &self.range).field("limits", &self.limits).finish()
    }
}
