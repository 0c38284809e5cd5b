//! What a power cut leaves: images of a [`MemFs`], by policy.
//!
//! ```text
//!   durable part of every node  +  fate of each pending unit  =  image
//!
//!   Write 0..1300 of a file of 0 bytes:   Kept ███████████   Torn(700) ██████     Zeros ░░░░░░░░░░░
//!                                         Lost (nothing)     Sectors   ░░░░████░░░
//! ```
//!
//! A name that survives without its data is a short or zeroed file; data that survives without a
//! name is gone, and so is a directory with everything in it. An image is a filesystem like any
//! other: all of it durable, no lock held, the power on, operations counted from 0.
//!
//! Cost: unchanged files are shared with the original; a changed one is copied once.

use std::sync::Arc;
#[cfg(test)]
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
};

#[cfg(test)]
use foldhash::quality::FixedState;

use super::MemFs;
use super::state::{DirNode, FileNode, Node, NodeId, State, Unit};

/// The unit in which a disk writes: all of a sector or nothing of it.
const SECTOR_BYTES: usize = 512;

/// Which of the pending units survive. Numbers count from 0, in the order of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashPolicy {
    /// None.
    DropUnsynced,
    /// All.
    KeepAll,
    /// The first so many.
    Prefix(usize),
    /// This one alone.
    Only(usize),
    /// All but this one.
    Without(usize),
    /// All names and lengths; zeros instead of the data.
    ZeroTail,
    /// All names; of the data what lies within the durable length of its file.
    OldLengths,
    /// All before `unit`, and the first `bytes` bytes of it, in the middle of a sector if need be.
    Torn {
        /// The unit that is torn; one that changes a name is lost.
        unit: usize,
        /// How much of it survives.
        bytes: usize,
    },
    /// All data and lengths; of the changes of names those whose bit is set, the first in bit 0
    /// (from the 65th on: all).
    Names(u64),
    /// Of the changes of names those whose bit is set, and no data: renames that came before what they name.
    #[cfg(test)]
    NamesAlone(u64),
    /// Names, lengths and sectors by the toss of a coin that the seed loads.
    Random(u64),
}

/// What becomes of one unit.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    Torn(usize),
    Zeros,
    OldLength,
    /// Each sector by chance; the coin, and how many sides of 8 say that it survives.
    Sectors(Coin, u64),
}

impl MemFs {
    /// How many units a crash may take or leave.
    pub(crate) fn pending(&self) -> usize {
        self.state().pending.len()
    }

    /// The pending units in words, in order: for the message of a test that failed.
    #[cfg(test)]
    pub(crate) fn describe_pending(&self) -> Vec<String> {
        let state = self.state();
        state.pending.iter().map(|unit| describe(&state, unit)).collect()
    }

    /// Tells images apart: a hash of all names, kinds and contents as they are seen.
    #[cfg(test)]
    pub(crate) fn fingerprint(&self, contents: &mut Contents) -> u64 {
        let state = self.state();
        let mut hasher = FixedState::default().build_hasher();
        state.walk(&mut |path, id| {
            path.hash(&mut hasher);
            match state.file(id) {
                Ok(file) => (contents.hash(&file.data), file.length).hash(&mut hasher),
                Err(_) => "directory".hash(&mut hasher),
            }
        });
        hasher.finish()
    }

    /// Tells apart what a power cut may leave: a hash of what is durable and of what is pending. Of equal ones the images are equal.
    #[cfg(test)]
    pub(crate) fn prospects(&self, contents: &mut Contents) -> u64 {
        let state = self.state();
        let mut hasher = FixedState::default().build_hasher();
        for (id, node) in &state.nodes {
            id.hash(&mut hasher);
            match node {
                Node::Dir(dir) => (&dir.entries, &dir.durable).hash(&mut hasher),
                Node::File(f) => {
                    (contents.hash(&f.data), f.length, f.synced, f.synced_length, &f.ghosts)
                        .hash(&mut hasher);
                }
            }
        }
        state.pending.hash(&mut hasher);
        hasher.finish()
    }

    /// What stands after a power cut at this moment.
    pub(crate) fn crash(&self, policy: &CrashPolicy) -> MemFs {
        let state = self.state();
        let fates = fates(&state.pending, *policy);
        MemFs::with(image(&state, &fates))
    }

    /// [`MemFs::all_crash_policies`] with all selections of up to five names.
    #[cfg(test)]
    pub(crate) fn crash_policies(&self, seed: u64, randoms: u64) -> Vec<CrashPolicy> {
        self.all_crash_policies(seed, randoms, 5)
    }

    /// How many changes of names a crash may take or leave.
    #[cfg(test)]
    pub(crate) fn pending_names(&self) -> usize {
        self.state().pending.iter().filter(|unit| unit.file().is_none()).count()
    }

