//! Samples in memory: as they come in, then sorted.
//!
//! ```text
//!   extend ─▶ slab ── full ─▶ packed by the pool ┐
//!             slab ── full ─▶ packed by the pool ┼─ sort ─▶ series by series
//!             slab (being filled) ───────────────┘
//! ```
//!
//! What comes in is copied to the end of the last slab, whatever its series, and a segment says
//! whose it is: nothing is allocated for a series, so that two million series with a sample each
//! cost what two million samples cost. A full slab is packed (see `slab`) beside the caller, a few at a time. What stayed rows there
//! is gathered by series, and packed, when the memory is full ([`Buffer::gather`]). [`Buffer::sort`]
//! lists the segments by series (a counting sort, which keeps the order of the input within each), and [`Sorted`] then
//! gives the series in label order. A series whose rows are in time order already is copied out of its slabs, chunk by
//! chunk where it is packed; otherwise it is gathered and sorted, stably, in one scratch vector, whose size is reckoned with
//! beforehand ([`Buffer::memory_bytes`]).
//!
//! Cost: 16 bytes a sample, one or two where it is packed, 24 a segment (an [`extend`](super::Loader::extend) of another series
//! than the one before), 32 for each row of the largest series.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use rayon::prelude::*;

use super::merge::{Input, Piece};
use super::slab::{Part, Segment, Slab};
use super::table::Table;
use super::times::TimesPool;
use crate::error::{Error, Result};
use crate::format::chunk::Timestamps;
use crate::format::spill_run::MAX_ENTRY_ROWS;
use crate::model::Columns;

/// Memory of a segment: itself, and its place in the list by series.
const SEGMENT_BYTES: usize = size_of::<Segment>() + size_of::<Place>();
/// Memory of a sample.
pub(super) const SAMPLE_BYTES: usize = 16;
/// Scratch for a row of a series that is sorted: the pair, and what a stable sort needs at worst.
const SCRATCH_BYTES: usize = 32;
/// The most slabs that are being packed at a time.
const MAX_PACKING: usize = 3;

/// Where a segment is: slab, and number within it.
type Place = (u32, u32);

/// How the buffer works.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// The rows of a slab: at least 1, at most 2^24.
    pub(super) slab_rows: usize,
    /// The length of the blocks' ranges.
    pub(super) range_ms: i64,
    /// The most bytes of timestamps that are remembered, to be shared.
    pub(super) times_bytes: usize,
    /// The threads that pack; without, the caller does.
    pub(super) pool: Option<Arc<rayon::ThreadPool>>,
}

/// A slab, or where it will come from.
#[derive(Debug)]
enum Slot {
    Here(Slab),
    Packing(Receiver<Slab>),
}

/// Samples in the order in which they came.
#[derive(Debug)]
pub(super) struct Buffer {
    shape: Shape,
    times: TimesPool,
    slots: Vec<Slot>,
    /// The slots before this one are packed.
    packed: usize,
    packed_bytes: usize,
    /// The slots before this one are gathered.
    gathered: usize,
    /// The rows of packed slots, not gathered, that stayed rows.
    loose_rows: usize,
    segments: usize,
    /// Rows of each series, by number.
    rows: Vec<u32>,
    most_rows: usize,
}

impl Buffer {
    /// An empty buffer that grows by a slab at a time.
    pub(super) fn new(shape: Shape) -> Buffer {
        Buffer {
            times: TimesPool::new(shape.times_bytes),
            shape,
            slots: Vec::new(),
            packed: 0,
            packed_bytes: 0,
            gathered: 0,
            loose_rows: 0,
            segments: 0,
            rows: Vec::new(),
            most_rows: 0,
        }
    }

    /// Whether it holds no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The memory that it holds, and that sorting it will take; what the series themselves take is the table's.
    pub(super) fn memory_bytes(&self) -> usize {
        self.packed_bytes
            + self.times.memory_bytes()
            + (self.slots.len() - self.packed) * self.shape.slab_rows * SAMPLE_BYTES
            + self.segments * SEGMENT_BYTES
            + self.most_rows * SCRATCH_BYTES
    }

