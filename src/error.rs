//! Every way in which the store can fail, in three types.
//!
//! ```text
//!   Error         opaque; kind(), path(), offset(), applied(): what callers of the store see
//!     └ DecodeError   Copy, path-free {structure, offset, reason}: what pure byte code says
//!   AppendError   Copy: the verdict on one sample or one label set
//! ```
//!
//! Byte code (`format/`) knows no paths; whoever read the bytes adds path and base offset by
//! [`Error::corrupt`]. Messages are one sentence: what, where, and what to do.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of everything that the store does.
///
/// ```
/// fn count(db: &silverback::Db) -> silverback::Result<usize> {
///     Ok(db.querier(silverback::TimeRange::ALL)?.select(&silverback::Selector::all())?.count())
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the store: opaque, cheap to pass on (one pointer), `Send + Sync`.
///
/// Branch on [`kind`](Error::kind); show it with `Display`, which is one sentence that names the
/// file and offset where there is one.
///
/// ```
/// # use silverback::{Selector, ErrorKind};
/// let error = "{job=~\"(\"}".parse::<Selector>().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidSelector);
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    path: Option<PathBuf>,
    offset: Option<u64>,
    applied: Applied,
    source: Option<Source>,
}

enum Source {
    Io(io::Error),
    Decode(DecodeError),
}

/// What kind of failure an [`Error`] is.
///
/// ```
/// use silverback::{Db, ErrorKind, Options};
/// let error = Db::open_read_only("no/such/place", Options::default()).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotADatabase);
/// assert_eq!(error.path().unwrap().to_str(), Some("no/such/place"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused; [`std::error::Error::source`] has its error.
    Io,
    /// The disk is full. The operation was not applied; free space and try again.
    NoSpace,
    /// Bytes on disk are not what was written; `path()` and `offset()` say where.
    Corrupt,
    /// The directory holds no silverback database.
    NotADatabase,
    /// The files were written by a newer version of the format.
    NewerFormat,
    /// Another process, or another handle of this one, has the database open for writing.
    Locked,
    /// The directory is on a network filesystem, where locks and syncs cannot be trusted.
    NetworkFilesystem,
    /// A write was asked of a handle that was opened read-only.
    ReadOnly,
    /// The handle was closed.
    Closed,
    /// An earlier sync failed; the handle takes no more writes until the database is reopened.
    Poisoned,
    /// A selector or a regular expression is malformed or too large.
    InvalidSelector,
    /// An option has a value that makes no sense.
    InvalidOptions,
    /// An argument has a value that makes no sense (an empty range, mismatched columns).
    InvalidArgument,
    /// A configured ceiling (series, memory, samples, sizes) was reached.
    Ceiling,
    /// A sample or a label set was refused.
    Append(AppendError),
    /// Input to an import is not valid exposition text.
    InvalidInput,
    /// The operation was cancelled through its `Cancel`.
    Cancelled,
    /// The target exists already.
    Exists,
}

/// What a failed commit left behind.
///
/// ```
/// use silverback::{Applied, Error};
/// fn try_again(error: &Error) -> bool {
///     error.applied() == Applied::No // otherwise: open the database again and look
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Applied {
    /// Nothing of it: the commit may be tried again.
    No,
    /// Unknown until the database is reopened: it may or may not survive.
    Unknown,
}

impl Error {
    /// The kind of failure, to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file or directory concerned, if one is.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The offset in bytes within [`path`](Error::path) at which damage was found, if it was.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// What a failed [`commit`](crate::Appender::commit) left behind; [`Applied::No`] for all other failures.
    pub fn applied(&self) -> Applied {
        self.0.applied
    }

    /// A failure with a sentence of its own.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
        let message = message.into();
        Error(Box::new(Inner { kind, message, path: None, offset: None, applied: Applied::No, source: None }))
    }

    /// The operating system refused `action` (a verb phrase: "create the directory") on `path`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Error {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            _ => ErrorKind::Io,
        };
        let mut e = Error::new(kind, Cow::Owned(format!("cannot {action}")));
        e.0.path = Some(path.into());
        e.0.source = Some(Source::Io(error));
        e
    }

    /// A whole file could not be read: by the system's word, or because its kind is never as large (`InvalidData`), which is
    /// damage.
    pub(crate) fn unread(action: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Error {
        let is_damage = error.kind() == io::ErrorKind::InvalidData;
        let mut e = Error::io(action, path, error);
        if is_damage {
            e.0.kind = ErrorKind::Corrupt;
            e.0.offset = Some(0);
        }
        e
    }

    /// Bytes of `path`, read from offset `base`, did not decode.
    pub(crate) fn corrupt(path: impl Into<PathBuf>, base: u64, error: DecodeError) -> Error {
        let kind = match error.reason {
            DecodeReason::NewerVersion { .. } | DecodeReason::Unsupported(_) => ErrorKind::NewerFormat,
            _ => ErrorKind::Corrupt,
        };
        let mut e = Error::new(kind, "damaged");
        e.0.path = Some(path.into());
        e.0.offset = Some(base.saturating_add(error.offset));
        e.0.source = Some(Source::Decode(error));
        e
    }

    /// Adds (or replaces) the file concerned.
    pub(crate) fn at(mut self, path: impl Into<PathBuf>) -> Error {
        self.0.path = Some(path.into());
        self
    }

    /// Adds the offset at which damage was found.
    pub(crate) fn at_offset(mut self, offset: u64) -> Error {
        self.0.offset = Some(offset);
        self
    }

    /// Says what a failed commit left behind.
    pub(crate) fn with_applied(mut self, applied: Applied) -> Error {
        self.0.applied = applied;
        self
    }

    /// Whether nothing was applied and the caller can make it pass: by making room, or by asking for less.
    pub(crate) fn can_be_mended(&self) -> bool {
        matches!(self.0.kind, ErrorKind::NoSpace | ErrorKind::Ceiling) && self.0.applied == Applied::No
    }

    /// A copy for a second listener (group commit, reports): the same words, the same kind.
    pub(crate) fn duplicate(&self) -> Error {
        let source = match &self.0.source {
            Some(Source::Io(e)) => Some(Source::Io(duplicate_io(e))),
            Some(Source::Decode(e)) => Some(Source::Decode(*e)),
            None => None,
        };
        Error(Box::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            path: self.0.path.clone(),
            offset: self.0.offset,
            applied: self.0.applied,
            source,
        }))
    }
}

