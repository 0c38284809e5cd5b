//! A list of series ids that grows at its end: that of a label pair in memory.
//!
//! ```text
//!   closed: (gap:varint, length - 1:varint)*  │ open: start..end │ behind: bitmap
//!           runs, ascending                     the last run       ids that came later than greater ones
//! ```
//!
//! Ids are given out in ascending order, and the series of a target come one after the other. So the common
//! insertion moves the end of the open run: an addition. A list of one run, and most are, has no allocation.
//! Slots that are used again come out of order: they go to a bitmap.
//!
//! **Cost.** 16 bytes; 2 bytes and more for each closed run. To add an id at the end takes constant time, elsewhere
//! that of the bitmap; removal goes through all runs, however many ids they are.

use roaring::RoaringBitmap;

/// The bits of a byte of a variable-length number that count.
const VARINT_BITS: u32 = 7;

/// Sorted, unique ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ids {
    /// The open run; empty only where the whole list is.
    start: u32,
    end: u32,
    rest: Option<Box<Rest>>,
}

/// What lists of one run have not.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rest {
    closed: Vec<u8>,
    /// Where the last closed run ends.
    closed_end: u32,
    /// Came after greater ones.
    behind: RoaringBitmap,
}

impl Ids {
    /// Adds an id. The greatest of 32 bits is no id.
    #[inline]
    pub(super) fn insert(&mut self, id: u32) {
        if id == self.end && self.start < self.end {
            self.end += 1;
        } else {
            self.insert_apart(id);
        }
    }

    fn insert_apart(&mut self, id: u32) {
        if self.is_empty() {
            (self.start, self.end) = (id, id.saturating_add(1));
        } else if id > self.end {
            self.close();
            (self.start, self.end) = (id, id.saturating_add(1));
        } else if id < self.start {
            self.rest.get_or_insert_default().behind.insert(id);
        }
    }

    /// The open run becomes a closed one.
    fn close(&mut self) {
        let (start, end) = (self.start, self.end);
        let rest = self.rest.get_or_insert_default();
        put(&mut rest.closed, start - rest.closed_end);
        put(&mut rest.closed, end - start - 1);
        rest.closed_end = end;
    }

    /// Removes ids. A list that had some is built anew, run by run.
    pub(super) fn remove_all(&mut self, ids: &RoaringBitmap) {
        if self.rest.is_none() && ids.contains_range(self.start..self.end) {
            *self = Ids::default();
            return;
        }
        let mut all = RoaringBitmap::new();
        self.unite_into(&mut all);
        if all.is_disjoint(ids) {
            return;
        }
        all -= ids;
        *self = Ids::default();
        let mut left = all.iter();
        while let Some(run) = left.next_range() {
            if !self.is_empty() {
                self.close();
            }
            (self.start, self.end) = (*run.start(), run.end().saturating_add(1));
        }
        if let Some(rest) = &mut self.rest {
            rest.closed.shrink_to_fit();
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// What the list takes besides itself, in bytes.
    #[cfg(test)]
    pub(super) fn allocated_bytes(&self) -> usize {
        let of = |rest: &Rest| size_of::<Rest>() + rest.closed.capacity() + rest.behind.serialized_size();
        self.rest.as_deref().map_or(0, of)
    }

    /// The runs, each from its first id to behind its last, ascending.
    fn runs(&self) -> impl Iterator<Item = (u32, u32)> {
        let mut closed = self.rest.as_ref().map_or(&[][..], |rest| &rest.closed);
        let mut at = 0;
        let runs = std::iter::from_fn(move || {
            let start = at + take(&mut closed)?;
            at = start + take(&mut closed)? + 1;
            Some((start, at))
        });
        runs.chain((!self.is_empty()).then_some((self.start, self.end)))
    }

    /// Whether one of the ids is among these.
    pub(super) fn intersects(&self, series: &RoaringBitmap) -> bool {
        let meets = |(start, end): (u32, u32)| series.range(start..end).next().is_some();
        self.rest.as_ref().is_some_and(|rest| !rest.behind.is_disjoint(series)) || self.runs().any(meets)
    }

    /// Adds all of them to a set.
    pub(super) fn unite_into(&self, out: &mut RoaringBitmap) {
        for (start, end) in self.runs() {
            if end - start == 1 {
                out.insert(start);
            } else {
                out.insert_range(start..end);
            }
        }
        if let Some(rest) = &self.rest {
            *out |= &rest.behind;
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        let mut all = RoaringBitmap::new();
        self.unite_into(&mut all);
        all.len()
    }
}

fn put(out: &mut Vec<u8>, mut n: u32) {
    loop {
        let [low, ..] = n.to_le_bytes();
        n >>= VARINT_BITS;
        if n == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

/// Takes what [`put`] has put; `None` at the end.
fn take(from: &mut &[u8]) -> Option<u32> {
    let mut n = 0;
    for shift in (0..u32::BITS).step_by(VARINT_BITS as usize) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        n |= u32::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    Some(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn runs_at_the_end_take_no_allocation() {
        let mut ids = Ids::default();
        (7..1_000).for_each(|id| ids.insert(id));
        assert_eq!((ids.len(), ids.allocated_bytes()), (993, 0));
        ids.insert(2_000_000);
        ids.insert(u32::MAX - 1);
        assert_eq!(
            ids.runs().collect::<Vec<_>>(),
            [(7, 1_000), (2_000_000, 2_000_001), (u32::MAX - 1, u32::MAX)]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]
        #[test]
        fn a_list_is_a_set(steps in prop::collection::vec((0u32..300, 1u32..40, any::<bool>()), 1..30)) {
            let (mut ids, mut model) = (Ids::default(), BTreeSet::new());
            for (start, n, add) in steps {
                if add {
                    (start..start + n).for_each(|id| ids.insert(id));
                    model.extend(start..start + n);
                } else {
                    ids.remove_all(&(start..start + n).collect());
                    model.retain(|id| !(start..start + n).contains(id));
                }
                let mut all = RoaringBitmap::new();
                ids.unite_into(&mut all);
                prop_assert_eq!(all.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!((ids.len(), ids.is_empty()), (model.len() as u64, model.is_empty()));
                for probe in 0..330 {
                    let one = RoaringBitmap::from_iter([probe]);
                    prop_assert_eq!(ids.intersects(&one), model.contains(&probe));
                }
            }
        }
    }
}
