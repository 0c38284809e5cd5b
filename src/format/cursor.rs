//! A reader that cannot over-read, and the writer that mirrors it.
//!
//! Fixed-width fields are little-endian (byteorder). Variable-width integers are LEB128 in their
//! shortest form: a longer form of the same number is refused, so that equal values have equal
//! bytes. Signed ones are zigzag-coded first. [`Reader::finish`] complains of trailing bytes.

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{DecodeError, DecodeReason};

/// The most bytes that a varint takes.
pub(crate) const MAX_VARINT_BYTES: usize = 10;

/// Walks over bytes of one structure; every error says where.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    structure: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads nothing.
    pub(crate) const EMPTY: Reader<'static> = Reader { structure: "", bytes: &[], at: 0 };

    /// Reads `bytes` as a `structure` (the name of its page in `format-spec/`).
    pub(crate) fn new(structure: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { structure, bytes, at: 0 }
    }

    /// The offset of the next byte.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// The number of bytes left.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// An error at the next byte.
    pub(crate) fn error(&self, reason: DecodeReason) -> DecodeError {
        DecodeError::new(self.structure, self.at as u64, reason)
    }

    /// An error at the next byte, in words.
    pub(crate) fn invalid(&self, what: &'static str) -> DecodeError {
        self.error(DecodeReason::Invalid(what))
    }

    /// The next `n` bytes.
    #[inline]
    pub(crate) fn bytes(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(n);
        match end.and_then(|end| self.bytes.get(self.at..end)) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => Err(self.error(DecodeReason::Truncated)),
        }
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        match self.bytes.get(self.at) {
            Some(&b) => {
                self.at += 1;
                Ok(b)
            }
            None => Err(self.error(DecodeReason::Truncated)),
        }
    }

    /// Four bytes, little-endian.
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.bytes(4).map(LittleEndian::read_u32)
    }

    /// Eight bytes, little-endian.
    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.bytes(8).map(LittleEndian::read_u64)
    }

    /// Eight bytes, little-endian, two's complement.
    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.bytes(8).map(LittleEndian::read_i64)
    }

    /// A little-endian number of `n` bytes, at most eight.
    #[inline(always)]
    pub(crate) fn word(&mut self, n: usize) -> Result<u64, DecodeError> {
        // Eight bytes are loaded where there are so many: no copy of a length that only the data knows.
        match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
            Some(eight) if n <= 8 => {
                self.at += n;
                let unused = 64 - 8 * u32::try_from(n).unwrap_or(8);
                Ok(u64::from_le_bytes(*eight) & u64::MAX.unbounded_shr(unused))
            }
            _ => self.word_at_the_end(n),
        }
    }

    #[cold]
    fn word_at_the_end(&mut self, n: usize) -> Result<u64, DecodeError> {
        let mut word = [0; 8];
        let bytes = self.bytes(n)?;
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(u64::from_le_bytes(word))
    }

    /// An unsigned LEB128 in its shortest form. Most take one byte.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.bytes.get(self.at) {
            Some(&b) if b < 0x80 => {
                self.at += 1;
                Ok(u64::from(b))
            }
            _ => self.longer_varint(),
        }
    }

    fn longer_varint(&mut self) -> Result<u64, DecodeError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.u8()?;
            let bits = u64::from(b & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if b < 0x80 {
                if b == 0 && shift > 0 {
                    break;
                }
                return Ok(value);
            }
        }
        self.at = start;
        Err(self.invalid("a variable-width integer is too long or not in its shortest form"))
    }

    /// A zigzag-coded signed LEB128.
    pub(crate) fn zigzag(&mut self) -> Result<i64, DecodeError> {
        self.varint().map(unzigzag)
    }

    /// A varint of at most `maximum`: what every count and length goes through before it is used.
    #[inline]
    pub(crate) fn count(&mut self, maximum: usize) -> Result<usize, DecodeError> {
        let start = self.at;
        let found = self.varint()?;
        match usize::try_from(found) {
            Ok(n) if n <= maximum => Ok(n),
            _ => {
                self.at = start;
                Err(self.error(DecodeReason::AboveMaximum { found, maximum: maximum as u64 }))
            }
        }
    }

    /// A varint that fits 32 bits.
    #[inline]
    pub(crate) fn varint32(&mut self) -> Result<u32, DecodeError> {
        let start = self.at;
        let found = self.varint()?;
        u32::try_from(found).map_err(|_| {
            self.at = start;
            self.error(DecodeReason::AboveMaximum { found, maximum: u64::from(u32::MAX) })
        })
    }

    /// The next three bytes, if there are so many, for whoever then [`skip`](Reader::skip)s them.
    #[inline]
    pub(crate) fn peek(&self) -> Option<[u8; 3]> {
        self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).copied()
    }

    /// Passes over bytes that were peeked at.
    #[inline]
    pub(crate) fn skip(&mut self, n: usize) {
        self.at = (self.at + n).min(self.bytes.len());
    }

    /// A length of at most `maximum`, then that many bytes.
    #[inline]
    pub(crate) fn sized_bytes(&mut self, maximum: usize) -> Result<&'a [u8], DecodeError> {
        let n = self.count(maximum)?;
        self.bytes(n)
    }

    /// A length of at most `maximum`, then that many bytes of UTF-8.
    pub(crate) fn sized_str(&mut self, maximum: usize) -> Result<&'a str, DecodeError> {
        let bytes = self.sized_bytes(maximum)?;
        std::str::from_utf8(bytes).map_err(|_| self.invalid("a string is not UTF-8"))
    }

    /// Complains if anything is left.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            _ => Err(self.error(DecodeReason::TrailingBytes)),
        }
    }
}

