//! An inner node of one of the three trees of `index`: which page holds which keys.
//!
//! ```text
//!   ┌──────────┬───────────┬───────────────┬────────────────┬────────────────────┬───────┐
//!   │ kind: 1 B│ level: 1 B│ count: varint │ child 0, 1, …  │ restarts: u32 each │ crc32 │
//!   └──────────┴───────────┴───────────────┴────────────────┴────────────────────┴───────┘
//!   child   gap: varint   bytes: varint   number: varint   name: sized   value: sized
//! ```
//!
//! A child is a page: a leaf if this node's level is 1, else a node of the level below. Children
//! stand in `index` before their parent, in order; `gap` counts from the end of the child before,
//! but from 0 for the children 0, 16, 32, …, whose places in the node the restarts tell: a descent
//! searches those, and looks at 16 children at most. `number` is the child's first ordinal, series or family; name and value
//! are its first key: both for pairs, the name for families, neither for series.
//!
//! Invariants: numbers and keys strictly ascend; every child ends at or before its parent's
//! offset and has a lower level, so that no chain of nodes is endless. A page's place and length come from its parent.

use super::cursor::{Reader, Write, checked, place_seed, seal};
use crate::error::{DecodeError, DecodeReason};
use crate::model::{MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES};

const STRUCTURE: &str = "directory_page";
/// A page is closed before a child that would make it larger, but has two children at least.
pub(crate) const TARGET_BYTES: usize = 16_384;
/// The largest page.
pub(crate) const MAX_PAGE_BYTES: usize = 262_144;
/// Children from one restart to the next.
pub(crate) const RESTART_CHILDREN: u32 = 16;
/// The highest level.
pub(crate) const MAX_LEVEL: u8 = 31;
/// The kind of the tree of label pairs, with leaves `terms_page`.
pub(crate) const KIND_TERMS: u8 = 1;
/// The kind of the tree of series, with leaves `series_page`.
pub(crate) const KIND_SERIES: u8 = 2;
/// The kind of the tree of families, with leaves `families_page`.
pub(crate) const KIND_FAMILIES: u8 = 3;
/// An upper bound for the bytes of a child beside its name and value, and of the page beside its children.
const CHILD_OVERHEAD_BYTES: usize = 32;
/// The longest name of a metric family: it is the value of a label.
const MAX_FAMILY_BYTES: usize = MAX_LABEL_VALUE_BYTES;

/// The three trees of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Label pairs.
    Terms,
    /// Series.
    Series,
    /// Metric families.
    Families,
}

impl Kind {
    /// The byte on disk.
    fn code(self) -> u8 {
        match self {
            Kind::Terms => KIND_TERMS,
            Kind::Series => KIND_SERIES,
            Kind::Families => KIND_FAMILIES,
        }
    }

    fn name_maximum(self) -> usize {
        match self {
            Kind::Terms => MAX_LABEL_NAME_BYTES,
            Kind::Series => 0,
            Kind::Families => MAX_FAMILY_BYTES,
        }
    }

    fn value_maximum(self) -> usize {
        match self {
            Kind::Terms => MAX_LABEL_VALUE_BYTES,
            Kind::Series | Kind::Families => 0,
        }
    }
}

/// One page below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Child<'a> {
    /// Its offset in `index`.
    pub(crate) offset: u64,
    /// Its length, checksum included.
    pub(crate) bytes: u32,
    /// The number of the first thing in it.
    pub(crate) number: u32,
    /// The name in its first key, or empty.
    pub(crate) name: &'a str,
    /// The value in its first key, or empty.
    pub(crate) value: &'a str,
}

/// Collects the children of one node.
#[derive(Debug)]
pub(crate) struct Builder {
    kind: Kind,
    level: u8,
    count: u32,
    end: u64,
    children: Vec<u8>,
    restarts: Vec<usize>,
}

impl Builder {
    /// A node of `level`, 1 or more.
    pub(crate) fn new(kind: Kind, level: u8) -> Builder {
        Builder { kind, level, count: 0, end: 0, children: Vec::new(), restarts: Vec::new() }
    }

    /// Whether there is room for one more child.
    pub(crate) fn fits(&self, child: &Child<'_>) -> bool {
        let children = self.children.len() + self.restarts.len() * 4;
        let bytes = children + child.name.len() + child.value.len() + 2 * CHILD_OVERHEAD_BYTES;
        self.count < 2 || bytes <= TARGET_BYTES
    }

