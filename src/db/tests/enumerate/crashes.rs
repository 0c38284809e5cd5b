//! Crash enumeration: the power goes before every changing call of each script, and again in each recovery.
//!
//! ```text
//!   script ──cut at n──▶ every image ──hash, new?──▶ open: a state that the oracle allows after a cut
//!                   └──▶ killed only ──▶ open, commit, cut again: what was found, and that commit
//!   image ──open cut at m──▶ every image of that ──▶ open: the same state
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::errors::tidy;
use super::oracle::{Oracle, State, read};
use super::scenarios::{COPY, Run, Scenario, Step, all, metadata};
use super::{Context, Depth, Failures, depth};
use crate::env::{Contents, CrashPolicy, Fs, MemFs};

/// What was enumerated.
#[derive(Debug, Default)]
struct Figures {
    scenarios: u64,
    operations: u64,
    images: u64,
    unique: u64,
    kills: u64,
    recoveries: u64,
    recovery_calls: u64,
    depth_two_images: u64,
    depth_two_unique: u64,
    opened: u64,
    /// The most changes of names that were pending, and how often they were too many for every combination of them.
    most_names: usize,
    too_many_names: u64,
}

impl Figures {
    fn add(&mut self, other: &Figures) {
        self.scenarios += other.scenarios;
        self.operations += other.operations;
        self.images += other.images;
        self.unique += other.unique;
        self.kills += other.kills;
        self.recoveries += other.recoveries;
        self.recovery_calls += other.recovery_calls;
        self.depth_two_images += other.depth_two_images;
        self.depth_two_unique += other.depth_two_unique;
        self.opened += other.opened;
        self.most_names = self.most_names.max(other.most_names);
        self.too_many_names += other.too_many_names;
    }
}

/// How dense the net is.
#[derive(Clone, Copy, Debug)]
struct Net {
    /// Every so many calls of a script.
    stride: usize,
    /// Random images at each.
    randoms: u64,
    /// The recovery of every so many unique images is cut.
    recoveries: u64,
    /// At most so many calls of one script are cut.
    cuts: usize,
    /// Every combination of so many pending changes of names is an image.
    names: usize,
}

#[test]
fn every_crash_leaves_a_prefix_with_all_that_was_acknowledged() {
    let depth = depth();
    let net = match depth {
        Depth::Short => Net { stride: 7, randoms: 2, recoveries: 16, cuts: 30, names: 5 },
        Depth::Full => Net { stride: 1, randoms: 48, recoveries: 1, cuts: usize::MAX, names: 10 },
    };
    let (mut figures, mut failures) = (Figures::default(), Failures::default());
    let scenarios = all();
    let queue = std::sync::Mutex::new(scenarios.iter());
    std::thread::scope(|scope| {
        let work = || {
            let mut mine = (Figures::default(), Failures::default());
            loop {
                let next = queue.lock().unwrap().next();
                let Some(scenario) = next else { return mine };
                Enumeration::new(scenario, net, &mut mine.0, &mut mine.1).run();
            }
        };
        let workers = [scope.spawn(work), scope.spawn(work)];
        for worker in workers {
            let (f, failed) = worker.join().unwrap();
            figures.add(&f);
            failures.0.extend(failed.0);
        }
    });
    println!(
        "crash enumeration: {} scenarios, {} calls cut, {} images, {} unique, {} kills; {} of their recoveries cut at {} calls: {} images, {} unique; {} opened; at most {} names pending, {} times above {}; failures = {}",
        figures.scenarios,
        figures.operations,
        figures.images,
        figures.unique,
        figures.kills,
        figures.recoveries,
        figures.recovery_calls,
        figures.depth_two_images,
        figures.depth_two_unique,
        figures.opened,
        figures.most_names,
        figures.too_many_names,
        net.names,
        failures.0.len()
    );
    failures.assert_none();
    assert!(figures.unique > 300 && figures.depth_two_unique > 30, "{figures:?}");
}

/// What an image holds once it is opened.
#[derive(Clone)]
struct Recovered {
    state: Arc<State>,
    described: bool,
    /// Of the snapshot: its state, or why it does not open.
    copy: Option<Result<Arc<State>, String>>,
}

/// One script's crashes.
struct Enumeration<'a> {
    scenario: &'a Scenario,
    net: Net,
    figures: &'a mut Figures,
    failures: &'a mut Failures,
    known: HashMap<u64, Recovered>,
    /// Each state that was found, once.
    states: Vec<Arc<State>>,
    /// What a power cut in a recovery could leave, and the state to be found then: looked at once.
    prospects: HashSet<(u64, *const State)>,
    contents: Contents,
}

