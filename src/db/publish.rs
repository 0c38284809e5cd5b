//! The swap of the manifest: how flush, merge, retention, delete and bulk loads become true.
//!
//! An [`Edit`] says what changes; [`Shared::publish`] applies it to the newest manifest, makes that durable,
//! and shows the new version. Before, the log is synced through the highest commit that the
//! swap publishes. After, superseded blocks go with their last reader.

use std::path::Path;
use std::sync::Arc;

use crate::block::{Block, Made, ReadMode};
use crate::db::Shared;
use crate::db::layout::{UNFINISHED, block_name};
use crate::db::version::{LiveBlock, LiveTombstone, Version, remove_block};
use crate::error::{Applied, Error, Result};
use crate::format::manifest::{BlockEntry, Floor, Manifest};
use crate::format::tombstones::{Tombstone, Tombstones};
use crate::model::{Cancel, Lsn, TimeRange};
use crate::sync::MutexGuard;

/// What a swap changes.
#[derive(Default)]
pub(crate) struct Edit {
    /// Blocks that are new, on disk under their final names.
    pub(crate) add: Vec<Arc<LiveBlock>>,
    /// Sequences of blocks that go.
    pub(crate) remove: Vec<u64>,
    /// A range that was flushed through a commit.
    pub(crate) floor: Option<Floor>,
    /// The tombstones from now on, if they change.
    pub(crate) tombstones: Option<Vec<LiveTombstone>>,
    /// The highest commit, delete or load that the swap publishes.
    pub(crate) lsn: Lsn,
}

impl Shared {
    /// Swaps the manifest; `shown` runs at the moment at which new readers begin to see the new version.
    pub(crate) fn publish(&self, edit: Edit, shown: impl FnOnce()) -> Result<()> {
        let guard = self.publish.lock();
        self.publish_locked(&guard, edit, shown)
    }

    /// As [`publish`](Shared::publish), when the caller holds the lock already.
    pub(crate) fn publish_locked(
        &self,
        _guard: &MutexGuard<'_, ()>,
        edit: Edit,
        shown: impl FnOnce(),
    ) -> Result<()> {
        let added = edit.add.clone();
        let outcome = self.swap(edit, shown);
        match &outcome {
            Err(e) if e.applied() == Applied::Unknown => self.poison(e),
            Err(_) => added.iter().for_each(|b| b.supersede()),
            Ok(()) => {}
        }
        outcome
    }

    fn swap(&self, edit: Edit, shown: impl FnOnce()) -> Result<()> {
        let old = self.version();
        let mut manifest = old.manifest.clone();
        manifest.generation += 1;
        manifest.last_lsn = manifest.last_lsn.max(edit.lsn);
        manifest.next_sequence = self.next_sequence();
        if let Some(tombstones) = &edit.tombstones {
            manifest.tombstones = self.write_tombstones(manifest.generation, tombstones)?;
        }
        let mut blocks: Vec<Arc<LiveBlock>> = old
            .blocks
            .iter()
            .filter(|b| !edit.remove.contains(&b.entry.sequence))
            .chain(&edit.add)
            .map(Arc::clone)
            .collect();
        blocks.sort_by_key(|b| (b.entry.start, b.entry.end, b.entry.sequence));
        manifest.blocks = blocks.iter().map(|b| b.entry).collect();
        manifest.floors.extend(edit.floor);
        manifest.wal_from = self.oldest_segment();
        tidy_floors(&mut manifest.floors, self.oldest_logged());
        let makes_room = edit.add.is_empty() && !edit.remove.is_empty();
        self.manifests.swap(&manifest, makes_room)?;
        let tombstones = edit.tombstones.unwrap_or_else(|| old.tombstones.clone());
        let new = Arc::new(Version { manifest, blocks, tombstones });
        {
            let mut version = self.version.write();
            *version = new;
            shown();
        }
        old.blocks.iter().filter(|b| edit.remove.contains(&b.entry.sequence)).for_each(|b| b.supersede());
        Ok(())
    }

    fn write_tombstones(&self, generation: u64, tombstones: &[LiveTombstone]) -> Result<Option<u64>> {
        if tombstones.is_empty() {
            return Ok(None);
        }
        self.manifests.write_tombstones(&tombstones_of(generation, tombstones))?;
        Ok(Some(generation))
    }

