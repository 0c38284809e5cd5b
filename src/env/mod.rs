//! The only door to the operating system: a small object-safe [`Fs`] and a one-method [`Clock`].
//!
//! ```text
//!   Fs ──┬─ real.rs   std::fs and rustix; maps in mmap.rs (the one file with unsafe code)
//!        ├─ mem.rs    in memory; knows which bytes and directory entries are synced; makes crash images
//!        └─ fault.rs  wraps another; fails the n-th operation, in the way that was asked for
//!   Clock ── clock.rs  the machine's, and one that tests set
//! ```
//!
//! # Crash semantics, which every caller relies on and nothing more
//! - Bytes appended are durable when [`AppendFile::sync`] returns. Before, any subset of them may
//!   survive, sector by sector; a file may have its length without its data (zeros) or data without length.
//! - A directory entry (create, rename, link, remove) is durable when [`Fs::sync_dir`] of its
//!   directory returns. Before, any subset of the changes may survive.
//! - A sync that failed may have dropped the dirty data: it is never retried.
//! - Files are appended to, never overwritten (but by the same bytes: [`Fs::renew`]); names are replaced by rename, which is
//!   atomic.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

mod clock;
#[cfg(test)]
mod fault;
mod mem;
#[cfg(feature = "mmap")]
mod mmap;
mod real;

#[cfg(test)]
mod tests;

pub(crate) use clock::{ManualClock, SystemClock};
#[cfg(test)]
pub(crate) use fault::{Fault, FaultFs, FaultPlan, OpClass};
#[cfg(test)]
pub(crate) use mem::Contents;
pub(crate) use mem::{CrashPolicy, MemFs};
pub(crate) use real::RealFs;

/// The filesystem, as much of it as the store needs. Paths are absolute or relative to the process.
pub(crate) trait Fs: Send + Sync + fmt::Debug {
    /// Creates a file (mode 0600) that must not exist, for appending. Follows no symbolic link.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>>;
    /// Opens a file for reading by position. Follows no symbolic link.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>>;
    /// Opens a file for reading, mapped where that is possible ([`ReadFile::mapped`] is then `Some`).
    fn map(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>>;
    /// What stands under a name, or `None`. Follows no symbolic link.
    fn stat(&self, path: &Path) -> io::Result<Option<Entry>>;
    /// The entries of a directory, sorted by name. Names that are not UTF-8 are shown lossily.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Creates one directory (mode 0700); its parent must exist.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file or directory, replacing a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a second name for a file.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name of a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a range of an existing file durable, by writing it once more as it reads, and syncing: a sync that failed in an
    /// earlier handle may have left bytes in the cache, seen by all, that no sync would write any more.
    fn renew(&self, path: &Path, range: Range<u64>) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock on `path` (created if missing, never removed), and writes `note`
    /// into it; held until dropped. [`LockAttempt::Held`] carries the holder's note.
    fn lock(&self, path: &Path, note: &str) -> io::Result<LockAttempt>;
    /// Whether the directory is on a network filesystem (NFS, SMB, 9P, Ceph, …).
    fn is_network(&self, dir: &Path) -> io::Result<bool>;
}

/// What [`Fs::lock`] found.
pub(crate) enum LockAttempt {
    /// The lock is ours until the guard is dropped.
    Taken(Box<dyn LockGuard>),
    /// Somebody holds it; what they wrote into the file.
    Held(String),
}

/// Holds a lock until dropped.
pub(crate) trait LockGuard: Send + Sync + fmt::Debug {}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name, without its directory.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: EntryKind,
    /// The length of a file in bytes; 0 for others.
    pub(crate) bytes: u64,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Anything else: a symbolic link, a socket, a device. Never opened.
    Other,
}

/// A file that grows. The caller serialises `append` and `allocate`; `sync` may run beside them.
pub(crate) trait AppendFile: Send + Sync + fmt::Debug {
    /// Writes all of `bytes` at the end of what was appended so far (allocated space counts as
    /// not appended). On failure says how many bytes went in before it.
    fn append(&self, bytes: &[u8]) -> Result<(), AppendFault>;
    /// Makes the file at least `upto` bytes long with its space reserved; what was not appended
    /// yet reads as zeros. Shrinks nothing. Where the filesystem cannot reserve, it does nothing.
    fn allocate(&self, upto: u64) -> io::Result<()>;
    /// Makes everything appended so far durable (fdatasync), length included.
    fn sync(&self) -> io::Result<()>;
    /// Bytes appended so far.
    fn appended(&self) -> u64;
    /// For fault injection: what a failed sync may do to the bytes that were not durable yet: the next sync succeeds without
    /// them; they read as zeros from now on, or, if the cache keeps them, as they should until the power goes.
    /// Real files do nothing.
    #[cfg(test)]
    fn lose_unsynced(&self, cached: bool) {
        let _ = cached;
    }
}

/// A failed append: `written` bytes of it are in the file (readable, not durable).
#[derive(Debug)]
pub(crate) struct AppendFault {
    /// How many bytes went in.
    pub(crate) written: usize,
    /// Why the rest did not.
    pub(crate) error: io::Error,
}

impl From<AppendFault> for io::Error {
    fn from(fault: AppendFault) -> io::Error {
        fault.error
    }
}

/// A file opened for reading.
pub(crate) trait ReadFile: Send + Sync + fmt::Debug {
    /// The length in bytes when it was opened.
    fn bytes(&self) -> u64;
    /// Fills all of `out` from `offset`, or fails with `UnexpectedEof`.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// The whole file, if it is mapped.
    fn mapped(&self) -> Option<&[u8]>;
}

/// Reads a whole file of at most `maximum` bytes (`InvalidData` if it is longer).
pub(crate) fn read_all(fs: &dyn Fs, path: &Path, maximum: u64) -> io::Result<Vec<u8>> {
    let file = fs.open(path)?;
    if file.bytes() > maximum {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is larger than its kind can be"));
    }
    let bytes = usize::try_from(file.bytes()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "the file is larger than the address space")
    })?;
    let mut out = vec![0; bytes];
    file.read_at(0, &mut out)?;
    Ok(out)
}

/// Fills `out` from a slice that holds a whole file: [`ReadFile::read_at`] of files in memory.
fn copy_at(file: &[u8], offset: u64, out: &mut [u8]) -> io::Result<()> {
    let start = usize::try_from(offset).ok();
    let found = start.and_then(|start| file.get(start..start.checked_add(out.len())?));
    match found {
        Some(found) => {
            out.copy_from_slice(found);
            Ok(())
        }
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The wall clock: milliseconds since 1970. Nothing else in the crate asks the time.
pub(crate) trait Clock: Send + Sync + fmt::Debug {
    /// Now, in milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> i64;
}
