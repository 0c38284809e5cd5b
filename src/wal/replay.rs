//! Reads the whole log: the chain of segments, each from its header to its end.
//!
//! ```text
//!   list ─▶ headers ─▶ each segment's end, from its successors' headers ─▶ records ─▶ Visitor
//! ```
//!
//! It writes nothing, so that it works beside a live writer: the tail of the last segment may be in
//! the middle of a write. Damage is collected, not fatal; what is fatal is a newer version, a
//! visitor's error, a cancellation, and a segment that the system does not give: what it holds may be
//! good, and whoever went on without it would remove it as flushed. Memory: a segment's
//! strings and twelve bytes for each of its series, the labels of those that nobody wanted so far (eight bytes a pair), one
//! record, and one commit's samples.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::scan::{self, Bad, Records, Tail};
use super::segment::{self, ReplayEnd, SegmentInfo};
use super::{Visitor, WalSample};
use crate::env::{EntryKind, Fs, ReadFile};
use crate::error::{DecodeError, DecodeReason, Error, ErrorKind, Result};
use crate::format::wal_commit::{self, State, Told};
use crate::format::wal_metadata;
use crate::format::wal_record::{PREFIX_BYTES, Record, RecordKind};
use crate::format::wal_segment::{PrevEnd, SegmentHeader};
use crate::model::{Cancel, Labels, Lsn, TimeRange};

/// What a replay found.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Where the log ends; [`ReplayEnd::segments`] are the segments found.
    pub(crate) end: ReplayEnd,
    /// What could not be read, each with its file, and its offset where there is one.
    pub(crate) damage: Vec<Error>,
    /// Records delivered.
    pub(crate) records: u64,
    /// Samples delivered.
    pub(crate) samples: u64,
}

/// Feeds the log in `dir` to `visitor`, in order. A missing directory is an empty log.
///
/// # Errors
/// `NewerFormat` if a segment is of a newer version; whatever the visitor says; `Cancelled`; `Io` if
/// the directory or a segment cannot be opened or read (beside a live writer it may just have been removed).
pub(crate) fn replay(fs: &dyn Fs, dir: &Path, visitor: &mut dyn Visitor, cancel: &Cancel) -> Result<Replay> {
    let mut found = Replay::default();
    let segments = open_all(fs, dir, &mut found)?;
    report_holes(dir, &segments, &mut found.damage);
    let total = segments.iter().map(|s| s.file.bytes()).sum();
    let progress = Progress { done: 0, shown: 0, total };
    let mut run = Run { visitor, cancel, found, progress };
    for (i, segment) in segments.iter().enumerate() {
        let later = segments.get(i + 1..).unwrap_or_default();
        run.segment(segment, later)?;
    }
    Ok(run.found)
}

/// A segment file, with its header if that can be read.
struct Opened {
    sequence: u64,
    path: PathBuf,
    file: Arc<dyn ReadFile>,
    header: Result<SegmentHeader, DecodeError>,
}

fn open_all(fs: &dyn Fs, dir: &Path, found: &mut Replay) -> Result<Vec<Opened>> {
    let there = fs.stat(dir).map_err(|e| Error::io("look at the directory", dir, e))?;
    if there.is_none() {
        return Ok(Vec::new());
    }
    let mut segments = Vec::new();
    for entry in fs.list(dir).map_err(|e| Error::io("list the directory", dir, e))? {
        let path = dir.join(&entry.name);
        let (Some(sequence), EntryKind::File) = (segment::sequence(&entry.name), entry.kind) else {
            // A link or a directory of such a name stays, and the name is taken.
            found.end.sequence = found.end.sequence.max(segment::sequence(&entry.name).unwrap_or(0));
            let what = "not a segment of the write-ahead log; left alone";
            found.damage.push(Error::new(ErrorKind::Corrupt, what).at(path));
            continue;
        };
        let file = fs.open(&path).map_err(|e| Error::io("open the segment", &path, e))?;
        let header = match scan::header(&*file) {
            Ok(header) if header.sequence != sequence => {
                let what = DecodeReason::Invalid("the sequence is not that of the file's name");
                Err(DecodeError::new("wal_segment", 12, what))
            }
            Ok(header) => Ok(header),
            Err(Bad::Bytes(e)) if matches!(e.reason, DecodeReason::NewerVersion { .. }) => {
                return Err(Error::corrupt(path, 0, e));
            }
            Err(Bad::Bytes(e)) => Err(e),
            Err(Bad::Io(e)) => return Err(Error::io("read the segment", path, e)),
        };
        segments.push(Opened { sequence, path, file, header });
    }
    Ok(segments)
}

