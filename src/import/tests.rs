//! Goal: small own cases of the parsers and the driver that run everywhere; the large collections are
//! in `tests/exposition_cases.rs` and `tests/import_dumps.rs`.

use std::collections::BTreeMap;

use super::*;
use crate::{Cancel, ErrorKind, Labels, Metadata, MetricType, Result};

fn verdict(input: &str, format: Format, strict: bool) -> Option<String> {
    check(input.as_bytes(), format, strict, |_| {}).unwrap().fault.map(|f| f.to_string())
}

#[test]
fn faults_name_line_and_column() {
    for (input, expected) in [
        ("a 1\nb 2 3 4\n", "2:7: expected the end of the line after the timestamp"),
        ("a{b=\"x\ny\"} 1\na{b=\"x\ny\",c=z} 1\n", "4:6: expected a label value in double quotes"),
        ("# TYPE a foo\n", "1:10: the type is none of counter, gauge, histogram, summary, untyped"),
        ("a 1\n\0", "2:1: expected a metric name, '{' or '#'"),
        ("a{b=\"c", "1:8: the line ends within a quoted string"),
    ] {
        let expected = match input.ends_with('c') {
            true => "2:1: the input ends within a quoted string",
            false => expected,
        };
        assert_eq!(verdict(input, Format::Text, false).as_deref(), Some(expected), "{input:?}");
    }
}

#[test]
fn the_last_line_may_end_where_a_piece_does() {
    for bytes in [16_383, 16_384, 16_385, 32_768, 65_536] {
        let end = "# EOF";
        let mut text = String::new();
        while text.len() + 40 < bytes {
            text += "up 1 1600000000\n";
        }
        let rest = bytes - text.len() - end.len();
        text += &format!("# HELP a {}\n{end}", "x".repeat(rest - 10));
        assert_eq!(text.len(), bytes);
        let mut parser = Parser::openmetrics(text.as_bytes());
        while parser.next().unwrap().is_some() {}
        let mut sink = Memory::default();
        let options = ImportOptions::default().format(Format::OpenMetrics);
        let inputs = [Ok(Input::new("page", text.as_bytes()))];
        import(&options, inputs, &mut sink, &Cancel::default(), |_| {}).unwrap();
    }
}

#[test]
fn openmetrics_must_end() {
    let om = |input| verdict(input, Format::OpenMetrics, false);
    assert_eq!(om("a 1\n# EOF"), None);
    assert_eq!(om("a 1\n# EOF\n"), None);
    assert_eq!(om("a 1\n").as_deref(), Some("2:1: the input does not end with # EOF"));
    assert_eq!(om("").as_deref(), Some("1:1: the input does not end with # EOF"));
    assert_eq!(om("# EOF\na 1\n").as_deref(), Some("2:1: data follows after # EOF"));
    assert!(om("a 1").is_some() && om("# EO").is_some() && om("a  1\n# EOF\n").is_some());
}

#[test]
fn a_series_that_begins_like_the_one_before_is_another() {
    let mut names = Vec::new();
    let mut buffer = LabelBuffer::default();
    let input = "a 1\na 2\naa 3\na{x=\"1\"} 4\na{x=\"1\"} 5\na {x=\"2\"} 6\na:b 7\na\t8\n";
    let report = check(input.as_bytes(), Format::Text, false, |event| {
        if let Event::Sample(sample) = event {
            sample.labels(&mut buffer);
            names.push(buffer.iter().map(|(_, v)| v.to_owned()).collect::<Vec<_>>().join(" "));
        }
    });
    assert_eq!(report.unwrap().fault, None);
    assert_eq!(names, ["a", "a", "aa", "a 1", "a 1", "a 2", "a:b", "a"]);
}

#[test]
fn strict_knows_what_syntax_does_not() {
    let strict = |input| verdict(input, Format::OpenMetrics, true);
    assert_eq!(strict("# TYPE a counter\na_total 1\n# EOF\n"), None);
    assert!(strict("# TYPE a counter\na 1\n# EOF\n").unwrap().contains("clash"));
    assert!(strict("# TYPE a counter\na_total -1\n# EOF\n").unwrap().starts_with("2:1: "));
    assert!(strict("a 1\nb 1\na 2\n# EOF\n").unwrap().contains("clash"));
}

#[derive(Default)]
struct Memory {
    ids: BTreeMap<Labels, usize>,
    samples: Vec<Vec<(i64, f64)>>,
    families: Vec<(String, Metadata)>,
    calls: usize,
}

impl SampleSink for Memory {
    type Series = usize;

