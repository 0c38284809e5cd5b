//! Sizes, attributes, words, and what the documents promise.

use crate::rust::sources;
use crate::{Faults, read};

/// No file is longer.
const MAX_FILE_LINES: usize = 800;
/// No function is longer; most are below 60 lines.
const MAX_FUNCTION_LINES: usize = 100;

#[test]
fn files_and_functions_keep_their_size() {
    let mut faults = Faults::default();
    let mut functions = 0;
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > MAX_FILE_LINES {
            faults.of(
                &source.path,
                format!("{lines} lines, {MAX_FILE_LINES} is the most: split it by what it does"),
            );
        }
        for f in source.functions() {
            functions += 1;
            // A table of scenarios is as long as there are scenarios.
            let is_table = source.path.ends_with("enumerate/scenarios.rs");
            if f.lines > MAX_FUNCTION_LINES && !is_table {
                let what = format!(
                    "`{}` has {} lines, {MAX_FUNCTION_LINES} is the most: ifs up, fors down, pure leaves",
                    f.name, f.lines
                );
                faults.at(&source.path, source.line(f.offset), what);
            }
        }
    }
    assert!(functions > 500, "the check found only {functions} functions: it is broken");
    faults.check();
}

#[test]
fn every_file_opens_with_what_it_is() {
    let mut faults = Faults::default();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            faults.at(
                &source.path,
                1,
                "open the file with an essay (`//! …`): what it is, its invariants, its cost",
            );
        }
    }
    faults.check();
}

#[test]
fn exceptions_to_lints_have_a_reason_and_nothing_is_left_to_do() {
    let mut faults = Faults::default();
    // In two parts, so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for source in sources() {
        for (offset, _) in source.attributes("allow") {
            faults.at(
                &source.path,
                source.line(offset),
                "`allow` hides lints for ever: use `expect(lint, reason = \"…\")`",
            );
        }
        for (offset, inside) in source.attributes("expect") {
            if !inside.contains("reason") {
                faults.at(&source.path, source.line(offset), "say why: `expect(lint, reason = \"…\")`");
            }
        }
        for found in source.paths() {
            let is_macro = source.code[found.offset + found.text.len()..].starts_with('!');
            let line = source.line(found.offset);
            if is_macro && ["todo", "unimplemented", "dbg"].contains(&found.text.as_str()) {
                faults.at(&source.path, line, format!("`{}!`: finish it, or leave it out", found.text));
            }
            let prints = ["print", "println", "eprint", "eprintln"].contains(&found.text.as_str());
            if is_macro && prints && source.module() != "cli" && !source.is_test(found.offset) {
                faults.at(
                    &source.path,
                    line,
                    format!("`{}!`: a library is silent; use an event or an error", found.text),
                );
            }
        }
        for (number, line) in source.text.lines().enumerate() {
            if let Some(word) = words.iter().find(|w| line.contains(**w)) {
                faults.at(
                    &source.path,
                    number + 1,
                    format!("`{word}`: do it, or describe it where users look"),
                );
            }
        }
    }
    faults.check();
}

#[test]
fn dependencies_have_a_reason() {
    let mut faults = Faults::default();
    let mut section = String::new();
    for (number, line) in read("Cargo.toml").lines().enumerate() {
        if line.starts_with('[') {
            section = line.to_owned();
        } else if section.ends_with("dependencies]") && line.contains(" = ") && !line.contains('#') {
            faults.at("Cargo.toml", number + 1, "say what the dependency is for: `name = \"1\" # reason`");
        }
    }
    faults.check();
}

/// The first block of Rust in Markdown.
fn first_rust(text: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|l| !l.starts_with("```rust"));
    lines.next()?;
    Some(lines.take_while(|l| !l.starts_with("```")).map(|l| format!("{}\n", l.trim_end())).collect())
}

#[test]
fn the_readme_shows_what_the_doc_tests_run() {
    let lib = read("src/lib.rs");
    assert!(
        lib.contains(r#"#[cfg(doctest)]"#) && lib.contains(r#"include_str!("../README.md")"#),
        "src/lib.rs: keep the item that compiles the README's blocks: #[cfg(doctest)] #[doc = include_str!(\"../README.md\")]"
    );
    let essay: String = lib
        .lines()
        .map_while(|l| l.strip_prefix("//!"))
        .map(|l| l.strip_prefix(' ').unwrap_or(l))
        .filter(|l| !l.trim_start().starts_with("# ") || !l.contains("tmp"))
        .map(|l| format!("{l}\n"))
        .collect();
    let (in_lib, in_readme) = (first_rust(&essay), first_rust(&read("README.md")));
    assert!(in_readme.is_some(), "README.md: the first ```rust block is the example");
    assert_eq!(
        in_lib, in_readme,
        "src/lib.rs and README.md: the first example is one text in both (lines hidden in src/lib.rs begin with `# ` and speak of `tmp`)"
    );
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let mut faults = Faults::default();
    let mut documents: Vec<String> = crate::files_below("format-spec", ".md");
    documents.extend(
        [
            "README.md",
            "ARCHITECTURE.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "DURABILITY.md",
            "CHANGELOG.md",
            "benches/README.md",
            "fuzz/README.md",
        ]
        .map(str::to_owned),
    );
    for document in documents {
        let text = read(&document);
        let dir = std::path::Path::new(&document).parent().map(|p| p.to_owned()).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            for (at, _) in line.match_indices("](") {
                let target = line[at + 2..].split([')', '#']).next().unwrap_or("");
                let is_file = !target.is_empty() && !target.contains("://");
                if is_file && !crate::root().join(&dir).join(target).exists() {
                    faults.at(&document, number + 1, format!("the link leads nowhere: `{target}`"));
                }
            }
        }
    }
    faults.check();
}
