//! A leaf of the dictionary in `index`: label pairs, sorted, front-coded, each with the place of its postings list.
//!
//! ```text
//!   ┌──────────────┬───────────────┬───────────────┬─────────┬──────────────────────┬───────┐
//!   │ first: varint│ count: varint │ lists: varint │ entries │ restarts: u32 each   │ crc32 │
//!   └──────────────┴───────────────┴───────────────┴─────────┴──────────────────────┴───────┘
//!   entry 0, 32, 64 …  name: sized   value: sized   skip: varint   list_bytes: varint
//!   same name          0: varint     shared: varint suffix: sized  list_bytes: varint
//!   next name          n: varint     name: n bytes  (value "")     list_bytes: varint
//! ```
//!
//! Pairs are numbered by their place in the order (name, value): their *ordinal*; `first` is that
//! of the first entry. Each name begins with the pair (name, ""), whose postings are all series
//! that have the label. The lists of a page stand back to back in `index`, from `lists` on; so an
//! entry tells only the length of its own, and a restart how many bytes were `skip`ped before it.
//!
//! Invariants: keys strictly ascend, `shared` is the whole common prefix, a new name comes with the
//! empty value. A [`Walk`] checks them as it goes; look-ups search the restarts, then walk 32 entries at most.

use super::cursor::{Reader, Write, checked, place_seed, seal};
use super::postings_list::MIN_LIST_BYTES;
use crate::error::{DecodeError, DecodeReason};
use crate::model::{MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES};

const STRUCTURE: &str = "terms_page";
/// A page is closed before an entry that would make it larger; a single larger entry has a page of its own.
pub(crate) const TARGET_BYTES: usize = 16_384;
/// The largest page.
pub(crate) const MAX_PAGE_BYTES: usize = 131_072;
/// Entries from one restart to the next.
pub(crate) const RESTART_ENTRIES: u32 = 32;
/// The most entries of a page: what fits if each takes its smallest size.
pub(crate) const MAX_ENTRIES: usize = 16_384;
/// An upper bound for the bytes of an entry beside its name and value.
const ENTRY_OVERHEAD_BYTES: usize = 32;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term<'a> {
    /// Its number in the dictionary.
    pub(crate) ordinal: u32,
    /// The label.
    pub(crate) name: &'a str,
    /// The value; empty for "all series that have the label".
    pub(crate) value: &'a str,
    /// Where its postings are.
    pub(crate) list: ListPlace,
}

/// The place of a postings list in `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListPlace {
    /// Offset in the file.
    pub(crate) offset: u64,
    /// Length, checksum included.
    pub(crate) bytes: u32,
}

/// Collects the entries of one page.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    first: u32,
    count: u32,
    lists: u64,
    list_bytes: u64,
    entries: Vec<u8>,
    restarts: Vec<usize>,
    name: String,
    value: String,
}

impl Builder {
    /// A page that begins with ordinal `first`, whose first list stands at `lists`.
    pub(crate) fn new(first: u32, lists: u64) -> Builder {
        Builder { first, lists, ..Builder::default() }
    }

    /// Whether there is room for one more entry.
    pub(crate) fn fits(&self, name: &str, value: &str) -> bool {
        let bytes = self.entries.len() + self.restarts.len() * 4 + name.len() + value.len();
        self.count == 0 || bytes + 2 * ENTRY_OVERHEAD_BYTES <= TARGET_BYTES
    }

