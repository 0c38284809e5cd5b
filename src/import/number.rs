//! Numbers of exposition text: what Go's `strconv.ParseFloat` takes, as Prometheus calls it.
//!
//! ```text
//!   value      [+-] digits [. digits] [e [+-] digits]  |  [+-] (inf | infinity)  |  nan
//! ```
//!
//! Letters in either case. Hexadecimal floats and underscores, which Go knows, are refused as
//! Prometheus refuses them, and so is a finite number too large for a double. NaN has the bits
//! that Go gives it. The scan of the grammar collects the digits; a short number is then exact
//! by one multiplication or division (Clinger 1990), and all others go to fast-float2.
//!
//! Timestamps of OpenMetrics are seconds. The digits are taken as they stand and what is below a
//! millisecond is cut off. Prometheus multiplies the double by 1,000 and cuts, which turns some
//! `x.yyy` into one millisecond less; exact digits make an export and its import agree.

/// The NaN that text reads as: Go's, which is also Prometheus's "normal" NaN.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The most digits that always fit 64 bits.
const MAX_DIGITS: usize = 19;

/// A decimal number: `mantissa * 10^exponent`, if all its digits fitted.
struct Decimal {
    negative: bool,
    mantissa: u64,
    exponent: i64,
    fits: bool,
}

/// Reads a value; `None` if it is none.
pub(crate) fn value(text: &[u8]) -> Option<f64> {
    match decimal(text) {
        Some(d) => decimal_to_f64(&d, text),
        None => special(text),
    }
}

/// Reads an OpenMetrics timestamp in seconds as milliseconds; `None` if it is no finite number.
///
/// One too large for 64 bits becomes `i64::MIN`, as Go's conversion makes it on amd64.
pub(crate) fn seconds_to_ms(text: &[u8]) -> Option<i64> {
    let d = decimal(text)?;
    match exact_ms(&d).filter(|_| d.fits) {
        Some(ms) => Some(ms),
        None => Some(truncate(decimal_to_f64(&d, text)? * 1000.0)),
    }
}

/// Reads a float as Go's `ParseFloat` does without Prometheus's restrictions: hexadecimal too.
/// Used on `le` and `quantile`, whose spelling Prometheus makes uniform.
pub(crate) fn label_float(text: &[u8]) -> Option<f64> {
    let (negative, digits) = sign(text);
    match digits {
        [b'0', b'x' | b'X', hex @ ..] => hexadecimal(hex).map(|v| if negative { -v } else { v }),
        _ => value(text),
    }
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Checks the grammar of a decimal and collects its digits.
#[inline]
fn decimal(text: &[u8]) -> Option<Decimal> {
    let (negative, body) = sign(text);
    let mut mantissa = 0;
    let rest = digits(body, &mut mantissa);
    let whole = body.len() - rest.len();
    let (rest, fraction) = match rest {
        [b'.', after @ ..] => {
            let rest = digits(after, &mut mantissa);
            (rest, after.len() - rest.len())
        }
        rest => (rest, 0),
    };
    if whole + fraction == 0 {
        return None;
    }
    let fits = whole + fraction <= MAX_DIGITS || significant(body) <= MAX_DIGITS;
    let scale = -i64::try_from(fraction).ok()?;
    let d = |exponent| Decimal { negative, mantissa, exponent, fits };
    match rest {
        [] => Some(d(scale)),
        [b'e' | b'E', rest @ ..] => Some(d(scale.saturating_add(exponent(rest)?))),
        _ => None,
    }
}

/// Adds the digits that `text` begins with to the mantissa, modulo 2^64, and returns what comes after them.
/// Eight at a time where there are so many, pairs, fours and eights of them added within a word (Lemire 2018).
#[inline]
fn digits<'a>(mut text: &'a [u8], mantissa: &mut u64) -> &'a [u8] {
    while let Some((eight, rest)) = text.split_first_chunk() {
        let word = u64::from_le_bytes(*eight);
        let high = word & 0xf0f0_f0f0_f0f0_f0f0;
        let carried = word.wrapping_add(0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0;
        // A digit's upper half is 3, and 3 still after adding 6.
        if high | carried >> 4 != 0x3333_3333_3333_3333 {
            break;
        }
        let all = eight_digits(word & 0x0f0f_0f0f_0f0f_0f0f);
        *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(all);
        text = rest;
    }
    while let [b @ b'0'..=b'9', rest @ ..] = text {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(b - b'0'));
        text = rest;
    }
    text
}

/// The number that eight digits make, one a byte (its value, not its letter), the first in the lowest.
#[inline(always)]
pub(crate) fn eight_digits(word: u64) -> u64 {
    let pairs = word.wrapping_mul(10 << 8 | 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32
}

/// The digits of a decimal from its first that is not zero on.
fn significant(body: &[u8]) -> usize {
    let digits = body.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'.')).filter(|b| **b != b'.');
    digits.skip_while(|b| **b == b'0').count()
}

