//! A pattern against the plain automaton, without trimming, literals, pieces or lazy states.

use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::PikeVM;
use regex_syntax::hir::{Hir, Look};

use super::{Regex, syntax};

/// Patterns whose automaton is larger are not compared: it visits every state for every byte.
const MAX_PLAIN_BYTES: usize = 65_536;

/// Asserts that a pattern gives the plain automaton's answer for each value.
pub(crate) fn fuzz(pattern: &str, values: &[String]) {
    let (Ok(regex), Ok(hir)) = (Regex::new(pattern), syntax::parse(pattern)) else { return };
    let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
    let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_PLAIN_BYTES));
    let Ok(nfa) = thompson::Compiler::new().configure(config).build_from_hir(&anchored) else { return };
    let Ok(plain) = PikeVM::builder().build_from_nfa(nfa) else { return };
    let mut cache = plain.create_cache();
    for value in values {
        let expected = plain.is_match(&mut cache, value.as_str());
        assert_eq!(regex.is_match(value), expected, "{pattern:?} and {value:?}");
        assert!(!expected || value.starts_with(regex.prefix()), "{pattern:?} and {value:?}: the prefix");
    }
}
