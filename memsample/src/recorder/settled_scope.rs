//! A scope that stands for the same processes for ever.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Component;

use crate::error::ReadError;
use crate::identity::{Comm, Identity};
use crate::proc::{ProcRoot, ReadBuffer};
use crate::sampler::{TestScope, lack_of_memory, memory_cgroup, read_file, start_and_name_of};
use crate::scope::{Scope, ScopeError, is_within};
use crate::units::{ClockTicks, START_STEP_NS};

/// Children of a launcher that are looked at, at most: when it is asked for its group it has one.
const MAX_CHILDREN: usize = 16;

/// A scope that stands for the same processes for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SettledScope {
    Machine,
    Tree {
        root: Root,
        /// The control group that was made for it: the kernel knows its members whatever is known of their parents.
        group: Option<Vec<u8>>,
    },
    /// The components of the path, each behind a `/`; empty for the root group.
    Cgroup(Vec<u8>),
}

/// The process at the root of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) pid: i32,
    pub(super) start: ClockTicks,
    /// The name of a launcher: images that have it do not count.
    pub(super) launcher: Option<Comm>,
}

impl SettledScope {
    /// Finds out which processes are meant.
    pub(super) fn of(scope: &Scope, root: &ProcRoot) -> Result<Self, ScopeError> {
        match scope {
            Scope::Machine => Ok(Self::Machine),
            Scope::Tree { pid } => {
                let (start, _) = look_at(root, *pid)?;
                Ok(Self::Tree { root: Root { pid: *pid, start, launcher: None }, group: None })
            }
            Scope::Launched { by, group } => {
                let missing = || ScopeError::NoProcess(*by, io::ErrorKind::NotFound.into());
                let pid = root.pid_of_descendant(*by).ok_or_else(missing)?;
                let (start, name) = look_at(root, pid)?;
                let group = group.as_ref().and_then(|group| group_below(root, pid, group));
                Ok(Self::Tree { root: Root { pid, start, launcher: Some(name) }, group })
            }
            Scope::Cgroup(path) => {
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
                    true => Ok(Self::Cgroup(bytes)),
                    false => Err(ScopeError::NotACgroup(path.clone())),
                }
            }
        }
    }
}

impl SettledScope {
    /// Finds out which processes a recording is limited to.
    ///
    /// # Errors
    ///
    /// Also of a process without memory: nothing would be recorded.
    pub(super) fn of_target(target: &Scope, root: &ProcRoot) -> Result<Self, ScopeError> {
        if let Scope::Tree { pid } = target
            && let Some(reason) = lack_of_memory(root, *pid)
                .map_err(|error| ScopeError::NoProcess(*pid, io_error(error)))?
        {
            return Err(ScopeError::NoProcess(*pid, io::Error::other(reason)));
        }
        Self::of(target, root)
    }

    /// Returns the control group that was made for a tree, if a process is in it.
    pub(super) fn group_of(&self, identity: &Identity) -> Option<&[u8]> {
        let Self::Tree { group: Some(group), .. } = self else { return None };
        let path = identity.cgroup.as_deref()?;
        is_within(path, group).then_some(group)
    }

    /// Returns the scope as the sampler knows it; `None` for the machine, of which nobody comes first.
    pub(super) fn of_test(&self) -> Option<TestScope> {
        match self {
            Self::Machine => None,
            Self::Tree { root: Root { pid, start, launcher }, .. } => {
                Some(TestScope::Tree { pid: *pid, start: *start, launcher: *launcher })
            }
            Self::Cgroup(path) => Some(TestScope::Cgroup(path.clone())),
        }
    }
}

impl Root {
    /// Returns when it began, in nanoseconds since boot, to the step of `stat`.
    pub(super) fn start_ns(self) -> u64 {
        self.start.0.saturating_mul(START_STEP_NS)
    }

    pub(super) fn is(self, identity: &Identity) -> bool {
        (self.pid, self.start) == (identity.pid, identity.start)
    }

    /// Returns whether an image in the tree counts.
    pub(super) fn counts(self, identity: &Identity) -> bool {
        self.launcher != Some(identity.comm)
    }
}

fn look_at(root: &ProcRoot, pid: i32) -> Result<(ClockTicks, Comm), ScopeError> {
    start_and_name_of(root, pid).map_err(|error| ScopeError::NoProcess(pid, io_error(error)))
}

/// Returns the path of the control group of this name that a child of a process is in; `None` where none is.
fn group_below(root: &ProcRoot, pid: i32, name: &str) -> Option<Vec<u8>> {
    let mut buffer = ReadBuffer::new();
    root.children(pid).into_iter().take(MAX_CHILDREN).find_map(|child| {
        let directory = root.open_process(child).ok()?;
        let path = memory_cgroup(read_file(root, &mut buffer, &directory, c"cgroup").ok()?)?;
        let (mut end, mut components) = (0, path.split(|&byte| byte == b'/'));
        let is_it = |component: &[u8]| {
            end += component.len() + 1;
            component == name.as_bytes()
        };
        components.any(is_it).then(|| path.get(..end - 1).map(<[u8]>::to_vec))?
    })
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
    fn paths_are_settled_or_refused() {
        let root = ProcRoot::open("/proc".as_ref()).unwrap();
        let settle = |path: &str| SettledScope::of(&Scope::Cgroup(path.into()), &root).ok();
        let cgroup = |bytes: &[u8]| Some(SettledScope::Cgroup(bytes.to_vec()));
        assert_eq!(settle("/"), cgroup(b""));
        assert_eq!(settle("/a//b/"), cgroup(b"/a/b"));
        for path in ["", "a", "/a/../b"] {
            assert_eq!(settle(path), None, "{path}");
        }
        assert!(matches!(
            SettledScope::of(&Scope::Tree { pid: -5 }, &root),
            Err(ScopeError::NoProcess(-5, _))
        ));
        let launched = Scope::Launched { by: -5, group: None };
        assert!(matches!(SettledScope::of(&launched, &root), Err(ScopeError::NoProcess(-5, _))));
    }
}
