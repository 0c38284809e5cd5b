//! A fixed amount of rows in the order in which they came, and the same packed.
//!
//! ```text
//!   filling   rows:    [· · · · · · · · · · · ·]    segments: (series 4, rows 0..3) (series 1, rows 3..12)
//!   packed    rows:    [· · ·]                      segments: (series 4, rows 0..3) (series 1, chunks 0..2)
//!             chunks:  [column of timestamps, bytes] [column of timestamps, bytes]
//! ```
//!
//! A full slab is packed, beside the thread that fills the next: stretches of a series become chunks of columns, cut as if
//! nothing came before or after them, so that most are copied into a block as they are. That takes a tenth of the memory, and
//! coding, which is most of the work after parsing, is done by then. A stretch keeps its rows if it is out of time order; if it is
//! short, and others did not have its timestamps: a column of its own would take as much as the rows do; and if it goes on with a
//! series but would not fill a chunk, which would be coded again with what stands before. Where a chunk cannot stay as it
//! was cut, it is decoded: packing changes nothing but the cost.
//!
//! A dump that is written scrape by scrape gives a few rows of each series at a time, which stay rows. When they fill the memory, they are
//! *gathered*: those of a series that came since the last time become one stretch, which is packed.

use super::merge::Coded;
use super::ranges::range_of;
use super::times::TimesPool;
use crate::block::window;
use crate::format::chunk::Timestamps;
use crate::format::columns::values;
use crate::model::Columns;

/// A stretch that goes on with a series is packed if it has so many rows.
const FULL_ROWS: usize = window::SMALL_ROWS;
/// A column of timestamps for so many rows pays, even if no other series has them.
const LONG_ROWS: usize = 60;
/// A stretch of fewer rows is not packed.
const PACK_ROWS: usize = 4;
/// The most rows of a segment that is gathered, but for those of the one that reaches it.
const GATHERED_ROWS: usize = 1 << 20;
/// A slab of what is gathered ends with the segment that makes it so many bytes or rows: far below what 32 bits can say.
const GATHERED_BYTES: usize = 1 << 27;

/// Rows of one series, consecutive in one slab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Whose they are.
    pub(super) series: u32,
    /// The first row, or the first chunk.
    from: u32,
    /// The number of rows.
    pub(super) rows: u32,
    /// The number of chunks; 0 if it is not packed.
    chunks: u32,
    /// Whether rows of the series came before.
    goes_on: bool,
}

/// Some rows of a series in coded form.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    last_v: f64,
    /// The number of its column of timestamps.
    times: u32,
    /// Where its bytes begin; they end where those of the next one begin.
    start: u32,
}

/// A part of a segment.
pub(super) enum Part<'a> {
    /// Rows.
    Rows(&'a [i64], &'a [f64]),
    /// The chunk with this number.
    Chunk(usize),
}

/// A fixed amount of rows.
#[derive(Debug, Default)]
pub(super) struct Slab {
    rows: Columns,
    segments: Vec<Segment>,
    chunks: Vec<Chunk>,
    bytes: Vec<u8>,
    /// The memory of the columns of timestamps that were new here.
    times_bytes: usize,
}

impl Slab {
    /// An empty one with room for so many rows.
    pub(super) fn with_capacity(rows: usize) -> Slab {
        let rows = Columns { t: Vec::with_capacity(rows), v: Vec::with_capacity(rows) };
        Slab { rows, ..Slab::default() }
    }

    /// The rows that are not packed.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Rows and chunks of series, in the order in which they came.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The memory of rows and chunks.
    pub(super) fn memory_bytes(&self) -> usize {
        let chunks = size_of::<Chunk>() * self.chunks.capacity() + self.bytes.capacity();
        16 * self.rows.t.capacity() + chunks + self.times_bytes
    }

