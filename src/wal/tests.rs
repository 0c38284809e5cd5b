//! Goal: what was committed comes back, in order, to the bit; what failed never does; and whatever a
//! crash or bit rot leaves, only true commits come back, and loss of what was synced is reported.
//!
//! Method: a script of commits, whose truth is kept in plain maps, runs on the in-memory filesystem; the
//! files are crashed, made to fail, or flipped at every place, and replayed.

mod chain;
mod crash;
mod damage;
mod faults;
mod measure;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::env::{Fs, MemFs};
use crate::error::ErrorKind;
use crate::labels;
use crate::model::{Cancel, MetricType};

/// Samples of one commit: labels as text, time, bits.
type Rows = Vec<(String, i64, u64)>;
/// Commits by LSN.
type Commits = BTreeMap<u64, Rows>;

const DIR: &str = "/wal";

/// Small segments, so that scripts have several.
fn small() -> WalOptions {
    WalOptions { segment_bytes: 300, allocate_bytes: 128 }
}

fn mem() -> MemFs {
    let fs = MemFs::new();
    fs.create_dir(Path::new(DIR)).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

fn label(slot: u32) -> Option<Labels> {
    Some(labels!("metric", "instance" => format!("node-{}", slot % 3), "slot" => slot).unwrap())
}

fn metadata(help: &str) -> Metadata {
    Metadata { metric_type: MetricType::Gauge, unit: String::new(), help: help.to_owned() }
}

/// What commit `lsn` of every script holds: a few series, some repeated, now and then out of order.
fn samples(lsn: u64) -> Vec<WalSample> {
    let t = i64::try_from(lsn).unwrap() * 1_000;
    let slot = |n: u64| u32::try_from(n % 5).unwrap();
    let mut rows = vec![
        WalSample { series: slot(lsn), t, v: lsn as f64 },
        WalSample { series: slot(lsn + 1), t, v: 1.0 / lsn as f64 },
    ];
    if lsn.is_multiple_of(3) {
        rows.push(WalSample { series: slot(lsn), t: t - 5_000, v: f64::NAN });
    }
    rows
}

fn truth(lsn: u64) -> Rows {
    let text = |s: &WalSample| (label(s.series).unwrap().to_string(), s.t, s.v.to_bits());
    samples(lsn).iter().map(text).collect()
}

/// Collects what a replay delivers, and checks that it comes in order.
#[derive(Default)]
struct Collector {
    series: Vec<Labels>,
    commits: Commits,
    families: BTreeMap<String, Metadata>,
    last: u64,
    progress: (u64, u64),
}

impl Visitor for Collector {
    fn series(&mut self, labels: Labels) -> Result<u32> {
        self.series.push(labels);
        // Not the segment's numbers, so that a mix-up shows.
        Ok(u32::try_from(self.series.len()).unwrap() + 999)
    }

    fn commit(&mut self, lsn: Lsn, samples: &[WalSample]) -> Result<()> {
        assert!(lsn.0 > self.last, "{lsn:?} after {}", self.last);
        self.last = lsn.0;
        let label = |s: &WalSample| self.series[s.series as usize - 1_000].to_string();
        let rows = samples.iter().map(|s| (label(s), s.t, s.v.to_bits())).collect();
        self.commits.insert(lsn.0, rows);
        Ok(())
    }

    fn metadata(&mut self, _lsn: Lsn, family: &str, metadata: Metadata) -> Result<()> {
        self.families.insert(family.to_owned(), metadata);
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) {
        self.progress = (done, total);
    }
}

fn try_replayed(fs: &dyn Fs) -> Result<(Collector, Replay)> {
    let mut collector = Collector::default();
    let replay = replay(fs, Path::new(DIR), &mut collector, &Cancel::default())?;
    assert_eq!(replay.samples, collector.commits.values().map(|c| c.len() as u64).sum::<u64>());
    Ok((collector, replay))
}

fn replayed(fs: &dyn Fs) -> (Collector, Replay) {
    try_replayed(fs).unwrap()
}

/// Replays, and goes on writing.
fn reopened(fs: &Arc<dyn Fs>, options: WalOptions) -> Result<Wal> {
    let (_, replay) = try_replayed(&**fs)?;
    Wal::create(Arc::clone(fs), PathBuf::from(DIR), &replay.end, options)
}

fn dynamic(fs: &MemFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

fn commit(wal: &mut Wal, lsn: u64) -> Result<()> {
    wal.commit(Lsn(lsn), &samples(lsn), &label)
}

/// Syncs, and tells the writer.
fn sync(wal: &mut Wal) -> Result<Lsn> {
    let point = wal.sync_point();
    point.sync()?;
    wal.note_synced(point.lsn());
    Ok(point.lsn())
}

fn expected(lsns: impl IntoIterator<Item = u64>) -> Commits {
    lsns.into_iter().map(|lsn| (lsn, truth(lsn))).collect()
}

#[test]
fn what_is_written_comes_back() {
    let fs = mem();
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    assert_eq!(wal.bytes(), 0, "opening writes nothing");
    for lsn in 1..=40 {
        commit(&mut wal, lsn).unwrap();
        assert_eq!(wal.written(), Lsn(lsn));
        if lsn % 7 == 0 {
            wal.forget(u32::try_from(lsn % 5).unwrap());
        }
    }
    let (all, replay) = replayed(&fs);
    assert_eq!(all.commits, expected(1..=40));
    assert!(replay.damage.is_empty() && replay.end.segments.len() > 3);
    assert_eq!(replay.end.written, Lsn(40));
    assert!(!replay.end.closed);
    assert_eq!(all.progress.0, all.progress.1);
    wal.close().unwrap();
    assert!(replayed(&fs).1.end.closed);
    assert_eq!(wal.bytes(), wal.segments().iter().map(|s| s.bytes).sum::<u64>());
    let on_disk: u64 = fs.list(Path::new(DIR)).unwrap().iter().map(|e| e.bytes).sum();
    assert_eq!(wal.bytes(), on_disk);
    assert_eq!(wal.segments(), replayed(&fs).1.end.segments);
}

#[test]
fn ranges_are_hulls_of_the_samples() {
    let fs = mem();
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    for lsn in 3..=4 {
        commit(&mut wal, lsn).unwrap();
    }
    wal.rotate().unwrap();
    let info = &wal.segments()[0];
    assert_eq!((info.range.start(), info.range.end(), info.last_lsn), (-2_000, 4_001, Lsn(4)));
    assert_eq!(wal.sync_point().lsn(), Lsn(4));
}

#[test]
fn a_log_that_is_opened_and_closed_again_and_again_goes_on() {
    let fs = mem();
    let mut lsn = 0;
    for round in 0..5 {
        let mut wal = reopened(&dynamic(&fs), small()).unwrap();
        assert_eq!(wal.written(), Lsn(lsn));
        for _ in 0..round * 2 {
            lsn += 1;
            commit(&mut wal, lsn).unwrap();
        }
        if round % 2 == 0 {
            wal.close().unwrap();
        }
    }
    let (all, replay) = replayed(&fs);
    assert_eq!(all.commits, expected(1..=lsn));
    assert!(replay.damage.is_empty());
    assert_eq!(replay.end.segments.len(), replay.end.sequence as usize);
}

#[test]
fn commits_may_be_empty_and_lsns_have_gaps_but_never_go_back() {
    let fs = mem();
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    wal.commit(Lsn(5), &[], &label).unwrap();
    wal.commit(Lsn(90), &samples(1), &label).unwrap();
    for lsn in [0, 5, 90] {
        let error = wal.commit(Lsn(lsn), &samples(1), &label).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let nobody = wal.commit(Lsn(91), &samples(1), &|_| None);
    assert!(nobody.is_ok(), "its series were told in this segment");
    wal.rotate().unwrap();
    assert!(wal.commit(Lsn(92), &samples(1), &|_| None).is_err());
    wal.commit(Lsn(92), &samples(1), &label).unwrap();
    let (all, replay) = replayed(&fs);
    assert_eq!(all.commits.keys().copied().collect::<Vec<_>>(), [5, 90, 91, 92]);
    assert!(all.commits[&5].is_empty() && replay.damage.is_empty());
}

#[test]
fn metadata_is_in_every_segment() {
    let fs = mem();
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    wal.metadata(Lsn(1), &[("a", &metadata("first")), ("b", &metadata("second"))]).unwrap();
    wal.metadata(Lsn(2), &[("a", &metadata("third"))]).unwrap();
    for lsn in 3..=20 {
        commit(&mut wal, lsn).unwrap();
    }
    drop(wal);
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    commit(&mut wal, 21).unwrap();
    let sealed: Vec<u64> = wal.segments().iter().map(|s| s.sequence).collect();
    assert!(sealed.len() > 2);
    for sequence in sealed {
        wal.remove_segment(sequence).unwrap();
    }
    let (all, replay) = replayed(&fs);
    assert_eq!(all.commits, expected([21]));
    assert_eq!(all.families["a"].help, "third");
    assert_eq!(all.families["b"].help, "second");
    assert!(replay.damage.is_empty());
    let long = metadata(&"x".repeat(65_536));
    assert_eq!(wal.metadata(Lsn(22), &[("c", &long)]).unwrap_err().kind(), ErrorKind::Ceiling);
}

#[test]
fn metadata_outlives_the_last_segment() {
    let fs = mem();
    let mut wal = reopened(&dynamic(&fs), small()).unwrap();
    wal.metadata(Lsn(1), &[("a", &metadata("kept"))]).unwrap();
    wal.rotate().unwrap();
    wal.remove_segment(1).unwrap();
    assert_eq!(replayed(&fs.crash(&crate::env::CrashPolicy::DropUnsynced)).0.families["a"].help, "kept");
    commit(&mut wal, 2).unwrap();
    assert_eq!(replayed(&fs).0.commits, expected([2]));
}

#[test]
fn much_metadata_is_restated_in_several_records() {
    let fs = mem();
    let options = WalOptions { segment_bytes: 1 << 30, allocate_bytes: 1 << 20 };
    let mut wal = reopened(&dynamic(&fs), options).unwrap();
    let help = metadata(&"h".repeat(60_000));
    let names: Vec<String> = (0..40).map(|n| format!("family_{n}")).collect();
    let families: Vec<(&str, &Metadata)> = names.iter().map(|n| (n.as_str(), &help)).collect();
    wal.metadata(Lsn(1), &families).unwrap();
    wal.rotate().unwrap();
    commit(&mut wal, 2).unwrap();
    wal.remove_segment(1).unwrap();
    let (all, replay) = replayed(&fs);
    assert_eq!((all.families.len(), replay.records), (40, 4), "three restated records and a commit");
}
