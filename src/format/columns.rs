//! The payload of a chunk of encoding 2: a column of values, and which rows of a shared column of timestamps they have.
//!
//! ```text
//!   rows:varint │ column:varint │ place:varint │ [absent] │ values (see `values`)
//!
//!   column    where the column of timestamps stands in `times`
//!   place     first row × 2 + 1 if some rows of the column are absent here
//!   absent    span:varint │ a bit for each of `span` rows from the first on: 1 if it is absent
//!
//!   times      t₀ t₁ t₂ t₃ t₄ t₅ t₆ …          the column
//!   place            ├─ first = 2
//!   absent           0  0  1  0                span = 4, three rows: t₂ t₃ t₅
//! ```
//!
//! All series of one scrape target have the same timestamps, which a block stores once. A chunk whose series came late or
//! missed some scrapes takes a part of the others' column.
//!
//! **Invariants.** `rows` bits of the span are 0, the first and the last among them: so there is one way to say which rows,
//! and their first and last timestamps are those of the chunk.

use std::ops::Range;

use bitvec::order::Lsb0;
use bitvec::slice::BitSlice;
use bitvec::vec::BitVec;

use crate::error::{DecodeError, DecodeReason};
use crate::format::cursor::{Reader, Write};

#[cfg(test)]
mod tests;
pub(crate) mod values;

const STRUCTURE: &str = "columns";

/// The most rows of a chunk, and of a column of timestamps.
pub(crate) const MAX_ROWS: usize = 65_535;
/// The bit of `place` that says that rows are absent.
const HAS_ABSENT: u64 = 1;

/// Which rows of a column of timestamps a chunk has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Where the column stands in `times`.
    pub(crate) column: u64,
    /// The first row.
    pub(crate) first: usize,
    /// The number of rows.
    pub(crate) rows: usize,
    /// A bit for each row from the first to the last: whether it is absent. Empty if none is.
    pub(crate) absent: BitVec<u8, Lsb0>,
}

/// A payload, looked into as far as its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    /// The number of rows, at least one.
    pub(crate) rows: usize,
    /// Where the column of timestamps stands in `times`.
    pub(crate) column: u64,
    /// Its first row.
    first: usize,
    /// Its rows from the first to the last.
    span: usize,
    absent: Option<&'a BitSlice<u8, Lsb0>>,
    /// The column of values.
    pub(crate) values: &'a [u8],
}

impl Rows {
    /// Which rows of a column have these timestamps, which ascend; `None` if one of them is not there.
    pub(crate) fn find(column: u64, all: &[i64], t: &[i64]) -> Option<Rows> {
        let (&first_t, &last_t) = (t.first()?, t.last()?);
        let first = all.binary_search(&first_t).ok()?;
        let span = all.get(first..)?.partition_point(|&t| t <= last_t);
        let part = all.get(first..first + span)?;
        if part == t {
            return Some(Rows { column, first, rows: t.len(), absent: BitVec::new() });
        }
        let mut wanted = t.iter().peekable();
        let absent: BitVec<u8, Lsb0> = part.iter().map(|t| wanted.next_if_eq(&t).is_none()).collect();
        wanted.peek().is_none().then_some(Rows { column, first, rows: t.len(), absent })
    }

    /// Appends the payload of a chunk with these values.
    pub(crate) fn encode(&self, values: &[u8], out: &mut Vec<u8>) {
        out.put_varint(self.rows as u64);
        out.put_varint(self.column);
        let has_absent = if self.absent.is_empty() { 0 } else { HAS_ABSENT };
        out.put_varint((self.first as u64) << 1 | has_absent);
        if has_absent != 0 {
            out.put_varint(self.absent.len() as u64);
            let mut bits = self.absent.clone();
            bits.set_uninitialized(false);
            out.extend_from_slice(bits.as_raw_slice());
        }
        out.extend_from_slice(values);
    }
}

