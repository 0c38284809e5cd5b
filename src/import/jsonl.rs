//! Lines of JSON in the shape of VictoriaMetrics's `/api/v1/export`: one series, or a part of one, a line.
//!
//! ```text
//!   {"metric":{"__name__":"up","job":"node"},"values":[1,0.5,null],"timestamps":[1600000000000,…,…]}
//! ```
//!
//! | value | means |
//! |---|---|
//! | a number | the double next to it |
//! | `null` | NaN, of the bits that Prometheus gives it: `7ff8000000000001` |
//! | `"Infinity"`, `"-Infinity"` | these (as VictoriaMetrics writes them) |
//! | `"nan:7ff0000000000002"` | the NaN of these bits: 16 hexadecimal digits (ours) |
//!
//! Timestamps are integers, milliseconds. The keys may come in any order, others are left out; empty lines
//! too. Nothing of a line is taken unless all of it is valid. A line has 64 MiB at most (VictoriaMetrics
//! splits with `max_rows_per_line`).

use std::io::Read;

use super::LabelBuffer;
use super::json::{Bad, Cursor};
use super::lines::Lines;
use super::number;
use super::options::SampleSink;
use super::parser::ParseError;
use super::run::{BAD_LABELS, Run};
use super::scan::Span;
use crate::Result;

/// The longest line.
const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// Reads all lines; returns the bytes of all.
pub(crate) fn read<S: SampleSink>(run: &mut Run<'_, S>, text: impl Read) -> Result<u64> {
    let mut lines = Lines::new(text, MAX_LINE_BYTES);
    let mut row = Row::default();
    loop {
        let line = match lines.next() {
            Ok(None) => return Ok(lines.bytes_read()),
            Ok(Some(line)) if line.bytes.trim_ascii().is_empty() => {
                run.step(1)?;
                continue;
            }
            Ok(Some(line)) => line,
            Err(ParseError::Invalid(fault)) => {
                run.reject(fault)?;
                continue;
            }
            Err(ParseError::Io(e)) => return Err(run.unreadable(e)),
        };
        run.step(1 + u64::try_from(row.t.len()).unwrap_or(0))?;
        if let Err(Bad { at, why }) = row.parse(line.bytes) {
            run.reject(line.fault(at, why))?;
            continue;
        }
        let raw = row.metric.of(line.bytes);
        let known = match run.columns.find(None, raw) {
            Ok(local) => Some(local),
            Err(hash) => run.register((None, raw, hash), row.labels.iter())?,
        };
        match known {
            Some(local) => run.put_columns(local, &row.t, &row.v)?,
            None => run.reject(line.fault(row.metric.start, BAD_LABELS))?,
        }
    }
}

/// What one line says, in buffers that are kept.
#[derive(Default)]
struct Row {
    labels: LabelBuffer,
    /// The object of the labels.
    metric: Span,
    t: Vec<i64>,
    v: Vec<f64>,
    text: String,
}

impl Row {
    fn parse(&mut self, line: &[u8]) -> Result<(), Bad> {
        let mut cursor = Cursor::new(line);
        let (mut metric, mut values, mut timestamps) = (0, 0, 0);
        cursor.elements(b'{', b'}', |cursor| {
            self.text.clear();
            let at = cursor.at();
            cursor.string(&mut self.text)?;
            cursor.expect(b':', "expected a colon after the key")?;
            let seen = match self.text.as_str() {
                "metric" => {
                    self.metric(cursor)?;
                    &mut metric
                }
                "values" => {
                    self.values(cursor)?;
                    &mut values
                }
                "timestamps" => {
                    self.timestamps(cursor)?;
                    &mut timestamps
                }
                _ => return cursor.skip(),
            };
            *seen += 1;
            if *seen > 1 { Err(Bad { at, why: "the key stands twice" }) } else { Ok(()) }
        })?;
        if cursor.peek().is_some() {
            return cursor.bad("expected the end of the line after the object");
        }
        match (metric, values, timestamps) {
            (1, 1, 1) if self.t.len() == self.v.len() => Ok(()),
            (1, 1, 1) => Err(Bad { at: 0, why: "there are not as many values as timestamps" }),
            _ => Err(Bad { at: 0, why: "the object lacks \"metric\", \"values\" or \"timestamps\"" }),
        }
    }