/// Digits of an exponent, saturating far beyond what a double knows.
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = sign(text);
    if digits.is_empty() {
        return None;
    }
    let mut n = 0i64;
    for &b in digits {
        if !b.is_ascii_digit() {
            return None;
        }
        n = n.saturating_mul(10).saturating_add(i64::from(b - b'0')).min(1_000_000_000);
    }
    Some(if negative { -n } else { n })
}

#[inline]
fn decimal_to_f64(d: &Decimal, text: &[u8]) -> Option<f64> {
    let magnitude = match short(d) {
        Some(v) => v,
        None => fast_float2::parse::<f64, _>(sign(text).1).ok().filter(|v| v.is_finite())?,
    };
    Some(if d.negative { -magnitude } else { magnitude })
}

#[inline]
fn short(d: &Decimal) -> Option<f64> {
    if d.fits { scaled(d.mantissa, d.exponent) } else { None }
}

/// `mantissa * 10^exponent`, if both factors are exact doubles, so that one operation rounds once.
#[inline(always)]
pub(crate) fn scaled(mantissa: u64, exponent: i64) -> Option<f64> {
    if mantissa > 1 << 53 {
        return None;
    }
    let power = *EXACT_POWERS.get(usize::try_from(exponent.unsigned_abs()).ok()?)?;
    let mantissa = mantissa as f64;
    Some(if exponent < 0 { mantissa / power } else { mantissa * power })
}

/// Milliseconds of decimal seconds, in integers; `None` if they do not fit.
fn exact_ms(d: &Decimal) -> Option<i64> {
    let scale = d.exponent.checked_add(3)?;
    let power = u32::try_from(scale.unsigned_abs()).ok().and_then(|n| 10u64.checked_pow(n));
    let magnitude = match (power, scale < 0) {
        (Some(power), true) => d.mantissa / power,
        (None, true) => 0,
        (Some(power), false) => d.mantissa.checked_mul(power)?,
        (None, false) if d.mantissa == 0 => 0,
        (None, false) => return None,
    };
    let ms = i64::try_from(magnitude).ok()?;
    Some(if d.negative { -ms } else { ms })
}

#[expect(clippy::cast_possible_truncation, reason = "cutting off is the purpose; the range is checked")]
fn truncate(v: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&v) { v as i64 } else { i64::MIN }
}

fn special(text: &[u8]) -> Option<f64> {
    let (negative, word) = sign(text);
    if word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity") {
        return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    text.eq_ignore_ascii_case(b"nan").then_some(f64::from_bits(NAN_BITS))
}

/// `hex [. hex] p [+-] digits` without sign and `0x`, rounded to nearest even. A mantissa of
/// more than 64 bits keeps a sticky bit, which is all that rounding needs of the rest.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let p = text.iter().position(|b| matches!(b, b'p' | b'P'))?;
    let (mantissa_text, exponent_text) = (text.get(..p)?, text.get(p + 1..)?);
    let (mut mantissa, mut scale, mut digits, mut point) = (0u64, 0i64, 0usize, false);
    for &b in mantissa_text {
        if b == b'.' && !point {
            point = true;
            continue;
        }
        let digit = u64::from(char::from(b).to_digit(16)?);
        digits += 1;
        match mantissa >> 60 {
            0 => {
                mantissa = mantissa << 4 | digit;
                scale -= if point { 4 } else { 0 };
            }
            _ => {
                mantissa |= u64::from(digit != 0);
                scale += if point { 0 } else { 4 };
            }
        }
    }
    if digits == 0 {
        return None;
    }
    let v = scale_by_two(mantissa, scale.saturating_add(exponent(exponent_text)?));
    v.is_finite().then_some(v)
}

