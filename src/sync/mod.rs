//! Locks with ranks: deadlocks are found by every test that takes two locks, not by the one user
//! whose threads met.
//!
//! ```text
//!   Merge < Maintenance < Commit < Publish < Version < HeadIndex < Shard < Pins < WalSync < Leaf
//!   ───────────────── a thread takes locks only in this direction ─────────────────▶
//! ```
//!
//! Every lock has a [`Rank`]. A thread takes a lock only while all locks that it holds have a lower rank
//! (so never two of one rank, and never one lock twice, not even for reading): no cycle of waiting
//! threads can form. Debug builds assert it at each lock, in a bit set per thread; release builds do
//! nothing. A lock whose holder calls nothing that locks is a `Leaf`.
//!
//! **Panics.** The locks know no poison: if a holder panics, the next one takes the state as it is.
//! That is sound because the crate's own code does not panic (the lints deny it), and code of others, such as a
//! caller's event hook or an iterator of theirs, is never run under a lock. The rule for whoever holds a
//! lock: prepare what can fail before, change the state in steps that cannot, call no foreign code.
//!
//! Cost: one thread-local bit in debug builds; in release builds that of the standard library's locks.
//!
//! **Model checks.** In tests the locks stand on [`raw`], and the atomics on which readers and writers agree are taken from here,
//! so that a scheduler can decide who goes on at each of them.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::Duration;

#[cfg(test)]
pub(crate) mod raw;
#[cfg(not(test))]
mod raw {
    pub(super) use std::sync::*;
    pub(crate) use std::thread::yield_now;
}
pub(crate) use raw::yield_now;

#[cfg(test)]
pub(crate) use raw::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
#[cfg(not(test))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

/// The order of locks, lowest first: what is taken first stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Rank {
    /// One merge at a time, however long.
    Merge,
    /// One short step of maintenance at a time: flush, retention, the beginning and the end of a merge, snapshot.
    Maintenance,
    /// The order of commits: verdicts, LSNs, and the records in the log.
    Commit,
    /// One swap of the manifest at a time.
    Publish,
    /// The current set of blocks and its manifest; held only to read or replace it.
    Version,
    /// The head's labels and postings.
    HeadIndex,
    /// One shard of the head's series.
    Shard,
    /// The live queriers, and what they keep from being freed.
    Pins,
    /// Group commit: who syncs, and through where the log is synced.
    WalSync,
    /// State whose holder takes no other lock: counters, reports, hooks.
    Leaf,
}

/// Mutual exclusion, with a rank and without poison.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    rank: Rank,
    inner: raw::Mutex<T>,
}

impl<T> Mutex<T> {
    /// A lock of this rank around `value`.
    pub(crate) fn new(rank: Rank, value: T) -> Mutex<T> {
        Mutex { rank, inner: raw::Mutex::new(value) }
    }

    /// The value, when nobody else has the lock any more.
    #[cfg(test)]
    pub(crate) fn into_inner(self) -> T {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Mutex<T> {
    /// Waits for the lock. All locks that this thread holds must have a lower rank.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let held = Held::take(self.rank);
        MutexGuard { inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner), held }
    }
}

/// Holds a [`Mutex`] until dropped.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    // Declared, and so dropped, before the mark of its rank.
    inner: raw::MutexGuard<'a, T>,
    held: Held,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// Many readers or one writer, with a rank and without poison.
#[derive(Debug)]
pub(crate) struct RwLock<T> {
    rank: Rank,
    inner: raw::RwLock<T>,
}

impl<T> RwLock<T> {
    /// A lock of this rank around `value`.
    pub(crate) fn new(rank: Rank, value: T) -> RwLock<T> {
        RwLock { rank, inner: raw::RwLock::new(value) }
    }
}

impl<T> RwLock<T> {
    /// Waits until no writer has the lock. Not to be taken twice by one thread: a waiting writer
    /// would stand between the two.
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        let held = Held::take(self.rank);
        ReadGuard { inner: self.inner.read().unwrap_or_else(PoisonError::into_inner), _held: held }
    }

    /// Waits until nobody has the lock.
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        let held = Held::take(self.rank);
        WriteGuard { inner: self.inner.write().unwrap_or_else(PoisonError::into_inner), _held: held }
    }
}

/// Holds a [`RwLock`] for reading until dropped.
#[derive(Debug)]
pub(crate) struct ReadGuard<'a, T> {
    inner: raw::RwLockReadGuard<'a, T>,
    _held: Held,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

/// Holds a [`RwLock`] for writing until dropped.
#[derive(Debug)]
pub(crate) struct WriteGuard<'a, T> {
    inner: raw::RwLockWriteGuard<'a, T>,
    _held: Held,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// Waits for a change of what a [`Mutex`] guards.
#[derive(Debug)]
pub(crate) struct Condvar(raw::Condvar);

impl Condvar {
    /// One that nobody waits for yet.
    pub(crate) fn new() -> Condvar {
        Condvar(raw::Condvar::new())
    }

