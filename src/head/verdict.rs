//! The verdict on each row of a batch, and the rows' way into the series.
//!
//! Verdicts are final: they are given under the commit lock against the series as they are, with what the same
//! batch has accepted so far. The common row, newer than all before it in its series, costs one
//! comparison; a row at or before the newest is looked up.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use crate::error::{AppendError, Error, Result};
use crate::head::series::{Series, Staged};
use crate::head::{Head, place};
use crate::model::{Lsn, Sample, SeriesRef};

/// One row of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) series: SeriesRef,
    pub(crate) t: i64,
    pub(crate) v: f64,
}

/// An accepted row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) slot: u32,
    pub(crate) t: i64,
    pub(crate) v: f64,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// To be stored, in the batch's order.
    pub(crate) accepted: Vec<Accepted>,
    /// Equal to what is stored already.
    pub(crate) duplicates: u64,
    /// (index in the batch, why).
    pub(crate) rejected: Vec<(usize, AppendError)>,
}

impl Verdicts {
    /// Empties it and keeps its allocations.
    pub(crate) fn clear(&mut self) {
        self.accepted.clear();
        self.rejected.clear();
        self.duplicates = 0;
    }
}

/// The verdict on one row.
enum Verdict {
    Take,
    Duplicate,
    Reject(AppendError),
}

impl Head {
    /// Judges a batch at `now_ms`. Changes nothing that anybody sees.
    pub(crate) fn judge(&self, rows: &[Row], now_ms: i64, out: &mut Verdicts) -> Result<()> {
        out.clear();
        let judged = self.judged.fetch_add(1, Ordering::Relaxed) + 1;
        let limit = now_ms.saturating_add(self.options.max_future_ms);
        let mut late = LateRows::default();
        let mut index = 0;
        while let Some(first) = rows.get(index) {
            let Some((slot, _)) = first.series.slot(self.tag) else {
                out.rejected.push((index, AppendError::StaleRef));
                index += 1;
                continue;
            };
            let (shard, _) = place(slot);
            let Some(lock) = self.shards.get(shard) else { break };
            let mut guard = lock.write();
            while let Some(row) = rows.get(index) {
                let Some((slot, generation)) = row.series.slot(self.tag) else { break };
                let (this, at) = place(slot);
                if this != shard {
                    break;
                }
                let live = guard.get_mut(at).and_then(Option::as_mut).filter(|s| s.generation == generation);
                let verdict = match live {
                    None => Verdict::Reject(AppendError::StaleRef),
                    Some(series) => self.judge_row(series, slot, judged, row, limit, &mut late, out)?,
                };
                match verdict {
                    Verdict::Take => out.accepted.push(Accepted { slot, t: row.t, v: row.v }),
                    Verdict::Duplicate => out.duplicates += 1,
                    Verdict::Reject(why) => out.rejected.push((index, why)),
                }
                index += 1;
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one row against all that a verdict depends on")]
    fn judge_row(
        &self,
        series: &mut Series,
        slot: u32,
        judged: u64,
        row: &Row,
        limit: i64,
        late: &mut LateRows,
        out: &Verdicts,
    ) -> Result<Verdict> {
        let newest = series.newest_staged(judged);
        if row.t == i64::MAX {
            return Ok(Verdict::Reject(AppendError::BadTimestamp));
        }
        if row.t > limit {
            return Ok(Verdict::Reject(AppendError::TooFarInFuture));
        }
        let newest = match newest {
            Some(newest) if row.t <= newest.t => newest,
            _ => {
                series.staged = Staged { judged, newest: Some(Sample { t: row.t, v: row.v }) };
                return Ok(Verdict::Take);
            }
        };
        if let Some(stored) = late.value_at(series, slot, row.t, &newest, out)? {
            return Ok(match stored.to_bits() == row.v.to_bits() {
                true => Verdict::Duplicate,
                false => Verdict::Reject(AppendError::Conflict),
            });
        }
        if row.t == newest.t || newest.t.saturating_sub(row.t) <= self.options.out_of_order_window_ms {
            late.note(slot, row);
            return Ok(Verdict::Take);
        }
        Ok(Verdict::Reject(AppendError::TooOld))
    }

    /// Adds accepted rows as commit `lsn`; they are seen once it is visible.
    pub(crate) fn apply(&self, lsn: Lsn, rows: &[Accepted]) {
        self.widen(rows);
        let pinned = self.pins.oldest();
        let mut grown = 0;
        let mut index = 0;
        while let Some(first) = rows.get(index) {
            let (shard, _) = place(first.slot);
            let Some(lock) = self.shards.get(shard) else { break };
            let mut guard = lock.write();
            while let Some(row) = rows.get(index) {
                let (this, at) = place(row.slot);
                if this != shard {
                    break;
                }
                if let Some(Some(series)) = guard.get_mut(at) {
                    grown += series.data.append(lsn, row.t, row.v, self.options.range_ms, pinned);
                }
                index += 1;
            }
        }
        self.grow(grown);
    }
}

/// The rows of the batch by (slot, time), kept from the first row on that is not newer than all.
#[derive(Default)]
struct LateRows {
    rows: HashMap<(u32, i64), f64>,
    /// How many accepted rows are in it.
    seen: usize,
}

impl LateRows {
    /// The value at `t` in the series or in what the batch has accepted of it.
    fn value_at(
        &mut self,
        series: &Series,
        slot: u32,
        t: i64,
        newest: &Sample,
        out: &Verdicts,
    ) -> Result<Option<f64>> {
        let stored = |t| series.data.value_at(t).map_err(|e| Error::corrupt("(head)", 0, e));
        let newest_stored = series.data.newest().is_some_and(|s| s.t == newest.t) && t == newest.t;
        // The common duplicate needs no table. The newest row may be gone (deleted or flushed): then the batch may
        // have brought another.
        if newest_stored && let Some(v) = stored(t)? {
            return Ok(Some(v));
        }
        for row in out.accepted.iter().skip(self.seen) {
            self.rows.insert((row.slot, row.t), row.v);
        }
        self.seen = out.accepted.len();
        match self.rows.get(&(slot, t)) {
            Some(v) => Ok(Some(*v)),
            None => stored(t),
        }
    }

    fn note(&mut self, slot: u32, row: &Row) {
        self.rows.insert((slot, row.t), row.v);
    }
}
