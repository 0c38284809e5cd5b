//! Goal: every plan gives the answers of the plain automaton, Go's syntax keeps Go's meaning, and
//! hostile patterns end in an error. Method: tables, and generated patterns against the plain
//! automaton, which `regex-automata` builds from `^(?s:pattern)$` without any of our analysis.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e:?}"))
}

#[test]
fn the_whole_value_must_match_and_a_dot_takes_newlines() {
    assert!(regex("a|b").is_match("a") && !regex("a|b").is_match("ab"));
    assert!(regex("a.b").is_match("a\nb") && regex(".*").is_match("a\nb") && regex("[^a]").is_match("\n"));
    assert!(!regex("(?-s:a.b)").is_match("a\nb"));
    assert!(!regex("(?m)^a$").is_match("a\nb"));
    assert!(regex("a(?m:$)\n(?m:^)b").is_match("a\nb"));
    assert!(regex("").is_match("") && !regex("").is_match("a"));
    assert!(regex("^^a$$").is_match("a") && regex(r"\Aa\z").is_match("a"));
}

#[test]
fn plans_are_recognised() {
    let plan = |pattern: &str| match &regex(pattern).plan {
        Plan::Everything => "everything",
        Plan::NonEmpty => "non-empty",
        Plan::Literals(_) => "literals",
        Plan::Pieces { .. } => "pieces",
        Plan::Automaton { .. } => "automaton",
    };
    for pattern in [".*", "^.*$", "(.*)", "(?:(.*))", "^(.*)$", ".*?"] {
        assert_eq!(plan(pattern), "everything", "{pattern}");
    }
    for pattern in [".+", "^.+$", "(.+)"] {
        assert_eq!(plan(pattern), "non-empty", "{pattern}");
    }
    for pattern in ["a.*", ".*a", ".*a.*", "a.*b.*c", "^a.*$", "(a.*)b"] {
        assert_eq!(plan(pattern), "pieces", "{pattern}");
    }
    for pattern in ["a+", "[a-z]+", "a.+", "(?-s).*", r"\bfoo", "a{9}b{1,9}", ".*a.*|b.*"] {
        assert_eq!(plan(pattern), "automaton", "{pattern}");
    }
    for pattern in ["", "a", "a|b", "^a$|^b$", "a?", r"a\.b", "(?i)ab", "[a-c]x", "[^\\x00-\\x{10FFFF}]"] {
        assert_eq!(plan(pattern), "literals", "{pattern}");
    }
}

#[test]
fn literal_sets_are_complete_sorted_and_unique() {
    let table: &[(&str, &[&str])] = &[
        ("a|b|c", &["a", "b", "c"]),
        ("c|a|b|a", &["a", "b", "c"]),
        ("(x|y)z", &["xz", "yz"]),
        ("(x|y)(z|)", &["x", "xz", "y", "yz"]),
        ("foo|foobar|fo", &["fo", "foo", "foobar"]),
        ("^(?:foo|bar)$", &["bar", "foo"]),
        ("^foo$|^bar$", &["bar", "foo"]),
        ("a{2}", &["aa"]),
        ("(ab?){1,2}", &["a", "aa", "aab", "ab", "aba", "abab"]),
        ("(?i)k", &["K", "k", "\u{212a}"]),
        (r"\Qa.b|c\E", &["a.b|c"]),
        (r"10\.0\.0\.1:9100|10\.0\.0\.2:9100", &["10.0.0.1:9100", "10.0.0.2:9100"]),
        ("é|[ü]", &["é", "ü"]),
        ("(a|)", &["", "a"]),
        ("a^b", &[]),
    ];
    for (pattern, want) in table {
        let regex = regex(pattern);
        match want.is_empty() {
            true => assert!(!regex.is_match("ab") && regex.literals().is_none_or(<[String]>::is_empty)),
            false => assert_eq!(regex.literals().unwrap(), *want, "{pattern}"),
        }
    }
}

#[test]
fn prefixes_are_found() {
    let table = [
        ("foo.*", "foo"),
        ("^foo.+", "foo"),
        ("(foo|foz).*", "fo"),
        ("a|b", ""),
        ("foo[ab]+", "foo"),
        ("(?i)foo.*", ""),
        ("(ab)+c", "ab"),
        (".*foo", ""),
        ("éa+", "éa"),
        ("(?:é|è)x+", ""),
        ("x?y+", ""),
    ];
    for (pattern, want) in table {
        assert_eq!(regex(pattern).prefix(), want, "{pattern}");
    }
}

