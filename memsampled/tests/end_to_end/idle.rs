//! A process whose memory is known.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A process that holds memory and does nothing.
pub(crate) struct Idle(Child);

impl Idle {
    /// Starts one with a word of its own in its arguments, and waits until it holds so much.
    pub(crate) fn start(mib: usize, marker: &str) -> Self {
        let program = format!(
            "import sys; a = b'x' * ({mib} << 20); print(flush=True); sys.stdin.read() # {marker}"
        );
        let mut child = Command::new("python3")
            .args(["-c", &program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "\n");
        Self(child)
    }

    pub(crate) fn pid(&self) -> i64 {
        self.0.id().into()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
