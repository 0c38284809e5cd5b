//! Series as a picture: values over time, in characters.
//!
//! ```text
//!    10.6 ┤⠤⢄                        one column of dots holds the least and greatest value of its span of
//!         │  ⠑⠢⡀                     time; columns are joined, unless a value between them is no number
//!    8.42 ┤     ⠉⠒⠤
//!         └────────────────────────
//!         2026-01-31T12:00:00Z … 12:10:00
//! ```
//!
//! Memory: one column of the picture for each series, however many samples there are.

use silverback::Series;

use crate::canvas::{Canvas, MAX_SERIES, Style};
use crate::failure::Failure;
use crate::table::{Steps, each_sample};
use crate::time::{rfc3339, time_of_day};

/// Rows of characters of the picture.
const ROWS: usize = 12;
/// The narrowest picture.
const MIN_COLUMNS: usize = 10;

/// What is to be shown, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// Characters across, labels of the axis included.
    pub(crate) width: usize,
    /// The first and last time.
    pub(crate) times_ms: (i64, i64),
    /// The least and greatest finite value.
    pub(crate) values: (f64, f64),
    /// Whether there may be colours.
    pub(crate) colour: bool,
}

/// How many series a picture can hold.
pub(crate) const MOST: usize = MAX_SERIES;

/// The dots of one column.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Column {
    first: f64,
    last: f64,
    min: f64,
    max: f64,
    /// Whether it is joined to the column before.
    joined: bool,
}

/// One series, reduced to columns of the picture.
#[derive(Debug)]
pub(crate) struct Trace {
    name: String,
    columns: Vec<Option<Column>>,
    broken: bool,
}

impl Frame {
    fn style(self, series: usize) -> Style {
        match (series, self.colour) {
            (0..=1, false) => Style::Plain,
            (_, true) => Style::Colour,
            (_, false) => Style::Marks,
        }
    }

    fn labels(self) -> [String; 3] {
        let (min, max) = self.values;
        [max, min / 2.0 + max / 2.0, min].map(number)
    }

    fn label_width(self) -> usize {
        self.labels().iter().map(|l| l.chars().count()).max().unwrap_or(0)
    }

    /// Characters of the picture itself.
    fn columns(self) -> usize {
        self.width.saturating_sub(self.label_width() + 2).max(MIN_COLUMNS)
    }

    /// The column of dots that a time falls into.
    fn column_of(self, t: i64) -> usize {
        let across = self.columns() * 2;
        let (start, end) = (i128::from(self.times_ms.0), i128::from(self.times_ms.1));
        let span = (end - start).max(1);
        let at = (i128::from(t) - start).clamp(0, span) * (across as i128 - 1);
        usize::try_from((at + span / 2) / span).unwrap_or(0)
    }

    /// The row of dots of a value, from the top.
    fn row_of(self, v: f64) -> usize {
        let (min, max) = self.values;
        let last = ROWS * 4 - 1;
        // Halves: the difference of two finite values may be infinite.
        let height = max / 2.0 - min / 2.0;
        if height <= 0.0 {
            return last / 2;
        }
        let part = ((max / 2.0 - v / 2.0) / height).clamp(0.0, 1.0);
        // Searched rather than cast: there are few rows, and the lints are content.
        (0..last).find(|&row| part * small(last) < small(row) + 0.5).unwrap_or(last)
    }
}

fn small(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::from(u32::MAX), f64::from)
}

impl Trace {
    /// Reads a series into columns.
    pub(crate) fn read(series: &Series, steps: Option<Steps>, frame: Frame) -> Result<Trace, Failure> {
        let mut trace = Trace::new(crate::notation::short(series.labels()), frame);
        each_sample(series, steps, |t, v| {
            trace.add(frame.column_of(t), v);
            Ok(())
        })?;
        Ok(trace)
    }

    fn new(name: String, frame: Frame) -> Trace {
        Trace { name, columns: vec![None; frame.columns() * 2], broken: true }
    }

    /// Adds the next value; one that is no finite number breaks the line.
    fn add(&mut self, column: usize, v: f64) {
        if !v.is_finite() {
            self.broken = true;
            return;
        }
        let Some(slot) = self.columns.get_mut(column) else { return };
        let fresh = Column { first: v, last: v, min: v, max: v, joined: !self.broken };
        *slot = Some(match *slot {
            None => fresh,
            Some(old) => Column { last: v, min: old.min.min(v), max: old.max.max(v), ..old },
        });
        self.broken = false;
    }

    fn draw(&self, canvas: &mut Canvas, frame: Frame, series: usize) {
        let mut before: Option<(usize, usize)> = None;
        for (x, column) in self.columns.iter().enumerate() {
            let Some(column) = column else { continue };
            if let (true, Some(before)) = (column.joined, before) {
                canvas.line(before, (x, frame.row_of(column.first)), series);
            }
            canvas.line((x, frame.row_of(column.max)), (x, frame.row_of(column.min)), series);
            before = Some((x, frame.row_of(column.last)));
        }
    }
}

/// The picture of some series.
pub(crate) fn picture(traces: &[Trace], frame: Frame) -> String {
    let mut canvas = Canvas::new(frame.columns(), ROWS, frame.style(traces.len()));
    // The first drawn last: on top.
    for (i, trace) in traces.iter().enumerate().rev() {
        trace.draw(&mut canvas, frame, i);
    }
    let [top, middle, bottom] = frame.labels();
    let label_width = frame.label_width();
    let mut text = String::new();
    for row in 0..canvas.dots_down() / 4 {
        let label = match row {
            0 => top.as_str(),
            row if row == (ROWS - 1) / 2 => middle.as_str(),
            row if row + 1 == ROWS => bottom.as_str(),
            _ => "",
        };
        let tick = if label.is_empty() { '│' } else { '┤' };
        text.push_str(&format!("{label:>label_width$} {tick}{}\n", canvas.row(row)));
    }
    let margin = " ".repeat(label_width + 1);
    text.push_str(&format!("{margin}└{}\n", "─".repeat(frame.columns())));
    text.push_str(&format!("{margin} {}\n", time_axis(frame)));
    for (i, trace) in traces.iter().enumerate() {
        text.push_str(&format!("{margin} {} {}\n", canvas.sample(i), trace.name));
    }
    text
}

