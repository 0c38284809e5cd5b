//! A stream of events from exposition text: the grammar over a moving window.
//!
//! ```text
//!   Read ─▶ Window ─bytes─▶ Grammar ─spans─▶ Parser::next() ─▶ Event, or a Fault with line and column
//! ```
//!
//! Events borrow from the input, and a line costs no allocation. Dumps write one series line after
//! line: a line that begins with the very bytes of the series before it is recognised by one
//! comparison ([`SampleEvent::same_series`]) and only its numbers are read. That is sound since the
//! grammars are deterministic: equal bytes from the start of a line lex equally as long as the
//! byte after them cannot extend the last token.
//!
//! After a fault the parser stands behind the line that has it: [`Parser::next`] may go on.

use std::fmt;
use std::io::{self, Read};

use super::grammar::{Entry, Grammar, Kind};
use super::labels::{LabelBuffer, unescape};
use super::plain::Times;
use super::scan::{Head, Span, Stop};
use super::segments::Segments;
use super::window::{FillError, PlainLines, Window};
use crate::{MetricType, Workers};

/// The longest line, or sample with line feeds in its quotes, that is read.
pub(crate) const MAX_ENTRY_BYTES: usize = 16 * 1024 * 1024;

/// Where and why the input is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: u64,
    /// The byte within the line, from 1.
    pub column: u64,
    /// What is wrong, in words.
    pub why: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.why)
    }
}

impl std::error::Error for Fault {}

/// Why there is no next event.
#[derive(Debug)]
pub enum ParseError {
    /// The input is not valid there; the parser may go on with the next line.
    Invalid(Fault),
    /// Reading failed.
    Io(io::Error),
}

/// One thing that the input says.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A sample.
    Sample(SampleEvent<'a>),
    /// A native histogram, checked for its form and no more (strict only).
    NativeHistogram(SampleEvent<'a>),
    /// `# TYPE`.
    Type(Escaped<'a>, MetricType),
    /// `# HELP`: family and text.
    Help(Escaped<'a>, Escaped<'a>),
    /// `# UNIT`: family and unit.
    Unit(Escaped<'a>, &'a str),
    /// A comment: Prometheus text only.
    Comment(&'a [u8]),
    /// `# EOF`: OpenMetrics only.
    Eof,
}

/// Text as it stands in the input, with its escapes.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    bytes: &'a [u8],
    quotes: bool,
}

impl Escaped<'_> {
    /// The text as it stands in the input.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The text without its escapes.
    pub fn unescaped(&self) -> String {
        let mut out = String::new();
        unescape(self.bytes, self.quotes, &mut out);
        out
    }
}

/// A sample, borrowed from the input.
#[derive(Clone, Copy, Debug)]
pub struct SampleEvent<'a> {
    head: &'a Head,
    series: &'a [u8],
    exemplar: Option<&'a [u8]>,
    metric_type: MetricType,
    value: f64,
    timestamp_ms: Option<i64>,
    same_series: bool,
    line: u64,
}

impl<'a> SampleEvent<'a> {
    /// The line on which it begins, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The bytes of the series as they stand in the input: a key for what they mean.
    pub fn series(&self) -> &'a [u8] {
        self.series
    }

    /// The value.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The time in milliseconds, if the sample has one.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp_ms
    }

    /// Whether the sample has an exemplar.
    pub fn has_exemplar(&self) -> bool {
        self.exemplar.is_some()
    }

    /// The labels of the exemplar, from behind their `{` on.
    pub(crate) fn exemplar_labels(&self) -> Option<&'a [u8]> {
        self.exemplar
    }

    /// Whether [`series`](SampleEvent::series) is that of the sample before, byte for byte.
    pub fn same_series(&self) -> bool {
        self.same_series
    }

    /// The label whose value Prometheus spells anew when it scrapes: `le` where the last `# TYPE`
    /// is a histogram, `quantile` where it is a summary.
    pub(crate) fn number_label(&self) -> Option<&'static str> {
        match self.metric_type {
            MetricType::Histogram => Some("le"),
            MetricType::Summary => Some("quantile"),
            _ => None,
        }
    }

    /// Puts the labels into `buffer` as Prometheus stores them: numbers of `le` and `quantile`
    /// spelled as OpenMetrics spells them (`1.0`) if the sample has no timestamp, as written if it
    /// has one (see [`LabelNumbers`](super::LabelNumbers)).
    pub fn labels(&self, buffer: &mut LabelBuffer) {
        let number_label = if self.timestamp_ms.is_none() { self.number_label() } else { None };
        buffer.fill(self.series, self.head, number_label);
    }

    /// Name and value of each label as in a [`LabelBuffer`], if they stand in the input as they are: without escapes.
    pub(crate) fn plain_labels(&self) -> Option<impl Iterator<Item = (&'a str, &'a str)>> {
        let text = std::str::from_utf8(self.series).ok()?;
        let part = |span: Span| text.get(span.start..span.end).unwrap_or_default();
        let name = ("__name__", part(self.head.name.unwrap_or_default()));
        let labels = self.head.labels.iter().map(move |label| (part(label.name), part(label.value)));
        memchr::memchr(b'\\', self.series).is_none().then(|| std::iter::once(name).chain(labels))
    }

    /// Puts the labels into `buffer`, with the value of `number_label` spelled anew.
    pub(crate) fn labels_with(&self, buffer: &mut LabelBuffer, number_label: Option<&str>) {
        buffer.fill(self.series, self.head, number_label);
    }
}

