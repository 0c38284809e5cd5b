//! Labels to slots, slots to label sets, label pairs to postings, and which slots are free.
//!
//! ```text
//!   labels ──hash──▶ slot ─▶ span ─▶ │ pair │ pair │ pair │     numbers of pairs, all sets end to end
//!                                          └─▶ text, ids       postings::MemIndex
//! ```
//!
//! A set's place is given out again to a set of as many pairs. Cost: 4 bytes a pair of each series, 8 a slot, and 9 in
//! the table, of which up to half is free.

use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Range;

use crate::error::Result;
use crate::model::{Labels, MAX_LABELS};
use crate::postings::{MemIndex, Numbers, Sought, TermIndex};

/// The most pairs of all sets: every place has 32 bits.
const MAX_NUMBERS: usize = u32::MAX as usize - MAX_LABELS;

/// The index of the head, under one lock.
#[derive(Debug, Default)]
pub(crate) struct HeadIndex {
    by_labels: Numbers,
    hasher: foldhash::fast::RandomState,
    postings: MemIndex,
    sets: Sets,
    generations: Vec<u16>,
    free: Vec<u32>,
}

/// What a collection took: free again after [`Head::release`](super::Head::release).
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// The slots of the series.
    pub(crate) slots: Vec<u32>,
    /// The numbers of label pairs that no series has any more.
    pub(crate) pairs: Vec<u32>,
}

impl HeadIndex {
    /// What [`find`](HeadIndex::find) and [`insert`](HeadIndex::insert) look for, so that it is computed once.
    pub(crate) fn hash(&self, labels: &Labels) -> u64 {
        self.hasher.hash_one(labels.as_bytes())
    }

    /// The slot of the series with these labels, and its generation.
    pub(crate) fn find(&self, hash: u64, labels: &Labels) -> Option<(u32, u16)> {
        let slot = self.by_labels.find(hash, |slot| self.is(slot, labels))?;
        Some((slot, self.generations.get(slot as usize).copied()?))
    }

    fn is(&self, slot: u32, labels: &Labels) -> bool {
        let mut rest = Some(labels.as_bytes());
        for text in self.pairs_of(slot).map(|(_, text)| text) {
            rest = rest.and_then(|rest| rest.strip_prefix(text));
        }
        rest.is_some_and(<[u8]>::is_empty)
    }

    /// The pairs of a slot in the order of its labels: number and canonical form; none if nobody lives there.
    pub(crate) fn pairs_of(&self, slot: u32) -> impl Iterator<Item = (u32, &[u8])> + Clone {
        self.sets.of(slot).iter().map(|number| (*number, self.postings.text(*number)))
    }

    /// The numbers of the pairs of the series in a slot, in the order of its labels, and its generation.
    pub(crate) fn numbers_of(&self, slot: u32) -> Option<(&[u32], u16)> {
        let generation = self.generations.get(slot as usize).copied()?;
        Some((self.sets.of(slot), generation)).filter(|(numbers, _)| !numbers.is_empty())
    }

    /// The canonical form of the pair of a number.
    pub(crate) fn text(&self, pair: u32) -> &[u8] {
        self.postings.text(pair)
    }

    /// The labels of the series in a slot, and its generation.
    pub(crate) fn labels_of(&self, slot: u32) -> Option<(Labels, u16)> {
        let generation = self.generations.get(slot as usize).copied()?;
        let pairs = self.pairs_of(slot).map(|(_, text)| text);
        (!self.sets.of(slot).is_empty()).then(|| (Labels::from_canonical_pairs(pairs), generation))
    }

