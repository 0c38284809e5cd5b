//! A block as a [`Source`]: its samples, less what was deleted, with its precedence.
//!
//! Deletions are label conditions with time ranges. Which series each concerns is computed once
//! for each view, when first needed. A series is left out if they cover all
//! that its chunks have in the range asked for; for names and values, if they cover all that the block can hold.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use super::Block;
use super::index::{Found, Index};
use super::reader::SeriesReader;
use crate::error::Result;
use crate::format::series_page::SeriesChunk;
use crate::model::{Cancel, Intervals, Matcher, Metadata, TimeRange};
use crate::postings::{self, Sought};
use crate::source::{ChunkData, ChunkHandle, ChunkPlace, ChunkStore, SeriesStream, Source, SourceSeries};

/// What was deleted: samples in a range, of the series that fulfil all matchers.
#[derive(Clone, Debug)]
pub(crate) struct Deletion {
    /// Which series; none at all means every series.
    pub(crate) matchers: Arc<[Matcher]>,
    /// Which times.
    pub(crate) range: TimeRange,
}

/// A block as one state of the store sees it.
#[derive(Debug)]
pub(crate) struct BlockView {
    block: Arc<Block>,
    precedence: u64,
    deletes: Vec<Deletion>,
    deleted: OnceLock<Arc<[(RoaringBitmap, TimeRange)]>>,
}

impl BlockView {
    /// The block with a precedence and the deletions that concern it.
    pub(crate) fn new(block: Arc<Block>, precedence: u64, deletes: Vec<Deletion>) -> BlockView {
        let hull = hull(&block);
        let deletes = deletes.into_iter().filter(|d| d.range.overlaps(hull)).collect();
        BlockView { block, precedence, deletes, deleted: OnceLock::new() }
    }

    /// The block.
    #[cfg(test)]
    pub(crate) fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// How many series have deleted samples.
    pub(crate) fn touched_series(&self) -> Result<u64> {
        let touched =
            self.deleted(&Cancel::default())?.iter().fold(RoaringBitmap::new(), |all, (ids, _)| all | ids);
        Ok(touched.len())
    }

    /// The series and range of each deletion.
    fn deleted(&self, cancel: &Cancel) -> Result<Arc<[(RoaringBitmap, TimeRange)]>> {
        if let Some(known) = self.deleted.get() {
            return Ok(Arc::clone(known));
        }
        let mut all = Vec::with_capacity(self.deletes.len());
        for deletion in &self.deletes {
            let ids = postings::select(&self.block.index, &deletion.matchers, cancel)?;
            if !ids.is_empty() {
                all.push((ids, deletion.range));
            }
        }
        Ok(Arc::clone(self.deleted.get_or_init(|| all.into())))
    }

    /// The series that fulfil all matchers and that are not deleted over the whole block; `None` for all.
    fn living(&self, matchers: &[Matcher], cancel: &Cancel) -> Result<Option<RoaringBitmap>> {
        if matchers.is_empty() && self.deletes.is_empty() {
            return Ok(None);
        }
        let ids = postings::select(&self.block.index, matchers, cancel)?;
        let gone = wholly_deleted(&self.deleted(cancel)?, hull(&self.block));
        Ok(Some(ids - gone))
    }
}

fn hull(block: &Block) -> TimeRange {
    match block.meta.series {
        0 => TimeRange::new(0, 0),
        _ => TimeRange::inclusive(block.meta.min_t, block.meta.max_t),
    }
}

/// The series whose deletions together cover `hull`.
fn wholly_deleted(deleted: &[(RoaringBitmap, TimeRange)], hull: TimeRange) -> RoaringBitmap {
    let mut gone = RoaringBitmap::new();
    let mut partly = RoaringBitmap::new();
    for (ids, range) in deleted {
        match range.covers(hull) {
            true => gone |= ids,
            false => partly |= ids,
        }
    }
    partly -= &gone;
    let mut together = Intervals::default();
    deleted.iter().for_each(|(_, range)| together.add(*range));
    if together.covers(hull) {
        gone.extend(partly.iter().filter(|&id| intervals(deleted, id).covers(hull)));
    }
    gone
}

fn intervals(deleted: &[(RoaringBitmap, TimeRange)], id: u32) -> Intervals {
    let mut all = Intervals::default();
    deleted.iter().filter(|(ids, _)| ids.contains(id)).for_each(|(_, range)| all.add(*range));
    all
}

impl Source for BlockView {
    fn time_range(&self) -> TimeRange {
        hull(&self.block)
    }

