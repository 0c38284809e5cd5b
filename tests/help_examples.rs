//! Goal: every example in the help of every command runs as it stands there.
//! Method: reads the examples out of `--help` and gives each to a shell, in a directory that has what they name, with
//! stand-ins for the other programs that they call.
#![cfg(all(feature = "cli", unix))]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SMALL: &str = include_str!("data/small.om");

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_silverback"))
}

/// What a program prints; it must succeed.
fn stdout(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {err}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that the help lists.
fn commands() -> Vec<String> {
    let help = stdout(Command::new(binary()).arg("--help"));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|n| *n != "help")
        .map(str::to_owned)
        .collect()
}

/// The examples in the help of a command.
fn examples(command: &str) -> Vec<String> {
    let help = stdout(Command::new(binary()).args([command, "--help"]).env("COLUMNS", "200"));
    let mut lines = help.lines().skip_while(|line| !line.starts_with("Example"));
    let first = lines.next().unwrap_or_default();
    match first.strip_prefix("Example: ") {
        Some(example) => vec![example.to_owned()],
        None => lines.take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect(),
    }
}

/// A directory with all that the examples name; returns the directory of programs.
fn prepare(dir: &Path) -> PathBuf {
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    for name in ["dump.om", "dumps/a.om", "monday.om", "tuesday.om"] {
        write(name, SMALL.as_bytes());
    }
    write("dump.om.zst", &zstd::encode_all(SMALL.as_bytes(), 3).unwrap());
    write("flask.scrapes", include_bytes!("data/target.scrapes"));
    std::fs::create_dir_all(dir.join("home/.local/share/bash-completion/completions")).unwrap();
    std::fs::create_dir(dir.join("backup")).unwrap();
    let programs = dir.join("programs");
    write("programs/page", b"up 1\n");
    write("programs/line", include_bytes!("data/victoriametrics.jsonl"));
    write("programs/dump", include_bytes!("data/small.dump"));
    let shown = programs.display();
    let curl = format!("case \"$*\" in *export*) cat {shown}/line;; *) cat {shown}/page;; esac");
    let promtool = format!("cat {shown}/dump");
    for (name, what) in [("curl", curl.as_str()), ("man", "cat > /dev/null"), ("promtool", promtool.as_str())]
    {
        write(&format!("programs/{name}"), format!("#!/bin/sh\n{what}\n").as_bytes());
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(programs.join(name), executable).unwrap();
    }
    programs
}

#[test]
fn every_example_runs() {
    let (mut run, mut all) = (0, Vec::new());
    for command in commands() {
        let found = examples(&command);
        assert!(!found.is_empty(), "{command} has no example");
        all.extend(found.into_iter().map(|example| (command.clone(), example)));
    }
    for (command, example) in all {
        if command == "bench" {
            println!("not run, it takes long: {example}");
            continue;
        }
        let place = tempfile::tempdir().unwrap();
        let programs = prepare(place.path());
        let import = ["import", "--db", "metrics", "dump.om", "--quiet"];
        stdout(Command::new(binary()).args(import).current_dir(place.path()));
        let path = std::env::join_paths(
            [programs, binary().parent().unwrap().to_owned()]
                .into_iter()
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut shell = Command::new("sh");
        // A pipe fails with its last program; a shell that can is told to look at the others too.
        shell.args(["-c", &format!("(set -o pipefail) 2>/dev/null && set -o pipefail; {example}")]);
        shell.current_dir(place.path()).env("PATH", path.unwrap()).env("TMPDIR", place.path());
        shell.env("HOME", place.path().join("home")).env_remove("SILVERBACK_DB");
        let printed = stdout(&mut shell);
        println!("{example}: {} bytes", printed.len());
        run += 1;
    }
    assert!(run > 20, "only {run} examples were found: the test looks in the wrong place");
}
