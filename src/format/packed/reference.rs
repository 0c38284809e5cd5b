//! The obvious decoder, bit by bit: the oracle of tests and fuzzing.
//!
//! It follows the page `format-spec/packed.md` sentence by sentence and shares no code with the fast one but the varints.

use crate::format::cursor::Reader;

/// Integers, or `None` where the fast decoder must refuse, too.
pub(super) fn decode(coded: &[u8], rows: usize) -> Option<Vec<u64>> {
    let mut r = Reader::new("packed", coded);
    let order = r.u8().ok()?;
    let mut value = if order >= 1 { r.zigzag().ok()? } else { 0 };
    let mut step = if order >= 2 { r.zigzag().ok()? } else { 0 };
    let mut reference = 0i64;
    let mut out = Vec::new();
    while out.len() < rows && order <= 2 {
        let n = (rows - out.len()).min(128);
        let head = r.u8().ok()?;
        let (width, patched) = (usize::from(head % 128), head >= 128);
        reference = reference.wrapping_add(r.zigzag().ok()?);
        let mut sums = Vec::new();
        if out.len() + n < rows && head != 0 {
            for _ in 0..order {
                sums.push(r.varint().ok()?);
            }
        }
        let mut residuals = numbers(&mut r, n, width)?;
        if patched {
            patch(&mut r, width, &mut residuals)?;
        }
        let (mut sum, mut sum_of_sums) = (0u64, 0u64);
        for residual in residuals {
            sum = sum.wrapping_add(residual);
            sum_of_sums = sum_of_sums.wrapping_add(sum);
            let difference = residual.cast_signed().wrapping_add(reference);
            match order {
                0 => value = difference,
                1 => value = value.wrapping_add(difference),
                _ => {
                    step = step.wrapping_add(difference);
                    value = value.wrapping_add(step);
                }
            }
            out.push(value.cast_unsigned());
        }
        if !sums.iter().eq([sum, sum_of_sums].iter().take(sums.len())) {
            return None;
        }
    }
    (out.len() == rows && r.remaining() == 0).then_some(out)
}

/// `n` numbers of `width` bits, the lowest bit first.
fn numbers(r: &mut Reader<'_>, n: usize, width: usize) -> Option<Vec<u64>> {
    if width > 64 {
        return None;
    }
    let bytes = r.bytes((n * width).div_ceil(8)).ok()?;
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |b| u64::from(b >> (at % 8) & 1));
    Some((0..n).map(|i| (0..width).fold(0, |x, b| x | bit(i * width + b) << b)).collect())
}

fn patch(r: &mut Reader<'_>, width: usize, residuals: &mut [u64]) -> Option<()> {
    let count = usize::from(r.u8().ok()?) + 1;
    let wider = usize::from(r.u8().ok()?);
    if count > residuals.len() || wider == 0 || width + wider > 64 {
        return None;
    }
    let positions: Vec<usize> = match count {
        0..16 => r.bytes(count).ok()?.iter().map(|&b| usize::from(b)).collect(),
        _ => {
            let bytes = r.bytes(residuals.len().div_ceil(8)).ok()?;
            let is_set = |at: &usize| bytes.get(at / 8).is_some_and(|b| b >> (at % 8) & 1 == 1);
            (0..bytes.len() * 8).filter(is_set).collect()
        }
    };
    let high = numbers(r, count, wider)?;
    if positions.len() != count || !positions.is_sorted_by(|a, b| a < b) {
        return None;
    }
    for (at, high) in positions.into_iter().zip(high) {
        *residuals.get_mut(at)? |= high << width;
    }
    Some(())
}

/// Integers of many shapes, from any bytes.
pub(super) fn integers_from_recipe(data: &[u8]) -> Vec<u64> {
    let (mut x, mut step) = (0u64, 0u64);
    let mut out = Vec::new();
    for &[what, count] in data.as_chunks::<2>().0.iter().take(1_000) {
        let n = u64::from(count);
        match what % 8 {
            0 => step = n,
            1 => step = step.wrapping_add(n).wrapping_sub(128),
            2 => x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            3 => x = x.wrapping_add(n << 40),
            4 => x ^= n,
            5 => x = x.wrapping_sub(n),
            6 => out.extend(std::iter::repeat_n(x, count.into())),
            _ => x = x.rotate_left(u32::from(count)),
        }
        x = x.wrapping_add(step);
        out.push(x);
    }
    if out.is_empty() {
        out.push(0);
    }
    out
}
