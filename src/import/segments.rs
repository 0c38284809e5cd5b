//! The input in segments of whole lines, whose plain lines are found beside the caller.
//!
//! ```text
//!   Read ─▶ cut at a line feed ─▶ [segment] ─▶ worker: plain runs ─┐
//!                                 [segment] ─▶ worker: plain runs ─┼─ in order ─▶ Window
//!                                 [segment] ─▶ worker: plain runs ─┘
//!
//!   up{job="node"} 1 1600000000\n     one run: begins at 0, its series has 14 bytes,
//!   up{job="node"} 0 1600000015\n              three rows, their times and values are columns of the segment
//!   up{job="node"} 1 1600000030\n
//!   # TYPE b gauge\n                   no plain line: the parser's
//! ```
//!
//! **A run is a hint.** It says: if an entry begins here, and its series has the bytes up to there, then so many lines are samples
//! of that series, and these are their times and values. The worker knows no grammar, so that what it takes for a series may
//! be anything (a comment, a part of a string with a line feed). The parser uses a run only where an entry begins and only if
//! a series with these very bytes was read by the grammar before: equal bytes from the start of an entry lex equally, and behind
//! them stands a plain tail (see `plain`). All else it reads itself, so that faults, metadata and order are its own.
//!
//! **Memory.** As many segments as twice the workers, and one: each has its bytes and at most 8 times as many in runs and rows (if
//! each line has 6 bytes), a fifth as many in ordinary dumps. Buffers are used again.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};

use super::plain::{self, Tail, Times};
use super::window::read_full;
use crate::{Columns, Workers};

/// The bytes of the first segment; a small page needs no more.
const FIRST_BYTES: usize = 16 * 1024;
/// The bytes of a segment in the end, each as long as all before it until then.
pub(crate) const SEGMENT_BYTES: usize = 512 * 1024;
/// The most segments on their way, whatever the workers.
const MAX_WAITING: usize = 16;

/// Plain lines of one series, one after the other. Places are relative to the segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Where the first begins.
    pub(crate) at: u32,
    /// The length of what should be the series.
    pub(crate) series_bytes: u32,
    /// Where the second begins, or what follows, if there is one only.
    pub(crate) second: u32,
    /// Where the last ends.
    pub(crate) end: u32,
    /// The first row.
    pub(crate) from: u32,
    /// The row after the last.
    pub(crate) to: u32,
}

/// A part of the input.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    /// Its bytes up to `end`, whole lines, unless it is the last, or holds no line feed; what stands behind is room, which is
    /// never made zero again.
    pub(crate) buffer: Vec<u8>,
    /// The number of its bytes.
    pub(crate) end: usize,
    /// The plain lines in it.
    pub(crate) runs: Vec<Run>,
    /// Their times and values.
    pub(crate) rows: Columns,
}

impl Segment {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.end).unwrap_or_default()
    }

    /// Finds the plain lines.
    fn find_runs(&mut self, times: Times) {
        let mut at = 0;
        while let Some(rest) = self.bytes().get(at..).filter(|rest| !rest.is_empty()) {
            at = match first(rest, times) {
                Some((series_bytes, tail)) => self.run(at, series_bytes, tail, times),
                None => memchr::memchr(b'\n', rest).map_or(self.end, |n| at + n + 1),
            };
        }
    }

    /// Adds a run that begins at `at`; answers its end.
    fn run(&mut self, at: usize, series_bytes: usize, first: Tail, times: Times) -> usize {
        let second = at + series_bytes + first.bytes;
        let from = self.rows.len();
        self.rows.push(first.t, first.v);
        let bytes = self.buffer.get(..self.end).unwrap_or_default();
        let series = bytes.get(at..at + series_bytes).unwrap_or_default();
        let mut rest = bytes.get(second..).unwrap_or_default();
        while let Some(tail) = plain_line(rest, series, times) {
            self.rows.push(tail.t, tail.v);
            rest = rest.get(series_bytes + tail.bytes..).unwrap_or_default();
        }
        let end = self.end - rest.len();
        let places = [at, series_bytes, second, end, from, self.rows.len()];
        // A segment is never as long as 32 bits can say.
        let [at, series_bytes, second, run_end, from, to] =
            places.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        self.runs.push(Run { at, series_bytes, second, end: run_end, from, to });
        end
    }

    fn clear(&mut self) {
        self.end = 0;
        self.runs.clear();
        self.rows.clear();
    }
}

