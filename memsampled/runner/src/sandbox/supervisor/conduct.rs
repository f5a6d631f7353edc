//! Starts a sandbox, and performs what the state machine of its attempt asks for.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use memsample_fork::{Streams, fork_in_namespaces};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{name, set_name};

use super::event_source::{EventSource, WaitFor};
use super::inside::{Inside, kill_own};
use super::machine::AttemptMachine;
use super::stage::StageRef;
use super::state::{SupervisorAction, SupervisorEvent};
use crate::sandbox::attempt_end::AttemptEnd;
use crate::sandbox::capture::OutputCapture;
use crate::sandbox::channel::{self, Channel};
use crate::sandbox::group_meter::GroupMeter;
use crate::sandbox::groups::{GroupFiles, Groups};
use crate::sandbox::init::{self, SharedMemory};
use crate::sandbox::last_line::last_line;
use crate::sandbox::names::PROCESS_NAME;
use crate::sandbox::priority::RaisedPriority;
use crate::sandbox::processes::{
    SANDBOX_VARIABLE, compare_memory, describe, measure_held_files, signal,
};
use crate::sandbox::protocol::{Exec, InitOrder, ShimOrder, SupervisorMessage};
use crate::sandbox::spec::{Spec, StageKind};
use crate::sandbox::start::{execute, start};
use crate::sandbox::tool::{Entry, given_directory, sandbox_tool};

/// Processes left over that are described, at most; all are killed.
const MAX_LEFT_OVER: usize = 100;

/// One attempt, while it is supervised.
pub(super) struct Supervisor<'a> {
    spec: &'a Spec,
    groups: &'a Groups,
    machine: AttemptMachine<'a>,
    events: EventSource<'a>,
    inside: Inside<'a>,
    /// The arguments with which an exec shim is run inside.
    shim: (PathBuf, Vec<String>),
    /// The name of the tool, for messages.
    tool_name: &'static str,
    tool: Pid,
}

