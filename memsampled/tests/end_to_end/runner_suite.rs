//! What a suite is besides its tests: order, choice, repetition, requirements, setup, teardown, aborts
//! and resuming.

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::running::{
    LONG, events, isolated, options, results, shell, suite, with_more_time, words,
};
use crossbeam_channel::bounded;
use memsample_runner::plan::Shard;
use memsample_runner::results::{Abort, Outcome, TestResult, of_test};
use memsample_runner::run::{Event, RunError, RunOptions, run};
use memsample_runner::sandbox::Keep;
use memsample_runner::suite::{Program, Sandbox, Step, Suite, Test};
use tempfile::tempdir;

/// What a run came to, in few words: `name 1.1 passed`.
fn lines(results: &[TestResult]) -> Vec<String> {
    let line = |result: &TestResult| {
        let test = &result.test;
        format!("{} {}.{} {}", test.test, test.repetition, test.attempt, result.outcome.word())
    };
    results.iter().map(line).collect()
}

/// Without a sandbox, so that tests can leave traces on disk.
fn traced(name: &str, line: &str) -> Test {
    isolated(shell(name, line), Sandbox::None)
}

fn step(line: &str) -> Step {
    Step { program: Program::Shell(line.to_owned()), timeout: LONG }
}

#[track_caller]
fn check(suite: &Suite, set: impl FnOnce(&mut RunOptions), expected: &[&str]) {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    set(&mut options);
    assert_eq!(lines(&results(suite, &options)), expected);
}

#[test]
fn tests_are_chosen_by_name_tag_and_shard() {
    let tagged = |name: &str, tags: &[&str]| {
        let mut test = shell(name, "true");
        test.tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        test
    };
    let mut last = tagged("net/c", &["slow"]);
    last.requires = vec!["net/a".to_owned()];
    let suite = suite(vec![
        tagged("net/a", &["fast"]),
        tagged("net/b", &["slow", "big"]),
        tagged("disk/a", &["fast"]),
        last,
    ]);
    let regex = |text: &str| Some(regex::Regex::new(text).unwrap());
    let all = ["net/a 1.1 passed", "net/b 1.1 passed", "disk/a 1.1 passed", "net/c 1.1 passed"];
    check(&suite, |_| (), &all);
    check(&suite, |options| options.selection.filter = regex("^net/[ab]"), &all[..2]);
    check(&suite, |options| options.selection.filter = regex("nothing"), &[]);
    let tags = |options: &mut RunOptions| {
        options.selection.tags = vec!["big".to_owned(), "fast".to_owned()];
    };
    check(&suite, tags, &all[..3]);
    // Those that require each other stay together.
    let shard = |index| {
        move |options: &mut RunOptions| {
            options.selection.shard = Some(Shard { index, count: 2 });
        }
    };
    check(&suite, shard(1), &[all[0], all[2], all[3]]);
    check(&suite, shard(2), &[all[1]]);
    let filter = |options: &mut RunOptions| options.selection.filter = regex("c$");
    check(&suite, filter, &["net/c 1.1 skipped"]);
}

#[test]
fn a_test_waits_for_those_that_it_requires() {
    let requiring = |name: &str, line: &str, required: &[&str]| {
        let mut test = shell(name, line);
        test.requires = required.iter().map(|&name| name.to_owned()).collect();
        test
    };
    let suite = suite(vec![
        requiring("last", "true", &["first", "second"]),
        requiring("first", "sleep 0.1", &[]),
        requiring("second", "true", &["first"]),
        requiring("fails", "false", &["second"]),
        requiring("never", "true", &["fails"]),
        requiring("nor this", "true", &["never"]),
    ]);
    for jobs in [1, 4] {
        let directory = tempdir().unwrap();
        let mut options = options(&directory.path().join("results"));
        options.jobs = NonZeroUsize::new(jobs).unwrap();
        let events = events(&suite, &options);
        let begun = events.iter().filter_map(|event| match event {
            Event::TestStarted { test, .. } => Some(test.test.as_str()),
            _ => None,
        });
        let begun: Vec<&str> = begun.collect();
        let position = |name: &str| begun.iter().position(|&begun| begun == name).unwrap();
        assert!(position("first") < position("second") && position("second") < position("last"));
        assert_eq!(begun.len(), 4);
        let Some(Event::SuiteFinished { results, aborted: None, .. }) = events.last() else {
            panic!("{events:?}");
        };
        let expected = ["passed", "passed", "passed", "failed", "skipped", "skipped"];
        assert_eq!(words(results), expected);
    }
}

