//! The rules of OpenMetrics 1.0 beyond syntax: what `check --strict` adds to the grammar.
//!
//! ```text
//!   event ─▶ Strict ─┬─ metadata: each word once, before the samples, units where they may be
//!                    ├─ family: which samples belong to it; its names clash with no other's
//!                    ├─ group: the samples of one label set stand together, in order of time
//!                    ├─ sample: values and labels that the type allows; exemplars where they may be
//!                    └─ buckets: of each histogram (see histogram.rs)
//! ```
//!
//! A sample that does not fit the family before it begins a family of unknown type. Learnt from the
//! specification, its conformance suite and the reference parser of Prometheus's Python client;
//! agreement with the verdicts of both is a test.
//!
//! Cost: a set of the names of all families and of the groups of one family; the rest is constant.

use std::collections::{BTreeMap, HashSet};

use super::histogram::Buckets;
use super::labels::LabelBuffer;
use super::openmetrics;
use super::parser::{Event, SampleEvent};
use crate::MetricType;

/// The most characters in the labels of one exemplar.
const MAX_EXEMPLAR_CHARS: usize = 128;

/// The verdict on one event: `Err` says which rule it breaks.
pub(crate) type Verdict = Result<(), &'static str>;

/// Checks a stream of events against the specification.
#[derive(Debug, Default)]
pub(crate) struct Strict {
    names: HashSet<String>,
    family: Option<Family>,
    labels: LabelBuffer,
}

/// The family that is being read.
#[derive(Debug, Default)]
struct Family {
    name: String,
    metric_type: Option<MetricType>,
    unit: Option<String>,
    has_help: bool,
    has_samples: bool,
    group: Option<Group>,
    groups: HashSet<Labels>,
    /// Series of the current group with the current timestamp.
    repeated: HashSet<(String, Labels)>,
    buckets: Buckets,
}

/// Labels, sorted.
type Labels = BTreeMap<String, String>;

#[derive(Debug, PartialEq)]
struct Group {
    labels: Labels,
    timestamp_ms: Option<i64>,
}

impl Strict {
    /// The verdict on the next event. After an error the state is not to be used again.
    pub(crate) fn event(&mut self, event: &Event<'_>) -> Verdict {
        match event {
            Event::Type(family, metric_type) => {
                let family = self.metadata(family.unescaped())?;
                match family.metric_type.replace(*metric_type) {
                    Some(_) => Err("more than one TYPE for the metric family"),
                    None => Ok(()),
                }
            }
            Event::Help(family, _) => {
                let family = self.metadata(family.unescaped())?;
                match std::mem::replace(&mut family.has_help, true) {
                    true => Err("more than one HELP for the metric family"),
                    false => Ok(()),
                }
            }
            Event::Unit(family, unit) => {
                let family = self.metadata(family.unescaped())?;
                match family.unit.replace((*unit).to_owned()) {
                    Some(_) => Err("more than one UNIT for the metric family"),
                    None => Ok(()),
                }
            }
            Event::Sample(sample) => self.sample(sample),
            Event::NativeHistogram(sample) => self.native_histogram(sample),
            Event::Comment(_) => Ok(()),
            Event::Eof => self.close(),
        }
    }

