//! Goal: a database that this format version wrote is read for ever, to the bit; one of a newer version is refused, and left as it is.
//!
//! Method: three small databases stand in `tests/golden-db/` beside what must be read from them: `small`, which was closed;
//! `crashed`, copied from under a living writer, with a torn record behind its end; `corrupt`, the twin of `small` with one byte wrong in a
//! block and one in the log. They are opened in place, read-only, and as a copy for writing.
//!
//! They are never made again: `SILVERBACK_MAKE_GOLDEN=1 cargo test --test golden_db` makes those that are missing, for the next
//! version of the format under new names. Left out of them are `LOCK`, `RESERVE`, empty directories, and the zeros that the log reserves.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use silverback::{Db, ErrorKind, Labels, Maintenance, Metadata, MetricType, Options, Selector, TimeRange};

fn options() -> Options {
    Options::default()
        .maintenance(Maintenance::Manual)
        .max_future(None)
        .threads(1)
        .block_range(Duration::from_secs(10))
        .out_of_order_window(Duration::from_secs(5))
        .wal_segment_bytes(1 << 16)
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden-db")
}

/// All files below a directory, by their paths in it.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn copy(files: &BTreeMap<PathBuf, Vec<u8>>, to: &Path) {
    for (path, bytes) in files {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Everything that can be read, as text: the truth that stands beside each database.
fn dump(db: &Db) -> String {
    let mut text = String::new();
    for damage in &db.open_report().damage {
        let place = damage.path().and_then(Path::file_name).unwrap().to_string_lossy();
        writeln!(text, "# damage: {:?} in {place} at {:?}", damage.kind(), damage.offset()).unwrap();
    }
    for (family, m) in db.families().unwrap() {
        writeln!(text, "# {family}: {:?} {:?} {:?}", m.metric_type, m.unit, m.help).unwrap();
    }
    for series in db.querier(TimeRange::ALL).unwrap().select(&Selector::all()).unwrap() {
        let series = series.unwrap();
        writeln!(text, "{}", series.labels()).unwrap();
        for sample in series.samples() {
            match sample {
                Ok(s) => writeln!(text, "{} {:016x}", s.t, s.v.to_bits()).unwrap(),
                Err(e) => {
                    let place = e.path().and_then(Path::file_name).unwrap().to_string_lossy();
                    writeln!(text, "{:?} in {place}", e.kind()).unwrap();
                    break;
                }
            }
        }
    }
    text
}

fn series(i: u64) -> Labels {
    Labels::from_pairs([("__name__", format!("m{}", i % 3)), ("i", i.to_string())]).unwrap()
}

/// What stands in a golden database: columns, flushed and loaded blocks, deletes, four segments of log, odd values.
fn make(dir: &Path) -> Db {
    let odd = [
        f64::from_bits(0x7ff0_0000_0000_0002),
        -0.0,
        f64::INFINITY,
        f64::from_bits(0xfff8_0000_0000_1234),
        1e-310,
    ];
    let metadata =
        |help: &str| Metadata { metric_type: MetricType::Counter, unit: "s".into(), help: help.into() };
    let db = Db::open(dir, options()).unwrap();
    let mut app = db.appender().unwrap();
    // Columns of all kinds, with shared timestamps of which one series lacks one.
    for (k, t) in (0..30u32).zip((-100_000..).step_by(300)) {
        for i in (0..12u32).filter(|i| (*i, k) != (5, 7)) {
            let odd = odd[i as usize % 5];
            let n = f64::from(k);
            let v =
                [1.0, n, n * 4_096.0, n / 4.0, n.sqrt(), if k % 13 == 5 { odd } else { n }][i as usize % 6];
            app.append(&series(u64::from(i)), t + i64::from(k * k % 7), v).unwrap();
        }
    }
    app.commit().unwrap();
    db.compact(&Default::default()).unwrap();
    for (k, t) in (0..30u32).zip((0..).step_by(1_000)) {
        for i in 0..20u32 {
            let even = f64::from(k * 3 + i) / 4.0;
            let v = odd.iter().copied().chain(std::iter::repeat(even)).nth(k as usize % 11).unwrap();
            app.append(&series(u64::from(i)), t, v).unwrap();
        }
    }
    app.set_metadata("m0", metadata("Zero.")).unwrap();
    app.commit().unwrap();
    db.maintain().unwrap();
    let mut bulk = db.bulk_loader().unwrap();
    let loaded = bulk.series(&series(2)).unwrap();
    bulk.extend(loaded, &[-50_000, -49_000, 3_000], &[0.1, f64::NAN, -7.0]).unwrap();
    bulk.finish().unwrap();
    assert!(db.delete(4_000..9_000, &r#"{i=~"1|3"}"#.parse().unwrap()).unwrap() > 0);
    drop(app);
    let mut db = db;
    for (k, t) in (0..3u32).zip(46_000..) {
        drop(db);
        db = Db::open(dir, options()).unwrap();
        let mut app = db.appender().unwrap();
        app.append(&series(u64::from(k) + 27), t, odd[k as usize]).unwrap();
        app.append(&series(1), t, f64::from(k)).unwrap();
        app.set_metadata("m1", metadata(&format!("One, {k}."))).unwrap();
        app.commit().unwrap();
    }
    db
}

/// The files as they are kept.
fn kept(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = contents(dir);
    files.retain(|path, _| path != Path::new("LOCK") && path != Path::new("RESERVE"));
    for (_, bytes) in files.iter_mut().filter(|(path, _)| path.starts_with("wal")) {
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        bytes.truncate(used);
    }
    files
}

/// Makes what is missing, if asked.
#[test]
fn make_what_is_missing() {
    if std::env::var_os("SILVERBACK_MAKE_GOLDEN").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let db = make(&dir.path().join("db"));
    let mut crashed = kept(&dir.path().join("db"));
    // Half of a record that was being written.
    let (_, newest) = crashed.iter_mut().rfind(|(path, _)| path.starts_with("wal")).unwrap();
    let torn = newest[newest.len() - 30..].to_vec();
    newest.extend(&torn[..20]);
    db.close().unwrap();
    let small = kept(&dir.path().join("db"));
    let mut corrupt = small.clone();
    let is_large = |(path, bytes): &(&PathBuf, &mut Vec<u8>)| path.ends_with("chunks") && bytes.len() > 200;
    let (_, chunks) = corrupt.iter_mut().rfind(is_large).unwrap();
    chunks[40] ^= 0x10;
    let (_, log) = corrupt.iter_mut().filter(|(path, _)| path.starts_with("wal")).nth(1).unwrap();
    let middle = log.len() / 2;
    log[middle] ^= 0x04;
    for (name, files) in [("small", small), ("crashed", crashed), ("corrupt", corrupt)] {
        let to = golden().join(name);
        if !to.exists() {
            copy(&files, &to);
            let db = Db::open_read_only(&to, options()).unwrap();
            fs::write(golden().join(format!("{name}.txt")), dump(&db)).unwrap();
        }
    }
}

#[test]
fn golden_databases_are_read_as_they_were_written() {
    let mut bytes = 0;
    for name in ["small", "crashed", "corrupt"] {
        let (dir, truth) =
            (golden().join(name), fs::read_to_string(golden().join(format!("{name}.txt"))).unwrap());
        let before = contents(&dir);
        bytes += before.values().map(Vec::len).sum::<usize>() + truth.len();
        assert_eq!(dump(&Db::open_read_only(&dir, options()).unwrap()), truth, "{name}");
        assert_eq!(contents(&dir), before, "{name}: a reader writes nothing");
        let copied = tempfile::tempdir().unwrap();
        copy(&before, copied.path());
        let db = Db::open(copied.path(), options()).unwrap();
        assert_eq!(dump(&db), truth, "{name}, opened for writing");
        assert_eq!(db.verify().unwrap().is_clean(), name != "corrupt", "{name}");
        drop(db);
        if name != "corrupt" {
            Db::open(copied.path(), options()).unwrap().compact(&Default::default()).unwrap();
            assert_eq!(dump(&Db::open(copied.path(), options()).unwrap()), truth, "{name}, compacted");
        }
    }
    assert!(bytes < 100_000, "{bytes}");
}

/// Seals a file that has one checksum over all of it, after its version was raised.
fn raise_version(bytes: &mut [u8], at: usize, seed: u32) {
    bytes[at] += 1;
    let (body, sum) = bytes.split_at_mut(bytes.len() - 4);
    let mut hash = crc32fast::Hasher::new_with_initial(seed);
    hash.update(body);
    sum.copy_from_slice(&hash.finalize().to_le_bytes());
}

#[test]
fn a_newer_version_is_refused_and_left_as_it_is() {
    let files = contents(&golden().join("small"));
    for part in ["MANIFEST-", "/meta"] {
        let mut newer = files.clone();
        let (path, bytes) =
            newer.iter_mut().rfind(|(path, _)| path.to_str().unwrap().contains(part)).unwrap();
        // The version stands behind a magic of eight bytes in one, of four in the other, which seeds the checksum.
        let magic = u32::from_le_bytes(bytes[..4].try_into().unwrap());
        match part {
            "/meta" => raise_version(bytes, 8, 0),
            _ => raise_version(bytes, 4, magic),
        }
        let path = path.clone();
        let dir = tempfile::tempdir().unwrap();
        copy(&newer, dir.path());
        for opened in [Db::open_read_only(dir.path(), options()), Db::open(dir.path(), options())] {
            let e = opened.unwrap_err();
            assert_eq!(
                (e.kind(), e.path()),
                (ErrorKind::NewerFormat, Some(dir.path().join(&path).as_path())),
                "{e}"
            );
        }
        let mut after = contents(dir.path());
        after.remove(Path::new("LOCK"));
        assert_eq!(after, newer, "{part}");
    }
}