    fn series(&mut self, labels: &Labels) -> Result<usize> {
        let next = self.samples.len();
        let id = *self.ids.entry(labels.clone()).or_insert(next);
        self.samples.resize(self.ids.len(), Vec::new());
        Ok(id)
    }

    fn extend(&mut self, series: usize, t: &[i64], v: &[f64]) -> Result<()> {
        self.calls += 1;
        self.samples[series].extend(t.iter().copied().zip(v.iter().copied()));
        Ok(())
    }

    fn metadata(&mut self, family: &str, metadata: &Metadata) -> Result<()> {
        self.families.push((family.to_owned(), metadata.clone()));
        Ok(())
    }
}

impl Memory {
    fn of(&self, labels: &[(&str, &str)]) -> &[(i64, f64)] {
        let labels = Labels::from_pairs(labels.iter().copied()).unwrap();
        self.ids.get(&labels).map_or(&[], |id| &self.samples[*id])
    }
}

fn run(options: &ImportOptions, input: &str) -> (Memory, Result<ImportSummary>) {
    let mut sink = Memory::default();
    let input = Input::new("page", input.as_bytes()).modified_ms(9);
    let outcome = super::import(options, [Ok(input)], &mut sink, &Cancel::default(), |_| {});
    (sink, outcome)
}

#[test]
fn samples_of_a_series_come_in_the_order_of_the_input_however_it_is_spelled() {
    // Runs of one spelling, the other one, and another series; the values count the lines of both spellings.
    let mut value = 0;
    let mut lines = |spelling: &str, count: usize| -> String {
        let line = |_| {
            value += 1;
            format!("{spelling} {value} {}000\n", value % 7)
        };
        (0..count).map(line).collect()
    };
    let mut text = String::new();
    for counts in [[2, 1, 10], [3, 1, 9], [1, 2, 20], [8, 1, 8], [2, 2, 2], [7, 1, 1]] {
        let [first, second, third] = counts;
        text += &lines("a{x=\"1\"}", first);
        text += &lines("a{x=\"1\",}", second);
        text += "b 1 1000\nb 2 2000\n";
        text += &lines("a{x=\"1\",}", third);
    }
    text += &format!("# HELP a {}\n", "x".repeat(100));
    let (sink, outcome) = run(&ImportOptions::default().format(Format::Text), &text);
    assert_eq!(outcome.unwrap().rejected, 0);
    let values: Vec<f64> = sink.of(&[("__name__", "a"), ("x", "1")]).iter().map(|row| row.1).collect();
    assert_eq!(values, (1..=value).map(f64::from).collect::<Vec<_>>());
    assert_eq!(sink.of(&[("__name__", "b")]).len(), 12);
}

