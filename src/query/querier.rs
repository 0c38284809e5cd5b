//! One state of the store, over one range.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::model::{Cancel, Selector, TimeRange};
use crate::source::{SeriesMerge, Source};

use super::context::{Context, Limits};
use super::series_set::SeriesSet;
use super::values::Values;

/// Reads the store as it was when the querier was made, between two times.
///
/// Cloning is cheap; clones share the state and have settings of their own. Files and memory that
/// it may need stay until the last clone, and everything selected through one, is dropped.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::{Db, ErrorKind, Options, Selector, labels};
/// # let db = Db::open(dir.path(), Options::default())?;
/// # let mut app = db.appender()?;
/// # for (job, v) in [("node", 1.0), ("redis", 0.0)] { app.append(&labels!("up", "job" => job)?, 1_000, v)?; }
/// # app.commit()?;
/// let querier = db.querier(0..60_000)?.max_series(1);
/// assert_eq!(querier.label_values("job", &Selector::all())?, ["node", "redis"]);
/// let mut found = querier.select(&"up".parse()?)?;
/// assert_eq!(found.next().unwrap()?.labels().value("job"), Some("node"));
/// assert_eq!(found.next().unwrap().unwrap_err().kind(), ErrorKind::Ceiling);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Querier {
    state: Arc<State>,
    range: TimeRange,
    limits: Limits,
    cancel: Cancel,
}

/// What clones share.
struct State {
    sources: Vec<Arc<dyn Source>>,
    pool: Option<Arc<rayon::ThreadPool>>,
    guard: Arc<dyn Send + Sync>,
}

impl Querier {
    /// Over the sources of one state of the store, in any order. `guard` is held as long as
    /// anything may read from them; in `pool`, if given, many sources are selected from at once.
    pub(crate) fn new(
        sources: Vec<Arc<dyn Source>>,
        range: TimeRange,
        limits: Limits,
        pool: Option<Arc<rayon::ThreadPool>>,
        guard: Arc<dyn Send + Sync>,
    ) -> Querier {
        let state = Arc::new(State { sources, pool, guard });
        Querier { state, range, limits, cancel: Cancel::default() }
    }

