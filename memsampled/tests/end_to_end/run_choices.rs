//! What a user chooses of a suite on the command line, and what a person sees of it on a terminal, in a log and on a CI
//! server.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command::{Ended, MEMSAMPLE, memsample, shell};
use crate::report_outputs::{check_junit, check_results};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const SUITE: &str = r#"
name = "choices"
[[test]]
name = "net/ping"
command = ["true"]
tags = ["smoke"]
[[test]]
name = "net/round trip"
command = ["true"]
requires = ["net/ping"]
[[test]]
name = "parser"
shell = "printf '[[ATTACHMENT|/etc/shadow]]\n1 warning\n'; echo 'main.c:4:9: error: expected an expression before the end of the file' >&2; exit 3"
"#;

/// A setup that fails as a build does, and tests that it keeps from running.
const BUILD: &str = r#"
name = "build"
[setup]
shell = "echo cc main.c; echo 'main.c:4:9: error: expected' >&2; echo 'make: *** [all] Error 1' >&2; exit 2"
[teardown]
shell = "echo cannot remove it >&2; exit 1"
"#;

fn suite(text: &str) -> TempDir {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("suite.toml"), text).unwrap();
    directory
}

fn build() -> TempDir {
    let tests =
        (1..=26).map(|number| format!("[[test]]\nname = \"t{number}\"\ncommand = [\"true\"]\n"));
    suite(&format!("{BUILD}{}", tests.collect::<String>()))
}

fn run(directory: &Path, arguments: &[&str]) -> Ended {
    memsample(directory, &[&["run", "--sandbox", "none", "--name", "r"], arguments].concat())
}

fn results(directory: &Path) -> Value {
    check_results(&fs::read(directory.join("runs/r/results.json")).unwrap())
}

fn junit(directory: &Path) -> String {
    let xml = fs::read(directory.join("runs/r/junit.xml")).unwrap();
    check_junit(&xml).unwrap();
    String::from_utf8(xml).unwrap()
}

#[test]
fn a_failed_setup_is_told_as_a_failed_test_is_and_once() {
    let directory = build();
    let ended = run(directory.path(), &["--table", "always"]);
    assert_eq!(ended.code, Some(11), "{}", ended.stderr);
    let said = "the setup of the suite: exit code 2: main.c:4:9: error: expected\n    setup/stdout\n    | cc main.c\n    \
                setup/stderr\n    | main.c:4:9: error: expected\n    | make: *** [all] Error 1\n";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert!(ended.stderr.contains("the teardown of the suite: exit code 1: cannot remove it\n"));
    for text in [&ended.stdout, &ended.stderr] {
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("26 tests")).collect();
        let row = rows.iter().find(|row| row.contains("main.c:4:9: error: expected"));
        assert!(row.is_some_and(|row| row.trim_start().starts_with("not_started")), "{text}");
        assert!(!text.contains(" t7"), "{text}");
    }
    let results = results(directory.path());
    let sentence = "the setup of the suite failed: exit code 2: main.c:4:9: error: expected";
    assert_eq!(results["counts"]["not_started"], 26);
    assert_eq!(results["tests"][25]["reason"], sentence);
    let setup = &results["steps"][0];
    assert_eq!((&setup["name"], &setup["outcome"]), (&"setup".into(), &"failed".into()));
    assert_eq!(setup["message"], "main.c:4:9: error: expected");
    assert_eq!(setup["stderr"], "setup/stderr");
    assert!(setup["duration_ns"].as_u64().unwrap() > 0);
    let xml = junit(directory.path());
    assert!(xml.contains(&format!("<error type=\"aborted\" message=\"{sentence}\">")), "{xml}");
    assert!(xml.contains("[[ATTACHMENT|runs/r/setup/stderr]]"), "{xml}");
    assert!(xml.contains("make: *** [all] Error 1"), "{xml}");
}

