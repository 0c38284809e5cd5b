//! Sources for tests: in memory, random ones, and the naive model of what they hold together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::format::chunk::{EncodedChunk, Encoding};
use crate::format::gorilla;
use crate::model::{Cancel, Columns, Intervals, Labels, Matcher, Metadata, TimeRange};

use super::{ChunkData, ChunkHandle, ChunkPlace, ChunkStore, SeriesStream, Source, SourceSeries};

/// What several sources hold together: the bits of each value by labels and time.
pub(crate) type Model = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// Random numbers, the same in each run (splitmix64).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n` - 1.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn time(&mut self, n: u64) -> i64 {
        i64::try_from(self.below(n)).unwrap()
    }

    /// A range that starts in `0..n` and is shorter than `length`, perhaps empty.
    pub(crate) fn range(&mut self, n: u64, length: u64) -> TimeRange {
        let start = self.time(n);
        TimeRange::new(start, start + self.time(length))
    }
}

/// Encodes samples as a chunk.
pub(crate) fn encoded(samples: &[(i64, f64)]) -> EncodedChunk {
    let (t, v): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
    EncodedChunk { encoding: Encoding::Gorilla, payload: gorilla::encode(&t, &v) }
}

pub(crate) fn series(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "test")]).unwrap()
}

/// A "chunks file" that counts what is decoded, and that can be damaged.
#[derive(Debug, Default)]
pub(crate) struct CountingStore {
    chunks: Vec<EncodedChunk>,
    pub(crate) decoded: AtomicUsize,
    pub(crate) copied: AtomicUsize,
    pub(crate) damaged: Option<usize>,
}

impl CountingStore {
    fn chunk(&self, at: ChunkPlace) -> Result<&EncodedChunk> {
        let index = usize::try_from(at.group).unwrap();
        match self.damaged == Some(index) {
            true => Err(Error::new(ErrorKind::Corrupt, "damaged for the test")),
            false => Ok(&self.chunks[index]),
        }
    }
}

impl ChunkStore for CountingStore {
    fn decode(&self, at: ChunkPlace, _: TimeRange, out: &mut Columns) -> Result<()> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        self.chunk(at)?.decode_into(out).unwrap();
        Ok(())
    }

    fn encoded(&self, at: ChunkPlace) -> Result<EncodedChunk> {
        self.copied.fetch_add(1, Ordering::Relaxed);
        self.chunk(at).cloned()
    }
}

/// A source in memory.
#[derive(Debug, Default)]
pub(crate) struct MemorySource {
    pub(crate) precedence: u64,
    series: BTreeMap<Labels, TestSeries>,
    pub(crate) families: BTreeMap<String, Metadata>,
    pub(crate) store: Arc<CountingStore>,
    /// Gives series in reverse order, as a damaged index would.
    pub(crate) reversed: bool,
}

#[derive(Clone, Debug, Default)]
struct TestSeries {
    chunks: Vec<TestChunk>,
    deleted: Intervals,
}

#[derive(Clone, Debug)]
struct TestChunk {
    samples: Vec<(i64, f64)>,
    place: ChunkPlace,
    /// In memory, and grown by a row that readers must not see.
    growing: bool,
}

impl MemorySource {
    pub(crate) fn new(precedence: u64) -> MemorySource {
        MemorySource { precedence, ..MemorySource::default() }
    }

    /// Adds a chunk of samples in time order.
    pub(crate) fn chunk(mut self, labels: &Labels, samples: &[(i64, f64)]) -> MemorySource {
        self.push(labels, samples, false);
        self
    }

    pub(crate) fn delete(mut self, labels: &Labels, range: TimeRange) -> MemorySource {
        self.series.entry(labels.clone()).or_default().deleted.add(range);
        self
    }

    pub(crate) fn family(mut self, name: &str, help: &str) -> MemorySource {
        self.families.insert(name.into(), Metadata { help: help.into(), ..Metadata::default() });
        self
    }

    fn push(&mut self, labels: &Labels, samples: &[(i64, f64)], growing: bool) {
        let store = Arc::get_mut(&mut self.store).unwrap();
        let place = ChunkPlace { group: store.chunks.len() as u64, within: 0 };
        store.chunks.push(encoded(samples));
        let chunks = &mut self.series.entry(labels.clone()).or_default().chunks;
        chunks.push(TestChunk { samples: samples.to_vec(), place, growing });
        chunks.sort_by_key(|c| c.samples[0].0);
    }

    pub(crate) fn damage(mut self, chunk: usize) -> MemorySource {
        Arc::get_mut(&mut self.store).unwrap().damaged = Some(chunk);
        self
    }

    fn handle(&self, chunk: &TestChunk) -> ChunkHandle {
        let TestChunk { samples, place, growing } = chunk;
        let data = match growing {
            false => ChunkData::Stored { store: Arc::clone(&self.store) as Arc<dyn ChunkStore>, at: *place },
            true => {
                let mut grown = samples.clone();
                grown.push((grown.last().unwrap().0 + 1, -1.0));
                ChunkData::Memory(encoded(&grown).payload.into())
            }
        };
        let (min_t, max_t) = (samples[0].0, samples.last().unwrap().0);
        ChunkHandle { min_t, max_t, rows: samples.len() as u32, data }
    }

    fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = (&Labels, &TestSeries)> {
        self.series.iter().filter(move |(labels, _)| {
            matchers.iter().all(|m| m.matches(labels.value(m.name()).unwrap_or("")))
        })
    }

    /// Puts what is visible over what lower precedences hold.
    fn overlay(&self, range: TimeRange, model: &mut Model) {
        for (labels, series) in &self.series {
            for (t, v) in series.chunks.iter().flat_map(|chunk| &chunk.samples) {
                if range.contains(*t) && !series.deleted.contains(*t) {
                    model.entry(labels.clone()).or_default().insert(*t, v.to_bits());
                }
            }
        }
    }
}

impl Source for MemorySource {
    fn time_range(&self) -> TimeRange {
        let chunks = self.series.values().flat_map(|series| &series.chunks);
        chunks.fold(TimeRange::new(0, 0), |hull, chunk| hull.hull(self.handle(chunk).hull()))
    }

    fn precedence(&self) -> u64 {
        self.precedence
    }

    fn select(&self, matchers: &[Matcher], range: TimeRange, _: &Cancel) -> Result<Box<dyn SeriesStream>> {
        let mut out = Vec::new();
        for (labels, series) in self.matching(matchers) {
            let chunks: Vec<_> =
                series.chunks.iter().map(|c| self.handle(c)).filter(|c| c.overlaps(range)).collect();
            if !chunks.is_empty() {
                let deleted = Arc::new(series.deleted.clone());
                out.push(SourceSeries { labels: labels.clone(), chunks, deleted });
            }
        }
        if self.reversed {
            out.reverse();
        }
        Ok(Box::new(Stream(out.into_iter())))
    }

    fn label_names(&self, matchers: &[Matcher], _: &Cancel, out: &mut BTreeSet<String>) -> Result<()> {
        out.extend(
            self.matching(matchers).flat_map(|(labels, _)| labels.iter().map(|(name, _)| name.to_owned())),
        );
        Ok(())
    }

    fn each_label_value(
        &self,
        name: &str,
        matchers: &[Matcher],
        _: &Cancel,
        f: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let values = self.matching(matchers).filter_map(|(labels, _)| labels.value(name));
        values.collect::<BTreeSet<&str>>().into_iter().for_each(f);
        Ok(())
    }

    fn metadata(&self, family: &str) -> Result<Option<Metadata>> {
        Ok(self.families.get(family).cloned())
    }

    fn families(&self) -> Result<Vec<(String, Metadata)>> {
        Ok(self.families.clone().into_iter().collect())
    }
}

struct Stream(std::vec::IntoIter<SourceSeries>);

impl SeriesStream for Stream {
    fn next(&mut self) -> Result<Option<SourceSeries>> {
        Ok(self.0.next())
    }
}

/// What the sources hold together in `range`; series without samples are not there.
pub(crate) fn model(sources: &[Arc<MemorySource>], range: TimeRange) -> Model {
    let mut by_precedence: Vec<_> = sources.iter().collect();
    by_precedence.sort_by_key(|source| source.precedence);
    let mut model = Model::new();
    by_precedence.iter().for_each(|source| source.overlay(range, &mut model));
    model
}

pub(crate) fn as_sources(sources: &[Arc<MemorySource>]) -> Vec<Arc<dyn Source>> {
    sources.iter().map(|source| Arc::clone(source) as Arc<dyn Source>).collect()
}

/// One to six sources with chunks that overlap within and across them, conflicts, deletions,
/// growing chunks, and odd values; times from 0 to 600.
pub(crate) fn random_sources(rng: &mut Rng) -> Vec<Arc<MemorySource>> {
    let count = 1 + rng.below(6);
    (0..count)
        .map(|i| {
            // Neither sorted nor dense, but unique.
            let mut source = MemorySource::new((i * 5 + 3) % 17);
            for s in 0..rng.below(5) {
                let labels = series(["a", "b", "c", "d"][s as usize % 4]);
                for _ in 0..rng.below(6) {
                    random_chunk(rng, &mut source, &labels);
                }
                for _ in 0..rng.below(3) {
                    source = source.delete(&labels, rng.range(600, 200));
                }
            }
            source.series.retain(|_, series| !series.chunks.is_empty());
            Arc::new(source)
        })
        .collect()
}

fn random_chunk(rng: &mut Rng, source: &mut MemorySource, labels: &Labels) {
    let odd =
        [-0.0, f64::INFINITY, f64::from_bits(0x7ff0_0000_0000_0002), f64::from_bits(0xfff8_0000_dead_beef)];
    let mut t = rng.time(500);
    let most = [150, 30, 30, 30][rng.below(4) as usize];
    let rows = 1 + rng.below(most);
    let step = 1 + rng.below(4);
    let mut samples = Vec::new();
    for _ in 0..rows {
        // The value depends on source and time alone: chunks of one source agree.
        let v = match t % 11 {
            0 => odd[(source.precedence % 4) as usize],
            _ => (source.precedence * 1_000) as f64 + t as f64,
        };
        samples.push((t, v));
        t += 1 + rng.time(step);
    }
    let growing = rng.below(4) == 0;
    source.push(labels, &samples, growing);
}
