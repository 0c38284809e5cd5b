//! One segment, record by record, and what to make of the bytes behind the last good one.
//!
//! ```text
//!   │ header │ record │ record │ record │ ??? ────────────▶ end
//!                                       ▲
//!                                       └ zeros only: the end
//!                                         a record that knows the bad one was durable: damage
//!                                         otherwise: torn
//! ```
//!
//! The file is read through a window of 1 MiB (or one record). Looking for a later record costs a
//! pass over the rest of the file, and checksums of what looks like one up to a budget: a file made to
//! exhaust it is called damaged.

use std::io;
use std::sync::Arc;

use crate::env::ReadFile;
use crate::error::{DecodeError, DecodeReason};
use crate::format::wal_record::{PREFIX_BYTES, Prefix, Record, RecordKind};
use crate::format::wal_segment::{HEADER_BYTES, SegmentHeader};
use crate::model::Lsn;

/// How much is read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// How much is searched at once; less than a window, so that one is not read anew for each candidate.
const SEARCH_BYTES: usize = 1 << 16;
/// How many bytes may be verified in search of a later record.
const SEARCH_BUDGET_BYTES: u64 = 256 << 20;
/// What a candidate costs besides its bytes.
const CANDIDATE_BYTES: u64 = 4_096;

/// Why a record could not be read.
#[derive(Debug)]
pub(super) enum Bad {
    /// The bytes are no record; the offset is within the file.
    Bytes(DecodeError),
    /// The system would not give the bytes.
    Io(io::Error),
}

impl From<io::Error> for Bad {
    fn from(e: io::Error) -> Bad {
        Bad::Io(e)
    }
}

/// What stands behind the last good record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    End,
    /// A write that was never known to be durable.
    Torn,
    /// The record there is good by now: a writer was in the middle of it.
    Good,
    /// A record that was durable; the LSN is the highest that was met behind it.
    Damaged(Lsn),
}

/// A file, part of which is in memory.
#[derive(Debug)]
struct Window {
    file: Arc<dyn ReadFile>,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Up to `n` bytes from `offset`; fewer only at the end.
    fn at(&mut self, offset: u64, n: usize) -> io::Result<&[u8]> {
        let n = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX).min(n);
        let held = |w: &Window| {
            let from = usize::try_from(offset.checked_sub(w.start)?).ok()?;
            from.checked_add(n).filter(|to| *to <= w.bytes.len()).map(|to| from..to)
        };
        if held(self).is_none() {
            let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.start = offset;
            self.bytes.clear();
            self.bytes.resize(n.max(WINDOW_BYTES).min(left), 0);
            if let Err(e) = self.file.read_at(offset, &mut self.bytes) {
                self.forget();
                return Err(e);
            }
        }
        Ok(held(self).and_then(|range| self.bytes.get(range)).unwrap_or_default())
    }

    /// What is asked for next is read again.
    fn forget(&mut self) {
        self.bytes.clear();
    }
}

/// Reads the header of a segment.
pub(super) fn header(file: &dyn ReadFile) -> Result<SegmentHeader, Bad> {
    let bytes = usize::try_from(file.bytes()).unwrap_or(usize::MAX).min(HEADER_BYTES);
    let mut header = vec![0; bytes];
    file.read_at(0, &mut header)?;
    SegmentHeader::decode(&header).map_err(Bad::Bytes)
}

/// Whether nothing but zeros stands behind the header's place.
pub(super) fn is_bare(file: Arc<dyn ReadFile>) -> io::Result<bool> {
    let end = file.bytes();
    let mut window = Window { file, end, start: 0, bytes: Vec::new() };
    all_zero(&mut window, HEADER_BYTES as u64)
}

fn all_zero(window: &mut Window, from: u64) -> io::Result<bool> {
    let mut at = from;
    while at < window.end {
        let bytes = window.at(at, WINDOW_BYTES)?;
        if bytes.iter().any(|b| *b != 0) {
            return Ok(false);
        }
        at += bytes.len() as u64;
    }
    Ok(true)
}

/// The records of one segment, in order.
#[derive(Debug)]
pub(super) struct Records {
    window: Window,
    header: SegmentHeader,
    offset: u64,
    last: Lsn,
}

impl Records {
    /// The records of `file` behind its `header`, up to byte `end` (the successor's word) or to the
    /// end of the file.
    pub(super) fn new(file: Arc<dyn ReadFile>, header: SegmentHeader, end: Option<u64>) -> Records {
        let end = end.unwrap_or_else(|| file.bytes());
        let window = Window { end: end.min(file.bytes()), file, start: 0, bytes: Vec::new() };
        Records { window, header, offset: HEADER_BYTES as u64, last: header.previous.lsn }
    }

