//! The live blocks, described.

use crate::block;
use crate::db::Db;
use crate::error::Result;
use crate::model::{Cancel, TimeRange};

/// One live block: a directory of immutable files that holds the samples of one time range.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::*;
/// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
/// # let mut app = db.appender()?;
/// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
/// # app.append_ref(up, 2_000, 0.0)?;
/// # app.commit()?;
/// db.compact(&Cancel::default())?;
/// for block in db.blocks()? {
///     println!("{}: {} samples of {} series, {} bytes", block.name, block.samples, block.series, block.bytes);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockInfo {
    /// The name of its directory in `blocks/`.
    pub name: String,
    /// The range that it stands for.
    pub range: TimeRange,
    /// Its first timestamp, in milliseconds.
    pub min_time_ms: i64,
    /// Its last timestamp, in milliseconds.
    pub max_time_ms: i64,
    /// Its samples, deleted ones that are not cleaned up yet included.
    pub samples: u64,
    /// Its chunks.
    pub chunks: u64,
    /// Its series.
    pub series: u64,
    /// How often its samples were merged.
    pub level: u8,
    /// Bytes of the file of labels, postings and the places of chunks.
    pub index_bytes: u64,
    /// Bytes of the file of chunks.
    pub chunk_bytes: u64,
    /// Bytes of the file of shared timestamp columns.
    pub time_bytes: u64,
    /// Bytes of all its files; `meta` is what the three above leave.
    pub bytes: u64,
}

/// A part of what blocks have on disk: what it is, and how large.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::*;
/// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
/// # let mut app = db.appender()?;
/// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
/// # app.commit()?;
/// db.compact(&Cancel::default())?;
/// let parts: Vec<Part> = db.parts(&Cancel::default())?;
/// assert_eq!(parts.iter().map(|part| part.samples).sum::<u64>(), 1);
/// assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), db.stats().block_bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// What it is, in words.
    pub name: &'static str,
    /// Its bytes in all blocks.
    pub bytes: u64,
    /// The samples whose values it holds; 0 for what is of all.
    pub samples: u64,
}

impl Db {
    /// What the bytes of all live blocks are: values by how they are coded, timestamps, the parts of the index. Together they
    /// are all bytes of the blocks. Reads the heads of all chunks and all pages of the index, and decodes no sample.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default())?;
    /// for part in db.parts(&Cancel::default())? {
    ///     println!("{}: {} bytes", part.name, part.bytes);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Damage that is met, I/O errors, [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled),
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub fn parts(&self, cancel: &Cancel) -> Result<Vec<Part>> {
        self.shared().check_open()?;
        let mut all = block::Parts::default();
        for live in &self.shared().version().blocks {
            for (sum, part) in all.iter_mut().zip(live.block.parts(cancel)?) {
                *sum = (sum.0 + part.0, sum.1 + part.1);
            }
        }
        let part = |(name, (bytes, samples))| Part { name, bytes, samples };
        Ok(block::part_names().zip(all).map(part).collect())
    }

    /// The live blocks, by time, as of the call; the head is in [`stats`](Db::stats). Reads nothing from disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # use silverback::*;
    /// # let db = Db::open(dir.path(), Options::default().max_future(None))?;
    /// # let mut app = db.appender()?;
    /// # let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
    /// # app.append_ref(up, 2_000, 0.0)?;
    /// # app.commit()?;
    /// assert!(db.blocks()?.is_empty(), "all is in the head");
    /// db.compact(&Cancel::default())?;
    /// assert_eq!(db.blocks()?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    pub fn blocks(&self) -> Result<Vec<BlockInfo>> {
        self.shared().check_open()?;
        let version = self.shared().version();
        let mut blocks: Vec<BlockInfo> = version
            .blocks
            .iter()
            .map(|live| {
                let meta = live.block.meta();
                let name = live.block.dir().file_name().unwrap_or_default();
                BlockInfo {
                    name: name.to_string_lossy().into_owned(),
                    range: live.range(),
                    min_time_ms: meta.min_t,
                    max_time_ms: meta.max_t,
                    samples: meta.samples,
                    chunks: meta.chunks,
                    series: u64::from(meta.series),
                    level: meta.level,
                    index_bytes: meta.index_bytes,
                    chunk_bytes: meta.chunks_bytes,
                    time_bytes: meta.times_bytes,
                    bytes: live.block.bytes(),
                }
            })
            .collect();
        blocks.sort_by(|a, b| (a.min_time_ms, &a.name).cmp(&(b.min_time_ms, &b.name)));
        Ok(blocks)
    }
}
