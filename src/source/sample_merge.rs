//! The samples of overlapping pieces in time order, each timestamp once.
//!
//! ```text
//!   pieces by min_t   ├── A ──┤ ├── B ───────────┤              ├── F ──┤
//!                                     ├── C ──┤  ├── D ──┤
//!   read              whole: direct │ heap of cursors, in runs │ whole: direct
//! ```
//!
//! A piece that no other overlaps is decoded straight into the caller's columns. Otherwise a
//! piece is decoded into a cursor once the merge has come to its `min_t`, and the cursor with the
//! least (time, rank) gives a run of rows, up to where the next cursor or piece begins; at an
//! equal time the lower rank wins and the others skip the row. `range.start` moves along behind
//! what was given out, so that skipping, seeking and trimming are one mechanism: rows before it
//! are never given out, and pieces that end before it are never decoded.
//!
//! Where runs are short, the cursors are woven: row by row, the least of all, without the heap, until one ends.
//!
//! Memory: the chunks that overlap at one time. Cost: a copy for each row, and for each run a heap
//! operation logarithmic in those chunks; woven, a look at each of them for each row.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::{Cancel, Columns, TimeRange};

use super::Piece;

/// After a run of fewer rows, cursors are woven.
const SHORT_RUN: usize = 8;

/// Pieces of one series, merged as they are read.
pub(crate) struct SampleMerge {
    pieces: Arc<[Piece]>,
    /// Those of `pieces` that are not opened yet.
    pending: Range<usize>,
    /// What may still be given out.
    range: TimeRange,
    open: BinaryHeap<Reverse<Cursor>>,
    /// Columns of finished cursors, to be used again.
    spare: Vec<Columns>,
    /// An error that waits until the rows before it were given out.
    failure: Option<Error>,
}

/// The decoded rows of one piece, from `at` on; never without a row.
struct Cursor {
    /// The time of the row at `at`.
    t: i64,
    rank: usize,
    at: usize,
    rows: Columns,
}

impl SampleMerge {
    /// Merges `span` of `pieces`, which are in order of `min_t`, over `range`.
    pub(crate) fn new(pieces: Arc<[Piece]>, span: Range<usize>, range: TimeRange) -> SampleMerge {
        let (open, spare) = (BinaryHeap::new(), Vec::new());
        SampleMerge { pieces, pending: span, range, open, spare, failure: None }
    }

    /// Goes on at the first sample at or after `t`; never back. Decodes nothing.
    pub(crate) fn seek(&mut self, t: i64) {
        self.range = TimeRange::new(self.range.start().max(t), self.range.end());
    }

