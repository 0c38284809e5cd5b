//! The part of the input that is in memory: a window that moves over a `Read`, and grows when
//! one entry does not fit.
//!
//! ```text
//!   consumed │ start ········ known bytes ········ │ not read yet
//!            └ entries are parsed from here; a parser that needs more calls fill()
//! ```
//!
//! An entry is parsed anew from its start after each fill, and each fill at least doubles what is
//! known of it, so that the work stays linear. The window holds one block, or one entry of at
//! most `max_entry_bytes`, times two. A window over segments takes one as it is where nothing is known, so that
//! nothing is copied; it knows the plain lines in it, and tells them where it stands at one.

use std::io::{self, Read};

use super::segments::{Run, Segment, Segments};
use crate::Columns;

/// What the first fill reads; a small page needs no more.
const FIRST_BYTES: usize = 16 * 1024;
/// What fills read in the end, each as much as all before it until then.
const BLOCK_BYTES: usize = 256 * 1024;

/// A moving window over the input.
#[derive(Debug)]
pub(crate) struct Window<R> {
    feed: Feed<R>,
    plain: Plain,
    /// Known bytes up to `end`; what stands behind is room, which is never made zero again.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    line: u64,
    bytes_read: u64,
    max_entry_bytes: usize,
}

/// Where the bytes come from.
#[derive(Debug)]
enum Feed<R> {
    Input(R),
    Segments(Segments<R>),
}

/// The plain lines of the segment taken last.
#[derive(Debug, Default)]
struct Plain {
    runs: Vec<Run>,
    rows: Columns,
    /// Where the segment begins in the buffer.
    base: usize,
    /// The runs before this one end before the window begins.
    next: usize,
}

/// Plain lines that the window begins with.
pub(crate) struct PlainLines<'a> {
    /// The bytes that should be their series.
    pub(crate) series: &'a [u8],
    /// Their times, in milliseconds.
    pub(crate) t: &'a [i64],
    /// Their values.
    pub(crate) v: &'a [f64],
    /// The bytes of all of them.
    pub(crate) bytes: usize,
}

/// Why the window cannot be filled.
#[derive(Debug)]
pub(crate) enum FillError {
    /// Reading failed.
    Io(io::Error),
    /// One entry is longer than is allowed.
    TooLong,
}

impl<R: Read> Window<R> {
    /// An empty window at line 1.
    pub(crate) fn new(input: R, max_entry_bytes: usize) -> Window<R> {
        Window::fed(Feed::Input(input), max_entry_bytes)
    }

    /// An empty window over segments.
    pub(crate) fn segmented(segments: Segments<R>, max_entry_bytes: usize) -> Window<R> {
        Window::fed(Feed::Segments(segments), max_entry_bytes)
    }

    fn fed(feed: Feed<R>, max_entry_bytes: usize) -> Window<R> {
        Window {
            feed,
            plain: Plain::default(),
            buffer: Vec::new(),
            start: 0,
            end: 0,
            ended: false,
            line: 1,
            bytes_read: 0,
            max_entry_bytes,
        }
    }