    /// The family that a metadata line belongs to.
    fn metadata(&mut self, name: String) -> Result<&mut Family, &'static str> {
        match &self.family {
            Some(family) if family.name == name && family.has_samples => {
                return Err("metadata of the metric family after its samples");
            }
            Some(family) if family.name == name => {}
            _ => self.open(name)?,
        }
        Ok(self.family.get_or_insert_default())
    }

    fn open(&mut self, name: String) -> Verdict {
        self.close()?;
        self.family = Some(Family { name, ..Family::default() });
        Ok(())
    }

    /// The end of a family: its names must be its own, its unit allowed, its last histogram whole.
    fn close(&mut self) -> Verdict {
        let Some(mut family) = self.family.take() else { return Ok(()) };
        let metric_type = family.metric_type.unwrap_or_default();
        let mut names: Vec<&str> = suffixes(metric_type).to_vec();
        names.extend((!names.contains(&"")).then_some(""));
        for suffix in names {
            if !self.names.insert(format!("{}{suffix}", family.name)) {
                return Err("the names of this metric family clash with those of one before it");
            }
        }
        let has_unit = family.unit.as_deref().is_some_and(|unit| !unit.is_empty());
        if has_unit && matches!(metric_type, MetricType::Info | MetricType::StateSet) {
            return Err("a metric family of this type has no unit");
        }
        match is_histogram(metric_type) {
            true => family.buckets.finish(),
            false => Ok(()),
        }
    }

    fn sample(&mut self, sample: &SampleEvent<'_>) -> Verdict {
        let (name, labels) = self.read(sample)?;
        let suffix = self.belongs(&name)?;
        let Some(family) = &mut self.family else { return Ok(()) };
        family.has_samples = true;
        let typ = family.metric_type.unwrap_or_default();
        label_rules(typ, &suffix, &family.name, &labels)?;
        value_rules(typ, &suffix, sample.value())?;
        exemplar_rules(typ, &suffix, sample)?;
        let repeated = family.group_rules(&name, &labels, &suffix, sample.timestamp_ms())?;
        if !repeated && is_histogram(typ) && !suffix.is_empty() {
            let group = group_labels(MetricType::Histogram, &suffix, &family.name, &labels);
            let bound = labels.get("le").map(String::as_str);
            family.buckets.sample(group, sample.timestamp_ms(), &suffix, bound, sample.value())?;
        }
        Ok(())
    }

    /// A native histogram: its form was checked by the grammar, its family must be one of histograms.
    fn native_histogram(&mut self, sample: &SampleEvent<'_>) -> Verdict {
        let (name, _) = self.read(sample)?;
        match &mut self.family {
            Some(family) if family.name == name && family.metric_type == Some(MetricType::Histogram) => {
                family.has_samples = true;
                Ok(())
            }
            _ => Err("a native histogram outside of a metric family of type histogram"),
        }
    }

    /// Name and labels of a sample; no label may stand twice.
    fn read(&mut self, sample: &SampleEvent<'_>) -> Result<(String, Labels), &'static str> {
        sample.labels_with(&mut self.labels, None);
        let mut labels = Labels::new();
        for (name, value) in self.labels.iter() {
            if labels.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err("a label name stands twice");
            }
        }
        let name = labels.remove("__name__").unwrap_or_default();
        Ok((name, labels))
    }

    /// Which part of its family a sample is; begins a family of unknown type if it fits none.
    fn belongs(&mut self, name: &str) -> Result<String, &'static str> {
        let suffix = self.family.as_ref().and_then(|family| {
            let suffix = name.strip_prefix(family.name.as_str())?;
            suffixes(family.metric_type.unwrap_or_default()).contains(&suffix).then(|| suffix.to_owned())
        });
        match suffix {
            Some(suffix) => Ok(suffix),
            None => {
                self.open(name.to_owned())?;
                self.family.get_or_insert_default().metric_type = Some(MetricType::Unknown);
                Ok(String::new())
            }
        }
    }
}

impl Family {
    /// Samples of a group stand together, all with or all without time, and time goes on.
    /// Says whether the series stood here with the same time already.
    fn group_rules(
        &mut self,
        name: &str,
        labels: &Labels,
        suffix: &str,
        timestamp_ms: Option<i64>,
    ) -> Result<bool, &'static str> {
        let typ = self.metric_type.unwrap_or_default();
        let group = group_labels(typ, suffix, &self.name, labels);
        let mut same_time = false;
        match &self.group {
            Some(last) if last.labels == group => {
                if last.timestamp_ms.is_some() != timestamp_ms.is_some() {
                    return Err("samples with and without timestamp in one group of labels");
                }
                if last.timestamp_ms > timestamp_ms && typ != MetricType::Info {
                    return Err("the timestamp is before that of the sample before in its group of labels");
                }
                same_time = last.timestamp_ms == timestamp_ms;
            }
            Some(_) if self.groups.contains(&group) => {
                return Err("samples of one group of labels stand apart");
            }
            _ => {}
        }
        if !same_time {
            self.repeated.clear();
        }
        self.groups.insert(group.clone());
        self.group = Some(Group { labels: group, timestamp_ms });
        Ok(!self.repeated.insert((name.to_owned(), labels.clone())))
    }
}

