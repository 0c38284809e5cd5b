//! Rust source as far as the checks need it: no parser, but comments and literals do not fool it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::OnceLock;

use crate::{files_below, read};

/// One source file.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// The same length, with the insides of comments, strings and characters blanked.
    pub(crate) code: String,
    /// Byte ranges that are compiled for tests only.
    tests: Vec<Range<usize>>,
    /// The bodies of `mod name { … }`.
    modules: Vec<Range<usize>>,
    /// Where lines begin.
    lines: Vec<usize>,
}

/// A path as it stands in the code: `crate::model::Labels`, a leaf of a `use` tree, or any identifier.
pub(crate) struct PathUse {
    pub(crate) offset: usize,
    pub(crate) text: String,
}

/// A function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    /// Where `fn` stands.
    pub(crate) offset: usize,
    /// From the line of `fn` to that of the closing brace.
    pub(crate) lines: usize,
}

impl Source {
    fn new(path: String, text: String) -> Source {
        let code = blank(&text);
        let (tests, modules) = (test_regions(&code), inline_modules(&code));
        let lines = std::iter::once(0).chain(code.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Source { path, text, code, tests, modules, lines }
    }

    /// The line of an offset, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    /// Whether an offset is in code for tests only.
    pub(crate) fn is_test(&self, offset: usize) -> bool {
        self.tests.iter().any(|r| r.contains(&offset))
    }

    /// `src/block/reader.rs` → `block`; `src/source.rs` → `source`.
    pub(crate) fn module(&self) -> &str {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
    }

    /// How far below the crate's root the module is whose body holds the offset.
    pub(crate) fn depth(&self, offset: usize) -> usize {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let file = if path == "lib" { 0 } else { path.split('/').count() };
        file + self.modules.iter().filter(|r| r.contains(&offset)).count()
    }

    /// Every path in the code; a `use` tree gives one for each leaf.
    pub(crate) fn paths(&self) -> Vec<PathUse> {
        let code = self.code.as_bytes();
        let mut out = Vec::new();
        let mut at = 0;
        while at < code.len() {
            if !is_ident(code[at]) {
                at += 1;
                continue;
            }
            let word = word_at(&self.code, at);
            let is_use = word == "use" && !self.code[at + 3..].trim_start().starts_with('<');
            if is_use && let Some(end) = self.code[at..].find(';') {
                let mut leaves = Vec::new();
                flatten("", &self.code[at + 3..at + end], &mut leaves);
                out.extend(leaves.into_iter().map(|text| PathUse { offset: at, text }));
                at += end;
                continue;
            }
            let start = at;
            at += word.len();
            while self.code[at..].starts_with("::") && code.get(at + 2).is_some_and(|b| is_ident(*b)) {
                at += 2 + word_at(&self.code, at + 2).len();
            }
            // `$crate` in a macro is the crate's root as its users see it.
            if start == 0 || code[start - 1] != b'$' {
                out.push(PathUse { offset: start, text: self.code[start..at].to_owned() });
            }
        }
        out
    }

    /// Every function that has a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut out = Vec::new();
        for (offset, _) in self.code.match_indices("fn ") {
            let before = offset.checked_sub(1).map(|i| self.code.as_bytes()[i]);
            if before.is_some_and(is_ident) {
                continue;
            }
            let name = word_at(&self.code, offset + 3);
            if !name.is_empty()
                && let Some(open) = body(&self.code, offset)
                && let Some(close) = closing(&self.code, open)
            {
                let lines = self.line(close) - self.line(offset) + 1;
                out.push(Function { name: name.to_owned(), offset, lines });
            }
        }
        out
    }

    /// The attributes `name(…)` of the code, `#[cfg_attr(…, name(…))]` included: offset and insides.
    pub(crate) fn attributes(&self, name: &str) -> Vec<(usize, &str)> {
        let open = format!("{name}(");
        let found = self.code.match_indices(&open).filter_map(|(offset, _)| {
            let before = self.code[..offset].trim_end();
            let is_attribute = before.ends_with('[') || before.ends_with(',');
            let end = closing(&self.code, offset + name.len())?;
            is_attribute.then(|| (offset, &self.code[offset + open.len()..end]))
        });
        found.collect()
    }
}

/// All files below `src`.
pub(crate) fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(read_sources)
}

fn read_sources() -> Vec<Source> {
    let paths = files_below("src", ".rs").into_iter();
    let mut sources: Vec<Source> = paths.map(|path| Source::new(path.clone(), read(&path))).collect();
    let of_tests = test_files(&sources);
    for source in &mut sources {
        let below = |file: &String| {
            source.path == *file || source.path.starts_with(&format!("{}/", file.trim_end_matches(".rs")))
        };
        if of_tests.iter().any(below) {
            source.tests.push(0..source.text.len());
        }
    }
    sources
}

/// The files of `#[cfg(test)] mod name;`.
fn test_files(sources: &[Source]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for source in sources {
        let dir = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        for region in &source.tests {
            let item = source.code[region.clone()].trim_end();
            if let Some((_, name)) = item.rsplit_once("mod ")
                && let Some(name) = name.strip_suffix(';')
            {
                files.insert(format!("{dir}/{name}.rs"));
            }
        }
    }
    files
}

/// From each `#[cfg(test)]` to the end of its item.
fn test_regions(code: &str) -> Vec<Range<usize>> {
    let marks = code.match_indices("#[cfg(test)]");
    marks.map(|(start, _)| start..item_end(code, start + "#[cfg(test)]".len())).collect()
}

