//! Running the daemon as its operator does, and talking to it as any program can.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

use crate::command::{ENVIRONMENT, PATIENCE, wait_for};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const MEMSAMPLED: &str = env!("CARGO_BIN_EXE_memsampled");

/// A daemon with a socket and a recordings directory of its own.
pub(crate) struct Daemon {
    pub(crate) directory: TempDir,
    child: Option<Child>,
}

impl Daemon {
    /// Starts a daemon and waits until it serves.
    pub(crate) fn start() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), "")
    }

    /// Starts a daemon with a configuration.
    pub(crate) fn start_with(directory: TempDir, config: &str) -> Self {
        std::fs::write(directory.path().join("config.toml"), config).unwrap();
        let command = Self::command(directory.path());
        Self::spawn(directory, command)
    }

    /// Returns the command that starts a daemon in a directory.
    pub(crate) fn command(directory: &Path) -> Command {
        // Signals that are ignored here, as SIGHUP behind nohup, would be ignored there.
        let mut command = Command::new("env");
        command.current_dir(directory).envs(ENVIRONMENT).args(["--default-signal", MEMSAMPLED]);
        command.args(["--socket", "s", "--recordings", "recordings", "--config", "config.toml"]);
        command
    }

    pub(crate) fn spawn(directory: TempDir, mut command: Command) -> Self {
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child = command.stderr(log).spawn().unwrap();
        let daemon = Self { directory, child: Some(child) };
        let mut daemon = daemon;
        let began = Instant::now();
        // The socket is there before it is given to whom the configuration names.
        while !daemon.log().contains("listening on `") {
            let ended = daemon.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {}", daemon.log());
            assert!(began.elapsed() < PATIENCE, "the daemon does not listen: {}", daemon.log());
            std::thread::yield_now();
        }
        daemon
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    pub(crate) fn recordings(&self) -> PathBuf {
        self.directory.path().join("recordings")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let killed = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    /// Waits for the end of the daemon, and returns its directory for another one.
    pub(crate) fn wait(mut self) -> (ExitStatus, TempDir) {
        let status = self.child.take().unwrap().wait().unwrap();
        (status, std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap()))
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes on a connection of their own, and returns all that comes back.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A daemon that has heard enough closes while this is still being sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::parse(&answer)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, "Content-Type: application/json\r\n", body)
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        self.raw(&[head.as_bytes(), body.as_bytes()].concat())
    }

    /// Starts a session and returns its id.
    #[track_caller]
    pub(crate) fn session(&self, request: &str) -> String {
        let answer = self.post("/v1/sessions", request);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Waits until it says that all is well: a busy machine may not have sampled a session for seconds.
    #[track_caller]
    pub(crate) fn wait_for_good_health(&self) {
        wait_for("good health", || (self.get("/healthz").status == 200).then_some(()));
    }

    /// Stops a session and returns its summary.
    #[track_caller]
    pub(crate) fn stop(&self, id: &str) -> Value {
        let answer = self.post(&format!("/v1/sessions/{id}/stop"), "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An answer of HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let mut reader = BufReader::new(bytes);
        let mut head = String::new();
        while reader.read_line(&mut head).unwrap() > 2 {}
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut body = Vec::new();
        reader.read_to_end(&mut body).unwrap();
        Self { status, head, body }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status, and the code of the error.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String) {
        let code = self.json()["code"].as_str().unwrap_or("none").to_owned();
        (self.status, code)
    }
}