    /// The number of entries.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Adds a pair greater than the one before, whose list (`list_bytes` long) follows the list before.
    pub(crate) fn push(&mut self, name: &str, value: &str, list_bytes: u32) {
        if self.count.is_multiple_of(RESTART_ENTRIES) {
            self.restarts.push(self.entries.len());
            self.entries.put_sized(name.as_bytes());
            self.entries.put_sized(value.as_bytes());
            self.entries.put_varint(self.list_bytes);
        } else if name == self.name {
            let shared = common_prefix(self.value.as_bytes(), value.as_bytes());
            self.entries.put_u8(0);
            self.entries.put_varint(shared as u64);
            self.entries.put_sized(value.as_bytes().get(shared..).unwrap_or_default());
        } else {
            self.entries.put_sized(name.as_bytes());
        }
        self.entries.put_varint(u64::from(list_bytes));
        self.list_bytes = self.list_bytes.saturating_add(u64::from(list_bytes));
        self.count += 1;
        self.name.clear();
        self.name.push_str(name);
        self.value.clear();
        self.value.push_str(value);
    }

    /// Appends the page, which will stand at `offset`.
    pub(crate) fn finish(&self, salt: u32, offset: u64, out: &mut Vec<u8>) {
        let from = out.len();
        out.put_varint(u64::from(self.first));
        out.put_varint(u64::from(self.count));
        out.put_varint(self.lists);
        let header = out.len() - from;
        out.extend_from_slice(&self.entries);
        for at in &self.restarts {
            // A page is far below 4 GiB.
            out.put_u32(u32::try_from(header + at).unwrap_or(u32::MAX));
        }
        seal(out, from, place_seed(salt, offset));
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// A page whose checksum and header are verified; entries are checked as they are walked over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    body: &'a [u8],
    first: u32,
    count: u32,
    lists: u64,
    entries_at: usize,
    entries_end: usize,
}

impl<'a> Page<'a> {
    /// Verifies the page that stands at `offset`.
    pub(crate) fn decode(salt: u32, offset: u64, bytes: &'a [u8]) -> Result<Page<'a>, DecodeError> {
        let body = checked(STRUCTURE, place_seed(salt, offset), bytes)?;
        let mut r = Reader::new(STRUCTURE, body);
        let first = r.varint32()?;
        let entries = r.count(MAX_ENTRIES)?;
        let lists = r.varint()?;
        let Some((count, _)) =
            u32::try_from(entries).ok().filter(|&n| n > 0).and_then(|n| Some((n, first.checked_add(n)?)))
        else {
            return Err(r.invalid("the page has no entry, or more than there are numbers"));
        };
        let restart_bytes = entries.div_ceil(RESTART_ENTRIES as usize) * 4;
        let entries_at = r.offset();
        let entries_end = body.len().checked_sub(restart_bytes).filter(|&end| end > entries_at);
        let entries_end = entries_end.ok_or_else(|| r.error(DecodeReason::Truncated))?;
        Ok(Page { body, first, count, lists, entries_at, entries_end })
    }

    /// The ordinal of the first entry.
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    /// The number of entries, at least one.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Where the first entry's list stands.
    pub(crate) fn lists(&self) -> u64 {
        self.lists
    }

    /// Walks over all entries.
    pub(crate) fn walk(&self) -> Walk<'a> {
        Walk::at(*self, 0)
    }

    /// Walks from the last restart that is not above (name, value): some entries may be below it.
    pub(crate) fn walk_near(&self, name: &str, value: &str) -> Result<Walk<'a>, DecodeError> {
        let (mut low, mut high) = (0, self.count.div_ceil(RESTART_ENTRIES));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.restart_key(middle)? <= (name, value) {
                true => low = middle,
                false => high = middle,
            }
        }
        Ok(Walk::at(*self, low))
    }

    /// The place of the list of one pair, or `None`.
    pub(crate) fn find(&self, name: &str, value: &str) -> Result<Option<ListPlace>, DecodeError> {
        let mut walk = self.walk_near(name, value)?;
        while let Some(term) = walk.next()? {
            if (term.name, term.value) >= (name, value) {
                let found = (term.name, term.value) == (name, value);
                return Ok(found.then_some(term.list));
            }
        }
        Ok(None)
    }

    fn restart_at(&self, restart: u32) -> Result<usize, DecodeError> {
        let mut r = self.reader(self.entries_end)?;
        r.bytes(restart as usize * 4)?;
        let at = r.u32()? as usize;
        match (self.entries_at..self.entries_end).contains(&at) {
            true => Ok(at),
            false => Err(r.invalid("a restart is outside of the entries")),
        }
    }

    fn restart_key(&self, restart: u32) -> Result<(&'a str, &'a str), DecodeError> {
        let mut r = self.reader(self.restart_at(restart)?)?;
        Ok((r.sized_str(MAX_LABEL_NAME_BYTES)?, r.sized_str(MAX_LABEL_VALUE_BYTES)?))
    }

    fn reader(&self, at: usize) -> Result<Reader<'a>, DecodeError> {
        let mut r = Reader::new(STRUCTURE, self.body);
        r.bytes(at)?;
        Ok(r)
    }
}

