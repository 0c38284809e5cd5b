//! A block: the samples of one time range on disk, immutable.
//!
//! ```text
//!   blocks/<start>-<end>-<sequence>/
//!     meta     block_meta: range, counts, lengths of the others, roots      read at open, nothing else is
//!     index    ┌ lists, terms_page ┐… directory │ series_page … directory │ families_page … directory │ pairs_filter
//!     chunks   header, chunk_group …
//!     times    time_column …: timestamps that series share; empty if no chunk is of columns
//!
//!   Writer ── add(labels, chunks) in label order ──▶ finish ──▶ four files, synced
//!   Block  ── open ──▶ BlockView { precedence, deletes } : Source
//! ```
//!
//! The index has three trees of pages. The *dictionary* holds all (name, value) pairs in order,
//! each with its postings or the place of their list; for each name first the pair (name, "") with all
//! series that have the label: so one structure answers names, values, look-ups and prefix scans.
//! The *series tree* holds series by their dense numbers, which follow label order: a selection
//! is a set of numbers, read in ascending order. The *family tree* holds metadata. A *filter* of all pairs
//! lets a query over many blocks pass by those that cannot have what it asks for.
//!
//! # Invariants
//! - A unit (page, list, group) is read whole and its checksum verified, seeded by salt and
//!   offset, each time before its bytes are interpreted; in mapped mode too.
//! - Whatever the bytes say, reading ends: levels descend, numbers ascend, counts are bounded by bytes.
//! - The units of `index` stand back to back without gaps, as do the chunks and the columns of `times`: [`Block::verify`] accounts for every byte.
//!
//! # Cost
//! Opening reads 164 bytes. A look-up reads one page per level, about three; one that the filter turns away reads a kilobyte. The writer keeps per
//! series some ten to thirty bytes and each distinct pair once; chunks stream to their file.
//!
//! | file | what |
//! |---|---|
//! | `writer`, `pairs`, `tree`, `time_table`, `sink` | writing: series in, pairs numbered and postings gathered at the end, trees built bottom-up, columns of timestamps found again |
//! | `unit` | a file read unit by unit |
//! | `index` | descending the trees; the index as a [`TermIndex`](crate::postings::TermIndex) |
//! | `times` | columns of timestamps, kept for the next series, of all blocks together |
//! | `chunks` | the chunk file as a [`ChunkStore`](crate::source::ChunkStore) |
//! | `reader` | series with their labels, by number |
//! | `view` | a block as a [`Source`](crate::source::Source), with deletions |
//! | `verify` | every byte of every file |
//! | `digest` | what was written, to be compared when it is read back |
//! | `parts` | what the bytes are |
//! | `window` | where whoever writes chunks of columns cuts them |

mod chunks;
mod digest;
mod index;
mod pairs;
mod parts;
mod reader;
mod sink;
mod spool;
mod time_table;
mod times;
mod tree;
mod unit;
mod verify;
mod view;
pub(crate) mod window;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use crate::format::block_meta::BlockMeta;
pub(crate) use digest::Made;
pub(crate) use parts::{Parts, part_names};
pub(crate) use times::KeptColumns;
pub(crate) use unit::ReadMode;
pub(crate) use view::{BlockView, Deletion};
pub(crate) use writer::{BlockSink, NewChunk, SeriesSink, Writer, WriterOptions};

use crate::env::{self, Fs};
use crate::error::{Error, Result};
use crate::format::block_meta;
use chunks::Chunks;
use index::Index;
use times::Times;

/// The file that says what the block is.
pub(crate) const META_FILE: &str = "meta";
/// The file of the trees and postings lists.
pub(crate) const INDEX_FILE: &str = "index";
/// The file of the chunks.
pub(crate) const CHUNKS_FILE: &str = "chunks";
/// The file of the columns of timestamps.
pub(crate) const TIMES_FILE: &str = "times";
/// The files of a block, in the order in which they are removed.
pub(crate) const FILES: [&str; 4] = [META_FILE, INDEX_FILE, CHUNKS_FILE, TIMES_FILE];

/// An open block: immutable, shared by all that read it.
pub(crate) struct Block {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    meta: Arc<BlockMeta>,
    index: Index,
    chunks: Arc<Chunks>,
}

impl Block {
    /// As [`open_beside`](Block::open_beside), alone.
    pub(crate) fn open(fs: &Arc<dyn Fs>, dir: &Path, mode: ReadMode) -> Result<Block> {
        Block::open_beside(fs, dir, mode, &Arc::default())
    }

    /// Reads `meta` and compares the lengths of the other files with it; `kept` is that of other blocks of the database, too.
    pub(crate) fn open_beside(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        mode: ReadMode,
        kept: &Arc<KeptColumns>,
    ) -> Result<Block> {
        let path = dir.join(META_FILE);
        let maximum = block_meta::META_BYTES as u64 + 4_096;
        let bytes =
            env::read_all(fs.as_ref(), &path, maximum).map_err(|e| Error::unread("read", &path, e))?;
        let meta = Arc::new(BlockMeta::decode(&bytes).map_err(|e| Error::corrupt(&path, 0, e))?);
        let index = Index::open(fs.as_ref(), dir.join(INDEX_FILE), mode, Arc::clone(&meta))?;
        let times = Times::open(fs.as_ref(), dir.join(TIMES_FILE), mode, &meta, kept)?;
        let chunks = Arc::new(Chunks::open(fs.as_ref(), dir.join(CHUNKS_FILE), mode, &meta, times)?);
        Ok(Block { fs: Arc::clone(fs), dir: dir.to_owned(), meta, index, chunks })
    }

    /// What the block says of itself.
    pub(crate) fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The length of all its files.
    pub(crate) fn bytes(&self) -> u64 {
        let meta = &self.meta;
        [block_meta::META_BYTES as u64, meta.index_bytes, meta.chunks_bytes, meta.times_bytes]
            .iter()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("dir", &self.dir).finish_non_exhaustive()
    }
}
