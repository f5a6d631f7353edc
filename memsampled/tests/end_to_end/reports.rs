//! What reports make of scripted events: the outcome of each test is data, and is checked in what a
//! person reads, in results.json and in JUnit alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::report_outputs::{check_junit, check_results, results_schema};
use jiff::Timestamp;
use memsample_runner::replace;
use memsample_runner::report::{Collector, SuiteResult, junit, terminal};
use memsample_runner::results::{
    self, Abort, Attempt, BudgetResult, BudgetVerdict, GroupUse, LeftOverProcess, Memory, Outcome,
    Results, RoleMemory, TestResult,
};
use memsample_runner::run::Event;
use memsample_runner::suite::{Action, Budget, Quantity};
use proptest::prelude::*;
use serde_json::Value;
use tempfile::tempdir;

/// 2026-11-22T17:26:33Z
const BEGAN: i64 = 1_795_368_393;

fn attempt(name: &str, repetition: u32, number: u32, outcome: Outcome) -> TestResult {
    let ran = !matches!(outcome, Outcome::NotStarted { .. } | Outcome::Skipped { .. });
    TestResult {
        test: Attempt { test: name.to_owned(), repetition, attempt: number },
        exit_code: match outcome {
            Outcome::Failed { exit_code } => Some(exit_code),
            Outcome::Passed | Outcome::Leaked | Outcome::LeftOver | Outcome::OverBudget => Some(0),
            _ => None,
        },
        signal: match outcome {
            Outcome::Signaled { signal } => Some(signal),
            _ => None,
        },
        outcome,
        reason: None,
        message: None,
        started: ran.then(|| Timestamp::from_second(BEGAN).unwrap()),
        duration: Duration::from_millis(12),
        sandbox: if ran { "pidns".to_owned() } else { String::new() },
        left_over_processes: Vec::new(),
        unlisted: None,
        left_bytes: None,
        stdout: None,
        stderr: None,
        output_cut_bytes: 0,
        artifacts: Vec::new(),
        kept: None,
        notes: Vec::new(),
        tags: Vec::new(),
        recording: None,
        memory: ran.then(memory),
        roles: if ran { vec![role()] } else { Vec::new() },
        group: ran.then(group),
        budgets: Vec::new(),
        leaks: Vec::new(),
        memory_limit_bytes: None,
    }
}

fn group() -> GroupUse {
    GroupUse {
        group_peak_bytes: Some(90 << 20),
        group_peak_bytes_upper: Some(90 << 20),
        shmem_peak_bytes: Some(20 << 20),
        shmem_peak_bytes_upper: Some(90 << 20),
        shmem_unmapped_peak_bytes: Some(0),
        group_largest_bytes: Some(89 << 20),
        group_anon_bytes: Some(60 << 20),
        group_file_bytes: Some(25 << 20),
        group_shmem_bytes: Some(20 << 20),
        group_kernel_bytes: Some(4 << 20),
        ..GroupUse::default()
    }
}

fn memory() -> Memory {
    let at = Some(Timestamp::from_second(BEGAN).unwrap());
    Memory {
        rss_peak_bytes: Some(64 << 20),
        rss_peak_bytes_upper: Some(70 << 20),
        rss_peak_at: at,
        pss_peak_bytes: Some(50 << 20),
        pss_peak_at: at,
        pss_peak_rss_bytes: Some(60 << 20),
        pss_peak_covered_bytes: Some(59 << 20),
        pss_peak_age_ms: Some(40),
        growth_bytes_per_minute: Some(-(1 << 20)),
        processes: 3,
        unsampled_processes: 1,
        unbounded_images: 2,
        unbounded_image: Some("sh".to_owned()),
        unbounded_image_bytes: Some(3 << 20),
        samples: 120,
        gaps: 2,
        cpu_ns: Some(1_500_000_000),
        minor_faults: Some(1000),
        ..Memory::default()
    }
}

fn role() -> RoleMemory {
    RoleMemory {
        role: "python <script>".to_owned(),
        rss_peak_bytes: 60 << 20,
        rss_peak_bytes_upper: Some(60 << 20),
        processes: 2,
    }
}

