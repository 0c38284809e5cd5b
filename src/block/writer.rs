//! Writing a block: series in label order, each with its chunks.
//!
//! ```text
//!   add ──┬─ chunks ──▶ groups ──▶ `chunks`, as they come
//!         ├─ timestamps of chunks of columns ──▶ TimeTable ──▶ `times`, each distinct column once
//!         ├─ labels ──▶ Pairs (interned) ──┐
//!         └─ per series: provisional pair numbers, chunk places, as varints in two spools
//!                                          │
//!   finish ── sort pairs ◀─────────────────┘
//!         ├─ postings: the spool is read once for each 16 M entries, in memory of that size
//!         ├─ dictionary, series, families, filter of the pairs ──▶ `index`
//!         └─ `meta` last; every file synced, then the directory
//! ```
//!
//! The writer does not know ordinals before the last pair has come; that is why series wait in the
//! spools (see `spool`): about two bytes a label and ten a chunk, of which some mebibytes are in memory. The bytes of a block depend on what was added
//! and on nothing else. A block that was not finished is removed when its writer is dropped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::digest::{Digest, Made};
use super::pairs::{Order, Pairs, Slot};
use super::sink::Sink;
use super::spool::{Spool, SpoolReader, TAIL_BYTES};
use super::time_table::TimeTable;
use super::tree::Tree;
use super::{CHUNKS_FILE, FILES, INDEX_FILE, META_FILE, TIMES_FILE};
use crate::env::Fs;
use crate::error::{Error, ErrorKind, Result};
use crate::format::block_meta::{BlockMeta, Root};
use crate::format::chunk::{ChunkRef, Coding, EncodedChunk, Encoding, MAX_PAYLOAD_BYTES, Timestamps};
use crate::format::chunk_group::{self, GroupBuilder};
use crate::format::columns::{MAX_ROWS, Rows};
use crate::format::cursor::Write;
use crate::format::directory_page::Kind;
use crate::format::families_page::{self, MAX_TEXT_BYTES};
use crate::format::pairs_filter::{self, Builder as Filter};
use crate::format::postings_list::{self, MAX_INLINE_IDS};
use crate::format::series_page::{self, MAX_CHUNKS, SeriesChunk};
use crate::format::terms_page::{self, NewPostings};
use crate::model::{Cancel, Labels, Lsn, Metadata, TimeRange};

/// Where the spools of series are while a block is written.
const SPOOLS: [&str; 2] = ["pairs.tmp", "places.tmp"];
/// Postings that are gathered in memory at a time (four bytes each).
const POSTINGS_AT_A_TIME: usize = 16_777_216;

/// What a block is told of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriterOptions {
    /// Seeds the block's checksums; different for each block of a store.
    pub(crate) salt: u32,
    /// The aligned range that the block stands for; holds every sample.
    pub(crate) range: TimeRange,
    /// Commits up to here are in it, as far as they concern its range.
    pub(crate) through: Lsn,
    /// How often its samples were merged: 0 for a flush of the head.
    pub(crate) level: u8,
}

/// One chunk to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewChunk {
    /// The first timestamp.
    pub(crate) min_t: i64,
    /// The last timestamp.
    pub(crate) max_t: i64,
    /// The number of samples in it.
    pub(crate) rows: u32,
    /// The samples.
    pub(crate) chunk: EncodedChunk,
}

/// Writes one block into a directory of its own.
#[derive(Debug)]
pub(crate) struct Writer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: WriterOptions,
    chunks: Option<Sink>,
    group: GroupBuilder,
    /// Made with the first column.
    times: Option<Sink>,
    time_table: TimeTable,
    payload: Vec<u8>,
    pairs: Pairs,
    last: Option<Labels>,
    last_pairs: Vec<u32>,
    pair_records: Spool,
    chunk_records: Spool,
    current: Current,
    families: BTreeMap<String, Metadata>,
    totals: Totals,
    /// Of what was added.
    digest: Digest,
    cancel: Cancel,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Failed,
    Finished,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    series: u32,
    samples: u64,
    chunks: u64,
    hull: Option<(i64, i64)>,
}

/// The series that is being added: its chunks' places, until it is known how many there are.
#[derive(Debug, Default)]
struct Current {
    chunks: usize,
    max_t: i64,
    records: Vec<u8>,
}

