//! Tests that do not want to end, and runners that are killed: nothing of them is left.
//!
//! Each runner is a process of its own, so that what it made can be told by its pid.

use std::fs;
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::running::{LONG, container, isolated, options, shell, suite, with_more_time};
use memsample_runner::results::TestResult;
use memsample_runner::run::{Event, run};
use memsample_runner::suite::{Sandbox, Suite};
use tempfile::{TempDir, tempdir};

/// A wait that lasts this long is a failure: slow machines are slow, but not that slow.
const PATIENCE: Duration = Duration::from_secs(300);

/// Shell lines that do not want to end, and what is said of them. `$BOMB` is not expanded by who would not run it.
const UNWILLING: [(&str, &str, &str); 8] = [
    ("forks", "sleep 1000 & sleep 1000 & wait", "timed_out"),
    (
        "leaves its session",
        "setsid sleep 1000 & setsid setsid sleep 1000 & sleep 1000",
        "timed_out",
    ),
    ("forks twice", "(setsid sh -c '(sleep 1000 &) ; sleep 1000' &) ; sleep 1000", "timed_out"),
    ("ignores signals", "trap '' TERM HUP INT QUIT; while :; do sleep 0.1; done", "timed_out"),
    (
        "its orphans ignore signals",
        "(trap '' TERM HUP; sleep 1000 & sleep 1000 &) ; exec sleep 1000",
        "timed_out",
    ),
    ("stops itself", "sleep 1000 & kill -STOP $$; sleep 1000", "timed_out"),
    ("stops its children", "sleep 1000 & kill -STOP $!; sleep 1000", "timed_out"),
    (
        "ends and leaves all",
        "trap '' TERM; (setsid sleep 1000 &); sleep 1000 & exit 0",
        "left_over",
    ),
];

/// Shell lines that turn on what runs them, which they can without a pid namespace, and what is said of
/// them. `$supervisor` is the parent of their parent.
const HOSTILE: [(&str, &str, &str); 9] = [
    ("kills its init", "setsid sleep 1000 & kill -9 $PPID; sleep 1000", "signaled"),
    ("stops its init", "setsid sleep 1000 & kill -STOP $PPID; sleep 1000", "timed_out"),
    ("stops its init and fails", "kill -STOP $PPID; exit 3", "failed"),
    ("asks its init and its supervisor to end", "kill $PPID $supervisor; exit 3", "failed"),
    ("stops its supervisor", "kill -STOP $supervisor; sleep 1000", "timed_out"),
    ("kills its supervisor", "setsid sleep 1000 & kill -9 $supervisor; sleep 1000", "signaled"),
    ("kills both", "setsid sleep 1000 & kill -9 $supervisor $PPID; sleep 1000", "signaled"),
    (
        "stops its init and kills its supervisor",
        "setsid sleep 1000 & kill -STOP $PPID; kill -9 $supervisor; sleep 1000",
        "signaled",
    ),
    ("stops both", "setsid sleep 1000 & kill -STOP $PPID $supervisor; sleep 1000", "timed_out"),
];

/// Forks until the limit on processes, and does not stop when one ends.
///
/// The last command needs no fork, which may be refused by then.
const BOMB: &str =
    "bomb='while :; do sh -c \"$bomb\" & done'; export bomb; sh -c \"$bomb\"; exec sleep 1000";

/// What a runner process shall do, in its environment.
const DIRECTORY: &str = "RUNNER_TEST_DIRECTORY";
const ISOLATION: &str = "RUNNER_TEST_ISOLATION";
const TIMEOUT_MS: &str = "RUNNER_TEST_TIMEOUT_MS";
const BOMBS: &str = "RUNNER_TEST_BOMBS";
/// Whether the tests are those that turn on what runs them.
const HOSTILITY: &str = "RUNNER_TEST_HOSTILITY";
/// In the environment of a runner and of all that comes of it.
const MARK: &str = "RUNNER_TEST_MARK";

