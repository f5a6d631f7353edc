//! What is left to the limits of control groups.

use std::path::Path;

use memsample::cgroups::{Hierarchies, Hierarchy, Version};

/// A limit from here on is none: v1 has no word for it.
const NO_LIMIT: u64 = 1 << 62;

/// Reads the limits of control groups.
pub struct CgroupLimits {
    memory: Option<Hierarchy>,
}

impl Default for CgroupLimits {
    fn default() -> Self {
        Self { memory: Hierarchies::mounted().memory().cloned() }
    }
}

impl CgroupLimits {
    /// Returns how much a group may still take until it, or one above it, is at its limit, in bytes; `None` where there is
    /// no limit, or it cannot be read.
    ///
    /// The page cache that it counts can be given back, so more may be left.
    #[must_use]
    pub fn left_of(&self, cgroup: &str) -> Option<u64> {
        let memory = self.memory.as_ref()?;
        let (limit, usage) = match memory.version() {
            Version::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            Version::V2 => ("memory.max", "memory.current"),
        };
        let above = Path::new(cgroup).ancestors().filter_map(|group| memory.directory(group));
        above
            .filter_map(|directory| {
                let number = |file| -> Option<u64> {
                    std::fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()
                };
                let limit = number(limit).filter(|limit| *limit < NO_LIMIT)?;
                Some(limit.saturating_sub(number(usage)?))
            })
            .min()
    }
}
