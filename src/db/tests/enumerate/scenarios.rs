//! The scripts: what is done, and what should be stored after each step.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::oracle::{Oracle, State, read};
use crate::db::maintain::Extent;
use crate::db::tests::{options_on, series};
use crate::db::{Db, Options, SyncPolicy};
use crate::env::{CrashPolicy, Fs, ManualClock, MemFs};
use crate::error::{Applied, Error, Result};
use crate::model::{Metadata, MetricType, Selector, TimeRange};

const NOW_MS: i64 = 1_000_000_000;
/// Where snapshots go.
pub(super) const COPY: &str = "/copy";

/// One row: series, time, value.
type Row = (u64, i64, f64);

/// One thing that a caller does.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Commit(Vec<Row>),
    /// A commit that also brings metadata.
    Describe(Vec<Row>),
    Delete(TimeRange, u64),
    Load(Vec<Row>),
    /// A load that spills a sorted run after each third of its rows.
    Spill(Vec<Row>),
    Maintain,
    Compact,
    /// A merge, with what goes on between its plan and its writing, and between that and its swap.
    Merge(Vec<Step>, Vec<Step>),
    /// Flush and retention, as beside a merge.
    Settle,
    Advance(i64),
    Snapshot,
    /// Closes, and opens again.
    Reopen,
}

/// A script.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    sync: SyncPolicy,
    retention: Option<Duration>,
    /// What was done, and how the power went, before the script begins.
    before: Vec<Step>,
    pub(super) steps: Vec<Step>,
}

/// A script under way.
pub(super) struct Run {
    scenario: Scenario,
    fs: Arc<dyn Fs>,
    clock: ManualClock,
    synced_at_ms: i64,
    pub(super) db: Option<Db>,
    pub(super) oracle: Oracle,
    /// The state that a snapshot was to hold, and whether it was reported done.
    pub(super) copy: Option<(Oracle, bool)>,
    /// Whether metadata were acknowledged as durable.
    pub(super) described: bool,
    /// Merges with something beside them.
    merges: usize,
}

impl Scenario {
    fn new(name: &'static str, steps: Vec<Step>) -> Scenario {
        Scenario { name, sync: SyncPolicy::EachCommit, retention: None, before: Vec::new(), steps }
    }

    /// The options of every open in it.
    pub(super) fn options(&self, fs: Arc<dyn Fs>, clock: &ManualClock) -> Options {
        let options = options_on(Arc::clone(&fs)).sync(self.sync).env(fs, Arc::new(clock.clone()));
        let options = options.wal_segment_bytes(1 << 16);
        match self.retention {
            Some(age) => options.retention(age),
            None => options,
        }
    }

    /// The files that the script begins with, and what is stored in them.
    pub(super) fn prepare(&self) -> (MemFs, Oracle) {
        let fs = MemFs::new();
        if self.before.is_empty() {
            return (fs, Oracle::default());
        }
        let earlier = Scenario { steps: self.before.clone(), before: Vec::new(), ..self.clone() };
        let mut run = Run::new(&earlier, Arc::new(fs.clone()), Oracle::default());
        // Cut in the middle of the last step, so that it leaves unfinished and superseded files.
        run.open().unwrap();
        let (last, steps) = earlier.steps.split_last().unwrap();
        for step in steps {
            run.step(step).unwrap();
        }
        let begin = fs.operations();
        let whole = fs.fork();
        let mut probe = Run::new(&earlier, Arc::new(whole.clone()), run.oracle.clone());
        probe.open().unwrap();
        let opened = whole.operations();
        probe.step(last).unwrap();
        fs.cut_power_after(begin + (whole.operations() - opened) * 2 / 3);
        let _cut = run.step(last);
        drop(run.db.take());
        (fs.crash(&CrashPolicy::KeepAll), run.oracle)
    }
}

impl Run {
    pub(super) fn new(scenario: &Scenario, fs: Arc<dyn Fs>, oracle: Oracle) -> Run {
        Run {
            scenario: scenario.clone(),
            fs,
            clock: ManualClock::at(NOW_MS),
            synced_at_ms: NOW_MS,
            db: None,
            oracle,
            copy: None,
            described: false,
            merges: 0,
        }
    }

