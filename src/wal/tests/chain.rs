//! The chain of segments: removal, holes, foreign files, newer versions, headers that a crash left.

use super::*;
use crate::format::wal_segment::HEADER_BYTES;

/// A log of six commits in segments of two, closed.
fn three_segments() -> (MemFs, Wal) {
    let fs = mem();
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    for lsn in 1..=6 {
        commit(&mut wal, lsn).unwrap();
        if lsn % 2 == 0 {
            wal.rotate().unwrap();
        }
    }
    wal.close().unwrap();
    assert_eq!(wal.segments().len(), 3);
    (fs, wal)
}

fn file(sequence: u64) -> PathBuf {
    segment::path(Path::new(DIR), sequence)
}

#[test]
fn segments_leave_oldest_first_whatever_the_order_of_removal() {
    let (fs, mut wal) = three_segments();
    let bytes = wal.bytes();
    wal.remove_segment(2).unwrap();
    assert_eq!(wal.segments().iter().map(|s| s.sequence).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(wal.bytes(), bytes, "it is still on disk");
    assert_eq!(replayed(&fs).0.commits, expected(1..=6));
    assert_eq!(wal.remove_segment(2).unwrap_err().kind(), ErrorKind::InvalidArgument);
    wal.remove_segment(1).unwrap();
    let (all, replay) = replayed(&fs.crash(&crate::env::CrashPolicy::DropUnsynced));
    assert_eq!(all.commits, expected(5..=6));
    assert!(replay.damage.is_empty());
    commit(&mut wal, 7).unwrap();
    wal.remove_segment(3).unwrap();
    assert_eq!(replayed(&fs).0.commits, expected([7]));
    assert_eq!(wal.remove_segment(4).unwrap_err().kind(), ErrorKind::InvalidArgument, "the active one");
}

#[test]
fn a_hole_is_damage_and_what_is_there_is_delivered() {
    let (fs, _) = three_segments();
    fs.remove_file(&file(2)).unwrap();
    let (all, replay) = replayed(&fs);
    assert_eq!(all.commits, expected([1, 2, 5, 6]));
    assert_eq!(replay.damage.len(), 1);
    assert_eq!(replay.damage[0].path(), Some(&*file(2)));
    fs.remove_file(&file(1)).unwrap();
    assert!(replayed(&fs).1.damage.is_empty(), "without an older one it was removed on purpose");
}

#[test]
fn a_segment_that_was_moved_away_can_be_removed() {
    let (fs, mut wal) = three_segments();
    fs.remove_file(&file(1)).unwrap();
    wal.remove_segment(1).unwrap();
    assert_eq!(wal.segments().len(), 2);
}

#[test]
fn foreign_names_are_reported_and_left_alone() {
    let (fs, _) = three_segments();
    for name in ["notes.txt", "7", "000000000000000000zz", "00000000000000000000"] {
        fs.write(Path::new(DIR).join(name), b"mine").unwrap();
    }
    fs.create_dir(&file(9)).unwrap();
    let (all, replay) = replayed(&fs);
    assert_eq!((all.commits.len(), replay.damage.len()), (6, 5));
    assert_eq!(replay.end.sequence, 9, "the name that the directory has is taken");
    assert_eq!(fs.read(Path::new(DIR).join("7")).unwrap(), b"mine");
}

#[test]
fn a_newer_version_is_an_error_of_its_own() {
    let (fs, _) = three_segments();
    let mut bytes = fs.read(file(3)).unwrap();
    bytes[8] = 2;
    bytes.truncate(HEADER_BYTES - 4);
    crate::format::cursor::seal(&mut bytes, 0, 0);
    fs.write(file(4), &bytes).unwrap();
    let error = try_replayed(&fs).err().unwrap();
    assert_eq!((error.kind(), error.path()), (ErrorKind::NewerFormat, Some(&*file(4))));
}

#[test]
fn a_segment_under_another_name_is_damage() {
    let (fs, _) = three_segments();
    fs.rename(&file(3), &file(8)).unwrap();
    let (all, replay) = replayed(&fs);
    assert_eq!(all.commits, expected(1..=4));
    assert_eq!((replay.damage.len(), replay.end.sequence), (1, 8));
}

#[test]
fn a_crash_while_a_segment_is_made_leaves_no_damage() {
    for left in [&[][..], &b"SBWALSEG"[..], &[0; 60], &[0; 4_096]] {
        let (fs, _) = three_segments();
        fs.write(file(4), left).unwrap();
        let (all, replay) = replayed(&fs);
        assert_eq!(all.commits, expected(1..=6));
        assert!(replay.damage.is_empty(), "{:?}", replay.damage);
        assert_eq!((replay.end.sequence, replay.end.previous.sequence), (4, 3));
        // The log goes on behind it, and it stays harmless in the middle.
        let mut wal = reopened(&dynamic(&fs), small()).unwrap();
        commit(&mut wal, 7).unwrap();
        wal.rotate().unwrap();
        commit(&mut wal, 8).unwrap();
        let (all, replay) = replayed(&fs);
        assert_eq!(all.commits, expected(1..=8));
        assert!(replay.damage.is_empty() && replay.end.sequence == 6);
        for sequence in 1..=5 {
            wal.remove_segment(sequence).unwrap();
        }
        assert_eq!(replayed(&fs).0.commits, expected([8]));
    }
}

#[test]
fn a_broken_header_before_records_is_damage() {
    for sequence in 1..=3 {
        let (fs, _) = three_segments();
        fs.flip_bit(file(sequence), 100).unwrap();
        let (all, replay) = replayed(&fs);
        let lost = [sequence * 2 - 1, sequence * 2];
        assert_eq!(all.commits, expected((1..=6).filter(|lsn| !lost.contains(lsn))));
        assert_eq!(replay.damage.len(), 1);
        assert_eq!(replay.damage[0].path(), Some(&*file(sequence)));
        let damaged: Vec<u64> =
            replay.end.segments.iter().filter(|s| s.damaged).map(|s| s.sequence).collect();
        assert_eq!(damaged, [sequence]);
    }
}

#[test]
fn cancel_and_the_visitor_end_a_replay() {
    let (fs, _) = three_segments();
    let cancel = Cancel::default();
    cancel.cancel();
    let cancelled = replay(&fs, Path::new(DIR), &mut Collector::default(), &cancel).err().unwrap();
    assert_eq!(cancelled.kind(), ErrorKind::Cancelled);

    struct Full;
    impl Visitor for Full {
        fn series(&mut self, _: Labels) -> Result<u32> {
            Err(crate::error::Error::new(ErrorKind::Ceiling, "full"))
        }
        fn commit(&mut self, _: Lsn, _: &[WalSample]) -> Result<()> {
            Ok(())
        }
        fn metadata(&mut self, _: Lsn, _: &str, _: Metadata) -> Result<()> {
            Ok(())
        }
    }
    let full = replay(&fs, Path::new(DIR), &mut Full, &Cancel::default()).err().unwrap();
    assert_eq!(full.kind(), ErrorKind::Ceiling);
}

#[test]
fn a_missing_directory_is_an_empty_log() {
    let (all, replay) = replayed(&MemFs::new());
    assert!(all.commits.is_empty() && replay.damage.is_empty());
    assert_eq!(replay.end.sequence, 0);
}
