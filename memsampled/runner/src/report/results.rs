//! `results.json`: what became of every test, for programs. Its schema is `docs/results.schema.json`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::suite_result::{SuiteResult, TestVerdict};
use super::wording;
use crate::runner::{
    Abort, BoundedBytes, BudgetResult, BudgetVerdict, Sum, TestMemory, TestResult,
};
use crate::suite::{Action, Quantity};

/// The name of the file in the directory of results.
pub const FILE: &str = "results.json";
/// Raised when a key changes its meaning or goes; a new key is no reason.
const FORMAT_VERSION: u32 = 1;
/// The largest file that is read for predictions: that of a hundred thousand attempts is below.
const MAX_BYTES: u64 = 256 << 20;

/// Returns the results as one JSON object.
///
/// # Errors
///
/// None is known: every key is a string and every number finite.
pub fn json(suite: &SuiteResult) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(&document(suite, None))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Returns the results as one JSON object on one line, with the directory where they are.
///
/// # Errors
///
/// As [`json`].
pub fn json_line(suite: &SuiteResult) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&document(suite, Some(&suite.directory)))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the largest sum of resident sets of each test from the results of an earlier run, in bytes.
/// A test whose memory was not measured is not in it.
///
/// # Errors
///
/// The file cannot be read, or does not hold results.
pub fn rss_peaks(path: &Path) -> io::Result<BTreeMap<String, u64>> {
    if std::fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 256 MiB"));
    }
    let earlier: Earlier = serde_json::from_slice(&std::fs::read(path)?)?;
    let peak = |test: EarlierTest| {
        let attempts = test.attempts.into_iter();
        let peaks = attempts.filter_map(|attempt| attempt.memory?.rss_peak_bytes);
        Some((test.name, peaks.max()?))
    };
    Ok(earlier.tests.into_iter().filter_map(peak).collect())
}

#[derive(Deserialize)]
struct Earlier {
    tests: Vec<EarlierTest>,
}

#[derive(Deserialize)]
struct EarlierTest {
    name: String,
    attempts: Vec<EarlierAttempt>,
}

#[derive(Deserialize)]
struct EarlierAttempt {
    memory: Option<EarlierMemory>,
}

#[derive(Deserialize)]
struct EarlierMemory {
    rss_peak_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Document<'a> {
    format_version: u32,
    memsample_version: &'static str,
    suite: &'a str,
    outcome: &'static str,
    aborted: Option<&'static str>,
    abort_signal: Option<i32>,
    started: Option<Timestamp>,
    duration_ns: u64,
    counts: BTreeMap<&'static str, usize>,
    notes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    tests: Vec<Test<'a>>,
}

#[derive(Serialize)]
struct Test<'a> {
    name: &'a str,
    #[serde(flatten)]
    ended: Option<Ended<'a>>,
    attempts: Vec<Attempt<'a>>,
}

#[derive(Serialize)]
struct Attempt<'a> {
    repetition: u32,
    attempt: u32,
    #[serde(flatten)]
    ended: Ended<'a>,
}

#[derive(Serialize)]
struct Ended<'a> {
    outcome: &'static str,
    reason: Option<String>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    started: Option<Timestamp>,
    duration_ns: Option<u64>,
    sandbox: Option<&'a str>,
    memory: Option<Memory>,
    roles: Vec<Role<'a>>,
    budgets: Vec<Budget<'a>>,
    left_over_processes: Vec<LeftOverProcess<'a>>,
    stdout: Option<String>,
    stderr: Option<String>,
    output_cut_bytes: u64,
    artifacts: Vec<String>,
    kept: Option<String>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Memory {
    rss_peak_bytes: Option<u64>,
    rss_peak_bytes_upper: Option<u64>,
    rss_peak_at: Option<Timestamp>,
    pss_peak_bytes: Option<u64>,
    pss_peak_bytes_upper: Option<u64>,
    pss_peak_at: Option<Timestamp>,
    pss_missing: Option<&'static str>,
    anon_peak_bytes: Option<u64>,
    anon_peak_bytes_upper: Option<u64>,
    anon_peak_at: Option<Timestamp>,
    growth_bytes_per_minute: Option<i64>,
    processes: u64,
    unsampled_processes: u64,
    unbounded_images: u64,
    samples: u64,
    gaps: u64,
    cpu_ns: Option<u64>,
    minor_faults: Option<u64>,
    major_faults: Option<u64>,
}

#[derive(Serialize)]
struct Role<'a> {
    role: &'a str,
    rss_peak_bytes: u64,
    rss_peak_bytes_upper: Option<u64>,
    processes: u64,
}

#[derive(Serialize)]
struct Budget<'a> {
    role: Option<&'a str>,
    quantity: &'static str,
    limit_bytes: u64,
    action: &'static str,
    measured_bytes: Option<u64>,
    measured_bytes_upper: Option<u64>,
    verdict: &'static str,
}

#[derive(Serialize)]
struct LeftOverProcess<'a> {
    pid: i32,
    comm: &'a str,
    rss_bytes: Option<u64>,
}

fn document<'a>(suite: &'a SuiteResult, directory: Option<&Path>) -> Document<'a> {
    Document {
        format_version: FORMAT_VERSION,
        memsample_version: env!("CARGO_PKG_VERSION"),
        suite: &suite.name,
        outcome: suite.outcome().word(),
        aborted: suite.aborted.map(abort_word),
        abort_signal: match suite.aborted {
            Some(Abort::Signal(signal)) => Some(signal),
            _ => None,
        },
        started: suite.started,
        duration_ns: nanoseconds(suite.duration),
        counts: suite.counts(),
        notes: &suite.notes,
        run: directory.map(|directory| directory.display().to_string()),
        tests: suite.tests.iter().map(test).collect(),
    }
}

