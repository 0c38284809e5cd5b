//! A small store whose files are damaged, or forged: right answers or typed errors, nothing lost in silence.
//!
//! ```text
//!   flags, then patches:  file  kind  place (2 bytes)  what the kind takes
//!     flip a bit | overwrite | truncate | lengthen with zeros | cut out | put in | copy within | seal anew
//! ```
//!
//! The store has merged and flushed blocks, a tombstones file, and two segments of log with four commits. Opened
//! read-only and for writing, it must show no sample that was not stored, no sample twice and none that was
//! deleted. If neither open, nor reading, nor verify tells of damage, then every sample must be there, except
//! that a damaged end of the newest segment looks like a write that was never finished: the last commits may
//! be gone with it, in their order. Opening destroys no damaged file. A file that was *sealed anew* has a right
//! checksum over wrong bytes: then anything may be read, but still nothing panics or hangs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::db::{Db, Maintenance, Options, ReadMode};
use crate::env::{ManualClock, MemFs};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{cursor, manifest, tombstones};
use crate::model::{Metadata, MetricType, Selector, TimeRange};

use super::choices::{Choices, must};
use super::operations::commit;
use super::plain::{PICKS, Row, Rows};

/// The most patches of one input.
const MAX_PATCHES: usize = 6;
/// No damage makes a store of a few kilobytes show more than this; forgery is cut off here.
const MAX_READ_ROWS: usize = 100_000;

/// Checks one input.
pub(super) fn run(data: &[u8]) {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    let image = IMAGE.get_or_init(Image::new);
    let mut choices = Choices::new(data);
    let positioned = choices.byte() & 1 == 1;
    let mut patched = Patched { fs: image.fs.fork(), changed: BTreeSet::new(), forged: false };
    for _ in 0..MAX_PATCHES {
        if choices.is_over() {
            break;
        }
        patched.patch(image, &mut choices);
    }
    patched.changed.retain(|path| patched.fs.read(path).ok() != image.fs.read(path).ok());
    let case = Case { image, patched, positioned };
    case.read_only();
    case.write();
}

/// A store, and what it holds.
struct Image {
    fs: MemFs,
    files: Vec<PathBuf>,
    rows: Rows,
    /// The commits of samples that are in the log alone: their number, by sample.
    logged: BTreeMap<(usize, i64), u32>,
    /// The first commit in the newest segment.
    newest_from: u32,
}

fn options(fs: &MemFs, positioned: bool) -> Options {
    Options::default()
        .env(Arc::new(fs.clone()), Arc::new(ManualClock::at(1_000_000)))
        .maintenance(Maintenance::Manual)
        .read_mode(if positioned { ReadMode::Positioned } else { ReadMode::Mapped })
        .max_future(None)
        .threads(1)
        .block_range(Duration::from_secs(1))
        .wal_segment_bytes(1 << 16)
}

impl Image {
    fn new() -> Image {
        let fs = MemFs::new();
        let mut image = Image {
            fs: fs.clone(),
            files: Vec::new(),
            rows: Rows::new(),
            logged: BTreeMap::new(),
            newest_from: 2,
        };
        let open = || must(Db::open("/db", options(&fs, false)), "open the image");
        let db = open();
        let metadata = Metadata { metric_type: MetricType::Counter, unit: "s".into(), help: "Help.".into() };
        let mut app = must(db.appender(), "appender");
        must(app.set_metadata("m0", metadata), "metadata");
        must(app.commit(), "commit");
        // An appender is a handle, too, and holds the lock.
        drop(app);
        image.commit(&db, (0..150).map(|k| row(k % 5, i64::from(k) / 5 * 100, f64::from(k) / 4.0)));
        must(db.compact(&Default::default()), "compact");
        image.commit(
            &db,
            (0..140).map(|k| row(3, 4_000 + i64::from(k * 20 + k * k % 7), f64::from(k).sqrt())),
        );
        must(db.maintain(), "maintain");
        let gone = TimeRange::new(500, 1_500);
        must(db.delete(gone, &must(PICKS[2].selector().to_string().parse::<Selector>(), "pick")), "delete");
        let deleted = PICKS[2].of(&image.rows, gone);
        image.rows.retain(|key, _| !deleted.contains_key(key));
        image.commit_logged(&db, 0);
        image.commit_logged(&db, 1);
        drop(db);
        let db = open();
        image.commit_logged(&db, 2);
        image.commit_logged(&db, 3);
        assert!(db.stats().blocks >= 2 && db.stats().tombstones == 1, "{:?}", db.stats());
        drop(db);
        let leave_out = ["/db/LOCK", "/db/RESERVE"].map(Path::new);
        image.files = fs.paths().into_iter().filter(|path| !leave_out.contains(&path.as_path())).collect();
        image
    }

