//! A process that waits, with its memory map locked, for a file system in user space that does not answer.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::frozen::state;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stuck/unanswered.py");

/// The process, until this is dropped. An ordinary user can make one, where they may open `/dev/fuse`.
pub(crate) struct Unanswered {
    server: Child,
    pub(crate) pid: u32,
    _directory: TempDir,
}

impl Unanswered {
    /// `None` where such a file system cannot be mounted.
    pub(crate) fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        // In a mount namespace of its own, so that nothing else comes across it.
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "/usr/bin/python3", "-S", SCRIPT]);
        command.arg(directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().expect("unshare runs");
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(pid) = line.trim().parse() else {
            server.wait().unwrap();
            return None;
        };
        Some(Self { server, pid, _directory: directory })
    }

    /// Returns whether it waits, so that what was done before was done meanwhile.
    pub(crate) fn is_stuck(&self) -> bool {
        state(format!("/proc/{}", self.pid).as_ref()) == Some('D')
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}
