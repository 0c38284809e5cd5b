//! The writer: appends records, ends segments, removes them.
//!
//! ```text
//!   active: None ──first record──▶ create, header, sync, sync dir, restated metadata, sync ──▶ Some
//!   active: Some ──rotate, size, a failed append──▶ sync, sealed ──▶ None
//! ```
//!
//! A segment is made when a record needs it, so that opening a full disk, or opening and closing,
//! writes nothing. Space is reserved before a record is written: if there is none, nothing happened and
//! the segment goes on. A failed append ends the segment, since its file may hold a part of a record.
//! A failed sync ends everything: bytes that were written may be gone, and only a replay can tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::encoder::SegmentEncoder;
use super::segment::{self, ReplayEnd, SegmentInfo};
use super::{LabelsOf, WalOptions, WalSample};
use crate::env::{AppendFile, Fs};
use crate::error::{Applied, Error, ErrorKind, Result};
use crate::format::wal_commit::MAX_ROWS;
use crate::format::wal_metadata;
use crate::format::wal_record::{MAX_PAYLOAD_BYTES, Record, RecordKind};
use crate::format::wal_segment::{PrevEnd, SegmentHeader};
use crate::model::{Lsn, Metadata, TimeRange};
use crate::sync::AtomicBool;

/// A sync is due once so much of a segment's size was written.
const SYNCS_OF_A_SEGMENT: u64 = 16;
/// Restated metadata is cut into records of about this size.
const RESTATED_BYTES: usize = 1 << 20;

/// The writer of the log. One for each log; its methods are called under the commit lock.
#[derive(Debug)]
pub(crate) struct Wal {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: WalOptions,
    encoder: SegmentEncoder,
    active: Option<Active>,
    sealed: Vec<SegmentInfo>,
    /// To be removed, once all older ones are.
    leaving: Vec<SegmentInfo>,
    /// The highest sequence used.
    sequence: u64,
    /// The end of the log before the active segment.
    previous: PrevEnd,
    written: Lsn,
    synced: Lsn,
    families: BTreeMap<String, Metadata>,
    broken: Arc<AtomicBool>,
    payload: Vec<u8>,
    frame: Vec<u8>,
}

/// An open file, and its name for errors.
#[derive(Debug)]
struct Target {
    file: Arc<dyn AppendFile>,
    path: PathBuf,
}

/// The segment that takes records.
#[derive(Debug)]
struct Active {
    target: Arc<Target>,
    info: SegmentInfo,
    salt: u32,
    /// Where the last good record ends.
    end: u64,
    /// Where it ended when a sync was last asked for.
    asked: u64,
    /// Whether the bytes behind `end` are damaged, so that nothing may be written any more.
    ended: bool,
}

/// Removes the file of a segment, durably. One that is not there is gone.
///
/// # Errors
/// If the system refuses: the segment is still one of those that leave, and to be tried again.
pub(crate) fn unlink(fs: &dyn Fs, path: &Path) -> Result<()> {
    match fs.remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove the segment", path, e));
        }
        _ => {}
    }
    let dir = path.parent().unwrap_or(path);
    fs.sync_dir(dir).map_err(|e| Error::io("sync the directory", dir, e))
}

/// Makes durable what was written when it was taken, without the commit lock.
#[derive(Clone, Debug)]
pub(crate) struct SyncPoint {
    target: Option<Arc<Target>>,
    lsn: Lsn,
    broken: Arc<AtomicBool>,
}

impl SyncPoint {
    /// The LSN up to which [`sync`](SyncPoint::sync) makes the log durable.
    pub(crate) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Syncs the segment that was active; older ones are durable. A failure is final: the writer takes
    /// nothing any more, and every later sync fails.
    pub(crate) fn sync(&self) -> Result<()> {
        check_usable(&self.broken)?;
        if let Some(target) = &self.target {
            target.sync(&self.broken)?;
            // Somebody else's failure may have taken our bytes with it.
            check_usable(&self.broken).map_err(|e| e.with_applied(Applied::Unknown))?;
        }
        Ok(())
    }
}

