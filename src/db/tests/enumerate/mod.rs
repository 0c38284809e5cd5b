//! Goal: whatever fails, and whenever the power goes, the database keeps its contracts.
//!
//! Method: scripts of a few steps each (`scenarios`) run on the in-memory filesystem, single-stepped, beside
//! an oracle that knows the state after each commit, delete, load and retention (`oracle`).
//! `errors` runs each script once for every call and every kind of fault; `crashes` cuts the power before
//! every changing call, makes every image that the filesystem allows, opens each, and cuts again in that recovery.
//!
//! The tests run a part of it; all of it, which takes minutes, is run by
//! `SILVERBACK_ENUMERATE=full cargo test --release --lib enumerate -- --nocapture`.

mod crashes;
mod errors;
mod found;
mod oracle;
mod reader;
mod scenarios;

/// How much to enumerate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// In every run of the tests.
    Short,
    /// Everything.
    Full,
}

/// What the environment asks for.
fn depth() -> Depth {
    match std::env::var("SILVERBACK_ENUMERATE").as_deref() {
        Ok("full") => Depth::Full,
        _ => Depth::Short,
    }
}

/// Failures, with how each came about; a run goes on after one, so that all are seen.
#[derive(Debug, Default)]
struct Failures(Vec<String>);

impl Failures {
    fn add(&mut self, what: String) {
        if self.0.len() < 20 {
            eprintln!("FAILED: {what}");
        }
        self.0.push(what);
    }

    fn assert_none(&self) {
        assert!(self.0.is_empty(), "{} failures, the first: {}", self.0.len(), self.0[0]);
    }
}

/// Says where a panic came from.
struct Context(String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("PANICKED: {}", self.0);
        }
    }
}