/// The end of the item that begins at `from`: past its `;` or its closing brace.
fn item_end(code: &str, from: usize) -> usize {
    match code[from..].find([';', '{']) {
        Some(at) if code.as_bytes()[from + at] == b'{' => {
            closing(code, from + at).map_or(code.len(), |e| e + 1)
        }
        Some(at) => from + at + 1,
        None => code.len(),
    }
}

/// The bodies of `mod name { … }`.
fn inline_modules(code: &str) -> Vec<Range<usize>> {
    let marks = code.match_indices("mod ").filter(|(at, _)| *at == 0 || !is_ident(code.as_bytes()[at - 1]));
    marks
        .filter_map(|(at, _)| {
            let open = at + 4 + word_at(code, at + 4).len();
            let open = open + code[open..].find(|c: char| !c.is_whitespace())?;
            let close = (code.as_bytes()[open] == b'{').then(|| closing(code, open))??;
            Some(open..close)
        })
        .collect()
}

/// The brace that opens the body of the `fn` at `offset`; `None` for a declaration.
fn body(code: &str, offset: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (at, c) in code[offset..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ';' if depth == 0 => return None,
            '{' if depth == 0 => return Some(offset + at),
            _ => {}
        }
    }
    None
}

/// Where the bracket that stands at `open` is closed.
fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (at, c) in code[open..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(open + at);
        }
    }
    None
}

/// The leaves of a `use` tree: `a::{b, c::d as e}` gives `a::b`, `a::c::d`.
fn flatten(prefix: &str, tree: &str, out: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let leaf = tree.split_whitespace().next().unwrap_or("");
        out.push(format!("{prefix}{leaf}").trim_end_matches("::self").to_owned());
        return;
    };
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let inner = &tree[open + 1..closing(tree, open).unwrap_or(tree.len())];
    let mut depth = 0;
    let parts = inner.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    parts.filter(|p| !p.trim().is_empty()).for_each(|p| flatten(&prefix, p, out));
}

fn is_ident(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn word_at(code: &str, at: usize) -> &str {
    let bytes = code.as_bytes();
    let end = (at..bytes.len()).find(|i| !is_ident(bytes[*i])).unwrap_or(bytes.len());
    &code[at..end]
}

/// Blanks the insides of comments and literals; offsets and line breaks stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let Some((skip, end)) = literal(bytes, at) else {
            at += 1;
            continue;
        };
        let closes = if skip == 0 { end } else { end - 1 };
        out[at + skip..closes].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        at = end;
    }
    // Code outside of comments and literals is ASCII, and all else is blank now.
    out.iter_mut().filter(|b| !b.is_ascii()).for_each(|b| *b = b' ');
    String::from_utf8(out).expect("ASCII")
}

/// The comment or literal that begins here: how many bytes of it stay, and its end.
fn literal(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = &bytes[at..];
    let find = |from: usize, what: &[u8]| {
        let found = rest[from..].windows(what.len()).position(|w| w == what);
        found.map_or(bytes.len(), |i| at + from + i + what.len())
    };
    match rest {
        [b'/', b'/', ..] => Some((0, find(2, b"\n"))),
        [b'/', b'*', ..] => Some((0, nested_comment(bytes, at))),
        [b'"', ..] => Some((1, quoted(bytes, at + 1, b'"'))),
        [b'r', hashes @ ..] if at == 0 || !is_ident(bytes[at - 1]) || bytes[at - 1] == b'b' => {
            let n = hashes.iter().take_while(|b| **b == b'#').count();
            if hashes.get(n) != Some(&b'"') {
                return None;
            }
            let mut close = vec![b'"'];
            close.resize(n + 1, b'#');
            Some((n + 2, find(n + 2, &close)))
        }
        [b'\'', b'\\', ..] => Some((1, quoted(bytes, at + 1, b'\''))),
        [b'\'', ..] => {
            // One character, of up to four bytes; else it is a lifetime.
            let closes = (2..=5).find(|n| rest.get(*n) == Some(&b'\''))?;
            let one = std::str::from_utf8(&rest[1..closes]).is_ok_and(|s| s.chars().count() == 1);
            one.then_some((1, at + closes + 1))
        }
        _ => None,
    }
}

fn quoted(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn nested_comment(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

#[test]
fn comments_and_literals_do_not_fool_the_checks() {
    let text = r##"
//! crate::head
use crate::{model::{Labels, time as t}, wal};
/* crate::db /* nested */ crate::db */
fn f<'a>(x: &'a str) -> [u8; 2] { let c = '{'; let q = '\''; let s = "crate::cli {"; let r = r#"}" crate"#; g(std::fs::read); }
fn declared() -> [u8; 4];
#[cfg(test)]
mod tests { fn g() {} }
fn after() {
}
"##;
    let source = Source::new("src/a/b.rs".to_owned(), text.to_owned());
    assert_eq!(source.code.len(), text.len());
    let paths: Vec<String> =
        source.paths().into_iter().map(|p| p.text).filter(|p| p.contains("::")).collect();
    assert_eq!(paths, ["crate::model::Labels", "crate::model::time", "crate::wal", "std::fs::read"]);
    let functions = source.functions();
    let named: Vec<(&str, usize)> = functions.iter().map(|f| (f.name.as_str(), f.lines)).collect();
    assert_eq!(named, [("f", 1), ("g", 1), ("after", 2)]);
    let in_tests: Vec<bool> = functions.iter().map(|f| source.is_test(f.offset)).collect();
    assert_eq!(in_tests, [false, true, false]);
    let depths: Vec<usize> = functions.iter().map(|f| source.depth(f.offset)).collect();
    assert_eq!(depths, [2, 3, 2]);
}
