//! `stats`: how much there is.

use std::io::Write;

use serde_json::json;
use silverback::{Selector, Stats, TimeRange};

use crate::args;
use crate::failure::Failure;
use crate::output::{Context, Opened, bytes, count, print_json, ratio, stdout};
use crate::table::pairs;
use crate::time::{rfc3339, span};
use crate::union::Union;

/// Runs `stats`.
pub(crate) fn run(args: &args::Stats, context: &Context) -> Result<u8, Failure> {
    let opened = context.read(&args.db.dir)?;
    let stats = opened.db.stats();
    let series = count_series(&opened, context)?;
    match args.json {
        true => print_json(&as_json(&opened, &stats, series))?,
        false => {
            let mut out = stdout();
            write!(out, "{}", pairs(&rows(&opened, &stats, series)))?;
            out.flush()?;
        }
    }
    Ok(opened.code())
}

/// Distinct series, in head and blocks.
fn count_series(opened: &Opened, context: &Context) -> Result<u64, Failure> {
    let querier = opened.db.querier(TimeRange::ALL)?.cancel(context.interrupt.cancel());
    let mut union = Union::open(&querier, &[Selector::all()])?;
    let mut series = 0;
    while union.next()?.is_some() {
        series += 1;
    }
    Ok(series)
}

fn as_json(opened: &Opened, stats: &Stats, series: u64) -> serde_json::Value {
    json!({
        "path": opened.db.path().display().to_string(),
        "generation": opened.db.open_report().generation,
        "series": series,
        "samples": stats.block_samples + stats.head_samples,
        "min_time_ms": stats.time.map(|t| t.0),
        "max_time_ms": stats.time.map(|t| t.1),
        "bytes": stats.block_bytes + stats.wal_bytes,
        "blocks": stats.blocks,
        "block_samples": stats.block_samples,
        "block_bytes": stats.block_bytes,
        "head_series": stats.head_series,
        "head_samples": stats.head_samples,
        "wal_bytes": stats.wal_bytes,
        "tombstones": stats.tombstones,
        "damaged": opened.db.open_report().damage.len(),
    })
}

fn rows(opened: &Opened, stats: &Stats, series: u64) -> Vec<(&'static str, String)> {
    let (min, max, length) = match stats.time {
        None => ("–".to_owned(), "–".to_owned(), "–".to_owned()),
        Some((min, max)) => (rfc3339(min), rfc3339(max), span(i128::from(max) - i128::from(min))),
    };
    vec![
        ("directory", opened.db.path().display().to_string()),
        ("series", count(series)),
        ("samples", count(stats.block_samples + stats.head_samples)),
        ("oldest", min),
        ("newest", max),
        ("span", length),
        ("blocks", count(stats.blocks)),
        ("  samples", count(stats.block_samples)),
        ("  bytes", bytes(stats.block_bytes)),
        ("  bytes a sample", ratio(stats.block_bytes, stats.block_samples)),
        ("head series", count(stats.head_series)),
        ("  samples", count(stats.head_samples)),
        ("log bytes", bytes(stats.wal_bytes)),
        ("deletes to clean up", count(stats.tombstones)),
        ("damaged", count(opened.db.open_report().damage.len() as u64)),
    ]
}
