//! `list`: the blocks, in the columns of `promtool tsdb list`.

use std::io::Write;

use serde_json::{Value, json};
use silverback::BlockInfo;

use crate::args::List;
use crate::failure::Failure;
use crate::output::{Context, bytes, count, print_json, stdout};
use crate::table::grid;
use crate::time::{rfc3339, span};

/// Runs `list`.
pub(crate) fn run(args: &List, context: &Context) -> Result<u8, Failure> {
    let opened = context.read(&args.db.dir)?;
    let blocks = opened.db.blocks()?;
    if args.json {
        print_json(&json!({ "blocks": blocks.iter().map(as_json).collect::<Vec<_>>() }))?;
        return Ok(opened.code());
    }
    let header =
        ["BLOCK", "MIN TIME", "MAX TIME", "DURATION", "NUM SAMPLES", "NUM CHUNKS", "NUM SERIES", "SIZE"];
    let rows = blocks.iter().map(|block| {
        [
            block.name.clone(),
            rfc3339(block.min_time_ms),
            rfc3339(block.max_time_ms),
            span(i128::from(block.max_time_ms) - i128::from(block.min_time_ms)),
            count(block.samples),
            count(block.chunks),
            count(block.series),
            bytes(block.bytes),
        ]
    });
    let mut out = stdout();
    out.write_all(grid(header, rows, 3).as_bytes())?;
    out.flush()?;
    Ok(opened.code())
}

fn as_json(block: &BlockInfo) -> Value {
    json!({
        "block": block.name,
        "range_start_ms": block.range.start(),
        "range_end_ms": block.range.end(),
        "min_time_ms": block.min_time_ms,
        "max_time_ms": block.max_time_ms,
        "samples": block.samples,
        "chunks": block.chunks,
        "series": block.series,
        "level": block.level,
        "bytes": block.bytes,
        "index_bytes": block.index_bytes,
        "chunk_bytes": block.chunk_bytes,
        "time_bytes": block.time_bytes,
    })
}
