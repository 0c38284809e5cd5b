//! From the head's slots and labels to the numbers that a segment uses.
//!
//! ```text
//!   slot ──slots[slot]──▶ (stamp, number)      stamp ≠ the segment's: not told in it yet
//!                              │
//!   pair ──pairs[pair]──▶ (stamp, name, value) ──▶ News      numbers ──▶ columns (format::wal_commit)
//!     └─ another stamp: text ──strings──▶ string numbers
//! ```
//!
//! Everything that a record changes here is taken back by [`SegmentEncoder::roll_back`], so that a
//! record that did not reach the file leaves no trace. Starting a segment costs nothing for each slot:
//! it takes another stamp. Strings are kept once, end to end, and found by their hash.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::{LabelsOf, WalSample};
use crate::error::{Error, ErrorKind, Result};
use crate::format::wal_commit::{Encoder, News, State, Undo};
use crate::model::pair_of;

/// A slot's number in the segment with this stamp.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    stamp: u32,
    number: u32,
}

/// The strings of a label pair in the segment with this stamp.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    stamp: u32,
    name: u32,
    value: u32,
}

/// What the active segment was told, and the buffers to tell it more.
#[derive(Debug)]
pub(super) struct SegmentEncoder {
    /// The active segment's stamp; 0 is no segment's.
    stamp: u32,
    slots: Vec<Slot>,
    /// By the head's numbers.
    known: Vec<Pair>,
    strings: Strings,
    state: State,
    undo: Undo,
    /// Slots that the record being made tells.
    new_slots: Vec<u32>,
    news: News,
    numbers: Vec<u32>,
    pairs: Vec<(u32, u32)>,
    columns: Encoder,
}

impl SegmentEncoder {
    /// One that has told nothing.
    pub(super) fn new() -> SegmentEncoder {
        SegmentEncoder {
            stamp: 1,
            slots: Vec::new(),
            known: Vec::new(),
            strings: Strings::default(),
            state: State::default(),
            undo: Undo::default(),
            new_slots: Vec::new(),
            news: News::default(),
            numbers: Vec::new(),
            pairs: Vec::new(),
            columns: Encoder::default(),
        }
    }

    /// A new segment knows nothing of what the one before was told.
    pub(super) fn begin_segment(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.slots.clear();
            self.known.clear();
            self.stamp = 1;
        }
        self.strings.clear();
        self.state.clear();
    }

    /// The slot will hold another series: it is told anew at its next use.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.stamp = 0;
        }
    }

    /// The number will be another pair's.
    pub(super) fn forget_pair(&mut self, pair: u32) {
        if let Some(pair) = self.known.get_mut(pair as usize) {
            pair.stamp = 0;
        }
    }

    /// Appends the payload of a commit record to `out`. If this fails, or if the record does not
    /// reach the file whole, [`roll_back`](SegmentEncoder::roll_back) must follow.
    pub(super) fn encode(
        &mut self,
        samples: &[WalSample],
        labels: &dyn LabelsOf,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        self.undo.begin(&self.state);
        self.new_slots.clear();
        self.news.clear();
        self.numbers.resize(samples.len(), 0);
        let mut done = self.number_known(samples, 0);
        while let Some(sample) = samples.get(done) {
            let number = self.tell(sample.series, labels)?;
            if let Some(place) = self.numbers.get_mut(done) {
                *place = number;
            }
            done = self.number_known(samples, done + 1);
        }
        self.columns.encode(&self.news, (samples, &self.numbers), (&mut self.state, &mut self.undo), out);
        Ok(())
    }

    /// Numbers samples from the one at `from` on, up to the first of a series that was not told yet; where that is.
    fn number_known(&mut self, samples: &[WalSample], from: usize) -> usize {
        let places = samples.iter().zip(&mut self.numbers).skip(from);
        let known = |(sample, place): (&WalSample, &mut u32)| {
            let slot = self.slots.get(sample.series as usize).filter(|slot| slot.stamp == self.stamp)?;
            *place = slot.number;
            Some(())
        };
        from + places.map_while(known).count()
    }

    /// Everything is as before the last [`encode`](SegmentEncoder::encode).
    pub(super) fn roll_back(&mut self) {
        for slot in self.new_slots.drain(..) {
            if let Some(slot) = self.slots.get_mut(slot as usize) {
                slot.stamp = 0;
            }
        }
        // Pairs that it told have strings from there on; so have some that stand in the table for another segment.
        let strings = self.undo.strings();
        for pair in self.known.iter_mut().filter(|pair| pair.name.max(pair.value) >= strings) {
            pair.stamp = 0;
        }
        self.strings.truncate(strings);
        self.undo.roll_back(&self.numbers, &mut self.state);
    }

    #[cold]
    fn tell(&mut self, slot: u32, labels: &dyn LabelsOf) -> Result<u32> {
        let Some(number) = self.state.next_series() else {
            return Err(Error::new(ErrorKind::Ceiling, "too many series in one segment of the log"));
        };
        self.collect_pairs(slot, labels)?;
        self.news.add_series(&mut self.state, &self.pairs);
        let place = slot as usize;
        if self.slots.len() <= place {
            self.slots.resize(place + 1, Slot::default());
        }
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = Slot { stamp: self.stamp, number };
        }
        self.new_slots.push(slot);
        Ok(number)
    }

    /// The string numbers of a slot's labels.
    fn collect_pairs(&mut self, slot: u32, labels: &dyn LabelsOf) -> Result<()> {
        self.pairs.clear();
        let mut told = Ok(());
        labels.pairs_of(slot, &mut |number, text| {
            if told.is_ok() {
                told = self.collect_pair(number, text);
            }
        });
        told?;
        match self.pairs.is_empty() {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::InvalidArgument, "a sample is of a series that is not there")),
        }
    }

    fn collect_pair(&mut self, number: Option<u32>, text: &[u8]) -> Result<()> {
        let known = number.and_then(|number| self.known.get(number as usize));
        if let Some(pair) = known.filter(|pair| pair.stamp == self.stamp) {
            self.pairs.push((pair.name, pair.value));
            return Ok(());
        }
        let (name, value) = pair_of(text).unwrap_or_default();
        let (name, value) = (self.string(name)?, self.string(value)?);
        self.pairs.push((name, value));
        if let Some(place) = number.map(|number| number as usize) {
            if self.known.len() <= place {
                self.known.resize(place + 1, Pair::default());
            }
            if let Some(pair) = self.known.get_mut(place) {
                *pair = Pair { stamp: self.stamp, name, value };
            }
        }
        Ok(())
    }

    fn string(&mut self, string: &str) -> Result<u32> {
        if let Some(number) = self.strings.find(string) {
            return Ok(number);
        }
        let number = self.state.strings();
        if number == u32::MAX {
            return Err(Error::new(ErrorKind::Ceiling, "too many strings in one segment of the log"));
        }
        self.news.add_string(&mut self.state, string);
        self.strings.push(number, string);
        Ok(number)
    }
}

