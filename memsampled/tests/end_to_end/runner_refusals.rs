//! What cannot work is refused in words that help, or degraded where that was asked for.
//!
//! Each case is run by a runner process of its own, with fewer rights or less disk than this one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::running::{isolated, options, shell, suite};
use memsample_runner::doctor;
use memsample_runner::results::Outcome;
use memsample_runner::run::{Event, run};
use memsample_runner::suite::{Sandbox, Suite, Test};
use tempfile::tempdir;

const DIRECTORY: &str = "RUNNER_TEST_DIRECTORY";
const CASE: &str = "RUNNER_TEST_CASE";

/// A case by name: its suite, and whether less is accepted.
fn case(name: &str) -> (Suite, bool) {
    let limited = |mut test: Test| {
        test.memory_limit_bytes = Some(64 << 20);
        test
    };
    let as_user = |mut test: Test, user: &str| {
        test.run_as = Some(user.to_owned());
        test
    };
    let pidns = || isolated(shell("pidns", "true"), Sandbox::PidNamespace);
    let bwrap = || isolated(shell("bwrap", "true"), Sandbox::Bubblewrap { root: None });
    let root = |path: &str| {
        isolated(shell("root", "true"), Sandbox::Bubblewrap { root: Some(path.into()) })
    };
    let lxc = |name: &str| isolated(shell("lxc", "true"), Sandbox::Lxc { name: name.to_owned() });
    match name {
        "default" => (suite(vec![shell("default", "true")]), false),
        "namespaces" => (suite(vec![pidns(), bwrap()]), false),
        "namespaces or less" => (suite(vec![pidns(), bwrap()]), true),
        "limit" => (suite(vec![limited(isolated(shell("limit", "true"), Sandbox::None))]), true),
        "user" => {
            (suite(vec![as_user(isolated(shell("user", "true"), Sandbox::None), "root")]), true)
        }
        "roots" => (
            suite(vec![
                root("/nonexistent"),
                root("/proc/self/fdinfo"),
                lxc("nonexistent"),
                lxc("../x"),
                lxc(""),
            ]),
            false,
        ),
        "long" => {
            let mut test = shell("long", "true");
            test.env.insert("LONG".to_owned(), "x".repeat(1 << 20));
            (suite(vec![test, shell("short", "true")]), false)
        }
        "disk" => {
            let fills =
                isolated(shell("fills", "head -c 100000000 /dev/zero; exit 3"), Sandbox::None);
            let waits = isolated(shell("waits", "sleep 1000"), Sandbox::None);
            (suite(vec![fills, waits, shell("after", "true")]), false)
        }
        name => panic!("{name}"),
    }
}

/// Runs the case that its environment names, or one that needs no rights, and prints a line for each
/// result: it is the runner of the tests below.
#[test]
fn a_runner() {
    let own = tempdir().unwrap();
    let directory = std::env::var(DIRECTORY).map_or(own.path().join("results"), PathBuf::from);
    let (suite, degrade) = case(&std::env::var(CASE).unwrap_or_else(|_| "long".to_owned()));
    let mut options = options(&directory);
    options.degrade = degrade;
    let ended = run(&suite, &options, crossbeam_channel::never(), &mut |event| match event {
        Event::Note(note) => println!("\n> note {note}"),
        Event::SuiteFinished { results, aborted, .. } => {
            for result in results {
                let reason = match &result.outcome {
                    Outcome::NotStarted { reason } => reason,
                    _ => &result.notes.join("; "),
                };
                let (name, word) = (&result.test.test, result.outcome.word());
                println!("\n> {name} {word} {} | {reason}", result.sandbox);
            }
            println!("\n> aborted {aborted:?}");
        }
        _ => {}
    });
    if let Err(error) = ended {
        let cause = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
        println!("\n> error {error}: {cause}");
    }
}

