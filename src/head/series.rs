//! One series of the head: its rows, what is visible of them to whom, and what edits replaced.
//!
//! ```text
//!   rows (append order = time order)     sealed chunks │ open chunk         numbered for ever from 0
//!   late rows (out of order)             sorted by time, each with its commit
//!   marks                                (commit, rows before it): inline the last, older ones while pinned
//!   archive                              (edition that replaced it, data): while pinned
//! ```
//!
//! A reader pinned at commit S sees the rows before the first mark above S, and the late rows of
//! commits up to S. An edit replaces the data of a series by a copy with rows taken out; readers of an
//! older edition go on with the archived data. Cost: a commit adds a row in O(1); a copy shares sealed chunks.

use std::sync::Arc;

use crate::error::DecodeError;
use crate::format::chunk::{EncodedChunk, Encoding};
use crate::format::gorilla;
use crate::model::{Columns, Labels, Lsn, Sample, TimeRange};
use crate::source::{ChunkData, ChunkHandle};

/// Rows in a full chunk, as in Prometheus.
pub(crate) const CHUNK_ROWS: u32 = 120;

/// Bytes that a series costs besides labels and chunks; a rough, honest constant for the ceiling.
pub(crate) const SERIES_BYTES: u64 = 400;

/// A series under its shard's lock.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) generation: u16,
    /// The collection round in which it was last asked for by labels.
    pub(crate) touched: u64,
    pub(crate) data: SeriesData,
    /// Data replaced by the edition with this number; ascending.
    pub(crate) archive: Vec<(u64, Arc<SeriesData>)>,
    /// The verdicts on the batch in progress, and the newest row accepted of it.
    pub(crate) staged: Staged,
}

/// What the batch in progress has accepted so far. A batch has a number of its own: one that could not be
/// written is judged again under the same commit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Staged {
    pub(crate) judged: u64,
    pub(crate) newest: Option<Sample>,
}

/// The rows of a series.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeriesData {
    sealed: Vec<Sealed>,
    open: Option<Open>,
    late: Vec<Late>,
    /// The newest row ever appended in order; outlives its flush.
    newest: Option<Sample>,
    /// The number of the first row still here.
    first_row: u64,
    /// The number that the next row gets.
    next_row: u64,
    last: Mark,
    older: Vec<Mark>,
}

/// `rows` rows were there before commit `lsn`.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    lsn: Lsn,
    rows: u64,
}

#[derive(Clone, Debug)]
struct Sealed {
    min_t: i64,
    max_t: i64,
    rows: u32,
    chunk: Arc<EncodedChunk>,
}

#[derive(Clone, Debug)]
struct Open {
    min_t: i64,
    encoder: gorilla::Encoder,
}

#[derive(Clone, Copy, Debug)]
struct Late {
    t: i64,
    v: f64,
    lsn: Lsn,
}

impl Series {
    /// A series without rows.
    pub(crate) fn new(labels: Labels, generation: u16, touched: u64) -> Series {
        let data = SeriesData::default();
        Series { labels, generation, touched, data, archive: Vec::new(), staged: Staged::default() }
    }

    /// The data that a reader of `edition` sees.
    pub(crate) fn as_of(&self, edition: u64) -> &SeriesData {
        match self.archive.iter().find(|(replaced_by, _)| *replaced_by > edition) {
            Some((_, data)) => data,
            None => &self.data,
        }
    }

    /// Puts edited data in place; keeps the old for readers of older editions.
    pub(crate) fn replace(&mut self, edition: u64, data: SeriesData) {
        let old = std::mem::replace(&mut self.data, data);
        self.archive.push((edition, Arc::new(old)));
    }

    /// Drops archived data that no reader can ask for; `oldest` is the oldest edition pinned.
    pub(crate) fn prune_archive(&mut self, oldest: u64) {
        self.archive.retain(|(replaced_by, _)| *replaced_by > oldest);
    }

    /// The newest row in order, with what the batch of that number has accepted.
    pub(crate) fn newest_staged(&self, judged: u64) -> Option<Sample> {
        match self.staged.judged == judged {
            true => self.staged.newest,
            false => self.data.newest,
        }
    }
}

