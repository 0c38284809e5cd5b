//! Why a command failed: one sentence for stderr, and the exit code.

use std::fmt::Display;
use std::io;
use std::path::Path;

use silverback::{Error, ErrorKind};

/// The data is wrong: invalid exposition, damage.
pub(crate) const DATA: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// I/O failed, or the store refused.
pub(crate) const REFUSED: u8 = 3;
/// Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command ends early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    message: Option<String>,
}

impl Failure {
    /// The command line makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure { code: USAGE, message: Some(message.into()) }
    }

    /// The data is wrong.
    pub(crate) fn wrong(message: impl Into<String>) -> Failure {
        Failure { code: DATA, message: Some(message.into()) }
    }

    /// Ctrl-C was heard.
    pub(crate) fn interrupted() -> Failure {
        Failure { code: INTERRUPTED, message: Some("interrupted".to_owned()) }
    }

    /// What was asked for is refused.
    pub(crate) fn refused(message: impl Into<String>) -> Failure {
        Failure { code: REFUSED, message: Some(message.into()) }
    }

    /// The system refused `action` ("read the file") on `path`.
    pub(crate) fn io(action: &str, path: &Path, error: impl Display) -> Failure {
        Failure::refused(format!("{}: cannot {action}: {error}", path.display()))
    }

    /// Writing to stdout failed: a closed pipe is no failure, and ends the command in silence.
    pub(crate) fn output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure { code: 0, message: None },
            _ => Failure::refused(format!("cannot write to stdout: {error}")),
        }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// The sentence, unless silence is asked for.
    pub(crate) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Adds what the failure means for the command, to a failure that is told.
    pub(crate) fn but(mut self, consequence: &str) -> Failure {
        if let Some(message) = &mut self.message {
            message.push_str(consequence);
        }
        self
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        let code = match e.kind() {
            ErrorKind::Cancelled => {
                return Failure::interrupted();
            }
            ErrorKind::Corrupt | ErrorKind::InvalidInput => DATA,
            ErrorKind::Io if !is_from_system(&e) => DATA,
            ErrorKind::InvalidSelector | ErrorKind::InvalidOptions | ErrorKind::InvalidArgument => USAGE,
            _ => REFUSED,
        };
        Failure { code, message: Some(e.to_string()) }
    }
}

/// Whether the operating system said so: what unpacks an input, and finds it damaged, says so in an I/O error too.
fn is_from_system(e: &Error) -> bool {
    let source = std::error::Error::source(e).and_then(|s| s.downcast_ref::<io::Error>());
    source.is_none_or(|e| e.raw_os_error().is_some())
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        Failure::output(&e)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(e: serde_json::Error) -> Failure {
        Failure::output(&e.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_silence() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.code(), failure.message()), (0, None));
        let failure = Failure::from(io::Error::from(io::ErrorKind::StorageFull)).but("; so there");
        assert_eq!(failure.code(), REFUSED);
        assert!(failure.message().unwrap().ends_with("; so there"));
    }

    #[test]
    fn kinds_of_errors_have_codes() {
        let selector = "up{".parse::<silverback::Selector>().unwrap_err();
        assert_eq!(Failure::from(selector).code(), USAGE);
        let cancelled = serde_json::Error::io(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(Failure::from(cancelled).code(), 0);
    }
}
