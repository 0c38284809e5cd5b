//! Keeping the blocks few, large and young: what to merge, how to merge it, what to drop.
//!
//! ```text
//!   plan       which blocks to rewrite next       pure: bounds in, a plan out
//!   merge      many sources ──▶ one block         the head's flush is the same code
//!   retention  which blocks go                    pure: bounds in, indexes out
//! ```
//!
//! The database runs the cycle: it asks [`plan`] for a step, runs [`write`] over the
//! blocks named, and swaps the manifest, until there is no step left; then it asks [`expired`].
//!
//! # Invariant
//! No step changes what a query sees: neither a merge (blocks change places in the order of
//! precedence only with blocks that they share no time with), nor the removal of a block (one that
//! hides samples of another goes only together with it).

mod merge;
mod plan;
mod retention;

pub(crate) use merge::{Form, Means, write};
pub(crate) use plan::{Candidate, Plan, levels, plan};
pub(crate) use retention::{Keep, expired};
