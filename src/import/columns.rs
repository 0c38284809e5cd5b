//! Samples on their way to the sink: series known by the bytes of their line, and the rows that wait, in the order in which they came.
//!
//! ```text
//!   raw bytes of a series ─map─▶ local number ─▶ row (t, v, number) at the end of the list ─flush─▶ by series ─▶ sink.extend
//! ```
//!
//! Labels are parsed and hashed once for each spelling of a series. Spellings of one series share
//! a number, so that its samples keep their order. A dump that is written scrape by scrape has a row of each series in turn: nothing is done for a row but
//! to write it behind the one before, and a full list is sorted by series at once (a counting sort, which keeps the order within each). A dump that is
//! written series by series has each of them once: where a run of lines
//! begins with a series that was not seen, it *passes*, and no spelling of it becomes known unless it comes again. Memory is bounded: half of the budget for what is known
//! (then all is handed on and forgotten), half for rows (then all are handed on).

use std::hash::Hash;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::SampleSink;
use super::spellings::{SPELLING_BYTES, Spellings};
use crate::{Columns as Samples, Result};

/// What a known series costs besides its spellings, about.
const SERIES_OVERHEAD_BYTES: usize = 128;
/// What a row that waits costs: itself, and its place among those of its series.
const ROW_BYTES: usize = size_of::<Row>() + size_of::<u32>();
/// The first rows that the list is made for.
const FIRST_ROWS: usize = 1_024;
/// How many series that passed are remembered.
const PASSED: usize = 65_536;
/// So many samples at once pass by the list.
const DIRECT_SAMPLES: usize = 8;

/// The number of a series in [`Columns`], valid until the series are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local(usize);

impl Local {
    /// Its place in arrays.
    pub(crate) fn number(self) -> usize {
        self.0
    }

    /// The one with this place.
    #[cfg(test)]
    pub(crate) fn new(number: usize) -> Local {
        Local(number)
    }
}

/// How a series is spelled: the label whose numbers are spelled anew is part of its meaning.
pub(crate) type Spelling = Option<&'static str>;

/// A spelling that was not found, its bytes, and their hash.
pub(crate) type Unknown<'a> = (Spelling, &'a [u8], u64);

/// Known series, and rows that wait.
#[derive(Debug)]
pub(crate) struct Columns<Id> {
    plain: Spellings,
    le: Spellings,
    quantile: Spellings,
    locals: HashMap<Id, Local, RandomState>,
    known: Vec<Known<Id>>,
    rows: Vec<Row>,
    /// Rows of one series on their way to the sink.
    handed: Samples,
    /// The number of the series that passes.
    passing: Option<Local>,
    /// Parts of hashes of series that passed, each in the place that another part says.
    passed: Vec<u32>,
    known_bytes: usize,
    max_known_bytes: usize,
    max_rows: usize,
}

/// A series of the sink.
#[derive(Debug)]
struct Known<Id> {
    series: Id,
    /// How many rows of it wait.
    waiting: u32,
}

/// A sample that waits.
#[derive(Clone, Copy, Debug)]
struct Row {
    t: i64,
    v: f64,
    local: usize,
}

impl<Id: Copy + Eq + Hash> Columns<Id> {
    /// Empty, with a budget in bytes.
    pub(crate) fn new(memory_bytes: usize) -> Columns<Id> {
        Columns {
            plain: Spellings::default(),
            le: Spellings::default(),
            quantile: Spellings::default(),
            locals: HashMap::default(),
            known: Vec::new(),
            rows: Vec::new(),
            handed: Samples::default(),
            passing: None,
            passed: Vec::new(),
            known_bytes: 0,
            max_known_bytes: memory_bytes / 2,
            // A place among them is 32 bits.
            max_rows: (memory_bytes / 2 / ROW_BYTES).clamp(1, 1 << 30),
        }
    }

    /// The series that is spelled so, if it is known; otherwise its hash.
    pub(crate) fn find(&mut self, spelling: Spelling, raw: &[u8]) -> Result<Local, u64> {
        self.spellings(spelling).find(raw)
    }

    /// Makes a spelling of a series known, which was not found.
    pub(crate) fn insert(&mut self, (spelling, raw, hash): Unknown<'_>, series: Id) -> Local {
        let local = self.adopt(series);
        self.spellings(spelling).insert(raw, hash, local);
        self.known_bytes += raw.len() + SPELLING_BYTES;
        local
    }

    /// Whether a series of which the bytes have this hash passed before, as far as that is remembered; from here on it did.
    pub(crate) fn passed(&mut self, hash: u64) -> bool {
        self.passed.resize(PASSED, 0);
        let (place, part) = ((hash >> 32) as usize % PASSED, (hash & 0xffff_ffff) as u32 | 1);
        self.passed.get_mut(place).is_some_and(|passed| std::mem::replace(passed, part) == part)
    }

