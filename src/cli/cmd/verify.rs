//! `verify`: reads every byte, lists every fault, changes nothing.

use std::io::Write;

use serde_json::json;
use silverback::{Error, ErrorKind, VerifyReport};

use crate::args::Verify;
use crate::failure::{DATA, Failure};
use crate::output::{Context, bytes, counted, print_json, stdout};

/// Runs `verify`.
pub(crate) fn run(args: &Verify, context: &Context) -> Result<u8, Failure> {
    // Not by `Context::read`: what open finds is in the report too, and would be told twice.
    let report = match silverback::Db::open_read_only(&args.db.dir, context.options()) {
        Ok(db) => db.verify()?,
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            let mut report = VerifyReport::default();
            report.faults.push(e);
            report
        }
        Err(e) => return Err(e.into()),
    };
    let mut faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    faults.sort();
    faults.dedup();
    match args.json {
        true => print_json(&as_json(&report))?,
        false => {
            let mut out = stdout();
            for fault in &faults {
                writeln!(out, "{fault}")?;
            }
            out.flush()?;
        }
    }
    let read = format!("{} and {} read", counted(report.files, "file"), bytes(report.bytes));
    match faults.len() {
        0 => {
            context.note(format_args!("{read}: all is well"));
            Ok(0)
        }
        n => {
            context.note(format_args!("{read}: {}", counted(n as u64, "fault")));
            Ok(DATA)
        }
    }
}

fn as_json(report: &VerifyReport) -> serde_json::Value {
    let fault = |e: &Error| {
        json!({
            "path": e.path().map(|p| p.display().to_string()),
            "offset": e.offset(),
            "fault": e.to_string(),
        })
    };
    json!({
        "clean": report.is_clean(),
        "files": report.files,
        "bytes": report.bytes,
        "faults": report.faults.iter().map(fault).collect::<Vec<_>>(),
    })
}
