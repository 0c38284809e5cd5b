//! Bits written 64 at a time: what many rows at once are coded through.
//!
//! The rows that come one by one keep their payload complete after each, which costs a store and a cut a row. Columns that
//! are coded whole need it complete only once.

/// Bits on their way to a buffer, 64 at a time: what many rows at once are written through.
pub(super) struct Words<'a> {
    buffer: &'a mut Vec<u8>,
    /// From the top on; zeros after the last.
    word: u64,
    /// How many there are: below 64.
    used: u32,
}

impl<'a> Words<'a> {
    /// Goes on in the last byte of the buffer, of which so many bits are taken; 0 if it is full.
    pub(super) fn open(buffer: &'a mut Vec<u8>, used: u8) -> Words<'a> {
        let partial = if used == 0 { 0 } else { buffer.pop().unwrap_or(0) };
        Words { buffer, word: u64::from(partial) << 56, used: u32::from(used) }
    }

    /// Appends the low `count` bits of `bits` (from 1 to 64; those above are zero).
    #[inline(always)]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        let free = 64 - self.used;
        if count < free {
            self.word |= bits << (free - count);
            self.used += count;
            return;
        }
        let left = count - free;
        self.buffer.extend_from_slice(&(self.word | bits >> left).to_be_bytes());
        self.word = bits.checked_shl(64 - left).unwrap_or(0);
        self.used = left;
    }

    /// Appends the low `count` bits of `bits` (from 1 to 128).
    #[inline(always)]
    pub(super) fn put_wide(&mut self, bits: u128, count: u32) {
        if count > 64 {
            self.put(low(bits >> 64), count - 64);
        }
        self.put(low(bits), count.min(64));
    }

    /// Writes the rest; answers how many bits of the last byte are taken.
    pub(super) fn close(self) -> u8 {
        let bytes = self.used.div_ceil(8) as usize;
        self.buffer.extend(self.word.to_be_bytes().iter().take(bytes));
        (self.used % 8) as u8
    }
}

/// The lower half of some bits.
pub(super) fn low(bits: u128) -> u64 {
    u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_stand_where_they_would_one_by_one() {
        let mut seed = 5u64;
        for round in 0..200u32 {
            let (mut bytes, mut slow) = (vec![0b1010_0000], vec![true, false, true]);
            let mut words = Words::open(&mut bytes, 3);
            for _ in 0..round {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let count = 1 + (seed >> 33) as u32 % 128;
                let bits = u128::from(seed) << 64 | u128::from(seed.rotate_left(17));
                let bits = if count == 128 { bits } else { bits & ((1 << count) - 1) };
                slow.extend((0..count).rev().map(|i| bits >> i & 1 == 1));
                words.put_wide(bits, count);
            }
            assert_eq!(usize::from(words.close()), slow.len() % 8);
            let found: Vec<bool> =
                bytes.iter().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1 == 1)).collect();
            assert_eq!(found.get(..slow.len()), Some(&*slow));
            assert!(found.len() - slow.len() < 8 && found.iter().skip(slow.len()).all(|bit| !bit));
        }
    }
}
