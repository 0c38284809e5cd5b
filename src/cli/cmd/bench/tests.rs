//! Each benchmark on a little data, prepared in this process: what is checked is that the data is what the options
//! say, and that a wrong answer is told.

use silverback::import::{Format, ImportOptions, Input, import};
use silverback::{Cancel, Options};

use super::args::Prepare;
use super::*;
use crate::args::DbArg;
use crate::failure::{DATA, REFUSED};

fn small(dir: &Path) -> Run {
    Run {
        db: DbArg { dir: dir.to_owned() },
        series: Some(1_100),
        scrapes: Some(120),
        values: Some(Values::Real),
        jitter: 5,
        churn: 20,
        json: false,
    }
}

#[test]
fn a_directory_with_something_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(refuse_used(dir.path()), Ok(()));
    assert_eq!(refuse_used(&dir.path().join("new")), Ok(()));
    fs::write(dir.path().join("precious"), "x").unwrap();
    let refused = refuse_used(dir.path()).unwrap_err();
    assert_eq!(refused.code(), REFUSED);
    assert!(refused.message().unwrap().contains("not empty"));
    assert_eq!(compare("samples", 1, 2).unwrap_err().code(), DATA);
}

#[test]
fn a_block_and_a_dump_hold_the_same_samples_and_selections_are_right() {
    let dir = tempfile::tempdir().unwrap();
    let run = small(&dir.path().join("db"));
    let data = data_of(&run, None);
    let context = Context::new(true);
    for what in [Prepared::Query, Prepared::Import] {
        let args = Prepare { what, run: small(&run.db.dir) };
        assert_eq!(prepare::run(&args, &context), Ok(0));
    }
    let db = Db::open_read_only(&run.db.dir, Options::default()).unwrap();
    let (samples, series) = count_all(&db).unwrap();
    assert_eq!(samples, data.samples());
    assert!(series > 1_200, "a fifth of 1,100 was replaced once: {series}");

    let copy = Db::open(dir.path().join("copy"), Options::default()).unwrap();
    let mut loader = copy.bulk_loader().unwrap();
    let dump = fs::read(prepare::dump_path(&run.db.dir)).unwrap();
    let options = ImportOptions::default().format(Format::OpenMetrics);
    let input = Ok(Input::new("dump", &*dump));
    import(&options, [input], &mut loader, &Cancel::default(), |_| ()).unwrap();
    loader.finish().unwrap();
    assert_eq!(contents(&copy), contents(&db));

    let querier = db.querier(TimeRange::ALL).unwrap();
    let all: Vec<_> =
        querier.select(&Selector::all()).unwrap().map(|s| s.unwrap().labels().clone()).collect();
    for selection in selections::all(&data).unwrap() {
        let expected = all.iter().filter(|labels| selection.takes(labels)).count();
        assert!(expected > 0, "{} finds nothing", selection.text);
        assert_eq!(count(&querier, &selection.selector).unwrap().1, expected as u64, "{}", selection.text);
    }
}

fn contents(db: &Db) -> Vec<(String, Vec<(i64, u64)>)> {
    let querier = db.querier(TimeRange::ALL).unwrap();
    let series = querier.select(&Selector::all()).unwrap().map(Result::unwrap);
    series
        .map(|s| {
            let samples = s.samples().map(|s| s.map(|s| (s.t, s.v.to_bits())).unwrap());
            (s.labels().to_string(), samples.collect())
        })
        .collect()
}

#[test]
fn write_stores_every_sample_whatever_the_threads() {
    for threads in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let args = args::Write {
            labels: None,
            batch: 300,
            threads,
            sync: args::Sync::Never,
            maintain: threads > 1,
            merge_rate: None,
            readers: threads - 1,
            lifetime: 30,
            head_memory: Some(64),
            run: small(&dir.path().join("db")),
        };
        assert_eq!(write::run(&args, &Context::new(true)), Ok(0));
        let db = Db::open_read_only(&args.run.db.dir, Options::default()).unwrap();
        assert_eq!(count_all(&db).unwrap().0, 1_100 * 120);
    }
}

#[test]
fn labels_come_from_a_file_of_objects() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("labels.json");
    fs::write(&file, "{\"__name__\":\"up\",\"job\":\"a\"}\n{\"__name__\":\"up\",\"job\":\"b\"}\n").unwrap();
    let mut run = small(&dir.path().join("db"));
    (run.series, run.values, run.churn, run.jitter) = (None, None, 0, 0);
    let mut args = args::Write {
        labels: Some(file.clone()),
        batch: 1_000,
        threads: 1,
        sync: args::Sync::Never,
        maintain: false,
        merge_rate: None,
        readers: 1,
        lifetime: 100,
        head_memory: None,
        run,
    };
    assert_eq!(write::run(&args, &Context::new(true)), Ok(0));
    let db = Db::open_read_only(&args.run.db.dir, Options::default()).unwrap();
    let samples: Vec<(i64, u64)> = contents(&db).remove(0).1;
    assert_eq!(samples.len(), 120);
    assert_eq!(samples[1].0 - samples[0].0, 30_000);
    assert_eq!(f64::from_bits(samples[119].1), 123_456_789.0 + 120_000.0);

    fs::write(&file, "{\"job\":").unwrap();
    args.run.db.dir = dir.path().join("other");
    let wrong = write::run(&args, &Context::new(true)).unwrap_err();
    assert_eq!(wrong.code(), DATA);
    assert!(wrong.message().unwrap().contains("labels.json:1"));
}

#[test]
fn series_of_several_blocks_are_found_as_often_as_they_must_be() {
    let dir = tempfile::tempdir().unwrap();
    let db = DbArg { dir: dir.path().join("db") };
    let mut args =
        args::Select { db, series: 600, per_value: 10, blocks: 3, again: false, prepare: true, json: false };
    let context = Context::new(true);
    assert_eq!(select::run(&args, &context), Ok(0));
    (args.prepare, args.again) = (false, true);
    assert_eq!(select::run(&args, &context), Ok(0), "each count is compared");
    let db = Db::open_read_only(&args.db.dir, Options::default()).unwrap();
    assert_eq!((db.stats().blocks, count_all(&db).unwrap()), (3, (600, 600)));
    args.per_value = 7;
    assert!(select::run(&args, &context).unwrap_err().message().unwrap().contains("--per-value"));
}

#[test]
fn a_history_has_all_its_samples() {
    let dir = tempfile::tempdir().unwrap();
    let db = DbArg { dir: dir.path().join("db") };
    let mut args =
        args::History { db, series: 3, months: 1, interval: 3_600, again: false, prepare: true, json: false };
    let context = Context::new(true);
    assert_eq!(history::run(&args, &context), Ok(0));
    (args.prepare, args.again) = (false, true);
    assert_eq!(history::run(&args, &context), Ok(0));
}

#[test]
fn a_merge_takes_all_blocks_at_once() {
    for overlap in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let db = DbArg { dir: dir.path().join("db") };
        let mut args =
            args::Merge { db, series: 40, samples: 300, blocks: 4, overlap, prepare: true, json: false };
        let context = Context::new(true);
        assert_eq!(merge::run(&args, &context), Ok(0));
        args.prepare = false;
        assert_eq!(merge::measure(&args, &context), Ok(0), "one merge, and every sample is there");
        let db = Db::open_read_only(&args.db.dir, Options::default()).unwrap();
        assert_eq!(db.stats().blocks, if overlap { 1 } else { 2 });
    }
}
