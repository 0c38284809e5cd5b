//! Series by number: their labels and the places of their chunks.
//!
//! Numbers are asked for in ascending order mostly, and neighbours in label order have most pairs in common.
//! So the last page of series is kept, and the labels of the last series: only what differs from them is looked up.
//! That is in *stretches* of the dictionary, from one restart of a leaf to the next, of which
//! some are kept, with each pair in the form in which [`Labels`] holds it. A series in a page by itself, with
//! labels by themselves, costs a descent and a stretch for each of them, and no whole leaf.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::index::Index;
use crate::error::Result;
use crate::format::cursor::Write;
use crate::format::series_page::{self, SeriesChunk};
use crate::format::terms_page::RESTART_ENTRIES;
use crate::model::Labels;

/// Decoded stretches of the dictionary that are kept, of some 2 KiB each.
const STRETCHES: usize = 1_024;

/// Reads series of one block.
#[derive(Debug, Default)]
pub(super) struct SeriesReader {
    page: Option<(u64, series_page::Page)>,
    stretches: BTreeMap<u32, Pairs>,
    ordinals: Vec<u32>,
    chunks: Vec<SeriesChunk>,
    /// The labels that were put together last: of these ordinals, in canonical form, each pair's end.
    known: Vec<u32>,
    canonical: Pairs,
}

/// Pairs in canonical form, back to back.
#[derive(Debug, Default)]
struct Pairs {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pairs {
    /// Keeps the first `n`.
    fn truncate(&mut self, n: usize) {
        self.ends.truncate(n);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    fn pair(&self, i: usize) -> Option<&[u8]> {
        let from = i.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.bytes.get(from..*self.ends.get(i)?)
    }
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
        let Some((offset, page)) = &mut self.page else { return Ok(()) };
        let read = page.series(id, &mut self.ordinals, &mut self.chunks);
        read.map_err(|e| index.file().corrupt(*offset, e))?;
        let meta = index.meta();
        let outside = |c: &SeriesChunk| c.min_t < meta.min_t || c.max_t > meta.max_t;
        match self.chunks.iter().any(outside) {
            false => Ok(()),
            true => Err(self.invalid(index, "a chunk is outside of the block's times")),
        }
    }

    /// Those of some series that have the pair of this number.
    pub(super) fn having(
        &mut self,
        index: &Index,
        ordinal: u32,
        among: RoaringBitmap,
    ) -> Result<RoaringBitmap> {
        let mut out = RoaringBitmap::new();
        for id in among {
            self.read(index, id)?;
            if self.ordinals.contains(&ordinal) {
                out.insert(id);
            }
        }
        Ok(out)
    }

    /// The labels of the series that was read last.
    pub(super) fn labels(&mut self, index: &Index) -> Result<Labels> {
        let shared = self.known.iter().zip(&self.ordinals).take_while(|(a, b)| a == b).count();
        self.known.truncate(shared);
        self.canonical.truncate(shared);
        for i in shared..self.ordinals.len() {
            if let Some(&ordinal) = self.ordinals.get(i) {
                self.append_pair(index, ordinal)?;
                self.known.push(ordinal);
            }
        }
        Labels::from_canonical(&self.canonical.bytes)
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
        let (first, pairs) = stretch(index, ordinal)?;
        if self.stretches.len() >= STRETCHES {
            self.stretches.clear();
        }
        self.stretches.insert(first, pairs);
        match self.append_known(ordinal) {
            true => Ok(()),
            false => Err(self.invalid(index, "a pair number is not in the dictionary")),
        }
    }

    /// Appends a pair if its stretch is here.
    fn append_known(&mut self, ordinal: u32) -> bool {
        let Some((first, stretch)) = self.stretches.range(..=ordinal).next_back() else { return false };
        let Some(pair) = stretch.pair((ordinal - first) as usize) else { return false };
        self.canonical.bytes.extend_from_slice(pair);
        self.canonical.ends.push(self.canonical.bytes.len());
        true
    }
}

/// The stretch that a pair is in, and its first ordinal.
fn stretch(index: &Index, ordinal: u32) -> Result<(u32, Pairs)> {
    let at = index.terms_of(ordinal)?;
    index.with_terms(&at, |page| {
        let corrupt = |e| index.file().corrupt(at.offset, e);
        let mut pairs = Pairs::default();
        let mut walk = page.walk_to(ordinal);
        let mut first = None;
        for _ in 0..RESTART_ENTRIES {
            let Some(term) = walk.next().map_err(corrupt)? else { break };
            first.get_or_insert(term.ordinal);
            pairs.bytes.put_sized(term.name.as_bytes());
            pairs.bytes.put_sized(term.value.as_bytes());
            pairs.ends.push(pairs.bytes.len());
        }
        Ok((first.unwrap_or(ordinal), pairs))
    })
}
