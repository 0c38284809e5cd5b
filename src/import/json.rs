//! A cursor over one line of JSON (RFC 8259): no tree, no allocation of its own, nothing nested deeper than a bound.
//!
//! Strict where it matters for what is stored (escapes, surrogates, UTF-8, control characters in strings); numbers
//! are cut out here and judged by who reads them.

/// The deepest nesting of what is skipped.
const MAX_DEPTH: usize = 64;

/// Where and why the line is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Offset in the line.
    pub(crate) at: usize,
    /// Why, in words.
    pub(crate) why: &'static str,
}

/// A place in a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the start.
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// The offset.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// A complaint about this place.
    pub(crate) fn bad<T>(&self, why: &'static str) -> Result<T, Bad> {
        Err(Bad { at: self.at, why })
    }

    /// The next byte behind blanks, if there is one; it is not taken.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let rest = self.rest();
        self.at += rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.bytes.get(self.at).copied()
    }

    /// Takes `byte` if it is next, behind blanks.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes `byte`, which must be next.
    pub(crate) fn expect(&mut self, byte: u8, why: &'static str) -> Result<(), Bad> {
        if self.take(byte) { Ok(()) } else { self.bad(why) }
    }

    /// Calls `each` at the start of each element of an array or object, whose `open`ing bracket is next.
    pub(crate) fn elements(
        &mut self,
        open: u8,
        close: u8,
        mut each: impl FnMut(&mut Self) -> Result<(), Bad>,
    ) -> Result<(), Bad> {
        self.expect(open, "expected an array or object of the other kind")?;
        if self.take(close) {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.take(close) {
                return Ok(());
            }
            self.expect(b',', "expected a comma or the closing bracket")?;
        }
    }

    /// A string, appended to `out` without its escapes.
    pub(crate) fn string(&mut self, out: &mut String) -> Result<(), Bad> {
        self.expect(b'"', "expected a string")?;
        loop {
            let rest = self.rest();
            let plain = rest.iter().position(|&b| b == b'"' || b == b'\\' || b < b' ').unwrap_or(rest.len());
            let text = rest.get(..plain).unwrap_or_default();
            match std::str::from_utf8(text) {
                Ok(text) => out.push_str(text),
                Err(e) => {
                    self.at += e.valid_up_to();
                    return self.bad("the string is not valid UTF-8");
                }
            }
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return self.bad("a control character in a string must be escaped"),
                None => return self.bad("the string does not end"),
            }
        }
    }

    /// A number or a word, whatever they say.
    pub(crate) fn bare(&mut self) -> &'a [u8] {
        self.peek();
        let rest = self.rest();
        let n =
            rest.iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')).count();
        self.at += n;
        rest.get(..n).unwrap_or_default()
    }

    /// Leaves a value out, whatever it is.
    pub(crate) fn skip(&mut self) -> Result<(), Bad> {
        self.skip_at(0)
    }

    fn skip_at(&mut self, depth: usize) -> Result<(), Bad> {
        if depth > MAX_DEPTH {
            return self.bad("the value nests too deep");
        }
        match self.peek() {
            Some(b'"') => self.string(&mut String::new()),
            Some(b'[') => self.elements(b'[', b']', |c| c.skip_at(depth + 1)),
            Some(b'{') => self.elements(b'{', b'}', |c| {
                c.string(&mut String::new())?;
                c.expect(b':', "expected a colon after the key")?;
                c.skip_at(depth + 1)
            }),
            _ => match self.bare() {
                [] => self.bad("expected a value"),
                _ => Ok(()),
            },
        }
    }

    /// What a backslash and what follows it mean.
    fn escape(&mut self) -> Result<char, Bad> {
        let rest = self.rest();
        let c = match rest.get(1) {
            Some(&c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.bad("an escape that JSON does not know"),
        };
        self.at += 2;
        Ok(c)
    }

    /// `\u` and four digits, or two of these that make one character.
    fn unicode(&mut self) -> Result<char, Bad> {
        let high = self.code_unit(0);
        if let Some(c) = high.and_then(char::from_u32) {
            self.at += 6;
            return Ok(c);
        }
        let pair = match (high, self.code_unit(6)) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
            }
            _ => None,
        };
        self.at += if pair.is_some() { 12 } else { 0 };
        pair.map_or_else(|| self.bad("\\u needs four hexadecimal digits that are a character"), Ok)
    }

    fn code_unit(&self, ahead: usize) -> Option<u32> {
        let digits = self.rest().get(ahead..ahead + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |code, &b| Some(code << 4 | char::from(b).to_digit(16)?))
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Result<String, usize> {
        let mut out = String::new();
        Cursor::new(text.as_bytes()).string(&mut out).map(|()| out).map_err(|bad| bad.at)
    }

    #[test]
    fn strings() {
        assert_eq!(string(r#" "a\"\\\/\b\f\n\r\té☃""#).unwrap(), "a\"\\/\x08\x0c\n\r\té☃");
        assert_eq!(string(r#""\u00e9\u0000\ud83d\ude00""#).unwrap(), "é\0\u{1f600}");
        for (text, at) in [
            ("abc", 0),
            (r#""abc"#, 4),
            (r#""a\q""#, 2),
            (r#""\ud800""#, 1),
            (r#""\ud800\u0041""#, 1),
            (r#""\udc00\ud800""#, 1),
            (r#""\u12""#, 1),
            (r#""\u+123""#, 1),
            ("\"a\nb\"", 2),
            (r#""\"#, 1),
        ] {
            assert_eq!(string(text), Err(at), "{text}");
        }
        assert_eq!(Cursor::new(b"\"a\xff\"").string(&mut String::new()).unwrap_err().at, 2);
    }

    #[test]
    fn values_that_are_skipped() {
        for text in ["1", "null", r#""x""#, "[]", "[1, [2, {}], \"]\"]", r#"{"a": {"b":[]}, "c" : -1.5e3}"#] {
            let mut cursor = Cursor::new(text.as_bytes());
            cursor.skip().unwrap();
            assert_eq!(cursor.at(), text.len(), "{text}");
        }
        for text in ["", ",", "[1 2]", "[1", "{1:2}", r#"{"a" 1}"#, "[,]"] {
            assert!(Cursor::new(text.as_bytes()).skip().is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Cursor::new(deep.as_bytes()).skip().unwrap_err().why, "the value nests too deep");
    }
}
