//! The label pairs of a block that is being written: interned as series come, numbered at the end.
//!
//! A pair gets a provisional number at its first use. When all series are known, the pairs are
//! sorted and each gets its ordinal; the series were kept as lists of provisional numbers.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use roaring::RoaringBitmap;

use crate::error::{Error, ErrorKind, Result};

/// Distinct pairs and names, with what their postings need.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    hasher: foldhash::quality::RandomState,
    values: String,
    pairs: Vec<Pair>,
    by_pair: HashTable<u32>,
    names: Vec<Name>,
    by_name: HashTable<u32>,
}

/// One distinct pair; its value is a piece of the common string.
#[derive(Clone, Copy, Debug)]
struct Pair {
    name: u32,
    bytes: u32,
    start: usize,
    count: u32,
    /// The pair that came after it the last time; at first it itself.
    next: u32,
}

/// One distinct name, with the series that have it.
#[derive(Debug)]
struct Name {
    name: String,
    ids: RoaringBitmap,
    /// Ids that are not in `ids` yet: neighbours mostly have the same names.
    run: std::ops::Range<u32>,
}

impl Name {
    fn add(&mut self, id: u32) {
        if self.run.end != id {
            self.close_run();
            self.run.start = id;
        }
        // A block holds less than 2^32 series.
        self.run.end = id.saturating_add(1);
    }

    fn close_run(&mut self) {
        self.ids.insert_range(std::mem::take(&mut self.run));
    }
}

/// An entry of the dictionary to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    /// The pair (name, "").
    Name(u32),
    /// A pair, by its provisional number.
    Pair(u32),
}

/// The dictionary's order.
#[derive(Debug)]
pub(super) struct Order {
    /// By ordinal.
    pub(super) slots: Vec<Slot>,
    /// Ordinals by provisional number.
    pub(super) ordinals: Vec<u32>,
}

impl Pairs {
    /// The provisional number of a pair that series `id` has. Ids never descend.
    pub(super) fn intern(&mut self, id: u32, name: &str, value: &str) -> Result<u32> {
        let name = self.intern_name(name)?;
        let hash = self.hasher.hash_one((name, value));
        let same =
            |&i: &u32| self.pairs.get(i as usize).is_some_and(|p| p.name == name && self.text(p) == value);
        let number = match self.by_pair.find(hash, same) {
            Some(&number) => number,
            None => self.insert(hash, name, value)?,
        };
        Ok(self.count(id, number))
    }

    /// As [`intern`](Pairs::intern), for a pair that stands where, in the series before, the pair of another number did: what comes
    /// after what is foretold, since series of one metric come target by target, for each metric in the same order.
    pub(super) fn follow(&mut self, id: u32, before: u32, name: &str, value: &str) -> Result<u32> {
        let next = self.pairs.get(before as usize).map_or(before, |pair| pair.next);
        let foretold = self.pairs.get(next as usize).is_some_and(|pair| {
            self.names.get(pair.name as usize).is_some_and(|n| n.name == name) && self.text(pair) == value
        });
        if foretold {
            return Ok(self.count(id, next));
        }
        let number = self.intern(id, name, value)?;
        if let Some(pair) = self.pairs.get_mut(before as usize) {
            pair.next = number;
        }
        Ok(number)
    }

    /// Notes that series `id`, the last so far, has the pair of this provisional number, too; answers the number.
    pub(super) fn count(&mut self, id: u32, number: u32) -> u32 {
        if let Some(pair) = self.pairs.get_mut(number as usize) {
            pair.count = pair.count.saturating_add(1);
            if let Some(name) = self.names.get_mut(pair.name as usize) {
                name.add(id);
            }
        }
        number
    }

    fn insert(&mut self, hash: u64, name: u32, value: &str) -> Result<u32> {
        let number = number(self.pairs.len())?;
        // Values are at most 65,535 bytes long.
        let bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.pairs.push(Pair { name, bytes, start: self.values.len(), count: 0, next: number });
        self.values.push_str(value);
        let Pairs { hasher, values, pairs, by_pair, .. } = self;
        by_pair.insert_unique(hash, number, |&i| {
            pairs.get(i as usize).map_or(0, |p| hasher.hash_one((p.name, text(values, p))))
        });
        Ok(number)
    }

