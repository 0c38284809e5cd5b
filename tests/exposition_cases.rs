//! Goal: the default dialect says of every collected case what Prometheus's own parser says, and
//! reads the same samples bit for bit; the strict dialect agrees with the strict verdicts.
//! Method: run all cases and bodies kept beside the repository through `import::check`, compare with
//! the recorded verdicts and samples, and report every difference at once.
#![cfg(feature = "import")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use silverback::import::{CheckReport, Event, Format, LabelBuffer, check};

const ORACLE: &str = "prometheus_textparse_0.313.1";

/// Cases whose verdict or samples are others on purpose, each with its reason.
const EXCEPTIONS: [(&str, &str); 0] = [];

/// Cases whose metadata are others on purpose, each with its reason.
const METADATA_EXCEPTIONS: [(&str, &str); 1] = [(
    "cp.text.test_complex_name_counter.0",
    "Prometheus leaves the escapes in the family's name of TYPE and HELP, but not in the names of samples; here both lose them",
)];

fn exposition() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/exposition");
    if !path.exists() {
        println!("skipped: ../shared is not here");
        return None;
    }
    Some(path)
}

#[derive(Debug, PartialEq, Clone)]
struct Sample {
    labels: BTreeMap<String, String>,
    bits: u64,
    timestamp_ms: Option<i64>,
    exemplar: bool,
}

