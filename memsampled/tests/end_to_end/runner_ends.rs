//! How tests end is known, or is said not to be known: aborts, and processes that cannot be listed.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::command::{Ended, Running, memsample, runs, wait_for};
use crate::report_outputs::{check_junit, check_results};
use crate::running::with_more_time;
use crate::tracer::Tracer;

fn directory_of(suite: &str) -> TempDir {
    let directory = tempdir().unwrap();
    fs::write(directory.path().join("suite.toml"), suite).unwrap();
    directory
}

fn results(directory: &Path) -> Value {
    let runs = runs(directory);
    let [run] = &runs[..] else { panic!("{runs:?}") };
    check_results(&fs::read(run.join("results.json")).unwrap())
}

/// Returns where in results something was aborted, and whether a reason is beside it.
fn aborts(value: &Value, at: &str, found: &mut Vec<(String, bool)>) {
    match value {
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                aborts(value, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            if fields.get("outcome") == Some(&"aborted".into()) {
                // Of the suite it is a word and not a sentence.
                let reason = fields.get("reason").or(fields.get("aborted"));
                let is_told =
                    reason.and_then(Value::as_str).is_some_and(|reason| !reason.is_empty());
                found.push((at.to_owned(), is_told));
            }
            for (key, value) in fields {
                aborts(value, &format!("{at}/{key}"), found);
            }
        }
        _ => {}
    }
}

/// Checks that whatever was aborted has a reason, that some of it is where `expected` says, and returns its reason.
#[track_caller]
fn check_aborts(directory: &Path, ended: &Ended, expected: &str) -> String {
    assert_eq!(ended.code, Some(11), "{}", ended.stderr);
    let results = results(directory);
    let mut found = Vec::new();
    aborts(&results, "", &mut found);
    assert!(found.iter().any(|(at, _)| at == expected), "{found:?}");
    assert!(found.iter().all(|(_, is_told)| *is_told), "{found:?}: {results:#}");
    results.pointer(&format!("{expected}/reason")).and_then(Value::as_str).unwrap_or("").to_owned()
}

#[test]
fn whatever_is_aborted_has_a_reason() {
    // What it does when it is asked to end, after which of two signals, and its reason.
    let before = "the suite was ended before it had ended";
    let cases = [
        ("", 1, "its program was ended by signal 15"),
        ("trap 'exit 3' TERM;", 1, "its program exited with 3"),
        ("trap 'touch asked' TERM;", 2, ""),
    ];
    for (trap, signals, also) in cases {
        let directory = directory_of(&format!(
            "name = 's'\n[[test]]\nname = 'a'\ngrace = '1h'\ntimeout = '1h'\nrepeat = 2\n\
             shell = \"{trap} touch begun; while :; do sleep 0.1; done\"\n\
             [[test]]\nname = 'b'\ncommand = ['true']\nrequires = ['a']\n"
        ));
        let running = Running::start(directory.path(), &["run", "--sandbox", "none"]);
        let file = |name: &str| directory.path().join(name).exists().then_some(());
        wait_for("the test", || file("begun"));
        running.signal("INT");
        if signals == 2 {
            wait_for("SIGTERM", || file("asked"));
            running.signal("INT");
        }
        let reason = check_aborts(directory.path(), &running.wait(), "/tests/0/attempts/0");
        assert!(reason.starts_with(before) && reason.ends_with(also), "{trap}: {reason}");
    }
    // The suite's own time, in a test and in its setup, which has begun by then.
    let waits = "shell = 'touch begun; sleep 1000'\n";
    for (suite, at) in [
        (format!("[[test]]\nname = 'a'\n{waits}"), "/tests/0"),
        (format!("[setup]\n{waits}[[test]]\nname = 'a'\ncommand = ['true']\n"), ""),
    ] {
        with_more_time(Duration::from_secs(1), |time| {
            let seconds = time.as_secs();
            let directory = directory_of(&format!("name = 's'\ntimeout = '{seconds}s'\n{suite}"));
            let ended = memsample(directory.path(), &["run", "--sandbox", "none"]);
            let has_begun = directory.path().join("begun").exists();
            has_begun.then(|| check_aborts(directory.path(), &ended, at))
        });
    }
    // A setup that is interrupted.
    let directory = directory_of(&format!(
        "name = 's'\n[setup]\n{waits}[[test]]\nname = 'a'\ncommand = ['true']\n"
    ));
    let running = Running::start(directory.path(), &["run", "--sandbox", "none"]);
    wait_for("the setup", || directory.path().join("begun").exists().then_some(()));
    running.signal("TERM");
    let reason = check_aborts(directory.path(), &running.wait(), "/steps/0");
    assert_eq!(reason, before);
}

