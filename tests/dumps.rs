//! Goal: what was imported is what promtool made of the same dumps, and stays so through care.
//! Method: for every dump that has a recorded truth, import with the binary, `dump` as the canonical form that
//! `canon.py` beside the dumps defines, compare its SHA-256; again after `compact`, and of a snapshot.
#![cfg(feature = "cli")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

fn dumps() -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/dumps")).to_path_buf();
    if !path.exists() {
        println!("skipped: ../shared is not here");
        return None;
    }
    Some(path)
}

fn run(db: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_silverback"));
    command.args(arguments).arg("--db").arg(db).arg("--quiet").stdin(Stdio::null());
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {err}");
    assert_eq!(err, "", "{arguments:?}");
    output.stdout
}

/// The SHA-256 of the canonical form of what `dump --bits` prints, and the number of samples.
fn canonical(dump: &str) -> (String, u64) {
    let mut lines: Vec<(String, i64, String)> = Vec::new();
    let mut series = (String::new(), String::new());
    for line in dump.lines() {
        let (rest, t) = line.rsplit_once(' ').unwrap();
        let (labels, bits) = rest.rsplit_once(' ').unwrap();
        if series.0 != labels {
            series = (labels.to_owned(), canonical_labels(labels));
        }
        let value = f64::from_bits(u64::from_str_radix(bits, 16).unwrap());
        let value = if value.is_nan() { "nan".to_owned() } else { bits.to_owned() };
        lines.push((series.1.clone(), t.parse().unwrap(), value));
    }
    let samples = lines.len() as u64;
    lines.sort();
    let mut hash = Sha256::new();
    for (labels, t, value) in lines {
        hash.update(format!("{labels} {t} {value}\n"));
    }
    (hash.finalize().iter().map(|b| format!("{b:02x}")).collect(), samples)
}

/// `{a="b", c="d"}` with Go's quotes becomes `{a="b",c="d"}` with `\\`, `\"` and `\n` escaped.
fn canonical_labels(text: &str) -> String {
    let mut rest = text.strip_prefix('{').unwrap();
    let mut pairs = Vec::new();
    while !rest.starts_with('}') {
        let (name, after) = match rest.starts_with('"') {
            true => unquote(rest),
            false => {
                let end = rest.find('=').unwrap();
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        let (value, after) = unquote(after.strip_prefix('=').unwrap());
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        pairs.push((name.clone(), format!("{name}=\"{value}\"")));
        rest = after.strip_prefix(", ").unwrap_or(after);
    }
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(_, pair)| pair).collect();
    format!("{{{}}}", pairs.join(","))
}

/// The string that a Go string literal at the beginning of `text` holds, and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut chars = text.strip_prefix('"').unwrap().chars();
    loop {
        match chars.next().unwrap() {
            '"' => return (out, chars.as_str()),
            '\\' => {
                let escape = chars.next().unwrap();
                let mut code = |digits: usize| {
                    let hex: String = chars.by_ref().take(digits).collect();
                    char::from_u32(u32::from_str_radix(&hex, 16).unwrap()).unwrap()
                };
                out.push(match escape {
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\x0b',
                    'x' => code(2),
                    'u' => code(4),
                    'U' => code(8),
                    c => c,
                });
            }
            c => out.push(c),
        }
    }
}

#[test]
fn all_dumps_are_what_promtool_made_of_them() {
    let Some(root) = dumps() else { return };
    let mut names: Vec<String> = std::fs::read_dir(&root)
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.strip_suffix(".om.zst").map(str::to_owned))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in &names {
        let truth = std::fs::read_to_string(root.join(format!("{name}.truth.json"))).unwrap();
        let truth = &serde_json::from_str::<Value>(&truth).unwrap()["truth"];
        let dir = tempfile::tempdir().unwrap();
        let (db, copy) = (dir.path().join("db"), dir.path().join("copy"));
        let input = root.join(format!("{name}.om.zst"));
        let summary = run(&db, &["import", input.to_str().unwrap(), "--json"]);
        let summary: Value = serde_json::from_slice(&summary).unwrap();
        for key in ["series", "samples", "min_time_ms", "max_time_ms", "conflicts"] {
            assert_eq!(summary[key], truth[key], "{name}: {key}");
        }
        assert_eq!(summary["duplicates"], truth["duplicates_dropped"], "{name}");
        let same = |db: &Path, when: &str| {
            let text = String::from_utf8(run(db, &["dump", "--bits"])).unwrap();
            let (sha256, samples) = canonical(&text);
            assert_eq!(samples, truth["samples"].as_u64().unwrap(), "{name}, {when}");
            assert_eq!(sha256, truth["sha256"].as_str().unwrap(), "{name}, {when}");
        };
        same(&db, "imported");
        run(&db, &["compact"]);
        same(&db, "compacted");
        run(&db, &["snapshot", copy.to_str().unwrap()]);
        same(&copy, "snapshot");
        assert!(run(&copy, &["verify"]).is_empty());
        let (samples, bytes) = (&summary["samples"], &summary["bytes_out"]);
        println!("{name}: {samples} samples, {bytes} bytes");
    }
    println!("{} dumps", names.len());
}

#[test]
fn the_canonical_form_of_odd_labels() {
    assert_eq!(
        canonical_labels(r#"{B="x", __name__="a\"b\\c\nd\t\u200b", "o.k"="\x01"}"#),
        "{B=\"x\",__name__=\"a\\\"b\\\\c\\nd\t\u{200b}\",o.k=\"\u{1}\"}"
    );
}