    /// Lets a series pass: its number is valid until the next one is let pass, or, if it is adopted or inserted meanwhile, as theirs is.
    pub(crate) fn pass<S: SampleSink<Series = Id>>(&mut self, series: Id, sink: &mut S) -> Result<Local> {
        if self.passing.and_then(|local| self.known.get(local.0)).is_some_and(|known| known.waiting > 0) {
            self.flush(sink)?;
        }
        if let Some(&known) = self.locals.get(&series) {
            return Ok(known);
        }
        let next = Local(self.known.len());
        let local = *self.passing.get_or_insert(next);
        match self.known.get_mut(local.0) {
            Some(known) => known.series = series,
            None => self.known.push(Known { series, waiting: 0 }),
        }
        Ok(local)
    }

    fn spellings(&mut self, spelling: Spelling) -> &mut Spellings {
        match spelling {
            None => &mut self.plain,
            Some("le") => &mut self.le,
            Some(_) => &mut self.quantile,
        }
    }

    /// As [`find`](Columns::find), spelled as written; looks first at what followed, the last time, the one before.
    #[inline]
    pub(crate) fn find_next(&mut self, raw: &[u8]) -> Result<Local, u64> {
        let foretold = if self.plain.foretold() == Some(raw) { self.plain.take_foretold() } else { None };
        foretold.map_or_else(|| self.plain.find(raw), Ok)
    }

    /// The series, whether it is known or not; no spelling of it becomes known. One that passes keeps its number, so that what
    /// waits of it stays ahead of what comes.
    pub(crate) fn adopt(&mut self, series: Id) -> Local {
        let unknown = match self.locals.entry(series) {
            Entry::Occupied(known) => return *known.get(),
            Entry::Vacant(unknown) => unknown,
        };
        self.known_bytes += SERIES_OVERHEAD_BYTES;
        let passes = |local: &Local| self.known.get(local.0).is_some_and(|known| known.series == series);
        let local = self.passing.take_if(|local| passes(local)).unwrap_or_else(|| {
            self.known.push(Known { series, waiting: 0 });
            Local(self.known.len() - 1)
        });
        *unknown.insert(local)
    }

    /// Counts bytes that something else keeps for as long as the series are known.
    pub(crate) fn charge(&mut self, bytes: usize) {
        self.known_bytes += bytes;
    }

    /// Adds columns of equal length: many samples are handed on as they are, behind those of the series that wait.
    pub(crate) fn extend<S>(&mut self, local: Local, t: &[i64], v: &[f64], sink: &mut S) -> Result<()>
    where
        S: SampleSink<Series = Id>,
    {
        let Some(known) = self.known.get(local.0) else { return Ok(()) };
        if t.len() < DIRECT_SAMPLES {
            t.iter().zip(v).for_each(|(&t, &v)| self.push(local, t, v));
            return Ok(());
        }
        let (series, waits) = (known.series, known.waiting > 0);
        if waits {
            self.flush(sink)?;
        }
        sink.extend(series, t, v)
    }

    /// Adds one sample.
    #[inline]
    pub(crate) fn push(&mut self, local: Local, t: i64, v: f64) {
        let Some(known) = self.known.get_mut(local.0) else { return };
        known.waiting += 1;
        if self.rows.len() == self.rows.capacity() {
            self.grow();
        }
        self.rows.push(Row { t, v, local: local.0 });
    }

    /// Twice the room, but no more than the budget says.
    #[cold]
    fn grow(&mut self) {
        let more =
            self.rows.len().clamp(FIRST_ROWS, self.max_rows.saturating_sub(self.rows.len()).max(FIRST_ROWS));
        self.rows.reserve_exact(more);
    }

    /// Hands on what is above the budget; says whether the series were forgotten with it.
    #[inline]
    pub(crate) fn make_room<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<bool> {
        if self.rows.len() >= self.max_rows {
            self.flush(sink)?;
        }
        if self.known_bytes < self.max_known_bytes {
            return Ok(false);
        }
        self.forget(sink)?;
        Ok(true)
    }

    /// Hands all samples on and forgets all series.
    pub(crate) fn forget<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<()> {
        self.flush(sink)?;
        self.plain.clear();
        self.le.clear();
        self.quantile.clear();
        self.locals.clear();
        self.known.clear();
        self.passing = None;
        self.known_bytes = 0;
        Ok(())
    }

    /// Hands all samples on, series by series in the order in which they were first seen.
    pub(crate) fn flush<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<()> {
        let order = self.by_series();
        let mut rest = order.iter().filter_map(|&place| self.rows.get(place as usize)).peekable();
        while let Some(&&Row { local, .. }) = rest.peek() {
            let Some(known) = self.known.get_mut(local) else { break };
            known.waiting = 0;
            self.handed.clear();
            while let Some(row) = rest.next_if(|row| row.local == local) {
                self.handed.push(row.t, row.v);
            }
            sink.extend(known.series, &self.handed.t, &self.handed.v)?;
        }
        self.rows.clear();
        Ok(())
    }

