//! A reader whose bytes are made beside whoever reads them: what unpacks an input.
//!
//! ```text
//!   unpacker ─▶ worker fills empty blocks ─▶ [block] [block] … ─▶ who reads
//!                     ▲                                              │
//!                     └── the unpacker, and blocks that were read ◀──┘
//! ```
//!
//! A worker takes the unpacker and all empty blocks, fills them, and gives it back; so it waits for nothing but the input. At most
//! [`BLOCKS`] are full at a time. What is read, errors and their place included, is what the unpacker itself gives.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::window::read_full;
use crate::Workers;

/// The bytes of a block.
const BLOCK_BYTES: usize = 256 * 1024;
/// How many blocks there are.
const BLOCKS: usize = 6;

/// What is read beside the caller.
type Source = Box<dyn Read + Send>;

/// A part of what is read.
#[derive(Debug, Default)]
struct Block {
    buffer: Vec<u8>,
    /// Its bytes are those up to here.
    end: usize,
    /// Nothing follows it; why, if reading failed.
    last: Option<io::Result<()>>,
}

/// What a worker says.
enum Told {
    Full(Block),
    /// It has no more empty blocks.
    Back(Source),
}

/// The reader.
pub(crate) struct Ahead {
    workers: Workers,
    teller: Sender<Told>,
    told: Receiver<Told>,
    /// The source, unless a worker has it, or it has ended.
    source: Option<Source>,
    empty: Vec<Block>,
    full: VecDeque<Block>,
    /// What is being read, and what was read of it.
    now: Block,
    at: usize,
}

impl Ahead {
    /// Reads `source` by `workers`.
    pub(crate) fn new(source: Source, workers: Workers) -> Ahead {
        let (teller, told) = channel();
        let empty = (0..BLOCKS).map(|_| Block::default()).collect();
        let mut ahead = Ahead {
            workers,
            teller,
            told,
            source: Some(source),
            empty,
            full: VecDeque::new(),
            now: Block::default(),
            at: 0,
        };
        ahead.begin();
        ahead
    }

    /// Has the empty blocks filled, if the source is here.
    fn begin(&mut self) {
        if self.empty.is_empty() {
            return;
        }
        if let Some(source) = self.source.take() {
            let (blocks, teller) = (std::mem::take(&mut self.empty), self.teller.clone());
            self.workers.spawn(move || fill(source, blocks, &teller));
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Full(block) => self.full.push_back(block),
            Told::Back(source) => self.source = Some(source),
        }
    }

    /// Brings the next block; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        match self.now.last.take() {
            Some(Err(e)) => {
                self.now.last = Some(Ok(()));
                return Err(e);
            }
            Some(Ok(())) => {
                self.now.last = Some(Ok(()));
                return Ok(false);
            }
            None => {}
        }
        let read = std::mem::take(&mut self.now);
        self.at = 0;
        if !read.buffer.is_empty() {
            self.empty.push(read);
        }
        loop {
            while let Ok(told) = self.told.try_recv() {
                self.hear(told);
            }
            self.begin();
            if let Some(block) = self.full.pop_front() {
                self.now = block;
                return Ok(true);
            }
            let told = self.told.recv().map_err(io::Error::other)?;
            self.hear(told);
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.now.end {
            if !self.next()? {
                return Ok(0);
            }
        }
        let rest = self.now.buffer.get(self.at..self.now.end).unwrap_or_default();
        let n = rest.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        self.at += n;
        Ok(n)
    }
}

/// Fills blocks until the source ends, or there are no more. Nobody listens if the import ended.
fn fill(mut source: Source, blocks: Vec<Block>, teller: &Sender<Told>) {
    for mut block in blocks {
        block.buffer.resize(BLOCK_BYTES, 0);
        let (read, outcome) = read_full(&mut source, &mut block.buffer);
        block.end = read;
        block.last = (read < BLOCK_BYTES || outcome.is_err()).then_some(outcome);
        let ended = block.last.is_some();
        if teller.send(Told::Full(block)).is_err() || ended {
            return;
        }
    }
    let _import_ended = teller.send(Told::Back(source));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that come a few at a time, then an error.
    struct Failing(io::Cursor<Vec<u8>>);

    impl Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let few = out.len().min(70_001);
            match self.0.read(out.get_mut(..few).unwrap_or_default())? {
                0 => Err(io::Error::new(io::ErrorKind::InvalidData, "it ends early")),
                n => Ok(n),
            }
        }
    }

    fn bytes(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * i / 7 % 251) as u8).collect()
    }

    #[test]
    fn all_bytes_come_in_order_and_then_the_end_or_the_error() {
        for n in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 20 * BLOCK_BYTES + 17] {
            let mut read = Vec::new();
            let mut ahead = Ahead::new(Box::new(io::Cursor::new(bytes(n))), Workers::default());
            ahead.read_to_end(&mut read).unwrap();
            assert!(read == bytes(n), "{n} bytes");
            assert_eq!(ahead.read(&mut [0; 8]).unwrap(), 0, "the end stays the end");

            read.clear();
            let mut ahead = Ahead::new(Box::new(Failing(io::Cursor::new(bytes(n)))), Workers::default());
            let error = ahead.read_to_end(&mut read).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(read == bytes(n), "{n} bytes, then an error");
        }
    }
}
