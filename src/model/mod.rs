//! The data model: what a series, a sample, a time range and a selector are. Pure values.
//!
//! | file | what |
//! |---|---|
//! | `labels` | [`Labels`]: a sorted, unique set of label pairs in one shared allocation |
//! | `sample` | [`Sample`], [`Columns`], the staleness marker |
//! | `time` | [`TimeRange`], half-open; `Intervals`, a sorted set of disjoint ranges |
//! | `series_ref` | [`SeriesRef`], `Lsn` |
//! | `metadata` | [`Metadata`] of a metric family |
//! | `matcher` | [`Matcher`]: one condition on one label |
//! | `regex` | anchored regular expressions with bounds, literals and prefixes |
//! | `selector` | [`Selector`]: conditions that hold together; parsed from text |
//! | `cancel` | [`Cancel`]: one token that stops long work |

mod cancel;
mod labels;
mod matcher;
mod metadata;
mod regex;
mod sample;
mod selector;
mod series_ref;
mod time;

pub use cancel::Cancel;
pub use labels::Labels;
pub(crate) use labels::{
    MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_LABELS_BYTES, METRIC_NAME, pair_of,
    push_pair,
};
pub use matcher::{MatchOp, Matcher};
pub use metadata::{Metadata, MetricType};
pub(crate) use regex::{MAX_PATTERN_BYTES, fuzz as fuzz_regex};
pub use sample::{Columns, STALE, Sample, is_stale};
pub(crate) use selector::MAX_MATCHERS;
pub use selector::Selector;
pub(crate) use series_ref::Lsn;
pub use series_ref::SeriesRef;
pub(crate) use time::Intervals;
pub use time::TimeRange;
