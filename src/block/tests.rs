//! Blocks in memory: what was added reads back, selections agree with a naive filter, damage is named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::env::MemFs;
use crate::error::ErrorKind;
use crate::format::chunk::{EncodedChunk, Encoding};
use crate::format::columns::values;
use crate::format::directory_page::Kind;
use crate::format::pairs_filter;
use crate::format::terms_page::Postings;
use crate::format::{cursor, gorilla};
use crate::model::{Cancel, Columns, Labels, Lsn, MatchOp, Matcher, Metadata, MetricType, TimeRange};
use crate::source::{ChunkData, Source};

const DIR: &str = "/block";
const MODES: [ReadMode; 2] = [ReadMode::Mapped, ReadMode::Positioned];

/// Series with their samples, values as bits.
type Found = Vec<(Labels, Vec<(i64, u64)>)>;

/// What a block should hold: for each series its chunks.
type Model = BTreeMap<Labels, Vec<Vec<(i64, f64)>>>;

fn options(range: TimeRange) -> WriterOptions {
    WriterOptions { salt: 0xfeed, range, through: Lsn(9), level: 2 }
}

/// Every other chunk is of columns, by the number of its rows.
fn new_chunk(samples: &[(i64, f64)]) -> NewChunk {
    let (t, v): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
    let chunk = match t.len() % 2 {
        0 => EncodedChunk { encoding: Encoding::Columns((&*t).into()), payload: values::encode(&v) },
        _ => EncodedChunk { encoding: Encoding::Gorilla, payload: gorilla::encode(&t, &v) },
    };
    NewChunk { min_t: t[0], max_t: *t.last().unwrap(), rows: t.len() as u32, chunk }
}

fn values_of(view: &BlockView, name: &str, matchers: &[Matcher], cancel: &Cancel) -> Result<Vec<String>> {
    let mut values = Vec::new();
    view.each_label_value(name, matchers, cancel, &mut |value| values.push(value.to_owned()))?;
    Ok(values)
}

fn families() -> BTreeMap<String, Metadata> {
    let family =
        |metric_type, unit: &str, help: &str| Metadata { metric_type, unit: unit.into(), help: help.into() };
    BTreeMap::from([
        ("m0".to_owned(), family(MetricType::Counter, "", "The first.")),
        ("m1".to_owned(), family(MetricType::Gauge, "seconds", "The second.")),
    ])
}

fn write_at(fs: &MemFs, dir: &str, model: &Model, range: TimeRange) -> BlockMeta {
    write_with(fs, dir, model, range, spool::TAIL_BYTES)
}

/// With so many bytes of series in memory.
fn write_with(fs: &MemFs, dir: &str, model: &Model, range: TimeRange, spool_bytes: usize) -> BlockMeta {
    let mut writer = Writer::create(Arc::new(fs.clone()), PathBuf::from(dir), options(range)).unwrap();
    writer.spool_after(spool_bytes);
    for (labels, chunks) in model {
        let chunks: Vec<NewChunk> = chunks.iter().map(|c| new_chunk(c)).collect();
        writer.add(labels, &chunks).unwrap();
    }
    for (name, metadata) in families() {
        writer.add_family(&name, &metadata).unwrap();
    }
    writer.finish().unwrap().meta
}

fn write(model: &Model) -> MemFs {
    let fs = MemFs::new();
    let meta = write_at(&fs, DIR, model, TimeRange::new(0, 100_000));
    assert_eq!(meta.series as usize, model.len());
    fs
}

fn open(fs: &MemFs, mode: ReadMode) -> Result<Block> {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    Block::open(&fs, Path::new(DIR), mode)
}

fn view(fs: &MemFs, mode: ReadMode, deletes: Vec<Deletion>) -> BlockView {
    BlockView::new(Arc::new(open(fs, mode).unwrap()), 7, deletes)
}

