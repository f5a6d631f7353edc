//! Starts supervisors.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};

use super::channel::{self, Channel};
use super::names::SUPERVISOR;
use super::protocol::{SupervisorMessage, SupervisorOrder};
use super::spec::Spec;

/// After how long without a message a supervisor is called silent: while its program runs it sends one every second.
const SILENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A supervisor, as its runner sees it. One thread may receive its messages while another sends it orders.
#[derive(Debug)]
pub(crate) struct SupervisorHandle {
    channel: Channel<OwnedFd>,
}

/// Starts a supervisor for an attempt. It keeps what is `held` open until nothing of the attempt is left.
///
/// # Errors
///
/// The program cannot be run, or what it must know is too long.
pub(crate) fn launch(
    spec: &Spec,
    held: Option<BorrowedFd<'_>>,
) -> io::Result<(SupervisorHandle, Child)> {
    let (channel, socket) = channel::pair()?;
    let mut child = Command::new(&spec.launcher)
        .arg(SUPERVISOR)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // If this fails, the child ends, since its channel is closed.
    let held: Vec<BorrowedFd<'_>> = held.into_iter().collect();
    if let Err(error) = channel.send_with(&SupervisorOrder::Start(Box::new(spec.clone())), &held) {
        drop(channel);
        let _ = child.wait();
        return Err(error);
    }
    Ok((SupervisorHandle { channel }, child))
}

impl SupervisorHandle {
    /// Waits for its next message; `None` when it is gone. Calls `silent` whenever nothing came for a while.
    pub(crate) fn receive(&self, mut silent: impl FnMut()) -> Option<SupervisorMessage> {
        loop {
            let mut files = [PollFd::new(&self.channel, PollFlags::IN)];
            match poll(&mut files, Some(&SILENCE)) {
                Ok(0) => silent(),
                Ok(_) => {
                    return self.channel.receive().ok().flatten().map(|received| received.message);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends it an order. If it is gone or cannot be told, [`receive`](Self::receive) returns `None`.
    pub(crate) fn send(&self, order: &SupervisorOrder) {
        if self.channel.send(order).is_err() {
            // It would wait for the order for ever, and we for it.
            self.abandon();
        }
    }

    /// Makes it kill everything at once, without grace and cleanup.
    pub(crate) fn abandon(&self) {
        let _ = shutdown(&self.channel, Shutdown::Both);
    }
}
