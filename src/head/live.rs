//! Which generation lives in each slot, to be asked without a lock: for each sample that comes by reference.
//!
//! ```text
//!   slot + 1,024 = 0…01xxxxxxxxxxxxx      where the highest bit stands names the row, the bits behind it the place
//!   rows:  [1,024] [2,048] [4,096] …      made when a slot of theirs is used first, never moved
//! ```
//!
//! A place holds 0 while nobody lives there, else the generation plus 1. Cost: 4 bytes a slot; to ask takes two loads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The places of the first row, as a power of two.
const FIRST_BITS: u32 = 10;
/// Rows for all slots of 32 bits.
const ROWS: usize = 23;

/// The generations that live.
#[derive(Debug, Default)]
pub(super) struct Live {
    rows: [OnceLock<Box<[AtomicU32]>>; ROWS],
}

/// The row and the place of a slot.
fn locate(slot: u32) -> (usize, usize) {
    let n = (slot as usize) + places(0);
    let row = (n.ilog2() - FIRST_BITS) as usize;
    (row, n - places(row))
}

/// The places of a row.
fn places(row: usize) -> usize {
    1 << (row + FIRST_BITS as usize)
}

impl Live {
    /// Whether that generation lives in the slot.
    #[inline]
    pub(super) fn is(&self, slot: u32, generation: u16) -> bool {
        let (row, place) = locate(slot);
        let row = self.rows.get(row).and_then(OnceLock::get);
        let found = row.and_then(|row| row.get(place)).map_or(0, |place| place.load(Ordering::Acquire));
        found == u32::from(generation) + 1
    }

    /// That generation moves in.
    pub(super) fn enter(&self, slot: u32, generation: u16) {
        let (row, place) = locate(slot);
        let Some(lock) = self.rows.get(row) else { return };
        let places = lock.get_or_init(|| (0..places(row)).map(|_| AtomicU32::new(0)).collect());
        if let Some(place) = places.get(place) {
            place.store(u32::from(generation) + 1, Ordering::Release);
        }
    }

    /// Nobody lives there any more.
    pub(super) fn leave(&self, slot: u32) {
        let (row, place) = locate(slot);
        let row = self.rows.get(row).and_then(OnceLock::get);
        if let Some(place) = row.and_then(|row| row.get(place)) {
            place.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_place_of_its_own() {
        assert_eq!((locate(0), locate(1_023), locate(1_024)), ((0, 0), (0, 1_023), (1, 0)));
        assert_eq!((locate(3_071), locate(3_072)), ((1, 2_047), (2, 0)));
        let (row, place) = locate(u32::MAX);
        assert!(row < ROWS && place < places(row));
    }

    #[test]
    fn generations_enter_and_leave() {
        let live = Live::default();
        assert!(!live.is(5_000, 0));
        live.enter(5_000, 0);
        live.enter(0, u16::MAX);
        assert!(live.is(5_000, 0) && !live.is(5_000, 1) && !live.is(5_001, 0) && live.is(0, u16::MAX));
        live.leave(5_000);
        assert!(!live.is(5_000, 0));
        live.enter(5_000, 1);
        assert!(live.is(5_000, 1) && !live.is(5_000, 0));
    }
}
