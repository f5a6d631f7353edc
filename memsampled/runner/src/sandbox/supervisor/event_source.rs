//! Where events come from: the channels to the runner, to init and to the exec shim, the output, and time.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use super::inside::{Inside, reap};
use super::state::SupervisorEvent;
use crate::sandbox::attempt_end::ProgramExit;
use crate::sandbox::capture::OutputCapture;
use crate::sandbox::channel::Channel;
use crate::sandbox::group_meter::GroupMeter;
use crate::sandbox::protocol::{InitMessage, ShimMessage, SupervisorMessage, SupervisorOrder};

/// Between two looks at whether processes have ended.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// How often ended children are looked for where nothing was said: a signal's byte may have been lost.
const CHILDREN_PAUSE: Duration = Duration::from_secs(1);
/// How often the runner gets a report of what the processes use.
const PROGRESS: Duration = Duration::from_secs(1);
/// How long that may take: a deadline must not wait for it.
const MAX_PROGRESS: Duration = Duration::from_millis(50);

/// All that a supervisor waits for.
pub(super) struct EventSource<'a> {
    pub(super) runner: &'a Channel<io::Stdin>,
    runner_gone: bool,
    /// `None` once it is closed.
    pub(super) init: Option<Channel<OwnedFd>>,
    /// `None` while there is none, and once it has become the program.
    pub(super) shim: Option<Channel<OwnedFd>>,
    /// Readable when a child has ended.
    ended_children: UnixStream,
    /// The pid of the tool.
    tool: Pid,
    tool_ended: bool,
    /// Whether the end of the tool was reported.
    is_tool_reported: bool,
    pub(super) captures: [OutputCapture; 2],
    pub(super) meter: GroupMeter<'a>,
    /// When that report is due next; `None` while neither a setup nor the program of the test runs.
    next_progress: Option<Instant>,
    last_rss_bytes: u64,
}

/// What is waited for beside messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitFor {
    pub(super) deadline: Option<Instant>,
    /// Whether to report that no process is left.
    pub(super) looks_for_processes: bool,
    /// Whether a process that is in another control group was moved there.
    pub(super) all_have_joined: bool,
    /// Whether to report that more CPU time was used than is allowed.
    pub(super) limits_cpu_time: bool,
    /// Whether to report that no process can write output any more.
    pub(super) drains_output: bool,
}

impl<'a> EventSource<'a> {
    pub(super) fn new(
        runner: &'a Channel<io::Stdin>,
        init: Channel<OwnedFd>,
        ended_children: UnixStream,
        tool: Pid,
        captures: [OutputCapture; 2],
        meter: GroupMeter<'a>,
    ) -> Self {
        Self {
            runner,
            runner_gone: false,
            init: Some(init),
            shim: None,
            ended_children,
            tool,
            tool_ended: false,
            is_tool_reported: false,
            captures,
            meter,
            next_progress: None,
            last_rss_bytes: 0,
        }
    }

    /// Begins to report to the runner what the processes use.
    pub(super) fn start_progress(&mut self) {
        self.next_progress = Some(Instant::now() + PROGRESS);
    }

    pub(super) fn stop_progress(&mut self) {
        self.next_progress = None;
    }

    /// Notes whether the tool was reaped.
    pub(super) fn note_reaped(&mut self, tool_ended: bool) {
        self.tool_ended |= tool_ended;
    }

    /// Waits for what happens next, and takes output and reports progress meanwhile.
    pub(super) fn next(&mut self, inside: &mut Inside<'_>, wanted: WaitFor) -> SupervisorEvent {
        loop {
            if self.tool_ended && !self.is_tool_reported {
                self.is_tool_reported = true;
                return SupervisorEvent::ToolEnded;
            }
            if wanted.looks_for_processes && inside.have_ended() {
                return SupervisorEvent::AllEnded;
            }
            if wanted.drains_output && self.captures.iter().all(|it| it.pipe().is_none()) {
                return SupervisorEvent::OutputClosed;
            }
            let now = Instant::now();
            self.report_progress(inside, now);
            self.meter.look_if_due(now, || {
                if wanted.all_have_joined { inside.descendants().found } else { Vec::new() }
            });
            if wanted.limits_cpu_time && self.meter.is_cpu_time_spent() {
                return SupervisorEvent::CpuTimeSpent;
            }
            // What has happened by then counts: we may have been stopped, or have waited for a CPU.
            let is_due = wanted.deadline.is_some_and(|deadline| now >= deadline);
            let look = wanted.looks_for_processes.then_some(now + LOOK_PAUSE);
            let wakes = [wanted.deadline, self.next_progress, self.meter.next_look(), look];
            let wake = wakes.into_iter().flatten().min();
            let wait = wake.map(|wake| wake.saturating_duration_since(now));
            match self.poll(wait) {
                Ok(ready) => {
                    if let Some(event) = self.take(ready, inside) {
                        return event;
                    }
                }
                Err(error) if self.init.is_some() => {
                    // Nothing can be waited for: as good as lost.
                    return self.lose_init(inside, Some(error.to_string()));
                }
                Err(_) => {
                    self.note_reaped(reap(self.tool));
                    std::thread::sleep(LOOK_PAUSE);
                }
            }
            if is_due {
                return SupervisorEvent::Deadline;
            }
        }
    }

