//! A process that is made to die, and the memory of what it had acknowledged, which is kept outside of it.
//!
//! ```text
//!   parent ──spawn──▶ victim: 2 writers (commits, deletes), 1 thread that flushes and compacts
//!          ◀──pipe──  "ack w n"   "del w n"   "gone w n"         told after commit / before and after a delete has returned
//!   parent ──kill or power cut──▶ opens the directory, asks its `Oracle`
//! ```
//!
//! Commit n of writer w brings [`SERIES`] samples at time n·100 ms, whose values follow from (w, n). Every [`EACH`] commits a
//! writer deletes some of its older ones. So a few numbers tell what must be stored, what must not be, and what may be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use silverback::{Columns, Db, Labels, Options, Selector, SyncPolicy, TimeRange};

/// Threads that write.
pub(crate) const WRITERS: usize = 2;
/// Series of each writer, all of them in each of its commits.
const SERIES: u64 = 4;
/// Milliseconds from commit to commit.
const STEP_MS: i64 = 100;
/// After so many commits a writer deletes…
const EACH: i64 = 16;
/// …so many of those before.
const DELETED: i64 = 5;
/// Tells the victim what to do: directory, policy, first commit of each writer.
const ORDERS: &str = "SILVERBACK_VICTIM";

pub(crate) fn options(sync: SyncPolicy) -> Options {
    // Short blocks and segments, so that flushes and merges go on while the process dies.
    Options::default()
        .sync(sync)
        .threads(1)
        .block_range(Duration::from_secs(1))
        .wal_segment_bytes(1 << 16)
        .max_future(None)
}

/// The policies in turn.
pub(crate) fn policy(n: u64) -> SyncPolicy {
    match n % 4 {
        2 => SyncPolicy::Interval(Duration::from_millis(20)),
        3 => SyncPolicy::Never,
        _ => SyncPolicy::EachCommit,
    }
}

fn labels(writer: usize, i: u64) -> Labels {
    let pairs = [("__name__", "kill".to_owned()), ("w", writer.to_string()), ("i", i.to_string())];
    Labels::from_pairs(pairs).unwrap()
}

fn value(writer: usize, i: u64, n: i64) -> f64 {
    match n % 7 {
        0 => -0.0,
        1 => f64::from_bits(0x7ff0_0000_0000_0002),
        _ => n as f64 * 1.25 + i as f64 + writer as f64 * 1e6,
    }
}

/// The commits that the delete after commit `n` takes.
fn deleted_by(n: i64) -> std::ops::Range<i64> {
    n - EACH..n - EACH + DELETED
}

fn tell(what: &str, writer: usize, n: i64) {
    let mut out = std::io::stdout().lock();
    let _gone = writeln!(out, "\n{what} {writer} {n}").and_then(|()| out.flush());
}

/// A panic of any thread ends the process: in the engine's own threads it would pass unheard.
fn die_of_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
}

/// What the victim does, if this process is one.
pub(crate) fn live() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let mut orders = orders.split('|');
    let mut next = || orders.next().unwrap().to_owned();
    let (dir, sync) = (next(), policy(next().parse().unwrap()));
    let from: Vec<i64> = (0..WRITERS).map(|_| next().parse().unwrap()).collect();
    die_of_panics();
    let db = Db::open(dir, options(sync)).unwrap();
    std::thread::scope(|scope| {
        for (writer, from) in from.into_iter().enumerate() {
            let db = db.clone();
            scope.spawn(move || write(&db, writer, from));
        }
        // Until it is killed, or the disk is gone.
        while db.compact(&Default::default()).is_ok() {
            std::thread::sleep(Duration::from_millis(25));
        }
    });
    // Whoever ends it finds it here.
    let _never = std::io::stdin().read_line(&mut String::new());
}

fn write(db: &Db, writer: usize, from: i64) {
    let Ok(mut app) = db.appender() else { return };
    for n in from.. {
        for i in 0..SERIES {
            app.append(&labels(writer, i), n * STEP_MS, value(writer, i, n)).unwrap();
        }
        match app.commit() {
            Ok(committed) => assert_eq!(committed.appended(), SERIES, "{:?}", committed.rejected()),
            Err(_) => return,
        }
        tell("ack", writer, n);
        // A filesystem in memory would take thousands of commits before the end comes.
        std::thread::sleep(Duration::from_micros(400));
        if n % EACH == 0 && n > EACH {
            tell("del", writer, n);
            let gone = deleted_by(n);
            let range = gone.start * STEP_MS..gone.end * STEP_MS;
            let selector: Selector = format!("kill{{w=\"{writer}\"}}").parse().unwrap();
            match db.delete(range, &selector) {
                Ok(_) => tell("gone", writer, n),
                Err(_) => return,
            }
        }
    }
}

/// A living victim.
pub(crate) struct Victim {
    child: Child,
    told: BufReader<ChildStdout>,
}

