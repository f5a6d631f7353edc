//! The supervisor: runs one attempt from outside of its sandbox, and leaves nothing behind.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use memsample::parse::parse_vmstat;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Signal, WaitOptions, getpid, kill_process, set_child_subreaper, setsid, waitpid,
};

use super::artifacts;
use super::capture::Capture;
use super::channel::{self, Channel, inherited};
use super::enclosure::{Entrance, entrance, outside};
use super::groups::{Groups, OomCounts};
use super::names::OWN_NAME;
use super::processes::{MARK, descendants, describe, kill_below, rss_bytes, signal};
use super::protocol::{
    Ending, Exec, GateOrder, GateTold, InitOrder, InitTold, Keep, Order, Spec, Stage, StageKind,
    Told,
};
use super::signals::ignore_signals;

/// What a tool needs to make a sandbox, at most, on a machine that is busy.
const MAX_ENTRANCE: Duration = Duration::from_secs(60);
/// What init needs to answer, at most.
const MAX_ANSWER: Duration = Duration::from_secs(20);
/// How long a process may outlive its program before it counts as left: the last of a pipeline, say,
/// ends a moment after the first.
const SETTLE: Duration = Duration::from_millis(250);
/// Between two looks at whether they have ended.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);
/// How long output may come after all processes have ended: somebody else may hold the pipe.
const MAX_DRAIN: Duration = Duration::from_secs(1);
/// How often the runner is told what the processes use.
const PROGRESS: Duration = Duration::from_secs(1);
/// Characters of a command in a message.
const MAX_SHOWN: usize = 200;
/// LeftOverProcesses that are described, at most; all are killed.
const MAX_SURVIVORS: usize = 100;

