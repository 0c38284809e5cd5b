//! Goal: a merge hides nothing, loses nothing and publishes nothing that is not what it should be, whatever goes on beside it; and nobody
//! waits for one. Method: a merge's plan, writing and swap as single steps, with flushes, deletes and retention in between;
//! writes that go wrong silently, at each call.

use super::*;
use crate::db::maintain::Extent;
use crate::db::merge::Job;
use crate::env::{Fault, FaultPlan, OpClass};
use crate::error::Applied;

/// Rows of five series at each second.
fn rows(from: i64, to: i64) -> Vec<(u64, i64, f64)> {
    (from..to).flat_map(|s| (0..5).map(move |i| (i, s * 1_000, (s * 3 + i as i64) as f64))).collect()
}

/// Three blocks of ten seconds, which make a window, and newer rows in the head.
fn ready_to_merge(fs: &MemFs, options: Options) -> Db {
    let db =
        Db::open("/db", options.env(Arc::new(fs.clone()), Arc::new(ManualClock::at(1_000_000_000)))).unwrap();
    for from in [0, 10, 20, 30] {
        commit(&db, &rows(from, from + 10));
        db.shared().settle_all().unwrap();
    }
    commit(&db, &rows(40, 46));
    db.shared().settle_all().unwrap();
    assert!(db.stats().blocks >= 3 && db.stats().merges == 0, "{:?}", db.stats());
    db
}

fn plan(db: &Db) -> Job {
    db.shared().plan_merge(Extent::Due).unwrap().expect("a window is complete")
}

fn run(db: &Db, job: &Job) {
    let written = db.shared().write_merged(job, &Cancel::default(), None);
    db.shared().end_merge(job, written).unwrap();
}

#[test]
fn a_flush_goes_ahead_while_a_merge_runs() {
    let fs = MemFs::new();
    let db = ready_to_merge(&fs, options(&fs));
    let (job, flushes) = (plan(&db), db.stats().flushes);
    // As a merge holds it; each step below would wait for ever, or fail its assertion of order, if it needed that lock.
    let _merging = db.shared().merging.lock();
    commit(&db, &rows(46, 80));
    db.shared().settle_all().unwrap();
    assert!(db.stats().flushes > flushes, "{:?}", db.stats());
    let expected = read_all(&db);
    run(&db, &job);
    assert_eq!((read_all(&db), db.stats().merges), (expected.clone(), 1));
    drop(_merging);
    drop(db);
    assert_eq!(read_all(&open(&fs)), expected);
}

#[test]
fn a_delete_beside_a_merge_hides_what_it_should_in_the_result() {
    let fs = MemFs::new();
    let db = ready_to_merge(&fs, options(&fs));
    let selector = |i: u64| format!("{{i=\"{i}\"}}").parse::<Selector>().unwrap();
    db.delete(TimeRange::new(0, 5_000), &selector(0)).unwrap();
    let job = plan(&db);
    assert_eq!(db.delete(TimeRange::new(3_000, 12_000), &selector(1)).unwrap(), 9);
    let written = db.shared().write_merged(&job, &Cancel::default(), None);
    assert_eq!(db.delete(TimeRange::new(3_000, 12_000), &selector(2)).unwrap(), 9);
    db.shared().settle_all().unwrap();
    let expected = read_all(&db);
    db.shared().end_merge(&job, written).unwrap();
    assert_eq!(read_all(&db), expected);
    for _ in 0..2 {
        db.maintain().unwrap();
        assert_eq!(read_all(&db), expected);
    }
    drop(db);
    assert_eq!(read_all(&open(&fs)), expected);
}

#[test]
fn retention_leaves_what_a_merge_reads_and_drops_it_afterwards() {
    let fs = MemFs::new();
    let db = ready_to_merge(&fs, options(&fs).retention(Duration::from_secs(60)));
    let job = plan(&db);
    commit(&db, &[(0, 500_000, 1.0)]);
    db.shared().settle_all().unwrap();
    assert_eq!((db.stats().blocks, db.stats().blocks_dropped), (3, 2), "all others are as old");
    run(&db, &job);
    db.maintain().unwrap();
    assert_eq!(read_all(&db).len(), 1);
}

