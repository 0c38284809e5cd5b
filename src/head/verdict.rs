//! The verdict on each row of a batch, and the rows' way into the series.
//!
//! Verdicts are final: they are given under the commit lock against the series as they are, with what the same
//! batch has accepted so far, which the series' gates remember until it is applied or [`Head::settle`] is called. The common row,
//! newer than all before it in its series, costs a look at its gate; a row at or before the newest is looked up.

use std::collections::HashMap;

use crate::error::{AppendError, Error, Result};
use crate::head::Head;
use crate::head::series::Series;
use crate::head::shard::{Gate, RUN, Run, Shard, place};
use crate::model::{Lsn, SeriesRef};
use crate::sync::RwLock;
use crate::wal::WalSample;

/// One row of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) series: SeriesRef,
    pub(crate) t: i64,
    pub(crate) v: f64,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// To be stored, in the batch's order; the series are slots.
    pub(crate) accepted: Vec<WalSample>,
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
    Take(WalSample),
    Duplicate,
    Reject(AppendError),
}

impl Head {
    /// Judges a batch at `now_ms`. Changes nothing that anybody sees; if the batch is not applied then,
    /// [`settle`](Head::settle) must follow. After an error nothing must.
    pub(crate) fn judge(&self, rows: &[Row], now_ms: i64, out: &mut Verdicts) -> Result<()> {
        out.clear();
        out.accepted.reserve(rows.len());
        let judged = self.judge_rows(rows, now_ms, out);
        if judged.is_err() {
            self.settle(&out.accepted);
        }
        judged
    }

