//! `spill/n`: the sorted samples of a running import, on their way to blocks.
//!
//! ```text
//!   file:   header │ unit │ unit │ … │ end unit
//!   header: magic:u32 version:u32 salt:u32 crc:u32                              16 bytes
//!   unit:   body_bytes:u32  body  crc:u32         the checksum is of length and body
//!   body:   kind:u8 = 1  entry+                   samples
//!           kind:u8 = 2  rows:varint entries:varint min_t:i64 max_t:i64         the end
//!   entry:  shared:varint  suffix_bytes:varint suffix  rows:varint  column_bytes:varint
//!           t0:zigzag (dt:varint)*                the timestamps, none before the one before it
//!           (tag:u8 bytes)*                       the values: XOR with the value before; or, if column_bytes > 0,
//!           column                                the values as a block has them: `columns`
//! ```
//!
//! Entries are in label order. The labels (canonical form) are front-coded against the entry
//! before in the same unit: `shared` bytes of it, as many as agree, then `suffix`. A series with
//! more rows than one entry takes goes on in entries with the same labels and no earlier times.
//! Rows with equal timestamps are kept in the order in which they came: which of them wins, and
//! which is a mere repetition, is decided once, when the runs are merged, so that the verdicts do
//! not depend on where a run happened to end.
//!
//! A value is the XOR of its bits with those of the value before in the entry (0 before the
//! first), without leading and trailing zero bytes: `tag = leading << 4 | kept`, then the kept
//! bytes, little-endian; a tag of 0 repeats the value. Whole bytes and no bits, since a run is
//! written and read once and lives for minutes: speed counts for more than the last bit. What was packed in memory stays so: a
//! *column* of values, whose timestamps ascend, goes through the run to the block as it is.
//!
//! Checksums start from salt and file offset ([`seed`]), so that a unit read at another place or
//! of another run does not pass. Everything has one form: what decodes encodes to the same bytes.
//!
//! Cost: about 3 to 9 bytes a sample, in columns 2 to 4; a reader holds one unit (64 KiB, above it only for label
//! sets of that size) and one entry's rows (2,048).

use std::ops::Range;

use super::columns::values;
use super::cursor::{Reader, Write, checked, crc, seal};
use crate::error::{DecodeError, DecodeReason};
use crate::model::{Columns, MAX_LABELS_BYTES};

/// The name of this structure in errors and of its page.
pub(crate) const STRUCTURE: &str = "spill_run";
/// The first four bytes, as a little-endian number: `SBSP` in ASCII.
pub(crate) const MAGIC: u32 = 0x5053_4253;
/// The version that this build writes, and the only one that it reads.
pub(crate) const VERSION: u32 = 1;
/// The length of the header.
pub(crate) const HEADER_BYTES: usize = 16;
/// A writer closes a unit once its body has reached this.
pub(crate) const UNIT_TARGET_BYTES: usize = 65_536;
/// The largest body of a unit: a full one, and then one more entry with the largest labels.
pub(crate) const MAX_BODY_BYTES: usize = 262_144;
/// The most rows of one entry.
pub(crate) const MAX_ENTRY_ROWS: usize = 2_048;
/// The longest column of values.
pub(crate) const MAX_COLUMN_BYTES: usize = 32_768;
/// The kind of a unit that holds entries.
pub(crate) const KIND_ENTRIES: u8 = 1;
/// The kind of the last unit.
pub(crate) const KIND_END: u8 = 2;
/// The length before and the checksum after a body.
pub(crate) const UNIT_FRAME_BYTES: usize = 8;

/// What the last unit says of the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Rows in all entries.
    pub(crate) rows: u64,
    /// The number of entries.
    pub(crate) entries: u64,
    /// The earliest timestamp.
    pub(crate) min_t: i64,
    /// The latest timestamp.
    pub(crate) max_t: i64,
}

impl Default for End {
    /// Of a run without rows: the earliest is above the latest.
    fn default() -> End {
        End { rows: 0, entries: 0, min_t: i64::MAX, max_t: i64::MIN }
    }
}

