//! A leaf of the series table in `index`: each series as numbers of its label pairs, with its chunks.
//!
//! ```text
//!   ┌───────┬───────┬───────┬────────┬──────────────┬──────────────┬────────────────────┬───────┐
//!   │ first │ count │ group │ shapes │ shape 0, 1 … │ entry 0, 1 … │ restarts: u32 each │ crc32 │
//!   └───────┴───────┴───────┴────────┴──────────────┴──────────────┴────────────────────┴───────┘
//!   shape              chunks: varint  then for each chunk   gap: varint   span: varint   rows: varint
//!   entry 0, 16, 32 …                   pairs: varint   ordinal: varint, then ordinal - previous - 1 …   tail
//!   other entries      shared: varint   pairs: varint   those that follow the shared ones, likewise      tail
//!   tail               shape: varint   then for each chunk   group delta: varint   within: varint
//! ```
//!
//! Series have dense numbers in label order; `first` is that of the first entry. Neighbours have their
//! first pairs in common: those are not repeated, except at a restart. A *shape* is what
//! the chunks of a series look like in time: all series of one scrape target share one, so it
//! stands once in a page and entries name it by its index. `gap` counts from the start of the
//! block, or from one after the chunk before; `span` is last minus first timestamp. `group` is
//! the offset of the first chunk's group in `chunks`; a group
//! delta counts from it, or from the chunk before. Where a group
//! delta is zero after the first chunk, `within` is one less than the distance from the chunk before.
//!
//! Invariants: ordinals strictly ascend, and so do the lists of ordinals, which is label order; chunks are disjoint
//! and ascend in time and in place; a chunk has as many milliseconds as rows, or more. A series costs 16
//! entries at most to reach, the next one none. Decoding costs memory in proportion to the page: about 8 bytes for each byte of shapes.

use std::collections::HashMap;

use super::cursor::{Reader, Write, checked, place_seed, seal};
use crate::error::{DecodeError, DecodeReason};
use crate::model::MAX_LABELS;

const STRUCTURE: &str = "series_page";
/// A page is closed before an entry that would make it larger; a single larger entry has a page of its own.
pub(crate) const TARGET_BYTES: usize = 4_096;
/// Entries from one restart to the next.
pub(crate) const RESTART_ENTRIES: u32 = 16;
/// The largest page: one series with the most chunks.
pub(crate) const MAX_PAGE_BYTES: usize = 67_108_864;
/// The most chunks that a series has in one block.
pub(crate) const MAX_CHUNKS: usize = 1_048_576;
/// An upper bound for the bytes of the header.
const HEADER_BYTES: usize = 32;
/// A count, one ordinal, the shape and one chunk's place take a byte each, or more.
const MIN_ENTRY_BYTES: usize = 5;

/// One chunk of a series: its hull in time, its rows, its place in `chunks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeriesChunk {
    /// The first timestamp.
    pub(crate) min_t: i64,
    /// The last timestamp.
    pub(crate) max_t: i64,
    /// The number of samples.
    pub(crate) rows: u32,
    /// Offset of its group in `chunks`.
    pub(crate) group: u64,
    /// Offset of the chunk in the group's body.
    pub(crate) within: u32,
}

/// Collects the series of one page.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    first: u32,
    count: u32,
    start: i64,
    group: u64,
    shapes: Vec<u8>,
    known: HashMap<Vec<u8>, usize>,
    entries: Vec<u8>,
    restarts: Vec<usize>,
    last: Vec<u32>,
    shape: Vec<u8>,
    entry: Vec<u8>,
}

impl Builder {
    /// A page that begins with series number `first`, in a block whose range begins at `start`.
    pub(crate) fn new(first: u32, start: i64) -> Builder {
        Builder { first, start, ..Builder::default() }
    }

