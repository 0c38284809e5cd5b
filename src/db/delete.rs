//! Delete: what is stored now goes, what is committed later stays.
//!
//! A delete takes a number in the order of commits. Its tombstone hides, from blocks and from the log's replay, what
//! was committed before; from the head the rows go at once (readers made before keep them).
//!
//! ```text
//!   commit lock ▸ sync the log ▸ number ▸ tombstones-g ▸ MANIFEST-g ▸ rows leave the head and it is shown, at once
//! ```

use crate::db::publish::Edit;
use crate::db::version::LiveTombstone;
use crate::db::{Db, Shared};
use crate::error::Result;
use crate::model::{Columns, Selector, TimeRange};

impl Db {
    /// Deletes the samples in `range` of the series that `selector` selects, durably; returns how many there were.
    ///
    /// They never reappear, and samples committed afterwards are unaffected. Queriers made before still see them. Disk space comes
    /// back as maintenance rewrites the blocks. Cost: reads what it deletes, to count it; one swap of the manifest.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::{Db, Options, TimeRange, labels};
    /// # let db = Db::open(dir.path(), Options::default())?;
    /// # let mut app = db.appender()?;
    /// # for t in 0..10 { app.append(&labels!("up", "job" => "test")?, t, 1.0)?; }
    /// # app.commit()?;
    /// assert_eq!(db.delete(TimeRange::new(3, 5), &r#"{job="test"}"#.parse()?)?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty range; as [`commit`](crate::Appender::commit) otherwise: on an error
    /// nothing was deleted, unless [`applied`](crate::Error::applied) says that it is unknown.
    pub fn delete(&self, range: impl Into<TimeRange>, selector: &Selector) -> Result<u64> {
        let range = range.into();
        let shared = self.shared();
        shared.check_writable()?;
        let found = count_samples(self, range, selector)?;
        if found > 0 {
            shared.delete(range, selector).inspect_err(|_| shared.tell_poison())?;
        }
        Ok(found)
    }
}

fn count_samples(db: &Db, range: TimeRange, selector: &Selector) -> Result<u64> {
    let mut found = 0u64;
    let mut columns = Columns::default();
    // The ceilings are on queries: a delete of more is no mistake.
    let querier = db.querier(range)?.max_series(u64::MAX).max_samples(u64::MAX);
    for series in querier.select(selector)? {
        let mut samples = series?.samples();
        loop {
            columns.clear();
            match samples.read_into(&mut columns, 65_536)? {
                0 => break,
                n => found += n as u64,
            }
        }
    }
    Ok(found)
}

impl Shared {
    fn delete(&self, range: TimeRange, selector: &Selector) -> Result<()> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let mut state = writer.lock();
        self.check_writable()?;
        self.group.wrote(state.wal.sync_point(), state.last_lsn);
        self.sync_through(state.last_lsn)?;
        let lsn = state.last_lsn.next();
        let publish = self.publish.lock();
        let mut tombstones = self.version().tombstones.clone();
        tombstones.push(LiveTombstone { lsn, range, matchers: selector.matchers().into() });
        // From here on the number is used, whatever becomes of the swap.
        state.last_lsn = lsn;
        self.group.wrote(state.wal.sync_point(), lsn);
        let edit = Edit { tombstones: Some(tombstones), lsn, ..Edit::default() };
        let mut edited = Ok(());
        self.publish_locked(&publish, edit, || {
            edited = self.head.delete(selector.matchers(), range);
            self.show(&mut state, lsn);
        })?;
        edited
    }
}
