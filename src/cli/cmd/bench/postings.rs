//! The series of `bench select`, and what it asks of them.
//!
//! ```text
//!   i    0…, 1…, 2…          each value has the same combinations of n and j:
//!   n,j  (0…, foo) (0…, bar) (0_0…, bar) (1_0…, bar) (2_0…, foo)   (1…, foo) (1…, bar) …
//! ```
//!
//! All values but those of j end in the same 40 bytes. This is the shape of the benchmark of Prometheus's index, without
//! its ten series of a label `a`. Since every value of i has the same combinations, how many series a selector has follows
//! from looking at each value and at each combination alone: that is what answers are compared with.

use silverback::{AppendError, Labels, Matcher, Selector};

use crate::failure::Failure;

/// What values end in.
const SUFFIX: &str = "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd";
/// Series of one number in n.
const PER_NUMBER: u32 = 5;

/// The parameters of the set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Distinct values of i.
    pub(crate) values: u32,
    /// Series of each.
    pub(crate) per_value: u32,
}

impl Shape {
    /// So many series, as far as they make whole values.
    pub(crate) fn new(series: u32, per_value: u32) -> Option<Shape> {
        let whole = per_value.is_multiple_of(PER_NUMBER) && series.is_multiple_of(per_value);
        whole.then_some(Shape { values: series / per_value.max(1), per_value })
    }

    /// The labels of the series of one value, one after the other.
    pub(crate) fn labels(self, value: u32) -> impl Iterator<Item = Result<Labels, AppendError>> {
        let i = format!("{value}{SUFFIX}");
        self.combinations().map(move |(n, j)| Labels::from_pairs([("i", i.as_str()), ("j", j), ("n", &n)]))
    }

    fn combinations(self) -> impl Iterator<Item = (String, &'static str)> {
        const KINDS: [(&str, &str); 5] =
            [("", "foo"), ("", "bar"), ("0_", "bar"), ("1_", "bar"), ("2_", "foo")];
        let numbers = 0..self.per_value / PER_NUMBER;
        numbers.flat_map(|n| KINDS.map(|(prefix, j)| (format!("{prefix}{n}{SUFFIX}"), j)))
    }

    /// How many series a selector has.
    pub(crate) fn expected(self, selector: &Selector) -> u64 {
        let takes = |name: &str, value: &str| {
            let of_name = |m: &&Matcher| m.name() == name;
            selector.matchers().iter().filter(of_name).all(|m| m.matches(value))
        };
        let others = |m: &Matcher| ["i", "j", "n"].contains(&m.name()) || m.matches("");
        if !selector.matchers().iter().all(others) {
            return 0;
        }
        let values = (0..self.values).filter(|v| takes("i", &format!("{v}{SUFFIX}"))).count() as u64;
        let combinations = self.combinations().filter(|(n, j)| takes("n", n) && takes("j", j)).count() as u64;
        values * combinations
    }
}

/// One question.
pub(crate) struct Question {
    /// What it is for.
    pub(crate) name: &'static str,
    /// In short, values without what they end in.
    pub(crate) text: &'static str,
    /// What is asked.
    pub(crate) selector: Selector,
}

/// The questions: what the goals speak of, then cases of Prometheus's own table.
/// `…` stands for what values end in; `@` for a value of i from the middle.
pub(crate) fn questions(shape: Shape) -> Result<Vec<Question>, Failure> {
    const QUESTIONS: [(&str, &str); 20] = [
        ("two exact, few", r#"{i="@…",n="1…"}"#),
        ("ten-way alternation", r#"{i=~"@…|1…|20…|300…|4…|57…|600…|7…|81…|900…",n="1…"}"#),
        ("prefix, 1 of 90 values", r#"{i=~"12.*"}"#),
        ("suffix, 1 of 10 values", r#"{i=~".*7…"}"#),
        ("infix, 1 of 30 values", r#"{i=~".*77.*"}"#),
        ("negative", r#"{n="1…",i!~".*7…"}"#),
        ("empty-matching", r#"{i="@…",absent=~"|x",n!="0_1…"}"#),
        ("nothing", r#"{i="@…",n="X…"}"#),
        ("Prometheus", r#"{n="1…"}"#),
        ("Prometheus", r#"{n="1…",j="foo"}"#),
        ("Prometheus", r#"{n="1…",j!="foo"}"#),
        ("Prometheus", r#"{j=~"foo|bar"}"#),
        ("Prometheus", r#"{i=~".*"}"#),
        ("Prometheus", r#"{i=~"1.*"}"#),
        ("Prometheus", r#"{i=~".*1"}"#),
        ("Prometheus", r#"{i!=""}"#),
        ("Prometheus", r#"{n="1…",i=~".*",j="foo"}"#),
        ("Prometheus", r#"{n="1…",i=~".*1.*",j="foo"}"#),
        ("Prometheus", r#"{n="1…",i=~".+",i!~".*2.*",j="foo"}"#),
        ("Prometheus", r#"{i!~"1.*",i!~"2.*",i!~"3.*",i!~"4.*"}"#),
    ];
    let middle = (shape.values / 2).to_string();
    let question = |(name, text): (&'static str, &'static str)| {
        let selector = text.replace('@', &middle).replace('…', SUFFIX).parse()?;
        Ok(Question { name, text, selector })
    };
    QUESTIONS.into_iter().map(question).collect()
}
