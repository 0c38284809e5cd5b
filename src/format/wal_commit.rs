//! The payload of a commit record: series at their first use in the segment, and columns of samples.
//!
//! ```text
//!   base_t: zigzag                          the first sample's timestamp
//!   strings: varint, then sized str each    they get the next numbers of the segment's string table
//!   series: varint, then each               they get the next numbers of the segment's series
//!       pairs: varint (1 to 1,024), pairs × (name: varint, value: varint)      numbers of strings
//!   rows: varint                            at most 4,194,304; the rest is there only if above 0
//!   series column, runs until all rows are covered:
//!       start: zigzag                       minus (the series before + 1); at first minus 0
//!       (length - 1) × 2 + same: varint     same = 0: start, start + 1, …    same = 1: start, start, …
//!   time column:
//!       mode: u8 = 0, runs until all rows are covered: step: zigzag, length - 1: varint
//!       mode: u8 = 1, rows × step: zigzag   step: t minus the t before it; at first minus base_t
//!   value column:
//!       tags: a nibble each, the first row in the low half of the first byte, the last half zero
//!       words: as many bytes as the tags say, little-endian
//! ```
//!
//! A value is told against the value `p` that its series had before in this segment (bits 0 at first):
//!
//! | tag | bytes | the value's bits |
//! |---|---|---|
//! | 0 | 0 | those of p |
//! | 1 2 3 4 5 | 1 2 3 4 6 | p and the value are integers up to 2^53: zigzag of the difference |
//! | 6 7 8 9 | 2 3 4 5 | p XOR the word in the upper bytes |
//! | 10 11 12 13 | 5 6 7 8 | p XOR the word in the lower bytes |
//! | 14 | 1 + len | decimals: `e + 4 × len`, then zigzag of the difference in units of 10^-(e+1), e 0 to 3, len 1 to 6 |
//! | 15 | 0 | the staleness marker |
//!
//! All series of a scrape share a timestamp and come in the order of their numbers, so that both
//! columns are single runs; a series alone in a batch is a run too. Every value is kept to the bit: a
//! form that does not give back the same bits is not used. Other encoders may choose among the forms.
//!
//! Invariant: writer and reader keep a [`State`] in step, from the first record of the segment on.
//! After an error it is undefined, and so is what follows in the segment. Cost: no allocation for each
//! row; a reader allocates at most 24 bytes for each half byte of payload, and never above the maximum.

use crate::error::DecodeError;
use crate::format::cursor::{Reader, Write, unzigzag, zigzag};
use crate::model::{MAX_LABEL_VALUE_BYTES, MAX_LABELS, STALE};

/// The name of this structure's page.
const STRUCTURE: &str = "wal_commit";
/// The most samples in one record.
pub(crate) const MAX_ROWS: usize = 4_194_304;
/// The longest string, in bytes.
pub(crate) const MAX_STRING_BYTES: usize = 65_535;
/// The most label pairs of a series.
pub(crate) const MAX_PAIRS: usize = 1_024;
/// The largest integer (and decimal significand) that is told as a difference: 2^53.
pub(crate) const MAX_INTEGER: i64 = 9_007_199_254_740_992;

/// The time column holds runs of equal steps.
pub(crate) const TIME_RUNS: u8 = 0;
/// The time column holds a step for each row.
pub(crate) const TIME_STEPS: u8 = 1;

/// The value is that before.
pub(crate) const TAG_SAME: u8 = 0;
/// The first tag of differences of integers.
pub(crate) const TAG_INTEGER: u8 = 1;
/// The first tag of XORs whose lower bytes are zero.
pub(crate) const TAG_XOR_UPPER: u8 = 6;
/// The first tag of XORs whose upper bytes are zero.
pub(crate) const TAG_XOR_LOWER: u8 = 10;
/// Differences of decimals.
pub(crate) const TAG_DECIMAL: u8 = 14;
/// The staleness marker.
pub(crate) const TAG_STALE: u8 = 15;