fn check_usable(broken: &AtomicBool) -> Result<()> {
    match broken.load(Ordering::Acquire) {
        false => Ok(()),
        true => {
            let what = "an earlier sync of the write-ahead log failed; reopen the database to write again";
            Err(Error::new(ErrorKind::Poisoned, what))
        }
    }
}

impl Target {
    /// Makes durable what was written; a failure is final.
    fn sync(&self, broken: &AtomicBool) -> Result<()> {
        self.file.sync().map_err(|e| {
            broken.store(true, Ordering::Release);
            Error::io("sync the write-ahead log", &self.path, e).with_applied(Applied::Unknown)
        })
    }
}

impl Wal {
    /// Goes on after what a replay found. Makes its end durable first, since later records rely on
    /// it; deletes and truncates nothing. The first record begins a new segment.
    ///
    /// A sync alone would not do: if one of an earlier handle has failed, the end may be in the cache only, and every later sync
    /// succeeds without writing it. So what is not known to be durable is written again, as it is.
    ///
    /// # Errors
    /// If that sync fails.
    pub(crate) fn create(
        fs: Arc<dyn Fs>,
        dir: PathBuf,
        after: &ReplayEnd,
        options: WalOptions,
    ) -> Result<Wal> {
        // Even if it was closed: the closing record itself may not be durable yet.
        if after.previous.sequence > 0 {
            let path = segment::path(&dir, after.previous.sequence);
            fs.renew(&path, after.durable_bytes..after.previous.bytes)
                .map_err(|e| Error::io("make the end of the write-ahead log durable", path, e))?;
            fs.sync_dir(&dir).map_err(|e| Error::io("sync the directory", &dir, e))?;
        }
        Ok(Wal {
            fs,
            dir,
            options,
            encoder: SegmentEncoder::new(),
            active: None,
            sealed: after.segments.clone(),
            leaving: Vec::new(),
            sequence: after.sequence,
            previous: after.previous,
            written: after.written.max(after.previous.lsn),
            synced: after.previous.lsn,
            families: after.families.clone(),
            broken: Arc::default(),
            payload: Vec::new(),
            frame: Vec::new(),
        })
    }

    /// Writes one commit as one atomic record. `lsn` must be above [`written`](Wal::written).
    ///
    /// # Errors
    /// Nothing of the commit will ever be replayed, unless `applied()` says that this is unknown.
    /// `NoSpace` passes: free space and try again. If [`is_poisoned`](Wal::is_poisoned), nothing passes any more.
    pub(crate) fn commit(&mut self, lsn: Lsn, samples: &[WalSample], labels: &dyn LabelsOf) -> Result<()> {
        if samples.len() > MAX_ROWS {
            return Err(Error::new(ErrorKind::Ceiling, "a commit of more than 4,194,304 samples"));
        }
        self.ready(lsn)?;
        self.payload.clear();
        let written = match self.encoder.encode(samples, labels, &mut self.payload) {
            Ok(()) => self.write(RecordKind::Commit, lsn),
            Err(e) => Err(e),
        };
        if let Err(e) = written {
            self.encoder.roll_back();
            return Err(e);
        }
        self.written = lsn;
        if let Some(active) = &mut self.active {
            active.info.range = active.info.range.hull(super::hull(samples));
        }
        Ok(())
    }

    /// Writes metadata as one atomic record, and restates it in later segments.
    ///
    /// # Errors
    /// As [`commit`](Wal::commit); `Ceiling` also for names, units and help texts above their maxima.
    pub(crate) fn metadata(&mut self, lsn: Lsn, families: &[(&str, &Metadata)]) -> Result<()> {
        let fit = families.iter().all(|(family, metadata)| wal_metadata::fits(family, metadata));
        if !fit || families.len() > wal_metadata::MAX_FAMILIES {
            return Err(Error::new(ErrorKind::Ceiling, "metadata is empty or too large"));
        }
        self.ready(lsn)?;
        self.payload.clear();
        wal_metadata::encode(families, &mut self.payload);
        self.write(RecordKind::Metadata, lsn)?;
        self.written = lsn;
        for (family, metadata) in families {
            self.families.insert((*family).to_owned(), (*metadata).clone());
        }
        Ok(())
    }

