//! Which columns of timestamps a block that is being written has, so that each is written once.
//!
//! ```text
//!   timestamps of a chunk ──hash──▶ columns with this hash ──equal?──▶ that column
//!                           none ─▶ the last ones used ──some rows of one?──▶ that column, first row, absent rows
//!                                   none ─▶ a new column ──▶ `times`
//! ```
//!
//! Columns are known by a hash of their timestamps and kept as they are coded; one is taken only if its timestamps
//! are equal, so that what is written depends on the chunks alone. Memory: the coded columns, up to
//! [`KEPT_BYTES`] (then all are forgotten, and later equal ones are written again), and the last [`RECENT`] decoded. Whoever has many chunks
//! of one column in memory mostly has it once: its address then spares hashing and comparing (up to [`HELD_BYTES`] of them).

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use super::sink::Sink;
use crate::error::{Error, Result};
use crate::format::chunk::Timestamps;
use crate::format::columns::Rows;
use crate::format::time_column;

/// The most bytes of coded columns that are kept.
const KEPT_BYTES: usize = 67_108_864;
/// Columns that are kept decoded, and looked through for rows of a part.
const RECENT: usize = 64;
/// The most bytes of timestamps that are held to be known by their address.
const HELD_BYTES: usize = 8_388_608;
/// The most columns with one hash.
const MAX_ALIKE: usize = 8;
/// A bitmap of absent rows may take so many bytes more than half of one for each row.
const BITMAP_SLACK: usize = 16;

/// The columns of one block.
#[derive(Debug, Default)]
pub(super) struct TimeTable {
    known: HashMap<u64, Vec<Known>>,
    kept_bytes: usize,
    /// The last ones used, the latest first.
    recent: VecDeque<(u64, Timestamps)>,
    /// Known ones by their address, which is theirs as long as they are held.
    held: HashMap<usize, (u64, Timestamps), FixedState>,
    held_bytes: usize,
}

/// A column that was written.
#[derive(Debug)]
struct Known {
    offset: u64,
    coded: Vec<u8>,
}

impl TimeTable {
    /// The column that has these timestamps, which is written if there is none yet, and which rows of it they are.
    pub(super) fn place(&mut self, t: &Timestamps, salt: u32, sink: &mut Sink) -> Result<Rows> {
        if let Some(&(offset, _)) =
            self.held.get(&t.as_ptr().addr()).filter(|(_, held)| held.len() == t.len())
        {
            self.touch(offset, t.clone());
            return Ok(whole(offset, t));
        }
        let hash = t.digest();
        if let Some(offset) = self.find(hash, t, salt)? {
            self.hold(offset, t.clone());
            return Ok(whole(offset, t));
        }
        if let Some(rows) = self.find_part(t) {
            return Ok(rows);
        }
        let offset = sink.offset();
        let from = sink.buffer().len();
        time_column::encode(t, salt, offset, sink.buffer());
        let coded = sink.buffer().get(from..).unwrap_or_default().to_vec();
        sink.spill()?;
        self.keep(hash, Known { offset, coded });
        self.note(offset, t.clone());
        Ok(whole(offset, t))
    }

    /// The column that has just these timestamps.
    fn find(&mut self, hash: u64, t: &Timestamps, salt: u32) -> Result<Option<u64>> {
        for known in self.known.get(&hash).map(Vec::as_slice).unwrap_or_default() {
            let offset = known.offset;
            let recent = self.recent.iter().position(|(at, _)| *at == offset);
            let column = match recent.and_then(|i| self.recent.get(i)) {
                Some((_, column)) => Timestamps::clone(column),
                None => {
                    let decoded = time_column::decode(salt, offset, &known.coded);
                    decoded.map_err(|e| Error::corrupt("memory", 0, e))?.into()
                }
            };
            if column == *t {
                self.touch(offset, column);
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    /// A column used lately that has these timestamps among others.
    fn find_part(&self, t: &Timestamps) -> Option<Rows> {
        let found = self.recent.iter().find_map(|(offset, column)| Rows::find(*offset, column, t));
        found.filter(|rows| rows.absent.len() / 8 <= BITMAP_SLACK + t.len() / 2)
    }

    fn keep(&mut self, hash: u64, known: Known) {
        self.kept_bytes += known.coded.len() + size_of::<Known>() + 64;
        if self.kept_bytes > KEPT_BYTES {
            self.known.clear();
            self.kept_bytes = 0;
            self.held.clear();
            self.held_bytes = 0;
        }
        let alike = self.known.entry(hash).or_default();
        if alike.len() < MAX_ALIKE {
            alike.push(known);
        }
    }

    /// Holds a known column. What is forgotten here is found by its hash.
    fn hold(&mut self, offset: u64, column: Timestamps) {
        self.held_bytes += size_of_val(&*column) + 64;
        if self.held_bytes > HELD_BYTES {
            self.held.clear();
            self.held_bytes = 0;
        }
        self.held.insert(column.as_ptr().addr(), (offset, column));
    }

    /// A known column is used.
    fn touch(&mut self, offset: u64, column: Timestamps) {
        if let Some(i) = self.recent.iter().position(|(at, _)| *at == offset) {
            self.recent.remove(i);
        }
        self.note(offset, column);
    }

    fn note(&mut self, offset: u64, column: Timestamps) {
        self.recent.push_front((offset, column));
        self.recent.truncate(RECENT);
    }
}

fn whole(column: u64, t: &Timestamps) -> Rows {
    Rows { column, first: 0, rows: t.len(), absent: Default::default() }
}
