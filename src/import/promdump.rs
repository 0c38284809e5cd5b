//! What `promtool tsdb dump` prints, and so does `silverback dump`: one sample a line.
//!
//! ```text
//!   {__name__="up", job="node"} 1 1600000000000
//!    name=quoted value of Go, …  %g  milliseconds
//! ```
//!
//! Names that are no plain ones are quoted too (newer promtool), or stand as they are (older). The value is what Go's `%g`
//! prints; or exactly 16 lower-case hexadecimal digits, the bits of a double (`silverback dump --bits`): `%g` has an
//! exponent from 1e6 on and so never prints 16 digits. NaN becomes the NaN of exposition text; only `--bits` keeps the
//! others. Native histograms are refused.
//!
//! A dump writes series line after line: labels that begin like those of the line before cost one comparison.

use std::io::Read;

use super::columns::Local;
use super::json::Bad;
use super::jsonl::bits;
use super::lines::Lines;
use super::options::SampleSink;
use super::parser::ParseError;
use super::run::{BAD_LABELS, Run};
use super::{LabelBuffer, go, number};
use crate::Result;

/// The longest line.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// Reads all lines; returns the bytes of all.
pub(crate) fn read<S: SampleSink>(run: &mut Run<'_, S>, text: impl Read) -> Result<u64> {
    let mut lines = Lines::new(text, MAX_LINE_BYTES);
    let mut row = Row::default();
    loop {
        run.step(1)?;
        let line = match lines.next() {
            Ok(None) => return Ok(lines.bytes_read()),
            Ok(Some(line)) if line.bytes.is_empty() => continue,
            Ok(Some(line)) => line,
            Err(ParseError::Invalid(fault)) => {
                run.reject(fault)?;
                continue;
            }
            Err(ParseError::Io(e)) => return Err(run.unreadable(e)),
        };
        match row.parse(line.bytes) {
            Err(Bad { at, why }) => run.reject(line.fault(at, why))?,
            Ok((t, v)) => match row.series(run)? {
                Some(local) => run.put(local, t, v)?,
                None => run.reject(line.fault(0, BAD_LABELS))?,
            },
        }
    }
}

/// The labels of the last line, and the importer's number for them.
#[derive(Default)]
struct Row {
    raw: Vec<u8>,
    labels: LabelBuffer,
}

impl Row {
    /// Time and value of a line; its labels stay here.
    fn parse(&mut self, line: &[u8]) -> Result<(i64, f64), Bad> {
        let n = self.raw.len();
        let known = n > 0 && line.starts_with(&self.raw);
        let end = if known { n } else { self.parse_labels(line)? };
        let numbers = line.get(end..).unwrap_or_default();
        let Some(numbers) = numbers.strip_prefix(b" ") else {
            return Err(Bad { at: end, why: "expected one space and a value after the labels" });
        };
        let at = end + 1;
        if numbers.first() == Some(&b'{') {
            return Err(Bad { at, why: "a native histogram, which is not stored" });
        }
        let space = memchr::memchr(b' ', numbers).unwrap_or(numbers.len());
        let (value, time) = numbers.split_at_checked(space).unwrap_or((numbers, &[]));
        let v =
            bits(value).or_else(|| number::value(value)).ok_or(Bad { at, why: "the value is no number" })?;
        let at = at + space + 1;
        let time = time.strip_prefix(b" ").and_then(|t| std::str::from_utf8(t).ok());
        match time.and_then(|t| t.parse().ok()).filter(|&t| t != i64::MAX) {
            Some(t) => Ok((t, v)),
            None => Err(Bad {
                at: at.min(line.len()),
                why: "the timestamp is no integer of milliseconds in 64 bits",
            }),
        }
    }

    /// Reads `{…}`; returns its length.
    fn parse_labels(&mut self, line: &[u8]) -> Result<usize, Bad> {
        self.raw.clear();
        self.labels.clear();
        if line.first() != Some(&b'{') {
            return Err(Bad { at: 0, why: "expected '{' and the labels" });
        }
        let mut at = 1;
        while line.get(at) != Some(&b'}') {
            let mut is_value = false;
            self.labels.add(|out| {
                at += match is_value {
                    false => read_name(line, at, out)?,
                    true => read_quoted(line, at, out)?,
                };
                is_value = true;
                Ok(())
            })?;
            match line.get(at..) {
                Some([b',', b' ', ..]) => at += 2,
                Some([b',', ..]) => at += 1,
                Some([b'}', ..]) => {}
                _ => return Err(Bad { at, why: "expected ',' or '}' after the label" }),
            }
        }
        let raw = line.get(..=at).unwrap_or_default();
        self.raw.extend_from_slice(raw);
        Ok(raw.len())
    }

