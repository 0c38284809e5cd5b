//! The machine's own filesystem: std::fs, with rustix where std has no word for it.
//!
//! ```text
//!   RealFs ──create──▶ RealAppend   pwrite at the logical end, fallocate ahead of it, fdatasync
//!          ──open────▶ RealRead     pread
//!          ──map─────▶ MappedFile   (feature `mmap`)
//!          ──lock────▶ RealLock     flock of an open handle; the kernel lets go when we die
//! ```
//!
//! - Files are made with mode 0600, directories with 0700; what stands behind a symbolic link, a
//!   pipe or a device is never opened, so that a prepared directory cannot lead us elsewhere or make us wait.
//! - `append` writes by position, because `allocate` may have made the file longer than what was
//!   appended. It loops over short writes and interrupted calls.
//! - Linux is what is tested. Other Unixes lack `allocate` and network detection; elsewhere also
//!   the modes, the symbolic-link checks of `open`, and directory syncs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{AppendFault, AppendFile, Entry, EntryKind, Fs, LockAttempt, LockGuard, ReadFile};

/// How much of a lock's note is read.
const MAX_NOTE_BYTES: usize = 4096;
/// How much is written again in one go.
const RENEWED_BYTES: usize = 1 << 20;

/// The machine's filesystem.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RealFs;

impl RealFs {
    fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<(File, u64)> {
        let file = os::no_follow(options).open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "a directory, not a file"));
        }
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok((file, meta.len()))
    }
}

