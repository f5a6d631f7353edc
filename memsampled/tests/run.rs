//! `memsample run` and `doctor` as a user runs them: real suites, whose expected outcomes are data.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod command;
mod report_outputs;

use std::fs;
use std::path::{Path, PathBuf};

use command::{Ended, memsample};
use report_outputs::{check_junit, check_results};
use serde_json::Value;
use tempfile::tempdir;

/// Runs a suite in `directory` with more arguments.
fn run(directory: &Path, suite: &str, arguments: &[&str]) -> Ended {
    fs::write(directory.join("suite.toml"), suite).unwrap();
    memsample(directory, &[&["run", "suite.toml", "--isolation", "none"], arguments].concat())
}

/// Checks the files of a run, whose path is the last line, and returns its results.
#[track_caller]
fn results(ended: &Ended) -> Value {
    let last = ended.stdout.lines().last().unwrap_or_else(|| panic!("{}", ended.stderr));
    let directory = PathBuf::from(last);
    let results = check_results(&fs::read(directory.join("results.json")).unwrap());
    check_junit(&fs::read(directory.join("junit.xml")).unwrap()).unwrap();
    assert!(directory.join("recording/run.json").exists());
    results
}

fn outcomes(results: &Value) -> Vec<(&str, &str)> {
    let tests = results["tests"].as_array().unwrap().iter();
    let word = |value: &'_ Value| -> &'static str { value.as_str().unwrap().to_owned().leak() };
    tests.map(|test| (word(&test["name"]), word(&test["outcome"]))).collect()
}

const MIXED: &str = r#"
name = "mixed"
[[test]]
name = "passes"
shell = "echo fine"
tags = ["smoke"]
[[test]]
name = "fails"
shell = "echo broken >&2; exit 3"
[[test]]
name = "is too slow"
command = ["sleep", "600"]
timeout = "100ms"
grace = "100ms"
[[test]]
name = "crashes"
shell = "kill -SEGV $$"
[[test]]
name = "is absent"
command = ["/nonexistent/program"]
[[test]]
name = "needs the one that fails"
command = ["true"]
requires = ["fails"]
"#;

#[test]
fn outcomes_are_alike_in_every_output() {
    let directory = tempdir().unwrap();
    let ended = run(directory.path(), MIXED, &["--name", "a"]);
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    let results = results(&ended);
    let expected = [
        ("passes", "passed"),
        ("fails", "failed"),
        ("is too slow", "timed_out"),
        ("crashes", "signaled"),
        ("is absent", "not_started"),
        ("needs the one that fails", "skipped"),
    ];
    assert_eq!(outcomes(&results), expected);
    assert_eq!(results["outcome"], "failed");
    for (name, outcome) in expected {
        let line = |text: &str| {
            let mut lines = text.lines();
            lines.any(|line| line.trim_start().starts_with(outcome) && line.contains(name))
        };
        assert!(
            line(&ended.stdout) && line(&ended.stderr),
            "{name}: {}{}",
            ended.stdout,
            ended.stderr
        );
    }
    assert!(ended.stderr.contains("    | broken\n"), "{}", ended.stderr);
    assert!(!ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'));
}

#[test]
fn exit_codes_say_what_became_of_the_suite() {
    let long = "name = \"long\"\ntimeout = \"200ms\"\n[[test]]\nname = \"a\"\ncommand = [\"sleep\", \"600\"]\ngrace = \"0s\"\n";
    let setup =
        "name = \"s\"\n[setup]\nshell = \"exit 1\"\n[[test]]\nname = \"a\"\ncommand = [\"true\"]\n";
    let cases: [(&str, &[&str], i32, &str); 6] = [
        (MIXED, &["--filter", "^passes$"], 0, "passed"),
        (MIXED, &["--tag", "smoke"], 0, "passed"),
        (MIXED, &["--filter", "fails"], 10, "failed"),
        (MIXED, &["--fail-fast", "--filter", "fails|crashes"], 10, "failed"),
        (long, &[], 11, "aborted"),
        (setup, &[], 11, "aborted"),
    ];
    for (suite, arguments, code, outcome) in cases {
        let directory = tempdir().unwrap();
        let ended = run(directory.path(), suite, arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
        assert_eq!(results(&ended)["outcome"], outcome, "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_written() {
    let cases: [(&str, &[&str], i32, &str); 5] = [
        ("name = 1", &[], 12, "suite.toml:1:8"),
        (MIXED, &["--policy", "absent.toml"], 12, "absent.toml"),
        (MIXED, &["--filter", "no such test"], 13, "no test of the suite is selected"),
        (MIXED, &["--shard", "3/2"], 2, "such as 1/4"),
        (MIXED, &["--name", "a/b"], 1, "cannot be the name"),
    ];
    for (suite, arguments, code, message) in cases {
        let directory = tempdir().unwrap();
        let ended = run(directory.path(), suite, arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{arguments:?}: {}", ended.stderr);
        assert!(!directory.path().join("runs").exists(), "{arguments:?}");
    }
}

#[test]
fn json_is_one_object_with_the_directory() {
    let directory = tempdir().unwrap();
    let ended = run(directory.path(), MIXED, &["--json", "--filter", "passes"]);
    assert_eq!(ended.stdout.lines().count(), 1);
    let results = check_results(ended.stdout.as_bytes());
    assert!(Path::new(results["directory"].as_str().unwrap()).join("junit.xml").exists());
}

#[test]
fn a_run_that_came_to_its_end_is_not_run_again() {
    let directory = tempdir().unwrap();
    let arguments = ["--name", "a", "--filter", "passes", "--resume"];
    assert_eq!(run(directory.path(), MIXED, &arguments).code, Some(0));
    let again = run(directory.path(), MIXED, &arguments);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(!again.stderr.contains("passed    "), "{}", again.stderr);
    assert_eq!(outcomes(&results(&again)), [("passes", "passed")]);
    let refused = run(directory.path(), MIXED, &["--name", "a"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("not empty"), "{}", refused.stderr);
}

#[test]
fn doctor_says_what_works() {
    let directory = tempdir().unwrap();
    let ended = memsample(directory.path(), &["doctor", "--json"]);
    let checks = ended.json();
    for (index, name) in ["pidns", "bwrap", "lxc", "memory", "pids", "kill"].iter().enumerate() {
        let check = &checks[index];
        assert_eq!(check["name"], *name);
        assert_eq!(check["works"] == true, check["reason"].is_null(), "{check}");
    }
    let text = memsample(directory.path(), &["doctor"]).stdout;
    assert!(text.contains("pidns") && text.contains("nothing survives a test"), "{text}");
}

#[test]
fn the_demo_shows_what_it_says() {
    let directory = tempdir().unwrap();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/suite.toml");
    let doctor = memsample(directory.path(), &["doctor", "--json"]).json();
    let memory = doctor.as_array().unwrap().iter().find(|check| check["name"] == "memory").unwrap();
    // Without control groups a memory limit is not pretended.
    let last = if memory["works"] == true { "out_of_memory" } else { "not_started" };
    let ended = memsample(directory.path(), &["run", demo]);
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    let results = results(&ended);
    let words: Vec<&str> = outcomes(&results).into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(words, ["passed", "failed", "timed_out", "leaked", "over_budget", last]);
}
