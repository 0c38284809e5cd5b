//! Every bit of a small log is flipped, every file cut at every length: only true commits come back, in
//! order, and what was synced is lost only with a report.

use super::*;
use crate::env::CrashPolicy;

/// Three segments with metadata; each commit synced before the next, so that later records know it.
fn log(close: bool) -> MemFs {
    let fs = mem();
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    wal.metadata(Lsn(1), &[("a", &metadata("help"))]).unwrap();
    for lsn in 2..=9 {
        commit(&mut wal, lsn).unwrap();
        sync(&mut wal).unwrap();
        if lsn % 3 == 0 && lsn < 9 {
            wal.rotate().unwrap();
        }
    }
    if close {
        wal.close().unwrap();
    }
    fs.crash(&CrashPolicy::KeepAll)
}

/// `known` is the last LSN that the log itself knows to be durable.
fn check(fs: &MemFs, known: u64, context: &str) {
    let (all, replay) = replayed(fs);
    for (lsn, rows) in &all.commits {
        assert_eq!(*rows, truth(*lsn), "{context}: commit {lsn}");
    }
    let lost = (2..=known).any(|lsn| !all.commits.contains_key(&lsn));
    assert!(!lost || !replay.damage.is_empty(), "{context}: lost without a report");
    for error in &replay.damage {
        assert!(error.path().is_some() && error.kind() == ErrorKind::Corrupt, "{context}: {error:?}");
    }
}

/// The file of a log, and where its records end.
fn files(fs: &MemFs) -> Vec<(PathBuf, u64)> {
    let entries = fs.list(Path::new(DIR)).unwrap();
    entries.iter().map(|e| (Path::new(DIR).join(&e.name), e.bytes)).collect()
}

#[test]
fn every_flipped_bit_of_a_closed_log_is_harmless_or_reported() {
    let fs = log(true);
    assert_eq!(replayed(&fs).0.commits, expected(2..=9));
    let files = files(&fs);
    assert_eq!(files.len(), 3);
    for (path, bytes) in files {
        for bit in 0..bytes * 8 {
            let flipped = fs.fork();
            flipped.flip_bit(&path, bit).unwrap();
            check(&flipped, 9, &format!("{} bit {bit}", path.display()));
        }
    }
}

#[test]
fn every_flipped_bit_of_an_open_log_loses_what_is_in_doubt_at_most() {
    let fs = log(false);
    for (path, bytes) in files(&fs) {
        for bit in 0..bytes * 8 {
            let flipped = fs.fork();
            flipped.flip_bit(&path, bit).unwrap();
            // Commit 9 knows that 8 was synced; nothing knows it of 9.
            check(&flipped, 8, &format!("{} bit {bit}", path.display()));
        }
    }
}

#[test]
fn a_file_cut_at_any_length_is_harmless_or_reported() {
    let fs = log(true);
    for (i, (path, bytes)) in files(&fs).into_iter().enumerate() {
        for length in 0..bytes {
            let cut = fs.fork();
            cut.truncate(&path, length).unwrap();
            // Of the last segment nobody knows how long it was.
            let known = if i < 2 { 9 } else { 6 };
            check(&cut, known, &format!("{} cut at {length}", path.display()));
        }
    }
}

#[test]
fn damage_names_file_and_offset_and_the_rest_is_served() {
    let fs = log(true);
    let (path, _) = files(&fs).remove(1);
    let clean = replayed(&fs).1;
    let middle = clean.end.segments[1].path.clone();
    assert_eq!(path, middle);
    // Byte 200 is in a record behind the first of the second segment.
    fs.flip_bit(&path, 200 * 8).unwrap();
    let (all, replay) = replayed(&fs);
    assert_eq!(replay.damage.len(), 1);
    let error = &replay.damage[0];
    assert_eq!(error.path(), Some(&*path));
    assert!(error.offset().is_some_and(|o| (60..400).contains(&o)), "{error}");
    let kept: Vec<u64> = all.commits.keys().copied().collect();
    assert!(kept.starts_with(&[2, 3]) && kept.ends_with(&[7, 8, 9]) && kept.len() < 8, "{kept:?}");
    assert!(replay.end.segments[1].damaged && !replay.end.segments[0].damaged);
}

#[test]
fn writing_goes_on_after_damage_and_nothing_is_deleted() {
    let fs = log(true);
    let before = files(&fs);
    let (last, _) = before[2].clone();
    fs.flip_bit(&last, 180 * 8).unwrap();
    let bytes = fs.read(&last).unwrap();
    let (all, replay) = replayed(&fs);
    assert_eq!(replay.damage.len(), 1, "{:?}", all.commits.keys());
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    assert_eq!(wal.written(), Lsn(9), "no LSN that was met is given again");
    commit(&mut wal, 10).unwrap();
    wal.close().unwrap();
    assert_eq!(fs.read(&last).unwrap(), bytes);
    let (again, _) = replayed(&fs);
    assert!(again.commits.contains_key(&10));
    assert_eq!(again.commits.len(), all.commits.len() + 1);
}

#[test]
fn a_search_for_later_records_is_bounded() {
    // A tail in which every byte begins something that looks like a huge record.
    let fs = mem();
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    commit(&mut wal, 1).unwrap();
    let (path, _) = files(&fs).remove(0);
    let end = replayed(&fs).1.end.previous.bytes;
    let mut bytes = fs.read(&path).unwrap();
    bytes.truncate(usize::try_from(end).unwrap());
    for _ in 0..200_000 {
        bytes.extend_from_slice(&[1, 1, 1, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    }
    fs.write(&path, &bytes).unwrap();
    let (all, replay) = replayed(&fs);
    assert_eq!(all.commits, expected([1]));
    assert_eq!(replay.damage.len(), 1, "a budget that ran out is no proof of health");
}