impl End {
    /// Counts one entry; its timestamps are in order.
    pub(crate) fn count(&mut self, t: &[i64]) {
        if let (Some(&first), Some(&last)) = (t.first(), t.last()) {
            self.rows = self.rows.saturating_add(t.len() as u64);
            self.entries = self.entries.saturating_add(1);
            self.min_t = self.min_t.min(first);
            self.max_t = self.max_t.max(last);
        }
    }
}

/// The body of one unit, verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit<'a> {
    /// Entries, for [`decode_entry`].
    Entries(&'a [u8]),
    /// The end of the run.
    End(End),
}

/// What every checksum of a unit starts from.
pub(crate) fn seed(salt: u32, offset: u64) -> u32 {
    let mut place = Vec::with_capacity(8);
    place.put_u64(offset);
    crc(salt, &place)
}

/// Appends the header.
pub(crate) fn encode_header(salt: u32, out: &mut Vec<u8>) {
    let from = out.len();
    out.put_u32(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(salt);
    seal(out, from, 0);
}

/// Checks the first [`HEADER_BYTES`] of a run and returns its salt.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<u32, DecodeError> {
    let mut r = Reader::new(STRUCTURE, bytes);
    if r.u32()? != MAGIC {
        return Err(DecodeError::new(STRUCTURE, 0, DecodeReason::BadMagic));
    }
    let mut r = Reader::new(STRUCTURE, checked(STRUCTURE, 0, bytes)?);
    r.u32()?;
    let found = r.u32()?;
    match found {
        VERSION => {}
        0 => return Err(r.invalid("a format version of 0")),
        _ => return Err(r.error(DecodeReason::NewerVersion { found, known: VERSION })),
    }
    let salt = r.u32()?;
    r.finish()?;
    Ok(salt)
}

/// Collects the entries of one unit.
#[derive(Debug, Default)]
pub(crate) struct UnitBuilder {
    body: Vec<u8>,
    labels: Vec<u8>,
}

impl UnitBuilder {
    /// The length of the body so far.
    pub(crate) fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// The memory that it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.body.capacity() + self.labels.capacity()
    }

    /// Adds an entry: labels in canonical form, none before those of the entry before; 1 to
    /// [`MAX_ENTRY_ROWS`] rows, in time order. The caller closes the unit in time, so that the
    /// body stays below [`UNIT_TARGET_BYTES`] before each entry.
    pub(crate) fn push(&mut self, labels: &[u8], t: &[i64], v: &[f64]) {
        debug_assert!(t.len() == v.len());
        self.begin(labels, t, 0);
        encode_values(v, &mut self.body);
    }

    /// As [`push`](UnitBuilder::push), with a column of values, of 1 to [`MAX_COLUMN_BYTES`]; timestamps ascend.
    pub(crate) fn push_column(&mut self, labels: &[u8], t: &[i64], column: &[u8]) {
        debug_assert!((1..=MAX_COLUMN_BYTES).contains(&column.len()));
        self.begin(labels, t, column.len());
        self.body.extend_from_slice(column);
    }

    fn begin(&mut self, labels: &[u8], t: &[i64], column_bytes: usize) {
        debug_assert!((1..=MAX_ENTRY_ROWS).contains(&t.len()));
        debug_assert!(self.body.len() < UNIT_TARGET_BYTES);
        if self.body.is_empty() {
            self.body.put_u8(KIND_ENTRIES);
        }
        let shared = shared_bytes(&self.labels, labels);
        self.body.put_varint(shared as u64);
        self.body.put_sized(labels.get(shared..).unwrap_or_default());
        self.labels.clear();
        self.labels.extend_from_slice(labels);
        self.body.put_varint(t.len() as u64);
        self.body.put_varint(column_bytes as u64);
        encode_times(t, &mut self.body);
    }

    /// Appends the finished unit, which will stand at `offset`, and starts the next one.
    pub(crate) fn finish(&mut self, salt: u32, offset: u64, out: &mut Vec<u8>) {
        seal_unit(&self.body, salt, offset, out);
        self.body.clear();
        self.labels.clear();
    }
}

