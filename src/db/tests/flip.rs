//! Goal: bit rot gives the right answer, a typed error that names file and offset, or a loss that open lists; never
//! other samples, never a panic.
//!
//! Method: two small databases that hold every kind of file and of record: one closed, one whose process was killed.
//! Bits are flipped one by one, each in a copy; the copy is opened read-only (some of them for writing too), everything is
//! read and verified. Of what is zeros or never read (reserved space), and of all else unless
//! `SILVERBACK_FLIPS` is `all`, only every n-th bit is taken; the counts say how many.

use std::path::PathBuf;

use super::*;
use crate::env::EntryKind;

/// Of the bits that mean something, one in so many is flipped.
const STRIDE: u64 = 5;
/// Of the bits of reserved space.
const RESERVED_STRIDE: u64 = 200_003;
/// Of the flips, one in so many is opened for writing too.
const WRITER_STRIDE: u64 = 7;

/// A database and what is true of it.
struct Subject {
    fs: MemFs,
    truth: Rows,
    /// Values that another one has replaced.
    replaced: Rows,
    /// What the last commit added, if the log does not say that it was durable.
    last_commit: Rows,
}

fn flip_options(fs: &MemFs) -> Options {
    options(fs).wal_segment_bytes(1 << 16)
}

fn flip_open(fs: &MemFs) -> Db {
    Db::open("/db", flip_options(fs)).unwrap()
}

fn subject(closed: bool) -> Subject {
    let fs = MemFs::new();
    let db = flip_open(&fs);
    let mut app = db.appender().unwrap();
    for k in 0..45i64 {
        for i in 0..4u64 {
            app.append(&series(i), k * 1_000, (k * 3 + i as i64) as f64 / 4.0).unwrap();
        }
    }
    let metadata = Metadata { metric_type: MetricType::Counter, unit: "seconds".into(), help: "h".into() };
    app.set_metadata("m0", metadata.clone()).unwrap();
    app.commit().unwrap();
    db.maintain().unwrap();
    let before = read_all(&db);
    let mut bulk = db.bulk_loader().unwrap();
    let loaded = bulk.series(&series(2)).unwrap();
    bulk.extend(loaded, &[-50_000, -49_000, 3_000], &[0.1, f64::NAN, -7.0]).unwrap();
    bulk.finish().unwrap();
    assert!(db.delete(4_000..9_000, &r#"{i=~"1|3"}"#.parse().unwrap()).unwrap() > 0);
    let mut db = db;
    for k in 0..3i64 {
        drop(app);
        drop(db);
        db = flip_open(&fs);
        app = db.appender().unwrap();
        app.append(&series(k as u64 + 7), 46_000 + k, -0.0).unwrap();
        app.append(&series(1), 46_000 + k, f64::from_bits(0x7ff0_0000_0000_0002)).unwrap();
        app.set_metadata("m1", Metadata { help: format!("{k}"), ..metadata.clone() }).unwrap();
        app.commit().unwrap();
    }
    let truth = read_all(&db);
    let last = truth.iter().filter(|((_, t), _)| *t == 46_002).map(|(k, v)| (k.clone(), *v)).collect();
    let replaced = before.into_iter().filter(|(key, bits)| truth.get(key).is_some_and(|v| v != bits));
    let replaced: Rows = replaced.collect();
    assert_eq!(replaced.len(), 1);
    let fs = match closed {
        true => {
            drop(app);
            db.close().unwrap();
            fs
        }
        false => fs.fork(),
    };
    Subject { fs, truth, replaced, last_commit: if closed { Rows::new() } else { last } }
}

/// The kind of a file, by its place.
fn kind(path: &Path) -> &'static str {
    let text = path.to_str().unwrap();
    let kinds = ["MANIFEST", "tombstones", "wal", "meta", "index", "chunks", "times", "LOCK", "RESERVE"];
    kinds.into_iter().find(|kind| text.strip_prefix("/db/").unwrap().contains(kind)).unwrap()
}

/// What came of a flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// All is there, and verify finds nothing: the bit means nothing.
    Unnoticed,
    /// All is there; verify names the fault.
    RightAndFound,
    /// Open refuses.
    Refused,
    /// Open lists the damage and serves the rest.
    Listed,
    /// A read ends in an error.
    ReadFails,
    /// What was not known to be durable is gone.
    TailLost,
}

