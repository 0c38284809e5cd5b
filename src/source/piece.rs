//! A chunk as one range sees it: ranked among the sources, trimmed, without what is deleted.
//!
//! ```text
//!   hull      min_t ├──────────────────────┤ max_t        known without reading
//!   deleted            ░░░░░                              of this chunk's source alone
//!   range                  [───────────────────)
//!   visible                  ••••••••••••••               known exactly by decoding
//! ```
//!
//! Since `min_t` and `max_t` are timestamps of rows, a piece *certainly* has a visible row if one
//! of the two is in the range and not deleted. That settles nearly every question of whether a
//! series is empty without decoding; for the rest [`settle`] decodes one piece and keeps its rows.

use std::sync::Arc;

use crate::error::Result;
use crate::model::{Columns, Intervals, TimeRange};

use super::ChunkHandle;
use super::series_merge::Part;

/// One chunk of one source, of which a range sees something (or may).
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// The chunk.
    pub(crate) chunk: ChunkHandle,
    /// The place of its source in the order of falling precedence: at equal times the lower wins.
    pub(crate) rank: usize,
    deleted: Arc<Intervals>,
    /// The visible rows, if [`settle`] had to decode them.
    rows: Option<Arc<Columns>>,
}

/// The pieces of a series that may have rows in `range`, in order of `min_t`.
pub(crate) fn visible(parts: Vec<Part>, range: TimeRange) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(parts.iter().map(|part| part.chunks.len()).sum());
    for Part { rank, chunks, deleted } in parts {
        let seen = chunks.into_iter().filter(|chunk| {
            chunk.rows > 0 && chunk.overlaps(range) && !deleted.covers(chunk.hull().intersection(range))
        });
        pieces.extend(seen.map(|chunk| Piece { chunk, rank, deleted: Arc::clone(&deleted), rows: None }));
    }
    // Each part is in order already, which the stable sort makes use of.
    pieces.sort_by_key(|piece| (piece.chunk.min_t, piece.rank));
    pieces
}

/// Whether the pieces have a row in `range`, exactly. Decodes only where hulls do not tell; what
/// turns out to be empty is removed, what was decoded stays decoded.
pub(crate) fn settle(pieces: &mut Vec<Piece>, range: TimeRange) -> Result<bool> {
    if pieces.iter().any(|piece| piece.is_certain(range)) {
        return Ok(true);
    }
    let mut empty = 0;
    for piece in pieces.iter_mut() {
        let mut rows = Columns::default();
        piece.read(range, &mut rows)?;
        if !rows.is_empty() {
            piece.rows = Some(Arc::new(rows));
            break;
        }
        empty += 1;
    }
    pieces.drain(..empty);
    Ok(!pieces.is_empty())
}

impl Piece {
    /// Whether a row is visible in `range`, as far as the hull tells.
    pub(crate) fn is_certain(&self, range: TimeRange) -> bool {
        [self.chunk.min_t, self.chunk.max_t]
            .into_iter()
            .any(|t| range.contains(t) && !self.deleted.contains(t))
    }

    /// Whether `range` sees every row.
    pub(crate) fn is_whole(&self, range: TimeRange) -> bool {
        let hull = self.chunk.hull();
        range.covers(hull) && !self.deleted.overlaps(hull)
    }

    /// The most rows that [`read`](Piece::read) appends.
    pub(crate) fn max_rows(&self) -> usize {
        usize::try_from(self.chunk.rows).unwrap_or(usize::MAX)
    }

    /// Appends the rows visible in `range` to `out`; on an error `out` is as it was.
    pub(crate) fn read(&self, range: TimeRange, out: &mut Columns) -> Result<()> {
        let before = out.len();
        match &self.rows {
            Some(rows) => {
                out.t.extend_from_slice(&rows.t);
                out.v.extend_from_slice(&rows.v);
            }
            None => self.chunk.decode_into(range, out)?,
        }
        trim(out, before, range);
        if self.rows.is_none() && !self.deleted.is_empty() {
            remove_deleted(out, before, &self.deleted);
        }
        Ok(())
    }
}

/// Drops what is outside `range` of the rows from `before` on.
fn trim(out: &mut Columns, before: usize, range: TimeRange) {
    let t = out.t.get(before..).unwrap_or_default();
    let start = before + t.partition_point(|t| *t < range.start());
    let end = before + t.partition_point(|t| *t < range.end());
    out.t.truncate(end);
    out.v.truncate(end);
    let start = start.min(end);
    if start > before {
        out.t.drain(before..start);
        out.v.drain(before..start);
    }
}

/// Drops the deleted of the rows from `before` on.
fn remove_deleted(out: &mut Columns, before: usize, deleted: &Intervals) {
    let (Some(&first), Some(&last)) = (out.t.get(before), out.t.last()) else { return };
    if !deleted.overlaps(TimeRange::inclusive(first, last)) {
        return;
    }
    let (t, v) = (out.t.split_off(before), out.v.split_off(before));
    for (t, v) in t.into_iter().zip(v).filter(|(t, _)| !deleted.contains(*t)) {
        out.push(t, v);
    }
}
