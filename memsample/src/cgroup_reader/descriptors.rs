//! How many descriptors the files of control groups may take.

/// Descriptors kept open, at most: for the first few dozen groups. Further files are opened for each
/// reading, at twice the cost.
const MAX_DESCRIPTORS: usize = 256;
/// And this part of what the program may have open.
const DESCRIPTORS_PART: usize = 8;

/// How many descriptors are kept, and how many may be.
pub(super) struct GroupDescriptors {
    pub(super) kept: usize,
    pub(super) allowed: usize,
}

impl GroupDescriptors {
    /// Allows a part of what the program may have open.
    pub(super) fn within_limit() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        Self { kept: 0, allowed: MAX_DESCRIPTORS.min(limit / DESCRIPTORS_PART) }
    }
}
