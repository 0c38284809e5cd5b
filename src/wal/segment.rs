//! What is known of a segment besides its records: its name, its size, what it holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::format::wal_segment::PrevEnd;
use crate::model::{Lsn, Metadata, TimeRange};

/// Digits in a segment's name: enough for every sequence, so that names sort as numbers do.
const NAME_DIGITS: usize = 20;

/// A segment that takes no more records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    /// Its number.
    pub(crate) sequence: u64,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its length on disk, reserved space included.
    pub(crate) bytes: u64,
    /// The hull of its samples' timestamps; empty if it has none.
    pub(crate) range: TimeRange,
    /// No record that is new in it has a smaller one.
    pub(crate) first_lsn: Lsn,
    /// The last LSN in it or before it.
    pub(crate) last_lsn: Lsn,
    /// Whether replay found damage in it: to be moved aside rather than removed.
    pub(crate) damaged: bool,
}

/// Where a replay ended, and what a writer that goes on from there must know.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplayEnd {
    /// The highest sequence that a file has, readable or not; the next segment's is above it.
    pub(crate) sequence: u64,
    /// The end of the last readable segment: what the next segment's header says.
    pub(crate) previous: PrevEnd,
    /// How much of that segment later records know to be durable.
    pub(crate) durable_bytes: u64,
    /// The highest LSN met. Whoever knows of a higher one (a manifest) may raise it.
    pub(crate) written: Lsn,
    /// Whether the log was closed there: its end is durable.
    pub(crate) closed: bool,
    /// Every segment found, oldest first.
    pub(crate) segments: Vec<SegmentInfo>,
    /// The metadata of every family met, to be restated.
    pub(crate) families: BTreeMap<String, Metadata>,
}

/// The path of a segment.
pub(super) fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:020}"))
}

/// The sequence that a file name says, if it is the name of a segment.
pub(super) fn sequence(name: &str) -> Option<u64> {
    let digits = name.len() == NAME_DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| name.parse().ok()).flatten().filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_foreign_ones_are_told_apart() {
        for n in [1, 7, u64::MAX] {
            let path = path(Path::new("wal"), n);
            assert_eq!(sequence(path.file_name().unwrap().to_str().unwrap()), Some(n));
        }
        let zero = "0".repeat(20);
        let too_large = "9".repeat(20);
        for name in ["", "7", "0000000000000000007a", "+0000000000000000007", &zero, &too_large] {
            assert_eq!(sequence(name), None, "{name}");
        }
    }
}
