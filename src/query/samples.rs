//! The samples of one series: lazily decoded, one by one or in columns.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::{Columns, Sample};
use crate::source::{Piece, SampleMerge};

use super::context::Context;

/// The iterator reads on until it has this many rows: often one chunk.
const ENOUGH_ROWS: usize = 64;
/// The most rows that the iterator reads ahead.
const AHEAD_ROWS: usize = 4_096;
/// Samples that the iterator takes from the account at a time.
const PAID_ROWS: usize = 64;

/// The samples of one [`Series`](crate::Series) in the querier's range: in time order, each
/// timestamp once. Owned: it needs neither the series nor the set any more.
///
/// As an iterator it gives one sample at a time; [`read_into`](Samples::read_into) gives columns.
/// The two can be mixed. After an error it is finished.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::*;
/// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
/// # let mut app = db.appender()?;
/// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
/// # app.append_ref(up, 2_000, 0.0)?;
/// # app.commit()?;
/// let series = db.querier(TimeRange::ALL)?.select(&"up".parse()?)?.next().unwrap()?;
/// let mut samples = series.samples();
/// samples.seek(1_500)?;
/// assert_eq!(samples.next().unwrap()?, Sample { t: 2_000, v: 0.0 });
/// assert!(samples.next().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Samples {
    merge: SampleMerge,
    /// Rows read for the iterator; those before `at` are given out, those before `paid` are taken from the account.
    ahead: Columns,
    at: usize,
    paid: usize,
    context: Arc<Context>,
}

impl Samples {
    pub(super) fn new(pieces: Arc<[Piece]>, context: Arc<Context>) -> Samples {
        let all = 0..pieces.len();
        let merge = SampleMerge::new(pieces, all, context.range);
        Samples { merge, ahead: Columns::default(), at: 0, paid: 0, context }
    }

    /// Goes on at the first sample at or after `t` milliseconds. Never goes back: a `t` that has
    /// been passed changes nothing. Chunks in between are not decoded.
    ///
    /// # Errors
    /// None today; a seek may come to read.
    pub fn seek(&mut self, t: i64) -> Result<()> {
        let coming = self.ahead.t.get(self.at..).unwrap_or_default();
        let passed = coming.partition_point(|ahead| *ahead < t);
        self.return_paid();
        self.at += passed;
        self.paid = self.at;
        self.merge.seek(t);
        Ok(())
    }

    /// Appends the next samples to `out`, at most `max`, and returns how many: fewer than `max` at
    /// the end or before an error, 0 at the end (or if `max` is 0).
    ///
    /// Cost: one pass of decoding into `out`, without anything for each sample; the fast way to read many.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::{Columns, Db, Options, Selector, labels};
    /// # let db = Db::open(dir.path(), Options::default())?;
    /// # let mut app = db.appender()?;
    /// # for t in 0..100 { app.append(&labels!("up")?, t, 1.0)?; }
    /// # app.commit()?;
    /// let mut columns = Columns::default();
    /// for series in db.querier(10..90)?.select(&Selector::all())? {
    ///     let mut samples = series?.samples();
    ///     samples.seek(30)?;
    ///     while samples.read_into(&mut columns, 32)? > 0 {}
    /// }
    /// assert_eq!((columns.t.len(), columns.t[0]), (60, 30));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Damage, an I/O error, a ceiling, a cancellation. What comes before an error is given out
    /// first, by this call; the next call returns the error, and after it this is the end.
    pub fn read_into(&mut self, out: &mut Columns, max: usize) -> Result<usize> {
        self.return_paid();
        let wanted = max.min(self.ahead.len() - self.at);
        let taken = self.context.take_samples(wanted);
        let rows = self.at..self.at + taken;
        out.t.extend_from_slice(self.ahead.t.get(rows.clone()).unwrap_or_default());
        out.v.extend_from_slice(self.ahead.v.get(rows).unwrap_or_default());
        self.at += taken;
        self.paid = self.at;
        if taken == max {
            return Ok(taken);
        }
        if taken < wanted {
            self.fail(self.context.too_many_samples());
        }
        match self.fetch(max - taken, out) {
            Ok(more) => Ok(taken + more),
            Err(error) if taken == 0 => Err(error),
            Err(error) => {
                self.fail(error);
                Ok(taken)
            }
        }
    }

    /// Reads from the merge into `out`, past what was read ahead. Rows above the ceiling are
    /// dropped, and what comes next is the error.
    fn fetch(&mut self, max: usize, out: &mut Columns) -> Result<usize> {
        let before = out.len();
        let rows = self.merge.read_into(max, max, &self.context.cancel, out)?;
        let taken = self.context.take_samples(rows);
        if taken < rows {
            out.t.truncate(before + taken);
            out.v.truncate(before + taken);
            self.fail(self.context.too_many_samples());
        }
        match taken {
            0 => self.merge.read_into(max, max, &self.context.cancel, out),
            _ => Ok(taken),
        }
    }

    /// Reads ahead, or takes more of that from the account; whether there is a next sample.
    fn refill(&mut self) -> Result<bool> {
        if self.at >= self.ahead.len() {
            self.forget_ahead();
            self.merge.read_into(ENOUGH_ROWS, AHEAD_ROWS, &self.context.cancel, &mut self.ahead)?;
        }
        let coming = self.ahead.len() - self.at;
        if coming == 0 {
            return Ok(false);
        }
        self.paid = self.at + self.context.take_samples(PAID_ROWS.min(coming));
        if self.paid == self.at {
            self.fail(self.context.too_many_samples());
            self.merge.read_into(1, 1, &self.context.cancel, &mut self.ahead)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Gives up everything to come; the next read returns this error.
    fn fail(&mut self, error: Error) {
        self.return_paid();
        self.forget_ahead();
        self.merge.fail(error);
    }

    fn forget_ahead(&mut self) {
        self.ahead.clear();
        (self.at, self.paid) = (0, 0);
    }

    /// What was taken from the account and not given out does not count.
    fn return_paid(&mut self) {
        self.context.return_samples(self.paid.saturating_sub(self.at));
        self.paid = self.at;
    }
}

impl Iterator for Samples {
    type Item = Result<Sample>;

    /// A row of what is read ahead, some dozens at least: only where those are used up is anything decoded, counted or asked.
    #[inline]
    fn next(&mut self) -> Option<Result<Sample>> {
        if self.at >= self.paid {
            match self.refill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let (t, v) = (*self.ahead.t.get(self.at)?, *self.ahead.v.get(self.at)?);
        self.at += 1;
        Some(Ok(Sample { t, v }))
    }
}

impl std::iter::FusedIterator for Samples {}

impl Drop for Samples {
    fn drop(&mut self) {
        self.return_paid();
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples").field("ahead", &(self.ahead.len() - self.at)).finish_non_exhaustive()
    }
}
