//! One series of the head: its rows, what is visible of them to whom, and what edits replaced.
//!
//! ```text
//!   rows (append order = time order)     sealed chunks │ open chunk         numbered for ever from 0
//!   late rows (out of order)             sorted by time, each with its commit
//!   marks                                (commit, rows before it): inline the last, older ones while pinned
//!   archive                              (edition that replaced it, data): while pinned
//! ```
//!
//! A series is two cache lines, one series of a shard behind the other; chunks that are sealed, and what is rare (late
//! rows, older marks, archives), are behind pointers.
//!
//! A reader pinned at commit S sees the rows before the first mark above S, and the late rows of
//! commits up to S. An edit replaces the data of a series by a copy with rows taken out; readers of an
//! older edition go on with the archived data. Cost: a commit adds a row in O(1); a copy shares sealed chunks.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::error::DecodeError;
use crate::format::gorilla;
use crate::head::pins::Pinned;
use crate::model::{Columns, Lsn, TimeRange};
use crate::source::{ChunkData, ChunkHandle};

/// Rows in a full chunk, as in Prometheus.
const CHUNK_ROWS: u64 = 120;
/// A chunk with fewer rows goes on: one that began between two ends has up to so many more than others.
const LEAST_CHUNK_ROWS: u32 = 60;

/// Whether a chunk of the series in a slot may end before the row with this number: series that began together do not all end a chunk in one
/// commit.
#[inline(always)]
fn may_end_chunk(slot: u32, row: u64) -> bool {
    (row + CHUNK_ROWS - u64::from(slot % LEAST_CHUNK_ROWS)).is_multiple_of(CHUNK_ROWS)
}

/// Bytes that a series costs besides labels and chunks; a rough, honest constant for the ceiling.
pub(crate) const SERIES_BYTES: u64 = 240;

/// Bytes that a sealed chunk takes besides its payload: its entry, and the headers of what is shared.
const SEALED_BYTES: i64 = 72;

/// A series under its shard's lock: two cache lines.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Series {
    pub(crate) data: SeriesData,
    /// The collection round in which it was last asked for by labels.
    pub(crate) touched: u32,
    pub(crate) generation: u16,
}

const _: () = assert!(size_of::<Option<Series>>() == 128);

/// Who may ask for archived data.
#[derive(Debug)]
pub(crate) struct Readers {
    /// Asked for first: an edition that ends later may have readers who are not in `pinned` yet.
    pub(crate) edition: u64,
    pub(crate) pinned: BTreeSet<u64>,
}

impl Readers {
    /// Whether a reader may be pinned to one of these editions.
    fn ask_for(&self, editions: Range<u64>) -> bool {
        editions.end > self.edition || self.pinned.range(editions).next().is_some()
    }
}

/// The rows of a series. In this order: what each row writes comes first.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct SeriesData {
    /// The open chunk; without rows there is none.
    open: gorilla::Encoder,
    /// The first time that is in order: behind the newest row ever appended in order, which outlives its flush.
    next_t: i64,
    /// The number that the next row gets.
    next_row: u64,
    last: Mark,
    rare: Option<Box<Rare>>,
    past: Option<Box<Past>>,
}

/// What series have that have sealed a chunk.
#[derive(Clone, Debug, Default)]
struct Past {
    /// The number of the first row still here.
    first_row: u64,
    sealed: Vec<Sealed>,
}

/// What few series have.
#[derive(Clone, Debug, Default)]
struct Rare {
    late: Vec<Late>,
    older: Vec<Mark>,
    /// Data replaced by the edition with this number; ascending.
    archive: Vec<(u64, Arc<SeriesData>)>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.late.is_empty() && self.older.is_empty() && self.archive.is_empty()
    }
}

/// `rows` rows were there before commit `lsn`, of which the first row is at `t`.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    lsn: Lsn,
    rows: u64,
    t: i64,
}

#[derive(Clone, Debug)]
struct Sealed {
    min_t: i64,
    max_t: i64,
    rows: u32,
    /// Of gorilla.
    payload: Arc<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Late {
    t: i64,
    v: f64,
    lsn: Lsn,
}

/// What an edit leaves of a series; its open chunk, if that stays, is still where it was.
#[derive(Debug)]
pub(crate) struct Edited {
    data: SeriesData,
    open_stays: bool,
}

impl Edited {
    /// With a copy of the open chunk, for who goes on to read the old data.
    pub(crate) fn beside(self, old: &SeriesData) -> SeriesData {
        let open = if self.open_stays { old.open.clone() } else { gorilla::Encoder::new() };
        SeriesData { open, ..self.data }
    }

