//! One token that stops long work: queries, import, verify, compaction, snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// A token that stops long work from another thread: queries ([`Querier::cancel`](crate::Querier::cancel)), imports,
/// open, maintenance, verify and snapshot ([`Options::cancel`](crate::Options::cancel)). Clones share one state. Once
/// cancelled it stays so. Cost: an atomic load, once in a while.
///
/// ```
/// let cancel = silverback::Cancel::default();
/// let handle = cancel.clone();
/// handle.cancel();
/// assert!(cancel.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    asked: Arc<AtomicBool>,
    /// Of another token, which this one heeds, too.
    also: Option<Arc<AtomicBool>>,
}

impl Cancel {
    /// Asks everything that holds this token to stop; it ends with [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Cancel::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        let is_set = |flag: &Arc<AtomicBool>| flag.load(Ordering::Relaxed);
        is_set(&self.asked) || self.also.as_ref().is_some_and(is_set)
    }

    /// This token, cancelled by another one, too. It heeds that one instead of what it heeded before.
    pub(crate) fn or(&self, other: &Cancel) -> Cancel {
        Cancel { asked: Arc::clone(&self.asked), also: Some(Arc::clone(&other.asked)) }
    }

    /// An error if cancelled: what long loops call once in a while.
    pub(crate) fn check(&self) -> Result<()> {
        match self.is_cancelled() {
            true => Err(Error::new(ErrorKind::Cancelled, "the operation was cancelled")),
            false => Ok(()),
        }
    }
}