    /// The slot will hold another series: its labels are written again at its next use.
    pub(crate) fn forget(&mut self, series: u32) {
        self.encoder.forget(series);
    }

    /// The number will be another label pair's (see [`LabelsOf`]).
    pub(crate) fn forget_pair(&mut self, pair: u32) {
        self.encoder.forget_pair(pair);
    }

    /// No record still in the log, but for restated metadata, has a smaller LSN; what comes next if it has none.
    pub(crate) fn oldest(&self) -> Lsn {
        let segments = self.sealed.iter().chain(&self.leaving).chain(self.active.as_ref().map(|a| &a.info));
        segments.map(|s| s.first_lsn).min().unwrap_or(self.written.next())
    }

    /// The first segment that is still there, or the one that comes next if none is.
    pub(crate) fn oldest_segment(&self) -> u64 {
        let segments = self.sealed.iter().chain(&self.leaving).chain(self.active.as_ref().map(|a| &a.info));
        segments.map(|s| s.sequence).min().unwrap_or(self.sequence + 1)
    }

    /// The last LSN written (or met by the replay).
    #[cfg(test)]
    pub(crate) fn written(&self) -> Lsn {
        self.written
    }

    /// A handle that syncs what is written so far, without the commit lock.
    pub(crate) fn sync_point(&self) -> SyncPoint {
        let target = self.active.as_ref().map(|a| Arc::clone(&a.target));
        SyncPoint { target, lsn: self.written, broken: Arc::clone(&self.broken) }
    }

    /// A sync point was synced: later records say so. `lsn` is that of the sync point.
    pub(crate) fn note_synced(&mut self, lsn: Lsn) {
        self.synced = self.synced.max(lsn.min(self.last()));
    }

    /// Whether so much was written since this last said so that a sync is due: the one at the segment's end, under the commit
    /// lock, should find little to do.
    pub(crate) fn wants_sync(&mut self) -> bool {
        let most = self.options.segment_bytes / SYNCS_OF_A_SEGMENT;
        match &mut self.active {
            Some(active) if active.end - active.asked > most => {
                active.asked = active.end;
                true
            }
            _ => false,
        }
    }

    /// Whether the active segment may be ended without waste.
    pub(crate) fn is_nearly_full(&self) -> bool {
        let slack = self.options.segment_bytes / SYNCS_OF_A_SEGMENT * 2;
        self.active.as_ref().is_some_and(|a| a.end + slack >= self.options.segment_bytes)
    }

    /// Whether a sync failed: nothing is taken any more until the log is replayed.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Syncs and seals the active segment, if there is one; the next record begins another.
    pub(crate) fn rotate(&mut self) -> Result<()> {
        check_usable(&self.broken)?;
        let Some(active) = &self.active else {
            return Ok(());
        };
        active.target.sync(&self.broken)?;
        self.seal();
        Ok(())
    }

    /// The segments that take no more records, oldest first, without those that were removed.
    pub(crate) fn segments(&self) -> &[SegmentInfo] {
        &self.sealed
    }

    /// The paths of all segments on disk that take no more records, oldest first: those too that are to be removed
    /// once older ones are. A copy of the log without them would have a hole.
    pub(crate) fn sealed_paths(&self) -> Vec<PathBuf> {
        let mut all: Vec<&SegmentInfo> = self.sealed.iter().chain(&self.leaving).collect();
        all.sort_by_key(|s| s.sequence);
        all.iter().map(|s| s.path.clone()).collect()
    }

