//! Loads against a naive model: a map of maps in which the first value of a timestamp stays.
//!
//! Memory is made tiny, so that a few thousand samples take many runs, several merges of runs and
//! several passes. What went into the blocks is decoded again and compared bit for bit, counts included.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use super::*;
use crate::block::{NewChunk, SeriesSink, window};
use crate::env::MemFs;
use crate::error::AppendError;
use crate::model::{Columns, MetricType, STALE};

/// Small numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

type Rows = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// What should come out.
#[derive(Default)]
struct Model {
    rows: Rows,
    duplicates: u64,
    conflicts: u64,
}

impl Model {
    fn extend(&mut self, labels: &Labels, t: &[i64], v: &[f64]) {
        for (t, v) in t.iter().zip(v) {
            let rows = self.rows.entry(labels.clone()).or_default();
            match rows.get(t) {
                Some(bits) if *bits == v.to_bits() => self.duplicates += 1,
                Some(_) => self.conflicts += 1,
                None => _ = rows.insert(*t, v.to_bits()),
            }
        }
    }

    fn samples(&self) -> u64 {
        self.rows.values().map(|rows| rows.len() as u64).sum()
    }
}

/// How many test blocks are open, and were at most.
#[derive(Clone, Default)]
struct Open(Rc<RefCell<(usize, usize)>>);

/// A block in memory that checks the order in which it is filled.
struct TestBlock {
    range: TimeRange,
    rows: Rows,
    last: Option<(Labels, i64)>,
    families: Vec<(String, Metadata)>,
    /// Rows of each chunk, in the order in which they came.
    rows_of_chunks: Vec<usize>,
    open: Open,
}

impl TestBlock {
    fn new(range: TimeRange, open: &Open) -> TestBlock {
        let mut counts = open.0.borrow_mut();
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        TestBlock {
            range,
            rows: Rows::new(),
            last: None,
            families: Vec::new(),
            rows_of_chunks: Vec::new(),
            open: open.clone(),
        }
    }
}

impl Drop for TestBlock {
    fn drop(&mut self) {
        self.open.0.borrow_mut().0 -= 1;
    }
}

impl SeriesSink for TestBlock {
    fn add(&mut self, labels: &Labels, chunks: &[NewChunk]) -> Result<()> {
        assert!(!chunks.is_empty());
        for chunk in chunks {
            let mut rows = Columns::default();
            chunk.chunk.decode_into(&mut rows).unwrap();
            assert_eq!((rows.t[0], *rows.t.last().unwrap()), (chunk.min_t, chunk.max_t));
            assert_eq!(rows.len(), chunk.rows as usize);
            assert!(rows.len() <= window::MAX_ROWS);
            self.rows_of_chunks.push(rows.len());
            for (&t, &v) in rows.t.iter().zip(&rows.v) {
                assert!(self.range.contains(t));
                let follows =
                    self.last.as_ref().is_none_or(|(l, last)| l < labels || (l == labels && *last < t));
                assert!(follows, "{labels} at {t} after {:?}", self.last);
                self.last = Some((labels.clone(), t));
                self.rows.entry(labels.clone()).or_default().insert(t, v.to_bits());
            }
        }
        Ok(())
    }

    fn add_family(&mut self, name: &str, metadata: &Metadata) -> Result<()> {
        assert!(self.families.last().is_none_or(|(last, _)| last.as_str() < name));
        self.families.push((name.to_owned(), metadata.clone()));
        Ok(())
    }
}

impl BlockSink for TestBlock {
    type Meta = (Rows, Vec<(String, Metadata)>);

    fn finish(mut self) -> Result<Self::Meta> {
        Ok((std::mem::take(&mut self.rows), std::mem::take(&mut self.families)))
    }
}

/// Sizes with which a few hundred samples fill the memory.
const TINY: Sizes = Sizes {
    load_bytes: 24_000,
    table_bytes: 12_000,
    slab_rows: 64,
    times_bytes: 1_024,
    unit_target_bytes: 256,
    fan_in: 4,
    pending_bytes: 2_000,
    long_series_chunks: 5,
    blocks_bytes: 2 * 70_000,
};