    /// How much [`memory_bytes`](Buffer::memory_bytes) may grow by the next `append`.
    pub(super) fn growth_bytes(&self) -> usize {
        let slab = if self.room() == 0 { self.shape.slab_rows * SAMPLE_BYTES } else { 0 };
        slab + SEGMENT_BYTES + self.shape.slab_rows * SCRATCH_BYTES
    }

    /// Appends what fits the last slab (or a new one, if that is full) and returns how many rows that are.
    pub(super) fn append(&mut self, series: u32, t: &[i64], v: &[f64]) -> Result<usize> {
        if self.room() == 0 {
            self.pack_last();
            self.collect(MAX_PACKING)?;
            self.slots.push(Slot::Here(Slab::with_capacity(self.shape.slab_rows)));
        }
        let n = self.room().min(t.len()).min(v.len());
        let goes_on = self.rows.get(series as usize).is_some_and(|&rows| rows > 0);
        let (Some(Slot::Here(slab)), Some(t), Some(v)) = (self.slots.last_mut(), t.get(..n), v.get(..n))
        else {
            return Ok(0);
        };
        self.segments += usize::from(slab.append(series, goes_on, t, v));
        self.count(series as usize, u32::try_from(n).unwrap_or(u32::MAX));
        Ok(n)
    }

    fn count(&mut self, series: usize, rows: u32) {
        if self.rows.len() <= series {
            self.rows.resize(series + 1, 0);
        }
        if let Some(count) = self.rows.get_mut(series) {
            *count = count.saturating_add(rows);
            self.most_rows = self.most_rows.max(*count as usize);
        }
    }

    fn room(&self) -> usize {
        match self.slots.last() {
            Some(Slot::Here(slab)) => self.shape.slab_rows.saturating_sub(slab.len()),
            _ => 0,
        }
    }

    /// Has the last slab packed.
    fn pack_last(&mut self) {
        let Some(Slot::Here(slab)) = self.slots.pop() else { return };
        let (range_ms, times) = (self.shape.range_ms, self.times.clone());
        let (sender, receiver) = sync_channel(1);
        let pack = move || {
            // Nobody waits for it if the load was dropped.
            let _ = sender.send(slab.packed(range_ms, &times));
        };
        match &self.shape.pool {
            Some(pool) => pool.spawn(pack),
            None => pack(),
        }
        self.slots.push(Slot::Packing(receiver));
    }

    /// Waits until at most so many slabs are being packed.
    pub(super) fn collect(&mut self, most: usize) -> Result<()> {
        let mut waiting = self.slots.len() - self.packed;
        for slot in self.slots.iter_mut().skip(self.packed) {
            let Slot::Packing(receiver) = slot else { break };
            if waiting <= most {
                break;
            }
            let lost = |e| Error::io("code samples in", "memory", std::io::Error::other(e));
            let slab = receiver.recv().map_err(lost)?;
            self.packed_bytes += slab.memory_bytes();
            self.loose_rows += slab.len();
            self.packed += 1;
            waiting -= 1;
            *slot = Slot::Here(slab);
        }
        Ok(())
    }

    /// The memory of what [`gather`](Buffer::gather) may pack.
    pub(super) fn loose_bytes(&self) -> usize {
        self.loose_rows * SAMPLE_BYTES
    }

