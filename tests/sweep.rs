//! Goal: whatever happens to the bytes of a database, a reader gets the right answer, an error that names the file, or
//! the one loss that is documented; never other samples, a panic, a hang, or memory out of proportion.
//!
//! Method: two real directories that hold every kind of file and of record, one of a store that was closed, one copied from under
//! a living one, as a killed process leaves it. Each file suffers every flipped bit, every shorter length, every sector of
//! 512 bytes zeroed, written over each other one, or swapped with it; every pair of files is swapped. After each, the directory is
//! opened read-only, everything is read and verified, and the result judged; some are opened for writing too, written
//! to and compacted. An allocator that counts tells the peak of memory, a clock the longest time.
//!
//! | outcome | what it is |
//! |---|---|
//! | right | all samples are there (verify may name what is wrong beside them) |
//! | clean error | open refuses, open lists damage, or a read ends in an error; each names the file |
//! | documented loss | the last commit, in the newest segment of the log, beyond what is known there to have been synced |
//! | silently wrong | anything else: none is allowed |
//!
//! Space that was only reserved (zeros behind the records of the log, and all of `RESERVE`) is cut to one sector, as on a filesystem
//! that cannot reserve, so that every bit of every file can be had; a third store keeps it, and each n-th bit and length of it is
//! damaged. What a load has spilled is read by that load alone, and damaged in `src/bulk/tests.rs`.
//!
//! The short form takes a part; `SILVERBACK_SWEEP=all cargo test --release --test sweep -- --nocapture` takes all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use silverback::{
    Columns, Db, Error, ErrorKind, Labels, Maintenance, Metadata, MetricType, Options, Selector, TimeRange,
};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Samples: value's bits by labels and time.
type Rows = BTreeMap<(String, i64), u64>;

/// The unit in which a disk writes.
const SECTOR: usize = 512;
/// No look at a damaged database may allocate more, beyond what the same look at a sound one does.
const MAX_MORE_BYTES: usize = 1 << 20;
/// No look may take longer, on a machine as busy as you like.
const MAX_TIME: Duration = Duration::from_secs(10);

fn options() -> Options {
    Options::default()
        .maintenance(Maintenance::Manual)
        .max_future(None)
        .threads(1)
        .block_range(Duration::from_secs(10))
        .out_of_order_window(Duration::from_secs(5))
        .wal_segment_bytes(1 << 16)
}

fn series(i: u64) -> Labels {
    Labels::from_pairs([("__name__", format!("m{}", i % 3)), ("i", i.to_string())]).unwrap()
}

/// Where files cost no disk, if there is such a place.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// A database, and what is true of it.
struct Subject {
    name: &'static str,
    dir: tempfile::TempDir,
    files: BTreeMap<PathBuf, Vec<u8>>,
    truth: Rows,
    /// Values that others have replaced: right again where the newer block cannot be read.
    replaced: Rows,
    /// The last commit, which the newest segment holds.
    last: Rows,
    newest_segment: PathBuf,
    /// Whether the space that was reserved is there.
    reserved: bool,
}

