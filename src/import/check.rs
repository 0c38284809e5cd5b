//! Reading without storing: is this input valid, and if not, where and why.

use std::io::Read;

use super::detect::{Opened, open};
use super::grammar::Grammar;
use super::parser::{Event, Fault, ParseError, Parser};
use super::strict::Strict;
use super::{Format, ImportOptions, Input};
use crate::{Error, ErrorKind, Result, Workers};

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Samples before the first fault.
    pub samples: u64,
    /// Those of them that have an exemplar.
    pub exemplars: u64,
    /// The first fault, or `None` if the input is valid.
    pub fault: Option<Fault>,
}

/// As [`check`], of an input that may be packed, and whose format may be [`Format::Auto`]: unpacked and detected as
/// an import does it. What is to be checked strictly is not taken for Prometheus text: a page without `# EOF` is no OpenMetrics.
///
/// ```
/// use silverback::import::{Format, Input, check_input};
/// let page = Input::new("page.om", &b"up 1\n"[..]);
/// let report = check_input(page, Format::Auto, false, |_event| {})?;
/// assert_eq!(report.fault.unwrap().why.to_string(), "the input does not end with # EOF");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If reading or unpacking fails, or the input is detected to be no exposition text; what is wrong with the text
/// stands in the report.
pub fn check_input(
    input: Input<'_>,
    format: Format,
    strict: bool,
    visit: impl FnMut(&Event<'_>),
) -> Result<CheckReport> {
    let Input { name, reader, .. } = input;
    let asked = format;
    let max_ratio = ImportOptions::default().max_unpack_ratio;
    let Opened { text, format, .. } = open(&name, reader, format, max_ratio, Workers::default())?;
    if matches!(format, Format::Scrapes | Format::Jsonl | Format::Promdump) {
        let what =
            "this is no exposition text, but recorded scrapes, JSON lines or a dump: an import reads it";
        return Err(Error::new(ErrorKind::InvalidInput, what).at(name));
    }
    let format = if strict && asked == Format::Auto { Format::OpenMetrics } else { format };
    check(text, format, strict, visit).map_err(|e| e.at(name))
}

/// Parses all of `input` up to the first fault and shows `visit` each event.
///
/// `format` must be [`Format::Text`] or [`Format::OpenMetrics`]: see [`detect`](super::detect). `strict` asks for all rules of
/// the OpenMetrics specification, so only of OpenMetrics.
///
/// # Errors
/// Only if reading fails; what is wrong with the input stands in the report.
///
/// ```
/// use silverback::import::{Format, check};
/// let report = check(&b"up 1\nup one\n"[..], Format::Text, false, |_| {})?;
/// assert_eq!(report.samples, 1);
/// assert_eq!(report.fault.unwrap().to_string(), "2:4: the value is no number");
/// # Ok::<(), silverback::Error>(())
/// ```
pub fn check(
    input: impl Read,
    format: Format,
    strict: bool,
    mut visit: impl FnMut(&Event<'_>),
) -> Result<CheckReport> {
    let grammar = match (format, strict) {
        (Format::Text, false) => Grammar::Text,
        (Format::OpenMetrics, false) => Grammar::OpenMetrics,
        (Format::OpenMetrics, true) => Grammar::Strict,
        _ => {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "what is checked must be Prometheus text or OpenMetrics, detected or named before; strictly, OpenMetrics",
            ));
        }
    };
    let mut parser = Parser::new(input, grammar, false);
    let mut rules = Strict::default();
    let mut report = CheckReport::default();
    loop {
        let event = match parser.next() {
            Ok(event) => event,
            Err(ParseError::Invalid(fault)) => {
                report.fault = Some(fault);
                return Ok(report);
            }
            Err(ParseError::Io(e)) => return Err(Error::io("read the input", "", e)),
        };
        let Some(event) = event else { return Ok(report) };
        if let Event::Sample(sample) = &event {
            report.samples += 1;
            report.exemplars += u64::from(sample.has_exemplar());
        }
        let verdict = if grammar == Grammar::Strict { rules.event(&event) } else { Ok(()) };
        match verdict {
            Ok(()) => visit(&event),
            Err(why) => {
                report.fault = Some(Fault { line: parser.line(), column: 1, why });
                return Ok(report);
            }
        }
    }
}