    pub(super) fn open(&mut self) -> Result<()> {
        self.db = Some(Db::open("/db", self.scenario.options(Arc::clone(&self.fs), &self.clock))?);
        self.synced_at_ms = self.clock_ms();
        Ok(())
    }

    /// Opens, and does all steps until one fails.
    pub(super) fn all(&mut self) -> Result<()> {
        self.open()?;
        let steps = self.scenario.steps.clone();
        steps.iter().try_for_each(|step| self.step(step))
    }

    /// Does one step; tells the oracle what is to be expected of it, and what came of it.
    pub(super) fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Advance(ms) => {
                let now = self.clock_ms() + ms;
                self.clock.set(now);
                Ok(())
            }
            Step::Commit(rows) => self.commit(rows, false),
            Step::Describe(rows) => self.commit(rows, true),
            Step::Delete(range, i) => self.delete(*range, *i),
            Step::Load(rows) => self.load(rows, usize::MAX),
            Step::Spill(rows) => self.load(rows, rows.len().div_ceil(3)),
            Step::Maintain => self.maintain(|db| db.maintain()),
            Step::Compact => self.maintain(|db| db.compact(&Default::default())),
            Step::Settle => self.maintain(|db| db.shared().settle_all().map(drop)),
            Step::Merge(planned, written) => self.merge(planned, written),
            Step::Snapshot => {
                self.copy = Some((Oracle::starting_at(self.oracle.newest().clone()), false));
                self.db().snapshot(COPY)?;
                self.copy.iter_mut().for_each(|copy| copy.1 = true);
                Ok(())
            }
            Step::Reopen => {
                let closed = self.db().close();
                self.db = None;
                if closed.is_ok() {
                    self.oracle.harden();
                }
                closed.and_then(|()| self.open())
            }
        }
    }

    fn db(&self) -> Db {
        self.db.clone().unwrap()
    }

    fn clock_ms(&self) -> i64 {
        use crate::env::Clock;
        self.clock.now_ms()
    }

    fn commit(&mut self, rows: &[Row], describe: bool) -> Result<()> {
        let db = self.db();
        let mut app = db.appender()?;
        for &(i, t, v) in rows {
            app.append(&series(i), t, v)?;
        }
        if describe {
            app.set_metadata("m0", metadata())?;
        }
        self.oracle.attempt(|state| insert(state, rows));
        let outcome = app.commit();
        if let Ok(committed) = &outcome {
            assert_eq!(committed.appended(), rows.len() as u64, "{:?}", committed.rejected());
        }
        let due = match self.scenario.sync {
            SyncPolicy::EachCommit => true,
            SyncPolicy::Interval(every) => {
                self.clock_ms() - self.synced_at_ms >= i64::try_from(every.as_millis()).unwrap()
            }
            SyncPolicy::Never => false,
        };
        if due && outcome.is_ok() {
            self.synced_at_ms = self.clock_ms();
        }
        self.conclude(outcome.map(drop), due)?;
        self.described |= describe && due;
        Ok(())
    }

    fn delete(&mut self, range: TimeRange, i: u64) -> Result<()> {
        let labels = series(i).to_string();
        let deleted = |state: &State| -> usize {
            state.get(&labels).map_or(0, |rows| rows.keys().filter(|t| range.contains(**t)).count())
        };
        let deleted = deleted(self.oracle.newest());
        let selector: Selector = format!("{{i=\"{i}\"}}").parse()?;
        self.oracle.attempt(|state| {
            if let Some(rows) = state.get_mut(&labels) {
                rows.retain(|t, _| !range.contains(*t));
            }
        });
        let outcome = self.db().delete(range, &selector);
        if let Ok(found) = outcome {
            assert_eq!(found, deleted as u64, "a delete tells how many");
        }
        self.conclude(outcome.map(drop), true)
    }

    fn load(&mut self, rows: &[Row], spill_each: usize) -> Result<()> {
        let db = self.db();
        let mut bulk = db.bulk_loader()?;
        for rows in rows.chunks(spill_each) {
            for &(i, t, v) in rows {
                let s = bulk.series(&series(i))?;
                bulk.extend(s, &[t], &[v])?;
            }
            if spill_each < usize::MAX {
                bulk.spill()?;
            }
        }
        self.oracle.attempt(|state| insert(state, rows));
        let outcome = bulk.finish();
        self.conclude(outcome.map(drop), true)
    }

    fn maintain(&mut self, work: impl Fn(&Db) -> Result<()>) -> Result<()> {
        let db = self.db();
        if let Some(age) = self.scenario.retention {
            let now_ms = self.clock_ms();
            self.oracle.attempt_to_drop(|state| expire(state, age, now_ms));
        }
        work(&db)?;
        if self.scenario.retention.is_some() {
            let state = read(&db)?;
            assert!(self.oracle.allows_after_kill(&state), "{}", self.oracle.describe(&state));
            self.oracle.replace_newest(state);
            self.oracle.acknowledge();
        }
        Ok(())
    }

    fn merge(&mut self, planned: &[Step], written: &[Step]) -> Result<()> {
        let db = self.db();
        let job = db.shared().plan_merge(Extent::Due)?;
        planned.iter().try_for_each(|step| self.step(step))?;
        // A script knows when a merge is due; where something failed before, there may be none.
        let Some(job) = job else { return written.iter().try_for_each(|step| self.step(step)) };
        let block = db.shared().write_merged(&job, &Default::default(), None);
        written.iter().try_for_each(|step| self.step(step))?;
        db.shared().end_merge(&job, block)?;
        self.merges += 1;
        Ok(())
    }

    /// What became of the last attempt.
    fn conclude(&mut self, outcome: Result<()>, durable: bool) -> Result<()> {
        match &outcome {
            Ok(()) => {
                self.oracle.acknowledge();
                if durable {
                    self.oracle.harden();
                }
            }
            Err(e) if e.applied() == Applied::No => self.oracle.withdraw(),
            Err(_) => {}
        }
        outcome
    }

    /// Opens the copy that a snapshot made, if there is one to be opened.
    pub(super) fn open_copy(scenario: &Scenario, fs: &MemFs) -> Result<State, Error> {
        let options = scenario.options(Arc::new(fs.clone()), &ManualClock::at(NOW_MS));
        let db = Db::open(Path::new(COPY), options.create(false))?;
        assert!(db.open_report().damage.is_empty(), "{:?}", db.open_report());
        read(&db)
    }
}