    /// The number of series.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Adds the next series; `false` if there is no room, and then nothing was added. A page takes its first in any case.
    pub(crate) fn push(&mut self, pairs: &[u32], chunks: &[SeriesChunk]) -> bool {
        if self.count == 0 {
            self.group = chunks.first().map_or(0, |c| c.group);
        }
        self.encode_shape(chunks);
        let known = self.known.get(&self.shape).copied();
        self.encode_entry(pairs, known.unwrap_or(self.known.len()), chunks);
        let new_shape = if known.is_none() { self.shape.len() } else { 0 };
        let restarts = (self.restarts.len() + 1) * 4;
        let bytes =
            HEADER_BYTES + self.shapes.len() + self.entries.len() + new_shape + self.entry.len() + restarts;
        if self.count > 0 && bytes > TARGET_BYTES {
            return false;
        }
        if known.is_none() {
            self.shapes.extend_from_slice(&self.shape);
            self.known.insert(self.shape.clone(), self.known.len());
        }
        if self.count.is_multiple_of(RESTART_ENTRIES) {
            self.restarts.push(self.entries.len());
        }
        self.entries.extend_from_slice(&self.entry);
        self.last.clear();
        self.last.extend_from_slice(pairs);
        self.count += 1;
        true
    }

    fn encode_shape(&mut self, chunks: &[SeriesChunk]) {
        self.shape.clear();
        self.shape.put_varint(chunks.len() as u64);
        let mut from = self.start;
        for c in chunks {
            self.shape.put_varint(c.min_t.wrapping_sub(from).cast_unsigned());
            self.shape.put_varint(c.max_t.wrapping_sub(c.min_t).cast_unsigned());
            self.shape.put_varint(u64::from(c.rows));
            from = c.max_t.wrapping_add(1);
        }
    }

    fn encode_entry(&mut self, pairs: &[u32], shape: usize, chunks: &[SeriesChunk]) {
        self.entry.clear();
        let mut rest = pairs;
        let mut next = 0u32;
        if !self.count.is_multiple_of(RESTART_ENTRIES) {
            let shared = self.last.iter().zip(pairs).take_while(|(a, b)| a == b).count();
            self.entry.put_varint(shared as u64);
            rest = pairs.get(shared..).unwrap_or_default();
            next = shared.checked_sub(1).and_then(|i| pairs.get(i)).map_or(0, |last| last.wrapping_add(1));
        }
        self.entry.put_varint(rest.len() as u64);
        for &ordinal in rest {
            self.entry.put_varint(u64::from(ordinal.wrapping_sub(next)));
            next = ordinal.wrapping_add(1);
        }
        self.entry.put_varint(shape as u64);
        let mut previous = (self.group, None);
        for c in chunks {
            self.entry.put_varint(c.group.wrapping_sub(previous.0));
            let within = match previous {
                (group, Some(within)) if group == c.group => c.within.wrapping_sub(within).wrapping_sub(1),
                _ => c.within,
            };
            self.entry.put_varint(u64::from(within));
            previous = (c.group, Some(c.within));
        }
    }

    /// Appends the page, which will stand at `offset`.
    pub(crate) fn finish(&self, salt: u32, offset: u64, out: &mut Vec<u8>) {
        let from = out.len();
        out.put_varint(u64::from(self.first));
        out.put_varint(u64::from(self.count));
        out.put_varint(self.group);
        out.put_varint(self.known.len() as u64);
        out.extend_from_slice(&self.shapes);
        let entries_at = out.len() - from;
        out.extend_from_slice(&self.entries);
        for at in &self.restarts {
            // A page is far below 4 GiB.
            out.put_u32(u32::try_from(entries_at + at).unwrap_or(u32::MAX));
        }
        seal(out, from, place_seed(salt, offset));
    }
}

/// A page in memory: verified, its shapes decoded; entries are decoded as they are asked for.
#[derive(Debug)]
pub(crate) struct Page {
    first: u32,
    count: u32,
    group: u64,
    body: Vec<u8>,
    times: Vec<Times>,
    shapes: Vec<(usize, usize)>,
    entries_at: usize,
    entries_end: usize,
    /// The entry after the one that was decoded last, and where it stands; whatever it is, its number is checked.
    next: Option<(u32, usize)>,
    /// The pairs of the entry that was decoded last.
    pairs: Vec<u32>,
}

