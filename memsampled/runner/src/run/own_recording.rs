//! A recording of one attempt alone, for its budgets and whether it leaks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memsample::{MarkKind, Rate, Recorder, Recording, Scope, SharedSampler};
use memsample_input::with_causes;
use memsample_leaks::{RoleJudgement, judge_roles};

use super::leak::{ProgramSpan, judged};
use super::measure::{Usage, mark_of, measure};
use super::options::RunOptions;
use super::role_use::RoleUses;
use crate::results::Attempt;

/// The first tick is immediate. It takes as long as a sweep does, and on a busy machine as long as the threads of the
/// recording wait for a CPU.
const MAX_FIRST_TICK: Duration = Duration::from_secs(30);

/// A recording of one attempt alone, beside that of the run, by which its budgets are judged as soon
/// as it has ended: what is retried, what is required and what ends a suite must know.
///
/// It has the rows that the recording of the run has of the attempt. It is removed once it has been read.
pub(super) struct OwnRecording {
    recorder: Recorder,
    attempt: Attempt,
    init: i32,
    path: PathBuf,
    /// Whether the mark at its end was set.
    marked: Result<(), String>,
}

/// What an attempt used, according to its own recording.
#[derive(Default)]
pub(super) struct Used {
    /// `None` where no process was seen.
    pub(super) usage: Option<Usage>,
    pub(super) roles: RoleUses,
    /// Whether each role leaks; `None` where that was not asked for.
    pub(super) leaks: Option<Vec<RoleJudgement>>,
}

impl OwnRecording {
    /// Returns where it is, for an attempt with this directory.
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join("budget-recording")
    }

    /// Begins, and has its first tick before what `init` launches executes its first instruction.
    pub(super) fn start(
        sampler: &SharedSampler,
        options: &RunOptions,
        directory: &Path,
        (init, group): (i32, &str),
        attempt: &Attempt,
    ) -> Result<Self, String> {
        let path = Self::path(directory);
        let scope = scope_of(init, group);
        let recorder = options.recorder.clone().target(scope.clone()).cgroups(Rate::Off);
        let recorder = sampler.start(&path, recorder).map_err(|error| error.to_string())?;
        let own = Self { recorder, attempt: attempt.clone(), init, path, marked: Ok(()) };
        own.mark(MarkKind::Begin, BTreeMap::new())?;
        own.recorder.assign(&scope, &attempt.test).map_err(|error| with_causes(&error))?;
        // What the test forks before the first tick, and what ends before it, would be nobody's.
        if !own.recorder.wait_for_tick(MAX_FIRST_TICK) {
            return Err("its first tick did not come in time".to_owned());
        }
        Ok(own)
    }

    fn mark(&self, kind: MarkKind, labels: BTreeMap<String, String>) -> Result<(), String> {
        let (name, test) = (mark_of(&self.attempt), Some(self.attempt.test.as_str()));
        let marked = self.recorder.mark_with(kind, &name, test, labels, Some(self.init));
        marked.map_err(|error| error.to_string())
    }

    /// Marks the end of the attempt.
    pub(super) fn end(&mut self, labels: BTreeMap<String, String>) {
        self.marked = self.mark(MarkKind::End, labels);
    }

    /// Ends, and returns what the attempt used, and whether it leaked while its program ran. Its end is marked.
    pub(super) fn finish(self, leaks_of: Option<ProgramSpan>) -> Result<Used, String> {
        let Self { recorder, attempt, path, marked, .. } = self;
        let stopped = recorder.stop().map_err(|error| error.to_string());
        let used = marked.and(stopped).and_then(|recording| {
            read(&recording, &attempt, leaks_of).map_err(|error| error.to_string())
        });
        let _ = fs::remove_dir_all(path);
        used
    }
}

/// Returns what belongs to an attempt: all that `init` starts, and who is in the control group that was made for it.
pub(super) fn scope_of(init: i32, group: &str) -> Scope {
    Scope::Launched { by: init, group: Some(group.to_owned()) }
}

fn read(
    recording: &Recording,
    attempt: &Attempt,
    leaks_of: Option<ProgramSpan>,
) -> io::Result<Used> {
    let key = (attempt.test.clone(), mark_of(attempt));
    let leaks = leaks_of.map(|span| judge_roles(recording, &judged([(attempt, span)])));
    Ok(Used {
        usage: measure(recording)?.remove(&key),
        roles: RoleUses::read(recording)?,
        leaks: leaks.transpose()?,
    })
}
