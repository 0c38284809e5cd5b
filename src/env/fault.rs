//! A filesystem that fails on purpose.
//!
//! ```text
//!   store ──call──▶ FaultFs ──counts, asks the plan──▶ the filesystem beneath (in memory or real)
//!                      └── the at-th call of the class: the fault, once or from then on
//! ```
//!
//! A test runs its work once to learn how many calls it makes ([`FaultFs::operations`]), then once for
//! each call with a [`FaultPlan`] that fails it. A fault that cannot befall the call at which it is
//! due (a sync never finds the disk full) waits for the next call that it can.
//!
//! A failed call does nothing, with two exceptions: a short write writes half, and
//! [`Fault::LostSync`] and [`Fault::HiddenLoss`] forget the dirty data, as Linux does after a failed fsync. Two faults tell nobody:
//! what is written is not what was to be. Maps are hidden
//! ([`ReadFile::mapped`] is `None`), so that reads of blocks can fail as well.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AppendFault, AppendFile, Entry, Fs, LockAttempt, ReadFile};

/// What is dropped of a write.
const SECTOR_BYTES: usize = 512;

/// What a call does, as far as faults are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpClass {
    /// `create`.
    Create,
    /// `create_dir`.
    CreateDir,
    /// `open`, `map`, `list`.
    Open,
    /// `read_at`, `stat`, `is_network`.
    Read,
    /// `append`.
    Write,
    /// `allocate`.
    Allocate,
    /// `sync` of a file, and `renew`.
    Sync,
    /// `sync_dir`.
    DirSync,
    /// `rename`.
    Rename,
    /// `hard_link`.
    Link,
    /// `remove_file`, `remove_dir`.
    Remove,
    /// `lock`.
    Lock,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// EIO, once.
    EioOnce,
    /// EIO from then on.
    EioForever,
    /// ENOSPC, once. Only what takes space: creating files, directories and links, writing, allocating.
    NoSpaceOnce,
    /// ENOSPC from then on, for what takes space.
    NoSpaceForever,
    /// Half of a write, then ENOSPC. Only writes.
    ShortWriteNoSpace,
    /// Half of a write, then EIO. Only writes.
    ShortWriteEio,
    /// EINTR, once.
    InterruptedOnce,
    /// EIO of a sync, and what was not durable reads as zeros from then on, which later syncs
    /// (successfully) make durable. Only syncs of files.
    LostSync,
    /// The same, but the cache goes on showing what was lost, as ext4's does: until the power goes, or it is written again.
    HiddenLoss,
    /// EMFILE, once. Only what opens a file.
    TooManyFiles,
    /// EMFILE from then on, for what opens a file.
    TooManyFilesForever,
    /// A write that succeeds, with one bit in the middle of it flipped.
    FlippedBit,
    /// A write that succeeds, with zeros in place of its last sector.
    DroppedSector,
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FaultPlan {
    /// The number of the call, from 0, counted from when the plan is armed.
    pub(crate) at: u64,
    /// Counts, and fails, only calls of this class; `None` all.
    pub(crate) class: Option<OpClass>,
    /// What happens.
    pub(crate) fault: Fault,
}

/// A filesystem that passes calls on, except those that the plan fails. Clones share plan and counts.
#[derive(Clone, Debug)]
pub(crate) struct FaultFs {
    inner: Arc<dyn Fs>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    operations: u64,
    plan: Option<FaultPlan>,
    /// Calls of the plan's class since it was armed.
    counted: u64,
    /// The first call that failed.
    fired: Option<String>,
    /// The first sync of a file of which an earlier one has failed.
    retried: Option<String>,
}

impl FaultFs {
    /// Wraps a filesystem; nothing fails yet.
    pub(crate) fn new(inner: Arc<dyn Fs>) -> FaultFs {
        FaultFs { inner, state: Arc::default() }
    }

