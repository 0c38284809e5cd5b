//! Scrapes: one target's exposition, page after page, into an appender.
//!
//! ```text
//!   page ─▶ Parser ─▶ rows (series, t, v)        all of the page is read and found valid first
//!             └ lines known from the page before: no hash, no allocation
//!   rows ─▶ Appender::append_ref                 or append, for new series and refs that went stale
//!   on the page before, but not on this one ─▶ the staleness marker at the page's time
//!   metadata that is news ─▶ Appender::set_metadata
//! ```
//!
//! A page is in the appender whole or not at all: what cannot be read is found before the first row is
//! appended, and what the appender refuses half-way is taken back.
//!
//! Semantics are Prometheus's where it scrapes: a sample with a timestamp of its own keeps it, and gets no
//! marker when it is gone; numbers in `le` and `quantile` are spelled as OpenMetrics does; a label of the page that
//! has the name of one of the target's is renamed `exported_…`. Series like `up` are the caller's.
//!
//! Cost: a known page costs parsing and one comparison of bytes for each line. Memory: twice the lines of a page, so
//! that a target whose series come and go does not grow.

mod known;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::import::grammar::Grammar;
use crate::import::parser::{Event, Fault, ParseError, Parser, SampleEvent};
use crate::import::{Format, LabelBuffer, detect};
use crate::{AppendError, Appender, Error, ErrorKind, Labels, Result, STALE, SeriesRef};

use known::{Catalog, Families, Known};

const METRIC_NAME: &str = "__name__";
const BAD_LABELS: &str = "a label name is empty or stands twice, or the labels are too large";

/// Stores the pages of one scrape target: a service's own `/metrics`, or another's.
///
/// Each call of [`append`](Scrape::append) puts one page (Prometheus text 0.0.4 or OpenMetrics) into an
/// [`Appender`], to be committed by the caller. Between pages it remembers which line is which series, so that a page
/// like the one before costs little more than parsing its numbers; and it writes the staleness marker ([`STALE`]) for
/// each series that was on the page before and is gone. Owned and `Send`; one for each target.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use silverback::{Db, Labels, Options, Scrape};
///
/// let db = Db::open(dir.path(), Options::default())?;
/// let mut app = db.appender()?;
/// let mut scrape = Scrape::new(Labels::from_pairs([("job", "shop"), ("instance", "a:80")])?);
///
/// let samples = scrape.append(&mut app, b"orders_total{state=\"paid\"} 7\nqueue_length 3\n", 15_000)?;
/// assert_eq!(samples, 2);
/// scrape.append(&mut app, b"orders_total{state=\"paid\"} 9\n", 30_000)?; // queue_length is gone: a marker
/// assert_eq!(app.commit()?.appended(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Scrape {
    extra: Option<Labels>,
    format: Format,
    catalog: Catalog,
    families: Families,
    buffer: LabelBuffer,
    rows: Vec<Row>,
    /// Series of the last good page that vanish if the next page lacks them.
    present: Vec<usize>,
    now: Vec<usize>,
    /// Calls so far: the mark of what is on the page.
    page: u64,
    /// The last page that was appended.
    good: u64,
}

/// A sample of the page.
#[derive(Clone, Copy)]
struct Row {
    line: usize,
    t: i64,
    v: f64,
    own_time: bool,
}

impl Scrape {
    /// For a target whose series get the labels `extra` besides their own: `job`, `instance`. A label of the page that has
    /// the name of one of them is renamed, `job` to `exported_job`. The metric name of `extra` is not used.
    ///
    /// For no labels besides their own: `Scrape::default()`.
    pub fn new(extra: Labels) -> Scrape {
        Scrape { extra: Some(extra), ..Scrape::default() }
    }

    /// The format of the pages, as the target's `Content-Type` says. By default a page that ends with `# EOF` is
    /// OpenMetrics, and any other is text: then a page of OpenMetrics that was cut off goes unnoticed.
    #[must_use]
    pub fn format(mut self, format: Format) -> Scrape {
        self.format = format;
        self
    }

    /// Puts a page that was scraped at `t` (milliseconds) into `app`, with a staleness marker for each series that
    /// vanished since the page before; returns the number of samples on the page. The caller commits.
    ///
    /// A sample with a timestamp of its own keeps it. Whether `t` is in order, and whether values conflict, is judged by
    /// [`commit`](Appender::commit). If that fails and the batch is given up, markers of that page are lost with it.
    ///
    /// Cost: for a page like the one before no allocation for any line, and no hash; a new series is parsed and
    /// hashed once. Never waits for the disk.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with line and column for a page that is not valid;
    /// [`ErrorKind::Append`] with a ceiling of the store. Nothing of the page is in `app` then, and the page
    /// before is still what the next is compared with.
    pub fn append(&mut self, app: &mut Appender, page: &[u8], t: i64) -> Result<usize> {
        self.page += 1;
        let outcome = self.read(page, t).and_then(|()| self.write_whole(app, t));
        // Pages that are refused leave something behind, too.
        self.catalog.prune(self.good, &mut self.present);
        self.families.prune(self.page);
        outcome.map(|()| self.rows.len())
    }

    /// Puts the staleness marker at `t` (milliseconds) into `app` for every series of the page before: the target is gone,
    /// or could not be scraped. Returns how many there were.
    ///
    /// # Errors
    /// [`ErrorKind::Append`] with a ceiling of the store: nothing was put into `app`.
    pub fn end(&mut self, app: &mut Appender, t: i64) -> Result<usize> {
        self.page += 1;
        self.rows.clear();
        let gone = self.present.len();
        self.write_whole(app, t)?;
        Ok(gone)
    }