fn loader(fs: &MemFs, range_ms: i64, sizes: Sizes) -> Loader {
    let options = LoaderOptions { memory_bytes: 0, range_ms, max_blocks: 100, pool: None };
    Loader::with_sizes(Arc::new(fs.clone()), "/spill".into(), &options, Cancel::default(), sizes).unwrap()
}

fn labels(n: u64) -> Labels {
    crate::labels!(format!("metric_{}", n % 5), "n" => n, "long" => "x".repeat((n % 7) as usize + 1)).unwrap()
}

/// Loads `calls` of (series, timestamps, values) and compares with the model.
fn load(range_ms: i64, sizes: Sizes, calls: &[(Labels, Vec<i64>, Vec<f64>)]) -> Loaded<()> {
    let (fs, open, mut model) = (MemFs::new(), Open::default(), Model::default());
    let mut loader = loader(&fs, range_ms, sizes);
    for (labels, t, v) in calls {
        let series = loader.series(labels).unwrap();
        loader.extend(series, t, v).unwrap();
        model.extend(labels, t, v);
    }
    let mut ranges = Vec::new();
    let finished = loader.finish(&mut |range: TimeRange| {
        ranges.push(range);
        Ok(TestBlock::new(range, &open))
    });
    let loaded = finished.unwrap();
    assert!(spilled(&fs).is_empty());
    let mut rows = Rows::new();
    for (range, (of_block, _)) in &loaded.blocks {
        for (labels, samples) in of_block {
            assert!(samples.keys().all(|t| range.contains(*t)));
            rows.entry(labels.clone()).or_default().extend(samples);
        }
    }
    assert!(rows == model.rows, "other samples than in the model");
    assert_eq!(loaded.series, model.rows.len() as u64);
    assert_eq!(
        (loaded.samples, loaded.duplicates, loaded.conflicts),
        (model.samples(), model.duplicates, model.conflicts)
    );
    assert!(loaded.blocks.is_sorted_by(|a, b| a.0.end() <= b.0.start()), "each range once, in time order");
    assert_eq!(ranges.len(), loaded.blocks.len());
    assert!(open.0.borrow().1 <= MAX_OPEN_BLOCKS);
    let Loaded { series, samples, duplicates, conflicts, range, runs, spilled_bytes, peak_bytes, .. } =
        loaded;
    let blocks = loaded.blocks.iter().map(|(range, _)| (*range, ())).collect();
    Loaded { blocks, series, samples, duplicates, conflicts, range, runs, spilled_bytes, peak_bytes }
}

/// The files in the spill directory (there are no others).
fn spilled(fs: &MemFs) -> Vec<PathBuf> {
    fs.paths()
}

/// Calls in random order: series, lengths, and timestamps, of which many come twice.
fn random_calls(seed: u64, calls: usize, series: u64, span: u64) -> Vec<(Labels, Vec<i64>, Vec<f64>)> {
    let odd = [0.0, -0.0, STALE, f64::from_bits(0xfff8_dead_beef_0001), f64::INFINITY, 5e-324];
    let mut random = Random(seed);
    let call = |random: &mut Random| {
        let n = if random.below(20) == 0 { 300 } else { random.below(6) };
        let t = (0..n).map(|_| random.below(span) as i64 - (span / 3) as i64).collect();
        let value = |random: &mut Random| match random.below(3) {
            0 => odd[random.below(6) as usize],
            1 => random.below(4) as f64,
            _ => f64::from_bits(random.next()),
        };
        let v = (0..n).map(|_| value(random)).collect();
        (labels(random.below(series)), t, v)
    };
    (0..calls).map(|_| call(&mut random)).collect()
}

#[test]
fn random_loads_agree_with_the_model_whatever_the_memory() {
    for seed in 0..8 {
        let calls = random_calls(seed, 700, 40, 900);
        let tiny = load(250, TINY, &calls);
        assert!(tiny.runs > 8, "{} runs do not need merging of runs", tiny.runs);
        assert!(tiny.blocks.len() >= 4, "several passes");
        let ample = load(250, Sizes::of(16 << 20), &calls);
        assert_eq!((ample.runs, ample.spilled_bytes), (0, 0));
        let counts = |l: &Loaded<()>| (l.samples, l.duplicates, l.conflicts, l.series, l.range);
        assert_eq!(counts(&tiny), counts(&ample), "the counts do not depend on the memory");
        assert!(tiny.duplicates > 0 && tiny.conflicts > 0);
    }
}

