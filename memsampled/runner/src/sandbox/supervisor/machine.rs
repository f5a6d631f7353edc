//! The states of an attempt and what leads from one to the next, without any process or file: the supervisor reports
//! events to the machine and performs the actions that it asks for.
//!
//! ```text
//! Entering ─▶ Launching ─▶ Running ─▶ Stopping ─┐
//!    │            ▲ │         │                 ▼
//!    │            │ └─────────┴─────────────▶ Killing
//!    │            └── of each stage: setup, program, cleanup
//!    │        Settling or LivingOn ─▶ Killing ─▶ AskingLeft
//!    ▼                                               │
//! Leaving ◀──────────────────────────────────────────┘
//!    └─▶ KillingOrphans ─▶ Draining ─▶ Done
//! ```
//!
//! Each state has a deadline, but for `LivingOn`, which ends when the runner says so or is gone, `Running`, `Stopping`
//! and `Settling`, whose time may be endless, and those that an action ends at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::state::{SupervisorAction, SupervisorEvent, SupervisorState};
use crate::results::LeftOverProcess;
use crate::sandbox::attempt_end::{AttemptEnd, ProgramExit};
use crate::sandbox::spec::{Spec, StageKind};

/// What a tool needs to make a sandbox, at most, on a machine that is busy.
pub(super) const MAX_ENTRY: Duration = Duration::from_secs(60);
/// How long output may come after all processes have ended: a process elsewhere may hold the pipe.
const MAX_DRAIN: Duration = Duration::from_secs(1);

/// One attempt, from the making of its sandbox until nothing is left of it.
#[derive(Clone, Debug)]
pub(super) struct AttemptMachine<'a> {
    pub(super) spec: &'a Spec,
    state: SupervisorState,
    pub(super) actions: VecDeque<SupervisorAction>,
    pub(super) end: AttemptEnd,
    /// Whether the sandbox was made.
    pub(super) is_entered: bool,
    /// The runner wants it to end, or is gone.
    pub(super) is_over: bool,
    pub(super) runner_gone: bool,
    pub(super) init_gone: bool,
    pub(super) tool_ended: bool,
    /// Whether init was asked to start a program and has not reported its end.
    pub(super) awaits_exit: bool,
    /// How the program that init started last ended.
    pub(super) last_exit: Option<ProgramExit>,
    pub(super) began: Option<Instant>,
    pub(super) stopped: Option<Instant>,
}

impl<'a> AttemptMachine<'a> {
    /// Begins when the tool has been started.
    pub(super) fn new(spec: &'a Spec, now: Instant) -> Self {
        Self {
            spec,
            state: SupervisorState::Entering { deadline: now + MAX_ENTRY },
            actions: VecDeque::new(),
            end: AttemptEnd::default(),
            is_entered: false,
            is_over: false,
            runner_gone: false,
            init_gone: false,
            tool_ended: false,
            awaits_exit: false,
            last_exit: None,
            began: None,
            stopped: None,
        }
    }

    /// Returns what is to be done next, before another event is waited for.
    pub(super) fn next_action(&mut self) -> Option<SupervisorAction> {
        self.actions.pop_front()
    }

    /// Returns whether nothing is left of the attempt.
    pub(super) fn is_done(&self) -> bool {
        self.state == SupervisorState::Done
    }

