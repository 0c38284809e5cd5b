//! A spill run as a file: written once from start to end, read back as often as there are passes.
//!
//! The bytes are `format::spill_run`. A run's file is removed when its [`Run`] is dropped, and that
//! of a run half written with its [`RunWriter`]: whatever becomes of a load, its runs go with it.
//! What a crash leaves behind is removed when the database is opened. Runs are not synced.
//!
//! Reading trusts nothing: lengths, checksums, labels, the order of series and of times, and the
//! counts at the end are checked, and what differs is an error that names file and offset.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::merge::{Coded, Input, Piece, RowSink};
use super::times::SharedTimes;
use crate::env::{AppendFile, Fs, ReadFile};
use crate::error::{DecodeError, DecodeReason, Error, Result};
use crate::format::spill_run::{
    Decoded, ENTRIES_OFFSET, End, HEADER_BYTES, MAX_COLUMN_BYTES, MAX_ENTRY_ROWS, STRUCTURE, Unit,
    UnitBuilder, decode_entry, decode_header, decode_unit, encode_end, encode_header, unit_bytes,
};
use crate::model::{Columns, Labels, TimeRange};

/// Removes its file when dropped; a failure to do so is left to the next open.
struct SpillFile {
    fs: Arc<dyn Fs>,
    path: PathBuf,
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next open, which empties the directory.
        let _ = self.fs.remove_file(&self.path);
    }
}

impl fmt::Debug for SpillFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpillFile({})", self.path.display())
    }
}

/// A run on disk.
#[derive(Debug)]
pub(super) struct Run {
    file: SpillFile,
    end: End,
    bytes: u64,
}

impl Run {
    /// The length of its file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it has a row that might be in `range`.
    pub(super) fn overlaps(&self, range: TimeRange) -> bool {
        TimeRange::inclusive(self.end.min_t, self.end.max_t).overlaps(range)
    }

    /// Opens it for reading from the start; columns of timestamps are shared.
    pub(super) fn read(&self, times: &SharedTimes) -> Result<RunReader> {
        RunReader::open(&*self.file.fs, &self.file.path, self.end, times.clone())
    }
}

/// Writes a run.
#[derive(Debug)]
pub(super) struct RunWriter {
    spill: SpillFile,
    file: Arc<dyn AppendFile>,
    salt: u32,
    unit_target_bytes: usize,
    unit: UnitBuilder,
    out: Vec<u8>,
    offset: u64,
    labels: Option<Labels>,
    open: Columns,
    end: End,
}

impl RunWriter {
    /// Creates the file `<dir>/<n>`, or the next number that is free (`number` moves past it), and
    /// closes units at `unit_target_bytes`.
    pub(super) fn create(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        number: &mut u64,
        unit_target_bytes: usize,
    ) -> Result<RunWriter> {
        loop {
            let path = dir.join(number.to_string());
            // The number differs between the runs of a directory; nothing more is asked of a salt.
            let salt = u32::try_from(*number & 0xffff_ffff).unwrap_or_default() ^ 0x7370_696c;
            *number += 1;
            match fs.create(&path) {
                Ok(file) => {
                    let spill = SpillFile { fs: Arc::clone(fs), path };
                    return RunWriter::start(spill, file, salt, unit_target_bytes);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("create a spill run", path, e)),
            }
        }
    }

    fn start(spill: SpillFile, file: Arc<dyn AppendFile>, salt: u32, target: usize) -> Result<RunWriter> {
        let mut writer = RunWriter {
            spill,
            file,
            salt,
            unit_target_bytes: target,
            unit: UnitBuilder::default(),
            out: Vec::new(),
            offset: 0,
            labels: None,
            open: Columns::default(),
            end: End::default(),
        };
        encode_header(salt, &mut writer.out);
        writer.write_out()?;
        Ok(writer)
    }

    /// Writes the rest and the end.
    pub(super) fn finish(mut self) -> Result<Run> {
        self.close_unit()?;
        encode_end(&self.end, self.salt, self.offset, &mut self.out);
        self.write_out()?;
        Ok(Run { file: self.spill, end: self.end, bytes: self.offset })
    }

    fn entry(&mut self, t: &[i64], v: &[f64]) -> Result<()> {
        let Some(labels) = &self.labels else { return Ok(()) };
        self.unit.push(labels.as_bytes(), t, v);
        self.count(t)
    }

