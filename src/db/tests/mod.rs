//! Goal: the life cycle as a caller sees it: what is committed is there after reopen, flush, merge, snapshot;
//! what is deleted is not. Method: short scenarios on the in-memory filesystem with a clock of their own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod flip;
mod found;
mod loads;
mod model;

use super::*;
use crate::env::Clock;
use crate::env::{CrashPolicy, FaultFs, Fs, ManualClock, MemFs};
use crate::error::AppendError;
use crate::model::{Labels, Metadata, MetricType, Selector, SeriesRef};

mod ceilings;
mod enumerate;
mod merges;
mod policies;
mod readers;
mod schedules;
mod wide;

pub(super) type Rows = BTreeMap<(String, i64), u64>;

pub(super) fn options(fs: &MemFs) -> Options {
    options_on(Arc::new(fs.clone()))
}

pub(super) fn options_on(fs: Arc<dyn Fs>) -> Options {
    Options::default()
        .env(fs, Arc::new(ManualClock::at(1_000_000_000)))
        .maintenance(Maintenance::Manual)
        .max_future(None)
        .threads(1)
        .block_range(Duration::from_secs(10))
        .out_of_order_window(Duration::from_secs(5))
}

pub(super) fn open(fs: &MemFs) -> Db {
    Db::open("/db", options(fs)).unwrap()
}

pub(super) fn series(i: u64) -> Labels {
    Labels::from_pairs([("__name__", format!("m{}", i % 3)), ("i", i.to_string())]).unwrap()
}

pub(super) fn commit(db: &Db, rows: &[(u64, i64, f64)]) -> Committed {
    let mut app = db.appender().unwrap();
    for &(i, t, v) in rows {
        app.append(&series(i), t, v).unwrap();
    }
    app.commit().unwrap()
}

pub(super) fn read_all(db: &Db) -> Rows {
    read(&db.querier(TimeRange::ALL).unwrap(), &Selector::all())
}

pub(super) fn read(querier: &Querier, selector: &Selector) -> Rows {
    let mut rows = Rows::new();
    for series in querier.select(selector).unwrap() {
        let series = series.unwrap();
        for sample in series.samples() {
            let sample = sample.unwrap();
            let old = rows.insert((series.labels().to_string(), sample.t), sample.v.to_bits());
            assert_eq!(old, None);
        }
    }
    rows
}

fn some_rows() -> Vec<(u64, i64, f64)> {
    (0..40i64).flat_map(|k| (0..5u64).map(move |i| (i, k * 1_000, (k * 7 + i as i64) as f64))).collect()
}

#[test]
fn committed_samples_survive_reopen_flush_merge_and_snapshot() {
    let fs = MemFs::new();
    let db = open(&fs);
    assert_eq!(commit(&db, &some_rows()).appended(), 200);
    let expected = read_all(&db);
    assert_eq!(expected.len(), 200);
    db.maintain().unwrap();
    assert!(db.stats().blocks >= 1, "{:?}", db.stats());
    assert_eq!(read_all(&db), expected);
    drop(db);
    let db = open(&fs);
    assert_eq!(read_all(&db), expected);
    db.compact(&Default::default()).unwrap();
    assert_eq!(db.stats().head_samples, 0);
    assert_eq!(read_all(&db), expected);
    db.snapshot("/copy").unwrap();
    let copy = Db::open("/copy", options(&fs)).unwrap();
    assert_eq!(read_all(&copy), expected);
    assert!(copy.verify().unwrap().is_clean());
    let report = db.verify().unwrap();
    assert!(report.is_clean() && report.bytes > 0, "{report:?}");
    db.close().unwrap();
    assert_eq!(db.appender().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn acknowledged_commits_survive_a_power_cut() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &some_rows());
    let expected = read_all(&db);
    let crashed = fs.crash(&CrashPolicy::DropUnsynced);
    drop(db);
    assert_eq!(read_all(&open(&crashed)), expected);
}

#[test]
fn deleted_samples_stay_deleted_and_later_ones_stay() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &some_rows());
    db.maintain().unwrap();
    let before = db.querier(TimeRange::ALL).unwrap();
    let selector: Selector = r#"{i="1"}"#.parse().unwrap();
    assert_eq!(db.delete(5_000..39_000, &selector).unwrap(), 34);
    assert_eq!(db.delete(5_000..39_000, &selector).unwrap(), 0);
    assert_eq!(read(&before, &selector).len(), 40, "a querier keeps its state");
    assert_eq!(read(&db.querier(TimeRange::ALL).unwrap(), &selector).len(), 6);
    commit(&db, &[(1, 38_500, -1.0)]);
    let expected = read_all(&db);
    assert_eq!(expected.len(), 200 - 34 + 1);
    for _ in 0..2 {
        let crashed = fs.crash(&CrashPolicy::DropUnsynced);
        assert_eq!(read_all(&open(&crashed)), expected);
        db.compact(&Default::default()).unwrap();
        assert_eq!(read_all(&db), expected);
        assert_eq!(db.stats().tombstones, 0);
    }
    drop(before);
    drop(db);
    assert_eq!(read_all(&open(&fs)), expected);
}