    /// Every image that is worth a look at this moment, each by its policy: all of the kinds above, with
    /// tears at the ends and the middle of each write, all selections of up to `names` names (else each alone and
    /// each missing) with all data and with none, and `randoms` random ones from `seed` on.
    #[cfg(test)]
    pub(crate) fn all_crash_policies(&self, seed: u64, randoms: u64, names: usize) -> Vec<CrashPolicy> {
        let state = self.state();
        let units = state.pending.len();
        let mut policies = vec![CrashPolicy::DropUnsynced];
        if units == 0 {
            return policies;
        }
        policies.extend([CrashPolicy::KeepAll, CrashPolicy::ZeroTail, CrashPolicy::OldLengths]);
        policies.extend((1..units).map(CrashPolicy::Prefix));
        if units > 1 {
            policies.extend((0..units).map(CrashPolicy::Only));
            policies.extend((0..units).map(CrashPolicy::Without));
        }
        for (unit, pending) in state.pending.iter().enumerate() {
            let Unit::Write { start, end, .. } = pending else { continue };
            let mut tears = vec![1, (end - start) / 2, end - start - 1];
            tears.dedup();
            let tears = tears.into_iter().filter(|&bytes| bytes > 0 && bytes < end - start);
            policies.extend(tears.map(|bytes| CrashPolicy::Torn { unit, bytes }));
        }
        let pending = state.pending.iter().filter(|unit| unit.file().is_none()).count();
        policies.extend(name_selections(pending, names));
        policies.extend((0..randoms).map(|n| CrashPolicy::Random(seed.wrapping_add(n))));
        policies
    }
}

/// Hashes of contents that several filesystems share, so that each is hashed once.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Contents(HashMap<*const Vec<u8>, (Arc<Vec<u8>>, u64)>);

#[cfg(test)]
impl Contents {
    fn hash(&mut self, data: &Arc<Vec<u8>>) -> u64 {
        let hash = || FixedState::default().hash_one(&**data);
        match Arc::strong_count(data) {
            // Only this filesystem has it; whoever kept it would keep thousands.
            1 => hash(),
            _ => self.0.entry(Arc::as_ptr(data)).or_insert_with(|| (Arc::clone(data), hash())).1,
        }
    }
}

#[cfg(test)]
fn name_selections(names: usize, most: usize) -> Vec<CrashPolicy> {
    let masks: Vec<u64> = match names {
        0 => Vec::new(),
        _ if names <= most => (0..1u64 << names).collect(),
        _ => {
            let bits = (0..names.min(64)).map(|bit| 1u64 << bit);
            bits.flat_map(|bit| [bit, !bit]).collect()
        }
    };
    masks.iter().flat_map(|&mask| [CrashPolicy::Names(mask), CrashPolicy::NamesAlone(mask)]).collect()
}

/// The fate of each unit.
fn fates(pending: &[Unit], policy: CrashPolicy) -> Vec<Fate> {
    let keep = |kept: bool| if kept { Fate::Kept } else { Fate::Lost };
    let mut coin = Coin::new(match policy {
        CrashPolicy::Random(seed) => seed,
        _ => 0,
    });
    // Few, half, or most survive: of names and of data each.
    let [name_odds, data_odds] = [(); 2].map(|()| [1, 4, 7, 8].get(coin.below(4)).copied().unwrap_or(4));
    let mut names = 0;
    let fate = |(i, unit): (usize, &Unit)| {
        let is_data = unit.file().is_some();
        let name = names;
        names += usize::from(!is_data);
        match policy {
            CrashPolicy::DropUnsynced => Fate::Lost,
            CrashPolicy::KeepAll => Fate::Kept,
            CrashPolicy::Prefix(n) => keep(i < n),
            CrashPolicy::Only(n) => keep(i == n),
            CrashPolicy::Without(n) => keep(i != n),
            CrashPolicy::ZeroTail if is_data => Fate::Zeros,
            CrashPolicy::OldLengths if is_data => Fate::OldLength,
            CrashPolicy::ZeroTail | CrashPolicy::OldLengths => Fate::Kept,
            CrashPolicy::Torn { unit, bytes } if i == unit => Fate::Torn(bytes),
            CrashPolicy::Torn { unit, .. } => keep(i < unit),
            CrashPolicy::Names(mask) => keep(is_data || name >= 64 || mask & (1 << name) != 0),
            #[cfg(test)]
            CrashPolicy::NamesAlone(mask) => keep(!is_data && (name >= 64 || mask & (1 << name) != 0)),
            CrashPolicy::Random(_) if is_data => Fate::Sectors(coin.split(), data_odds),
            CrashPolicy::Random(_) => keep(coin.toss(name_odds)),
        }
    };
    pending.iter().enumerate().map(fate).collect()
}

/// The durable part of `state`, and what its pending units leave.
fn image(state: &State, fates: &[Fate]) -> State {
    let mut image = State::new();
    image.next = state.next;
    image.capacity = state.capacity;
    image.nodes = state.nodes.iter().map(|(&id, node)| (id, durable_part(node))).collect();
    for (unit, &fate) in state.pending.iter().zip(fates) {
        match unit {
            Unit::Write { file, start, end } => {
                if let (Ok(from), Ok(to)) = (state.file(*file), image.file_mut(*file)) {
                    write(from, to, *start, *end, fate);
                }
            }
            Unit::Allocate { file, upto } => {
                if let Ok(file) = image.file_mut(*file) {
                    file.length = allocated(file.length, *upto, fate);
                }
            }
            name => {
                if matches!(fate, Fate::Kept) {
                    rename(&mut image, name);
                }
            }
        }
    }
    for node in image.nodes.values_mut() {
        match node {
            Node::File(file) => {
                file.appended = file.length;
                file.settle();
            }
            Node::Dir(dir) => dir.durable = dir.entries.clone(),
        }
    }
    image.forget_nameless();
    image
}

