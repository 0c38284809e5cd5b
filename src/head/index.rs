//! Labels to slots, label pairs to postings, and which slots are free.

use hashbrown::HashTable;
use roaring::RoaringBitmap;
use std::hash::BuildHasher;

use crate::error::Result;
use crate::model::Labels;
use crate::postings::{MemIndex, TermIndex};

/// The index of the head, under one lock.
#[derive(Debug, Default)]
pub(crate) struct HeadIndex {
    by_labels: HashTable<(Labels, u32)>,
    hasher: foldhash::fast::RandomState,
    postings: MemIndex,
    generations: Vec<u16>,
    free: Vec<u32>,
}

impl HeadIndex {
    /// What [`find`](HeadIndex::find) and [`insert`](HeadIndex::insert) look for, so that it is computed once.
    pub(crate) fn hash(&self, labels: &Labels) -> u64 {
        self.hasher.hash_one(labels.as_bytes())
    }

    /// The slot of the series with these labels.
    pub(crate) fn find(&self, hash: u64, labels: &Labels) -> Option<u32> {
        self.by_labels.find(hash, |(l, _)| l == labels).map(|(_, slot)| *slot)
    }

    /// Gives a new series a slot and its generation; `None` if all 2^32 are in use.
    pub(crate) fn insert(&mut self, hash: u64, labels: &Labels) -> Option<(u32, u16)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.generations.len()).ok()?;
                self.generations.push(0);
                slot
            }
        };
        let hasher = &self.hasher;
        self.by_labels.insert_unique(hash, (labels.clone(), slot), |(l, _)| hasher.hash_one(l.as_bytes()));
        self.postings.insert(slot, labels);
        let generation = self.generations.get(slot as usize).copied()?;
        Some((slot, generation))
    }

    /// Forgets a series. Its slot is free only after [`release`](HeadIndex::release).
    pub(crate) fn remove(&mut self, slot: u32, labels: &Labels) {
        let hash = self.hasher.hash_one(labels.as_bytes());
        if let Ok(entry) = self.by_labels.find_entry(hash, |(_, s)| *s == slot) {
            entry.remove();
        }
        self.postings.remove(slot, labels);
    }

    /// Frees slots for the next generation; a slot whose generations are used up is retired.
    pub(crate) fn release(&mut self, slots: &[u32]) {
        for &slot in slots {
            let Some(generation) = self.generations.get_mut(slot as usize) else { continue };
            if let Some(next) = generation.checked_add(1) {
                *generation = next;
                self.free.push(slot);
            }
        }
    }

    /// Active series.
    pub(crate) fn len(&self) -> usize {
        self.by_labels.len()
    }

    /// The slots in use, ascending.
    pub(crate) fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.by_labels.iter().map(|(_, slot)| *slot).collect();
        slots.sort_unstable();
        slots
    }

    /// The postings.
    pub(crate) fn postings(&self) -> &MemIndex {
        &self.postings
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
        name: &str,
        prefix: &str,
        keep: &mut dyn FnMut(&str) -> Result<bool>,
        out: &mut RoaringBitmap,
    ) -> Result<()> {
        self.postings.scan(name, prefix, keep, out)
    }
}
