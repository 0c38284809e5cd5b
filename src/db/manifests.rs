//! The manifest's files: the newest is the truth, the one before it is kept, a swap is the only commit point.
//!
//! ```text
//!   swap:  write MANIFEST-g.tmp ▸ fsync ▸ rename to MANIFEST-g ▸ fsync(dir) ▸ remove MANIFEST-(g-2)
//! ```
//!
//! Everything that generation g names is durable before the swap begins. A manifest that does not decode was damaged
//! after it was durable: that is an error which offers the previous one, never a silent fallback.
//! On a full disk a swap that makes room, which is that of retention, takes back the space of `RESERVE`.

use std::path::Path;
use std::sync::Arc;

use crate::db::layout::{Layout, RESERVE_BYTES, UNFINISHED, manifest_generation, tombstones_generation};
use crate::env::{Fs, read_all};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::format::manifest::{self, Manifest};
use crate::format::tombstones::{self, Tombstones};

/// Reads and swaps manifests.
#[derive(Debug)]
pub(crate) struct Manifests {
    fs: Arc<dyn Fs>,
    layout: Layout,
}

impl Manifests {
    /// Those of one database.
    pub(crate) fn new(fs: Arc<dyn Fs>, layout: Layout) -> Manifests {
        Manifests { fs, layout }
    }

