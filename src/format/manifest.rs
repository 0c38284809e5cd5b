//! `MANIFEST-<generation>`: which files are the database.
//!
//! ```text
//!   0         4         8            16         24              32         40
//!   ├ magic   ┼ version ┼ generation ┼ last_lsn ┼ next_sequence ┼ wal_from ┤
//!   40                  41                      49             53             57
//!   ├ has_tombstones:u8 ┼ tombstones:u64        ┼ block_count  ┼ floor_count ┤
//!   57
//!   ├ blocks: 49 bytes each ┼ floors: 24 bytes each ┼ crc ┤
//!
//!   block   start:i64  end:i64  sequence:u64  precedence:u64  level:u8  through:u64  bytes:u64
//!   floor   start:i64  end:i64  through:u64
//! ```
//!
//! The manifest is small, read whole at open, and swapped by rename: the only commit point of
//! flush, compaction, retention and delete. Magic first and checksum last (seeded with the magic)
//! stay where they are in every version, so that a flipped bit in the version is damage and not
//! "written by a newer version".
//!
//! Invariants, which encoder and decoder both check: blocks ascend by (start, end, sequence), no
//! sequence is used twice or is `next_sequence` or above, so that no file is ever overwritten;
//! floors ascend by (start, end), each range once; no range is empty.

use crate::error::{DecodeError, DecodeReason};
use crate::format::cursor::{Reader, Write, checked, seal};
use crate::model::{Lsn, TimeRange};

/// The first four bytes, read as a little-endian number: "SBMF".
pub(crate) const MAGIC: u32 = 0x464d4253;
/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;
/// The most blocks.
const MAX_BLOCKS: usize = 1_000_000;
/// The most floors.
const MAX_FLOORS: usize = 1_000_000;
/// Bytes before the first block.
const HEADER_BYTES: usize = 57;
/// Bytes of one block.
const BLOCK_BYTES: usize = 49;
/// Bytes of one floor.
const FLOOR_BYTES: usize = 24;
/// Bytes of the checksum.
const CRC_BYTES: usize = 4;

const STRUCTURE: &str = "manifest";

/// Which files are the database, as of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Counts swaps; also in the file's name.
    pub(crate) generation: u64,
    /// The highest log sequence number that was given out when it was written.
    pub(crate) last_lsn: Lsn,
    /// The number that the next new file gets.
    pub(crate) next_sequence: u64,
    /// The live blocks, by (start, end, sequence).
    pub(crate) blocks: Vec<BlockEntry>,
    /// What replay of the log may skip, by (start, end).
    pub(crate) floors: Vec<Floor>,
    /// The generation of the live tombstones file, if there is one.
    pub(crate) tombstones: Option<u64>,
    /// The first log segment that is still needed; informative.
    pub(crate) wal_from: u64,
}

/// One live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    /// The first timestamp that it may hold.
    pub(crate) start: i64,
    /// The first timestamp after it.
    pub(crate) end: i64,
    /// Its number, which no other file ever had.
    pub(crate) sequence: u64,
    /// Where two blocks have a sample at one time, the higher wins.
    pub(crate) precedence: u64,
    /// How often its samples were merged.
    pub(crate) level: u8,
    /// It holds samples of commits up to this one.
    pub(crate) through: Lsn,
    /// Its size on disk.
    pub(crate) bytes: u64,
}

/// Replay skips samples in `range` of commits up to `through`: a flush has put them into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    /// The flushed range.
    pub(crate) range: TimeRange,
    /// The last commit that the flush has seen.
    pub(crate) through: Lsn,
}