/// Word bytes by tag; those of decimals stand in their first byte.
const WORD_BYTES: [u8; 16] = [0, 1, 2, 3, 4, 6, 2, 3, 4, 5, 5, 6, 7, 8, 1, 0];
/// 1.5 × 2^52: adding and taking it away rounds to an integer.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// The sign and exponent of what has an integer in its lower bits: of a number from 2^52 to 2^53.
const ROUND_EXPONENT: u64 = 0x433;
/// Tag and word bytes of a difference of integers, by its significant bytes; none beyond six.
const INTEGERS: [(u8, u8); 9] =
    [(TAG_SAME, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (5, 6), NO_INTEGER, NO_INTEGER];
/// What is told otherwise.
const NO_INTEGER: (u8, u8) = (0, u8::MAX);
/// The scales of decimals, by exponent.
const SCALES: [f64; 4] = [10.0, 100.0, 1_000.0, 10_000.0];

const _: () = assert!(MAX_STRING_BYTES == MAX_LABEL_VALUE_BYTES && MAX_PAIRS == MAX_LABELS);

/// One sample of a commit. Equal by bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    /// The series; whose numbers these are is up to the layer.
    pub(crate) series: u32,
    /// Milliseconds since 1970.
    pub(crate) t: i64,
    /// The value, with all its bits.
    pub(crate) v: f64,
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        (self.series, self.t, self.v.to_bits()) == (other.series, other.t, other.v.to_bits())
    }
}

/// What the commits of a segment have told so far; writer and reader keep it in step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    strings: u32,
    /// The bits of each series' last value.
    previous: Vec<u64>,
}

impl State {
    /// The number of strings told, which is the number of the next one.
    pub(crate) fn strings(&self) -> u32 {
        self.strings
    }

    /// The number of series told, which is the number of the next one; `None` if there can be no more.
    pub(crate) fn next_series(&self) -> Option<u32> {
        u32::try_from(self.previous.len()).ok().filter(|n| *n < u32::MAX)
    }

    /// Back to the start of a segment, keeping the allocation.
    pub(crate) fn clear(&mut self) {
        self.strings = 0;
        self.previous.clear();
    }
}

/// What takes a [`State`] back to before a record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Undo {
    strings: u32,
    series: usize,
    /// The value that each row's series had before; what is behind `rows` is of no meaning.
    values: Vec<u64>,
    /// How many rows were encoded.
    rows: usize,
}

impl Undo {
    /// Remembers where `state` is; to be called before the first string or series of a record is told.
    pub(crate) fn begin(&mut self, state: &State) {
        self.strings = state.strings;
        self.series = state.previous.len();
        self.rows = 0;
    }

    /// The number of strings at [`begin`](Undo::begin).
    pub(crate) fn strings(&self) -> u32 {
        self.strings
    }

    /// Takes `state` back to [`begin`](Undo::begin); `numbers` are those of the rows since.
    pub(crate) fn roll_back(&mut self, numbers: &[u32], state: &mut State) {
        let values = self.values.get(..self.rows).unwrap_or_default();
        for (&number, &bits) in numbers.iter().zip(values).rev() {
            if let Some(previous) = state.previous.get_mut(number as usize) {
                *previous = bits;
            }
        }
        self.rows = 0;
        state.strings = self.strings;
        state.previous.truncate(self.series);
    }
}

/// Strings and series that a record tells, being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    strings: u32,
    string_bytes: Vec<u8>,
    series: u32,
    series_bytes: Vec<u8>,
}

impl News {
    /// Forgets everything, keeping the allocations.
    pub(crate) fn clear(&mut self) {
        self.strings = 0;
        self.string_bytes.clear();
        self.series = 0;
        self.series_bytes.clear();
    }

    /// Tells a string of at most [`MAX_STRING_BYTES`]. Its number is [`State::strings`] before the call.
    pub(crate) fn add_string(&mut self, state: &mut State, string: &str) {
        self.string_bytes.put_sized(string.as_bytes());
        self.strings += 1;
        state.strings += 1;
    }

    /// Tells a series. Its number is [`State::next_series`] before the call.
    pub(crate) fn add_series(&mut self, state: &mut State, pairs: &[(u32, u32)]) {
        self.series_bytes.put_varint(pairs.len() as u64);
        for &(name, value) in pairs {
            self.series_bytes.put_varint(u64::from(name));
            self.series_bytes.put_varint(u64::from(value));
        }
        self.series += 1;
        state.previous.push(0);
    }
}