/// Runs a case as `wrapper` does, and returns the lines about it.
fn lines(case: &str, wrapper: &str) -> Vec<String> {
    let directory = tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let line = wrapper.replace("RUN", "\"$0\" --exact runner_refusals::a_runner --nocapture");
    let output = Command::new("sh")
        .args(["-c", &line])
        .arg(std::env::current_exe().unwrap())
        .env(DIRECTORY, directory.path().join("disk/results"))
        .env(CASE, case)
        .env("TMPDIR", directory.path())
        .current_dir(directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<String> =
        text.lines().filter_map(|line| Some(line.strip_prefix("> ")?.to_owned())).collect();
    assert!(!lines.is_empty(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    lines
}

/// Each expected line is a pattern in which `*` is anything, and `(A|B)` either.
#[track_caller]
fn check(case: &str, wrapper: &str, expected: &[&str]) {
    let lines = lines(case, wrapper);
    let matches = |line: &str, pattern: &str| {
        let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
        let either = regex::Regex::new(r"\\\(([\w ]+)\\\|([\w ]+)\\\)").unwrap();
        let parts = either.replace_all(&parts.join(".*"), "(?:$1|$2)").into_owned();
        regex::Regex::new(&format!("^{parts}$")).unwrap().is_match(line)
    };
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, pattern) in lines.iter().zip(expected) {
        assert!(matches(line, pattern), "{line:?} is not {pattern:?} in {lines:#?}");
    }
}

/// As root of a user namespace in which no other can be made.
const NO_NAMESPACES: &str = "unshare --user --map-root-user sh -c \
    'for kind in user pid mnt ipc uts net; do echo 0 > /proc/sys/user/max_${kind}_namespaces; done; RUN' $0";

/// As a user who owns nothing.
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups RUN";

#[test]
fn without_namespaces_the_default_is_less_and_says_so() {
    check(
        "default",
        NO_NAMESPACES,
        &[
            "note tests without a sandbox of their own run with `none`, because `pidns` does not work here: `unshare` failed: *(try: *)",
            "default passed none | ",
            "aborted None",
        ],
    );
}

#[test]
fn what_was_asked_for_is_refused_where_it_does_not_work() {
    check(
        "namespaces",
        NO_NAMESPACES,
        &[
            "pidns not_started  | the sandbox `pidns` does not work here: `unshare` failed: *(try: run it as root*)",
            "bwrap not_started  | the sandbox `bwrap` does not work here: `bwrap` failed: *(try: run it as root*)",
            "aborted None",
        ],
    );
}

#[test]
fn what_was_asked_for_is_degraded_where_that_is_allowed() {
    let notes = lines("namespaces or less", NO_NAMESPACES);
    assert!(
        notes
            .iter()
            .any(|line| line.starts_with("note `pidns` does not work here, so `none` is used")),
        "{notes:#?}"
    );
    assert!(
        notes
            .iter()
            .any(|line| line.starts_with("note `bwrap` does not work here, so `none` is used")),
        "{notes:#?}"
    );
    let results: Vec<&String> = notes.iter().filter(|line| !line.starts_with("note")).collect();
    assert_eq!(results, ["pidns passed none | ", "bwrap passed none | ", "aborted None"]);
}

#[test]
fn a_limit_that_cannot_be_set_is_never_ignored() {
    check(
        "limit",
        NOBODY,
        &[
            "limit not_started none | cannot limit its memory: no control group with the memory controller*",
            "aborted None",
        ],
    );
}

#[test]
fn a_user_that_cannot_be_become_is_refused() {
    check(
        "user",
        NOBODY,
        &[
            "user not_started none | cannot become the user `root`: Operation not permitted*",
            "aborted None",
        ],
    );
}

#[test]
fn roots_that_are_none_are_refused() {
    check(
        "roots",
        "RUN",
        &[
            "root not_started  | *does not work here: there is no root file system at `/nonexistent`",
            "root not_started bwrap | cannot make its sandbox: *",
            "lxc not_started  | *`lxc:nonexistent` does not work here: the container `nonexistent` has no root file system at `/var/lib/lxc/nonexistent/rootfs` (try: lxc-create*)",
            "lxc not_started  | *`../x` cannot be the name of a container",
            "lxc not_started  | *`` cannot be the name of a container",
            "aborted None",
        ],
    );
}

#[test]
fn what_no_program_can_be_given_is_refused() {
    check(
        "long",
        "RUN",
        &[
            "long not_started  | cannot start it: arguments and environment have * bytes; the limit is *",
            "short passed pidns | ",
            "aborted None",
        ],
    );
}

#[test]
fn a_full_disk_ends_the_suite_and_keeps_what_was_known() {
    let small =
        "mkdir -p disk && exec unshare -m sh -c 'mount -t tmpfs -o size=8m none disk && RUN' $0";
    check(
        "disk",
        small,
        // The recording may meet the full disk before the first test has ended, or before the second has begun.
        &[
            "fills (failed|aborted) none | its output was not kept: No space left on device*",
            "waits (aborted none|skipped ) | *",
            "after skipped  | ",
            "aborted Some(Disk { full: true })",
        ],
    );
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let read_only = "mkdir -p disk && chmod 555 disk && RUN";
    check(
        "default",
        &read_only.replace("RUN", NOBODY),
        &["error cannot write results to `*disk/results`: Permission denied*"],
    );
}

#[test]
fn the_doctor_says_what_works_and_what_would_help() {
    let checks = doctor::checks();
    let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
    let sources = ["processes", "forks", "exits", "pss", "bpf", "psi", "cgroups", "kmsg", "maps"];
    assert_eq!(
        names,
        [&["pidns", "bwrap", "lxc", "memory", "cpu", "pids", "kill"][..], &sources].concat()
    );
    for check in &checks {
        match (check.name, &check.result) {
            (_, Ok(_)) => {}
            // What cannot be had says why, and what to do.
            (_, Err(missing)) => {
                assert!(missing.remedy.is_some() && !missing.reason.is_empty(), "{check:?}")
            }
        }
    }
    // It agrees with what the runner then does.
    let works = |name: &str| checks.iter().any(|check| check.name == name && check.result.is_ok());
    let sandbox = doctor::available(&Sandbox::PidNamespace, Path::new(doctor::LXC_PATH));
    assert_eq!(works("pidns"), sandbox.is_ok());
}