/// A predecessor that is not there was removed, unless an older segment is still there.
fn report_holes(dir: &Path, segments: &[Opened], damage: &mut Vec<Error>) {
    for (i, segment) in segments.iter().enumerate() {
        let Ok(SegmentHeader { previous, .. }) = &segment.header else {
            continue;
        };
        let older = segments.get(..i).unwrap_or_default();
        let is_there = older.iter().any(|o| o.sequence == previous.sequence);
        if !is_there && older.iter().any(|o| o.sequence < previous.sequence) {
            let what =
                "this segment of the write-ahead log is missing, though older and newer ones are there";
            let path = segment::path(dir, previous.sequence);
            damage.push(Error::new(ErrorKind::Corrupt, what).at(path));
        }
    }
}

/// What the headers behind a segment say of its end.
enum Limit {
    /// It ends there; what follows is dead.
    At(PrevEnd),
    /// It was given up before it had a record.
    GivenUp,
    /// Nothing.
    Open,
}

fn limit_of(sequence: u64, later: &[Opened]) -> Limit {
    let next = later.iter().find_map(|o| o.header.as_ref().ok());
    match next.map(|header| header.previous) {
        Some(previous) if previous.sequence == sequence => Limit::At(previous),
        Some(previous) if previous.sequence < sequence => Limit::GivenUp,
        _ => Limit::Open,
    }
}

struct Progress {
    done: u64,
    shown: u64,
    total: u64,
}

/// A replay under way.
struct Run<'a> {
    visitor: &'a mut dyn Visitor,
    cancel: &'a Cancel,
    found: Replay,
    progress: Progress,
}

