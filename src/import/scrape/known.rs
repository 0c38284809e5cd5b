//! What a scrape remembers of its target: series by the bytes of their lines, metadata by family.
//!
//! ```text
//!   line (spelling, bytes) ─guess: what followed the line before on the last page, else a hash─▶ series { labels, ref, mark }
//! ```
//!
//! Pages repeat, line by line: so each line remembers which one followed it, and a known page costs one comparison
//! of bytes for each line and no hash. Several spellings of one series (labels in another order) share it. `mark` is
//! the number of the page with which a series, line or family was appended last.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};

use crate::import::Escaped;
use crate::import::columns::Spelling;
use crate::{Labels, Metadata, Result, SeriesRef};

/// Things not on the page that are kept however small the page is.
const SPARE: usize = 1_024;

/// A series that stood on a page.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) labels: Labels,
    /// `None` until it is first appended.
    pub(super) series: Option<SeriesRef>,
    pub(super) mark: u64,
}

#[derive(Debug)]
struct Line {
    spelling: Spelling,
    raw: Box<[u8]>,
    series: usize,
    /// The line that followed it when it was last read.
    next: usize,
    mark: u64,
}

/// Lines and the series that they name, by number.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    lines: Vec<Line>,
    by_bytes: HashTable<usize>,
    hasher: RandomState,
    series: Vec<Known>,
    by_labels: HashMap<Labels, usize, RandomState>,
    /// The line read last, whose successor is the guess.
    last: usize,
}

impl Catalog {
    /// The page is read from its start.
    pub(super) fn rewind(&mut self) {
        self.last = usize::MAX;
    }

    /// The number of a line, if it is known.
    pub(super) fn find(&mut self, spelling: Spelling, raw: &[u8]) -> Option<usize> {
        let guess = self.lines.get(self.last).map_or(0, |l| l.next);
        let is = |line: &Line| line.spelling == spelling && *line.raw == *raw;
        let number = match self.lines.get(guess) {
            Some(line) if is(line) => guess,
            _ => {
                let hash = self.hasher.hash_one((spelling, raw));
                *self.by_bytes.find(hash, |&n| self.lines.get(n).is_some_and(is))?
            }
        };
        self.follow(number);
        Some(number)
    }

    /// Makes a line known, and its series if no other line has it; the number of the line.
    pub(super) fn insert(&mut self, spelling: Spelling, raw: &[u8], labels: Labels) -> usize {
        let next = self.series.len();
        let series = *self.by_labels.entry(labels.clone()).or_insert(next);
        if series == next {
            self.series.push(Known { labels, series: None, mark: 0 });
        }
        let number = self.lines.len();
        self.lines.push(Line { spelling, raw: raw.into(), series, next: number + 1, mark: 0 });
        let (lines, hasher) = (&self.lines, &self.hasher);
        let hash = |&n: &usize| lines.get(n).map_or(0, |l: &Line| hasher.hash_one((l.spelling, &*l.raw)));
        self.by_bytes.insert_unique(hash(&number), number, hash);
        self.follow(number);
        number
    }

    /// A line was read: it is what follows the one before.
    fn follow(&mut self, number: usize) {
        if let Some(last) = self.lines.get_mut(self.last) {
            last.next = number;
        }
        self.last = number;
    }

    /// Marks a line, and gives its series and the number of that.
    pub(super) fn mark(&mut self, line: usize, page: u64) -> Option<(usize, &mut Known)> {
        let line = self.lines.get_mut(line)?;
        line.mark = page;
        Some((line.series, self.series.get_mut(line.series)?))
    }

    /// A series by its number.
    pub(super) fn series(&mut self, number: usize) -> Option<&mut Known> {
        self.series.get_mut(number)
    }

