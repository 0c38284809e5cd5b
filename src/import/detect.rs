//! What an input is: compressed or not, and which format.
//!
//! | first bytes | then |
//! |---|---|
//! | `1f 8b` | gzip, one or more members (feature `gzip`) |
//! | `28 b5 2f fd` | zstd, one or more frames (feature `zstd`) |
//! | anything else | taken as it is |
//!
//! The format, in this order:
//! 1. a name that ends in `.om` or `.openmetrics` (before `.gz` or `.zst`): OpenMetrics; in `.scrapes`: recorded
//!    scrapes; in `.jsonl`: JSON lines;
//! 2. a first line that begins with `#!scrape `: recorded scrapes; with a brace, a string and a colon: JSON lines;
//!    with a brace and a name without quotes, before which exposition text has the name of the metric: what promtool
//!    dumps;
//! 3. an input that fits the first 64 KiB: OpenMetrics if its last line is `# EOF`, else text;
//! 4. the first line among the first 64 KiB that only one of the two has: `# EOF`, `# UNIT`, a type
//!    that text does not know, an exemplar, or a timestamp with a decimal point: OpenMetrics; an empty
//!    line, a comment, blanks where OpenMetrics has none, or type `untyped`: text;
//! 5. a timestamp there: below 100,000,000,000 (1973 in milliseconds, 5138 in seconds) it is seconds,
//!    hence OpenMetrics; otherwise text.
//! 6. Nothing of that: text.

#[cfg(any(feature = "gzip", feature = "zstd"))]
use std::io::BufReader;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Format;
use super::ahead::Ahead;
use super::options::Reader;
use super::scrapes::MARK;
use crate::{Error, Result, Workers};

/// How much of the input is looked at.
const SAMPLE_BYTES: usize = 64 * 1024;
/// Timestamps below it are taken for seconds.
const SECONDS_BELOW: u64 = 100_000_000_000;
/// An input may unpack to so much whatever its ratio.
const ALWAYS_BYTES: u64 = 64 * 1024 * 1024;

/// The ratio of what is as it is: no bound.
const NOT_PACKED: u64 = u64::MAX;

/// An input, unpacked, with its format known.
pub(crate) struct Opened<'r> {
    /// The text.
    pub(crate) text: Box<dyn Read + 'r>,
    /// Its format: not `Auto`.
    pub(crate) format: Format,
    /// Bytes read so far of the input as it came.
    pub(crate) bytes_in: Arc<AtomicU64>,
}

/// Unpacks `reader` if it is packed, bounded by `max_ratio` (unpacked to packed), beside the caller if it may be read by
/// `workers`, and finds its format out unless it is given.
pub(crate) fn open<'r>(
    name: &str,
    reader: Reader<'r>,
    format: Format,
    max_ratio: u64,
    workers: Workers,
) -> Result<Opened<'r>> {
    let failed = |e: io::Error| Error::io("read the input", name, e);
    let bytes_in = Arc::new(AtomicU64::new(0));
    let unpacked: Box<dyn Read + 'r> = match reader {
        Reader::Here(input) => Box::new(unpack(name, input, &bytes_in, max_ratio)?),
        Reader::Anywhere(input) => {
            let unpacked = unpack(name, input, &bytes_in, max_ratio)?;
            match unpacked.max_ratio {
                NOT_PACKED => Box::new(unpacked),
                _ => Box::new(Ahead::new(Box::new(unpacked), workers)),
            }
        }
    };
    if format != Format::Auto {
        return Ok(Opened { text: unpacked, format, bytes_in });
    }
    let (start, text) = peek(unpacked, SAMPLE_BYTES).map_err(failed)?;
    let format = detect(name, &start, start.len() < SAMPLE_BYTES);
    Ok(Opened { text: Box::new(text), format, bytes_in })
}

