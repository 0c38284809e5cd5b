//! `analyze`: what makes a database large; the figures of `promtool tsdb analyze`, over all blocks and the head.
//!
//! ```text
//!   time      ├───────────────────┤
//!   series         ├────────┤          covered; the rest is not
//!   churn of a label = sum over its series of what is not covered, divided by the whole time
//! ```
//!
//! Reads labels, the places of chunks, and their heads, no samples. Memory: every label pair once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Map, Value, json};
use silverback::import::go;

use crate::args::Analyze;
use crate::failure::Failure;
use crate::output::{Context, Opened, bytes, count, print_json, ratio, stdout};
use crate::table::pairs;
use crate::time::{rfc3339, span};
use crate::union::{Union, selectors, time_range};

/// Runs `analyze`.
pub(crate) fn run(args: &Analyze, context: &Context) -> Result<u8, Failure> {
    let range = time_range(&args.select.range)?;
    let opened = context.read(&args.select.db.dir)?;
    let querier = opened.db.querier(range)?.cancel(context.interrupt.cancel());
    let mut union = Union::open(&querier, &selectors(&args.select.selectors))?;
    let mut figures = Figures::default();
    while let Some(series) = union.next()? {
        let extent = series.extent();
        let pairs = series.labels().iter();
        figures.add(pairs, series.labels().name(), (extent.min_time_ms, extent.max_time_ms), extent.samples);
    }
    let parts = parts(&opened, context)?;
    let lists = figures.lists(args.limit);
    if args.select.json {
        print_json(&as_json(&figures, &parts, &lists))?;
        return Ok(opened.code());
    }
    let mut out = stdout();
    write!(out, "{}", pairs(&figures.rows()))?;
    writeln!(out, "\nBytes by part (of the whole database):")?;
    write!(out, "{}", pairs(&shown(&parts)))?;
    for list in &lists {
        writeln!(out, "\n{}:", list.title)?;
        for (n, name) in &list.entries {
            writeln!(out, "{n} {}", printable(name))?;
        }
    }
    out.flush()?;
    Ok(opened.code())
}

/// As it is, unless it would disturb a terminal: then as Go quotes it.
fn printable(name: &str) -> Cow<'_, str> {
    if !name.chars().any(char::is_control) {
        return Cow::Borrowed(name);
    }
    let mut quoted = String::new();
    // Writing to a string cannot fail.
    let _infallible = go::write_quoted(&mut quoted, name);
    Cow::Owned(quoted)
}

/// Where the bytes are: in the parts of the blocks, and in the log.
fn parts(opened: &Opened, context: &Context) -> Result<Vec<SizedPart>, Failure> {
    let parts = opened.db.parts(context.interrupt.cancel())?;
    let log = SizedPart { name: "log", bytes: opened.db.stats().wal_bytes, samples: 0 };
    Ok(parts
        .iter()
        .map(|p| SizedPart { name: p.name, bytes: p.bytes, samples: p.samples })
        .chain([log])
        .collect())
}

/// One line of the table of bytes.
struct SizedPart {
    name: &'static str,
    bytes: u64,
    samples: u64,
}

/// The table of bytes; for values also how many samples there are, and bytes for each.
fn shown(parts: &[SizedPart]) -> Vec<(&'static str, String)> {
    let line = |p: &SizedPart| match p.samples {
        0 => bytes(p.bytes),
        n => format!("{}, {} samples, {} bytes each", bytes(p.bytes), count(n), ratio(p.bytes, n)),
    };
    parts.iter().map(|p| (p.name, line(p))).collect()
}

/// What is known of a label pair.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    series: u64,
    /// The milliseconds that its series cover, summed.
    covered: u128,
}

impl Pair {
    fn plus(self, other: Pair) -> Pair {
        Pair { series: self.series + other.series, covered: self.covered + other.covered }
    }
}

/// All that is counted.
#[derive(Debug, Default)]
struct Figures {
    series: u64,
    samples: u64,
    times_ms: Option<(i64, i64)>,
    /// By label name and value.
    labels: BTreeMap<String, BTreeMap<String, Pair>>,
    /// Samples by metric name.
    by_metric: BTreeMap<String, u64>,
}

/// One list of the largest.
struct List {
    key: &'static str,
    title: &'static str,
    entries: Vec<(u64, String)>,
}

