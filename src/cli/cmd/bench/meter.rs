//! What a process took so far: time, CPU, memory; and the bytes of a directory.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output::{Context, bytes, count};

/// Runs from the start of the process's work.
#[derive(Debug)]
pub(crate) struct Meter {
    started: Instant,
}

/// What was taken since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// On the wall.
    pub(crate) wall: Duration,
    /// By all threads, ended ones too, user and system, since the process began.
    pub(crate) cpu: Duration,
    /// The largest resident set since the process began, where the system tells it.
    pub(crate) peak_rss_bytes: Option<u64>,
}

impl Meter {
    /// Starts now.
    pub(crate) fn start() -> Meter {
        Meter { started: Instant::now() }
    }

    /// What was taken until now.
    pub(crate) fn read(&self) -> Taken {
        Taken { wall: self.started.elapsed(), cpu: cpu(), peak_rss_bytes: peak_rss_bytes() }
    }
}

impl Taken {
    /// The figures that every benchmark has, for `samples` of them.
    pub(crate) fn figures(&self, samples: u64) -> Map<String, Value> {
        let mut figures = Map::new();
        figures.insert("samples".to_owned(), json!(samples));
        figures.insert("wall_s".to_owned(), seconds(self.wall));
        figures.insert("cpu_s".to_owned(), seconds(self.cpu));
        figures.insert("samples_per_cpu_s".to_owned(), json!(rate(samples, self.cpu)));
        figures.insert("peak_rss_bytes".to_owned(), json!(self.peak_rss_bytes));
        figures
    }

    /// The same for people.
    pub(crate) fn describe(&self, samples: u64, context: &Context) {
        context.note(format_args!(
            "{} samples in {:.2} s, {:.2} s of CPU: {} samples by CPU second; peak memory {}",
            count(samples),
            self.wall.as_secs_f64(),
            self.cpu.as_secs_f64(),
            count(rate(samples, self.cpu)),
            self.peak_rss_bytes.map_or_else(|| "not known".to_owned(), bytes)
        ));
    }
}

/// CPU time of the process.
pub(crate) fn cpu() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

/// CPU time of this thread.
pub(crate) fn thread_cpu() -> Duration {
    clock(ClockId::ThreadCPUTime)
}

fn clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// Seconds, to the microsecond.
pub(crate) fn seconds(d: Duration) -> Value {
    json!((d.as_secs_f64() * 1e6).round() / 1e6)
}

/// So many in a second.
pub(crate) fn rate(n: u64, d: Duration) -> u64 {
    let rate = (u128::from(n) * 1_000_000_000).checked_div(d.as_nanos()).unwrap_or(0);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// The high-water mark of the resident set.
fn peak_rss_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

/// Resident memory that no file stands behind, now.
pub(crate) fn anonymous_bytes() -> Option<u64> {
    status_bytes("RssAnon:")
}

/// A figure of Linux's `/proc`.
fn status_bytes(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

/// The lengths of all files under a directory.
pub(crate) fn bytes_under(dir: &Path) -> Result<u64, Failure> {
    let mut total = 0;
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let failed = |e| Failure::io("list the directory", &dir, e);
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let metadata = entry.metadata().map_err(failed)?;
            match metadata.is_dir() {
                true => todo.push(entry.path()),
                false => total += metadata.len(),
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up() {
        let taken = Meter::start().read();
        assert!(taken.cpu > Duration::ZERO, "a process takes time");
        assert!(taken.peak_rss_bytes.is_none_or(|n| n > 100_000));
        assert_eq!(rate(10, Duration::from_millis(500)), 20);
        assert_eq!(rate(10, Duration::ZERO), 0);
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), [0; 100]).unwrap();
        fs::write(dir.path().join("c"), [0; 20]).unwrap();
        assert_eq!(bytes_under(dir.path()).unwrap(), 120);
    }
}
