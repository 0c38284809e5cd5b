//! Error enumeration: each script, once for every call and every kind of fault.

use std::sync::Arc;

use super::oracle::{Oracle, read};
use super::scenarios::{Run, Scenario, Step, all};
use super::{Context, Depth, Failures, depth};
use crate::db::Db;
use crate::env::{CrashPolicy, Fault, FaultFs, FaultPlan, MemFs, OpClass};
use crate::error::{Applied, Error, ErrorKind};

/// What was run.
#[derive(Debug, Default)]
struct Figures {
    runs: u64,
    reopened: u64,
    poisoned: u64,
}

impl Figures {
    fn add(&mut self, other: &Figures) {
        self.runs += other.runs;
        self.reopened += other.reopened;
        self.poisoned += other.poisoned;
    }
}

/// Each fault, and the calls that it befalls.
const FAULTS: [(Fault, Option<OpClass>); 21] = [
    (Fault::EioOnce, None),
    (Fault::EioForever, None),
    (Fault::NoSpaceOnce, None),
    (Fault::NoSpaceForever, None),
    (Fault::ShortWriteNoSpace, Some(OpClass::Write)),
    (Fault::ShortWriteEio, Some(OpClass::Write)),
    (Fault::InterruptedOnce, None),
    (Fault::EioOnce, Some(OpClass::Rename)),
    (Fault::LostSync, Some(OpClass::Sync)),
    (Fault::HiddenLoss, Some(OpClass::Sync)),
    (Fault::EioOnce, Some(OpClass::DirSync)),
    (Fault::NoSpaceOnce, Some(OpClass::Allocate)),
    (Fault::EioOnce, Some(OpClass::Allocate)),
    (Fault::NoSpaceForever, Some(OpClass::Allocate)),
    (Fault::InterruptedOnce, Some(OpClass::Write)),
    (Fault::EioForever, Some(OpClass::Rename)),
    (Fault::EioForever, Some(OpClass::DirSync)),
    (Fault::EioForever, Some(OpClass::Sync)),
    (Fault::TooManyFiles, None),
    (Fault::TooManyFilesForever, None),
    (Fault::EioForever, Some(OpClass::Remove)),
];

#[test]
fn every_call_fails_in_every_way() {
    let depth = depth();
    let scenarios = all();
    let kinds = FAULTS.iter().enumerate();
    let pairs =
        scenarios.iter().enumerate().flat_map(|(s, scenario)| kinds.clone().map(move |f| (s, scenario, f)));
    let (mut figures, mut failures) = (Figures::default(), Failures::default());
    let queue = std::sync::Mutex::new(pairs);
    std::thread::scope(|scope| {
        let work = || {
            let mut mine = (Figures::default(), Failures::default());
            loop {
                let next = queue.lock().unwrap().next();
                let Some((s, scenario, (f, &(fault, class)))) = next else { return mine };
                // The short form takes every 29th call, beginning elsewhere in each pair.
                let (first, stride) = match depth {
                    Depth::Full => (0, 1),
                    Depth::Short => ((s * 5 + f * 3) as u64 % 29, 29),
                };
                let plans = (first..).step_by(stride).map(|at| FaultPlan { at, class, fault });
                let _met =
                    plans.take_while(|plan| one_run(scenario, *plan, &mut mine.0, &mut mine.1)).count();
            }
        };
        for worker in [scope.spawn(work), scope.spawn(work)] {
            let (mine, failed) = worker.join().unwrap();
            figures.add(&mine);
            failures.0.extend(failed.0);
        }
    });
    println!(
        "error enumeration: {} scenarios, {} kinds of fault, {} runs with a fault, {} poisoned, {} reopened, failures = {}",
        scenarios.len(),
        FAULTS.len(),
        figures.runs,
        figures.poisoned,
        figures.reopened,
        failures.0.len()
    );
    failures.assert_none();
    assert!(figures.runs > 500 && figures.poisoned > 10, "{figures:?}");
}

/// A script on a filesystem that fails.
struct Trial<'a> {
    run: Run,
    mem: MemFs,
    fault: FaultFs,
    plan: FaultPlan,
    scenario: &'a Scenario,
    poisoned: bool,
    what: String,
}

