//! Times in and out: integer milliseconds, RFC 3339, or a span before now.
//!
//! | text | means |
//! |---|---|
//! | `1600000000000`, `-5` | milliseconds since 1970 |
//! | `2026-01-31T12:00:00Z`, `2026-01-31T13:00:00+01:00` | that time, cut to the millisecond |
//! | `now` | now |
//! | `-1h`, `-1d12h`, `-90s` | that long before now |
//!
//! Spans are as in PromQL: `ms s m h d w y`, the larger unit first, a year of 365 days.

use std::str::FromStr;

use jiff::Timestamp;

/// A time as given: absolute, or relative to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// Milliseconds since 1970.
    At(i64),
    /// Milliseconds before now.
    Ago(i64),
}

impl Time {
    /// In milliseconds since 1970.
    pub(crate) fn resolve(self, now_ms: i64) -> i64 {
        match self {
            Time::At(t) => t,
            Time::Ago(span) => now_ms.saturating_sub(span),
        }
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        if text == "now" {
            return Ok(Time::Ago(0));
        }
        if let Ok(ms) = text.parse::<i64>() {
            return match ms {
                i64::MAX => Err(format!("{ms} is reserved; the last time there is, is {}", i64::MAX - 1)),
                ms => Ok(Time::At(ms)),
            };
        }
        if let Some(Ok(span)) = text.strip_prefix('-').map(parse_span) {
            return Ok(Time::Ago(span));
        }
        match text.parse::<Timestamp>() {
            Ok(t) => Ok(Time::At(t.as_nanosecond().div_euclid(1_000_000).try_into().unwrap_or(i64::MIN))),
            Err(_) => Err(format!(
                "`{text}` is no time: write milliseconds since 1970, RFC 3339 (2026-01-31T12:00:00Z), or a span before now (-1h)"
            )),
        }
    }
}

/// A span of time in milliseconds, more than zero: `15s`, `1h30m`.
pub(crate) fn parse_span(text: &str) -> Result<i64, String> {
    let wrong =
        || format!("`{text}` is no span of time: write a number and ms, s, m, h, d, w or y (15s, 1h30m)");
    let mut rest = text;
    let mut total = 0i64;
    let mut smaller_than = i64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit_ms = unit_ms(unit).filter(|&u| u < smaller_than).ok_or_else(wrong)?;
        let part = number.parse::<i64>().ok().and_then(|n| n.checked_mul(unit_ms)).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        smaller_than = unit_ms;
        rest = after;
    }
    if total > 0 { Ok(total) } else { Err(wrong()) }
}

fn unit_ms(unit: &str) -> Option<i64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        "y" => 365 * 86_400_000,
        _ => return None,
    })
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A time as RFC 3339 in UTC, with milliseconds where there are some; beyond its years, plain milliseconds.
pub(crate) fn rfc3339(t_ms: i64) -> String {
    match Timestamp::from_millisecond(t_ms) {
        Ok(t) => t.to_string(),
        Err(_) => format!("{t_ms} ms"),
    }
}

/// A time as `12:34:56`, for times of a day that is told elsewhere.
pub(crate) fn time_of_day(t_ms: i64) -> String {
    let text = rfc3339(t_ms);
    match text.split_once('T') {
        Some((_, time)) => time.trim_end_matches('Z').to_owned(),
        None => text,
    }
}

/// A span for people: `1d2h`, `10m5s`, `250ms`; two units at most.
pub(crate) fn span(ms: i128) -> String {
    const UNITS: [(i128, &str); 5] =
        [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let mut rest = ms.max(0);
    let mut text = String::new();
    let mut parts = 0;
    for (unit, letter) in UNITS {
        if rest >= unit && parts < 2 {
            text.push_str(&format!("{}{letter}", rest / unit));
            rest %= unit;
            parts += 1;
        } else if parts == 1 {
            // Only neighbours: "1d" rather than "1d3s".
            break;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_times() {
        for (text, ms) in [
            ("0", 0),
            ("1600000000000", 1_600_000_000_000),
            ("-5", -5),
            ("-9223372036854775808", i64::MIN),
            ("9223372036854775806", i64::MAX - 1),
            ("1970-01-01T00:00:00Z", 0),
            ("2020-09-13T12:26:40Z", 1_600_000_000_000),
            ("2020-09-13T14:26:40.123456+02:00", 1_600_000_000_123),
            ("1969-12-31T23:59:59.9995Z", -1),
        ] {
            assert_eq!(text.parse(), Ok(Time::At(ms)), "{text}");
        }
    }

    #[test]
    fn relative_times() {
        assert_eq!("now".parse(), Ok(Time::Ago(0)));
        assert_eq!("-1h".parse(), Ok(Time::Ago(3_600_000)));
        assert_eq!("-1d12h".parse(), Ok(Time::Ago(36 * 3_600_000)));
        assert_eq!(Time::Ago(3_600_000).resolve(10_000_000), 6_400_000);
        assert_eq!(Time::Ago(i64::MAX).resolve(i64::MIN + 5), i64::MIN);
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "-",
            "yesterday",
            "1h",
            "+1h",
            "-1h-",
            "-h",
            "-1",
            "2026-01-31",
            "9223372036854775807",
            "1e3",
            "-1.5h",
        ] {
            let outcome = text.parse::<Time>();
            assert!(outcome.is_err() || text == "-1", "{text}: {outcome:?}");
        }
    }

    #[test]
    fn spans() {
        for (text, ms) in [
            ("1ms", 1),
            ("15s", 15_000),
            ("1m", 60_000),
            ("1h30m", 5_400_000),
            ("1w", 604_800_000),
            ("1y", 31_536_000_000),
        ] {
            assert_eq!(parse_span(text), Ok(ms), "{text}");
        }
        for text in
            ["", "0s", "s", "15", "1m1h", "1m1m", "1.5s", "-1s", "99999999999999999999s", "300000000y", "1µs"]
        {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_for_people() {
        assert_eq!(rfc3339(1_600_000_000_000), "2020-09-13T12:26:40Z");
        assert_eq!(rfc3339(1_600_000_000_050), "2020-09-13T12:26:40.05Z");
        assert_eq!(rfc3339(i64::MIN), "-9223372036854775808 ms");
        assert_eq!(time_of_day(1_600_000_000_000), "12:26:40");
        assert_eq!(time_of_day(i64::MIN), "-9223372036854775808 ms");
    }

    #[test]
    fn spans_for_people() {
        for (ms, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1_000, "1s"),
            (605_000, "10m5s"),
            (93_600_000, "1d2h"),
            (86_403_000, "1d"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
