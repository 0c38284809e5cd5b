//! What a pattern says about the values that it matches, read off its parsed form.
//!
//! Everything here recurses into the pattern, no deeper than the nesting limit of the parser, and
//! visits each node a bounded number of times. Wherever an answer would get large it is "not known".

use std::collections::VecDeque;

use regex_syntax::hir::{Class, Dot, Hir, HirKind, Look};

/// The most literals of one pattern.
pub(super) const MAX_LITERALS: usize = 16_384;
/// The most literals that come of combining parts, as in `(a|b)(c|d)`.
pub(super) const MAX_COMBINED: usize = 1_024;
/// The most bytes of all literals together.
pub(super) const MAX_LITERAL_BYTES: usize = 1_048_576;
/// The most repetitions that are written out, as in `a{0,8}`.
const MAX_WRITTEN_OUT: u32 = 8;

/// Removes `^` at the start and `$` at the end, also of alternatives: the whole is anchored anyway.
pub(super) fn trimmed(hir: Hir) -> Hir {
    trim(hir, true, true)
}

fn trim(hir: Hir, start: bool, end: bool) -> Hir {
    if !(start || end) || hir.properties().look_set().is_empty() {
        return hir;
    }
    match hir.into_kind() {
        HirKind::Look(look) if (start && is_start(look)) || (end && is_end(look)) => Hir::empty(),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Alternation(branches) => {
            Hir::alternation(branches.into_iter().map(|b| trim(b, start, end)).collect())
        }
        HirKind::Concat(parts) => trim_concat(parts, start, end),
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Repetition(repetition) => Hir::repetition(repetition),
        HirKind::Capture(capture) => Hir::capture(capture),
    }
}

fn trim_concat(parts: Vec<Hir>, start: bool, end: bool) -> Hir {
    let mut parts: VecDeque<Hir> = parts.into();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    while start && let Some(part) = parts.pop_front() {
        let part = trim(part, true, end && parts.is_empty());
        if !matches!(part.kind(), HirKind::Empty) {
            front.push(part);
            break;
        }
    }
    while end && let Some(part) = parts.pop_back() {
        let part = trim(part, false, true);
        if !matches!(part.kind(), HirKind::Empty) {
            back.push(part);
            break;
        }
    }
    front.extend(parts);
    front.extend(back);
    Hir::concat(front)
}

fn is_start(look: Look) -> bool {
    matches!(look, Look::Start | Look::StartLF | Look::StartCRLF)
}

fn is_end(look: Look) -> bool {
    matches!(look, Look::End | Look::EndLF | Look::EndCRLF)
}

/// Whether it is any character, newlines included, `min` or more times.
pub(super) fn is_any_repeated(hir: &Hir, min: u32) -> bool {
    match hir.kind() {
        HirKind::Repetition(r) => {
            r.min == min && r.max.is_none() && *r.sub.kind() == *Hir::dot(Dot::AnyChar).kind()
        }
        _ => false,
    }
}

/// All that it matches, sorted and unique, if that is a set within the bounds.
pub(super) fn literals(hir: &Hir) -> Option<Vec<String>> {
    let mut set = Vec::new();
    for bytes in literal_bytes(hir)? {
        set.push(String::from_utf8(bytes).ok()?);
    }
    set.sort_unstable();
    set.dedup();
    Some(set)
}

type Set = Vec<Vec<u8>>;

fn literal_bytes(hir: &Hir) -> Option<Set> {
    match hir.kind() {
        HirKind::Empty => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => bounded(vec![literal.0.to_vec()]),
        HirKind::Class(class) => class_chars(class),
        HirKind::Look(_) => None,
        HirKind::Capture(capture) => literal_bytes(&capture.sub),
        HirKind::Concat(parts) => {
            let mut set = vec![Vec::new()];
            for part in parts {
                set = product(&set, &literal_bytes(part)?)?;
            }
            Some(set)
        }
        HirKind::Alternation(branches) => {
            let mut set = Vec::new();
            let mut bytes = 0;
            for branch in branches {
                let more = literal_bytes(branch)?;
                bytes += total_bytes(&more);
                set.extend(more);
                if set.len() > MAX_LITERALS || bytes > MAX_LITERAL_BYTES {
                    return None;
                }
            }
            Some(set)
        }
        HirKind::Repetition(r) => {
            let max = r.max.filter(|max| *max <= MAX_WRITTEN_OUT)?;
            written_out(&literal_bytes(&r.sub)?, r.min, max)
        }
    }
}

