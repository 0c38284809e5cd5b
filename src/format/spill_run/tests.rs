//! Runs round trip; every truncation and every flipped bit is noticed; limits hold at their ends.

use proptest::prelude::*;

use super::*;
use crate::format::testing::{bit_flips_fail_or_agree, golden, truncations_fail};

fn entry(labels: &[u8], rows: &[(i64, f64)]) -> Entry {
    Entry {
        labels: labels.to_vec(),
        t: rows.iter().map(|r| r.0).collect(),
        bits: rows.iter().map(|r| r.1.to_bits()).collect(),
        column: None,
    }
}

/// The same with its values as a column.
fn packed(labels: &[u8], rows: &[(i64, f64)]) -> Entry {
    let v: Vec<f64> = rows.iter().map(|r| r.1).collect();
    Entry { column: Some(values::encode(&v)), ..entry(labels, rows) }
}

fn run(salt: u32, units: Vec<Vec<Entry>>) -> Run {
    let mut end = End::default();
    units.iter().flatten().for_each(|e| end.count(&e.t));
    Run { salt, units, end }
}

/// The worked example of the page.
fn example() -> Run {
    let up_a = b"\x08__name__\x02up\x03job\x01a";
    let up_b = b"\x08__name__\x02up\x03job\x01b";
    let rows = [(1_000, 1.0), (16_000, 1.0), (16_000, 0.5), (31_000, f64::from_bits(0x7ff0_0000_0000_0002))];
    let up_c = b"\x08__name__\x02up\x03job\x01c";
    run(
        7,
        vec![vec![entry(up_a, &rows), entry(up_b, &[(-1, 300.0)]), packed(up_c, &[(0, 1.0), (15_000, 1.0)])]],
    )
}

