//! Commands and options, with their help.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use silverback::Selector;

use crate::time::Time;

/// An embedded time-series store for Prometheus-shaped metrics: import, look, look after.
#[derive(Debug, Parser)]
#[command(
    name = "silverback",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Times are milliseconds since 1970 (1600000000000), RFC 3339 (2026-01-31T12:00:00Z), `now`, or a span before now (-1h, -1d12h).\n\
                  Exit codes: 0 done; 1 the data is wrong; 2 usage; 3 I/O failed or refused; 130 Ctrl-C.\n\
                  A first look: silverback demo"
)]
pub(crate) struct Args {
    /// Print no progress and no summary
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    Import(Import),
    Check(Check),
    Dump(Dump),
    Export(Export),
    Query(Query),
    /// Print the series that have samples, one a line
    ///
    /// Example: silverback series --db metrics --match '{job="node"}' --min-time -1d
    #[command(verbatim_doc_comment)]
    Series(Select),
    /// Print the names of labels, sorted, one a line
    ///
    /// Times are as exact as whole blocks.
    ///
    /// Example: silverback labels --db metrics --match up
    #[command(verbatim_doc_comment)]
    Labels(Select),
    LabelValues(LabelValues),
    List(List),
    Analyze(Analyze),
    Stats(Stats),
    Compact(Compact),
    Verify(Verify),
    Delete(Delete),
    Snapshot(Snapshot),
    Bench(crate::cmd::bench::args::Bench),
    Completions(Completions),
    /// Print the manual page
    ///
    /// Example: silverback man | man -l -
    #[command(verbatim_doc_comment)]
    Man,
}

/// Which database.
#[derive(Debug, clap::Args)]
pub(crate) struct DbArg {
    /// The database's directory
    #[arg(long = "db", value_name = "DIR", env = "SILVERBACK_DB")]
    pub(crate) dir: PathBuf,
}

/// From when to when, both included.
#[derive(Debug, clap::Args)]
pub(crate) struct Range {
    /// The earliest time, included [default: the oldest sample]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) min_time: Option<Time>,
    /// The latest time, included [default: the newest sample]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) max_time: Option<Time>,
}