    /// Reads a page into rows.
    fn read(&mut self, page: &[u8], t: i64) -> Result<()> {
        self.rows.clear();
        self.catalog.rewind();
        let format = match self.format {
            Format::Auto => detect("", page, true),
            format => format,
        };
        let grammar = if format == Format::OpenMetrics { Grammar::OpenMetrics } else { Grammar::Text };
        let mut parser = Parser::new(page, grammar, false);
        loop {
            match parser.next() {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Sample(sample))) => self.sample(&sample, t)?,
                Ok(Some(Event::Type(family, metric_type))) => {
                    self.families.metric_type(&family, metric_type, self.page);
                }
                Ok(Some(Event::Help(family, help))) => self.families.help(&family, &help, self.page),
                Ok(Some(Event::Unit(family, unit))) => self.families.unit(&family, unit, self.page),
                Ok(Some(_)) => {}
                Err(ParseError::Invalid(fault)) => return Err(invalid(&fault)),
                Err(ParseError::Io(e)) => return Err(Error::io("read the page", "", e)),
            }
        }
    }

    fn sample(&mut self, sample: &SampleEvent<'_>, t: i64) -> Result<()> {
        let own_time = sample.timestamp_ms();
        let spelling = if own_time.is_none() { sample.number_label() } else { None };
        let line = match self.catalog.find(spelling, sample.series()) {
            Some(line) => line,
            None => {
                let labels = self.labels(sample)?;
                self.catalog.insert(spelling, sample.series(), labels)
            }
        };
        let t = own_time.unwrap_or(t);
        self.rows.push(Row { line, t, v: sample.value(), own_time: own_time.is_some() });
        Ok(())
    }

    /// The labels of a sample and the target's.
    fn labels(&mut self, sample: &SampleEvent<'_>) -> Result<Labels> {
        sample.labels(&mut self.buffer);
        let extra: Vec<(&str, &str)> =
            self.extra.iter().flat_map(Labels::iter).filter(|(name, _)| *name != METRIC_NAME).collect();
        let mut pairs: Vec<(String, &str)> =
            self.buffer.iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for (taken, _) in &extra {
            if let Some(at) = pairs.iter().position(|(name, value)| name == taken && !value.is_empty()) {
                let renamed = free_name(taken, &pairs, &extra);
                if let Some(pair) = pairs.get_mut(at) {
                    pair.0 = renamed;
                }
            }
        }
        pairs.retain(|(name, value)| !value.is_empty() || !extra.iter().any(|(taken, _)| taken == name));
        pairs.extend(extra.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Labels::from_pairs(pairs)
            .map_err(|_| invalid(&Fault { line: sample.line(), column: 1, why: BAD_LABELS }))
    }

    /// Appends rows, markers and metadata; all or nothing.
    fn write_whole(&mut self, app: &mut Appender, t: i64) -> Result<()> {
        let before = app.pending();
        self.now.clear();
        let written = self.write(app, t).map_err(Error::from);
        let told = written
            .and_then(|()| self.families.tell(|family, metadata| app.set_metadata(family, metadata.clone())));
        if let Err(e) = told {
            app.rollback_to(before);
            return Err(e);
        }
        std::mem::swap(&mut self.present, &mut self.now);
        self.good = self.page;
        Ok(())
    }

    fn write(&mut self, app: &mut Appender, t: i64) -> Result<(), AppendError> {
        let mut stale = false;
        for row in &self.rows {
            let Some((number, known)) = self.catalog.mark(row.line, self.page) else { continue };
            if !row.own_time && known.mark != self.page {
                self.now.push(number);
            }
            // A series that was away may have no rows left, and be collected before the commit: labels hold it.
            let held = known.mark == self.good || known.mark == self.page;
            stale |= put(app, known, held, row.t, row.v)?;
            known.mark = self.page;
        }
        for &number in &self.present {
            let Some(known) = self.catalog.series(number) else { continue };
            if known.mark != self.page {
                stale |= put(app, known, true, t, STALE)?;
            }
        }
        if stale {
            // Another handle, or a batch that was given up: it may not know the families either.
            self.families.tell_again();
        }
        Ok(())
    }
}

/// Appends by reference if the series is `held` by rows, else by labels. Whether the reference had gone stale.
fn put(app: &mut Appender, known: &mut Known, held: bool, t: i64, v: f64) -> Result<bool, AppendError> {
    let outcome = known.series.filter(|_| held).map(|series: SeriesRef| app.append_ref(series, t, v));
    match outcome {
        None | Some(Err(AppendError::StaleRef)) => {
            known.series = Some(app.append(&known.labels, t, v)?);
            Ok(outcome.is_some())
        }
        Some(outcome) => outcome.map(|()| false),
    }
}

/// `exported_…`, as often as it takes.
fn free_name(taken: &str, pairs: &[(String, &str)], extra: &[(&str, &str)]) -> String {
    let mut name = format!("exported_{taken}");
    while pairs.iter().any(|(n, _)| *n == name) || extra.iter().any(|(n, _)| *n == name) {
        name.insert_str(0, "exported_");
    }
    name
}

fn invalid(fault: &Fault) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("the page is not valid: {fault}"))
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape")
            .field("extra", &self.extra)
            .field("format", &self.format)
            .field("present", &self.present.len())
            .finish_non_exhaustive()
    }
}
