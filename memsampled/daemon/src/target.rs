//! Which processes a client may have recorded, and whether they exist.
//!
//! A process or a group of any user may be the target: who may use the daemon may have the whole
//! machine recorded, so to refuse a part of it would protect nobody.

use std::io;
use std::path::{Path, PathBuf};

use memsample::{Scope, ScopeError};

use super::failure::Failure;
use memsample_client::wire::{ErrorCode, Target};

/// Where the hierarchy with the groups of the column `processes.cgroup` is mounted: that of v1 with the
/// memory controller, or else v2.
const HIERARCHIES: [&str; 2] = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];

/// Returns what the library calls it.
pub(super) fn scope(target: &Target) -> Result<Scope, Failure> {
    match target {
        Target::Machine {} => Ok(Scope::Machine),
        Target::Pid { pid } => Ok(Scope::Tree { pid: *pid }),
        Target::Cgroup { path } => {
            let hierarchies = HIERARCHIES.map(Path::new);
            let mounted = hierarchies.iter().find(|root| root.join("cgroup.procs").exists());
            if let Some(root) = mounted
                && !root.join(path.trim_start_matches('/')).join("cgroup.procs").exists()
            {
                return Err(Failure::new(
                    ErrorCode::NoSuchTarget,
                    format!(
                        "there is no control group `{}` below `{}`: make it first; its path is that in \
                         /proc/PID/cgroup",
                        path.escape_debug(),
                        root.display()
                    ),
                ));
            }
            Ok(Scope::Cgroup(PathBuf::from(path)))
        }
    }
}

/// Says why the library did not take it.
pub(super) fn refusal(error: &ScopeError) -> Failure {
    let message = match error {
        ScopeError::NoProcess(pid, cause) if cause.kind() == io::ErrorKind::NotFound => {
            format!(
                "there is no process with pid {pid}: it has ended, or is of another pid namespace"
            )
        }
        ScopeError::NoProcess(_, cause) => format!("{error}: {cause}"),
        error => error.to_string(),
    };
    Failure::new(ErrorCode::NoSuchTarget, message)
}
