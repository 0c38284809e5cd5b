//! The text of selectors: parser and writer.
//!
//! ```text
//!   selector = name | [name] "{" [item ("," item)* [","]] "}"        white space between tokens
//!   item     = label op string | string op string | string           the last: a quoted metric name
//!   op       = "=" | "!=" | "=~" | "!~"
//!   name     = [a-zA-Z_:][a-zA-Z0-9_:]*          label = [a-zA-Z_][a-zA-Z0-9_]*
//!   string   = "…" | '…' | `…`
//! ```
//!
//! Strings are PromQL's: in `"…"` and `'…'` a backslash begins `a b f n r t v \`, the quote,
//! three octal digits, `x` and two, `u` and four, or `U` and eight hex digits; octal and `\x` give
//! bytes, which together must be UTF-8. A line break must be escaped. In backticks nothing is.
//!
//! Errors name the byte column, from 1, and what was expected there. No recursion, one pass.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{METRIC_NAME, MatchOp, Matcher};

use super::{Builder, Selector};

/// The longest text of a selector, in bytes.
pub(crate) const MAX_SELECTOR_BYTES: usize = 1_048_576;

/// Parses a selector.
pub(super) fn parse_selector(text: &str) -> Result<Selector> {
    let mut p = Parser::new(text)?;
    let mut builder = Builder::default();
    let mut named = false;
    p.skip_space();
    if let Some(name) = p.word(|c| c == ':') {
        named = true;
        builder.add(p.matcher(1, MatchOp::Equal, METRIC_NAME, name)?)?;
        p.skip_space();
    }
    match (p.eat("{"), named) {
        (true, _) => p.items(&mut builder, named)?,
        (false, true) => {}
        (false, false) => return Err(p.expected("a metric name or an opening brace")),
    }
    p.end()?;
    builder.finish()
}

/// Parses one matcher.
pub(in crate::model) fn parse_matcher(text: &str) -> Result<Matcher> {
    let mut p = Parser::new(text)?;
    p.skip_space();
    let (name, quoted) = p.label_name()?;
    p.skip_space();
    let Some(op) = p.op() else { return Err(p.expected_op(quoted)) };
    let matcher = p.condition(op, &name)?;
    p.end()?;
    Ok(matcher)
}

/// Whether it can stand before the brace as it is.
pub(in crate::model) fn is_plain_metric_name(name: &str) -> bool {
    is_plain(name, |c| c == ':')
}

/// Writes a label name as it is, or quoted where it must be.
pub(in crate::model) fn write_label_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    match is_plain(name, |_| false) {
        true => f.write_str(name),
        false => write_quoted(f, name),
    }
}

/// Writes a string in double quotes, with what needs it escaped.
pub(in crate::model) fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '\\' => f.write_str("\\\\")?,
            '"' => f.write_str("\\\"")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

