//! Integers in mini-blocks of 128: plain, as differences, or as differences of differences, packed to the bit.
//!
//! ```text
//!   packed      order:u8 │ start:zigzag (order ≥ 1) │ step:zigzag (order 2) │ mini-block │ mini-block │ …
//!
//!   mini-block  head:u8 │ reference:zigzag │ sums:varint × order │ packed bits │ patches
//!               width:7 patched:1            not in the last one, nor where all residuals are zero
//!   patches     count-1:u8 │ width:u8 │ positions: a byte each, or a bit for each row │ packed bits
//!
//!   residual[i] = x[i] - reference                        order 0
//!               = x[i] - x[i-1] - reference               order 1, x[-1] = start
//!               = (x[i] - x[i-1]) - (x[i-1] - x[i-2]) - reference      order 2, x[-1] - x[-2] = step
//! ```
//!
//! All arithmetic is that of 64 bits that wrap, so that any integers round trip. A mini-block holds
//! the low `width` bits of each residual; the few that have more are *patched* with their upper bits. `reference` counts from
//! that of the mini-block before. The number of integers is not stored: whoever holds them knows it.
//!
//! **Seeking.** `sums` are what the residuals of a mini-block add to the value (and, in order 2, to the step) behind it: with
//! them, a reader finds the state at any mini-block from the heads alone, and unpacks only what it wants.
//!
//! **Choosing.** The encoder reckons the size of each order from the lengths of the residuals in bits, without writing
//! anything, and writes the smallest. Reference: the least residual, or the one above it if that is an outlier (a counter that was reset).
//!
//! **Cost.** Decoding: a load, a shift and a mask for each integer, in loops whose shifts are constants
//! (`kernel`), then a sum. `reference` has the slow, obvious decoder that tests and fuzzing compare with.
//! The idea of patching is that of PFOR (Zukowski et al., ICDE 2006).

use std::ops::Range;

use crate::error::{DecodeError, DecodeReason};
use crate::format::cursor::{Reader, Write};

mod kernel;
mod reference;
#[cfg(test)]
mod tests;

use kernel::{Low, pack, unpack};

const STRUCTURE: &str = "packed";

/// Integers of a mini-block; the last one may have fewer.
pub(crate) const MINI_ROWS: usize = 128;
/// The highest order.
pub(crate) const MAX_ORDER: u8 = 2;
/// The bit of a head that says that residuals are patched.
const PATCHED: u8 = 0x80;
/// The widest residual.
const MAX_WIDTH: u8 = 64;
/// Places in which lengths are counted.
const COUNTERS: usize = 4;
/// From so many patches on, their positions are a bit for each row.
const BITMAP_PATCHES: usize = 16;

/// The 128 numbers of one mini-block.
pub(crate) type Mini = [u64; MINI_ROWS];

/// How a column is to be written, and how many bytes that takes at most.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    order: u8,
    minis: Vec<MiniPlan>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct MiniPlan {
    reference: u64,
    width: u8,
    patches: u8,
    patch_width: u8,
}

impl Plan {
    /// The best plan for these integers.
    pub(crate) fn best(x: &[u64]) -> Plan {
        let mut best = Plan::of(x, 0);
        // Where differences do not help, differences of those do not either.
        for order in 1..=MAX_ORDER {
            let other = Plan::of(x, order);
            if other.bytes >= best.bytes {
                break;
            }
            best = other;
        }
        best
    }

    /// The plan of one order.
    fn of(x: &[u64], order: u8) -> Plan {
        let mut state = State::before(x, order);
        let mut plan = Plan { order, minis: Vec::with_capacity(x.len().div_ceil(MINI_ROWS)), bytes: 1 };
        plan.bytes += usize::from(order) * 6;
        let mut last = 0u64;
        for mini in x.chunks(MINI_ROWS) {
            let differences = state.differences(mini);
            let rows = differences.get(..mini.len()).unwrap_or_default();
            let (chosen, bytes) = choose(rows);
            plan.bytes += bytes + varint_bytes(chosen.reference.wrapping_sub(last));
            // Sums take about two bytes each.
            plan.bytes += if chosen.is_flat() { 0 } else { 2 * usize::from(order) };
            last = chosen.reference;
            plan.minis.push(chosen);
        }
        plan
    }

