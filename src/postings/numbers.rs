//! Numbers found by the hash of what they stand for, which is kept elsewhere.
//!
//! An entry is a number and half of its hash: enough to grow without looking at what was hashed, and so to call for a
//! comparison hardly ever in vain. There are [`TABLES`] tables, each with its part of the hashes, so that the one
//! insertion that makes a table grow moves a part of the entries only. Cost: 9 bytes an entry, and what
//! the tables keep free.

use hashbrown::HashTable;

/// An odd number of even bits (Fibonacci hashing: 2^64 by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A power of two.
const TABLES: usize = 64;

/// A table of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    tables: [HashTable<Entry>; TABLES],
    count: usize,
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers { tables: [const { HashTable::new() }; TABLES], count: 0 }
    }
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

    /// Which table it is in.
    fn table(&self) -> usize {
        self.half as usize % TABLES
    }

    /// A table looks at the upper bits and at the lower ones.
    fn spread(&self) -> u64 {
        u64::from(self.half >> TABLES.ilog2()).wrapping_mul(SPREAD)
    }
}

impl Numbers {
    /// The number with this hash of which `is_it` says so.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let wanted = Entry::new(hash, 0);
        let table = self.tables.get(wanted.table())?;
        let found = table.find(wanted.spread(), |e| e.half == wanted.half && is_it(e.number));
        found.map(|entry| entry.number)
    }

    /// Adds one that is not there.
    pub(crate) fn insert(&mut self, hash: u64, number: u32) {
        let entry = Entry::new(hash, number);
        if let Some(table) = self.tables.get_mut(entry.table()) {
            table.insert_unique(entry.spread(), entry, Entry::spread);
            self.count += 1;
        }
    }

    /// Removes one.
    pub(crate) fn remove(&mut self, hash: u64, number: u32) {
        let wanted = Entry::new(hash, number);
        let Some(table) = self.tables.get_mut(wanted.table()) else { return };
        if let Ok(entry) = table.find_entry(wanted.spread(), |e| e.number == number) {
            entry.remove();
            self.count -= 1;
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
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
        assert_eq!(numbers.len(), 999);
    }
}
