//! Where chunks of columns are cut: at the borders of windows of time, so that series with the same timestamps
//! are cut alike, whenever they began.
//!
//! ```text
//!   step 15 s      │····· 4 h, 960 rows ·····│····· 4 h, 960 rows ·····│
//!   a series       ├─────────────────────────┼─────────────────────────┤
//!   one that came late           ├───────────┼─────────────────────────┤     its second chunk shares the other's timestamps
//! ```
//!
//! A window is a quarter of an hour times a power of two: the longest that holds at most [`MAX_ROWS`] rows at the average step
//! of the rows to come. Usual steps (1, 5, 10, 15, 30, 60 seconds) give 720 to 960 rows, and are not near the point where
//! the next window begins, so that jitter does not change it.

/// The most rows of a chunk.
pub(crate) const MAX_ROWS: usize = 1_024;
/// A chunk with fewer rows is merged with its neighbours in the same window.
pub(crate) const SMALL_ROWS: usize = 480;
/// The window from which others are doubled or halved.
const QUARTER_HOUR_MS: i64 = 900_000;

/// How many of these timestamps, which ascend, make the next chunk.
pub(crate) fn rows(t: &[i64]) -> usize {
    let Some(&first) = t.first() else { return 0 };
    let end = end_of_window(first, window_ms(t));
    t.partition_point(|t| *t < end).clamp(1, MAX_ROWS)
}

/// Whether a chunk that begins at `next` is in the window where the last of these timestamps are.
pub(crate) fn goes_on(t: &[i64], next: i64) -> bool {
    t.last().is_some_and(|&last| next < end_of_window(last, window_ms(t)))
}

/// The window for the first of these timestamps.
fn window_ms(t: &[i64]) -> i64 {
    let probe = t.get(..MAX_ROWS.min(t.len())).unwrap_or_default();
    let (Some(&first), Some(&last)) = (probe.first(), probe.last()) else { return QUARTER_HOUR_MS };
    let steps = (probe.len() as i128 - 1).max(1);
    let longest = (i128::from(last) - i128::from(first)) * MAX_ROWS as i128 / steps;
    let mut window = QUARTER_HOUR_MS;
    while i128::from(window) > longest && window > 1 {
        window /= 2;
    }
    while i128::from(window) * 2 <= longest && window < i64::MAX / 4 {
        window *= 2;
    }
    window
}

fn end_of_window(t: i64, window_ms: i64) -> i64 {
    t.div_euclid(window_ms).saturating_add(1).saturating_mul(window_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(from: i64, to: i64, step: i64) -> Vec<i64> {
        (from..to).step_by(usize::try_from(step).unwrap()).collect()
    }

    #[test]
    fn usual_steps_fill_their_windows() {
        for (seconds, expected) in
            [(1, 900), (2, 900), (5, 720), (10, 720), (15, 960), (20, 720), (30, 960), (60, 960)]
        {
            let t = line(0, 5_000_000 * seconds, 1_000 * seconds);
            assert_eq!(rows(&t), expected, "{seconds} s");
            // Jitter, and an end that is near, change nothing.
            let jitter: Vec<i64> = t.iter().map(|t| t + t / 1_000 * 7 % 11).collect();
            assert_eq!(rows(&jitter), expected);
            assert_eq!(rows(&t[..expected - 10]), expected - 10);
        }
    }

    #[test]
    fn who_comes_late_is_cut_where_the_others_are() {
        let t = line(0, 100_000_000, 15_000);
        let late = &t[300..];
        assert_eq!(rows(late), 660);
        assert_eq!(rows(&late[660..]), 960);
        assert!(
            goes_on(&t[300..310], t[310]) && goes_on(&t[300..310], t[959]) && !goes_on(&t[300..310], t[960])
        );
    }

    #[test]
    fn whatever_the_times_are_rows_are_cut() {
        let ends = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 2, i64::MAX - 1];
        for from in 0..ends.len() {
            for to in from + 1..=ends.len() {
                let t = &ends[from..to];
                assert!((1..=t.len()).contains(&rows(t)), "{t:?}");
                goes_on(t, i64::MAX - 1);
            }
        }
        assert_eq!(rows(&[]), 0);
        assert_eq!(rows(&[5]), 1);
        assert_eq!(rows(&line(0, 5_000, 1)), 878 /* 900,000 ms, halved ten times */);
    }
}
