//! The value of a native histogram in OpenMetrics text, an extension that the strict check takes:
//!
//! ```text
//!   {count:24,sum:100,schema:0,zero_threshold:0.001,zero_count:4,
//!    positive_spans:[0:2,1:2],negative_spans:[0:2],positive_deltas:[2,1,-3,3],negative_deltas:[2,1]}
//! ```
//!
//! Only its form is checked: known fields in this order, each at most once, the first five
//! present; numbers where numbers belong. Nothing is stored.

use super::number;
use super::scan::{Scan, Stop};

/// The fields in their order, whether each must be there, and what it holds.
const FIELDS: [(&[u8], bool, Holds); 9] = [
    (b"count:", true, Holds::Number),
    (b"sum:", true, Holds::Number),
    (b"schema:", true, Holds::Number),
    (b"zero_threshold:", true, Holds::Number),
    (b"zero_count:", true, Holds::Number),
    (b"positive_spans:", false, Holds::Spans),
    (b"negative_spans:", false, Holds::Spans),
    (b"positive_deltas:", false, Holds::Numbers),
    (b"negative_deltas:", false, Holds::Numbers),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Number,
    Numbers,
    Spans,
}

/// Parses the value after its `{`, through the line feed.
pub(crate) fn value(scan: &mut Scan<'_>) -> Result<(), Stop> {
    let mut first = true;
    for (field, required, holds) in FIELDS {
        let before = scan.clone();
        if !first && !scan.take(b',')? {
            if required {
                return scan.bad("the native histogram lacks a field");
            }
            break;
        }
        if !scan.word(field)? {
            if required {
                return scan.bad("the native histogram lacks a field, or has it out of order");
            }
            *scan = before;
            continue;
        }
        first = false;
        field_value(scan, holds)?;
    }
    scan.expect(b'}', "expected a known field or '}' in the native histogram")?;
    scan.expect(b'\n', "expected the end of the line after the native histogram")
}

fn field_value(scan: &mut Scan<'_>, holds: Holds) -> Result<(), Stop> {
    if holds == Holds::Number {
        return one_number(scan);
    }
    scan.expect(b'[', "expected '['")?;
    if scan.take(b']')? {
        return Ok(());
    }
    loop {
        one_number(scan)?;
        if holds == Holds::Spans {
            scan.expect(b':', "expected ':' between offset and length of a span")?;
            one_number(scan)?;
        }
        if scan.take(b']')? {
            return Ok(());
        }
        scan.expect(b',', "expected ',' or ']'")?;
    }
}

fn one_number(scan: &mut Scan<'_>) -> Result<(), Stop> {
    let (at, rest) = (scan.at(), scan.rest());
    let span = scan.run(|b| !matches!(b, b',' | b':' | b']' | b'}' | b'\n' | b' '))?;
    match number::value(rest.get(..span.end - at).unwrap_or_default()) {
        Some(_) => Ok(()),
        None => Err(Stop::Bad { at, why: "expected a number in the native histogram" }),
    }
}
