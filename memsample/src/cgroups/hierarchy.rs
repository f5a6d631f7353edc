use std::os::fd::OwnedFd;
use std::path::Path;

use procfs::process::{MountInfo, Process};
use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// What `fstatfs` says of the two kinds of file systems of control groups.
const CGROUP_SUPER_MAGIC: u64 = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// Which files a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Version {
    V1,
    V2,
}

/// A hierarchy of control groups: one that is mounted, or a captured copy.
pub(super) struct Hierarchy {
    directory: OwnedFd,
    pub(super) version: Version,
    /// The path of the group that the mount shows as its root. Empty for the root of the hierarchy.
    mounted: Vec<u8>,
    /// Whether the kernel answers here, so that a kept descriptor follows its group.
    pub(super) live: bool,
}

/// The hierarchies that tell of memory.
pub(crate) struct Hierarchies {
    /// That of v1 with the memory controller, or else v2: as the group in `processes` is chosen.
    pub(super) memory: Option<Hierarchy>,
    /// That of v2, which alone has the pressure. On a hybrid machine it is another one.
    pub(super) pressure: Option<Hierarchy>,
}

impl Hierarchies {
    /// Opens what is mounted, as this program sees it.
    pub(crate) fn mounted() -> Self {
        // Read once at the start, so a crate that allocates will do.
        let mounts = Process::myself().and_then(|process| process.mountinfo());
        let mounts: Vec<MountInfo> =
            mounts.map(IntoIterator::into_iter).into_iter().flatten().collect();
        let find = |version| {
            let wanted = |mount: &&MountInfo| match version {
                Version::V1 => {
                    mount.fs_type == "cgroup" && mount.super_options.contains_key("memory")
                }
                Version::V2 => mount.fs_type == "cgroup2",
            };
            // One may be mounted twice, in part: the largest part shows the most.
            let mount = mounts.iter().filter(wanted).min_by_key(|mount| mount.root.len())?;
            Hierarchy::open(&mount.mount_point, mount.root.as_bytes(), version)
        };
        let memory = find(Version::V1).or_else(|| find(Version::V2));
        Self { memory, pressure: find(Version::V2) }
    }

    /// Opens a copy of `/sys/fs/cgroup`, of v1, v2 or both.
    pub(crate) fn captured(root: &Path) -> Self {
        let open = |path: &Path, version| Hierarchy::open(path, b"/", version);
        let is_v2 = |path: &Path| path.join("cgroup.controllers").exists();
        let v2 = |path: &Path| is_v2(path).then(|| open(path, Version::V2)).flatten();
        let unified = || v2(root).or_else(|| v2(&root.join("unified")));
        let memory = open(&root.join("memory"), Version::V1);
        let memory = if is_v2(root) { unified() } else { memory.or_else(unified) };
        Self { memory, pressure: unified() }
    }

    /// Says what is missing, for whoever reads the recording.
    pub(crate) fn note(&self) -> Option<String> {
        self.memory.is_none().then(|| {
            "no control groups with the memory controller are mounted here: the table `cgroups` is empty"
                .to_owned()
        })
    }
}

impl Hierarchy {
    fn open(path: &Path, root: &[u8], version: Version) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty()).ok()?;
        let kind = fstatfs(&directory).ok()?.f_type;
        let live = u64::try_from(kind)
            .is_ok_and(|kind| [CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC].contains(&kind));
        let mounted = if root == b"/" { Vec::new() } else { root.to_vec() };
        Some(Self { directory, version, mounted, live })
    }

    /// Opens a file of a group, or with an empty name its directory. `path` is memory for its path.
    pub(super) fn open_file(
        &self,
        group: &[u8],
        name: &[u8],
        path: &mut Vec<u8>,
    ) -> Result<OwnedFd, Errno> {
        let below = group.strip_prefix(self.mounted.as_slice()).ok_or(Errno::NOENT)?;
        // `/..` stands for what is outside of the namespace; a crafted copy must not lead outside
        // either.
        let outside = below.split(|&byte| byte == b'/').any(|part| part == b"..");
        if outside || !(below.is_empty() || below.starts_with(b"/")) {
            return Err(Errno::NOENT);
        }
        path.clear();
        path.push(b'.');
        path.extend_from_slice(below);
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
