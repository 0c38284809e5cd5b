//! What a writer has to remember of each series until the last has come: records of varints, in memory while they are few, then in a
//! file beside the block's own.
//!
//! ```text
//!   append ─▶ tail ── full ─▶ file: │ record │ record │ …        a checksum runs along
//!   read   ◀─ file, window by window, then the tail               from the front, as often as needed
//! ```
//!
//! So a block of ten million series takes no more memory for them than one of a hundred thousand. The file is removed before the
//! block is finished, and goes with the block's directory otherwise. Records lie whole in the file or in the tail.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use crc32fast::Hasher;

use crate::env::{AppendFile, Fs, ReadFile};
use crate::error::{DecodeError, DecodeReason, Error, Result};
use crate::format::cursor::{MAX_VARINT_BYTES, Reader};

/// Bytes of records in memory.
pub(super) const TAIL_BYTES: usize = 8 << 20;
/// Bytes that are read at a time.
const WINDOW_BYTES: u64 = 262_144;

/// Records of varints.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    tail_bytes: usize,
    tail: Vec<u8>,
    file: Option<Arc<dyn AppendFile>>,
    spilled_bytes: u64,
    checksum: Hasher,
}

impl Spool {
    /// An empty one, whose file, should it need one, is `path`, and which keeps so many bytes in memory.
    pub(super) fn new(path: PathBuf, tail_bytes: usize) -> Spool {
        Spool { path, tail_bytes, tail: Vec::new(), file: None, spilled_bytes: 0, checksum: Hasher::new() }
    }

    /// What a record is appended to; [`spill`](Spool::spill) ends it.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Ends a record. Hands all of them to the file once they are many.
    pub(super) fn spill(&mut self, fs: &dyn Fs) -> Result<()> {
        if self.tail.len() < self.tail_bytes {
            return Ok(());
        }
        let file = match &self.file {
            Some(file) => file,
            None => {
                let made = fs.create(&self.path).map_err(|e| Error::io("create", &self.path, e))?;
                self.file.insert(made)
            }
        };
        file.append(&self.tail).map_err(|fault| Error::io("write", &self.path, fault.error))?;
        self.checksum.update(&self.tail);
        self.spilled_bytes += self.tail.len() as u64;
        self.tail.clear();
        Ok(())
    }

    /// Reads from the first record on.
    pub(super) fn reader(&self, fs: &dyn Fs) -> Result<SpoolReader<'_>> {
        let file = match self.file {
            Some(_) => Some(fs.open(&self.path).map_err(|e| Error::io("open", &self.path, e))?),
            None => None,
        };
        Ok(SpoolReader {
            spool: self,
            file,
            read_bytes: 0,
            checksum: Hasher::new(),
            window: Cow::Owned(Vec::new()),
            at: 0,
            is_last: false,
        })
    }

    /// Removes the file, if there is one.
    pub(super) fn remove(&mut self, fs: &dyn Fs) -> Result<()> {
        match self.file.take() {
            Some(_) => fs.remove_file(&self.path).map_err(|e| Error::io("remove", &self.path, e)),
            None => Ok(()),
        }
    }
}

/// Where in a [`Spool`] a reader is.
pub(super) struct SpoolReader<'a> {
    spool: &'a Spool,
    file: Option<Arc<dyn ReadFile>>,
    read_bytes: u64,
    checksum: Hasher,
    window: Cow<'a, [u8]>,
    at: usize,
    /// Whether the window is the tail.
    is_last: bool,
}

impl SpoolReader<'_> {
    /// The next number.
    pub(super) fn varint(&mut self) -> Result<u64> {
        if !self.is_last && self.window.len() - self.at < MAX_VARINT_BYTES {
            self.refill()?;
        }
        let mut r = Reader::new("block writer", self.window.get(self.at..).unwrap_or_default());
        let number = r.varint().map_err(|e| Error::corrupt("memory", 0, e))?;
        self.at += r.offset();
        Ok(number)
    }

    /// The next number, of 32 bits.
    pub(super) fn varint32(&mut self) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| self.damaged())
    }

    #[cold]
    fn refill(&mut self) -> Result<()> {
        let mut window = self.window.get(self.at..).unwrap_or_default().to_vec();
        let left = self.spool.spilled_bytes - self.read_bytes;
        if let (Some(file), true) = (&self.file, left > 0) {
            let kept = window.len();
            // At most a window.
            window.resize(kept + usize::try_from(left.min(WINDOW_BYTES)).unwrap_or(0), 0);
            let new = window.get_mut(kept..).unwrap_or_default();
            file.read_at(self.read_bytes, new).map_err(|e| Error::io("read", &self.spool.path, e))?;
            self.checksum.update(new);
            self.read_bytes += new.len() as u64;
            if self.read_bytes == self.spool.spilled_bytes {
                self.check()?;
            }
        } else if window.is_empty() {
            self.is_last = true;
            (self.window, self.at) = (Cow::Borrowed(self.spool.tail.as_slice()), 0);
            return Ok(());
        }
        (self.window, self.at) = (Cow::Owned(window), 0);
        Ok(())
    }

    /// What was read is what was written.
    fn check(&self) -> Result<()> {
        match self.checksum.clone().finalize() == self.spool.checksum.clone().finalize() {
            true => Ok(()),
            false => Err(self.damaged()),
        }
    }

    fn damaged(&self) -> Error {
        let what = DecodeReason::Invalid("what was written to this file is not what it holds");
        Error::corrupt(&self.spool.path, 0, DecodeError::new("block writer", 0, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::MemFs;
    use crate::error::ErrorKind;
    use crate::format::cursor::Write;

    fn filled(fs: &MemFs, tail_bytes: usize, numbers: &[u64]) -> Spool {
        let mut spool = Spool::new("/spool".into(), tail_bytes);
        for record in numbers.chunks(3) {
            record.iter().for_each(|n| spool.buffer().put_varint(*n));
            spool.spill(fs).unwrap();
        }
        spool
    }

    #[test]
    fn what_was_appended_is_read_as_often_as_asked_wherever_it_is() {
        let numbers: Vec<u64> = (0..200_000u64).map(|n| n.wrapping_mul(n) << (n % 50)).collect();
        for tail_bytes in [1, 100, 50_000, TAIL_BYTES] {
            let fs = MemFs::new();
            let mut spool = filled(&fs, tail_bytes, &numbers);
            assert_eq!(fs.paths().len(), usize::from(tail_bytes < TAIL_BYTES));
            for _ in 0..2 {
                let mut reader = spool.reader(&fs).unwrap();
                assert!(numbers.iter().all(|n| reader.varint().unwrap() == *n));
                assert!(reader.varint().is_err(), "there is no more");
            }
            spool.remove(&fs).unwrap();
            assert!(fs.paths().is_empty());
        }
    }

    #[test]
    fn a_file_that_changed_is_noticed() {
        let fs = MemFs::new();
        let spool = filled(&fs, 1_000, &(0..5_000).collect::<Vec<_>>());
        let mut bytes = fs.read("/spool").unwrap();
        bytes[700] ^= 1;
        fs.write("/spool", &bytes).unwrap();
        let mut reader = spool.reader(&fs).unwrap();
        let error = (0..5_000).find_map(|_| reader.varint().err()).unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("/spool"), "{error}");
    }
}
