//! The groups that this process is in.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::parse::parse_cgroup;

/// The group of this process in one hierarchy: a line of `/proc/self/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnGroup {
    /// The controllers of version 1 on the hierarchy; empty for version 2.
    pub controllers: Vec<String>,
    /// The path below the root of the hierarchy. It begins with `/..` where the group is outside of the cgroup
    /// namespace of this process.
    pub path: PathBuf,
}

impl OwnGroup {
    /// Parses the contents of `/proc/[pid]/cgroup`, in their order; leaves out malformed lines.
    #[must_use]
    pub fn parse(cgroup: &[u8]) -> Vec<Self> {
        let entries = parse_cgroup(cgroup).filter_map(Result::ok);
        let group = entries.map(|entry| Self {
            controllers: entry
                .controllers
                .split(|&byte| byte == b',')
                .filter(|name| !name.is_empty())
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect(),
            path: OsString::from_vec(entry.path.to_vec()).into(),
        });
        group.collect()
    }

    /// Returns whether the group is of version 2.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// Returns the group of this process in each hierarchy; none if `/proc/self/cgroup` cannot be read.
#[must_use]
pub fn own_groups() -> Vec<OwnGroup> {
    OwnGroup::parse(&std::fs::read("/proc/self/cgroup").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_group() {
        let groups = OwnGroup::parse(b"9:name=systemd:/\n4:cpu,memory:/a:b\ngarbage\n0::/../c\n");
        let seen: Vec<_> =
            groups.iter().map(|group| (group.is_v2(), group.path.to_str())).collect();
        assert_eq!(seen, [(false, Some("/")), (false, Some("/a:b")), (true, Some("/../c"))]);
        assert_eq!(groups[1].controllers, ["cpu", "memory"]);
    }
}
