//! Goal: a long query holds no lock that a commit waits for, and sees its moment to the end. Method: a select is read to its
//! middle, within a series, and left there while everything else is done on the same thread, where a lock that
//! it held could never be taken again; then it is read to its end.

use super::*;
use crate::model::Sample;
use crate::query::Series;

/// Half of what a select gives, and the rest of it, read when asked for.
struct Half<'a> {
    rows: Rows,
    open: (String, Box<dyn Iterator<Item = Sample> + 'a>),
    rest: Box<dyn Iterator<Item = Series> + 'a>,
}

fn note(rows: &mut Rows, labels: &str, samples: impl Iterator<Item = Sample>) {
    for sample in samples {
        let old = rows.insert((labels.to_owned(), sample.t), sample.v.to_bits());
        assert_eq!(old, None, "a row twice");
    }
}

/// Reads two series whole, and a third up to its middle.
fn begin(querier: &Querier) -> Half<'_> {
    let mut rest = querier.select(&Selector::all()).unwrap().map(|series| series.unwrap());
    let mut rows = Rows::new();
    for series in rest.by_ref().take(2) {
        note(&mut rows, &series.labels().to_string(), series.samples().map(|s| s.unwrap()));
    }
    let third = rest.next().unwrap();
    let mut open = third.samples().map(|s| s.unwrap());
    let labels = third.labels().to_string();
    note(&mut rows, &labels, open.by_ref().take(20));
    Half { rows, open: (labels, Box::new(open)), rest: Box::new(rest) }
}

impl Half<'_> {
    /// All of it.
    fn end(mut self) -> Rows {
        note(&mut self.rows, &self.open.0, self.open.1);
        for series in self.rest {
            note(&mut self.rows, &series.labels().to_string(), series.samples().map(|s| s.unwrap()));
        }
        self.rows
    }
}

#[test]
fn a_select_read_to_its_middle_stops_nobody_and_ends_as_it_began() {
    for mode in [ReadMode::Mapped, ReadMode::Positioned] {
        let fs = MemFs::new();
        let options = options(&fs).retention(Duration::from_secs(60)).read_mode(mode);
        let db = Db::open("/db", options).unwrap();
        commit(&db, &some_rows());
        db.maintain().unwrap();
        assert!(db.stats().blocks > 0 && db.stats().head_samples > 0, "both are read");
        let expected = read_all(&db);
        let querier = db.querier(TimeRange::ALL).unwrap();
        let half = begin(&querier);

        let mut now = 40_000;
        let mut go_on = |what: &str| {
            now += 1_000;
            let rows: Vec<_> = (0..7).map(|i| (i, now, 1.0)).collect();
            assert_eq!(commit(&db, &rows).appended(), 7, "{what}");
        };
        go_on("beside the select");
        db.compact(&Default::default()).unwrap();
        assert!(db.stats().flushes > 0 && db.stats().merges > 0, "{:?}", db.stats());
        go_on("after flush and merge");
        db.delete(0..10_000, &r#"{i="1"}"#.parse().unwrap()).unwrap();
        go_on("after a delete");
        let mut bulk = db.bulk_loader().unwrap();
        let loaded = bulk.series(&series(99)).unwrap();
        bulk.extend(loaded, &[1_000], &[1.0]).unwrap();
        bulk.finish().unwrap();
        go_on("after a bulk load");
        commit(&db, &[(0, 200_000, 1.0), (8, 300_000, 1.0)]);
        db.maintain().unwrap();
        assert!(db.stats().blocks_dropped > 0, "{:?}", db.stats());
        commit(&db, &[(0, 300_000, 1.0)]);

        assert_eq!(half.end(), expected);
        assert_eq!(read(&querier, &Selector::all()), expected, "and again from its beginning");
        assert!(read_all(&db).keys().all(|(_, t)| *t > 200_000), "others see what is there now");
    }
}