#[test]
fn what_fails_is_tried_again_and_what_is_repeated_is_counted() {
    let directory = tempdir().unwrap();
    let count = directory.path().join("count");
    // Passes the third time.
    let line = format!("echo >> {0}; test $(wc -l < {0}) -ge 3", count.display());
    let mut flaky = traced("flaky", &line);
    flaky.retries = 5;
    let mut hopeless = shell("hopeless", "exit 9");
    hopeless.retries = 1;
    let mut repeated = shell("repeated", "true");
    repeated.repeat = 3;
    let suite = suite(vec![flaky, hopeless, repeated]);
    let results = results(&suite, &options(&directory.path().join("results")));
    assert_eq!(
        lines(&results),
        [
            "flaky 1.1 failed",
            "flaky 1.2 failed",
            "flaky 1.3 passed",
            "hopeless 1.1 failed",
            "hopeless 1.2 failed",
            "repeated 1.1 passed",
            "repeated 2.1 passed",
            "repeated 3.1 passed",
        ]
    );
    assert_eq!(of_test(&results[..3]), Some(Outcome::Flaky));
    assert_eq!(of_test(&results[3..5]), Some(Outcome::Failed { exit_code: 9 }));
    assert_eq!(of_test(&results[5..]), Some(Outcome::Passed));
    assert_eq!(of_test(&[]), None);
}

#[test]
fn as_many_run_at_once_as_are_allowed() {
    let directory = tempdir().unwrap();
    let (gauge, full) = (directory.path().join("gauge"), directory.path().join("full"));
    fs::create_dir(&gauge).unwrap();
    // Says how many there are while it is there. The first ones wait for each other.
    let line = format!(
        "touch {0}/$$; while count=$(ls {0} | wc -l); [ $count -lt 3 -a ! -e {1} ]; do sleep 0.02; done; \
         touch {1}; echo $count; sleep 0.2; rm {0}/$$",
        gauge.display(),
        full.display(),
    );
    let tests = (0..6).map(|number| traced(&format!("test {number}"), &line)).collect();
    let results_in = directory.path().join("results");
    let mut options = options(&results_in);
    options.jobs = NonZeroUsize::new(3).unwrap();
    // They fit on any machine.
    options.predicted_bytes.extend((0..6).map(|number| (format!("test {number}"), 1)));
    let results = results(&suite(tests), &options);
    assert_eq!(words(&results), ["passed"; 6]);
    let most = results.iter().map(|result| {
        let text = fs::read_to_string(results_in.join(result.stdout.as_ref().unwrap())).unwrap();
        text.trim().parse::<u32>().unwrap()
    });
    assert_eq!(most.max(), Some(3));
}

#[test]
fn a_test_that_does_not_fit_waits() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    options.jobs = NonZeroUsize::new(4).unwrap();
    // No machine has it: each runs alone.
    for name in ["a", "b", "c"] {
        options.predicted_bytes.insert(name.to_owned(), 1 << 60);
    }
    let suite = suite(["a", "b", "c"].map(|name| shell(name, "sleep 0.1")).to_vec());
    let mut running = 0;
    for event in events(&suite, &options) {
        match event {
            Event::TestStarted { .. } => running += 1,
            Event::TestFinished { .. } => running -= 1,
            _ => {}
        }
        assert!(running <= 1);
    }
}