/// Reads events from exposition text.
///
/// ```
/// use silverback::import::{Event, Parser};
/// let mut parser = Parser::text(&b"# TYPE up gauge\nup{job=\"node\"} 1\n"[..]);
/// while let Ok(Some(event)) = parser.next() {
///     if let Event::Sample(sample) = event {
///         assert_eq!((sample.series(), sample.value()), (&b"up{job=\"node\"}"[..], 1.0));
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Parser<R> {
    window: Window<R>,
    grammar: Grammar,
    concatenated: bool,
    /// Bytes of the entry given out last, to be consumed before the next.
    pending: usize,
    head: Head,
    /// The bytes of the series in `head`; empty if it is not to be relied on.
    series: Vec<u8>,
    metric_type: MetricType,
    state: State,
    line_feed_added: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Entries may follow.
    Open,
    /// The rest of a bad line is to be skipped.
    SkipLine,
    /// `# EOF` was read.
    Eof,
    /// Nothing follows.
    Done,
}

impl<R: Read> Parser<R> {
    /// Reads `input` by a grammar; `concatenated` allows further documents after `# EOF`.
    pub(crate) fn new(input: R, grammar: Grammar, concatenated: bool) -> Parser<R> {
        Parser::over(Window::new(input, MAX_ENTRY_BYTES), grammar, concatenated)
    }

    /// As [`new`](Parser::new), with plain lines found beside the caller by `workers`, in segments of so many bytes.
    pub(crate) fn beside(
        input: R,
        grammar: Grammar,
        concatenated: bool,
        (workers, segment_bytes): (Workers, usize),
    ) -> Parser<R> {
        let times = if grammar == Grammar::Text { Times::Milliseconds } else { Times::Seconds };
        let segments = Segments::new(input, times, workers, segment_bytes);
        Parser::over(Window::segmented(segments, MAX_ENTRY_BYTES), grammar, concatenated)
    }

    fn over(window: Window<R>, grammar: Grammar, concatenated: bool) -> Parser<R> {
        Parser {
            window,
            grammar,
            concatenated,
            pending: 0,
            head: Head::default(),
            series: Vec::new(),
            metric_type: MetricType::Unknown,
            state: State::Open,
            line_feed_added: false,
        }
    }

    /// A parser of Prometheus text 0.0.4.
    pub fn text(input: R) -> Parser<R> {
        Parser::new(input, Grammar::Text, false)
    }

    /// A parser of OpenMetrics 1.0.
    pub fn openmetrics(input: R) -> Parser<R> {
        Parser::new(input, Grammar::OpenMetrics, false)
    }

    /// Bytes read from the input so far.
    pub fn bytes_read(&self) -> u64 {
        self.window.bytes_read()
    }

    /// The line on which the event given out last begins, from 1.
    pub fn line(&self) -> u64 {
        self.window.line()
    }