/// Keeps the chunks as they come.
#[derive(Default)]
struct Chunks(Vec<(Labels, NewChunk)>);

impl SeriesSink for Chunks {
    fn add(&mut self, labels: &Labels, chunks: &[NewChunk]) -> Result<()> {
        self.0.extend(chunks.iter().map(|chunk| (labels.clone(), chunk.clone())));
        Ok(())
    }

    fn add_family(&mut self, _: &str, _: &Metadata) -> Result<()> {
        Ok(())
    }
}

impl BlockSink for Chunks {
    type Meta = Vec<(Labels, NewChunk)>;

    fn finish(self) -> Result<Self::Meta> {
        Ok(self.0)
    }
}

/// The chunks of the blocks that a load makes.
fn chunks_of(
    sizes: Sizes,
    pool: Option<&Arc<rayon::ThreadPool>>,
    calls: &[(Labels, Vec<i64>, Vec<f64>)],
) -> Vec<(TimeRange, Vec<(Labels, NewChunk)>)> {
    let options = LoaderOptions { memory_bytes: 0, range_ms: 5_000, max_blocks: 100, pool: pool.cloned() };
    let fs = Arc::new(MemFs::new());
    let mut loader = Loader::with_sizes(fs, "/spill".into(), &options, Cancel::default(), sizes).unwrap();
    for (labels, t, v) in calls {
        let series = loader.series(labels).unwrap();
        loader.extend(series, t, v).unwrap();
    }
    loader.finish(&mut |_| Ok(Chunks::default())).unwrap().blocks
}

/// Long stretches in time order: half of the series go on where they ended, the others anywhere, so that rows come twice.
fn long_calls(seed: u64) -> Vec<(Labels, Vec<i64>, Vec<f64>)> {
    let mut random = Random(seed);
    let mut ends = [0i64; 8];
    let call = |_| {
        let (series, step) = (random.below(8), 1 + random.below(6) as i64);
        let start = if series % 2 == 0 { ends[series as usize] } else { random.below(3_000) as i64 };
        let t: Vec<i64> = (0..1 + random.below(400) as i64).map(|i| start + step * (i + 1)).collect();
        ends[series as usize] = t[t.len() - 1];
        let v = t.iter().map(|_| random.below(3) as f64).collect();
        (labels(series), t, v)
    };
    (0..150).map(call).collect()
}

#[test]
fn packing_changes_nothing_in_the_blocks() {
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    for seed in 0..6 {
        let calls = long_calls(seed);
        let ample = load(5_000, Sizes::of(16 << 20), &calls);
        assert!(ample.duplicates > 0 && ample.conflicts > 0 && ample.runs == 0);
        assert!(load(5_000, TINY, &calls).runs > 1);
        let chunks = |slab_rows: usize, pool: Option<&Arc<rayon::ThreadPool>>| {
            chunks_of(Sizes { slab_rows, ..Sizes::of(16 << 20) }, pool, &calls)
        };
        // Of so short stretches of so many timestamps none is packed.
        let plain = chunks(3, None);
        for slab_rows in [64, 500, 4_096] {
            assert!(chunks(slab_rows, None) == plain, "packed by the caller, {slab_rows} rows a slab");
            assert!(chunks(slab_rows, Some(&pool)) == plain, "packed by the pool, {slab_rows} rows a slab");
        }
    }
}

/// Two full slabs of one series, both packed, of which the second begins at the timestamp at which the first ends.
#[test]
fn a_coded_stretch_that_begins_with_the_row_before_it_is_compared_with_it() {
    let rows = 600;
    let sizes = Sizes { slab_rows: rows as usize, ..Sizes::of(16 << 20) };
    let stretch = |from: i64, first: f64| {
        let t: Vec<i64> = (from..from + rows).collect();
        let v = t.iter().map(|&t| if t == from { first } else { 7.0 }).collect();
        (labels(0), t, v)
    };
    for (first, duplicates, conflicts) in [(7.0, 1, 0), (-7.0, 0, 1)] {
        // A slab is packed once the next one begins.
        let next = (labels(1), vec![0], vec![0.0]);
        let loaded = load(5_000, sizes, &[stretch(0, 1.0), stretch(rows - 1, first), next]);
        assert_eq!((loaded.duplicates, loaded.conflicts), (duplicates, conflicts));
        assert_eq!(loaded.samples, 2 * rows as u64);
    }
}