/// The first time in full, the last as short as it can be, at the two ends.
fn time_axis(frame: Frame) -> String {
    let (first, last) = frame.times_ms;
    let left = rfc3339(first);
    let same_day = rfc3339(last).split_once('T').map(|(day, _)| left.starts_with(day)).unwrap_or(false);
    let right = if same_day { time_of_day(last) } else { rfc3339(last) };
    let used = left.chars().count() + right.chars().count();
    match frame.columns().checked_sub(used).filter(|&gap| gap > 0 && first != last) {
        Some(gap) => format!("{left}{}{right}", " ".repeat(gap)),
        None if first == last => left,
        None => format!("{left} {right}"),
    }
}

/// A value in few characters: four digits that matter.
fn number(v: f64) -> String {
    if v == 0.0 {
        return "0".to_owned();
    }
    let size = v.abs();
    let text = match size {
        1e-3..1.0 => format!("{v:.4}"),
        1.0..10.0 => format!("{v:.3}"),
        10.0..100.0 => format!("{v:.2}"),
        100.0..1e3 => format!("{v:.1}"),
        1e3..1e6 => format!("{v:.0}"),
        _ => return format!("{v:.3e}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(values: (f64, f64)) -> Frame {
        Frame { width: 60, times_ms: (0, 600_000), values, colour: false }
    }

    fn trace(frame: Frame, values: impl IntoIterator<Item = (i64, f64)>) -> Trace {
        let mut trace = Trace::new("x".to_owned(), frame);
        for (t, v) in values {
            trace.add(frame.column_of(t), v);
        }
        trace
    }

    #[test]
    fn a_rising_line_goes_from_the_bottom_left_to_the_top_right() {
        let frame = frame((0.0, 600.0));
        let line = trace(frame, (0..=600).map(|s| (s * 1_000, s as f64)));
        let text = picture(&[line], frame);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), ROWS + 3);
        assert!(rows[0].starts_with("600 ┤") && rows[ROWS - 1].starts_with("  0 ┤"), "{text}");
        assert!(rows[5].starts_with("300 ┤"), "{text}");
        let last_of = |row: &str| row.chars().count();
        assert!(rows[..ROWS].windows(2).all(|w| last_of(w[0]) > last_of(w[1])), "{text}");
        assert_eq!(last_of(rows[0]), 60);
        assert!(
            rows[ROWS + 1].contains("1970-01-01T00:00:00Z") && rows[ROWS + 1].ends_with("00:10:00"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_number_breaks_the_line() {
        let frame = frame((0.0, 1.0));
        let whole = trace(frame, [(0, 0.0), (600_000, 1.0)]);
        let broken = trace(frame, [(0, 0.0), (300_000, f64::NAN), (600_000, 1.0)]);
        let dots =
            |t: &Trace| picture(std::slice::from_ref(t), frame).chars().filter(|&c| c > '\u{2800}').count();
        assert!(dots(&whole) > 40);
        assert_eq!(dots(&broken), 2 + 2, "two ends, and the legend's two");
    }

    #[test]
    fn extreme_and_constant_values_stay_inside() {
        for values in [(-f64::MAX, f64::MAX), (5.0, 5.0), (0.0, 5e-324), (-1e300, -1e-300)] {
            let frame = frame(values);
            let text = picture(&[trace(frame, [(0, values.0), (600_000, values.1)])], frame);
            assert_eq!(text.lines().count(), ROWS + 3, "{values:?}");
        }
        assert_eq!(frame((5.0, 5.0)).row_of(5.0), 23);
        assert_eq!(frame((-f64::MAX, f64::MAX)).row_of(0.0), 24, "half a row is rounded down the picture");
    }

    #[test]
    fn times_at_the_ends_of_what_there_is() {
        let mut frame = frame((0.0, 1.0));
        frame.times_ms = (i64::MIN, i64::MAX - 1);
        assert_eq!(frame.column_of(i64::MIN), 0);
        assert_eq!(frame.column_of(i64::MAX - 1), frame.columns() * 2 - 1);
        frame.times_ms = (7, 7);
        assert_eq!(frame.column_of(7), 0);
    }

    #[test]
    fn several_series_have_marks_or_colours() {
        let mut frame = frame((0.0, 1.0));
        let two =
            |frame| [trace(frame, [(0, 0.0), (600_000, 0.0)]), trace(frame, [(0, 1.0), (600_000, 1.0)])];
        let text = picture(&two(frame), frame);
        assert!(text.contains('●') && text.contains('+') && !text.contains('\u{1b}'), "{text}");
        frame.colour = true;
        let text = picture(&two(frame), frame);
        assert!(text.contains("\u{1b}[36m") && text.contains("\u{1b}[33m"), "{text}");
    }

    #[test]
    fn numbers_are_short() {
        for (v, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1.0, "1"),
            (12.345_678, "12.35"),
            (999.95, "1000"),
            (123_456.7, "123457"),
            (1e-5, "1.000e-5"),
            (2.5e10, "2.500e10"),
            (-3.5, "-3.5"),
        ] {
            assert_eq!(number(v), text);
        }
    }
}