    /// With the open chunk itself.
    pub(crate) fn instead_of(self, old: &mut SeriesData) -> SeriesData {
        let open = if self.open_stays { std::mem::take(&mut old.open) } else { gorilla::Encoder::new() };
        SeriesData { open, ..self.data }
    }
}

impl Series {
    /// A series without rows.
    pub(crate) fn new(generation: u16, touched: u32) -> Series {
        Series { data: SeriesData::default(), touched, generation }
    }

    /// Whether nobody can read anything of it.
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.data.archive().is_empty()
    }
}

impl Default for SeriesData {
    fn default() -> SeriesData {
        SeriesData {
            open: gorilla::Encoder::new(),
            next_t: i64::MIN,
            next_row: 0,
            last: Mark::default(),
            rare: None,
            past: None,
        }
    }
}

impl SeriesData {
    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.next_row == self.first_row() && self.late().is_empty()
    }

    /// The first time that is in order.
    pub(crate) fn next_t(&self) -> i64 {
        self.next_t
    }

    /// The data that a reader of `edition` sees.
    pub(crate) fn as_of(&self, edition: u64) -> &SeriesData {
        self.archive().iter().find(|(by, _)| *by > edition).map_or(self, |(_, data)| data)
    }

    /// Puts edited data in place; keeps the old for readers of older editions.
    pub(crate) fn replace(&mut self, edition: u64, data: SeriesData) {
        let mut old = std::mem::replace(self, data);
        let mut archive = old.rare.as_mut().map(|rare| std::mem::take(&mut rare.archive)).unwrap_or_default();
        archive.push((edition, Arc::new(old)));
        self.rare.get_or_insert_default().archive = archive;
    }

    /// Puts edited data in place, of which nobody reads what was there; what was archived before stays.
    pub(crate) fn supersede(&mut self, data: SeriesData) {
        let mut old = std::mem::replace(self, data);
        let archive = old.rare.as_mut().map(|rare| std::mem::take(&mut rare.archive)).unwrap_or_default();
        if !archive.is_empty() {
            self.rare.get_or_insert_default().archive = archive;
        }
    }

    /// Drops archived data that no reader asks for. A reader sees what the first edition behind its own replaced, so that one
    /// that stays for long keeps one state, however many follow. Returns the bytes that are free.
    pub(crate) fn prune_archive(&mut self, readers: &Readers) -> u64 {
        let Some(rare) = &mut self.rare else { return 0 };
        let (mut since, mut freed) = (0, 0);
        rare.archive.retain(|(replaced_by, data)| {
            // A delete may get to the series ahead of the truncation that began before it: what that replaces then suits nobody
            // for whom the other is not meant.
            let suits = since < *replaced_by;
            let asked_for = suits && readers.ask_for(since..*replaced_by);
            since = since.max(*replaced_by);
            if !asked_for {
                freed += data.bytes();
            }
            asked_for
        });
        self.drop_rare();
        freed
    }

    /// Gives back the room for what is rare, if there is none of it.
    fn drop_rare(&mut self) {
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }

    fn archive(&self) -> &[(u64, Arc<SeriesData>)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.archive)
    }

    /// The number of the first row still here.
    fn first_row(&self) -> u64 {
        self.past.as_ref().map_or(0, |past| past.first_row)
    }

    fn sealed(&self) -> &[Sealed] {
        self.past.as_ref().map_or(&[], |past| &past.sealed)
    }

    /// The time of the open chunk's first row, if it has one.
    fn open_min_t(&self) -> Option<i64> {
        self.open.first_t()
    }

    fn late(&self) -> &[Late] {
        self.rare.as_ref().map_or(&[], |rare| &rare.late)
    }

    fn older(&self) -> &[Mark] {
        self.rare.as_ref().map_or(&[], |rare| &rare.older)
    }

    /// A range that holds all rows.
    pub(crate) fn time_range(&self) -> TimeRange {
        let late = match (self.late().first(), self.late().last()) {
            (Some(a), Some(b)) => TimeRange::inclusive(a.t, b.t),
            _ => TimeRange::new(0, 0),
        };
        let open = self.open_min_t().zip(self.open.last().map(|last| last.t));
        let first = self.sealed().first().map(|c| c.min_t).or(open.map(|(min_t, _)| min_t));
        let last = open.map(|(_, max_t)| max_t).or(self.sealed().last().map(|c| c.max_t));
        match (first, last) {
            (Some(first), Some(last)) => late.hull(TimeRange::inclusive(first, last)),
            _ => late,
        }
    }

    /// Adds a row of commit `lsn`: in order if it is newer than all, late otherwise. A second row at
    /// one time is ignored (verdicts have ruled it out). `slot` says where its chunks end. `pinned` are the
    /// pinned commits. Returns the bytes that memory grew by.
    #[inline(always)]
    pub(crate) fn append(&mut self, lsn: Lsn, (t, v): (i64, f64), slot: u32, pinned: Option<Pinned>) -> i64 {
        if t < self.next_t {
            return self.append_late(lsn, t, v);
        }
        if self.last.lsn != lsn {
            self.mark(lsn, t, pinned);
        }
        let mut grown = 0;
        if may_end_chunk(slot, self.next_row) && self.open.rows() >= LEAST_CHUNK_ROWS {
            grown = self.seal();
        }
        let before = self.open.allocated_bytes();
        self.open.append(t, v);
        // No row is at the maximum, which is reserved.
        self.next_t = t.saturating_add(1);
        self.next_row += 1;
        grown + signed(self.open.allocated_bytes()) - signed(before)
    }

    #[cold]
    fn append_late(&mut self, lsn: Lsn, t: i64, v: f64) -> i64 {
        let late = &mut self.rare.get_or_insert_default().late;
        match late.binary_search_by_key(&t, |late| late.t) {
            Ok(_) => 0,
            Err(at) => {
                late.insert(at, Late { t, v, lsn });
                signed(std::mem::size_of::<Late>())
            }
        }
    }

    /// Notes how many rows there were before commit `lsn`, once for each commit.
    #[inline]
    fn mark(&mut self, lsn: Lsn, t: i64, pinned: Option<Pinned>) {
        if self.rare.is_some() || pinned.is_some() {
            self.keep_mark(pinned);
        }
        self.last = Mark { lsn, rows: self.next_row, t };
    }

    /// Keeps the last mark if a pinned reader needs it, and drops those that none does. A reader asks for the first one above
    /// its commit, so that one that stays keeps one mark of each series, however many commits follow.
    #[cold]
    fn keep_mark(&mut self, pinned: Option<Pinned>) {
        let mut before = Lsn(0);
        let mut needed = |mark: &Mark| {
            let since = std::mem::replace(&mut before, mark.lsn);
            pinned.is_some_and(|pinned| pinned.asks_for(since, mark.lsn, mark.t))
        };
        if let Some(rare) = &mut self.rare {
            rare.older.retain(&mut needed);
        }
        if needed(&self.last) {
            self.rare.get_or_insert_default().older.push(self.last);
        }
        self.drop_rare();
    }

    /// Closes the open chunk, which has rows; the next one gets its buffer. Returns the bytes that memory grew by.
    #[cold]
    fn seal(&mut self) -> i64 {
        let (rows, before) = (self.open.rows(), self.open.allocated_bytes());
        let (min_t, max_t) = self.open.first_t().zip(self.open.last().map(|s| s.t)).unwrap_or_default();
        let payload = self.open.take_payload();
        let grown =
            SEALED_BYTES + signed(payload.len()) + signed(self.open.allocated_bytes()) - signed(before);
        let all = &mut self.past.get_or_insert_default().sealed;
        if all.len() == all.capacity() {
            // A head holds a few chunks of a series, and millions of series: room for two, or a quarter.
            all.reserve_exact((all.len() / 4).max(2));
        }
        all.push(Sealed { min_t, max_t, rows, payload });
        grown
    }

    /// The number of the first row that a reader at `lsn` does not see.
    fn visible_end(&self, lsn: Lsn) -> u64 {
        let marks = self.older().iter().chain(std::iter::once(&self.last));
        marks.into_iter().find(|m| m.lsn > lsn).map_or(self.next_row, |m| m.rows).max(self.first_row())
    }

    /// Whether a reader at `lsn` sees anything.
    pub(crate) fn has_visible(&self, lsn: Lsn) -> bool {
        self.visible_end(lsn) > self.first_row() || self.late().iter().any(|late| late.lsn <= lsn)
    }

    /// The chunks that overlap `range`, cut to what a reader at `lsn` sees, in order of their first
    /// timestamp. Copies the open chunk and encodes the late rows.
    pub(crate) fn chunks(&self, lsn: Lsn, range: TimeRange) -> Result<Vec<ChunkHandle>, DecodeError> {
        let end = self.visible_end(lsn);
        let mut row = self.first_row();
        let mut out = Vec::new();
        let visible =
            |row: u64, rows: u32| u32::try_from(end.saturating_sub(row)).unwrap_or(u32::MAX).min(rows);
        for c in self.sealed() {
            let rows = visible(row, c.rows);
            row += u64::from(c.rows);
            if c.min_t < range.end() && range.start() <= c.max_t {
                let whole = (c.min_t, c.max_t, c.rows);
                out.extend(cut(whole, rows, || Arc::clone(&c.payload))?);
            }
        }
        if let (Some(min_t), Some(last)) = (self.open_min_t(), self.open.last()) {
            let rows = visible(row, self.open.rows());
            if min_t < range.end() && range.start() <= last.t {
                out.extend(cut((min_t, last.t, self.open.rows()), rows, || self.open.payload().into())?);
            }
        }
        self.push_late(lsn, range, &mut out);
        out.retain(|c| c.overlaps(range));
        Ok(out)
    }

    fn push_late(&self, lsn: Lsn, range: TimeRange, out: &mut Vec<ChunkHandle>) {
        let visible = self.late().iter().filter(|late| late.lsn <= lsn && range.contains(late.t));
        let (t, v): (Vec<i64>, Vec<f64>) = visible.map(|late| (late.t, late.v)).unzip();
        let rows = usize::from(u16::MAX);
        for (t, v) in t.chunks(rows).zip(v.chunks(rows)) {
            let (Some(&min_t), Some(&max_t)) = (t.first(), t.last()) else { continue };
            let rows = u32::try_from(t.len()).unwrap_or(u32::MAX);
            let data = ChunkData::Memory(gorilla::encode(t, v).into());
            out.push(ChunkHandle { min_t, max_t, rows, data });
        }
        out.sort_by_key(|c| c.min_t);
    }

    /// The value at `t`, if there is a row.
    pub(crate) fn value_at(&self, t: i64) -> Result<Option<f64>, DecodeError> {
        if let Ok(at) = self.late().binary_search_by_key(&t, |late| late.t) {
            return Ok(self.late().get(at).map(|late| late.v));
        }
        if let Some(last) = self.open.last().filter(|last| last.t == t) {
            return Ok(Some(last.v));
        }
        let at = self.sealed().partition_point(|c| c.max_t < t);
        let mut rows = Columns::default();
        match self.sealed().get(at) {
            Some(c) if c.min_t <= t => gorilla::decode_into(&c.payload, &mut rows)?,
            None if self.open_min_t().is_some_and(|min_t| min_t <= t) => {
                gorilla::decode_into(&self.open.payload(), &mut rows)?;
            }
            _ => return Ok(None),
        }
        Ok(rows.t.binary_search(&t).ok().and_then(|i| rows.v.get(i).copied()))
    }

    /// What is left without the rows in `range` that a reader at `lsn` sees, or `None` if there are none.
    /// Row numbers stay when only the oldest rows go; otherwise they are counted anew, which is
    /// sound while no commit runs and for readers from this edit on.
    pub(crate) fn without(&self, range: TimeRange, lsn: Lsn) -> Result<Option<Edited>, DecodeError> {
        if !self.time_range().overlaps(range) {
            return Ok(None);
        }
        let (next_t, next_row) = (self.next_t, self.first_row());
        let mut kept = SeriesData { next_t, next_row, ..SeriesData::default() };
        kept.past.get_or_insert_default().first_row = next_row;
        let late: Vec<Late> =
            self.late().iter().filter(|l| l.lsn > lsn || !range.contains(l.t)).copied().collect();
        let late_gone = self.late().len() - late.len();
        let end = self.visible_end(lsn);
        let mut row = self.first_row();
        let mut gone = 0;
        for c in self.sealed() {
            let inside = range.covers(TimeRange::inclusive(c.min_t, c.max_t));
            let rows = u64::from(c.rows);
            match (c.min_t < range.end() && range.start() <= c.max_t, inside && row + rows <= end) {
                (false, _) => kept.keep_sealed(c),
                (true, true) => gone += rows,
                (true, false) => gone += kept.keep_rows(&c.payload, range, row, end)?,
            }
            row += rows;
        }
        let open_stays = self.open.rows() > 0 && !self.open_overlaps(range);
        if open_stays {
            kept.next_row += u64::from(self.open.rows());
        } else if self.open.rows() > 0 {
            gone += kept.keep_rows(&self.open.payload(), range, row, end)?;
        }
        if gone == 0 && late_gone == 0 {
            return Ok(None);
        }
        kept.renumber(self, late, gone);
        Ok(Some(Edited { data: kept, open_stays }))
    }

    fn open_overlaps(&self, range: TimeRange) -> bool {
        let span = self.open_min_t().zip(self.open.last());
        span.is_some_and(|(min_t, last)| min_t < range.end() && range.start() <= last.t)
    }

    fn keep_sealed(&mut self, c: &Sealed) {
        self.next_row += u64::from(c.rows);
        self.past.get_or_insert_default().sealed.push(c.clone());
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
        for ((&t, &v), row) in rows.t.iter().zip(&rows.v).zip(first..) {
            if row >= end || !range.contains(t) {
                encoder.append(t, v);
            }
        }
        let kept = u64::from(encoder.rows());
        if kept > 0 {
            self.open = encoder;
            self.seal();
            self.open = gorilla::Encoder::new();
            self.next_row += kept;
        }
        Ok(rows.len() as u64 - kept)
    }

    /// Gives the kept rows their numbers: those they had if the newest are all still here, so that
    /// marks of commits after the flush stay true.
    fn renumber(&mut self, before: &SeriesData, late: Vec<Late>, gone: u64) {
        let first = self.first_row() + gone;
        self.past.get_or_insert_default().first_row = first;
        self.next_row += gone;
        self.last = before.last;
        self.last.rows = self.last.rows.max(first);
        let older: Vec<Mark> =
            before.older().iter().map(|m| Mark { rows: m.rows.max(first), ..*m }).collect();
        if !late.is_empty() || !older.is_empty() {
            self.rare = Some(Box::new(Rare { late, older, archive: Vec::new() }));
        }
    }

    /// The bytes of chunks and late rows.
    pub(crate) fn bytes(&self) -> u64 {
        let sealed: usize = self.sealed().iter().map(|c| c.payload.len()).sum();
        let late = std::mem::size_of_val(self.late());
        let bytes = sealed + self.open.allocated_bytes() + late;
        bytes as u64 + SEALED_BYTES.unsigned_abs() * self.sealed().len() as u64
    }

    /// How many marks are kept for readers.
    #[cfg(test)]
    pub(super) fn marks(&self) -> usize {
        self.older().len()
    }

    /// The rows here, late ones included, seen or not.
    pub(crate) fn rows(&self) -> u64 {
        self.next_row - self.first_row() + self.late().len() as u64
    }
}

/// A number of bytes as a change of it.
fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A chunk of `(min_t, max_t, rows)`, or a copy of its first `visible` rows.
fn cut(
    (min_t, max_t, rows): (i64, i64, u32),
    visible: u32,
    payload: impl FnOnce() -> Arc<[u8]>,
) -> Result<Option<ChunkHandle>, DecodeError> {
    if visible == 0 {
        return Ok(None);
    }
    let payload = payload();
    if visible == rows {
        return Ok(Some(ChunkHandle { min_t, max_t, rows, data: ChunkData::Memory(payload) }));
    }
    let mut seen = Columns::default();
    gorilla::decode_rows_into(&payload, visible, &mut seen)?;
    let max_t = seen.t.last().copied().unwrap_or(min_t);
    let data = ChunkData::Memory(gorilla::encode(&seen.t, &seen.v).into());
    Ok(Some(ChunkHandle { min_t, max_t, rows: visible, data }))
}
