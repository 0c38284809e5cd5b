//! Series in the order of their labels, without their labels.
//!
//! ```text
//!   slot ─▶ numbers of pairs ─▶ ranks of pairs     4 bytes a pair of each series, in one arena
//!                  └─▶ text, once a pair ─▶ sorted: ranks
//! ```
//!
//! A flush goes through all series in label order. Their label sets written out would take more than the head itself; as lists of
//! ranks, which compare as the sets do, they take a tenth. Labels are put together for one series at a time, by who needs them.
//!
//! Series come and go while this reads, a stretch of slots under one lock. Those that a pin sees stay, and so do the numbers of their pairs;
//! others may end up anywhere in the order.

use crate::error::Result;
use crate::head::Head;
use crate::head::index::HeadIndex;
use crate::model::{Cancel, pair_of};

/// So many series are read under one lock of the index: who makes one waits.
const LOCKED_SLOTS: usize = 1_024;

/// A series whose labels were looked at: slot and generation.
pub(super) type Place = (u32, u16);

/// The series in these slots, sorted by labels.
pub(super) fn by_labels(
    head: &Head,
    slots: impl Iterator<Item = u32>,
    cancel: &Cancel,
) -> Result<Vec<Place>> {
    let (mut sets, mut slots) = (Sets::default(), slots.peekable());
    while slots.peek().is_some() {
        cancel.check()?;
        let index = head.index.read();
        slots.by_ref().take(LOCKED_SLOTS).for_each(|slot| sets.read(&index, slot));
    }
    Ok(sets.sorted())
}

/// Not met yet.
const UNKNOWN: u32 = u32::MAX;

/// Label sets as lists of numbers.
#[derive(Default)]
struct Sets {
    series: Vec<Set>,
    /// All sets, end to end: numbers of pairs, at last their ranks.
    numbers: Vec<u32>,
    /// The rank of each pair by its number.
    ranks: Vec<u32>,
    /// The pairs that were met, and where the text of each ends.
    pairs: Vec<(u32, usize)>,
    texts: Vec<u8>,
}

/// A label set: a part of the numbers.
struct Set {
    from: usize,
    end: usize,
    place: Place,
}

impl Sets {
    fn read(&mut self, index: &HeadIndex, slot: u32) {
        let Some((numbers, generation)) = index.numbers_of(slot) else { return };
        let from = self.numbers.len();
        self.numbers.extend_from_slice(numbers);
        self.series.push(Set { from, end: self.numbers.len(), place: (slot, generation) });
        for &number in numbers {
            if self.ranks.len() <= number as usize {
                self.ranks.resize(number as usize + 1, UNKNOWN);
            }
            if let Some(rank) = self.ranks.get_mut(number as usize).filter(|rank| **rank == UNKNOWN) {
                *rank = 0;
                self.texts.extend_from_slice(index.text(number));
                self.pairs.push((number, self.texts.len()));
            }
        }
    }

    fn sorted(mut self) -> Vec<Place> {
        self.rank();
        let numbers = &self.numbers;
        let set = |set: &Set| numbers.get(set.from..set.end).unwrap_or_default();
        self.series.sort_unstable_by(|a, b| set(a).cmp(set(b)));
        self.series.into_iter().map(|set| set.place).collect()
    }

    /// Numbers become ranks: name by name, then value by value.
    fn rank(&mut self) {
        let mut from = 0;
        let key = |&(number, end): &(u32, usize)| {
            let text = self.texts.get(std::mem::replace(&mut from, end)..end).unwrap_or_default();
            (pair_of(text).unwrap_or_default(), number)
        };
        let mut sorted: Vec<((&str, &str), u32)> = self.pairs.iter().map(key).collect();
        sorted.sort_unstable();
        for (rank, (_, number)) in (0..).zip(sorted) {
            if let Some(place) = self.ranks.get_mut(number as usize) {
                *place = rank;
            }
        }
        for number in &mut self.numbers {
            *number = self.ranks.get(*number as usize).copied().unwrap_or(UNKNOWN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::options;
    use super::*;
    use crate::model::Labels;

    #[test]
    fn the_order_is_that_of_labels() {
        let head = Head::new(options(), 1);
        // Names and values of which one begins with another, in sets of which one begins with another.
        let texts = ["a", "aa", "ab", "b", "z", "A", "é", "a\u{1}", "0"];
        let mut expected: Vec<(Labels, u32)> = Vec::new();
        for n in 0..texts.len().pow(3) {
            let text = |power| texts[n / texts.len().pow(power) % texts.len()];
            let mut pairs = vec![("m", text(0)), (text(1), text(2))];
            if n % 3 == 0 {
                pairs.push(("zz", text(2)));
            }
            let Ok(labels) = Labels::from_unsorted(&mut pairs) else { continue };
            let slot = head.recover_series(&labels).unwrap();
            expected.push((labels, slot));
        }
        expected.sort();
        expected.dedup();
        assert!(expected.len() > 500);
        let slots = expected.iter().map(|(_, slot)| *slot).collect::<roaring::RoaringBitmap>();
        let found = by_labels(&head, slots.iter(), &Cancel::default()).unwrap();
        assert_eq!(found, expected.iter().map(|(_, slot)| (*slot, 0)).collect::<Vec<_>>());
        let cancel = Cancel::default();
        cancel.cancel();
        assert!(by_labels(&head, slots.iter(), &cancel).is_err());
    }
}
