//! `/proc/[pid]/cgroup`: the control group of a process in each hierarchy.

use super::scan::{next_line, number};
use crate::error::ParseError;

/// One line of `/proc/[pid]/cgroup`: the control group of a process in one hierarchy.
///
/// Kernel source: `proc_cgroup_show` in `kernel/cgroup/cgroup.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupEntry<'a> {
    /// The hierarchy; 0 is cgroup v2.
    pub hierarchy: u64,
    /// The v1 controllers on it, separated by commas; empty for v2.
    pub controllers: &'a [u8],
    /// The path below the root of the hierarchy, as seen from the reader's cgroup namespace.
    pub path: &'a [u8],
}

impl CgroupEntry<'_> {
    /// Returns whether this is the v1 hierarchy that accounts for memory.
    #[must_use]
    pub fn has_memory_controller(&self) -> bool {
        self.controllers.split(|&byte| byte == b',').any(|name| name == b"memory")
    }
}

/// Iterates over the lines of `/proc/[pid]/cgroup`.
///
/// Each malformed line is one [`ParseError`]; the lines behind it are still read.
pub fn parse_cgroup(bytes: &[u8]) -> impl Iterator<Item = Result<CgroupEntry<'_>, ParseError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || next_line(&mut rest)).map(|line| {
        // A path may hold colons, so only the first two separate.
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let hierarchy = number(parts.next().unwrap_or_default(), "hierarchy")?;
        let controllers = parts.next().ok_or(ParseError::missing("controllers"))?;
        let path = parts.next().ok_or(ParseError::missing("path"))?;
        Ok(CgroupEntry { hierarchy, controllers, path })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_hosts_have_both_kinds() {
        let entries: Vec<_> = parse_cgroup(b"9:name=systemd:/\n4:cpu,memory:/a:b\n0::/c\n")
            .map(Result::unwrap)
            .collect();
        assert!(!entries[0].has_memory_controller());
        assert!(entries[1].has_memory_controller());
        assert_eq!(entries[1].path, b"/a:b");
        assert_eq!(entries[2], CgroupEntry { hierarchy: 0, controllers: b"", path: b"/c" });
    }

    #[test]
    fn a_malformed_line_does_not_hide_the_next() {
        let entries: Vec<_> = parse_cgroup(b"x:memory:/\n3\n0::/ok").collect();
        assert!(entries[0].is_err() && entries[1].is_err());
        assert_eq!(entries[2].unwrap().path, b"/ok");
    }
}