/// The strings of a segment, numbered from 0.
#[derive(Debug, Default)]
struct Strings {
    bytes: Vec<u8>,
    /// Where each one ends.
    ends: Vec<usize>,
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Strings {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.numbers.clear();
    }

    fn find(&self, string: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(string.as_bytes());
        let is_it = |number: &u32| part(&self.bytes, &self.ends, *number) == string.as_bytes();
        self.numbers.find(hash, is_it).copied()
    }

    /// Adds one that is not there, with the next number.
    fn push(&mut self, number: u32, string: &str) {
        self.bytes.extend_from_slice(string.as_bytes());
        self.ends.push(self.bytes.len());
        let Strings { bytes, ends, numbers, hasher } = self;
        let rehash = |number: &u32| hasher.hash_one(part(bytes, ends, *number));
        numbers.insert_unique(hasher.hash_one(string.as_bytes()), number, rehash);
    }

    /// Forgets all from number `count` on.
    fn truncate(&mut self, count: u32) {
        for number in count..u32::try_from(self.ends.len()).unwrap_or(u32::MAX) {
            let hash = self.hasher.hash_one(part(&self.bytes, &self.ends, number));
            if let Ok(entry) = self.numbers.find_entry(hash, |n| *n == number) {
                entry.remove();
            }
        }
        self.ends.truncate(count as usize);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }
}

/// The bytes of string `number` in `bytes`, which `ends` divides.
fn part<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = number.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    ends.get(number).and_then(|end| bytes.get(start..*end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;
    use crate::model::Labels;

    fn sample(series: u32, v: f64) -> WalSample {
        WalSample { series, t: 1, v }
    }

    fn label(slot: u32) -> Option<Labels> {
        (slot < 100).then(|| labels!("m", "slot" => slot).unwrap())
    }

    #[test]
    fn labels_are_told_once_a_segment_and_again_after_forget() {
        let mut encoder = SegmentEncoder::new();
        let bytes_of = |encoder: &mut SegmentEncoder| {
            let mut out = Vec::new();
            encoder.encode(&[sample(7, 1.0), sample(3, 1.0)], &label, &mut out).unwrap();
            out.len()
        };
        let first = bytes_of(&mut encoder);
        let later = bytes_of(&mut encoder);
        assert!(later + 20 < first);
        assert_eq!(bytes_of(&mut encoder), later);
        encoder.forget(3);
        assert!(bytes_of(&mut encoder) > later);
        encoder.begin_segment();
        assert_eq!(bytes_of(&mut encoder), first);
    }

    #[test]
    fn a_record_taken_back_is_encoded_the_same_again() {
        let mut encoder = SegmentEncoder::new();
        encoder.encode(&[sample(1, 1.0)], &label, &mut Vec::new()).unwrap();
        let record = [sample(1, 2.0), sample(2, 5.0), sample(1, 3.0)];
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        encoder.encode(&record, &label, &mut once).unwrap();
        encoder.roll_back();
        encoder.encode(&record, &label, &mut twice).unwrap();
        assert_eq!(once, twice);
        encoder.encode(&[sample(5, 1.0), sample(100, 1.0)], &label, &mut Vec::new()).unwrap_err();
        encoder.roll_back();
        let mut after = Vec::new();
        encoder.encode(&[sample(5, 1.0)], &label, &mut after).unwrap();
        assert!(after.len() > 10, "slot 5 is told again: {after:?}");
    }
}
