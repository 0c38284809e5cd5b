//! Goal: values come back to the bit, whatever they are; rows of a shared column are named in one way; bad bytes are refused.
//! Method: named shapes, proptest, truncations, flipped bits that must decode to something or be refused.

use proptest::prelude::*;

use super::values::{self, Kind, kind};
use super::*;
use crate::format::testing;

const STALE: f64 = crate::model::STALE;

fn decode(bytes: &[u8]) -> Result<(Vec<i64>, Vec<u64>), DecodeError> {
    let payload = Payload::decode(bytes)?;
    let column: Vec<i64> = (0..70_000).map(|i| 1_000 + 15_000 * i).collect();
    let (mut t, mut v) = (Vec::new(), Vec::new());
    payload.times(&column, &mut t)?;
    payload.decode_values(0..payload.rows, &mut v)?;
    Ok((t, v.iter().map(|v| v.to_bits()).collect()))
}

#[test]
fn the_worked_example() {
    let column: Vec<i64> = (0..6).map(|i| 1_000 + 15_000 * i).collect();
    let t = [16_000, 31_000, 61_000, 76_000];
    let v = [0.5, 0.75, STALE, 1.25];
    let mut bytes = Vec::new();
    Rows::find(300, &column, &t).unwrap().encode(&values::encode(&v), &mut bytes);
    testing::golden("columns", &bytes);
    let bits = v.map(f64::to_bits).to_vec();
    assert_eq!(decode(&bytes), Ok((t.to_vec(), bits)));
    testing::truncations_fail(&bytes, decode);
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let _either = decode(&bad);
        fuzz(&bad);
    }
}

#[test]
fn kinds_are_chosen_by_what_the_values_are() {
    let n = |f: &dyn Fn(f64) -> f64| (0..500).map(f64::from).map(f).collect::<Vec<_>>();
    let noise = |i: f64| (i * 12.9898).sin();
    for (v, expected, most) in [
        (n(&|_| -0.0), Kind::Constant, 3),
        (n(&|_| STALE), Kind::Constant, 11),
        (n(&|_| f64::from_bits(0xfff8_0000_dead_beef)), Kind::Constant, 11),
        (n(&|i| i * 3.0), Kind::Integer, 30),
        (n(&|i| i * 4_096.0 + 8_192.0), Kind::Integer, 30),
        (n(&|i| 1.7e18 + i * 256.0), Kind::Integer, 40),
        (n(&|i| if i == 499.0 { STALE } else { i }), Kind::Integer, 60),
        (n(&|i| (i * 7.0) % 10.0 / 100.0), Kind::Decimal, 300),
        (n(&|i| if i % 400.0 == 7.0 { -0.0 } else { i / 10.0 }), Kind::Decimal, 80),
        (n(&noise), Kind::Bits, 4_100),
        (n(&|i| if i % 2.0 == 0.0 { f64::NAN } else { i }), Kind::Bits, 4_100),
        (n(&|i| 1.0 / (i + 1e300)), Kind::Constant, 11),
    ] {
        let bytes = values::encode(&v);
        assert_eq!(kind(&bytes), expected, "{:?} …", &v[..3]);
        assert!(bytes.len() <= most, "{} bytes for {:?} …", bytes.len(), &v[..3]);
        check_values(&v);
    }
}

#[test]
fn odd_values_come_back_to_the_bit() {
    let odd =
        [0.0, -0.0, STALE, f64::NAN, -f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::MIN];
    for a in odd {
        check_values(&[a]);
        for b in odd {
            check_values(&[a, b]);
            check_values(&[1.5, a, 2.5, b, 3.5]);
        }
    }
    for edge in
        [9_007_199_254_740_992.0, 9_223_372_036_854_775_808.0, 1e15, 1e22, 0.1, 1e-15, 123_456_789.123_456]
    {
        check_values(&[edge, -edge, edge + 1.0, edge - 1.0, edge * 2.0]);
    }
}

#[test]
fn rows_of_a_column_are_found() {
    let column = [10, 20, 30, 40, 50];
    let found = |t: &[i64]| {
        let rows = Rows::find(0, &column, t)?;
        let mut bytes = Vec::new();
        rows.encode(&values::encode(&vec![1.0; t.len()]), &mut bytes);
        let payload = Payload::decode(&bytes).unwrap();
        let mut back = Vec::new();
        payload.times(&column, &mut back).unwrap();
        assert_eq!(back, t);
        assert_eq!(payload.is_all_of(column.len()), t == column);
        assert!(payload.times(&column[..2], &mut back).is_err() || t.last() <= Some(&20));
        Some((rows.first, rows.absent.len()))
    };
    assert_eq!(found(&column), Some((0, 0)));
    assert_eq!(found(&[20, 30]), Some((1, 0)));
    assert_eq!(found(&[10, 20]), Some((0, 0)));
    assert_eq!(found(&[20, 40, 50]), Some((1, 4)));
    assert_eq!(found(&[10, 50]), Some((0, 5)));
    for missing in [&[5, 10][..], &[10, 25], &[10, 60], &[60], &[]] {
        assert_eq!(found(missing), None, "{missing:?}");
    }
}

#[test]
fn forged_payloads_are_refused() {
    let constant = [0, 0];
    let payload = |head: &[u8]| [head, &constant].concat();
    for (bytes, what) in [
        (payload(&[0, 0, 0]), "no rows"),
        (payload(&[0x80, 0x80, 4, 0, 0]), "too many rows"),
        (payload(&[2, 0, 1, 2, 0]), "absent rows of which none is absent"),
        (payload(&[2, 0, 1, 3, 0b001]), "the first row absent"),
        (payload(&[2, 0, 1, 3, 0b100]), "the last row absent"),
        (payload(&[2, 0, 1, 3, 0b1010]), "a bit beyond the last row"),
        (payload(&[2, 0, 1, 4, 0b0010]), "fewer absent rows than the span says"),
        (vec![2, 0, 0, 3], "an unknown kind"),
        (vec![2, 0, 0, 0x10, 0], "a constant with an exponent"),
        (vec![2, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "exceptions among bits"),
        (vec![2, 0, 0, 10, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "an exception beyond the rows"),
        (vec![2, 0, 0, 10, 2, 0], "more exceptions than rows"),
    ] {
        assert!(decode(&bytes).is_err(), "{what}");
        fuzz(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_values_round_trip(bits in proptest::collection::vec(any::<u64>(), 1..200)) {
        check_values(&bits.iter().map(|bits| f64::from_bits(*bits)).collect::<Vec<_>>());
    }

    #[test]
    fn decimals_round_trip(x in proptest::collection::vec(-1i64 << 40..1 << 40, 1..300), exponent in 0..18) {
        check_values(&x.iter().map(|x| *x as f64 / 10f64.powi(exponent)).collect::<Vec<_>>());
    }

    #[test]
    fn recipes_hold(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz(&data);
    }
}