/// Runs until the attempt is over.
pub(super) fn run() -> ExitCode {
    // What ends the runner's process group, such as Ctrl-C, is for the runner to judge.
    let _ = setsid();
    ignore_signals();
    let _ = set_child_subreaper(Some(getpid()));
    let runner = inherited();
    let Ok(Some(received)) = runner.receive::<Order>() else { return ExitCode::FAILURE };
    let Order::Start(spec) = received.message else { return ExitCode::FAILURE };
    // What the runner holds is held until nothing is left.
    let _held = received.descriptors;
    let ending = attempt(&runner, &spec);
    match runner.send(&Told::Ended(Box::new(ending))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Makes the sandbox, runs the attempt in it, and removes it.
fn attempt(runner: &Channel<io::Stdin>, spec: &Spec) -> Ending {
    let oom_kills_before = machine_oom_kills();
    let groups = Groups::create(&spec.id);
    let mut ending = Ending::default();
    match Supervisor::enter(runner, spec, &groups) {
        Ok(mut supervisor) => {
            supervisor.conduct(&mut ending);
            supervisor.leave(&mut ending);
            if ending.not_started.is_none() && !supervisor.runner_gone {
                let (from, within) = outside(spec);
                let notes =
                    artifacts::keep(&spec.artifacts, &from, &within, &spec.artifacts_directory);
                ending.notes.extend(notes);
            }
            if let Some(path) = spec.of_runner.as_ref().filter(|_| supervisor.runner_gone) {
                let _ = fs::remove_dir_all(path);
            }
        }
        Err(reason) => ending.not_started = Some(reason),
    }
    let counts = groups.oom_counts();
    ending.oom_kills = counts.map(|OomCounts { kills, .. }| kills);
    ending.limit_reached =
        spec.memory_limit_bytes.is_some() && counts.is_some_and(|counts| counts.limit_reached);
    ending.machine_oom_kills =
        oom_kills_before.and_then(|before| machine_oom_kills()?.checked_sub(before));
    groups.kill();
    for path in groups.remove() {
        ending.notes.push(format!("the control group `{}` could not be removed", path.display()));
    }
    remove_scratch(spec, &mut ending);
    ending
}

fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

fn remove_scratch(spec: &Spec, ending: &mut Ending) {
    let expected = ending
        .exit_code
        .is_some_and(|code| u8::try_from(code).is_ok_and(|code| spec.expect_exit.contains(&code)));
    let is_well = expected
        && !ending.timed_out
        && ending.oom_kills.is_none_or(|kills| kills == 0)
        && ending.left_over_processes.is_empty();
    if let Some(keep) = spec.keep_failed.filter(|_| !is_well && ending.not_started.is_none()) {
        // What a person looks at holds nothing of ours.
        let _ = fs::remove_file(spec.scratch.join(OWN_NAME));
        // A sandbox without a file system of its own has nothing to keep.
        if fs::remove_dir(&spec.scratch).is_ok() {
            return;
        }
        let archived = match keep {
            Keep::Directory => None,
            Keep::Archive => archive(&spec.scratch)
                .inspect_err(|why| ending.notes.push(format!("its files are not archived: {why}")))
                .ok(),
        };
        let Some(archived) = archived else {
            ending.kept = Some(spec.scratch.clone());
            return;
        };
        ending.kept = Some(archived);
    }
    if let Err(error) = fs::remove_dir_all(&spec.scratch)
        && error.kind() != io::ErrorKind::NotFound
    {
        ending.notes.push(format!("`{}` could not be removed: {error}", spec.scratch.display()));
    }
}

/// Writes what is in a directory into an archive beside it, and returns its path.
fn archive(directory: &Path) -> Result<PathBuf, String> {
    let path = directory.with_extension("tar.gz");
    let mut tar = Command::new("tar");
    // Where an overlay has a file removed is a device, and an attribute where it has a directory anew.
    tar.args(["--create", "--gzip", "--sparse", "--xattrs", "--xattrs-include=*", "--file"]);
    tar.arg(&path).arg("--directory").arg(directory).arg(".");
    // Its own is the runner's.
    tar.stdin(Stdio::null());
    let why = match tar.output() {
        Ok(output) if output.status.success() => return Ok(path),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        Err(error) => format!("cannot run `tar`: {error}"),
    };
    let _ = fs::remove_file(&path);
    Err(why)
}

/// Reads how often the kernel killed for want of memory since the machine was started.
fn machine_oom_kills() -> Option<u64> {
    parse_vmstat(&fs::read("/proc/vmstat").ok()?).ok()?.oom_kill
}

/// How a program ended by itself.
#[derive(Clone, Copy, Debug)]
struct Exit {
    exit_code: Option<i32>,
    signal: Option<i32>,
}

/// How a stage ended.
enum StageEnd {
    /// By itself.
    Exited(Exit),
    /// It never began.
    NotStarted(String),
    TimedOut(Option<Exit>),
    /// The runner is gone, or wants it to end.
    Ended(Option<Exit>),
    /// Init is gone.
    Lost,
}

/// What the supervisor waits for.
enum Happening {
    Order(Order),
    RunnerGone,
    Init(InitTold),
    InitGone,
    Gate(GateTold),
    /// The gate has become the program, or has ended.
    GateClosed,
    Deadline,
}

struct Supervisor<'a> {
    runner: &'a Channel<io::Stdin>,
    spec: &'a Spec,
    groups: &'a Groups,
    entrance: Entrance,
    tool: Child,
    /// `None` once it is gone.
    init: Option<Channel<OwnedFd>>,
    init_pid: i32,
    gate: Option<Channel<OwnedFd>>,
    ended_children: UnixStream,
    tool_ended: bool,
    captures: [Capture; 2],
    /// When the runner is told next what the processes use; `None` while they are none of its test.
    next_progress: Option<Instant>,
    /// How the program that init launched last ended.
    last_exit: Option<Exit>,
    /// Whether init has launched one and not told of its end.
    awaits_exit: bool,
    /// The runner wants it to end, or is gone.
    is_over: bool,
    runner_gone: bool,
}

impl<'a> Supervisor<'a> {
    /// Starts the tool, and waits for init.
    fn enter(
        runner: &'a Channel<io::Stdin>,
        spec: &'a Spec,
        groups: &'a Groups,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot make its sandbox: {error}");
        if let Some(bytes) = spec.memory_limit_bytes {
            groups
                .limit_memory(bytes)
                .map_err(|reason| format!("cannot limit its memory: {reason}"))?;
        }
        if let Some(count) = spec.processes_max {
            // Where it does not work there is no sandbox against a fork bomb, but all else works.
            let _ = groups.limit_processes(count);
        }
        let mut entrance = entrance(spec).map_err(failed)?;
        let (ended_children, sender) = UnixStream::pair().map_err(failed)?;
        ended_children.set_nonblocking(true).map_err(failed)?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, sender)
            .map_err(failed)?;
        let capture = |path| Capture::create(path, spec.output_limit_bytes).map_err(failed);
        let (stdout, stdout_pipe) = capture(&spec.stdout)?;
        let (stderr, stderr_pipe) = capture(&spec.stderr)?;
        let (init, init_socket) = channel::pair().map_err(failed)?;
        entrance
            .command
            .env(MARK, &spec.id)
            .stdin(Stdio::from(init_socket))
            .stdout(Stdio::from(stdout_pipe))
            .stderr(Stdio::from(stderr_pipe));
        let tool = entrance.command.spawn().map_err(|error| {
            format!("cannot run `{}`: {error}", entrance.tool.unwrap_or("memsample"))
        })?;
        // Closes our copies of the pipes and of the socket.
        entrance.command = Command::new("");
        let mut supervisor = Self {
            runner,
            spec,
            groups,
            entrance,
            tool,
            init: Some(init),
            init_pid: 0,
            gate: None,
            ended_children,
            tool_ended: false,
            captures: [stdout, stderr],
            next_progress: None,
            last_exit: None,
            awaits_exit: false,
            is_over: false,
            runner_gone: false,
        };
        match supervisor.wait_for_init(MAX_ENTRANCE) {
            Some(InitTold::Ready { .. }) => Ok(supervisor),
            _ => {
                let tool = supervisor.entrance.tool.unwrap_or("memsample");
                supervisor.leave(&mut Ending::default());
                Err(format!("cannot make its sandbox: {}", last_words(spec, tool)))
            }
        }
    }

    /// Runs setup, the program and cleanup, and kills what is left.
    fn conduct(&mut self, ending: &mut Ending) {
        let spec = self.spec;
        let mut ready = true;
        for stage in &spec.setup {
            let end = self.run(stage, StageKind::Setup, &mut None);
            if let Some(reason) = failure(&end) {
                ending.not_started = Some(format!("its setup `{}` {reason}", shown(stage)));
                ready = false;
                break;
            }
        }
        let mut began = None;
        if ready && !self.is_over {
            match self.run(&spec.main, StageKind::Program, &mut began) {
                StageEnd::Exited(exit) => ending.set(exit),
                StageEnd::NotStarted(reason) => ending.not_started = Some(reason),
                StageEnd::TimedOut(exit) => {
                    ending.timed_out = true;
                    exit.into_iter().for_each(|exit| ending.set(exit));
                }
                StageEnd::Ended(exit) => {
                    ending.ended_by_runner = true;
                    exit.into_iter().for_each(|exit| ending.set(exit));
                }
                StageEnd::Lost => ending.lost = true,
            }
        } else if self.is_over {
            ending.ended_by_runner = true;
        }
        let stopped = Instant::now();
        self.next_progress = None;
        if !self.runner_gone {
            for stage in &spec.cleanup {
                // Also when the suite is aborted: only the runner's death ends it.
                let end = self.run(stage, StageKind::Cleanup, &mut None);
                if let Some(reason) = failure(&end) {
                    ending.notes.push(format!("its cleanup `{}` {reason}", shown(stage)));
                }
            }
        }
        if spec.keep_left_over && ending.not_started.is_none() && !self.is_over {
            self.live_on(ending);
        } else if ending.not_started.is_none() {
            ending.left_over_processes = self.left_over_processes();
        }
        self.kill();
        ending.duration = match began {
            // Cleanup is not the test's.
            Some(began) if spec.cleanup.is_empty() => Instant::now().duration_since(began),
            Some(began) => stopped.duration_since(began),
            None => Duration::ZERO,
        };
        if let Some(InitTold::Left { bytes }) = self.ask(&InitOrder::Left) {
            ending.left_bytes = bytes;
        }
    }

    /// Tells how the program ended, and lets what it started live until the runner wants it to end.
    fn live_on(&mut self, ending: &Ending) {
        if self.runner.send(&Told::Ended(Box::new(ending.clone()))).is_err() {
            return;
        }
        while !self.is_over {
            let _ = self.next(None);
        }
    }

    /// Runs one command until it ends, or its time is over, or the runner wants it to end.
    fn run(&mut self, stage: &Stage, kind: StageKind, began: &mut Option<Instant>) -> StageEnd {
        let exec = Exec {
            argv: stage.argv.clone(),
            cwd: self.spec.cwd.clone(),
            env: self.spec.env.clone(),
            user: self.spec.user.clone(),
        };
        if let Err(end) = self.launch(exec, kind) {
            return end;
        }
        *began = Some(Instant::now());
        if kind == StageKind::Program {
            let _ = self.runner.send(&Told::Started);
            self.next_progress = Some(Instant::now() + PROGRESS);
        }
        // What can be waited for, for ever if it must be.
        let deadline = Instant::now().checked_add(stage.timeout);
        loop {
            match self.next(deadline) {
                Happening::Init(InitTold::Exited { exit_code, signal }) => {
                    return StageEnd::Exited(Exit { exit_code, signal });
                }
                Happening::InitGone => return StageEnd::Lost,
                Happening::Deadline => return StageEnd::TimedOut(self.stop()),
                Happening::RunnerGone => {
                    self.kill();
                    return StageEnd::Ended(None);
                }
                // Cleanup is what is left to do then.
                Happening::Order(Order::End) if kind != StageKind::Cleanup => {
                    return StageEnd::Ended(self.stop());
                }
                _ => {}
            }
        }
    }

    /// Brings a gate to become the program.
    fn launch(&mut self, exec: Exec, kind: StageKind) -> Result<(), StageEnd> {
        let failed = |error: io::Error| StageEnd::NotStarted(error.to_string());
        let (gate, gate_socket) = channel::pair().map_err(failed)?;
        let groups = self.groups.open().map_err(failed)?;
        let groups: Vec<_> = groups.iter().map(AsFd::as_fd).collect();
        gate.send_with(&GateOrder::Join, &groups).map_err(failed)?;
        let order = InitOrder::Launch { argv: self.entrance.gate.clone() };
        self.last_exit = None;
        let init = self.init.as_ref().ok_or(StageEnd::Lost)?;
        init.send_with(&order, &[gate_socket.as_fd()]).map_err(failed)?;
        self.awaits_exit = true;
        drop(gate_socket);
        self.gate = Some(gate);
        let deadline = Some(Instant::now() + MAX_ENTRANCE);
        let mut exec = Some(GateOrder::Exec(Box::new(exec)));
        let mut go = |supervisor: &Self| -> Result<(), StageEnd> {
            let (Some(gate), Some(exec)) = (&supervisor.gate, exec.take()) else { return Ok(()) };
            gate.send(&exec).map_err(failed)
        };
        let mut reason = None;
        loop {
            match self.next(deadline) {
                Happening::Gate(GateTold::Ready) => {
                    let ready = Told::Ready { stage: kind, init: self.init_pid };
                    self.runner.send(&ready).map_err(failed)?;
                }
                Happening::Order(Order::Go) => go(self)?,
                Happening::Gate(GateTold::Failed(told)) => reason = Some(told),
                Happening::GateClosed if reason.is_none() => return Ok(()),
                // Init reaps the gate that has failed.
                Happening::Init(InitTold::Exited { .. }) => {
                    let reason = reason.unwrap_or_else(|| {
                        "it was killed before it could begin; its memory limit may be too low"
                            .to_owned()
                    });
                    return Err(StageEnd::NotStarted(reason));
                }
                Happening::Init(InitTold::NoGate(reason)) => {
                    return Err(StageEnd::NotStarted(reason));
                }
                Happening::InitGone => return Err(StageEnd::Lost),
                Happening::Order(Order::End) if kind == StageKind::Cleanup => {}
                Happening::RunnerGone | Happening::Order(Order::End) => {
                    self.gate = None;
                    self.kill();
                    return Err(StageEnd::Ended(None));
                }
                Happening::Deadline => {
                    self.gate = None;
                    self.kill();
                    let reason = format!("it was not ready after {MAX_ENTRANCE:?}");
                    return Err(StageEnd::NotStarted(reason));
                }
                _ => {}
            }
        }
    }

    /// Asks all processes to end, and kills them after the grace.
    fn stop(&mut self) -> Option<Exit> {
        let processes = self.processes();
        signal(&processes, Signal::TERM);
        // One that is stopped would not see it.
        signal(&processes, Signal::CONT);
        let deadline = Instant::now().checked_add(self.spec.grace);
        loop {
            // Awake now and then to see whether the rest has ended too.
            let soon = Instant::now() + SETTLE_PAUSE;
            let wake = match self.last_exit {
                Some(_) => Some(deadline.map_or(soon, |end| end.min(soon))),
                None => deadline,
            };
            match self.next(wake) {
                Happening::InitGone | Happening::RunnerGone => break,
                Happening::Deadline if deadline.is_some_and(|end| Instant::now() >= end) => break,
                _ => {}
            }
            if self.last_exit.is_some() && self.processes().is_empty() {
                break;
            }
        }
        self.kill();
        self.last_exit
    }

    /// Returns what all processes inside are below of; `None` where the kernel has ended them.
    ///
    /// Without a pid namespace a test can kill its init. What that leaves is ours then.
    fn ancestor(&self) -> Option<i32> {
        match (&self.init, self.entrance.tool) {
            (Some(_), _) => Some(self.init_pid),
            (None, None) => Some(own_pid()),
            (None, Some(_)) => None,
        }
    }

    /// Returns all processes inside, without init.
    fn processes(&self) -> Vec<i32> {
        let mut processes = self.groups.processes();
        let alive = |&pid: &i32| describe(pid).is_some();
        let below = self.ancestor().map(descendants).unwrap_or_default();
        processes.extend(below.into_iter().filter(alive));
        processes.sort_unstable();
        processes.dedup();
        processes
    }

    /// Waits a moment for what is about to end, and returns what is not.
    fn left_over_processes(&mut self) -> Vec<crate::results::LeftOverProcess> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() >= deadline {
                return left.into_iter().filter_map(describe).take(MAX_SURVIVORS).collect();
            }
            // Takes output meanwhile, without which they may not be able to end.
            let _ = self.next(Some(Instant::now() + SETTLE_PAUSE));
        }
    }

    /// Kills all processes inside, and leaves init.
    fn kill(&mut self) {
        if !self.groups.is_empty() {
            self.groups.kill();
        }
        if let Some(ancestor) = self.ancestor() {
            kill_below(ancestor, || self.reap());
        }
        // The word of its end must not be taken for that of the next program.
        let deadline = Some(Instant::now() + MAX_ANSWER);
        while self.awaits_exit {
            if let Happening::InitGone | Happening::Deadline = self.next(deadline) {
                break;
            }
        }
    }

    /// Orders init, and waits for its answer.
    fn ask(&mut self, order: &InitOrder) -> Option<InitTold> {
        self.init.as_ref()?.send(order).ok()?;
        self.wait_for_init(MAX_ANSWER)
    }

    /// Waits for what init says next, other than that a program ended.
    fn wait_for_init(&mut self, time: Duration) -> Option<InitTold> {
        let deadline = Some(Instant::now() + time);
        loop {
            match self.next(deadline) {
                Happening::Init(InitTold::Exited { .. }) => {}
                Happening::Init(told) => return Some(told),
                Happening::InitGone | Happening::Deadline => return None,
                _ => {}
            }
        }
    }

    /// Ends init and the tool, and takes the rest of the output.
    fn leave(&mut self, ending: &mut Ending) {
        self.gate = None;
        self.init = None;
        let deadline = Instant::now() + MAX_ANSWER;
        while !self.tool_ended && Instant::now() < deadline {
            let _ = self.next(Some(deadline));
        }
        if !self.tool_ended {
            let _ = self.tool.kill();
            ending.notes.push(format!("`{}` did not end and was killed", self.tool.id()));
        }
        // What init left, if it was killed: it is ours by now.
        kill_below(own_pid(), || self.reap());
        let deadline = Instant::now() + MAX_DRAIN;
        while self.captures.iter().any(|capture| capture.pipe().is_some()) {
            if let Happening::Deadline = self.next(Some(deadline)) {
                break;
            }
        }
        for capture in std::mem::replace(&mut self.captures, [Capture::closed(), Capture::closed()])
        {
            let (cut_bytes, error) = capture.finish();
            ending.output_cut_bytes += cut_bytes;
            ending.output_error = ending.output_error.take().or(error);
        }
    }

    /// Reaps what has ended.
    fn reap(&mut self) {
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        while let Ok(Some((pid, status))) = waitpid(None, options) {
            if status.stopped() {
                // Only a test stops its init: it would reap no more, and tell nothing.
                let _ = kill_process(pid, Signal::CONT);
            } else {
                self.tool_ended |= u32::try_from(pid.as_raw_nonzero().get()) == Ok(self.tool.id());
            }
        }
    }

    /// Waits for what happens next, and takes output and tells of progress meanwhile.
    fn next(&mut self, deadline: Option<Instant>) -> Happening {
        loop {
            let now = Instant::now();
            if let Some(next) = self.next_progress
                && now >= next
            {
                let rss_bytes = self.processes().into_iter().filter_map(rss_bytes).sum();
                let _ = self.runner.send(&Told::Progress { rss_bytes });
                self.next_progress = Some(now + PROGRESS);
            }
            // What has happened by then counts: we may have been stopped, or have waited for a CPU.
            let is_due = deadline.is_some_and(|deadline| now >= deadline);
            let wake = [deadline, self.next_progress].into_iter().flatten().min();
            let wait = wake.map(|wake| wake.saturating_duration_since(now));
            let [runner, init, gate, stdout, stderr, children] = match self.poll(wait) {
                Ok(ready) => ready,
                // Nothing can be waited for: as good as lost.
                Err(_) => return Happening::InitGone,
            };
            let [out, err] = &mut self.captures;
            if stdout {
                out.pump();
            }
            if stderr {
                err.pump();
            }
            if children {
                let _ = (&self.ended_children).read(&mut [0; 4096]);
                self.reap();
                if self.tool_ended && self.init.is_none() {
                    // Nobody is asked any more: who waits sees it.
                    return Happening::InitGone;
                }
            }
            if gate && let Some(channel) = &self.gate {
                match channel.receive::<GateTold>() {
                    Ok(Some(received)) => {
                        return Happening::Gate(received.message);
                    }
                    Ok(None) | Err(_) => {
                        self.gate = None;
                        return Happening::GateClosed;
                    }
                }
            }
            if init && let Some(channel) = &self.init {
                match channel.receive::<InitTold>() {
                    Ok(Some(received)) => {
                        if let InitTold::Ready { .. } = received.message {
                            self.init_pid = received.sender.unwrap_or(0);
                        }
                        if let InitTold::Exited { exit_code, signal } = received.message {
                            self.last_exit = Some(Exit { exit_code, signal });
                        }
                        if let InitTold::Exited { .. } | InitTold::NoGate(_) = received.message {
                            self.awaits_exit = false;
                        }
                        return Happening::Init(received.message);
                    }
                    Ok(None) | Err(_) => {
                        self.init = None;
                        return Happening::InitGone;
                    }
                }
            }
            if runner && !self.runner_gone {
                match self.runner.receive::<Order>() {
                    Ok(Some(received)) => {
                        self.is_over |= matches!(received.message, Order::End);
                        return Happening::Order(received.message);
                    }
                    Ok(None) | Err(_) => {
                        (self.is_over, self.runner_gone) = (true, true);
                        return Happening::RunnerGone;
                    }
                }
            }
            if is_due {
                return Happening::Deadline;
            }
        }
    }

    /// Waits until something is there: of the runner, init, the gate, the outputs, ended children.
    fn poll(&self, wait: Option<Duration>) -> io::Result<[bool; 6]> {
        let [out, err] = &self.captures;
        let channels = [
            Some(self.runner.as_fd()).filter(|_| !self.runner_gone),
            self.init.as_ref().map(AsFd::as_fd),
            self.gate.as_ref().map(AsFd::as_fd),
            out.pipe(),
            err.pipe(),
            Some(self.ended_children.as_fd()),
        ];
        let mut files: Vec<PollFd<'_>> = channels
            .iter()
            .flatten()
            .map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN))
            .collect();
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        match poll(&mut files, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = files.iter().map(|file| !file.revents().is_empty());
        Ok(channels.map(|file| file.is_some() && ready.next().unwrap_or(false)))
    }
}

