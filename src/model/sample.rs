//! A sample is a timestamp and a value, bit-exact for ever.

/// The value that says that a series ended: a NaN with a payload of its own, as in Prometheus.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// Whether a value is [`STALE`], by bits. Other NaNs are not.
///
/// ```
/// use silverback::{STALE, is_stale};
/// assert!(is_stale(STALE) && !is_stale(f64::NAN));
/// ```
pub fn is_stale(v: f64) -> bool {
    v.to_bits() == STALE.to_bits()
}

/// One sample: `t` in milliseconds since 1970 (any `i64` but `i64::MAX`), `v` with all its bits.
///
/// ```
/// use silverback::Sample;
/// let Sample { t, v } = Sample { t: 1_600_000_000_000, v: -0.0 };
/// assert!(t > 0 && v.is_sign_negative());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub t: i64,
    /// The value; NaN payloads and the sign of zero are kept.
    pub v: f64,
}

/// Samples as two columns of equal length, in time order.
///
/// ```
/// use silverback::Columns;
/// let mut columns = Columns::default();
/// columns.push(1_000, 0.5);
/// columns.push(2_000, 1.5);
/// let mean = columns.v.iter().sum::<f64>() / columns.len() as f64;
/// assert_eq!(mean, 1.0);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// Timestamps in milliseconds.
    pub t: Vec<i64>,
    /// Values, one for each timestamp.
    pub v: Vec<f64>,
}

impl Columns {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.t.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.t.is_empty()
    }

    /// Removes all samples and keeps the allocations.
    pub fn clear(&mut self) {
        self.t.clear();
        self.v.clear();
    }

    /// Appends one sample.
    #[inline]
    pub fn push(&mut self, t: i64, v: f64) {
        self.t.push(t);
        self.v.push(v);
    }
}
