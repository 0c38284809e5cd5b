//! Goal: every combination of matchers selects what Prometheus would. Method: a table of
//! combinations with the series that they must select (in the spirit of Prometheus's
//! `TestPostingsForMatchers`), a comparison with the naive filter on generated series and
//! matchers, and an index that counts what it is asked for.

use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::error::{Error, ErrorKind};
use crate::model::{Cancel, Labels, MatchOp, Selector};

fn index(series: &[Labels]) -> MemIndex {
    let mut index = MemIndex::default();
    for (id, labels) in series.iter().enumerate() {
        index.insert(id as u32, labels);
    }
    index
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied()).unwrap()
}

/// The series of the table: 0 to 5.
fn zoo() -> Vec<Labels> {
    vec![
        labels(&[("n", "1")]),
        labels(&[("n", "1"), ("i", "a")]),
        labels(&[("n", "1"), ("i", "b")]),
        labels(&[("n", "1"), ("i", "\n")]),
        labels(&[("n", "2")]),
        labels(&[("n", "2.5")]),
    ]
}

const TABLE: &[(&str, &[u32])] = &[
    // Equality, with and without the label.
    (r#"n="1""#, &[0, 1, 2, 3]),
    (r#"n="2""#, &[4]),
    (r#"n="3""#, &[]),
    (r#"n="1", i="a""#, &[1]),
    (r#"n="1", i="missing""#, &[]),
    (r#"missing="""#, &[0, 1, 2, 3, 4, 5]),
    (r#"missing="x""#, &[]),
    (r#"i="""#, &[0, 4, 5]),
    (r#"n="1", i="""#, &[0]),
    (r#"n="""#, &[]),
    (r#"n="1", n="1""#, &[0, 1, 2, 3]),
    (r#"n="1", n="2""#, &[]),
    // Inequality.
    (r#"n!="1""#, &[4, 5]),
    (r#"n!="3""#, &[0, 1, 2, 3, 4, 5]),
    (r#"i!="""#, &[1, 2, 3]),
    (r#"i!="a""#, &[0, 2, 3, 4, 5]),
    (r#"missing!="""#, &[]),
    (r#"missing!="x""#, &[0, 1, 2, 3, 4, 5]),
    (r#"n="1", i!="a""#, &[0, 2, 3]),
    (r#"n="1", i!="""#, &[1, 2, 3]),
    (r#"i!="a", n="1""#, &[0, 2, 3]),
    (r#"n!="1", n!="2""#, &[5]),
    (r#"n!="", i="""#, &[0, 4, 5]),
    (r#"i!="a", i!="b", i!="\n""#, &[0, 4, 5]),
    // Expressions.
    (r#"n=~"^1$""#, &[0, 1, 2, 3]),
    (r#"n=~"1|2""#, &[0, 1, 2, 3, 4]),
    (r#"n=~"2.*""#, &[4, 5]),
    (r#"n=~"2.+""#, &[5]),
    (r#"n=~"2""#, &[4]),
    (r#"n=~"[12]|x""#, &[0, 1, 2, 3, 4]),
    (r#"n=~"(1|2)(\\.5)?""#, &[0, 1, 2, 3, 4, 5]),
    (r#"n=~".*5""#, &[5]),
    (r#"n=~"\\d\\.\\d+""#, &[5]),
    (r#"n="1", i=~"^a$""#, &[1]),
    (r#"n="1", i=~"a?""#, &[0, 1]),
    (r#"i=~"""#, &[0, 4, 5]),
    (r#"i=~".""#, &[1, 2, 3]),
    (r#"i=~"a|b""#, &[1, 2]),
    (r#"i=~"a|""#, &[0, 1, 4, 5]),
    (r#"i=~"|z""#, &[0, 4, 5]),
    (r#"i=~".*""#, &[0, 1, 2, 3, 4, 5]),
    (r#"i=~".+""#, &[1, 2, 3]),
    (r#"i=~"(a|b)*""#, &[0, 1, 2, 4, 5]),
    (r#"i=~"[^a]*""#, &[0, 2, 3, 4, 5]),
    (r#"i=~"(?i:A)""#, &[1]),
    (r#"n="1", i=~".*""#, &[0, 1, 2, 3]),
    (r#"n="1", i=~".+""#, &[1, 2, 3]),
    (r#"missing=~".*""#, &[0, 1, 2, 3, 4, 5]),
    (r#"missing=~".+""#, &[]),
    (r#"missing=~"a|""#, &[0, 1, 2, 3, 4, 5]),
    // Negated expressions.
    (r#"n!~"^1$""#, &[4, 5]),
    (r#"n!~"1|2\\.5""#, &[4]),
    (r#"n!~"2.*""#, &[0, 1, 2, 3]),
    (r#"n!~".*2.*""#, &[0, 1, 2, 3]),
    (r#"n="1", i!~"^a$""#, &[0, 2, 3]),
    (r#"n="1", i!~"a?""#, &[2, 3]),
    (r#"i!~"""#, &[1, 2, 3]),
    (r#"i!~"a|b""#, &[0, 3, 4, 5]),
    (r#"i!~"a|""#, &[2, 3]),
    (r#"i!~".*""#, &[]),
    (r#"i!~".+""#, &[0, 4, 5]),
    (r#"i!~"[ab]+""#, &[0, 3, 4, 5]),
    (r#"i!~"[ab]*""#, &[3]),
    (r#"n="1", i!~".*""#, &[]),
    (r#"n="1", i!~".+""#, &[0]),
    (r#"missing!~".*""#, &[]),
    (r#"missing!~".+""#, &[0, 1, 2, 3, 4, 5]),
    (r#"missing!~"x""#, &[0, 1, 2, 3, 4, 5]),
    // Several on one label, in any order.
    (r#"n="1", i!="", i="a""#, &[1]),
    (r#"i="a", i!="", n="1""#, &[1]),
    (r#"n="1", i!="b", i=~"^(b|a).*$""#, &[1]),
    (r#"i!="b", i=~"^(b|a).*$""#, &[1]),
    (r#"i=~"a|b", i!~"b""#, &[1]),
    (r#"i!~"a", i!~"b""#, &[0, 3, 4, 5]),
    (r#"i!~"a", i!="""#, &[2, 3]),
    (r#"i=~".*", i!~".+", n=~"1|2""#, &[0, 4]),
    (r#"i=~".+", i=~"b.*""#, &[2]),
    (r#"n=~"1.*", n!~"1.+", n!="2""#, &[0, 1, 2, 3]),
    (r#"n=~"2.*", n=~".*5", i="", missing!="x""#, &[5]),
    (r#"n!="1", i!="a", missing="""#, &[4, 5]),
    (r#"n=~"3|4|5", i=~".*""#, &[]),
];

#[test]
fn the_table_of_combinations() {
    assert!(TABLE.len() >= 60);
    let index = index(&zoo());
    for (text, want) in TABLE {
        let selector: Selector = format!("{{{text}}}").parse().unwrap();
        let got: Vec<u32> =
            select(&index, selector.matchers(), &Cancel::default()).unwrap().into_iter().collect();
        assert_eq!(got, *want, "{text}");
        let mut reversed = selector.matchers().to_vec();
        reversed.reverse();
        assert_eq!(
            select(&index, &reversed, &Cancel::default()).unwrap().into_iter().collect::<Vec<_>>(),
            *want,
            "reversed: {text}"
        );
    }
    assert_eq!(select(&index, Selector::all().matchers(), &Cancel::default()).unwrap().len(), 6);
}

/// Counts what it is asked for, and answers from another index, or fails.
struct Counting<'a> {
    inner: &'a MemIndex,
    calls: Cell<[u32; 3]>,
    tested: Cell<u32>,
    fails: bool,
}

impl Counting<'_> {
    fn count(&self, which: usize) -> Result<()> {
        let mut calls = self.calls.get();
        calls[which] += 1;
        self.calls.set(calls);
        match self.fails {
            true => Err(Error::new(ErrorKind::Corrupt, "damaged")),
            false => Ok(()),
        }
    }
}

impl TermIndex for Counting<'_> {
    fn all(&self) -> Result<RoaringBitmap> {
        self.count(0)?;
        self.inner.all()
    }
    fn exact(&self, name: &str, value: &str) -> Result<RoaringBitmap> {
        self.count(1)?;
        self.inner.exact(name, value)
    }
    fn scan(
        &self,
        sought: Sought<'_>,
        keep: &mut dyn FnMut(&str) -> Result<bool>,
        out: &mut RoaringBitmap,
    ) -> Result<()> {
        self.count(2)?;
        let mut counted = |value: &str| {
            self.tested.set(self.tested.get() + 1);
            keep(value)
        };
        self.inner.scan(sought, &mut counted, out)
    }
}

#[test]
fn look_ups_before_scans_and_nothing_after_an_empty_result() {
    let inner = index(&zoo());
    // ([all, exact, scan] calls, values tested)
    let table = [
        (r#"{n="1"}"#, [0, 1, 0], 0),
        (r#"{n=~"1|2|3"}"#, [0, 3, 0], 0),
        (r#"{i=~".+x", n="3"}"#, [0, 1, 0], 0),
        (r#"{i=~".+x", n=~"2.+", n="1"}"#, [0, 1, 1], 2),
        (r#"{n=~"2[.].+"}"#, [0, 0, 1], 1),
        (r#"{n=~"[0-9]+"}"#, [0, 0, 1], 3),
        (r#"{n=~".*"}"#, [1, 0, 0], 0),
        (r#"{n=~".+"}"#, [0, 1, 0], 0),
        (r#"{missing!~"[a-z]+x"}"#, [1, 0, 1], 0),
        (r#"{missing=~"[a-z]*"}"#, [1, 1, 0], 0),
        (r#"{n!~".*", i=~"[a-z]+"}"#, [0, 0, 0], 0),
    ];
    for (text, calls, tested) in table {
        let index = Counting { inner: &inner, calls: Cell::default(), tested: Cell::default(), fails: false };
        let selector: Selector = text.parse().unwrap();
        select(&index, selector.matchers(), &Cancel::default()).unwrap();
        assert_eq!((index.calls.get(), index.tested.get()), (calls, tested), "{text}");
    }
}

#[test]
fn errors_of_the_index_are_passed_on() {
    let inner = index(&zoo());
    let index = Counting { inner: &inner, calls: Cell::default(), tested: Cell::default(), fails: true };
    for text in [r#"{n="1"}"#, r#"{n!="1"}"#, r#"{n=~"1|2"}"#, r#"{n=~"2[.].+"}"#, r#"{n=~"[0-9]*"}"#] {
        let selector: Selector = text.parse().unwrap();
        assert_eq!(
            select(&index, selector.matchers(), &Cancel::default()).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{text}"
        );
    }
}

#[test]
fn names_and_values_of_some_series() {
    let index = index(&zoo());
    assert_eq!(index.names().collect::<Vec<_>>(), ["i", "n"]);
    assert_eq!(index.values("n").collect::<Vec<_>>(), [("1", 4), ("2", 1), ("2.5", 1)]);
    assert_eq!(index.values("missing").count(), 0);
    let of = |ids: &[u32]| {
        let ids: RoaringBitmap = ids.iter().copied().collect();
        let mut names = BTreeSet::new();
        index.names_of(&ids, &mut names);
        (names.into_iter().collect::<Vec<_>>(), index.values_of("n", &ids))
    };
    assert_eq!(of(&[1, 4]), (vec!["i".into(), "n".into()], vec!["1".into(), "2".into()]));
    assert_eq!(of(&[5]), (vec!["n".into()], vec!["2.5".into()]));
    assert_eq!(of(&[]), (vec![], vec![]));
}

#[test]
fn lists_grow_and_shrink_through_all_their_forms() {
    let mut index = MemIndex::default();
    let shared = |id: u32| labels(&[("job", "x"), ("id", &id.to_string())]);
    let ids = |index: &MemIndex| index.exact("job", "x").unwrap().into_iter().collect::<Vec<_>>();
    let mut pairs = vec![Vec::new(); 100];
    for id in (0..100).rev() {
        pairs[id as usize] = index.insert(id, &shared(id)).to_vec();
        assert_eq!(ids(&index), (id..100).collect::<Vec<_>>());
    }
    assert_eq!((index.series_count(), index.pair_count()), (100, 101));
    for id in 0..100 {
        assert!(index.memory_bytes() > 0);
        let gone = remove(&mut index, id, pairs[id as usize].clone());
        assert_eq!(gone.len(), if id == 99 { 2 } else { 1 }, "job=x stays until the last");
        index.release(&gone);
        assert_eq!(ids(&index), (id + 1..100).collect::<Vec<_>>());
        assert_eq!(index.exact("id", &id.to_string()).unwrap().len(), 0);
    }
    assert_eq!((index.series_count(), index.pair_count(), index.memory_bytes()), (0, 0, 0));
    let again = index.insert(7, &shared(7)).to_vec();
    assert!(again.iter().all(|number| *number < 101), "numbers are given out again: {again:?}");
    remove(&mut index, 7, again);
    assert_eq!(index.names().count(), 0);
}

/// Removes a series that has these pairs; the numbers of those that are gone with it.
fn remove(index: &mut MemIndex, id: u32, pairs: Vec<u32>) -> Vec<u32> {
    let (ids, places) = (RoaringBitmap::from_iter([id]), pairs.len());
    let gone = index.leave_pairs(&ids, pairs.into_iter());
    index.leave_all(&ids, places);
    // As the head does, a few at a time.
    for from in 0..index.name_numbers() {
        index.leave_names(&ids, from..from + 1);
    }
    gone
}

fn any_labels() -> impl Strategy<Value = Labels> {
    let value =
        || prop_oneof![2 => Just(""), 1 => Just("a"), 1 => Just("b"), 1 => Just("ab"), 1 => Just("abc\n")];
    (value(), value(), value()).prop_map(|(a, b, c)| labels(&[("all", "1"), ("a", a), ("b", b), ("c", c)]))
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    let name =
        prop_oneof![4 => Just("a"), 4 => Just("b"), 4 => Just("c"), 1 => Just("all"), 1 => Just("none")];
    let value = prop_oneof![Just(""), Just("a"), Just("b"), Just("ab"), Just("x")];
    let pattern = prop_oneof![
        Just(""),
        Just("a"),
        Just("a|b"),
        Just("|ab"),
        Just(".*"),
        Just(".+"),
        Just("a.*"),
        Just("ab.+"),
        Just("[ab]+"),
        Just(".*b.*"),
        Just("(a|b)*"),
        Just("x.*"),
        Just("a?b?"),
        Just("[^b]*"),
        Just(".*\n"),
    ];
    (op, name, value, pattern).prop_map(|(op, name, value, pattern)| match op {
        MatchOp::Equal | MatchOp::NotEqual => Matcher::new(op, name, value).unwrap(),
        MatchOp::Regex | MatchOp::NotRegex => Matcher::new(op, name, pattern).unwrap(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn select_agrees_with_the_naive_filter(
        series in prop::collection::vec(any_labels(), 0..40),
        removed in prop::collection::vec(0usize..40, 0..10),
        matchers in prop::collection::vec(any_matcher(), 0..5),
    ) {
        let mut index = index(&series);
        for &id in removed.iter().filter(|id| **id < series.len()) {
            let mut pairs = index.insert(id as u32, &series[id]).to_vec();
            pairs.reverse();
            remove(&mut index, id as u32, pairs);
        }
        let naive: RoaringBitmap = (0..series.len() as u32)
            .filter(|id| !removed.contains(&(*id as usize)))
            .filter(|id| {
                let labels = &series[*id as usize];
                matchers.iter().all(|m| m.matches(labels.value(m.name()).unwrap_or("")))
            })
            .collect();
        prop_assert_eq!(select(&index, &matchers, &Cancel::default()).unwrap(), naive);
    }
}

/// An index that lacks some pairs for certain, and counts what else it is asked.
struct Filtering<'a>(Counting<'a>);

impl TermIndex for Filtering<'_> {
    fn all(&self) -> Result<RoaringBitmap> {
        self.0.all()
    }
    fn exact(&self, name: &str, value: &str) -> Result<RoaringBitmap> {
        self.0.exact(name, value)
    }
    fn may_have(&self, name: &str, value: &str) -> Result<bool> {
        Ok(!self.0.inner.exact(name, value)?.is_empty())
    }
    fn scan(
        &self,
        sought: Sought<'_>,
        keep: &mut dyn FnMut(&str) -> Result<bool>,
        out: &mut RoaringBitmap,
    ) -> Result<()> {
        self.0.scan(sought, keep, out)
    }
}

#[test]
fn nothing_is_looked_up_where_a_filter_has_none_of_the_literals() {
    let inner = index(&zoo());
    let asked = |text: &str| {
        let counting =
            Counting { inner: &inner, calls: Cell::default(), tested: Cell::default(), fails: false };
        let index = Filtering(counting);
        let selector: Selector = text.parse().unwrap();
        let found = select(&index, selector.matchers(), &Cancel::default()).unwrap();
        assert_eq!(found, select(&inner, selector.matchers(), &Cancel::default()).unwrap(), "{text}");
        index.0.calls.get()
    };
    for text in [r#"{n="9"}"#, r#"{n="1",i="none"}"#, r#"{i=~".+a.+",n=~"7|8"}"#] {
        assert_eq!(asked(text), [0, 0, 0], "{text}");
    }
    for text in [r#"{n=~"7|1"}"#, r#"{n!="9"}"#, r#"{n=~"|9"}"#, r#"{n=""}"#] {
        assert_ne!(asked(text), [0, 0, 0], "{text}");
    }
}

#[test]
fn a_cancelled_token_ends_scans_and_look_ups() {
    let many = (0..5_000).map(|i| labels(&[("i", &format!("value {i}"))]));
    let mut index = MemIndex::default();
    for (id, labels) in (0..).zip(many) {
        index.insert(id, &labels);
    }
    let cancel = Cancel::default();
    let ten: Vec<String> = (0..200).map(|i| format!("value {i}")).collect();
    for text in [r#"{i=~".*[0-9]7"}"#.to_owned(), format!(r#"{{i=~"{}"}}"#, ten.join("|"))] {
        let selector: Selector = text.parse().unwrap();
        assert!(!select(&index, selector.matchers(), &cancel).unwrap().is_empty());
        let cancelled = Cancel::default();
        cancelled.cancel();
        let error = select(&index, selector.matchers(), &cancelled).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }
}