impl<'a> Supervisor<'a> {
    /// Starts the tool that makes the sandbox.
    ///
    /// # Errors
    ///
    /// Why it could not be started, as the end of a sentence.
    pub(super) fn start(
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
        if spec.cpu_limit.is_some() && groups.cpu_time().is_none() {
            return Err(
                "cannot limit its CPU time: no control group that counts it can be made (see \
                        `memsample doctor`)"
                    .to_owned(),
            );
        }
        if let Some(count) = spec.processes_max {
            // Where it does not work there is no protection from a fork bomb, but all else works.
            let _ = groups.limit_processes(count);
        }
        let sandbox = sandbox_tool(spec).map_err(failed)?;
        let (ended_children, sender) = UnixStream::pair().map_err(failed)?;
        ended_children.set_nonblocking(true).map_err(failed)?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, sender)
            .map_err(failed)?;
        let capture = |path| OutputCapture::create(path, spec.output_limit_bytes).map_err(failed);
        let (stdout, stdout_pipe) = capture(&spec.stdout)?;
        let (stderr, stderr_pipe) = capture(&spec.stderr)?;
        let (init, init_socket) = channel::pair().map_err(failed)?;
        let mut command = sandbox.command;
        command.env(SANDBOX_VARIABLE, &spec.id);
        let streams = Streams {
            stdin: Some(init_socket.as_fd()),
            stdout: Some(stdout_pipe.as_fd()),
            stderr: Some(stderr_pipe.as_fd()),
        };
        let tool_name = sandbox.tool;
        let tool = match sandbox.entry {
            Entry::Tool => execute(streams, command),
            Entry::Fork => {
                under_process_name(|| start(streams, || init::run(SharedMemory::Host), command))
            }
            Entry::ForkInNamespaces => {
                under_process_name(|| fork_in_namespaces(streams, init::run_in_namespaces))
                    .or_else(|_| execute(streams, command))
            }
        };
        // Init has them now.
        drop((init_socket, stdout_pipe, stderr_pipe));
        let tool = tool.map_err(|error| format!("cannot run `{tool_name}`: {error}"))?;
        let captures = [stdout, stderr];
        let meter = GroupMeter::new(groups, spec.cpu_limit, !spec.measures_group);
        Ok(Self {
            spec,
            groups,
            machine: AttemptMachine::new(spec, Instant::now()),
            events: EventSource::new(runner, init, ended_children, tool, captures, meter),
            inside: Inside::new(groups, sandbox.entry != Entry::Fork),
            shim: sandbox.shim,
            tool_name,
            tool,
        })
    }

    /// Conducts the attempt until nothing is left of it. Returns how it ended, and whether the runner is gone.
    pub(super) fn conduct(mut self) -> (AttemptEnd, bool) {
        // The tool, and with it the test, was started without.
        let _raised = RaisedPriority::raise();
        while !self.machine.is_done() {
            if let Some(action) = self.machine.next_action() {
                if let Some(event) = self.perform(action) {
                    self.machine.handle(event, Instant::now());
                }
                continue;
            }
            let wanted = WaitFor {
                deadline: self.machine.deadline(),
                looks_for_processes: self.machine.looks_for_processes(),
                all_have_joined: self.machine.all_have_joined(),
                limits_cpu_time: self.machine.limits_cpu_time(),
                drains_output: self.machine.drains_output(),
            };
            let event = self.events.next(&mut self.inside, wanted);
            self.machine.handle(event, Instant::now());
        }
        let runner_gone = self.machine.runner_gone();
        let (spec, tool_name) = (self.spec, self.tool_name);
        let end = self.machine.into_end();
        let is_cpu_time_spent = self.events.meter.is_cpu_time_spent();
        let (group, moved) = self.events.meter.finish();
        let captured = self.events.captures.map(OutputCapture::finish);
        let Some(mut end) = end else {
            let why = last_words(spec, tool_name);
            return (
                AttemptEnd::not_started(format!("cannot make its sandbox: {why}")),
                runner_gone,
            );
        };
        // Also of a program that ended by itself before it was seen.
        end.out_of_cpu_time |= is_cpu_time_spent;
        end.group = group;
        end.notes.extend(moved);
        for (cut_bytes, error) in captured {
            end.output_cut_bytes += cut_bytes;
            end.output_error = end.output_error.take().or(error);
        }
        (end, runner_gone)
    }

    /// Performs an action; returns the event that comes of it.
    fn perform(&mut self, action: SupervisorAction) -> Option<SupervisorEvent> {
        match action {
            SupervisorAction::Launch(stage) => return self.launch(stage),
            SupervisorAction::ReportReady(stage) => {
                let init = self.inside.init_pid();
                self.report(&SupervisorMessage::Ready { stage, init });
            }
            SupervisorAction::SendExec(stage) => return self.send_exec(stage),
            SupervisorAction::CloseShim => self.events.shim = None,
            SupervisorAction::StartProgress => self.events.start_progress(),
            SupervisorAction::StopProgress => {
                self.events.meter.program_ended();
                self.events.stop_progress();
            }
            SupervisorAction::Terminate => {
                let processes = self.inside.identified();
                signal(&processes, Signal::TERM);
                // One that is stopped or frozen would not see it.
                signal(&processes, Signal::CONT);
                self.groups.thaw();
            }
            SupervisorAction::Kill => {
                let tool_ended = self.inside.kill(self.tool);
                self.events.note_reaped(tool_ended);
                return Some(SupervisorEvent::Killed);
            }
            SupervisorAction::ReportEnd => {
                let end = Box::new(self.machine.end().clone());
                self.report(&SupervisorMessage::Ended(end));
            }
            SupervisorAction::DescribeLeftOver => {
                let listed = self.inside.listed();
                let left = listed.found.into_iter().filter_map(describe);
                let mut left: Vec<_> = left.take(MAX_LEFT_OVER + 1).collect();
                let is_cut = left.len() > MAX_LEFT_OVER;
                left.truncate(MAX_LEFT_OVER);
                compare_memory(&mut left);
                measure_held_files(&mut left);
                let unlisted = match listed.error {
                    Some(error) => Some(format!("they could not be listed: {error}")),
                    None => is_cut.then(|| format!("only {MAX_LEFT_OVER} were looked at")),
                };
                self.machine.note_left_over(left, unlisted);
            }
            SupervisorAction::AskLeft => {
                let sent = self.events.init.as_ref().map(|init| init.send(&InitOrder::Left));
                match sent {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        return Some(SupervisorEvent::InitGone(Some(error.to_string())));
                    }
                    None => return Some(SupervisorEvent::InitGone(None)),
                }
            }
            SupervisorAction::CloseInit => (self.events.init, self.events.shim) = (None, None),
            SupervisorAction::KillTool => {
                let _ = kill_process(self.tool, Signal::KILL);
            }
            SupervisorAction::KillOrphans => {
                self.events.note_reaped(kill_own(self.tool));
                return Some(SupervisorEvent::Killed);
            }
        }
        None
    }

    /// Sends the runner a message. If it is gone or cannot be told, its channel is closed, which is an event.
    fn report(&self, message: &SupervisorMessage) {
        if self.events.runner.send(message).is_err() {
            // It would wait for the message for ever, and we for its answer.
            let _ = shutdown(self.events.runner, Shutdown::Both);
        }
    }

    /// Has init start an exec shim.
    fn launch(&mut self, _stage: StageRef) -> Option<SupervisorEvent> {
        let launch = || -> io::Result<_> {
            let (shim, shim_socket) = channel::pair()?;
            let GroupFiles { tasks, unified } = self.groups.open()?;
            let (directory, procs) = unified.unzip();
            let joins: Vec<_> = procs.iter().chain(&tasks).map(AsFd::as_fd).collect();
            shim.send_with(&ShimOrder::Join { has_unified: procs.is_some() }, &joins)?;
            let (program, arguments) = self.shim.clone();
            let order = InitOrder::Launch { program, arguments };
            if let Some(init) = &self.events.init {
                let mut with = vec![shim_socket.as_fd()];
                with.extend(directory.as_ref().map(AsFd::as_fd));
                init.send_with(&order, &with)?;
            }
            Ok(shim)
        };
        match launch() {
            Ok(shim) => {
                self.events.shim = Some(shim);
                None
            }
            Err(error) => Some(SupervisorEvent::LaunchFailed(error.to_string())),
        }
    }

    /// Sends the exec shim the program to execute.
    fn send_exec(&mut self, stage: StageRef) -> Option<SupervisorEvent> {
        if stage.kind == StageKind::Program {
            self.events.meter.program_begins();
        }
        let mut env = self.spec.env.clone();
        if let Some((name, directory)) = given_directory(self.spec)
            && let Some(directory) = directory.to_str()
        {
            env.entry(name.to_owned()).or_insert_with(|| directory.to_owned());
        }
        // A fork has the environment of what forked.
        env.entry(SANDBOX_VARIABLE.to_owned()).or_insert_with(|| self.spec.id.clone());
        let exec = Exec {
            argv: self.machine.stage(stage)?.argv.clone(),
            cwd: self.spec.cwd.clone(),
            env,
            user: self.spec.user.clone(),
        };
        let sent = self.events.shim.as_ref()?.send(&ShimOrder::Exec(Box::new(exec)));
        sent.err().map(|error| SupervisorEvent::ExecNotSent(error.to_string()))
    }
}

/// Forks with the command name of init, so that it has it from its first moment on.
fn under_process_name<T>(fork: impl FnOnce() -> T) -> T {
    let own = name();
    let _ = CString::new(PROCESS_NAME).map(|name| set_name(&name));
    let forked = fork();
    let _ = own.map(|own| set_name(&own));
    forked
}

/// Returns what a tool wrote at last, which says why it failed.
fn last_words(spec: &Spec, tool: &str) -> String {
    let bytes = fs::read(&spec.stderr).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match last_line(&text) {
        Some(line) => line.to_owned(),
        None => format!("`{tool}` ended without a message"),
    }
}