/// Import a small embedded dump and look at it
///
/// Imports twelve minutes of real kernel counters, and shows the commands that it stands
/// for, tables and plots. Run again, it finds its data and imports nothing.
///
/// Example: silverback demo
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Demo {
    /// Where to keep the database [default: silverback-demo in the system's directory for temporary files]
    #[arg(long = "db", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Import dumps: Prometheus text, OpenMetrics, recorded scrapes, JSON lines, promtool's
///
/// Reads files, directories (all files in them, in the order of their names) and stdin,
/// packed by gzip or zstd or not. All is stored at once when all was read, or nothing.
/// The database is made if it is not there. Prints a summary; exemplars are read and
/// counted, but not stored yet.
///
/// Recorded scrapes (--format scrapes) are pages of one target, each behind a line
/// `#!scrape <unix_ms> <status> <bytes> <content-type>`: a series that vanishes from page
/// to page, and all of them if the status is not 200, are given staleness markers.
///
/// Examples:
///   silverback import --db metrics dump.om.zst
///   curl -s localhost:9100/metrics | silverback import --db metrics --timestamp now --label job=node
///   silverback import --db metrics --on-error skip --max-rejected 100 dumps/
///   cat monday.om tuesday.om | silverback import --db metrics --concatenated
///   silverback import --db metrics --label job=flask flask.scrapes
///   curl -s localhost:8428/api/v1/export -d 'match[]=up' | silverback import --db metrics
///   promtool tsdb dump data | silverback import --db metrics --format promdump
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Import {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// What to read; `-` is stdin [default: stdin]
    #[arg(value_name = "FILE|DIR|-")]
    pub(crate) inputs: Vec<PathBuf>,
    /// The format of the inputs; auto finds it out for each, by name and content
    #[arg(long, value_enum, default_value_t = FormatArg::Auto)]
    pub(crate) format: FormatArg,
    /// Give every series this label, in place of its own of that name (may be repeated)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    pub(crate) labels: Vec<(String, String)>,
    /// The time of samples that have none: a time, or `mtime` for when the file was last modified
    #[arg(long, value_name = "TIME|mtime", allow_hyphen_values = true)]
    pub(crate) timestamp: Option<Stamp>,
    /// Take inputs of several OpenMetrics documents, each ended by `# EOF`
    #[arg(long)]
    pub(crate) concatenated: bool,
    /// What to do with a line that cannot be taken: end, with nothing imported, or leave it out
    #[arg(long, value_enum, default_value_t = OnErrorArg::Fail)]
    pub(crate) on_error: OnErrorArg,
    /// With `--on-error skip`: end, with nothing imported, if more lines than this are left out
    #[arg(long, value_name = "N")]
    pub(crate) max_rejected: Option<u64>,
    /// Memory to use, roughly (K, M, G are powers of 1,024)
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    pub(crate) memory: u64,
    /// Print the summary as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Check that dumps are valid, and store nothing
///
/// Prints file:line:column: why for the first fault of each input. Takes what Prometheus's
/// own parser takes; --strict asks for the whole OpenMetrics specification. Exit code 1 if
/// an input is invalid.
///
/// Examples:
///   silverback check dump.om
///   curl -s localhost:9100/metrics | silverback check --format text
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Check {
    /// What to read; `-` is stdin [default: stdin]
    #[arg(value_name = "FILE|DIR|-")]
    pub(crate) inputs: Vec<PathBuf>,
    /// The format of the inputs; auto finds it out for each, by name and content
    #[arg(long, value_enum, default_value_t = CheckFormatArg::Auto)]
    pub(crate) format: CheckFormatArg,
    /// Check all rules of the OpenMetrics specification, which every input must then be
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the findings as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print samples, one a line, as `promtool tsdb dump` does
///
/// A line is a series, a value and a time in milliseconds; series in order, samples in time order.
///
/// Examples:
///   silverback dump --db metrics --match 'up{job="node"}' --min-time -1h
///   silverback dump --db metrics --bits
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Dump {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Only the series that this selects (repeated: what any selects) [default: all]
    #[arg(long = "match", value_name = "SELECTOR")]
    pub(crate) selectors: Vec<Selector>,
    #[command(flatten)]
    pub(crate) range: Range,
    /// Print values as the 16 hex digits of their bits, which tells every NaN from the others
    #[arg(long)]
    pub(crate) bits: bool,
}

/// Print samples in a format that other programs import
///
/// OpenMetrics is grouped by family, with type, unit and help, and ends with `# EOF`: what
/// `promtool tsdb create-blocks-from openmetrics` takes. It has one NaN only, so that
/// staleness markers become plain NaNs.
///
/// JSON lines are those of VictoriaMetrics's /api/v1/export, some thousand samples of a
/// series each. They lose nothing: a NaN is null if it is the usual one, and otherwise
/// "nan:" and the 16 hex digits of its bits, such as "nan:7ff0000000000002".
///
/// Examples:
///   silverback export --db metrics --format openmetrics > metrics.om
///   silverback export --db metrics --format jsonl --match 'up{job="node"}' --min-time -1d
///   silverback export --db metrics --format jsonl | silverback import --db copy
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// The format
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormatArg,
    /// Only the series that this selects (repeated: what any selects) [default: all]
    #[arg(long = "match", value_name = "SELECTOR")]
    pub(crate) selectors: Vec<Selector>,
    #[command(flatten)]
    pub(crate) range: Range,
}

/// Show the series that a selector selects, as a table and a plot
///
/// Examples:
///   silverback query --db metrics 'node_load1'
///   silverback query --db metrics '{__name__=~"node_memory_.*"}' --start -6h --step 1m
///   silverback query --db metrics 'up{job="node"}' --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Query {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// A selector, as in PromQL: name{label="value", label=~"regex"}
    pub(crate) selector: Selector,
    /// The earliest time, included [default: the oldest sample]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) start: Option<Time>,
    /// The latest time, included [default: the newest sample]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) end: Option<Time>,
    /// Keep the last sample of each step only (15s, 1m, 1h; steps begin at --start, or at 1970)
    #[arg(long, value_name = "SPAN", value_parser = crate::time::parse_span)]
    pub(crate) step: Option<i64>,
    /// Print labels and samples as one JSON object; NaN and infinities are strings
    #[arg(long)]
    pub(crate) json: bool,
}

// No doc comment: it would become the help of the commands that share it.
#[derive(Debug, clap::Args)]
pub(crate) struct Select {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Only the series that this selects (repeated: what any selects) [default: all]
    #[arg(long = "match", value_name = "SELECTOR")]
    pub(crate) selectors: Vec<Selector>,
    #[command(flatten)]
    pub(crate) range: Range,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the values of a label, sorted, one a line
///
/// Times are as exact as whole blocks.
///
/// Example: silverback label-values --db metrics job --match up
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct LabelValues {
    /// The label's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) select: Select,
}

/// List the blocks, oldest first
///
/// The columns are those of `promtool tsdb list`; times are of the first and last sample.
/// What is not in blocks yet is not listed: `silverback stats` has it.
///
/// Example: silverback list --db metrics
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what makes a database large: labels, churn, metrics, parts of files
///
/// The figures are those of `promtool tsdb analyze`, of the whole database. Churn of a
/// label: how many series with it are missing over all of the time, on average. Reads the
/// index only, so that samples that overlap count twice.
///
/// Example: silverback analyze --db metrics --limit 5
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Analyze {
    #[command(flatten)]
    pub(crate) select: Select,
    /// How many entries of each list to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

/// Print figures of a database: series, samples, times, bytes
///
/// Example: silverback stats --db metrics --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Stats {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flush the head and merge blocks until nothing is left to merge
///
/// Leaves no superseded file behind, unless a reader in this process holds it.
///
/// Example: silverback compact --db metrics
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Compact {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Print the summary as one JSON object on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Read every byte and check all that can be checked
///
/// Prints each fault with its file and offset; exit code 1 if there is one. Changes nothing.
///
/// Example: silverback verify --db metrics
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// Print the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Delete samples, and print how many there were
///
/// Asks nothing. What was deleted does not come back; its space does, by `silverback compact`.
///
/// Examples:
///   silverback delete --db metrics --match '{job="old"}'
///   silverback delete --db metrics --match up --max-time 2025-12-31T23:59:59.999Z
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// The series to delete from (repeated: what any selects)
    #[arg(long = "match", value_name = "SELECTOR", required = true)]
    pub(crate) selectors: Vec<Selector>,
    #[command(flatten)]
    pub(crate) range: Range,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make a copy that opens as a database of its own
///
/// By hard links on the same filesystem, which takes no space; otherwise by copying.
///
/// Example: silverback snapshot --db metrics backup/monday
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Snapshot {
    #[command(flatten)]
    pub(crate) db: DbArg,
    /// The copy's directory: new, or empty
    #[arg(value_name = "TO")]
    pub(crate) to: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print completions for a shell
///
/// Example: silverback completions bash > ~/.local/share/bash-completion/completions/silverback
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// The formats that are imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// Found out
    Auto,
    /// Prometheus text 0.0.4, what /federate answers too
    Text,
    /// OpenMetrics 1.0
    Openmetrics,
    /// Recorded scrapes: pages, each behind a line `#!scrape …`
    Scrapes,
    /// What VictoriaMetrics and `silverback export --format jsonl` export
    Jsonl,
    /// What `promtool tsdb dump` and `silverback dump` print
    Promdump,
}

/// The formats that are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormatArg {
    /// Found out
    Auto,
    /// Prometheus text 0.0.4
    Text,
    /// OpenMetrics 1.0
    Openmetrics,
}

/// The formats that are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormatArg {
    /// OpenMetrics 1.0, times in seconds; every NaN is written as NaN
    Openmetrics,
    /// JSON lines as VictoriaMetrics exports them; loses nothing
    Jsonl,
}

/// What to do with what cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnErrorArg {
    /// End, with nothing imported
    Fail,
    /// Leave the line out, and say so
    Skip,
}

/// The time of samples that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// This one.
    At(Time),
    /// When the input was last modified.
    Modified,
}

impl std::str::FromStr for Stamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Stamp, String> {
        match text {
            "mtime" => Ok(Stamp::Modified),
            text => Ok(Stamp::At(text.parse()?)),
        }
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a label is NAME=VALUE".to_owned()),
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: write bytes, or a number with K, M or G (256M)");
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("17", 17), ("4k", 4096), ("256M", 256 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1.5M", "1T", "99999999999G", "1 M", "12x34"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels() {
        assert_eq!(parse_label("job=a=b"), Ok(("job".to_owned(), "a=b".to_owned())));
        assert_eq!(parse_label("job="), Ok(("job".to_owned(), String::new())));
        assert!(parse_label("job").is_err());
        assert!(parse_label("=x").is_err());
    }

    #[test]
    fn every_command_has_an_example_and_lines_that_fit() {
        let mut commands: Vec<clap::Command> = Args::command().get_subcommands().cloned().collect();
        while let Some(command) = commands.pop() {
            let help = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{}: {help}", command.get_name());
            // Terminals have 100 columns, or clap takes them to have so many.
            let wide = help.lines().find(|line| line.chars().count() > 100);
            assert_eq!(wide, None, "{}", command.get_name());
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
