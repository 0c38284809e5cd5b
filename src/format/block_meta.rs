//! `meta`: what one block is. Opening a block reads this file and the lengths of the other three, nothing else.
//!
//! ```text
//!   0    magic "SBMETA01"     8     80   files: index, chunks, times bytes    3 x u64
//!   8    version u32          4    104   pairs u32, families u32              8
//!   12   salt u32             4    112   root of the pairs                    16 ┐ offset u64
//!   16   range: start, end    16   128   root of the series                   16 │ bytes u32
//!   32   hull: min_t, max_t   16   144   root of the families                 16 ┘ level u32
//!   48   samples u64          8    160   crc32 of all before                  4
//!   56   chunks u64           8    164   end
//!   64   through u64          8
//!   72   series u32           4
//!   76   level u32            4
//! ```
//!
//! Fixed width, little-endian. In every version the last four bytes are the checksum of the rest,
//! so that damage and a newer version can be told apart; it seeds nothing. `salt` seeds the
//! checksums in `index`, `chunks` and `times`. A root of level 0 is a leaf; of an empty tree all is zero.
//!
//! Invariants: the hull lies in the range; at least one chunk for each series and one sample for
//! each chunk; roots end within `index`. A block without series has zero counts, and `start` twice as its hull.

use super::cursor::{Reader, Write, checked, seal};
use super::directory_page::MAX_LEVEL;
use crate::error::{DecodeError, DecodeReason};
use crate::model::{Lsn, TimeRange};

const STRUCTURE: &str = "block_meta";
/// The first bytes.
pub(crate) const MAGIC: &[u8; 8] = b"SBMETA01";
/// The version that this build writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;
/// The length of the file.
pub(crate) const META_BYTES: usize = 164;

/// Where the uppermost page of a tree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Root {
    /// Offset in `index`.
    pub(crate) offset: u64,
    /// Length, checksum included; 0 if the tree is empty.
    pub(crate) bytes: u32,
    /// 0 for a leaf, else the level of a `directory_page`.
    pub(crate) level: u8,
}

/// What one block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockMeta {
    /// Seeds the checksums of this block.
    pub(crate) salt: u32,
    /// The range that the block stands for, aligned.
    pub(crate) range: TimeRange,
    /// The first timestamp of all.
    pub(crate) min_t: i64,
    /// The last timestamp of all.
    pub(crate) max_t: i64,
    /// The number of samples.
    pub(crate) samples: u64,
    /// The number of chunks.
    pub(crate) chunks: u64,
    /// Commits up to here are in it, as far as they concern its range.
    pub(crate) through: Lsn,
    /// The number of series.
    pub(crate) series: u32,
    /// How often its samples were merged: 0 for a flush of the head.
    pub(crate) level: u8,
    /// The length of `index`.
    pub(crate) index_bytes: u64,
    /// The length of `chunks`.
    pub(crate) chunks_bytes: u64,
    /// The length of `times`.
    pub(crate) times_bytes: u64,
    /// The number of label pairs in the dictionary.
    pub(crate) pairs: u32,
    /// The number of families.
    pub(crate) families: u32,
    /// The tree of label pairs.
    pub(crate) pairs_root: Root,
    /// The tree of series.
    pub(crate) series_root: Root,
    /// The tree of families.
    pub(crate) families_root: Root,
}

