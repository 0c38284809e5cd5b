//! Lines in their plain form, as nearly all lines of a dump are: read without a lexer.
//!
//! ```text
//!   up{job="node"} 1.5e+06 1600000000.123\n
//!   └ known bytes ┘└ tail ───────────────┘    one space, a number, one space, a timestamp, a line feed
//! ```
//!
//! A plain number is digits, or `-` and digits, with or without a fraction and an exponent, and short enough to be exact by
//! one multiplication or division. A plain timestamp is digits, in OpenMetrics with or without a fraction of milliseconds.
//! This is a subset of either grammar, with the grammar's meaning. Whatever has another form (NaN, an exemplar, a second
//! blank, more digits) is no tail here and goes the long way; so does a line near the end of the window, since
//! all loads are of one size.
//!
//! **Cost.** Digits are read eight at a time: where they end in a word is a subtraction and a count of zeros, what they are
//! worth three multiplications (Lemire 2018), so that nothing depends on their number but the second word.

use super::number::{eight_digits, scaled};

/// The bytes that are looked at; no plain tail is longer.
const TAIL_BYTES: usize = 56;
/// The most digits that always fit 64 bits.
const MAX_DIGITS: usize = 19;
/// The most digits of a timestamp: seconds with so many fit 64 bits as milliseconds.
const MAX_TIME_DIGITS: usize = 15;
/// Powers of ten by the digits of a word.
const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// How timestamps are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// Milliseconds, without a fraction.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// What follows a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tail {
    /// The time in milliseconds.
    pub(crate) t: i64,
    /// The value.
    pub(crate) v: f64,
    /// Its length, its line feed among it.
    pub(crate) bytes: usize,
}

/// Reads the tail that `bytes` begin with, if it is plain.
#[inline(always)]
pub(crate) fn tail(bytes: &[u8], times: Times) -> Option<Tail> {
    let bytes: &[u8; TAIL_BYTES] = bytes.first_chunk()?;
    let negative = bytes[1] == b'-';
    let number = Number::read(bytes, 1 + usize::from(negative))?;
    let (exponent, end) = match bytes.get(number.end)? {
        b' ' => (number.scale, number.end),
        b'e' | b'E' => scientific(bytes, &number)?,
        _ => return None,
    };
    let magnitude = scaled(number.mantissa, exponent)?;
    let time = Number::read(bytes, end + 1)?;
    let framed = bytes[0] == b' ' && *bytes.get(end)? == b' ' && *bytes.get(time.end)? == b'\n';
    let exact = number.digits <= MAX_DIGITS && time.digits <= MAX_TIME_DIGITS;
    let t = milliseconds(&time, times).filter(|_| framed && exact)?;
    Some(Tail { t, v: if negative { -magnitude } else { magnitude }, bytes: time.end + 1 })
}

#[inline(always)]
fn milliseconds(time: &Number, times: Times) -> Option<i64> {
    let factor = match (times, time.scale) {
        (Times::Seconds, 0) => 1_000,
        (Times::Seconds, -1) => 100,
        (Times::Seconds, -2) => 10,
        (Times::Seconds, -3) => 1,
        (Times::Milliseconds, 0) if !time.point => 1,
        _ => return None,
    };
    Some(time.mantissa.wrapping_mul(factor).cast_signed())
}

/// The exponent of a number in scientific form, and where it ends: a sign and one or two digits.
fn scientific(bytes: &[u8; TAIL_BYTES], number: &Number) -> Option<(i64, usize)> {
    let (negative, at) = match bytes.get(number.end + 1)? {
        b'-' => (true, number.end + 2),
        b'+' => (false, number.end + 2),
        _ => (false, number.end + 1),
    };
    let (exponent, digits) = digits(bytes, at, 0)?;
    let exponent = i64::try_from(exponent).ok().filter(|_| (1..=2).contains(&digits))?;
    Some((number.scale + if negative { -exponent } else { exponent }, at + digits))
}

/// Digits with or without a fraction: `mantissa * 10^scale`.
struct Number {
    mantissa: u64,
    scale: i64,
    digits: usize,
    point: bool,
    end: usize,
}

impl Number {
    #[inline(always)]
    fn read(bytes: &[u8; TAIL_BYTES], at: usize) -> Option<Number> {
        let (mantissa, whole) = digits(bytes, at, 0)?;
        let end = at + whole;
        if whole == 0 {
            return None;
        }
        if *bytes.get(end)? != b'.' {
            return Some(Number { mantissa, scale: 0, digits: whole, point: false, end });
        }
        let (mantissa, fraction) = digits(bytes, end + 1, mantissa)?;
        let scale = -i64::try_from(fraction).ok()?;
        Some(Number { mantissa, scale, digits: whole + fraction, point: true, end: end + 1 + fraction })
    }
}