/// Scrapes of 40 series one after another, and at last an early one again, with other values.
fn scrapes(count: i64) -> Vec<(Labels, Vec<i64>, Vec<f64>)> {
    let rounds = (0..count).map(|n| (n, 0.0)).chain([(10, 0.5)]);
    let row = |(n, more): (i64, f64)| {
        (0..40).map(move |series| {
            (labels(series), vec![15 * n], vec![(n * n % 23) as f64 + series as f64 + more])
        })
    };
    rounds.flat_map(row).collect()
}

#[test]
fn what_comes_scrape_by_scrape_is_gathered_before_it_is_spilled() {
    let calls = scrapes(200);
    // Row by row they would take three times as much.
    let sizes = Sizes { load_bytes: 120_000, ..TINY };
    let loaded = load(5_000, sizes, &calls);
    assert_eq!((loaded.runs, loaded.conflicts), (0, 40));
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let ample = chunks_of(Sizes::of(16 << 20), None, &calls);
    assert!(chunks_of(sizes, None, &calls) == ample, "gathered by the caller");
    assert!(chunks_of(sizes, Some(&pool), &calls) == ample, "gathered by the pool");
}

#[test]
fn what_is_gathered_keeps_its_order_beside_what_was_packed() {
    let sizes = Sizes { load_bytes: 400_000, slab_rows: 700, ..TINY };
    let of = |series: u64, t: std::ops::Range<i64>, v: f64| {
        let t: Vec<i64> = t.collect();
        (labels(series), t.clone(), vec![v; t.len()])
    };
    // A row, then a stretch that is packed and has another value for it, then a third one, which waits again; each a segment of its own.
    let mut calls = Vec::new();
    for rows in [of(7, 90..91, 1.0), of(7, 100..101, 1.0), of(7, 100..690, 2.0), of(7, 300..303, 3.0)] {
        calls.extend([rows, of(9, calls.len() as i64..calls.len() as i64 + 1, 0.0)]);
    }
    calls.extend(scrapes(330));
    calls.extend([of(7, 689..691, 4.0), of(8, 5..1_000, 5.0)]);
    let loaded = load(5_000, sizes, &calls);
    assert_eq!(loaded.runs, 0);
    assert!(chunks_of(sizes, None, &calls) == chunks_of(Sizes::of(16 << 20), None, &calls));
}

#[test]
fn what_was_packed_stays_so_in_a_run() {
    let times = |from: i64| (from..from + 500).map(|n| 7 * n).collect::<Vec<i64>>();
    let values =
        |series: u64| (0..500).map(|n| (n * n % 97 + series as i64) as f64 / 10.0).collect::<Vec<f64>>();
    let stretch = |from: i64| (0..30).map(move |series| (labels(series), times(from), values(series)));
    // Runs one after the other in time, and then one across the border.
    let calls: Vec<_> = [0, 500, 250].into_iter().flat_map(stretch).collect();
    let sizes = Sizes { slab_rows: 500, load_bytes: 95_000, fan_in: 16, ..TINY };
    let loaded = load(5_000, sizes, &calls);
    assert!((2..=16).contains(&loaded.runs), "{} runs, none of which is merged into others", loaded.runs);
    let bytes = loaded.spilled_bytes as usize / (3 * 30 * 500);
    assert!(bytes < 5, "{bytes} bytes a sample: XORs of such values take more than nine with their times");
    assert!(chunks_of(sizes, None, &calls) == chunks_of(Sizes::of(16 << 20), None, &calls));
}

#[test]
fn more_series_than_the_table_holds_take_several_epochs() {
    let calls = random_calls(3, 3_000, 1_500, 50);
    let loaded = load(1_000, TINY, &calls);
    assert!(loaded.runs > 8 && loaded.series > 1_000);
}