    /// A sealed segment is to be removed, once all older ones are, so that no hole is left: see
    /// [`leaves_next`](Wal::leaves_next). The newest stays on the list while there is no room for another one to restate its
    /// metadata.
    ///
    /// # Errors
    /// `InvalidArgument` if it is not sealed.
    pub(crate) fn leave(&mut self, sequence: u64) -> Result<()> {
        let Some(place) = self.sealed.iter().position(|s| s.sequence == sequence) else {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "no sealed segment of the log has this number",
            ));
        };
        // The metadata in it may stand nowhere else. On a full disk the newest segment, which says what older ones do,
        // stays until another says it.
        let is_newest = self.sealed.last().is_some_and(|last| last.sequence == sequence);
        if self.active.is_none() && !self.families.is_empty() && !self.is_poisoned() {
            let started = self.start(self.written.next());
            if started.is_err() && is_newest {
                return Ok(());
            }
        }
        let leaving = self.sealed.remove(place);
        let at = self.leaving.partition_point(|s| s.sequence < sequence);
        self.leaving.insert(at, leaving);
        Ok(())
    }

    /// The file of the segment that may be [unlinked](unlink) now, if there is one: no older one is there. It may be gone
    /// already, moved to quarantine.
    pub(crate) fn leaves_next(&self) -> Option<PathBuf> {
        let first = self.leaving.first()?;
        let is_oldest = self.sealed.first().is_none_or(|kept| kept.sequence > first.sequence);
        is_oldest.then(|| first.path.clone())
    }

    /// That file is gone.
    pub(crate) fn left(&mut self, path: &Path) {
        self.leaving.retain(|s| s.path != path);
    }

    /// A sealed segment leaves, and with it all that may.
    #[cfg(test)]
    pub(crate) fn remove_segment(&mut self, sequence: u64) -> Result<()> {
        self.leave(sequence)?;
        while let Some(path) = self.leaves_next() {
            unlink(&*self.fs, &path)?;
            self.left(&path);
        }
        Ok(())
    }

    /// Disk space that the log takes, reserved space included.
    pub(crate) fn bytes(&self) -> u64 {
        let active = self.active.as_ref().map(|a| &a.info);
        self.sealed.iter().chain(&self.leaving).chain(active).map(|s| s.bytes).sum()
    }

    /// Makes everything durable, says so in the log, and seals the segment.
    ///
    /// # Errors
    /// If a sync fails. No space for the closing record is no error.
    pub(crate) fn close(&mut self) -> Result<()> {
        check_usable(&self.broken)?;
        if let Some(active) = self.active.as_ref().filter(|a| !a.ended) {
            active.target.sync(&self.broken)?;
            self.synced = self.last();
            self.payload.clear();
            let _ = self.write(RecordKind::Close, self.last());
        }
        self.rotate()
    }

    /// The last LSN in the log.
    fn last(&self) -> Lsn {
        self.active.as_ref().map_or(self.previous.lsn, |a| a.info.last_lsn)
    }

    /// Checks `lsn`, and makes sure that there is a segment that takes a record of it.
    fn ready(&mut self, lsn: Lsn) -> Result<()> {
        check_usable(&self.broken)?;
        if lsn <= self.written {
            return Err(Error::new(ErrorKind::InvalidArgument, "the LSN was used before"));
        }
        if self.active.as_ref().is_some_and(|a| a.ended || a.end >= self.options.segment_bytes) {
            self.rotate()?;
        }
        match self.active {
            Some(_) => Ok(()),
            None => self.start(lsn),
        }
    }

    /// Makes a segment whose first new record has `first_lsn` (or a later one). If that fails, the file
    /// is given up: the next attempt takes another sequence.
    fn start(&mut self, first_lsn: Lsn) -> Result<()> {
        let Some(sequence) = self.sequence.checked_add(1) else {
            return Err(Error::new(ErrorKind::Ceiling, "no number is left for a segment of the log"));
        };
        let path = segment::path(&self.dir, sequence);
        let file = self.fs.create(&path).map_err(|e| Error::io("create the segment", &path, e))?;
        self.sequence = sequence;
        let header = SegmentHeader { sequence, first_lsn, previous: self.previous };
        let info = SegmentInfo {
            sequence,
            path,
            bytes: 0,
            range: TimeRange::new(0, 0),
            first_lsn,
            last_lsn: self.previous.lsn,
            damaged: false,
        };
        self.encoder.begin_segment();
        let target = Arc::new(Target { file, path: info.path.clone() });
        self.active = Some(Active { target, info, salt: header.salt(), end: 0, asked: 0, ended: false });
        self.begin(&header).inspect_err(|_| {
            // Without a record in it, it is as good as gone; this keeps a full disk tidy. If it stays, it
            // leaves with the others, so that no hole is left behind it.
            if let Some(Active { info, .. }) = self.active.take()
                && self.fs.remove_file(&info.path).is_err()
            {
                self.leaving.push(info);
            }
        })
    }

    /// Header, then restated metadata, each durable before anything follows it.
    fn begin(&mut self, header: &SegmentHeader) -> Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        active.append(&header.encode(), self.options.allocate_bytes)?;
        let synced = active.target.file.sync();
        synced.map_err(|e| Error::io("sync the new segment", &active.info.path, e))?;
        self.fs.sync_dir(&self.dir).map_err(|e| Error::io("sync the directory", &self.dir, e))?;
        if self.families.is_empty() {
            return Ok(());
        }
        self.restate()?;
        match &self.active {
            Some(active) => {
                active.target.file.sync().map_err(|e| Error::io("sync the new segment", &active.info.path, e))
            }
            None => Ok(()),
        }
    }

    fn restate(&mut self) -> Result<()> {
        let families = std::mem::take(&mut self.families);
        let mut rest: Vec<(&str, &Metadata)> = families.iter().map(|(f, m)| (f.as_str(), m)).collect();
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            let mut bytes = 0;
            let fits = |(family, metadata): &&(&str, &Metadata)| {
                bytes += family.len() + metadata.unit.len() + metadata.help.len();
                bytes <= RESTATED_BYTES
            };
            let count = rest.iter().take(wal_metadata::MAX_FAMILIES).take_while(fits).count().max(1);
            let later = rest.split_off(count);
            self.payload.clear();
            wal_metadata::encode(&rest, &mut self.payload);
            result = self.write(RecordKind::Restated, self.previous.lsn);
            rest = later;
        }
        self.families = families;
        result
    }

    /// Frames the payload and appends it to the active segment.
    fn write(&mut self, kind: RecordKind, lsn: Lsn) -> Result<()> {
        if self.payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Error::new(ErrorKind::Ceiling, "a commit that takes more than 64 MiB in the log"));
        }
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        self.frame.clear();
        Record { kind, lsn, synced_lsn: self.synced.min(lsn), payload: &self.payload }
            .encode(active.salt, &mut self.frame);
        let done = active.append(&self.frame, self.options.allocate_bytes);
        match &done {
            Ok(()) => active.info.last_lsn = lsn,
            // All of it went in, and yet it failed: what a replay would find is anybody's guess.
            Err(e) if e.applied() == Applied::Unknown => self.broken.store(true, Ordering::Release),
            Err(_) => {}
        }
        done
    }

    /// The active segment, which was synced, takes no more records.
    fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            let Active { info, end, .. } = active;
            self.previous = PrevEnd { sequence: info.sequence, bytes: end, lsn: info.last_lsn };
            self.synced = self.synced.max(info.last_lsn);
            self.sealed.push(info);
        }
    }
}

