//! Options of `bench`, with their help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use crate::args::DbArg;

/// Measure this engine on this machine, with data that it makes
///
/// Each benchmark is a process of its own, from its start to the close of the database;
/// what has to be there before is made by another process, which is not measured. It needs
/// a directory that is empty or not there, leaves the database in it, and afterwards reads
/// back what should be there: a wrong answer is exit code 1. The data is a function of the
/// options: the same on every machine, for every run.
///
/// CPU is that of all threads, user and system; the peak of memory is the resident set,
/// files mapped included, as Linux tells it. The data was just written and is in the
/// system's cache: no benchmark measures a disk's reads. Compare runs on a quiet machine,
/// several of them, by CPU seconds where it is not quiet.
///
/// Example: silverback bench write --db /tmp/bench --sync never --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) what: What,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    Write(Write),
    /// Import a dump of OpenMetrics
    ///
    /// Measures reading and parsing a dump that is made beside the directory (DIR.dump.om,
    /// removed afterwards), sorting, and writing blocks; series by series, as dumps are. Does
    /// not measure unpacking, nor many files, nor samples that are late, rejected, or in the
    /// store already.
    ///
    /// Example: silverback bench import --db /tmp/bench --series 10000 --scrapes 240
    #[command(verbatim_doc_comment)]
    Import(Run),
    /// Select series by matchers of all kinds, and read them
    ///
    /// Measures, in one block that is in the system's cache: the time to list the selected
    /// series with their labels (the median and the longest of several runs), and to decode all
    /// their samples once. Does not measure the head, many blocks, several readers at once, or
    /// PromQL, which there is none of.
    ///
    /// Example: silverback bench query --db /tmp/bench --series 100000
    #[command(verbatim_doc_comment)]
    Query(Run),
    Select(Select),
    History(History),
    /// Flush the head into blocks and merge them
    ///
    /// Measures opening a database whose samples are all in the log, flushing 2 h blocks from
    /// it, and merging those; each of the three with its own figures, reading back, publishing
    /// and clean-up included; how many bytes were written for each that was flushed, and the
    /// most that one merge's inputs and result took. Does not measure deletes, retention, or
    /// appending meanwhile.
    ///
    /// Example: silverback bench compact --db /tmp/bench --series 2000 --scrapes 3000
    #[command(verbatim_doc_comment)]
    Compact(Run),
    Merge(Merge),
    /// Open a database after a crash
    ///
    /// Measures opening what a process left that ended without a word, with all samples in the
    /// log: how long until the first query can be asked. Does not measure blocks, nor a power
    /// cut: the log is in the system's cache, whole.
    ///
    /// Example: silverback bench recover --db /tmp/bench --churn 10
    #[command(verbatim_doc_comment)]
    Recover(Run),
    /// Make what a benchmark needs; run by the benchmarks
    ///
    /// Example: silverback bench prepare recover --db /tmp/bench --series 10 --scrapes 10 --values real
    #[command(hide = true)]
    Prepare(Prepare),
}

/// Append and commit
///
/// Measures what a service does: samples by cached reference, in commits of --batch, into
/// head and log; the log's bytes, memory by series (bytes_per_series is the peak by the
/// number of series), and how long commits take (commit_p50_us and on, in microseconds;
/// first_commit_… are those that make series). CPU of the appending threads alone is
/// append_cpu_s. With --maintain a full head is waited for (waits says how often). With
/// --labels it takes the steps of `promtool tsdb bench write`: label sets from the file, 30
/// s between scrapes, values that grow by 1,000, shards of a batch of series, all shards
/// for 100 scrapes before the next 100. Making or reading the label sets and computing the
/// values is in the figures, since it happens in the same process. Does not measure looking
/// up series by labels, but for the first sample of each; nor flushing to blocks, but with
/// --maintain: otherwise all samples stay in the head.
///
/// Examples:
///   silverback bench write --db /tmp/bench --sync each-commit --churn 5
///   silverback bench write --db /tmp/bench --sync never --scrapes 3000 --maintain
///   silverback bench write --db /tmp/bench --labels 20kseries.json --scrapes 300 --sync never --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Write {
    /// Label sets: one JSON object a line (.zst too) [default: made up]
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["churn", "jitter"])]
    pub(crate) labels: Option<PathBuf>,
    /// Samples of one commit, of as many series
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch: u32,
    /// Threads that append
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// When commits are made durable
    #[arg(long, value_enum, default_value_t = Sync::EachCommit)]
    pub(crate) sync: Sync,
    /// Flush and merge in the background meanwhile, as in a service
    #[arg(long)]
    pub(crate) maintain: bool,
    /// MiB a second that merges may write beside the appends, 0 for no limit [default: the store's own]
    #[arg(long, value_name = "MIB", requires = "maintain", value_parser = clap::value_parser!(u64).range(0..=65_536))]
    pub(crate) merge_rate: Option<u64>,
    /// Threads that select meanwhile: a metric's last five minutes, 100 times a second each
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub(crate) readers: u32,
    /// Scrapes after which --churn replaces series
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) lifetime: u32,
    /// Ceiling of the head in MiB: it is flushed early from three quarters of it [default: 1,024; without --maintain none]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) head_memory: Option<u32>,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// Find series among millions