/// `mantissa * 2^scale`, rounded once.
fn scale_by_two(mantissa: u64, scale: i64) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let top = 63 - i64::from(mantissa.leading_zeros());
    let exponent = top.saturating_add(scale);
    if exponent > 1023 {
        return f64::INFINITY;
    }
    // The weight of the last bit that the result keeps: 52 below the top, but never below 2^-1074.
    let drop = (exponent - 52).max(-1074).saturating_sub(scale);
    let kept = match u32::try_from(drop) {
        Err(_) => return mantissa as f64 * 2f64.powi(i32::try_from(scale).unwrap_or(i32::MIN)),
        Ok(drop) if drop > 64 => 0,
        Ok(drop) => {
            let whole = u128::from(mantissa) >> drop;
            let rest = u128::from(mantissa) - (whole << drop);
            let half = (1u128 << drop) / 2;
            let up = rest > half || (rest == half && whole % 2 == 1 && drop > 0);
            whole + u128::from(up && drop > 0)
        }
    };
    let unit = (exponent - 52).max(-1074);
    // Two steps, since 2^-1074 alone is exact but powi of it may not be reached in one.
    let half = i32::try_from(unit / 2).unwrap_or(0);
    let other = i32::try_from(unit - unit / 2).unwrap_or(0);
    kept as f64 * 2f64.powi(half) * 2f64.powi(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(text: &str) -> Option<u64> {
        value(text.as_bytes()).map(f64::to_bits)
    }

    #[test]
    fn takes_what_go_takes() {
        for (text, expected) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("+1", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1e3),
            ("1E+03", 1e3),
            ("-1.5e-3", -1.5e-3),
            ("9223372036854775808", 9223372036854775808.0),
            ("0000000000000000000000000000000000000000001.2e-1", 0.12),
            ("5e-324", 5e-324),
            ("1e-999", 0.0),
            ("1.7976931348623157e308", f64::MAX),
            ("inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
        ] {
            assert_eq!(bits(text), Some(expected.to_bits()), "{text}");
        }
        assert_eq!(bits("NaN"), Some(NAN_BITS));
        assert_eq!(bits("nan"), Some(NAN_BITS));
    }

    #[test]
    fn refuses_what_prometheus_refuses() {
        for text in [
            "", "+", "-", ".", "e1", "1e", "1e+", "1_0", "0x1", "0x1p3", "1.2.3", "+NaN", "-nan", "infi",
            "infinit", "1e999", "-1e999", "1 ", " 1", "1\t", "١", "0b1", "--1", "nan1",
        ] {
            assert_eq!(bits(text), None, "{text:?}");
        }
    }

    #[test]
    fn agrees_with_the_standard_library_on_shortest_forms() {
        let mut seed = 7u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let v = f64::from_bits(seed ^ (seed >> 29));
            if v.is_finite() {
                assert_eq!(bits(&format!("{v}")), Some(v.to_bits()));
                assert_eq!(bits(&format!("{v:e}")), Some(v.to_bits()));
            }
            let short = f64::from((seed >> 40) as u32) / 1000.0;
            assert_eq!(bits(&short.to_string()), Some(short.to_bits()));
        }
    }

    #[test]
    fn digits_end_at_the_first_other_byte() {
        for other in (0..=u8::MAX).filter(|b| !b.is_ascii_digit()) {
            for at in 0..20 {
                let mut text = *b"90817263549081726354";
                text[at] = other;
                let mut mantissa = 0;
                assert_eq!(digits(&text, &mut mantissa), &text[at..], "{other} at {at}");
                let plain = text[..at].iter().fold(0u64, |n, b| n * 10 + u64::from(b - b'0'));
                assert_eq!(mantissa, plain, "{other} at {at}");
            }
        }
    }

    #[test]
    fn timestamps_take_the_digits_as_they_stand() {
        let ms = |text: &str| seconds_to_ms(text.as_bytes());
        for (text, expected) in [
            ("000", 0),
            ("0.0", 0),
            ("1.1", 1_100),
            ("1.5e3", 1_500_000),
            ("-1.0019", -1_001),
            ("1795352559.577", 1_795_352_559_577),
            ("1234567890", 1_234_567_890_000),
            ("1e-9999", 0),
            ("12345678901234567890.1234567890", i64::MIN),
            ("9223372036854775.807", i64::MAX),
        ] {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
        for text in ["NaN", "+Inf", "1_2", "z", "0x1p-3", "1e999"] {
            assert_eq!(ms(text), None, "{text}");
        }
        for n in (0..1_000_000_000u64).step_by(99_991) {
            let t = 1_795_352_559_000 + n % 1_000_000;
            let text = format!("{}.{:03}", t / 1000, t % 1000);
            assert_eq!(ms(&text), Some(t as i64));
        }
    }

    #[test]
    fn hexadecimal_floats_round_once() {
        let hex = |text: &str| label_float(text.as_bytes());
        assert_eq!(hex("0x1p-3"), Some(0.125));
        assert_eq!(hex("-0X1.8P1"), Some(-3.0));
        assert_eq!(hex("0x.8p0"), Some(0.5));
        assert_eq!(hex("0x1.fffffffffffffp1023"), Some(f64::MAX));
        assert_eq!(hex("0x1p-1074"), Some(5e-324));
        assert_eq!(hex("0x1p-1075"), Some(0.0));
        assert_eq!(hex("0x1.00000000000008p0"), Some(1.0));
        assert_eq!(hex("0x1.000000000000081p0"), Some(1.0 + f64::EPSILON));
        assert_eq!(hex("0x1p1024"), None);
        assert_eq!(hex("0x1"), None);
        assert_eq!(hex("0xp1"), None);
        assert_eq!(hex("1.5"), Some(1.5));
    }
}
