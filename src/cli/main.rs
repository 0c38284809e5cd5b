//! The `silverback` command line: uses the crate's public root, as an outsider would.
//!
//! ```text
//!   args ──▶ main: handler of Ctrl-C, Context ──▶ cmd/<command>::run ──▶ exit code
//!                                                     ├─ data ▶ stdout (output)
//!                                                     └─ summary, progress, errors ▶ stderr
//! ```
//!
//! | file | what |
//! |---|---|
//! | `args` | commands, options, their help |
//! | `cmd/*` | one command each |
//! | `failure` | why a command failed, in one sentence, and its exit code |
//! | `inputs` | files, directories, stdin: what is to be read |
//! | `interrupt` | Ctrl-C |
//! | `families` | which family a metric name belongs to, for OpenMetrics |
//! | `output` | stdout, stderr, numbers for people |
//! | `plot`, `canvas` | series as a picture |
//! | `table` | what a query found, in a table |
//! | `notation` | label sets and values as text and JSON |
//! | `time` | times in and out |
//! | `union` | the series of several selectors, each once |
//!
//! # Exit codes
//! 0: done; a closed pipe too. 1: the data is wrong (invalid exposition, damage). 2: usage. 3: I/O failed, or
//! the store refused. 130: Ctrl-C.
//!
//! Commands that write do no maintenance that was not asked for: what a command says it does is all that it does.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

use std::process::ExitCode;

use clap::Parser;

mod args;
mod canvas;
mod cmd;
mod failure;
mod families;
mod inputs;
mod interrupt;
mod notation;
mod output;
mod plot;
mod table;
mod time;
mod union;

use args::{Args, Command};
use failure::Failure;
use output::Context;

fn main() -> ExitCode {
    let args = Args::parse();
    let context = Context::new(args.quiet);
    match run(args.command, &context) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if let Some(message) = failure.message() {
                output::tell(format_args!("silverback: {message}"));
            }
            ExitCode::from(failure.code())
        }
    }
}

/// Runs one command; its exit code.
fn run(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Demo(a) => cmd::demo::run(&a, context),
        Command::Import(a) => cmd::import::run(&a, context),
        Command::Check(a) => cmd::check::run(&a, context),
        Command::Dump(a) => cmd::dump::run(&a, context),
        Command::Export(a) => cmd::export::run(&a, context),
        Command::Query(a) => cmd::query::run(&a, context),
        Command::Series(a) => cmd::series::run(&a, context),
        Command::Labels(a) => cmd::labels::names(&a, context),
        Command::LabelValues(a) => cmd::labels::values(&a, context),
        Command::List(a) => cmd::list::run(&a, context),
        Command::Analyze(a) => cmd::analyze::run(&a, context),
        Command::Stats(a) => cmd::stats::run(&a, context),
        Command::Compact(a) => cmd::compact::run(&a, context),
        Command::Verify(a) => cmd::verify::run(&a, context),
        Command::Delete(a) => cmd::delete::run(&a, context),
        Command::Snapshot(a) => cmd::snapshot::run(&a, context),
        Command::Bench(a) => cmd::bench::run(&a, context),
        Command::Completions(a) => cmd::shell::completions(a.shell),
        Command::Man => cmd::shell::man(),
    }
}
