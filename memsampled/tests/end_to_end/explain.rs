//! `memsample explain`, of tests whose memory is known.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use memsample::analysis::for_each_mark;
use memsample::{MarkKind, Recording};
use serde_json::Value;
use tempfile::tempdir;

use crate::command::{Running, memsample, runs, wait_for, wait_for_tick};
use crate::report_outputs::check_json;

const MIB: u64 = 1 << 20;

/// A test that holds 64 MiB and doubles it at its end, beside a small process of its own; each state is sampled.
const SUITE: &str = r#"
name = "known"
[defaults]
sandbox = "none"
[[test]]
name = "passes"
shell = "sleep 0.3"
[[test]]
name = "grows"
command = ["/usr/bin/python3", "-S", "-c", '''
import os, subprocess, time, sys
def stay(name):
    open(name, "w").close()
    while not os.path.exists(name + "-sampled"): time.sleep(.01)
small = subprocess.Popen(["sleep", "1000"])
stay("NAME-begun")
held = [b"x" * (64 << 20)]
stay("NAME-held")
held.append(b"x" * (GROWN << 20))
stay("NAME-grown")
small.kill()
small.wait()
sys.exit("no memory left for the index")
''']
"#;

/// Waits for a file, and then for a tick, and says so; returns when that was.
#[track_caller]
fn sample(directory: &Path, run: &str, file: &str) -> Timestamp {
    wait_for("a file of the test", || directory.join(file).exists().then_some(()));
    let tick = wait_for_tick(&directory.join("runs").join(run).join("recording"));
    std::fs::write(directory.join(format!("{file}-sampled")), "").unwrap();
    tick
}

/// Runs the suite, and returns an instant at which the test held 64 MiB.
fn run(directory: &Path, name: &str, grown: u64) -> Timestamp {
    let suite = SUITE.replace("GROWN", &grown.to_string()).replace("NAME", name);
    std::fs::write(directory.join("suite.toml"), suite).unwrap();
    let running = Running::start(directory, &["run", "suite.toml", "--name", name]);
    let [_, middle, _] =
        ["begun", "held", "grown"].map(|state| sample(directory, name, &format!("{name}-{state}")));
    let ended = running.wait();
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    middle
}