/// Maps small magnitudes of either sign to small unsigned numbers.
pub(crate) fn zigzag(v: i64) -> u64 {
    (v.cast_unsigned() << 1) ^ (v >> 63).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) fn unzigzag(v: u64) -> i64 {
    (v >> 1).cast_signed() ^ -((v & 1).cast_signed())
}

/// What encoders write with; implemented for `Vec<u8>`.
pub(crate) trait Write {
    /// One byte.
    fn put_u8(&mut self, v: u8);
    /// Four bytes, little-endian.
    fn put_u32(&mut self, v: u32);
    /// Eight bytes, little-endian.
    fn put_u64(&mut self, v: u64);
    /// Eight bytes, little-endian, two's complement.
    fn put_i64(&mut self, v: i64);
    /// An unsigned LEB128 in its shortest form.
    fn put_varint(&mut self, v: u64);
    /// A zigzag-coded signed LEB128.
    fn put_zigzag(&mut self, v: i64);
    /// A length, then the bytes.
    fn put_sized(&mut self, bytes: &[u8]);
}

impl Write for Vec<u8> {
    fn put_u8(&mut self, v: u8) {
        self.push(v);
    }

    fn put_u32(&mut self, v: u32) {
        let mut b = [0; 4];
        LittleEndian::write_u32(&mut b, v);
        self.extend_from_slice(&b);
    }

    fn put_u64(&mut self, v: u64) {
        let mut b = [0; 8];
        LittleEndian::write_u64(&mut b, v);
        self.extend_from_slice(&b);
    }

    fn put_i64(&mut self, v: i64) {
        self.put_u64(v.cast_unsigned());
    }

    fn put_varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.push((v & 0x7f) as u8 | 0x80);
            v >>= 7;
        }
        self.push((v & 0x7f) as u8);
    }

    fn put_zigzag(&mut self, v: i64) {
        self.put_varint(zigzag(v));
    }

    fn put_sized(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

/// CRC-32 (IEEE) of `bytes`, started from `seed`, so that equal bytes in another place or file do not pass.
pub(crate) fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut h = crc32fast::Hasher::new_with_initial(seed);
    h.update(bytes);
    h.finalize()
}

/// What a unit's checksum starts from: the file's salt and the unit's offset, so that a unit read
/// at another place, or in another block's file, does not pass.
pub(crate) fn place_seed(salt: u32, offset: u64) -> u32 {
    crc(salt, &offset.to_le_bytes())
}

/// Splits the trailing four-byte checksum off `bytes` and verifies it.
pub(crate) fn checked<'a>(
    structure: &'static str,
    seed: u32,
    bytes: &'a [u8],
) -> Result<&'a [u8], DecodeError> {
    let Some((body, tail)) = bytes.split_last_chunk::<4>() else {
        return Err(DecodeError::new(structure, bytes.len() as u64, DecodeReason::Truncated));
    };
    let (stored, computed) = (LittleEndian::read_u32(tail), crc(seed, body));
    match stored == computed {
        true => Ok(body),
        false => {
            Err(DecodeError::new(structure, body.len() as u64, DecodeReason::Checksum { stored, computed }))
        }
    }
}

/// Appends the checksum of all of `out` from `from` on: what [`checked`] verifies.
pub(crate) fn seal(out: &mut Vec<u8>, from: usize, seed: u32) {
    let sum = crc(seed, out.get(from..).unwrap_or_default());
    out.put_u32(sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_have_one_form() {
        for v in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            out.put_varint(v);
            assert!(out.len() <= MAX_VARINT_BYTES);
            let mut r = Reader::new("test", &out);
            assert_eq!(r.varint(), Ok(v));
            r.finish().unwrap();
            for n in 0..out.len() {
                assert!(Reader::new("test", &out[..n]).varint().is_err());
            }
        }
        assert!(Reader::new("test", &[0x80, 0x00]).varint().is_err(), "zero in two bytes");
        assert!(Reader::new("test", &[0xff; 11]).varint().is_err(), "too long");
        let over = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert!(Reader::new("test", &over).varint().is_err(), "above 64 bits");
    }

    #[test]
    fn words_of_all_lengths_are_read_everywhere() {
        let bytes: Vec<u8> = (1..=12).collect();
        for n in 0..=8 {
            for at in 0..=12 {
                let mut r = Reader::new("test", &bytes);
                r.bytes(at).unwrap();
                let taken = bytes.get(at..at + n);
                let expected = taken.map(|b| b.iter().rev().fold(0, |word, b| word << 8 | u64::from(*b)));
                assert_eq!(r.word(n).ok(), expected, "{n} bytes at {at}");
                assert_eq!(r.offset(), if expected.is_some() { at + n } else { at });
            }
        }
    }

    #[test]
    fn zigzag_round_trips_at_the_ends() {
        for v in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(v)), v);
        }
    }

    #[test]
    fn a_count_is_checked_against_its_maximum() {
        let mut out = Vec::new();
        out.put_varint(10);
        assert_eq!(Reader::new("test", &out).count(10), Ok(10));
        assert!(Reader::new("test", &out).count(9).is_err());
    }

    #[test]
    fn a_seal_catches_every_single_bit_and_its_seed() {
        let mut out = b"some bytes".to_vec();
        seal(&mut out, 0, 7);
        assert_eq!(checked("test", 7, &out), Ok(&b"some bytes"[..]));
        assert!(checked("test", 8, &out).is_err());
        for bit in 0..out.len() * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(checked("test", 7, &bad).is_err(), "bit {bit}");
        }
    }
}
