//! Goal: every format that is imported yields what it says, and what is exported is what was stored: JSON lines and
//! dumps bit for bit, OpenMetrics to the same canonical form.
//! Method: small data of our own through the binary; of the shared data, recorded scrapes against a model of what
//! a server would store, and dumps through export and import again.
#![cfg(feature = "cli")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use silverback::import::{
    Event, Format, ImportOptions, ImportSummary, Input, LabelBuffer, MissingTimestamp, Parser, SampleSink,
    import,
};
use silverback::{Cancel, Db, Labels, Metadata, Options, Result, STALE};
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn run(&self, arguments: &[&str], stdin: &[u8]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_silverback"));
        command.args(arguments).current_dir(self.0.path()).env_remove("SILVERBACK_DB").env_remove("COLUMNS");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let bytes = stdin.to_vec();
        let writer = std::thread::spawn(move || {
            // What reads nothing closes the pipe.
            let _closed = pipe.write_all(&bytes);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    fn feed(&self, arguments: &[&str], stdin: &[u8]) -> Vec<u8> {
        let output = self.run(arguments, stdin);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {err}");
        output.stdout
    }

    fn ok(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.feed(arguments, b"")).unwrap()
    }

    fn fails(&self, expected: i32, arguments: &[&str], stdin: &[u8], word: &str) {
        let output = self.run(arguments, stdin);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}: {err}");
        assert!(err.contains(word), "{arguments:?}: no `{word}` in: {err}");
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }
}

fn own(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).to_str().unwrap().to_owned()
}

fn shared(below: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")).join(below);
    if !path.exists() {
        println!("skipped: ../shared is not here");
        return None;
    }
    Some(path)
}

/// Samples in memory: bits by series and time.
#[derive(Debug, Default, PartialEq)]
struct Memory {
    known: Vec<Labels>,
    samples: BTreeMap<Labels, BTreeMap<i64, u64>>,
}

impl SampleSink for Memory {
    type Series = usize;

    fn series(&mut self, labels: &Labels) -> Result<usize> {
        if !self.samples.contains_key(labels) {
            self.samples.insert(labels.clone(), BTreeMap::new());
            self.known.push(labels.clone());
        }
        Ok(self.known.iter().position(|l| l == labels).unwrap())
    }

    fn extend(&mut self, series: usize, t: &[i64], v: &[f64]) -> Result<()> {
        let samples = self.samples.get_mut(&self.known[series]).unwrap();
        for (&t, v) in t.iter().zip(v) {
            samples.entry(t).or_insert(v.to_bits());
        }
        Ok(())
    }

    fn metadata(&mut self, _: &str, _: &Metadata) -> Result<()> {
        Ok(())
    }
}

fn read(options: &ImportOptions, name: &str, bytes: &[u8]) -> (Memory, ImportSummary) {
    let mut sink = Memory::default();
    let inputs = [Ok(Input::new(name, bytes))];
    let summary = import(options, inputs, &mut sink, &Cancel::default(), |_| {}).unwrap();
    (sink, summary)
}

// Recorded scrapes.

#[test]
fn what_vanishes_from_scrapes_is_marked() {
    let place = Place::new();
    let summary = place.json(&["import", "--db", "db", &own("target.scrapes"), "--label", "job=x", "--json"]);
    let wanted =
        [("scrapes", 6), ("failed_scrapes", 2), ("stale_markers", 4), ("samples", 12), ("rejected", 0)];
    for (key, n) in wanted {
        assert_eq!(summary[key], n, "{key}");
    }
    let expected = "\
        {__name__=\"a\", job=\"x\"} 3ff0000000000000 1600000000000\n\
        {__name__=\"a\", job=\"x\"} 3ff0000000000000 1600000001000\n\
        {__name__=\"a\", job=\"x\"} 7ff0000000000002 1600000002000\n\
        {__name__=\"a\", job=\"x\"} 4014000000000000 1600000004000\n\
        {__name__=\"a\", job=\"x\"} 4018000000000000 1600000005000\n\
        {__name__=\"b\", job=\"x\", x=\"1\"} 4000000000000000 1600000000000\n\
        {__name__=\"b\", job=\"x\", x=\"1\"} 7ff0000000000002 1600000001000\n\
        {__name__=\"b\", job=\"x\", x=\"1\"} 4018000000000000 1600000004000\n\
        {__name__=\"b\", job=\"x\", x=\"1\"} 7ff0000000000002 1600000005000\n\
        {__name__=\"c\", job=\"x\"} 4008000000000000 1000000\n\
        {__name__=\"d\", job=\"x\"} 4010000000000000 1600000001000\n\
        {__name__=\"d\", job=\"x\"} 7ff0000000000002 1600000002000\n";
    assert_eq!(place.ok(&["dump", "--db", "db", "--bits"]), expected);
}