/// The first line, if it is plain: the length of what should be its series, and the tail. That is what ends with a brace and a
/// space, or, in a line without, with the first space.
#[inline]
fn first(bytes: &[u8], times: Times) -> Option<(usize, Tail)> {
    let mut n = 0;
    let series_bytes = loop {
        n += memchr::memchr2(b'}', b'\n', bytes.get(n..)?)?;
        match (bytes.get(n), bytes.get(n + 1)) {
            (Some(b'\n'), _) => break memchr::memchr(b' ', bytes.get(..n)?)?,
            (_, Some(b' ')) => break n + 1,
            _ => n += 1,
        }
    };
    let tail = plain::tail(bytes.get(series_bytes..)?, times)?;
    (series_bytes > 0).then_some((series_bytes, tail))
}

/// The tail of a plain line that begins with these bytes.
#[inline(always)]
fn plain_line(bytes: &[u8], series: &[u8], times: Times) -> Option<Tail> {
    let (found, rest) = bytes.split_at_checked(series.len())?;
    if found == series { plain::tail(rest, times) } else { None }
}

/// The segments of an input.
#[derive(Debug)]
pub(crate) struct Segments<R> {
    input: R,
    times: Times,
    workers: Workers,
    segment_bytes: usize,
    /// In the order of the input.
    waiting: VecDeque<Receiver<Segment>>,
    /// The beginning of the next line.
    carried: Vec<u8>,
    spare: Vec<Segment>,
    bytes_read: usize,
    /// Nothing more can be read; why, if it failed.
    ended: Option<io::Result<()>>,
}

impl<R: Read> Segments<R> {
    /// Of this input; at most `segment_bytes` each, longer lines apart.
    pub(crate) fn new(input: R, times: Times, workers: Workers, segment_bytes: usize) -> Segments<R> {
        Segments {
            input,
            times,
            workers,
            segment_bytes,
            waiting: VecDeque::new(),
            carried: Vec::new(),
            spare: Vec::new(),
            bytes_read: 0,
            ended: None,
        }
    }

    /// The next one, or `None` at the end; `used` was the last.
    pub(crate) fn next(&mut self, used: Segment) -> io::Result<Option<Segment>> {
        self.spare.push(used);
        let most = (2 * self.workers.count()).clamp(1, MAX_WAITING);
        while self.ended.is_none() && self.waiting.len() < most {
            if let Some(segment) = self.read() {
                self.send(segment);
            }
        }
        match self.waiting.pop_front() {
            Some(segment) => segment.recv().map(Some).map_err(io::Error::other),
            None => self.ended.replace(Ok(())).unwrap_or(Ok(())).map(|()| None),
        }
    }

    /// Has the plain lines of a segment found.
    fn send(&mut self, mut segment: Segment) {
        let (sender, receiver) = sync_channel(1);
        let times = self.times;
        self.workers.spawn(move || {
            segment.find_runs(times);
            // Nobody waits for it if the import ended.
            let _ = sender.send(segment);
        });
        self.waiting.push_back(receiver);
    }

    /// Reads a segment; `None` at the end.
    fn read(&mut self) -> Option<Segment> {
        let mut segment = self.spare.pop().unwrap_or_default();
        segment.clear();
        let known = self.carried.len();
        let wanted = self.bytes_read.max(FIRST_BYTES).min(self.segment_bytes);
        if segment.buffer.len() < known + wanted {
            segment.buffer.resize(known + wanted, 0);
        }
        let (start, room) = segment.buffer.split_at_mut_checked(known).unwrap_or_default();
        start.copy_from_slice(&self.carried);
        self.carried.clear();
        let (read, outcome) = read_full(&mut self.input, room.get_mut(..wanted).unwrap_or_default());
        segment.end = known + read;
        self.bytes_read = self.bytes_read.saturating_add(read);
        if read < wanted || outcome.is_err() {
            self.ended = Some(outcome);
        } else if let Some(n) = memchr::memrchr(b'\n', segment.bytes()) {
            self.carried.extend_from_slice(segment.bytes().get(n + 1..).unwrap_or_default());
            segment.end = n + 1;
        }
        (segment.end > 0).then_some(segment)
    }
}
