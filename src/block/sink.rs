//! A file that is written from front to back through a buffer, and knows its next offset.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{AppendFile, Fs};
use crate::error::{Error, Result};

/// Bytes gathered before they go to the file.
const BUFFER_BYTES: usize = 262_144;

/// A file being written.
#[derive(Debug)]
pub(super) struct Sink {
    file: Arc<dyn AppendFile>,
    path: PathBuf,
    buffer: Vec<u8>,
    written: u64,
}

impl Sink {
    /// Creates the file, which must not exist.
    pub(super) fn create(fs: &dyn Fs, path: PathBuf) -> Result<Sink> {
        let file = fs.create(&path).map_err(|e| Error::io("create", &path, e))?;
        Ok(Sink { file, path, buffer: Vec::new(), written: 0 })
    }

    /// Where the next byte will stand.
    pub(super) fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// What encoders append to; call [`spill`](Sink::spill) after each unit.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Hands the buffer to the file once it is large.
    pub(super) fn spill(&mut self) -> Result<()> {
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Writes out what is left and makes the file durable; answers its length.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.flush()?;
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))?;
        Ok(self.written)
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let appended = self.file.append(&self.buffer);
        appended.map_err(|fault| Error::io("write", &self.path, fault.error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