/// Everything that a selection yields, decoded; deleted samples taken out.
fn selected(view: &BlockView, matchers: &[Matcher], range: TimeRange) -> Result<Found> {
    let mut stream = view.select(matchers, range, &Cancel::default())?;
    let mut out = Vec::new();
    while let Some(series) = stream.next()? {
        let mut samples = Vec::new();
        for chunk in &series.chunks {
            let mut columns = Columns::default();
            let ChunkData::Stored { store, at } = &chunk.data else { unreachable!() };
            store.decode(*at, TimeRange::ALL, &mut columns)?;
            let mut part = Columns::default();
            store.decode(*at, range, &mut part)?;
            let inside = |c: &Columns| {
                let rows = c.t.iter().zip(&c.v).filter(|(t, _)| range.contains(**t));
                rows.map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>()
            };
            assert_eq!(inside(&part), inside(&columns), "a part of the chunk");
            let found = (columns.len(), columns.t.first(), columns.t.last());
            if found != (chunk.rows as usize, Some(&chunk.min_t), Some(&chunk.max_t)) {
                // Only a forged index says what its chunks do not.
                return Err(Error::new(ErrorKind::Corrupt, "the chunk is not as the index says"));
            }
            let mut again = Columns::default();
            store.encoded(*at)?.decode_into(&mut again).unwrap();
            assert_eq!(again.t, columns.t);
            let both = columns.t.iter().zip(&columns.v);
            samples.extend(
                both.filter(|(t, _)| range.contains(**t) && !series.deleted.contains(**t))
                    .map(|(t, v)| (*t, v.to_bits())),
            );
        }
        out.push((series.labels, samples));
    }
    Ok(out)
}

fn matches(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|m| m.matches(labels.value(m.name()).unwrap_or("")))
}

/// The same by a plain filter.
fn expected(model: &Model, deletes: &[Deletion], matchers: &[Matcher], range: TimeRange) -> Found {
    let mut out = Vec::new();
    for (labels, chunks) in model.iter().filter(|(labels, _)| matches(matchers, labels)) {
        let gone = |t: i64| deletes.iter().any(|d| d.range.contains(t) && matches(&d.matchers, labels));
        let samples: Vec<(i64, u64)> = chunks
            .iter()
            .flatten()
            .filter(|(t, _)| range.contains(*t) && !gone(*t))
            .map(|(t, v)| (*t, v.to_bits()))
            .collect();
        out.push((labels.clone(), samples));
    }
    out
}

/// A block yields a series that has a chunk over the range, even where the chunk has no sample in it.
fn without_empty(list: Found) -> Found {
    list.into_iter().filter(|(_, samples)| !samples.is_empty()).collect()
}

/// A generator of our own, seeded.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn random_model(seed: u64, series: usize) -> Model {
    let mut random = Random(seed);
    let mut model = Model::new();
    for _ in 0..series {
        let mut pairs = vec![("__name__".to_owned(), format!("m{}", random.below(4)))];
        for name in ["a", "job", "é"] {
            if random.below(3) > 0 {
                pairs.push((name.to_owned(), format!("v{}", random.below(12))));
            }
        }
        if random.below(2) == 0 {
            pairs.push(("unique".to_owned(), random.below(1 << 20).to_string()));
        }
        let mut t = random.below(50_000) as i64;
        let mut chunk = || -> Vec<(i64, f64)> {
            (0..=random.below(6))
                .map(|_| {
                    t += 1 + random.below(1_000) as i64;
                    (t, f64::from_bits(random.below(1 << 30) << 30))
                })
                .collect()
        };
        let mut chunks = vec![chunk()];
        while chunks.len() < 3 && chunks.len() % 2 == 1 {
            chunks.push(chunk());
        }
        model.insert(Labels::from_pairs(pairs).unwrap(), chunks);
    }
    model
}

fn matcher(op: MatchOp, name: &str, value: &str) -> Matcher {
    Matcher::new(op, name, value).unwrap()
}

fn selections() -> Vec<Vec<Matcher>> {
    use MatchOp::*;
    vec![
        vec![],
        vec![matcher(Equal, "__name__", "m1")],
        vec![matcher(Equal, "__name__", "none")],
        vec![matcher(NotEqual, "__name__", "m1")],
        vec![matcher(Equal, "a", "")],
        vec![matcher(NotEqual, "a", "")],
        vec![matcher(Regex, "a", "v1.*")],
        vec![matcher(Regex, "a", "v1|v3|v11")],
        vec![matcher(NotRegex, "a", "v1.*")],
        vec![matcher(Regex, "a", ".*")],
        vec![matcher(Regex, "é", ".+")],
        vec![matcher(Regex, "unique", "[0-9]*7")],
        vec![matcher(Equal, "__name__", "m2"), matcher(Regex, "job", "v[3-7]"), matcher(NotEqual, "a", "v2")],
        vec![matcher(Equal, "job", "v1"), matcher(Equal, "job", "v2")],
        vec![matcher(Equal, "zzz", "")],
        vec![matcher(Equal, "zzz", "x")],
        vec![matcher(Equal, "A", "x")],
    ]
}

