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
//! begins with a series that was not seen, it *passes*, and no spelling of it becomes known unless it comes again.
//!
//! Memory is bounded: two thirds of the budget for what is known, a third for rows, which are all handed on when they are as many. What comes
//! when no more can be known is a *guest*: its rows wait with the others, and it is forgotten when they are handed on. So of a dump that
//! repeats more series than can be known, those stay known that are, and only the others are parsed anew each time; an oldest-goes-first
//! would find none of them. Where the known ones have hardly a row while guests have many, all are forgotten, since others have their turn.

use std::hash::Hash;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::SampleSink;
use super::spellings::{SPELLING_BYTES, Spellings};
use crate::{Columns as Samples, Result};

/// What a known series costs besides its spellings, about: itself, and its place in the table by the sink's numbers.
const SERIES_OVERHEAD_BYTES: usize = 56;
/// What a row that waits costs: itself, and its place among those of its series.
const ROW_BYTES: usize = size_of::<Row>() + size_of::<u32>();
/// So many rows cost about what a guest costs.
const GUEST_ROWS: usize = 2;
/// The first rows that the list is made for.
const FIRST_ROWS: usize = 1_024;
/// After so many rows of guests for each known series it is looked at whether those are of use.
const PATIENCE: usize = 8;
/// How many series that passed are remembered.
const PASSED: usize = 65_536;
/// So many samples at once pass by the list.
const DIRECT_SAMPLES: usize = 8;

/// The number of a series in [`Columns`], valid until the series are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local(u32);

impl Local {
    /// Its place in arrays.
    #[inline]
    pub(crate) fn number(self) -> usize {
        self.0 as usize
    }

