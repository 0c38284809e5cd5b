//! Where `bench write` has its label sets from: made up, or read from a file when a batch asks for them.
//!
//! A service that appends by reference need not keep the labels that it registered, and what is measured here is the
//! engine's memory: so a file is read once to find where each batch begins, and each batch again at its first
//! scrape. A packed file is kept unpacked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use silverback::Labels;

use super::data::Data;
use crate::failure::Failure;

/// The longest line of labels.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// The series that are committed together, as far as their labels go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// Each series' number, and the generation that it came with.
    pub(crate) series: Vec<(u32, u32)>,
    /// Where it begins in the file.
    offset: u64,
}

/// A file of label sets, an object on each line.
pub(crate) struct LabelFile {
    path: PathBuf,
    unpacked: Option<Vec<u8>>,
}

trait Input: BufRead + Seek {}
impl<T: BufRead + Seek> Input for T {}

/// The batches of made-up series.
pub(crate) fn made(series: u32, batch: u32) -> Vec<Batch> {
    let starts = (0..series).step_by(batch as usize);
    starts.map(|first| Batch::new(first, batch.min(series - first), 0)).collect()
}

impl Batch {
    fn new(first: u32, count: u32, offset: u64) -> Batch {
        Batch { series: (first..first + count).map(|number| (number, 0)).collect(), offset }
    }

    /// The labels of its series.
    pub(crate) fn labels(&self, data: &Data, file: Option<&LabelFile>) -> Result<Vec<Labels>, Failure> {
        match file {
            Some(file) => file.read(self),
            None => {
                let made = self.series.iter().map(|&(number, generation)| data.labels(number, generation));
                made.collect::<Result<_, _>>().map_err(|e| Failure::wrong(e.to_string()))
            }
        }
    }
}

impl LabelFile {
    /// Opens a file; a name that ends in `.zst` is one that is packed.
    pub(crate) fn open(path: &Path) -> Result<LabelFile, Failure> {
        let mut file = LabelFile { path: path.to_owned(), unpacked: None };
        if path.extension().is_some_and(|e| e == "zst") {
            let unpacked = File::open(path).and_then(zstd::decode_all);
            file.unpacked = Some(unpacked.map_err(|e| Failure::io("unpack it", path, e))?);
        }
        Ok(file)
    }

    /// The batches of its lines, at most so many series.
    pub(crate) fn batches(&self, batch: u32, most: u32) -> Result<Vec<Batch>, Failure> {
        let mut input = self.input(0)?;
        let (mut batches, mut total, mut offset) = (Vec::new(), 0, 0);
        loop {
            let (mut count, mut bytes) = (0, 0);
            while count < batch && total + count < most {
                match input.skip_until(b'\n').map_err(|e| self.failed(e))? {
                    0 => break,
                    line => bytes += line as u64,
                }
                count += 1;
            }
            if count == 0 {
                break;
            }
            batches.push(Batch::new(total, count, offset));
            (total, offset) = (total + count, offset + bytes);
        }
        match batches.is_empty() {
            false => Ok(batches),
            true => Err(Failure::wrong(format!("{}: there are no label sets", self.path.display()))),
        }
    }

    /// The label sets of a batch.
    fn read(&self, batch: &Batch) -> Result<Vec<Labels>, Failure> {
        let mut input = self.input(batch.offset)?;
        let (mut all, mut line) = (Vec::with_capacity(batch.series.len()), String::new());
        for (number, _) in &batch.series {
            line.clear();
            (&mut input).take(MAX_LINE_BYTES).read_line(&mut line).map_err(|e| self.failed(e))?;
            let labels = parse(&line);
            let wrong = |e| Failure::wrong(format!("{}:{}: {e}", self.path.display(), number + 1));
            all.push(labels.map_err(wrong)?);
        }
        Ok(all)
    }

    /// The lines from an offset on.
    fn input(&self, offset: u64) -> Result<Box<dyn Input + '_>, Failure> {
        let mut input: Box<dyn Input> = match &self.unpacked {
            Some(bytes) => Box::new(Cursor::new(bytes)),
            None => {
                let file = File::open(&self.path).map_err(|e| Failure::io("open the file", &self.path, e))?;
                Box::new(BufReader::with_capacity(1 << 16, file))
            }
        };
        input.seek(SeekFrom::Start(offset)).map_err(|e| self.failed(e))?;
        Ok(input)
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::io("read it", &self.path, error)
    }
}

/// The label set of a line.
fn parse(line: &str) -> Result<Labels, String> {
    if let Some(pairs) = plain(line) {
        return Labels::from_pairs(pairs).map_err(|e| e.to_string());
    }
    let set = serde_json::from_str::<BTreeMap<String, String>>(line).map_err(|e| e.to_string())?;
    Labels::from_pairs(set).map_err(|e| e.to_string())
}

/// The pairs of an object without escapes and blanks, as such files have; anything else is left to the parser.
fn plain(line: &str) -> Option<Vec<(&str, &str)>> {
    let inner = line.trim_ascii_end().strip_prefix("{\"")?.strip_suffix("\"}")?;
    if inner.bytes().any(|b| b == b'\\' || b < b' ') {
        return None;
    }
    let mut strings = inner.split('"');
    let mut pairs = Vec::with_capacity(8);
    loop {
        let (name, colon, value) = (strings.next()?, strings.next()?, strings.next()?);
        if colon != ":" {
            return None;
        }
        pairs.push((name, value));
        match strings.next() {
            None => return Some(pairs),
            Some(",") => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_and_the_parser_agree() {
        let set = |line: &str| parse(line).map(|labels| labels.to_string());
        let plain_line = r#"{"__name__":"up","job":"a:b,c"}"#;
        assert_eq!(plain(plain_line).unwrap(), [("__name__", "up"), ("job", "a:b,c")]);
        for line in [r#"{"job" : "a:b,c","__name__":"up"}"#, r#"{"__name__":"\u0075p","job":"a:b,c"}"#] {
            assert_eq!(plain(line), None);
            assert_eq!(set(line), set(plain_line));
        }
        for line in [r#"{"a":"b""#, r#"{"a"}"#, r#"{"a":"b",}"#, r#"{"a":"b" "c":"d"}"#, r#"{"a":1}"#, ""] {
            assert!(plain(line).is_none() && parse(line).is_err(), "{line}");
        }
    }
}
