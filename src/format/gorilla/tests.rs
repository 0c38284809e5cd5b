//! The fast codec against the reference, against the format's limits, and against real chunks of Prometheus.

use super::*;
use crate::format::testing;
use crate::model::STALE;

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *seed >> 33
}

fn decode(payload: &[u8]) -> Result<Vec<(i64, u64)>, DecodeError> {
    let mut out = Columns::default();
    decode_into(payload, &mut out)?;
    Ok(reference::rows_of(&out))
}

fn columns(rows: &[(i64, f64)]) -> Columns {
    let mut out = Columns::default();
    rows.iter().for_each(|&(t, v)| out.push(t, v));
    out
}

fn reason(payload: &[u8]) -> DecodeReason {
    decode(payload).unwrap_err().reason
}

#[test]
fn the_worked_example() {
    let rows = columns(&[(1_000, 1.0), (16_000, 1.0), (31_000, 2.0), (46_010, 4.0), (61_020, 4.0)]);
    let payload = encode(&rows.t, &rows.v);
    testing::golden("gorilla", &payload);
    assert_eq!(decode(&payload).unwrap(), reference::rows_of(&rows));
    testing::truncations_fail(&payload, decode);
    fuzz(&payload);
}

#[test]
fn an_encoder_is_small_and_starts_without_a_buffer() {
    assert!(size_of::<Encoder>() <= 64);
    let mut encoder = Encoder::new();
    assert_eq!((encoder.payload(), encoder.rows(), encoder.last()), (vec![0, 0], 0, None));
    assert_eq!(decode(&encoder.payload()), Ok(vec![]));
    assert_eq!(encoder.buffer.capacity(), 0);

    encoder.append(5, -0.0);
    let first = encoder.payload();
    assert_eq!(encoder.last().map(|s| (s.t, s.v.to_bits())), Some((5, 1 << 63)));
    encoder.append(7, 1.5);
    assert_eq!((encoder.rows(), encoder.payload_bytes()), (2, encoder.payload().len()));
    encoder.clear();
    assert_eq!((encoder.payload(), encoder.rows(), encoder.last()), (vec![0, 0], 0, None));
    encoder.append(5, -0.0);
    assert_eq!(encoder.payload(), first, "nothing is left of the rows before");
}

#[test]
fn the_payload_is_complete_after_every_row() {
    let mut encoder = Encoder::default();
    let mut rows = Vec::new();
    let mut seed = 1;
    for i in 0..200i64 {
        let v = random(&mut seed) as f64 / 8.0;
        rows.push((i * 15_000 + (random(&mut seed) % 5) as i64, v.to_bits()));
        encoder.append(rows[rows.len() - 1].0, v);
        assert_eq!(decode(&encoder.payload()).as_ref(), Ok(&rows));
    }
}

#[test]
fn buckets_of_time_begin_and_end_as_in_prometheus() {
    let cases = [(0, 1), (8_192, 16), (8_193, 20), (65_536, 20), (65_537, 24), (524_288, 24), (524_289, 68)];
    for (change, bits) in cases {
        assert_eq!(time_bits(change).1, bits, "{change}");
        // Below zero, each bucket ends one earlier.
        let below = if change == 0 { 0 } else { 1 - change };
        assert_eq!(time_bits(below).1, bits, "{below}");
        for change in [change, below, -change] {
            check_round_trip(&columns(&[(0, 0.0), (9, 0.0), (18 + change, 0.0), (27, 1.0)]));
        }
    }
    assert_eq!((time_bits(i64::MIN).1, time_bits(i64::MAX).1), (68, 68));
}

#[test]
fn extremes_keep_all_their_bits() {
    let (min, max) = (i64::MIN, i64::MAX);
    let odd_nan = f64::from_bits(0xfff8_0000_dead_beef);
    let one = f64::from_bits(1);
    check_round_trip(&columns(&[]));
    check_round_trip(&columns(&[(max, STALE)]));
    check_round_trip(&columns(&[(min, odd_nan), (max, -odd_nan), (min, 0.0), (min, -0.0), (0, STALE)]));
    check_round_trip(&columns(&[(max, 0.0), (min, one), (-1, f64::INFINITY), (max, f64::MIN), (min, one)]));
    // A window of one bit, of 64 bits (written as 0), and one with more leading zeros than can be stated.
    let low = f64::from_bits(3 << 62 | 1);
    check_round_trip(&columns(&[(0, 0.0), (1, one), (2, 0.0), (3, low), (4, one), (5, 0.0)]));
}