#[test]
fn broken_recordings_are_told_by_their_line() {
    let place = Place::new();
    let recording = std::fs::read(own("target.scrapes")).unwrap();
    let import = ["import", "--db", "db", "--format", "scrapes", "--on-error", "skip", "-"];
    let cut = &recording[..recording.len() - 3];
    place.fails(1, &import, cut, "-:20:1: the input ends before the page");
    let garbage = [&recording[..], b"#!scrape x\n"].concat();
    place.fails(1, &import, &garbage, "-:23:1: expected a header");
    place.fails(
        1,
        &import,
        b"#!scrape 1 200 2 text/plain\na 1\n\n",
        "1:1: the page that this header announces is not",
    );
    place.fails(1, &import, b"#!scrape 9223372036854775807 200 0 -\n\n", "1:1: the timestamp does not fit");
    assert_eq!(place.ok(&["dump", "--db", "db"]), "");
    // A line that is wrong is left out; its place is that in the recording.
    let input = b"#!scrape 1000 200 8 text/plain\na 1\nb x\n\n#!scrape 2000 200 4 text/plain\nb 2\n\n";
    place.fails(1, &["import", "--db", "db"], input, "-:3:3: the value is no number");
    let output = place.run(&["import", "--db", "db", "--on-error", "skip"], input);
    assert!(String::from_utf8_lossy(&output.stderr).contains("-:3:3: "));
    assert_eq!(place.ok(&["dump", "--db", "db"]).lines().count(), 3);
    let protobuf = b"#!scrape 3000 200 1 application/vnd.google.protobuf; x=y\n\x01\n";
    place.fails(1, &["import", "--db", "db"], protobuf, "-:1:1: the page is protobuf");
}

/// What a server that scrapes would store of a recording, made the plain way.
fn model(recording: &[u8]) -> (Memory, u64) {
    let mut memory = Memory::default();
    let mut labels = LabelBuffer::default();
    let (mut before, mut markers) = (BTreeSet::new(), 0);
    let mut rest = recording;
    while !rest.is_empty() {
        let end = rest.iter().position(|&b| b == b'\n').unwrap();
        let header = std::str::from_utf8(&rest[..end]).unwrap();
        let words: Vec<&str> = header.split(' ').collect();
        let (t, bytes): (i64, usize) = (words[1].parse().unwrap(), words[3].parse().unwrap());
        let body = &rest[end + 1..end + 1 + bytes];
        rest = &rest[end + 2 + bytes..];
        let mut now = BTreeSet::new();
        if words[2] == "200" {
            let openmetrics = header.contains("openmetrics");
            let mut parser = if openmetrics { Parser::openmetrics(body) } else { Parser::text(body) };
            while let Some(event) = parser.next().unwrap() {
                let Event::Sample(sample) = event else { continue };
                sample.labels(&mut labels);
                let labels = Labels::from_pairs(labels.iter()).unwrap();
                let series = memory.samples.entry(labels.clone()).or_default();
                series.entry(sample.timestamp_ms().unwrap_or(t)).or_insert(sample.value().to_bits());
                if sample.timestamp_ms().is_none() {
                    now.insert(labels);
                }
            }
        }
        for gone in before.difference(&now) {
            memory.samples.get_mut(gone).unwrap().insert(t, STALE.to_bits());
            markers += 1;
        }
        before = now;
    }
    (memory, markers)
}

