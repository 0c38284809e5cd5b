//! The head as a source: what one pinned reader sees of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::error::{Error, Result};
use crate::head::{Head, Pin, order};
use crate::model::{Cancel, Intervals, Matcher, Metadata, TimeRange};
use crate::postings;
use crate::source::{ChunkHandle, HEAD_PRECEDENCE, SeriesStream, Source, SourceSeries};

/// The head as of a pin.
#[derive(Clone, Debug)]
pub(crate) struct HeadView {
    head: Arc<Head>,
    pin: Arc<Pin>,
    range: TimeRange,
}

impl HeadView {
    /// What `pin` sees.
    pub(crate) fn new(head: Arc<Head>, pin: Arc<Pin>) -> HeadView {
        let range = head.time_range();
        HeadView { head, pin, range }
    }

    /// The slots that fulfil the matchers and have something that the pin sees.
    fn slots(&self, matchers: &[Matcher], cancel: &Cancel) -> Result<RoaringBitmap> {
        let mut ids = postings::select(&*self.head.index.read(), matchers, cancel)?;
        let mut unseen = Vec::new();
        for slot in &ids {
            if !self.sees(slot) {
                unseen.push(slot);
            }
        }
        for slot in unseen {
            ids.remove(slot);
        }
        Ok(ids)
    }

    fn sees(&self, slot: u32) -> bool {
        let Some(shard) = self.head.shard(slot) else { return false };
        match shard.read().series(slot) {
            Some(series) => series.data.as_of(self.pin.edition()).has_visible(self.pin.lsn()),
            _ => false,
        }
    }
}

impl Source for HeadView {
    fn time_range(&self) -> TimeRange {
        self.range
    }

    fn precedence(&self) -> u64 {
        HEAD_PRECEDENCE
    }

    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancel: &Cancel,
    ) -> Result<Box<dyn SeriesStream>> {
        let ids = postings::select(&*self.head.index.read(), matchers, cancel)?;
        let places = order::by_labels(&self.head, ids.iter(), cancel)?;
        Ok(Box::new(Stream { view: self.clone(), range, places: places.into_iter() }))
    }

    fn label_names(&self, matchers: &[Matcher], cancel: &Cancel, out: &mut BTreeSet<String>) -> Result<()> {
        let ids = self.slots(matchers, cancel)?;
        self.head.index.read().postings().names_of(&ids, out);
        Ok(())
    }

    /// They are copied out first: who is called may take its time, and the index is locked.
    fn each_label_value(
        &self,
        name: &str,
        matchers: &[Matcher],
        cancel: &Cancel,
        f: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let ids = self.slots(matchers, cancel)?;
        let values = self.head.index.read().postings().values_of(name, &ids);
        values.iter().for_each(|value| f(value));
        Ok(())
    }

    fn metadata(&self, family: &str) -> Result<Option<Metadata>> {
        Ok(self.head.family(family))
    }

    fn families(&self) -> Result<Vec<(String, Metadata)>> {
        Ok(self.head.all_families())
    }
}

/// Copies out one series after the other.
struct Stream {
    view: HeadView,
    range: TimeRange,
    places: std::vec::IntoIter<order::Place>,
}

impl Stream {
    /// What the pin sees of the series that lives, or lived, there; nothing if another one has moved in.
    fn chunks(&self, (slot, generation): order::Place) -> Result<Vec<ChunkHandle>> {
        let Some(shard) = self.view.head.shard(slot) else { return Ok(Vec::new()) };
        let shard = shard.read();
        let series = shard.series(slot).filter(|series| series.generation == generation);
        let Some(series) = series else { return Ok(Vec::new()) };
        let data = series.data.as_of(self.view.pin.edition());
        let chunks = data.chunks(self.view.pin.lsn(), self.range);
        chunks.map_err(|e| Error::corrupt("(head)", 0, e))
    }
}

impl SeriesStream for Stream {
    fn next(&mut self) -> Result<Option<SourceSeries>> {
        while let Some(place) = self.places.next() {
            let chunks = self.chunks(place)?;
            // What the pin sees of a series keeps it, and its labels, where they are.
            let labels = match chunks.is_empty() {
                true => None,
                false => self.view.head.labels_of(place.0),
            };
            if let Some((labels, _)) = labels.filter(|(_, generation)| *generation == place.1) {
                return Ok(Some(SourceSeries { labels, chunks, deleted: Arc::new(Intervals::default()) }));
            }
        }
        Ok(None)
    }
}
