//! The mounted hierarchies, by `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::namespace::{append_below, below, find_root, has_process};
use super::{OwnGroup, Version, own_groups};
use crate::parse::{MountEntry, decode_path, parse_mountinfo};
use crate::scope::levels_up;

/// The hierarchies that are mounted, as this process sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// In the order of mountinfo. A hierarchy may be mounted more than once.
    mounts: Vec<Hierarchy>,
}

/// A mount of a hierarchy of control groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    version: Version,
    mount_point: PathBuf,
    /// The group that the mount shows as its root.
    root: PathBuf,
    /// Where the root of the control group namespace of this process is below the mount, if the mount shows more than the
    /// namespace and it was found: empty, or with a `/` at its start.
    namespace: Option<PathBuf>,
    /// Of version 1, the options of the file system, which name its controllers.
    options: Vec<String>,
}

impl Hierarchies {
    /// Reads which hierarchies are mounted; none if `/proc/self/mountinfo` cannot be read.
    ///
    /// Where a mount shows more than the control group namespace of this process, looks for the root of the namespace,
    /// which takes some milliseconds on a machine with a thousand groups.
    #[must_use]
    pub fn mounted() -> Self {
        let mut mounted = Self::parse(&std::fs::read("/proc/self/mountinfo").unwrap_or_default());
        let own = own_groups();
        for hierarchy in &mut mounted.mounts {
            let levels = hierarchy.levels_above_namespace();
            let group = own.iter().find(|group| hierarchy.has_group(group));
            if let Some(group) = group.filter(|_| levels > 0) {
                hierarchy.namespace = find_root(&hierarchy.mount_point, levels, &group.path);
            }
        }
        mounted
    }

    /// Parses the contents of `/proc/[pid]/mountinfo`; leaves out malformed lines.
    #[must_use]
    pub fn parse(mountinfo: &[u8]) -> Self {
        let entries = parse_mountinfo(mountinfo).filter_map(Result::ok);
        Self { mounts: entries.filter_map(|entry| Hierarchy::of_mount(&entry)).collect() }
    }

    /// Returns the hierarchy of version 1 with a controller, such as `memory`.
    #[must_use]
    pub fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        let has = |mount: &Hierarchy| mount.options.iter().any(|option| option == controller);
        self.largest(|mount| mount.version == Version::V1 && has(mount))
    }

    /// Returns the hierarchy of version 2.
    #[must_use]
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.largest(|mount| mount.version == Version::V2)
    }

    /// Returns the hierarchy that the column `processes.cgroup` refers to: that of version 1 with the memory
    /// controller, or else that of version 2.
    #[must_use]
    pub fn memory(&self) -> Option<&Hierarchy> {
        self.v1("memory").or_else(|| self.v2())
    }

    /// Returns the hierarchy that a group of this process is in, if it is mounted.
    #[must_use]
    pub fn of_group(&self, group: &OwnGroup) -> Option<&Hierarchy> {
        match group.controllers.first() {
            None => self.v2(),
            Some(controller) => self.v1(controller),
        }
    }

    /// Returns the mount that shows the most of a hierarchy: one may be mounted again, in part.
    fn largest(&self, wanted: impl Fn(&Hierarchy) -> bool) -> Option<&Hierarchy> {
        let mounts = self.mounts.iter().filter(|mount| wanted(mount));
        mounts.min_by_key(|mount| {
            let root = mount.root.as_os_str().as_bytes();
            let (levels, below) = levels_up(root);
            // The more levels above the namespace, the more it shows.
            (below.len(), std::cmp::Reverse(levels))
        })
    }
}