#[test]
fn what_passed_comes_before_more_of_it_behind_a_line_that_is_left_out() {
    let rows =
        |values: std::ops::Range<i64>| values.map(|v| format!("a {v} {}000\n", v % 5)).collect::<String>();
    let options = ImportOptions::default().format(Format::Text).on_error(OnError::Skip);
    let (sink, outcome) = run(&options, &format!("{}!\n{}{}", rows(0..3), rows(3..15), "b 1 1\n".repeat(9)));
    assert_eq!(outcome.unwrap().rejected, 1);
    let values: Vec<f64> = sink.of(&[("__name__", "a")]).iter().map(|row| row.1).collect();
    assert_eq!(values, (0..15).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn an_import_hands_on_columns_and_metadata() {
    let options = ImportOptions::default().label("job", "x").timestamp(MissingTimestamp::Modified);
    let (sink, summary) = run(
        &options,
        "# HELP a some\\nhelp\n# TYPE a histogram\na{le=\"1\"} 5\na{le=\"1\"} 6 2\n b{job=\"y\"} 1 1\nb{job=\"z\"} 2 3\n",
    );
    let summary = summary.unwrap();
    assert_eq!(sink.of(&[("__name__", "a"), ("le", "1.0"), ("job", "x")]), [(9, 5.0)]);
    assert_eq!(sink.of(&[("__name__", "a"), ("le", "1"), ("job", "x")]), [(2, 6.0)]);
    assert_eq!(sink.of(&[("__name__", "b"), ("job", "x")]), [(3, 2.0)]);
    assert_eq!((summary.samples, summary.min_time_ms, summary.max_time_ms), (4, Some(1), Some(9)));
    assert_eq!(summary.rejected, 0);
    let expected =
        Metadata { metric_type: MetricType::Histogram, unit: String::new(), help: "some\nhelp".to_owned() };
    assert_eq!(sink.families, [("a".to_owned(), expected)]);
}

/// Keeps the references of a few series only, as a bulk loader of little memory does.
#[derive(Default)]
struct Forgetful {
    epoch: usize,
    known: Vec<Labels>,
    samples: BTreeMap<Labels, Vec<(i64, f64)>>,
}

impl SampleSink for Forgetful {
    type Series = (usize, usize);

    fn series(&mut self, labels: &Labels) -> Result<(usize, usize)> {
        if !self.has_room(labels) {
            self.epoch += 1;
            self.known.clear();
        }
        if !self.known.contains(labels) {
            self.known.push(labels.clone());
        }
        Ok((self.epoch, self.known.iter().position(|l| l == labels).unwrap()))
    }

    fn has_room(&self, labels: &Labels) -> bool {
        self.known.len() < 3 || self.known.contains(labels)
    }

    fn extend(&mut self, (epoch, series): (usize, usize), t: &[i64], v: &[f64]) -> Result<()> {
        assert_eq!(epoch, self.epoch, "the reference is stale");
        let samples = self.samples.entry(self.known[series].clone()).or_default();
        samples.extend(t.iter().copied().zip(v.iter().copied()));
        Ok(())
    }

    fn metadata(&mut self, _: &str, _: &Metadata) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_that_forgets_series_is_asked_for_them_again() {
    let input: String = (0..200).map(|t| format!("a{{n=\"{}\"}} {t} {t}\n", t * t % 7)).collect();
    let mut sink = Forgetful::default();
    let options = ImportOptions::default();
    let inputs = [Ok(Input::new("page", input.as_bytes()))];
    let summary = super::import(&options, inputs, &mut sink, &Cancel::default(), |_| {}).unwrap();
    assert!(sink.epoch > 1);
    assert_eq!(summary.samples, 200);
    for (labels, samples) in &sink.samples {
        let n: i64 = labels.value("n").unwrap().parse().unwrap();
        let expected: Vec<(i64, f64)> = (0..200).filter(|t| t * t % 7 == n).map(|t| (t, t as f64)).collect();
        assert_eq!(*samples, expected, "{labels}");
    }
}

#[test]
fn what_cannot_be_taken_ends_the_import_or_is_listed() {
    let input = "a 1 1\nb\nc 1\nd{x=\"1\",x=\"2\"} 1 1\ne 5 5\n";
    let (_, outcome) = run(&ImportOptions::default(), input);
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "page:2:2: expected a value after the series");

    let skip = ImportOptions::default().on_error(OnError::Skip);
    let (sink, summary) = run(&skip, input);
    let summary = summary.unwrap();
    assert_eq!((summary.samples, summary.rejected), (2, 3));
    assert_eq!(sink.of(&[("__name__", "e")]), [(5, 5.0)]);
    let listed: Vec<String> = summary.first_rejected.iter().map(ToString::to_string).collect();
    assert!(
        listed[0].starts_with("page:2:2: ") && listed[1].starts_with("page:3:1: the sample has no timestamp")
    );
    assert!(listed[2].starts_with("page:4:1: a label name"));

    assert!(run(&skip.clone().max_rejected(3), input).1.is_ok());
    let error = run(&skip.max_rejected(2), input).1.unwrap_err().to_string();
    assert!(error.starts_with("page:4:1: "), "{error}");
}

#[test]
fn little_memory_changes_nothing_but_the_calls() {
    let mut input = String::new();
    for t in 0..200 {
        for s in 0..50 {
            // Some have lines in a row that are not of the plain form, and so are read one by one.
            input += &match s % 3 {
                0 => (0..3).map(|n| format!("metric{{series=\"{s}\"}}\t{}\t{t}{n}\n", s * t)).collect(),
                _ => format!("metric{{series=\"{s}\"}} {} {t}0\n", s * t),
            };
        }
    }
    let options = ImportOptions::default().format(Format::Text);
    let (plenty, summary) = run(&options, &input);
    summary.unwrap();
    assert_eq!(plenty.calls, 50);
    // From where no series can be known to where all are.
    for memory_bytes in (256..10_000).step_by(256) {
        let (little, summary) = run(&options.clone().memory_bytes(memory_bytes), &input);
        assert_eq!(summary.unwrap().samples, 200 * (50 + 2 * 17));
        assert!(little.calls > 50);
        assert!(little.samples == plenty.samples, "with {memory_bytes} bytes");
    }
}

#[test]
fn concatenated_documents_and_cancelling() {
    let input = "# TYPE a gauge\na 1 1\n# EOF\na 2 2\n# EOF\n";
    let options = ImportOptions::default().format(Format::OpenMetrics);
    assert!(run(&options, input).1.unwrap_err().to_string().contains("4:1: data follows"));
    let (sink, summary) = run(&options.concatenated(true), input);
    assert_eq!(summary.unwrap().samples, 2);
    assert_eq!(sink.of(&[("__name__", "a")]), [(1_000, 1.0), (2_000, 2.0)]);

    let cancel = Cancel::default();
    cancel.cancel();
    let mut sink = Memory::default();
    let input = Input::new("-", &b"a 1 1\n"[..]);
    let outcome = super::import(&ImportOptions::default(), [Ok(input)], &mut sink, &cancel, |_| {});
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn pieces_and_damage_do_not_matter_to_the_parser() {
    let page = "# HELP a b\\nc\n# TYPE a histogram\na_bucket{le=\"1\",x=\"\\\"\\\\\n\"} 1.5e3 12\n{\"q n\",\"l l\"=\"v\"} NaN\n# EOF\na 1 # {x=\"y\"} 1 2\n";
    let mut seed = 3u64;
    for round in 0..600 {
        let mut bytes = page.as_bytes().to_vec();
        for _ in 0..round % 4 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = b"\n\"\\{}= #,0a\0\xff"[(seed >> 20) as usize % 13];
        }
        bytes.truncate(bytes.len() - round % 7);
        fuzz(&bytes, Format::Text);
        fuzz(&bytes, Format::OpenMetrics);
    }
}

#[cfg(feature = "zstd")]
#[test]
fn packed_input_is_recognised() {
    let packed = zstd::encode_all(&b"a 1 1\n"[..], 1).unwrap();
    let mut sink = Memory::default();
    let two_frames = [packed.clone(), zstd::encode_all(&b"a 2 2\n"[..], 1).unwrap()].concat();
    let summary = super::import(
        &ImportOptions::default(),
        [Ok(Input::new("x.zst", &two_frames[..]))],
        &mut sink,
        &Cancel::default(),
        |_| {},
    );
    assert_eq!(summary.unwrap().bytes_in, two_frames.len() as u64);
    assert_eq!(sink.of(&[("__name__", "a")]), [(1, 1.0), (2, 2.0)]);
    let cut = &packed[..packed.len() - 2];
    let outcome = super::import(
        &ImportOptions::default(),
        [Ok(Input::new("x", cut))],
        &mut sink,
        &Cancel::default(),
        |_| {},
    );
    assert!(outcome.is_err());
}

/// Unpacks a bomb into a sink of no account; why it was refused.
#[cfg(any(feature = "gzip", feature = "zstd"))]
fn bomb(packed: &[u8], options: &ImportOptions) -> crate::Error {
    let input = Input::new("bomb", packed);
    super::import(options, [Ok(input)], &mut Memory::default(), &Cancel::default(), |_| {}).unwrap_err()
}

#[test]
#[cfg(feature = "zstd")]
fn what_unpacks_to_thousands_of_times_its_size_is_refused() {
    let comments = b"# nothing\n".repeat(10_000_000);
    let packed = zstd::bulk::compress(&comments, 1).unwrap();
    assert!(comments.len() > 5_000 * packed.len(), "{} bytes", packed.len());
    let error = bomb(&packed, &ImportOptions::default());
    assert!(error.to_string().contains("more than the allowed ratio"), "{error}");
    // Many small frames count together, and a window that a frame may not ask for is not allocated.
    let frame = zstd::bulk::compress(&b"# nothing\n".repeat(1_000_000), 1).unwrap();
    let error = bomb(&frame.repeat(10), &ImportOptions::default().max_unpack_ratio(100));
    assert!(error.to_string().contains("more than the allowed ratio"), "{error}");
    let window_of_two_gib = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x02, 0x00, 0x40, b'a'];
    let error = bomb(&window_of_two_gib, &ImportOptions::default());
    assert!(error.to_string().contains("memory"), "{error}");
}

#[test]
#[cfg(feature = "gzip")]
fn a_line_that_unpacks_without_end_is_refused() {
    use std::io::Write;
    // A thousand to one, which is all that gzip can do: the ratio lets it pass, the longest line does not.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b'a'; 40 << 20]).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 50_000, "{} bytes", packed.len());
    let error = bomb(&packed, &ImportOptions::default());
    assert!(error.to_string().contains("longer than 16 MiB"), "{error}");
}