impl Run<'_> {
    fn segment(&mut self, segment: &Opened, later: &[Opened]) -> Result<()> {
        let mut info = SegmentInfo {
            sequence: segment.sequence,
            path: segment.path.clone(),
            bytes: segment.file.bytes(),
            range: TimeRange::new(0, 0),
            first_lsn: segment.header.as_ref().map_or(self.found.end.previous.lsn, |h| h.first_lsn),
            last_lsn: self.found.end.previous.lsn,
            damaged: false,
        };
        let limit = limit_of(segment.sequence, later);
        match (&segment.header, limit) {
            (_, Limit::GivenUp) => {}
            (Ok(header), limit) => self.records(segment, *header, limit, &mut info)?,
            (Err(bad), limit) => self.unreadable(segment, bad, &limit, &mut info)?,
        }
        let end = &mut self.found.end;
        end.sequence = end.sequence.max(segment.sequence);
        end.written = end.written.max(info.last_lsn);
        end.segments.push(info);
        self.progress.done += segment.file.bytes();
        self.show_progress(0);
        Ok(())
    }

    /// A header that cannot be read, with nothing behind it, is a crash while the segment was made.
    fn unreadable(
        &mut self,
        segment: &Opened,
        bad: &DecodeError,
        limit: &Limit,
        info: &mut SegmentInfo,
    ) -> Result<()> {
        let bare = || {
            scan::is_bare(Arc::clone(&segment.file))
                .map_err(|e| Error::io("read the segment", &segment.path, e))
        };
        if matches!(limit, Limit::At(_)) || !bare()? {
            self.damage(segment, bad, info);
        }
        Ok(())
    }

    fn records(
        &mut self,
        segment: &Opened,
        header: SegmentHeader,
        limit: Limit,
        info: &mut SegmentInfo,
    ) -> Result<()> {
        let end = match limit {
            Limit::At(previous) => Some(previous),
            _ => None,
        };
        let mut records = Records::new(Arc::clone(&segment.file), header, end.map(|e| e.bytes));
        let mut memory = SegmentMemory::default();
        let mut known = Known::default();
        self.found.end.closed = false;
        info.last_lsn = header.previous.lsn;
        loop {
            self.cancel.check()?;
            let bad = match records.next() {
                Ok(Some((offset, record))) => match self.record(offset, record, &mut memory, info)? {
                    Ok(synced_lsn) => {
                        known.note(synced_lsn, records.last(), records.offset());
                        continue;
                    }
                    // The frame is sound and its contents are not: no crash does that.
                    Err(bad) => {
                        self.damage(segment, &bad, info);
                        self.end_at(segment, offset, info.last_lsn, &known);
                        return Ok(());
                    }
                },
                Ok(None) => match end.and_then(|end| early_end(&records, end)) {
                    None => break,
                    Some(bad) => bad,
                },
                Err(Bad::Bytes(bad)) => bad,
                Err(Bad::Io(e)) => return Err(Error::io("read the segment", &segment.path, e)),
            };
            let tail = match end {
                Some(_) => Tail::Damaged(records.last()),
                None => records.tail().map_err(|e| Error::io("read the segment", &segment.path, e))?,
            };
            match tail {
                Tail::Good => continue,
                Tail::End | Tail::Torn => {}
                Tail::Damaged(lsn) => {
                    self.found.end.written = self.found.end.written.max(lsn);
                    self.damage(segment, &bad, info);
                }
            }
            break;
        }
        self.end_at(segment, records.offset(), records.last(), &known);
        info.last_lsn = records.last();
        Ok(())
    }

    fn end_at(&mut self, segment: &Opened, bytes: u64, lsn: Lsn, known: &Known) {
        self.found.end.previous = PrevEnd { sequence: segment.sequence, bytes, lsn };
        self.found.end.durable_bytes = known.bytes;
    }

    /// One record, and the LSN through which it knows the log to be durable; the inner error is damage, the outer one ends
    /// the replay.
    fn record(
        &mut self,
        offset: u64,
        record: Record<'_>,
        memory: &mut SegmentMemory,
        info: &mut SegmentInfo,
    ) -> Result<Result<Option<Lsn>, DecodeError>> {
        let in_payload =
            |e: DecodeError| Ok(Err(DecodeError { offset: offset + PREFIX_BYTES as u64 + e.offset, ..e }));
        self.found.end.closed = record.kind == RecordKind::Close;
        match record.kind {
            RecordKind::Close => {}
            RecordKind::Commit => {
                let told = match wal_commit::decode(record.payload, &mut memory.state, &mut memory.rows) {
                    Ok(told) => told,
                    Err(e) => return in_payload(e),
                };
                memory.note(&told);
                info.range = info.range.hull(super::hull(&memory.rows));
                self.found.samples += memory.rows.len() as u64;
                if let Err(e) = memory.renumber(record.lsn, self.visitor)? {
                    return in_payload(e);
                }
                self.visitor.commit(record.lsn, &memory.rows)?;
            }
            RecordKind::Metadata | RecordKind::Restated => {
                let families = match wal_metadata::decode(record.payload) {
                    Ok(families) => families,
                    Err(e) => return in_payload(e),
                };
                for (family, metadata) in families {
                    self.visitor.metadata(record.lsn, family, metadata.clone())?;
                    self.found.end.families.insert(family.to_owned(), metadata);
                }
            }
        }
        info.last_lsn = record.lsn;
        self.found.records += 1;
        self.show_progress(offset);
        // What is restated is synced together, and of earlier LSNs: one knows nothing of the others.
        Ok(Ok((record.kind != RecordKind::Restated).then_some(record.synced_lsn)))
    }

    fn damage(&mut self, segment: &Opened, bad: &DecodeError, info: &mut SegmentInfo) {
        info.damaged = true;
        self.found.damage.push(Error::corrupt(&segment.path, 0, *bad));
    }

    /// Once in a mebibyte, and at the end of each segment.
    fn show_progress(&mut self, within: u64) {
        let at = self.progress.done + within;
        if within == 0 || at >= self.progress.shown + (1 << 20) {
            self.progress.shown = at;
            self.visitor.progress(at, self.progress.total);
        }
    }
}

/// What is wrong with a segment whose records ended before or beside where its successor says.
fn early_end(records: &Records, end: PrevEnd) -> Option<DecodeError> {
    let bad = |reason| Some(DecodeError::new("wal_record", records.offset(), reason));
    if records.offset() < end.bytes {
        return bad(DecodeReason::Truncated);
    }
    if records.last() != end.lsn {
        return bad(DecodeReason::Invalid("the next segment says that this one ends with another LSN"));
    }
    None
}