/// Appends the last unit, which will stand at `offset`.
pub(crate) fn encode_end(end: &End, salt: u32, offset: u64, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(40);
    body.put_u8(KIND_END);
    body.put_varint(end.rows);
    body.put_varint(end.entries);
    body.put_i64(end.min_t);
    body.put_i64(end.max_t);
    seal_unit(&body, salt, offset, out);
}

fn seal_unit(body: &[u8], salt: u32, offset: u64, out: &mut Vec<u8>) {
    let from = out.len();
    // A body is at most MAX_BODY_BYTES; a larger one could not be read back, and saturates to that end.
    out.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(body);
    seal(out, from, seed(salt, offset));
}

/// The length of a whole unit, frame included, from its first four bytes.
pub(crate) fn unit_bytes(first: [u8; 4]) -> Result<usize, DecodeError> {
    let mut r = Reader::new(STRUCTURE, &first);
    let body = r.u32()?;
    match usize::try_from(body) {
        Ok(0) => Err(DecodeError::new(STRUCTURE, 0, DecodeReason::Invalid("a unit without a body"))),
        Ok(n) if n <= MAX_BODY_BYTES => Ok(n + UNIT_FRAME_BYTES),
        _ => {
            let (found, maximum) = (u64::from(body), MAX_BODY_BYTES as u64);
            Err(DecodeError::new(STRUCTURE, 0, DecodeReason::AboveMaximum { found, maximum }))
        }
    }
}

/// Verifies one whole unit that stands at `offset`, exactly as long as [`unit_bytes`] says.
/// Error offsets count from the start of the unit.
pub(crate) fn decode_unit(salt: u32, offset: u64, bytes: &[u8]) -> Result<Unit<'_>, DecodeError> {
    let mut r = Reader::new(STRUCTURE, checked(STRUCTURE, seed(salt, offset), bytes)?);
    let stated = u64::from(r.u32()?);
    if stated != r.remaining() as u64 {
        return Err(DecodeError::new(STRUCTURE, 0, DecodeReason::Invalid("a unit of another length")));
    }
    match r.u8()? {
        KIND_ENTRIES if r.remaining() == 0 => Err(r.invalid("a unit without entries")),
        KIND_ENTRIES => Ok(Unit::Entries(r.bytes(r.remaining())?)),
        KIND_END => decode_end(r).map(Unit::End),
        _ => Err(DecodeError::new(STRUCTURE, 4, DecodeReason::Invalid("an unknown kind of unit"))),
    }
}

fn decode_end(mut r: Reader<'_>) -> Result<End, DecodeError> {
    let end = End { rows: r.varint()?, entries: r.varint()?, min_t: r.i64()?, max_t: r.i64()? };
    r.finish()?;
    Ok(end)
}

/// Offset within a unit at which [`Unit::Entries`] starts: after the length and the kind.
pub(crate) const ENTRIES_OFFSET: u64 = 5;

/// Where the parts of an entry are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Where the next entry starts.
    pub(crate) next: usize,
    /// The column that the values are, if they are one.
    pub(crate) column: Option<Range<usize>>,
}

/// Decodes the entry that starts `at` bytes into `entries`: brings `labels` up to date (they are
/// those of the entry before, empty at the start of a unit), replaces `rows`, says where the
/// next entry starts. Labels are not checked beyond their length; order among entries neither.
pub(crate) fn decode_entry(
    entries: &[u8],
    at: usize,
    labels: &mut Vec<u8>,
    rows: &mut Columns,
) -> Result<Decoded, DecodeError> {
    let mut r = Reader::new(STRUCTURE, entries);
    r.bytes(at)?;
    if at + 1 >= UNIT_TARGET_BYTES {
        return Err(r.invalid("an entry in a unit that was full before it"));
    }
    decode_labels(&mut r, labels)?;
    let count = r.count(MAX_ENTRY_ROWS)?;
    if count == 0 {
        return Err(r.invalid("an entry without rows"));
    }
    let column_bytes = r.count(MAX_COLUMN_BYTES)?;
    // Each row has a byte of time, and a byte of value at least, unless there is a column.
    let least = if column_bytes > 0 { count + column_bytes } else { 2 * count };
    if r.remaining() < least {
        return Err(r.error(DecodeReason::Truncated));
    }
    rows.clear();
    decode_times(&mut r, count, &mut rows.t)?;
    if column_bytes == 0 {
        decode_values(&mut r, count, &mut rows.v)?;
        return Ok(Decoded { next: r.offset(), column: None });
    }
    if rows.t.iter().zip(rows.t.iter().skip(1)).any(|(a, b)| a == b) {
        return Err(r.invalid("a timestamp twice beside a column"));
    }
    let from = r.offset();
    let column = r.bytes(column_bytes)?;
    values::decode(column, count, 0..count, &mut rows.v)?;
    Ok(Decoded { next: r.offset(), column: Some(from..r.offset()) })
}

