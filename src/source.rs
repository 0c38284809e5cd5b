//! What a block, the head, or a range of the head looks like to a reader.
//!
//! ```text
//!   Source ──select(matchers, range)──▶ SeriesStream ──next()──▶ SourceSeries { labels, chunks, deleted }
//!                                                                     │
//!                                  ChunkHandle { min_t, max_t, rows } ┘── decode_into(range, columns) / encoded()
//! ```
//!
//! Queries and compaction read through this and nothing else, so that flushing the head and
//! merging blocks are the same code. A source yields series in label order, each once; the chunks
//! of a series are in order of `min_t` and may overlap (out-of-order samples of the head); at one timestamp the
//! values of overlapping chunks of one source are equal. Across sources, the higher precedence wins.
//!
//! What readers of several sources share stands beside this file, since they may not import one another:
//!
//! | file | what |
//! |---|---|
//! | `series_merge` | [`SeriesMerge`]: the series of many sources in label order, each once |
//! | `piece` | [`Piece`]: a chunk as one range sees it: ranked, trimmed, without what is deleted |
//! | `sample_merge` | [`SampleMerge`]: the samples of overlapping pieces in time order, each timestamp once |

use std::collections::BTreeSet;
use std::sync::Arc;

mod piece;
mod sample_merge;
mod series_merge;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use piece::{Piece, settle, visible};
pub(crate) use sample_merge::SampleMerge;
pub(crate) use series_merge::SeriesMerge;

use crate::error::{Error, ErrorKind, Result};
use crate::format::chunk::{EncodedChunk, Encoding};
use crate::format::gorilla;
use crate::model::{Cancel, Columns, Intervals, Labels, Matcher, Metadata, TimeRange};

/// The precedence of the head: above every block.
pub(crate) const HEAD_PRECEDENCE: u64 = u64::MAX;

/// Something that has series with samples.
pub(crate) trait Source: Send + Sync {
    /// A range that holds all samples; may be larger than the tightest one, empty if there are none.
    fn time_range(&self) -> TimeRange;
    /// Which source wins where two have a sample at one time.
    fn precedence(&self) -> u64;
    /// The series that fulfil all matchers, in label order, with the chunks that overlap `range`;
    /// a series without such chunks is left out. Chunks are not trimmed to `range`.
    /// `cancel` ends the selection, and the stream, within a millisecond or so.
    fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        cancel: &Cancel,
    ) -> Result<Box<dyn SeriesStream>>;
    /// Adds the names of labels of the series that fulfil all matchers.
    fn label_names(&self, matchers: &[Matcher], cancel: &Cancel, out: &mut BTreeSet<String>) -> Result<()>;
    /// Calls `f` with the values of label `name` of the series that fulfil all matchers, sorted, each once.
    fn each_label_value(
        &self,
        name: &str,
        matchers: &[Matcher],
        cancel: &Cancel,
        f: &mut dyn FnMut(&str),
    ) -> Result<()>;
    /// The metadata of one family, if known here.
    fn metadata(&self, family: &str) -> Result<Option<Metadata>>;
    /// The metadata of all families, sorted by name.
    fn families(&self) -> Result<Vec<(String, Metadata)>>;
}

/// Series in label order.
pub(crate) trait SeriesStream: Send {
    /// The next one, or `None` at the end. After an error the stream is finished.
    fn next(&mut self) -> Result<Option<SourceSeries>>;
}

/// One series of one source.
#[derive(Clone, Debug)]
pub(crate) struct SourceSeries {
    /// Its identity.
    pub(crate) labels: Labels,
    /// Its chunks, in order of `min_t`.
    pub(crate) chunks: Vec<ChunkHandle>,
    /// Samples in these ranges are deleted: hidden from queries, dropped by compaction.
    pub(crate) deleted: Arc<Intervals>,
}

/// One chunk, not read yet.
#[derive(Clone, Debug)]
pub(crate) struct ChunkHandle {
    /// The timestamp of the first row, exactly.
    pub(crate) min_t: i64,
    /// The timestamp of the last of the `rows` rows, exactly (included).
    pub(crate) max_t: i64,
    /// Rows that the reader may see: a growing chunk of the head may have more.
    pub(crate) rows: u32,
    /// Where the bytes are.
    pub(crate) data: ChunkData,
}

