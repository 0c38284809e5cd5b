//! A column of values: constant, decimal numbers as integers, or bits as integers; whatever is smallest.
//!
//! ```text
//!   values    head:u8                                    │ …
//!             kind:2  has unit:1  has exceptions:1  exponent:4
//!     0 constant   bits, swapped: varint
//!     1 bits       [unit, offset: varints] │ packed                        x = the 64 bits of the value
//!     2 decimal    [unit, offset: varints] │ [exceptions] │ packed         value = x / 10^exponent
//!   exceptions     count-1: varint │ (gap: varint │ bits: u64) × count
//! ```
//!
//! What is packed is `(x - offset) / unit`, where `unit` divides all differences. Each value is checked by decoding it when it is
//! written: what does not give the same bits (NaNs, -0.0, staleness markers) is an exception, and where exceptions are
//! many, the column is of bits. The bits of a constant are swapped by bytes, so that round numbers are short.
//!
//! **Cost.** Writing tries the kinds and the orders of `packed` by reckoning. Reading is that of `packed`, and a
//! conversion; for an exponent above 0 a division, which rounds as reading the decimal number from text does.

use std::ops::Range;

use crate::error::{DecodeError, DecodeReason};
use crate::format::cursor::{Reader, Write};
use crate::format::packed::{self, Plan};

use super::STRUCTURE;

/// The kind of a column whose values are one.
const KIND_CONSTANT: u8 = 0;
/// The kind of a column of bits.
const KIND_BITS: u8 = 1;
/// The kind of a column of decimal numbers.
const KIND_DECIMAL: u8 = 2;
/// The bits of a head that are the kind.
const KIND_MASK: u8 = 3;
/// The bit of a head: unit and offset follow.
const HAS_UNIT: u8 = 4;
/// The bit of a head: exceptions follow.
const HAS_EXCEPTIONS: u8 = 8;
/// The exponent begins at this bit of a head.
const EXPONENT_SHIFT: u32 = 4;
/// The largest exponent.
const MAX_EXPONENT: u8 = 15;
/// Above it an integer is not exact as a double.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
/// Below it in size an `f64` converts to an `i64`.
const MAX_I64: f64 = 9_223_372_036_854_775_808.0;
/// A decimal column below so many bytes a row is taken without looking at the bits.
const GOOD_BYTES_PER_ROW: usize = 4;
/// One value in so many may be an exception.
const EXCEPTION_SHARE: usize = 16;
/// The bytes of an exception, about.
const EXCEPTION_BYTES: usize = 9;

/// 10 to the power of each exponent: exact.
const POWERS: [f64; MAX_EXPONENT as usize + 1] =
    [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// How the values of a column are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// One value.
    Constant,
    /// Bits as integers.
    Bits,
    /// Decimal numbers without a fraction.
    Integer,
    /// Decimal numbers.
    Decimal,
}

/// The kind that a column says it has.
pub(crate) fn kind(bytes: &[u8]) -> Kind {
    let head = bytes.first().copied().unwrap_or(0);
    match head & KIND_MASK {
        KIND_CONSTANT => Kind::Constant,
        KIND_DECIMAL if head >> EXPONENT_SHIFT == 0 => Kind::Integer,
        KIND_DECIMAL => Kind::Decimal,
        _ => Kind::Bits,
    }
}

/// A column of integers that stand for values.
struct Integers {
    head: u8,
    unit: u64,
    offset: u64,
    x: Vec<u64>,
    exceptions: Vec<(usize, u64)>,
    plan: Plan,
}

impl Integers {
    fn new(head: u8, mut x: Vec<u64>, exceptions: Vec<(usize, u64)>) -> Integers {
        let (unit, offset) = unit(&x);
        if unit > 1 {
            let unit = unit.cast_signed();
            x.iter_mut().for_each(|x| *x = x.cast_signed().div_euclid(unit).cast_unsigned());
        }
        let plan = Plan::best(&x);
        Integers { head, unit, offset, x, exceptions, plan }
    }