/// The metadata that a script brings.
pub(super) fn metadata() -> Metadata {
    Metadata { metric_type: MetricType::Gauge, unit: "s".into(), help: "how long".into() }
}

fn insert(state: &mut State, rows: &[Row]) {
    for &(i, t, v) in rows {
        let old = state.entry(series(i).to_string()).or_default().insert(t, v.to_bits());
        assert_eq!(old, None, "scripts have no conflicts");
    }
}

/// The least that retention must keep.
fn expire(state: &mut State, age: Duration, now_ms: i64) {
    let newest = state.values().filter_map(|rows| rows.last_key_value()).map(|(t, _)| *t).max();
    let horizon = newest.unwrap_or(now_ms).min(now_ms) - i64::try_from(age.as_millis()).unwrap();
    state.values_mut().for_each(|rows| rows.retain(|t, _| *t >= horizon));
}

/// Rows of `series` series at each of `times` seconds.
fn grid(series: std::ops::Range<u64>, times: std::ops::Range<i64>) -> Vec<Row> {
    times.flat_map(|s| series.clone().map(move |i| (i, s * 1_000, value(i, s)))).collect()
}

fn value(i: u64, s: i64) -> f64 {
    match s % 5 {
        0 => -0.0,
        1 => f64::from_bits(0x7ff0_0000_0000_0002),
        _ => (s * 10) as f64 + i as f64 / 8.0,
    }
}

