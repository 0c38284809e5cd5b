//! Samples in memory: as they come in, then sorted.
//!
//! ```text
//!   slab 0   t: [· · · · · · · ·]  v: [· · · · · · · ·]   segments: (series 4, rows 0..3) (series 1, rows 3..8)
//!   slab 1   t: [· · · ·        ]  v: [· · · ·        ]   segments: (series 4, rows 0..4)
//! ```
//!
//! What comes in is copied to the end of the last slab, whatever its series, and a segment says
//! whose it is: nothing is allocated for a series, so that two million series with a sample each
//! cost what two million samples cost. [`Buffer::sort`] lists the segments by series (a counting
//! sort, which keeps the order of the input within each), and [`Sorted`] then gives the series in
//! label order. A series whose rows are in time order already is copied out of its slabs;
//! otherwise it is gathered and sorted, stably, in one scratch vector, whose size is reckoned with
//! beforehand ([`Buffer::memory_bytes`]).
//!
//! Cost: 16 bytes a sample, 20 a segment (an [`extend`](super::Loader::extend) of another series
//! than the one before), 32 for each row of the largest series.

use super::merge::{Input, Piece};
use crate::error::Result;
use crate::format::spill_run::MAX_ENTRY_ROWS;
use crate::model::{Columns, Labels};

/// Memory of a segment: itself, and its place in the list by series.
const SEGMENT_BYTES: usize = size_of::<Segment>() + size_of::<Place>();
/// Memory of a sample.
pub(super) const SAMPLE_BYTES: usize = 16;
/// Scratch for a row of a series that is sorted: the pair, and what a stable sort needs at worst.
const SCRATCH_BYTES: usize = 32;

/// Rows of one series, consecutive in one slab.
#[derive(Clone, Copy, Debug)]
struct Segment {
    series: u32,
    from: u32,
    rows: u32,
}

/// Where a segment is: slab, and number within it.
type Place = (u32, u32);

/// A fixed amount of rows.
#[derive(Debug)]
struct Slab {
    t: Vec<i64>,
    v: Vec<f64>,
    segments: Vec<Segment>,
}

/// Samples in the order in which they came.
#[derive(Debug)]
pub(super) struct Buffer {
    slab_rows: usize,
    slabs: Vec<Slab>,
    segments: usize,
    /// Rows of each series, by number.
    rows: Vec<u32>,
    most_rows: usize,
}

impl Buffer {
    /// An empty buffer that grows by `slab_rows` at a time (at least 1, at most 2^31).
    pub(super) fn new(slab_rows: usize) -> Buffer {
        Buffer { slab_rows, slabs: Vec::new(), segments: 0, rows: Vec::new(), most_rows: 0 }
    }

    /// Whether it holds no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.slabs.is_empty()
    }

    /// The memory that it holds, and that sorting it will take; what the series themselves take is the table's.
    pub(super) fn memory_bytes(&self) -> usize {
        self.slabs.len() * self.slab_rows * SAMPLE_BYTES
            + self.segments * SEGMENT_BYTES
            + self.most_rows * SCRATCH_BYTES
    }

    /// How much [`memory_bytes`](Buffer::memory_bytes) may grow by the next `append`.
    pub(super) fn growth_bytes(&self) -> usize {
        let slab = if self.room() == 0 { self.slab_rows * SAMPLE_BYTES } else { 0 };
        slab + SEGMENT_BYTES + self.slab_rows * SCRATCH_BYTES
    }

    /// Appends what fits the last slab (or a new one, if that is full) and returns how many rows that are.
    pub(super) fn append(&mut self, series: u32, t: &[i64], v: &[f64]) -> usize {
        if self.room() == 0 {
            let (t, v) = (Vec::with_capacity(self.slab_rows), Vec::with_capacity(self.slab_rows));
            self.slabs.push(Slab { t, v, segments: Vec::new() });
        }
        let n = self.room().min(t.len()).min(v.len());
        let (Some(slab), Some(t), Some(v)) = (self.slabs.last_mut(), t.get(..n), v.get(..n)) else {
            return 0;
        };
        let (from, rows) = (small(slab.t.len()), small(n));
        slab.t.extend_from_slice(t);
        slab.v.extend_from_slice(v);
        match slab.segments.last_mut() {
            Some(last) if last.series == series => last.rows += rows,
            _ => {
                slab.segments.push(Segment { series, from, rows });
                self.segments += 1;
            }
        }
        self.count(series as usize, rows);
        n
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
        self.slabs.last().map_or(0, |slab| self.slab_rows.saturating_sub(slab.t.len()))
    }

    /// Takes all rows out, sorted by series; `labels` are the label sets by number.
    pub(super) fn sort<'a>(&mut self, labels: &'a [Labels]) -> Sorted<'a> {
        let memory_bytes = self.memory_bytes();
        let taken = std::mem::replace(self, Buffer::new(self.slab_rows));
        let (ends, places) = by_series(&taken.slabs, labels.len(), taken.segments);
        let mut order: Vec<u32> =
            (0..).zip(&taken.rows).filter(|(_, rows)| **rows > 0).map(|(s, _)| s).collect();
        order.sort_unstable_by(|a, b| labels.get(*a as usize).cmp(&labels.get(*b as usize)));
        let (slabs, order) = (taken.slabs, order.into_iter());
        Sorted { labels, slabs, ends, places, order, now: None, scratch: Vec::new(), memory_bytes }
    }
}