fn deletions() -> Vec<Deletion> {
    let deletion = |matchers: Vec<Matcher>, from, to| Deletion {
        matchers: matchers.into(),
        range: TimeRange::new(from, to),
    };
    vec![
        deletion(vec![matcher(MatchOp::Equal, "job", "v3")], 0, 30_000),
        deletion(vec![matcher(MatchOp::Equal, "job", "v3")], 30_000, 100_000),
        deletion(vec![matcher(MatchOp::Regex, "a", "v[2-5]")], 10_000, 25_000),
        deletion(vec![], 20_000, 21_000),
        deletion(vec![matcher(MatchOp::Equal, "a", "v9")], i64::MIN, i64::MAX),
    ]
}

#[test]
fn selections_agree_with_a_naive_filter() {
    let model = random_model(3, 300);
    let fs = write(&model);
    for mode in MODES {
        for deletes in [vec![], deletions()] {
            let view = view(&fs, mode, deletes.clone());
            assert_eq!(view.precedence(), 7);
            for matchers in selections() {
                for range in [TimeRange::ALL, TimeRange::new(12_000, 26_000), TimeRange::new(5, 5)] {
                    let got = selected(&view, &matchers, range).unwrap();
                    assert!(got.windows(2).all(|w| w[0].0 < w[1].0), "label order");
                    let want = without_empty(expected(&model, &deletes, &matchers, range));
                    assert_eq!(without_empty(got), want, "{matchers:?} {range:?}");
                }
            }
        }
    }
}

#[test]
fn series_without_a_living_chunk_in_the_range_are_left_out() {
    let labels = |job: &str| Labels::from_pairs([("__name__", "m"), ("job", job)]).unwrap();
    let chunks = vec![vec![(10, 1.0), (20, 2.0)], vec![(30, 3.0), (40, 4.0)]];
    let model = Model::from([(labels("a"), chunks.clone()), (labels("b"), chunks)]);
    let fs = write(&model);
    let delete = |from, to| Deletion {
        matchers: vec![matcher(MatchOp::Equal, "job", "a")].into(),
        range: TimeRange::new(from, to),
    };
    let count = |deletes, range| selected(&view(&fs, ReadMode::Mapped, deletes), &[], range).unwrap().len();
    assert_eq!(count(vec![], TimeRange::ALL), 2);
    assert_eq!(count(vec![], TimeRange::new(21, 30)), 0, "between the chunks");
    assert_eq!(count(vec![], TimeRange::new(40, 41)), 2);
    assert_eq!(count(vec![], TimeRange::new(41, 99)), 0);
    assert_eq!(count(vec![delete(0, 99)], TimeRange::ALL), 1);
    assert_eq!(count(vec![delete(0, 30), delete(30, 41)], TimeRange::ALL), 1);
    assert_eq!(count(vec![delete(0, 40)], TimeRange::ALL), 2, "one sample is left");
    assert_eq!(count(vec![delete(0, 40)], TimeRange::new(0, 40)), 1);
}