    /// Gives the lock away, waits, takes it again. May wake without reason: ask again in a loop.
    /// The lock must be the highest that the thread holds, or taking it again would be out of order.
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard { inner, held } = guard;
        held.check_highest();
        MutexGuard { inner: self.0.wait(inner).unwrap_or_else(PoisonError::into_inner), held }
    }

    /// The same for at most `timeout`; says whether that passed.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let MutexGuard { inner, held } = guard;
        held.check_highest();
        let (inner, result) = self.0.wait_timeout(inner, timeout).unwrap_or_else(PoisonError::into_inner);
        (MutexGuard { inner, held }, result.timed_out())
    }

    /// Wakes all waiting threads.
    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// The mark that this thread holds a lock of a rank. Lives beside a standard guard, so it stays on its thread.
#[derive(Debug)]
struct Held {
    #[cfg(debug_assertions)]
    rank: Rank,
}

#[cfg(debug_assertions)]
mod ranks {
    use super::{Held, Rank};
    use std::cell::Cell;

    thread_local! {
        /// The ranks that this thread holds, bit by bit.
        static HELD: Cell<u32> = const { Cell::new(0) };
    }

    /// Asks or changes the ranks that this thread holds.
    fn of_thread<R>(f: impl Fn(&Cell<u32>) -> R) -> R {
        #[cfg(test)]
        if let Some(done) = super::raw::held(&f) {
            return done;
        }
        HELD.with(f)
    }

    impl Held {
        pub(super) fn take(rank: Rank) -> Held {
            let held = of_thread(Cell::get);
            assert!(
                held >> rank as u8 == 0,
                "{rank:?} is taken after a lock of its rank or above (held: {held:#b})"
            );
            of_thread(|ranks| ranks.set(held | 1 << rank as u8));
            Held { rank }
        }

        pub(super) fn check_highest(&self) {
            let held = of_thread(Cell::get);
            let highest = held >> (self.rank as u8) == 1;
            assert!(highest, "waits on {:?} with a higher lock (held: {held:#b})", self.rank);
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            of_thread(|ranks| ranks.set(ranks.get() & !(1 << self.rank as u8)));
        }
    }
}

#[cfg(not(debug_assertions))]
impl Held {
    fn take(_: Rank) -> Held {
        Held {}
    }

    fn check_highest(&self) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn locks_taken_upwards_and_dropped_in_any_order_are_fine() {
        let commit = Mutex::new(Rank::Commit, 1);
        let shard = RwLock::new(Rank::Shard, 2);
        let leaf = Mutex::new(Rank::Leaf, 3);
        for _ in 0..2 {
            let mut a = commit.lock();
            let b = shard.read();
            let mut c = leaf.lock();
            *a += *b;
            *c += *a;
            drop(a);
            drop(c);
            drop(b);
        }
        *shard.write() += 1;
        assert_eq!((commit.into_inner(), leaf.into_inner(), *shard.read()), (5, 11, 3));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "Commit is taken after")]
    fn a_lower_rank_after_a_higher_one_is_caught() {
        let (commit, version) = (Mutex::new(Rank::Commit, ()), Mutex::new(Rank::Version, ()));
        let _version = version.lock();
        let _commit = commit.lock();
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "Shard is taken after")]
    fn the_same_rank_twice_is_caught_even_for_reading() {
        let shard = RwLock::new(Rank::Shard, ());
        let _one = shard.read();
        let _two = shard.read();
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "waits on WalSync")]
    fn waiting_below_a_held_lock_is_caught() {
        let (sync, leaf) = (Mutex::new(Rank::WalSync, ()), Mutex::new(Rank::Leaf, ()));
        let guard = sync.lock();
        let _leaf = leaf.lock();
        let _ = Condvar::new().wait_timeout(guard, Duration::ZERO);
    }

    #[test]
    fn ranks_are_of_a_thread() {
        let (commit, leaf) = (Mutex::new(Rank::Commit, 0), Mutex::new(Rank::Leaf, ()));
        let _leaf = leaf.lock();
        std::thread::scope(|s| {
            s.spawn(|| *commit.lock() += 1);
        });
        assert_eq!(commit.into_inner(), 1);
    }

    #[test]
    fn a_panic_leaves_the_lock_usable_and_the_ranks_clean() {
        let lock = Arc::new(Mutex::new(Rank::Commit, 1));
        let other = lock.clone();
        let result = std::panic::catch_unwind(move || {
            let mut guard = other.lock();
            *guard = 2;
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(result.is_err());
        assert_eq!(*lock.lock(), 2);
    }

    #[test]
    fn a_condvar_hands_values_over_and_times_out() {
        let shared = Arc::new((Mutex::new(Rank::WalSync, 0), Condvar::new()));
        let other = shared.clone();
        let thread = std::thread::spawn(move || {
            *other.0.lock() = 7;
            other.1.notify_all();
        });
        let mut guard = shared.0.lock();
        while *guard == 0 {
            guard = shared.1.wait(guard);
        }
        assert_eq!(*guard, 7);
        // A wake-up without reason is allowed, but nobody notifies: it ends by the clock.
        let mut timed_out = false;
        while !timed_out {
            (guard, timed_out) = shared.1.wait_timeout(guard, Duration::from_millis(1));
        }
        assert_eq!(*guard, 7);
        drop(guard);
        thread.join().unwrap();
    }
}
