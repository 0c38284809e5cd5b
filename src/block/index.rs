//! Descending the trees of an `index`, and what the dictionary answers.
//!
//! ```text
//!   root (from meta) ─▶ directory_page level 2 ─▶ level 1 ─▶ leaf
//!        each step: read, verify, take the last child whose number or key is not above the target
//! ```
//!
//! A child must be what its parent says it is: its level, its first number, its first key. Leaves
//! are walked in order by descending again for the number that follows the last one: levels
//! descend and numbers ascend, so that no forged index holds a reader for ever.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::reader::SeriesReader;
use super::unit::{ReadMode, UnitFile};
use crate::env::Fs;
use crate::error::{DecodeError, Result};
use crate::format::block_meta::{BlockMeta, Root};
use crate::format::directory_page::{self, Child, Kind};
use crate::format::families_page;
use crate::format::pairs_filter;
use crate::format::postings_list;
use crate::format::series_page;
use crate::format::terms_page::{self, ListPlace, Postings, Stretch};
use crate::model::Metadata;
use crate::postings::{Sought, TermIndex};

/// The most ids that a scan gathers before it unites them, of four bytes each.
const GATHERED_IDS: usize = 1_048_576;

/// To look at a series by itself costs as much as so many bytes of a list; at one that is near another, as so many.
const LOOK_UP_BYTES: u64 = 16_384;
const NEAR_BYTES: u64 = 512;
/// Series that are as near as this mostly stand in one page.
const NEAR_SERIES: u32 = 64;
/// For more series than these a list is read.
const MAX_LOOK_UPS: u64 = 65_536;

/// The index file of one block.
#[derive(Debug)]
pub(super) struct Index {
    file: UnitFile,
    meta: Arc<BlockMeta>,
}

/// What a descent looks for.
#[derive(Clone, Copy, Debug)]
enum Target<'a> {
    /// The leaf with this number in it.
    Number(u32),
    /// The leaf in which this key is, if anywhere.
    Key(&'a str, &'a str),
    /// The leaf in which the last entry of this name is, if anywhere.
    EndOf(&'a str),
}

/// The postings of an entry, and the page that it stands in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    /// The series.
    pub(super) postings: Postings<'a>,
    /// The offset of the page.
    pub(super) page: u64,
}

/// A page as its parent describes it.
#[derive(Clone, Debug)]
pub(super) struct PageRef {
    /// Where it stands.
    pub(super) offset: u64,
    /// Its length.
    pub(super) bytes: u32,
    /// Its level; 0 for leaves.
    pub(super) level: u8,
    /// The number of the first thing in it.
    pub(super) number: u32,
    /// Its first key, known unless it is the root.
    pub(super) key: Option<(String, String)>,
}

impl PageRef {
    /// The uppermost page of a tree.
    pub(super) fn root(root: Root) -> PageRef {
        PageRef { offset: root.offset, bytes: root.bytes, level: root.level, number: 0, key: None }
    }

    fn child(&self, child: &Child<'_>) -> PageRef {
        PageRef {
            offset: child.offset,
            bytes: child.bytes,
            level: self.level.saturating_sub(1),
            number: child.number,
            key: Some((child.name.to_owned(), child.value.to_owned())),
        }
    }

    /// Whether a page with this first number and key is the one that the parent meant.
    fn agrees(&self, number: u32, key: Option<(&str, &str)>) -> bool {
        let same_key = match (&self.key, key) {
            (Some((name, value)), Some(key)) => (name.as_str(), value.as_str()) == key,
            _ => true,
        };
        number == self.number && same_key
    }
}

impl Index {
    /// Opens the file; reads nothing of it.
    pub(super) fn open(fs: &dyn Fs, path: PathBuf, mode: ReadMode, meta: Arc<BlockMeta>) -> Result<Index> {
        Ok(Index { file: UnitFile::open(fs, path, mode, meta.index_bytes)?, meta })
    }

    /// The file.
    pub(super) fn file(&self) -> &UnitFile {
        &self.file
    }

    /// The block's meta.
    pub(super) fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    fn root(&self, kind: Kind) -> Root {
        match kind {
            Kind::Terms => self.meta.pairs_root,
            Kind::Series => self.meta.series_root,
            Kind::Families => self.meta.families_root,
        }
    }

    /// The children of a node, each checked against its siblings and the node.
    pub(super) fn children(&self, kind: Kind, at: &PageRef) -> Result<Vec<PageRef>> {
        let mut children = Vec::new();
        self.with_node(kind, at, |page| {
            while let Some(child) = page.next()? {
                children.push(at.child(&child));
            }
            Ok(())
        })?;
        Ok(children)
    }

