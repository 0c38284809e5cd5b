//! `tombstones-<generation>`: what was deleted and may still be in blocks.
//!
//! ```text
//!   0         4         8            16            20
//!   ├ magic   ┼ version ┼ generation ┼ count:u32   ┼ entries … ┼ crc ┤
//!
//!   entry     lsn:u64  start:i64  end:i64  matcher_count:varint  matchers …
//!   matcher   op:u8  name_bytes:varint  name  value_bytes:varint  value
//!   op        1 "="   2 "!="   3 "=~"   4 "!~"
//! ```
//!
//! An entry hides samples in `[start, end)` of the series that fulfil all its matchers, as far as
//! they were committed up to `lsn`; without matchers, of every series. Entries ascend by LSN
//! (equal ones keep their order: compaction may cut one delete into several ranges).
//!
//! Here names and values are only strings: that an expression compiles is checked by who reads
//! the file. Magic first and checksum last (seeded with the magic) stay where they are in every
//! version. Encoder and decoder check the same bounds.

use crate::error::{DecodeError, DecodeReason};
use crate::format::cursor::{Reader, Write, checked, seal};
use crate::model::{self, Lsn, MatchOp, TimeRange};

/// The first four bytes, read as a little-endian number: "SBTS".
pub(crate) const MAGIC: u32 = 0x53544253;
/// The version that is written, and the newest that is read.
const VERSION: u32 = 1;
/// The most entries.
const MAX_ENTRIES: usize = 100_000;
/// The most matchers of one entry.
const MAX_MATCHERS: usize = 128;
/// The longest label name of a matcher, in bytes; the shortest has one.
const MAX_NAME_BYTES: usize = 1_024;
/// The longest value or regular expression of a matcher, in bytes.
const MAX_VALUE_BYTES: usize = 262_144;
/// The largest file, in bytes.
pub(crate) const MAX_FILE_BYTES: usize = 268_435_456;
/// Bytes of the smallest entry: three fixed fields and a count of no matchers.
const MIN_ENTRY_BYTES: usize = 25;
/// The code of `=`.
const OP_EQUAL: u8 = 1;
/// The code of `!=`.
const OP_NOT_EQUAL: u8 = 2;
/// The code of `=~`.
const OP_REGEX: u8 = 3;
/// The code of `!~`.
const OP_NOT_REGEX: u8 = 4;

const STRUCTURE: &str = "tombstones";

// Whatever a selector holds can be stored.
const _: () = assert!(
    MAX_MATCHERS >= model::MAX_MATCHERS
        && MAX_NAME_BYTES >= model::MAX_LABEL_NAME_BYTES
        && MAX_VALUE_BYTES >= model::MAX_PATTERN_BYTES
        && MAX_VALUE_BYTES >= model::MAX_LABEL_VALUE_BYTES
);

/// What was deleted, as of one generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tombstones {
    /// Also in the file's name, and in the manifest.
    pub(crate) generation: u64,
    /// The deletes, by LSN.
    pub(crate) entries: Vec<Tombstone>,
}

/// One delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    /// Samples of later commits are not concerned.
    pub(crate) lsn: Lsn,
    /// The range that is hidden; not empty.
    pub(crate) range: TimeRange,
    /// What a series must fulfil to be concerned: operator, label name, value. None: every series.
    pub(crate) matchers: Vec<(MatchOp, String, String)>,
}

