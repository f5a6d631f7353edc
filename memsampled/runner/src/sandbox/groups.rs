//! The control groups of an attempt: limits, what the kernel killed, and a kill that no process escapes.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memsample::cgroups::{OwnGroup, Version};
use rustix::process::Signal;

use super::kernel_file;
use super::listed::{self, Listed, is_gone};
use super::own_groups::{Parents, parents};
use super::processes::{IdentifiedProcess, has_run, identify, is_alive, is_ending, signal};

/// What a killed process needs, at most, until it is out of its group: it may wait for a disk.
const MAX_END: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(16);
/// What the kernel charges to a group at once, in pages. A group that is closer to its limit has reached it.
const CHARGE_PAGES: u64 = 64;
/// Groups below one that are looked at, at most.
const MAX_GROUPS: usize = 10_000;

/// The control groups of one attempt: one directory in each hierarchy that is of use.
///
/// Version 1 has a hierarchy for each controller, version 2 one for all; a hybrid has both.
#[derive(Debug, Default)]
pub(super) struct Groups {
    directories: Vec<(Version, PathBuf)>,
    /// Where the memory controller is.
    memory: Option<(Version, PathBuf)>,
    /// Where the pids controller is.
    processes: Option<PathBuf>,
    /// Where processes can be frozen, for a kill that none escapes.
    freezer: Option<(Version, PathBuf)>,
    /// The file that kills all.
    kill: Option<PathBuf>,
    /// Where CPU time is counted: every group of version 2 does, and one of version 1 with the controller cpuacct.
    cpu: Option<(Version, PathBuf)>,
}

/// What a process joins the groups by.
pub(super) struct GroupFiles {
    /// `tasks` of those of version 1.
    pub(super) tasks: Vec<File>,
    /// The directory of that of version 2, for who is started in it, and its `cgroup.procs`, for who is not.
    pub(super) unified: Option<(File, File)>,
}

/// What the kernel counted in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OomCounts {
    /// Processes of the group that were killed.
    pub(super) kills: u64,
    /// Whether the group's own limit was reached.
    pub(super) limit_reached: bool,
}

impl OomCounts {
    /// Returns the larger number of kills of two ways to count them, and whether either says that the limit was reached.
    pub(super) fn or_more(self, other: Self) -> Self {
        Self {
            kills: self.kills.max(other.kills),
            limit_reached: self.limit_reached || other.limit_reached,
        }
    }
}

impl Groups {
    /// Returns what is as if a group with the memory controller were there.
    #[cfg(test)]
    pub(super) fn with_memory(version: Version, path: &Path) -> Self {
        Self { memory: Some((version, path.to_owned())), ..Self::default() }
    }

    /// Creates a group of this name in each of our own that allows it.
    pub(super) fn create(parents: &Parents, name: &str) -> Self {
        let mut groups = Self::default();
        let mut cpuacct = None;
        for (controller, parent) in parents {
            match controller {
                Some("cpuacct") => cpuacct = Some(parent),
                Some(controller) => groups.create_v1(controller, &parent.join(name)),
                None => groups.create_v2(parent, name),
            }
        }
        // Only where nothing else counts: with it often comes the controller cpu, which gives each group a share.
        if let Some(parent) = cpuacct.filter(|_| groups.cpu.is_none()) {
            groups.create_v1("cpuacct", &parent.join(name));
        }
        groups
    }

    fn create_v1(&mut self, controller: &str, path: &Path) {
        if fs::create_dir(path).is_err() {
            return;
        }
        match controller {
            "memory" => self.memory = self.memory.take().or(Some((Version::V1, path.to_owned()))),
            "pids" => self.processes = self.processes.take().or(Some(path.to_owned())),
            "freezer" => {
                self.freezer = self.freezer.take().or(Some((Version::V1, path.to_owned())));
            }
            _ => {}
        }
        if path.join("cpuacct.usage").exists() {
            self.cpu = self.cpu.take().or(Some((Version::V1, path.to_owned())));
        }
        self.directories.push((Version::V1, path.to_owned()));
    }

