//! `check`: is it valid, and if not, where and why; stores nothing.

use std::io::Write;

use serde_json::{Value, json};
use silverback::import::{CheckReport, Format, check_input};

use crate::args::{Check, CheckFormatArg};
use crate::failure::{DATA, Failure};
use crate::inputs::{Place, places};
use crate::output::{Context, counted, print_json, stdout};

/// Runs `check`.
pub(crate) fn run(args: &Check, context: &Context) -> Result<u8, Failure> {
    let format = match args.format {
        CheckFormatArg::Auto => Format::Auto,
        CheckFormatArg::Text => Format::Text,
        CheckFormatArg::Openmetrics => Format::OpenMetrics,
    };
    if args.strict && args.format == CheckFormatArg::Text {
        return Err(Failure::usage("--strict checks the rules of OpenMetrics; leave --format text out"));
    }
    let places = places(&args.inputs)?;
    let mut out = stdout();
    let (mut invalid, mut samples) = (0u64, 0u64);
    let mut reports = Vec::new();
    for place in &places {
        let report = check_input(place.input(&context.interrupt), format, args.strict, |_| {})?;
        samples += report.samples;
        invalid += u64::from(report.fault.is_some());
        match &report.fault {
            _ if args.json => reports.push(as_json(place, &report)),
            Some(fault) => writeln!(out, "{}:{fault}", place.name())?,
            None => {}
        }
    }
    out.flush()?;
    if args.json {
        print_json(&json!({ "valid": invalid == 0, "inputs": reports }))?;
    }
    let inputs = counted(places.len() as u64, "input");
    match invalid {
        0 => context.note(format_args!("{inputs} valid: {}", counted(samples, "sample"))),
        n => context.note(format_args!("{n} of {inputs} invalid")),
    }
    Ok(if invalid == 0 { 0 } else { DATA })
}

fn as_json(place: &Place, report: &CheckReport) -> Value {
    json!({
        "input": place.name(),
        "valid": report.fault.is_none(),
        "samples": report.samples,
        "exemplars": report.exemplars,
        "line": report.fault.as_ref().map(|f| f.line),
        "column": report.fault.as_ref().map(|f| f.column),
        "why": report.fault.as_ref().map(|f| f.why.to_string()),
    })
}
