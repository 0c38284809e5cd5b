//! What a benchmark finds: made by a process of its own, so that it is not measured.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use silverback::import::go;
use silverback::{Labels, SyncPolicy};

use super::args::{Prepare, Prepared, Run};
use super::data::Data;
use super::readers::Clock;
use super::write::{Steps, append_all, made_shards};
use crate::failure::Failure;
use crate::output::Context;

/// Samples of one commit.
const BATCH: u32 = 10_000;

/// Runs `bench prepare`.
pub(crate) fn run(args: &Prepare, context: &Context) -> Result<u8, Failure> {
    let data = super::data_of(&args.run, Some(args.what));
    let dir = &args.run.db.dir;
    match args.what {
        Prepared::Import => write_dump(&data, &dump_path(dir))?,
        Prepared::Query => load(&data, dir, context)?,
        Prepared::Compact | Prepared::Recover => {
            let options = context.options().create(true).sync(SyncPolicy::Never);
            let opened = context.write_with(dir, options)?;
            let (cancel, clock) = (context.interrupt.cancel(), Clock::default());
            let steps = Steps { data, file: None, cancel, clock: &clock, waits: None, by_thread: false };
            let appended = append_all(&opened.db, &steps, made_shards(&data, BATCH), 1)?;
            super::compare("samples appended", appended.samples, data.samples())?;
            // No destructor runs: the next open finds what a crash leaves.
            std::process::exit(0);
        }
    }
    Ok(0)
}

/// Has another process prepare, and waits for it.
pub(crate) fn elsewhere(what: Prepared, run: &Run) -> Result<(), Failure> {
    let own =
        std::env::current_exe().map_err(|e| Failure::refused(format!("cannot find this program: {e}")))?;
    let name: OsString = match what {
        Prepared::Import => "import",
        Prepared::Query => "query",
        Prepared::Compact => "compact",
        Prepared::Recover => "recover",
    }
    .into();
    let mut command = Command::new(&own);
    command.args(["--quiet", "bench", "prepare"]).arg(name).args(run.flags()).stdout(Stdio::null());
    let status = command.status().map_err(|e| Failure::io("run it", &own, e))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::refused(format!("the data could not be prepared ({status})"))),
    }
}

/// Has another process make what a benchmark of this name (and further words) needs, so that its memory is not in the figures.
pub(crate) fn make(name: &str, dir: &Path, flags: &[(&str, u32)]) -> Result<(), Failure> {
    let own =
        std::env::current_exe().map_err(|e| Failure::refused(format!("cannot find this program: {e}")))?;
    let mut command = Command::new(&own);
    command.args(["--quiet", "bench"]).args(name.split(' ')).args(["--prepare", "--db"]).arg(dir);
    for (flag, n) in flags {
        command.arg(flag).arg(n.to_string());
    }
    let status = command.stdout(Stdio::null()).status().map_err(|e| Failure::io("run it", &own, e))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::refused(format!("the data could not be prepared ({status})"))),
    }
}

/// Where the dump of a directory's benchmark is.
pub(crate) fn dump_path(dir: &Path) -> PathBuf {
    let mut path = dir.as_os_str().to_owned();
    path.push(".dump.om");
    path.into()
}

/// OpenMetrics, family by family, series by series.
fn write_dump(data: &Data, path: &Path) -> Result<(), Failure> {
    let failed = |e| Failure::io("write the dump", path, e);
    let file = File::create_new(path).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut line = String::new();
    for series in (0..data.families()).flat_map(|family| data.family(family)) {
        each_life(data, series, &mut |labels, t, v| {
            let key = key_of(labels);
            for (t, v) in t.iter().zip(v) {
                line.clear();
                line.push_str(&key);
                line.push(' ');
                // Writing to a string does not fail.
                let _infallible = go::write_float(&mut line, *v);
                line.push_str(&format!(" {}.{:03}\n", t.div_euclid(1_000), t.rem_euclid(1_000)));
                out.write_all(line.as_bytes()).map_err(failed)?;
            }
            Ok(())
        })?;
    }
    out.write_all(b"# EOF\n").and_then(|()| out.flush()).map_err(failed)
}

/// `name{label="value",…}`; none of the values needs an escape.
fn key_of(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    format!("{}{{{}}}", labels.name(), pairs.join(","))
}

/// Loads all samples as one block.
pub(crate) fn load(data: &Data, dir: &Path, context: &Context) -> Result<(), Failure> {
    let opened = context.write_with(dir, context.options().create(true))?;
    let mut loader = opened.db.bulk_loader()?;
    for series in 0..data.series {
        each_life(data, series, &mut |labels, t, v| {
            let reference = loader.series(labels)?;
            Ok(loader.extend(reference, t, v)?)
        })?;
    }
    loader.finish()?;
    Ok(opened.db.close()?)
}

/// What takes the columns of a series: its labels, times, values.
type Give<'a> = dyn FnMut(&Labels, &[i64], &[f64]) -> Result<(), Failure> + 'a;

/// Gives the columns of a series and of those that replaced it, each with its labels.
fn each_life(data: &Data, series: u32, give: &mut Give<'_>) -> Result<(), Failure> {
    let mut born = 0;
    let (mut t, mut v) = (Vec::new(), Vec::new());
    let mut walk = data.walk(series, 0);
    for scrape in 0..data.scrapes {
        let generation = scrape / data.lifetime;
        if scrape % data.lifetime == 0 && data.is_replaced(series, generation) {
            give(&labels(data, series, born)?, &t, &v)?;
            born = generation;
            walk = data.walk(series, generation);
            t.clear();
            v.clear();
        }
        t.push(data.time(series, scrape));
        v.push(walk.next());
    }
    give(&labels(data, series, born)?, &t, &v)
}

fn labels(data: &Data, series: u32, generation: u32) -> Result<Labels, Failure> {
    data.labels(series, generation).map_err(|e| Failure::wrong(e.to_string()))
}
