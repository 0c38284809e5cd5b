//! The verdict on each row of a batch, and the rows' way into the series.
//!
//! Verdicts are final: they are given under the commit lock against the series as they are, with what the same
//! batch has accepted so far, which each series remembers until it is applied or [`Head::unstage`] is called. The common row,
//! newer than all before it in its series, costs two comparisons; a row at or before the newest is looked up.

use std::collections::HashMap;

use crate::error::{AppendError, Error, Result};
use crate::head::series::Series;
use crate::head::{Head, place};
use crate::model::{Lsn, SeriesRef};
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
    Take,
    Duplicate,
    Reject(AppendError),
}

impl Head {
    /// Judges a batch at `now_ms`. Changes nothing that anybody sees; if the batch is not applied then,
    /// [`unstage`](Head::unstage) must follow. After an error nothing must.
    pub(crate) fn judge(&self, rows: &[Row], now_ms: i64, out: &mut Verdicts) -> Result<()> {
        out.clear();
        out.accepted.reserve(rows.len());
        let judged = self.judge_rows(rows, now_ms, out);
        if judged.is_err() {
            self.unstage(&out.accepted);
        }
        judged
    }

    fn judge_rows(&self, rows: &[Row], now_ms: i64, out: &mut Verdicts) -> Result<()> {
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
                let sample = WalSample { series: slot, t: row.t, v: row.v };
                match live {
                    // No row is above the limit, and none at the maximum, which is reserved.
                    Some(series) if row.t >= series.staged_next_t && row.t <= limit && row.t < i64::MAX => {
                        series.staged_next_t = row.t + 1;
                        out.accepted.push(sample);
                    }
                    live => match self.judge_row(live.as_deref(), &sample, limit, &mut late, out)? {
                        Verdict::Take => out.accepted.push(sample),
                        Verdict::Duplicate => out.duplicates += 1,
                        Verdict::Reject(why) => out.rejected.push((index, why)),
                    },
                }
                index += 1;
            }
        }
        Ok(())
    }

    /// The verdict on a row that is not simply the newest of its series.
    #[cold]
    fn judge_row(
        &self,
        series: Option<&Series>,
        row: &WalSample,
        limit: i64,
        late: &mut LateRows,
        out: &Verdicts,
    ) -> Result<Verdict> {
        let Some(series) = series else { return Ok(Verdict::Reject(AppendError::StaleRef)) };
        if row.t == i64::MAX {
            return Ok(Verdict::Reject(AppendError::BadTimestamp));
        }
        if row.t > limit {
            return Ok(Verdict::Reject(AppendError::TooFarInFuture));
        }
        let newest_t = series.staged_next_t.saturating_sub(1);
        if let Some(stored) = late.value_at(series, row.series, row.t, newest_t, out)? {
            return Ok(match stored.to_bits() == row.v.to_bits() {
                true => Verdict::Duplicate,
                false => Verdict::Reject(AppendError::Conflict),
            });
        }
        if row.t == newest_t || newest_t.saturating_sub(row.t) <= self.options.out_of_order_window_ms {
            late.note(row);
            return Ok(Verdict::Take);
        }
        Ok(Verdict::Reject(AppendError::TooOld))
    }

    /// A batch that was judged is not applied: its series forget what they accepted of it.
    pub(crate) fn unstage(&self, rows: &[WalSample]) {
        self.for_each_of(rows, |series, _| series.unstage());
    }

    /// Adds accepted rows as commit `lsn`; they are seen once it is visible.
    pub(crate) fn apply(&self, lsn: Lsn, rows: &[WalSample]) {
        self.widen(rows);
        let pinned = self.pins.oldest();
        let range_ms = self.options.range_ms;
        let mut grown = 0;
        self.for_each_of(rows, |series, row| grown += series.append(lsn, row.t, row.v, range_ms, pinned));
        match u64::try_from(grown) {
            Ok(grown) => self.grow(grown),
            Err(_) => self.shrink(grown.unsigned_abs()),
        }
    }

    /// Calls `f` with each row and its series, under the lock of its shard.
    #[inline]
    fn for_each_of(&self, rows: &[WalSample], mut f: impl FnMut(&mut Series, &WalSample)) {
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let (shard, _) = place(first.series);
            let count = rest.iter().take_while(|row| place(row.series).0 == shard).count();
            let (run, after) = rest.split_at(count);
            rest = after;
            let Some(lock) = self.shards.get(shard) else { continue };
            let mut guard = lock.write();
            for row in run {
                if let Some(Some(series)) = guard.get_mut(place(row.series).1) {
                    f(series, row);
                }
            }
        }
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
        newest_t: i64,
        out: &Verdicts,
    ) -> Result<Option<f64>> {
        let stored = |t| series.data.value_at(t).map_err(|e| Error::corrupt("(head)", 0, e));
        // The common duplicate needs no table. The newest row may be gone (deleted or flushed): then the batch may
        // have brought another.
        if t == newest_t && series.data.next_t() == series.staged_next_t && let Some(v) = stored(t)? {
            return Ok(Some(v));
        }
        for row in out.accepted.iter().skip(self.seen) {
            self.rows.insert((row.series, row.t), row.v);
        }
        self.seen = out.accepted.len();
        match self.rows.get(&(slot, t)) {
            Some(v) => Ok(Some(*v)),
            None => stored(t),
        }
    }

    fn note(&mut self, row: &WalSample) {
        self.rows.insert((row.series, row.t), row.v);
    }
}
