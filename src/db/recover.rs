//! From the files to a head: what open does with the log.
//!
//! A row of the log goes into the head unless a flush has stored it (the manifest's floors: range and last
//! commit) or a delete came after it (the tombstones: selection, range, commit).

use std::collections::HashMap;

use crate::db::version::LiveTombstone;
use crate::error::{Error, ErrorKind, Result};
use crate::format::manifest::Floor;
use crate::head::Head;
use crate::model::{Labels, Lsn, Metadata, TimeRange};
use crate::wal::{Visitor, WalSample};

/// The deletes that select a series, by slot; only of series that some delete selects.
type Deletes = HashMap<u32, Vec<(Lsn, TimeRange)>>;

/// Receives the log's records.
pub(crate) struct Recovery<'a> {
    pub(crate) head: &'a Head,
    pub(crate) floors: &'a [Floor],
    pub(crate) tombstones: &'a [LiveTombstone],
    deleted: Deletes,
    rows: Vec<WalSample>,
    pub(crate) samples: u64,
}

impl<'a> Recovery<'a> {
    /// Into an empty head.
    pub(crate) fn new(head: &'a Head, floors: &'a [Floor], tombstones: &'a [LiveTombstone]) -> Recovery<'a> {
        Recovery { head, floors, tombstones, deleted: HashMap::new(), rows: Vec::new(), samples: 0 }
    }

    /// Whether the row of commit `lsn` is still the head's to hold.
    fn keeps(floors: &[Floor], deleted: &Deletes, lsn: Lsn, row: &WalSample) -> bool {
        let flushed = floors.iter().any(|f| lsn <= f.through && f.range.contains(row.t));
        let gone = |deletes: &Vec<(Lsn, TimeRange)>| {
            deletes.iter().any(|(deleted, range)| lsn < *deleted && range.contains(row.t))
        };
        // The last timestamp is reserved: no range holds it.
        row.t < i64::MAX && !flushed && !deleted.get(&row.series).is_some_and(gone)
    }
}

impl Visitor for Recovery<'_> {
    fn series(&mut self, labels: Labels) -> Result<u32> {
        let slot = self
            .head
            .recover_series(&labels)
            .ok_or_else(|| Error::new(ErrorKind::Ceiling, "the log holds more series than a head can"))?;
        if !self.tombstones.is_empty() && !self.deleted.contains_key(&slot) {
            let selects = |t: &&LiveTombstone| {
                t.matchers.iter().all(|m| m.matches(labels.value(m.name()).unwrap_or("")))
            };
            let deletes: Vec<_> = self.tombstones.iter().filter(selects).map(|t| (t.lsn, t.range)).collect();
            if !deletes.is_empty() {
                self.deleted.insert(slot, deletes);
            }
        }
        Ok(slot)
    }

    fn commit(&mut self, lsn: Lsn, samples: &[WalSample]) -> Result<()> {
        self.rows.clear();
        let all =
            self.floors.is_empty() && self.deleted.is_empty() && samples.iter().all(|row| row.t < i64::MAX);
        if !all {
            let kept = samples.iter().filter(|row| Recovery::keeps(self.floors, &self.deleted, lsn, row));
            self.rows.extend(kept);
        }
        let rows = if all { samples } else { &self.rows };
        self.samples += rows.len() as u64;
        self.head.apply(lsn, rows);
        self.head.set_visible(lsn);
        Ok(())
    }

    fn metadata(&mut self, _lsn: Lsn, family: &str, metadata: Metadata) -> Result<()> {
        self.head.set_metadata(family, metadata);
        Ok(())
    }
}
