//! Every command with every kind of standard stream: its exit code is that of what it did, and all bytes arrive or the
//! loss is said.

use std::fs::File;
use std::io::{Read, pipe};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::fcntl_setpipe_size;
use tempfile::TempDir;

use crate::command::{MEMSAMPLE, memsample, wait_for};
use crate::daemon::Daemon;

/// A suite with a test that fails and one that passes.
const SUITE: &str = "name = \"s\"\n[[test]]\nname = \"bad\"\nshell = \"exit 3\"\n[[test]]\nname = \"good\"\n\
                     command = [\"true\"]\n";

/// What is printed to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prints {
    /// The same each time.
    Same,
    /// Something else each time.
    Something,
    /// Nothing: stdout belongs to the command.
    Nothing,
}
use Prints::{Nothing, Same, Something};

/// Each command, the exit code of what it does, and what it prints.
const COMMANDS: [(&str, i32, Prints); 25] = [
    ("--help", 0, Same),
    ("run --help", 0, Same),
    ("schema", 0, Same),
    ("completions bash", 0, Same),
    ("summary x", 0, Same),
    ("summary --json x", 0, Same),
    ("peaks x", 0, Same),
    ("peaks --csv x", 0, Same),
    ("view x --at 1ms", 0, Same),
    ("recover x", 0, Same),
    ("run --list suite.toml", 0, Same),
    ("run --dry-run suite.toml", 0, Same),
    ("view", 0, Something),
    ("ls", 0, Something),
    ("doctor", 0, Something),
    ("status --socket s", 0, Something),
    ("run suite.toml", 10, Something),
    ("run --json suite.toml", 10, Something),
    ("run suite.toml good", 0, Something),
    ("record --duration 100ms", 0, Something),
    ("record --json --duration 100ms", 0, Something),
    ("record -- sh -c 'exit 3'", 3, Nothing),
    ("session --socket s -- sh -c 'exit 3'", 3, Nothing),
    ("exec --socket s --test t -- sh -c 'exit 3'", 3, Nothing),
    ("record --interval 0", 2, Nothing),
];

/// A directory with a recording, a suite and a daemon.
fn place() -> Daemon {
    let daemon = Daemon::start();
    let at = daemon.directory.path();
    std::fs::write(at.join("suite.toml"), SUITE).unwrap();
    assert_eq!(memsample(at, &["record", "--name", "x", "--duration", "100ms"]).code, Some(0));
    daemon
}

/// Returns a command of the table, by a shell, so that it may be written as a person does.
fn command(directory: &Path, line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {MEMSAMPLE} {line}")]);
    command.env("MEMSAMPLE_CONFIG", "").current_dir(directory).stdin(Stdio::null());
    command
}

/// Runs a command with these streams, and returns its exit code and what it wrote to a stderr that is `None`.
#[track_caller]
fn run(at: &Path, line: &str, out: impl Into<Stdio>, err: Option<Stdio>) -> (Option<i32>, String) {
    let mut command = command(at, line);
    command.stdout(out).stderr(err.unwrap_or_else(Stdio::piped));
    let ended = command.spawn().unwrap().wait_with_output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

/// Returns the end for writing of a pipe that nobody reads any more.
fn left() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn slow_a_reader_that_leaves_changes_no_exit_code() {
    let daemon = place();
    let at = daemon.directory.path();
    for (line, code, _) in COMMANDS {
        let (ended, stderr) = run(at, line, left(), None);
        assert_eq!(ended, Some(code), "{line}, stdout: {stderr}");
        assert!(!stderr.contains("Broken pipe"), "{line}: {stderr}");
        assert_eq!(run(at, line, Stdio::null(), Some(left())).0, Some(code), "{line}, stderr");
        assert_eq!(run(at, line, left(), Some(left())).0, Some(code), "{line}, both");
    }
}

#[test]
fn slow_what_cannot_be_printed_is_said() {
    let daemon = place();
    let at = daemon.directory.path();
    for (line, code, prints) in COMMANDS {
        // What was done counts more than how it was told.
        let told_as = |loss: i32| if code == 0 && prints != Nothing { loss } else { code };
        let (ended, stderr) = run(at, line, full(), None);
        assert_eq!(ended, Some(told_as(4)), "{line}: {stderr}");
        let says = "error: cannot write to stdout: No space left on device";
        assert_eq!(stderr.contains(says), prints != Nothing, "{line}: {stderr}");
        // The standard library takes a descriptor that is not for writing as one that is closed on purpose.
        let (ended, stderr) = run(at, line, File::open("/dev/null").unwrap(), None);
        assert_eq!(ended, Some(told_as(1)), "{line}: {stderr}");
        assert_eq!(stderr.contains("cannot write to stdout"), prints != Nothing, "{line}");
        assert_eq!(run(at, line, Stdio::null(), Some(full())).0, Some(code), "{line}");
    }
}

#[test]
fn slow_closed_streams_change_no_exit_code() {
    let daemon = place();
    let at = daemon.directory.path();
    for (line, code, _) in COMMANDS {
        for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            let (ended, stderr) = run(at, &format!("{line} {closed}"), Stdio::null(), None);
            assert_eq!(ended, Some(code), "{line} {closed}: {stderr}");
        }
    }
}

