//! A fixed amount of rows in the order in which they came, and the same packed.
//!
//! ```text
//!   filling   rows:    [· · · · · · · · · · · ·]    segments: (series 4, rows 0..3) (series 1, rows 3..12)
//!   packed    rows:    [· · ·]                      segments: (series 4, rows 0..3) (series 1, chunks 0..2)
//!             chunks:  [t₀ … t₁, bytes] [t₂ … t₃, bytes]
//! ```
//!
//! A full slab is packed, beside the thread that fills the next: long stretches of a series become chunks, cut where
//! the blocks' chunks will be, so that most are copied into a block as they are. That takes a sixth of the memory, and
//! coding, which is most of the work after parsing, is done by then. A stretch that is short or out of time order
//! keeps its rows, and so does what goes on with a series in the middle of a chunk. Where a chunk cannot stay as it
//! was cut, it is decoded again: packing changes nothing but the cost.

use super::cut::CHUNK_ROWS;
use super::merge::Coded;
use super::ranges::range_of;
use crate::block::NewChunk;
use crate::format::chunk::{EncodedChunk, Encoding};
use crate::format::gorilla;
use crate::model::Columns;

/// A stretch of fewer rows is not packed.
const PACK_ROWS: usize = 60;

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
    /// The rows that came of this series before.
    before: u32,
}

/// Some rows of a series in coded form.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    min_t: i64,
    max_t: i64,
    last_v: f64,
    rows: u32,
    start: u32,
    end: u32,
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
        16 * self.rows.t.capacity() + size_of::<Chunk>() * self.chunks.capacity() + self.bytes.capacity()
    }

    /// Appends rows of a series that had so many rows before; says whether that made a segment.
    pub(super) fn append(&mut self, series: u32, before: u32, t: &[i64], v: &[f64]) -> bool {
        let (from, rows) = (small(self.rows.len()), small(t.len()));
        self.rows.t.extend_from_slice(t);
        self.rows.v.extend_from_slice(v);
        match self.segments.last_mut() {
            Some(last) if last.series == series => {
                last.rows += rows;
                false
            }
            _ => {
                self.segments.push(Segment { series, from, rows, chunks: 0, before });
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
    pub(super) fn span(&self, segment: &Segment) -> Option<(i64, i64)> {
        match self.part(segment, 0)? {
            Part::Rows(t, _) => t.is_sorted().then_some((*t.first()?, *t.last()?)),
            Part::Chunk(first) => {
                let last = first + segment.chunks as usize - 1;
                Some((self.chunks.get(first)?.min_t, self.chunks.get(last)?.max_t))
            }
        }
    }

    /// A chunk by its number.
    pub(super) fn coded(&self, number: usize) -> Option<Coded> {
        let chunk = self.chunks.get(number)?;
        let payload = self.bytes.get(chunk.start as usize..chunk.end as usize)?.to_vec();
        let Chunk { min_t, max_t, rows, last_v, .. } = *chunk;
        let chunk = EncodedChunk { encoding: Encoding::Gorilla, payload };
        Some(Coded { chunk: NewChunk { min_t, max_t, rows, chunk }, last_v })
    }

    /// The same rows, packed for blocks of ranges of this length.
    pub(super) fn packed(self, range_ms: i64) -> Slab {
        if self.segments.iter().all(|segment| (segment.rows as usize) < PACK_ROWS) {
            return self;
        }
        let mut out = Slab { segments: Vec::with_capacity(self.segments.len()), ..Slab::default() };
        for segment in &self.segments {
            let Some(Part::Rows(t, v)) = self.part(segment, 0) else { continue };
            let ascends = t.iter().zip(t.iter().skip(1)).all(|(a, b)| a < b);
            // Chunks that begin elsewhere than the blocks' would be coded for nothing.
            let aligned = (segment.before as usize).is_multiple_of(CHUNK_ROWS);
            if t.len() >= PACK_ROWS && ascends && aligned {
                out.pack(segment, t, v, range_ms);
                continue;
            }
            out.segments.push(Segment { from: small(out.rows.len()), ..*segment });
            out.rows.t.extend_from_slice(t);
            out.rows.v.extend_from_slice(v);
        }
        out.rows.t.shrink_to_fit();
        out.rows.v.shrink_to_fit();
        out.chunks.shrink_to_fit();
        out.bytes.shrink_to_fit();
        out
    }

    /// Adds a segment as chunks: of as many rows as the blocks' have, and cut at the ends of ranges.
    fn pack(&mut self, segment: &Segment, mut t: &[i64], mut v: &[f64], range_ms: i64) {
        let from = self.chunks.len();
        while let Some(&first) = t.first() {
            let range = range_of(first, range_ms);
            let inside = t.partition_point(|&t| t < range.end());
            let n = inside.clamp(1, CHUNK_ROWS);
            let (Some((t_now, t_rest)), Some((v_now, v_rest))) =
                (t.split_at_checked(n), v.split_at_checked(n))
            else {
                break;
            };
            self.encode(t_now, v_now);
            (t, v) = (t_rest, v_rest);
        }
        let chunks = small(self.chunks.len() - from);
        self.segments.push(Segment { from: small(from), chunks, ..*segment });
    }

    fn encode(&mut self, t: &[i64], v: &[f64]) {
        let (Some(&min_t), Some(&max_t), Some(&last_v)) = (t.first(), t.last(), v.last()) else { return };
        let start = small(self.bytes.len());
        self.bytes.extend_from_slice(&gorilla::encode(t, v));
        let (rows, end) = (small(t.len()), small(self.bytes.len()));
        self.chunks.push(Chunk { min_t, max_t, last_v, rows, start, end });
    }
}

/// Rows of a slab, their number and their bytes are far below 2^32.
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
