//! Goal: a merge writes exactly what a naive model holds, in few chunks, and copies what it can.
//! Method: random sources against the model, merged again and again; counted decodes and copies.

use std::sync::atomic::Ordering;

use super::*;
use crate::block::{Block, BlockView, Deletion, ReadMode, WriterOptions};
use crate::env::{Fs, MemFs};
use crate::model::{Labels, Lsn, MatchOp, Matcher};
use crate::source::testing::{MemorySource, Model, Rng, as_sources, model, random_sources, series};

/// Keeps what it is given, and checks that it comes as promised.
#[derive(Default)]
struct Collect {
    series: Vec<(Labels, Vec<NewChunk>)>,
    families: Vec<(String, String)>,
}

impl SeriesSink for Collect {
    fn add(&mut self, labels: &Labels, chunks: &[NewChunk]) -> Result<()> {
        assert!(self.families.is_empty(), "families come last");
        assert!(self.series.last().is_none_or(|(last, _)| last < labels), "label order");
        assert!(!chunks.is_empty());
        assert!(chunks.windows(2).all(|w| w[0].max_t < w[1].min_t), "time order");
        self.series.push((labels.clone(), chunks.to_vec()));
        Ok(())
    }

    fn add_family(&mut self, name: &str, metadata: &Metadata) -> Result<()> {
        self.families.push((name.to_owned(), metadata.help.clone()));
        Ok(())
    }
}

impl Collect {
    fn rows(&self) -> Vec<Vec<u32>> {
        self.series.iter().map(|(_, chunks)| chunks.iter().map(|c| c.rows).collect()).collect()
    }

    fn model(&self) -> Model {
        self.series.iter().map(|(labels, chunks)| (labels.clone(), decode(chunks))).collect()
    }

    fn source(&self, precedence: u64) -> Arc<MemorySource> {
        let mut source = MemorySource::new(precedence);
        for (labels, chunks) in &self.series {
            for chunk in chunks {
                let rows = decode(std::slice::from_ref(chunk));
                let rows: Vec<_> = rows.into_iter().map(|(t, v)| (t, f64::from_bits(v))).collect();
                source = source.chunk(labels, &rows);
            }
        }
        Arc::new(source)
    }
}

/// What chunks hold; each must be what it says of itself.
fn decode(chunks: &[NewChunk]) -> BTreeMap<i64, u64> {
    let mut all = BTreeMap::new();
    for chunk in chunks {
        let mut rows = Columns::default();
        chunk.chunk.decode_into(&mut rows).unwrap();
        assert_eq!(rows.len(), chunk.rows as usize);
        assert_eq!((rows.t.first(), rows.t.last()), (Some(&chunk.min_t), Some(&chunk.max_t)));
        all.extend(rows.t.iter().zip(&rows.v).map(|(t, v)| (*t, v.to_bits())));
    }
    all
}

fn merged(sources: &[Arc<MemorySource>], range: TimeRange) -> Collect {
    merged_as(Form::Gorilla, &as_sources(sources), range)
}

fn merged_as(form: Form, sources: &[Arc<dyn Source>], range: TimeRange) -> Collect {
    let mut out = Collect::default();
    let written = write_into(sources, range, form, &mut out, &Means::plain(&Cancel::default())).unwrap();
    let rows = out.rows();
    assert_eq!(written.series, rows.len() as u64);
    assert_eq!(written.chunks, rows.iter().map(|r| r.len() as u64).sum::<u64>());
    assert_eq!(written.samples, rows.iter().flatten().map(|r| u64::from(*r)).sum::<u64>());
    out
}

fn line(from: i64, to: i64) -> Vec<(i64, f64)> {
    (from..to).map(|t| (t, t as f64)).collect()
}

#[test]
fn writes_what_the_model_holds_and_again_from_what_it_wrote() {
    let mut rng = Rng(11);
    for round in 0..500 {
        let sources = random_sources(&mut rng);
        let range = match rng.below(3) {
            0 => TimeRange::ALL,
            _ => rng.range(600, 500),
        };
        let out = merged(&sources, range);
        assert_eq!(out.model(), model(&sources, range), "round {round}, {range:?}");
        let columns = merged_as(Form::Columns, &as_sources(&sources), range);
        assert_eq!(columns.model(), out.model(), "round {round}, {range:?}, as columns");
        // In two halves and then together, as flushes and merges do.
        let middle = rng.time(600);
        let halves = [TimeRange::new(i64::MIN, middle), TimeRange::new(middle, i64::MAX)];
        let blocks = [0, 1].map(|i| merged(&sources, halves[i].intersection(range)).source(i as u64));
        assert_eq!(merged(&blocks, TimeRange::ALL).model(), out.model(), "round {round}, cut at {middle}");
    }
}