/// Returns a pipe of 4 KiB whose end for writing does not block.
fn narrow() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = pipe().unwrap();
    let writer = OwnedFd::from(writer);
    fcntl_setpipe_size(&writer, 4096).unwrap();
    fcntl_setfl(&writer, fcntl_getfl(&writer).unwrap() | OFlags::NONBLOCK).unwrap();
    (reader, writer)
}

#[test]
fn slow_all_bytes_reach_a_slow_reader_through_a_descriptor_that_does_not_block() {
    let daemon = place();
    let at = daemon.directory.path();
    for (line, code, prints) in COMMANDS {
        let plain = command(at, line).output().unwrap();
        let [(mut out, of_out), (mut err, of_err)] = [narrow(), narrow()];
        let mut child = {
            let mut command = command(at, line);
            command.stdout(of_out).stderr(of_err).spawn().unwrap()
        };
        let messages = std::thread::spawn(move || {
            let mut messages = String::new();
            err.read_to_string(&mut messages).unwrap();
            messages
        });
        let mut bytes = Vec::new();
        let mut some = [0; 257];
        loop {
            let read = out.read(&mut some).unwrap();
            bytes.extend_from_slice(&some[..read]);
            if read == 0 {
                break;
            }
            std::thread::yield_now();
        }
        let (ended, messages) = (child.wait().unwrap().code(), messages.join().unwrap());
        assert_eq!(ended, Some(code), "{line}: {messages}");
        assert!(!messages.contains("unavailable"), "{line}: {messages}");
        if prints == Same {
            assert!(bytes == plain.stdout, "{line}: {} of {}", bytes.len(), plain.stdout.len());
        } else {
            assert_eq!(bytes.is_empty(), prints == Nothing, "{line}");
        }
    }
}

/// Starts a command whose error stream is a pipe that is full already and that nobody reads.
fn unread(directory: &TempDir, line: &str) -> (std::process::Child, std::io::PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let writer = OwnedFd::from(writer);
    fcntl_setpipe_size(&writer, 4096).unwrap();
    assert_eq!(rustix::io::write(&writer, &[b'x'; 4096]).unwrap(), 4096);
    let mut command = command(directory.path(), line);
    (command.stdout(Stdio::null()).stderr(writer).spawn().unwrap(), reader)
}

#[test]
fn slow_a_run_whose_messages_nobody_reads_keeps_its_timeouts_and_obeys_signals() {
    let directory = tempfile::tempdir().unwrap();
    let suite = "name = \"s\"\n[[test]]\nname = \"a\"\nshell = \"touch began-a; exec sleep 600\"\n\
                 timeout = \"300ms\"\n[[test]]\nname = \"b\"\nshell = \"touch began-b; exec sleep 600\"\n";
    std::fs::write(directory.path().join("suite.toml"), suite).unwrap();
    let (mut child, _reader) =
        unread(&directory, &format!("run --jobs 1 --sandbox none {}", "suite.toml"));
    // The second begins only if the first one was ended.
    wait_for("the second test", || {
        assert_eq!(child.try_wait().unwrap(), None);
        walkdir::WalkDir::new(directory.path())
            .into_iter()
            .flatten()
            .any(|entry| entry.file_name() == "began-b")
            .then_some(())
    });
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(11));
}

#[test]
fn a_daemon_whose_log_nobody_reads_serves_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let line = "status --socket s";
    let (reader, writer) = pipe().unwrap();
    let writer = OwnedFd::from(writer);
    fcntl_setpipe_size(&writer, 4096).unwrap();
    assert_eq!(rustix::io::write(&writer, &[b'x'; 4096]).unwrap(), 4096);
    let mut daemon = Command::new(crate::daemon::MEMSAMPLED)
        .args(["--socket", "s", "--recordings", "recordings"])
        .env_remove("MEMSAMPLED_CONFIG")
        .current_dir(directory.path())
        .stderr(writer)
        .spawn()
        .unwrap();
    wait_for("the daemon", || {
        (memsample(directory.path(), &line.split(' ').collect::<Vec<_>>()).code == Some(0))
            .then_some(())
    });
    let started = memsample(directory.path(), &["start", "--socket", "s"]);
    assert_eq!(started.code, Some(0), "{}", started.stderr);
    let pid = daemon.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    drop(reader);
}
