//! An index of label pairs in memory, which grows and shrinks: that of the head.
//!
//! ```text
//!   pair "job" "node" ──hash──▶ number ─▶ { text, name, ids }
//!   name "job" ─▶ { all: ids, values: value ─▶ number of the pair, sorted }
//!   a label set is the numbers of its pairs
//! ```
//!
//! A pair is kept once, in the canonical form of label sets, and is a number to everybody else: a label set of
//! six pairs takes 24 bytes here. Sets come in the order of their targets, so a pair is first compared with that in
//! the same place of the set before; only if that is another it is hashed.
//!
//! Values are sorted, so that a prefix is a range. Numbers of pairs that are gone are given out again after [`MemIndex::release`], so that who remembers
//! something by number can forget it before.
//!
//! Invariants: `all` of a name is the union of its pairs; no pair and no name is without series. Series leave in steps, with other work between:
//! the lists of their pairs first, those of names last.
//! Cost: to insert a set takes a comparison or a hash for each of its pairs, and an addition to each list (see
//! `ids`); a pair that is new, about 120 bytes and twice its text.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::ops::{Bound, Range};

use foldhash::fast::RandomState;
use roaring::RoaringBitmap;

use super::ids::Ids;
use super::numbers::Numbers;
use super::{Sought, TermIndex};
use crate::error::Result;
use crate::model::{Labels, pair_of, push_pair};

/// What a pair takes besides its text: itself, and its entries in table and tree, with their slack.
const PAIR_BYTES: usize = 120;
/// What a series takes for each of its pairs: the number in its set, and its part of a run in the two lists.
const PLACE_BYTES: usize = 8;

/// An index of label pairs in memory.
#[derive(Debug, Default)]
pub(crate) struct MemIndex {
    all: Ids,
    pairs: Vec<Pair>,
    free_pairs: Vec<u32>,
    by_text: Numbers,
    hasher: RandomState,
    names: Vec<Name>,
    free_names: Vec<u32>,
    by_name: BTreeMap<Box<str>, u32>,
    /// The pairs of the set that was inserted last.
    recent: Vec<u32>,
    memory_bytes: usize,
}

/// A pair; its text is empty where there is none.
#[derive(Debug, Default)]
struct Pair {
    text: Box<[u8]>,
    ids: Ids,
    name: u32,
}

/// One label name.
#[derive(Debug, Default)]
struct Name {
    text: Box<str>,
    all: Ids,
    /// Each with the number of its pair.
    values: BTreeMap<Box<str>, u32>,
}

impl MemIndex {
    /// Adds a series; answers with the numbers of its pairs, in its order. An id that is there already must be there with
    /// the same labels.
    pub(crate) fn insert(&mut self, id: u32, labels: &Labels) -> &[u32] {
        self.all.insert(id);
        let mut count = 0;
        for (place, text) in labels.canonical_pairs().enumerate() {
            let number = self.number(place, text);
            match self.recent.get_mut(place) {
                Some(recent) => *recent = number,
                None => self.recent.push(number),
            }
            if let Some(pair) = self.pairs.get_mut(number as usize) {
                pair.ids.insert(id);
                if let Some(name) = self.names.get_mut(pair.name as usize) {
                    name.all.insert(id);
                }
            }
            count = place + 1;
        }
        self.recent.truncate(count);
        self.memory_bytes += count * PLACE_BYTES;
        &self.recent
    }

    /// The number of a pair, which is new or not, at this place of a set.
    #[inline]
    fn number(&mut self, place: usize, text: &[u8]) -> u32 {
        let recent = self.recent.get(place).copied();
        if let Some(number) = recent.filter(|number| self.text(*number) == text) {
            return number;
        }
        let hash = self.hasher.hash_one(text);
        match self.find(hash, text) {
            Some(number) => number,
            None => self.add(hash, text),
        }
    }

    fn find(&self, hash: u64, text: &[u8]) -> Option<u32> {
        self.by_text.find(hash, |number| self.text(number) == text)
    }

    /// The canonical form of a pair; empty if there is none of this number.
    pub(crate) fn text(&self, number: u32) -> &[u8] {
        self.pairs.get(number as usize).map_or(&[], |pair| &pair.text)
    }

    #[cold]
    fn add(&mut self, hash: u64, text: &[u8]) -> u32 {
        let (name, value) = pair_of(text).unwrap_or_default();
        let name = self.name_number(name);
        let pair = Pair { text: text.into(), ids: Ids::default(), name };
        let number = enter(&mut self.pairs, &mut self.free_pairs, pair);
        self.by_text.insert(hash, number);
        self.memory_bytes += PAIR_BYTES + 2 * text.len();
        if let Some(name) = self.names.get_mut(name as usize) {
            name.values.insert(value.into(), number);
        }
        number
    }