#[test]
fn one_series_larger_than_the_memory_is_streamed() {
    let mut random = Random(9);
    let rows = 40_000u64;
    let t: Vec<i64> = (0..rows).map(|i| (i * 7_919 % rows) as i64).collect();
    let v: Vec<f64> = t.iter().map(|_| random.below(100) as f64).collect();
    let loaded = load(1_000_000, TINY, &[(labels(1), t, v)]);
    assert_eq!((loaded.samples, loaded.duplicates), (rows, 0));
    assert!(loaded.runs > 50, "{} runs", loaded.runs);
}

/// With the sizes that users get: the least memory, several times over.
#[test]
fn what_is_held_stays_within_the_memory() {
    let shuffled = |rows: u64, step: u64| (0..rows).map(|i| (i * step % rows) as i64).collect::<Vec<i64>>();
    let values = |t: &[i64]| t.iter().map(|t| (*t as f64).sqrt()).collect::<Vec<f64>>();
    let t = shuffled(170_000, 7_919);
    let one_series = vec![(labels(1), t.clone(), values(&t))];
    let t = shuffled(8, 3);
    let many_series = (0..30_000).map(|n| (labels(n % 14_000), t.clone(), vec![n as f64; 8])).collect();
    let large = |n: u64| {
        let (text, more) = (format!("{}{n}", "x".repeat(65_000)), format!("{n}{}", "y".repeat(60_000)));
        crate::labels!("large", "n" => n, "text" => text, "u" => more).unwrap()
    };
    let large_labels = (0..100).map(|n| (large(n * 7 % 60), t.clone(), vec![n as f64; 8])).collect();
    type Call = (Labels, Vec<i64>, Vec<f64>);
    let calls: [(&str, Vec<Call>); 3] =
        [("one series", one_series), ("many series", many_series), ("large labels", large_labels)];
    for (case, calls) in calls {
        let loaded = load(1_000_000, Sizes::of(MIN_MEMORY_BYTES), &calls);
        assert!(loaded.runs > 2, "{case}: {} runs", loaded.runs);
        assert!(loaded.peak_bytes <= MIN_MEMORY_BYTES, "{case}: {} bytes held", loaded.peak_bytes);
        assert!(
            loaded.peak_bytes > MIN_MEMORY_BYTES / 4,
            "{case}: {} bytes of it are used",
            loaded.peak_bytes
        );
    }
}

#[test]
fn a_load_in_time_order_is_cut_at_range_ends() {
    let t: Vec<i64> = (0..1_000).map(|i| i * 10 - 3_000).collect();
    let v: Vec<f64> = t.iter().map(|t| *t as f64).collect();
    let loaded = load(1_000, TINY, &[(labels(1), t.clone(), v.clone()), (labels(0), t, v)]);
    assert_eq!(loaded.blocks.len(), 10);
    assert_eq!(loaded.blocks[0].0, TimeRange::new(-3_000, -2_000));
    assert_eq!(loaded.range, TimeRange::new(-3_000, 6_991));
}

#[test]
fn chunks_of_a_very_long_series_are_longer() {
    let mut lengths = Vec::new();
    for sizes in [TINY, Sizes::of(16 << 20)] {
        let (fs, open, rows) = (MemFs::new(), Open::default(), Rc::new(RefCell::new(Vec::new())));
        let mut loader = loader(&fs, 10_000, sizes);
        let series = loader.series(&labels(0)).unwrap();
        let t: Vec<i64> = (0..10_000).collect();
        loader.extend(series, &t, &vec![1.0; 10_000]).unwrap();
        let loaded =
            loader.finish(&mut |range| Ok(Lengths(TestBlock::new(range, &open), Rc::clone(&rows)))).unwrap();
        assert_eq!(loaded.samples, 10_000);
        lengths.push(rows.take());
    }
    assert_eq!(lengths[0], [[878; 5].as_slice(), &[window::MAX_ROWS; 5], &[490]].concat());
    assert_eq!(lengths[1], [[878; 11].as_slice(), &[342]].concat(), "by windows");
}

/// A test block that tells the rows of its chunks when it is finished.
struct Lengths(TestBlock, Rc<RefCell<Vec<usize>>>);

