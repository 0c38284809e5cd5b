//! An index of label pairs in memory, which grows and shrinks: that of the head.
//!
//! ```text
//!   "job"      ─▶ all: {0,1,2,…}     "node"  ─▶ {0,2,5,…}
//!                                    "redis" ─▶ 1
//!   "instance" ─▶ all: {0,1,2,…}     "a:9100" ─▶ 0          most pairs of a high-cardinality label
//!                                    "b:9100" ─▶ {2, 7}      have one series, or a few
//! ```
//!
//! Values are sorted, so that a prefix is a range. A list of ids is one number in place, then a
//! short sorted vector, then a bitmap: a bitmap of one element takes over a hundred bytes, and
//! with a million series there may be millions of pairs with one.
//!
//! Invariants: `all` of a label is the union of its values; no list and no label is empty.
//! Cost: insertion and removal are logarithmic in the values of each label of the series; memory
//! is about 64 bytes and the value's length for a pair, and 2 to 4 bytes for each of its series.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use roaring::RoaringBitmap;

use super::TermIndex;
use crate::error::Result;
use crate::model::Labels;

/// The longest list that is kept as a vector.
const FEW: usize = 16;
/// What a pair takes besides its value: key, list, and the tree's slack, in bytes.
const PAIR_BYTES: usize = 64;

/// An index of label pairs in memory.
#[derive(Debug, Default)]
pub(crate) struct MemIndex {
    all: RoaringBitmap,
    labels: BTreeMap<Box<str>, Label>,
    pairs: usize,
    memory_bytes: usize,
}

/// One label name.
#[derive(Debug, Default)]
struct Label {
    all: RoaringBitmap,
    values: BTreeMap<Box<str>, Ids>,
}

/// The series that have one pair: sorted, unique, at least one.
#[derive(Debug)]
enum Ids {
    One(u32),
    Few(Vec<u32>),
    Many(RoaringBitmap),
}

impl MemIndex {
    /// Adds a series. An id that is there already must be there with the same labels.
    pub(crate) fn insert(&mut self, id: u32, labels: &Labels) {
        if !self.all.insert(id) {
            return;
        }
        for (name, value) in labels.iter() {
            self.memory_bytes += size_of::<u32>();
            // Nearly always the name is there: look before allocating a key.
            let is_new = match self.labels.get_mut(name) {
                Some(label) => label.insert(id, value),
                None => self.labels.entry(name.into()).or_default().insert(id, value),
            };
            if is_new {
                self.pairs += 1;
                self.memory_bytes += PAIR_BYTES + value.len();
            }
        }
    }

    /// Removes a series that was inserted with these labels.
    pub(crate) fn remove(&mut self, id: u32, labels: &Labels) {
        if !self.all.remove(id) {
            return;
        }
        for (name, value) in labels.iter() {
            let Some(label) = self.labels.get_mut(name) else { continue };
            label.all.remove(id);
            self.memory_bytes = self.memory_bytes.saturating_sub(size_of::<u32>());
            if label.values.get_mut(value).is_some_and(|ids| ids.remove(id)) {
                label.values.remove(value);
                self.pairs = self.pairs.saturating_sub(1);
                self.memory_bytes = self.memory_bytes.saturating_sub(PAIR_BYTES + value.len());
            }
            if label.values.is_empty() {
                self.labels.remove(name);
            }
        }
    }

    /// The number of series.
    #[cfg(test)]
    pub(crate) fn series_count(&self) -> u64 {
        self.all.len()
    }

    /// The number of distinct label pairs.
    #[cfg(test)]
    pub(crate) fn pair_count(&self) -> usize {
        self.pairs
    }

    /// The memory that it takes, about, in bytes.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The label names, sorted.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.labels.keys().map(|name| &**name)
    }

    /// The values of one label, sorted, each with the number of its series.
    #[cfg(test)]
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        let values = self.labels.get(name).map(|label| &label.values);
        values.into_iter().flatten().map(|(value, ids)| (&**value, ids.len()))
    }

    /// Adds the names of labels that one of `series` has.
    pub(crate) fn names_of(&self, series: &RoaringBitmap, out: &mut BTreeSet<String>) {
        for (name, label) in &self.labels {
            if !out.contains(&**name) && !label.all.is_disjoint(series) {
                out.insert(String::from(&**name));
            }
        }
    }

    /// The values of one label that one of `series` has, sorted.
    pub(crate) fn values_of(&self, name: &str, series: &RoaringBitmap) -> Vec<String> {
        let values = self.labels.get(name).map(|label| &label.values);
        let of_series = values.into_iter().flatten().filter(|(_, ids)| ids.intersects(series));
        of_series.map(|(value, _)| String::from(&**value)).collect()
    }
}

