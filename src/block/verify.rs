//! Verifying a block: every byte of every file, and that the structures agree.
//!
//! ```text
//!   dictionary ─ keys ascend; lists and pages back to back; Σ mix(series, pair) over the postings ┐
//!                                                                                                 ├ equal
//!   series ─ labels ascend; chunks back to back in `chunks`;  Σ mix(series, pair) over the series ┘
//!            each chunk decoded: rows, first and last time as the index says, times ascend
//!   times ── columns back to back; each is of a chunk, and each chunk's is one
//!   families ─ names ascend      filter ─ has all pairs      directory pages ─ between the leaves and the end of the tree
//! ```
//!
//! That postings and series say the same is shown by sums over all (series, pair) incidences: no
//! memory, one pass over each. Every fault is one error with file and offset; the walk goes on
//! where it can, and what depends on a part that is damaged is not reported again. At most 1,000 faults are reported.

use std::collections::BTreeSet;

use super::chunks::{Chunks, Group};
use super::digest::{Digest, Seen};
use super::index::{Found, PageRef};
use super::reader::SeriesReader;
use super::{Block, META_FILE};
use crate::env;
use crate::error::{DecodeError, DecodeReason, Error, Result};
use crate::format::block_meta::{self, BlockMeta};
use crate::format::chunk::{ChunkRef, Coding};
use crate::format::chunk_group::{self, HEADER_BYTES};
use crate::format::columns::Payload;
use crate::format::directory_page::Kind;
use crate::format::gorilla;
use crate::format::pairs_filter;
use crate::format::series_page::SeriesChunk;
use crate::format::terms_page::{Page, Postings, Term};
use crate::model::{Cancel, Columns, Labels, TimeRange};

use roaring::RoaringBitmap;

/// The most faults that are reported of one block.
const MAX_FAULTS: usize = 1_000;

impl Block {
    /// Reads and checks everything; answers how many bytes there are, and adds to `faults` what is wrong.
    ///
    /// # Errors
    /// Cancellation, and nothing else: what cannot be read is a fault.
    pub(crate) fn verify(&self, cancel: &Cancel, faults: &mut Vec<Error>) -> Result<u64> {
        let mut check = Check::new(self, cancel, None);
        let ended = check.run();
        faults.append(&mut check.faults);
        match ended {
            Err(e) if e.kind() == crate::error::ErrorKind::Cancelled => Err(e),
            Err(e) => {
                faults.push(e);
                Ok(self.bytes())
            }
            Ok(()) => Ok(self.bytes()),
        }
    }

    /// As [`verify`](Block::verify), but that no values are decoded: a digest of all that stands in the files, and the first fault.
    pub(super) fn digest(&self, cancel: &Cancel) -> Result<(Digest, Option<Error>)> {
        let mut check = Check::new(self, cancel, Some(Digest::default()));
        check.run()?;
        Ok((check.digest.unwrap_or_default(), check.faults.into_iter().next()))
    }
}

/// What a verification knows so far.
struct Check<'a> {
    block: &'a Block,
    cancel: &'a Cancel,
    faults: Vec<Error>,
    /// Where the next unit of `index` must stand.
    end: u64,
    /// (series, pair) incidences: those of the postings minus those of the series.
    incidences: u64,
    sum: u64,
    postings_whole: bool,
    series_whole: bool,
    /// Where sound columns of timestamps stand, and whether all are sound.
    columns: BTreeSet<u64>,
    times_whole: bool,
    /// If that is asked for; then values are not decoded.
    digest: Option<Digest>,
}

/// The walk over the dictionary: what the entry before was.
#[derive(Default)]
struct Terms {
    name: String,
    value: String,
    /// The series that have the name, by its own list and by its values'.
    all: RoaringBitmap,
    seen: RoaringBitmap,
    next: u32,
}

