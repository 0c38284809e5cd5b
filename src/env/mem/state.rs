//! What a [`MemFs`](super::MemFs) holds: nodes, and the units that a power cut may take away.
//!
//! ```text
//!   nodes    0 Dir  { entries {"db": 1},  durable {} }
//!            1 Dir  { entries {"wal": 2}, durable {"wal": 2} }
//!            2 File { data ██████████░░░░░  length ─────────────┐
//!                          └ synced ┘                           └ allocated space reads as zeros
//!   pending  [ Link 0 "db" → 1,  Write 2: 4096..9000,  … ]      in the order of the calls
//! ```
//!
//! Invariants: the durable part of a node with all its pending units applied is the node as it is
//! seen; `synced <= appended <= length` and `data.len() <= length` hold for files; a unit
//! names only nodes that exist. Contents and entries are shared (`Arc`), copied when they change.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Component, Path};
use std::sync::Arc;

/// Number of a node.
pub(super) type NodeId = u64;

/// The directory that is always there.
pub(super) const ROOT: NodeId = 0;

/// Everything behind the lock.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) next: NodeId,
    pub(super) pending: Vec<Unit>,
    pub(super) operations: u64,
    pub(super) power_until: u64,
    pub(super) capacity: u64,
    pub(super) locks: BTreeSet<NodeId>,
    /// What it was before each changing call, since somebody asked for that.
    pub(super) moments: Option<Vec<State>>,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    /// The bytes, without zeros that were only allocated.
    pub(super) data: Arc<Vec<u8>>,
    /// The length that is seen.
    pub(super) length: usize,
    /// Where the next append goes.
    pub(super) appended: usize,
    /// So many bytes of `data` are durable…
    pub(super) synced: usize,
    /// …and this length.
    pub(super) synced_length: usize,
    /// Ranges of them that only the cache has, since a failed sync lost them: zeros once the power goes.
    pub(super) ghosts: Vec<Range<usize>>,
    /// Shared with open handles: keeps a nameless file.
    pub(super) alive: Arc<()>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct DirNode {
    pub(super) entries: Arc<BTreeMap<String, NodeId>>,
    pub(super) durable: Arc<BTreeMap<String, NodeId>>,
}

/// One change that is not durable yet.
#[derive(Clone, Debug, Hash)]
pub(super) enum Unit {
    Write { file: NodeId, start: usize, end: usize },
    Allocate { file: NodeId, upto: usize },
    Link { dir: NodeId, name: String, node: NodeId },
    Unlink { dir: NodeId, name: String, node: NodeId },
    Rename { from_dir: NodeId, from: String, to_dir: NodeId, to: String, node: NodeId },
}

/// A directory, and what a name in it stands for.
pub(super) struct Place {
    pub(super) dir: NodeId,
    pub(super) name: String,
    pub(super) node: Option<NodeId>,
}

