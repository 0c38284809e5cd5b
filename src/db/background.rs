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

/// Who is called.
#[derive(Clone, Copy, Debug)]
enum Call {
    Maintenance,
    Syncer,
}

#[derive(Default)]
struct BellState {
    maintenance: bool,
    syncer: bool,
    ended: bool,
}

impl BellState {
    /// Whether that one was called and did not hear it yet.
    fn rung(&mut self, call: Call) -> &mut bool {
        match call {
            Call::Maintenance => &mut self.maintenance,
            Call::Syncer => &mut self.syncer,
        }
    }
}

impl Bell {
    /// A silent one.
    pub(crate) fn new() -> Bell {
        Bell { state: Mutex::new(Rank::Leaf, BellState::default()), changed: Condvar::new() }
    }

    fn ring(&self, call: Call) {
        *self.state.lock().rung(call) = true;
        self.changed.notify_all();
    }

    /// Ends the threads.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for a call, the time, a call to another, or the end. Whether it was called; nothing at the end.
    fn wait(&self, at_most: Duration, call: Call) -> Option<bool> {
        let mut state = self.state.lock();
        if !state.ended && !*state.rung(call) {
            (state, _) = self.changed.wait_timeout(state, at_most);
        }
        let called = std::mem::take(state.rung(call));
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
            threads.spawn("silverback-maintenance", shared, maintenance)?;
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
                let _panicked = thread.join();
            }
        }
    }
}

fn maintenance(shared: &Shared) {
    let mut pause = LOOK_EVERY;
    while shared.bell.wait(pause, Call::Maintenance).is_some() {
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

fn syncer(shared: &Shared, every: Option<Duration>) {
    while let Some(called) = shared.bell.wait(every.unwrap_or(AFTER_FAILURE), Call::Syncer) {
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
        self.bell.ring(Call::Maintenance);
    }

    /// Syncs the log, or has it synced, so that little is left for the sync at the end of its segment: commits wait for
    /// that one.
    pub(crate) fn want_sync_ahead(&self) -> Result<()> {
        match self.options.maintenance {
            Maintenance::Background => self.bell.ring(Call::Syncer),
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