    /// Decodes a node, which must be what its parent says.
    fn with_node<R>(
        &self,
        kind: Kind,
        at: &PageRef,
        f: impl FnOnce(&mut directory_page::Page<'_>) -> std::result::Result<R, DecodeError>,
    ) -> Result<R> {
        let corrupt = |e| self.file.corrupt(at.offset, e);
        let bytes = self.page_bytes("directory_page", at, directory_page::MAX_PAGE_BYTES)?;
        let page = directory_page::Page::decode(self.meta.salt, at.offset, kind, at.level, &bytes);
        let mut page = page.map_err(corrupt)?;
        let first = page.clone().next().map_err(corrupt)?;
        match first.is_some_and(|first| at.agrees(first.number, Some((first.name, first.value)))) {
            true => f(&mut page).map_err(corrupt),
            false => {
                Err(self.file.invalid("directory_page", at.offset, "the node is not what its parent says"))
            }
        }
    }

    fn page_bytes(&self, structure: &'static str, at: &PageRef, maximum: usize) -> Result<Cow<'_, [u8]>> {
        match usize::try_from(at.bytes) {
            Ok(bytes) if bytes <= maximum => self.file.read(structure, at.offset, bytes),
            _ => Err(self.file.invalid(structure, at.offset, "a page is longer than any can be")),
        }
    }

    fn descend(&self, kind: Kind, target: Target<'_>) -> Result<PageRef> {
        self.descend_to(kind, target, 0)
    }

    /// The page of `level` on the way to the target, or the root if that is lower.
    fn descend_to(&self, kind: Kind, target: Target<'_>, level: u8) -> Result<PageRef> {
        let mut at = PageRef::root(self.root(kind));
        let beyond = |child: &Child<'_>| match target {
            Target::Number(number) => child.number > number,
            Target::Key(name, value) => (child.name, child.value) > (name, value),
            Target::EndOf(name) => child.name > name,
        };
        while at.level > level {
            let next = self.with_node(kind, &at, |page| {
                page.seek(beyond)?;
                let mut next = None;
                while let Some(child) = page.next()?.filter(|child| next.is_none() || !beyond(child)) {
                    next = Some(child);
                }
                Ok(next.map(|child| at.child(&child)))
            })?;
            match next {
                Some(next) => at = next,
                None => return Err(self.file.invalid("directory_page", at.offset, "the node has no child")),
            }
        }
        Ok(at)
    }

    /// Decodes a leaf of the dictionary.
    pub(super) fn with_terms<R>(
        &self,
        at: &PageRef,
        f: impl FnOnce(&terms_page::Page<'_>) -> Result<R>,
    ) -> Result<R> {
        let corrupt = |e| self.file.corrupt(at.offset, e);
        let bytes = self.page_bytes("terms_page", at, terms_page::MAX_PAGE_BYTES)?;
        let page = terms_page::Page::decode(self.meta.salt, at.offset, &bytes).map_err(corrupt)?;
        let agrees = at.agrees(page.first(), Some(page.first_key().map_err(corrupt)?));
        if !agrees || page.first().saturating_add(page.count()) > self.meta.pairs {
            return Err(self.file.invalid("terms_page", at.offset, "the page is not what its parent says"));
        }
        f(&page)
    }

    /// The leaf that holds the entry with this ordinal, or would.
    pub(super) fn terms_of(&self, ordinal: u32) -> Result<PageRef> {
        self.descend(Kind::Terms, Target::Number(ordinal))
    }

    /// Calls `f` with the entries from (name, value) on, until it breaks: with a stretch of them, how many of it come before, and where its page
    /// stands.
    fn stretches_from(
        &self,
        name: &str,
        value: &str,
        mut f: impl FnMut(&Stretch<'_>, usize, u64) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if self.meta.pairs == 0 {
            return Ok(());
        }
        let mut at = self.descend(Kind::Terms, Target::Key(name, value))?;
        let mut ahead = Vec::new().into_iter();
        let mut reached = false;
        loop {
            let next = self.with_terms(&at, |page| {
                let corrupt = |e| self.file.corrupt(at.offset, e);
                let mut walk =
                    if reached { page.walk() } else { page.walk_near(name, value).map_err(corrupt)? };
                while let Some(stretch) = walk.next_stretch().map_err(corrupt)? {
                    let from = if reached { 0 } else { stretch.position(name, value).map_err(corrupt)? };
                    reached = reached || from < stretch.len();
                    if reached && f(stretch, from, at.offset)?.is_break() {
                        return Ok(None);
                    }
                }
                Ok(Some(page.first() + page.count()))
            })?;
            reached = true;
            at = match next {
                Some(next) if next < self.meta.pairs => self.following(Kind::Terms, &at, next, &mut ahead)?,
                _ => return Ok(()),
            };
        }
    }

    /// The leaf that begins with `number`, which follows `at`: from those `ahead`, which are a node's, one read for all of them.
    fn following(
        &self,
        kind: Kind,
        at: &PageRef,
        number: u32,
        ahead: &mut std::vec::IntoIter<PageRef>,
    ) -> Result<PageRef> {
        if ahead.as_slice().is_empty() {
            *ahead = self.leaves_from(kind, number)?.into_iter();
        }
        match ahead.next().filter(|next| next.number == number) {
            Some(next) => Ok(next),
            None => Err(self.file.invalid(
                "directory_page",
                at.offset,
                "the leaf is not followed by the next one",
            )),
        }
    }

    /// The leaves of one node from that with `number` on.
    fn leaves_from(&self, kind: Kind, number: u32) -> Result<Vec<PageRef>> {
        let node = self.descend_to(kind, Target::Number(number), 1)?;
        if node.level == 0 {
            return Ok(vec![node]);
        }
        let mut leaves = self.children(kind, &node)?;
        let from = leaves.partition_point(|leaf| leaf.number <= number).saturating_sub(1);
        Ok(leaves.split_off(from))
    }

    /// Calls `f` with each label name and all series that have it.
    pub(super) fn names(&self, mut f: impl FnMut(&str, Found<'_>) -> Result<()>) -> Result<()> {
        if self.meta.pairs == 0 {
            return Ok(());
        }
        let mut at = self.descend(Kind::Terms, Target::Number(0))?;
        let mut last = String::new();
        loop {
            let next = self.with_terms(&at, |page| {
                let mut walk = page.walk();
                while let Some(term) = walk.next().map_err(|e| self.file.corrupt(at.offset, e))? {
                    if term.name > last.as_str() {
                        if !term.value.is_empty() {
                            return Err(self.headless(at.offset));
                        }
                        f(term.name, Found { postings: term.postings, page: at.offset })?;
                        last.clear();
                        last.push_str(term.name);
                    }
                }
                Ok(page.first() + page.count())
            })?;
            if next >= self.meta.pairs {
                return Ok(());
            }
            // Skip the leaves that hold nothing but values of the last name.
            let jumped = self.descend(Kind::Terms, Target::EndOf(&last))?;
            at = match jumped.number >= next {
                true => jumped,
                false => self.following(Kind::Terms, &at, next, &mut Vec::new().into_iter())?,
            };
        }
    }

    /// A name whose first entry is not (name, "").
    pub(super) fn headless(&self, offset: u64) -> crate::error::Error {
        self.file.invalid("terms_page", offset, "a name does not begin with the empty value")
    }

    /// Calls `f` with each value that may be sought, and the series that have it.
    pub(super) fn values(
        &self,
        sought: Sought<'_>,
        mut f: impl FnMut(&str, Found<'_>) -> Result<()>,
    ) -> Result<()> {
        self.stretches_from(sought.name, sought.prefix, |stretch, from, page| {
            sought.cancel.check()?;
            let alike = sought.prefix.is_empty() && stretch.is_of(sought.name);
            let corrupt = |e| self.file.corrupt(page, e);
            if let Some(infix) = sought.infix.filter(|_| alike) {
                let mut at = stretch.find(from, infix);
                while let Some(i) = at {
                    if let Some(term) = stretch.term(i).map_err(corrupt)? {
                        f(term.value, Found { postings: term.postings, page })?;
                    }
                    at = stretch.find(i + 1, infix);
                }
                return Ok(ControlFlow::Continue(()));
            }
            for term in stretch.terms(from) {
                let (name, value, postings) = term.map_err(corrupt)?;
                if !alike && (name != sought.name || !value.starts_with(sought.prefix)) {
                    return Ok(ControlFlow::Break(()));
                }
                if !value.is_empty() {
                    f(value, Found { postings, page })?;
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// The series of an entry.
    pub(super) fn series_with(&self, found: Found<'_>) -> Result<RoaringBitmap> {
        match found.postings {
            Postings::Listed(list) => self.postings(list),
            Postings::Inline(_) => {
                let mut ids = Vec::new();
                self.inline(found, &mut ids)?;
                Ok(RoaringBitmap::from_sorted_iter(ids.iter().copied()).unwrap_or_default())
            }
        }
    }

    /// Whether an entry has one of these series. `ids` is room to work in.
    pub(super) fn has_any(
        &self,
        found: Found<'_>,
        series: &RoaringBitmap,
        ids: &mut Vec<u32>,
    ) -> Result<bool> {
        match found.postings {
            Postings::Listed(list) => Ok(!self.postings(list)?.is_disjoint(series)),
            Postings::Inline(_) => {
                ids.clear();
                self.inline(found, ids)?;
                Ok(ids.iter().any(|id| series.contains(*id)))
            }
        }
    }

    /// Appends the ids that stand in an entry, if they do.
    fn inline(&self, found: Found<'_>, out: &mut Vec<u32>) -> Result<()> {
        match found.postings {
            Postings::Listed(_) => Ok(()),
            Postings::Inline(ids) => {
                ids.decode_into(self.meta.series, out).map_err(|e| self.file.corrupt(found.page, e))
            }
        }
    }

    /// Whether the filter lets a pair pass: if it does not, the block has no series with it.
    pub(super) fn filter_passes(&self, name: &str, value: &str) -> Result<bool> {
        let buckets = pairs_filter::buckets(self.meta.pairs);
        if buckets == 0 {
            return Ok(true);
        }
        let Some(start) = self.filter_start() else {
            return Err(self.file.invalid("pairs_filter", 0, "the index is shorter than its filter"));
        };
        let hash = pairs_filter::hash(name, value);
        let place = pairs_filter::place(buckets, hash);
        let offset = start + place.offset;
        let bytes = self.file.read("pairs_filter", offset, place.bytes as usize)?;
        let page = pairs_filter::Page::decode(self.meta.salt, offset, &bytes);
        page.map(|page| page.may_have(place, hash)).map_err(|e| self.file.corrupt(offset, e))
    }

    /// Where the filter stands: at the end of the file.
    pub(super) fn filter_start(&self) -> Option<u64> {
        let bytes = pairs_filter::total_bytes(pairs_filter::buckets(self.meta.pairs));
        self.meta.index_bytes.checked_sub(bytes)
    }

    /// What `f` makes of the entry of a pair; none if there is no such pair.
    fn with_entry(
        &self,
        name: &str,
        value: &str,
        f: impl FnOnce(u32, Found<'_>) -> Result<RoaringBitmap>,
    ) -> Result<RoaringBitmap> {
        if self.meta.pairs == 0 {
            return Ok(RoaringBitmap::new());
        }
        let at = self.descend(Kind::Terms, Target::Key(name, value))?;
        self.with_terms(&at, |page| {
            let found = page.find(name, value).map_err(|e| self.file.corrupt(at.offset, e))?;
            match found {
                Some((ordinal, postings)) => f(ordinal, Found { postings, page: at.offset }),
                None => Ok(RoaringBitmap::new()),
            }
        })
    }

    /// Reads a postings list.
    pub(super) fn postings(&self, list: ListPlace) -> Result<RoaringBitmap> {
        let series = self.meta.series;
        if u64::from(list.bytes) > postings_list::maximum_bytes(series) {
            return Err(self.file.invalid("postings_list", list.offset, "a list is longer than any can be"));
        }
        let bytes = self.file.read("postings_list", list.offset, list.bytes as usize)?;
        postings_list::decode(self.meta.salt, list.offset, series, &bytes)
            .map_err(|e| self.file.corrupt(list.offset, e))
    }

    /// Decodes a leaf of the series.
    pub(super) fn series_page(&self, at: &PageRef) -> Result<series_page::Page> {
        let bytes = self.page_bytes("series_page", at, series_page::MAX_PAGE_BYTES)?;
        let start = self.meta.range.start();
        let page = series_page::Page::decode(self.meta.salt, at.offset, start, &bytes)
            .map_err(|e| self.file.corrupt(at.offset, e))?;
        let fits = page.first().saturating_add(page.count()) <= self.meta.series;
        match fits && at.agrees(page.first(), None) {
            true => Ok(page),
            false => Err(self.file.invalid("series_page", at.offset, "the page is not what its parent says")),
        }
    }

    /// The leaf that holds series `id`, or would.
    pub(super) fn series_of(&self, id: u32) -> Result<PageRef> {
        self.descend(Kind::Series, Target::Number(id))
    }

    /// Decodes a leaf of the families.
    pub(super) fn families_page(&self, at: &PageRef) -> Result<families_page::Page> {
        let bytes = self.page_bytes("families_page", at, families_page::MAX_PAGE_BYTES)?;
        let page = families_page::Page::decode(self.meta.salt, at.offset, &bytes)
            .map_err(|e| self.file.corrupt(at.offset, e))?;
        let key = page.families.first().map(|(name, _)| (name.as_str(), ""));
        let count = u32::try_from(page.families.len()).unwrap_or(u32::MAX);
        let fits = page.first.saturating_add(count) <= self.meta.families;
        match fits && at.agrees(page.first, key) {
            true => Ok(page),
            false => {
                Err(self.file.invalid("families_page", at.offset, "the page is not what its parent says"))
            }
        }
    }

    /// The metadata of one family.
    pub(super) fn family(&self, name: &str) -> Result<Option<Metadata>> {
        if self.meta.families == 0 {
            return Ok(None);
        }
        let at = self.descend(Kind::Families, Target::Key(name, ""))?;
        let families = self.families_page(&at)?.families;
        Ok(families.into_iter().find_map(|(n, metadata)| (n == name).then_some(metadata)))
    }

    /// All families, sorted by name.
    pub(super) fn families(&self) -> Result<Vec<(String, Metadata)>> {
        let mut out: Vec<(String, Metadata)> = Vec::new();
        if self.meta.families == 0 {
            return Ok(out);
        }
        let mut at = self.descend(Kind::Families, Target::Number(0))?;
        let mut ahead = Vec::new().into_iter();
        loop {
            let page = self.families_page(&at)?;
            let next = page.first.saturating_add(u32::try_from(page.families.len()).unwrap_or(u32::MAX));
            out.extend(page.families);
            if next >= self.meta.families {
                return Ok(out);
            }
            at = self.following(Kind::Families, &at, next, &mut ahead)?;
        }
    }
}

impl TermIndex for Index {
    fn all(&self) -> Result<RoaringBitmap> {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.meta.series);
        Ok(all)
    }

    fn may_have(&self, name: &str, value: &str) -> Result<bool> {
        if self.meta.pairs == 0 {
            return Ok(false);
        }
        self.filter_passes(name, value)
    }

    fn exact(&self, name: &str, value: &str) -> Result<RoaringBitmap> {
        self.with_entry(name, value, |_, found| self.series_with(found))
    }

    fn exact_among(&self, name: &str, value: &str, among: RoaringBitmap) -> Result<RoaringBitmap> {
        self.with_entry(name, value, |ordinal, found| match found.postings {
            Postings::Listed(list) if look_up_bytes(&among) < u64::from(list.bytes) => {
                SeriesReader::default().having(self, ordinal, among)
            }
            _ => Ok(among & self.series_with(found)?),
        })
    }

    fn weight(&self, name: &str, value: &str) -> Result<u64> {
        let mut weight = 0;
        self.with_entry(name, value, |_, found| {
            weight = found.postings.bytes();
            Ok(RoaringBitmap::new())
        })?;
        Ok(weight)
    }

    /// Ids that stand in entries are gathered, and united at the end: a bitmap is slow to grow by one.
    fn scan(
        &self,
        sought: Sought<'_>,
        keep: &mut dyn FnMut(&str) -> Result<bool>,
        out: &mut RoaringBitmap,
    ) -> Result<()> {
        let mut gathered = Vec::new();
        self.values(sought, |value, found| {
            if !keep(value)? {
                return Ok(());
            }
            match found.postings {
                Postings::Listed(list) => *out |= self.postings(list)?,
                Postings::Inline(_) => self.inline(found, &mut gathered)?,
            }
            if gathered.len() >= GATHERED_IDS {
                unite(&mut gathered, out);
            }
            Ok(())
        })?;
        unite(&mut gathered, out);
        Ok(())
    }
}

/// What it costs to look at some series by themselves.
fn look_up_bytes(among: &RoaringBitmap) -> u64 {
    if among.len() > MAX_LOOK_UPS {
        return u64::MAX;
    }
    let mut before = None;
    let cost = |id: u32| {
        let near = before.replace(id).is_some_and(|before| id - before <= NEAR_SERIES);
        if near { NEAR_BYTES } else { LOOK_UP_BYTES }
    };
    among.iter().map(cost).sum()
}

/// Unites ids, in any order, with a set; empties them.
fn unite(ids: &mut Vec<u32>, out: &mut RoaringBitmap) {
    ids.sort_unstable();
    ids.dedup();
    let sorted = RoaringBitmap::from_sorted_iter(ids.drain(..));
    *out |= sorted.unwrap_or_default();
}
