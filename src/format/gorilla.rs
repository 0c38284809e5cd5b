//! The payload of a chunk of floats: one bit stream, the same bits as Prometheus's XOR chunk.
//!
//! ```text
//!   rows:u16 BE │ t₀:zigzag varint │ v₀:64 │ t₁-t₀:varint │ value │ (time │ value)* │ zero bits to the byte
//!
//!   time, by d = change of the change of t          value, by x = bits of v XOR bits of the v before
//!     0                       d = 0                   0                                    x = 0
//!     10   d:14        -8191 … 8192                   10 x:significant                     fits the last window
//!     110  d:17      -65535 … 65536                   11 leading:5 significant:6 x:significant    a new window
//!     1110 d:20    -524287 … 524288                        (leading is capped at 31; 0 stands for 64)
//!     1111 d:64    anything else
//! ```
//!
//! Bits are filled from the most significant of each byte on. Arithmetic on timestamps wraps, so
//! that any `i64`s in any order round trip; order is the concern of the caller (`chunk` can check it).
//! A *window* is where the bits of `x` that differ stand: `leading` zeros, then `significant` bits.
//! Before a chunk states a window, it is the whole word for a reader, as in Prometheus; our writer, as
//! a fresh one of Prometheus does, always states one first.
//!
//! The scheme is that of Gorilla (Pelkonen et al., VLDB 2015) with the wider time buckets that
//! Prometheus chose for milliseconds. The byte order of the count is Prometheus's, not ours.
//!
//! **Cost.** [`Encoder`] holds 64 bytes and its buffer; a row is two or three shifts, and a store once in 64 bits. The
//! decoder loads 64-bit windows at any bit, looks at the end of the payload only once, after the last
//! row (beyond it there are zeros), and writes into columns that were sized once.
//!
//! **Invariants.** After the last row of what decodes there are at most eight bits, all zero: eight only where
//! the row ends a byte, which we never write, but Prometheus did (see [`MAX_PADDING_BITS`]).
//! [`Encoder::payload`] can be had after each row. A longer form than needed is taken where it is unambiguous (a wide
//! bucket for a small change, a new window where the old one fits), so equal rows need not mean equal bytes;
//! a varint that is not in its shortest form is refused. `reference` has the slow, obvious
//! codec on `bitvec` that tests and fuzzing compare with.

use std::sync::Arc;

use crate::error::{DecodeError, DecodeReason};
use crate::format::cursor::{Reader, Write};
use crate::model::{Columns, Sample};

use bits::Bits;

mod bits;
mod reference;
#[cfg(test)]
mod tests;

const STRUCTURE: &str = "gorilla";

/// The bytes of the row count at the start.
pub(crate) const HEADER_BYTES: usize = 2;
/// The most rows of one payload: what the count can say.
pub(crate) const MAX_ROWS: u32 = 65_535;
/// The largest number of leading zeros that a window states.
const MAX_LEADING: u32 = 31;
/// The widths of a time's buckets, in bits, from the narrowest on.
const NARROW_BITS: u32 = 14;
/// The second bucket.
const MIDDLE_BITS: u32 = 17;
/// The third bucket.
const WIDE_BITS: u32 = 20;
/// The prefix of any other time, and its 64 bits.
const WHOLE_TIME_BITS: u32 = 68;
/// What a row takes at least: an unchanged time step and an unchanged value.
const MIN_ROW_BITS: usize = 2;
/// The most zero bits after the last row: until September 2024, Prometheus wrote a whole byte of them where a
/// row that ended a byte was the last.
const MAX_PADDING_BITS: usize = 8;
/// An encoder's first buffer. A head has millions of them, and allocators like to give 8 bytes less than a
/// multiple of 16.
const FIRST_BYTES: usize = 56;
/// What an encoder's buffer grows by at least.
const GROWTH_BYTES: usize = 48;
/// What most rows of real data take at most.
const LIKELY_ROW_BYTES: usize = 4;

/// Where the bits of a XOR stand that are written: `significant` of them, before `trailing` zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    significant: u8,
    trailing: u8,
}

impl Window {
    /// No window was stated yet: nothing but zero fits it, and a reader takes all 64 bits.
    const NONE: Window = Window { significant: 0, trailing: 0 };