    /// Gives a new series a slot and its generation; `None` if 32 bits cannot number slots or sets any more.
    pub(crate) fn insert(&mut self, hash: u64, labels: &Labels) -> Option<(u32, u16)> {
        if self.sets.numbers.len() >= MAX_NUMBERS {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.generations.len()).ok().filter(|slot| *slot < u32::MAX)?;
                self.generations.push(0);
                slot
            }
        };
        self.by_labels.insert(hash, slot);
        self.sets.put(slot, self.postings.insert(slot, labels));
        let generation = self.generations.get(slot as usize).copied()?;
        Some((slot, generation))
    }

    /// Forgets the labels of series, and adds the numbers of their pairs to `pairs`; says how many they were. In the postings
    /// the slots stay until they [leave](HeadIndex::leave_pairs) them, and are free only after [`release`](HeadIndex::release).
    pub(crate) fn forget(&mut self, slots: &[u32], pairs: &mut RoaringBitmap) -> usize {
        let mut places = 0;
        for &slot in slots {
            if let Some((labels, _)) = self.labels_of(slot) {
                self.by_labels.remove(self.hash(&labels), slot);
                let numbers = self.sets.of(slot);
                places += numbers.len();
                pairs.extend(numbers);
                self.sets.clear(slot);
            }
        }
        places
    }

    /// Takes slots from the postings of pairs: see [`MemIndex::leave_pairs`].
    pub(crate) fn leave_pairs(
        &mut self,
        slots: &RoaringBitmap,
        pairs: impl Iterator<Item = u32>,
    ) -> Vec<u32> {
        self.postings.leave_pairs(slots, pairs)
    }

    /// Takes slots from the list of all: see [`MemIndex::leave_all`].
    pub(crate) fn leave_all(&mut self, slots: &RoaringBitmap, places: usize) {
        self.postings.leave_all(slots, places);
    }

    /// Takes slots from the postings of some names: see [`MemIndex::leave_names`].
    pub(crate) fn leave_names(&mut self, slots: &RoaringBitmap, numbers: Range<usize>) {
        self.postings.leave_names(slots, numbers);
    }

    /// The numbers of names are below this.
    pub(crate) fn name_numbers(&self) -> usize {
        self.postings.name_numbers()
    }

    /// Frees slots for the next generation, and numbers of pairs; a slot whose generations are used up is retired.
    pub(crate) fn release(&mut self, slots: &[u32], pairs: &[u32]) {
        // The smallest ones are given out first.
        for &slot in slots.iter().rev() {
            let Some(generation) = self.generations.get_mut(slot as usize) else { continue };
            if let Some(next) = generation.checked_add(1) {
                *generation = next;
                self.free.push(slot);
            }
        }
        self.postings.release(pairs);
    }

    /// The bytes of label sets, pairs and postings, roughly.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.postings.memory_bytes() as u64
    }

    /// Active series.
    pub(crate) fn len(&self) -> usize {
        self.by_labels.len()
    }

    /// The slots in use.
    pub(crate) fn slots(&self) -> RoaringBitmap {
        self.postings.series()
    }

    /// The postings.
    pub(crate) fn postings(&self) -> &MemIndex {
        &self.postings
    }
}

/// Lists of numbers by slot, end to end.
#[derive(Debug, Default)]
struct Sets {
    numbers: Vec<u32>,
    /// Where the list of each slot begins, and how long it is.
    spans: Vec<(u32, u32)>,
    /// Where lists were, by length.
    free: BTreeMap<u32, Vec<u32>>,
}

impl Sets {
    fn of(&self, slot: u32) -> &[u32] {
        let (start, count) = self.spans.get(slot as usize).copied().unwrap_or_default();
        let rest = self.numbers.get(start as usize..).unwrap_or_default();
        rest.get(..count as usize).unwrap_or_default()
    }

    fn put(&mut self, slot: u32, numbers: &[u32]) {
        let place = slot as usize;
        if self.spans.len() <= place {
            self.spans.resize(place + 1, (0, 0));
        }
        // `insert` has seen to it that both numbers fit.
        let count = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        let start = self.free.get_mut(&count).and_then(Vec::pop).unwrap_or_else(|| {
            let start = self.numbers.len();
            self.numbers.extend_from_slice(numbers);
            u32::try_from(start).unwrap_or(u32::MAX)
        });
        if let Some(list) = self.numbers.get_mut(start as usize..).and_then(|l| l.get_mut(..numbers.len())) {
            list.copy_from_slice(numbers);
        }
        if let Some(span) = self.spans.get_mut(place) {
            *span = (start, count);
        }
    }