    fn report_progress(&mut self, inside: &Inside<'_>, now: Instant) {
        if self.next_progress.is_some_and(|next| now >= next) {
            let (sum, is_whole) = inside.rss_bytes_within(MAX_PROGRESS);
            // Of those that could not be read in time it is not less than before, as far as is known.
            let rss_bytes = if is_whole { sum } else { sum.max(self.last_rss_bytes) };
            self.last_rss_bytes = rss_bytes;
            let _ = self.runner.send(&SupervisorMessage::Progress { rss_bytes });
            self.next_progress = Some(now + PROGRESS);
        }
    }

    /// Takes what is there. The exec shim comes before init, which reports the end of both the shim and the program.
    fn take(&mut self, ready: Ready, inside: &mut Inside<'_>) -> Option<SupervisorEvent> {
        let [stdout, stderr] = &mut self.captures;
        if ready.stdout {
            stdout.pump();
        }
        if ready.stderr {
            stderr.pump();
        }
        if ready.children {
            let _ = (&self.ended_children).read(&mut [0; 4096]);
            self.note_reaped(reap(self.tool));
        }
        if ready.shim
            && let Some(event) = self.take_shim()
        {
            return Some(event);
        }
        if ready.init
            && let Some(event) = self.take_init(inside)
        {
            return Some(event);
        }
        if ready.runner { self.take_runner() } else { None }
    }

    fn take_shim(&mut self) -> Option<SupervisorEvent> {
        Some(match self.shim.as_ref()?.receive::<ShimMessage>() {
            Ok(Some(received)) => match received.message {
                ShimMessage::Ready => SupervisorEvent::ShimReady,
                ShimMessage::Failed(reason) => SupervisorEvent::ShimFailed(reason),
            },
            Ok(None) => {
                self.shim = None;
                SupervisorEvent::ShimClosed
            }
            Err(error) => {
                self.shim = None;
                SupervisorEvent::ShimUnheard(error.to_string())
            }
        })
    }

    fn take_init(&mut self, inside: &mut Inside<'_>) -> Option<SupervisorEvent> {
        Some(match self.init.as_ref()?.receive::<InitMessage>() {
            Ok(Some(received)) => match received.message {
                InitMessage::Ready { .. } => {
                    // Never 0, below which is every process of the machine.
                    if let Some(init) = received.sender {
                        inside.init_runs(init);
                    }
                    SupervisorEvent::InitReady
                }
                InitMessage::Failed(reason) => self.lose_init(inside, Some(reason)),
                InitMessage::ShimNotStarted(reason) => SupervisorEvent::ShimNotStarted(reason),
                InitMessage::Exited { exit_code, signal, reaped_max_rss_bytes, is_late } => {
                    SupervisorEvent::Exited(ProgramExit {
                        exit_code,
                        signal,
                        reaped_max_rss_bytes,
                        is_late,
                    })
                }
                InitMessage::Left { bytes } => SupervisorEvent::LeftBytes(bytes),
            },
            Ok(None) => self.lose_init(inside, None),
            Err(error) => self.lose_init(inside, Some(error.to_string())),
        })
    }

    /// Listens to init no more, for a reason where it has not just ended.
    fn lose_init(&mut self, inside: &mut Inside<'_>, reason: Option<String>) -> SupervisorEvent {
        self.init = None;
        inside.init_ended();
        SupervisorEvent::InitGone(reason)
    }

    fn take_runner(&mut self) -> Option<SupervisorEvent> {
        match self.runner.receive::<SupervisorOrder>() {
            Ok(Some(received)) => match received.message {
                SupervisorOrder::Go => Some(SupervisorEvent::Go),
                SupervisorOrder::End => Some(SupervisorEvent::End),
                // It has been started.
                SupervisorOrder::Start(_) => None,
            },
            Ok(None) | Err(_) => {
                self.runner_gone = true;
                Some(SupervisorEvent::RunnerGone)
            }
        }
    }

    /// Waits until something is there.
    fn poll(&self, wait: Option<Duration>) -> io::Result<Ready> {
        let [stdout, stderr] = &self.captures;
        let channels = [
            Some(self.runner.as_fd()).filter(|_| !self.runner_gone),
            self.init.as_ref().map(AsFd::as_fd),
            self.shim.as_ref().map(AsFd::as_fd),
            stdout.pipe(),
            stderr.pipe(),
            Some(self.ended_children.as_fd()),
        ];
        let mut files: Vec<PollFd<'_>> = channels
            .iter()
            .flatten()
            .map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN))
            .collect();
        let wait = wait.unwrap_or(CHILDREN_PAUSE).min(CHILDREN_PAUSE);
        let wait = Timespec::try_from(wait).ok();
        let is_silent = match poll(&mut files, wait.as_ref()) {
            Ok(ready) => ready == 0,
            Err(rustix::io::Errno::INTR) => false,
            Err(error) => return Err(error.into()),
        };
        let mut ready = files.iter().map(|file| !file.revents().is_empty());
        let ready = channels.map(|file| file.is_some() && ready.next().unwrap_or(false));
        let [runner, init, shim, stdout, stderr, children] = ready;
        Ok(Ready { runner, init, shim, stdout, stderr, children: children || is_silent })
    }
}

/// What can be read without waiting.
struct Ready {
    runner: bool,
    init: bool,
    shim: bool,
    stdout: bool,
    stderr: bool,
    children: bool,
}
