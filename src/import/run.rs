//! An import under way: what all formats share.
//!
//! ```text
//!   exposition ┐  register(raw bytes, labels) ─▶ Local ┐
//!   jsonl      ├─ put / put_columns ──────────────────▶ Columns ─▶ SampleSink
//!   promdump   │  reject(fault): the end (fail), or the summary (skip)
//!   scrapes    ┘  step: now and then the token is looked at, and progress told
//! ```
//!
//! A [`Local`] is valid until the series are forgotten, which any call that adds something may do: it says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::LabelBuffer;
use super::columns::{Columns, Local, Spelling, Unknown};
use super::families::Families;
use super::options::{ImportOptions, ImportSummary, OnError, Progress, Rejected, SampleSink};
use super::parser::{Event, Fault};
use super::presence::Presence;
use crate::{AppendError, Cancel, Columns as Samples, Error, ErrorKind, Labels, Result, Workers};

/// Rejections that the summary keeps.
const MAX_LISTED: usize = 100;
/// Steps between two looks at the token and two reports of progress.
const STRIDE: u64 = 8_192;

/// What is no label set.
pub(crate) const BAD_LABELS: &str =
    "a label name is empty or stands twice, or the labels are none, or too large";
/// What is no time.
pub(crate) const OUT_OF_RANGE: &str = "the timestamp does not fit 64 bits of milliseconds";

/// An import under way.
pub(crate) struct Run<'a, S: SampleSink> {
    pub(super) options: &'a ImportOptions,
    pub(super) columns: Columns<S::Series>,
    /// The series of the last sample of this page, and how it was spelled.
    pub(super) last: Option<(Spelling, Local)>,
    pub(super) buffer: LabelBuffer,
    /// What a stretch of plain lines holds.
    pub(super) rows: Samples,
    pub(super) summary: ImportSummary,
    /// The time of samples that have none.
    pub(super) default_time_ms: Option<i64>,
    /// Whether the next new series will hardly come again.
    pub(super) passing: bool,
    /// Which series the pages of a stream of scrapes hold.
    pub(super) presence: Option<Presence>,
    families: Families,
    sink: &'a mut S,
    cancel: &'a Cancel,
    progress: &'a mut dyn FnMut(&Progress),
    name: String,
    bytes_in: Arc<AtomicU64>,
    /// Bytes of the inputs before this one.
    bytes_before: u64,
    steps: u64,
}