#[test]
fn whole_chunks_are_copied_without_decoding() {
    let a = series("a");
    let older = Arc::new(MemorySource::new(1).chunk(&a, &line(0, 120)).chunk(&a, &line(120, 180)));
    let newer = Arc::new(MemorySource::new(2).chunk(&a, &line(180, 480)));
    let out = merged(&[Arc::clone(&older), Arc::clone(&newer)], (0..480).into());
    assert_eq!(out.rows(), [[120, 60, 300]]);
    for (source, chunks) in [(older, 2), (newer, 1)] {
        assert_eq!(source.store.decoded.load(Ordering::Relaxed), 0);
        assert_eq!(source.store.copied.load(Ordering::Relaxed), chunks);
    }
}

#[test]
fn what_is_cut_deleted_or_overlapped_is_coded_anew() {
    let a = series("a");
    let cut = Arc::new(MemorySource::new(1).chunk(&a, &line(0, 120)));
    assert_eq!(merged(&[Arc::clone(&cut)], (0..119).into()).rows(), [[119]]);
    let deleted = Arc::new(MemorySource::new(1).chunk(&a, &line(0, 120)).delete(&a, (7..8).into()));
    assert_eq!(merged(&[deleted], TimeRange::ALL).rows(), [[119]]);
    let over = Arc::new(MemorySource::new(2).chunk(&a, &[(60, -1.0)]));
    let out = merged(&[cut, over], TimeRange::ALL);
    assert_eq!(out.rows(), [[120]]);
    assert_eq!(out.model()[&a][&60], (-1f64).to_bits());
}

#[test]
fn small_chunks_are_packed_and_leave_no_crumbs() {
    let a = series("a");
    let small = (0..100).fold(MemorySource::new(1), |s, i| s.chunk(&a, &line(i * 7, i * 7 + 7)));
    assert_eq!(merged(&[Arc::new(small)], TimeRange::ALL).rows(), [[120, 120, 120, 120, 110, 110]]);
    // A crumb takes its neighbour along; both halves are large enough to be copied next time.
    let crumb =
        MemorySource::new(1).chunk(&a, &line(0, 10)).chunk(&a, &line(10, 130)).chunk(&a, &line(130, 250));
    assert_eq!(merged(&[Arc::new(crumb)], TimeRange::ALL).rows(), [[65, 65, 120]]);
    let exact = MemorySource::new(1).chunk(&a, &line(0, 59)).chunk(&a, &line(59, 118));
    assert_eq!(merged(&[Arc::new(exact)], TimeRange::ALL).rows(), [[118]]);
}

#[test]
fn chunks_reach_a_size_below_which_none_stays_but_the_last() {
    let mut rng = Rng(12);
    for _ in 0..100 {
        let out = merged(&random_sources(&mut rng), TimeRange::ALL);
        for rows in out.rows() {
            assert!(rows.iter().rev().skip(1).all(|r| *r as usize >= SMALL_ROWS), "{rows:?}");
        }
    }
}

#[test]
fn families_come_once_by_name_from_the_highest_precedence() {
    let a = series("a");
    let sources = [
        Arc::new(MemorySource::new(5).chunk(&a, &line(0, 5)).family("b", "new")),
        Arc::new(MemorySource::new(2).chunk(&a, &line(0, 5)).family("b", "old").family("a", "only")),
    ];
    let expected = [("a".to_owned(), "only".to_owned()), ("b".to_owned(), "new".to_owned())];
    assert_eq!(merged(&sources, TimeRange::ALL).families, expected);
}

#[test]
fn nothing_left_writes_nothing() {
    let a = series("a");
    let gone = MemorySource::new(1).chunk(&a, &line(0, 50)).delete(&a, (0..50).into()).family("a", "help");
    let out = merged(&[Arc::new(gone)], TimeRange::ALL);
    assert!(out.series.is_empty() && out.families.is_empty());
    let between = Arc::new(MemorySource::new(1).chunk(&a, &[(0, 0.0), (100, 1.0)]));
    assert!(merged(&[between], (10..90).into()).series.is_empty());
    assert!(merged(&[], TimeRange::ALL).series.is_empty());
}

#[test]
fn damage_and_cancellation_end_it() {
    let a = series("a");
    let source = MemorySource::new(1).chunk(&a, &line(0, 100)).chunk(&a, &line(100, 200));
    let sources = as_sources(&[Arc::new(source.damage(1))]);
    let run = |cancel: &Cancel| {
        write_into(&sources, TimeRange::ALL, Form::Columns, &mut Collect::default(), &Means::plain(cancel))
            .unwrap_err()
            .kind()
    };
    let cancel = Cancel::default();
    assert_eq!(run(&cancel), ErrorKind::Corrupt);
    cancel.cancel();
    assert_eq!(run(&cancel), ErrorKind::Cancelled);
}

fn create(fs: &Arc<dyn Fs>, dir: &str) -> Writer {
    let options = WriterOptions { salt: 7, range: TimeRange::new(0, 100_000_000), through: Lsn(1), level: 0 };
    Writer::create(Arc::clone(fs), dir.into(), options).unwrap()
}

fn open(fs: &Arc<dyn Fs>, dir: &str, precedence: u64, deletes: Vec<Deletion>) -> Arc<dyn Source> {
    let block = Block::open(fs, dir.as_ref(), ReadMode::Mapped).unwrap();
    Arc::new(BlockView::new(Arc::new(block), precedence, deletes))
}

