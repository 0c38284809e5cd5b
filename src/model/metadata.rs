//! What is known of a metric family besides its samples.

use std::fmt;

/// Type, unit and help of a metric family.
///
/// ```
/// use silverback::{MetricType, Metadata};
/// let metadata = Metadata {
///     metric_type: MetricType::Counter,
///     unit: "seconds".to_owned(),
///     help: "Time that the processors spent.".to_owned(),
/// };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The type that the exposition declared.
    pub metric_type: MetricType,
    /// The unit ("seconds"), or empty.
    pub unit: String,
    /// The help text, unescaped, or empty.
    pub help: String,
}

/// The types of OpenMetrics; Prometheus text uses the first five of them.
///
/// ```
/// use silverback::MetricType;
/// assert_eq!(MetricType::GaugeHistogram.to_string(), "gaugehistogram");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricType {
    /// Not declared.
    #[default]
    Unknown,
    /// Only goes up, or restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets.
    Histogram,
    /// Quantiles.
    Summary,
    /// Buckets that may go down.
    GaugeHistogram,
    /// Constant labels with the value 1.
    Info,
    /// A set of booleans.
    StateSet,
}

impl MetricType {
    /// Every type, in the order of their codes on disk.
    pub(crate) const ALL: [MetricType; 8] = [
        MetricType::Unknown,
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::Summary,
        MetricType::GaugeHistogram,
        MetricType::Info,
        MetricType::StateSet,
    ];

    /// The word in a `# TYPE` line of OpenMetrics.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Unknown => "unknown",
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::Summary => "summary",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
        }
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