fn durable_part(node: &Node) -> Node {
    match node {
        Node::Dir(dir) => Node::Dir(DirNode { entries: dir.durable.clone(), durable: dir.durable.clone() }),
        Node::File(file) => {
            let mut data = match file.data.get(..file.synced) {
                Some(synced) if synced.len() < file.data.len() => Arc::new(synced.to_vec()),
                _ => file.data.clone(),
            };
            for ghost in &file.ghosts {
                if let Some(lost) = Arc::make_mut(&mut data).get_mut(ghost.clone()) {
                    lost.fill(0);
                }
            }
            let length = file.synced_length.max(data.len());
            Node::File(FileNode {
                synced: data.len(),
                synced_length: length,
                data,
                length,
                ..FileNode::default()
            })
        }
    }
}

/// What a write to `from` leaves in its image `to`.
fn write(from: &FileNode, to: &mut FileNode, start: usize, end: usize, fate: Fate) {
    let mut put = |start: usize, end: usize| {
        if let Some(bytes) = from.data.get(start..end).filter(|bytes| !bytes.is_empty()) {
            to.put(start, bytes);
        }
    };
    match fate {
        Fate::Lost => {}
        Fate::Kept => put(start, end),
        Fate::Torn(bytes) => put(start, end.min(start.saturating_add(bytes))),
        Fate::Zeros => to.length = to.length.max(end),
        Fate::OldLength => put(start, end.min(from.synced_length)),
        Fate::Sectors(mut coin, odds) => {
            let mut at = start;
            while at < end {
                let next = end.min((at / SECTOR_BYTES + 1) * SECTOR_BYTES);
                if coin.toss(odds) {
                    put(at, next);
                }
                at = next;
            }
            if coin.toss(4) {
                to.length = to.length.max(end);
            }
        }
    }
}

fn allocated(length: usize, upto: usize, fate: Fate) -> usize {
    match fate {
        Fate::Kept | Fate::Zeros => length.max(upto),
        Fate::Sectors(mut coin, odds) => {
            if coin.toss(odds) {
                length.max(upto)
            } else {
                length
            }
        }
        Fate::Lost | Fate::Torn(_) | Fate::OldLength => length,
    }
}

/// Applies one change of a name to an image in which others may be missing: a name is only taken
/// from the node that had it.
fn rename(image: &mut State, unit: &Unit) {
    match unit {
        Unit::Link { dir, name, node } => set(image, *dir, name, *node),
        Unit::Unlink { dir, name, node } => unset(image, *dir, name, *node),
        Unit::Rename { from_dir, from, to_dir, to, node } => {
            unset(image, *from_dir, from, *node);
            set(image, *to_dir, to, *node);
        }
        Unit::Write { .. } | Unit::Allocate { .. } => {}
    }
}

fn set(image: &mut State, dir: NodeId, name: &str, node: NodeId) {
    if let Ok(dir) = image.dir_mut(dir) {
        Arc::make_mut(&mut dir.entries).insert(name.to_owned(), node);
    }
}

fn unset(image: &mut State, dir: NodeId, name: &str, node: NodeId) {
    if let Ok(dir) = image.dir_mut(dir)
        && dir.entries.get(name) == Some(&node)
    {
        Arc::make_mut(&mut dir.entries).remove(name);
    }
}

#[cfg(test)]
fn describe(state: &State, unit: &Unit) -> String {
    let path = |node: NodeId| {
        let mut found = None;
        state.walk(&mut |path, id| {
            if id == node && found.is_none() {
                found = Some(if path.is_empty() { "/".to_owned() } else { path.to_owned() });
            }
        });
        found.unwrap_or_else(|| format!("(node {node}, nameless)"))
    };
    match unit {
        Unit::Write { file, start, end } => format!("write {} {start}..{end}", path(*file)),
        Unit::Allocate { file, upto } => format!("allocate {} to {upto}", path(*file)),
        Unit::Link { dir, name, node } => format!("link {name:?} in {} to {}", path(*dir), path(*node)),
        Unit::Unlink { dir, name, .. } => format!("unlink {name:?} in {}", path(*dir)),
        Unit::Rename { from_dir, from, to_dir, to, .. } => {
            format!("rename {from:?} in {} to {to:?} in {}", path(*from_dir), path(*to_dir))
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Copy)]
struct Coin(u64);

impl Coin {
    fn new(seed: u64) -> Coin {
        Coin(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 33).map_or(0, |v| v % n.max(1))
    }

    fn toss(&mut self, of_8: u64) -> bool {
        self.next() >> 61 < of_8
    }

    fn split(&mut self) -> Coin {
        Coin(self.next())
    }
}
