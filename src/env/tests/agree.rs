//! The real filesystem and the one in memory, side by side.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::*;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// One filesystem under test, with its open files.
struct Side {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    appending: BTreeMap<u64, Arc<dyn AppendFile>>,
    reading: BTreeMap<u64, Arc<dyn ReadFile>>,
}

impl Side {
    fn new(fs: Arc<dyn Fs>, root: &Path) -> Side {
        Side { fs, root: root.to_owned(), appending: BTreeMap::new(), reading: BTreeMap::new() }
    }

    /// One call, chosen by `rng`; what it answers, in words.
    fn step(&mut self, rng: &mut Rng) -> String {
        let names = ["a", "b", "c", "d1", "d1/a", "d1/b", "d2", "d2/a", "d1/d2", "d1/d2/a"];
        let mut path = || self.root.join(names[rng.below(names.len() as u64) as usize]);
        let (one, two) = (path(), path());
        let (what, slot, n) = (rng.below(17), rng.below(4), rng.below(2000));
        let fs = &self.fs;
        let answer = match what {
            0 | 1 => show(fs.create(&one).map(|file| {
                self.appending.insert(slot, file);
            })),
            2 | 3 => self.appending.get(&slot).map_or("no file".to_owned(), |file| {
                let bytes: Vec<u8> = (0..n).map(|i| (i * 7 + n) as u8).collect();
                let done = file.append(&bytes).map_err(io::Error::from);
                format!("{} {}", show(done), file.appended())
            }),
            4 => self.appending.get(&slot).map_or("no file".to_owned(), |file| show(file.allocate(n * 4))),
            5 => self.appending.get(&slot).map_or("no file".to_owned(), |file| show(file.sync())),
            6 => show(fs.open(&one).map(|file| {
                self.reading.insert(slot, file);
            })),
            7 => show(fs.map(&one).map(|file| {
                let mapped = file.mapped().map(<[u8]>::to_vec);
                assert!(mapped.is_none() || mapped.as_ref().map(Vec::len) == Some(file.bytes() as usize));
                format!("{} {:?}", file.bytes(), contents(&*file))
            })),
            8 => self.reading.get(&slot).map_or("no file".to_owned(), |file| {
                let mut out = vec![0; (n % 300) as usize];
                let done = file.read_at(n * 2, &mut out);
                format!("{} {}", file.bytes(), show(done.map(|()| out)))
            }),
            9 => show(fs.stat(&one)),
            10 => show(fs.list(&one)),
            11 => show(fs.create_dir(&one)),
            12 => show(fs.rename(&one, &two)),
            13 => show(fs.hard_link(&one, &two)),
            14 => show(fs.remove_file(&one)),
            15 => show(fs.remove_dir(&one)),
            _ => show(fs.sync_dir(&one)),
        };
        let (one, two) = (one.strip_prefix(&self.root).unwrap(), two.strip_prefix(&self.root).unwrap());
        format!("call {what} slot {slot} {} {}: {answer}", one.display(), two.display())
    }

    /// Every name below `dir`, with contents.
    fn tree(&self, dir: &Path, out: &mut Vec<String>) {
        for entry in self.fs.list(dir).unwrap() {
            let path = dir.join(&entry.name);
            out.push(format!(
                "{} {:?} {}",
                path.strip_prefix(&self.root).unwrap().display(),
                entry.kind,
                entry.bytes
            ));
            match entry.kind {
                EntryKind::Dir => self.tree(&path, out),
                _ => out.push(format!("{:?}", read_all(&*self.fs, &path, 1 << 20).unwrap())),
            }
        }
    }
}

fn show<T: std::fmt::Debug>(result: io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(e) => format!("{:?}", e.kind()),
    }
}

fn contents(file: &dyn ReadFile) -> Vec<u8> {
    let mut out = vec![0; file.bytes() as usize];
    file.read_at(0, &mut out).unwrap();
    out
}

#[test]
fn the_real_and_the_in_memory_filesystem_answer_alike() {
    let mut answers = BTreeMap::new();
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let mem = MemFs::new();
        mem.create_dir(Path::new("/root")).unwrap();
        let mut real = Side::new(Arc::new(RealFs), dir.path());
        let mut mem = Side::new(Arc::new(mem), Path::new("/root"));
        let (mut rng_real, mut rng_mem) = (Rng(seed), Rng(seed));
        for step in 0..400 {
            let (r, m) = (real.step(&mut rng_real), mem.step(&mut rng_mem));
            assert_eq!(r, m, "seed {seed}, step {step}: real on the left");
            let call = r.split(' ').nth(1).unwrap().to_owned();
            *answers.entry((call, r.ends_with("()"))).or_insert(0) += 1;
        }
        let (mut r, mut m) = (Vec::new(), Vec::new());
        real.tree(&real.root, &mut r);
        mem.tree(&mem.root, &mut m);
        assert_eq!(r, m, "seed {seed}");
    }
    for call in ["0", "4", "5", "6", "11", "12", "13", "14", "15", "16"] {
        assert!(answers.contains_key(&(call.to_owned(), true)), "call {call} never succeeded: {answers:?}");
    }
}

