//! Goal: threads that meet in the engine keep its promises, whatever the order in which they get there.
//!
//! Method: model checks. A few threads commit, read, flush, merge and delete on the in-memory filesystem, on the production code
//! path; a seeded scheduler decides at each lock, wait and atomic access who goes on (`sync/raw.rs`): half of the schedules are
//! random, half by priorities with few changes. A wake-up that is lost, or two threads that wait for one another, is a panic that
//! prints the schedule. Where a promise is about the disk, the power goes at the moment at which it is given.
//!
//! The tests run some hundred schedules each, `SILVERBACK_SCHEDULES=20000 cargo test --release --lib schedules -- --nocapture`
//! as many as asked for. What relaxed orderings could do beyond sequential consistency is not explored here: ThreadSanitizer is for that.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::thread;

use super::*;
use crate::env::{Fault, FaultPlan, OpClass};
use crate::sync::raw::{Scheduler, explore};

/// Schedules of each kind if nobody asks for more.
const SCHEDULES: usize = 300;
const SEED: u64 = 20_261_122;
/// Series that each commit of a writer writes, all at the commit's time.
const WIDTH: u64 = 3;

fn check(name: &str, scenario: impl Fn() + Send + Sync + Copy + 'static) {
    let asked = std::env::var("SILVERBACK_SCHEDULES").ok().and_then(|v| v.parse::<usize>().ok());
    let schedules = asked.map_or(SCHEDULES, |n| n / 2);
    explore(Scheduler::Random, SEED, schedules, scenario);
    explore(Scheduler::Priorities(4), SEED, schedules, scenario);
    println!("schedules: {name}: {schedules} random, {schedules} by priorities (seed {SEED}), failures = 0");
}

/// The rows of commit `n` of writer `w`.
fn rows_of(w: u64, n: i64) -> Vec<(u64, i64, f64)> {
    (0..WIDTH).map(|i| (w * WIDTH + i, n * 1_000, n as f64)).collect()
}

fn try_commit(db: &Db, rows: &[(u64, i64, f64)]) -> Result<Committed> {
    let mut app = db.appender()?;
    for &(i, t, v) in rows {
        app.append(&series(i), t, v).unwrap();
    }
    app.commit()
}

fn keys(rows: &[(u64, i64, f64)]) -> Vec<(String, i64)> {
    rows.iter().map(|(i, t, _)| (series(*i).to_string(), *t)).collect()
}

fn has(found: &Rows, rows: &[(u64, i64, f64)]) -> usize {
    keys(rows).iter().filter(|key| found.contains_key(*key)).count()
}

/// What a power cut leaves of the filesystem at its worst.
fn survivors(image: &MemFs) -> Rows {
    let db = open(image);
    assert!(db.open_report().damage.is_empty(), "{:?}", db.open_report());
    read_all(&db)
}

#[test]
fn one_sync_serves_all_who_wait_for_it() {
    static FEWEST: AtomicU64 = AtomicU64::new(u64::MAX);
    check("group commit", || {
        let fs = MemFs::new();
        let db = open(&fs);
        let write = |w: u64| {
            let (db, fs) = (db.clone(), fs.clone());
            move || {
                (0..2).for_each(|n| drop(try_commit(&db, &rows_of(w, n)).unwrap()));
                fs.crash(&CrashPolicy::DropUnsynced)
            }
        };
        let writers: Vec<_> = (0..3).map(|w| thread::spawn(write(w))).collect();
        for (w, writer) in (0..).zip(writers) {
            let found = survivors(&writer.join().unwrap());
            (0..2).for_each(|n| assert_eq!(has(&found, &rows_of(w, n)), 3, "acknowledged, and lost"));
        }
        FEWEST.fetch_min(db.stats().syncs, Ordering::SeqCst);
    });
    assert!(FEWEST.load(Ordering::SeqCst) < 6, "six commits, and never fewer syncs");
}