impl<'a> Enumeration<'a> {
    fn new(scenario: &'a Scenario, net: Net, figures: &'a mut Figures, failures: &'a mut Failures) -> Self {
        figures.scenarios += 1;
        let (known, states, prospects) = (HashMap::new(), Vec::new(), HashSet::new());
        let contents = Contents::default();
        Enumeration { scenario, net, figures, failures, known, states, prospects, contents }
    }

    fn run(&mut self) {
        let (base, oracle) = self.scenario.prepare();
        let begin = base.operations();
        let whole = base.fork();
        let mut run = Run::new(self.scenario, Arc::new(whole.clone()), oracle.clone());
        if let Err(e) = run.all() {
            self.failures.add(format!("{}: fails by itself: {e:?}", self.scenario.name));
            return;
        }
        drop(run);
        let end = whole.operations();
        let calls = usize::try_from(end - begin).unwrap();
        let stride = self.net.stride.max(calls / self.net.cuts);
        for cut in (begin..=end).step_by(stride) {
            self.cut(&base, &oracle, cut);
        }
    }

    /// All images of a power cut after `cut` calls.
    fn cut(&mut self, base: &MemFs, oracle: &Oracle, cut: u64) {
        self.figures.operations += 1;
        let fs = base.fork();
        fs.cut_power_after(cut);
        let mut run = Run::new(self.scenario, Arc::new(fs.clone()), oracle.clone());
        let _context = Context(format!("{}, cut at {cut}", self.scenario.name));
        let _power_went = run.all();
        run.db = None;
        self.note_names(&fs);
        for policy in fs.all_crash_policies(cut, self.net.randoms, self.net.names) {
            let image = fs.crash(&policy);
            self.figures.images += 1;
            let what =
                || format!("{}, cut at {cut}, {policy:?} of {:?}", self.scenario.name, fs.describe_pending());
            let _context = Context(if cfg!(debug_assertions) { what() } else { String::new() });
            match self.recovered(&image) {
                Ok(found) => {
                    let all_kept = policy == CrashPolicy::KeepAll;
                    if let Err(why) = check(&run, &found, all_kept) {
                        self.failures.add(format!("{}: {why}", what()));
                    }
                }
                Err(why) => self.failures.add(format!("{}: {why}", what())),
            }
        }
        self.figures.kills += 1;
        if let Err(why) = self.killed(&fs, &run) {
            self.failures.add(format!(
                "{}, killed at {cut} with {:?}: {why}",
                self.scenario.name,
                fs.describe_pending()
            ));
        }
    }

    fn note_names(&mut self, fs: &MemFs) {
        let names = fs.pending_names();
        self.figures.most_names = self.figures.most_names.max(names);
        self.figures.too_many_names += u64::from(names > self.net.names);
    }

    /// Opens an image, unless its like was opened before; cuts its recovery.
    fn recovered(&mut self, image: &MemFs) -> Result<Recovered, String> {
        let print = image.fingerprint(&mut self.contents);
        if let Some(known) = self.known.get(&print) {
            return Ok(known.clone());
        }
        self.figures.unique += 1;
        let fs = image.fork();
        fs.record();
        let found = self.open(&fs)?;
        self.known.insert(print, found.clone());
        if self.figures.unique.is_multiple_of(self.net.recoveries) {
            self.figures.recoveries += 1;
            self.cut_recovery(&fs.recorded(), &found)?;
        }
        Ok(found)
    }

    /// Opens, reads, closes.
    fn open(&mut self, fs: &MemFs) -> Result<Recovered, String> {
        self.figures.opened += 1;
        let mut run = Run::new(self.scenario, Arc::new(fs.clone()), Oracle::default());
        run.open().map_err(|e| format!("does not open: {e:?}"))?;
        let db = run.db.clone().unwrap();
        if !db.open_report().damage.is_empty() || !db.open_report().quarantined.is_empty() {
            return Err(format!("a crash is not damage: {:?}", db.open_report()));
        }
        let state = read(&db).map_err(|e| format!("does not read: {e:?}"))?;
        let described = db.metadata("m0").map_err(|e| format!("does not read: {e:?}"))? == Some(metadata());
        tidy(fs, &db, usize::MAX)?;
        drop(db);
        drop(run);
        let is_there = fs.stat(std::path::Path::new(COPY)).map_err(|e| e.to_string())?.is_some();
        let copy = is_there
            .then(|| Run::open_copy(self.scenario, &fs.fork()).map(Arc::new).map_err(|e| format!("{e:?}")));
        Ok(Recovered { state: self.the_one(state), described, copy })
    }