    /// Adds a child that stands behind the one before.
    pub(crate) fn push(&mut self, child: &Child<'_>) {
        if self.count.is_multiple_of(RESTART_CHILDREN) {
            self.restarts.push(self.children.len());
            self.end = 0;
        }
        self.children.put_varint(child.offset.wrapping_sub(self.end));
        self.children.put_varint(u64::from(child.bytes));
        self.children.put_varint(u64::from(child.number));
        if self.kind != Kind::Series {
            self.children.put_sized(child.name.as_bytes());
        }
        if self.kind == Kind::Terms {
            self.children.put_sized(child.value.as_bytes());
        }
        self.end = child.offset.saturating_add(u64::from(child.bytes));
        self.count += 1;
    }

    /// Appends the page, which will stand at `offset`.
    pub(crate) fn finish(&self, salt: u32, offset: u64, out: &mut Vec<u8>) {
        let from = out.len();
        out.put_u8(self.kind.code());
        out.put_u8(self.level);
        out.put_varint(u64::from(self.count));
        let children_at = out.len() - from;
        out.extend_from_slice(&self.children);
        for at in &self.restarts {
            // A page is far below 4 GiB.
            out.put_u32(u32::try_from(children_at + at).unwrap_or(u32::MAX));
        }
        seal(out, from, place_seed(salt, offset));
    }
}

/// A node whose checksum and header are verified; children are checked as they are walked over.
#[derive(Clone, Debug)]
pub(crate) struct Page<'a> {
    kind: Kind,
    level: u8,
    offset: u64,
    count: u32,
    body: &'a [u8],
    children_at: usize,
    children_end: usize,
    /// Which child is next, and where it stands.
    index: u32,
    at: usize,
    end: u64,
    previous: Option<Child<'a>>,
}

impl<'a> Page<'a> {
    /// Verifies the node of `kind` and `level` that stands at `offset`.
    pub(crate) fn decode(
        salt: u32,
        offset: u64,
        kind: Kind,
        level: u8,
        bytes: &'a [u8],
    ) -> Result<Page<'a>, DecodeError> {
        let body = checked(STRUCTURE, place_seed(salt, offset), bytes)?;
        let mut r = Reader::new(STRUCTURE, body);
        if r.u8()? != kind.code() {
            return Err(r.invalid("the node is of another tree"));
        }
        if r.u8()? != level || level == 0 || level > MAX_LEVEL {
            return Err(r.invalid("the node is of another level than its parent says"));
        }
        let Some(count) = u32::try_from(r.count(MAX_PAGE_BYTES)?).ok().filter(|&count| count > 0) else {
            return Err(r.invalid("the node has no child"));
        };
        let children_at = r.offset();
        let restart_bytes = count.div_ceil(RESTART_CHILDREN) as usize * 4;
        let children_end = body.len().checked_sub(restart_bytes).filter(|&end| end > children_at);
        let children_end = children_end.ok_or_else(|| r.error(DecodeReason::Truncated))?;
        Ok(Page {
            kind,
            level,
            offset,
            count,
            body,
            children_at,
            children_end,
            index: 0,
            at: children_at,
            end: 0,
            previous: None,
        })
    }

    /// Goes to the last restart whose child is not `beyond` what is looked for, or to the first.
    pub(crate) fn seek(&mut self, beyond: impl Fn(&Child<'a>) -> bool) -> Result<(), DecodeError> {
        let (mut low, mut high) = (0, self.count.div_ceil(RESTART_CHILDREN));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let mut r = self.reader(self.restart_at(middle)?)?;
            match beyond(&self.child(&mut r, 0)?) {
                true => high = middle,
                false => low = middle,
            }
        }
        self.index = low * RESTART_CHILDREN;
        self.at = self.restart_at(low)?;
        (self.end, self.previous) = (0, None);
        Ok(())
    }

    /// The next child, or `None` behind the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Child<'a>>, DecodeError> {
        let mut r = self.reader(self.at)?;
        if self.index == self.count {
            return r.finish().map(|()| None);
        }
        let is_restart = self.index.is_multiple_of(RESTART_CHILDREN);
        if is_restart && self.restart_at(self.index / RESTART_CHILDREN)? != self.at {
            return Err(r.invalid("a restart is not where the node says"));
        }
        let child = self.child(&mut r, if is_restart { 0 } else { self.end })?;
        if child.offset < self.end {
            return Err(r.invalid("the children overlap"));
        }
        if let Some(before) = self.previous {
            let ascends =
                self.kind == Kind::Series || (before.name, before.value) < (child.name, child.value);
            if before.number >= child.number || !ascends {
                return Err(r.invalid("the children are not in order"));
            }
        }
        self.index += 1;
        self.at = r.offset();
        self.end = child.offset.saturating_add(u64::from(child.bytes));
        self.previous = Some(child);
        Ok(Some(child))
    }

    /// Reads a child whose gap counts from `from`.
    fn child(&self, r: &mut Reader<'a>, from: u64) -> Result<Child<'a>, DecodeError> {
        let (gap, bytes, number) = (r.varint()?, r.varint32()?, r.varint32()?);
        let name = if self.kind == Kind::Series { "" } else { r.sized_str(self.kind.name_maximum())? };
        let value = if self.kind == Kind::Terms { r.sized_str(self.kind.value_maximum())? } else { "" };
        let offset = from.checked_add(gap);
        let end = offset.and_then(|o| o.checked_add(u64::from(bytes))).filter(|&end| end <= self.offset);
        let (Some(offset), Some(_)) = (offset, end) else {
            return Err(r.invalid("a child is not before its parent"));
        };
        if self.kind != Kind::Series && name.is_empty() {
            return Err(r.invalid("a key is empty"));
        }
        Ok(Child { offset, bytes, number, name, value })
    }

    /// Where the child of a restart stands in the body.
    fn restart_at(&self, restart: u32) -> Result<usize, DecodeError> {
        let mut r = Reader::new(STRUCTURE, self.body);
        r.bytes(self.children_end + restart as usize * 4)?;
        let at = r.u32()? as usize;
        let first = restart == 0;
        match at < self.children_end && (at == self.children_at) == first && at >= self.children_at {
            true => Ok(at),
            false => Err(r.invalid("a restart is not where a child can be")),
        }
    }

    fn reader(&self, at: usize) -> Result<Reader<'a>, DecodeError> {
        let mut r = Reader::new(STRUCTURE, self.body.get(..self.children_end).unwrap_or_default());
        r.bytes(at)?;
        Ok(r)
    }
}

