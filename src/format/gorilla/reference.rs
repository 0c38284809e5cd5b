//! The obvious codec, bit by bit on `bitvec`: the oracle of tests and fuzzing.
//!
//! It follows the page `format-spec/gorilla.md` sentence by sentence and shares no code with the fast
//! one. A row is `(t, bits of v)`. It is slow on purpose; nothing else uses it.

use bitvec::field::BitField;
use bitvec::order::Msb0;
use bitvec::slice::BitSlice;
use bitvec::vec::BitVec;

use crate::model::Columns;

type Bits = BitVec<u8, Msb0>;

/// A window as (leading zeros, significant bits).
type Window = Option<(usize, usize)>;

/// Writes rows, at most 65,535.
pub(super) fn encode(rows: &[(i64, u64)]) -> Vec<u8> {
    let mut bits = Bits::new();
    put(&mut bits, 16, rows.len() as u64);
    let (mut t, mut step, mut v, mut window) = (0i64, 0i64, 0u64, None);
    for (i, &(next_t, next_v)) in rows.iter().enumerate() {
        let next_step = next_t.wrapping_sub(t);
        match i {
            0 => {
                let sign = (next_t >> 63).cast_unsigned();
                put_varint(&mut bits, next_t.cast_unsigned().wrapping_mul(2) ^ sign);
                put(&mut bits, 64, next_v);
            }
            1 => put_varint(&mut bits, next_step.cast_unsigned()),
            _ => put_time(&mut bits, next_step.wrapping_sub(step)),
        }
        if i > 0 {
            put_value(&mut bits, v ^ next_v, &mut window);
        }
        (t, step, v) = (next_t, next_step, next_v);
    }
    bits.into_vec()
}

fn put(bits: &mut Bits, count: usize, value: u64) {
    let start = bits.len();
    bits.resize(start + count, false);
    if let Some(field) = bits.get_mut(start..) {
        field.store_be(value);
    }
}

fn put_varint(bits: &mut Bits, mut value: u64) {
    while value > 127 {
        put(bits, 8, value % 128 + 128);
        value /= 128;
    }
    put(bits, 8, value);
}

fn put_time(bits: &mut Bits, change: i64) {
    match change {
        0 => put(bits, 1, 0),
        -8_191..=8_192 => {
            put(bits, 2, 0b10);
            put(bits, 14, change.cast_unsigned() & 0x3fff);
        }
        -65_535..=65_536 => {
            put(bits, 3, 0b110);
            put(bits, 17, change.cast_unsigned() & 0x1_ffff);
        }
        -524_287..=524_288 => {
            put(bits, 4, 0b1110);
            put(bits, 20, change.cast_unsigned() & 0xf_ffff);
        }
        _ => {
            put(bits, 4, 0b1111);
            put(bits, 64, change.cast_unsigned());
        }
    }
}

fn put_value(bits: &mut Bits, x: u64, window: &mut Window) {
    if x == 0 {
        return put(bits, 1, 0);
    }
    put(bits, 1, 1);
    let leading = 31.min(x.leading_zeros() as usize);
    let trailing = x.trailing_zeros() as usize;
    match *window {
        Some((w, n)) if leading >= w && trailing >= 64 - w - n => {
            put(bits, 1, 0);
            put(bits, n, x >> (64 - w - n));
        }
        _ => {
            let n = 64 - leading - trailing;
            put(bits, 1, 1);
            put(bits, 5, leading as u64);
            put(bits, 6, n as u64 % 64);
            put(bits, n, x >> trailing);
            *window = Some((leading, n));
        }
    }
}

