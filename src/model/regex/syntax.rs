//! Go's regular expression syntax (RE2), rewritten into that of `regex-syntax`, and parsed.
//!
//! The two agree in most; this is what differs, and what is done about it:
//!
//! | Go | here |
//! |---|---|
//! | `\d \w \s \b` are ASCII, `\s` without `\v` | rewritten so |
//! | `\Q…\E`, `\123` octal, `\p{^Greek}` | rewritten |
//! | a `{` that begins no repetition is itself | escaped |
//! | in a class, `[`, `&&`, `--`, `~~` are themselves; a first `]` too | the class is parsed as Go does and written anew |
//! | `\<`, `\>` and all escaped punctuation are themselves | escaped |
//! | groups capture | they only group: nobody asks for captures |
//! | `(?x)`, `(?u)`, `\u0041`, back references, look-around are errors | errors too |
//! | repetition counts above 1,000, `a**` are errors | taken, if the compiled size allows |
//! | names of `\p{…}` are exact | case and spelling variants are taken too |
//!
//! A map of offsets is kept, so that an error of the parser behind names the place in the
//! pattern that the caller wrote.

use regex_syntax::hir::Hir;
use regex_syntax::{ParserBuilder, ast, is_meta_character};

use super::{MAX_NESTING, MAX_UNICODE_CLASSES, RegexError};

/// Parses a pattern, with `.` matching newlines; anchors are up to the caller.
pub(super) fn parse(pattern: &str) -> Result<Hir, RegexError> {
    let mut t = Translator { pattern, at: 0, out: String::new(), map: Vec::new(), unicode_classes: 0 };
    t.run()?;
    let mut parser = ParserBuilder::new();
    parser.nest_limit(MAX_NESTING).dot_matches_new_line(true).utf8(false);
    parser.build().parse(&t.out).map_err(|error| t.error(&error))
}

const DIGIT: &str = "0-9";
const SPACE: &str = r"\t\n\f\r ";
const WORD: &str = "0-9A-Za-z_";

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

struct Translator<'p> {
    pattern: &'p str,
    at: usize,
    out: String,
    /// (offset in `out`, offset in `pattern`) of each unit, ascending.
    map: Vec<(usize, usize)>,
    unicode_classes: usize,
}

