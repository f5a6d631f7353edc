//! Suites whose outcome is data: `suites/NAME.toml`, or the directory `suites/NAME` in UTAH's format,
//! with `suites/NAME.expected.toml` beside it. Each is run by the command as a user runs it, and what a
//! person reads, `results.json` and `junit.xml` must all say what is expected.
//!
//! Root is needed for the memory limits, as for the rest of `make test`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Ended, memsample};
use crate::report_outputs::{check_junit, check_results};
use serde::Deserialize;
use serde_json::Value;
use tempfile::tempdir;

/// What a suite is expected to come to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedSuite {
    /// More arguments of the command.
    #[serde(default)]
    arguments: Vec<String>,
    exit_code: i32,
    outcome: String,
    aborted: Option<String>,
    #[serde(default)]
    notes: Vec<String>,
    /// In the order of the suite.
    test: Vec<ExpectedTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedTest {
    name: String,
    outcome: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
    /// A part of why; without it no reason may be given.
    reason: Option<String>,
    /// `REPETITION.ATTEMPT WORD`; by default one, of the same outcome as the test.
    attempts: Option<Vec<String>>,
    /// For each repetition the elements that say how it ended; by default none, for one.
    junit: Option<Vec<Vec<String>>>,
}

impl ExpectedTest {
    /// Returns repetition, attempt and outcome of each attempt.
    fn attempts(&self) -> Vec<(u32, u32, String)> {
        let Some(attempts) = &self.attempts else { return vec![(1, 1, self.outcome.clone())] };
        let parse = |text: &String| {
            let (numbers, word) = text.split_once(' ').unwrap();
            let (repetition, attempt) = numbers.split_once('.').unwrap();
            (repetition.parse().unwrap(), attempt.parse().unwrap(), word.to_owned())
        };
        attempts.iter().map(parse).collect()
    }

    fn junit(&self) -> Vec<Vec<String>> {
        self.junit.clone().unwrap_or_else(|| vec![Vec::new()])
    }
}

fn suites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites")
}

/// Runs one of the suites in a copy, for its tests write into it.
fn check(name: &str) {
    let text = fs::read_to_string(suites().join(format!("{name}.expected.toml"))).unwrap();
    let expected: ExpectedSuite = toml::from_str(&text).unwrap();
    for sandbox in [&["--sandbox", "none"][..], &[]] {
        let directory = tempdir().unwrap();
        let status = Command::new("cp")
            .args(["-r", "--"])
            .args([suites().join("."), directory.path().join("suites")])
            .status()
            .unwrap();
        assert!(status.success());
        let file = format!("suites/{name}.toml");
        let suite = match directory.path().join(&file).exists() {
            true => file,
            false => format!("suites/{name}"),
        };
        let mut arguments = vec!["run", suite.as_str(), "--table", "always"];
        arguments.extend(sandbox);
        arguments.extend(expected.arguments.iter().map(String::as_str));
        let ended = memsample(directory.path(), &arguments);
        let context = format!("{arguments:?}:\n{}\n{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(expected.exit_code), "{context}");
        check_terminal(&expected, &ended, &context);
        // The path is the last line.
        let results = directory.path().join(ended.stdout.lines().last().unwrap());
        check_json(&expected, &check_results(&fs::read(results.join("results.json")).unwrap()));
        check_xml(&expected, &fs::read_to_string(results.join("junit.xml")).unwrap());
    }
}

/// Counts of outcomes, by word.
fn counts(expected: &ExpectedSuite) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for test in &expected.test {
        *counts.entry(test.outcome.as_str()).or_default() += 1;
    }
    counts
}