#[test]
fn names_values_and_families_agree_with_the_model() {
    let model = random_model(5, 200);
    let fs = write(&model);
    for mode in MODES {
        for deletes in [vec![], deletions()] {
            let view = view(&fs, mode, deletes.clone());
            let (min_t, max_t) = (view.block().meta().min_t, view.block().meta().max_t);
            for matchers in selections() {
                // Names and values of what is not deleted over all of the block's times.
                let gone = |labels: &Labels| {
                    let mut all = crate::model::Intervals::default();
                    deletes.iter().filter(|d| matches(&d.matchers, labels)).for_each(|d| all.add(d.range));
                    all.covers(TimeRange::inclusive(min_t, max_t))
                };
                let living = || model.keys().filter(|l| matches(&matchers, l) && !gone(l));
                let mut names = BTreeSet::new();
                view.label_names(&matchers, &Cancel::default(), &mut names).unwrap();
                let want: BTreeSet<String> =
                    living().flat_map(|l| l.iter().map(|(n, _)| n.to_owned())).collect();
                assert_eq!(names, want, "{matchers:?}");
                for name in ["__name__", "a", "é", "unique", "none"] {
                    let values = values_of(&view, name, &matchers, &Cancel::default()).unwrap();
                    let want: BTreeSet<String> =
                        living().filter_map(|l| l.value(name).map(str::to_owned)).collect();
                    assert_eq!(values, want.into_iter().collect::<Vec<_>>(), "{name} {matchers:?}");
                }
            }
            assert_eq!(view.families().unwrap(), families().into_iter().collect::<Vec<_>>());
            assert_eq!(view.metadata("m1").unwrap(), families().remove("m1"));
            assert_eq!(view.metadata("m").unwrap(), None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, rng_seed: proptest::test_runner::RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_block_reads_back_and_verifies(seed in any::<u64>(), series in 0usize..120) {
        let model = random_model(seed, series);
        let fs = write(&model);
        for mode in MODES {
            let want = expected(&model, &[], &[], TimeRange::ALL);
            prop_assert_eq!(selected(&view(&fs, mode, vec![]), &[], TimeRange::ALL).unwrap(), want);
            let mut faults = Vec::new();
            let block = open(&fs, mode).unwrap();
            prop_assert_eq!(block.verify(&Cancel::default(), &mut faults).unwrap(), block.bytes());
            prop_assert!(faults.is_empty(), "{:?}", faults);
        }
    }
}

/// A block with several levels in every tree.
fn deep() -> (Model, MemFs) {
    let (model, fs) = deep_index(6_000, 900);
    let meta = open(&fs, ReadMode::Mapped).unwrap().meta().clone();
    let levels = [meta.pairs_root.level, meta.series_root.level, meta.families_root.level];
    assert_eq!(levels, [2, 1, 2]);
    (model, fs)
}

/// A block with so many series and families, with long keys.
fn deep_index(count: usize, families: usize) -> (Model, MemFs) {
    // No two neighbours end alike: what they share is not written again.
    let value = |i: usize| format!("{i:05}{}{}", "-long-value".repeat(30), i % 10);
    let series = |i: usize| {
        Labels::from_pairs([("__name__", "m".to_owned()), ("x", value(i)), ("y", value(i / 50))]).unwrap()
    };
    let model: Model =
        (0..count).map(|i| (series(i), vec![vec![(i as i64, 1.0), (i as i64 + 7, 2.0)]])).collect();
    let fs = MemFs::new();
    let range = TimeRange::new(0, 10_000);
    let mut writer = Writer::create(Arc::new(fs.clone()), DIR.into(), options(range)).unwrap();
    for (labels, chunks) in &model {
        writer.add(labels, &[new_chunk(&chunks[0])]).unwrap();
    }
    for i in 0..families {
        let metadata = Metadata { help: "h".repeat(100 + i % 7), ..Metadata::default() };
        writer.add_family(&format!("{}{i:04}", "f".repeat(700)), &metadata).unwrap();
    }
    writer.finish().unwrap();
    (model, fs)
}

#[test]
fn trees_of_several_levels() {
    let (model, fs) = deep();
    let view = view(&fs, ReadMode::Positioned, vec![]);
    assert_eq!(selected(&view, &[], TimeRange::ALL).unwrap(), expected(&model, &[], &[], TimeRange::ALL));
    for i in [0, 1, 777, 3_000, 5_999] {
        let (labels, _) = model.iter().nth(i).unwrap();
        let matchers = [matcher(MatchOp::Equal, "x", labels.value("x").unwrap())];
        let got = selected(&view, &matchers, TimeRange::ALL).unwrap();
        assert_eq!(got, expected(&model, &[], &matchers, TimeRange::ALL));
        assert_eq!(got.len(), 1);
    }
    let mut names = BTreeSet::new();
    view.label_names(&[], &Cancel::default(), &mut names).unwrap();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["__name__", "x", "y"]);
    assert_eq!(values_of(&view, "y", &[], &Cancel::default()).unwrap().len(), 120);
    let all = view.families().unwrap();
    assert_eq!(all.len(), 900);
    assert!(all.windows(2).all(|w| w[0].0 < w[1].0));
    for (name, metadata) in all.iter().step_by(111) {
        assert_eq!(view.metadata(name).unwrap().as_ref(), Some(metadata));
    }
    let mut faults = Vec::new();
    view.block().verify(&Cancel::default(), &mut faults).unwrap();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn the_same_input_gives_the_same_bytes_and_other_salts_do_not_pass() {
    let model = random_model(8, 50);
    let (a, b) = (write(&model), write(&model));
    for file in FILES {
        let path = Path::new(DIR).join(file);
        assert_eq!(a.read(&path).unwrap(), b.read(&path).unwrap(), "{file}");
    }
    let other = MemFs::new();
    let fs: Arc<dyn Fs> = Arc::new(other.clone());
    let salted = WriterOptions { salt: 1, ..options(TimeRange::new(0, 100_000)) };
    let mut writer = Writer::create(fs, DIR.into(), salted).unwrap();
    for (labels, chunks) in &model {
        writer.add(labels, &chunks.iter().map(|c| new_chunk(c)).collect::<Vec<_>>()).unwrap();
    }
    families().iter().for_each(|(name, m)| writer.add_family(name, m).unwrap());
    writer.finish().unwrap();
    for file in [INDEX_FILE, CHUNKS_FILE] {
        let path = Path::new(DIR).join(file);
        let swapped = a.fork();
        let bytes = other.read(&path).unwrap();
        swapped.remove_file(&path).unwrap();
        swapped.write(&path, &bytes).unwrap();
        let view = view(&swapped, ReadMode::Mapped, vec![]);
        let error = selected(&view, &[], TimeRange::ALL).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(path.as_path())));
    }
}

/// All that a reader can ask, as one value, or the first error.
fn everything(fs: &MemFs, mode: ReadMode) -> Result<String> {
    let view = BlockView::new(Arc::new(open(fs, mode)?), 7, vec![]);
    let mut out = format!("{:?}", selected(&view, &[], TimeRange::ALL)?);
    out += &format!("{:?}", selected(&view, &[matcher(MatchOp::Regex, "a", "v.+")], TimeRange::ALL)?);
    let mut names = BTreeSet::new();
    view.label_names(&[], &Cancel::default(), &mut names)?;
    let values = values_of(&view, "job", &[matcher(MatchOp::Equal, "a", "v1")], &Cancel::default())?;
    out += &format!("{names:?}{values:?}{:?}{:?}", view.families()?, view.metadata("m0")?);
    Ok(out)
}

#[test]
fn every_flipped_bit_is_a_typed_error_or_the_right_answer() {
    let model = random_model(11, 6);
    let fs = write(&model);
    let right = everything(&fs, ReadMode::Positioned).unwrap();
    for file in FILES {
        let path = Path::new(DIR).join(file);
        for bit in 0..fs.read(&path).unwrap().len() as u64 * 8 {
            let bad = fs.fork();
            bad.flip_bit(&path, bit).unwrap();
            let mode = MODES[(bit % 2) as usize];
            match everything(&bad, mode) {
                Ok(got) => assert_eq!(got, right, "{file} bit {bit}"),
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::Corrupt, "{file} bit {bit}: {e}");
                    assert_eq!(e.path(), Some(path.as_path()), "{file} bit {bit}: {e}");
                }
            }
            if let Ok(block) = open(&bad, mode) {
                let mut faults = Vec::new();
                block.verify(&Cancel::default(), &mut faults).unwrap();
                assert!(!faults.is_empty(), "{file} bit {bit} is not found");
                let named = |e: &Error| e.path() == Some(path.as_path()) && e.offset().is_some();
                assert!(faults.iter().all(named), "{file} bit {bit}: {faults:?}");
            }
        }
    }
}