    fn judge_rows(&self, rows: &[Row], now_ms: i64, out: &mut Verdicts) -> Result<()> {
        // The maximum is reserved: no row is there.
        let limit = now_ms.saturating_add(self.options.max_future_ms).min(i64::MAX - 1);
        let mut late = LateRows::default();
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let Some((slot, _)) = first.series.slot(self.tag) else {
                out.rejected.push((rows.len() - rest.len(), AppendError::StaleRef));
                rest = rest.get(1..).unwrap_or_default();
                continue;
            };
            let Some(lock) = self.shard(slot) else { break };
            let mut shard = lock.write();
            let run = first.series.run();
            while let Some(row) = rest.first().filter(|row| row.series.run() == run) {
                let passed = shard.run_mut(slot).map_or(0, |Run { gates, .. }| {
                    rest.iter().take_while(|row| row.passes(run, gates, limit)).count()
                });
                if passed > 0 {
                    let (common, after) = rest.split_at_checked(passed).unwrap_or((rest, &[]));
                    out.accepted.extend(common.iter().map(Row::accepted));
                    rest = after;
                    continue;
                }
                match self.judge_row(&shard, row, limit, &mut late, out)? {
                    Verdict::Take(sample) => out.accepted.push(sample),
                    Verdict::Duplicate => out.duplicates += 1,
                    Verdict::Reject(why) => out.rejected.push((rows.len() - rest.len(), why)),
                }
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// The verdict on a row that is not simply the newest of its series.
    #[cold]
    fn judge_row(
        &self,
        shard: &Shard,
        row: &Row,
        limit: i64,
        late: &mut LateRows,
        out: &Verdicts,
    ) -> Result<Verdict> {
        let stale = Ok(Verdict::Reject(AppendError::StaleRef));
        let Some((slot, generation)) = row.series.slot(self.tag) else { return stale };
        let (Some(gate), Some(series)) = (shard.gate(slot), shard.series(slot)) else {
            return stale;
        };
        if gate.generation != u32::from(generation) {
            return stale;
        }
        if row.t == i64::MAX {
            return Ok(Verdict::Reject(AppendError::BadTimestamp));
        }
        if row.t > limit {
            return Ok(Verdict::Reject(AppendError::TooFarInFuture));
        }
        let sample = WalSample { series: slot, t: row.t, v: row.v };
        let newest_t = gate.next_t.saturating_sub(1);
        if let Some(stored) = late.value_at(series, &sample, gate.next_t, out)? {
            return Ok(match stored.to_bits() == row.v.to_bits() {
                true => Verdict::Duplicate,
                false => Verdict::Reject(AppendError::Conflict),
            });
        }
        if row.t == newest_t || newest_t.saturating_sub(row.t) <= self.options.out_of_order_window_ms {
            late.note(&sample);
            return Ok(Verdict::Take(sample));
        }
        Ok(Verdict::Reject(AppendError::TooOld))
    }

    /// A batch that was judged is not applied: the gates of its series forget what they let through.
    pub(crate) fn settle(&self, rows: &[WalSample]) {
        self.for_each_of(rows, |gate, series, _| gate.next_t = series.data.next_t());
    }

    /// Adds accepted rows as commit `lsn`; they are seen once it is visible.
    pub(crate) fn apply(&self, lsn: Lsn, rows: &[WalSample]) {
        let pinned = self.pins.hull();
        let mut grown = 0;
        self.for_each_of(rows, |gate, series, row| {
            grown += series.data.append(lsn, (row.t, row.v), row.series, pinned);
            gate.next_t = series.data.next_t();
        });
        // Only now: a tightening that passed their series before they came finds them among the recent.
        self.widen(rows);
        match u64::try_from(grown) {
            Ok(grown) => self.grow(grown),
            Err(_) => self.shrink(grown.unsigned_abs()),
        }
    }

    /// Calls `f` with each row and its series, under the lock of its shard.
    #[inline]
    fn for_each_of(&self, rows: &[WalSample], mut f: impl FnMut(&mut Gate, &mut Series, &WalSample)) {
        let mut rest = rows.iter();
        while let Some(first) = rest.as_slice().first() {
            let run = first.series as usize / RUN;
            let mut shard = self.shard(first.series).map(RwLock::write);
            let Some(run_of) = shard.as_mut().and_then(|s| s.run_mut(first.series)) else {
                rest.next();
                continue;
            };
            while let Some(row) = rest.as_slice().first().filter(|row| row.series as usize / RUN == run) {
                rest.next();
                if let Some((gate, Some(series))) = run_of.of(row.series) {
                    f(gate, series, row);
                }
            }
        }
    }
}

impl Row {
    /// Whether it is of this run of slots, its series lives, and it is the newest and not above `limit`; the next one must
    /// then be newer still.
    #[inline(always)]
    fn passes(&self, run: u64, gates: &mut [Gate; RUN], limit: i64) -> bool {
        let (slot, generation) = self.series.parts();
        let Some(gate) = gates.get_mut(place(slot)) else { return false };
        let passes = self.series.run() == run
            && gate.generation == u32::from(generation)
            && (gate.next_t..=limit).contains(&self.t);
        if passes {
            gate.next_t = self.t + 1;
        }
        passes
    }

    /// What is stored of it.
    fn accepted(&self) -> WalSample {
        let (series, _) = self.series.parts();
        WalSample { series, t: self.t, v: self.v }
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
    /// The value at the time of `row` in the series or in what the batch has accepted of it; `staged_t` is the first time
    /// behind both.
    fn value_at(
        &mut self,
        series: &Series,
        row: &WalSample,
        staged_t: i64,
        out: &Verdicts,
    ) -> Result<Option<f64>> {
        let t = row.t;
        let stored = |t| series.data.value_at(t).map_err(|e| Error::corrupt("(head)", 0, e));
        // The common duplicate needs no table. The newest row may be gone (deleted or flushed): then the batch may
        // have brought another.
        if t.saturating_add(1) == staged_t
            && series.data.next_t() == staged_t
            && let Some(v) = stored(t)?
        {
            return Ok(Some(v));
        }
        for row in out.accepted.iter().skip(self.seen) {
            self.rows.insert((row.series, row.t), row.v);
        }
        self.seen = out.accepted.len();
        match self.rows.get(&(row.series, t)) {
            Some(v) => Ok(Some(*v)),
            None => stored(t),
        }
    }

    fn note(&mut self, row: &WalSample) {
        self.rows.insert((row.series, row.t), row.v);
    }
}
