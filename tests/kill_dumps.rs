//! Goal: what was acknowledged before the process was killed is there afterwards; a whole dump that was appended, and
//! never closed, is bit for bit what promtool made of it.
//!
//! Method: this test runs itself as a child (the environment says so), which appends a dump to real files with
//! maintenance in the background, tells each commit over a pipe, and is killed by SIGKILL: in the middle, or after the
//! last acknowledgement. Then the directory is opened here.
#![cfg(all(feature = "import", feature = "zstd"))]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use silverback::import::{ImportOptions, Input, SampleSink, import};
use silverback::{Cancel, Columns, Db, Labels, Metadata, Options, Result, Selector, TimeRange};

mod common;

use common::{canonical_sha256, data};

/// Tells the child where to write.
const DIR: &str = "SILVERBACK_KILL_DIR";
/// Tells the child which dump to append.
const DUMP: &str = "SILVERBACK_KILL_DUMP";
/// Samples in a commit.
const BATCH: usize = 1_500;
/// Blocks of the first level in a dump's time, or so.
const BLOCKS: u64 = 20;

fn options(order: &InOrder) -> Options {
    let times = || order.rows.iter().map(|&(_, t, _)| t);
    let span_ms = times().max().unwrap_or(0).abs_diff(times().min().unwrap_or(0));
    // Short blocks and log segments, so that flushes and merges go on while the process is killed.
    Options::default()
        .block_range(Duration::from_millis(span_ms / BLOCKS + 1))
        .wal_segment_bytes(1 << 18)
        .out_of_order_window(Duration::from_secs(400 * 86_400))
        .max_future(None)
}

/// A dump's samples in their order.
#[derive(Default)]
struct InOrder {
    labels: Vec<Labels>,
    rows: Vec<(usize, i64, f64)>,
}

impl SampleSink for InOrder {
    type Series = usize;

    fn series(&mut self, labels: &Labels) -> Result<usize> {
        self.labels.push(labels.clone());
        Ok(self.labels.len() - 1)
    }

    fn extend(&mut self, series: usize, t: &[i64], v: &[f64]) -> Result<()> {
        self.rows.extend(t.iter().zip(v).map(|(&t, &v)| (series, t, v)));
        Ok(())
    }

    fn metadata(&mut self, _: &str, _: &Metadata) -> Result<()> {
        Ok(())
    }
}

fn parse(dump: &Path) -> InOrder {
    let mut sink = InOrder::default();
    let input = Input::new("dump", std::fs::File::open(dump).unwrap());
    import(&ImportOptions::default(), [Ok(input)], &mut sink, &Cancel::default(), |_| {}).unwrap();
    sink
}

/// What the child does; nothing if nobody asked for a child.
#[test]
fn child() {
    let (Some(dir), Some(dump)) = (std::env::var_os(DIR), std::env::var_os(DUMP)) else { return };
    let dump = parse(Path::new(&dump));
    let db = Db::open(dir, options(&dump)).unwrap();
    let mut app = db.appender().unwrap();
    for (n, batch) in dump.rows.chunks(BATCH).enumerate() {
        for &(series, t, v) in batch {
            app.append(&dump.labels[series], t, v).unwrap();
        }
        let committed = app.commit().unwrap();
        assert_eq!(committed.rejected(), []);
        println!("acknowledged {}", n + 1);
        std::io::stdout().flush().unwrap();
    }
    println!("whole");
    std::io::stdout().flush().unwrap();
    // Killed while it waits here.
    let _never = std::io::stdin().read(&mut [0]);
}

/// A kill leaves the page cache: a filesystem in memory is as good as a disk, and its syncs cost nothing.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Starts the child and reads what it tells, until it has acknowledged `commits` or everything; kills it; returns how
/// many commits it acknowledged, those included that it told of before it died.
fn run_and_kill(dir: &Path, dump: &Path, commits: usize) -> usize {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(DUMP, dump)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut acknowledged = 0;
    while acknowledged < commits && next_line(&mut told, &mut acknowledged) {}
    child.kill().unwrap();
    while next_line(&mut told, &mut acknowledged) {}
    assert!(!child.wait().unwrap().success());
    acknowledged
}