    fn series<S: SampleSink>(&self, run: &mut Run<'_, S>) -> Result<Option<Local>> {
        match run.columns.find(None, &self.raw) {
            Ok(local) => Ok(Some(local)),
            Err(hash) => run.register((None, &self.raw, hash), self.labels.iter()),
        }
    }
}

/// A label name and its `=`; their length.
fn read_name(line: &[u8], at: usize, out: &mut String) -> Result<usize, Bad> {
    let rest = line.get(at..).unwrap_or_default();
    let name = match rest.first() {
        Some(b'"') => read_quoted(line, at, out)?,
        _ => {
            let n = rest.iter().take_while(|b| !matches!(b, b'=' | b'"' | b',' | b'{' | b'}' | b' ')).count();
            let name = std::str::from_utf8(rest.get(..n).unwrap_or_default());
            out.push_str(name.map_err(|_| Bad { at, why: "the label name is not valid UTF-8" })?);
            n
        }
    };
    match rest.get(name) {
        Some(b'=') => Ok(name + 1),
        _ => Err(Bad { at: at + name, why: "expected '=' after the label name" }),
    }
}

/// A quoted string; its length.
fn read_quoted(line: &[u8], at: usize, out: &mut String) -> Result<usize, Bad> {
    match line.get(at..) {
        Some([b'"', rest @ ..]) => match go::read_quoted(rest, out) {
            Ok(n) => Ok(n + 1),
            Err((offset, why)) => Err(Bad { at: at + 1 + offset, why }),
        },
        _ => Err(Bad { at, why: "expected a quoted value" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_promtool_prints_them() {
        let mut row = Row::default();
        for (line, labels, t, v) in [
            (
                r#"{__name__="up", job="a\"}, b\\"} 1 1600000000000"#,
                "__name__=up|job=a\"}, b\\",
                1_600_000_000_000,
                1.0,
            ),
            (r#"{__name__="up", job="a\"}, b\\"} 1e+06 -5"#, "__name__=up|job=a\"}, b\\", -5, 1e6),
            (r#"{__name__="up"} -Inf 0"#, "__name__=up", 0, f64::NEG_INFINITY),
            (r#"{"a.b"="\u200b",c.d="x"} 8000000000000000 0"#, "a.b=\u{200b}|c.d=x", 0, -0.0),
            (r#"{a="b"} 7ff0000000000002 0"#, "a=b", 0, crate::STALE),
            (r#"{a="b"} 123456.7 -9223372036854775808"#, "a=b", i64::MIN, 123_456.7),
            ("{} 0 0", "", 0, 0.0),
        ] {
            let (got_t, got_v) = row.parse(line.as_bytes()).unwrap();
            assert_eq!((got_t, got_v.to_bits()), (t, v.to_bits()), "{line}");
            let pairs: Vec<String> = row.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
            assert_eq!(pairs.join("|"), labels, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place() {
        for (line, at) in [
            ("up 1 1", 0),
            (r#"{a="b" 1 1"#, 6),
            (r#"{a=b} 1 1"#, 3),
            (r#"{a} 1 1"#, 2),
            (r#"{a="b\q"} 1 1"#, 5),
            (r#"{a="b"}1 1"#, 7),
            (r#"{a="b"} x 1"#, 8),
            (r#"{a="b"} 1"#, 9),
            (r#"{a="b"} 1 1.5"#, 10),
            (r#"{a="b"} 1 9223372036854775807"#, 10),
            (r#"{a="b"} {count:1, sum:2} 1"#, 8),
            (r#"{a="b"#, 5),
            ("{", 1),
        ] {
            assert_eq!(Row::default().parse(line.as_bytes()).map_err(|bad| bad.at), Err(at), "{line}");
        }
    }
}