    /// The smallest window around the bits of `x`, which is not zero.
    fn around(x: u64) -> Window {
        let (leading, trailing) = (x.leading_zeros().min(MAX_LEADING) as u8, (x.trailing_zeros() & 63) as u8);
        Window { significant: 64 - leading - trailing, trailing }
    }

    /// The zeros before its bits.
    fn leading(self) -> u8 {
        64 - self.significant - self.trailing
    }

    /// What stands inside, if all of `x` does.
    #[inline(always)]
    fn inside(self, x: u64) -> Option<u64> {
        let bits = x >> (self.trailing & 63);
        let beside = x ^ bits << (self.trailing & 63) | bits.unbounded_shr(self.significant.into());
        (beside == 0).then_some(bits)
    }
}

/// Writes a payload row by row, 64 bits at a time; it can be had after every row.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    /// Whole bytes, with room for the count of rows at the start.
    buffer: Vec<u8>,
    t: i64,
    delta: u64,
    v: u64,
    /// The bits behind the buffer, from the top on; zeros follow them.
    word: u64,
    /// How many they are: at most 63.
    used: u32,
    rows: u16,
    window: Window,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// An encoder without rows; allocates with the first one.
    pub(crate) const fn new() -> Encoder {
        Encoder { buffer: Vec::new(), t: 0, delta: 0, v: 0, word: 0, used: 0, rows: 0, window: Window::NONE }
    }

    /// An encoder without rows and with room for `bytes` of payload.
    fn with_room(bytes: usize) -> Encoder {
        Encoder { buffer: Vec::with_capacity(bytes), ..Encoder::new() }
    }

    /// Goes on where `payload` ends. Cost: decodes it once.
    pub(crate) fn from_payload(payload: &[u8]) -> Result<Encoder, DecodeError> {
        let rows = rows(payload)?;
        let mut decoder = Decoder::new(payload);
        decoder.run(rows, |_, _| ())?;
        decoder.finish(true)?;
        let Decoder { at, t, delta, v, window, .. } = decoder;
        let rows = u16::try_from(rows).unwrap_or(u16::MAX);
        let whole = if rows == 0 { 0 } else { at / 8 };
        let buffer = payload.get(..whole).unwrap_or_default().to_vec();
        let used = u32::try_from(at % 8).unwrap_or(0);
        let word = match used {
            0 => 0,
            _ => u64::from(payload.get(whole).copied().unwrap_or(0)) << 56,
        };
        Ok(Encoder { buffer, t, delta, v, word, used, rows, window })
    }

    /// Appends a row. A full encoder takes none: cut before, see [`is_full`](Encoder::is_full).
    #[inline(always)]
    pub(crate) fn append(&mut self, t: i64, v: f64) {
        assert!(!self.is_full(), "a full chunk takes no more rows");
        let v = v.to_bits();
        if self.rows < 2 {
            self.append_head(t, v);
        } else {
            let delta = t.wrapping_sub(self.t).cast_unsigned();
            let change = delta.wrapping_sub(self.delta).cast_signed();
            self.delta = delta;
            if change == 0 && v == self.v {
                self.put(0, 2);
            } else {
                self.put_row(change, v);
            }
        }
        (self.t, self.v) = (t, v);
        self.rows += 1;
    }

    /// The first two rows, whose times are varints.
    #[cold]
    fn append_head(&mut self, t: i64, v: u64) {
        if self.rows == 0 {
            if self.buffer.capacity() == 0 {
                self.buffer.reserve_exact(FIRST_BYTES);
            }
            self.buffer.extend_from_slice(&[0; HEADER_BYTES]);
            self.buffer.put_zigzag(t);
            self.put(v, 64);
        } else {
            // The first value ended a byte, so that the word is empty here.
            self.delta = t.wrapping_sub(self.t).cast_unsigned();
            self.buffer.put_varint(self.delta);
            self.put_value(v, (0, 0));
        }
    }

    #[inline(always)]
    fn put_row(&mut self, change: i64, v: u64) {
        let time = time_bits(change);
        if time.1 < WHOLE_TIME_BITS {
            self.put_value(v, time);
        } else {
            self.put(time.0, WHOLE_TIME_BITS - 64);
            self.put(change.cast_unsigned(), 64);
            self.put_value(v, (0, 0));
        }
    }

    /// Appends a value behind `count` bits of a time (at most 24); states a new window where the old one does not fit.
    #[inline(always)]
    fn put_value(&mut self, v: u64, (time, count): (u64, u32)) {
        let x = self.v ^ v;
        if x == 0 {
            return self.put(time << 1, count + 1);
        }
        let (bits, before, before_count) = match self.window.inside(x) {
            Some(bits) => (bits, time << 2 | 0b10, count + 2),
            None => {
                self.window = Window::around(x);
                let Window { significant, trailing } = self.window;
                let stated = u64::from(self.window.leading()) << 6 | u64::from(significant & 63);
                (x >> (trailing & 63), time << 13 | 0b11 << 11 | stated, count + 13)
            }
        };
        let significant = u32::from(self.window.significant);
        if before_count + significant <= 64 {
            self.put(before << significant | bits, before_count + significant);
        } else {
            self.put(before, before_count);
            self.put(bits, significant);
        }
    }

    /// Appends the low `count` bits of `bits` (from 1 to 64; those above are zero).
    #[inline(always)]
    fn put(&mut self, bits: u64, count: u32) {
        let free = 64 - self.used;
        match count.checked_sub(free) {
            None => {
                self.word |= bits << (free - count);
                self.used += count;
            }
            Some(over) => {
                let full = self.word | bits >> over;
                self.word = bits.unbounded_shl(64 - over);
                self.used = over;
                if self.buffer.capacity() - self.buffer.len() < 8 {
                    self.grow();
                }
                self.buffer.extend_from_slice(&full.to_be_bytes());
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.buffer.reserve_exact(GROWTH_BYTES.max(self.buffer.len() / 4));
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> u32 {
        u32::from(self.rows)
    }

    /// Whether there is no room for another row.
    pub(crate) fn is_full(&self) -> bool {
        self.rows() >= MAX_ROWS
    }

    /// The payload of all rows so far. Cost: a copy.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload_bytes());
        out.extend_from_slice(&self.buffer);
        self.finish(&mut out);
        out
    }

    /// The payload of all rows, in an allocation of its size; the encoder begins anew, in the buffer that it has.
    pub(crate) fn take_payload(&mut self) -> Arc<[u8]> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.finish(&mut buffer);
        let payload = Arc::from(buffer.as_slice());
        buffer.clear();
        *self = Encoder { buffer, ..Encoder::new() };
        payload
    }

    /// The payload of all rows; copied only if the buffer has much room left.
    fn into_payload(mut self) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.buffer);
        self.finish(&mut out);
        if out.capacity() - out.len() > out.len() / 8 {
            out.shrink_to_fit();
        }
        out
    }

    /// Puts the last bits behind the bytes, and the count before them.
    fn finish(&self, out: &mut Vec<u8>) {
        if out.is_empty() {
            out.extend_from_slice(&[0; HEADER_BYTES]);
        }
        let bytes = self.used.div_ceil(8) as usize;
        out.reserve_exact(bytes);
        out.extend_from_slice(self.word.to_be_bytes().get(..bytes).unwrap_or_default());
        if let Some(count) = out.first_chunk_mut() {
            *count = self.rows.to_be_bytes();
        }
    }

    /// The length of [`payload`](Encoder::payload).
    pub(crate) fn payload_bytes(&self) -> usize {
        self.buffer.len().max(HEADER_BYTES) + self.used.div_ceil(8) as usize
    }

    /// What the buffer takes.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The time of the first row.
    pub(crate) fn first_t(&self) -> Option<i64> {
        let payload = self.buffer.get(HEADER_BYTES..).filter(|_| self.rows > 0)?;
        Reader::new(STRUCTURE, payload).zigzag().ok()
    }

    /// The newest row.
    pub(crate) fn last(&self) -> Option<Sample> {
        (self.rows > 0).then_some(Sample { t: self.t, v: f64::from_bits(self.v) })
    }

    /// Removes all rows and keeps the allocation.
    #[cfg(test)]
    pub(crate) fn clear(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        *self = Encoder { buffer, ..Encoder::new() };
    }
}

