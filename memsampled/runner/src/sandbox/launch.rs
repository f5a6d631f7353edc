//! Starts supervisors.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use memsample_fork::Streams;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::de::DeserializeOwned;

use super::channel::{self, Channel};
use super::kernel_file;
use super::names::{STARTER, SUPERVISOR};
use super::protocol::{StarterMessage, StarterOrder, SupervisorMessage, SupervisorOrder};
use super::spec::Spec;
use super::start::execute;

/// After how long without a message a supervisor is called silent: while its program runs it sends one every second.
const SILENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Starts the supervisors of a run, by a process that is begun for the first of them and ends with this.
#[derive(Debug)]
pub(crate) struct Supervisors {
    launcher: PathBuf,
    /// `None` before the first one, and where it was lost.
    starter: Option<Starter>,
}

/// The process that forks supervisors.
#[derive(Debug)]
struct Starter {
    /// The control groups that the runner was in when it was begun, as the kernel says it.
    groups: Vec<u8>,
    channel: Channel<OwnedFd>,
    child: Child,
}

/// A supervisor, as its runner sees it. One thread may receive its messages while another sends it orders.
#[derive(Debug)]
pub(crate) struct SupervisorHandle {
    channel: Channel<OwnedFd>,
}

impl Supervisors {
    pub(crate) fn new(launcher: &Path) -> Self {
        Self { launcher: launcher.to_owned(), starter: None }
    }

    /// Starts a supervisor for an attempt. It keeps what is `held` open until nothing of the attempt is left. Its pid is
    /// that of a child, for the caller to reap.
    ///
    /// # Errors
    ///
    /// The program cannot be run, or what it must know is too long.
    pub(crate) fn launch(
        &mut self,
        spec: &Spec,
        held: Option<BorrowedFd<'_>>,
    ) -> io::Result<(SupervisorHandle, Pid)> {
        let (channel, pid) = self.start()?;
        // If this fails, the child ends, since its channel is closed.
        let held: Vec<BorrowedFd<'_>> = held.into_iter().collect();
        if let Err(error) =
            channel.send_with(&SupervisorOrder::Start(Box::new(spec.clone())), &held)
        {
            drop(channel);
            reap(pid);
            return Err(error);
        }
        Ok((SupervisorHandle { channel }, pid))
    }

    /// Has a supervisor forked, or executes it where that is not possible. Returns our end of its channel.
    fn start(&mut self) -> io::Result<(Channel<OwnedFd>, Pid)> {
        // One that was killed is replaced, once.
        for _ in 0..2 {
            let Some(starter) = self.starter() else { break };
            let (channel, socket) = channel::pair()?;
            match starter.ask(socket.as_fd()) {
                Some(StarterMessage::Started { pid }) => match Pid::from_raw(pid.max(0)) {
                    Some(pid) => return Ok((channel, pid)),
                    None => break,
                },
                Some(StarterMessage::Refused) => break,
                // A supervisor that it may have forked sees that its channel is closed.
                None => self.starter = None,
            }
        }
        let (channel, socket) = channel::pair()?;
        let streams = Streams { stdin: Some(socket.as_fd()), ..Streams::default() };
        let pid = execute(streams, internal(&self.launcher, SUPERVISOR))?;
        Ok((channel, pid))
    }

    /// Returns the starter, or `None` where it cannot be run: then what is executed instead cannot either, and says why.
    fn starter(&mut self) -> Option<&Starter> {
        // Who is moved into another control group takes along what it starts from then on.
        let groups = kernel_file::bytes("/proc/self/cgroup").unwrap_or_default();
        if self.starter.as_ref().is_none_or(|starter| starter.groups != groups) {
            self.starter = Starter::begin(&self.launcher, groups).ok();
        }
        self.starter.as_ref()
    }
}

impl Starter {
    fn begin(launcher: &Path, groups: Vec<u8>) -> io::Result<Self> {
        let (channel, socket) = channel::pair()?;
        let child = internal(launcher, STARTER).stdin(Stdio::from(socket)).spawn()?;
        Ok(Self { groups, channel, child })
    }

    /// Asks for a supervisor, and returns the answer; `None` where it is gone.
    fn ask(&self, socket: BorrowedFd<'_>) -> Option<StarterMessage> {
        self.channel.send_with(&StarterOrder::Start, &[socket]).ok()?;
        // A test with our rights may have stopped it.
        receive(&self.channel, || {
            let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
        })
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        let _ = shutdown(&self.channel, Shutdown::Both);
        let _ = kill_process(Pid::from_child(&self.child), Signal::CONT);
        let _ = self.child.wait();
    }
}

/// Returns how the program is called for a process outside of all sandboxes.
fn internal(launcher: &Path, word: &str) -> Command {
    let mut command = Command::new(launcher);
    command.arg(word).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Waits for the end of a supervisor.
pub(crate) fn reap(pid: Pid) {
    while let Err(rustix::io::Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
}

impl SupervisorHandle {
    /// Waits for its next message; `None` when it is gone. Calls `silent` whenever nothing came for a while.
    pub(crate) fn receive(&self, silent: impl FnMut()) -> Option<SupervisorMessage> {
        receive(&self.channel, silent)
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

fn receive<M: DeserializeOwned>(channel: &Channel<OwnedFd>, mut silent: impl FnMut()) -> Option<M> {
    loop {
        let mut files = [PollFd::new(channel, PollFlags::IN)];
        match poll(&mut files, Some(&SILENCE)) {
            Ok(0) => silent(),
            Ok(_) => return channel.receive().ok().flatten().map(|received| received.message),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}
