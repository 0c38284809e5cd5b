//! Backfill: a year of columns past log and head, published at once. `cargo run --example backfill`

use silverback::{Columns, Db, Options, labels};

const MINUTE_MS: i64 = 60_000;
const MINUTES: i64 = 365 * 24 * 60;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    // The memory that a load may hold before it spills sorted runs to disk.
    let db = Db::open(dir.path(), Options::default().bulk_memory(16 << 20))?;

    let mut bulk = db.bulk_loader()?;
    for meter in 0..4_i64 {
        let series = bulk.series(&labels!("energy_joules_total", "meter" => meter)?)?;
        // Columns of any length, in any order: here day by day, the newest day first.
        for day in (0..365).rev() {
            let minutes = day * 1_440..(day + 1) * 1_440;
            let t: Vec<i64> = minutes.clone().map(|m| m * MINUTE_MS).collect();
            let v: Vec<f64> = minutes.map(|m| (m * (40 + meter)) as f64).collect();
            bulk.extend(series, &t, &v)?;
        }
    }
    assert_eq!(db.stats().block_samples, 0, "nothing is seen before finish()");
    let loaded = bulk.finish()?; // all blocks appear in one step, durable, or none does
    assert_eq!(loaded.appended(), 4 * MINUTES as u64);
    let per_sample = loaded.block_bytes() as f64 / loaded.appended() as f64;
    println!("{} samples in {} bytes: {per_sample:.3} each", loaded.appended(), loaded.block_bytes());

    // Reading on from within: seek() skips without decoding.
    let querier = db.querier(0..MINUTES * MINUTE_MS)?;
    let series = querier.select(&r#"energy_joules_total{meter="2"}"#.parse()?)?.next().ok_or("none")??;
    let mut samples = series.samples();
    samples.seek(200 * 1_440 * MINUTE_MS)?;
    let mut columns = Columns::default();
    assert_eq!(samples.read_into(&mut columns, 1_440)?, 1_440);
    assert_eq!(columns.v[0], (200 * 1_440 * 42) as f64);

    // What is new goes on as usual, beside the past.
    let mut app = db.appender()?;
    app.append(&labels!("energy_joules_total", "meter" => 2)?, MINUTES * MINUTE_MS, 22_075_200.0)?;
    assert_eq!(app.commit()?.appended(), 1);
    Ok(db.close()?)
}
