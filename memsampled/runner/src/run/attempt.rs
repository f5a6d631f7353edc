//! An attempt that runs, as the dispatcher sees it, and all that its supervisor must know.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use rustix::process::{Pid, Signal, kill_process};

use super::options::RunOptions;
use super::own_recording::OwnRecording;
use crate::sandbox::{
    AttemptEnd, ResolvedSandbox, Spec, Stage, SupervisorHandle, SupervisorMessage, SupervisorOrder,
    Supervisors, artifacts_directory, find_user, reap,
};
use crate::suite::{Program, Step, Test};

/// What a running attempt reports to the dispatcher.
pub(super) struct AttemptMessage {
    /// Which attempt: as it was given to [`RunningAttempt::start`].
    pub(super) id: u64,
    /// The message of its supervisor; `None` when that is gone.
    pub(super) message: Option<SupervisorMessage>,
}

/// An attempt whose supervisor runs.
pub(super) struct RunningAttempt {
    supervisor: Arc<SupervisorHandle>,
    listener: std::thread::JoinHandle<()>,
}

impl RunningAttempt {
    /// Starts an attempt. What it reports comes through the channel; the last message says that its supervisor is gone.
    /// The supervisor keeps `held` open until then.
    pub(super) fn start(
        id: u64,
        spec: &Spec,
        held: Option<BorrowedFd<'_>>,
        messages: Sender<AttemptMessage>,
        supervisors: &mut Supervisors,
    ) -> io::Result<Self> {
        fs::create_dir_all(&spec.scratch)?;
        let (supervisor, pid) = supervisors.launch(spec, held)?;
        let supervisor = Arc::new(supervisor);
        let from = Arc::clone(&supervisor);
        let listener = std::thread::Builder::new().name("memsample-attempt".to_owned());
        let listener = listener.spawn(move || listen(id, &from, pid, &messages))?;
        Ok(Self { supervisor, listener })
    }

    /// Lets the program execute its first instruction.
    pub(super) fn go(&self) {
        self.supervisor.send(&SupervisorOrder::Go);
    }

    /// Ends it: SIGTERM, grace, cleanup.
    pub(super) fn end(&self) {
        self.supervisor.send(&SupervisorOrder::End);
    }

    /// Ends it at once.
    pub(super) fn abandon(&self) {
        self.supervisor.abandon();
    }

    /// Waits for the thread that listens, which ends with the supervisor.
    pub(super) fn join(self) {
        let _ = self.listener.join();
    }
}

fn listen(id: u64, supervisor: &SupervisorHandle, pid: Pid, messages: &Sender<AttemptMessage>) {
    // A test with our rights may have stopped it, and with it its own time. To one that is not stopped
    // the signal means nothing.
    let wake = || {
        let _ = kill_process(pid, Signal::CONT);
    };
    while let Some(message) = supervisor.receive(wake) {
        // The dispatcher outlives all attempts.
        let _ = messages.send(AttemptMessage { id, message: Some(message) });
    }
    wake();
    reap(pid);
    let _ = messages.send(AttemptMessage { id, message: None });
}

/// Returns everything that a supervisor must know of an attempt.
pub(super) fn spec_of_test(
    test: &Test,
    sandbox: ResolvedSandbox,
    id: String,
    directory: &Path,
    options: &RunOptions,
) -> Result<Spec, String> {
    let user = match &test.run_as {
        Some(name) => Some(find_user(name, sandbox.root())?),
        None => None,
    };
    let stages = |steps: &[Step]| steps.iter().map(stage_of_step).collect();
    Ok(Spec {
        id,
        sandbox,
        launcher: options.launcher.clone(),
        scratch: directory.join("scratch"),
        runner_scratch: Some(OwnRecording::path(directory)),
        stdout: directory.join("stdout"),
        stderr: directory.join("stderr"),
        output_limit_bytes: options.output_limit_bytes,
        memory_limit_bytes: test.memory_limit_bytes,
        cpu_limit: test.cpu_limit,
        measures_group: true,
        processes_max: options.processes_max,
        setup: stages(&test.setup),
        main: Stage { argv: argv(&test.program), timeout: test.timeout },
        cleanup: stages(&test.cleanup),
        grace: test.grace,
        settle: options.settle,
        user,
        network: test.network,
        cwd: test.cwd.clone(),
        env: test.env.clone(),
        expect_exit: test.expect_exit.clone(),
        artifacts: test.artifacts.clone(),
        artifacts_variable: test.artifacts_variable.clone(),
        artifacts_directory: artifacts_directory(directory),
        keep_failed: options.keep_failed,
        keep_left_over: false,
    })
}

/// The same for a step of the suite itself, which has no sandbox but a control group.
pub(super) fn spec_of_step(
    step: &Step,
    id: String,
    cwd: PathBuf,
    directory: &Path,
    options: &RunOptions,
    keep_left_over: bool,
) -> Spec {
    Spec {
        id,
        sandbox: ResolvedSandbox::None,
        launcher: options.launcher.clone(),
        scratch: directory.join("scratch"),
        runner_scratch: None,
        stdout: directory.join("stdout"),
        stderr: directory.join("stderr"),
        output_limit_bytes: options.output_limit_bytes,
        memory_limit_bytes: None,
        cpu_limit: None,
        measures_group: false,
        processes_max: None,
        setup: Vec::new(),
        main: stage_of_step(step),
        cleanup: Vec::new(),
        grace: STEP_GRACE,
        settle: options.settle,
        user: None,
        network: true,
        cwd,
        env: std::collections::BTreeMap::new(),
        expect_exit: vec![0],
        artifacts: Vec::new(),
        artifacts_variable: None,
        artifacts_directory: artifacts_directory(directory),
        keep_failed: None,
        keep_left_over,
    }
}

/// The grace of what the suite's setup started and its teardown did not end.
const STEP_GRACE: Duration = Duration::from_secs(5);

fn stage_of_step(step: &Step) -> Stage {
    Stage { argv: argv(&step.program), timeout: step.timeout }
}

fn argv(program: &Program) -> Vec<String> {
    match program {
        Program::Command(argv) => argv.clone(),
        Program::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
    }
}

/// Describes why a step of the suite failed, as the end of a sentence.
pub(super) fn failure(end: &AttemptEnd) -> Option<String> {
    match end {
        AttemptEnd { not_started: Some(reason), .. } => {
            Some(format!("could not be started: {reason}"))
        }
        AttemptEnd { timed_out: true, .. } => Some("did not end in its time".to_owned()),
        AttemptEnd { ended_by_runner: true, .. } => Some("was ended".to_owned()),
        AttemptEnd { exit_code: Some(0), .. } => None,
        AttemptEnd { exit_code: Some(code), .. } => Some(format!("exited with {code}")),
        AttemptEnd { signal: Some(signal), .. } => Some(format!("was ended by signal {signal}")),
        _ => Some("was lost".to_owned()),
    }
}