impl Hierarchy {
    fn of_mount(entry: &MountEntry<'_>) -> Option<Self> {
        let version = match entry.fs_type {
            b"cgroup" => Version::V1,
            b"cgroup2" => Version::V2,
            _ => return None,
        };
        let path = |encoded| PathBuf::from(OsString::from_vec(decode_path(encoded).collect()));
        let options = entry.super_options.split(|&byte| byte == b',');
        let options = match version {
            Version::V1 => options.map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
            Version::V2 => Vec::new(),
        };
        Some(Self {
            version,
            mount_point: path(entry.mount_point),
            root: path(entry.root),
            namespace: None,
            options,
        })
    }

    /// Returns the version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the directory where it is mounted.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Returns the group that the mount shows as its root. In a container that is not always `/`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where the root of the control group namespace of this process is below the mount, if the mount shows more
    /// than that.
    pub(crate) fn namespace(&self) -> Option<&Path> {
        self.namespace.as_deref()
    }

    /// Returns the directory of a group, whose path is as in `/proc/PID/cgroup`; `None` if the mount does not
    /// show it. The group need not exist.
    #[must_use]
    pub fn directory(&self, group: &Path) -> Option<PathBuf> {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let (root, namespace) = (bytes(&self.root), self.namespace.as_deref().map(bytes));
        let mut path = Vec::new();
        append_below(&root, namespace.as_deref(), &bytes(group), &mut path)
            .then(|| below(&self.mount_point, &path))
    }

    /// Returns the directory of the group of this process at `group`, if the mount shows it and it lists this process.
    ///
    /// In a container the paths alone can lead to another group of the same name.
    #[must_use]
    pub fn own_directory(&self, group: &Path) -> Option<PathBuf> {
        self.directory(group).filter(|path| has_process(path, std::process::id()))
    }

    /// Returns how many levels above the root of the control group namespace the mount begins.
    fn levels_above_namespace(&self) -> usize {
        match levels_up(self.root.as_os_str().as_bytes()) {
            (levels, b"") => levels,
            // A sibling of the namespace, or a group in it.
            _ => 0,
        }
    }

    fn has_group(&self, group: &OwnGroup) -> bool {
        match group.controllers.first() {
            None => self.version == Version::V2,
            Some(controller) => self.options.contains(controller),
        }
    }