fn budget(action: Action, verdict: BudgetVerdict) -> BudgetResult {
    let quantity = Quantity::RssPeak;
    let limit_bytes = 48 << 20;
    BudgetResult {
        budget: Budget { role: None, quantity, limit_bytes, action },
        measured_bytes: Some(64 << 20),
        measured_bytes_upper: Some(70 << 20),
        verdict,
    }
}

/// A suite that has run.
fn finished(
    directory: &Path,
    results: Vec<TestResult>,
    aborted: Option<Abort>,
) -> (Vec<Event>, SuiteResult) {
    let mut events = vec![Event::SuiteStarted {
        suite: "nightly & co".to_owned(),
        tests: results.len(),
        directory: directory.to_owned(),
    }];
    for result in &results {
        if result.started.is_some() {
            let sandbox = result.sandbox.clone();
            events.push(Event::TestStarted { test: result.test.clone(), sandbox });
            events.push(Event::TestProgress { test: result.test.clone(), rss_bytes: 32 << 20 });
        }
        // Memory is told at the end only.
        let told =
            TestResult { memory: None, roles: Vec::new(), budgets: Vec::new(), ..result.clone() };
        events.push(Event::TestFinished { result: Box::new(told), is_retried: false });
    }
    events.push(Event::Note("there is no control group here".to_owned()));
    events.push(Event::SuiteFinished { results, aborted, duration: Duration::from_millis(4200) });
    let mut collector = Collector::default();
    let mut suites: Vec<SuiteResult> =
        events.iter().filter_map(|event| collector.take(event)).collect();
    assert_eq!(suites.len(), 1);
    (events, suites.pop().unwrap())
}

fn lines(events: &[Event]) -> String {
    let mut out = Vec::new();
    let mut terminal = terminal::Terminal::lines(&mut out, false);
    events.iter().for_each(|event| terminal.show(event));
    String::from_utf8(out).unwrap()
}

