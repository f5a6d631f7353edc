//! What a row stands for.

use std::sync::Arc;

use crate::frame::ProcessMemory;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// One process.
    Process,
    /// All processes that do the same.
    Role,
    /// All processes of a test.
    Test,
    /// All processes of a control group.
    Cgroup,
    /// All processes of a user.
    User,
}

impl By {
    /// All, in the order in which a key goes through them.
    pub const ALL: [Self; 5] = [Self::Process, Self::Role, Self::Test, Self::Cgroup, Self::User];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Role => "role",
            Self::Test => "test",
            Self::Cgroup => "cgroup",
            Self::User => "user",
        }
    }

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
