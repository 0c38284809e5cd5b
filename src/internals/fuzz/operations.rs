//! A store under a sequence of operations, power cuts among them, against a plain map.
//!
//! ```text
//!   setup byte, then opcode and choices, again and again:
//!     commit  run  load  delete  maintain  compact  reopen  kill  cut  cut within  full disk  ask  hold  verify  snapshot  time
//! ```
//!
//! The store lives on the in-memory filesystem; nothing happens but what the input says. Every commit is synced, so that
//! after a power cut everything acknowledged must be there, whatever of the rest survived, and of the one
//! operation that was cut all or nothing, and nothing if its error says that it was not applied.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::db::{Committed, Db, Maintenance, Options, ReadMode};
use crate::env::{CrashPolicy, ManualClock, MemFs};
use crate::error::{Applied, ErrorKind, Result};
use crate::model::{STALE, TimeRange};
use crate::query::Querier;

use super::choices::{Choices, must};
use super::plain::{PICKS, Pick, Plain, Row, Rows, SERIES, WINDOW_MS, labels};

/// The most operations of one input.
const MAX_OPERATIONS: usize = 40;

/// Checks one input.
pub(super) fn run(data: &[u8]) {
    let mut walk = Walk::new(Choices::new(data));
    for _ in 0..MAX_OPERATIONS {
        if walk.choices.is_over() {
            break;
        }
        walk.step();
    }
    walk.let_go();
    walk.check();
    walk.verify();
    walk.reopen();
}

/// One run.
struct Walk<'d> {
    choices: Choices<'d>,
    positioned: bool,
    fs: MemFs,
    db: Option<Db>,
    plain: Plain,
    /// A querier, and what it must see for ever.
    held: Option<(Querier, Rows)>,
    /// Times are chosen around this one.
    now: i64,
    copies: u32,
}

