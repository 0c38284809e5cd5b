//! Goal: a scrape stores what is on the page, all of it or nothing, and marks what vanished. Method: pages by hand
//! into a database in a directory of its own, read back whole.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::{Db, Maintenance, MetricType, Options, Selector, TimeRange, labels};

type Rows = BTreeMap<String, Vec<(i64, String)>>;

fn open(dir: &tempfile::TempDir, options: Options) -> Db {
    Db::open(dir.path(), options.maintenance(Maintenance::Manual).max_future(None).threads(1)).unwrap()
}

fn read(db: &Db) -> Rows {
    let mut rows = Rows::new();
    for series in db.querier(TimeRange::ALL).unwrap().select(&Selector::all()).unwrap() {
        let series = series.unwrap();
        let samples = series.samples().map(|s| s.unwrap());
        let text = |v: f64| if crate::is_stale(v) { "stale".to_owned() } else { v.to_string() };
        rows.insert(series.labels().to_string(), samples.map(|s| (s.t, text(s.v))).collect());
    }
    rows
}

fn rows(expected: &[(&str, &[(i64, &str)])]) -> Rows {
    let samples = |s: &[(i64, &str)]| s.iter().map(|(t, v)| (*t, (*v).to_owned())).collect();
    expected.iter().map(|(labels, s)| ((*labels).to_owned(), samples(s))).collect()
}

fn target() -> Scrape {
    Scrape::new(Labels::from_pairs([("job", "j")]).unwrap())
}

#[test]
fn what_vanishes_is_marked_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, Options::default());
    let (mut app, mut scrape) = (db.appender().unwrap(), target());
    let pages: [&[u8]; 5] =
        [b"a 1\nb{x=\"1\",y=\"2\"} 2\nc 3\n", b"a 1\nb{y=\"2\",x=\"1\"} 4\n", b"a 5", b"c 6\na 7\n", b""];
    let mut counts = Vec::new();
    for (page, t) in pages.iter().zip(1..) {
        counts.push(scrape.append(&mut app, page, t).unwrap());
        assert_eq!(app.commit().unwrap().rejected(), []);
    }
    assert_eq!(counts, [3, 2, 1, 2, 0]);
    assert_eq!(
        read(&db),
        rows(&[
            (r#"{__name__="a", job="j"}"#, &[(1, "1"), (2, "1"), (3, "5"), (4, "7"), (5, "stale")]),
            (r#"{__name__="b", job="j", x="1", y="2"}"#, &[(1, "2"), (2, "4"), (3, "stale")]),
            (r#"{__name__="c", job="j"}"#, &[(1, "3"), (2, "stale"), (4, "6"), (5, "stale")]),
        ])
    );
    assert_eq!(scrape.end(&mut app, 6).unwrap(), 0, "nothing was on the page before");
    assert_eq!(app.pending(), 0);
}

#[test]
fn a_target_that_is_gone_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, Options::default());
    let (mut app, mut scrape) = (db.appender().unwrap(), Scrape::default().format(Format::OpenMetrics));
    scrape.append(&mut app, b"a 1\nb 2\n# EOF\n", 1).unwrap();
    let error = scrape.append(&mut app, b"a 2\nb 3\n", 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(scrape.end(&mut app, 2).unwrap(), 2);
    assert_eq!(app.commit().unwrap().appended(), 4);
    let expected: &[(i64, &str)] = &[(2, "stale")];
    assert!(read(&db).values().all(|s| s[1..] == rows(&[("", expected)])[""]));
}

#[test]
fn a_bad_page_leaves_nothing_and_is_not_compared_with() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, Options::default());
    let (mut app, mut scrape) = (db.appender().unwrap(), target());
    app.append(&labels!("mine").unwrap(), 1, 1.0).unwrap();
    scrape.append(&mut app, b"a 1\nb 2\n", 1).unwrap();
    for (page, place) in [
        ("a 2\nc 1\nb two\n", "3:3"),
        ("a 2\nb{c=\"1\",c=\"2\"} 1\n", "2:1"),
        ("x{job=\"1\",job=\"2\"} 1", "1:1"),
    ] {
        let error = scrape.append(&mut app, page.as_bytes(), 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&format!(" {place}: ")), "{error}");
        assert_eq!(app.pending(), 3);
    }
    scrape.append(&mut app, b"a 3\n", 3).unwrap();
    app.commit().unwrap();
    let stored = read(&db);
    assert_eq!(stored.len(), 3, "{stored:?}");
    assert_eq!(stored[r#"{__name__="b", job="j"}"#], [(1, "2".to_owned()), (3, "stale".to_owned())]);
}

#[test]
fn a_page_above_a_ceiling_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, Options::default().max_batch(4));
    let (mut app, mut scrape) = (db.appender().unwrap(), target());
    scrape.append(&mut app, b"a 1\nb 1\n", 1).unwrap();
    // Two samples and a marker for b: with the two that wait, one too many.
    let error = scrape.append(&mut app, b"a 2\nc 2\n", 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Append(AppendError::Ceiling));
    assert_eq!(app.pending(), 2);
    app.commit().unwrap();
    assert_eq!(scrape.append(&mut app, b"a 3\nc 3\n", 3).unwrap(), 2);
    assert_eq!(app.commit().unwrap().appended(), 3);
    assert_eq!(read(&db)[r#"{__name__="b", job="j"}"#], [(1, "1".to_owned()), (3, "stale".to_owned())]);
}

#[test]
fn own_timestamps_are_kept_and_not_marked() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, Options::default());
    let (mut app, mut scrape) = (db.appender().unwrap(), Scrape::default());
    scrape.append(&mut app, b"a 1 500\nb 2\n", 1_000).unwrap();
    scrape.append(&mut app, b"b 3 0.7\n# EOF\n", 2_000).unwrap();
    scrape.append(&mut app, b"", 3_000).unwrap();
    let committed = app.commit().unwrap();
    assert_eq!(committed.rejected().len(), 1, "b's own time is before what it has");
    assert_eq!(
        read(&db),
        rows(&[(r#"{__name__="a"}"#, &[(500, "1")]), (r#"{__name__="b"}"#, &[(1_000, "2")])])
    );
}

#[test]
fn labels_are_spelled_and_renamed_as_in_a_scrape() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, Options::default());
    let mut app = db.appender().unwrap();
    let mut scrape = Scrape::new(labels!("ignored", "job" => "j").unwrap());
    let page = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n# TYPE g gauge\nh_bucket{le=\"1\"} 2\n\
                a{job=\"x\"} 3\nb{job=\"x\",exported_job=\"y\"} 4\nc{job=\"\"} 5\n";
    for t in [1, 2] {
        scrape.append(&mut app, page.as_bytes(), t).unwrap();
    }
    assert_eq!(app.commit().unwrap().rejected(), []);
    let stored = read(&db);
    let keys: Vec<&str> = stored.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            r#"{__name__="a", exported_job="x", job="j"}"#,
            r#"{__name__="b", exported_exported_job="x", exported_job="y", job="j"}"#,
            r#"{__name__="c", job="j"}"#,
            r#"{__name__="h_bucket", job="j", le="1"}"#,
            r#"{__name__="h_bucket", job="j", le="1.0"}"#,
        ]
    );
    assert!(stored.values().all(|s| s.len() == 2));
}

