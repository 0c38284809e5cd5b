//! What an import is told, and what it tells.

use std::fmt;
use std::io::Read;

use super::segments::SEGMENT_BYTES;
use super::{Fault, Format};
use crate::{Labels, Result, Workers};

/// What to do with a line that is not valid, or a sample that cannot be taken.
///
/// ```
/// use silverback::import::{ImportOptions, OnError};
/// let options = ImportOptions::default().on_error(OnError::Skip).max_rejected(1_000);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// End the import: nothing of it is stored.
    #[default]
    Fail,
    /// Leave the line out, and list it in the summary.
    Skip,
}

/// The time of samples that have none.
///
/// ```
/// use silverback::import::{ImportOptions, MissingTimestamp};
/// let options = ImportOptions::default().timestamp(MissingTimestamp::At(1_600_000_000_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingTimestamp {
    /// Such a sample is an error that says so.
    #[default]
    Refuse,
    /// This time, in milliseconds.
    At(i64),
    /// When the input was last modified: [`Input::modified_ms`].
    Modified,
}

/// How the numbers in `le` of histograms and `quantile` of summaries are spelled.
///
/// ```
/// use silverback::import::{ImportOptions, LabelNumbers};
/// let options = ImportOptions::default().label_numbers(LabelNumbers::AsWritten); // le="1" stays le="1"
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LabelNumbers {
    /// As a scrape by Prometheus for samples without a timestamp (`le="1"` becomes `le="1.0"`); as written for
    /// samples with one, which are history that somebody stored under those labels.
    #[default]
    Auto,
    /// Always as written.
    AsWritten,
    /// Always as a scrape by Prometheus spells them.
    Canonical,
}

/// How to import. Made by `default`, changed by its methods.
///
/// ```
/// use silverback::import::{Format, ImportOptions, MissingTimestamp, OnError};
/// let options = ImportOptions::default()
///     .format(Format::Text)
///     .label("job", "node")
///     .timestamp(MissingTimestamp::Modified)
///     .on_error(OnError::Skip)
///     .memory_bytes(32 << 20);
/// ```
#[derive(Clone, Debug)]
pub struct ImportOptions {
    pub(crate) format: Format,
    pub(crate) on_error: OnError,
    pub(crate) max_rejected: Option<u64>,
    pub(crate) timestamp: MissingTimestamp,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) label_numbers: LabelNumbers,
    pub(crate) concatenated: bool,
    pub(crate) memory_bytes: usize,
    pub(crate) max_unpack_ratio: u64,
    /// The length of the pieces in which plain lines are looked for.
    pub(crate) segment_bytes: usize,
}

impl Default for ImportOptions {
    fn default() -> ImportOptions {
        ImportOptions {
            format: Format::Auto,
            on_error: OnError::Fail,
            max_rejected: None,
            timestamp: MissingTimestamp::Refuse,
            labels: Vec::new(),
            label_numbers: LabelNumbers::Auto,
            concatenated: false,
            memory_bytes: 64 * 1024 * 1024,
            max_unpack_ratio: 2_000,
            segment_bytes: SEGMENT_BYTES,
        }
    }
}

impl ImportOptions {
    /// The format of the inputs; found out for each by default.
    pub fn format(mut self, format: Format) -> ImportOptions {
        self.format = format;
        self
    }

    /// What to do with what cannot be taken; fails by default.
    pub fn on_error(mut self, on_error: OnError) -> ImportOptions {
        self.on_error = on_error;
        self
    }

    /// With [`OnError::Skip`], how many rejections end the import all the same.
    pub fn max_rejected(mut self, count: u64) -> ImportOptions {
        self.max_rejected = Some(count);
        self
    }

    /// The time of samples that have none.
    pub fn timestamp(mut self, timestamp: MissingTimestamp) -> ImportOptions {
        self.timestamp = timestamp;
        self
    }

