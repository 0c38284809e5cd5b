//! Parts that the benches measure alone: the codec of chunks, the log, set algebra over postings.
//!
//! What is measured works in memory, so that a count of instructions is of the engine and not of the system.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{Fs, MemFs};
use crate::error::{Error, Result};
use crate::format::columns::values;
use crate::format::gorilla;
use crate::model::{Cancel, Columns, Labels, Lsn, Metadata, Selector};
use crate::postings::{self, MemIndex};
use crate::wal::{self, Visitor, Wal, WalOptions, WalSample};

/// Where the log lies in its filesystem.
const LOG: &str = "/wal";

/// The payload of a chunk of these rows, appended one by one.
pub fn chunk_append(t: &[i64], v: &[f64]) -> Vec<u8> {
    gorilla::encode(t, v)
}

/// Appends the rows of a payload to `out`. Whether they could be read.
pub fn chunk_decode(payload: &[u8], out: &mut Columns) -> bool {
    gorilla::decode_into(payload, out).is_ok()
}

/// The column of these values, as merges write it.
pub fn values_encode(v: &[f64]) -> Vec<u8> {
    values::encode(v)
}

/// Appends the values of a column of so many rows to `out`. Whether they could be read.
pub fn values_decode(column: &[u8], rows: usize, out: &mut Vec<f64>) -> bool {
    values::decode(column, rows, 0..rows, out).is_ok()
}

/// A log in memory, of commits with a sample of each series.
#[derive(Debug)]
pub struct Log {
    fs: MemFs,
    wal: Wal,
    labels: Vec<Labels>,
    lsn: Lsn,
    staged: Vec<WalSample>,
}

impl Log {
    /// An empty log of series with these labels.
    ///
    /// # Errors
    /// None that memory gives.
    pub fn new(labels: Vec<Labels>) -> Result<Log> {
        let fs = MemFs::new();
        let dir = Path::new(LOG);
        fs.create_dir(dir).map_err(|e| Error::io("make the directory", dir, e))?;
        let wal = Wal::create(
            Arc::new(fs.clone()),
            PathBuf::from(LOG),
            &Default::default(),
            WalOptions::default(),
        )?;
        Ok(Log { fs, wal, labels, lsn: Lsn(0), staged: Vec::new() })
    }

    /// What the next commit writes: each series, in order, with its value at this time.
    pub fn stage(&mut self, t: i64, v: &[f64]) {
        self.staged.clear();
        self.staged.extend((0..).zip(v).map(|(series, &v)| WalSample { series, t, v }));
    }

    /// Writes what is staged as one record.
    ///
    /// # Errors
    /// None that memory gives.
    pub fn commit(&mut self) -> Result<()> {
        self.lsn = Lsn(self.lsn.0 + 1);
        let labels = &self.labels;
        self.wal.commit(self.lsn, &self.staged, &|series: u32| labels.get(series as usize).cloned())
    }

    /// Reads all of it back: how many samples there are.
    ///
    /// # Errors
    /// None that memory gives.
    pub fn replay(&self) -> Result<u64> {
        let mut count = Count::default();
        wal::replay(&self.fs, Path::new(LOG), &mut count, &Cancel::default())?;
        Ok(count.samples)
    }
}

/// Counts what a replay tells.
#[derive(Default)]
struct Count {
    series: u32,
    samples: u64,
}

impl Visitor for Count {
    fn series(&mut self, _: Labels) -> Result<u32> {
        self.series += 1;
        Ok(self.series - 1)
    }

    fn commit(&mut self, _: Lsn, samples: &[WalSample]) -> Result<()> {
        self.samples += samples.len() as u64;
        Ok(())
    }

    fn metadata(&mut self, _: Lsn, _: &str, _: Metadata) -> Result<()> {
        Ok(())
    }
}

/// An index of label pairs in memory.
#[derive(Debug, Default)]
pub struct Postings(MemIndex);

impl Postings {
    /// Of series with these labels.
    pub fn new(labels: impl IntoIterator<Item = Labels>) -> Postings {
        let mut index = MemIndex::default();
        for (id, labels) in (0..).zip(labels) {
            index.insert(id, &labels);
        }
        Postings(index)
    }

    /// How many series fulfil all matchers.
    ///
    /// # Errors
    /// None that memory gives.
    pub fn select(&self, selector: &Selector) -> Result<u64> {
        Ok(postings::select(&self.0, selector.matchers(), &Cancel::default())?.len())
    }
}
