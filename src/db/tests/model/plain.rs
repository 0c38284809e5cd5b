//! The plain model: what a store of samples is, in maps.
//!
//! ```text
//!   visible   (labels, t) → bits        what every reader must see
//!   head      (labels, t)               which of them a conflict is judged against
//!   newest    labels → t                the newest ever accepted by commit; the store may remember less
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::AppendError;
use crate::model::{Labels, MatchOp, Matcher, Metadata, Selector, TimeRange};

/// A sample's place.
pub(super) type Key = (Labels, i64);
/// What a reader sees.
pub(super) type Visible = BTreeMap<Key, u64>;

/// One sample to be stored.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) labels: Labels,
    pub(super) t: i64,
    pub(super) v: f64,
    /// Given by reference: it may have become stale.
    pub(super) by_ref: bool,
}

/// What a verdict depends on besides the samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) window_ms: i64,
    pub(super) max_future_ms: Option<i64>,
}

/// What must become of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Take,
    Duplicate,
    Reject(AppendError),
    /// It depends on whether the store still knows the series' newest sample.
    TakeOrTooOld,
}

/// The state of a store. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) visible: Arc<Visible>,
    pub(super) head: Arc<BTreeSet<Key>>,
    pub(super) newest: Arc<BTreeMap<Labels, i64>>,
    pub(super) families: Arc<BTreeMap<String, Metadata>>,
    /// The newest sample ever stored, by commit or load.
    pub(super) newest_t: Option<i64>,
}

impl State {
    /// The verdict on a sample at `now_ms`.
    pub(super) fn expect(&self, row: &Row, now_ms: i64, rules: Rules) -> Expect {
        if row.t == i64::MAX {
            return Expect::Reject(AppendError::BadTimestamp);
        }
        if rules.max_future_ms.is_some_and(|ahead| row.t > now_ms.saturating_add(ahead)) {
            return Expect::Reject(AppendError::TooFarInFuture);
        }
        let key = (row.labels.clone(), row.t);
        if self.head.contains(&key) {
            return match self.visible.get(&key) == Some(&row.v.to_bits()) {
                true => Expect::Duplicate,
                false => Expect::Reject(AppendError::Conflict),
            };
        }
        let in_window = |newest: i64| newest.saturating_sub(row.t) <= rules.window_ms;
        let Some(&newest) = self.newest.get(&row.labels) else { return Expect::Take };
        let of_series = (row.labels.clone(), i64::MIN)..=(row.labels.clone(), i64::MAX);
        let surely_known = self.head.range(of_series).next_back().map(|(_, t)| *t);
        match surely_known {
            _ if in_window(newest) => Expect::Take,
            Some(known) if !in_window(known) => Expect::Reject(AppendError::TooOld),
            _ => Expect::TakeOrTooOld,
        }
    }

    /// A commit took a sample.
    pub(super) fn take(&mut self, row: &Row) {
        let key = (row.labels.clone(), row.t);
        Arc::make_mut(&mut self.visible).insert(key.clone(), row.v.to_bits());
        Arc::make_mut(&mut self.head).insert(key);
        let newest = Arc::make_mut(&mut self.newest).entry(row.labels.clone()).or_insert(row.t);
        *newest = (*newest).max(row.t);
        self.newest_t = self.newest_t.max(Some(row.t));
    }

    /// A bulk load appeared: the first of its values at a time counts, and loses to the head. Returns what it
    /// reports: (appended, duplicates, conflicts).
    pub(super) fn load(&mut self, rows: &[Row]) -> (u64, u64, u64) {
        let mut first = Visible::new();
        let (mut duplicates, mut conflicts) = (0, 0);
        for row in rows {
            match first.get(&(row.labels.clone(), row.t)) {
                None => {
                    first.insert((row.labels.clone(), row.t), row.v.to_bits());
                }
                Some(bits) if *bits == row.v.to_bits() => duplicates += 1,
                Some(_) => conflicts += 1,
            }
        }
        let appended = first.len() as u64;
        self.newest_t = self.newest_t.max(first.keys().map(|(_, t)| *t).max());
        let visible = Arc::make_mut(&mut self.visible);
        visible.extend(first.into_iter().filter(|(key, _)| !self.head.contains(key)));
        (appended, duplicates, conflicts)
    }