impl Subject {
    fn new(closed: bool, reserved: bool) -> Subject {
        let built = directory();
        let path = built.path().join("db");
        let db = Db::open(&path, options()).unwrap();
        let metadata =
            |help: &str| Metadata { metric_type: MetricType::Counter, unit: "s".into(), help: help.into() };
        let mut app = db.appender().unwrap();
        // A block of columns, with shared timestamps of which one series lacks one.
        for k in 0..30i64 {
            for i in (0..20u32).filter(|i| (*i, k) != (5, 7)) {
                let v = match i {
                    6 => 0.1 * k as f64,
                    14.. => (k as f64 + f64::from(i)).sqrt(),
                    _ => f64::from(i),
                };
                app.append(&series(u64::from(i)), -100_000 + 300 * k + k * k % 7, v).unwrap();
            }
        }
        app.commit().unwrap();
        db.compact(&Default::default()).unwrap();
        for k in 0..30i64 {
            for i in 0..27u32 {
                app.append(&series(u64::from(i)), k * 1_000, (k * 3 + i64::from(i)) as f64 / 4.0).unwrap();
            }
        }
        app.set_metadata("m0", metadata("zero")).unwrap();
        app.commit().unwrap();
        db.maintain().unwrap();
        let before = read(&db).0;
        let mut bulk = db.bulk_loader().unwrap();
        let loaded = bulk.series(&series(2)).unwrap();
        bulk.extend(loaded, &[-50_000, -49_000, 3_000], &[0.1, f64::NAN, -7.0]).unwrap();
        bulk.finish().unwrap();
        assert!(db.delete(4_000..9_000, &r#"{i=~"1|3"}"#.parse().unwrap()).unwrap() > 0);
        let mut db = db;
        for k in 0..3i64 {
            drop(app);
            drop(db);
            db = Db::open(&path, options()).unwrap();
            app = db.appender().unwrap();
            app.append(&series(k.cast_unsigned() + 27), 46_000 + k, -0.0).unwrap();
            app.append(&series(1), 46_000 + k, f64::from_bits(0x7ff0_0000_0000_0002)).unwrap();
            app.set_metadata("m1", metadata(&k.to_string())).unwrap();
            app.commit().unwrap();
        }
        let truth = read(&db).0;
        if closed {
            drop(app);
            db.close().unwrap();
        }
        let mut files = contents(&path);
        if !reserved {
            let has_reserve = |path: &&PathBuf| path.starts_with("wal") || path.ends_with("RESERVE");
            for path in files.keys().filter(has_reserve).cloned().collect::<Vec<_>>() {
                let bytes = files.get_mut(&path).unwrap();
                bytes.truncate(used(bytes).next_multiple_of(SECTOR) + SECTOR);
            }
        }
        let dir = directory();
        copy(&files, dir.path());
        let replaced = before.into_iter().filter(|(key, bits)| truth.get(key).is_some_and(|v| v != bits));
        let newest_segment = files.keys().rfind(|p| p.starts_with("wal")).unwrap().clone();
        Subject {
            name: if closed { "closed" } else { "killed" },
            reserved,
            dir,
            replaced: replaced.collect(),
            last: truth.iter().filter(|((_, t), _)| *t == 46_002).map(|(k, v)| (k.clone(), *v)).collect(),
            truth,
            files,
            newest_segment,
        }
    }
}

/// All files below a directory, by their paths in it.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => {
                    files.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
    }
    files
}

fn copy(files: &BTreeMap<PathBuf, Vec<u8>>, to: &Path) {
    for dir in ["wal", "blocks", "spill", "quarantine"] {
        fs::create_dir_all(to.join(dir)).unwrap();
    }
    for (path, bytes) in files {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Everything that can be read, and every error met.
fn read(db: &Db) -> (Rows, Vec<Error>) {
    let (mut rows, mut errors) = (Rows::new(), Vec::new());
    let querier = db.querier(TimeRange::ALL).unwrap();
    errors.extend(db.families().err());
    errors.extend(querier.label_names(&Selector::all()).err());
    errors.extend(querier.label_values("i", &Selector::all()).err());
    let set = match querier.select(&Selector::all()) {
        Ok(set) => set,
        Err(e) => return (rows, vec![e]),
    };
    let mut columns = Columns::default();
    for series in set {
        let Ok(series) = series.map_err(|e| errors.push(e)) else { break };
        let mut samples = series.samples();
        loop {
            columns.clear();
            match samples.read_into(&mut columns, 1_000) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) => {
                    errors.push(e);
                    break;
                }
            }
            let labels = series.labels().to_string();
            let found = columns.t.iter().zip(&columns.v);
            rows.extend(found.map(|(t, v)| ((labels.clone(), *t), v.to_bits())));
        }
    }
    (rows, errors)
}

/// What is done to the files.
#[derive(Clone, Debug)]
enum Damage {
    Bit(PathBuf, usize),
    Cut(PathBuf, usize),
    ZeroSector(PathBuf, usize),
    /// The first one is written over the second one too.
    DoubleSector(PathBuf, usize, usize),
    /// The first one is swapped with the second, later one.
    SwapSector(PathBuf, usize, usize),
    SwapFiles(PathBuf, PathBuf),
}