impl<'a, S: SampleSink> Run<'a, S> {
    /// Nothing read yet.
    pub(crate) fn new(
        options: &'a ImportOptions,
        sink: &'a mut S,
        cancel: &'a Cancel,
        progress: &'a mut dyn FnMut(&Progress),
    ) -> Run<'a, S> {
        Run {
            options,
            columns: Columns::new(options.memory_bytes),
            last: None,
            buffer: LabelBuffer::default(),
            rows: Samples::default(),
            summary: ImportSummary::default(),
            default_time_ms: None,
            passing: false,
            presence: None,
            families: Families::default(),
            sink,
            cancel,
            progress,
            name: String::new(),
            bytes_in: Arc::default(),
            bytes_before: 0,
            steps: 0,
        }
    }

    /// Begins the next input.
    pub(crate) fn begin(&mut self, name: String, bytes_in: Arc<AtomicU64>) -> Result<()> {
        self.name = name;
        self.bytes_in = bytes_in;
        self.last = None;
        self.cancel.check()
    }

    /// Ends the input, of which so many bytes of text were read.
    pub(crate) fn end(&mut self, text_bytes: u64) -> Result<()> {
        self.summary.text_bytes += text_bytes;
        self.look()?;
        self.bytes_before = self.summary.bytes_in;
        Ok(())
    }

    /// Hands on what is left.
    pub(crate) fn finish(mut self) -> Result<ImportSummary> {
        self.columns.flush(self.sink)?;
        self.families.flush(self.sink)?;
        Ok(self.summary)
    }

    /// The threads of the sink.
    pub(crate) fn workers(&self) -> Workers {
        self.sink.workers()
    }

    /// Counts work done.
    #[inline]
    pub(crate) fn step(&mut self, steps: u64) -> Result<()> {
        self.steps += steps;
        if self.steps < STRIDE { Ok(()) } else { self.look() }
    }

    fn look(&mut self) -> Result<()> {
        self.steps = 0;
        self.cancel.check()?;
        self.summary.bytes_in = self.bytes_before + self.bytes_in.load(Ordering::Relaxed);
        let (bytes_in, samples) = (self.summary.bytes_in, self.summary.samples);
        (self.progress)(&Progress { bytes_in, samples });
        Ok(())
    }

    /// Takes note of metadata.
    pub(crate) fn event(&mut self, event: &Event<'_>) -> Result<()> {
        self.families.event(event);
        self.families.make_room(self.sink)
    }

    /// Makes a series known by its bytes; `None` if `own` is no label set.
    pub(crate) fn register<'p>(
        &mut self,
        unknown: Unknown<'_>,
        own: impl Iterator<Item = (&'p str, &'p str)>,
    ) -> Result<Option<Local>>
    where
        'a: 'p,
    {
        let passing = std::mem::take(&mut self.passing);
        let extra = &self.options.labels;
        let own = own.filter(|(name, _)| !extra.iter().any(|(n, _)| n == name));
        let extra = extra.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let labels = match Labels::from_pairs(own.chain(extra)) {
            Ok(labels) => labels,
            Err(AppendError::BadLabels) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let series = self.series(&labels)?;
        if passing {
            return self.columns.pass(series, self.sink).map(Some);
        }
        if self.presence.is_none() && !self.columns.has_room(unknown.1) {
            return Ok(Some(self.columns.guest(series)));
        }
        let local = self.columns.insert(unknown, series);
        if let Some(presence) = &mut self.presence {
            self.columns.charge(presence.know(local, &labels));
        }
        Ok(Some(local))
    }

    /// The series of a label set, for a sample of which there are no bytes.
    pub(crate) fn adopt(&mut self, labels: &Labels) -> Result<Local> {
        let series = self.series(labels)?;
        Ok(self.columns.adopt(series))
    }

    fn series(&mut self, labels: &Labels) -> Result<S::Series> {
        if !self.sink.has_room(labels) {
            // The names of the series so far end with this call.
            self.forget()?;
        }
        self.sink.series(labels)
    }

    /// Hands on all samples and forgets all series.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.columns.forget(self.sink)?;
        self.forgotten();
        Ok(())
    }

    fn forgotten(&mut self) {
        self.last = None;
        if let Some(presence) = &mut self.presence {
            presence.forget_locals();
        }
    }

    /// Adds one sample.
    #[inline]
    pub(crate) fn put(&mut self, local: Local, t: i64, v: f64) -> Result<()> {
        self.columns.push(local, t, v);
        self.count(1, t, t);
        self.make_room()
    }

    /// Adds columns of equal length.
    pub(crate) fn put_columns(&mut self, local: Local, t: &[i64], v: &[f64]) -> Result<()> {
        let (Some(&min), Some(&max)) = (t.iter().min(), t.iter().max()) else { return Ok(()) };
        self.columns.extend(local, t, v, self.sink)?;
        self.count(u64::try_from(t.len()).unwrap_or(0), min, max);
        self.make_room()
    }

    #[inline]
    fn count(&mut self, samples: u64, min: i64, max: i64) {
        self.summary.samples += samples;
        self.summary.min_time_ms = Some(self.summary.min_time_ms.map_or(min, |m| m.min(min)));
        self.summary.max_time_ms = Some(self.summary.max_time_ms.map_or(max, |m| m.max(max)));
    }

    #[inline]
    fn make_room(&mut self) -> Result<()> {
        if self.columns.make_room(self.sink)? {
            self.forgotten();
        }
        Ok(())
    }

    /// Leaves something out, or ends the import.
    pub(crate) fn reject(&mut self, fault: Fault) -> Result<()> {
        let rejected = Rejected { input: self.name.clone(), fault };
        self.summary.rejected += 1;
        let too_many = self.options.max_rejected.is_some_and(|max| self.summary.rejected > max);
        if self.options.on_error == OnError::Fail || too_many {
            let after =
                if too_many { " (and more lines were left out before it than are allowed)" } else { "" };
            return Err(Error::new(ErrorKind::InvalidInput, format!("{rejected}{after}")));
        }
        if self.summary.first_rejected.len() < MAX_LISTED {
            self.summary.first_rejected.push(rejected);
        }
        Ok(())
    }

    /// What no leaving out can help.
    pub(crate) fn broken(&self, line: u64, why: &'static str) -> Error {
        let fault = Fault { line, column: 1, why };
        Error::new(ErrorKind::InvalidInput, Rejected { input: self.name.clone(), fault }.to_string())
    }

    /// Reading failed.
    pub(crate) fn unreadable(&self, e: std::io::Error) -> Error {
        Error::io("read the input", &self.name, e)
    }
}