/// The walk over the chunk file, in step with the series.
struct ChunkWalk {
    /// Where the open group stands.
    at: Option<u64>,
    group: Option<Group>,
    bad_group: Option<u64>,
    /// Where the next chunk must stand; unknown after damage.
    expected: Option<(u64, u32)>,
    columns: Columns,
    /// The columns of timestamps of the chunks so far.
    used: BTreeSet<u64>,
    /// That of the chunk that was decoded last.
    last_column: Option<u64>,
    samples: u64,
    chunks: u64,
    hull: Option<(i64, i64)>,
}

impl<'a> Check<'a> {
    fn new(block: &'a Block, cancel: &'a Cancel, digest: Option<Digest>) -> Check<'a> {
        Check {
            block,
            cancel,
            faults: Vec::new(),
            end: 0,
            incidences: 0,
            sum: 0,
            postings_whole: true,
            series_whole: true,
            columns: BTreeSet::new(),
            times_whole: true,
            digest,
        }
    }

    fn run(&mut self) -> Result<()> {
        self.meta();
        self.times()?;
        self.tree(Kind::Terms)?;
        self.tree(Kind::Series)?;
        self.tree(Kind::Families)?;
        self.filter();
        let index = &self.block.index;
        if self.faults.is_empty() && self.end != index.file().bytes() {
            self.fault(index.file().invalid("block_meta", self.end, "bytes of the index belong to nothing"));
        }
        if self.postings_whole && self.series_whole && (self.incidences, self.sum) != (0, 0) {
            self.fault(index.file().invalid("postings_list", 0, "the postings and the series do not agree"));
        }
        Ok(())
    }

    fn fault(&mut self, error: Error) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(error);
        }
    }

    /// The meta file must still say what it said when the block was opened.
    fn meta(&mut self) {
        let block = self.block;
        let path = block.dir.join(META_FILE);
        let bytes = env::read_all(block.fs.as_ref(), &path, block_meta::META_BYTES as u64);
        match bytes.map(|bytes| BlockMeta::decode(&bytes)) {
            Err(e) => self.fault(Error::unread("read", &path, e)),
            Ok(Err(e)) => self.fault(Error::corrupt(&path, 0, e)),
            Ok(Ok(meta)) if meta != *block.meta => {
                let reason = DecodeReason::Invalid("the file changed since the block was opened");
                self.fault(Error::corrupt(&path, 0, DecodeError::new("block_meta", 0, reason)));
            }
            Ok(Ok(_)) => {}
        }
    }

    /// Checks the columns of timestamps; what stands behind a damaged one is not found.
    fn times(&mut self) -> Result<()> {
        let times = self.block.chunks.times();
        let end = times.file().map_or(0, |file| file.bytes());
        let mut at = 0;
        while at < end {
            self.cancel.check()?;
            match times.read(at) {
                Ok(Some((_, next))) => {
                    self.columns.insert(at);
                    at = next;
                }
                Ok(None) => break,
                Err(e) => {
                    self.times_whole = false;
                    self.fault(e);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Checks the leaves of a tree in order, and that its inner nodes stand behind them.
    fn tree(&mut self, kind: Kind) -> Result<()> {
        let meta = &self.block.meta;
        let (root, count) = match kind {
            Kind::Terms => (meta.pairs_root, meta.pairs),
            Kind::Series => (meta.series_root, meta.series),
            Kind::Families => (meta.families_root, meta.families),
        };
        let before = self.faults.len();
        let (mut leaves, mut nodes) = (Vec::new(), Vec::new());
        if count > 0 {
            self.collect(kind, PageRef::root(root), count, &mut leaves, &mut nodes);
        }
        let whole = self.faults.len() == before;
        let next = match kind {
            Kind::Terms => self.terms(&leaves)?,
            Kind::Series => self.series(&leaves)?,
            Kind::Families => self.families(&leaves)?,
        };
        let file = self.block.index.file();
        if self.faults.len() == before && next != Some(count) {
            self.fault(file.invalid(
                "block_meta",
                root.offset,
                "a tree has another count than the meta says",
            ));
        }
        nodes.sort_unstable_by_key(|node| node.offset);
        for node in &nodes {
            if whole {
                self.expect("directory_page", node.offset, u64::from(node.bytes));
            }
        }
        if !whole {
            match kind {
                Kind::Terms => self.postings_whole = false,
                Kind::Series => self.series_whole = false,
                Kind::Families => {}
            }
        }
        Ok(())
    }

    /// The pages below `at`, depth first; a node that cannot be read is a fault.
    ///
    /// All numbers below `at` must be below `until`, so that no page is reached twice.
    fn collect(
        &mut self,
        kind: Kind,
        at: PageRef,
        until: u32,
        leaves: &mut Vec<PageRef>,
        nodes: &mut Vec<PageRef>,
    ) {
        let index = &self.block.index;
        if at.number >= until {
            let found =
                index.file().invalid("directory_page", at.offset, "the page belongs to a later sibling");
            return self.fault(found);
        }
        if at.level == 0 {
            return leaves.push(at);
        }
        match index.children(kind, &at) {
            Ok(children) => {
                nodes.push(at);
                let ends: Vec<u32> = children.iter().skip(1).map(|next| next.number).chain([until]).collect();
                for (child, end) in children.into_iter().zip(ends) {
                    self.collect(kind, child, end.min(until), leaves, nodes);
                }
            }
            Err(e) => self.fault(e),
        }
    }

    /// The next unit of the index must stand where the one before ended, as long as nothing is damaged.
    fn expect(&mut self, structure: &'static str, offset: u64, bytes: u64) {
        if self.faults.is_empty() && offset != self.end {
            let found =
                self.block.index.file().invalid(structure, offset, "it does not follow the unit before");
            self.fault(found);
        }
        self.end = offset.saturating_add(bytes);
    }

    /// Checks the dictionary; answers the number behind the last entry.
    fn terms(&mut self, leaves: &[PageRef]) -> Result<Option<u32>> {
        let index = &self.block.index;
        let mut terms = Terms::default();
        for leaf in leaves {
            self.cancel.check()?;
            let read = index.with_terms(leaf, |page| self.terms_leaf(leaf, page, &mut terms));
            match read {
                Ok(()) => self.expect("terms_page", leaf.offset, u64::from(leaf.bytes)),
                Err(e) => {
                    self.postings_whole = false;
                    self.fault(e);
                }
            }
        }
        if self.postings_whole && terms.all != terms.seen {
            self.fault(index.file().invalid(
                "postings_list",
                0,
                "a name's series are not those of its values",
            ));
        }
        Ok(Some(terms.next))
    }

    fn terms_leaf(&mut self, leaf: &PageRef, page: &Page<'_>, terms: &mut Terms) -> Result<()> {
        let index = &self.block.index;
        let mut walk = page.walk();
        while let Some(term) = walk.next().map_err(|e| index.file().corrupt(leaf.offset, e))? {
            let ascends = (terms.name.as_str(), terms.value.as_str()) < (term.name, term.value);
            if self.postings_whole && (term.ordinal != terms.next || !ascends) {
                return Err(index.file().invalid(
                    "terms_page",
                    leaf.offset,
                    "a pair is not behind the one before",
                ));
            }
            let new_name = term.name != terms.name;
            if self.postings_whole && new_name != term.value.is_empty() {
                return Err(index.headless(leaf.offset));
            }
            (terms.name, terms.value) = (term.name.to_owned(), term.value.to_owned());
            terms.next = term.ordinal.saturating_add(1);
            if !new_name {
                self.in_filter(term.name, term.value);
            }
            match index.series_with(Found { postings: term.postings, page: leaf.offset }) {
                Ok(ids) => self.postings(leaf, &term, new_name, ids, terms),
                Err(e) => {
                    self.postings_whole = false;
                    self.fault(e);
                }
            }
        }
        Ok(())
    }

    /// A pair must pass the filter; if that is damaged, its own check tells.
    fn in_filter(&mut self, name: &str, value: &str) {
        let index = &self.block.index;
        if self.postings_whole && matches!(index.filter_passes(name, value), Ok(false)) {
            let start = index.filter_start().unwrap_or(0);
            self.fault(index.file().invalid("pairs_filter", start, "a pair of the block is not in it"));
        }
    }

    /// The filter's pages, at the end of the file.
    fn filter(&mut self) {
        let index = &self.block.index;
        let buckets = pairs_filter::buckets(self.block.meta.pairs);
        let Some(start) = index.filter_start() else {
            return self.fault(index.file().invalid(
                "pairs_filter",
                0,
                "the index is shorter than its filter",
            ));
        };
        for number in 0..buckets.div_ceil(pairs_filter::PAGE_BUCKETS) {
            let place = pairs_filter::page(buckets, number);
            let offset = start + place.offset;
            self.expect("pairs_filter", offset, u64::from(place.bytes));
            let bytes = index.file().read("pairs_filter", offset, place.bytes as usize);
            let page = bytes.and_then(|bytes| {
                let page = pairs_filter::Page::decode(self.block.meta.salt, offset, &bytes);
                page.map(|_| ()).map_err(|e| index.file().corrupt(offset, e))
            });
            if let Err(e) = page {
                self.fault(e);
            }
        }
    }

    fn postings(
        &mut self,
        leaf: &PageRef,
        term: &Term<'_>,
        of_name: bool,
        ids: RoaringBitmap,
        terms: &mut Terms,
    ) {
        let at = match term.postings {
            Postings::Listed(list) => {
                self.expect("postings_list", list.offset, u64::from(list.bytes));
                list.offset
            }
            Postings::Inline(_) => leaf.offset,
        };
        let file = self.block.index.file();
        if of_name {
            if self.postings_whole && terms.all != terms.seen {
                self.fault(file.invalid("postings_list", at, "a name's series are not those of its values"));
            }
            terms.all = ids;
            terms.seen.clear();
            return;
        }
        for id in &ids {
            self.incidences = self.incidences.wrapping_add(1);
            self.sum = self.sum.wrapping_add(mix(id, term.ordinal));
        }
        if self.postings_whole && !terms.seen.is_disjoint(&ids) {
            self.fault(file.invalid("postings_list", at, "a series has two values of one label"));
        }
        terms.seen |= ids;
    }

    /// Checks the series with their chunks; answers the number behind the last one.
    fn series(&mut self, leaves: &[PageRef]) -> Result<Option<u32>> {
        let chunks = &self.block.chunks;
        if let Err(e) = chunks.check_header() {
            self.fault(e);
        }
        let mut walk = ChunkWalk {
            at: None,
            group: None,
            bad_group: None,
            expected: Some((HEADER_BYTES as u64, 0)),
            columns: Columns::default(),
            used: BTreeSet::new(),
            last_column: None,
            samples: 0,
            chunks: 0,
            hull: None,
        };
        let mut reader = SeriesReader::default();
        let mut last: Option<Labels> = None;
        let mut next = Some(0u32);
        for leaf in leaves {
            self.cancel.check()?;
            match self.block.index.series_page(leaf) {
                Ok(page) => {
                    if next.is_some_and(|next| next != page.first()) {
                        let file = self.block.index.file();
                        self.fault(file.invalid(
                            "series_page",
                            leaf.offset,
                            "series are missing before the page",
                        ));
                    }
                    self.expect("series_page", leaf.offset, u64::from(leaf.bytes));
                    next = page.first().checked_add(page.count());
                    for id in (page.first()..).take(page.count() as usize) {
                        self.one_series(id, &mut reader, &mut last, &mut walk)?;
                    }
                }
                Err(e) => {
                    self.fault(e);
                    self.series_whole = false;
                    walk.expected = None;
                    next = None;
                }
            }
        }
        self.totals(&walk);
        Ok(next)
    }

    fn one_series(
        &mut self,
        id: u32,
        reader: &mut SeriesReader,
        last: &mut Option<Labels>,
        walk: &mut ChunkWalk,
    ) -> Result<()> {
        let index = &self.block.index;
        if let Err(e) = reader.read(index, id) {
            self.fault(e);
            self.series_whole = false;
            walk.expected = None;
            return Ok(());
        }
        for &ordinal in reader.ordinals() {
            self.incidences = self.incidences.wrapping_sub(1);
            self.sum = self.sum.wrapping_sub(mix(id, ordinal));
        }
        match reader.labels(index) {
            Ok(labels) => {
                if last.as_ref().is_some_and(|last| *last >= labels) {
                    self.fault(reader.invalid(index, "the series are not in label order"));
                }
                if let Some(digest) = &mut self.digest {
                    digest.series(&labels);
                }
                *last = Some(labels);
            }
            // A damaged leaf of the dictionary was reported once already.
            Err(_) if !self.postings_whole => *last = None,
            Err(e) => self.fault(e),
        }
        for c in reader.chunks() {
            self.cancel.check()?;
            self.chunk(c, walk);
        }
        Ok(())
    }

    /// Checks one chunk: its place, and that it decodes to what the index says.
    fn chunk(&mut self, c: &SeriesChunk, walk: &mut ChunkWalk) {
        let chunks = &self.block.chunks;
        if walk.bad_group == Some(c.group) {
            return;
        }
        if walk.expected.is_some_and(|expected| expected != (c.group, c.within)) {
            self.fault(chunks.file().invalid(
                "chunk_group",
                c.group,
                "a chunk does not follow the one before",
            ));
            walk.expected = None;
        }
        if walk.at != Some(c.group) {
            match chunks.read_group(c.group) {
                Ok(group) => walk.open(c.group, group),
                Err(e) => {
                    self.fault(e);
                    walk.damaged(c.group);
                    return;
                }
            }
        }
        let base = c.group.saturating_add(4).saturating_add(u64::from(c.within));
        match walk.decode(chunks, c, base, self.digest.as_mut()) {
            Ok(true) => {}
            Ok(false) => {
                self.fault(chunks.file().invalid("chunk", base, "rows or times are not as the index says"));
            }
            // A damaged column of timestamps was reported once already; no more than what is sound is known.
            Err(_) if !self.times_whole && walk.last_column.is_some_and(|at| !self.columns.contains(&at)) => {
            }
            Err(e) => {
                self.fault(e);
                walk.expected = None;
            }
        }
    }

    /// The totals in the meta, where everything could be counted.
    fn totals(&mut self, walk: &ChunkWalk) {
        let Some((group, within)) = walk.expected else { return };
        let meta = &self.block.meta;
        let file = self.block.chunks.file();
        if within != 0 || group != file.bytes() {
            self.fault(file.invalid("chunk_group", group, "bytes of the chunk file belong to no series"));
        }
        if self.times_whole && walk.used != self.columns {
            let unused = self.columns.symmetric_difference(&walk.used).next().copied().unwrap_or(0);
            let times = self.block.chunks.times().file().unwrap_or(file);
            self.fault(times.invalid("time_column", unused, "a column of timestamps belongs to no chunk"));
        }
        let hull = walk.hull.unwrap_or((meta.range.start(), meta.range.start()));
        let found = (walk.samples, walk.chunks, hull);
        if found != (meta.samples, meta.chunks, (meta.min_t, meta.max_t)) {
            let path = self.block.dir.join(META_FILE);
            let reason = DecodeReason::Invalid("the counts or times are not those of the chunks");
            self.fault(Error::corrupt(path, 0, DecodeError::new("block_meta", 0, reason)));
        }
    }

    /// Checks the families; answers the number behind the last one.
    fn families(&mut self, leaves: &[PageRef]) -> Result<Option<u32>> {
        let index = &self.block.index;
        let mut last: Option<String> = None;
        let mut next = Some(0u32);
        for leaf in leaves {
            self.cancel.check()?;
            match index.families_page(leaf) {
                Ok(page) => {
                    let first = page.families.first().map(|(name, _)| name);
                    if next.is_some_and(|n| n != page.first) || (last.is_some() && last.as_ref() >= first) {
                        self.fault(index.file().invalid(
                            "families_page",
                            leaf.offset,
                            "families are out of order",
                        ));
                    }
                    self.expect("families_page", leaf.offset, u64::from(leaf.bytes));
                    if let Some(digest) = &mut self.digest {
                        page.families.iter().for_each(|(name, metadata)| digest.family(name, metadata));
                    }
                    next = u32::try_from(page.families.len()).ok().and_then(|n| page.first.checked_add(n));
                    last = page.families.into_iter().next_back().map(|(name, _)| name);
                }
                Err(e) => {
                    self.fault(e);
                    (next, last) = (None, None);
                }
            }
        }
        Ok(next)
    }
}

impl ChunkWalk {
    fn open(&mut self, at: u64, group: Group) {
        self.at = Some(at);
        self.group = Some(group);
    }

    fn damaged(&mut self, at: u64) {
        self.bad_group = Some(at);
        self.expected = None;
        self.group = None;
        self.at = None;
    }

    /// Decodes the chunk of the open group, or takes it into the digest; whether it is what the index says.
    fn decode(
        &mut self,
        chunks: &Chunks,
        c: &SeriesChunk,
        base: u64,
        digest: Option<&mut Digest>,
    ) -> Result<bool> {
        let Some(group) = &self.group else { return Ok(false) };
        let corrupt = |e| chunks.file().corrupt(base, e);
        let chunk = chunk_group::chunk_at(group.body(), c.within).map_err(corrupt)?;
        self.last_column = None;
        self.last_column = match chunk.coding {
            Coding::Gorilla => None,
            Coding::Columns => Some(Payload::decode(chunk.payload).map_err(corrupt)?.column),
        };
        self.used.extend(self.last_column);
        self.columns.clear();
        let decoded = match digest {
            Some(digest) => digest_chunk(chunks, chunk, c, &corrupt, digest),
            None => chunks.decode_chunk(chunk, TimeRange::ALL, &corrupt, &mut self.columns).map(|()| {
                let t = &self.columns.t;
                (t.len() as u64, t.first(), t.last()) == (u64::from(c.rows), Some(&c.min_t), Some(&c.max_t))
            }),
        };
        let mut bytes = Vec::new();
        chunk.encode(&mut bytes);
        let after = u32::try_from(bytes.len()).ok().and_then(|n| c.within.checked_add(n));
        self.expected = self.expected.and(after).map(|after| match after as usize >= group.body().len() {
            true => (group.end(), 0),
            false => (c.group, after),
        });
        self.samples = self.samples.saturating_add(u64::from(c.rows));
        self.chunks += 1;
        let (min_t, max_t) = self.hull.unwrap_or((c.min_t, c.max_t));
        self.hull = Some((min_t.min(c.min_t), max_t.max(c.max_t)));
        decoded
    }
}

/// Takes a chunk into the digest; whether its head is what the index says.
fn digest_chunk(
    chunks: &Chunks,
    chunk: ChunkRef<'_>,
    c: &SeriesChunk,
    corrupt: &dyn Fn(DecodeError) -> Error,
    digest: &mut Digest,
) -> Result<bool> {
    let (min_t, max_t, rows) = (c.min_t, c.max_t, c.rows);
    if chunk.coding == Coding::Gorilla {
        digest.seen(&Seen { min_t, max_t, rows, times: None, coded: chunk.payload });
        return Ok(gorilla::rows(chunk.payload).map_err(corrupt)? == rows);
    }
    let (times, coded) = chunks.undecoded(chunk, corrupt)?;
    digest.seen(&Seen { min_t, max_t, rows, times: Some(&times), coded });
    Ok((times.len() as u64, times.first(), times.last()) == (u64::from(rows), Some(&min_t), Some(&max_t)))
}

/// Spreads one incidence over 64 bits (the finaliser of splitmix64), so that sums of different sets differ.
fn mix(id: u32, ordinal: u32) -> u64 {
    let mut z = (u64::from(id) << 32 | u64::from(ordinal)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
