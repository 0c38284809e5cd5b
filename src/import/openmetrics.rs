//! OpenMetrics 1.0, as Prometheus's own parser reads it (textparse, release 3.13).
//!
//! ```text
//!   # TYPE name counter|gauge|histogram|gaugehistogram|summary|info|stateset|unknown
//!   # HELP name text      # UNIT name unit      # EOF
//!   name{label="value",…} value timestamp # {label="value",…} value timestamp
//! ```
//!
//! One space separates, no blank line, no other comment. Timestamps are seconds. The input ends
//! with `# EOF`, with or without a line feed. Label values hold no line feed, quoted names may.
//! An exemplar is read and checked, not kept. The checks of the specification beyond syntax are in
//! `strict.rs`; what its parsers take beyond Prometheus's (blanks after the commas of labels,
//! native histograms) is taken when `strict` is set.
//!
//! Not followed: Prometheus reads `{name}` as a metric named by all but the outer letters of
//! `name`; here a name without quotes among the labels needs its value.

use super::grammar::{Kind, Tail};
use super::labels::chars_unescaped;
use super::native_histogram;
use super::number;
use super::scan::{Head, LabelRules, Quoting, Scan, Span, Stop};
use crate::MetricType;

const RULES: LabelRules = LabelRules {
    loose: false,
    blank_after_comma: false,
    names: true,
    values: Quoting { newlines: false, nuls: true },
    quoted_names: NAMES,
};

const EXEMPLAR_RULES: LabelRules = LabelRules {
    names: false,
    values: Quoting { newlines: false, nuls: false },
    quoted_names: Quoting { newlines: false, nuls: false },
    ..RULES
};

const NAMES: Quoting = Quoting { newlines: true, nuls: false };

/// Parses one entry through its line feed.
pub(crate) fn entry(scan: &mut Scan<'_>, at_end: bool, strict: bool, head: &mut Head) -> Result<Kind, Stop> {
    if scan.peek()? == b'#' {
        return hash(scan, at_end);
    }
    if scan.peek()? != b'{' {
        let name = scan.metric_name("expected a metric name, '{' or '# '")?;
        head.name = Some(name);
    }
    if scan.take(b'{')? {
        scan.labels(LabelRules { blank_after_comma: strict, ..RULES }, head)?;
    }
    head.bytes = scan.at();
    if head.name.is_none() {
        return scan.bad("the series has no metric name");
    }
    if strict && scan.word(b" {")? {
        native_histogram::value(scan)?;
        return Ok(Kind::Histogram);
    }
    Ok(Kind::Sample(tail(scan, head)?))
}

/// Parses value, timestamp and exemplar through the line feed.
pub(crate) fn tail(scan: &mut Scan<'_>, head: &mut Head) -> Result<Tail, Stop> {
    let value = value(scan, "expected one space and a value after the series")?;
    let mut tail = Tail { value, timestamp_ms: None, exemplar: None };
    if scan.take(b'\n')? {
        return Ok(tail);
    }
    if !scan.word(b" # {")? {
        tail.timestamp_ms = Some(timestamp(scan)?);
        if scan.take(b'\n')? {
            return Ok(tail);
        }
        if !scan.word(b" # {")? {
            return scan.bad("expected an exemplar or the end of the line after the timestamp");
        }
    }
    tail.exemplar = Some(exemplar(scan, head)?);
    Ok(tail)
}

/// An exemplar after its `{`. Its labels pass through the buffer of the head and leave it as it was.
fn exemplar(scan: &mut Scan<'_>, head: &mut Head) -> Result<Span, Stop> {
    let labels = head.labels.len();
    let start = scan.at();
    let outcome = scan.labels(EXEMPLAR_RULES, head);
    head.labels.truncate(labels);
    outcome?;
    let span = Span { start, end: scan.at() };
    value(scan, "expected one space and a value after the exemplar's labels")?;
    if !scan.take(b'\n')? {
        timestamp(scan)?;
        scan.expect(b'\n', "expected the end of the line after the exemplar's timestamp")?;
    }
    Ok(span)
}

