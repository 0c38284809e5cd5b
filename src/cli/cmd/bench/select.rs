//! `bench select`: how long it takes to find series in an index of millions.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use silverback::{Cancel, ErrorKind, Labels, Querier, Selector, TimeRange};

use super::args::Select;
use super::meter::{anonymous_bytes, bytes_under, cpu, seconds};
use super::postings::{Question, Shape, questions};
use crate::failure::Failure;
use crate::output::{Context, bytes, print_json};

/// The most runs of one question.
const RUNS: usize = 100;
/// No further run begins after so long.
const PATIENCE: Duration = Duration::from_secs(1);
/// Series that a selection may give, where that is measured.
const LIMIT: u64 = 100;
/// Newly opened databases for each question.
const COLD_RUNS: usize = 7;
/// Where blocks of the highest level begin and end: 486 h.
const BLOCK_MS: i64 = 486 * 3_600_000;
/// The first such border after the year 2020 began.
const START_MS: i64 = BLOCK_MS * 903;

/// Runs `bench select`.
pub(crate) fn run(args: &Select, context: &Context) -> Result<u8, Failure> {
    let shape = Shape::new(args.series, args.per_value).ok_or_else(|| {
        Failure::usage("--series must be a multiple of --per-value, and that one of 5".to_owned())
    })?;
    if args.prepare {
        load(args, shape, context)?;
        return Ok(0);
    }
    if !args.again {
        let flags = [("--series", args.series), ("--per-value", args.per_value), ("--blocks", args.blocks)];
        super::prepare::make("select", &args.db.dir, &flags)?;
    }
    let dir = &args.db.dir;
    let asked = questions(shape)?;
    let opening = sampled(COLD_RUNS, || context.read(dir).map(drop))?;
    let before = anonymous_bytes();
    let mut rows = Vec::new();
    for question in &asked {
        let row = ask(dir, question, context)?;
        super::compare(
            &format!("series of {}", question.text),
            row.series,
            shape.expected(&question.selector),
        )?;
        row.describe(question, context);
        rows.push(row.json(question));
    }
    let after = anonymous_bytes();
    let opened = context.read(dir)?;
    let querier = opened.db.querier(TimeRange::ALL)?.max_series(u64::MAX);
    let values = sampled(RUNS, || {
        let found = querier.label_values("i", &Selector::all())?;
        super::compare("values of i", found.len() as u64, u64::from(shape.values))
    })?;
    let streamed = sampled(RUNS, || {
        let mut found = 0;
        querier.each_label_value("i", &Selector::all(), |value| {
            std::hint::black_box(value);
            found += 1;
        })?;
        super::compare("values of i", found, u64::from(shape.values))
    })?;
    let stopped = cancelled(&querier)?;
    let limited = limited(&querier, u64::from(args.series))?;
    let stats = opened.db.stats();
    let on_disk = bytes_under(dir)?;
    context.note(format_args!(
        "{} selections ended {:.3} ms after they were cancelled, at most {:.3} ms",
        stopped.wall.len(),
        ms(at(&stopped.wall, 50)),
        ms(at(&stopped.wall, 100)),
    ));
    context.note(format_args!(
        "a selection of all series ended at its limit of {LIMIT} after {}",
        limited.text()
    ));
    context.note(format_args!(
        "opened in {}; {} values of i in {}, as strings in {}; {} of memory that is no file's; {} of blocks",
        opening.text(),
        shape.values,
        streamed.text(),
        values.text(),
        after.map_or_else(|| "an unknown amount".to_owned(), bytes),
        bytes(stats.block_bytes),
    ));
    if args.json {
        print_json(&json!({
            "benchmark": "select",
            "checked": true,
            "series": args.series,
            "values": shape.values,
            "blocks": stats.blocks,
            "index_bytes": opened.db.blocks()?.iter().map(|b| b.index_bytes).sum::<u64>(),
            "disk_bytes": on_disk,
            "open": opening.json(),
            "label_values": values.json(),
            "each_label_value": streamed.json(),
            "cancelled": stopped.json(),
            "limited": limited.json(),
            "anonymous_bytes_before": before,
            "anonymous_bytes_after": after,
            "cpu_s": seconds(cpu()),
            "selections": rows,
        }))?;
    }
    Ok(opened.code())
}

/// How long some runs took, on the wall and by CPU, each sorted.
#[derive(Default)]
pub(crate) struct Times {
    wall: Vec<Duration>,
    cpu: Vec<Duration>,
}

impl Times {
    /// Runs something, prepared outside of the figures, a number of times; fewer if it takes long.
    fn of<T>(
        runs: usize,
        mut prepare: impl FnMut() -> Result<T, Failure>,
        mut f: impl FnMut(&T) -> Result<(), Failure>,
    ) -> Result<Times, Failure> {
        let began = Instant::now();
        let mut times = Times::default();
        while times.wall.len() < runs && (times.wall.is_empty() || began.elapsed() < PATIENCE) {
            let prepared = prepare()?;
            let started = (Instant::now(), cpu());
            f(&prepared)?;
            times.cpu.push(cpu().saturating_sub(started.1));
            times.wall.push(started.0.elapsed());
        }
        times.wall.sort_unstable();
        times.cpu.sort_unstable();
        Ok(times)
    }

