//! A recorded sequence of scrapes of one target: pages of exposition text, each with the time of its scrape.
//!
//! ```text
//!   #!scrape <unix_ms> <status> <bytes> <content-type> LF
//!   <bytes> bytes of body LF
//!   #!scrape …
//! ```
//!
//! What a server that scrapes would store is stored:
//! - A page of status 200 is OpenMetrics if its content type says `application/openmetrics-text`, text otherwise.
//!   Its samples have the time of the scrape, unless they have one of their own.
//! - A series that the page before had, and this one has not, is given a staleness marker at the time of this
//!   page. A scrape of another status (0: the target did not answer) has no series. Samples with a time of their own
//!   are not followed, as in Prometheus.
//! - The end of the input marks nothing: the recording ended, not the target.
//!
//! A line that is not valid ends the import, or is left out of its page, as in the other formats (a server would
//! drop the whole page). A header that is not valid always ends it, since nobody knows where the next one is.
//!
//! One input is one target. Memory: the series of two pages, and a window of the body.

use std::io::{self, BufRead, BufReader, Read};

use super::grammar::Grammar;
use super::options::SampleSink;
use super::parser::{Fault, Parser};
use super::presence::Presence;
use super::run::{OUT_OF_RANGE, Run};
use crate::{Result, STALE};

/// The first word of a header.
pub(crate) const MARK: &[u8] = b"#!scrape ";
/// The longest header.
const MAX_HEADER_BYTES: usize = 4_096;

const BAD_HEADER: &str = "expected a header: #!scrape <unix_ms> <status> <bytes> <content-type>";
const TOO_SHORT: &str = "the input ends before the page that this header announces";
const NO_LINE_FEED: &str = "the page that this header announces is not followed by a line feed";
const PROTOBUF: &str = "the page is protobuf, which is not read; record text or OpenMetrics";

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    time_ms: i64,
    status: u16,
    bytes: u64,
    content: Content,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    Text,
    OpenMetrics,
    Protobuf,
}

/// Reads all pages; returns the bytes of all.
pub(crate) fn read<S: SampleSink>(run: &mut Run<'_, S>, input: impl Read) -> Result<u64> {
    run.forget()?;
    run.presence = Some(Presence::default());
    let mut pages = Pages { input: Counted { input: BufReader::new(input), bytes: 0, line_feeds: 0 } };
    while let Some(header) = pages.header(run)? {
        pages.page(run, &header)?;
    }
    run.presence = None;
    Ok(pages.input.bytes)
}

struct Pages<R> {
    input: Counted<BufReader<R>>,
}

impl<R: Read> Pages<R> {
    /// The next header, or `None` at the end.
    fn header<S: SampleSink>(&mut self, run: &Run<'_, S>) -> Result<Option<Header>> {
        let mut line = Vec::new();
        let at = self.input.line_feeds + 1;
        self.input.line(&mut line, MAX_HEADER_BYTES).map_err(|e| run.unreadable(e))?;
        if line.is_empty() {
            return Ok(None);
        }
        match parse(&line) {
            Some(header) => Ok(Some(header)),
            None => Err(run.broken(at, BAD_HEADER)),
        }
    }

    fn page<S: SampleSink>(&mut self, run: &mut Run<'_, S>, header: &Header) -> Result<()> {
        let at = self.input.line_feeds;
        run.summary.scrapes += 1;
        run.default_time_ms = Some(header.time_ms);
        let mut body = (&mut self.input).take(header.bytes);
        if header.time_ms == i64::MIN || header.time_ms == i64::MAX {
            return Err(run.broken(at, OUT_OF_RANGE));
        }
        let grammar = match header.content {
            _ if header.status != 200 => None,
            Content::Text => Some(Grammar::Text),
            Content::OpenMetrics => Some(Grammar::OpenMetrics),
            Content::Protobuf => {
                run.reject(Fault { line: at, column: 1, why: PROTOBUF })?;
                None
            }
        };
        match grammar {
            Some(grammar) => run.events(&mut Parser::new(&mut body, grammar, false), at)?,
            None => run.summary.failed_scrapes += 1,
        }
        io::copy(&mut body, &mut io::sink()).map_err(|e| run.unreadable(e))?;
        if body.limit() > 0 {
            return Err(run.broken(at, TOO_SHORT));
        }
        let mut end = Vec::new();
        self.input.line(&mut end, 1).map_err(|e| run.unreadable(e))?;
        if !matches!(end.as_slice(), b"\n" | b"") {
            return Err(run.broken(at, NO_LINE_FEED));
        }
        run.mark_vanished(header.time_ms)
    }
}