/// The bits of a time and their number, by the change of the time step. Where that is [`WHOLE_TIME_BITS`], they
/// are the prefix alone, and all bits of the change follow.
#[inline]
fn time_bits(change: i64) -> (u64, u32) {
    // A bucket of n bits holds from -(2^(n-1) - 1) to 2^(n-1): one more above than two's complement has.
    let fits = |bits: u32| -((1 << (bits - 1)) - 1) <= change && change <= 1 << (bits - 1);
    let bucket = |prefix: u64, bits: u32| prefix << bits | change.cast_unsigned() & ((1 << bits) - 1);
    if change == 0 {
        (0, 1)
    } else if fits(NARROW_BITS) {
        (bucket(0b10, NARROW_BITS), 2 + NARROW_BITS)
    } else if fits(MIDDLE_BITS) {
        (bucket(0b110, MIDDLE_BITS), 3 + MIDDLE_BITS)
    } else if fits(WIDE_BITS) {
        (bucket(0b1110, WIDE_BITS), 4 + WIDE_BITS)
    } else {
        (0b1111, WHOLE_TIME_BITS)
    }
}

/// The payload of two columns of equal length, of at most [`MAX_ROWS`] rows.
pub(crate) fn encode(t: &[i64], v: &[f64]) -> Vec<u8> {
    assert_eq!(t.len(), v.len(), "the columns of a chunk have equal lengths");
    // Room for what rows of real data take, so that the buffer seldom moves.
    let mut encoder = Encoder::with_room(FIRST_BYTES + t.len() * LIKELY_ROW_BYTES);
    for (&t, &v) in t.iter().zip(v) {
        encoder.append(t, v);
    }
    encoder.into_payload()
}

