//! `snapshot`: a copy that opens as a database of its own.

use serde_json::json;

use crate::args::Snapshot;
use crate::failure::Failure;
use crate::output::{Context, bytes, counted, print_json};

/// Runs `snapshot`.
pub(crate) fn run(args: &Snapshot, context: &Context) -> Result<u8, Failure> {
    let opened = context.write(&args.db.dir)?;
    opened.db.snapshot(&args.to)?;
    let stats = opened.db.stats();
    opened.db.close()?;
    if args.json {
        print_json(
            &json!({ "path": args.to.display().to_string(), "blocks": stats.blocks, "block_bytes": stats.block_bytes }),
        )?;
    }
    context.note(format_args!(
        "{}: a copy of {}, {}",
        args.to.display(),
        counted(stats.blocks, "block"),
        bytes(stats.block_bytes)
    ));
    Ok(opened.code())
}