impl Fs for RealFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = os::private(os::no_follow(&mut options)).open(path)?;
        Ok(Arc::new(RealAppend { file, appended: AtomicU64::new(0), allocated: AtomicU64::new(0) }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let (file, bytes) = RealFs::open_regular(path, OpenOptions::new().read(true))?;
        Ok(Arc::new(RealRead { file, bytes }))
    }

    #[cfg(feature = "mmap")]
    fn map(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let (file, bytes) = RealFs::open_regular(path, OpenOptions::new().read(true))?;
        Ok(Arc::new(super::mmap::MappedFile::new(&file, bytes)?))
    }

    #[cfg(not(feature = "mmap"))]
    fn map(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.open(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        match fs::symlink_metadata(path) {
            Ok(meta) => Ok(Some(entry(name, &meta))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for found in fs::read_dir(dir)? {
            let found = found?;
            match found.metadata() {
                Ok(meta) => entries.push(entry(found.file_name().to_string_lossy().into_owned(), &meta)),
                // Removed since the directory was read.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        os::private_dir(&mut fs::DirBuilder::new()).create(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn renew(&self, path: &Path, range: Range<u64>) -> io::Result<()> {
        let (file, _) = RealFs::open_regular(path, OpenOptions::new().read(true).write(true))?;
        let mut piece = vec![0; RENEWED_BYTES];
        let mut at = range.start;
        while at < range.end {
            let bytes = usize::try_from(range.end - at).unwrap_or(RENEWED_BYTES).min(RENEWED_BYTES);
            let piece = piece.get_mut(..bytes).unwrap_or_default();
            os::read_exact_at(&file, piece, at)?;
            write_all_at(&file, piece, at).map_err(io::Error::from)?;
            at += bytes as u64;
        }
        file.sync_all()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        os::sync_dir(dir)
    }

    fn lock(&self, path: &Path, note: &str) -> io::Result<LockAttempt> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = os::private(os::no_follow(&mut options)).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                write_note(&file, note)?;
                Ok(LockAttempt::Taken(Box::new(RealLock(file))))
            }
            Err(TryLockError::WouldBlock) => Ok(LockAttempt::Held(read_note(&file)?)),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn is_network(&self, dir: &Path) -> io::Result<bool> {
        os::is_network(dir)
    }
}

fn entry(name: String, meta: &fs::Metadata) -> Entry {
    let (kind, bytes) = match (meta.is_file(), meta.is_dir()) {
        (true, _) => (EntryKind::File, meta.len()),
        (_, true) => (EntryKind::Dir, 0),
        _ => (EntryKind::Other, 0),
    };
    Entry { name, kind, bytes }
}

/// Writes over the old note before it cuts off what is left of it: on a full disk the old note's
/// space is used again. If even that fails for lack of space, the lock is held all the same; the
/// note is for people.
fn write_note(file: &File, note: &str) -> io::Result<()> {
    let bytes = note.as_bytes().get(..MAX_NOTE_BYTES).unwrap_or(note.as_bytes());
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match os::write_at(file, rest, done as u64) {
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => break,
            Err(e) => return Err(e),
        }
    }
    file.set_len(done as u64)
}

fn read_note(file: &File) -> io::Result<String> {
    let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(MAX_NOTE_BYTES).min(MAX_NOTE_BYTES);
    let mut note = vec![0; bytes];
    match os::read_exact_at(file, &mut note, 0) {
        Ok(()) => Ok(String::from_utf8_lossy(&note).into_owned()),
        // The holder is just writing it.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(String::new()),
        Err(e) => Err(e),
    }
}

/// Writes all, in as many calls as it takes.
fn write_all_at(file: &File, bytes: &[u8], start: u64) -> Result<(), AppendFault> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        let error = match os::write_at(file, rest, start + written as u64) {
            Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
            Ok(n) => {
                written += n;
                continue;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => e,
        };
        return Err(AppendFault { written, error });
    }
    Ok(())
}

/// A file being appended to.
#[derive(Debug)]
struct RealAppend {
    file: File,
    appended: AtomicU64,
    allocated: AtomicU64,
}

impl AppendFile for RealAppend {
    fn append(&self, bytes: &[u8]) -> Result<(), AppendFault> {
        let start = self.appended.load(Ordering::Acquire);
        let outcome = write_all_at(&self.file, bytes, start);
        let written = outcome.as_ref().map_or_else(|fault| fault.written, |()| bytes.len());
        self.appended.store(start + written as u64, Ordering::Release);
        outcome
    }

    fn allocate(&self, upto: u64) -> io::Result<()> {
        let from = self.allocated.load(Ordering::Acquire).max(self.appended());
        let Some(bytes) = upto.checked_sub(from).filter(|&bytes| bytes > 0) else { return Ok(()) };
        os::allocate(&self.file, from, bytes)?;
        self.allocated.store(upto, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }
}

/// A file read by position.
#[derive(Debug)]
struct RealRead {
    file: File,
    bytes: u64,
}

impl ReadFile for RealRead {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // Offsets come from files: the system calls one beyond its own limit an invalid argument.
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        os::read_exact_at(&self.file, out, offset)
    }

    fn mapped(&self) -> Option<&[u8]> {
        None
    }
}

/// Lets go by itself when it is dropped. Closing the file alone would not do: a process that another thread is just
/// starting has a copy of the handle until its program begins, and the lock with it.
#[derive(Debug)]
struct RealLock(File);

impl Drop for RealLock {
    fn drop(&mut self) {
        // What cannot be unlocked is let go by the close.
        let _closed_all_the_same = self.0.unlock();
    }
}

impl LockGuard for RealLock {}

/// What differs between systems.
#[cfg(unix)]
mod os {
    use std::fs::{DirBuilder, File, OpenOptions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
    use std::path::Path;

    use rustix::fs::OFlags;

    /// Refuses symbolic links, and does not wait for the other end of a pipe.
    pub(super) fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
    }

    pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
        options.mode(0o600)
    }

    pub(super) fn private_dir(builder: &mut DirBuilder) -> &mut DirBuilder {
        builder.mode(0o700)
    }

    pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    pub(super) fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(out, offset)
    }

    pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed());
        options.open(dir)?.sync_all()
    }

    #[cfg(target_os = "linux")]
    pub(super) fn allocate(file: &File, from: u64, bytes: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::{Errno, retry_on_intr};
        match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), from, bytes)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn allocate(_: &File, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    /// `f_type` of statfs(2), its low 32 bits: NFS, SMB, SMB2, CIFS, 9P, Ceph, AFS (two clients), Coda, NCP, Lustre.
    #[cfg(target_os = "linux")]
    const NETWORK_TYPES: [u32; 11] = [
        0x6969,
        0x517b,
        0xfe53_4d42,
        0xff53_4d42,
        0x0102_1997,
        0x00c3_6400,
        0x5346_414f,
        0x6b41_4653,
        0x7375_7245,
        0x564c,
        0x0bd0_0bd0,
    ];

    #[cfg(target_os = "linux")]
    pub(super) fn is_network(dir: &Path) -> io::Result<bool> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed());
        let found = rustix::fs::fstatfs(options.open(dir)?)?.f_type;
        // The width and sign of the field differ between architectures.
        Ok(NETWORK_TYPES.iter().any(|&kind| i128::from(found) & 0xffff_ffff == i128::from(kind)))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn is_network(_: &Path) -> io::Result<bool> {
        Ok(false)
    }
}

/// What differs between systems.
#[cfg(windows)]
mod os {
    use std::fs::{DirBuilder, File, OpenOptions};
    use std::io;
    use std::os::windows::fs::FileExt;
    use std::path::Path;

    pub(super) fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
        options
    }

    pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
        options
    }

    pub(super) fn private_dir(builder: &mut DirBuilder) -> &mut DirBuilder {
        builder
    }

    pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.seek_write(bytes, offset)
    }

    pub(super) fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !out.is_empty() {
            match file.seek_read(out, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    out = out.get_mut(n..).unwrap_or_default();
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(super) fn sync_dir(_: &Path) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn allocate(_: &File, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn is_network(_: &Path) -> io::Result<bool> {
        Ok(false)
    }
}