    /// About how many bytes it takes.
    fn bytes(&self) -> usize {
        let unit = if self.unit > 1 { 4 } else { 0 };
        1 + unit + EXCEPTION_BYTES * self.exceptions.len() + self.plan.bytes()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        let has_unit = if self.unit > 1 { HAS_UNIT } else { 0 };
        let has_exceptions = if self.exceptions.is_empty() { 0 } else { HAS_EXCEPTIONS };
        out.put_u8(self.head | has_unit | has_exceptions);
        if self.unit > 1 {
            out.put_varint(self.unit);
            out.put_varint(self.offset);
        }
        if let Some(after_first) = self.exceptions.len().checked_sub(1) {
            out.put_varint(after_first as u64);
            let mut next = 0;
            for &(row, bits) in &self.exceptions {
                out.put_varint((row - next) as u64);
                out.put_u64(bits);
                next = row + 1;
            }
        }
        self.plan.encode(&self.x, &mut out);
        out
    }
}

/// The bytes of a column, which has one value at least.
pub(crate) fn encode(v: &[f64]) -> Vec<u8> {
    let first = v.first().map_or(0, |v| v.to_bits());
    if v.iter().all(|v| v.to_bits() == first) {
        let mut out = vec![KIND_CONSTANT];
        out.put_varint(first.swap_bytes());
        return out;
    }
    let decimal = decimal(v);
    if let Some(good) = decimal.as_ref().filter(|d| d.bytes() <= GOOD_BYTES_PER_ROW * v.len()) {
        return good.encode();
    }
    let bits = Integers::new(KIND_BITS, v.iter().map(|v| v.to_bits()).collect(), Vec::new());
    match decimal {
        Some(decimal) if decimal.bytes() <= bits.bytes() => decimal.encode(),
        _ => bits.encode(),
    }
}

/// The values as decimal numbers of one exponent, if nearly all are.
fn decimal(v: &[f64]) -> Option<Integers> {
    let (mut exponent, mut begun) = (0, None);
    while begun.is_none() {
        match integers(v, exponent)? {
            Ok(found) => begun = Some(found),
            Err(larger) => exponent = larger,
        }
    }
    let (x, exceptions) = begun?;
    Some(Integers::new(KIND_DECIMAL | exponent << EXPONENT_SHIFT, x, exceptions))
}

/// Integers and exceptions.
type Found = (Vec<u64>, Vec<(usize, u64)>);

/// The values as integers of one exponent, with exceptions; the larger exponent that a value needs; or `None` if too
/// many have no exponent.
fn integers(v: &[f64], exponent: u8) -> Option<Result<Found, u8>> {
    let (mut exceptions, few) = (Vec::new(), v.len() / EXCEPTION_SHARE + 2);
    let mut x = Vec::with_capacity(v.len());
    // An exception takes the place of the integer before it.
    let mut last = v.iter().find_map(|&v| as_integer(v, exponent)).unwrap_or(0);
    for (row, &v) in v.iter().enumerate() {
        match as_integer(v, exponent) {
            Some(integer) => last = integer,
            None => match (exponent + 1..=MAX_EXPONENT).find(|&e| as_integer(v, e).is_some()) {
                Some(larger) => return Some(Err(larger)),
                None if exceptions.len() < few => exceptions.push((row, v.to_bits())),
                None => return None,
            },
        }
        x.push(last.cast_unsigned());
    }
    Some(Ok((x, exceptions)))
}

/// The integer that is decoded to the same bits.
#[inline]
fn as_integer(v: f64, exponent: u8) -> Option<i64> {
    let power = POWERS.get(usize::from(exponent)).copied()?;
    let scaled = v * power;
    let maximum = if exponent == 0 { MAX_I64 } else { MAX_EXACT };
    if scaled.abs() >= maximum || scaled.is_nan() {
        return None;
    }
    if exponent == 0 {
        let integer = truncate(v);
        return ((integer as f64).to_bits() == v.to_bits()).then_some(integer);
    }
    let integer = truncate(scaled + 0.5f64.copysign(scaled));
    (to_decimal(integer, power).to_bits() == v.to_bits()).then_some(integer)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "it is in the range of an i64, and the result is checked"
)]
fn truncate(v: f64) -> i64 {
    v as i64
}

#[inline(always)]
fn to_decimal(integer: i64, power: f64) -> f64 {
    integer as f64 / power
}