impl Current {
    /// Appends the series' record, if there is one, and empties itself.
    fn close(&mut self, out: &mut Vec<u8>) {
        if self.chunks > 0 {
            out.put_varint(self.chunks as u64);
            out.append(&mut self.records);
            self.chunks = 0;
        }
    }
}

/// What takes the series of a new block: [`Writer`], or a test's own.
pub(crate) trait SeriesSink {
    /// A series with its chunks, none of them empty, disjoint and in time order. Series come in label
    /// order; calls with the labels of the call before go on with that series.
    fn add(&mut self, labels: &Labels, chunks: &[NewChunk]) -> Result<()>;
    /// The metadata of a family.
    fn add_family(&mut self, name: &str, metadata: &Metadata) -> Result<()>;
}

/// A [`SeriesSink`] that ends with something to publish.
pub(crate) trait BlockSink: SeriesSink {
    /// What it says of itself when finished.
    type Meta;
    /// Writes and syncs all of it.
    fn finish(self) -> Result<Self::Meta>;
}

impl SeriesSink for Writer {
    fn add(&mut self, labels: &Labels, chunks: &[NewChunk]) -> Result<()> {
        Writer::add(self, labels, chunks)
    }

    fn add_family(&mut self, name: &str, metadata: &Metadata) -> Result<()> {
        Writer::add_family(self, name, metadata)
    }
}

impl BlockSink for Writer {
    type Meta = Made;

    fn finish(self) -> Result<Made> {
        Writer::finish(self)
    }
}