    fn precedence(&self) -> u64 {
        self.precedence
    }

    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancel: &Cancel,
    ) -> Result<Box<dyn SeriesStream>> {
        let ids = match hull(&self.block).overlaps(range) {
            true => postings::select(&self.block.index, matchers, cancel)?,
            false => RoaringBitmap::new(),
        };
        Ok(Box::new(Stream {
            block: Arc::clone(&self.block),
            store: Arc::clone(&self.block.chunks) as Arc<dyn ChunkStore>,
            ids: ids.into_iter(),
            range,
            deleted: self.deleted(cancel)?,
            members: Vec::new(),
            intervals: Arc::default(),
            reader: SeriesReader::default(),
            cancel: cancel.clone(),
        }))
    }

    fn label_names(&self, matchers: &[Matcher], cancel: &Cancel, out: &mut BTreeSet<String>) -> Result<()> {
        let index = &self.block.index;
        let ids = self.living(matchers, cancel)?;
        let mut room = Vec::new();
        index.names(|name, found| {
            cancel.check()?;
            if !out.contains(name) && any(index, &ids, found, &mut room)? {
                out.insert(name.to_owned());
            }
            Ok(())
        })
    }

    fn each_label_value(
        &self,
        name: &str,
        matchers: &[Matcher],
        cancel: &Cancel,
        f: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let index = &self.block.index;
        let ids = self.living(matchers, cancel)?;
        let mut room = Vec::new();
        let sought = Sought::all(name, cancel);
        if ids.is_none() {
            return index.values(sought, |value, _| {
                f(value);
                Ok(())
            });
        }
        index.values(sought, |value, found| {
            if any(index, &ids, found, &mut room)? {
                f(value);
            }
            Ok(())
        })
    }

    fn metadata(&self, family: &str) -> Result<Option<Metadata>> {
        self.block.index.family(family)
    }

    fn families(&self) -> Result<Vec<(String, Metadata)>> {
        self.block.index.families()
    }
}

/// Whether an entry has one of these series; `None` stands for all of them.
fn any(index: &Index, ids: &Option<RoaringBitmap>, found: Found<'_>, room: &mut Vec<u32>) -> Result<bool> {
    match ids {
        None => Ok(true),
        Some(ids) if ids.is_empty() => Ok(false),
        Some(ids) => index.has_any(found, ids, room),
    }
}

/// The series of one selection.
struct Stream {
    block: Arc<Block>,
    store: Arc<dyn ChunkStore>,
    ids: roaring::bitmap::IntoIter,
    range: TimeRange,
    deleted: Arc<[(RoaringBitmap, TimeRange)]>,
    /// Which deletions concern the last series, and what they delete together.
    members: Vec<bool>,
    intervals: Arc<Intervals>,
    reader: SeriesReader,
    cancel: Cancel,
}

impl Stream {
    /// The series, or `None` if nothing of it is in the range and alive.
    fn series(&mut self, id: u32) -> Result<Option<SourceSeries>> {
        self.reader.read(&self.block.index, id)?;
        let deleted = self.intervals_of(id);
        let overlapping = |c: &&SeriesChunk| c.min_t < self.range.end() && self.range.start() <= c.max_t;
        let asked = |c: &SeriesChunk| TimeRange::inclusive(c.min_t, c.max_t).intersection(self.range);
        let hidden = |c: &SeriesChunk| deleted.covers(asked(c));
        if self.reader.chunks().iter().filter(overlapping).all(hidden) {
            return Ok(None);
        }
        let chunks = self.reader.chunks().iter().filter(overlapping).map(|c| self.handle(c)).collect();
        let labels = self.reader.labels(&self.block.index)?;
        Ok(Some(SourceSeries { labels, chunks, deleted }))
    }

    fn handle(&self, c: &SeriesChunk) -> ChunkHandle {
        let at = ChunkPlace { group: c.group, within: c.within };
        let data = ChunkData::Stored { store: Arc::clone(&self.store), at };
        ChunkHandle { min_t: c.min_t, max_t: c.max_t, rows: c.rows, data }
    }

    /// What is deleted of a series; shared by neighbours that the same deletions concern.
    fn intervals_of(&mut self, id: u32) -> Arc<Intervals> {
        let members = || self.deleted.iter().map(|(ids, _)| ids.contains(id));
        if !members().eq(self.members.iter().copied()) {
            self.members = members().collect();
            self.intervals = Arc::new(intervals(&self.deleted, id));
        }
        Arc::clone(&self.intervals)
    }
}

impl SeriesStream for Stream {
    fn next(&mut self) -> Result<Option<SourceSeries>> {
        if self.range.is_empty() {
            return Ok(None);
        }
        while let Some(id) = self.ids.next() {
            match self.cancel.check().and_then(|()| self.series(id)) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(e) => {
                    self.ids = RoaringBitmap::new().into_iter();
                    return Err(e);
                }
            }
        }
        Ok(None)
    }
}
