//! The property of the parsers that fuzzing checks: any bytes are read to their end without a
//! panic, and it does not matter in what pieces they arrive. Of the formats that are no exposition text, the
//! import is what is compared. Of exposition text, the import, which takes plain lines without the lexer, is compared
//! with the lexer's events.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::grammar::Grammar;
use super::parser::{Event, Fault, ParseError, Parser};
use super::run::{BAD_LABELS, OUT_OF_RANGE};
use super::{
    Format, ImportOptions, Input, LabelBuffer, MissingTimestamp, OnError, SampleSink, check, import,
};
use crate::{Cancel, Labels, Metadata, Result};

/// Gives one byte at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(1);
        self.0.read(out.get_mut(..n).unwrap_or_default())
    }
}

/// Reads `data` at once and in drips, going on behind faults, and OpenMetrics with the strict rules.
pub(crate) fn fuzz(data: &[u8], format: Format) {
    let grammar = match format {
        Format::Text => Grammar::Text,
        Format::OpenMetrics => Grammar::OpenMetrics,
        _ => return assert_eq!(imported(data, format), imported(Drip(data), format)),
    };
    let whole = outline(data, grammar, data.len());
    let drips = outline(Drip(data), grammar, data.len());
    assert_eq!(whole, drips, "the pieces in which the bytes arrive must not matter");
    let (words, _, rejected) = imported(data, format);
    let (expected, faults) = from_events(data, grammar);
    assert_eq!(by_series(words), by_series(expected));
    assert_eq!(rejected, faults.get(..rejected.len()).unwrap_or(&faults), "the same lines are left out");
    assert!(rejected.len() == faults.len() || rejected.len() == 100, "all of them are told, up to a hundred");
    let strict = check(data, format, format == Format::OpenMetrics, |_| {});
    assert!(strict.is_ok(), "reading from memory cannot fail");
}

/// What an import makes of the input, in words.
fn imported(input: impl Read, format: Format) -> (Words, String, Vec<Fault>) {
    let mut words = Words::default();
    let time = MissingTimestamp::At(0);
    let options = ImportOptions::default().format(format).on_error(OnError::Skip).timestamp(time);
    // Short segments, so that lines are cut, too; memory for some ten series and two dozen rows, so that others are guests.
    let options = ImportOptions { segment_bytes: 96, ..options.memory_bytes(1 << 11) };
    let inputs = [Ok(Input::new("input", input))];
    let outcome = import(&options, inputs, &mut words, &Cancel::default(), |_| {});
    let rejected = outcome.iter().flat_map(|s| &s.first_rejected).map(|r| r.fault.clone()).collect();
    (words, format!("{:?}", outcome.map(|s| (s.samples, s.first_rejected, s.stale_markers))), rejected)
}

/// Keeps what it is given as words; series have the places of their labels.
#[derive(Debug, Default, PartialEq)]
struct Words(Vec<Labels>, Vec<(usize, i64, u64)>);

impl SampleSink for Words {
    type Series = usize;

    fn series(&mut self, labels: &Labels) -> Result<usize> {
        if let Some(place) = self.0.iter().position(|known| known == labels) {
            return Ok(place);
        }
        self.0.push(labels.clone());
        Ok(self.0.len() - 1)
    }

    fn extend(&mut self, series: usize, t: &[i64], v: &[f64]) -> Result<()> {
        assert_eq!(t.len(), v.len(), "columns are of equal length");
        self.1.extend(t.iter().zip(v).map(|(&t, v)| (series, t, v.to_bits())));
        Ok(())
    }

    fn metadata(&mut self, _: &str, _: &Metadata) -> Result<()> {
        Ok(())
    }
}

/// The samples of each series, in the order in which they came.
fn by_series(Words(series, samples): Words) -> BTreeMap<Labels, Vec<(i64, u64)>> {
    let mut out: BTreeMap<Labels, Vec<(i64, u64)>> = BTreeMap::new();
    for (place, t, bits) in samples {
        if let Some(labels) = series.get(place) {
            out.entry(labels.clone()).or_default().push((t, bits));
        }
    }
    out
}

