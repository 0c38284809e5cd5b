//! What the enumeration found, each as a test of its own: a paragraph on what went wrong, and the shortest way to it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::oracle::read;
use crate::db::tests::{commit, open, options, options_on, read_all, series};
use crate::db::{Db, SyncPolicy};
use crate::env::{CrashPolicy, Fault, FaultFs, FaultPlan, Fs, MemFs, OpClass};
use crate::error::{Applied, ErrorKind};
use crate::model::{Metadata, MetricType, Selector, TimeRange};

fn rows(seconds: std::ops::Range<i64>) -> Vec<(u64, i64, f64)> {
    seconds.flat_map(|s| (0..3).map(move |i| (i, s * 1_000, s as f64))).collect()
}

fn faulty(mem: &MemFs) -> (FaultFs, Db) {
    let fault = FaultFs::new(Arc::new(mem.clone()));
    let db = Db::open("/db", options_on(Arc::new(fault.clone()))).unwrap();
    (fault, db)
}

fn fail_once(fault: &FaultFs, class: OpClass, at: u64) {
    fault.arm(FaultPlan { at, class: Some(class), fault: Fault::EioOnce });
}

/// Deletes and loads take numbers in the order of commits, without a record in the log. Whoever waited for the log to
/// be durable through such a number waited for ever.
#[test]
fn a_delete_or_a_load_that_is_the_last_to_take_a_number_is_not_waited_for() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &rows(0..10));
    assert_eq!(db.delete(0..1_000, &Selector::all()).unwrap(), 3);
    assert_eq!(db.delete(1_000..2_000, &Selector::all()).unwrap(), 3, "a second delete in a row");
    assert_eq!(commit(&db, &[(0, 5_000, 5.0)]).duplicates(), 1, "a commit without news");
    let mut bulk = db.bulk_loader().unwrap();
    let s = bulk.series(&series(9)).unwrap();
    bulk.extend(s, &[4_000], &[10.0]).unwrap();
    bulk.finish().unwrap();
    db.compact(&Default::default()).unwrap();
    assert_eq!(read_all(&db).len(), 25);
}

/// The first manifest became durable together with the names of the directories beside it, in any order: a crash could
/// leave it without them, and such a database did not open. (Neither did a copy made by a tool that drops empty directories.)
#[test]
fn a_database_without_its_empty_directories_opens() {
    let fs = MemFs::new();
    open(&fs).close().unwrap();
    for dir in ["wal", "blocks", "spill", "quarantine"] {
        fs.remove_dir(&Path::new("/db").join(dir)).unwrap();
    }
    let db = open(&fs);
    commit(&db, &rows(0..2));
    db.compact(&Default::default()).unwrap();
    assert_eq!(read_all(&db).len(), 6);
}

/// The name of the directory itself was synced by whoever made it, and by nobody if that sync failed or was not
/// reached; and never, if the path had one component only. A power cut took the whole database.
#[test]
fn the_name_of_the_database_is_durable_before_anything_in_it() {
    let fs = MemFs::new();
    fs.create_dir(Path::new("/db")).unwrap();
    commit(&open(&fs), &rows(0..2));
    assert_eq!(read_all(&open(&fs.crash(&CrashPolicy::DropUnsynced))).len(), 6);
    let fs = MemFs::new();
    let db = Db::open("db", options(&fs)).unwrap();
    commit(&db, &rows(0..2));
    assert_eq!(read_all(&open(&fs.crash(&CrashPolicy::DropUnsynced))).len(), 6);
}

/// A manifest was renamed into place, and the sync of its name failed. The next open took it for durable and removed what it
/// does not name; a power cut brought the manifest before it back, whose blocks were gone.
#[test]
fn what_the_previous_manifest_names_stays_until_the_newest_is_durable() {
    let mem = MemFs::new();
    let (fault, db) = faulty(&mem);
    for s in [0, 10, 20] {
        commit(&db, &rows(s..s + 10));
        db.compact(&Default::default()).unwrap();
    }
    let expected = read_all(&db);
    assert_eq!(db.delete(0..100_000, &"{i=\"1\"}".parse::<Selector>().unwrap()).unwrap(), 30);
    let kept = read_all(&db);
    assert!(kept.len() < expected.len());
    // The rewrite: its block's directory, the name in blocks/, the swap.
    fail_once(&fault, OpClass::DirSync, 2);
    db.compact(&Default::default()).unwrap_err();
    assert_eq!(fault.what_failed().as_deref(), Some("sync directory /db"));
    fault.disarm();
    assert_eq!(db.appender().unwrap_err().kind(), ErrorKind::Poisoned);
    drop(db);
    drop(open(&mem));
    for policy in mem.crash_policies(1, 20) {
        let db = open(&mem.crash(&policy));
        assert!(db.open_report().damage.is_empty(), "{policy:?}: {:?}", db.open_report());
        assert_eq!(read_all(&db), kept, "{policy:?}");
    }
}