    fn commit(&mut self, db: &Db, rows: impl Iterator<Item = Row>) {
        let rows: Vec<Row> = rows.collect();
        let committed = must(commit(db, &rows), "commit");
        assert_eq!(committed.appended(), rows.len() as u64);
        self.rows.extend(rows.iter().map(|row| ((row.series, row.t), row.v.to_bits())));
    }

    /// Commits that stay in the log, since no later sample completes their range.
    fn commit_logged(&mut self, db: &Db, number: u32) {
        let rows: Vec<Row> =
            (0..6).map(|i| row(i, 7_000 + i64::from(number) * 10, f64::from(number + i))).collect();
        self.logged.extend(rows.iter().map(|row| ((row.series, row.t), number)));
        self.commit(db, rows.into_iter());
    }

    /// Whether a file is a manifest or a tombstones file before the newest: nobody reads those but at the user's wish.
    fn is_superseded(&self, path: &Path) -> bool {
        fn generation(path: &Path) -> Option<(&str, u64)> {
            let (kind, generation) = path.file_name()?.to_str()?.rsplit_once('-')?;
            Some((kind, generation.parse().ok()?))
        }
        let is_newer = |other: &PathBuf| match (generation(other), generation(path)) {
            (Some((kind, newer)), Some((same, old))) => kind == same && newer > old,
            _ => false,
        };
        path.parent() == Some(Path::new("/db")) && self.files.iter().any(is_newer)
    }

    /// The commits of which samples are missing.
    fn missing_commits(&self, found: &Rows) -> BTreeSet<u32> {
        let lost = self.logged.iter().filter(|(key, _)| !found.contains_key(key));
        lost.map(|(_, number)| *number).collect()
    }
}

fn row(series: u32, t: i64, v: f64) -> Row {
    Row { series: usize::try_from(series).unwrap_or_default(), t, v }
}

/// The store with patches.
struct Patched {
    fs: MemFs,
    changed: BTreeSet<PathBuf>,
    forged: bool,
}

impl Patched {
    fn patch(&mut self, image: &Image, choices: &mut Choices<'_>) {
        let at = usize::from(choices.byte()) % image.files.len();
        let Some(path) = image.files.get(at) else { return };
        let mut bytes = must(self.fs.read(path), "a file of the image");
        let kind = choices.below(8);
        let place = usize::try_from(choices.number()).unwrap_or_default() % (bytes.len() + 1);
        let argument = choices.byte();
        let length = usize::from(argument).min(bytes.len() - place);
        let range = place..place + length;
        match kind {
            0 => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << (argument % 8);
                }
            }
            1 => {
                let with = choices.bytes(usize::from(argument % 32));
                bytes.iter_mut().skip(place).zip(with).for_each(|(byte, with)| *byte = *with);
            }
            2 => bytes.truncate(place),
            3 => bytes.resize(bytes.len() + usize::from(argument) * 16, 0),
            4 => drop(bytes.drain(range)),
            5 => drop(bytes.splice(place..place, choices.bytes(usize::from(argument % 32)).iter().copied())),
            6 => {
                let copied = bytes.get(range).unwrap_or_default().to_vec();
                bytes.splice(place..place, copied);
            }
            _ => self.forged |= seal(path, &mut bytes),
        }
        must(self.fs.write(path, &bytes), "patch a file");
        self.changed.insert(path.clone());
    }
}

/// Gives a file that has one checksum over all of it the right one; tells whether that changed it.
fn seal(path: &Path, bytes: &mut Vec<u8>) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let seed = match name {
        "meta" => 0,
        _ if name.starts_with("MANIFEST-") => manifest::MAGIC,
        _ if name.starts_with("tombstones-") => tombstones::MAGIC,
        _ => return false,
    };
    let before = bytes.clone();
    bytes.truncate(bytes.len().saturating_sub(4));
    cursor::seal(bytes, 0, seed);
    *bytes != before
}

/// What one look at a store gave.
#[derive(Default)]
struct Found {
    rows: Rows,
    errors: Vec<Error>,
}

impl Found {
    fn read(db: &Db) -> Found {
        let mut found = Found::default();
        if let Err(e) = found.read_into(db) {
            found.errors.push(e);
        }
        found
    }