/// What is expected of a test in each output.
struct Expected {
    /// Of the test as a whole.
    outcome: &'static str,
    /// The elements of its case that are about how it ended, by repetition.
    junit: &'static [&'static [&'static str]],
    /// A part of why.
    why: Option<&'static str>,
}

fn model() -> Vec<(&'static str, Vec<TestResult>, Expected)> {
    let one = |name: &'static str,
               outcome: Outcome,
               word,
               junit: &'static [&'static [&'static str]],
               why| {
        (name, vec![attempt(name, 1, 1, outcome)], Expected { outcome: word, junit, why })
    };
    let after = Duration::from_secs(2);
    let reason = "its user `nobody2` does not exist".to_owned();
    let skipped = "it requires `build`, which did not pass".to_owned();
    let mut all = vec![
        one("pass", Outcome::Passed, "passed", &[&[]], None),
        one(
            "fail",
            Outcome::Failed { exit_code: 3 },
            "failed",
            &[&["failure"]],
            Some("exit code 3"),
        ),
        one(
            "crash",
            Outcome::Signaled { signal: 11 },
            "signaled",
            &[&["failure"]],
            Some("SIGSEGV (11)"),
        ),
        one(
            "slow",
            Outcome::TimedOut { after },
            "timed_out",
            &[&["failure"]],
            Some("its time was 2.000 s"),
        ),
        one(
            "busy",
            Outcome::OutOfCpuTime { limit: after },
            "out_of_cpu_time",
            &[&["failure"]],
            Some("its CPU time was limited to 2.000 s"),
        ),
        one(
            "large",
            Outcome::OutOfMemory { limit_bytes: 64 << 20 },
            "out_of_memory",
            &[&["failure"]],
            Some("its memory limit is 64.0 MiB"),
        ),
        one("victim", Outcome::HostOutOfMemory, "host_out_of_memory", &[&["error"]], None),
        one("interrupted", Outcome::Aborted, "aborted", &[&["error"]], None),
        one(
            "absent",
            Outcome::NotStarted { reason },
            "not_started",
            &[&["error"]],
            Some("nobody2"),
        ),
        one(
            "later",
            Outcome::Skipped { reason: skipped },
            "skipped",
            &[&["skipped"]],
            Some("requires"),
        ),
    ];
    let mut leaked = attempt("leaky", 1, 1, Outcome::LeftOver);
    leaked.reason = Some("it left `sleep` (4711)".to_owned());
    leaked.left_over_processes = vec![LeftOverProcess {
        pid: 4711,
        comm: "sle\u{1b}ep".to_owned(),
        rss_bytes: None,
        shares_memory_with: None,
        held_bytes: None,
    }];
    all.push((
        "leaky",
        vec![leaked],
        Expected {
            outcome: "left_over",
            junit: &[&["failure"]],
            why: Some("it left `sleep` (4711)"),
        },
    ));
    let mut over = attempt("fat", 1, 1, Outcome::OverBudget);
    over.budgets = vec![budget(Action::Fail, BudgetVerdict::Exceeded)];
    all.push((
        "fat",
        vec![over],
        Expected {
            outcome: "over_budget",
            junit: &[&["failure"]],
            why: Some("RSS peak 64.0 MiB to 70.0 MiB, above its budget of 48.0 MiB"),
        },
    ));
    let mut warned = attempt("warned", 1, 1, Outcome::Passed);
    warned.budgets = vec![budget(Action::Warn, BudgetVerdict::Exceeded)];
    (warned.memory, warned.roles) = (None, Vec::new());
    all.push((
        "warned",
        vec![warned],
        Expected { outcome: "passed", junit: &[&[]], why: Some("(a warning)") },
    ));
    all.push((
        "shaky",
        vec![
            attempt("shaky", 1, 1, Outcome::Failed { exit_code: 1 }),
            attempt("shaky", 1, 2, Outcome::Passed),
        ],
        Expected {
            outcome: "flaky",
            junit: &[&["flakyFailure"]],
            why: Some("try 1 was failed: exit code 1"),
        },
    ));
    all.push((
        "again",
        vec![
            attempt("again", 1, 1, Outcome::Passed),
            attempt("again", 2, 1, Outcome::Failed { exit_code: 1 }),
            attempt("again", 2, 2, Outcome::Signaled { signal: 6 }),
        ],
        Expected {
            outcome: "signaled",
            junit: &[&[], &["failure", "rerunFailure"]],
            why: Some("SIGABRT (6)"),
        },
    ));
    all
}

#[test]
fn every_outcome_is_told_alike_in_every_output() {
    let directory = tempdir().unwrap();
    let results = model().into_iter().flat_map(|(_, attempts, _)| attempts).collect();
    let (events, suite) = finished(directory.path(), results, None);
    let json = check_results(&suite.results.to_json().unwrap());
    let xml = junit::xml(&suite, junit::Profile::Jenkins, directory.path()).unwrap();
    check_junit(&xml).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let table = terminal::table::text(&suite, false, None);
    let log = lines(&events);

    assert_eq!(json["suite"], "nightly & co");
    assert_eq!(json["outcome"], "failed");
    assert_eq!(json["aborted"], Value::Null);
    assert_eq!(json["notes"][0], "there is no control group here");
    assert!(log.starts_with("suite nightly & co: 18 tests, results in "), "{log}");
    assert!(log.contains("note: there is no control group here"));
    assert!(table.contains("FAILED: 15 tests in 4.200 s: 1 failed, "), "{table}");

    let (mut failures, mut errors, mut skipped, mut cases) = (0, 0, 0, 0);
    for (index, (name, attempts, expected)) in model().into_iter().enumerate() {
        let test = &json["tests"][index];
        assert_eq!((&test["name"], &test["outcome"]), (&name.into(), &expected.outcome.into()));
        assert_eq!(test["attempts"].as_array().unwrap().len(), attempts.len());
        let row = table.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).unwrap();
        assert!(row.starts_with(expected.outcome), "{row}");
        match expected.why {
            Some(why) => {
                assert!(test["reason"].as_str().unwrap().contains(why), "{test:#}");
                assert!(row.contains(why), "{row}");
            }
            None => assert_eq!(test["reason"], Value::Null, "{name}"),
        }
        for attempt in &attempts {
            let word = attempt.outcome.word();
            let said = log.lines().any(|line| {
                line.trim_start().starts_with(&format!("{word} ")) && line.contains(name)
            });
            assert!(said, "{name} {word} in {log}");
        }
        for (repetition, elements) in expected.junit.iter().enumerate() {
            let label = match repetition {
                0 => name.to_owned(),
                other => format!("{name} [{}]", other + 1),
            };
            let case = document
                .descendants()
                .find(|node| {
                    node.has_tag_name("testcase") && node.attribute("name") == Some(&label)
                })
                .unwrap_or_else(|| panic!("no case {label}: {xml}"));
            assert_eq!(case.attribute("classname"), Some("nightly & co"));
            let found: Vec<&str> = case
                .children()
                .filter(|node| node.is_element())
                .map(|node| node.tag_name().name())
                .filter(|name| !name.starts_with("system-"))
                .collect();
            assert_eq!(found, *elements, "{name}");
            cases += 1;
            failures += elements.iter().filter(|&&name| name == "failure").count();
            errors += elements.iter().filter(|&&name| name == "error").count();
            skipped += elements.iter().filter(|&&name| name == "skipped").count();
        }
    }
    let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    for (name, expected) in
        [("tests", cases), ("failures", failures), ("errors", errors), ("skipped", skipped)]
    {
        assert_eq!(suite.attribute(name), Some(expected.to_string().as_str()), "{name}");
    }
    assert_eq!(suite.attribute("timestamp"), Some("2026-11-22T17:26:33"));
    assert_eq!(suite.attribute("time"), Some("4.200"));
}

#[test]
fn memory_has_its_bounds_everywhere_and_is_null_where_it_was_not_measured() {
    let directory = tempdir().unwrap();
    let mut unmeasured = attempt("unmeasured", 1, 1, Outcome::Passed);
    (unmeasured.memory, unmeasured.roles, unmeasured.group) = (None, Vec::new(), None);
    let results = vec![attempt("measured", 1, 1, Outcome::Passed), unmeasured];
    let (_, suite) = finished(directory.path(), results, None);
    let json = check_results(&suite.results.to_json().unwrap());
    let memory = &json["tests"][0]["memory"];
    assert_eq!(memory["rss_peak_bytes"], 64 << 20);
    assert_eq!(memory["rss_peak_bytes_upper"], 70 << 20);
    assert_eq!(memory["rss_peak_at"], "2026-11-22T17:26:33Z");
    assert_eq!(memory["pss_peak_bytes"], 50 << 20);
    assert_eq!(memory["pss_peak_bytes_upper"], Value::Null);
    assert_eq!(memory["anon_peak_bytes"], Value::Null);
    assert_eq!(json["tests"][0]["roles"][0]["rss_peak_bytes"], 60 << 20);
    assert_eq!(json["tests"][1]["memory"], Value::Null);
    assert_eq!(json["tests"][0]["group"]["group_peak_bytes"], 90 << 20);
    assert_eq!(json["tests"][1]["group"], Value::Null);

    let table = terminal::table::text(&suite, false, None);
    let row = |name: &str| table.lines().find(|line| line.contains(&format!(" {name} "))).unwrap();
    let measured: Vec<&str> = row("measured").split_whitespace().skip(4).collect();
    assert_eq!(measured.join(" "), "64.0 MiB to 70.0 MiB 50.0 MiB", "{table}");
    let unmeasured: Vec<&str> = row("unmeasured").split_whitespace().skip(4).collect();
    assert_eq!(unmeasured, ["-", "-"], "{table}");

    let xml =
        String::from_utf8(junit::xml(&suite, junit::Profile::Jenkins, directory.path()).unwrap())
            .unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let property = |name: &str| {
        let mut nodes = document.descendants();
        let node = nodes.find(|node| {
            node.parent_element().is_some_and(|of| {
                of.parent_element().is_some_and(|of| of.has_tag_name("testsuite"))
            }) && node.attribute("name") == Some(name)
        });
        node.and_then(|node| node.attribute("value")).map(str::to_owned)
    };
    assert_eq!(property("rss_peak_bytes measured").as_deref(), Some("67108864"));
    assert_eq!(property("rss_peak_bytes_upper measured").as_deref(), Some("73400320"));
    assert_eq!(property("pss_peak_bytes_upper measured"), None);
    assert_eq!(property("rss_peak_bytes unmeasured"), None);
    let outs: Vec<&str> = document
        .descendants()
        .filter(|node| node.has_tag_name("system-out"))
        .filter_map(|node| node.text())
        .collect();
    assert!(outs[0].contains(
        "RSS peak 64.0 MiB to 70.0 MiB, PSS peak 50.0 MiB (read for 98 % of the RSS then, at most 40 ms before), anonymous peak not measured"
    ));
    assert!(
        outs[0].contains("role python <script>: RSS peak 60.0 MiB, processes 2"),
        "{}",
        outs[0]
    );
    assert!(outs[0].contains("growth: -1.0 MiB a minute"));
    let group = "control group: peak 90.0 MiB; of 89.0 MiB at a look anonymous 60.0 MiB, shared memory 20.0 MiB, \
                 page cache 5.0 MiB, kernel 4.0 MiB\nshared memory peak 20.0 MiB to 90.0 MiB";
    assert!(outs[0].contains(group), "{}", outs[0]);
    assert_eq!(outs[1], "memory: not measured");

    // What the next run predicts from it.
    let path = directory.path().join(results::FILE);
    replace(&path, &suite.results.to_json().unwrap()).unwrap();
    let peaks: Vec<_> = Results::read(&path).unwrap().rss_peaks().into_iter().collect();
    assert_eq!(peaks, [("measured".to_owned(), 64 << 20)]);
}

#[test]
fn a_suite_that_was_cut_short_says_so_everywhere() {
    let cases = [
        (None, "passed", Value::Null),
        (Some(Abort::Signal(15)), "aborted", "signal".into()),
        (Some(Abort::Timeout), "aborted", "timeout".into()),
        (Some(Abort::FailFast), "failed", "fail_fast".into()),
        (Some(Abort::Setup), "aborted", "setup".into()),
        (Some(Abort::Disk { full: true }), "aborted", "disk".into()),
    ];
    let directory = tempdir().unwrap();
    for (aborted, outcome, word) in cases {
        let skipped = Outcome::Skipped { reason: "the suite ended before".to_owned() };
        let results = vec![attempt("a", 1, 1, skipped)];
        let (_, suite) = finished(directory.path(), results, aborted);
        let json = check_results(&suite.results.to_json().unwrap());
        assert_eq!((&json["outcome"], &json["aborted"]), (&outcome.into(), &word));
        let signal = if word == "signal" { Value::from(15) } else { Value::Null };
        assert_eq!(json["abort_signal"], signal);
        let xml = junit::xml(&suite, junit::Profile::Jenkins, directory.path()).unwrap();
        check_junit(&xml).unwrap();
        // A CI server must not take a suite that was never run for one that is well.
        let xml = String::from_utf8(xml).unwrap();
        assert_eq!(xml.contains("<error type=\"aborted\""), outcome == "aborted", "{xml}");
        let table = terminal::table::text(&suite, false, None);
        let last = table.lines().last().unwrap();
        assert!(last.to_lowercase().starts_with(&format!("{outcome}: 1 test in")), "{last}");
        assert_eq!(last.contains("so not every test was run"), aborted.is_some(), "{last}");
    }
}

#[test]
fn an_empty_part_of_a_suite_is_no_failure() {
    let directory = tempdir().unwrap();
    let (_, suite) = finished(directory.path(), Vec::new(), None);
    let json = check_results(&suite.results.to_json().unwrap());
    assert_eq!((&json["outcome"], &json["started"]), (&"passed".into(), &Value::Null));
    check_junit(&junit::xml(&suite, junit::Profile::Jenkins, directory.path()).unwrap()).unwrap();
    assert_eq!(
        terminal::table::text(&suite, false, None),
        "\npassed: 0 tests in 4.200 s: none to run\n"
    );
}

/// Writes what a test wrote and returns its result.
fn with_output(directory: &Path, stdout: &[u8], stderr: &[u8]) -> TestResult {
    fs::write(directory.join("stdout"), stdout).unwrap();
    fs::write(directory.join("stderr"), stderr).unwrap();
    TestResult {
        stdout: Some(PathBuf::from("stdout")),
        stderr: Some(PathBuf::from("stderr")),
        artifacts: vec![PathBuf::from("core.txt"), PathBuf::from("a]]b"), PathBuf::from("a\nb")],
        ..attempt("noisy", 1, 1, Outcome::Failed { exit_code: 1 })
    }
}

#[test]
fn the_end_of_the_output_of_a_failed_test_is_shown_and_attached() {
    let directory = tempdir().unwrap();
    let mut stdout: String = (0..10_000).map(|line| format!("line {line}\n")).collect();
    stdout.push_str("\u{1b}[31mred\u{1b}[0m \u{0}\u{8}& <done>\n10%\r20%\r\n");
    let result = with_output(directory.path(), stdout.as_bytes(), b"\xff\xfe oh ]]> no\n");
    let (events, suite) = finished(directory.path(), vec![result], None);
    let xml = junit::xml(&suite, junit::Profile::Jenkins, directory.path()).unwrap();
    check_junit(&xml).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let text = |name: &str| {
        let node = document.descendants().find(|node| node.has_tag_name(name)).unwrap();
        node.text().unwrap().to_owned()
    };
    let out = text("system-out");
    assert!(out.contains("red & <done>\n10%\n20%"), "{out}");
    assert!(out.contains("stdout: stdout, of which") && out.contains("line 9999\n"), "{out}");
    assert!(!out.contains("line 5000\n"), "only the end is in the file");
    assert!(out.len() < 20 << 10);
    let attached: Vec<&str> =
        out.lines().filter_map(|line| line.strip_prefix("[[ATTACHMENT|")).collect();
    let expected = ["stdout]]", "stderr]]", "core.txt]]"];
    assert_eq!(attached, expected);
    assert!(text("system-err").contains("\u{fffd}\u{fffd} oh ]]> no"));

    let log = lines(&events);
    assert!(log.contains("    … stdout\n    | line 9993\n"), "{log}");
    assert!(log.contains("    | red & <done>\n    | 10%\n    | 20%\n"), "{log}");
    assert!(!log.contains('\u{1b}'));
}

#[test]
fn what_a_test_prints_or_is_called_is_no_command_to_a_ci_server() {
    let directory = tempdir().unwrap();
    let evil = "[[ATTACHMENT|/etc/shadow]] ##[add-path]/evil ##vso[task.setvariable] ";
    let printed = format!("{evil}\n::error::no\n[[\u{1b}[0mATTACHMENT|/etc/shadow]]\n");
    let mut result = with_output(directory.path(), printed.as_bytes(), printed.as_bytes());
    result.test.test = evil.to_owned();
    result.reason = Some(evil.to_owned());
    result.message = Some(evil.to_owned());
    result.notes = vec![evil.to_owned()];
    result.artifacts = vec![PathBuf::from("[[ATTACHMENT|/etc/shadow")];
    result.left_over_processes = vec![LeftOverProcess {
        pid: 1,
        comm: evil.to_owned(),
        rss_bytes: None,
        shares_memory_with: None,
        held_bytes: None,
    }];
    let (events, suite) = finished(directory.path(), vec![result], None);
    for profile in [junit::Profile::Jenkins, junit::Profile::Extended] {
        let xml = junit::xml(&suite, profile, directory.path()).unwrap();
        let xml = String::from_utf8(xml).unwrap();
        let attached: Vec<&str> = xml
            .split("[[ATTACHMENT|")
            .skip(1)
            .map(|rest| rest.split_once("]]").unwrap().0)
            .collect();
        assert_eq!(attached, ["stdout", "stderr"], "{xml}");
    }
    let table = terminal::table::text(&suite, false, Some(60));
    for text in [lines(&events), table, terminal::table::largest(&suite)] {
        assert!(!text.contains("##[") && !text.contains("##vso["), "{text}");
        assert!(text.lines().all(|line| !line.trim_start().starts_with("::")), "{text}");
    }
}

#[test]
fn the_output_of_many_failed_tests_does_not_fill_the_file() {
    let directory = tempdir().unwrap();
    let result = with_output(directory.path(), &[b'x'; 20_000], b"");
    let results = (0..2000).map(|number| {
        let mut result = result.clone();
        result.test.test = format!("noisy {number}");
        result
    });
    let (_, suite) = finished(directory.path(), results.collect(), None);
    let xml = junit::xml(&suite, junit::Profile::Jenkins, directory.path()).unwrap();
    assert!(xml.len() < 24 << 20, "{}", xml.len());
    assert_eq!(String::from_utf8(xml).unwrap().matches("<failure ").count(), 2000);
}

#[test]
fn the_extended_profile_has_properties_in_each_case() {
    let directory = tempdir().unwrap();
    let results = vec![attempt("a", 1, 1, Outcome::Passed)];
    let (_, suite) = finished(directory.path(), results, None);
    let xml = junit::xml(&suite, junit::Profile::Extended, directory.path()).unwrap();
    let refused = check_junit(&xml).unwrap_err();
    assert!(refused.contains("'properties': This element is not expected"), "{refused}");
    let xml = String::from_utf8(xml).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let case = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    let properties: Vec<_> = case
        .descendants()
        .filter(|node| node.has_tag_name("property"))
        .map(|node| (node.attribute("name").unwrap(), node.attribute("value").unwrap()))
        .collect();
    assert!(properties.contains(&("outcome", "passed")));
    assert!(properties.contains(&("sandbox", "pidns")));
    assert!(properties.contains(&("rss_peak_bytes", "67108864")));
    assert!(properties.contains(&("group_peak_bytes", "94371840")));
}

#[test]
fn of_many_tests_those_that_did_not_succeed_and_the_largest_are_shown() {
    let directory = tempdir().unwrap();
    let mut results: Vec<TestResult> = (0..500)
        .map(|number| attempt(&format!("test-{number:03}"), 1, 1, Outcome::Passed))
        .collect();
    results[321].outcome = Outcome::Failed { exit_code: 1 };
    results[432].memory.as_mut().unwrap().rss_peak_bytes = Some(1 << 40);
    let (_, suite) = finished(directory.path(), results, None);
    let table = terminal::table::text(&suite, false, None);
    assert!(table.contains("test-321") && table.contains("test-432"), "{table}");
    assert!(table.contains("… and 400 more, in results.json"), "{table}");
    assert_eq!(table.lines().filter(|line| line.contains("test-")).count(), 100);
    let narrow = terminal::table::text(&suite, true, Some(40));
    let plain = anstream::adapter::strip_str(&narrow).to_string();
    assert!(
        plain.lines().filter(|line| line.contains("test-")).all(|line| line.chars().count() <= 40)
    );
    assert!(narrow.contains("\u{1b}[31mfailed"), "{narrow}");
}

#[test]
fn a_test_that_runs_long_is_mentioned_in_a_log() {
    let directory = tempdir().unwrap();
    let (mut events, _) =
        finished(directory.path(), vec![attempt("slow", 1, 1, Outcome::Passed)], None);
    let progress = events.remove(2);
    for _ in 0..125 {
        events.insert(2, progress.clone());
    }
    let log = lines(&events);
    let mentioned: Vec<&str> = log.lines().filter(|line| line.contains("running")).collect();
    assert_eq!(mentioned.len(), 2, "{log}");
    assert!(mentioned[1].ends_with("2m 00s  slow: RSS 32.0 MiB now"), "{log}");
}

#[test]
fn a_setup_that_runs_long_is_mentioned_in_a_log() {
    let directory = tempdir().unwrap();
    let results = vec![attempt("slow", 1, 1, Outcome::Passed)];
    let test = results[0].test.clone();
    let (mut events, _) = finished(directory.path(), results, None);
    let of_test = Event::SetupProgress { test, rss_bytes: 32 << 20 };
    let of_suite = |name: &str| Event::StepProgress { name: name.to_owned(), rss_bytes: 1 << 20 };
    events.splice(1..1, vec![of_test; 60]);
    events.splice(1..1, vec![of_suite("setup"); 130]);
    events.insert(1, Event::StepStarted { name: "setup" });
    events.push(Event::StepStarted { name: "teardown" });
    events.extend(vec![of_suite("teardown"); 60]);
    let log = lines(&events);
    let mentioned: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("running")?.1.trim().into()).collect();
    assert_eq!(
        mentioned,
        [
            "60.000 s  the setup of the suite: RSS 1.0 MiB now",
            "2m 00s  the setup of the suite: RSS 1.0 MiB now",
            "60.000 s  the setup of slow: RSS 32.0 MiB now",
            "60.000 s  the teardown of the suite: RSS 1.0 MiB now",
        ],
        "{log}"
    );
}