#[test]
fn recordings_are_what_a_server_would_store() {
    let Some(root) = shared("exposition") else { return };
    let stated = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut found = 0;
    for row in stated.lines().filter(|line| line.starts_with("| replay/")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, scrapes, failed, bytes, _] = cells[..] else { panic!("{row}") };
        let packed = std::fs::read(root.join(name)).unwrap();
        // Little memory, so that series are forgotten on the way.
        for memory_bytes in [1 << 18, 1 << 26] {
            let options = ImportOptions::default().memory_bytes(memory_bytes);
            let (sink, summary) = read(&options, "recording", &packed);
            assert_eq!(summary.scrapes.to_string(), scrapes, "{name}");
            assert_eq!(summary.failed_scrapes.to_string(), failed, "{name}");
            assert_eq!(summary.text_bytes.to_string(), bytes, "{name}");
            let (expected, markers) = model(&zstd::decode_all(packed.as_slice()).unwrap());
            assert!(sink.samples == expected.samples, "{name}: other samples than the model's");
            assert_eq!(summary.stale_markers, markers, "{name}");
            assert_eq!(summary.rejected, 0, "{name}");
            println!("{name}: {scrapes} scrapes, {} samples, {markers} staleness markers", summary.samples);
        }
        found += 1;
    }
    assert!(found > 0);
}

#[test]
fn live_bodies_have_the_samples_that_are_stated() {
    let Some(root) = shared("exposition") else { return };
    let stated = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (mut bodies, mut samples) = (0, 0);
    for row in stated.lines().filter(|line| line.starts_with("| bodies-live/")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let body = std::fs::read(root.join(cells[1])).unwrap();
        let options = ImportOptions::default().timestamp(MissingTimestamp::At(1));
        let (_, summary) = read(&options, cells[1], &body);
        assert_eq!(body.len().to_string(), cells[3], "{}", cells[1]);
        assert_eq!(summary.samples.to_string(), cells[4], "{}", cells[1]);
        assert_eq!(summary.exemplars_skipped.to_string(), cells[5], "{}", cells[1]);
        bodies += 1;
        samples += summary.samples;
    }
    println!("{bodies} bodies, {samples} samples");
    assert_eq!(bodies, 27);
}

// The other formats.

#[test]
fn federated_pages_keep_their_times_and_labels() {
    let place = Place::new();
    place.ok(&["import", "--db", "db", &own("federate.txt")]);
    let expected = "\
        {__name__=\"go_goroutines\", instance=\"localhost:9090\", job=\"prometheus\"} 33 1600000000123\n\
        {__name__=\"http_request_duration_seconds_bucket\", job=\"prometheus\", le=\"+Inf\"} 9 1600000000123\n\
        {__name__=\"http_request_duration_seconds_bucket\", job=\"prometheus\", le=\"1\"} 7 1600000000123\n\
        {__name__=\"up\", instance=\"localhost:9090\", job=\"prometheus\"} 1 1600000000123\n\
        {__name__=\"up\", job=\"push\"} 1 1600000000500\n";
    assert_eq!(place.ok(&["dump", "--db", "db"]), expected);
}

#[test]
fn documents_in_a_row_are_taken_if_asked_for() {
    let place = Place::new();
    let small = std::fs::read(own("small.om")).unwrap();
    let more = b"# TYPE up gauge\nup{job=\"late\"} 1 1600000060\n# EOF\n";
    let both = [&small[..], more, more].concat();
    place.fails(1, &["import", "--db", "db"], &both, "-:18:1: data follows after # EOF");
    place.feed(&["import", "--db", "db", "--concatenated"], &both);
    let expected = std::fs::read_to_string(own("small.dump")).unwrap();
    let dump = place.ok(&["dump", "--db", "db"]);
    let late = "{__name__=\"up\", job=\"late\"} 1 1600000060000\n";
    assert_eq!(dump.replace(late, ""), expected);
    assert!(dump.contains(late));
    let cut = &both[..both.len() - 6];
    place.fails(1, &["import", "--db", "db", "--format", "openmetrics", "--concatenated"], cut, "# EOF");
}

