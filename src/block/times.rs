//! The `times` file: columns of timestamps are read whole, verified, and the last ones kept.
//!
//! All series of a scrape target have the same few columns: a scan decodes each once and then finds it here. A scan meets them again and again
//! in one order, the targets of one metric and then those of the next: so it matters that all of them have room, and not which one goes if they
//! have not. What is kept was verified and is our own. The blocks of a database keep theirs together.
//!
//! **Memory.** At most [`SETS`] times [`WAYS`] columns a database, of up to [`KEPT_ROWS`] rows, as all have that are written: 32 MiB.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::unit::{self, ReadMode, UnitFile};
use super::window;
use crate::env::{EntryKind, Fs};
use crate::error::{Error, ErrorKind, Result};
use crate::format::block_meta::BlockMeta;
use crate::format::chunk::Timestamps;
use crate::format::time_column::{self, LENGTH_BYTES};

/// Places for columns, by a hash of where they stand.
const SETS: usize = 1_024;
/// Columns of a place.
const WAYS: usize = 4;
/// A column of more rows is not kept: it would be a forged one.
const KEPT_ROWS: usize = window::MAX_ROWS;

/// Columns that were read last, of all blocks of a database.
#[derive(Debug)]
pub(crate) struct KeptColumns {
    sets: Box<[Mutex<Set>]>,
    blocks: AtomicU64,
}

#[derive(Debug, Default)]
struct Set {
    columns: [Option<(Key, Timestamps)>; WAYS],
    next: usize,
}

/// The number of a block, and an offset in its file.
type Key = (u64, u64);

impl Default for KeptColumns {
    fn default() -> KeptColumns {
        KeptColumns { sets: (0..SETS).map(|_| Mutex::default()).collect(), blocks: AtomicU64::new(0) }
    }
}

impl KeptColumns {
    /// The column of this key: kept, or read.
    fn column(
        &self,
        key: Key,
        read: impl FnOnce() -> Result<Option<Timestamps>>,
    ) -> Result<Option<Timestamps>> {
        let hash = (key.1 ^ key.0.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let set = usize::try_from(hash).ok().and_then(|hash| self.sets.get(hash % SETS));
        let Some(set) = set else { return read() };
        let lock = || set.lock().unwrap_or_else(PoisonError::into_inner);
        let kept =
            lock().columns.iter().flatten().find(|(at, _)| *at == key).map(|(_, column)| column.clone());
        if kept.is_some() {
            return Ok(kept);
        }
        let Some(column) = read()? else { return Ok(None) };
        if column.len() <= KEPT_ROWS {
            let mut set = lock();
            let next = set.next % WAYS;
            set.next = next + 1;
            if let Some(place) = set.columns.get_mut(next) {
                *place = Some((key, column.clone()));
            }
        }
        Ok(Some(column))
    }
}

/// The columns of timestamps of one block.
#[derive(Debug)]
pub(super) struct Times {
    /// `None` if the file is empty.
    file: Option<UnitFile>,
    salt: u32,
    kept: Arc<KeptColumns>,
    /// Of the block, among those that keep columns together.
    number: u64,
}

impl Times {
    /// Opens the file; reads nothing of it.
    pub(super) fn open(
        fs: &dyn Fs,
        path: PathBuf,
        mode: ReadMode,
        meta: &BlockMeta,
        kept: &Arc<KeptColumns>,
    ) -> Result<Times> {
        let entry = fs.stat(&path).map_err(|e| Error::io("examine", &path, e))?;
        let Some(entry) = entry.filter(|entry| entry.kind == EntryKind::File) else {
            return Err(Error::new(ErrorKind::Corrupt, "the file is missing, restore the block").at(path));
        };
        unit::check_length(&path, entry.bytes, meta.times_bytes)?;
        let file = match meta.times_bytes {
            0 => None,
            bytes => Some(UnitFile::open(fs, path, mode, bytes)?),
        };
        let number = kept.blocks.fetch_add(1, Ordering::Relaxed);
        Ok(Times { file, salt: meta.salt, kept: Arc::clone(kept), number })
    }

    /// The file, if it is not empty.
    pub(super) fn file(&self) -> Option<&UnitFile> {
        self.file.as_ref()
    }

    /// The column that stands at `offset`, from memory if it was among the last ones; `None` if the file is empty.
    pub(super) fn column(&self, offset: u64) -> Result<Option<Timestamps>> {
        self.kept.column((self.number, offset), || Ok(self.read(offset)?.map(|(column, _)| column)))
    }

    /// Reads and verifies the column at `offset`; also where the next one stands.
    pub(super) fn read(&self, offset: u64) -> Result<Option<(Timestamps, u64)>> {
        let Some(file) = &self.file else { return Ok(None) };
        let corrupt = |e| file.corrupt(offset, e);
        let first = file.read("time_column", offset, LENGTH_BYTES)?;
        let bytes = time_column::column_bytes(&first).map_err(corrupt)?;
        let unit = file.read("time_column", offset, bytes)?;
        let column = time_column::decode(self.salt, offset, &unit).map_err(corrupt)?;
        Ok(Some((column.into(), offset + bytes as u64)))
    }
}