    fn name_number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        let new = Name { text: name.into(), ..Name::default() };
        let number = enter(&mut self.names, &mut self.free_names, new);
        self.by_name.insert(name.into(), number);
        number
    }

    /// Takes series from the lists of these pairs. Answers with the numbers of pairs that no series has any more: they are given
    /// out again after [`release`](MemIndex::release). The lists of names have the series until [`leave_names`](MemIndex::leave_names).
    pub(crate) fn leave_pairs(&mut self, ids: &RoaringBitmap, pairs: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut gone = Vec::new();
        for number in pairs {
            let Some(pair) = self.pairs.get_mut(number as usize) else { continue };
            pair.ids.remove_all(ids);
            if !pair.ids.is_empty() {
                continue;
            }
            let text = std::mem::take(&mut pair.text);
            self.by_text.remove(self.hasher.hash_one(&*text), number);
            self.memory_bytes = self.memory_bytes.saturating_sub(PAIR_BYTES + 2 * text.len());
            if let (Some(name), Some((_, value))) = (self.names.get_mut(pair.name as usize), pair_of(&text)) {
                name.values.remove(value);
            }
            gone.push(number);
        }
        gone
    }

    /// Takes series that have left the lists of their pairs, so many pairs in all, from that of all series.
    pub(crate) fn leave_all(&mut self, ids: &RoaringBitmap, places: usize) {
        self.memory_bytes = self.memory_bytes.saturating_sub(places * PLACE_BYTES);
        self.all.remove_all(ids);
    }

    /// Takes series that have left the lists of their pairs from those of some names, by their numbers, which are below
    /// [`name_numbers`](MemIndex::name_numbers).
    pub(crate) fn leave_names(&mut self, ids: &RoaringBitmap, numbers: Range<usize>) {
        let names = (0..).zip(&mut self.names).take(numbers.end).skip(numbers.start);
        for (number, name) in names.filter(|(_, name)| !name.text.is_empty()) {
            name.all.remove_all(ids);
            if name.values.is_empty() {
                self.by_name.remove(&std::mem::take(name).text);
                self.free_names.push(number);
            }
        }
    }

    /// The numbers of names are below this.
    pub(crate) fn name_numbers(&self) -> usize {
        self.names.len()
    }

    /// The numbers of pairs that were removed may be those of others.
    pub(crate) fn release(&mut self, pairs: &[u32]) {
        self.free_pairs.extend_from_slice(pairs);
    }

    /// Every series.
    pub(crate) fn series(&self) -> RoaringBitmap {
        let mut out = RoaringBitmap::new();
        self.all.unite_into(&mut out);
        out
    }

    /// The memory that it takes, about, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The number of series.
    #[cfg(test)]
    pub(crate) fn series_count(&self) -> u64 {
        self.all.len()
    }

    /// The number of distinct label pairs.
    #[cfg(test)]
    pub(crate) fn pair_count(&self) -> usize {
        self.by_text.len()
    }

    /// The label names, sorted.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }

    /// The values of one label, sorted, each with the number of its series.
    #[cfg(test)]
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        self.pairs_of(name, "").map(|(value, pair)| (value, pair.ids.len()))
    }

    fn name(&self, name: &str) -> Option<&Name> {
        self.names.get(*self.by_name.get(name)? as usize)
    }

    fn pair(&self, name: &str, value: &str) -> Option<&Pair> {
        let mut text = Vec::with_capacity(name.len() + value.len() + 6);
        push_pair(&mut text, name, value);
        let number = self.find(self.hasher.hash_one(&*text), &text)?;
        self.pairs.get(number as usize)
    }

    /// The pairs of a name whose value starts with `prefix`, with the values, sorted.
    fn pairs_of<'a>(&'a self, name: &str, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Pair)> {
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let values = self.name(name).into_iter().flat_map(move |name| name.values.range::<str, _>(range));
        let values = values.take_while(move |(value, _)| value.starts_with(prefix));
        values.filter_map(|(value, number)| Some((&**value, self.pairs.get(*number as usize)?)))
    }

    /// Adds the names of labels that one of `series` has.
    pub(crate) fn names_of(&self, series: &RoaringBitmap, out: &mut BTreeSet<String>) {
        for (text, number) in &self.by_name {
            let has = |name: &Name| name.all.intersects(series);
            if !out.contains(&**text) && self.names.get(*number as usize).is_some_and(has) {
                out.insert(String::from(&**text));
            }
        }
    }

    /// The values of one label that one of `series` has, sorted.
    pub(crate) fn values_of(&self, name: &str, series: &RoaringBitmap) -> Vec<String> {
        let of_series = self.pairs_of(name, "").filter(|(_, pair)| pair.ids.intersects(series));
        of_series.map(|(value, _)| String::from(value)).collect()
    }
}

/// Puts something where there is a free place, or behind all; its place. There are never 2^32 of them: they would not fit
/// into memory.
fn enter<T>(all: &mut Vec<T>, free: &mut Vec<u32>, new: T) -> u32 {
    if let Some(number) = free.pop()
        && let Some(place) = all.get_mut(number as usize)
    {
        *place = new;
        return number;
    }
    all.push(new);
    u32::try_from(all.len() - 1).unwrap_or(u32::MAX)
}

impl TermIndex for MemIndex {
    fn all(&self) -> Result<RoaringBitmap> {
        Ok(self.series())
    }

    fn exact(&self, name: &str, value: &str) -> Result<RoaringBitmap> {
        let mut out = RoaringBitmap::new();
        let ids = match value.is_empty() {
            true => self.name(name).map(|name| &name.all),
            false => self.pair(name, value).map(|pair| &pair.ids),
        };
        if let Some(ids) = ids {
            ids.unite_into(&mut out);
        }
        Ok(out)
    }

    fn scan(
        &self,
        sought: Sought<'_>,
        keep: &mut dyn FnMut(&str) -> Result<bool>,
        out: &mut RoaringBitmap,
    ) -> Result<()> {
        for (value, pair) in self.pairs_of(sought.name, sought.prefix) {
            if keep(value)? {
                pair.ids.unite_into(out);
            }
        }
        Ok(())
    }

    fn exact_many(&self, name: &str, values: &[String], out: &mut RoaringBitmap) -> Result<()> {
        for pair in values.iter().filter_map(|value| self.pair(name, value)) {
            pair.ids.unite_into(out);
        }
        Ok(())
    }
}
