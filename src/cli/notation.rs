//! Label sets and values as text and JSON.
//!
//! | form | where |
//! |---|---|
//! | `{__name__="up", job="node"}` | `dump`, `series`: as promtool prints it |
//! | `up{job="node"}` | tables and plots: short, and a selector |
//! | `{"__name__":"up","job":"node"}` | JSON |

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use silverback::Labels;
use silverback::import::go;

/// Writes labels as promtool does: names as they are (quoted if they are no plain ones), values quoted as Go quotes.
pub(crate) fn write_labels(out: &mut String, labels: &Labels) -> fmt::Result {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        write_pair(out, name, value)?;
    }
    out.push('}');
    Ok(())
}

/// `up{job="node"}`, or with a name that is no plain one, `{"odd name", job="node"}`.
pub(crate) fn short(labels: &Labels) -> String {
    let mut out = String::new();
    match write_short(&mut out, labels) {
        Ok(()) => out,
        Err(fmt::Error) => labels.to_string(),
    }
}

fn write_short(out: &mut String, labels: &Labels) -> fmt::Result {
    let name = labels.name();
    let plain = is_plain(name, true);
    if plain {
        out.push_str(name);
    }
    let mut first = true;
    let mut separate = |out: &mut String| {
        out.push_str(if first { "{" } else { ", " });
        first = false;
    };
    if !plain && !name.is_empty() {
        separate(out);
        go::write_quoted(out, name)?;
    }
    for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
        separate(out);
        write_pair(out, name, value)?;
    }
    if !first {
        out.push('}');
    }
    Ok(())
}

fn write_pair(out: &mut String, name: &str, value: &str) -> fmt::Result {
    match is_plain(name, false) {
        true => out.push_str(name),
        false => go::write_quoted(out, name)?,
    }
    out.push('=');
    go::write_quoted(out, value)
}

/// Whether a name needs no quotes: letters, digits, `_` (and `:` in metric names), no digit first.
pub(crate) fn is_plain(name: &str, metric: bool) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (metric && c == ':');
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// Labels as a JSON object.
pub(crate) fn labels_json(labels: &Labels) -> Value {
    let pairs = labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    Value::Object(pairs.collect::<Map<String, Value>>())
}

/// A value as JSON: a number, or `"NaN"`, `"+Inf"`, `"-Inf"`.
pub(crate) fn value_json(v: f64) -> Value {
    match serde_json::Number::from_f64(v) {
        Some(number) => Value::Number(number),
        None => Value::from(value_text(v)),
    }
}

/// A value as Go's `%g` prints it.
pub(crate) fn value_text(v: f64) -> String {
    let mut out = String::new();
    match go::write_float(&mut out, v) {
        Ok(()) => out,
        Err(fmt::Error) => v.to_string(),
    }
}

/// Writes a value as the 16 hex digits of its bits.
pub(crate) fn write_bits(out: &mut String, v: f64) -> fmt::Result {
    write!(out, "{:016x}", v.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn labels_as_promtool_prints_them() {
        let mut out = String::new();
        let odd = labels(&[("__name__", "up"), ("a.b", "x"), ("job", "a\"b\n\u{200b}")]);
        write_labels(&mut out, &odd).unwrap();
        assert_eq!(out, r#"{__name__="up", "a.b"="x", job="a\"b\n\u200b"}"#);
    }

    #[test]
    fn the_short_form_is_a_selector_for_plain_names() {
        for (pairs, expected) in [
            (&[("__name__", "up")][..], "up"),
            (&[("__name__", "a:b"), ("job", "x")], r#"a:b{job="x"}"#),
            (&[("__name__", "odd name"), ("job", "x")], r#"{"odd name", job="x"}"#),
            (&[("job", "x"), ("k", "v")], r#"{job="x", k="v"}"#),
        ] {
            assert_eq!(short(&labels(pairs)), expected);
        }
        let parsed: silverback::Selector =
            short(&labels(&[("__name__", "a:b"), ("job", "x")])).parse().unwrap();
        assert_eq!(parsed.matchers().len(), 2);
    }

    #[test]
    fn values() {
        assert_eq!(value_json(1.5).to_string(), "1.5");
        assert_eq!(value_json(-0.0).to_string(), "-0.0");
        assert_eq!(value_json(f64::NAN).to_string(), r#""NaN""#);
        assert_eq!(value_json(f64::NEG_INFINITY).to_string(), r#""-Inf""#);
        assert_eq!(value_text(1e6), "1e+06");
        let mut out = String::new();
        write_bits(&mut out, silverback::STALE).unwrap();
        assert_eq!(out, "7ff0000000000002");
    }
}
