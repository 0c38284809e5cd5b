//! `compact`: flush, merge to a fixpoint, clean up.

use serde_json::json;

use crate::args::Compact;
use crate::failure::Failure;
use crate::output::{Context, bytes, counted, print_json, ratio};

/// Runs `compact`.
pub(crate) fn run(args: &Compact, context: &Context) -> Result<u8, Failure> {
    let opened = context.write(&args.db.dir)?;
    let before = opened.db.stats();
    opened.db.compact(context.interrupt.cancel())?;
    let after = opened.db.stats();
    opened.db.close()?;
    context.note(format_args!(
        "{} in {} became {} in {}, {} bytes a sample",
        counted(before.blocks, "block"),
        bytes(before.block_bytes + before.wal_bytes),
        counted(after.blocks, "block"),
        bytes(after.block_bytes + after.wal_bytes),
        ratio(after.block_bytes, after.block_samples),
    ));
    if args.json {
        print_json(&json!({
            "blocks_before": before.blocks,
            "blocks": after.blocks,
            "bytes_before": before.block_bytes + before.wal_bytes,
            "bytes": after.block_bytes + after.wal_bytes,
            "samples": after.block_samples + after.head_samples,
        }))?;
    }
    Ok(opened.code())
}
