//! Selectors: text from strangers is parsed or refused, and what is parsed means what it says.
//!
//! ```text
//!   selector NUL value NUL value …      the values are tried beside those that the matchers themselves suggest
//! ```
//!
//! 1. What is parsed, written and parsed again is equal, as a whole and matcher by matcher.
//! 2. Every expression agrees with the plain automaton, which uses none of the short cuts.
//! 3. Asking an index gives the series for which every matcher holds, each series looked at alone.

use crate::error::ErrorKind;
use crate::model::{self, Cancel, Labels, MatchOp, Matcher, Selector};
use crate::postings::{self, MemIndex};

use super::choices::must;

/// Values are cut to this, so that no input is slow for its own size.
const MAX_VALUE_BYTES: usize = 48;
/// The most values that are tried.
const MAX_VALUES: usize = 16;

/// Checks one input.
pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.split('\0');
    let selector = match parts.next().unwrap_or_default().parse::<Selector>() {
        Ok(selector) => selector,
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::InvalidSelector, "{e}");
            return;
        }
    };
    check_text(&selector);
    let values = values(&selector, parts);
    for matcher in selector.matchers() {
        check_matcher(matcher, &values);
    }
    check_selection(&selector, &values);
}

fn check_text(selector: &Selector) {
    let text = selector.to_string();
    let again: Selector = must(text.parse(), "a selector is not read back");
    assert_eq!(&again, selector, "another selector is read back");
    assert_eq!(again.to_string(), text);
    for matcher in selector.matchers() {
        let again: Matcher = must(matcher.to_string().parse(), "a matcher is not read back");
        assert_eq!(&again, matcher, "another matcher is read back");
    }
}

/// Values of the input, and values at the edge of what the matchers take.
fn values<'a>(selector: &Selector, given: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut values: Vec<String> = vec![String::new(), "a".to_owned()];
    values.extend(given.map(str::to_owned).take(MAX_VALUES));
    for matcher in selector.matchers() {
        values.push(matcher.value().to_owned());
        values.push(matcher.prefix().to_owned());
        values.push(format!("{}x", matcher.prefix()));
        values.extend(matcher.literals().into_iter().flatten().take(3).cloned());
    }
    for value in &mut values {
        let end = (0..=MAX_VALUE_BYTES.min(value.len())).rfind(|&at| value.is_char_boundary(at));
        value.truncate(end.unwrap_or_default());
    }
    values.sort_unstable();
    values.dedup();
    values.truncate(MAX_VALUES);
    values
}

fn check_matcher(matcher: &Matcher, values: &[String]) {
    let negative = matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
    match matcher.op() {
        MatchOp::Equal | MatchOp::NotEqual => {
            for value in values {
                assert_eq!(matcher.matches(value), (matcher.value() == value) != negative, "{matcher}");
            }
        }
        MatchOp::Regex | MatchOp::NotRegex => model::fuzz_regex(matcher.value(), values),
    }
    if let Some(literals) = matcher.literals() {
        assert!(literals.is_sorted_by(|a, b| a < b), "the literals of {matcher} are not sorted and unique");
        assert!(literals.iter().all(|literal| matcher.matches(literal) != negative), "{matcher}");
        for value in values {
            let listed = literals.binary_search(value).is_ok();
            assert_eq!(matcher.matches(value) != negative, listed, "{matcher} and {value:?}");
        }
    }
}

/// Series with every value under every name that is asked for, and each name missing once.
fn check_selection(selector: &Selector, values: &[String]) {
    let mut names: Vec<&str> = selector.matchers().iter().map(Matcher::name).collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(4);
    let mut index = MemIndex::default();
    let mut series = Vec::new();
    for shift in 0..2 * values.len() {
        let pairs = names.iter().enumerate().filter_map(|(n, name)| {
            let value = values.get((shift * (n + 1) + n) % values.len())?;
            (shift % (n + 7) != 3).then_some((*name, value.as_str()))
        });
        let Ok(labels) = Labels::from_pairs(pairs) else { continue };
        let id = u32::try_from(series.len()).unwrap_or(u32::MAX);
        index.insert(id, &labels);
        series.push(labels);
    }
    let found = must(
        postings::select(&index, selector.matchers(), &Cancel::default()),
        "an index in memory cannot fail",
    );
    for (id, labels) in (0u32..).zip(&series) {
        let holds = selector.matchers().iter().all(|m| m.matches(labels.value(m.name()).unwrap_or_default()));
        assert_eq!(found.contains(id), holds, "{selector} and {labels}");
    }
}