#[test]
fn what_victoriametrics_exports_is_taken() {
    let place = Place::new();
    place.ok(&["import", "--db", "db", &own("victoriametrics.jsonl"), "--label", "dc=eu"]);
    let series = |job: &str, port: u16| {
        format!("{{__name__=\"up\", dc=\"eu\", instance=\"localhost:{port}\", job=\"{job}\"}}")
    };
    let (node, prometheus) = (series("node_exporter", 9100), series("prometheus", 9090));
    let expected = format!(
        "{prometheus} 3ff0000000000000 1600000000000\n{prometheus} 3e112e0be826d695 1600000015000\n\
         {prometheus} c1678c29dcccccccd 1600000030000\n{node} 0000000000000000 1600000000000\n\
         {node} 3fe0000000000000 1600000015000\n{node} 7ff8000000000001 1600000030000\n\
         {node} 7ff0000000000000 1600000045000\n{node} fff0000000000000 1600000060000\n"
    )
    .replace("c1678c29dcccccccd", &format!("{:016x}", (-12_345_678.9f64).to_bits()));
    assert_eq!(place.ok(&["dump", "--db", "db", "--bits"]), expected);
    for (line, place_of_fault) in [
        (
            r#"{"metric":{"__name__":"a"},"values":[1,x],"timestamps":[1,2]}"#,
            "-:2:40: the value is no number",
        ),
        (r#"{"metric":{"a":"b","a":"c"},"values":[1],"timestamps":[1]}"#, "-:2:11: a label name"),
        (r#"{"metric":{"__name__":"a"},"values":[1,2],"timestamps":[1]}"#, "-:2:1: there are not as many"),
    ] {
        let input = format!("\n{line}\n");
        place.fails(1, &["import", "--db", "db", "--format", "jsonl"], input.as_bytes(), place_of_fault);
    }
}

#[test]
fn what_is_no_exposition_text_is_not_checked() {
    let place = Place::new();
    for name in ["victoriametrics.jsonl", "target.scrapes", "small.dump"] {
        place.fails(1, &["check", &own(name)], b"", "this is no exposition text");
    }
}

/// A database of what is hard to write down: every kind of double, labels of any characters, the ends of time.
fn odd(place: &Place) {
    let db = Db::open(place.0.path().join("odd"), Options::default()).unwrap();
    let mut loader = db.bulk_loader().unwrap();
    let kinds = [
        0x7ff0_0000_0000_0001,
        0xfff8_0000_0000_0000,
        0x7ff8_0000_0000_0001,
        0x7fff_ffff_ffff_ffff,
        1,
        1 << 63,
    ];
    let specials = [f64::INFINITY, f64::NEG_INFINITY, STALE, f64::MAX, f64::MIN_POSITIVE, 1e6, 123_456.75];
    let mut seed = 11u64;
    for (n, odd) in ["", "\n", "\"\\", "\0\x1f\x7f", "é\u{301}\u{200b}\u{1f600}\u{10ffff}", "}, x=\"y\"} 1 2"]
        .iter()
        .enumerate()
    {
        let name = format!("n{n}{odd}");
        let pairs = [("__name__", name.as_str()), ("Upper", odd), (name.as_str(), "v")];
        let pairs = if n == 3 { &pairs[1..] } else { &pairs[..] };
        let series = loader.series(&Labels::from_pairs(pairs.iter().copied()).unwrap()).unwrap();
        let mut v: Vec<f64> = kinds.iter().map(|bits| f64::from_bits(*bits)).chain(specials).collect();
        for _ in 0..100 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            v.push(f64::from_bits(seed ^ seed >> 31));
        }
        let last = i64::try_from(v.len()).unwrap() - 1;
        let mut t: Vec<i64> = (0..=last).map(|i| i * 1_001 - 5_000).collect();
        t[0] = i64::MIN + i64::from(n == 0);
        *t.last_mut().unwrap() = i64::MAX - 1;
        loader.extend(series, &t, &v).unwrap();
    }
    loader.finish().unwrap();
    db.close().unwrap();
}

#[test]
fn json_lines_and_dumps_lose_nothing() {
    let place = Place::new();
    odd(&place);
    let bits = place.ok(&["dump", "--db", "odd", "--bits"]);
    assert_eq!(bits.lines().count(), 6 * 113);
    let lines = place.ok(&["export", "--db", "odd", "--format", "jsonl"]);
    assert!(
        lines.contains("\"nan:7ff0000000000002\"")
            && lines.contains("\"-Infinity\"")
            && lines.contains("null")
    );
    place.feed(&["import", "--db", "lines", "-"], lines.as_bytes());
    assert_eq!(place.ok(&["dump", "--db", "lines", "--bits"]), bits);
    assert_eq!(place.ok(&["export", "--db", "lines", "--format", "jsonl"]), lines);
    place.feed(&["import", "--db", "bits", "--format", "promdump"], bits.as_bytes());
    assert_eq!(place.ok(&["dump", "--db", "bits", "--bits"]), bits);
    let dump = place.ok(&["dump", "--db", "odd"]);
    place.feed(&["import", "--db", "dump", "--format", "promdump"], dump.as_bytes());
    assert_eq!(place.ok(&["dump", "--db", "dump"]), dump);
}

#[test]
fn openmetrics_says_what_it_cannot_say() {
    let place = Place::new();
    odd(&place);
    let export = |matching: &[&'static str]| {
        let all = ["export", "--db", "odd", "--format", "openmetrics"];
        all.into_iter().chain(matching.iter().flat_map(|m| ["--match", m])).collect::<Vec<_>>()
    };
    place.fails(3, &export(&[]), b"", "no metric name");
    place.fails(
        3,
        &export(&[r#"{__name__="n0"}"#, "{__name__=~\"n1(?s:.*)\"}"]),
        b"",
        "a time that OpenMetrics cannot say",
    );
    let some = export(&["{__name__=~\"n[1245](?s:.*)\"}"]);
    let some: Vec<&str> = some.into_iter().chain(["--min-time", "-6000"]).collect();
    let output = place.run(&some, b"");
    assert!(String::from_utf8_lossy(&output.stderr).contains("became plain NaN"), "{output:?}");
    place.feed(&["import", "--db", "copy", "-"], &output.stdout);
    let dump = ["dump", "--db", "odd", "--min-time", "-6000", "--match", "{__name__=~\"n[1245](?s:.*)\"}"];
    assert_eq!(place.ok(&["dump", "--db", "copy"]), place.ok(&dump));
    assert_eq!(place.ok(&dump).lines().count(), 4 * 112);
}

#[test]
fn openmetrics_is_grouped_by_family() {
    let place = Place::new();
    place.ok(&["import", "--db", "db", &own("small.om")]);
    let expected = "\
        # TYPE requests counter\n\
        requests_total{code=\"200\"} 1e+06 1600000000.000\n\
        requests_total{code=\"200\"} 1.23456789e+08 1600000015.000\n\
        requests_total{code=\"500\"} 0.25 1600000000.000\n\
        requests_total{code=\"500\"} 1e-05 1600000015.000\n\
        # TYPE temperature gauge\n\
        temperature -0 1600000000.000\n\
        temperature -Inf 1600000015.000\n\
        temperature +Inf 1600000030.000\n\
        # TYPE up gauge\n\
        # HELP up Whether the target was up.\n\
        up{job=\"a\\\"b\\\\c\\nd\",zone=\"Zürich\"} 1 1600000000.500\n\
        up{job=\"node\"} 1 1600000000.000\n\
        up{job=\"node\"} 0 1600000015.000\n\
        up{job=\"node\"} NaN 1600000030.000\n\
        up{job=\"node\"} 1 1600000045.000\n\
        # EOF\n";
    let all = place.ok(&["export", "--db", "db", "--format", "openmetrics"]);
    assert_eq!(all, expected);
    place.feed(&["check", "--strict", "--format", "openmetrics"], all.as_bytes());
    let one = ["--match", "temperature", "--max-time", "1600000000000"];
    let one = place.ok(&[&["export", "--db", "db", "--format", "openmetrics"], &one[..]].concat());
    assert_eq!(one, "# TYPE temperature gauge\ntemperature -0 1600000000.000\n# EOF\n");
}

#[test]
fn exports_of_all_dumps_are_imported_again() {
    let Some(root) = shared("dumps") else { return };
    let mut dumps = 0;
    for entry in std::fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".om.zst") else {
            continue;
        };
        let place = Place::new();
        place.ok(&["import", "--db", "db", path.to_str().unwrap()]);
        let dump = place.feed(&["dump", "--db", "db"], b"");
        let text = place.feed(&["export", "--db", "db", "--format", "openmetrics"], b"");
        place.feed(&["check"], &text);
        place.feed(&["import", "--db", "om"], &text);
        assert!(place.feed(&["dump", "--db", "om"], b"") == dump, "{name}: OpenMetrics");
        assert_eq!(place.feed(&["export", "--db", "om", "--format", "openmetrics"], b""), text, "{name}");
        let lines = place.feed(&["export", "--db", "db", "--format", "jsonl"], b"");
        place.feed(&["import", "--db", "jsonl"], &lines);
        place.feed(&["import", "--db", "promdump"], &dump);
        for db in ["jsonl", "promdump"] {
            assert!(place.feed(&["dump", "--db", db], b"") == dump, "{name}: {db}");
        }
        canonical(&root, name, &place, &text);
        println!("{name}: {} bytes of OpenMetrics, {} of JSON lines", text.len(), lines.len());
        dumps += 1;
    }
    assert!(dumps > 0);
}

/// The export's canonical form, by the program that made the truth, is the truth's.
fn canonical(root: &Path, name: &str, place: &Place, export: &[u8]) {
    let file = place.0.path().join("export.om");
    std::fs::write(&file, export).unwrap();
    let mut python = Command::new("python3");
    python.arg(root.join("canon.py")).args(["--from", "om"]).stdin(std::fs::File::open(&file).unwrap());
    let Ok(output) = python.output() else {
        println!("skipped: python3 is not here, which canon.py needs");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let truth = std::fs::read_to_string(root.join(format!("{name}.truth.json"))).unwrap();
    let truth: Value = serde_json::from_str(&truth).unwrap();
    let hash =
        |value: &Value| value["sha256"].as_str().or(value["truth"]["sha256"].as_str()).map(str::to_owned);
    assert!(hash(&found).is_some());
    assert_eq!(hash(&found), hash(&truth["truth"]), "{name}");
}

/// Runs promtool; `None` where it is not.
fn promtool(arguments: &[&str]) -> Option<String> {
    let Ok(output) = Command::new("promtool").args(arguments).output() else {
        println!("skipped: promtool is not here");
        return None;
    };
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && err.is_empty(), "{arguments:?}: {err}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// What promtool dumps of a directory of blocks, at least some lines.
fn promtool_dump(blocks: &Path) -> Option<String> {
    // Without a log, promtool says that there is none.
    std::fs::create_dir_all(blocks.join("wal")).unwrap();
    let dump = promtool(&["tsdb", "dump", blocks.to_str().unwrap()])?;
    assert!(dump.lines().count() > 10);
    Some(dump)
}

#[test]
fn promtool_takes_the_export_and_dumps_the_same() {
    let shared = shared("dumps").map(|dir| dir.join("nginx-1s.om.zst").to_str().unwrap().to_owned());
    for input in [Some(own("small.om")), shared].into_iter().flatten() {
        let place = Place::new();
        place.ok(&["import", "--db", "db", &input]);
        let (file, blocks) = (place.0.path().join("export.om"), place.0.path().join("blocks"));
        std::fs::write(&file, place.ok(&["export", "--db", "db", "--format", "openmetrics"])).unwrap();
        let paths = [file.to_str().unwrap(), blocks.to_str().unwrap()];
        if promtool(&[&["tsdb", "create-blocks-from", "openmetrics"], &paths[..]].concat()).is_none() {
            return;
        }
        let dump = promtool_dump(&blocks).unwrap();
        assert!(dump == place.ok(&["dump", "--db", "db"]), "{input}: promtool dumps something else");
    }
}

#[test]
fn what_promtool_dumps_of_real_blocks_is_dumped_the_same() {
    let Some(root) = shared("prometheus-tsdb") else { return };
    for (below, name) in [("promscale-blocks", ""), ("promtool-blocks", ""), ("", "index_format_v1")] {
        let place = Place::new();
        // promtool wants a directory that it may lock, and names of blocks that are none otherwise.
        let blocks = place.0.path().join("blocks");
        for entry in std::fs::read_dir(root.join(below)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() && (name.is_empty() || entry.file_name() == name) {
                let named =
                    if name.is_empty() { entry.file_name() } else { "01FYTKEKPV5PX2F92Q3V5AV8RK".into() };
                copy(&entry.path(), &blocks.join(named));
            }
        }
        let Some(dump) = promtool_dump(&blocks) else { return };
        let summary =
            place.feed(&["import", "--db", "db", "--format", "promdump", "--json"], dump.as_bytes());
        let summary: Value = serde_json::from_slice(&summary).unwrap();
        assert!(place.ok(&["dump", "--db", "db"]) == dump, "{below}{name}: other bytes");
        println!("{below}{name}: {} samples, {} bytes", summary["samples"], dump.len());
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

// Blocks and labels.

#[test]
fn blocks_are_listed() {
    let place = Place::new();
    place.ok(&["import", "--db", "db", &own("small.om")]);
    let text = place.ok(&["list", "--db", "db"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    let columns =
        ["BLOCK", "MIN TIME", "MAX TIME", "DURATION", "NUM SAMPLES", "NUM CHUNKS", "NUM SERIES", "SIZE"];
    let header: Vec<&str> = lines[0].split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
    assert_eq!(header, columns);
    let row: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(row[1..7], ["2020-09-13T12:26:40Z", "2020-09-13T12:27:25Z", "45s", "12", "5", "5"], "{text}");
    assert!(place.0.path().join("db/blocks").join(row[0]).is_dir());
    let listed = place.json(&["list", "--db", "db", "--json"]);
    let block = &listed["blocks"][0];
    let stats = place.json(&["stats", "--db", "db", "--json"]);
    assert_eq!(block["bytes"], stats["block_bytes"]);
    assert_eq!(
        (block["samples"].as_u64(), block["min_time_ms"].as_i64()),
        (Some(12), Some(1_600_000_000_000))
    );
    place.ok(&["import", "--db", "db", &own("target.scrapes")]);
    let listed = place.json(&["list", "--db", "db", "--json"]);
    let times: Vec<i64> =
        listed["blocks"].as_array().unwrap().iter().map(|b| b["min_time_ms"].as_i64().unwrap()).collect();
    assert!(times.len() > 1 && times.is_sorted(), "{times:?}");
}

#[test]
fn labels_and_bytes_are_analyzed() {
    let place = Place::new();
    place.ok(&["import", "--db", "db", &own("small.om")]);
    let found = place.json(&["analyze", "--db", "db", "--json"]);
    for (key, n) in
        [("series", 5), ("samples", 12), ("label_names", 4), ("label_pairs", 8), ("postings_entries", 10)]
    {
        assert_eq!(found[key], n, "{key}");
    }
    let stats = place.json(&["stats", "--db", "db", "--json"]);
    let bytes = found["bytes"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
    assert_eq!(bytes, stats["bytes"].as_u64().unwrap());
    // Of 45 s, requests_total covers 15 twice, and up all once: what is missing is 60 and 45.
    assert_eq!(found["churn_pairs"][0], serde_json::json!({ "name": "__name__=requests_total", "count": 1 }));
    assert_eq!(found["metrics_by_samples"][0], serde_json::json!({ "name": "up", "count": 5 }));
    assert_eq!(found["metrics_by_series"][0], serde_json::json!({ "name": "requests_total", "count": 2 }));
    let text = place.ok(&["analyze", "--db", "db", "--limit", "1", "--match", "{job=\"node\"}"]);
    for part in [
        "Total Series                          1\n",
        "Bytes by part",
        "\nHighest cardinality labels:\n1 __name__\n\n",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    let empty = place.json(&["analyze", "--db", "db", "--match", "nothing", "--json"]);
    assert_eq!((&empty["series"], &empty["min_time_ms"]), (&Value::from(0), &Value::Null));
}

#[test]
fn formats_are_found_out() {
    for (name, format) in [
        ("victoriametrics.jsonl", Format::Jsonl),
        ("target.scrapes", Format::Scrapes),
        ("small.dump", Format::Promdump),
    ] {
        let bytes = std::fs::read(own(name)).unwrap();
        assert_eq!(silverback::import::detect("-", &bytes, true), format, "{name}");
        let (whole, _) = read(&ImportOptions::default(), "-", &bytes);
        let (given, _) = read(&ImportOptions::default().format(format), "-", &bytes);
        assert_eq!(whole, given, "{name}");
    }
}
