//! What is to be read: files, directories with all that is in them, stdin.
//!
//! All inputs are looked at before the first is read, so that a wrong name is told before anything is done.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use silverback::import::Input;

use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// The deepest nesting of directories.
const MAX_DEPTH: usize = 64;

/// One input, not opened yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// stdin.
    Stdin,
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// Its size, if it is a regular file.
        bytes: Option<u64>,
        /// When it was last modified, in milliseconds since 1970.
        modified_ms: i64,
    },
}

/// The inputs that the arguments name, in their order; directories become their files, sorted by path.
pub(crate) fn places(arguments: &[PathBuf]) -> Result<Vec<Place>, Failure> {
    if arguments.is_empty() {
        return match io::stdin().is_terminal() {
            false => Ok(vec![Place::Stdin]),
            true => Err(Failure::usage(
                "nothing to read: name a FILE or a directory, pipe something into stdin, or write `-` to type it",
            )),
        };
    }
    let mut all = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            if all.contains(&Place::Stdin) {
                return Err(Failure::usage("`-` is stdin, which can be read once only: give it once"));
            }
            all.push(Place::Stdin);
            continue;
        }
        let metadata = fs::metadata(argument).map_err(|e| Failure::io("read it", argument, e))?;
        if metadata.is_dir() {
            let before = all.len();
            walk(argument, 0, &mut all)?;
            if all.len() == before {
                return Err(Failure::refused(format!(
                    "{}: there is no file in the directory",
                    argument.display()
                )));
            }
        } else {
            all.push(file(argument.clone(), &metadata)?);
        }
    }
    Ok(all)
}

/// Adds the files of a directory. Hidden ones are left out; links to files are followed, links to directories not.
fn walk(dir: &Path, depth: usize, all: &mut Vec<Place>) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        return Err(Failure::refused(format!("{}: directories nest deeper than {MAX_DEPTH}", dir.display())));
    }
    let listed = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = listed.map_err(|e| Failure::io("list the directory", dir, e))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(|e| Failure::io("look at it", &path, e))?;
        if kind.is_dir() {
            walk(&path, depth + 1, all)?;
            continue;
        }
        let metadata = fs::metadata(&path).map_err(|e| Failure::io("read it", &path, e))?;
        if metadata.is_file() {
            all.push(file(path, &metadata)?);
        }
    }
    Ok(())
}

/// A file that can be opened, as far as that can be tried: a pipe would wait for its writer.
fn file(path: PathBuf, metadata: &fs::Metadata) -> Result<Place, Failure> {
    let modified = metadata.modified().map_err(|e| Failure::io("look at it", &path, e))?;
    let regular = metadata.is_file();
    if regular {
        File::open(&path).map_err(|e| Failure::io("open the file", &path, e))?;
    }
    Ok(Place::File { path, bytes: regular.then_some(metadata.len()), modified_ms: milliseconds(modified) })
}

/// The bytes of all inputs, or `None` if that cannot be known.
pub(crate) fn total_bytes(places: &[Place]) -> Option<u64> {
    places.iter().try_fold(0u64, |sum, place| match place {
        Place::File { bytes: Some(bytes), .. } => sum.checked_add(*bytes),
        _ => None,
    })
}

impl Place {
    /// The name that messages use.
    pub(crate) fn name(&self) -> String {
        match self {
            Place::Stdin => "-".to_owned(),
            Place::File { path, .. } => path.display().to_string(),
        }
    }

    /// The input, which is opened when it is first read.
    pub(crate) fn input(&self, interrupt: &Interrupt) -> Input<'static> {
        match self {
            Place::Stdin => {
                Input::sent(self.name(), interrupt.input(io::stdin())).modified_ms(crate::time::now_ms())
            }
            Place::File { path, modified_ms, .. } => {
                let file = OnDemand { path: path.clone(), file: None };
                Input::sent(self.name(), interrupt.input(file)).modified_ms(*modified_ms)
            }
        }
    }
}

/// A file that is opened when it is first read: however many inputs there are, one is open at a time.
struct OnDemand {
    path: PathBuf,
    file: Option<File>,
}

impl Read for OnDemand {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path)?,
        };
        self.file.insert(file).read(buf)
    }
}

fn milliseconds(time: SystemTime) -> i64 {
    let saturated = |d: std::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => saturated(after),
        Err(before) => saturated(before.duration()).saturating_neg(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_become_their_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("b")).unwrap();
        for name in ["c.om", "a.om", "b/z.om", ".hidden"] {
            fs::write(root.join(name), "xyz").unwrap();
        }
        let found = places(&[root.join("c.om"), root.to_path_buf()]).unwrap();
        let names: Vec<_> = found.iter().map(|p| p.name().rsplit('/').next().unwrap().to_owned()).collect();
        assert_eq!(names, ["c.om", "a.om", "z.om", "c.om"]);
        assert_eq!(total_bytes(&found), Some(12));
        assert_eq!(total_bytes(&[Place::Stdin]), None);
    }

    #[test]
    fn wrong_names_are_told_before_anything_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let missing = places(&[dir.path().join("nothing")]).unwrap_err();
        assert!(missing.message().unwrap().contains("nothing: cannot read it"));
        assert!(places(&[dir.path().to_path_buf()]).unwrap_err().message().unwrap().contains("no file"));
        assert_eq!(places(&["-".into(), "-".into()]).unwrap_err().code(), crate::failure::USAGE);
    }

    #[test]
    fn times_before_1970() {
        assert_eq!(milliseconds(UNIX_EPOCH), 0);
        assert_eq!(milliseconds(UNIX_EPOCH - std::time::Duration::from_millis(5)), -5);
    }
}
