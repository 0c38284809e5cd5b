//! Every call of a script fails once, in every way: what failed is never replayed, what succeeded
//! always is, and the log stays usable unless a sync failed.

use super::*;
use crate::env::{Fault, FaultFs, FaultPlan, OpClass};
use crate::error::Applied;

/// What a script saw.
#[derive(Default, Debug)]
struct Seen {
    done: Vec<u64>,
    unknown: Vec<u64>,
    poisoned: bool,
}

/// Tries every commit with its own LSN; goes on after failures.
fn script(wal: &mut Wal) -> Seen {
    let mut seen = Seen::default();
    for lsn in 2..=14 {
        match commit(wal, lsn) {
            Ok(()) => seen.done.push(lsn),
            Err(e) if e.applied() == Applied::Unknown => seen.unknown.push(lsn),
            Err(_) => {}
        }
        if lsn % 4 == 0 {
            let _ = sync(wal);
        }
        if lsn == 9 {
            let _ = wal.rotate();
        }
    }
    seen.poisoned = wal.is_poisoned();
    seen
}

fn run(plan: FaultPlan) -> Option<(Seen, MemFs)> {
    let base = mem();
    let fs = FaultFs::new(dynamic(&base));
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut wal = reopened(&shared, small()).unwrap();
    wal.metadata(Lsn(1), &[("a", &metadata("help"))]).unwrap();
    fs.arm(plan);
    let seen = script(&mut wal);
    fs.disarm();
    fs.triggered().then_some((seen, base))
}

fn check(seen: &Seen, fs: &MemFs, context: &str) {
    let (all, replay) = replayed(fs);
    assert!(replay.damage.is_empty(), "{context}: {:?}", replay.damage);
    let maybe = |lsn: &u64| seen.done.contains(lsn) || seen.unknown.contains(lsn);
    assert!(all.commits.keys().all(maybe), "{context}: {:?} of {seen:?}", all.commits.keys());
    assert_eq!(all.commits, expected(all.commits.keys().copied()), "{context}");
    let missing = seen.done.iter().any(|lsn| !all.commits.contains_key(lsn));
    assert!(!missing, "{context}: {:?} of {seen:?}", all.commits.keys());
    assert_eq!(all.families.len(), 1, "{context}");
}

#[test]
fn a_fault_at_every_call_leaves_exactly_what_succeeded() {
    let faults = [
        Fault::EioOnce,
        Fault::NoSpaceOnce,
        Fault::ShortWriteNoSpace,
        Fault::ShortWriteEio,
        Fault::InterruptedOnce,
        Fault::TooManyFiles,
    ];
    let mut runs = 0;
    for fault in faults {
        for at in 0.. {
            let Some((seen, fs)) = run(FaultPlan { at, class: None, fault }) else { break };
            let context = format!("{fault:?} at {at}");
            check(&seen, &fs, &context);
            if !seen.poisoned {
                assert!(seen.done.len() >= 12, "{context}: one fault fails one commit: {seen:?}");
            }
            runs += 1;
        }
    }
    assert!(runs > 100, "{runs} runs");
}