/// The number of rows that a payload says it has, which its length allows.
pub(crate) fn rows(payload: &[u8]) -> Result<u32, DecodeError> {
    let Some((&count, body)) = payload.split_first_chunk::<HEADER_BYTES>() else {
        return Err(DecodeError::new(STRUCTURE, payload.len() as u64, DecodeReason::Truncated));
    };
    let rows = u16::from_be_bytes(count);
    match usize::from(rows) * MIN_ROW_BITS <= body.len().saturating_mul(8) {
        true => Ok(u32::from(rows)),
        false => Err(DecodeError::new(STRUCTURE, payload.len() as u64, DecodeReason::Truncated)),
    }
}

/// Appends all rows of a payload to `out`; on an error `out` is as it was.
pub(crate) fn decode_into(payload: &[u8], out: &mut Columns) -> Result<(), DecodeError> {
    decode_prefix(payload, rows(payload)?, true, out)
}

/// Appends all rows to `out` if there is one at least, their times ascend strictly and none is `i64::MAX`;
/// otherwise `out` is as it was.
pub(crate) fn decode_ordered_into(payload: &[u8], out: &mut Columns) -> Result<(), DecodeError> {
    let start = out.len();
    decode_into(payload, out)?;
    if is_ordered(out.t.get(start..).unwrap_or_default()) {
        return Ok(());
    }
    out.t.truncate(start);
    out.v.truncate(start);
    let reason = DecodeReason::Invalid("the times of a chunk do not ascend, are reserved, or there are none");
    Err(DecodeError::new(STRUCTURE, 0, reason))
}

/// Whether there is a time, all ascend strictly, and none is the reserved `i64::MAX`.
pub(crate) fn is_ordered(t: &[i64]) -> bool {
    let ascend = t.iter().zip(t.iter().skip(1)).all(|(a, b)| a < b);
    ascend && t.last().is_some_and(|&last| last < i64::MAX)
}

/// Appends the first `wanted` rows of a payload to `out`; fewer in it are an error, more are not looked at. On an
/// error `out` is as it was.
pub(crate) fn decode_rows_into(payload: &[u8], wanted: u32, out: &mut Columns) -> Result<(), DecodeError> {
    let rows = rows(payload)?;
    if wanted > rows {
        let reason = DecodeReason::Invalid("a chunk has fewer rows than were counted");
        return Err(DecodeError::new(STRUCTURE, 0, reason));
    }
    decode_prefix(payload, wanted, wanted == rows, out)
}

