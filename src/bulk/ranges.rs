//! Which block ranges a load has samples in: aligned to multiples of the range, counted, bounded.

use std::collections::BTreeSet;

use crate::error::{AppendError, Error, ErrorKind, Result};
use crate::model::TimeRange;

/// The ranges seen so far, and the first and last timestamp.
#[derive(Debug)]
pub(super) struct Ranges {
    range_ms: i64,
    most: usize,
    seen: BTreeSet<i64>,
    /// The range of the sample before: most samples are in the same.
    last: TimeRange,
    hull: TimeRange,
}

impl Ranges {
    /// None yet; at most `most` ranges of `range_ms` (at least 1).
    pub(super) fn new(range_ms: i64, most: usize) -> Ranges {
        let nothing = TimeRange::new(0, 0);
        Ranges { range_ms, most, seen: BTreeSet::new(), last: nothing, hull: nothing }
    }

    /// Takes note of the timestamps; refuses the reserved one, and one range too many.
    pub(super) fn add(&mut self, t: &[i64]) -> Result<()> {
        let (min, max) = t.iter().fold((i64::MAX, i64::MIN), |(min, max), &t| (min.min(t), max.max(t)));
        if t.is_empty() {
            return Ok(());
        }
        if max == i64::MAX {
            return Err(AppendError::BadTimestamp.into());
        }
        if !(self.last.contains(min) && self.last.contains(max)) {
            for &t in t {
                if !self.last.contains(t) {
                    self.add_range(t)?;
                }
            }
        }
        self.hull = self.hull.hull(TimeRange::inclusive(min, max));
        Ok(())
    }

    fn add_range(&mut self, t: i64) -> Result<()> {
        let index = t.div_euclid(self.range_ms);
        if self.seen.len() >= self.most && !self.seen.contains(&index) {
            let message = format!(
                "the samples fall into more than {} blocks of {} ms; load fewer at a time, or check their timestamps",
                self.most, self.range_ms
            );
            return Err(Error::new(ErrorKind::Ceiling, message));
        }
        self.seen.insert(index);
        self.last = range_of(t, self.range_ms);
        Ok(())
    }

    /// From the first to the last timestamp; empty if there is none.
    pub(super) fn hull(&self) -> TimeRange {
        self.hull
    }

    /// The ranges in time order, cut into groups of at most `most` (at least 1): the hull of each group.
    pub(super) fn groups(&self, most: usize) -> Vec<TimeRange> {
        let ranges: Vec<TimeRange> = self
            .seen
            .iter()
            .map(|index| range_of(index.saturating_mul(self.range_ms), self.range_ms))
            .collect();
        let hull = |group: &[TimeRange]| group.iter().copied().reduce(TimeRange::hull);
        ranges.chunks(most.max(1)).filter_map(hull).collect()
    }
}

/// The aligned range that holds `t`, clipped to what timestamps there are.
pub(super) fn range_of(t: i64, range_ms: i64) -> TimeRange {
    let start = t.div_euclid(range_ms).saturating_mul(range_ms);
    // The lowest range begins below i64::MIN, unless the length divides it; its end still counts from there.
    let end = (i128::from(t.div_euclid(range_ms)) + 1) * i128::from(range_ms);
    TimeRange::new(start, i64::try_from(end).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_aligned_and_hold_their_timestamps_to_the_ends() {
        for range_ms in [1, 7, 1_000, 86_400_000, i64::MAX] {
            for t in [i64::MIN, i64::MIN + 1, -1_001, -1_000, -1, 0, 999, 1_000, i64::MAX - 1] {
                let range = range_of(t, range_ms);
                assert!(range.contains(t), "{t} by {range_ms}: {range:?}");
                assert_eq!(range, range_of(range.start(), range_ms));
                assert_eq!(range, range_of(range.end() - 1, range_ms));
            }
        }
        assert_eq!(range_of(-1, 1_000), TimeRange::new(-1_000, 0));
    }

    #[test]
    fn groups_cover_what_was_seen_and_the_ceiling_holds() {
        let mut ranges = Ranges::new(10, 4);
        ranges.add(&[35, 5, 36, -1]).unwrap();
        ranges.add(&[99]).unwrap();
        assert_eq!(ranges.groups(2), [TimeRange::new(-10, 10), TimeRange::new(30, 100)]);
        assert_eq!(ranges.hull(), TimeRange::new(-1, 100));
        ranges.add(&[0, 31]).unwrap();
        assert_eq!(ranges.add(&[0, 10]).unwrap_err().kind(), ErrorKind::Ceiling);
        assert_eq!(ranges.add(&[i64::MAX]).unwrap_err().kind(), ErrorKind::Append(AppendError::BadTimestamp));
    }

    #[test]
    fn the_lowest_range_is_a_group_of_its_own_hull() {
        let mut ranges = Ranges::new(1_000, 4);
        ranges.add(&[i64::MIN, i64::MAX - 1]).unwrap();
        let groups = ranges.groups(1);
        assert!(groups.len() == 2 && groups[0].contains(i64::MIN) && groups[1].contains(i64::MAX - 1));
    }
}
