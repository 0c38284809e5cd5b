//! Which series the pages of one target hold, so that what vanishes is noticed.
//!
//! ```text
//!   page n−1   a b c        page n   a c d        vanished with page n: b
//! ```
//!
//! Series are numbered here once, by their labels; a sample costs two looks into arrays. What the importer
//! forgets to save memory is forgotten here too, but for the series of the last two pages.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::columns::Local;
use crate::Labels;

/// What a series costs here besides its labels, about.
const SERIES_OVERHEAD_BYTES: usize = 96;

/// The series of the page that is read, and of the page before.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    numbers: HashMap<Labels, usize, RandomState>,
    series: Vec<Seen>,
    /// By the importer's numbers.
    by_local: Vec<Option<usize>>,
    before: Vec<usize>,
    now: Vec<usize>,
    page: u64,
}

#[derive(Debug)]
struct Seen {
    labels: Labels,
    /// The last page that has it; pages count from 1.
    page: u64,
}

impl Presence {
    /// Says which series the importer's number means; returns the bytes that it costs.
    pub(crate) fn know(&mut self, local: Local, labels: &Labels) -> usize {
        let next = self.series.len();
        let number = *self.numbers.entry(labels.clone()).or_insert(next);
        let mut cost = 0;
        if number == next {
            self.series.push(Seen { labels: labels.clone(), page: 0 });
            cost = labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
                + SERIES_OVERHEAD_BYTES;
        }
        let place = local.number();
        if self.by_local.len() <= place {
            self.by_local.resize(place + 1, None);
        }
        if let Some(slot) = self.by_local.get_mut(place) {
            *slot = Some(number);
        }
        cost
    }

    /// The page that is read has a sample of this series.
    #[inline]
    pub(crate) fn saw(&mut self, local: Local) {
        let Some(Some(number)) = self.by_local.get(local.number()).copied() else { return };
        let Some(seen) = self.series.get_mut(number) else { return };
        if seen.page <= self.page {
            seen.page = self.page + 1;
            self.now.push(number);
        }
    }

    /// Ends the page; returns what the page before had and this one has not.
    pub(crate) fn turn(&mut self) -> Vec<Labels> {
        let page = self.page + 1;
        let before = self.before.iter().filter_map(|&n| self.series.get(n));
        let gone = before.filter(|seen| seen.page != page).map(|seen| seen.labels.clone()).collect();
        self.before = std::mem::take(&mut self.now);
        self.page = page;
        gone
    }

    /// The importer's numbers mean nothing any more. What neither page has is forgotten.
    pub(crate) fn forget_locals(&mut self) {
        let old = std::mem::take(self);
        self.page = old.page;
        let series = &old.series;
        let mut keep = |list: &[usize]| -> Vec<usize> {
            let kept = list.iter().filter_map(|&n| series.get(n));
            kept.map(|seen| {
                let next = self.series.len();
                let number = *self.numbers.entry(seen.labels.clone()).or_insert(next);
                if number == next {
                    self.series.push(Seen { labels: seen.labels.clone(), page: seen.page });
                }
                number
            })
            .collect()
        };
        let (before, now) = (keep(&old.before), keep(&old.now));
        self.before = before;
        self.now = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)]).unwrap()
    }

    #[test]
    fn what_vanishes_is_told_once() {
        let mut presence = Presence::default();
        for (n, name) in ["a", "b", "c"].into_iter().enumerate() {
            presence.know(Local::new(n), &labels(name));
        }
        presence.saw(Local::new(0));
        presence.saw(Local::new(1));
        presence.saw(Local::new(1));
        assert_eq!(presence.turn(), []);
        presence.saw(Local::new(1));
        // The numbers change in the middle of a page.
        presence.forget_locals();
        presence.saw(Local::new(0));
        presence.know(Local::new(0), &labels("c"));
        presence.saw(Local::new(0));
        assert_eq!(presence.turn(), [labels("a")]);
        assert_eq!(presence.turn(), [labels("b"), labels("c")]);
        assert_eq!(presence.turn(), []);
        presence.saw(Local::new(0));
        assert_eq!(presence.turn(), []);
        assert_eq!(presence.turn(), [labels("c")], "what came back may vanish again");
    }
}
