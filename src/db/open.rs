//! Open: from a directory to a handle.
//!
//! ```text
//!   lock ▸ newest manifest ▸ tombstones ▸ blocks (in parallel) ▸ log into the head ▸ new segment ▸ threads
//! ```
//!
//! A writer removes what is unfinished or unlisted of its own (`.tmp` names, spill runs, blocks that no manifest names),
//! and moves what it cannot read to `quarantine/`. It truncates nothing: the log goes on in a new
//! segment. A reader changes nothing, and starts again if a writer swaps the manifest under its eyes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::block::{Block, KeptColumns};
use crate::db::background::{Bell, Threads};
use crate::db::commit::{Group, writer as commit_writer};
use crate::db::layout::{
    DIRS, LOCK, Layout, RESERVE, UNFINISHED, block_sequence, manifest_generation, tombstones_generation,
};
use crate::db::manifests::Manifests;
use crate::db::publish::{Edit, first_manifest};
use crate::db::recover::{Recovery, recover};
use crate::db::report::{Event, OpenReport};
use crate::db::version::{LiveBlock, Version, compile, remove_block};
use crate::db::{Counters, Db, Options, Shared, millis};
use crate::env::{EntryKind, Fs, LockAttempt, LockGuard};
use crate::error::{Error, ErrorKind, Result};
use crate::format::manifest::{BlockEntry, Manifest};
use crate::head::{Head, HeadOptions};
use crate::model::{Cancel, Lsn};
use crate::sync::{Mutex, Rank, RwLock};
use crate::wal::{Replay, Wal, WalOptions};

/// How often a reader starts again when the files change under its eyes.
const READER_TRIES: usize = 200;

/// Tells the references of one handle from another's.
static HANDLES: AtomicU64 = AtomicU64::new(1);

/// Opens for reading and writing.
pub(crate) fn writer(dir: &Path, options: Options) -> Result<Db> {
    #[cfg(feature = "tracing")]
    let _span = tracing::info_span!("open", path = %dir.display()).entered();
    options.validate()?;
    let layout = Layout::new(dir);
    let fs = Arc::clone(&options.fs);
    ensure_dir(&*fs, dir, &options)?;
    refuse_network(&*fs, dir, &options)?;
    refuse_foreign(&*fs, &layout)?;
    let lock = take_lock(&*fs, &layout)?;
    let manifests = Manifests::new(Arc::clone(&fs), layout.clone());
    let created = create_if_new(&*fs, &layout, &manifests, &options)?;
    let found = Found::read(&layout, manifests, options, created)?;
    found.into_writer(lock)
}

/// Opens for reading. What was read counts only if no swap fell into it: a swap makes segments of the log go, whose samples are
/// in blocks that this reader does not know of.
pub(crate) fn reader(dir: &Path, options: Options) -> Result<Db> {
    #[cfg(feature = "tracing")]
    let _span = tracing::info_span!("open_read_only", path = %dir.display()).entered();
    options.validate()?;
    let layout = Layout::new(dir);
    match options.fs.stat(dir).map_err(|e| Error::io("look at the directory", dir, e))? {
        Some(entry) if entry.kind != EntryKind::File => {}
        Some(_) => return Err(not_a_database(dir, "it is a file; give the directory of a database")),
        None => return Err(not_a_database(dir, "there is no such directory; `silverback import` makes one")),
    }
    refuse_foreign(&*options.fs, &layout)?;
    let mut tries = 0;
    loop {
        let manifests = Manifests::new(Arc::clone(&options.fs), layout.clone());
        let before = manifests.generations()?;
        tries += 1;
        let outcome = Found::read(&layout, manifests, options.clone(), false);
        let after = Manifests::new(Arc::clone(&options.fs), layout.clone()).generations()?;
        let swapped = before.last() != after.last();
        let removed = outcome.as_ref().is_err_and(is_not_found);
        if !(swapped || removed) {
            return outcome?.into_reader();
        }
        if tries >= READER_TRIES {
            let what = "the writer changes the files faster than they can be read; try again";
            return Err(Error::new(ErrorKind::Io, what).at(dir));
        }
    }
}