/// Walks over the entries of a page in order, and checks the order.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    page: Page<'a>,
    index: u32,
    start: u32,
    at: usize,
    name: &'a str,
    value: Vec<u8>,
    skipped: u64,
}

impl<'a> Walk<'a> {
    fn at(page: Page<'a>, restart: u32) -> Walk<'a> {
        let index = restart * RESTART_ENTRIES;
        Walk { page, index, start: index, at: 0, name: "", value: Vec::new(), skipped: 0 }
    }

    /// The next entry, or `None` behind the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Term<'_>>, DecodeError> {
        if self.index == self.page.count {
            let trailing = DecodeError::new(STRUCTURE, self.at as u64, DecodeReason::TrailingBytes);
            return if self.at == self.page.entries_end { Ok(None) } else { Err(trailing) };
        }
        if self.index == self.start {
            self.at = self.page.restart_at(self.index / RESTART_ENTRIES)?;
        }
        let mut r = self.page.reader(self.at)?;
        match self.index.is_multiple_of(RESTART_ENTRIES) {
            true => self.restart(&mut r)?,
            false => self.step(&mut r)?,
        }
        let list_bytes = r.varint32()?;
        if list_bytes < MIN_LIST_BYTES {
            return Err(r.invalid("a postings list is shorter than any can be"));
        }
        let offset = self.page.lists.checked_add(self.skipped);
        let offset = offset.ok_or_else(|| r.invalid("a postings list is beyond any file"))?;
        self.skipped = self.skipped.saturating_add(u64::from(list_bytes));
        let ordinal = self.page.first.saturating_add(self.index);
        self.index += 1;
        self.at = r.offset();
        if self.at > self.page.entries_end {
            return Err(r.error(DecodeReason::Truncated));
        }
        let value = std::str::from_utf8(&self.value).map_err(|_| r.invalid("a value is not UTF-8"))?;
        Ok(Some(Term { ordinal, name: self.name, value, list: ListPlace { offset, bytes: list_bytes } }))
    }

    fn restart(&mut self, r: &mut Reader<'a>) -> Result<(), DecodeError> {
        if self.page.restart_at(self.index / RESTART_ENTRIES)? != r.offset() {
            return Err(r.invalid("a restart is not where the page says"));
        }
        if self.index == 0 && r.offset() != self.page.entries_at {
            return Err(r.invalid("the first restart is not the first entry"));
        }
        let name = r.sized_str(MAX_LABEL_NAME_BYTES)?;
        let value = r.sized_bytes(MAX_LABEL_VALUE_BYTES)?;
        let skipped = r.varint()?;
        if name.is_empty() {
            return Err(r.invalid("a label has an empty name"));
        }
        if self.index == self.start {
            if self.index == 0 && skipped != 0 {
                return Err(r.invalid("lists were skipped before the first entry"));
            }
        } else {
            if skipped != self.skipped {
                return Err(r.invalid("the lengths of the lists do not add up"));
            }
            let ascends = match name == self.name {
                true => value > self.value.as_slice(),
                false => name > self.name && value.is_empty(),
            };
            if !ascends {
                return Err(r.invalid("the pairs are not in order"));
            }
        }
        self.skipped = skipped;
        self.name = name;
        self.value.clear();
        self.value.extend_from_slice(value);
        Ok(())
    }

