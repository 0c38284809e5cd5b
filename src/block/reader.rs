//! Series by number: their labels and the places of their chunks.
//!
//! Numbers are asked for in ascending order mostly. So the last page of series is kept, and some
//! decoded leaves of the dictionary, with each pair in the form in which [`Labels`] holds it:
//! the labels of a series are then a few copies and one check.

use std::collections::BTreeMap;

use super::index::Index;
use crate::error::Result;
use crate::format::cursor::Write;
use crate::format::series_page::{self, SeriesChunk};
use crate::model::Labels;

/// Decoded leaves of the dictionary that are kept, of some 50 KiB each.
const LEAVES: usize = 64;

/// Reads series of one block.
#[derive(Debug, Default)]
pub(super) struct SeriesReader {
    page: Option<(u64, series_page::Page)>,
    leaves: BTreeMap<u32, Pairs>,
    ordinals: Vec<u32>,
    chunks: Vec<SeriesChunk>,
    canonical: Vec<u8>,
}

/// The pairs of one leaf in canonical form, back to back.
#[derive(Debug, Default)]
struct Pairs {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl SeriesReader {
    /// The chunks of the series that was read last.
    pub(super) fn chunks(&self) -> &[SeriesChunk] {
        &self.chunks
    }

    /// The pair numbers of the series that was read last.
    pub(super) fn ordinals(&self) -> &[u32] {
        &self.ordinals
    }

    /// Reads the pair numbers and chunks of series `id`.
    pub(super) fn read(&mut self, index: &Index, id: u32) -> Result<()> {
        if !self.page.as_ref().is_some_and(|(_, page)| page.holds(id)) {
            let at = index.series_of(id)?;
            self.page = Some((at.offset, index.series_page(&at)?));
        }
        let Some((offset, page)) = &self.page else { return Ok(()) };
        let read = page.series(id, &mut self.ordinals, &mut self.chunks);
        read.map_err(|e| index.file().corrupt(*offset, e))?;
        let meta = index.meta();
        let outside = |c: &SeriesChunk| c.min_t < meta.min_t || c.max_t > meta.max_t;
        match self.chunks.iter().any(outside) {
            false => Ok(()),
            true => Err(self.invalid(index, "a chunk is outside of the block's times")),
        }
    }

    /// The labels of the series that was read last.
    pub(super) fn labels(&mut self, index: &Index) -> Result<Labels> {
        self.canonical.clear();
        for i in 0..self.ordinals.len() {
            if let Some(&ordinal) = self.ordinals.get(i) {
                self.append_pair(index, ordinal)?;
            }
        }
        Labels::from_canonical(&self.canonical)
            .ok_or_else(|| self.invalid(index, "the pairs of a series are no label set"))
    }

    /// An error about the page that was read last.
    pub(super) fn invalid(&self, index: &Index, what: &'static str) -> crate::error::Error {
        let offset = self.page.as_ref().map_or(0, |(offset, _)| *offset);
        index.file().invalid("series_page", offset, what)
    }

    fn append_pair(&mut self, index: &Index, ordinal: u32) -> Result<()> {
        if self.append_known(ordinal) {
            return Ok(());
        }
        if ordinal >= index.meta().pairs {
            return Err(self.invalid(index, "a pair number is not in the dictionary"));
        }
        let at = index.terms_of(ordinal)?;
        let pairs = index.with_terms(&at, |page| {
            let mut pairs = Pairs::default();
            let mut walk = page.walk();
            while let Some(term) = walk.next().map_err(|e| index.file().corrupt(at.offset, e))? {
                pairs.bytes.put_sized(term.name.as_bytes());
                pairs.bytes.put_sized(term.value.as_bytes());
                pairs.ends.push(pairs.bytes.len());
            }
            Ok(pairs)
        })?;
        if self.leaves.len() >= LEAVES {
            self.leaves.clear();
        }
        self.leaves.insert(at.number, pairs);
        match self.append_known(ordinal) {
            true => Ok(()),
            false => Err(self.invalid(index, "a pair number is not in the dictionary")),
        }
    }

    /// Appends a pair if its leaf is here.
    fn append_known(&mut self, ordinal: u32) -> bool {
        let Some((first, leaf)) = self.leaves.range(..=ordinal).next_back() else { return false };
        let i = (ordinal - first) as usize;
        let from = i.checked_sub(1).map_or(Some(0), |before| leaf.ends.get(before).copied());
        let (Some(from), Some(&to)) = (from, leaf.ends.get(i)) else { return false };
        self.canonical.extend_from_slice(leaf.bytes.get(from..to).unwrap_or_default());
        true
    }
}
