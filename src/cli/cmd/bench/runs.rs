//! `bench import`, `query`, `compact` and `recover`: another process prepares, this one is measured.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use silverback::import::{Format, ImportOptions};
use silverback::{Event, Labels, Querier, Selector, TimeRange};

use super::args::{Prepared, Run};
use super::meter::{Meter, bytes_under, cpu, rate, seconds};
use super::prepare::{dump_path, elsewhere};
use super::selections::{self, Selection};
use crate::cmd::import::load;
use crate::failure::Failure;
use crate::inputs::places;
use crate::output::{Context, bytes, counted, ratio};

/// How often each selection is listed.
const LISTINGS: usize = 11;

/// Runs `bench import`.
pub(crate) fn import(args: &Run, context: &Context) -> Result<u8, Failure> {
    let data = super::data_of(args, Some(Prepared::Import));
    let dump = dump_path(&args.db.dir);
    elsewhere(Prepared::Import, args)?;
    let meter = Meter::start();
    let places = places(std::slice::from_ref(&dump))?;
    let opened = context.write_with(&args.db.dir, context.options().create(true))?;
    let options = ImportOptions::default().format(Format::OpenMetrics);
    let inputs = places.iter().map(|place| Ok(place.input(&context.interrupt)));
    let outcome = load(&opened.db, &options, inputs, context, &ProgressBar::hidden());
    let closed = opened.db.close();
    let taken = meter.read();
    std::fs::remove_file(&dump).map_err(|e| Failure::io("remove the dump", &dump, e))?;
    let (summary, committed) = outcome?.into_parts();
    closed?;

    super::compare("samples imported", committed.appended(), data.samples())?;
    super::check(&args.db.dir, data.samples(), context)?;
    taken.describe(data.samples(), context);
    context.note(format_args!(
        "  {} read, {} written, {} bytes a sample",
        bytes(summary.bytes_in),
        bytes(committed.block_bytes()),
        ratio(committed.block_bytes(), committed.appended())
    ));
    let mut figures = taken.figures(data.samples());
    figures.insert("series".to_owned(), json!(committed.series()));
    figures.insert("bytes_in".to_owned(), json!(summary.bytes_in));
    figures.insert("bytes_out".to_owned(), json!(committed.block_bytes()));
    super::print("import", args, figures)?;
    Ok(opened.code())
}

/// Runs `bench query`.
pub(crate) fn query(args: &Run, context: &Context) -> Result<u8, Failure> {
    let data = super::data_of(args, Some(Prepared::Query));
    elsewhere(Prepared::Query, args)?;
    let meter = Meter::start();
    let opened = context.read(&args.db.dir)?;
    let open = meter.read().wall;
    let querier = opened.db.querier(TimeRange::ALL)?.cancel(context.interrupt.cancel());
    let mut answers = Vec::new();
    let mut read = 0;
    for selection in selections::all(&data)? {
        let answer = ask(&querier, &selection)?;
        read += answer.samples;
        context.note(format_args!(
            "{:<15} {:>9} series  listed in {:>8.3} ms  {:>10} samples by CPU second  {}",
            selection.name,
            answer.series,
            answer.median.as_secs_f64() * 1e3,
            rate(answer.samples, answer.read_cpu),
            selection.text
        ));
        answers.push((selection, answer));
    }
    let taken = meter.read();

    let all: Vec<Labels> = querier
        .select(&Selector::all())?
        .map(|s| s.map(|s| s.labels().clone()))
        .collect::<silverback::Result<_>>()?;
    for (selection, answer) in &answers {
        let expected = all.iter().filter(|labels| selection.takes(labels)).count() as u64;
        super::compare(&format!("series of {}", selection.text), answer.series, expected)?;
    }
    super::check(&args.db.dir, data.samples(), context)?;
    let mut figures = taken.figures(read);
    figures.insert("series".to_owned(), json!(all.len()));
    figures.insert("open_s".to_owned(), seconds(open));
    let listed = answers.iter().map(|(selection, answer)| answer.json(selection)).collect();
    figures.insert("selections".to_owned(), Value::Array(listed));
    super::print("query", args, figures)?;
    Ok(opened.code())
}

/// What one question took.
struct Answer {
    series: u64,
    samples: u64,
    median: Duration,
    longest: Duration,
    read_cpu: Duration,
}

impl Answer {
    fn json(&self, selection: &Selection) -> Value {
        json!({
            "name": selection.name,
            "selector": selection.text,
            "series": self.series,
            "samples": self.samples,
            "list_median_s": seconds(self.median),
            "list_longest_s": seconds(self.longest),
            "read_cpu_s": seconds(self.read_cpu),
            "samples_per_cpu_s": rate(self.samples, self.read_cpu),
        })
    }
}

