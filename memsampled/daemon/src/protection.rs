//! Protects the daemon from the OOM killer, and raises its limit of descriptors.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use memsample::cgroups::Hierarchies;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::thread::{CapabilitySet, capabilities};

use memsample_client::wire::Protection;

/// Lower scores are for programs without which the machine does not run.
const OOM_SCORE_ADJ: i32 = -900;
/// The group that the daemon makes for itself, below the root of each hierarchy.
const OWN_CGROUP: &str = "memsampled";
/// Files that may be open where the kernel did not tell: what it gives the first process.
const UNKNOWN_LIMIT: u64 = 1024;

/// The control groups that the daemon made for itself: they are removed when this is dropped, unless another daemon is
/// in them.
#[derive(Debug, Default)]
pub(super) struct OwnGroups(Vec<PathBuf>);

impl Drop for OwnGroups {
    fn drop(&mut self) {
        for group in &self.0 {
            // Not empty as long as this process is in it.
            let above = group.with_file_name("cgroup.procs");
            let _ = fs::write(above, std::process::id().to_string());
            let _ = fs::remove_dir(group);
        }
    }
}

/// Does what is permitted, and says what was not.
pub(super) fn protect(own_cgroup: bool) -> (Protection, OwnGroups) {
    let mut protection = Protection::default();
    let mut groups = OwnGroups::default();
    let file = "/proc/self/oom_score_adj";
    if let Err(error) = fs::write(file, OOM_SCORE_ADJ.to_string()) {
        protection.notes.push(format!(
            "oom_score_adj stays as it is ({error}): give the daemon CAP_SYS_RESOURCE, or set \
             OOMScoreAdjust={OOM_SCORE_ADJ} in its unit"
        ));
    }
    protection.oom_score_adj =
        fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    match lock_memory() {
        Ok(()) => protection.memory_locked = true,
        Err(note) => protection.notes.push(note),
    }
    // A unit of systemd is in a group of its own.
    if own_cgroup && std::env::var_os("INVOCATION_ID").is_none() {
        match join_own_cgroup(&mut groups) {
            Ok(path) => protection.cgroup = Some(path),
            Err(note) => protection.notes.push(note),
        }
    }
    for note in &protection.notes {
        tracing::warn!("{note}");
    }
    (protection, groups)
}

/// Keeps the daemon's pages in memory, each from its first use on.
fn lock_memory() -> Result<(), String> {
    let allowed =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    // With a limit, memory that is taken later would be refused.
    let unlimited =
        || getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(|(soft, _)| soft == RLIM_INFINITY);
    if !allowed && !unlimited() {
        return Err("memory is not locked: give the daemon CAP_IPC_LOCK, or set \
                    LimitMEMLOCK=infinity in its unit"
            .to_owned());
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(|errno| format!("memory is not locked: {errno}"))
}

/// Moves the daemon into a control group of its own, so that the limit of the one it was started in,
/// such as that of a CI job, is not its limit.
fn join_own_cgroup(groups: &mut OwnGroups) -> Result<String, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("the daemon shares a control group: start it as a unit of systemd, or as root"
            .to_owned());
    }
    let roots = memory_hierarchies(&Hierarchies::mounted());
    if roots.is_empty() {
        return Err("no control group hierarchy of memory is mounted".to_owned());
    }
    let mut joined = Err("no control group could be made".to_owned());
    for root in roots {
        let group = root.join(OWN_CGROUP);
        match join(&group) {
            Ok(()) => {
                groups.0.push(group);
                joined = Ok(format!("/{OWN_CGROUP}"));
            }
            Err(error) => {
                joined = Err(format!(
                    "the daemon shares a control group: `{}`: {error}",
                    group.display()
                ));
                break;
            }
        }
    }
    joined
}

/// Returns where the hierarchies are mounted that bound the memory of this process: the one with the
/// controller `memory` of version 1, and that of version 2.
fn memory_hierarchies(hierarchies: &Hierarchies) -> Vec<PathBuf> {
    let roots = [hierarchies.v1("memory"), hierarchies.v2()].into_iter().flatten();
    let roots = roots.map(|hierarchy| hierarchy.mount_point().to_owned());
    roots.filter(|root| root.join("cgroup.procs").exists()).collect()
}

fn join(group: &Path) -> io::Result<()> {
    let join = || {
        match fs::create_dir(group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::write(group.join("cgroup.procs"), std::process::id().to_string())
    };
    // Another daemon that ends may have removed it meanwhile.
    join()
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { join() } else { Err(error) })
}

/// Raises the soft limit of open files as far as it may be, and returns it: the sampler keeps three for
/// each process, and each client takes one.
pub(super) fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return UNKNOWN_LIMIT };
    if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hierarchies_that_bound_memory_are_joined() {
        let [memory, cpu] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for root in [&memory, &cpu] {
            fs::write(root.path().join("cgroup.procs"), "").unwrap();
        }
        let joined =
            |mountinfo: &str| memory_hierarchies(&Hierarchies::parse(mountinfo.as_bytes()));
        assert!(joined("").is_empty());
        assert!(joined("garbage\n1 1 0:1 / /no/such rw - cgroup cgroup rw,memory\n").is_empty());
        let mounts = format!(
            "1 1 0:1 / {} rw - cgroup cgroup rw,cpu\n2 1 0:2 / {} rw - cgroup cgroup rw,memory\n",
            cpu.path().display(),
            memory.path().display()
        );
        assert_eq!(joined(&mounts), [memory.path()]);
    }
}