    /// Creates the group in the nearest ancestor that delegates the memory controller, or else in the nearest.
    ///
    /// A group with processes in it cannot delegate a controller, so it is often not our own. But no group that limits
    /// anything is left: the limits of a job hold for its tests.
    fn create_v2(&mut self, own: &Path, name: &str) {
        let mut nearest = None;
        let mut inside_of_all_limits = true;
        for parent in own.ancestors().take_while(|path| path.join("cgroup.procs").exists()) {
            if !inside_of_all_limits {
                break;
            }
            inside_of_all_limits = !limits_anything(parent);
            let path = parent.join(name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let has = |controller: &str| {
                let text = kernel_file::text(path.join("cgroup.controllers")).unwrap_or_default();
                text.split_ascii_whitespace().any(|word| word == controller)
            };
            for controller in ["memory", "pids"].into_iter().filter(|controller| !has(controller)) {
                // The kernel may lack it, or we may not be allowed to delegate it.
                let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
            }
            if has("memory") || self.memory.is_some() {
                if let Some(nearest) = nearest.take() {
                    let _ = fs::remove_dir(nearest);
                }
                self.memory = self.memory.take().or(Some((Version::V2, path.clone())));
                return self.add_v2(path);
            }
            match nearest {
                None => nearest = Some(path),
                Some(_) => drop(fs::remove_dir(path)),
            }
        }
        if let Some(path) = nearest {
            self.add_v2(path);
        }
    }

    fn add_v2(&mut self, path: PathBuf) {
        if path.join("pids.max").exists() {
            self.processes = self.processes.take().or(Some(path.clone()));
        }
        if path.join("cgroup.freeze").exists() {
            self.freezer = Some((Version::V2, path.clone()));
        }
        if count(&path, "cpu.stat", "usage_usec ").is_some() {
            self.cpu = self.cpu.take().or(Some((Version::V2, path.clone())));
        }
        self.kill = Some(path.join("cgroup.kill")).filter(|file| file.exists());
        self.directories.push((Version::V2, path));
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.directories.iter().map(|(_, path)| path)
    }

    /// Returns whether none could be created.
    pub(super) fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// Limits memory and swap together.
    pub(super) fn limit_memory(&self, bytes: u64) -> Result<(), String> {
        let (version, path) = self.memory.as_ref().ok_or(
            "no control group with the memory controller can be made (see `memsample doctor`)",
        )?;
        let write = |file: &str, value: &str| {
            let path = path.join(file);
            fs::write(&path, value)
                .map_err(|error| format!("cannot write `{}`: {error}", path.display()))
        };
        let value = bytes.to_string();
        let (limit, swap, swap_value) = match version {
            Version::V1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", value.as_str()),
            Version::V2 => ("memory.max", "memory.swap.max", "0"),
        };
        write(limit, &value)?;
        // Not there where swap is not accounted.
        if path.join(swap).exists() {
            write(swap, swap_value)?;
        }
        Ok(())
    }

    /// Returns the limit of memory and swap together as it is now, in bytes; `None` where it cannot be read.
    pub(super) fn memory_limit_bytes(&self) -> Option<u64> {
        let (version, path) = self.memory.as_ref()?;
        let limit = |file: &str| match kernel_file::text(path.join(file)).ok()?.trim() {
            "max" => Some(u64::MAX),
            number => number.parse().ok(),
        };
        match version {
            Version::V1 => {
                limit("memory.memsw.limit_in_bytes").or_else(|| limit("memory.limit_in_bytes"))
            }
            Version::V2 => {
                let swap_bytes = limit("memory.swap.max").unwrap_or(0);
                Some(limit("memory.max")?.saturating_add(swap_bytes))
            }
        }
    }

    /// Limits the number of tasks; says whether that worked.
    pub(super) fn limit_processes(&self, count: u64) -> bool {
        self.processes
            .as_ref()
            .is_some_and(|path| fs::write(path.join("pids.max"), count.to_string()).is_ok())
    }

    /// Returns where the memory controller is.
    pub(super) fn memory(&self) -> Option<(Version, &Path)> {
        self.memory.as_ref().map(|(version, path)| (*version, path.as_path()))
    }

    /// Reads the CPU time of all that were ever in the groups, and in those below; `None` where none counts it.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        let (version, path) = self.cpu.as_ref()?;
        match version {
            Version::V1 => count(path, "cpuacct.usage", "").map(Duration::from_nanos),
            Version::V2 => count(path, "cpu.stat", "usage_usec ").map(Duration::from_micros),
        }
    }