/// Runs a test on both filesystems.
fn on_both(test: impl Fn(Arc<dyn Fs>, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    test(Arc::new(RealFs), dir.path());
    test(Arc::new(MemFs::new()), Path::new("/"));
}

#[test]
fn appends_go_to_the_logical_end_of_an_allocated_file() {
    on_both(|fs, root| {
        let path = root.join("f");
        let file = fs.create(&path).unwrap();
        file.append(b"one").unwrap();
        file.allocate(4096).unwrap();
        file.append(b"two").unwrap();
        file.allocate(10).unwrap();
        file.append(b"").unwrap();
        assert_eq!(file.appended(), 6);
        let all = read_all(&*fs, &path, 4096).unwrap();
        assert!(all.starts_with(b"onetwo") && all[6..].iter().all(|&b| b == 0));
        file.sync().unwrap();
        assert_eq!(read_all(&*fs, &path, 4095).unwrap_err().kind(), io::ErrorKind::InvalidData);
    });
}

#[test]
fn what_is_renewed_reads_as_before() {
    on_both(|fs, root| {
        let path = root.join("f");
        let file = fs.create(&path).unwrap();
        file.append(&(0..=255).collect::<Vec<u8>>().repeat(5_000)).unwrap();
        let before = read_all(&*fs, &path, 2 << 20).unwrap();
        for range in [0..0, 7..1_270_007, 1_280_000..1_280_000, 0..1_280_000] {
            fs.renew(&path, range).unwrap();
            assert!(read_all(&*fs, &path, 2 << 20).unwrap() == before);
        }
        assert_eq!(fs.renew(&path, 5..1_280_001).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(fs.renew(&root.join("g"), 0..1).unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn an_open_file_outlives_its_name() {
    on_both(|fs, root| {
        let path = root.join("f");
        let file = fs.create(&path).unwrap();
        file.append(b"bytes").unwrap();
        file.sync().unwrap();
        let (open, mapped) = (fs.open(&path).unwrap(), fs.map(&path).unwrap());
        fs.remove_file(&path).unwrap();
        fs.sync_dir(root).unwrap();
        fs.sync_dir(root).unwrap();
        assert_eq!(fs.stat(&path).unwrap(), None);
        assert_eq!((contents(&*open), contents(&*mapped)), (b"bytes".to_vec(), b"bytes".to_vec()));
        file.append(b"!").unwrap();
        let mut last = [0];
        open.read_at(5, &mut last).unwrap();
        assert_eq!(&last, b"!");
        assert_eq!(open.read_at(6, &mut last).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(open.read_at(u64::MAX >> 1, &mut last).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(mapped.read_at(u64::MAX, &mut last).is_err());
    });
}

#[test]
fn an_empty_file_can_be_mapped() {
    on_both(|fs, root| {
        fs.create(&root.join("f")).unwrap();
        let file = fs.map(&root.join("f")).unwrap();
        assert_eq!((file.bytes(), file.mapped().unwrap_or_default()), (0, &[][..]));
        file.read_at(0, &mut []).unwrap();
        assert!(file.read_at(0, &mut [0]).is_err());
    });
}

#[test]
fn a_lock_excludes_until_dropped_and_shows_the_note() {
    on_both(|fs, root| {
        let path = root.join("LOCK");
        let LockAttempt::Taken(guard) = fs.lock(&path, "the first holder, pid 1").unwrap() else {
            panic!("a new lock is held");
        };
        match fs.lock(&path, "second").unwrap() {
            LockAttempt::Held(note) => assert_eq!(note, "the first holder, pid 1"),
            LockAttempt::Taken(_) => panic!("taken twice"),
        }
        drop(guard);
        assert!(matches!(fs.lock(&path, "third").unwrap(), LockAttempt::Taken(_)));
        assert_eq!(read_all(&*fs, &path, 100).unwrap(), b"third", "nothing is left of the longer note");
    });
}

#[test]
fn a_temporary_directory_is_not_on_a_network() {
    on_both(|fs, root| {
        assert!(!fs.is_network(root).unwrap());
        assert!(fs.is_network(&root.join("missing")).is_err());
    });
}

#[cfg(unix)]
#[test]
fn modes_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = |name| dir.path().join(name);
    RealFs.create(&path("file")).unwrap();
    RealFs.create_dir(&path("dir")).unwrap();
    drop(RealFs.lock(&path("LOCK"), "").unwrap());
    let mode = |name| std::fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    // A umask may take away more, never add.
    assert_eq!((mode("file") & !0o600, mode("dir") & !0o700, mode("LOCK") & !0o600), (0, 0, 0));
}

#[cfg(unix)]
#[test]
fn symbolic_links_pipes_and_directories_are_never_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name| dir.path().join(name);
    std::fs::write(path("victim"), "untouched").unwrap();
    std::os::unix::fs::symlink(path("victim"), path("link")).unwrap();
    std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    for name in ["link", "dangling", "socket"] {
        assert!(RealFs.create(&path(name)).is_err(), "create {name}");
        assert!(RealFs.open(&path(name)).is_err(), "open {name}");
        assert!(RealFs.map(&path(name)).is_err(), "map {name}");
        assert!(RealFs.lock(&path(name), "note").is_err(), "lock {name}");
        let entry = RealFs.stat(&path(name)).unwrap().unwrap();
        assert_eq!((entry.kind, entry.bytes), (EntryKind::Other, 0), "stat {name}");
    }
    assert!(RealFs.open(dir.path()).is_err());
    assert_eq!(std::fs::read(path("victim")).unwrap(), b"untouched");
    assert!(!path("nowhere").exists());
    drop(socket);
}

#[test]
fn names_are_listed_in_order() {
    on_both(|fs, root| {
        for name in ["b", "a", "B", "10", "9"] {
            fs.create(&root.join(name)).unwrap();
        }
        let names: Vec<String> = fs.list(root).unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["10", "9", "B", "a", "b"]);
    });
}
