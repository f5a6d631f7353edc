//! Which processes a client may have recorded, and whether they exist.
//!
//! A process or a group of any user may be the target: who may use the daemon may have the whole
//! machine recorded, so to refuse a part of it would protect nobody.

use std::io;
use std::path::PathBuf;

use memsample::cgroups::Hierarchies;
use memsample::{Scope, ScopeError};

use super::failure::Failure;
use memsample_client::wire::{ErrorCode, Target};

/// Returns what the library calls it.
pub(super) fn scope(target: &Target) -> Result<Scope, Failure> {
    match target {
        Target::Machine {} => Ok(Scope::Machine),
        Target::Pid { pid } => Ok(Scope::Tree { pid: *pid }),
        Target::Cgroup { path } => {
            let hierarchies = Hierarchies::mounted();
            let exists = |directory: PathBuf| directory.join("cgroup.procs").exists();
            if let Some(hierarchy) = hierarchies.memory()
                && exists(hierarchy.mount_point().to_owned())
                && !hierarchy.directory(path.as_ref()).is_some_and(exists)
            {
                return Err(Failure::new(
                    ErrorCode::NoSuchTarget,
                    format!(
                        "there is no control group `{}` below `{}`: make it first; its path is that in \
                         /proc/PID/cgroup",
                        path.escape_debug(),
                        hierarchy.mount_point().display()
                    ),
                ));
            }
            Ok(Scope::Cgroup(PathBuf::from(path)))
        }
    }
}

/// Describes why the library did not take it.
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
