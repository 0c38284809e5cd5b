//! From matchers to series: set algebra over an index of label pairs.
//!
//! ```text
//!   matchers ─┬─ must have the label ──▶ look-ups and scans, cheapest first ──▶ intersect ─┐
//!             └─ may lack it ──▶ what breaks the condition ──────────────────▶ subtract ◀──┘──▶ ids
//! ```
//!
//! The rules are Prometheus's. An absent label has the empty value, so that a matcher that the
//! empty value fulfils cannot be answered by a look-up: instead the series whose value breaks it
//! are subtracted, from what the other matchers left, or from all. What each matcher costs:
//!
//! | base of the matcher | asks the index for |
//! |---|---|
//! | `=`, `=~"a\|b\|c"` | one look-up for each literal |
//! | `.*`, `.+` | all series that have the label |
//! | `=~"node.+"` | the values in the range of the prefix, each tested |
//! | other | all values of the label, each tested |
//!
//! and the negation of a base is "has the label" minus the base. Of several look-ups, that of the fewest bytes comes first. An empty result ends the work; so does, before anything is
//! looked up, an index that is sure to have none of the literals of a matcher.
//! [`MemIndex`] is such an index in memory; a block implements [`TermIndex`] over its file.

use memchr::memmem::Finder;
use roaring::RoaringBitmap;

use crate::error::Result;
use crate::model::{Cancel, Matcher};

mod ids;
mod mem;
mod numbers;
#[cfg(test)]
mod tests;

pub(crate) use mem::MemIndex;
pub(crate) use numbers::Numbers;

/// Which values of a label are looked for.
#[derive(Clone, Copy)]
pub(crate) struct Sought<'a> {
    pub(crate) name: &'a str,
    /// They begin with this.
    pub(crate) prefix: &'a str,
    /// They contain this, if it is known: an index may pass over what does not.
    pub(crate) infix: Option<&'a Finder<'static>>,
    /// For an index that passes over many.
    pub(crate) cancel: &'a Cancel,
}

impl<'a> Sought<'a> {
    /// All values of a label.
    pub(crate) fn all(name: &'a str, cancel: &'a Cancel) -> Sought<'a> {
        Sought { name, prefix: "", infix: None, cancel }
    }
}

/// Answers what series have a label pair: implemented by a block's index and by the head.
pub(crate) trait TermIndex {
    /// Every series.
    fn all(&self) -> Result<RoaringBitmap>;

    /// The series with this pair; none if there are none. The empty value asks for all series that have the label at all.
    fn exact(&self, name: &str, value: &str) -> Result<RoaringBitmap>;

    /// Those of some series that have this pair. Where they are few and the pair is common, an index may look at the series instead of
    /// reading the list.
    fn exact_among(&self, name: &str, value: &str, among: RoaringBitmap) -> Result<RoaringBitmap> {
        Ok(among & self.exact(name, value)?)
    }

    /// Whether a series may have this pair; `false` is certain, and cheaper than a look-up.
    fn may_have(&self, _name: &str, _value: &str) -> Result<bool> {
        Ok(true)
    }

    /// About how many bytes the postings of a pair take, to ask for what takes the fewest first; 0 where that does not matter.
    fn weight(&self, _name: &str, _value: &str) -> Result<u64> {
        Ok(0)
    }

    /// Unites into `out` the postings of each value that is sought and that `keep` accepts.
    /// An error of `keep` ends it.
    fn scan(
        &self,
        sought: Sought<'_>,
        keep: &mut dyn FnMut(&str) -> Result<bool>,
        out: &mut RoaringBitmap,
    ) -> Result<()>;

    /// Unites into `out` what [`exact`](TermIndex::exact) answers for each of `values`, which are
    /// sorted, unique and not empty: an index may walk them and its own terms together.
    fn exact_many(&self, name: &str, values: &[String], out: &mut RoaringBitmap) -> Result<()> {
        for value in values {
            *out |= self.exact(name, value)?;
        }
        Ok(())
    }
}

/// The most literals of a matcher that are asked for one by one before anything is looked up.
const FEW_LITERALS: usize = 16;
/// Look-ups and tested values from one look at the token to the next: some tens of microseconds.
const CANCEL_LOOK_UPS: usize = 64;
const CANCEL_VALUES: u32 = 1_024;

/// An index that is asked until a token is cancelled.
#[derive(Clone, Copy)]
struct Asked<'a> {
    index: &'a dyn TermIndex,
    cancel: &'a Cancel,
}

/// The series that fulfil all matchers, by Prometheus's rules.
pub(crate) fn select(index: &dyn TermIndex, matchers: &[Matcher], cancel: &Cancel) -> Result<RoaringBitmap> {
    let asked = Asked { index, cancel };
    let (mut optional, mut required): (Vec<&Matcher>, Vec<&Matcher>) =
        matchers.iter().partition(|m| m.matches_empty());
    required.sort_by_key(|m| cost(m));
    optional.sort_by_key(|m| cost(m));
    for matcher in &required {
        if cannot_match(index, matcher)? {
            return Ok(RoaringBitmap::new());
        }
    }
    lightest_first(asked, &mut required)?;
    let mut found: Option<RoaringBitmap> = None;
    for matcher in required {
        let both = match found {
            Some(before) => narrowed(asked, matcher, before)?,
            None => having(asked, matcher, true)?,
        };
        if both.is_empty() {
            return Ok(both);
        }
        found = Some(both);
    }
    let mut found = match found {
        Some(found) => found,
        None => index.all()?,
    };
    for matcher in optional {
        if found.is_empty() {
            break;
        }
        found -= having(asked, matcher, false)?;
    }
    Ok(found)
}

