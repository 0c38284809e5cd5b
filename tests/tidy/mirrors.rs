//! Each structure on disk has four mirrors, and they say the same: `src/format/X.rs`, `format-spec/X.md`,
//! `fuzz/fuzz_targets/X.rs` with its corpus, `tests/golden/X.bin`.

use crate::{Faults, files_below, read, root};

/// A corpus is small: it is in every clone, and replayed by every run of the tests.
const MAX_CORPUS_FILES: usize = 32;
const MAX_CORPUS_BYTES: u64 = 65_536;
const MAX_CORPORA_BYTES: u64 = 500_000;

/// Files of `src/format` that are no structure: (name, reason).
const HELPERS: [(&str, &str); 3] = [
    ("mod", "the list of the others"),
    ("cursor", "bounded reading, varints, checksums"),
    ("testing", "helpers of tests"),
];

/// Fuzz targets that are of no structure: (name, reason).
const OTHER_TARGETS: [(&str, &str); 8] = [
    ("parse_text", "the parser of Prometheus text"),
    ("parse_openmetrics", "the parser of OpenMetrics"),
    ("parse_scrapes", "the reader of recorded scrapes"),
    ("parse_jsonl", "the reader of JSON lines"),
    ("parse_promdump", "the reader of dumps"),
    ("selector", "the parser of selectors, and what they match"),
    ("operations", "a store under a sequence of operations and power cuts"),
    ("directory", "a store whose files are damaged"),
];

/// The names of the structures.
fn structures() -> Vec<String> {
    let files = files_below("src/format", ".rs");
    let names = files.iter().filter_map(|f| f.strip_prefix("src/format/")?.strip_suffix(".rs"));
    names.filter(|n| !n.contains('/') && !HELPERS.iter().any(|(h, _)| h == n)).map(str::to_owned).collect()
}

/// The names of the files below a directory with a suffix.
fn stems(dir: &str, suffix: &str) -> Vec<String> {
    let stem = |f: &String| Some(f.strip_prefix(dir)?.strip_prefix('/')?.strip_suffix(suffix)?.to_owned());
    files_below(dir, suffix).iter().filter_map(stem).collect()
}

/// The lines of a section of a page, with their numbers from 1.
fn section<'a>(page: &'a str, title: &str) -> Vec<(usize, &'a str)> {
    let lines = page.lines().enumerate().map(|(n, l)| (n + 1, l));
    let inside = lines.skip_while(|(_, l)| *l != title).skip(1);
    inside.take_while(|(_, l)| !l.starts_with("## ")).collect()
}

#[test]
fn each_structure_has_its_four_mirrors() {
    let mut faults = Faults::default();
    let structures = structures();
    assert!(structures.len() > 10, "the check found only {structures:?}: it is broken");
    let fuzz_manifest = read("fuzz/Cargo.toml");
    let internals = read("src/internals.rs");
    let index = read("format-spec/README.md");
    for x in &structures {
        for mirror in [
            format!("format-spec/{x}.md"),
            format!("fuzz/fuzz_targets/{x}.rs"),
            format!("tests/golden/{x}.bin"),
        ] {
            if !root().join(&mirror).exists() {
                faults
                    .of(&mirror, format!("is missing: src/format/{x}.rs has four mirrors (CONTRIBUTING.md)"));
            }
        }
        if !fuzz_manifest.contains(&format!("name = \"{x}\"\npath = \"fuzz_targets/{x}.rs\"")) {
            faults.of("fuzz/Cargo.toml", format!("has no [[bin]] for `{x}`"));
        }
        if !internals.lines().any(|l| l.trim() == x) {
            faults.of("src/internals.rs", format!("does not list `{x}` among the structures to be fuzzed"));
        }
        if !index.contains(&format!("]({x}.md)")) {
            faults.of("format-spec/README.md", format!("does not list the page `{x}.md`"));
        }
        let tests = std::fs::read_to_string(root().join(format!("src/format/{x}/tests.rs")));
        let code = read(&format!("src/format/{x}.rs")) + &tests.unwrap_or_default();
        if !code.contains("pub(crate) fn fuzz(data: &[u8])") {
            faults.of(&format!("src/format/{x}.rs"), "lacks `pub(crate) fn fuzz(data: &[u8])`");
        }
        if !code.contains(&format!("golden(\"{x}\"")) && !code.contains("golden(STRUCTURE") {
            faults.of(
                &format!("src/format/{x}.rs"),
                format!("lacks a test with `testing::golden(\"{x}\", …)`"),
            );
        }
    }
    faults.check();
}

