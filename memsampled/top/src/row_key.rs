//! What a row stands for.

use std::sync::Arc;

use clap::ValueEnum;

use crate::frame::ProcessMemory;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// One process
    Process,
    /// All processes that do the same
    Role,
    /// All processes of a test; of a recording
    Test,
    /// All processes of a control group
    Cgroup,
    /// All processes of a user
    User,
}

impl By {
    /// Returns the name of the group that a process is of; `None` for [`By::Process`].
    pub(crate) fn group(self, process: &ProcessMemory) -> Option<&str> {
        let facts = &process.facts;
        match self {
            Self::Process => None,
            Self::Role => Some(&facts.role),
            Self::Test => Some(facts.test.as_deref().unwrap_or("-")),
            Self::Cgroup => Some(facts.cgroup.as_deref().unwrap_or("-")),
            Self::User => Some(&facts.user),
        }
    }
}

/// What tells a row from the others, also over time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RowKey {
    /// A process image.
    Image(u64),
    /// A group by its name.
    Group(Arc<str>),
}