impl Damage {
    fn kind(&self) -> &'static str {
        match self {
            Damage::Bit(..) => "bits flipped",
            Damage::Cut(..) => "truncated",
            Damage::ZeroSector(..) => "sectors zeroed",
            Damage::DoubleSector(..) => "sectors doubled",
            Damage::SwapSector(..) => "sectors swapped",
            Damage::SwapFiles(..) => "files swapped",
        }
    }

    /// The files as they are afterwards.
    fn apply(&self, subject: &Subject) -> Vec<(PathBuf, Vec<u8>)> {
        let of = |path: &PathBuf| subject.files[path].clone();
        let sector = |bytes: &[u8], n: usize| n * SECTOR..bytes.len().min((n + 1) * SECTOR);
        match self {
            Damage::Bit(path, bit) => {
                let mut bytes = of(path);
                bytes[bit / 8] ^= 1 << (bit % 8);
                vec![(path.clone(), bytes)]
            }
            Damage::Cut(path, length) => vec![(path.clone(), of(path)[..*length].to_vec())],
            Damage::ZeroSector(path, n) => {
                let mut bytes = of(path);
                let range = sector(&bytes, *n);
                bytes[range].fill(0);
                vec![(path.clone(), bytes)]
            }
            Damage::DoubleSector(path, n, over) => {
                let mut bytes = of(path);
                let (this, over) = (sector(&bytes, *n), sector(&bytes, *over));
                let common = this.len().min(over.len());
                bytes.copy_within(this.start..this.start + common, over.start);
                vec![(path.clone(), bytes)]
            }
            Damage::SwapSector(path, n, m) => {
                let before = of(path);
                let (one, two) = (sector(&before, *n), sector(&before, *m));
                let parts = [0..one.start, two.clone(), one.end..two.start, one, two.end..before.len()];
                vec![(path.clone(), parts.into_iter().flat_map(|part| before[part].to_vec()).collect())]
            }
            Damage::SwapFiles(a, b) => vec![(a.clone(), of(b)), (b.clone(), of(a))],
        }
    }
}

/// How much of it all is tried.
struct Net {
    bits: usize,
    cuts: usize,
    /// Of zeros that were only reserved.
    reserved: usize,
    files: usize,
    /// One in so many is opened for writing too.
    writers: usize,
}

impl Net {
    fn chosen() -> Net {
        match std::env::var("SILVERBACK_SWEEP").is_ok_and(|v| v == "all") {
            true => Net { bits: 1, cuts: 1, reserved: 8_009, files: 1, writers: 41 },
            false => Net { bits: 41, cuts: 13, reserved: 200_003, files: 3, writers: 97 },
        }
    }
}

/// How much of a file is more than reserved space.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1)
}

/// All that is done to a subject: to the reserved space of one that keeps it, to everything of the others.
fn damages(subject: &Subject, net: &Net) -> Vec<Damage> {
    let mut all = Vec::new();
    for (path, bytes) in &subject.files {
        let sectors = bytes.len().div_ceil(SECTOR);
        if subject.reserved {
            let behind = used(bytes).next_multiple_of(SECTOR).min(bytes.len());
            let places = (behind..bytes.len()).step_by(net.reserved.div_ceil(8));
            all.extend(places.clone().map(|at| Damage::Bit(path.clone(), at * 8 + at % 8)));
            all.extend(places.map(|length| Damage::Cut(path.clone(), length)));
            continue;
        }
        all.extend((0..bytes.len() * 8).step_by(net.bits).map(|bit| Damage::Bit(path.clone(), bit)));
        all.extend((0..bytes.len()).step_by(net.cuts).map(|n| Damage::Cut(path.clone(), n)));
        all.extend((0..sectors).map(|n| Damage::ZeroSector(path.clone(), n)));
        for n in 0..sectors {
            let others = (0..sectors).filter(|m| *m != n);
            all.extend(others.map(|m| Damage::DoubleSector(path.clone(), n, m)));
            all.extend((n + 1..sectors).map(|m| Damage::SwapSector(path.clone(), n, m)));
        }
    }
    if subject.reserved {
        return all;
    }
    let paths: Vec<&PathBuf> = subject.files.keys().collect();
    let pairs = paths.iter().enumerate().flat_map(|(i, a)| paths[i + 1..].iter().map(move |b| (*a, *b)));
    all.extend(pairs.step_by(net.files).map(|(a, b)| Damage::SwapFiles(a.clone(), b.clone())));
    all
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    CleanError,
    Loss,
}

/// An error of damage names a file that was damaged (or its block), and a place unless it is about whole files.
fn check_error(e: &Error, dir: &Path, damaged: &[PathBuf], whole_files: bool) -> Result<(), String> {
    let kinds = [ErrorKind::Corrupt, ErrorKind::NewerFormat];
    let text = e.to_string();
    // Of two files of a block that do not fit one another nobody can tell which is the wrong one.
    let beside = |d: &Path, path: &Path| whole_files && d.parent() == path.parent();
    let names =
        |path: &Path| damaged.iter().map(|d| dir.join(d)).any(|d| d.starts_with(path) || beside(&d, path));
    let placed = whole_files || e.offset().is_some() || text.contains("offset ");
    match kinds.contains(&e.kind()) && e.path().is_some_and(names) && placed {
        true => Ok(()),
        false => Err(format!("not a clean error: {e:?}")),
    }
}