/// Returns an explanation as JSON.
#[track_caller]
fn explained(directory: &Path, arguments: &[&str]) -> Value {
    let ended = memsample(directory, &[&["explain"], arguments, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    check_json("explain", ended.stdout.as_bytes())
}

/// Slow: five seconds.
#[test]
fn slow_what_grew_and_since_when() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    run(path, "base", 1);
    let middle = run(path, "head", 80);

    // Without a name it is the test that failed.
    let told = explained(path, &["head", "--base", "base"]);
    assert_eq!((&told["test"], &told["outcome"]), (&"grows".into(), &"failed".into()), "{told:#}");
    let why = told["why"].to_string();
    assert!(why.contains("exit code 1") && why.contains("no memory left for the index"), "{why}");
    let largest = &told["largest"][0];
    assert!(largest["rss_bytes"].as_u64().unwrap() > 144 * MIB, "{told:#}");
    // It began with nothing of it.
    assert!(largest["grown_bytes"].as_i64().unwrap() > 80 << 20, "{told:#}");
    assert!(largest["doubled_in_ms"].is_u64() || largest["doubled_in_ms"].is_null());
    let small = told["largest"].as_array().unwrap().iter().find(|it| it["role"] == "sleep");
    assert!(small.is_some_and(|it| it["rss_bytes"].as_u64().unwrap() < 8 * MIB), "{told:#}");
    let change = &told["change"];
    let peak = |key: &str| change[key].as_u64().unwrap();
    assert!(peak("rss_peak_bytes") > peak("base_rss_peak_bytes") + 70 * MIB, "{change:#}");
    assert!(change["bounds_differ"] != false, "{change:#}");
    let results = std::fs::read(runs(path)[1].join("results.json")).unwrap();
    let results: Value = serde_json::from_slice(&results).unwrap();
    assert_eq!(change["rss_peak_bytes"], results["tests"][1]["memory"]["rss_peak_bytes"]);

    // In the middle it had what it held then.
    let told = explained(path, &["head", "--at", &middle.to_string()]);
    let rss = told["largest"][0]["rss_bytes"].as_u64().unwrap();
    assert!((64 * MIB..100 * MIB).contains(&rss), "{told:#}");

    // As a person reads it: within 80 columns.
    let text = memsample(path, &["explain", "head", "--base", "base"]).stdout;
    for part in ["grows failed", "largest in the last second", "against the base:", "machine: "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let passed = explained(path, &["head", "--test", "passes"]);
    assert_eq!(
        (&passed["outcome"], &passed["others"]),
        (&"passed".into(), &serde_json::json!(["grows (failed)"]))
    );

    // The recording by itself: the end of all of it.
    let recording = runs(path)[1].join("recording");
    let told = explained(path, &[recording.to_str().unwrap()]);
    assert_eq!(told["why"][0], "the recording was stopped");
}

#[test]
fn what_cannot_be_explained_says_why() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    let suite = "name = \"s\"\n[[test]]\nname = \"a\"\nshell = \"sleep 0.2\"\n";
    std::fs::write(path.join("suite.toml"), suite).unwrap();
    assert_eq!(memsample(path, &["run", "suite.toml", "--name", "one"]).code, Some(0));
    let run = runs(path).remove(0);
    let run = run.to_str().unwrap();
    let recording = format!("{run}/recording");
    for (arguments, code, message) in [
        (&["explain", run, "--test", "b"][..], 1, "there is no test `b` in the run; there are a"),
        (&["explain", run, "--at", "1h"], 1, "is outside of the recording, which went from 2"),
        (
            &["explain", run, "--test", "a", "--at", "1h"],
            1,
            "is outside of the test `a`, which ran",
        ),
        (&["explain", &recording, "--test", "a"], 2, "--test and --base are for a run"),
        (&["explain", run, "--base", &recording], 1, "is no run"),
        (&["explain", "absent"], 1, "is not a recording"),
        (&["explain", run, "--at", "12"], 2, "a unit is missing"),
    ] {
        let ended = memsample(path, arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{arguments:?}");
        assert!(ended.stderr.contains(message), "{arguments:?}: {}", ended.stderr);
    }
    // The results stand for the run, also beside it.
    for command in [&["explain"][..], &["export", "--to", "chrome"], &["report", "--text"]] {
        let ended = memsample(Path::new(run), &[command, &["results.json"]].concat());
        assert_eq!(ended.code, Some(0), "{command:?}: {}", ended.stderr);
    }
    // Without its recording there are still the results.
    std::fs::remove_dir_all(&recording).unwrap();
    let told = explained(path, &[run]);
    assert_eq!(told["outcome"], "passed");
    assert!(told["not_seen"].to_string().contains("there is no recording of it"), "{told:#}");
}

#[test]
fn an_instant_is_that_of_the_test_that_ran_then() {
    let directory = tempdir().unwrap();
    let path = directory.path();
    // What is run first, second and so on goes on when it was sampled.
    let stay = "for i in 0 1 2 3; do test -e $i || break; done; touch $i; \
                until test -e $i-sampled; do sleep 0.05; done";
    let suite = format!(
        "name = \"s\"\n[setup]\nshell = \"{stay}\"\n[[test]]\nname = \"a\"\nshell = \"{stay}\"\n\
         [[test]]\nname = \"b\"\nshell = \"{stay}; exit 3\"\nretries = 1\n"
    );
    std::fs::write(path.join("suite.toml"), suite).unwrap();
    let running = Running::start(path, &["run", "suite.toml", "--name", "one"]);
    for number in ["0", "1", "2", "3"] {
        sample(path, "one", number);
    }
    assert_eq!(running.wait().code, Some(10));
    let run = runs(path).remove(0);
    // The begin and the end of each attempt.
    let mut attempts: BTreeMap<(String, String), Vec<i64>> = BTreeMap::new();
    let (recording, _) = Recording::open(&run.join("recording")).unwrap();
    for_each_mark(&recording, |mark| {
        if let (Some(test), MarkKind::Begin | MarkKind::End) = (mark.test, mark.kind) {
            attempts.entry((test, mark.name)).or_default().push(mark.ts_ms);
        }
    })
    .unwrap();
    let run = run.to_str().unwrap();
    assert_eq!(attempts.len(), 3, "{attempts:?}");
    for ((test, mark), times_ms) in &attempts {
        let middle_ms = times_ms.iter().sum::<i64>() / 2;
        let middle = Timestamp::from_millisecond(middle_ms).unwrap().to_string();
        let told = explained(path, &[run, "--at", &middle]);
        assert_eq!(told["test"], test.as_str(), "{told:#}");
        assert_eq!(*mark, format!("attempt 1.{}", told["attempt"]), "{told:#}");
        assert_eq!(told["before"], "instant");
    }
    // Before the first test the machine is explained.
    let told = explained(path, &[run, "--at", "0ms"]);
    assert_eq!((&told["suite"], &told["test"]), (&Value::from("s"), &Value::Null));
    assert_eq!(told["why"][0], "no test of the run was running then");
    assert!(told["largest"][0]["rss_bytes"].as_u64() > Some(0), "{told:#}");
}
