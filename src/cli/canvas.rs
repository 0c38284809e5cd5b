//! A grid of dots, eight to a character: braille, or marks where colours cannot tell series apart.
//!
//! ```text
//!   one character      1 4        bits of U+2800:  01 08
//!                      2 5                         02 10
//!                      3 6                         04 20
//!                      7 8                         40 80
//! ```

/// Colours of the series, as SGR codes; the first is readable on dark and light.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
/// Marks of the series where there are no colours.
const MARKS: [char; 6] = ['●', '+', 'x', '○', '*', '#'];
/// What bit a dot is, by row and column.
const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// How series are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Braille, one series or several in one colour.
    Plain,
    /// Braille in colours.
    Colour,
    /// A mark for each series.
    Marks,
}

/// How many series can be told apart.
pub(crate) const MAX_SERIES: usize = COLOURS.len();

/// A grid of dots. What is drawn last is on top.
#[derive(Debug)]
pub(crate) struct Canvas {
    columns: usize,
    rows: usize,
    style: Style,
    /// The dots of each character, and the series that last drew there.
    cells: Vec<(u8, usize)>,
}

impl Canvas {
    /// An empty grid of so many characters.
    pub(crate) fn new(columns: usize, rows: usize, style: Style) -> Canvas {
        Canvas { columns, rows, style, cells: vec![(0, 0); columns * rows] }
    }

    /// Dots across.
    pub(crate) fn dots_across(&self) -> usize {
        self.columns * 2
    }

    /// Dots from the top to the bottom.
    pub(crate) fn dots_down(&self) -> usize {
        self.rows * 4
    }

    /// Sets one dot, counted from the left and the top. Outside the grid, nothing.
    pub(crate) fn set(&mut self, x: usize, y: usize, series: usize) {
        if x >= self.dots_across() {
            return;
        }
        let bit = BITS.get(y % 4).and_then(|row| row.get(x % 2)).copied().unwrap_or(0);
        if let Some((dots, owner)) = self.cells.get_mut((y / 4) * self.columns + x / 2) {
            *dots |= bit;
            *owner = series;
        }
    }

    /// Sets the dots of a line between two points, both included.
    pub(crate) fn line(&mut self, from: (usize, usize), to: (usize, usize), series: usize) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1));
        for i in 0..=steps {
            let between = |a: usize, b: usize| match steps {
                0 => a,
                // Rounded: a and b are small.
                steps => (a * (steps - i) + b * i + steps / 2) / steps,
            };
            self.set(between(from.0, to.0), between(from.1, to.1), series);
        }
    }

    /// One row of characters, without the blanks at its end.
    pub(crate) fn row(&self, row: usize) -> String {
        let start = row * self.columns;
        let cells = self.cells.get(start..start + self.columns).unwrap_or_default();
        let used = cells.iter().rposition(|(dots, _)| *dots != 0).map_or(0, |last| last + 1);
        let mut text = String::new();
        let mut colour = None;
        for &(dots, series) in cells.get(..used).unwrap_or_default() {
            if self.style == Style::Colour && dots != 0 && colour != Some(series) {
                text.push_str(&format!("\u{1b}[{}m", colour_of(series)));
                colour = Some(series);
            }
            text.push(match (dots, self.style) {
                (0, _) => ' ',
                (_, Style::Marks) => mark_of(series),
                (dots, _) => char::from_u32(0x2800 + u32::from(dots)).unwrap_or('.'),
            });
        }
        if colour.is_some() {
            text.push_str("\u{1b}[0m");
        }
        text
    }

    /// How a series looks, for the legend.
    pub(crate) fn sample(&self, series: usize) -> String {
        match self.style {
            Style::Plain => "⠶⠶".to_owned(),
            Style::Colour => format!("\u{1b}[{}m⠶⠶\u{1b}[0m", colour_of(series)),
            Style::Marks => mark_of(series).to_string(),
        }
    }
}

fn colour_of(series: usize) -> u8 {
    COLOURS.get(series % COLOURS.len()).copied().unwrap_or(0)
}

fn mark_of(series: usize) -> char {
    MARKS.get(series % MARKS.len()).copied().unwrap_or('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_where_they_belong() {
        let mut canvas = Canvas::new(2, 2, Style::Plain);
        canvas.set(0, 0, 0);
        canvas.set(3, 7, 0);
        canvas.set(4, 0, 0);
        canvas.set(0, 8, 0);
        assert_eq!(canvas.row(0), "⠁");
        assert_eq!(canvas.row(1), " ⢀");
    }

    #[test]
    fn lines_reach_both_ends_in_any_direction() {
        for (from, to) in [((0, 0), (5, 3)), ((5, 3), (0, 0)), ((0, 7), (1, 0)), ((2, 2), (2, 2))] {
            let mut canvas = Canvas::new(4, 2, Style::Marks);
            canvas.line(from, to, 1);
            for (x, y) in [from, to] {
                assert_eq!(canvas.row(y / 4).chars().nth(x / 2), Some('+'), "{from:?} {to:?}");
            }
        }
    }

    #[test]
    fn colours_change_only_where_the_series_does() {
        let mut canvas = Canvas::new(3, 1, Style::Colour);
        canvas.set(0, 0, 0);
        canvas.set(2, 0, 0);
        canvas.set(4, 0, 1);
        assert_eq!(canvas.row(0), "\u{1b}[36m⠁⠁\u{1b}[33m⠁\u{1b}[0m");
        assert_eq!(canvas.sample(1), "\u{1b}[33m⠶⠶\u{1b}[0m");
    }
}