impl Active {
    /// Reserves space, then appends.
    fn append(&mut self, bytes: &[u8], step: u64) -> Result<()> {
        let upto = self.end + bytes.len() as u64;
        if upto > self.info.bytes {
            self.reserve(upto, step)?;
        }
        if let Err(fault) = self.target.file.append(bytes) {
            self.ended = true;
            let whole = fault.written >= bytes.len();
            let applied = if whole { Applied::Unknown } else { Applied::No };
            let error = Error::io("write to the segment", &self.info.path, fault.error);
            return Err(error.with_applied(applied));
        }
        self.end = upto;
        Ok(())
    }

    /// A step ahead if there is room for it, else just what is needed. Steps grow with the segment, so that few commits wait
    /// for the system to find room.
    fn reserve(&mut self, upto: u64, step: u64) -> Result<()> {
        let step = (self.end / 8).clamp(step, 4 * step);
        let ahead = upto.checked_next_multiple_of(step.max(1)).unwrap_or(upto);
        let reserved = match self.target.file.allocate(ahead) {
            Ok(()) => Ok(ahead),
            Err(_) if ahead > upto => self.target.file.allocate(upto).map(|()| upto),
            Err(e) => Err(e),
        };
        self.info.bytes =
            reserved.map_err(|e| Error::io("reserve space for the segment", &self.info.path, e))?;
        Ok(())
    }
}
