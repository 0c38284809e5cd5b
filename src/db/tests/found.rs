//! Goal: what the random walks found once stays mended. Method: each find as a short scenario of its own.

use super::*;

fn delete(db: &Db, range: std::ops::Range<i64>, selector: &str) -> u64 {
    db.delete(range, &selector.parse().unwrap()).unwrap()
}

/// Deletes and loads take numbers that are not in the log; who waited for one to be synced waited for ever.
#[test]
fn nobody_waits_for_a_number_that_is_not_in_the_log() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &[(0, 5_000, 1.0), (1, 30_000, 1.0)]);
    assert_eq!(delete(&db, 30_000..30_001, r#"{i="1"}"#), 1);
    assert_eq!(commit(&db, &[(0, 5_000, 1.0)]).duplicates(), 1);
    db.bulk_loader().unwrap().finish().unwrap();
    assert_eq!(commit(&db, &[(0, 5_000, 1.0)]).duplicates(), 1);
    db.maintain().unwrap();
    assert_eq!(db.stats().blocks, 1);
}

/// The log said of itself that the number of a delete was durable, and a torn record behind it passed for damage.
#[test]
fn a_torn_commit_after_a_delete_is_no_damage() {
    let fs = MemFs::new();
    let db = Db::open("/db", options(&fs).sync(SyncPolicy::Never)).unwrap();
    commit(&db, &[(0, 1_000, 1.0), (1, 1_000, 1.0)]);
    delete(&db, 0..5_000, r#"{i="1"}"#);
    commit(&db, &[(0, 2_000, 2.0)]);
    commit(&db, &[(0, 3_000, 3.0)]);
    let writes = fs.describe_pending();
    let first = writes.iter().position(|unit| unit.starts_with("write /db/wal")).unwrap();
    for policy in [CrashPolicy::Without(first), CrashPolicy::Prefix(first), CrashPolicy::ZeroTail] {
        let db = open(&fs.crash(&policy));
        assert!(db.open_report().damage.is_empty(), "{policy:?}: {:?}", db.open_report());
        assert_eq!(read_all(&db).len(), 1, "{policy:?}: a prefix of the commits");
    }
}

/// On a full disk the last segment that held the metadata of families was removed before another one had it.
#[test]
fn metadata_survives_a_flush_on_a_full_disk() {
    let fs = MemFs::new();
    let db = open(&fs);
    let metadata = Metadata { metric_type: MetricType::Gauge, unit: String::new(), help: "h".into() };
    let mut app = db.appender().unwrap();
    app.append(&series(0), 1_000, 1.0).unwrap();
    app.set_metadata("m0", metadata.clone()).unwrap();
    app.commit().unwrap();
    db.compact(&Default::default()).unwrap();
    delete(&db, 0..5_000, r#"{i="0"}"#);
    db.compact(&Default::default()).unwrap();
    assert_eq!(db.stats().blocks, 0);
    app.append(&series(0), 2_000, 1.0).unwrap();
    app.commit().unwrap();
    db.delete(TimeRange::ALL, &Selector::all()).unwrap();
    fs.limit_bytes(0);
    let _full = db.compact(&Default::default());
    let crashed = fs.crash(&CrashPolicy::DropUnsynced);
    crashed.limit_bytes(u64::MAX);
    assert_eq!(open(&crashed).metadata("m0").unwrap(), Some(metadata));
}

/// A segment whose samples were all flushed stays until older ones go; a snapshot left it out, and the copy had a hole.
#[test]
fn a_snapshot_has_no_hole_in_its_log() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &[(0, 9_000, 1.0), (1, 100_000, 1.0)]);
    db.snapshot("/one").unwrap();
    commit(&db, &[(0, 9_500, 2.0)]);
    db.snapshot("/two").unwrap();
    db.maintain().unwrap();
    assert_eq!(db.stats().blocks, 1);
    db.snapshot("/three").unwrap();
    let copy = Db::open("/three", options(&fs)).unwrap();
    assert!(copy.open_report().damage.is_empty(), "{:?}", copy.open_report());
    assert_eq!(read_all(&copy), read_all(&db));
}

/// Where the newest row of a series had been deleted, a batch could bring two values at its time, and both were taken.
#[test]
fn a_batch_conflicts_with_itself_where_the_newest_row_was_deleted() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &[(0, 1_000, 1.0), (0, 2_000, 2.0)]);
    assert_eq!(delete(&db, 2_000..2_001, r#"{i="0"}"#), 1);
    let committed = commit(&db, &[(0, 2_000, 5.0), (0, 2_000, 6.0), (0, 2_000, 5.0)]);
    assert_eq!((committed.appended(), committed.duplicates(), committed.conflicts()), (1, 1, 1));
    let expected = read_all(&db);
    assert_eq!(expected.values().map(|v| f64::from_bits(*v)).collect::<Vec<_>>(), [1.0, 5.0]);
    drop(db);
    assert_eq!(read_all(&open(&fs)), expected);
}

/// A load was published before the commits that it came after were durable: a power cut could leave it without them.
#[test]
fn a_load_is_never_there_without_what_was_committed_before() {
    let fs = MemFs::new();
    let db = Db::open("/db", options(&fs).sync(SyncPolicy::Never)).unwrap();
    commit(&db, &[(0, 1_000, 1.0)]);
    let mut bulk = db.bulk_loader().unwrap();
    let loaded = bulk.series(&series(1)).unwrap();
    bulk.extend(loaded, &[500], &[2.0]).unwrap();
    bulk.finish().unwrap();
    let crashed = fs.crash(&CrashPolicy::DropUnsynced);
    assert_eq!(read_all(&open(&crashed)).len(), 2);
}

/// A damaged segment of the log was removed with the others once what could be read of it was flushed.
#[test]
fn a_damaged_segment_is_set_aside_and_not_removed() {
    let fs = MemFs::new();
    commit(&open(&fs), &[(0, 1_000, 1.0)]);
    commit(&open(&fs), &[(0, 2_000, 2.0)]);
    let first = fs.paths().into_iter().find(|p| p.starts_with("/db/wal/")).unwrap();
    let end = fs.read(&first).unwrap().iter().rposition(|b| *b != 0).unwrap() as u64;
    fs.flip_bit(&first, 8 * (end - 40)).unwrap();
    let rotten = fs.read(&first).unwrap();
    let db = open(&fs);
    assert_eq!(db.open_report().damage.len(), 1, "{:?}", db.open_report());
    db.compact(&Default::default()).unwrap();
    drop(db);
    let aside = Path::new("/db/quarantine").join(first.file_name().unwrap());
    assert_eq!(fs.read(aside).unwrap(), rotten);
    let db = open(&fs);
    assert!(db.open_report().damage.is_empty(), "it is aside now");
    assert_eq!(read_all(&db).len(), 1);
}
