//! Goal: a head that is full flushes early, then refuses with a clear error, and never grows beyond its ceiling; nothing that was
//! acknowledged is lost by it. Method: heads of a mebibyte, filled by known series, by new ones, and beside a reader that
//! holds what was flushed; stepped by hand, and beside the background thread.

use super::*;
use crate::error::Applied;

/// The smallest head.
const CEILING: u64 = 1 << 20;
/// What one commit of these tests may add to it.
const COMMIT: u64 = 64 << 10;

fn small(options: Options) -> Options {
    options.head_memory(CEILING).sync(SyncPolicy::Never)
}

/// A value whose bits look random, so that it costs as much as a value can.
fn noise(n: i64) -> f64 {
    f64::from_bits(n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2)
}

/// Buffers a sample of each of 100 series at `n`, all in one range of blocks for 10,000 of them.
fn buffer(app: &mut Appender, n: i64) {
    for i in 0..100 {
        app.append(&series(i), n, noise(n * 100 + i.cast_signed())).unwrap();
    }
}

/// Commits until the head is full; how many commits were taken, and the error.
fn fill(db: &Db, app: &mut Appender, from: i64) -> (i64, Error) {
    for n in from.. {
        buffer(app, n);
        match app.commit() {
            Ok(committed) => assert_eq!(committed.appended(), 100),
            Err(e) => return (n, e),
        }
        assert!(db.shared().head.bytes() < CEILING + COMMIT, "beyond the ceiling");
    }
    unreachable!("the head has a ceiling")
}

#[test]
fn a_full_head_refuses_commits_until_it_is_flushed() {
    let fs = MemFs::new();
    let db = Db::open("/db", small(options(&fs))).unwrap();
    let mut app = db.appender().unwrap();
    let mut taken = 0;
    for round in 1..=3 {
        let (full, error) = fill(&db, &mut app, taken);
        assert_eq!((error.kind(), error.applied()), (ErrorKind::Ceiling, Applied::No), "{error}");
        assert!(error.to_string().contains("head_memory"), "{error}");
        assert!(full > taken && full < 10_000 - 100, "one range of blocks holds it: {full}");
        assert_eq!(app.pending(), 100, "the samples are kept for another try");
        assert_eq!(read_all(&db).len() as i64, full * 100, "reads go on, and nothing of it was applied");
        assert_eq!(db.stats().flushes, round - 1);
        db.maintain().unwrap();
        assert_eq!(app.commit().unwrap().appended(), 100);
        taken = full + 1;
        assert!(db.stats().head_bytes < CEILING / 2, "{:?}", db.stats());
        assert_eq!(db.stats().flushes, round, "though its range was not complete");
    }
    let expected = read_all(&db);
    assert_eq!(expected.len() as i64, taken * 100);
    drop((app, db));
    assert_eq!(read_all(&open(&fs)), expected);
}

#[test]
fn a_full_head_refuses_new_series_until_old_ones_are_gone() {
    let db = Db::open("/db", small(options(&MemFs::new()))).unwrap();
    let mut app = db.appender().unwrap();
    let mut stored = 0;
    for round in 1..=3 {
        let (why, refused) = loop {
            let refused = (stored..stored + 100).find_map(|i| app.append(&series(i), 1_000, 1.0).err());
            match (refused, app.commit()) {
                (None, Ok(committed)) => stored += committed.appended(),
                (why, outcome) => break (why, outcome.unwrap_err()),
            }
            assert!(db.shared().head.bytes() < CEILING + COMMIT, "beyond the ceiling");
        };
        assert!(why.is_none_or(|why| why == AppendError::Ceiling), "{why:?}");
        assert_eq!((refused.kind(), refused.applied()), (ErrorKind::Ceiling, Applied::No), "{refused}");
        // Series of an open batch stay.
        app.rollback();
        db.maintain().unwrap();
        assert!(stored > 1_000 * round && db.stats().head_series == 0, "{stored}: {:?}", db.stats());
        assert_eq!(read_all(&db).len() as u64, stored);
    }
}

#[test]
fn a_reader_that_stays_keeps_one_state_however_many_flushes_follow() {
    let db = Db::open("/db", options(&MemFs::new())).unwrap();
    let mut app = db.appender().unwrap();
    let flush_some = |app: &mut Appender, from: i64| {
        for n in from..from + 50 {
            buffer(app, n);
            app.commit().unwrap();
        }
        db.compact(&Default::default()).unwrap();
    };
    (0..50).for_each(|n| buffer(&mut app, n));
    app.commit().unwrap();
    let (querier, expected) = (db.querier(TimeRange::ALL).unwrap(), read_all(&db));
    let held = db.stats().head_bytes;
    let mut most = 0;
    for round in 1..=8 {
        flush_some(&mut app, round * 50);
        most = most.max(db.stats().head_bytes);
        assert!(most > held / 2, "what the reader holds is counted");
        assert!(most < held * 2, "round {round}: {most} bytes, where the reader holds {held}");
    }
    assert_eq!(read(&querier, &Selector::all()), expected);
    drop(querier);
    db.maintain().unwrap();
    assert!(db.stats().head_bytes < held / 2, "{} of {held}", db.stats().head_bytes);
}

#[test]
fn in_the_background_a_full_head_is_back_pressure_and_loses_nothing() {
    let fs = MemFs::new();
    let db = Db::open("/db", small(options(&fs)).maintenance(Maintenance::Background)).unwrap();
    let refused = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for w in 0..2u64 {
            let (db, refused) = (&db, &refused);
            scope.spawn(move || {
                let mut app = db.appender().unwrap();
                for n in 0..600i64 {
                    for i in w * 100..w * 100 + 100 {
                        app.append(&series(i), n, noise(n * 200 + i.cast_signed())).unwrap();
                    }
                    while let Err(e) = app.commit() {
                        assert_eq!((e.kind(), e.applied()), (ErrorKind::Ceiling, Applied::No), "{e}");
                        refused.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                    }
                    assert!(db.shared().head.bytes() < CEILING + 2 * COMMIT, "beyond the ceiling");
                }
            });
        }
    });
    assert!(db.stats().flushes > 0 && db.stats().maintenance_failures == 0, "{:?}", db.stats());
    let expected = read_all(&db);
    assert_eq!(expected.len(), 120_000, "more than a head can hold");
    db.close().unwrap();
    assert_eq!(read_all(&open(&fs)), expected);
}
