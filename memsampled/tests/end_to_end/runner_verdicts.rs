//! Programs that end in every way there is, and what the runner says of each.
//!
//! Root is needed for the rows with a memory limit or another user, as for the rest of `make test`.

use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::running::{LONG, command, container, options, result, results, shell, suite};
use memsample_runner::results::{Outcome, TestResult};
use memsample_runner::suite::{Sandbox, Test};
use tempfile::tempdir;

/// Sets fields of a test in an expression.
trait With: Sized {
    fn with(self, set: impl FnOnce(&mut Self)) -> Self;
}

impl With for Test {
    fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }
}

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_millis(300);

/// What the table expects: the outcome, and a part of the reason.
struct Row {
    test: Test,
    outcome: Outcome,
    reason: &'static str,
}

fn row(test: Test, outcome: Outcome) -> Row {
    Row { test, outcome, reason: "" }
}

fn because(test: Test, outcome: Outcome, reason: &'static str) -> Row {
    Row { test, outcome, reason }
}

/// Holds `mib` MiB of memory that it has written to, for a moment.
fn hog(mib: u32) -> String {
    format!("head -c {mib}m /dev/zero | tail -c {mib}m | wc -c")
}

fn limited(name: &str, line: &str, mib: u64) -> Test {
    shell(name, line).with(|test| test.memory_limit_bytes = Some(mib * MIB))
}

fn hurried(name: &str, line: &str, grace: Duration) -> Test {
    shell(name, line).with(|test| (test.timeout, test.grace) = (SOON, grace))
}

