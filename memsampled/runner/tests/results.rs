//! The model of `results.json` and its schema, `docs/results.schema.json`, say the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use memsample_leaks::Verdict as LeakVerdict;
use memsample_runner::results::{
    Abort, AbortCause, Attempt, BudgetResult, BudgetVerdict, FORMAT_VERSION, GroupUse, LeakResult,
    LeftOverProcess, Memory, Origin, Outcome, Results, ResultsError, RoleMemory, StepResult,
    SuiteOutcome, TestResult, Verdict,
};
use memsample_runner::suite::{Action, Budget, Quantity};
use serde::Serialize;
use serde_json::Value;
use tempfile::tempdir;

fn schema() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/results.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn instant() -> Timestamp {
    "2026-11-22T17:26:33.123456789Z".parse().unwrap()
}

/// Results in which nothing is null or empty that can have a value.
fn example() -> Results {
    let memory = Memory {
        rss_peak_bytes: Some(1),
        rss_peak_bytes_upper: Some(u64::MAX),
        rss_peak_at: Some(instant()),
        pss_peak_bytes: Some(3),
        pss_peak_bytes_upper: Some(4),
        pss_peak_at: Some(instant()),
        pss_peak_rss_bytes: Some(30),
        pss_peak_covered_bytes: Some(29),
        pss_peak_age_ms: Some(28),
        pss_missing: Some("none".to_owned()),
        anon_peak_bytes: Some(5),
        anon_peak_bytes_upper: Some(6),
        anon_peak_at: Some(instant()),
        hugetlb_peak_bytes: Some(29),
        growth_bytes_per_minute: Some(i64::MIN),
        processes: 7,
        unsampled_processes: 8,
        unbounded_images: 9,
        unbounded_image: Some("sh".to_owned()),
        unbounded_image_bytes: Some(27),
        unattributed_processes: 28,
        samples: 10,
        gaps: 11,
        cpu_ns: Some(12),
        minor_faults: Some(13),
        major_faults: Some(14),
    };
    let group = GroupUse {
        group_peak_bytes: Some(31),
        group_peak_bytes_upper: Some(32),
        shmem_peak_bytes: Some(33),
        shmem_peak_bytes_upper: Some(34),
        shmem_peak_at: Some(instant()),
        shmem_unmapped_peak_bytes: Some(35),
        group_largest_bytes: Some(36),
        group_largest_at: Some(instant()),
        group_anon_bytes: Some(37),
        group_file_bytes: Some(38),
        group_shmem_bytes: Some(39),
        group_kernel_bytes: Some(40),
        group_sock_bytes: Some(41),
        group_cpu_ns: Some(42),
        group_samples: 43,
    };
    let role = RoleMemory {
        role: "cc".to_owned(),
        rss_peak_bytes: 15,
        rss_peak_bytes_upper: Some(16),
        processes: 17,
    };
    let budget = BudgetResult {
        budget: Budget {
            role: Some("cc".to_owned()),
            quantity: Quantity::RssPeak,
            limit_bytes: 18,
            action: Action::Fail,
        },
        measured_bytes: Some(19),
        measured_bytes_upper: Some(20),
        verdict: BudgetVerdict::Exceeded,
    };
    let failed = TestResult {
        reason: Some("why".to_owned()),
        message: Some("main.c:3: error".to_owned()),
        tags: vec!["smoke".to_owned()],
        recording: Some("recording".into()),
        started: Some(instant()),
        duration: Duration::from_nanos(21),
        exit_code: Some(22),
        signal: Some(23),
        sandbox: "pidns".to_owned(),
        left_over_processes: vec![LeftOverProcess {
            pid: 24,
            comm: "sleep".to_owned(),
            rss_bytes: Some(25),
            shares_memory_with: Some(23),
            held_bytes: Some(22),
        }],
        unlisted: None,
        left_bytes: Some(26),
        stdout: Some("stdout".into()),
        stderr: Some("stderr".into()),
        output_cut_bytes: 27,
        artifacts: vec!["log".into()],
        kept: Some("kept".into()),
        notes: vec!["a note".to_owned()],
        memory: Some(memory),
        roles: vec![role],
        group: Some(group),
        budgets: vec![budget],
        leaks: vec![LeakResult {
            role: Some("cc".to_owned()),
            verdict: LeakVerdict::Leaks,
            reason: "it grows".to_owned(),
            rate_bytes_per_hour: Some(44),
            rate_bytes_per_hour_lower: Some(-45),
            rate_bytes_per_hour_upper: Some(i64::MAX),
            samples: 46,
            action: Action::Fail,
        }],
        memory_limit_bytes: Some(47),
        ..TestResult::not_run(attempt("a", 1, 1), Outcome::Failed { exit_code: 22 })
    };
    let skipped = Outcome::Skipped { reason: "the suite ended".to_owned() };
    let attempts = [failed, TestResult::not_run(attempt("b", 1, 1), skipped)];
    let notes = vec!["a note".to_owned()];
    let aborted = Some(Abort::Signal(15));
    let duration = Duration::from_secs(1);
    let mut results = Results::new("nightly".to_owned(), &attempts, aborted, duration, notes);
    results.origin = Origin {
        host: Some("builder".to_owned()),
        kernel: Some("6.1.0".to_owned()),
        commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        arguments: vec!["run".to_owned(), "suite.toml".to_owned()],
        labels: BTreeMap::from([("branch".to_owned(), "main".to_owned())]),
        cpus: Some(4),
        memory_bytes: Some(1 << 33),
        page_bytes: Some(4096),
        huge_pages: Some("madvise".to_owned()),
        cpus_online: Some(8),
        interval_ns: Some(100_000_000),
        only_suspects: true,
        recordings: vec!["recording".to_owned()],
    };
    results.steps = vec![StepResult {
        name: "setup".to_owned(),
        outcome: Verdict::Failed,
        reason: Some("exit code 1".to_owned()),
        message: Some("main.c:3: error".to_owned()),
        exit_code: Some(1),
        signal: Some(28),
        duration_ns: Some(29),
        stdout: Some("setup/stdout".into()),
        stderr: Some("setup/stderr".into()),
        output_cut_bytes: 30,
    }];
    results
}