#[test]
fn ten_thousand_alternatives_are_look_ups() {
    let pattern: Vec<String> = (0..10_000).map(|i| format!("host-{i:05}\\.example\\.org")).collect();
    let regex = regex(&format!("^(?:{})$", pattern.join("|")));
    assert_eq!(regex.literals().unwrap().len(), 10_000);
    assert!(regex.is_match("host-04711.example.org") && !regex.is_match("host-10000.example.org"));
}

#[test]
fn go_syntax_keeps_its_meaning() {
    let table = [
        (r"\d", "5", true),
        (r"\d", "٣", false),
        (r"\w", "é", false),
        (r"\W", "é", true),
        (r"[\d_]", "_", true),
        (r"[^\D]", "7", true),
        (r"[\W]", "é", true),
        (r"\s", "\u{b}", false),
        (r"\s", "\u{a0}", false),
        (r"a\b.b", "a b", true),
        (r"é\b.", "é ", false),
        (r"é\B.", "é ", true),
        ("[[]", "[", true),
        ("[]a]", "]", true),
        ("[^]a]", "b", true),
        ("[^]a]", "]", false),
        ("[a&&b]", "&", true),
        ("[a&&b]", "a", true),
        ("[a-c--]", "-", true),
        ("[+--]", ",", true),
        ("[a~~b]", "~", true),
        ("[a-]", "-", true),
        ("[-a]", "-", true),
        ("[a-c-e]", "d", false),
        ("[a-c-e]", "-", true),
        ("[[:alpha:]]", "x", true),
        ("[[:^alpha:]]", "x", false),
        ("[[:x]", "x", true),
        ("{foo}", "{foo}", true),
        ("a{,2}", "a{,2}", true),
        ("a{", "a{", true),
        ("a{1,2}", "aa", true),
        ("x}", "x}", true),
        (r"\<", "<", true),
        (r"\_\-\/", "_-/", true),
        (r"\x41\x{42}\103", "ABC", true),
        (r"\pL", "é", true),
        (r"\p{Greek}", "λ", true),
        (r"\p{^Greek}", "λ", false),
        (r"[\PL]", "1", true),
        (r"\P{^Greek}", "λ", true),
        ("(?P<n>a)", "a", true),
        ("(?<n>a)", "a", true),
        ("(?i:A)b", "ab", true),
        ("(?U)a+", "aa", true),
        (r"\Qa+\Eb", "a+b", true),
        (r"\Qa+", "a+", true),
        (r"\a\f\v", "\u{7}\u{c}\u{b}", true),
        (r"\0\01", "\0\u{1}", true),
        ("a#b c", "a#b c", true),
        ("(?i)[^k]", "\u{212a}", false),
    ];
    for (pattern, value, want) in table {
        assert_eq!(regex(pattern).is_match(value), want, "{pattern} on {value:?}");
    }
}