fn is_plain(name: &str, also: impl Fn(char) -> bool) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || also(c))
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Parser<'t>> {
        match text.len() <= MAX_SELECTOR_BYTES {
            true => Ok(Parser { text, at: 0 }),
            false => Err(Error::new(
                ErrorKind::InvalidSelector,
                format!("the selector has {} bytes, above the limit of {MAX_SELECTOR_BYTES}", text.len()),
            )),
        }
    }

    /// What stands between the braces, and the closing one.
    fn items(&mut self, builder: &mut Builder, mut named: bool) -> Result<()> {
        loop {
            self.skip_space();
            if self.eat("}") {
                return Ok(());
            }
            let start = self.at;
            let (name, quoted) = self.label_name()?;
            self.skip_space();
            let matcher = match self.op() {
                Some(op) => {
                    if named && name == METRIC_NAME {
                        return Err(self.error(start, "the metric name is given already"));
                    }
                    self.condition(op, &name)?
                }
                None if quoted && matches!(self.peek(), Some(',' | '}')) => {
                    let again = builder.matchers.iter().any(|m| m.name() == METRIC_NAME);
                    if named || again {
                        return Err(self.error(start, "the metric name is given already"));
                    }
                    named = true;
                    self.matcher(start, MatchOp::Equal, METRIC_NAME, &name)?
                }
                None => return Err(self.expected_op(quoted)),
            };
            builder.add(matcher)?;
            self.skip_space();
            if !self.eat(",") && self.peek() != Some('}') {
                return Err(self.expected("a comma or a closing brace"));
            }
        }
    }

    /// A label name, plain or quoted, and whether it was quoted.
    fn label_name(&mut self) -> Result<(String, bool)> {
        if let Some(word) = self.word(|_| false) {
            return Ok((word.to_owned(), false));
        }
        let start = self.at;
        match self.string()? {
            Some(name) if name.is_empty() => Err(self.error(start, "a name cannot be empty")),
            Some(name) => Ok((name, true)),
            None => Err(self.expected("a label name, or a name in quotes")),
        }
    }

    fn op(&mut self) -> Option<MatchOp> {
        let ops = [MatchOp::Regex, MatchOp::NotRegex, MatchOp::NotEqual, MatchOp::Equal];
        ops.into_iter().find(|op| self.eat(op.as_str()))
    }

    fn condition(&mut self, op: MatchOp, name: &str) -> Result<Matcher> {
        self.skip_space();
        let start = self.at;
        match self.string()? {
            Some(value) => self.matcher(start, op, name, &value),
            None => Err(self.expected("a value in quotes")),
        }
    }

    /// Adds the column to what making the matcher complains of.
    fn matcher(&self, start: usize, op: MatchOp, name: &str, value: &str) -> Result<Matcher> {
        Matcher::new(op, name, value).map_err(|e| self.error(start, &e.to_string()))
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn word(&mut self, also: impl Fn(char) -> bool) -> Option<&'t str> {
        let rest = self.rest();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || also(c))).unwrap_or(rest.len());
        let word = rest.get(..end).filter(|w| is_plain(w, &also))?;
        self.at += end;
        Some(word)
    }

    fn end(&mut self) -> Result<()> {
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end")),
        }
    }

    /// A string in quotes, if one begins here.
    fn string(&mut self) -> Result<Option<String>> {
        let start = self.at;
        let quote = match self.peek() {
            Some(c @ ('"' | '\'' | '`')) => c,
            _ => return Ok(None),
        };
        self.bump();
        let mut bytes = Vec::new();
        loop {
            let at = self.at;
            match self.bump() {
                Some(c) if c == quote => break,
                Some('\\') if quote != '`' => self.escape(at, quote, &mut bytes)?,
                None => return Err(self.error(start, "the string is not closed")),
                Some('\n') if quote != '`' => {
                    return Err(self.error(at, "a line break in a string must be escaped as \\n"));
                }
                Some(_) => bytes.extend_from_slice(self.text.get(at..self.at).unwrap_or_default().as_bytes()),
            }
        }
        match String::from_utf8(bytes) {
            Ok(string) => Ok(Some(string)),
            Err(_) => Err(self.error(start, "the bytes that the string's escapes stand for are not UTF-8")),
        }
    }

    fn escape(&mut self, at: usize, quote: char, out: &mut Vec<u8>) -> Result<()> {
        let byte = match self.bump() {
            Some('a') => 0x07,
            Some('b') => 0x08,
            Some('f') => 0x0c,
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('v') => 0x0b,
            Some('\\') => b'\\',
            Some(c) if c == quote => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            Some('x') => self.byte(at, 2, 16)?,
            Some('0'..='7') => {
                self.at -= 1;
                self.byte(at, 3, 8)?
            }
            Some('u') => return self.character(at, 4, out),
            Some('U') => return self.character(at, 8, out),
            _ => return Err(self.error(at, "this escape is not known; write \\\\ for a backslash")),
        };
        out.push(byte);
        Ok(())
    }

    fn byte(&mut self, at: usize, digits: usize, radix: u32) -> Result<u8> {
        let value = self.digits(at, digits, radix)?;
        u8::try_from(value).map_err(|_| self.error(at, "this escape stands for no byte"))
    }

    fn character(&mut self, at: usize, digits: usize, out: &mut Vec<u8>) -> Result<()> {
        let value = self.digits(at, digits, 16)?;
        let Some(c) = char::from_u32(value) else {
            return Err(self.error(at, "this escape stands for no character"));
        };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn digits(&mut self, at: usize, digits: usize, radix: u32) -> Result<u32> {
        let text = self.rest().get(..digits).filter(|t| t.chars().all(|c| c.is_digit(radix)));
        match text.and_then(|t| u32::from_str_radix(t, radix).ok()) {
            Some(value) => {
                self.at += digits;
                Ok(value)
            }
            None => Err(self.error(at, "this escape has too few digits")),
        }
    }

    fn error(&self, at: usize, what: &str) -> Error {
        Error::new(ErrorKind::InvalidSelector, format!("selector, column {}: {what}", at + 1))
    }

    fn expected(&self, what: &str) -> Error {
        let found = match self.peek() {
            Some(c) => format!("{c:?}"),
            None => String::from("the end"),
        };
        self.error(self.at, &format!("expected {what}, found {found}"))
    }

    fn expected_op(&self, quoted: bool) -> Error {
        let hint = if quoted { "" } else { "; a name with other characters must be quoted" };
        self.expected(&format!("=, !=, =~ or !~{hint}"))
    }
}
