//! Goal: a process that runs for long under tight limits works, says no when it must, and grows by nothing: no descriptor, no map,
//! no memory is left behind.
//!
//! Method: this test runs itself as a child with few descriptors and little address space (`ulimit`), on a filesystem in memory of
//! 16 MiB. Round after round, two threads commit, two read and compare, one deletes, compacts, makes snapshots and drops
//! handles, until the disk is full: then commits fail, are not applied, and reads go on. Opened again with a retention, the store
//! makes room by itself, and writes go on. After each round the store is closed, and what the process still holds is counted.
//!
//! As root it mounts the small filesystem; elsewhere it says that it skips the full disk, and the rounds end after some commits.
//! `SILVERBACK_SOAK=600 cargo test --release --test soak -- --nocapture` soaks for ten minutes. The sanitizers run it too
//! (`tests/nightly.sh`), without the limit of address space, of which they take a lot.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use silverback::{
    AppendError, Appender, Applied, Columns, Db, Error, ErrorKind, Labels, Options, Selector, SyncPolicy,
};

mod mount;

use mount::Mount;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Tells the child where to work; it is one if this is set.
const DIR: &str = "SILVERBACK_SOAK_DIR";
/// Without a limit of address space, and without a look at maps.
const UNLIMITED: &str = "SILVERBACK_SOAK_UNLIMITED";
const DISK_BYTES: u64 = 16 << 20;
/// Descriptors that the child may have open.
const DESCRIPTORS: u32 = 48;
/// Its address space: stacks and arenas of a dozen threads, and a head of 8 MiB.
const ADDRESS_SPACE_KIB: u32 = 1_200_000;
const WRITERS: usize = 2;
/// Series of each writer; the first one's old samples are deleted now and then.
const SERIES: u64 = 25;
const STEP_MS: i64 = 100;
/// Steps in a commit.
const STEPS: i64 = 10;
/// Commits of a round, if the disk does not end it.
const COMMITS: u64 = 3_000;
/// How long a writer waits for the head to be flushed; on a full disk it waits in vain.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the pools of the libraries may keep more or less of from round to round.
const MEMORY_SLACK_KIB: u64 = 64;
/// What stays when room is made.
const RETENTION_MS: i64 = 200_000;

fn options(round: u64) -> Options {
    Options::default()
        .threads(1)
        .block_range(Duration::from_secs(10))
        .head_memory(8 << 20)
        .wal_segment_bytes(1 << 20)
        .max_future(None)
        .sync(if round % 3 == 2 {
            SyncPolicy::Interval(Duration::from_millis(20))
        } else {
            SyncPolicy::EachCommit
        })
}

fn labels(writer: usize, i: u64) -> Labels {
    Labels::from_pairs([("__name__", "soak".to_owned()), ("w", writer.to_string()), ("i", i.to_string())])
        .unwrap()
}