impl Ending {
    fn set(&mut self, exit: Exit) {
        (self.exit_code, self.signal) = (exit.exit_code, exit.signal);
    }
}

/// Returns the command of a stage for a message, which has a bound as all that is told.
fn shown(stage: &Stage) -> String {
    let command = stage.argv.join(" ");
    match command.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", command.get(..end).unwrap_or_default()),
        None => command,
    }
}

/// Says why a stage around the program did not do what it should, as the end of a sentence.
fn failure(end: &StageEnd) -> Option<String> {
    match end {
        StageEnd::Exited(Exit { exit_code: Some(0), .. }) => None,
        StageEnd::Exited(Exit { exit_code: Some(code), .. }) => Some(format!("exited with {code}")),
        StageEnd::Exited(Exit { signal, .. }) => {
            Some(format!("was ended by signal {}", signal.unwrap_or_default()))
        }
        StageEnd::NotStarted(reason) => Some(format!("did not start: {reason}")),
        StageEnd::TimedOut(_) => Some("did not end in its time".to_owned()),
        StageEnd::Ended(_) => Some("was ended with the suite".to_owned()),
        StageEnd::Lost => Some("was lost: its init was killed".to_owned()),
    }
}

/// Returns what a tool wrote at last, which says why it failed.
fn last_words(spec: &Spec, tool: &str) -> String {
    let bytes = fs::read(&spec.stderr).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => line.to_owned(),
        None => format!("`{tool}` ended without a word"),
    }
}