/// The property that fuzzing checks: a node that can be walked to its end is written back to the same bytes.
pub(crate) fn fuzz(data: &[u8]) {
    const PLACE: (u32, u64) = (7, 1 << 20);
    let mut sealed = data.to_vec();
    seal(&mut sealed, 0, place_seed(PLACE.0, PLACE.1));
    for kind in [Kind::Terms, Kind::Series, Kind::Families] {
        for bytes in [data, &sealed] {
            let level = bytes.get(1).copied().unwrap_or_default();
            let Ok(mut page) = Page::decode(PLACE.0, PLACE.1, kind, level, bytes) else { continue };
            let mut builder = Builder::new(kind, page.level);
            let whole = loop {
                match page.next() {
                    Ok(Some(child)) => builder.push(&child),
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            // Restarts may be forged where the walk did not get to.
            let _ = page.seek(|child| child.number > 9);
            if whole {
                let mut out = Vec::new();
                builder.finish(PLACE.0, PLACE.1, &mut out);
                assert_eq!(out, bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    const OFFSET: u64 = 100_000;

    fn page(kind: Kind, level: u8, children: &[Child<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(kind, level);
        for child in children {
            builder.push(child);
        }
        let mut out = Vec::new();
        builder.finish(1, OFFSET, &mut out);
        out
    }

    fn all(kind: Kind, level: u8, bytes: &[u8]) -> Result<Vec<Child<'_>>, DecodeError> {
        let mut page = Page::decode(1, OFFSET, kind, level, bytes)?;
        let mut out = Vec::new();
        while let Some(child) = page.next()? {
            out.push(child);
        }
        Ok(out)
    }

    fn child<'a>(offset: u64, bytes: u32, number: u32, name: &'a str, value: &'a str) -> Child<'a> {
        Child { offset, bytes, number, name, value }
    }

    fn example() -> Vec<Child<'static>> {
        vec![
            child(40, 60, 0, "__name__", ""),
            child(180, 70, 9, "job", "api"),
            child(250, 30, 20, "job", "x"),
        ]
    }

    #[test]
    fn every_kind_round_trips() {
        let terms = example();
        assert_eq!(all(Kind::Terms, 1, &page(Kind::Terms, 1, &terms)).unwrap(), terms);
        let families = [child(0, 9, 0, "a", ""), child(9, 9, 7, "b", "")];
        assert_eq!(all(Kind::Families, 2, &page(Kind::Families, 2, &families)).unwrap(), families);
        let series = [child(0, 9, 0, "", ""), child(9, 9, 7, "", "")];
        assert_eq!(all(Kind::Series, 31, &page(Kind::Series, 31, &series)).unwrap(), series);
        let many: Vec<Child<'_>> = (0..100).map(|i| child(i * 9, 9, i as u32 * 10, "", "")).collect();
        let bytes = page(Kind::Series, 1, &many);
        assert_eq!(all(Kind::Series, 1, &bytes).unwrap(), many);
        for number in [0, 9, 10, 159, 160, 161, 500, 999, 5_000] {
            let mut found = Page::decode(1, OFFSET, Kind::Series, 1, &bytes).unwrap();
            found.seek(|child| child.number > number).unwrap();
            let first = found.next().unwrap().unwrap().number;
            assert!(
                first <= number && number.min(999) < first + 160 && first.is_multiple_of(160),
                "{number}: {first}"
            );
        }
        let bytes = page(Kind::Terms, 1, &terms);
        assert!(all(Kind::Series, 1, &bytes).is_err(), "another tree");
        assert!(all(Kind::Terms, 2, &bytes).is_err(), "another level");
        assert!(Page::decode(1, OFFSET + 1, Kind::Terms, 1, &bytes).is_err(), "another place");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_children_round_trip(steps in prop::collection::btree_map(("[a-c]{1,3}", "[a-c]{0,3}"), (0u64..99, 1u32..99, 0u32..9), 1..50)) {
            let (mut offset, mut number) = (0, 0);
            let children: Vec<Child<'_>> = steps.iter().map(|((name, value), (gap, bytes, step))| {
                let one = child(offset + gap, *bytes, number, name, value);
                offset += gap + u64::from(*bytes);
                number += 1 + step;
                one
            }).collect();
            let bytes = page(Kind::Terms, 3, &children);
            prop_assert_eq!(all(Kind::Terms, 3, &bytes).unwrap(), children);
        }
        #[test]
        fn bytes_never_panic(mut data in prop::collection::vec(any::<u8>(), 0..200), kind in 1u8..4) {
            fuzz(&data);
            if let Some(first) = data.first_mut() {
                *first = kind;
            }
            fuzz(&data);
        }
    }

    #[test]
    fn damage_is_found() {
        let bytes = page(Kind::Terms, 1, &example());
        let owned = |b: &[u8]| all(Kind::Terms, 1, b).map(|c| format!("{c:?}"));
        testing::truncations_fail(&bytes, owned);
        testing::bit_flips_fail_or_agree(&bytes, owned);
    }

    #[test]
    fn limits_and_order() {
        let bad = |level, children: &[Child<'_>]| {
            all(Kind::Terms, level, &page(Kind::Terms, level, children)).is_err()
        };
        assert!(!bad(MAX_LEVEL, &example()));
        assert!(bad(MAX_LEVEL + 1, &example()), "too high");
        assert!(bad(0, &example()), "a leaf is no node");
        assert!(bad(1, &[]), "no child");
        assert!(!bad(1, &[child(OFFSET - 10, 10, 0, "a", "")]));
        assert!(bad(1, &[child(OFFSET - 10, 11, 0, "a", "")]), "a child that reaches into its parent");
        assert!(bad(1, &[child(5, 5, 0, "a", ""), child(9, 5, 1, "b", "")]), "overlapping children");
        assert!(bad(1, &[child(0, 5, 1, "a", ""), child(5, 5, 1, "b", "")]), "numbers stand still");
        assert!(bad(1, &[child(0, 5, 0, "b", ""), child(5, 5, 1, "a", "")]), "keys descend");
        assert!(bad(1, &[child(0, 5, 0, "", "")]), "an empty key");
        let (name, value) = ("n".repeat(MAX_LABEL_NAME_BYTES), "v".repeat(MAX_LABEL_VALUE_BYTES));
        let longest = [child(0, 5, 0, &name, &value), child(5, 5, 1, &name, &value)];
        assert!(!bad(1, &longest[..1]));
        assert!(page(Kind::Terms, 1, &longest).len() <= MAX_PAGE_BYTES);
        let longer = format!("{name}n");
        assert!(bad(1, &[child(0, 5, 0, &longer, "")]));
        let mut builder = Builder::new(Kind::Terms, 1);
        builder.push(&longest[0]);
        assert!(builder.fits(&longest[1]), "two children always fit");
        builder.push(&longest[1]);
        assert!(!builder.fits(&longest[1]));
    }

    #[test]
    fn golden() {
        testing::golden("directory_page", &page(Kind::Terms, 1, &example()));
    }
}
