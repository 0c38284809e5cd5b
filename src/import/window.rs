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
//! most `max_entry_bytes`, times two.

use std::io::{self, Read};

/// What the first fill reads; a small page needs no more.
const FIRST_BYTES: usize = 16 * 1024;
/// What fills read in the end, each as much as all before it until then.
const BLOCK_BYTES: usize = 256 * 1024;

/// A moving window over the input.
#[derive(Debug)]
pub(crate) struct Window<R> {
    input: R,
    /// Known bytes up to `end`; what stands behind is room, which is never made zero again.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    line: u64,
    bytes_read: u64,
    max_entry_bytes: usize,
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
        Window {
            input,
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
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, known);
        let so_far = usize::try_from(self.bytes_read).unwrap_or(BLOCK_BYTES);
        let wanted = so_far.clamp(FIRST_BYTES, BLOCK_BYTES).max(known);
        // One byte more, for the line feed that the last line may lack.
        if self.buffer.len() <= known + wanted {
            self.buffer.resize(known + wanted + 1, 0);
        }
        let room = self.buffer.get_mut(known..known + wanted).unwrap_or_default();
        let (read, outcome) = read_full(&mut self.input, room);
        self.end += read;
        self.bytes_read += u64::try_from(read).unwrap_or(0);
        self.ended = read < wanted;
        outcome.map_err(FillError::Io)?;
        Ok(read > 0)
    }

    /// Adds the line feed that the last line lacks.
    pub(crate) fn end_last_line(&mut self) -> bool {
        let lacks = self.bytes().last().is_some_and(|&b| b != b'\n');
        if let Some(room) = self.buffer.get_mut(self.end).filter(|_| lacks) {
            *room = b'\n';
            self.end += 1;
        }
        lacks
    }
}

/// Reads until `room` is full or the input ends; how much, and whether it failed.
fn read_full(input: &mut impl Read, room: &mut [u8]) -> (usize, io::Result<()>) {
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
