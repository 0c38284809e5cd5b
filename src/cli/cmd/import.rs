//! `import`: dumps in, blocks out; all at once, or nothing.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use silverback::import::{
    Fault, Format, ImportOptions, ImportSummary, Input, MissingTimestamp, OnError, Progress, Rejected, import,
};
use silverback::{Committed, Db};

use crate::args::{FormatArg, Import, OnErrorArg, Stamp};
use crate::failure::Failure;
use crate::inputs::{places, total_bytes};
use crate::output::{Context, bytes, count, counted, print_json, ratio, tell};
use crate::time::{now_ms, rfc3339};

/// How often the progress bar is drawn again while nothing arrives.
const TICK: Duration = Duration::from_millis(200);

/// What the program and its threads take, segments of the input on their way included.
const OWN_BYTES: u64 = 24 << 20;

/// Runs `import`.
pub(crate) fn run(args: &Import, context: &Context) -> Result<u8, Failure> {
    let places = places(&args.inputs)?;
    if args.memory < 8 << 20 {
        return Err(Failure::usage("--memory must be at least 8M"));
    }
    // For the program itself and its threads; a quarter of the rest for what is read and not handed on yet, three for sorting.
    let own = OWN_BYTES.min(args.memory / 4);
    let reading = (args.memory - own) / 4;
    let db_options = context.options().create(true).bulk_memory(args.memory - reading - own);
    let options = options(args).memory_bytes(usize::try_from(reading).unwrap_or(usize::MAX));
    let opened = context.write_with(&args.db.dir, db_options)?;
    let bar = bar(context, total_bytes(&places));
    let inputs = places.iter().map(|place| Ok(place.input(&context.interrupt)));
    let outcome = load(&opened.db, &options, inputs, context, &bar);
    bar.finish_and_clear();
    let done = outcome.map_err(|f| f.but("; nothing was imported"))?;
    opened.db.close()?;
    report(&done, args, context)?;
    Ok(opened.code())
}

/// What an import did.
pub(crate) struct Done {
    summary: ImportSummary,
    committed: Committed,
}

impl Done {
    /// What was read, and what was stored.
    pub(crate) fn into_parts(self) -> (ImportSummary, Committed) {
        (self.summary, self.committed)
    }
}

/// Reads all inputs and publishes what they hold.
pub(crate) fn load<'r>(
    db: &Db,
    options: &ImportOptions,
    inputs: impl IntoIterator<Item = silverback::Result<Input<'r>>>,
    context: &Context,
    bar: &ProgressBar,
) -> Result<Done, Failure> {
    let mut loader = db.bulk_loader()?;
    let cancel = context.interrupt.cancel();
    let summary = import(options, inputs, &mut loader, cancel, |progress| show(bar, progress))?;
    bar.set_message("writing blocks");
    let committed = loader.finish()?;
    Ok(Done { summary, committed })
}

fn options(args: &Import) -> ImportOptions {
    let mut options = ImportOptions::default()
        .format(match args.format {
            FormatArg::Auto => Format::Auto,
            FormatArg::Text => Format::Text,
            FormatArg::Openmetrics => Format::OpenMetrics,
            FormatArg::Scrapes => Format::Scrapes,
            FormatArg::Jsonl => Format::Jsonl,
            FormatArg::Promdump => Format::Promdump,
        })
        .on_error(match args.on_error {
            OnErrorArg::Fail => OnError::Fail,
            OnErrorArg::Skip => OnError::Skip,
        })
        .timestamp(match args.timestamp {
            None => MissingTimestamp::Refuse,
            Some(Stamp::At(t)) => MissingTimestamp::At(t.resolve(now_ms())),
            Some(Stamp::Modified) => MissingTimestamp::Modified,
        })
        .concatenated(args.concatenated);
    if let Some(n) = args.max_rejected {
        options = options.max_rejected(n);
    }
    for (name, value) in &args.labels {
        options = options.label(name, value);
    }
    options
}

