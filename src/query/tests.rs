//! Goal: queries answer exactly what a naive model answers, lazily, and fail as they promise.
//! Method: random sources against the model; counted decodes; damage, ceilings, cancellation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{ErrorKind, Result};
use crate::model::{Cancel, Columns, Labels, MatchOp, Matcher, Metadata, Sample, Selector, TimeRange};
use crate::source::testing::{MemorySource, Rng, as_sources, encoded, model, random_sources, series};
use crate::source::{ChunkData, ChunkHandle, SeriesStream, Source, SourceSeries};

use super::{Limits, Querier, Samples, Series};

fn querier(sources: &[Arc<MemorySource>], range: TimeRange) -> Querier {
    Querier::new(as_sources(sources), range, Limits::NONE, None, Arc::new(()))
}

fn all(querier: &Querier) -> Vec<Series> {
    querier.select(&Selector::all()).unwrap().collect::<Result<_>>().unwrap()
}

fn bits(samples: impl Iterator<Item = Result<Sample>>) -> Vec<(i64, u64)> {
    samples.map(|s| s.map(|s| (s.t, s.v.to_bits())).unwrap()).collect()
}

fn line(from: i64, to: i64) -> Vec<(i64, f64)> {
    (from..to).map(|t| (t, t as f64)).collect()
}

/// Reads the rest in columns of odd sizes, sometimes by the iterator.
fn read_mixed(samples: &mut Samples, rng: &mut Rng) -> Vec<(i64, u64)> {
    let mut out = Columns::default();
    loop {
        let before = out.len();
        let max = 1 + rng.below(200) as usize;
        match rng.below(3) {
            0 => {
                out.t.len()
                    + samples.by_ref().take(max).fold(0, |n, s| {
                        let Sample { t, v } = s.unwrap();
                        out.push(t, v);
                        n + 1
                    })
            }
            _ => samples.read_into(&mut out, max).unwrap(),
        };
        assert!(out.len() - before <= max);
        if out.len() == before {
            break out.t.iter().zip(&out.v).map(|(t, v)| (*t, v.to_bits())).collect();
        }
    }
}

/// Seeks forwards, backwards and beyond, reading a little in between.
fn check_seeks(series: &Series, expected: &[(i64, u64)], rng: &mut Rng) {
    let mut samples = series.samples();
    let mut at = 0;
    for _ in 0..6 {
        let t = rng.time(700);
        samples.seek(t).unwrap();
        at = at.max(expected.partition_point(|(e, _)| *e < t));
        let n = rng.below(5) as usize;
        let got = bits(samples.by_ref().take(n));
        let want: Vec<_> = expected[at..].iter().take(n).copied().collect();
        assert_eq!(got, want, "after a seek to {t}");
        at += want.len();
    }
    assert_eq!(read_mixed(&mut samples, rng), expected[at..]);
}

#[test]
fn answers_as_the_model_does() {
    let mut rng = Rng(1);
    for round in 0..600 {
        let sources = random_sources(&mut rng);
        let range = match rng.below(4) {
            0 => TimeRange::ALL,
            1 => rng.range(600, 8),
            _ => rng.range(600, 400),
        };
        let expected = model(&sources, range);
        let found = all(&querier(&sources, range));
        let names: Vec<_> = found.iter().map(|s| s.labels().clone()).collect();
        assert_eq!(names, expected.keys().cloned().collect::<Vec<Labels>>(), "round {round}, {range:?}");
        for (series, samples) in found.iter().zip(expected.values()) {
            let samples: Vec<_> = samples.iter().map(|(t, v)| (*t, *v)).collect();
            assert_eq!(bits(series.samples()), samples, "round {round}, {range:?}");
            assert_eq!(read_mixed(&mut series.samples(), &mut rng), samples, "round {round}");
            check_seeks(series, &samples, &mut rng);
        }
    }
}

