//! Importing a dump of OpenMetrics that is in memory: 500 series of 240 samples, into a block.

use std::fmt::Write;

use criterion::{BatchSize, Criterion, Throughput};
use silverback::import::{Format, ImportOptions, Input, import};
use silverback::{Cancel, Db, Selector, SyncPolicy};

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
    group.finish();
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
