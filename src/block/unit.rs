//! A file of a block, read unit by unit: mapped or by position.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{Fs, ReadFile};
use crate::error::{DecodeError, DecodeReason, Error, ErrorKind, Result};

/// How the files of a block are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// Through a memory map where the filesystem can.
    Mapped,
    /// By position: safe against files that others truncate.
    Positioned,
}

/// An open file whose length was compared with what the block's meta says.
#[derive(Debug)]
pub(super) struct UnitFile {
    path: PathBuf,
    file: Arc<dyn ReadFile>,
}

impl UnitFile {
    /// Opens a file that must have `expected` bytes.
    pub(super) fn open(fs: &dyn Fs, path: PathBuf, mode: ReadMode, expected: u64) -> Result<UnitFile> {
        let opened = match mode {
            ReadMode::Mapped => fs.map(&path),
            ReadMode::Positioned => fs.open(&path),
        };
        let file = opened.map_err(|e| Error::io("open", &path, e))?;
        check_length(&path, file.bytes(), expected)?;
        Ok(UnitFile { path, file })
    }

    /// Its length.
    pub(super) fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// The bytes of one unit; what reaches beyond the end of the file is damage.
    pub(super) fn read(&self, structure: &'static str, offset: u64, bytes: usize) -> Result<Cow<'_, [u8]>> {
        let end = offset.checked_add(bytes as u64).filter(|&end| end <= self.file.bytes());
        if end.is_none() {
            return Err(self.corrupt(offset, DecodeError::new(structure, 0, DecodeReason::Truncated)));
        }
        if let Some(all) = self.file.mapped() {
            let from = usize::try_from(offset).ok();
            if let Some(unit) = from.and_then(|from| all.get(from..from.checked_add(bytes)?)) {
                return Ok(Cow::Borrowed(unit));
            }
        }
        let mut out = vec![0; bytes];
        self.file.read_at(offset, &mut out).map_err(|e| Error::io("read", &self.path, e))?;
        Ok(Cow::Owned(out))
    }

    /// An error about this file; `base` is where the unit that did not decode stands.
    pub(super) fn corrupt(&self, base: u64, error: DecodeError) -> Error {
        Error::corrupt(&self.path, base, error)
    }

    /// An error about this file in words.
    pub(super) fn invalid(&self, structure: &'static str, offset: u64, what: &'static str) -> Error {
        self.corrupt(offset, DecodeError::new(structure, 0, DecodeReason::Invalid(what)))
    }
}

/// A file of another length than the block's meta says is damage, found where the shorter of the two ends.
pub(super) fn check_length(path: &Path, found: u64, expected: u64) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => {
            let message = format!("the file has {found} bytes where the block's meta says {expected}");
            Err(Error::new(ErrorKind::Corrupt, message).at(path).at_offset(found.min(expected)))
        }
    }
}