impl Tombstones {
    /// The bytes of the file.
    ///
    /// # Errors
    /// What [`decode`](Tombstones::decode) would refuse is not written.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        let count = bounded(self.entries.len(), MAX_ENTRIES)?;
        let mut out = Vec::new();
        out.put_u32(MAGIC);
        out.put_u32(VERSION);
        out.put_u64(self.generation);
        out.put_u32(count);
        let mut before = Lsn(0);
        for entry in &self.entries {
            let at = out.len();
            entry.check(before).map_err(|what| invalid(at, what))?;
            before = entry.lsn;
            entry.encode_into(&mut out)?;
            bounded(out.len(), MAX_FILE_BYTES - 4)?;
        }
        seal(&mut out, 0, MAGIC);
        Ok(out)
    }

    /// Reads the bytes of the file: size, magic, checksum, version, then entry by entry.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Tombstones, DecodeError> {
        bounded(bytes.len(), MAX_FILE_BYTES)?;
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
        let generation = r.u64()?;
        let found = r.u32()?;
        let count = match usize::try_from(found) {
            Ok(n) if n <= MAX_ENTRIES => n,
            _ => return Err(r.error(above(u64::from(found), MAX_ENTRIES))),
        };
        if r.remaining() / MIN_ENTRY_BYTES < count {
            return Err(r.error(DecodeReason::Truncated));
        }
        let mut entries: Vec<Tombstone> = Vec::with_capacity(count);
        for _ in 0..count {
            let at = r.offset();
            let entry = Tombstone::decode(&mut r)?;
            let before = entries.last().map_or(Lsn(0), |e| e.lsn);
            entry.check(before).map_err(|what| invalid(at, what))?;
            entries.push(entry);
        }
        r.finish()?;
        Ok(Tombstones { generation, entries })
    }
}

impl Tombstone {
    fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        out.put_u64(self.lsn.0);
        out.put_i64(self.range.start());
        out.put_i64(self.range.end());
        bounded(self.matchers.len(), MAX_MATCHERS)?;
        out.put_varint(self.matchers.len() as u64);
        for (op, name, value) in &self.matchers {
            bounded(name.len(), MAX_NAME_BYTES)?;
            bounded(value.len(), MAX_VALUE_BYTES)?;
            out.put_u8(op_code(*op));
            out.put_sized(name.as_bytes());
            out.put_sized(value.as_bytes());
        }
        Ok(())
    }

    fn decode(r: &mut Reader<'_>) -> Result<Tombstone, DecodeError> {
        let lsn = Lsn(r.u64()?);
        let range = TimeRange::new(r.i64()?, r.i64()?);
        let count = r.count(MAX_MATCHERS)?;
        let mut matchers = Vec::with_capacity(count);
        for _ in 0..count {
            let Some(op) = op_of(r.u8()?) else {
                return Err(r.invalid("the operator of a matcher is not known"));
            };
            let name = r.sized_str(MAX_NAME_BYTES)?.to_owned();
            matchers.push((op, name, r.sized_str(MAX_VALUE_BYTES)?.to_owned()));
        }
        Ok(Tombstone { lsn, range, matchers })
    }

    /// What cannot be, in words.
    fn check(&self, before: Lsn) -> Result<(), &'static str> {
        if self.lsn < before {
            return Err("the entries are not in order");
        }
        if self.range.is_empty() {
            return Err("the range of an entry is empty");
        }
        match self.matchers.iter().any(|(_, name, _)| name.is_empty()) {
            true => Err("the label name of a matcher is empty"),
            false => Ok(()),
        }
    }
}

fn op_code(op: MatchOp) -> u8 {
    match op {
        MatchOp::Equal => OP_EQUAL,
        MatchOp::NotEqual => OP_NOT_EQUAL,
        MatchOp::Regex => OP_REGEX,
        MatchOp::NotRegex => OP_NOT_REGEX,
    }
}

fn op_of(code: u8) -> Option<MatchOp> {
    match code {
        OP_EQUAL => Some(MatchOp::Equal),
        OP_NOT_EQUAL => Some(MatchOp::NotEqual),
        OP_REGEX => Some(MatchOp::Regex),
        OP_NOT_REGEX => Some(MatchOp::NotRegex),
        _ => None,
    }
}

fn invalid(offset: usize, what: &'static str) -> DecodeError {
    DecodeError::new(STRUCTURE, offset as u64, DecodeReason::Invalid(what))
}

fn above(found: u64, maximum: usize) -> DecodeReason {
    DecodeReason::AboveMaximum { found, maximum: maximum as u64 }
}

fn bounded(found: usize, maximum: usize) -> Result<u32, DecodeError> {
    match u32::try_from(found) {
        Ok(n) if found <= maximum => Ok(n),
        _ => Err(DecodeError::new(STRUCTURE, 0, above(found as u64, maximum))),
    }
}