/// A segment that the system did not give (EIO once) was reported as damaged and passed over; the next flush then took its
/// samples for flushed and removed it.
#[test]
fn an_open_that_cannot_read_the_log_fails_and_loses_nothing() {
    let mem = MemFs::new();
    let (fault, db) = faulty(&mem);
    commit(&db, &rows(0..5));
    let expected = read_all(&db);
    drop(db);
    let mut failures = 0;
    for at in 0..40 {
        fail_once(&fault, OpClass::Read, at);
        match Db::open("/db", options_on(Arc::new(fault.clone()))) {
            Ok(db) => {
                fault.disarm();
                assert_eq!(read_all(&db), expected, "read {at}");
            }
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Io, "read {at}: {e}");
                failures += 1;
            }
        }
    }
    assert!(failures > 3, "{failures}");
    assert_eq!(read_all(&open(&mem)), expected);
}

/// A snapshot's manifest became durable together with the names of the directories beside it, in any order: a crash could leave a
/// copy that opens and holds less.
#[test]
fn a_snapshot_is_whole_or_no_database() {
    let base = MemFs::new();
    let db = open(&base);
    commit(&db, &rows(0..12));
    db.compact(&Default::default()).unwrap();
    commit(&db, &rows(12..14));
    let expected = read(&db).unwrap();
    drop(db);
    let whole = base.fork();
    open(&whole).snapshot("/copy").unwrap();
    let mut copies = 0;
    for cut in base.operations()..=whole.operations() {
        let fs = base.fork();
        fs.cut_power_after(cut);
        let _cut = Db::open("/db", options(&fs)).map(|db| db.snapshot("/copy"));
        for policy in fs.crash_policies(cut, 2) {
            let image = fs.crash(&policy);
            if let Ok(copy) = Db::open("/copy", options(&image).create(false)) {
                assert_eq!(read(&copy).unwrap(), expected, "cut at {cut}, {policy:?}");
                copies += 1;
            }
        }
    }
    assert!(copies > 0);
}

/// A load was published while commits before it were not durable yet: after a power cut there was the load and not they.
#[test]
fn a_load_makes_durable_what_was_committed_before_it() {
    let fs = MemFs::new();
    let db = Db::open("/db", options(&fs).sync(SyncPolicy::Never)).unwrap();
    commit(&db, &rows(20..22));
    let mut bulk = db.bulk_loader().unwrap();
    let s = bulk.series(&series(9)).unwrap();
    bulk.extend(s, &[4_000], &[10.0]).unwrap();
    bulk.finish().unwrap();
    assert_eq!(read_all(&open(&fs.crash(&CrashPolicy::DropUnsynced))).len(), 7);
}

/// Half-made blocks stayed until the next open when a step failed after they were finished.
#[test]
fn a_step_that_failed_leaves_no_block_behind() {
    let mem = MemFs::new();
    let (fault, db) = faulty(&mem);
    commit(&db, &rows(0..5));
    let blocks = || mem.list(Path::new("/db/blocks")).unwrap().len();
    let mut failures = 0;
    for at in 0..200 {
        fail_once(&fault, OpClass::Read, at);
        let compacted = db.compact(&Default::default());
        fault.disarm();
        match compacted {
            Ok(()) => break,
            Err(e) => assert_eq!(e.kind(), ErrorKind::Io),
        }
        assert_eq!(blocks(), 0, "read {at}: {:?}", mem.paths());
        failures += 1;
    }
    assert!(failures > 0 && blocks() == 1, "{failures}");
    assert_eq!(read_all(&db).len(), 15);
}