/// Offset and length of every unit of the index.
fn units(block: &Block) -> Vec<(usize, usize)> {
    let (index, meta) = (&block.index, &block.meta);
    let mut units = Vec::new();
    let mut leaves = Vec::new();
    for (kind, root) in [
        (Kind::Terms, meta.pairs_root),
        (Kind::Series, meta.series_root),
        (Kind::Families, meta.families_root),
    ] {
        let mut pages = vec![index::PageRef::root(root)];
        while let Some(page) = pages.pop() {
            units.push((page.offset as usize, page.bytes as usize));
            match page.level {
                0 if kind == Kind::Terms => leaves.push(page),
                0 => {}
                _ => pages.extend(index.children(kind, &page).unwrap()),
            }
        }
    }
    for leaf in &leaves {
        let lists = index.with_terms(leaf, |page| {
            let mut walk = page.walk();
            while let Some(term) = walk.next().unwrap() {
                if let Postings::Listed(list) = term.postings {
                    units.push((list.offset as usize, list.bytes as usize));
                }
            }
            Ok(())
        });
        lists.unwrap();
    }
    let buckets = pairs_filter::buckets(meta.pairs);
    let start = index.filter_start().unwrap();
    for number in 0..buckets.div_ceil(pairs_filter::PAGE_BUCKETS) {
        let page = pairs_filter::page(buckets, number);
        units.push(((start + page.offset) as usize, page.bytes as usize));
    }
    units.sort_unstable();
    units
}