#[test]
fn setup_and_teardown_are_around_all() {
    let directory = tempdir().unwrap();
    let trace = directory.path().join("trace");
    let trace = |word: &str| format!("echo {word} >> {}", trace.display());
    let mut test = traced("test", &format!("{}; exit 1", trace("test")));
    test.setup = vec![step(&trace("its setup"))];
    test.cleanup = vec![step(&trace("its cleanup"))];
    let mut suite = suite(vec![test]);
    // What it starts lives on for the tests, and no longer.
    suite.setup = Some(step(&format!(
        "{}; sleep 1234 & echo $! > {}/pid",
        trace("setup"),
        directory.path().display()
    )));
    let alive = format!("kill -0 $(cat {}/pid) && ", directory.path().display());
    suite.teardown = Some(step(&(alive + &trace("teardown"))));
    let results = results(&suite, &options(&directory.path().join("results")));
    assert_eq!(lines(&results), ["test 1.1 failed"]);
    let lines = fs::read_to_string(directory.path().join("trace")).unwrap();
    assert_eq!(lines, "setup\nits setup\ntest\nits cleanup\nteardown\n");
    let pid = fs::read_to_string(directory.path().join("pid")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn a_setup_is_seen_to_run() {
    let directory = tempdir().unwrap();
    // Each runs until it was told of.
    let until = |name: &str| {
        step(&format!(
            "until [ -e {} ]; do sleep 0.01; done",
            directory.path().join(name).display()
        ))
    };
    let mut test = traced("test", "true");
    test.setup = vec![until("test")];
    let suite = Suite {
        setup: Some(until("setup")),
        teardown: Some(until("teardown")),
        ..suite(vec![test])
    };
    let options = options(&directory.path().join("results"));
    run(&suite, &options, crossbeam_channel::never(), &mut |event| {
        let (told, rss_bytes) = match event {
            Event::StepProgress { name, rss_bytes } => (name, rss_bytes),
            Event::SetupProgress { test, rss_bytes } => (test.test, rss_bytes),
            _ => return,
        };
        assert!(rss_bytes > 0, "{told}");
        fs::write(directory.path().join(told), "").unwrap();
    })
    .unwrap();
}

#[test]
fn no_test_is_started_if_setup_fails() {
    let directory = tempdir().unwrap();
    let mut suite = suite(vec![shell("test", "true")]);
    suite.setup = Some(step("exit 3"));
    suite.teardown = Some(step(&format!("touch {}/teardown", directory.path().display())));
    let mut events = events(&suite, &options(&directory.path().join("results")));
    let Some(Event::SuiteFinished { results, aborted, .. }) = events.pop() else { panic!() };
    assert_eq!(aborted, Some(Abort::Setup));
    let reason = "the setup of the suite failed: exit code 3".to_owned();
    assert_eq!(results[0].outcome, Outcome::NotStarted { reason });
    let is_setup =
        |event: &Event| matches!(event, Event::StepFinished(step) if step.exit_code == Some(3));
    assert!(events.iter().any(is_setup));
    assert!(directory.path().join("teardown").exists());
}

#[test]
fn a_test_whose_setup_fails_is_not_started_and_a_failed_cleanup_is_told() {
    let directory = tempdir().unwrap();
    let mut first = shell("first", "true");
    first.setup = vec![step("true"), step("exit 4"), step("true")];
    let mut second = shell("second", "true");
    second.cleanup = vec![step("exit 5"), step("true")];
    let results = results(&suite(vec![first, second]), &options(&directory.path().join("results")));
    assert_eq!(words(&results), ["not_started", "passed"]);
    let Outcome::NotStarted { reason } = &results[0].outcome else { panic!() };
    assert!(reason.contains("exit 4") && reason.contains("exited with 4"), "{reason}");
    assert!(results[1].notes[0].contains("exited with 5"), "{:?}", results[1].notes);
}

/// Runs a suite whose third test waits for ever, and sends signals when that is under way.
fn interrupted(directory: &Path, signals: &'static [i32]) -> (Vec<TestResult>, Option<Abort>) {
    let suite = interruptible(directory, "sleep 1000");
    let (sender, receiver) = bounded(16);
    let trace = directory.join("trace");
    let sending = std::thread::spawn(move || {
        while !fs::read_to_string(&trace).is_ok_and(|text| text.contains("waits")) {
            std::thread::yield_now();
        }
        signals.iter().for_each(|&signal| sender.send(signal).unwrap());
    });
    let mut end = None;
    run(&suite, &options(&directory.join("results")), receiver, &mut |event| {
        if let Event::SuiteFinished { results, aborted, .. } = event {
            end = Some((results, aborted));
        }
    })
    .unwrap();
    sending.join().unwrap();
    end.unwrap()
}

fn interruptible(directory: &Path, line: &str) -> Suite {
    let counted = |name: &str, line: &str| {
        traced(name, &format!("echo {name} >> {}/trace; {line}", directory.display()))
    };
    let mut waits = counted("waits", line);
    waits.cleanup = vec![step(&format!("echo cleanup >> {}/trace", directory.display()))];
    let mut suite = suite(vec![
        counted("passes", "true"),
        counted("fails", "false"),
        waits,
        counted("after", "true"),
    ]);
    suite.teardown = Some(step(&format!("echo teardown >> {}/trace", directory.display())));
    suite
}

#[test]
fn a_signal_ends_the_suite_in_order_and_it_can_be_resumed() {
    let directory = tempdir().unwrap();
    let (results, aborted) = interrupted(directory.path(), &[15]);
    assert_eq!(aborted, Some(Abort::Signal(15)));
    assert_eq!(words(&results), ["passed", "failed", "aborted", "skipped"]);
    let trace = || fs::read_to_string(directory.path().join("trace")).unwrap();
    assert_eq!(trace(), "passes\nfails\nwaits\ncleanup\nteardown\n");

    // Not without being asked to.
    let suite = interruptible(directory.path(), "true");
    let mut options = options(&directory.path().join("results"));
    let refused = run(&suite, &options, bounded(1).1, &mut |_| ());
    assert!(matches!(refused, Err(RunError::NotEmpty(_))), "{refused:?}");
    options.resume = true;
    fs::remove_file(directory.path().join("trace")).unwrap();
    let results = crate::running::results(&suite, &options);
    assert_eq!(words(&results), ["passed", "failed", "passed", "passed"]);
    assert_eq!(trace(), "waits\ncleanup\nafter\nteardown\n");
    // Each part has its recording.
    assert!(directory.path().join("results/recording/recording.json").exists());
    assert!(directory.path().join("results/recording-2/recording.json").exists());

    // Of another suite nothing is resumed.
    let other = crate::running::suite(vec![shell("other", "true")]);
    let refused = run(&other, &options, bounded(1).1, &mut |_| ()).unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("another suite"), "{cause}");
}

#[test]
fn a_line_that_a_crash_cut_is_run_again() {
    let directory = tempdir().unwrap();
    interrupted(directory.path(), &[15]);
    let progress = directory.path().join("results/progress.jsonl");
    let whole = fs::read(&progress).unwrap();
    let mut options = options(&directory.path().join("results"));
    options.resume = true;
    let suite = interruptible(directory.path(), "true");
    // Cut in the line of the second test, and a line that is none.
    let end = whole.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').nth(1).unwrap().0;
    fs::write(&progress, &whole[..end + 20]).unwrap();
    fs::remove_file(directory.path().join("trace")).unwrap();
    let results = crate::running::results(&suite, &options);
    assert_eq!(words(&results), ["passed", "failed", "passed", "passed"]);
    let trace = fs::read_to_string(directory.path().join("trace")).unwrap();
    assert_eq!(trace, "fails\nwaits\ncleanup\nafter\nteardown\n");
    for damage in ["not json\n", "{\"Suite\":1}\n", "\n", ""] {
        fs::write(&progress, damage).unwrap();
        let refused = run(&suite, &options, bounded(1).1, &mut |_| ());
        assert!(matches!(refused, Err(RunError::Resume(_))), "{damage:?}: {refused:?}");
    }
}

#[test]
fn a_second_signal_ends_all_at_once() {
    let directory = tempdir().unwrap();
    let (results, aborted) = interrupted(directory.path(), &[2, 2]);
    assert_eq!(aborted, Some(Abort::Signal(2)));
    assert_eq!(words(&results), ["passed", "failed", "aborted", "skipped"]);
    let trace = fs::read_to_string(directory.path().join("trace")).unwrap();
    assert!(!trace.contains("teardown"), "{trace}");
}

/// Runs a suite whose time is over while its test `waits` runs and when so many others have failed.
#[track_caller]
fn out_of_time(
    mut suite: Suite,
    set: impl Fn(&mut RunOptions),
    failed: usize,
) -> (Vec<TestResult>, Option<Abort>) {
    with_more_time(Duration::from_millis(500), |timeout| {
        let directory = tempdir().unwrap();
        let mut options = options(&directory.path().join("results"));
        set(&mut options);
        suite.timeout = Some(timeout);
        let mut events = events(&suite, &options);
        let Some(Event::SuiteFinished { results, aborted, .. }) = events.pop() else {
            panic!("{events:?}");
        };
        let is_it = |event: &Event| matches!(event, Event::TestStarted { test, .. } if test.test == "waits");
        let have_failed = words(&results).iter().filter(|&&word| word == "failed").count();
        (events.iter().any(is_it) && have_failed == failed).then_some((results, aborted))
    })
}

#[test]
fn the_time_of_a_suite_ends_it() {
    let suite = suite(vec![shell("waits", "sleep 1000"), shell("after", "true")]);
    let (results, aborted) = out_of_time(suite, |_| (), 0);
    assert_eq!((words(&results), aborted), (vec!["aborted", "skipped"], Some(Abort::Timeout)));
}

#[test]
fn the_first_failure_ends_a_suite_that_asks_for_it() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    options.fail_fast = true;
    let mut flaky = shell("fails", "false");
    flaky.retries = 1;
    let suite = suite(vec![shell("passes", "true"), flaky, shell("after", "true")]);
    let Some(Event::SuiteFinished { results, aborted, .. }) = events(&suite, &options).pop() else {
        panic!();
    };
    assert_eq!(words(&results), ["passed", "failed", "failed", "skipped"]);
    assert_eq!(aborted, Some(Abort::FailFast));
}

