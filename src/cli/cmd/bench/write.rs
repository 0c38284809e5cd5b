//! `bench write`: append and commit, as a service does, and as `promtool tsdb bench write` does.
//!
//! ```text
//!   series ─▶ shards of one batch each
//!   for each 100 scrapes:   the threads take shards, each shard once
//!                              shard: 100 × (one sample of each series, commit)
//! ```
//!
//! Readers, if there are any, select from the head meanwhile. Series are looked up by labels at their first sample, and appended to by reference from then on, scrape by scrape. With
//! churn, a shard of which a series was replaced asks for all of its labels once more.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use silverback::{
    AppendError, Appender, Cancel, Committed, Db, ErrorKind, Labels, Maintenance, Rejection, SeriesRef,
    SyncPolicy,
};

use super::args::{Sync, Values, Write};
use super::data::{COUNTER_STEP, Data, PER_TARGET, Walk};
use super::label_sets::{self, Batch, LabelFile};
use super::meter::{Meter, bytes_under, rate, seconds, thread_cpu};
use super::readers::{Clock, beside};
use crate::failure::Failure;
use crate::output::{Context, bytes, ratio};

/// Between the scrapes of `promtool tsdb bench write`.
const PROMTOOL_INTERVAL_MS: i64 = 30_000;
/// The longest time that `--sync interval` leaves a commit unsynced.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Between two attempts while the head is full.
const WAIT: Duration = Duration::from_millis(1);

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
    let options = match args.head_memory {
        Some(mib) => options.head_memory(u64::from(mib) << 20),
        None => options,
    };
    let opened = context.write_with(&args.run.db.dir, options)?;
    let (cancel, clock) = (context.interrupt.cancel(), Clock::default());
    let waits = args.maintain.then(AtomicU64::default);
    let steps = Steps { data, file: file.as_ref(), cancel, clock: &clock, waits, by_thread: args.run.json };
    let labels = shards.first().map(|shard| shard.batch.labels(&data, file.as_ref())).transpose()?;
    let append = || append_all(&opened.db, &steps, shards, args.threads);
    let (appended, read) = beside(args.readers, &opened.db, &labels.unwrap_or_default(), &clock, append)?;
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
    appended.insert(&mut figures);
    if args.readers > 0 {
        read.insert(&mut figures);
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
        ("waits", json!(steps.waits.map(AtomicU64::into_inner))),
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
    data.lifetime = args.lifetime;
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
    took: Took,
}

/// What commits took.
#[derive(Default)]
struct Took {
    /// Each commit of known series.
    commits: Vec<Duration>,
    /// Each commit with series that it made.
    first: Vec<Duration>,
    /// Such series, and the CPU of their first append by labels and of their commits.
    made: u64,
    made_cpu: Duration,
}

impl Took {
    fn add(&mut self, other: Took) {
        self.commits.extend(other.commits);
        self.first.extend(other.first);
        self.made += other.made;
        self.made_cpu += other.made_cpu;
    }
}

/// Made-up series, cut into shards of `batch`.
pub(crate) fn made_shards(data: &Data, batch: u32) -> Vec<Shard> {
    shards(data, label_sets::made(data.series, batch))
}

fn shards(data: &Data, batches: Vec<Batch>) -> Vec<Shard> {
    let shard = |batch: Batch| {
        let walks = batch.series.iter().map(|(number, _)| data.walk(*number, 0)).collect();
        Shard { batch, walks, row: Vec::new(), took: Took::default() }
    };
    batches.into_iter().map(shard).collect()
}

/// What all shards share.
pub(crate) struct Steps<'a> {
    pub(crate) data: Data,
    /// What has the labels, if they are not made up.
    pub(crate) file: Option<&'a LabelFile>,
    pub(crate) cancel: &'a Cancel,
    /// Tells readers how far it is.
    pub(crate) clock: &'a Clock,
    /// How often it waited for a flush of a full head; nothing where nobody flushes.
    pub(crate) waits: Option<AtomicU64>,
    /// Whether the CPU of single threads is told. Under valgrind the clock for it cannot be asked.
    pub(crate) by_thread: bool,
}

impl Steps<'_> {
    /// CPU of this thread, if it is told.
    fn cpu(&self) -> Duration {
        if self.by_thread { thread_cpu() } else { Duration::ZERO }
    }

    fn wait(&self) {
        if let Some(waits) = &self.waits {
            waits.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(WAIT);
    }
}

/// What was appended.
pub(crate) struct Appended {
    /// How many samples were stored.
    pub(crate) samples: u64,
    /// CPU of the threads that appended.
    cpu: Duration,
    /// Ascending.
    took: Took,
}

impl Appended {
    fn insert(&self, figures: &mut Map<String, Value>) {
        for (kind, times) in [("commit", &self.took.commits), ("first_commit", &self.took.first)] {
            for (name, per_mille) in [("p50", 500), ("p99", 990), ("p999", 999), ("max", 1_000)] {
                figures.insert(format!("{kind}_{name}_us"), json!(within_us(times, per_mille)));
            }
        }
        figures.insert("append_cpu_s".to_owned(), seconds(self.cpu));
        figures.insert("append_samples_per_cpu_s".to_owned(), json!(rate(self.samples, self.cpu)));
        let made = rate(self.took.made, self.took.made_cpu);
        figures.insert("new_series_per_cpu_s".to_owned(), json!(made));
    }
}