#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("results.json");
    replace(&path, b"first").unwrap();
    replace(&path, b"second").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    // What cannot be written leaves what was there.
    let taken = directory.path().join("taken");
    fs::create_dir(&taken).unwrap();
    replace(&taken, b"third").unwrap_err();
    assert!(taken.is_dir());
    replace(&directory.path().join("absent/results.json"), b"third").unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    // Nor does it leave what it had written.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn the_schema_refuses_what_results_are_not() {
    let directory = tempdir().unwrap();
    let (_, suite) = finished(directory.path(), vec![attempt("a", 1, 1, Outcome::Passed)], None);
    let good = check_results(&suite.results.to_json().unwrap());
    let schema = results_schema();
    let cases: [(&str, Value); 8] = [
        ("/outcome", "fine".into()),
        ("/tests/0/outcome", "fine".into()),
        ("/tests/0/memory/rss_peak_bytes", (-1).into()),
        ("/tests/0/attempts", Value::Array(Vec::new())),
        ("/tests/0/attempts/0/repetition", 0.into()),
        ("/tests/0/roles/0/role", Value::Null),
        ("/format_version", 2.into()),
        ("/started", 5.into()),
    ];
    for (pointer, wrong) in cases {
        let mut results = good.clone();
        *results.pointer_mut(pointer).unwrap() = wrong;
        assert!(!schema.is_valid(&results), "{pointer}");
    }
    for pointer in ["", "/tests/0", "/tests/0/attempts/0", "/tests/0/memory", "/tests/0/roles/0"] {
        let mut results = good.clone();
        let object = results.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        object.insert("unknown".to_owned(), 1.into());
        assert!(!schema.is_valid(&results), "an unknown key in {pointer}");
    }
    // With --json the directory is in it.
    let line = suite.results.to_json_line(directory.path()).unwrap();
    let line = check_results(&line);
    assert_eq!(line["run"], directory.path().display().to_string());
}