    /// The directory in which a block is written before it gets its name.
    pub(crate) fn unfinished_block(&self, range: TimeRange, sequence: u64) -> std::path::PathBuf {
        self.layout.blocks().join(format!("{}{UNFINISHED}", block_name(range, sequence)))
    }

    /// Removes what there is of a block that will not be published. What cannot be removed is unlisted, so that the
    /// next open removes it.
    pub(crate) fn discard_block(&self, range: TimeRange, sequence: u64) {
        for dir in [self.unfinished_block(range, sequence), self.layout.block(range, sequence)] {
            let _unlisted = remove_block(&*self.options.fs, &dir);
        }
    }

    /// Gives a finished block its name, durably, reads it back, and opens it: no block is published that is not what was to be
    /// written. It is read back by position, so that a large one does not fill the process with pages that nobody asked for. The
    /// numbers are its sequence and its precedence.
    pub(crate) fn adopt(
        &self,
        unfinished: &Path,
        made: &Made,
        (sequence, precedence): (u64, u64),
        cancel: &Cancel,
    ) -> Result<LiveBlock> {
        let (fs, meta) = (&self.options.fs, &made.meta);
        let dir = self.layout.block(meta.range, sequence);
        fs.rename(unfinished, &dir).map_err(|e| Error::io("rename the new block", unfinished, e))?;
        let blocks = self.layout.blocks();
        fs.sync_dir(&blocks).map_err(|e| Error::io("sync the directory", &blocks, e))?;
        Block::open(fs, &dir, ReadMode::Positioned)?.read_back(made, cancel)?;
        let block = Block::open_beside(fs, &dir, self.options.block_read_mode(), &self.kept)?;
        let entry = BlockEntry {
            start: meta.range.start(),
            end: meta.range.end(),
            sequence,
            precedence,
            level: meta.level,
            through: meta.through,
            bytes: block.bytes(),
        };
        Ok(LiveBlock::new(fs, block, entry))
    }
}

/// Unites floors of one commit that touch, and drops those that no record in the log is under.
fn tidy_floors(floors: &mut Vec<Floor>, oldest_logged: Option<Lsn>) {
    if let Some(oldest) = oldest_logged {
        floors.retain(|f| f.through >= oldest);
    }
    floors.sort_by_key(|f| (f.range.start(), f.range.end(), f.through));
    floors.dedup_by(|b, a| {
        let covered = a.range.covers(b.range) && a.through >= b.through;
        let replaced = b.range.covers(a.range) && b.through >= a.through;
        let joined = a.through == b.through && a.range.end() >= b.range.start();
        if replaced {
            *a = *b;
        } else if joined {
            a.range = a.range.hull(b.range);
        }
        covered || replaced || joined
    });
}

/// The tombstones as their file holds them.
pub(crate) fn tombstones_of(generation: u64, tombstones: &[LiveTombstone]) -> Tombstones {
    let entry = |t: &LiveTombstone| Tombstone {
        lsn: t.lsn,
        range: t.range,
        matchers: t.matchers.iter().map(|m| (m.op(), m.name().to_owned(), m.value().to_owned())).collect(),
    };
    Tombstones { generation, entries: tombstones.iter().map(entry).collect() }
}

/// The manifest of a new database.
pub(crate) fn first_manifest() -> Manifest {
    Manifest {
        generation: 1,
        last_lsn: Lsn(0),
        next_sequence: 1,
        blocks: Vec::new(),
        floors: Vec::new(),
        tombstones: None,
        wal_from: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_are_united_and_forgotten() {
        let floor = |start, end, through| Floor { range: TimeRange::new(start, end), through: Lsn(through) };
        let mut floors =
            vec![floor(10, 20, 5), floor(0, 10, 5), floor(0, 10, 3), floor(20, 30, 9), floor(0, 40, 1)];
        tidy_floors(&mut floors, Some(Lsn(2)));
        assert_eq!(floors, [floor(0, 20, 5), floor(20, 30, 9)]);
        tidy_floors(&mut floors, Some(Lsn(6)));
        assert_eq!(floors, [floor(20, 30, 9)]);
        tidy_floors(&mut floors, None);
        assert_eq!(floors, [floor(20, 30, 9)]);
    }
}