/// Lists the series several times, and reads their samples once.
fn ask(querier: &Querier, selection: &Selection) -> Result<Answer, Failure> {
    let mut times = Vec::with_capacity(LISTINGS);
    for _ in 0..LISTINGS {
        let started = Instant::now();
        for series in querier.select(&selection.selector)? {
            std::hint::black_box(series?.labels());
        }
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let before = cpu();
    let (samples, series) = super::count(querier, &selection.selector)?;
    let read_cpu = cpu().saturating_sub(before);
    let at = |i: usize| times.get(i).copied().unwrap_or_default();
    Ok(Answer { series, samples, median: at(LISTINGS / 2), longest: at(LISTINGS - 1), read_cpu })
}

/// What the steps of one kind took together.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    count: u64,
    samples: u64,
    wall: Duration,
    cpu: Duration,
}

impl Steps {
    fn add(&mut self, samples: u64, since: &mut (Instant, Duration)) {
        let now = (Instant::now(), cpu());
        self.count += 1;
        self.samples += samples;
        self.wall += now.0.saturating_duration_since(since.0);
        self.cpu += now.1.saturating_sub(since.1);
        *since = now;
    }

    fn insert(&self, name: &str, figures: &mut Map<String, Value>) {
        figures.insert(
            name.to_owned(),
            json!({
                "count": self.count,
                "samples": self.samples,
                "wall_s": seconds(self.wall),
                "cpu_s": seconds(self.cpu),
                "samples_per_cpu_s": rate(self.samples, self.cpu),
            }),
        );
    }
}

/// Runs `bench compact`.
pub(crate) fn compact(args: &Run, context: &Context) -> Result<u8, Failure> {
    let data = super::data_of(args, Some(Prepared::Compact));
    elsewhere(Prepared::Compact, args)?;
    let meter = Meter::start();
    // Steps come one after the other, so what passes between two events is the later one's.
    let steps = Arc::new(Mutex::new(((Instant::now(), cpu()), Steps::default(), Steps::default())));
    let noted = Arc::clone(&steps);
    let options = context.options().on_event(move |event| {
        let mut guard = noted.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, flushes, merges) = &mut *guard;
        match event {
            Event::Flushed { samples, .. } => flushes.add(*samples, since),
            Event::Merged { samples, .. } => merges.add(*samples, since),
            _ => {}
        }
    });
    let opened = context.write_with(&args.db.dir, options)?;
    let mut open = Steps::default();
    let before = opened.db.stats();
    {
        let mut guard = steps.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, ..) = &mut *guard;
        open.add(opened.db.open_report().replayed_samples, since);
    }
    opened.db.compact(context.interrupt.cancel())?;
    let after = opened.db.stats();
    opened.db.close()?;
    let taken = meter.read();

    super::check(&args.db.dir, data.samples(), context)?;
    let (_, flushes, merges) = *steps.lock().unwrap_or_else(PoisonError::into_inner);
    taken.describe(data.samples(), context);
    for (steps, what) in [(open, "opening"), (flushes, "flushed block"), (merges, "merge")] {
        context.note(format_args!(
            "  {}: {} samples, {:.2} s of CPU, {} samples by CPU second",
            counted(steps.count, what),
            steps.samples,
            steps.cpu.as_secs_f64(),
            rate(steps.samples, steps.cpu)
        ));
    }
    let mut figures = taken.figures(data.samples());
    open.insert("open", &mut figures);
    flushes.insert("flush", &mut figures);
    merges.insert("merge", &mut figures);
    for (name, value) in [
        ("series", json!(before.head_series)),
        ("blocks", json!(after.blocks)),
        ("bytes_before", json!(before.wal_bytes)),
        ("bytes_out", json!(after.block_bytes)),
        ("flushed_bytes", json!(after.new_block_bytes)),
        ("merge_read_bytes", json!(after.merge_read_bytes)),
        ("merge_written_bytes", json!(after.merge_written_bytes)),
        ("merge_peak_bytes", json!(after.merge_peak_bytes)),
        ("write_amplification", json!(after.write_amplification())),
        ("disk_bytes", json!(bytes_under(&args.db.dir)?)),
    ] {
        figures.insert(name.to_owned(), value);
    }
    super::print("compact", args, figures)?;
    Ok(opened.code())
}

/// Runs `bench recover`.
pub(crate) fn recover(args: &Run, context: &Context) -> Result<u8, Failure> {
    let data = super::data_of(args, Some(Prepared::Recover));
    elsewhere(Prepared::Recover, args)?;
    let meter = Meter::start();
    let opened = context.write(&args.db.dir)?;
    let taken = meter.read();

    let report = opened.db.open_report();
    super::compare("samples replayed", report.replayed_samples, data.samples())?;
    let (samples, series) = super::count_all(&opened.db)?;
    super::compare("samples recovered", samples, data.samples())?;
    taken.describe(samples, context);
    let mut figures = taken.figures(samples);
    figures.insert("series".to_owned(), json!(series));
    figures.insert("records".to_owned(), json!(report.replayed_records));
    figures.insert("wal_bytes".to_owned(), json!(opened.db.stats().wal_bytes));
    opened.db.close()?;
    super::print("recover", args, figures)?;
    Ok(opened.code())
}