    /// About how many bytes [`encode`](Plan::encode) appends.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the integers that this is the plan of.
    pub(crate) fn encode(&self, x: &[u64], out: &mut Vec<u8>) {
        let mut state = State::before(x, self.order);
        out.put_u8(self.order);
        if self.order >= 1 {
            out.put_zigzag(state.value.cast_signed());
        }
        if self.order >= 2 {
            out.put_zigzag(state.step.cast_signed());
        }
        let mut last = 0;
        let mut rest = x;
        for plan in &self.minis {
            let (mini, after) = rest.split_at(rest.len().min(MINI_ROWS));
            rest = after;
            let mut residuals = state.differences(mini);
            residuals.iter_mut().for_each(|r| *r = r.wrapping_sub(plan.reference));
            let residuals = residuals.get(..mini.len()).unwrap_or_default();
            out.put_u8(plan.width | if plan.patches > 0 { PATCHED } else { 0 });
            out.put_zigzag(plan.reference.wrapping_sub(last).cast_signed());
            last = plan.reference;
            if !rest.is_empty() && !plan.is_flat() {
                put_sums(self.order, residuals, out);
            }
            pack(residuals.iter().copied(), plan.width, out);
            plan.put_patches(residuals, out);
        }
    }
}

impl MiniPlan {
    /// Whether all residuals are zero.
    fn is_flat(self) -> bool {
        self.width == 0 && self.patches == 0
    }

    fn put_patches(self, residuals: &[u64], out: &mut Vec<u8>) {
        if self.patches == 0 {
            return;
        }
        out.put_u8(self.patches - 1);
        out.put_u8(self.patch_width);
        let high = |r: &u64| r.unbounded_shr(u32::from(self.width));
        let patched = || (0u8..).zip(residuals).filter(|(_, r)| high(r) != 0);
        if usize::from(self.patches) < BITMAP_PATCHES {
            patched().for_each(|(at, _)| out.put_u8(at));
        } else {
            pack(residuals.iter().map(|r| u64::from(high(r) != 0)), 1, out);
        }
        pack(patched().map(|(_, r)| high(r)), self.patch_width, out);
    }
}

/// The sums that seeking needs: of the residuals, and of their running sums.
fn put_sums(order: u8, residuals: &[u64], out: &mut Vec<u8>) {
    let (mut sum, mut sums) = (0u64, 0u64);
    for r in residuals {
        sum = sum.wrapping_add(*r);
        sums = sums.wrapping_add(sum);
    }
    if order >= 1 {
        out.put_varint(sum);
    }
    if order >= 2 {
        out.put_varint(sums);
    }
}

/// Reference, widths and size of one mini-block.
fn choose(differences: &[u64]) -> (MiniPlan, usize) {
    let (least, second) = two_least(differences);
    let chosen = choose_widths(differences, least);
    // An outlier below all others would make all of them wide.
    if second.wrapping_sub(least) < 256 || chosen.0.width < 8 {
        return chosen;
    }
    let above = choose_widths(differences, second);
    if above.1 < chosen.1 { above } else { chosen }
}

/// The least number and the next one above it that is not an equal, as signed ones.
fn two_least(x: &[u64]) -> (u64, u64) {
    let (mut least, mut second) = (i64::MAX, i64::MAX);
    for x in x.iter().map(|x| x.cast_signed()) {
        second = second.min(if x == least { i64::MAX } else { x.max(least) });
        least = least.min(x);
    }
    let second = if second == i64::MAX { least } else { second };
    (least.cast_unsigned(), second.cast_unsigned())
}

fn choose_widths(differences: &[u64], reference: u64) -> (MiniPlan, usize) {
    let (counts, all) = count_lengths(differences, reference);
    let widest = bit_length(all);
    let rows = differences.len();
    let mut best = (usize::MAX, 0, 0);
    let mut patches = 0;
    // From the widest down, so that the number of patches is known on the way.
    for width in (0..=widest).rev() {
        let positions = if patches < BITMAP_PATCHES { patches } else { rows.div_ceil(8) };
        let patched = if patches == 0 { 0 } else { 2 + positions + (patches * (widest - width)).div_ceil(8) };
        let bytes = 1 + (rows * width).div_ceil(8) + patched;
        if bytes < best.0 {
            best = (bytes, width, patches);
        }
        patches += usize::from(counts.get(width).copied().unwrap_or(0));
    }
    let (bytes, width, patches) = best;
    let small = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    let patch_width = if patches > 0 { small(widest - width) } else { 0 };
    (MiniPlan { reference, width: small(width), patches: small(patches), patch_width }, bytes)
}

