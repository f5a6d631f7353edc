//! Opening the hierarchies whose groups are read: those that are mounted, or a captured copy.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::io::Errno;

use crate::cgroups::{Hierarchies, Hierarchy, Version, append_below, own_groups};
use crate::scope::levels_up;

/// What `fstatfs` says of the two kinds of file systems of control groups.
const CGROUP_SUPER_MAGIC: u64 = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// The hierarchies that have files about memory.
pub(crate) struct OpenHierarchies {
    /// That of v1 with the memory controller, or else v2: as the group in `processes` is chosen.
    pub(super) memory: Option<OpenHierarchy>,
    /// That of v2, which alone has the pressure. On a hybrid machine it is another one.
    pub(super) pressure: Option<OpenHierarchy>,
}

/// A hierarchy of control groups: one that is mounted, or a captured copy.
pub(super) struct OpenHierarchy {
    directory: OwnedFd,
    pub(super) version: Version,
    /// The path of the group that the mount shows as its root.
    root: Vec<u8>,
    /// Where the root of the control group namespace is below the mount, if the mount shows more than that.
    namespace: Option<Vec<u8>>,
    /// Whether the kernel answers here, so that a kept descriptor follows its group.
    pub(super) live: bool,
}

impl OpenHierarchies {
    /// Opens what is mounted, as this process sees it.
    pub(crate) fn mounted() -> Self {
        let mounted = Hierarchies::mounted();
        let open = |hierarchy: &Hierarchy| {
            let root = hierarchy.root().as_os_str().as_bytes();
            let opened = OpenHierarchy::open(hierarchy.mount_point(), root, hierarchy.version())?;
            let namespace = hierarchy.namespace().map(|path| path.as_os_str().as_bytes().to_vec());
            Some(OpenHierarchy { namespace, ..opened })
        };
        let memory = mounted.v1("memory").and_then(open).or_else(|| mounted.v2().and_then(open));
        Self { memory, pressure: mounted.v2().and_then(open) }
    }

    /// Opens a copy of `/sys/fs/cgroup`, of v1, v2 or both.
    pub(crate) fn captured(root: &Path) -> Self {
        let open = |path: &Path, version| OpenHierarchy::open(path, b"/", version);
        let is_v2 = |path: &Path| path.join("cgroup.controllers").exists();
        let v2 = |path: &Path| is_v2(path).then(|| open(path, Version::V2)).flatten();
        let unified = || v2(root).or_else(|| v2(&root.join("unified")));
        let memory = open(&root.join("memory"), Version::V1);
        let memory = if is_v2(root) { unified() } else { memory.or_else(unified) };
        Self { memory, pressure: unified() }
    }

    /// Describes what is missing, for the reader of the recording.
    pub(crate) fn note(&self) -> Option<String> {
        self.memory.is_none().then(|| {
            "no control groups with the memory controller are mounted here: the table `cgroups` is empty"
                .to_owned()
        })
    }

    /// Describes that the group of this process, whose limit matters most, cannot be read, if so.
    pub(crate) fn own_group_note(&self) -> Option<String> {
        let memory = self.memory.as_ref().filter(|memory| memory.live)?;
        let own = own_groups().into_iter().find(|group| match memory.version {
            Version::V1 => group.controllers.iter().any(|name| name == "memory"),
            Version::V2 => group.is_v2(),
        })?;
        let path = own.path.as_os_str().as_bytes();
        memory.open_file(path, b"cgroup.procs", &mut Vec::new()).is_err().then(|| {
            format!(
                "the control group of this program, `{}`, is not shown by what is mounted here: its memory and its limit \
                 are not in the table `cgroups`",
                own.path.display()
            )
        })
    }
}

impl OpenHierarchy {
    fn open(path: &Path, root: &[u8], version: Version) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty()).ok()?;
        let kind = fstatfs(&directory).ok()?.f_type;
        let live = u64::try_from(kind)
            .is_ok_and(|kind| [CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC].contains(&kind));
        Some(Self { directory, version, root: root.to_vec(), namespace: None, live })
    }

    /// Returns how many levels above the root of the control group namespace can be read.
    pub(super) fn levels_above_namespace(&self) -> usize {
        if self.namespace.is_some() { levels_up(&self.root).0 } else { 0 }
    }

    /// Opens a file of a group, or with an empty name its directory. `path` is memory for its path.
    pub(super) fn open_file(
        &self,
        group: &[u8],
        name: &[u8],
        path: &mut Vec<u8>,
    ) -> Result<OwnedFd, Errno> {
        path.clear();
        path.push(b'.');
        if !append_below(&self.root, self.namespace.as_deref(), group, path) {
            return Err(Errno::NOENT);
        }
        let flags = if name.is_empty() {
            OFlags::PATH | OFlags::DIRECTORY
        } else {
            path.push(b'/');
            path.extend_from_slice(name);
            OFlags::RDONLY
        };
        openat(&self.directory, path.as_slice(), flags | OFlags::CLOEXEC, Mode::empty())
    }
}