/// The literals of a part that stands `min` to `max` times.
fn written_out(part: &Set, min: u32, max: u32) -> Option<Set> {
    let mut power = vec![Vec::new()];
    let mut set = Vec::new();
    for count in 0..=max {
        if count > 0 {
            power = product(&power, part)?;
        }
        if count >= min {
            set.extend(power.iter().cloned());
        }
    }
    bounded(set)
}

/// Every one of `a` followed by every one of `b`.
fn product(a: &Set, b: &Set) -> Option<Set> {
    let count = a.len().checked_mul(b.len())?;
    let maximum = if a.len() > 1 && b.len() > 1 { MAX_COMBINED } else { MAX_LITERALS };
    let bytes = total_bytes(a).checked_mul(b.len())?.checked_add(total_bytes(b).checked_mul(a.len())?)?;
    if count > maximum || bytes > MAX_LITERAL_BYTES {
        return None;
    }
    Some(a.iter().flat_map(|x| b.iter().map(move |y| [x.as_slice(), y].concat())).collect())
}

fn bounded(set: Set) -> Option<Set> {
    (set.len() <= MAX_LITERALS && total_bytes(&set) <= MAX_LITERAL_BYTES).then_some(set)
}

fn total_bytes(set: &Set) -> usize {
    set.iter().map(Vec::len).sum()
}

fn class_chars(class: &Class) -> Option<Set> {
    let class = match class {
        Class::Unicode(class) => class,
        Class::Bytes(class) => return class.ranges().is_empty().then(Vec::new),
    };
    let mut set = Vec::new();
    for range in class.ranges() {
        if range.len() > MAX_COMBINED.saturating_sub(set.len()) {
            return None;
        }
        set.extend((range.start()..=range.end()).map(|c| c.to_string().into_bytes()));
    }
    Some(set)
}

/// What every match starts with, perhaps empty.
pub(super) fn prefix(hir: &Hir) -> String {
    let mut bytes = Vec::new();
    push_prefix(hir, &mut bytes);
    if let Err(e) = std::str::from_utf8(&bytes) {
        bytes.truncate(e.valid_up_to());
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Appends what every match starts with; answers whether that is all of every match.
fn push_prefix(hir: &Hir, out: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Empty => true,
        HirKind::Literal(literal) => {
            out.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(capture) => push_prefix(&capture.sub, out),
        HirKind::Concat(parts) => parts.iter().all(|part| push_prefix(part, out)),
        HirKind::Alternation(branches) => {
            let mut common: Option<Vec<u8>> = None;
            for branch in branches {
                let mut bytes = Vec::new();
                push_prefix(branch, &mut bytes);
                common = Some(match common {
                    Some(before) => common_prefix(before, &bytes),
                    None => bytes,
                });
                if common.as_ref().is_some_and(Vec::is_empty) {
                    break;
                }
            }
            out.extend(common.unwrap_or_default());
            false
        }
        HirKind::Repetition(r) if r.min > 0 => {
            push_prefix(&r.sub, out);
            false
        }
        HirKind::Repetition(_) | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

fn common_prefix(mut a: Vec<u8>, b: &[u8]) -> Vec<u8> {
    let shared = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    a.truncate(shared);
    a
}

/// The longest literal that every match contains, if there is one.
pub(super) fn required(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(r) if r.min > 0 => required(&r.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(required).max_by_key(String::len),
        _ => None,
    }
}

/// For literals joined by `.*`: what stands before the first, between them, and after the last.
pub(super) fn pieces(hir: &Hir) -> Option<Vec<String>> {
    let HirKind::Concat(parts) = hir.kind() else { return None };
    let mut pieces = vec![Vec::new()];
    for part in parts {
        match part.kind() {
            HirKind::Literal(literal) => pieces.last_mut()?.extend_from_slice(&literal.0),
            _ if is_any_repeated(part, 0) => pieces.push(Vec::new()),
            _ => return None,
        }
    }
    match pieces.len() {
        0 | 1 => None,
        _ => pieces.into_iter().map(|p| String::from_utf8(p).ok()).collect(),
    }
}