impl SeriesSink for Lengths {
    fn add(&mut self, labels: &Labels, chunks: &[NewChunk]) -> Result<()> {
        self.0.add(labels, chunks)
    }

    fn add_family(&mut self, name: &str, metadata: &Metadata) -> Result<()> {
        self.0.add_family(name, metadata)
    }
}

impl BlockSink for Lengths {
    type Meta = ();

    fn finish(mut self) -> Result<()> {
        self.1.borrow_mut().append(&mut self.0.rows_of_chunks);
        Ok(())
    }
}

#[test]
fn the_ends_of_time_are_kept() {
    let t = vec![i64::MAX - 1, i64::MIN, 0, -1, i64::MIN + 1, i64::MAX - 1];
    let v = vec![1.0, 2.0, 3.0, STALE, -0.0, 7.0];
    for range_ms in [1, 86_400_000, i64::MAX] {
        let loaded = load(range_ms, TINY, &[(labels(1), t.clone(), v.clone())]);
        assert_eq!((loaded.samples, loaded.conflicts), (5, 1));
        assert_eq!(loaded.range, TimeRange::ALL);
    }
}

#[test]
fn an_empty_load_has_no_blocks() {
    let loaded = load(1_000, TINY, &[(labels(1), vec![], vec![])]);
    assert!(loaded.blocks.is_empty() && loaded.range.is_empty() && loaded.series == 0);
}

#[test]
fn stale_and_foreign_references_are_errors() {
    let fs = MemFs::new();
    let stale = ErrorKind::Append(AppendError::StaleRef);
    let mut one = loader(&fs, 1_000, TINY);
    let mut other = loader(&fs, 1_000, TINY);
    let of_one = one.series(&labels(0)).unwrap();
    assert_eq!(one.series(&labels(0)).unwrap(), of_one);
    other.series(&labels(0)).unwrap();
    assert_eq!(other.extend(of_one, &[1], &[1.0]).unwrap_err().kind(), stale);
    assert_eq!(one.extend(BulkRef(of_one.0 + 1), &[1], &[1.0]).unwrap_err().kind(), stale);
    // Extending never ends an epoch, however much it spills; many new series do.
    for t in 0..5_000 {
        one.extend(of_one, &[t], &[1.0]).unwrap();
    }
    assert!(!spilled(&fs).is_empty());
    for n in 1..500 {
        one.series(&labels(n)).unwrap();
    }
    assert_eq!(one.extend(of_one, &[1], &[1.0]).unwrap_err().kind(), stale);
    let again = one.series(&labels(0)).unwrap();
    one.extend(again, &[1], &[1.0]).unwrap();
}

#[test]
fn a_loader_tells_when_it_will_forget() {
    let fs = MemFs::new();
    let mut loader = spilling(&fs);
    let mut known: Vec<(Labels, BulkRef)> = Vec::new();
    let mut forgot = 0;
    for n in 0..20_000 {
        let labels = labels(n);
        if !loader.has_room(&labels) {
            forgot += 1;
            let (old, reference) = known.last().unwrap().clone();
            assert!(loader.has_room(&old));
            loader.extend(reference, &[1], &[1.0]).unwrap();
            let new = loader.series(&labels).unwrap();
            assert!(loader.extend(reference, &[2], &[1.0]).is_err(), "it forgets when it says so");
            known = vec![(labels, new)];
            continue;
        }
        let new = loader.series(&labels).unwrap();
        known.push((labels, new));
        loader.extend(known[0].1, &[3], &[1.0]).expect("and only then");
    }
    assert!(forgot > 0);
}