    /// The known bytes from the current entry on.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether all of the input is known.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// The line of the first of [`bytes`](Window::bytes), from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Goes on behind the next `n` bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        let gone = self.bytes().get(..n).unwrap_or_default();
        let lines = memchr::memchr_iter(b'\n', gone).count();
        let bytes = gone.len();
        self.start += bytes;
        self.line += u64::try_from(lines).unwrap_or(0);
    }

    /// Goes on behind the next `n` bytes, which are known to be so many whole lines.
    #[inline]
    pub(crate) fn consume_lines(&mut self, n: usize, lines: u64) {
        self.start += n;
        self.line += lines;
    }

    /// Reads on, and says whether there was more.
    pub(crate) fn fill(&mut self) -> Result<bool, FillError> {
        if self.ended {
            return Ok(false);
        }
        let known = self.bytes().len();
        if known >= self.max_entry_bytes {
            return Err(FillError::TooLong);
        }
        match self.feed {
            Feed::Input(_) => self.read(known),
            Feed::Segments(_) => self.take(known),
        }
    }

    fn read(&mut self, known: usize) -> Result<bool, FillError> {
        let Feed::Input(input) = &mut self.feed else { return Ok(false) };
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, known);
        let so_far = usize::try_from(self.bytes_read).unwrap_or(BLOCK_BYTES);
        let wanted = so_far.clamp(FIRST_BYTES, BLOCK_BYTES).max(known);
        if self.buffer.len() < known + wanted {
            self.buffer.resize(known + wanted, 0);
        }
        let room = self.buffer.get_mut(known..known + wanted).unwrap_or_default();
        let (read, outcome) = read_full(input, room);
        self.end += read;
        self.bytes_read += u64::try_from(read).unwrap_or(0);
        self.ended = read < wanted;
        outcome.map_err(FillError::Io)?;
        Ok(read > 0)
    }

    /// Takes the next segment as it is, or, behind what is known, as many as double it.
    fn take(&mut self, known: usize) -> Result<bool, FillError> {
        let plain = std::mem::take(&mut self.plain);
        let mut used = Segment { runs: plain.runs, rows: plain.rows, ..Segment::default() };
        let mut gained = 0;
        while gained == 0 || gained < known {
            if known == 0 {
                used.buffer = std::mem::take(&mut self.buffer);
                (self.start, self.end) = (0, 0);
            }
            let Feed::Segments(segments) = &mut self.feed else { break };
            let Some(mut segment) = segments.next(used).map_err(FillError::Io)? else {
                self.ended = true;
                break;
            };
            let Segment { runs, rows, .. } = &mut segment;
            self.plain = Plain {
                runs: std::mem::take(runs),
                rows: std::mem::take(rows),
                base: known + gained,
                next: 0,
            };
            gained += segment.end;
            match known {
                0 => (self.buffer, self.end) = (std::mem::take(&mut segment.buffer), segment.end),
                _ => self.append(segment.bytes()),
            }
            used = segment;
        }
        self.bytes_read += u64::try_from(gained).unwrap_or(0);
        Ok(gained > 0)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= std::mem::take(&mut self.start);
        self.buffer.truncate(self.end);
        self.buffer.extend_from_slice(bytes);
        self.end = self.buffer.len();
    }

    /// The plain lines that the window begins with, or, with `second`, goes on with behind the first of them.
    #[inline]
    pub(crate) fn plain(&mut self, second: bool) -> Option<PlainLines<'_>> {
        let at = self.start.checked_sub(self.plain.base)?;
        while self.plain.runs.get(self.plain.next).is_some_and(|run| run.end as usize <= at) {
            self.plain.next += 1;
        }
        let run = self.plain.runs.get(self.plain.next)?;
        let begins = if second { run.second } else { run.at } as usize;
        if begins != at {
            return None;
        }
        let series = self.plain.base + run.at as usize;
        let rows = (run.from + u32::from(second)) as usize..run.to as usize;
        Some(PlainLines {
            series: self.buffer.get(series..series + run.series_bytes as usize)?,
            t: self.plain.rows.t.get(rows.clone())?,
            v: self.plain.rows.v.get(rows)?,
            bytes: run.end as usize - at,
        })
    }

    /// Adds the line feed that the last line lacks.
    pub(crate) fn end_last_line(&mut self) -> bool {
        let lacks = self.bytes().last().is_some_and(|&b| b != b'\n');
        if lacks {
            self.buffer.truncate(self.end);
            self.buffer.push(b'\n');
            self.end += 1;
        }
        lacks
    }
}

/// Reads until `room` is full or the input ends; how much, and whether it failed.
pub(crate) fn read_full(input: &mut impl Read, room: &mut [u8]) -> (usize, io::Result<()>) {
    let mut read = 0;
    while let Some(rest) = room.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (read, Err(e)),
        }
    }
    (read, Ok(()))
}
