//! What should be stored: every state that a script passes through, and which of them may be found.
//!
//! ```text
//!   states    s0 ── commit ──▶ s1 ── delete ──▶ s2 ── retention ──▶ s3 ── commit ──▶ s4
//!                              ▲ durable                ▲ returned                   ▲ tried
//!   after a power cut: s1..=s4     after a kill: s2..=s4
//! ```
//!
//! Retention drops whole blocks, in steps: anything between the state before it and the least that it must keep.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::db::Db;
use crate::error::Result;
use crate::model::{Columns, Selector, TimeRange};

/// Samples by series: timestamp and the value's bits.
pub(super) type State = BTreeMap<String, BTreeMap<i64, u64>>;

/// The states of one run.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    states: Vec<Tried>,
    returned: usize,
    durable: usize,
}

/// One state: everything between two, which differ only while retention is dropping blocks.
#[derive(Clone, Debug)]
struct Tried {
    least: Arc<State>,
    most: Arc<State>,
}

impl Default for Oracle {
    fn default() -> Oracle {
        Oracle::starting_at(State::new())
    }
}

impl Oracle {
    /// Knows one durable state.
    pub(super) fn starting_at(state: State) -> Oracle {
        let state = Arc::new(state);
        let first = Tried { least: Arc::clone(&state), most: state };
        Oracle { states: vec![first], returned: 0, durable: 0 }
    }

    /// The state if all that was tried came true (and retention dropped nothing that it may keep).
    pub(super) fn newest(&self) -> &State {
        &self.states[self.states.len() - 1].most
    }

    /// A step begins that changes the state so.
    pub(super) fn attempt(&mut self, change: impl Fn(&mut State)) {
        let changed = |state: &State| {
            let mut state = state.clone();
            change(&mut state);
            state.retain(|_, rows| !rows.is_empty());
            Arc::new(state)
        };
        let Tried { least, most } = &self.states[self.states.len() - 1];
        let next = changed(most);
        let least = if least == most { Arc::clone(&next) } else { changed(least) };
        self.states.push(Tried { least, most: next });
    }

    /// A step begins that may drop whatever `drop` does.
    pub(super) fn attempt_to_drop(&mut self, drop: impl Fn(&mut State)) {
        let most = Arc::clone(&self.states[self.states.len() - 1].most);
        self.attempt(drop);
        let last = self.states.len() - 1;
        self.states[last].most = most;
    }

    /// The last attempt came to nothing for sure.
    pub(super) fn withdraw(&mut self) {
        self.states.pop();
    }

    /// All attempts so far succeeded.
    pub(super) fn acknowledge(&mut self) {
        self.returned = self.states.len() - 1;
    }

    /// All that was acknowledged is durable.
    pub(super) fn harden(&mut self) {
        self.durable = self.returned;
    }

    /// What was read is the only truth from here on.
    pub(super) fn settle(&mut self, state: State) {
        *self = Oracle::starting_at(state);
    }

    /// Retention has left this.
    pub(super) fn replace_newest(&mut self, state: State) {
        let (last, state) = (self.states.len() - 1, Arc::new(state));
        self.states[last] = Tried { least: Arc::clone(&state), most: state };
    }

    /// Whether `state` may be seen by a process that goes on, or after a kill.
    pub(super) fn allows_after_kill(&self, state: &State) -> bool {
        self.allows(state, self.returned)
    }

    /// Whether `state` may be found after a power cut.
    pub(super) fn allows_after_cut(&self, state: &State) -> bool {
        self.allows(state, self.durable)
    }

    fn allows(&self, state: &State, from: usize) -> bool {
        self.states[from..].iter().any(|Tried { least, most }| match least == most {
            true => **most == *state,
            false => is_within(least, state) && is_within(state, most),
        })
    }

    /// For the message of a failure.
    pub(super) fn describe(&self, state: &State) -> String {
        let count = |s: &State| s.values().map(BTreeMap::len).sum::<usize>();
        let mut out = format!("found {} rows; allowed", count(state));
        for (i, tried) in self.states.iter().enumerate() {
            let mark = match (i >= self.durable, i >= self.returned) {
                (true, true) => "",
                (true, false) => " (durable)",
                _ => " (past)",
            };
            let _ = write!(out, " {}{mark}", count(&tried.most));
        }
        out
    }
}

fn is_within(part: &State, whole: &State) -> bool {
    part.iter().all(|(series, rows)| {
        whole.get(series).is_some_and(|all| rows.iter().all(|(t, v)| all.get(t) == Some(v)))
    })
}

/// Reads everything.
pub(super) fn read(db: &Db) -> Result<State> {
    let mut state = State::new();
    let mut columns = Columns::default();
    for series in db.querier(TimeRange::ALL)?.select(&Selector::all())? {
        let series = series?;
        let mut samples = series.samples();
        let mut rows = BTreeMap::new();
        loop {
            columns.clear();
            if samples.read_into(&mut columns, 65_536)? == 0 {
                break;
            }
            rows.extend(columns.t.iter().zip(&columns.v).map(|(&t, v)| (t, v.to_bits())));
        }
        if !rows.is_empty() {
            assert!(state.insert(series.labels().to_string(), rows).is_none(), "a series comes once");
        }
    }
    Ok(state)
}