/// Strings and series that a record told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told<'a> {
    /// The new strings, in order of their numbers.
    pub(crate) strings: Vec<&'a str>,
    /// For each new series, how many of `pairs` it has.
    pub(crate) series: Vec<u32>,
    /// The numbers of names and values of all new series, one after the other.
    pub(crate) pairs: Vec<(u32, u32)>,
}

/// Room for the value column, reused from record to record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoder {
    /// The tag of each row.
    tags: Vec<u8>,
    words: Vec<u8>,
    /// The difference of each row as an integer, zigzagged; all bits set where it is none.
    differences: Vec<u64>,
}

impl Encoder {
    /// Appends the payload. `numbers` are the rows' series in `state`, which has them all (what is new
    /// was told in `news`); `undo` was begun before that. At most [`MAX_ROWS`] rows.
    pub(crate) fn encode(
        &mut self,
        news: &News,
        (rows, numbers): (&[Row], &[u32]),
        (state, undo): (&mut State, &mut Undo),
        out: &mut Vec<u8>,
    ) {
        let base_t = rows.first().map_or(0, |r| r.t);
        out.put_zigzag(base_t);
        out.put_varint(u64::from(news.strings));
        out.extend_from_slice(&news.string_bytes);
        out.put_varint(u64::from(news.series));
        out.extend_from_slice(&news.series_bytes);
        out.put_varint(rows.len() as u64);
        if rows.is_empty() {
            return;
        }
        encode_series(numbers, out);
        encode_times(base_t, rows, out);
        let word_bytes = self.encode_values(rows, numbers, state, undo);
        let (pairs, last) = self.tags.get(..rows.len()).unwrap_or_default().as_chunks::<2>();
        out.extend(pairs.iter().map(|[low, high]| low | high << 4));
        out.extend_from_slice(last);
        out.extend_from_slice(self.words.get(..word_bytes).unwrap_or_default());
    }

    /// Fills in tags and words; how many bytes of the words count.
    ///
    /// In three passes, so that the compiler takes several rows at once in the second one.
    fn encode_values(&mut self, rows: &[Row], numbers: &[u32], state: &mut State, undo: &mut Undo) -> usize {
        let count = rows.len();
        // Whole words are written, and then only as many bytes of them counted as are needed.
        make_room(&mut self.words, count * 8 + 8);
        make_room(&mut self.tags, count);
        make_room(&mut self.differences, count);
        make_room(&mut undo.values, count);
        undo.rows = count;
        exchange(rows, numbers, &mut state.previous, &mut undo.values);
        for ((difference, row), before) in self.differences.iter_mut().zip(rows).zip(&undo.values) {
            *difference = integer_word(*before, row.v.to_bits());
        }
        let mut at = 0;
        let told = self.differences.iter().zip(rows).zip(&undo.values);
        for (tag, ((&difference, row), before)) in self.tags.iter_mut().zip(told) {
            let mut word = difference;
            let (mut this, mut bytes) =
                INTEGERS.get(significant_bytes(difference)).copied().unwrap_or(NO_INTEGER);
            if bytes == NO_INTEGER.1 {
                (this, word, bytes) = tell(*before, row.v.to_bits());
            }
            *tag = this;
            if let Some(place) = self.words.get_mut(at..).and_then(|words| words.first_chunk_mut()) {
                *place = word.to_le_bytes();
            }
            at += usize::from(bytes);
        }
        at
    }
}

/// Puts each row's value into its series' place, and what was there into `before`.
fn exchange(rows: &[Row], numbers: &[u32], previous: &mut [u64], before: &mut [u64]) {
    let start = numbers.first().map_or(0, |first| *first as usize);
    let run = previous.get_mut(start..).and_then(|rest| rest.get_mut(..rows.len()));
    // A scrape's series follow one another.
    let is_run = numbers.first().is_some_and(|first| {
        count_steps(*first, 1, numbers.get(1..).unwrap_or_default()) + 1 == numbers.len()
    });
    if let (Some(run), true) = (run, is_run) {
        for ((row, previous), before) in rows.iter().zip(run).zip(before) {
            *before = std::mem::replace(previous, row.v.to_bits());
        }
        return;
    }
    for ((row, &number), before) in rows.iter().zip(numbers).zip(before) {
        if let Some(previous) = previous.get_mut(number as usize) {
            *before = std::mem::replace(previous, row.v.to_bits());
        }
    }
}

