//! Goal: whatever is done to a store, in whatever order, every reader sees what a plain map would say.
//!
//! Method: random walks on the in-memory filesystem with a clock set by hand, single-stepped. Each step does one thing
//! to the store and to the [`plain`] model; verdicts are predicted, states compared. After a power cut the store must
//! be a state that the sync policy allows, and the walk goes on from it. `SILVERBACK_SEED` walks one seed,
//! `SILVERBACK_STEPS` sets the steps of each walk; a failure prints both and the last steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::head::HeadView;
use crate::model::Metadata;
use crate::query::Limits;
use crate::source::testing::Rng;

mod make;
mod plain;
mod power;

use make::Setup;
use plain::{Expect, Pick, Row, State, Visible};

const WALKS: u64 = 60;
const STEPS: u64 = 120;

#[test]
fn random_walks_agree_with_a_plain_model() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SILVERBACK_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..WALKS,
    };
    let steps = number("SILVERBACK_STEPS").unwrap_or(STEPS);
    let mut done: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds.clone() {
        let mut walk = Walk::new(seed);
        for step in 0..steps {
            walk.number = step;
            walk.step();
        }
        walk.check_everything();
        walk.counts.iter().for_each(|(what, n)| *done.entry(*what).or_default() += n);
    }
    println!("seeds {seeds:?}, {steps} steps each: {done:?}");
}

/// What the store told through its listener.
#[derive(Clone, Copy, Debug)]
enum Told {
    Flushed(TimeRange),
    Dropped,
    Other,
}

/// What a step makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durable {
    /// Everything so far.
    Yes,
    /// What the sync policy says.
    ByPolicy,
    /// Nothing.
    No,
}

/// A querier, and what it must see for ever.
struct Held {
    querier: Querier,
    visible: Arc<Visible>,
}

/// One walk.
struct Walk {
    seed: u64,
    number: u64,
    rng: Rng,
    setup: Setup,
    fs: MemFs,
    clock: ManualClock,
    told: Arc<std::sync::Mutex<Vec<Told>>>,
    db: Option<Db>,
    /// The state now, last; before it those that a power cut may bring back, each with the time at which it came to be.
    states: Vec<(i64, State)>,
    held: Vec<Held>,
    pending: Option<(Appender, Vec<Row>)>,
    refs: BTreeMap<Labels, SeriesRef>,
    foreign: Vec<SeriesRef>,
    /// The first series that lives; older ones have gone.
    born: u64,
    copies: u64,
    counts: BTreeMap<&'static str, u64>,
    log: Vec<String>,
}

impl Drop for Walk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("SILVERBACK_SEED={} failed at step {} of {:?}", self.seed, self.number, self.setup);
            self.log.iter().rev().take(30).rev().for_each(|line| println!("  {line}"));
        }
    }
}

impl Walk {
    fn new(seed: u64) -> Walk {
        let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let setup = Setup::random(&mut rng);
        let clock = ManualClock::at(1_000_000_000);
        let mut walk = Walk {
            seed,
            number: 0,
            rng,
            setup,
            fs: MemFs::new(),
            clock,
            told: Arc::default(),
            db: None,
            states: vec![(i64::MIN, State::default())],
            held: Vec::new(),
            pending: None,
            refs: BTreeMap::new(),
            foreign: Vec::new(),
            born: 0,
            copies: 0,
            counts: BTreeMap::new(),
            log: Vec::new(),
        };
        walk.db = Some(walk.open());
        walk
    }

    fn options(&self) -> Options {
        let told = Arc::clone(&self.told);
        let options = options_on(Arc::new(self.fs.clone())).on_event(move |event| {
            told.lock().unwrap().push(match event {
                Event::Flushed { range, .. } => Told::Flushed(*range),
                Event::Dropped { .. } => Told::Dropped,
                _ => Told::Other,
            });
        });
        let options = Options { clock: Arc::new(self.clock.clone()), ..options };
        self.setup.apply(options)
    }

