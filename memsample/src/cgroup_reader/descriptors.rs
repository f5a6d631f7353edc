//! How many descriptors the files of control groups may take.

use nix::sys::resource::{Resource, getrlimit};

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
        // With an unknown limit none are kept, which is right with any.
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { kept: 0, allowed: MAX_DESCRIPTORS.min(limit / DESCRIPTORS_PART) }
    }
}
