//! Go's way to print floats and strings: what `promtool tsdb dump` writes, byte for byte.
//!
//! | here | in Go | examples |
//! |---|---|---|
//! | [`write_float`] | `strconv.FormatFloat(v, 'g', -1, 64)`, `%g` | `100000`, `1e+06`, `1.23456789e+08`, `+Inf`, `NaN` |
//! | [`write_quoted`] | `strconv.Quote(s)` | `"a\tb"`, `"\u200b"` |
//!
//! `read_quoted` reads such a string back.
//!
//! The digits are the shortest that read back as the same double; the exponent form is taken
//! below 1e-4 and from 1e6 on, whatever the number of digits. No call allocates.

use std::fmt::{self, Write};

/// Writes a float as Go's `%g` does.
///
/// ```
/// let mut out = String::new();
/// silverback::import::go::write_float(&mut out, 123_456_789.0)?;
/// assert_eq!(out, "1.23456789e+08");
/// # Ok::<(), std::fmt::Error>(())
/// ```
///
/// # Errors
/// Only the writer's own.
pub fn write_float(out: &mut dyn Write, v: f64) -> fmt::Result {
    if v.is_nan() {
        return out.write_str("NaN");
    }
    if v.is_infinite() {
        return out.write_str(if v > 0.0 { "+Inf" } else { "-Inf" });
    }
    let mut text = Stack::default();
    write!(text, "{v:e}")?;
    let (mantissa, exponent) = text.as_str().split_once('e').ok_or(fmt::Error)?;
    let exponent: i32 = exponent.parse().map_err(|_| fmt::Error)?;
    match (-4..6).contains(&exponent) {
        // Rust never uses an exponent here, and both write the shortest digits.
        true => write!(out, "{v}"),
        false => {
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(out, "{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
    }
}

/// Writes a float as Prometheus writes `le` and `quantile`: as [`write_float`], but with a
/// decimal point where it has neither point nor exponent (`1.0`).
pub(crate) fn write_label_float(out: &mut dyn Write, v: f64) -> fmt::Result {
    let mut text = Stack::default();
    write_float(&mut text, v)?;
    out.write_str(text.as_str())?;
    let plain = v.is_finite() && !text.as_str().contains(['.', 'e']);
    out.write_str(if plain { ".0" } else { "" })
}

/// Writes a string as Go's `strconv.Quote` does.
///
/// What counts as printable follows the Unicode tables of the Rust release, which may know a
/// character that the Go release does not.
///
/// # Errors
/// Only the writer's own.
pub fn write_quoted(out: &mut dyn Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\x07' => out.write_str("\\a")?,
            '\x08' => out.write_str("\\b")?,
            '\x0c' => out.write_str("\\f")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\x0b' => out.write_str("\\v")?,
            ' '..='~' => out.write_char(c)?,
            '\0'..='\x1f' | '\x7f' => write!(out, "\\x{:02x}", u32::from(c))?,
            c if is_printable(c) => out.write_char(c)?,
            c if u32::from(c) < 0x10000 => write!(out, "\\u{:04x}", u32::from(c))?,
            c => write!(out, "\\U{:08x}", u32::from(c))?,
        }
    }
    out.write_char('"')
}

/// Reads a string that Go quoted, from behind its opening quote on; appends it to `out`, and returns how many bytes it
/// took, its closing quote among them. Otherwise, where it is wrong, and why.
pub(crate) fn read_quoted(bytes: &[u8], out: &mut String) -> Result<usize, (usize, &'static str)> {
    let mut at = 0;
    // What `\x` says are bytes, which need not be characters each.
    let mut raw = Vec::new();
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let n = memchr::memchr2(b'"', b'\\', rest).ok_or((bytes.len(), "the string does not end"))?;
        raw.extend_from_slice(rest.get(..n).unwrap_or_default());
        at += n;
        if rest.get(n) == Some(&b'"') {
            let text = std::str::from_utf8(&raw).map_err(|_| (0, "the string is not valid UTF-8"))?;
            out.push_str(text);
            return Ok(at + 1);
        }
        let escape = rest.get(n + 1..).unwrap_or_default();
        at += 1 + read_escape(escape, &mut raw).ok_or((at, "an escape that Go does not write"))?;
    }
}