/// Whether a file was gone: a writer removes what it has superseded.
fn is_not_found(e: &Error) -> bool {
    let source = std::error::Error::source(e).and_then(|s| s.downcast_ref::<std::io::Error>());
    source.is_some_and(|s| s.kind() == std::io::ErrorKind::NotFound)
}

fn not_a_database(dir: &Path, why: &str) -> Error {
    Error::new(ErrorKind::NotADatabase, format!("this is no silverback database: {why}")).at(dir)
}

fn ensure_dir(fs: &dyn Fs, dir: &Path, options: &Options) -> Result<()> {
    match fs.stat(dir).map_err(|e| Error::io("look at the directory", dir, e))? {
        Some(entry) if entry.kind == EntryKind::File => Err(not_a_database(dir, "it is a file")),
        Some(_) => Ok(()),
        None if !options.create => {
            Err(not_a_database(dir, "there is no such directory; `silverback import` makes one"))
        }
        None => fs.create_dir(dir).map_err(|e| Error::io("create the directory", dir, e)),
    }
}

fn refuse_network(fs: &dyn Fs, dir: &Path, options: &Options) -> Result<()> {
    let network = fs.is_network(dir).map_err(|e| Error::io("ask for the filesystem of", dir, e))?;
    match network && !options.allow_network {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::NetworkFilesystem,
            "the directory is on a network filesystem, whose locks and syncs cannot be trusted; use a local disk, or Options::allow_network_filesystem",
        )
        .at(dir)),
    }
}

/// Refuses a directory that holds other things, before anything is created in it.
fn refuse_foreign(fs: &dyn Fs, layout: &Layout) -> Result<()> {
    let root = layout.root();
    let entries = fs.list(root).map_err(|e| Error::io("list the directory", root, e))?;
    if entries.iter().any(|e| manifest_generation(&e.name).is_some()) {
        return Ok(());
    }
    let ours = |name: &str| {
        DIRS.contains(&name)
            || [LOCK, RESERVE].contains(&name)
            || tombstones_generation(name).is_some()
            || name.ends_with(UNFINISHED)
    };
    if let Some(entry) = entries.iter().find(|e| !ours(&e.name)) {
        return Err(not_a_database(
            root,
            &format!("it has no manifest, and other things in it (`{}`)", entry.name),
        ));
    }
    for dir in ["wal", "blocks"] {
        let dir = root.join(dir);
        let exists = fs.stat(&dir).map_err(|e| Error::io("look at the directory", &dir, e))?.is_some();
        if exists && !fs.list(&dir).map_err(|e| Error::io("list the directory", &dir, e))?.is_empty() {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the manifest is missing, but `{}` holds data; restore MANIFEST-* from a backup",
                    dir.display()
                ),
            )
            .at(root));
        }
    }
    Ok(())
}

fn take_lock(fs: &dyn Fs, layout: &Layout) -> Result<Box<dyn LockGuard>> {
    let path = layout.lock();
    match fs
        .lock(&path, &format!("{}\n", std::process::id()))
        .map_err(|e| Error::io("lock the database with this file", &path, e))?
    {
        LockAttempt::Taken(guard) => Ok(guard),
        LockAttempt::Held(note) => {
            let holder = note.trim();
            let holder = if holder.is_empty() { "another process" } else { holder };
            let message = format!(
                "the database is open for writing already, by process {holder}; close it there, or open read-only"
            );
            Err(Error::new(ErrorKind::Locked, message).at(path))
        }
    }
}

/// Makes a database where there is none yet; whether it did. Whatever names an earlier process left are durable on
/// return: nothing may be removed on the word of a manifest that a power cut could take back.
fn create_if_new(fs: &dyn Fs, layout: &Layout, manifests: &Manifests, options: &Options) -> Result<bool> {
    let root = layout.root();
    let is_new = manifests.generations()?.is_empty();
    if is_new && !options.create {
        return Err(not_a_database(root, "it is empty; `silverback import` makes one"));
    }
    for dir in DIRS {
        let dir = root.join(dir);
        if fs.stat(&dir).map_err(|e| Error::io("look at the directory", &dir, e))?.is_none() {
            fs.create_dir(&dir).map_err(|e| Error::io("create the directory", &dir, e))?;
        }
    }
    fs.sync_dir(root).map_err(|e| Error::io("sync the directory", root, e))?;
    if is_new {
        // Before the first manifest: whoever made the directory may have died before it synced this.
        sync_parent(fs, root)?;
        manifests.make_reserve();
        manifests.swap(&first_manifest(), false)?;
    }
    Ok(is_new)
}