#[test]
fn a_querier_keeps_its_state_through_flush_merge_and_retention() {
    let fs = MemFs::new();
    let db = Db::open("/db", options(&fs).retention(Duration::from_secs(20))).unwrap();
    commit(&db, &some_rows());
    let querier = db.querier(TimeRange::ALL).unwrap();
    let expected = read_all(&db);
    db.maintain().unwrap();
    commit(&db, &[(0, 200_000, 1.0), (7, 300_000, 1.0)]);
    db.maintain().unwrap();
    assert_eq!(read(&querier, &Selector::all()), expected);
    assert!(db.stats().blocks_dropped > 0);
    assert_eq!(read_all(&db).len(), 1, "only the newest is young enough");
    drop(querier);
}

#[test]
fn retention_by_size_drops_the_oldest() {
    let fs = MemFs::new();
    let db = Db::open("/db", options(&fs).retention_bytes(1)).unwrap();
    commit(&db, &some_rows());
    db.compact(&Default::default()).unwrap();
    assert_eq!(db.stats().blocks, 0);
    assert!(read_all(&db).is_empty());
}

#[test]
fn a_bulk_load_appears_at_once_and_loses_to_the_head() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &[(0, 5_000, 1.0)]);
    let mut bulk = db.bulk_loader().unwrap();
    let s = bulk.series(&series(0)).unwrap();
    bulk.extend(s, &[4_000, 5_000, 6_000, 5_000], &[10.0, 11.0, 12.0, 13.0]).unwrap();
    assert_eq!(read_all(&db).len(), 1);
    let loaded = bulk.finish().unwrap();
    assert_eq!((loaded.appended(), loaded.conflicts()), (3, 1));
    let check = |db: &Db| {
        let values: Vec<f64> = read_all(db).values().map(|v| f64::from_bits(*v)).collect();
        assert_eq!(values, [10.0, 1.0, 12.0]);
    };
    check(&db);
    db.compact(&Default::default()).unwrap();
    check(&db);
    drop(db);
    check(&open(&fs));
    let unfinished = open(&fs).bulk_loader();
    drop(unfinished);
    assert!(fs.list(Path::new("/db/spill")).unwrap().is_empty(), "a dropped load leaves nothing");
}

