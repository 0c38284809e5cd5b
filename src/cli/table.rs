//! Tables for people.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use silverback::{Columns, Series};

use crate::failure::Failure;
use crate::notation::{short, value_text};
use crate::output::count;
use crate::time::rfc3339;

/// Samples that are decoded at once.
const BATCH: usize = 8_192;

/// What a table says of one series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    /// The series, in its short form.
    pub(crate) name: String,
    /// How many samples.
    pub(crate) samples: u64,
    /// Times of the first and last sample.
    pub(crate) times_ms: (i64, i64),
    /// Their values.
    pub(crate) ends: (f64, f64),
    /// The least and greatest value that is a number.
    pub(crate) extremes: Option<(f64, f64)>,
    /// The least and greatest finite value.
    pub(crate) finite: Option<(f64, f64)>,
}

impl Summary {
    /// Reads a series once; `None` if it has no sample. `steps` keeps the last sample of each step.
    pub(crate) fn read(series: &Series, steps: Option<Steps>) -> Result<Option<Summary>, Failure> {
        let mut summary: Option<Summary> = None;
        each_sample(series, steps, |t, v| {
            let summary = summary.get_or_insert_with(|| Summary {
                name: short(series.labels()),
                samples: 0,
                times_ms: (t, t),
                ends: (v, v),
                extremes: None,
                finite: None,
            });
            summary.samples += 1;
            summary.times_ms.1 = t;
            summary.ends.1 = v;
            for (bounds, counts) in
                [(&mut summary.extremes, !v.is_nan()), (&mut summary.finite, v.is_finite())]
            {
                if counts {
                    let (min, max) = bounds.unwrap_or((v, v));
                    *bounds = Some((min.min(v), max.max(v)));
                }
            }
            Ok(())
        })?;
        Ok(summary)
    }
}

/// Steps of equal length, from an origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    /// Where one begins.
    pub(crate) origin_ms: i64,
    /// How long they are: more than zero.
    pub(crate) length_ms: i64,
}

impl Steps {
    fn of(self, t: i64) -> i128 {
        (i128::from(t) - i128::from(self.origin_ms)).div_euclid(i128::from(self.length_ms.max(1)))
    }
}

/// Shows each sample of a series, in time order; with steps, the last of each.
pub(crate) fn each_sample(
    series: &Series,
    steps: Option<Steps>,
    mut show: impl FnMut(i64, f64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut samples = series.samples();
    let mut columns = Columns::default();
    let mut last: Option<(i64, f64)> = None;
    while samples.read_into(&mut columns, BATCH)? > 0 {
        for (&t, &v) in columns.t.iter().zip(&columns.v) {
            let Some(steps) = steps else {
                show(t, v)?;
                continue;
            };
            match last {
                Some((before, value)) if steps.of(before) != steps.of(t) => show(before, value)?,
                _ => {}
            }
            last = Some((t, v));
        }
        columns.clear();
    }
    match last {
        Some((t, v)) => show(t, v),
        None => Ok(()),
    }
}

/// A row for each series, in at most `width` columns of text, if there is room for the numbers.
pub(crate) fn of_series(rows: &[Summary], width: Option<usize>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.force_no_tty();
    table.set_header(["series", "samples", "first", "last", "min", "max"]);
    for row in rows {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let (min, max) = match row.extremes {
            Some((min, max)) => (value_text(min), value_text(max)),
            None => ("–".to_owned(), "–".to_owned()),
        };
        table.add_row([
            Cell::new(&row.name),
            right(count(row.samples)),
            right(value_text(row.ends.0)),
            right(value_text(row.ends.1)),
            right(min),
            right(max),
        ]);
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        // Numbers are not broken; names are.
        for column in table.column_iter_mut().skip(1) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let times = rows.iter().map(|r| r.times_ms).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let mut text = format!("{}\n", table.trim_fmt());
    if let Some((min, max)) = times {
        text.push_str(&format!("{} to {}\n", rfc3339(min), rfc3339(max)));
    }
    text
}

/// Rows below a header, without lines; the columns from `right_from` on, and the header above them, stand to the right.
pub(crate) fn grid<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    right_from: usize,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty();
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if i >= right_from {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// Names and what they have, in two columns.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, extremes: Option<(f64, f64)>) -> Summary {
        Summary {
            name: name.to_owned(),
            samples: 1_234,
            times_ms: (0, 60_000),
            ends: (1.0, 2e6),
            extremes,
            finite: extremes,
        }
    }

    #[test]
    fn a_row_for_each_series() {
        let text = of_series(&[row("up", Some((1.0, 2e6))), row("down", None)], Some(80));
        assert!(text.contains("up") && text.contains("1,234") && text.contains("2e+06"), "{text}");
        assert!(
            text.contains('–') && text.contains("1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "no colours");
    }

    #[test]
    fn long_names_fit_the_width() {
        let rows = [row(&"long ".repeat(100), None)];
        let text = of_series(&rows, Some(60));
        assert!(text.lines().all(|l| l.chars().count() <= 60), "{text}");
        assert!(of_series(&rows, None).contains(rows[0].name.trim_end()));
    }

    #[test]
    fn steps_are_counted_from_their_origin() {
        let steps = Steps { origin_ms: 5, length_ms: 10 };
        assert_eq!([4, 5, 14, 15].map(|t| steps.of(t)), [-1, 0, 0, 1]);
        let far = Steps { origin_ms: i64::MAX, length_ms: 1 };
        assert_eq!(far.of(i64::MIN), -(1i128 << 64) + 1);
    }

    #[test]
    fn a_grid_has_no_lines() {
        let rows = [["a".to_owned(), "1".to_owned()], ["long".to_owned(), "23".to_owned()]];
        assert_eq!(grid(["NAME", "N"], rows, 1), "NAME   N\na      1\nlong  23\n");
    }

    #[test]
    fn pairs_stand_in_columns() {
        assert_eq!(pairs(&[("a", "1".to_owned()), ("long", "2".to_owned())]), "a     1\nlong  2\n");
    }
}
