//! The model of a report: all that is shown, with every number that is shown.

mod build;

use memsample::Manifest;
use memsample_runner::results::{EndResults, Memory, Results, RoleMemory, Verdict};

use crate::recorded::limits::GroupLimit;
use crate::recorded::machine::MachineMemory;
use crate::recorded::marks::Marks;
use crate::recorded::sampling::Sampling;
use crate::recorded::timeline::{AttemptCurve, Timeline};

/// What a report is made of.
pub struct Source {
    /// What it is called: the name of the run or of the recording.
    pub name: String,
    /// The results of the run; `None` of a recording that is of no run, or of a run that has not ended.
    pub results: Option<Results>,
    /// The recordings, in the order in which they were made, each with its name within the run.
    pub recordings: Vec<(String, memsample::Recording)>,
    /// What a reader must know, such as a recording that cannot be read, a sentence each.
    pub notes: Vec<String>,
}

/// A report.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it is called.
    pub title: String,
    /// The results of the run; `None` of a recording that is of no run.
    pub results: Option<Results>,
    /// The tests, in the order of the suite; of a recording in the order of their begin.
    pub tests: Vec<TestReport>,
    /// The recordings.
    pub parts: Vec<Part>,
    /// What a reader must know, a sentence each.
    pub notes: Vec<String>,
}

/// What a recording says.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name within the run; of a recording alone its name.
    pub name: String,
    /// What its `recording.json` says.
    pub manifest: Manifest,
    /// Who had how much memory when, without the attempts, which are with their tests.
    pub timeline: Timeline,
    /// The memory of the machine.
    pub machine: MachineMemory,
    /// What happened.
    pub marks: Marks,
    /// The control groups with a limit, the one nearest to it first.
    pub limits: Vec<GroupLimit>,
    /// How it was sampled, and what it lacks.
    pub sampling: Sampling,
}

/// What became of a test, and what it used.
#[derive(Clone, Debug)]
pub struct TestReport {
    /// Its name.
    pub name: String,
    /// How it ended; `None` where only a recording is known.
    pub verdict: Option<Verdict>,
    /// Why.
    pub why: Option<String>,
    /// How long the attempt took that counts, in nanoseconds.
    pub duration_ns: Option<u64>,
    /// What the attempt used that counts: the one that decided the verdict; of a recording the largest.
    pub memory: Option<Memory>,
    /// Its attempts, in order.
    pub attempts: Vec<AttemptReport>,
    /// Which of them counts.
    pub counts: usize,
}

/// What became of an attempt, and what it used.
#[derive(Clone, Debug)]
pub struct AttemptReport {
    /// The name of its marks, such as `attempt 1.2`; empty where there is none.
    pub mark: String,
    /// What its results say; `None` where only a recording is known.
    pub ended: Option<EndResults>,
    /// What it used; `None` where nothing is known of its processes.
    pub memory: Option<Memory>,
    /// What it used by role, largest first.
    pub roles: Vec<RoleMemory>,
    /// The recording in which it is, by its position among the parts.
    pub part: Option<usize>,
    /// Its memory over time; `None` where it is not in a recording that can be read.
    pub curve: Option<AttemptCurve>,
}

impl TestReport {
    /// Returns the attempt that counts.
    #[must_use]
    pub fn counted(&self) -> Option<&AttemptReport> {
        self.attempts.get(self.counts)
    }

    /// Returns the memory over time of the attempt that counts.
    #[must_use]
    pub fn curve(&self) -> Option<&AttemptCurve> {
        self.counted()?.curve.as_ref()
    }

    /// Returns the lower bound of the peak of its resident sets, in bytes.
    #[must_use]
    pub fn rss_peak_bytes(&self) -> Option<u64> {
        self.memory.as_ref()?.rss_peak_bytes
    }

    /// Returns whether it is as it should be, as far as that is known.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.verdict.is_none_or(Verdict::is_success)
    }
}

impl Report {
    /// Returns the recording in which an attempt is.
    #[must_use]
    pub fn part_of(&self, attempt: &AttemptReport) -> Option<&Part> {
        self.parts.get(attempt.part?)
    }
}
