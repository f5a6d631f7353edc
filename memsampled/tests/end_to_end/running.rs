//! Running suites through the library, as `memsample run` does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crossbeam_channel::never;
use memsample_runner::results::{Outcome, TestResult};
use memsample_runner::run::{Event, RunOptions, run};
use memsample_runner::suite::{Program, Sandbox, Suite, Test};

pub(crate) const LAUNCHER: &str = env!("CARGO_BIN_EXE_memsample");

/// Longer than any machine needs for what does not wait.
pub(crate) const LONG: Duration = Duration::from_secs(100);

/// A test that runs a line of shell.
pub(crate) fn shell(name: &str, line: &str) -> Test {
    test(name, Program::Shell(line.to_owned()))
}

/// A test that runs a program.
pub(crate) fn command(name: &str, argv: &[&str]) -> Test {
    test(name, Program::Command(argv.iter().map(|&word| word.to_owned()).collect()))
}

fn test(name: &str, program: Program) -> Test {
    Test { timeout: LONG, ..Test::new(name, program, "/") }
}

pub(crate) fn suite(tests: Vec<Test>) -> Suite {
    Suite {
        name: "suite".to_owned(),
        directory: PathBuf::from("/"),
        setup: None,
        teardown: None,
        is_set_up: false,
        timeout: None,
        tests,
        notes: Vec::new(),
    }
}

pub(crate) fn options(directory: &Path) -> RunOptions {
    RunOptions::new(directory.to_owned(), PathBuf::from(LAUNCHER))
}

/// Tries with twice as much time each time, until that gives a value: what is to begin within it begins late on a busy
/// machine.
#[track_caller]
pub(crate) fn with_more_time<T>(
    first: Duration,
    mut attempt: impl FnMut(Duration) -> Option<T>,
) -> T {
    let mut time = first;
    loop {
        if let Some(value) = attempt(time) {
            return value;
        }
        assert!(time < LONG, "it has not begun within {time:?}");
        time *= 2;
    }
}

/// Runs a suite and returns all events.
#[track_caller]
pub(crate) fn events(suite: &Suite, options: &RunOptions) -> Vec<Event> {
    let mut events = Vec::new();
    run(suite, options, never(), &mut |event| events.push(event)).unwrap();
    events
}

/// Runs a suite and returns the results.
#[track_caller]
pub(crate) fn results(suite: &Suite, options: &RunOptions) -> Vec<TestResult> {
    match events(suite, options).pop() {
        Some(Event::SuiteFinished { results, .. }) => results,
        other => panic!("the last event is {other:?}"),
    }
}

/// Runs one test and returns its result.
#[track_caller]
pub(crate) fn result(test: Test, options: &RunOptions) -> TestResult {
    results(&suite(vec![test]), options).pop().unwrap()
}

pub(crate) fn isolated(mut test: Test, sandbox: Sandbox) -> Test {
    test.sandbox = Some(sandbox);
    test
}

/// The words of outcomes, in order.
pub(crate) fn words(results: &[TestResult]) -> Vec<&'static str> {
    results.iter().map(|result| Outcome::word(&result.outcome)).collect()
}

/// Makes a container in `lxc` below `directory` whose root file system holds busybox and no more.
pub(crate) fn container(directory: &Path, name: &str) {
    let root = directory.join("lxc").join(name).join("rootfs");
    for part in ["bin", "dev", "etc", "proc", "sys", "tmp", "usr"] {
        std::fs::create_dir_all(root.join(part)).unwrap();
    }
    let busybox = Command::new("sh").args(["-c", "command -v busybox"]).output().unwrap().stdout;
    let busybox = String::from_utf8(busybox).unwrap();
    std::fs::copy(busybox.trim(), root.join("bin/busybox")).unwrap();
    let applets = Command::new(busybox.trim()).arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines().filter(|&applet| applet != "busybox")
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let users = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n";
    std::fs::write(root.join("etc/passwd"), users).unwrap();
    std::fs::write(root.join("etc/shadow"), "").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(root.join("etc/shadow"), mode).unwrap();
}
