//! Goal: a read-only open writes not one byte, changes no name, no mode and no time of change, and takes no lock that keeps a
//! writer out. Method: a real directory with all kinds of files in it, damage and left-overs of a crash included, is
//! described name by name (with a SHA-256 of what stands in each file) before and after a reader that asks for everything.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use silverback::{Cancel, Db, Labels, Maintenance, Options, Selector, TimeRange};

const HOUR_MS: i64 = 3_600_000;

/// What stands at a path: its mode, when it was changed (seconds, nanoseconds), its hash.
type Entry = (u32, (i64, i64), String);

fn describe(dir: &Path, into: &mut BTreeMap<String, Entry>) {
    let meta = std::fs::symlink_metadata(dir).unwrap();
    let hash = match meta.is_file() {
        true => {
            Sha256::digest(std::fs::read(dir).unwrap()).iter().map(|b| format!("{b:02x}")).collect::<String>()
        }
        false => "directory".to_owned(),
    };
    into.insert(dir.to_str().unwrap().to_owned(), (meta.mode(), (meta.ctime(), meta.ctime_nsec()), hash));
    if meta.is_dir() {
        for entry in std::fs::read_dir(dir).unwrap() {
            describe(&entry.unwrap().path(), into);
        }
    }
}

fn tree(dir: &Path) -> BTreeMap<String, Entry> {
    let mut found = BTreeMap::new();
    describe(dir, &mut found);
    found
}

fn options() -> Options {
    Options::default().maintenance(Maintenance::Manual).max_future(None).threads(1)
}

/// The samples of every series; a block that cannot be read is told by an error, which counts as an answer here.
fn read_everything(db: &Db) -> usize {
    let querier = db.querier(TimeRange::ALL).unwrap();
    let mut samples = 0;
    for series in querier.select(&Selector::all()).unwrap() {
        let Ok(series) = series else { return samples };
        samples += series.samples().filter(|s| s.is_ok()).count();
    }
    querier.label_names(&Selector::all()).unwrap();
    querier.label_values("__name__", &Selector::all()).unwrap();
    samples
}

fn labels(i: i64) -> Labels {
    Labels::from_pairs([("__name__", "m".to_owned()), ("i", i.to_string())]).unwrap()
}

fn commit(db: &Db, t_ms: i64) {
    let mut app = db.appender().unwrap();
    for i in 0..20 {
        app.append(&labels(i), t_ms + i, 0.5).unwrap();
    }
    app.commit().unwrap();
}

/// A directory with blocks, a delete, a log, a damaged block, and what a crash leaves behind.
fn make(dir: &Path) {
    let db = Db::open(dir, options()).unwrap();
    for hour in 0..12 {
        commit(&db, hour * HOUR_MS);
    }
    db.maintain().unwrap();
    let selector: Selector = r#"m{i="3"}"#.parse().unwrap();
    db.delete(0..HOUR_MS, &selector).unwrap();
    commit(&db, 13 * HOUR_MS);
    db.close().unwrap();
    for entry in std::fs::read_dir(dir.join("blocks")).unwrap().take(1) {
        std::fs::write(entry.unwrap().path().join("meta"), b"no block").unwrap();
    }
    std::fs::create_dir(dir.join("blocks/0-7200000-99.tmp")).unwrap();
    std::fs::write(dir.join("blocks/0-7200000-99.tmp/chunks"), b"half a block").unwrap();
    std::fs::write(dir.join("spill/1"), b"half a run").unwrap();
    std::fs::write(dir.join("MANIFEST-999.tmp"), b"half a manifest").unwrap();
}

#[test]
fn a_reader_writes_nothing_whatever_it_finds() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("db");
    make(&dir);
    let before = tree(&dir);
    for pass in ["whole", "damaged log"] {
        let before = tree(&dir);
        let db = Db::open_read_only(&dir, options()).unwrap();
        assert!(!db.open_report().damage.is_empty(), "{pass}: the damaged block is told");
        assert!(read_everything(&db) > 0, "{pass}");
        db.verify().unwrap();
        db.write_openmetrics(&mut String::new()).unwrap();
        db.stats();
        assert!(db.appender().is_err() && db.maintain().is_err() && db.compact(&Cancel::default()).is_err());
        assert!(db.delete(TimeRange::ALL, &Selector::all()).is_err() && db.bulk_loader().is_err());
        db.close().unwrap();
        assert_eq!(tree(&dir), before, "{pass}");
        // For the second pass: a bit of the log is flipped.
        let segment = std::fs::read_dir(dir.join("wal")).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&segment).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
    }
    println!("{} files and directories stayed as they were, twice", before.len());
}

#[test]
fn a_reader_beside_a_writer_writes_nothing_and_keeps_nobody_out() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("db");
    make(&dir);
    let writer = Db::open(&dir, options()).unwrap();
    commit(&writer, 14 * HOUR_MS);
    let before = tree(&dir);
    let reader = Db::open_read_only(&dir, options()).unwrap();
    assert_eq!(read_everything(&reader), read_everything(&writer));
    assert_eq!(tree(&dir), before);
    commit(&writer, 15 * HOUR_MS);
    drop(writer);
    Db::open(&dir, options()).expect("a reader holds no lock").close().unwrap();
}
