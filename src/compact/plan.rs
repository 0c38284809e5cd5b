//! Which blocks to rewrite next. Pure: bounds of blocks in, at most one step out.
//!
//! ```text
//!   levels    2 h │ 6 h │ 18 h │ 54 h │ 162 h │ 486 h        windows aligned to multiples of themselves
//!
//!   1 overlap     ├──A──┤                     ├────A∪B∪C────┤
//!                    ├──B──┤ ├─D─┤     ──▶                   ├─D─┤
//!                       ├─C──┤
//!   2 level       ├A┤├B┤├C┤ ┊ ├D┤      ──▶    ├───A∪B∪C───┤ ┊ ├D┤      once newer data exists beyond ┊
//!   3 tombstones  ├A░░┤                ──▶    ├A'┤                     the samples are gone from disk
//! ```
//!
//! # Why no step changes what is seen
//! At one time the sample of the highest precedence is seen. A merged block takes the highest
//! precedence of its inputs, so an outsider that shares time with it must not stand between them.
//! - An overlap step takes a whole connected group. The hull of such a group has no gap, so a
//!   block that shares time with the hull shares it with a member, and is one: there is no outsider.
//! - A level step runs only where no two blocks overlap, and takes all blocks inside a window. The
//!   result spans the hull of its inputs, not the window; an outsider that shares time with the
//!   hull would have to reach from a border of the window past the outermost input: it would overlap it.
//! - Blocks published while a step runs have a higher precedence than all that it reads, and share time with its result or do
//!   not: they stand above it either way. Its inputs are reserved, so that nothing else takes them away meanwhile.
//!
//! # Why it ends
//! Steps 1 and 2 leave fewer blocks, step 3 leaves fewer blocks with tombstones; none undoes
//! another, since no step makes an overlap or a tombstone.
//!
//! The idea of levels is that of Prometheus's leveled compactor.

use crate::model::TimeRange;

/// Each level spans this many of the one below.
const STEP: i64 = 3;
/// A block is rewritten once tombstones touch more than one in this many of its series.
const TOUCHED_SERIES_SHARE: u64 = 20;

/// What planning and retention know of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The range that its directory is named for: holds all its samples.
    pub(crate) range: TimeRange,
    /// The tightest range that holds its samples; empty if it has none.
    pub(crate) samples: TimeRange,
    /// Which block wins where two have a sample; unique.
    pub(crate) precedence: u64,
    /// All its files together.
    pub(crate) bytes: u64,
    /// How many series it has.
    pub(crate) series: u64,
    /// How many of them a tombstone touches.
    pub(crate) touched_series: u64,
    /// Whether a merge reads it: it must not go before that has ended.
    pub(crate) reserved: bool,
}

/// One rewrite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Indexes of the candidates to merge, ascending.
    pub(crate) inputs: Vec<usize>,
    /// The range of the result: holds the ranges of all inputs.
    pub(crate) range: TimeRange,
    /// The level of the result: the first whose span holds the range.
    pub(crate) level: u8,
    /// Why.
    pub(crate) reason: Reason,
}

/// Why blocks are rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// They share time.
    Overlap,
    /// Their window of the next level is complete.
    Level,
    /// Tombstones touch a notable part.
    Tombstones,
}

/// The spans of the levels: `block_range_ms`, then three times the one below, up to `largest_ms`.
/// Never empty, always ascending and positive.
pub(crate) fn levels(block_range_ms: i64, largest_ms: i64) -> Vec<i64> {
    let first = block_range_ms.max(1);
    let grow = |span: &i64| span.checked_mul(STEP).filter(|span| *span <= largest_ms);
    std::iter::successors(Some(first), grow).collect()
}