/// Whatever is accepted is written back byte for byte.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(tombstones) = Tombstones::decode(data) {
        assert_eq!(tombstones.encode().as_deref(), Ok(data));
    }
    // Behind a valid checksum, so that fuzzing reaches the entries.
    let mut sealed = MAGIC.to_le_bytes().to_vec();
    sealed.extend_from_slice(data);
    seal(&mut sealed, 0, MAGIC);
    if let Ok(tombstones) = Tombstones::decode(&sealed) {
        assert_eq!(tombstones.encode(), Ok(sealed));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::format::testing;

    fn matcher(op: MatchOp, name: &str, value: &str) -> (MatchOp, String, String) {
        (op, name.to_owned(), value.to_owned())
    }

    fn example() -> Tombstones {
        Tombstones {
            generation: 2,
            entries: vec![
                Tombstone {
                    lsn: Lsn(17),
                    range: TimeRange::new(0, 60_000),
                    matchers: vec![
                        matcher(MatchOp::Equal, "__name__", "up"),
                        matcher(MatchOp::NotRegex, "job", "n.*"),
                    ],
                },
                Tombstone { lsn: Lsn(40), range: TimeRange::new(-1_000, 1), matchers: vec![] },
            ],
        }
    }

    #[test]
    fn the_worked_example() {
        let bytes = example().encode().unwrap();
        testing::golden("tombstones", &bytes);
        assert_eq!(Tombstones::decode(&bytes), Ok(example()));
        testing::truncations_fail(&bytes, Tombstones::decode);
        testing::bit_flips_fail_or_agree(&bytes, Tombstones::decode);
        fuzz(&bytes);
        fuzz(&bytes[4..bytes.len() - 4]);
    }

    /// Changes bytes of the example and seals it again.
    fn tampered(change: impl Fn(&mut Vec<u8>)) -> DecodeReason {
        let mut bytes = example().encode().unwrap();
        bytes.truncate(bytes.len() - 4);
        change(&mut bytes);
        seal(&mut bytes, 0, MAGIC);
        Tombstones::decode(&bytes).unwrap_err().reason
    }

    #[test]
    fn what_has_a_good_checksum_is_checked_all_the_same() {
        assert_eq!(tampered(|b| b[0] = 0), DecodeReason::BadMagic);
        assert_eq!(tampered(|b| b[4] = 9), DecodeReason::NewerVersion { found: 9, known: 1 });
        assert!(matches!(tampered(|b| b[4] = 0), DecodeReason::Invalid(_)));
        assert_eq!(tampered(|b| b[16] = 1), DecodeReason::TrailingBytes);
        assert_eq!(tampered(|b| b[16] = 3), DecodeReason::Truncated);
        assert_eq!(tampered(|b| b.push(0)), DecodeReason::TrailingBytes);
        assert_eq!(tampered(|b| b[18] = 2), above(131_074, MAX_ENTRIES));
        assert_eq!(
            tampered(|b| b[16..20].copy_from_slice(&100_000u32.to_le_bytes())),
            DecodeReason::Truncated
        );
        assert_eq!(
            tampered(|b| b[16..20].copy_from_slice(&100_001u32.to_le_bytes())),
            above(100_001, MAX_ENTRIES)
        );
        // The first entry: 20 lsn, 28 start, 36 end, 44 count, 45 op, 46 length of the name, 47 the name.
        let invalid = |change: &dyn Fn(&mut Vec<u8>)| matches!(tampered(change), DecodeReason::Invalid(_));
        assert!(invalid(&|b| b[20] = 41), "out of order");
        assert!(invalid(&|b| b[36..44].fill(0)), "an empty range");
        assert!(invalid(&|b| b[45] = 0) && invalid(&|b| b[45] = 5), "no such operator");
        assert!(invalid(&|b| b[47] = 0xff), "not UTF-8");
        assert_eq!(
            tampered(|b| {
                b.splice(44..45, [0x81, 0x01]);
            }),
            above(129, MAX_MATCHERS)
        );
        assert_eq!(
            tampered(|b| {
                b.splice(46..47, [0x81, 0x08]);
            }),
            above(1_025, MAX_NAME_BYTES)
        );
        assert_eq!(
            tampered(|b| {
                b.splice(55..56, [0x81, 0x80, 0x10]);
            }),
            above(262_145, MAX_VALUE_BYTES)
        );
        assert!(
            invalid(&|b| {
                b.splice(46..55, [0x00]);
            }),
            "an empty name"
        );
    }

    #[test]
    fn a_flipped_version_is_damage() {
        let mut bytes = example().encode().unwrap();
        bytes[5] ^= 1;
        assert!(matches!(Tombstones::decode(&bytes).unwrap_err().reason, DecodeReason::Checksum { .. }));
    }

    #[test]
    fn maxima_can_be_written_and_no_more() {
        let of = |matchers: Vec<(MatchOp, String, String)>, count: usize| Tombstones {
            generation: 1,
            entries: vec![Tombstone { lsn: Lsn(1), range: TimeRange::ALL, matchers }; count],
        };
        let refused = |t: &Tombstones| t.encode().unwrap_err().reason;
        let largest = matcher(MatchOp::Regex, &"n".repeat(MAX_NAME_BYTES), &"v".repeat(MAX_VALUE_BYTES));
        let small = matcher(MatchOp::Equal, "n", "");
        let full = of(vec![largest.clone()], 1);
        assert_eq!(Tombstones::decode(&full.encode().unwrap()), Ok(full));
        let many = of(vec![small.clone(); MAX_MATCHERS], 2);
        assert_eq!(Tombstones::decode(&many.encode().unwrap()), Ok(many));
        assert_eq!(refused(&of(vec![small; MAX_MATCHERS + 1], 1)), above(129, MAX_MATCHERS));
        let (op, name, value) = largest;
        assert_eq!(
            refused(&of(vec![(op, name.clone() + "n", String::new())], 1)),
            above(1_025, MAX_NAME_BYTES)
        );
        assert_eq!(refused(&of(vec![(op, name, value + "v")], 1)), above(262_145, MAX_VALUE_BYTES));
        assert_eq!(refused(&of(vec![], MAX_ENTRIES + 1)), above(100_001, MAX_ENTRIES));
        let most = of(vec![], MAX_ENTRIES);
        assert_eq!(Tombstones::decode(&most.encode().unwrap()), Ok(most));
        let mut disorder = example();
        disorder.entries.swap(0, 1);
        assert!(matches!(refused(&disorder), DecodeReason::Invalid(_)));
        let mut empty = example();
        empty.entries[0].range = TimeRange::new(3, 3);
        assert!(matches!(refused(&empty), DecodeReason::Invalid(_)));
    }

    fn any_tombstones() -> impl Strategy<Value = Tombstones> {
        let op = prop_oneof![
            Just(MatchOp::Equal),
            Just(MatchOp::NotEqual),
            Just(MatchOp::Regex),
            Just(MatchOp::NotRegex)
        ];
        let matchers = prop::collection::vec((op, "[a-zé\n]{1,5}", "[ -~é]{0,200}"), 0..4);
        let entry = (any::<u64>(), any::<i64>(), 1..=i64::MAX, matchers);
        (any::<u64>(), prop::collection::vec(entry, 0..5)).prop_map(|(generation, entries)| {
            let mut entries: Vec<Tombstone> = entries
                .into_iter()
                .filter(|(_, start, ..)| *start < i64::MAX)
                .map(|(lsn, start, length, matchers)| Tombstone {
                    lsn: Lsn(lsn),
                    range: TimeRange::new(start, start.saturating_add(length)),
                    matchers,
                })
                .collect();
            entries.sort_by_key(|e| e.lsn);
            Tombstones { generation, entries }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

        #[test]
        fn round_trips(tombstones in any_tombstones()) {
            let bytes = tombstones.encode().unwrap();
            prop_assert_eq!(Tombstones::decode(&bytes), Ok(tombstones));
            fuzz(&bytes);
        }

        #[test]
        fn any_bytes_are_read_or_refused(data in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&data);
        }
    }
}
