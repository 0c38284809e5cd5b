//! Goal: a process that is killed at any moment, while it commits, deletes, flushes and compacts, loses nothing that it had
//! acknowledged; and a reader in another process sees all of that at any time.
//!
//! Method: this test runs itself as the victim (`victim`), with two writing threads and one that compacts. What is
//! acknowledged comes over a pipe. After a random number of acknowledgements a reader here opens the living directory; then
//! the victim is killed by SIGKILL, the directory is opened, and everything is compared. The next victim goes on from there, ten
//! times over one directory, with each sync policy in turn: a kill may cost nothing under any of them.
//!
//! SIGKILL ends a process and leaves the page cache, so that a filesystem in memory (`/dev/shm`) is as good as a disk here, and
//! its syncs cost nothing. Power cuts are `tests/power.rs`. The long form: `SILVERBACK_KILLS=5000 cargo test --release --test kill`.

use silverback::Db;

mod victim;

use victim::{Oracle, Victim, options, policy};

/// Kills if nobody asks for more.
const KILLS: u64 = 200;
/// Kills of one directory.
const LIVES: u64 = 10;

/// The process that is killed; nothing if this is not one.
#[test]
fn victim() {
    victim::live();
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn random(seed: u64) -> u64 {
    let z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    acks: u64,
    deletes: u64,
    readers: u64,
    blocks: u64,
    verified: u64,
}

/// Opens for reading. A writer that is faster than the reader is an error that says to try again: so it is tried again.
fn look(dir: &std::path::Path, seed: u64) -> Db {
    for _ in 0..20 {
        match Db::open_read_only(dir, options(policy(seed))) {
            Ok(reader) => return reader,
            Err(e) if e.to_string().contains("try again") => println!("seed {seed}: {e}"),
            Err(e) => panic!("seed {seed}, a reader: {e}"),
        }
    }
    panic!("seed {seed}: a reader never gets a look");
}

/// Kills the victims of one directory, one after the other.
fn lives(first: u64, figures: &mut Figures) {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let mut oracle = Oracle::new();
    for seed in first..first + LIVES {
        let mut victim = Victim::start(dir.path(), seed, &oracle);
        assert!(victim.id() > 0);
        let until = oracle.acks + 1 + random(seed) % 90;
        while oracle.acks < until {
            assert!(victim.hear(&mut oracle), "seed {seed}: the victim died by itself");
        }
        if seed % 2 == 0 {
            let reader = look(dir.path(), seed);
            oracle.check_reader(&reader).unwrap_or_else(|why| panic!("seed {seed}, a reader: {why}"));
            figures.readers += 1;
        }
        std::thread::sleep(std::time::Duration::from_micros(random(seed ^ 77) % 4_000));
        victim.kill(&mut oracle);
        let db = Db::open(dir.path(), options(policy(seed))).unwrap();
        let report = db.open_report();
        assert!(report.damage.is_empty() && report.quarantined.is_empty(), "seed {seed}: {report:?}");
        oracle.check(&db, false).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        if seed % 5 == 0 {
            assert!(db.verify().unwrap().is_clean(), "seed {seed}");
            figures.verified += 1;
        }
        figures.kills += 1;
        figures.blocks += db.stats().blocks;
    }
    assert!(oracle.commits().cast_unsigned() >= oracle.acks);
    figures.acks += oracle.acks;
    figures.deletes += oracle.deletes;
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill() {
    let kills = std::env::var("SILVERBACK_KILLS").ok().and_then(|v| v.parse().ok()).unwrap_or(KILLS);
    let next = std::sync::atomic::AtomicU64::new(0);
    let total = std::sync::Mutex::new(Figures::default());
    std::thread::scope(|scope| {
        let work = || {
            let mut mine = Figures::default();
            loop {
                let first = next.fetch_add(LIVES, std::sync::atomic::Ordering::SeqCst);
                if first >= kills {
                    break;
                }
                lives(first, &mut mine);
            }
            let mut total = total.lock().unwrap();
            total.kills += mine.kills;
            total.acks += mine.acks;
            total.deletes += mine.deletes;
            total.readers += mine.readers;
            total.blocks += mine.blocks;
            total.verified += mine.verified;
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    let total = total.into_inner().unwrap();
    println!(
        "kills: {} (seeds 0..{kills}), {} commits and {} deletes acknowledged, {} readers beside a living writer, {} blocks met, {} verified, failures = 0",
        total.kills, total.acks, total.deletes, total.readers, total.blocks, total.verified
    );
    assert!(total.kills >= kills && total.acks > kills && total.blocks > 0, "{total:?}");
}