fn decode_prefix(payload: &[u8], rows: u32, whole: bool, out: &mut Columns) -> Result<(), DecodeError> {
    let (t_start, v_start) = (out.t.len(), out.v.len());
    out.t.resize(t_start + rows as usize, 0);
    out.v.resize(v_start + rows as usize, 0.0);
    let ts = out.t.iter_mut().skip(t_start);
    let mut slots = ts.zip(out.v.iter_mut().skip(v_start));
    let mut decoder = Decoder::new(payload);
    let emit = |t, v| {
        if let Some((t_slot, v_slot)) = slots.next() {
            (*t_slot, *v_slot) = (t, f64::from_bits(v));
        }
    };
    let outcome = decoder.run(rows, emit).and_then(|()| decoder.finish(whole));
    if outcome.is_err() {
        out.t.truncate(t_start);
        out.v.truncate(v_start);
    }
    outcome
}

/// Reads rows one after the other; [`finish`](Decoder::finish) says whether the bytes were enough.
struct Decoder<'a> {
    bits: Bits<'a>,
    /// The next bit.
    at: usize,
    t: i64,
    delta: u64,
    v: u64,
    window: Window,
}

impl<'a> Decoder<'a> {
    fn new(payload: &'a [u8]) -> Decoder<'a> {
        let bits = Bits::new(payload);
        Decoder { bits, at: HEADER_BYTES * 8, t: 0, delta: 0, v: 0, window: Window::NONE }
    }

    /// Reads the first `rows` rows.
    #[inline]
    fn run(&mut self, rows: u32, mut emit: impl FnMut(i64, u64)) -> Result<(), DecodeError> {
        for row in 0..rows.min(2) {
            self.head(row)?;
            emit(self.t, self.v);
        }
        for _ in 2..rows {
            let ahead = self.time();
            self.value(ahead)?;
            emit(self.t, self.v);
        }
        Ok(())
    }

    /// The first two rows, whose times are varints.
    fn head(&mut self, row: u32) -> Result<(), DecodeError> {
        let mut reader = Reader::new(STRUCTURE, self.bits.bytes());
        reader.bytes(self.at / 8)?;
        if row == 0 {
            self.t = reader.zigzag()?;
            self.v = reader.bytes(8)?.iter().fold(0, |v, &b| v << 8 | u64::from(b));
            self.at = reader.offset() * 8;
            Ok(())
        } else {
            self.delta = reader.varint()?;
            self.t = self.t.wrapping_add(self.delta.cast_signed());
            self.at = reader.offset() * 8;
            self.value(self.bits.peek(self.at))
        }
    }

    /// Reads a time; returns the bits after it, of which at least 40 are valid.
    #[inline(always)]
    fn time(&mut self) -> u64 {
        let ahead = self.bits.peek(self.at);
        let (prefix, bits) = match ahead.leading_ones() {
            0 => (1, 0),
            1 => (2, NARROW_BITS),
            2 => (3, MIDDLE_BITS),
            3 => (4, WIDE_BITS),
            _ => return self.time_of_64_bits(),
        };
        if bits > 0 {
            let found = ahead << prefix >> (64 - bits);
            let above = u64::from(found > 1 << (bits - 1)) << bits;
            self.delta = self.delta.wrapping_add(found.wrapping_sub(above));
        }
        self.t = self.t.wrapping_add(self.delta.cast_signed());
        self.at += (prefix + bits) as usize;
        ahead << (prefix + bits)
    }

    #[cold]
    fn time_of_64_bits(&mut self) -> u64 {
        self.delta = self.delta.wrapping_add(self.bits.peek(self.at + 4));
        self.t = self.t.wrapping_add(self.delta.cast_signed());
        self.at += 4 + 64;
        self.bits.peek(self.at)
    }

    /// Reads a value, whose first 13 bits are at the top of `ahead`.
    #[inline(always)]
    fn value(&mut self, ahead: u64) -> Result<(), DecodeError> {
        if ahead >> 63 == 0 {
            self.at += 1;
            return Ok(());
        }
        if ahead >> 62 == 0b10 {
            self.at += 2;
        } else {
            self.window = self.stated_window(ahead)?;
            self.at += 13;
        }
        let significant = match self.window {
            Window::NONE => 64,
            window => u32::from(window.significant),
        };
        let x = self.bits.peek(self.at) >> (64 - significant);
        self.v ^= x << self.window.trailing;
        self.at += significant as usize;
        Ok(())
    }

    /// The window in the 11 bits after the first two of `ahead`.
    #[inline(always)]
    fn stated_window(&self, ahead: u64) -> Result<Window, DecodeError> {
        let leading = (ahead >> 57 & 31) as u8;
        let significant = match (ahead >> 51 & 63) as u8 {
            0 => 64,
            n => n,
        };
        match (64 - leading).checked_sub(significant) {
            Some(trailing) => Ok(Window { significant, trailing }),
            None => Err(self.error(DecodeReason::Invalid("a value's window is wider than 64 bits"))),
        }
    }

    /// Whether the rows read were all there; if they are the `whole` payload, nothing may follow.
    fn finish(&self, whole: bool) -> Result<(), DecodeError> {
        let end = self.bits.bytes().len().saturating_mul(8);
        let Some(left) = end.checked_sub(self.at) else {
            return Err(DecodeError::new(STRUCTURE, self.bits.bytes().len() as u64, DecodeReason::Truncated));
        };
        if whole && left > MAX_PADDING_BITS {
            let end = (self.at + MAX_PADDING_BITS) / 8;
            return Err(DecodeError::new(STRUCTURE, end as u64, DecodeReason::TrailingBytes));
        }
        if whole && self.bits.peek(self.at) != 0 {
            return Err(self.error(DecodeReason::Invalid("the bits after the last row are not zero")));
        }
        Ok(())
    }

    #[cold]
    fn error(&self, reason: DecodeReason) -> DecodeError {
        DecodeError::new(STRUCTURE, (self.at / 8) as u64, reason)
    }
}

/// The property that fuzzing checks: as a payload, both codecs refuse `data` or find the same rows, which
/// round trip; as a recipe for rows, both codecs write the same bytes, in one go or with a pause.
pub(crate) fn fuzz(data: &[u8]) {
    let mut out = Columns::default();
    let decoded = decode_into(data, &mut out);
    assert_eq!(decoded.is_ok(), reference::decode(data).is_some());
    assert_eq!(reference::decode(data).unwrap_or_default(), reference::rows_of(&out));
    assert_eq!(decoded.is_ok(), Encoder::from_payload(data).is_ok());
    check_round_trip(&out);
    check_round_trip(&reference::rows_from_recipe(data));
}

/// Checks that rows are written as the reference writes them, and read back.
fn check_round_trip(rows: &Columns) {
    let payload = encode(&rows.t, &rows.v);
    assert_eq!(payload, reference::encode(&reference::rows_of(rows)));
    let mut back = Columns::default();
    assert_eq!(decode_into(&payload, &mut back), Ok(()));
    assert_eq!(reference::rows_of(&back), reference::rows_of(rows));

    let half = rows.len() / 2;
    let mut encoder = Encoder::new();
    for (i, (&t, &v)) in rows.t.iter().zip(&rows.v).enumerate() {
        if i == half {
            let resumed = Encoder::from_payload(&encoder.payload());
            assert!(resumed.is_ok(), "a payload of our own does not decode");
            encoder = resumed.unwrap_or_default();
            back.clear();
            assert_eq!(decode_rows_into(&payload, encoder.rows(), &mut back), Ok(()));
            assert_eq!(encoder.payload(), encode(&back.t, &back.v), "half of the rows");
        }
        encoder.append(t, v);
    }
    assert_eq!(encoder.payload_bytes(), payload.len());
    assert_eq!(encoder.payload(), payload, "with a pause");
    let (buffer, last) = (encoder.allocated_bytes(), encoder.last());
    assert_eq!(*encoder.take_payload(), *payload, "taken");
    assert!(encoder.rows() == 0 && encoder.last().is_none() && encoder.allocated_bytes() >= buffer);
    last.into_iter().for_each(|last| encoder.append(last.t, last.v));
    assert_eq!(encoder.payload(), last.map_or_else(|| encode(&[], &[]), |last| encode(&[last.t], &[last.v])));
}