/// Makes the name of a directory durable. A parent that may not be read was not ours to make an entry in.
pub(crate) fn sync_parent(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let parent = match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    match fs.sync_dir(parent) {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        other => other.map_err(|e| Error::io("sync the directory", parent, e)),
    }
}

/// What the files say, before a handle is made of it.
struct Found {
    options: Options,
    layout: Layout,
    manifests: Manifests,
    manifest: Manifest,
    newest_generation: u64,
    pool: Arc<rayon::ThreadPool>,
    kept: Arc<KeptColumns>,
    version: Version,
    unreadable: Vec<BlockEntry>,
    head: Arc<Head>,
    replay: Replay,
    report: OpenReport,
}

impl Found {
    fn read(layout: &Layout, manifests: Manifests, options: Options, created: bool) -> Result<Found> {
        let generations = manifests.generations()?;
        let manifest = match options.manifest_generation {
            Some(generation) => manifests.read(generation)?,
            None => manifests.newest(&generations)?,
        };
        let newest_generation = generations.last().copied().unwrap_or(manifest.generation);
        let tombstones = compile(&manifests.tombstones(&manifest)?)?;
        let pool = build_pool(&options)?;
        let mut report = OpenReport { created, generation: manifest.generation, ..OpenReport::default() };
        let kept = Arc::default();
        let opened = open_blocks(&pool, &options, layout, &manifest, &kept);
        let mut blocks = Vec::new();
        let mut unreadable = Vec::new();
        for (entry, outcome) in manifest.blocks.iter().zip(opened) {
            match outcome {
                Ok(block) => blocks.push(Arc::new(LiveBlock::new(&options.fs, block, *entry))),
                Err(e) if e.kind() == ErrorKind::Corrupt => {
                    report.damage.push(e);
                    unreadable.push(*entry);
                }
                Err(e) => return Err(e),
            }
        }
        let head = Arc::new(Head::new(head_options(&options), HANDLES.fetch_add(1, Ordering::Relaxed)));
        let recovery = Recovery::new(&head, &manifest.floors, &tombstones, &options);
        let (mut replay, samples) = recover(recovery, &pool, layout)?;
        report.replayed_samples = samples;
        report.replayed_records = replay.records;
        report.damage.append(&mut replay.damage);
        report.blocks = blocks.len();
        let version = Version { manifest: manifest.clone(), blocks, tombstones };
        let layout = layout.clone();
        Ok(Found {
            options,
            layout,
            manifests,
            manifest,
            newest_generation,
            pool,
            kept,
            version,
            unreadable,
            head,
            replay,
            report,
        })
    }

    fn into_reader(self) -> Result<Db> {
        let last = self.manifest.last_lsn.max(self.replay.end.written);
        self.head.set_visible(last);
        let shared = self.into_shared(None, last, None);
        Ok(Db::from_shared(Arc::new(shared), None))
    }

    fn into_writer(mut self, lock: Box<dyn LockGuard>) -> Result<Db> {
        let fs = Arc::clone(&self.options.fs);
        let stray = self.options.manifest_generation.is_some();
        self.set_aside_newer_manifests()?;
        let moved = clean(&*fs, &self.layout, &self.version, &self.unreadable, stray)?;
        let last = self.manifest.last_lsn.max(self.replay.end.written);
        self.head.set_visible(last);
        let defaults = WalOptions::default();
        let segment_bytes = self.options.wal_segment_bytes;
        // Space beyond a segment's end would be reserved in vain.
        let allocate_bytes = defaults.allocate_bytes.min(segment_bytes);
        let wal_options = WalOptions { segment_bytes, allocate_bytes };
        let wal = Wal::create(Arc::clone(&fs), self.layout.wal(), &self.replay.end, wal_options)?;
        let now = self.options.clock.now_ms();
        self.report.quarantined = moved;
        self.manifests.make_reserve();
        let rewrite = !self.unreadable.is_empty() || stray;
        let shared = Arc::new(self.into_shared(Some((wal, now)), last, Some(lock)));
        for path in &shared.report.quarantined {
            crate::db::counters::count(&shared.counters.quarantined);
            shared.event(&Event::Quarantined { path: path.clone() });
        }
        if rewrite {
            shared.publish(Edit::default(), || {})?;
        }
        let threads = Threads::start(&shared)?;
        Ok(Db::from_shared(shared, Some(threads)))
    }