    /// Adds a label to every series, in place of one of that name.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> ImportOptions {
        let name = name.into();
        self.labels.retain(|(n, _)| *n != name);
        self.labels.push((name, value.into()));
        self
    }

    /// How numbers in labels are spelled.
    pub fn label_numbers(mut self, spelling: LabelNumbers) -> ImportOptions {
        self.label_numbers = spelling;
        self
    }

    /// Whether an OpenMetrics input may hold several documents, each ended by `# EOF`.
    pub fn concatenated(mut self, concatenated: bool) -> ImportOptions {
        self.concatenated = concatenated;
        self
    }

    /// How much the import itself may hold in memory, in bytes: known series and samples not handed on
    /// yet (64 MiB by default). Lines, and what the target needs, come on top.
    pub fn memory_bytes(mut self, bytes: usize) -> ImportOptions {
        self.memory_bytes = bytes;
        self
    }

    /// How many times its packed size an input may unpack to (2,000 by default; 64 MiB it always may).
    pub fn max_unpack_ratio(mut self, ratio: u64) -> ImportOptions {
        self.max_unpack_ratio = ratio;
        self
    }
}

/// One input.
///
/// ```
/// use silverback::import::Input;
/// let input = Input::new("page", &b"up 1 1600000000000\n"[..]).modified_ms(1_600_000_000_000);
/// ```
pub struct Input<'r> {
    pub(crate) name: String,
    pub(crate) reader: Reader<'r>,
    pub(crate) modified_ms: Option<i64>,
}

/// Where an input is read.
pub(crate) enum Reader<'r> {
    /// By the caller.
    Here(Box<dyn Read + 'r>),
    /// By any thread.
    Anywhere(Box<dyn Read + Send>),
}

impl<'r> Input<'r> {
    /// An input under a name that messages use (a path, `-`).
    pub fn new(name: impl Into<String>, reader: impl Read + 'r) -> Input<'r> {
        Input { name: name.into(), reader: Reader::Here(Box::new(reader)), modified_ms: None }
    }

    /// As [`new`](Input::new), for a reader that may go to another thread: what is packed is unpacked beside the caller, by the
    /// sink's [`workers`](SampleSink::workers).
    ///
    /// ```
    /// use silverback::import::Input;
    /// let input = Input::sent("dump.om.gz", std::io::Cursor::new(vec![0x1f, 0x8b]));
    /// ```
    pub fn sent(name: impl Into<String>, reader: impl Read + Send + 'static) -> Input<'r> {
        Input { name: name.into(), reader: Reader::Anywhere(Box::new(reader)), modified_ms: None }
    }

    /// When it was last modified, for [`MissingTimestamp::Modified`].
    pub fn modified_ms(mut self, modified_ms: i64) -> Input<'r> {
        self.modified_ms = Some(modified_ms);
        self
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where samples go: a bulk loader, or whatever else takes columns.
///
/// ```
/// use silverback::import::{ImportOptions, Input, SampleSink, import};
/// use silverback::{Cancel, Labels, Metadata, Result};
///
/// /// Adds all values up.
/// #[derive(Default)]
/// struct Sum(f64);
///
/// impl SampleSink for Sum {
///     type Series = ();
///     fn series(&mut self, _: &Labels) -> Result<()> {
///         Ok(())
///     }
///     fn extend(&mut self, _: (), _: &[i64], v: &[f64]) -> Result<()> {
///         self.0 += v.iter().sum::<f64>();
///         Ok(())
///     }
///     fn metadata(&mut self, _: &str, _: &Metadata) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// let mut sum = Sum::default();
/// let page = Input::new("page", &b"a 1 1000\nb 2 1000\n"[..]);
/// import(&ImportOptions::default(), [Ok(page)], &mut sum, &Cancel::default(), |_| {})?;
/// assert_eq!(sum.0, 3.0);
/// # Ok::<(), silverback::Error>(())
/// ```
pub trait SampleSink {
    /// What names a series of this sink.
    type Series: Copy + Eq + std::hash::Hash;

    /// Whether [`series`](SampleSink::series) can take these labels and keep the names that it gave before. If not, the importer
    /// hands on all samples first, and asks for every series anew.
    fn has_room(&self, _labels: &Labels) -> bool {
        true
    }

    /// Threads that read lines beside the caller; by default none, and the caller reads them.
    fn workers(&self) -> Workers {
        Workers::default()
    }

    /// The series with these labels: the same for equal labels, as long as there is room.
    ///
    /// # Errors
    /// The sink's own: they end the import.
    fn series(&mut self, labels: &Labels) -> Result<Self::Series>;

    /// Adds samples to a series: columns of equal length, in the order of the input, which need not be that of time.
    ///
    /// # Errors
    /// The sink's own: they end the import.
    fn extend(&mut self, series: Self::Series, t: &[i64], v: &[f64]) -> Result<()>;

    /// What is known of a metric family; what was given before is replaced.
    ///
    /// # Errors
    /// The sink's own: they end the import.
    fn metadata(&mut self, family: &str, metadata: &crate::Metadata) -> Result<()>;
}

impl SampleSink for crate::BulkLoader {
    type Series = crate::BulkRef;

    fn has_room(&self, labels: &Labels) -> bool {
        crate::BulkLoader::has_room(self, labels)
    }

    fn workers(&self) -> Workers {
        crate::BulkLoader::workers(self)
    }

    fn series(&mut self, labels: &Labels) -> Result<crate::BulkRef> {
        crate::BulkLoader::series(self, labels)
    }

    fn extend(&mut self, series: crate::BulkRef, t: &[i64], v: &[f64]) -> Result<()> {
        crate::BulkLoader::extend(self, series, t, v)
    }

    fn metadata(&mut self, family: &str, metadata: &crate::Metadata) -> Result<()> {
        self.set_metadata(family, metadata)
    }
}

/// One line that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// The name of its input.
    pub input: String,
    /// Where and why.
    pub fault: Fault,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.input, self.fault)
    }
}