impl<'p> Translator<'p> {
    fn run(&mut self) -> Result<(), RegexError> {
        while let Some(c) = self.peek() {
            self.map.push((self.out.len(), self.at));
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' => self.brace(),
                c => {
                    self.bump();
                    self.out.push(c);
                }
            }
        }
        Ok(())
    }

    fn rest(&self) -> &'p str {
        self.pattern.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn literal(&mut self, c: char) {
        if is_meta_character(c) {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    /// The parser behind complained: says so in terms of the caller's pattern.
    fn error(&self, error: &regex_syntax::Error) -> RegexError {
        let (offset, message) = match error {
            regex_syntax::Error::Parse(e) => match e.kind() {
                ast::ErrorKind::NestLimitExceeded(limit) => {
                    (e.span().start.offset, format!("it is nested deeper than the limit of {limit}"))
                }
                kind => (e.span().start.offset, kind.to_string()),
            },
            regex_syntax::Error::Translate(e) => (e.span().start.offset, e.kind().to_string()),
            _ => (0, String::from("it cannot be parsed")),
        };
        let unit = self.map.partition_point(|(out, _)| *out <= offset).saturating_sub(1);
        RegexError::malformed(self.map.get(unit).map_or(0, |(_, at)| *at), message)
    }

    /// A group: captures become plain groups, flags are those of Go.
    fn group(&mut self) -> Result<(), RegexError> {
        let open = self.at;
        self.bump();
        if !self.eat("?") {
            self.out.push_str("(?:");
            return Ok(());
        }
        let rest = self.rest();
        if ["=", "!", "<=", "<!"].iter().any(|look| rest.starts_with(look)) {
            return Err(RegexError::malformed(open, "look-around is not supported"));
        }
        if self.eat("P<") || self.eat("<") {
            let name = self.rest().split('>').next().unwrap_or_default();
            let valid = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
            self.at += name.len();
            if !valid || !self.eat(">") {
                return Err(RegexError::malformed(open, "the name of the group is malformed"));
            }
            self.out.push_str("(?:");
            return Ok(());
        }
        self.out.push_str("(?");
        loop {
            match self.bump() {
                Some(c @ ('i' | 'm' | 's' | 'U' | '-')) => self.out.push(c),
                Some(c @ (':' | ')')) => {
                    self.out.push(c);
                    return Ok(());
                }
                _ => {
                    return Err(RegexError::malformed(open, "the flags of a group are i, m, s and U"));
                }
            }
        }
    }

    /// A repetition, or the brace itself.
    fn brace(&mut self) {
        self.bump();
        let inside = self.rest().split('}').next().unwrap_or_default();
        let closed = self.rest().len() > inside.len();
        let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let repetition = match inside.split_once(',') {
            Some((min, max)) => number(min) && (max.is_empty() || number(max)),
            None => number(inside),
        };
        self.out.push_str(if closed && repetition { "{" } else { "\\{" });
    }

    /// A backslash outside a class.
    fn escape(&mut self) -> Result<(), RegexError> {
        let at = self.at;
        self.bump();
        match self.peek() {
            None => return Err(RegexError::malformed(at, "a backslash ends it")),
            Some('b') => self.out.push_str(r"(?-u:\b)"),
            Some('B') => self.out.push_str(r"(?-u:\B)"),
            Some(c @ ('A' | 'z')) => {
                self.out.push('\\');
                self.out.push(c);
            }
            Some('Q') => return self.quoted(),
            Some(c) => {
                if let Some((negated, items)) = perl_class(c) {
                    self.out.push_str(if negated { "[^" } else { "[" });
                    self.out.push_str(items);
                    self.out.push(']');
                } else if matches!(c, 'p' | 'P') {
                    return self.unicode_class();
                } else {
                    let c = self.escaped_char(at)?;
                    self.literal(c);
                    return Ok(());
                }
            }
        }
        self.bump();
        Ok(())
    }

    /// `Q…\E`, or to the end.
    fn quoted(&mut self) -> Result<(), RegexError> {
        self.bump();
        while let Some(c) = self.peek() {
            if self.eat("\\E") {
                break;
            }
            self.map.push((self.out.len(), self.at));
            self.bump();
            self.literal(c);
        }
        Ok(())
    }

    /// `pN`, `p{Name}`, `p{^Name}`, and with a capital P their negation.
    fn unicode_class(&mut self) -> Result<(), RegexError> {
        let at = self.at;
        self.unicode_classes += 1;
        if self.unicode_classes > MAX_UNICODE_CLASSES {
            return Err(RegexError::malformed(
                at,
                format!("it has more Unicode classes than the limit of {MAX_UNICODE_CLASSES}"),
            ));
        }
        let mut negated = self.bump() == Some('P');
        let name = match self.bump() {
            Some('{') => {
                negated ^= self.eat("^");
                let name = self.rest().split('}').next().unwrap_or_default();
                self.at += name.len();
                if !self.eat("}") { "" } else { name }
            }
            Some(c) => self.pattern.get(self.at - c.len_utf8()..self.at).unwrap_or_default(),
            None => "",
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(RegexError::malformed(at, "the name of the Unicode class is malformed"));
        }
        self.out.push_str(if negated { "\\P{" } else { "\\p{" });
        self.out.push_str(name);
        self.out.push('}');
        Ok(())
    }

    /// What follows a backslash and stands for one character.
    fn escaped_char(&mut self, backslash: usize) -> Result<char, RegexError> {
        let bad = |what: &str| Err(RegexError::malformed(backslash, what));
        let c = self.bump();
        match c {
            Some('a') => Ok('\u{7}'),
            Some('f') => Ok('\u{c}'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('v') => Ok('\u{b}'),
            Some('x') => self.hex(backslash),
            Some(digit @ '0'..='7') => {
                let mut value = digit.to_digit(8).unwrap_or_default();
                let digits = self.rest().chars().take(2).map_while(|c| c.to_digit(8)).collect::<Vec<_>>();
                if digit != '0' && digits.is_empty() {
                    return bad("back references are not supported");
                }
                for d in digits {
                    self.bump();
                    value = value * 8 + d;
                }
                char::from_u32(value).map_or_else(|| bad("this is no character"), Ok)
            }
            Some('8' | '9') => bad("back references are not supported"),
            Some(c) if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => bad("this escape is not known"),
        }
    }

    /// `7F` or `{10FFFF}`.
    fn hex(&mut self, backslash: usize) -> Result<char, RegexError> {
        let digits = match self.eat("{") {
            true => {
                let digits = self.rest().split('}').next().unwrap_or_default();
                self.at += digits.len();
                if self.eat("}") { digits } else { "" }
            }
            false => {
                let digits = self.rest().get(..2).unwrap_or_default();
                self.at += digits.len();
                digits
            }
        };
        let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
        let value = u32::from_str_radix(digits, 16).ok().filter(|_| plain);
        let c = value.and_then(char::from_u32);
        c.ok_or_else(|| RegexError::malformed(backslash, "after \\x stand two hex digits, or more in braces"))
    }

    /// A class in brackets, item by item as Go reads it.
    fn class(&mut self) -> Result<(), RegexError> {
        let open = self.at;
        self.bump();
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            self.map.push((self.out.len(), self.at));
            match self.peek() {
                None => return Err(RegexError::malformed(open, "the class is not closed by a bracket")),
                Some(']') if !first => break,
                Some(_) => self.class_item()?,
            }
            first = false;
        }
        self.bump();
        self.out.push(']');
        Ok(())
    }

    fn class_item(&mut self) -> Result<(), RegexError> {
        let at = self.at;
        let rest = self.rest();
        if let Some(name) = rest.strip_prefix("[:").and_then(|r| r.split_once(":]")).map(|(name, _)| name) {
            if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
                return Err(RegexError::malformed(at, "no such named class"));
            }
            self.at += name.len() + 4;
            self.out.push_str("[:");
            self.out.push_str(name);
            self.out.push_str(":]");
            return Ok(());
        }
        if let Some(c) = rest.strip_prefix('\\').and_then(|r| r.chars().next()) {
            if matches!(c, 'p' | 'P') {
                self.bump();
                return self.unicode_class();
            }
            if let Some((negated, items)) = perl_class(c) {
                self.at += 2;
                self.out.push_str(if negated { "[^" } else { "" });
                self.out.push_str(items);
                self.out.push_str(if negated { "]" } else { "" });
                return Ok(());
            }
        }
        let low = self.class_char(at)?;
        self.literal(low);
        let ranged = self.rest().strip_prefix('-').is_some_and(|r| !r.is_empty() && !r.starts_with(']'));
        if ranged {
            self.bump();
            let high = self.class_char(at)?;
            if high < low {
                return Err(RegexError::malformed(at, "the range ends before it starts"));
            }
            self.out.push('-');
            self.literal(high);
        }
        Ok(())
    }

    fn class_char(&mut self, at: usize) -> Result<char, RegexError> {
        match self.bump() {
            Some('\\') => self.escaped_char(at),
            Some(c) => Ok(c),
            None => Err(RegexError::malformed(at, "the class is not closed by a bracket")),
        }
    }
}

/// The items of `\d` and its kin, and whether they are negated.
fn perl_class(c: char) -> Option<(bool, &'static str)> {
    let items = match c.to_ascii_lowercase() {
        'd' => DIGIT,
        's' => SPACE,
        'w' => WORD,
        _ => return None,
    };
    Some((c.is_ascii_uppercase(), items))
}