#[test]
fn a_test_with_the_name_of_a_repetition_is_another_case() {
    let directory = directory_of(
        "name = 's'\n[[test]]\nname = 'rep'\nrepeat = 3\ncommand = ['true']\n\
         [[test]]\nname = 'rep [2]'\nrepeat = 2\ncommand = ['true']\n\
         [[test]]\nname = 'rep [2] (2)'\ncommand = ['true']\n",
    );
    let ended = memsample(directory.path(), &["run", "--sandbox", "none"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let xml = fs::read(runs(directory.path())[0].join("junit.xml")).unwrap();
    check_junit(&xml).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    let cases = xml.split("<testcase name=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let cases: Vec<&str> = cases.collect();
    let expected = ["rep", "rep [2] (3)", "rep [3]", "rep [2]", "rep [2] [2]", "rep [2] (2)"];
    assert_eq!(cases, expected);
}

#[test]
fn a_signal_ends_the_reading_of_a_large_suite() {
    // This build reads it for more than a second.
    let variables: String = (0..200_000).map(|number| format!("V{number} = '1'\n")).collect();
    let directory = directory_of(&format!(
        "name = 's'\n[[test]]\nname = 'a'\ncommand = ['true']\n[test.env]\n{variables}"
    ));
    for (name, signal) in [("TERM", 15), ("INT", 2)] {
        let running = Running::start(directory.path(), &["run", "--list"]);
        let pid = running.pid();
        wait_for("its thread", || {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
            let comm = |task: std::fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
            let mut comms = tasks.filter_map(|task| comm(task.unwrap()));
            comms.any(|comm| comm == "memsample-signa\n").then_some(())
        });
        running.signal(name);
        let (ended, stdout) = running.wait_for_status();
        assert_eq!((ended.signal(), stdout.as_str()), (Some(signal), ""));
    }
}

/// Runs a test whose supervisor can list no directory from its end on.
fn run_without_listing(last: &str, options: &str) -> (Value, Ended) {
    let directory = directory_of(&format!(
        "name = 's'\n[[test]]\nname = 'a'\ntimeout = '1m'\n{options}\
         shell = \"echo $PPID > pid; mv pid init; while [ ! -e go ]; do sleep 0.01; done; {last}\"\n"
    ));
    let running = Running::start(directory.path(), &["run", "--sandbox", "none"]);
    let init = wait_for("init", || fs::read_to_string(directory.path().join("init")).ok());
    let status = fs::read_to_string(format!("/proc/{}/status", init.trim())).unwrap();
    let supervisor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    let no_listing = ["-f", "-e", "inject=getdents64:error=EIO:when=1+"];
    let tracer = Tracer::attach(supervisor, &no_listing);
    fs::write(directory.path().join("go"), "").unwrap();
    let ended = running.wait();
    let results = results(directory.path());
    drop(tracer);
    (results["tests"][0].clone(), ended)
}

#[test]
fn processes_that_cannot_be_listed_are_no_reason_to_pass() {
    let (test, ended) = run_without_listing("setsid sleep 1000 & exit 0", "");
    assert_eq!((ended.code, &test["outcome"]), (Some(10), &"left_over".into()), "{test:#}");
    // A budget that allows much does not allow what is not known.
    let budget = "budget = { left_over = '1GiB' }\n";
    for options in ["", budget] {
        let (test, ended) = run_without_listing("exit 0", options);
        assert_eq!((ended.code, &test["outcome"]), (Some(10), &"left_over".into()), "{test:#}");
        let reason = test["reason"].as_str().unwrap();
        let expected = "whether it left processes is not known: they could not be listed: ";
        assert!(reason.starts_with(expected), "{reason}");
    }
}