    /// The one with this place. The memory ends before such numbers do.
    pub(crate) fn new(number: usize) -> Local {
        Local(u32::try_from(number).unwrap_or(u32::MAX))
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
    /// How many of `known`, at its end, are guests.
    guests: usize,
    /// Rows of known series and of guests that were handed on since it was looked at last whether the former are of use.
    seen: (usize, usize),
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
    local: Local,
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
            guests: 0,
            seen: (0, 0),
            passed: Vec::new(),
            known_bytes: 0,
            max_known_bytes: memory_bytes - memory_bytes / 3,
            // A place among them is 32 bits.
            max_rows: (memory_bytes / 3 / ROW_BYTES).clamp(1, 1 << 30),
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

    /// Whether one more series that is spelled so can be known, and all others stay known.
    pub(crate) fn has_room(&self, raw: &[u8]) -> bool {
        let more = raw.len() + SPELLING_BYTES + SERIES_OVERHEAD_BYTES;
        self.guests == 0 && self.known_bytes + more < self.max_known_bytes
    }

    /// A number for a series for which there is no room: valid until rows are handed on.
    pub(crate) fn guest(&mut self, series: Id) -> Local {
        let before = self.known.len();
        let local = self.join(series);
        if self.guests == 0 {
            self.guests = self.known.len() - before;
        }
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
        if self
            .passing
            .and_then(|local| self.known.get(local.number()))
            .is_some_and(|known| known.waiting > 0)
        {
            self.flush(sink)?;
        }
        if let Some(&known) = self.locals.get(&series) {
            return Ok(known);
        }
        let local = match self.passing {
            Some(local) => local,
            None => self.push_series(series),
        };
        self.passing = Some(local);
        if let Some(known) = self.known.get_mut(local.number()) {
            known.series = series;
        }
        Ok(local)
    }

    /// A new number. What is behind a guest leaves with it.
    fn push_series(&mut self, series: Id) -> Local {
        self.known.push(Known { series, waiting: 0 });
        self.guests += usize::from(self.guests > 0);
        Local::new(self.known.len() - 1)
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
        let before = self.locals.len();
        let local = self.join(series);
        self.known_bytes += SERIES_OVERHEAD_BYTES * (self.locals.len() - before);
        // It is behind guests that are here, if any: they stay until all are forgotten.
        self.guests = 0;
        local
    }

    fn join(&mut self, series: Id) -> Local {
        if let Some(&known) = self.locals.get(&series) {
            return known;
        }
        let passes = |local: &Local| self.known.get(local.number()).is_some_and(|k| k.series == series);
        let local = match self.passing.take_if(|local| passes(local)) {
            Some(local) => local,
            None => self.push_series(series),
        };
        self.locals.insert(series, local);
        local
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
        let Some(known) = self.known.get(local.number()) else { return Ok(()) };
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
        let Some(known) = self.known.get_mut(local.number()) else { return };
        known.waiting += 1;
        if self.rows.len() == self.rows.capacity() {
            self.grow();
        }
        self.rows.push(Row { t, v, local });
    }

    /// Twice the room, but no more than the budget says.
    #[cold]
    fn grow(&mut self) {
        let more =
            self.rows.len().clamp(FIRST_ROWS, self.max_rows.saturating_sub(self.rows.len()).max(FIRST_ROWS));
        self.rows.reserve_exact(more);
    }

    /// Hands on what is above the budget; says whether series were forgotten with it, and numbers mean nothing any more.
    #[inline]
    pub(crate) fn make_room<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<bool> {
        let full = self.rows.len() + GUEST_ROWS * self.guests >= self.max_rows;
        if !full && self.known_bytes < self.max_known_bytes {
            return Ok(false);
        }
        self.make_room_now(sink)
    }

    #[cold]
    fn make_room_now<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<bool> {
        let keep = self.known.len() - self.guests;
        if self.known_bytes >= self.max_known_bytes || (self.guests > 0 && self.is_idle(keep)) {
            self.forget(sink)?;
            return Ok(true);
        }
        self.flush(sink)?;
        for guest in self.known.drain(keep..) {
            self.locals.remove(&guest.series);
        }
        self.passing = self.passing.filter(|local| local.number() < keep);
        Ok(std::mem::take(&mut self.guests) > 0)
    }

    /// Whether the first so many series, which are known, had hardly a row while guests had many.
    fn is_idle(&mut self, known: usize) -> bool {
        let waiting = |all: &[Known<Id>]| all.iter().map(|known| known.waiting as usize).sum::<usize>();
        let of_known = waiting(self.known.get(..known).unwrap_or_default());
        let (before, guests) = self.seen;
        self.seen = (before + of_known, guests + self.rows.len() - of_known);
        if self.seen.1 < PATIENCE * known {
            return false;
        }
        std::mem::take(&mut self.seen).0 < known / 2
    }

    /// Hands all samples on and forgets all series.
    pub(crate) fn forget<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<()> {
        self.flush(sink)?;
        self.plain.clear();
        self.le.clear();
        self.quantile.clear();
        self.locals.clear();
        self.known.clear();
        self.guests = 0;
        self.seen = (0, 0);
        self.passing = None;
        self.known_bytes = 0;
        Ok(())
    }

    /// Hands all samples on, series by series in the order in which they were first seen.
    pub(crate) fn flush<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<()> {
        let order = self.by_series();
        let mut rest = order.iter().filter_map(|&place| self.rows.get(place as usize)).peekable();
        while let Some(&&Row { local, .. }) = rest.peek() {
            let Some(known) = self.known.get_mut(local.number()) else { break };
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
            let mut order: Vec<(u32, u32)> = places.map(|(place, row)| (row.local.0, place)).collect();
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
            let Some(next) = starts.get_mut(row.local.number()) else { continue };
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
    use std::collections::BTreeMap;
    use std::ops::Range;

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

    /// Reads each series of some rounds once, as an importer does; returns how many were parsed, and of how many rows.
    fn read_rounds(columns: &mut Columns<u8>, sink: &mut Calls, rounds: &[Range<u8>]) -> (usize, usize) {
        let (mut parsed, mut rows) = (0, 0);
        for (round, series) in (0..).zip(rounds) {
            for id in series.clone() {
                let raw = [id; 100];
                let local = columns.find(None, &raw).unwrap_or_else(|hash| {
                    parsed += 1;
                    match columns.has_room(&raw) {
                        true => columns.insert((None, &raw, hash), id),
                        false => columns.guest(id),
                    }
                });
                columns.push(local, round, round as f64);
                rows += 1;
                columns.make_room(sink).unwrap();
            }
        }
        columns.flush(sink).unwrap();
        (parsed, rows)
    }

    fn by_series(calls: Calls) -> BTreeMap<u8, Vec<i64>> {
        let mut all: BTreeMap<u8, Vec<i64>> = BTreeMap::new();
        calls.0.into_iter().for_each(|(id, t)| all.entry(id).or_default().extend(t));
        all
    }

    #[test]
    fn of_more_series_than_can_be_known_those_that_are_stay_known() {
        let (mut columns, mut sink) = (Columns::new(24_000), Calls::default());
        let (parsed, rows) = read_rounds(&mut columns, &mut sink, &vec![0..200; 40]);
        let known = columns.plain.len();
        assert!((50..150).contains(&known), "{known}");
        assert_eq!((parsed, rows), (40 * (200 - known) + known, 8_000));
        let all = by_series(sink);
        assert_eq!(all.len(), 200);
        assert!(all.values().all(|t| t.iter().copied().eq(0..40)), "each row once, in order");
    }

    #[test]
    fn series_that_do_not_come_again_make_room_for_others() {
        let (mut columns, mut sink) = (Columns::new(24_000), Calls::default());
        let mut rounds = vec![0..120; 10];
        rounds.extend(vec![120..200; 90]);
        let (parsed, rows) = read_rounds(&mut columns, &mut sink, &rounds);
        assert!(parsed < 120 + 9 * 60 + 18 * 80, "{parsed} of {rows} rows were parsed");
        let all = by_series(sink);
        assert!((0..120).all(|id| all[&id].iter().copied().eq(0..10)));
        assert!((120..200).all(|id| all[&id].iter().copied().eq(10..100)));
    }

    #[test]
    fn a_guest_that_passes_keeps_its_order() {
        let (mut columns, mut sink) = (Columns::new(24_000), Calls::default());
        let guest = columns.guest(1);
        columns.push(guest, 0, 0.0);
        let passing = columns.pass(2, &mut sink).unwrap();
        columns.push(passing, 5, 5.0);
        let other = columns.guest(3);
        columns.push(other, 6, 6.0);
        let again = columns.guest(2);
        columns.push(again, 7, 7.0);
        let passing = columns.pass(2, &mut sink).unwrap();
        columns.push(passing, 8, 8.0);
        let next = columns.pass(4, &mut sink).unwrap();
        columns.push(next, 9, 9.0);
        while !columns.make_room(&mut sink).unwrap() {
            columns.push(guest, 1, 1.0);
        }
        let first: Vec<(u8, i64)> = sink.0.iter().map(|(id, t)| (*id, t[0])).collect();
        assert_eq!(first, [(1, 0), (2, 5), (3, 6), (4, 9)]);
        assert_eq!(sink.0[1].1, [5, 7, 8]);
        assert_eq!((columns.known.len(), columns.locals.len(), columns.passing), (0, 0, None));
    }

    #[test]
    fn the_budget_is_kept() {
        let (mut columns, mut sink) = (Columns::new(1 << 20), Calls::default());
        let local = columns.adopt(1);
        let mut rows = 0;
        while sink.0.is_empty() {
            columns.push(local, rows, rows as f64);
            rows += 1;
            assert!(columns.rows.capacity() * ROW_BYTES <= (1 << 20) / 3);
            assert!(!columns.make_room(&mut sink).unwrap());
        }
        assert_eq!(rows as usize, (1 << 20) / 3 / ROW_BYTES);
    }
}