/// How many residuals have each length in bits, and the bits that any of them has. Equal lengths often follow one another, so that they are
/// counted in turns in several places: an addition need not wait for the one before.
fn count_lengths(differences: &[u64], reference: u64) -> ([u8; MAX_WIDTH as usize + 1], u64) {
    let mut lanes = [[0u8; MAX_WIDTH as usize + 1]; COUNTERS];
    let mut all = 0;
    for some in differences.chunks(COUNTERS) {
        for (lane, d) in lanes.iter_mut().zip(some) {
            let r = d.wrapping_sub(reference);
            all |= r;
            if let Some(count) = lane.get_mut(bit_length(r)) {
                *count += 1;
            }
        }
    }
    let mut counts = [0; MAX_WIDTH as usize + 1];
    for lane in lanes {
        counts.iter_mut().zip(lane).for_each(|(count, n)| *count += n);
    }
    (counts, all)
}

fn bit_length(x: u64) -> usize {
    (u64::BITS - x.leading_zeros()) as usize
}

fn varint_bytes(signed: u64) -> usize {
    bit_length(crate::format::cursor::zigzag(signed.cast_signed())).div_ceil(7).max(1)
}

/// What integers are counted from.
#[derive(Clone, Copy, Debug)]
struct State {
    order: u8,
    value: u64,
    step: u64,
}

impl State {
    /// The state before the first integer: as if the first step had been there before.
    fn before(x: &[u64], order: u8) -> State {
        let step = match x {
            [a, b, ..] => b.wrapping_sub(*a),
            _ => 0,
        };
        match order {
            0 => State { order, value: 0, step: 0 },
            _ => State { order, value: x.first().map_or(0, |x| x.wrapping_sub(step)), step },
        }
    }

    /// The differences of this order, and the state behind them. What is behind the last one is zero.
    fn differences(&mut self, x: &[u64]) -> Mini {
        let mut out = [0; MINI_ROWS];
        for (out, x) in out.iter_mut().zip(x) {
            let step = x.wrapping_sub(self.value);
            *out = match self.order {
                0 => *x,
                1 => step,
                _ => step.wrapping_sub(self.step),
            };
            if self.order > 0 {
                (self.value, self.step) = (*x, step);
            }
        }
        out
    }

    /// The inverse, in place: residuals become integers.
    #[inline(always)]
    fn restore(&mut self, reference: u64, x: &mut [u64]) {
        match self.order {
            0 => x.iter_mut().for_each(|x| *x = x.wrapping_add(reference)),
            1 => {
                for x in x {
                    self.value = self.value.wrapping_add(x.wrapping_add(reference));
                    *x = self.value;
                }
            }
            _ => {
                for x in x {
                    self.step = self.step.wrapping_add(x.wrapping_add(reference));
                    self.value = self.value.wrapping_add(self.step);
                    *x = self.value;
                }
            }
        }
    }

    /// The state behind `n` integers whose residuals have these sums.
    fn skip(&mut self, n: u64, reference: u64, sum: u64, sums: u64) {
        match self.order {
            0 => {}
            1 => self.value = self.value.wrapping_add(sum).wrapping_add(reference.wrapping_mul(n)),
            _ => {
                let triangle = n * (n + 1) / 2;
                let steps = self.step.wrapping_mul(n).wrapping_add(reference.wrapping_mul(triangle));
                self.value = self.value.wrapping_add(steps).wrapping_add(sums);
                self.step = self.step.wrapping_add(sum).wrapping_add(reference.wrapping_mul(n));
            }
        }
    }
}

/// The head of a mini-block.
struct Head {
    width: u8,
    patched: bool,
    reference: u64,
    sum: u64,
    sums: u64,
}

