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
//! Where runs are short, the cursors are woven, without the heap, until one ends. Sources that took turns, as two replicas of
//! a scraper do, go on so: whole rounds, a row of each cursor in the same order, are found by comparing columns and written
//! column by column. What is no round is decided row by row.
//!
//! Memory: the chunks that overlap at one time. Cost: a copy for each row, and for each run a heap
//! operation logarithmic in those chunks; woven, a comparison for each row, and where there are no rounds a look at each cursor.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::{Cancel, Columns, TimeRange};

use super::Piece;

/// After a run of fewer rows, cursors are woven.
const SHORT_RUN: usize = 8;
/// The most rounds that are looked for at a time.
const MAX_ROUNDS: usize = 64;
/// Rows that are decided one by one before rounds are looked for again.
const ROWS_BETWEEN: usize = 16;

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

    /// Gives out rows of all cursors, at most `room`, until one of them ends or at `bound`.
    fn weave(&mut self, bound: i64, room: usize, out: &mut Columns) {
        let start = self.range.start();
        let mut cursors: Vec<Cursor> = std::mem::take(&mut self.open).into_iter().map(|c| c.0).collect();
        let full = out.len() + room;
        let mut goes_on = cursors.iter_mut().all(|cursor| cursor.pass_over(start));
        while goes_on && out.len() < full {
            cursors.sort_unstable();
            let rounds = rounds(&cursors, bound, (full - out.len()) / cursors.len().max(1));
            if rounds > 0 {
                put_rounds(&mut cursors, rounds, out);
            } else {
                goes_on = put_rows(&mut cursors, bound, ROWS_BETWEEN.min(full - out.len()), out);
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

/// How many whole rounds come next, at most `most`: a row of each cursor, in their order, all before `bound`, with another such
/// round behind them, before which no cursor has a row then. The cursors are in order of their times.
fn rounds(cursors: &[Cursor], bound: i64, most: usize) -> usize {
    let (Some(first), Some(last)) = (cursors.first(), cursors.last()) else { return 0 };
    let most = most.min(MAX_ROUNDS) + 1;
    let mut rounds = cursors.iter().fold(most, |n, cursor| n.min(cursor.times().len()));
    for (a, b) in cursors.iter().zip(cursors.iter().skip(1)) {
        rounds = ascending(a.times(), b.times(), rounds);
    }
    // Each begins after the last row of the one before.
    let following = first.times().get(1..).unwrap_or_default();
    let rounds = ascending(last.times(), following, rounds.saturating_sub(1));
    last.times().get(..rounds).unwrap_or_default().partition_point(|t| *t < bound)
}

/// For how many of the first `most` rows the time in `a` is before that in `b`.
fn ascending(a: &[i64], b: &[i64], most: usize) -> usize {
    let most = most.min(a.len()).min(b.len());
    a.iter().zip(b).take(most).position(|(a, b)| a >= b).unwrap_or(most)
}

/// Gives out rounds; each cursor has a row more at least.
fn put_rounds(cursors: &mut [Cursor], rounds: usize, out: &mut Columns) {
    let (before, width) = (out.len(), cursors.len());
    out.t.resize(before + rounds * width, 0);
    out.v.resize(before + rounds * width, 0.0);
    for (i, cursor) in cursors.iter_mut().enumerate() {
        let rows = cursor.at..cursor.at + rounds;
        let t = cursor.rows.t.get(rows.clone()).unwrap_or_default();
        let v = cursor.rows.v.get(rows).unwrap_or_default();
        let slots = out.t.get_mut(before + i..).unwrap_or_default().iter_mut().step_by(width);
        slots.zip(t).for_each(|(slot, t)| *slot = *t);
        let slots = out.v.get_mut(before + i..).unwrap_or_default().iter_mut().step_by(width);
        slots.zip(v).for_each(|(slot, v)| *slot = *v);
        cursor.advance(rounds);
    }
}

/// Gives out at most `room` rows one by one; whether there may be more before `bound`, and no cursor ended.
fn put_rows(cursors: &mut [Cursor], bound: i64, room: usize, out: &mut Columns) -> bool {
    let mut goes_on = true;
    for _ in 0..room {
        let first = cursors.iter().min();
        let row = first.and_then(|c| Some((c.t, *c.rows.v.get(c.at)?)));
        let Some((t, v)) = row.filter(|(t, _)| *t < bound && goes_on) else { return false };
        out.push(t, v);
        for cursor in cursors.iter_mut().filter(|cursor| cursor.t == t) {
            goes_on &= cursor.advance(1);
        }
    }
    goes_on
}

impl Cursor {
    /// The times of the rows to come.
    fn times(&self) -> &[i64] {
        self.rows.t.get(self.at..).unwrap_or_default()
    }

    /// Goes on by some rows; whether there is another one.
    fn advance(&mut self, rows: usize) -> bool {
        self.at += rows;
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