/// How much of a segment is known to be durable: a record says through which LSN all before it is. Only one record waits to
/// be known, so that this is short at times, by a few records.
#[derive(Default)]
struct Known {
    bytes: u64,
    /// The LSN of a record, and where it ends.
    waits: Option<(Lsn, u64)>,
}

impl Known {
    /// A record that ends at `end`.
    fn note(&mut self, synced_lsn: Option<Lsn>, lsn: Lsn, end: u64) {
        if let (Some(synced_lsn), Some((waiting, end))) = (synced_lsn, self.waits)
            && synced_lsn >= waiting
        {
            self.bytes = end;
            self.waits = None;
        }
        self.waits.get_or_insert((lsn, end));
    }
}

/// What a segment has told so far.
///
/// A series is told to the visitor with its first row that is wanted: of a log whose older rows are all in blocks, most may never be.
#[derive(Default)]
struct SegmentMemory {
    state: State,
    rows: Vec<WalSample>,
    /// All strings, end to end, and where each one ends.
    strings: String,
    ends: Vec<usize>,
    series: Vec<Place>,
    /// The labels of series that wait: numbers of strings, all sets end to end.
    pairs: Vec<(u32, u32)>,
    /// So many of them were there before the commit.
    noted: usize,
}

/// Where a series of the segment is.
#[derive(Clone, Copy)]
enum Place {
    /// At the visitor, which gave it this number.
    Told(u32),
    /// Its labels are this part of the pairs.
    Waits { from: u32, count: u32 },
}

/// No series of the visitor: the row of one that still waits.
const UNWANTED: u32 = u32::MAX;

impl SegmentMemory {
    /// Notes strings, and series, each of which has a row in the same commit.
    fn note(&mut self, told: &Told<'_>) {
        self.noted = self.pairs.len();
        for string in &told.strings {
            self.strings.push_str(string);
            self.ends.push(self.strings.len());
        }
        // A segment of which each byte told a pair would have fewer than 2^32.
        let mut from = u32::try_from(self.pairs.len()).unwrap_or(u32::MAX);
        self.pairs.extend_from_slice(&told.pairs);
        for &count in &told.series {
            self.series.push(Place::Waits { from, count });
            from = from.saturating_add(count);
        }
    }

    /// The segment's numbers in the rows become the visitor's; rows of series of which it wanted none so far go. The inner
    /// error says that a series is no label set.
    fn renumber(&mut self, lsn: Lsn, visitor: &mut dyn Visitor) -> Result<Result<(), DecodeError>> {
        let (mut rows, mut unwanted) = (std::mem::take(&mut self.rows), false);
        for row in &mut rows {
            // The decoder has refused numbers that were not told.
            let place = self.series.get(row.series as usize).copied();
            row.series = match place.unwrap_or(Place::Told(UNWANTED)) {
                Place::Told(number) => number,
                Place::Waits { from, count } if visitor.wants(lsn, row.t) => {
                    let Some(labels) = self.labels(from, count) else {
                        let what = "a series has labels that are unsorted, empty or too large";
                        return Ok(Err(DecodeError::new("wal_commit", 0, DecodeReason::Invalid(what))));
                    };
                    let number = visitor.series(labels)?;
                    if let Some(place) = self.series.get_mut(row.series as usize) {
                        *place = Place::Told(number);
                    }
                    number
                }
                Place::Waits { .. } => {
                    unwanted = true;
                    UNWANTED
                }
            };
        }
        match unwanted {
            true => rows.retain(|row| row.series != UNWANTED),
            // All that are new in this commit were told.
            false => self.pairs.truncate(self.noted),
        }
        self.rows = rows;
        Ok(Ok(()))
    }

    fn labels(&self, from: u32, count: u32) -> Option<Labels> {
        let pairs = self.pairs.get(from as usize..)?.get(..count as usize)?;
        let mut texts = Vec::with_capacity(pairs.len());
        let mut before = "";
        for &(name, value) in pairs {
            let (name, value) = (self.string(name)?, self.string(value)?);
            if name <= before || value.is_empty() {
                return None;
            }
            texts.push((name, value));
            before = name;
        }
        Labels::from_unsorted(&mut texts).ok()
    }

    fn string(&self, number: u32) -> Option<&str> {
        let number = number as usize;
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.strings.get(start..*self.ends.get(number)?)
    }
}