/// Puts those of some matchers that are a few look-ups first, those first of which the index has the least.
fn lightest_first(asked: Asked<'_>, required: &mut [&Matcher]) -> Result<()> {
    let few = required.iter().take_while(|m| few_literals(m).is_some()).count();
    let Some(look_ups) = required.get_mut(..few).filter(|few| few.len() > 1) else { return Ok(()) };
    let mut weighed = Vec::with_capacity(look_ups.len());
    for matcher in look_ups.iter() {
        let mut weight = 0u64;
        for value in few_literals(matcher).unwrap_or_default() {
            asked.cancel.check()?;
            weight = weight.saturating_add(asked.index.weight(matcher.name(), value)?);
        }
        weighed.push((weight, *matcher));
    }
    weighed.sort_by_key(|(weight, _)| *weight);
    look_ups.iter_mut().zip(weighed).for_each(|(place, (_, matcher))| *place = matcher);
    Ok(())
}

/// The literals of a matcher that is a few look-ups, and no negation.
fn few_literals(matcher: &Matcher) -> Option<&[String]> {
    matcher.literals().filter(|literals| !matcher.is_negative() && literals.len() <= FEW_LITERALS)
}

/// Whether the index is sure to have none of the pairs that a matcher asks for.
fn cannot_match(index: &dyn TermIndex, matcher: &Matcher) -> Result<bool> {
    let Some(literals) = few_literals(matcher) else { return Ok(false) };
    for value in literals.iter().filter(|value| !value.is_empty()) {
        if index.may_have(matcher.name(), value)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What orders matchers: look-ups, then "has the label", then scans of a range, then of all values.
fn cost(matcher: &Matcher) -> (u8, usize) {
    match matcher.literals() {
        Some(literals) => (u8::from(matcher.is_negative()), literals.len()),
        None if matcher.base_is_any_value() => (1, 0),
        None if !matcher.prefix().is_empty() => (2, 0),
        None => (3, 0),
    }
}

/// Those of some series that have the label, with a value that fulfils the matcher. A negation is subtracted from the few that
/// are left, not from all that have the label.
fn narrowed(asked: Asked<'_>, matcher: &Matcher, before: RoaringBitmap) -> Result<RoaringBitmap> {
    if let (false, Some([value])) = (matcher.is_negative(), matcher.literals()) {
        asked.cancel.check()?;
        return asked.index.exact_among(matcher.name(), value, before);
    }
    if !matcher.is_negative() || matcher.base_is_any_value() {
        return Ok(before & having(asked, matcher, true)?);
    }
    asked.cancel.check()?;
    let labelled = before & asked.index.exact(matcher.name(), "")?;
    match labelled.is_empty() {
        true => Ok(labelled),
        false => Ok(labelled - base(asked, matcher)?),
    }
}

/// The series that have the label, with a value that fulfils the matcher, or that does not.
fn having(asked: Asked<'_>, matcher: &Matcher, fulfils: bool) -> Result<RoaringBitmap> {
    asked.cancel.check()?;
    let (index, name) = (asked.index, matcher.name());
    let of_base = fulfils != matcher.is_negative();
    if matcher.base_is_any_value() {
        return if of_base { index.exact(name, "") } else { Ok(RoaringBitmap::new()) };
    }
    if of_base {
        return base(asked, matcher);
    }
    let labelled = index.exact(name, "")?;
    if labelled.is_empty() {
        return Ok(labelled);
    }
    Ok(labelled - base(asked, matcher)?)
}

/// The series that have the label, with a value that fulfils the equality or expression.
fn base(asked: Asked<'_>, matcher: &Matcher) -> Result<RoaringBitmap> {
    let Asked { index, cancel } = asked;
    let name = matcher.name();
    let mut out = RoaringBitmap::new();
    match matcher.literals() {
        Some(values) => {
            // Sorted: only the first can be empty, and no label has the empty value.
            let values = match values.split_first() {
                Some((first, rest)) if first.is_empty() => rest,
                _ => values,
            };
            match values {
                [value] => return index.exact(name, value),
                values => {
                    for some in values.chunks(CANCEL_LOOK_UPS) {
                        cancel.check()?;
                        index.exact_many(name, some, &mut out)?;
                    }
                }
            }
        }
        None => {
            let mut tested = 0u32;
            let mut keep = |value: &str| {
                tested = tested.wrapping_add(1);
                if tested.is_multiple_of(CANCEL_VALUES) {
                    cancel.check()?;
                }
                Ok(matcher.base_matches(value))
            };
            let sought = Sought { name, prefix: matcher.prefix(), infix: matcher.infix(), cancel };
            index.scan(sought, &mut keep, &mut out)?;
        }
    }
    Ok(out)
}