#[test]
fn a_failed_sync_is_told_to_all_who_waited_for_it() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    check("failed sync", || {
        let fs = MemFs::new();
        let faults = FaultFs::new(Arc::new(fs.clone()));
        let db = Db::open("/db", options_on(Arc::new(faults.clone()))).unwrap();
        commit(&db, &rows_of(0, 0));
        let at = RUNS.fetch_add(1, Ordering::SeqCst) % 2;
        faults.arm(FaultPlan { at, class: Some(OpClass::Sync), fault: Fault::LostSync });
        let write = |w: u64| {
            let db = db.clone();
            move || (1..2).map(|n| try_commit(&db, &rows_of(w, n)).map(drop)).collect::<Vec<_>>()
        };
        let writers: Vec<_> = (0..3).map(|w| thread::spawn(write(w))).collect();
        let outcomes: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        if !faults.triggered() {
            return;
        }
        assert_eq!(try_commit(&db, &rows_of(0, 9)).unwrap_err().kind(), ErrorKind::Poisoned);
        drop(db);
        let found = survivors(&fs.crash(&CrashPolicy::KeepAll));
        assert_eq!(has(&found, &rows_of(0, 0)), 3);
        let mut refused = 0;
        for (w, outcomes) in (0..).zip(outcomes) {
            for (n, outcome) in (1..).zip(outcomes) {
                let there = has(&found, &rows_of(w, n));
                match outcome {
                    Ok(()) => assert_eq!(there, 3, "acknowledged, and lost"),
                    Err(_) => refused += 1,
                }
                assert!(there == 0 || there == 3, "a commit in part");
            }
        }
        assert!(refused > 0, "a sync failed, and nobody was told");
    });
}