#[test]
fn both_codecs_agree_on_random_rows() {
    let mut seed = 7;
    for bytes in (0..400).map(|n| n * 3) {
        let recipe: Vec<u8> = (0..bytes).map(|_| random(&mut seed) as u8).collect();
        fuzz(&recipe);
    }
}

#[test]
fn both_codecs_agree_on_every_flipped_bit() {
    // A payload has no checksum of its own (its group has): flipped bits decode to other rows, or not at all.
    let mut seed = 11;
    for _ in 0..10 {
        let recipe: Vec<u8> = (0..60).map(|_| random(&mut seed) as u8).collect();
        let rows = reference::rows_from_recipe(&recipe);
        let payload = encode(&rows.t, &rows.v);
        for bit in 0..payload.len() * 8 {
            let mut bad = payload.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fuzz(&bad);
        }
        testing::truncations_fail(&payload, decode);
    }
}

#[test]
fn nothing_may_follow_the_last_row() {
    let payload = encode(&[0, 15, 30], &[1.0, 1.0, 1.0]);
    // Two bits of the last byte are a row, one the value before: five are padding.
    let with_last = |bits: u8| [&payload[..payload.len() - 1], &[bits]].concat();
    assert_eq!(with_last(0), payload);
    for bit in 0..5 {
        assert!(matches!(reason(&with_last(1 << bit)), DecodeReason::Invalid(_)), "bit {bit}");
    }
    assert_eq!(reason(&[&payload[..], &[0]].concat()), DecodeReason::TrailingBytes);
    assert_eq!(reason(&[0, 0, 0, 0]), DecodeReason::TrailingBytes);
}

