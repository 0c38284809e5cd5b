//! One condition on one label, with what an index needs to know of it.
//!
//! ```text
//!   job =  "node"       value == "node"
//!   job != "node"       the opposite
//!   job =~ "n.*"        all of the value matches the regular expression
//!   job !~ "n.*"        the opposite
//! ```
//!
//! An absent label has the empty value, so that `job=""` and `job=~".*"` also take series without
//! the label. For the index, every matcher is a *base* (an equality or a regular expression), or
//! the negation of one; [`literals`](Matcher::literals), [`prefix`](Matcher::prefix) and
//! [`base_matches`](Matcher::base_matches) speak of the base.
//!
//! Cost: a clone shares the compiled expression; a test of a value is linear in the value.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use memchr::memmem::Finder;

use crate::error::{Error, ErrorKind, Result};

use super::regex::Regex;
use super::selector::text;
use super::{MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES};

/// How a matcher compares.
///
/// ```
/// use silverback::{MatchOp, Matcher};
/// assert!(Matcher::new(MatchOp::NotRegex, "job", "a|b")?.matches("c"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`: the value is this one.
    Equal,
    /// `!=`: the value is another.
    NotEqual,
    /// `=~`: the regular expression matches all of the value.
    Regex,
    /// `!~`: it does not.
    NotRegex,
}

impl MatchOp {
    /// As it is written in a selector.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

impl fmt::Display for MatchOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One condition on one label; an absent label has the empty value.
///
/// Regular expressions are Go's (RE2), match the whole value, and their `.` takes newlines, as in
/// Prometheus 3. Cloning is cheap. `Display` writes `job=~"n.*"`, which `FromStr` reads.
///
/// ```
/// use silverback::{MatchOp, Matcher};
/// let matcher = Matcher::new(MatchOp::Regex, "job", "node|redis")?;
/// assert!(matcher.matches("redis") && !matcher.matches("redis2"));
/// assert_eq!(matcher, r#"job=~"node|redis""#.parse()?);
/// # Ok::<(), silverback::Error>(())
/// ```
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Arc<Regex>>,
}

impl Matcher {
    /// Makes one; compiles the regular expression.
    ///
    /// ```
    /// use silverback::{MatchOp, Matcher};
    /// let matcher = Matcher::new(MatchOp::Regex, "job", "no.*")?;
    /// assert!(matcher.matches("node") && !matcher.matches("a node"), "the whole value must match");
    /// assert!(Matcher::new(MatchOp::Regex, "job", "(").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSelector`] for an empty or overlong label name, an overlong value, and
    /// a regular expression that is malformed (the message says where) or above a limit (the
    /// message names it): 256 KiB of text, 8 MiB compiled, 128 levels of nesting.
    pub fn new(op: MatchOp, name: impl Into<String>, value: impl Into<String>) -> Result<Matcher> {
        let (name, value) = (name.into(), value.into());
        if name.is_empty() || name.len() > MAX_LABEL_NAME_BYTES {
            return Err(invalid(format!(
                "the label name of a matcher has {} bytes; it must have 1 to {MAX_LABEL_NAME_BYTES}",
                name.len()
            )));
        }
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => {
                if value.len() > MAX_LABEL_VALUE_BYTES {
                    return Err(invalid(format!(
                        "the value of a matcher on label {name:?} has {} bytes, above the limit of {MAX_LABEL_VALUE_BYTES}",
                        value.len()
                    )));
                }
                None
            }
            MatchOp::Regex | MatchOp::NotRegex => Some(Arc::new(compiled(&name, &value)?)),
        };
        Ok(Matcher { name, op, value, regex })
    }

    /// The label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The comparison.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or regular expression.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label value fulfils it; an absent label has the empty value.
    pub fn matches(&self, value: &str) -> bool {
        self.base_matches(value) != self.is_negative()
    }

    /// Whether series without the label fulfil it.
    pub(crate) fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether it is `!=` or `!~`: the negation of its base.
    pub(crate) fn is_negative(&self) -> bool {
        matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// Whether a value fulfils the equality or expression, negated or not.
    pub(crate) fn base_matches(&self, value: &str) -> bool {
        match &self.regex {
            Some(regex) => regex.is_match(value),
            None => self.value == value,
        }
    }

    /// All values that fulfil the base, sorted and unique, where they are a small finite set.
    pub(crate) fn literals(&self) -> Option<&[String]> {
        match &self.regex {
            Some(regex) => regex.literals(),
            None => Some(std::slice::from_ref(&self.value)),
        }
    }

    /// What every value that fulfils the base starts with; often empty.
    pub(crate) fn prefix(&self) -> &str {
        match &self.regex {
            Some(regex) => regex.prefix(),
            None => &self.value,
        }
    }

    /// What every value that fulfils the base contains, where that is worth looking for.
    pub(crate) fn infix(&self) -> Option<&Finder<'static>> {
        self.regex.as_ref().and_then(|regex| regex.infix())
    }

    /// Whether the base is `.*` or `.+`: every value that a label can have fulfils it.
    pub(crate) fn base_is_any_value(&self) -> bool {
        self.regex.as_ref().is_some_and(|r| r.is_everything() || r.is_non_empty())
    }

    /// The memory that the compiled expression takes, about, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.regex.as_ref().map_or(0, |r| r.memory_bytes())
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidSelector, message)
}