/// What an import should make of the events of the parser, and what it should leave out.
fn from_events(data: &[u8], grammar: Grammar) -> (Words, Vec<Fault>) {
    let mut parser = Parser::new(data, grammar, false);
    let (mut words, mut faults, mut buffer) = (Words::default(), Vec::new(), LabelBuffer::default());
    loop {
        match parser.next() {
            Ok(None) | Err(ParseError::Io(_)) => return (words, faults),
            Ok(Some(Event::Sample(sample))) => {
                sample.labels(&mut buffer);
                let t = sample.timestamp_ms().unwrap_or(0);
                let fault = |why| Fault { line: sample.line(), column: 1, why };
                match Labels::from_pairs(buffer.iter()) {
                    Err(_) => faults.push(fault(BAD_LABELS)),
                    Ok(_) if t == i64::MIN || t == i64::MAX => faults.push(fault(OUT_OF_RANGE)),
                    Ok(labels) => {
                        let place = words.series(&labels).unwrap_or(usize::MAX);
                        words.1.push((place, t, sample.value().to_bits()));
                    }
                }
            }
            Ok(Some(_)) => {}
            Err(ParseError::Invalid(fault)) => faults.push(fault),
        }
    }
}

/// All that the parser says, in words.
fn outline(input: impl Read, grammar: Grammar, bytes: usize) -> Vec<String> {
    let mut parser = Parser::new(input, grammar, false);
    let mut buffer = LabelBuffer::default();
    let mut out = Vec::new();
    loop {
        assert!(out.len() <= bytes + 2, "each event takes a byte, so that the parser ends");
        match parser.next() {
            Ok(None) => return out,
            Ok(Some(Event::Sample(sample))) => {
                sample.labels(&mut buffer);
                let labels: Vec<_> = buffer.iter().collect();
                let (bits, t) = (sample.value().to_bits(), sample.timestamp_ms());
                out.push(format!("{} {labels:?} {bits:x} {t:?} {}", sample.line(), sample.has_exemplar()));
            }
            Ok(Some(event)) => out.push(format!("{event:?}")),
            Err(ParseError::Invalid(fault)) => out.push(fault.to_string()),
            Err(ParseError::Io(_)) => return out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_taken_as_the_lexer_takes_them() {
        let mut state = 9u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for round in 0..120 {
            let mut text = String::new();
            for t in 0..12 {
                for series in ["up", "a{le=\"1\"}", "a{le=\"1\",b=\"x\"}", "a{le=\"10\"}", "go {x=\"y\"}"] {
                    let rows = if round % 2 == 0 { 1 } else { random(4) };
                    for row in 0..rows {
                        let value = ["1", "-2.5", "1e+06", "NaN", "0.1", "+Inf", "7e-3"][random(7)];
                        text += &format!("{series} {value} {}\n", 100 * t + row as i64);
                    }
                }
                text += ["", "", "# TYPE a histogram\n", "a{le=\"1\"} 3\n"][random(4)];
            }
            text += "# EOF\n";
            let mut bytes = text.into_bytes();
            for _ in 0..random(4) {
                let at = random(bytes.len());
                bytes[at] = b"\n\"\\{}= #,0a\0\xff.-e"[random(16)];
            }
            fuzz(&bytes, Format::Text);
            fuzz(&bytes, Format::OpenMetrics);
        }
    }

    /// Found by a fuzzer: the end of the line was told where it was known already, the NUL byte where it was not.
    #[test]
    fn of_two_faults_in_a_string_the_first_is_told_in_any_pieces() {
        let rest = "x".repeat(200);
        for line in [format!("a{{b=\"c\0{rest}"), format!("a{{b=\"c\"}} 1 # {{id=\"c\0{rest}}} 1")] {
            fuzz(format!("{line}\n# EOF\n").as_bytes(), Format::OpenMetrics);
            fuzz(format!("{line}\n").as_bytes(), Format::Text);
        }
    }

    #[test]
    fn damaged_inputs_are_read_to_their_end_in_any_pieces() {
        let seeds: [(Format, &[u8]); 3] = [
            (Format::Scrapes, include_bytes!("../../tests/data/target.scrapes")),
            (Format::Jsonl, include_bytes!("../../tests/data/victoriametrics.jsonl")),
            (Format::Promdump, include_bytes!("../../tests/data/small.dump")),
        ];
        let mut state = 5u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for (format, seed) in seeds {
            fuzz(seed, format);
            for _ in 0..150 {
                let mut bytes = seed.to_vec();
                for _ in 0..1 + random(3) {
                    let at = random(bytes.len());
                    match random(4) {
                        0 => bytes[at] = random(256) as u8,
                        1 => bytes.truncate(at + 1),
                        2 => drop(bytes.remove(at)),
                        _ => bytes.insert(at, b"\"\\{}[]:, \n09-"[random(13)]),
                    }
                    if bytes.is_empty() {
                        bytes.push(b'{');
                    }
                }
                fuzz(&bytes, format);
            }
        }
    }
}