impl BlockMeta {
    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(META_BYTES);
        out.extend_from_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u32(self.salt);
        for t in [self.range.start(), self.range.end(), self.min_t, self.max_t] {
            out.put_i64(t);
        }
        for n in [self.samples, self.chunks, self.through.0] {
            out.put_u64(n);
        }
        out.put_u32(self.series);
        out.put_u32(u32::from(self.level));
        for n in [self.index_bytes, self.chunks_bytes, self.times_bytes] {
            out.put_u64(n);
        }
        out.put_u32(self.pairs);
        out.put_u32(self.families);
        for root in [self.pairs_root, self.series_root, self.families_root] {
            out.put_u64(root.offset);
            out.put_u32(root.bytes);
            out.put_u32(u32::from(root.level));
        }
        seal(&mut out, 0, 0);
        out
    }

    /// Decodes and checks the file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<BlockMeta, DecodeError> {
        let mut r = Reader::new(STRUCTURE, bytes);
        if r.bytes(MAGIC.len())? != MAGIC {
            return Err(DecodeError::new(STRUCTURE, 0, DecodeReason::BadMagic));
        }
        let body = checked(STRUCTURE, 0, bytes)?;
        let mut r = Reader::new(STRUCTURE, body);
        r.bytes(MAGIC.len())?;
        match r.u32()? {
            VERSION => {}
            0 => return Err(r.invalid("there is no version 0")),
            found => return Err(r.error(DecodeReason::NewerVersion { found, known: VERSION })),
        }
        let meta = BlockMeta::fields(&mut r)?;
        meta.check(&r)?;
        r.finish()?;
        Ok(meta)
    }

    fn fields(r: &mut Reader<'_>) -> Result<BlockMeta, DecodeError> {
        Ok(BlockMeta {
            salt: r.u32()?,
            range: TimeRange::new(r.i64()?, r.i64()?),
            min_t: r.i64()?,
            max_t: r.i64()?,
            samples: r.u64()?,
            chunks: r.u64()?,
            through: Lsn(r.u64()?),
            series: r.u32()?,
            level: level(r, u8::MAX)?,
            index_bytes: r.u64()?,
            chunks_bytes: r.u64()?,
            times_bytes: r.u64()?,
            pairs: r.u32()?,
            families: r.u32()?,
            pairs_root: root(r)?,
            series_root: root(r)?,
            families_root: root(r)?,
        })
    }

    fn check(&self, r: &Reader<'_>) -> Result<(), DecodeError> {
        let (start, end) = (self.range.start(), self.range.end());
        let hull = match self.series {
            0 => self.min_t == start && self.max_t == start,
            _ => start <= self.min_t && self.min_t <= self.max_t && self.max_t < end,
        };
        if self.range.is_empty() || !hull {
            return Err(r.invalid("the times of the block make no sense"));
        }
        let empty = self.series == 0;
        let counts = u64::from(self.series) <= self.chunks && self.chunks <= self.samples;
        let times = !empty || self.times_bytes == 0;
        if !counts || !times || empty != (self.samples == 0) || empty != (self.pairs == 0) {
            return Err(r.invalid("the counts of the block make no sense"));
        }
        let trees = [
            (self.pairs, self.pairs_root),
            (self.series, self.series_root),
            (self.families, self.families_root),
        ];
        for (count, root) in trees {
            let end = root.offset.checked_add(u64::from(root.bytes));
            let inside = end.is_some_and(|end| end <= self.index_bytes);
            if !inside || (count == 0) != (root.bytes == 0) || (count == 0 && root != Root::default()) {
                return Err(r.invalid("a root of the index is not within it"));
            }
        }
        Ok(())
    }
}

fn level(r: &mut Reader<'_>, maximum: u8) -> Result<u8, DecodeError> {
    let found = r.u32()?;
    u8::try_from(found).ok().filter(|&level| level <= maximum).ok_or_else(|| {
        r.error(DecodeReason::AboveMaximum { found: u64::from(found), maximum: u64::from(maximum) })
    })
}

fn root(r: &mut Reader<'_>) -> Result<Root, DecodeError> {
    Ok(Root { offset: r.u64()?, bytes: r.u32()?, level: level(r, MAX_LEVEL)? })
}