    fn clear(&mut self, slot: u32) {
        if let Some(span) = self.spans.get_mut(slot as usize) {
            let (start, count) = std::mem::take(span);
            self.free.entry(count).or_default().push(start);
        }
    }
}

impl TermIndex for HeadIndex {
    fn all(&self) -> Result<RoaringBitmap> {
        self.postings.all()
    }

    fn exact(&self, name: &str, value: &str) -> Result<RoaringBitmap> {
        self.postings.exact(name, value)
    }

    fn exact_many(&self, name: &str, values: &[String], out: &mut RoaringBitmap) -> Result<()> {
        self.postings.exact_many(name, values, out)
    }

    fn scan(
        &self,
        sought: Sought<'_>,
        keep: &mut dyn FnMut(&str) -> Result<bool>,
        out: &mut RoaringBitmap,
    ) -> Result<()> {
        self.postings.scan(sought, keep, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;

    #[test]
    fn slots_sets_and_pairs_are_used_again() {
        let mut index = HeadIndex::default();
        let set = |n: u32| labels!("m", "slot" => n, "dc" => n % 2).unwrap();
        let insert = |index: &mut HeadIndex, n| {
            let labels = set(n);
            index.insert(index.hash(&labels), &labels).unwrap()
        };
        for n in 0..10 {
            assert_eq!(insert(&mut index, n), (n, 0));
            assert_eq!(index.labels_of(n), Some((set(n), 0)));
        }
        let (slots, mut pairs) = ([3, 5], RoaringBitmap::new());
        assert_eq!(index.forget(&slots, &mut pairs), 6);
        let gone = index.leave_pairs(&slots.into_iter().collect(), pairs.iter());
        let leaving = slots.into_iter().collect();
        index.leave_all(&leaving, 6);
        index.leave_names(&leaving, 0..index.name_numbers());
        assert_eq!((pairs.len(), gone.len()), (4, 2), "m and dc=1 stay");
        assert_eq!((index.find(index.hash(&set(3)), &set(3)), index.labels_of(3)), (None, None));
        let numbers = index.sets.numbers.len();
        assert_eq!(insert(&mut index, 20), (10, 0), "not released yet");
        index.release(&slots, &gone);
        assert_eq!((insert(&mut index, 21), insert(&mut index, 23)), ((3, 1), (5, 1)));
        assert_eq!(index.sets.numbers.len(), numbers + 3, "three sets, of which two in free places");
        for (slot, n) in [(3, 21), (5, 23), (10, 20), (9, 9)] {
            let found = index.find(index.hash(&set(n)), &set(n)).unwrap();
            assert_eq!((found.0, index.labels_of(slot).unwrap().0), (slot, set(n)));
        }
        assert_eq!(index.exact("slot", "21").unwrap().into_iter().collect::<Vec<_>>(), [3]);
        assert_eq!(index.exact("slot", "3").unwrap().len(), 0);
    }

    #[test]
    fn a_series_that_comes_back_while_it_leaves_keeps_its_pairs() {
        let mut index = HeadIndex::default();
        let labels = labels!("m", "job" => "a").unwrap();
        let hash = index.hash(&labels);
        let (old, _) = index.insert(hash, &labels).unwrap();
        let mut pairs = RoaringBitmap::new();
        let places = index.forget(&[old], &mut pairs);
        let (new, _) = index.insert(hash, &labels).unwrap();
        let slots = RoaringBitmap::from_iter([old]);
        assert!(index.leave_pairs(&slots, pairs.iter()).is_empty());
        index.leave_all(&slots, places);
        index.leave_names(&slots, 0..index.name_numbers());
        for value in ["a", ""] {
            assert_eq!(index.exact("job", value).unwrap(), RoaringBitmap::from_iter([new]), "{value:?}");
        }
        assert_eq!(
            (index.slots(), index.find(hash, &labels)),
            (RoaringBitmap::from_iter([new]), Some((new, 0)))
        );
    }
}