/// Names, lines and words: all that do not want to end, or all that turn on what runs them.
fn rows(is_hostile: bool, with_bomb: bool) -> Vec<(&'static str, String, &'static str)> {
    if is_hostile {
        let find = "read -r _ _ _ supervisor _ < /proc/$PPID/stat; ";
        return HOSTILE.map(|(name, line, word)| (name, format!("{find}{line}"), word)).into();
    }
    let bomb = with_bomb.then_some(("fork bomb", BOMB, "timed_out"));
    let rows = UNWILLING.into_iter().chain(bomb);
    rows.map(|(name, line, word)| (name, line.to_owned(), word)).collect()
}

/// Those that are expected to time out have so much time; those that end by themselves at least what they need on a
/// machine that is busy, with a fork bomb among them.
fn suite_of(
    rows: &[(&'static str, String, &'static str)],
    sandbox: &Sandbox,
    timeout: Duration,
) -> Suite {
    let test = |(name, line, word): &(&str, String, &str)| {
        let mut test = isolated(shell(name, line), sandbox.clone());
        test.timeout = if *word == "timed_out" { timeout } else { timeout.max(LONG) };
        test.grace = Duration::from_millis(100);
        // A container inherits nothing.
        test.env.extend(std::env::var(MARK).map(|mark| (MARK.to_owned(), mark)));
        test
    };
    suite(rows.iter().map(test).collect())
}

fn sandbox(word: &str) -> Sandbox {
    match word {
        "none" => Sandbox::None,
        "pidns" => Sandbox::PidNamespace,
        "bwrap" => Sandbox::Bubblewrap { root: None },
        "lxc" => Sandbox::Lxc { name: "minimal".to_owned() },
        word => panic!("{word}"),
    }
}

/// Runs the suite that its environment asks for, or a small one: it is the runner of the tests below.
#[test]
fn a_runner() {
    let variable = |name| std::env::var(name).ok();
    let own = tempdir().unwrap();
    let directory = variable(DIRECTORY).map_or(own.path().join("results"), PathBuf::from);
    let sandbox = sandbox(&variable(ISOLATION).unwrap_or_else(|| "none".to_owned()));
    let timeout = variable(TIMEOUT_MS).map_or(300, |text| text.parse().unwrap());
    let timeout = Duration::from_millis(timeout);
    let rows = rows(variable(HOSTILITY).is_some(), variable(BOMBS).is_some());
    let suite = suite_of(&rows, &sandbox, timeout);
    let mut options = options(&directory);
    options.jobs = NonZeroUsize::new(16).unwrap();
    options.processes_max = Some(64);
    options.lxc_path = directory.with_file_name("lxc");
    let mut words = Vec::new();
    run(&suite, &options, crossbeam_channel::never(), &mut |event| match event {
        Event::TestStarted { test, .. } => println!("\nstarted {}", test.test),
        Event::SuiteFinished { results, .. } => {
            words = crate::running::words(&results);
            println!("\n{results:#?}");
        }
        _ => {}
    })
    .unwrap();
    let expected = rows.iter().map(|(_, _, word)| *word);
    assert_eq!(words, expected.collect::<Vec<_>>());
}

/// A runner process and what it may leave.
struct Runner {
    child: Child,
    directory: TempDir,
    mark: String,
}

impl Runner {
    /// Starts one; `wrapper` is what runs it, such as a change of user. `also` is set in its environment.
    fn start(sandbox: &str, timeout: Duration, also: Option<&str>, wrapper: &[&str]) -> Self {
        let directory = tempdir().unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
        if sandbox == "lxc" {
            container(directory.path(), "minimal");
        }
        let mark = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
        let program = std::env::current_exe().unwrap();
        let mut command = match wrapper.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command
            .args(["--exact", "runner_survival::a_runner", "--nocapture"])
            .env(DIRECTORY, directory.path().join("results"))
            .env(ISOLATION, sandbox)
            .env(TIMEOUT_MS, timeout.as_millis().to_string())
            .env(MARK, &mark)
            // Its own temporary directory would be left by a kill.
            .env("TMPDIR", directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command.envs(also.map(|variable| (variable, "1")));
        Self { child: command.spawn().unwrap(), directory, mark }
    }

    /// Returns the pids of all that inherited the mark.
    fn processes(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.mark);
        let is_ours = |pid: u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|&pid| is_ours(pid)).collect()
    }

    /// Returns the control groups of its tests.
    fn groups(&self) -> Vec<PathBuf> {
        fn walk(path: &Path, depth: u32, name: &str, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth > 0 {
                    if entry.file_name().to_string_lossy().contains(name) {
                        found.push(entry.path());
                    }
                    walk(&entry.path(), depth - 1, name, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(
            Path::new("/sys/fs/cgroup"),
            8,
            &format!("memsample-{}-", self.child.id()),
            &mut found,
        );
        found
    }

    /// Returns the mounts that have to do with it.
    fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.lines().filter(|line| line.contains(&self.mark)).map(str::to_owned).collect()
    }

    /// Returns the private directories of its tests.
    fn scratch(&self) -> Vec<PathBuf> {
        let tests = self.directory.path().join("results/tests");
        let tests = fs::read_dir(tests).into_iter().flatten().flatten();
        let scratch = tests.map(|test| test.path().join("1.1/scratch"));
        scratch.filter(|path| path.exists()).collect()
    }

    /// Returns all that is left, for people.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(self.processes().iter().map(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!("process {pid}: {}", String::from_utf8_lossy(&command).replace('\0', " "))
        }));
        left.extend(self.groups().iter().map(|path| format!("group {}", path.display())));
        left.extend(self.mounts().iter().map(|line| format!("mount {line}")));
        left.extend(self.scratch().iter().map(|path| format!("files {}", path.display())));
        left
    }
}

