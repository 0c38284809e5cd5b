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

impl<S: SampleSink> Run<'_, S> {
    /// Takes all that the parser says; `lines_before` stand before what it reads.
    pub(crate) fn events<R: Read>(&mut self, parser: &mut Parser<R>, lines_before: u64) -> Result<()> {
        self.last = None;
        loop {
            self.step(1)?;
            let outcome = match parser.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Sample(sample))) => match self.sample(&sample)? {
                    Ok(()) => {
                        self.stretches(parser)?;
                        Ok(())
                    }
                    refused => refused,
                },
                Ok(Some(event)) => {
                    self.event(&event)?;
                    Ok(())
                }
                Err(ParseError::Invalid(fault)) => {
                    self.last = None;
                    Err(fault)
                }
                Err(ParseError::Io(e)) => return Err(self.unreadable(e)),
            };
            if let Err(fault) = outcome {
                self.reject(Fault { line: fault.line + lines_before, ..fault })?;
            }
        }
    }

    /// Takes the plain lines that follow a sample of the same series.
    fn stretches<R: Read>(&mut self, parser: &mut Parser<R>) -> Result<()> {
        // A plain line has a timestamp, so that the numbers in its labels are as written.
        let as_written = self.options.label_numbers != LabelNumbers::Canonical;
        let Some((None, local)) = self.last.filter(|_| as_written) else { return Ok(()) };
        let mut rows = std::mem::take(&mut self.rows);
        loop {
            rows.clear();
            parser.stretch(STRETCH_ROWS, &mut rows);
            if rows.is_empty() {
                break;
            }
            self.step(u64::try_from(rows.len()).unwrap_or(0))?;
            self.put_columns(local, &rows.t, &rows.v)?;
            if self.last.is_none() {
                // To make room, all series were forgotten.
                break;
            }
        }
        self.rows = rows;
        Ok(())
    }

    /// Takes one sample: `Err` if the import must end, `Ok(Err(_))` if the sample cannot be taken.
    #[inline]
    fn sample(&mut self, sample: &SampleEvent<'_>) -> Result<Result<(), Fault>> {
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
        self.put(local, t, sample.value())?;
        Ok(Ok(()))
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