/// Rows of a slab, and their number, are far below 2^32.
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Lists the segments series by series, in the order of the input within each, and says for each
/// series where in the list its last one is followed by another's: a counting sort.
fn by_series(slabs: &[Slab], series: usize, segments: usize) -> (Vec<u32>, Vec<Place>) {
    let mut ends = vec![0u32; series];
    for segment in slabs.iter().flat_map(|slab| &slab.segments) {
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
        for (n, segment) in (0..).zip(&slab.segments) {
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

/// Sorted samples: a stream of pieces in the order of labels, then time, then input.
#[derive(Debug)]
pub(super) struct Sorted<'a> {
    labels: &'a [Labels],
    slabs: Vec<Slab>,
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
    /// In time order as it stands: before row `row` of segment `place`, of those up to `end`.
    Slabs { place: usize, row: usize, end: usize },
    /// In the scratch vector, before this row.
    Scratch(usize),
}

impl Sorted<'_> {
    /// The rows of the n-th segment of the list.
    fn rows(&self, place: usize) -> (&[i64], &[f64]) {
        let find = || {
            let (s, n) = *self.places.get(place)?;
            let slab = self.slabs.get(s as usize)?;
            let segment = slab.segments.get(n as usize)?;
            let range = segment.from as usize..(segment.from + segment.rows) as usize;
            Some((slab.t.get(range.clone())?, slab.v.get(range)?))
        };
        find().unwrap_or_default()
    }

    /// Starts a series: decides whether it has to be sorted, and does it.
    fn start(&mut self, series: usize) -> Now {
        let from =
            series.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        let end = self.ends.get(series).map_or(from, |end| *end as usize);
        if self.in_order(from, end) {
            return Now::Slabs { place: from, row: 0, end };
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.reserve_exact((from..end).map(|place| self.rows(place).0.len()).sum());
        for place in from..end {
            let (t, v) = self.rows(place);
            scratch.extend(t.iter().copied().zip(v.iter().copied()));
        }
        scratch.sort_by_key(|row| row.0);
        self.scratch = scratch;
        Now::Scratch(0)
    }

    fn in_order(&self, from: usize, end: usize) -> bool {
        let mut last = i64::MIN;
        (from..end).all(|place| {
            let (t, _) = self.rows(place);
            let follows = t.first().is_none_or(|first| last <= *first) && t.is_sorted();
            last = t.last().copied().unwrap_or(last);
            follows
        })
    }

    /// Moves up to [`MAX_ENTRY_ROWS`] rows of the series to `out`, and returns where the rest is, if any.
    fn fill(&self, now: Now, out: &mut Columns) -> Option<Now> {
        match now {
            Now::Scratch(from) => {
                let rows = self.scratch.get(from..).unwrap_or_default();
                for (t, v) in rows.iter().take(MAX_ENTRY_ROWS) {
                    out.push(*t, *v);
                }
                (rows.len() > MAX_ENTRY_ROWS).then_some(Now::Scratch(from + MAX_ENTRY_ROWS))
            }
            Now::Slabs { mut place, mut row, end } => {
                while place < end && out.len() < MAX_ENTRY_ROWS {
                    let (t, v) = self.rows(place);
                    let to = t.len().min(row + MAX_ENTRY_ROWS - out.len());
                    out.t.extend_from_slice(t.get(row..to).unwrap_or_default());
                    out.v.extend_from_slice(v.get(row..to).unwrap_or_default());
                    (place, row) = if to == t.len() { (place + 1, 0) } else { (place, to) };
                }
                (place < end).then_some(Now::Slabs { place, row, end })
            }
        }
    }
}

impl Input for Sorted<'_> {
    fn next(&mut self, piece: &mut Piece) -> Result<bool> {
        piece.rows.clear();
        let now = match self.now.take() {
            Some(now) => now,
            None => {
                let Some(series) = self.order.next() else { return Ok(false) };
                piece.labels = self.labels.get(series as usize).cloned();
                self.start(series as usize)
            }
        };
        self.now = self.fill(now, &mut piece.rows);
        Ok(true)
    }

    fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}
