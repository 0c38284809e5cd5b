//! The write-ahead log: what is committed and not in a block yet.
//!
//! ```text
//!   wal/00000000000000000007          wal/00000000000000000008                 no file yet
//!   ┌────────┬────────┬───┬───┬────┐  ┌────────┬────────┬───┬───┬───┬──────┐  ┌ ─ ─ ─ ─
//!   │ header │restated│ c │ c │dead│  │ header │restated│ c │ m │ c │ 0000 │    the next record
//!   │        │metadata│   │   │    │  │prev=7,▲│metadata│   │   │   │      │  │ begins it
//!   └────────┴────────┴───┴───┴────┘  └────────┴────────┴───┴───┴───┴──────┘  └ ─ ─ ─ ─
//!                             ▲                                     ▲
//!                             └ prev_end of 8                       └ written so far; reserved beyond
//! ```
//!
//! # Invariants
//! - A segment is written from its header on by one handle and takes no other's records: after a restart, a failed write, or a
//!   rotation the next record begins a new file. But its end, as far as no record in it knows that it is durable, is written again,
//!   as it reads, by the next handle: a failed sync may have left it in the cache only, marked as written.
//! - A segment can be replayed alone: labels stand in it at a series' first use, values are coded
//!   against earlier ones of the same segment, metadata is restated at its start.
//! - A new segment's header and its directory entry are durable before a record is in it, and the old
//!   segment is durable up to `prev_end` before the header is written. So the log up to the active
//!   segment is durable, and a [`SyncPoint`] needs to sync that one file only.
//! - LSNs of commits and metadata strictly increase through the log.
//! - A record that failed is never replayed: no prefix of a frame is a frame (see `wal_record`), and
//!   nothing is written behind it in its file.
//!
//! # What a reader makes of bytes that are not a record
//! | where | what it is |
//! |---|---|
//! | beyond the successor's `prev_end` | a dead tail: ignored |
//! | before it | damage: reported, the rest of the segment skipped, later segments read |
//! | last segment, nothing but zeros follow | the end |
//! | last segment, a valid record follows whose `synced_lsn` covers the bad one | damage |
//! | last segment, otherwise | a torn tail, never acknowledged as durable: ignored |
//! | a header, nothing but zeros behind it, no readable successor but empty ones | a crash while the segment was made: ignored |
//! | any other header | damage: the segment is skipped |
//! | a header of a newer version | an error: nothing may be written by this build |
//! | `prev_end` names a segment that is gone, older ones are there | damage: a hole |
//! | `prev_end` names a segment that is gone, no older one is there | it was removed on purpose |
//! | `prev_end` names a segment before the one in front | that one was given up while it was made: ignored |
//!
//! For the rule about holes to hold, segments leave the disk oldest first: [`Wal::leave`]
//! takes them in any order, and unlinks a younger one when all older ones are gone.
//!
//! # Cost
//! One `append` and at most one `allocate` a commit; 26 bytes of frame and about ten more of payload,
//! then half a byte a sample and what its value changed by. Memory: 8 bytes a slot, 12 a label pair,
//! 8 a series of the active segment, and the segment's strings once.
//!
//! | file | what |
//! |---|---|
//! | `segment` | names, [`SegmentInfo`], [`ReplayEnd`] |
//! | `encoder` | slots and labels to segment-local numbers; takes a failed record back |
//! | `writer` | [`Wal`]: appends, rotates, removes |
//! | `replay` | [`replay`]: the chain of segments |
//! | `scan` | one segment's records, and what follows the last |

mod encoder;
mod replay;
mod scan;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::format::wal_commit::{self, Row};
use crate::model::{Labels, Lsn, Metadata, TimeRange};

pub(crate) use replay::{Replay, replay};
pub(crate) use writer::{SyncPoint, Wal, unlink};

/// One sample: `series` is the head's slot when written, the visitor's number when replayed.
pub(crate) type WalSample = Row;

/// The hull of the samples' timestamps.
pub(crate) fn hull(samples: &[WalSample]) -> TimeRange {
    match wal_commit::times(samples) {
        Some((min, max)) => TimeRange::inclusive(min, max),
        None => TimeRange::new(0, 0),
    }
}

/// How the log lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalOptions {
    /// A segment that has reached this size takes no more records.
    pub(crate) segment_bytes: u64,
    /// Disk space is reserved in steps of this size.
    pub(crate) allocate_bytes: u64,
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions { segment_bytes: 64 << 20, allocate_bytes: 1 << 20 }
    }
}

/// Where the writer learns a series' labels, at its first use in a segment.
pub(crate) trait LabelsOf {
    /// Calls `tell` with each label of a slot, in canonical form and sorted by name, or not at all if there is no series in
    /// it (the commit then fails). The number, if there is one, is that pair's until [`Wal::forget_pair`].
    fn pairs_of(&self, series: u32, tell: &mut dyn FnMut(Option<u32>, &[u8]));
}

/// Labels without numbers.
impl<F: Fn(u32) -> Option<Labels>> LabelsOf for F {
    fn pairs_of(&self, series: u32, tell: &mut dyn FnMut(Option<u32>, &[u8])) {
        if let Some(labels) = self(series) {
            labels.canonical_pairs().for_each(|text| tell(None, text));
        }
    }
}

/// What replay feeds. An error of it ends the replay and is passed on.
pub(crate) trait Visitor {
    /// Whether it wants rows of this commit at this time. A series of which it wants none is not told to it, and its rows are
    /// left out.
    fn wants(&self, _lsn: Lsn, _t: i64) -> bool {
        true
    }
    /// A series that the following commits use; answers with the visitor's own number for it. The
    /// same labels come again in other segments, and may within one.
    fn series(&mut self, labels: Labels) -> Result<u32>;
    /// One commit, in order of LSN, whole but for rows that were not wanted; `series` in the samples are the visitor's numbers.
    fn commit(&mut self, lsn: Lsn, samples: &[WalSample]) -> Result<()>;
    /// Metadata of one family. It is restated in each segment, with an LSN before that segment.
    fn metadata(&mut self, lsn: Lsn, family: &str, metadata: Metadata) -> Result<()>;
    /// How far the replay is.
    fn progress(&mut self, _bytes_done: u64, _bytes_total: u64) {}
}