#[test]
fn a_suite_whose_setup_failed_runs_all_when_it_goes_on() {
    let directory = tempdir().unwrap();
    let ready = directory.path().join("ready");
    let mut suite = suite(vec![shell("one", "true"), shell("two", "exit 2")]);
    suite.setup = Some(step(&format!("test -e {}", ready.display())));
    let mut options = options(&directory.path().join("results"));
    assert_eq!(words(&results(&suite, &options)), ["not_started", "not_started"]);
    fs::write(ready, "").unwrap();
    options.resume = true;
    let resumed = results(&suite, &options);
    assert_eq!(lines(&resumed), ["one 1.1 passed", "two 1.1 failed"]);
}

#[test]
fn a_test_that_is_not_tried_again_ended_as_it_did() {
    let directory = tempdir().unwrap();
    let over = directory.path().join("over");
    // It fails when the other one has ended the suite.
    let mut tried =
        traced("tried", &format!("until test -e {}; do sleep 0.02; done; exit 7", over.display()));
    tried.retries = 1;
    let suite = suite(vec![tried, shell("fails", "false"), shell("after", "true")]);
    let mut options = options(&directory.path().join("results"));
    options.fail_fast = true;
    options.jobs = NonZeroUsize::new(2).unwrap();
    // They fit on any machine.
    options.predicted_bytes.extend(["tried", "fails"].map(|name| (name.to_owned(), 1)));
    let mut end = None;
    run(&suite, &options, crossbeam_channel::never(), &mut |event| match event {
        Event::TestFinished { result, .. } if result.test.test == "fails" => {
            fs::write(&over, "").unwrap();
        }
        Event::SuiteFinished { results, aborted, .. } => end = Some((results, aborted)),
        _ => {}
    })
    .unwrap();
    let (results, aborted) = end.unwrap();
    assert_eq!(aborted, Some(Abort::FailFast));
    assert_eq!(lines(&results), ["tried 1.1 failed", "fails 1.1 failed", "after 1.1 skipped"]);
    assert_eq!(of_test(&results[..1]), Some(Outcome::Failed { exit_code: 7 }));
}

