//! Merging sorted streams of samples: series by labels, rows by time, ties in the order of the input.
//!
//! ```text
//!   run 0     a: 1 2 5     c: 9
//!   run 1     a: 2 3       b: 4         ──▶   a: 1 2 2' 3 5    b: 4    c: 7 9
//!   run 2                  c: 7
//! ```
//!
//! Streams are given in the order in which their samples came in, so that of rows with one
//! timestamp the first to come out is the first that came in. Nothing is dropped here.
//!
//! Cost: a heap operation for each series of each stream; within a series that several streams
//! have, one for each stretch of rows that one of them gives before another has to (for runs one
//! after another in time, that is whole pieces). Memory: one piece a stream.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::{Error, Result};
use crate::format::chunk::Timestamps;
use crate::format::columns::values;
use crate::model::{Cancel, Columns, Labels};

/// Some rows of one series, in time order.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Whose rows they are; `None` only before the first piece.
    pub(super) labels: Option<Labels>,
    /// The rows, at least one, unless they are coded.
    pub(super) rows: Columns,
    /// The rows in coded form.
    pub(super) coded: Option<Coded>,
}

impl Piece {
    /// Its timestamps.
    fn times(&self) -> &[i64] {
        self.coded.as_ref().map_or(&self.rows.t, |coded| &coded.t)
    }

    /// Decodes what is coded.
    fn decode(&mut self) -> Result<()> {
        if let Some(coded) = self.coded.take() {
            self.rows = coded.decode()?;
        }
        Ok(())
    }
}

/// Rows of one series, with ascending timestamps, as a chunk of columns.
#[derive(Clone, Debug)]
pub(super) struct Coded {
    /// The timestamps.
    pub(super) t: Timestamps,
    /// The column of values.
    pub(super) values: Vec<u8>,
    /// The value of the last row.
    pub(super) last_v: f64,
}

impl Coded {
    /// Appends its values. What was coded here does not decode only if memory was damaged.
    pub(super) fn decode_into(&self, out: &mut Vec<f64>) -> Result<()> {
        let rows = self.t.len();
        values::decode(&self.values, rows, 0..rows, out).map_err(|e| Error::corrupt("memory", 0, e))
    }

    /// Its rows.
    pub(super) fn decode(&self) -> Result<Columns> {
        let mut rows = Columns { t: self.t.to_vec(), v: Vec::with_capacity(self.t.len()) };
        self.decode_into(&mut rows.v)?;
        Ok(rows)
    }
}

/// A sorted stream.
pub(super) trait Input {
    /// Replaces `piece` by the next one, or answers false at the end. Pieces are in label order;
    /// those of one series follow each other in time order.
    fn next(&mut self, piece: &mut Piece) -> Result<bool>;
    /// The memory that it holds, the piece excluded.
    fn memory_bytes(&self) -> usize;
}

/// What takes the merged rows.
pub(super) trait RowSink {
    /// The series to which the next rows belong, in label order, each once.
    fn begin(&mut self, labels: &Labels) -> Result<()>;
    /// Rows of it, in time order; equal timestamps in the order of the input.
    fn rows(&mut self, t: &[i64], v: &[f64]) -> Result<()>;
    /// Rows of it, in coded form.
    fn coded(&mut self, coded: Coded) -> Result<()> {
        let rows = coded.decode()?;
        self.rows(&rows.t, &rows.v)
    }
    /// It has no more rows.
    fn end(&mut self) -> Result<()>;
    /// The memory that it holds.
    fn memory_bytes(&self) -> usize;
}

/// Merges `inputs` into `sink`; answers the most memory that both held, by their own account.
pub(super) fn merge(
    inputs: Vec<Box<dyn Input + '_>>,
    cancel: &Cancel,
    sink: &mut dyn RowSink,
) -> Result<usize> {
    let mut streams = Streams::open(inputs, cancel)?;
    let (mut active, mut peak) = (Vec::new(), streams.memory_bytes + sink.memory_bytes());
    while let Some(Reverse((labels, first))) = streams.order.pop() {
        active.clear();
        active.push(first);
        while let Some(top) = streams.order.peek_mut().filter(|top| top.0.0 == labels) {
            active.push(std::collections::binary_heap::PeekMut::pop(top).0.1);
        }
        sink.begin(&labels)?;
        match active.as_slice() {
            [one] => streams.pass(*one, &labels, sink)?,
            several => streams.interleave(several, &labels, sink)?,
        }
        peak = peak.max(streams.memory_bytes + sink.memory_bytes());
        sink.end()?;
    }
    Ok(peak)
}

