use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::ReadError;
use crate::identity::Identity;
use crate::proc::ProcRoot;
use crate::sampler::start_of;
use crate::units::ClockTicks;

/// Which processes belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every process there is.
    #[default]
    Machine,
    /// A process and all that descend from it, as long as one of them lives.
    ///
    /// A child counts when its parent was a member at the time the child was first seen, and goes on
    /// to count when it is given another parent. With exit records and births told by the kernel
    /// nothing is missed; else a process counts for nobody whose parent ended before the two were
    /// seen together.
    Tree {
        /// The process at the root. Which process that is, is settled at once: by its start.
        pid: i32,
    },
    /// The processes of a control group, and of those below it.
    ///
    /// The path is that of `/proc/PID/cgroup`, absolute, and of the hierarchy of the column
    /// `processes.cgroup`: v1 memory where a process has one, else v2. It is compared when a process
    /// is first seen and at each exec, not when it is moved in between.
    #[serde(serialize_with = "as_text")]
    Cgroup(PathBuf),
}

/// Writes a path that need not be UTF-8: what tells of a recording may not make it fail.
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

/// A scope that stands for the same processes for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SettledScope {
    Machine,
    Tree(Root),
    /// The components of the path, each behind a `/`; empty for the root group.
    Cgroup(Vec<u8>),
}

/// The process at the root of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) pid: i32,
    pub(super) start: ClockTicks,
}

impl Scope {
    /// Finds out which processes are meant.
    pub(super) fn settle(&self, root: &ProcRoot) -> Result<SettledScope, ScopeError> {
        match self {
            Self::Machine => Ok(SettledScope::Machine),
            Self::Tree { pid } => match start_of(root, *pid) {
                Ok(start) => Ok(SettledScope::Tree(Root { pid: *pid, start })),
                Err(error) => Err(ScopeError::NoProcess(*pid, io_error(error))),
            },
            Self::Cgroup(path) => {
                let mut components = path.components();
                let absolute = components.next() == Some(Component::RootDir);
                let mut bytes = Vec::new();
                for component in components {
                    let Component::Normal(name) = component else {
                        return Err(ScopeError::NotACgroup(path.clone()));
                    };
                    bytes.push(b'/');
                    bytes.extend_from_slice(name.as_bytes());
                }
                match absolute {
                    true => Ok(SettledScope::Cgroup(bytes)),
                    false => Err(ScopeError::NotACgroup(path.clone())),
                }
            }
        }
    }
}

impl Root {
    pub(super) fn is(self, identity: &Identity) -> bool {
        (self.pid, self.start) == (identity.pid, identity.start)
    }
}

/// Says whether the control group `path` is `group` or below it.
pub(super) fn is_within(path: &[u8], group: &[u8]) -> bool {
    path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn io_error(error: ReadError) -> io::Error {
    match error {
        ReadError::Io(error) => error,
        ReadError::Gone => io::ErrorKind::NotFound.into(),
        ReadError::Denied => io::ErrorKind::PermissionDenied.into(),
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_ends_where_a_name_ends() {
        for (path, group, within) in [
            (&b"/a/b"[..], &b"/a"[..], true),
            (b"/a", b"/a", true),
            (b"/ab", b"/a", false),
            (b"/a/b", b"", true),
            (b"/", b"", true),
            (b"/", b"/a", false),
        ] {
            assert_eq!(is_within(path, group), within, "{path:?} {group:?}");
        }
    }

    #[test]
    fn paths_are_settled_or_refused() {
        let root = ProcRoot::open("/proc".as_ref()).unwrap();
        let settle = |path: &str| Scope::Cgroup(path.into()).settle(&root).ok();
        let cgroup = |bytes: &[u8]| Some(SettledScope::Cgroup(bytes.to_vec()));
        assert_eq!(settle("/"), cgroup(b""));
        assert_eq!(settle("/a//b/"), cgroup(b"/a/b"));
        for path in ["", "a", "/a/../b"] {
            assert_eq!(settle(path), None, "{path}");
        }
        assert!(matches!(Scope::Tree { pid: -5 }.settle(&root), Err(ScopeError::NoProcess(-5, _))));
    }
}
