//! Readers beside writers: what `bench write --readers` has done meanwhile.
//!
//! A reader selects all series of one metric, 100 times a second, and decodes their samples of the last five
//! minutes before the newest commit; each time another metric. So it asks for about as much as a dashboard of a hundred
//! panels that are drawn anew each second.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use silverback::{Db, Labels, Selector};

use super::meter::{seconds, thread_cpu};
use crate::failure::Failure;

/// From one select of a reader to its next.
const PERIOD: Duration = Duration::from_millis(10);
/// What it looks at.
const LOOK_BACK_MS: i64 = 300_000;

/// How far writers are.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicI64);

impl Clock {
    /// All at this time is committed, or nearly.
    pub(crate) fn tell(&self, t: i64) {
        self.0.fetch_max(t, Ordering::Relaxed);
    }
}

/// What readers did.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    selects: u64,
    series: u64,
    samples: u64,
    cpu: Duration,
}

impl Reading {
    fn add(&mut self, other: &Reading) {
        self.selects += other.selects;
        self.series += other.series;
        self.samples += other.samples;
        self.cpu += other.cpu;
    }

    /// Puts the figures among those of the writers.
    pub(crate) fn insert(&self, figures: &mut Map<String, Value>) {
        for (name, count) in [("selects", self.selects), ("selected_series", self.series)] {
            figures.insert(name.to_owned(), json!(count));
        }
        figures.insert("samples_read".to_owned(), json!(self.samples));
        figures.insert("readers_cpu_s".to_owned(), seconds(self.cpu));
    }
}

/// Runs `write` with so many readers beside it.
pub(crate) fn beside<T>(
    readers: u32,
    db: &Db,
    labels: &[Labels],
    clock: &Clock,
    write: impl FnOnce() -> Result<T, Failure>,
) -> Result<(T, Reading), Failure> {
    let mut names: Vec<&str> = labels.iter().map(Labels::name).collect();
    names.dedup();
    let selectors: Result<Vec<Selector>, _> =
        names.iter().map(|name| format!("{{__name__=\"{name}\"}}").parse()).collect();
    let selectors = selectors?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let start = |reader: u32| {
            let (selectors, ended) = (&selectors, &ended);
            scope.spawn(move || read(db, selectors, reader as usize, clock, ended))
        };
        let threads: Vec<_> = (0..readers).map(start).collect();
        let written = write();
        ended.store(true, Ordering::Relaxed);
        let mut all = Reading::default();
        for thread in threads {
            match thread.join() {
                Ok(reading) => all.add(&reading?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok((written?, all))
    })
}

/// Selects until it is ended.
fn read(
    db: &Db,
    selectors: &[Selector],
    first: usize,
    clock: &Clock,
    ended: &AtomicBool,
) -> Result<Reading, Failure> {
    let (mut reading, began) = (Reading::default(), thread_cpu());
    let mut next = Instant::now();
    for selector in selectors.iter().cycle().skip(first) {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let now = clock.0.load(Ordering::Relaxed);
        let (samples, series) = super::count(&db.querier(now - LOOK_BACK_MS..now + 1)?, selector)?;
        reading.selects += 1;
        reading.series += series;
        reading.samples += samples;
        next += PERIOD;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    reading.cpu = thread_cpu().saturating_sub(began);
    Ok(reading)
}
