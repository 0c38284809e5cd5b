//! Goal: the command line keeps its promises: exit codes, what goes to stdout and what to stderr, one JSON object,
//! closed pipes, Ctrl-C, and one clear sentence for whatever is wrong.
//! Method: runs the binary on small data of our own, in directories that vanish.
#![cfg(feature = "cli")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_silverback");

/// A directory for a test's database and files.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// With the small dump imported.
    fn with_data() -> Place {
        let place = Place::new();
        let output = place.run(&["import", "--db", "db", &data("small.om")]);
        assert_eq!(code(&output), 0, "{}", err(&output));
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.path());
        command.env_remove("SILVERBACK_DB").env_remove("COLUMNS").env("TMPDIR", self.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn spawn_with_stdin(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdin(Stdio::piped()).spawn().unwrap()
    }

    fn run_with_stdin(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut child = self.spawn_with_stdin(arguments);
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs what must succeed; its stdout.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", err(&output));
        out(&output)
    }

    /// Runs what must fail with this code; its stderr, which is one sentence with these words in it.
    fn fails(&self, expected: i32, arguments: &[&str], words: &[&str]) -> String {
        let output = self.run(arguments);
        let err = err(&output);
        assert_eq!(code(&output), expected, "{arguments:?}: {err}");
        assert_eq!(out(&output), "", "{arguments:?}");
        for word in words {
            assert!(err.contains(word), "{arguments:?}: no `{word}` in: {err}");
        }
        err
    }
}

fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name).to_str().unwrap().to_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("ended by itself")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Exactly one object, and nothing else.
fn object(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert!(value.is_object() && text.ends_with("}\n"), "{text}");
    value
}

#[test]
fn import_dump_and_query_agree() {
    let place = Place::new();
    let output = place.run(&["import", "--db", "db", &data("small.om"), "--json"]);
    let summary = object(&out(&output));
    assert_eq!(summary["series"], 5);
    assert_eq!(summary["samples"], 12);
    assert_eq!(summary["min_time_ms"], 1_600_000_000_000i64);
    assert_eq!(summary["max_time_ms"], 1_600_000_045_000i64);
    assert_eq!(summary["bytes_in"], std::fs::metadata(data("small.om")).unwrap().len());
    assert!(summary["bytes_out"].as_u64().unwrap() > 0);
    for key in ["rejected", "conflicts", "duplicates", "stored_equal", "stored_other"] {
        assert_eq!(summary[key], 0, "{key}");
    }
    assert!(summary["bytes_per_sample"].as_f64().unwrap() > 1.0);
    assert_eq!(summary["rejected_lines"], serde_json::json!([]));
    assert_eq!(summary["exemplars"], 1);
    assert!(err(&output).contains("imported 12 samples of 5 series"), "{}", err(&output));

    let expected = std::fs::read_to_string(data("small.dump")).unwrap();
    assert_eq!(place.ok(&["dump", "--db", "db"]), expected);
    let bits = place.ok(&["dump", "--db", "db", "--bits", "--match", "temperature"]);
    assert_eq!(
        bits,
        "{__name__=\"temperature\"} 8000000000000000 1600000000000\n\
         {__name__=\"temperature\"} fff0000000000000 1600000015000\n\
         {__name__=\"temperature\"} 7ff0000000000000 1600000030000\n"
    );

    let found = object(&place.ok(&["query", "--db", "db", "up{job=\"node\"}", "--json"]));
    let samples = &found["series"][0]["samples"];
    assert_eq!(found["series"].as_array().unwrap().len(), 1);
    assert_eq!(found["series"][0]["labels"], serde_json::json!({"__name__": "up", "job": "node"}));
    assert_eq!(samples[0], serde_json::json!([1_600_000_000_000i64, 1.0]));
    assert_eq!(samples[2], serde_json::json!([1_600_000_030_000i64, "NaN"]));
}

