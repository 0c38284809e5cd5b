//! A filesystem in memory that knows what a power cut may take away.
//!
//! ```text
//!   MemFs ──the Fs calls──▶ State { nodes, pending units }          mem/state.rs
//!     └── crash(policy) ──▶ another MemFs, with what survived       mem/crash.rs
//! ```
//!
//! It gives exactly the guarantees of [`env`](super) and not one more: bytes count once their file
//! was synced, names once their directory was. Everything else is a *pending unit*: one append, one
//! allocation, or one change of a name; [`MemFs::crash`] makes an image from any selection of
//! them. Where real filesystems are kinder (a new file's name often becomes durable with its data), this one is not.
//!
//! Calls that change something are numbered ([`MemFs::operations`]); the power can be cut at any of them.
//! Deterministic: no clock, no randomness but the seeds given. Clones share the filesystem;
//! [`MemFs::fork`] and crash images share contents until one of them changes. Not on a network,
//! no permissions, no symbolic links. `/a`, `a` and `./a` are the same file.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{AppendFault, AppendFile, Entry, EntryKind, Fs, LockAttempt, LockGuard, ReadFile};

mod crash;
mod state;

#[cfg(test)]
pub(crate) use crash::Contents;
pub(crate) use crash::CrashPolicy;
use state::{DirNode, FileNode, Node, NodeId, State, Unit};

/// A filesystem in memory.
#[derive(Clone, Debug)]
pub(crate) struct MemFs(Arc<Mutex<State>>);

impl Default for MemFs {
    fn default() -> MemFs {
        MemFs::new()
    }
}

impl MemFs {
    /// An empty one, with its root directory.
    pub(crate) fn new() -> MemFs {
        MemFs::with(State::new())
    }

    /// How many calls that change something were made so far (those that failed included).
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets only the first `operations` changing calls happen; all later ones fail and do nothing.
    pub(crate) fn cut_power_after(&self, operations: u64) {
        self.state().power_until = operations;
    }

    /// From now on keeps a copy of the filesystem before each changing call: what [`MemFs::cut_power_after`] would leave.
    #[cfg(test)]
    pub(crate) fn record(&self) {
        self.state().moments = Some(Vec::new());
    }

    /// The copies since [`MemFs::record`], in order, and the filesystem as it is now. Nothing is recorded any more.
    #[cfg(test)]
    pub(crate) fn recorded(&self) -> Vec<MemFs> {
        let mut state = self.state();
        let mut moments = state.moments.take().unwrap_or_default();
        moments.push(state.fork());
        moments.into_iter().map(MemFs::with).collect()
    }

    /// Limits the bytes that files take together; beyond, appends and allocations find the disk full.
    pub(crate) fn limit_bytes(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// An independent copy, pending units included; unlocked, with the power on.
    pub(crate) fn fork(&self) -> MemFs {
        MemFs::with(self.state().fork())
    }

    /// The contents of a file, as seen.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let state = self.state();
        Ok(state.file(state.find(path.as_ref())?)?.contents().to_vec())
    }

    /// Makes or replaces a file, with its directories, all durable.
    pub(crate) fn write(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for dir in above.iter().rev() {
            if self.stat(dir)?.is_none() {
                self.create_dir(dir)?;
            }
        }
        if self.stat(path)?.is_some() {
            self.remove_file(path)?;
        }
        let file = self.create(path)?;
        file.append(bytes)?;
        file.sync()?;
        above.iter().try_for_each(|dir| self.sync_dir(dir))
    }

    /// All files, sorted, from the root.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let state = self.state();
        let mut paths = Vec::new();
        state.walk(&mut |path, id| {
            if state.file(id).is_ok() {
                paths.push(PathBuf::from(path));
            }
        });
        paths.sort();
        paths
    }

    /// Flips one bit of a file (bit 0 is the lowest of the first byte), durably: bit rot.
    #[cfg(test)]
    pub(crate) fn flip_bit(&self, path: impl AsRef<Path>, bit: u64) -> io::Result<()> {
        let mut state = self.state();
        let id = state.find(path.as_ref())?;
        let file = state.file_mut(id)?;
        let at = usize::try_from(bit / 8).ok().filter(|&at| at < file.length);
        let Some(at) = at else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let byte = file.data.get(at).copied().unwrap_or(0);
        let all_synced = file.synced == file.data.len();
        file.put(at, &[byte ^ (1 << (bit % 8))]);
        if all_synced {
            file.synced = file.data.len();
        }
        Ok(())
    }

    /// Shortens a file to `bytes`, or lengthens it with zeros, durably.
    #[cfg(test)]
    pub(crate) fn truncate(&self, path: impl AsRef<Path>, bytes: u64) -> io::Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        let mut state = self.state();
        let id = state.find(path.as_ref())?;
        let file = state.file_mut(id)?;
        Arc::make_mut(&mut file.data).truncate(bytes);
        file.length = bytes;
        file.appended = file.appended.min(bytes);
        state.sync_file(id)
    }

    fn with(state: State) -> MemFs {
        MemFs(Arc::new(Mutex::new(state)))
    }

    /// A panic of another thread leaves the state as it was between two steps; tests that panic are over anyway.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, with one more changing call counted.
    fn changing(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.operation()?;
        Ok(state)
    }
}