    /// Forgets what is neither marked with `page` nor `present`, once that is more than what is. The numbers in
    /// `present` are put right.
    pub(super) fn prune(&mut self, page: u64, present: &mut [usize]) {
        let on_page = self.lines.iter().filter(|l| l.mark == page).count();
        if self.lines.len() <= 2 * on_page + SPARE {
            return;
        }
        let mut keep: Vec<bool> = self.series.iter().map(|s| s.mark == page).collect();
        for &number in &*present {
            keep.get_mut(number).into_iter().for_each(|k| *k = true);
        }
        let mut kept = 0..;
        let new: Vec<Option<usize>> =
            keep.iter().map(|&keep| if keep { kept.next() } else { None }).collect();
        let new = |old: usize| new.get(old).copied().flatten();
        let mut keep = keep.iter();
        self.series.retain(|_| keep.next().is_some_and(|&k| k));
        self.by_labels.retain(|_, n| new(*n).inspect(|new| *n = *new).is_some());
        self.lines.retain_mut(|l| l.mark == page && new(l.series).inspect(|new| l.series = *new).is_some());
        present.iter_mut().for_each(|n| *n = new(*n).unwrap_or(usize::MAX));
        self.by_bytes = HashTable::with_capacity(self.lines.len());
        for (number, line) in self.lines.iter_mut().enumerate() {
            line.next = number + 1;
            let hash = self.hasher.hash_one((line.spelling, &*line.raw));
            // There is room for all: nothing is hashed again.
            self.by_bytes.insert_unique(hash, number, |_| hash);
        }
    }

    /// Lines that are known.
    #[cfg(test)]
    pub(super) fn lines(&self) -> usize {
        self.lines.len()
    }
}

/// Metadata of families, by the bytes of their names.
#[derive(Debug, Default)]
pub(super) struct Families {
    known: HashMap<Vec<u8>, Family, RandomState>,
    news: bool,
}

#[derive(Debug, Default)]
struct Family {
    name: String,
    metadata: Metadata,
    /// The help text with its escapes.
    help: Vec<u8>,
    is_news: bool,
    mark: u64,
}

impl Families {
    /// Notes the type of a family.
    pub(super) fn metric_type(&mut self, family: &Escaped<'_>, metric_type: crate::MetricType, page: u64) {
        let known = self.family(family, page);
        if known.metadata.metric_type != metric_type {
            known.metadata.metric_type = metric_type;
            known.is_news = true;
        }
        self.news |= known.is_news;
    }

    /// Notes the help text of a family.
    pub(super) fn help(&mut self, family: &Escaped<'_>, help: &Escaped<'_>, page: u64) {
        let known = self.family(family, page);
        if known.help != help.bytes() {
            known.help = help.bytes().to_vec();
            known.metadata.help = help.unescaped();
            known.is_news = true;
        }
        self.news |= known.is_news;
    }

    /// Notes the unit of a family.
    pub(super) fn unit(&mut self, family: &Escaped<'_>, unit: &str, page: u64) {
        let known = self.family(family, page);
        if known.metadata.unit != unit {
            known.metadata.unit = unit.to_owned();
            known.is_news = true;
        }
        self.news |= known.is_news;
    }

    fn family(&mut self, family: &Escaped<'_>, page: u64) -> &mut Family {
        let entry = self.known.entry_ref(family.bytes()).or_insert_with(|| Family {
            name: family.unescaped(),
            is_news: true,
            ..Family::default()
        });
        entry.mark = page;
        entry
    }

    /// Everything is news again: the database may not have it.
    pub(super) fn tell_again(&mut self) {
        self.known.values_mut().for_each(|f| f.is_news = true);
        self.news = !self.known.is_empty();
    }

    /// Tells what is news; what is refused stays news.
    pub(super) fn tell(&mut self, mut tell: impl FnMut(&str, &Metadata) -> Result<()>) -> Result<()> {
        if !self.news {
            return Ok(());
        }
        for family in self.known.values_mut().filter(|f| f.is_news) {
            tell(&family.name, &family.metadata)?;
            family.is_news = false;
        }
        self.news = false;
        Ok(())
    }

    /// Forgets what was not on `page`, once that is more than what was.
    pub(super) fn prune(&mut self, page: u64) {
        if self.known.len() <= SPARE {
            return;
        }
        let on_page = self.known.values().filter(|f| f.mark == page).count();
        if self.known.len() > 2 * on_page + SPARE {
            self.known.retain(|_, f| f.mark == page);
        }
    }
}
