//! The head as a source: what one pinned reader sees of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::error::{Error, Result};
use crate::head::{Head, Pin};
use crate::model::{Cancel, Intervals, Labels, Matcher, Metadata, TimeRange};
use crate::postings;
use crate::source::{HEAD_PRECEDENCE, SeriesStream, Source, SourceSeries};

/// So many label sets are copied out under one lock of the index.
const LOCKED_SLOTS: usize = 1_024;

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
        let mut series: Vec<(Labels, u32, u16)> = Vec::new();
        let mut slots = ids.iter().peekable();
        // Not all under one lock: who makes a series would wait. Where another one has moved in meanwhile, it has nothing
        // that the pin sees.
        while slots.peek().is_some() {
            cancel.check()?;
            let index = self.head.index.read();
            let named = |slot| index.labels_of(slot).map(|(labels, generation)| (labels, slot, generation));
            series.extend(slots.by_ref().take(LOCKED_SLOTS).filter_map(named));
        }
        series.sort_unstable();
        Ok(Box::new(Stream { view: self.clone(), range, series: series.into_iter() }))
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
    series: std::vec::IntoIter<(Labels, u32, u16)>,
}

impl SeriesStream for Stream {
    fn next(&mut self) -> Result<Option<SourceSeries>> {
        for (labels, slot, generation) in self.series.by_ref() {
            let Some(shard) = self.view.head.shard(slot) else { continue };
            let shard = shard.read();
            let Some(series) = shard.series(slot) else { continue };
            if series.generation != generation {
                continue;
            }
            let data = series.data.as_of(self.view.pin.edition());
            let chunks = data.chunks(self.view.pin.lsn(), self.range);
            let chunks = chunks.map_err(|e| Error::corrupt("(head)", 0, e))?;
            if !chunks.is_empty() {
                return Ok(Some(SourceSeries { labels, chunks, deleted: Arc::new(Intervals::default()) }));
            }
        }
        Ok(None)
    }
}
