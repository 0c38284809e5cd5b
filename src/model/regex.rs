//! Regular expressions of matchers: anchored, bounded, and understood well enough to use an index.
//!
//! ```text
//!   pattern ──syntax──▶ Hir ──analysis──▶ Plan
//!   (Go's RE2)                             ├ Everything   .*            always
//!                                          ├ NonEmpty     .+            one comparison
//!                                          ├ Literals     a|b|c         look-ups in the index
//!                                          ├ Pieces       x.*y.*z       prefix, memmem, suffix
//!                                          └ Automaton    all else      memmem of a required literal, then a lazy DFA
//! ```
//!
//! The meaning is Prometheus's since version 3: a pattern stands for `^(?s:pattern)$`, so that it
//! must match the whole value and `.` takes newlines too. The syntax is Go's; `syntax` translates
//! it and says what differs. Prometheus's `FastRegexMatcher` takes the same shortcuts.
//!
//! Bounds, since patterns may come from strangers: length, nesting, compiled size, and the number
//! of Unicode classes. Matching takes time linear in the value, at worst times the compiled size.
//!
//! Invariants: `literals` is the exact set of what matches, sorted and unique; whatever matches
//! starts with `prefix`. A property test compares every plan with the plain automaton.

use memchr::memmem::Finder;
use regex_automata::meta;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_syntax::hir::{Hir, Look};

mod analysis;
mod fuzz;
mod syntax;
#[cfg(test)]
mod tests;

pub(crate) use fuzz::fuzz;

/// The longest pattern, in bytes: room for the ten thousand alternatives that dashboards produce.
pub(crate) const MAX_PATTERN_BYTES: usize = 262_144;
/// The deepest nesting of groups, classes and repetitions.
pub(crate) const MAX_NESTING: u32 = 128;
/// The largest compiled pattern, in bytes.
pub(crate) const MAX_COMPILED_BYTES: usize = 8_388_608;
/// The most `\p{…}` in one pattern: each costs kilobytes.
pub(crate) const MAX_UNICODE_CLASSES: usize = 256;

/// The memory that one search may use for the states of its lazy DFA, in bytes.
const LAZY_DFA_BYTES: usize = 2_097_152;
/// The largest table of the one-pass matcher, in bytes.
const ONE_PASS_BYTES: usize = 1_048_576;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Regex {
    plan: Plan,
    prefix: String,
}

/// How a value is tested; the cheapest that is exact.
#[derive(Debug)]
enum Plan {
    Everything,
    NonEmpty,
    Literals(Vec<String>),
    Pieces { prefix: String, middles: Vec<Finder<'static>>, suffix: String },
    Automaton { required: Option<Box<Finder<'static>>>, regex: Box<meta::Regex> },
}

/// Why a pattern was refused.
#[derive(Debug)]
pub(crate) struct RegexError {
    /// The byte of the pattern at which it is malformed; none if it is too large as a whole.
    pub(crate) at: Option<usize>,
    /// What is wrong.
    pub(crate) message: String,
}

impl RegexError {
    /// Malformed at byte `at`.
    fn malformed(at: usize, message: impl Into<String>) -> RegexError {
        RegexError { at: Some(at), message: message.into() }
    }

    /// Above a bound.
    fn too_large(message: String) -> RegexError {
        RegexError { at: None, message }
    }
}

impl Regex {
    /// Compiles a pattern. Cost: linear in the pattern and its compiled size, which is bounded.
    pub(crate) fn new(pattern: &str) -> Result<Regex, RegexError> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(RegexError::too_large(format!(
                "it has {} bytes, above the limit of {MAX_PATTERN_BYTES}",
                pattern.len()
            )));
        }
        let hir = analysis::trimmed(syntax::parse(pattern)?);
        let prefix = analysis::prefix(&hir);
        let plan = match Plan::without_automaton(&hir) {
            Some(plan) => plan,
            None => Plan::automaton(hir, &prefix)?,
        };
        Ok(Regex { plan, prefix })
    }

