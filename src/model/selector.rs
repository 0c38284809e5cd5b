//! Conditions that hold together: what series a query, a delete, or an export is about.
//!
//! ```text
//!   up{job=~"n.*", instance!=""}        __name__="up"  AND  job=~"n.*"  AND  instance!=""
//! ```
//!
//! The text is PromQL's instant vector selector without offset and modifiers; `text` has the
//! grammar. A selector without any matcher would be every series by accident, so that it is an
//! error: who means it says [`Selector::all`]. Number and size of the matchers are bounded.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

use super::{METRIC_NAME, MatchOp, Matcher};

pub(super) mod text;

/// The most matchers in one selector.
pub(crate) const MAX_MATCHERS: usize = 128;
/// The most memory of all compiled expressions of one selector, in bytes.
pub(crate) const MAX_SELECTOR_COMPILED_BYTES: usize = 33_554_432;

/// Conditions that hold together.
///
/// Parsed from text, or built from matchers, or [`Selector::all`]. `Display` writes text that
/// parses to an equal selector, except for `all`, which it writes as `{}`.
///
/// ```
/// use silverback::Selector;
/// let selector: Selector = r#"up{job=~"n.*"}"#.parse()?;
/// assert_eq!(selector.matchers().len(), 2);
/// assert_eq!(selector.to_string(), r#"up{job=~"n.*"}"#);
/// assert!("{}".parse::<Selector>().is_err());
/// # Ok::<(), silverback::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Selector(Vec<Matcher>);

impl Selector {
    /// Selects every series.
    ///
    /// ```
    /// use silverback::Selector;
    /// assert!(Selector::all().matchers().is_empty());
    /// assert!("{}".parse::<Selector>().is_err(), "an empty selector in a text is a mistake more often than not");
    /// ```
    pub fn all() -> Selector {
        Selector(Vec::new())
    }

    /// From matchers, which all must hold.
    ///
    /// ```
    /// use silverback::{MatchOp, Matcher, Selector};
    /// let selector = Selector::from_matchers(vec![
    ///     Matcher::new(MatchOp::Equal, "__name__", "up")?,
    ///     Matcher::new(MatchOp::Regex, "job", "n.*")?,
    /// ])?;
    /// assert_eq!(selector, r#"up{job=~"n.*"}"#.parse()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSelector`] if there are none (see [`Selector::all`]), more than 128,
    /// or if their regular expressions take more than 32 MiB.
    pub fn from_matchers(matchers: impl IntoIterator<Item = Matcher>) -> Result<Selector> {
        let mut builder = Builder::default();
        for matcher in matchers {
            builder.add(matcher)?;
        }
        builder.finish()
    }

    /// The conditions; none for [`Selector::all`].
    pub fn matchers(&self) -> &[Matcher] {
        &self.0
    }

    /// The metric name, if one matcher asks for exactly it.
    #[cfg(test)]
    pub(crate) fn metric_name(&self) -> Option<&str> {
        self.0.iter().find(|m| m.op() == MatchOp::Equal && m.name() == METRIC_NAME).map(Matcher::value)
    }
}

/// Takes matchers one by one and stops at the limits, before more is compiled.
#[derive(Default)]
struct Builder {
    matchers: Vec<Matcher>,
    compiled_bytes: usize,
}

impl Builder {
    fn add(&mut self, matcher: Matcher) -> Result<()> {
        if self.matchers.len() == MAX_MATCHERS {
            return Err(Error::new(
                ErrorKind::InvalidSelector,
                format!("a selector has at most {MAX_MATCHERS} matchers"),
            ));
        }
        self.compiled_bytes = self.compiled_bytes.saturating_add(matcher.memory_bytes());
        if self.compiled_bytes > MAX_SELECTOR_COMPILED_BYTES {
            return Err(Error::new(
                ErrorKind::InvalidSelector,
                format!(
                    "the regular expressions of a selector take at most {MAX_SELECTOR_COMPILED_BYTES} bytes when compiled"
                ),
            ));
        }
        self.matchers.push(matcher);
        Ok(())
    }

    fn finish(self) -> Result<Selector> {
        match self.matchers.is_empty() {
            true => Err(Error::new(
                ErrorKind::InvalidSelector,
                "the selector is empty; {__name__=~\".+\"} selects every series that has a name (in code, Selector::all() every series)",
            )),
            false => Ok(Selector(self.matchers)),
        }
    }
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(s: &str) -> Result<Selector> {
        text::parse_selector(s)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        if let Some((first, others)) = rest.split_first()
            && first.op() == MatchOp::Equal
            && first.name() == METRIC_NAME
            && text::is_plain_metric_name(first.value())
            && others.iter().all(|m| m.name() != METRIC_NAME)
        {
            f.write_str(first.value())?;
            if others.is_empty() {
                return Ok(());
            }
            rest = others;
        }
        f.write_str("{")?;
        for (i, matcher) in rest.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{matcher}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selector({self})")
    }
}

#[cfg(test)]
mod tests;
