//! Exposition text into a [`Run`]: events become samples and metadata.

use std::io::Read;

use super::columns::{Local, Spelling, Unknown};
use super::grammar::Grammar;
use super::options::{LabelNumbers, SampleSink};
use super::parser::{Event, Fault, ParseError, Parser, SampleEvent};
use super::run::{BAD_LABELS, OUT_OF_RANGE, Run};
use crate::Result;

const NO_TIMESTAMP: &str = "the sample has no timestamp; say which to take (--timestamp TIME, or mtime)";

/// Reads `text` to its end; returns its bytes.
pub(crate) fn read<S: SampleSink>(run: &mut Run<'_, S>, text: impl Read, grammar: Grammar) -> Result<u64> {
    let beside = (run.workers(), run.options.segment_bytes);
    let mut parser = Parser::beside(text, grammar, run.options.concatenated, beside);
    run.events(&mut parser, 0)?;
    Ok(parser.bytes_read())
}

/// The series of plain lines that is not known, as written: its length and hash, and how many lines it has.
#[derive(Clone, Copy)]
struct Missed {
    bytes: usize,
    hash: u64,
    lines: usize,
}

/// A sample whose series is known.
type Row = (Local, i64, f64);

impl<S: SampleSink> Run<'_, S> {
    /// Takes all that the parser says; `lines_before` stand before what it reads.
    pub(crate) fn events<R: Read>(&mut self, parser: &mut Parser<R>, lines_before: u64) -> Result<()> {
        self.last = None;
        loop {
            let missed = self.plain(parser)?;
            self.step(1)?;
            let outcome = match parser.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Sample(sample))) => self.sample(&sample, missed)?,
                Ok(Some(event)) => {
                    self.event(&event)?;
                    Ok(None)
                }
                Err(ParseError::Invalid(fault)) => {
                    self.last = None;
                    Err(fault)
                }
                Err(ParseError::Io(e)) => return Err(self.unreadable(e)),
            };
            match outcome {
                Ok(Some(row)) => self.stretch(parser, row)?,
                Ok(None) => {}
                Err(fault) => self.reject(Fault { line: fault.line + lines_before, ..fault })?,
            }
        }
    }

    /// Takes plain lines for as long as their series are known. What was not found then begins the next line, if it is a series
    /// at all.
    fn plain<R: Read>(&mut self, parser: &mut Parser<R>) -> Result<Option<Missed>> {
        if !self.plain_lines() {
            return Ok(None);
        }
        while let Some(lines) = parser.plain() {
            let local = match self.columns.find_next(lines.series) {
                Ok(local) => local,
                Err(hash) => {
                    let (bytes, lines) = (lines.series.len(), lines.t.len());
                    return Ok(Some(Missed { bytes, hash, lines }));
                }
            };
            match (lines.t, lines.v) {
                (&[t], &[v]) => self.put(local, t, v)?,
                (t, v) => self.put_columns(local, t, v)?,
            }
            let (rows, bytes) = (lines.t.len(), lines.bytes);
            parser.take_plain(rows, bytes);
            self.step(u64::try_from(rows).unwrap_or(0))?;
        }
        Ok(None)
    }

    /// Takes a sample, and with it the plain lines of the same series that follow.
    fn stretch<R: Read>(&mut self, parser: &mut Parser<R>, (local, t, v): Row) -> Result<()> {
        let as_written = self.plain_lines() && matches!(self.last, Some((None, _)));
        let Some(lines) = parser.stretch().filter(|_| as_written) else { return self.put(local, t, v) };
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        rows.push(t, v);
        rows.t.extend_from_slice(lines.t);
        rows.v.extend_from_slice(lines.v);
        let bytes = lines.bytes;
        parser.take_plain(rows.len() - 1, bytes);
        self.step(u64::try_from(rows.len() - 1).unwrap_or(0))?;
        self.put_columns(local, &rows.t, &rows.v)?;
        self.rows = rows;
        Ok(())
    }

    /// Whether lines may be taken without an event: a plain line has a timestamp, so that the numbers in its labels
    /// are as written, unless the options say otherwise.
    fn plain_lines(&self) -> bool {
        self.options.label_numbers != LabelNumbers::Canonical
    }

    /// Finds series and time of a sample: `Err` if the import must end, `Ok(Err(_))` if the sample cannot be taken.
    #[inline]
    fn sample(
        &mut self,
        sample: &SampleEvent<'_>,
        missed: Option<Missed>,
    ) -> Result<Result<Option<Row>, Fault>> {
        let fault = |why| Fault { line: sample.line(), column: 1, why };
        let spelling = self.spelling(sample);
        let known = match (self.last, missed) {
            (Some((last, local)), _) if sample.same_series() && last == spelling => Ok(local),
            (_, Some(Missed { bytes, hash, lines }))
                if spelling.is_none() && bytes == sample.series().len() =>
            {
                self.passing = lines > 1 && self.presence.is_none() && !self.columns.passed(hash);
                Err(hash)
            }
            _ => self.columns.find(spelling, sample.series()),
        };
        let local = match known {
            Ok(local) => local,
            Err(hash) => match self.new_series((spelling, sample.series(), hash), sample)? {
                Some(local) => local,
                None => {
                    self.last = None;
                    return Ok(Err(fault(BAD_LABELS)));
                }
            },
        };
        self.last = Some((spelling, local));
        let t = match sample.timestamp_ms().or(self.default_time_ms) {
            None => return Ok(Err(fault(NO_TIMESTAMP))),
            Some(i64::MIN | i64::MAX) => return Ok(Err(fault(OUT_OF_RANGE))),
            Some(t) => t,
        };
        if let (Some(presence), None) = (&mut self.presence, sample.timestamp_ms()) {
            presence.saw(local);
        }
        self.summary.exemplars_skipped += u64::from(sample.has_exemplar());
        Ok(Ok(Some((local, t, sample.value()))))
    }

    fn spelling(&self, sample: &SampleEvent<'_>) -> Spelling {
        let canonical = match self.options.label_numbers {
            LabelNumbers::Auto => sample.timestamp_ms().is_none(),
            LabelNumbers::AsWritten => false,
            LabelNumbers::Canonical => true,
        };
        if canonical { sample.number_label() } else { None }
    }

    /// Parses the labels of a series; `None` if they are no label set.
    fn new_series(&mut self, unknown: Unknown<'_>, sample: &SampleEvent<'_>) -> Result<Option<Local>> {
        if let Some(labels) = sample.plain_labels().filter(|_| unknown.0.is_none()) {
            return self.register(unknown, labels);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        sample.labels_with(&mut buffer, unknown.0);
        let local = self.register(unknown, buffer.iter());
        self.buffer = buffer;
        local
    }
}
