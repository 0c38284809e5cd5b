//! Data that looks like that of real targets, each sample a function of the options alone.
//!
//! ```text
//!   target 0: 500 series       series = target · 500 + item,  item = family · 10 + member
//!   target 1: 500 series       one offset and one lateness for all series of a target: a scrape
//!   …
//! ```
//!
//! All targets have the same families, as exporters do. A third of the series never changes (information,
//! limits, counters of errors), a third counts integers, a twelfth hundredths of seconds; the rest are sizes
//! in pages, ratios, small numbers, histogram buckets and, last, fresh noise of nine digits. After each `lifetime` of scrapes, 100 as a rule,
//! `churn` percent of the series get another `generation` label: new series, in place of the old.
//!
//! **Cost.** A value takes a few integer operations: little beside what is measured, but part of it where the
//! benchmark says so.

use silverback::{AppendError, Labels};

use super::args::Values;

/// Series of one target.
pub(crate) const PER_TARGET: u32 = 500;
/// Series of one family in one target.
pub(crate) const PER_FAMILY: u32 = 10;
/// Scrapes after which series are replaced, if nothing else is asked for.
pub(crate) const GENERATION: u32 = 100;
/// 2023-11-15, at the start of a block of any level up to 18 h.
pub(crate) const START_MS: i64 = 1_700_006_400_000;
/// What a counter grows by from scrape to scrape.
pub(crate) const COUNTER_STEP: f64 = 1_000.0;
/// Between two scrapes.
pub(crate) const INTERVAL_MS: i64 = 15_000;

/// The parameters of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    /// Series at one time.
    pub(crate) series: u32,
    /// Samples of each.
    pub(crate) scrapes: u32,
    /// What values look like.
    pub(crate) values: Values,
    /// The most milliseconds that a scrape is late.
    pub(crate) jitter_ms: u32,
    /// Percent of the series that are replaced at a time.
    pub(crate) churn: u32,
    /// Scrapes after which they are.
    pub(crate) lifetime: u32,
    /// Between two scrapes.
    pub(crate) interval_ms: i64,
    /// Whether all targets are scraped at the same moment.
    pub(crate) together: bool,
}

impl Data {
    /// All samples, of all generations.
    pub(crate) fn samples(&self) -> u64 {
        u64::from(self.series) * u64::from(self.scrapes)
    }

    /// The time of a scrape of the target that a series belongs to.
    pub(crate) fn time(&self, series: u32, scrape: u32) -> i64 {
        let target = if self.together { 0 } else { u64::from(series / PER_TARGET) };
        let offset = below(hash(1, target, 0), INTERVAL_MS.cast_unsigned());
        let late = below(hash(2, target, u64::from(scrape)), u64::from(self.jitter_ms) + 1);
        START_MS + i64::from(scrape) * self.interval_ms + (offset + late).cast_signed()
    }

    /// Whether a series is replaced at the start of a generation.
    pub(crate) fn is_replaced(&self, series: u32, generation: u32) -> bool {
        generation > 0 && below(hash(3, series.into(), generation.into()), 100) < u64::from(self.churn)
    }

    /// The labels of a series; `generation` is the one that it came with.
    pub(crate) fn labels(&self, series: u32, generation: u32) -> Result<Labels, AppendError> {
        let pairs = pairs(series, generation);
        Labels::from_pairs(pairs.iter().map(|(name, value)| (*name, value)))
    }

    /// The values of a series from the generation that it came with on.
    pub(crate) fn walk(&self, series: u32, generation: u32) -> Walk {
        Walk::new(self.values, series, generation)
    }

    /// Families of which there are series.
    pub(crate) fn families(&self) -> u32 {
        self.series.min(PER_TARGET).div_ceil(PER_FAMILY)
    }

    /// The series of a family, target by target.
    pub(crate) fn family(&self, family: u32) -> impl Iterator<Item = u32> {
        let targets = self.series.div_ceil(PER_TARGET);
        let members = family * PER_FAMILY..(family + 1) * PER_FAMILY;
        let all = *self;
        (0..targets)
            .flat_map(move |target| members.clone().map(move |item| target * PER_TARGET + item))
            .filter(move |series| *series < all.series)
    }
}

/// The labels of a series, sorted by name.
fn pairs(series: u32, generation: u32) -> [(&'static str, String); 6] {
    let (target, item) = (series / PER_TARGET, series % PER_TARGET);
    let job = match item % 3 {
        0 => "node",
        1 => "kubelet",
        _ => "api",
    };
    let generation = if generation == 0 { String::new() } else { format!("g{generation}") };
    [
        ("__name__", format!("bench_{}_{}", Kind::of(item).name(), item / PER_FAMILY)),
        ("dc", format!("dc{}", target % 4)),
        ("device", format!("dev{}", item % PER_FAMILY)),
        ("generation", generation),
        ("instance", format!("host-{target:04}.example.com:9100")),
        ("job", job.to_owned()),
    ]
}

/// What a series measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Constant,
    Counter,
    Centi,
    Pages,
    Ratio,
    Small,
    Bucket,
    Noise,
}

impl Kind {
    /// By family, so that a family is of one kind.
    fn of(item: u32) -> Kind {
        match item / PER_FAMILY % 12 {
            0..4 => Kind::Constant,
            4..7 => Kind::Counter,
            7 => Kind::Centi,
            8 => Kind::Pages,
            9 => Kind::Bucket,
            10 => Kind::Small,
            _ if item / PER_FAMILY % 24 == 11 => Kind::Ratio,
            _ => Kind::Noise,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Constant => "info",
            Kind::Counter => "total",
            Kind::Centi => "seconds",
            Kind::Pages => "bytes",
            Kind::Ratio => "ratio",
            Kind::Small => "count",
            Kind::Bucket => "bucket",
            Kind::Noise => "duration",
        }
    }
}

