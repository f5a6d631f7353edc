//! What the runner adds to a test, and how long a thousand tests take that do nothing.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use memsample_benches::{Table, memsample, raise_descriptor_limit};
use memsample_runner::results::Outcome;
use memsample_runner::run::{Event, RunOptions, run};
use memsample_runner::suite::{Program, Sandbox, Suite, Test};

fn main() {
    raise_descriptor_limit().unwrap();
    let bare = bare_ms(200);
    let mut table = Table::new(&[
        "sandbox",
        "tests",
        "jobs",
        "whole suite, s",
        "a test, ms",
        "the runner adds, ms",
    ]);
    let bwrap = || Sandbox::Bubblewrap { root: None };
    for (word, sandbox, tests, jobs) in [
        ("none", Sandbox::None, 200, 1),
        ("pidns", Sandbox::PidNamespace, 200, 1),
        ("bwrap", bwrap(), 200, 1),
        ("pidns", Sandbox::PidNamespace, 1000, 2),
    ] {
        let (suite_seconds, tests_seconds) = suite_seconds(sandbox, tests, jobs);
        // With two at once, each takes the time of two.
        let test_ms = 1e3 * tests_seconds * f64::from(jobs) / f64::from(tests);
        table.row([
            word.to_owned(),
            tests.to_string(),
            jobs.to_string(),
            format!("{suite_seconds:.2}"),
            format!("{test_ms:.1}"),
            format!("{:.1}", test_ms - bare),
        ]);
    }
    println!("## runner: tests of `true`; run without a runner, one takes {bare:.1} ms\n");
    println!("{table}");
}

/// Returns what it takes to start `true` and to wait for it.
fn bare_ms(count: u32) -> f64 {
    let began = Instant::now();
    for _ in 0..count {
        assert!(Command::new("true").status().unwrap().success());
    }
    1e3 * began.elapsed().as_secs_f64() / f64::from(count)
}

/// Returns what a suite takes with all, and from its begin to the end of its last test.
fn suite_seconds(sandbox: Sandbox, tests: u32, jobs: u32) -> (f64, f64) {
    let directory = tempfile::tempdir().unwrap();
    let launcher = PathBuf::from(memsample().unwrap().get_program());
    let mut options = RunOptions::new(directory.path().join("results"), launcher);
    options.jobs = NonZeroUsize::new(jobs as usize).unwrap();
    options.sandbox = Some(sandbox);
    let suite = Suite {
        name: "suite".to_owned(),
        directory: "/".into(),
        setup: None,
        teardown: None,
        is_set_up: false,
        notes: Vec::new(),
        timeout: None,
        tests: (0..tests)
            .map(|number| {
                let program = Program::Command(vec!["true".to_owned()]);
                Test::new(format!("test {number}"), program, "/")
            })
            .collect(),
    };
    let (began, mut first, mut last) = (Instant::now(), None, None);
    run(&suite, &options, crossbeam_channel::never(), &mut |event| match event {
        Event::SuiteStarted { .. } => first = Some(Instant::now()),
        Event::TestFinished { result, .. } => {
            assert_eq!(result.outcome, Outcome::Passed, "{result:?}");
            last = Some(Instant::now());
        }
        _ => {}
    })
    .unwrap();
    let whole = began.elapsed().as_secs_f64();
    (whole, last.unwrap().duration_since(first.unwrap()).as_secs_f64())
}