fn compiled(name: &str, pattern: &str) -> Result<Regex> {
    const SHOWN: usize = 60;
    Regex::new(pattern).map_err(|e| {
        let shown: String = pattern.chars().take(SHOWN).collect();
        let dots = if shown.len() < pattern.len() { "…" } else { "" };
        let at = e.at.map(|at| format!(" at byte {}", at + 1)).unwrap_or_default();
        invalid(format!(
            "the regular expression {shown:?}{dots} for label {name:?} is refused{at}: {}",
            e.message
        ))
    })
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write_label_name(f, &self.name)?;
        f.write_str(self.op.as_str())?;
        text::write_quoted(f, &self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matcher({self})")
    }
}

/// Reads `job=~"n.*"`: one matcher as it stands between the braces of a selector.
impl FromStr for Matcher {
    type Err = Error;

    fn from_str(s: &str) -> Result<Matcher> {
        text::parse_matcher(s)
    }
}

#[cfg(test)]
mod tests {
    use super::super::regex::MAX_PATTERN_BYTES;
    use super::*;

    fn matcher(op: MatchOp, value: &str) -> Matcher {
        Matcher::new(op, "l", value).unwrap()
    }

    #[test]
    fn an_absent_label_has_the_empty_value() {
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        let table = [
            (Equal, "", true, false),
            (Equal, "a", false, true),
            (NotEqual, "", false, true),
            (NotEqual, "a", true, false),
            (Regex, "", true, false),
            (Regex, ".*", true, true),
            (Regex, ".+", false, true),
            (Regex, "a|", true, true),
            (Regex, "a?", true, true),
            (NotRegex, "", false, true),
            (NotRegex, ".*", false, false),
            (NotRegex, ".+", true, false),
            (NotRegex, "a", true, false),
            (NotRegex, "b", true, true),
        ];
        for (op, value, empty, a) in table {
            let m = matcher(op, value);
            assert_eq!((m.matches_empty(), m.matches("a")), (empty, a), "{m}");
        }
    }

    #[test]
    fn sizes_are_limited_and_the_messages_name_the_limits() {
        let refused = |op, name: &str, value: &str, says: &str| {
            let error = Matcher::new(op, name, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSelector);
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.to_string().len() < 500, "a message stays short");
        };
        let name = "n".repeat(MAX_LABEL_NAME_BYTES);
        let value = "v".repeat(MAX_LABEL_VALUE_BYTES);
        let pattern = "p".repeat(MAX_PATTERN_BYTES);
        assert!(Matcher::new(MatchOp::Equal, &name, &value).is_ok());
        assert!(Matcher::new(MatchOp::Regex, &name, &pattern).is_ok());
        refused(MatchOp::Equal, "", "", "1 to 1024");
        refused(MatchOp::Equal, &(name + "n"), "", "1024");
        refused(MatchOp::NotEqual, "n", &(value + "v"), "65535");
        refused(MatchOp::Regex, "n", &(pattern + "p"), "262144");
        refused(MatchOp::Regex, "n", "ab(c", "at byte 3");
        refused(MatchOp::NotRegex, "n", "(a{1000}){1000}", "8388608");
    }

    #[test]
    fn equality_is_of_what_was_written() {
        assert_eq!(matcher(MatchOp::Regex, "a|b"), matcher(MatchOp::Regex, "a|b"));
        assert_ne!(matcher(MatchOp::Regex, "a|b"), matcher(MatchOp::Regex, "b|a"));
        assert_ne!(matcher(MatchOp::Regex, "a"), matcher(MatchOp::Equal, "a"));
    }
}
