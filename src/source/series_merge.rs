//! The series of many sources in label order, each once.
//!
//! ```text
//!   head    ──▶ up{a} up{b}       ┐
//!   block 7 ──▶ up{a}       up{d} ├─ heap by (labels, rank) ──▶ up{a}[head, 7, 3]  up{b}[head]  up{d}[7, 3]
//!   block 3 ──▶ up{a}       up{d} ┘
//! ```
//!
//! The rank of a source is its place in the order of falling precedence, so the parts of a merged
//! series come out highest precedence first. One series of each source is held at a time; a step
//! costs one label comparison for each level of the heap. A source that breaks label order is
//! damage, and an error, rather than a series that appears twice.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::error::{Error, ErrorKind, Result};
use crate::model::{Cancel, Labels, Matcher, TimeRange};

use super::{ChunkHandle, SeriesStream, Source, SourceSeries};
use crate::model::Intervals;

/// From this many sources on, their selections are worth a thread each.
const PARALLEL_SOURCES: usize = 4;

/// Streams of several sources, merged.
pub(crate) struct SeriesMerge {
    streams: Vec<Box<dyn SeriesStream>>,
    heads: BinaryHeap<Reverse<Head>>,
}

/// One series with its parts, highest precedence first.
pub(crate) struct MergedSeries {
    /// Its identity.
    pub(crate) labels: Labels,
    /// What each source that has it contributes.
    pub(crate) parts: Vec<Part>,
}

/// What one source contributes to a series.
pub(crate) struct Part {
    /// The source's place in the order of falling precedence.
    pub(crate) rank: usize,
    /// Chunks in order of `min_t`.
    pub(crate) chunks: Vec<ChunkHandle>,
    /// What is hidden of these chunks (and of no other source's).
    pub(crate) deleted: Arc<Intervals>,
}

/// The next series of one stream.
struct Head {
    rank: usize,
    series: SourceSeries,
}

/// A stream with its first series pulled.
type Opened = Result<(Box<dyn SeriesStream>, Option<SourceSeries>)>;

impl SeriesMerge {
    /// Selects from all sources that overlap `range`, in `pool` if there is one and it pays, until `cancel` is cancelled.
    pub(crate) fn open(
        sources: &[Arc<dyn Source>],
        matchers: &[Matcher],
        range: TimeRange,
        pool: Option<&rayon::ThreadPool>,
        cancel: &Cancel,
    ) -> Result<SeriesMerge> {
        let mut sources: Vec<_> = sources.iter().filter(|s| s.time_range().overlaps(range)).collect();
        sources.sort_by_key(|s| Reverse(s.precedence()));
        let open = |source: &&Arc<dyn Source>| -> Opened {
            cancel.check()?;
            let mut stream = source.select(matchers, range, cancel)?;
            let first = stream.next()?;
            Ok((stream, first))
        };
        let opened: Result<Vec<_>> = match pool {
            Some(pool) if sources.len() >= PARALLEL_SOURCES => {
                pool.install(|| sources.par_iter().map(open).collect())
            }
            _ => sources.iter().map(open).collect(),
        };
        let opened = opened?;
        let mut streams = Vec::with_capacity(opened.len());
        let mut heads = BinaryHeap::with_capacity(opened.len());
        for (rank, (stream, first)) in opened.into_iter().enumerate() {
            streams.push(stream);
            heads.extend(first.map(|series| Reverse(Head { rank, series })));
        }
        Ok(SeriesMerge { streams, heads })
    }

    /// The next series, or `None` at the end. Not to be called again after an error.
    pub(crate) fn next(&mut self) -> Result<Option<MergedSeries>> {
        let Some((labels, part)) = self.pop()? else { return Ok(None) };
        let mut parts = vec![part];
        while self.heads.peek().is_some_and(|Reverse(head)| head.series.labels == labels) {
            parts.extend(self.pop()?.map(|(_, part)| part));
        }
        Ok(Some(MergedSeries { labels, parts }))
    }

    /// Takes the least head and pulls the next series of its stream.
    fn pop(&mut self) -> Result<Option<(Labels, Part)>> {
        let Some(Reverse(Head { rank, series })) = self.heads.pop() else { return Ok(None) };
        let following = match self.streams.get_mut(rank) {
            Some(stream) => stream.next()?,
            None => None,
        };
        if let Some(next) = following {
            if next.labels <= series.labels {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!(
                        "series {} follows {} out of label order; run verify",
                        next.labels, series.labels
                    ),
                ));
            }
            self.heads.push(Reverse(Head { rank, series: next }));
        }
        Ok(Some((series.labels, Part { rank, chunks: series.chunks, deleted: series.deleted })))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.series.labels.cmp(&other.series.labels).then(self.rank.cmp(&other.rank))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}