#[test]
fn dump_selects_by_series_and_time() {
    let place = Place::with_data();
    let lines = |arguments: &[&str]| {
        let all = [&["dump", "--db", "db"], arguments].concat();
        place.ok(&all).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = lines(&[]);
    // Both ends are included.
    let some = lines(&["--min-time", "1600000000500", "--max-time", "2020-09-13T12:26:55Z"]);
    let expected: Vec<_> =
        whole.iter().filter(|l| l.ends_with("000500") || l.ends_with("015000")).cloned().collect();
    assert_eq!(some, expected);
    // What several selectors select: each series once, in the order of series.
    let union = lines(&["--match", "up", "--match", "{code=\"500\"}", "--match", "{job=\"node\"}"]);
    let expected: Vec<_> =
        whole.iter().filter(|l| l.contains("\"up\"") || l.contains("\"500\"")).cloned().collect();
    assert_eq!(union, expected);
    assert_eq!(lines(&["--match", "nothing"]), Vec::<String>::new());
    assert_eq!(lines(&["--min-time", "-1h"]), Vec::<String>::new());
}

#[test]
fn query_shows_a_table_and_a_plot_without_colours() {
    let place = Place::with_data();
    let text = place.ok(&["query", "--db", "db", "up"]);
    for part in ["up{job=\"node\"}", "Zürich", "samples", "2020-09-13T12:26:40Z", "┤", "└", "●", "+"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
    let one = place.ok(&["query", "--db", "db", "up{job=\"node\"}"]);
    assert!(one.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "{one}");

    let output = place.run(&["query", "--db", "db", "nothing"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, ""));
    assert!(err(&output).contains("no samples"), "{}", err(&output));
    assert_eq!(
        object(&place.ok(&["query", "--db", "db", "nothing", "--json"]))["series"],
        serde_json::json!([])
    );
}

#[test]
fn a_step_keeps_its_last_sample() {
    let place = Place::with_data();
    let samples = |arguments: &[&str]| {
        let all = [&["query", "--db", "db", "up{job=\"node\"}", "--json"], arguments].concat();
        let found = object(&place.ok(&all));
        let samples = found["series"][0]["samples"].as_array().cloned().unwrap_or_default();
        samples.iter().map(|s| s[0].as_i64().unwrap() - 1_600_000_000_000).collect::<Vec<_>>()
    };
    assert_eq!(samples(&[]), [0, 15_000, 30_000, 45_000]);
    // 1600000000 is 40 seconds after a full minute.
    assert_eq!(samples(&["--step", "30s"]), [15_000, 45_000]);
    assert_eq!(samples(&["--step", "1m"]), [15_000, 45_000]);
    assert_eq!(samples(&["--step", "1h"]), [45_000]);
    assert_eq!(samples(&["--start", "1600000000000", "--step", "40s"]), [30_000, 45_000]);
    assert_eq!(samples(&["--start", "1600000015000", "--end", "1600000030000"]), [15_000, 30_000]);
}

#[test]
fn look_ups_print_lines_or_one_object() {
    let place = Place::with_data();
    assert_eq!(
        place.ok(&["series", "--db", "db", "--match", "{job=\"node\"}", "--match", "requests_total"]),
        "{__name__=\"requests_total\", code=\"200\"}\n{__name__=\"requests_total\", code=\"500\"}\n{__name__=\"up\", job=\"node\"}\n"
    );
    assert_eq!(place.ok(&["labels", "--db", "db"]), "__name__\ncode\njob\nzone\n");
    assert_eq!(place.ok(&["labels", "--db", "db", "--match", "requests_total"]), "__name__\ncode\n");
    assert_eq!(place.ok(&["label-values", "code", "--db", "db"]), "200\n500\n");
    assert_eq!(place.ok(&["label-values", "none", "--db", "db"]), "");
    assert_eq!(object(&place.ok(&["series", "--db", "db", "--json"]))["series"].as_array().unwrap().len(), 5);
    assert_eq!(object(&place.ok(&["labels", "--db", "db", "--json"]))["labels"][3], "zone");
    assert_eq!(object(&place.ok(&["label-values", "code", "--db", "db", "--json"]))["values"][0], "200");
    let stats = object(&place.ok(&["stats", "--db", "db", "--json"]));
    assert_eq!((stats["series"].as_u64(), stats["samples"].as_u64()), (Some(5), Some(12)));
    assert_eq!(stats["max_time_ms"], 1_600_000_045_000i64);
    assert!(place.ok(&["stats", "--db", "db"]).contains("2020-09-13T12:27:25Z"));
}

#[test]
fn care_changes_no_answer() {
    let place = Place::with_data();
    let before = place.ok(&["dump", "--db", "db", "--bits"]);
    assert_eq!(object(&place.ok(&["compact", "--db", "db", "--json"]))["samples"], 12);
    assert_eq!(place.ok(&["dump", "--db", "db", "--bits"]), before);
    assert_eq!(object(&place.ok(&["snapshot", "--db", "db", "copy", "--json"]))["path"], "copy");
    assert_eq!(place.ok(&["dump", "--db", "copy", "--bits"]), before);
    place.fails(3, &["snapshot", "--db", "db", "copy"], &["silverback: copy: ", "empty directory"]);
    assert_eq!(object(&place.ok(&["verify", "--db", "copy", "--json"]))["clean"], true);
    assert_eq!(place.ok(&["verify", "--db", "db"]), "");

    assert_eq!(place.ok(&["delete", "--db", "db", "--match", "up", "--max-time", "1600000000500"]), "2\n");
    assert_eq!(object(&place.ok(&["delete", "--db", "db", "--match", "nothing", "--json"]))["deleted"], 0);
    let left = place.ok(&["dump", "--db", "db", "--bits"]);
    assert_eq!(left.lines().count(), 10);
    place.ok(&["compact", "--db", "db"]);
    assert_eq!(place.ok(&["dump", "--db", "db", "--bits"]), left);
    assert_eq!(place.ok(&["dump", "--db", "copy", "--bits"]), before);
}

#[test]
fn inputs_are_files_directories_and_stdin() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("dumps")).unwrap();
    place.file("dumps/b.prom", "b 2 2000\n");
    place.file("dumps/a.om.zst", zstd::encode_all(&b"a 1 1\n# EOF\n"[..], 3).unwrap());
    let output =
        place.run_with_stdin(&["import", "--db", "db", "dumps", "-", "--label", "job=x"], "c 3 3000\n");
    assert_eq!(code(&output), 0, "{}", err(&output));
    let expected = "{__name__=\"a\", job=\"x\"} 1 1000\n{__name__=\"b\", job=\"x\"} 2 2000\n{__name__=\"c\", job=\"x\"} 3 3000\n";
    assert_eq!(place.ok(&["dump", "--db", "db"]), expected);
    // No file named is stdin.
    let output = place.run_with_stdin(&["import", "--db", "db", "--quiet"], "d 4 4000\n");
    assert_eq!((code(&output), out(&output).as_str(), err(&output).as_str()), (0, "", ""));
    assert!(place.ok(&["dump", "--db", "db", "--match", "d"]).ends_with(" 4 4000\n"));
}