/// Tells the format from the input's name and its first bytes (see the table of this module's source and
/// the command line's documentation); `whole` says that there are no others. Never `Auto`.
///
/// ```
/// use silverback::import::{Format, detect};
/// assert_eq!(detect("page", b"up 1\n# EOF\n", true), Format::OpenMetrics);
/// assert_eq!(detect("page", b"up 1\n", true), Format::Text);
/// assert_eq!(detect("dump.jsonl.zst", b"", false), Format::Jsonl);
/// ```
pub fn detect(name: &str, start: &[u8], whole: bool) -> Format {
    if let Some(format) = named(name).or_else(|| begins(start)) {
        return format;
    }
    if whole {
        let last = start.trim_ascii_end().rsplit(|&b| b == b'\n').next().unwrap_or_default();
        return if last == b"# EOF" { Format::OpenMetrics } else { Format::Text };
    }
    let mut by_time = None;
    // What follows the last line feed is a part of a line.
    let lines = start.get(..memchr::memrchr(b'\n', start).unwrap_or(0)).unwrap_or_default();
    for line in lines.split(|&b| b == b'\n') {
        match sign(line) {
            Sign::Certain(format) => return format,
            Sign::Time(format) => by_time = by_time.or(Some(format)),
            Sign::None => {}
        }
    }
    by_time.unwrap_or(Format::Text)
}

fn named(name: &str) -> Option<Format> {
    let unpacked = name.strip_suffix(".zst").or_else(|| name.strip_suffix(".gz")).unwrap_or(name);
    match Path::new(unpacked).extension().and_then(|e| e.to_str())? {
        "om" | "openmetrics" => Some(Format::OpenMetrics),
        "scrapes" => Some(Format::Scrapes),
        "jsonl" => Some(Format::Jsonl),
        _ => None,
    }
}

/// What the first line says, where it cannot be one of exposition text.
fn begins(start: &[u8]) -> Option<Format> {
    let start = start.trim_ascii_start();
    if start.starts_with(MARK) {
        return Some(Format::Scrapes);
    }
    let line = start.split(|&b| b == b'\n').next().unwrap_or_default();
    let inside = line.strip_prefix(b"{")?.trim_ascii_start();
    match inside.strip_prefix(b"\"") {
        Some(string) => {
            let end = memchr::memchr(b'"', string)?;
            let after = string.get(end + 1..).unwrap_or_default().trim_ascii_start();
            after.starts_with(b":").then_some(Format::Jsonl)
        }
        None => {
            let n = inside.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
            let (name, after) = inside.split_at_checked(n)?;
            (!name.is_empty() && after.starts_with(b"=\"")).then_some(Format::Promdump)
        }
    }
}

/// What one line says about the format.
enum Sign {
    None,
    Certain(Format),
    Time(Format),
}

fn sign(line: &[u8]) -> Sign {
    if let Some(rest) = line.strip_prefix(b"# ") {
        return metadata_sign(rest);
    }
    if line.is_empty() || matches!(line.first(), Some(b'#' | b' ' | b'\t')) {
        return Sign::Certain(Format::Text);
    }
    let numbers = match memchr::memrchr(b'}', line) {
        Some(n) => line.get(n + 1..).unwrap_or_default(),
        None => line.iter().position(|&b| b == b' ').and_then(|n| line.get(n..)).unwrap_or_default(),
    };
    let has_exemplar =
        memchr::memmem::find(line, b" # {").is_some() && line.iter().filter(|&&b| b == b'}').count() > 1;
    if has_exemplar {
        return Sign::Certain(Format::OpenMetrics);
    }
    let mut words = numbers.split(|&b| b == b' ').filter(|w| !w.is_empty());
    match (words.next(), words.next()) {
        (Some(_), Some(time)) => time_sign(time),
        _ => Sign::None,
    }
}

