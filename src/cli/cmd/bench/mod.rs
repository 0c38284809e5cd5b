//! `bench`: the engine measured whole, process by process.
//!
//! ```text
//!   bench write                    labels ─▶ shards ─▶ threads: append, commit ─▶ close ─┬▶ figures
//!   bench import|query|…           ┌ bench prepare, a process of its own ┐               └▶ check: read back
//!                                  └ dump, block, or log                 ┘─▶ measured ─▶ figures, check
//! ```
//!
//! CPU time and the peak of memory are of the whole process, so what comes before and what is not to be
//! measured happens in another one. The figures are taken at the close; the check comes after.
//!
//! | file | what |
//! |---|---|
//! | `args` | options and help |
//! | `data` | series, times and values |
//! | `meter` | time, CPU, memory, bytes |
//! | `prepare` | what another process makes |
//! | `write` | append and commit |
//! | `readers` | who selects meanwhile |
//! | `label_sets` | where it has label sets from |
//! | `selections` | what is asked, of each kind of matcher |
//! | `history` | a long retention |
//! | `merge` | blocks into one |
//! | `select` | series among millions |
//! | `postings` | those series, and what is asked |
//! | `runs` | import, query, compact, recover |

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value, json};
use silverback::{Columns, Db, Querier, Selector, TimeRange};

pub(crate) mod args;
mod data;
mod history;
mod label_sets;
mod merge;
mod meter;
mod postings;
mod prepare;
mod readers;
mod runs;
mod select;
mod selections;
mod write;

use crate::failure::Failure;
use crate::output::{Context, print_json};
use args::{Bench, Prepared, Run, Values, What};
use data::{Data, GENERATION, INTERVAL_MS};

/// Rows read at a time.
const READ_ROWS: usize = 4_096;

/// Runs `bench`.
pub(crate) fn run(args: &Bench, context: &Context) -> Result<u8, Failure> {
    match &args.what {
        What::Prepare(a) => return prepare::run(a, context),
        What::Write(a) => refuse_used(&a.run.db.dir)?,
        What::Select(a) if a.again => {}
        What::History(a) if a.again => {}
        What::History(a) => refuse_used(&a.db.dir)?,
        What::Select(a) => refuse_used(&a.db.dir)?,
        What::Merge(a) if a.prepare => {}
        What::Merge(a) => refuse_used(&a.db.dir)?,
        What::Import(a) | What::Query(a) | What::Compact(a) | What::Recover(a) => refuse_used(&a.db.dir)?,
    }
    match &args.what {
        What::Prepare(_) => Ok(0),
        What::Write(a) => write::run(a, context),
        What::Import(a) => runs::import(a, context),
        What::Query(a) => runs::query(a, context),
        What::Select(a) => select::run(a, context),
        What::History(a) => history::run(a, context),
        What::Compact(a) => runs::compact(a, context),
        What::Merge(a) => merge::run(a, context),
        What::Recover(a) => runs::recover(a, context),
    }
}

/// The data set that the options of a benchmark mean; what is not given depends on the benchmark.
fn data_of(run: &Run, what: Option<Prepared>) -> Data {
    let (series, scrapes) = match what {
        Some(Prepared::Query) => (100_000, 60),
        Some(Prepared::Compact) => (2_000, 3_000),
        Some(Prepared::Import | Prepared::Recover) | None => (10_000, 240),
    };
    Data {
        series: run.series.unwrap_or(series),
        scrapes: run.scrapes.unwrap_or(scrapes),
        values: run.values.unwrap_or(Values::Real),
        jitter_ms: run.jitter,
        churn: run.churn,
        lifetime: GENERATION,
        interval_ms: INTERVAL_MS,
        together: false,
    }
}

/// A benchmark mixes its data with nobody's.
fn refuse_used(dir: &Path) -> Result<(), Failure> {
    let mut entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Failure::io("list the directory", dir, e)),
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Failure::refused(format!(
            "{}: the directory is not empty; a benchmark needs one that is, or that is not there",
            dir.display()
        ))),
    }
}

/// All samples and series that a database has now.
fn count_all(db: &Db) -> Result<(u64, u64), Failure> {
    count(&db.querier(TimeRange::ALL)?, &Selector::all())
}

/// Reads all samples that a selector selects: how many there are, and series.
fn count(querier: &Querier, selector: &Selector) -> Result<(u64, u64), Failure> {
    let (mut samples, mut series) = (0, 0);
    let mut columns = Columns::default();
    for found in querier.select(selector)? {
        series += 1;
        let mut rows = found?.samples();
        loop {
            columns.clear();
            match rows.read_into(&mut columns, READ_ROWS)? {
                0 => break,
                read => samples += read as u64,
            }
        }
    }
    Ok((samples, series))
}

/// Opens the database anew, and counts what is in it.
fn check(dir: &Path, expected: u64, context: &Context) -> Result<(), Failure> {
    let opened = context.read(dir)?;
    let (samples, _) = count_all(&opened.db)?;
    compare("samples read back", samples, expected)
}

/// A wrong count is wrong data, and no figure is worth printing.
fn compare(what: &str, found: u64, expected: u64) -> Result<(), Failure> {
    match found == expected {
        true => Ok(()),
        false => Err(Failure::wrong(format!("{what}: {found}, where {expected} should be"))),
    }
}

/// Prints the figures as JSON, if asked for.
fn print(name: &str, run: &Run, mut figures: Map<String, Value>) -> Result<(), Failure> {
    if !run.json {
        return Ok(());
    }
    figures.insert("benchmark".to_owned(), json!(name));
    figures.insert("checked".to_owned(), json!(true));
    print_json(&Value::Object(figures))
}

#[cfg(test)]
mod tests;
