//! Prometheus text 0.0.4, as Prometheus's own parser reads it (textparse, release 3.13).
//!
//! ```text
//!   # HELP name text      # TYPE name counter|gauge|histogram|summary|untyped      # anything
//!   name{label="value", …} value timestamp_ms
//!   {"quoted name", "quoted label"="value", …} value timestamp_ms
//! ```
//!
//! Followed on purpose where one might expect otherwise:
//! - Blanks (space, tab) may stand between any two tokens, and commas between labels may be
//!   missing; but `{,}` is refused. Blanks before a metric name belong to it.
//! - A quoted string may hold line feeds; a label value, a help text or a comment NUL bytes.
//! - A label name may stand twice here; no store takes such a series, so that the import refuses it.
//! - `# TYPE` takes exactly one separating byte after the name, and no blank after the type.
//!
//! Not followed: a NUL byte where a line begins ends the input silently in Prometheus; here it is
//! an error, as are quoted names that are not UTF-8.

use super::grammar::{Kind, Tail};
use super::number;
use super::scan::{Head, LabelRules, Quoting, Scan, Span, Stop};
use crate::MetricType;

const RULES: LabelRules = LabelRules {
    loose: true,
    blank_after_comma: true,
    names: true,
    values: Quoting { newlines: true, nuls: true },
    quoted_names: NAMES,
};

const NAMES: Quoting = Quoting { newlines: true, nuls: false };

/// Parses one entry through its line feed.
pub(crate) fn entry(scan: &mut Scan<'_>, head: &mut Head) -> Result<Kind, Stop> {
    scan.blanks()?;
    match scan.peek()? {
        b'\n' => {
            scan.skip(1);
            Ok(Kind::Blank)
        }
        b'#' => comment(scan),
        _ => {
            series(scan, head)?;
            Ok(Kind::Sample(tail(scan)?))
        }
    }
}

/// Parses value and timestamp through the line feed.
pub(crate) fn tail(scan: &mut Scan<'_>) -> Result<Tail, Stop> {
    scan.blanks()?;
    let at = scan.at();
    let rest = scan.rest();
    let token = scan.run(|b| !matches!(b, b'{' | b' ' | b'\t' | b'\n'))?;
    let text = rest.get(..token.end - at).unwrap_or_default();
    if text.is_empty() {
        return scan.bad("expected a value after the series");
    }
    let value = number::value(text).ok_or(Stop::Bad { at, why: "the value is no number" })?;
    scan.blanks()?;
    let mut timestamp_ms = None;
    if scan.peek()? != b'\n' {
        timestamp_ms = Some(timestamp(scan)?);
        scan.blanks()?;
    }
    scan.expect(b'\n', "expected the end of the line after the timestamp")?;
    Ok(Tail { value, timestamp_ms, exemplar: None })
}

fn timestamp(scan: &mut Scan<'_>) -> Result<i64, Stop> {
    let at = scan.at();
    let rest = scan.rest();
    let digits = scan.run(|b| b.is_ascii_digit())?;
    if digits.start == digits.end {
        return scan
            .bad("expected a timestamp (digits: milliseconds) or the end of the line after the value");
    }
    let mut ms = 0i64;
    for b in rest.get(..digits.end - at).unwrap_or_default() {
        let next = ms.checked_mul(10).and_then(|ms| ms.checked_add(i64::from(b - b'0')));
        ms = next.ok_or(Stop::Bad { at, why: "the timestamp does not fit 64 bits" })?;
    }
    Ok(ms)
}

fn series(scan: &mut Scan<'_>, head: &mut Head) -> Result<(), Stop> {
    if scan.peek()? != b'{' {
        let name = scan.metric_name("expected a metric name, '{' or '#'")?;
        head.name = Some(Span { start: 0, end: name.end });
        head.bytes = name.end;
        scan.blanks()?;
    }
    if scan.take(b'{')? {
        scan.labels(RULES, head)?;
        head.bytes = scan.at();
    }
    match head.name {
        Some(_) => Ok(()),
        None => scan.bad("the series has no metric name"),
    }
}

/// What begins with `#`: metadata, or a comment, which is everything else.
fn comment(scan: &mut Scan<'_>) -> Result<Kind, Stop> {
    scan.skip(1);
    let blank = matches!(scan.peek()?, b' ' | b'\t');
    scan.blanks()?;
    let after = scan.clone();
    if blank && scan.word(b"HELP")? && matches!(scan.peek()?, b' ' | b'\t') {
        let (family, text) = metadata(scan)?;
        scan.utf8(text, "the help text is not valid UTF-8")?;
        scan.skip(1);
        return Ok(Kind::Help(family, text));
    }
    *scan = after.clone();
    if blank && scan.word(b"TYPE")? && matches!(scan.peek()?, b' ' | b'\t') {
        let rest = scan.rest();
        let base = scan.at();
        let (family, text) = metadata(scan)?;
        let word = rest.get(text.start - base..text.end - base).unwrap_or_default();
        let metric_type = metric_type(word).ok_or(Stop::Bad {
            at: text.start,
            why: "the type is none of counter, gauge, histogram, summary, untyped",
        })?;
        scan.skip(1);
        return Ok(Kind::Type(family, metric_type));
    }
    *scan = after;
    let text = scan.line()?;
    scan.skip(1);
    Ok(Kind::Comment(text))
}

/// Name and text of a metadata line. One byte after the name separates the two, whatever it is.
fn metadata(scan: &mut Scan<'_>) -> Result<(Span, Span), Stop> {
    scan.blanks()?;
    let family = scan.family(NAMES)?;
    if scan.peek()? == 0 {
        return scan.bad("a NUL byte after the metric name");
    }
    let rest = scan.rest();
    let line = scan.line()?;
    let blank = rest.iter().take(line.end - line.start).all(|b| matches!(b, b' ' | b'\t'));
    let start = if blank { line.end } else { line.start + 1 };
    Ok((family, Span { start, end: line.end }))
}

fn metric_type(word: &[u8]) -> Option<MetricType> {
    match word {
        b"counter" => Some(MetricType::Counter),
        b"gauge" => Some(MetricType::Gauge),
        b"histogram" => Some(MetricType::Histogram),
        b"summary" => Some(MetricType::Summary),
        b"untyped" => Some(MetricType::Unknown),
        _ => None,
    }
}