#[test]
fn a_failed_teardown_is_in_every_file() {
    let directory = suite(&format!("{SUITE}[teardown]\nshell = 'echo oh no >&2; exit 1'\n"));
    let ended = run(directory.path(), &["net/ping"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("the teardown of the suite: exit code 1: oh no\n"));
    assert_eq!(results(directory.path())["steps"][0]["message"], "oh no");
    assert!(junit(directory.path()).contains("[[ATTACHMENT|runs/r/teardown/stderr]]"));
}

#[test]
fn names_expressions_and_tags_choose_tests() {
    let directory = suite(SUITE);
    let list = |arguments: &[&str]| {
        let ended = memsample(directory.path(), &[&["run", "--list"], arguments].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list(&[]), ["net/ping", "net/round trip", "parser"]);
    assert_eq!(list(&["parser", "net/ping"]), ["net/ping", "parser"]);
    assert_eq!(list(&["suite.toml", "parser"]), ["parser"]);
    assert_eq!(list(&[".", "parser"]), ["parser"]);
    assert_eq!(list(&["-k", "NET and not 'round trip'"]), ["net/ping"]);
    assert_eq!(list(&["--tag", "smoke"]), ["net/ping"]);
    assert!(!directory.path().join("runs").exists(), "nothing was run");
    let cases: [(&[&str], i32, &str); 5] = [
        (
            &["parsr"],
            13,
            "in `suite.toml`, since no suite is named: no test is called `parsr`: did you mean `parser`?",
        ),
        (&["--tag", "smok"], 13, "no test has the tag `smok`: did you mean `smoke`?"),
        (&["parser", "-k", "net"], 13, "no test of the suite is selected: check -k"),
        (&["-k", "round trip"], 2, "before `trip` there must be `and` or `or`"),
        (&["other.toml"], 12, "give the path of a suite file"),
    ];
    for (arguments, code, message) in cases {
        let ended = memsample(directory.path(), &[&["run"], arguments].concat());
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{arguments:?}: {}", ended.stderr);
    }
    let empty = tempdir().unwrap();
    let ended = memsample(empty.path(), &["run"]);
    assert!(
        ended.stderr.contains("there is no `suite.toml` in this directory"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_dry_run_says_what_would_be_run_and_why_not() {
    let directory = suite(SUITE);
    let ended =
        memsample(directory.path(), &["run", "--dry-run", "--json", "-k", "trip or parser"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let planned = ended.json();
    let of = |name: &str| {
        let mut tests = planned["tests"].as_array().unwrap().iter();
        tests.find(|test| test["name"] == name).unwrap().clone()
    };
    assert_eq!(of("parser")["decision"], "run");
    assert_eq!(of("parser")["position"], 1);
    assert_eq!(of("net/ping")["decision"], "not_selected");
    assert_eq!(of("net/ping")["reason"], "does not match -k");
    assert_eq!(of("net/round trip")["decision"], "skip");
    assert_eq!(of("net/round trip")["reason"], "it requires `net/ping`, which was not selected");
    let ended = memsample(directory.path(), &["run", "--dry-run"]);
    assert!(ended.stdout.contains("after `net/ping`"), "{}", ended.stdout);
    assert!(ended.stdout.contains("3 of 3 tests would be run"), "{}", ended.stdout);
    assert!(!directory.path().join("runs").exists(), "nothing was run");
}

#[test]
fn results_say_where_and_how_they_came_about() {
    let directory = suite(SUITE);
    let git = "git init -q . && git -c user.name=n -c user.email=e commit -q --allow-empty -m m && git rev-parse HEAD";
    let commit = shell(directory.path(), git).stdout;
    let ended =
        run(directory.path(), &["parser", "-j", "2", "--label", "branch=main", "--label", "a=b=c"]);
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    let results = results(directory.path());
    assert_eq!(results["commit"], commit.trim());
    let uname = shell(directory.path(), "uname -n; uname -r").stdout;
    let uname: Vec<&str> = uname.lines().collect();
    assert_eq!([&results["host"], &results["kernel"]], [uname[0], uname[1]]);
    assert_eq!(results["labels"], serde_json::json!({"branch": "main", "a": "b=c"}));
    assert_eq!(results["arguments"][0], "run");
    assert_eq!(results["recordings"], serde_json::json!(["recording"]));
    let test = &results["tests"][0];
    assert_eq!(test["recording"], "recording");
    assert_eq!(
        test["message"],
        "main.c:4:9: error: expected an expression before the end of the file"
    );
    let manifest = fs::read(directory.path().join("runs/r/recording/recording.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["labels"]["branch"], "main");
    // What the test prints makes no CI server publish a file of its machine.
    let xml = junit(directory.path());
    assert!(!xml.contains("[[ATTACHMENT|/"), "{xml}");
    assert!(
        xml.contains(
            "<failure type=\"failed\" message=\"main.c:4:9: error: expected an expression"
        ),
        "{xml}"
    );
    assert!(xml.contains("[[ATTACHMENT|runs/r/tests/0003-parser/1.1/stderr]]"), "{xml}");
    assert_eq!(xml.matches("memory: ").count(), 1, "{xml}");
}

/// Runs it on a terminal of 80 columns.
fn on_terminal(directory: &Path, term: &str, arguments: &str) -> String {
    let line = format!("stty cols 80 rows 24; {MEMSAMPLE} run --sandbox none {arguments}");
    let mut script = Command::new("script");
    // These have a word about colors too.
    for name in ["CI", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        script.env_remove(name);
    }
    let output = script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", term)
        .env("MEMSAMPLE_CONFIG", "")
        .current_dir(directory)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
}

#[test]
fn at_80_columns_the_reason_is_whole_and_no_word_is_broken() {
    let directory = suite(SUITE);
    let text = on_terminal(directory.path(), "dumb", "");
    // Nothing but lines, each of them shown.
    assert!(!text.contains(['\u{1b}', '\r']), "{text:?}");
    assert!(text.contains("passed") && text.contains("net/round trip"), "{text}");
    let table = text.split_once("OUTCOME").unwrap().1;
    let reason = "\n    exit code 3: main.c:4:9: error: expected an expression before the end of the\n    file\n";
    assert!(table.contains(reason), "{text}");
    let is_path = |line: &str| line.starts_with('/') || line.contains("results in");
    assert!(text.lines().all(|line| is_path(line) || line.chars().count() <= 80), "{text}");
    let colored = on_terminal(directory.path(), "dumb", "--color always");
    assert!(colored.contains("\u{1b}[31m"), "{colored:?}");
    let live = on_terminal(directory.path(), "xterm", "--color never");
    assert!(live.contains("exit code 3") && !live.contains("\u{1b}[31m"), "{live:?}");
}

#[test]
fn a_log_tells_each_result_once() {
    let directory = suite(SUITE);
    let ended = shell(directory.path(), "$MEMSAMPLE run --sandbox none 2>&1");
    let told = ended.stdout.matches("passed ").count();
    assert_eq!(told, 2, "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("exit code 3").count(), 1, "{}", ended.stdout);
    assert!(ended.stdout.contains("LARGEST TESTS"), "{}", ended.stdout);
    assert!(ended.stdout.contains(" s: 1 failed, 2 passed\n"), "{}", ended.stdout);
    // Whoever keeps stdout by itself gets the table.
    shell(directory.path(), "$MEMSAMPLE run --sandbox none > out 2> err");
    let out = fs::read_to_string(directory.path().join("out")).unwrap();
    assert!(out.starts_with("OUTCOME") && out.contains("exit code 3"), "{out}");
}

#[test]
fn github_gets_annotations_and_a_summary() {
    let directory = suite(SUITE);
    fs::write(directory.path().join("main.c"), "").unwrap();
    let line = "GITHUB_ACTIONS=true GITHUB_STEP_SUMMARY=$PWD/summary.md $MEMSAMPLE run --sandbox none --json";
    let ended = shell(directory.path(), line);
    assert_eq!(ended.json()["outcome"], "failed");
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("::")).collect();
    let expected = "::error file=main.c,line=4,title=parser%3A failed::exit code 3: main.c:4:9: error: expected an \
                    expression before the end of the file";
    assert_eq!(errors, [expected]);
    let summary = fs::read_to_string(directory.path().join("summary.md")).unwrap();
    assert!(summary.starts_with("### ❌ choices: failed\n\n3 tests in "), "{summary}");
    let rows: Vec<&str> = summary.lines().filter(|line| line.starts_with("| ")).collect();
    assert!(rows[1].starts_with("| ❌ | parser | failed | "), "what failed comes first: {summary}");
    assert_eq!(rows.len(), 4, "{summary}");
    let ended = shell(
        directory.path(),
        &format!("GITHUB_ACTIONS=false {}", line.split_once(' ').unwrap().1),
    );
    assert!(!ended.stderr.contains("::error"), "{}", ended.stderr);
}

#[test]
fn arguments_are_redacted_in_the_results_too() {
    let directory = suite("name = \"s\"\n[[test]]\nname = \"a\"\ncommand = [\"true\"]\n");
    let ended = run(directory.path(), &["--redact", "hunter[0-9]", "--label", "by=hunter2"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let arguments = results(directory.path())["arguments"].to_string();
    assert!(!arguments.contains("hunter") && arguments.contains("by=[redacted]"), "{arguments}");
}