#[test]
fn a_merge_that_fails_lets_its_inputs_go() {
    let fs = MemFs::new();
    let db = ready_to_merge(&fs, options(&fs));
    let expected = read_all(&db);
    let job = plan(&db);
    let cancel = Cancel::default();
    cancel.cancel();
    let written = db.shared().write_merged(&job, &cancel, None);
    assert_eq!(db.shared().end_merge(&job, written).unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(db.shared().maintenance.lock().is_empty());
    assert_eq!(read_all(&db), expected);
    db.maintain().unwrap();
    assert_eq!((db.stats().merges, read_all(&db)), (1, expected));
}

#[test]
fn closing_ends_a_merge() {
    let fs = MemFs::new();
    let db = ready_to_merge(&fs, options(&fs));
    db.close().unwrap();
    assert!(db.shared().ending.is_cancelled());
    let outcome = db.shared().merge(Extent::Due, &Cancel::default(), None);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn merges_are_counted_in_bytes() {
    let fs = MemFs::new();
    let db = ready_to_merge(&fs, options(&fs));
    let new = db.stats().new_block_bytes;
    assert!(new > 0 && db.stats().write_amplification() == Some(1.0), "{:?}", db.stats());
    db.maintain().unwrap();
    let stats = db.stats();
    assert!(stats.merge_read_bytes > 0 && stats.merge_read_bytes <= new, "{stats:?}");
    assert!(stats.merge_written_bytes > 0 && stats.merge_peak_bytes > stats.merge_written_bytes, "{stats:?}");
    assert!(stats.merge_peak_bytes <= stats.merge_read_bytes + stats.merge_written_bytes, "{stats:?}");
    let all = (stats.new_block_bytes + stats.merge_written_bytes) as f64;
    assert_eq!(stats.write_amplification(), Some(all / stats.new_block_bytes as f64));
}

/// What writes blocks, and is to find what was written wrong.
fn find_wrong_writes(fault: Fault, work: impl Fn(&Db) -> Result<()>) -> (u64, u64) {
    let (mut found, mut elsewhere) = (0, 0);
    for at in 0.. {
        let fs = MemFs::new();
        let faults = FaultFs::new(Arc::new(fs.clone()));
        drop(ready_to_merge(&fs, options(&fs)));
        let db = Db::open("/db", options_on(Arc::new(faults.clone()))).unwrap();
        let expected = read_all(&db);
        faults.arm(FaultPlan { at, class: Some(OpClass::Write), fault });
        let outcome = work(&db);
        let Some(what) = faults.what_failed() else { return (found, elsewhere) };
        if !what.contains("/blocks/") {
            // Log and manifest are synced and replaced as they are; what rots in them is found at open.
            elsewhere += 1;
            continue;
        }
        let error = outcome.expect_err(&what);
        assert_eq!((error.kind(), error.applied()), (ErrorKind::Corrupt, Applied::No), "{what}: {error}");
        assert_eq!(read_all(&db), expected, "{what}");
        let live = db.stats().blocks;
        assert_eq!(fs.list(Path::new("/db/blocks")).unwrap().len() as u64, live, "{what} left its block");
        work(&db).unwrap();
        assert!(db.verify().unwrap().is_clean(), "{what}");
        drop(db);
        let db = open(&fs);
        assert!(db.open_report().damage.is_empty() && db.open_report().quarantined.is_empty());
        assert!(expected.iter().all(|row| read_all(&db).contains_key(row.0)), "{what}");
        found += 1;
    }
    (found, elsewhere)
}

#[test]
fn what_is_not_written_as_it_should_be_is_not_published() {
    let load = |db: &Db| {
        let mut bulk = db.bulk_loader()?;
        let s = bulk.series(&series(9))?;
        bulk.extend(s, &[1, 2, 3], &[1.0, 2.5, 4.0])?;
        bulk.finish().map(drop)
    };
    for fault in [Fault::FlippedBit, Fault::DroppedSector] {
        let merged = find_wrong_writes(fault, Db::maintain);
        assert!(merged.0 >= 4, "{fault:?}: {merged:?}, of chunks, times, index and meta");
        let compacted = find_wrong_writes(fault, |db| db.compact(&Cancel::default()));
        assert!(compacted.0 >= 8, "{fault:?}: {compacted:?}, of a flush and a merge");
        let loaded = find_wrong_writes(fault, load);
        assert!(loaded.0 >= 3, "{fault:?}: {loaded:?}");
    }
}