#[test]
fn a_failed_sync_ends_the_writer_for_good() {
    for at in 0..6 {
        let plan = FaultPlan { at, class: Some(OpClass::Sync), fault: Fault::EioOnce };
        let Some((seen, fs)) = run(plan) else { continue };
        check(&seen, &fs, &format!("sync {at}"));
    }
    let base = mem();
    let fs = FaultFs::new(dynamic(&base));
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut wal = reopened(&shared, small()).unwrap();
    commit(&mut wal, 1).unwrap();
    let (first, second) = (wal.sync_point(), wal.sync_point());
    fs.arm(FaultPlan { at: 0, class: Some(OpClass::Sync), fault: Fault::LostSync });
    assert_eq!(first.sync().unwrap_err().applied(), Applied::Unknown);
    assert_eq!(second.sync().unwrap_err().kind(), ErrorKind::Poisoned, "no sync is tried again");
    assert!(wal.is_poisoned());
    assert_eq!(commit(&mut wal, 2).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(wal.rotate().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(wal.close().unwrap_err().kind(), ErrorKind::Poisoned);
    drop(wal);
    // What the sync lost is gone; a new handle goes on.
    let mut wal = reopened(&shared, small()).unwrap();
    commit(&mut wal, 2).unwrap();
    assert_eq!(replayed(&base).0.commits, expected([2]));
}

#[test]
fn a_full_disk_passes() {
    let fs = mem();
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    for lsn in 1..=3 {
        commit(&mut wal, lsn).unwrap();
    }
    let used = wal.bytes();
    let mut failures = 0;
    let mut lsn = 3;
    for limit in (used..used + 2_000).step_by(40) {
        fs.limit_bytes(limit);
        match commit(&mut wal, lsn + 1) {
            Ok(()) => lsn += 1,
            Err(e) => {
                assert_eq!((e.kind(), e.applied()), (ErrorKind::NoSpace, Applied::No));
                failures += 1;
            }
        }
        assert_eq!(wal.written(), Lsn(lsn));
        assert_eq!(replayed(&fs).0.commits, expected(1..=lsn), "limit {limit}");
    }
    assert!(failures > 5 && lsn > 8, "{failures} failures, {lsn} commits");
    fs.limit_bytes(u64::MAX);
    wal.close().unwrap();
    assert!(replayed(&fs).1.damage.is_empty());
}

#[test]
fn closing_on_a_full_disk_works() {
    let fs = mem();
    let mut wal = reopened(&dynamic(&fs), WalOptions { segment_bytes: 1 << 20, allocate_bytes: 1 }).unwrap();
    commit(&mut wal, 1).unwrap();
    fs.limit_bytes(0);
    wal.close().unwrap();
    assert_eq!(replayed(&fs.crash(&crate::env::CrashPolicy::DropUnsynced)).0.commits, expected([1]));
}

#[test]
fn a_reader_beside_a_writer_that_failed_in_the_middle_sees_the_good_part() {
    let base = mem();
    let fs = FaultFs::new(dynamic(&base));
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut wal = reopened(&shared, small()).unwrap();
    commit(&mut wal, 1).unwrap();
    sync(&mut wal).unwrap();
    fs.arm(FaultPlan { at: 0, class: None, fault: Fault::ShortWriteEio });
    commit(&mut wal, 2).unwrap_err();
    let (all, replay) = replayed(&base);
    assert_eq!(all.commits, expected([1]));
    assert!(replay.damage.is_empty());
    commit(&mut wal, 2).unwrap();
    commit(&mut wal, 3).unwrap();
    assert_eq!(wal.segments().len(), 1, "the damaged segment took nothing more");
    assert_eq!(replayed(&base).0.commits, expected(1..=3));
}

#[test]
fn a_segment_that_could_be_neither_made_nor_removed_leaves_no_hole() {
    let base = mem();
    let fs = FaultFs::new(dynamic(&base));
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut wal = reopened(&shared, small()).unwrap();
    commit(&mut wal, 1).unwrap();
    wal.rotate().unwrap();
    // The file is created and its header written; neither the sync nor the removal works.
    fs.arm(FaultPlan { at: 3, class: None, fault: Fault::EioForever });
    commit(&mut wal, 2).unwrap_err();
    assert!(fs.what_failed().unwrap().starts_with("sync "), "{:?}", fs.what_failed());
    fs.disarm();
    commit(&mut wal, 3).unwrap();
    wal.rotate().unwrap();
    commit(&mut wal, 4).unwrap();
    for sequence in [1, 3] {
        wal.remove_segment(sequence).unwrap();
    }
    sync(&mut wal).unwrap();
    let (all, replay) = replayed(&base);
    assert_eq!(all.commits, expected([4]));
    assert!(replay.damage.is_empty(), "{:?}", replay.damage);
}