/// The difference of two integers up to 2^51, zigzagged; all bits set if one of them is none.
#[inline(always)]
fn integer_word(previous: u64, bits: u64) -> u64 {
    let (p, v) = (f64::from_bits(previous) + ROUND, f64::from_bits(bits) + ROUND);
    let inexact = ((p - ROUND).to_bits() ^ previous) | ((v - ROUND).to_bits() ^ bits);
    let (p, v) = (p.to_bits(), v.to_bits());
    let beyond = (p >> 52 ^ ROUND_EXPONENT) | (v >> 52 ^ ROUND_EXPONENT);
    let difference = v.wrapping_sub(p);
    // As `zigzag` has it, without a shift that keeps signs, of which plain x86-64 has none for several.
    let word = difference << 1 ^ 0u64.wrapping_sub(difference >> 63);
    if inexact | beyond == 0 { word } else { u64::MAX }
}

/// At least so many places; what was in them stays.
fn make_room<T: Clone + Default>(places: &mut Vec<T>, count: usize) {
    if places.len() < count {
        places.resize(count, T::default());
    }
}

/// Rows looked at together: no branch for each, so that the compiler takes several at once.
const STRIDE: usize = 16;

fn encode_series(numbers: &[u32], out: &mut Vec<u8>) {
    let mut expected = 0i64;
    let mut rest = numbers;
    while let Some((&start, after)) = rest.split_first() {
        let step = u32::from(after.first() != Some(&start));
        let more = count_steps(start, step, after);
        out.put_zigzag(i64::from(start) - expected);
        out.put_varint((more as u64) << 1 | u64::from(step == 0));
        rest = after.get(more..).unwrap_or_default();
        let last = i64::from(start) + i64::from(step) * more.cast_signed() as i64;
        expected = last + 1;
    }
}

/// How many numbers follow `start` in steps of 0 or 1.
fn count_steps(start: u32, step: u32, numbers: &[u32]) -> usize {
    let at = |place: usize| u32::try_from(place + 1).ok().and_then(|n| start.checked_add(step * n));
    let (strides, _) = numbers.as_chunks::<STRIDE>();
    let follow = |(stride, first): (&[u32; STRIDE], usize)| {
        // The last one too is below the maximum.
        let mut expected = at(first).filter(|_| at(first + STRIDE).is_some())?;
        let differences = stride.iter().fold(0, |found, number| {
            let difference = number ^ expected;
            expected += step;
            found | difference
        });
        (differences == 0).then_some(())
    };
    let places = (0..).step_by(STRIDE);
    let whole = strides.iter().zip(places).map_while(follow).count() * STRIDE;
    let rest = numbers.iter().enumerate().skip(whole);
    whole + rest.take_while(|(place, number)| at(*place) == Some(**number)).count()
}

fn encode_times(base_t: i64, rows: &[Row], out: &mut Vec<u8>) {
    let from = out.len();
    let most = if rows.len() > 2 { rows.len() / 2 } else { rows.len() };
    out.put_u8(TIME_RUNS);
    if put_time_runs(base_t, rows, most, out) {
        return;
    }
    out.truncate(from);
    out.put_u8(TIME_STEPS);
    let mut t = base_t;
    for row in rows {
        out.put_zigzag(row.t.wrapping_sub(t));
        t = row.t;
    }
}

/// The first and the last timestamp of the rows, if there are any.
pub(crate) fn times(rows: &[Row]) -> Option<(i64, i64)> {
    let first = rows.first()?.t;
    let others = rows.iter().skip(count_at(first, rows)).map(|row| row.t);
    Some(others.fold((first, first), |(min, max), t| (min.min(t), max.max(t))))
}

/// How many rows, from the first on, are at `t`.
fn count_at(t: i64, rows: &[Row]) -> usize {
    let (strides, _) = rows.as_chunks::<STRIDE>();
    let all = |stride: &&[Row; STRIDE]| stride.iter().fold(0, |found, row| found | (row.t ^ t)) == 0;
    let whole = strides.iter().take_while(all).count() * STRIDE;
    whole + rows.iter().skip(whole).take_while(|row| row.t == t).count()
}

