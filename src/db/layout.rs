//! The names in a database directory: made here, parsed here, never trusted.
//!
//! ```text
//!   LOCK  RESERVE  MANIFEST-<generation>  tombstones-<generation>
//!   wal/<sequence>  blocks/<start>-<end>-<sequence>/{meta,index,chunks,times}  spill/  quarantine/
//! ```
//!
//! A name that ends in `.tmp` is of something unfinished: the writer that opens the database removes it.

use std::path::{Path, PathBuf};

use crate::model::TimeRange;

/// Held with flock while a writer is open; never removed.
pub(crate) const LOCK: &str = "LOCK";
/// Space that a swap of the manifest may take back on a full disk.
pub(crate) const RESERVE: &str = "RESERVE";
/// The length of [`RESERVE`].
pub(crate) const RESERVE_BYTES: u64 = 262_144;
/// The suffix of what is unfinished.
pub(crate) const UNFINISHED: &str = ".tmp";
const MANIFEST: &str = "MANIFEST-";
const TOMBSTONES: &str = "tombstones-";

/// The directories of a database.
pub(crate) const DIRS: [&str; 4] = ["wal", "blocks", "spill", "quarantine"];

/// Paths below one directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the database at `root`.
    pub(crate) fn new(root: &Path) -> Layout {
        Layout { root: root.to_owned() }
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `LOCK`.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join(LOCK)
    }

    /// `RESERVE`.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join(RESERVE)
    }

    /// `wal/`.
    pub(crate) fn wal(&self) -> PathBuf {
        self.root.join("wal")
    }

    /// `blocks/`.
    pub(crate) fn blocks(&self) -> PathBuf {
        self.root.join("blocks")
    }

    /// `spill/`.
    pub(crate) fn spill(&self) -> PathBuf {
        self.root.join("spill")
    }

    /// `quarantine/`.
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// `MANIFEST-<generation>`.
    pub(crate) fn manifest(&self, generation: u64) -> PathBuf {
        self.root.join(format!("{MANIFEST}{generation}"))
    }

    /// `tombstones-<generation>`.
    pub(crate) fn tombstones(&self, generation: u64) -> PathBuf {
        self.root.join(format!("{TOMBSTONES}{generation}"))
    }

    /// `blocks/<start>-<end>-<sequence>`.
    pub(crate) fn block(&self, range: TimeRange, sequence: u64) -> PathBuf {
        self.blocks().join(block_name(range, sequence))
    }
}

/// `<start>-<end>-<sequence>`.
pub(crate) fn block_name(range: TimeRange, sequence: u64) -> String {
    format!("{}-{}-{}", range.start(), range.end(), sequence)
}

/// The generation in `MANIFEST-<generation>`, if that is the name's form.
pub(crate) fn manifest_generation(name: &str) -> Option<u64> {
    number(name.strip_prefix(MANIFEST)?)
}

/// The generation in `tombstones-<generation>`, if that is the name's form.
pub(crate) fn tombstones_generation(name: &str) -> Option<u64> {
    number(name.strip_prefix(TOMBSTONES)?)
}

/// The sequence in a block's name, if that is the name's form. Times may be negative.
pub(crate) fn block_sequence(name: &str) -> Option<u64> {
    let (times, sequence) = name.rsplit_once('-')?;
    let split = times.char_indices().skip(1).find(|(_, c)| *c == '-')?.0;
    let (start, end) = times.split_at_checked(split)?;
    let (start, end): (i64, i64) = (start.parse().ok()?, end.strip_prefix('-')?.parse().ok()?);
    let sequence = number(sequence)?;
    (block_name(TimeRange::new(start, end), sequence) == name).then_some(sequence)
}

/// A decimal in its one form: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let n: u64 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for (start, end, sequence) in
            [(0, 7_200_000, 1), (-7_200_000, 0, 12), (-5, -1, 0), (i64::MIN, i64::MAX, 9)]
        {
            let name = block_name(TimeRange::new(start, end), sequence);
            assert_eq!(block_sequence(&name), Some(sequence), "{name}");
        }
        for bad in ["", "-", "1-2", "1-2-", "01-2-3", "1-2-03", "1-2-+3", "1-2-3.tmp", "a-b-c", "1--2-3-4"] {
            assert_eq!(block_sequence(bad), None, "{bad}");
        }
        assert_eq!(manifest_generation("MANIFEST-7"), Some(7));
        for bad in ["MANIFEST-", "MANIFEST-07", "MANIFEST-7.tmp", "MANIFEST--7", "manifest-7"] {
            assert_eq!(manifest_generation(bad), None, "{bad}");
        }
    }
}
