//! Which family a metric name belongs to: what OpenMetrics groups by.
//!
//! | type | names of samples |
//! |---|---|
//! | gauge, unknown, stateset | the family's |
//! | counter | `_total`, `_created` |
//! | summary | the family's, `_count`, `_sum`, `_created` |
//! | histogram | `_bucket`, `_count`, `_sum`, `_created` |
//! | gaugehistogram | `_bucket`, `_gcount`, `_gsum` |
//! | info | `_info` |
//!
//! Prometheus text declares a counter under the full name of its samples: `x_total` becomes the counter `x`
//! of OpenMetrics, unless something else has that name; a counter that does not end in `_total` is none there and
//! becomes unknown. Whatever is stored is written: a name that fits no family is one of its own.

use std::collections::{BTreeMap, BTreeSet};

use silverback::{Metadata, MetricType};

/// The endings of names, with the types whose families have them.
const SUFFIXES: [(&str, &[MetricType]); 8] = [
    ("_total", &[MetricType::Counter]),
    ("_bucket", &[MetricType::Histogram, MetricType::GaugeHistogram]),
    ("_count", &[MetricType::Histogram, MetricType::Summary]),
    ("_sum", &[MetricType::Histogram, MetricType::Summary]),
    ("_created", &[MetricType::Counter, MetricType::Histogram, MetricType::Summary]),
    ("_gcount", &[MetricType::GaugeHistogram]),
    ("_gsum", &[MetricType::GaugeHistogram]),
    ("_info", &[MetricType::Info]),
];

/// A family of OpenMetrics.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    /// Its name.
    pub(crate) name: String,
    /// What is known of it.
    pub(crate) metadata: Option<Metadata>,
    /// The metric names of its samples, sorted.
    pub(crate) names: Vec<String>,
}

/// Groups metric names into families, sorted by name.
pub(crate) fn group(names: Vec<String>, known: Vec<(String, Metadata)>) -> Vec<Family> {
    let known: BTreeMap<String, Metadata> = known.into_iter().collect();
    let all: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for name in &all {
        let (family, metadata) = owner(name, &known, &all);
        let entry = families.entry(family.to_owned());
        let family =
            entry.or_insert_with(|| Family { name: family.to_owned(), metadata: None, names: Vec::new() });
        family.metadata = family.metadata.take().or(metadata);
        family.names.push((*name).to_owned());
    }
    families.into_values().collect()
}

/// The family of a name, and its metadata as OpenMetrics would have it.
fn owner<'n>(
    name: &'n str,
    known: &BTreeMap<String, Metadata>,
    all: &BTreeSet<&str>,
) -> (&'n str, Option<Metadata>) {
    let by_suffix = SUFFIXES.iter().find_map(|(suffix, types)| {
        let base = name.strip_suffix(suffix).filter(|base| !base.is_empty())?;
        let metadata = known.get(base).filter(|m| types.contains(&m.metric_type))?;
        Some((base, metadata))
    });
    match (known.get(name), by_suffix) {
        // Both text and OpenMetrics were imported: they mean the same counter.
        (Some(own), Some((base, metadata)))
            if own.metric_type == MetricType::Counter && metadata.metric_type == MetricType::Counter =>
        {
            (base, Some(metadata.clone()))
        }
        (Some(own), _) if own.metric_type == MetricType::Counter => {
            let base = name.strip_suffix("_total").filter(|base| !base.is_empty());
            match base.filter(|base| !known.contains_key(*base) && !all.contains(base)) {
                Some(base) => (base, Some(own.clone())),
                None => (name, Some(Metadata { metric_type: MetricType::Unknown, ..own.clone() })),
            }
        }
        (Some(own), _) => (name, Some(own.clone())),
        (None, Some((base, metadata))) => (base, Some(metadata.clone())),
        (None, None) => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(names: &[&str], known: &[(&str, MetricType)]) -> Vec<(String, Option<MetricType>, String)> {
        let known = known.iter().map(|(name, metric_type)| {
            ((*name).to_owned(), Metadata { metric_type: *metric_type, ..Metadata::default() })
        });
        let names = names.iter().map(|n| (*n).to_owned()).collect();
        let families = group(names, known.collect());
        families.into_iter().map(|f| (f.name, f.metadata.map(|m| m.metric_type), f.names.join(" "))).collect()
    }

    fn family(
        name: &str,
        metric_type: Option<MetricType>,
        names: &str,
    ) -> (String, Option<MetricType>, String) {
        (name.to_owned(), metric_type, names.to_owned())
    }

    #[test]
    fn names_find_their_families() {
        use MetricType::{Counter, Gauge, Histogram, Info, Summary, Unknown};
        let names =
            ["h_bucket", "h_count", "h_sum", "s", "s_count", "c_total", "c_created", "b_info", "x_sum", "u"];
        let known =
            [("h", Histogram), ("s", Summary), ("c", Counter), ("b", Info), ("x", Gauge), ("u", Unknown)];
        assert_eq!(
            grouped(&names, &known),
            [
                family("b", Some(Info), "b_info"),
                family("c", Some(Counter), "c_created c_total"),
                family("h", Some(Histogram), "h_bucket h_count h_sum"),
                family("s", Some(Summary), "s s_count"),
                family("u", Some(Unknown), "u"),
                family("x_sum", None, "x_sum"),
            ]
        );
    }

    #[test]
    fn counters_of_text_lose_their_ending_where_they_can() {
        use MetricType::{Counter, Gauge, Unknown};
        let text =
            [("a_total", Counter), ("b_total", Counter), ("b", Gauge), ("c", Counter), ("_total", Counter)];
        assert_eq!(
            grouped(&["a_total", "b_total", "b", "c", "_total"], &text),
            [
                family("_total", Some(Unknown), "_total"),
                family("a", Some(Counter), "a_total"),
                family("b", Some(Gauge), "b"),
                family("b_total", Some(Unknown), "b_total"),
                family("c", Some(Unknown), "c"),
            ]
        );
        let both = [("a_total", Counter), ("a", Counter)];
        assert_eq!(grouped(&["a_total"], &both), [family("a", Some(Counter), "a_total")]);
        assert_eq!(
            grouped(&["a_total", "a"], &[("a_total", Counter)]),
            [family("a", None, "a"), family("a_total", Some(Unknown), "a_total")]
        );
    }
}