    /// Reads on behind an error within a series, and ends at one of the set of series.
    fn read_into(&mut self, db: &Db) -> Result<()> {
        for series in db.querier(TimeRange::ALL)?.select(&Selector::all())? {
            let series = series?;
            let i = series.labels().value("i").and_then(|i| i.parse().ok()).unwrap_or(usize::MAX);
            for sample in series.samples().take(MAX_READ_ROWS) {
                match sample {
                    Ok(sample) => {
                        self.rows.insert((i, sample.t), sample.v.to_bits());
                    }
                    Err(e) => {
                        self.errors.push(e);
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// One damaged store.
struct Case<'i> {
    image: &'i Image,
    patched: Patched,
    positioned: bool,
}

impl Case<'_> {
    fn open(&self, fs: &MemFs, read_only: bool) -> Option<Db> {
        let options = options(fs, self.positioned);
        let opened = if read_only { Db::open_read_only("/db", options) } else { Db::open("/db", options) };
        match opened {
            Ok(db) => Some(db),
            Err(e) => {
                self.check_error(&e);
                assert!(!self.patched.changed.is_empty(), "the image itself is refused: {e}");
                None
            }
        }
    }

    /// Damage has its kinds, and says where it is.
    fn check_error(&self, e: &Error) {
        if !self.patched.forged {
            assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat), "{:?}: {e}", e.kind());
            assert!(e.path().is_some(), "an error without its file: {e}");
        }
    }

    fn read_only(&self) {
        let fs = self.patched.fs.fork();
        let before = fs.operations();
        let Some(db) = self.open(&fs, true) else { return };
        self.look(&db, None);
        assert_eq!(fs.operations(), before, "a reader writes nothing");
    }

    fn write(&self) {
        let fs = self.patched.fs.fork();
        let Some(db) = self.open(&fs, false) else { return };
        self.check_kept(&fs);
        self.look(&db, None);
        let extra = row(0, 9_000, 1.0);
        let stored = commit(&db, &[extra]).is_ok_and(|c| c.appended() == 1).then_some(extra);
        assert!(stored.is_some() || self.patched.forged, "a damaged store takes commits");
        // What is damaged is not merged; that is told, and changes nothing of what is read.
        let outcomes = [db.maintain(), db.compact(&Default::default())];
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(|e| self.check_error(e));
        self.look(&db, stored);
        drop(db);
        match self.open(&fs, false) {
            Some(db) => self.look(&db, stored),
            None => assert!(self.patched.forged, "a store that was open once does not open again"),
        }
    }

    /// Every damaged file is still there, where it was or set aside, but for superseded ones, whose time may have come.
    fn check_kept(&self, fs: &MemFs) {
        let all: Vec<Vec<u8>> = fs.paths().into_iter().filter_map(|path| fs.read(path).ok()).collect();
        for path in self.patched.changed.iter().filter(|path| !self.image.is_superseded(path)) {
            let bytes = must(self.patched.fs.read(path), "a patched file");
            let kept = all.contains(&bytes) || self.patched.forged;
            assert!(kept, "opening destroyed {}", path.display());
        }
    }

    /// Reads everything, and checks it as far as damage allows.
    fn look(&self, db: &Db, stored: Option<Row>) {
        let mut found = Found::read(db);
        let families = db.families();
        let verified = must(db.verify(), "verify tells faults, it does not fail");
        if self.patched.forged {
            return;
        }
        if let Some(row) = stored {
            let bits = found.rows.remove(&(row.series, row.t));
            let excused = !found.errors.is_empty();
            assert!(excused || bits == Some(row.v.to_bits()), "a commit after the damage is gone");
        }
        found.errors.iter().chain(families.as_ref().err()).for_each(|e| self.check_error(e));
        for (key, bits) in &found.rows {
            assert_eq!(self.image.rows.get(key), Some(bits), "{key:?} was not stored so, or was deleted");
        }
        let told = !found.errors.is_empty() || !db.open_report().damage.is_empty() || !verified.is_clean();
        if !told && stored.is_none() {
            self.check_complete(&found.rows);
        }
    }

    /// Nobody told of damage.
    fn check_complete(&self, found: &Rows) {
        let is_log = |path: &Path| path.starts_with("/db/wal");
        let of_log: Vec<&PathBuf> = self.patched.changed.iter().filter(|path| is_log(path)).collect();
        let is_read = |path: &Path| !is_log(path) && !self.image.is_superseded(path);
        let silent: Vec<&PathBuf> = self.patched.changed.iter().filter(|path| is_read(path)).collect();
        assert!(silent.is_empty(), "verify does not see that {silent:?} changed");
        let missing = self.image.missing_commits(found);
        let lost: Vec<_> = self.image.rows.keys().filter(|key| !found.contains_key(key)).collect();
        let whole = lost.iter().all(|key| self.image.logged.get(key).is_some_and(|n| missing.contains(n)));
        assert!(whole, "lost in silence: {lost:?}");
        let newest = self.image.files.iter().rfind(|path| is_log(path));
        let Some(&first) = missing.first() else { return };
        assert!(missing.len() == 4 - usize::try_from(first).unwrap_or_default(), "a gap: {missing:?}");
        assert!(of_log.iter().any(|path| Some(*path) == newest), "commits {missing:?} lost in silence");
        assert!(first >= self.image.newest_from || of_log.len() > 1, "commits {missing:?} lost in silence");
    }
}