/// SplitMix64 (Steele, Lea, Flood 2014): no encoding makes it small.
fn value(writer: usize, i: u64, t: i64) -> f64 {
    let z = (t.cast_unsigned() << 8 ^ i << 1 ^ writer as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    f64::from_bits(z ^ (z >> 27))
}

/// What the threads of a process know of what is stored.
#[derive(Default)]
struct Truth {
    /// The end of what each writer has had acknowledged.
    ends: [AtomicI64; WRITERS],
    /// All before it may have gone by retention.
    kept_from: AtomicI64,
    /// All of each writer's first series before it is deleted.
    deleted_to: AtomicI64,
    commits: AtomicU64,
    refused: AtomicU64,
    /// Commits that found the head full.
    waits: AtomicU64,
    reads: AtomicU64,
    deletes: AtomicU64,
    snapshots: AtomicU64,
}

fn count(n: &AtomicU64) {
    n.fetch_add(1, Ordering::SeqCst);
}

/// Full is allowed, anything else is not.
fn only_full<T>(outcome: Result<T, Error>) -> Option<T> {
    match outcome {
        Ok(done) => Some(done),
        Err(e) if e.kind() == ErrorKind::NoSpace => None,
        Err(e) => panic!("{e} ({:?})", e.kind()),
    }
}

/// Commits the next steps of a writer; whether there was room. A full head is flushed beside, and waited for.
fn commit(app: &mut Appender, writer: usize, truth: &Truth) -> bool {
    let from = truth.ends[writer].load(Ordering::SeqCst);
    let began = Instant::now();
    loop {
        let mut rows = (0..STEPS).flat_map(|n| (0..SERIES).map(move |i| (i, from + n * STEP_MS)));
        let staged =
            rows.try_for_each(|(i, t)| app.append(&labels(writer, i), t, value(writer, i, t)).map(drop));
        let (kind, applied) = match staged.map(|()| app.commit()) {
            Ok(Ok(committed)) => {
                assert!(committed.rejected().is_empty() && committed.duplicates() == 0, "{committed:?}");
                truth.ends[writer].store(from + STEPS * STEP_MS, Ordering::SeqCst);
                count(&truth.commits);
                return true;
            }
            Ok(Err(e)) => (e.kind(), e.applied()),
            Err(AppendError::Ceiling) => (ErrorKind::Ceiling, Applied::No),
            Err(e) => panic!("{e}"),
        };
        assert!(
            matches!(kind, ErrorKind::NoSpace | ErrorKind::Ceiling) && applied == Applied::No,
            "{kind:?} {applied:?}"
        );
        app.rollback();
        if kind == ErrorKind::NoSpace || began.elapsed() > PATIENCE {
            count(&truth.refused);
            return false;
        }
        count(&truth.waits);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads the newest five seconds of a writer, or all; compares.
fn look(db: &Db, writer: usize, all: bool, truth: &Truth) {
    let deleted_to = truth.deleted_to.load(Ordering::SeqCst);
    let end = truth.ends[writer].load(Ordering::SeqCst);
    let querier = db.querier(if all { 0..i64::MAX } else { (end - 5_000).max(0)..end.max(1) }).unwrap();
    let from = truth.kept_from.load(Ordering::SeqCst).max(if all { 0 } else { end - 5_000 });
    let selector: Selector = format!("soak{{w=\"{writer}\"}}").parse().unwrap();
    let mut whole = 0;
    let mut columns = Columns::default();
    for series in querier.select(&selector).unwrap() {
        let series = series.unwrap();
        let i: u64 = series.labels().value("i").unwrap().parse().unwrap();
        columns.clear();
        let mut samples = series.samples();
        while samples.read_into(&mut columns, 1 << 20).unwrap() > 0 {}
        for (t, v) in columns.t.iter().zip(&columns.v) {
            assert_eq!(v.to_bits(), value(writer, i, *t).to_bits(), "{} {t}", series.labels());
            assert!(i > 0 || *t >= deleted_to, "deleted, and there: {t}");
        }
        if i > 0 {
            let kept: Vec<i64> = columns.t.iter().copied().filter(|t| (from..end).contains(t)).collect();
            let steps = (end - from.max(0)).max(0) / STEP_MS;
            assert_eq!(i64::try_from(kept.len()).unwrap(), steps, "{}: {from}..{end}", series.labels());
            whole += 1;
        }
    }
    assert!(whole == SERIES - 1 || end == 0, "{whole} series");
    count(&truth.reads);
}

/// Deletes, compacts, makes a snapshot, drops handles.
fn keep_house(db: &Db, dir: &Path, turn: u64, truth: &Truth) {
    let db = db.clone();
    let end = truth.ends.iter().map(|end| end.load(Ordering::SeqCst)).min().unwrap_or(0);
    match turn % 4 {
        0 => {
            let to = end - 20_000;
            if to > 0 && only_full(db.delete(0..to, &r#"soak{i="0"}"#.parse().unwrap())).is_some() {
                truth.deleted_to.fetch_max(to, Ordering::SeqCst);
                count(&truth.deletes);
            }
        }
        1 => drop(only_full(db.compact(&Default::default()))),
        2 => {
            let copy = dir.join("copy");
            if only_full(db.snapshot(&copy)).is_some() {
                let copy = Db::open_read_only(&copy, options(turn)).unwrap();
                (0..WRITERS).for_each(|w| look(&copy, w, false, &Truth::default()));
                count(&truth.snapshots);
            }
            let _may_not_be_there = fs::remove_dir_all(&copy);
        }
        _ => drop(only_full(db.maintain())),
    }
    std::thread::sleep(Duration::from_millis(20));
}

/// Ends the other threads, too, when one of them panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// All threads at once, until the disk is full or enough was committed.
fn stress(db: &Db, dir: &Path, truth: &Truth, may_fill: bool) {
    let over = AtomicBool::new(false);
    let until = truth.commits.load(Ordering::SeqCst) + COMMITS;
    let goes_on =
        || !over.load(Ordering::SeqCst) && (may_fill || truth.commits.load(Ordering::SeqCst) < until);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let over = &over;
            scope.spawn(move || {
                let _over = Ends(over);
                let mut app = db.clone().appender().unwrap();
                while goes_on() && commit(&mut app, writer, truth) {}
            });
            scope.spawn(move || {
                let _over = Ends(over);
                while goes_on() {
                    look(&db.clone(), writer, false, truth);
                }
            });
        }
        let _over = Ends(&over);
        (0..).take_while(|_| goes_on()).for_each(|turn| keep_house(db, dir, turn, truth));
    });
}

/// Descriptors, maps, and KiB of memory that this process has. An allocator that counts tells the memory: what the system
/// reckons to the process depends on what the threads' arenas keep for later.
fn holdings() -> [u64; 3] {
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let maps = fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count() as u64);
    [descriptors, maps, MEMORY.current_usage() as u64 / 1024]
}

