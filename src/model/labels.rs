//! A label set in one shared allocation, in a canonical byte form that is its own key.
//!
//! ```text
//!   canonical form:  (name_bytes:varint name value_bytes:varint value)*
//! ```
//!
//! Pairs are sorted by name as bytes and unique; a pair with an empty value is left out, since an
//! empty value means that the label is absent. Equal sets have equal bytes, so equality and hash
//! work on bytes. The order is Prometheus's: pair by pair, name before value, a prefix first.
//! The same bytes are what write-ahead log and spill runs store.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::error::AppendError;

/// The label that holds the metric name.
pub(crate) const METRIC_NAME: &str = "__name__";
/// The most pairs in one set.
pub(crate) const MAX_LABELS: usize = 1_024;
/// The longest label name, in bytes.
pub(crate) const MAX_LABEL_NAME_BYTES: usize = 1_024;
/// The longest label value, in bytes.
pub(crate) const MAX_LABEL_VALUE_BYTES: usize = 65_535;
/// No fewer bytes than most canonical forms have.
const USUAL_BYTES: usize = 256;
/// The largest canonical form, in bytes.
pub(crate) const MAX_LABELS_BYTES: usize = 131_072;

/// The identity of a series: a sorted set of unique (name, value) pairs, UTF-8.
///
/// Cloning is cheap (one shared allocation). The metric name is the value of `__name__`.
///
/// ```
/// use silverback::labels;
/// let up = labels!("up", "job" => "node")?;
/// assert_eq!(up.to_string(), r#"{__name__="up", job="node"}"#);
/// # Ok::<(), silverback::AppendError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// Sorts the pairs, drops those with an empty value, and checks the rest.
    ///
    /// ```
    /// use silverback::Labels;
    /// let labels = Labels::from_pairs([("job", "node"), ("__name__", "up"), ("zone", "")])?;
    /// assert_eq!(labels.to_string(), r#"{__name__="up", job="node"}"#); // sorted; an empty value is no label
    /// assert!(Labels::from_pairs([("job", "a"), ("job", "b")]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AppendError::BadLabels`] for an empty set, an empty or repeated name, or a size above
    /// its maximum: 1,024 pairs, 1,024 bytes a name, 65,535 bytes a value, 128 KiB in all.
    pub fn from_pairs<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Labels, AppendError> {
        let mut pairs = pairs.into_iter();
        let mut sorted = Sorted { bytes: Vec::with_capacity(USUAL_BYTES), name: 0..0, count: 0 };
        let mut odd = None;
        for (name, value) in pairs.by_ref() {
            if !sorted.push(name.as_ref(), value.as_ref()) {
                odd = Some((name, value));
                break;
            }
        }
        if odd.is_none() && !sorted.bytes.is_empty() && sorted.bytes.len() <= MAX_LABELS_BYTES {
            return Ok(Labels(sorted.bytes.into()));
        }
        // Not in order, or not valid: judged all at once.
        let rest: Vec<(K, V)> = odd.into_iter().chain(pairs).collect();
        let mut refs: Vec<(&str, &str)> = Pairs(&sorted.bytes).collect();
        refs.extend(rest.iter().map(|(k, v)| (k.as_ref(), v.as_ref())));
        Labels::from_unsorted(&mut refs)
    }

    /// As [`from_pairs`](Labels::from_pairs), with the caller's buffer of pairs, which it reorders.
    pub(crate) fn from_unsorted(pairs: &mut Vec<(&str, &str)>) -> Result<Labels, AppendError> {
        // An empty name is an error even if its value is empty; a repeated one too.
        pairs.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let repeated = pairs.iter().zip(pairs.iter().skip(1)).any(|(a, b)| a.0 == b.0);
        if repeated || pairs.iter().any(|(name, _)| name.is_empty()) {
            return Err(AppendError::BadLabels);
        }
        pairs.retain(|(_, value)| !value.is_empty());
        if pairs.is_empty() || pairs.len() > MAX_LABELS {
            return Err(AppendError::BadLabels);
        }
        let mut bytes = Vec::with_capacity(pairs.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
        for (name, value) in pairs.iter() {
            if name.len() > MAX_LABEL_NAME_BYTES || value.len() > MAX_LABEL_VALUE_BYTES {
                return Err(AppendError::BadLabels);
            }
            push_part(&mut bytes, name);
            push_part(&mut bytes, value);
        }
        match bytes.len() <= MAX_LABELS_BYTES {
            true => Ok(Labels(bytes.into())),
            false => Err(AppendError::BadLabels),
        }
    }

    /// Checks bytes from outside: `None` unless they are the canonical form of a label set.
    pub(crate) fn from_canonical(bytes: &[u8]) -> Option<Labels> {
        if bytes.is_empty() || bytes.len() > MAX_LABELS_BYTES {
            return None;
        }
        // What is ASCII altogether is valid UTF-8 wherever it is cut.
        let ascii = bytes.is_ascii();
        let part = |bytes, maximum| match ascii {
            true => raw_part(bytes).filter(|(part, _)| part.len() <= maximum),
            false => checked_part(bytes, maximum).map(|(part, rest)| (part.as_bytes(), rest)),
        };
        let mut previous: Option<&[u8]> = None;
        let mut rest = bytes;
        let mut count = 0usize;
        while !rest.is_empty() {
            let (name, after) = part(rest, MAX_LABEL_NAME_BYTES)?;
            let (value, after) = part(after, MAX_LABEL_VALUE_BYTES)?;
            if name.is_empty() || value.is_empty() || previous.is_some_and(|p| p >= name) {
                return None;
            }
            previous = Some(name);
            rest = after;
            count += 1;
        }
        (count <= MAX_LABELS).then(|| Labels(bytes.into()))
    }

    /// The canonical form.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A set of pairs in canonical form, each as [`canonical_pairs`](Labels::canonical_pairs) gave it, sorted, with distinct names.
    pub(crate) fn from_canonical_pairs<'a>(pairs: impl Iterator<Item = &'a [u8]> + Clone) -> Labels {
        let mut bytes = Vec::with_capacity(pairs.clone().map(<[u8]>::len).sum());
        pairs.for_each(|pair| bytes.extend_from_slice(pair));
        Labels(bytes.into())
    }

    /// The canonical form, pair by pair.
    pub(crate) fn canonical_pairs(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (_, value) = raw_part(rest)?;
            let (_, after) = raw_part(value)?;
            let (pair, _) = rest.split_at_checked(rest.len() - after.len())?;
            rest = after;
            Some(pair)
        })
    }

    /// Name and value of a pair in canonical form.
    pub(crate) fn name_and_value(pair: &[u8]) -> Option<(&str, &str)> {
        Pairs(pair).next()
    }

    /// The names and values of a canonical form, as bytes.
    pub(crate) fn parts(mut canonical: &[u8]) -> impl Iterator<Item = &[u8]> {
        std::iter::from_fn(move || {
            let (part, rest) = raw_part(canonical)?;
            canonical = rest;
            Some(part)
        })
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        Pairs(&self.0)
    }

    /// The value of one label, or `None` if it is absent. Cost: linear in the pairs.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The metric name: the value of `__name__`, or the empty string.
    pub fn name(&self) -> &str {
        self.value(METRIC_NAME).unwrap_or("")
    }
}

