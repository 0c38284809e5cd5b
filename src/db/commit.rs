//! How a batch becomes durable: one order of commits, many waiting for one sync.
//!
//! ```text
//!   commit lock   judge ▸ write the record ▸ apply to the head ▸ show it      microseconds, no sync
//!   group         wait until synced ≥ my commit: one of the waiters syncs for all
//! ```
//!
//! A record that cannot be written (full disk) leaves everything as it was. A sync that fails leaves
//! the outcome unknown: the handle is poisoned, no sync is tried again, reads go on.

use std::sync::atomic::Ordering;

use crate::db::Shared;
use crate::db::report::Event;
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::head::{Row, Verdicts};
use crate::model::{Lsn, Metadata};
use crate::sync::{Condvar, Mutex, Rank, yield_now};
use crate::wal::{SyncPoint, Wal};

/// Under the commit lock: the log's writer and room for verdicts.
pub(crate) struct CommitState {
    pub(crate) wal: Wal,
    /// The newest number given out: to a commit, a delete or a bulk publication.
    pub(crate) last_lsn: Lsn,
    pub(crate) verdicts: Verdicts,
    /// When an interval last synced, in milliseconds of the clock.
    pub(crate) synced_at_ms: i64,
}

/// Group commit: who waits, who syncs, what is durable.
pub(crate) struct Group {
    state: Mutex<GroupState>,
    changed: Condvar,
}

struct GroupState {
    /// Where the log ends, and the last number that is durable once that is: deletes and loads take numbers
    /// without a record.
    latest: Option<(SyncPoint, Lsn)>,
    synced: Lsn,
    /// The last record of the log that a sync made durable: never the number of a delete or a load, since what the log
    /// says of itself must be of its own records.
    synced_record: Lsn,
    syncing: bool,
    /// How many wrote since the last sync began, and how many that one was for.
    unsynced: usize,
    crowd: usize,
    syncs: u64,
    failure: Option<Error>,
}

impl Group {
    /// Nothing is waiting; all up to `synced` is durable.
    pub(crate) fn new(synced: Lsn) -> Group {
        let synced_record = Lsn(0);
        let state = GroupState {
            latest: None,
            synced,
            synced_record,
            syncing: false,
            unsynced: 0,
            crowd: 0,
            syncs: 0,
            failure: None,
        };
        Group { state: Mutex::new(Rank::WalSync, state), changed: Condvar::new() }
    }

    /// Tells where the log ends now, and the newest number given out; called under the commit lock, before a reader sees
    /// that number. Deletes and loads have numbers that are not in the log: they are durable by the manifest.
    pub(crate) fn wrote(&self, point: SyncPoint, last_lsn: Lsn) {
        let through = last_lsn.max(point.lsn());
        let mut state = self.state.lock();
        state.latest = Some((point, through));
        state.unsynced += 1;
    }

    /// The records of the log up to this one are durable.
    pub(crate) fn synced_record(&self) -> Lsn {
        self.state.lock().synced_record
    }

    /// Syncs done.
    pub(crate) fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Why the handle is poisoned, if it is.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.state.lock().failure.as_ref().map(Error::duplicate)
    }

    /// Poisons the handle; the first failure is kept.
    pub(crate) fn poison(&self, error: &Error) {
        self.state.lock().failure.get_or_insert_with(|| error.duplicate());
        self.changed.notify_all();
    }

    /// Waits until `lsn` is durable; syncs itself if nobody does.
    ///
    /// # Errors
    /// The failed sync's, for everyone who waits for it and ever after.
    pub(crate) fn wait(&self, lsn: Lsn) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.duplicate());
            }
            if state.synced >= lsn {
                return Ok(());
            }
            if state.syncing {
                state = self.changed.wait(state);
                continue;
            }
            state.syncing = true;
            if state.crowd > 1 {
                // Those whom the last sync let go are about to commit again: this one can be theirs, too.
                drop(state);
                yield_now();
                state = self.state.lock();
            }
            state.crowd = std::mem::take(&mut state.unsynced);
            let Some((point, through)) = state.latest.clone() else {
                state.syncing = false;
                return Ok(());
            };
            drop(state);
            let outcome = point.sync();
            state = self.state.lock();
            state.syncing = false;
            state.syncs += 1;
            match outcome {
                Ok(()) => {
                    state.synced = state.synced.max(through);
                    state.synced_record = state.synced_record.max(point.lsn());
                }
                Err(e) if state.failure.is_none() => state.failure = Some(e),
                Err(_) => {}
            }
            self.changed.notify_all();
        }
    }
}

