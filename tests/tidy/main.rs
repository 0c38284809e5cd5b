//! The house rules, kept by the build.
//!
//! Goal: what ARCHITECTURE.md, CONTRIBUTING.md and the pages of `format-spec/` say of the source stays true.
//! Method: the source is read as text, with comments and literals blanked out, and looked through for what a rule
//! forbids. Every failure names file and line, and what to do about it.
//!
//! | file | what |
//! |---|---|
//! | `rust` | source files: blanking, paths, functions, which parts are tests |
//! | `layers` | who may import whom; what only one module may touch |
//! | `house` | sizes, attributes, words, dependencies, the documents' promises |
//! | `mirrors` | each on-disk structure: code, page, fuzz target, golden file |

mod house;
mod layers;
mod mirrors;
mod rust;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The directory of the crate.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository as text, by its path from the root.
fn read(path: &str) -> String {
    let text = std::fs::read_to_string(root().join(path));
    text.unwrap_or_else(|e| panic!("{path}: {e}; the file belongs to the repository"))
}

/// The files below a directory that end in `suffix`, as sorted paths from the root.
fn files_below(dir: &str, suffix: &str) -> Vec<String> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.expect("a directory entry").path();
            match path.is_dir() {
                true => walk(&path, out),
                false => out.push(path),
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(dir), &mut found);
    let relative =
        |p: &PathBuf| p.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
    let mut names: Vec<String> = found.iter().map(relative).filter(|p| p.ends_with(suffix)).collect();
    names.sort();
    names
}

/// What is wrong, collected, so that one run shows all of it.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    /// Notes a fault at a line of a file.
    fn at(&mut self, path: &str, line: usize, what: impl AsRef<str>) {
        self.0.push(format!("{path}:{line}: {}", what.as_ref()));
    }

    /// Notes a fault of a whole file, or of none.
    fn of(&mut self, path: &str, what: impl AsRef<str>) {
        self.0.push(format!("{path}: {}", what.as_ref()));
    }

    /// Fails if there are any.
    fn check(self) {
        let mut text = String::new();
        for fault in &self.0 {
            let _infallible = writeln!(text, "  {fault}");
        }
        assert!(self.0.is_empty(), "{} to mend:\n{text}", self.0.len());
    }
}