/// One chunk's part of a shape.
#[derive(Clone, Copy, Debug)]
struct Times {
    min_t: i64,
    max_t: i64,
    rows: u32,
}

impl Page {
    /// Verifies the page that stands at `offset` in a block whose range begins at `start`.
    pub(crate) fn decode(salt: u32, offset: u64, start: i64, bytes: &[u8]) -> Result<Page, DecodeError> {
        let body = checked(STRUCTURE, place_seed(salt, offset), bytes)?;
        let mut r = Reader::new(STRUCTURE, body);
        let first = r.varint32()?;
        let count = r.varint32()?;
        if count == 0 || first.checked_add(count).is_none() {
            return Err(r.invalid("the page has no series, or more than there are numbers"));
        }
        let group = r.varint()?;
        // A shape takes four bytes at least, an entry five.
        let shape_count = r.count(r.remaining() / 4)?;
        let mut times = Vec::new();
        let mut shapes = Vec::with_capacity(shape_count);
        for _ in 0..shape_count {
            let from = times.len();
            decode_shape(&mut r, start, &mut times)?;
            shapes.push((from, times.len()));
        }
        let (entries_at, restart_bytes) = (r.offset(), count.div_ceil(RESTART_ENTRIES) as usize * 4);
        let entries_end = body.len().checked_sub(restart_bytes).filter(|&end| {
            end.checked_sub(entries_at).is_some_and(|bytes| count as usize <= bytes / MIN_ENTRY_BYTES)
        });
        let entries_end = entries_end.ok_or_else(|| r.error(DecodeReason::Truncated))?;
        let (body, pairs) = (body.to_vec(), Vec::new());
        Ok(Page { first, count, group, body, times, shapes, entries_at, entries_end, next: None, pairs })
    }

    /// The number of the first series.
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    /// The number of series, at least one.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Whether series `id` is in this page.
    pub(crate) fn holds(&self, id: u32) -> bool {
        id.checked_sub(self.first).is_some_and(|i| i < self.count)
    }

    /// Replaces `pairs` and `chunks` by those of series `id`, which the page must hold.
    pub(crate) fn series(
        &mut self,
        id: u32,
        pairs: &mut Vec<u32>,
        chunks: &mut Vec<SeriesChunk>,
    ) -> Result<(), DecodeError> {
        pairs.clear();
        chunks.clear();
        if !self.holds(id) {
            let reason = DecodeReason::Invalid("the series is not in the page that its number leads to");
            return Err(DecodeError::new(STRUCTURE, 0, reason));
        }
        let index = id - self.first;
        let restart = index / RESTART_ENTRIES * RESTART_ENTRIES;
        let near = self.next.take().filter(|(next, _)| (restart..=index).contains(next));
        let (mut next, mut at) = match near {
            Some(near) => near,
            None => (restart, self.restart_at(restart)?),
        };
        while next <= index {
            chunks.clear();
            at = self.entry(next, at, chunks)?;
            next += 1;
        }
        self.next = Some((next, at));
        pairs.extend_from_slice(&self.pairs);
        Ok(())
    }

    /// Where the entry of this index stands, which is one with a restart.
    fn restart_at(&self, index: u32) -> Result<usize, DecodeError> {
        let mut r = self.reader(self.entries_end)?;
        r.bytes((index / RESTART_ENTRIES) as usize * 4)?;
        let at = r.u32()? as usize;
        match at < self.entries_end && (at > self.entries_at || (index == 0 && at == self.entries_at)) {
            true => Ok(at),
            false => Err(r.invalid("a restart is not where an entry can be")),
        }
    }