#[test]
fn a_reader_sees_whole_commits_and_all_that_were_acknowledged() {
    check("visibility", || {
        let db = open(&MemFs::new());
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let write = |w: u64| {
            let (db, acknowledged) = (db.clone(), Arc::clone(&acknowledged));
            move || {
                for n in 0..3 {
                    try_commit(&db, &rows_of(w, n)).unwrap();
                    acknowledged.lock().unwrap().push((w, n));
                }
            }
        };
        let look = {
            let (db, acknowledged) = (db.clone(), Arc::clone(&acknowledged));
            move || {
                let mut before = 0;
                for _ in 0..3 {
                    let must: Vec<_> = acknowledged.lock().unwrap().clone();
                    let querier = db.querier(TimeRange::ALL).unwrap();
                    let found = read(&querier, &Selector::all());
                    for (w, n) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
                        let there = has(&found, &rows_of(w, n));
                        assert!(there == 0 || there == 3, "commit {n} of {w} is seen in part");
                        assert!(there == 3 || !must.contains(&(w, n)), "commit {n} of {w} is not seen");
                    }
                    assert!(found.len() >= before, "a reader goes back in time");
                    assert_eq!(read(&querier, &Selector::all()), found, "a querier moves on");
                    before = found.len();
                }
            }
        };
        let threads = [thread::spawn(write(0)), thread::spawn(write(1)), thread::spawn(look)];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn what_is_committed_while_the_head_is_emptied_stays_in_sight() {
    check("beside a clean-up", || {
        let db = open(&MemFs::new());
        commit(&db, &rows_of(0, 0));
        db.compact(&Default::default()).unwrap();
        let maintain = {
            let db = db.clone();
            move || db.maintain().unwrap()
        };
        let maintain = thread::spawn(maintain);
        try_commit(&db, &rows_of(1, 20)).unwrap();
        maintain.join().unwrap();
        assert_eq!(read_all(&db).len(), 6);
    });
}

#[test]
fn a_flush_and_a_delete_beside_a_merge_lose_and_hide_nothing_else() {
    check("beside a merge", || {
        let fs = MemFs::new();
        let db = open(&fs);
        for from in [0, 10, 20] {
            commit(&db, &(from..from + 10).flat_map(|n| rows_of(0, n)).collect::<Vec<_>>());
            db.shared().settle_all().unwrap();
        }
        commit(&db, &rows_of(0, 46));
        db.shared().settle_all().unwrap();
        let merge = {
            let db = db.clone();
            move || db.shared().merge(maintain::Extent::Due, &Cancel::default(), None).unwrap()
        };
        let flush = {
            let db = db.clone();
            move || {
                // Late, and what makes the head flush it.
                try_commit(&db, &[(1, 44_500, 7.0)]).unwrap();
                try_commit(&db, &rows_of(1, 80)).unwrap();
                db.shared().settle_all().unwrap();
            }
        };
        let delete = {
            let db = db.clone();
            move || db.delete(TimeRange::new(0, 15_000), &r#"{i="2"}"#.parse().unwrap()).unwrap()
        };
        let threads = [thread::spawn(move || assert!(merge())), thread::spawn(flush)];
        let deleted = thread::spawn(delete).join().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(deleted, 15);
        let expected = read_all(&db);
        assert_eq!(expected.len(), 90 + 3 + 1 + 3 - 15);
        assert!(db.shared().maintenance.lock().is_empty(), "a block stays reserved");
        assert_eq!(survivors(&fs.crash(&CrashPolicy::DropUnsynced)), expected);
        db.maintain().unwrap();
        assert_eq!(read_all(&db), expected);
    });
}

#[test]
fn a_querier_that_is_made_while_the_last_rows_are_flushed_sees_them() {
    check("beside a flush", || {
        let db = open(&MemFs::new());
        commit(&db, &rows_of(0, 0));
        let flush = {
            let db = db.clone();
            move || db.compact(&Default::default()).unwrap()
        };
        let flush = thread::spawn(flush);
        (0..2).for_each(|_| assert_eq!(read_all(&db).len(), 3));
        flush.join().unwrap();
    });
}

#[test]
fn a_flushed_row_is_seen_in_the_block_or_in_the_head_and_files_stay_for_their_readers() {
    check("version swap", || {
        let fs = MemFs::new();
        let db = open(&fs);
        let first: Vec<_> = (0..9).flat_map(|n| rows_of(0, n)).collect();
        commit(&db, &first);
        let compact = {
            let db = db.clone();
            move || (0..2).for_each(|_| db.compact(&Default::default()).unwrap())
        };
        let late = {
            let db = db.clone();
            move || {
                // Into the range that is being flushed; then a delete of a third of the first. Few blocks in all: the pool, whose
                // threads are none of the scheduler's, is for many.
                try_commit(&db, &rows_of(1, 7)).unwrap();
                db.delete(TimeRange::ALL, &r#"{i="0"}"#.parse().unwrap()).unwrap();
            }
        };
        let look = {
            let (db, fs, first) = (db.clone(), fs.clone(), first.clone());
            move || {
                let queriers: Vec<_> = (0..3)
                    .map(|_| {
                        let version = db.shared().version();
                        let querier = db.querier(TimeRange::ALL).unwrap();
                        let found = read(&querier, &Selector::all());
                        let there = has(&found, &first);
                        assert!(there == 27 || there == 18, "{there} of 27 rows, or 18 after the delete");
                        (version, querier, found)
                    })
                    .collect();
                for (version, querier, found) in queriers {
                    assert_eq!(read(&querier, &Selector::all()), found, "a querier moves on");
                    let is_there =
                        |b: &Arc<version::LiveBlock>| matches!(fs.stat(b.block.dir()), Ok(Some(_)));
                    assert!(version.blocks.iter().all(is_there), "files of a version that is held are gone");
                }
            }
        };
        let threads = [thread::spawn(compact), thread::spawn(late), thread::spawn(look)];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let expected = read_all(&db);
        assert_eq!(expected.len(), 18 + 3);
        assert_eq!(survivors(&fs.crash(&CrashPolicy::DropUnsynced)), expected);
        let blocks = fs.list(Path::new("/db/blocks")).unwrap().len() as u64;
        assert_eq!(blocks, db.stats().blocks, "nobody reads, and superseded blocks are there");
    });
}
