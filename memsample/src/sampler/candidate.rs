//! What a pid may stand for that was found.

/// What a pid may stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Candidate {
    /// It was listed, and only processes are. The kernel may have reported who forked it, and the execs since.
    Listed { parent: Option<i32>, execs: u32 },
    /// It was given since the last sweep, to a process or to a thread.
    ProcessOrThread,
    /// The kernel reported its fork or exec, and as many execs since that fork.
    Reported { parent: Option<i32>, execs: u32 },
}

impl Candidate {
    pub(super) fn parent(self) -> Option<i32> {
        match self {
            Self::Listed { parent, .. } | Self::Reported { parent, .. } => parent,
            Self::ProcessOrThread => None,
        }
    }

    pub(super) fn execs(self) -> u32 {
        match self {
            Self::Listed { execs, .. } | Self::Reported { execs, .. } => execs,
            Self::ProcessOrThread => 0,
        }
    }
}
