//! Running the `memsample` command as a user does.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const MEMSAMPLE: &str = env!("CARGO_BIN_EXE_memsample");

/// A wait that lasts this long is a failure: slow machines are slow, but not that slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// What every program is told: not to use the configuration of whoever runs the tests, and to wait a minute for
/// others.
pub(crate) const ENVIRONMENT: [(&str, &str); 2] =
    [("MEMSAMPLE_CONFIG", ""), ("MEMSAMPLE_TEST_PATIENCE_MS", "60000")];

/// What a command printed and how it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The JSON object on the last line of the standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let line =
            self.stdout.lines().last().unwrap_or_else(|| panic!("no output: {}", self.stderr));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

/// Runs `memsample` in `directory`.
pub(crate) fn memsample<S: AsRef<OsStr>>(directory: &Path, arguments: &[S]) -> Ended {
    let output = Command::new(MEMSAMPLE)
        .args(arguments)
        .envs(ENVIRONMENT)
        .current_dir(directory)
        .output()
        .unwrap();
    Ended::of(output)
}

/// Runs a line of shell in `directory`, with the command's path in `$MEMSAMPLE`.
pub(crate) fn shell(directory: &Path, line: &str) -> Ended {
    let output = Command::new("sh")
        .args(["-c", line])
        .env("MEMSAMPLE", MEMSAMPLE)
        .envs(ENVIRONMENT)
        .current_dir(directory)
        .output()
        .unwrap();
    Ended::of(output)
}

/// A `memsample` that runs until it is stopped.
pub(crate) struct Running {
    child: Option<Child>,
}

impl Running {
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::spawn(directory, &[&[MEMSAMPLE], arguments].concat())
    }

    /// Starts a line of shell in `directory`, as [`shell`] runs it. What it executes in its place gets the signals.
    pub(crate) fn start_shell(directory: &Path, line: &str) -> Self {
        Self::spawn(directory, &["sh", "-c", line])
    }

    fn spawn(directory: &Path, words: &[&str]) -> Self {
        // Signals that are ignored here, as SIGHUP behind nohup, would be ignored there.
        let child = Command::new("env")
            .arg("--default-signal")
            .args(words)
            .env("MEMSAMPLE", MEMSAMPLE)
            .envs(ENVIRONMENT)
            .current_dir(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child: Some(child) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let killed =
            Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    pub(crate) fn wait(self) -> Ended {
        Ended::of(self.wait_with_output())
    }

    /// Waits for its end, and returns how that was and its standard output.
    pub(crate) fn wait_for_status(self) -> (ExitStatus, String) {
        let output = self.wait_with_output();
        (output.status, String::from_utf8(output.stdout).unwrap())
    }

    fn wait_with_output(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until `condition` gives a value.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// Waits until the journal of a recording has grown to `bytes`.
#[track_caller]
pub(crate) fn wait_for_journal(run: &Path, bytes: u64) {
    wait_for("the journal", || {
        let metadata = std::fs::metadata(run.join("journal/000000.log")).ok()?;
        (metadata.len() >= bytes).then_some(())
    });
}

/// Reads `recording.json`.
#[track_caller]
pub(crate) fn manifest(run: &Path) -> Value {
    let text = std::fs::read_to_string(run.join("recording.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Returns the directories below `recordings`.
pub(crate) fn recordings(directory: &Path) -> Vec<PathBuf> {
    directories_below(&directory.join("recordings"))
}

/// Returns the directories below `runs`.
pub(crate) fn runs(directory: &Path) -> Vec<PathBuf> {
    directories_below(&directory.join("runs"))
}

fn directories_below(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    // Links such as `latest` lead to one of the others.
    let mut directories: Vec<PathBuf> = paths.filter(|path| !path.is_symlink()).collect();
    directories.sort();
    directories
}

/// Waits until `look` gives a value for a recording that goes on. It is shown what is on disk by then, put together as if
/// the recorder had been killed: the Parquet files of the recording itself follow seconds later.
#[track_caller]
pub(crate) fn wait_for_recorded<T>(
    what: &str,
    run: &Path,
    mut look: impl FnMut(&memsample::Recording) -> Option<T>,
) -> T {
    let mut looked_at_bytes = 0;
    wait_for(what, || {
        // The recorder is to have the CPU: half a second lies between two batches.
        std::thread::sleep(Duration::from_millis(5));
        let bytes = std::fs::metadata(run.join("journal/000000.log")).ok()?.len();
        if std::mem::replace(&mut looked_at_bytes, bytes) == bytes {
            return None;
        }
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("journal")).unwrap();
        for file in ["recording.json", "journal/000000.log"] {
            std::fs::copy(run.join(file), copy.path().join(file)).ok()?;
        }
        // One that was closed meanwhile is not whole without its tables.
        let (recording, _) = memsample::Recording::open(copy.path()).ok()?;
        look(&recording)
    })
}

/// Waits until a recording that goes on has a tick that began after this was called, and returns when its last one was.
#[track_caller]
pub(crate) fn wait_for_tick(run: &Path) -> jiff::Timestamp {
    let asked = jiff::Timestamp::now();
    wait_for_recorded("a tick", run, |recording| {
        recording.manifest().last_tick.filter(|tick| *tick > asked)
    })
}