    fn into_shared(self, wal: Option<(Wal, i64)>, last: Lsn, lock: Option<Box<dyn LockGuard>>) -> Shared {
        let mut version = self.version;
        version.manifest.generation = version.manifest.generation.max(self.newest_generation);
        let shared = Shared {
            next_sequence: AtomicU64::new(self.manifest.next_sequence),
            oldest_logged: AtomicU64::new(0),
            oldest_segment: AtomicU64::new(0),
            untold: Mutex::new(Rank::Leaf, Vec::new()),
            writer: None,
            options: self.options,
            layout: self.layout,
            manifests: self.manifests,
            head: self.head,
            group: Group::new(last),
            version: RwLock::new(Rank::Version, Arc::new(version)),
            publish: Mutex::new(Rank::Publish, ()),
            merging: Mutex::new(Rank::Merge, ()),
            maintenance: Mutex::new(Rank::Maintenance, Vec::new()),
            ending: Cancel::default(),
            flushing: AtomicBool::new(false),
            bell: Bell::new(),
            counters: Counters::default(),
            pool: self.pool,
            kept: self.kept,
            report: self.report,
            closed: AtomicBool::new(false),
            poison_told: AtomicBool::new(false),
            pressed: AtomicBool::new(false),
            lock: Mutex::new(Rank::Leaf, lock),
        };
        match wal {
            None => shared,
            Some((wal, now)) => {
                shared.note_oldest_logged(&wal);
                Shared { writer: Some(commit_writer(wal, last, now)), ..shared }
            }
        }
    }

    /// When an older manifest was asked for: the newer ones are kept, but aside.
    fn set_aside_newer_manifests(&self) -> Result<()> {
        for generation in self.manifests.generations()? {
            if generation > self.manifest.generation {
                let path = self.layout.manifest(generation);
                set_aside(&*self.options.fs, &self.layout, &path)?;
            }
        }
        Ok(())
    }
}

fn build_pool(options: &Options) -> Result<Arc<rayon::ThreadPool>> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .thread_name(|i| format!("silverback-pool-{i}"))
        .build();
    let failed = |e| Error::io("start the thread pool for", ".", std::io::Error::other(e));
    pool.map(Arc::new).map_err(failed)
}

fn head_options(options: &Options) -> HeadOptions {
    HeadOptions {
        out_of_order_window_ms: millis(options.out_of_order_window),
        max_future_ms: options.max_future.map_or(i64::MAX, millis),
        max_series: options.max_series,
        max_bytes: options.head_memory,
    }
}

fn open_blocks(
    pool: &rayon::ThreadPool,
    options: &Options,
    layout: &Layout,
    manifest: &Manifest,
    kept: &Arc<KeptColumns>,
) -> Vec<Result<Block>> {
    use rayon::prelude::*;
    let open = |entry: &BlockEntry| {
        let dir = layout.block(crate::model::TimeRange::new(entry.start, entry.end), entry.sequence);
        let missing = matches!(options.fs.stat(&dir), Ok(None));
        if missing {
            return Err(
                Error::new(ErrorKind::Corrupt, "the manifest names this block, but it is not there").at(dir)
            );
        }
        let block = Block::open_beside(&options.fs, &dir, options.block_read_mode(), kept).map_err(|e| {
            match is_not_found(&e) {
                true => {
                    let missing = e.path().unwrap_or(&dir).to_owned();
                    Error::new(ErrorKind::Corrupt, "the file is missing, and the block with it; restore it")
                        .at(missing)
                }
                false => e,
            }
        })?;
        match block.meta().range.start() == entry.start && block.meta().range.end() == entry.end {
            true => Ok(block),
            false => {
                Err(Error::new(ErrorKind::Corrupt, "the block is of another range than its name says")
                    .at(dir))
            }
        }
    };
    pool.install(|| manifest.blocks.par_iter().map(open).collect())
}

