//! The power is cut at every call of a script, and every image that the in-memory filesystem knows to
//! make is replayed: a prefix of the commits, with all that was synced, and no report of damage.
//! Then the log goes on from the image, and is cut once more.

use super::*;
use crate::env::CrashPolicy;

/// Commits, syncs now and then, rotates, reopens, removes. Returns what was written and what was synced
/// before the first failure.
fn script(fs: &Arc<dyn Fs>) -> (u64, u64) {
    let (mut written, mut synced) = (0, 0);
    let mut run = || -> Result<()> {
        let mut wal = reopened(fs, small())?;
        wal.metadata(Lsn(1), &[("a", &metadata("help"))])?;
        for lsn in 2..=9 {
            written = lsn;
            commit(&mut wal, lsn)?;
            if lsn % 2 == 0 {
                synced = sync(&mut wal)?.0;
            }
        }
        wal.rotate()?;
        synced = 9;
        for lsn in 10..=11 {
            written = lsn;
            commit(&mut wal, lsn)?;
        }
        drop(wal);
        // A process that was killed: another goes on.
        let mut wal = reopened(fs, small())?;
        synced = 11;
        written = 12;
        commit(&mut wal, 12)?;
        wal.close()?;
        synced = 12;
        Ok(())
    };
    let _ = run();
    (written, synced)
}

/// The commits are 2..=n for some n in `synced..=written`; returns n.
fn check_prefix(image: &MemFs, written: u64, synced: u64, context: &str) -> u64 {
    let (all, replay) = replayed(image);
    let last = all.commits.last_key_value().map_or(1, |(lsn, _)| *lsn);
    assert_eq!(all.commits, expected(2..=last), "{context}");
    assert!(last >= synced && last <= written.max(1), "{context}: {last} of {synced}..={written}");
    assert!(replay.damage.is_empty(), "{context}: {:?}", replay.damage);
    last
}

/// The log goes on from an image: one more commit, synced, survives a second cut.
fn check_goes_on(image: &MemFs, last: u64, context: &str) {
    let mut wal = reopened(&dynamic(image), small()).unwrap();
    let next = wal.written().0.max(last) + 1;
    commit(&mut wal, next).unwrap();
    sync(&mut wal).unwrap();
    for policy in [CrashPolicy::DropUnsynced, CrashPolicy::KeepAll] {
        let (all, replay) = replayed(&image.crash(&policy));
        assert_eq!(all.commits, expected((2..=last).chain([next])), "{context}, then {policy:?}");
        assert!(replay.damage.is_empty(), "{context}, then {policy:?}: {:?}", replay.damage);
    }
}

#[test]
fn every_crash_leaves_a_prefix_with_all_that_was_synced() {
    let whole = mem();
    let before = whole.operations();
    assert_eq!(script(&dynamic(&whole)), (12, 12));
    let operations = whole.operations();
    assert!(operations - before > 40, "the script is worth cutting");
    let mut images = 0;
    for cut in before..=operations {
        let fs = mem();
        fs.cut_power_after(cut);
        let (written, synced) = script(&dynamic(&fs));
        for policy in fs.crash_policies(cut, 4) {
            let context = format!("cut at {cut}, {policy:?} of {:?}", fs.describe_pending());
            let image = fs.crash(&policy);
            let last = check_prefix(&image, written, synced, &context);
            check_goes_on(&image, last, &context);
            images += 1;
        }
    }
    assert!(images > 500, "{images} images");
}

#[test]
fn a_process_that_dies_loses_nothing_written() {
    let whole = mem();
    let before = whole.operations();
    script(&dynamic(&whole));
    for cut in before..=whole.operations() {
        let fs = mem();
        fs.cut_power_after(cut);
        let (written, _) = script(&dynamic(&fs));
        let image = fs.crash(&CrashPolicy::KeepAll);
        // All but the last commit, which may have been the one that was cut.
        check_prefix(&image, written, written.saturating_sub(1), &format!("killed at {cut}"));
    }
}

#[test]
fn what_later_records_know_to_be_durable_need_not_be_written_again() {
    let fs = mem();
    let options = WalOptions { segment_bytes: 1 << 20, allocate_bytes: 1 << 20 };
    let mut wal = reopened(&dynamic(&fs), options).unwrap();
    wal.metadata(Lsn(1), &[("m", &metadata("restated"))]).unwrap();
    let mut ends = BTreeMap::new();
    for lsn in 2..=7 {
        commit(&mut wal, lsn).unwrap();
        ends.insert(lsn, replayed(&fs).1.end);
        if lsn == 3 || lsn == 5 {
            sync(&mut wal).unwrap();
        }
    }
    let end_of = |lsn: u64| ends[&lsn].previous.bytes;
    let durable = [2, 3, 4, 5, 6, 7].map(|lsn| ends[&lsn].durable_bytes);
    assert_eq!(durable[..2], [0, 0], "nothing was synced yet");
    assert!(durable[2] > 0 && durable[2] <= end_of(3), "4 knows of the metadata and of 2 and 3");
    assert_eq!(durable[3], durable[2], "5 knows no more than 4");
    assert_eq!(
        durable[4..],
        [end_of(4); 2],
        "6 knows of all up to 5; what came first behind the mark counts"
    );
    // Restated metadata says nothing of what stands before it in its segment.
    wal.rotate().unwrap();
    let crashed = fs.fork();
    let mut wal = reopened(&dynamic(&crashed), options).unwrap();
    commit(&mut wal, 8).unwrap();
    let end = replayed(&crashed).1.end;
    assert_eq!((end.previous.sequence, end.written), (2, Lsn(8)));
    assert!(end.durable_bytes > 0 && end.durable_bytes < end.previous.bytes, "{end:?}");
    wal.close().unwrap();
    let end = replayed(&crashed).1.end;
    assert!(
        end.closed && end.durable_bytes < end.previous.bytes,
        "the closing record itself is written again"
    );
}