/// Where the bytes of a chunk are.
#[derive(Clone, Debug)]
pub(crate) enum ChunkData {
    /// In memory: a payload of gorilla.
    Memory(Arc<[u8]>),
    /// In a block.
    Stored {
        /// The block's chunk file.
        store: Arc<dyn ChunkStore>,
        /// The place in it.
        at: ChunkPlace,
    },
}

/// The place of a chunk in a `chunks` file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkPlace {
    /// Offset of its group in the file, in bytes.
    pub(crate) group: u64,
    /// Offset of the chunk within the group's body, in bytes.
    pub(crate) within: u32,
}

/// A `chunks` file that can be read: verifies the group's checksum before it interprets a byte.
pub(crate) trait ChunkStore: Send + Sync + std::fmt::Debug {
    /// Appends the rows of a chunk that are in `wanted` to `out`, in strict time order; rows that are not may come, too.
    fn decode(&self, at: ChunkPlace, wanted: TimeRange, out: &mut Columns) -> Result<()>;
    /// The chunk as it is stored, to be copied.
    fn encoded(&self, at: ChunkPlace) -> Result<EncodedChunk>;
}

impl ChunkHandle {
    /// Whether the chunk's hull shares a timestamp with `range`.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        self.min_t < range.end() && range.start() <= self.max_t
    }

    /// The smallest range that holds its samples.
    pub(crate) fn hull(&self) -> TimeRange {
        TimeRange::inclusive(self.min_t, self.max_t)
    }

    /// Appends those of the `rows` rows that are in `wanted` to `out`, perhaps others, too; on an error `out` is as it was.
    /// The rows must be what the handle says: in strict time order from `min_t` to `max_t`.
    pub(crate) fn decode_into(&self, wanted: TimeRange, out: &mut Columns) -> Result<()> {
        let before = out.len();
        let decoded = match &self.data {
            ChunkData::Memory(payload) => gorilla::decode_rows_into(payload, self.rows, out).map_err(|e| {
                Error::new(
                    ErrorKind::Corrupt,
                    format!("a chunk in memory is damaged: {e}; reopen the database"),
                )
            }),
            ChunkData::Stored { store, at } => store.decode(*at, wanted, out),
        };
        let checked = decoded.and_then(|()| self.check(before, wanted, out));
        if checked.is_err() {
            out.t.truncate(before);
            out.v.truncate(before);
        }
        checked
    }

    /// The chunk as it is coded, to be copied.
    pub(crate) fn encoded(&self) -> Result<EncodedChunk> {
        match &self.data {
            ChunkData::Memory(payload) => {
                Ok(EncodedChunk { encoding: Encoding::Gorilla, payload: payload.to_vec() })
            }
            ChunkData::Stored { store, at } => store.encoded(*at),
        }
    }

    /// Cuts off rows that are not for the reader, and compares the others with the handle.
    fn check(&self, before: usize, wanted: TimeRange, out: &mut Columns) -> Result<()> {
        let end = usize::try_from(self.rows).map_or(usize::MAX, |rows| before.saturating_add(rows));
        out.t.truncate(end);
        out.v.truncate(end);
        let t = out.t.get(before..).unwrap_or_default();
        let found = (t.first().copied().unwrap_or(self.min_t), t.last().copied().unwrap_or(self.max_t));
        let inside = self.min_t <= found.0 && found.1 <= self.max_t && out.t.len() == out.v.len();
        let whole = out.t.len() == end;
        // Of a stored chunk a part may have been enough, and its store has seen to the order.
        let is_ours = match self.data {
            ChunkData::Memory(_) => whole && t.iter().zip(t.iter().skip(1)).all(|(a, b)| a < b),
            ChunkData::Stored { .. } => whole || !wanted.covers(self.hull()),
        };
        match inside && is_ours && (!whole || found == (self.min_t, self.max_t)) {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "a chunk does not hold the {} rows from {} to {} that its index tells; run verify",
                    self.rows, self.min_t, self.max_t
                ),
            )),
        }
    }
}
