//! What is published: the live blocks, what is deleted from them, and the manifest that says so.
//!
//! A [`Version`] is immutable and shared; queriers hold the one that they were made with. A block
//! that a later version leaves out is removed from disk when the last version that names it is dropped,
//! which is after the manifest without it is durable.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::block::{Block, BlockView, Deletion};
use crate::env::Fs;
use crate::error::{Error, Result};
use crate::format::manifest::{BlockEntry, Manifest};
use crate::format::tombstones::Tombstones;
use crate::model::{Lsn, Matcher, TimeRange};
use crate::source::Source;
use crate::sync::{AtomicBool, Mutex, Rank};

/// An open block of a version.
#[derive(Debug)]
pub(crate) struct LiveBlock {
    pub(crate) block: Arc<Block>,
    pub(crate) entry: BlockEntry,
    fs: Arc<dyn Fs>,
    superseded: AtomicBool,
    /// By which deletes how many series were touched, when that was asked last.
    touched: Mutex<(Vec<Lsn>, u64)>,
}

impl LiveBlock {
    /// A block that was opened.
    pub(crate) fn new(fs: &Arc<dyn Fs>, block: Block, entry: BlockEntry) -> LiveBlock {
        let (fs, block, superseded) = (Arc::clone(fs), Arc::new(block), AtomicBool::new(false));
        LiveBlock { block, entry, fs, superseded, touched: Mutex::new(Rank::Leaf, (Vec::new(), 0)) }
    }

    /// The range that its directory is named for.
    pub(crate) fn range(&self) -> TimeRange {
        TimeRange::new(self.entry.start, self.entry.end)
    }

    /// No durable manifest names it any more: its files go with the last holder.
    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::SeqCst);
    }
}

impl Drop for LiveBlock {
    fn drop(&mut self) {
        if self.superseded.load(Ordering::SeqCst) {
            // Left-overs are unlisted, so that the next open removes them.
            let _unlisted = remove_block(&*self.fs, self.block.dir());
        }
    }
}

/// Removes the files of a block's directory, then the directory.
pub(crate) fn remove_block(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let io = |e| Error::io("remove the block", dir, e);
    for entry in fs.list(dir).map_err(io)? {
        fs.remove_file(&dir.join(&entry.name)).map_err(io)?;
    }
    fs.remove_dir(dir).map_err(io)
}

/// One delete, ready to be applied to blocks.
#[derive(Clone, Debug)]
pub(crate) struct LiveTombstone {
    pub(crate) lsn: Lsn,
    pub(crate) range: TimeRange,
    pub(crate) matchers: Arc<[Matcher]>,
}

/// One published state.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) manifest: Manifest,
    pub(crate) blocks: Vec<Arc<LiveBlock>>,
    pub(crate) tombstones: Vec<LiveTombstone>,
}

impl Version {
    /// The deletes that hide samples of a block: those after all of its samples were committed.
    pub(crate) fn deletions(&self, block: &LiveBlock) -> Vec<Deletion> {
        let of = |t: &LiveTombstone| Deletion { matchers: Arc::clone(&t.matchers), range: t.range };
        self.hiding(block).map(of).collect()
    }

    fn hiding(&self, block: &LiveBlock) -> impl Iterator<Item = &LiveTombstone> {
        let (through, range) = (block.entry.through, block.range());
        self.tombstones.iter().filter(move |t| t.lsn > through && t.range.overlaps(range))
    }

    /// How many series of a block have deleted samples. Every step of maintenance asks it of every block, so the answer is kept
    /// until other deletes concern the block.
    pub(crate) fn touched_series(&self, block: &LiveBlock) -> Result<u64> {
        let by: Vec<Lsn> = self.hiding(block).map(|t| t.lsn).collect();
        {
            let known = block.touched.lock();
            if known.0 == by {
                return Ok(known.1);
            }
        }
        let touched = self.view(block).touched_series()?;
        *block.touched.lock() = (by, touched);
        Ok(touched)
    }

    /// A block as readers see it.
    pub(crate) fn view(&self, block: &LiveBlock) -> BlockView {
        BlockView::new(Arc::clone(&block.block), block.entry.precedence, self.deletions(block))
    }

    /// The blocks that overlap `range`, as sources.
    pub(crate) fn sources(&self, range: TimeRange) -> Vec<Arc<dyn Source>> {
        let overlapping = self.blocks.iter().filter(|b| b.range().overlaps(range));
        overlapping.map(|b| Arc::new(self.view(b)) as Arc<dyn Source>).collect()
    }

    /// The bytes of all blocks.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.blocks.iter().map(|b| b.block.bytes()).sum()
    }
}

/// Compiles what the tombstones file says.
pub(crate) fn compile(tombstones: &Tombstones) -> Result<Vec<LiveTombstone>> {
    let entries = tombstones.entries.iter();
    entries
        .map(|t| {
            let matchers: Result<Vec<Matcher>> = t
                .matchers
                .iter()
                .map(|(op, name, value)| Matcher::new(*op, name.as_str(), value.as_str()))
                .collect();
            Ok(LiveTombstone { lsn: t.lsn, range: t.range, matchers: matchers?.into() })
        })
        .collect()
}
