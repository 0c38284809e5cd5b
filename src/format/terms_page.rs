//! A leaf of the dictionary in `index`: label pairs, sorted, front-coded, each with its postings or their place.
//!
//! ```text
//!   ┌──────────────┬───────────────┬───────────────┬─────────┬──────────────────────┬───────┐
//!   │ first: varint│ count: varint │ lists: varint │ entries │ restarts: u32 each   │ crc32 │
//!   └──────────────┴───────────────┴───────────────┴─────────┴──────────────────────┴───────┘
//!   entry 0, 32, 64 …  name: sized   value: sized   skip: varint   postings
//!   same name          0: varint     shared: varint suffix: sized  postings
//!   next name          n: varint     name: n bytes  (value "")     postings
//!   postings           2 · list bytes: varint                      a postings_list
//!                      2 · bytes + 1: varint   id: varint   id - previous - 1: varint …     1 to 16 ids
//! ```
//!
//! Pairs are numbered by their place in the order (name, value): their *ordinal*; `first` is that
//! of the first entry. Each name begins with the pair (name, ""), whose postings are all series
//! that have the label. Few ids stand in the entry: most values of a label of high cardinality have one series, and a
//! list of its own would cost it a length, a checksum and a read. Other lists stand back to back in `index`, from `lists` on; so an
//! entry tells only the length of its own, and a restart how many bytes were `skip`ped before it.
//!
//! Invariants: keys strictly ascend, `shared` is the whole common prefix, a new name comes with the
//! empty value. A [`Walk`] checks them as it goes; look-ups search the restarts, then walk 32 entries at most. Ids are
//! passed over, and decoded only where they are asked for.

use super::cursor::{Reader, Write, checked, place_seed, seal};
use super::postings_list::{MAX_INLINE_IDS, MIN_LIST_BYTES};
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
const ENTRY_OVERHEAD_BYTES: usize = 128;
/// The most bytes that ids in an entry take: five each.
const MAX_INLINE_BYTES: u64 = 5 * MAX_INLINE_IDS as u64;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term<'a> {
    /// Its number in the dictionary.
    pub(crate) ordinal: u32,
    /// The label.
    pub(crate) name: &'a str,
    /// The value; empty for "all series that have the label".
    pub(crate) value: &'a str,
    /// The series that have it.
    pub(crate) postings: Postings<'a>,
}

/// The series of an entry: in a list elsewhere, or here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Postings<'a> {
    /// A postings list.
    Listed(ListPlace),
    /// Few ids.
    Inline(InlineIds<'a>),
}

impl Postings<'_> {
    /// How many bytes the ids take, in the entry or in a list of their own.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Postings::Listed(place) => u64::from(place.bytes),
            Postings::Inline(ids) => ids.0.len() as u64,
        }
    }
}

/// Ids in an entry, not decoded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InlineIds<'a>(&'a [u8]);

impl InlineIds<'_> {
    /// Appends the ids, which must be in the index of a block of `series` series.
    #[inline]
    pub(crate) fn decode_into(self, series: u32, out: &mut Vec<u32>) -> Result<(), DecodeError> {
        let mut r = Reader::new(STRUCTURE, self.0);
        let mut next = 0u32;
        let mut count = 0;
        while r.remaining() > 0 {
            let id = next.checked_add(r.varint32()?).filter(|&id| id < series);
            let id = id.ok_or_else(|| r.invalid("a series number is not below the count of series"))?;
            out.push(id);
            next = id + 1;
            count += 1;
        }
        match (1..=MAX_INLINE_IDS).contains(&count) {
            true => Ok(()),
            false => Err(r.invalid("an entry holds no id, or more than it may")),
        }
    }
}