/// Checks the lines of each attempt, the table, and the line that sums up.
fn check_terminal(expected: &ExpectedSuite, ended: &Ended, context: &str) {
    assert!(!ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'), "{context}");
    // The table has a head, the tests in order, and an empty line behind.
    let rows = ended.stdout.lines().skip(1).take_while(|line| !line.is_empty());
    // The legend of a sign is below the tests.
    let rows = rows.filter(|line| !line.starts_with('≥'));
    let rows: Vec<&str> = rows.collect();
    assert_eq!(rows.len(), expected.test.len(), "{context}");
    for (test, row) in expected.test.iter().zip(rows) {
        let rest = row.strip_prefix(&test.outcome).unwrap_or_else(|| panic!("{row}: {context}"));
        assert!(rest.trim_start().starts_with(&test.name), "{row}: {context}");
        let reason = test.reason.as_deref().unwrap_or_default();
        assert!(row.contains(reason), "{row} without {reason}: {context}");
        for (repetition, attempt, word) in test.attempts() {
            let mut label = test.name.clone();
            if repetition > 1 {
                label.push_str(&format!(" [{repetition}]"));
            }
            if attempt > 1 {
                label.push_str(&format!(" (try {attempt})"));
            }
            let is_it = |line: &&str| {
                let line = line.trim_start().strip_prefix(word.as_str());
                let Some((_, rest)) = line.and_then(|line| line.split_once(&label)) else {
                    return false;
                };
                rest.is_empty() || rest.starts_with(": ")
            };
            let lines = ended.stderr.lines().filter(is_it).count();
            assert_eq!(lines, 1, "lines of {word} {label}: {context}");
        }
    }
    for note in &expected.notes {
        // Of a step that failed there is a line as of a test.
        let step = note.replacen(" failed: ", ": ", 1);
        let is_it = |line: &str| {
            line == format!("note: {note}")
                || (step != *note && line.ends_with(&format!("  {step}")))
        };
        assert_eq!(ended.stderr.lines().filter(|line| is_it(line)).count(), 1, "{note}: {context}");
    }
    let sum = ended.stdout.lines().rev().nth(1).unwrap();
    let (word, rest) = sum.split_once(": ").unwrap();
    assert_eq!(word.to_lowercase(), expected.outcome, "{context}");
    assert!(rest.starts_with(&format!("{} test", expected.test.len())), "{context}");
    let counts: Vec<String> =
        counts(expected).iter().map(|(word, count)| format!("{count} {word}")).collect();
    let told = rest.split_once(": ").unwrap().1.split(';').next().unwrap();
    let mut told: Vec<&str> = told.split(", ").collect();
    told.sort_unstable_by_key(|count| count.split_once(' ').unwrap().1);
    assert_eq!(told, counts, "{context}");
    assert_eq!(rest.contains("so not every test was run"), expected.aborted.is_some(), "{context}");
}

fn check_json(expected: &ExpectedSuite, results: &Value) {
    assert_eq!(results["outcome"], expected.outcome);
    assert_eq!(results["aborted"], Value::from(expected.aborted.clone()));
    assert_eq!(results["counts"], serde_json::to_value(counts(expected)).unwrap());
    for note in &expected.notes {
        assert!(results["notes"].as_array().unwrap().iter().any(|told| told == note), "{note}");
    }
    let tests = results["tests"].as_array().unwrap();
    assert_eq!(tests.len(), expected.test.len());
    for (expected, test) in expected.test.iter().zip(tests) {
        assert_eq!(test["name"], expected.name);
        assert_eq!(test["outcome"], expected.outcome, "{test:#}");
        assert_eq!(test["exit_code"], Value::from(expected.exit_code), "{test:#}");
        assert_eq!(test["signal"], Value::from(expected.signal), "{test:#}");
        let told = test["reason"].as_str();
        assert_eq!(told.is_some(), expected.reason.is_some(), "{test:#}");
        let reason = expected.reason.as_deref().unwrap_or_default();
        assert!(told.unwrap_or_default().contains(reason), "{test:#}");
        let attempts: Vec<(u32, u32, String)> = test["attempts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|attempt| {
                let number = |key: &str| u32::try_from(attempt[key].as_u64().unwrap()).unwrap();
                let word = attempt["outcome"].as_str().unwrap().to_owned();
                (number("repetition"), number("attempt"), word)
            })
            .collect();
        assert_eq!(attempts, expected.attempts(), "{test:#}");
        // What ran has its times and its output, and nothing else has.
        let ran = !["not_started", "skipped"].contains(&expected.outcome.as_str());
        assert_eq!(test["started"].is_string(), ran, "{test:#}");
        assert_eq!(test["duration_ns"].is_u64(), ran, "{test:#}");
        assert!(test["stdout"].is_string() || !ran, "{test:#}");
    }
}

fn check_xml(expected: &ExpectedSuite, xml: &str) {
    check_junit(xml.as_bytes()).unwrap();
    let document = roxmltree::Document::parse(xml).unwrap();
    let mut cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    let (mut count, mut totals) = (0, BTreeMap::new());
    for test in &expected.test {
        for (index, elements) in test.junit().iter().enumerate() {
            let case = cases.next().unwrap_or_else(|| panic!("no case of {}: {xml}", test.name));
            let label = match index {
                0 => test.name.clone(),
                other => format!("{} [{}]", test.name, other + 1),
            };
            assert_eq!(case.attribute("name"), Some(label.as_str()), "{xml}");
            let found: Vec<_> = case
                .children()
                .filter(|node| node.is_element())
                .filter(|node| !node.tag_name().name().starts_with("system-"))
                .collect();
            let names: Vec<&str> = found.iter().map(|node| node.tag_name().name()).collect();
            assert_eq!(names, *elements, "{label}: {xml}");
            // The first one is about how it ended at last; that of a flaky test is of an attempt.
            if let Some(first) = found.first().filter(|_| test.outcome != "flaky") {
                assert_eq!(first.attribute("type"), Some(test.outcome.as_str()), "{xml}");
            }
            let reason = test.reason.as_deref().unwrap_or_default();
            // The message is the line of its output that says why, if there is one; the text has the reason too.
            let told = found.first().map(|node| {
                [node.attribute("message"), node.text()].map(Option::unwrap_or_default).join("\n")
            });
            assert!(told.is_none_or(|told| told.contains(reason)), "{label}: {xml}");
            count += 1;
            for name in names {
                *totals.entry(name).or_insert(0) += 1;
            }
        }
    }
    // An aborted suite has a case of its own, for a reader who knows no other way to be told.
    let of_suite = usize::from(expected.outcome == "aborted");
    assert_eq!(cases.count(), of_suite, "{xml}");
    let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    let total = |name: &str| totals.get(name).copied().unwrap_or(0);
    for (attribute, expected) in [
        ("tests", count + of_suite),
        ("failures", total("failure")),
        ("errors", total("error") + of_suite),
        ("skipped", total("skipped")),
    ] {
        assert_eq!(suite.attribute(attribute), Some(expected.to_string().as_str()), "{xml}");
    }
}

/// Makes a test of each suite, and one that none is forgotten.
macro_rules! suites {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            check($name);
        })*

        #[test]
        fn every_suite_is_checked() {
            let mut files: Vec<String> = fs::read_dir(suites())
                .unwrap()
                .filter_map(|entry| {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    Some(name.strip_suffix(".expected.toml")?.to_owned())
                })
                .collect();
            files.sort();
            assert_eq!(files, [$($name),*]);
        }
    };
}

suites! {
    all_well: "all-well",
    every_end: "every-end",
    first_failure: "first-failure",
    no_setup: "no-setup",
    out_of_time: "out-of-time",
    utah: "utah",
}