impl<'a> Payload<'a> {
    /// Looks into a payload.
    pub(crate) fn decode(payload: &'a [u8]) -> Result<Payload<'a>, DecodeError> {
        let mut r = Reader::new(STRUCTURE, payload);
        let rows = r.count(MAX_ROWS)?;
        if rows == 0 {
            return Err(r.invalid("a chunk has no rows"));
        }
        let column = r.varint()?;
        let place = r.count(2 * MAX_ROWS + 1)?;
        let first = place >> 1;
        let (span, absent) = match place as u64 & HAS_ABSENT {
            0 => (rows, None),
            _ => absent(&mut r, rows).map(|(span, bits)| (span, Some(bits)))?,
        };
        let values = r.bytes(r.remaining())?;
        Ok(Payload { rows, column, first, span, absent, values })
    }

    /// Appends the timestamps of the rows to `out`, given the column.
    pub(crate) fn times(&self, column: &[i64], out: &mut Vec<i64>) -> Result<(), DecodeError> {
        let part = self.first.checked_add(self.span).and_then(|end| column.get(self.first..end));
        let Some(part) = part else {
            let reason =
                DecodeReason::Invalid("the column of timestamps has fewer rows than the chunk takes");
            return Err(DecodeError::new(STRUCTURE, 0, reason));
        };
        match self.absent {
            None => out.extend_from_slice(part),
            Some(absent) => out.extend(absent.iter_zeros().filter_map(|row| part.get(row))),
        }
        Ok(())
    }

    /// What is wrong if there are no columns of timestamps at all.
    pub(crate) fn without_column(&self) -> DecodeError {
        DecodeError::new(STRUCTURE, 0, DecodeReason::Invalid("the block has no columns of timestamps"))
    }

    /// Whether the rows are all of a column of so many.
    pub(crate) fn is_all_of(&self, column_rows: usize) -> bool {
        self.first == 0 && self.absent.is_none() && self.rows == column_rows
    }

    /// Appends the values of some of the rows to `out`; on an error `out` is as it was.
    pub(crate) fn decode_values(&self, wanted: Range<usize>, out: &mut Vec<f64>) -> Result<(), DecodeError> {
        match wanted.is_empty() {
            true => Ok(()),
            false => values::decode(self.values, self.rows, wanted, out),
        }
    }
}

/// The rows from the first to the last, and which of them are absent.
fn absent<'a>(r: &mut Reader<'a>, rows: usize) -> Result<(usize, &'a BitSlice<u8, Lsb0>), DecodeError> {
    let span = r.count(MAX_ROWS)?;
    let start = r.clone();
    let bits = BitSlice::<u8, Lsb0>::from_slice(r.bytes(span.div_ceil(8))?);
    let (inside, padding) = bits.split_at(span.min(bits.len()));
    let ends = inside.first().as_deref() == Some(&false) && inside.last().as_deref() == Some(&false);
    match ends && inside.count_zeros() == rows && rows < span && padding.not_any() {
        true => Ok((span, inside)),
        false => Err(start.invalid("the absent rows are not those between the first and the last")),
    }
}

/// The property that fuzzing checks: an accepted payload is written back as it was, and its rows are found again; values that
/// decode round trip, and any stretch of them is found alone.
pub(crate) fn fuzz(data: &[u8]) {
    check_values(&values_from_recipe(data));
    let Ok(payload) = Payload::decode(data) else { return };
    let mut t = Vec::new();
    let all: Vec<i64> = (0..).take(payload.first + payload.span).collect();
    assert_eq!(payload.times(&all, &mut t), Ok(()));
    let rows = Rows::find(payload.column, &all, &t);
    let mut written = Vec::new();
    if let Some(rows) = &rows {
        rows.encode(payload.values, &mut written);
    }
    assert_eq!(written, data, "a payload is not written back as it was");

    let mut v = Vec::new();
    let decoded = payload.decode_values(0..payload.rows, &mut v);
    if decoded.is_ok() {
        assert_eq!(v.len(), payload.rows);
        check_stretch(payload.values, &v, v.len() / 3..v.len() / 2 + 1);
        check_values(&v);
    } else {
        assert!(v.is_empty());
    }
}

/// Checks that values are read back to the bit.
fn check_values(v: &[f64]) {
    let coded = values::encode(v);
    check_stretch(&coded, v, 0..v.len());
    check_stretch(&coded, v, v.len() / 2..v.len());
}

fn check_stretch(coded: &[u8], v: &[f64], wanted: Range<usize>) {
    let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let mut found = Vec::new();
    assert_eq!(values::decode(coded, v.len(), wanted.clone(), &mut found), Ok(()));
    assert_eq!(Some(bits(&found)), v.get(wanted.clone()).map(bits), "{wanted:?}");
}

/// Values of many shapes, from any bytes.
fn values_from_recipe(data: &[u8]) -> Vec<f64> {
    let (mut v, mut step, mut scale) = (0.0, 0.0, 1.0);
    let mut out = vec![0.0];
    for &[what, count] in data.as_chunks::<2>().0.iter().take(600) {
        let n = f64::from(count);
        match what % 10 {
            0 => step = n,
            1 => scale = 10f64.powi(i32::from(count % 20)),
            2 => v = n,
            3 => v = f64::from_bits(v.to_bits() ^ u64::from(count) << (what % 57)),
            4 => out.push(f64::from_bits(0x7ff0_0000_0000_0002)),
            5 => out.extend([-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].get(usize::from(count % 4))),
            6 => out.extend(std::iter::repeat_n(v / scale, count.into())),
            7 => v *= n * 1e12,
            8 => v -= n / 3.0,
            _ => v += n,
        }
        v += step;
        out.push(v / scale);
    }
    out
}
