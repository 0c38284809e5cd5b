//! The bytes on disk, and nothing else: no I/O, no locks, no clock, no paths.
//!
//! One structure = one file here (drawing, constants, struct, encode, decode, tests) = one page
//! `format-spec/X.md` = one fuzz target `X` = one golden file `tests/golden/X.bin`; `tests/tidy.rs` keeps the four together.
//! What a file holds is hostile: every decoder checks lengths against what remains and against a
//! maximum before it allocates, and answers with a [`DecodeError`](crate::DecodeError).
//!
//! | file | on disk |
//! |---|---|
//! | `cursor` | no structure: the reader that cannot over-read, and its writer |
//! | `packed` | integers in mini-blocks, packed to the bit: columns of values and of timestamps |
//! | `columns` | a chunk's payload: a column of values, and which rows of a shared column of timestamps |
//! | `time_column` | `times`: a column of timestamps that series share |
//! | `gorilla` | a chunk's payload: delta-of-delta timestamps, XOR values (Prometheus's XOR chunk) |
//! | `chunk` | one chunk: encoding byte, value kind, payload |
//! | `chunk_group` | `chunks`: consecutive chunks under one checksum |
//! | `postings_list` | `index`: the series that have one label pair |
//! | `terms_page` | `index`: sorted label pairs, of each what differs from the one before |
//! | `pairs_filter` | `index`: which pairs a block cannot have |
//! | `series_page` | `index`: series as lists of pair numbers, with their chunks' places |
//! | `directory_page` | `index`: which page holds which keys; the inner nodes |
//! | `families_page` | `index`: metadata of metric families |
//! | `block_meta` | `meta`: a block's range, counts, file lengths and index roots |
//! | `manifest` | `MANIFEST-n`: live blocks, flush floors, tombstone generation |
//! | `tombstones` | `tombstones-n`: what was deleted |
//! | `wal_segment` | `wal/n`: a segment's header |
//! | `wal_record` | `wal/n`: the frame of one record |
//! | `wal_commit` | the payload of a commit record |
//! | `wal_metadata` | the payload of a metadata record |
//! | `spill_run` | `spill/n`: sorted series of a running import |

pub(crate) mod block_meta;
pub(crate) mod chunk;
pub(crate) mod chunk_group;
pub(crate) mod columns;
pub(crate) mod cursor;
pub(crate) mod directory_page;
pub(crate) mod families_page;
pub(crate) mod gorilla;
pub(crate) mod manifest;
pub(crate) mod packed;
pub(crate) mod pairs_filter;
pub(crate) mod postings_list;
pub(crate) mod series_page;
pub(crate) mod spill_run;
pub(crate) mod terms_page;
pub(crate) mod time_column;
pub(crate) mod tombstones;
pub(crate) mod wal_commit;
pub(crate) mod wal_metadata;
pub(crate) mod wal_record;
pub(crate) mod wal_segment;

#[cfg(test)]
pub(crate) mod testing;
