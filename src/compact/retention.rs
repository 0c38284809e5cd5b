//! Which blocks go, by age and by size. Pure: bounds of blocks in, indexes out.
//!
//! ```text
//!                  horizon = min(now, newest sample) - retention
//!   ├──A──┤  ├──B──┤  ┊
//!                  ├──C──┤  ├──D──┤        A and B go; C stays until its last sample is past
//! ```
//!
//! Only whole blocks go. The horizon follows the newest sample, so that a store nobody writes to
//! keeps what it has; and the clock, so that one sample from the future deletes nothing.
//!
//! A block may hide samples of a block of lower precedence that shares time with it. If it went
//! alone, what had been replaced would be seen again. So a block goes only after all lower ones
//! that share time with it: its *release* is the latest last sample among it and (transitively)
//! those. Age compares releases with the horizon; size drops blocks in order of release. Both keep
//! the rule, since the release of a block is never before that of one that it may hide.
//! A block that a merge reads has no release, and so has none that hides samples of it, since what the merge writes takes its place.

use super::plan::Candidate;

/// How much is kept; `None` keeps all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keep {
    /// Samples this much older than the newest go.
    pub(crate) retention_ms: Option<i64>,
    /// The most that all blocks take together, in bytes.
    pub(crate) max_bytes: Option<u64>,
}

/// The time before which samples may go: `min(now, newest sample) - retention`.
pub(crate) fn horizon(now_t: i64, newest_t: i64, retention_ms: i64) -> i64 {
    now_t.min(newest_t).saturating_sub(retention_ms)
}

/// The indexes, ascending, of the blocks that go. `newest_t` is the time of the newest sample of
/// the store, the head's included. Cost: quadratic in the blocks.
pub(crate) fn expired(blocks: &[Candidate], keep: Keep, now_t: i64, newest_t: i64) -> Vec<usize> {
    let horizon = keep.retention_ms.map(|retention_ms| horizon(now_t, newest_t, retention_ms));
    let mut kept_bytes = blocks.iter().fold(0u64, |sum, block| sum.saturating_add(block.bytes));
    let mut gone = Vec::new();
    for (release_t, i) in releases(blocks) {
        let Some(release_t) = release_t else { break };
        let too_old = horizon.is_some_and(|horizon| release_t < horizon);
        let too_large = keep.max_bytes.is_some_and(|max_bytes| kept_bytes > max_bytes);
        if !too_old && !too_large {
            break;
        }
        kept_bytes = kept_bytes.saturating_sub(blocks.get(i).map_or(0, |block| block.bytes));
        gone.push(i);
    }
    gone.sort_unstable();
    gone
}