    fn count(&mut self, t: &[i64]) -> Result<()> {
        self.end.count(t);
        match self.unit.body_bytes() >= self.unit_target_bytes {
            true => self.close_unit(),
            false => Ok(()),
        }
    }

    fn close_open(&mut self) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let open = std::mem::take(&mut self.open);
        self.entry(&open.t, &open.v)?;
        self.open = open;
        self.open.clear();
        Ok(())
    }

    fn close_unit(&mut self) -> Result<()> {
        if self.unit.body_bytes() == 0 {
            return Ok(());
        }
        self.unit.finish(self.salt, self.offset, &mut self.out);
        self.write_out()
    }

    fn write_out(&mut self) -> Result<()> {
        let written = self.file.append(&self.out);
        written.map_err(|fault| Error::io("write a spill run", &self.spill.path, fault.error))?;
        self.offset += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }
}

impl RowSink for RunWriter {
    fn begin(&mut self, labels: &Labels) -> Result<()> {
        self.labels = Some(labels.clone());
        Ok(())
    }

    fn rows(&mut self, mut t: &[i64], mut v: &[f64]) -> Result<()> {
        // Whole entries pass as they are; what is shorter is collected, so that merging
        // interleaved runs does not make an entry of each row.
        while !t.is_empty() {
            let n = (MAX_ENTRY_ROWS - self.open.len()).min(t.len());
            let (Some((t_now, t_rest)), Some((v_now, v_rest))) =
                (t.split_at_checked(n), v.split_at_checked(n))
            else {
                return Ok(());
            };
            (t, v) = (t_rest, v_rest);
            if n == MAX_ENTRY_ROWS {
                self.entry(t_now, v_now)?;
                continue;
            }
            self.open.t.extend_from_slice(t_now);
            self.open.v.extend_from_slice(v_now);
            if self.open.len() == MAX_ENTRY_ROWS {
                self.close_open()?;
            }
        }
        Ok(())
    }

    fn coded(&mut self, coded: Coded) -> Result<()> {
        self.close_open()?;
        let Some(labels) = &self.labels else { return Ok(()) };
        if coded.t.len() > MAX_ENTRY_ROWS || coded.values.len() > MAX_COLUMN_BYTES {
            let rows = coded.decode()?;
            return self.rows(&rows.t, &rows.v);
        }
        self.unit.push_column(labels.as_bytes(), &coded.t, &coded.values);
        self.count(&coded.t)
    }

    fn end(&mut self) -> Result<()> {
        self.close_open()
    }

    fn memory_bytes(&self) -> usize {
        self.unit.memory_bytes() + self.out.capacity() + 16 * self.open.t.capacity()
    }
}

/// Reads a run from start to end, one unit in memory at a time.
#[derive(Debug)]
pub(super) struct RunReader {
    file: Arc<dyn ReadFile>,
    path: PathBuf,
    salt: u32,
    /// Where `unit` stands in the file; before the first unit, where the header ends.
    offset: u64,
    unit: Vec<u8>,
    /// The next entry within the entries of `unit`.
    at: usize,
    /// The canonical labels of the entry before in the unit.
    labels: Vec<u8>,
    /// Labels and last timestamp of the entry before in the run.
    last: Option<(Labels, i64)>,
    counted: End,
    expected: End,
    times: SharedTimes,
    done: bool,
}

impl RunReader {
    fn open(fs: &dyn Fs, path: &Path, expected: End, times: SharedTimes) -> Result<RunReader> {
        let file = fs.open(path).map_err(|e| Error::io("open a spill run", path, e))?;
        let mut reader = RunReader {
            file,
            path: path.to_owned(),
            salt: 0,
            offset: 0,
            unit: Vec::new(),
            at: 0,
            labels: Vec::new(),
            last: None,
            counted: End::default(),
            expected,
            times,
            done: false,
        };
        reader.read(HEADER_BYTES)?;
        reader.salt = decode_header(&reader.unit).map_err(|e| Error::corrupt(path, 0, e))?;
        reader.next_offset();
        Ok(reader)
    }

    /// Replaces `unit` by the `n` bytes at its offset.
    fn read(&mut self, n: usize) -> Result<()> {
        if self.file.bytes().saturating_sub(self.offset) < n as u64 {
            return Err(self.corrupt(0, DecodeReason::Truncated));
        }
        self.unit.resize(n, 0);
        let read = self.file.read_at(self.offset, &mut self.unit);
        read.map_err(|e| Error::io("read a spill run", &self.path, e))
    }

