//! Goal: a store's own metrics are valid OpenMetrics, true, and can be scraped into the store itself. Method: the strict
//! parser over what it writes.
#![cfg(feature = "import")]

use silverback::import::{Event, Format, check};
use silverback::{Cancel, Db, Maintenance, Options, Scrape, labels};

fn open(dir: &tempfile::TempDir) -> Db {
    let options = Options::default().maintenance(Maintenance::Manual).max_future(None).threads(1);
    Db::open(dir.path(), options).unwrap()
}

fn commit(db: &Db, t: i64) {
    let mut app = db.appender().unwrap();
    app.append(&labels!("up", "job" => "node").unwrap(), t, 1.0).unwrap();
    app.commit().unwrap();
}

/// Series and value of each line.
fn own_metrics(db: &Db) -> Vec<(String, f64)> {
    let mut text = String::new();
    db.write_openmetrics(&mut text).unwrap();
    let mut found = Vec::new();
    let report = check(text.as_bytes(), Format::OpenMetrics, true, |event| {
        if let Event::Sample(sample) = event {
            found.push((String::from_utf8_lossy(sample.series()).into_owned(), sample.value()));
        }
    });
    assert_eq!(report.unwrap().fault, None, "{text}");
    found
}

#[test]
fn own_metrics_are_strict_openmetrics_and_agree_with_the_stats() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir);
    let value = |name: &str| {
        own_metrics(&db).into_iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name}")).1
    };
    assert_eq!(value("silverback_commits_total"), 0.0);
    for t in [1, 2, 10_000_000] {
        commit(&db, t);
    }
    commit(&db, 2);
    db.compact(&Cancel::default()).unwrap();
    let stats = db.stats();
    for (name, expected) in [
        ("silverback_commits_total", 4),
        ("silverback_samples_appended_total", stats.samples_appended),
        ("silverback_flushes_total", stats.flushes),
        ("silverback_blocks", stats.blocks),
        ("silverback_blocks_size_bytes", stats.block_bytes),
        ("silverback_poisoned", 0),
    ] {
        assert_eq!(value(name), expected as f64, "{name}");
    }
    assert!(stats.flushes > 0 && stats.block_bytes > 0, "{stats:?}");
}

#[test]
fn a_store_scrapes_itself() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir);
    let (mut app, mut scrape) = (db.appender().unwrap(), Scrape::default().format(Format::OpenMetrics));
    for t in 1..=5 {
        let mut page = String::new();
        db.write_openmetrics(&mut page).unwrap();
        let samples = scrape.append(&mut app, page.as_bytes(), t).unwrap();
        assert_eq!(samples, own_metrics(&db).len());
        assert_eq!(app.commit().unwrap().appended(), samples as u64);
    }
    let querier = db.querier(0..10).unwrap();
    let series =
        querier.select(&"silverback_commits_total".parse().unwrap()).unwrap().next().unwrap().unwrap();
    let values: Vec<f64> = series.samples().map(|s| s.unwrap().v).collect();
    assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0]);
    let metadata = db.metadata("silverback_head_size_bytes").unwrap().unwrap();
    assert_eq!((metadata.metric_type.as_str(), metadata.unit.as_str()), ("gauge", "bytes"));
}
