//! The label sets of one epoch: each once, numbered from 0, found by hash.
//!
//! ```text
//!   pairs     job="node"  dc="a"  dc="b"  …       each distinct pair once, in canonical form
//!   members   0 1 │ 0 2 │ …                       a series is the numbers of its pairs
//! ```
//!
//! A million series of a fleet have some thousand pairs, so that a series costs a tenth of its text. A set that is looked for
//! is compared pair by pair with the one before, of which it has most. The others are foretold: dumps have their targets in the same order
//! for each metric, so that a pair is followed, in its place, by the one that followed it the last time. Only what is neither is hashed. Sorting ranks
//! the pairs once, as text; the series are then sorted by numbers.
//!
//! An *epoch* is the life of one table. When the table outgrows its share of the memory it is
//! emptied and the next epoch begins, whose number is drawn from one counter of the process: a
//! [`BulkRef`] carries the number of its epoch, so that one of an earlier epoch, or of another
//! loader, is recognised and never taken for another series.

use std::cmp::Ordering as Order;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::BulkRef;
use crate::error::{AppendError, Error, ErrorKind, Result};
use crate::model::Labels;

/// Memory of a series beside its pairs: its end, its row count, the hash table's slots at their emptiest, its numbers. The keys by which
/// series are sorted are no part of it: they take a fifth of what a table may.
const SERIES_BYTES: usize = 8 + 4 + 20 + 8;
/// Memory of a pair beside its text: its place, the hash table's slots at their emptiest, its rank and number while sorting.
const PAIR_BYTES: usize = 16 + 20 + 8;
/// Memory of a pair in a series.
const MEMBER_BYTES: usize = 4;

/// Numbers the epochs of all loaders of the process; 0 is none.
static EPOCHS: AtomicU32 = AtomicU32::new(1);

/// The label sets of the current epoch.
#[derive(Debug)]
pub(super) struct Table {
    epoch: u32,
    hasher: RandomState,
    pairs: Pairs,
    /// The upper half of the hash, and the number: growing the table and passing over others asks no labels.
    ids: HashTable<(u32, u32)>,
    /// Where the pairs of each series end in `members`.
    ends: Vec<usize>,
    members: Vec<u32>,
    /// The set that was asked for last, and the numbers of its pairs.
    last: Option<Labels>,
    numbers: Vec<u32>,
}

impl Table {
    /// An empty table: a new epoch.
    pub(super) fn new() -> Table {
        let hasher = RandomState::default();
        Table {
            epoch: EPOCHS.fetch_add(1, Ordering::Relaxed),
            pairs: Pairs::new(hasher.clone()),
            hasher,
            ids: HashTable::new(),
            ends: Vec::new(),
            members: Vec::new(),
            last: None,
            numbers: Vec::new(),
        }
    }

    /// The memory that it holds.
    pub(super) fn memory_bytes(&self) -> usize {
        let pairs = self.pairs.text.len() + self.pairs.places.len() * PAIR_BYTES;
        pairs + self.ends.len() * SERIES_BYTES + self.members.len() * MEMBER_BYTES
    }

    /// The memory that one more series takes at most.
    pub(super) fn series_bytes(labels: &Labels) -> usize {
        let pairs = labels.canonical_pairs().count();
        SERIES_BYTES + labels.as_bytes().len() + pairs * (PAIR_BYTES + MEMBER_BYTES)
    }

    /// The number of label sets.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The label set with this number.
    pub(super) fn labels(&self, series: u32) -> Option<Labels> {
        let members = self.members(series);
        (!members.is_empty())
            .then(|| Labels::from_canonical_pairs(members.iter().map(|&n| self.pairs.pair(n))))
    }

    /// Whether a label set is here.
    pub(super) fn has(&self, labels: &Labels) -> bool {
        let numbers: Option<Vec<u32>> =
            labels.canonical_pairs().map(|pair| self.pairs.find(self.pairs.hash(pair), pair)).collect();
        numbers.is_some_and(|numbers| self.find_members(&numbers).is_some())
    }

    /// The reference of a label set, if it is here.
    pub(super) fn find(&mut self, labels: &Labels) -> Option<BulkRef> {
        if self.last.as_ref() != Some(labels) {
            // Its pairs are wanted anyway: a set that is looked for is added if it is not here.
            self.number(labels).ok()?;
        }
        let id = self.find_members(&self.numbers)?;
        Some(self.reference(id))
    }

