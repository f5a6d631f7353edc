//! Where an attempt is, what happens to it, and what is done about it.

use std::time::Instant;

use super::stage::{StageEnd, StageRef, StopReason};
use crate::sandbox::attempt_end::ProgramExit;
use crate::sandbox::spec::StageKind;

/// What happens to an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SupervisorEvent {
    /// Init runs in the sandbox.
    InitReady,
    /// Init could not start the exec shim.
    ShimNotStarted(String),
    /// The exec shim or the program that init started last has ended.
    Exited(ProgramExit),
    /// Init reports how much shared memory is left.
    LeftBytes(Option<u64>),
    /// Init has ended; or nothing can be heard of it any more, for this reason.
    InitGone(Option<String>),
    /// The exec shim has joined the control groups, and waits.
    ShimReady,
    /// The exec shim could not become the program.
    ShimFailed(String),
    /// The exec shim has become the program, or has ended.
    ShimClosed,
    /// Nothing can be heard of the exec shim any more, for this reason.
    ShimUnheard(String),
    /// Init could not be asked to start the exec shim.
    LaunchFailed(String),
    /// The program could not be sent to the exec shim.
    ExecNotSent(String),
    /// The runner lets the program begin.
    Go,
    /// The runner ends the attempt.
    End,
    /// The runner has ended, or abandons the attempt.
    RunnerGone,
    /// No process is left inside. Only reported where the machine looks for processes.
    AllEnded,
    /// An action that kills has been performed.
    Killed,
    /// The tool that made the sandbox has ended.
    ToolEnded,
    /// Nobody can write output any more.
    OutputClosed,
    /// The program has used more CPU time than it may. Only reported where the machine asks for it.
    CpuTimeSpent,
    /// The deadline of the state has passed.
    Deadline,
}

/// What the supervisor shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SupervisorAction {
    /// Have init start an exec shim for a stage.
    Launch(StageRef),
    /// Report to the runner that a stage waits to begin.
    ReportReady(StageKind),
    /// Send the exec shim the program to execute.
    SendExec(StageRef),
    /// Close the channel to the exec shim, which ends if it still waits.
    CloseShim,
    /// Begin to report to the runner what the processes use.
    StartProgress,
    /// Stop that.
    StopProgress,
    /// Ask all processes inside to end: SIGTERM.
    Terminate,
    /// Kill all processes inside, but not init.
    Kill,
    /// Report to the runner how the attempt ended, while its processes continue.
    ReportEnd,
    /// Note which processes are left over.
    DescribeLeftOver,
    /// Ask init how much shared memory is left.
    AskLeft,
    /// Close the channels to init and to the exec shim: then init kills its descendants and exits.
    CloseInit,
    /// Kill the tool that made the sandbox.
    KillTool,
    /// Kill what init left to the supervisor.
    KillOrphans,
}

/// Where an attempt is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SupervisorState {
    /// The tool makes the sandbox.
    Entering { deadline: Instant },
    /// An exec shim is to become the program of a stage.
    Launching { stage: StageRef, deadline: Instant, failure: Option<String>, is_sent: bool },
    /// The program of a stage runs.
    Running { stage: StageRef, deadline: Option<Instant> },
    /// It was asked to end, and has its grace.
    Stopping { stage: StageRef, why: StopReason, deadline: Option<Instant> },
    /// All inside is killed; init still has to report the end of the program, which could otherwise be taken for the end
    /// of the next one.
    Killing { next: AfterKill, deadline: Instant },
    /// The program and its cleanup have ended: what is about to end has a moment to do so.
    Settling { deadline: Option<Instant> },
    /// What the program started lives on, until the runner ends it.
    LivingOn,
    /// Init counts the shared memory that is left.
    AskingLeft { deadline: Instant },
    /// The tool has to end, with init.
    Leaving { deadline: Instant },
    /// What init left is killed.
    KillingOrphans,
    /// The rest of the output comes.
    Draining { deadline: Instant },
    /// Nothing is left.
    Done,
}

/// What follows when all inside is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AfterKill {
    /// A stage has ended so.
    FinishStage(StageRef, StageEnd),
    /// The attempt has ended.
    AskLeft,
}
