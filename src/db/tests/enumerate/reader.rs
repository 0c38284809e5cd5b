//! Goal: who opens read-only beside a living writer sees all that was acknowledged before, however often the writer swaps the
//! manifest meanwhile.
//!
//! Method: a filesystem on which the writer commits, flushes, and removes the log's segments, just when the reader has
//! read the manifest and is about to list the log.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::db::tests::{commit, open, options, options_on, read_all};
use crate::db::{Db, Options};
use crate::env::{AppendFile, Entry, Fs, LockAttempt, MemFs, ReadFile};
use crate::error::ErrorKind;

/// A filesystem that is changed under the reader's eyes, so many times.
#[derive(Debug)]
struct Meddled {
    fs: MemFs,
    writer: Db,
    times: AtomicI64,
}

impl Meddled {
    fn options(fs: &MemFs, writer: &Db, times: i64) -> Options {
        let times = AtomicI64::new(times);
        options_on(Arc::new(Meddled { fs: fs.clone(), writer: writer.clone(), times }))
    }
}

impl Fs for Meddled {
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let left = self.times.fetch_sub(1, Ordering::SeqCst);
        if dir == Path::new("/db/wal") && left > 0 {
            commit(&self.writer, &[(1, 1_000_000 - left * 1_000, 1.0)]);
            self.writer.compact(&Default::default()).unwrap();
        }
        self.fs.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        self.fs.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.fs.open(path)
    }
    fn map(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.fs.map(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.fs.stat(path)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.create_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.hard_link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.fs.remove_file(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.remove_dir(dir)
    }
    fn renew(&self, path: &Path, range: std::ops::Range<u64>) -> io::Result<()> {
        self.fs.renew(path, range)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.sync_dir(dir)
    }
    fn lock(&self, path: &Path, note: &str) -> io::Result<LockAttempt> {
        self.fs.lock(path, note)
    }
    fn is_network(&self, dir: &Path) -> io::Result<bool> {
        self.fs.is_network(dir)
    }
}

/// After twenty swaps a reader took what it had, though segments of the log had gone since it read the manifest: samples that
/// were acknowledged long before were not there.
#[test]
fn a_reader_beside_a_busy_writer_sees_everything_or_is_told() {
    for times in [1, 5, 60] {
        let fs = MemFs::new();
        let writer = open(&fs);
        commit(&writer, &[(0, 1_000, 1.0), (0, 2_000, 2.0)]);
        let reader = Db::open_read_only("/db", Meddled::options(&fs, &writer, times)).unwrap();
        let (seen, stored) = (read_all(&reader), read_all(&writer));
        assert_eq!(seen, stored, "{times} listings changed");
    }
    let fs = MemFs::new();
    let writer = open(&fs);
    commit(&writer, &[(0, 1_000, 1.0)]);
    let error = Db::open_read_only("/db", Meddled::options(&fs, &writer, 999_999)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    assert!(error.to_string().contains("try again"), "{error}");
    assert_eq!(read_all(&Db::open_read_only("/db", options(&fs)).unwrap()), read_all(&writer));
}