    /// Equal states are the same one, so that thousands of images take no memory.
    fn the_one(&mut self, state: State) -> Arc<State> {
        match self.states.iter().rev().find(|known| ***known == state) {
            Some(known) => Arc::clone(known),
            None => {
                self.states.push(Arc::new(state));
                Arc::clone(&self.states[self.states.len() - 1])
            }
        }
    }

    /// The recovery of an image is cut before each of its changing calls, and at its end; all that this leaves recovers to the same.
    fn cut_recovery(&mut self, moments: &[MemFs], found: &Recovered) -> Result<(), String> {
        for (cut, fs) in moments.iter().enumerate() {
            self.figures.recovery_calls += 1;
            let prospects = fs.prospects(&mut self.contents);
            if !self.prospects.insert((prospects, Arc::as_ptr(&found.state))) {
                continue;
            }
            self.note_names(fs);
            for policy in fs.all_crash_policies(prospects, self.net.randoms.min(8), self.net.names) {
                self.figures.depth_two_images += 1;
                let again = fs.crash(&policy);
                let print = again.fingerprint(&mut self.contents);
                let what = || format!("cut again at {cut}, {policy:?} of {:?}", fs.describe_pending());
                let again = match self.known.get(&print) {
                    Some(known) => known.clone(),
                    None => {
                        self.figures.depth_two_unique += 1;
                        let second = self.open(&again.fork()).map_err(|e| format!("{}: {e}", what()))?;
                        self.known.insert(print, second.clone());
                        second
                    }
                };
                if !Arc::ptr_eq(&again.state, &found.state) || again.described != found.described {
                    return Err(format!("{}: another state", what()));
                }
            }
        }
        Ok(())
    }

    /// The process is killed and the machine goes on; then a commit is acknowledged, and the power goes.
    fn killed(&mut self, fs: &MemFs, before: &Run) -> Result<(), String> {
        let fs = fs.fork();
        let mut run = Run::new(self.scenario, Arc::new(fs.clone()), Oracle::default());
        run.open().map_err(|e| format!("does not open: {e:?}"))?;
        let state = read(&run.db.clone().unwrap()).map_err(|e| format!("{e:?}"))?;
        if !before.oracle.allows_after_kill(&state) {
            return Err(before.oracle.describe(&state));
        }
        for policy in [CrashPolicy::DropUnsynced, CrashPolicy::ZeroTail] {
            let found = self.open(&fs.crash(&policy)).map_err(|e| format!("then {policy:?}: {e}"))?;
            if !before.oracle.allows_after_cut(&found.state) {
                return Err(format!("then {policy:?}: {}", before.oracle.describe(&found.state)));
            }
        }
        run.oracle.settle(state);
        run.step(&Step::Commit(vec![(0, 96_000, 3.0)])).map_err(|e| format!("does not go on: {e:?}"))?;
        run.step(&Step::Delete(crate::model::TimeRange::new(96_000, 96_001), 0))
            .map_err(|e| format!("does not go on: {e:?}"))?;
        for policy in [CrashPolicy::DropUnsynced, CrashPolicy::Random(7)] {
            let found = self.open(&fs.crash(&policy)).map_err(|e| format!("then {policy:?}: {e}"))?;
            if !run.oracle.allows_after_cut(&found.state) {
                return Err(format!("gone on, then {policy:?}: {}", run.oracle.describe(&found.state)));
            }
        }
        Ok(())
    }
}

/// Whether the oracle allows what was found.
fn check(run: &Run, found: &Recovered, all_kept: bool) -> Result<(), String> {
    let allowed = match all_kept {
        true => run.oracle.allows_after_kill(&found.state),
        false => run.oracle.allows_after_cut(&found.state),
    };
    if !allowed {
        return Err(run.oracle.describe(&found.state));
    }
    if run.described && !found.described {
        return Err("the metadata are gone".to_owned());
    }
    match (&run.copy, &found.copy) {
        (Some((oracle, _)), Some(Ok(copy))) if !oracle.allows_after_cut(copy) => {
            Err(format!("the snapshot: {}", oracle.describe(copy)))
        }
        (Some((_, true)), Some(Err(why))) => Err(format!("a finished snapshot: {why}")),
        (Some((_, true)), None) => Err("a finished snapshot is gone".to_owned()),
        (_, Some(Err(why))) if !why.contains("NotADatabase") && !why.contains("manifest is missing") => {
            Err(format!("an unfinished snapshot: {why}"))
        }
        _ => Ok(()),
    }
}