    /// Adds a label set that is not here yet.
    pub(super) fn insert(&mut self, labels: &Labels) -> Result<BulkRef> {
        let id = u32::try_from(self.ends.len())
            .map_err(|_| Error::new(ErrorKind::Ceiling, "a bulk load takes at most 2^32 series at a time"))?;
        if self.last.as_ref() != Some(labels) {
            self.number(labels)?;
        }
        let (tag, hash) = self.hash(&self.numbers);
        self.members.extend_from_slice(&self.numbers);
        self.ends.push(self.members.len());
        self.ids.insert_unique(hash, (tag, id), |&(tag, _)| spread(tag));
        Ok(self.reference(id))
    }

    /// The number of the series that a reference names, if it is of this epoch.
    pub(super) fn resolve(&self, series: BulkRef) -> Result<u32, AppendError> {
        let id = u32::try_from(series.0 & u64::from(u32::MAX)).map_err(|_| AppendError::StaleRef)?;
        match series.0 >> 32 == u64::from(self.epoch) && (id as usize) < self.ends.len() {
            true => Ok(id),
            false => Err(AppendError::StaleRef),
        }
    }

    /// Puts series into label order.
    pub(super) fn sorted(&self, series: impl Iterator<Item = u32>) -> Vec<u32> {
        let ranks = self.pairs.ranks();
        let rank = |number: &u32| ranks.get(*number as usize).map_or(0, |&rank| rank);
        // As many ranks as fit a key decide nearly all.
        let bits = u32::BITS - self.pairs.count().leading_zeros();
        let fit = (u64::BITS / bits.max(1)) as usize;
        let key = |id: u32| {
            let first = self.members(id).iter().map(rank).chain(std::iter::repeat(0)).take(fit);
            first.fold(0u64, |key, rank| key.checked_shl(bits).unwrap_or(0) | u64::from(rank))
        };
        let rest = |id: u32| self.members(id).iter().skip(fit).map(rank);
        let mut keyed: Vec<(u64, u32)> = series.map(|id| (key(id), id)).collect();
        keyed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| rest(a.1).cmp(rest(b.1))));
        keyed.into_iter().map(|(_, id)| id).collect()
    }

    /// Puts the numbers of the pairs of a set into `numbers`; those that it shares with the set before are known.
    fn number(&mut self, labels: &Labels) -> Result<()> {
        let before = self.last.take();
        let mut shared = before.as_ref().map(Labels::canonical_pairs);
        let mut numbers = std::mem::take(&mut self.numbers);
        let mut count = 0;
        for pair in labels.canonical_pairs() {
            let same = shared.as_mut().and_then(Iterator::next) == Some(pair);
            match numbers.get_mut(count) {
                Some(_) if same => {}
                Some(number) => *number = self.pairs.follow(*number, pair)?,
                None => numbers.push(self.pairs.intern(pair)?),
            }
            count += 1;
        }
        numbers.truncate(count);
        self.numbers = numbers;
        self.last = Some(labels.clone());
        Ok(())
    }

    fn find_members(&self, numbers: &[u32]) -> Option<u32> {
        let (tag, hash) = self.hash(numbers);
        let same = |&(t, id): &(u32, u32)| t == tag && self.members(id) == numbers;
        self.ids.find(hash, same).map(|&(_, id)| id)
    }

    fn members(&self, id: u32) -> &[u32] {
        let ends = &self.ends;
        let from = (id as usize).checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |end| *end);
        let to = ends.get(id as usize).map_or(from, |end| *end);
        self.members.get(from..to).unwrap_or_default()
    }

    /// A part of the hash of a label set, and what the table hashes by, which follows from it.
    fn hash(&self, numbers: &[u32]) -> (u32, u64) {
        let tag = (self.hasher.hash_one(numbers) >> 32) as u32;
        (tag, spread(tag))
    }

    fn reference(&self, id: u32) -> BulkRef {
        BulkRef(u64::from(self.epoch) << 32 | u64::from(id))
    }
}