/// The suffixes that samples of a family of this type have.
fn suffixes(metric_type: MetricType) -> &'static [&'static str] {
    match metric_type {
        MetricType::Counter => &["_total", "_created"],
        MetricType::Summary => &["", "_count", "_sum", "_created"],
        MetricType::Histogram => &["_count", "_sum", "_bucket", "_created"],
        MetricType::GaugeHistogram => &["_gcount", "_gsum", "_bucket"],
        MetricType::Info => &["_info"],
        _ => &[""],
    }
}

fn is_histogram(metric_type: MetricType) -> bool {
    matches!(metric_type, MetricType::Histogram | MetricType::GaugeHistogram)
}

/// The labels without that which tells the parts of one metric apart.
fn group_labels(typ: MetricType, suffix: &str, family: &str, labels: &Labels) -> Labels {
    let mut group = labels.clone();
    match (typ, suffix) {
        (MetricType::Info, _) => group.clear(),
        (MetricType::Summary, "") => drop(group.remove("quantile")),
        (MetricType::StateSet, _) => drop(group.remove(family)),
        (MetricType::Histogram | MetricType::GaugeHistogram, "_bucket") => drop(group.remove("le")),
        _ => {}
    }
    group
}

fn label_rules(typ: MetricType, suffix: &str, family: &str, labels: &Labels) -> Verdict {
    match (typ, suffix) {
        (MetricType::StateSet, _) if !labels.contains_key(family) => {
            Err("a sample of a stateset lacks the label that has the family's name")
        }
        (MetricType::Histogram | MetricType::GaugeHistogram, "_bucket") => match labels.get("le") {
            Some(bound) if number(bound).is_some_and(|v| !v.is_nan()) => Ok(()),
            _ => Err("a bucket needs a label le that is a number, infinity spelled +Inf"),
        },
        (MetricType::Summary, "") => match labels.get("quantile").and_then(|q| number(q)) {
            Some(q) if (0.0..=1.0).contains(&q) => Ok(()),
            _ => Err("a quantile needs a label quantile from 0 to 1"),
        },
        _ => Ok(()),
    }
}

/// A number of a label; infinity has one spelling only.
pub(crate) fn number(text: &str) -> Option<f64> {
    let v = super::number::value(text.as_bytes())?;
    (v != f64::INFINITY || text == "+Inf").then_some(v)
}

fn value_rules(typ: MetricType, suffix: &str, v: f64) -> Verdict {
    if matches!(suffix, "_bucket" | "_count" | "_gcount") && (v.fract() != 0.0 || !v.is_finite()) {
        return Err("the value of a bucket or count must be an integer");
    }
    let counts = matches!(suffix, "_total" | "_sum" | "_count" | "_bucket" | "_gcount");
    if (counts || suffix == "_gsum") && v.is_nan() {
        return Err("the value of a counter, count, bucket or sum cannot be NaN");
    }
    if counts && v < 0.0 {
        return Err("the value of a counter, count, bucket or sum cannot be negative");
    }
    match typ {
        MetricType::StateSet if v != 0.0 && v != 1.0 => Err("the value of a stateset is 0 or 1"),
        MetricType::Info if v != 1.0 => Err("the value of an info is 1"),
        MetricType::Summary if suffix.is_empty() && v < 0.0 => {
            Err("the value of a quantile cannot be negative")
        }
        _ => Ok(()),
    }
}

fn exemplar_rules(typ: MetricType, suffix: &str, sample: &SampleEvent<'_>) -> Verdict {
    let Some(labels) = sample.exemplar_labels() else { return Ok(()) };
    let allowed = match suffix {
        "_total" => typ == MetricType::Counter,
        "_bucket" => is_histogram(typ),
        _ => false,
    };
    if !allowed {
        return Err("only buckets and counters (_total) have exemplars");
    }
    match openmetrics::exemplar_chars(labels) > MAX_EXEMPLAR_CHARS {
        true => Err("the labels of the exemplar have more than 128 characters"),
        false => Ok(()),
    }
}
