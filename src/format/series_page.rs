//! A leaf of the series table in `index`: each series as numbers of its label pairs, with its chunks.
//!
//! ```text
//!   ┌───────┬───────┬───────┬─────────┬─────────────────────┬──────────────────────┬───────┐
//!   │ first │ count │ group │ shapes  │ shape 0, shape 1, … │ entry 0, entry 1, …  │ crc32 │
//!   └───────┴───────┴───────┴─────────┴─────────────────────┴──────────────────────┴───────┘
//!   shape   pairs: varint   chunks: varint  then for each chunk   gap: varint   span: varint   rows: varint
//!   entry   bytes: varint   shape: varint   ordinal: varint, then ordinal - previous - 1 …
//!                           then for each chunk   group delta: varint   within: varint
//! ```
//!
//! Series have dense numbers in label order; `first` is that of the first entry. A *shape* is how many
//! pairs a series has, and what its chunks look like in time: all series of one metric of one scrape target share one, so it
//! stands once in a page and entries name it by its index. `gap` counts from the start of the
//! block, or from one after the chunk before; `span` is last minus first timestamp. `group` is
//! the offset of the first chunk's group in `chunks`; a group
//! delta counts from it, or from the chunk before. Where a group
//! delta is zero after the first chunk, `within` is one less than the distance from the chunk before.
//!
//! Invariants: ordinals strictly ascend; chunks are disjoint and ascend in time and in place; a
//! chunk has as many milliseconds as rows, or more. Decoding costs memory in proportion to the
//! page: about 8 bytes for each byte of shapes.

use std::collections::HashMap;

use super::cursor::{Reader, Write, checked, place_seed, seal};
use crate::error::{DecodeError, DecodeReason};
use crate::model::MAX_LABELS;

const STRUCTURE: &str = "series_page";
/// A page is closed before an entry that would make it larger; a single larger entry has a page of its own.
pub(crate) const TARGET_BYTES: usize = 16_384;
/// The largest page: one series with the most chunks.
pub(crate) const MAX_PAGE_BYTES: usize = 67_108_864;
/// The most chunks that a series has in one block.
pub(crate) const MAX_CHUNKS: usize = 1_048_576;
/// An upper bound for the bytes of the header.
const HEADER_BYTES: usize = 32;

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
        self.encode_shape(pairs.len(), chunks);
        let known = self.known.get(&self.shape).copied();
        self.encode_entry(pairs, known.unwrap_or(self.known.len()), chunks);
        let new_shape = if known.is_none() { self.shape.len() } else { 0 };
        let bytes = HEADER_BYTES + self.shapes.len() + self.entries.len() + new_shape + self.entry.len();
        if self.count > 0 && bytes > TARGET_BYTES {
            return false;
        }
        if known.is_none() {
            self.shapes.extend_from_slice(&self.shape);
            self.known.insert(self.shape.clone(), self.known.len());
        }
        self.entries.put_sized(&self.entry);
        self.count += 1;
        true
    }

    fn encode_shape(&mut self, pairs: usize, chunks: &[SeriesChunk]) {
        self.shape.clear();
        self.shape.put_varint(pairs as u64);
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
        self.entry.put_varint(shape as u64);
        let mut next = 0u32;
        for &ordinal in pairs {
            self.entry.put_varint(u64::from(ordinal.wrapping_sub(next)));
            next = ordinal.wrapping_add(1);
        }
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
        out.extend_from_slice(&self.entries);
        seal(out, from, place_seed(salt, offset));
    }
}

/// A page in memory: verified, its shapes decoded, its entries located.
#[derive(Debug)]
pub(crate) struct Page {
    first: u32,
    group: u64,
    body: Vec<u8>,
    times: Vec<Times>,
    shapes: Vec<Shape>,
    entries: Vec<(usize, usize)>,
}

