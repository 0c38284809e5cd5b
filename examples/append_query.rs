//! The least: append, commit, query, and open again. `cargo run --example append_query`

use silverback::{Columns, Db, Options, Selector, labels};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let db = Db::open(dir.path(), Options::default())?;

    // An appender collects samples; commit() stores them as a whole, durably.
    let mut app = db.appender()?;
    let up = app.append(&labels!("up", "job" => "node")?, 0, 1.0)?;
    let temperature = app.append(&labels!("temperature_celsius", "room" => "attic")?, 0, 21.5)?;
    for i in 1..240 {
        let t = i * 15_000; // milliseconds
        app.append_ref(up, t, 1.0)?; // a known series: no hashing
        app.append_ref(temperature, t, 21.5 + (i % 8) as f64 / 4.0)?;
    }
    let committed = app.commit()?;
    assert_eq!((committed.appended(), committed.rejected().len()), (480, 0));

    // A querier sees the store as it is now, between two times.
    let querier = db.querier(0..600_000)?;
    for series in querier.select(&r#"{__name__=~"up|temp.*"}"#.parse()?)? {
        let series = series?;
        // Whole columns: the fast way for many samples. (samples() is an iterator, too.)
        let (mut columns, mut samples) = (Columns::default(), series.samples());
        while samples.read_into(&mut columns, 10_000)? > 0 {}
        let mean = columns.v.iter().sum::<f64>() / columns.v.len() as f64;
        println!("{} {} samples, mean {mean:.2}", series.labels(), columns.t.len());
        assert_eq!(columns.t.len(), 40);
    }
    assert_eq!(querier.label_values("room", &Selector::all())?, ["attic"]);
    db.close()?; // dropping would do, but loses errors

    let db = Db::open(dir.path(), Options::default())?;
    assert_eq!(db.open_report().replayed_samples, 480);
    let up = db.querier(0..i64::MAX)?.select(&"up".parse()?)?.next().ok_or("no series")??;
    let last = up.samples().last().ok_or("no samples")??;
    assert_eq!((last.t, last.v), (239 * 15_000, 1.0));
    Ok(())
}
