//! What is between a test and the machine.
//!
//! An attempt is run by a chain of processes of the program itself, each in a role of its own:
//!
//! ```text
//! runner ─▶ supervisor ─▶ unshare, bwrap or lxc-execute ─▶ init ─▶ gate, which becomes the test
//!           outside, a session of its own                  inside: parent of all that the test starts
//! ```
//!
//! - The *supervisor* makes the control groups, takes the output, minds the time and kills. It lives
//!   in a session of its own and only as long as its runner: when the channel to it closes, which a
//!   `kill -9` of the runner does too, it ends everything and removes what it made.
//! - *Init* is pid 1 in the sandbox, or a subreaper where there is no pid namespace: it starts gates,
//!   and knows how each ended. When its channel closes, it kills all below it and ends.
//! - The *gate* joins the control groups, waits until the recording knows it, and executes the test.
//!
//! Init and gates have a command name of their own, by which the recording tells them from the test.

mod capture;
mod channel;
mod choice;
mod enclosure;
mod gate;
mod groups;
mod init;
mod launch;
mod processes;
mod protocol;
mod supervisor;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::sync::Arc;

pub(super) use choice::Sandboxes;
pub(super) use enclosure::{bubblewrap_namespaces, bubblewrap_root, pid_namespace_arguments};
pub(super) use groups::{Controllers, allowed_memory, controllers};
pub(super) use launch::{Supervised, launch};
pub(super) use protocol::{Enclosure, Ending, Order, Spec, Stage, StageKind, Told, User};

const SUPERVISOR: &str = "sandbox-supervisor";
const INIT: &str = "sandbox-init";
const GATE: &str = "sandbox-gate";
/// The command name of init and of gates: that of the file by which they are executed. No program of a
/// test has it, so that the memory of the test is told from ours.
const OWN_NAME: &str = "memsample-init";

/// Makes signals that would end this process do nothing. Whoever sends SIGTERM to all processes of a CI
/// job, or to its parent, means the runner or the test: the runner judges, and what must end does so
/// when its channel closes.
fn ignore_signals() {
    use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    for signal in [SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
        // A handler, which exec resets, so that the test does not inherit it.
        let _ = signal_hook::flag::register(signal, Arc::default());
    }
}

/// Runs the program in one of the roles of this module, if its first argument names one.
///
/// A program that is given to [`RunOptions`](super::RunOptions) as its launcher calls this before it
/// does anything else. The arguments are no interface: only this library gives them.
#[must_use]
pub fn role(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    match arguments.next().as_deref().and_then(OsStr::to_str)? {
        SUPERVISOR => Some(supervisor::run()),
        INIT => Some(init::run(arguments.next().as_deref().and_then(OsStr::to_str))),
        GATE => Some(gate::run()),
        _ => None,
    }
}

/// Kills what is left of an attempt whose supervisor was killed, and removes its control groups.
pub(super) fn remove_left(id: &str) {
    processes::kill_marked(id);
    groups::remove_left(id);
}
