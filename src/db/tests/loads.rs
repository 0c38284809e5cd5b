//! Goal: a bulk load over what is there already, on a full disk, and ended at any moment. Method: loads with so little memory that
//! they spill, on the in-memory filesystem.

use super::*;

const HOUR: i64 = 3_600_000;

/// Ten thousand rows of each of five series, each 15 seconds, from a time on.
fn load(db: &Db, from: i64, value: f64) -> Result<Committed> {
    let mut bulk = db.bulk_loader()?;
    for part in 0..10 {
        for i in 0..5 {
            let s = bulk.series(&series(i))?;
            let t: Vec<i64> = (part * 1_000..(part + 1) * 1_000).map(|k| from + k * 15_000).collect();
            let v: Vec<f64> = t.iter().map(|t| value + (t / 15_000 % 100) as f64).collect();
            bulk.extend(s, &t, &v)?;
        }
        bulk.spill()?;
    }
    bulk.finish()
}

fn spilled(fs: &MemFs) -> usize {
    fs.list(Path::new("/db/spill")).unwrap().len()
}

fn blocks(fs: &MemFs) -> Vec<String> {
    let mut names: Vec<String> =
        fs.list(Path::new("/db/blocks")).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

fn contents(fs: &MemFs, below: &str) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let paths = fs.paths().into_iter().filter(|path| path.starts_with(below));
    paths.map(|path| (path.clone(), fs.read(&path).unwrap())).collect()
}

fn used(fs: &MemFs) -> u64 {
    contents(fs, "/").iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

fn hourly(fs: &MemFs) -> Db {
    Db::open("/db", options(fs).block_range(Duration::from_secs(7_200))).unwrap()
}

#[test]
fn the_same_load_again_changes_nothing_and_says_so() {
    let fs = MemFs::new();
    let db = hourly(&fs);
    let first = load(&db, 0, 1.0).unwrap();
    assert_eq!((first.appended(), first.series(), first.conflicts()), (50_000, 5, 0));
    assert_eq!((first.stored_equal(), first.stored_other()), (0, 0));
    let expected = read_all(&db);
    let again = load(&db, 0, 1.0).unwrap();
    assert_eq!((again.stored_equal(), again.stored_other()), (50_000, 0));
    assert!(read_all(&db) == expected);
    db.compact(&Default::default()).unwrap();
    assert!(read_all(&db) == expected && blocks(&fs).len() == 1);
    drop(db);
    assert!(read_all(&hourly(&fs)) == expected && spilled(&fs) == 0);
}

#[test]
fn a_load_wins_over_older_blocks_and_loses_to_the_head() {
    let fs = MemFs::new();
    let db = hourly(&fs);
    load(&db, 0, 1.0).unwrap();
    commit(&db, &[(0, 9_999 * 15_000, -1.0), (0, 9_999 * 15_000 + 1, -2.0), (7, 10_000 * 15_000, -3.0)]);
    // From the middle of what is stored on: 5,000 rows of each series are stored with another value, one of them in the head, too.
    let second = load(&db, 5_000 * 15_000, 2.0).unwrap();
    assert_eq!((second.stored_equal(), second.stored_other()), (0, 25_000));
    let check = |db: &Db| {
        let rows = read_all(db);
        let value = |i: u64, t: i64| f64::from_bits(rows[&(series(i).to_string(), t)]);
        assert_eq!(value(0, 4_999 * 15_000), 1.0 + 99.0);
        assert_eq!(value(0, 5_000 * 15_000), 2.0);
        assert_eq!(value(1, 9_999 * 15_000), 2.0 + 99.0);
        assert_eq!((value(0, 9_999 * 15_000), value(0, 9_999 * 15_000 + 1)), (-1.0, -2.0), "the head's");
        assert_eq!(rows.len(), 5 * 15_000 + 2);
    };
    check(&db);
    db.compact(&Default::default()).unwrap();
    check(&db);
    drop(db);
    check(&hourly(&fs));
}

#[test]
fn what_a_load_writes_is_left_alone_by_compaction() {
    let fs = MemFs::new();
    let db = hourly(&fs);
    load(&db, 100 * HOUR, 1.0).unwrap();
    let written = contents(&fs, "/db/blocks");
    db.compact(&Default::default()).unwrap();
    db.maintain().unwrap();
    assert!(written.len() == 4 && contents(&fs, "/db/blocks") == written);
}

#[test]
fn a_load_on_a_full_disk_fails_and_leaves_everything_as_it_was() {
    let fs = MemFs::new();
    let db = hourly(&fs);
    commit(&db, &some_rows());
    let (expected, before) = (read_all(&db), fs.paths());
    let mut failed = 0;
    for more in [0, 500, 5_000, 20_000, 40_000, 80_000, 120_000, 160_000] {
        fs.limit_bytes(used(&fs) + more);
        let outcome = load(&db, 0, 1.0);
        fs.limit_bytes(u64::MAX);
        let Err(e) = outcome else { break };
        assert_eq!((e.kind(), e.applied()), (ErrorKind::NoSpace, crate::Applied::No), "{more} bytes: {e}");
        failed += 1;
        assert!(read_all(&db) == expected && spilled(&fs) == 0, "{more} bytes");
        assert_eq!(fs.paths(), before, "{more} bytes");
    }
    assert!(failed > 3, "{failed} loads failed");
    assert_eq!(load(&db, 0, 1.0).unwrap().appended(), 50_000);
    commit(&db, &[(1, 10_000_000_000, 1.0)]);
}

#[test]
fn runs_of_a_load_that_was_cut_off_go_at_the_next_open() {
    let fs = MemFs::new();
    let db = hourly(&fs);
    commit(&db, &some_rows());
    let expected = read_all(&db);
    let mut bulk = db.bulk_loader().unwrap();
    let s = bulk.series(&series(1)).unwrap();
    bulk.extend(s, &[1, 2, 3], &[1.0; 3]).unwrap();
    bulk.spill().unwrap();
    assert_eq!(spilled(&fs), 1, "the load's directory");
    for policy in [CrashPolicy::DropUnsynced, CrashPolicy::KeepAll] {
        let crashed = fs.crash(&policy);
        let reopened = hourly(&crashed);
        assert_eq!(spilled(&crashed), 0);
        assert!(read_all(&reopened) == expected);
    }
    drop(bulk);
    assert_eq!(spilled(&fs), 0, "a load that was given up");
}