#[test]
fn the_filter_turns_away_what_the_block_has_not_and_no_other() {
    let model = random_model(3, 60);
    let block = open(&write(&model), ReadMode::Mapped).unwrap();
    for (name, value) in model.keys().flat_map(Labels::iter) {
        assert!(block.index.filter_passes(name, value).unwrap(), "{name}={value}");
    }
    let passed = (0..1_000).filter(|i| block.index.filter_passes("a", &format!("no{i}")).unwrap()).count();
    assert!(passed < 60, "{passed} of 1,000");
}

#[test]
fn a_cancelled_token_ends_selections_and_streams() {
    let (_, fs) = deep_index(200, 40);
    let view = BlockView::new(Arc::new(open(&fs, ReadMode::Mapped).unwrap()), 7, vec![]);
    let cancel = Cancel::default();
    let regex = matcher(MatchOp::Regex, "x", "[^z]*7");
    let mut stream = view.select(&[], TimeRange::ALL, &cancel).unwrap();
    assert!(stream.next().unwrap().is_some());
    cancel.cancel();
    let cancelled = |error: crate::Error| assert_eq!(error.kind(), ErrorKind::Cancelled);
    cancelled(stream.next().unwrap_err());
    cancelled(view.select(std::slice::from_ref(&regex), TimeRange::ALL, &cancel).err().unwrap());
    cancelled(values_of(&view, "x", &[], &cancel).unwrap_err());
    cancelled(view.label_names(&[regex], &cancel, &mut BTreeSet::new()).unwrap_err());
}

/// Changes bytes of `path` in the unit (offset, bytes), and seals it again as a forger would.
fn forge(fs: &MemFs, path: &Path, unit: (usize, usize), random: &mut Random) {
    let mut all = fs.read(path).unwrap();
    let (body, tail) = (unit.0..unit.0 + unit.1 - 4, unit.0 + unit.1 - 4..unit.0 + unit.1);
    for _ in 0..=random.below(3) {
        let at = body.start + random.below(body.len() as u64) as usize;
        all[at] = [random.below(256) as u8, 0, 1, 0x7f, 0x80, 0xff][random.below(6) as usize];
    }
    let sum = cursor::crc(cursor::place_seed(0xfeed, unit.0 as u64), &all[body]);
    all[tail].copy_from_slice(&sum.to_le_bytes());
    fs.write(path, &all).unwrap();
}

#[test]
fn forged_indexes_end_in_errors_or_answers() {
    let (_, deep) = deep_index(200, 40);
    for (fs, rounds) in [(write(&random_model(11, 40)), 2), (deep, 1)] {
        let path = Path::new(DIR).join(INDEX_FILE);
        let mut random = Random(17);
        let mut refused = 0;
        // All pages and some of the many lists.
        let units = units(&open(&fs, ReadMode::Mapped).unwrap());
        for unit in units.iter().filter(|unit| unit.1 > 40).chain(units.iter().step_by(50)) {
            for _ in 0..rounds {
                let bad = fs.fork();
                forge(&bad, &path, *unit, &mut random);
                refused += usize::from(everything(&bad, ReadMode::Mapped).is_err());
                let mut faults = Vec::new();
                open(&bad, ReadMode::Mapped).unwrap().verify(&Cancel::default(), &mut faults).unwrap();
                assert!(
                    faults.iter().all(|e| matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat)),
                    "{faults:?}"
                );
            }
        }
        assert!(refused > 0);
    }
}