#[test]
fn malformed_patterns_are_refused_at_their_place() {
    let table = [
        ("ab(c", 2),
        ("a)", 1),
        ("x*[a", 2),
        ("*", 0),
        ("aa|*", 3),
        (r"ab\", 2),
        (r"a\1", 1),
        (r"a\8", 1),
        ("a(?=b)", 1),
        ("a(?<!b)", 1),
        ("a(?x)b", 1),
        ("a(?u:b)", 1),
        (r"a\u0041", 1),
        (r"\Z", 0),
        (r"\C", 0),
        (r"\E", 0),
        ("[b-a]", 1),
        ("[]", 0),
        ("[[:nope:]]", 1),
        (r"\x4", 0),
        (r"\x{110000}", 0),
        (r"\x{}", 0),
        (r"\x+1", 0),
        (r"\pé", 1),
        (r"\p{Nope}", 0),
        (r"\p{", 1),
        (r"\p{a=b}", 1),
        ("a{2,1}", 1),
        ("(?P<>a)", 0),
        ("(?P<n", 0),
        (r"\d\d(", 4),
        (r"\Qab\E(", 6),
        ("a{99999999999}", 1),
        ("(?", 0),
        (r"[\", 1),
        (r"\é", 0),
    ];
    for (pattern, at) in table {
        let error = Regex::new(pattern).expect_err(pattern);
        assert!(error.at.is_some_and(|found| found.abs_diff(at) <= 1), "{pattern}: {error:?}");
        assert!(!error.message.contains('\n'), "{pattern}: {error:?}");
    }
}

#[test]
fn hostile_patterns_meet_a_limit() {
    let deep = |n: usize| format!("{}a+{}", "(".repeat(n), ")".repeat(n));
    assert!(Regex::new(&deep(100)).is_ok());
    let error = Regex::new(&deep(100_000)).unwrap_err();
    assert!(error.message.contains("limit of 128"), "{error:?}");
    for pattern in ["((a{100}){100}){100}", "(?:[a-z]{1000}x){1000}", r"(?:\pL{500}){500}"] {
        let error = Regex::new(pattern).unwrap_err();
        assert!(error.message.contains("8388608"), "{pattern}: {error:?}");
    }
    assert!(Regex::new(&r"\pL".repeat(257)).unwrap_err().message.contains("limit of 256"));
    assert!(Regex::new(&"[".repeat(100_000)).is_err());
    assert!(Regex::new(&"a*".repeat(20_000)).is_ok(), "long, but within every limit");
    assert!(Regex::new("(?:){1000000}").unwrap().is_match(""));
    // Twenty factors of two: a million combinations are no literal set.
    let product = regex(&"(ab|cd)".repeat(20));
    assert!(product.literals().is_none() && product.is_match(&"ab".repeat(20)));
    // What makes backtracking engines run for ever takes one pass here.
    assert!(!regex("(a+)+$x").is_match(&"a".repeat(60_000)));
    assert!(!regex("(a|aa)+b").is_match(&"a".repeat(60_000)));
}

#[test]
fn limits_hold_at_and_above_their_edge() {
    let literals = |n: usize| {
        let alternatives: Vec<String> = (0..n).map(|i| format!("x{i:05}")).collect();
        regex(&alternatives.join("|")).literals().map(<[String]>::len)
    };
    assert_eq!(literals(analysis::MAX_LITERALS), Some(analysis::MAX_LITERALS));
    assert_eq!(literals(analysis::MAX_LITERALS + 1), None);
    assert!(regex(&"[ab]".repeat(10)).literals().is_some_and(|l| l.len() == analysis::MAX_COMBINED));
    assert!(regex(&"[ab]".repeat(11)).literals().is_none());
    assert!(Regex::new(&"a".repeat(MAX_PATTERN_BYTES)).is_ok());
    assert!(Regex::new(&"a".repeat(MAX_PATTERN_BYTES + 1)).unwrap_err().message.contains("262144"));
}

/// Patterns of the syntax that Go and `regex-syntax` share.
fn any_pattern() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => "[abc]{1,3}",
        1 => Just(String::from("é")),
        2 => Just(String::from(".*")),
        1 => Just(String::from(".+")),
        1 => Just(String::from(".")),
        1 => Just(String::from("[ab]")),
        1 => Just(String::from("[^a]")),
        1 => Just(String::from("\n")),
        1 => Just(String::from("^")),
        1 => Just(String::from("$")),
        1 => Just(String::from("(?i:aB)")),
        1 => Just(String::from("(?m:^)")),
        1 => Just(String::from("(?m:$)")),
        1 => Just(String::new()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            3 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            1 => inner.clone().prop_map(|p| format!("(?:{p})?")),
            1 => inner.clone().prop_map(|p| format!("({p})*")),
            1 => inner.clone().prop_map(|p| format!("({p})+")),
            1 => inner.prop_map(|p| format!("(?:{p}){{1,3}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), cases: 800, ..ProptestConfig::default() })]

    #[test]
    fn plans_agree_with_the_plain_automaton(
        pattern in any_pattern(),
        values in prop::collection::vec("[abcABé\n]{0,6}", 12),
    ) {
        let plain = meta::Regex::new(&format!("^(?s:{pattern})$")).unwrap();
        let ours = regex(&pattern);
        let own: Vec<String> = ours.literals().unwrap_or_default().to_vec();
        prop_assert!(own.windows(2).all(|w| w[0] < w[1]), "sorted and unique");
        for literal in &own {
            prop_assert!(plain.is_match(literal), "{:?} has the literal {:?}", pattern, literal);
        }
        for value in values.iter().map(String::as_str).chain(["", "a", "ab", "\n"]) {
            prop_assert_eq!(ours.is_match(value), plain.is_match(value), "{:?} on {:?}", pattern, value);
            prop_assert!(!plain.is_match(value) || value.starts_with(ours.prefix()), "{:?} on {:?}", pattern, value);
            let has_infix = ours.infix().is_none_or(|infix| infix.find(value.as_bytes()).is_some());
            prop_assert!(!plain.is_match(value) || has_infix, "{:?} on {:?}", pattern, value);
        }
    }

    #[test]
    fn any_text_is_compiled_or_refused(pattern in "[ab\\\\dpQEx{}()\\[\\]^$.*+?|:\\-&0-9<>Pé,i]{0,16}") {
        if let Ok(regex) = Regex::new(&pattern) {
            regex.is_match("ab");
        }
    }
}
