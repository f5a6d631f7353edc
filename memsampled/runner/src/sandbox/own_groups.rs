//! The directories of our own control groups, in which those of attempts are made.

use std::path::{Path, PathBuf};

use memsample::cgroups::{Hierarchies, Hierarchy, own_groups};

use super::kernel_file;

/// What the answer follows from: the groups of this process, and what is mounted where.
const SOURCES: [&str; 2] = ["/proc/self/cgroup", "/proc/self/mountinfo"];

/// A directory in each hierarchy of use, with the controller of version 1.
pub(super) type Parents = Vec<(Option<&'static str>, PathBuf)>;

/// The directories of our own groups, looked for again whenever the kernel says something else of them.
///
/// To see that a directory is that of our group all members of it are listed: thousands on a machine whose groups of
/// version 1 are the roots.
#[derive(Debug, Default)]
pub(super) struct KnownParents {
    /// What the kernel said when they were found; `None` where it did not say all.
    said: Option<[Vec<u8>; 2]>,
    found: Parents,
}

impl KnownParents {
    /// Returns them as they are now.
    pub(super) fn now(&mut self) -> &Parents {
        // Read before they are looked for: what changes meanwhile is seen the next time.
        let said = said();
        if said.is_none() || said != self.said {
            (self.said, self.found) = (said, parents());
        }
        &self.found
    }
}

fn said() -> Option<[Vec<u8>; 2]> {
    let [groups, mounts] = SOURCES.map(|file| kernel_file::bytes(file).ok());
    Some([groups?, mounts?])
}

/// Returns the directory of our own group in each hierarchy of use: for version 1 with its controller, for version 2
/// without. Version 1 comes first, since a hybrid has the memory controller there.
///
/// A hierarchy that does not show our own group is left out: a group elsewhere would be outside of the limits of our own, and
/// out of reach of whoever ends all that is in that.
pub(super) fn parents() -> Parents {
    own_directories(Hierarchy::own_directory)
}

/// Returns the directories that `find` gives for our own groups, with the controller of version 1.
pub(super) fn own_directories(find: impl Fn(&Hierarchy, &Path) -> Option<PathBuf>) -> Parents {
    let hierarchies = Hierarchies::mounted();
    let mut found = Vec::new();
    for group in own_groups() {
        let has = |name: &&str| group.controllers.iter().any(|controller| controller == name);
        let controller = ["memory", "pids", "freezer", "cpuacct"].into_iter().find(has);
        if !group.is_v2() && controller.is_none() {
            continue;
        }
        let hierarchy = hierarchies.of_group(&group);
        if let Some(own) = hierarchy.and_then(|hierarchy| find(hierarchy, &group.path)) {
            found.push((controller, own));
        }
    }
    found.sort_by_key(|(controller, _)| controller.is_none());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_what_is_found() {
        let mut known = KnownParents::default();
        for _ in 0..2 {
            assert_eq!(*known.now(), parents());
        }
        // As if this process had been elsewhere.
        let elsewhere =
            KnownParents { said: Some(Default::default()), found: vec![(None, "/a".into())] };
        assert_eq!(*{ elsewhere }.now(), parents());
    }
}
