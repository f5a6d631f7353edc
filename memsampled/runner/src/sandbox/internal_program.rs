//! The processes around a test, which are the program itself with a first argument that says which one.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use super::names::{EXEC_SHIM, INIT, SUPERVISOR};
use super::{exec_shim, groups, init, processes, supervisor};

/// Runs as supervisor, init or exec shim, if the first argument names one of them.
///
/// A program that is given to [`RunOptions`](crate::run::RunOptions) as its launcher calls this before it
/// does anything else. The arguments are not an interface: only this library passes them.
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
