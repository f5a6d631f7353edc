//! Runs the tests of a suite, each in its own sandbox, and reports what happens as [`Event`]s.
//!
//! ```text
//! Suite ─ selection ─▶ plan ─ admission ─▶ dispatch ─▶ attempt ─▶ sandbox: supervisor ─▶ … ─▶ the test
//!                                             │ ▲ AttemptEnd
//!                       Event ◀── verdict ◀───┘ └─ recording, progress
//! ```
//!
//! One loop orders all events; each attempt has a supervisor process and a thread that listens to it.
//! It never prints: what a person or a machine reads is made of the events by others.

mod admission;
mod attempt;
mod budget;
mod discovery;
mod dispatch;
mod dry_run;
mod error;
mod event;
mod id;
mod layout;
mod leak;
mod measure;
mod options;
mod own_recording;
mod progress;
mod role_use;
mod tables;
mod verdict;

use std::fs;
use std::path::Path;

use crossbeam_channel::Receiver;
use memsample::SharedSampler;

pub use discovery::{DiscoverError, discover};
pub use dry_run::{Decision, PlannedTest, dry_run};
pub use error::RunError;
pub use event::Event;
pub(crate) use layout::recording_name;
pub use options::RunOptions;
pub use progress::PROGRESS_FILE;

use crate::sandbox::RaisedPriority;
use crate::suite::Suite;
use dispatch::Dispatcher;
use layout::Layout;
use progress::ProgressLog;

/// Recordings of one run, at most: one for each time that it was resumed.
const MAX_RECORDINGS: u32 = 10_000;

/// Runs a suite, and returns when nothing of it is left running.
///
/// The first signal that comes through the channel ends the suite: tests get SIGTERM and their grace,
/// cleanup and teardown are run. The second ends everything at once.
///
/// # Errors
///
/// The suite could not begin, or the recording not be closed. A test that cannot be run is no error
/// but an outcome.
pub fn run(
    suite: &Suite,
    options: &RunOptions,
    signals: Receiver<i32>,
    events: &mut dyn FnMut(Event),
) -> Result<(), RunError> {
    // Before anything is made or signalled.
    if fs::read_link("/proc/self")
        .is_ok_and(|own| own.to_str() != Some(&std::process::id().to_string()))
    {
        return Err(RunError::OtherProcesses);
    }
    let failed = |error| RunError::Directory(options.directory.clone(), error);
    fs::create_dir_all(&options.directory).map_err(failed)?;
    // A relative path would name another directory in a test's own.
    let directory = fs::canonicalize(&options.directory).map_err(failed)?;
    let options = RunOptions { directory: directory.clone(), ..options.clone() };
    let (progress, resumed) = if options.resume && ProgressLog::path(&directory).exists() {
        let (progress, ended) = ProgressLog::resume(&directory, suite).map_err(RunError::Resume)?;
        (progress, Some(ended))
    } else if fs::read_dir(&directory).map_err(failed)?.next().is_some() {
        return Err(RunError::NotEmpty(options.directory));
    } else {
        (ProgressLog::create(&directory, suite).map_err(failed)?, None)
    };
    let layout = Layout::new(&directory);
    // After those of the attempts that have ended, and after one all of whose attempts were cut short.
    let last = resumed.iter().flatten().map(|ended| ended.recording).max();
    let first = last.unwrap_or(0) + 1;
    let number = (first..MAX_RECORDINGS).find(|&number| !layout.recording(number).exists());
    let number = number.unwrap_or(MAX_RECORDINGS);
    // One sweep for the recording of the run and those of attempts that are judged by what they use.
    let sampler = SharedSampler::new(options.sampler.clone());
    // The sampling thread keeps it: a tick that waits behind thousands of processes of a test is late.
    let raised = RaisedPriority::raise();
    let recorder = sampler.start(&layout.recording(number), options.recorder.clone());
    drop(raised);
    let recorder = recorder.map_err(|error| {
        // A run that never began leaves nothing.
        if resumed.is_none() {
            remove_if_empty(&directory);
        }
        RunError::Record(error)
    })?;
    let recording = (number, sampler, recorder);
    Dispatcher::new(suite, &options, layout, recording, (progress, resumed), signals, events).run()
}

/// Returns whether a directory has results of a run of this suite, so that it can be resumed.
#[must_use]
pub fn is_run_of(directory: &Path, suite: &Suite) -> bool {
    ProgressLog::is_of(directory, suite)
}

fn remove_if_empty(directory: &Path) {
    let _ = fs::remove_file(ProgressLog::path(directory));
    let _ = fs::remove_dir(directory);
}
