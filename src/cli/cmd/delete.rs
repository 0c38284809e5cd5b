//! `delete`: what is selected goes, for good.

use std::io::Write;

use serde_json::json;

use crate::args::Delete;
use crate::failure::Failure;
use crate::output::{Context, counted, print_json, stdout};
use crate::union::time_range;

/// Runs `delete`.
pub(crate) fn run(args: &Delete, context: &Context) -> Result<u8, Failure> {
    let range = time_range(&args.range)?;
    let opened = context.write(&args.db.dir)?;
    let mut deleted = 0;
    for selector in &args.selectors {
        deleted += opened.db.delete(range, selector)?;
    }
    opened.db.close()?;
    context.note(format_args!("deleted {}", counted(deleted, "sample")));
    if args.json {
        print_json(&json!({ "deleted": deleted }))?;
    } else {
        let mut out = stdout();
        writeln!(out, "{deleted}")?;
        out.flush()?;
    }
    Ok(opened.code())
}