    fn reader(&self, at: usize) -> Result<Reader<'_>, DecodeError> {
        let mut r = Reader::new(STRUCTURE, &self.body);
        r.bytes(at)?;
        Ok(r)
    }

    /// Decodes the entry that stands at `at`, behind the one that was decoded before or at a restart; answers where it ends.
    fn entry(&mut self, index: u32, at: usize, chunks: &mut Vec<SeriesChunk>) -> Result<usize, DecodeError> {
        let mut pairs = std::mem::take(&mut self.pairs);
        let mut r = Reader::new(STRUCTURE, self.body.get(..self.entries_end).unwrap_or_default());
        r.bytes(at)?;
        let is_restart = index.is_multiple_of(RESTART_ENTRIES);
        if is_restart && self.restart_at(index)? != at {
            return Err(r.invalid("a restart is not where the page says"));
        }
        let shared = if is_restart { 0 } else { r.count(pairs.len())? };
        decode_pairs(&mut r, shared, !is_restart, &mut pairs)?;
        let shape = r.count(self.shapes.len().saturating_sub(1))?;
        let times = self.shapes.get(shape).and_then(|&(from, to)| self.times.get(from..to));
        let times = times.ok_or_else(|| r.invalid("the series has no shape"))?;
        self.places(&mut r, times, chunks)?;
        if index == 0 && chunks.first().is_some_and(|c| c.group != self.group) {
            return Err(r.invalid("the page's group is not that of its first chunk"));
        }
        self.pairs = pairs;
        let end = r.offset();
        if index + 1 == self.count {
            r.finish()?;
        }
        Ok(end)
    }

    fn places(
        &self,
        r: &mut Reader<'_>,
        times: &[Times],
        chunks: &mut Vec<SeriesChunk>,
    ) -> Result<(), DecodeError> {
        let mut previous = (self.group, None);
        for time in times {
            let delta = r.varint()?;
            let group =
                previous.0.checked_add(delta).ok_or_else(|| r.invalid("a group is beyond any file"))?;
            let within = r.varint32()?;
            let within = match previous {
                (_, Some(before)) if delta == 0 => within.checked_add(1).and_then(|w| w.checked_add(before)),
                _ => Some(within),
            };
            let within = within.ok_or_else(|| r.invalid("a chunk is beyond any group"))?;
            let Times { min_t, max_t, rows } = *time;
            chunks.push(SeriesChunk { min_t, max_t, rows, group, within });
            previous = (group, Some(within));
        }
        Ok(())
    }
}

/// Replaces what follows the first `shared` pairs, by something greater if they are those of the series before.
fn decode_pairs(
    r: &mut Reader<'_>,
    shared: usize,
    goes_on: bool,
    pairs: &mut Vec<u32>,
) -> Result<(), DecodeError> {
    let before = pairs.get(shared).copied().filter(|_| goes_on);
    pairs.truncate(shared);
    let mut next = pairs.last().map_or(0, |last| last + 1);
    let rest = r.count(MAX_LABELS.saturating_sub(shared))?;
    if rest == 0 {
        return Err(r.invalid("the series has no label that the one before has not"));
    }
    for _ in 0..rest {
        let ordinal = next.checked_add(r.varint32()?).filter(|&o| o < u32::MAX);
        let ordinal = ordinal.ok_or_else(|| r.invalid("a pair number is above 32 bits"))?;
        pairs.push(ordinal);
        next = ordinal + 1;
    }
    match (before, pairs.get(shared)) {
        (Some(before), Some(&after)) if after <= before => {
            Err(r.invalid("the series are not in label order"))
        }
        _ => Ok(()),
    }
}

