//! What follows what: stage after stage, and then all that is done so that nothing is left.

use std::time::{Duration, Instant};

use super::machine::{AttemptMachine, MAX_ENTRY};
use super::stage::{StageEnd, StageRef, StopReason, failure, shown};
use super::state::{AfterKill, SupervisorAction, SupervisorState};
use crate::sandbox::spec::{Stage, StageKind};

/// What init needs to answer, at most.
pub(super) const MAX_ANSWER: Duration = Duration::from_secs(20);

impl AttemptMachine<'_> {
    /// Begins a setup step, or the program after the last of them.
    pub(super) fn begin_setup(&mut self, index: usize, now: Instant) -> SupervisorState {
        if index < self.spec.setup.len() {
            self.launch(StageRef { kind: StageKind::Setup, index }, now)
        } else {
            self.launch(StageRef { kind: StageKind::Program, index: 0 }, now)
        }
    }

    /// Begins a cleanup step, or what follows the last of them. Also when the suite is aborted: only the death of the
    /// runner prevents cleanup.
    fn begin_cleanup(&mut self, index: usize, now: Instant) -> SupervisorState {
        if index < self.spec.cleanup.len() && !self.runner_gone {
            return self.launch(StageRef { kind: StageKind::Cleanup, index }, now);
        }
        if self.end.not_started.is_some() {
            self.kill(AfterKill::AskLeft, now)
        } else if self.spec.keep_left_over && !self.is_over {
            self.actions.push_back(SupervisorAction::ReportEnd);
            SupervisorState::LivingOn
        } else {
            SupervisorState::Settling { deadline: now.checked_add(self.spec.settle) }
        }
    }

    /// Has an exec shim started for a stage, unless it is too late for that.
    fn launch(&mut self, stage: StageRef, now: Instant) -> SupervisorState {
        if self.init_gone {
            return self.finish_stage(stage, StageEnd::Lost(self.end.unheard.clone()), now);
        }
        if self.is_over && stage.kind != StageKind::Cleanup {
            return self.finish_stage(stage, StageEnd::Ended { began: false }, now);
        }
        (self.last_exit, self.awaits_exit) = (None, true);
        self.end.reaped_max_rss_bytes = None;
        self.actions.push_back(SupervisorAction::Launch(stage));
        let deadline = now + MAX_ENTRY;
        SupervisorState::Launching { stage, deadline, failure: None, is_sent: false }
    }

    /// Notes that a stage has begun.
    pub(super) fn begun(&mut self, stage: StageRef, now: Instant) -> SupervisorState {
        if stage.kind == StageKind::Program {
            self.began = Some(now);
        }
        if stage.kind != StageKind::Cleanup {
            self.actions.push_back(SupervisorAction::StartProgress);
        }
        let timeout = self.stage(stage).map_or(Duration::ZERO, |stage| stage.timeout);
        // What can be waited for, for ever if it must be.
        SupervisorState::Running { stage, deadline: now.checked_add(timeout) }
    }

    /// Asks the program of a stage, and all that it started, to end.
    pub(super) fn stop(
        &mut self,
        stage: StageRef,
        why: StopReason,
        now: Instant,
    ) -> SupervisorState {
        self.actions.push_back(SupervisorAction::Terminate);
        SupervisorState::Stopping { stage, why, deadline: now.checked_add(self.spec.grace) }
    }

    /// Ends a stage whose exec shim has not become its program.
    pub(super) fn give_up_shim(
        &mut self,
        stage: StageRef,
        end: StageEnd,
        now: Instant,
    ) -> SupervisorState {
        self.actions.push_back(SupervisorAction::CloseShim);
        self.kill(AfterKill::FinishStage(stage, end), now)
    }

    /// Kills all inside.
    pub(super) fn kill(&mut self, next: AfterKill, now: Instant) -> SupervisorState {
        self.actions.push_back(SupervisorAction::Kill);
        SupervisorState::Killing { next, deadline: now + MAX_ANSWER }
    }

    /// Continues when all inside is killed.
    pub(super) fn killed(&mut self, next: AfterKill, now: Instant) -> SupervisorState {
        match next {
            AfterKill::FinishStage(stage, end) => self.finish_stage(stage, end, now),
            AfterKill::AskLeft => {
                self.end.duration = match (self.began, self.stopped) {
                    // Cleanup is not the test's.
                    (Some(began), Some(stopped)) if !self.spec.cleanup.is_empty() => {
                        stopped.saturating_duration_since(began)
                    }
                    (Some(began), _) => now.saturating_duration_since(began),
                    (None, _) => Duration::ZERO,
                };
                if self.init_gone {
                    return self.leave(now);
                }
                self.actions.push_back(SupervisorAction::AskLeft);
                SupervisorState::AskingLeft { deadline: now + MAX_ANSWER }
            }
        }
    }

    /// Ends init and the tool.
    pub(super) fn leave(&mut self, now: Instant) -> SupervisorState {
        self.actions.push_back(SupervisorAction::CloseInit);
        if self.tool_ended {
            return self.kill_orphans();
        }
        SupervisorState::Leaving { deadline: now + MAX_ANSWER }
    }

    /// Kills what init left.
    pub(super) fn kill_orphans(&mut self) -> SupervisorState {
        self.actions.push_back(SupervisorAction::KillOrphans);
        SupervisorState::KillingOrphans
    }

    /// Notes how a stage ended, and begins the next.
    pub(super) fn finish_stage(
        &mut self,
        stage: StageRef,
        end: StageEnd,
        now: Instant,
    ) -> SupervisorState {
        match stage.kind {
            StageKind::Setup => {
                let Some(reason) = failure(&end) else {
                    return self.begin_setup(stage.index + 1, now);
                };
                let shown = self.stage(stage).map(shown).unwrap_or_default();
                self.end.not_started = Some(format!("its setup `{shown}` {reason}"));
                self.end.ended_by_runner = self.is_over;
                self.stopped = Some(now);
                self.actions.push_back(SupervisorAction::StopProgress);
                self.begin_cleanup(0, now)
            }
            StageKind::Program => {
                self.note_program(end);
                self.stopped = Some(now);
                self.actions.push_back(SupervisorAction::StopProgress);
                self.begin_cleanup(0, now)
            }
            StageKind::Cleanup => {
                if let Some(reason) = failure(&end) {
                    let shown = self.stage(stage).map(shown).unwrap_or_default();
                    self.end.notes.push(format!("its cleanup `{shown}` {reason}"));
                }
                self.begin_cleanup(stage.index + 1, now)
            }
        }
    }

    fn note_program(&mut self, end: StageEnd) {
        let exit = match end {
            StageEnd::Exited(exit) => Some(exit),
            StageEnd::NotStarted(reason) => {
                self.end.not_started = Some(reason);
                None
            }
            StageEnd::TimedOut => {
                self.end.timed_out = true;
                self.last_exit
            }
            StageEnd::CpuTimeSpent => {
                self.end.out_of_cpu_time = true;
                self.last_exit
            }
            StageEnd::Ended { began } => {
                self.end.ended_by_runner = true;
                self.last_exit.filter(|_| began)
            }
            StageEnd::Lost(_) => {
                self.end.lost = true;
                None
            }
        };
        if let Some(exit) = exit {
            (self.end.exit_code, self.end.signal) = (exit.exit_code, exit.signal);
        }
    }

    /// Returns the command of a stage.
    pub(super) fn stage(&self, stage: StageRef) -> Option<&Stage> {
        match stage.kind {
            StageKind::Setup => self.spec.setup.get(stage.index),
            StageKind::Program => Some(&self.spec.main),
            StageKind::Cleanup => self.spec.cleanup.get(stage.index),
        }
    }
}