    /// Appends samples to `out` until it has appended `enough`, never more than `max`; returns how
    /// many, 0 at the end. Rows before damage are given out before the error; after it this is the end.
    pub(crate) fn read_into(
        &mut self,
        enough: usize,
        max: usize,
        cancel: &Cancel,
        out: &mut Columns,
    ) -> Result<usize> {
        let before = out.len();
        while out.len() - before < enough.min(max) && self.failure.is_none() {
            match self.step(max - (out.len() - before), cancel, out) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.fail(error),
            }
        }
        match self.failure.take_if(|_| out.len() == before) {
            Some(error) => Err(error),
            None => Ok(out.len() - before),
        }
    }

    /// Ends it: the next read returns this error.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure = Some(error);
        self.pending = 0..0;
        self.open.clear();
    }

    /// Does the next small thing, which may append up to `room` rows; `false` at the end.
    fn step(&mut self, room: usize, cancel: &Cancel, out: &mut Columns) -> Result<bool> {
        self.skip_pending();
        let pieces = self.pieces.get(self.pending.clone()).unwrap_or_default();
        let coming_t = pieces.first().map(|piece| piece.chunk.min_t);
        let head_t = self.open.peek().map(|Reverse(cursor)| cursor.t);
        match (coming_t, head_t) {
            (None, None) => return Ok(false),
            (Some(_), None) if fits_alone(pieces, room) => {
                cancel.check()?;
                self.read_alone(out)?;
            }
            (Some(coming_t), head_t) if head_t.is_none_or(|t| coming_t <= t) => {
                cancel.check()?;
                self.open_pending()?;
            }
            (coming_t, _) => self.run(coming_t.unwrap_or(i64::MAX), room, out),
        }
        Ok(true)
    }

    /// Passes over pieces that end before what is wanted, or begin after it.
    fn skip_pending(&mut self) {
        let pieces = self.pieces.get(self.pending.clone()).unwrap_or_default();
        let passed = pieces.iter().take_while(|piece| !piece.chunk.overlaps(self.range)).count();
        self.pending.start += passed;
    }

    /// Decodes the next piece, which overlaps no other, straight into `out`.
    fn read_alone(&mut self, out: &mut Columns) -> Result<()> {
        let Some(piece) = self.pieces.get(self.pending.start) else { return Ok(()) };
        piece.read(self.range, out)?;
        let end = piece.chunk.hull().end();
        self.pending.start += 1;
        self.seek(end);
        Ok(())
    }

    /// Decodes the next piece into a cursor.
    fn open_pending(&mut self) -> Result<()> {
        let Some(piece) = self.pieces.get(self.pending.start) else { return Ok(()) };
        let mut rows = self.spare.pop().unwrap_or_default();
        piece.read(self.range, &mut rows)?;
        let rank = piece.rank;
        self.pending.start += 1;
        self.put_back(rank, 0, rows);
        Ok(())
    }

    /// Gives out rows of the foremost cursor, at most `room`, up to the next cursor's and `bound`.
    fn run(&mut self, coming_t: i64, room: usize, out: &mut Columns) {
        let Some(Reverse(Cursor { rank, mut at, rows, .. })) = self.open.pop() else { return };
        let t = rows.t.get(at..).unwrap_or_default();
        let stale = t.partition_point(|t| *t < self.range.start());
        if stale > 0 {
            // Given out by another source, or sought past.
            return self.put_back(rank, at + stale, rows);
        }
        let bound = self.open.peek().map_or(coming_t, |Reverse(next)| next.t.min(coming_t));
        // At an equal time this cursor goes first, having the lower rank: one row at least.
        let count = match t.get(1) {
            Some(second) if *second < bound => t.partition_point(|t| *t < bound).min(room),
            _ => room.min(1),
        };
        let run = at..at + count;
        out.t.extend_from_slice(rows.t.get(run.clone()).unwrap_or_default());
        out.v.extend_from_slice(rows.v.get(run).unwrap_or_default());
        at += count;
        if count < SHORT_RUN.min(room) && !self.open.is_empty() {
            self.after_last(out);
            self.put_back(rank, at, rows);
            return self.weave(coming_t, room - count, out);
        }
        self.after_last(out);
        self.put_back(rank, at, rows);
    }

    /// Gives out rows of all cursors one by one, at most `room`, until one of them ends or at `bound`.
    fn weave(&mut self, bound: i64, room: usize, out: &mut Columns) {
        let start = self.range.start();
        let mut cursors: Vec<Cursor> = std::mem::take(&mut self.open).into_iter().map(|c| c.0).collect();
        cursors.sort_by_key(|cursor| cursor.rank);
        let mut ended = !cursors.iter_mut().all(|cursor| cursor.pass_over(start));
        for _ in 0..room {
            let first = cursors.iter().min_by_key(|cursor| cursor.t);
            let row = first.and_then(|c| Some((c.t, *c.rows.v.get(c.at)?)));
            let Some((t, v)) = row.filter(|(t, _)| *t < bound && !ended) else { break };
            out.push(t, v);
            for cursor in cursors.iter_mut().filter(|cursor| cursor.t == t) {
                ended |= !cursor.advance();
            }
        }
        self.after_last(out);
        cursors.into_iter().for_each(|cursor| self.put_back(cursor.rank, cursor.at, cursor.rows));
    }

    /// Goes on behind the last row of `out`.
    fn after_last(&mut self, out: &Columns) {
        if let Some(last) = out.t.last() {
            self.seek(last.saturating_add(1));
        }
    }

    /// Puts a cursor into the heap, or keeps its columns if it has no more rows.
    fn put_back(&mut self, rank: usize, at: usize, mut rows: Columns) {
        match rows.t.get(at) {
            Some(&t) => self.open.push(Reverse(Cursor { t, rank, at, rows })),
            None => {
                rows.clear();
                self.spare.push(rows);
            }
        }
    }
}

impl Cursor {
    /// Goes to the next row; whether there is one.
    fn advance(&mut self) -> bool {
        self.at += 1;
        let next = self.rows.t.get(self.at).copied();
        self.t = next.unwrap_or(self.t);
        next.is_some()
    }

    /// Goes to the first row at or after `t`; whether there is one.
    fn pass_over(&mut self, t: i64) -> bool {
        let rows = self.rows.t.get(self.at..).unwrap_or_default();
        self.at += rows.partition_point(|row| *row < t);
        let next = self.rows.t.get(self.at).copied();
        self.t = next.unwrap_or(self.t);
        next.is_some()
    }
}

/// Whether the first piece ends before the second begins, and has at most `room` rows.
fn fits_alone(pieces: &[Piece], room: usize) -> bool {
    let Some(piece) = pieces.first() else { return false };
    piece.max_rows() <= room && pieces.get(1).is_none_or(|after| after.chunk.min_t > piece.chunk.max_t)
}

impl Ord for Cursor {
    fn cmp(&self, other: &Cursor) -> Ordering {
        (self.t, self.rank).cmp(&(other.t, other.rank))
    }
}

impl PartialOrd for Cursor {
    fn partial_cmp(&self, other: &Cursor) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Cursor) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Cursor {}