/// What series of a page have alike.
#[derive(Clone, Copy, Debug)]
struct Shape {
    pairs: usize,
    /// Where its chunks begin and end in the page's `times`.
    from: usize,
    to: usize,
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
        // A shape takes five bytes at least, as an entry does.
        let shape_count = r.count(r.remaining() / 5)?;
        let mut times = Vec::new();
        let mut shapes = Vec::with_capacity(shape_count);
        for _ in 0..shape_count {
            shapes.push(decode_shape(&mut r, start, &mut times)?);
        }
        if count as usize > r.remaining() / 5 {
            return Err(r.error(DecodeReason::Truncated));
        }
        let mut entries = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let n = r.count(MAX_PAGE_BYTES)?;
            let from = r.offset();
            r.bytes(n)?;
            entries.push((from, r.offset()));
        }
        r.finish()?;
        Ok(Page { first, group, body: body.to_vec(), times, shapes, entries })
    }

    /// The number of the first series.
    pub(crate) fn first(&self) -> u32 {
        self.first
    }

    /// The number of series, at least one.
    pub(crate) fn count(&self) -> u32 {
        // Checked against 32 bits when it was decoded.
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// Whether series `id` is in this page.
    pub(crate) fn holds(&self, id: u32) -> bool {
        id.checked_sub(self.first).is_some_and(|i| i < self.count())
    }

    /// Replaces `pairs` and `chunks` by those of series `id`, which the page must hold.
    pub(crate) fn series(
        &self,
        id: u32,
        pairs: &mut Vec<u32>,
        chunks: &mut Vec<SeriesChunk>,
    ) -> Result<(), DecodeError> {
        pairs.clear();
        chunks.clear();
        let index = id.checked_sub(self.first).map(|i| i as usize);
        let Some(&(from, to)) = index.and_then(|i| self.entries.get(i)) else {
            let reason = DecodeReason::Invalid("the series is not in the page that its number leads to");
            return Err(DecodeError::new(STRUCTURE, 0, reason));
        };
        let mut r = Reader::new(STRUCTURE, self.body.get(..to).unwrap_or_default());
        r.bytes(from)?;
        let shape = r.count(self.shapes.len().saturating_sub(1))?;
        let shape = self.shapes.get(shape);
        let times = shape.and_then(|&Shape { from, to, .. }| self.times.get(from..to));
        let (Some(shape), Some(times)) = (shape, times) else {
            return Err(r.invalid("the series has no shape"));
        };
        let mut next = 0u32;
        for _ in 0..shape.pairs {
            let ordinal = next.checked_add(r.varint32()?).filter(|&o| o < u32::MAX);
            let ordinal = ordinal.ok_or_else(|| r.invalid("a pair number is above 32 bits"))?;
            pairs.push(ordinal);
            next = ordinal + 1;
        }
        self.places(&mut r, times, chunks)?;
        if id == self.first && chunks.first().is_some_and(|c| c.group != self.group) {
            return Err(r.invalid("the page's group is not that of its first chunk"));
        }
        r.finish()
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

fn decode_shape(r: &mut Reader<'_>, start: i64, times: &mut Vec<Times>) -> Result<Shape, DecodeError> {
    let (index, pairs) = (times.len(), r.count(MAX_LABELS)?);
    if pairs == 0 {
        return Err(r.invalid("a series has no label"));
    }
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
    Ok(Shape { pairs, from: index, to: times.len() })
}

/// The property that fuzzing checks: a page whose series all decode is written back to equal series.
pub(crate) fn fuzz(data: &[u8]) {
    const PLACE: (u32, u64) = (7, 4_096);
    let mut sealed = data.to_vec();
    seal(&mut sealed, 0, place_seed(PLACE.0, PLACE.1));
    for bytes in [data, &sealed] {
        let Ok(page) = Page::decode(PLACE.0, PLACE.1, -5, bytes) else { continue };
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
        let equal = again.is_ok_and(|again| {
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
        let page = Page::decode(1, 5_000, start, bytes)?;
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
        let read = Page::decode(1, 5_000, 1_000, &bytes).unwrap();
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
        let series: Vec<Owned> = (0..50).map(|_| example()[0].clone()).collect();
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
        steps.into_iter().map(one).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_series_round_trip(steps in prop::collection::vec((
            prop::collection::vec(any::<u16>(), 1..8), prop::collection::vec(any::<(u16, u16, u8, u8)>(), 1..6)), 1..20)) {
            let want = series(steps);
            prop_assert_eq!(all(-70_000, &page(&want, -70_000)).unwrap(), want);
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