impl Writer {
    /// Creates the directory, which must not exist, and the files in it.
    pub(crate) fn create(fs: Arc<dyn Fs>, dir: PathBuf, options: WriterOptions) -> Result<Writer> {
        if options.range.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the range of a block is empty"));
        }
        fs.create_dir(&dir).map_err(|e| Error::io("create the directory", &dir, e))?;
        let [pair_records, chunk_records] = SPOOLS.map(|name| Spool::new(dir.join(name), TAIL_BYTES));
        let mut writer = Writer {
            fs,
            dir,
            options,
            chunks: None,
            group: GroupBuilder::default(),
            times: None,
            time_table: TimeTable::default(),
            payload: Vec::new(),
            pairs: Pairs::default(),
            last: None,
            last_pairs: Vec::new(),
            pair_records,
            chunk_records,
            current: Current::default(),
            families: BTreeMap::new(),
            totals: Totals::default(),
            digest: Digest::default(),
            cancel: Cancel::default(),
            state: State::Open,
        };
        let mut chunks = Sink::create(writer.fs.as_ref(), writer.dir.join(CHUNKS_FILE))?;
        chunk_group::encode_header(options.salt, chunks.buffer());
        writer.chunks = Some(chunks);
        Ok(writer)
    }

    /// Keeps so many bytes of each spool in memory.
    #[cfg(test)]
    pub(crate) fn spool_after(&mut self, bytes: usize) {
        [self.pair_records, self.chunk_records] = SPOOLS.map(|name| Spool::new(self.dir.join(name), bytes));
    }

    /// Ends [`finish`](Writer::finish) early, if cancelled.
    pub(crate) fn heed(&mut self, cancel: &Cancel) {
        self.cancel = cancel.clone();
    }

    /// Adds the next series in label order, with at least one chunk, disjoint and in time order; or more
    /// chunks to the series of the call before.
    ///
    /// A malformed call is refused and changes nothing; after an I/O error the writer is of no use.
    pub(crate) fn add(&mut self, labels: &Labels, chunks: &[NewChunk]) -> Result<()> {
        self.check_open()?;
        let goes_on = self.last.as_ref() == Some(labels);
        self.check(labels, chunks, goes_on)?;
        self.state = State::Failed;
        if !goes_on {
            self.close_series()?;
            let id = self.totals.series;
            self.add_pairs(id, labels)?;
            self.digest.series(labels);
            self.last = Some(labels.clone());
            self.totals.series = id + 1;
        }
        self.add_chunks(chunks)?;
        self.state = State::Open;
        Ok(())
    }

    /// Adds the metadata of a family, in any order; the last one of a name holds.
    pub(crate) fn add_family(&mut self, name: &str, metadata: &Metadata) -> Result<()> {
        self.check_open()?;
        let longest = name.len().max(metadata.unit.len()).max(metadata.help.len());
        if name.is_empty() || longest > MAX_TEXT_BYTES {
            return Err(invalid("a metric family has no name, or a text above 65,535 bytes"));
        }
        self.families.insert(name.to_owned(), metadata.clone());
        Ok(())
    }

    /// Writes the index and the meta file, and makes all of it durable, the entries of the
    /// directory included (its own entry in its parent is the caller's to sync).
    pub(crate) fn finish(mut self) -> Result<Made> {
        self.check_open()?;
        self.state = State::Failed;
        self.close_series()?;
        let chunks_bytes = self.finish_chunks()?;
        let times_bytes = self.finish_times()?;
        let mut sink = Sink::create(self.fs.as_ref(), self.dir.join(INDEX_FILE))?;
        let order = self.pairs.order()?;
        let mut meta = self.meta((chunks_bytes, times_bytes), &order);
        let mut filter = Filter::new(meta.pairs);
        meta.pairs_root = self.write_terms(&order, &mut filter, &mut sink)?;
        meta.series_root = self.write_series(&order, &mut sink)?;
        meta.families_root = self.write_families(&mut sink)?;
        let offset = sink.offset();
        filter.finish(meta.salt, offset, sink.buffer());
        meta.index_bytes = sink.finish()?;
        self.remove_spools()?;
        let mut sink = Sink::create(self.fs.as_ref(), self.dir.join(META_FILE))?;
        sink.buffer().extend_from_slice(&meta.encode());
        sink.finish()?;
        self.fs.sync_dir(&self.dir).map_err(|e| Error::io("sync the directory", &self.dir, e))?;
        self.state = State::Finished;
        self.families.iter().for_each(|(name, metadata)| self.digest.family(name, metadata));
        Ok(Made { meta, digest: self.digest })
    }

    /// Removes what was written so far, as dropping does.
    pub(crate) fn discard(self) {
        drop(self);
    }

    fn close_series(&mut self) -> Result<()> {
        self.current.close(self.chunk_records.buffer());
        self.chunk_records.spill(self.fs.as_ref())
    }

    fn remove_spools(&mut self) -> Result<()> {
        self.pair_records.remove(self.fs.as_ref())?;
        self.chunk_records.remove(self.fs.as_ref())
    }

    fn check_open(&self) -> Result<()> {
        match self.state {
            State::Open => Ok(()),
            _ => Err(invalid("an earlier write to this block failed").at(&self.dir)),
        }
    }

    /// Looks at the token with each 256th of many.
    fn check_cancelled(&self, number: u32) -> Result<()> {
        match number.is_multiple_of(256) {
            true => self.cancel.check(),
            false => Ok(()),
        }
    }

    fn check(&self, labels: &Labels, chunks: &[NewChunk], goes_on: bool) -> Result<()> {
        if !goes_on && self.last.as_ref().is_some_and(|last| last >= labels) {
            return Err(invalid("the series of a block come in label order, each once"));
        }
        if self.totals.series == u32::MAX {
            return Err(Error::new(ErrorKind::Ceiling, "a block holds less than 4,294,967,296 series"));
        }
        if chunks.is_empty() {
            return Err(invalid("a series of a block has one chunk at least"));
        }
        let before = if goes_on { self.current.chunks } else { 0 };
        if before + chunks.len() > MAX_CHUNKS {
            return Err(Error::new(
                ErrorKind::Ceiling,
                "a series has more than 1,048,576 chunks in one block",
            ));
        }
        let mut previous = goes_on.then_some(self.current.max_t);
        for c in chunks {
            let span = c.max_t.wrapping_sub(c.min_t).cast_unsigned();
            let inside = self.options.range.contains(c.min_t) && self.options.range.contains(c.max_t);
            let ascends = c.min_t <= c.max_t && previous.is_none_or(|p| p < c.min_t);
            if !inside
                || !ascends
                || c.rows == 0
                || span < u64::from(c.rows) - 1
                || c.chunk.rows() != Ok(c.rows)
                || !has_times_of(c)
                || c.chunk.payload.len() > MAX_PAYLOAD_BYTES
            {
                return Err(invalid(
                    "a chunk is out of order, out of range, or not as its rows and times say",
                ));
            }
            previous = Some(c.max_t);
        }
        Ok(())
    }

    /// Neighbours in label order share most pairs: those are known without hashing, and most others are foretold.
    fn add_pairs(&mut self, id: u32, labels: &Labels) -> Result<()> {
        let mut numbers = Vec::with_capacity(self.last_pairs.len());
        let mut before = self.last.as_ref().map(Labels::canonical_pairs);
        for (i, pair) in labels.canonical_pairs().enumerate() {
            let same = before.as_mut().and_then(Iterator::next) == Some(pair);
            let there = self.last_pairs.get(i).copied();
            numbers.push(match (there, Labels::name_and_value(pair)) {
                (Some(number), _) if same => self.pairs.count(id, number),
                (Some(before), Some((name, value))) => self.pairs.follow(id, before, name, value)?,
                (None, Some((name, value))) => self.pairs.intern(id, name, value)?,
                (_, None) => return Err(invalid("a label set is not in canonical form")),
            });
        }
        drop(before);
        let record = self.pair_records.buffer();
        record.put_varint(numbers.len() as u64);
        numbers.iter().for_each(|&number| record.put_varint(u64::from(number)));
        self.last_pairs = numbers;
        self.pair_records.spill(self.fs.as_ref())
    }

    fn add_chunks(&mut self, chunks: &[NewChunk]) -> Result<()> {
        let start = self.options.range.start();
        for c in chunks {
            let (group, within) = self.push_chunk(c)?;
            self.digest.chunk(c);
            self.current.chunks += 1;
            self.current.max_t = c.max_t;
            let out = &mut self.current.records;
            out.put_varint(c.min_t.wrapping_sub(start).cast_unsigned());
            out.put_varint(c.max_t.wrapping_sub(c.min_t).cast_unsigned());
            out.put_varint(u64::from(c.rows));
            out.put_varint(group);
            out.put_varint(u64::from(within));
            self.totals.chunks += 1;
            self.totals.samples += u64::from(c.rows);
            let (min_t, max_t) = self.totals.hull.unwrap_or((c.min_t, c.max_t));
            self.totals.hull = Some((min_t.min(c.min_t), max_t.max(c.max_t)));
        }
        Ok(())
    }

    fn push_chunk(&mut self, c: &NewChunk) -> Result<(u64, u32)> {
        if self.group.is_full() {
            self.finish_group()?;
        }
        let group = self.chunks.as_ref().map_or(0, Sink::offset);
        let chunk = match &c.chunk.encoding {
            Encoding::Gorilla => ChunkRef::gorilla(&c.chunk.payload),
            Encoding::Columns(t) => {
                let rows = self.place_times(t)?;
                self.payload.clear();
                rows.encode(&c.chunk.payload, &mut self.payload);
                ChunkRef { coding: Coding::Columns, payload: &self.payload }
            }
        };
        Ok((group, self.group.push(chunk)))
    }

    /// Where timestamps are in `times`.
    fn place_times(&mut self, t: &Timestamps) -> Result<Rows> {
        let mut sink = match self.times.take() {
            Some(sink) => sink,
            None => Sink::create(self.fs.as_ref(), self.dir.join(TIMES_FILE))?,
        };
        let placed = self.time_table.place(t, self.options.salt, &mut sink);
        self.times = Some(sink);
        placed
    }

    fn finish_group(&mut self) -> Result<()> {
        let Some(sink) = &mut self.chunks else { return Ok(()) };
        let offset = sink.offset();
        self.group.finish(self.options.salt, offset, sink.buffer());
        sink.spill()
    }

    fn finish_chunks(&mut self) -> Result<u64> {
        self.finish_group()?;
        self.chunks.take().map_or(Ok(0), Sink::finish)
    }

    fn finish_times(&mut self) -> Result<u64> {
        self.time_table = TimeTable::default();
        match self.times.take() {
            Some(sink) => sink.finish(),
            None => Sink::create(self.fs.as_ref(), self.dir.join(TIMES_FILE))?.finish(),
        }
    }

    fn meta(&self, (chunks_bytes, times_bytes): (u64, u64), order: &Order) -> BlockMeta {
        let WriterOptions { salt, range, through, level } = self.options;
        let (min_t, max_t) = self.totals.hull.unwrap_or((range.start(), range.start()));
        BlockMeta {
            salt,
            range,
            min_t,
            max_t,
            samples: self.totals.samples,
            chunks: self.totals.chunks,
            through,
            series: self.totals.series,
            level,
            index_bytes: 0,
            chunks_bytes,
            times_bytes,
            // The order was checked to fit 32 bits, and families are fewer than fit in memory.
            pairs: u32::try_from(order.slots.len()).unwrap_or(u32::MAX),
            families: u32::try_from(self.families.len()).unwrap_or(u32::MAX),
            pairs_root: Default::default(),
            series_root: Default::default(),
            families_root: Default::default(),
        }
    }

    fn write_terms(&mut self, order: &Order, filter: &mut Filter, sink: &mut Sink) -> Result<Root> {
        let mut leaves = TermLeaves::new(self.options.salt);
        let mut from = 0;
        while from < order.slots.len() {
            let (to, gathered) = self.gather(order, from)?;
            let mut rest = gathered.as_slice();
            for (i, &slot) in (0u32..).zip(order.slots.get(from..to).unwrap_or_default()) {
                self.check_cancelled(i)?;
                let (ids, after) = rest.split_at_checked(self.pairs.series_count(slot)).unwrap_or_default();
                rest = after;
                let all = match slot {
                    Slot::Name(name) => Some(self.pairs.take_ids(name)),
                    Slot::Pair(_) => None,
                };
                let (name, value) = self.pairs.key(slot);
                leaves.make_room(name, value, sink)?;
                match all {
                    Some(all) if all.len() <= MAX_INLINE_IDS as u64 => {
                        leaves.push(name, value, NewPostings::Inline(&all.iter().collect::<Vec<u32>>()));
                    }
                    Some(all) => leaves.push_listed(name, value, all, sink)?,
                    None if ids.len() <= MAX_INLINE_IDS => {
                        leaves.push(name, value, NewPostings::Inline(ids));
                    }
                    None => leaves.push_listed(name, value, bitmap(ids), sink)?,
                }
                if let Slot::Pair(_) = slot {
                    filter.insert(pairs_filter::hash(name, value));
                }
            }
            from = to;
        }
        leaves.finish(sink)
    }

    /// Gathers the postings of the entries from ordinal `from` on, as many as may be in memory at
    /// a time: one entry's after the other's. Answers the first ordinal that is not among them.
    fn gather(&self, order: &Order, from: usize) -> Result<(usize, Vec<u32>)> {
        let mut starts = Vec::new();
        let mut sum = 0usize;
        for &slot in order.slots.iter().skip(from) {
            let count = self.pairs.series_count(slot);
            if sum > 0 && sum + count > POSTINGS_AT_A_TIME {
                break;
            }
            starts.push(sum);
            sum += count;
        }
        let mut ids = vec![0u32; sum];
        let mut r = self.pair_records.reader(self.fs.as_ref())?;
        for id in 0..self.totals.series {
            self.check_cancelled(id)?;
            for _ in 0..r.varint32()? {
                let ordinal = order.ordinals.get(r.varint32()? as usize);
                let index = ordinal.and_then(|&o| (o as usize).checked_sub(from));
                let next = index.and_then(|i| starts.get_mut(i));
                if let Some(next) = next {
                    if let Some(place) = ids.get_mut(*next) {
                        *place = id;
                    }
                    *next += 1;
                }
            }
        }
        Ok((from + starts.len(), ids))
    }

    fn write_series(&mut self, order: &Order, sink: &mut Sink) -> Result<Root> {
        let start = self.options.range.start();
        let mut tree = Tree::new(Kind::Series, self.options.salt);
        let mut pair_records = self.pair_records.reader(self.fs.as_ref())?;
        let mut chunk_records = self.chunk_records.reader(self.fs.as_ref())?;
        let mut page = series_page::Builder::new(0, start);
        let mut first = 0;
        let (mut pairs, mut chunks) = (Vec::new(), Vec::new());
        for id in 0..self.totals.series {
            self.check_cancelled(id)?;
            read_pairs(&mut pair_records, &order.ordinals, &mut pairs)?;
            read_chunks(&mut chunk_records, start, &mut chunks)?;
            if page.push(&pairs, &chunks) {
                continue;
            }
            let full = std::mem::replace(&mut page, series_page::Builder::new(id, start));
            tree.page(sink, first, Default::default(), |salt, at, out| full.finish(salt, at, out))?;
            first = id;
            page.push(&pairs, &chunks);
        }
        if page.count() > 0 {
            tree.page(sink, first, Default::default(), |salt, at, out| page.finish(salt, at, out))?;
        }
        tree.finish(sink)
    }

    fn write_families(&self, sink: &mut Sink) -> Result<Root> {
        let mut tree = Tree::new(Kind::Families, self.options.salt);
        let mut page = families_page::Builder::new(0);
        let mut first = (0u32, String::new());
        for (number, (name, metadata)) in (0u32..).zip(&self.families) {
            if !page.fits(name, metadata) {
                let full = std::mem::replace(&mut page, families_page::Builder::new(number));
                let (at, key) = std::mem::replace(&mut first, (number, name.clone()));
                tree.page(sink, at, (key, String::new()), |salt, at, out| full.finish(salt, at, out))?;
            }
            if page.count() == 0 {
                first = (number, name.clone());
            }
            page.push(name, metadata);
        }
        if page.count() > 0 {
            tree.page(sink, first.0, (first.1, String::new()), |salt, at, out| page.finish(salt, at, out))?;
        }
        tree.finish(sink)
    }
}