#[test]
fn a_zero_byte_after_a_last_row_that_ends_a_byte_is_prometheus_s() {
    let ours = encode(&[0], &[0.0]);
    assert_eq!(ours, [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let theirs = [&ours[..], &[0]].concat();
    assert_eq!(decode(&theirs), decode(&ours));
    assert!(decode(&[&ours[..], &[1]].concat()).is_err());
    assert_eq!(reason(&[&theirs[..], &[0]].concat()), DecodeReason::TrailingBytes);
    fuzz(&theirs);
    let mut encoder = Encoder::from_payload(&theirs).unwrap();
    assert_eq!(encoder.payload(), ours);
    encoder.append(15, 1.0);
    assert_eq!(encoder.payload(), encode(&[0, 15], &[0.0, 1.0]));
}

#[test]
fn malformed_payloads_are_refused_and_leave_the_columns_alone() {
    let good = encode(&[0, 15, 30], &[1.0, 2.0, 3.0]);
    // The value of the second row begins at byte 12 with 11, leading, significant: 31 + 63 is above 64.
    let mut wide = good.clone();
    (wide[12], wide[13]) = (0xff, 0xff);
    // The first time as a varint of two bytes where one is enough.
    let long = [&good[..2], &[0x80, 0x00], &good[3..]].concat();
    for bad in [&wide[..], &long, &good[..good.len() - 1], &[], &[0], &[0, 1]] {
        let mut out = columns(&[(1, 1.0)]);
        assert!(decode_into(bad, &mut out).is_err(), "{bad:?}");
        assert_eq!(out, columns(&[(1, 1.0)]));
        assert!(Encoder::from_payload(bad).is_err());
        assert!(reference::decode(bad).is_none());
    }
    assert!(matches!(reason(&wide), DecodeReason::Invalid(_)));
}

#[test]
fn a_window_that_was_never_stated_is_the_whole_word() {
    // So Prometheus reads it; it writes such a thing where it went on with a chunk that it had read.
    let mut bits = vec![0, 2, 0];
    bits.extend_from_slice(&1f64.to_be_bytes());
    bits.extend_from_slice(&[15, 0b1000_0000, 0, 0, 0, 0, 0, 0, 0, 0b0100_0000]);
    assert_eq!(decode(&bits), Ok(vec![(0, 1f64.to_bits()), (15, 1f64.to_bits() ^ 1)]));
    fuzz(&bits);
    let mut encoder = Encoder::from_payload(&bits).unwrap();
    encoder.append(30, 2.0);
    assert_eq!(decode(&encoder.payload()).unwrap()[2], (30, 2f64.to_bits()));
}

#[test]
fn the_count_is_checked_before_anything_is_allocated() {
    assert_eq!(reason(&[0xff; 2]), DecodeReason::Truncated);
    assert_eq!(rows(&[0, 5, 0]).unwrap_err().reason, DecodeReason::Truncated);
    assert_eq!(rows(&[0, 4, 0]), Ok(4), "two bits for each");
}

#[test]
fn a_full_encoder_is_the_largest_payload() {
    let mut encoder = Encoder::new();
    let mut expected = Columns::default();
    for i in 0..i64::from(MAX_ROWS) {
        assert!(!encoder.is_full());
        // The worst: each time of 64 bits, each value of all bits.
        let t = if i % 2 == 0 { i } else { i64::MIN + i };
        let v = f64::from_bits(if i % 2 == 0 { 0 } else { 1 << 63 | 1 });
        encoder.append(t, v);
        expected.push(t, v);
    }
    assert!(encoder.is_full() && encoder.rows() == MAX_ROWS);
    assert!(encoder.payload_bytes() < 1_200_000);
    assert_eq!(decode(&encoder.payload()).unwrap(), reference::rows_of(&expected));
    assert!(Encoder::from_payload(&encoder.payload()).unwrap().is_full());
}

#[test]
fn the_first_rows_are_read_without_the_rest() {
    let payload = encode(&[10, 20, 35, 50], &[1.0, 5.0, 5.0, 0.1]);
    for wanted in 0..=4u32 {
        let mut out = columns(&[(0, 0.0)]);
        decode_rows_into(&payload, wanted, &mut out).unwrap();
        assert_eq!(out.t, [0, 10, 20, 35, 50][..=wanted as usize]);
        assert_eq!(out.v, [0.0, 1.0, 5.0, 5.0, 0.1][..=wanted as usize]);
    }
    let mut out = Columns::default();
    assert!(decode_rows_into(&payload, 5, &mut out).is_err() && out.is_empty());
}

/// Chunks out of real Prometheus blocks decode to their samples and are written with the same bytes; some of
/// theirs (`expected_padded`) have a zero byte after a last row that ends a byte, which ours have not.
fn real_chunks(name: &str, expected_rows: usize, expected_padded: usize) {
    let path = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/prometheus-tsdb/{}"), name);
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: ../shared is not here");
        return;
    };
    let (mut total, mut padded) = (0, 0);
    for line in text.lines() {
        let chunk: serde_json::Value = serde_json::from_str(line).unwrap();
        let hex = chunk["data_hex"].as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let payload: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let bits = |v: &serde_json::Value| u64::from_str_radix(v.as_str().unwrap(), 16).unwrap();
        let samples = chunk["samples"].as_array().unwrap();
        let samples: Vec<(i64, u64)> =
            samples.iter().map(|s| (s[0].as_i64().unwrap(), bits(&s[1]))).collect();

        assert_eq!(decode(&payload).unwrap(), samples);
        assert_eq!(rows(&payload).unwrap() as usize, samples.len());
        let (t, v): (Vec<i64>, Vec<f64>) = samples.iter().map(|&(t, v)| (t, f64::from_bits(v))).unzip();
        let ours = encode(&t, &v);
        let theirs =
            if ours.len() < payload.len() { payload.split_last().unwrap() } else { (&0, &payload[..]) };
        assert_eq!((&0, &*ours), theirs, "{name}");
        assert_eq!(reference::encode(&samples), ours);
        padded += usize::from(ours != payload);
        total += samples.len();
    }
    assert_eq!((total, padded), (expected_rows, expected_padded));
}

#[test]
fn real_chunks_of_a_server_round_trip() {
    real_chunks("xor-chunks.promscale.jsonl", 10_688, 0);
}

#[test]
fn real_chunks_of_promtool_round_trip() {
    real_chunks("xor-chunks.promtool-process.jsonl", 7_787, 2);
}

#[test]
fn real_chunks_of_an_old_block_round_trip() {
    real_chunks("xor-chunks.index_format_v1.jsonl", 102, 102);
}

#[test]
fn a_small_chunk_of_a_real_server_is_written_the_same() {
    // So that this holds where the data is not: six rows with gaps between scrapes, out of a block of Prometheus.
    let payload = [
        0x00, 0x06, 0xc2, 0xbd, 0x82, 0x84, 0xf6, 0x5f, 0x40, 0x63, 0xa0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x85,
        0xdd, 0x7a, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x44, 0x7b, 0x5b, 0x9e, 0x33, 0x3d, 0xad, 0x8f, 0x3c,
        0x42, 0xfc, 0x00, 0x00, 0x00, 0x00, 0x00, 0x3f, 0x5c, 0x94,
    ];
    let t = [1647929479009, 1647931489766, 1647931964374, 1647932933781, 1647933865421, 1647935835178];
    let v = [157.0, 157.0, 157.0, 157.0, 158.0, 158.0];
    assert_eq!(encode(&t, &v), payload);
    assert_eq!(decode(&payload).unwrap(), reference::rows_of(&Columns { t: t.to_vec(), v: v.to_vec() }));
}
