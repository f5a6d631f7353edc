//! Which processes are meant: the machine, a tree, or a control group.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which processes belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every process there is.
    #[default]
    Machine,
    /// A process and all that descend from it, as long as one of them lives.
    ///
    /// A child counts when its parent was a member at the time the child was first seen, and still
    /// counts after it is given another parent. Where the kernel reports forks and exits nothing is missed;
    /// otherwise a process is no member if its parent exited before the two were seen together.
    Tree {
        /// The process at the root, by its pid in the `/proc` tree that is recorded. Which process that is, is settled at once:
        /// by its start.
        pid: i32,
    },
    /// What a process starts: all that descend from it, once they have begun a program of their own.
    ///
    /// As [`Tree`](Self::Tree), but no process image belongs to it that has the command name which the
    /// process has now. So neither what the launcher itself uses counts, nor its children while they
    /// prepare and have not yet executed what they are for.
    Launched {
        /// The launcher: a child of the program that records, or what descends from one, by its pid in the pid namespace of
        /// that program. Which process that is, and its name, are settled at once.
        by: i32,
        /// The name of the control group that was made for what it starts, and in which a child of it is: who is in the
        /// group, or below it, belongs to it whatever is known of its parents. As with [`Cgroup`](Self::Cgroup), that of
        /// the v1 memory hierarchy where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
    },
    /// The processes of a control group, and of those below it.
    ///
    /// The path is that of `/proc/PID/cgroup`, absolute, and of the hierarchy of the column
    /// `processes.cgroup`: v1 memory where a process has one, else v2. It is compared when a process
    /// is first seen and at each exec, not when it is moved in between.
    #[serde(serialize_with = "as_text")]
    Cgroup(PathBuf),
}

/// Writes a path that need not be UTF-8: the manifest of a recording may not make it fail.
fn as_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// Why a scope was not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum ScopeError {
    /// The recording has ended.
    Ended,
    /// The name of the test is empty, or has more than 4096 bytes.
    TestName,
    /// 4096 scopes are live.
    TooMany,
    /// There is no process with this pid, or it may not be looked at.
    NoProcess(i32, io::Error),
    /// The path is none of a control group: it is not absolute, or holds `..`.
    NotACgroup(PathBuf),
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the recording has ended"),
            Self::TestName => f.write_str("the name of a test has 1 to 4096 bytes"),
            Self::TooMany => f.write_str("4096 scopes are live: unassign tests that have ended"),
            Self::NoProcess(pid, _) => write!(f, "cannot look at a process with pid {pid}"),
            Self::NotACgroup(path) => write!(
                f,
                "`{}` is no control group: it must be an absolute path as in /proc/PID/cgroup",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ScopeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoProcess(_, error) => Some(error),
            Self::Ended | Self::TestName | Self::TooMany | Self::NotACgroup(_) => None,
        }
    }
}

/// What a path as in `/proc/PID/cgroup` begins with for each level above the root of the namespace.
const UP: &[u8] = b"/..";

/// Returns how many levels above the root of the namespace a path leads, and what follows.
pub(crate) fn levels_up(mut path: &[u8]) -> (usize, &[u8]) {
    let mut levels = 0;
    while let Some(rest) =
        path.strip_prefix(UP).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
    {
        levels += 1;
        path = rest;
    }
    (levels, path)
}

/// Returns whether the control group `path` is `group` or below it. Rows call the root `/`, and scopes give it no name.
pub(super) fn is_within(path: &[u8], group: &[u8]) -> bool {
    let group = group.strip_suffix(b"/").unwrap_or(group);
    path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        // What is above the namespace, or beside it, is not in its root.
        && levels_up(path).0 <= levels_up(group).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_of_the_namespace_begins_with_levels() {
        assert_eq!(levels_up(b"/../../x"), (2, &b"/x"[..]));
        assert_eq!(levels_up(b"/.."), (1, &b""[..]));
        assert_eq!(levels_up(b"/..x"), (0, &b"/..x"[..]));
    }

    #[test]
    fn a_group_ends_where_a_name_ends() {
        for (path, group, within) in [
            (&b"/a/b"[..], &b"/a"[..], true),
            (b"/a", b"/a", true),
            (b"/ab", b"/a", false),
            (b"/a/b", b"", true),
            (b"/", b"", true),
            (b"/a/b", b"/", true),
            (b"/", b"/", true),
            (b"/../b", b"/", false),
            (b"/", b"/a", false),
            (b"/../b", b"", false),
            (b"/../b", b"/..", true),
            (b"/../..", b"/..", false),
        ] {
            assert_eq!(is_within(path, group), within, "{path:?} {group:?}");
        }
    }
}
