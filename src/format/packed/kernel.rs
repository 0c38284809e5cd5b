//! Packing and unpacking up to 128 numbers of one width.
//!
//! ```text
//!   width 5     byte 0      byte 1      …       number i begins at bit 5·i, the lowest bit of a byte first
//!             ┌ 11100000 ┐┌ 32222211 ┐
//! ```
//!
//! Eight numbers of `W` bits are `W` bytes: within such a group every load and shift is a constant, since `W` is one
//! for the compiler. So there is a function for each width, and a table of them.

use super::{MINI_ROWS, Mini};

/// The packed bytes of 128 numbers of 64 bits.
const LOW_BYTES: usize = 8 * MINI_ROWS;
/// Zeros after them, so that every load is inside.
const PADDING_BYTES: usize = 16;

/// Packed bytes with zeros after them.
#[derive(Debug)]
pub(super) struct Low([u8; LOW_BYTES + PADDING_BYTES]);

impl Default for Low {
    #[inline(always)]
    fn default() -> Low {
        Low([0; LOW_BYTES + PADDING_BYTES])
    }
}

impl Low {
    /// Puts the bytes at the front of what was zero.
    #[inline(always)]
    pub(super) fn fill(&mut self, bytes: &[u8]) {
        let n = bytes.len().min(LOW_BYTES);
        if let (Some(to), Some(from)) = (self.0.get_mut(..n), bytes.get(..n)) {
            to.copy_from_slice(from);
        }
    }
}

/// Unpacks 128 numbers; those that were not packed are zero.
#[inline(always)]
pub(super) fn unpack(width: u8, low: &Low, out: &mut Mini) {
    if let Some(unpack) = UNPACK.get(usize::from(width)) {
        unpack(low, out);
    }
}

/// Appends numbers by their low `width` bits, from the lowest bit of each byte on; zeros fill the last byte.
pub(super) fn pack(x: impl Iterator<Item = u64>, width: u8, out: &mut Vec<u8>) {
    let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
    let (mut word, mut used) = (0u128, 0u32);
    for x in x {
        word |= u128::from(x & mask) << used;
        used += u32::from(width);
        while used >= 32 {
            let [a, b, c, d, ..] = word.to_le_bytes();
            out.extend_from_slice(&[a, b, c, d]);
            word >>= 32;
            used -= 32;
        }
    }
    let bytes = used.div_ceil(8) as usize;
    out.extend_from_slice(word.to_le_bytes().get(..bytes).unwrap_or_default());
}

/// Unpacks 128 numbers of `W` bits.
fn unpack_wide<const W: usize>(low: &Low, out: &mut Mini) {
    let mask = if W == 0 { 0 } else { u64::MAX >> ((64 - W) % 64) };
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        // 64 bytes hold eight numbers of any width, 8 more whatever a load takes beyond them.
        let Some(bytes) = low.0.get(group * W..).and_then(|rest| rest.first_chunk::<72>()) else { return };
        for (i, out) in out.iter_mut().enumerate() {
            let (byte, shift) = (i * W / 8, i * W % 8);
            let Some((word, after)) = bytes.get(byte..).and_then(|rest| rest.split_first_chunk()) else {
                return;
            };
            let mut x = u64::from_le_bytes(*word) >> shift;
            if W + shift > 64 {
                x |= u64::from(after.first().copied().unwrap_or(0)) << (64 - shift);
            }
            *out = x & mask;
        }
    }
}

macro_rules! widths {
    ($($w:literal)*) => { [$(unpack_wide::<$w>),*] };
}

/// By width.
static UNPACK: [fn(&Low, &mut Mini); 65] = widths!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
    33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64
);
