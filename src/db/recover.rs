//! From the files to a head: what open does with the log.
//!
//! ```text
//!   this thread    read ▸ check ▸ decode ▸ drop what was flushed or deleted ─┐ batches of rows, a few at most
//!   the pool                                                                 └─▶ apply, in the same order
//! ```
//!
//! Series come into the head with their first row that stays there, so that it is as large as it was, however many series the log has
//! seen. A row of the log goes into the head unless a flush has stored it (the manifest's floors: range and last
//! commit) or a delete came after it (the tombstones: selection, range, commit).
//!
//! To decode takes about as long as to apply, so two cores are ready in little more than half the time. Memory: the rows
//! of [`BATCHES`] batches, of [`BATCH_ROWS`] rows or one commit each.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::db::layout::Layout;
use crate::db::version::LiveTombstone;
use crate::db::{Event, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::format::manifest::Floor;
use crate::head::Head;
use crate::model::{Labels, Lsn, Metadata, TimeRange};
use crate::wal::{self, Replay, Visitor, WalSample};

/// A batch with so many rows is passed on.
const BATCH_ROWS: usize = 8_192;
/// Batches on their way.
const BATCHES: usize = 4;

/// The deletes that select a series, by slot; only of series that some delete selects.
type Deletes = HashMap<u32, Vec<(Lsn, TimeRange)>>;

/// The rows of some commits, one behind the other.
#[derive(Default)]
struct Batch {
    rows: Vec<WalSample>,
    /// Each commit, and where its rows end.
    commits: Vec<(Lsn, usize)>,
}

impl Batch {
    /// Puts the rows into the head, and empties the batch.
    fn apply(&mut self, head: &Head) {
        let mut start = 0;
        for (lsn, end) in self.commits.drain(..) {
            head.apply(lsn, self.rows.get(start..end).unwrap_or_default());
            start = end;
        }
        self.rows.clear();
    }
}

/// Receives the log's records.
pub(crate) struct Recovery<'a> {
    head: &'a Head,
    floors: &'a [Floor],
    tombstones: &'a [LiveTombstone],
    options: &'a Options,
    deleted: Deletes,
    batch: Batch,
    samples: u64,
    /// Where full batches go, and where empty ones come from.
    applier: Option<(SyncSender<Batch>, Receiver<Batch>)>,
}

/// Replays the log; says what was found, and how many samples went into the head.
pub(crate) fn recover(
    mut recovery: Recovery<'_>,
    pool: &rayon::ThreadPool,
    layout: &Layout,
) -> Result<(Replay, u64)> {
    let (full, batches) = sync_channel::<Batch>(BATCHES);
    let (empty, emptied) = sync_channel(BATCHES);
    let (head, options) = (recovery.head, recovery.options);
    recovery.applier = Some((full, emptied));
    let (replay, samples, mut last) = pool.in_place_scope(move |scope| {
        scope.spawn(move |_| {
            for mut batch in batches {
                batch.apply(head);
                // The other side may have ended.
                let _ = empty.try_send(batch);
            }
        });
        let replay = wal::replay(&*options.fs, &layout.wal(), &mut recovery, &options.cancel)?;
        // With the recovery, at the end of this closure, the way to the applier is closed, so that it ends.
        Ok::<_, Error>((replay, recovery.samples, recovery.batch))
    })?;
    // All others are in the head by now. A short log is nothing but this one, and asks nobody else.
    last.apply(head);
    Ok((replay, samples))
}

impl<'a> Recovery<'a> {
    /// Into an empty head.
    pub(crate) fn new(
        head: &'a Head,
        floors: &'a [Floor],
        tombstones: &'a [LiveTombstone],
        options: &'a Options,
    ) -> Recovery<'a> {
        let (deleted, batch) = (HashMap::new(), Batch::default());
        Recovery { head, floors, tombstones, options, deleted, batch, samples: 0, applier: None }
    }

    /// Whether the row of commit `lsn` is still the head's to hold.
    fn keeps(&self, lsn: Lsn, row: &WalSample) -> bool {
        let gone = |deletes: &Vec<(Lsn, TimeRange)>| {
            deletes.iter().any(|(deleted, range)| lsn < *deleted && range.contains(row.t))
        };
        self.wants(lsn, row.t) && !self.deleted.get(&row.series).is_some_and(gone)
    }

    /// Gives the batch to the applier; there is another one, empty.
    fn pass_on(&mut self) {
        match &self.applier {
            Some((full, emptied)) => {
                let next = emptied.try_recv().unwrap_or_default();
                // It ends before this side only if it panics, which the pool's scope tells.
                let _ = full.send(std::mem::replace(&mut self.batch, next));
            }
            None => self.batch.apply(self.head),
        }
    }
}