impl Subject {
    /// What one who opened the damaged directory makes of it; `Err` is what must not be.
    fn judge(&self, opened: silverback::Result<Db>, dir: &Path, damage: &Damage) -> Result<Outcome, String> {
        let changed = damage.apply(self);
        let damaged: Vec<PathBuf> = changed.into_iter().map(|(path, _)| path).collect();
        let whole_files = matches!(damage, Damage::SwapFiles(..));
        let check = |e: &Error| check_error(e, dir, &damaged, whole_files);
        let db = match opened {
            Ok(db) => db,
            Err(e) => return check(&e).map(|()| Outcome::CleanError),
        };
        let (rows, errors) = read(&db);
        let listed = &db.open_report().damage;
        listed.iter().chain(&errors).try_for_each(check)?;
        let found = !listed.is_empty() || !errors.is_empty();
        for (key, bits) in &rows {
            let replaced = found && self.replaced.get(key) == Some(bits);
            if self.truth.get(key) != Some(bits) && !replaced {
                return Err(format!("{key:?} {bits:x} is not true"));
            }
        }
        let report = db.verify().map_err(|e| format!("verify fails: {e:?}"))?;
        report.faults.iter().try_for_each(check)?;
        if found {
            return if report.is_clean() {
                Err("verify sees nothing".into())
            } else {
                Ok(Outcome::CleanError)
            };
        }
        let lost: BTreeSet<_> = self.truth.keys().filter(|key| !rows.contains_key(*key)).collect();
        if !lost.is_empty() {
            let last: BTreeSet<_> = self.last.keys().collect();
            return match lost == last && damaged.contains(&self.newest_segment) {
                // A store that was closed knows of each record that it was durable: a bit alone cannot hide one.
                true if self.name == "closed" && matches!(damage, Damage::Bit(..)) => Err("a loss".into()),
                true => Ok(Outcome::Loss),
                false => Err(format!("{} samples are gone without a word", lost.len())),
            };
        }
        let told = db.families().map_err(|e| format!("families: {e:?}"))?;
        let help: Vec<&str> = told.iter().map(|(_, metadata)| metadata.help.as_str()).collect();
        if help != ["zero", "2"] {
            return Err(format!("metadata is {help:?}"));
        }
        Ok(Outcome::Right)
    }

    /// As a reader, in place.
    fn reader(&self, damage: &Damage) -> Result<Outcome, String> {
        let dir = self.dir.path();
        for (path, bytes) in damage.apply(self) {
            fs::write(dir.join(path), bytes).unwrap();
        }
        let outcome = self.judge(Db::open_read_only(dir, options()), dir, damage);
        for (path, _) in damage.apply(self) {
            fs::write(dir.join(&path), &self.files[&path]).unwrap();
        }
        outcome
    }

    /// As a writer in a copy, who goes on writing: what could be read is there afterwards, or a read says why not.
    fn writer(&self, damage: &Damage) -> Result<(), String> {
        let copied = directory();
        let dir = copied.path();
        copy(&self.files, dir);
        for (path, bytes) in damage.apply(self) {
            fs::write(dir.join(path), bytes).unwrap();
        }
        self.judge(Db::open(dir, options()), dir, damage)?;
        let Ok(db) = Db::open(dir, options()) else { return Ok(()) };
        let (rows, _) = read(&db);
        let mut app = db.appender().map_err(|e| format!("no appender: {e:?}"))?;
        app.append(&series(0), 47_000, 5.0).unwrap();
        app.commit().map_err(|e| format!("does not go on: {e:?}"))?;
        drop(app);
        // A block that cannot be read cannot be merged.
        if let Err(e) = db.compact(&Default::default())
            && e.kind() != ErrorKind::Corrupt
        {
            return Err(format!("compaction: {e:?}"));
        }
        drop(db);
        let db = Db::open(dir, options()).map_err(|e| format!("does not open again: {e:?}"))?;
        let (after, errors) = read(&db);
        let kept = rows.iter().all(|(key, bits)| after.get(key) == Some(bits));
        match kept || !errors.is_empty() {
            true => Ok(()),
            false => Err("samples that could be read are gone".into()),
        }
    }
}

/// One row of the table.
#[derive(Default)]
struct Figures {
    tried: u64,
    right: u64,
    clean: u64,
    loss: u64,
    wrong: u64,
    panics: u64,
    too_much: u64,
    writers: u64,
    most_bytes: usize,
    longest: Duration,
}

