//! The label sets of one epoch: each once, numbered from 0, found by hash.
//!
//! An *epoch* is the life of one table. When the table outgrows its share of the memory it is
//! emptied and the next epoch begins, whose number is drawn from one counter of the process: a
//! [`BulkRef`] carries the number of its epoch, so that one of an earlier epoch, or of another
//! loader, is recognised and never taken for another series.

use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::BulkRef;
use crate::error::{AppendError, Error, ErrorKind, Result};
use crate::model::Labels;

/// Memory of a series beside its label bytes: the pointer and its allocation's header and slack,
/// its row count, the hash table's slots at their emptiest, and its numbers while sorting.
const SERIES_BYTES: usize = 16 + 32 + 4 + 20 + 8;

/// Numbers the epochs of all loaders of the process; 0 is none.
static EPOCHS: AtomicU32 = AtomicU32::new(1);

/// The label sets of the current epoch.
#[derive(Debug)]
pub(super) struct Table {
    epoch: u32,
    hasher: RandomState,
    /// The upper half of the hash, and the number: growing the table and passing over others asks no labels.
    ids: HashTable<(u32, u32)>,
    labels: Vec<Labels>,
    bytes: usize,
}

impl Table {
    /// An empty table: a new epoch.
    pub(super) fn new() -> Table {
        Table {
            epoch: EPOCHS.fetch_add(1, Ordering::Relaxed),
            hasher: RandomState::default(),
            ids: HashTable::new(),
            labels: Vec::new(),
            bytes: 0,
        }
    }

    /// The memory that it holds.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// The memory that one more series takes.
    pub(super) fn series_bytes(labels: &Labels) -> usize {
        labels.as_bytes().len() + SERIES_BYTES
    }

    /// The label sets, by number.
    pub(super) fn labels(&self) -> &[Labels] {
        &self.labels
    }

    /// The reference of a label set that is here.
    pub(super) fn find(&self, labels: &Labels) -> Option<BulkRef> {
        let (tag, hash) = self.hash(labels);
        let same = |&(t, id): &(u32, u32)| t == tag && self.labels.get(id as usize) == Some(labels);
        self.ids.find(hash, same).map(|&(_, id)| self.reference(id))
    }

    /// Adds a label set that is not here yet.
    pub(super) fn insert(&mut self, labels: &Labels) -> Result<BulkRef> {
        let id = u32::try_from(self.labels.len())
            .map_err(|_| Error::new(ErrorKind::Ceiling, "a bulk load takes at most 2^32 series at a time"))?;
        let (tag, hash) = self.hash(labels);
        self.labels.push(labels.clone());
        self.ids.insert_unique(hash, (tag, id), |&(tag, _)| spread(tag));
        self.bytes += Table::series_bytes(labels);
        Ok(self.reference(id))
    }

    /// The number of the series that a reference names, if it is of this epoch.
    pub(super) fn resolve(&self, series: BulkRef) -> Result<u32, AppendError> {
        let id = u32::try_from(series.0 & u64::from(u32::MAX)).map_err(|_| AppendError::StaleRef)?;
        match series.0 >> 32 == u64::from(self.epoch) && (id as usize) < self.labels.len() {
            true => Ok(id),
            false => Err(AppendError::StaleRef),
        }
    }

    /// A part of the hash of a label set, and what the table hashes by, which follows from it.
    fn hash(&self, labels: &Labels) -> (u32, u64) {
        let tag = (self.hasher.hash_one(labels.as_bytes()) >> 32) as u32;
        (tag, spread(tag))
    }

    fn reference(&self, id: u32) -> BulkRef {
        BulkRef(u64::from(self.epoch) << 32 | u64::from(id))
    }
}

/// A hash whose bits all depend on the tag, as a hash table wants them.
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