#[test]
fn samples_without_a_time_are_given_one_or_refused() {
    let place = Place::new();
    let path = place.file("page.txt", "up 1\n");
    place.fails(
        1,
        &["import", "--db", "db", "page.txt"],
        &["page.txt:1:1:", "--timestamp", "nothing was imported"],
    );
    place.ok(&["import", "--db", "db", "page.txt", "--timestamp", "2020-09-13T12:26:40Z"]);
    assert_eq!(place.ok(&["dump", "--db", "db"]), "{__name__=\"up\"} 1 1600000000000\n");
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_500_000_000_123);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    place.ok(&["import", "--db", "other", "page.txt", "--timestamp", "mtime"]);
    assert_eq!(place.ok(&["dump", "--db", "other"]), "{__name__=\"up\"} 1 1500000000123\n");
}

#[test]
fn what_is_wrong_in_a_dump_is_told_by_line_and_column() {
    let place = Place::with_data();
    let before = place.ok(&["dump", "--db", "db"]);
    place.file("bad.txt", "good 1 1000\nbad x 1000\nworse{ 1 1000\n");
    place.fails(1, &["import", "--db", "db", "bad.txt"], &["silverback: bad.txt:2:", "nothing was imported"]);
    assert_eq!(place.ok(&["dump", "--db", "db"]), before);
    place.fails(
        1,
        &["import", "--db", "db", "bad.txt", "--on-error", "skip", "--max-rejected", "1"],
        &["bad.txt:3:", "nothing was imported"],
    );
    assert_eq!(place.ok(&["dump", "--db", "db"]), before);

    let output = place.run(&["import", "--db", "db", "bad.txt", "--on-error", "skip", "--json"]);
    assert_eq!(code(&output), 0);
    let summary = object(&out(&output));
    assert_eq!((summary["samples"].as_u64(), summary["rejected"].as_u64()), (Some(1), Some(2)));
    for part in ["bad.txt:2:", "bad.txt:3:", "2 lines rejected"] {
        assert!(err(&output).contains(part), "no `{part}` in: {}", err(&output));
    }

    let output = place.run(&["check", "bad.txt", &data("small.om")]);
    assert_eq!(code(&output), 1);
    assert!(out(&output).starts_with("bad.txt:2:5: "), "{}", out(&output));
    assert!(err(&output).contains("1 of 2 inputs invalid"), "{}", err(&output));
    let report = object(&out(&place.run(&["check", "bad.txt", "--json"])));
    assert_eq!((report["valid"].as_bool(), report["inputs"][0]["line"].as_u64()), (Some(false), Some(2)));
    assert_eq!(place.ok(&["check", &data("small.om")]), "");
}