    /// For people: the median by CPU, and the 99th percentile of the wall.
    pub(crate) fn text(&self) -> String {
        format!("{:.3} ms (p99 {:.3})", ms(at(&self.cpu, 50)), ms(at(&self.wall, 99)))
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "runs": self.wall.len(),
            "p50_s": seconds(at(&self.wall, 50)),
            "p99_s": seconds(at(&self.wall, 99)),
            "max_s": seconds(at(&self.wall, 100)),
            "p50_cpu_s": seconds(at(&self.cpu, 50)),
        })
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The time below which so many hundredths of sorted ones lie.
fn at(times: &[Duration], percent: usize) -> Duration {
    let last = times.len().saturating_sub(1);
    times.get(last * percent / 100).copied().unwrap_or_default()
}

/// Runs something that needs no preparation.
pub(crate) fn sampled(runs: usize, mut f: impl FnMut() -> Result<(), Failure>) -> Result<Times, Failure> {
    Times::of(runs, || Ok(()), |()| f())
}

/// What one question took.
struct Row {
    series: u64,
    cold_ids: Times,
    cold_all: Times,
    ids: Times,
    all: Times,
}

impl Row {
    fn describe(&self, question: &Question, context: &Context) {
        context.note(format_args!(
            "{:<22} {:>8} series  ids {}, cold {}  all {}, cold {}  {}",
            question.name,
            self.series,
            self.ids.text(),
            self.cold_ids.text(),
            self.all.text(),
            self.cold_all.text(),
            question.text
        ));
    }

    fn json(&self, question: &Question) -> Value {
        json!({
            "name": question.name,
            "selector": question.text,
            "series": self.series,
            "ids_cold": self.cold_ids.json(),
            "ids": self.ids.json(),
            "all_cold": self.cold_all.json(),
            "all": self.all.json(),
        })
    }
}

fn ask(dir: &Path, question: &Question, context: &Context) -> Result<Row, Failure> {
    let mut series = 0;
    let cold_ids = cold(dir, context, |querier| find(querier, question))?;
    let cold_all = cold(dir, context, |querier| list(querier, question).map(|_| ()))?;
    let opened = context.read(dir)?;
    let querier = opened.db.querier(TimeRange::ALL)?.max_series(u64::MAX);
    let ids = sampled(RUNS, || find(&querier, question))?;
    let all = sampled(RUNS, || {
        series = list(&querier, question)?;
        Ok(())
    })?;
    Ok(Row { series, cold_ids, cold_all, ids, all })
}

/// Each run on a database that was opened for it; the opening is not in its time.
fn cold(
    dir: &Path,
    context: &Context,
    mut f: impl FnMut(&Querier) -> Result<(), Failure>,
) -> Result<Times, Failure> {
    let open = || {
        let opened = context.read(dir)?;
        let querier = opened.db.querier(TimeRange::ALL)?.max_series(u64::MAX);
        Ok((querier, opened))
    };
    Times::of(COLD_RUNS, open, |(querier, _)| f(querier))
}

/// How long after its token was cancelled a selection ends: one that scans all values, and one that gives out all series, each
/// cancelled at other moments. Those that were done before do not count.
fn cancelled(querier: &Querier) -> Result<Times, Failure> {
    let mut times = Times::default();
    for (text, moment) in
        [r#"{i=~".*7.*7.*"}"#, r#"{i!=""}"#].iter().flat_map(|text| (0..20).map(move |n| (text, n)))
    {
        let selector: Selector = text.parse()?;
        let cancel = Cancel::default();
        let canceller = {
            let cancel = cancel.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_micros(500 + 1_500 * moment));
                let now = Instant::now();
                cancel.cancel();
                now
            })
        };
        let listed = querier
            .clone()
            .cancel(&cancel)
            .select(&selector)
            .and_then(|set| set.map(|series| series.map(|_| 1)).sum::<silverback::Result<u64>>());
        let ended = Instant::now();
        let Ok(asked) = canceller.join() else { continue };
        if listed.is_err_and(|e| e.kind() == ErrorKind::Cancelled) {
            times.wall.push(ended.saturating_duration_since(asked));
        }
    }
    times.wall.sort_unstable();
    Ok(times)
}

/// How long a selection of all series takes that may give few.
fn limited(querier: &Querier, all: u64) -> Result<Times, Failure> {
    let selector: Selector = r#"{i!=""}"#.parse()?;
    let querier = querier.clone().max_series(LIMIT);
    sampled(RUNS, || {
        let given = querier.select(&selector)?.take_while(silverback::Result::is_ok).count();
        super::compare("series up to the limit", given as u64, LIMIT.min(all))
    })
}

/// The numbers of all series, and the first series.
fn find(querier: &Querier, question: &Question) -> Result<(), Failure> {
    std::hint::black_box(querier.select(&question.selector)?);
    Ok(())
}

/// All series, with labels and the places of their chunks.
fn list(querier: &Querier, question: &Question) -> Result<u64, Failure> {
    let mut series = 0;
    for found in querier.select(&question.selector)? {
        series += found?.extent().chunks;
    }
    Ok(series)
}

/// One sample a series, in as many blocks as asked for.
fn load(args: &Select, shape: Shape, context: &Context) -> Result<(), Failure> {
    let opened = context.write_with(&args.db.dir, context.options().create(true))?;
    let mut loader = opened.db.bulk_loader()?;
    for value in 0..shape.values {
        let block = u64::from(value) * u64::from(args.blocks) / u64::from(shape.values);
        let t = START_MS + BLOCK_MS * block.cast_signed();
        for labels in shape.labels(value) {
            let labels: Labels = labels.map_err(|e| Failure::wrong(e.to_string()))?;
            let reference = loader.series(&labels)?;
            loader.extend(reference, &[t], &[0.0])?;
        }
    }
    loader.finish()?;
    Ok(opened.db.close()?)
}
