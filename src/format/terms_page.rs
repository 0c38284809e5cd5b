//! A leaf of the dictionary in `index`: label pairs, sorted, coded by what differs, each with its postings or their place.
//!
//! ```text
//!   ┌──────────────┬───────────────┬───────────────┬─────────┬──────────────────────┬───────┐
//!   │ first: varint│ count: varint │ lists: varint │ entries │ restarts: u32 each   │ crc32 │
//!   └──────────────┴───────────────┴───────────────┴─────────┴──────────────────────┴───────┘
//!   entry 0, 32, 64 …  name: sized         value: sized   skip: varint                   postings
//!   same name          shared + 1: varint  tail: varint   middle: sized                  postings
//!   next name          0: u8               name: sized    (value "")                     postings
//!   postings           2 · list bytes: varint                                            a postings_list
//!                      2 · bytes + 1: varint   id: varint   id - previous - 1: varint …  1 to 16 ids
//!
//!   node-108.example:9100        shared: "node-1"   middle: "1"   tail: "08.example:9100" … of the value before:
//!   node-1108.example:9100       what it begins and ends with is not written again
//! ```
//!
//! Pairs are numbered by their place in the order (name, value): their *ordinal*; `first` is that
//! of the first entry. Each name begins with the pair (name, ""), whose postings are all series
//! that have the label. Few ids stand in the entry: most values of a label of high cardinality have one series, and a
//! list of its own would cost it a length, a checksum and a read. Other lists stand back to back in `index`, from `lists` on; so an
//! entry tells only the length of its own, and a restart how many bytes were `skip`ped before it.
//!
//! Invariants: keys strictly ascend, `shared` is the whole common prefix and `tail` all that what is left of both has in common at the end,
//! a new name comes with the empty value. Look-ups search the restarts, then walk 32 entries at most. Ids are
//! passed over, and decoded only where they are asked for.
//!
//! A [`Walk`] checks the invariants as it goes, from one restart to the next: the values of such a *stretch* are put together back to back, so
//! that they are checked to be text all at once, and searched all at once.

use memchr::memmem::Finder;

use super::cursor::{Reader, Write, checked, place_seed, seal};
use super::postings_list::{MAX_INLINE_IDS, MIN_LIST_BYTES};
use crate::error::{DecodeError, DecodeReason};
use crate::model::{MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES};

#[cfg(test)]
mod tests;

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
            let (old, new) = (self.value.as_bytes().get(shared..), value.as_bytes().get(shared..));
            let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
            let tail = common_suffix(old, new);
            self.entries.put_varint(shared as u64 + 1);
            self.entries.put_varint(tail as u64);
            self.entries.put_sized(new.get(..new.len() - tail).unwrap_or_default());
        } else {
            self.entries.put_u8(0);
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

fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count()
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

    /// Name and value of the first entry.
    pub(crate) fn first_key(&self) -> Result<(&'a str, &'a str), DecodeError> {
        self.restart_key(0)
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
        while let Some(stretch) = walk.next_stretch()? {
            let from = stretch.position(name, value)?;
            if let Some(entry) = stretch.entries.get(from) {
                let is_it = stretch.term(from)?.is_some_and(|term| (term.name, term.value) == (name, value));
                return Ok(is_it.then_some((stretch.ordinal(from), entry.postings)));
            }
        }
        Ok(None)
    }

    fn restart_at(&self, restart: u32) -> Result<usize, DecodeError> {
        let mut r = Reader::new(STRUCTURE, self.body);
        r.bytes(self.entries_end)?;
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

    /// Reads entries from a place on, and not beyond the last one.
    fn reader(&self, at: usize) -> Result<Reader<'a>, DecodeError> {
        let mut r = Reader::new(STRUCTURE, self.body.get(..self.entries_end).unwrap_or_default());
        r.bytes(at)?;
        Ok(r)
    }
}

/// Walks over the entries of a page in order, and checks the order.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    page: Page<'a>,
    /// The entry of the page with which the walk began, and the one with which the next stretch does.
    start: u32,
    index: u32,
    /// Where that one stands.
    at: usize,
    skipped: u64,
    stretch: Stretch<'a>,
    /// How many of the stretch were given.
    given: usize,
}

