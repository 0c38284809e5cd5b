//! Importing a dump of OpenMetrics that is in memory: 500 series of 240 samples, into a block; the parser alone, whose samples
//! go nowhere; the loader alone, which is given columns.

use std::fmt::Write;

use criterion::{BatchSize, Criterion, Throughput};
use silverback::import::{Format, ImportOptions, Input, SampleSink, import};
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