impl Manifest {
    /// The bytes of the file.
    ///
    /// # Errors
    /// What [`decode`](Manifest::decode) would refuse is not written.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        self.check()?;
        let (blocks, floors) = (count(self.blocks.len(), MAX_BLOCKS)?, count(self.floors.len(), MAX_FLOORS)?);
        let mut out = Vec::with_capacity(encoded_bytes(self.blocks.len(), self.floors.len()));
        out.put_u32(MAGIC);
        out.put_u32(VERSION);
        out.put_u64(self.generation);
        out.put_u64(self.last_lsn.0);
        out.put_u64(self.next_sequence);
        out.put_u64(self.wal_from);
        out.put_u8(u8::from(self.tombstones.is_some()));
        out.put_u64(self.tombstones.unwrap_or(0));
        out.put_u32(blocks);
        out.put_u32(floors);
        for block in &self.blocks {
            out.put_i64(block.start);
            out.put_i64(block.end);
            out.put_u64(block.sequence);
            out.put_u64(block.precedence);
            out.put_u8(block.level);
            out.put_u64(block.through.0);
            out.put_u64(block.bytes);
        }
        for floor in &self.floors {
            out.put_i64(floor.range.start());
            out.put_i64(floor.range.end());
            out.put_u64(floor.through.0);
        }
        seal(&mut out, 0, MAGIC);
        Ok(out)
    }

    /// Reads the bytes of the file: magic, checksum, version, counts, entries, order.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Manifest, DecodeError> {
        if Reader::new(STRUCTURE, bytes).u32()? != MAGIC {
            return Err(DecodeError::new(STRUCTURE, 0, DecodeReason::BadMagic));
        }
        let mut r = Reader::new(STRUCTURE, checked(STRUCTURE, MAGIC, bytes)?);
        r.u32()?;
        let version = r.u32()?;
        if version > VERSION {
            return Err(r.error(DecodeReason::NewerVersion { found: version, known: VERSION }));
        }
        if version == 0 {
            return Err(r.invalid("version 0 does not exist"));
        }
        let mut manifest = Manifest {
            generation: r.u64()?,
            last_lsn: Lsn(r.u64()?),
            next_sequence: r.u64()?,
            wal_from: r.u64()?,
            tombstones: decode_tombstones(&mut r)?,
            ..Manifest::default()
        };
        let (blocks, floors) = (decode_count(&mut r, MAX_BLOCKS)?, decode_count(&mut r, MAX_FLOORS)?);
        // Both counts are at most a million: nothing overflows, and what is allocated is there.
        if r.remaining() < blocks * BLOCK_BYTES + floors * FLOOR_BYTES {
            return Err(r.error(DecodeReason::Truncated));
        }
        manifest.blocks.reserve_exact(blocks);
        for _ in 0..blocks {
            manifest.blocks.push(decode_block(&mut r)?);
        }
        manifest.floors.reserve_exact(floors);
        for _ in 0..floors {
            let range = TimeRange::new(r.i64()?, r.i64()?);
            manifest.floors.push(Floor { range, through: Lsn(r.u64()?) });
        }
        r.finish()?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The invariants that hold between entries.
    fn check(&self) -> Result<(), DecodeError> {
        let bad = |offset: usize, what| {
            Err(DecodeError::new(STRUCTURE, offset as u64, DecodeReason::Invalid(what)))
        };
        let block_at = |i: usize| HEADER_BYTES + i * BLOCK_BYTES;
        let floor_at = |i: usize| HEADER_BYTES + self.blocks.len() * BLOCK_BYTES + i * FLOOR_BYTES;
        for (i, block) in self.blocks.iter().enumerate() {
            if block.end <= block.start {
                return bad(block_at(i), "the range of a block is empty");
            }
            if block.sequence >= self.next_sequence {
                return bad(block_at(i), "the sequence of a block is not below next_sequence");
            }
        }
        let key = |b: &BlockEntry| (b.start, b.end, b.sequence);
        if let Some(i) = first_unordered(&self.blocks, |a, b| key(a) < key(b)) {
            return bad(block_at(i), "the blocks are not in order");
        }
        let mut sequences: Vec<u64> = self.blocks.iter().map(|b| b.sequence).collect();
        sequences.sort_unstable();
        if first_unordered(&sequences, |a, b| a < b).is_some() {
            return bad(HEADER_BYTES, "two blocks have one sequence");
        }
        if let Some(i) = self.floors.iter().position(|f| f.range.is_empty()) {
            return bad(floor_at(i), "the range of a floor is empty");
        }
        let key = |f: &Floor| (f.range.start(), f.range.end());
        match first_unordered(&self.floors, |a, b| key(a) < key(b)) {
            Some(i) => bad(floor_at(i), "the floors are not in order"),
            None => Ok(()),
        }
    }
}

/// The longest file that can be valid, in bytes.
pub(crate) const MAX_FILE_BYTES: usize = encoded_bytes(MAX_BLOCKS, MAX_FLOORS);

const fn encoded_bytes(blocks: usize, floors: usize) -> usize {
    HEADER_BYTES + blocks * BLOCK_BYTES + floors * FLOOR_BYTES + CRC_BYTES
}

/// The index of the first entry that does not stand in order with the one before it.
fn first_unordered<T>(entries: &[T], ordered: impl Fn(&T, &T) -> bool) -> Option<usize> {
    entries.windows(2).position(|pair| !matches!(pair, [a, b] if ordered(a, b))).map(|i| i + 1)
}

