//! A view of bytes as bits, read 64 at a time from any of them.
//!
//! ```text
//!   bytes  ├──────────────────────────────┤
//!   tail                   ├──────────────┤ 0 0 0 …      read where fewer than nine bytes are left
//! ```
//!
//! Nothing is out of bounds: zeros follow the last bit for ever, so that a decoder needs to compare
//! its place with the end only once. Nine bytes are loaded for each read, which makes all 64 bits valid at
//! any shift.

/// Bits at any place; zeros follow the last one.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The last bytes again, with zeros after them.
    tail: [u8; 32],
    tail_start: usize,
}

impl<'a> Bits<'a> {
    /// Copies the last bytes: the cost of 32 bytes, once a payload.
    pub(super) fn new(bytes: &'a [u8]) -> Bits<'a> {
        let tail_start = bytes.len().saturating_sub(16);
        let mut tail = [0; 32];
        for (to, from) in tail.iter_mut().zip(bytes.iter().skip(tail_start)) {
            *to = *from;
        }
        Bits { bytes, tail, tail_start }
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The 64 bits from bit `at` on, the first of them on top.
    #[inline(always)]
    pub(super) fn peek(&self, at: usize) -> u64 {
        let byte = at / 8;
        let [high @ .., low] = match self.bytes.get(byte..).and_then(|rest| rest.first_chunk::<9>()) {
            Some(nine) => nine,
            None => self.peek_tail(byte),
        };
        let shift = at % 8;
        u64::from_be_bytes(*high) << shift | u64::from(*low) >> (8 - shift)
    }

    /// Nine bytes from `byte` on, where fewer than nine are left.
    fn peek_tail(&self, byte: usize) -> &[u8; 9] {
        let from = byte.saturating_sub(self.tail_start);
        self.tail.get(from..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; 9])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_reads_as_bit_by_bit() {
        for len in 0..40u8 {
            let bytes: Vec<u8> = (0..len).map(|i| i.wrapping_mul(151) ^ 0x5a).collect();
            let bit = |at: usize| bytes.get(at / 8).is_some_and(|b| b >> (7 - at % 8) & 1 == 1);
            let bits = Bits::new(&bytes);
            for at in 0..bytes.len() * 8 + 200 {
                let slow = (at..at + 64).fold(0u64, |word, at| word << 1 | u64::from(bit(at)));
                assert_eq!(bits.peek(at), slow, "bit {at} of {len} bytes");
            }
        }
    }
}