    /// The places of the rows that wait, by series, in the order in which they came within each.
    fn by_series(&self) -> Vec<u32> {
        let places = (0u32..).zip(&self.rows);
        if self.rows.len() < self.known.len() {
            let mut order: Vec<(usize, u32)> = places.map(|(place, row)| (row.local, place)).collect();
            order.sort_unstable();
            return order.into_iter().map(|(_, place)| place).collect();
        }
        // Where the rows of a series go; each start moves up to its end.
        let mut start = 0;
        let mut starts = Vec::with_capacity(self.known.len());
        for known in &self.known {
            starts.push(start);
            start += known.waiting;
        }
        let mut order = vec![0; self.rows.len()];
        for (place, row) in places {
            let Some(next) = starts.get_mut(row.local) else { continue };
            if let Some(to) = order.get_mut(*next as usize) {
                *to = place;
            }
            *next += 1;
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labels, Metadata};

    /// Keeps each call.
    #[derive(Default)]
    struct Calls(Vec<(u8, Vec<i64>)>);

    impl SampleSink for Calls {
        type Series = u8;

        fn series(&mut self, _: &Labels) -> Result<u8> {
            Ok(0)
        }

        fn extend(&mut self, series: u8, t: &[i64], v: &[f64]) -> Result<()> {
            assert!(t.iter().zip(v).all(|(&t, &v)| t as f64 == v));
            self.0.push((series, t.to_vec()));
            Ok(())
        }

        fn metadata(&mut self, _: &str, _: &Metadata) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn rows_are_handed_on_by_series_in_their_order_however_many_there_are() {
        for (series, rounds) in [(3, 4), (50, 1), (1, 9)] {
            let (mut columns, mut sink) = (Columns::new(1 << 20), Calls::default());
            let locals: Vec<Local> = (0..series).map(|id| columns.adopt(id)).collect();
            let mut expected: Vec<(u8, Vec<i64>)> = (0..series).map(|id| (id, Vec::new())).collect();
            for round in 0..rounds {
                for id in (0..series).filter(|id| (i64::from(*id) + round) % 3 != 1) {
                    let t = 100 * i64::from(id) - round;
                    columns.push(locals[usize::from(id)], t, t as f64);
                    expected[usize::from(id)].1.push(t);
                }
            }
            columns.flush(&mut sink).unwrap();
            expected.retain(|(_, t)| !t.is_empty());
            assert_eq!(sink.0, expected, "{series} series");
            columns.flush(&mut sink).unwrap();
            assert_eq!(sink.0.len(), expected.len(), "once");
        }
    }

    #[test]
    fn many_samples_come_behind_those_that_wait() {
        let (mut columns, mut sink) = (Columns::new(1 << 20), Calls::default());
        let [one, other] = [1, 2].map(|id| columns.adopt(id));
        columns.push(one, 5, 5.0);
        let many: Vec<i64> = (10..10 + DIRECT_SAMPLES as i64).collect();
        let values: Vec<f64> = many.iter().map(|&t| t as f64).collect();
        columns.extend(other, &many, &values, &mut sink).unwrap();
        columns.extend(one, &many, &values, &mut sink).unwrap();
        columns.flush(&mut sink).unwrap();
        assert_eq!(sink.0, [(2, many.clone()), (1, vec![5]), (1, many)]);
    }

    #[test]
    fn a_series_that_passes_and_becomes_known_keeps_its_order() {
        let (mut columns, mut sink) = (Columns::new(1 << 20), Calls::default());
        let passing = columns.pass(1, &mut sink).unwrap();
        columns.push(passing, 5, 5.0);
        assert_eq!(columns.adopt(2).number(), 1);
        let known = columns.adopt(1);
        let many: Vec<i64> = (10..10 + DIRECT_SAMPLES as i64).collect();
        let values: Vec<f64> = many.iter().map(|&t| t as f64).collect();
        columns.extend(known, &many, &values, &mut sink).unwrap();
        columns.push(known, 30, 30.0);
        let next = columns.pass(3, &mut sink).unwrap();
        columns.push(next, 40, 40.0);
        columns.flush(&mut sink).unwrap();
        assert_eq!(sink.0, [(1, vec![5]), (1, many), (1, vec![30]), (3, vec![40])]);
    }

    #[test]
    fn the_budget_is_kept() {
        let (mut columns, mut sink) = (Columns::new(1 << 20), Calls::default());
        let local = columns.adopt(1);
        let mut rows = 0;
        while sink.0.is_empty() {
            columns.push(local, rows, rows as f64);
            rows += 1;
            assert!(columns.rows.capacity() * ROW_BYTES <= 1 << 19);
            assert!(!columns.make_room(&mut sink).unwrap());
        }
        assert_eq!(rows as usize, (1 << 19) / ROW_BYTES);
    }
}
