//! A chunk of 120 samples: appended row by row, and decoded whole.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use silverback::Columns;
use silverback::internals::bench::{chunk_append, chunk_decode};

use crate::data::{START_MS, STEP_MS, counter, random};

const ROWS: u32 = 120;

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