fn decode_labels(r: &mut Reader<'_>, labels: &mut Vec<u8>) -> Result<(), DecodeError> {
    let shared = r.count(labels.len())?;
    let suffix = r.sized_bytes(MAX_LABELS_BYTES)?;
    if suffix.len() + shared > MAX_LABELS_BYTES {
        return Err(r.invalid("a label set above its largest size"));
    }
    if labels.get(shared).is_some_and(|next| suffix.first() == Some(next)) {
        return Err(r.invalid("labels that share more with those before than is said"));
    }
    labels.truncate(shared);
    labels.extend_from_slice(suffix);
    Ok(())
}

/// How many bytes two byte strings have in common at their start.
fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

fn encode_times(t: &[i64], out: &mut Vec<u8>) {
    let Some((&first, rest)) = t.split_first() else { return };
    out.put_zigzag(first);
    let mut previous = first;
    for &t in rest {
        // In order, so the true difference fits 64 bits unsigned, and wrapping gives it.
        out.put_varint(t.wrapping_sub(previous).cast_unsigned());
        previous = t;
    }
}

fn decode_times(r: &mut Reader<'_>, count: usize, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    out.reserve(count);
    let mut t = r.zigzag()?;
    out.push(t);
    for _ in 1..count {
        let delta = r.varint()?;
        t = t.checked_add_unsigned(delta).ok_or_else(|| r.invalid("a timestamp above 64 bits"))?;
        out.push(t);
    }
    match t {
        i64::MAX => Err(r.invalid("the reserved timestamp")),
        _ => Ok(()),
    }
}

fn encode_values(v: &[f64], out: &mut Vec<u8>) {
    let mut previous = 0u64;
    for v in v {
        let bits = v.to_bits();
        let xor = bits ^ previous;
        previous = bits;
        if xor == 0 {
            out.push(0);
            continue;
        }
        let (leading, trailing) = (xor.leading_zeros() / 8, xor.trailing_zeros() / 8);
        let kept = 8 - leading - trailing;
        out.push((((leading << 4) | kept) & 0xff) as u8);
        let bytes = (xor >> (8 * trailing)).to_le_bytes();
        out.extend(bytes.iter().take(kept as usize));
    }
}

fn decode_values(r: &mut Reader<'_>, count: usize, out: &mut Vec<f64>) -> Result<(), DecodeError> {
    out.reserve(count);
    let mut bits = 0u64;
    for _ in 0..count {
        let tag = r.u8()?;
        if tag != 0 {
            bits ^= decode_xor(r, tag)?;
        }
        out.push(f64::from_bits(bits));
    }
    Ok(())
}

fn decode_xor(r: &mut Reader<'_>, tag: u8) -> Result<u64, DecodeError> {
    let (leading, kept) = (u32::from(tag >> 4), u32::from(tag & 0xf));
    let Some(trailing) = 8u32.checked_sub(leading + kept).filter(|_| kept > 0) else {
        return Err(r.invalid("the tag of a value is none"));
    };
    let kept_bytes = r.bytes(kept as usize)?;
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(kept_bytes) {
        *to = *from;
    }
    let xor = u64::from_le_bytes(bytes) << (8 * trailing);
    match xor.leading_zeros() / 8 == leading && xor.trailing_zeros() / 8 == trailing {
        true => Ok(xor),
        false => Err(r.invalid("a value in another than its shortest form")),
    }
}

