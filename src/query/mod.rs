//! Queries: from a selector and a range to samples in time order.
//!
//! ```text
//!   Querier ──select──▶ SeriesSet ──next──▶ Series ──samples──▶ Samples ──next, read_into, seek──▶
//!   sources, guard      series merge        labels, pieces       sample merge
//!       └──────────────────── one context: limits, cancellation, guard ────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `querier` | [`Querier`]: one state of the store, over one range |
//! | `series_set` | [`SeriesSet`], [`Series`]: in label order, streaming |
//! | `samples` | [`Samples`]: lazily decoded, merged, trimmed |
//! | `values` | the values of a label, of several sources |
//! | `context` | what all that comes from one `select` shares |
//!
//! # Invariants
//! - Series come in label order, each once; none without a sample.
//! - Samples come in time order, each timestamp once; of several sources that have one, the
//!   highest precedence wins. Deletions hide samples of their own source only.
//! - A chunk outside the range, or deleted, or passed by `seek`, is never decoded.
//! - What failed stays finished.
//! - All of it is owned: `Samples` outlive their `SeriesSet`, and keep files and head alive through
//!   the guard.
//!
//! # Cost
//! `select` holds one series of each source. `Samples` holds the chunks that overlap at one time,
//! and one batch.

mod context;
mod querier;
mod samples;
mod series_set;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use context::Limits;
pub use querier::Querier;
pub use samples::Samples;
pub use series_set::{Extent, Series, SeriesSet};

const fn is_shared<T: Send + Sync + 'static>() {}
const fn is_owned<T: Send + 'static>() {}
const _: () = {
    is_shared::<Querier>();
    is_shared::<Series>();
    is_owned::<SeriesSet>();
    is_owned::<Samples>();
};
