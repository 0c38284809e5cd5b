//! Series known by the bytes of their line, and which followed which.
//!
//! ```text
//!   bytes    a{x="1"}a{x="2"}b{…          back to back, in the order of first appearance
//!   list     end, tag, local, next        next: what followed it the last time
//!   places   tag ─▶ number in list        tag: half of the hash
//! ```
//!
//! All numbers are of 32 bits: how many series are known, and need not be parsed again, follows from what one costs.
//!
//! A dump that is written scrape by scrape repeats its series in the same order. So the next one is foretold: the series
//! that followed this one the last time, whose bytes stand right behind, mostly. If the line has them, it costs one
//! comparison and neither lexer nor hash; if not, it is found by its hash, and what was foretold is corrected.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::columns::Local;

/// What a spelling costs besides its bytes, about: its place in the list, and in the table at its emptiest.
pub(crate) const SPELLING_BYTES: usize = size_of::<Spelled>() + 12;
/// No number.
const NONE: u32 = u32::MAX;

/// Spellings of series.
#[derive(Debug)]
pub(crate) struct Spellings {
    hasher: RandomState,
    places: HashTable<u32>,
    bytes: Vec<u8>,
    list: Vec<Spelled>,
    /// The one that was found, inserted or taken last.
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Spelled {
    tag: u32,
    /// Where its bytes end, which begin where those of the one before end.
    end: u32,
    local: Local,
    next: u32,
}

impl Default for Spellings {
    fn default() -> Spellings {
        Spellings {
            hasher: RandomState::default(),
            places: HashTable::new(),
            bytes: Vec::new(),
            list: Vec::new(),
            last: NONE,
        }
    }
}

impl Spellings {
    /// The series that is spelled so, if it is known; otherwise the hash, which [`insert`](Spellings::insert) wants.
    pub(crate) fn find(&mut self, raw: &[u8]) -> Result<Local, u64> {
        let hash = self.hasher.hash_one(raw);
        self.look_up(raw, hash).ok_or(hash)
    }

    fn look_up(&mut self, raw: &[u8], hash: u64) -> Option<Local> {
        let tag = tag(hash);
        let same = |&n: &u32| {
            self.list.get(n as usize).is_some_and(|s| s.tag == tag) && self.bytes_of(n) == Some(raw)
        };
        let number = *self.places.find(spread(tag), same)?;
        self.follow(number)
    }

    /// Makes a spelling with this hash known that is not known yet. The list ends before numbers do.
    pub(crate) fn insert(&mut self, raw: &[u8], hash: u64, local: Local) {
        let number = u32::try_from(self.list.len()).ok().filter(|&n| n != NONE);
        let end = u32::try_from(self.bytes.len() + raw.len());
        let Some((number, end)) = number.zip(end.ok()) else { return };
        let tag = tag(hash);
        self.bytes.extend_from_slice(raw);
        self.list.push(Spelled { tag, end, local, next: NONE });
        let list = &self.list;
        self.places
            .insert_unique(spread(tag), number, |&n| spread(list.get(n as usize).map_or(0, |s| s.tag)));
        self.follow(number);
    }

    /// The bytes of the series that followed, the last time, the one that was found, inserted or taken last.
    #[inline]
    pub(crate) fn foretold(&self) -> Option<&[u8]> {
        self.bytes_of(self.list.get(self.last as usize)?.next)
    }

    #[inline]
    fn bytes_of(&self, number: u32) -> Option<&[u8]> {
        let number = number as usize;
        let end = self.list.get(number)?.end as usize;
        let start =
            number.checked_sub(1).and_then(|before| self.list.get(before)).map_or(0, |s| s.end as usize);
        self.bytes.get(start..end)
    }

    /// Takes the one that was foretold.
    #[inline]
    pub(crate) fn take_foretold(&mut self) -> Option<Local> {
        let number = self.list.get(self.last as usize)?.next;
        let found = self.list.get(number as usize)?;
        self.last = number;
        Some(found.local)
    }

    /// How many are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Forgets all, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.bytes.clear();
        self.list.clear();
        self.last = NONE;
    }

    /// Takes note that this one follows the last.
    fn follow(&mut self, number: u32) -> Option<Local> {
        if let Some(before) = self.list.get_mut(self.last as usize).filter(|_| self.last != number) {
            before.next = number;
        }
        self.last = number;
        self.list.get(number as usize).map(|s| s.local)
    }
}

/// The half of a hash that is kept.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A hash whose bits all depend on the tag, as a hash table wants them.
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_is_foretold_until_something_else_follows() {
        let mut known = Spellings::default();
        assert!(known.find(b"a").is_err() && known.foretold().is_none());
        for (n, raw) in [&b"a"[..], b"bb", b"c"].into_iter().enumerate() {
            let hash = known.find(raw).unwrap_err();
            known.insert(raw, hash, Local::new(n));
        }
        assert_eq!(known.foretold(), None, "nothing followed c yet");
        assert_eq!(known.take_foretold(), None);
        assert_eq!(known.find(b"a"), Ok(Local::new(0)));
        for (raw, n) in [(&b"bb"[..], 1), (b"c", 2), (b"a", 0), (b"bb", 1)] {
            assert_eq!(known.foretold(), Some(raw));
            assert_eq!(known.take_foretold(), Some(Local::new(n)));
        }
        // c is gone: after bb comes a.
        assert_eq!(known.find(b"a"), Ok(Local::new(0)));
        assert_eq!(known.take_foretold(), Some(Local::new(1)));
        assert_eq!(known.foretold(), Some(&b"a"[..]));
        // Again and again the same series foretells nothing of itself.
        assert_eq!((known.find(b"bb"), known.find(b"bb")), (Ok(Local::new(1)), Ok(Local::new(1))));
        assert_eq!(known.foretold(), Some(&b"a"[..]));
        known.clear();
        assert!(known.find(b"a").is_err() && known.foretold().is_none());
    }
}
