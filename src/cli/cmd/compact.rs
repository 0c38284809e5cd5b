//! `compact`: flush, merge to a fixpoint, clean up.

use serde_json::json;
use silverback::Stats;

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
    let amplification = write_amplification(before.block_bytes, &after);
    context.note(format_args!(
        "{}: {} read, {} written, at most {} there at one time; {} written for each byte that there was",
        counted(after.merges, "merge"),
        bytes(after.merge_read_bytes),
        bytes(after.merge_written_bytes),
        bytes(after.merge_peak_bytes),
        amplification.map_or_else(|| "nothing".to_owned(), |n| format!("{n:.2}")),
    ));
    if args.json {
        print_json(&json!({
            "blocks_before": before.blocks,
            "blocks": after.blocks,
            "bytes_before": before.block_bytes + before.wal_bytes,
            "bytes": after.block_bytes + after.wal_bytes,
            "samples": after.block_samples + after.head_samples,
            "flushes": after.flushes,
            "flushed_bytes": after.new_block_bytes,
            "merges": after.merges,
            "merge_read_bytes": after.merge_read_bytes,
            "merge_written_bytes": after.merge_written_bytes,
            "merge_peak_bytes": after.merge_peak_bytes,
            "write_amplification": amplification,
        }))?;
    }
    Ok(opened.code())
}

/// How often a byte that was to be compacted was written by this run.
fn write_amplification(block_bytes_before: u64, after: &Stats) -> Option<f64> {
    let before = block_bytes_before + after.new_block_bytes;
    let written = after.new_block_bytes + after.merge_written_bytes;
    (before > 0).then(|| written as f64 / before as f64)
}