/// One stream with its current piece.
struct Stream<'a> {
    input: Box<dyn Input + 'a>,
    piece: Piece,
    /// Rows of the piece that were given already.
    taken: usize,
    memory_bytes: usize,
}

/// All streams; those whose current piece starts a series that was not merged yet are in `order`.
struct Streams<'a> {
    all: Vec<Stream<'a>>,
    order: BinaryHeap<Reverse<(Labels, usize)>>,
    cancel: &'a Cancel,
    memory_bytes: usize,
}

impl<'a> Streams<'a> {
    fn open(inputs: Vec<Box<dyn Input + 'a>>, cancel: &'a Cancel) -> Result<Streams<'a>> {
        let all = inputs.into_iter().map(|input| Stream {
            input,
            piece: Piece::default(),
            taken: 0,
            memory_bytes: 0,
        });
        let mut streams = Streams { all: all.collect(), order: BinaryHeap::new(), cancel, memory_bytes: 0 };
        for i in 0..streams.all.len() {
            streams.advance(i, None)?;
        }
        Ok(streams)
    }

    /// Brings the next piece of stream `i`; true if it goes on with the series `labels`. Otherwise
    /// the stream waits for its next series, or has ended.
    fn advance(&mut self, i: usize, labels: Option<&Labels>) -> Result<bool> {
        self.cancel.check()?;
        let Some(stream) = self.all.get_mut(i) else { return Ok(false) };
        let more = stream.input.next(&mut stream.piece)?;
        stream.taken = 0;
        let held = stream.input.memory_bytes() + 16 * stream.piece.rows.t.capacity();
        self.memory_bytes = self.memory_bytes - stream.memory_bytes + held;
        stream.memory_bytes = held;
        match &stream.piece.labels {
            Some(next) if more && Some(next) == labels => return Ok(true),
            Some(next) if more => self.order.push(Reverse((next.clone(), i))),
            _ => {}
        }
        Ok(false)
    }

    /// Gives the series of the only stream that has it, piece by piece.
    fn pass(&mut self, i: usize, labels: &Labels, sink: &mut dyn RowSink) -> Result<()> {
        loop {
            if let Some(stream) = self.all.get_mut(i) {
                match stream.piece.coded.take() {
                    Some(coded) => sink.coded(coded)?,
                    None => sink.rows(&stream.piece.rows.t, &stream.piece.rows.v)?,
                }
            }
            if !self.advance(i, Some(labels))? {
                return Ok(());
            }
        }
    }

    /// Gives the series of several streams (ascending), merged by time.
    fn interleave(&mut self, several: &[usize], labels: &Labels, sink: &mut dyn RowSink) -> Result<()> {
        let first_t =
            |all: &[Stream<'_>], i: usize| all.get(i).and_then(|s| s.piece.times().get(s.taken)).copied();
        let mut heads = BinaryHeap::with_capacity(several.len());
        heads.extend(several.iter().filter_map(|&i| Some(Reverse((first_t(&self.all, i)?, i)))));
        while let Some(Reverse((_, i))) = heads.pop() {
            let until = heads.peek().map(|Reverse(head)| *head);
            let Some(stream) = self.all.get_mut(i) else { continue };
            if stream.give(i, until, sink)? && !self.advance(i, Some(labels))? {
                continue;
            }
            heads.extend(first_t(&self.all, i).map(|t| Reverse((t, i))));
        }
        Ok(())
    }
}

impl Stream<'_> {
    /// Gives the rows that come before the head (timestamp, stream) of the next stream in turn, as they are coded if those are
    /// all of the piece; says whether they are the last of it.
    fn give(&mut self, i: usize, until: Option<(i64, usize)>, sink: &mut dyn RowSink) -> Result<bool> {
        let before = |t: i64| until.is_none_or(|head| (t, i) < head);
        if let Some(coded) = self.piece.coded.take_if(|coded| coded.t.last().is_none_or(|&last| before(last)))
        {
            sink.coded(coded)?;
            return Ok(true);
        }
        self.piece.decode()?;
        let t = self.piece.rows.t.get(self.taken..).unwrap_or_default();
        let v = self.piece.rows.v.get(self.taken..).unwrap_or_default();
        let n = t.partition_point(|&t| before(t));
        self.taken += n;
        sink.rows(t.get(..n).unwrap_or_default(), v.get(..n).unwrap_or_default())?;
        Ok(self.taken == self.piece.rows.len())
    }
}