    /// Puts together, and packs, the rows of each of so many series that came since the last time and were not packed yet.
    pub(super) fn gather(&mut self, series: usize) {
        let new = self.slots.drain(self.gathered..self.packed);
        let slabs: Vec<Slab> =
            new.filter_map(|slot| if let Slot::Here(slab) = slot { Some(slab) } else { None }).collect();
        let segments = |slabs: &[Slab]| slabs.iter().map(|slab| slab.segments().len()).sum::<usize>();
        let bytes = |slabs: &[Slab]| slabs.iter().map(Slab::memory_bytes).sum::<usize>();
        let before = segments(&slabs);
        let (ends, places) = by_series(&slabs, series, before);
        let at = |place: &Place| {
            slabs.get(place.0 as usize).and_then(|slab| Some((slab, slab.segments().get(place.1 as usize)?)))
        };
        let Shape { range_ms, pool, .. } = &self.shape;
        let gather = |part: &[Place]| Slab::gathered(part.iter().filter_map(at), *range_ms, &self.times);
        let parts = by_parts(&ends, &places, pool.as_ref().map_or(1, |pool| 4 * pool.current_num_threads()));
        let mut packed: Vec<Slab> = match pool {
            Some(pool) => pool.install(|| parts.par_iter().flat_map_iter(|part| gather(part)).collect()),
            None => parts.iter().flat_map(|part| gather(part)).collect(),
        };
        if let Some(first) = packed.first_mut() {
            first.charge_times(slabs.iter().map(Slab::times_bytes).sum());
        }
        self.segments = self.segments + segments(&packed) - before;
        self.packed_bytes = self.packed_bytes + bytes(&packed) - bytes(&slabs);
        let count = packed.len();
        self.slots.splice(self.gathered..self.gathered, packed.into_iter().map(Slot::Here));
        self.gathered += count;
        self.packed = self.gathered;
        self.loose_rows = 0;
    }

    /// Takes all rows out, sorted by series, which are those of the table.
    pub(super) fn sort<'a>(&mut self, table: &'a Table) -> Result<Sorted<'a>> {
        self.collect(0)?;
        let (memory_bytes, times) = (self.memory_bytes(), self.times.take());
        let taken = std::mem::replace(self, Buffer::new(self.shape.clone()));
        let here = |slot| if let Slot::Here(slab) = slot { Some(slab) } else { None };
        let slabs: Vec<Slab> = taken.slots.into_iter().filter_map(here).collect();
        let (ends, places) = by_series(&slabs, table.len(), taken.segments);
        let with_rows = (0..).zip(&taken.rows).filter(|(_, rows)| **rows > 0).map(|(s, _)| s);
        let order = table.sorted(with_rows).into_iter();
        Ok(Sorted { table, slabs, times, ends, places, order, now: None, scratch: Vec::new(), memory_bytes })
    }
}

/// Lists the segments series by series, in the order of the input within each, and says for each
/// series where in the list its last one is followed by another's: a counting sort.
fn by_series(slabs: &[Slab], series: usize, segments: usize) -> (Vec<u32>, Vec<Place>) {
    let mut ends = vec![0u32; series];
    for segment in slabs.iter().flat_map(Slab::segments) {
        if let Some(count) = ends.get_mut(segment.series as usize) {
            *count += 1;
        }
    }
    // From counts to starts; each start moves up to its end while the list fills.
    let mut start = 0;
    for count in &mut ends {
        start += std::mem::replace(count, start);
    }
    let mut places = vec![(0, 0); segments];
    for (s, slab) in (0..).zip(slabs) {
        for (n, segment) in (0..).zip(slab.segments()) {
            if let Some(at) = ends.get_mut(segment.series as usize) {
                if let Some(place) = places.get_mut(*at as usize) {
                    *place = (s, n);
                }
                *at += 1;
            }
        }
    }
    (ends, places)
}

/// Cuts the list of segments into so many parts or fewer, of about the same length, between series.
fn by_parts<'a>(ends: &[u32], places: &'a [Place], count: usize) -> Vec<&'a [Place]> {
    let (mut parts, mut from) = (Vec::new(), 0);
    for n in 1..=count {
        let wanted = places.len() * n / count;
        let end = ends
            .get(ends.partition_point(|&end| (end as usize) < wanted))
            .map_or(places.len(), |&end| end as usize);
        parts.extend(places.get(from..end).filter(|part| !part.is_empty()));
        from = from.max(end);
    }
    parts
}

/// Sorted samples: a stream of pieces in the order of labels, then time, then input.
#[derive(Debug)]
pub(super) struct Sorted<'a> {
    table: &'a Table,
    slabs: Vec<Slab>,
    times: Vec<Timestamps>,
    ends: Vec<u32>,
    places: Vec<Place>,
    order: std::vec::IntoIter<u32>,
    now: Option<Now>,
    scratch: Vec<(i64, f64)>,
    memory_bytes: usize,
}

/// Where in a series the stream is.
#[derive(Clone, Copy, Debug)]
enum Now {
    /// In time order as it stands: before row or chunk `at` of segment `place`, of those up to `end`.
    Slabs { place: usize, at: usize, end: usize },
    /// In the scratch vector, before this row.
    Scratch(usize),
}