/// Reads `rows` integers and gives those of the mini-blocks that overlap `wanted`, in order, by mini-block: the number of
/// the first, and the integers. Leaves `r` after all of them. Mini-blocks outside of it are not unpacked, hence not checked.
#[inline(always)]
pub(crate) fn decode(
    r: &mut Reader<'_>,
    rows: usize,
    wanted: Range<usize>,
    mut emit: impl FnMut(usize, &[u64]),
) -> Result<(), DecodeError> {
    let start = r.clone();
    let order = r.u8()?;
    if order > MAX_ORDER {
        return Err(start.error(DecodeReason::Unsupported("integers of an unknown order")));
    }
    let value = if order >= 1 { r.zigzag()?.cast_unsigned() } else { 0 };
    let step = if order >= 2 { r.zigzag()?.cast_unsigned() } else { 0 };
    let mut state = State { order, value, step };
    let (mut at, mut reference) = (0, 0u64);
    let mut mini = [0; MINI_ROWS];
    while at < rows {
        let n = (rows - at).min(MINI_ROWS);
        let head = head(r, order, reference, at + n == rows)?;
        reference = head.reference;
        if at < wanted.end && wanted.start < at + n {
            residuals(r, &head, n, &mut mini)?;
            let before = state;
            let integers = mini.get_mut(..n).unwrap_or_default();
            state.restore(reference, integers);
            check_sums(r, before, state, &head, n, at + n == rows)?;
            emit(at, integers);
        } else {
            skip_residuals(r, &head, n)?;
            state.skip(n as u64, reference, head.sum, head.sums);
        }
        at += n;
    }
    Ok(())
}

/// The sums must lead to where the residuals lead, or seeking would find other integers.
#[inline(always)]
fn check_sums(
    r: &Reader<'_>,
    before: State,
    after: State,
    head: &Head,
    n: usize,
    last: bool,
) -> Result<(), DecodeError> {
    let mut sought = before;
    sought.skip(n as u64, head.reference, head.sum, head.sums);
    match last || (sought.value, sought.step) == (after.value, after.step) || after.order == 0 {
        true => Ok(()),
        false => Err(r.invalid("the sums of a mini-block are not those of its residuals")),
    }
}

fn head(r: &mut Reader<'_>, order: u8, reference: u64, last: bool) -> Result<Head, DecodeError> {
    let start = r.clone();
    let first = r.u8()?;
    let (width, patched) = (first & !PATCHED, first & PATCHED != 0);
    if width > MAX_WIDTH {
        return Err(start.invalid("a residual is wider than 64 bits"));
    }
    let reference = reference.wrapping_add(r.zigzag()?.cast_unsigned());
    let summed = !last && (width > 0 || patched);
    let sum = if summed && order >= 1 { r.varint()? } else { 0 };
    let sums = if summed && order >= 2 { r.varint()? } else { 0 };
    Ok(Head { width, patched, reference, sum, sums })
}

/// Replaces the first `n` of `out` by the residuals of a mini-block.
#[inline(always)]
fn residuals(r: &mut Reader<'_>, head: &Head, n: usize, out: &mut Mini) -> Result<(), DecodeError> {
    let mut low = Low::default();
    low.fill(r.bytes(packed_bytes(n, head.width))?);
    unpack(head.width, &low, out);
    match head.patched {
        true => patch(r, head, n, out),
        false => Ok(()),
    }
}

/// The place and form of the patches of a mini-block.
struct Patches<'a> {
    count: usize,
    width: u8,
    positions: &'a [u8],
    high: &'a [u8],
}

fn patches<'a>(r: &mut Reader<'a>, head: &Head, n: usize) -> Result<Patches<'a>, DecodeError> {
    let start = r.clone();
    let count = usize::from(r.u8()?) + 1;
    let width = r.u8()?;
    if count > n || width == 0 || u16::from(width) + u16::from(head.width) > u16::from(MAX_WIDTH) {
        return Err(start.invalid("patches are more than there are rows, or too wide"));
    }
    let positions = r.bytes(if count < BITMAP_PATCHES { count } else { n.div_ceil(8) })?;
    let high = r.bytes(packed_bytes(count, width))?;
    Ok(Patches { count, width, positions, high })
}

