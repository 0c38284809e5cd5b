//! Who is reading: live queriers, each pinned to a commit and to an edition of the head.
//!
//! A pin is taken when a querier is made and released when the last part of it is dropped. While
//! it lives, series keep what it may still ask for: how many rows there were at its commit, and the
//! data that an edit (delete, truncation after a flush) has replaced since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::Lsn;
use crate::sync::{AtomicUsize, Mutex, Rank};

/// The live pins, counted by (commit, edition).
#[derive(Debug)]
pub(crate) struct Pins {
    live: Mutex<BTreeMap<(Lsn, u64), usize>>,
    count: AtomicUsize,
}

/// The commits that readers are pinned to lie between these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pinned {
    pub(crate) oldest: Lsn,
    pub(crate) newest: Lsn,
}

/// A reader's place in time. Dropping it releases what was kept for it.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    lsn: Lsn,
    edition: u64,
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
        *live.entry((lsn, edition)).or_insert(0) += 1;
        self.count.fetch_add(1, Ordering::SeqCst);
        Pin { pins: Arc::clone(self), lsn, edition }
    }

    /// The oldest and the newest pinned commit, if anybody reads. Without readers it costs one atomic load.
    pub(crate) fn hull(&self) -> Option<Pinned> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let live = self.live.lock();
        let (oldest, newest) = (live.keys().next()?.0, live.keys().next_back()?.0);
        Some(Pinned { oldest, newest })
    }

    /// The pinned editions, each once.
    pub(crate) fn editions(&self) -> BTreeSet<u64> {
        self.live.lock().keys().map(|(_, edition)| *edition).collect()
    }

    /// Whether anybody, besides one, reads what is there before an edition. Who does not yet never will: pins are of that edition
    /// from when it is published.
    pub(crate) fn read_before(&self, edition: u64, besides: Option<&Pin>) -> bool {
        let own = besides.map(|pin| (pin.lsn, pin.edition));
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
        self.lsn
    }

    /// Edits up to this one are applied.
    pub(crate) fn edition(&self) -> u64 {
        self.edition
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut live = self.pins.live.lock();
        if let Some(n) = live.get_mut(&(self.lsn, self.edition)) {
            *n -= 1;
            if *n == 0 {
                live.remove(&(self.lsn, self.edition));
            }
        }
        self.pins.count.fetch_sub(1, Ordering::SeqCst);
    }
}
