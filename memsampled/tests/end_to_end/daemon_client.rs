//! The commands that are clients of the daemon.

use std::time::{Duration, Instant};

use crate::command::{memsample, shell};
use crate::daemon::{Daemon, MEMSAMPLED};
use tempfile::tempdir;

#[test]
fn programs_that_are_started_need_no_arguments() {
    let daemon = Daemon::start();
    let line = "eval \"$($MEMSAMPLE start --env --socket s --name 'a-b' --interval 10ms --label k=v)\" && \
                cd / && sh -c '$MEMSAMPLE mark begin x --test t && $MEMSAMPLE mark end x --test t' && \
                $MEMSAMPLE sessions && $MEMSAMPLE stop";
    let ended = shell(daemon.directory.path(), line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("session a-b-20"), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("SESSION"), "{}", ended.stdout);
    let recording = ended.stdout.lines().last().unwrap();
    let manifest = crate::command::manifest(std::path::Path::new(recording));
    assert_eq!((&manifest["state"], &manifest["labels"]["k"]), (&"closed".into(), &"v".into()));
}

#[test]
fn the_session_may_be_left_out_where_there_is_only_one() {
    let daemon = Daemon::start();
    let directory = daemon.directory.path();
    let run = |arguments: &[&str]| {
        let (command, rest) = arguments.split_first().unwrap();
        memsample(directory, &[&[*command, "--socket", "s"], rest].concat())
    };
    let ended = run(&["mark", "point", "x"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no session is recording: start one"), "{}", ended.stderr);
    assert_eq!(run(&["sessions"]).stderr, "no session is recording\n");
    let first = run(&["start"]).stdout.trim().to_owned();
    let marked = run(&["mark", "--json", "point", "x", "--label", "a=b"]);
    assert_eq!(marked.code, Some(0), "{}", marked.stderr);
    let marked = marked.json();
    assert_eq!(
        (&marked["session"], &marked["name"], &marked["labels"]["a"]),
        (&first.as_str().into(), &"x".into(), &"b".into())
    );
    // A session that reached a limit is not recording.
    let over = run(&["start", "--duration", "1ms"]).stdout.trim().to_owned();
    crate::command::wait_for("its end", || {
        let session = daemon.get(&format!("/v1/sessions/{over}")).json();
        (session["state"] == "ended").then_some(())
    });
    assert_eq!(run(&["mark", "point", "x"]).code, Some(0));
    let second = run(&["start", "--json"]).json()["id"].as_str().unwrap().to_owned();
    let ended = run(&["stop"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("several sessions are recording: name one of"),
        "{}",
        ended.stderr
    );
    let stopped = run(&["stop", "--json", &second]).json();
    assert_eq!((&stopped["id"], &stopped["summary"]["end"]), (&second.into(), &"stopped".into()));
    assert!(run(&["stop"]).stdout.trim().ends_with(&first));
    assert!(run(&["stop"]).stdout.trim().ends_with(&over));
    let ended = run(&["stop", &first]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("was stopped: its recording is"), "{}", ended.stderr);
    let ended = run(&["stop", "../x"]);
    assert!(ended.stderr.contains("`../x` is no session"), "{}", ended.stderr);
    let ended = run(&["start", "--interval", "2h"]);
    assert!(ended.stderr.contains("`interval` is out of range"), "{}", ended.stderr);
    let status = run(&["status"]);
    assert_eq!(status.code, Some(0));
    assert!(status.stdout.contains(": ok, up ") && status.stdout.contains("protection: "));
    assert_eq!(run(&["status", "--json"]).json()["status"], "ok");
}

#[test]
fn without_a_daemon_it_is_said_how_to_start_one() {
    let directory = tempdir().unwrap();
    for command in ["start", "stop", "status", "sessions"] {
        let ended = memsample(directory.path(), &[command, "--socket", "absent"]);
        assert_eq!(ended.code, Some(1));
        assert!(
            ended.stderr.contains(
                "no daemon listens on `absent`: start one with `memsampled --socket absent`"
            ),
            "{}",
            ended.stderr
        );
    }
    std::fs::write(directory.path().join("file"), "").unwrap();
    let ended = memsample(directory.path(), &["status", "--socket", "file"]);
    assert_eq!(ended.code, Some(1));
    let ended = shell(
        directory.path(),
        "unset XDG_RUNTIME_DIR; exec setpriv --reuid=65534 $MEMSAMPLE status",
    );
    // Without a place of its own from the system, a user has a private one.
    assert!(
        ended.stderr.contains("/memsampled-65534/memsampled.sock`")
            || ended.stderr.contains("/run/user/65534/memsampled.sock`")
            || ended.stderr.contains("Permission denied"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_client_waits_for_a_daemon_that_is_starting() {
    let directory = tempdir().unwrap();
    let line = format!(
        "for i in 1 2 3 4 5; do \
         {MEMSAMPLED} --socket s$i --recordings r 2>/dev/null & daemon=$!; \
         eval \"$($MEMSAMPLE start --env --wait 1m --socket s$i)\" || exit 9; \
         $MEMSAMPLE stop || exit 8; unset MEMSAMPLE_SOCKET MEMSAMPLE_SESSION; kill $daemon; wait $daemon; \
         done"
    );
    let ended = shell(directory.path(), &line);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 5, "{}", ended.stdout);
}

#[test]
fn an_evaluated_start_that_fails_is_noticed() {
    let directory = tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    for wrong in ["--name a/b --socket file", "--no-such-option", "--interval x", "--socket a/b/c"]
    {
        let line = format!("eval \"$($MEMSAMPLE start --env {wrong})\" && echo evaluated");
        let ended = shell(directory.path(), &line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains("error: "), "{}", ended.stderr);
    }
}

#[test]
fn the_daemon_describes_itself() {
    let directory = tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(crate::daemon::MEMSAMPLED)
            .args(arguments)
            .current_dir(&directory)
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let (help, completions) = (run(&["--help"]), run(&["--completions", "bash"]));
    run(&["--man", "."]);
    let manual = std::fs::read_to_string(directory.path().join("memsampled.1")).unwrap();
    for option in ["socket", "recordings", "http", "token-file", "group", "config"] {
        let option = format!("--{option}");
        assert!(help.contains(&option) && completions.contains(&option), "{option}");
        assert!(manual.replace('\\', "").contains(&option), "{option}");
    }
}

#[test]
fn a_command_does_not_wait_for_a_daemon_that_could_not_begin() {
    let directory = tempdir().unwrap();
    // What such a daemon locks.
    std::fs::create_dir_all(directory.path().join("recordings/.memsampled.lock")).unwrap();
    let began = Instant::now();
    let ended =
        memsample(directory.path(), &["session", "--socket", "none", "--", "sh", "-c", "exit 3"]);
    // It would be waited for for a minute.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let why = "warning: the command runs without a session: memsampled: error: cannot use the recordings directory";
    assert!(ended.stderr.starts_with(why), "{}", ended.stderr);
    assert!(!ended.stderr.contains("no daemon listens"), "{}", ended.stderr);
}