/// What follows a backslash; how many bytes it took.
fn read_escape(bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let (&letter, rest) = bytes.split_first()?;
    let code = |digits: usize| {
        let hex = rest.get(..digits)?;
        hex.iter().try_fold(0u32, |code, &b| Some(code << 4 | char::from(b).to_digit(16)?))
    };
    let (c, digits) = match letter {
        b'a' => ('\x07', 0),
        b'b' => ('\x08', 0),
        b'f' => ('\x0c', 0),
        b'n' => ('\n', 0),
        b'r' => ('\r', 0),
        b't' => ('\t', 0),
        b'v' => ('\x0b', 0),
        b'"' | b'\\' | b'\'' => (char::from(letter), 0),
        b'x' => {
            out.push(u8::try_from(code(2)?).ok()?);
            return Some(3);
        }
        b'u' => (char::from_u32(code(4)?)?, 4),
        b'U' => (char::from_u32(code(8)?)?, 8),
        _ => return None,
    };
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Some(1 + digits)
}

/// Letters, marks, numbers, punctuation and symbols: what the standard library's debug form of a
/// string leaves alone after the first character (a leading mark it would escape too).
fn is_printable(c: char) -> bool {
    let mut bytes = [b'a'; 5];
    let n = match bytes.get_mut(1..) {
        Some(rest) => c.encode_utf8(rest).len(),
        None => 0,
    };
    let text = bytes.get(..=n).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
    text.escape_debug().nth(1) == Some(c)
}

/// Text of at most 48 bytes without an allocation; the longest float in exponent form has 24.
struct Stack {
    bytes: [u8; 48],
    used: usize,
}

impl Default for Stack {
    fn default() -> Stack {
        Stack { bytes: [0; 48], used: 0 }
    }
}

impl Stack {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.used).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default()
    }
}

impl Write for Stack {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.used + s.len();
        self.bytes.get_mut(self.used..end).ok_or(fmt::Error)?.copy_from_slice(s.as_bytes());
        self.used = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_go_prints_them() {
        for (v, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (100_000.0, "100000"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-6.213_559_68e10, "-6.21355968e+10"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            let mut out = String::new();
            write_float(&mut out, v).unwrap();
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn bucket_bounds_have_a_point_or_an_exponent() {
        for (v, expected) in
            [(1.0, "1.0"), (0.25, "0.25"), (-1.0, "-1.0"), (1e6, "1e+06"), (f64::INFINITY, "+Inf")]
        {
            let mut out = String::new();
            write_label_float(&mut out, v).unwrap();
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn strings_as_go_quotes_them() {
        for (text, expected) in [
            ("", r#""""#),
            ("plain ~", r#""plain ~""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("\0\x1f\x7f", r#""\x00\x1f\x7f""#),
            ("é☃日", "\"é☃日\""),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{a0}\u{200b}\u{feff}\u{ad}", r#""\u00a0\u200b\ufeff\u00ad""#),
            ("\u{1f600}", "\"\u{1f600}\""),
            ("\u{e0001}\u{10ffff}", r#""\U000e0001\U0010ffff""#),
        ] {
            let mut out = String::new();
            write_quoted(&mut out, text).unwrap();
            assert_eq!(out, expected);
            let mut back = String::new();
            assert_eq!(read_quoted(&out.as_bytes()[1..], &mut back), Ok(out.len() - 1));
            assert_eq!(back, text);
        }
    }

    #[test]
    fn strings_that_go_does_not_write_are_refused() {
        for (text, at) in [
            ("abc", 3),
            (r#"ab\""#, 4),
            (r#"ab\q""#, 2),
            (r#"ab\x1g""#, 2),
            (r#"\ud800""#, 0),
            (r#"\U00110000""#, 0),
            (r#"\xff""#, 0),
            (r"\u00", 0),
            ("\\", 0),
        ] {
            let outcome = read_quoted(text.as_bytes(), &mut String::new());
            assert_eq!(outcome.map_err(|(at, _)| at), Err(at), "{text}");
        }
        let mut out = String::new();
        assert_eq!(read_quoted(br#"\xc3\xa9" rest"#, &mut out), Ok(9));
        assert_eq!(out, "é");
    }
}