fn count(found: usize, maximum: usize) -> Result<u32, DecodeError> {
    let above = DecodeReason::AboveMaximum { found: found as u64, maximum: maximum as u64 };
    match u32::try_from(found) {
        Ok(n) if found <= maximum => Ok(n),
        _ => Err(DecodeError::new(STRUCTURE, 0, above)),
    }
}

fn decode_count(r: &mut Reader<'_>, maximum: usize) -> Result<usize, DecodeError> {
    let found = r.u32()?;
    match usize::try_from(found) {
        Ok(n) if n <= maximum => Ok(n),
        _ => Err(r.error(DecodeReason::AboveMaximum { found: u64::from(found), maximum: maximum as u64 })),
    }
}

fn decode_tombstones(r: &mut Reader<'_>) -> Result<Option<u64>, DecodeError> {
    let there = r.u8()?;
    let generation = r.u64()?;
    match (there, generation) {
        (0, 0) => Ok(None),
        (1, generation) => Ok(Some(generation)),
        _ => Err(r.invalid("the tombstone generation is neither there nor absent")),
    }
}

fn decode_block(r: &mut Reader<'_>) -> Result<BlockEntry, DecodeError> {
    Ok(BlockEntry {
        start: r.i64()?,
        end: r.i64()?,
        sequence: r.u64()?,
        precedence: r.u64()?,
        level: r.u8()?,
        through: Lsn(r.u64()?),
        bytes: r.u64()?,
    })
}

