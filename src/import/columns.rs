//! Samples on their way to the sink: series known by the bytes of their line, and one column
//! buffer for each.
//!
//! ```text
//!   raw bytes of a series ─map─▶ local number ─▶ buffer { series of the sink, t[], v[] } ─flush─▶ sink.extend
//! ```
//!
//! Labels are parsed and hashed once for each spelling of a series. Spellings of one series share
//! a buffer, so that its samples keep their order. A dump that is written series by series has each of them once: where a run of lines
//! begins with a series that was not seen, it *passes*, and no spelling of it becomes known unless it comes again. Memory is bounded: half of the budget for what is known
//! (then all is handed on and forgotten), half for samples (then all are handed on and their
//! buffers freed).

use std::hash::Hash;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::SampleSink;
use super::spellings::{SPELLING_BYTES, Spellings};
use crate::Result;

/// What a known series costs besides its spellings, about.
const SERIES_OVERHEAD_BYTES: usize = 128;
/// What a buffered sample costs at most: two columns whose vectors are half full.
const SAMPLE_BYTES: usize = 32;
/// A buffer so long is handed on at once.
const BLOCK_SAMPLES: usize = 8_192;
/// How many series that passed are remembered.
const PASSED: usize = 65_536;
/// So many samples at once pass by the buffer.
const DIRECT_SAMPLES: usize = 8;

/// The number of a series in [`Columns`], valid until the next [`Columns::make_room`].
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

/// Known series and their buffers.
#[derive(Debug)]
pub(crate) struct Columns<Id> {
    plain: Spellings,
    le: Spellings,
    quantile: Spellings,
    locals: HashMap<Id, Local, RandomState>,
    buffers: Vec<Buffer<Id>>,
    /// The buffer of the series that passes.
    passing: Option<Local>,
    /// Parts of hashes of series that passed, each in the place that another part says.
    passed: Vec<u32>,
    known_bytes: usize,
    max_known_bytes: usize,
    pushed: usize,
    max_pushed: usize,
}

#[derive(Debug)]
struct Buffer<Id> {
    series: Id,
    t: Vec<i64>,
    v: Vec<f64>,
}

impl<Id: Copy> Buffer<Id> {
    /// Gives the sink what is here, and keeps the memory.
    fn hand_on<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<()> {
        sink.extend(self.series, &self.t, &self.v)?;
        self.t.clear();
        self.v.clear();
        Ok(())
    }
}

impl<Id: Copy + Eq + Hash> Columns<Id> {
    /// Empty, with a budget in bytes.
    pub(crate) fn new(memory_bytes: usize) -> Columns<Id> {
        Columns {
            plain: Spellings::default(),
            le: Spellings::default(),
            quantile: Spellings::default(),
            locals: HashMap::default(),
            buffers: Vec::new(),
            passing: None,
            passed: Vec::new(),
            known_bytes: 0,
            max_known_bytes: memory_bytes / 2,
            pushed: 0,
            max_pushed: (memory_bytes / 2 / SAMPLE_BYTES).max(1),
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

    /// Lets a series pass: its number is valid until the next one is let pass, adopted or inserted.
    pub(crate) fn pass<S: SampleSink<Series = Id>>(&mut self, series: Id, sink: &mut S) -> Result<Local> {
        self.end_passing(sink)?;
        if let Some(&known) = self.locals.get(&series) {
            return Ok(known);
        }
        let next = Local(self.buffers.len());
        let local = *self.passing.get_or_insert(next);
        match self.buffers.get_mut(local.0) {
            Some(buffer) => buffer.series = series,
            None => self.buffers.push(Buffer { series, t: Vec::new(), v: Vec::new() }),
        }
        Ok(local)
    }

    /// Hands on the samples of the series that passes, before others of it that may come by another way.
    pub(crate) fn end_passing<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<()> {
        match self.passing.and_then(|local| self.buffers.get_mut(local.0)) {
            Some(buffer) if !buffer.t.is_empty() => buffer.hand_on(sink),
            _ => Ok(()),
        }
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

    /// The series, whether it is known or not; no spelling of it becomes known.
    pub(crate) fn adopt(&mut self, series: Id) -> Local {
        let next = Local(self.buffers.len());
        let local = *self.locals.entry(series).or_insert(next);
        if local == next {
            self.buffers.push(Buffer { series, t: Vec::new(), v: Vec::new() });
            self.known_bytes += SERIES_OVERHEAD_BYTES;
        }
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
        let Some(buffer) = self.buffers.get_mut(local.0) else { return Ok(()) };
        if t.len() < DIRECT_SAMPLES {
            return t.iter().zip(v).try_for_each(|(&t, &v)| self.push(local, t, v, sink));
        }
        if !buffer.t.is_empty() {
            buffer.hand_on(sink)?;
        }
        sink.extend(buffer.series, t, v)
    }

    /// Adds one sample.
    #[inline]
    pub(crate) fn push<S>(&mut self, local: Local, t: i64, v: f64, sink: &mut S) -> Result<()>
    where
        S: SampleSink<Series = Id>,
    {
        let Some(buffer) = self.buffers.get_mut(local.0) else { return Ok(()) };
        buffer.t.push(t);
        buffer.v.push(v);
        if buffer.t.len() >= BLOCK_SAMPLES {
            buffer.hand_on(sink)?;
        }
        // What a handed-on buffer keeps allocated counts until all are freed.
        self.pushed += 1;
        Ok(())
    }

    /// Hands on what is above the budget; says whether the series were forgotten with it.
    #[inline]
    pub(crate) fn make_room<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<bool> {
        if self.pushed >= self.max_pushed {
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
        self.buffers.clear();
        self.passing = None;
        self.known_bytes = 0;
        Ok(())
    }

    /// Hands all samples on, series by series in the order in which they were first seen.
    pub(crate) fn flush<S: SampleSink<Series = Id>>(&mut self, sink: &mut S) -> Result<()> {
        for buffer in self.buffers.iter_mut().filter(|b| !b.t.is_empty() || b.t.capacity() > 0) {
            let (t, v) = (std::mem::take(&mut buffer.t), std::mem::take(&mut buffer.v));
            if !t.is_empty() {
                sink.extend(buffer.series, &t, &v)?;
            }
        }
        self.pushed = 0;
        Ok(())
    }
}