/// The greatest common divisor of all differences, and the remainder of all integers by it; (1, 0) if it is not worth the bytes.
fn unit(x: &[u64]) -> (u64, u64) {
    let first = x.first().map_or(0, |x| x.cast_signed());
    let mut unit = 0;
    for x in x {
        let difference = x.cast_signed().abs_diff(first);
        if unit == 0 || difference % unit != 0 {
            unit = common_divisor(unit, difference);
        }
        if unit == 1 {
            return (1, 0);
        }
    }
    match i64::try_from(unit) {
        Ok(signed) if unit > 1 => (unit, first.rem_euclid(signed).cast_unsigned()),
        _ => (1, 0),
    }
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Appends the values `wanted` of a column of `rows` values to `out`. What is not wanted is not looked at where it
/// can be passed over.
pub(crate) fn decode(
    bytes: &[u8],
    rows: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), DecodeError> {
    let start = out.len();
    let decoded = decode_stretch(bytes, rows, wanted, out);
    if decoded.is_err() {
        out.truncate(start);
    }
    decoded
}

fn decode_stretch(
    bytes: &[u8],
    rows: usize,
    wanted: Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), DecodeError> {
    let mut r = Reader::new(STRUCTURE, bytes);
    let head = r.u8()?;
    let (kind, exponent) = (head & KIND_MASK, head >> EXPONENT_SHIFT);
    match kind {
        KIND_CONSTANT if head == KIND_CONSTANT => {
            let value = f64::from_bits(r.varint()?.swap_bytes());
            r.finish()?;
            out.resize(out.len() + wanted.len(), value);
            return Ok(());
        }
        KIND_BITS if exponent == 0 && head & HAS_EXCEPTIONS == 0 => {}
        KIND_DECIMAL => {}
        _ => {
            return Err(DecodeError::new(
                STRUCTURE,
                0,
                DecodeReason::Unsupported("a column of another kind"),
            ));
        }
    }
    let (unit, offset) = if head & HAS_UNIT != 0 { (r.varint()?, r.varint()?) } else { (1, 0) };
    let exceptions =
        if head & HAS_EXCEPTIONS != 0 { Exceptions::decode(&mut r, rows)? } else { Exceptions::NONE };
    let start = out.len();
    out.resize(start + wanted.len(), 0.0);
    let slots = out.get_mut(start..).unwrap_or_default();
    let power = POWERS.get(usize::from(exponent)).copied().unwrap_or(1.0);
    packed::decode(&mut r, rows, wanted.clone(), |at, x| {
        let (skipped, place) = (wanted.start.saturating_sub(at), at.saturating_sub(wanted.start));
        let pairs =
            slots.get_mut(place..).unwrap_or_default().iter_mut().zip(x.get(skipped..).unwrap_or_default());
        match (kind, exponent, unit) {
            (KIND_BITS, _, 1) => pairs.for_each(|(v, x)| *v = f64::from_bits(*x)),
            (KIND_BITS, ..) => {
                pairs.for_each(|(v, x)| *v = f64::from_bits(x.wrapping_mul(unit).wrapping_add(offset)));
            }
            (_, 0, 1) => pairs.for_each(|(v, x)| *v = x.cast_signed() as f64),
            (_, _, 1) => pairs.for_each(|(v, x)| *v = to_decimal(x.cast_signed(), power)),
            _ => pairs.for_each(|(v, x)| {
                *v = to_decimal(x.wrapping_mul(unit).wrapping_add(offset).cast_signed(), power);
            }),
        }
    })?;
    r.finish()?;
    exceptions.put(&wanted, slots)
}

/// The values of a decimal column that are not decimal, still coded.
struct Exceptions<'a> {
    count: usize,
    r: Reader<'a>,
}

impl<'a> Exceptions<'a> {
    const NONE: Exceptions<'static> = Exceptions { count: 0, r: Reader::EMPTY };

    /// Reads past them, and checks that they are among `rows`.
    fn decode(r: &mut Reader<'a>, rows: usize) -> Result<Exceptions<'a>, DecodeError> {
        let count = r.count(rows.saturating_sub(1))? + 1;
        let exceptions = Exceptions { count, r: r.clone() };
        let mut next = 0;
        for _ in 0..count {
            let gap = r.count(rows)?;
            next += gap + 1;
            if next > rows {
                return Err(r.invalid("an exception is beyond the last row"));
            }
            r.u64()?;
        }
        Ok(exceptions)
    }

    /// Puts those that are wanted into their slots.
    fn put(mut self, wanted: &Range<usize>, slots: &mut [f64]) -> Result<(), DecodeError> {
        let mut next = 0;
        for _ in 0..self.count {
            let row = next + self.r.count(usize::MAX)?;
            let value = f64::from_bits(self.r.u64()?);
            if let Some(slot) = row.checked_sub(wanted.start).and_then(|i| slots.get_mut(i)) {
                *slot = value;
            }
            next = row + 1;
        }
        Ok(())
    }
}