/// The values of one series, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    kind: Kind,
    values: Values,
    state: i64,
    rate: u64,
    seed: u64,
}

impl Walk {
    fn new(values: Values, series: u32, generation: u32) -> Walk {
        let kind = Kind::of(series % PER_TARGET);
        let seed = hash(4, series.into(), generation.into());
        let start = below(seed, 1 << 20).cast_signed();
        // Magnitudes are spread evenly over four decades.
        let magnitude = match seed >> 32 & 3 {
            0 => 1,
            1 => 10,
            2 => 100,
            _ => 1_000,
        };
        let rate = magnitude * (1 + below(seed >> 34, 10));
        let state = match (values, kind) {
            (Values::Counter, _) => 123_456_789,
            (_, Kind::Constant) if seed & 1 == 0 => start & 1,
            (_, Kind::Ratio) => start % 10_000,
            _ => start,
        };
        Walk { kind, values, state, rate, seed }
    }

    /// The next value.
    #[inline]
    pub(crate) fn next(&mut self) -> f64 {
        match self.values {
            Values::Constant => self.state as f64,
            Values::Counter => {
                let v = self.state as f64 + COUNTER_STEP;
                self.state += 1_000;
                v
            }
            Values::Real => self.real(),
        }
    }

    fn real(&mut self) -> f64 {
        if self.kind == Kind::Constant {
            return self.state as f64;
        }
        self.seed = self.seed.wrapping_add(1);
        let random = hash(5, self.seed, 0);
        let rate = self.rate;
        // Mean `rate`; a series in four counts seldom.
        let grown = match rate % 4 {
            0 if random & 15 != 0 => 0,
            _ => (rate / 2 + below(random, rate + 1)).cast_signed(),
        };
        let moved = below(random, 2 * rate + 1).cast_signed() - rate.cast_signed();
        match self.kind {
            Kind::Constant => {}
            Kind::Counter | Kind::Centi | Kind::Bucket => self.state += grown,
            Kind::Pages => self.state = (self.state + moved).max(1),
            Kind::Ratio => self.state = (self.state + moved % 100).clamp(0, 10_000),
            Kind::Small => self.state = (self.state + moved % 3).max(0),
            Kind::Noise => self.state = below(random, rate * 1_000_000).cast_signed(),
        }
        match self.kind {
            Kind::Centi => self.state as f64 / 100.0,
            Kind::Pages => (self.state * 4_096) as f64,
            Kind::Ratio => self.state as f64 / 10_000.0,
            Kind::Noise => self.state as f64 / 1e9,
            _ => self.state as f64,
        }
    }
}

/// A hash of three numbers, by the finalizer of splitmix64 (Steele, Lea, Flood).
pub(crate) fn hash(a: u64, b: u64, c: u64) -> u64 {
    let mut z = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xd1b5_4a32_d192_ed03);
    z = (z ^ c).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn below(random: u64, n: u64) -> u64 {
    random.checked_rem(n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn data(series: u32, churn: u32) -> Data {
        Data {
            series,
            scrapes: 300,
            values: Values::Real,
            jitter_ms: 5,
            churn,
            lifetime: GENERATION,
            interval_ms: INTERVAL_MS,
            together: false,
        }
    }

    #[test]
    fn every_series_has_its_own_labels_and_one_family() {
        let data = data(1_203, 0);
        let all: BTreeSet<String> =
            (0..data.series).map(|s| data.labels(s, 0).unwrap().to_string()).collect();
        assert_eq!(all.len(), 1_203);
        assert!(!all.contains(&data.labels(0, 1).unwrap().to_string()));
        let mut listed: Vec<u32> = (0..data.families()).flat_map(|f| data.family(f)).collect();
        listed.sort_unstable();
        assert_eq!(listed, (0..data.series).collect::<Vec<_>>());
    }

    #[test]
    fn times_ascend_and_a_target_has_one() {
        let data = data(1_000, 0);
        for scrape in 1..300 {
            assert!(data.time(7, scrape - 1) < data.time(7, scrape));
            assert_eq!(data.time(7, scrape), data.time(499, scrape));
        }
        assert_ne!(data.time(499, 0), data.time(500, 0));
    }

    #[test]
    fn values_are_of_all_kinds_and_the_same_again() {
        let data = data(500, 0);
        let run = |series: u32| {
            let mut walk = data.walk(series, 0);
            (0..100).map(|_| walk.next()).collect::<Vec<f64>>()
        };
        let constant = (0..500).filter(|&s| run(s).windows(2).all(|w| w[0] == w[1])).count();
        assert!((165..300).contains(&constant), "{constant} of 500 never change");
        assert!((0..500).any(|s| run(s).iter().any(|v| v.fract() != 0.0)));
        assert_eq!(run(123), run(123));
        let mut counter = Data { values: Values::Counter, ..data }.walk(0, 0);
        assert_eq!((counter.next(), counter.next()), (123_457_789.0, 123_458_789.0));
    }

    #[test]
    fn churn_is_the_share_that_was_asked_for() {
        let replaced = |churn| (0..10_000).filter(|&s| data(10_000, churn).is_replaced(s, 1)).count();
        assert_eq!((replaced(0), replaced(100)), (0, 10_000));
        assert!((900..1_100).contains(&replaced(10)), "{}", replaced(10));
        assert!(!data(1, 100).is_replaced(0, 0));
    }
}