    /// The generations that are there, ascending.
    pub(crate) fn generations(&self) -> Result<Vec<u64>> {
        let root = self.layout.root();
        let entries = self.fs.list(root).map_err(|e| Error::io("list the directory", root, e))?;
        let mut found: Vec<u64> = entries.iter().filter_map(|e| manifest_generation(&e.name)).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Reads one generation.
    pub(crate) fn read(&self, generation: u64) -> Result<Manifest> {
        let path = self.layout.manifest(generation);
        let bytes = read_all(&*self.fs, &path, manifest::MAX_FILE_BYTES as u64)
            .map_err(|e| Error::unread("read the manifest", &path, e))?;
        let manifest = Manifest::decode(&bytes).map_err(|e| Error::corrupt(&path, 0, e))?;
        match manifest.generation == generation {
            true => Ok(manifest),
            false => Err(Error::new(
                ErrorKind::Corrupt,
                "the manifest is of another generation than its name says",
            )
            .at(path)),
        }
    }

    /// Reads the newest; if it is damaged, the error offers the one before.
    pub(crate) fn newest(&self, generations: &[u64]) -> Result<Manifest> {
        let Some((&newest, older)) = generations.split_last() else {
            return Err(Error::new(
                ErrorKind::NotADatabase,
                "this is no silverback database: there is no manifest in it; `silverback import` makes one",
            )
            .at(self.layout.root()));
        };
        self.read(newest).map_err(|e| match (e.kind(), older.last()) {
            (ErrorKind::Corrupt, Some(previous)) if self.read(*previous).is_ok() => Error::new(
                ErrorKind::Corrupt,
                format!("{e}; MANIFEST-{previous} is intact: restore the file from a backup, or open with Options::manifest_generation({previous}) to go back to it"),
            )
            .at(self.layout.manifest(newest)),
            _ => e,
        })
    }

    /// Makes a manifest the newest, durably. What it names is durable already. On a full disk it may take the reserve if it
    /// makes room: commits would fill what is left over of it, and nobody could make room any more.
    pub(crate) fn swap(&self, manifest: &Manifest, makes_room: bool) -> Result<()> {
        let path = self.layout.manifest(manifest.generation);
        let bytes = manifest.encode().map_err(|e| {
            Error::new(ErrorKind::Ceiling, format!("the manifest cannot hold this state: {e}"))
        })?;
        match self.write(&path, &bytes) {
            Err(e) if e.kind() == ErrorKind::NoSpace && makes_room && self.give_up_reserve() => {
                self.write(&path, &bytes)?
            }
            other => other?,
        }
        self.remove_old(manifest);
        Ok(())
    }

    /// Writes the tombstones of a generation, durably; a manifest must name them to count.
    pub(crate) fn write_tombstones(&self, tombstones: &Tombstones) -> Result<()> {
        let path = self.layout.tombstones(tombstones.generation);
        let bytes = tombstones.encode().map_err(|e| {
            let what = format!("the tombstones cannot hold one more delete ({e}): run maintain() first");
            Error::new(ErrorKind::Ceiling, what)
        })?;
        self.write(&path, &bytes)
    }

    /// Reads the tombstones that a manifest names.
    pub(crate) fn tombstones(&self, manifest: &Manifest) -> Result<Tombstones> {
        let Some(generation) = manifest.tombstones else {
            return Ok(Tombstones { generation: 0, entries: Vec::new() });
        };
        let path = self.layout.tombstones(generation);
        let bytes = read_all(&*self.fs, &path, tombstones::MAX_FILE_BYTES as u64)
            .map_err(|e| Error::unread("read the tombstones", &path, e))?;
        let tombstones = Tombstones::decode(&bytes).map_err(|e| Error::corrupt(&path, 0, e))?;
        match tombstones.generation == generation {
            true => Ok(tombstones),
            false => Err(Error::new(
                ErrorKind::Corrupt,
                "the tombstones are of another generation than their name says",
            )
            .at(path)),
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let unfinished = path.with_file_name(format!(
            "{}{UNFINISHED}",
            path.file_name().map(|n| n.to_string_lossy()).unwrap_or_default()
        ));
        let written = self.write_unfinished(&unfinished, bytes);
        if written.is_err() {
            // What is left of it is unfinished: the next try and the next open remove it.
            let _left = self.fs.remove_file(&unfinished);
        }
        written?;
        // From here on it is not known what a crash leaves.
        let unknown = |e: Error| e.with_applied(Applied::Unknown);
        let renamed = self.fs.rename(&unfinished, path);
        renamed.map_err(|e| unknown(Error::io("rename the new file", &unfinished, e)))?;
        let root = self.layout.root();
        self.fs.sync_dir(root).map_err(|e| unknown(Error::io("sync the directory", root, e)))
    }

    fn write_unfinished(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let exists = self.fs.stat(path).map_err(|e| Error::io("look at the file", path, e))?.is_some();
        if exists {
            self.fs.remove_file(path).map_err(|e| Error::io("remove the unfinished file", path, e))?;
        }
        let file = self.fs.create(path).map_err(|e| Error::io("create the file", path, e))?;
        file.append(bytes).map_err(|f| Error::io("write the file", path, f.error))?;
        file.sync().map_err(|e| Error::io("sync the file", path, e))
    }

    /// Removes manifests before the previous one, and tombstones that neither names. Failures leave
    /// files that the next swap tries again.
    fn remove_old(&self, manifest: &Manifest) {
        let root = self.layout.root();
        let Ok(entries) = self.fs.list(root) else { return };
        let previous = manifest.generation.saturating_sub(1);
        let kept = self.read(previous).ok().and_then(|m| m.tombstones);
        for entry in entries {
            let old_manifest = manifest_generation(&entry.name).is_some_and(|g| g < previous);
            let old_tombstones = tombstones_generation(&entry.name).is_some_and(|g| {
                Some(g) != manifest.tombstones && Some(g) != kept && g <= manifest.generation
            });
            if old_manifest || old_tombstones {
                let _again_later = self.fs.remove_file(&root.join(&entry.name));
            }
        }
    }

    /// Makes the reserve, unless it is there. A disk too full for it is no failure.
    pub(crate) fn make_reserve(&self) {
        let path = self.layout.reserve();
        let held = match self.fs.stat(&path) {
            Ok(entry) => entry.map(|e| e.bytes),
            Err(_) => return,
        };
        if held == Some(RESERVE_BYTES) {
            return;
        }
        // One that was made in vain: a crash took its length.
        let is_free = held.is_none() || self.fs.remove_file(&path).is_ok();
        if is_free
            && let Ok(file) = self.fs.create(&path)
            && file.allocate(RESERVE_BYTES).is_err()
        {
            let _without = self.fs.remove_file(&path);
        }
    }

    /// Frees the reserve; whether there was one.
    fn give_up_reserve(&self) -> bool {
        self.fs.remove_file(&self.layout.reserve()).is_ok()
    }
}