/// Writes runs of equal steps; gives up if there are more than `most`.
fn put_time_runs(base_t: i64, rows: &[Row], most: usize, out: &mut Vec<u8>) -> bool {
    let (mut rest, mut t, mut runs) = (rows, base_t, 0);
    while let Some(first) = rest.first() {
        runs += 1;
        if runs > most {
            return false;
        }
        let step = first.t.wrapping_sub(t);
        let count = if step == 0 {
            count_at(t, rest)
        } else {
            let follows = |row: &&Row| {
                let same = row.t.wrapping_sub(t) == step;
                t = if same { row.t } else { t };
                same
            };
            rest.iter().take_while(follows).count()
        };
        out.put_zigzag(step);
        out.put_varint(count as u64 - 1);
        rest = rest.get(count..).unwrap_or_default();
    }
    true
}

/// The tag, the word, and how many bytes of the word count.
fn tell(previous: u64, bits: u64) -> (u8, u64, u8) {
    if bits == previous {
        return (TAG_SAME, 0, 0);
    }
    if bits == STALE.to_bits() {
        return (TAG_STALE, 0, 0);
    }
    if let (Some(p), Some(v)) = (integer(previous), integer(bits)) {
        // It takes at most 55 bits zigzagged; beyond 48 XOR is taken.
        let word = zigzag(v - p);
        let (tag, bytes) = INTEGERS.get(significant_bytes(word)).copied().unwrap_or(NO_INTEGER);
        if bytes != NO_INTEGER.1 {
            return (tag, word, bytes);
        }
    }
    tell_other(previous, bits)
}

/// The same for what is no short difference of integers.
fn tell_other(previous: u64, bits: u64) -> (u8, u64, u8) {
    let xor = previous ^ bits;
    let lower = significant_bytes(xor).max(5);
    let upper = (8 - (xor.trailing_zeros() / 8) as usize).max(2);
    if upper < lower && upper <= 5 {
        return (TAG_XOR_UPPER + small(upper) - 2, xor >> (64 - 8 * upper), small(upper));
    }
    if let Some((word, bytes)) = decimal_difference(previous, bits).filter(|(_, n)| *n < lower) {
        return (TAG_DECIMAL, word, small(bytes));
    }
    (TAG_XOR_LOWER + small(lower) - 5, xor, small(lower))
}

/// A count of bytes as a tag's offset.
fn small(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(0)
}

#[inline]
fn significant_bytes(word: u64) -> usize {
    8 - (word.leading_zeros() / 8) as usize
}

/// The bits as an integer, if they are exactly one of at most 2^53 (and not the negative zero).
#[inline]
fn integer(bits: u64) -> Option<i64> {
    // Up to 2^51, the sum has the integer in its lower bits: the exponent stays that of 2^52.
    let sum = f64::from_bits(bits) + ROUND;
    let n = sum.to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
    if (sum - ROUND).to_bits() == bits && (-1 << 51..1 << 51).contains(&n) {
        return Some(n);
    }
    large_integer(bits)
}

/// The same, for all of them.
fn large_integer(bits: u64) -> Option<i64> {
    let n = truncate(f64::from_bits(bits));
    ((n as f64).to_bits() == bits && n.unsigned_abs() <= MAX_INTEGER.unsigned_abs()).then_some(n)
}

/// The bits as a multiple of `1 / scale`, if they are exactly what dividing it by `scale` gives.
fn decimal(bits: u64, scale: f64) -> Option<i64> {
    // Beyond 2^51 rounding does nothing good, and the check below fails or holds by itself.
    let n = truncate(f64::from_bits(bits) * scale + ROUND - ROUND);
    let exact = n.unsigned_abs() <= MAX_INTEGER.unsigned_abs() && (n as f64 / scale).to_bits() == bits;
    exact.then_some(n)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, and callers check that the result is exact"
)]
fn truncate(v: f64) -> i64 {
    v as i64
}

/// Word and length of a difference of decimals, with its leading byte.
fn decimal_difference(previous: u64, bits: u64) -> Option<(u64, usize)> {
    for (e, &scale) in SCALES.iter().enumerate() {
        if let (Some(p), Some(v)) = (decimal(previous, scale), decimal(bits, scale)) {
            let word = zigzag(v - p);
            let bytes = significant_bytes(word).max(1);
            return (bytes <= 6).then_some((word << 8 | (e + 4 * bytes) as u64, 1 + bytes));
        }
    }
    None
}