#[test]
fn results_that_are_none_are_refused() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("results.json");
    for garbage in ["", "[]", "{}", "{\"tests\":[{}]}", "{\"tests\":[{\"name\":\"a\"}]}"] {
        fs::write(&path, garbage).unwrap();
        Results::read(&path).unwrap_err();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever names, reasons and outputs hold, every output can be read.
    #[test]
    fn any_text_can_be_reported(name in ".{0,40}", reason in any::<String>(), output in any::<Vec<u8>>()) {
        let directory = tempdir().unwrap();
        let mut result = with_output(directory.path(), &output, &output);
        result.test.test = name.clone();
        result.reason = Some(reason.clone());
        result.notes = vec![reason.clone()];
        let (events, suite) = finished(directory.path(), vec![result], None);
        let json = check_results(&suite.results.to_json().unwrap());
        prop_assert_eq!(&json["tests"][0]["name"], &Value::from(name));
        let xml = String::from_utf8(junit::xml(&suite, junit::Profile::Jenkins, directory.path()).unwrap()).unwrap();
        let document = roxmltree::Document::parse(&xml);
        prop_assert!(document.is_ok(), "{:?}", document);
        for text in [lines(&events), terminal::table::text(&suite, false, Some(200))] {
            prop_assert!(!text.chars().any(|char| char.is_control() && char != '\n'), "{text:?}");
        }
    }
}
