//! Series in label order, streaming, none of them empty.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::model::Labels;
use crate::source::{Piece, SeriesMerge, settle, visible};

use super::context::Context;
use super::samples::Samples;

/// The series that a [`select`](crate::Querier::select) found: in label order, each once, each
/// with at least one sample in the range.
///
/// Series whose samples in the range are all deleted are left out, exactly. Where the time bounds
/// of chunks cannot tell, one chunk is decoded to see, and kept for [`Series::samples`].
/// After an error the set is finished.
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
/// let mut set = querier.select(&Selector::all())?;
/// while let Some(series) = set.next().transpose()? {
///     println!("{}", series.labels());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SeriesSet {
    /// `None` once finished, so that streams are dropped early.
    merge: Option<SeriesMerge>,
    context: Arc<Context>,
    given: u64,
}

/// One series: its labels, and its samples, to be read as often as is liked. Cloning is cheap.
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
/// assert_eq!(series.labels().value("job"), Some("node"));
/// assert_eq!(series.samples().count(), 2);
/// assert_eq!(series.samples().count(), 2, "from the first on again");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Series {
    labels: Labels,
    pieces: Arc<[Piece]>,
    context: Arc<Context>,
}

/// What the index tells of a series in the querier's range, without reading a sample.
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
/// let extent = series.extent(); // no sample was read
/// assert_eq!((extent.samples, extent.min_time_ms, extent.max_time_ms), (2, 1_000, 2_000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The first timestamp in milliseconds, or something before it.
    pub min_time_ms: i64,
    /// The last timestamp in milliseconds, or something after it.
    pub max_time_ms: i64,
    /// Chunks.
    pub chunks: u64,
    /// Samples, or more: those that another chunk has too, or that are deleted or out of range, are counted.
    pub samples: u64,
}

impl SeriesSet {
    pub(super) fn new(merge: SeriesMerge, context: Arc<Context>) -> SeriesSet {
        SeriesSet { merge: Some(merge), context, given: 0 }
    }

    fn advance(&mut self) -> Result<Option<Series>> {
        let Some(merge) = &mut self.merge else { return Ok(None) };
        loop {
            self.context.cancel.check()?;
            let Some(merged) = merge.next()? else { return Ok(None) };
            let mut pieces = visible(merged.parts, self.context.range);
            if !settle(&mut pieces, self.context.range)? {
                continue;
            }
            if self.given == self.context.limits.max_series {
                return Err(self.context.too_many_series());
            }
            self.given += 1;
            let (labels, context) = (merged.labels, Arc::clone(&self.context));
            return Ok(Some(Series { labels, pieces: pieces.into(), context }));
        }
    }
}

impl Iterator for SeriesSet {
    type Item = Result<Series>;

    fn next(&mut self) -> Option<Result<Series>> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.merge = None;
        }
        next
    }
}

impl std::iter::FusedIterator for SeriesSet {}

impl Series {
    /// The labels, the metric name among them.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// What is known of the samples without reading them: exact where chunks do not overlap, lie in
    /// the querier's range, and nothing is deleted.
    pub fn extent(&self) -> Extent {
        let range = self.context.range;
        let mut extent = Extent { min_time_ms: i64::MAX, max_time_ms: i64::MIN, ..Extent::default() };
        for piece in self.pieces.iter() {
            extent.min_time_ms = extent.min_time_ms.min(piece.chunk.min_t.max(range.start()));
            extent.max_time_ms = extent.max_time_ms.max(piece.chunk.max_t.min(range.end() - 1));
            extent.chunks += 1;
            extent.samples += u64::from(piece.chunk.rows);
        }
        extent
    }

    /// The samples in the querier's range, from the first on.
    pub fn samples(&self) -> Samples {
        Samples::new(Arc::clone(&self.pieces), Arc::clone(&self.context))
    }
}

impl fmt::Debug for SeriesSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesSet").field("given", &self.given).finish_non_exhaustive()
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series")
            .field("labels", &self.labels)
            .field("chunks", &self.pieces.len())
            .finish_non_exhaustive()
    }
}