/// Reads a whole payload, or refuses it.
pub(super) fn decode(payload: &[u8]) -> Option<Vec<(i64, u64)>> {
    let mut bits = BitSlice::<u8, Msb0>::from_slice(payload);
    let count = take(&mut bits, 16)?;
    let mut rows = Vec::new();
    let (mut t, mut step, mut v, mut window) = (0i64, 0i64, 0u64, None);
    for i in 0..count {
        match i {
            0 => {
                let coded = take_varint(&mut bits)?;
                t = (coded / 2).cast_signed();
                if coded % 2 == 1 {
                    t = -1 - t;
                }
                v = take(&mut bits, 64)?;
            }
            1 => step = take_varint(&mut bits)?.cast_signed(),
            _ => step = step.wrapping_add(take_time(&mut bits)?),
        }
        if i > 0 {
            t = t.wrapping_add(step);
            v ^= take_value(&mut bits, &mut window)?;
        }
        rows.push((t, v));
    }
    (bits.len() <= 8 && bits.not_any()).then_some(rows)
}

fn take(bits: &mut &BitSlice<u8, Msb0>, count: usize) -> Option<u64> {
    let field = bits.get(..count)?;
    *bits = bits.get(count..)?;
    Some(field.load_be())
}

fn take_varint(bits: &mut &BitSlice<u8, Msb0>) -> Option<u64> {
    let mut value = 0u128;
    for i in 0..10 {
        let byte = take(bits, 8)?;
        value += u128::from(byte % 128) << (7 * i);
        if byte < 128 {
            let shortest = i == 0 || byte > 0;
            return u64::try_from(value).ok().filter(|_| shortest);
        }
    }
    None
}

fn take_time(bits: &mut &BitSlice<u8, Msb0>) -> Option<i64> {
    let mut ones = 0;
    while ones < 4 && take(bits, 1)? == 1 {
        ones += 1;
    }
    let width = match ones {
        0 => return Some(0),
        1 => 14,
        2 => 17,
        3 => 20,
        _ => return take(bits, 64).map(u64::cast_signed),
    };
    let found = take(bits, width)?.cast_signed();
    Some(if found > 1 << (width - 1) { found - (1 << width) } else { found })
}

fn take_value(bits: &mut &BitSlice<u8, Msb0>, window: &mut Window) -> Option<u64> {
    if take(bits, 1)? == 0 {
        return Some(0);
    }
    if take(bits, 1)? == 1 {
        let leading = usize::try_from(take(bits, 5)?).ok()?;
        let n = match usize::try_from(take(bits, 6)?).ok()? {
            0 => 64,
            n => n,
        };
        if leading + n > 64 {
            return None;
        }
        *window = Some((leading, n));
    }
    let (leading, n) = window.unwrap_or((0, 64));
    Some(take(bits, n)? << (64 - leading - n))
}

/// Columns as rows that compare by bits.
pub(super) fn rows_of(columns: &Columns) -> Vec<(i64, u64)> {
    columns.t.iter().copied().zip(columns.v.iter().map(|v| v.to_bits())).collect()
}

/// Makes rows out of any bytes, small and large steps of time and value mixed, 65,535 rows at most.
pub(super) fn rows_from_recipe(mut data: &[u8]) -> Columns {
    let mut out = Columns::default();
    let (mut t, mut v) = (0i64, 0u64);
    while let (Some((&kind, rest)), true) = (data.split_first(), out.len() < 65_535) {
        data = rest;
        let mut number = |count: usize| {
            let (taken, rest) = data.split_at(count.min(data.len()));
            data = rest;
            taken.iter().fold(0u64, |n, &b| n << 8 | u64::from(b))
        };
        let step = match kind % 4 {
            0 => 15_000,
            1 => number(1).cast_signed(),
            2 => number(3).cast_signed() - (1 << 23),
            _ => number(8).cast_signed(),
        };
        t = t.wrapping_add(step);
        v = match kind / 4 % 4 {
            0 => v,
            1 => (f64::from_bits(v) + 1.0).to_bits(),
            2 => v ^ number(2) << (kind / 16 * 3),
            _ => number(8),
        };
        out.push(t, f64::from_bits(v));
    }
    out
}