#[test]
fn duplicates_and_conflicts_are_counted() {
    let place = Place::new();
    place.file("twice.txt", "a 1 1000\na 1 1000\na 2 1000\na 3 2000\n");
    let summary = object(&place.ok(&["import", "--db", "db", "twice.txt", "--json"]));
    assert_eq!(summary["samples"], 2);
    assert_eq!((summary["duplicates"].as_u64(), summary["conflicts"].as_u64()), (Some(1), Some(1)));
    assert_eq!(place.ok(&["dump", "--db", "db"]), "{__name__=\"a\"} 1 1000\n{__name__=\"a\"} 3 2000\n");
}

#[test]
fn an_import_again_changes_nothing_and_says_so() {
    let place = Place::with_data();
    let expected = place.ok(&["dump", "--db", "db", "--bits"]);
    let again = place.run(&["import", "--db", "db", &data("small.om"), "--json"]);
    let summary = object(&out(&again));
    assert_eq!((&summary["stored_equal"], &summary["stored_other"]), (&12.into(), &0.into()));
    assert!(err(&again).contains("12 samples stored before, with the same value"), "{}", err(&again));
    assert_eq!(place.ok(&["dump", "--db", "db", "--bits"]), expected);
    place.ok(&["compact", "--db", "db"]);
    assert_eq!(place.ok(&["dump", "--db", "db", "--bits"]), expected);
    place.file("other.om", "up{job=\"node\"} 7 1600000000\n# EOF\n");
    let other = object(&place.ok(&["import", "--db", "db", "other.om", "--json"]));
    assert_eq!((&other["stored_equal"], &other["stored_other"]), (&0.into(), &1.into()));
    assert!(place.ok(&["dump", "--db", "db", "--match", "up{job=\"node\"}"]).contains("} 7 1600000000000"));
}

#[test]
fn what_was_left_out_is_told_with_its_place() {
    let place = Place::new();
    place.file("bad.txt", "a 1 1000\na x 2000\nb 1 1000\n");
    let output = place.run(&["import", "--db", "db", "bad.txt", "--on-error", "skip", "--json"]);
    let summary = object(&out(&output));
    let lines =
        serde_json::json!([{"input": "bad.txt", "line": 2, "column": 3, "why": "the value is no number"}]);
    assert_eq!((&summary["rejected"], &summary["rejected_lines"]), (&1.into(), &lines));
    assert!(err(&output).contains("bad.txt:2:3: the value is no number"), "{}", err(&output));
}