    /// Returns when [`SupervisorEvent::Deadline`] is to be reported.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            SupervisorState::Entering { deadline }
            | SupervisorState::Launching { deadline, .. }
            | SupervisorState::Killing { deadline, .. }
            | SupervisorState::AskingLeft { deadline }
            | SupervisorState::Leaving { deadline }
            | SupervisorState::Draining { deadline } => Some(deadline),
            SupervisorState::Running { deadline, .. }
            | SupervisorState::Stopping { deadline, .. }
            | SupervisorState::Settling { deadline } => deadline,
            SupervisorState::LivingOn | SupervisorState::KillingOrphans | SupervisorState::Done => {
                None
            }
        }
    }

    /// Returns whether [`SupervisorEvent::AllEnded`] is to be reported.
    pub(super) fn looks_for_processes(&self) -> bool {
        match self.state {
            SupervisorState::Settling { .. } => true,
            // Before the program has ended there is one.
            SupervisorState::Stopping { .. } => self.last_exit.is_some(),
            _ => false,
        }
    }

    /// Returns whether all processes inside have joined the control groups: an exec shim has not yet.
    pub(super) fn all_have_joined(&self) -> bool {
        matches!(self.state, SupervisorState::Running { .. } | SupervisorState::Stopping { .. })
    }

    /// Returns whether [`SupervisorEvent::CpuTimeSpent`] is to be reported.
    pub(super) fn limits_cpu_time(&self) -> bool {
        matches!(self.state, SupervisorState::Running { stage, .. } if stage.kind == StageKind::Program)
    }

    /// Returns whether [`SupervisorEvent::OutputClosed`] is to be reported.
    pub(super) fn drains_output(&self) -> bool {
        matches!(self.state, SupervisorState::Draining { .. })
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> &SupervisorState {
        &self.state
    }

    /// Returns how it ends, as far as that is known.
    pub(super) fn end(&self) -> &AttemptEnd {
        &self.end
    }

    /// Notes which processes the attempt left over, and why there may be more.
    pub(super) fn note_left_over(
        &mut self,
        processes: Vec<LeftOverProcess>,
        unlisted: Option<String>,
    ) {
        self.end.left_over_processes = processes;
        self.end.unlisted = unlisted;
    }

    /// Returns how it ended; `None` if its sandbox could not be made.
    pub(super) fn into_end(self) -> Option<AttemptEnd> {
        self.is_entered.then_some(self.end)
    }

    /// Returns whether the runner is gone.
    pub(super) fn runner_gone(&self) -> bool {
        self.runner_gone
    }

    /// Takes an event, and goes into the state to which it leads.
    pub(super) fn handle(&mut self, event: SupervisorEvent, now: Instant) {
        self.note(&event);
        self.state = match std::mem::replace(&mut self.state, SupervisorState::Done) {
            SupervisorState::Entering { deadline } => self.entering(deadline, event, now),
            SupervisorState::Launching { stage, deadline, failure, is_sent } => {
                self.launching((stage, deadline, failure, is_sent), event, now)
            }
            SupervisorState::Running { stage, deadline } => {
                self.running(stage, deadline, event, now)
            }
            SupervisorState::Stopping { stage, why, deadline } => {
                self.stopping(stage, why, deadline, event, now)
            }
            SupervisorState::Killing { next, deadline } => self.killing(next, deadline, event, now),
            SupervisorState::Settling { deadline } => self.settling(deadline, event, now),
            SupervisorState::LivingOn => self.living_on(event, now),
            SupervisorState::AskingLeft { deadline } => self.asking_left(deadline, event, now),
            SupervisorState::Leaving { deadline } => self.leaving(deadline, event),
            SupervisorState::KillingOrphans => match event {
                SupervisorEvent::Killed => SupervisorState::Draining { deadline: now + MAX_DRAIN },
                _ => SupervisorState::KillingOrphans,
            },
            SupervisorState::Draining { deadline } => match event {
                SupervisorEvent::OutputClosed | SupervisorEvent::Deadline => SupervisorState::Done,
                _ => SupervisorState::Draining { deadline },
            },
            SupervisorState::Done => SupervisorState::Done,
        };
    }

    /// Notes what holds in every state.
    fn note(&mut self, event: &SupervisorEvent) {
        match event {
            SupervisorEvent::End => self.is_over = true,
            SupervisorEvent::RunnerGone => (self.is_over, self.runner_gone) = (true, true),
            SupervisorEvent::InitGone(reason) => {
                self.init_gone = true;
                self.end.unheard = self.end.unheard.take().or_else(|| reason.clone());
            }
            SupervisorEvent::ToolEnded => self.tool_ended = true,
            SupervisorEvent::Exited(exit) => {
                (self.last_exit, self.awaits_exit) = (Some(*exit), false);
                // Of all that were reaped, so that the last one is enough.
                self.end.reaped_max_rss_bytes = exit.reaped_max_rss_bytes;
                if exit.is_late {
                    let note = "the end of a program of it was noticed up to a second late: so much its \
                                duration may be too long";
                    self.end.notes.push(note.to_owned());
                }
            }
            SupervisorEvent::ShimNotStarted(_) | SupervisorEvent::LaunchFailed(_) => {
                self.awaits_exit = false;
            }
            SupervisorEvent::InitReady
            | SupervisorEvent::LeftBytes(_)
            | SupervisorEvent::ShimReady
            | SupervisorEvent::ShimFailed(_)
            | SupervisorEvent::ShimClosed
            | SupervisorEvent::ShimUnheard(_)
            | SupervisorEvent::ExecNotSent(_)
            | SupervisorEvent::Go
            | SupervisorEvent::AllEnded
            | SupervisorEvent::Killed
            | SupervisorEvent::OutputClosed
            | SupervisorEvent::CpuTimeSpent
            | SupervisorEvent::Deadline => {}
        }
    }
}