impl Drop for Writer {
    /// Removes an unfinished block, as far as that is possible.
    fn drop(&mut self) {
        if self.state != State::Finished {
            (self.chunks, self.times) = (None, None);
            let _ = self.remove_spools();
            for file in FILES {
                let _ = self.fs.remove_file(&self.dir.join(file));
            }
            let _ = self.fs.remove_dir(&self.dir);
        }
    }
}

/// The leaves of the dictionary: pages that follow the lists of their entries.
struct TermLeaves {
    salt: u32,
    tree: Tree,
    page: terms_page::Builder,
    next: u32,
    first: (u32, String, String),
}

impl TermLeaves {
    fn new(salt: u32) -> TermLeaves {
        TermLeaves {
            salt,
            tree: Tree::new(Kind::Terms, salt),
            page: terms_page::Builder::default(),
            next: 0,
            first: Default::default(),
        }
    }

    /// Writes the page out if the entry does not fit; then the next list opens another page.
    fn make_room(&mut self, name: &str, value: &str, sink: &mut Sink) -> Result<()> {
        if !self.page.fits(name, value) {
            self.write_page(sink)?;
        }
        if self.page.count() == 0 {
            self.page = terms_page::Builder::new(self.next, sink.offset());
            self.first = (self.next, name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    fn push(&mut self, name: &str, value: &str, postings: NewPostings<'_>) {
        self.page.push(name, value, postings);
        self.next += 1;
    }

    /// Writes the list of an entry, and adds the entry.
    fn push_listed(&mut self, name: &str, value: &str, ids: RoaringBitmap, sink: &mut Sink) -> Result<()> {
        let offset = sink.offset();
        postings_list::encode(ids, self.salt, offset, sink.buffer());
        let bytes = u32::try_from(sink.offset() - offset).unwrap_or(u32::MAX);
        self.push(name, value, NewPostings::Listed(bytes));
        sink.spill()
    }

    fn write_page(&mut self, sink: &mut Sink) -> Result<()> {
        let page = std::mem::take(&mut self.page);
        let (number, name, value) = std::mem::take(&mut self.first);
        self.tree.page(sink, number, (name, value), |salt, at, out| page.finish(salt, at, out))
    }

    fn finish(mut self, sink: &mut Sink) -> Result<Root> {
        if self.page.count() > 0 {
            self.write_page(sink)?;
        }
        self.tree.finish(sink)
    }
}

/// Whether the timestamps that a chunk brings are those of its row.
fn has_times_of(c: &NewChunk) -> bool {
    match &c.chunk.encoding {
        Encoding::Gorilla => true,
        Encoding::Columns(t) => {
            t.len() <= MAX_ROWS && (t.first(), t.last()) == (Some(&c.min_t), Some(&c.max_t)) && t.ascend()
        }
    }
}

fn bitmap(sorted: &[u32]) -> RoaringBitmap {
    let ids = RoaringBitmap::from_sorted_iter(sorted.iter().copied());
    ids.unwrap_or_else(|_| sorted.iter().copied().collect())
}

fn read_pairs(r: &mut SpoolReader<'_>, ordinals: &[u32], out: &mut Vec<u32>) -> Result<()> {
    out.clear();
    for _ in 0..r.varint32()? {
        let number = r.varint32()?;
        out.extend(ordinals.get(number as usize));
    }
    Ok(())
}

fn read_chunks(r: &mut SpoolReader<'_>, start: i64, out: &mut Vec<SeriesChunk>) -> Result<()> {
    out.clear();
    for _ in 0..r.varint32()? {
        let min_t = start.wrapping_add_unsigned(r.varint()?);
        let max_t = min_t.wrapping_add_unsigned(r.varint()?);
        let rows = r.varint32()?;
        let group = r.varint()?;
        let within = r.varint32()?;
        out.push(SeriesChunk { min_t, max_t, rows, group, within });
    }
    Ok(())
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
