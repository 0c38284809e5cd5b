//! The threads of a handle: one that flushes, one that merges, and the syncer, unless each commit syncs.
//!
//! Merges have a thread of their own, so that a flush, which makes room in the head, never waits for one. Each thread rings
//! once it got on, since that may be work for the other. They hold the shared state, not a handle, and end when the bell says so: at close, or when the last
//! handle is dropped.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::db::maintain::tell_failure;
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
    /// For who rests, and is not to be woken by a ring.
    ends: Condvar,
}

#[derive(Default)]
struct BellState {
    /// Calls of the threads of maintenance, each of which remembers those that it heard.
    rings: u64,
    /// Whether the syncer was called and did not hear it yet.
    sync_wanted: bool,
    ended: bool,
}

impl Bell {
    /// A silent one.
    pub(crate) fn new() -> Bell {
        Bell {
            state: Mutex::new(Rank::Leaf, BellState::default()),
            changed: Condvar::new(),
            ends: Condvar::new(),
        }
    }

    /// Wakes maintenance.
    pub(crate) fn ring(&self) {
        self.state.lock().rings += 1;
        self.changed.notify_all();
    }

    /// Wakes the syncer.
    fn ring_for_sync(&self) {
        self.state.lock().sync_wanted = true;
        self.changed.notify_all();
    }

    /// Ends the threads.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_all();
        self.ends.notify_all();
    }

    /// Waits for the time or the end.
    pub(crate) fn rest(&self, time: Duration) {
        let state = self.state.lock();
        if !state.ended && !time.is_zero() {
            let _either = self.ends.wait_timeout(state, time);
        }
    }

    /// Waits for a ring after those that were heard, the time, a call to another, or the end; whether to go on.
    fn wait(&self, at_most: Duration, heard: &mut u64) -> bool {
        let mut state = self.state.lock();
        if !state.ended && *heard == state.rings {
            (state, _) = self.changed.wait_timeout(state, at_most);
        }
        *heard = state.rings;
        !state.ended
    }

    /// The syncer waits, likewise. Whether it was called; nothing at the end.
    fn wait_for_sync(&self, at_most: Duration) -> Option<bool> {
        let mut state = self.state.lock();
        if !state.ended && !state.sync_wanted {
            (state, _) = self.changed.wait_timeout(state, at_most);
        }
        let called = std::mem::take(&mut state.sync_wanted);
        (!state.ended).then_some(called)
    }
}

/// The threads that run.
pub(crate) struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    /// Starts what the options ask for.
    pub(crate) fn start(shared: &Arc<Shared>) -> Result<Threads> {
        let mut threads = Threads(Vec::new());
        if shared.options.maintenance == Maintenance::Background {
            threads.spawn("silverback-maintenance", shared, |shared| tend(shared, Shared::settle_all))?;
            threads.spawn("silverback-merge", shared, |shared| tend(shared, Shared::merge_all))?;
            let every = match shared.options.sync {
                SyncPolicy::Interval(every) => Some(every),
                SyncPolicy::Never => None,
                SyncPolicy::EachCommit => return Ok(threads),
            };
            threads.spawn("silverback-sync", shared, move |shared| syncer(shared, every))?;
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
                let ended = thread.join();
                #[cfg(test)]
                if let (Err(panic), false) = (ended, std::thread::panicking()) {
                    std::panic::resume_unwind(panic);
                }
                #[cfg(not(test))]
                let _panicked = ended;
            }
        }
    }
}

/// Does its part of maintenance each second or when called, and tells the other threads if it got on.
fn tend(shared: &Shared, steps: impl Fn(&Shared) -> Result<bool>) {
    let (mut pause, mut heard) = (LOOK_EVERY, 0);
    while shared.bell.wait(pause, &mut heard) {
        pause = match steps(shared) {
            Ok(progressed) => {
                if progressed {
                    shared.bell.ring();
                }
                LOOK_EVERY
            }
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

fn syncer(shared: &Shared, every: Option<Duration>) {
    while let Some(called) = shared.bell.wait_for_sync(every.unwrap_or(AFTER_FAILURE)) {
        let synced = match called {
            true => shared.sync_ahead(),
            false if every.is_some() => shared.sync_through(shared.head.visible()),
            false => Ok(()),
        };
        // A failure poisons the handle, which the next commit reports too.
        if synced.is_err() {
            shared.tell_poison();
        }
    }
}

impl Shared {
    /// Calls maintenance.
    pub(crate) fn wake_maintenance(&self) {
        self.bell.ring();
    }

    /// Syncs the log, or has it synced, so that little is left for the sync at the end of its segment: commits wait for
    /// that one.
    pub(crate) fn want_sync_ahead(&self) -> Result<()> {
        match self.options.maintenance {
            Maintenance::Background => self.bell.ring_for_sync(),
            Maintenance::Manual => self.sync_through(self.head.visible())?,
        }
        Ok(())
    }

    /// Syncs the log; ends its segment if that is nearly full, when only what came meanwhile is left to be synced.
    fn sync_ahead(&self) -> Result<()> {
        self.sync_through(self.head.visible())?;
        let Some(writer) = &self.writer else { return Ok(()) };
        if writer.lock().wal.is_nearly_full() {
            self.sync_through(self.head.visible())?;
            self.rotate_log()?;
        }
        Ok(())
    }

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