/// The characters in the label names and values of an exemplar that [`tail`] took.
pub(crate) fn exemplar_chars(labels: &[u8]) -> usize {
    let mut head = Head::default();
    match Scan::new(labels, 0).labels(EXEMPLAR_RULES, &mut head) {
        Ok(()) => {
            head.labels.iter().flat_map(|l| [l.name, l.value]).map(|s| chars_unescaped(s.of(labels))).sum()
        }
        Err(_) => 0,
    }
}

fn value(scan: &mut Scan<'_>, missing: &'static str) -> Result<f64, Stop> {
    let (at, text) = token(scan, missing)?;
    number::value(text).ok_or(Stop::Bad { at, why: "the value is no number" })
}

fn timestamp(scan: &mut Scan<'_>) -> Result<i64, Stop> {
    let (at, text) = token(scan, "expected one space and a timestamp, an exemplar, or the end of the line")?;
    number::seconds_to_ms(text).ok_or(Stop::Bad { at, why: "the timestamp is no finite number (of seconds)" })
}

/// A space and what follows it up to the next space or line feed.
#[inline]
fn token<'b>(scan: &mut Scan<'b>, missing: &'static str) -> Result<(usize, &'b [u8]), Stop> {
    scan.expect(b' ', missing)?;
    let at = scan.at();
    let rest = scan.rest();
    let span = scan.run(|b| !matches!(b, b' ' | b'\n'))?;
    let text = rest.get(..span.end - at).unwrap_or_default();
    match text.is_empty() {
        true => scan.bad(missing),
        false => Ok((at, text)),
    }
}

fn hash(scan: &mut Scan<'_>, at_end: bool) -> Result<Kind, Stop> {
    scan.skip(1);
    scan.expect(b' ', "expected one space after '#'")?;
    if scan.word(b"EOF")? {
        if !(at_end && scan.rest().is_empty()) {
            scan.expect(b'\n', "expected the end of the line after # EOF")?;
        }
        return Ok(Kind::Eof);
    }
    if scan.word(b"HELP ")? {
        let (family, text, _) = metadata(scan)?;
        scan.utf8(text, "the help text is not valid UTF-8")?;
        return Ok(Kind::Help(family, text));
    }
    if scan.word(b"TYPE ")? {
        let (family, text, word) = metadata(scan)?;
        let metric_type = metric_type(word).ok_or(Stop::Bad {
            at: text.start,
            why: "the type is none of counter, gauge, histogram, gaugehistogram, summary, info, stateset, unknown",
        })?;
        return Ok(Kind::Type(family, metric_type));
    }
    if scan.word(b"UNIT ")? {
        return unit(scan);
    }
    scan.bad("expected HELP, TYPE, UNIT or EOF after '# ' (OpenMetrics has no other comments)")
}

fn unit(scan: &mut Scan<'_>) -> Result<Kind, Stop> {
    let (base, rest) = (scan.at(), scan.rest());
    let (family, text, unit) = metadata(scan)?;
    let name = Span { start: family.start - base, end: family.end - base }.of(rest);
    let fits = name.strip_suffix(unit).is_some_and(|stem| stem.ends_with(b"_"));
    match unit.is_empty() || fits {
        true => Ok(Kind::Unit(family, text)),
        false => Err(Stop::Bad { at: text.start, why: "the unit is not the last part of the family's name" }),
    }
}

/// Name and text of a metadata line, through the line feed.
fn metadata<'b>(scan: &mut Scan<'b>) -> Result<(Span, Span, &'b [u8]), Stop> {
    let family = scan.family(NAMES)?;
    scan.expect(b' ', "expected one space and a text after the metric name")?;
    let rest = scan.rest();
    let text = scan.line()?;
    scan.skip(1);
    Ok((family, text, rest.get(..text.end - text.start).unwrap_or_default()))
}

fn metric_type(word: &[u8]) -> Option<MetricType> {
    let word = std::str::from_utf8(word).ok()?;
    [
        MetricType::Unknown,
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::Summary,
        MetricType::GaugeHistogram,
        MetricType::Info,
        MetricType::StateSet,
    ]
    .into_iter()
    .find(|t| t.as_str() == word)
}
