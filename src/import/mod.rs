//! Samples in, from any `Read`: exposition text (Prometheus text 0.0.4 and OpenMetrics 1.0), recorded scrapes, what
//! VictoriaMetrics exports, what promtool dumps.
//!
//! ```text
//!   Input ─▶ detect: unpack, find the format
//!              ├▶ segments: plain lines are found beside the caller, by the sink's workers
//!              ├▶ window: the part that is in memory
//!              │    └▶ scan: tokens, spans ─▶ text | openmetrics: the two grammars
//!              │         └▶ parser: events with line and column
//!              │              ├▶ check    (+ strict, histogram: the rest of the specification)
//!              │              └▶ exposition ┐
//!              ├▶ scrapes: pages, presence  ┤
//!              ├▶ lines, json: jsonl        ├▶ run ─▶ columns ─▶ SampleSink (a bulk loader)
//!              └▶ lines, go: promdump       ┘
//!
//!   parser ─▶ scrape ─▶ Appender: page after page of one target
//! ```
//!
//! # Two dialects
//! The default is Prometheus's: what its own parser takes is taken, what it refuses is refused, with
//! the same samples bit for bit (`text.rs` and `openmetrics.rs` list the few odd inputs that are judged
//! otherwise). [`check`] with `strict` follows the whole OpenMetrics specification.
//!
//! # What is kept
//! Samples, and type, unit and help of families. Exemplars are read, checked and counted, not
//! stored yet; `_created` series are series like any other. Of a native histogram the strict check
//! looks at the form; an import refuses it as Prometheus does.
//!
//! # Numbers in labels
//! Scraping, Prometheus spells the numbers in `le` and `quantile` as OpenMetrics does (`1` becomes
//! `1.0`). Samples without a timestamp are a scrape, and so it is done for them; samples with a timestamp
//! are history that was stored under the labels as written, and keeps them: [`LabelNumbers`] says otherwise.
//!
//! # Who does what
//! An input that may be sent to another thread is unpacked there (`ahead`). The caller reads, and cuts the text into segments of whole lines. The workers of the sink (the pool of the store) look for lines
//! in their plain form and read their numbers. The caller then goes through the segments in order: it finds the series of each run of
//! plain lines by its bytes, and parses everything else, so that order, faults and metadata are those of one parser.
//!
//! # Cost
//! A line costs no allocation. A plain line whose series has the bytes of the one before costs a worker one comparison and the parsing of
//! two numbers, and the caller a copy; the first of a run costs the caller one comparison, if its series is the one that followed the last
//! time, or else one hash of its bytes. Memory is bounded by
//! [`ImportOptions::memory_bytes`] plus one window of the input.

mod ahead;
mod check;
mod columns;
mod detect;
mod exposition;
mod families;
mod fuzz;
pub mod go;
mod grammar;
mod histogram;
mod importer;
mod json;
mod jsonl;
mod labels;
mod lines;
mod native_histogram;
mod number;
mod openmetrics;
mod options;
mod parser;
mod plain;
mod presence;
mod promdump;
mod run;
mod scan;
mod scrape;
mod scrapes;
mod segments;
mod spellings;
mod strict;
mod text;
mod window;
pub use check::{CheckReport, check, check_input};
pub use detect::detect;
pub use importer::import;
pub use labels::LabelBuffer;
pub use options::{
    ImportOptions, ImportSummary, Input, LabelNumbers, MissingTimestamp, OnError, Progress, Rejected,
    SampleSink,
};
pub use parser::{Escaped, Event, Fault, ParseError, Parser, SampleEvent};
pub use scrape::Scrape;

/// The formats that an import reads; [`check`] knows the first two.
///
/// ```
/// use silverback::import::{Format, ImportOptions};
/// let options = ImportOptions::default().format(Format::OpenMetrics); // whatever the inputs are called
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Found out from name and content: see [`detect`].
    #[default]
    Auto,
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Recorded scrapes of one target: pages of either, each behind a line `#!scrape <unix_ms> <status> <bytes>
    /// <content-type>`. What vanishes from page to page is given staleness markers.
    Scrapes,
    /// Lines of JSON as VictoriaMetrics exports them: `{"metric":{…},"values":[…],"timestamps":[…]}`. NaN is
    /// `null`, infinities are `"Infinity"` and `"-Infinity"`; besides, `"nan:7ff0000000000002"` is the NaN of those bits.
    Jsonl,
    /// What `promtool tsdb dump` prints: `{__name__="up", job="node"} 1 1600000000000`. A value of exactly 16
    /// hexadecimal digits, which promtool never prints, is the bits of a double.
    Promdump,
}

/// For fuzzing: whatever the bytes are, both a whole read and one byte at a time agree, and end.
pub(crate) fn fuzz(data: &[u8], format: Format) {
    fuzz::fuzz(data, format);
}

#[cfg(test)]
mod tests;