impl Sorted<'_> {
    /// The n-th segment of the list, and its slab.
    fn segment(&self, place: usize) -> Option<(&Slab, &Segment)> {
        let (s, n) = *self.places.get(place)?;
        let slab = self.slabs.get(s as usize)?;
        Some((slab, slab.segments().get(n as usize)?))
    }

    /// Starts a series: decides whether it has to be sorted, and does it.
    fn start(&mut self, series: usize) -> Result<Now> {
        let from =
            series.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        let end = self.ends.get(series).map_or(from, |end| *end as usize);
        if self.in_order(from, end) {
            return Ok(Now::Slabs { place: from, at: 0, end });
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let segments = || (from..end).filter_map(|place| self.segment(place));
        scratch.reserve_exact(segments().map(|(_, segment)| segment.rows as usize).sum());
        for (slab, segment) in segments() {
            let mut at = 0;
            while let Some(part) = slab.part(segment, at) {
                match part {
                    Part::Rows(t, v) => {
                        scratch.extend(t.iter().copied().zip(v.iter().copied()));
                        at += t.len();
                    }
                    Part::Chunk(number) => {
                        let Some(coded) = slab.coded(number, &self.times) else { break };
                        let Columns { t, v } = coded.decode()?;
                        scratch.extend(t.into_iter().zip(v));
                        at += 1;
                    }
                }
            }
        }
        scratch.sort_by_key(|row| row.0);
        self.scratch = scratch;
        Ok(Now::Scratch(0))
    }

    fn in_order(&self, from: usize, end: usize) -> bool {
        let mut last = i64::MIN;
        (from..end).filter_map(|place| self.segment(place)).all(|(slab, segment)| {
            slab.span(segment, &self.times)
                .is_some_and(|(first, to)| std::mem::replace(&mut last, to) <= first)
        })
    }

    /// Moves up to [`MAX_ENTRY_ROWS`] rows of the series, or a chunk, to `piece`; returns where the rest is, if any.
    fn fill(&self, now: Now, piece: &mut Piece) -> Option<Now> {
        match now {
            Now::Scratch(from) => {
                let rows = self.scratch.get(from..).unwrap_or_default();
                for (t, v) in rows.iter().take(MAX_ENTRY_ROWS) {
                    piece.rows.push(*t, *v);
                }
                (rows.len() > MAX_ENTRY_ROWS).then_some(Now::Scratch(from + MAX_ENTRY_ROWS))
            }
            Now::Slabs { mut place, mut at, end } => {
                while place < end && piece.rows.len() < MAX_ENTRY_ROWS {
                    let Some((slab, segment)) = self.segment(place) else { break };
                    match slab.part(segment, at) {
                        Some(Part::Rows(t, v)) => {
                            let n = t.len().min(MAX_ENTRY_ROWS - piece.rows.len());
                            piece.rows.t.extend_from_slice(t.get(..n).unwrap_or_default());
                            piece.rows.v.extend_from_slice(v.get(..n).unwrap_or_default());
                            at += n;
                        }
                        Some(Part::Chunk(number)) => {
                            if piece.rows.is_empty() {
                                piece.coded = slab.coded(number, &self.times);
                                at += 1;
                            }
                            break;
                        }
                        None => (place, at) = (place + 1, 0),
                    }
                }
                // What is left, if it is not the empty end of the last segment.
                while place < end && self.segment(place).is_some_and(|(slab, s)| slab.part(s, at).is_none()) {
                    (place, at) = (place + 1, 0);
                }
                (place < end).then_some(Now::Slabs { place, at, end })
            }
        }
    }
}

impl Input for Sorted<'_> {
    fn next(&mut self, piece: &mut Piece) -> Result<bool> {
        piece.rows.clear();
        piece.coded = None;
        let now = match self.now.take() {
            Some(now) => now,
            None => {
                let Some(series) = self.order.next() else { return Ok(false) };
                piece.labels = self.table.labels(series);
                self.start(series as usize)?
            }
        };
        self.now = self.fill(now, piece);
        Ok(true)
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}
