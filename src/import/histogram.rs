//! The buckets of one histogram at a time, checked as they come.
//!
//! A histogram is the samples of one group of labels with one timestamp. Its buckets stand in
//! rising order of their bounds with counts that do not fall, the last bound is `+Inf` and has
//! the count; a count needs a sum and a sum a count; negative bounds rule a `_sum` out, and without them
//! a `_gsum` cannot be negative.

use std::collections::BTreeMap;

use super::strict::{Verdict, number};

/// The state of the histogram that is being read.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    current: Option<(BTreeMap<String, String>, Option<i64>)>,
    bound: Option<f64>,
    value: f64,
    count: Option<f64>,
    has_sum: bool,
    has_gsum: bool,
    negative_bounds: bool,
    negative_gsum: bool,
}

impl Buckets {
    /// Takes one sample of a histogram family; `suffix` is not empty.
    pub(crate) fn sample(
        &mut self,
        group: BTreeMap<String, String>,
        timestamp_ms: Option<i64>,
        suffix: &str,
        bound: Option<&str>,
        value: f64,
    ) -> Verdict {
        let key = Some((group, timestamp_ms));
        if self.current != key {
            self.finish()?;
            *self = Buckets { current: key, ..Buckets::default() };
        }
        match suffix {
            "_bucket" => return self.bucket(bound.and_then(number).unwrap_or(f64::NAN), value),
            "_count" | "_gcount" => self.count = Some(value),
            "_sum" => self.has_sum = true,
            "_gsum" => {
                self.has_gsum = true;
                self.negative_gsum = value < 0.0;
            }
            _ => {}
        }
        Ok(())
    }

    fn bucket(&mut self, bound: f64, value: f64) -> Verdict {
        self.negative_bounds |= bound < 0.0;
        if self.bound.is_some_and(|last| bound <= last) {
            return Err("the buckets are not in rising order");
        }
        if value < self.value {
            return Err("a bucket holds less than the one before it");
        }
        self.bound = Some(bound);
        self.value = value;
        Ok(())
    }

    /// The end of a histogram, if one was begun.
    pub(crate) fn finish(&mut self) -> Verdict {
        if self.current.take().is_none() {
            return Ok(());
        }
        let has_any_sum = self.has_sum || self.has_gsum;
        if self.bound != Some(f64::INFINITY) {
            return Err("the histogram lacks its bucket le=\"+Inf\"");
        }
        if self.count.is_some_and(|count| count != self.value) {
            return Err("the count of the histogram is not that of its bucket le=\"+Inf\"");
        }
        if has_any_sum && self.count.is_none() {
            return Err("the histogram has a sum, but no count");
        }
        if self.count.is_some() && !has_any_sum && !self.negative_bounds {
            return Err("the histogram has a count, but no sum");
        }
        if self.negative_bounds && self.has_sum {
            return Err("a histogram with negative buckets has no _sum");
        }
        match self.negative_gsum && !self.negative_bounds {
            true => Err("the _gsum is negative, but no bucket is"),
            false => Ok(()),
        }
    }
}
