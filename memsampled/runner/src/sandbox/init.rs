//! Init: the process inside of a sandbox that starts programs, reaps orphans, and reports how each program ended.
//!
//! The tools that make sandboxes report the end of a program as an exit code, which does not distinguish a signal from
//! an exit with 128 and more; so the parent of the program is always init.

use std::fs;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use memsample_fork::{Streams, fork_into};
use nix::sys::resource::{UsageWho, getrusage};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd, read, retry_on_intr, write};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, pidfd_open, set_child_subreaper,
    set_parent_process_death_signal, wait, waitpid,
};

use super::channel::{Channel, inherited};
use super::exec_shim;
use super::processes::kill_below;
use super::protocol::{InitMessage, InitOrder};
use super::signals::{ignore_signals, unblock_signals};
use super::start::start;

/// Files of `/dev/shm` that are looked at, at most.
const MAX_FILES: usize = 100_000;

/// Between two looks at what has ended: the signal that says so wakes us through a socket, which can fail.
const LOOK_PAUSE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// What is mounted at `/dev/shm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SharedMemory {
    /// What the machine has there: what is left in it may be anybody's.
    Host,
    /// Something of the sandbox's own, made by the tool.
    Own,
    /// Init shall mount something there.
    Mount,
}

impl SharedMemory {
    const ALL: [Self; 3] = [Self::Host, Self::Own, Self::Mount];

    /// Returns what a word on the command line of init stands for.
    pub(super) fn of(word: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|shm| Some(shm.word()) == word).unwrap_or(Self::Host)
    }

    /// Returns the word for it on the command line of init.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Own => "own",
            Self::Mount => "mount",
        }
    }
}

/// Runs as [`run`], as the first process of a pid namespace, in a mount namespace of its own: as unshare(1) would have
/// executed it.
pub(super) fn run_in_namespaces() -> u8 {
    // The supervisor has then been killed. Without pid namespaces that end with it, its channel would say so.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let own_mounts = || {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("proc", "/proc", "proc", flags, None)
    };
    match own_mounts() {
        Ok(()) => run(SharedMemory::Mount),
        Err(error) => {
            // What a tool would have said is read there.
            let _ = writeln!(io::stderr(), "cannot mount /proc of its pid namespace: {error}");
            1
        }
    }
}

/// Runs until the supervisor closes the channel.
pub(super) fn run(shm: SharedMemory) -> u8 {
    let own_shm = match shm {
        SharedMemory::Own => true,
        SharedMemory::Mount => {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount("tmpfs", "/dev/shm", "tmpfs", flags, Some(c"mode=1777")).is_ok()
        }
        SharedMemory::Host => false,
    };
    let mut init = Init { channel: inherited(), program: None, own_shm };
    // Only fails on kernels before 3.4.
    let _ = set_child_subreaper(Some(getpid()));
    ignore_signals();
    unblock_signals();
    let served = init.serve();
    if let Err(error) = &served {
        // Else it would be taken for killed.
        let _ = init.channel.send(&InitMessage::Failed(error.to_string()));
    }
    kill_below(getpid().as_raw_nonzero().get(), || drop(init.reap(false)));
    u8::from(served.is_err())
}

struct Init {
    channel: Channel<io::Stdin>,
    /// The program that was launched last, until it ends.
    program: Option<LaunchedProgram>,
    own_shm: bool,
}

/// A program that runs.
struct LaunchedProgram {
    pid: Pid,
    /// Readable when it has ended; `None` before Linux 5.3.
    end: Option<OwnedFd>,
}

