//! Goal: what a database writes is its owner's alone, and a prepared directory leads it nowhere else.
//!
//! Method: real files. Everything that a busy store makes is looked at; symbolic links are laid where it reads and writes, to a
//! file whose bytes must not change and must not be served.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use silverback::{Db, Maintenance, Options, labels};

fn options() -> Options {
    Options::default()
        .maintenance(Maintenance::Manual)
        .max_future(None)
        .threads(1)
        .block_range(Duration::from_secs(10))
}

fn commit(db: &Db, from: i64) {
    let mut app = db.appender().unwrap();
    for k in from..from + 40 {
        app.append(&labels!("up", "job" => "node").unwrap(), k * 1_000, 1.0).unwrap();
    }
    app.commit().unwrap();
}

/// Every file and directory below, the top included.
fn all(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            found.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn files_are_0600_and_directories_0700() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = Db::open(&path, options()).unwrap();
    commit(&db, 0);
    db.maintain().unwrap();
    let mut bulk = db.bulk_loader().unwrap();
    let s = bulk.series(&labels!("up", "job" => "loaded").unwrap()).unwrap();
    bulk.extend(s, &[-5_000], &[1.0]).unwrap();
    bulk.finish().unwrap();
    db.delete(0..5_000, &r#"{job="node"}"#.parse().unwrap()).unwrap();
    db.snapshot(dir.path().join("copy")).unwrap();
    let found: Vec<PathBuf> = [path, dir.path().join("copy")].iter().flat_map(|d| all(d)).collect();
    let names = |part: &str| found.iter().any(|p| p.to_str().unwrap().contains(part));
    for part in ["LOCK", "RESERVE", "MANIFEST-", "tombstones-", "wal/0", "meta", "index", "chunks", "spill"] {
        assert!(names(part), "{part}: {found:?}");
    }
    for path in &found {
        let meta = fs::symlink_metadata(path).unwrap();
        let wanted = if meta.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(meta.permissions().mode() & 0o7777, wanted, "{}", path.display());
    }
}

/// A database, and a file outside of it that must not be touched.
fn prepared() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (path, outside) = (dir.path().join("db"), dir.path().join("outside"));
    let db = Db::open(&path, options()).unwrap();
    commit(&db, 0);
    db.close().unwrap();
    fs::write(&outside, b"not ours").unwrap();
    (dir, path, outside)
}

/// The first file of a directory whose name begins so.
fn first(dir: &Path, begin: &str) -> PathBuf {
    let mut names: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    names.into_iter().rfind(|p| p.file_name().unwrap().to_str().unwrap().starts_with(begin)).unwrap()
}

#[test]
fn links_in_the_place_of_lock_and_manifest_are_refused() {
    for name in ["LOCK", "MANIFEST-"] {
        let (_dir, path, outside) = prepared();
        let file = first(&path, name);
        if name == "MANIFEST-" {
            // Even to the right bytes.
            fs::copy(&file, &outside).unwrap();
        }
        let before = fs::read(&outside).unwrap();
        fs::remove_file(&file).unwrap();
        symlink(&outside, &file).unwrap();
        let error = Db::open(&path, options()).unwrap_err();
        assert_eq!(error.path(), Some(file.as_path()), "{error}");
        assert_eq!(fs::read(&outside).unwrap(), before, "{name}");
    }
}

#[test]
fn a_link_in_the_place_of_a_segment_is_reported_and_not_read() {
    let (_dir, path, outside) = prepared();
    let segment = first(&path.join("wal"), "0");
    fs::rename(&segment, &outside).unwrap();
    symlink(&outside, &segment).unwrap();
    let before = fs::read(&outside).unwrap();
    let db = Db::open(&path, options()).unwrap();
    let damage = &db.open_report().damage;
    assert!(damage.iter().any(|e| e.path() == Some(segment.as_path())), "{damage:?}");
    assert_eq!(db.stats().head_samples, 0);
    commit(&db, 100);
    db.compact(&Default::default()).unwrap();
    db.close().unwrap();
    assert_eq!(fs::read(&outside).unwrap(), before);
    assert!(fs::symlink_metadata(&segment).unwrap().is_symlink(), "it is left alone");
}

/// Names that the store is about to use lead nowhere either.
#[test]
fn links_in_the_place_of_new_files_are_not_written_through() {
    let (_dir, path, outside) = prepared();
    let segment = format!("{:020}", 2);
    for name in ["MANIFEST-2.tmp", "MANIFEST-3.tmp", "wal/", "RESERVE"] {
        let link = path.join(if name == "wal/" { format!("wal/{segment}") } else { name.to_owned() });
        let _old = fs::remove_file(&link);
        symlink(&outside, &link).unwrap();
    }
    if let Ok(db) = Db::open(&path, options()) {
        let mut app = db.appender().unwrap();
        app.append(&labels!("up").unwrap(), 1, 1.0).unwrap();
        let _either = app.commit();
        let _either = db.compact(&Default::default());
        drop(app);
    }
    assert_eq!(fs::read(&outside).unwrap(), b"not ours");
}

/// A name is parsed before anything is done with what bears it: what is no name of ours stays, and is not read.
#[test]
fn names_that_are_not_ours_lead_nowhere() {
    let (_dir, path, outside) = prepared();
    let db = Db::open(&path, options()).unwrap();
    db.compact(&Default::default()).unwrap();
    db.close().unwrap();
    let foreign = [
        "MANIFEST-18446744073709551616",
        "MANIFEST-+9",
        "MANIFEST-09",
        "MANIFEST-",
        "tombstones--1",
        "wal/1",
        "wal/0000000000000000000x",
        "wal/99999999999999999999",
        "blocks/0-1",
        "blocks/0-10000-x",
        "blocks/9223372036854775808-0-1",
        "notes.txt",
    ];
    for name in foreign {
        fs::write(path.join(name), b"not ours").unwrap();
    }
    let db = Db::open(&path, options()).unwrap();
    assert_eq!(db.stats().block_samples, 40);
    assert!(db.open_report().quarantined.is_empty(), "{:?}", db.open_report());
    commit(&db, 100);
    db.compact(&Default::default()).unwrap();
    db.close().unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"not ours");
    for name in foreign {
        assert_eq!(fs::read(path.join(name)).unwrap(), b"not ours", "{name}");
    }
}
