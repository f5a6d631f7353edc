use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rustix::net::{Shutdown, shutdown};

use super::SUPERVISOR;
use super::channel::{self, Channel};
use super::protocol::{Order, Spec, Told};

/// A supervisor, as its runner sees it. What it tells and what it is told may be on two threads.
#[derive(Debug)]
pub(crate) struct Supervised {
    channel: Channel<OwnedFd>,
}

/// Starts a supervisor for an attempt.
///
/// # Errors
///
/// The program cannot be run, or what it must know is too long.
pub(crate) fn launch(spec: &Spec) -> io::Result<(Supervised, Child)> {
    let (channel, socket) = channel::pair()?;
    let mut child = Command::new(&spec.launcher)
        .arg(SUPERVISOR)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // What is lost with a failure is the child's reason to live: its channel.
    if let Err(error) = channel.send(&Order::Start(Box::new(spec.clone()))) {
        drop(channel);
        let _ = child.wait();
        return Err(error);
    }
    Ok((Supervised { channel }, child))
}

impl Supervised {
    /// Waits for what it tells next; `None` when it is gone.
    pub(crate) fn hear(&self) -> Option<Told> {
        self.channel.receive().ok().flatten().map(|received| received.message)
    }

    /// Tells it something. If it is gone, [`hear`](Self::hear) says so.
    pub(crate) fn tell(&self, order: &Order) {
        let _ = self.channel.send(order);
    }

    /// Makes it kill everything at once, without grace and cleanup.
    pub(crate) fn abandon(&self) {
        let _ = shutdown(&self.channel, Shutdown::Both);
    }
}