/// What may be cut short.
enum Work {
    Commit(Vec<Row>),
    Load(Vec<Row>),
    Delete(TimeRange, &'static Pick),
    Maintain,
    Compact,
}

impl<'d> Walk<'d> {
    fn new(mut choices: Choices<'d>) -> Walk<'d> {
        let positioned = choices.byte() & 1 == 1;
        let mut walk = Walk {
            choices,
            positioned,
            fs: MemFs::new(),
            db: None,
            plain: Plain::default(),
            held: None,
            now: 10_000,
            copies: 0,
        };
        walk.open();
        walk
    }

    fn options(&self) -> Options {
        Options::default()
            .env(Arc::new(self.fs.clone()), Arc::new(ManualClock::at(1_000_000)))
            .maintenance(Maintenance::Manual)
            .read_mode(if self.positioned { ReadMode::Positioned } else { ReadMode::Mapped })
            .max_future(None)
            .threads(1)
            .block_range(Duration::from_secs(1))
            .out_of_order_window(Duration::from_millis(WINDOW_MS.unsigned_abs()))
            .wal_segment_bytes(1 << 16)
    }

    fn open(&mut self) {
        let db = must(Db::open("/db", self.options()), "open");
        let report = db.open_report();
        assert!(report.damage.is_empty() && report.quarantined.is_empty(), "{report:?}");
        self.db = Some(db);
    }

    fn attempt<T>(&self, what: impl FnOnce(&Db) -> Result<T>) -> Result<T> {
        match &self.db {
            Some(db) => what(db),
            None => Err(crate::error::Error::new(ErrorKind::Closed, "a walk has a database")),
        }
    }

    fn step(&mut self) {
        match self.choices.below(20) {
            0..=2 => self.commit(),
            3..=4 => self.commit_run(),
            5 => self.load(),
            6 => self.delete(),
            7 => must(self.attempt(Db::maintain), "maintain"),
            8 => must(self.attempt(|db| db.compact(&Default::default())), "compact"),
            9 => self.reopen(),
            10 => self.restart(self.fs.fork()),
            11 => self.cut(),
            12..=13 => self.cut_within(),
            14 => self.fill_disk(),
            15 => self.ask(),
            16 => self.hold(),
            17 => self.let_go(),
            18 => self.snapshot(),
            _ => self.now += i64::from(self.choices.byte()) * 40,
        }
    }

    fn row(&mut self) -> Row {
        let series = usize::from(self.choices.byte()) % SERIES;
        let t = match self.choices.byte() {
            255 => i64::MAX,
            254 => i64::MAX - 1,
            253 => i64::MIN,
            252 => -1,
            near => self.now + (i64::from(near) - 64) * 20,
        };
        Row { series, t, v: value(self.choices.byte()) }
    }

    fn rows(&mut self) -> Vec<Row> {
        let n = self.choices.below(9);
        (0..n).map(|_| self.row()).collect()
    }

    fn commit(&mut self) {
        let rows = self.rows();
        let committed = must(self.attempt(|db| commit(db, &rows)), "commit");
        self.judge(&rows, &committed);
    }

    /// Many samples of one series: whole chunks and more.
    fn commit_run(&mut self) {
        let (series, n) = (usize::from(self.choices.byte()) % SERIES, self.choices.byte());
        let (step, curve) = (i64::from(self.choices.byte()), self.choices.byte());
        let rows: Vec<Row> = (0..n)
            .map(|k| {
                let v = match curve % 4 {
                    0 => f64::from(curve),
                    1 => f64::from(k) * f64::from(curve) / 10.0,
                    2 => f64::from(k).sqrt(),
                    _ => value(k.wrapping_mul(curve)),
                };
                Row { series, t: self.now + i64::from(k) * step, v }
            })
            .collect();
        self.now += i64::from(n) * step;
        let committed = must(self.attempt(|db| commit(db, &rows)), "commit");
        self.judge(&rows, &committed);
    }

    /// Follows the verdicts, as far as they are right.
    fn judge(&mut self, rows: &[Row], committed: &Committed) {
        let mut rejected = committed.rejected().iter().peekable();
        let (mut appended, mut repeated) = (0, 0);
        for (index, row) in rows.iter().enumerate() {
            match rejected.next_if(|r| r.index == index) {
                Some(rejection) => self.plain.refuse(row, rejection.why),
                None if self.plain.take(row) => repeated += 1,
                None => appended += 1,
            }
        }
        assert!(rejected.next().is_none(), "a rejection out of order");
        // A repetition of what is in a block only is appended to the head.
        assert_eq!(committed.appended() + committed.duplicates(), appended + repeated);
        assert!(committed.duplicates() <= repeated);
    }

    fn load(&mut self) {
        let mut rows = self.rows();
        let mut seen = BTreeSet::new();
        rows.retain(|row| row.t != i64::MAX && seen.insert((row.series, row.t)));
        let loaded = must(self.attempt(|db| load(db, &rows)), "load");
        assert_eq!((loaded.appended(), loaded.conflicts()), (rows.len() as u64, 0));
        // Where there was a value, it depends on where it lies: the head's is kept, a block's replaced.
        let (all, before) = (self.read(&PICKS[0], TimeRange::ALL), self.plain.rows.clone());
        self.plain.load(&rows);
        for (key, bits) in &all {
            let allowed = [before.get(key), self.plain.rows.get(key)];
            assert!(allowed.contains(&Some(bits)), "{key:?} is {bits:x} after a load, not {allowed:x?}");
        }
        assert_eq!(all.len(), self.plain.rows.len(), "samples are missing after a load");
        self.plain.rows = all;
    }

    fn range(&mut self) -> TimeRange {
        match self.choices.byte() {
            255 => TimeRange::ALL,
            254 => TimeRange::new(i64::MIN, self.now),
            253 => TimeRange::new(self.now, i64::MAX),
            near => {
                let start = self.now + (i64::from(near) - 128) * 40;
                TimeRange::new(start, start + 1 + i64::from(self.choices.byte()) * 20)
            }
        }
    }

    fn pick(&mut self) -> &'static Pick {
        let at = usize::from(self.choices.byte()) % PICKS.len();
        PICKS.get(at).unwrap_or(&PICKS[0])
    }