#[test]
fn no_mirror_is_of_nothing() {
    let mut faults = Faults::default();
    let structures = structures();
    let known = |x: &String| structures.contains(x);
    for x in stems("format-spec", ".md").iter().filter(|x| *x != "README" && !known(x)) {
        faults.of(&format!("format-spec/{x}.md"), "there is no such file in src/format: remove the page");
    }
    for x in stems("tests/golden", ".bin").iter().filter(|x| !known(x)) {
        faults.of(&format!("tests/golden/{x}.bin"), "there is no such file in src/format: remove it");
    }
    let is_other = |x: &String| OTHER_TARGETS.iter().any(|(name, _)| name == x);
    for x in stems("fuzz/fuzz_targets", ".rs").iter().filter(|x| !known(x) && !is_other(x)) {
        let what = "is of no structure: list it in tests/tidy/mirrors.rs with what it is for";
        faults.of(&format!("fuzz/fuzz_targets/{x}.rs"), what);
    }
    faults.check();
}

#[test]
fn each_fuzz_target_has_a_small_corpus() {
    let mut faults = Faults::default();
    let mut all = 0;
    for x in stems("fuzz/fuzz_targets", ".rs") {
        let corpus = format!("fuzz/corpus/{x}");
        if !root().join(&corpus).is_dir() {
            faults.of(&corpus, "is missing: fuzz/README.md says how a corpus is made");
            continue;
        }
        let files = files_below(&corpus, "");
        let length = |file: &String| std::fs::metadata(root().join(file)).map_or(0, |m| m.len());
        let bytes: u64 = files.iter().map(length).sum();
        if files.is_empty() || files.len() > MAX_CORPUS_FILES || bytes > MAX_CORPUS_BYTES {
            let what = format!(
                "{} files, {bytes} bytes: {MAX_CORPUS_FILES} and {MAX_CORPUS_BYTES} are the most (fuzz/distil)",
                files.len()
            );
            faults.of(&corpus, what);
        }
        all += bytes;
    }
    if all > MAX_CORPORA_BYTES {
        faults.of("fuzz/corpus", format!("{all} bytes, {MAX_CORPORA_BYTES} is the most"));
    }
    faults.check();
}

/// A constant's value in one form: numbers as decimal, text as it is between the quotes.
fn canonical(value: &str) -> Option<String> {
    let value = value.trim().trim_start_matches(['*', '&']);
    if let Some(text) = value.strip_prefix('b').unwrap_or(value).strip_prefix('"') {
        return Some(format!("\"{}\"", text.strip_suffix('"')?));
    }
    let digits = value.replace('_', "");
    let number = match digits.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    number.ok().map(|n| n.to_string())
}

/// `const NAME: T = value;` of a source file: (value as written).
fn constant<'a>(code: &'a str, name: &str) -> Option<&'a str> {
    let declared = format!("const {name}: ");
    let line = code.lines().find(|l| {
        let l = l.trim_start();
        let l = l.strip_prefix("pub(crate) ").or(l.strip_prefix("pub(super) ")).unwrap_or(l);
        l.starts_with(&declared)
    })?;
    line.split_once(" = ")?.1.trim_end().strip_suffix(';')
}

