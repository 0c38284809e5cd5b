//! `dump`: samples, one a line, byte for byte as `promtool tsdb dump` prints them.
//!
//! Streams: memory for one series' labels and one batch of samples. A value that repeats is formatted once.

use std::fmt::Write as _;
use std::io::Write as _;

use silverback::import::go;
use silverback::{Columns, Series};

use crate::args::Dump;
use crate::failure::Failure;
use crate::notation::{write_bits, write_labels};
use crate::output::{Context, stdout};
use crate::union::{Union, selectors, time_range};

/// Samples that are decoded at once.
const BATCH: usize = 8_192;

/// Runs `dump`.
pub(crate) fn run(args: &Dump, context: &Context) -> Result<u8, Failure> {
    let range = time_range(&args.range)?;
    let opened = context.read(&args.db.dir)?;
    let querier = opened.db.querier(range)?.cancel(context.interrupt.cancel());
    let mut union = Union::open(&querier, &selectors(&args.selectors))?;
    let mut out = stdout();
    let mut lines = Lines::new(args.bits);
    while let Some(series) = union.next()? {
        lines.write(&series, &mut out)?;
    }
    out.flush()?;
    Ok(opened.code())
}

/// Makes lines, in buffers that are kept.
struct Lines {
    bits: bool,
    labels: String,
    value: String,
    value_bits: Option<u64>,
    text: String,
    columns: Columns,
}

impl Lines {
    fn new(bits: bool) -> Lines {
        let (labels, value, text) = (String::new(), String::new(), String::new());
        Lines { bits, labels, value, value_bits: None, text, columns: Columns::default() }
    }

    fn write(&mut self, series: &Series, out: &mut impl std::io::Write) -> Result<(), Failure> {
        self.labels.clear();
        // Writing to a string cannot fail.
        let _infallible = write_labels(&mut self.labels, series.labels());
        let mut samples = series.samples();
        loop {
            self.columns.clear();
            if samples.read_into(&mut self.columns, BATCH)? == 0 {
                return Ok(());
            }
            self.text.clear();
            for i in 0..self.columns.len() {
                self.line(i);
            }
            out.write_all(self.text.as_bytes())?;
        }
    }

    fn line(&mut self, i: usize) {
        let (Some(&t), Some(&v)) = (self.columns.t.get(i), self.columns.v.get(i)) else { return };
        if self.value_bits != Some(v.to_bits()) {
            self.value.clear();
            let _infallible = match self.bits {
                true => write_bits(&mut self.value, v),
                false => go::write_float(&mut self.value, v),
            };
            self.value_bits = Some(v.to_bits());
        }
        self.text.push_str(&self.labels);
        self.text.push(' ');
        self.text.push_str(&self.value);
        let _infallible = writeln!(self.text, " {t}");
    }
}
