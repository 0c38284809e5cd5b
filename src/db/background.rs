//! The threads of a handle: maintenance, and the syncer of an interval policy.
//!
//! They hold the shared state, not a handle, and end when the bell says so: at close, or when the last
//! handle is dropped.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::db::maintain::{Extent, tell_failure};
use crate::db::{Maintenance, Shared, SyncPolicy};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Lsn;
use crate::sync::{Condvar, Mutex, Rank};

/// How often maintenance looks without being called.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it waits after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Wakes the threads, and ends them.
pub(crate) struct Bell {
    state: Mutex<BellState>,
    changed: Condvar,
}

#[derive(Default)]
struct BellState {
    rung: bool,
    ended: bool,
}

impl Bell {
    /// A silent one.
    pub(crate) fn new() -> Bell {
        Bell { state: Mutex::new(Rank::Leaf, BellState::default()), changed: Condvar::new() }
    }

    /// Wakes maintenance.
    pub(crate) fn ring(&self) {
        self.state.lock().rung = true;
        self.changed.notify_all();
    }

    /// Ends the threads.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for a ring (if asked to hear it), the time or the end; whether to go on.
    fn wait(&self, at_most: Duration, hear: bool) -> bool {
        let mut state = self.state.lock();
        if !state.ended && (!hear || !state.rung) {
            (state, _) = self.changed.wait_timeout(state, at_most);
        }
        if hear {
            state.rung = false;
        }
        !state.ended
    }
}

/// The threads that run.
pub(crate) struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    /// Starts what the options ask for.
    pub(crate) fn start(shared: &Arc<Shared>) -> Result<Threads> {
        let mut threads = Threads(Vec::new());
        if shared.options.maintenance == Maintenance::Background {
            threads.spawn("silverback-maintenance", shared, maintenance)?;
            if let SyncPolicy::Interval(every) = shared.options.sync {
                threads.spawn("silverback-sync", shared, move |shared| syncer(shared, every))?;
            }
        }
        Ok(threads)
    }

    fn spawn(
        &mut self,
        name: &str,
        shared: &Arc<Shared>,
        run: impl FnOnce(&Shared) + Send + 'static,
    ) -> Result<()> {
        let of_thread = Arc::clone(shared);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&of_thread));
        match thread {
            Ok(thread) => {
                self.0.push(thread);
                Ok(())
            }
            Err(e) => {
                shared.bell.end();
                Err(Error::io("start a thread for", shared.layout.root(), e))
            }
        }
    }

    /// Waits for their end.
    pub(crate) fn join(self) {
        for thread in self.0 {
            // A thread that drops the last handle (in an event listener, say) cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                let _panicked = thread.join();
            }
        }
    }
}

fn maintenance(shared: &Shared) {
    let mut pause = LOOK_EVERY;
    while shared.bell.wait(pause, true) {
        pause = match shared.maintain(Extent::Due, &shared.options.cancel) {
            Ok(()) => LOOK_EVERY,
            Err(e) if matches!(e.kind(), ErrorKind::Cancelled | ErrorKind::Closed | ErrorKind::Poisoned) => {
                AFTER_FAILURE
            }
            Err(e) => {
                shared.tell_poison();
                tell_failure(shared, e);
                AFTER_FAILURE
            }
        };
    }
}

fn syncer(shared: &Shared, every: Duration) {
    while shared.bell.wait(every, false) {
        // A failure poisons the handle, which the next commit reports too.
        if shared.sync_through(shared.head.visible()).is_err() {
            shared.tell_poison();
        }
    }
}

impl Shared {
    /// Syncs if the interval has passed: without a syncer thread, commits keep the promise.
    pub(crate) fn sync_if_due(&self, lsn: Lsn, every_ms: i64) -> Result<()> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let now = self.options.clock.now_ms();
        let due = {
            let mut state = writer.lock();
            let due = now.saturating_sub(state.synced_at_ms) >= every_ms || now < state.synced_at_ms;
            if due {
                state.synced_at_ms = now;
            }
            due
        };
        match due {
            true => self.sync_through(lsn),
            false => Ok(()),
        }
    }
}
