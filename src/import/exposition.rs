//! Exposition text into a [`Run`]: events become samples and metadata.

use std::io::Read;

use super::columns::{Local, Spelling};
use super::grammar::Grammar;
use super::options::{LabelNumbers, SampleSink};
use super::parser::{Event, Fault, ParseError, Parser, SampleEvent};
use super::run::{BAD_LABELS, OUT_OF_RANGE, Run};
use crate::Result;

/// The most plain lines that are taken at once.
const STRETCH_ROWS: usize = 2_048;

const NO_TIMESTAMP: &str = "the sample has no timestamp; say which to take (--timestamp TIME, or mtime)";

/// Reads `text` to its end; returns its bytes.
pub(crate) fn read<S: SampleSink>(run: &mut Run<'_, S>, text: impl Read, grammar: Grammar) -> Result<u64> {
    let mut parser = Parser::new(text, grammar, run.options.concatenated);
    run.events(&mut parser, 0)?;
    Ok(parser.bytes_read())
}

/// A sample whose series is known.
type Row = (Local, i64, f64);

impl<S: SampleSink> Run<'_, S> {
    /// Takes all that the parser says; `lines_before` stand before what it reads.
    pub(crate) fn events<R: Read>(&mut self, parser: &mut Parser<R>, lines_before: u64) -> Result<()> {
        self.last = None;
        loop {
            self.step(1)?;
            let outcome = match parser.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Sample(sample))) => self.sample(&sample)?,
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
            self.foretold(parser)?;
        }
    }

    /// Takes a sample, and with it the plain lines of the same series that follow.
    fn stretch<R: Read>(&mut self, parser: &mut Parser<R>, (local, t, v): Row) -> Result<()> {
        let mut rows = std::mem::take(&mut self.rows);
        rows.clear();
        rows.push(t, v);
        if self.plain_lines() && matches!(self.last, Some((None, _))) {
            parser.stretch(STRETCH_ROWS, &mut rows);
        }
        self.step(u64::try_from(rows.len() - 1).unwrap_or(0))?;
        match rows.len() {
            1 => self.put(local, t, v)?,
            _ => self.put_columns(local, &rows.t, &rows.v)?,
        }
        self.rows = rows;
        Ok(())
    }

    /// Takes plain lines for as long as each is of the series that is foretold.
    fn foretold<R: Read>(&mut self, parser: &mut Parser<R>) -> Result<()> {
        if !self.plain_lines() {
            return Ok(());
        }
        while let Some((t, v)) = self.columns.foretold().and_then(|series| parser.foretold(series)) {
            let Some(local) = self.columns.take_foretold() else { break };
            self.put(local, t, v)?;
            self.step(1)?;
        }
        Ok(())
    }

    /// Whether lines may be taken without an event: a plain one has a timestamp, so that the numbers in its labels
    /// are as written, unless the options say otherwise.
    fn plain_lines(&self) -> bool {
        self.options.label_numbers != LabelNumbers::Canonical
    }

    /// Finds series and time of a sample: `Err` if the import must end, `Ok(Err(_))` if the sample cannot be taken.
    #[inline]
    fn sample(&mut self, sample: &SampleEvent<'_>) -> Result<Result<Option<Row>, Fault>> {
        let fault = |why| Fault { line: sample.line(), column: 1, why };
        let spelling = self.spelling(sample);
        let known = match self.last {
            Some((last, local)) if sample.same_series() && last == spelling => Some(local),
            _ => self.columns.find(spelling, sample.series()),
        };
        let local = match known {
            Some(local) => local,
            None => match self.new_series(spelling, sample)? {
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
    fn new_series(&mut self, spelling: Spelling, sample: &SampleEvent<'_>) -> Result<Option<Local>> {
        let mut buffer = std::mem::take(&mut self.buffer);
        sample.labels_with(&mut buffer, spelling);
        let local = self.register(spelling, sample.series(), &buffer);
        self.buffer = buffer;
        local
    }
}
