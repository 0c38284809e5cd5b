//! Goal: every value comes back to the bit, and hostile payloads are refused cheaply.
//! Method: an encoder and a decoder side by side over several records of one "segment".

use super::*;
use crate::error::DecodeReason;
use crate::format::testing;
use proptest::prelude::*;

fn row(series: u32, t: i64, v: f64) -> Row {
    Row { series, t, v }
}

/// Tells `series` (name and value pairs) and rows, with numbers as they are in `rows`.
fn encoded(state: &mut State, strings: &[&str], series: &[&[(u32, u32)]], rows: &[Row]) -> Vec<u8> {
    let told = Told {
        strings: strings.to_vec(),
        series: series.iter().map(|p| p.len() as u32).collect(),
        pairs: series.concat(),
    };
    encode_again(&told, rows, state)
}

fn decoded(bytes: &[u8], state: &mut State) -> Result<(Vec<String>, Vec<Row>), DecodeError> {
    let mut rows = Vec::new();
    let told = decode(bytes, state, &mut rows)?;
    Ok((told.strings.iter().map(|s| (*s).to_owned()).collect(), rows))
}

/// One series with the values given, one record for each; the payload bytes of each record's value.
fn value_bytes(values: &[f64]) -> Vec<usize> {
    let (mut writer, mut reader) = (State::default(), State::default());
    let bytes = encoded(&mut writer, &["a", "b"], &[&[(0, 1)]], &[]);
    decoded(&bytes, &mut reader).unwrap();
    let mut sizes = Vec::new();
    for &v in values {
        let bytes = encoded(&mut writer, &[], &[], &[row(0, 0, v)]);
        assert_eq!(decoded(&bytes, &mut reader).unwrap().1, [row(0, 0, v)], "{v}");
        assert_eq!(writer, reader);
        // base_t, strings, series, rows, run (2), mode, run (2), tag
        sizes.push(bytes.len() - 10);
    }
    sizes
}

fn example() -> (Vec<u8>, Vec<Row>) {
    let rows = vec![row(0, 1_000, 1.0), row(1, 1_000, 0.5), row(1, 16_000, 0.5), row(1, 31_000, STALE)];
    let series: [&[(u32, u32)]; 2] = [&[(0, 1), (2, 3)], &[(0, 4), (2, 3)]];
    let strings = ["__name__", "up", "job", "node", "load"];
    (encoded(&mut State::default(), &strings, &series, &rows), rows)
}

#[test]
fn golden_and_damage() {
    let (bytes, rows) = example();
    testing::golden("wal_commit", &bytes);
    assert_eq!(decoded(&bytes, &mut State::default()).unwrap().1, rows);
    testing::truncations_fail(&bytes, |b| decoded(b, &mut State::default()));
    // No checksum of its own (the frame has it): a flip is refused, or another valid commit.
    for bit in 0..bytes.len() * 8 {
        let mut bad = vec![255];
        bad.extend_from_slice(&bytes);
        bad[1 + bit / 8] ^= 1 << (bit % 8);
        fuzz(&bad);
    }
    let mut trailing = bytes;
    trailing.push(0);
    let error = decoded(&trailing, &mut State::default()).unwrap_err();
    assert_eq!(error.reason, DecodeReason::TrailingBytes);
}

#[test]
fn sizes_are_those_of_the_table() {
    assert_eq!(value_bytes(&[0.0, 1.0, 1.0, 100.0, 40_000.0, 8e6, 2e9, 7e10]), [0, 1, 0, 1, 3, 3, 4, 6]);
    assert_eq!(value_bytes(&[0.5, 0.75, STALE, STALE]), [2, 2, 0, 0], "halves, then stale");
    assert_eq!(value_bytes(&[1234.56, 1234.57, 1240.01])[1..], [2, 3], "decimals");
    assert_eq!(value_bytes(&[0.1, 0.1 + 0.2, std::f64::consts::PI])[2], 8, "noise");
}

#[test]
fn odd_values_keep_their_bits() {
    let two_53 = MAX_INTEGER as f64;
    let odd = [
        0.0,
        -0.0,
        1.0,
        -0.0,
        0.1,
        -0.0,
        f64::NAN,
        -f64::NAN,
        STALE,
        f64::from_bits(0x7ff0_0000_0000_0001),
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        two_53,
        two_53 + 2.0,
        -two_53,
        two_53 - 1.0,
        two_53 / 10.0,
        -two_53 / 10.0,
        0.3,
        -0.3,
        1e15 + 0.3,
        123.456,
        5e-5,
        9.223_372_036_854_776e18,
        -9.223_372_036_854_776e18,
        1e300,
        450_359_962_737_049.6,
        0.0001,
        -0.0001,
    ];
    value_bytes(&odd);
    let backwards: Vec<f64> = odd.iter().rev().copied().collect();
    value_bytes(&backwards);
    for a in odd {
        for b in odd {
            value_bytes(&[a, b, a]);
        }
    }
}

#[test]
fn a_scrape_is_two_runs_and_a_batch_of_one_series_is_two() {
    let mut state = State { strings: 0, previous: vec![0; 1_000] };
    let scrape: Vec<Row> = (0..1_000).map(|s| row(s, 1_600_000_000_000, 0.0)).collect();
    let bytes = encoded(&mut state, &[], &[], &scrape);
    assert_eq!(bytes.len(), 6 + 1 + 1 + 2 + 3 + 1 + 3 + 500);
    let batch: Vec<Row> = (0..1_000).map(|i| row(7, 1_600_000_000_000 + i * 15_000, 0.0)).collect();
    let bytes = encoded(&mut state, &[], &[], &batch);
    assert_eq!(bytes.len(), 6 + 1 + 1 + 2 + 3 + 1 + 2 + 5 + 500);
    let mut reader = State { strings: 0, previous: vec![0; 1_000] };
    assert_eq!(decoded(&bytes, &mut reader).unwrap().1, batch);
}