    /// Sets the plan, and starts to count for it.
    pub(crate) fn arm(&self, plan: FaultPlan) {
        let mut state = self.state();
        state.plan = Some(plan);
        state.counted = 0;
        state.fired = None;
    }

    /// Lifts the plan: nothing fails any more. What has fired stays on record.
    pub(crate) fn disarm(&self) {
        self.state().plan = None;
    }

    /// Whether a call failed since the plan was armed.
    pub(crate) fn triggered(&self) -> bool {
        self.state().fired.is_some()
    }

    /// The first call that failed since the plan was armed, in words.
    pub(crate) fn what_failed(&self) -> Option<String> {
        self.state().fired.clone()
    }

    /// The first sync that was tried again through the same handle, in words: a promise is broken by it.
    pub(crate) fn retried_sync(&self) -> Option<String> {
        self.state().retried.clone()
    }

    /// How many calls were made since this was made, those on files included.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; the fault that befalls it, if one does.
    fn fault(&self, class: OpClass, verb: &str, path: &Path) -> Option<Fault> {
        let mut state = self.state();
        state.operations += 1;
        let plan = state.plan.filter(|plan| plan.class.is_none_or(|only| only == class))?;
        let due = state.counted >= plan.at;
        state.counted += 1;
        if !due || !plan.fault.can_befall(class) || (plan.fault.is_once() && state.fired.is_some()) {
            return None;
        }
        state.fired.get_or_insert_with(|| format!("{verb} {}", path.display()));
        Some(plan.fault)
    }

    /// Counts a call that can only happen or not.
    fn pass(&self, class: OpClass, verb: &str, path: &Path) -> io::Result<()> {
        match self.fault(class, verb, path) {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        }
    }
}

impl Fault {
    fn can_befall(self, class: OpClass) -> bool {
        use OpClass::{Allocate, Create, CreateDir, DirSync, Link, Lock, Open, Sync, Write};
        match self {
            Fault::EioOnce | Fault::EioForever | Fault::InterruptedOnce => true,
            Fault::NoSpaceOnce | Fault::NoSpaceForever => {
                matches!(class, Create | CreateDir | Link | Write | Allocate)
            }
            Fault::ShortWriteNoSpace | Fault::ShortWriteEio | Fault::FlippedBit | Fault::DroppedSector => {
                class == Write
            }
            Fault::LostSync | Fault::HiddenLoss => class == Sync,
            Fault::TooManyFiles | Fault::TooManyFilesForever => {
                matches!(class, Create | Open | DirSync | Lock)
            }
        }
    }

    /// What is written in place of these bytes.
    fn damaged(self, bytes: &[u8]) -> Vec<u8> {
        let (mut out, bytes) = (bytes.to_vec(), bytes.len());
        match self {
            Fault::FlippedBit => out.iter_mut().skip(bytes / 2).take(1).for_each(|b| *b ^= 0x10),
            _ => out.iter_mut().skip(bytes.saturating_sub(SECTOR_BYTES)).for_each(|b| *b = 0),
        }
        out
    }

    fn is_once(self) -> bool {
        !matches!(self, Fault::EioForever | Fault::NoSpaceForever | Fault::TooManyFilesForever)
    }

    fn error(self) -> io::Error {
        const EIO: i32 = 5;
        const EMFILE: i32 = 24;
        match self {
            Fault::EioOnce
            | Fault::EioForever
            | Fault::ShortWriteEio
            | Fault::LostSync
            | Fault::HiddenLoss
            | Fault::FlippedBit
            | Fault::DroppedSector => io::Error::from_raw_os_error(EIO),
            Fault::NoSpaceOnce | Fault::NoSpaceForever | Fault::ShortWriteNoSpace => {
                io::ErrorKind::StorageFull.into()
            }
            Fault::InterruptedOnce => io::ErrorKind::Interrupted.into(),
            Fault::TooManyFiles | Fault::TooManyFilesForever => io::Error::from_raw_os_error(EMFILE),
        }
    }
}