#[test]
fn blocks_are_written_merged_and_left_out_if_empty() {
    let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
    let none = Cancel::default();
    let mut rng = Rng(13);
    for round in 0..30 {
        let sources = random_sources(&mut rng);
        let mut blocks: Vec<Arc<dyn Source>> = Vec::new();
        for (i, source) in as_sources(&sources).into_iter().enumerate() {
            let form = if round % 2 == 0 { Form::Columns } else { Form::Gorilla };
            let (dir, precedence) = (format!("{round}-{i}"), source.precedence());
            match write(&[source], TimeRange::ALL, form, create(&fs, &dir), &Means::plain(&none)).unwrap() {
                Some(_) => blocks.push(open(&fs, &dir, precedence, Vec::new())),
                None => assert_eq!(fs.stat(dir.as_ref()).unwrap(), None),
            }
        }
        let mut out = Collect::default();
        write_into(&blocks, TimeRange::ALL, Form::Columns, &mut out, &Means::plain(&none)).unwrap();
        assert_eq!(out.model(), model(&sources, TimeRange::ALL), "round {round}");
    }
}

#[test]
fn a_rewrite_drops_what_tombstones_hide() {
    let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
    let none = Cancel::default();
    let source = MemorySource::new(1).chunk(&series("a"), &line(0, 300)).chunk(&series("b"), &line(0, 300));
    write(
        &as_sources(&[Arc::new(source)]),
        TimeRange::ALL,
        Form::Columns,
        create(&fs, "first"),
        &Means::plain(&none),
    )
    .unwrap();
    let delete = |name: &str, range: TimeRange| {
        let matcher = Matcher::new(MatchOp::Equal, "__name__", name).unwrap();
        Deletion { matchers: vec![matcher].into(), range }
    };
    let deletes = vec![delete("a", (0..300).into()), delete("b", (100..250).into())];
    let view = open(&fs, "first", 1, deletes.clone());
    let made = write(&[view], TimeRange::ALL, Form::Columns, create(&fs, "second"), &Means::plain(&none))
        .unwrap()
        .unwrap();
    assert_eq!((made.meta.series, made.meta.samples), (1, 150));
    let all = vec![delete("b", TimeRange::ALL)];
    let view = open(&fs, "second", 1, all);
    assert!(
        write(&[view], TimeRange::ALL, Form::Columns, create(&fs, "third"), &Means::plain(&none))
            .unwrap()
            .is_none()
    );
    assert_eq!(fs.stat("third".as_ref()).unwrap(), None);
}

/// Series of one target with jitter, one of which comes late and one of which misses some scrapes.
fn target(from: i64, to: i64) -> Arc<MemorySource> {
    let at = |i: i64| (i * 15_000 + i * i % 13, (i % 50) as f64 / 10.0);
    let line = |keep: &dyn Fn(i64) -> bool| (from..to).filter(|i| keep(*i)).map(at).collect::<Vec<_>>();
    let mut source = MemorySource::new(from.cast_unsigned());
    for (name, rows) in [("a", line(&|_| true)), ("b", line(&|i| i >= 100)), ("c", line(&|i| i % 97 != 5))] {
        for chunk in rows.chunks(120) {
            source = source.chunk(&series(name), chunk);
        }
    }
    Arc::new(source)
}

#[test]
fn columns_are_cut_by_windows_share_timestamps_and_are_copied() {
    let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
    let none = Cancel::default();
    let sources = [target(0, 2_880), target(2_880, 4_800)];
    let out = merged_as(Form::Columns, &as_sources(&sources), TimeRange::ALL);
    assert_eq!(out.rows()[0], [960; 5]);
    assert_eq!(out.rows()[1], [860, 960, 960, 960, 960]);
    assert_eq!(out.model(), model(&sources, TimeRange::ALL));
    let mut blocks = Vec::new();
    for (i, source) in as_sources(&sources).into_iter().enumerate() {
        let dir = format!("part-{i}");
        let made = write(&[source], TimeRange::ALL, Form::Columns, create(&fs, &dir), &Means::plain(&none))
            .unwrap()
            .unwrap();
        blocks.push(open(&fs, &dir, made.meta.samples, Vec::new()));
    }
    let made = write(&blocks, TimeRange::ALL, Form::Columns, create(&fs, "all"), &Means::plain(&none))
        .unwrap()
        .unwrap();
    let block = Block::open(&fs, "all".as_ref(), ReadMode::Mapped).unwrap();
    let mut faults = Vec::new();
    block.verify(&none, &mut faults).unwrap();
    assert!(faults.is_empty(), "{faults:?}");
    // One column of 960 rows with jitter takes a byte a row or less; three series share each.
    assert!(made.meta.times_bytes < 5 * 800, "{} bytes of timestamps", made.meta.times_bytes);
    let mut all = Collect::default();
    let whole = open(&fs, "all", 1, Vec::new());
    write_into(&[whole], TimeRange::ALL, Form::Columns, &mut all, &Means::plain(&none)).unwrap();
    assert_eq!(all.series, out.series, "merging again and again changes nothing");
}