impl<S: SampleSink> Run<'_, S> {
    /// Ends a page: what vanished with it is given a staleness marker.
    fn mark_vanished(&mut self, t: i64) -> Result<()> {
        let gone = self.presence.as_mut().map(Presence::turn).unwrap_or_default();
        for labels in gone {
            let local = self.adopt(&labels)?;
            self.put(local, t, STALE)?;
            self.summary.stale_markers += 1;
        }
        Ok(())
    }
}

fn parse(line: &[u8]) -> Option<Header> {
    let line = line.strip_prefix(MARK)?.strip_suffix(b"\n")?;
    let text = std::str::from_utf8(line).ok()?.trim_end_matches('\r');
    let mut words = text.splitn(4, ' ');
    let (time_ms, status, bytes) = (words.next()?, words.next()?, words.next()?);
    let media_type = words.next().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let content = match media_type {
        "application/openmetrics-text" => Content::OpenMetrics,
        "application/vnd.google.protobuf" => Content::Protobuf,
        _ => Content::Text,
    };
    Some(Header {
        time_ms: time_ms.parse().ok()?,
        status: status.parse().ok()?,
        bytes: bytes.parse().ok()?,
        content,
    })
}

/// Counts the bytes and line feeds that are read.
struct Counted<R> {
    input: R,
    bytes: u64,
    line_feeds: u64,
}

impl<R: BufRead> Counted<R> {
    /// Reads through the next line feed, but not more than `max` bytes.
    fn line(&mut self, out: &mut Vec<u8>, max: usize) -> io::Result<()> {
        let limit = u64::try_from(max).unwrap_or(u64::MAX);
        (&mut self.input).take(limit).read_until(b'\n', out)?;
        self.count(out);
        Ok(())
    }
}

impl<R> Counted<R> {
    fn count(&mut self, read: &[u8]) {
        self.bytes += u64::try_from(read.len()).unwrap_or(0);
        self.line_feeds += u64::try_from(memchr::memchr_iter(b'\n', read).count()).unwrap_or(0);
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(out)?;
        self.count(out.get(..n).unwrap_or_default());
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let header = parse(b"#!scrape -5 200 12 application/openmetrics-text; version=1.0.0\n").unwrap();
        let expected = Header { time_ms: -5, status: 200, bytes: 12, content: Content::OpenMetrics };
        assert_eq!(header, expected);
        assert_eq!(parse(b"#!scrape 1 0 0 -\n").unwrap().content, Content::Text);
        assert_eq!(parse(b"#!scrape 1 0 0\r\n").unwrap().status, 0);
        for line in [
            &b"#!scrape 1 0 0 -"[..],
            b"#!scrape\n",
            b"#!scrape 1 0\n",
            b"#!scrape 1  0 0\n",
            b"#!scrape 1 0 -1 -\n",
            b"#!scrape 1 70000 1 -\n",
            b"#!scrape 1.5 200 1 -\n",
            b"# scrape 1 200 1 -\n",
            b"#!scrape 1 200 99999999999999999999 -\n",
            b"\n",
            b"\xff\n",
        ] {
            assert_eq!(parse(line), None, "{}", String::from_utf8_lossy(line));
        }
    }
}