/// The same programs for every sandbox. `directory` holds the files that they are made of.
fn table(directory: &std::path::Path) -> Vec<Row> {
    let not_executable = directory.join("not-executable");
    std::fs::write(&not_executable, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&not_executable, PermissionsExt::from_mode(0o644)).unwrap();
    let no_interpreter = directory.join("no-interpreter");
    std::fs::write(&no_interpreter, "#!/nonexistent/interpreter\n").unwrap();
    std::fs::set_permissions(&no_interpreter, PermissionsExt::from_mode(0o755)).unwrap();
    // As every shell does, execvp(3) hands a script without a first line to /bin/sh.
    let no_format = directory.join("no-format");
    std::fs::write(&no_format, "exit 9\n").unwrap();
    std::fs::set_permissions(&no_format, PermissionsExt::from_mode(0o755)).unwrap();
    let path = |path: &std::path::PathBuf| path.to_str().unwrap().to_owned();
    // Visible in every sandbox.
    let here = |test: Test| test.with(|test| test.cwd = directory.to_owned());

    let failed = |exit_code| Outcome::Failed { exit_code };
    let signaled = |signal| Outcome::Signaled { signal };
    let not_started = || Outcome::NotStarted { reason: String::new() };
    let oom = |mib| Outcome::OutOfMemory { limit_bytes: mib * MIB };
    let timed_out = || Outcome::TimedOut { after: SOON };

    let mut rows = vec![
        // Exit codes.
        row(command("true", &["true"]), Outcome::Passed),
        row(command("false", &["false"]), failed(1)),
        row(shell("usage", "exit 2"), failed(2)),
        row(shell("skip code of automake", "exit 77"), failed(77)),
        row(shell("like not executable", "exit 126"), failed(126)),
        row(shell("like not found", "exit 127"), failed(127)),
        row(shell("like killed", "exit 137"), failed(137)),
        row(shell("largest code", "exit 255"), failed(255)),
        row(
            shell("expected code", "exit 3").with(|test| test.expect_exit = vec![0, 3]),
            Outcome::Passed,
        ),
        row(
            shell("success is not expected", "exit 0").with(|test| test.expect_exit = vec![3]),
            failed(0),
        ),
        row(shell("a child fails", "false; true"), Outcome::Passed),
        row(shell("a child is killed", "sh -c 'kill -9 $$'; exit 0"), Outcome::Passed),
        row(shell("the shell tells of a signal", "sh -c 'kill -9 $$'"), failed(137)).unless_exec(),
        // What cannot be run.
        because(command("no such path", &["/nonexistent/program"]), not_started(), "No such file"),
        because(
            command("no such command", &["no-such-command"]),
            not_started(),
            "not a command that can be found",
        ),
        because(
            here(command("not executable", &[&path(&not_executable)])),
            not_started(),
            "Permission denied",
        ),
        because(
            here(command("no interpreter", &[&path(&no_interpreter)])),
            not_started(),
            "No such file",
        ),
        row(here(command("no format", &[&path(&no_format)])), failed(9)),
        because(command("a directory", &["/etc"]), not_started(), "Permission denied"),
        because(command("nothing", &[]), not_started(), "no command"),
        because(
            command("no directory", &["true"]).with(|test| test.cwd = "/nonexistent".into()),
            not_started(),
            "nonexistent",
        ),
        because(
            command("no user", &["true"])
                .with(|test| test.run_as = Some("no-such-user".to_owned())),
            not_started(),
            "no user `no-such-user`",
        ),
        row(
            shell("another user", "test $(id -un) = nobody && test $HOME = /nonexistent")
                .with(|test| test.run_as = Some("nobody".to_owned())),
            Outcome::Passed,
        ),
        row(
            shell("a user by number", "test $(id -u) = 65534")
                .with(|test| test.run_as = Some("65534".to_owned())),
            Outcome::Passed,
        ),
        row(
            shell("what another user may not read", "cat /etc/shadow")
                .with(|test| test.run_as = Some("nobody".to_owned())),
            failed(1),
        ),
        // Memory.
        because(limited("out of memory", &hog(64), 32), oom(32), "the kernel killed"),
        because(
            limited(
                "a child out of memory, and success",
                &format!("{} >/dev/null; exit 0", hog(64)),
                32,
            ),
            oom(32),
            "exited with 0",
        ),
        row(limited("within its limit", &hog(8), 64), Outcome::Passed),
        row(limited("killed with headroom", "kill -9 $$", 256), signaled(9)),
        row(limited("fails with headroom", "exit 1", 256), failed(1)),
        // Time.
        row(hurried("too long", "exec sleep 1000", Duration::from_secs(60)), timed_out()),
        row(
            hurried(
                "ends within its grace",
                "trap 'exit 7' TERM; while :; do sleep 0.05; done",
                Duration::from_secs(60),
            ),
            timed_out(),
        ),
        row(
            hurried(
                "ignores SIGTERM",
                "trap '' TERM; while :; do sleep 0.05; done",
                Duration::from_millis(50),
            ),
            timed_out(),
        ),
        row(
            hurried("stops itself", "kill -STOP $$; sleep 1000", Duration::from_secs(60)),
            timed_out(),
        ),
        row(hurried("no grace", "exec sleep 1000", Duration::ZERO), timed_out()),
        row(
            hurried("its child too long", "sleep 1000 & wait", Duration::from_secs(60)),
            timed_out(),
        ),
        // CPU time.
        because(
            shell("too much CPU time", "while :; do :; done")
                .with(|test| test.cpu_limit = Some(SOON)),
            Outcome::OutOfCpuTime { limit: SOON },
            "of CPU time",
        ),
        because(
            shell("too much CPU time, and success", "trap 'exit 0' TERM; while :; do :; done")
                .with(|test| test.cpu_limit = Some(SOON)),
            Outcome::OutOfCpuTime { limit: SOON },
            "exited with 0",
        ),
        // What is left.
        because(shell("leaves a child", "sleep 1000 & exit 0"), Outcome::LeftOver, "`sleep`"),
        because(
            shell("leaves a session", "setsid sleep 1000 & sleep 0.1"),
            Outcome::LeftOver,
            "`sleep`",
        ),
        because(
            shell(
                "leaves a grandchild",
                "(setsid sh -c 'sleep 1000 & sleep 1001 &' &) ; sleep 0.2",
            ),
            Outcome::LeftOver,
            "`sleep`",
        ),
        row(shell("fails and leaves a child", "sleep 1000 & exit 1"), failed(1)),
        // Output.
        row(
            shell("binary output", "head -c 100000 /dev/urandom; head -c 100000 /dev/urandom >&2"),
            Outcome::Passed,
        ),
        row(shell("a gibibyte of output", "head -c 1073741824 /dev/zero; exit 6"), failed(6)),
        row(shell("closes its output", "exec >&- 2>&-; exit 0"), Outcome::Passed),
        row(shell("closes all and lives", "exec <&- >&- 2>&-; sleep 0.2; exit 4"), failed(4)),
        row(shell("reads its input", "test -z \"$(cat)\""), Outcome::Passed),
        // Its surroundings.
        row(
            shell("its environment", "test \"$GREETING\" = 'a b'")
                .with(|test| drop(test.env.insert("GREETING".to_owned(), "a b".to_owned()))),
            Outcome::Passed,
        ),
        row(
            shell("its directory", "test $(pwd) = /usr").with(|test| test.cwd = "/usr".into()),
            Outcome::Passed,
        ),
    ];
    // Every signal that ends a program.
    let ending = (1..=16).chain([24, 25, 26, 27, 29, 30, 31, 34, 50, 64]);
    for signal in ending {
        rows.push(row(
            shell(
                &format!("signal {signal}"), // From outside: a shell may ignore some that it sends to itself.
                &format!("(sleep 0.05; kill -{signal} $$) & exec sleep 1000"),
            ),
            signaled(signal),
        ));
    }
    // And those that end none: SIGCHLD, SIGCONT, SIGURG, SIGWINCH, and for a session without a
    // terminal what stops a job.
    for signal in [17, 18, 20, 21, 22, 23, 28] {
        let line = format!("kill -{signal} $$; exit 5");
        rows.push(row(shell(&format!("in spite of signal {signal}"), &line), failed(5)));
    }
    rows
}