    /// A delete; returns how many samples went.
    pub(super) fn delete(&mut self, range: TimeRange, pick: &Pick) -> u64 {
        let before = self.visible.len();
        let stays = |key: &Key| !(range.contains(key.1) && pick.selects(&key.0));
        Arc::make_mut(&mut self.visible).retain(|key, _| stays(key));
        Arc::make_mut(&mut self.head).retain(stays);
        (before - self.visible.len()) as u64
    }

    /// A flush moved a range of the head to a block.
    pub(super) fn flush(&mut self, range: TimeRange) {
        Arc::make_mut(&mut self.head).retain(|(_, t)| !range.contains(*t));
    }

    /// What a query must give.
    pub(super) fn query(visible: &Visible, range: TimeRange, pick: &Pick) -> Visible {
        let found = visible.iter().filter(|((labels, t), _)| range.contains(*t) && pick.selects(labels));
        found.map(|(key, bits)| (key.clone(), *bits)).collect()
    }

    /// Whether `seen` is this state, or (`horizon`) this state without some samples before the horizon.
    pub(super) fn is(&self, seen: &Visible, horizon: Option<i64>) -> bool {
        let Some(horizon) = horizon else { return *self.visible == *seen };
        let all_true = seen.iter().all(|(key, bits)| self.visible.get(key) == Some(bits));
        all_true && self.visible.keys().all(|key| key.1 < horizon || seen.contains_key(key))
    }

    /// Retention dropped what is not in `seen`.
    pub(super) fn keep_only(&mut self, seen: &Visible) {
        if self.visible.len() != seen.len() {
            Arc::make_mut(&mut self.visible).retain(|key, _| seen.contains_key(key));
        }
    }
}

/// A selector, with a meaning of its own: no expression is compiled to say what it selects.
#[derive(Clone, Debug)]
pub(super) struct Pick(pub(super) Vec<(&'static str, MatchOp, Pattern)>);

/// What a matcher compares with.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// One of these; equality takes the first.
    OneOf(Vec<String>),
    /// Begins so.
    Begins(String),
    /// Anything that is not empty.
    Some,
}

impl Pattern {
    fn text(&self, op: MatchOp) -> String {
        match (self, op) {
            (Pattern::OneOf(words), MatchOp::Equal | MatchOp::NotEqual) => words[0].clone(),
            (Pattern::OneOf(words), _) => words.join("|"),
            (Pattern::Begins(start), _) => format!("{start}.*"),
            (Pattern::Some, _) => ".+".to_owned(),
        }
    }

    fn holds(&self, value: &str, op: MatchOp) -> bool {
        match (self, op) {
            (Pattern::OneOf(words), MatchOp::Equal | MatchOp::NotEqual) => words[0] == value,
            (Pattern::OneOf(words), _) => words.iter().any(|w| w == value),
            (Pattern::Begins(start), _) => value.starts_with(start),
            (Pattern::Some, _) => !value.is_empty(),
        }
    }
}

impl Pick {
    /// Everything.
    pub(super) fn all() -> Pick {
        Pick(Vec::new())
    }

    /// Whether a series is selected.
    pub(super) fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(name, op, pattern)| {
            let negative = matches!(op, MatchOp::NotEqual | MatchOp::NotRegex);
            pattern.holds(labels.value(name).unwrap_or(""), *op) != negative
        })
    }

    /// As the store takes it.
    pub(super) fn selector(&self) -> Selector {
        match self.0.is_empty() {
            true => Selector::all(),
            false => {
                let matchers =
                    self.0.iter().map(|(name, op, p)| Matcher::new(*op, *name, p.text(*op)).unwrap());
                Selector::from_matchers(matchers).unwrap()
            }
        }
    }
}
