//! `bench history`: what a long retention costs, and that a short look at it costs no more.

use serde_json::json;
use silverback::{Columns, Querier, Selector, TimeRange};

use super::args::{History, Values};
use super::data::{Data, GENERATION, START_MS};
use super::meter::{bytes_under, cpu, seconds};
use super::select::{Times, sampled};
use crate::failure::Failure;
use crate::output::{Context, bytes, print_json, ratio};

/// A month has thirty days here.
const MONTH_S: u32 = 30 * 86_400;
/// How often each question is asked.
const RUNS: usize = 21;
/// What a short look takes in.
const HOUR_MS: i64 = 3_600_000;

/// Runs `bench history`.
pub(crate) fn run(args: &History, context: &Context) -> Result<u8, Failure> {
    let data = data(args);
    if args.prepare {
        super::prepare::load(&data, &args.db.dir, context)?;
        return Ok(0);
    }
    if !args.again {
        prepare_elsewhere(args)?;
    }
    let dir = &args.db.dir;
    let opening = sampled(RUNS, || context.read(dir).map(drop))?;
    let opened = context.read(dir)?;
    let end = data.time(0, data.scrapes);
    let last_hour = opened.db.querier(TimeRange::new(end - HOUR_MS, end))?;
    let middle = START_MS + (end - START_MS) / 2;
    let middle_hour = opened.db.querier(TimeRange::new(middle, middle + HOUR_MS))?;
    let whole = opened.db.querier(TimeRange::ALL)?;
    let one = one(&data)?;
    let mut columns = Columns::default();
    super::compare("samples of one series", read(&whole, &one, &mut columns)?, u64::from(data.scrapes))?;
    let hour_samples = read(&middle_hour, &Selector::all(), &mut columns)?;
    let mut asked = |querier: &Querier, selector: &Selector| -> Result<Times, Failure> {
        sampled(RUNS, || read(querier, selector, &mut columns).map(|_| ()))
    };
    let one_whole = asked(&whole, &one)?;
    let (all_last, all_middle) =
        (asked(&last_hour, &Selector::all())?, asked(&middle_hour, &Selector::all())?);
    let blocks = opened.db.blocks()?;
    let samples: u64 = blocks.iter().map(|b| b.samples).sum();
    super::compare("samples stored", samples, data.samples())?;
    let stored: u64 = blocks.iter().map(|b| b.bytes).sum();
    let index: u64 = blocks.iter().map(|b| b.index_bytes).sum();
    context.note(format_args!(
        "{samples} samples in {} blocks of {}, {} a sample; index {}\nopened in {}\none series, all of it: {}\nall series, the last hour: {}\nall series, an hour in the middle ({hour_samples} samples): {}",
        blocks.len(),
        bytes(stored),
        ratio(stored, samples),
        bytes(index),
        opening.text(),
        one_whole.text(),
        all_last.text(),
        all_middle.text(),
    ));
    if args.json {
        print_json(&json!({
            "benchmark": "history",
            "checked": true,
            "series": args.series,
            "months": args.months,
            "interval_s": args.interval,
            "samples": samples,
            "blocks": blocks.len(),
            "block_bytes": stored,
            "index_bytes": index,
            "disk_bytes": bytes_under(dir)?,
            "open": opening.json(),
            "one_series_all_time": one_whole.json(),
            "all_series_last_hour": all_last.json(),
            "all_series_middle_hour": all_middle.json(),
            "hour_samples": hour_samples,
            "cpu_s": seconds(cpu()),
        }))?;
    }
    Ok(opened.code())
}

fn data(args: &History) -> Data {
    Data {
        series: args.series,
        scrapes: args.months * (MONTH_S / args.interval),
        values: Values::Real,
        jitter_ms: 0,
        churn: 0,
        lifetime: GENERATION,
        interval_ms: i64::from(args.interval) * 1_000,
        together: false,
    }
}

/// The selector of one series: a counter, if there are so many.
fn one(data: &Data) -> Result<Selector, Failure> {
    let labels = data.labels(45.min(data.series - 1), 0).map_err(|e| Failure::wrong(e.to_string()))?;
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    Ok(format!("{{{}}}", pairs.join(",")).parse()?)
}

/// Decodes all samples of a selection.
fn read(querier: &Querier, selector: &Selector, columns: &mut Columns) -> Result<u64, Failure> {
    let mut samples = 0;
    for series in querier.select(selector)? {
        let mut rows = series?.samples();
        loop {
            columns.clear();
            match rows.read_into(columns, super::READ_ROWS)? {
                0 => break,
                read => samples += read as u64,
            }
        }
    }
    Ok(samples)
}

fn prepare_elsewhere(args: &History) -> Result<(), Failure> {
    let flags = [("--series", args.series), ("--months", args.months), ("--interval", args.interval)];
    super::prepare::make("history", &args.db.dir, &flags)
}