    fn intern_name(&mut self, name: &str) -> Result<u32> {
        let hash = self.hasher.hash_one(name);
        let same = |&i: &u32| self.names.get(i as usize).is_some_and(|n| n.name == name);
        if let Some(&number) = self.by_name.find(hash, same) {
            return Ok(number);
        }
        let number = number(self.names.len())?;
        self.names.push(Name { name: name.to_owned(), ids: RoaringBitmap::new(), run: 0..0 });
        let Pairs { hasher, names, by_name, .. } = self;
        by_name.insert_unique(hash, number, |&i| {
            names.get(i as usize).map_or(0, |n| hasher.hash_one(n.name.as_str()))
        });
        Ok(number)
    }

    fn text(&self, pair: &Pair) -> &str {
        text(&self.values, pair)
    }

    /// Sorts the pairs into the dictionary's order.
    pub(super) fn order(&self) -> Result<Order> {
        number(self.pairs.len() + self.names.len())?;
        let mut sorted_names: Vec<u32> = (0..number(self.names.len())?).collect();
        sorted_names.sort_unstable_by_key(|&i| self.names.get(i as usize).map(|n| n.name.as_str()));
        let mut rank = vec![0u32; self.names.len()];
        for (place, &i) in (0u32..).zip(&sorted_names) {
            if let Some(rank) = rank.get_mut(i as usize) {
                *rank = place;
            }
        }
        let mut sorted: Vec<u32> = (0..number(self.pairs.len())?).collect();
        let key = |i: u32| {
            let pair = self.pairs.get(i as usize)?;
            Some((*rank.get(pair.name as usize)?, self.text(pair)))
        };
        sorted.sort_unstable_by(|&a, &b| key(a).cmp(&key(b)));
        let mut order = Order { slots: Vec::new(), ordinals: vec![0; self.pairs.len()] };
        let mut last_name = None;
        for i in sorted {
            let name = self.pairs.get(i as usize).map(|p| p.name);
            if let Some(name) = name.filter(|_| name != last_name) {
                order.slots.push(Slot::Name(name));
            }
            last_name = name;
            if let Some(ordinal) = order.ordinals.get_mut(i as usize) {
                *ordinal = number(order.slots.len())?;
            }
            order.slots.push(Slot::Pair(i));
        }
        Ok(order)
    }

    /// Name and value of an entry.
    pub(super) fn key(&self, slot: Slot) -> (&str, &str) {
        let name = |i: u32| self.names.get(i as usize).map_or("", |n| n.name.as_str());
        match slot {
            Slot::Name(i) => (name(i), ""),
            Slot::Pair(i) => self.pairs.get(i as usize).map_or(("", ""), |p| (name(p.name), self.text(p))),
        }
    }

    /// How many series have a pair; 0 for a name, whose series are known already.
    pub(super) fn series_count(&self, slot: Slot) -> usize {
        match slot {
            Slot::Name(_) => 0,
            Slot::Pair(i) => self.pairs.get(i as usize).map_or(0, |p| p.count as usize),
        }
    }

    /// Takes the series that have a name.
    pub(super) fn take_ids(&mut self, name: u32) -> RoaringBitmap {
        let Some(name) = self.names.get_mut(name as usize) else { return RoaringBitmap::new() };
        name.close_run();
        std::mem::take(&mut name.ids)
    }
}

fn text<'a>(values: &'a str, pair: &Pair) -> &'a str {
    values.get(pair.start..pair.start + pair.bytes as usize).unwrap_or("")
}

/// A count that must stay below 2^32.
fn number(n: usize) -> Result<u32> {
    u32::try_from(n)
        .map_err(|_| Error::new(ErrorKind::Ceiling, "a block holds less than 4,294,967,296 label pairs"))
}
