//! Goal: what PromQL takes is taken with the same meaning, what is refused says where, and what
//! is written is read back. Method: tables, and generated selectors.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// Operator, label name and value of each matcher.
type Parts<'a> = &'a [(MatchOp, &'a str, &'a str)];

fn parse(text: &str) -> Selector {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn selector(matchers: Parts<'_>) -> Selector {
    Selector::from_matchers(matchers.iter().map(|(op, n, v)| Matcher::new(*op, *n, *v).unwrap())).unwrap()
}

#[test]
fn takes_what_promql_takes() {
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let table: &[(&str, Parts<'_>)] = &[
        ("up", &[(Equal, "__name__", "up")]),
        (" up ", &[(Equal, "__name__", "up")]),
        ("up{}", &[(Equal, "__name__", "up")]),
        ("up {\n}\t", &[(Equal, "__name__", "up")]),
        ("job:rate:5m", &[(Equal, "__name__", "job:rate:5m")]),
        (r#"{job="x"}"#, &[(Equal, "job", "x")]),
        (r#"{job="x",}"#, &[(Equal, "job", "x")]),
        (
            r#"up{job="x", le=~"a|b"}"#,
            &[(Equal, "__name__", "up"), (Equal, "job", "x"), (Regex, "le", "a|b")],
        ),
        (r#"{ a != "x" ,b!~"y"}"#, &[(NotEqual, "a", "x"), (NotRegex, "b", "y")]),
        (r#"{"my.metric"}"#, &[(Equal, "__name__", "my.metric")]),
        (
            r#"{"my.metric", "label.name"="v"}"#,
            &[(Equal, "__name__", "my.metric"), (Equal, "label.name", "v")],
        ),
        (r#"{a="1", "m"}"#, &[(Equal, "a", "1"), (Equal, "__name__", "m")]),
        (r#"{__name__=~"a.*", __name__!="ab"}"#, &[(Regex, "__name__", "a.*"), (NotEqual, "__name__", "ab")]),
        (r#"{a='x"y'}"#, &[(Equal, "a", "x\"y")]),
        (r#"{a='x\'y'}"#, &[(Equal, "a", "x'y")]),
        (r#"{a=`x\n"'y`}"#, &[(Equal, "a", "x\\n\"'y")]),
        ("{a=`1\n2`}", &[(Equal, "a", "1\n2")]),
        (r#"{a="\a\b\f\n\r\t\v\\\""}"#, &[(Equal, "a", "\u{7}\u{8}\u{c}\n\r\t\u{b}\\\"")]),
        (r#"{a="\x41\101\u0041\U00000041"}"#, &[(Equal, "a", "AAAA")]),
        (r#"{a="\xe2\x88\x9e\342\210\236"}"#, &[(Equal, "a", "∞∞")]),
        (r#"{a=~"\\d+"}"#, &[(Regex, "a", "\\d+")]),
        (r#"{a=""}"#, &[(Equal, "a", "")]),
        (r#"{a=~".*"}"#, &[(Regex, "a", ".*")]),
        ("{ünlabel=\"x\"}", &[]),
    ];
    for (text, want) in table {
        match want.is_empty() {
            true => assert!(text.parse::<Selector>().is_err(), "{text}"),
            false => assert_eq!(parse(text), selector(want), "{text}"),
        }
    }
}

#[test]
fn refusals_say_where_and_what_was_expected() {
    let table = [
        ("", "column 1: expected a metric name or an opening brace, found the end"),
        ("{}", "the selector is empty"),
        (" { } ", "the selector is empty"),
        ("{,}", "column 2: expected a label name"),
        (r#"{a="x" b="y"}"#, "column 8: expected a comma or a closing brace, found 'b'"),
        (r#"{a="x""#, "column 7: expected a comma or a closing brace, found the end"),
        (r#"{a="x",,}"#, "column 8: expected a label name"),
        (r#"{a="x"#, "column 4: the string is not closed"),
        (r#"{a=x}"#, "column 4: expected a value in quotes, found 'x'"),
        (r#"{a}"#, "column 3: expected =, !=, =~ or !~"),
        (r#"{my.label="x"}"#, "must be quoted"),
        (r#"{a=="x"}"#, "column 4: expected a value in quotes, found '='"),
        (r#"{a="x"} 5m"#, "column 9: expected the end"),
        (r#"up[5m]"#, "column 3: expected the end"),
        (r#"5up"#, "column 1: expected a metric name"),
        (r#"up{__name__="x"}"#, "column 4: the metric name is given already"),
        (r#"up{"x"}"#, "column 4: the metric name is given already"),
        (r#"{"x","y"}"#, "column 6: the metric name is given already"),
        (r#"{""="x"}"#, "column 2: a name cannot be empty"),
        (r#"{a="\q"}"#, "column 5: this escape is not known"),
        (r#"{a="\'"}"#, "column 5: this escape is not known"),
        (r#"{a="\x4"}"#, "column 5: this escape has too few digits"),
        (r#"{a="\x+4"}"#, "column 5: this escape has too few digits"),
        (r#"{a="\400"}"#, "column 5: this escape stands for no byte"),
        (r#"{a="\ud800"}"#, "column 5: this escape stands for no character"),
        (r#"{a="\xff"}"#, "column 4: the bytes that the string's escapes stand for are not UTF-8"),
        ("{a=\"x\ny\"}", "column 6: a line break"),
        (r#"{a="é\q"}"#, "column 7: this escape"),
        (
            r#"{b="", a=~"x("}"#,
            "column 11: the regular expression \"x(\" for label \"a\" is refused at byte 2: unclosed group",
        ),
    ];
    for (text, says) in table {
        let error = text.parse::<Selector>().expect_err(text);
        assert_eq!(error.kind(), ErrorKind::InvalidSelector);
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
}

#[test]
fn number_and_sizes_are_limited() {
    let one = Matcher::new(MatchOp::Equal, "a", "b").unwrap();
    assert!(Selector::from_matchers(vec![one.clone(); MAX_MATCHERS]).is_ok());
    assert!(Selector::from_matchers(vec![one; MAX_MATCHERS + 1]).is_err());
    assert!(Selector::from_matchers([]).is_err());
    let long = format!("{{a=\"x\"{}}}", " ".repeat(text::MAX_SELECTOR_BYTES - 7));
    assert_eq!(long.len(), text::MAX_SELECTOR_BYTES);
    assert!(long.parse::<Selector>().is_ok());
    assert!(format!(" {long}").parse::<Selector>().unwrap_err().to_string().contains("1048576"));
    let heavy = Matcher::new(MatchOp::Regex, "a", "(?:[ab]{2000}c){20}").unwrap();
    let count = MAX_SELECTOR_COMPILED_BYTES / heavy.memory_bytes();
    assert!(count < MAX_MATCHERS, "{} bytes each", heavy.memory_bytes());
    assert!(Selector::from_matchers(vec![heavy.clone(); count]).is_ok());
    assert!(Selector::from_matchers(vec![heavy; count + 1]).is_err());
}

#[test]
fn a_metric_name_is_written_first_where_that_reads_back() {
    use MatchOp::{Equal, NotEqual};
    let table: &[(Parts<'_>, &str)] = &[
        (&[(Equal, "__name__", "up")], "up"),
        (&[(Equal, "__name__", "up"), (NotEqual, "a", "b")], r#"up{a!="b"}"#),
        (&[(Equal, "a", "b"), (Equal, "__name__", "up")], r#"{a="b", __name__="up"}"#),
        (&[(Equal, "__name__", "up"), (NotEqual, "__name__", "b")], r#"{__name__="up", __name__!="b"}"#),
        (&[(Equal, "__name__", "my.metric")], r#"{__name__="my.metric"}"#),
        (&[(Equal, "__name__", "")], r#"{__name__=""}"#),
        (&[(Equal, "a.b", "\u{1}\"\\\n")], "{\"a.b\"=\"\\x01\\\"\\\\\\n\"}"),
    ];
    for (matchers, text) in table {
        let selector = selector(matchers);
        assert_eq!(selector.to_string(), *text);
        assert_eq!(parse(text), selector);
    }
    assert_eq!(selector(&[(Equal, "a", "x"), (Equal, "__name__", "up")]).metric_name(), Some("up"));
    assert_eq!(selector(&[(NotEqual, "__name__", "up")]).metric_name(), None);
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let name = prop_oneof![Just(String::from("__name__")), "[a-z_:.é\"\\\\ ]{1,4}", "[a-z_][a-z0-9_]{0,4}"];
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    (name, op, "[ -~\n\t\u{0}-\u{7f}é\u{1F98D}]{0,6}", "[a-c.|]{0,5}").prop_map(
        |(name, op, value, pattern)| {
            let regex = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
            Matcher::new(op, name, if regex { pattern } else { value }).unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(1), cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(matchers in prop::collection::vec(any_matcher(), 1..5)) {
        let selector = Selector::from_matchers(matchers).unwrap();
        prop_assert_eq!(&selector.to_string().parse::<Selector>().unwrap(), &selector);
        for matcher in selector.matchers() {
            prop_assert_eq!(&matcher.to_string().parse::<Matcher>().unwrap(), matcher);
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a{}\"'`,=!~\\\\x0u \n(.é]{0,24}") {
        if let Ok(selector) = text.parse::<Selector>() {
            prop_assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
        }
    }
}