#[test]
fn references_that_went_stale_are_found_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut scrape = target();
    let page = b"# HELP a What\n# TYPE a gauge\na 1\nb 2\n";
    for round in 0..2 {
        let db = open(&dir, Options::default().block_range(Duration::from_secs(10)));
        let mut app = db.appender().unwrap();
        for t in [1_000, 2_000] {
            scrape.append(&mut app, page, round * 100_000 + t).unwrap();
            assert_eq!(app.commit().unwrap().rejected(), []);
        }
        // Flushed and collected twice: the head knows none of the series any more.
        for _ in 0..3 {
            db.compact(&crate::Cancel::default()).unwrap();
        }
        assert_eq!(db.stats().head_series, 0);
        scrape.append(&mut app, page, round * 100_000 + 3_000).unwrap();
        assert_eq!(app.commit().unwrap().rejected(), []);
    }
    let db = open(&dir, Options::default());
    assert_eq!(read(&db).values().map(Vec::len).collect::<Vec<_>>(), [6, 6]);
}

#[test]
fn metadata_is_passed_on_once_and_to_another_database_again() {
    let page = b"# HELP a_seconds What\\n it is\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n# EOF\n";
    let mut scrape = target();
    for _ in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir, Options::default());
        let mut app = db.appender().unwrap();
        scrape.append(&mut app, page, 1).unwrap();
        app.commit().unwrap();
        let metadata = db.metadata("a_seconds").unwrap().unwrap();
        assert_eq!((metadata.metric_type, metadata.unit.as_str()), (MetricType::Gauge, "seconds"));
        assert_eq!(metadata.help, "What\n it is");
        let mut told = 0;
        scrape
            .families
            .tell(|_, _| {
                told += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(told, 0);
    }
}

#[test]
fn series_that_come_and_go_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, Options::default());
    let (mut app, mut scrape) = (db.appender().unwrap(), target());
    let mut page = String::new();
    for round in 0..40 {
        page.clear();
        page.push_str("steady 1\n");
        (0..300).for_each(|i| page.push_str(&format!("# TYPE f{round}_{i} gauge\nf{round}_{i} 1\n")));
        let bad = round % 3 == 0;
        if bad {
            page.push_str("torn");
        }
        assert_eq!(scrape.append(&mut app, page.as_bytes(), round).is_err(), bad);
        assert!(scrape.catalog.lines() <= 2_000, "{}", scrape.catalog.lines());
    }
    assert_eq!(app.commit().unwrap().rejected(), []);
    let stored = read(&db);
    assert_eq!(stored.len(), 1 + 26 * 300);
    assert_eq!(stored[r#"{__name__="steady", job="j"}"#].len(), 26);
    let marked = stored.values().filter(|s| s.last().unwrap().1 == "stale").count();
    assert_eq!(marked, 25 * 300, "all but what is on the last good page");
}