/// A load took its number before it sorted: a delete that was made and acknowledged meanwhile hid the load's samples
/// once it finished, though the load came later.
#[test]
fn a_delete_while_a_load_sorts_does_not_touch_it() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &rows(0..2));
    let version = db.shared().version().manifest.last_lsn;
    let mut bulk = db.bulk_loader().unwrap();
    let s = bulk.series(&series(9)).unwrap();
    bulk.extend(s, &[1_500], &[10.0]).unwrap();
    assert_eq!(db.delete(0..5_000, &Selector::all()).unwrap(), 6);
    bulk.finish().unwrap();
    let manifest = db.shared().version().manifest.clone();
    assert!(manifest.last_lsn > version);
    assert_eq!(manifest.blocks[0].through, manifest.last_lsn, "its number is that of its publication");
    assert_eq!(read_all(&db).len(), 1);
    db.compact(&Default::default()).unwrap();
    assert_eq!(read_all(&db).len(), 1);
}

/// A rotation's failed sync left the handle open for writes until the log itself refused the next one.
#[test]
fn a_failed_sync_of_a_rotation_poisons_the_handle() {
    let mem = MemFs::new();
    let (fault, db) = faulty(&mem);
    commit(&db, &rows(0..5));
    fault.arm(FaultPlan { at: 0, class: Some(OpClass::Sync), fault: Fault::LostSync });
    db.compact(&Default::default()).unwrap_err();
    assert_eq!(db.appender().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(read_all(&db).len(), 15, "reads go on");
    drop(db);
    assert_eq!(read_all(&open(&mem)).len(), 15, "what was acknowledged was durable before");
}

/// A process that was killed in close left a closing record that was not durable; the next one relied on it, and a power cut
/// then looked like damage.
#[test]
fn a_kill_in_close_and_a_power_cut_later_are_no_damage() {
    let base = MemFs::new();
    drop(open(&base));
    let whole = base.fork();
    let db = open(&whole);
    commit(&db, &rows(0..2));
    db.close().unwrap();
    for cut in base.operations()..=whole.operations() {
        let fs = base.fork();
        fs.cut_power_after(cut);
        let _cut =
            Db::open("/db", options(&fs)).map(|db| db.appender().map(|_| ()).map(|()| try_commit(&db)));
        let killed = fs.fork();
        let db = open(&killed);
        let before = read_all(&db).len();
        commit(&db, &rows(5..6));
        let db = open(&killed.crash(&CrashPolicy::DropUnsynced));
        assert!(db.open_report().damage.is_empty(), "cut at {cut}: {:?}", db.open_report());
        assert_eq!(read_all(&db).len(), before + 3, "cut at {cut}");
    }
}

fn try_commit(db: &Db) {
    let Ok(mut app) = db.appender() else { return };
    for (i, t, v) in rows(0..2) {
        let _ = app.append(&series(i), t, v);
    }
    let _ = app.commit().map(|_| db.close());
    assert!(db.querier(TimeRange::ALL).is_err() || read(db).is_ok());
}

/// A snapshot whose tombstones could not be renamed into place said that its outcome was unknown, as a commit does: the
/// handle, whose own state was known, went on, and the caller could not tell.
#[test]
fn a_snapshot_that_fails_leaves_nothing_unknown() {
    let mem = MemFs::new();
    let (fault, db) = faulty(&mem);
    commit(&db, &rows(0..12));
    db.compact(&Default::default()).unwrap();
    assert_eq!(db.delete(0..3_000, &"{i=\"1\"}".parse::<Selector>().unwrap()).unwrap(), 3);
    let mut failures = 0;
    for at in 0..20 {
        fault.arm(FaultPlan { at, class: Some(OpClass::DirSync), fault: Fault::EioOnce });
        let Err(e) = db.snapshot(format!("/copy-{at}")) else { break };
        assert_eq!(e.applied(), Applied::No, "{e}");
        fault.disarm();
        commit(&db, &[(0, 20_000 + at as i64, 1.0)]);
        failures += 1;
    }
    assert!(failures > 3, "{failures}");
}

/// A help text of more than 65,535 bytes was taken, and poisoned the handle when it was committed; by the bulk loader it failed
/// the load at its end.
#[test]
fn metadata_too_large_is_refused_at_the_door() {
    let fs = MemFs::new();
    let db = open(&fs);
    let mut app = db.appender().unwrap();
    let mut bulk = db.bulk_loader().unwrap();
    let text = |bytes| "x".repeat(bytes);
    let with = |unit: usize, help: usize| Metadata {
        metric_type: MetricType::Gauge,
        unit: text(unit),
        help: text(help),
    };
    for (family, metadata, message) in [
        (text(0), with(0, 0), "no name"),
        (text(65_536), with(0, 0), "65536 bytes, 65535 is the most"),
        (text(5), with(1_025, 0), "the unit of metric family `xxxxx` has 1025 bytes, 1024 is the most"),
        (
            text(5),
            with(0, 65_536),
            "the help text of metric family `xxxxx` has 65536 bytes, 65535 is the most",
        ),
    ] {
        for refused in [app.set_metadata(&family, metadata.clone()), bulk.set_metadata(&family, &metadata)] {
            let e = refused.unwrap_err();
            assert_eq!((e.kind(), e.applied()), (ErrorKind::Ceiling, Applied::No));
            assert!(e.to_string().contains(message), "{e}");
        }
    }
    let largest = with(1_024, 65_535);
    app.append(&series(0), 1_000, 1.0).unwrap();
    app.set_metadata("m0", largest.clone()).unwrap();
    let s = bulk.series(&series(1)).unwrap();
    bulk.extend(s, &[1_000], &[1.0]).unwrap();
    bulk.set_metadata("m1", &largest).unwrap();
    app.commit().unwrap();
    bulk.finish().unwrap();
    db.compact(&Default::default()).unwrap();
    drop((app, db));
    let db = open(&fs);
    for family in ["m0", "m1"] {
        assert_eq!(db.metadata(family).unwrap().as_ref(), Some(&largest));
    }
}

/// A record above the ceiling of the log (here of metadata, each text of which is allowed) poisoned the handle, though nothing
/// had been written.
#[test]
fn a_commit_too_large_for_the_log_is_refused_and_the_handle_goes_on() {
    let fs = MemFs::new();
    let db = open(&fs);
    let mut app = db.appender().unwrap();
    for i in 0..1_040 {
        let help = "x".repeat(65_000);
        app.set_metadata(&format!("m{i}"), Metadata { help, ..Metadata::default() }).unwrap();
    }
    app.append(&series(0), 1_000, 1.0).unwrap();
    let e = app.commit().unwrap_err();
    assert_eq!((e.kind(), e.applied(), app.pending()), (ErrorKind::Ceiling, Applied::No, 1), "{e}");
    assert_eq!(read_all(&db).len(), 0);
    app.rollback();
    app.append(&series(0), 1_000, 1.0).unwrap();
    assert_eq!(app.commit().unwrap().appended(), 1);
}

/// Metadata is a record in front of its commit's samples. Where the disk is full between the two, the metadata stays and the
/// samples do not: for this handle, for the next one, and after a power cut; the same commit passes later.
#[test]
fn a_full_disk_between_metadata_and_samples_leaves_the_metadata_alone() {
    let mem = MemFs::new();
    let (fault, db) = faulty(&mem);
    commit(&db, &rows(0..2));
    let metadata = Metadata { metric_type: MetricType::Gauge, unit: String::new(), help: "h".into() };
    let mut app = db.appender().unwrap();
    app.append(&series(7), 5_000, 1.0).unwrap();
    app.set_metadata("m1", metadata.clone()).unwrap();
    fault.arm(FaultPlan { at: 1, class: Some(OpClass::Write), fault: Fault::ShortWriteNoSpace });
    let e = app.commit().unwrap_err();
    assert_eq!((e.kind(), e.applied()), (ErrorKind::NoSpace, Applied::No), "{e}");
    let holds = |db: &Db, rows: usize| {
        assert_eq!((db.metadata("m1").unwrap().as_ref(), read_all(db).len()), (Some(&metadata), rows));
        assert!(db.open_report().damage.is_empty());
    };
    holds(&db, 6);
    holds(&open(&mem.crash(&CrashPolicy::KeepAll)), 6);
    assert_eq!(read_all(&open(&mem.crash(&CrashPolicy::DropUnsynced))).len(), 6);
    assert_eq!(app.commit().unwrap().appended(), 1);
    holds(&open(&mem.crash(&CrashPolicy::DropUnsynced)), 7);
    drop((app, db));
    holds(&open(&mem), 7);
}

fn used_bytes(fs: &MemFs) -> u64 {
    fs.paths().iter().map(|path| fs.stat(path).unwrap().unwrap().bytes).sum()
}

/// On a disk without one free byte retention swaps the manifest in the space of `RESERVE`, which is made again once there
/// is room. Before, a flush that was due as well failed first, and retention had no turn.
#[test]
fn retention_makes_room_on_a_full_disk() {
    for flush_is_due in [false, true] {
        let fs = MemFs::new();
        let retained = |fs: &MemFs| options(fs).retention(Duration::from_secs(60)).wal_segment_bytes(1 << 16);
        let db = Db::open("/db", retained(&fs)).unwrap();
        for s in [0, 10, 20] {
            commit(&db, &rows(s..s + 10));
            db.compact(&Default::default()).unwrap();
        }
        if flush_is_due {
            commit(&db, &rows(280..289));
        }
        commit(&db, &rows(300..301));
        assert!(fs.stat(Path::new("/db/RESERVE")).unwrap().is_some());
        fs.limit_bytes(used_bytes(&fs));
        let before = db.stats().blocks;
        // Without the reserve nothing of this passes.
        let without = fs.fork();
        without.remove_file(Path::new("/db/RESERVE")).unwrap();
        without.limit_bytes(used_bytes(&without));
        if let Ok(db) = Db::open("/db", retained(&without)) {
            assert_eq!(db.maintain().unwrap_err().kind(), ErrorKind::NoSpace);
            assert_eq!(db.stats().blocks_dropped, 0);
        }
        db.maintain().unwrap();
        assert_eq!(db.stats().blocks_dropped, before, "flush due: {flush_is_due}");
        assert_eq!(read_all(&db).len(), 3 + if flush_is_due { 27 } else { 0 });
        fs.limit_bytes(u64::MAX);
        commit(&db, &rows(400..401));
        db.compact(&Default::default()).unwrap();
        assert!(fs.stat(Path::new("/db/RESERVE")).unwrap().is_some(), "the reserve is made again");
        drop(db);
        assert!(open(&fs).verify().unwrap().is_clean());
    }
}

/// A delete on a full disk took the reserve, commits filled what was left of it, and retention could not swap the manifest.
#[test]
fn only_what_makes_room_takes_the_reserve() {
    let fs = MemFs::new();
    let db = Db::open("/db", options(&fs).retention(Duration::from_secs(60))).unwrap();
    commit(&db, &rows(0..10));
    db.compact(&Default::default()).unwrap();
    commit(&db, &rows(300..301));
    fs.limit_bytes(used_bytes(&fs));
    let refused = db.delete(0..1_000, &Selector::all()).unwrap_err();
    assert_eq!((refused.kind(), refused.applied()), (ErrorKind::NoSpace, Applied::No), "{refused}");
    assert!(fs.stat(Path::new("/db/RESERVE")).unwrap().is_some());
    db.maintain().unwrap();
    assert!(db.stats().blocks_dropped > 0);
    assert_eq!(read_all(&db).len(), 3);
}

/// A segment of the log that is damaged stays in place, and is reported by each open, until floors cover what could be read
/// of it and of older ones; then it moves to the quarantine, whole. It is never removed.
#[test]
fn a_damaged_segment_is_set_aside_once_it_is_flushed() {
    let fs = MemFs::new();
    for s in 0..3 {
        commit(&open(&fs), &rows(s..s + 1));
    }
    let segment = fs.paths().into_iter().filter(|p| p.starts_with("/db/wal")).nth(1).unwrap();
    fs.flip_bit(&segment, 80 * 8).unwrap();
    let bytes = fs.read(&segment).unwrap();
    let db = open(&fs);
    assert_eq!(db.open_report().damage.len(), 1);
    assert_eq!(db.open_report().damage[0].path(), Some(segment.as_path()));
    assert_eq!((read_all(&db).len(), fs.read(&segment).unwrap()), (6, bytes.clone()), "still there");
    db.compact(&Default::default()).unwrap();
    let aside = Path::new("/db/quarantine").join(segment.file_name().unwrap());
    assert_eq!(fs.read(&aside).unwrap(), bytes);
    assert!(fs.stat(&segment).unwrap().is_none());
    assert_eq!(db.stats().quarantined, 1);
    drop(db);
    let db = open(&fs);
    assert!(db.open_report().damage.is_empty(), "{:?}", db.open_report());
    assert_eq!(read_all(&db).len(), 6);
}

/// A meta file that was longer than any can be passed for a failure of the system, so that the open failed instead of setting
/// the block aside and serving the rest.
#[test]
fn a_block_whose_meta_is_too_long_is_set_aside() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &rows(0..5));
    db.compact(&Default::default()).unwrap();
    commit(&db, &rows(6..7));
    drop(db);
    let meta = fs.paths().into_iter().find(|p| p.ends_with("meta")).unwrap();
    fs.truncate(&meta, 1 << 20).unwrap();
    let db = open(&fs);
    let report = db.open_report();
    assert_eq!((report.damage.len(), report.quarantined.len()), (1, 1), "{report:?}");
    assert_eq!(
        (report.damage[0].kind(), report.damage[0].path()),
        (ErrorKind::Corrupt, Some(meta.as_path()))
    );
    assert_eq!(read_all(&db).len(), 3);
}