    /// Returns the directory of a group that this process is in, or else the mount point: in a container the
    /// group may be outside of what is mounted, and the mount point is then all there is.
    #[must_use]
    pub fn nearest_directory(&self, group: &Path) -> PathBuf {
        let directory = self.directory(group).filter(|path| path.exists());
        directory.unwrap_or_else(|| self.mount_point.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                          35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                          40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                          41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";

    #[track_caller]
    fn check(line: &str, group: &str, directory: Option<&str>) {
        let hierarchies = Hierarchies::parse(line.as_bytes());
        let hierarchy = hierarchies.memory().unwrap();
        assert_eq!(hierarchy.directory(group.as_ref()).as_deref(), directory.map(Path::new));
    }

    #[test]
    fn a_hybrid_machine_has_its_controllers_on_version_1() {
        let hierarchies = Hierarchies::parse(HYBRID.as_bytes());
        let point = |hierarchy: Option<&Hierarchy>| hierarchy.map(|it| it.mount_point().to_owned());
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(point(hierarchies.v1("memory")), path("/sys/fs/cgroup/memory"));
        assert_eq!(point(hierarchies.v1("cpuacct")), path("/sys/fs/cgroup/cpu"));
        assert_eq!(point(hierarchies.v1("pids")), None);
        assert_eq!(point(hierarchies.v2()), path("/sys/fs/cgroup/unified"));
        assert_eq!(hierarchies.memory().unwrap().version(), Version::V1);
        let groups = OwnGroup::parse(b"9:name=systemd:/\n3:pids:/\n2:cpu,cpuacct:/a\n0::/\n");
        let points: Vec<_> = groups.iter().map(|it| point(hierarchies.of_group(it))).collect();
        let [systemd, cpu, unified] =
            ["systemd", "cpu", "unified"].map(|name| path(&format!("/sys/fs/cgroup/{name}")));
        assert_eq!(points, [systemd, None, cpu, unified]);
    }

    #[test]
    fn version_2_alone_has_all_controllers() {
        let line = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let hierarchies = Hierarchies::parse(line.as_bytes());
        assert_eq!(hierarchies.v1("memory"), None);
        assert_eq!(hierarchies.memory(), hierarchies.v2());
        check(line, "/", Some("/sys/fs/cgroup"));
        check(line, "/a/b", Some("/sys/fs/cgroup/a/b"));
        check(line, "/a//b", Some("/sys/fs/cgroup/a/b"));
        check(line, "", Some("/sys/fs/cgroup"));
        check(line, "a", None);
    }

    #[test]
    fn a_group_is_found_in_a_hierarchy_that_is_mounted_in_part() {
        let line = "33 29 0:28 /docker/7 /mnt rw - cgroup2 cgroup2 rw";
        check(line, "/docker/7", Some("/mnt"));
        check(line, "/docker/7/self", Some("/mnt/self"));
        check(line, "/docker/77", None);
        check(line, "/elsewhere", None);
        check(line, "/", None);
    }

    #[test]
    fn a_group_outside_of_the_mount_is_nearest_to_the_mount_point() {
        let near = |line: &str, group: &str| {
            let hierarchies = Hierarchies::parse(line.as_bytes());
            hierarchies.memory().unwrap().nearest_directory(group.as_ref())
        };
        let v1 = "33 29 0:28 / / rw,relatime shared:9 - cgroup cgroup rw,cpu,memory";
        let v2 = "33 29 0:28 /docker/7 /proc rw - cgroup2 cgroup2 rw";
        assert_eq!(near(v1, "/proc"), Path::new("/proc"));
        assert_eq!(near(v1, "/no such group"), Path::new("/"));
        assert_eq!(near(v2, "/docker/7/self"), Path::new("/proc/self"));
        assert_eq!(near(v2, "/elsewhere"), Path::new("/proc"));
    }

    #[test]
    fn what_is_outside_of_the_namespace_is_found_only_by_a_mount_that_shows_it() {
        let inside = "33 29 0:28 / /mnt rw - cgroup2 cgroup2 rw";
        check(inside, "/../sibling", None);
        check(inside, "/a/../../b", None);
        // The mount was made outside of the namespace, and shows the parent of its root.
        let outside = "33 29 0:28 /.. /mnt rw - cgroup2 cgroup2 rw";
        check(outside, "/../sibling", Some("/mnt/sibling"));
        check(outside, "/..", Some("/mnt"));
        check(outside, "/../../x", None);
        check(outside, "/a", None);
    }

    #[test]
    fn escapes_of_mountinfo_are_decoded() {
        let line = r"33 29 0:28 /my\040job /run/c\134g rw - cgroup cgroup rw,memory";
        check(line, "/my job/a", Some(r"/run/c\g/a"));
    }

    #[test]
    fn the_largest_part_of_a_hierarchy_is_taken() {
        let twice = "33 29 0:28 /a/b /part rw - cgroup cgroup rw,memory\n\
                     34 29 0:28 / /whole rw - cgroup cgroup rw,memory\n\
                     35 29 0:28 / /again rw - cgroup cgroup rw,memory\n";
        check(twice, "/a/b", Some("/whole/a/b"));
        assert_eq!(Hierarchies::parse(b"garbage\n- cgroup\n"), Hierarchies::default());
    }

    #[test]
    fn this_machine_has_them_where_the_kernel_says() {
        for group in super::super::own_groups() {
            if let Some(hierarchy) = Hierarchies::mounted().of_group(&group) {
                let directory = hierarchy.nearest_directory(&group.path);
                assert!(directory.join("cgroup.procs").exists(), "{directory:?}");
                let own = hierarchy.own_directory(&group.path);
                assert!(own.is_none_or(|own| own == directory));
            }
        }
    }
}
