//! Goal: an import yields exactly the samples that it should: of the collected cases what Prometheus reads,
//! of the backfill dumps what promtool made of them.
//! Method: import into memory; compare case by case, and the SHA-256 of the canonical form of a
//! dump (`canon.py` beside the dumps defines it) with the recorded truth.
#![cfg(all(feature = "import", feature = "zstd"))]

use std::collections::BTreeMap;

use serde_json::Value;
use silverback::import::{Format, ImportOptions, ImportSummary, Input, MissingTimestamp, SampleSink, import};
use silverback::{Cancel, Labels, Metadata, Result};

mod common;

use common::{Sha256, canonical_sha256, data};

/// Cases whose import is refused on purpose, each with its reason.
const REFUSED: [(&str, &str); 5] = [
    (
        "cp.om.test_timestamps.1",
        "a timestamp beyond 64 bits of milliseconds: Go makes some other time of it, which one depends on the machine",
    ),
    ("om.timestamps", "the same"),
    (
        "cp.om.test_invalid_input.20",
        "a label name stands twice, which Prometheus refuses when it scrapes, one step after parsing",
    ),
    ("om.bad_invalid_labels_2", "the same"),
    ("pc.testTextParseError.34", "the same"),
];

#[derive(Default)]
struct Memory {
    numbers: BTreeMap<Labels, usize>,
    samples: Vec<(Labels, Vec<(i64, u64)>)>,
    families: Vec<(String, Metadata)>,
}

impl SampleSink for Memory {
    type Series = usize;

    fn series(&mut self, labels: &Labels) -> Result<usize> {
        let next = self.samples.len();
        let n = *self.numbers.entry(labels.clone()).or_insert(next);
        if n == next {
            self.samples.push((labels.clone(), Vec::new()));
        }
        Ok(n)
    }

    fn extend(&mut self, series: usize, t: &[i64], v: &[f64]) -> Result<()> {
        assert_eq!(t.len(), v.len());
        self.samples[series].1.extend(t.iter().copied().zip(v.iter().map(|v| v.to_bits())));
        Ok(())
    }

    fn metadata(&mut self, family: &str, metadata: &Metadata) -> Result<()> {
        self.families.push((family.to_owned(), metadata.clone()));
        Ok(())
    }
}

fn run(options: &ImportOptions, name: &str, input: &[u8]) -> (Memory, Result<ImportSummary>) {
    let mut sink = Memory::default();
    let input = Input::new(name, input);
    let outcome = import(options, [Ok(input)], &mut sink, &Cancel::default(), |_| {});
    (sink, outcome)
}

#[test]
fn cases_are_imported_bit_for_bit() {
    let Some(root) = data("exposition/cases") else { return };
    let mut files: Vec<_> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let (mut imported, mut refused, mut samples) = (0, 0, 0);
    for line in files
        .iter()
        .flat_map(|f| std::fs::read_to_string(f).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
    {
        let case: Value = serde_json::from_str(&line).unwrap();
        let id = case["id"].as_str().unwrap();
        let (Some(expected), Some(text)) = (case["expected"]["samples"].as_array(), case["input"].as_str())
        else {
            continue;
        };
        let format = if case["format"] == "text-0.0.4" { Format::Text } else { Format::OpenMetrics };
        let options = ImportOptions::default().format(format).timestamp(MissingTimestamp::At(77));
        let (sink, outcome) = run(&options, id, text.as_bytes());
        if REFUSED.iter().any(|(case, _)| *case == id) {
            assert!(outcome.is_err(), "{id}");
            refused += 1;
            continue;
        }
        let summary = outcome.unwrap_or_else(|e| panic!("{id}: {e}\n{text}"));
        let mut wanted: BTreeMap<Labels, Vec<(i64, u64)>> = BTreeMap::new();
        for sample in expected {
            let labels = sample["labels"].as_object().unwrap().iter();
            let labels = Labels::from_pairs(labels.map(|(k, v)| (k, v.as_str().unwrap()))).unwrap();
            let bits = u64::from_str_radix(sample["value_bits"].as_str().unwrap(), 16).unwrap();
            wanted.entry(labels).or_default().push((sample["ts_ms"].as_i64().unwrap_or(77), bits));
        }
        let got: BTreeMap<_, _> = sink.samples.into_iter().collect();
        assert_eq!(got, wanted, "{id}");
        assert_eq!(summary.samples, expected.len() as u64, "{id}");
        imported += 1;
        samples += expected.len();
    }
    println!("{imported} cases imported with {samples} samples, {refused} refused on purpose");
    assert!(imported > 180 && refused == REFUSED.len(), "{imported} {refused}");
}

#[test]
fn all_dumps_are_what_promtool_made_of_them() {
    let Some(root) = data("dumps") else { return };
    let (mut dumps, mut samples) = (0, 0);
    for entry in std::fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let Some(name) = file.strip_suffix(".om.zst") else { continue };
        let truth = std::fs::read_to_string(root.join(format!("{name}.truth.json"))).unwrap();
        let truth = &serde_json::from_str::<Value>(&truth).unwrap()["truth"];
        // Under a name that says nothing, so that the content must.
        let (sink, outcome) = run(&ImportOptions::default(), "dump", &std::fs::read(&path).unwrap());
        let summary = outcome.unwrap();
        assert_eq!(summary.samples, truth["samples"].as_u64().unwrap(), "{name}");
        assert_eq!(summary.min_time_ms, truth["min_time_ms"].as_i64(), "{name}");
        assert_eq!(summary.max_time_ms, truth["max_time_ms"].as_i64(), "{name}");
        assert_eq!(canonical_sha256(&sink.samples), truth["sha256"].as_str().unwrap(), "{name}");
        dumps += 1;
        samples += summary.samples;
    }
    println!("{dumps} dumps, {samples} samples");
    assert!(dumps > 0);
}

#[test]
fn sha256_of_a_known_text() {
    let mut hash = Sha256::default();
    hash.update(b"abc");
    assert_eq!(hash.finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