/// Everything that can be read, and every error met.
fn read_what_can_be(db: &Db) -> (Rows, Vec<Error>) {
    let (mut rows, mut errors) = (Rows::new(), Vec::new());
    errors.extend(db.families().err());
    let querier = db.querier(TimeRange::ALL).unwrap();
    errors.extend(querier.label_names(&Selector::all()).err());
    errors.extend(querier.label_values("i", &Selector::all()).err());
    match querier.select(&Selector::all()) {
        Err(e) => errors.push(e),
        Ok(set) => {
            for series in set {
                let Ok(series) = series.map_err(|e| errors.push(e)) else { break };
                for sample in series.samples() {
                    let Ok(sample) = sample.map_err(|e| errors.push(e)) else { break };
                    rows.insert((series.labels().to_string(), sample.t), sample.v.to_bits());
                }
            }
        }
    }
    (rows, errors)
}

/// An error of damage names file and place.
fn check_error(e: &Error, path: &Path) {
    assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat), "{e:?}");
    let text = e.to_string();
    assert_eq!(e.path(), Some(path), "{text}");
    assert!(e.offset().is_some() || text.contains("offset "), "{text}");
}

impl Subject {
    /// What is made of a flipped copy by one who opened it.
    fn judge(&self, opened: Result<Db>, path: &Path) -> Outcome {
        let db = match opened {
            Ok(db) => db,
            Err(e) => {
                check_error(&e, path);
                return Outcome::Refused;
            }
        };
        let listed = &db.open_report().damage;
        let (rows, errors) = read_what_can_be(&db);
        listed.iter().chain(&errors).for_each(|e| check_error(e, path));
        let report = db.verify().unwrap();
        let damaged = !listed.is_empty() || !errors.is_empty();
        for (key, bits) in &rows {
            let replaced = damaged && self.replaced.get(key) == Some(bits);
            assert!(self.truth.get(key) == Some(bits) || replaced, "{key:?} {bits:x} is not true");
        }
        if damaged {
            assert!(!report.is_clean());
            return if listed.is_empty() { Outcome::ReadFails } else { Outcome::Listed };
        }
        let lost = self.truth.len() - rows.len();
        if lost > 0 {
            assert!(
                lost == self.last_commit.len() && self.last_commit.keys().all(|key| !rows.contains_key(key))
            );
            assert_eq!(kind(path), "wal");
            return Outcome::TailLost;
        }
        report.faults.iter().for_each(|e| check_error(e, path));
        if report.is_clean() { Outcome::Unnoticed } else { Outcome::RightAndFound }
    }

    fn reader(&self, path: &Path, bit: u64) -> Outcome {
        let fs = self.fs.fork();
        fs.flip_bit(path, bit).unwrap();
        let before = fs.operations();
        let outcome = self.judge(Db::open_read_only("/db", flip_options(&fs)), path);
        assert_eq!(fs.operations(), before, "a reader changes nothing");
        outcome
    }

    /// As a writer, that goes on writing: nothing of what could be read goes, now or at the next opening.
    fn writer(&self, path: &Path, bit: u64, seen: Outcome) {
        let fs = self.fs.fork();
        fs.flip_bit(path, bit).unwrap();
        let files = fs.paths().len();
        let outcome = self.judge(Db::open("/db", flip_options(&fs)), path);
        assert_eq!(outcome, seen);
        assert!(fs.paths().len() >= files, "open removes nothing");
        let Ok(db) = Db::open("/db", flip_options(&fs)) else { return };
        let (rows, _) = read_what_can_be(&db);
        let rotten = self.fs.fork();
        rotten.flip_bit(path, bit).unwrap();
        let rotten = rotten.read(path).unwrap();
        commit(&db, &[(0, 47_000, 5.0)]);
        // A block that cannot be read cannot be merged.
        let _merged = db.compact(&Default::default()).map_err(|e| check_error(&e, path));
        drop(db);
        let (after, errors) = read_what_can_be(&flip_open(&fs));
        errors.iter().for_each(|e| check_error(e, path));
        let lost = rows.iter().filter(|(key, bits)| after.get(*key) != Some(*bits)).count();
        assert!(lost == 0 || !errors.is_empty(), "{lost} samples could be read before, and are gone");
        if matches!(seen, Outcome::Listed | Outcome::ReadFails) {
            let kept = || fs.paths().iter().any(|path| fs.read(path).unwrap() == rotten);
            // A block of which only look-ups are damaged is written anew whole.
            let whole = self.truth.iter().all(|(key, bits)| after.get(key) == Some(bits));
            assert!(whole || kept(), "what could not be read is gone");
        }
    }