/// The canonical form of pairs that come in order, as most do.
struct Sorted {
    bytes: Vec<u8>,
    /// The name of the last one.
    name: std::ops::Range<usize>,
    count: usize,
}

impl Sorted {
    /// Adds a pair; `false` if it does not follow those before, or is not valid, or is no label.
    fn push(&mut self, name: &str, value: &str) -> bool {
        let follows = self.bytes.get(self.name.clone()).is_some_and(|last| last < name.as_bytes());
        let fits = name.len() <= MAX_LABEL_NAME_BYTES && value.len() <= MAX_LABEL_VALUE_BYTES;
        if !follows || !fits || value.is_empty() || self.count == MAX_LABELS {
            return false;
        }
        self.count += 1;
        push_part(&mut self.bytes, name);
        self.name = self.bytes.len() - name.len()..self.bytes.len();
        push_part(&mut self.bytes, value);
        true
    }
}

/// Appends the canonical form of a pair.
pub(crate) fn push_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    push_part(out, name);
    push_part(out, value);
}

/// Name and value of a pair in canonical form.
pub(crate) fn pair_of(pair: &[u8]) -> Option<(&str, &str)> {
    Pairs(pair).next()
}

fn push_part(out: &mut Vec<u8>, part: &str) {
    let mut n = part.len() as u64;
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push((n & 0x7f) as u8);
    out.extend_from_slice(part.as_bytes());
}