    fn delete(&mut self) {
        let (range, pick) = (self.range(), self.pick());
        let found = must(self.attempt(|db| db.delete(range, &pick.selector())), "delete");
        assert_eq!(found, self.plain.delete(range, pick) as u64, "samples that a delete counted");
    }

    fn ask(&mut self) {
        let (range, pick) = (self.range(), self.pick());
        assert_same(&self.read(pick, range), &pick.of(&self.plain.rows, range));
    }

    fn hold(&mut self) {
        self.let_go();
        let querier = must(self.attempt(|db| db.querier(TimeRange::ALL)), "querier");
        self.held = Some((querier, self.plain.rows.clone()));
    }

    fn let_go(&mut self) {
        if let Some((querier, rows)) = self.held.take() {
            assert_same(&read(&querier, &PICKS[0]), &rows);
        }
    }

    fn read(&self, pick: &Pick, range: TimeRange) -> Rows {
        read(&must(self.attempt(|db| db.querier(range)), "querier"), pick)
    }

    fn check(&self) {
        assert_same(&self.read(&PICKS[0], TimeRange::ALL), &self.plain.rows);
    }

    fn verify(&self) {
        let report = must(self.attempt(Db::verify), "verify");
        assert!(report.is_clean(), "{report:?}");
    }

    fn reopen(&mut self) {
        must(self.attempt(Db::close), "close");
        let image = self.fs.clone();
        self.restart(image);
    }

    /// The process is gone; another opens what it left.
    fn restart(&mut self, image: MemFs) {
        self.db = None;
        self.fs = image;
        self.open();
        self.check();
    }

    fn policy(&mut self) -> CrashPolicy {
        let kind = self.choices.below(12);
        let unit = usize::from(self.choices.byte()) % self.fs.pending().max(1);
        match kind {
            0 => CrashPolicy::DropUnsynced,
            1 => CrashPolicy::KeepAll,
            2 => CrashPolicy::Prefix(unit),
            3 => CrashPolicy::Only(unit),
            4 => CrashPolicy::Without(unit),
            5 => CrashPolicy::ZeroTail,
            6 => CrashPolicy::OldLengths,
            7 => CrashPolicy::Torn { unit, bytes: usize::from(self.choices.byte()) },
            8 => CrashPolicy::Names(self.choices.number()),
            _ => CrashPolicy::Random(self.choices.number()),
        }
    }

    fn cut(&mut self) {
        let policy = self.policy();
        self.restart(self.fs.crash(&policy));
    }

    /// Work of which it is known beforehand what will have become of it.
    fn work(&mut self) -> Work {
        match self.choices.below(6) {
            0 | 1 => {
                let mut rows = self.rows();
                let mut plain = self.plain.clone();
                rows.retain(|row| plain.is_newer(row).then(|| plain.take(row)).is_some());
                Work::Commit(rows)
            }
            2 => {
                let mut rows = self.rows();
                let mut taken: BTreeSet<_> = self.plain.rows.keys().copied().collect();
                rows.retain(|row| row.t != i64::MAX && taken.insert((row.series, row.t)));
                Work::Load(rows)
            }
            3 => Work::Delete(self.range(), self.pick()),
            4 => Work::Maintain,
            _ => Work::Compact,
        }
    }

    fn after(&self, work: &Work) -> Plain {
        let mut plain = self.plain.clone();
        match work {
            Work::Commit(rows) => rows.iter().for_each(|row| {
                plain.take(row);
            }),
            Work::Load(rows) => plain.load(rows),
            Work::Delete(range, pick) => {
                plain.delete(*range, pick);
            }
            Work::Maintain | Work::Compact => {}
        }
        plain
    }

    fn do_work(&self, work: &Work) -> Result<()> {
        self.attempt(|db| match work {
            Work::Commit(rows) => commit(db, rows).map(drop),
            Work::Load(rows) => load(db, rows).map(drop),
            Work::Delete(range, pick) => db.delete(*range, &pick.selector()).map(drop),
            Work::Maintain => db.maintain(),
            Work::Compact => db.compact(&Default::default()),
        })
    }

