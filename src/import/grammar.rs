//! What the two grammars have in common: the kinds of entries, and the spans in them.

use super::scan::{Head, Scan, Span, Stop};
use super::{openmetrics, text};
use crate::MetricType;

/// Which grammar to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0 as Prometheus reads it.
    OpenMetrics,
    /// OpenMetrics 1.0 with what its strict parsers take besides: blanks after commas, native histograms.
    Strict,
}

/// One entry: what it is and how many bytes it has, its line feed among them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its length in bytes.
    pub(crate) bytes: usize,
}

/// What an entry is. Spans are relative to its first byte, those of the head to the same.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// An empty line.
    Blank,
    /// A comment.
    Comment(Span),
    /// `# TYPE`.
    Type(Span, MetricType),
    /// `# HELP`: family and text, escaped.
    Help(Span, Span),
    /// `# UNIT`: family and unit.
    Unit(Span, Span),
    /// `# EOF`.
    Eof,
    /// A sample; its series is in the head.
    Sample(Tail),
    /// A native histogram; its series is in the head.
    Histogram,
}

/// What follows the series of a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    /// The value.
    pub(crate) value: f64,
    /// The time in milliseconds, if it is given.
    pub(crate) timestamp_ms: Option<i64>,
    /// The labels of the exemplar (from behind the `{` on), if there is one.
    pub(crate) exemplar: Option<Span>,
}

impl Grammar {
    /// Parses one entry from the start of `bytes`; the series of a sample is put into `head`.
    pub(crate) fn entry(self, bytes: &[u8], at_end: bool, head: &mut Head) -> Result<Entry, Stop> {
        head.clear();
        let mut scan = Scan::new(bytes, 0);
        let kind = match self {
            Grammar::Text => text::entry(&mut scan, head)?,
            Grammar::OpenMetrics => openmetrics::entry(&mut scan, at_end, false, head)?,
            Grammar::Strict => openmetrics::entry(&mut scan, at_end, true, head)?,
        };
        Ok(Entry { kind, bytes: scan.at() })
    }

    /// Parses the rest of a sample whose series was recognised by its bytes.
    pub(crate) fn tail(self, bytes: &[u8], at: usize, head: &mut Head) -> Result<Entry, Stop> {
        let mut scan = Scan::new(bytes, at);
        let tail = match self {
            Grammar::Text => text::tail(&mut scan)?,
            Grammar::OpenMetrics | Grammar::Strict => openmetrics::tail(&mut scan, head)?,
        };
        Ok(Entry { kind: Kind::Sample(tail), bytes: scan.at() })
    }
}