#[test]
fn files_of_another_length_do_not_open() {
    let fs = write(&random_model(2, 10));
    for file in FILES {
        let path = Path::new(DIR).join(file);
        for change in [-1i64, 1] {
            let bad = fs.fork();
            let mut bytes = bad.read(&path).unwrap();
            match change {
                1 => bytes.push(0),
                _ if bytes.is_empty() => continue,
                _ => drop(bytes.pop()),
            }
            bad.remove_file(&path).unwrap();
            bad.write(&path, &bytes).unwrap();
            for mode in MODES {
                let error = open(&bad, mode).unwrap_err();
                assert_eq!(
                    (error.kind(), error.path()),
                    (ErrorKind::Corrupt, Some(path.as_path())),
                    "{error}"
                );
            }
        }
        let gone = fs.fork();
        gone.remove_file(&path).unwrap();
        assert_eq!(open(&gone, ReadMode::Mapped).unwrap_err().path(), Some(path.as_path()));
    }
}

#[test]
fn the_writer_refuses_what_is_no_block_and_stays_usable() {
    let fs = MemFs::new();
    let range = TimeRange::new(0, 1_000);
    let mut writer = Writer::create(Arc::new(fs.clone()), DIR.into(), options(range)).unwrap();
    let labels = |i: usize| Labels::from_pairs([("n", format!("{i}"))]).unwrap();
    let good = new_chunk(&[(10, 1.0), (20, 2.0)]);
    writer.add(&labels(3), std::slice::from_ref(&good)).unwrap();
    let mut refused = |labels: &Labels, chunks: &[NewChunk]| {
        assert_eq!(writer.add(labels, chunks).unwrap_err().kind(), ErrorKind::InvalidArgument);
    };
    refused(&labels(3), std::slice::from_ref(&good));
    refused(&labels(2), std::slice::from_ref(&good));
    refused(&labels(4), &[]);
    refused(&labels(4), &[good.clone(), good.clone()]);
    refused(&labels(4), &[new_chunk(&[(-1, 1.0)])]);
    refused(&labels(4), &[new_chunk(&[(1_000, 1.0)])]);
    refused(&labels(4), &[NewChunk { rows: 3, ..good.clone() }]);
    refused(&labels(4), &[NewChunk { max_t: 10, ..good.clone() }]);
    assert!(writer.add_family("", &Metadata::default()).is_err());
    assert!(writer.add_family("f", &Metadata { help: "x".repeat(65_536), ..Metadata::default() }).is_err());
    writer.add(&labels(4), &[new_chunk(&[(999, 1.0)])]).unwrap();
    let meta = writer.finish().unwrap().meta;
    assert_eq!((meta.series, meta.samples, meta.chunks, meta.min_t, meta.max_t), (2, 3, 2, 10, 999));
    assert!(Writer::create(Arc::new(fs), DIR.into(), options(TimeRange::new(5, 5))).is_err());
}

#[test]
fn a_block_whose_series_were_spooled_is_the_same() {
    let (model, range) = (random_model(12, 80), TimeRange::new(0, 100_000));
    let whole = write(&model);
    for spool_bytes in [1, 60, 700] {
        let fs = MemFs::new();
        write_with(&fs, DIR, &model, range, spool_bytes);
        assert_eq!(fs.paths(), whole.paths(), "the spools are gone");
        for path in whole.paths() {
            assert!(fs.read(&path).unwrap() == whole.read(&path).unwrap(), "{}", path.display());
        }
    }
}

