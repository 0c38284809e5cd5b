//! The lexer core that both grammars share: a cursor over the bytes of one entry.
//!
//! ```text
//!   a{b="c"} 1 2\n
//!   ^at          running out of bytes is Stop::More (read on, then parse the entry anew);
//!                anything else that does not fit is Stop::Bad with the offset where it stands
//! ```
//!
//! Nothing is copied or unescaped here: names, labels and texts are [`Span`]s of the input, and
//! [`Head`] keeps its buffer from one entry to the next, so that a line costs no allocation.
//! Spans of a head are relative to the first byte of its series, so that they stay true for a
//! later line that begins with the very same bytes.

use memchr::{memchr2, memchr3};

/// Why the parser stopped before the end of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The bytes at hand end within the entry.
    More,
    /// The entry is malformed.
    Bad {
        /// Offset from the start of the entry.
        at: usize,
        /// What was expected or is wrong, in words.
        why: &'static str,
    },
}

/// A stretch of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first byte.
    pub(crate) start: usize,
    /// The byte after the last.
    pub(crate) end: usize,
}

impl Span {
    /// The bytes that it covers; none if it lies outside.
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Without the quotes at both ends.
    fn unquoted(self) -> Span {
        Span { start: self.start + 1, end: self.end.saturating_sub(1) }
    }
}

/// One label as it stands in the input: without quotes, with escapes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LabelSpan {
    /// The name.
    pub(crate) name: Span,
    /// The value.
    pub(crate) value: Span,
}

/// A series as it stands in the input. Spans are relative to its first byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// How many bytes the series has, from the start of its line on.
    pub(crate) bytes: usize,
    /// The metric name, without quotes; `None` until it is found.
    pub(crate) name: Option<Span>,
    /// The labels in the order of the input, the name not among them.
    pub(crate) labels: Vec<LabelSpan>,
}

impl Head {
    /// Makes it empty and keeps the buffer.
    pub(crate) fn clear(&mut self) {
        self.bytes = 0;
        self.name = None;
        self.labels.clear();
    }
}

/// What a quoted string may hold besides text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoting {
    /// Line feeds.
    pub(crate) newlines: bool,
    /// NUL bytes.
    pub(crate) nuls: bool,
}

/// Where labels stand, which decides what is allowed among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabelRules {
    /// Blanks between tokens, and labels that no comma separates (Prometheus text).
    pub(crate) loose: bool,
    /// Blanks after a comma (strict OpenMetrics parsers take them).
    pub(crate) blank_after_comma: bool,
    /// Whether a quoted string alone names the metric.
    pub(crate) names: bool,
    /// What values may hold.
    pub(crate) values: Quoting,
    /// What quoted names may hold.
    pub(crate) quoted_names: Quoting,
}

