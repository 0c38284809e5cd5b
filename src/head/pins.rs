//! Who is reading: live queriers, each pinned to a commit and to an edition of the head.
//!
//! A pin is taken when a querier is made and released when the last part of it is dropped. While
//! it lives, series keep what it may still ask for: how many rows there were at its commit, and the
//! data that an edit (delete, truncation after a flush) has replaced since. For a flush, which reads nothing behind its range, the series
//! that are past it, and those are nearly all, keep nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::Lsn;
use crate::sync::{AtomicUsize, Mutex, Rank};

/// The live pins, counted.
#[derive(Debug)]
pub(crate) struct Pins {
    live: Mutex<BTreeMap<Key, usize>>,
    count: AtomicUsize,
}

/// What a pin is of: commit, edition, and the time before which it reads.
type Key = (Lsn, u64, i64);

/// What readers are pinned to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned {
    /// The oldest and the newest commit of those that read all times.
    readers: Option<(Lsn, Lsn)>,
    /// The commit of a flush, and the end of its range.
    flush: Option<(Lsn, i64)>,
}

/// A reader's place in time. Dropping it releases what was kept for it.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    key: Key,
}

impl Pinned {
    /// Whether somebody asks for how many rows there were before commit `lsn`, of which the first row is at `t`, where the one before that
    /// is noted is `since`. A reader asks for the first one above its commit.
    pub(crate) fn asks_for(self, since: Lsn, lsn: Lsn, t: i64) -> bool {
        let between = |oldest: Lsn, newest: Lsn| oldest < lsn && since <= newest;
        self.readers.is_some_and(|(oldest, newest)| between(oldest, newest))
            || self.flush.is_some_and(|(at, before_t)| between(at, at) && t < before_t)
    }
}

impl Pins {
    /// Nobody reads.
    pub(crate) fn new() -> Arc<Pins> {
        Arc::new(Pins { live: Mutex::new(Rank::Pins, BTreeMap::new()), count: AtomicUsize::new(0) })
    }

    /// Takes a pin; `now` is asked under the lock, so that no edit slips in between.
    pub(crate) fn take(self: &Arc<Pins>, now: impl FnOnce() -> (Lsn, u64)) -> Pin {
        let mut live = self.live.lock();
        let (lsn, edition) = now();
        self.pin(&mut live, (lsn, edition, i64::MAX))
    }

    fn pin(self: &Arc<Pins>, live: &mut BTreeMap<Key, usize>, key: Key) -> Pin {
        *live.entry(key).or_insert(0) += 1;
        self.count.fetch_add(1, Ordering::SeqCst);
        Pin { pins: Arc::clone(self), key }
    }

    /// What readers are pinned to, if anybody reads. Without readers it costs one atomic load.
    pub(crate) fn hull(&self) -> Option<Pinned> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let live = self.live.lock();
        let mut readers = live.keys().filter(|key| key.2 == i64::MAX).map(|key| key.0);
        let oldest = readers.next();
        let readers = oldest.map(|oldest| (oldest, readers.next_back().unwrap_or(oldest)));
        let flush = live.keys().find(|key| key.2 < i64::MAX).map(|key| (key.0, key.2));
        Some(Pinned { readers, flush })
    }

    /// The pinned editions, each once.
    pub(crate) fn editions(&self) -> BTreeSet<u64> {
        self.live.lock().keys().map(|(_, edition, _)| *edition).collect()
    }

    /// Whether anybody, besides one, reads what is there before an edition. Who does not yet never will: pins are of that edition
    /// from when it is published.
    pub(crate) fn read_before(&self, edition: u64, besides: Option<&Pin>) -> bool {
        let own = besides.map(|pin| pin.key);
        let live = self.live.lock();
        live.iter().any(|(key, count)| key.1 < edition && (Some(*key) != own || *count > 1))
    }

    /// The number of live pins.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Pin {
    /// Commits up to this one are visible.
    pub(crate) fn lsn(&self) -> Lsn {
        self.key.0
    }

    /// Edits up to this one are applied.
    pub(crate) fn edition(&self) -> u64 {
        self.key.1
    }

    /// One of the same commit and edition that reads nothing at or behind this time. For one flush at a time.
    pub(crate) fn before(&self, t: i64) -> Pin {
        self.pins.pin(&mut self.pins.live.lock(), (self.lsn(), self.edition(), t))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut live = self.pins.live.lock();
        if let Some(n) = live.get_mut(&self.key) {
            *n -= 1;
            if *n == 0 {
                live.remove(&self.key);
            }
        }
        self.pins.count.fetch_sub(1, Ordering::SeqCst);
    }
}