/// Whether the child goes on.
fn next_line(told: &mut BufReader<ChildStdout>, acknowledged: &mut usize) -> bool {
    let mut line = String::new();
    if told.read_line(&mut line).unwrap() == 0 || line.trim() == "whole" {
        return false;
    }
    // The harness writes on the same line what it runs.
    if let Some((_, n)) = line.trim().rsplit_once("acknowledged ") {
        *acknowledged = n.parse().unwrap();
    }
    true
}

fn read_all(db: &Db) -> Vec<(Labels, Vec<(i64, u64)>)> {
    let querier = db.querier(TimeRange::ALL).unwrap();
    let set = querier.select(&Selector::all()).unwrap();
    set.map(|series| {
        let series = series.unwrap();
        let mut rows = Columns::default();
        let mut samples = series.samples();
        while samples.read_into(&mut rows, 100_000).unwrap() > 0 {}
        let samples = rows.t.iter().zip(&rows.v).map(|(t, v)| (*t, v.to_bits())).collect();
        (series.labels().clone(), samples)
    })
    .collect()
}

fn reopen(dir: &Path, order: &InOrder) -> Db {
    let db = Db::open(dir, options(order)).unwrap();
    let report = db.open_report();
    assert!(report.damage.is_empty() && report.quarantined.is_empty(), "{report:?}");
    assert!(db.verify().unwrap().is_clean());
    db
}

#[test]
fn acknowledged_commits_survive_a_kill_in_the_middle() {
    let Some(root) = data("dumps") else { return };
    for (name, commits) in
        [("nginx-1s", 1), ("nginx-1s", 6), ("blackbox-1s", 13), ("blackbox-1s", 25), ("cloudmon-a", 40)]
    {
        let dump = root.join(format!("{name}.om.zst"));
        let dir = directory();
        let acknowledged = run_and_kill(dir.path(), &dump, commits);
        assert!(acknowledged >= commits);
        let order = parse(&dump);
        let db = reopen(dir.path(), &order);
        let seen: BTreeMap<(Labels, i64), u64> = read_all(&db)
            .into_iter()
            .flat_map(|(labels, rows)| rows.into_iter().map(move |(t, bits)| ((labels.clone(), t), bits)))
            .collect();
        let mut expected = BTreeMap::new();
        let mut fits = false;
        // All that was acknowledged, and at most the commit that it was killed in.
        for (n, batch) in order.rows.chunks(BATCH).enumerate() {
            for &(series, t, v) in batch {
                expected.entry((order.labels[series].clone(), t)).or_insert(v.to_bits());
            }
            fits |= (acknowledged..=acknowledged + 1).contains(&(n + 1)) && seen == expected;
        }
        println!("{name}: killed after {acknowledged} commits, {} samples there", seen.len());
        assert!(fits, "{name}: {} samples after {acknowledged} acknowledged commits", seen.len());
    }
}

#[test]
fn whole_dumps_survive_a_kill_at_the_end() {
    let Some(root) = data("dumps") else { return };
    let mut dumps: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    dumps.retain(|path| path.to_str().unwrap().ends_with(".om.zst"));
    dumps.sort();
    assert!(dumps.len() > 10);
    for dump in &dumps {
        let name = dump.file_name().unwrap().to_str().unwrap().trim_end_matches(".om.zst");
        let truth = std::fs::read_to_string(root.join(format!("{name}.truth.json"))).unwrap();
        let truth = &serde_json::from_str::<Value>(&truth).unwrap()["truth"];
        let dir = directory();
        let acknowledged = run_and_kill(dir.path(), dump, usize::MAX);
        let db = reopen(dir.path(), &parse(dump));
        let samples = read_all(&db);
        assert_eq!(canonical_sha256(&samples), truth["sha256"].as_str().unwrap(), "{name}");
        let count: usize = samples.iter().map(|(_, rows)| rows.len()).sum();
        let blocks = db.stats().blocks;
        db.compact(&Cancel::default()).unwrap();
        assert_eq!(canonical_sha256(&read_all(&db)), truth["sha256"].as_str().unwrap(), "{name}, compacted");
        println!("{name}: {count} samples in {acknowledged} commits, {blocks} blocks before compaction");
    }
}