impl Victim {
    /// Starts the test named `victim` of this program, which calls [`live`].
    pub(crate) fn start(dir: &Path, policy: u64, oracle: &Oracle) -> Victim {
        let from: Vec<String> = oracle.writers.iter().map(|w| w.next.to_string()).collect();
        let orders = format!("{}|{policy}|{}", dir.display(), from.join("|"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
            .env(ORDERS, orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        Victim { child, told }
    }

    /// Hears one thing more; whether there was one.
    pub(crate) fn hear(&mut self, oracle: &mut Oracle) -> bool {
        let mut line = String::new();
        if self.told.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
        oracle.note(&line);
        true
    }

    /// Its number as a process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; hears what it had told before it died.
    pub(crate) fn kill(mut self, oracle: &mut Oracle) {
        self.child.kill().unwrap();
        while self.hear(oracle) {}
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "a thread of the victim panicked: {status}");
    }
}

/// What one writer has acknowledged.
#[derive(Clone, Debug, Default)]
struct Writer {
    /// The commits below this are acknowledged, or were found.
    next: i64,
    /// Deletes that have returned, and those that were begun only, by the commit after which they came.
    gone: BTreeSet<i64>,
    begun: BTreeSet<i64>,
}

/// What all writers have acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    writers: Vec<Writer>,
    /// Commits told of.
    pub(crate) acks: u64,
    /// Deletes told of.
    pub(crate) deletes: u64,
}

/// What a writer's commits look like when they are read.
type Found = BTreeMap<i64, BTreeMap<u64, u64>>;

impl Oracle {
    pub(crate) fn new() -> Oracle {
        Oracle { writers: vec![Writer::default(); WRITERS], acks: 0, deletes: 0 }
    }

    /// Commits that are there, as far as is known.
    pub(crate) fn commits(&self) -> i64 {
        self.writers.iter().map(|w| w.next).sum()
    }

    fn note(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (Some(what), Some(w), Some(n)) = (words.next(), words.next(), words.next()) else { return };
        let (Ok(w), Ok(n)) = (w.parse::<usize>(), n.parse::<i64>()) else { return };
        let Some(writer) = self.writers.get_mut(w) else { return };
        match what {
            "ack" => {
                assert_eq!(writer.next, n, "commits are told in their order");
                writer.next = n + 1;
                self.acks += 1;
            }
            "del" => drop(writer.begun.insert(n)),
            "gone" => {
                assert!(writer.begun.remove(&n));
                writer.gone.insert(n);
                self.deletes += 1;
            }
            _ => {}
        }
    }

    /// Checks what a reader sees while the victim lives: all that was acknowledged before it opened.
    pub(crate) fn check_reader(&self, db: &Db) -> Result<(), String> {
        self.found(db)?.iter().zip(&self.writers).try_for_each(|(found, w)| w.check(found, None).map(drop))
    }

    /// Checks what is there after death, and takes it for the truth from here on. After a power cut without a sync of each
    /// commit, `may_lose` is set: then any prefix is right, but for what deletes have made durable.
    pub(crate) fn check(&mut self, db: &Db, may_lose: bool) -> Result<(), String> {
        let found = self.found(db)?;
        for (found, writer) in found.iter().zip(&mut self.writers) {
            let least = if may_lose { writer.gone.last().map_or(0, |n| n + 1) } else { writer.next };
            let most = writer.next + 1;
            let mut reduced = Writer { next: least, ..writer.clone() };
            reduced.next = reduced.check(found, Some(most))?;
            let begun = std::mem::take(&mut reduced.begun);
            let is_gone = |n: &i64| deleted_by(*n).all(|n| !found.contains_key(&n)) && *n < reduced.next;
            reduced.gone.extend(begun.into_iter().filter(is_gone));
            *writer = reduced;
        }
        Ok(())
    }

    fn found(&self, db: &Db) -> Result<Vec<Found>, String> {
        let mut found = vec![Found::new(); WRITERS];
        let mut columns = Columns::default();
        let querier = db.querier(TimeRange::ALL).map_err(|e| e.to_string())?;
        for series in querier.select(&Selector::all()).map_err(|e| e.to_string())? {
            let series = series.map_err(|e| e.to_string())?;
            let label = |name| series.labels().value(name).unwrap();
            let (w, i): (usize, u64) = (label("w").parse().unwrap(), label("i").parse().unwrap());
            columns.clear();
            let mut samples = series.samples();
            while samples.read_into(&mut columns, 10_000).map_err(|e| e.to_string())? > 0 {}
            for (t, v) in columns.t.iter().zip(&columns.v) {
                let n = t / STEP_MS;
                if t % STEP_MS != 0 || v.to_bits() != value(w, i, n).to_bits() {
                    return Err(format!("{} {t} {v} was never written", series.labels()));
                }
                found[w].entry(n).or_default().insert(i, v.to_bits());
            }
        }
        Ok(found)
    }
}

impl Writer {
    /// Whether its commits are there: all below `next`, and any above it whole, up to `most`; no gaps but deletes. Returns the
    /// number of commits found.
    fn check(&self, found: &Found, most: Option<i64>) -> Result<i64, String> {
        let end = found.last_key_value().map_or(0, |(n, _)| n + 1).max(self.next);
        if most.is_some_and(|most| end > most) {
            return Err(format!("{end} commits are there, {most:?} were tried"));
        }
        if let Some((n, _)) = found.iter().find(|(_, of)| of.len() as u64 != SERIES) {
            return Err(format!("commit {n} is there in part"));
        }
        let covers = |deletes: &BTreeSet<i64>, n: i64| deletes.iter().any(|d| deleted_by(*d).contains(&n));
        for n in 0..end {
            match (found.contains_key(&n), covers(&self.gone, n), covers(&self.begun, n)) {
                (true, true, _) => return Err(format!("commit {n} was deleted, and is there")),
                // A reader may have met deletes that were told later.
                (false, false, false) if most.is_some() || n < self.next - 2 * EACH => {
                    return Err(format!("commit {n} of {} is gone", self.next));
                }
                _ => {}
            }
        }
        let half = |d: &&i64| {
            let mut commits = deleted_by(**d);
            let first = commits.next().is_some_and(|n| found.contains_key(&n));
            commits.any(|n| found.contains_key(&n) != first)
        };
        // What the power took is not there to be deleted.
        match self.begun.iter().filter(|d| **d < end).find(half) {
            Some(n) => Err(format!("the delete after commit {n} was done in part")),
            None => Ok(end),
        }
    }
}