/// Reads a length of at most three bytes, in its shortest form.
fn part_bytes(bytes: &[u8]) -> Option<(usize, &[u8])> {
    if let Some((&n, rest)) = bytes.split_first().filter(|(n, _)| **n < 0x80) {
        return Some((usize::from(n), rest));
    }
    let mut n = 0usize;
    for (i, &b) in bytes.iter().take(3).enumerate() {
        n |= usize::from(b & 0x7f) << (7 * i);
        if b < 0x80 {
            let shortest = i == 0 || b != 0;
            return shortest.then_some(()).and_then(|()| Some((n, bytes.get(i + 1..)?)));
        }
    }
    None
}

fn checked_part(bytes: &[u8], maximum: usize) -> Option<(&str, &[u8])> {
    let (n, rest) = part_bytes(bytes)?;
    if n > maximum {
        return None;
    }
    let (part, rest) = rest.split_at_checked(n)?;
    Some((std::str::from_utf8(part).ok()?, rest))
}

/// Walks a canonical form; what was checked at construction is not checked for errors again.
struct Pairs<'a>(&'a [u8]);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = checked_part(self.0, MAX_LABEL_NAME_BYTES)?;
        let (value, rest) = checked_part(rest, MAX_LABEL_VALUE_BYTES)?;
        self.0 = rest;
        Some((name, value))
    }
}

impl Ord for Labels {
    /// Part by part as bytes, which is the order of UTF-8 strings too. Sorting a million series compares twenty million
    /// times, so that nothing is validated again, and parts are looked for only to find the one in which the first
    /// difference stands.
    fn cmp(&self, other: &Labels) -> Ordering {
        let same = shared_bytes(&self.0, &other.0);
        let (mut at, mut next) = (0, 0);
        while next <= same {
            at = next;
            let Some((_, rest)) = raw_part(self.0.get(at..).unwrap_or_default()) else {
                // All parts of this set are also the first of the other.
                return self.0.len().cmp(&other.0.len());
            };
            next = self.0.len() - rest.len();
        }
        part_at(&self.0, at).cmp(&part_at(&other.0, at))
    }
}

/// How many bytes from the first on are the same.
fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    let (mut words_a, mut words_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let words = words_a.by_ref().zip(words_b.by_ref()).take_while(|(a, b)| a == b).count() * 8;
    let rest = a.iter().skip(words).zip(b.iter().skip(words));
    words + rest.take_while(|(a, b)| a == b).count()
}

/// The name or value that begins there; `None` at the end.
fn part_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    raw_part(bytes.get(at..)?).map(|(part, _)| part)
}

/// The next name or value as bytes; `None` at the end.
fn raw_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (n, rest) = part_bytes(bytes)?;
    rest.split_at_checked(n)
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `{__name__="up", job="node"}`, values quoted with `\\`, `\"` and `\n` escaped.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{name}=\"")?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => write!(f, "{c}")?,
                }
            }
            f.write_str("\"")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Labels({self})")
    }
}