#[test]
fn many_sources_are_opened_in_a_pool_with_the_same_result() {
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let mut rng = Rng(2);
    for _ in 0..20 {
        let sources = random_sources(&mut rng);
        let parallel = Querier::new(
            as_sources(&sources),
            TimeRange::ALL,
            Limits::NONE,
            Some(Arc::clone(&pool)),
            Arc::new(()),
        );
        let expected = model(&sources, TimeRange::ALL);
        let found = all(&parallel);
        assert_eq!(found.len(), expected.len());
        for (series, samples) in found.iter().zip(expected.values()) {
            assert_eq!(bits(series.samples()), samples.iter().map(|(t, v)| (*t, *v)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_deletion_hides_its_own_source_alone() {
    let a = series("a");
    let sources = [
        Arc::new(MemorySource::new(1).chunk(&a, &[(1, 1.0), (2, 1.0), (3, 1.0)])),
        Arc::new(MemorySource::new(2).chunk(&a, &[(1, 2.0), (2, 2.0), (4, 2.0)]).delete(&a, (2..5).into())),
    ];
    let found = all(&querier(&sources, TimeRange::ALL));
    let values: Vec<_> = found[0].samples().map(|s| s.map(|s| (s.t, s.v)).unwrap()).collect();
    assert_eq!(values, [(1, 2.0), (2, 1.0), (3, 1.0)]);
}

#[test]
fn decodes_only_what_is_read() {
    let a = series("a");
    let mut source = MemorySource::new(1);
    for i in 0..10 {
        source = source.chunk(&a, &line(i * 100, i * 100 + 100));
    }
    let source = Arc::new(source.delete(&a, (300..400).into()));
    let decoded = || source.store.decoded.swap(0, Ordering::Relaxed);
    let querier = querier(&[Arc::clone(&source)], (150..850).into());
    let found = all(&querier);
    assert_eq!(decoded(), 0, "hulls tell that there are samples");
    assert_eq!(found[0].samples().count(), 600);
    assert_eq!(decoded(), 7, "two chunks are outside, one is deleted");
    let mut samples = found[0].samples();
    samples.seek(720).unwrap();
    assert_eq!(samples.next().unwrap().unwrap().t, 720);
    assert_eq!(decoded(), 1, "a seek decodes nothing that it passes");
    assert_eq!(samples.count(), 129);
}

#[test]
fn a_chunk_decoded_to_see_whether_it_is_empty_is_kept() {
    let a = series("a");
    let source = Arc::new(MemorySource::new(1).chunk(&a, &[(0, 0.0), (50, 5.0), (100, 10.0)]));
    let sources = [Arc::clone(&source)];
    assert!(all(&querier(&sources, (60..90).into())).is_empty(), "inside the hull, but no sample");
    source.store.decoded.store(0, Ordering::Relaxed);
    let found = all(&querier(&sources, (40..60).into()));
    assert_eq!(bits(found[0].samples()), [(50, 5f64.to_bits())]);
    assert_eq!(bits(found[0].samples()).len(), 1);
    assert_eq!(source.store.decoded.load(Ordering::Relaxed), 1);
}

#[test]
fn ceilings_give_out_as_much_as_they_allow() {
    let sources: Vec<_> = [Arc::new(
        ["a", "b", "c"].iter().fold(MemorySource::new(1), |s, name| s.chunk(&series(name), &line(0, 100))),
    )]
    .into();
    let unlimited = querier(&sources, TimeRange::ALL);

    let found: Vec<_> = unlimited.clone().max_series(2).select(&Selector::all()).unwrap().collect();
    assert_eq!(found.len(), 3);
    let error = found[2].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ceiling);
    assert!(error.to_string().contains("more than 2 series"), "{error}");
    assert_eq!(all(&unlimited.clone().max_series(3)).len(), 3);

    let found = all(&unlimited.clone().max_samples(150));
    assert_eq!(found[0].samples().filter(Result::is_ok).count(), 100);
    let second: Vec<_> = found[1].samples().collect();
    assert_eq!(second.len(), 51);
    let error = second[50].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ceiling);
    assert!(error.to_string().contains("more than 150 samples"), "{error}");
    let mut columns = Columns::default();
    assert!(found[2].samples().read_into(&mut columns, 10).is_err());
    assert!(columns.is_empty());

    let found = all(&unlimited.clone().max_samples(300));
    assert_eq!(found.iter().map(|s| s.samples().filter(|s| s.is_ok()).count()).sum::<usize>(), 300);

    // Only what is given out counts, once the iterator is dropped or sought on.
    let found = all(&unlimited.max_samples(100));
    for series in &found {
        assert_eq!(series.samples().take(20).filter(Result::is_ok).count(), 20);
    }
    let mut samples = found[0].samples();
    assert_eq!(samples.next().unwrap().unwrap().t, 0);
    samples.seek(95).unwrap();
    assert_eq!(samples.read_into(&mut columns, 100).unwrap(), 5);
    assert_eq!(samples.read_into(&mut columns, 100).unwrap(), 0);
}

#[test]
fn rows_before_damage_are_given_out_and_then_the_error_once() {
    let a = series("a");
    let source = (0..4).fold(MemorySource::new(1), |s, i| s.chunk(&a, &line(i * 10, i * 10 + 10)));
    let found = all(&querier(&[Arc::new(source.damage(2))], TimeRange::ALL));

    let mut samples = found[0].samples();
    assert_eq!(samples.by_ref().take(20).filter(Result::is_ok).count(), 20);
    assert_eq!(samples.next().unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(samples.next().is_none());

    let (mut samples, mut columns) = (found[0].samples(), Columns::default());
    assert!(samples.next().unwrap().is_ok());
    assert_eq!(samples.read_into(&mut columns, 100).unwrap(), 19);
    assert_eq!(samples.read_into(&mut columns, 100).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(samples.read_into(&mut columns, 100).unwrap(), 0);
    assert_eq!(columns.len(), 19);

    let mut samples = found[0].samples();
    samples.seek(30).unwrap();
    assert_eq!(samples.count(), 10, "a seek passes over damage");
}

#[test]
fn a_source_out_of_label_order_is_damage() {
    let mut source = MemorySource::new(1).chunk(&series("a"), &line(0, 5)).chunk(&series("b"), &line(0, 5));
    source.reversed = true;
    let found: Vec<_> =
        querier(&[Arc::new(source)], TimeRange::ALL).select(&Selector::all()).unwrap().collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn cancellation_stops_sets_and_samples() {
    let a = series("a");
    let source = (0..2).fold(MemorySource::new(1), |s, i| s.chunk(&a, &line(i * 100, i * 100 + 100)));
    let cancel = Cancel::default();
    let querier = querier(&[Arc::new(source)], TimeRange::ALL).cancel(&cancel);
    let mut set = querier.select(&Selector::all()).unwrap();
    let mut samples = all(&querier)[0].samples();
    assert!(samples.next().unwrap().is_ok());
    cancel.cancel();
    let results: Vec<_> = samples.collect();
    assert_eq!(results.len(), 100, "the chunk in hand, then the error");
    assert_eq!(results[99].as_ref().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(set.next().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(set.next().is_none());
    assert_eq!(querier.select(&Selector::all()).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(querier.label_names(&Selector::all()).unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn samples_and_series_outlive_what_they_came_from_and_keep_the_guard() {
    let guard = Arc::new(());
    let source = Arc::new(MemorySource::new(1).chunk(&series("a"), &line(0, 300)));
    let querier =
        Querier::new(as_sources(&[source]), TimeRange::ALL, Limits::NONE, None, Arc::clone(&guard) as Arc<_>);
    let mut set = querier.select(&Selector::all()).unwrap();
    let samples = set.next().unwrap().unwrap().samples();
    drop((set, querier));
    assert_eq!(Arc::strong_count(&guard), 2);
    assert_eq!(std::thread::spawn(move || samples.count()).join().unwrap(), 300);
    assert_eq!(Arc::strong_count(&guard), 1);
}

#[test]
fn labels_are_united_sorted_and_unique() {
    let with = |name: &str, extra: &str| Labels::from_pairs([("__name__", name), (extra, "x")]).unwrap();
    let sources = [
        Arc::new(
            MemorySource::new(1).chunk(&with("b", "z"), &line(0, 5)).chunk(&with("a", "y"), &line(0, 5)),
        ),
        Arc::new(MemorySource::new(2).chunk(&with("b", "y"), &line(3, 9))),
        Arc::new(MemorySource::new(3).chunk(&with("c", "late"), &line(100, 101))),
    ];
    let querier = querier(&sources, (0..50).into());
    assert_eq!(querier.range(), (0..50).into());
    assert_eq!(querier.label_names(&Selector::all()).unwrap(), ["__name__", "y", "z"]);
    assert_eq!(querier.label_values("__name__", &Selector::all()).unwrap(), ["a", "b"]);
    assert!(querier.label_values("none", &Selector::all()).unwrap().is_empty());
    let only_b = Matcher::new(MatchOp::Equal, "__name__", "b").unwrap();
    let selector = Selector::from_matchers([only_b]).unwrap();
    assert_eq!(querier.label_values("y", &selector).unwrap(), ["x"]);
    assert_eq!(querier.select(&selector).unwrap().count(), 2);
}

/// A source of very many series, each made when it is asked for.
#[derive(Debug)]
struct Endless {
    chunk: Arc<[u8]>,
    /// The number of the next.
    next: u64,
    made: Arc<AtomicU64>,
}

impl Source for Endless {
    fn time_range(&self) -> TimeRange {
        (0..10).into()
    }

    fn precedence(&self) -> u64 {
        1
    }

    fn select(&self, _: &[Matcher], _: TimeRange, cancel: &Cancel) -> Result<Box<dyn SeriesStream>> {
        cancel.check()?;
        Ok(Box::new(Endless { chunk: Arc::clone(&self.chunk), next: 0, made: Arc::clone(&self.made) }))
    }

    fn label_names(&self, _: &[Matcher], _: &Cancel, _: &mut BTreeSet<String>) -> Result<()> {
        Ok(())
    }

    fn each_label_value(&self, _: &str, _: &[Matcher], _: &Cancel, _: &mut dyn FnMut(&str)) -> Result<()> {
        Ok(())
    }

    fn metadata(&self, _: &str) -> Result<Option<Metadata>> {
        Ok(None)
    }

    fn families(&self) -> Result<Vec<(String, Metadata)>> {
        Ok(Vec::new())
    }
}

impl SeriesStream for Endless {
    fn next(&mut self) -> Result<Option<SourceSeries>> {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.next += 1;
        let labels = series(&format!("{:012}", self.next));
        let data = ChunkData::Memory(Arc::clone(&self.chunk));
        let chunks = vec![ChunkHandle { min_t: 0, max_t: 9, rows: 10, data }];
        Ok(Some(SourceSeries { labels, chunks, deleted: Arc::default() }))
    }
}

#[test]
fn series_stream_and_a_limit_or_a_cancellation_asks_for_no_more() {
    let made = Arc::new(AtomicU64::new(0));
    let chunk: Arc<[u8]> = encoded(&line(0, 10)).payload.into();
    let source: Arc<dyn Source> = Arc::new(Endless { chunk, next: 0, made: Arc::clone(&made) });
    let cancel = Cancel::default();
    let querier =
        Querier::new(vec![source], TimeRange::ALL, Limits::NONE, None, Arc::new(())).cancel(&cancel);
    let asked = || made.swap(0, Ordering::Relaxed);

    let mut set = querier.select(&Selector::all()).unwrap();
    assert_eq!(asked(), 1);
    for _ in 0..1_000 {
        assert_eq!(set.next().unwrap().unwrap().samples().count(), 10);
        assert_eq!(asked(), 1, "a series for each that is given out: no more are held");
    }
    let limited: Vec<_> = querier.clone().max_series(7).select(&Selector::all()).unwrap().collect();
    assert_eq!((limited.len(), asked()), (8, 9), "seven, the error, and one in hand");
    let mut samples = 0;
    for series in querier.clone().max_samples(25).select(&Selector::all()).unwrap() {
        match series.unwrap().samples().collect::<Result<Vec<_>>>() {
            Ok(some) => samples += some.len(),
            Err(error) => {
                assert_eq!((error.kind(), samples), (ErrorKind::Ceiling, 20));
                break;
            }
        }
    }
    assert_eq!(asked(), 4);

    cancel.cancel();
    assert_eq!(set.next().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(set.next().is_none());
    assert_eq!(asked(), 0);
}