impl Fs for MemFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        let file = FileNode::default();
        let alive = file.alive.clone();
        let node = self.changing()?.add(path, Node::File(file))?;
        Ok(Arc::new(MemAppend { fs: self.clone(), node, _alive: alive }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let state = self.state();
        let node = state.find(path)?;
        let file = state.file(node)?;
        let (bytes, alive) = (file.length as u64, file.alive.clone());
        Ok(Arc::new(MemRead { fs: self.clone(), node, bytes, _alive: alive }))
    }

    fn map(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let state = self.state();
        Ok(Arc::new(MemMap(state.file(state.find(path)?)?.contents())))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        let state = self.state();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        match state.find(path) {
            Ok(id) => Ok(entry(&state, name, id)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let entries = &state.dir(state.find(dir)?)?.entries;
        Ok(entries.iter().filter_map(|(name, &id)| entry(&state, name.clone(), id)).collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.changing()?.add(dir, Node::Dir(DirNode::default()))?;
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        let (source, target) = (state.place(from)?, state.place(to)?);
        let Some(node) = source.node else { return Err(io::ErrorKind::NotFound.into()) };
        if target.node == Some(node) {
            return Ok(());
        }
        let mut above_source = from.ancestors().skip(1);
        if target.node.is_some() && above_source.any(|above| state.find(above).ok() == target.node) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if state.dir(node).is_ok() {
            // A directory moved below itself would be lost.
            let mut dirs = to.ancestors().skip(1);
            if dirs.any(|above| state.find(above).ok() == Some(node)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            if let Some(replaced) = target.node
                && !state.dir(replaced)?.entries.is_empty()
            {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
        } else if let Some(replaced) = target.node {
            state.file(replaced)?;
        }
        Arc::make_mut(&mut state.dir_mut(source.dir)?.entries).remove(&source.name);
        Arc::make_mut(&mut state.dir_mut(target.dir)?.entries).insert(target.name.clone(), node);
        let (from_dir, to_dir) = (source.dir, target.dir);
        state.pending.push(Unit::Rename { from_dir, from: source.name, to_dir, to: target.name, node });
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        let node = state.find(from)?;
        let target = state.place(to)?;
        if target.node.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.dir(node).is_ok() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        state.link(target.dir, target.name, node)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        let place = state.place(path)?;
        let node = place.node.ok_or(io::ErrorKind::NotFound)?;
        state.file(node)?;
        state.unlink(place.dir, place.name, node)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        let place = state.place(dir)?;
        let node = place.node.ok_or(io::ErrorKind::NotFound)?;
        if !state.dir(node)?.entries.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.unlink(place.dir, place.name, node)
    }

    fn renew(&self, path: &Path, range: Range<u64>) -> io::Result<()> {
        let mut state = self.changing()?;
        let id = state.find(path)?;
        let file = state.file(id)?;
        let [start, end] = [range.start, range.end].map(usize::try_from);
        let (Ok(start), Ok(end)) = (start, end) else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        if start > end || end > file.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Beyond the data there are zeros that were only allocated: as good as written.
        let end = end.min(file.data.len());
        if start < end {
            state.pending.push(Unit::Write { file: id, start, end });
        }
        drop(state);
        self.changing()?.sync_file(id)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        let id = state.find(dir)?;
        state.sync_dir(id)
    }

    /// The note is durable at once: nobody may rely on it.
    fn lock(&self, path: &Path, note: &str) -> io::Result<LockAttempt> {
        let mut state = self.changing()?;
        let node = match state.place(path)?.node {
            Some(node) => node,
            None => state.add(path, Node::File(FileNode::default()))?,
        };
        let file = state.file_mut(node)?;
        let held = String::from_utf8_lossy(&file.data).into_owned();
        if state.locks.contains(&node) {
            return Ok(LockAttempt::Held(held));
        }
        let file = state.file_mut(node)?;
        file.data = Arc::new(note.as_bytes().to_vec());
        (file.length, file.appended) = (note.len(), note.len());
        file.settle();
        state.locks.insert(node);
        Ok(LockAttempt::Taken(Box::new(MemLock { fs: self.clone(), node })))
    }

    fn is_network(&self, dir: &Path) -> io::Result<bool> {
        let state = self.state();
        state.dir(state.find(dir)?)?;
        Ok(false)
    }
}

fn entry(state: &State, name: String, id: NodeId) -> Option<Entry> {
    let (kind, bytes) = match state.nodes.get(&id)? {
        Node::File(file) => (EntryKind::File, file.length as u64),
        Node::Dir(_) => (EntryKind::Dir, 0),
    };
    Some(Entry { name, kind, bytes })
}

/// A file being appended to.
#[derive(Debug)]
struct MemAppend {
    fs: MemFs,
    node: NodeId,
    _alive: Arc<()>,
}

impl MemAppend {
    fn try_append(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.fs.changing()?;
        let free = state.free();
        let file = state.file_mut(self.node)?;
        let start = file.appended;
        // Allocated space is the file's own.
        let room = (file.length - start).saturating_add(free);
        let bytes = bytes.get(..room).unwrap_or(bytes);
        if !bytes.is_empty() {
            file.put(start, bytes);
            file.appended += bytes.len();
            let end = file.appended;
            state.pending.push(Unit::Write { file: self.node, start, end });
        }
        Ok(bytes.len())
    }
}

impl AppendFile for MemAppend {
    fn append(&self, bytes: &[u8]) -> Result<(), AppendFault> {
        match self.try_append(bytes) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(written) => Err(AppendFault { written, error: io::ErrorKind::StorageFull.into() }),
            Err(error) => Err(AppendFault { written: 0, error }),
        }
    }

    fn allocate(&self, upto: u64) -> io::Result<()> {
        let mut state = self.fs.changing()?;
        let upto = usize::try_from(upto).map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
        let free = state.free();
        let file = state.file_mut(self.node)?;
        let Some(more) = upto.checked_sub(file.length).filter(|&more| more > 0) else { return Ok(()) };
        if more > free {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.length = upto;
        state.pending.push(Unit::Allocate { file: self.node, upto });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.changing()?.sync_file(self.node)
    }

    fn appended(&self) -> u64 {
        self.fs.state().file(self.node).map_or(0, |file| file.appended as u64)
    }

    #[cfg(test)]
    fn lose_unsynced(&self, cached: bool) {
        let mut state = self.fs.state();
        let lost: Vec<Range<usize>> =
            state.pending.iter().filter_map(|unit| unit.write_of(self.node)).collect();
        if let Ok(file) = state.file_mut(self.node)
            && !cached
        {
            for range in &lost {
                file.put(range.start, &vec![0; range.len()]);
            }
        }
        // The node exists as long as this handle does; there is nothing else to fail.
        let _ = state.sync_file(self.node);
        if let Ok(file) = state.file_mut(self.node)
            && cached
        {
            file.ghosts.extend(lost);
        }
    }
}

/// A file read by position: sees what is there at the time of the call.
#[derive(Debug)]
struct MemRead {
    fs: MemFs,
    node: NodeId,
    bytes: u64,
    _alive: Arc<()>,
}

impl ReadFile for MemRead {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.fs.state();
        let file = state.file(self.node)?;
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > file.length as u64) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let data = usize::try_from(offset).ok().and_then(|start| file.data.get(start..)).unwrap_or_default();
        let (held, zeros) = out.split_at_mut(data.len().min(out.len()));
        held.copy_from_slice(data.get(..held.len()).unwrap_or_default());
        zeros.fill(0);
        Ok(())
    }

    fn mapped(&self) -> Option<&[u8]> {
        None
    }
}

/// A file as it was when it was mapped.
#[derive(Debug)]
struct MemMap(Arc<Vec<u8>>);

impl ReadFile for MemMap {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        super::copy_at(&self.0, offset, out)
    }

    fn mapped(&self) -> Option<&[u8]> {
        Some(&self.0)
    }
}

/// The lock of a file.
#[derive(Debug)]
struct MemLock {
    fs: MemFs,
    node: NodeId,
}

impl LockGuard for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.fs.state().locks.remove(&self.node);
    }
}