/// The next rewrite, or `None` if all is well. `levels_ms` are the spans from [`levels`];
/// `newest_t` is the time of the newest sample of the store, the head's included.
pub(crate) fn plan(blocks: &[Candidate], levels_ms: &[i64], newest_t: i64) -> Option<Plan> {
    let order = blocks.iter().enumerate().filter(|(_, block)| !block.range.is_empty());
    let mut order: Vec<usize> = order.map(|(i, _)| i).collect();
    order.sort_by_key(|&i| {
        blocks.get(i).map(|block| (block.range.start(), block.range.end(), block.precedence))
    });
    let (reason, inputs) = overlapping(blocks, &order)
        .map(|inputs| (Reason::Overlap, inputs))
        .or_else(|| window(blocks, &order, levels_ms, newest_t).map(|inputs| (Reason::Level, inputs)))
        .or_else(|| touched(blocks).map(|input| (Reason::Tombstones, vec![input])))?;
    Some(finish(blocks, inputs, levels_ms, reason))
}

/// The earliest group of two or more blocks that are connected by shared time.
fn overlapping(blocks: &[Candidate], order: &[usize]) -> Option<Vec<usize>> {
    let mut group: Vec<usize> = Vec::new();
    let mut hull = TimeRange::new(0, 0);
    for &i in order {
        let range = blocks.get(i)?.range;
        if hull.overlaps(range) {
            group.push(i);
        } else if group.len() > 1 {
            break;
        } else {
            (group, hull) = (vec![i], TimeRange::new(0, 0));
        }
        hull = hull.hull(range);
    }
    (group.len() > 1).then_some(group)
}

/// Two or more blocks inside one complete window, of the smallest level that has such a window.
fn window(blocks: &[Candidate], order: &[usize], levels_ms: &[i64], newest_t: i64) -> Option<Vec<usize>> {
    for &span in levels_ms.iter().skip(1) {
        let mut group: Vec<usize> = Vec::new();
        let mut current = None;
        for &i in order {
            let found = blocks.get(i).and_then(|block| window_of(block.range, span, newest_t));
            if found != current {
                if group.len() > 1 {
                    return Some(group);
                }
                (group, current) = (Vec::new(), found);
            }
            group.extend(found.map(|_| i));
        }
        if group.len() > 1 {
            return Some(group);
        }
    }
    None
}

/// The number of the window of `span` that holds all of `range`, if it holds it and is complete.
fn window_of(range: TimeRange, span: i64, newest_t: i64) -> Option<i64> {
    let last = range.end().checked_sub(1)?;
    let number = range.start().div_euclid(span);
    let end = number.checked_add(1)?.checked_mul(span)?;
    (!range.is_empty() && last.div_euclid(span) == number && end <= newest_t).then_some(number)
}

/// The block of which tombstones touch the most series, if that is a notable part of it.
fn touched(blocks: &[Candidate]) -> Option<usize> {
    let notable = blocks.iter().enumerate().filter(|(_, block)| {
        block.touched_series > 0 && block.touched_series.saturating_mul(TOUCHED_SERIES_SHARE) > block.series
    });
    notable.max_by_key(|(i, block)| (block.touched_series, std::cmp::Reverse(*i))).map(|(i, _)| i)
}