/// Runs all to their timeouts: when the runner has ended, nothing is left at that instant.
#[track_caller]
fn check_ends(sandbox: &str, also: Option<&str>, wrapper: &[&str]) {
    let mut runner = Runner::start(sandbox, Duration::from_millis(300), also, wrapper);
    let mut output = String::new();
    std::io::Read::read_to_string(&mut runner.child.stdout.take().unwrap(), &mut output).unwrap();
    let status = runner.child.wait().unwrap();
    assert!(status.success(), "{output}");
    assert_eq!(runner.left(), Vec::<String>::new(), "{output}");
}

/// Kills the runner while all run: soon nothing is left.
#[track_caller]
fn check_killed(sandbox: &str, also: Option<&str>, wrapper: &[&str]) {
    let mut runner = Runner::start(sandbox, Duration::from_secs(1000), also, wrapper);
    let count = UNWILLING.len() + usize::from(also == Some(BOMBS));
    let lines = BufReader::new(runner.child.stdout.take().unwrap()).lines();
    let started = lines.filter(|line| line.as_ref().unwrap().starts_with("started "));
    assert_eq!(started.take(count).count(), count);
    // All are under way: supervisor, init and program of each, and what those started. One of them has perhaps ended
    // by now, with all that it left.
    wait_for(|| runner.processes().len() > 4 * count, || format!("{:#?}", runner.left()));
    runner.child.kill().unwrap();
    runner.child.wait().unwrap();
    wait_for(|| runner.left().is_empty(), || format!("{:#?}", runner.left()));
}

#[track_caller]
fn wait_for(mut condition: impl FnMut() -> bool, state: impl Fn() -> String) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {}", state());
        std::thread::yield_now();
    }
}

/// A user who may make no control groups.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

#[test]
fn nothing_survives_without_sandbox() {
    check_ends("none", Some(BOMBS), &[]);
}

#[test]
fn nothing_survives_in_a_pid_namespace() {
    check_ends("pidns", Some(BOMBS), &[]);
}

#[test]
fn nothing_survives_in_bubblewrap() {
    check_ends("bwrap", Some(BOMBS), &[]);
}

#[test]
fn nothing_survives_in_containers() {
    check_ends("lxc", Some(BOMBS), &[]);
}

#[test]
fn nothing_survives_without_control_groups() {
    check_ends("none", None, &NOBODY);
}

#[test]
fn nothing_survives_the_death_of_a_runner_without_sandbox() {
    check_killed("none", Some(BOMBS), &[]);
}

#[test]
fn nothing_survives_the_death_of_a_runner_in_a_pid_namespace() {
    check_killed("pidns", Some(BOMBS), &[]);
}

#[test]
fn nothing_survives_the_death_of_a_runner_in_bubblewrap() {
    check_killed("bwrap", Some(BOMBS), &[]);
}

#[test]
fn nothing_survives_the_death_of_a_runner_of_containers() {
    check_killed("lxc", Some(BOMBS), &[]);
}