    /// The power goes while something is being done.
    fn cut_within(&mut self) {
        let work = self.work();
        let after = self.after(&work);
        self.fs.cut_power_after(self.fs.operations() + self.choices.below(64));
        let outcome = self.do_work(&work);
        let policy = self.policy();
        let image = self.fs.crash(&policy);
        (self.db, self.fs) = (None, image);
        self.open();
        let found = self.read(&PICKS[0], TimeRange::ALL);
        match &outcome {
            Ok(()) => assert_same(&found, &after.rows),
            Err(e) if e.applied() == Applied::No => assert_same(&found, &self.plain.rows),
            Err(_) if found == after.rows => {}
            Err(_) => assert_same(&found, &self.plain.rows),
        }
        if found == after.rows {
            self.plain = after;
        }
        self.verify();
    }

    /// On a full disk a thing is done, or refused and not done; then there is room again.
    fn fill_disk(&mut self) {
        let work = self.work();
        let room = self.choices.number() * 8;
        self.fs.limit_bytes(self.used_bytes() + room);
        let outcome = self.do_work(&work);
        self.fs.limit_bytes(u64::MAX);
        match outcome {
            Ok(()) => self.plain = self.after(&work),
            Err(e) => assert_eq!((e.kind(), e.applied()), (ErrorKind::NoSpace, Applied::No), "{e}"),
        }
        self.check();
    }

    fn used_bytes(&self) -> u64 {
        let sizes = self.fs.paths().into_iter().filter_map(|path| self.fs.read(path).ok());
        sizes.map(|bytes| bytes.len() as u64).sum()
    }

    fn snapshot(&mut self) {
        self.copies += 1;
        let to = format!("/copy{}", self.copies);
        must(self.attempt(|db| db.snapshot(&to)), "snapshot");
        let copy = must(Db::open(&to, self.options()), "open a snapshot");
        let querier = must(copy.querier(TimeRange::ALL), "querier");
        assert_same(&read(&querier, &PICKS[0]), &self.plain.rows);
    }
}

/// Values at the edges of the codecs, and small decimals.
fn value(byte: u8) -> f64 {
    match byte {
        0 => 0.0,
        1 => -0.0,
        2 => STALE,
        3 => f64::from_bits(0xfff8_0000_0000_0001),
        4 => f64::INFINITY,
        5 => f64::NEG_INFINITY,
        6 => f64::from_bits(1),
        7 => f64::MAX,
        8 => 9_007_199_254_740_993.0,
        9 => 0.1 + 0.2,
        _ => f64::from(byte) / 4.0 - 8.0,
    }
}

/// Commits rows.
pub(super) fn commit(db: &Db, rows: &[Row]) -> Result<Committed> {
    let mut app = db.appender()?;
    for row in rows {
        app.append(&labels(row.series), row.t, row.v)?;
    }
    app.commit()
}

fn load(db: &Db, rows: &[Row]) -> Result<Committed> {
    let mut bulk = db.bulk_loader()?;
    for row in rows {
        let series = bulk.series(&labels(row.series))?;
        bulk.extend(series, &[row.t], &[row.v])?;
    }
    bulk.finish()
}

fn read(querier: &Querier, pick: &Pick) -> Rows {
    let mut rows = Rows::new();
    for series in must(querier.select(&pick.selector()), "select") {
        let series = must(series, "series");
        let i: usize = must(series.labels().value("i").unwrap_or_default().parse(), "the label i");
        assert_eq!(series.labels(), &labels(i));
        let mut previous = None;
        for sample in series.samples() {
            let sample = must(sample, "sample");
            assert!(previous < Some(sample.t), "samples out of order");
            previous = Some(sample.t);
            rows.insert((i, sample.t), sample.v.to_bits());
        }
    }
    rows
}

/// Compares, and shows the first difference, not all.
fn assert_same(found: &Rows, expected: &Rows) {
    let first =
        |a: &Rows, b: &Rows| a.iter().find(|(key, bits)| b.get(key) != Some(bits)).map(|(k, v)| (*k, *v));
    let (more, less) = (first(found, expected), first(expected, found));
    assert!(more.is_none() && less.is_none(), "found {more:x?}, missing {less:x?}");
}
