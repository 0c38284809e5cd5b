//! `series`: which series there are.

use std::io::Write;

use crate::args::Select;
use crate::failure::Failure;
use crate::notation::{labels_json, write_labels};
use crate::output::{Context, stdout};
use crate::union::{Union, selectors, time_range};

/// Runs `series`.
pub(crate) fn run(args: &Select, context: &Context) -> Result<u8, Failure> {
    let range = time_range(&args.range)?;
    let opened = context.read(&args.db.dir)?;
    let querier = opened.db.querier(range)?.cancel(context.interrupt.cancel());
    let mut union = Union::open(&querier, &selectors(&args.selectors))?;
    let mut out = stdout();
    if args.json {
        write!(out, "{{\"series\":[")?;
    }
    let mut line = String::new();
    let mut count = 0u64;
    while let Some(series) = union.next()? {
        if args.json {
            out.write_all(if count > 0 { b"," } else { b"" })?;
            serde_json::to_writer(&mut out, &labels_json(series.labels()))?;
        } else {
            line.clear();
            // Writing to a string cannot fail.
            let _infallible = write_labels(&mut line, series.labels());
            writeln!(out, "{line}")?;
        }
        count += 1;
    }
    if args.json {
        writeln!(out, "]}}")?;
    }
    out.flush()?;
    Ok(opened.code())
}