    /// Whether all of `value` matches.
    pub(crate) fn is_match(&self, value: &str) -> bool {
        match &self.plan {
            Plan::Everything => true,
            Plan::NonEmpty => !value.is_empty(),
            Plan::Literals(set) => set.binary_search_by(|literal| literal.as_str().cmp(value)).is_ok(),
            Plan::Pieces { prefix, middles, suffix } => pieces_match(prefix, middles, suffix, value),
            Plan::Automaton { required, regex } => {
                value.starts_with(&self.prefix)
                    && required.as_ref().is_none_or(|r| r.find(value.as_bytes()).is_some())
                    && regex.is_match(value)
            }
        }
    }

    /// Everything that matches, sorted and unique, if that is a small finite set.
    pub(crate) fn literals(&self) -> Option<&[String]> {
        match &self.plan {
            Plan::Literals(set) => Some(set),
            _ => None,
        }
    }

    /// Whatever matches starts with this; often empty.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whatever matches contains this, somewhere behind the prefix, if it is known.
    pub(crate) fn infix(&self) -> Option<&Finder<'static>> {
        match &self.plan {
            Plan::Pieces { middles, .. } => middles.iter().max_by_key(|middle| middle.needle().len()),
            Plan::Automaton { required, .. } => required.as_deref(),
            _ => None,
        }
    }

    /// Whether it is `.*`.
    pub(crate) fn is_everything(&self) -> bool {
        matches!(self.plan, Plan::Everything)
    }

    /// Whether it is `.+`.
    pub(crate) fn is_non_empty(&self) -> bool {
        matches!(self.plan, Plan::NonEmpty)
    }

    /// The memory that it takes without the caches of searches, about, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        match &self.plan {
            Plan::Literals(set) => set.iter().map(|l| l.len() + size_of::<String>()).sum(),
            Plan::Automaton { regex, .. } => regex.memory_usage(),
            _ => 0,
        }
    }
}

impl Plan {
    fn without_automaton(hir: &Hir) -> Option<Plan> {
        if analysis::is_any_repeated(hir, 0) {
            return Some(Plan::Everything);
        }
        if analysis::is_any_repeated(hir, 1) {
            return Some(Plan::NonEmpty);
        }
        if let Some(set) = analysis::literals(hir) {
            return Some(Plan::Literals(set));
        }
        let mut pieces = analysis::pieces(hir)?;
        let suffix = pieces.pop()?;
        let mut pieces = pieces.into_iter();
        let prefix = pieces.next()?;
        let middles = pieces.map(|p| Finder::new(p.as_bytes()).into_owned()).collect();
        Some(Plan::Pieces { prefix, middles, suffix })
    }

    fn automaton(hir: Hir, prefix: &str) -> Result<Plan, RegexError> {
        let required = analysis::required(&hir)
            .filter(|literal| !prefix.contains(literal.as_str()))
            .map(|literal| Box::new(Finder::new(literal.as_bytes()).into_owned()));
        let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        let config = meta::Config::new()
            .utf8_empty(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(MAX_COMPILED_BYTES))
            .onepass_size_limit(Some(ONE_PASS_BYTES))
            .hybrid_cache_capacity(LAZY_DFA_BYTES);
        match meta::Builder::new().configure(config).build_from_hir(&anchored) {
            Ok(regex) => Ok(Plan::Automaton { required, regex: Box::new(regex) }),
            Err(_) => Err(RegexError::too_large(format!(
                "compiled it takes more than the limit of {MAX_COMPILED_BYTES} bytes"
            ))),
        }
    }
}

/// `prefix.*middle.*…suffix`: each middle is looked for after the one before it, which is right
/// since the leftmost place leaves the most for those that follow.
fn pieces_match(prefix: &str, middles: &[Finder<'static>], suffix: &str, value: &str) -> bool {
    // Mostly one of the two is empty, and a call that compares nothing is not free.
    let mut rest = value.as_bytes();
    if !prefix.is_empty() {
        let Some(after) = rest.strip_prefix(prefix.as_bytes()) else { return false };
        rest = after;
    }
    if !suffix.is_empty() {
        let Some(before) = rest.strip_suffix(suffix.as_bytes()) else { return false };
        rest = before;
    }
    for middle in middles {
        let after = middle.find(rest).and_then(|at| rest.get(at + middle.needle().len()..));
        match after {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}