/// A whole run in memory, unit by unit: for tests and fuzzing.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    salt: u32,
    units: Vec<Vec<Entry>>,
    end: End,
}

/// One entry of a [`Run`]; values as bits, so that equality is that of bits.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    labels: Vec<u8>,
    t: Vec<i64>,
    bits: Vec<u64>,
    column: Option<Vec<u8>>,
}

impl Entry {
    fn new(labels: &[u8], rows: &Columns, column: Option<&[u8]>) -> Entry {
        let bits = rows.v.iter().map(|v| v.to_bits()).collect();
        Entry { labels: labels.to_vec(), t: rows.t.clone(), bits, column: column.map(<[u8]>::to_vec) }
    }
}

fn decode_entries(entries: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let (mut labels, mut rows, mut at) = (Vec::new(), Columns::default(), 0);
    let mut out = Vec::new();
    while at < entries.len() {
        let decoded = decode_entry(entries, at, &mut labels, &mut rows)?;
        out.push(Entry::new(&labels, &rows, decoded.column.and_then(|column| entries.get(column))));
        at = decoded.next;
    }
    Ok(out)
}

fn decode_run(bytes: &[u8]) -> Result<Run, DecodeError> {
    let truncated = |at: usize| DecodeError::new(STRUCTURE, at as u64, DecodeReason::Truncated);
    let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(truncated(bytes.len()))?;
    let (salt, mut units, mut counted) = (decode_header(header)?, Vec::new(), End::default());
    loop {
        let at = bytes.len() - rest.len();
        let first = rest.first_chunk::<4>().ok_or(truncated(at))?;
        let (unit, after) = rest.split_at_checked(unit_bytes(*first)?).ok_or(truncated(at))?;
        rest = after;
        match decode_unit(salt, at as u64, unit)? {
            Unit::Entries(entries) => {
                let entries = decode_entries(entries)?;
                entries.iter().for_each(|e| counted.count(&e.t));
                units.push(entries);
            }
            Unit::End(_) if !rest.is_empty() => {
                return Err(DecodeError::new(STRUCTURE, at as u64, DecodeReason::TrailingBytes));
            }
            Unit::End(end) if end == counted => return Ok(Run { salt, units, end }),
            Unit::End(_) => {
                return Err(DecodeError::new(STRUCTURE, at as u64, DecodeReason::Invalid("other counts")));
            }
        }
    }
}

fn encode_run(run: &Run) -> Vec<u8> {
    let mut out = Vec::new();
    encode_header(run.salt, &mut out);
    for entries in &run.units {
        let mut unit = UnitBuilder::default();
        push_entries(entries, &mut unit);
        let at = out.len() as u64;
        unit.finish(run.salt, at, &mut out);
    }
    let at = out.len() as u64;
    encode_end(&run.end, run.salt, at, &mut out);
    out
}

fn push_entries(entries: &[Entry], unit: &mut UnitBuilder) {
    for e in entries {
        let v: Vec<f64> = e.bits.iter().map(|b| f64::from_bits(*b)).collect();
        match &e.column {
            Some(column) => unit.push_column(&e.labels, &e.t, column),
            None => unit.push(&e.labels, &e.t, &v),
        }
    }
}

/// The property that fuzzing checks: what decodes encodes to the same bytes; as a whole run, and
/// as the bare entries of a unit, which random bytes reach without a valid checksum.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(run) = decode_run(data) {
        assert!(encode_run(&run) == data, "a run has another form");
    }
    let entries = data.get(..UNIT_TARGET_BYTES).unwrap_or(data);
    if let Ok(decoded) = decode_entries(entries) {
        let mut unit = UnitBuilder::default();
        push_entries(&decoded, &mut unit);
        assert!(unit.body.get(1..).unwrap_or_default() == entries, "entries have another form");
    }
}

#[cfg(test)]
mod tests;
