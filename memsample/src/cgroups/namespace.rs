//! Control group namespaces: their root is a group of the machine's hierarchy, and what is outside of it begins with `/..`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::scope::levels_up;

/// Groups that are looked at, at most, until the own one is found: a large machine has some thousands.
const MAX_GROUPS: usize = 20_000;

/// Appends to `to` the path of `group` below the group that a mount shows as its root: empty, or with a `/` at its start.
/// Says whether the mount shows the group, as far as the paths say.
///
/// `root` and `group` are as in mountinfo and `/proc/PID/cgroup`: relative to the root of the namespace of the reader.
/// `namespace` is where that is below the mount, if known: it is needed where the mount shows more than the namespace.
pub(crate) fn append_below(
    root: &[u8],
    namespace: Option<&[u8]>,
    group: &[u8],
    to: &mut Vec<u8>,
) -> bool {
    let (levels, rest) = levels_up(group);
    let Some(mut base) = namespace else {
        let below = relative_to(root, group);
        to.extend_from_slice(below.unwrap_or_default());
        return below.is_some();
    };
    for _ in 0..levels {
        let Some(slash) = base.iter().rposition(|&byte| byte == b'/') else { return false };
        base = base.get(..slash).unwrap_or_default();
    }
    // A crafted path must not lead outside either.
    let rest = if rest == b"/" { b"" } else { rest };
    if leads_up(rest) || !(rest.is_empty() || rest.starts_with(b"/")) {
        return false;
    }
    to.extend_from_slice(base);
    to.extend_from_slice(rest);
    true
}

/// Returns the path of a group relative to the group `root`: empty, or with a `/` at its start. `None` if the
/// group is not `root` or below it, as far as the paths say.
fn relative_to<'a>(root: &[u8], group: &'a [u8]) -> Option<&'a [u8]> {
    let root = if root == b"/" { b"" } else { root };
    let below = group.strip_prefix(root)?;
    (!leads_up(below) && (below.is_empty() || below.starts_with(b"/"))).then_some(below)
}

fn leads_up(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|part| part == b"..")
}

/// Looks for the root of the namespace of this process below a mount whose own root is `levels` above it: the kernel does
/// not name it, but the group that this process is in lists it among its processes. `own` is that group.
pub(super) fn find_root(mount_point: &Path, levels: usize, own: &Path) -> Option<PathBuf> {
    find_process(mount_point, levels, own, std::process::id())
}

fn find_process(mount_point: &Path, levels: usize, own: &Path, pid: u32) -> Option<PathBuf> {
    let mut of_level = vec![PathBuf::new()];
    let mut seen = 0;
    for _ in 0..levels {
        let mut next = Vec::new();
        for group in of_level {
            for entry in fs::read_dir(mount_point.join(&group)).into_iter().flatten().flatten() {
                seen += 1;
                if seen > MAX_GROUPS {
                    return None;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    next.push(group.join(entry.file_name()));
                }
            }
        }
        of_level = next;
    }
    of_level.into_iter().map(|group| absolute(&group)).find(|group| {
        let mut path = Vec::new();
        append_below(
            b"/",
            Some(group.as_os_str().as_bytes()),
            own.as_os_str().as_bytes(),
            &mut path,
        ) && has_process(&below(mount_point, &path), pid)
    })
}

/// Returns the directory of a group, whose path below the mount is empty or begins with a `/`.
pub(super) fn below(mount_point: &Path, path: &[u8]) -> PathBuf {
    match path.strip_prefix(b"/").unwrap_or_default() {
        b"" => mount_point.to_owned(),
        path => mount_point.join(OsString::from_vec(path.to_vec())),
    }
}

/// Returns whether a process is in the group of a directory.
pub(super) fn has_process(directory: &Path, pid: u32) -> bool {
    let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    processes.lines().any(|line| line.parse() == Ok(pid))
}

fn absolute(group: &Path) -> PathBuf {
    match group.as_os_str().is_empty() {
        true => PathBuf::new(),
        false => Path::new("/").join(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_whatever_the_mount_shows_of_the_namespace() {
        let below = |root: &str, namespace: Option<&str>, group: &str| {
            let mut path = Vec::new();
            append_below(root.as_bytes(), namespace.map(str::as_bytes), group.as_bytes(), &mut path)
                .then(|| String::from_utf8(path).unwrap())
        };
        let at = Some("/a/b");
        for (group, expected) in [
            ("/", Some("/a/b")),
            ("/x/y", Some("/a/b/x/y")),
            ("/..", Some("/a")),
            ("/../c/d", Some("/a/c/d")),
            ("/../..", Some("")),
            ("/../../z", Some("/z")),
            ("/../../..", None),
            ("/x/../..", None),
            ("/..x", Some("/a/b/..x")),
            ("x", None),
        ] {
            assert_eq!(below("/../..", at, group).as_deref(), expected, "{group}");
        }
        assert_eq!(below("/..", None, "/../c").as_deref(), Some("/c"));
        assert_eq!(below("/..", None, "/"), None);
    }

    #[test]
    fn the_root_is_the_group_that_lists_the_process() {
        let mount = tempfile::tempdir().unwrap();
        for (group, processes) in
            [("a", "1\n"), ("a/b", "7\n12\n"), ("c", "3\n"), ("c/b", ""), ("c/b/own", "127\n")]
        {
            let directory = mount.path().join(group);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("cgroup.procs"), processes).unwrap();
        }
        let find = |levels, own, pid| find_process(mount.path(), levels, Path::new(own), pid);
        let path = |path| Some(PathBuf::from(path));
        assert_eq!(find(2, "/", 12), path("/a/b"));
        assert_eq!(find(2, "/own", 127), path("/c/b"));
        // A process outside of the root of its namespace.
        assert_eq!(find(2, "/..", 3), path("/c/b"));
        assert_eq!((find(1, "/", 12), find(2, "/", 2), find(3, "/", 7)), (None, None, None));
    }
}
