//! `export`: samples in a format that other programs import.
//!
//! Streams: memory for the names of metrics, one series' labels and one batch of samples.

use std::fmt::Write as _;
use std::io::Write;

use silverback::import::go;
use silverback::{Columns, Labels, MatchOp, Matcher, Metadata, Querier, Selector, Series};

use crate::args::{Export, ExportFormatArg};
use crate::failure::Failure;
use crate::families::{Family, group};
use crate::notation::{is_plain, labels_json, short};
use crate::output::{Context, Opened, counted, stdout};
use crate::union::{Union, selectors, time_range};

/// Samples that are decoded at once, and that a line of JSON has at most.
const BATCH: usize = 8_192;
/// The NaN that text and `null` are read as.
const USUAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Runs `export`.
pub(crate) fn run(args: &Export, context: &Context) -> Result<u8, Failure> {
    let range = time_range(&args.range)?;
    let opened = context.read(&args.db.dir)?;
    let querier = opened.db.querier(range)?.cancel(context.interrupt.cancel());
    let selectors = selectors(&args.selectors);
    match args.format {
        ExportFormatArg::Jsonl => jsonl(&querier, &selectors)?,
        ExportFormatArg::Openmetrics => {
            let odd = openmetrics(&opened, &querier, &selectors)?;
            if odd > 0 {
                let values = counted(odd, "value");
                context.note(format_args!(
                    "{values} with the bits of another NaN (staleness markers, say) became plain NaN: --format jsonl keeps them"
                ));
            }
        }
    }
    Ok(opened.code())
}

/// Writes the lines of all series.
fn jsonl(querier: &Querier, selectors: &[Selector]) -> Result<(), Failure> {
    let mut union = Union::open(querier, selectors)?;
    let mut out = stdout();
    let (mut columns, mut line) = (Columns::default(), String::new());
    while let Some(series) = union.next()? {
        let metric = labels_json(series.labels()).to_string();
        let mut samples = series.samples();
        loop {
            columns.clear();
            if samples.read_into(&mut columns, BATCH)? == 0 {
                break;
            }
            line.clear();
            // Writing to a string cannot fail.
            let _infallible = write_line(&mut line, &metric, &columns);
            out.write_all(line.as_bytes())?;
        }
    }
    Ok(out.flush()?)
}

fn write_line(out: &mut String, metric: &str, columns: &Columns) -> std::fmt::Result {
    write!(out, "{{\"metric\":{metric},\"values\":[")?;
    for (i, &v) in columns.v.iter().enumerate() {
        out.push_str(if i > 0 { "," } else { "" });
        match v {
            v if v.is_finite() => go::write_float(out, v)?,
            f64::INFINITY => out.push_str("\"Infinity\""),
            f64::NEG_INFINITY => out.push_str("\"-Infinity\""),
            v if v.to_bits() == USUAL_NAN_BITS => out.push_str("null"),
            v => write!(out, "\"nan:{:016x}\"", v.to_bits())?,
        }
    }
    out.push_str("],\"timestamps\":[");
    for (i, t) in columns.t.iter().enumerate() {
        write!(out, "{}{t}", if i > 0 { "," } else { "" })?;
    }
    out.push_str("]}\n");
    Ok(())
}

/// Writes all families; how many NaNs lost their bits.
fn openmetrics(opened: &Opened, querier: &Querier, selectors: &[Selector]) -> Result<u64, Failure> {
    let mut out = stdout();
    let mut page = Page::default();
    for family in families(opened, querier, selectors)? {
        page.begin(&family);
        for name in &family.names {
            let mut union = Union::open(querier, &with_name(selectors, name)?)?;
            while let Some(series) = union.next()? {
                page.series(&series, &mut out)?;
            }
        }
    }
    out.write_all(b"# EOF\n")?;
    out.flush()?;
    Ok(page.odd)
}

/// The families of what is selected. Refuses what OpenMetrics cannot say before anything is written.
fn families(opened: &Opened, querier: &Querier, selectors: &[Selector]) -> Result<Vec<Family>, Failure> {
    let refused = |labels: &Labels, why: &str| {
        let what = short(labels);
        Failure::refused(format!(
            "{what}: {why}, which OpenMetrics cannot say; export it with --format jsonl"
        ))
    };
    if let Some(series) = Union::open(querier, &with_name(selectors, "")?)?.next()? {
        return Err(refused(series.labels(), "the series has no metric name"));
    }
    let mut names = std::collections::BTreeSet::new();
    for selector in selectors {
        for label in querier.label_names(selector)? {
            if label.contains('\0') {
                return Err(Failure::refused(format!(
                    "{label:?}: the name of a label has a NUL, which OpenMetrics cannot say; export with --format jsonl"
                )));
            }
        }
        names.extend(querier.label_values("__name__", selector)?);
    }
    if let Some(name) = names.iter().find(|name| name.contains('\0')) {
        let labels = Labels::from_pairs([("__name__", name)]).map_err(silverback::Error::from)?;
        return Err(refused(&labels, "the metric name has a NUL"));
    }
    Ok(group(names.into_iter().collect(), opened.db.families()?))
}

/// The selectors, each with a metric name besides.
fn with_name(selectors: &[Selector], name: &str) -> Result<Vec<Selector>, Failure> {
    let narrowed = selectors.iter().map(|selector| {
        let name = Matcher::new(MatchOp::Equal, "__name__", name)?;
        Selector::from_matchers(selector.matchers().iter().cloned().chain([name]))
    });
    Ok(narrowed.collect::<silverback::Result<Vec<Selector>>>()?)
}