#[test]
fn the_example_is_golden_and_harm_to_it_is_noticed() {
    let bytes = encode_run(&example());
    assert_eq!(decode_run(&bytes), Ok(example()));
    golden(STRUCTURE, &bytes);
    truncations_fail(&bytes, decode_run);
    bit_flips_fail_or_agree(&bytes, decode_run);
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(decode_run(&longer).map_err(|e| e.reason).unwrap_err(), DecodeReason::TrailingBytes);
    fuzz(&bytes);
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let rows =
        prop::collection::vec((any::<i64>(), prop_oneof![any::<u64>(), 0u64..3, Just(1u64 << 56)]), 1..40);
    (prop::collection::vec(0u8..3, 0..6), rows, any::<bool>()).prop_map(|(labels, mut rows, is_packed)| {
        rows.iter_mut().for_each(|r| r.0 = r.0.min(i64::MAX - 1));
        rows.sort_by_key(|r| r.0);
        let rows: Vec<(i64, f64)> = rows.into_iter().map(|r| (r.0, f64::from_bits(r.1))).collect();
        match rows.is_sorted_by(|a, b| a.0 < b.0) && is_packed {
            true => packed(&labels, &rows),
            false => entry(&labels, &rows),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn runs_round_trip(
        salt in any::<u32>(),
        units in prop::collection::vec(prop::collection::vec(any_entry(), 1..5), 0..4),
    ) {
        let run = run(salt, units);
        let bytes = encode_run(&run);
        prop_assert_eq!(decode_run(&bytes), Ok(run));
    }

    #[test]
    fn bare_bytes_decode_to_one_form_or_not_at_all(bytes in prop::collection::vec(0u8..20, 0..60)) {
        fuzz(&bytes);
    }
}

#[test]
fn a_unit_belongs_to_its_place_and_its_run() {
    let mut unit = UnitBuilder::default();
    unit.push(b"\x01a\x01b", &[1], &[1.0]);
    let mut bytes = Vec::new();
    unit.finish(7, 20, &mut bytes);
    assert!(decode_unit(7, 20, &bytes).is_ok());
    assert!(decode_unit(8, 20, &bytes).is_err(), "another run");
    assert!(decode_unit(7, 21, &bytes).is_err(), "another place");
}

#[test]
fn versions_and_magic_are_told_apart() {
    let header = |magic: u32, version: u32| {
        let mut out = Vec::new();
        out.put_u32(magic);
        out.put_u32(version);
        out.put_u32(9);
        seal(&mut out, 0, 0);
        decode_header(&out).map_err(|e| e.reason)
    };
    assert_eq!(header(MAGIC, VERSION), Ok(9));
    assert_eq!(header(MAGIC, 2), Err(DecodeReason::NewerVersion { found: 2, known: 1 }));
    assert!(header(MAGIC, 0).is_err());
    assert_eq!(header(MAGIC + 1, VERSION), Err(DecodeReason::BadMagic));
}

/// Bare entries: labels, then `count` rows at time 0 with value 0.
fn bare(labels: usize, count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_varint(0);
    out.put_sized(&vec![1; labels]);
    out.put_varint(count as u64);
    out.put_varint(0);
    out.resize(out.len() + 2 * count, 0);
    out
}

#[test]
fn limits_hold_at_their_ends() {
    let decode = |bytes: &[u8]| decode_entry(bytes, 0, &mut Vec::new(), &mut Columns::default());
    assert!(decode(&bare(3, 0)).is_err());
    assert!(decode(&bare(3, MAX_ENTRY_ROWS - 1)).is_ok());
    assert!(decode(&bare(3, MAX_ENTRY_ROWS)).is_ok());
    assert!(decode(&bare(3, MAX_ENTRY_ROWS + 1)).is_err());
    assert!(decode(&bare(MAX_LABELS_BYTES - 1, 1)).is_ok());
    assert!(decode(&bare(MAX_LABELS_BYTES, 1)).is_ok());
    assert!(decode(&bare(MAX_LABELS_BYTES + 1, 1)).is_err());
    let maximum = u32::try_from(MAX_BODY_BYTES).unwrap();
    assert!(unit_bytes(0u32.to_le_bytes()).is_err());
    assert_eq!(unit_bytes((maximum - 1).to_le_bytes()), Ok(MAX_BODY_BYTES + 7));
    assert_eq!(unit_bytes(maximum.to_le_bytes()), Ok(MAX_BODY_BYTES + 8));
    assert!(unit_bytes((maximum + 1).to_le_bytes()).is_err());
}

#[test]
fn shared_and_new_bytes_of_labels_are_bounded_together() {
    let mut labels = vec![1; MAX_LABELS_BYTES];
    let mut second = Vec::new();
    second.put_varint(MAX_LABELS_BYTES as u64);
    second.put_sized(&[2]);
    second.extend([1, 0, 0, 0]);
    assert!(decode_entry(&second, 0, &mut labels, &mut Columns::default()).is_err());
}

#[test]
fn an_entry_starts_only_in_a_unit_that_is_not_full() {
    let decode = |at: usize| {
        let mut entries = vec![0; at];
        entries.extend(bare(1, 1));
        decode_entry(&entries, at, &mut Vec::new(), &mut Columns::default())
    };
    assert!(decode(UNIT_TARGET_BYTES - 2).is_ok());
    assert!(decode(UNIT_TARGET_BYTES - 1).is_err());
}

#[test]
fn the_largest_unit_fits_the_maximum() {
    let mut unit = UnitBuilder::default();
    let t: Vec<i64> = (0..MAX_ENTRY_ROWS as i64).map(|i| i64::MIN.wrapping_add(i << 53)).collect();
    let v: Vec<f64> =
        (0..MAX_ENTRY_ROWS as u64).map(|i| f64::from_bits(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    unit.push(&vec![1; UNIT_TARGET_BYTES - 16], &[0], &[0.0]);
    assert!(unit.body_bytes() < UNIT_TARGET_BYTES);
    unit.push(&vec![2; MAX_LABELS_BYTES], &t, &v);
    assert!(unit.body_bytes() <= MAX_BODY_BYTES, "{}", unit.body_bytes());
    let mut bytes = Vec::new();
    unit.finish(1, 20, &mut bytes);
    assert_eq!(unit_bytes(*bytes.first_chunk().unwrap()), Ok(bytes.len()));
    let Unit::Entries(entries) = decode_unit(1, 20, &bytes).unwrap() else { panic!("entries") };
    assert_eq!(decode_entries(entries).unwrap()[1].t, t);
}

#[test]
fn columns_are_checked() {
    let decode = |count: u64, times: &[u8], column: &[u8]| {
        let mut out = bare(1, 0);
        out.truncate(out.len() - 2);
        out.put_varint(count);
        out.put_varint(column.len() as u64);
        out.extend_from_slice(times);
        out.extend_from_slice(column);
        let mut rows = Columns::default();
        let decoded = decode_entry(&out, 0, &mut Vec::new(), &mut rows).map_err(|e| e.reason)?;
        assert_eq!((decoded.next, &out[decoded.column.unwrap()]), (out.len(), column));
        Ok::<_, DecodeReason>(rows.v)
    };
    let column = values::encode(&[1.0, 2.5, -0.0]);
    assert_eq!(decode(3, &[0, 1, 1], &column), Ok(vec![1.0, 2.5, -0.0]));
    assert!(decode(3, &[0, 1, 0], &column).is_err(), "a timestamp twice");
    assert!(decode(2, &[0, 1], &column).is_err(), "of three values");
    assert!(decode(3, &[0, 1, 1], &column[..column.len() - 1]).is_err(), "cut");
    assert!(decode(3, &[0, 1, 1], &[0xff]).is_err(), "of no kind");
    let constant = |bytes: usize| [values::encode(&[1.0; 2]), vec![0; bytes - 4]].concat();
    assert_eq!(values::encode(&[1.0; 2]).len(), 4);
    assert_eq!(
        decode(1, &[0], &constant(MAX_COLUMN_BYTES + 1)),
        Err(DecodeReason::AboveMaximum { found: 32_769, maximum: 32_768 })
    );
}

#[test]
fn the_largest_columns_fit_the_maximum() {
    let mut random = 1u64;
    let mut v = |n: usize| -> Vec<f64> {
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from_bits(random)
        };
        (0..n).map(|_| next()).collect()
    };
    assert!(values::encode(&v(MAX_ENTRY_ROWS)).len() <= MAX_COLUMN_BYTES);
    let all_parts =
        UNIT_TARGET_BYTES - 1 + 5 + 5 + MAX_LABELS_BYTES + 5 + 5 + 10 * MAX_ENTRY_ROWS + MAX_COLUMN_BYTES;
    assert!(all_parts <= MAX_BODY_BYTES, "{all_parts}");
}

#[test]
fn times_and_values_of_another_form_are_refused() {
    let decode = |tail: &[u8], count: u64| {
        let mut out = bare(1, 0);
        out.truncate(out.len() - 2);
        out.put_varint(count);
        out.put_varint(0);
        out.extend_from_slice(tail);
        decode_entry(&out, 0, &mut Vec::new(), &mut Columns::default()).map_err(|e| e.reason)
    };
    assert!(decode(&[0, 0x18, 1, 0, 0, 0, 0, 0, 0, 0], 1).is_err(), "nine bytes in all");
    assert!(decode(&[0, 0x71, 5], 1).is_ok(), "the lowest byte alone");
    assert!(decode(&[0, 0x72, 5, 5], 1).is_err(), "nine bytes");
    assert!(decode(&[0, 0x70], 1).is_err(), "none kept");
    assert!(decode(&[0, 0x62, 5, 0], 1).is_err(), "a leading zero byte kept");
    assert!(decode(&[0, 0x62, 0, 5], 1).is_err(), "a trailing zero byte kept");
    let mut reserved = Vec::new();
    reserved.put_zigzag(i64::MAX);
    reserved.push(0);
    assert!(decode(&reserved, 1).is_err(), "the reserved timestamp");
    let mut over = Vec::new();
    over.put_zigzag(i64::MAX - 1);
    over.extend([2, 0, 0]);
    assert!(decode(&over, 2).is_err(), "above 64 bits");
}
