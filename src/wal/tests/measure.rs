//! Bytes per sample on real scrapes, as a bound that a change of the coding must not break.

use super::*;

/// Samples of a dump, by time: `name{labels} value timestamp` lines in series order.
fn scrapes(name: &str, most: usize) -> Option<BTreeMap<i64, Vec<(u32, f64)>>> {
    let path = format!("{}/../shared/data/dumps/{name}.om.zst", env!("CARGO_MANIFEST_DIR"));
    let packed = std::fs::read(path).ok()?;
    let text = String::from_utf8(zstd::decode_all(&*packed).unwrap()).unwrap();
    let mut series = BTreeMap::new();
    let mut scrapes: BTreeMap<i64, Vec<(u32, f64)>> = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with('#')).take(most) {
        let (rest, t) = line.rsplit_once(' ').unwrap();
        let (identity, v) = rest.rsplit_once(' ').unwrap();
        let next = u32::try_from(series.len()).unwrap();
        let slot = *series.entry(identity.to_owned()).or_insert(next);
        let t = (t.parse::<f64>().unwrap() * 1_000.0).round() as i64;
        scrapes.entry(t).or_default().push((slot, v.parse().unwrap()));
    }
    Some(scrapes)
}

#[test]
fn real_scrapes_take_less_than_four_bytes_a_sample() {
    for (name, most) in [("node-5s", 40_000), ("postgres-5s", 40_000), ("process-15s", 40_000)] {
        let Some(scrapes) = scrapes(name, most) else {
            eprintln!("skipped: ../shared is not here");
            return;
        };
        let fs = mem();
        let options = WalOptions { segment_bytes: 1 << 30, allocate_bytes: 1 };
        let mut wal = reopened(&dynamic(&fs), options).unwrap();
        let (mut samples, mut first) = (0, 0);
        for (i, (t, scrape)) in scrapes.iter().enumerate() {
            let rows: Vec<WalSample> =
                scrape.iter().map(|&(series, v)| WalSample { series, t: *t, v }).collect();
            wal.commit(Lsn(i as u64 + 1), &rows, &label).unwrap();
            samples += rows.len();
            if i == 0 {
                first = wal.bytes();
            }
        }
        let bytes = wal.bytes() as f64 / samples as f64;
        let rest = (wal.bytes() - first) as f64 / (samples - scrapes.values().next().unwrap().len()) as f64;
        eprintln!(
            "{name}: {samples} samples in {} commits, {bytes:.2} bytes each, labels included; {rest:.2} after the first",
            scrapes.len()
        );
        assert!(rest < 4.0, "{name}: {rest:.2} bytes a sample");
    }
}
