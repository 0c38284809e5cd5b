//! Building one tree of an index bottom-up: leaves first, then level upon level of directory pages.

use super::sink::Sink;
use crate::error::{Error, ErrorKind, Result};
use crate::format::block_meta::Root;
use crate::format::directory_page::{self, Child, Kind, MAX_LEVEL};

/// The pages of one level, as their parents will name them.
#[derive(Debug)]
pub(super) struct Tree {
    kind: Kind,
    salt: u32,
    pages: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    offset: u64,
    bytes: u32,
    number: u32,
    name: String,
    value: String,
}

impl Node {
    fn child(&self) -> Child<'_> {
        Child {
            offset: self.offset,
            bytes: self.bytes,
            number: self.number,
            name: &self.name,
            value: &self.value,
        }
    }
}

impl Tree {
    /// A tree without leaves.
    pub(super) fn new(kind: Kind, salt: u32) -> Tree {
        Tree { kind, salt, pages: Vec::new() }
    }

    /// Writes one page by `encode(salt, offset, out)`, whose first thing has this number and key.
    pub(super) fn page(
        &mut self,
        sink: &mut Sink,
        number: u32,
        key: (String, String),
        encode: impl FnOnce(u32, u64, &mut Vec<u8>),
    ) -> Result<()> {
        let offset = sink.offset();
        encode(self.salt, offset, sink.buffer());
        let bytes = u32::try_from(sink.offset() - offset).map_err(|_| {
            Error::new(ErrorKind::Ceiling, "a page of the index is too large").at(sink.path())
        })?;
        self.pages.push(Node { offset, bytes, number, name: key.0, value: key.1 });
        sink.spill()
    }

    /// Writes the levels above the leaves; answers where the uppermost page is.
    pub(super) fn finish(self, sink: &mut Sink) -> Result<Root> {
        let Tree { kind, salt, mut pages } = self;
        for level in 0..=MAX_LEVEL {
            match pages.as_slice() {
                [] => return Ok(Root::default()),
                [root] => return Ok(Root { offset: root.offset, bytes: root.bytes, level }),
                _ => pages = above(kind, salt, level + 1, pages, sink)?,
            }
        }
        Err(Error::new(ErrorKind::Ceiling, "the index has too many levels").at(sink.path()))
    }
}

/// Writes the parents of `pages`.
fn above(kind: Kind, salt: u32, level: u8, pages: Vec<Node>, sink: &mut Sink) -> Result<Vec<Node>> {
    let mut parents = Tree::new(kind, salt);
    let mut builder = directory_page::Builder::new(kind, level);
    let mut first: Option<Node> = None;
    for page in pages {
        if let Some(first) = first.take_if(|_| !builder.fits(&page.child())) {
            let full = std::mem::replace(&mut builder, directory_page::Builder::new(kind, level));
            parents
                .page(sink, first.number, (first.name, first.value), |s, at, out| full.finish(s, at, out))?;
        }
        builder.push(&page.child());
        first.get_or_insert(page);
    }
    if let Some(first) = first {
        parents
            .page(sink, first.number, (first.name, first.value), |s, at, out| builder.finish(s, at, out))?;
    }
    Ok(parents.pages)
}