fn bar(context: &Context, total: Option<u64>) -> ProgressBar {
    if !context.shows_progress() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left"),
        None => (ProgressBar::no_length(), "{spinner} {bytes}  {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

fn show(bar: &ProgressBar, progress: &Progress) {
    if bar.is_hidden() {
        return;
    }
    bar.set_position(progress.bytes_in);
    let rate = u128::from(progress.samples) * 1_000 / bar.elapsed().as_millis().max(1);
    bar.set_message(format!("{} samples/s", count(u64::try_from(rate).unwrap_or(u64::MAX))));
}

fn report(done: &Done, args: &Import, context: &Context) -> Result<(), Failure> {
    let Done { summary, committed } = done;
    for rejected in &summary.first_rejected {
        tell(format_args!("{rejected}"));
    }
    let unlisted = summary.rejected - (summary.first_rejected.len() as u64).min(summary.rejected);
    if unlisted > 0 {
        tell(format_args!("and {} more", counted(unlisted, "line")));
    }
    describe(done, context);
    if args.json { print_json(&as_json(summary, committed)) } else { Ok(()) }
}

/// The summary for people.
pub(crate) fn describe(done: &Done, context: &Context) {
    let Done { summary, committed } = done;
    context.note(format_args!(
        "imported {} of {}",
        counted(committed.appended(), "sample"),
        counted(committed.series(), "series")
    ));
    if let (Some(min), Some(max)) = (summary.min_time_ms, summary.max_time_ms) {
        context.note(format_args!("  from {} to {}", rfc3339(min), rfc3339(max)));
    }
    context.note(format_args!(
        "  {} read, {} written, {} bytes a sample",
        bytes(summary.bytes_in),
        bytes(committed.block_bytes()),
        ratio(committed.block_bytes(), committed.appended())
    ));
    for (n, noun, what) in [
        (summary.scrapes, "scrape", "read"),
        (summary.failed_scrapes, "scrape", "failed when recorded"),
        (summary.stale_markers, "staleness marker", "written for series that vanished"),
        (summary.rejected, "line", "rejected and left out"),
        (committed.conflicts(), "sample", "left out: an earlier one has another value at that time"),
        (committed.duplicates(), "sample", "left out: there twice"),
        (committed.stored_equal(), "sample", "stored before, with the same value"),
        (
            committed.stored_other(),
            "sample",
            "stored before with another value: that of the newest block is seen, the head's above all",
        ),
        (summary.exemplars_skipped, "exemplar", "read, but not stored: this version keeps none"),
    ] {
        if n > 0 {
            context.note(format_args!("  {} {what}", counted(n, noun)));
        }
    }
}

fn as_json(summary: &ImportSummary, committed: &Committed) -> Value {
    json!({
        "series": committed.series(),
        "samples": committed.appended(),
        "min_time_ms": summary.min_time_ms,
        "max_time_ms": summary.max_time_ms,
        "bytes_in": summary.bytes_in,
        "bytes_out": committed.block_bytes(),
        "bytes_per_sample": committed.block_bytes() as f64 / (committed.appended().max(1) as f64),
        "rejected": summary.rejected,
        "rejected_lines": summary.first_rejected.iter().map(rejected_line).collect::<Vec<_>>(),
        "conflicts": committed.conflicts(),
        "duplicates": committed.duplicates(),
        "stored_equal": committed.stored_equal(),
        "stored_other": committed.stored_other(),
        "exemplars": summary.exemplars_skipped,
        "scrapes": summary.scrapes,
        "failed_scrapes": summary.failed_scrapes,
        "stale_markers": summary.stale_markers,
    })
}

fn rejected_line(rejected: &Rejected) -> Value {
    let Fault { line, column, why } = rejected.fault;
    json!({ "input": rejected.input, "line": line, "column": column, "why": why })
}
