//! `bench write`: append and commit, as a service does, and as `promtool tsdb bench write` does.
//!
//! ```text
//!   series ─▶ shards of one batch each
//!   for each 100 scrapes:   the threads take shards, each shard once
//!                              shard: 100 × (one sample of each series, commit)
//! ```
//!
//! Series are looked up by labels at their first sample, and appended to by reference from then on, scrape by scrape. With
//! churn, a shard of which a series was replaced asks for all of its labels once more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use silverback::{AppendError, Appender, Cancel, Db, Labels, Rejection, SeriesRef, SyncPolicy};

use super::args::{Sync, Values, Write};
use super::data::{Data, GENERATION, PER_TARGET, Walk};
use super::meter::{Meter, bytes_under};
use crate::failure::Failure;
use crate::output::{Context, bytes, ratio};

/// Between the scrapes of `promtool tsdb bench write`.
const PROMTOOL_INTERVAL_MS: i64 = 30_000;
/// The longest time that `--sync interval` leaves a commit unsynced.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// The longest line of labels.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Runs `bench write`.
pub(crate) fn run(args: &Write, context: &Context) -> Result<u8, Failure> {
    let meter = Meter::start();
    let (data, shards) = plan(args)?;
    let options = context.options().create(true).sync(match args.sync {
        Sync::Never => SyncPolicy::Never,
        Sync::EachCommit => SyncPolicy::EachCommit,
        Sync::Interval => SyncPolicy::Interval(SYNC_INTERVAL),
    });
    let opened = context.write_with(&args.run.db.dir, options)?;
    let appended = append_all(&opened.db, &data, shards, args.threads, context.interrupt.cancel())?;
    let samples = appended.samples;
    let stats = opened.db.stats();
    opened.db.close()?;
    let taken = meter.read();

    super::compare("samples appended", samples, data.samples())?;
    super::check(&args.run.db.dir, samples, context)?;
    taken.describe(samples, context);
    context.note(format_args!(
        "  log {}, {} bytes a sample",
        bytes(stats.wal_bytes),
        ratio(stats.wal_bytes, samples)
    ));
    let mut figures: Map<String, Value> = taken.figures(samples);
    for (name, per_mille) in [("p50", 500), ("p99", 990), ("p999", 999), ("max", 1_000)] {
        figures.insert(format!("commit_{name}_us"), json!(appended.commit_us(per_mille)));
    }
    let by_series = taken.peak_rss_bytes.map(|b| b / u64::from(data.series.max(1)));
    for (name, value) in [
        ("series", json!(stats.head_series)),
        ("commits", json!(stats.commits)),
        ("syncs", json!(stats.syncs)),
        ("wal_bytes", json!(stats.wal_bytes)),
        ("head_bytes", json!(stats.head_bytes)),
        ("disk_bytes", json!(bytes_under(&args.run.db.dir)?)),
        ("bytes_per_series", json!(by_series)),
    ] {
        figures.insert(name.to_owned(), value);
    }
    super::print("write", &args.run, figures)?;
    Ok(opened.code())
}

/// The data set and its shards, with labels from a file or made up.
fn plan(args: &Write) -> Result<(Data, Vec<Shard>), Failure> {
    let mut data = super::data_of(&args.run, None);
    let labels = match &args.labels {
        None => {
            let made = (0..data.series).map(|series| data.labels(series, 0));
            made.collect::<Result<Vec<Labels>, AppendError>>().map_err(|e| Failure::wrong(e.to_string()))?
        }
        Some(path) => {
            data.interval_ms = PROMTOOL_INTERVAL_MS;
            data.together = true;
            data.values = args.run.values.unwrap_or(Values::Counter);
            let most = args.run.series.unwrap_or(u32::MAX);
            let labels = read_labels(path, most)?;
            data.series = u32::try_from(labels.len()).unwrap_or(u32::MAX);
            labels
        }
    };
    Ok((data, shards(&data, labels, args.batch)))
}

/// The label sets of a file, each an object on its own line; at most so many.
fn read_labels(path: &Path, most: u32) -> Result<Vec<Labels>, Failure> {
    let failed = |e: std::io::Error| Failure::io("read it", path, e);
    let file = File::open(path).map_err(|e| Failure::io("open the file", path, e))?;
    let unpacked: Box<dyn Read> = match path.extension().is_some_and(|e| e == "zst") {
        true => Box::new(zstd::Decoder::new(file).map_err(failed)?),
        false => Box::new(file),
    };
    let mut reader = BufReader::new(unpacked);
    let (mut all, mut line) = (Vec::new(), String::new());
    while all.len() < most as usize {
        line.clear();
        let read = (&mut reader).take(MAX_LINE_BYTES).read_line(&mut line).map_err(failed)?;
        if read == 0 {
            break;
        }
        let wrong =
            |e: &dyn std::fmt::Display| Failure::wrong(format!("{}:{}: {e}", path.display(), all.len() + 1));
        let labels = match serde_json::from_str::<BTreeMap<&str, &str>>(&line) {
            Ok(set) => Labels::from_pairs(set),
            // Strings with escapes cannot be borrowed.
            Err(_) => Labels::from_pairs(
                serde_json::from_str::<BTreeMap<String, String>>(&line).map_err(|e| wrong(&e))?,
            ),
        };
        all.push(labels.map_err(|e| wrong(&e))?);
    }
    match all.is_empty() {
        false => Ok(all),
        true => Err(Failure::wrong(format!("{}: there are no label sets", path.display()))),
    }
}

/// The series that are committed together: what each scrape reads stands apart from what the first one does.
pub(crate) struct Shard {
    origins: Vec<Origin>,
    walks: Vec<Walk>,
    /// The reference of each series, once all have one, and its value in the scrape.
    row: Vec<(SeriesRef, f64)>,
    /// How long each commit took.
    commits: Vec<Duration>,
}