    /// Appends rows of a series, of which others came before or not; says whether that made a segment.
    pub(super) fn append(&mut self, series: u32, goes_on: bool, t: &[i64], v: &[f64]) -> bool {
        let (from, rows) = (small(self.rows.len()), small(t.len()));
        self.rows.t.extend_from_slice(t);
        self.rows.v.extend_from_slice(v);
        match self.segments.last_mut() {
            Some(last) if last.series == series => {
                last.rows += rows;
                false
            }
            _ => {
                self.segments.push(Segment { series, from, rows, chunks: 0, goes_on });
                true
            }
        }
    }

    /// What a segment begins with from row or chunk `at` on; `None` at its end.
    pub(super) fn part(&self, segment: &Segment, at: usize) -> Option<Part<'_>> {
        let from = segment.from as usize;
        if segment.chunks > 0 {
            return (at < segment.chunks as usize).then_some(Part::Chunk(from + at));
        }
        let range = from + at..from + segment.rows as usize;
        let (t, v) = (self.rows.t.get(range.clone())?, self.rows.v.get(range)?);
        (!t.is_empty()).then_some(Part::Rows(t, v))
    }

    /// First and last timestamp of a segment; `None` if its rows are out of order.
    pub(super) fn span(&self, segment: &Segment, times: &[Timestamps]) -> Option<(i64, i64)> {
        match self.part(segment, 0)? {
            Part::Rows(t, _) => t.is_sorted().then_some((*t.first()?, *t.last()?)),
            Part::Chunk(first) => {
                let last = first + segment.chunks as usize - 1;
                let column = |number: usize| times.get(self.chunks.get(number)?.times as usize);
                Some((*column(first)?.first()?, *column(last)?.last()?))
            }
        }
    }

    /// A chunk by its number.
    pub(super) fn coded(&self, number: usize, times: &[Timestamps]) -> Option<Coded> {
        let chunk = self.chunks.get(number)?;
        let values = self.bytes_of(number)?.to_vec();
        Some(Coded { t: times.get(chunk.times as usize)?.clone(), values, last_v: chunk.last_v })
    }

    /// The same rows, packed for blocks of ranges of this length.
    pub(super) fn packed(self, range_ms: i64, times: &TimesPool) -> Slab {
        if !self.segments.iter().any(Segment::may_pack) {
            return self;
        }
        let mut out = Slab { segments: Vec::with_capacity(self.segments.len()), ..Slab::default() };
        for segment in &self.segments {
            let Some(Part::Rows(t, v)) = self.part(segment, 0) else { continue };
            if !segment.may_pack() || !ascends(t) || !out.pack(segment, (t, v), range_ms, times) {
                out.segments.push(Segment { from: small(out.rows.len()), ..*segment });
                out.rows.t.extend_from_slice(t);
                out.rows.v.extend_from_slice(v);
            }
        }
        out.shrink();
        out
    }

    /// Adds a segment as chunks, cut at the ends of ranges, too; false, and nothing is added, if that does not pay.
    fn pack(
        &mut self,
        segment: &Segment,
        (mut t, mut v): (&[i64], &[f64]),
        range_ms: i64,
        times: &TimesPool,
    ) -> bool {
        let (from, pays) = (self.chunks.len(), t.len() >= LONG_ROWS);
        while let Some(&first) = t.first() {
            let inside = t.partition_point(|&t| t < range_of(first, range_ms).end()).max(1);
            let n = window::rows(t.get(..inside).unwrap_or_default());
            let (Some((t_now, t_rest)), Some((v_now, v_rest))) =
                (t.split_at_checked(n), v.split_at_checked(n))
            else {
                break;
            };
            let Some(place) = times.place(t_now, pays) else {
                self.bytes.truncate(self.chunks.get(from).map_or(self.bytes.len(), |c| c.start as usize));
                self.chunks.truncate(from);
                return false;
            };
            self.times_bytes += place.new_bytes;
            self.encode(place.column, v_now);
            (t, v) = (t_rest, v_rest);
        }
        let chunks = small(self.chunks.len() - from);
        self.segments.push(Segment { from: small(from), chunks, ..*segment });
        true
    }

    /// The same rows in as few segments as may be: `segments` come by series, those of one in the order of the input. Neighbours that are
    /// not packed become one, which is packed if that pays; packed ones stay as they are.
    pub(super) fn gathered<'a>(
        segments: impl Iterator<Item = (&'a Slab, &'a Segment)>,
        range_ms: i64,
        times: &TimesPool,
    ) -> Vec<Slab> {
        let (mut all, mut out, mut rows, mut whose) = (Vec::new(), Slab::default(), Columns::default(), 0);
        for (slab, segment) in segments {
            if segment.series != whose || segment.chunks > 0 || rows.len() >= GATHERED_ROWS {
                out.close(whose, &mut rows, range_ms, times);
                if out.bytes.len().max(out.rows.len()) >= GATHERED_BYTES {
                    all.push(std::mem::take(&mut out));
                }
            }
            whose = segment.series;
            match slab.part(segment, 0) {
                Some(Part::Rows(t, v)) => {
                    rows.t.extend_from_slice(t);
                    rows.v.extend_from_slice(v);
                }
                Some(Part::Chunk(first)) => out.copy(slab, segment, first),
                None => {}
            }
        }
        out.close(whose, &mut rows, range_ms, times);
        all.push(out);
        all.iter_mut().for_each(Slab::shrink);
        all
    }

    /// Makes a segment of these rows, and empties them.
    fn close(&mut self, series: u32, rows: &mut Columns, range_ms: i64, times: &TimesPool) {
        if rows.is_empty() {
            return;
        }
        let from = small(self.rows.len());
        let segment = Segment { series, from, rows: small(rows.len()), chunks: 0, goes_on: true };
        let packs = rows.len() >= PACK_ROWS && ascends(&rows.t);
        if !packs || !self.pack(&segment, (&rows.t, &rows.v), range_ms, times) {
            self.segments.push(segment);
            self.rows.t.extend_from_slice(&rows.t);
            self.rows.v.extend_from_slice(&rows.v);
        }
        rows.clear();
    }

    /// Adds a segment of chunks as it is.
    fn copy(&mut self, slab: &Slab, segment: &Segment, first: usize) {
        let from = small(self.chunks.len());
        for number in first..first + segment.chunks as usize {
            let (Some(chunk), Some(bytes)) = (slab.chunks.get(number), slab.bytes_of(number)) else {
                continue;
            };
            self.chunks.push(Chunk { start: small(self.bytes.len()), ..*chunk });
            self.bytes.extend_from_slice(bytes);
        }
        self.segments.push(Segment { from, ..*segment });
    }

    /// The memory of columns of timestamps of slabs that go.
    pub(super) fn charge_times(&mut self, bytes: usize) {
        self.times_bytes += bytes;
    }

    /// The memory of the columns of timestamps that were new here.
    pub(super) fn times_bytes(&self) -> usize {
        self.times_bytes
    }

    fn shrink(&mut self) {
        self.rows.t.shrink_to_fit();
        self.rows.v.shrink_to_fit();
        self.segments.shrink_to_fit();
        self.chunks.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    fn bytes_of(&self, number: usize) -> Option<&[u8]> {
        let start = self.chunks.get(number)?.start as usize;
        let end = self.chunks.get(number + 1).map_or(self.bytes.len(), |next| next.start as usize);
        self.bytes.get(start..end)
    }

    fn encode(&mut self, times: u32, v: &[f64]) {
        let Some(&last_v) = v.last() else { return };
        self.chunks.push(Chunk { last_v, times, start: small(self.bytes.len()) });
        self.bytes.extend_from_slice(&values::encode(v));
    }
}

impl Segment {
    /// Whether packing may pay.
    fn may_pack(&self) -> bool {
        self.rows as usize >= if self.goes_on { FULL_ROWS } else { PACK_ROWS }
    }
}

fn ascends(t: &[i64]) -> bool {
    t.iter().zip(t.iter().skip(1)).all(|(a, b)| a < b)
}

/// Rows of a slab, their number and their bytes are far below 2^32.
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
