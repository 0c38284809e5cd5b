//! What the in-memory filesystem keeps and loses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::*;

/// `/d/f` with 1000 synced bytes of 1, then 600 pending of 2 and 600 pending of 3.
fn pending_writes() -> (MemFs, Arc<dyn AppendFile>) {
    let fs = MemFs::new();
    fs.create_dir(Path::new("/d")).unwrap();
    let file = fs.create(Path::new("/d/f")).unwrap();
    file.append(&[1; 1000]).unwrap();
    file.sync().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(fs.pending(), 0);
    file.append(&[2; 600]).unwrap();
    file.append(&[3; 600]).unwrap();
    assert_eq!(fs.describe_pending(), ["write /d/f 1000..1600", "write /d/f 1600..2200"]);
    (fs, file)
}

/// The file after a crash, as runs of equal bytes.
fn runs(fs: &MemFs, policy: CrashPolicy) -> Vec<(u8, usize)> {
    let bytes = fs.crash(&policy).read("/d/f").unwrap();
    bytes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

#[test]
fn each_policy_leaves_what_it_says_of_data() {
    let (fs, _file) = pending_writes();
    assert_eq!(runs(&fs, CrashPolicy::DropUnsynced), [(1, 1000)]);
    assert_eq!(runs(&fs, CrashPolicy::KeepAll), [(1, 1000), (2, 600), (3, 600)]);
    assert_eq!(runs(&fs, CrashPolicy::Prefix(1)), [(1, 1000), (2, 600)]);
    assert_eq!(runs(&fs, CrashPolicy::Only(1)), [(1, 1000), (0, 600), (3, 600)]);
    assert_eq!(runs(&fs, CrashPolicy::Without(1)), [(1, 1000), (2, 600)]);
    assert_eq!(runs(&fs, CrashPolicy::ZeroTail), [(1, 1000), (0, 1200)]);
    assert_eq!(runs(&fs, CrashPolicy::OldLengths), [(1, 1000)]);
    assert_eq!(runs(&fs, CrashPolicy::Names(0)), [(1, 1000), (2, 600), (3, 600)]);
    assert_eq!(runs(&fs, CrashPolicy::Torn { unit: 0, bytes: 7 }), [(1, 1000), (2, 7)]);
    assert_eq!(runs(&fs, CrashPolicy::Torn { unit: 1, bytes: 513 }), [(1, 1000), (2, 600), (3, 513)]);
    assert_eq!(fs.read("/d/f").unwrap().len(), 2200, "the original goes on");
}

#[test]
fn data_may_survive_within_a_durable_length() {
    let fs = MemFs::new();
    let file = fs.create(Path::new("/f")).unwrap();
    file.allocate(1024).unwrap();
    file.sync().unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    file.append(&[1; 2000]).unwrap();
    file.allocate(4096).unwrap();
    let image = |policy| fs.crash(&policy).read("/f").unwrap();
    assert_eq!(image(CrashPolicy::DropUnsynced), [0; 1024]);
    assert_eq!(image(CrashPolicy::OldLengths), [1; 1024]);
    assert_eq!(image(CrashPolicy::ZeroTail), [0; 4096]);
    assert_eq!(image(CrashPolicy::Prefix(1)), [1; 2000]);
    let only_length = image(CrashPolicy::Only(1));
    assert_eq!(only_length, [0; 4096]);
}

#[test]
fn a_sync_makes_all_of_its_file_durable_and_nothing_else() {
    let (fs, file) = pending_writes();
    let other = fs.create(Path::new("/d/g")).unwrap();
    other.append(b"pending").unwrap();
    file.sync().unwrap();
    let image = fs.crash(&CrashPolicy::DropUnsynced);
    assert_eq!(image.read("/d/f").unwrap().len(), 2200);
    assert!(image.read("/d/g").is_err(), "data and name of the other are pending");
    other.sync().unwrap();
    assert!(fs.crash(&CrashPolicy::DropUnsynced).read("/d/g").is_err(), "the name is still pending");
    fs.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(fs.crash(&CrashPolicy::DropUnsynced).read("/d/g").unwrap(), b"pending");
}

#[test]
fn a_name_without_data_is_an_empty_file() {
    let fs = MemFs::new();
    let file = fs.create(Path::new("/f")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    file.append(b"bytes").unwrap();
    assert_eq!(fs.crash(&CrashPolicy::DropUnsynced).read("/f").unwrap(), b"");
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one() {
    let fs = MemFs::new();
    fs.write("/d/f", b"old").unwrap();
    fs.write("/d/new", b"new").unwrap();
    fs.rename(Path::new("/d/new"), Path::new("/d/f")).unwrap();
    let files = |policy| {
        let image = fs.crash(&policy);
        (image.read("/d/f").unwrap(), image.paths().len())
    };
    assert_eq!(files(CrashPolicy::DropUnsynced), (b"old".to_vec(), 2));
    assert_eq!(files(CrashPolicy::KeepAll), (b"new".to_vec(), 1));
    fs.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(fs.crash(&CrashPolicy::DropUnsynced).read("/d/f").unwrap(), b"new");
}

#[test]
fn a_rename_across_directories_becomes_durable_half_by_half() {
    let moved = |synced: &[&str], policy| {
        let fs = MemFs::new();
        fs.write("/a/f", b"bytes").unwrap();
        fs.write("/b/other", b"").unwrap();
        fs.rename(Path::new("/a/f"), Path::new("/b/f")).unwrap();
        synced.iter().for_each(|dir| fs.sync_dir(Path::new(dir)).unwrap());
        let image = fs.crash(&policy);
        (image.read("/a/f").is_ok(), image.read("/b/f").is_ok())
    };
    assert_eq!(moved(&[], CrashPolicy::DropUnsynced), (true, false));
    assert_eq!(moved(&[], CrashPolicy::KeepAll), (false, true));
    assert_eq!(moved(&["/b"], CrashPolicy::DropUnsynced), (true, true));
    assert_eq!(moved(&["/b"], CrashPolicy::KeepAll), (false, true));
    assert_eq!(moved(&["/a"], CrashPolicy::DropUnsynced), (false, false), "the wrong order loses it");
    assert_eq!(moved(&["/a", "/b"], CrashPolicy::DropUnsynced), (false, true));
}

#[test]
fn links_and_removals_are_durable_by_their_directory() {
    let fs = MemFs::new();
    fs.write("/d/f", b"bytes").unwrap();
    fs.hard_link(Path::new("/d/f"), Path::new("/d/g")).unwrap();
    fs.remove_file(Path::new("/d/f")).unwrap();
    let names = |policy| fs.crash(&policy).paths();
    let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(names(CrashPolicy::Names(0b00)), paths(&["/d/f"]));
    assert_eq!(names(CrashPolicy::Names(0b01)), paths(&["/d/f", "/d/g"]));
    assert_eq!(names(CrashPolicy::Names(0b10)), paths(&[]));
    assert_eq!(names(CrashPolicy::Names(0b11)), paths(&["/d/g"]));
    let linked = fs.crash(&CrashPolicy::KeepAll);
    assert_eq!(linked.read("/d/g").unwrap(), b"bytes");
}

#[test]
fn a_directory_whose_name_is_lost_takes_its_files_along() {
    let fs = MemFs::new();
    fs.create_dir(Path::new("/d")).unwrap();
    let file = fs.create(Path::new("/d/f")).unwrap();
    file.append(b"bytes").unwrap();
    file.sync().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    let image = fs.crash(&CrashPolicy::DropUnsynced);
    assert_eq!((image.paths(), image.list(Path::new("/")).unwrap()), (vec![], vec![]));
    assert_eq!(fs.crash(&CrashPolicy::KeepAll).read("/d/f").unwrap(), b"bytes");
}

#[test]
fn directories_with_two_names_do_not_hang() {
    let fs = MemFs::new();
    let path = Path::new;
    fs.create_dir(path("/x")).unwrap();
    fs.create_dir(path("/y")).unwrap();
    fs.sync_dir(path("/")).unwrap();
    fs.rename(path("/x"), path("/y/x")).unwrap();
    fs.sync_dir(path("/y")).unwrap();
    fs.rename(path("/y/x"), path("/x")).unwrap();
    fs.sync_dir(path("/")).unwrap();
    fs.rename(path("/y"), path("/x/y")).unwrap();
    fs.sync_dir(path("/x")).unwrap();
    let image = fs.crash(&CrashPolicy::DropUnsynced);
    assert_eq!(image.list(path("/")).unwrap().len(), 2, "each is in the other, and in the root");
    assert_eq!(image.paths(), Vec::<PathBuf>::new());
}

#[test]
fn what_random_images_hold_was_written_and_all_that_was_synced_is_there() {
    let (fs, _file) = pending_writes();
    fs.create(Path::new("/d/g")).unwrap().append(&[4; 100]).unwrap();
    let whole = fs.read("/d/f").unwrap();
    // Under Miri each takes a second.
    let images: u64 = if cfg!(miri) { 12 } else { 300 };
    let (mut kinds, mut torn, mut named) = (BTreeSet::new(), 0, 0);
    for seed in 0..images {
        let image = fs.crash(&CrashPolicy::Random(seed));
        let bytes = image.read("/d/f").unwrap();
        assert!(bytes.len() >= 1000 && bytes.len() <= 2200, "seed {seed}");
        assert!(bytes.iter().zip(&whole).all(|(&found, &meant)| found == meant || found == 0), "seed {seed}");
        assert!(bytes[..1000].iter().all(|&b| b == 1), "seed {seed}");
        torn += u64::from(bytes[1000..].contains(&0));
        named += u64::from(image.read("/d/g").is_ok());
        kinds.insert(bytes);
        assert_eq!(
            image.crash(&CrashPolicy::DropUnsynced).read("/d/f").unwrap(),
            image.read("/d/f").unwrap()
        );
        assert_eq!(fs.crash(&CrashPolicy::Random(seed)).read("/d/f").unwrap(), image.read("/d/f").unwrap());
    }
    assert!(kinds.len() as u64 > images / 15 && torn > images / 6, "{} kinds, {torn} torn", kinds.len());
    assert!((images / 12..=images * 11 / 12).contains(&named), "{named} of {images} keep the new name");
}

#[test]
fn the_list_of_policies_has_every_kind_and_no_repetition() {
    let (fs, _file) = pending_writes();
    fs.create(Path::new("/d/g")).unwrap();
    let policies = fs.crash_policies(9, 2);
    let all: BTreeSet<String> = policies.iter().map(|p| format!("{p:?}")).collect();
    assert_eq!(all.len(), policies.len());
    for wanted in [
        CrashPolicy::DropUnsynced,
        CrashPolicy::KeepAll,
        CrashPolicy::Prefix(2),
        CrashPolicy::Only(2),
        CrashPolicy::Without(0),
        CrashPolicy::ZeroTail,
        CrashPolicy::OldLengths,
        CrashPolicy::Torn { unit: 1, bytes: 599 },
        CrashPolicy::Names(0),
        CrashPolicy::NamesAlone(1),
        CrashPolicy::Random(10),
    ] {
        assert!(policies.contains(&wanted), "{wanted:?}");
    }
    assert_eq!(fs.crash(&CrashPolicy::KeepAll).crash_policies(0, 5), [CrashPolicy::DropUnsynced]);
}

#[test]
fn the_power_can_be_cut_at_any_call() {
    let work = |fs: &MemFs| -> std::io::Result<()> {
        fs.create_dir(Path::new("/d"))?;
        let file = fs.create(Path::new("/d/f"))?;
        file.append(b"bytes")?;
        file.sync()?;
        fs.sync_dir(Path::new("/d"))?;
        fs.sync_dir(Path::new("/"))
    };
    let fs = MemFs::new();
    work(&fs).unwrap();
    assert_eq!(fs.operations(), 6);
    for n in 0..6 {
        let fs = MemFs::new();
        fs.cut_power_after(n);
        work(&fs).unwrap_err();
        assert_eq!(fs.operations(), n);
        let survivor = fs.crash(&CrashPolicy::DropUnsynced);
        assert!(survivor.paths().is_empty(), "call {n}");
        work(&survivor).or_else(|e| if n == 0 { Err(e) } else { Ok(()) }).unwrap();
    }
}

#[test]
fn a_fork_goes_its_own_way() {
    let (fs, file) = pending_writes();
    let _lock = fs.lock(Path::new("/d/LOCK"), "me").unwrap();
    let fork = fs.fork();
    assert_eq!(fork.pending(), fs.pending());
    file.append(&[4; 10]).unwrap();
    assert_eq!((fork.read("/d/f").unwrap().len(), fs.read("/d/f").unwrap().len()), (2200, 2210));
    assert!(matches!(fork.lock(Path::new("/d/LOCK"), "it").unwrap(), LockAttempt::Taken(_)));
    assert!(matches!(fs.lock(Path::new("/d/LOCK"), "it").unwrap(), LockAttempt::Held(note) if note == "me"));
}

#[test]
fn removed_files_are_forgotten_with_their_pending_units() {
    let fs = MemFs::new();
    for _ in 0..50 {
        let file = fs.create(Path::new("/f")).unwrap();
        file.append(&[1; 100]).unwrap();
        fs.remove_file(Path::new("/f")).unwrap();
        fs.create_dir(Path::new("/d")).unwrap();
        fs.create(Path::new("/d/g")).unwrap();
        fs.remove_file(Path::new("/d/g")).unwrap();
        fs.remove_dir(Path::new("/d")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
    }
    assert_eq!(fs.describe_pending(), Vec::<String>::new());
}

#[test]
fn a_limited_disk_fills_up_and_has_room_again() {
    let fs = MemFs::new();
    fs.limit_bytes(1000);
    let file = fs.create(Path::new("/f")).unwrap();
    file.allocate(900).unwrap();
    file.append(&[1; 800]).unwrap();
    assert_eq!(file.allocate(1001).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let other = fs.create(Path::new("/g")).unwrap();
    let fault = other.append(&[2; 150]).unwrap_err();
    assert_eq!((fault.written, fault.error.kind()), (100, std::io::ErrorKind::StorageFull));
    file.append(&[1; 100]).unwrap();
    fs.remove_file(Path::new("/f")).unwrap();
    other.append(&[2; 150]).unwrap();
    assert_eq!(fs.read("/g").unwrap(), [2; 250]);
}

#[test]
fn rot_and_truncation_are_durable() {
    let fs = MemFs::new();
    fs.write("/d/f", b"abc").unwrap();
    let open = fs.open(Path::new("/d/f")).unwrap();
    fs.flip_bit("/d/f", 9).unwrap();
    let mut out = [0; 3];
    open.read_at(0, &mut out).unwrap();
    assert_eq!(&out, b"a`c");
    assert!(fs.flip_bit("/d/f", 24).is_err());
    fs.truncate("/d/f", 2).unwrap();
    assert_eq!(fs.crash(&CrashPolicy::DropUnsynced).read("/d/f").unwrap(), b"a`");
    fs.truncate("/d/f", 4).unwrap();
    assert_eq!(fs.crash(&CrashPolicy::DropUnsynced).read("/d/f").unwrap(), b"a`\0\0");
    fs.write("/d/f", b"again").unwrap();
    assert_eq!((fs.read("/d/f").unwrap(), fs.pending()), (b"again".to_vec(), 0));
}
