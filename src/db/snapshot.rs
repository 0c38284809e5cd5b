//! Snapshot: a directory that opens as a database, made of hard links.
//!
//! Blocks and sealed segments of the log never change, so that a second name for them is a copy. The log is rotated
//! first; the manifest is written last: without it the directory is no database.

use std::path::Path;

use crate::db::layout::{DIRS, Layout};
use crate::db::manifests::Manifests;
use crate::db::open::sync_parent;
use crate::db::publish::tombstones_of;
use crate::db::version::Version;
use crate::db::{Db, Shared};
use crate::env::{Fs, read_all};
use crate::error::{Applied, Error, ErrorKind, Result};

impl Db {
    /// Makes a copy of the database, as of this call, in a new directory `to` (on the same filesystem by hard
    /// links, in no time and no space; otherwise by copying).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::{Db, Options};
    /// # let db = Db::open(dir.path().join("db"), Options::default())?;
    /// let backup = dir.path().join("backup");
    /// db.snapshot(&backup)?;
    /// Db::open_read_only(&backup, Options::default())?;
    /// # Ok::<(), silverback::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if `to` exists and is not an empty directory; [`ErrorKind::Cancelled`]; I/O errors, after which
    /// `to` is no database (it has no manifest) and may be removed.
    pub fn snapshot(&self, to: impl AsRef<Path>) -> Result<()> {
        let shared = self.shared();
        shared.check_writable()?;
        shared.snapshot(&Layout::new(to.as_ref()))
    }
}

impl Shared {
    fn snapshot(&self, to: &Layout) -> Result<()> {
        let fs = &*self.options.fs;
        let _nothing_is_removed = self.maintenance.lock();
        make_target(fs, to)?;
        let (version, segments) = self.freeze()?;
        for block in &version.blocks {
            self.options.cancel.check()?;
            let copy = to.block(block.range(), block.entry.sequence);
            fs.create_dir(&copy).map_err(|e| Error::io("create the directory", &copy, e))?;
            for entry in
                fs.list(block.block.dir()).map_err(|e| Error::io("list the block", block.block.dir(), e))?
            {
                link_or_copy(fs, &block.block.dir().join(&entry.name), &copy.join(&entry.name))?;
            }
            fs.sync_dir(&copy).map_err(|e| Error::io("sync the directory", &copy, e))?;
        }
        for segment in &segments {
            self.options.cancel.check()?;
            let name = segment.file_name().unwrap_or_default();
            link_or_copy(fs, segment, &to.wal().join(name))?;
        }
        // The directories are durable before a manifest stands beside them: it names what is in them.
        for dir in DIRS.map(|dir| to.root().join(dir)).into_iter().chain([to.root().to_owned()]) {
            fs.sync_dir(&dir).map_err(|e| Error::io("sync the directory", &dir, e))?;
        }
        self.finish_snapshot(to, &version)
    }

    /// The state to copy: what is published, and the log up to now in segments that change no more.
    fn freeze(&self) -> Result<(std::sync::Arc<Version>, Vec<std::path::PathBuf>)> {
        let Some(writer) = &self.writer else {
            return Err(Error::new(
                ErrorKind::ReadOnly,
                "a snapshot rotates the log: open the database for writing",
            ));
        };
        let mut state = writer.lock();
        self.note_unknown(state.wal.rotate())?;
        self.group.wrote(state.wal.sync_point(), state.last_lsn);
        let _no_swap = self.publish.lock();
        Ok((self.version(), state.wal.sealed_paths()))
    }

    fn finish_snapshot(&self, to: &Layout, version: &Version) -> Result<()> {
        let copy = Manifests::new(std::sync::Arc::clone(&self.options.fs), to.clone());
        // Whatever becomes of the copy, this handle's own state is known.
        let known = |e: Error| e.with_applied(Applied::No);
        if let Some(generation) = version.manifest.tombstones {
            copy.write_tombstones(&tombstones_of(generation, &version.tombstones)).map_err(known)?;
        }
        copy.swap(&version.manifest, false).map_err(known)?;
        sync_parent(&*self.options.fs, to.root())
    }
}

fn make_target(fs: &dyn Fs, to: &Layout) -> Result<()> {
    let root = to.root();
    match fs.stat(root).map_err(|e| Error::io("look at the target", root, e))? {
        None => fs.create_dir(root).map_err(|e| Error::io("create the directory", root, e))?,
        Some(_) => {
            let entries = fs.list(root).map_err(|e| Error::io("list the target", root, e))?;
            if !entries.is_empty() {
                return Err(Error::new(
                    ErrorKind::Exists,
                    "the target of a snapshot must be a new or an empty directory",
                )
                .at(root));
            }
        }
    }
    for dir in DIRS {
        let dir = root.join(dir);
        fs.create_dir(&dir).map_err(|e| Error::io("create the directory", &dir, e))?;
    }
    Ok(())
}

fn link_or_copy(fs: &dyn Fs, from: &Path, to: &Path) -> Result<()> {
    if fs.hard_link(from, to).is_ok() {
        return Ok(());
    }
    let bytes = read_all(fs, from, u64::MAX).map_err(|e| Error::io("read the file to copy", from, e))?;
    let copy = fs.create(to).map_err(|e| Error::io("create the copy", to, e))?;
    copy.append(&bytes).map_err(|f| Error::io("write the copy", to, f.error))?;
    copy.sync().map_err(|e| Error::io("sync the copy", to, e))
}