    fn step(&mut self, r: &mut Reader<'a>) -> Result<(), DecodeError> {
        let name = r.sized_str(MAX_LABEL_NAME_BYTES)?;
        if !name.is_empty() {
            if name <= self.name {
                return Err(r.invalid("the names are not in order"));
            }
            self.name = name;
            self.value.clear();
            return Ok(());
        }
        let shared = r.count(self.value.len())?;
        let suffix = r.sized_bytes(MAX_LABEL_VALUE_BYTES.saturating_sub(shared))?;
        // The whole common prefix is shared, and the rest is greater than what it replaces.
        let ascends = match (self.value.get(shared), suffix.first()) {
            (Some(old), Some(new)) => old < new,
            (None, Some(_)) => true,
            _ => false,
        };
        if !ascends {
            return Err(r.invalid("the values are not in order"));
        }
        self.value.truncate(shared);
        self.value.extend_from_slice(suffix);
        Ok(())
    }
}

/// The property that fuzzing checks: a page that can be walked to its end is written back to the same bytes.
pub(crate) fn fuzz(data: &[u8]) {
    const PLACE: (u32, u64) = (7, 4_096);
    let mut sealed = data.to_vec();
    seal(&mut sealed, 0, place_seed(PLACE.0, PLACE.1));
    for bytes in [data, &sealed] {
        let Ok(page) = Page::decode(PLACE.0, PLACE.1, bytes) else { continue };
        let mut walk = page.walk();
        let mut builder = Builder::new(page.first(), page.lists());
        let whole = loop {
            match walk.next() {
                Ok(Some(term)) => {
                    builder.push(term.name, term.value, term.list.bytes);
                    // Other restarts may be forged where this one is not reached by the walk.
                    let _ = page.find(term.name, term.value);
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        if whole {
            let mut out = Vec::new();
            builder.finish(PLACE.0, PLACE.1, &mut out);
            assert_eq!(out, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    type Owned = (u32, String, String, ListPlace);

    fn page(pairs: &BTreeSet<(String, String)>) -> Vec<u8> {
        let mut builder = Builder::new(10, 1_000);
        for (i, (name, value)) in pairs.iter().enumerate() {
            builder.push(name, value, 6 + i as u32);
        }
        let mut out = Vec::new();
        builder.finish(1, 5_000, &mut out);
        out
    }

    fn all(bytes: &[u8]) -> Result<Vec<Owned>, DecodeError> {
        let page = Page::decode(1, 5_000, bytes)?;
        let mut walk = page.walk();
        let mut out = Vec::new();
        while let Some(t) = walk.next()? {
            out.push((t.ordinal, t.name.to_owned(), t.value.to_owned(), t.list));
        }
        Ok(out)
    }

    fn with_names(pairs: impl IntoIterator<Item = (String, String)>) -> BTreeSet<(String, String)> {
        pairs.into_iter().flat_map(|(n, v)| [(n.clone(), String::new()), (n, v)]).collect()
    }

    fn sample(n: usize) -> BTreeSet<(String, String)> {
        with_names((0..n).map(|i| (format!("label{}", i % 3), format!("value-{i}"))))
    }

    fn check(pairs: &BTreeSet<(String, String)>) {
        let bytes = page(pairs);
        let got = all(&bytes).unwrap();
        let keys: BTreeSet<_> = got.iter().map(|(_, n, v, _)| (n.clone(), v.clone())).collect();
        assert_eq!(&keys, pairs);
        let read = Page::decode(1, 5_000, &bytes).unwrap();
        let mut offset = 1_000;
        for (i, (ordinal, name, value, list)) in got.iter().enumerate() {
            assert_eq!((*ordinal, list.offset, list.bytes), (10 + i as u32, offset, 6 + i as u32));
            offset += u64::from(list.bytes);
            assert_eq!(read.find(name, value).unwrap(), Some(*list));
            assert_eq!(read.find(name, &format!("{value}\u{1}")).unwrap(), None);
        }
        assert_eq!(read.find("", "").unwrap(), None);
        assert_eq!(read.find("~", "").unwrap(), None);
    }

    #[test]
    fn pages_round_trip_around_the_restarts() {
        for n in [1, 2, 29, 30, 31, 32, 33, 64, 65, 200] {
            check(&sample(n));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_pairs_round_trip(pairs in prop::collection::vec(("[a-cü]{1,3}", "[a-bé\u{0}]{1,5}"), 1..120)) {
            check(&with_names(pairs));
        }
        #[test]
        fn bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz(&data);
        }
        #[test]
        fn forged_pages_never_panic(at in 0usize..10_000, byte in any::<u8>()) {
            let mut body = page(&sample(70));
            body.truncate(body.len() - 4);
            let at = at % body.len();
            body[at] = byte;
            fuzz(&body);
        }
    }

    #[test]
    fn damage_is_found() {
        let bytes = page(&sample(36));
        testing::truncations_fail(&bytes, all);
        testing::bit_flips_fail_or_agree(&bytes, all);
    }

    #[test]
    fn limits() {
        let longest = with_names([("n".repeat(MAX_LABEL_NAME_BYTES), "v".repeat(MAX_LABEL_VALUE_BYTES))]);
        let bytes = page(&longest);
        assert!(bytes.len() <= MAX_PAGE_BYTES);
        assert_eq!(all(&bytes).unwrap().len(), 2);
        assert!(all(&page(&with_names([("n".repeat(MAX_LABEL_NAME_BYTES + 1), "v".into())]))).is_err());
        assert!(all(&page(&with_names([("n".into(), "v".repeat(MAX_LABEL_VALUE_BYTES + 1))]))).is_err());
        let mut builder = Builder::new(0, 0);
        builder.push("n", "", 6);
        assert!(builder.fits("n", &"v".repeat(TARGET_BYTES / 2)));
        assert!(!builder.fits("n", &"v".repeat(TARGET_BYTES)));
        while builder.fits("n", "12345678") {
            builder.push("n", &format!("{:08}", builder.count()), 6);
        }
        let mut out = Vec::new();
        builder.finish(1, 5_000, &mut out);
        assert!(out.len() <= TARGET_BYTES && out.len() > TARGET_BYTES / 2, "{}", out.len());
    }

    #[test]
    fn disorder_is_refused() {
        let bad = |pairs: &[(&str, &str)]| {
            let mut builder = Builder::new(0, 0);
            for (name, value) in pairs {
                builder.push(name, value, 6);
            }
            let mut out = Vec::new();
            builder.finish(1, 5_000, &mut out);
            all(&out).is_err()
        };
        assert!(!bad(&[("a", ""), ("a", "x"), ("b", "")]));
        assert!(bad(&[]), "no entry");
        assert!(bad(&[("", "")]), "an empty name");
        assert!(bad(&[("a", ""), ("a", "")]), "repeated");
        assert!(bad(&[("a", "x"), ("a", "w")]), "descending");
        assert!(bad(&[("b", ""), ("a", "")]), "names descending");
        let mut short = Builder::new(0, 0);
        short.push("a", "", MIN_LIST_BYTES - 1);
        let mut out = Vec::new();
        short.finish(1, 5_000, &mut out);
        assert!(all(&out).is_err(), "a list shorter than any");
    }

    #[test]
    fn golden() {
        let mut builder = Builder::new(4, 256);
        builder.push("job", "", 7);
        builder.push("job", "api", 6);
        builder.push("job", "app", 6);
        builder.push("le", "", 6);
        let mut out = Vec::new();
        builder.finish(1, 281, &mut out);
        testing::golden("terms_page", &out);
    }
}