impl Init {
    fn serve(&mut self) -> io::Result<()> {
        let (mut ended, ended_sender) = UnixStream::pair()?;
        ended.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, ended_sender)?;
        self.channel.send(&InitMessage::Ready { own_shm: self.own_shm })?;
        loop {
            let program_end = self.program.as_ref().and_then(|program| program.end.as_ref());
            let mut files =
                vec![PollFd::new(&self.channel, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
            files.extend(program_end.map(|end| PollFd::new(end, PollFlags::IN)));
            let is_silent = match poll(&mut files, Some(&LOOK_PAUSE)) {
                Ok(ready) => ready == 0,
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => return Err(error.into()),
            };
            let mut ready = files.iter().map(|file| !file.revents().is_empty());
            let (order, has_ended) = (ready.next() == Some(true), ready.any(|ready| ready));
            if has_ended || is_silent {
                // As many as wait: each byte is one end, and all ends are looked at anyway.
                let _ = ended.read(&mut [0; 4096]);
                self.reap(is_silent)?;
            }
            if order {
                let Some(received) = self.channel.receive::<InitOrder>()? else { return Ok(()) };
                self.obey(received.message, received.descriptors)?;
            }
        }
    }

    fn obey(&mut self, order: InitOrder, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        match order {
            InitOrder::Launch { program, arguments } => {
                match launch(&program, &arguments, descriptors) {
                    Ok(program) => self.program = Some(program),
                    Err(error) => {
                        self.channel.send(&InitMessage::ShimNotStarted(error.to_string()))?
                    }
                }
            }
            InitOrder::Left => {
                let bytes = self.own_shm.then(|| left_in_files() + left_in_segments());
                self.channel.send(&InitMessage::Left { bytes })?;
            }
        }
        Ok(())
    }

    /// Reaps all that have ended, and reports the end of the program; `is_late` says whether that may be some time ago.
    fn reap(&mut self, is_late: bool) -> io::Result<()> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some(program) = self.program.take_if(|program| program.pid == pid) {
                let is_late = is_late && program.end.is_none();
                let (exit_code, signal) = (status.exit_status(), status.terminating_signal());
                let reaped_max_rss_bytes = reaped_max_rss_bytes();
                self.channel.send(&InitMessage::Exited {
                    exit_code,
                    signal,
                    reaped_max_rss_bytes,
                    is_late,
                })?;
            }
        }
        Ok(())
    }
}

/// Returns the largest resident set of all images of all processes that were reaped, and of those that they reaped.
fn reaped_max_rss_bytes() -> Option<u64> {
    let kibibytes = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?.max_rss();
    u64::try_from(kibibytes).ok()?.checked_mul(1024).filter(|&bytes| bytes > 0)
}

/// Starts an exec shim whose standard input is the descriptor.
fn launch(
    program: &Path,
    arguments: &[String],
    descriptors: Vec<OwnedFd>,
) -> io::Result<LaunchedProgram> {
    let missing = || io::Error::other("the order to launch lacks a part");
    let mut descriptors = descriptors.into_iter();
    let stdin = descriptors.next().ok_or_else(missing)?;
    let streams = Streams { stdin: Some(stdin.as_fd()), ..Streams::default() };
    let in_group = descriptors.next().map(|group| start_in(group.as_fd(), streams));
    let pid = match in_group {
        Some(Ok(pid)) => pid,
        // It joins as it joins the others.
        Some(Err(_)) | None => {
            let mut command = Command::new(program);
            command.args(arguments);
            start(streams, || exec_shim::run(false), command)?
        }
    };
    // It has not been reaped, so that the number is still its own.
    Ok(LaunchedProgram { pid, end: pidfd_open(pid, PidfdFlags::empty()).ok() })
}

/// Starts an exec shim in a control group of version 2, and waits until it runs.
///
/// Where all of a group have ever been killed by `cgroup.kill`, Linux (6.18) kills at once whom another group starts in it.
fn start_in(group: BorrowedFd<'_>, streams: Streams<'_>) -> io::Result<Pid> {
    let (runs, says_so) = pipe_with(PipeFlags::empty())?;
    // The other end is what the child keeps.
    fcntl_setfd(&runs, FdFlags::CLOEXEC)?;
    let pid = fork_into(group, streams, move || {
        // Who waits for it sees the end of it all the same.
        let _ = write(&says_so, b"1");
        drop(says_so);
        exec_shim::run(true)
    })?;
    let has_answered = retry_on_intr(|| {
        poll(&mut [PollFd::new(&runs, PollFlags::IN)], Some(&LOOK_PAUSE)).map(|ready| ready > 0)
    });
    // One that is frozen with its group does not answer, and lives.
    if has_answered == Ok(true) && read(&runs, &mut [0]) == Ok(0) {
        waitpid(Some(pid), WaitOptions::empty())?;
        return Err(io::Error::other("what was started in its control group was killed at once"));
    }
    Ok(pid)
}

/// Returns the bytes that files in `/dev/shm` occupy.
fn left_in_files() -> u64 {
    let (mut open, mut bytes, mut files) = (vec![Path::new("/dev/shm").to_owned()], 0, 0);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            files += 1;
            if files > MAX_FILES {
                return bytes;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                bytes += metadata.blocks() * 512;
            }
        }
    }
    bytes
}

/// Returns the resident bytes of System V shared memory in our namespace.
fn left_in_segments() -> u64 {
    let text = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let mut lines = text.lines();
    let column = lines
        .next()
        .and_then(|names| names.split_ascii_whitespace().position(|name| name == "rss"));
    let Some(column) = column else { return 0 };
    let rss = |line: &str| line.split_ascii_whitespace().nth(column)?.parse::<u64>().ok();
    lines.filter_map(rss).sum()
}