fn metadata_sign(rest: &[u8]) -> Sign {
    let mut words = rest.split(|&b| b == b' ');
    match (words.next(), words.next(), words.next()) {
        (Some(b"EOF"), None, None) | (Some(b"UNIT"), Some(_), _) => Sign::Certain(Format::OpenMetrics),
        (Some(b"HELP"), Some(_), Some(_)) => Sign::None,
        (Some(b"TYPE"), Some(_), Some(word)) => match word {
            b"untyped" => Sign::Certain(Format::Text),
            b"unknown" | b"info" | b"stateset" | b"gaugehistogram" => Sign::Certain(Format::OpenMetrics),
            _ => Sign::None,
        },
        _ => Sign::Certain(Format::Text),
    }
}

fn time_sign(word: &[u8]) -> Sign {
    let text = std::str::from_utf8(word).unwrap_or_default();
    match text.trim_start_matches('-').parse::<u64>() {
        Ok(t) if t < SECONDS_BELOW => Sign::Time(Format::OpenMetrics),
        Ok(_) => Sign::Time(Format::Text),
        Err(_) if text.contains('.') => Sign::Certain(Format::OpenMetrics),
        Err(_) => Sign::None,
    }
}

/// A reader that still has the bytes that were looked at.
type Peeked<R> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// The first bytes, and a reader that still has them.
fn peek<R: Read>(mut input: R, bytes: usize) -> io::Result<(Vec<u8>, Peeked<R>)> {
    let mut start = Vec::new();
    input.by_ref().take(u64::try_from(bytes).unwrap_or(u64::MAX)).read_to_end(&mut start)?;
    let again = io::Cursor::new(start.clone());
    Ok((start, again.chain(input)))
}

/// An input that is unpacked as it is read.
enum Unpacked<R: Read> {
    Plain(R),
    #[cfg(feature = "gzip")]
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<R>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<R>>>),
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Unpacked::Plain(input) => input.read(out),
            #[cfg(feature = "gzip")]
            Unpacked::Gzip(input) => input.read(out),
            #[cfg(feature = "zstd")]
            Unpacked::Zstd(input) => input.read(out),
        }
    }
}

/// The text of an input of which `bytes_in` counts what was read.
fn unpack<R: Read>(
    name: &str,
    input: R,
    bytes_in: &Arc<AtomicU64>,
    max_ratio: u64,
) -> Result<Bounded<Unpacked<Peeked<Counted<R>>>>> {
    let failed = |e: io::Error| Error::io("read the input", name, e);
    let (magic, input) = peek(Counted { input, bytes: Arc::clone(bytes_in) }, 4).map_err(failed)?;
    let (input, max_ratio) = match *magic {
        [0x1f, 0x8b, ..] => (gzip(name, input)?, max_ratio),
        [0x28, 0xb5, 0x2f, 0xfd] => (zstd(name, input)?, max_ratio),
        _ => (Unpacked::Plain(input), NOT_PACKED),
    };
    Ok(Bounded { input, packed: Arc::clone(bytes_in), unpacked: 0, max_ratio })
}

#[cfg(feature = "gzip")]
fn gzip<R: Read>(_: &str, input: R) -> Result<Unpacked<R>> {
    Ok(Unpacked::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(input)))))
}

#[cfg(not(feature = "gzip"))]
fn gzip<R: Read>(name: &str, _: R) -> Result<Unpacked<R>> {
    Err(Error::new(
        crate::ErrorKind::InvalidInput,
        "the input is packed with gzip; build with the feature gzip, or unpack it",
    )
    .at(name))
}

#[cfg(feature = "zstd")]
fn zstd<R: Read>(name: &str, input: R) -> Result<Unpacked<R>> {
    let decoder = zstd::stream::read::Decoder::with_buffer(BufReader::new(input));
    Ok(Unpacked::Zstd(Box::new(decoder.map_err(|e| Error::io("unpack the input", name, e))?)))
}

