//! Importing a dump of OpenMetrics that is in memory: 500 series of 240 samples, into a block; the parser alone, whose samples
//! go nowhere; the loader alone, which is given columns; the parser alone over small scrapes of real programs: those of the
//! tests, and of `../shared/data/exposition`, if that is there.

use std::fmt::Write;

use criterion::{BatchSize, Criterion, Throughput};
use silverback::import::{Format, ImportOptions, Input, SampleSink, check, import};
use silverback::{Cancel, Db, Labels, Metadata, Result, Selector, SyncPolicy};

use crate::data::{START_MS, STEP_MS, counter, labels_of, options, read};

const SERIES: u32 = 500;
const ROWS: u32 = 240;

pub(crate) fn benches(criterion: &mut Criterion) {
    let dump = dump();
    let dir = tempfile::tempdir().expect("a directory");
    let into_block = |name: &str| {
        let db = Db::open(dir.path().join(name), options(SyncPolicy::Never)).expect("a database");
        let mut loader = db.bulk_loader().expect("a loader");
        let options = ImportOptions::default().format(Format::OpenMetrics);
        let input = Ok(Input::new("dump", dump.as_bytes()));
        import(&options, [input], &mut loader, &Cancel::default(), |_| ()).expect("an import");
        loader.finish().expect("blocks");
        db
    };
    let samples = u64::from(SERIES * ROWS);
    assert_eq!(read(&into_block("check"), &Selector::all()), (SERIES.into(), samples));

    let mut group = criterion.benchmark_group("import");
    group.throughput(Throughput::Elements(samples)).sample_size(10);
    let mut number = 0;
    group.bench_function("openmetrics_500x240", |b| {
        b.iter_batched(
            || {
                number += 1;
                format!("copy-{number}")
            },
            |name| into_block(&name),
            BatchSize::PerIteration,
        );
    });
    number = 0;
    group.bench_function("loader_500x240", |b| {
        b.iter_batched(
            || {
                number += 1;
                format!("columns-{number}")
            },
            |name| load(&dir.path().join(name)),
            BatchSize::PerIteration,
        );
    });
    group.throughput(Throughput::Bytes(dump.len() as u64));
    group.bench_function("parser_500x240", |b| b.iter(|| parse(&dump)));
    group.finish();
    bodies(criterion);
}

/// Scrapes, each parsed to its end.
fn bodies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.sample_size(10);
    let shared = ["bodies-live", "bodies-public"].map(|dir| format!("../shared/data/exposition/{dir}"));
    for dir in ["tests/data"].into_iter().chain(shared.iter().map(String::as_str)) {
        let Ok(entries) = std::fs::read_dir(dir) else {
            eprintln!("{dir} is missing: its bodies are left out");
            continue;
        };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            let format = match path.extension().and_then(|e| e.to_str()) {
                Some("prom" | "txt") => Format::Text,
                Some("om") => Format::OpenMetrics,
                _ => continue,
            };
            let body = std::fs::read(&path).expect("a body");
            let parsed = || check(body.as_slice(), format, false, |_| ()).expect("memory").samples;
            if parsed() == 0 {
                continue;
            }
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(path.display().to_string(), |b| b.iter(parsed));
        }
    }
    group.finish();
}

/// Takes samples and forgets them.
struct Nowhere(u64);

impl SampleSink for Nowhere {
    type Series = u64;

    fn series(&mut self, _: &Labels) -> Result<u64> {
        self.0 += 1;
        Ok(self.0)
    }

    fn extend(&mut self, _: u64, _: &[i64], _: &[f64]) -> Result<()> {
        Ok(())
    }

    fn metadata(&mut self, _: &str, _: &Metadata) -> Result<()> {
        Ok(())
    }
}

fn parse(dump: &str) {
    let options = ImportOptions::default().format(Format::OpenMetrics);
    let input = Ok(Input::new("dump", dump.as_bytes()));
    let summary = import(&options, [input], &mut Nowhere(0), &Cancel::default(), |_| ()).expect("an import");
    assert_eq!(summary.samples, u64::from(SERIES * ROWS));
}

fn load(dir: &std::path::Path) {
    let db = Db::open(dir, options(SyncPolicy::Never)).expect("a database");
    let mut loader = db.bulk_loader().expect("a loader");
    let t: Vec<i64> = (0..ROWS).map(|row| START_MS + i64::from(row) * STEP_MS).collect();
    for series in 0..SERIES {
        let v: Vec<f64> = (0..ROWS).map(|row| counter(series, row)).collect();
        let series = loader.series(&labels_of(series)).expect("a series");
        loader.extend(series, &t, &v).expect("rows");
    }
    assert_eq!(loader.finish().expect("blocks").appended(), u64::from(SERIES * ROWS));
}

/// Series by series, as dumps are.
fn dump() -> String {
    let mut out = String::new();
    for series in 0..SERIES {
        let labels = labels_of(series);
        let pairs: Vec<String> = labels
            .iter()
            .filter(|(name, _)| *name != "__name__")
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        for row in 0..ROWS {
            let t = START_MS / 1_000 + i64::from(row) * STEP_MS / 1_000;
            let value = counter(series, row);
            writeln!(out, "{}{{{}}} {value} {t}", labels.name(), pairs.join(",")).expect("memory");
        }
    }
    out.push_str("# EOF\n");
    out
}
