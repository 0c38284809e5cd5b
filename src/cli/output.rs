//! stdout for data, stderr for everything else, and numbers for people.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::path::Path;
use std::sync::OnceLock;

use indicatif::{ProgressBar, ProgressStyle};
use silverback::{Db, Event, Maintenance, Options};

use crate::failure::{DATA, Failure};
use crate::interrupt::Interrupt;

/// The width where there is no terminal to ask.
const DEFAULT_WIDTH: usize = 80;

/// A log that takes a noticeable time to read.
const LONG_LOG_BYTES: u64 = 16 << 20;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    quiet: bool,
    /// Ctrl-C.
    pub(crate) interrupt: Interrupt,
}

impl Context {
    /// Hears Ctrl-C from now on.
    pub(crate) fn new(quiet: bool) -> Context {
        Context { quiet, interrupt: Interrupt::install() }
    }

    /// A summary or a note: on stderr, unless asked to be quiet.
    pub(crate) fn note(&self, what: impl fmt::Display) {
        if !self.quiet {
            tell(what);
        }
    }

    /// Whether progress is to be shown.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Options that hear Ctrl-C, do no work that the command did not ask for, and dump whatever there is.
    pub(crate) fn options(&self) -> Options {
        let options = match self.shows_progress() {
            true => Options::default().on_event(show_recovery()),
            false => Options::default(),
        };
        options
            .maintenance(Maintenance::Manual)
            .create(false)
            .max_query_series(u64::MAX)
            .max_query_samples(u64::MAX)
            .cancel(self.interrupt.cancel())
    }

    /// Opens a database that must be there, for reading, beside a writer or not.
    pub(crate) fn read(&self, dir: &Path) -> Result<Opened, Failure> {
        Ok(Opened::new(Db::open_read_only(dir, self.options())?))
    }

    /// Opens a database that must be there, for writing.
    pub(crate) fn write(&self, dir: &Path) -> Result<Opened, Failure> {
        self.write_with(dir, self.options())
    }

    /// Opens a database for writing.
    pub(crate) fn write_with(&self, dir: &Path, options: Options) -> Result<Opened, Failure> {
        self.interrupt.ask();
        Ok(Opened::new(Db::open(dir, options)?))
    }
}

/// An open database, and whether it is whole.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The database.
    pub(crate) db: Db,
    whole: bool,
}

impl Opened {
    /// Tells what could not be read, even if asked to be quiet: answers are incomplete then.
    pub(crate) fn new(db: Db) -> Opened {
        let report = db.open_report();
        for damage in &report.damage {
            tell(format_args!("silverback: damaged, the rest is served: {damage}"));
        }
        for path in &report.quarantined {
            tell(format_args!("silverback: moved to quarantine: {}", path.display()));
        }
        let whole = report.damage.is_empty();
        Opened { db, whole }
    }

    /// The exit code of a command that did what it could.
    pub(crate) fn code(&self) -> u8 {
        if self.whole { 0 } else { DATA }
    }
}

/// A bar on stderr while a long log is read.
fn show_recovery() -> impl Fn(&Event) + Send + Sync + 'static {
    let bar = OnceLock::new();
    move |event| {
        if let Event::Recovering { bytes, total_bytes } = event
            && *total_bytes >= LONG_LOG_BYTES
        {
            let bar: &ProgressBar = bar.get_or_init(|| {
                let style =
                    ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} of the log  {eta} left");
                let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(*total_bytes).with_style(style)
            });
            bar.set_position(*bytes);
            if bytes >= total_bytes {
                bar.finish_and_clear();
            }
        }
    }
}

/// A line on stderr; where stderr is closed there is nobody to tell.
pub(crate) fn tell(what: impl fmt::Display) {
    let _nobody_listens = writeln!(io::stderr(), "{what}");
}

/// stdout, locked and buffered.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// Prints one JSON object and the end of its line.
pub(crate) fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    let mut out = stdout();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Whether stdout is a terminal that wants colours.
pub(crate) fn wants_colour() -> bool {
    let unset = |name| std::env::var_os(name).is_none_or(|v| v.is_empty());
    io::stdout().is_terminal() && unset("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// The width of the terminal that stdout is, if it is one.
pub(crate) fn terminal_width() -> Option<usize> {
    let asked = || std::env::var("COLUMNS").ok()?.parse().ok();
    let found = comfy_table::Table::new().width().map(usize::from);
    found.or_else(asked).filter(|w| (20..=1_000).contains(w))
}

/// The width of pictures: of the terminal, or of none.
pub(crate) fn width() -> usize {
    terminal_width().unwrap_or(DEFAULT_WIDTH)
}

/// `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun: `1 sample`, `2 samples`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    let plural = if n == 1 || noun.ends_with("series") { "" } else { "s" };
    format!("{} {noun}{plural}", count(n))
}

/// `1.2 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    let mut unit = 0u32;
    while unit < 5 && n >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    let name = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"].get(unit as usize).copied().unwrap_or_default();
    match unit {
        0 => format!("{n} bytes"),
        unit => {
            // In hundredths, rounded down: no floats, exact at any size.
            let hundredths = (u128::from(n) * 100) >> (10 * unit);
            match hundredths {
                0..10_000 => format!("{}.{:01} {name}", hundredths / 100, hundredths % 100 / 10),
                _ => format!("{} {name}", hundredths / 100),
            }
        }
    }
}

/// A ratio with two digits after the point: bytes a sample.
pub(crate) fn ratio(part: u64, whole: u64) -> String {
    match (u128::from(part) * 100).checked_div(u128::from(whole)) {
        Some(hundredths) => format!("{}.{:02}", hundredths / 100, hundredths % 100),
        None => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(n), text);
        }
        assert_eq!(counted(1, "sample"), "1 sample");
        assert_eq!(counted(0, "sample"), "0 samples");
        assert_eq!(counted(2, "series"), "2 series");
    }

    #[test]
    fn bytes_for_people() {
        for (n, text) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1_024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            (102_400, "100 KiB"),
            (1_048_575, "1023 KiB"),
            (1_048_576, "1.0 MiB"),
            (u64::MAX, "16383 PiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(ratio(3, 2), "1.50");
        assert_eq!(ratio(3, 0), "–");
    }
}