impl Shared {
    /// The error that refuses writes, if they are refused.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.writer.is_none() {
            return Err(
                Error::new(ErrorKind::ReadOnly, "the database was opened read-only").at(self.layout.root())
            );
        }
        match self.group.failure() {
            None => Ok(()),
            Some(e) => Err(Error::new(
                ErrorKind::Poisoned,
                format!("writes are refused since a sync failed ({e}); reopen the database"),
            )),
        }
    }

    /// Commits rows: the verdicts are left in `out`. Returns the newest number given out, and whether so much of the log
    /// is not synced that a sync is due, whatever the policy.
    pub(crate) fn commit(
        &self,
        rows: &[Row],
        families: &[(String, Metadata)],
        out: &mut Verdicts,
    ) -> Result<(Lsn, bool)> {
        self.check_writable()?;
        let Some(writer) = &self.writer else { return Ok((Lsn(0), false)) };
        let mut state = writer.lock();
        let state = &mut *state;
        self.check_writable()?;
        let now_ms = self.options.clock.now_ms();
        state.wal.note_synced(self.group.synced_record());
        if !families.is_empty() {
            self.log_families(state, families)?;
        }
        let lsn = state.last_lsn.next();
        self.head.judge(rows, now_ms, &mut state.verdicts)?;
        let stored = !state.verdicts.accepted.is_empty();
        if stored {
            let accepted = &state.verdicts.accepted;
            let written = state.wal.commit(lsn, accepted, &*self.head);
            if let Err(e) = written {
                self.head.settle(accepted);
                return Err(self.write_failed(e));
            }
            self.head.apply(lsn, accepted);
            self.show(state, lsn);
        } else {
            self.group.wrote(state.wal.sync_point(), state.last_lsn);
        }
        self.counters.committed(&state.verdicts);
        std::mem::swap(out, &mut state.verdicts);
        self.note_pressure();
        Ok((state.last_lsn, state.wal.wants_sync()))
    }

    /// Calls maintenance, once, when the head is full enough to be flushed early.
    fn note_pressure(&self) {
        let pressed = self.is_pressed();
        if pressed != self.pressed.load(Ordering::Relaxed) {
            self.pressed.store(pressed, Ordering::Relaxed);
            if pressed {
                self.wake_maintenance();
            }
        }
    }

    /// Whether the head is to be flushed, complete range or not.
    pub(crate) fn is_pressed(&self) -> bool {
        self.head.bytes() >= self.options.head_memory / 4 * 3
    }

    fn log_families(&self, state: &mut CommitState, families: &[(String, Metadata)]) -> Result<()> {
        let news: Vec<(&str, &Metadata)> = families
            .iter()
            .filter(|(name, metadata)| self.head.family(name).as_ref() != Some(metadata))
            .map(|(name, metadata)| (name.as_str(), metadata))
            .collect();
        if news.is_empty() {
            return Ok(());
        }
        let lsn = state.last_lsn.next();
        state.wal.metadata(lsn, &news).map_err(|e| self.write_failed(e))?;
        for (name, metadata) in news {
            self.head.set_metadata(name, metadata.clone());
        }
        self.show(state, lsn);
        Ok(())
    }

    /// Poisons the handle if an outcome is unknown.
    pub(crate) fn note_unknown<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|e| {
            if e.applied() == Applied::Unknown {
                self.poison(e);
            }
        })
    }

    /// Readers see what has this number from here on; who waits for it to be durable knows what to sync.
    pub(crate) fn show(&self, state: &mut CommitState, lsn: Lsn) {
        state.last_lsn = lsn;
        self.group.wrote(state.wal.sync_point(), lsn);
        self.head.set_visible(lsn);
    }

    /// A full disk and a record too large are the caller's to mend; anything else poisons the handle.
    fn write_failed(&self, error: Error) -> Error {
        if error.can_be_mended() {
            return error;
        }
        self.poison(&error);
        error.with_applied(Applied::Unknown)
    }

    /// Waits until everything up to `lsn` is durable.
    pub(crate) fn sync_through(&self, lsn: Lsn) -> Result<()> {
        self.group.wait(lsn).map_err(|e| {
            self.poison(&e);
            e.with_applied(Applied::Unknown)
        })
    }

    /// Takes no more writes from here on. Locks may be held: listeners are told by [`tell_poison`](Shared::tell_poison).
    pub(crate) fn poison(&self, error: &Error) {
        self.group.poison(error);
    }

    /// Tells listeners once that the handle is poisoned, if it is; no lock is held.
    pub(crate) fn tell_poison(&self) {
        if let Some(error) = self.group.failure()
            && !self.poison_told.swap(true, Ordering::SeqCst)
        {
            self.event(&Event::Poisoned { error });
        }
    }
}

/// Shared by the writer's parts.
pub(crate) type Writer = Mutex<CommitState>;

/// A writer's state behind the commit lock.
pub(crate) fn writer(wal: Wal, last_lsn: Lsn, now_ms: i64) -> Writer {
    let state = CommitState { wal, last_lsn, verdicts: Verdicts::default(), synced_at_ms: now_ms };
    Mutex::new(Rank::Commit, state)
}