/// The time in microseconds that so many of 1,000 stay within, of ascending ones.
fn within_us(times: &[Duration], per_mille: usize) -> Option<f64> {
    let last = times.len().checked_sub(1)?;
    let time = times.get(last * per_mille / 1_000)?;
    Some((time.as_secs_f64() * 1e7).round() / 10.0)
}

/// Appends all samples.
pub(crate) fn append_all(
    db: &Db,
    steps: &Steps<'_>,
    shards: Vec<Shard>,
    threads: u32,
) -> Result<Appended, Failure> {
    let shards: Vec<Mutex<Shard>> = shards.into_iter().map(Mutex::new).collect();
    let (samples, cpu_ns) = (AtomicU64::new(0), AtomicU64::new(0));
    for group in 0..steps.data.scrapes.div_ceil(steps.data.lifetime) {
        let next = AtomicUsize::new(0);
        let work = || {
            let began = steps.cpu();
            let mut app = db.appender()?;
            while let Some(shard) = shards.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                let stored = shard.append(&mut app, steps, group)?;
                samples.fetch_add(stored, Ordering::Relaxed);
            }
            let cpu = steps.cpu().saturating_sub(began);
            cpu_ns.fetch_add(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
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
    let mut took = Took::default();
    for shard in shards {
        took.add(shard.into_inner().unwrap_or_else(PoisonError::into_inner).took);
    }
    took.commits.sort_unstable();
    took.first.sort_unstable();
    Ok(Appended { samples: samples.into_inner(), cpu: Duration::from_nanos(cpu_ns.into_inner()), took })
}

/// Commits; where the head is full, it waits for maintenance, if there is any.
fn commit(app: &mut Appender, steps: &Steps<'_>) -> Result<Committed, Failure> {
    loop {
        match app.commit() {
            Err(e) if e.kind() == ErrorKind::Ceiling && steps.waits.is_some() => steps.wait(),
            outcome => return Ok(outcome?),
        }
    }
}

/// Appends by labels; waits as [`commit`] does.
fn append(
    app: &mut Appender,
    steps: &Steps<'_>,
    labels: &Labels,
    (t, v): (i64, f64),
) -> Result<SeriesRef, Failure> {
    loop {
        match app.append(labels, t, v) {
            Err(AppendError::Ceiling) if steps.waits.is_some() => steps.wait(),
            outcome => return outcome.map_err(|e| Failure::refused(e.to_string())),
        }
    }
}

impl Shard {
    /// One group of scrapes, each a commit. How many samples were stored.
    fn append(&mut self, app: &mut Appender, steps: &Steps<'_>, group: u32) -> Result<u64, Failure> {
        let data = &steps.data;
        if data.churn > 0 {
            self.replace(data, group);
        }
        let first = group * data.lifetime;
        let mut stored = 0;
        for scrape in first..data.scrapes.min(first.saturating_add(data.lifetime)) {
            if steps.cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
            let is_first = self.row.is_empty();
            let began = match is_first {
                true => self.first_scrape(app, steps, scrape)?,
                false => {
                    self.scrape(app, data, scrape);
                    Duration::ZERO
                }
            };
            let started = Instant::now();
            let committed = commit(app, steps)?;
            let times = if is_first { &mut self.took.first } else { &mut self.took.commits };
            times.push(started.elapsed());
            if is_first {
                self.took.made += self.row.len() as u64;
                self.took.made_cpu += steps.cpu().saturating_sub(began);
            }
            steps.clock.tell(data.time(0, scrape));
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
                *series = append(app, steps, labels, (rejection.t, *v))?;
            }
        }
        Ok(commit(app, steps)?.appended())
    }

    /// One sample of each series by its labels: the references are kept. Says when it began, by the thread's CPU, with
    /// labels at hand.
    fn first_scrape(
        &mut self,
        app: &mut Appender,
        steps: &Steps<'_>,
        scrape: u32,
    ) -> Result<Duration, Failure> {
        let labels = self.batch.labels(&steps.data, steps.file)?;
        let began = steps.cpu();
        self.row.reserve_exact(labels.len());
        let series = self.batch.series.iter().zip(&labels).zip(&mut self.walks);
        for (((number, _), labels), walk) in series {
            let v = walk.next();
            let series = append(app, steps, labels, (steps.data.time(*number, scrape), v))?;
            self.row.push((series, v));
        }
        Ok(began)
    }

    /// One sample of each series by reference, target by target.
    fn scrape(&mut self, app: &mut Appender, data: &Data, scrape: u32) {
        // Counters that no series restarts: the program that measures should take little of what it measures.
        if data.values == Values::Counter && data.churn == 0 {
            self.row.iter_mut().for_each(|(_, v)| *v += COUNTER_STEP);
        } else {
            let series = self.row.iter_mut().zip(&mut self.walks);
            series.for_each(|((_, v), walk)| *v = walk.next());
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
