//! Escapes, and the labels of one series in a buffer that is used again and again.
//!
//! `\\`, `\"` and `\n` are escapes in names and values; any other backslash stands for itself, as
//! in Prometheus. Help texts of Prometheus text know `\\` and `\n` only.

use super::go;
use super::number;
use super::scan::{Head, Span};

/// The names and values of one series, unescaped, in one buffer.
///
/// ```
/// use silverback::import::{Event, Format, LabelBuffer, check};
/// let mut labels = LabelBuffer::default();
/// check(&b"up{job=\"a\\nb\"} 1\n"[..], Format::Text, false, |event| {
///     if let Event::Sample(sample) = event {
///         sample.labels(&mut labels);
///     }
/// })?;
/// assert_eq!(labels.iter().collect::<Vec<_>>(), [("__name__", "up"), ("job", "a\nb")]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct LabelBuffer {
    text: String,
    pairs: Vec<(Span, Span)>,
}

impl LabelBuffer {
    /// Name and value of each label, `__name__` first and the others as in the input: neither
    /// sorted nor checked; a value may be empty and a name may stand twice.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (self.part(*name), self.part(*value)))
    }

    fn part(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Takes the labels of a series; `number_label` is the label whose value is a number that is
    /// to be spelled as Prometheus spells it.
    pub(crate) fn fill(&mut self, series: &[u8], head: &Head, number_label: Option<&str>) {
        self.clear();
        let name = self.push("__name__".as_bytes());
        let value = self.push(head.name.unwrap_or_default().of(series));
        self.pairs.push((name, value));
        for label in &head.labels {
            let name = self.push(label.name.of(series));
            let spelled = number_label.filter(|n| *n == self.part(name));
            let value = match spelled.and_then(|_| number::label_float(label.value.of(series))) {
                Some(v) => self.push_float(v),
                None => self.push(label.value.of(series)),
            };
            self.pairs.push((name, value));
        }
    }

    /// Without any label.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.pairs.clear();
    }

    /// Adds a label: `write` appends its name, then its value, when it is called for either.
    pub(crate) fn add<E>(&mut self, mut write: impl FnMut(&mut String) -> Result<(), E>) -> Result<(), E> {
        let start = self.text.len();
        write(&mut self.text)?;
        let middle = self.text.len();
        write(&mut self.text)?;
        self.pairs.push((Span { start, end: middle }, Span { start: middle, end: self.text.len() }));
        Ok(())
    }

    fn push(&mut self, escaped: &[u8]) -> Span {
        let start = self.text.len();
        unescape(escaped, true, &mut self.text);
        Span { start, end: self.text.len() }
    }

    fn push_float(&mut self, v: f64) -> Span {
        let start = self.text.len();
        // Writing to a String cannot fail.
        let _ = go::write_label_float(&mut self.text, v);
        Span { start, end: self.text.len() }
    }
}

/// Appends `escaped` without its escapes. Bytes that are not UTF-8, which the parser refuses
/// before, would become replacement characters.
pub(crate) fn unescape(escaped: &[u8], quotes: bool, out: &mut String) {
    let mut rest = escaped;
    while let Some(n) = memchr::memchr(b'\\', rest) {
        let (plain, tail) = rest.split_at_checked(n).unwrap_or((rest, &[]));
        push_text(plain, out);
        let (c, used) = match tail.get(1) {
            Some(b'\\') => ('\\', 2),
            Some(b'n') => ('\n', 2),
            Some(b'"') if quotes => ('"', 2),
            _ => ('\\', 1),
        };
        out.push(c);
        rest = tail.get(used..).unwrap_or_default();
    }
    push_text(rest, out);
}

fn push_text(bytes: &[u8], out: &mut String) {
    match std::str::from_utf8(bytes) {
        Ok(text) => out.push_str(text),
        Err(_) => out.push_str(&String::from_utf8_lossy(bytes)),
    }
}

/// How many characters the text has without its escapes.
pub(crate) fn chars_unescaped(escaped: &[u8]) -> usize {
    let mut text = String::new();
    unescape(escaped, true, &mut text);
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_prometheus() {
        for (escaped, quotes, expected) in [
            ("plain", true, "plain"),
            (r#"a\"b"#, true, "a\"b"),
            (r#"a\"b"#, false, "a\\\"b"),
            (r"a\\nb", true, r"a\nb"),
            (r"a\nb", true, "a\nb"),
            (r"\t\\", true, "\\t\\"),
            ("☃\\n", false, "☃\n"),
            ("end\\", true, "end\\"),
        ] {
            let mut out = String::new();
            unescape(escaped.as_bytes(), quotes, &mut out);
            assert_eq!(out, expected);
        }
        assert_eq!(chars_unescaped("☃\\n".as_bytes()), 2);
    }
}
