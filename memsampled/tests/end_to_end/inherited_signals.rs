//! Signals that were ignored or blocked when a program began, and those that are meant for the command that it runs.

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process, kill_process_group};

use crate::command::{ENVIRONMENT, MEMSAMPLE, manifest, recordings, runs, shell, wait_for};
use crate::daemon::Daemon;

/// Commands that run a command, which must end as it does without them.
const WRAPPERS: [&str; 4] = ["record --", "session --", "exec --", "exec --socket s --test t --"];

/// Starts a command in a session of its own, so that no terminal is in it: what that sends reaches the command anyway.
fn start(directory: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new("setsid");
    command.args(["env", "--default-signal"]).args(arguments).envs(ENVIRONMENT);
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the only recording of a directory is closed.
#[track_caller]
fn wait_for_closed_recording(directory: &Path) -> PathBuf {
    wait_for("a closed recording", || {
        let mut recordings = recordings(directory).into_iter();
        let recording = recordings.find(|it| it.join("recording.json").exists())?;
        (manifest(&recording)["state"] == "closed").then_some(recording)
    })
}

#[test]
fn where_ends_of_children_are_ignored_a_command_has_its_own_all_the_same() {
    let daemon = Daemon::start();
    let at = daemon.directory.path();
    for wrapper in WRAPPERS {
        for (end, code) in [("exit 3", 3), ("exit 0", 0), ("kill -s KILL $$", 128 + 9)] {
            let line =
                format!("env --ignore-signal=CHLD $MEMSAMPLE {wrapper} sh -c '{end}'; exit $?");
            let ended = shell(at, &line);
            assert_eq!(ended.code, Some(code), "{wrapper} {end}: {}", ended.stderr);
        }
    }
}

#[test]
fn where_ends_of_children_are_ignored_tests_run_as_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let sandboxes = if geteuid().is_root() { vec!["none", "pidns", "bwrap"] } else { vec!["none"] };
    for sandbox in sandboxes {
        let suite = format!(
            "name = 's'\n[defaults]\nsandbox = '{sandbox}'\n\
             [[test]]\nname = 'good'\nshell = 'sh -c \"exit 4\"; test $? = 4'\n\
             [[test]]\nname = 'bad'\nshell = 'exit 3'\n"
        );
        std::fs::write(at.join("suite.toml"), suite).unwrap();
        let line = format!("env --ignore-signal=CHLD $MEMSAMPLE run --json --out {sandbox}");
        let ended = shell(at, &line);
        assert_eq!(ended.code, Some(10), "{sandbox}: {}", ended.stderr);
        let results = ended.json();
        assert_eq!(results["counts"], serde_json::json!({"passed": 1, "failed": 1}), "{results}");
        assert_eq!(results["tests"][0]["sandbox"], sandbox, "{results}");
        assert_eq!(results["tests"][1]["exit_code"], 3, "{results}");
    }
}

#[test]
fn what_was_blocked_is_so_for_a_command_and_not_for_a_test() {
    let daemon = Daemon::start();
    let at = daemon.directory.path();
    let shows = "grep SigBlk /proc/self/status";
    let plain = shell(at, &format!("exec env --block-signal=TERM,USR1,CHLD {shows}"));
    assert!(plain.stdout.starts_with("SigBlk:\t") && !plain.stdout.ends_with("00000\n"));
    for wrapper in WRAPPERS {
        let line = format!("exec env --block-signal=TERM,USR1,CHLD $MEMSAMPLE {wrapper} {shows}");
        let ended = shell(at, &line);
        assert_eq!(ended.stdout, plain.stdout, "{wrapper}: {}", ended.stderr);
    }
    let sandboxes = if geteuid().is_root() { vec!["none", "pidns", "bwrap"] } else { vec!["none"] };
    for sandbox in sandboxes {
        let suite = format!(
            "name = 's'\n[[test]]\nname = 't'\nsandbox = '{sandbox}'\n\
             command = ['grep', 'SigBlk:.0000000000000000', '/proc/self/status']\n"
        );
        std::fs::write(at.join("suite.toml"), suite).unwrap();
        let line = "exec env --block-signal=TERM,USR1,CHLD,ALRM $MEMSAMPLE run suite.toml";
        let ended = shell(at, line);
        assert_eq!(ended.code, Some(0), "{sandbox}: {}", ended.stderr);
    }
    assert!(!runs(at).is_empty());
}