impl State {
    pub(super) fn new() -> State {
        State {
            nodes: BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]),
            next: ROOT + 1,
            pending: Vec::new(),
            operations: 0,
            power_until: u64::MAX,
            capacity: u64::MAX,
            locks: BTreeSet::new(),
            moments: None,
        }
    }

    /// A copy of which no file is open and nothing locked.
    pub(super) fn fork(&self) -> State {
        let mut copy = self.clone();
        copy.locks.clear();
        copy.moments = None;
        copy.power_until = u64::MAX;
        for node in copy.nodes.values_mut() {
            if let Node::File(file) = node {
                file.alive = Arc::default();
            }
        }
        copy
    }

    /// Counts a call that changes something; fails once the power is off.
    pub(super) fn operation(&mut self) -> io::Result<()> {
        if self.operations >= self.power_until {
            return Err(io::Error::other("the power is off"));
        }
        if let Some(mut moments) = self.moments.take() {
            moments.push(self.fork());
            self.moments = Some(moments);
        }
        self.operations += 1;
        Ok(())
    }

    pub(super) fn file(&self, id: NodeId) -> io::Result<&FileNode> {
        match self.nodes.get(&id) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn file_mut(&mut self, id: NodeId) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn dir(&self, id: NodeId) -> io::Result<&DirNode> {
        match self.nodes.get(&id) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn dir_mut(&mut self, id: NodeId) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The node of a path.
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = ROOT;
        for name in names(path) {
            at = *self.dir(at)?.entries.get(&name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The directory of a path's last name, and what that name stands for, if anything.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let mut names = names(path);
        let Some(name) = names.pop() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut dir = ROOT;
        for name in &names {
            dir = *self.dir(dir)?.entries.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        let node = self.dir(dir)?.entries.get(&name).copied();
        Ok(Place { dir, name, node })
    }

    /// A new node under a name that must be free.
    pub(super) fn add(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        let place = self.place(path)?;
        if place.node.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        self.link(place.dir, place.name, id)?;
        Ok(id)
    }

    pub(super) fn link(&mut self, dir: NodeId, name: String, node: NodeId) -> io::Result<()> {
        Arc::make_mut(&mut self.dir_mut(dir)?.entries).insert(name.clone(), node);
        self.pending.push(Unit::Link { dir, name, node });
        Ok(())
    }

    pub(super) fn unlink(&mut self, dir: NodeId, name: String, node: NodeId) -> io::Result<()> {
        Arc::make_mut(&mut self.dir_mut(dir)?.entries).remove(&name);
        self.pending.push(Unit::Unlink { dir, name, node });
        Ok(())
    }

    /// Makes a file durable as it is.
    pub(super) fn sync_file(&mut self, id: NodeId) -> io::Result<()> {
        let written: Vec<_> = self.pending.iter().filter_map(|unit| unit.write_of(id)).collect();
        let file = self.file_mut(id)?;
        file.settle();
        written.iter().for_each(|range| file.lay_ghosts(range));
        self.pending.retain(|unit| unit.file() != Some(id));
        Ok(())
    }

    /// Makes the entries of a directory durable. A rename to or from another directory becomes
    /// half a change there: whoever renames across directories syncs the target first.
    pub(super) fn sync_dir(&mut self, id: NodeId) -> io::Result<()> {
        let dir = self.dir_mut(id)?;
        dir.durable = dir.entries.clone();
        let pending = std::mem::take(&mut self.pending);
        self.pending = pending.into_iter().filter_map(|unit| unit.without_dir(id)).collect();
        self.forget_nameless();
        Ok(())
    }

    /// Drops what no crash and no call can bring back.
    pub(super) fn forget_nameless(&mut self) {
        let reachable = self.reachable();
        self.pending.retain(|unit| match unit.file() {
            Some(file) => reachable.contains(&file),
            None => unit.dirs().into_iter().flatten().any(|dir| reachable.contains(&dir)),
        });
        let locks = &self.locks;
        self.nodes.retain(|id, node| {
            let open = matches!(node, Node::File(file) if Arc::strong_count(&file.alive) > 1);
            open || reachable.contains(id) || locks.contains(id)
        });
    }

    /// Every node that has a name, had one durably, or may get one.
    fn reachable(&self) -> BTreeSet<NodeId> {
        let mut reachable = BTreeSet::from([ROOT]);
        let mut new = vec![ROOT];
        while let Some(id) = new.pop() {
            let mut found: Vec<NodeId> = Vec::new();
            if let Some(Node::Dir(dir)) = self.nodes.get(&id) {
                found.extend(dir.entries.values().chain(dir.durable.values()));
                let here = |unit: &&Unit| unit.dirs().contains(&Some(id));
                found.extend(self.pending.iter().filter(here).filter_map(Unit::named));
            }
            new.extend(found.into_iter().filter(|&node| reachable.insert(node)));
        }
        reachable
    }

    /// Walks all names as they are seen; calls back with each path. Enters no directory twice: after
    /// a crash between the halves of renames a directory may have two names.
    pub(super) fn walk(&self, visit: &mut dyn FnMut(&str, NodeId)) {
        let mut stack = vec![(String::new(), ROOT)];
        let mut entered = BTreeSet::new();
        while let Some((path, id)) = stack.pop() {
            visit(&path, id);
            if let Some(Node::Dir(dir)) = self.nodes.get(&id).filter(|_| entered.insert(id)) {
                stack.extend(dir.entries.iter().rev().map(|(name, &node)| (format!("{path}/{name}"), node)));
            }
        }
    }

    /// How many more bytes files may take.
    pub(super) fn free(&self) -> usize {
        if self.capacity == u64::MAX {
            return usize::MAX;
        }
        let mut files = BTreeSet::new();
        self.walk(&mut |_, id| {
            files.insert(id);
        });
        let used: u64 = files.into_iter().filter_map(|id| Some(self.file(id).ok()?.length as u64)).sum();
        usize::try_from(self.capacity.saturating_sub(used)).unwrap_or(usize::MAX)
    }
}

impl FileNode {
    /// Puts bytes in place, zeros before them if there is a gap.
    pub(super) fn put(&mut self, start: usize, bytes: &[u8]) {
        let data = Arc::make_mut(&mut self.data);
        let end = start + bytes.len();
        if data.len() < end {
            data.resize(end, 0);
        }
        if let Some(target) = data.get_mut(start..end) {
            target.copy_from_slice(bytes);
        }
        self.length = self.length.max(end);
    }

    /// All bytes that are seen.
    pub(super) fn contents(&self) -> Arc<Vec<u8>> {
        if self.data.len() == self.length {
            return self.data.clone();
        }
        let mut all = self.data.to_vec();
        all.resize(self.length, 0);
        Arc::new(all)
    }

    /// Makes the file durable as it is.
    pub(super) fn settle(&mut self) {
        self.synced = self.data.len();
        self.synced_length = self.length;
    }

    /// What was written again is on the medium.
    fn lay_ghosts(&mut self, written: &Range<usize>) {
        let left = |ghost: &Range<usize>| {
            let (before, behind) =
                (ghost.start..ghost.end.min(written.start), ghost.start.max(written.end)..ghost.end);
            [before, behind].into_iter().filter(|part| !part.is_empty())
        };
        self.ghosts = self.ghosts.iter().flat_map(left).collect();
    }
}

impl Unit {
    /// The file whose contents or length it changes.
    pub(super) fn file(&self) -> Option<NodeId> {
        match self {
            Unit::Write { file, .. } | Unit::Allocate { file, .. } => Some(*file),
            _ => None,
        }
    }

    /// The range that it writes to a file.
    pub(super) fn write_of(&self, of: NodeId) -> Option<Range<usize>> {
        match self {
            Unit::Write { file, start, end } if *file == of => Some(*start..*end),
            _ => None,
        }
    }

    /// The directories that it changes.
    pub(super) fn dirs(&self) -> [Option<NodeId>; 2] {
        match self {
            Unit::Write { .. } | Unit::Allocate { .. } => [None, None],
            Unit::Link { dir, .. } | Unit::Unlink { dir, .. } => [Some(*dir), None],
            Unit::Rename { from_dir, to_dir, .. } => [Some(*from_dir), Some(*to_dir)],
        }
    }

    /// The node whose name it changes.
    fn named(&self) -> Option<NodeId> {
        match self {
            Unit::Write { .. } | Unit::Allocate { .. } => None,
            Unit::Link { node, .. } | Unit::Unlink { node, .. } | Unit::Rename { node, .. } => Some(*node),
        }
    }

    /// What is left of it once the entries of `dir` are durable.
    fn without_dir(self, dir: NodeId) -> Option<Unit> {
        match self {
            Unit::Rename { from_dir, to_dir, to, node, .. } if from_dir == dir => {
                (to_dir != dir).then_some(Unit::Link { dir: to_dir, name: to, node })
            }
            Unit::Rename { from_dir, from, to_dir, node, .. } if to_dir == dir => {
                Some(Unit::Unlink { dir: from_dir, name: from, node })
            }
            other if other.dirs().contains(&Some(dir)) => None,
            other => Some(other),
        }
    }
}

/// The names in a path; `.` and the leading `/` say nothing, `..` goes back.
fn names(path: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => {
                names.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    names
}