/// Where a series comes from.
struct Origin {
    labels: Labels,
    number: u32,
}

/// Cuts the series, whose labels these are, into shards of `batch`.
pub(crate) fn shards(data: &Data, labels: Vec<Labels>, batch: u32) -> Vec<Shard> {
    let mut shards = Vec::new();
    let mut all = (0..).zip(labels).map(|(number, labels)| Origin { labels, number });
    loop {
        let origins: Vec<Origin> = all.by_ref().take(batch as usize).collect();
        if origins.is_empty() {
            return shards;
        }
        let walks = origins.iter().map(|origin| data.walk(origin.number, 0)).collect();
        shards.push(Shard { origins, walks, row: Vec::new(), commits: Vec::new() });
    }
}

/// What was appended.
pub(crate) struct Appended {
    /// How many samples were stored.
    pub(crate) samples: u64,
    /// How long each commit took, ascending.
    commits: Vec<Duration>,
}

impl Appended {
    /// The time in microseconds that so many of 1,000 commits stay within.
    fn commit_us(&self, per_mille: usize) -> Option<f64> {
        let last = self.commits.len().checked_sub(1)?;
        let time = self.commits.get(last * per_mille / 1_000)?;
        Some((time.as_secs_f64() * 1e7).round() / 10.0)
    }
}

/// Appends all samples.
pub(crate) fn append_all(
    db: &Db,
    data: &Data,
    shards: Vec<Shard>,
    threads: u32,
    cancel: &Cancel,
) -> Result<Appended, Failure> {
    let shards: Vec<Mutex<Shard>> = shards.into_iter().map(Mutex::new).collect();
    let samples = AtomicU64::new(0);
    for group in 0..data.scrapes.div_ceil(GENERATION) {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut app = db.appender()?;
            while let Some(shard) = shards.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                let stored = shard.append(&mut app, data, group, cancel)?;
                samples.fetch_add(stored, Ordering::Relaxed);
            }
            Ok::<(), Failure>(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mine = work();
            let joined = others.into_iter().map(|t| match t.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.fold(mine, Result::and)
        })?;
    }
    let shards = shards.into_iter().map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner));
    let mut commits: Vec<Duration> = shards.flat_map(|shard| shard.commits).collect();
    commits.sort_unstable();
    Ok(Appended { samples: samples.into_inner(), commits })
}

impl Shard {
    /// One group of scrapes, each a commit. How many samples were stored.
    fn append(
        &mut self,
        app: &mut Appender,
        data: &Data,
        group: u32,
        cancel: &Cancel,
    ) -> Result<u64, Failure> {
        if data.churn > 0 {
            self.replace(data, group)?;
        }
        let first = group * GENERATION;
        let mut stored = 0;
        for scrape in first..data.scrapes.min(first.saturating_add(GENERATION)) {
            if cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
            let appended = if self.row.is_empty() {
                self.first_scrape(app, data, scrape)
            } else {
                self.scrape(app, data, scrape);
                Ok(())
            };
            appended.map_err(|e| Failure::refused(e.to_string()))?;
            let started = Instant::now();
            let committed = app.commit()?;
            self.commits.push(started.elapsed());
            stored += committed.appended();
            if !committed.rejected().is_empty() {
                stored += self.again(app, committed.rejected())?;
            }
        }
        Ok(stored)
    }

    /// A series whose rows were all flushed may be gone: its samples come once more, by their labels.
    fn again(&mut self, app: &mut Appender, rejected: &[Rejection]) -> Result<u64, Failure> {
        for rejection in rejected.iter().filter(|r| r.why == AppendError::StaleRef) {
            let places = (self.origins.get(rejection.index), self.row.get_mut(rejection.index));
            if let (Some(origin), Some((series, v))) = places {
                let again = app.append(&origin.labels, rejection.t, *v);
                *series = again.map_err(|e| Failure::refused(e.to_string()))?;
            }
        }
        Ok(app.commit()?.appended())
    }

    /// One sample of each series by its labels: the references are kept.
    fn first_scrape(&mut self, app: &mut Appender, data: &Data, scrape: u32) -> Result<(), AppendError> {
        self.row.reserve_exact(self.origins.len());
        for (origin, walk) in self.origins.iter().zip(&mut self.walks) {
            let v = walk.next();
            let series = app.append(&origin.labels, data.time(origin.number, scrape), v)?;
            self.row.push((series, v));
        }
        Ok(())
    }

    /// One sample of each series by reference, target by target.
    fn scrape(&mut self, app: &mut Appender, data: &Data, scrape: u32) {
        for ((_, v), walk) in self.row.iter_mut().zip(&mut self.walks) {
            *v = walk.next();
        }
        let mut rest = self.row.as_slice();
        for target in self.origins.chunk_by(|a, b| a.number / PER_TARGET == b.number / PER_TARGET) {
            let (row, after) = rest.split_at_checked(target.len()).unwrap_or((rest, &[]));
            rest = after;
            let number = target.first().map_or(0, |origin| origin.number);
            app.append_row(data.time(number, scrape), row);
        }
    }

    /// The series that this generation replaces get new labels, and begin anew.
    fn replace(&mut self, data: &Data, generation: u32) -> Result<(), Failure> {
        for (origin, walk) in self.origins.iter_mut().zip(&mut self.walks) {
            if data.is_replaced(origin.number, generation) {
                origin.labels =
                    data.labels(origin.number, generation).map_err(|e| Failure::wrong(e.to_string()))?;
                *walk = data.walk(origin.number, generation);
                self.row.clear();
            }
        }
        Ok(())
    }
}