#[test]
fn what_is_refused_is_not_taken() {
    let fs = MemFs::new();
    let mut loader = loader(&fs, 10, TINY);
    let series = loader.series(&labels(0)).unwrap();
    let kind = |result: Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(loader.extend(series, &[1, 2], &[1.0])), ErrorKind::InvalidArgument);
    let reserved = loader.extend(series, &[1, i64::MAX], &[1.0, 2.0]);
    assert_eq!(kind(reserved), ErrorKind::Append(AppendError::BadTimestamp));
    let far: Vec<i64> = (0..101).map(|i| i * 10).collect();
    assert_eq!(kind(loader.extend(series, &far, &[0.0; 101])), ErrorKind::Ceiling);
    loader.extend(series, &[5], &[5.0]).unwrap();
    let open = Open::default();
    let loaded = loader.finish(&mut |range| Ok(TestBlock::new(range, &open))).unwrap();
    assert_eq!((loaded.samples, loaded.blocks.len()), (1, 1));
    let options =
        LoaderOptions { memory_bytes: MIN_MEMORY_BYTES - 1, range_ms: 1, max_blocks: 1, pool: None };
    let small = Loader::new(Arc::new(fs), "/spill".into(), &options, Cancel::default());
    assert_eq!(small.err().map(|e| e.kind()), Some(ErrorKind::InvalidOptions));
}

/// A load that has spilled.
fn spilling(fs: &MemFs) -> Loader {
    let mut loader = loader(fs, 1_000, TINY);
    for (labels, t, v) in random_calls(1, 300, 20, 500) {
        let series = loader.series(&labels).unwrap();
        loader.extend(series, &t, &v).unwrap();
    }
    assert!(!spilled(fs).is_empty());
    loader
}

#[test]
fn spill_files_go_when_a_load_is_dropped_or_fails() {
    let (fs, open) = (MemFs::new(), Open::default());
    drop(spilling(&fs));
    assert!(spilled(&fs).is_empty(), "dropped");

    let refused = |_| -> Result<TestBlock> { Err(Error::new(ErrorKind::NoSpace, "no")) };
    let failed = spilling(&fs).finish(&mut { refused });
    assert_eq!(failed.err().map(|e| e.kind()), Some(ErrorKind::NoSpace));
    assert!(spilled(&fs).is_empty(), "no block could be made");

    let loader = spilling(&fs);
    loader.cancel.cancel();
    let cancelled = loader.finish(&mut |range| Ok(TestBlock::new(range, &open)));
    assert_eq!(cancelled.err().map(|e| e.kind()), Some(ErrorKind::Cancelled));
    assert!(spilled(&fs).is_empty(), "cancelled");
}

/// What comes of a load whose runs were changed behind its back: an error that names one of them, and nothing stored.
fn after_damage(what: &str, change: impl Fn(&MemFs)) -> Error {
    let (fs, open) = (MemFs::new(), Open::default());
    let loader = spilling(&fs);
    change(&fs);
    let outcome = loader.finish(&mut |range| Ok(TestBlock::new(range, &open)));
    let e = outcome.err().unwrap_or_else(|| panic!("{what}: not found"));
    assert!(matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat), "{what}: {e:?}");
    assert!(e.path().is_some_and(|path| path.starts_with("/spill")), "{what}: {e:?}");
    assert!(open.0.borrow().0 == 0 && spilled(&fs).is_empty(), "{what}");
    e
}