    fn next_offset(&mut self) {
        self.offset += self.unit.len() as u64;
        self.unit.clear();
    }

    fn corrupt(&self, within: u64, reason: DecodeReason) -> Error {
        Error::corrupt(&self.path, self.offset, DecodeError::new(STRUCTURE, within, reason))
    }

    /// Reads and verifies the next unit; false if it is the end.
    fn next_unit(&mut self) -> Result<bool> {
        self.next_offset();
        self.read(4)?;
        let first = self.unit.first_chunk::<4>().copied().unwrap_or_default();
        let bytes = unit_bytes(first).map_err(|e| Error::corrupt(&self.path, self.offset, e))?;
        self.read(bytes)?;
        self.at = 0;
        self.labels.clear();
        let unit = decode_unit(self.salt, self.offset, &self.unit);
        match unit.map_err(|e| Error::corrupt(&self.path, self.offset, e))? {
            Unit::Entries(_) => Ok(true),
            Unit::End(end) if end != self.counted || end != self.expected => {
                Err(self.corrupt(0, DecodeReason::Invalid("counts that differ from those of the run")))
            }
            Unit::End(_) if self.offset + self.unit.len() as u64 != self.file.bytes() => {
                Err(self.corrupt(self.unit.len() as u64, DecodeReason::TrailingBytes))
            }
            Unit::End(_) => Ok(false),
        }
    }

    /// The entries of the verified unit.
    fn entries(&self) -> &[u8] {
        let body_end = self.unit.len().saturating_sub(4);
        self.unit.get(5..body_end).unwrap_or_default()
    }

    /// Checks that the entry just decoded may follow the one before.
    fn check(&mut self, piece: &mut Piece) -> Result<()> {
        let (first, last) = (piece.rows.t.first().copied(), piece.rows.t.last().copied());
        let (Some(first), Some(last)) = (first, last) else {
            return Err(self.corrupt(ENTRIES_OFFSET, DecodeReason::Invalid("an entry without rows")));
        };
        if let Some((labels, last_t)) = self.last.as_mut().filter(|l| l.0.as_bytes() == self.labels) {
            if first < *last_t {
                return Err(self.corrupt(ENTRIES_OFFSET, DecodeReason::Invalid("a series out of time order")));
            }
            *last_t = last;
            piece.labels = Some(labels.clone());
            return Ok(());
        }
        let Some(labels) = Labels::from_canonical(&self.labels) else {
            return Err(self.corrupt(ENTRIES_OFFSET, DecodeReason::Invalid("labels that are not canonical")));
        };
        if self.last.as_ref().is_some_and(|l| l.0 > labels) {
            return Err(self.corrupt(ENTRIES_OFFSET, DecodeReason::Invalid("series out of label order")));
        }
        piece.labels = Some(labels.clone());
        self.last = Some((labels, last));
        Ok(())
    }
}

impl Input for RunReader {
    fn next(&mut self, piece: &mut Piece) -> Result<bool> {
        piece.rows.clear();
        piece.coded = None;
        if self.done {
            return Ok(false);
        }
        if self.at >= self.entries().len() && !self.next_unit()? {
            self.done = true;
            self.unit = Vec::new();
            return Ok(false);
        }
        let mut labels = std::mem::take(&mut self.labels);
        let decoded = decode_entry(self.entries(), self.at, &mut labels, &mut piece.rows);
        self.labels = labels;
        let within = self.offset + ENTRIES_OFFSET;
        let Decoded { next, column } = decoded.map_err(|e| Error::corrupt(&self.path, within, e))?;
        self.at = next;
        self.counted.count(&piece.rows.t);
        self.check(piece)?;
        let column = column.and_then(|column| self.entries().get(column)).map(<[u8]>::to_vec);
        if let (Some(values), Some(&last_v)) = (column, piece.rows.v.last()) {
            piece.coded = Some(Coded { t: self.times.column(&piece.rows.t), values, last_v });
            piece.rows.clear();
        }
        Ok(true)
    }

    fn memory_bytes(&self) -> usize {
        let last = self.last.as_ref().map_or(0, |l| l.0.as_bytes().len());
        self.unit.capacity() + self.labels.capacity() + last
    }
}
