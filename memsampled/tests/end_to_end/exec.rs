//! `memsample exec`: a command as a test of a session.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::command::{ENVIRONMENT, MEMSAMPLE, memsample, shell, wait_for};
use crate::daemon::Daemon;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use memsample::Recording;

/// The marks of tests: kind, name, test.
fn marks(run: &str) -> Vec<[String; 3]> {
    let (recording, _) = Recording::open(Path::new(run)).unwrap();
    let batches = recording.read_table("marks", &["kind", "name", "test"]);
    let rows = batches.flat_map(|batch| {
        let batch = batch.unwrap();
        let [kind, name, test] =
            ["kind", "name", "test"].map(|column| batch[column].as_string::<i32>().clone());
        (0..batch.num_rows())
            .filter(|&row| test.is_valid(row))
            .map(|row| [&kind, &name, &test].map(|column| column.value(row).to_owned()))
            .collect::<Vec<_>>()
    });
    rows.collect()
}

fn exec(directory: &Path, arguments: &[&str]) -> crate::command::Ended {
    memsample(directory, &[&["exec", "--socket", "s"], arguments].concat())
}

#[test]
fn a_command_ends_as_without_and_is_marked() {
    let daemon = Daemon::start();
    let directory = daemon.directory.path();
    let session = daemon.session("{}");
    let cases: [(&str, &[&str], i32); 4] = [
        ("passes", &["true"], 0),
        ("fails", &["sh", "-c", "exit 3"], 3),
        ("not found", &["/absent"], 127),
        ("not a program", &["/"], 126),
    ];
    for (test, line, code) in cases {
        let ended = exec(directory, &[&["--test", test, "--"], line].concat());
        assert_eq!(ended.code, Some(code), "{test}: {}", ended.stderr);
    }
    let ended = exec(directory, &["--test", "prints", "--", "sh", "-c", "cat; echo err >&2"]);
    assert_eq!((&*ended.stdout, &*ended.stderr), ("", "err\n"));
    let stopped = daemon.stop(&session);
    let marks = marks(stopped["recording"].as_str().unwrap());
    let tests = ["passes", "fails", "not found", "not a program", "prints"];
    assert_eq!(marks.len(), 2 * tests.len());
    for (pair, test) in marks.chunks(2).zip(tests) {
        assert_eq!(pair[0], ["begin", &pair[0][1], test]);
        assert_eq!(pair[1], ["end", &pair[0][1], test]);
        assert!(pair[0][1].strip_prefix("exec ").unwrap().parse::<u32>().is_ok());
    }
}

#[test]
fn a_signal_reaches_the_command_and_ends_both_alike() {
    let daemon = Daemon::start();
    let session = daemon.session("{}");
    // Some signals dump a core, and none may be left in the tree.
    for (signal, number) in [("TERM", 15), ("QUIT", 3), ("USR1", 10), ("KILL", 9)] {
        // Of a terminal in whose foreground this runs, SIGQUIT would have reached the command already.
        let mut child = Command::new("setsid")
            .args(["sh", "-c", "ulimit -c 0; exec \"$@\"", "sh"])
            .args([MEMSAMPLE, "exec", "--socket", "s"])
            .args(["--test", signal, "--", "sh", "-c", "echo $$; exec sleep 1000"])
            .envs(ENVIRONMENT)
            .current_dir(&daemon.directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        // SIGKILL cannot be forwarded: it is sent to the command itself.
        let pid = if signal == "KILL" { line.trim().to_owned() } else { child.id().to_string() };
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().signal(), Some(number), "{signal}");
        wait_for("the command to end", || {
            (!Path::new(&format!("/proc/{}", line.trim())).exists()).then_some(())
        });
    }
    let marks = marks(daemon.stop(&session)["recording"].as_str().unwrap());
    assert_eq!(marks.iter().filter(|[kind, ..]| kind == "end").count(), 4, "{marks:?}");
}

#[test]
fn without_daemon_session_or_test_the_command_runs_unmarked() {
    let daemon = Daemon::start();
    let directory = daemon.directory.path();
    let ended = memsample(directory, &["exec", "--socket", "x", "--test", "t", "--", "echo", "a"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "a\n"));
    assert!(
        ended.stderr.starts_with("memsample: this test is not marked: no daemon listens on `x`"),
        "{}",
        ended.stderr
    );
    let ended = exec(directory, &["--test", "t", "--", "echo", "a"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "a\n"));
    assert!(ended.stderr.contains("no session is recording"), "{}", ended.stderr);
    let session = daemon.session("{}");
    // The process itself executes the command.
    let ended = shell(
        directory,
        "env -u NEXTEST_TEST_NAME $MEMSAMPLE exec --socket s -- sh -c 'echo $$' & echo $!; wait",
    );
    let pids: Vec<&str> = ended.stdout.lines().collect();
    assert!(pids.len() == 2 && pids[0] == pids[1], "{}", ended.stdout);
    assert_eq!(ended.stderr, "");
    assert_eq!(exec(directory, &[]).code, Some(125));
    let run = daemon.stop(&session)["recording"].as_str().unwrap().to_owned();
    assert!(marks(&run).is_empty());
    let peaks = memsample(directory, &["peaks", &run, "--by", "test"]);
    assert!(peaks.stderr.contains("no test ran or was marked in this recording"));
}