impl Figures {
    fn add<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        metric: &str,
        (min, max): (i64, i64),
        samples: u64,
    ) {
        self.series += 1;
        self.samples += samples;
        self.times_ms = Some(self.times_ms.map_or((min, max), |(a, b)| (a.min(min), b.max(max))));
        let this = Pair { series: 1, covered: milliseconds((min, max)) };
        for (name, value) in labels {
            change(&mut self.labels, name, |values| change(values, value, |pair| *pair = pair.plus(this)));
        }
        change(&mut self.by_metric, metric, |sum| *sum += samples);
    }

    /// How many series with a label are missing, on average over all of the time.
    fn missing(&self, pair: Pair) -> u64 {
        let span = self.times_ms.map_or(0, milliseconds);
        let whole = u128::from(pair.series) * span;
        whole.saturating_sub(pair.covered).checked_div(span).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let (from, to, length) = match self.times_ms {
            None => ("–".to_owned(), "–".to_owned(), "–".to_owned()),
            Some((min, max)) => (rfc3339(min), rfc3339(max), span(i128::from(max) - i128::from(min))),
        };
        vec![
            ("Oldest", from),
            ("Newest", to),
            ("Duration", length),
            ("Total Series", count(self.series)),
            ("Samples", count(self.samples)),
            ("Label names", count(self.labels.len() as u64)),
            ("Postings (unique label pairs)", count(self.unique_pairs())),
            ("Postings entries (total label pairs)", count(self.entries())),
        ]
    }

    fn unique_pairs(&self) -> u64 {
        self.labels.values().map(|values| values.len() as u64).sum()
    }

    fn entries(&self) -> u64 {
        self.labels.values().flat_map(BTreeMap::values).map(|pair| pair.series).sum()
    }

    fn lists(&self, limit: usize) -> [List; 7] {
        let list = |key, title, entries| List { key, title, entries: largest(entries, limit) };
        let each_pair = || {
            let pairs = self.labels.iter().flat_map(|(name, values)| values.iter().map(move |v| (name, v)));
            pairs.map(|(name, (value, pair))| (*pair, format!("{name}={value}")))
        };
        let by_name = |f: &dyn Fn(&BTreeMap<String, Pair>) -> u64| {
            self.labels.iter().map(|(name, values)| (f(values), name.clone())).collect::<Vec<_>>()
        };
        let whole =
            |values: &BTreeMap<String, Pair>| values.values().fold(Pair::default(), |a, b| a.plus(*b));
        let of_metrics = self.labels.get("__name__").into_iter().flatten();
        [
            list(
                "churn_pairs",
                "Label pairs most involved in churning",
                each_pair().map(|(pair, name)| (self.missing(pair), name)).collect(),
            ),
            list(
                "churn_labels",
                "Label names most involved in churning",
                by_name(&|values| self.missing(whole(values))),
            ),
            list(
                "common_pairs",
                "Most common label pairs",
                each_pair().map(|(pair, name)| (pair.series, name)).collect(),
            ),
            list(
                "longest_labels",
                "Label names with highest cumulative label value length",
                by_name(&|values| values.keys().map(|value| value.len() as u64).sum()),
            ),
            list("largest_labels", "Highest cardinality labels", by_name(&|values| values.len() as u64)),
            list(
                "metrics_by_series",
                "Highest cardinality metric names",
                of_metrics.map(|(name, pair)| (pair.series, name.clone())).collect(),
            ),
            list(
                "metrics_by_samples",
                "Metric names with the most samples",
                self.by_metric.iter().map(|(name, n)| (*n, name.clone())).collect(),
            ),
        ]
    }
}

fn milliseconds((min, max): (i64, i64)) -> u128 {
    u128::try_from(i128::from(max) - i128::from(min)).unwrap_or(0)
}

/// Changes the value of a key, which is copied only if it is new.
fn change<V: Default>(map: &mut BTreeMap<String, V>, key: &str, change: impl FnOnce(&mut V)) {
    match map.get_mut(key) {
        Some(value) => change(value),
        None => change(map.entry(key.to_owned()).or_default()),
    }
}

/// The largest first, in order of their names where they are equal.
fn largest(mut entries: Vec<(u64, String)>, limit: usize) -> Vec<(u64, String)> {
    entries.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    entries.truncate(limit);
    entries
}

fn as_json(figures: &Figures, parts: &[SizedPart], lists: &[List]) -> Value {
    let bytes: Map<String, Value> = parts.iter().map(|p| (p.name.to_owned(), p.bytes.into())).collect();
    let coded = parts.iter().filter(|p| p.samples > 0);
    let coded: Map<String, Value> = coded.map(|p| (p.name.to_owned(), p.samples.into())).collect();
    let mut object = json!({
        "series": figures.series,
        "samples": figures.samples,
        "min_time_ms": figures.times_ms.map(|t| t.0),
        "max_time_ms": figures.times_ms.map(|t| t.1),
        "label_names": figures.labels.len(),
        "label_pairs": figures.unique_pairs(),
        "postings_entries": figures.entries(),
        "bytes": bytes,
        "samples_by_part": coded,
    });
    if let Some(object) = object.as_object_mut() {
        for list in lists {
            let entries = list.entries.iter().map(|(n, name)| json!({ "name": name, "count": n }));
            object.insert(list.key.to_owned(), entries.collect());
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_few_series() {
        let mut figures = Figures::default();
        let mut add = |name: &str, job: &str, times: (i64, i64), samples: u64| {
            figures.add([("__name__", name), ("job", job)].into_iter(), name, times, samples);
        };
        add("a", "x", (0, 100), 11);
        add("a", "yy", (0, 50), 6);
        add("b", "yy", (50, 75), 3);
        let lists = figures.lists(2);
        let of = |key: &str| {
            let list = lists.iter().find(|l| l.key == key).unwrap();
            list.entries.iter().map(|(n, name)| format!("{n} {name}")).collect::<Vec<_>>().join(", ")
        };
        // 0.5 and 0.75 of a series, cut; together 1.25.
        assert_eq!(of("churn_pairs"), "1 job=yy, 0 __name__=a");
        assert_eq!(of("churn_labels"), "1 __name__, 1 job");
        assert_eq!(of("common_pairs"), "2 __name__=a, 2 job=yy");
        assert_eq!(of("longest_labels"), "3 job, 2 __name__");
        assert_eq!(of("largest_labels"), "2 __name__, 2 job");
        assert_eq!(of("metrics_by_series"), "2 a, 1 b");
        assert_eq!(of("metrics_by_samples"), "17 a, 3 b");
        assert_eq!((figures.unique_pairs(), figures.entries()), (4, 6));
        assert_eq!(Figures::default().missing(Pair { series: 1, covered: 0 }), 0);
    }
}
