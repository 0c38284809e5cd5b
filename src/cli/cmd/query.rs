//! `query`: what a selector selects, as a table and a picture, or as JSON.
//!
//! A series is read once for its row of the table and once more for the picture, which needs to know the extremes
//! before: memory does not grow with the samples.

use std::io::Write;

use serde_json::json;
use silverback::{Querier, Selector, Series};

use crate::args::Query;
use crate::failure::Failure;
use crate::notation::{labels_json, value_json};
use crate::output::{Context, counted, stdout, terminal_width, wants_colour, width};
use crate::plot::{Frame, MOST, Trace, picture};
use crate::table::{Steps, Summary, each_sample, of_series};
use crate::union::inclusive;

/// Runs `query`.
pub(crate) fn run(args: &Query, context: &Context) -> Result<u8, Failure> {
    let range = inclusive(args.start, args.end, ["--start", "--end"])?;
    let origin_ms = if args.start.is_some() { range.start() } else { 0 };
    let steps = args.step.map(|length_ms| Steps { origin_ms, length_ms });
    let opened = context.read(&args.db.dir)?;
    let querier = opened.db.querier(range)?.cancel(context.interrupt.cancel());
    match args.json {
        true => as_json(&querier, &args.selector, steps)?,
        false => show(&querier, &args.selector, steps, context)?,
    }
    Ok(opened.code())
}

/// Prints the table and the picture.
pub(crate) fn show(
    querier: &Querier,
    selector: &Selector,
    steps: Option<Steps>,
    context: &Context,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut plotted: Vec<Series> = Vec::new();
    for series in querier.select(selector)? {
        let series = series?;
        let Some(row) = Summary::read(&series, steps)? else { continue };
        if plotted.len() < MOST {
            plotted.push(series);
        }
        rows.push(row);
    }
    if rows.is_empty() {
        context.note(format_args!("no samples: nothing that {selector} selects is in that range"));
        return Ok(());
    }
    let mut out = stdout();
    write!(out, "{}", of_series(&rows, terminal_width()))?;
    let shown = rows.get(..plotted.len()).unwrap_or_default();
    match frame(shown) {
        None => context.note("no plot: none of the values is a finite number"),
        Some(frame) => {
            let traces =
                plotted.iter().map(|s| Trace::read(s, steps, frame)).collect::<Result<Vec<_>, _>>()?;
            write!(out, "\n{}", picture(&traces, frame))?;
        }
    }
    out.flush()?;
    if rows.len() > plotted.len() {
        let others = (rows.len() - plotted.len()) as u64;
        context
            .note(format_args!("{} more are in the table, but not in the plot", counted(others, "series")));
    }
    Ok(())
}

/// What the picture must hold: times and finite values of the rows.
fn frame(rows: &[Summary]) -> Option<Frame> {
    let times_ms = rows.iter().map(|r| r.times_ms).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    let values = rows.iter().filter_map(|r| r.finite).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    Some(Frame { width: width(), times_ms, values, colour: wants_colour() })
}

fn as_json(querier: &Querier, selector: &Selector, steps: Option<Steps>) -> Result<(), Failure> {
    let mut out = stdout();
    write!(out, "{{\"selector\":{},\"series\":[", json!(selector.to_string()))?;
    let mut first = true;
    for series in querier.select(selector)? {
        let series = series?;
        out.write_all(if first { b"" } else { b"," })?;
        first = false;
        write!(out, "{{\"labels\":{},\"samples\":[", labels_json(series.labels()))?;
        let mut comma = "";
        each_sample(&series, steps, |t, v| {
            write!(out, "{comma}[{t},{}]", value_json(v))?;
            comma = ",";
            Ok(())
        })?;
        write!(out, "]}}")?;
    }
    writeln!(out, "]}}")?;
    Ok(out.flush()?)
}
