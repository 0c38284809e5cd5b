//! What is counted: each function does one thing, with what it needs made before.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use silverback::import::{Event, Parser};
use silverback::internals::bench::{Log, Postings, chunk_append, chunk_decode, values_decode, values_encode};
use silverback::{Columns, Labels, Selector};

#[path = "../made.rs"]
mod made;

use made::{START_MS, STEP_MS, counter, labels_of, random};

/// Rows of a chunk.
const ROWS: u32 = 120;
/// Values of a column.
const COLUMN_ROWS: u32 = 960;
/// Series of a commit, and of the index.
const SERIES: u32 = 1_000;
/// Commits that are replayed.
const COMMITS: u32 = 100;

/// Runs all, by the runner or in it.
pub(crate) fn run() {
    main();
}

fn times() -> Vec<i64> {
    (0..ROWS).map(|row| START_MS + i64::from(row) * STEP_MS).collect()
}

fn rows(value: impl Fn(u32) -> f64) -> (Vec<i64>, Vec<f64>) {
    (times(), (0..ROWS).map(value).collect())
}

fn constant() -> (Vec<i64>, Vec<f64>) {
    rows(|_| 1.0)
}

fn counted() -> (Vec<i64>, Vec<f64>) {
    rows(|row| counter(0, row))
}

fn noise() -> (Vec<i64>, Vec<f64>) {
    rows(|row| f64::from_bits(random(row.into()) >> 2))
}

/// A chunk, and room for its rows.
fn payload((t, v): (Vec<i64>, Vec<f64>)) -> (Vec<u8>, Columns) {
    let room = Columns { t: Vec::with_capacity(t.len()), v: Vec::with_capacity(v.len()) };
    (chunk_append(&t, &v), room)
}

#[library_benchmark]
#[bench::constant(constant())]
#[bench::counter(counted())]
#[bench::random(noise())]
fn append((t, v): (Vec<i64>, Vec<f64>)) -> Vec<u8> {
    chunk_append(black_box(&t), &v)
}

#[library_benchmark]
#[bench::constant(payload(constant()))]
#[bench::counter(payload(counted()))]
#[bench::random(payload(noise()))]
fn decode((payload, mut columns): (Vec<u8>, Columns)) -> Columns {
    assert!(chunk_decode(black_box(&payload), &mut columns));
    columns
}

/// The values of a column.
fn values(value: impl Fn(u32) -> f64) -> Vec<f64> {
    (0..COLUMN_ROWS).map(value).collect()
}

/// A column, and room for its values.
fn column(v: Vec<f64>) -> (Vec<u8>, Vec<f64>) {
    (values_encode(&v), Vec::with_capacity(v.len()))
}

#[library_benchmark]
#[bench::counter(values(|row| counter(0, row)))]
#[bench::bits(values(|row| f64::from(row).sqrt()))]
fn encode_column(v: Vec<f64>) -> Vec<u8> {
    values_encode(black_box(&v))
}

#[library_benchmark]
#[bench::counter(column(values(|row| counter(0, row))))]
#[bench::gauge(column(values(|row| (random(row.into()) % 1_000) as f64)))]
#[bench::decimal(column(values(|row| (random(row.into()) % 1_000) as f64 / 100.0)))]
#[bench::bits(column(values(|row| f64::from(row).sqrt())))]
fn decode_column((column, mut out): (Vec<u8>, Vec<f64>)) -> Vec<f64> {
    assert!(values_decode(black_box(&column), COLUMN_ROWS as usize, &mut out));
    out
}

/// A log that knows its series, and a commit that is to be written.
fn staged() -> Log {
    let mut log = commits(1);
    stage(&mut log, 1);
    log
}

fn stage(log: &mut Log, row: u32) {
    let values: Vec<f64> = (0..SERIES).map(|series| counter(series, row)).collect();
    log.stage(START_MS + i64::from(row) * STEP_MS, &values);
}

fn commits(n: u32) -> Log {
    let mut log = Log::new((0..SERIES).map(labels_of).collect()).expect("a log in memory");
    for row in 0..n {
        stage(&mut log, row);
        log.commit().expect("a commit");
    }
    log
}

#[library_benchmark]
#[bench::samples_1000(staged())]
fn encode(mut log: Log) -> Log {
    log.commit().expect("a commit");
    log
}

#[library_benchmark]
#[bench::samples_100_000(commits(COMMITS))]
fn replay(log: Log) -> Log {
    assert_eq!(log.replay().expect("a replay"), u64::from(SERIES * COMMITS));
    log
}

/// Lines of several series, each a few times, as dumps are.
fn lines() -> Vec<u8> {
    let mut out = String::new();
    for series in 0..100 {
        let labels = labels_of(series);
        let pairs = labels.iter().filter(|(name, _)| *name != "__name__");
        let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        for row in 0..10 {
            let t = (START_MS + row * STEP_MS) / 1_000;
            let value = counter(series, u32::try_from(row).unwrap_or_default());
            out += &format!("{}{{{}}} {value} {t}\n", labels.name(), pairs.join(","));
        }
    }
    (out + "# EOF\n").into_bytes()
}

#[library_benchmark]
#[bench::lines_1000(lines())]
fn parse(lines: Vec<u8>) -> (u64, f64) {
    let mut parser = Parser::openmetrics(black_box(&*lines));
    let mut seen = (0, 0.0);
    while let Some(event) = parser.next().expect("a valid line") {
        if let Event::Sample(sample) = event {
            seen = (seen.0 + 1, seen.1 + sample.value());
        }
    }
    assert_eq!(seen.0, 1_000);
    seen
}

/// An index of so many series, and a question.
fn question(text: &str) -> (Postings, Selector) {
    let labels: Vec<Labels> = (0..100 * SERIES).map(labels_of).collect();
    (Postings::new(labels), text.parse().expect("a selector"))
}

#[library_benchmark]
#[bench::exact_two(question(r#"bench_7_total{device="dev3"}"#), 200)]
#[bench::negative(question(r#"bench_7_total{device!~"dev[0-6]",dc!="dc1"}"#), 450)]
fn intersect((postings, selector): (Postings, Selector), expected: u64) -> (Postings, Selector) {
    assert_eq!(postings.select(black_box(&selector)).expect("an answer"), expected);
    (postings, selector)
}

library_benchmark_group!(name = chunk, benchmarks = [append, decode, encode_column, decode_column]);
library_benchmark_group!(name = wal, benchmarks = [encode, replay]);
library_benchmark_group!(name = import, benchmarks = parse);
library_benchmark_group!(name = postings, benchmarks = intersect);
main!(library_benchmark_groups = [chunk, wal, import, postings]);
