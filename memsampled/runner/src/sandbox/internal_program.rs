//! The processes of a sandbox, which are the program itself with an argument that names what it shall be.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use super::names::{EXEC_SHIM, INIT, SUPERVISOR};
use super::{exec_shim, groups, init, processes, supervisor};

/// Runs the program in one of the roles of this module, if its first argument names one.
///
/// A program that is given to [`RunOptions`](crate::run::RunOptions) as its launcher calls this before it
/// does anything else. The arguments are no interface: only this library gives them.
#[must_use]
pub fn internal_program(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    match arguments.next().as_deref().and_then(OsStr::to_str)? {
        SUPERVISOR => Some(supervisor::run()),
        INIT => Some(init::run(arguments.next().as_deref().and_then(OsStr::to_str))),
        EXEC_SHIM => Some(exec_shim::run()),
        _ => None,
    }
}

/// Kills what is left of an attempt whose supervisor was killed, and removes its control groups.
pub(crate) fn remove_left(id: &str) {
    processes::kill_by_variable(id);
    groups::remove_left(id);
}
