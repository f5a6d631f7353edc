use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::suite::source;

/// How long a command may take that lists tests.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that it may print: ten thousand names of a hundred bytes.
const DISCOVERY_BYTES_MAX: u64 = 1 << 20;

/// Where the files of a directory in UTAH's format are.
pub trait Tree {
    /// Returns the bytes of a file; `None` where it is not there.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, as a sentence about the file.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String>;

    /// Says whether there is such a file.
    fn is_file(&self, path: &Path) -> bool;

    /// Runs a line of shell that lists tests, and returns what it printed.
    ///
    /// # Errors
    ///
    /// What went wrong, as the end of a sentence.
    fn discover(&self, line: &str, cwd: &Path) -> Result<String, String>;
}

/// The file system.
pub(in crate::suite) struct Disk;

impl Tree for Disk {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, String> {
        match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // The path of what a file names as a directory.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            _ => source::read(path).map(Some).map_err(|error| {
                error.problems().first().map_or_else(String::new, |problem| problem.message.clone())
            }),
        }
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn discover(&self, line: &str, cwd: &Path) -> Result<String, String> {
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(line)
            .current_dir(cwd)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("cannot be run: {error}"))?;
        let output = collect(&mut child);
        // Also what it left behind in its group, whatever became of it.
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
        output
    }
}

/// Waits for a command and returns what it printed.
fn collect(child: &mut Child) -> Result<String, String> {
    let deadline = Instant::now() + DISCOVERY_TIMEOUT;
    let late = || format!("did not end within {} s", DISCOVERY_TIMEOUT.as_secs());
    let stdout = pipe(child.stdout.take());
    let stderr = pipe(child.stderr.take());
    let receive = |from: &mpsc::Receiver<Vec<u8>>| {
        let rest = deadline.saturating_duration_since(Instant::now());
        from.recv_timeout(rest).map_err(|_| late())
    };
    let (printed, complained) = (receive(&stdout)?, receive(&stderr)?);
    if printed.len() as u64 > DISCOVERY_BYTES_MAX {
        return Err(format!("printed more than {} MiB", DISCOVERY_BYTES_MAX >> 20));
    }
    // Both pipes are closed, so that it has ended or is about to: but nothing makes it.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Ok(None) => return Err(late()),
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
    };
    if !status.success() {
        let complained = String::from_utf8_lossy(&complained);
        let last = complained.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        let last: String = last.chars().filter(|c| !c.is_control()).take(200).collect();
        let colon = if last.is_empty() { "" } else { ": " };
        return Err(format!("failed ({status}){colon}{last}"));
    }
    String::from_utf8(printed).map_err(|_| "printed what is not UTF-8".to_owned())
}

/// Reads a pipe on a thread of its own, up to its bound; what is behind that is thrown away, so that
/// the writer does not wait for ever.
fn pipe(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().take(DISCOVERY_BYTES_MAX + 1).read_to_end(&mut bytes);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        let _ = sender.send(bytes);
    });
    receiver
}