#[test]
fn the_constants_on_the_pages_are_those_of_the_code() {
    let mut faults = Faults::default();
    for x in structures() {
        let (path, source) = (format!("format-spec/{x}.md"), format!("src/format/{x}.rs"));
        if !root().join(&path).exists() {
            continue;
        }
        let (page, code) = (read(&path), read(&source));
        let rows: Vec<_> =
            section(&page, "## Constants").into_iter().filter(|(_, l)| l.starts_with("| ")).collect();
        if rows.first().is_none_or(|(_, l)| *l != "| name | value |") || rows.len() < 2 {
            faults.of(&path, "has no table `| name | value |` under `## Constants`");
        }
        for (number, line) in rows.iter().skip(1) {
            let cells: Vec<&str> =
                line.trim_matches('|').split('|').map(|c| c.trim().trim_matches('`')).collect();
            let [name, value] = cells.as_slice() else {
                faults.at(&path, *number, "a constant has two cells: its name and its value");
                continue;
            };
            match constant(&code, name).map(|v| (v, canonical(v))) {
                None => faults.at(&path, *number, format!("{source} has no `const {name}`")),
                Some((v, None)) => {
                    faults.at(&path, *number, format!("`{name}` must be a literal in {source}, it is `{v}`"));
                }
                Some((v, found)) if found != canonical(value) => {
                    faults.at(&path, *number, format!("`{name}` is {value} here and `{v}` in {source}"));
                }
                Some(_) => {}
            }
        }
    }
    faults.check();
}

#[test]
fn the_table_of_versions_names_every_version() {
    let path = "format-spec/README.md";
    let mut faults = Faults::default();
    let rows: Vec<(String, Vec<String>)> = section(&read(path), "## How versions evolve")
        .iter()
        .filter_map(|(_, line)| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [version, of, _, _] = cells.as_slice() else { return None };
            let of = of.split(", ").map(|x| x.trim_matches('`').to_owned()).collect();
            version.parse::<u32>().ok().map(|_| ((*version).to_owned(), of))
        })
        .collect();
    assert!(!rows.is_empty(), "{path}: the table of versions was not found");
    let mut found = 0;
    for x in structures() {
        let Some(version) = constant(&read(&format!("src/format/{x}.rs")), "VERSION").map(str::to_owned)
        else {
            continue;
        };
        found += 1;
        if !rows.iter().any(|(row, of)| *row == version && of.contains(&x)) {
            faults.of(path, format!("the table of versions lacks `{x}` with version {version}"));
        }
    }
    assert!(found > 3, "the check found only {found} versions: it is broken");
    faults.check();
}

/// The bytes of the block of hex in a page's worked example; an error with its line.
fn worked_example(page: &str) -> Result<Vec<u8>, (usize, String)> {
    let lines = section(page, "## Worked example");
    let mut block = lines.iter().skip_while(|(_, l)| *l != "```hex");
    let Some((start, _)) = block.next() else {
        return Err((1, "has no ```hex block under `## Worked example`".to_owned()));
    };
    let mut bytes = Vec::new();
    for (number, line) in block {
        if line.starts_with("```") {
            return Ok(bytes);
        }
        for pair in line.split('#').next().unwrap_or("").split_whitespace() {
            match u8::from_str_radix(pair, 16) {
                Ok(byte) if pair.len() == 2 => bytes.push(byte),
                _ => return Err((*number, format!("`{pair}` is no pair of hex digits"))),
            }
        }
    }
    Err((*start, "the block of hex has no end".to_owned()))
}

#[test]
fn the_worked_examples_are_the_golden_files() {
    let mut faults = Faults::default();
    for x in structures() {
        let (path, golden) = (format!("format-spec/{x}.md"), format!("tests/golden/{x}.bin"));
        let Ok(expected) = std::fs::read(root().join(&golden)) else { continue };
        if !root().join(&path).exists() {
            continue;
        }
        match worked_example(&read(&path)) {
            Err((line, what)) => faults.at(&path, line, what),
            Ok(bytes) if bytes != expected => {
                let same = bytes.iter().zip(&expected).take_while(|(a, b)| a == b).count();
                let what = format!(
                    "the worked example ({} bytes) and {golden} ({} bytes) differ from byte {same} on: mend the one that is wrong",
                    bytes.len(),
                    expected.len()
                );
                faults.of(&path, what);
            }
            Ok(_) => {}
        }
    }
    faults.check();
}