/// Reads a whole payload; `rows` receives the samples, with their series' numbers in `state`.
pub(crate) fn decode<'a>(
    payload: &'a [u8],
    state: &mut State,
    rows: &mut Vec<Row>,
) -> Result<Told<'a>, DecodeError> {
    rows.clear();
    let mut r = Reader::new(STRUCTURE, payload);
    let base_t = r.zigzag()?;
    let told = decode_news(&mut r, state)?;
    let count = r.count(MAX_ROWS)?;
    if count > 0 {
        // The tags alone take half a byte a row.
        if count.div_ceil(2) > r.remaining() {
            return Err(r.invalid("there are more rows than bytes for them"));
        }
        rows.reserve(count);
        decode_series(&mut r, count, state, rows)?;
        decode_times(&mut r, base_t, rows)?;
        decode_values(&mut r, state, rows)?;
    }
    r.finish()?;
    Ok(told)
}

fn decode_news<'a>(r: &mut Reader<'a>, state: &mut State) -> Result<Told<'a>, DecodeError> {
    let mut told = Told::default();
    // A string takes a byte at least, a series three.
    let strings = r.count(r.remaining())?;
    told.strings.reserve(strings.min(r.remaining()));
    for _ in 0..strings {
        told.strings.push(r.sized_str(MAX_STRING_BYTES)?);
        let total = state.strings.checked_add(1);
        state.strings = total.ok_or_else(|| r.invalid("too many strings in one segment"))?;
    }
    let series = r.count(r.remaining() / 3)?;
    told.series.reserve(series);
    for _ in 0..series {
        if state.next_series().is_none() {
            return Err(r.invalid("too many series in one segment"));
        }
        let pairs = r.count(MAX_PAIRS)?;
        if pairs == 0 {
            return Err(r.invalid("a series has no labels"));
        }
        for _ in 0..pairs {
            let pair = (r.varint32()?, r.varint32()?);
            if pair.0.max(pair.1) >= state.strings {
                return Err(r.invalid("a label is a string that was not told"));
            }
            told.pairs.push(pair);
        }
        told.series.push(u32::try_from(pairs).unwrap_or(u32::MAX));
        state.previous.push(0);
    }
    Ok(told)
}

fn decode_series(
    r: &mut Reader<'_>,
    count: usize,
    state: &State,
    rows: &mut Vec<Row>,
) -> Result<(), DecodeError> {
    let mut expected = 0i64;
    while rows.len() < count {
        let start = expected.checked_add(r.zigzag()?).and_then(|n| u32::try_from(n).ok());
        let (run, same) = r.varint().map(|v| (v >> 1, v & 1 == 1))?;
        let more = u32::try_from(run).ok().filter(|more| (*more as usize) < count - rows.len());
        let (Some(start), Some(more)) = (start, more) else {
            return Err(r.invalid("a run of series is out of bounds"));
        };
        let last = if same { Some(start) } else { start.checked_add(more) };
        let Some(last) = last.filter(|n| (*n as usize) < state.previous.len()) else {
            return Err(r.invalid("a row is of a series that was not told"));
        };
        let row = |series| Row { series, t: 0, v: 0.0 };
        match same {
            true => rows.extend((0..=more).map(|_| row(start))),
            false => rows.extend((start..=last).map(row)),
        }
        expected = i64::from(last) + 1;
    }
    Ok(())
}

fn decode_times(r: &mut Reader<'_>, base_t: i64, rows: &mut [Row]) -> Result<(), DecodeError> {
    let mut t = base_t;
    match r.u8()? {
        TIME_STEPS => {
            for row in rows {
                t = t.wrapping_add(r.zigzag()?);
                row.t = t;
            }
        }
        TIME_RUNS => {
            let mut rest = rows;
            while !rest.is_empty() {
                let (step, more) = (r.zigzag()?, r.count(rest.len() - 1)?);
                let Some((run, after)) = rest.split_at_mut_checked(more + 1) else {
                    return Err(r.invalid("a run of times is too long"));
                };
                for row in run {
                    t = t.wrapping_add(step);
                    row.t = t;
                }
                rest = after;
            }
        }
        _ => return Err(r.invalid("no such form of a time column")),
    }
    Ok(())
}