/// What an import did.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::import::*;
/// # use silverback::{Cancel, Db, Options};
/// # let db = Db::open(dir.path(), Options::default())?;
/// # let mut bulk = db.bulk_loader()?;
/// # let cancel = Cancel::default();
/// let options = ImportOptions::default().on_error(OnError::Skip);
/// let inputs = [Ok(Input::new("page", &b"up 1 1000\nup one 2000\n"[..]))];
/// let summary = import(&options, inputs, &mut bulk, &cancel, |_| {})?;
/// assert_eq!((summary.samples, summary.rejected), (1, 1));
/// assert_eq!(summary.first_rejected[0].to_string(), "page:2:4: the value is no number");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ImportSummary {
    /// Samples handed to the sink.
    pub samples: u64,
    /// The earliest time among them.
    pub min_time_ms: Option<i64>,
    /// The latest time among them.
    pub max_time_ms: Option<i64>,
    /// Bytes read of the inputs as they came, packed or not.
    pub bytes_in: u64,
    /// Bytes of text, unpacked.
    pub text_bytes: u64,
    /// Lines left out.
    pub rejected: u64,
    /// The first 100 of them.
    pub first_rejected: Vec<Rejected>,
    /// Scrapes, of [`Format::Scrapes`].
    pub scrapes: u64,
    /// Those of them that failed.
    pub failed_scrapes: u64,
    /// Staleness markers made for series that vanished from page to page; they count as samples too.
    pub stale_markers: u64,
    /// Exemplars, which are read and checked, but not stored yet.
    pub exemplars_skipped: u64,
}

/// How far an import is.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # use silverback::import::*;
/// # use silverback::{Cancel, Db, Options};
/// # let db = Db::open(dir.path(), Options::default())?;
/// # let mut bulk = db.bulk_loader()?;
/// # let cancel = Cancel::default();
/// let inputs = [Ok(Input::new("page", &b"up 1 1000\n"[..]))];
/// let mut read = 0;
/// import(&ImportOptions::default(), inputs, &mut bulk, &cancel, |progress| read = progress.bytes_in)?;
/// assert_eq!(read, 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes read of the inputs as they came.
    pub bytes_in: u64,
    /// Samples read.
    pub samples: u64,
}
