//! Silverback is an embedded time-series storage engine for Prometheus-shaped metrics: a library that keeps labelled
//! samples in one directory, without a server.
//!
//! ```rust
//! use silverback::{Db, Options, labels};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let dir = "metrics";
//!     # let tmp = tempfile::tempdir()?; let dir = tmp.path().join(dir);
//!     let db = Db::open(dir, Options::default())?;
//!
//!     let mut app = db.appender()?;
//!     let up = app.append(&labels!("up", "job" => "node")?, 1_000, 1.0)?;
//!     app.append_ref(up, 16_000, 1.0)?; // a known series: no hashing, no waiting for the disk
//!     let committed = app.commit()?; // durable from here on
//!     assert_eq!(committed.appended(), 2);
//!
//!     let querier = db.querier(0..60_000)?; // in milliseconds; sees the store as it is now
//!     for series in querier.select(&r#"up{job=~"n.*"}"#.parse()?)? {
//!         let series = series?;
//!         for sample in series.samples() {
//!             let sample = sample?;
//!             println!("{} {} {}", series.labels(), sample.t, sample.v);
//!         }
//!     }
//!     db.close()?;
//!     Ok(())
//! }
//! ```
//!
//! # The model
//!
//! A *series* is a set of [`Labels`]; the metric name is the label `__name__`. A *sample* is a time in milliseconds and a
//! double, kept to the bit: `-0.0`, every NaN and the staleness marker ([`STALE`]) come back as they went in. Ranges of time
//! are half-open everywhere ([`TimeRange`]). A metric family has [`Metadata`]: type, unit, help.
//!
//! An [`Appender`] collects samples; [`commit`](Appender::commit) stores them as a whole: a query sees all of a commit or
//! nothing of it. It answers what was appended, what was a duplicate, and what was rejected and why; a rejected sample never
//! dooms the others. A [`Querier`] sees the store as it was when the querier was made, whatever is committed, deleted, merged
//! or dropped meanwhile.
//!
//! # Reading order
//!
//! - [`guide`]: from the first append to retention, backup and sizing; what to set when.
//! - [`Db`] opens, closes, and hands out everything else; [`Options`] say how.
//! - [`Appender`] and [`Committed`]: writing. [`BulkLoader`]: backfill, past log and memory.
//! - [`Querier`], [`SeriesSet`], [`Series`], [`Samples`]: reading; [`Selector`] says which series.
//! - [`Db::delete`], [`Db::maintain`], [`Db::compact`], [`Db::snapshot`], [`Db::verify`], [`Db::stats`]: keeping.
//! - `import` (with that feature): Prometheus text and OpenMetrics, from any `Read`; `Scrape`: a target's pages.
//!
//! The source is read from the bottom up; `ARCHITECTURE.md` has the way through it, `format-spec/` every byte on disk.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `mmap` | yes | blocks are read through memory maps; without it the crate forbids `unsafe` and reads by position |
//! | `import` | | the parsers of Prometheus text and OpenMetrics, and the importer |
//! | `gzip`, `zstd` | | compressed dumps, recognised by their first bytes |
//! | `tracing` | | spans and events for the `tracing` ecosystem |
//! | `cli` | | the `silverback` binary |
//!
//! No feature changes a type, or a byte on disk.
//!
//! # Errors
//!
//! Everything that can fail returns one opaque [`Error`]: [`kind`](Error::kind) to branch on, a sentence to show, and where
//! there is one the file, by [`path`](Error::path) and [`offset`](Error::offset). After a failed commit
//! [`applied`](Error::applied) tells "nothing happened, try again" from "unknown until reopened". What is wrong with a single
//! sample or label set is an [`AppendError`]. The library does not panic on what is on disk or what it is given.
//!
//! A sync that fails is not tried again, since the system may have dropped the data: the handle takes no more writes
//! ([`ErrorKind::Poisoned`]), reads go on, and opening the database again tells what is there.
//!
//! # Beside an async runtime
//!
//! The library is synchronous and starts at most three threads of its own and a pool. What waits for the disk:
//!
//! | never | may |
//! |---|---|
//! | [`Appender::append`], [`Appender::append_ref`], [`Appender::append_row`], [`Appender::rollback`] | [`Db::open`], [`Appender::commit`], [`Querier::select`] and what it gives out, [`BulkLoader`], [`Db::delete`], [`Db::maintain`], [`Db::close`], dropping the last [`Db`] |
//!
//! So from async code, call the right column in the runtime's `spawn_blocking`, or give the appender to one writing thread
//! behind a channel, which also makes one commit of what has come in meanwhile:
//!
//! ```rust
//! use silverback::{Db, Labels, Options, Result, labels};
//! use std::sync::mpsc;
//!
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let db = Db::open(dir.path(), Options::default())?;
//! let (samples, inbox) = mpsc::sync_channel::<(Labels, i64, f64)>(10_000);
//! let mut app = db.appender()?;
//! let writer = std::thread::spawn(move || -> Result<()> {
//!     while let Ok(first) = inbox.recv() {
//!         for (labels, t, v) in std::iter::once(first).chain(inbox.try_iter().take(10_000)) {
//!             app.append(&labels, t, v)?;
//!         }
//!         app.commit()?;
//!     }
//!     Ok(())
//! });
//!
//! // Anywhere, any number of clones of `samples`:
//! samples.send((labels!("up", "job" => "node")?, 1_000, 1.0))?;
//!
//! drop(samples);
//! writer.join().map_err(|_| "the writer panicked")??;
//! # assert_eq!(db.stats().samples_appended, 1);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "mmap"), forbid(unsafe_code))]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]
#![cfg_attr(
    test,
    expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests work on small numbers of their own"
    )
)]
#![warn(dead_code)]

mod block;
mod bulk;
mod compact;
mod db;
mod env;
mod error;
mod format;
#[doc = include_str!("guide.md")]
pub mod guide {}
mod head;
#[cfg(feature = "import")]
pub mod import;
#[doc(hidden)]
pub mod internals;
mod model;
mod postings;
mod query;
mod source;
mod sync;
mod wal;

pub use bulk::BulkRef;
pub use db::{
    Appender, BlockInfo, BulkLoader, Committed, Db, Event, Maintenance, OpenReport, Options, Part, ReadMode,
    Rejection, Stats, SyncPolicy, VerifyReport, Workers,
};
pub use error::{AppendError, Applied, DecodeError, DecodeReason, Error, ErrorKind, Result};
#[cfg(feature = "import")]
pub use import::Scrape;
pub use model::{
    Cancel, Columns, Labels, MatchOp, Matcher, Metadata, MetricType, STALE, Sample, Selector, SeriesRef,
    TimeRange, is_stale,
};
pub use query::{Extent, Querier, Samples, Series, SeriesSet};

/// The README's examples, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
