//! The driver of an import: inputs in, columns of samples out.
//!
//! ```text
//!   Input ─▶ unpack, detect ─▶ exposition | scrapes | jsonl | promdump ─▶ Run ─▶ Columns ─▶ SampleSink
//!                                                                        ├─ metadata by family
//!                                                                        └─ faults
//! ```
//!
//! All or nothing is the caller's last step: after an error it drops the loader that the sink is, and
//! nothing of the import appears; after success it finishes the loader.

use super::detect::{Opened, open};
use super::grammar::Grammar;
use super::options::{ImportOptions, ImportSummary, Input, MissingTimestamp, Progress, SampleSink};
use super::run::Run;
use super::{Format, exposition, jsonl, promdump, scrapes};
use crate::{Cancel, Result};

/// Reads `inputs` one after the other and hands their samples to `sink`.
///
/// Inputs are taken from the iterator when their turn comes, so that one file at a time is open.
/// `progress` is called now and then, and at the end of each input.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) names input, line and column of the first thing that cannot be
/// taken, unless it is to be skipped; besides, what the sink, the inputs and `cancel` say. After an
/// error the sink holds a part of the samples, and is to be dropped.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use silverback::import::{ImportOptions, Input, import};
/// use silverback::{Cancel, Db, Options};
///
/// let db = Db::open(dir.path(), Options::default())?;
/// let mut bulk = db.bulk_loader()?;
/// let dump = "up{instance=\"a\"} 1 1600000000000\nup{instance=\"b\"} 0 1600000000000\n";
/// let options = ImportOptions::default().label("job", "node");
/// let inputs = [Ok(Input::new("dump", dump.as_bytes()))];
/// let summary = import(&options, inputs, &mut bulk, &Cancel::default(), |_progress| {})?;
/// assert_eq!(summary.samples, 2);
/// bulk.finish()?; // now it is stored
/// # Ok::<(), silverback::Error>(())
/// ```
pub fn import<'r, S: SampleSink>(
    options: &ImportOptions,
    inputs: impl IntoIterator<Item = Result<Input<'r>>>,
    sink: &mut S,
    cancel: &Cancel,
    mut progress: impl FnMut(&Progress),
) -> Result<ImportSummary> {
    #[cfg(feature = "tracing")]
    let _span = tracing::info_span!("import").entered();
    let mut run = Run::new(options, sink, cancel, &mut progress);
    for input in inputs {
        read(&mut run, input?)?;
    }
    run.finish()
}

fn read<S: SampleSink>(run: &mut Run<'_, S>, input: Input<'_>) -> Result<()> {
    let Input { name, reader, modified_ms } = input;
    #[cfg(feature = "tracing")]
    let _span = tracing::info_span!("input", name).entered();
    run.default_time_ms = match run.options.timestamp {
        MissingTimestamp::Refuse => None,
        MissingTimestamp::At(t) => Some(t),
        MissingTimestamp::Modified => modified_ms,
    };
    let Opened { text, format, bytes_in } =
        open(&name, reader, run.options.format, run.options.max_unpack_ratio, run.workers())?;
    run.begin(name, bytes_in)?;
    let text_bytes = match format {
        Format::Auto | Format::Text => exposition::read(run, text, Grammar::Text)?,
        Format::OpenMetrics => exposition::read(run, text, Grammar::OpenMetrics)?,
        Format::Scrapes => scrapes::read(run, text)?,
        Format::Jsonl => jsonl::read(run, text)?,
        Format::Promdump => promdump::read(run, text)?,
    };
    run.end(text_bytes)
}
