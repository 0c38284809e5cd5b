//! The series of one lock, in runs that never move.
//!
//! ```text
//!   slot = run (22) │ place (10)        run r is in shard r mod SHARDS, there in place r / SHARDS
//!   run  = [Gate; RUN], [Series; RUN]   made whole when a slot of it is used first
//! ```
//!
//! Since runs do not move, a new series costs the same however many there are. A scrape's rows lie in few runs, and within
//! one a place is always inside.

use roaring::RoaringBitmap;

use super::series::Series;

/// Locks over the series; a commit takes one at a time.
pub(super) const SHARDS: usize = 16;
/// Consecutive slots of one shard, so that a scrape's rows stay under one lock.
pub(super) const RUN: usize = 1_024;

/// What the verdict on a common row needs of its series, and nothing else: 1,000 of them take 16 KB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    /// The first time that is in order after what was applied, and what the batch in progress has accepted.
    pub(super) next_t: i64,
    /// Of the series that lives there; [`NOBODY`] if none does.
    pub(super) generation: u32,
}

/// No generation.
const NOBODY: u32 = u32::MAX;
/// The gate of nobody.
const SHUT: Gate = Gate { next_t: i64::MIN, generation: NOBODY };

/// The series of one lock.
#[derive(Debug, Default)]
pub(super) struct Shard {
    runs: Vec<Run>,
}

/// Series that stand together, and their gates.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) gates: Box<[Gate; RUN]>,
    pub(super) series: Box<[Option<Series>; RUN]>,
}

/// The shard of a slot.
pub(super) fn shard_of(slot: u32) -> usize {
    slot as usize / RUN % SHARDS
}

/// The place of a slot in its run.
#[inline(always)]
pub(super) fn place(slot: u32) -> usize {
    slot as usize % RUN
}

/// Slots in an order in which neighbours are of different shards: who takes the lock of each series in turn leaves it, between two of
/// a shard, to the commits that wait.
pub(super) fn apart(slots: &RoaringBitmap) -> impl Iterator<Item = u32> {
    const ROUND: u32 = 16_384;
    const _: () = assert!(ROUND as usize == RUN * SHARDS);
    let rounds = slots.max().map_or(0, |max| max / ROUND + 1);
    (0..rounds)
        .filter(|round| slots.range_cardinality(round * ROUND..=round * ROUND + (ROUND - 1)) > 0)
        .flat_map(|round| (0..).take(RUN).map(move |place| round * ROUND + place))
        .flat_map(|first| (first..=u32::MAX).step_by(RUN).take(SHARDS))
        .filter(|slot| slots.contains(*slot))
}

impl Run {
    fn new() -> Option<Run> {
        let gates = vec![SHUT; RUN].try_into().ok()?;
        let series = std::iter::repeat_with(|| None).take(RUN).collect::<Vec<_>>().try_into().ok()?;
        Some(Run { gates, series })
    }

    /// Gate and series of a slot, which is always inside: the compiler checks nothing.
    #[inline(always)]
    pub(super) fn of(&mut self, slot: u32) -> Option<(&mut Gate, &mut Option<Series>)> {
        Some((self.gates.get_mut(place(slot))?, self.series.get_mut(place(slot))?))
    }
}

impl Shard {
    /// The run of a slot.
    #[inline]
    pub(super) fn run_mut(&mut self, slot: u32) -> Option<&mut Run> {
        self.runs.get_mut(slot as usize / RUN / SHARDS)
    }

    fn run(&self, slot: u32) -> Option<&Run> {
        self.runs.get(slot as usize / RUN / SHARDS)
    }

    /// The gate of a slot.
    pub(super) fn gate(&self, slot: u32) -> Option<Gate> {
        self.run(slot)?.gates.get(place(slot)).copied()
    }

    /// The series in a slot.
    pub(super) fn series(&self, slot: u32) -> Option<&Series> {
        self.run(slot)?.series.get(place(slot))?.as_ref()
    }

    /// The same, to be changed.
    pub(super) fn series_mut(&mut self, slot: u32) -> Option<&mut Series> {
        self.run_mut(slot)?.series.get_mut(place(slot))?.as_mut()
    }

    /// A series moves in.
    pub(super) fn enter(&mut self, slot: u32, series: Series) {
        while self.runs.len() <= slot as usize / RUN / SHARDS {
            self.runs.extend(Run::new());
        }
        if let Some((gate, place)) = self.run_mut(slot).and_then(|run| run.of(slot)) {
            *gate = Gate { generation: series.generation.into(), ..SHUT };
            *place = Some(series);
        }
    }

    /// The series of a slot moves out, if that may be; whether it did.
    pub(super) fn leave_if(&mut self, slot: u32, may: impl FnOnce(&mut Series) -> bool) -> bool {
        let Some((gate, place)) = self.run_mut(slot).and_then(|run| run.of(slot)) else { return false };
        let left = place.take_if(may).is_some();
        if left {
            *gate = SHUT;
        }
        left
    }

    /// The series of one of its runs, if it has so many.
    pub(super) fn series_of_run(&self, run: usize) -> Option<impl Iterator<Item = &Series>> {
        self.runs.get(run).map(|run| run.series.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_place_of_its_own() {
        let mut shards: Vec<Shard> = (0..SHARDS).map(|_| Shard::default()).collect();
        let slots = [0, 1, 1_023, 1_024, 16 * 1_024 - 1, 16 * 1_024, 100_000];
        for (generation, slot) in (0..).zip(slots) {
            shards[shard_of(slot)].enter(slot, Series::new(generation, 0));
        }
        for (generation, slot) in (0..).zip(slots) {
            let shard = &mut shards[shard_of(slot)];
            assert_eq!(shard.series(slot).map(|s| s.generation), Some(generation));
            assert_eq!(shard.gate(slot).map(|g| g.generation), Some(u32::from(generation)));
            assert!(!shard.leave_if(slot, |s| s.generation != generation));
            assert!(shard.leave_if(slot, |_| true) && shard.series(slot).is_none());
        }
        let series = |shard: &Shard| {
            (0..).map_while(|run| shard.series_of_run(run).map(Iterator::count)).sum::<usize>()
        };
        assert_eq!(shards.iter().map(series).sum::<usize>(), 0);
    }

    #[test]
    fn slots_apart_are_all_slots_once_and_neighbours_of_different_shards() {
        let run = RUN as u32;
        let dense: RoaringBitmap = (0..20 * run).collect();
        let sparse: RoaringBitmap = [0, 7, run, 16 * run - 1, 16 * run, 300 * run + 5, u32::MAX].into();
        for slots in [&dense, &sparse, &RoaringBitmap::new()] {
            let mut order: Vec<u32> = apart(slots).collect();
            let together = order.windows(2).filter(|w| shard_of(w[0]) == shard_of(w[1])).count();
            assert!(together <= slots.len() as usize / 100, "{together}");
            order.sort_unstable();
            assert!(order.into_iter().eq(slots.iter()));
        }
    }
}
