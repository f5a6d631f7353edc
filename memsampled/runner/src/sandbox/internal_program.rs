//! The processes around a test, which are the program itself with a first argument that says which one.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use super::init::SharedMemory;
use super::names::{EXEC_SHIM, INIT, STARTER, SUPERVISOR};
use super::own_groups::parents;
use super::processes::{self, IdentifiedProcess};
use super::{exec_shim, groups, init, starter, supervisor};

/// Runs as starter, supervisor, init or exec shim, if the first argument names one of them.
///
/// A program that is given to [`RunOptions`](crate::run::RunOptions) as its launcher calls this before it
/// does anything else. The arguments are not an interface: only this library passes them.
#[must_use]
pub fn internal_program(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    let code = match arguments.next().as_deref().and_then(OsStr::to_str)? {
        STARTER => starter::run(),
        SUPERVISOR => supervisor::run(&parents()),
        INIT => init::run(SharedMemory::of(arguments.next().as_deref().and_then(OsStr::to_str))),
        EXEC_SHIM => exec_shim::run(false),
        _ => return None,
    };
    Some(ExitCode::from(code))
}

/// Kills what is left of an attempt whose supervisor was killed, and removes its control groups. `init` is its init,
/// which carries no mark of the attempt where it was forked.
pub(crate) fn remove_left(id: &str, init: Option<IdentifiedProcess>) {
    if let Some(init) = init {
        processes::kill_with_descendants(init);
    }
    processes::kill_by_variable(id);
    groups::remove_left(id);
}