fn decode_values(r: &mut Reader<'_>, state: &mut State, rows: &mut [Row]) -> Result<(), DecodeError> {
    let tags = r.bytes(rows.len().div_ceil(2))?;
    if rows.len() % 2 == 1 && tags.last().is_some_and(|b| b >> 4 != 0) {
        return Err(r.invalid("the half byte behind the last tag is not zero"));
    }
    for (rows, tags) in rows.chunks_mut(2).zip(tags) {
        for (row, tag) in rows.iter_mut().zip([tags & 0xf, tags >> 4]) {
            let Some(previous) = state.previous.get_mut(row.series as usize) else {
                return Err(r.invalid("a row is of a series that was not told"));
            };
            let bits = understand(r, tag, *previous)?;
            *previous = bits;
            row.v = f64::from_bits(bits);
        }
    }
    Ok(())
}

/// The inverse of [`tell`].
#[inline]
fn understand(r: &mut Reader<'_>, tag: u8, previous: u64) -> Result<u64, DecodeError> {
    let word_bytes = usize::from(WORD_BYTES.get(usize::from(tag)).copied().unwrap_or(0));
    let word = r.word(word_bytes)?;
    match tag {
        TAG_SAME => Ok(previous),
        TAG_INTEGER..TAG_XOR_UPPER => match integer(previous) {
            Some(p) => Ok((p.wrapping_add(unzigzag(word)) as f64).to_bits()),
            None => Err(r.invalid("a difference of integers follows a value that is none")),
        },
        TAG_XOR_UPPER..TAG_XOR_LOWER => Ok(previous ^ word << (64 - 8 * word_bytes)),
        TAG_XOR_LOWER..TAG_DECIMAL => Ok(previous ^ word),
        TAG_DECIMAL => understand_decimal(r, word, previous),
        _ => Ok(STALE.to_bits()),
    }
}

/// The inverse of [`decimal_difference`]; `word` is its leading byte.
fn understand_decimal(r: &mut Reader<'_>, word: u64, previous: u64) -> Result<u64, DecodeError> {
    let scale = usize::try_from(word & 3).ok().and_then(|e| SCALES.get(e)).copied();
    let bytes = usize::try_from(word >> 2).ok().filter(|n| (1..=6).contains(n));
    let (Some(scale), Some(bytes)) = (scale, bytes) else {
        return Err(r.invalid("no such length of a decimal"));
    };
    let word = r.word(bytes)?;
    match decimal(previous, scale) {
        Some(p) => Ok((p.wrapping_add(unzigzag(word)) as f64 / scale).to_bits()),
        None => Err(r.invalid("a difference of decimals follows a value that is none")),
    }
}

/// Writes what was decoded as an encoder of the same state would.
fn encode_again(told: &Told<'_>, rows: &[Row], state: &mut State) -> Vec<u8> {
    let (mut news, mut undo, mut out) = (News::default(), Undo::default(), Vec::new());
    undo.begin(state);
    for string in &told.strings {
        news.add_string(state, string);
    }
    let mut pairs = told.pairs.as_slice();
    for &n in &told.series {
        let (own, rest) = pairs.split_at_checked(n as usize).unwrap_or_default();
        news.add_series(state, own);
        pairs = rest;
    }
    let numbers: Vec<u32> = rows.iter().map(|r| r.series).collect();
    Encoder::default().encode(&news, (rows, &numbers), (state, &mut undo), &mut out);
    out
}

/// The property that fuzzing checks: what is accepted is written back as an equal value, and taking
/// the writing back leaves the state as it was. Two payloads, so that the second has a past.
pub(crate) fn fuzz(data: &[u8]) {
    let Some((&split, data)) = data.split_first() else {
        return;
    };
    let (first, second) = data.split_at_checked(usize::from(split)).unwrap_or((data, &[]));
    let (mut reader, mut writer) = (State::default(), State::default());
    let (mut rows, mut again) = (Vec::new(), Vec::new());
    for payload in [first, second] {
        let mut mirror = reader.clone();
        let Ok(told) = decode(payload, &mut reader, &mut rows) else {
            return;
        };
        let bytes = encode_again(&told, &rows, &mut writer);
        assert_eq!(decode(&bytes, &mut mirror, &mut again), Ok(told), "other series came back");
        assert_eq!(again, rows, "other samples came back");
        assert!(mirror == reader && writer == reader, "the states differ");
    }
}

#[cfg(test)]
mod tests;