#[test]
fn nothing_survives_the_death_of_a_runner_without_control_groups() {
    check_killed("none", None, &NOBODY);
}

#[test]
fn nothing_survives_that_turns_on_what_runs_it() {
    check_ends("none", Some(HOSTILITY), &[]);
}

#[test]
fn nothing_survives_that_turns_on_what_runs_it_without_control_groups() {
    check_ends("none", Some(HOSTILITY), &NOBODY);
}

/// Runs a test that writes something and freezes itself before its time is over, and returns its result and what it wrote.
#[track_caller]
fn frozen(line: &str, grace: Duration) -> (TestResult, String) {
    with_more_time(Duration::from_secs(1), |timeout| {
        let directory = tempdir().unwrap();
        let mut test = shell("frozen", line);
        (test.timeout, test.grace) = (timeout, grace);
        let begun = Instant::now();
        let result = crate::running::result(test, &options(directory.path()));
        assert!(begun.elapsed() < timeout + LONG / 2, "{:?}: {result:#?}", begun.elapsed());
        let stdout = directory.path().join("tests/0001-frozen/1.1/stdout");
        let stdout = fs::read_to_string(stdout).unwrap();
        (!stdout.is_empty()).then_some((result, stdout))
    })
}

#[test]
fn a_test_that_freezes_itself_ends_in_time_and_leaves_no_group() {
    let freezer = std::path::Path::new("/sys/fs/cgroup/freezer");
    if !freezer.is_dir() || !rustix::process::geteuid().is_root() {
        // Only version 1 leaves it frozen when it is killed.
        return;
    }
    let line = "group=$(sed -n 's/.*:freezer://p' /proc/self/cgroup); echo $group; \
                echo FROZEN > /sys/fs/cgroup/freezer$group/freezer.state; sleep 1000";
    let (result, group) = frozen(line, Duration::from_millis(100));
    assert_eq!(crate::running::words(std::slice::from_ref(&result)), ["timed_out"], "{result:#?}");
    assert!(result.notes.is_empty(), "{result:#?}");
    assert!(group.contains("memsample"), "its group is `{group}`");
    assert!(!freezer.join(group.trim().trim_start_matches('/')).exists());
}

#[test]
fn a_process_in_a_frozen_group_below_that_of_its_test_is_found_and_ended() {
    let freezer = std::path::Path::new("/sys/fs/cgroup/freezer");
    if !freezer.is_dir() || !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // The groups above are frozen too, the deepest last and first: no order of thawing but one frees all.
    let line = "G=/sys/fs/cgroup/freezer$(sed -n 's/.*:freezer://p' /proc/self/cgroup); mkdir -p $G/sub/sub; echo $G; \
                sleep 1000 & echo $! > $G/sub/sub/cgroup.procs; \
                echo FROZEN > $G/sub/sub/freezer.state; echo FROZEN > $G/sub/freezer.state; exit 0";
    let begun = Instant::now();
    let options = crate::running::options(directory.path());
    let result = crate::running::result(crate::running::shell("below", line), &options);
    assert!(begun.elapsed() < LONG / 2, "{:?}: {result:#?}", begun.elapsed());
    assert_eq!(crate::running::words(std::slice::from_ref(&result)), ["left_over"], "{result:#?}");
    assert!(result.notes.is_empty(), "{result:#?}");
    let stdout = directory.path().join("tests/0001-below/1.1/stdout");
    let group = std::fs::read_to_string(stdout).unwrap();
    assert!(group.contains("memsample") && !std::path::Path::new(group.trim()).exists(), "{group}");
}

#[test]
fn a_test_that_freezes_itself_hears_that_it_shall_end() {
    let freezer = std::path::Path::new("/sys/fs/cgroup/freezer");
    if !freezer.is_dir() || !rustix::process::geteuid().is_root() {
        return;
    }
    let line = "state=/sys/fs/cgroup/freezer$(sed -n 's/.*:freezer://p' /proc/self/cgroup)/freezer.state; \
                trap 'echo heard; exit 3' TERM; echo ready; echo FROZEN > $state; \
                while :; do sleep 0.1; done";
    let (result, stdout) = frozen(line, 2 * LONG);
    assert_eq!(stdout, "ready\nheard\n", "{result:#?}");
}