impl SeriesData {
    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.next_row == self.first_row && self.late.is_empty()
    }

    /// The newest row ever appended in order.
    pub(crate) fn newest(&self) -> Option<Sample> {
        self.newest
    }

    /// A range that holds all rows.
    pub(crate) fn time_range(&self) -> TimeRange {
        let late = match (self.late.first(), self.late.last()) {
            (Some(a), Some(b)) => TimeRange::inclusive(a.t, b.t),
            _ => TimeRange::new(0, 0),
        };
        let first = self.sealed.first().map(|c| c.min_t).or(self.open.as_ref().map(|o| o.min_t));
        match (first, self.last_row()) {
            (Some(first), Some(last)) => late.hull(TimeRange::inclusive(first, last)),
            _ => late,
        }
    }

    /// The time of the last row still here.
    fn last_row(&self) -> Option<i64> {
        match &self.open {
            Some(open) => open.encoder.last().map(|s| s.t),
            None => self.sealed.last().map(|c| c.max_t),
        }
    }

    /// Adds a row of commit `lsn`: in order if it is newer than all, late otherwise. A second row at
    /// one time is ignored (verdicts have ruled it out). `pinned` is the oldest pinned commit. Returns
    /// the bytes that memory grew by.
    pub(crate) fn append(&mut self, lsn: Lsn, t: i64, v: f64, range_ms: i64, pinned: Option<Lsn>) -> u64 {
        match self.newest {
            Some(newest) if t <= newest.t => self.append_late(lsn, t, v),
            _ => self.append_in_order(lsn, t, v, range_ms, pinned),
        }
    }

    fn append_late(&mut self, lsn: Lsn, t: i64, v: f64) -> u64 {
        match self.late.binary_search_by_key(&t, |late| late.t) {
            Ok(_) => 0,
            Err(at) => {
                self.late.insert(at, Late { t, v, lsn });
                std::mem::size_of::<Late>() as u64
            }
        }
    }

    fn append_in_order(&mut self, lsn: Lsn, t: i64, v: f64, range_ms: i64, pinned: Option<Lsn>) -> u64 {
        self.mark(lsn, pinned);
        let full = |open: &Open| {
            open.encoder.rows() >= CHUNK_ROWS || open.min_t.div_euclid(range_ms) != t.div_euclid(range_ms)
        };
        let mut grown = 0;
        if self.open.as_ref().is_some_and(full) {
            grown = self.seal();
        }
        let open = self.open.get_or_insert_with(|| Open { min_t: t, encoder: gorilla::Encoder::new() });
        let before = open.encoder.payload_bytes();
        open.encoder.append(t, v);
        self.newest = Some(Sample { t, v });
        self.next_row += 1;
        grown + open.encoder.payload_bytes().saturating_sub(before) as u64
    }

    /// Notes how many rows there were before commit `lsn`, once for each commit.
    fn mark(&mut self, lsn: Lsn, pinned: Option<Lsn>) {
        if self.last.lsn == lsn {
            return;
        }
        match pinned {
            None => self.older.clear(),
            Some(oldest) => {
                self.older.retain(|m| m.lsn > oldest);
                if self.last.lsn > oldest {
                    self.older.push(self.last);
                }
            }
        }
        self.last = Mark { lsn, rows: self.next_row };
    }

    /// Closes the open chunk; returns the bytes that memory grew by.
    fn seal(&mut self) -> u64 {
        let Some(open) = self.open.take() else { return 0 };
        let max_t = open.encoder.last().map_or(open.min_t, |s| s.t);
        let chunk = EncodedChunk { encoding: Encoding::Gorilla, payload: open.encoder.payload().to_vec() };
        let sealed = Sealed { min_t: open.min_t, max_t, rows: open.encoder.rows(), chunk: Arc::new(chunk) };
        self.sealed.push(sealed);
        std::mem::size_of::<Sealed>() as u64
    }

    /// The number of the first row that a reader at `lsn` does not see.
    fn visible_end(&self, lsn: Lsn) -> u64 {
        let marks = self.older.iter().chain(std::iter::once(&self.last));
        marks.into_iter().find(|m| m.lsn > lsn).map_or(self.next_row, |m| m.rows).max(self.first_row)
    }

    /// Whether a reader at `lsn` sees anything.
    pub(crate) fn has_visible(&self, lsn: Lsn) -> bool {
        self.visible_end(lsn) > self.first_row || self.late.iter().any(|late| late.lsn <= lsn)
    }

    /// The chunks that overlap `range`, cut to what a reader at `lsn` sees, in order of their first
    /// timestamp. Copies the open chunk and encodes the late rows.
    pub(crate) fn chunks(&self, lsn: Lsn, range: TimeRange) -> Result<Vec<ChunkHandle>, DecodeError> {
        let end = self.visible_end(lsn);
        let mut row = self.first_row;
        let mut out = Vec::new();
        let visible =
            |row: u64, rows: u32| u32::try_from(end.saturating_sub(row)).unwrap_or(u32::MAX).min(rows);
        for c in &self.sealed {
            let rows = visible(row, c.rows);
            row += u64::from(c.rows);
            if c.min_t < range.end() && range.start() <= c.max_t {
                let whole = (c.min_t, c.max_t, c.rows);
                out.extend(cut(whole, rows, || Arc::clone(&c.chunk))?);
            }
        }
        if let Some(open) = &self.open {
            let rows = visible(row, open.encoder.rows());
            let max_t = open.encoder.last().map_or(open.min_t, |s| s.t);
            if open.min_t < range.end() && range.start() <= max_t {
                let payload = || open.encoder.payload().to_vec();
                let chunk = || Arc::new(EncodedChunk { encoding: Encoding::Gorilla, payload: payload() });
                out.extend(cut((open.min_t, max_t, open.encoder.rows()), rows, chunk)?);
            }
        }
        self.push_late(lsn, range, &mut out);
        out.retain(|c| c.overlaps(range));
        Ok(out)
    }

    fn push_late(&self, lsn: Lsn, range: TimeRange, out: &mut Vec<ChunkHandle>) {
        let visible = self.late.iter().filter(|late| late.lsn <= lsn && range.contains(late.t));
        let (t, v): (Vec<i64>, Vec<f64>) = visible.map(|late| (late.t, late.v)).unzip();
        let rows = usize::from(u16::MAX);
        for (t, v) in t.chunks(rows).zip(v.chunks(rows)) {
            let (Some(&min_t), Some(&max_t)) = (t.first(), t.last()) else { continue };
            let chunk = EncodedChunk { encoding: Encoding::Gorilla, payload: gorilla::encode(t, v) };
            let rows = u32::try_from(t.len()).unwrap_or(u32::MAX);
            out.push(ChunkHandle { min_t, max_t, rows, data: ChunkData::Memory(Arc::new(chunk)) });
        }
        out.sort_by_key(|c| c.min_t);
    }

    /// The value at `t`, if there is a row.
    pub(crate) fn value_at(&self, t: i64) -> Result<Option<f64>, DecodeError> {
        if let Ok(at) = self.late.binary_search_by_key(&t, |late| late.t) {
            return Ok(self.late.get(at).map(|late| late.v));
        }
        let at = self.sealed.partition_point(|c| c.max_t < t);
        let mut rows = Columns::default();
        match (self.sealed.get(at), &self.open) {
            (Some(c), _) if c.min_t <= t => c.chunk.decode_into(&mut rows)?,
            (None, Some(open)) if open.min_t <= t => gorilla::decode_into(open.encoder.payload(), &mut rows)?,
            _ => return Ok(None),
        }
        Ok(rows.t.binary_search(&t).ok().and_then(|i| rows.v.get(i).copied()))
    }

    /// A copy without the rows in `range` that a reader at `lsn` sees, or `None` if there are none.
    /// Row numbers stay when only the oldest rows go; otherwise they are counted anew, which is
    /// sound while no commit runs and for readers from this edit on.
    pub(crate) fn without(&self, range: TimeRange, lsn: Lsn) -> Result<Option<SeriesData>, DecodeError> {
        if !self.time_range().overlaps(range) {
            return Ok(None);
        }
        let (newest, first_row) = (self.newest, self.first_row);
        let mut kept = SeriesData { newest, first_row, next_row: first_row, ..SeriesData::default() };
        kept.late = self.late.iter().filter(|l| l.lsn > lsn || !range.contains(l.t)).copied().collect();
        let end = self.visible_end(lsn);
        let mut row = self.first_row;
        let mut gone = 0;
        for c in &self.sealed {
            let inside = range.covers(TimeRange::inclusive(c.min_t, c.max_t));
            let rows = u64::from(c.rows);
            match (c.min_t < range.end() && range.start() <= c.max_t, inside && row + rows <= end) {
                (false, _) => kept.keep_sealed(c),
                (true, true) => gone += rows,
                (true, false) => gone += kept.keep_rows(&c.chunk.payload, range, row, end)?,
            }
            row += rows;
        }
        if let Some(open) = &self.open {
            gone += kept.keep_open(open, range, row, end)?;
        }
        if gone == 0 && kept.late.len() == self.late.len() {
            return Ok(None);
        }
        kept.renumber(self, gone);
        Ok(Some(kept))
    }

    fn keep_sealed(&mut self, c: &Sealed) {
        self.next_row += u64::from(c.rows);
        self.sealed.push(c.clone());
    }

    /// Keeps the rows of a chunk that are outside `range` or at `end` and above; returns how many went.
    fn keep_rows(
        &mut self,
        payload: &[u8],
        range: TimeRange,
        first: u64,
        end: u64,
    ) -> Result<u64, DecodeError> {
        let mut rows = Columns::default();
        gorilla::decode_into(payload, &mut rows)?;
        let mut encoder = gorilla::Encoder::new();
        let mut min_t = None;
        for ((&t, &v), row) in rows.t.iter().zip(&rows.v).zip(first..) {
            if row >= end || !range.contains(t) {
                min_t.get_or_insert(t);
                encoder.append(t, v);
            }
        }
        let kept = u64::from(encoder.rows());
        if let Some(min_t) = min_t {
            self.open = Some(Open { min_t, encoder });
            self.seal();
            self.next_row += kept;
        }
        Ok(rows.len() as u64 - kept)
    }

    fn keep_open(&mut self, open: &Open, range: TimeRange, row: u64, end: u64) -> Result<u64, DecodeError> {
        let max_t = open.encoder.last().map_or(open.min_t, |s| s.t);
        if !(open.min_t < range.end() && range.start() <= max_t) {
            self.next_row += u64::from(open.encoder.rows());
            self.open = Some(open.clone());
            return Ok(0);
        }
        self.keep_rows(open.encoder.payload(), range, row, end)
    }

    /// Gives the kept rows their numbers: those they had if the newest are all still here, so that
    /// marks of commits after the flush stay true.
    fn renumber(&mut self, before: &SeriesData, gone: u64) {
        self.first_row += gone;
        self.next_row += gone;
        self.last = before.last;
        self.older.clone_from(&before.older);
        let first = self.first_row;
        self.last.rows = self.last.rows.max(first);
        self.older.iter_mut().for_each(|m| m.rows = m.rows.max(first));
    }

    /// The bytes of chunks and late rows.
    pub(crate) fn bytes(&self) -> u64 {
        let sealed: usize =
            self.sealed.iter().map(|c| c.chunk.payload.len() + std::mem::size_of::<Sealed>()).sum();
        let open = self.open.as_ref().map_or(0, |o| o.encoder.payload_bytes());
        (sealed + open + self.late.len() * std::mem::size_of::<Late>()) as u64
    }

    /// The rows here, late ones included, seen or not.
    pub(crate) fn rows(&self) -> u64 {
        self.next_row - self.first_row + self.late.len() as u64
    }
}

/// A chunk of `(min_t, max_t, rows)`, or a copy of its first `visible` rows.
fn cut(
    (min_t, max_t, rows): (i64, i64, u32),
    visible: u32,
    chunk: impl FnOnce() -> Arc<EncodedChunk>,
) -> Result<Option<ChunkHandle>, DecodeError> {
    if visible == 0 {
        return Ok(None);
    }
    let chunk = chunk();
    if visible == rows {
        return Ok(Some(ChunkHandle { min_t, max_t, rows, data: ChunkData::Memory(chunk) }));
    }
    let mut seen = Columns::default();
    gorilla::decode_rows_into(&chunk.payload, visible, &mut seen)?;
    let max_t = seen.t.last().copied().unwrap_or(min_t);
    let payload = gorilla::encode(&seen.t, &seen.v);
    let data = ChunkData::Memory(Arc::new(EncodedChunk { encoding: Encoding::Gorilla, payload }));
    Ok(Some(ChunkHandle { min_t, max_t, rows: visible, data }))
}