fn duplicate_io(e: &io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(e.kind(), e.to_string()),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(path) = &inner.path {
            write!(f, "{}: ", path.display())?;
        }
        match &inner.source {
            Some(Source::Decode(e)) => {
                let offset = inner.offset.unwrap_or(e.offset);
                write!(f, "{} at offset {offset}: {}", e.structure, e.reason)
            }
            Some(Source::Io(e)) => write!(f, "{}: {e}", inner.message),
            None => f.write_str(&inner.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.source {
            Some(Source::Io(e)) => Some(e),
            Some(Source::Decode(e)) => Some(e),
            None => None,
        }
    }
}

impl From<AppendError> for Error {
    fn from(e: AppendError) -> Error {
        Error::new(ErrorKind::Append(e), Cow::Owned(e.to_string()))
    }
}

/// The verdict on one sample, or on one label set, that was not taken.
///
/// ```
/// use silverback::{AppendError, Labels};
/// let twice = Labels::from_pairs([("job", "a"), ("job", "b")]);
/// assert_eq!(twice, Err(AppendError::BadLabels));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AppendError {
    /// Older than the out-of-order window of its series allows.
    TooOld,
    /// Further in the future than `max_future` allows.
    TooFarInFuture,
    /// The series already has another value at this timestamp.
    Conflict,
    /// The reference is of a series that is gone, or of another handle.
    StaleRef,
    /// `i64::MAX` is reserved.
    BadTimestamp,
    /// The label set is malformed: no name, a repeated name, or a size above its maximum.
    BadLabels,
    /// A ceiling (active series, head memory, batch size) was reached.
    Ceiling,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AppendError::TooOld => "the sample is older than the out-of-order window allows",
            AppendError::TooFarInFuture => "the sample is further in the future than max_future allows",
            AppendError::Conflict => "the series already has another value at this timestamp",
            AppendError::StaleRef => "the series reference is stale or of another handle",
            AppendError::BadTimestamp => "the timestamp i64::MAX is reserved",
            AppendError::BadLabels => "the label set is malformed: empty, a repeated name, or too large",
            AppendError::Ceiling => "a ceiling on series, memory or batch size was reached",
        })
    }
}

impl std::error::Error for AppendError {}

/// Why bytes did not decode: which structure, where in the bytes given, and the reason.
///
/// It is `Copy` and knows no path: an [`Error`] adds the file and makes the offset absolute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DecodeError {
    /// The on-disk structure, by the name of its page in `format-spec/`.
    pub structure: &'static str,
    /// Offset in bytes from the start of what was decoded.
    pub offset: u64,
    /// What is wrong there.
    pub reason: DecodeReason,
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The bytes end too early.
    Truncated,
    /// Bytes follow the end.
    TrailingBytes,
    /// The checksum stored is not that of the bytes.
    Checksum {
        /// The checksum that is stored.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// The magic number is another.
    BadMagic,
    /// Written by a newer version of this format than this build reads.
    NewerVersion {
        /// The version found.
        found: u32,
        /// The newest version that this build reads.
        known: u32,
    },
    /// A length or count above its maximum.
    AboveMaximum {
        /// What was found.
        found: u64,
        /// The largest that is valid.
        maximum: u64,
    },
    /// A value that cannot be, in words.
    Invalid(&'static str),
    /// Something that only newer versions read, by name.
    Unsupported(&'static str),
}

impl DecodeError {
    /// An error of `structure` at `offset`.
    pub(crate) const fn new(structure: &'static str, offset: u64, reason: DecodeReason) -> DecodeError {
        DecodeError { structure, offset, reason }
    }
}

impl fmt::Display for DecodeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeReason::Truncated => f.write_str("the bytes end too early"),
            DecodeReason::TrailingBytes => f.write_str("bytes follow the end"),
            DecodeReason::Checksum { stored, computed } => {
                write!(f, "the checksum is {computed:08x}, but {stored:08x} is stored")
            }
            DecodeReason::BadMagic => f.write_str("the magic number is not that of this kind of file"),
            DecodeReason::NewerVersion { found, known } => {
                write!(
                    f,
                    "format version {found} is newer than {known}, the newest that this build reads; upgrade silverback"
                )
            }
            DecodeReason::AboveMaximum { found, maximum } => {
                write!(f, "{found} is above the maximum of {maximum}")
            }
            DecodeReason::Invalid(what) => f.write_str(what),
            DecodeReason::Unsupported(what) => {
                write!(f, "{what} is not readable by this version; upgrade silverback")
            }
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: {}", self.structure, self.offset, self.reason)
    }
}

impl std::error::Error for DecodeError {}