#[test]
fn limits() {
    let one = |n: usize| "x".repeat(n);
    for (n, ok) in [(65_534, true), (65_535, true), (65_536, false)] {
        let bytes = encoded(&mut State::default(), &[&one(n)], &[], &[]);
        assert_eq!(decoded(&bytes, &mut State::default()).is_ok(), ok, "a string of {n} bytes");
    }
    for (n, ok) in [(0, false), (1, true), (1_024, true), (1_025, false)] {
        let bytes = encoded(&mut State::default(), &["a"], &[&vec![(0, 0); n]], &[]);
        assert_eq!(decoded(&bytes, &mut State::default()).is_ok(), ok, "{n} pairs");
    }
    for (n, ok) in [(4_194_303, true), (4_194_304, true), (4_194_305, false)] {
        let mut state = State { strings: 0, previous: vec![0] };
        let bytes = encoded(&mut state, &[], &[], &vec![row(0, 0, 0.0); n]);
        let mut reader = State { strings: 0, previous: vec![0] };
        assert_eq!(decoded(&bytes, &mut reader).is_ok(), ok, "{n} rows");
    }
}

#[test]
fn what_was_not_told_is_refused() {
    let refused = |bytes: &[u8], state: State| decoded(bytes, &mut { state }).is_err();
    let state = || State { strings: 1, previous: vec![0, 0x3fb9_9999_9999_999a] };
    // base_t, strings, series, rows, then: run start, run length, mode, step, length, tag, word
    assert!(!refused(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2], state()));
    assert!(refused(&[0, 0, 0, 1, 4, 0, 0, 0, 0, 0], state()), "series 2 of 2");
    assert!(refused(&[0, 0, 0, 1, 1, 0, 0, 0, 0, 0], state()), "series -1");
    assert!(refused(&[0, 0, 0, 1, 0, 2, 0, 0, 0, 0], state()), "a run beyond the rows");
    assert!(refused(&[0, 0, 0, 1, 0, 0, 2, 0, 0, 0], state()), "a third form of times");
    assert!(refused(&[0, 0, 0, 1, 0, 0, 0, 0, 1, 0], state()), "times beyond the rows");
    assert!(refused(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0x10], state()), "a tag for no row");
    assert!(refused(&[0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 2], state()), "an integer behind 0.1");
    assert!(!refused(&[0, 0, 0, 1, 2, 0, 0, 0, 0, 14, 4, 2], state()), "0.1 and a tenth");
    assert!(refused(&[0, 0, 0, 1, 2, 0, 0, 0, 0, 14, 3, 2], state()), "a decimal of no bytes");
    assert!(refused(&[0, 0, 0, 1, 2, 0, 0, 0, 0, 14, 28, 2, 0, 0, 0, 0, 0, 0], state()), "of seven");
    assert!(refused(&[0, 0, 1, 1, 0, 1, 0], state()), "string 1 of 1");
    assert!(refused(&[0, 0, 0, 0xff, 0xff, 0xff, 1, 0, 0], state()), "rows without bytes");
}

#[test]
fn a_record_that_was_taken_back_leaves_no_trace() {
    let mut state = State::default();
    encoded(&mut state, &["a", "b"], &[&[(0, 1)]], &[row(0, 5, 1.5), row(0, 6, 2.5)]);
    let before = state.clone();
    let (mut undo, mut news, mut out) = (Undo::default(), News::default(), Vec::new());
    undo.begin(&state);
    news.add_string(&mut state, "c");
    news.add_series(&mut state, &[(0, 2)]);
    let rows = [row(0, 7, 3.0), row(1, 7, 1.0), row(0, 8, 4.0)];
    Encoder::default().encode(&news, (&rows, &[0, 1, 0]), (&mut state, &mut undo), &mut out);
    assert_ne!(state, before);
    undo.roll_back(&[0, 1, 0], &mut state);
    assert_eq!(state, before);
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-1_000i32..1_000).prop_map(f64::from),
        (-100_000i32..100_000, 0i32..6).prop_map(|(n, e)| f64::from(n) / 10f64.powi(e)),
        any::<f32>().prop_map(f64::from),
        Just(STALE),
        Just(0.0),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn round_trip(records in prop::collection::vec(
        prop::collection::vec((0u32..20, any::<bool>(), any::<i64>(), 0i64..3, any_value()), 0..60), 1..6),
        ordered: bool,
    ) {
        let (mut writer, mut reader) = (State::default(), State::default());
        let all: Vec<&[(u32, u32)]> = vec![&[(0, 1)]; 20];
        let bytes = encoded(&mut writer, &["a", "b"], &all, &[]);
        decoded(&bytes, &mut reader).unwrap();
        for record in records {
            let mut rows: Vec<Row> = record
                .into_iter()
                .map(|(s, wild, t, near, v)| row(s, if wild { t } else { near * 15_000 }, v))
                .collect();
            if ordered {
                rows.sort_by_key(|r| (r.series, r.t));
            }
            let bytes = encoded(&mut writer, &[], &[], &rows);
            prop_assert_eq!(decoded(&bytes, &mut reader).unwrap().1, rows);
            prop_assert_eq!(&writer, &reader);
        }
    }

    #[test]
    fn any_bytes_are_answered_or_refused(data: Vec<u8>) {
        fuzz(&data);
    }
}