#[cfg(not(feature = "zstd"))]
fn zstd<R: Read>(name: &str, _: R) -> Result<Unpacked<R>> {
    Err(Error::new(
        crate::ErrorKind::InvalidInput,
        "the input is packed with zstd; build with the feature zstd, or unpack it",
    )
    .at(name))
}

/// Counts what is read.
struct Counted<R> {
    input: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(out)?;
        self.bytes.fetch_add(u64::try_from(n).unwrap_or(0), Ordering::Relaxed);
        Ok(n)
    }
}

/// Stops what unpacks to too much.
struct Bounded<R> {
    input: R,
    packed: Arc<AtomicU64>,
    unpacked: u64,
    max_ratio: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(out)?;
        self.unpacked = self.unpacked.saturating_add(u64::try_from(n).unwrap_or(0));
        let limit = self.packed.load(Ordering::Relaxed).saturating_mul(self.max_ratio).max(ALWAYS_BYTES);
        match self.unpacked > limit {
            true => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it unpacks to more than the allowed ratio"))
            }
            false => Ok(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(line: &str) -> Format {
        detect("dump", format!("# TYPE a gauge\n{line}\na 1\n").as_bytes(), false)
    }

    #[test]
    fn name_decides_first() {
        assert_eq!(detect("x.om.zst", b"\n", true), Format::OpenMetrics);
        assert_eq!(detect("x.openmetrics", b"", true), Format::OpenMetrics);
        assert_eq!(detect("x.prom.gz", b"a 1\n# EOF\n", true), Format::OpenMetrics);
        assert_eq!(detect("x.om.txt", b"a 1\n", true), Format::Text);
    }

    #[test]
    fn a_first_line_that_no_exposition_has_decides() {
        for (line, expected) in [
            ("#!scrape 1 200 5 text/plain", Format::Scrapes),
            ("{\"metric\":{}}", Format::Jsonl),
            (" { \"metric\" : {}}", Format::Jsonl),
            ("{__name__=\"up\"} 1 1", Format::Promdump),
            ("{A=\"b\"} 1 1", Format::Promdump),
            ("{\"up\", a=\"b\"} 1 1", Format::Text),
            ("{\"a\"=\"b\",\"up\"} 1 1", Format::Text),
            ("{", Format::Text),
            ("up{a=\"b\"} 1", Format::Text),
            ("#!scraped", Format::Text),
        ] {
            assert_eq!(detect("-", format!("{line}\n").as_bytes(), true), expected, "{line}");
            assert_eq!(detect("-", format!("\n{line}\n").as_bytes(), false), expected, "{line}");
        }
        assert_eq!(detect("x.scrapes.zst", b"a 1", true), Format::Scrapes);
        assert_eq!(detect("x.jsonl", b"a 1", true), Format::Jsonl);
    }

    #[test]
    fn content_decides_otherwise() {
        for line in [
            "# EOF",
            "# UNIT a_s s",
            "# TYPE b unknown",
            "b 1 # {x=\"y\"} 1 ",
            "b{c=\"d\"} 1 1.5",
            "b 1 1600000000",
        ] {
            let expected = if line.contains("# {") { Format::Text } else { Format::OpenMetrics };
            assert_eq!(long(line), expected, "{line}");
        }
        assert_eq!(long("b{c=\"d\"} 1 # {x=\"y\"} 1"), Format::OpenMetrics);
        for line in ["", "# a comment", "#", "# TYPE b untyped", "  b 1", "b 1 1600000000000", "b 1"] {
            assert_eq!(long(line), Format::Text, "{line}");
        }
    }

    #[test]
    fn what_unpacks_too_far_is_stopped() {
        let packed = Arc::new(AtomicU64::new(1));
        let mut bounded = Bounded { input: io::repeat(b'a'), packed, unpacked: 0, max_ratio: 1_000 };
        let error = io::copy(&mut bounded, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(bounded.unpacked <= ALWAYS_BYTES + 1_000_000);
    }
}