#[derive(Default)]
struct Seen {
    samples: Vec<Sample>,
    meta: Vec<(&'static str, String, String)>,
}

fn read(input: &[u8], format: Format, strict: bool) -> (CheckReport, Seen) {
    let mut seen = Seen::default();
    let mut buffer = LabelBuffer::default();
    let report = check(input, format, strict, |event| match event {
        Event::Sample(sample) => {
            sample.labels(&mut buffer);
            seen.samples.push(Sample {
                labels: buffer.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
                bits: sample.value().to_bits(),
                timestamp_ms: sample.timestamp_ms(),
                exemplar: sample.has_exemplar(),
            });
        }
        Event::Type(family, t) => seen.meta.push(("type", family.unescaped(), t.as_str().to_owned())),
        Event::Help(family, text) => seen.meta.push(("help", family.unescaped(), text.unescaped())),
        Event::Unit(family, unit) => seen.meta.push(("unit", family.unescaped(), (*unit).to_owned())),
        _ => {}
    })
    .unwrap();
    (report, seen)
}

fn expected_sample(v: &Value) -> Sample {
    let labels = v["labels"].as_object().unwrap();
    Sample {
        labels: labels.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect(),
        bits: u64::from_str_radix(v["value_bits"].as_str().unwrap(), 16).unwrap(),
        timestamp_ms: v["ts_ms"].as_i64(),
        exemplar: v["exemplars"].as_array().is_some_and(|e| !e.is_empty()),
    }
}

struct Case {
    id: String,
    format: Format,
    dialect: String,
    input: Vec<u8>,
    json: Value,
}

fn cases(root: &Path) -> Vec<Case> {
    let mut files: Vec<_> =
        std::fs::read_dir(root.join("cases")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let lines = files
        .iter()
        .flat_map(|f| std::fs::read_to_string(f).unwrap().lines().map(str::to_owned).collect::<Vec<_>>());
    lines
        .map(|line| {
            let json: Value = serde_json::from_str(&line).unwrap();
            let input = match json["input"].as_str() {
                Some(text) => text.as_bytes().to_vec(),
                None => base64(json["input_b64"].as_str().unwrap()),
            };
            let format = match json["format"].as_str().unwrap() {
                "text-0.0.4" => Format::Text,
                _ => Format::OpenMetrics,
            };
            Case {
                id: json["id"].as_str().unwrap().to_owned(),
                format,
                dialect: json["dialect"].as_str().unwrap().to_owned(),
                input,
                json,
            }
        })
        .collect()
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |b: u8| match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut out, mut bits, mut n) = (Vec::new(), 0u32, 0);
    for b in text.bytes().filter(|b| *b != b'=') {
        bits = bits << 6 | u32::from(digit(b));
        n += 6;
        if n >= 8 {
            n -= 8;
            out.push(u8::try_from(bits >> n & 0xff).unwrap());
        }
    }
    out
}

fn excepted(id: &str) -> bool {
    EXCEPTIONS.iter().any(|(case, _)| *case == id)
}

#[test]
fn default_dialect_agrees_with_prometheus() {
    let Some(root) = exposition() else { return };
    let (mut verdicts, mut contents, mut samples, mut wrong) = (0, 0, 0, Vec::new());
    for case in cases(&root).iter().filter(|c| !excepted(&c.id)) {
        let oracle = case.json["oracles"][ORACLE]["ok"].as_bool().unwrap();
        let (report, seen) = read(&case.input, case.format, false);
        verdicts += 1;
        if report.fault.is_none() != oracle {
            wrong.push(format!("{}: oracle {oracle}, here {:?}", case.id, report.fault));
            continue;
        }
        if !oracle || case.json["expected"].is_null() {
            continue;
        }
        contents += 1;
        let expected: Vec<Sample> =
            case.json["expected"]["samples"].as_array().unwrap().iter().map(expected_sample).collect();
        samples += expected.len();
        for (e, s) in expected.iter().zip(&seen.samples).filter(|(e, s)| e != s) {
            wrong.push(format!("{}: expected {e:?}\n   here {s:?}", case.id));
        }
        if expected.len() != seen.samples.len() {
            wrong.push(format!("{}: {} samples, here {}", case.id, expected.len(), seen.samples.len()));
        }
        let meta = |m: &Value| {
            let text = |k: &str| m[k].as_str().unwrap().to_owned();
            (text("kind"), text("name"), text("value"))
        };
        let expected: Vec<_> = case.json["expected"]["meta"].as_array().unwrap().iter().map(meta).collect();
        let here: Vec<_> =
            seen.meta.iter().map(|(k, n, v)| ((*k).to_owned(), n.clone(), v.clone())).collect();
        let excepted = METADATA_EXCEPTIONS.iter().any(|(id, _)| *id == case.id);
        if (expected != here) != excepted {
            wrong.push(format!("{}: metadata {expected:?}\n   here {here:?}", case.id));
        }
    }
    println!("{verdicts} verdicts, {contents} contents with {samples} samples, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(verdicts >= 392 - EXCEPTIONS.len() && samples > 500);
}

#[test]
fn strict_dialect_agrees_with_the_strict_verdicts() {
    let Some(root) = exposition() else { return };
    let (mut valid, mut invalid, mut wrong) = (0, 0, Vec::new());
    let all = cases(&root);
    for case in all.iter().filter(|c| c.dialect == "openmetrics-strict" && !excepted(&c.id)) {
        let expected = case.json["verdict"] == "valid";
        let (report, _) = read(&case.input, case.format, true);
        *(if expected { &mut valid } else { &mut invalid }) += 1;
        if report.fault.is_none() != expected {
            wrong.push(format!(
                "{}: {} here {:?}\n{}",
                case.id, case.json["verdict"], report.fault, case.json["input"]
            ));
        }
    }
    println!("strict: {valid} valid, {invalid} invalid, {} differ", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(valid + invalid >= 228 - EXCEPTIONS.len());
}

#[test]
fn live_bodies_read_as_prometheus_reads_them() {
    let Some(root) = exposition() else { return };
    let (mut bodies, mut samples) = (0, 0);
    for entry in std::fs::read_dir(root.join("bodies-live")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".zst") {
            continue;
        }
        let format = if name.ends_with(".om") { Format::OpenMetrics } else { Format::Text };
        let (report, seen) = read(&std::fs::read(&path).unwrap(), format, false);
        assert_eq!(report.fault, None, "{name}");
        let packed = std::fs::read(path.with_file_name(format!("{name}.expected.jsonl.zst"))).unwrap();
        let expected = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
        let expected: Vec<Sample> =
            expected.lines().map(|l| expected_sample(&serde_json::from_str(l).unwrap())).collect();
        assert!(expected == seen.samples, "{name}");
        bodies += 1;
        samples += expected.len();
    }
    println!("{bodies} live bodies, {samples} samples");
    assert!(bodies >= 27 && samples > 10_000);
}

#[test]
fn public_bodies_are_judged_as_prometheus_judges_them() {
    let Some(root) = exposition() else { return };
    let root = root.join("bodies-public");
    let manifest = std::fs::read_to_string(root.join("MANIFEST.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let mut wrong = Vec::new();
    for body in manifest.as_array().unwrap() {
        let name = body["file"].as_str().unwrap();
        let format = if body["format"] == "openmetrics" { Format::OpenMetrics } else { Format::Text };
        let (report, _) = read(&std::fs::read(root.join(name)).unwrap(), format, false);
        let (ok, samples) =
            (body["textparse"]["ok"].as_bool().unwrap(), body["textparse"]["samples"].as_u64().unwrap());
        if report.fault.is_none() != ok || (ok && report.samples != samples) {
            wrong.push(format!("{name}: oracle {ok} {samples}, here {report:?}"));
        }
    }
    println!("{} public bodies, {} differ", manifest.as_array().unwrap().len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