    /// The bits of a file to flip, and how many it has.
    fn bits(&self, path: &Path) -> (Vec<u64>, u64) {
        let bytes = self.fs.read(path).unwrap();
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last as u64 + 1) * 8;
        let all = std::env::var("SILVERBACK_FLIPS").is_ok_and(|value| value == "all");
        let stride = if all { 1 } else { STRIDE };
        let reserved = (used..bytes.len() as u64 * 8).step_by(RESERVED_STRIDE as usize);
        ((0..used).step_by(stride as usize).chain(reserved).collect(), bytes.len() as u64 * 8)
    }
}

fn flip_all(subject: &Subject, name: &str) -> BTreeMap<(&'static str, Outcome), u64> {
    let mut counts = BTreeMap::new();
    let mut sizes: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    for path in subject.fs.paths() {
        let (bits, size) = subject.bits(&path);
        let of_kind = sizes.entry(kind(&path)).or_default();
        *of_kind = (of_kind.0 + bits.len() as u64, of_kind.1 + size);
        for (n, bit) in bits.into_iter().enumerate() {
            let flip = Flip { path: &path, bit };
            let outcome = subject.reader(&path, bit);
            if (n as u64).is_multiple_of(WRITER_STRIDE) {
                subject.writer(&path, bit, outcome);
            }
            *counts.entry((kind(&path), outcome)).or_default() += 1;
            std::mem::forget(flip);
        }
    }
    for (kind, (flipped, size)) in sizes {
        let of_kind = counts.iter().filter(|((k, _), _)| *k == kind);
        let outcomes: Vec<String> = of_kind.map(|((_, outcome), n)| format!("{outcome:?} {n}")).collect();
        println!("{name} {kind}: {flipped} of {size} bits: {}", outcomes.join(", "));
    }
    counts
}

/// Says which flip it was if the test fails within.
struct Flip<'a> {
    path: &'a Path,
    bit: u64,
}

impl Drop for Flip<'_> {
    fn drop(&mut self) {
        println!("failed with bit {} of {} flipped", self.bit, self.path.display());
    }
}

#[test]
fn the_subject_holds_every_kind_of_file() {
    let subject = subject(true);
    let paths = subject.fs.paths();
    let of = |wanted: &str| paths.iter().filter(|path| kind(path) == wanted).collect::<Vec<&PathBuf>>();
    assert_eq!((of("MANIFEST").len(), of("tombstones").len()), (2, 1), "{paths:?}");
    assert!(of("wal").len() >= 3 && of("LOCK").len() == 1 && of("RESERVE").len() == 1, "{paths:?}");
    let reader = Db::open_read_only("/db", flip_options(&subject.fs)).unwrap();
    let levels: std::collections::BTreeSet<u8> =
        reader.shared().version().blocks.iter().map(|b| b.entry.level).collect();
    assert!(levels.len() >= 2, "{levels:?}");
    for file in crate::block::FILES {
        assert_eq!(of(file).len(), reader.stats().blocks as usize);
    }
    assert!(reader.verify().unwrap().is_clean());
    let quarantine = subject.fs.list(Path::new("/db/quarantine")).unwrap();
    assert!(quarantine.iter().all(|e| e.kind != EntryKind::File));
}

#[test]
fn flipped_bits_of_a_closed_database_are_found() {
    let counts = flip_all(&subject(true), "closed");
    for ((kind, outcome), n) in counts {
        // The log's reserved space, the manifest before, and what nobody reads.
        let means_nothing = ["LOCK", "RESERVE", "wal", "MANIFEST"].contains(&kind);
        assert!(outcome != Outcome::Unnoticed || means_nothing, "{kind}: {n} flips went unnoticed");
        assert!(outcome != Outcome::TailLost, "{kind}: {n}");
    }
}

#[test]
fn flipped_bits_of_a_killed_database_are_found() {
    let counts = flip_all(&subject(false), "killed");
    assert!(counts.keys().any(|(_, outcome)| *outcome == Outcome::TailLost));
}
