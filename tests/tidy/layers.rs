//! A layering without cycles: a module imports only from lower rows, and siblings in a row never import one another.

use crate::rust::{PathUse, Source, sources};
use crate::{Faults, read};

/// The rows, lowest first. ARCHITECTURE.md draws the same.
const ROWS: [&[&str]; 9] = [
    &["error"],
    &["model"],
    &["env", "format", "postings", "sync"],
    &["source"],
    &["wal", "block"],
    &["head", "query", "compact", "bulk"],
    &["db"],
    &["import"],
    &["cli"],
];

/// Above all rows: the root itself, and the hidden door for this project's own fuzz targets, benches and deep tests.
const DOORS: [&str; 2] = ["lib", "internals"];

/// What tests import although the layering forbids it: (file, module, reason).
const TEST_EXCEPTIONS: [(&str, &str, &str); 0] = [];

/// What only some files may touch: (what a path begins with or contains, files, reason).
const SEAMS: [(&str, &[&str], &str); 9] = [
    ("std::fs", &["src/env/"], "go through env::Fs"),
    ("SystemTime", &["src/env/"], "ask env::Clock"),
    ("Instant", &["src/env/"], "ask env::Clock"),
    ("rustix", &["src/env/"], "go through env::Fs"),
    ("memmap2", &["src/env/mmap.rs"], "go through env::Fs::map"),
    ("thread::spawn", &["src/db/background.rs"], "threads are made in db and handed down"),
    ("thread::Builder", &["src/db/background.rs"], "threads are made in db and handed down"),
    ("thread::scope", &[], "threads are made in db and handed down"),
    ("ThreadPoolBuilder", &["src/db/open.rs"], "the pool is made in db and handed down"),
];

/// Who may touch them besides: (file or directory, reason). The code of tests may, too.
const SEAM_EXCEPTIONS: [(&str, &str); 1] =
    [("src/cli/", "the command line is a program: it reads files, waits and shows the time")];

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// The exception that covers an import, by index.
fn exception(source: &Source, found: &PathUse, to: &str) -> Option<usize> {
    let covers = |(file, module, _): &(&str, &str, &str)| *file == source.path && *module == to;
    source.is_test(found.offset).then(|| TEST_EXCEPTIONS.iter().position(covers)).flatten()
}

/// Why an import is not allowed, if it is not.
fn verdict(from: &str, to: &str) -> Option<String> {
    let Some(from_row) = row(from) else {
        return Some(format!("`{from}` has no row: give it one in tests/tidy/layers.rs and ARCHITECTURE.md"));
    };
    if from == to {
        return None;
    }
    let is_module = row(to).is_some();
    match (from, is_module) {
        ("import" | "cli", false) => None,
        ("import" | "cli", true) => {
            Some(format!("`{from}` uses the crate's public root, as an outsider would: not `crate::{to}`"))
        }
        // A macro that is exported stands at the root, wherever it is written.
        (_, false) if to == "labels" => None,
        (_, false) => {
            Some(format!("`crate::{to}` is a name of the public root: import it from the module that has it"))
        }
        (_, true) if row(to).is_some_and(|r| r < from_row) => None,
        (_, true) => Some(format!(
            "`{from}` (row {from_row}) may not import `{to}` (row {}): only lower rows; what siblings share goes below both",
            row(to).unwrap_or(usize::MAX)
        )),
    }
}

#[test]
fn modules_import_only_lower_rows() {
    let mut faults = Faults::default();
    let mut used = vec![false; TEST_EXCEPTIONS.len()];
    let mut imports = 0;
    for source in sources() {
        let from = source.module();
        if DOORS.contains(&from) {
            continue;
        }
        for found in source.paths() {
            let mut segments = found.text.split("::");
            let (first, to) = (segments.next().unwrap_or(""), segments.next().unwrap_or(""));
            let supers = found.text.split("::").take_while(|s| *s == "super").count();
            if supers > 0 && from != "cli" && supers >= source.depth(found.offset) {
                let what = format!("`{}` climbs out of `{from}`: write `crate::…`", found.text);
                faults.at(&source.path, source.line(found.offset), what);
            }
            if from == "cli" && found.text.starts_with("silverback::internals") {
                faults.at(
                    &source.path,
                    source.line(found.offset),
                    "the command line uses the public API only",
                );
            }
            // In the binary `crate` is the binary.
            if first != "crate" || to.is_empty() || from == "cli" {
                continue;
            }
            imports += 1;
            // Tests may use the public root, as users do.
            if row(to).is_none() && source.is_test(found.offset) {
                continue;
            }
            let Some(why) = verdict(from, to) else { continue };
            match exception(source, &found, to) {
                Some(i) => used[i] = true,
                None => faults.at(&source.path, source.line(found.offset), why),
            }
        }
    }
    assert!(imports > 100, "the check found only {imports} imports: it is broken");
    for (_, (file, module, _)) in used.iter().zip(TEST_EXCEPTIONS).filter(|(used, _)| !**used) {
        faults.of(
            file,
            format!("does not import `{module}` any more: remove its exception in tests/tidy/layers.rs"),
        );
    }
    faults.check();
}

#[test]
fn what_the_architecture_draws_is_what_is_checked() {
    let text = read("ARCHITECTURE.md");
    let mut faults = Faults::default();
    for (number, modules) in ROWS.iter().enumerate() {
        let start = format!("{number}  ");
        let line = text.lines().find(|l| l.starts_with(&start)).unwrap_or("");
        for module in *modules {
            if !line.split_whitespace().any(|w| w.trim_end_matches('*') == *module) {
                faults.of("ARCHITECTURE.md", format!("row {number} of the layering must name `{module}`"));
            }
        }
    }
    faults.check();
}

#[test]
fn only_the_seams_touch_the_outside() {
    let mut faults = Faults::default();
    for source in sources() {
        if SEAM_EXCEPTIONS.iter().any(|(place, _)| source.path.starts_with(place)) {
            continue;
        }
        for found in source.paths().iter().filter(|f| !source.is_test(f.offset)) {
            let path = format!("::{}::", found.text);
            for (what, places, instead) in SEAMS {
                let outside = !places.iter().any(|p| source.path.starts_with(p));
                if outside && path.contains(&format!("::{what}::")) {
                    let fault = format!("`{}` is not used here: {instead}", found.text);
                    faults.at(&source.path, source.line(found.offset), fault);
                }
            }
            if found.text == "unsafe" && source.path != "src/env/mmap.rs" {
                faults.at(
                    &source.path,
                    source.line(found.offset),
                    "`unsafe` is used in src/env/mmap.rs only",
                );
            }
        }
    }
    faults.check();
}
