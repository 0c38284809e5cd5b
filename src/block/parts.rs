//! What the bytes of a block are: by part of the index, and of the chunks by how their values are coded.
//!
//! Reads the heads of all chunks and the pages of the index, but decodes no sample. Together the parts are all
//! bytes of the files: what is nobody's is counted as heads and checksums.

use super::index::PageRef;
use super::{Block, block_meta};
use crate::error::Result;
use crate::format::chunk::Coding;
use crate::format::chunk_group::{self, HEADER_BYTES};
use crate::format::columns::Payload;
use crate::format::columns::values::{self, Kind};
use crate::format::directory_page::Kind as Tree;
use crate::format::gorilla;
use crate::format::pairs_filter;
use crate::format::terms_page::Postings;
use crate::model::Cancel;

/// The names of the parts, in the order in which they are told.
const NAMES: [&str; 13] = [
    "values: constant",
    "values: integers",
    "values: decimals",
    "values: bits",
    "values and timestamps: gorilla",
    "timestamps",
    "chunk heads and checksums",
    "series",
    "label pairs",
    "postings",
    "filter of the pairs",
    "metadata",
    "block heads",
];

/// Bytes and samples of each part, in the order of [`part_names`].
pub(crate) type Parts = [(u64, u64); NAMES.len()];

/// The names of the parts.
pub(crate) fn part_names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter()
}

const GORILLA: usize = 4;
const TIMES: usize = 5;
const CHUNK_HEADS: usize = 6;
const SERIES: usize = 7;
const PAIRS: usize = 8;
const POSTINGS: usize = 9;
const FILTER: usize = 10;
const FAMILIES: usize = 11;
const META: usize = 12;

impl Block {
    /// Counts the bytes.
    ///
    /// # Errors
    /// Damage that is met, I/O errors, cancellation.
    pub(crate) fn parts(&self, cancel: &Cancel) -> Result<Parts> {
        let mut parts = Parts::default();
        self.count_chunks(cancel, &mut parts)?;
        let meta = &self.meta;
        let trees = [
            (Tree::Terms, meta.pairs_root, meta.pairs, PAIRS),
            (Tree::Series, meta.series_root, meta.series, SERIES),
            (Tree::Families, meta.families_root, meta.families, FAMILIES),
        ];
        for (tree, root, count, part) in trees {
            if count > 0 {
                cancel.check()?;
                self.count_pages(tree, &PageRef::root(root), part, &mut parts)?;
            }
        }
        add(&mut parts, FILTER, pairs_filter::total_bytes(pairs_filter::buckets(meta.pairs)), 0);
        add(&mut parts, TIMES, meta.times_bytes, 0);
        add(&mut parts, META, block_meta::META_BYTES as u64, 0);
        Ok(parts)
    }

    fn count_chunks(&self, cancel: &Cancel, parts: &mut Parts) -> Result<()> {
        let end = self.chunks.file().bytes();
        let mut at = HEADER_BYTES as u64;
        let mut counted = 0;
        while at < end {
            cancel.check()?;
            let group = self.chunks.read_group(at)?;
            let corrupt = |e| self.chunks.file().corrupt(at, e);
            for chunk in chunk_group::chunks(group.body()) {
                let (_, chunk) = chunk.map_err(corrupt)?;
                let (part, bytes, rows) = match chunk.coding {
                    Coding::Gorilla => (
                        GORILLA,
                        chunk.payload.len(),
                        gorilla::rows(chunk.payload).map_err(corrupt)? as usize,
                    ),
                    Coding::Columns => {
                        let payload = Payload::decode(chunk.payload).map_err(corrupt)?;
                        (part_of(values::kind(payload.values)), payload.values.len(), payload.rows)
                    }
                };
                add(parts, part, bytes as u64, rows as u64);
                counted += bytes as u64;
            }
            at = group.end();
        }
        add(parts, CHUNK_HEADS, end.saturating_sub(counted), 0);
        Ok(())
    }

    fn count_pages(&self, tree: Tree, at: &PageRef, part: usize, parts: &mut Parts) -> Result<()> {
        add(parts, part, u64::from(at.bytes), 0);
        if at.level > 0 {
            let children = self.index.children(tree, at)?;
            return children.iter().try_for_each(|child| self.count_pages(tree, child, part, parts));
        }
        if tree != Tree::Terms {
            return Ok(());
        }
        self.index.with_terms(at, |page| {
            let mut walk = page.walk();
            while let Some(term) = walk.next().map_err(|e| self.index.file().corrupt(at.offset, e))? {
                let bytes = term.postings.bytes();
                add(parts, POSTINGS, bytes, 0);
                if matches!(term.postings, Postings::Inline(_)) {
                    move_from_page(parts, part, bytes);
                }
            }
            Ok(())
        })
    }
}

fn part_of(kind: Kind) -> usize {
    match kind {
        Kind::Constant => 0,
        Kind::Integer => 1,
        Kind::Decimal => 2,
        Kind::Bits => 3,
    }
}

/// Takes bytes that stand in a page, but are counted as something else.
fn move_from_page(parts: &mut Parts, part: usize, bytes: u64) {
    if let Some((page, _)) = parts.get_mut(part) {
        *page = page.saturating_sub(bytes);
    }
}

fn add(parts: &mut Parts, part: usize, bytes: u64, samples: u64) {
    if let Some(part) = parts.get_mut(part) {
        *part = (part.0 + bytes, part.1 + samples);
    }
}
