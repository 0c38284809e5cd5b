//! What the random walk feeds to the store: labels that churn, times that are late, early and extreme, values that
//! only bits tell apart.

use std::time::Duration;

use super::plain::{Pattern, Pick, Row, Rules};
use crate::db::{Options, ReadMode, SyncPolicy};
use crate::model::{Labels, MatchOp, TimeRange};
use crate::source::testing::Rng;

/// The range of the smallest blocks.
pub(super) const BLOCK_MS: i64 = 10_000;

const VALUES: [u64; 12] = [
    0x0000_0000_0000_0000, // 0
    0x8000_0000_0000_0000, // -0
    0x7ff0_0000_0000_0002, // the staleness marker
    0x7ff8_0000_0000_0000, // the usual NaN
    0x7ff8_0000_0000_0001,
    0xfff8_dead_beef_0000,
    0x7ff0_0000_0000_0001, // a signalling NaN
    0x7ff0_0000_0000_0000, // infinity
    0xfff0_0000_0000_0000,
    0x0000_0000_0000_0001, // the smallest
    0x7fef_ffff_ffff_ffff, // the largest
    0x3ff0_0000_0000_0000, // 1
];

/// How one walk's database is opened; the same at each opening.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) sync: SyncPolicy,
    pub(super) retention_ms: Option<i64>,
    pub(super) rules: Rules,
    pub(super) read_mode: ReadMode,
    pub(super) extremes: bool,
}

impl Setup {
    pub(super) fn random(rng: &mut Rng) -> Setup {
        let sync = match rng.below(4) {
            0 => SyncPolicy::Never,
            1 => SyncPolicy::Interval(Duration::from_millis(4_000)),
            _ => SyncPolicy::EachCommit,
        };
        let rules = Rules {
            window_ms: [0, 5_000, 60_000][rng.below(3) as usize],
            max_future_ms: (rng.below(2) == 0).then_some(3_600_000),
        };
        let retention_ms = (rng.below(2) == 0).then(|| 30_000 + rng.time(300_000));
        let read_mode = if rng.below(2) == 0 { ReadMode::Mapped } else { ReadMode::Positioned };
        Setup { sync, retention_ms, rules, read_mode, extremes: rng.below(3) == 0 }
    }

    pub(super) fn apply(&self, options: Options) -> Options {
        let options = options
            .sync(self.sync)
            .out_of_order_window(ms(self.rules.window_ms))
            .max_future(self.rules.max_future_ms.map(ms))
            .read_mode(self.read_mode)
            .wal_segment_bytes(1 << 16);
        match self.retention_ms {
            Some(age) => options.retention(ms(age)),
            None => options,
        }
    }
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.cast_unsigned())
}

/// The labels of series `i`.
pub(super) fn labels(i: u64) -> Labels {
    let mut pairs = vec![("__name__", format!("m{}", i % 4)), ("i", i.to_string())];
    match i % 3 {
        0 => pairs.push(("job", "node".to_owned())),
        1 => pairs.push(("job", "no \"quotes\"\n\\ \u{1f98d}".to_owned())),
        _ => {}
    }
    Labels::from_pairs(pairs).unwrap()
}

/// A value; often one that is hard to keep.
pub(super) fn value(rng: &mut Rng) -> f64 {
    match rng.below(4) {
        0 => f64::from_bits(VALUES[rng.below(VALUES.len() as u64) as usize]),
        1 => f64::from_bits(rng.next()),
        _ => rng.time(1_000) as f64 / 4.0,
    }
}

/// A time around `now_ms`: mostly recent, at times late or far away.
pub(super) fn time(rng: &mut Rng, now_ms: i64, extremes: bool) -> i64 {
    match rng.below(24) {
        0 => now_ms - rng.time(500_000),
        1 => -rng.time(100_000),
        2 if extremes => [i64::MIN, i64::MIN + 1, i64::MIN + BLOCK_MS, i64::MAX][rng.below(4) as usize],
        3 => now_ms + rng.time(20_000_000),
        4..=9 => now_ms - rng.time(30_000),
        _ => now_ms - rng.time(2_000),
    }
}

/// A batch: a scrape of the series that live now, and rows from anywhere.
pub(super) fn batch(rng: &mut Rng, now_ms: i64, born: u64, extremes: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    if rng.below(3) > 0 {
        for i in born..born + 2 + rng.below(8) {
            rows.push(Row { labels: labels(i), t: now_ms, v: value(rng), by_ref: false });
        }
    }
    for _ in 0..rng.below(12) {
        // A few future ones would make all that follows too old: they have a series of their own.
        let t = time(rng, now_ms, extremes);
        let i = if t > now_ms { 900 + rng.below(3) } else { born.saturating_sub(6) + rng.below(16) };
        rows.push(Row { labels: labels(i), t, v: value(rng), by_ref: rng.below(3) == 0 });
    }
    if extremes && rng.below(8) == 0 {
        rows.push(Row { labels: labels(999), t: i64::MAX - 1, v: value(rng), by_ref: false });
    }
    // The same once more, and another value at a time that has one.
    for _ in 0..rng.below(4) {
        if !rows.is_empty() {
            let mut row = rows[rng.below(rows.len() as u64) as usize].clone();
            if rng.below(2) == 0 {
                row.v = value(rng);
            }
            rows.insert(rng.below(rows.len() as u64 + 1) as usize, row);
        }
    }
    rows
}

/// A range: of everything, around now, or to an end of time.
pub(super) fn range(rng: &mut Rng, now_ms: i64) -> TimeRange {
    let start = now_ms - rng.time(120_000);
    match rng.below(6) {
        0 => TimeRange::ALL,
        1 => TimeRange::new(i64::MIN, start),
        2 => TimeRange::new(start, i64::MAX),
        3 => TimeRange::new(start, start + 1),
        _ => TimeRange::new(start, start + 1 + rng.time(40_000)),
    }
}

/// A selector of up to three matchers, of all four kinds.
pub(super) fn pick(rng: &mut Rng, born: u64) -> Pick {
    let matcher = |rng: &mut Rng| {
        let (equal, regex) = match rng.below(2) {
            0 => (MatchOp::Equal, MatchOp::Regex),
            _ => (MatchOp::NotEqual, MatchOp::NotRegex),
        };
        let word = |rng: &mut Rng| (born.saturating_sub(4) + rng.below(12)).to_string();
        match rng.below(6) {
            0 => ("i", equal, Pattern::OneOf(vec![word(rng)])),
            1 => ("i", regex, Pattern::OneOf((0..1 + rng.below(5)).map(|_| word(rng)).collect())),
            2 => ("i", regex, Pattern::Begins(rng.below(10).to_string())),
            3 => ("job", equal, Pattern::OneOf(vec!["node".to_owned()])),
            4 => ("job", regex, Pattern::Some),
            _ => ("__name__", regex, Pattern::OneOf(vec![format!("m{}", rng.below(4)), "m1".to_owned()])),
        }
    };
    Pick((0..rng.below(4)).map(|_| matcher(rng)).collect())
}
