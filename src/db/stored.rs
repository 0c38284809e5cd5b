//! What a load brings that the store has already: counted before the load is shown, so that its summary can say so.
//!
//! Blocks of the load and the store are both walked in label order, in the ranges that the load has samples in: nothing
//! is read where they do not overlap. What is committed meanwhile may be counted or not.

use std::sync::Arc;

use crate::block::BlockView;
use crate::db::Shared;
use crate::db::version::LiveBlock;
use crate::error::{ErrorKind, Result};
use crate::model::{Selector, TimeRange};
use crate::query::{Limits, Querier, Series};

/// Samples at timestamps at which their series has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// With the same value, bit for bit.
    pub(super) equal: u64,
    /// With another value.
    pub(super) other: u64,
}

/// Compares the blocks of a load with what is stored. Damage there, of which its readers will hear, ends the counting and not the load.
pub(super) fn count(shared: &Shared, blocks: &[LiveBlock]) -> Result<Stored> {
    let mut stored = Stored::default();
    for block in blocks {
        match compare(shared, block, &mut stored) {
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(_) => break,
            Ok(()) => {}
        }
    }
    Ok(stored)
}

fn compare(shared: &Shared, block: &LiveBlock, stored: &mut Stored) -> Result<()> {
    let meta = block.block.meta();
    let range = TimeRange::inclusive(meta.min_t, meta.max_t);
    let unlimited =
        |querier: Querier| querier.max_series(u64::MAX).max_samples(u64::MAX).cancel(&shared.options.cancel);
    let mut old = unlimited(shared.querier(range)).select(&Selector::all())?;
    let Some(mut there) = old.next().transpose()? else { return Ok(()) };
    let view = BlockView::new(Arc::clone(&block.block), block.entry.precedence, Vec::new());
    let limits = Limits { max_series: u64::MAX, max_samples: u64::MAX };
    let new = unlimited(Querier::new(vec![Arc::new(view)], range, limits, None, Arc::new(())));
    for series in new.select(&Selector::all())? {
        let series = series?;
        while there.labels() < series.labels() {
            let Some(next) = old.next().transpose()? else { return Ok(()) };
            there = next;
        }
        if there.labels() == series.labels() {
            compare_rows(&there, &series, stored)?;
        }
    }
    Ok(())
}

fn compare_rows(old: &Series, new: &Series, stored: &mut Stored) -> Result<()> {
    let mut old = old.samples();
    let Some(mut there) = old.next().transpose()? else { return Ok(()) };
    for sample in new.samples() {
        let sample = sample?;
        while there.t < sample.t {
            let Some(next) = old.next().transpose()? else { return Ok(()) };
            there = next;
        }
        if there.t == sample.t {
            let equal = there.v.to_bits() == sample.v.to_bits();
            stored.equal += u64::from(equal);
            stored.other += u64::from(!equal);
        }
    }
    Ok(())
}
