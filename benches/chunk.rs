//! A chunk of 120 samples: appended row by row, and decoded whole. A column of 960 values, by kind and by width in bits: written
//! and decoded whole.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use silverback::Columns;
use silverback::internals::bench::{chunk_append, chunk_decode, values_decode, values_encode};

use crate::data::{START_MS, STEP_MS, counter, random};

const ROWS: u32 = 120;
const COLUMN_ROWS: u32 = 960;

/// The value of a row.
type Value = fn(u32) -> f64;

pub(crate) fn benches(criterion: &mut Criterion) {
    let t: Vec<i64> = (0..ROWS).map(|row| START_MS + i64::from(row) * STEP_MS).collect();
    let mut group = criterion.benchmark_group("chunk");
    group.throughput(Throughput::Elements(ROWS.into()));
    let kinds: [(&str, Value); 3] = [
        ("constant", |_| 1.0),
        ("counter", |row| counter(0, row)),
        ("random", |row| f64::from_bits(random(row.into()) >> 2)),
    ];
    for (name, value) in kinds {
        let v: Vec<f64> = (0..ROWS).map(value).collect();
        let payload = chunk_append(&t, &v);
        let mut columns = Columns::default();
        assert!(chunk_decode(&payload, &mut columns));
        assert_eq!((&columns.t, &columns.v), (&t, &v));

        group.bench_function(format!("append/{name}"), |b| b.iter(|| chunk_append(black_box(&t), &v)));
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                columns.clear();
                chunk_decode(black_box(&payload), &mut columns)
            })
        });
    }
    group.finish();
}

/// Columns of values.
pub(crate) fn columns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("column");
    group.throughput(Throughput::Elements(COLUMN_ROWS.into()));
    let mut bench = |name: &str, v: &[f64]| {
        let column = values_encode(v);
        let mut out = Vec::new();
        assert!(values_decode(&column, v.len(), &mut out));
        assert!(out.iter().zip(v).all(|(a, b)| a.to_bits() == b.to_bits()) && out.len() == v.len());
        group.bench_function(format!("encode/{name}"), |b| b.iter(|| values_encode(black_box(v))));
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| {
                out.clear();
                values_decode(black_box(&column), v.len(), &mut out)
            })
        });
    };
    let kinds: [(&str, Value); 5] = [
        ("constant", |_| 1.0),
        ("counter", |row| counter(0, row)),
        ("gauge", |row| (random(row.into()) % 1_000) as f64),
        ("decimal", |row| (random(row.into()) % 1_000) as f64 / 100.0),
        ("bits", |row| f64::from(row).sqrt()),
    ];
    for (name, value) in kinds {
        bench(name, &(0..COLUMN_ROWS).map(value).collect::<Vec<f64>>());
    }
    for width in [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48] {
        let value = |row| (random(u64::from(row)) >> (64 - width)) as f64;
        bench(&format!("{width:02}_bits"), &(0..COLUMN_ROWS).map(value).collect::<Vec<f64>>());
    }
    group.finish();
}