fn finish(blocks: &[Candidate], mut inputs: Vec<usize>, levels_ms: &[i64], reason: Reason) -> Plan {
    inputs.sort_unstable();
    let ranges = inputs.iter().filter_map(|&i| blocks.get(i)).map(|block| block.range);
    let range = ranges.fold(TimeRange::new(0, 0), TimeRange::hull);
    let length_ms = range.end().saturating_sub(range.start());
    let level = levels_ms.iter().take(usize::from(u8::MAX)).take_while(|span| **span < length_ms).count();
    let level = level.min(levels_ms.len().saturating_sub(1));
    Plan { inputs, range, level: u8::try_from(level).unwrap_or(u8::MAX), reason }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::source::testing::Rng;

    const HOUR: i64 = 3_600_000;

    fn block(range: TimeRange, precedence: u64) -> Candidate {
        Candidate {
            range,
            samples: range,
            precedence,
            bytes: 1,
            series: 100,
            touched_series: 0,
            reserved: false,
        }
    }

    fn hours(from: i64, to: i64, precedence: u64) -> Candidate {
        block(TimeRange::new(from * HOUR, to * HOUR), precedence)
    }

    fn default_levels() -> Vec<i64> {
        levels(2 * HOUR, 486 * HOUR)
    }

    #[test]
    fn levels_grow_by_three_up_to_the_largest() {
        assert_eq!(default_levels(), [2, 6, 18, 54, 162, 486].map(|h| h * HOUR));
        assert_eq!(levels(10, 89), [10, 30]);
        assert_eq!(levels(10, 90), [10, 30, 90]);
        assert_eq!(levels(10, 5), [10]);
        assert_eq!(levels(0, -5), [1]);
        assert_eq!(levels(i64::MAX / 2, i64::MAX).len(), 1);
    }

    #[test]
    fn a_window_is_merged_once_newer_data_lies_beyond_it() {
        let blocks = [hours(0, 2, 1), hours(2, 4, 2), hours(4, 6, 3), hours(6, 8, 4)];
        assert_eq!(plan(&blocks, &default_levels(), 6 * HOUR - 1), None);
        let step = plan(&blocks, &default_levels(), 6 * HOUR).unwrap();
        let range = TimeRange::new(0, 6 * HOUR);
        assert_eq!(step, Plan { inputs: vec![0, 1, 2], range, level: 1, reason: Reason::Level });
    }

    #[test]
    fn one_block_is_not_a_window_and_gaps_do_not_matter() {
        assert_eq!(plan(&[hours(0, 2, 1)], &default_levels(), 100 * HOUR), None);
        let blocks = [hours(0, 2, 1), hours(4, 6, 3), hours(16, 18, 4)];
        let step = plan(&blocks, &default_levels(), 100 * HOUR).unwrap();
        assert_eq!((step.inputs, step.level), (vec![0, 1], 1));
        let blocks = [hours(0, 6, 3), hours(16, 18, 4)];
        let step = plan(&blocks, &default_levels(), 100 * HOUR).unwrap();
        assert_eq!((step.inputs, step.level, step.range), (vec![0, 1], 2, TimeRange::new(0, 18 * HOUR)));
        let apart = [hours(4, 6, 1), hours(6, 8, 2)];
        assert_eq!(plan(&apart, &levels(2 * HOUR, 6 * HOUR), 100 * HOUR), None, "two windows");
    }

    #[test]
    fn windows_before_1970_are_aligned_alike() {
        let blocks = [hours(-6, -4, 1), hours(-4, -2, 2), hours(-2, 0, 3), hours(0, 2, 4)];
        assert_eq!(plan(&blocks, &default_levels(), 2 * HOUR).unwrap().inputs, [0, 1, 2]);
    }

    #[test]
    fn overlap_goes_first_and_takes_all_that_is_connected() {
        let blocks = [hours(0, 2, 9), hours(2, 4, 2), hours(3, 7, 3), hours(6, 8, 1), hours(8, 10, 4)];
        let step = plan(&blocks, &default_levels(), 0).unwrap();
        assert_eq!((step.inputs, step.range), (vec![1, 2, 3], TimeRange::new(2 * HOUR, 8 * HOUR)));
        assert_eq!((step.level, step.reason), (1, Reason::Overlap));
        let nested = [hours(0, 486, 1), hours(2, 4, 2), hours(300, 302, 3)];
        let step = plan(&nested, &default_levels(), 0).unwrap();
        assert_eq!((step.inputs, step.level), (vec![0, 1, 2], 5));
        assert_eq!(
            plan(&[hours(0, 2, 1), hours(2, 4, 2)], &default_levels(), 4 * HOUR),
            None,
            "they only touch"
        );
    }

    #[test]
    fn tombstones_are_cleaned_above_a_twentieth() {
        let with = |touched_series| Candidate { touched_series, ..hours(0, 2, 1) };
        assert_eq!(plan(&[with(5)], &default_levels(), 0), None);
        let step = plan(&[hours(2, 4, 2), with(6)], &default_levels(), 0).unwrap();
        assert_eq!((step.inputs, step.reason, step.level), (vec![1], Reason::Tombstones, 0));
        let worse = Candidate { touched_series: 50, ..hours(4, 6, 3) };
        assert_eq!(plan(&[with(6), worse], &default_levels(), 0).unwrap().inputs, [1]);
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let blocks = [
            block(TimeRange::ALL, 1),
            block(TimeRange::new(i64::MIN, i64::MIN + 1), 2),
            block(TimeRange::new(i64::MAX - 1, i64::MAX), 3),
            block(TimeRange::new(0, 0), 4),
        ];
        let step = plan(&blocks, &default_levels(), i64::MAX).unwrap();
        assert_eq!((step.inputs, step.range, step.level), (vec![0, 1, 2], TimeRange::ALL, 5));
        assert_eq!(plan(&blocks[1..], &default_levels(), i64::MAX), None);
        assert_eq!(plan(&blocks, &[], i64::MAX).unwrap().level, 0);
        assert_eq!(plan(&[], &default_levels(), 0), None);
    }

    /// A block with what it stores: at each time the precedence of the block that it came from.
    type Stored = (Candidate, BTreeMap<i64, u64>);

    fn seen(blocks: &[Stored]) -> BTreeMap<i64, u64> {
        let mut by_precedence: Vec<_> = blocks.iter().collect();
        by_precedence.sort_by_key(|(block, _)| block.precedence);
        by_precedence.iter().flat_map(|(_, samples)| samples.iter().map(|(t, v)| (*t, *v))).collect()
    }

    /// Does what a rewrite does.
    fn run(blocks: &mut Vec<Stored>, step: &Plan) {
        let inputs: Vec<Stored> = step.inputs.iter().rev().map(|&i| blocks.remove(i)).collect();
        assert!(inputs.iter().all(|(block, _)| step.range.covers(block.range)));
        let precedence = inputs.iter().map(|(block, _)| block.precedence).max().unwrap();
        blocks.push((block(step.range, precedence), seen(&inputs)));
    }

    fn random_block(rng: &mut Rng, precedence: u64, aligned: bool) -> Stored {
        let span = [10, 30, 90][rng.below(3) as usize];
        let start = match aligned {
            true => (rng.time(400) - 200).div_euclid(span) * span,
            false => rng.time(400) - 200,
        };
        let range = TimeRange::new(start, start + span);
        let times = (0..span).filter(|_| rng.below(3) > 0);
        let samples = times.map(|t| (start + t, precedence)).collect();
        (Candidate { touched_series: rng.below(12), ..block(range, precedence) }, samples)
    }

    #[test]
    fn planning_ends_and_never_changes_what_is_seen() {
        let mut rng = Rng(7);
        let levels = levels(10, 270);
        for round in 0..400 {
            let count = 1 + rng.below(20);
            let mut precedences: Vec<u64> = (1..=count).collect();
            for i in (1..precedences.len()).rev() {
                precedences.swap(i, rng.below(i as u64 + 1) as usize);
            }
            let mut blocks: Vec<Stored> =
                precedences.iter().map(|&p| random_block(&mut rng, p, round % 3 > 0)).collect();
            let (expected, newest) = (seen(&blocks), rng.time(400) - 100);
            let mut steps = 0;
            let candidates = |blocks: &[Stored]| blocks.iter().map(|(b, _)| b.clone()).collect::<Vec<_>>();
            while let Some(step) = plan(&candidates(&blocks), &levels, newest) {
                run(&mut blocks, &step);
                steps += 1;
                assert!(steps <= 2 * count, "round {round} does not end");
                assert_eq!(seen(&blocks), expected, "round {round} after {step:?}");
            }
            check_fixpoint(&candidates(&blocks), &levels, newest);
        }
    }

    /// No overlap, no complete window of two, no notable tombstones.
    fn check_fixpoint(blocks: &[Candidate], levels: &[i64], newest: i64) {
        for (i, a) in blocks.iter().enumerate() {
            assert!(a.touched_series * 20 <= a.series);
            for b in &blocks[i + 1..] {
                assert!(!a.range.overlaps(b.range), "{a:?} and {b:?}");
                for span in &levels[1..] {
                    let window = a.range.start().div_euclid(*span) * span;
                    let window = TimeRange::new(window, window + span);
                    let inside = window.covers(a.range) && window.covers(b.range);
                    assert!(!inside || window.end() > newest, "{a:?} and {b:?} share {window:?}");
                }
            }
        }
    }
}