/// The release of each block with its index, in the order in which blocks may go; those without one are last.
fn releases(blocks: &[Candidate]) -> Vec<(Option<i64>, usize)> {
    let mut order: Vec<(usize, &Candidate)> = blocks.iter().enumerate().collect();
    order.sort_by_key(|(_, block)| block.precedence);
    let mut known: Vec<(Option<i64>, usize, &Candidate)> = Vec::with_capacity(blocks.len());
    for (i, block) in order {
        // A block without samples hides nothing and keeps nothing.
        let last_t = match block.samples.is_empty() {
            true => i64::MIN,
            false => block.samples.end().saturating_sub(1),
        };
        let hidden = known.iter().filter(|(_, _, lower)| lower.samples.overlaps(block.samples));
        let own = (!block.reserved).then_some(last_t);
        let release_t = hidden.fold(own, |latest, (release_t, ..)| Some(latest?.max((*release_t)?)));
        known.push((release_t, i, block));
    }
    // Stable, so that of equal releases the lower precedence goes first.
    known.sort_by_key(|(release_t, ..)| (release_t.is_none(), *release_t));
    known.into_iter().map(|(release_t, i, _)| (release_t, i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimeRange;
    use crate::source::testing::Rng;

    fn block(start: i64, end: i64, precedence: u64) -> Candidate {
        let range = TimeRange::new(start, end);
        Candidate {
            range,
            samples: range,
            precedence,
            bytes: 10,
            series: 1,
            touched_series: 0,
            reserved: false,
        }
    }

    fn by_age(retention_ms: i64) -> Keep {
        Keep { retention_ms: Some(retention_ms), max_bytes: None }
    }

    fn by_size(max_bytes: u64) -> Keep {
        Keep { retention_ms: None, max_bytes: Some(max_bytes) }
    }

    #[test]
    fn the_horizon_follows_the_earlier_of_clock_and_newest_sample() {
        assert_eq!(horizon(1_000, 900, 100), 800);
        assert_eq!(horizon(1_000, 1_000_000, 100), 900);
        assert_eq!(horizon(i64::MIN, 0, 100), i64::MIN);
    }

    #[test]
    fn whole_blocks_go_once_their_last_sample_is_past() {
        let blocks = [block(200, 300, 3), block(0, 100, 1), block(100, 200, 2)];
        assert_eq!(
            expired(&blocks, by_age(100), 1_000, 299),
            [1],
            "the horizon is 199: one has a sample there"
        );
        assert_eq!(expired(&blocks, by_age(100), 1_000, 300), [1, 2]);
        assert!(expired(&blocks, by_age(100), 199, i64::MAX).is_empty(), "the future deletes nothing");
        let ahead = Candidate { samples: TimeRange::new(0, 50), ..block(0, 100, 1) };
        assert_eq!(expired(&[ahead], by_age(100), 150, 300), [0], "samples count, not the directory's range");
        assert!(expired(&blocks, Keep::default(), i64::MAX, i64::MAX).is_empty());
    }

    #[test]
    fn the_oldest_go_until_the_rest_fits() {
        let blocks = [block(200, 300, 3), block(0, 100, 1), block(100, 200, 2)];
        assert!(expired(&blocks, by_size(30), 0, 0).is_empty());
        assert_eq!(expired(&blocks, by_size(29), 0, 0), [1]);
        assert_eq!(expired(&blocks, by_size(20), 0, 0), [1]);
        assert_eq!(expired(&blocks, by_size(19), 0, 0), [1, 2]);
        assert_eq!(expired(&blocks, by_size(0), 0, 0), [0, 1, 2]);
    }

    #[test]
    fn what_hides_another_block_stays_as_long_as_it() {
        let blocks = [block(0, 1_000, 1), block(0, 100, 2), block(50, 60, 3), block(100, 200, 0)];
        assert!(expired(&blocks[..3], by_age(0), 500, 500).is_empty());
        assert_eq!(expired(&blocks, by_age(0), 500, 500), [3], "what is hidden may go before");
        assert_eq!(expired(&blocks[..3], by_size(25), 0, 0), [0]);
        assert_eq!(expired(&blocks[..3], by_age(0), 1_000, 1_000), [0, 1, 2]);
    }

    #[test]
    fn what_a_merge_reads_stays_and_what_hides_samples_of_it() {
        let reserved = |b: Candidate| Candidate { reserved: true, ..b };
        let blocks = [reserved(block(0, 100, 2)), block(50, 150, 3), block(0, 60, 1), block(200, 300, 4)];
        assert_eq!(expired(&blocks, by_age(0), 1_000, 1_000), [2, 3], "of the others all that are past go");
        assert_eq!(expired(&blocks, by_size(0), 0, 0), [2, 3], "and all, if that is not enough");
    }

    #[test]
    fn nothing_hidden_is_ever_seen_again() {
        let mut rng = Rng(3);
        for _ in 0..500 {
            let blocks: Vec<_> = (0..1 + rng.below(10))
                .map(|precedence| {
                    let range = rng.range(300, 100);
                    Candidate { bytes: rng.below(20), ..block(range.start(), range.end(), precedence) }
                })
                .collect();
            let keep = Keep {
                retention_ms: (rng.below(2) == 0).then(|| rng.time(300)),
                max_bytes: (rng.below(2) == 0).then(|| rng.below(150)),
            };
            let gone = expired(&blocks, keep, 350, 400);
            for (i, kept) in blocks.iter().enumerate().filter(|(i, _)| !gone.contains(i)) {
                for hides in gone.iter().map(|&g| &blocks[g]).filter(|b| b.precedence > kept.precedence) {
                    assert!(!hides.samples.overlaps(kept.samples), "{i} would be seen again");
                }
            }
            let bytes: u64 = (0..blocks.len()).filter(|i| !gone.contains(i)).map(|i| blocks[i].bytes).sum();
            assert!(keep.max_bytes.is_none_or(|max| bytes <= max));
        }
    }
}