    fn open(&self) -> Db {
        let db = Db::open("/db", self.options()).unwrap();
        let report = db.open_report();
        assert!(report.damage.is_empty() && report.quarantined.is_empty(), "{report:?}");
        db
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    fn state(&self) -> &State {
        &self.states.last().unwrap().1
    }

    /// The state is another; how durable it is says which earlier ones may come back.
    fn becomes(&mut self, state: State, durable: Durable) {
        let now = self.now();
        match (durable, self.setup.sync) {
            (Durable::Yes, _) | (_, SyncPolicy::EachCommit) => self.states.clear(),
            // All but the last interval: the last state that is old enough may come back, none before it.
            (Durable::ByPolicy, SyncPolicy::Interval(every)) => {
                let old = self.states.iter().rposition(|(at, _)| now.saturating_sub(*at) >= millis(every));
                self.states.drain(..old.unwrap_or(0));
            }
            _ => {}
        }
        self.states.push((now, state));
    }

    fn settled(&mut self) {
        let state = self.state().clone();
        self.becomes(state, Durable::Yes);
    }

    fn note(&mut self, what: &'static str, detail: String) {
        *self.counts.entry(what).or_default() += 1;
        self.log.push(format!("{:4} {what} {detail}", self.number));
    }

    fn step(&mut self) {
        self.clock.advance(self.rng.time(3_000));
        if self.rng.below(6) == 0 {
            self.born += self.rng.below(3);
        }
        match self.rng.below(100) {
            0..=34 => self.commit(),
            35..=38 => self.pend(),
            39..=41 => self.end_pending(),
            42..=46 => self.load(),
            47..=52 => self.delete(),
            53..=60 => self.maintain(),
            61..=63 => self.compact(),
            64..=65 => self.clock_jumps(),
            66..=67 => self.snapshot(),
            68..=72 => self.hold(),
            73..=76 => self.let_go(),
            77..=79 => self.reopen(),
            80..=82 => self.kill(),
            83..=86 => self.cut(),
            87..=89 => self.cut_within(),
            90..=91 => self.fill_disk(),
            92..=93 => self.beside(),
            94 => self.verify(),
            _ => self.ask(),
        }
        if self.rng.below(4) == 0 {
            self.check_now();
        }
    }

    fn batch(&mut self) -> Vec<Row> {
        let now = self.now();
        make::batch(&mut self.rng, now, self.born, self.setup.extremes)
    }

    fn commit(&mut self) {
        let rows = self.batch();
        let mut app = self.db().appender().unwrap();
        self.fill(&mut app, &rows);
        let families = self.families(&mut app);
        self.note("commit", format!("{} rows at {}", rows.len(), self.now()));
        if self.rng.below(12) == 0 {
            app.rollback();
            self.note("rollback", String::new());
        }
        let (rows, families) = if app.pending() == 0 { (Vec::new(), Vec::new()) } else { (rows, families) };
        let committed = app.commit().unwrap();
        self.judge(&rows, &families, &committed);
    }

    /// Gives rows to an appender, by labels or by reference.
    fn fill(&mut self, app: &mut Appender, rows: &[Row]) {
        for row in rows {
            if row.by_ref {
                if let Some(foreign) = self.foreign.last() {
                    assert_eq!(app.append_ref(*foreign, row.t, row.v), Err(crate::AppendError::StaleRef));
                }
                if let Some(&known) = self.refs.get(&row.labels)
                    && app.append_ref(known, row.t, row.v).is_ok()
                {
                    continue;
                }
            }
            let known = app.append(&row.labels, row.t, row.v).unwrap();
            self.refs.insert(row.labels.clone(), known);
        }
    }

    fn families(&mut self, app: &mut Appender) -> Vec<(String, Metadata)> {
        if self.rng.below(6) > 0 || app.pending() == 0 {
            return Vec::new();
        }
        let family = format!("m{}", self.rng.below(4));
        let help = format!("help {}", self.rng.below(3));
        let metadata = Metadata { metric_type: MetricType::Gauge, unit: String::new(), help };
        app.set_metadata(&family, metadata.clone()).unwrap();
        vec![(family, metadata)]
    }

    /// Compares the verdicts with the predicted ones, and follows them.
    fn judge(&mut self, rows: &[Row], families: &[(String, Metadata)], committed: &Committed) {
        let mut state = self.state().clone();
        if !families.is_empty() {
            // They are a record of their own, before that of the samples.
            Arc::make_mut(&mut state.families).extend(families.iter().cloned());
            self.becomes(state.clone(), Durable::ByPolicy);
        }
        let (mut appended, mut duplicates) = (0, 0);
        let rejected: BTreeMap<usize, AppendError> =
            committed.rejected().iter().map(|r| (r.index, r.why)).collect();
        for (index, row) in rows.iter().enumerate() {
            let expect = state.expect(row, self.now(), self.setup.rules);
            let told = rejected.get(&index).copied();
            match (expect, told) {
                (_, Some(AppendError::StaleRef)) => assert!(row.by_ref && self.pending.is_none(), "{row:?}"),
                (Expect::Take | Expect::TakeOrTooOld, None) => {
                    state.take(row);
                    appended += 1;
                }
                (Expect::Duplicate, None) => duplicates += 1,
                (Expect::Reject(why), Some(told)) => assert_eq!(told, why, "{index}: {row:?}"),
                (Expect::TakeOrTooOld, Some(AppendError::TooOld)) => {}
                (expect, told) => panic!("{index}: {row:?}: expected {expect:?}, was told {told:?}"),
            }
        }
        assert_eq!((committed.appended(), committed.duplicates()), (appended, duplicates));
        self.becomes(state, Durable::ByPolicy);
    }

    fn load(&mut self) {
        let rows: Vec<Row> = self.batch().into_iter().filter(|row| row.t != i64::MAX).collect();
        self.note("load", format!("{} rows", rows.len()));
        let mut state = self.state().clone();
        let expected = state.load(&rows);
        let loaded = self.bulk_load(&rows).unwrap();
        assert_eq!((loaded.appended(), loaded.duplicates(), loaded.conflicts()), expected);
        self.becomes(state, if rows.is_empty() { Durable::No } else { Durable::Yes });
    }

    fn bulk_load(&self, rows: &[Row]) -> Result<Committed> {
        let mut bulk = self.db().bulk_loader()?;
        for row in rows {
            let series = bulk.series(&row.labels)?;
            bulk.extend(series, &[row.t], &[row.v])?;
        }
        bulk.finish()
    }

    fn delete(&mut self) {
        let now = self.now();
        let range = make::range(&mut self.rng, now);
        let pick = make::pick(&mut self.rng, self.born);
        let mut state = self.state().clone();
        let expected = state.delete(range, &pick);
        self.note("delete", format!("{expected} of {} in {range:?}", pick.selector()));
        assert_eq!(self.db().delete(range, &pick.selector()).unwrap(), expected);
        self.becomes(state, if expected > 0 { Durable::Yes } else { Durable::No });
    }

    fn maintain(&mut self) {
        self.note("maintain", String::new());
        self.db().maintain().unwrap();
        self.hear(Durable::ByPolicy);
    }

    fn compact(&mut self) {
        self.note("compact", String::new());
        self.db().compact(&Default::default()).unwrap();
        self.hear(Durable::Yes);
        assert!(self.state().head.is_empty(), "{:?}", self.state().head);
    }

    /// Follows what maintenance told: flushed ranges leave the head; what retention dropped was old.
    fn hear(&mut self, durable: Durable) {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        let mut state = self.state().clone();
        let mut durable = durable;
        for event in &told {
            if let Told::Flushed(range) = event {
                state.flush(*range);
                durable = Durable::Yes;
            }
        }
        self.becomes(state, durable);
        if told.iter().any(|event| matches!(event, Told::Dropped)) {
            self.note("retention", String::new());
            let seen = see(self.db());
            assert!(
                self.state().is(&seen, self.horizon()),
                "retention took what is young, or showed what was hidden"
            );
            self.states.iter_mut().for_each(|(_, state)| state.keep_only(&seen));
        }
    }

    fn horizon(&self) -> Option<i64> {
        let newest = self.state().newest_t?;
        Some(self.now().min(newest).saturating_sub(self.setup.retention_ms?))
    }

    fn clock_jumps(&mut self) {
        let ms = self.rng.time(200_000) - 20_000;
        self.note("clock", format!("{ms}"));
        self.clock.advance(ms);
    }

    fn snapshot(&mut self) {
        self.copies += 1;
        let to = format!("/copy{}", self.copies);
        self.note("snapshot", to.clone());
        self.db().snapshot(&to).unwrap();
        self.settled();
        let copy = Db::open(&to, self.options()).unwrap();
        assert!(see(&copy) == *self.state().visible, "the copy is another");
        assert_eq!(families_of(&copy), *self.state().families);
        let report = copy.verify().unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    fn hold(&mut self) {
        if self.held.len() < 4 {
            self.note("hold", String::new());
            let querier = self.db().querier(TimeRange::ALL).unwrap();
            let visible = Arc::clone(&self.state().visible);
            self.held.push(Held { querier, visible });
        }
    }

    fn let_go(&mut self) {
        if !self.held.is_empty() {
            self.note("let go", String::new());
            let at = self.rng.below(self.held.len() as u64) as usize;
            let held = self.held.remove(at);
            assert!(see_by(&held.querier, &Pick::all()) == *held.visible, "a querier sees another state");
        }
    }

    fn pend(&mut self) {
        if self.pending.is_none() {
            let rows = self.batch();
            self.note("pend", format!("{} rows", rows.len()));
            let mut app = self.db().appender().unwrap();
            self.fill(&mut app, &rows);
            self.pending = Some((app, rows));
        }
    }

    fn end_pending(&mut self) {
        if let Some((mut app, rows)) = self.pending.take() {
            self.note("commit what is pending", format!("{} rows", rows.len()));
            let committed = app.commit().unwrap();
            self.judge(&rows, &[], &committed);
        }
    }

    fn ask(&mut self) {
        let now = self.now();
        let range = make::range(&mut self.rng, now);
        let pick = make::pick(&mut self.rng, self.born);
        self.note("ask", format!("{} in {range:?}", pick.selector()));
        let querier = self.db().querier(range).unwrap();
        let expected = State::query(&self.state().visible, range, &pick);
        assert_same(&see_by(&querier, &pick), &expected);
        let values = querier.label_values("i", &pick.selector()).unwrap();
        for (labels, _) in expected.keys() {
            assert!(values.iter().any(|v| Some(v.as_str()) == labels.value("i")), "{labels}");
        }
        let names = querier.label_names(&pick.selector()).unwrap();
        assert_eq!(names.iter().any(|n| n == "i"), !values.is_empty());
    }

    fn beside(&mut self) {
        self.note("beside", String::new());
        let before = self.fs.operations();
        let reader = Db::open_read_only("/db", self.options()).unwrap();
        assert_same(&see(&reader), &self.state().visible);
        assert_eq!(families_of(&reader), *self.state().families);
        assert!(reader.verify().unwrap().is_clean());
        reader.close().unwrap();
        assert_eq!(self.fs.operations(), before, "a reader mutates nothing");
    }

    fn verify(&mut self) {
        self.note("verify", String::new());
        let report = self.db().verify().unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    fn check_now(&self) {
        assert_same(&see(self.db()), &self.state().visible);
        assert_eq!(self.db().stats().head_samples, self.state().head.len() as u64);
    }

    fn check_everything(&mut self) {
        self.number += 1;
        self.check_now();
        assert_eq!(families_of(self.db()), *self.state().families);
        assert_same(&see_head(self.db()), &in_head(self.state()));
        self.verify();
        while !self.held.is_empty() {
            self.let_go();
        }
    }
}

fn in_head(state: &State) -> Visible {
    state.head.iter().map(|key| (key.clone(), state.visible[key])).collect()
}

fn families_of(db: &Db) -> BTreeMap<String, Metadata> {
    db.families().unwrap().into_iter().collect()
}

fn see(db: &Db) -> Visible {
    see_by(&db.querier(TimeRange::ALL).unwrap(), &Pick::all())
}

/// What the head alone holds.
fn see_head(db: &Db) -> Visible {
    let pin = db.shared().head.pin();
    let view = HeadView::new(Arc::clone(&db.shared().head), Arc::clone(&pin));
    let sources: Vec<Arc<dyn Source>> = vec![Arc::new(view)];
    see_by(&Querier::new(sources, TimeRange::ALL, Limits::NONE, None, pin), &Pick::all())
}

fn see_by(querier: &Querier, pick: &Pick) -> Visible {
    let mut seen = Visible::new();
    let mut before: Option<Labels> = None;
    for series in querier.select(&pick.selector()).unwrap() {
        let series = series.unwrap();
        let labels = series.labels().clone();
        assert!(before.is_none_or(|before| before < labels), "series in order, each once");
        let mut rows = crate::Columns::default();
        let mut samples = series.samples();
        while samples.read_into(&mut rows, 37).unwrap() > 0 {}
        assert!(rows.t.is_sorted_by(|a, b| a < b), "samples in order, each once");
        assert!(!rows.is_empty(), "a series without samples");
        seen.extend(rows.t.iter().zip(&rows.v).map(|(t, v)| ((labels.clone(), *t), v.to_bits())));
        before = Some(labels);
    }
    seen
}

fn assert_same(seen: &Visible, expected: &Visible) {
    if seen != expected {
        let missing: Vec<_> = expected.iter().filter(|(k, v)| seen.get(k) != Some(v)).take(5).collect();
        let wrong: Vec<_> = seen.iter().filter(|(k, v)| expected.get(k) != Some(v)).take(5).collect();
        panic!(
            "{} samples seen, {} expected; missing {missing:?}, wrong {wrong:?}",
            seen.len(),
            expected.len()
        );
    }
}