/// A flush publishes commits: what was committed before them is durable first, even if it stays in the log and nobody asked for syncs.
#[test]
fn a_flush_makes_durable_what_was_committed_before_it() {
    let fs = MemFs::new();
    let db = Db::open("/db", options(&fs).sync(SyncPolicy::Never)).unwrap();
    commit(&db, &[(5, 100_000, 1.0)]);
    commit(&db, &rows(0..9));
    db.maintain().unwrap();
    assert_eq!(db.stats().blocks, 1);
    assert_eq!(read_all(&open(&fs.crash(&CrashPolicy::DropUnsynced))).len(), 28);
}

/// A segment that is full is durable before the header of the next one says where it ends, even if nobody asked for syncs: a
/// power cut is no damage.
#[test]
fn a_full_segment_is_durable_before_the_next_begins() {
    let fs = MemFs::new();
    let short = |fs: &MemFs| options(fs).sync(SyncPolicy::Never).wal_segment_bytes(1 << 16);
    let db = Db::open("/db", short(&fs)).unwrap();
    for k in 0..3i64 {
        let value =
            |n: i64| f64::from_bits((n + k * 9_000).cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
        let many: Vec<_> = (0..9_000).map(|n| (0, k * 9_000 + n, value(n))).collect();
        commit(&db, &many);
    }
    let segments = || fs.paths().iter().filter(|p| p.starts_with("/db/wal")).count();
    assert!(segments() > 1, "{:?}", fs.paths());
    for policy in [CrashPolicy::DropUnsynced, CrashPolicy::KeepAll, CrashPolicy::ZeroTail] {
        let db = Db::open("/db", short(&fs.crash(&policy))).unwrap();
        assert!(db.open_report().damage.is_empty(), "{policy:?}: {:?}", db.open_report());
        assert_eq!(read_all(&db).len() % 9_000, 0, "{policy:?}");
        assert!(read_all(&db).len() >= 9_000, "{policy:?}");
    }
}

/// A delete that is too small for its block to be rewritten is kept, although the log holds nothing of it any more.
#[test]
fn a_small_delete_is_kept_while_a_block_needs_it() {
    let fs = MemFs::new();
    let db = open(&fs);
    let many: Vec<_> = (0..9).flat_map(|s| (0..60).map(move |i| (i, s * 1_000, s as f64))).collect();
    commit(&db, &many);
    db.compact(&Default::default()).unwrap();
    assert_eq!(db.delete(0..1_000, &"{i=\"1\"}".parse::<Selector>().unwrap()).unwrap(), 1);
    for _ in 0..3 {
        db.maintain().unwrap();
        assert_eq!(read_all(&db).len(), many.len() - 1);
    }
    drop(db);
    assert_eq!(read_all(&open(&fs)).len(), many.len() - 1);
}

/// The sync of a commit failed, and left its record in the cache and nowhere else, marked as written: ext4 does so. The next open
/// read it there, synced the file once more (which reported success and wrote nothing), and went on in a new segment, whose header
/// says where this one ends. Then the power went: the record was gone, what came after it was there, and the log was called damaged.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again() {
    let mem = MemFs::new();
    let (fault, db) = faulty(&mem);
    commit(&db, &rows(0..2));
    fault.arm(FaultPlan { at: 0, class: Some(OpClass::Sync), fault: Fault::HiddenLoss });
    let mut app = db.appender().unwrap();
    app.append(&series(0), 2_000, 2.0).unwrap();
    assert_eq!(app.commit().unwrap_err().applied(), Applied::Unknown);
    fault.disarm();
    drop((app, db));
    let db = open(&mem);
    assert_eq!(read_all(&db).len(), 7, "the cache has it");
    commit(&db, &[(1, 3_000, 3.0)]);
    for policy in mem.crash_policies(1, 20) {
        let db = open(&mem.crash(&policy));
        assert!(db.open_report().damage.is_empty(), "{policy:?}: {:?}", db.open_report());
        assert_eq!(read_all(&db).len(), 8, "{policy:?}");
    }
}