/// What a builder is told of the series of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NewPostings<'a> {
    /// A list of so many bytes follows the list before.
    Listed(u32),
    /// Up to [`MAX_INLINE_IDS`], ascending.
    Inline(&'a [u32]),
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
    ids: Vec<u8>,
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

    /// Adds a pair greater than the one before.
    pub(crate) fn push(&mut self, name: &str, value: &str, postings: NewPostings<'_>) {
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
        self.push_postings(postings);
        self.count += 1;
        self.name.clear();
        self.name.push_str(name);
        self.value.clear();
        self.value.push_str(value);
    }

    fn push_postings(&mut self, postings: NewPostings<'_>) {
        match postings {
            NewPostings::Listed(bytes) => {
                self.entries.put_varint(u64::from(bytes) << 1);
                self.list_bytes = self.list_bytes.saturating_add(u64::from(bytes));
            }
            NewPostings::Inline(ids) => {
                self.ids.clear();
                let mut next = 0u32;
                for &id in ids {
                    self.ids.put_varint(u64::from(id.wrapping_sub(next)));
                    next = id.wrapping_add(1);
                }
                self.entries.put_varint((self.ids.len() as u64) << 1 | 1);
                self.entries.extend_from_slice(&self.ids);
            }
        }
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

    /// Walks from the restart before the entry of this ordinal on, or from the first one.
    pub(crate) fn walk_to(&self, ordinal: u32) -> Walk<'a> {
        let index = ordinal.checked_sub(self.first).filter(|index| *index < self.count);
        Walk::at(*self, index.unwrap_or(0) / RESTART_ENTRIES)
    }

    /// The ordinal and the series of one pair, or `None`.
    pub(crate) fn find(&self, name: &str, value: &str) -> Result<Option<(u32, Postings<'a>)>, DecodeError> {
        let mut walk = self.walk_near(name, value)?;
        while let Some(found) = walk.advance()? {
            let key = (walk.name, walk.value.as_str());
            if key >= (name, value) {
                return Ok((key == (name, value)).then_some(found));
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
    value: String,
    skipped: u64,
}

/// One entry of a walk, without what the walk itself holds.
type Step<'a> = (u32, Postings<'a>);

impl<'a> Walk<'a> {
    fn at(page: Page<'a>, restart: u32) -> Walk<'a> {
        let index = restart * RESTART_ENTRIES;
        Walk { page, index, start: index, at: 0, name: "", value: String::new(), skipped: 0 }
    }

    /// The next entry, or `None` behind the last one.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Term<'_>>, DecodeError> {
        let Some((ordinal, postings)) = self.advance()? else { return Ok(None) };
        Ok(Some(Term { ordinal, name: self.name, value: &self.value, postings }))
    }

    fn advance(&mut self) -> Result<Option<Step<'a>>, DecodeError> {
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
        let postings = self.postings(&mut r)?;
        let ordinal = self.page.first.saturating_add(self.index);
        self.index += 1;
        self.at = r.offset();
        match self.at > self.page.entries_end {
            true => Err(r.error(DecodeReason::Truncated)),
            false => Ok(Some((ordinal, postings))),
        }
    }

    fn postings(&mut self, r: &mut Reader<'a>) -> Result<Postings<'a>, DecodeError> {
        let told = r.varint()?;
        if told & 1 == 1 {
            let bytes = usize::try_from((told >> 1).min(MAX_INLINE_BYTES + 1)).unwrap_or(usize::MAX);
            if bytes == 0 || bytes as u64 > MAX_INLINE_BYTES {
                return Err(r.invalid("an entry holds no id, or more than it may"));
            }
            return Ok(Postings::Inline(InlineIds(r.bytes(bytes)?)));
        }
        let bytes = u32::try_from(told >> 1).map_err(|_| r.invalid("a postings list is beyond any file"))?;
        if bytes < MIN_LIST_BYTES {
            return Err(r.invalid("a postings list is shorter than any can be"));
        }
        let offset = self.page.lists.checked_add(self.skipped);
        let offset = offset.ok_or_else(|| r.invalid("a postings list is beyond any file"))?;
        self.skipped = self.skipped.saturating_add(u64::from(bytes));
        Ok(Postings::Listed(ListPlace { offset, bytes }))
    }

    fn restart(&mut self, r: &mut Reader<'a>) -> Result<(), DecodeError> {
        if self.page.restart_at(self.index / RESTART_ENTRIES)? != r.offset() {
            return Err(r.invalid("a restart is not where the page says"));
        }
        if self.index == 0 && r.offset() != self.page.entries_at {
            return Err(r.invalid("the first restart is not the first entry"));
        }
        let name = r.sized_str(MAX_LABEL_NAME_BYTES)?;
        let value = r.sized_str(MAX_LABEL_VALUE_BYTES)?;
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
                true => value > self.value.as_str(),
                false => name > self.name && value.is_empty(),
            };
            if !ascends {
                return Err(r.invalid("the pairs are not in order"));
            }
        }
        self.skipped = skipped;
        self.name = name;
        self.value.clear();
        self.value.push_str(value);
        Ok(())
    }

    fn step(&mut self, r: &mut Reader<'a>) -> Result<(), DecodeError> {
        let name_bytes = r.count(MAX_LABEL_NAME_BYTES)?;
        if name_bytes > 0 {
            let name = r.bytes(name_bytes)?;
            let name = std::str::from_utf8(name).map_err(|_| r.invalid("a name is not UTF-8"))?;
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
        let ascends = match (self.value.as_bytes().get(shared), suffix.first()) {
            (Some(old), Some(new)) => old < new,
            (None, Some(_)) => true,
            _ => false,
        };
        if !ascends {
            return Err(r.invalid("the values are not in order"));
        }
        match std::str::from_utf8(suffix) {
            Ok(suffix) if self.value.is_char_boundary(shared) => {
                self.value.truncate(shared);
                self.value.push_str(suffix);
                Ok(())
            }
            _ => self.split_character(shared, suffix).ok_or_else(|| r.invalid("a value is not UTF-8")),
        }
    }

    /// Replaces the value where the common prefix ends within a character.
    #[cold]
    fn split_character(&mut self, shared: usize, suffix: &[u8]) -> Option<()> {
        let mut bytes = self.value.as_bytes().get(..shared)?.to_vec();
        bytes.extend_from_slice(suffix);
        self.value = String::from_utf8(bytes).ok()?;
        Some(())
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
        let mut ids = Vec::new();
        let whole = loop {
            match walk.next() {
                Ok(Some(term)) => {
                    // Other restarts may be forged where this one is not reached by the walk.
                    let _ = page.find(term.name, term.value);
                    ids.clear();
                    let postings = match term.postings {
                        Postings::Listed(list) => NewPostings::Listed(list.bytes),
                        Postings::Inline(inline) => match inline.decode_into(u32::MAX, &mut ids) {
                            Ok(()) => NewPostings::Inline(&ids),
                            Err(_) => break false,
                        },
                    };
                    builder.push(term.name, term.value, postings);
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

    type Owned = (u32, String, String, Result<ListPlace, Vec<u32>>);

    /// Every other pair has ids of its own: as many as its number allows.
    fn ids(i: u32) -> Vec<u32> {
        (0..=i % MAX_INLINE_IDS as u32).map(|n| i * 1_000 + n * n * n).collect()
    }

    fn page(pairs: &BTreeSet<(String, String)>) -> Vec<u8> {
        let mut builder = Builder::new(10, 1_000);
        for (i, (name, value)) in (0u32..).zip(pairs) {
            match i % 2 {
                0 => builder.push(name, value, NewPostings::Listed(MIN_LIST_BYTES + i)),
                _ => builder.push(name, value, NewPostings::Inline(&ids(i))),
            }
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
            out.push((t.ordinal, t.name.to_owned(), t.value.to_owned(), owned(t.postings)?));
        }
        Ok(out)
    }

    fn owned(postings: Postings<'_>) -> Result<Result<ListPlace, Vec<u32>>, DecodeError> {
        let mut ids = Vec::new();
        match postings {
            Postings::Listed(list) => Ok(Ok(list)),
            Postings::Inline(inline) => inline.decode_into(u32::MAX, &mut ids).map(|()| Err(ids)),
        }
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
        for (i, (ordinal, name, value, postings)) in (0u32..).zip(&got) {
            let bytes = MIN_LIST_BYTES + i;
            let expected = if i % 2 == 0 { Ok(ListPlace { offset, bytes }) } else { Err(ids(i)) };
            assert_eq!((*ordinal, postings), (10 + i, &expected));
            offset += expected.map_or(0, |list| u64::from(list.bytes));
            let (number, found) = read.find(name, value).unwrap().unwrap();
            assert_eq!((number, owned(found).as_ref()), (*ordinal, Ok(postings)));
            assert!(read.walk_to(*ordinal).next().unwrap().unwrap().ordinal <= *ordinal);
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
        builder.push("n", "", NewPostings::Inline(&[3]));
        assert!(builder.fits("n", &"v".repeat(TARGET_BYTES / 2)));
        assert!(!builder.fits("n", &"v".repeat(TARGET_BYTES)));
        while builder.fits("n", "12345678") {
            builder.push("n", &format!("{:08}", builder.count()), NewPostings::Inline(&[u32::MAX - 1]));
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
                builder.push(name, value, NewPostings::Inline(&[5]));
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
        let refused = |postings: NewPostings<'_>| {
            let mut builder = Builder::new(0, 0);
            builder.push("a", "", postings);
            let mut out = Vec::new();
            builder.finish(1, 5_000, &mut out);
            all(&out).is_err()
        };
        assert!(refused(NewPostings::Listed(MIN_LIST_BYTES - 1)), "a list shorter than any");
        assert!(!refused(NewPostings::Listed(MIN_LIST_BYTES)));
        assert!(refused(NewPostings::Inline(&[])), "no id");
        assert!(!refused(NewPostings::Inline(&[7; 1])));
        assert!(refused(NewPostings::Inline(&[7, 7])), "an id twice");
        let ids: Vec<u32> = (0..=MAX_INLINE_IDS as u32).collect();
        assert!(refused(NewPostings::Inline(&ids)), "too many ids");
        assert!(!refused(NewPostings::Inline(&ids[1..])));
        let mut out = Vec::new();
        assert!(InlineIds(&[5, 0]).decode_into(7, &mut out).is_ok() && out == [5, 6]);
        assert!(InlineIds(&[5, 0]).decode_into(6, &mut out).is_err(), "an id that is not below the count");
    }

    #[test]
    fn golden() {
        let mut builder = Builder::new(4, 256);
        builder.push("job", "", NewPostings::Listed(25));
        builder.push("job", "api", NewPostings::Inline(&[3, 4, 300]));
        builder.push("job", "app", NewPostings::Listed(21));
        builder.push("le", "", NewPostings::Inline(&[4]));
        let mut out = Vec::new();
        builder.finish(1, 281, &mut out);
        testing::golden("terms_page", &out);
    }
}
