//! The series of several selectors, each once, in series order.
//!
//! Every selector streams its series in order; the least of the heads is next, and all heads that equal it move on.

use silverback::{Querier, Selector, Series, SeriesSet, TimeRange};

use crate::args::Range;
use crate::failure::Failure;
use crate::time::now_ms;

/// The range of `--min-time` and `--max-time`, both included.
pub(crate) fn time_range(range: &Range) -> Result<TimeRange, Failure> {
    inclusive(range.min_time, range.max_time, ["--min-time", "--max-time"])
}

/// The range between two times, both included; what is missing is open. `names` are for the message.
pub(crate) fn inclusive(
    first: Option<crate::time::Time>,
    last: Option<crate::time::Time>,
    names: [&str; 2],
) -> Result<TimeRange, Failure> {
    let now = now_ms();
    let first = first.map_or(i64::MIN, |t| t.resolve(now));
    let last = last.map_or(i64::MAX - 1, |t| t.resolve(now));
    match first <= last {
        true => Ok(TimeRange::inclusive(first, last)),
        false => Err(Failure::usage(format!(
            "{} {first} is after {} {last}: no time is between them",
            names[0], names[1]
        ))),
    }
}

/// The selectors of `--match`, or the one of all series.
pub(crate) fn selectors(given: &[Selector]) -> Vec<Selector> {
    match given {
        [] => vec![Selector::all()],
        given => given.to_vec(),
    }
}

/// The series of several selectors, each once, in series order.
pub(crate) struct Union {
    streams: Vec<Stream>,
}

struct Stream {
    set: SeriesSet,
    head: Option<Series>,
}

impl Union {
    /// Of what `querier` selects.
    pub(crate) fn open(querier: &Querier, selectors: &[Selector]) -> Result<Union, Failure> {
        let mut streams = Vec::new();
        for selector in selectors {
            let mut set = querier.select(selector)?;
            let head = set.next().transpose()?;
            streams.push(Stream { set, head });
        }
        Ok(Union { streams })
    }

    /// The next series.
    pub(crate) fn next(&mut self) -> Result<Option<Series>, Failure> {
        let heads = self.streams.iter().filter_map(|s| s.head.as_ref());
        let Some(least) = heads.min_by(|a, b| a.labels().cmp(b.labels())).cloned() else { return Ok(None) };
        for stream in &mut self.streams {
            if stream.head.as_ref().is_some_and(|head| head.labels() == least.labels()) {
                stream.head = stream.set.next().transpose()?;
            }
        }
        Ok(Some(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    #[test]
    fn ranges_include_both_ends() {
        let range = inclusive(Some(Time::At(5)), Some(Time::At(5)), ["a", "b"]).unwrap();
        assert!(range.contains(5) && !range.contains(4) && !range.contains(6));
        assert_eq!(inclusive(None, None, ["a", "b"]).unwrap(), TimeRange::ALL);
        let wrong = inclusive(Some(Time::At(6)), Some(Time::At(5)), ["--start", "--end"]).unwrap_err();
        assert_eq!(wrong.code(), crate::failure::USAGE);
    }
}