/// Adds the digits from `at` on to the mantissa, modulo 2^64; says how many there are. `None` near the end.
#[inline(always)]
fn digits(bytes: &[u8; TAIL_BYTES], at: usize, mut mantissa: u64) -> Option<(u64, usize)> {
    let mut count = 0;
    loop {
        let word = u64::from_le_bytes(*bytes.get(at + count..)?.first_chunk()?) ^ 0x3030_3030_3030_3030;
        // The top bit of each byte that is above nine.
        let above = (((word & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
        let here = (above.trailing_zeros() / 8) as usize;
        // What comes after the digits leaves at the top, zeros before them come in at the bottom.
        let aligned = word.checked_shl(64 - 8 * (above.trailing_zeros() / 8)).unwrap_or(0);
        mantissa = mantissa.wrapping_mul(*POWERS.get(here)?).wrapping_add(eight_digits(aligned));
        count += here;
        if here < 8 {
            return Some((mantissa, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::number;

    const PADDING: &str = "the next line is as long as need be, or longer than that";

    fn read(line: &str, times: Times) -> Option<Tail> {
        tail(format!("{line}{PADDING}").as_bytes(), times)
    }

    #[test]
    fn plain_tails_mean_what_the_grammars_say() {
        let mut seed = 11u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut plain = 0;
        for _ in 0..60_000 {
            let mut digits = |most: u64| -> String {
                (0..random(most)).map(|_| char::from(b'0' + random(10) as u8)).collect()
            };
            let (whole, fraction, exponent, time, part) =
                (digits(20), digits(20), digits(3), digits(18), digits(5));
            let sign = ["", "-", "+"][random(3) as usize];
            let e = ["e", "e-", "E+"][random(3) as usize];
            let value = match random(3) {
                0 => format!("{sign}{whole}"),
                1 => format!("{sign}{whole}.{fraction}"),
                _ => format!("{sign}{whole}.{fraction}{e}{exponent}"),
            };
            let stamp = if random(2) == 0 { time } else { format!("{time}.{part}") };
            for times in [Times::Seconds, Times::Milliseconds] {
                let line = format!(" {value} {stamp}\n");
                let Some(tail) = read(&line, times) else { continue };
                plain += 1;
                let t = match times {
                    Times::Seconds => number::seconds_to_ms(stamp.as_bytes()),
                    Times::Milliseconds => stamp.parse().ok(),
                };
                let v = number::value(value.as_bytes()).map(f64::to_bits);
                assert_eq!((Some(tail.t), Some(tail.v.to_bits())), (t, v), "{line}");
                assert_eq!(tail.bytes, line.len(), "{line}");
            }
        }
        assert!(plain > 10_000, "{plain}");
    }

    #[test]
    fn what_dumps_are_made_of_is_plain() {
        let cases: [(&str, Times, i64, f64); 7] = [
            (" 1 1600000000\n", Times::Seconds, 1_600_000_000_000, 1.0),
            (" 0 1600000000.5\n", Times::Seconds, 1_600_000_000_500, 0.0),
            (" -0 1600000000.123\n", Times::Seconds, 1_600_000_000_123, -0.0),
            (" 1.073741824e+09 1600000000123\n", Times::Milliseconds, 1_600_000_000_123, 1_073_741_824.0),
            (" 0.000012345 1\n", Times::Milliseconds, 1, 0.000_012_345),
            (" 1.2345e-05 1\n", Times::Milliseconds, 1, 0.000_012_345),
            (" 123456789012345 1\n", Times::Milliseconds, 1, 123_456_789_012_345.0),
        ];
        for (line, times, t, v) in cases {
            let tail = read(line, times).unwrap();
            assert_eq!((tail.t, tail.v.to_bits(), tail.bytes), (t, v.to_bits(), line.len()));
        }
    }

    #[test]
    fn what_is_not_plain_goes_the_long_way() {
        for line in [
            "1 1\n",
            " 1\n",
            "  1 1\n",
            " 1  1\n",
            " 1 1 \n",
            " NaN 1\n",
            " +Inf 1\n",
            " 1 -1\n",
            " 1 +1\n",
            " .5 1\n",
            " 1 1.2345\n",
            " 1 1e3\n",
            " 1 .5\n",
            " 1e 1\n",
            " 1e400 1\n",
            " 1e+ 1\n",
            " 1_0 1\n",
            " 0x1 1\n",
            " 1 1 # {} 1\n",
            " 1 1\r\n",
            " 12345678901234567890 1\n",
            " 1 1234567890123456\n",
            "\t1 1\n",
            " 1\t1\n",
        ] {
            assert_eq!(read(line, Times::Seconds), None, "{line:?}");
        }
        assert_eq!(read(" 1 1.\n", Times::Milliseconds), None);
        assert_eq!(tail(b" 1 1\n", Times::Seconds), None, "too near to the end of the window");
        // Every byte that is no digit ends the digits.
        for other in (0..=u8::MAX).filter(|b| !b.is_ascii_digit()) {
            let mut bytes = [b'7'; TAIL_BYTES];
            bytes[3] = other;
            assert_eq!(digits(&bytes, 0, 0), Some((777, 3)), "{other}");
        }
    }
}