impl Fs for FaultFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        self.pass(OpClass::Create, "create", path)?;
        let inner = self.inner.create(path)?;
        Ok(Arc::new(FaultAppend {
            fs: self.clone(),
            path: path.to_owned(),
            failed: AtomicBool::new(false),
            inner,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.pass(OpClass::Open, "open", path)?;
        let inner = self.inner.open(path)?;
        Ok(Arc::new(FaultRead { fs: self.clone(), path: path.to_owned(), inner }))
    }

    fn map(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.open(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.pass(OpClass::Read, "stat", path)?;
        self.inner.stat(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.pass(OpClass::Open, "list", dir)?;
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(OpClass::CreateDir, "create directory", dir)?;
        self.inner.create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(OpClass::Rename, "rename", from)?;
        self.inner.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(OpClass::Link, "link", from)?;
        self.inner.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.pass(OpClass::Remove, "remove", path)?;
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(OpClass::Remove, "remove directory", dir)?;
        self.inner.remove_dir(dir)
    }

    fn renew(&self, path: &Path, range: Range<u64>) -> io::Result<()> {
        self.pass(OpClass::Sync, "renew", path)?;
        self.inner.renew(path, range)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(OpClass::DirSync, "sync directory", dir)?;
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path, note: &str) -> io::Result<LockAttempt> {
        self.pass(OpClass::Lock, "lock", path)?;
        self.inner.lock(path, note)
    }

    fn is_network(&self, dir: &Path) -> io::Result<bool> {
        self.pass(OpClass::Read, "statfs", dir)?;
        self.inner.is_network(dir)
    }
}

/// A file being appended to, whose calls may fail.
#[derive(Debug)]
struct FaultAppend {
    fs: FaultFs,
    path: PathBuf,
    /// Whether a sync has failed.
    failed: AtomicBool,
    inner: Arc<dyn AppendFile>,
}

impl AppendFile for FaultAppend {
    fn append(&self, bytes: &[u8]) -> Result<(), AppendFault> {
        let Some(fault) = self.fs.fault(OpClass::Write, "append", &self.path) else {
            return self.inner.append(bytes);
        };
        if matches!(fault, Fault::FlippedBit | Fault::DroppedSector) {
            return self.inner.append(&fault.damaged(bytes));
        }
        let mut written = 0;
        if matches!(fault, Fault::ShortWriteEio | Fault::ShortWriteNoSpace) {
            let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
            self.inner.append(half)?;
            written = half.len();
        }
        Err(AppendFault { written, error: fault.error() })
    }

    fn allocate(&self, upto: u64) -> io::Result<()> {
        self.fs.pass(OpClass::Allocate, "allocate", &self.path)?;
        self.inner.allocate(upto)
    }

    fn sync(&self) -> io::Result<()> {
        if self.failed.load(Ordering::SeqCst) {
            self.fs.state().retried.get_or_insert_with(|| self.path.display().to_string());
        }
        match self.fs.fault(OpClass::Sync, "sync", &self.path) {
            None => self.inner.sync(),
            Some(fault) => {
                self.failed.store(true, Ordering::SeqCst);
                if matches!(fault, Fault::LostSync | Fault::HiddenLoss) {
                    self.inner.lose_unsynced(fault == Fault::HiddenLoss);
                }
                Err(fault.error())
            }
        }
    }

    fn appended(&self) -> u64 {
        self.inner.appended()
    }

    fn lose_unsynced(&self, cached: bool) {
        self.inner.lose_unsynced(cached);
    }
}

/// A file being read, whose calls may fail.
#[derive(Debug)]
struct FaultRead {
    fs: FaultFs,
    path: PathBuf,
    inner: Arc<dyn ReadFile>,
}

impl ReadFile for FaultRead {
    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.fs.pass(OpClass::Read, "read", &self.path)?;
        self.inner.read_at(offset, out)
    }

    fn mapped(&self) -> Option<&[u8]> {
        None
    }
}
