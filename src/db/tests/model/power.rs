//! The steps of a walk after which the store is opened anew: closed, killed, or its power cut, between two steps or
//! within one; and the full disk, after which it need not be.

use super::*;

/// What the store was at when the power went.
#[derive(Debug)]
enum Within {
    Commit(Vec<Row>),
    Load(Vec<Row>),
    Delete(TimeRange, Pick),
    Maintain(bool),
}

impl Walk {
    /// Lets go of all that holds the handle.
    fn end(&mut self) -> Db {
        self.pending = None;
        self.foreign.extend(self.refs.values().next());
        self.refs.clear();
        self.told.lock().unwrap().clear();
        self.db.take().unwrap()
    }

    pub(super) fn reopen(&mut self) {
        self.note("reopen", String::new());
        let db = self.end();
        if self.rng.below(2) == 0 {
            db.close().unwrap();
        }
        drop(db);
        self.settled();
        self.db = Some(self.open());
        self.check_everything();
    }

    /// The process is killed: what it wrote is there, what it held is not.
    pub(super) fn kill(&mut self) {
        self.note("kill", String::new());
        let image = self.fs.fork();
        drop(self.end());
        self.fs = image;
        self.db = Some(self.open());
        self.settled();
        self.check_everything();
    }

    pub(super) fn cut(&mut self) {
        let policy = self.policy();
        self.note("cut", format!("{policy:?}"));
        let image = self.fs.crash(&policy);
        drop(self.end());
        self.fs = image;
        let allowed = self.states.drain(..).map(|(_, state)| state).collect();
        self.settle(allowed, None);
    }

    fn policy(&mut self) -> CrashPolicy {
        let policies = self.fs.crash_policies(self.rng.next(), 8);
        policies[self.rng.below(policies.len() as u64) as usize]
    }

    /// The power goes while something is being done: it is done, or it is not.
    pub(super) fn cut_within(&mut self) {
        let within = self.something();
        let at = self.fs.operations() + self.rng.below(25);
        let mut allowed: Vec<State> = self.states.iter().map(|(_, state)| state.clone()).collect();
        allowed.push(self.after(&within));
        let horizon = match within {
            Within::Maintain(_) => self.horizon(),
            _ => None,
        };
        self.fs.cut_power_after(at);
        let done = self.attempt(&within).is_ok();
        self.note(if done { "done before a cut" } else { "cut within" }, format!("{within:?}"));
        if done {
            // What was acknowledged stays.
            if self.setup.sync == SyncPolicy::EachCommit || self.durable(&within) == Durable::Yes {
                allowed.drain(..allowed.len() - 1);
            }
        }
        let policy = self.policy();
        let image = self.fs.crash(&policy);
        drop(self.end());
        self.fs = image;
        self.settle(allowed, Some(horizon));
    }

    /// A step, in which nothing is left to the store to decide.
    fn something(&mut self) -> Within {
        let now = self.now();
        match self.rng.below(5) {
            0 => Within::Load(self.batch().into_iter().filter(|row| row.t != i64::MAX).collect()),
            1 => {
                let range = make::range(&mut self.rng, now);
                Within::Delete(range, make::pick(&mut self.rng, self.born))
            }
            2 => Within::Maintain(false),
            3 => Within::Maintain(true),
            _ => {
                let mut state = self.state().clone();
                let mut rows = self.batch();
                rows.retain(|row| {
                    let take = state.expect(row, now, self.setup.rules) == Expect::Take;
                    if take {
                        state.take(row);
                    }
                    take
                });
                Within::Commit(rows)
            }
        }
    }

    /// The state after it.
    fn after(&self, within: &Within) -> State {
        let mut state = self.state().clone();
        match within {
            Within::Commit(rows) => rows.iter().for_each(|row| state.take(row)),
            Within::Load(rows) => {
                state.load(rows);
            }
            Within::Delete(range, pick) => {
                state.delete(*range, pick);
            }
            Within::Maintain(_) => {}
        }
        state
    }

    /// What it makes durable besides itself.
    fn durable(&self, within: &Within) -> Durable {
        match within {
            Within::Commit(_) | Within::Maintain(false) => Durable::ByPolicy,
            Within::Maintain(true) => Durable::Yes,
            Within::Load(_) | Within::Delete(..) if self.after(within) != *self.state() => Durable::Yes,
            Within::Load(_) | Within::Delete(..) => Durable::No,
        }
    }

    fn attempt(&self, within: &Within) -> Result<()> {
        let db = self.db();
        match within {
            Within::Commit(rows) => {
                let mut app = db.appender()?;
                for row in rows {
                    app.append(&row.labels, row.t, row.v)?;
                }
                app.commit().map(drop)
            }
            Within::Load(rows) => self.bulk_load(rows).map(drop),
            Within::Delete(range, pick) => db.delete(*range, &pick.selector()).map(drop),
            Within::Maintain(false) => db.maintain(),
            Within::Maintain(true) => db.compact(&Default::default()),
        }
    }

    /// Opens what a cut left: it is one of the states `allowed`, the latest that fits. `within` something that was
    /// cut, the head may have been flushed, and samples before a horizon may have gone.
    fn settle(&mut self, allowed: Vec<State>, within: Option<Option<i64>>) {
        let db = self.open();
        let (seen, families, head) = (see(&db), families_of(&db), see_head(&db));
        let fits = |state: &State| {
            let expected = in_head(state);
            let head_fits = match within {
                None => head == expected,
                Some(_) => head.iter().all(|(key, bits)| expected.get(key) == Some(bits)),
            };
            head_fits && state.is(&seen, within.flatten()) && *state.families == families
        };
        let Some(mut state) = allowed.iter().rev().find(|state| fits(state)).cloned() else {
            let latest = allowed.last().unwrap();
            println!("{} states are allowed; of the latest:", allowed.len());
            println!("families {families:?}, expected {:?}", latest.families);
            println!("in the head {}, expected {}", head.len(), latest.head.len());
            for state in allowed.iter().rev().take(6) {
                let missing = state.visible.iter().filter(|(k, v)| seen.get(k) != Some(v)).count();
                let foreign = seen.iter().filter(|(k, v)| state.visible.get(k) != Some(v)).count();
                let (of, families) = (state.visible.len(), *state.families == families);
                println!("of {of} missing {missing}, foreign {foreign}, the same families: {families}");
            }
            assert_same(&seen, &latest.visible);
            assert_same(&head, &in_head(latest));
            panic!("the store is in a state that it cannot be in");
        };
        state.keep_only(&seen);
        state.head = Arc::new(head.into_keys().collect());
        self.db = Some(db);
        self.becomes(state, Durable::Yes);
        self.verify();
    }

    /// On a full disk each thing is done, or refused and not done; then there is room again.
    pub(super) fn fill_disk(&mut self) {
        let within = self.something();
        self.fs.limit_bytes(0);
        let outcome = self.attempt(&within);
        self.fs.limit_bytes(u64::MAX);
        self.note("full disk", format!("{within:?} {outcome:?}"));
        match outcome {
            Ok(()) => {
                let (state, durable) = (self.after(&within), self.durable(&within));
                self.becomes(state, durable);
            }
            Err(e) => assert_eq!((e.kind(), e.applied()), (ErrorKind::NoSpace, crate::Applied::No), "{e}"),
        }
        self.hear(Durable::No);
        self.check_now();
    }
}
