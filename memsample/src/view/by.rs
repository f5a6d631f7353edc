//! What a row of a view stands for.

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// One process.
    Process,
    /// All processes of a user.
    User,
    /// A file, or another thing that processes map.
    Mapping,
    /// An area of the machine's memory.
    System,
    /// All processes of a control group.
    Cgroup,
    /// All processes that do the same; see [`Identity::role`](crate::Identity::role).
    Role,
}
