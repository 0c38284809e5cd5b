//! The plain model: what a store of a few series is, in maps.

use std::collections::BTreeMap;

use crate::error::AppendError;
use crate::model::{Labels, Selector, TimeRange};

use super::choices::must;

/// The number of series.
pub(super) const SERIES: usize = 6;
/// How far behind the newest sample of its series a sample may come.
pub(super) const WINDOW_MS: i64 = 1_500;

/// The bits of each value by (series, time).
pub(super) type Rows = BTreeMap<(usize, i64), u64>;

/// One sample to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) series: usize,
    pub(super) t: i64,
    pub(super) v: f64,
}

/// A selector, and which series it means.
pub(super) struct Pick {
    text: &'static str,
    means: fn(usize) -> bool,
}

/// What can be selected; the first is everything.
pub(super) static PICKS: [Pick; 8] = [
    Pick { text: "", means: |_| true },
    Pick { text: r#"{i="0"}"#, means: |i| i == 0 },
    Pick { text: "m1", means: |i| i % 3 == 1 },
    Pick { text: r#"{i=~"[0-2]"}"#, means: |i| i < 3 },
    Pick { text: r#"m0{i!="3"}"#, means: |i| i == 0 },
    Pick { text: r#"{job=""}"#, means: |i| i != 5 },
    Pick { text: r#"{__name__=~"m(1|2)", job!~"x.*"}"#, means: |i| i % 3 != 0 && i != 5 },
    Pick { text: r#"{i="9"}"#, means: |_| false },
];

impl Pick {
    /// As the store takes it.
    pub(super) fn selector(&self) -> Selector {
        match self.text.is_empty() {
            true => Selector::all(),
            false => must(self.text.parse(), self.text),
        }
    }

    /// The rows that a query must give.
    pub(super) fn of(&self, rows: &Rows, range: TimeRange) -> Rows {
        let found = rows.iter().filter(|((i, t), _)| (self.means)(*i) && range.contains(*t));
        found.map(|(key, bits)| (*key, *bits)).collect()
    }
}

/// The labels of a series.
pub(super) fn labels(series: usize) -> Labels {
    let job = if series == 5 { "xy" } else { "" };
    let (name, i) = (format!("m{}", series % 3), series.to_string());
    must(Labels::from_pairs([("__name__", name.as_str()), ("i", i.as_str()), ("job", job)]), "labels")
}

/// What is stored.
#[derive(Clone, Default)]
pub(super) struct Plain {
    /// What every reader must see.
    pub(super) rows: Rows,
    /// The newest time that a commit ever took of a series; the store may remember less.
    newest: BTreeMap<usize, i64>,
}

impl Plain {
    /// Whether a commit must take a row, whatever the store remembers.
    pub(super) fn is_newer(&self, row: &Row) -> bool {
        row.t != i64::MAX && self.newest.get(&row.series).is_none_or(|newest| row.t > *newest)
    }

    /// Follows a commit that took a row; tells whether it may be counted as a duplicate.
    pub(super) fn take(&mut self, row: &Row) -> bool {
        assert!(row.t != i64::MAX, "the reserved time was taken");
        let newest = self.newest.entry(row.series).or_insert(row.t);
        *newest = row.t.max(*newest);
        self.rows.insert((row.series, row.t), row.v.to_bits()) == Some(row.v.to_bits())
    }

    /// Checks that a commit was right not to take a row.
    pub(super) fn refuse(&self, row: &Row, why: AppendError) {
        let stored = self.rows.get(&(row.series, row.t));
        let newest = self.newest.get(&row.series);
        let right = match why {
            AppendError::BadTimestamp => row.t == i64::MAX,
            AppendError::Conflict => stored.is_some_and(|bits| *bits != row.v.to_bits()),
            AppendError::TooOld => newest.is_some_and(|newest| newest.saturating_sub(row.t) > WINDOW_MS),
            _ => false,
        };
        assert!(right, "{row:?} was refused: {why}");
    }

    /// A bulk load of rows at times that were free.
    pub(super) fn load(&mut self, rows: &[Row]) {
        self.rows.extend(rows.iter().map(|row| ((row.series, row.t), row.v.to_bits())));
    }

    /// A delete; returns how many samples went.
    pub(super) fn delete(&mut self, range: TimeRange, pick: &Pick) -> usize {
        let before = self.rows.len();
        self.rows.retain(|(i, t), _| !((pick.means)(*i) && range.contains(*t)));
        before - self.rows.len()
    }
}