/// The property that fuzzing checks: what is accepted, sealed or not, is written back to the same bytes.
pub(crate) fn fuzz(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal(&mut sealed, 0, 0);
    for bytes in [data, &sealed] {
        if let Ok(meta) = BlockMeta::decode(bytes) {
            assert_eq!(meta.encode(), bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    fn example() -> BlockMeta {
        BlockMeta {
            salt: 0x5a17,
            range: TimeRange::new(0, 7_200_000),
            min_t: 1_000,
            max_t: 7_190_000,
            samples: 960,
            chunks: 8,
            through: Lsn(42),
            series: 2,
            level: 1,
            index_bytes: 512,
            chunks_bytes: 4_096,
            times_bytes: 96,
            pairs: 5,
            families: 1,
            pairs_root: Root { offset: 60, bytes: 70, level: 0 },
            series_root: Root { offset: 400, bytes: 50, level: 1 },
            families_root: Root { offset: 450, bytes: 62, level: 0 },
        }
    }

    fn changed(change: impl FnOnce(&mut BlockMeta)) -> Result<BlockMeta, DecodeError> {
        let mut meta = example();
        change(&mut meta);
        BlockMeta::decode(&meta.encode())
    }

    #[test]
    fn the_example_and_an_empty_block_round_trip() {
        let bytes = example().encode();
        assert_eq!(bytes.len(), META_BYTES);
        assert_eq!(BlockMeta::decode(&bytes), Ok(example()));
        let empty = BlockMeta {
            min_t: 0,
            max_t: 0,
            samples: 0,
            chunks: 0,
            series: 0,
            times_bytes: 0,
            pairs: 0,
            families: 0,
            pairs_root: Root::default(),
            series_root: Root::default(),
            families_root: Root::default(),
            ..example()
        };
        assert_eq!(BlockMeta::decode(&empty.encode()), Ok(empty));
    }

    #[test]
    fn damage_is_found() {
        let bytes = example().encode();
        testing::truncations_fail(&bytes, BlockMeta::decode);
        testing::bit_flips_fail_or_agree(&bytes, BlockMeta::decode);
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(BlockMeta::decode(&longer).is_err());
        let reason = |bytes: &[u8]| BlockMeta::decode(bytes).unwrap_err().reason;
        assert_eq!(reason(&[0; META_BYTES]), DecodeReason::BadMagic);
        let mut newer = bytes;
        newer[8] = 2;
        assert!(matches!(reason(&newer), DecodeReason::Checksum { .. }), "damage is not a newer version");
        newer.truncate(META_BYTES - 4);
        seal(&mut newer, 0, 0);
        assert_eq!(reason(&newer), DecodeReason::NewerVersion { found: 2, known: VERSION });
    }

    #[test]
    fn limits() {
        assert!(changed(|m| m.range = TimeRange::ALL).is_ok());
        assert!(changed(|m| m.range = TimeRange::new(5, 5)).is_err());
        assert!(changed(|m| m.max_t = 7_199_999).is_ok());
        assert!(changed(|m| m.max_t = 7_200_000).is_err());
        assert!(changed(|m| m.min_t = -1).is_err());
        assert!(changed(|m| (m.min_t, m.max_t) = (9, 8)).is_err());
        assert!(changed(|m| m.chunks = 1).is_err(), "fewer chunks than series");
        assert!(changed(|m| m.samples = 7).is_err(), "fewer samples than chunks");
        assert!(changed(|m| m.times_bytes = 0).is_ok());
        assert!(changed(|m| m.series = 0).is_err());
        assert!(changed(|m| m.pairs = 0).is_err());
        assert!(changed(|m| m.families = 0).is_err());
        assert!(changed(|m| m.families_root.bytes += 1).is_err(), "a root beyond the index");
        assert!(changed(|m| m.families_root.offset = u64::MAX).is_err());
        assert!(changed(|m| m.pairs_root.level = MAX_LEVEL).is_ok());
        assert!(changed(|m| m.pairs_root.level = MAX_LEVEL + 1).is_err());
        assert!(changed(|m| m.level = u8::MAX).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_counts_round_trip(salt in any::<u32>(), through in any::<u64>(), series in 1u32.., samples in any::<u64>(), level in any::<u8>()) {
            let samples = samples.max(u64::from(series));
            let meta = BlockMeta { salt, through: Lsn(through), series, chunks: samples, samples, level, ..example() };
            prop_assert_eq!(BlockMeta::decode(&meta.encode()), Ok(meta));
        }
        #[test]
        fn forged_bytes_never_panic(at in 0usize..META_BYTES - 4, byte in any::<u8>()) {
            let mut body = example().encode();
            body.truncate(META_BYTES - 4);
            body[at] = byte;
            fuzz(&body);
        }
    }

    #[test]
    fn golden() {
        testing::golden("block_meta", &example().encode());
    }
}
