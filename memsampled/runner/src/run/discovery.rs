//! Lists the tests of a suite by a command of that suite.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, never, select};

use super::attempt::{RunningAttempt, failure, spec_of_step};
use super::id::next_id;
use super::options::RunOptions;
use crate::output::{OutputTail, telling_line};
use crate::sandbox::{AttemptEnd, SupervisorMessage, Supervisors};
use crate::suite::{Program, Step};

/// Bytes that it may print: ten thousand names of a hundred bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Messages of its supervisor that wait, at most.
const MAX_MESSAGES: usize = 16;

/// Why tests were not listed, as the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiscoverError {
    /// A signal came.
    Interrupted(i32),
    /// Anything else.
    Failed(String),
}

impl fmt::Display for DiscoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted(signal) => write!(f, "was ended by signal {signal}"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for DiscoverError {}

/// Runs a line of shell that lists the tests of a suite, and returns what it printed. It is run as a
/// step of a suite is: nothing that it started is left, also when a signal comes or the runner is killed.
///
/// `launcher` is as in [`RunOptions`].
///
/// # Errors
///
/// It cannot be run, fails, prints too much, or takes too long.
pub fn discover(
    launcher: &Path,
    signals: &Receiver<i32>,
    line: &str,
    cwd: &Path,
    timeout: Duration,
) -> Result<String, DiscoverError> {
    let failed = |error: io::Error| DiscoverError::Failed(format!("cannot be run: {error}"));
    let (id, name) = next_id();
    let directory = std::env::temp_dir().join(&name);
    DirBuilder::new().mode(0o700).create(&directory).map_err(failed)?;
    let mut options = RunOptions::new(directory.clone(), launcher.to_owned());
    options.output_limit_bytes = MAX_BYTES;
    let step = Step { program: Program::Shell(line.to_owned()), timeout };
    let mut spec = spec_of_step(&step, name, cwd.to_owned(), &directory, &options, false);
    spec.runner_scratch = Some(directory.clone());
    let (sender, messages) = bounded(MAX_MESSAGES);
    let mut supervisors = Supervisors::new(launcher);
    let running = RunningAttempt::start(id, &spec, None, sender, &mut supervisors);
    let listed = running.map_err(failed).and_then(|running| {
        let mut signals = signals.clone();
        let mut interrupted = None;
        let mut ended = AttemptEnd { lost: true, ..AttemptEnd::default() };
        loop {
            select! {
                recv(messages) -> message => match message.ok().and_then(|message| message.message) {
                    Some(SupervisorMessage::Ready { .. }) => running.go(),
                    Some(SupervisorMessage::Ended(end)) => ended = *end,
                    Some(_) => {}
                    None => break,
                },
                recv(signals) -> signal => match (signal, interrupted) {
                    (Ok(signal), None) => {
                        interrupted = Some(signal);
                        running.end();
                    }
                    (Ok(_), Some(_)) => running.abandon(),
                    (Err(_), _) => signals = never(),
                },
            }
        }
        running.join();
        match interrupted {
            Some(signal) => Err(DiscoverError::Interrupted(signal)),
            None => printed(&ended, &spec.stdout, &spec.stderr).map_err(DiscoverError::Failed),
        }
    });
    let _ = fs::remove_dir_all(directory);
    listed
}

/// Returns what it printed, or why that does not count.
fn printed(end: &AttemptEnd, stdout: &PathBuf, stderr: &PathBuf) -> Result<String, String> {
    if let Some(reason) = failure(end) {
        // Its files are removed: what is not told here is lost.
        let telling = telling_line(Some(stdout), Some(stderr));
        let telling = telling.map_or(String::new(), |line| format!(": {line}"));
        let wrote: Vec<String> = [("stdout", stdout), ("stderr", stderr)]
            .into_iter()
            .flat_map(|(name, path)| OutputTail::last_lines(path, name))
            .collect();
        return Err([format!("{reason}{telling}")]
            .into_iter()
            .chain(wrote)
            .collect::<Vec<_>>()
            .join("\n"));
    }
    let bytes = fs::read(stdout).map_err(|error| format!("cannot be run: {error}"))?;
    // What was cut says so, and is longer.
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("printed more than {} MiB", MAX_BYTES >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "printed what is not UTF-8".to_owned())
}