/// Puts the upper bits of the residuals that have some.
#[cold]
fn patch(r: &mut Reader<'_>, head: &Head, n: usize, out: &mut Mini) -> Result<(), DecodeError> {
    let start = r.clone();
    let patches = patches(r, head, n)?;
    let mut low = Low::default();
    low.fill(patches.high);
    let mut high = [0; MINI_ROWS];
    unpack(patches.width, &low, &mut high);
    let mut high = high.iter().take(patches.count);
    let mut put = |at: usize| match (out.get_mut(..n).and_then(|out| out.get_mut(at)), high.next()) {
        (Some(out), Some(high)) => {
            *out |= high << head.width;
            true
        }
        _ => false,
    };
    let placed = if patches.count < BITMAP_PATCHES {
        let ascend = patches.positions.iter().zip(patches.positions.iter().skip(1)).all(|(a, b)| a < b);
        ascend && patches.positions.iter().all(|&at| put(usize::from(at)))
    } else {
        let set = patches.positions.iter().map(|b| b.count_ones() as usize).sum::<usize>();
        let bit = |at: &usize| patches.positions.get(at / 8).is_some_and(|b| b >> (at % 8) & 1 == 1);
        set == patches.count && (0..n).filter(bit).filter(|&at| put(at)).count() == set
    };
    match placed {
        true => Ok(()),
        false => Err(start.invalid("the positions of patches do not ascend, or are not as many as stated")),
    }
}

/// Passes over the residuals of a mini-block.
fn skip_residuals(r: &mut Reader<'_>, head: &Head, n: usize) -> Result<(), DecodeError> {
    r.bytes(packed_bytes(n, head.width))?;
    if head.patched {
        patches(r, head, n)?;
    }
    Ok(())
}

/// The bytes of `n` numbers of `width` bits.
fn packed_bytes(n: usize, width: u8) -> usize {
    (n * usize::from(width)).div_ceil(8)
}

/// The property that fuzzing checks: as coded integers, both decoders refuse `data` or find the same; any stretch of them is
/// found alone; as a recipe for integers, what is written is read back.
pub(crate) fn fuzz(data: &[u8]) {
    let Some((&first, coded)) = data.split_first() else { return };
    let rows = usize::from(first) * 3 + 1;
    let decoded = decode_all(coded, rows);
    assert_eq!(decoded.as_ref().ok(), reference::decode(coded, rows).as_ref());
    if let Ok(x) = &decoded {
        check_round_trip(x);
        check_stretch(coded, x, rows / 3..rows / 2 + 1);
    }
    check_round_trip(&reference::integers_from_recipe(data));
}

fn decode_all(coded: &[u8], rows: usize) -> Result<Vec<u64>, DecodeError> {
    let mut out = Vec::new();
    let mut r = Reader::new(STRUCTURE, coded);
    decode(&mut r, rows, 0..rows, |_, x| out.extend_from_slice(x))?;
    r.finish()?;
    Ok(out)
}

/// Checks that integers are read back by both decoders, in all orders.
fn check_round_trip(x: &[u64]) {
    for order in 0..=MAX_ORDER {
        let (plan, mut coded) = (Plan::of(x, order), Vec::new());
        plan.encode(x, &mut coded);
        assert_eq!(decode_all(&coded, x.len()).as_deref(), Ok(x), "order {order}");
        assert_eq!(reference::decode(&coded, x.len()).as_deref(), Some(x), "order {order}, by the reference");
        check_stretch(&coded, x, x.len() / 2..x.len());
        assert!(order == MAX_ORDER || Plan::best(x).bytes() <= plan.bytes());
    }
}

fn check_stretch(coded: &[u8], x: &[u64], wanted: Range<usize>) {
    let mut r = Reader::new(STRUCTURE, coded);
    let mut seen = Vec::new();
    let decoded = decode(&mut r, x.len(), wanted.clone(), |at, found| {
        assert_eq!(Some(found), x.get(at..at + found.len()), "sought from {}", wanted.start);
        seen.push(at..at + found.len());
    });
    assert_eq!(decoded, Ok(()));
    assert_eq!(r.finish(), Ok(()));
    assert!(wanted.clone().all(|i| seen.iter().any(|seen| seen.contains(&i))), "{wanted:?} in {seen:?}");
}
