//! A digest of what a writer was given, to be compared with what stands in the files.
//!
//! ```text
//!   Writer ─ add, add_family ──▶ digest ──┐
//!     ▼ files                             ├ equal, or the block is not published
//!   Block ─ every unit read ───▶ digest ──┘
//! ```
//!
//! The digest is over labels, families, and of each chunk its bounds, its coded values and its timestamps, in their order. Values are
//! not decoded: who codes them sees to it that they decode. The checksums of the units find nearly all that a disk does; the digest finds
//! what stands in place with a right checksum, and is not what was meant. It is of 64 bits, lives in memory only, and is no defence against
//! attackers.

use std::hash::BuildHasher;

use super::writer::NewChunk;
use crate::error::{Error, ErrorKind, Result};
use crate::format::block_meta::BlockMeta;
use crate::format::chunk::{Encoding, Timestamps};
use crate::model::{Cancel, Labels, Metadata};

use super::Block;

/// What a writer made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// What the block says of itself.
    pub(crate) meta: BlockMeta,
    /// Of what it was given.
    pub(super) digest: Digest,
}

/// A digest of series, chunks and families, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest(u64);

/// A chunk as the digest sees it.
pub(super) struct Seen<'a> {
    pub(super) min_t: i64,
    pub(super) max_t: i64,
    pub(super) rows: u32,
    /// The timestamps, if the chunk shares them.
    pub(super) times: Option<&'a Timestamps>,
    /// The coded values, or, in a gorilla chunk, all of it.
    pub(super) coded: &'a [u8],
}

impl Digest {
    /// A series begins.
    pub(super) fn series(&mut self, labels: &Labels) {
        labels.canonical_pairs().for_each(|pair| self.take(hash(pair)));
        self.take(1);
    }

    /// A chunk of that series, as it is written.
    pub(super) fn chunk(&mut self, c: &NewChunk) {
        let times = match &c.chunk.encoding {
            Encoding::Gorilla => None,
            Encoding::Columns(t) => Some(t),
        };
        let (min_t, max_t, rows, coded) = (c.min_t, c.max_t, c.rows, &*c.chunk.payload);
        self.seen(&Seen { min_t, max_t, rows, times, coded });
    }

    /// A chunk of that series.
    pub(super) fn seen(&mut self, c: &Seen<'_>) {
        self.take(c.min_t.cast_unsigned());
        self.take(c.max_t.cast_unsigned());
        self.take(u64::from(c.rows));
        self.take(hash(c.coded));
        self.take(c.times.map_or(0, Timestamps::digest));
    }

    /// A family, in order of their names.
    pub(super) fn family(&mut self, name: &str, metadata: &Metadata) {
        self.take(hash(&(name, metadata.metric_type, &metadata.unit, &metadata.help)));
    }

    fn take(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(23) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

fn hash<T: std::hash::Hash + ?Sized>(what: &T) -> u64 {
    foldhash::fast::FixedState::default().hash_one(what)
}

impl Block {
    /// Reads a new block whole, checks every unit and that all of it agrees, and compares it with what the writer was given.
    ///
    /// # Errors
    /// What is not as it was written; cancellation; I/O errors.
    pub(crate) fn read_back(&self, made: &Made, cancel: &Cancel) -> Result<()> {
        let (digest, fault) = self.digest(cancel)?;
        let what = match fault {
            // It could not be read, which says nothing of what was written.
            Some(fault) if fault.kind() != ErrorKind::Corrupt => return Err(fault),
            Some(fault) => format!("the new block was not written as it should be: {fault}"),
            None if *self.meta != made.meta || digest != made.digest => {
                "the new block does not hold what was written to it".to_owned()
            }
            None => return Ok(()),
        };
        let advice = "it is not used, and what it was made from stays; check the disk and its space";
        Err(Error::new(ErrorKind::Corrupt, format!("{what}; {advice}")).at(&self.dir))
    }
}
