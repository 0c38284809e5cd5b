//! A fuzzer's bytes as a sequence of choices: each takes a byte or two, and after the end all choices are 0.
//!
//! Small numbers take one byte, so that the fuzzer can change one choice without moving the others.

use std::fmt::Display;

/// The bytes that are left.
pub(super) struct Choices<'d>(&'d [u8]);

impl<'d> Choices<'d> {
    /// All of the input.
    pub(super) fn new(data: &'d [u8]) -> Choices<'d> {
        Choices(data)
    }

    /// Whether nothing is left to choose with.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// From 0 to 65,535, of two bytes.
    pub(super) fn number(&mut self) -> u64 {
        u64::from(self.byte()) << 8 | u64::from(self.byte())
    }

    /// From 0 to `n` - 1, of one byte; `n` from 1 to 256.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        u64::from(self.byte()) % n
    }

    /// The next `n` bytes, or fewer.
    pub(super) fn bytes(&mut self, n: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at_checked(n).unwrap_or((self.0, &[]));
        self.0 = rest;
        taken
    }
}

/// What must have worked.
pub(super) fn must<T, E: Display>(outcome: Result<T, E>, what: &str) -> T {
    match outcome {
        Ok(value) => value,
        Err(e) => find(what, &e),
    }
}

#[expect(clippy::panic, reason = "a panic is how a fuzzer is told of a find")]
fn find(what: &str, error: &dyn Display) -> ! {
    panic!("{what}: {error}")
}
