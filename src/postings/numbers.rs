//! Numbers found by the hash of what they stand for, which is kept elsewhere.
//!
//! An entry is a number and half of its hash: enough to grow without looking at what was hashed, and so to call for a
//! comparison hardly ever in vain. Cost: 9 bytes an entry, and what the table keeps free.

use hashbrown::HashTable;

/// An odd number of even bits (Fibonacci hashing: 2^64 by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A table of numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    table: HashTable<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    half: u32,
    number: u32,
}

impl Entry {
    fn new(hash: u64, number: u32) -> Entry {
        let half = (hash >> 32) as u32;
        Entry { half, number }
    }

    /// The table looks at the upper bits and at the lower ones.
    fn spread(&self) -> u64 {
        u64::from(self.half).wrapping_mul(SPREAD)
    }
}

impl Numbers {
    /// The number with this hash of which `is_it` says so.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let wanted = Entry::new(hash, 0);
        let found = self.table.find(wanted.spread(), |e| e.half == wanted.half && is_it(e.number));
        found.map(|entry| entry.number)
    }

    /// Adds one that is not there.
    pub(crate) fn insert(&mut self, hash: u64, number: u32) {
        let entry = Entry::new(hash, number);
        self.table.insert_unique(entry.spread(), entry, Entry::spread);
    }

    /// Removes one.
    pub(crate) fn remove(&mut self, hash: u64, number: u32) {
        let wanted = Entry::new(hash, number);
        if let Ok(entry) = self.table.find_entry(wanted.spread(), |e| e.number == number) {
            entry.remove();
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.table.iter().map(|entry| entry.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_equal_hashes_are_told_apart() {
        let mut numbers = Numbers::default();
        let hash = |n: u32| u64::from(n / 2) << 40;
        (0..1_000).for_each(|n| numbers.insert(hash(n), n));
        assert_eq!(numbers.find(hash(7), |n| n == 7), Some(7));
        assert_eq!(numbers.find(hash(7), |n| n == 8), None);
        numbers.remove(hash(7), 7);
        assert_eq!((numbers.find(hash(7), |n| n == 7), numbers.find(hash(6), |n| n == 6)), (None, Some(6)));
        assert_eq!((numbers.len(), numbers.iter().count()), (999, 999));
    }
}