/// Removes what is unfinished or unlisted, sets aside what is unreadable; returns where that is now. With
/// `stray`, unlisted blocks are set aside too: an older manifest was asked for, and they may be of the newer one.
fn clean(
    fs: &dyn Fs,
    layout: &Layout,
    version: &Version,
    unreadable: &[BlockEntry],
    stray: bool,
) -> Result<Vec<std::path::PathBuf>> {
    let mut moved = Vec::new();
    let blocks = layout.blocks();
    for entry in fs.list(&blocks).map_err(|e| Error::io("list the directory", &blocks, e))? {
        let path = blocks.join(&entry.name);
        let Some(sequence) = block_sequence(&entry.name) else {
            if entry.name.ends_with(UNFINISHED) && entry.kind == EntryKind::Dir {
                remove_block(fs, &path)?;
            }
            continue;
        };
        if version.blocks.iter().any(|b| b.entry.sequence == sequence) {
            continue;
        }
        match stray || unreadable.iter().any(|b| b.sequence == sequence) {
            true => moved.push(set_aside(fs, layout, &path)?),
            false => remove_block(fs, &path)?,
        }
    }
    let spill = layout.spill();
    empty_spill(fs, &spill)?;
    let root = layout.root();
    for entry in fs.list(root).map_err(|e| Error::io("list the directory", root, e))? {
        if entry.name.ends_with(UNFINISHED) && entry.kind == EntryKind::File {
            let path = root.join(&entry.name);
            fs.remove_file(&path).map_err(|e| Error::io("remove the unfinished file", &path, e))?;
        }
    }
    Ok(moved)
}

/// Removes the runs of loads that did not finish.
fn empty_spill(fs: &dyn Fs, spill: &Path) -> Result<()> {
    for entry in fs.list(spill).map_err(|e| Error::io("list the directory", spill, e))? {
        let path = spill.join(&entry.name);
        match entry.kind {
            EntryKind::Dir => remove_block(fs, &path)?,
            _ => fs.remove_file(&path).map_err(|e| Error::io("remove the spilled run", &path, e))?,
        }
    }
    Ok(())
}

/// Moves a file or directory to `quarantine/` under a name that is free there.
pub(crate) fn set_aside(fs: &dyn Fs, layout: &Layout, path: &Path) -> Result<std::path::PathBuf> {
    let dir = layout.quarantine();
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut target = dir.join(&name);
    let mut n = 0;
    while fs.stat(&target).map_err(|e| Error::io("look at the quarantine", &target, e))?.is_some() {
        n += 1;
        target = dir.join(format!("{name}.{n}"));
    }
    fs.rename(path, &target).map_err(|e| Error::io("move to the quarantine", path, e))?;
    fs.sync_dir(&dir).map_err(|e| Error::io("sync the directory", &dir, e))?;
    if let Some(parent) = path.parent() {
        fs.sync_dir(parent).map_err(|e| Error::io("sync the directory", parent, e))?;
    }
    Ok(target)
}

impl Shared {
    /// A number for a block or a load.
    pub(crate) fn take_sequence(&self) -> u64 {
        self.next_sequence.fetch_add(1, Ordering::SeqCst)
    }

    /// The next number that nobody has.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next_sequence.load(Ordering::SeqCst)
    }

    /// A commit that no record still in the log is older than; `None` if the log has no records.
    pub(crate) fn oldest_logged(&self) -> Option<Lsn> {
        match self.oldest_logged.load(Ordering::SeqCst) {
            0 => None,
            lsn => Some(Lsn(lsn)),
        }
    }

    /// The first segment of the log that is still there, or the one that comes next.
    pub(crate) fn oldest_segment(&self) -> u64 {
        self.oldest_segment.load(Ordering::SeqCst)
    }

    /// Remembers what [`oldest_logged`](Shared::oldest_logged) says; under the commit lock.
    pub(crate) fn note_oldest_logged(&self, wal: &Wal) {
        self.oldest_logged.store(wal.oldest().0, Ordering::SeqCst);
        self.oldest_segment.store(wal.oldest_segment(), Ordering::SeqCst);
    }

    /// Ends the log: syncs it, and says so in it.
    pub(crate) fn close_log(&self) -> Result<()> {
        let Some(writer) = &self.writer else { return Ok(()) };
        if let Some(failure) = self.group.failure() {
            return Err(failure);
        }
        writer.lock().wal.close()
    }
}