    /// Where the next record begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The last LSN so far.
    pub(super) fn last(&self) -> Lsn {
        self.last
    }

    /// The next record and where it begins, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Record<'_>)>, Bad> {
        let offset = self.offset;
        if offset >= self.window.end {
            return Ok(None);
        }
        let at_offset = |e: DecodeError| Bad::Bytes(DecodeError { offset: offset + e.offset, ..e });
        let prefix = Prefix::peek(self.window.at(offset, PREFIX_BYTES)?).map_err(at_offset)?;
        self.check_lsn(prefix).map_err(at_offset)?;
        let frame = self.window.at(offset, prefix.frame_bytes())?;
        let (record, bytes) = Record::decode(self.header.salt(), frame).map_err(at_offset)?;
        self.offset = offset + bytes as u64;
        self.last = record.lsn;
        Ok(Some((offset, record)))
    }

    fn check_lsn(&self, prefix: Prefix) -> Result<(), DecodeError> {
        let fits = match prefix.kind.is_new() {
            true => prefix.lsn > self.last && prefix.lsn >= self.header.first_lsn,
            false => prefix.lsn == self.last,
        };
        let what = DecodeReason::Invalid("the LSN does not follow that of the record before");
        match fits {
            true => Ok(()),
            false => Err(DecodeError::new("wal_record", 5, what)),
        }
    }

    /// What stands where [`next`](Records::next) failed to find a record, if no successor says where
    /// the segment ends.
    pub(super) fn tail(&mut self) -> io::Result<Tail> {
        self.window.forget();
        if all_zero(&mut self.window, self.offset)? {
            return Ok(Tail::End);
        }
        let Some(lsn) = self.search()? else {
            return Ok(Tail::Torn);
        };
        // A live writer may have finished the record since it was read, and written others.
        self.window.forget();
        let (offset, last) = (self.offset, self.last);
        let is_good = matches!(self.next(), Ok(Some(_)));
        (self.offset, self.last) = (offset, last);
        Ok(if is_good { Tail::Good } else { Tail::Damaged(lsn) })
    }

    /// A record behind the bad spot that was written when the bad one was durable.
    fn search(&mut self) -> io::Result<Option<Lsn>> {
        let mut budget = SEARCH_BUDGET_BYTES;
        let mut at = self.offset + 1;
        while let Some(candidate) = self.candidate(at)? {
            let (offset, prefix) = candidate;
            let cost = prefix.frame_bytes() as u64 + CANDIDATE_BYTES;
            let Some(left) = budget.checked_sub(cost) else {
                return Ok(Some(self.last));
            };
            budget = left;
            let frame = self.window.at(offset, prefix.frame_bytes())?;
            if Record::decode(self.header.salt(), frame).is_ok() {
                return self.last_from(offset).map(Some);
            }
            at = offset + 1;
        }
        Ok(None)
    }

    /// The last LSN of the records that stand one behind the other from `offset` on.
    fn last_from(&mut self, mut offset: u64) -> io::Result<Lsn> {
        let mut last = self.last;
        while let Ok(prefix) = Prefix::peek(self.window.at(offset, PREFIX_BYTES)?) {
            let frame = self.window.at(offset, prefix.frame_bytes())?;
            let Ok((record, bytes)) = Record::decode(self.header.salt(), frame) else {
                break;
            };
            last = last.max(record.lsn);
            offset += bytes as u64;
        }
        Ok(last)
    }

    /// The next place from `at` on that looks like such a record.
    fn candidate(&mut self, mut at: u64) -> io::Result<Option<(u64, Prefix)>> {
        let (last, end) = (self.last, self.window.end);
        while at + (PREFIX_BYTES as u64) < end {
            let bytes = self.window.at(at, SEARCH_BYTES)?;
            for (offset, place) in (at..).zip(bytes.windows(PREFIX_BYTES)) {
                let Ok(prefix) = Prefix::peek(place) else {
                    continue;
                };
                let knows = prefix.kind != RecordKind::Restated && prefix.synced_lsn > last;
                if knows && offset + prefix.frame_bytes() as u64 <= end {
                    return Ok(Some((offset, prefix)));
                }
            }
            // Overlapping, so that no place is missed.
            at += (bytes.len() - (PREFIX_BYTES - 1)) as u64;
        }
        Ok(None)
    }
}
