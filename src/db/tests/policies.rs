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

/// A value that takes all its bytes in the log.
fn noise(n: i64) -> f64 {
    f64::from_bits(n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2)
}

/// Buffers what takes six of the 64 kibibytes of a segment.
fn buffer_noise(app: &mut Appender, n: i64) {
    for i in 0..750 {
        app.append(&series(i), n * 10, noise(n * 1_000 + i.cast_signed())).unwrap();
    }
}

fn of_small_segments(fs: Arc<dyn Fs>) -> Options {
    options_on(fs).sync(SyncPolicy::Never).wal_segment_bytes(1 << 16)
}

#[test]
fn without_syncs_a_segment_is_synced_ahead_of_its_end() {
    let fs = MemFs::new();
    let db = Db::open("/db", of_small_segments(Arc::new(fs.clone()))).unwrap();
    let mut app = db.appender().unwrap();
    for n in 0..30 {
        buffer_noise(&mut app, n);
        assert_eq!(app.commit().unwrap().appended(), 750);
        let left = read_all(&open(&fs.crash(&CrashPolicy::DropUnsynced))).len() as i64;
        assert_eq!(left % 750, 0, "a commit in part");
        assert!(left / 750 >= n, "{left} rows after commit {n}: a sixteenth of a segment is synced at once");
    }
    assert!(db.shared().wal_bytes() > 2 << 16, "several segments");
}

#[test]
fn a_failed_sync_ahead_is_told_by_the_commit_that_had_to_wait_for_it() {
    let mem = MemFs::new();
    let fault = FaultFs::new(Arc::new(mem.clone()));
    let db = Db::open("/db", of_small_segments(Arc::new(fault.clone()))).unwrap();
    commit(&db, &[(0, 0, 0.0)]);
    fault.arm(FaultPlan { fault: Fault::LostSync, class: Some(OpClass::Sync), at: 0 });
    let mut app = db.appender().unwrap();
    buffer_noise(&mut app, 1);
    let error = app.commit().unwrap_err();
    assert_eq!(error.applied(), crate::Applied::Unknown, "{error}");
    assert_eq!(try_commit(&db, 3_000).unwrap_err().kind(), ErrorKind::Poisoned);
}

#[test]
fn in_the_background_segments_are_synced_and_ended_beside_commits() {
    let fs = MemFs::new();
    let options = of_small_segments(Arc::new(fs.clone())).maintenance(Maintenance::Background);
    let db = Db::open("/db", options).unwrap();
    let mut app = db.appender().unwrap();
    for n in 0..100 {
        buffer_noise(&mut app, n);
        app.commit().unwrap();
    }
    // The last sync may be under way.
    for _ in 0..1_000 {
        let left = read_all(&open(&fs.crash(&CrashPolicy::DropUnsynced))).len();
        assert_eq!(left % 750, 0, "a commit in part");
        if left >= 98 * 750 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(db.stats().syncs > 0 && !db.stats().poisoned, "{:?}", db.stats());
    let expected = read_all(&db);
    db.close().unwrap();
    assert_eq!(read_all(&open(&fs)), expected);
}