    fn metric(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Bad> {
        self.labels.clear();
        cursor.peek();
        let start = cursor.at();
        let labels = &mut self.labels;
        cursor.elements(b'{', b'}', |cursor| {
            let mut is_value = false;
            labels.add(|out| {
                if is_value {
                    cursor.expect(b':', "expected a colon after the label name")?;
                }
                is_value = true;
                cursor.string(out)
            })
        })?;
        self.metric = Span { start, end: cursor.at() };
        Ok(())
    }

    fn values(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Bad> {
        self.v.clear();
        cursor.elements(b'[', b']', |cursor| {
            let first = cursor.peek();
            let at = cursor.at();
            let value = if first == Some(b'"') {
                self.text.clear();
                cursor.string(&mut self.text)?;
                word(&self.text)
            } else {
                bare(cursor.bare())
            };
            const WHY: &str =
                "the value is no number, null, \"Infinity\", \"-Infinity\", or \"nan:\" and 16 hex digits";
            self.v.push(value.ok_or(Bad { at, why: WHY })?);
            Ok(())
        })
    }

    fn timestamps(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Bad> {
        self.t.clear();
        cursor.elements(b'[', b']', |cursor| {
            cursor.peek();
            let at = cursor.at();
            let t = std::str::from_utf8(cursor.bare()).ok().and_then(|t| t.parse().ok());
            const WHY: &str =
                "the timestamp is no integer of milliseconds in 64 bits (whose largest is reserved)";
            self.t.push(t.filter(|&t| t != i64::MAX).ok_or(Bad { at, why: WHY })?);
            Ok(())
        })
    }
}

/// A value without quotes.
fn bare(text: &[u8]) -> Option<f64> {
    match text {
        b"null" => number::value(b"NaN"),
        [b'-' | b'0'..=b'9', rest @ ..] if !rest.iter().any(|&b| matches!(b, b'a'..=b'd' | b'f'..=b'z')) => {
            number::value(text).filter(|v| v.is_finite())
        }
        _ => None,
    }
}

/// A value in quotes.
fn word(text: &str) -> Option<f64> {
    match text {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        text => bits(text.strip_prefix("nan:")?.as_bytes()).filter(|v| v.is_nan()),
    }
}

/// The double whose bits are written in exactly 16 hexadecimal digits.
pub(crate) fn bits(text: &[u8]) -> Option<f64> {
    if text.len() != 16 {
        return None;
    }
    let digit = |&b: &u8| char::from(b).to_digit(16).filter(|_| !b.is_ascii_uppercase());
    let bits = text.iter().try_fold(0u64, |bits, b| Some(bits << 4 | u64::from(digit(b)?)))?;
    Some(f64::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels, timestamps, bits of the values.
    type Parsed = (Vec<(String, String)>, Vec<i64>, Vec<u64>);

    fn parse(line: &str) -> Result<Parsed, (usize, &'static str)> {
        let mut row = Row::default();
        row.parse(line.as_bytes()).map_err(|bad| (bad.at, bad.why))?;
        let labels = row.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        Ok((labels, row.t, row.v.iter().map(|v| v.to_bits()).collect()))
    }

    #[test]
    fn a_line_of_any_shape() {
        let (labels, t, v) = parse(
            r#" { "timestamps" : [-1, 2,3,4,5,6,7], "x":{"y":[1]}, "metric": {"__name__": "a","é\n":"\u0041"} ,
               "values":[1,-0,1.5e+06,null,"Infinity","-Infinity","nan:7ff0000000000002"]} "#,
        )
        .unwrap();
        assert_eq!(labels, [("__name__".into(), "a".into()), ("é\n".into(), "A".into())]);
        assert_eq!(t, [-1, 2, 3, 4, 5, 6, 7]);
        let nan = 0x7ff8_0000_0000_0001;
        let expected =
            [1.0, -0.0, 1.5e6, f64::from_bits(nan), f64::INFINITY, f64::NEG_INFINITY, crate::STALE];
        assert_eq!(v, expected.map(f64::to_bits));
        assert!(parse(r#"{"metric":{},"values":[],"timestamps":[]}"#).unwrap().1.is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place() {
        let line = |values: &str, timestamps: &str| {
            parse(&format!(r#"{{"metric":{{"a":"b"}},"values":[{values}],"timestamps":[{timestamps}]}}"#))
        };
        assert!(line("1", "1").is_ok());
        for value in [
            "NaN",
            "inf",
            "+1",
            ".5",
            "true",
            "0x10",
            "1e999",
            "",
            "\"1\"",
            "\"NaN\"",
            "\"nan:3ff0000000000000\"",
            "\"nan:7FF0000000000002\"",
            "\"nan:7ff000000000002\"",
            "[]",
        ] {
            let error = line(value, "1").unwrap_err();
            assert!(error.0 == 30 || error.0 == 0, "{value}: {error:?}");
        }
        for timestamp in ["1.5", "1e3", "null", "\"1\"", "9223372036854775807", "9223372036854775808"] {
            assert_eq!(line("1", timestamp).unwrap_err().0, 47, "{timestamp}");
        }
        assert!(line("1", "-9223372036854775808").is_ok());
        for text in [
            "",
            "1",
            "[]",
            "{}",
            r#"{"metric":{}}"#,
            r#"{"metric":{},"values":[1],"timestamps":[]}"#,
            r#"{"metric":{},"metric":{},"values":[],"timestamps":[]}"#,
            r#"{"metric":{"a":1},"values":[],"timestamps":[]}"#,
            r#"{"metric":{},"values":[],"timestamps":[]} x"#,
            r#"{"metric":{},"values":[],"timestamps":[]"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