fn decode_shape(r: &mut Reader<'_>, start: i64, times: &mut Vec<Times>) -> Result<(), DecodeError> {
    let n = r.count(MAX_CHUNKS.min(r.remaining() / 3))?;
    if n == 0 {
        return Err(r.invalid("a series has no chunk"));
    }
    let mut from = start;
    for _ in 0..n {
        let (gap, span, rows) = (r.varint()?, r.varint()?, r.varint32()?);
        let min_t = from.checked_add_unsigned(gap);
        let max_t = min_t.and_then(|t| t.checked_add_unsigned(span)).filter(|&t| t < i64::MAX);
        let (Some(min_t), Some(max_t)) = (min_t, max_t) else {
            return Err(r.invalid("a chunk's time is out of range"));
        };
        if rows == 0 || span < u64::from(rows) - 1 {
            return Err(r.invalid("a chunk has no row, or more rows than milliseconds"));
        }
        times.push(Times { min_t, max_t, rows });
        from = max_t + 1;
    }
    Ok(())
}

/// The property that fuzzing checks: a page whose series all decode is written back to equal series.
pub(crate) fn fuzz(data: &[u8]) {
    const PLACE: (u32, u64) = (7, 4_096);
    let mut sealed = data.to_vec();
    seal(&mut sealed, 0, place_seed(PLACE.0, PLACE.1));
    for bytes in [data, &sealed] {
        let Ok(mut page) = Page::decode(PLACE.0, PLACE.1, -5, bytes) else { continue };
        let mut all = Vec::new();
        for id in (page.first()..).take(page.count() as usize) {
            let (mut pairs, mut chunks) = (Vec::new(), Vec::new());
            match page.series(id, &mut pairs, &mut chunks) {
                Ok(()) if all.len() < 1_000 => all.push((pairs, chunks)),
                _ => return,
            }
        }
        let mut builder = Builder::new(page.first(), -5);
        // Forged pages may be larger than the target: then the builder refuses.
        if !all.iter().all(|(pairs, chunks)| builder.push(pairs, chunks)) {
            return;
        }
        let mut out = Vec::new();
        builder.finish(PLACE.0, PLACE.1, &mut out);
        let again = Page::decode(PLACE.0, PLACE.1, -5, &out);
        let equal = again.is_ok_and(|mut again| {
            (again.first()..).zip(&all).all(|(id, (pairs, chunks))| {
                let (mut p, mut c) = (Vec::new(), Vec::new());
                again.series(id, &mut p, &mut c) == Ok(()) && p == *pairs && c == *chunks
            })
        });
        assert!(equal);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    type Owned = (Vec<u32>, Vec<SeriesChunk>);

    fn chunk(min_t: i64, max_t: i64, rows: u32, group: u64, within: u32) -> SeriesChunk {
        SeriesChunk { min_t, max_t, rows, group, within }
    }

    fn page(series: &[Owned], start: i64) -> Vec<u8> {
        let mut builder = Builder::new(3, start);
        for (pairs, chunks) in series {
            assert!(builder.push(pairs, chunks));
        }
        let mut out = Vec::new();
        builder.finish(1, 5_000, &mut out);
        out
    }

    fn all(start: i64, bytes: &[u8]) -> Result<Vec<Owned>, DecodeError> {
        let mut page = Page::decode(1, 5_000, start, bytes)?;
        let mut out = Vec::new();
        for id in (page.first()..).take(page.count() as usize) {
            let mut series = (Vec::new(), Vec::new());
            page.series(id, &mut series.0, &mut series.1)?;
            out.push(series);
        }
        Ok(out)
    }

    fn example() -> Vec<Owned> {
        vec![
            (vec![1, 3], vec![chunk(1_000, 2_000, 3, 16, 0), chunk(2_500, 3_000, 2, 16, 40)]),
            (vec![1, 4], vec![chunk(1_000, 2_000, 3, 16, 70), chunk(2_500, 3_000, 2, 400, 0)]),
            (vec![2, 4, 300], vec![chunk(1_500, 1_500, 1, 400, 33)]),
        ]
    }

    #[test]
    fn the_example_round_trips_and_ids_outside_are_refused() {
        let bytes = page(&example(), 1_000);
        assert_eq!(all(1_000, &bytes).unwrap(), example());
        let mut read = Page::decode(1, 5_000, 1_000, &bytes).unwrap();
        assert_eq!((read.first(), read.count()), (3, 3));
        assert!(read.holds(3) && read.holds(5) && !read.holds(2) && !read.holds(6));
        for id in [0, 2, 6, u32::MAX] {
            assert!(read.series(id, &mut Vec::new(), &mut Vec::new()).is_err());
        }
        assert!(Page::decode(1, 5_001, 1_000, &bytes).is_err(), "another place");
        assert!(Page::decode(2, 5_000, 1_000, &bytes).is_err(), "another file");
    }

    #[test]
    fn shapes_are_shared() {
        let one = page(&example()[..1], 0).len();
        let series: Vec<Owned> = (0..50).map(|i| (vec![1, 3 + i], example()[0].1.clone())).collect();
        assert!(page(&series, 0).len() < one + 50 * 12);
    }

    /// Steps from pair to pair, and from chunk to chunk: gap, span, rows, place.
    type Step = (Vec<u16>, Vec<(u16, u16, u8, u8)>);

    /// Series from random steps, with places that ascend over the whole page.
    fn series(steps: Vec<Step>) -> Vec<Owned> {
        let (mut group, mut within) = (1_000u64, 0u32);
        let one = |(pairs, chunks): Step| {
            let mut ordinal = 0;
            let pairs = pairs.iter().map(|p| {
                ordinal += 1 + u32::from(*p);
                ordinal
            });
            let pairs = pairs.collect();
            let mut t = -70_000i64;
            let chunks = chunks.iter().map(|&(gap, span, rows, place)| {
                let min_t = t + i64::from(gap);
                let max_t = min_t + i64::from(span);
                t = max_t + 1;
                within += 1 + u32::from(place);
                if place % 5 == 0 {
                    (group, within) = (group + u64::from(within) + 20, 0);
                }
                chunk(min_t, max_t, u32::from(rows).min(u32::from(span)) + 1, group, within)
            });
            let chunks = chunks.collect();
            (pairs, chunks)
        };
        let mut all: Vec<Owned> = steps.into_iter().map(one).collect();
        // Series ascend in their pairs, and in their places too.
        let mut lists: Vec<Vec<u32>> = all.iter().map(|(pairs, _)| pairs.clone()).collect();
        lists.sort();
        lists.dedup();
        all.truncate(lists.len());
        all.iter_mut().zip(lists).for_each(|((pairs, _), list)| *pairs = list);
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_series_round_trip(steps in prop::collection::vec((
            prop::collection::vec(0u16..3, 1..8), prop::collection::vec(any::<(u16, u16, u8, u8)>(), 1..6)), 1..70)) {
            let want = series(steps);
            let bytes = page(&want, -70_000);
            prop_assert_eq!(all(-70_000, &bytes).unwrap(), &*want);
            // In any order, too.
            let mut read = Page::decode(1, 5_000, -70_000, &bytes).unwrap();
            let numbered: Vec<_> = (3..).zip(&want).collect();
            for &(id, expected) in numbered.iter().rev().chain(numbered.iter().step_by(3)) {
                let mut got = (Vec::new(), Vec::new());
                read.series(id, &mut got.0, &mut got.1).unwrap();
                prop_assert_eq!(&got, expected);
            }
        }
        #[test]
        fn bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&data);
        }
        #[test]
        fn forged_pages_never_panic(at in 0usize..10_000, byte in any::<u8>()) {
            let mut body = page(&example(), -5);
            body.truncate(body.len() - 4);
            let at = at % body.len();
            body[at] = byte;
            fuzz(&body);
        }
    }

    #[test]
    fn damage_is_found() {
        let bytes = page(&example(), 1_000);
        testing::truncations_fail(&bytes, |b| all(1_000, b));
        testing::bit_flips_fail_or_agree(&bytes, |b| all(1_000, b));
    }

    #[test]
    fn limits() {
        let pairs = |n: u32| (0..n).collect::<Vec<u32>>();
        let largest = MAX_LABELS as u32;
        let one = vec![chunk(0, 5, 6, 8, 0)];
        assert!(all(0, &page(&[(pairs(largest), one.clone())], 0)).is_ok());
        assert!(all(0, &page(&[(pairs(largest + 1), one.clone())], 0)).is_err());
        assert!(all(0, &page(&[(pairs(0), one)], 0)).is_err(), "no label");
        let bad = |c: SeriesChunk| all(0, &page(&[(vec![1], vec![c])], 0)).is_err();
        assert!(!bad(chunk(0, i64::MAX - 1, 1, 0, 0)));
        assert!(bad(chunk(0, i64::MAX, 1, 0, 0)), "a reserved timestamp");
        assert!(bad(chunk(-1, 5, 1, 0, 0)), "before the block");
        assert!(bad(chunk(0, 5, 0, 0, 0)), "no row");
        assert!(bad(chunk(0, 5, 7, 0, 0)), "too many rows");
        assert!(all(0, &page(&[(vec![1], vec![])], 0)).is_err(), "no chunk");
        let two = |a, b| all(0, &page(&[(vec![1], vec![a, b])], 0)).is_err();
        assert!(!two(chunk(0, 5, 2, 9, 1), chunk(6, 6, 1, 9, 2)));
        assert!(two(chunk(0, 5, 2, 9, 1), chunk(5, 6, 1, 9, 2)), "overlap in time");
        assert!(two(chunk(0, 5, 2, 9, 1), chunk(6, 6, 1, 9, 1)), "the same place");
        assert!(two(chunk(0, 5, 2, 9, 1), chunk(6, 6, 1, 8, 7)), "an earlier group");
    }

    #[test]
    fn disorder_is_refused() {
        let at = |place: u32| vec![chunk(0, 5, 2, 9, place)];
        let bad =
            |a: &[u32], b: &[u32]| all(0, &page(&[(a.to_vec(), at(1)), (b.to_vec(), at(2))], 0)).is_err();
        assert!(!bad(&[1, 2], &[1, 3]) && !bad(&[1], &[1, 2]) && !bad(&[1, 2], &[3]));
        assert!(bad(&[1, 2], &[1, 2]), "the same series again");
        assert!(bad(&[1, 2], &[1]), "a prefix of the one before");
        assert!(bad(&[1, 3], &[1, 2]));
        let many = |n: u32| -> Vec<Owned> { (0..n).map(|i| (vec![1, 2 + i], at(i))).collect() };
        assert_eq!(all(0, &page(&many(100), 0)).unwrap(), many(100));
        let mut moved = page(&many(100), 0);
        let restart = moved.len() - 8;
        moved[restart] -= 1;
        moved.truncate(moved.len() - 4);
        seal(&mut moved, 0, place_seed(1, 5_000));
        assert!(all(0, &moved).is_err(), "a restart elsewhere");
    }

    #[test]
    fn the_largest_series_has_a_page_of_its_own() {
        let chunks = |n: usize| -> Vec<SeriesChunk> {
            (0..n as i64).map(|i| chunk(i * 10, i * 10 + 5, 3, 16, i as u32)).collect()
        };
        let bytes = page(&[(vec![1], chunks(MAX_CHUNKS))], 0);
        assert!(bytes.len() <= MAX_PAGE_BYTES);
        assert_eq!(all(0, &bytes).unwrap()[0].1.len(), MAX_CHUNKS);
        assert!(all(0, &page(&[(vec![1], chunks(MAX_CHUNKS + 1))], 0)).is_err());
        let mut builder = Builder::new(0, 0);
        assert!(builder.push(&[1], &chunks(10_000)));
        assert!(!builder.push(&[1], &chunks(9_999)));
        assert_eq!(builder.count(), 1);
    }

    #[test]
    fn golden() {
        testing::golden("series_page", &page(&example(), 1_000));
    }
}