#[test]
fn a_query_keeps_to_the_stores_ceilings() {
    let fs = MemFs::new();
    let db = Db::open("/db", options(&fs).max_query_series(4).max_query_samples(100)).unwrap();
    commit(&db, &some_rows());
    let outcome = |querier: &Querier, selector: &str| -> Result<usize> {
        let mut rows = 0;
        for series in querier.select(&selector.parse()?)? {
            for sample in series?.samples() {
                sample?;
                rows += 1;
            }
        }
        Ok(rows)
    };
    let kind = |outcome: Result<usize>| outcome.map_err(|e| e.kind());
    let querier = db.querier(TimeRange::ALL).unwrap();
    assert_eq!(kind(outcome(&querier, r#"{i=~"[01]"}"#)), Ok(80));
    assert_eq!(kind(outcome(&querier, r#"{i=~"[012]"}"#)), Err(ErrorKind::Ceiling), "120 samples");
    let querier = querier.max_samples(1_000);
    assert_eq!(kind(outcome(&querier, r#"{i=~"[0123]"}"#)), Ok(160));
    assert_eq!(kind(outcome(&querier, r#"{i=~".+"}"#)), Err(ErrorKind::Ceiling), "5 series");
    assert_eq!(kind(outcome(&querier.max_series(5), r#"{i=~".+"}"#)), Ok(200));
    assert_eq!(db.delete(TimeRange::ALL, &Selector::all()).unwrap(), 200, "a delete is no query");
    for wrong in [options(&fs).max_query_series(0), options(&fs).max_query_samples(0)] {
        assert_eq!(Db::open("/other", wrong).unwrap_err().kind(), ErrorKind::InvalidOptions);
    }
}

#[test]
fn a_part_of_a_batch_is_taken_back() {
    let db = open(&MemFs::new());
    let mut app = db.appender().unwrap();
    app.append(&series(0), 1_000, 1.0).unwrap();
    app.append(&series(1), 1_000, 1.0).unwrap();
    app.rollback_to(5);
    assert_eq!(app.pending(), 2);
    app.rollback_to(1);
    assert_eq!(app.commit().unwrap().appended(), 1);
    assert_eq!(read_all(&db).len(), 1);
}

#[test]
fn metadata_is_kept() {
    let fs = MemFs::new();
    let db = open(&fs);
    let metadata = Metadata { metric_type: MetricType::Counter, unit: "s".into(), help: "h".into() };
    let mut app = db.appender().unwrap();
    app.append(&series(0), 1_000, 1.0).unwrap();
    app.set_metadata("m0", metadata.clone()).unwrap();
    app.commit().unwrap();
    drop(app);
    drop(db);
    let db = open(&fs);
    assert_eq!(db.metadata("m0").unwrap(), Some(metadata.clone()));
    db.compact(&Default::default()).unwrap();
    drop(db);
    let db = open(&fs);
    assert_eq!(db.metadata("m0").unwrap(), Some(metadata));
    assert_eq!(db.metadata("m1").unwrap(), None);
}

#[test]
fn a_second_writer_is_refused_and_a_reader_writes_nothing() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &some_rows());
    let error = Db::open("/db", options(&fs)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    let before = fs.operations();
    let reader = Db::open_read_only("/db", options(&fs)).unwrap();
    assert_eq!(read_all(&reader), read_all(&db));
    assert_eq!(reader.appender().unwrap_err().kind(), ErrorKind::ReadOnly);
    reader.close().unwrap();
    assert_eq!(fs.operations(), before, "a reader mutates nothing");
}

#[test]
fn foreign_and_missing_directories_are_refused() {
    let fs = MemFs::new();
    fs.create_dir(Path::new("/photos")).unwrap();
    fs.write("/photos/cat.jpg", b"meow").unwrap();
    let error = Db::open("/photos", options(&fs)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotADatabase);
    assert!(error.to_string().contains("cat.jpg"), "{error}");
    assert_eq!(fs.paths().iter().filter(|p| p.starts_with("/photos/")).count(), 1, "nothing was created");
    for open in [Db::open_read_only("/none", options(&fs)), Db::open("/none", options(&fs).create(false))] {
        assert_eq!(open.unwrap_err().kind(), ErrorKind::NotADatabase);
    }
}

#[test]
fn a_full_disk_refuses_a_commit_and_nothing_else() {
    let mem = MemFs::new();
    let db = Db::open("/db", options(&mem)).unwrap();
    commit(&db, &some_rows());
    let expected = read_all(&db);
    mem.limit_bytes(0);
    let mut app = db.appender().unwrap();
    for k in 0..200_000i64 {
        app.append(
            &series(9),
            50_000 + k,
            f64::from_bits(k.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        )
        .unwrap();
    }
    let error = app.commit().unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::NoSpace, crate::Applied::No), "{error}");
    assert_eq!(read_all(&db), expected);
    mem.limit_bytes(u64::MAX);
    assert_eq!(app.commit().unwrap().appended(), 200_000, "the samples were kept for another try");
    let after = read_all(&db);
    let crashed = mem.crash(&CrashPolicy::DropUnsynced);
    assert_eq!(read_all(&open(&crashed)), after);
}

#[test]
fn a_failed_sync_poisons_the_handle() {
    use crate::env::{Fault, FaultPlan, OpClass};
    let mem = MemFs::new();
    let fault = FaultFs::new(Arc::new(mem.clone()));
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let listen = move |event: &Event| {
        if matches!(event, Event::Poisoned { .. }) {
            count.fetch_add(1, Ordering::SeqCst);
        }
    };
    let db = Db::open("/db", options_on(Arc::new(fault.clone())).on_event(listen)).unwrap();
    commit(&db, &[(0, 1_000, 1.0)]);
    fault.arm(FaultPlan { fault: Fault::LostSync, class: Some(OpClass::Sync), at: 0 });
    let mut app = db.appender().unwrap();
    app.append(&series(0), 2_000, 2.0).unwrap();
    let error = app.commit().unwrap_err();
    assert_eq!(error.applied(), crate::Applied::Unknown, "{error}");
    fault.disarm();
    app.append(&series(0), 3_000, 3.0).unwrap();
    assert_eq!(app.commit().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(told.load(Ordering::SeqCst), 1);
    assert!(!read_all(&db).is_empty(), "reads go on");
    drop(app);
    drop(db);
    let rows = read_all(&open(&mem));
    assert_eq!(rows.len(), 1, "the dropped commit is gone, the acknowledged one is there");
}

#[test]
fn what_a_step_did_is_told_before_the_next_step() {
    let fs = MemFs::new();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (noted, seen) = (Arc::clone(&told), fs.clone());
    let listen = move |event: &Event| {
        if matches!(event, Event::Flushed { .. }) {
            let is_meta = |path: &std::path::PathBuf| path.ends_with("meta");
            noted.lock().unwrap().push(seen.paths().iter().filter(|path| is_meta(path)).count());
        }
    };
    let db = Db::open("/db", options(&fs).on_event(listen)).unwrap();
    commit(&db, &some_rows());
    db.compact(&Default::default()).unwrap();
    assert_eq!(*told.lock().unwrap(), [1, 2, 3, 4], "blocks on disk at each flush that was told");
}

#[test]
fn a_damaged_block_is_set_aside_and_the_rest_served() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &some_rows());
    db.maintain().unwrap();
    commit(&db, &[(0, 60_000, 1.0)]);
    drop(db);
    let meta = fs.paths().into_iter().find(|p| p.ends_with("meta")).unwrap();
    fs.flip_bit(&meta, 100).unwrap();
    let reader = Db::open_read_only("/db", options(&fs)).unwrap();
    assert_eq!((reader.open_report().damage.len(), reader.open_report().quarantined.len()), (1, 0));
    drop(reader);
    let db = open(&fs);
    let report = db.open_report();
    assert_eq!((report.damage.len(), report.quarantined.len()), (1, 1), "{report:?}");
    assert_eq!(report.damage[0].path(), Some(meta.as_path()));
    assert!(!read_all(&db).is_empty());
    drop(db);
    let db = open(&fs);
    assert!(db.open_report().damage.is_empty(), "it is aside now");
}

#[test]
fn a_block_with_a_missing_file_is_set_aside() {
    for file in crate::block::FILES {
        let fs = MemFs::new();
        let db = open(&fs);
        commit(&db, &some_rows());
        db.compact(&Default::default()).unwrap();
        drop(db);
        let path = fs.paths().into_iter().find(|p| p.ends_with(file)).unwrap();
        fs.remove_file(&path).unwrap();
        let db = open(&fs);
        let report = db.open_report();
        assert_eq!((report.damage.len(), report.quarantined.len()), (1, 1), "{file}: {report:?}");
        assert_eq!(report.damage[0].path(), Some(path.as_path()));
    }
}

#[test]
fn a_damaged_manifest_offers_the_one_before() {
    let fs = MemFs::new();
    let db = open(&fs);
    commit(&db, &some_rows());
    db.maintain().unwrap();
    let expected = read_all(&db);
    drop(db);
    let manifests: Vec<u64> = fs
        .paths()
        .iter()
        .filter_map(|p| layout::manifest_generation(p.strip_prefix("/db").ok()?.to_str()?))
        .collect();
    let newest = *manifests.iter().max().unwrap();
    fs.flip_bit(format!("/db/MANIFEST-{newest}"), 77).unwrap();
    let error = Db::open("/db", options(&fs)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let offered = newest - 1;
    assert!(error.to_string().contains(&format!("manifest_generation({offered})")), "{error}");
    let db = Db::open("/db", options(&fs).manifest_generation(offered)).unwrap();
    // What the lost generation alone named is in the quarantine; the rest is served.
    assert!(read_all(&db).iter().all(|row| expected.get(row.0) == Some(row.1)));
    drop(db);
    open(&fs);
}

#[test]
fn commits_of_many_threads_are_whole() {
    let fs = MemFs::new();
    let db = open(&fs);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3u64)
            .map(|w| {
                let db = db.clone();
                scope.spawn(move || {
                    for k in 0..60i64 {
                        let rows: Vec<_> = (0..40).map(|i| (w * 100 + i, k * 1_000, k as f64)).collect();
                        assert_eq!(commit(&db, &rows).appended(), 40);
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let mut per_commit: BTreeMap<(u64, i64), usize> = BTreeMap::new();
                for ((labels, t), _) in read_all(&db) {
                    let i: u64 = labels.split('"').nth(3).unwrap().parse().unwrap();
                    *per_commit.entry((i / 100, t)).or_default() += 1;
                }
                assert!(per_commit.values().all(|n| *n == 40), "no half commit is seen");
                db.maintain().unwrap();
            }
        });
        writers.into_iter().for_each(|w| w.join().unwrap());
        done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    assert_eq!(read_all(&db).len(), 3 * 60 * 40);
}