/// Makes OpenMetrics, in buffers that are kept.
#[derive(Default)]
struct Page {
    /// What stands before the first sample of the family, until it is written.
    head: String,
    labels: String,
    text: String,
    columns: Columns,
    odd: u64,
}

impl Page {
    fn begin(&mut self, family: &Family) {
        self.head.clear();
        if let Some(metadata) = &family.metadata {
            // Writing to a string cannot fail.
            let _infallible = write_head(&mut self.head, &family.name, metadata);
        }
    }

    fn series(&mut self, series: &Series, out: &mut impl Write) -> Result<(), Failure> {
        self.labels.clear();
        let _infallible = write_series(&mut self.labels, series.labels());
        let mut samples = series.samples();
        loop {
            self.columns.clear();
            if samples.read_into(&mut self.columns, BATCH)? == 0 {
                return Ok(());
            }
            self.text.clear();
            self.text.push_str(&self.head);
            self.head.clear();
            for (&t, &v) in self.columns.t.iter().zip(&self.columns.v) {
                if t == i64::MIN {
                    return Err(Failure::refused(format!(
                        "{}: there is a sample at {t} ms, a time that OpenMetrics cannot say; export it with --format jsonl",
                        short(series.labels())
                    )));
                }
                self.odd += u64::from(v.is_nan() && v.to_bits() != USUAL_NAN_BITS);
                let _infallible = write_sample(&mut self.text, &self.labels, t, v);
            }
            out.write_all(self.text.as_bytes())?;
        }
    }
}

fn write_head(out: &mut String, name: &str, metadata: &Metadata) -> std::fmt::Result {
    let quoted = match is_plain(name, true) {
        true => name.to_owned(),
        false => format!("\"{}\"", escaped(name)),
    };
    writeln!(out, "# TYPE {quoted} {}", metadata.metric_type)?;
    let unit = &metadata.unit;
    // A unit that does not end the name is none there.
    if !unit.is_empty() && name.strip_suffix(unit.as_str()).is_some_and(|stem| stem.ends_with('_')) {
        writeln!(out, "# UNIT {quoted} {unit}")?;
    }
    match metadata.help.is_empty() {
        true => Ok(()),
        false => writeln!(out, "# HELP {quoted} {}", escaped(&metadata.help)),
    }
}

fn write_series(out: &mut String, labels: &Labels) -> std::fmt::Result {
    let name = labels.name();
    let plain = is_plain(name, true);
    let mut before = "{";
    match plain {
        true => out.push_str(name),
        false => {
            write!(out, "{{\"{}\"", escaped(name))?;
            before = ",";
        }
    }
    for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
        match is_plain(name, false) {
            true => write!(out, "{before}{name}=\"{}\"", escaped(value))?,
            false => write!(out, "{before}\"{}\"=\"{}\"", escaped(name), escaped(value))?,
        }
        before = ",";
    }
    out.push_str(if before == "," { "}" } else { "" });
    Ok(())
}

fn write_sample(out: &mut String, series: &str, t: i64, v: f64) -> std::fmt::Result {
    out.push_str(series);
    out.push(' ');
    go::write_float(out, v)?;
    let ms = t.unsigned_abs();
    writeln!(out, " {}{}.{:03}", if t < 0 { "-" } else { "" }, ms / 1_000, ms % 1_000)
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use silverback::{MetricType, STALE};

    #[test]
    fn series_and_samples_of_openmetrics() {
        let series = |pairs: &[(&str, &str)]| {
            let mut out = String::new();
            write_series(&mut out, &Labels::from_pairs(pairs.iter().copied()).unwrap()).unwrap();
            out
        };
        assert_eq!(series(&[("__name__", "a:b")]), "a:b");
        assert_eq!(series(&[("__name__", "a"), ("B", "x\"\\\n"), ("c", "y")]), r#"a{B="x\"\\\n",c="y"}"#);
        assert_eq!(series(&[("__name__", "a b"), ("c.d", "y")]), r#"{"a b","c.d"="y"}"#);
        assert_eq!(series(&[("__name__", "a b")]), r#"{"a b"}"#);
        for (t, v, expected) in [
            (0, -0.0, "a -0 0.000\n"),
            (1_600_000_000_123, 1e6, "a 1e+06 1600000000.123\n"),
            (-1, f64::NEG_INFINITY, "a -Inf -0.001\n"),
            (-1_500, STALE, "a NaN -1.500\n"),
        ] {
            let mut out = String::new();
            write_sample(&mut out, "a", t, v).unwrap();
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn heads_of_families() {
        let metadata =
            Metadata { metric_type: MetricType::Gauge, unit: "s".into(), help: "a \"b\"\n\\".into() };
        let head = |name: &str| {
            let mut out = String::new();
            write_head(&mut out, name, &metadata).unwrap();
            out
        };
        assert_eq!(head("x_s"), "# TYPE x_s gauge\n# UNIT x_s s\n# HELP x_s a \\\"b\\\"\\n\\\\\n");
        assert!(!head("xs").contains("UNIT"));
        assert!(head("x y").starts_with("# TYPE \"x y\" gauge\n"));
    }

    #[test]
    fn values_in_json() {
        let v = [1.5, -0.0, 1e300, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(USUAL_NAN_BITS), STALE];
        let mut out = String::new();
        let columns = Columns { t: (0..7).collect(), v: v.to_vec() };
        write_line(&mut out, r#"{"a":"b"}"#, &columns).unwrap();
        assert_eq!(
            out,
            "{\"metric\":{\"a\":\"b\"},\"values\":[1.5,-0,1e+300,\"Infinity\",\"-Infinity\",null,\
             \"nan:7ff0000000000002\"],\"timestamps\":[0,1,2,3,4,5,6]}\n"
        );
    }
}
