//! Goal: the examples do what they say. Method: each checks its own results and ends by itself, so that they are run as
//! built (`cargo test` builds them first) and must succeed, leaving nothing in the directory for temporary files.

use std::path::PathBuf;
use std::process::Command;

/// The built example, if it was built.
fn binary(name: &str) -> Option<PathBuf> {
    // target/debug/deps/examples-0123 ─▶ target/debug/examples/NAME
    let test = std::env::current_exe().unwrap();
    let dir = test.parent().unwrap().parent().unwrap().join("examples");
    let path = dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    path.exists().then_some(path)
}

fn run(name: &str) {
    let Some(binary) = binary(name) else {
        println!("skipped: {name} was not built; `cargo test --all-features` builds it");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(binary).env("TMPDIR", dir.path()).env("TMP", dir.path()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{out}{err}", output.status);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{name} leaves {left:?}");
}

#[test]
fn append_query() {
    run("append_query");
}

#[test]
fn backfill() {
    run("backfill");
}

#[test]
fn second_reader() {
    run("second_reader");
}

#[test]
fn self_scrape_http() {
    run("self_scrape_http");
}

#[test]
fn tokio_writer() {
    run("tokio_writer");
}