fn attempt(test: &str, repetition: u32, attempt: u32) -> Attempt {
    Attempt { test: test.to_owned(), repetition, attempt }
}

/// Returns the part of a schema that a reference in it names, or itself.
fn resolved<'a>(schema: &'a Value, part: &'a Value) -> &'a Value {
    match part.get("$ref").and_then(Value::as_str) {
        Some(reference) => schema.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => part,
    }
}

/// Checks that the objects in a value have the keys of their schema, and no others.
fn check_keys(schema: &Value, part: &Value, value: &Value, at: &str) {
    match value {
        Value::Object(object) => {
            let parts: Vec<&Value> = match part.get("anyOf").and_then(Value::as_array) {
                Some(any) => vec![resolved(schema, &any[0])],
                None => vec![part, resolved(schema, part)],
            };
            let of = |key: &str| parts.iter().find_map(|part| part.get("properties")?.get(key));
            let properties = parts.iter().filter_map(|part| part.get("properties")?.as_object());
            let known: BTreeSet<&String> = properties.flat_map(|it| it.keys()).collect();
            if known.is_empty() {
                // Its keys are data.
                return;
            }
            assert_eq!(object.keys().collect::<BTreeSet<_>>(), known, "{at}");
            let required = parts.iter().filter_map(|part| part.get("required")?.as_array());
            let required: BTreeSet<&str> = required.flatten().filter_map(Value::as_str).collect();
            let optional: Vec<&String> =
                known.into_iter().filter(|key| !required.contains(key.as_str())).collect();
            assert_eq!(optional, if at.is_empty() { vec!["run"] } else { vec![] }, "{at}");
            for (key, value) in object {
                check_keys(schema, of(key).unwrap(), value, &format!("{at}/{key}"));
            }
        }
        Value::Array(values) => {
            let items = resolved(schema, &resolved(schema, part)["items"]);
            for value in values {
                check_keys(schema, items, value, &format!("{at}/0"));
            }
        }
        _ => {}
    }
}

#[test]
fn every_key_of_the_model_is_in_the_schema_and_the_other_way_round() {
    let mut example: Value =
        serde_json::from_slice(&example().to_json_line(Path::new("/runs/a")).unwrap()).unwrap();
    let schema = schema();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&example), "{example:#}");
    // Of the second test little is known.
    example["tests"].as_array_mut().unwrap().truncate(1);
    check_keys(&schema, &schema, &example, "");
}

