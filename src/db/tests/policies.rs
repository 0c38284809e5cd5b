//! Goal: a power cut takes what the sync policy says, and no more; a killed process loses nothing under any.
//! Method: commits of one sample each, a tenth of a second apart; after each, images of many kinds of crash are opened
//! and must hold a prefix of the commits, not shorter than promised.

use super::*;
use crate::env::{Fault, FaultPlan, OpClass};

/// Milliseconds from commit to commit.
const STEP_MS: i64 = 100;
/// The interval of the interval policy.
const INTERVAL_MS: i64 = 1_000;

struct Run {
    fs: MemFs,
    clock: ManualClock,
    db: Db,
    committed: i64,
}

impl Run {
    fn new(policy: SyncPolicy) -> Run {
        let fs = MemFs::new();
        let clock = ManualClock::at(1_000_000_000);
        let options = options(&fs).env(Arc::new(fs.clone()), Arc::new(clock.clone())).sync(policy);
        let db = Db::open("/db", options).unwrap();
        Run { fs, clock, db, committed: 0 }
    }

    fn commit(&mut self) {
        self.clock.advance(STEP_MS);
        assert_eq!(commit(&self.db, &[(0, self.committed, self.committed as f64)]).appended(), 1);
        self.committed += 1;
    }

    /// Opens what crashes leave; each must hold the first commits, so many at least.
    fn check(&self, at_least: i64) {
        for crash in self.fs.crash_policies(7, 4) {
            let found = survivors(&self.fs.crash(&crash));
            assert!((at_least..=self.committed).contains(&found), "{crash:?}: {found}, promised {at_least}");
        }
        // What a killed process leaves: all that it wrote.
        assert_eq!(survivors(&self.fs.crash(&CrashPolicy::KeepAll)), self.committed);
    }
}

/// How many commits there are; they must be the first ones.
fn survivors(fs: &MemFs) -> i64 {
    let db = open(fs);
    assert!(db.open_report().damage.is_empty(), "{:?}", db.open_report());
    let times: Vec<i64> = read_all(&db).keys().map(|(_, t)| *t).collect();
    let expected: Vec<i64> = (0..times.len() as i64).collect();
    assert_eq!(times, expected, "a prefix of the commits");
    times.len() as i64
}

#[test]
fn each_commit_is_durable_when_it_returns() {
    let mut run = Run::new(SyncPolicy::EachCommit);
    for _ in 0..12 {
        run.commit();
        run.check(run.committed);
    }
}

#[test]
fn an_interval_loses_at_most_the_last_interval() {
    let mut run = Run::new(SyncPolicy::Interval(Duration::from_millis(INTERVAL_MS as u64)));
    let mut lost = false;
    for _ in 0..22 {
        run.commit();
        if run.committed % 3 == 0 {
            run.check((run.committed - INTERVAL_MS / STEP_MS).max(0));
        }
        lost |= survivors(&run.fs.crash(&CrashPolicy::DropUnsynced)) < run.committed;
    }
    assert!(lost, "the policy does save syncs");
}

#[test]
fn never_syncing_keeps_a_prefix_and_what_was_flushed_or_closed() {
    let mut run = Run::new(SyncPolicy::Never);
    for _ in 0..10 {
        run.commit();
        run.check(0);
    }
    assert_eq!(survivors(&run.fs.crash(&CrashPolicy::DropUnsynced)), 0, "the policy does save syncs");
    run.db.compact(&Default::default()).unwrap();
    run.check(10);
    run.commit();
    run.commit();
    run.check(10);
    run.db.close().unwrap();
    run.check(12);
}

/// A handle whose syncs fail from now on, with one commit in it.
fn on_a_failing_disk(policy: SyncPolicy) -> (ManualClock, Db, MemFs) {
    let (mem, clock) = (MemFs::new(), ManualClock::at(1_000_000_000));
    let fault = FaultFs::new(Arc::new(mem.clone()));
    let options = options(&mem).env(Arc::new(fault.clone()), Arc::new(clock.clone())).sync(policy);
    let db = Db::open("/db", options).unwrap();
    commit(&db, &[(0, 0, 0.0)]);
    fault.arm(FaultPlan { fault: Fault::LostSync, class: Some(OpClass::Sync), at: 0 });
    (clock, db, mem)
}

fn try_commit(db: &Db, t: i64) -> Result<Committed> {
    let mut app = db.appender()?;
    app.append(&series(0), t, 0.0)?;
    app.commit()
}

#[test]
fn a_failed_sync_is_told_by_the_commit_that_waits_for_it() {
    let (clock, db, mem) = on_a_failing_disk(SyncPolicy::Interval(Duration::from_millis(INTERVAL_MS as u64)));
    try_commit(&db, 1_000).unwrap();
    clock.advance(INTERVAL_MS);
    let error = try_commit(&db, 2_000).unwrap_err();
    assert_eq!(error.applied(), crate::Applied::Unknown, "{error}");
    assert_eq!(try_commit(&db, 3_000).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(read_all(&db).len(), 3, "reads go on");
    drop(db);
    // The fault threw the data away, as a failed sync may: it is not taken for durable.
    assert!(read_all(&open(&mem)).len() < 3);
}

#[test]
fn without_syncs_a_failed_one_is_told_by_maintenance_and_then_by_commits() {
    let (_, db, _) = on_a_failing_disk(SyncPolicy::Never);
    try_commit(&db, 1_000).unwrap();
    assert!(db.compact(&Default::default()).is_err());
    assert_eq!(try_commit(&db, 2_000).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(read_all(&db).len(), 2, "reads go on");
}