/// A cursor over the bytes from the start of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Scan<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Scan<'b> {
    /// Starts at offset `at`.
    pub(crate) fn new(bytes: &'b [u8], at: usize) -> Scan<'b> {
        Scan { bytes, at }
    }

    /// The offset of the next byte.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The bytes from the cursor on.
    pub(crate) fn rest(&self) -> &'b [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next byte.
    #[inline]
    pub(crate) fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::More)
    }

    /// Goes `n` bytes on.
    pub(crate) fn skip(&mut self, n: usize) {
        self.at += n;
    }

    /// A complaint about the next byte.
    pub(crate) fn bad<T>(&self, why: &'static str) -> Result<T, Stop> {
        Err(Stop::Bad { at: self.at, why })
    }

    /// Takes the next byte if it is `byte`.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> Result<bool, Stop> {
        let is = self.peek()? == byte;
        self.at += usize::from(is);
        Ok(is)
    }

    /// Takes the next byte, which must be `byte`.
    pub(crate) fn expect(&mut self, byte: u8, why: &'static str) -> Result<(), Stop> {
        match self.take(byte)? {
            true => Ok(()),
            false => self.bad(why),
        }
    }

    /// Takes `word` if it comes next.
    pub(crate) fn word(&mut self, word: &[u8]) -> Result<bool, Stop> {
        let rest = self.rest();
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(true);
        }
        match word.starts_with(rest) {
            true => Err(Stop::More),
            false => Ok(false),
        }
    }

    /// Skips spaces and tabs.
    #[inline]
    pub(crate) fn blanks(&mut self) -> Result<(), Stop> {
        while matches!(self.peek()?, b' ' | b'\t') {
            self.at += 1;
        }
        Ok(())
    }

    /// Takes bytes while `belongs`; there must be one that does not.
    #[inline]
    pub(crate) fn run(&mut self, belongs: impl Fn(u8) -> bool) -> Result<Span, Stop> {
        let start = self.at;
        match self.rest().iter().position(|&b| !belongs(b)) {
            Some(n) => self.at += n,
            None => return Err(Stop::More),
        }
        Ok(Span { start, end: self.at })
    }

    /// Takes the rest of the line, without its line feed, which stays.
    pub(crate) fn line(&mut self) -> Result<Span, Stop> {
        let start = self.at;
        self.at += memchr::memchr(b'\n', self.rest()).ok_or(Stop::More)?;
        Ok(Span { start, end: self.at })
    }

    /// Takes a quoted string; the span is what stands between the quotes.
    pub(crate) fn quoted(&mut self, quoting: Quoting) -> Result<Span, Stop> {
        let start = self.at;
        self.at += 1;
        // Nearly all: nothing in it is special, and NUL bytes may be.
        let end = if quoting.nuls { memchr3(b'"', b'\\', b'\n', self.rest()) } else { None };
        if let Some(n) = end.filter(|&n| self.rest().get(n) == Some(&b'"')) {
            self.at += n + 1;
            return Ok(Span { start, end: self.at }.unquoted());
        }
        loop {
            let n = memchr2(b'"', b'\\', self.rest()).ok_or(Stop::More);
            let plain = self.rest().get(..*n.as_ref().unwrap_or(&self.rest().len())).unwrap_or_default();
            self.check_plain(plain, quoting)?;
            self.at += n?;
            if self.take(b'"')? {
                return Ok(Span { start, end: self.at }.unquoted());
            }
            self.at += 1;
            if matches!(self.peek()?, b'\n' | 0) {
                return self.bad("a backslash before a line feed or NUL escapes nothing");
            }
            self.at += 1;
        }
    }

    /// Refuses what a quoted string may not hold: the first of it, so that the verdict is the same however much is known.
    fn check_plain(&self, plain: &[u8], quoting: Quoting) -> Result<(), Stop> {
        let newline = if quoting.newlines { None } else { memchr::memchr(b'\n', plain) };
        let line = plain.get(..newline.unwrap_or(plain.len())).unwrap_or_default();
        let nul = if quoting.nuls { None } else { memchr::memchr(0, line) };
        let (n, why) = match (nul, newline) {
            (Some(n), _) => (n, "a NUL byte within a quoted name"),
            (None, Some(n)) => (n, "the line ends within a quoted string"),
            (None, None) => return Ok(()),
        };
        Err(Stop::Bad { at: self.at + n, why })
    }

    /// Takes a metric name without quotes: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    pub(crate) fn metric_name(&mut self, why: &'static str) -> Result<Span, Stop> {
        match is_name_start(self.peek()?) || self.peek()? == b':' {
            true => self.run(|b| is_name_byte(b) || b == b':'),
            false => self.bad(why),
        }
    }

    /// Takes the name of a metric family in a metadata line, quoted or not.
    pub(crate) fn family(&mut self, quoting: Quoting) -> Result<Span, Stop> {
        if self.peek()? != b'"' {
            return self.metric_name("expected a metric name after HELP, TYPE or UNIT");
        }
        let span = self.quoted(quoting)?;
        self.utf8(span, "the quoted name is not valid UTF-8")?;
        Ok(span)
    }

    /// Refuses a span that is not UTF-8.
    pub(crate) fn utf8(&self, span: Span, why: &'static str) -> Result<(), Stop> {
        match std::str::from_utf8(span.of(self.bytes)) {
            Ok(_) => Ok(()),
            Err(e) => Err(Stop::Bad { at: span.start + e.valid_up_to(), why }),
        }
    }

    /// Takes labels after their `{`, through the `}`.
    pub(crate) fn labels(&mut self, rules: LabelRules, head: &mut Head) -> Result<(), Stop> {
        self.gap(rules)?;
        loop {
            if self.take(b'}')? {
                return Ok(());
            }
            let quoted = self.peek()? == b'"';
            let name = self.label_name(rules)?;
            self.gap(rules)?;
            let next = self.peek()?;
            if quoted && matches!(next, b',' | b'}') {
                self.name_in_braces(name, rules, head)?;
                if next == b'}' {
                    continue;
                }
                self.at += 1;
                self.after_comma(rules)?;
                continue;
            }
            self.expect(b'=', "expected '=' after the label name")?;
            let value = self.label_value(rules)?;
            head.labels.push(LabelSpan { name, value });
            self.separator(rules)?;
        }
    }

    fn label_name(&mut self, rules: LabelRules) -> Result<Span, Stop> {
        match self.peek()? {
            b'"' => {
                let span = self.quoted(rules.quoted_names)?;
                self.utf8(span, "the quoted name is not valid UTF-8")?;
                Ok(span)
            }
            b if is_name_start(b) => self.run(is_name_byte),
            _ => self.bad("expected a label name or '}'"),
        }
    }

    fn name_in_braces(&self, name: Span, rules: LabelRules, head: &mut Head) -> Result<(), Stop> {
        let why = match (rules.names, head.name) {
            (false, _) => "expected '=' after the label name",
            (true, Some(_)) => "the metric name is given twice",
            (true, None) => {
                head.name = Some(name);
                return Ok(());
            }
        };
        Err(Stop::Bad { at: name.start, why })
    }

    fn label_value(&mut self, rules: LabelRules) -> Result<Span, Stop> {
        self.gap(rules)?;
        if self.peek()? != b'"' {
            return self.bad("expected a label value in double quotes");
        }
        let value = self.quoted(rules.values)?;
        self.utf8(value, "the label value is not valid UTF-8")?;
        Ok(value)
    }

    /// What follows a label's value: a comma (which may be missing in Prometheus text), or `}`.
    fn separator(&mut self, rules: LabelRules) -> Result<(), Stop> {
        self.gap(rules)?;
        if self.take(b',')? {
            return self.after_comma(rules);
        }
        match rules.loose || self.peek()? == b'}' {
            true => Ok(()),
            false => self.bad("expected ',' or '}' after the label value"),
        }
    }

    fn gap(&mut self, rules: LabelRules) -> Result<(), Stop> {
        if rules.loose { self.blanks() } else { Ok(()) }
    }

    fn after_comma(&mut self, rules: LabelRules) -> Result<(), Stop> {
        if rules.loose || rules.blank_after_comma { self.blanks() } else { Ok(()) }
    }
}

/// Whether a label name may begin so.
pub(crate) fn is_name_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_'
}

/// Whether a label name may go on so.
pub(crate) fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}
