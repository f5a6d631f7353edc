//! The starter: a process of a run that has one thread, and forks the supervisors.
//!
//! The runner has many threads, so that it cannot be forked; and to execute the program for each attempt costs more than
//! most of what is around a test.

use std::os::fd::AsFd as _;

use memsample_fork::{Streams, fork_beside};
use rustix::process::setsid;

use super::channel::inherited;
use super::own_groups::KnownParents;
use super::protocol::{StarterMessage, StarterOrder};
use super::signals::ignore_signals;
use super::supervisor;

/// Runs until the runner closes the channel. Its supervisors are the runner's children, and need it no more.
pub(super) fn run() -> u8 {
    // As of a supervisor: what ends the runner's process group is for the runner to judge.
    let _ = setsid();
    ignore_signals();
    let runner = inherited();
    let mut parents = KnownParents::default();
    while let Ok(Some(received)) = runner.receive::<StarterOrder>() {
        let StarterOrder::Start = received.message;
        let Some(socket) = received.descriptors.first() else { return 1 };
        let streams = Streams { stdin: Some(socket.as_fd()), ..Streams::default() };
        let parents = parents.now();
        let answer = match fork_beside(streams, || supervisor::run(parents)) {
            Ok(pid) => StarterMessage::Started { pid: pid.as_raw_nonzero().get() },
            Err(_) => StarterMessage::Refused,
        };
        if runner.send(&answer).is_err() {
            return 1;
        }
    }
    0
}