/// Builds [`Labels`] from a metric name and `name => value` pairs; any `Display` value will do.
///
/// ```
/// let up = silverback::labels!("up", "job" => "node", "shard" => 3)?;
/// assert_eq!(up.value("shard"), Some("3"));
/// # Ok::<(), silverback::AppendError>(())
/// ```
///
/// # Errors
/// As [`Labels::from_pairs`].
#[macro_export]
macro_rules! labels {
    ($name:expr $(, $key:expr => $value:expr)* $(,)?) => {
        $crate::Labels::from_pairs([
            (::std::string::String::from("__name__"), ::std::string::ToString::to_string(&$name))
            $(, (::std::string::ToString::to_string(&$key), ::std::string::ToString::to_string(&$value)))*
        ])
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_drops_empty_values_and_keeps_one_form() {
        let a = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", "")]).unwrap();
        let b = Labels::from_pairs([("a", "1"), ("b", "2")]).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(Labels::from_canonical(a.as_bytes()), Some(a));
    }

    #[test]
    fn refuses_empty_repeated_and_oversized() {
        let bad = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).is_err();
        assert!(bad(&[]));
        assert!(bad(&[("a", "")]));
        assert!(bad(&[("", "x"), ("a", "b")]));
        assert!(bad(&[("a", "x"), ("a", "y")]));
        assert!(bad(&[("a", ""), ("a", "y")]));
        assert!(!bad(&[("a", &"x".repeat(MAX_LABEL_VALUE_BYTES))]));
        assert!(bad(&[("a", &"x".repeat(MAX_LABEL_VALUE_BYTES + 1))]));
        assert!(!bad(&[(&"x".repeat(MAX_LABEL_NAME_BYTES), "v")]));
        assert!(bad(&[(&"x".repeat(MAX_LABEL_NAME_BYTES + 1), "v")]));
    }

    #[test]
    fn order_is_that_of_prometheus() {
        let set = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
        assert!(set(&[("a", "1")]) < set(&[("a", "1"), ("b", "1")]));
        assert!(set(&[("a", "1"), ("b", "1")]) < set(&[("a", "1"), ("c", "0")]));
        assert!(set(&[("Z", "9"), ("__name__", "z")]) < set(&[("__name__", "a")]));
        assert!(set(&[("a", "10")]) < set(&[("a", "9")]));
    }

    #[test]
    fn order_is_that_of_the_pairs_as_strings() {
        let parts = ["a", "ab", "b", "é", "\u{1}", "zz", &"l".repeat(200)];
        let mut sets = Vec::new();
        for n in parts {
            for v in parts {
                sets.push(Labels::from_pairs([(n, v)]).unwrap());
                sets.push(Labels::from_pairs([("m", v), (n, n)]).unwrap());
            }
        }
        for a in &sets {
            for b in &sets {
                assert_eq!(a.cmp(b), a.iter().cmp(b.iter()), "{a} and {b}");
            }
        }
    }

    #[test]
    fn foreign_bytes_are_checked() {
        let good = Labels::from_pairs([("ab", "cd"), ("x", "y")]).unwrap();
        let bytes = good.as_bytes();
        for n in 0..bytes.len() {
            let cut = Labels::from_canonical(&bytes[..n]);
            assert!(cut.is_none() || n == 6, "a cut at {n} is no whole set");
        }
        assert!(Labels::from_canonical(b"\x01b\x01x\x01a\x01x").is_none(), "unsorted");
        assert!(Labels::from_canonical(b"\x01a\x01x\x01a\x01x").is_none(), "repeated");
        assert!(Labels::from_canonical(b"\x01a\x00").is_none(), "empty value");
        assert!(Labels::from_canonical(b"\x81\x00a\x01x").is_none(), "not the shortest length");
        assert!(Labels::from_canonical(b"\x01\xff\x01x").is_none(), "not UTF-8");
    }
}