impl Visitor for Recovery<'_> {
    /// What was not flushed. A series without such rows would be collected at once.
    fn wants(&self, lsn: Lsn, t: i64) -> bool {
        // The last timestamp is reserved: no range holds it.
        t < i64::MAX && !self.floors.iter().any(|f| lsn <= f.through && f.range.contains(t))
    }

    fn series(&mut self, labels: Labels) -> Result<u32> {
        let slot = self
            .head
            .recover_series(&labels)
            .ok_or_else(|| Error::new(ErrorKind::Ceiling, "the log holds more series than a head can"))?;
        if !self.tombstones.is_empty() && !self.deleted.contains_key(&slot) {
            let selects = |t: &&LiveTombstone| {
                t.matchers.iter().all(|m| m.matches(labels.value(m.name()).unwrap_or("")))
            };
            let deletes: Vec<_> = self.tombstones.iter().filter(selects).map(|t| (t.lsn, t.range)).collect();
            if !deletes.is_empty() {
                self.deleted.insert(slot, deletes);
            }
        }
        Ok(slot)
    }

    fn commit(&mut self, lsn: Lsn, samples: &[WalSample]) -> Result<()> {
        let mut rows = std::mem::take(&mut self.batch.rows);
        let before = rows.len();
        let all =
            self.floors.is_empty() && self.deleted.is_empty() && samples.iter().all(|row| row.t < i64::MAX);
        match all {
            true => rows.extend_from_slice(samples),
            false => rows.extend(samples.iter().filter(|row| self.keeps(lsn, row))),
        }
        self.samples += (rows.len() - before) as u64;
        self.batch.commits.push((lsn, rows.len()));
        self.batch.rows = rows;
        if self.batch.rows.len() >= BATCH_ROWS || self.batch.commits.len() >= BATCH_ROWS {
            self.pass_on();
        }
        Ok(())
    }

    fn metadata(&mut self, _lsn: Lsn, family: &str, metadata: Metadata) -> Result<()> {
        self.head.set_metadata(family, metadata);
        Ok(())
    }

    fn progress(&mut self, bytes: u64, total_bytes: u64) {
        self.options.tell(&Event::Recovering { bytes, total_bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;
    use crate::{Db, Maintenance, Selector};
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_log_of_many_batches_comes_back_and_its_reading_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let options = || Options::default().max_future(None);
        let db = Db::open(dir.path(), options()).unwrap();
        let mut app = db.appender().unwrap();
        let series: Vec<_> =
            (0..1_000).map(|n| app.append(&labels!("m", "n" => n).unwrap(), 0, 0.0).unwrap()).collect();
        for t in 1..20 {
            let row: Vec<_> = series.iter().map(|series| (*series, t as f64)).collect();
            app.append_row(t, &row);
            app.commit().unwrap();
        }
        drop((app, db));

        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        let listening = options().on_event(move |event| {
            if let Event::Recovering { bytes, total_bytes } = event {
                listener.lock().unwrap().push((*bytes, *total_bytes));
            }
        });
        let db = Db::open(dir.path(), listening).unwrap();
        assert_eq!(db.open_report().replayed_samples, 20_000);
        let (bytes, total_bytes) = told.lock().unwrap().last().copied().unwrap();
        assert!(bytes == total_bytes && bytes > 20_000, "{bytes} of {total_bytes}");
        let querier = db.querier(TimeRange::ALL).unwrap();
        let read = querier.select(&Selector::all()).unwrap().map(|s| s.unwrap().samples().count());
        assert_eq!(read.sum::<usize>(), 20_000);
    }
    #[test]
    fn a_pair_that_takes_the_number_of_another_is_told_anew() {
        let dir = tempfile::tempdir().unwrap();
        let options = || Options::default().max_future(None).maintenance(Maintenance::Manual);
        let db = Db::open(dir.path(), options()).unwrap();
        let mut app = db.appender().unwrap();
        let mut all = Vec::new();
        let hours = 3_600_000;
        for round in 0..8 {
            let series = labels!("m", "round" => round).unwrap();
            app.append(&series, round * 4 * hours, 1.0).unwrap();
            app.append(&labels!("m").unwrap(), round * 4 * hours, 1.0).unwrap();
            app.commit().unwrap();
            // Flushed, the series of earlier rounds go, and their slots and pairs are the next one's.
            db.maintain().unwrap();
            all.push(series.to_string());
        }
        assert!(db.stats().head_series < 6, "some are gone: {}", db.stats().head_series);
        drop((app, db));
        let db = Db::open(dir.path(), options()).unwrap();
        let querier = db.querier(TimeRange::ALL).unwrap();
        let series = querier.select(&r#"m{round!=""}"#.parse().unwrap()).unwrap();
        assert_eq!(series.map(|s| s.unwrap().labels().to_string()).collect::<Vec<_>>(), all);
    }

    /// Series of which the log has flushed rows only do not come back; one that goes on later does, with that row alone.
    #[test]
    fn series_whose_rows_were_all_flushed_stay_out_of_the_head() {
        let dir = tempfile::tempdir().unwrap();
        let options = || Options::default().max_future(None).maintenance(Maintenance::Manual);
        let db = Db::open(dir.path(), options()).unwrap();
        let hour = 3_600_000;
        let rows = |t: i64, numbers: std::ops::Range<i64>| {
            let mut app = db.appender().unwrap();
            for n in numbers {
                app.append(&labels!("m", "n" => n).unwrap(), t, n as f64).unwrap();
            }
            app.commit().unwrap();
        };
        rows(0, 0..100);
        rows(4 * hour, 100..110);
        // The log knows this one from its first row.
        rows(4 * hour + 1, 5..6);
        db.maintain().unwrap();
        assert_eq!(db.stats().flushes, 1);
        drop(db);

        let db = Db::open(dir.path(), options()).unwrap();
        assert_eq!((db.open_report().replayed_samples, db.stats().head_series), (11, 11));
        let querier = db.querier(TimeRange::ALL).unwrap();
        let count = |selector: &str| {
            let found = querier.select(&selector.parse().unwrap()).unwrap();
            found.map(|series| series.unwrap().samples().count()).collect::<Vec<_>>()
        };
        assert_eq!((count("m").len(), count(r#"m{n="5"}"#), count(r#"m{n="6"}"#)), (110, vec![2], vec![1]));
    }
}
