//! The store's pool, for those who feed a bulk loader.

use std::fmt;
use std::sync::Arc;

/// The threads of a store, to prepare beside the caller what a [`BulkLoader`](crate::BulkLoader) is given: see
/// [`BulkLoader::workers`](crate::BulkLoader::workers). The default has none, and does all work at once.
///
/// ```
/// let (sender, receiver) = std::sync::mpsc::sync_channel(1);
/// silverback::Workers::default().spawn(move || sender.send(6 * 7).unwrap());
/// assert_eq!(receiver.recv(), Ok(42));
/// ```
#[derive(Clone, Default)]
pub struct Workers(Option<Arc<rayon::ThreadPool>>);

impl Workers {
    pub(crate) fn new(pool: &Arc<rayon::ThreadPool>) -> Workers {
        Workers(Some(Arc::clone(pool)))
    }

    /// How many threads there are besides the caller's.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |pool| pool.current_num_threads())
    }

    /// Does some work in one of the threads, or, if there are none, before it returns. Work is begun in the order in which it came. It
    /// should be short and wait for nothing: the store's own work shares the threads. It must not panic.
    pub fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        match &self.0 {
            Some(pool) => pool.spawn_fifo(work),
            None => work(),
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({})", self.count())
    }
}
