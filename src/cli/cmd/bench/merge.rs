//! `bench merge`: blocks into one, whose rows come one after the other or take turns.
//!
//! ```text
//!   adjacent    ├── 0 ──┤├── 1 ──┤├── 2 ──┤├── 3 ──┤   ·     each a window of one level; the row far away shows that the next is complete
//!   --overlap   0 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3              one row of each in turn
//! ```

use std::time::Duration;

use serde_json::json;
use silverback::{Db, Labels, Options};

use super::args::{Merge, Values};
use super::data::{Data, GENERATION, INTERVAL_MS};
use super::meter::{Meter, rate};
use crate::failure::Failure;
use crate::output::{Context, bytes, print_json};

/// Blocks of the highest level span so many of the lowest.
const HIGHEST: u32 = 243;
/// Windows of the level that holds all blocks, since the epoch: some time in this century.
const WINDOWS: i64 = 300;
/// Blocks that a window of that level holds.
const MAX_BLOCKS: u32 = 9;
/// Where the row far away stands.
const FAR: u32 = 20;

/// Runs `bench merge`.
pub(crate) fn run(args: &Merge, context: &Context) -> Result<u8, Failure> {
    if args.prepare {
        match args.overlap {
            true => load_overlapping(args, context)?,
            false => load_adjacent(args, context)?,
        }
        return Ok(0);
    }
    let flags = [("--series", args.series), ("--samples", args.samples), ("--blocks", args.blocks)];
    super::prepare::make(if args.overlap { "merge --overlap" } else { "merge" }, &args.db.dir, &flags)?;
    measure(args, context)
}

/// Merges what was prepared.
pub(crate) fn measure(args: &Merge, context: &Context) -> Result<u8, Failure> {
    let meter = Meter::start();
    // Blocks that were of the highest level are of a low one now: one merge takes all of them.
    let range = block_range(args) * if args.overlap { 1 } else { 3 * HIGHEST };
    let opened = context.write_with(&args.db.dir, context.options().block_range(range))?;
    let before = opened.db.stats();
    opened.db.compact(context.interrupt.cancel())?;
    let after = opened.db.stats();
    opened.db.close()?;
    let taken = meter.read();

    super::compare("merges", after.merges, 1)?;
    let samples = data(args).samples();
    super::check(&args.db.dir, samples + far_rows(args), context)?;
    taken.describe(samples, context);
    context.note(format_args!(
        "  {} read, {} written and read back, {} there at one time; {} samples by CPU second",
        bytes(after.merge_read_bytes),
        bytes(after.merge_written_bytes),
        bytes(after.merge_peak_bytes),
        rate(samples, taken.cpu),
    ));
    if args.json {
        let mut figures = taken.figures(samples);
        for (name, value) in [
            ("benchmark", json!("merge")),
            ("checked", json!(true)),
            ("series", json!(args.series)),
            ("overlap", json!(args.overlap)),
            ("blocks_before", json!(before.blocks)),
            ("bytes_before", json!(before.block_bytes)),
            ("merge_read_bytes", json!(after.merge_read_bytes)),
            ("merge_written_bytes", json!(after.merge_written_bytes)),
            ("merge_peak_bytes", json!(after.merge_peak_bytes)),
        ] {
            figures.insert(name.to_owned(), value);
        }
        print_json(&serde_json::Value::Object(figures))?;
    }
    Ok(opened.code())
}

fn data(args: &Merge) -> Data {
    Data {
        series: args.series,
        scrapes: args.samples * args.blocks.min(MAX_BLOCKS),
        values: Values::Real,
        jitter_ms: 0,
        churn: 0,
        lifetime: GENERATION,
        interval_ms: INTERVAL_MS,
        together: false,
    }
}

/// The range of the lowest level with which the rows of one block fill a block of the highest; with --overlap, those of all blocks.
fn block_range(args: &Merge) -> Duration {
    let rows = if args.overlap { data(args).scrapes } else { args.samples };
    // The targets' offsets are below one interval.
    let length_ms = (u64::from(rows) + 1) * INTERVAL_MS.cast_unsigned();
    Duration::from_millis(length_ms.div_ceil(HIGHEST.into())).max(Duration::from_secs(1))
}

/// The beginning of a block of the highest level.
fn block_ms(args: &Merge, block: u32) -> i64 {
    let length_ms = i64::try_from(block_range(args).as_millis()).unwrap_or(i64::MAX) * i64::from(HIGHEST);
    (WINDOWS * i64::from(MAX_BLOCKS) + i64::from(block)) * length_ms
}

fn far_rows(args: &Merge) -> u64 {
    if args.overlap { 0 } else { args.series.into() }
}

/// When a target is scraped, after the interval began.
fn offset_ms(data: &Data, series: u32) -> i64 {
    data.time(series, 0).rem_euclid(INTERVAL_MS)
}

fn labels(data: &Data, series: u32) -> Result<Labels, Failure> {
    data.labels(series, 0).map_err(|e| Failure::wrong(e.to_string()))
}

fn open(args: &Merge, context: &Context) -> Result<Db, Failure> {
    let options: Options = context.options().create(true).block_range(block_range(args));
    Ok(context.write_with(&args.db.dir, options)?.db)
}

/// Each block's rows one after the other, as columns already.
fn load_adjacent(args: &Merge, context: &Context) -> Result<(), Failure> {
    let (db, data) = (open(args, context)?, data(args));
    let mut loader = db.bulk_loader()?;
    for series in 0..data.series {
        let reference = loader.series(&labels(&data, series)?)?;
        let mut walk = data.walk(series, 0);
        for block in 0..data.scrapes / args.samples {
            let start = block_ms(args, block) + offset_ms(&data, series);
            let t: Vec<i64> = (0..i64::from(args.samples)).map(|row| start + row * INTERVAL_MS).collect();
            let v: Vec<f64> = t.iter().map(|_| walk.next()).collect();
            loader.extend(reference, &t, &v)?;
        }
        loader.extend(reference, &[block_ms(args, FAR)], &[walk.next()])?;
    }
    loader.finish()?;
    db.compact(context.interrupt.cancel())?;
    Ok(db.close()?)
}

/// A load for each block, of each so many rows one.
fn load_overlapping(args: &Merge, context: &Context) -> Result<(), Failure> {
    let (db, data) = (open(args, context)?, data(args));
    let blocks = data.scrapes / args.samples;
    for block in 0..blocks {
        let mut loader = db.bulk_loader()?;
        for series in 0..data.series {
            let reference = loader.series(&labels(&data, series)?)?;
            let start = block_ms(args, 0) + offset_ms(&data, series);
            let mut walk = data.walk(series, 0);
            let (mut t, mut v) = (Vec::new(), Vec::new());
            for scrape in 0..data.scrapes {
                let value = walk.next();
                if scrape % blocks == block {
                    t.push(start + i64::from(scrape) * INTERVAL_MS);
                    v.push(value);
                }
            }
            loader.extend(reference, &t, &v)?;
        }
        loader.finish()?;
    }
    Ok(db.close()?)
}