#[test]
fn the_time_of_a_suite_also_ends_what_runs_after_the_first_failure() {
    let set = |options: &mut RunOptions| {
        options.fail_fast = true;
        options.jobs = NonZeroUsize::new(2).unwrap();
        // They fit on any machine.
        options.predicted_bytes.extend(["waits", "fails"].map(|name| (name.to_owned(), 1)));
    };
    let suite =
        suite(vec![shell("waits", "sleep 1000"), shell("fails", "false"), shell("after", "true")]);
    let (results, aborted) = out_of_time(suite, set, 1);
    assert_eq!(words(&results), ["aborted", "failed", "skipped"]);
    assert_eq!(aborted, Some(Abort::Timeout));
}

#[test]
fn artifacts_are_kept_and_only_they() {
    let directory = tempdir().unwrap();
    let cwd = directory.path().join("work");
    fs::create_dir(&cwd).unwrap();
    let mut test = traced(
        "test",
        "mkdir -p out/deep; echo 1 > out/a.log; echo 2 > out/deep/b.log; echo 3 > out/c.txt; \
         ln -s /etc/passwd out/passwd.log; ln -s /etc out/etc; mkfifo out/pipe.log; \
         echo 4 > out/$(printf '\\377').log; chmod 6755 out/a.log",
    );
    test.cwd = cwd;
    test.artifacts = ["out/**/*.log", "out/etc/passwd", "../*", "/etc/passwd", "out/["]
        .map(str::to_owned)
        .to_vec();
    let results_in = directory.path().join("results");
    let result = crate::running::result(test, &options(&results_in));
    let kept = "tests/0001-test/1.1/artifacts/out";
    assert_eq!(
        result.artifacts,
        [Path::new(kept).join("a.log"), Path::new(kept).join("deep/b.log")]
    );
    assert_eq!(fs::read_to_string(results_in.join(&result.artifacts[1])).unwrap(), "2\n");
    assert_eq!(result.notes.len(), 4, "{:?}", result.notes);
    let is_told = result.notes.iter().any(|note| note.contains("its name is not UTF-8"));
    assert!(is_told, "{:?}", result.notes);
    // Whose rights a program gets is not ours to give.
    let metadata = fs::metadata(results_in.join(&result.artifacts[0])).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o755);
}