/// The entries from one restart to the next.
#[derive(Debug, Default)]
pub(crate) struct Stretch<'a> {
    /// The ordinal of the first one.
    first: u32,
    /// The values, back to back.
    text: String,
    entries: Vec<Entry<'a>>,
}

/// One entry of a stretch.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    name: &'a str,
    /// Where its value ends, which begins where the one before ends.
    end: usize,
    postings: Postings<'a>,
}

impl<'a> Stretch<'a> {
    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// One of them.
    #[inline]
    pub(crate) fn term(&self, i: usize) -> Result<Option<Term<'_>>, DecodeError> {
        let Some(entry) = self.entries.get(i) else { return Ok(None) };
        let start = self.start_of(i);
        // All of the text is valid, but a forged end may be within a character.
        let value = self.text.get(start..entry.end);
        let value = value.ok_or_else(|| invalid(0, "a value is not UTF-8"))?;
        Ok(Some(Term { ordinal: self.ordinal(i), name: entry.name, value, postings: entry.postings }))
    }

    /// The values from the `from`th entry on, each with what it is of and its postings.
    #[inline]
    pub(crate) fn terms(
        &self,
        from: usize,
    ) -> impl Iterator<Item = Result<(&'a str, &str, Postings<'a>), DecodeError>> {
        let mut start = self.start_of(from);
        self.entries.get(from..).unwrap_or_default().iter().map(move |entry| {
            let value = self.text.get(start..entry.end);
            start = entry.end;
            let value = value.ok_or_else(|| invalid(0, "a value is not UTF-8"))?;
            Ok((entry.name, value, entry.postings))
        })
    }

    /// How many entries come before (name, value).
    pub(crate) fn position(&self, name: &str, value: &str) -> Result<usize, DecodeError> {
        let mut i = 0;
        while self.term(i)?.is_some_and(|term| (term.name, term.value) < (name, value)) {
            i += 1;
        }
        Ok(i)
    }

    /// Whether all entries have this name.
    pub(crate) fn is_of(&self, name: &str) -> bool {
        [self.entries.first(), self.entries.last()].iter().flatten().all(|entry| entry.name == name)
    }

    /// The first entry from the `from`th on whose value contains what is looked for.
    pub(crate) fn find(&self, from: usize, infix: &Finder<'_>) -> Option<usize> {
        let mut at = self.start_of(from);
        let mut i = from;
        loop {
            let found = at + infix.find(self.text.as_bytes().get(at..)?)?;
            i += self.entries.get(i..)?.iter().take_while(|entry| entry.end <= found).count();
            // It may reach into the next value, and be found again within that one.
            match self.entries.get(i)?.end >= found + infix.needle().len() {
                true => return Some(i),
                false => at = found + 1,
            }
        }
    }

    fn ordinal(&self, i: usize) -> u32 {
        self.first.saturating_add(u32::try_from(i).unwrap_or(u32::MAX))
    }

    fn start_of(&self, i: usize) -> usize {
        i.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(0, |entry| entry.end)
    }

    /// Name and value of the last entry.
    fn last_key(&self) -> (&'a str, &str) {
        let name = self.entries.last().map_or("", |entry| entry.name);
        let last = self.text.get(self.start_of(self.entries.len().saturating_sub(1))..);
        (name, last.unwrap_or_default())
    }
}

fn invalid(at: usize, what: &'static str) -> DecodeError {
    DecodeError::new(STRUCTURE, at as u64, DecodeReason::Invalid(what))
}

impl<'a> Walk<'a> {
    fn at(page: Page<'a>, restart: u32) -> Walk<'a> {
        let index = restart * RESTART_ENTRIES;
        Walk { page, start: index, index, at: 0, skipped: 0, stretch: Stretch::default(), given: 0 }
    }

    /// The next entry, or `None` behind the last one.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Term<'_>>, DecodeError> {
        if self.given >= self.stretch.len() && self.next_stretch()?.is_none() {
            return Ok(None);
        }
        self.given += 1;
        self.stretch.term(self.given - 1)
    }

