//! How much memory a test left behind, and what of it is not known.

use memsample_runner::results::{BudgetVerdict, Outcome, TestResult};
use memsample_runner::suite::{Action, Budget, Quantity, Sandbox, Test};
use tempfile::tempdir;

use crate::running::{isolated, options, result, shell};

const MIB: u64 = 1 << 20;

/// Runs a line that leaves processes, which a budget allows.
#[track_caller]
fn left(line: &str, limit_bytes: u64) -> TestResult {
    let directory = tempdir().unwrap();
    let quantity = Quantity::LeftOver;
    let budget = Budget { role: None, quantity, limit_bytes, action: Action::Fail };
    let test = Test { budgets: vec![budget], ..shell("leaves", line) };
    result(isolated(test, Sandbox::None), &options(&directory.path().join("results")))
}

#[test]
fn memory_that_a_descriptor_holds_is_not_kept_for_certain() {
    // Nobody maps the file.
    let line = "python3 -S -c 'import os, signal
file = os.memfd_create(\"x\")
for _ in range(50): os.write(file, bytes(1 << 20))
if os.fork() == 0: os.setsid(); signal.pause()'";
    let result = left(line, 40 * MIB);
    let [process] = &*result.left_over_processes else { panic!("{result:#?}") };
    assert_eq!(process.held_bytes, Some(50 * MIB), "{result:#?}");
    assert!(process.rss_bytes.unwrap() < 40 * MIB, "{result:#?}");
    assert_eq!(result.budgets[0].verdict, BudgetVerdict::CannotTell, "{result:#?}");
    assert_eq!(result.outcome, Outcome::LeftOver, "{result:#?}");

    let result = left(line, 200 * MIB);
    assert_eq!(result.budgets[0].verdict, BudgetVerdict::Kept, "{result:#?}");
    assert_eq!(result.outcome, Outcome::Passed, "{result:#?}");
}

#[test]
fn of_more_processes_than_are_looked_at_nothing_is_kept_for_certain() {
    let line = "for i in $(seq 101); do sleep 1000 & done";
    let result = left(line, 10 << 30);
    assert_eq!(result.left_over_processes.len(), 100, "{result:#?}");
    assert_eq!(result.outcome, Outcome::LeftOver, "{result:#?}");
    let budget = &result.budgets[0];
    assert!(budget.measured_bytes > Some(0), "{result:#?}");
    assert_eq!(budget.measured_bytes_upper, None, "{result:#?}");
    let note = "it may have left more processes: only 100 were looked at";
    assert!(result.notes.iter().any(|said| said == note), "{result:#?}");
}

#[test]
fn processes_whose_first_threads_have_ended_share_nothing() {
    let line = "python3 -S -c '
import ctypes, os, threading, time
file = os.memfd_create(\"x\")
ready, begun = os.pipe()
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
        held = bytearray(60 << 20)
        os.ftruncate(file, 0)
        for _ in range(50): os.write(file, bytes(1 << 20))
        threading.Thread(target=time.sleep, args=(1000,)).start()
        os.write(begun, b\"x\")
        ctypes.CDLL(None).pthread_exit(None)
for _ in range(2): os.read(ready, 1)
time.sleep(0.2)'";
    let result = left(line, 100 * MIB);
    let [one, other] = &*result.left_over_processes else { panic!("{result:#?}") };
    assert_eq!((one.shares_memory_with, other.shares_memory_with), (None, None), "{result:#?}");
    assert!(one.held_bytes.is_some_and(|bytes| bytes > 0), "{result:#?}");
    assert_eq!(result.budgets[0].verdict, BudgetVerdict::Exceeded, "{result:#?}");
}