/// A killed import leaves runs in `spill`, which the next writer removes.
#[cfg(unix)]
#[test]
fn the_runs_of_a_killed_import_go_at_the_next_open() {
    let place = Place::with_data();
    let before = place.ok(&["dump", "--db", "db"]);
    let spill = place.path().join("db/spill");
    let runs = || {
        let loads = std::fs::read_dir(&spill).unwrap();
        loads.map(|load| std::fs::read_dir(load.unwrap().path()).map_or(0, Iterator::count)).sum::<usize>()
    };
    let mut child = place.spawn_with_stdin(&["import", "--db", "db", "--memory", "8M"]);
    let mut stdin = child.stdin.take().unwrap();
    // New series until the memory is full; a pipe that is full waits for the import, so that this ends.
    for from in (0..2_000_000).step_by(1_000) {
        let line = |n: u32| format!("other{{number=\"{n}\",long=\"of number {n}\"}} 1 {n}000\n");
        stdin.write_all((from..from + 1_000).map(line).collect::<String>().as_bytes()).unwrap();
        if runs() > 0 {
            break;
        }
    }
    assert!(runs() > 0, "it has spilled");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    assert!(runs() > 0, "a killed process removes nothing");
    assert_eq!(place.ok(&["dump", "--db", "db"]), before, "a reader leaves it alone");
    place.ok(&["compact", "--db", "db"]);
    assert_eq!(std::fs::read_dir(&spill).unwrap().count(), 0);
    assert_eq!(place.ok(&["dump", "--db", "db"]), before);
}

#[test]
fn packed_inputs_that_end_early_are_wrong_data() {
    let place = Place::new();
    let packed = zstd::encode_all(std::fs::read(data("small.om")).unwrap().as_slice(), 3).unwrap();
    place.file("cut.om.zst", &packed[..packed.len() - 9]);
    place.file("damaged.om.zst", [&packed[..20], &[0xff; 40], &packed[60..]].concat());
    for name in ["cut.om.zst", "damaged.om.zst"] {
        place.fails(1, &["import", "--db", "db", name], &["silverback: ", name, "nothing was imported"]);
        place.fails(1, &["check", name], &["silverback: ", name]);
    }
    assert_eq!(place.ok(&["dump", "--db", "db"]), "");
}

#[test]
fn a_wrong_database_is_named_and_left_alone() {
    let place = Place::new();
    place.file("file", "x");
    std::fs::create_dir(place.path().join("foreign")).unwrap();
    place.file("foreign/letter", "x");
    let commands: [&[&str]; 9] = [
        &["dump"],
        &["query", "up"],
        &["series"],
        &["labels"],
        &["stats"],
        &["compact"],
        &["verify"],
        &["delete", "--match", "up"],
        &["snapshot", "copy"],
    ];
    for command in commands {
        for db in ["missing", "file", "foreign"] {
            let all = [command, &["--db", db]].concat();
            let err = place.fails(3, &all, &["silverback: ", db, "no silverback database"]);
            assert_eq!(err.lines().count(), 1, "{err}");
        }
        let err = place.fails(2, command, &["--db"]);
        assert!(err.contains("Usage"), "{err}");
    }
    assert!(!place.path().join("missing").exists() && !place.path().join("copy").exists());
    assert_eq!(std::fs::read_dir(place.path().join("foreign")).unwrap().count(), 1);
    let small = data("small.om");
    for db in ["file", "foreign"] {
        place.fails(3, &["import", "--db", db, &small], &[db]);
    }
}

