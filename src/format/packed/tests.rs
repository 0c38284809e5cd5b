//! Goal: whatever the integers, both decoders find them again, and bad bytes are refused by both.
//! Method: shapes of real data, proptest, each truncation and each flipped bit against the reference.

use proptest::prelude::*;

use super::*;
use crate::format::testing;

fn best(x: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    Plan::best(x).encode(x, &mut out);
    out
}

#[test]
fn the_worked_example() {
    let x = [1_000, 1_015, 1_030, 1_047, 1_060, 1_075, 91_090, 91_105];
    let bytes = best(&x);
    testing::golden("packed", &bytes);
    assert_eq!(decode_all(&bytes, x.len()).as_deref(), Ok(&x[..]));
    testing::truncations_fail(&bytes, |bytes| decode_all(bytes, x.len()));
}

#[test]
fn both_decoders_agree_on_every_flipped_bit() {
    let jitter: Vec<u64> = (0..300u64).map(|i| 1_000 * i + i * i % 7 + (i % 50 / 49) * 90_000).collect();
    for x in [jitter, reference::integers_from_recipe(&[0, 3, 6, 40, 3, 9, 6, 200, 1, 90, 6, 50, 2, 2, 4, 1])]
    {
        for order in 0..=MAX_ORDER {
            let mut bytes = Vec::new();
            Plan::of(&x, order).encode(&x, &mut bytes);
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode_all(&bad, x.len()).ok(), reference::decode(&bad, x.len()), "bit {bit}");
            }
        }
    }
}

#[test]
fn every_width_is_packed_and_unpacked() {
    for width in 0..=64u8 {
        let mask = if width == 0 { 0 } else { u64::MAX >> (64 - width) };
        let x: Vec<u64> = (1..=128u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask).collect();
        let mut bytes = Vec::new();
        pack(x.iter().copied(), width, &mut bytes);
        assert_eq!(bytes.len(), 16 * usize::from(width));
        let mut low = Low::default();
        low.fill(&bytes);
        let mut out = [0; MINI_ROWS];
        unpack(width, &low, &mut out);
        assert_eq!(out.as_slice(), x, "{width} bits");
    }
}

#[test]
fn shapes_of_real_data_round_trip_and_are_small() {
    let n = 1_000u64;
    let shape = |f: &dyn Fn(u64) -> u64| (0..n).map(f).collect::<Vec<_>>();
    let most = [
        (shape(&|_| 5), 25),
        (shape(&|i| 15_000 * i), 35),
        (shape(&|i| i * i), 60),
        // One reset of a counter, one spike, a rare event.
        (shape(&|i| if i < 500 { 1_000_000 + 3 * i } else { 3 * i }), 70),
        (shape(&|i| if i == 70 { 1 << 40 } else { 0 }), 60),
        (shape(&|i| i / 100), 80),
        (shape(&|i| 1_000 * i + i * 7 % 8), 600),
        (shape(&|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)), 8_100),
    ];
    for (x, most) in most {
        let bytes = best(&x);
        assert!(bytes.len() <= most, "{} bytes for {:?} …", bytes.len(), &x[..5]);
        check_round_trip(&x);
    }
}

#[test]
fn what_is_not_wanted_is_not_unpacked() {
    let x: Vec<u64> = (0..1_024u64).map(|i| i * i % 1_013 + i).collect();
    let bytes = best(&x);
    for (wanted, minis) in [(0..1_024, 8), (700..701, 1), (700..769, 2), (1_023..1_024, 1), (0..1, 1)] {
        let mut unpacked = Vec::new();
        let mut r = Reader::new(STRUCTURE, &bytes);
        decode(&mut r, x.len(), wanted.clone(), |at, mini| unpacked.push((at, mini.to_vec()))).unwrap();
        assert_eq!(unpacked.len(), minis, "{wanted:?}");
        let first = wanted.start / MINI_ROWS * MINI_ROWS;
        assert_eq!(unpacked[0].0, first, "nothing before the mini-block that holds the first row");
        assert!(unpacked.iter().all(|(at, mini)| x[*at..].starts_with(mini)));
    }
}

#[test]
fn ends_of_the_integers_and_of_mini_blocks() {
    for n in [1, 2, 3, 127, 128, 129, 255, 256, 257] {
        check_round_trip(&(0..n).collect::<Vec<u64>>());
        check_round_trip(&(0..n).map(|i| if i % 2 == 0 { u64::MAX } else { 1 << 63 }).collect::<Vec<_>>());
        check_round_trip(&(0..n).map(|i| if i % 3 == 0 { u64::MAX / 2 } else { i }).collect::<Vec<_>>());
    }
}

#[test]
fn forged_heads_are_refused() {
    for (bytes, what) in [
        (&[3u8, 0, 0][..], "an order above 2"),
        (&[0, 65, 0], "a width above 64"),
        (&[0, 0x80, 0, 8, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 255, 255], "more patches than rows"),
        (&[0, 0x80, 0, 0, 0, 1], "patches without width"),
        (&[0, 0x80, 0, 1, 1, 2, 2, 3], "positions that do not ascend"),
        (&[0, 0x80, 0, 0, 1, 9, 1], "a position beyond the rows"),
        (&[0, 0, 0, 0], "a byte too many"),
    ] {
        assert!(decode_all(bytes, 8).is_err(), "{what}");
        assert_eq!(reference::decode(bytes, 8), None, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_integers_round_trip(x in proptest::collection::vec(any::<u64>(), 1..300)) {
        check_round_trip(&x);
    }

    #[test]
    fn recipes_round_trip(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz(&data);
    }
}