    /// Returns whether memory or CPU time of a process is not counted in the groups, because it was moved to another.
    ///
    /// One that is being forked, and in version 1 one that ends, is shown in the root: only what has run by then, and does
    /// not end, was moved.
    pub(super) fn has_lost(&self, pid: i32) -> bool {
        self.is_elsewhere(pid) && has_run(pid) && self.is_elsewhere(pid) && !is_ending(pid)
    }

    fn is_elsewhere(&self, pid: i32) -> bool {
        let of_use = |group: &OwnGroup, found: &Option<(Version, PathBuf)>, controller: &str| {
            found.as_ref().is_some_and(|(version, _)| match version {
                Version::V1 => group.controllers.iter().any(|name| name == controller),
                Version::V2 => group.is_v2(),
            })
        };
        let name = self.paths().next().and_then(|path| path.file_name());
        // It may have ended.
        let bytes = kernel_file::bytes(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        OwnGroup::parse(&bytes).iter().any(|group| {
            (of_use(group, &self.memory, "memory") || of_use(group, &self.cpu, "cpuacct"))
                && !group.path.iter().any(|part| Some(part) == name)
        })
    }

    /// Opens what a process joins by.
    ///
    /// Of version 1 the thread alone joins that writes: it need not wait as long as a process must until every CPU has been
    /// at rest once, and has the other threads, if there are any, end when it executes its program.
    pub(super) fn open(&self) -> io::Result<GroupFiles> {
        let open = |path: &Path, file| OpenOptions::new().write(true).open(path.join(file));
        let mut files = GroupFiles { tasks: Vec::new(), unified: None };
        for (version, path) in &self.directories {
            match version {
                Version::V1 => files.tasks.push(open(path, "tasks")?),
                Version::V2 => {
                    files.unified = Some((File::open(path)?, open(path, "cgroup.procs")?));
                }
            }
        }
        Ok(files)
    }

    /// Returns what the kernel counted, where the memory controller is, also in groups that a test made below.
    ///
    /// What it counted in a group of version 1 that the test has removed is not in it: see the log of the kernel.
    pub(super) fn oom_counts(&self) -> Option<OomCounts> {
        let (version, path) = self.memory.as_ref()?;
        let value = |file: &str, key: &str| count(path, file, key);
        let sum = |file: &str| -> u64 {
            below(path).iter().filter_map(|group| count(group, file, "oom_kill ")).sum()
        };
        Some(match version {
            Version::V1 => OomCounts {
                // It came with Linux 4.13.
                kills: {
                    value("memory.oom_control", "oom_kill ")?;
                    // Each group counts its own only.
                    sum("memory.oom_control")
                },
                limit_reached: {
                    // Kernels count failures only in some paths, so the high-water mark counts too.
                    let failures = value("memory.failcnt", "")?;
                    let peak = value("memory.max_usage_in_bytes", "")?;
                    let limit = value("memory.limit_in_bytes", "")?;
                    let charge = CHARGE_PAGES * rustix::param::page_size() as u64;
                    failures > 0 || peak.saturating_add(charge) >= limit
                },
            },
            Version::V2 => OomCounts {
                // Those of the groups below are in it, unless the hierarchy is mounted with memory_localevents.
                kills: value("memory.events", "oom_kill ")?.max(sum("memory.events.local")),
                // A group below may have a limit of its own. The file came with Linux 5.2.
                limit_reached: value("memory.events.local", "oom ")
                    .or_else(|| value("memory.events", "oom "))?
                    > 0,
            },
        })
    }

    /// Returns whether a process in the groups lives, or in those that a test made below. Of thousands it looks at as many
    /// as it takes to find one.
    fn has_living(&self) -> bool {
        self.members().found.into_iter().any(is_alive)
    }

    /// Lists the processes in the groups, and in those that a test made below, whether or not they have ended, and says
    /// where that failed.
    pub(super) fn members(&self) -> Listed<i32> {
        let mut pids = BTreeSet::new();
        let mut failed = None;
        for directory in self.paths() {
            let Listed { found, error } = list_below(directory);
            failed = failed.or(error);
            for group in found {
                match kernel_file::text(group.join("cgroup.procs")) {
                    Ok(text) => {
                        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
                    }
                    // In a threaded group of version 2 processes are those of the group above.
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                    Err(error) if is_gone(&error) => {}
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        // 0 is a process of another pid namespace.
        pids.remove(&0);
        Listed { found: pids.into_iter().collect(), error: failed }
    }

    /// Returns the live processes in the groups.
    pub(super) fn identified(&self) -> Vec<IdentifiedProcess> {
        identify(self.members().found, || self.members().found)
    }

    /// Kills all processes in the groups; returns how many are left.
    pub(super) fn kill(&self) -> usize {
        let by_file = self.kill.as_ref().is_some_and(|file| fs::write(file, "1").is_ok());
        let deadline = Instant::now() + MAX_END;
        let mut pause = PAUSE;
        loop {
            // What a test has frozen, whichever hierarchy kills: what is frozen in version 1 does not end.
            self.thaw();
            if !self.has_living() {
                return 0;
            }
            if Instant::now() > deadline {
                return self.members().found.into_iter().filter(|&pid| is_alive(pid)).count();
            }
            if !by_file {
                self.freeze(true, deadline);
                signal(&self.identified(), Signal::KILL);
                self.freeze(false, deadline);
            } else if pause > PAUSE {
                // A process may have left only one of the groups.
                signal(&self.identified(), Signal::KILL);
            }
            // Thousands need longer to end, the more so the more often they are looked at.
            std::thread::sleep(pause);
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Thaws all groups and those below them, the deepest first, so that none freezes again what is thawed above.
    pub(super) fn thaw(&self) {
        for directory in self.paths().flat_map(|path| below(path).into_iter().rev()) {
            for (file, state) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
                // Where there is no such file, nothing is made.
                if let Ok(mut file) = OpenOptions::new().write(true).open(directory.join(file)) {
                    let _ = file.write_all(state.as_bytes());
                }
            }
        }
    }

    fn freeze(&self, frozen: bool, deadline: Instant) {
        let Some((version, path)) = &self.freezer else { return };
        match version {
            Version::V2 => {
                drop(fs::write(path.join("cgroup.freeze"), if frozen { "1" } else { "0" }))
            }
            Version::V1 => {
                let (file, state) =
                    (path.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" });
                let reached = || kernel_file::text(&file).map_or(true, |text| text.trim() == state);
                let _ = fs::write(&file, state);
                while !reached() && Instant::now() < deadline {
                    std::thread::sleep(PAUSE);
                    // Freezing is tried again by writing again.
                    let _ = fs::write(&file, state);
                }
            }
        }
    }

    /// Kills all processes in the groups, and removes the groups and those below; returns those that could not be removed.
    pub(super) fn end(&self) -> Vec<PathBuf> {
        // The kernel removes none that has processes or groups below; most have neither, and are not looked at.
        let is_removed = |path: &PathBuf| match fs::remove_dir(path) {
            Ok(()) => true,
            Err(error) => is_gone(&error),
        };
        if self.paths().all(is_removed) {
            return Vec::new();
        }
        self.kill();
        self.remove()
    }

    /// Removes the groups and those below; returns those that could not be removed.
    fn remove(&self) -> Vec<PathBuf> {
        let deadline = Instant::now() + MAX_END;
        let mut left = Vec::new();
        for directory in self.paths() {
            loop {
                for path in below(directory).into_iter().rev() {
                    let _ = fs::remove_dir(path);
                }
                if !directory.exists() {
                    break;
                }
                if Instant::now() > deadline {
                    left.push(directory.clone());
                    break;
                }
                std::thread::sleep(PAUSE);
            }
        }
        left
    }
}

/// What control groups can do here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controllers {
    /// The version that has the memory controller.
    pub(crate) memory: Option<u8>,
    pub(crate) pids: bool,
    pub(crate) freezer: bool,
    pub(crate) kill_file: bool,
    /// Whether CPU time is counted.
    pub(crate) cpu: bool,
}

/// Tests what control groups can do here, by creating one.
pub(crate) fn controllers() -> Controllers {
    let groups = Groups::create(&parents(), &format!("memsample-{}-try", std::process::id()));
    let found = Controllers {
        memory: groups.memory.as_ref().map(|(version, _)| match version {
            Version::V1 => 1,
            Version::V2 => 2,
        }),
        pids: groups.processes.is_some(),
        freezer: groups.freezer.is_some(),
        kill_file: groups.kill.is_some(),
        cpu: groups.cpu_time().is_some(),
    };
    // Nothing was ever in it.
    groups.end();
    found
}

/// Kills what is in the groups of a supervisor that was killed, and removes them.
pub(super) fn remove_left(name: &str) {
    let parents = parents();
    let near = |(controller, path): &(Option<&str>, PathBuf)| -> Vec<(Version, PathBuf)> {
        let version = if controller.is_some() { Version::V1 } else { Version::V2 };
        let groups = path.ancestors().take_while(|path| path.join("cgroup.procs").exists());
        let groups = groups.map(|group| group.join(name)).filter(|path| path.exists());
        groups.map(|group| (version, group)).collect()
    };
    let directories: Vec<_> = parents.iter().flat_map(near).collect();
    let kill = |(_, path): &(Version, PathBuf)| {
        Some(path.join("cgroup.kill")).filter(|file| file.exists())
    };
    let kill = directories.iter().find_map(kill);
    let groups = Groups { directories, kill, ..Groups::default() };
    groups.end();
}

/// Reads the number behind `key` in a file of a group.
fn count(group: &Path, file: &str, key: &str) -> Option<u64> {
    let text = kernel_file::text(group.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

/// Returns whether a group of version 2 limits its processes in any way.
fn limits_anything(group: &Path) -> bool {
    ["memory.max", "memory.high", "memory.swap.max", "pids.max", "cpu.max"].iter().any(|file| {
        let text = kernel_file::text(group.join(file)).unwrap_or_default();
        !text.is_empty() && !text.starts_with("max")
    })
}

/// Returns a group and all below it that can be listed, parents first.
fn below(path: &Path) -> Vec<PathBuf> {
    list_below(path).found
}

/// Lists a group and all below it, parents first, and says where that failed.
fn list_below(path: &Path) -> Listed<PathBuf> {
    let mut below = Listed { found: vec![path.to_owned()], error: None };
    let mut next = 0;
    while let Some(directory) = below.found.get(next).cloned() {
        next += 1;
        let Listed { found, error } = listed::groups(&directory);
        below.error = below.error.or(error);
        let left = MAX_GROUPS.saturating_sub(below.found.len());
        below.found.extend(found.into_iter().take(left));
    }
    below
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn kills_below_count_and_so_does_the_limit_of_the_group_alone() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let counts = |version| {
            let memory = Some((version, directory.path().to_owned()));
            Groups { memory, ..Groups::default() }.oom_counts()
        };
        let expected = |kills, limit_reached| Some(OomCounts { kills, limit_reached });
        for (group, kills) in [("", 1), ("a/", 2), ("a/b/", 3)] {
            let text = format!("oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n");
            write(&format!("{group}memory.oom_control"), &text);
            write(&format!("{group}memory.events.local"), &format!("oom 0\noom_kill {kills}\n"));
        }
        write("memory.failcnt", "0\n");
        write("memory.max_usage_in_bytes", "4096\n");
        write("memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(counts(Version::V1), expected(6, false));
        write("memory.failcnt", "7\n");
        assert_eq!(counts(Version::V1), expected(6, true));
        // One that was removed is in the events of those above it.
        write("memory.events", "oom 4\noom_kill 8\n");
        assert_eq!(counts(Version::V2), expected(8, false));
        // With memory_localevents, they are only those of the group.
        write("memory.events", "oom 1\noom_kill 1\n");
        write("memory.events.local", "oom 1\noom_kill 1\n");
        assert_eq!(counts(Version::V2), expected(6, true));
    }

    #[test]
    fn a_group_with_any_limit_is_not_left() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
        assert!(!limits_anything(directory.path()));
        write("memory.max", "max\n");
        write("cpu.max", "max 100000\n");
        assert!(!limits_anything(directory.path()));
        write("pids.max", "100\n");
        assert!(limits_anything(directory.path()));
    }
}