/// Runs a script with one fault; whether the fault was met.
fn one_run(scenario: &Scenario, plan: FaultPlan, figures: &mut Figures, failures: &mut Failures) -> bool {
    let (mem, oracle) = scenario.prepare();
    let fault = FaultFs::new(Arc::new(mem.clone()));
    let run = Run::new(scenario, Arc::new(fault.clone()), oracle);
    let what = format!("{}: {plan:?}", scenario.name);
    let _context = Context(what.clone());
    let mut trial = Trial { run, mem, fault, plan, scenario, poisoned: false, what };
    trial.fault.arm(plan);
    let outcome = trial.script(figures);
    let met = trial.fault.triggered();
    let outcome = outcome.and_then(|()| trial.after());
    if met {
        figures.runs += 1;
        figures.poisoned += u64::from(trial.poisoned);
    }
    if let Err(why) = outcome {
        failures.add(format!("{} ({}): {why}", trial.what, trial.fault.what_failed().unwrap_or_default()));
    }
    met
}

impl Trial<'_> {
    /// All steps, whatever becomes of each; a handle that is poisoned is opened again.
    fn script(&mut self, figures: &mut Figures) -> Result<(), String> {
        self.open()?;
        for step in &self.scenario.steps {
            if self.run.db.is_none() {
                self.open()?;
            }
            if self.run.db.is_none() {
                continue;
            }
            let advance = self.run.step(step).map_err(|e| self.judge(step, &e));
            if let Err(Err(why)) = advance {
                return Err(why);
            }
            self.look()?;
            if self.is_poisoned()? {
                figures.reopened += 1;
                self.run.db = None;
                self.open()?;
            }
        }
        Ok(())
    }

    /// Opens; a failure must be a plain one. What is found then is the truth.
    fn open(&mut self) -> Result<(), String> {
        if let Err(e) = self.run.open() {
            return match e.kind() {
                ErrorKind::Io | ErrorKind::NoSpace => Ok(()),
                _ => Err(format!("open fails by {e:?}")),
            };
        }
        let Some(db) = &self.run.db else { return Ok(()) };
        if !db.open_report().damage.is_empty() {
            return Err(format!("open finds damage: {:?}", db.open_report()));
        }
        if let Ok(state) = read(db) {
            self.check(&self.run.oracle, &state, false, "opened again")?;
            self.run.oracle.settle(state);
        }
        Ok(())
    }

    /// Whether a step may fail by this.
    fn judge(&self, step: &Step, error: &Error) -> Result<(), String> {
        let plain = matches!(error.kind(), ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::Poisoned);
        let exists = error.kind() == ErrorKind::Exists && matches!(step, Step::Snapshot);
        let takes_space = matches!(self.plan.fault, Fault::NoSpaceOnce | Fault::NoSpaceForever);
        if !plain && !exists {
            return Err(format!("{step:?} fails by {error:?}"));
        }
        // A handle that is gone takes no more writes either.
        let poisoned = self.run.db.as_ref().is_none_or(|db| db.appender().is_err());
        match step {
            Step::Commit(_) | Step::Describe(_) if takes_space => {
                match error.kind() == ErrorKind::NoSpace && error.applied() == Applied::No && !poisoned {
                    true => Ok(()),
                    false => Err(format!("a full disk is not only that: {error:?}, poisoned: {poisoned}")),
                }
            }
            _ if error.applied() == Applied::Unknown && !poisoned => {
                Err(format!("{step:?} has an unknown outcome, and the handle goes on: {error:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Reading shows the truth or fails plainly.
    fn look(&self) -> Result<(), String> {
        let Some(db) = &self.run.db else { return Ok(()) };
        match read(db) {
            Ok(state) => self.check(&self.run.oracle, &state, true, "read"),
            Err(e) if e.kind() == ErrorKind::Io => Ok(()),
            Err(e) => Err(format!("reading fails by {e:?}")),
        }
    }

    fn is_poisoned(&mut self) -> Result<bool, String> {
        let Some(db) = &self.run.db else { return Ok(false) };
        match db.appender() {
            Ok(_) => Ok(false),
            Err(e) if e.kind() == ErrorKind::Poisoned => {
                self.poisoned = true;
                Ok(true)
            }
            Err(e) => Err(format!("an appender is refused by {e:?}")),
        }
    }

    fn check(
        &self,
        oracle: &Oracle,
        state: &super::oracle::State,
        live: bool,
        when: &str,
    ) -> Result<(), String> {
        // Data that a failed sync dropped is lost to a process too, unless it was acknowledged as durable.
        let lost = self.plan.fault == Fault::LostSync && !live;
        let allowed = match lost {
            true => oracle.allows_after_cut(state),
            false => oracle.allows_after_kill(state),
        };
        match allowed {
            true => Ok(()),
            false => Err(format!("{when}: {}", oracle.describe(state))),
        }
    }

    /// The fault is lifted: the store goes on, or does so once it is opened again.
    fn after(&mut self) -> Result<(), String> {
        self.fault.disarm();
        if let Some(path) = self.fault.retried_sync() {
            return Err(format!("a failed sync of {path} was tried again"));
        }
        let plain = |e: Error| format!("without the fault: {e:?}");
        self.cut()?;
        if self.run.db.is_none() {
            self.run.open().map_err(plain)?;
            let state = read(&self.run.db.clone().unwrap()).map_err(plain)?;
            self.check(&self.run.oracle, &state, false, "opened at last")?;
            self.run.oracle.settle(state);
        }
        let more = [Step::Commit(vec![(0, 95_000, 3.0)]), Step::Maintain, Step::Compact, Step::Reopen];
        for step in &more {
            self.run.step(step).map_err(|e| format!("{step:?} without the fault: {e:?}"))?;
            let db = self.run.db.clone().unwrap();
            let state = read(&db).map_err(plain)?;
            self.check(&self.run.oracle, &state, true, "after all")?;
        }
        let db: Db = self.run.db.clone().unwrap();
        let report = db.verify().map_err(plain)?;
        if !report.is_clean() || !db.open_report().damage.is_empty() {
            return Err(format!("damage: {report:?}, {:?}", db.open_report()));
        }
        tidy(&self.mem, &db, 2)
    }

    /// A power cut right after the script.
    fn cut(&self) -> Result<(), String> {
        for policy in [CrashPolicy::DropUnsynced, CrashPolicy::KeepAll, CrashPolicy::ZeroTail] {
            let image = self.mem.crash(&policy);
            let mut run = Run::new(self.scenario, Arc::new(image), Oracle::default());
            run.open().map_err(|e| format!("after a cut ({policy:?}): {e:?}"))?;
            let db = run.db.clone().unwrap();
            let state = read(&db).map_err(|e| format!("after a cut: {e:?}"))?;
            if !self.run.oracle.allows_after_cut(&state) {
                return Err(format!("after a cut ({policy:?}): {}", self.run.oracle.describe(&state)));
            }
        }
        Ok(())
    }
}

/// Nothing unfinished or superseded is left; old manifests go with the next swap.
pub(super) fn tidy(fs: &MemFs, db: &Db, most_manifests: usize) -> Result<(), String> {
    use crate::env::Fs;
    let list = |dir: &str| -> Vec<String> {
        let entries = fs.list(std::path::Path::new(dir)).unwrap_or_default();
        entries.into_iter().map(|e| e.name).collect()
    };
    let (root, blocks, spill) = (list("/db"), list("/db/blocks"), list("/db/spill"));
    let unfinished = |names: &[String]| names.iter().any(|n| n.ends_with(".tmp"));
    let manifests = root.iter().filter(|n| n.starts_with("MANIFEST-")).count();
    let live = usize::try_from(db.stats().blocks).unwrap();
    match unfinished(&root)
        || unfinished(&blocks)
        || blocks.len() != live
        || !spill.is_empty()
        || manifests > most_manifests
    {
        false => Ok(()),
        true => Err(format!("left behind: {live} live blocks, {root:?}, {blocks:?}, {spill:?}")),
    }
}