/// As many rows as fill a segment.
fn bulky(from_s: i64) -> Vec<Row> {
    noise(from_s, 1_500)
}

/// As many rows of six series, which take eight bytes each in the log.
fn noise(from_s: i64, rows: i64) -> Vec<Row> {
    let mut seed = 7u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from_bits(seed >> 2)
    };
    (0..rows)
        .flat_map(|k| (0..6).map(move |i| (i, from_s * 1_000 + k)))
        .map(|(i, t)| (i, t, next()))
        .collect()
}

/// All scripts.
pub(super) fn all() -> Vec<Scenario> {
    use Step::{
        Advance, Commit, Compact, Delete, Describe, Load, Maintain, Merge, Reopen, Settle, Snapshot, Spill,
    };
    let row = |i, s| Commit(grid(i..i + 1, s..s + 1));
    let some = |s: std::ops::Range<i64>| Commit(grid(0..3, s));
    let second = Some(Duration::from_secs(1));
    vec![
        Scenario::new("fresh open", vec![row(0, 1)]),
        Scenario::new(
            "commits, each synced",
            vec![Describe(grid(0..2, 0..2)), row(0, 2), row(1, 3), row(2, 4)],
        ),
        Scenario {
            sync: second.map_or(SyncPolicy::Never, SyncPolicy::Interval),
            ..Scenario::new(
                "commits, synced at intervals",
                vec![row(0, 1), row(1, 2), Advance(1_500), row(0, 3), row(1, 4), Reopen, row(2, 5)],
            )
        },
        Scenario {
            sync: SyncPolicy::Never,
            ..Scenario::new(
                "commits, never synced",
                vec![row(0, 1), some(2..4), row(1, 5), Reopen, row(0, 6), Maintain, row(0, 7)],
            )
        },
        Scenario {
            sync: SyncPolicy::Never,
            ..Scenario::new(
                "commits, synced only ahead of the segment's end",
                vec![row(0, 1), Commit(noise(2, 100)), row(7, 3), Commit(noise(4, 100)), row(7, 5)],
            )
        },
        Scenario::new(
            "rotation",
            vec![
                Commit(bulky(1)),
                row(7, 3),
                Describe(grid(8..9, 4..5)),
                Commit(bulky(5)),
                row(7, 8),
                Reopen,
                row(7, 9),
            ],
        ),
        Scenario::new(
            "flush",
            vec![
                some(0..8),
                Describe(grid(0..2, 9..18)),
                Maintain,
                some(24..28),
                row(0, 30),
                Maintain,
                row(0, 50),
            ],
        ),
        Scenario::new(
            "publish and clean up",
            vec![some(0..12), Compact, some(12..24), Compact, row(1, 25), Reopen],
        ),
        Scenario::new(
            "merge",
            vec![
                some(0..10),
                Compact,
                some(10..20),
                Compact,
                some(20..30),
                Compact,
                some(30..45),
                Compact,
                Maintain,
            ],
        ),
        Scenario::new(
            "overlapping merge",
            vec![
                some(0..9),
                Compact,
                Commit(vec![(0, 4_500, 1.5), (1, 8_500, 2.5)]),
                Commit(vec![(3, 2_000, 9.0)]),
                Compact,
                row(5, 9),
            ],
        ),
        Scenario::new(
            "flush, delete and load beside a merge",
            vec![
                some(0..10),
                Settle,
                some(10..35),
                Settle,
                some(35..46),
                Settle,
                // Of the three ranges that are in blocks now; in each moment a late row of one of them and a delete from them.
                Merge(
                    vec![
                        Commit(vec![(3, 33_500, 1.5)]),
                        some(46..56),
                        Settle,
                        Delete(TimeRange::new(2_000, 6_000), 1),
                    ],
                    vec![
                        Delete(TimeRange::new(11_000, 15_000), 2),
                        Load(vec![(0, 8_500, 2.5)]),
                        some(56..66),
                        Settle,
                    ],
                ),
                Delete(TimeRange::new(0, 99_000), 0),
                Reopen,
                Maintain,
            ],
        ),
        Scenario {
            retention: Some(Duration::from_secs(60)),
            ..Scenario::new(
                "retention beside a merge",
                vec![
                    some(0..46),
                    Settle,
                    Merge(vec![some(46..80), Settle], vec![row(1, 90), Settle]),
                    Settle,
                ],
            )
        },
        Scenario::new(
            "delete",
            vec![
                some(0..12),
                Delete(TimeRange::new(2_000, 9_500), 1),
                Compact,
                row(1, 12),
                Delete(TimeRange::new(0, 5_000), 2),
                Delete(TimeRange::new(10_000, 99_000), 1),
                Commit(vec![(1, 12_500, 5.0)]),
                Reopen,
                Compact,
            ],
        ),
        Scenario {
            retention: Some(Duration::from_secs(20)),
            ..Scenario::new(
                "retention",
                vec![some(0..20), Compact, some(20..45), Maintain, row(1, 80), Compact, row(1, 81)],
            )
        },
        Scenario::new(
            "snapshot",
            vec![
                some(0..8),
                Compact,
                Delete(TimeRange::new(0, 3_000), 0),
                Describe(grid(0..2, 8..10)),
                Snapshot,
                row(0, 10),
                Compact,
            ],
        ),
        Scenario::new(
            "bulk load",
            vec![
                some(20..22),
                Load(grid(0..3, 0..12)),
                row(0, 22),
                Delete(TimeRange::new(0, 3_000), 0),
                Load(grid(4..6, 0..5)),
                Compact,
            ],
        ),
        Scenario::new("bulk load that spills", vec![row(0, 20), Spill(grid(1..4, 0..6)), row(0, 21)]),
        Scenario {
            before: vec![some(0..4), Spill(grid(4..7, 0..9))],
            ..Scenario::new(
                "reopen after a crash in a bulk load that spills",
                vec![Spill(grid(7..9, 0..6)), row(0, 40)],
            )
        },
        Scenario {
            sync: SyncPolicy::Never,
            ..Scenario::new(
                "bulk load beside commits that are not synced",
                vec![row(0, 20), Load(grid(1..3, 0..5)), row(0, 21)],
            )
        },
        Scenario {
            before: vec![
                some(0..10),
                Compact,
                some(10..20),
                Delete(TimeRange::new(0, 4_000), 1),
                some(20..26),
                Compact,
            ],
            ..Scenario::new("reopen after a crash in a merge", vec![row(0, 40), Compact, row(1, 41)])
        },
        Scenario {
            before: vec![some(0..10), Compact, row(4, 11), Load(grid(5..7, 0..12))],
            ..Scenario::new("reopen after a crash in a load", vec![row(0, 30), Reopen, row(0, 31)])
        },
        Scenario {
            before: vec![some(0..12), Compact, Delete(TimeRange::new(0, 3_000), 1), row(3, 13), Snapshot],
            ..Scenario::new("reopen after a crash in a snapshot", vec![row(0, 40), Maintain, row(1, 41)])
        },
        Scenario {
            retention: Some(Duration::from_secs(20)),
            before: vec![some(0..20), Compact, some(20..45), row(1, 80), Maintain],
            ..Scenario::new("reopen after a crash in retention", vec![row(1, 81), Maintain, Reopen])
        },
        Scenario {
            before: vec![some(0..10), Commit(bulky(12))],
            sync: SyncPolicy::Never,
            ..Scenario::new("recovery of the log", vec![Reopen, row(0, 30)])
        },
    ]
}

#[test]
fn merges_are_due_where_scripts_say_so() {
    let mut all_merges = 0;
    for scenario in all() {
        let planned = scenario.steps.iter().filter(|step| matches!(step, Step::Merge(..))).count();
        let (fs, oracle) = scenario.prepare();
        let mut run = Run::new(&scenario, Arc::new(fs), oracle);
        run.all().unwrap();
        assert_eq!(run.merges, planned, "{}", scenario.name);
        all_merges += planned;
    }
    assert!(all_merges >= 2);
}
