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

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use silverback::{AppendError, Appender, Cancel, Db, Maintenance, Rejection, SeriesRef, SyncPolicy};

use super::args::{Sync, Values, Write};
use super::data::{Data, GENERATION, PER_TARGET, Walk};
use super::label_sets::{self, Batch, LabelFile};
use super::meter::{Meter, bytes_under};
use crate::failure::Failure;
use crate::output::{Context, bytes, ratio};

/// Between the scrapes of `promtool tsdb bench write`.
const PROMTOOL_INTERVAL_MS: i64 = 30_000;
/// The longest time that `--sync interval` leaves a commit unsynced.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Runs `bench write`.
pub(crate) fn run(args: &Write, context: &Context) -> Result<u8, Failure> {
    let meter = Meter::start();
    let (data, file, shards) = plan(args)?;
    let options = context.options().create(true).sync(match args.sync {
        Sync::Never => SyncPolicy::Never,
        Sync::EachCommit => SyncPolicy::EachCommit,
        Sync::Interval => SyncPolicy::Interval(SYNC_INTERVAL),
    });
    let options = match args.maintain {
        true => options.maintenance(Maintenance::Background),
        false => options,
    };
    let options = match args.merge_rate {
        Some(0) => options.merge_rate(None),
        Some(mib) => options.merge_rate(mib << 20),
        None => options,
    };
    let opened = context.write_with(&args.run.db.dir, options)?;
    let steps = Steps { data, file: file.as_ref(), cancel: context.interrupt.cancel() };
    let appended = append_all(&opened.db, &steps, shards, args.threads)?;
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
        ("flushes", json!(stats.flushes)),
        ("merges", json!(stats.merges)),
        ("merge_written_bytes", json!(stats.merge_written_bytes)),
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

/// The data set, its shards, and the file that has their labels, if there is one.
fn plan(args: &Write) -> Result<(Data, Option<LabelFile>, Vec<Shard>), Failure> {
    let mut data = super::data_of(&args.run, None);
    let Some(path) = &args.labels else { return Ok((data, None, made_shards(&data, args.batch))) };
    data.interval_ms = PROMTOOL_INTERVAL_MS;
    data.together = true;
    data.values = args.run.values.unwrap_or(Values::Counter);
    let file = LabelFile::open(path)?;
    let batches = file.batches(args.batch, args.run.series.unwrap_or(u32::MAX))?;
    data.series = batches.last().and_then(|b| b.series.last()).map_or(0, |(number, _)| number + 1);
    Ok((data, Some(file), shards(&data, batches)))
}

/// The series that are committed together: what each scrape reads stands apart from what the first one does.
pub(crate) struct Shard {
    batch: Batch,
    walks: Vec<Walk>,
    /// The reference of each series, once all have one, and its value in the scrape.
    row: Vec<(SeriesRef, f64)>,
    /// How long each commit took.
    commits: Vec<Duration>,
}

/// Made-up series, cut into shards of `batch`.
pub(crate) fn made_shards(data: &Data, batch: u32) -> Vec<Shard> {
    shards(data, label_sets::made(data.series, batch))
}

fn shards(data: &Data, batches: Vec<Batch>) -> Vec<Shard> {
    let shard = |batch: Batch| {
        let walks = batch.series.iter().map(|(number, _)| data.walk(*number, 0)).collect();
        Shard { batch, walks, row: Vec::new(), commits: Vec::new() }
    };
    batches.into_iter().map(shard).collect()
}

/// What all shards share.
pub(crate) struct Steps<'a> {
    pub(crate) data: Data,
    /// What has the labels, if they are not made up.
    pub(crate) file: Option<&'a LabelFile>,
    pub(crate) cancel: &'a Cancel,
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
    steps: &Steps<'_>,
    shards: Vec<Shard>,
    threads: u32,
) -> Result<Appended, Failure> {
    let shards: Vec<Mutex<Shard>> = shards.into_iter().map(Mutex::new).collect();
    let samples = AtomicU64::new(0);
    for group in 0..steps.data.scrapes.div_ceil(GENERATION) {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut app = db.appender()?;
            while let Some(shard) = shards.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                let stored = shard.append(&mut app, steps, group)?;
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
    fn append(&mut self, app: &mut Appender, steps: &Steps<'_>, group: u32) -> Result<u64, Failure> {
        let data = &steps.data;
        if data.churn > 0 {
            self.replace(data, group);
        }
        let first = group * GENERATION;
        let mut stored = 0;
        for scrape in first..data.scrapes.min(first.saturating_add(GENERATION)) {
            if steps.cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
            if self.row.is_empty() {
                self.first_scrape(app, steps, scrape)?;
            } else {
                self.scrape(app, data, scrape);
            }
            let started = Instant::now();
            let committed = app.commit()?;
            self.commits.push(started.elapsed());
            stored += committed.appended();
            if !committed.rejected().is_empty() {
                stored += self.again(app, steps, committed.rejected())?;
            }
        }
        Ok(stored)
    }

    /// A series whose rows were all flushed may be gone: its samples come once more, by their labels.
    fn again(
        &mut self,
        app: &mut Appender,
        steps: &Steps<'_>,
        rejected: &[Rejection],
    ) -> Result<u64, Failure> {
        let labels = self.batch.labels(&steps.data, steps.file)?;
        for rejection in rejected.iter().filter(|r| r.why == AppendError::StaleRef) {
            let places = (labels.get(rejection.index), self.row.get_mut(rejection.index));
            if let (Some(labels), Some((series, v))) = places {
                let again = app.append(labels, rejection.t, *v);
                *series = again.map_err(|e| Failure::refused(e.to_string()))?;
            }
        }
        Ok(app.commit()?.appended())
    }

    /// One sample of each series by its labels: the references are kept.
    fn first_scrape(&mut self, app: &mut Appender, steps: &Steps<'_>, scrape: u32) -> Result<(), Failure> {
        let labels = self.batch.labels(&steps.data, steps.file)?;
        self.row.reserve_exact(labels.len());
        let series = self.batch.series.iter().zip(&labels).zip(&mut self.walks);
        for (((number, _), labels), walk) in series {
            let v = walk.next();
            let series = app.append(labels, steps.data.time(*number, scrape), v);
            self.row.push((series.map_err(|e| Failure::refused(e.to_string()))?, v));
        }
        Ok(())
    }

    /// One sample of each series by reference, target by target.
    fn scrape(&mut self, app: &mut Appender, data: &Data, scrape: u32) {
        for ((_, v), walk) in self.row.iter_mut().zip(&mut self.walks) {
            *v = walk.next();
        }
        let mut rest = self.row.as_slice();
        for target in self.batch.series.chunk_by(|a, b| a.0 / PER_TARGET == b.0 / PER_TARGET) {
            let (row, after) = rest.split_at_checked(target.len()).unwrap_or((rest, &[]));
            rest = after;
            let number = target.first().map_or(0, |(number, _)| *number);
            app.append_row(data.time(number, scrape), row);
        }
    }

    /// The series that this generation replaces get new labels, and begin anew.
    fn replace(&mut self, data: &Data, generation: u32) {
        for ((number, born), walk) in self.batch.series.iter_mut().zip(&mut self.walks) {
            if data.is_replaced(*number, generation) {
                *born = generation;
                *walk = data.walk(*number, generation);
                self.row.clear();
            }
        }
    }
}
