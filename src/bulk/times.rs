//! Timestamps that packed stretches share: each distinct column of them once in memory, under a number.
//!
//! ```text
//!   timestamps ──hash──▶ a column with these ──▶ its number
//!                none ─▶ a new column; for a short one only if the hash was seen before
//! ```
//!
//! The series of one scrape target have the same timestamps, whatever slab they are in. Columns stay until all are taken; which of
//! them are found again is remembered up to a number of bytes, and then all are forgotten: later equal ones
//! are columns of their own. Chunks that are cut in the end share theirs in the same way ([`SharedTimes`]), but for those that were packed so.
//! Nothing but memory and time depends on what is found.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::format::chunk::Timestamps;
use crate::sync::{Mutex, Rank};

/// The memory of a column beside its timestamps: its place, counts, the allocator's header.
const COLUMN_BYTES: usize = 64;
/// The memory of a column's place in the table at its emptiest.
const KNOWN_BYTES: usize = 40;

/// The columns, for all who pack.
#[derive(Clone, Debug)]
pub(super) struct TimesPool {
    hasher: RandomState,
    pool: Arc<Mutex<Pool>>,
    max_bytes: usize,
}

#[derive(Debug)]
struct Pool {
    /// Hashes, and numbers of columns.
    known: HashTable<(u64, u32)>,
    columns: Vec<Timestamps>,
    /// Parts of hashes of short columns, each in the place that another part says.
    seen: Vec<u32>,
}

/// Where timestamps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of their column.
    pub(super) column: u32,
    /// The memory that a new column takes.
    pub(super) new_bytes: usize,
}

impl TimesPool {
    /// Takes so many bytes besides the columns.
    pub(super) fn new(max_bytes: usize) -> TimesPool {
        let seen = vec![0; (max_bytes / 2 / size_of::<u32>()).max(1)];
        let pool = Pool { known: HashTable::new(), columns: Vec::new(), seen };
        TimesPool { hasher: RandomState::default(), pool: Arc::new(Mutex::new(Rank::Leaf, pool)), max_bytes }
    }

    /// The memory that it takes besides the columns.
    pub(super) fn memory_bytes(&self) -> usize {
        self.max_bytes
    }

    /// The place of these timestamps. Unless it is sure that a new column pays, it is made if they seem to come again and again;
    /// until then there is none.
    pub(super) fn place(&self, t: &[i64], pays: bool) -> Option<Place> {
        let hash = self.hasher.hash_one(t);
        let pool = &mut *self.pool.lock();
        let column = |n: u32| pool.columns.get(n as usize).map(|column| &**column);
        if let Some(&(_, column)) = pool.known.find(hash, |&(h, n)| h == hash && column(n) == Some(t)) {
            return Some(Place { column, new_bytes: 0 });
        }
        if !pays && !pool.saw(hash) {
            return None;
        }
        let number = u32::try_from(pool.columns.len()).ok()?;
        if (pool.known.len() + 1) * KNOWN_BYTES > self.max_bytes / 2 {
            pool.known.clear();
        }
        pool.columns.push(t.into());
        pool.known.insert_unique(hash, (hash, number), |&(hash, _)| hash);
        Some(Place { column: number, new_bytes: size_of_val(t) + COLUMN_BYTES })
    }

    /// Takes all columns, by number.
    pub(super) fn take(&self) -> Vec<Timestamps> {
        let mut pool = self.pool.lock();
        pool.known.clear();
        std::mem::take(&mut pool.columns)
    }
}

/// Timestamps of chunks that are cut, each distinct column of them once in memory, as far as a number of bytes goes.
#[derive(Clone, Debug)]
pub(super) struct SharedTimes {
    hasher: RandomState,
    pool: Arc<Mutex<Known>>,
    max_bytes: usize,
}

/// Hashes and columns, and the bytes of all of them.
#[derive(Debug, Default)]
struct Known {
    columns: HashTable<(u64, Timestamps)>,
    bytes: usize,
}

impl SharedTimes {
    /// Holds so many bytes at most.
    pub(super) fn new(max_bytes: usize) -> SharedTimes {
        let pool = Arc::new(Mutex::new(Rank::Leaf, Known::default()));
        SharedTimes { hasher: RandomState::default(), pool, max_bytes }
    }

    /// A column with these timestamps.
    pub(super) fn column(&self, t: &[i64]) -> Timestamps {
        let hash = self.hasher.hash_one(t);
        let known = &mut *self.pool.lock();
        if let Some((_, column)) = known.columns.find(hash, |(h, column)| *h == hash && **column == *t) {
            return column.clone();
        }
        let column: Timestamps = t.into();
        let more = size_of_val(t) + COLUMN_BYTES + KNOWN_BYTES;
        if known.bytes + more > self.max_bytes {
            *known = Known::default();
        }
        known.bytes += more;
        known.columns.insert_unique(hash, (hash, column.clone()), |(hash, _)| *hash);
        column
    }
}

impl Pool {
    /// Whether this hash came before, as far as that is remembered; it is from here on.
    fn saw(&mut self, hash: u64) -> bool {
        let (place, part) = ((hash >> 32) as usize % self.seen.len(), (hash & 0xffff_ffff) as u32 | 1);
        self.seen.get_mut(place).is_some_and(|seen| std::mem::replace(seen, part) == part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_timestamps_have_one_place_until_all_is_forgotten() {
        let pool = TimesPool::new(2 * 3 * KNOWN_BYTES);
        let column = |from: i64| (from..from + 10).collect::<Vec<i64>>();
        let place = |from: i64| pool.place(&column(from), true).unwrap();
        let bytes = 80 + COLUMN_BYTES;
        assert_eq!(place(0), Place { column: 0, new_bytes: bytes });
        assert_eq!(place(0), Place { column: 0, new_bytes: 0 });
        assert_eq!((place(1).column, place(2).column, place(0).column), (1, 2, 0));
        assert_eq!(place(3).column, 3, "a fourth: the others are forgotten");
        assert_eq!(place(0), Place { column: 4, new_bytes: bytes });
        assert_eq!(place(3), Place { column: 3, new_bytes: 0 });
        let all = pool.take();
        assert_eq!(all.iter().map(|c| c[0]).collect::<Vec<_>>(), [0, 1, 2, 3, 0]);
        assert_eq!(place(7).column, 0, "it begins anew");
    }

    #[test]
    fn what_may_not_pay_is_taken_when_it_comes_again() {
        let pool = TimesPool::new(100_000);
        assert_eq!(pool.place(&[1, 2], false), None);
        assert_eq!(pool.place(&[1, 3], false), None);
        assert_eq!(pool.place(&[1, 2], false).map(|p| p.column), Some(0));
        assert_eq!(pool.place(&[1, 2], false), Some(Place { column: 0, new_bytes: 0 }));
    }

    #[test]
    fn chunks_share_their_timestamps_as_far_as_the_bytes_go() {
        let one = 80 + COLUMN_BYTES + KNOWN_BYTES;
        let shared = SharedTimes::new(2 * one);
        let column = |from: i64| shared.column(&(from..from + 10).collect::<Vec<i64>>());
        let [a, b] = [column(0), column(1)];
        assert!(a.as_ptr() == column(0).as_ptr() && b.as_ptr() == column(1).as_ptr());
        assert_eq!(*column(2), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "a third: the others are forgotten");
        assert!(a.as_ptr() != column(0).as_ptr() && column(0) == a);
    }
}
