//! Lines of an input, in a window that moves over it.
//!
//! A line that is too long is a fault once, and left out; memory is bounded by the longest line times two.

use std::io::Read;

use super::parser::{Fault, ParseError};
use super::window::{FillError, Window};

/// Lines, one after the other.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    window: Window<R>,
    /// Bytes of the line given out last.
    pending: usize,
    /// Whether the rest of a line is to be left out.
    skips: bool,
}

/// One line, without its line feed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
    /// Its number, from 1.
    pub(crate) number: u64,
}

impl Line<'_> {
    /// A complaint about a byte of it.
    pub(crate) fn fault(&self, at: usize, why: &'static str) -> Fault {
        Fault { line: self.number, column: u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1), why }
    }
}

impl<R: Read> Lines<R> {
    /// Of `input`, each of at most `max_line_bytes`.
    pub(crate) fn new(input: R, max_line_bytes: usize) -> Lines<R> {
        Lines { window: Window::new(input, max_line_bytes), pending: 0, skips: false }
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.window.bytes_read()
    }

    /// The next line, or `None` at the end. The last one may lack its line feed.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, ParseError> {
        self.window.consume(self.pending);
        self.pending = 0;
        let mut searched = 0;
        let end = loop {
            let fresh = self.window.bytes().get(searched..).unwrap_or_default();
            match memchr::memchr(b'\n', fresh) {
                Some(n) if self.skips => {
                    self.window.consume(searched + n + 1);
                    self.skips = false;
                    searched = 0;
                    continue;
                }
                Some(n) => break searched + n,
                None => searched += fresh.len(),
            }
            if self.skips {
                self.window.consume(searched);
                searched = 0;
            }
            match self.window.fill() {
                Ok(true) => {}
                Ok(false) if searched == 0 => return Ok(None),
                Ok(false) => break searched,
                Err(FillError::Io(e)) => return Err(ParseError::Io(e)),
                Err(FillError::TooLong) => {
                    self.skips = true;
                    let why = "the line is too long";
                    return Err(ParseError::Invalid(Fault { line: self.window.line(), column: 1, why }));
                }
            }
        };
        let number = self.window.line();
        let bytes = self.window.bytes();
        self.pending = bytes.len().min(end + 1);
        let bytes = bytes.get(..end).unwrap_or_default();
        Ok(Some(Line { bytes: bytes.strip_suffix(b"\r").unwrap_or(bytes), number }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_any_length() {
        let long = "x".repeat(600_000);
        let text = format!("a\n\n{long}\nb\r\n{}\nc", "y".repeat(2_000_000));
        let mut lines = Lines::new(text.as_bytes(), 1_000_000);
        let mut found = Vec::new();
        loop {
            match lines.next() {
                Ok(None) => break,
                Ok(Some(line)) => found.push((line.number, line.bytes.len())),
                Err(ParseError::Invalid(fault)) => found.push((fault.line, usize::MAX)),
                Err(ParseError::Io(e)) => panic!("{e}"),
            }
        }
        assert_eq!(found, [(1, 1), (2, 0), (3, 600_000), (4, 1), (5, usize::MAX), (6, 1)]);
        assert_eq!(lines.bytes_read(), text.len() as u64);
    }
}