/// Checks that an enumeration of the schema has the words of a type.
#[track_caller]
fn check_words<T: Serialize>(pointer: &str, words: &[T]) {
    let schema = schema();
    let known = schema.pointer(pointer).unwrap().as_array().unwrap().iter();
    let known: BTreeSet<&str> = known.filter_map(Value::as_str).collect();
    let words: Vec<Value> = words.iter().map(|word| serde_json::to_value(word).unwrap()).collect();
    assert_eq!(words.iter().map(|word| word.as_str().unwrap()).collect::<BTreeSet<_>>(), known);
}

#[test]
fn every_word_of_the_model_is_in_the_schema() {
    let verdicts = [
        Verdict::Aborted,
        Verdict::Failed,
        Verdict::Flaky,
        Verdict::HostOutOfMemory,
        Verdict::Leaked,
        Verdict::LeftOver,
        Verdict::NotStarted,
        Verdict::OutOfCpuTime,
        Verdict::OutOfMemory,
        Verdict::OverBudget,
        Verdict::Passed,
        Verdict::Signaled,
        Verdict::Skipped,
        Verdict::TimedOut,
    ];
    check_words("/$defs/outcome/enum", &verdicts);
    for verdict in verdicts {
        assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.word());
    }
    // Counts are printed in this order.
    assert!(verdicts.windows(2).all(|pair| pair[0] < pair[1] && pair[0].word() < pair[1].word()));
    let outcomes = [SuiteOutcome::Passed, SuiteOutcome::Failed, SuiteOutcome::Aborted];
    check_words("/properties/outcome/enum", &outcomes);
    for outcome in outcomes {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.word());
    }
    let causes = [
        AbortCause::Signal,
        AbortCause::Timeout,
        AbortCause::FailFast,
        AbortCause::Setup,
        AbortCause::Disk,
    ];
    check_words("/properties/aborted/enum", &causes);
    for cause in causes {
        assert_eq!(Abort::of(cause, Some(15)).map(Abort::cause), Some(cause));
    }
    assert_eq!(Abort::of(AbortCause::Signal, None), None);
    check_words("/$defs/leak/properties/verdict/enum", &LeakVerdict::BY_ATTENTION);
    check_words("/$defs/leak/properties/action/enum", &[Action::Warn, Action::Fail]);
    let quantities = [
        Quantity::RssPeak,
        Quantity::PssPeak,
        Quantity::AnonPeak,
        Quantity::Growth,
        Quantity::LeftOver,
        Quantity::GroupPeak,
        Quantity::ShmemPeak,
    ];
    check_words("/$defs/budget/properties/quantity/enum", &quantities);
    check_words("/$defs/budget/properties/action/enum", &[Action::Warn, Action::Fail]);
    let verdicts = [BudgetVerdict::Kept, BudgetVerdict::Exceeded, BudgetVerdict::CannotTell];
    check_words("/$defs/budget/properties/verdict/enum", &verdicts);
}

#[test]
fn what_is_written_is_read_back_equal() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("results.json");
    let results = example();
    results.write(&path).unwrap();
    assert_eq!(Results::read(&path).unwrap(), results);
    let empty = Results::new("none".to_owned(), &[], None, Duration::ZERO, Vec::new());
    assert_eq!(Results::from_json(&empty.to_json().unwrap()).unwrap(), empty);
}

#[test]
fn a_newer_format_is_refused_and_a_new_key_is_not() {
    let mut value: Value = serde_json::from_slice(&example().to_json().unwrap()).unwrap();
    value["tests"][0]["attempts"][0]["later"] = 1.into();
    assert_eq!(Results::from_json(value.to_string().as_bytes()).unwrap(), example());
    // Whatever else is in it.
    let newer = serde_json::json!({
        "format_version": FORMAT_VERSION + 1,
        "memsample_version": "9.0.0",
        "suites": [],
    });
    let error = Results::from_json(newer.to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, ResultsError::Newer { .. }), "{error:?}");
    let message = error.to_string();
    assert_eq!(
        message,
        "it was written by memsample 9.0.0 in format version 2, and this memsample reads up to version 1: use a \
         newer memsample"
    );
}