fn test(test: &TestVerdict) -> Test<'_> {
    let whole = test.deciding().map(|deciding| {
        let mut whole = ended(deciding);
        whole.outcome = test.outcome.word();
        // Of a flaky test, what went wrong is in an attempt before.
        let failed = || test.attempts.iter().find(|attempt| !attempt.outcome.is_success());
        if deciding.outcome.is_success() && whole.reason.is_none() {
            whole.reason = failed().map(first_failure);
        }
        whole
    });
    let attempts = test.attempts.iter().map(|result| Attempt {
        repetition: result.test.repetition,
        attempt: result.test.attempt,
        ended: ended(result),
    });
    Test { name: &test.name, ended: whole, attempts: attempts.collect() }
}

/// Says how an attempt of a flaky test failed.
pub(super) fn first_failure(result: &TestResult) -> String {
    let why = wording::why(result).map_or(String::new(), |why| format!(": {why}"));
    format!("try {} was {}{why}", result.test.attempt, result.outcome.word())
}

fn ended(result: &TestResult) -> Ended<'_> {
    let roles = result.memory.iter().flat_map(|memory| &memory.roles);
    Ended {
        outcome: result.outcome.word(),
        reason: wording::why(result),
        exit_code: result.exit_code,
        signal: result.signal,
        started: result.started,
        duration_ns: result.started.map(|_| nanoseconds(result.duration)),
        sandbox: Some(result.sandbox.as_str()).filter(|word| !word.is_empty()),
        memory: result.memory.as_ref().map(memory),
        roles: roles
            .map(|of| Role {
                role: &of.role,
                rss_peak_bytes: of.rss_peak.lower,
                rss_peak_bytes_upper: of.rss_peak.upper,
                processes: of.processes,
            })
            .collect(),
        budgets: result.budgets.iter().map(budget).collect(),
        left_over_processes: result
            .left_over_processes
            .iter()
            .map(|left| LeftOverProcess {
                pid: left.pid,
                comm: &left.comm,
                rss_bytes: left.rss_bytes,
            })
            .collect(),
        stdout: result.stdout.as_ref().map(|path| text(path)),
        stderr: result.stderr.as_ref().map(|path| text(path)),
        output_cut_bytes: result.output_cut_bytes,
        artifacts: result.artifacts.iter().map(|path| text(path)).collect(),
        kept: result.kept.as_ref().map(|path| text(path)),
        notes: &result.notes,
    }
}

/// Returns a path as text. JSON has no other; what is not UTF-8 in it is replaced.
fn text(path: &Path) -> String {
    path.display().to_string()
}

fn memory(memory: &TestMemory) -> Memory {
    let lower = |sum: Option<Sum>| sum.map(|sum| sum.peak.lower);
    let upper = |sum: Option<Sum>| sum.and_then(|sum| sum.peak.upper);
    let at = |sum: Option<Sum>| sum.map(|sum| sum.at);
    Memory {
        rss_peak_bytes: lower(memory.rss),
        rss_peak_bytes_upper: upper(memory.rss),
        rss_peak_at: at(memory.rss),
        pss_peak_bytes: lower(memory.pss),
        pss_peak_bytes_upper: upper(memory.pss),
        pss_peak_at: at(memory.pss),
        pss_missing: memory.pss_missing(),
        anon_peak_bytes: lower(memory.anon),
        anon_peak_bytes_upper: upper(memory.anon),
        anon_peak_at: at(memory.anon),
        growth_bytes_per_minute: memory.growth_bytes_per_minute,
        processes: memory.processes,
        unsampled_processes: memory.unsampled,
        unbounded_images: memory.unbounded_images,
        samples: memory.samples,
        gaps: memory.gaps,
        cpu_ns: memory.cpu.map(nanoseconds),
        minor_faults: memory.minflt,
        major_faults: memory.majflt,
    }
}

fn budget(result: &BudgetResult) -> Budget<'_> {
    let measured = |of: fn(BoundedBytes) -> Option<u64>| result.measured.and_then(of);
    Budget {
        role: result.budget.role.as_deref(),
        quantity: quantity_word(result.budget.quantity),
        limit_bytes: result.budget.limit_bytes,
        action: match result.budget.action {
            Action::Warn => "warn",
            Action::Fail => "fail",
        },
        measured_bytes: measured(|bytes| Some(bytes.lower)),
        measured_bytes_upper: measured(|bytes| bytes.upper),
        verdict: match result.verdict {
            BudgetVerdict::Kept => "kept",
            BudgetVerdict::Exceeded => "exceeded",
            BudgetVerdict::CannotTell => "cannot_tell",
        },
    }
}

fn quantity_word(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::RssPeak => "rss_peak",
        Quantity::PssPeak => "pss_peak",
        Quantity::AnonPeak => "anon_peak",
        Quantity::Growth => "growth",
        Quantity::LeftOver => "left_over",
    }
}

fn abort_word(abort: Abort) -> &'static str {
    match abort {
        Abort::Signal(_) => "signal",
        Abort::Timeout => "timeout",
        Abort::FailFast => "fail_fast",
        Abort::Setup => "setup",
        Abort::Disk { .. } => "disk",
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