#[test]
fn signals_that_would_end_a_program_are_for_its_command() {
    let daemon = Daemon::start();
    for name in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM"] {
        for wrapper in ["record", "session", "exec --socket s --test t"] {
            let directory = tempfile::tempdir_in(daemon.directory.path()).unwrap();
            let at = directory.path();
            let line = format!("trap 'exit 9' {name}; : > ready; while :; do sleep 0.02; done");
            let mut arguments = vec![MEMSAMPLE];
            arguments.extend(wrapper.split(' '));
            arguments.extend(["--", "sh", "-c", &line]);
            let command = start(at, &arguments);
            wait_for("the command", || at.join("ready").exists().then_some(()));
            let pid = command.id().to_string();
            let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
            assert!(sent.success());
            let ended = command.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(9), "{name} {wrapper}: {stderr}");
            if !wrapper.starts_with("exec") {
                wait_for_closed_recording(at);
            }
        }
    }
}

#[test]
fn what_a_command_does_after_ctrl_c_is_in_its_session() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let line = "trap ': > seen' INT; : > ready; until test -e seen; do sleep 0.02; done; \
                $MEMSAMPLE mark point after && exit 7; exit 8";
    let variable = format!("MEMSAMPLE={MEMSAMPLE}");
    let arguments = [&variable, MEMSAMPLE, "session", "--", "sh", "-c", line];
    let session = start(at, &arguments);
    wait_for("the command", || at.join("ready").exists().then_some(()));
    // As a terminal does it: to all of the group.
    kill_process_group(Pid::from_child(&session), Signal::INT).unwrap();
    let ended = session.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("samples of ") && !stderr.contains("warning"), "{stderr}");
}

#[test]
fn ctrl_c_ends_a_session_whose_daemon_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let daemon = UnixListener::bind(at.join("s")).unwrap();
    let arguments = [MEMSAMPLE, "session", "--socket", "s", "--", "touch", "ran"];
    let mut session = start(at, &arguments);
    let (mut connection, _) = daemon.accept().unwrap();
    connection.read_exact(&mut [0; 4]).unwrap();
    kill_process(Pid::from_child(&session), Signal::INT).unwrap();
    let ended = session.wait().unwrap();
    assert_eq!(ended.signal(), Some(Signal::INT.as_raw()), "{ended:?}");
    assert!(!at.join("ran").exists());
}

#[test]
fn the_daemon_of_a_session_that_was_killed_closes_its_recording_and_ends() {
    for ignored in ["--default-signal=TERM", "--ignore-signal=TERM"] {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let line = "echo $$ $MEMSAMPLE_SOCKET > ready; exec sleep 1000";
        let arguments = ["env", ignored, MEMSAMPLE, "session", "--", "sh", "-c", line];
        let mut session = start(at, &arguments);
        let (pid, socket) = wait_for("the command", || {
            let ready = std::fs::read_to_string(at.join("ready")).ok()?;
            let (pid, socket) = ready.strip_suffix('\n')?.split_once(' ')?;
            Some((pid.parse().unwrap(), PathBuf::from(socket)))
        });
        assert!(socket.exists());
        kill_process(Pid::from_child(&session), Signal::KILL).unwrap();
        session.wait().unwrap();
        wait_for_closed_recording(at);
        wait_for("the end of the daemon", || (!socket.exists()).then_some(()));
        // What nobody is left to do.
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        std::fs::remove_dir_all(socket.parent().unwrap()).unwrap();
    }
}