    /// The next entries, up to a restart, or `None` behind the last one; those of them that were not given yet are passed over.
    pub(crate) fn next_stretch(&mut self) -> Result<Option<&Stretch<'a>>, DecodeError> {
        let left = self.page.count - self.index;
        if left == 0 {
            let trailing = DecodeError::new(STRUCTURE, self.at as u64, DecodeReason::TrailingBytes);
            return if self.at == self.page.entries_end { Ok(None) } else { Err(trailing) };
        }
        if self.index == self.start {
            self.at = self.page.restart_at(self.index / RESTART_ENTRIES)?;
        }
        let mut r = self.page.reader(self.at)?;
        let (name, value) = self.restart(&mut r)?;
        let mut text = std::mem::take(&mut self.stretch.text).into_bytes();
        text.clear();
        text.extend_from_slice(value.as_bytes());
        self.stretch.first = self.page.first.saturating_add(self.index);
        self.stretch.entries.clear();
        let (mut name, mut start) = (name, 0);
        for i in 0..left.min(RESTART_ENTRIES) {
            if i > 0 {
                let end = text.len();
                name = step(&mut r, name, start, &mut text)?;
                start = end;
            }
            let postings = self.postings(&mut r)?;
            self.stretch.entries.push(Entry { name, end: text.len(), postings });
            self.index += 1;
        }
        self.at = r.offset();
        self.stretch.text = String::from_utf8(text).map_err(|_| r.invalid("a value is not UTF-8"))?;
        self.given = 0;
        Ok(Some(&self.stretch))
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

    /// The first entry of a stretch, up to its postings.
    fn restart(&mut self, r: &mut Reader<'a>) -> Result<(&'a str, &'a str), DecodeError> {
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
            let before = self.stretch.last_key();
            let ascends = match name == before.0 {
                true => value > before.1,
                false => name > before.0 && value.is_empty(),
            };
            if !ascends {
                return Err(r.invalid("the pairs are not in order"));
            }
        }
        self.skipped = skipped;
        Ok((name, value))
    }
}

/// An entry that is not the first of its stretch, up to its postings: answers its name, and appends its value to `text`, in which the one before
/// begins at `start` and is the last.
#[inline]
fn step<'a>(
    r: &mut Reader<'a>,
    name: &'a str,
    start: usize,
    text: &mut Vec<u8>,
) -> Result<&'a str, DecodeError> {
    let (end, before) = (text.len(), text.len() - start);
    let (shared, tail, middle) = match r.peek() {
        // Nearly all: three numbers of a byte each.
        Some([head @ 1..=127, tail @ ..=127, bytes @ ..=127])
            if usize::from(head) - 1 + usize::from(tail) <= before =>
        {
            r.skip(3);
            (usize::from(head) - 1, usize::from(tail), r.bytes(usize::from(bytes))?)
        }
        _ => {
            let Some(shared) = r.count(before + 1)?.checked_sub(1) else {
                let next = r.sized_str(MAX_LABEL_NAME_BYTES)?;
                return match next > name {
                    true => Ok(next),
                    false => Err(r.invalid("the names are not in order")),
                };
            };
            let tail = r.count(before - shared)?;
            (shared, tail, r.sized_bytes(MAX_LABEL_VALUE_BYTES.saturating_sub(shared + tail))?)
        }
    };
    let replaced = text.get(start + shared..end - tail).unwrap_or_default();
    // The whole common beginning is shared, and the rest is greater than what it replaces; of the rests, the whole common end is.
    let old = text.get(start + shared..end).and_then(<[u8]>::first);
    let new = middle.first().or_else(|| text.get(end - tail..end).and_then(<[u8]>::first));
    let ascends = match (old, new) {
        (Some(old), Some(new)) => old < new,
        (old, new) => old.is_none() && new.is_some(),
    };
    if !ascends {
        return Err(r.invalid("the values are not in order"));
    }
    if middle.last().is_some_and(|last| replaced.last() == Some(last)) {
        return Err(r.invalid("a common end of two values is not shared"));
    }
    if replaced.len() == middle.len() {
        text.extend_from_within(start..end);
        if let Some(place) = text.get_mut(end + shared..end + shared + middle.len()) {
            place.copy_from_slice(middle);
        }
    } else {
        text.extend_from_within(start..start + shared);
        text.extend_from_slice(middle);
        text.extend_from_within(end - tail..end);
    }
    Ok(name)
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
                    let _ = page.first_key();
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
