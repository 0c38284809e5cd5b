//! The rows of a series become chunks.
//!
//! ```text
//!   rows of a series ──▶ only the group's ──▶ one row a timestamp ──▶ by block range ──▶ chunks, with their ranges
//! ```
//!
//! Of rows with one timestamp the first wins; the others are counted, as duplicates if their value
//! has the same bits, as conflicts otherwise. Since nothing was dropped before, the counts are
//! exact, and the same whatever the memory was. Chunks are columns, cut where a merge of blocks would cut them (see
//! `block::window`): where follows from the timestamps alone. A stretch that was coded on the way here is written as it is, if it
//! is just what is cut; blocks are the same bytes either way. The rows of a series come in time order, so that
//! at any time one range is being filled.

use std::collections::VecDeque;

use super::merge::Coded;
use super::ranges::range_of;
use super::times::SharedTimes;
use crate::block::{NewChunk, window};
use crate::error::{Error, ErrorKind, Result};
use crate::format::chunk::{EncodedChunk, Encoding};
use crate::format::columns::values;
use crate::model::TimeRange;

/// What was written, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Series that were seen, with a row in the group or not.
    pub(super) series: u64,
    /// Samples written.
    pub(super) samples: u64,
    /// Samples that were there already.
    pub(super) duplicates: u64,
    /// Samples whose timestamp had another value already.
    pub(super) conflicts: u64,
}

impl Counts {
    /// Adds those of others.
    pub(super) fn add(&mut self, more: Counts) {
        self.series += more.series;
        self.samples += more.samples;
        self.duplicates += more.duplicates;
        self.conflicts += more.conflicts;
    }
}

/// What is cut, and how.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The length of the blocks' ranges.
    pub(super) range_ms: i64,
    /// A union of ranges; what is outside of it is left out.
    pub(super) group: TimeRange,
    /// From so many chunks of a series in a range on, they are as long as may be.
    pub(super) long_series_chunks: usize,
    /// The timestamps of chunks, to be shared.
    pub(super) times: SharedTimes,
}

/// Cuts series, one after the other, into chunks.
#[derive(Debug)]
pub(super) struct Cut {
    rules: Rules,
    /// Timestamp and value bits of the row that won last.
    last: Option<(i64, u64)>,
    /// The range of `open`.
    here: TimeRange,
    open: Open,
    /// Chunks of the series in this range, those taken already included.
    chunks: usize,
    /// What is finished, and the range of each.
    pub(super) done: Vec<NewChunk>,
    pub(super) ranges: Vec<TimeRange>,
    done_bytes: usize,
    pub(super) counts: Counts,
}

impl Cut {
    /// Keeps what is within the group.
    pub(super) fn new(rules: Rules) -> Cut {
        Cut {
            rules,
            last: None,
            here: TimeRange::new(0, 0),
            open: Open::default(),
            chunks: 0,
            done: Vec::new(),
            ranges: Vec::new(),
            done_bytes: 0,
            counts: Counts::default(),
        }
    }

    /// A series begins.
    pub(super) fn begin(&mut self) {
        self.last = None;
        self.counts.series += 1;
    }

    /// Rows of it, in time order; equal timestamps in the order of the input.
    pub(super) fn rows(&mut self, t: &[i64], v: &[f64]) -> Result<()> {
        let from = t.partition_point(|&t| t < self.rules.group.start());
        let to = t.partition_point(|&t| t < self.rules.group.end());
        let (Some(t), Some(v)) = (t.get(from..to), v.get(from..to)) else { return Ok(()) };
        let mut stretch = 0;
        for (i, (&now, value)) in t.iter().zip(v).enumerate() {
            match self.last {
                Some((last, bits)) if last == now => {
                    self.push(t.get(stretch..i).unwrap_or_default(), v.get(stretch..i).unwrap_or_default())?;
                    stretch = i + 1;
                    let same = bits == value.to_bits();
                    self.counts.duplicates += u64::from(same);
                    self.counts.conflicts += u64::from(!same);
                }
                _ => self.last = Some((now, value.to_bits())),
            }
        }
        self.push(t.get(stretch..).unwrap_or_default(), v.get(stretch..).unwrap_or_default())
    }

    /// Rows of it, in coded form.
    pub(super) fn coded(&mut self, coded: Coded) -> Result<()> {
        let (Some(&min_t), Some(&max_t)) = (coded.t.first(), coded.t.last()) else { return Ok(()) };
        if !self.fits(min_t, max_t) {
            let rows = coded.decode()?;
            return self.rows(&rows.t, &rows.v);
        }
        self.enter_range(min_t)?;
        self.counts.samples += coded.t.len() as u64;
        self.last = Some((max_t, coded.last_v.to_bits()));
        self.open.push_coded(coded);
        self.cut(window::MAX_ROWS)
    }

    /// It has no more rows.
    pub(super) fn end(&mut self) -> Result<()> {
        self.leave_range()
    }

    /// Forgets what is finished, which was taken.
    pub(super) fn taken(&mut self) {
        self.done.clear();
        self.ranges.clear();
        self.done_bytes = 0;
    }

    /// The memory that it holds.
    pub(super) fn memory_bytes(&self) -> usize {
        self.done_bytes + self.open.memory_bytes()
    }