impl Row {
    /// A shell may become its last command.
    fn unless_exec(mut self) -> Self {
        self.test.program = memsample_runner::suite::Program::Shell(
            "sh -c 'kill -9 $$'; code=$?; exit $code".to_owned(),
        );
        self
    }
}

#[track_caller]
fn check(row: &Row, result: &TestResult) {
    let context = format!("`{}` in `{}`: {result:#?}", result.test.test, result.sandbox);
    match (&result.outcome, &row.outcome) {
        (Outcome::NotStarted { reason }, Outcome::NotStarted { .. }) => {
            assert!(reason.contains(row.reason), "{context}");
            assert!(result.started.is_none(), "{context}");
        }
        (outcome, expected) => {
            assert_eq!(outcome, expected, "{context}");
            let reason = result.reason.as_deref().unwrap_or_default();
            assert!(reason.contains(row.reason), "{context}");
            assert!(result.started.is_some(), "{context}");
        }
    }
    match &result.outcome {
        Outcome::Failed { exit_code } => {
            assert_eq!(result.exit_code, Some(*exit_code), "{context}")
        }
        Outcome::Signaled { signal } => {
            assert_eq!((result.exit_code, result.signal), (None, Some(*signal)), "{context}");
        }
        Outcome::Passed => assert!(result.exit_code.is_some(), "{context}"),
        _ => {}
    }
    assert!(result.notes.is_empty(), "{context}");
}

fn check_all(sandbox: Sandbox) {
    let directory = tempdir().unwrap();
    container(directory.path(), "minimal");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let rows = table(directory.path());
    let tests = rows.iter().map(|row| row.test.clone()).collect();
    let mut options = options(&directory.path().join("results"));
    options.sandbox = Some(sandbox);
    options.lxc_path = directory.path().join("lxc");
    options.jobs = NonZeroUsize::new(3).unwrap();
    options.output_limit_bytes = MIB;
    let results = results(&suite(tests), &options);
    assert_eq!(results.len(), rows.len());
    for (row, result) in rows.iter().zip(&results) {
        assert_eq!(row.test.name, result.test.test);
        check(row, result);
    }
    // Alone, with as much time as a machine needs that is busy: what is left over would be waited for so long too.
    let late = row(shell("its child ends a moment later", "sleep 0.05 & exit 0"), Outcome::Passed);
    options.directory = directory.path().join("late");
    options.settle = LONG;
    check(&late, &result(late.test.clone(), &options));
}

#[test]
fn without_sandbox() {
    check_all(Sandbox::None);
}

#[test]
fn in_a_pid_namespace() {
    check_all(Sandbox::PidNamespace);
}

#[test]
fn in_bubblewrap() {
    check_all(Sandbox::Bubblewrap { root: None });
}

#[test]
fn in_a_container() {
    check_all(Sandbox::Lxc { name: "minimal".to_owned() });
}