/// One round; whether a full disk was met.
fn round(dir: &Path, n: u64, truth: &Truth, may_fill: bool) {
    let db = Db::open(dir.join("db"), options(n)).unwrap();
    stress(&db, dir, truth, may_fill);
    (0..WRITERS).for_each(|w| look(&db, w, true, truth));
    match n % 2 {
        0 => drop(db),
        _ => drop(only_full(db.close())),
    }
    // Retention makes room by itself, on a disk that may be full to the last byte.
    let db =
        Db::open(dir.join("db"), options(n).retention(Duration::from_millis(RETENTION_MS.unsigned_abs())))
            .unwrap();
    let newest = truth.ends.iter().map(|end| end.load(Ordering::SeqCst)).max().unwrap_or(0);
    truth.kept_from.store((newest - RETENTION_MS).max(0), Ordering::SeqCst);
    db.maintain().unwrap();
    let mut app = db.appender().unwrap();
    (0..WRITERS).for_each(|w| assert!(commit(&mut app, w, truth), "retention made no room"));
    (0..WRITERS).for_each(|w| look(&db, w, true, truth));
    assert!(db.verify().unwrap().is_clean());
    drop(app);
    db.close().unwrap();
}

/// The child's life: rounds until the time is over. What it holds after each must not grow.
#[test]
fn child() {
    let Ok(orders) = std::env::var(DIR) else { return };
    // A panic of any thread ends the process: in the engine's own threads it would pass unheard.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
    let (dir, seconds) = orders.rsplit_once('|').unwrap();
    let (dir, seconds): (&Path, u64) = (Path::new(dir), seconds.parse().unwrap());
    let may_fill = std::env::var("SILVERBACK_SOAK_FILLS").is_ok();
    let (began, truth) = (Instant::now(), Truth::default());
    let mut held = Vec::new();
    for n in 0.. {
        round(dir, n, &truth, may_fill);
        held.push(holdings());
        if held.len() >= 3 && began.elapsed().as_secs() >= seconds {
            break;
        }
    }
    let most =
        |held: &[[u64; 3]]| [0, 1, 2].map(|what| held.iter().map(|held| held[what]).max().unwrap_or(0));
    // The first third warms up: arenas, thread-local storage, the pools of the libraries.
    let (early, late) = held.split_at(held.len().div_ceil(3));
    let (early, late) = (most(early), most(late));
    let load = |n: &AtomicU64| n.load(Ordering::SeqCst);
    println!(
        "soak: {} s, {} rounds, {} commits, {} refused by a full disk, {} waits for a full head, {} reads, {} deletes, {} snapshots; \
         descriptors {} then {}, maps {} then {}, memory {} then {} KiB",
        began.elapsed().as_secs(),
        held.len(),
        load(&truth.commits),
        load(&truth.refused),
        load(&truth.waits),
        load(&truth.reads),
        load(&truth.deletes),
        load(&truth.snapshots),
        early[0],
        late[0],
        early[1],
        late[1],
        early[2],
        late[2]
    );
    assert!(late[0] <= early[0], "descriptors are left behind: {held:?}");
    // A sanitizer keeps books of its own, in maps of its own.
    if std::env::var(UNLIMITED).is_err() {
        assert!(late[1] <= early[1] + 16, "maps are left behind: {held:?}");
    }
    assert!(late[2] <= early[2] + MEMORY_SLACK_KIB, "memory is left behind: {held:?}");
    assert!(!may_fill || load(&truth.refused) >= held.len() as u64, "the disk was never full");
}

#[test]
fn nothing_grows_and_a_full_disk_is_survived() {
    if !Path::new("/proc/self/maps").exists() {
        println!("skipped: there is no /proc here to count by");
        return;
    }
    let seconds = std::env::var("SILVERBACK_SOAK").ok().and_then(|v| v.parse::<u64>().ok()).unwrap_or(4);
    let small = Mount::tmpfs(DISK_BYTES);
    let plain = tempfile::tempdir().unwrap();
    let (dir, fills) = match &small {
        Ok(mount) => (mount.path(), true),
        Err(why) => {
            println!("skipped: the full disk: {why}");
            (plain.path(), false)
        }
    };
    let limit = match std::env::var(UNLIMITED) {
        Ok(_) => format!("ulimit -n {DESCRIPTORS}"),
        Err(_) => format!("ulimit -n {DESCRIPTORS} && ulimit -v {ADDRESS_SPACE_KIB}"),
    };
    let mut child = Command::new("sh");
    child.args(["-c", &format!("{limit} && exec \"$0\" --exact child --nocapture --test-threads=1")]);
    child.arg(std::env::current_exe().unwrap()).env(DIR, format!("{}|{seconds}", dir.display()));
    if fills {
        child.env("SILVERBACK_SOAK_FILLS", "yes");
    }
    let output = child.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<&str> = told.lines().filter(|line| line.contains("soak: ")).collect();
    println!("{}", figures.join("\n"));
    assert!(
        output.status.success() && !figures.is_empty(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