/// Distinct label pairs in canonical form, numbered from 0.
#[derive(Debug)]
struct Pairs {
    hasher: RandomState,
    ids: HashTable<(u32, u32)>,
    text: Vec<u8>,
    places: Vec<Place>,
}

/// Where a pair stands in the text.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    bytes: u32,
    /// The pair that stood in its place, the last time, in the set after one that had it; at first it itself.
    next: u32,
}

impl Pairs {
    fn new(hasher: RandomState) -> Pairs {
        Pairs { hasher, ids: HashTable::new(), text: Vec::new(), places: Vec::new() }
    }

    /// How many there are: less than 2^32.
    fn count(&self) -> u32 {
        u32::try_from(self.places.len()).unwrap_or(u32::MAX)
    }

    fn pair(&self, number: u32) -> &[u8] {
        let place = self.places.get(number as usize);
        place.and_then(|p| self.text.get(p.start..p.start + p.bytes as usize)).unwrap_or_default()
    }

    fn hash(&self, pair: &[u8]) -> u32 {
        (self.hasher.hash_one(pair) >> 32) as u32
    }

    fn find(&self, tag: u32, pair: &[u8]) -> Option<u32> {
        let same = |&(t, number): &(u32, u32)| t == tag && self.pair(number) == pair;
        self.ids.find(spread(tag), same).map(|&(_, number)| number)
    }

    /// The number of a pair that follows another one.
    fn follow(&mut self, before: u32, pair: &[u8]) -> Result<u32> {
        let foretold = self.places.get(before as usize).map_or(before, |place| place.next);
        if self.pair(foretold) == pair {
            return Ok(foretold);
        }
        let number = self.intern(pair)?;
        if let Some(place) = self.places.get_mut(before as usize) {
            place.next = number;
        }
        Ok(number)
    }

    fn intern(&mut self, pair: &[u8]) -> Result<u32> {
        let tag = self.hash(pair);
        if let Some(number) = self.find(tag, pair) {
            return Ok(number);
        }
        let number = u32::try_from(self.places.len()).ok().filter(|&n| n < u32::MAX);
        let number = number.ok_or_else(|| {
            Error::new(ErrorKind::Ceiling, "a bulk load takes less than 2^32 label pairs at a time")
        })?;
        // A pair is at most 128 KiB long.
        let bytes = u32::try_from(pair.len()).unwrap_or(u32::MAX);
        self.places.push(Place { start: self.text.len(), bytes, next: number });
        self.text.extend_from_slice(pair);
        self.ids.insert_unique(spread(tag), (tag, number), |&(tag, _)| spread(tag));
        Ok(number)
    }

    /// The place of each pair in their order, from 1.
    fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0u32..).zip(&self.places).map(|(number, _)| number).collect();
        order.sort_unstable_by(|a, b| in_order(self.pair(*a), self.pair(*b)));
        let mut ranks = vec![0; order.len()];
        for (rank, number) in (1u32..).zip(order) {
            if let Some(place) = ranks.get_mut(number as usize) {
                *place = rank;
            }
        }
        ranks
    }
}

/// The order of pairs: name, then value, as bytes.
fn in_order(a: &[u8], b: &[u8]) -> Order {
    Labels::parts(a).cmp(Labels::parts(b))
}

/// A hash whose bits all depend on the tag, as a hash table wants them.
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_sorted_as_labels_are() {
        let parts = ["a", "ab", "b", "\u{e9}", "\u{1}", "zz", &"l".repeat(200)];
        let mut table = Table::new();
        let mut sets = Vec::new();
        for n in parts {
            for v in parts {
                sets.push(Labels::from_pairs([(n, v)]).unwrap());
                sets.push(Labels::from_pairs([("m", v), (n, n)]).unwrap());
                sets.push(Labels::from_pairs([("m", "x"), ("k", v), (n, n)]).unwrap());
            }
        }
        for labels in &sets {
            assert!(table.find(labels).is_none() && !table.has(labels));
            let known = table.insert(labels).unwrap();
            assert_eq!((table.find(labels), table.has(labels)), (Some(known), true));
        }
        let found: Vec<Labels> =
            table.sorted((0..).take(table.len())).into_iter().map(|id| table.labels(id).unwrap()).collect();
        sets.sort();
        assert_eq!(found, sets);
    }
}