///
/// The series are those of the benchmark of Prometheus's index
/// (tsdb/querier_bench_test.go): labels i, n, j; values of 40 bytes and more; for each
/// value of i 50 series, or --per-value. Each has one sample. With --blocks they lie in so
/// many blocks, a value of i in one of them. Measures, for each of some twenty selectors:
/// ids, the time until the first series is there, which is when all numbers of series are
/// known; and all, until every series was given out, with labels and the places of its
/// chunks. Each for a newly opened database (cold: its files are in the system's cache) and
/// again (warm): the median by CPU of all threads, and the 99th percentile of the wall;
/// --json has the wall's median, too. Then the values of i, one by one and as strings, and
/// how soon wide selections end, cancelled or at a limit. Counts are checked. Does not
/// measure samples or the head.
///
/// Examples:
///   silverback bench select --db /tmp/bench --series 5000000 --json
///   silverback bench select --db /tmp/bench --series 10000000 --per-value 10
///   silverback bench select --db /tmp/bench --series 1000000 --blocks 100
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Select {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Series; a multiple of those of a value
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(5..=100_000_000))]
    pub(crate) series: u32,
    /// Series of each value of i; a multiple of 5
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(5..=1_000))]
    pub(crate) per_value: u32,
    /// Blocks that the series lie in
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) blocks: u32,
    /// Measure what an earlier run with the same options left in the directory
    #[arg(long)]
    pub(crate) again: bool,
    /// Make the database and measure nothing
    #[arg(long, hide = true, conflicts_with = "again")]
    pub(crate) prepare: bool,
    /// Print the figures as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Look at a long retention
///
/// Loads months of real-looking values into blocks of the highest level, and measures:
/// their size, opening, reading all samples of one series, and reading an hour of all
/// series, at the end and in the middle; the median by CPU of all threads and the 99th
/// percentile of the wall. Counts are checked. Compare runs with --months 1, 6 and 12: an
/// hour should cost the same in each. Does not measure the head, the log, or merging.
///
/// Example: silverback bench history --db /tmp/bench --series 1000 --months 12 --interval 60
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Series
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) series: u32,
    /// Months of 30 days
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub(crate) months: u32,
    /// Seconds from one sample to the next
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(15..=3_600))]
    pub(crate) interval: u32,
    /// Measure what an earlier run with the same options left in the directory
    #[arg(long)]
    pub(crate) again: bool,
    /// Make the database and measure nothing
    #[arg(long, hide = true, conflicts_with = "again")]
    pub(crate) prepare: bool,
    /// Print the figures as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Merge blocks into one
///
/// Measures opening a database of some blocks, one merge of all of them, the result's being
/// read back included, and closing. The blocks come one after the other and are of columns,
/// as earlier merges leave them, so that most of it is copied; with --overlap their rows
/// take turns, and are as a load wrote them. The peak of memory is that of the merge,
/// mapped files included. Does not measure flushes, deletes, or appending meanwhile.
///
/// Examples:
///   silverback bench merge --db /tmp/bench --series 10000 --samples 5000
///   silverback bench merge --db /tmp/bench --series 10000 --samples 5000 --overlap
///   silverback bench merge --db /tmp/bench --series 2000000 --samples 2 --blocks 2 --overlap
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Merge {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Series
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    pub(crate) series: u32,
    /// Samples of each series in each block
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) samples: u32,
    /// Blocks
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=9))]
    pub(crate) blocks: u32,
    /// Samples of all blocks take turns
    #[arg(long)]
    pub(crate) overlap: bool,
    /// Make the database and measure nothing
    #[arg(long, hide = true)]
    pub(crate) prepare: bool,
    /// Print the figures as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// What all benchmarks take.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Series at one time [default: 10,000; query 100,000; compact 2,000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    pub(crate) series: Option<u32>,
    /// Samples of each series [default: 240; query 60; compact 3,000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) scrapes: Option<u32>,
    /// What the values look like [default: real; with --labels counter]
    #[arg(long, value_enum)]
    pub(crate) values: Option<Values>,
    /// A scrape is late by up to so many milliseconds (Prometheus evens out 2)
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) jitter: u32,
    /// Of 100 series, this many are replaced by new ones after each 100 scrapes
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) churn: u32,
    /// Print the figures as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

impl Run {
    /// The flags that give another process the same data.
    pub(crate) fn flags(&self) -> Vec<OsString> {
        let mut flags: Vec<OsString> = vec!["--db".into(), self.db.dir.clone().into()];
        let mut push = |name: &str, value: String| flags.extend([name.into(), value.into()]);
        for (name, value) in [("--series", self.series), ("--scrapes", self.scrapes)] {
            if let Some(value) = value {
                push(name, value.to_string());
            }
        }
        if let Some(values) = self.values.and_then(|v| v.to_possible_value()) {
            push("--values", values.get_name().to_owned());
        }
        push("--jitter", self.jitter.to_string());
        push("--churn", self.churn.to_string());
        flags
    }
}

/// What another process prepares.
#[derive(Debug, clap::Args)]
pub(crate) struct Prepare {
    /// For which benchmark
    #[arg(value_enum)]
    pub(crate) what: Prepared,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// The benchmarks that need something to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prepared {
    /// A dump
    Import,
    /// A block
    Query,
    /// A log
    Compact,
    /// A log
    Recover,
}

/// When commits are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sync {
    /// When the system does
    Never,
    /// When each returns
    EachCommit,
    /// Within a second
    Interval,
}

/// What the values look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Values {
    /// They never change
    Constant,
    /// They grow by 1,000
    Counter,
    /// A mix of constants, counters of integers and of hundredths, gauges, histograms, and noise
    Real,
}