    /// The next event, or `None` at the end.
    ///
    /// # Errors
    /// [`ParseError::Invalid`] says where the input is not valid, and a further call goes on with the next line;
    /// [`ParseError::Io`] that reading failed, which ends it.
    #[expect(
        clippy::should_implement_trait,
        reason = "events borrow from the parser, which no Iterator can say"
    )]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, ParseError> {
        let (entry, same_series) = loop {
            self.window.consume(self.pending);
            self.pending = 0;
            if !self.ready()? {
                return Ok(None);
            }
            let (outcome, same) = self.parse();
            match outcome {
                Ok(Entry { kind: Kind::Blank, bytes }) => self.pending = bytes,
                Ok(entry) => break (entry, same),
                Err(Stop::More) => self.read_on()?,
                Err(Stop::Bad { at, why }) => return Err(self.fault(at, why)),
            }
        };
        self.pending = entry.bytes;
        match entry.kind {
            Kind::Type(_, metric_type) => self.metric_type = metric_type,
            Kind::Eof => {
                self.state = State::Eof;
                self.series.clear();
                self.metric_type = MetricType::Unknown;
            }
            Kind::Sample(_) | Kind::Histogram if !same_series => self.remember(),
            _ => {}
        }
        Ok(Some(self.event(entry, same_series)))
    }

    /// The plain lines that come next, if what should be their series is one that the grammar read before: see `segments`.
    #[inline]
    pub(crate) fn plain(&mut self) -> Option<PlainLines<'_>> {
        if self.begin_plain() { self.window.plain(false) } else { None }
    }

    /// The plain lines that go on with the series of the sample that [`next`](Parser::next) gave last.
    pub(crate) fn stretch(&mut self) -> Option<PlainLines<'_>> {
        if !self.begin_plain() {
            return None;
        }
        self.window.plain(true).filter(|lines| lines.series == self.series.as_slice())
    }

    /// Goes on behind so many plain lines of so many bytes.
    #[inline]
    pub(crate) fn take_plain(&mut self, lines: usize, bytes: usize) {
        self.window.consume_lines(bytes, u64::try_from(lines).unwrap_or(0));
    }

    /// Leaves the entry given out last; says whether entries may follow.
    #[inline]
    fn begin_plain(&mut self) -> bool {
        if self.pending > 0 {
            self.window.consume(self.pending);
            self.pending = 0;
        }
        self.state == State::Open
    }

    /// Whether there is an entry to parse; deals with what stands before it.
    fn ready(&mut self) -> Result<bool, ParseError> {
        loop {
            let rest = self.window.bytes();
            match self.state {
                State::Done => return Ok(false),
                State::SkipLine => {
                    let line_feed = memchr::memchr(b'\n', rest);
                    let n = line_feed.map_or(rest.len(), |n| n + 1);
                    self.window.consume(n);
                    if line_feed.is_some() {
                        self.state = State::Open;
                        continue;
                    }
                    if !self.fill()? {
                        self.state = State::Open;
                    }
                }
                _ if !rest.is_empty() => return self.not_after_eof(),
                _ => {
                    if !self.fill()? {
                        return self.at_end();
                    }
                }
            }
        }
    }

    fn not_after_eof(&mut self) -> Result<bool, ParseError> {
        if self.state != State::Eof {
            return Ok(true);
        }
        if self.concatenated {
            self.state = State::Open;
            return Ok(true);
        }
        self.state = State::Done;
        Err(ParseError::Invalid(self.place(0, "data follows after # EOF")))
    }

    /// The end of the input: OpenMetrics must have said so before.
    fn at_end(&mut self) -> Result<bool, ParseError> {
        let missing = self.state == State::Open && self.grammar != Grammar::Text;
        self.state = State::Done;
        match missing {
            true => Err(ParseError::Invalid(self.place(0, "the input does not end with # EOF"))),
            false => Ok(false),
        }
    }

    /// Parses one entry; says whether its series was recognised by its bytes.
    fn parse(&mut self) -> (Result<Entry, Stop>, bool) {
        let bytes = self.window.bytes();
        let n = self.series.len();
        if n > 0 && bytes.starts_with(&self.series) && self.series_ends(bytes, n) {
            let outcome = self.grammar.tail(bytes, n, &mut self.head);
            if matches!(outcome, Err(Stop::Bad { .. })) {
                self.series.clear();
            }
            return (outcome, true);
        }
        self.series.clear();
        (self.grammar.entry(bytes, self.window.ended(), &mut self.head), false)
    }

    /// Whether the series that `bytes` begins with surely ends after `n` bytes: after its `}`, or
    /// before a space that no `{` can follow. A native histogram may follow a series only in strict mode.
    fn series_ends(&self, bytes: &[u8], n: usize) -> bool {
        let (next, after) = (bytes.get(n), bytes.get(n + 1));
        if self.grammar == Grammar::Strict {
            return false;
        }
        match self.series.last() {
            Some(b'}') => true,
            _ => next == Some(&b' ') && !matches!(after, None | Some(b' ' | b'\t' | b'{')),
        }
    }

    /// The entry does not end in the window: reads on, or ends it.
    fn read_on(&mut self) -> Result<(), ParseError> {
        // What was recognised by its bytes stays recognised; `head` may be half filled otherwise. To know that the input ends here
        // is news, too.
        let knew = self.window.ended();
        if self.fill()? || !knew {
            return Ok(());
        }
        if self.grammar == Grammar::Text && !self.line_feed_added && self.window.end_last_line() {
            self.line_feed_added = true;
            return Ok(());
        }
        let at = self.window.bytes().len();
        let why = match self.grammar {
            Grammar::Text => "the input ends within a quoted string",
            _ => "the input ends within a line; it does not end with # EOF",
        };
        Err(self.fault(at, why))
    }

    fn fill(&mut self) -> Result<bool, ParseError> {
        match self.window.fill() {
            Ok(more) => Ok(more),
            Err(FillError::Io(e)) => {
                self.state = State::Done;
                Err(ParseError::Io(e))
            }
            Err(FillError::TooLong) => Err(self.fault(0, "the line is longer than 16 MiB")),
        }
    }

    /// A complaint about the byte at offset `at` of the current entry; its first line is skipped.
    fn fault(&mut self, at: usize, why: &'static str) -> ParseError {
        let fault = self.place(at, why);
        self.series.clear();
        if self.state != State::Done {
            self.state = State::SkipLine;
        }
        ParseError::Invalid(fault)
    }

    fn place(&self, at: usize, why: &'static str) -> Fault {
        let before = self.window.bytes().get(..at).unwrap_or_default();
        let lines = u64::try_from(memchr::memchr_iter(b'\n', before).count()).unwrap_or(0);
        let start = memchr::memrchr(b'\n', before).map_or(0, |n| n + 1);
        let column = u64::try_from(before.len() - start).unwrap_or(0) + 1;
        Fault { line: self.window.line() + lines, column, why }
    }

    /// Keeps the bytes of the series in `head`, to recognise it on the next line.
    fn remember(&mut self) {
        let series = self.window.bytes().get(..self.head.bytes).unwrap_or_default();
        self.series.clear();
        self.series.extend_from_slice(series);
    }

    fn event(&self, entry: Entry, same_series: bool) -> Event<'_> {
        let bytes = self.window.bytes();
        let escaped = |span: Span| Escaped { bytes: span.of(bytes), quotes: true };
        let sample = SampleEvent {
            head: &self.head,
            series: bytes.get(..self.head.bytes).unwrap_or_default(),
            exemplar: None,
            metric_type: self.metric_type,
            value: f64::NAN,
            timestamp_ms: None,
            same_series,
            line: self.window.line(),
        };
        match entry.kind {
            Kind::Sample(tail) => Event::Sample(SampleEvent {
                value: tail.value,
                timestamp_ms: tail.timestamp_ms,
                exemplar: tail.exemplar.map(|span| span.of(bytes)),
                ..sample
            }),
            Kind::Histogram => Event::NativeHistogram(sample),
            Kind::Type(family, metric_type) => Event::Type(escaped(family), metric_type),
            Kind::Help(family, text) => {
                let quotes = self.grammar != Grammar::Text;
                Event::Help(escaped(family), Escaped { bytes: text.of(bytes), quotes })
            }
            Kind::Unit(family, unit) => {
                Event::Unit(escaped(family), std::str::from_utf8(unit.of(bytes)).unwrap_or_default())
            }
            Kind::Comment(text) => Event::Comment(text.of(bytes)),
            Kind::Blank | Kind::Eof => Event::Eof,
        }
    }
}
