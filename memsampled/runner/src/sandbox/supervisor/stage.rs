//! The commands of an attempt, and how each ended.

use crate::sandbox::attempt_end::ProgramExit;
use crate::sandbox::spec::{Stage, StageKind};

/// Characters of a command in a message.
const MAX_SHOWN: usize = 200;

/// Which command of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StageRef {
    pub(super) kind: StageKind,
    /// Its position among those of its kind.
    pub(super) index: usize,
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StageEnd {
    /// It exited, or a signal that the supervisor did not send ended it.
    Exited(ProgramExit),
    /// It never began.
    NotStarted(String),
    /// It did not end in its time.
    TimedOut,
    /// It used more CPU time than it may.
    CpuTimeSpent,
    /// The runner is gone, or wants it to end.
    Ended {
        /// Whether its program had begun.
        began: bool,
    },
    /// Init is gone, or cannot be heard any more for this reason.
    Lost(Option<String>),
}

/// Why a stage is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    TimedOut,
    CpuTimeSpent,
    Ended,
}

impl From<StopReason> for StageEnd {
    fn from(why: StopReason) -> Self {
        match why {
            StopReason::TimedOut => Self::TimedOut,
            StopReason::CpuTimeSpent => Self::CpuTimeSpent,
            StopReason::Ended => Self::Ended { began: true },
        }
    }
}

/// Returns the command of a stage for a message, which has a bound.
pub(super) fn shown(stage: &Stage) -> String {
    let command = stage.argv.join(" ");
    match command.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", command.get(..end).unwrap_or_default()),
        None => command,
    }
}

/// Describes why a stage around the program did not do what it should, as the end of a sentence.
pub(super) fn failure(end: &StageEnd) -> Option<String> {
    match end {
        StageEnd::Exited(ProgramExit { exit_code: Some(0), .. }) => None,
        StageEnd::Exited(ProgramExit { exit_code: Some(code), .. }) => {
            Some(format!("exited with {code}"))
        }
        StageEnd::Exited(ProgramExit { signal, .. }) => {
            Some(format!("was ended by signal {}", signal.unwrap_or_default()))
        }
        StageEnd::NotStarted(reason) => Some(format!("did not start: {reason}")),
        StageEnd::TimedOut => Some("did not end in its time".to_owned()),
        StageEnd::CpuTimeSpent => Some("used more CPU time than it may".to_owned()),
        StageEnd::Ended { .. } => Some("was ended with the suite".to_owned()),
        StageEnd::Lost(None) => Some("was lost: its init was killed".to_owned()),
        StageEnd::Lost(Some(reason)) => {
            Some(format!("was lost: nothing can be heard of its init: {reason}"))
        }
    }
}