#[test]
fn a_daemon_that_hangs_or_dies_fails_no_test() {
    let daemon = Daemon::start();
    let directory = daemon.directory.path();
    daemon.session("{}");
    daemon.signal("STOP");
    // It waits as long as a user would, and not a minute as in all other tests.
    let line = "env -u MEMSAMPLE_TEST_PATIENCE_MS \
                $MEMSAMPLE exec --socket s --test t -- sh -c 'echo a; exit 3'";
    let ended = shell(directory, line);
    assert_eq!((ended.code, &*ended.stdout), (Some(3), "a\n"));
    assert!(ended.stderr.contains("not marked: the daemon did not answer"), "{}", ended.stderr);
    daemon.signal("CONT");
    let line = format!("kill -9 {}; exit 3", daemon.pid());
    let ended = exec(directory, &["--test", "t", "--", "sh", "-c", &line]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("the end of this test is not marked"), "{}", ended.stderr);
}

#[test]
fn what_is_sampled_before_the_command_begins_is_not_the_test() {
    let daemon = Daemon::start();
    let directory = daemon.directory.path();
    let session = daemon.session(r#"{"interval": "1ms"}"#);
    // Until its exec, a child shows the memory of `memsample exec`, which is far more.
    let line = "for i in 1 2 3 4 5 6 7 8 9 10; do for j in 1 2 3 4; do \
                $MEMSAMPLE exec --socket s --test $j -- true & done; wait; done";
    assert_eq!(shell(directory, line).code, Some(0));
    let run = daemon.stop(&session)["recording"].as_str().unwrap().to_owned();
    let peaks = memsample(directory, &["peaks", &run, "--by", "test", "--json"]).json();
    for row in peaks.as_array().unwrap() {
        assert!(row["lower_bytes"].as_u64().unwrap() < 5 << 20, "{row}");
    }
}

/// Holds memory until its standard input is closed.
const HOLDS: &str =
    "python3 -c 'import sys; a = b\"x\" * (48 << 20); print(flush=True); sys.stdin.read()'";

#[test]
fn a_test_is_all_that_its_command_starts_and_nothing_else() {
    let daemon = Daemon::start();
    let directory = daemon.directory.path();
    let session = daemon.session(r#"{"interval": "10ms"}"#);
    let start = |test: &str, line: &str| {
        let mut child = Command::new(MEMSAMPLE)
            .args(["exec", "--socket", "s", "--test", test, "--", "sh", "-c", line])
            .envs(ENVIRONMENT)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        child
    };
    let two = format!("exec 3<&0; {HOLDS} <&3 & {HOLDS} <&3 & wait");
    let mut tests = [start("one", &format!("{HOLDS}; true")), start("two", &two)];
    let _ = std::io::Read::read_exact(tests[1].stdout.as_mut().unwrap(), &mut [0]);
    let ticks = || {
        let session = daemon.get(&format!("/v1/sessions/{session}")).json();
        session["totals"]["ticks"].as_u64().unwrap()
    };
    let before = ticks();
    wait_for("samples of both", || (ticks() > before + 5).then_some(()));
    for child in &mut tests {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    let run = daemon.stop(&session)["recording"].as_str().unwrap().to_owned();
    let json = memsample(directory, &["peaks", &run, "--by", "test", "--json"]).json();
    let mib = |test: &str| {
        let row = json.as_array().unwrap().iter().find(|row| row["test"] == test).unwrap();
        row["lower_bytes"].as_u64().unwrap() >> 20
    };
    assert!((48..90).contains(&mib("one")), "{json}");
    assert!((96..180).contains(&mib("two")), "{json}");
    assert_eq!(json.as_array().unwrap().len(), 2);
    let text = memsample(directory, &["peaks", &run, "--by", "test", "--filter", "^o"]).stdout;
    assert!(text.lines().next().unwrap().ends_with("TEST") && text.contains("  one\n"), "{text}");
    assert!(!text.contains("two"));
    let csv = memsample(directory, &["peaks", &run, "--by", "test", "--csv"]).stdout;
    assert!(csv.starts_with("test,images,processes,lower_bytes,"), "{csv}");
}
