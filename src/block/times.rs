//! The `times` file: columns of timestamps are read whole, verified, and the last ones kept.
//!
//! All series of a scrape target have the same few columns: a scan decodes each once and then finds it here. What is kept
//! was verified and is our own. Memory: at most [`SLOTS`] columns a block, of some 8 KiB each.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::unit::{self, ReadMode, UnitFile};
use crate::env::{EntryKind, Fs};
use crate::error::{Error, ErrorKind, Result};
use crate::format::block_meta::BlockMeta;
use crate::format::chunk::Timestamps;
use crate::format::time_column::{self, LENGTH_BYTES};

/// Columns kept for each block.
const SLOTS: usize = 128;

/// A column with its offset.
type Kept = Mutex<Option<(u64, Timestamps)>>;

/// The columns of timestamps of one block.
#[derive(Debug)]
pub(super) struct Times {
    /// `None` if the file is empty.
    file: Option<UnitFile>,
    salt: u32,
    slots: Box<[Kept]>,
}

impl Times {
    /// Opens the file; reads nothing of it.
    pub(super) fn open(fs: &dyn Fs, path: PathBuf, mode: ReadMode, meta: &BlockMeta) -> Result<Times> {
        let entry = fs.stat(&path).map_err(|e| Error::io("examine", &path, e))?;
        let Some(entry) = entry.filter(|entry| entry.kind == EntryKind::File) else {
            return Err(Error::new(ErrorKind::Corrupt, "the file is missing, restore the block").at(path));
        };
        unit::check_length(&path, entry.bytes, meta.times_bytes)?;
        let file = match meta.times_bytes {
            0 => None,
            bytes => Some(UnitFile::open(fs, path, mode, bytes)?),
        };
        let slots = if file.is_some() { SLOTS } else { 0 };
        Ok(Times { file, salt: meta.salt, slots: (0..slots).map(|_| Mutex::default()).collect() })
    }

    /// The file, if it is not empty.
    pub(super) fn file(&self) -> Option<&UnitFile> {
        self.file.as_ref()
    }

    /// The column that stands at `offset`, from memory if it was among the last ones; `None` if the file is empty.
    pub(super) fn column(&self, offset: u64) -> Result<Option<Timestamps>> {
        let hash = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let slot =
            usize::try_from(hash).ok().and_then(|hash| self.slots.get(hash.checked_rem(self.slots.len())?));
        let Some(slot) = slot else { return Ok(None) };
        let kept = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, column)) = kept.filter(|(at, _)| *at == offset) {
            return Ok(Some(column));
        }
        let Some((column, _)) = self.read(offset)? else { return Ok(None) };
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((offset, column.clone()));
        Ok(Some(column))
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
