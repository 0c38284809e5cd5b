//! Instructions of the hot paths, counted: the same number on a busy machine and on an idle one.
//!
//! Goal: to see a change of a few per cent, which no clock on a shared machine shows. Method: gungraun runs each function
//! once under valgrind's callgrind; what a function needs is made outside of the count. Where `gungraun-runner` or
//! `valgrind` is not installed, the bench says so and is left out.

use std::env;
use std::path::Path;

mod counted;

fn main() {
    let asked: Vec<String> = env::args().skip(1).collect();
    // The runner calls this program again, for each function.
    let by_runner = asked.first().is_some_and(|first| first == "--gungraun-run");
    if by_runner {
        return counted::run();
    }
    // Without it, this is `cargo test --all-targets`, which counts nothing.
    if !asked.iter().any(|argument| argument == "--bench") {
        return;
    }
    match missing() {
        None => counted::run(),
        Some(program) => eprintln!(
            "instructions: left out, `{program}` is not installed; benches/README.md says how to get it"
        ),
    }
}

/// The first program that is needed and not to be found.
fn missing() -> Option<&'static str> {
    // Told when this was compiled, as gungraun reads it.
    let runner = option_env!("GUNGRAUN_RUNNER").is_some_and(|path| Path::new(path).is_file());
    match () {
        () if !runner && !is_installed("gungraun-runner") => Some("gungraun-runner"),
        () if !is_installed("valgrind") => Some("valgrind"),
        () => None,
    }
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