impl Figures {
    fn try_one(&mut self, subject: &Subject, damage: &Damage, usual: usize, write_too: bool) {
        MEMORY.reset_peak_usage();
        let (before, began) = (MEMORY.current_usage(), Instant::now());
        let outcome = catch_unwind(AssertUnwindSafe(|| subject.reader(damage)));
        let bytes = MEMORY.peak_usage().saturating_sub(before);
        let mut took = began.elapsed();
        if took >= MAX_TIME {
            // Whoever runs this may have been stopped meanwhile: what is slow is slow twice.
            let again = Instant::now();
            let _seen = catch_unwind(AssertUnwindSafe(|| subject.reader(damage)));
            took = took.min(again.elapsed());
        }
        self.longest = self.longest.max(took);
        self.most_bytes = self.most_bytes.max(bytes);
        self.tried += 1;
        if bytes > usual + MAX_MORE_BYTES {
            self.too_much += 1;
            eprintln!("FAILED: {bytes} bytes for {damage:?} of the {} store", subject.name);
        }
        match outcome {
            Ok(Ok(Outcome::Right)) => self.right += 1,
            Ok(Ok(Outcome::CleanError)) => self.clean += 1,
            Ok(Ok(Outcome::Loss)) => self.loss += 1,
            Ok(Err(why)) => self.fail(subject, damage, &why),
            Err(_) => self.panic(subject, damage),
        }
        if write_too {
            self.writers += 1;
            match catch_unwind(AssertUnwindSafe(|| subject.writer(damage))) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => self.fail(subject, damage, &format!("as a writer: {why}")),
                Err(_) => self.panic(subject, damage),
            }
        }
    }

    fn fail(&mut self, subject: &Subject, damage: &Damage, why: &str) {
        self.wrong += 1;
        if self.wrong < 10 {
            eprintln!("FAILED: {damage:?} of the {} store: {why}", subject.name);
        }
    }

    fn panic(&mut self, subject: &Subject, damage: &Damage) {
        self.panics += 1;
        eprintln!("PANICKED: {damage:?} of the {} store", subject.name);
    }

    fn print(&self, what: &str) {
        println!(
            "{what:<16} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>6}   {:>6} {:>8} KiB {:>6} ms",
            self.tried,
            self.right,
            self.clean,
            self.loss,
            self.wrong,
            self.panics,
            self.too_much,
            self.writers,
            self.most_bytes / 1024,
            self.longest.as_millis()
        );
    }
}

#[test]
fn no_damage_is_answered_wrongly() {
    let net = Net::chosen();
    let mut table: BTreeMap<&str, Figures> = BTreeMap::new();
    for (closed, reserved) in [(true, false), (false, false), (true, true), (false, true)] {
        let subject = Subject::new(closed, reserved);
        let of = |part: &str| subject.files.keys().any(|p| p.to_str().unwrap().contains(part));
        for part in
            ["LOCK", "RESERVE", "MANIFEST-", "tombstones-", "wal/", "meta", "index", "chunks", "times"]
        {
            assert!(of(part), "the subject holds every kind of file, {part} too");
        }
        assert_eq!((subject.replaced.len(), subject.last.len()), (1, 2));
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        let sound = Damage::Cut(PathBuf::from("LOCK"), subject.files[Path::new("LOCK")].len());
        assert_eq!(subject.reader(&sound), Ok(Outcome::Right));
        let usual = MEMORY.peak_usage().saturating_sub(before);
        println!("{}: {} files, a sound one takes {} KiB", subject.name, subject.files.len(), usual / 1024);
        for (n, damage) in damages(&subject, &net).iter().enumerate() {
            let figures = table.entry(damage.kind()).or_default();
            figures.try_one(&subject, damage, usual, n % net.writers == 0);
        }
        assert_eq!(contents(subject.dir.path()), subject.files, "a reader changes nothing");
    }
    println!(
        "{:<16} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>6}   {:>6} {:>12} {:>9}",
        "", "tried", "right", "error", "loss", "wrong", "panic", "memory", "writer", "peak", "longest"
    );
    table.iter().for_each(|(what, figures)| figures.print(what));
    for (what, figures) in &table {
        assert_eq!((figures.wrong, figures.panics, figures.too_much), (0, 0, 0), "{what}");
        assert!(figures.longest < MAX_TIME && figures.tried > 20, "{what}");
    }
}
