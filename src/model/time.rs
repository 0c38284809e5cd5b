//! One kind of time range, half-open, and sorted sets of them.

use std::fmt;
use std::ops::Range;

/// Milliseconds from `start` (included) to `end` (excluded). Empty if `end <= start`.
///
/// ```
/// use silverback::TimeRange;
/// let hour: TimeRange = (0..3_600_000).into();
/// assert!(hour.contains(0) && !hour.contains(3_600_000));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    start: i64,
    end: i64,
}

impl TimeRange {
    /// Holds every sample: `i64::MAX` is reserved and never a timestamp.
    pub const ALL: TimeRange = TimeRange { start: i64::MIN, end: i64::MAX };

    /// From `start` (included) to `end` (excluded).
    pub const fn new(start: i64, end: i64) -> TimeRange {
        TimeRange { start, end }
    }

    /// Both ends included; `last` saturates below the reserved `i64::MAX`.
    pub const fn inclusive(first: i64, last: i64) -> TimeRange {
        TimeRange { start: first, end: last.saturating_add(1) }
    }

    /// The first timestamp that is inside.
    pub const fn start(self) -> i64 {
        self.start
    }

    /// The first timestamp after it.
    pub const fn end(self) -> i64 {
        self.end
    }

    /// Whether it holds nothing.
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// Whether `t` is inside.
    pub const fn contains(self, t: i64) -> bool {
        self.start <= t && t < self.end
    }

    /// Whether the two share a timestamp.
    pub fn overlaps(self, other: TimeRange) -> bool {
        !self.intersection(other).is_empty()
    }

    /// Whether all of `other` is inside.
    pub fn covers(self, other: TimeRange) -> bool {
        other.is_empty() || (self.start <= other.start && other.end <= self.end)
    }

    /// What the two share, perhaps empty.
    pub fn intersection(self, other: TimeRange) -> TimeRange {
        TimeRange { start: self.start.max(other.start), end: self.end.min(other.end) }
    }

    /// The smallest range that holds both; an empty one adds nothing.
    pub fn hull(self, other: TimeRange) -> TimeRange {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => TimeRange { start: self.start.min(other.start), end: self.end.max(other.end) },
        }
    }
}

impl From<Range<i64>> for TimeRange {
    fn from(r: Range<i64>) -> TimeRange {
        TimeRange::new(r.start, r.end)
    }
}

impl fmt::Debug for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// Disjoint, non-adjacent, non-empty ranges in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intervals(Vec<TimeRange>);

impl Intervals {
    /// Adds a range, merging it with what it touches. Cost: linear in the ranges.
    pub(crate) fn add(&mut self, range: TimeRange) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|r| r.end < range.start);
        let to = self.0.partition_point(|r| r.start <= range.end);
        let merged = self.0.iter().take(to).skip(from).fold(range, |m, r| m.hull(*r));
        self.0.splice(from..to, [merged]);
    }

    /// Whether a range holds `t`. Cost: logarithmic.
    pub(crate) fn contains(&self, t: i64) -> bool {
        let i = self.0.partition_point(|r| r.end <= t);
        self.0.get(i).is_some_and(|r| r.contains(t))
    }

    /// Whether one range holds all of `range`.
    pub(crate) fn covers(&self, range: TimeRange) -> bool {
        range.is_empty() || self.0.iter().any(|r| r.covers(range))
    }

    /// Whether a range shares a timestamp with `range`.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        self.0.iter().any(|r| r.overlaps(range))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = TimeRange> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_holds_every_timestamp() {
        for t in [i64::MIN, -1, 0, i64::MAX - 1] {
            assert!(TimeRange::ALL.contains(t));
        }
        assert!(TimeRange::inclusive(5, i64::MAX).contains(i64::MAX - 1));
    }

    #[test]
    fn intervals_stay_disjoint_and_agree_with_a_plain_set() {
        let mut seed = 1u64;
        for _ in 0..200 {
            let mut intervals = Intervals::default();
            let mut plain = [false; 64];
            for _ in 0..12 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let start = i64::try_from(seed >> 33 & 63).unwrap();
                let end = start + i64::try_from(seed >> 50 & 7).unwrap();
                intervals.add(TimeRange::new(start, end));
                for (t, slot) in plain.iter_mut().enumerate() {
                    *slot |= (start..end).contains(&i64::try_from(t).unwrap());
                }
                for (t, slot) in plain.iter().enumerate() {
                    assert_eq!(intervals.contains(i64::try_from(t).unwrap()), *slot);
                }
                let ranges: Vec<_> = intervals.iter().collect();
                assert!(ranges.windows(2).all(|w| w[0].end < w[1].start));
            }
        }
    }
}