/// Whatever is accepted is written back byte for byte.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        assert_eq!(manifest.encode().as_deref(), Ok(data));
    }
    // Behind a valid checksum, so that fuzzing reaches the entries.
    let mut sealed = MAGIC.to_le_bytes().to_vec();
    sealed.extend_from_slice(data);
    seal(&mut sealed, 0, MAGIC);
    if let Ok(manifest) = Manifest::decode(&sealed) {
        assert_eq!(manifest.encode(), Ok(sealed));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::format::testing;

    fn block(start: i64, end: i64, sequence: u64) -> BlockEntry {
        BlockEntry { start, end, sequence, precedence: sequence, level: 1, through: Lsn(40), bytes: 4_096 }
    }

    fn example() -> Manifest {
        Manifest {
            generation: 3,
            last_lsn: Lsn(41),
            next_sequence: 8,
            blocks: vec![block(0, 7_200_000, 5), block(7_200_000, 14_400_000, 7)],
            floors: vec![Floor { range: TimeRange::new(7_200_000, 14_400_000), through: Lsn(40) }],
            tombstones: Some(2),
            wal_from: 6,
        }
    }

    #[test]
    fn the_worked_example() {
        let bytes = example().encode().unwrap();
        assert_eq!(bytes.len(), encoded_bytes(2, 1));
        testing::golden("manifest", &bytes);
        assert_eq!(Manifest::decode(&bytes), Ok(example()));
        testing::truncations_fail(&bytes, Manifest::decode);
        testing::bit_flips_fail_or_agree(&bytes, Manifest::decode);
        fuzz(&bytes);
        fuzz(&bytes[4..bytes.len() - 4]);
    }

    #[test]
    fn an_empty_one_round_trips() {
        let bytes = Manifest::default().encode().unwrap();
        assert_eq!(Manifest::decode(&bytes), Ok(Manifest::default()));
        testing::truncations_fail(&bytes, Manifest::decode);
    }

    /// Changes bytes of the example and seals it again.
    fn tampered(change: impl Fn(&mut Vec<u8>)) -> DecodeReason {
        let mut bytes = example().encode().unwrap();
        bytes.truncate(bytes.len() - CRC_BYTES);
        change(&mut bytes);
        seal(&mut bytes, 0, MAGIC);
        Manifest::decode(&bytes).unwrap_err().reason
    }

    #[test]
    fn what_has_a_good_checksum_is_checked_all_the_same() {
        assert_eq!(tampered(|b| b[0] = 0), DecodeReason::BadMagic);
        assert_eq!(tampered(|b| b[4] = 2), DecodeReason::NewerVersion { found: 2, known: 1 });
        assert!(matches!(tampered(|b| b[4] = 0), DecodeReason::Invalid(_)));
        assert!(matches!(tampered(|b| b[40] = 0), DecodeReason::Invalid(_)), "absent, but a number is there");
        assert!(matches!(tampered(|b| b[40] = 2), DecodeReason::Invalid(_)));
        assert_eq!(tampered(|b| b[49] = 3), DecodeReason::Truncated);
        assert_eq!(tampered(|b| b[53] = 0), DecodeReason::TrailingBytes);
        assert_eq!(tampered(|b| b.push(0)), DecodeReason::TrailingBytes);
        let above = |maximum: usize| DecodeReason::AboveMaximum { found: 1_000_001, maximum: maximum as u64 };
        assert_eq!(tampered(|b| b[49..53].copy_from_slice(&1_000_001u32.to_le_bytes())), above(MAX_BLOCKS));
        assert_eq!(tampered(|b| b[53..57].copy_from_slice(&1_000_001u32.to_le_bytes())), above(MAX_FLOORS));
        let at = |count: u32| move |b: &mut Vec<u8>| b[49..53].copy_from_slice(&count.to_le_bytes());
        assert_eq!(tampered(at(1_000_000)), DecodeReason::Truncated, "the maximum itself is within bounds");
        assert_eq!(
            tampered(at(u32::MAX)),
            DecodeReason::AboveMaximum { found: 0xffff_ffff, maximum: 1_000_000 }
        );
    }

    #[test]
    fn a_flipped_version_is_damage() {
        let mut bytes = example().encode().unwrap();
        bytes[5] ^= 1;
        assert!(matches!(Manifest::decode(&bytes).unwrap_err().reason, DecodeReason::Checksum { .. }));
    }

    #[test]
    fn disorder_is_neither_written_nor_read() {
        let refused = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = example();
            change(&mut manifest);
            assert!(
                matches!(manifest.encode().unwrap_err().reason, DecodeReason::Invalid(_)),
                "{manifest:?}"
            );
        };
        refused(&|m| m.blocks.swap(0, 1));
        refused(&|m| m.blocks[1] = m.blocks[0]);
        refused(&|m| m.blocks[1].sequence = 5);
        refused(&|m| m.next_sequence = 7);
        refused(&|m| m.blocks[0].end = 0);
        refused(&|m| m.floors[0].range = TimeRange::new(5, 5));
        refused(&|m| m.floors.push(m.floors[0]));
        refused(&|m| m.floors.push(Floor { range: TimeRange::new(0, 1), through: Lsn(1) }));
        let swap_blocks = |b: &mut Vec<u8>| b[57..57 + 2 * 49].rotate_left(49);
        assert_eq!(tampered(swap_blocks), DecodeReason::Invalid("the blocks are not in order"));
        let mut crowded = example();
        crowded.floors =
            (0..1_000_001).map(|i| Floor { range: TimeRange::new(i, i + 1), through: Lsn(1) }).collect();
        assert_eq!(
            crowded.encode().unwrap_err().reason,
            DecodeReason::AboveMaximum { found: 1_000_001, maximum: 1_000_000 }
        );
        crowded.floors.pop();
        assert_eq!(Manifest::decode(&crowded.encode().unwrap()), Ok(crowded));
    }

    fn any_manifest() -> impl Strategy<Value = Manifest> {
        let range = || (any::<i64>(), 1..=i64::MAX).prop_map(|(s, n)| (s, s.saturating_add(n)));
        let block = (range(), 0u64..50, any::<u64>(), any::<u8>(), any::<u64>(), any::<u64>());
        let floor = (range(), any::<u64>());
        let numbers = (any::<u64>(), any::<u64>(), 50u64.., any::<u64>());
        let lists = (prop::collection::vec(block, 0..6), prop::collection::vec(floor, 0..6));
        (numbers, lists, any::<Option<u64>>()).prop_map(|(numbers, (blocks, floors), tombstones)| {
            let (generation, last_lsn, next_sequence, wal_from) = numbers;
            let mut manifest = Manifest {
                generation,
                last_lsn: Lsn(last_lsn),
                next_sequence,
                wal_from,
                tombstones,
                ..Manifest::default()
            };
            for ((start, end), sequence, precedence, level, through, bytes) in blocks {
                let known = manifest.blocks.iter().any(|b| b.sequence == sequence);
                if start < end && !known {
                    let through = Lsn(through);
                    manifest.blocks.push(BlockEntry {
                        start,
                        end,
                        sequence,
                        precedence,
                        level,
                        through,
                        bytes,
                    });
                }
            }
            for ((start, end), through) in floors {
                if start < end {
                    let range = TimeRange::new(start, end);
                    manifest.floors.push(Floor { range, through: Lsn(through) });
                }
            }
            manifest.blocks.sort_by_key(|b| (b.start, b.end, b.sequence));
            manifest.floors.sort_by_key(|f| (f.range.start(), f.range.end()));
            manifest.floors.dedup_by_key(|f| f.range);
            manifest
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        #[test]
        fn round_trips(manifest in any_manifest()) {
            let bytes = manifest.encode().unwrap();
            prop_assert_eq!(Manifest::decode(&bytes), Ok(manifest));
            fuzz(&bytes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(data in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&data);
        }
    }
}