#[test]
fn an_unfinished_block_leaves_nothing_behind() {
    for (drops, spool_bytes) in [(true, 1), (false, 1), (true, 1_000), (false, 1_000)] {
        let fs = MemFs::new();
        let mut writer = Writer::create(Arc::new(fs.clone()), DIR.into(), options(TimeRange::ALL)).unwrap();
        writer.spool_after(spool_bytes);
        let labels = Labels::from_pairs([("n", "v")]).unwrap();
        writer.add(&labels, &[new_chunk(&[(10, 1.0)])]).unwrap();
        assert_eq!(fs.paths().iter().any(|path| path.ends_with("pairs.tmp")), spool_bytes == 1);
        match drops {
            true => drop(writer),
            false => writer.discard(),
        }
        assert_eq!(fs.stat(Path::new(DIR)).unwrap(), None);
    }
}

#[test]
fn a_full_disk_at_any_place_is_an_error_and_is_cleaned_up() {
    let model = random_model(4, 20);
    let total = open(&write(&model), ReadMode::Mapped).unwrap().bytes();
    for (limit, spool_bytes) in (0..total).step_by(97).zip([50, 1_000_000].into_iter().cycle()) {
        let fs = MemFs::new();
        fs.limit_bytes(limit);
        let fill = || -> Result<BlockMeta> {
            let range = TimeRange::new(0, 100_000);
            let mut writer = Writer::create(Arc::new(fs.clone()), DIR.into(), options(range))?;
            writer.spool_after(spool_bytes);
            for (labels, chunks) in &model {
                writer.add(labels, &chunks.iter().map(|c| new_chunk(c)).collect::<Vec<_>>())?;
            }
            for (name, metadata) in families() {
                writer.add_family(&name, &metadata)?;
            }
            writer.finish().map(|made| made.meta)
        };
        assert_eq!(fill().unwrap_err().kind(), ErrorKind::NoSpace, "at {limit}");
        assert_eq!(fs.stat(Path::new(DIR)).unwrap(), None);
    }
}

#[test]
fn a_finished_block_survives_a_power_cut() {
    let model = random_model(6, 30);
    let fs = write(&model);
    fs.sync_dir(Path::new("/")).unwrap();
    let after = fs.crash(&crate::env::CrashPolicy::DropUnsynced);
    assert_eq!(everything(&after, ReadMode::Mapped).unwrap(), everything(&fs, ReadMode::Mapped).unwrap());
}

#[test]
fn an_empty_block_and_extreme_times() {
    let fs = write(&Model::new());
    let empty = view(&fs, ReadMode::Mapped, vec![]);
    assert!(empty.time_range().is_empty());
    assert!(selected(&empty, &[], TimeRange::ALL).unwrap().is_empty());
    assert!(selected(&empty, &selections()[1], TimeRange::ALL).unwrap().is_empty());
    let labels = Labels::from_pairs([("n", "v")]).unwrap();
    let model =
        Model::from([(labels, vec![vec![(i64::MIN, 1.0), (0, -0.0)], vec![(i64::MAX - 1, f64::NAN)]])]);
    let fs = MemFs::new();
    write_at(&fs, DIR, &model, TimeRange::ALL);
    let wide = view(&fs, ReadMode::Mapped, vec![]);
    assert_eq!(wide.time_range(), TimeRange::ALL);
    assert_eq!(selected(&wide, &[], TimeRange::ALL).unwrap(), expected(&model, &[], &[], TimeRange::ALL));
    let mut faults = Vec::new();
    wide.block().verify(&Cancel::default(), &mut faults).unwrap();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn the_parts_are_all_bytes_and_all_samples() {
    for fs in [write(&random_model(11, 60)), write(&Model::new())] {
        let block = open(&fs, ReadMode::Mapped).unwrap();
        let parts = block.parts(&Cancel::default()).unwrap();
        assert_eq!(parts.iter().map(|(bytes, _)| bytes).sum::<u64>(), block.bytes());
        assert_eq!(parts.iter().map(|(_, samples)| samples).sum::<u64>(), block.meta().samples);
        assert_eq!(part_names().count(), parts.len());
    }
}

#[test]
fn verification_can_be_cancelled() {
    let block = open(&write(&random_model(1, 9)), ReadMode::Mapped).unwrap();
    let cancel = Cancel::default();
    cancel.cancel();
    assert_eq!(block.verify(&cancel, &mut Vec::new()).unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn blocks_and_views_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Block>();
    shared::<BlockView>();
    shared::<Writer>();
}
