//! Values of a label, sorted, each once: their texts back to back, so that a million of them are two allocations.

use std::cmp::Ordering;

/// Sorted, unique texts.
#[derive(Debug, Default)]
pub(super) struct Values {
    text: String,
    ends: Vec<usize>,
}

impl Values {
    /// Adds one that is greater than all so far.
    pub(super) fn push(&mut self, value: &str) {
        self.text.push_str(value);
        self.ends.push(self.text.len());
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut from = 0;
        self.ends.iter().map(move |&end| {
            let value = self.text.get(from..end).unwrap_or_default();
            from = end;
            value
        })
    }

    /// Those of all, united two by two.
    pub(super) fn united(mut all: Vec<Values>) -> Values {
        while all.len() > 1 {
            let one_is_left = if all.len() % 2 == 1 { all.pop() } else { None };
            let pairs = all.as_chunks::<2>().0.iter().map(|[a, b]| a.or(b));
            all = pairs.chain(one_is_left).collect();
        }
        all.pop().unwrap_or_default()
    }

    /// Those that are in one of the two.
    fn or(&self, other: &Values) -> Values {
        let mut out = Values::default();
        let (mut a, mut b) = (self.iter().peekable(), other.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (Some(a), Some(b)) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return out,
            };
            let of_a = if order.is_le() { a.next() } else { None };
            let of_b = if order.is_ge() { b.next() } else { None };
            if let Some(value) = of_a.or(of_b) {
                out.push(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Values {
        let mut out = Values::default();
        texts.iter().for_each(|text| out.push(text));
        out
    }

    #[test]
    fn a_union_has_each_once_in_order() {
        let cases: [(&[&str], &[&str]); 5] = [
            (&[], &[]),
            (&["a"], &[]),
            (&["a", "c", "e"], &["b", "c", "f", "g"]),
            (&["x", "y"], &["x", "y"]),
            (&["", "ä"], &["b"]),
        ];
        for (a, b) in cases {
            let mut expected: Vec<&str> = a.iter().chain(b).copied().collect();
            expected.sort_unstable();
            expected.dedup();
            for (a, b) in [(a, b), (b, a)] {
                let all = Values::united(vec![values(a), values(b), values(a)]);
                assert_eq!(all.iter().collect::<Vec<_>>(), expected);
            }
        }
    }
}