#[test]
fn wrong_arguments_are_usage_errors() {
    let place = Place::with_data();
    let cases: [(&[&str], &str); 14] = [
        (&["check", "--strict", "--format", "text", "-"], "--format text"),
        (&["query", "--db", "db", "up{"], "up{"),
        (&["query", "--db", "db", "{}"], "{}"),
        (&["query", "--db", "db", "up{job=~\"(\"}"], "up{job=~"),
        (&["query", "--db", "db", "up", "--start", "yesterday"], "yesterday"),
        (&["query", "--db", "db", "up", "--step", "15"], "15s"),
        (&["query", "--db", "db", "up", "--start", "now", "--end", "-1h"], "--start"),
        (&["dump", "--db", "db", "--min-time", "5", "--max-time", "4"], "--min-time 5 is after --max-time 4"),
        (&["dump", "--db", "db", "--max-time", "9223372036854775807"], "reserved"),
        (&["import", "--db", "db", "--memory", "lots"], "256M"),
        (&["import", "--db", "db", "--memory", "1"], "at least"),
        (&["import", "--db", "db", "--label", "job"], "NAME=VALUE"),
        (&["import", "--db", "db", "-", "-"], "once"),
        (&["delete", "--db", "db"], "--match"),
    ];
    for (arguments, word) in cases {
        place.fails(2, arguments, &[word]);
    }
    place.fails(2, &["export"], &["export"]);
    place.fails(2, &["completions", "tcsh"], &["tcsh"]);
}

#[test]
fn a_strict_check_takes_nothing_for_prometheus_text() {
    let place = Place::new();
    place.file("page.txt", "up 1\n");
    place.ok(&["check", "page.txt"]);
    let told = place.run(&["check", "--strict", "page.txt"]);
    assert_eq!((code(&told), out(&told).contains("# EOF")), (1, true), "{}", out(&told));
}

#[test]
fn inputs_are_looked_at_before_anything_is_made() {
    let place = Place::new();
    place.file("good.txt", "a 1 1000\n");
    place.fails(
        3,
        &["import", "--db", "db", "good.txt", "missing.txt"],
        &["silverback: missing.txt: cannot read it"],
    );
    assert!(!place.path().join("db").exists());
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_is_an_error_of_the_system() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let path = place.file("secret.txt", "a 1 1000\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        println!("skipped: root reads everything");
        return;
    }
    place.fails(3, &["import", "--db", "db", "secret.txt"], &["secret.txt: cannot open the file"]);
    place.fails(3, &["check", "secret.txt"], &["secret.txt"]);
}

#[test]
fn the_directory_may_come_from_the_environment() {
    let place = Place::with_data();
    let output = place.command(&["labels"]).env("SILVERBACK_DB", "db").output().unwrap();
    assert_eq!((code(&output), out(&output).lines().count()), (0, 4));
    // An argument wins.
    let output = place.command(&["labels", "--db", "missing"]).env("SILVERBACK_DB", "db").output().unwrap();
    assert_eq!(code(&output), 3);
}