    /// Takes rows with distinct, ascending timestamps, all later than those before.
    fn push(&mut self, mut t: &[i64], mut v: &[f64]) -> Result<()> {
        self.counts.samples += t.len() as u64;
        while let Some(&first) = t.first() {
            self.enter_range(first)?;
            let inside = t.partition_point(|&t| t < self.here.end());
            let (Some((t_now, t_rest)), Some((v_now, v_rest))) =
                (t.split_at_checked(inside), v.split_at_checked(inside))
            else {
                return Ok(());
            };
            (t, v) = (t_rest, v_rest);
            self.open.push(t_now, v_now);
            self.cut(window::MAX_ROWS)?;
        }
        Ok(())
    }

    /// Cuts chunks while there are at least so many rows: with as many as a chunk has at most, where it ends is known.
    fn cut(&mut self, least: usize) -> Result<()> {
        while self.open.len() >= least.max(1) {
            let rows = if self.chunks < self.rules.long_series_chunks {
                window::rows(&self.open.t)
            } else {
                // So that their number, which a block bounds, suffices for hundreds of millions of samples.
                self.open.len().min(window::MAX_ROWS)
            };
            let chunk = self.open.take(rows, &self.rules.times)?;
            self.chunks += 1;
            // Its timestamps are its own at worst.
            let times = size_of::<i64>() * chunk.rows as usize;
            self.done_bytes += chunk.chunk.payload.capacity() + size_of::<(NewChunk, TimeRange)>() + times;
            self.done.push(chunk);
            self.ranges.push(self.here);
        }
        Ok(())
    }

    /// Whether a stretch may stay coded: all of it new, and in one range of the group.
    fn fits(&self, min_t: i64, max_t: i64) -> bool {
        let new = self.last.is_none_or(|(last, _)| last < min_t);
        new && range_of(min_t, self.rules.range_ms).contains(max_t) && self.rules.group.contains(min_t)
    }

    /// Goes on in the range that holds `t`.
    fn enter_range(&mut self, t: i64) -> Result<()> {
        if !self.here.contains(t) {
            self.leave_range()?;
            self.here = range_of(t, self.rules.range_ms);
        }
        Ok(())
    }

    fn leave_range(&mut self) -> Result<()> {
        self.cut(1)?;
        self.chunks = 0;
        Ok(())
    }
}

/// Rows that are in no chunk yet, those of one series and range.
#[derive(Debug, Default)]
struct Open {
    t: Vec<i64>,
    /// The values of these rows, but for the last ones, if they are coded; those of coded ones are any.
    v: Vec<f64>,
    /// The coded stretches, and their first rows.
    coded: VecDeque<(usize, Coded)>,
}

impl Open {
    fn len(&self) -> usize {
        self.t.len()
    }

    fn memory_bytes(&self) -> usize {
        16 * self.t.capacity() + self.coded.iter().map(|(_, coded)| coded.values.capacity()).sum::<usize>()
    }

    fn push(&mut self, t: &[i64], v: &[f64]) {
        self.v.resize(self.t.len(), 0.0);
        self.t.extend_from_slice(t);
        self.v.extend_from_slice(v);
    }

    fn push_coded(&mut self, coded: Coded) {
        let from = self.t.len();
        self.t.extend_from_slice(&coded.t);
        self.coded.push_back((from, coded));
    }

    /// Takes the first rows, at least one and no more than there are, as a chunk.
    fn take(&mut self, rows: usize, times: &SharedTimes) -> Result<NewChunk> {
        let as_it_is = |(from, coded): &(usize, Coded)| *from == 0 && coded.t.len() == rows;
        let whole = self.coded.front().is_some_and(as_it_is);
        let (t, payload) = match if whole { self.coded.pop_front() } else { None } {
            Some((_, coded)) => (coded.t, coded.values),
            None => {
                self.decode(rows)?;
                let (t, v) = (self.t.get(..rows), self.v.get(..rows));
                (times.column(t.unwrap_or_default()), values::encode(v.unwrap_or_default()))
            }
        };
        self.t.drain(..rows);
        self.v.drain(..rows.min(self.v.len()));
        self.coded.iter_mut().for_each(|(from, _)| *from -= rows);
        let (Some(&min_t), Some(&max_t)) = (t.first(), t.last()) else {
            return Err(Error::new(ErrorKind::InvalidArgument, "a chunk without rows was to be cut"));
        };
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        Ok(NewChunk { min_t, max_t, rows, chunk: EncodedChunk { encoding: Encoding::Columns(t), payload } })
    }

    /// Puts the values of coded stretches that begin before row `end` to those of the others.
    fn decode(&mut self, end: usize) -> Result<()> {
        while self.coded.front().is_some_and(|(from, _)| *from < end) {
            let Some((from, coded)) = self.coded.pop_front() else { break };
            let mut v = Vec::with_capacity(coded.t.len());
            coded.decode_into(&mut v)?;
            let to = from + v.len();
            if self.v.len() < to {
                self.v.resize(to, 0.0);
            }
            if let Some(place) = self.v.get_mut(from..to) {
                place.copy_from_slice(&v);
            }
        }
        Ok(())
    }
}
