//! The corpora of the fuzz targets, replayed.
//!
//! Goal: what fuzzing has reached stays reached, and what it has found stays mended, on stable Rust and in every run of the tests.
//! Method: each file of `fuzz/corpus/TARGET` goes through the function that the fuzz target of that name calls. A
//! target without a corpus fails, and so does a corpus without a target.
//!
//! Miri runs a part of it (`tests/nightly.sh`): `SILVERBACK_TARGETS` names targets, `SILVERBACK_INPUTS` says how many inputs of each,
//! the longest of at most 64 bytes: what is longer takes Miri many minutes.

#![cfg(feature = "import")]

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use silverback::internals::fuzz::targets;

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The names of what a directory holds, without their endings.
fn stems(dir: &Path) -> Vec<String> {
    let stem = |path: PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    files(dir).into_iter().filter_map(stem).collect()
}

#[test]
fn every_input_of_every_corpus_passes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut finds = Vec::new();
    let only = std::env::var("SILVERBACK_TARGETS").ok();
    let most = std::env::var("SILVERBACK_INPUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let is_asked = |target: &str| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == target));
    for (target, check) in targets().filter(|(target, _)| is_asked(target)) {
        let mut inputs = files(&fuzz.join("corpus").join(target));
        if most < usize::MAX {
            let bytes = |path: &PathBuf| std::fs::metadata(path).map_or(0, |m| m.len());
            inputs.retain(|path| bytes(path) <= 64);
            inputs.sort_by_key(|path| std::cmp::Reverse(bytes(path)));
            inputs.truncate(most);
        }
        assert!(!inputs.is_empty(), "fuzz/corpus/{target} is empty: see fuzz/README.md");
        let mut bytes = 0;
        for input in &inputs {
            let data = std::fs::read(input).unwrap_or_else(|e| panic!("{}: {e}", input.display()));
            bytes += data.len();
            if catch_unwind(|| check(&data)).is_err() {
                finds.push(input.clone());
            }
        }
        println!("{target}: {} inputs, {bytes} bytes", inputs.len());
    }
    assert!(finds.is_empty(), "these inputs break their targets: {finds:#?}");
}

#[test]
fn targets_and_corpora_are_of_the_same_names() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut names: Vec<String> = targets().map(|(target, _)| target.to_owned()).collect();
    names.sort();
    assert_eq!(stems(&fuzz.join("fuzz_targets")), names, "src/internals.rs lists the targets");
    assert_eq!(stems(&fuzz.join("corpus")), names, "each target has a corpus, and each corpus a target");
}