#[test]
fn what_a_failed_sandbox_wrote_is_kept_if_asked() {
    let directory = tempdir().unwrap();
    let bwrap = Sandbox::Bubblewrap { root: None };
    let mut options = options(&directory.path().join("results"));
    options.keep_failed = Some(Keep::Directory);
    let tests = vec![
        isolated(shell("fails", "echo x > /tmp/left; exit 1"), bwrap.clone()),
        isolated(shell("leaves", "echo x > /tmp/left; sleep 1000 &"), bwrap.clone()),
        isolated(shell("passes", "echo x > /tmp/left"), bwrap),
        // It has no file system of its own.
        shell("has none", "exit 1"),
    ];
    let results = results(&suite(tests), &options);
    assert_eq!(words(&results), ["failed", "left_over", "passed", "failed"]);
    for result in &results[..2] {
        let kept = result.kept.as_ref().unwrap();
        assert!(options.directory.join(kept).join("tmp/left").exists());
    }
    for (result, directory) in [(&results[2], "0003-passes"), (&results[3], "0004-has_none")] {
        assert_eq!(result.kept, None);
        assert!(!options.directory.join("tests").join(directory).join("1.1/scratch").exists());
    }
}

#[test]
fn a_test_is_offered_to_the_kernel_before_its_runner() {
    let directory = tempdir().unwrap();
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let expected = (own.trim().parse::<i32>().unwrap() + 500).min(1000);
    let line = format!("test $(cat /proc/self/oom_score_adj) = {expected}");
    let tests = [
        ("none", Sandbox::None),
        ("pidns", Sandbox::PidNamespace),
        ("bwrap", Sandbox::Bubblewrap { root: None }),
    ]
    .map(|(name, sandbox)| isolated(shell(name, &line), sandbox));
    let results = results(&suite(tests.into()), &options(&directory.path().join("results")));
    assert_eq!(words(&results), ["passed"; 3]);
}

#[test]
fn what_a_failed_sandbox_wrote_is_archived_whatever_it_is() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("results"));
    options.keep_failed = Some(Keep::Archive);
    let line = "cd /tmp; mkdir deep; echo x > deep/left; mkfifo pipe; chmod 0 deep; exit 1";
    let test = isolated(shell("fails", line), Sandbox::Bubblewrap { root: None });
    let results = results(&suite(vec![test]), &options);
    let kept = results[0].kept.as_ref().unwrap();
    assert_eq!(kept, Path::new("tests/0001-fails/1.1/scratch.tar.gz"));
    assert!(!options.directory.join("tests/0001-fails/1.1/scratch").exists());
    let tar = Command::new("tar").arg("tf").arg(options.directory.join(kept)).output().unwrap();
    let names = String::from_utf8(tar.stdout).unwrap();
    for name in ["./tmp/deep/left", "./tmp/pipe"] {
        assert!(names.lines().any(|line| line == name), "{names}");
    }
}

#[test]
fn names_never_become_paths() {
    let directory = tempdir().unwrap();
    let names = ["../../escape", "a/b/c", ".", "..", "-rf", "Ünïcödé", &"n".repeat(256)];
    let tests = names.map(|name| shell(name, "true")).to_vec();
    let results_in = directory.path().join("results");
    let results = results(&suite(tests), &options(&results_in));
    assert_eq!(words(&results), ["passed"; 7]);
    for result in &results {
        let path = result.stdout.as_ref().unwrap();
        assert!(path.components().count() == 4 && results_in.join(path).is_file(), "{path:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