#[test]
fn damage_is_found_and_named() {
    let place = Place::with_data();
    let mut files = Vec::new();
    for block in std::fs::read_dir(place.path().join("db/blocks")).unwrap() {
        files.extend(std::fs::read_dir(block.unwrap().path()).unwrap().map(|e| e.unwrap().path()));
    }
    let chunks = files.iter().find(|p| p.ends_with("chunks")).unwrap();
    let mut bytes = std::fs::read(chunks).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(chunks, &bytes).unwrap();
    let output = place.run(&["verify", "--db", "db"]);
    assert_eq!(code(&output), 1);
    assert!(out(&output).contains("chunks: ") && out(&output).contains(" at offset "), "{}", out(&output));
    let report = object(&out(&place.run(&["verify", "--db", "db", "--json"])));
    assert_eq!(report["clean"], false);
    assert!(report["faults"][0]["path"].as_str().unwrap().ends_with("chunks"));
    let output = place.run(&["dump", "--db", "db"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("chunks"), "{}", err(&output));
}

#[test]
fn a_closed_pipe_ends_in_silence() {
    let place = Place::new();
    place.ok(&["demo", "--db", "db"]);
    for arguments in [&["dump", "--db", "db"][..], &["query", "--db", "db", "{job=~\".+\"}", "--json"]] {
        let mut child = place.command(arguments).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((code(&output), err(&output).as_str()), (0, ""), "{arguments:?}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_the_database_as_it_was() {
    let place = Place::with_data();
    let before = place.ok(&["dump", "--db", "db"]);
    let mut child = place.spawn_with_stdin(&["import", "--db", "db"]);
    let mut stdin = child.stdin.take().unwrap();
    // More than the parser's window, so that something was read; then it waits for more.
    let lines: String = (0..40_000).map(|t| format!("other 1 {t}000\n")).collect();
    stdin.write_all(lines.as_bytes()).unwrap();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(code(&output), 130, "{}", err(&output));
    assert_eq!(place.ok(&["dump", "--db", "db"]), before);
    place.ok(&["import", "--db", "db", &data("small.om")]);
    assert_eq!(place.ok(&["verify", "--db", "db"]), "");
}

#[test]
fn the_demo_works_twice_and_touches_no_other_database() {
    let place = Place::new();
    let first = place.run(&["demo"]);
    assert_eq!(code(&first), 0, "{}", err(&first));
    let dir = place.path().join("silverback-demo");
    for part in
        ["$ silverback import --db", "$ silverback query --db", "node_load1", "┤", dir.to_str().unwrap()]
    {
        assert!(out(&first).contains(part), "no `{part}` in:\n{}", out(&first));
    }
    assert!(err(&first).contains("imported 18,000 samples of 50 series"), "{}", err(&first));
    let second = place.run(&["demo"]);
    assert_eq!(code(&second), 0, "{}", err(&second));
    assert_eq!(out(&second), out(&first));
    let stats = object(&place.ok(&["stats", "--db", dir.to_str().unwrap(), "--json"]));
    assert_eq!((stats["series"].as_u64(), stats["samples"].as_u64()), (Some(50), Some(18_000)));

    let other = Place::with_data();
    let output = other.run(&["demo", "--db", "db"]);
    assert_eq!(code(&output), 3);
    assert!(err(&output).contains("holds other data"), "{}", err(&output));
    assert_eq!(other.ok(&["dump", "--db", "db"]), std::fs::read_to_string(data("small.dump")).unwrap());
}

#[test]
fn a_second_writer_is_refused_and_readers_are_not() {
    let place = Place::with_data();
    let mut child = place.spawn_with_stdin(&["import", "--db", "db"]);
    let mut stdin = child.stdin.take().unwrap();
    // Held by the child from some moment on; until then the other import is let in.
    let pid = child.id().to_string();
    let refused = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let output = place.run(&["compact", "--db", "db", "--quiet"]);
        code(&output) == 3 && err(&output).contains(&pid)
    });
    assert!(refused, "a second writer is told the first one's process");
    assert_eq!(place.ok(&["dump", "--db", "db"]).lines().count(), 12);
    stdin.write_all(b"late 1 1000\n").unwrap();
    drop(stdin);
    assert_eq!(code(&child.wait_with_output().unwrap()), 0);
    assert_eq!(place.ok(&["dump", "--db", "db"]).lines().count(), 13);
}

#[test]
fn help_completions_and_the_manual_page_are_printed() {
    let place = Place::new();
    for command in [
        "demo",
        "import",
        "check",
        "dump",
        "query",
        "series",
        "labels",
        "label-values",
        "stats",
        "compact",
        "verify",
        "delete",
        "snapshot",
        "completions",
        "man",
    ] {
        let help = place.ok(&[command, "--help"]);
        assert!(help.contains("Example") && help.contains("Usage: silverback"), "{help}");
    }
    let manual = place.ok(&["man"]);
    for part in [".TH silverback", ".SH IMPORT", ".SH LABEL-VALUES", "\\-\\-max\\-rejected"] {
        assert!(manual.contains(part), "no `{part}`");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.ok(&["completions", shell]).contains("label-values"), "{shell}");
    }
}