/// Every bit, every length, every sector with `SILVERBACK_SWEEP=all`; a part of them otherwise.
#[test]
fn damage_to_a_run_is_an_error_that_names_file_and_offset() {
    const SECTOR: usize = 512;
    let [one, two] = ["/spill/1", "/spill/2"].map(Path::new);
    let [all, other] = {
        let fs = MemFs::new();
        let _held = spilling(&fs);
        [one, two].map(|path| fs.read(path).unwrap())
    };
    let is_long = std::env::var("SILVERBACK_SWEEP").is_ok_and(|v| v == "all");
    let (step, mut tried) = (if is_long { 1 } else { 997 }, [0; 4]);
    for bit in (0..all.len() as u64 * 8).step_by(step) {
        let e = after_damage(&format!("bit {bit}"), |fs| fs.flip_bit(one, bit).unwrap());
        assert_eq!((e.path(), e.offset().is_some()), (Some(one), true), "bit {bit}");
        tried[0] += 1;
    }
    for cut in (0..all.len()).step_by(step).chain([1, 15, 16, 17, all.len() / 2, all.len() - 1]) {
        let e = after_damage(&format!("cut at {cut}"), |fs| fs.truncate(one, cut as u64).unwrap());
        assert_eq!((e.kind(), e.path()), (ErrorKind::Corrupt, Some(one)), "cut at {cut}");
        tried[1] += 1;
    }
    let sectors: Vec<&[u8]> = all.chunks(SECTOR).collect();
    for n in (0..sectors.len()).step_by(if is_long { 1 } else { 5 }) {
        let mut zeroed = all.clone();
        zeroed[n * SECTOR..(n * SECTOR + SECTOR).min(all.len())].fill(0);
        after_damage(&format!("sector {n} zeroed"), |fs| fs.write(one, &zeroed).unwrap());
        if n + 1 < sectors.len() {
            let mut swapped = sectors.clone();
            swapped.swap(n, n + 1);
            after_damage(&format!("sector {n} swapped"), |fs| fs.write(one, &swapped.concat()).unwrap());
            let mut doubled = sectors.clone();
            doubled[n + 1] = &sectors[n][..sectors[n + 1].len()];
            after_damage(&format!("sector {n} doubled"), |fs| fs.write(one, &doubled.concat()).unwrap());
        }
        tried[2] += 3;
    }
    after_damage("runs swapped", |fs| {
        fs.write(one, &other).unwrap();
        fs.write(two, &all).unwrap();
    });
    tried[3] += 1;
    let [bits, cuts, sectors, swaps] = tried;
    println!(
        "spilled runs: {bits} bits flipped, {cuts} lengths, {sectors} sectors zeroed, swapped, or doubled, {swaps} pair of runs swapped; each an error that names the run, failures = 0"
    );
}

#[test]
fn a_load_that_could_not_spill_is_lost_and_says_so() {
    let fs = MemFs::new();
    let mut loader = loader(&fs, 1_000, TINY);
    let series = loader.series(&labels(0)).unwrap();
    fs.limit_bytes(100);
    let t: Vec<i64> = (0..5_000).collect();
    let failed = loader.extend(series, &t, &vec![0.5; 5_000]).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::NoSpace);
    fs.limit_bytes(u64::MAX);
    assert_eq!(loader.extend(series, &[1], &[1.0]).unwrap_err().kind(), ErrorKind::NoSpace);
    let open = Open::default();
    let finished = loader.finish(&mut |range| Ok(TestBlock::new(range, &open)));
    assert_eq!(finished.err().map(|e| e.kind()), Some(ErrorKind::NoSpace));
    assert!(spilled(&fs).is_empty());
}

#[test]
fn two_loads_share_a_directory_and_leave_a_stranger_alone() {
    let fs = MemFs::new();
    fs.create_dir(Path::new("/spill")).unwrap();
    fs.write("/spill/1", b"of somebody else").unwrap();
    let (one, other) = (spilling(&fs), spilling(&fs));
    drop(one);
    let open = Open::default();
    other.finish(&mut |range| Ok(TestBlock::new(range, &open))).unwrap();
    assert_eq!(spilled(&fs), [Path::new("/spill/1")]);
}

#[test]
fn every_block_has_the_last_metadata_of_each_family() {
    let (fs, open) = (MemFs::new(), Open::default());
    let mut loader = loader(&fs, 10, TINY);
    let gauge = Metadata { metric_type: MetricType::Gauge, unit: "s".into(), help: "h".into() };
    loader.metadata("b", &Metadata::default()).unwrap();
    loader.metadata("a", &Metadata::default()).unwrap();
    loader.metadata("b", &gauge).unwrap();
    let large = Metadata { help: "x".repeat(TINY.load_bytes), ..gauge.clone() };
    assert_eq!(loader.metadata("c", &large).unwrap_err().kind(), ErrorKind::Ceiling);
    let series = loader.series(&labels(0)).unwrap();
    loader.extend(series, &[1, 11], &[1.0, 2.0]).unwrap();
    let loaded = loader.finish(&mut |range| Ok(TestBlock::new(range, &open))).unwrap();
    let expected = [("a".to_owned(), Metadata::default()), ("b".to_owned(), gauge)];
    assert_eq!(loaded.blocks.len(), 2);
    assert!(loaded.blocks.iter().all(|(_, (_, families))| *families == expected));
}

#[test]
fn a_loader_may_move_to_another_thread() {
    const fn send<T: Send + 'static>() {}
    const { send::<Loader>() };
}