    /// Lets each [`select`](Querier::select) give out at most `n` samples, counted over all of its
    /// series, and again for each time that a series is read. Replaces the store's own ceiling.
    ///
    /// All `n` are given out; asking for more is an error of kind
    /// [`Ceiling`](crate::ErrorKind::Ceiling). Each [`Samples`](crate::Samples) that is used as an
    /// iterator takes up to 64 of them at a time, and gives back the rest when it is dropped.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
    /// # app.append_ref(up, 2_000, 0.0)?;
    /// # app.commit()?;
    /// let querier = db.querier(TimeRange::ALL)?.max_samples(1).max_series(10);
    /// let series = querier.select(&Selector::all())?.next().unwrap()?;
    /// let error = series.samples().find_map(Result::err).unwrap();
    /// assert_eq!(error.kind(), ErrorKind::Ceiling);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn max_samples(mut self, n: u64) -> Querier {
        self.limits.max_samples = n;
        self
    }

    /// Lets each [`select`](Querier::select) give out at most `n` series; one more is an error of
    /// kind [`Ceiling`](crate::ErrorKind::Ceiling). Replaces the store's own ceiling.
    #[must_use]
    pub fn max_series(mut self, n: u64) -> Querier {
        self.limits.max_series = n;
        self
    }

    /// Lets `cancel` stop whatever is selected from now on: at the next series or chunk, with an
    /// error of kind [`Cancelled`](crate::ErrorKind::Cancelled).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
    /// # app.append_ref(up, 2_000, 0.0)?;
    /// # app.commit()?;
    /// let cancel = Cancel::default();
    /// let querier = db.querier(TimeRange::ALL)?.cancel(&cancel);
    /// cancel.cancel(); // from any thread
    /// assert_eq!(querier.select(&Selector::all()).unwrap_err().kind(), ErrorKind::Cancelled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cancel(mut self, cancel: &Cancel) -> Querier {
        self.cancel = cancel.clone();
        self
    }

    /// The range that samples are trimmed to.
    pub fn range(&self) -> TimeRange {
        self.range
    }

    /// The series that fulfil the selector and have a sample in the range, in label order.
    ///
    /// They stream: neither they nor their samples are held all at once. Cost: the index of each source that overlaps the
    /// range is asked once; then each series costs its labels, and nothing of its samples until they are read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
    /// # app.append_ref(up, 2_000, 0.0)?;
    /// # app.commit()?;
    /// let querier = db.querier(0..60_000)?;
    /// for series in querier.select(&r#"up{job=~"n.*"}"#.parse()?)? {
    ///     let series = series?;
    ///     let last = series.samples().last().transpose()?;
    ///     println!("{} {last:?}", series.labels());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What the first reads meet: damage, an I/O error, a cancellation. Later ones come from the
    /// set and from [`Samples`](crate::Samples).
    pub fn select(&self, selector: &Selector) -> Result<SeriesSet> {
        self.cancel.check()?;
        let State { sources, pool, guard } = &*self.state;
        let merge =
            SeriesMerge::open(sources, selector.matchers(), self.range, pool.as_deref(), &self.cancel)?;
        let context = Context::new(self.range, self.limits, self.cancel.clone(), Arc::clone(guard));
        Ok(SeriesSet::new(merge, Arc::new(context)))
    }

    /// The names of the labels of the series that fulfil the selector, sorted, each once.
    ///
    /// As exact in time as whole blocks: a name whose series have no sample in the range is there
    /// if a block that overlaps the range has it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
    /// # app.append_ref(up, 2_000, 0.0)?;
    /// # app.commit()?;
    /// let querier = db.querier(TimeRange::ALL)?;
    /// assert_eq!(querier.label_names(&Selector::all())?, ["__name__", "job"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Damage, an I/O error, a cancellation.
    pub fn label_names(&self, selector: &Selector) -> Result<Vec<String>> {
        let mut out = BTreeSet::new();
        self.each(|source| source.label_names(selector.matchers(), &self.cancel, &mut out))?;
        Ok(out.into_iter().collect())
    }

    /// The values of label `name` in the series that fulfil the selector, sorted, each once; none
    /// if there is no such label. As exact in time as [`label_names`](Querier::label_names).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
    /// # app.append_ref(up, 2_000, 0.0)?;
    /// # app.commit()?;
    /// let querier = db.querier(TimeRange::ALL)?;
    /// assert_eq!(querier.label_values("job", &"up".parse()?)?, ["node"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Damage, an I/O error, a cancellation.
    pub fn label_values(&self, name: &str, selector: &Selector) -> Result<Vec<String>> {
        let mut out = Vec::new();
        self.each_label_value(name, selector, |value| out.push(value.to_owned()))?;
        Ok(out)
    }

    /// Calls `f` with each of the [`label_values`](Querier::label_values), in order: for labels of many values, of which no string
    /// of its own is made.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
    /// # app.commit()?;
    /// let (mut values, mut bytes) = (0, 0);
    /// db.querier(TimeRange::ALL)?.each_label_value("job", &"up".parse()?, |value| {
    ///     values += 1;
    ///     bytes += value.len();
    /// })?;
    /// assert_eq!((values, bytes), (1, 4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Damage, an I/O error, a cancellation; some values may have been given before.
    pub fn each_label_value(&self, name: &str, selector: &Selector, mut f: impl FnMut(&str)) -> Result<()> {
        let (matchers, cancel) = (selector.matchers(), &self.cancel);
        let mut sources = self.sources().peekable();
        let first = sources.next();
        if let (Some(only), None) = (first, sources.peek()) {
            cancel.check()?;
            return only.each_label_value(name, matchers, cancel, &mut f);
        }
        let mut of_sources = Vec::new();
        for source in first.into_iter().chain(sources) {
            cancel.check()?;
            let mut values = Values::default();
            source.each_label_value(name, matchers, cancel, &mut |value| values.push(value))?;
            of_sources.push(values);
        }
        Values::united(of_sources).iter().for_each(f);
        Ok(())
    }

    /// The sources that overlap the range.
    fn sources(&self) -> impl Iterator<Item = &dyn Source> {
        self.state.sources.iter().map(|source| &**source).filter(|s| s.time_range().overlaps(self.range))
    }

    /// Asks each source that overlaps the range.
    fn each(&self, mut ask: impl FnMut(&dyn Source) -> Result<()>) -> Result<()> {
        for source in self.sources() {
            self.cancel.check()?;
            ask(source)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Querier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Querier")
            .field("range", &self.range)
            .field("limits", &self.limits)
            .field("sources", &self.state.sources.len())
            .finish_non_exhaustive()
    }
}