impl TermIndex for MemIndex {
    fn all(&self) -> Result<RoaringBitmap> {
        Ok(self.all.clone())
    }

    fn exact(&self, name: &str, value: &str) -> Result<RoaringBitmap> {
        let label = self.labels.get(name);
        if value.is_empty() {
            return Ok(label.map(|l| l.all.clone()).unwrap_or_default());
        }
        let mut out = RoaringBitmap::new();
        if let Some(ids) = label.and_then(|l| l.values.get(value)) {
            ids.unite_into(&mut out);
        }
        Ok(out)
    }

    fn scan(
        &self,
        name: &str,
        prefix: &str,
        keep: &mut dyn FnMut(&str) -> Result<bool>,
        out: &mut RoaringBitmap,
    ) -> Result<()> {
        let Some(label) = self.labels.get(name) else { return Ok(()) };
        let range = label.values.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        for (value, ids) in range.take_while(|(value, _)| value.starts_with(prefix)) {
            if keep(value)? {
                ids.unite_into(out);
            }
        }
        Ok(())
    }

    fn exact_many(&self, name: &str, values: &[String], out: &mut RoaringBitmap) -> Result<()> {
        let Some(label) = self.labels.get(name) else { return Ok(()) };
        for ids in values.iter().filter_map(|value| label.values.get(value.as_str())) {
            ids.unite_into(out);
        }
        Ok(())
    }
}

impl Label {
    /// Adds a series with this value; whether it is the first one.
    fn insert(&mut self, id: u32, value: &str) -> bool {
        self.all.insert(id);
        match self.values.get_mut(value) {
            Some(ids) => {
                ids.insert(id);
                false
            }
            None => {
                self.values.insert(value.into(), Ids::One(id));
                true
            }
        }
    }
}

impl Ids {
    #[cfg(test)]
    fn len(&self) -> u64 {
        match self {
            Ids::One(_) => 1,
            Ids::Few(ids) => ids.len() as u64,
            Ids::Many(ids) => ids.len(),
        }
    }

    fn insert(&mut self, id: u32) {
        match self {
            Ids::One(one) if *one == id => {}
            Ids::One(one) => *self = Ids::Few(vec![id.min(*one), id.max(*one)]),
            Ids::Few(ids) => {
                if let Err(at) = ids.binary_search(&id) {
                    ids.insert(at, id);
                }
                if ids.len() > FEW {
                    *self = Ids::Many(ids.iter().copied().collect());
                }
            }
            Ids::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Removes an id; answers whether none is left, in which case the list is to be dropped.
    fn remove(&mut self, id: u32) -> bool {
        match self {
            Ids::One(one) => return *one == id,
            Ids::Few(ids) => {
                ids.retain(|kept| *kept != id);
                if let [one] = ids.as_slice() {
                    *self = Ids::One(*one);
                }
            }
            Ids::Many(ids) => {
                ids.remove(id);
                // Half of what made it a bitmap, so that it does not change to and fro.
                if ids.len() <= FEW as u64 / 2 {
                    *self = Ids::Few(ids.iter().collect());
                }
            }
        }
        false
    }

    fn intersects(&self, series: &RoaringBitmap) -> bool {
        match self {
            Ids::One(id) => series.contains(*id),
            Ids::Few(ids) => ids.iter().any(|id| series.contains(*id)),
            Ids::Many(ids) => !ids.is_disjoint(series),
        }
    }

    fn unite_into(&self, out: &mut RoaringBitmap) {
        match self {
            Ids::One(id) => {
                out.insert(*id);
            }
            Ids::Few(ids) => out.extend(ids.iter().copied()),
            Ids::Many(ids) => *out |= ids,
        }
    }
}
