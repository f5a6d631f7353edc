//! What each event means in each state.

use std::time::Instant;

use super::machine::{AttemptMachine, MAX_ENTRY};
use super::sequence::MAX_ANSWER;
use super::stage::{StageEnd, StageRef, StopReason};
use super::state::{AfterKill, SupervisorAction, SupervisorEvent, SupervisorState};
use crate::sandbox::spec::StageKind;

impl AttemptMachine<'_> {
    pub(super) fn entering(
        &mut self,
        deadline: Instant,
        event: SupervisorEvent,
        now: Instant,
    ) -> SupervisorState {
        match event {
            SupervisorEvent::InitReady => {
                self.is_entered = true;
                self.begin_setup(0, now)
            }
            SupervisorEvent::InitGone(_)
            | SupervisorEvent::RunnerGone
            | SupervisorEvent::Deadline
            // Init speaks of what it was not asked.
            | SupervisorEvent::LeftBytes(_)
            | SupervisorEvent::ShimNotStarted(_) => self.leave(now),
            // The first stage sees that it is to end; when the tool has ended, init is gone too.
            SupervisorEvent::End
            | SupervisorEvent::Go
            | SupervisorEvent::ToolEnded
            | SupervisorEvent::Exited(_)
            | SupervisorEvent::ShimReady
            | SupervisorEvent::ShimFailed(_)
            | SupervisorEvent::ShimClosed
            | SupervisorEvent::ShimUnheard(_)
            | SupervisorEvent::LaunchFailed(_)
            | SupervisorEvent::ExecNotSent(_)
            | SupervisorEvent::AllEnded
            | SupervisorEvent::Killed
            | SupervisorEvent::OutputClosed
            | SupervisorEvent::CpuTimeSpent => SupervisorState::Entering { deadline },
        }
    }

    pub(super) fn launching(
        &mut self,
        (stage, deadline, failure, is_sent): (StageRef, Instant, Option<String>, bool),
        event: SupervisorEvent,
        now: Instant,
    ) -> SupervisorState {
        let stay =
            |failure, is_sent| SupervisorState::Launching { stage, deadline, failure, is_sent };
        match event {
            SupervisorEvent::ShimReady => {
                self.actions.push_back(SupervisorAction::ReportReady(stage.kind));
                stay(failure, is_sent)
            }
            SupervisorEvent::Go => {
                if !is_sent {
                    self.actions.push_back(SupervisorAction::SendExec(stage));
                }
                stay(failure, true)
            }
            SupervisorEvent::ShimFailed(reason) => stay(Some(reason), is_sent),
            // Without the program it cannot have become it.
            SupervisorEvent::ShimClosed if failure.is_none() && is_sent => self.begun(stage, now),
            SupervisorEvent::ShimUnheard(error) => {
                let reason = match is_sent {
                    true => format!("whether it began is not known: {error}"),
                    false => format!("nothing can be heard of its exec shim: {error}"),
                };
                self.give_up_shim(stage, StageEnd::NotStarted(reason), now)
            }
            // Init reaps the shim that has failed.
            SupervisorEvent::Exited(_) => {
                let reason = failure.unwrap_or_else(|| {
                    "it was killed before it could begin; its memory limit may be too low"
                        .to_owned()
                });
                self.finish_stage(stage, StageEnd::NotStarted(reason), now)
            }
            SupervisorEvent::ShimNotStarted(reason) | SupervisorEvent::LaunchFailed(reason) => {
                self.finish_stage(stage, StageEnd::NotStarted(reason), now)
            }
            SupervisorEvent::ExecNotSent(reason) => {
                self.give_up_shim(stage, StageEnd::NotStarted(reason), now)
            }
            SupervisorEvent::InitGone(_) => {
                self.finish_stage(stage, StageEnd::Lost(self.end.unheard.clone()), now)
            }
            SupervisorEvent::Deadline => {
                let reason = format!("it was not ready after {MAX_ENTRY:?}");
                self.give_up_shim(stage, StageEnd::NotStarted(reason), now)
            }
            SupervisorEvent::RunnerGone => {
                self.give_up_shim(stage, StageEnd::Ended { began: false }, now)
            }
            // Cleanup is what is left to do then.
            SupervisorEvent::End if stage.kind == StageKind::Cleanup => stay(failure, is_sent),
            SupervisorEvent::End => self.give_up_shim(stage, StageEnd::Ended { began: false }, now),
            // The shim that has failed ends.
            SupervisorEvent::ShimClosed
            | SupervisorEvent::InitReady
            | SupervisorEvent::LeftBytes(_)
            | SupervisorEvent::AllEnded
            | SupervisorEvent::Killed
            | SupervisorEvent::ToolEnded
            | SupervisorEvent::OutputClosed
            | SupervisorEvent::CpuTimeSpent => stay(failure, is_sent),
        }
    }

    pub(super) fn running(
        &mut self,
        stage: StageRef,
        deadline: Option<Instant>,
        event: SupervisorEvent,
        now: Instant,
    ) -> SupervisorState {
        match event {
            SupervisorEvent::Exited(exit) => self.finish_stage(stage, StageEnd::Exited(exit), now),
            SupervisorEvent::InitGone(_) => {
                self.finish_stage(stage, StageEnd::Lost(self.end.unheard.clone()), now)
            }
            SupervisorEvent::RunnerGone => {
                self.kill(AfterKill::FinishStage(stage, StageEnd::Ended { began: true }), now)
            }
            SupervisorEvent::Deadline => self.stop(stage, StopReason::TimedOut, now),
            SupervisorEvent::CpuTimeSpent if stage.kind == StageKind::Program => {
                self.stop(stage, StopReason::CpuTimeSpent, now)
            }
            SupervisorEvent::End if stage.kind != StageKind::Cleanup => {
                self.stop(stage, StopReason::Ended, now)
            }
            // Cleanup has its own time; the rest is of no stage that runs.
            SupervisorEvent::End
            | SupervisorEvent::Go
            | SupervisorEvent::InitReady
            | SupervisorEvent::LeftBytes(_)
            | SupervisorEvent::ShimReady
            | SupervisorEvent::ShimFailed(_)
            | SupervisorEvent::ShimClosed
            | SupervisorEvent::ShimUnheard(_)
            | SupervisorEvent::ShimNotStarted(_)
            | SupervisorEvent::LaunchFailed(_)
            | SupervisorEvent::ExecNotSent(_)
            | SupervisorEvent::AllEnded
            | SupervisorEvent::Killed
            | SupervisorEvent::ToolEnded
            | SupervisorEvent::OutputClosed
            | SupervisorEvent::CpuTimeSpent => SupervisorState::Running { stage, deadline },
        }
    }

    pub(super) fn stopping(
        &mut self,
        stage: StageRef,
        why: StopReason,
        deadline: Option<Instant>,
        event: SupervisorEvent,
        now: Instant,
    ) -> SupervisorState {
        match event {
            SupervisorEvent::AllEnded
            | SupervisorEvent::Deadline
            | SupervisorEvent::InitGone(_)
            | SupervisorEvent::RunnerGone => {
                self.kill(AfterKill::FinishStage(stage, why.into()), now)
            }
            // It is being ended already. When the program has exited, all that it started has to.
            SupervisorEvent::End
            | SupervisorEvent::Exited(_)
            | SupervisorEvent::Go
            | SupervisorEvent::InitReady
            | SupervisorEvent::LeftBytes(_)
            | SupervisorEvent::ShimReady
            | SupervisorEvent::ShimFailed(_)
            | SupervisorEvent::ShimClosed
            | SupervisorEvent::ShimUnheard(_)
            | SupervisorEvent::ShimNotStarted(_)
            | SupervisorEvent::LaunchFailed(_)
            | SupervisorEvent::ExecNotSent(_)
            | SupervisorEvent::Killed
            | SupervisorEvent::ToolEnded
            | SupervisorEvent::OutputClosed
            | SupervisorEvent::CpuTimeSpent => SupervisorState::Stopping { stage, why, deadline },
        }
    }

    pub(super) fn killing(
        &mut self,
        next: AfterKill,
        deadline: Instant,
        event: SupervisorEvent,
        now: Instant,
    ) -> SupervisorState {
        match event {
            SupervisorEvent::Killed if self.awaits_exit && !self.init_gone => {
                SupervisorState::Killing { next, deadline: now + MAX_ANSWER }
            }
            SupervisorEvent::Killed
            | SupervisorEvent::Exited(_)
            | SupervisorEvent::ShimNotStarted(_)
            | SupervisorEvent::InitGone(_)
            | SupervisorEvent::Deadline => self.killed(next, now),
            // Noted, and seen by the stage that would be next.
            SupervisorEvent::End
            | SupervisorEvent::RunnerGone
            | SupervisorEvent::Go
            | SupervisorEvent::InitReady
            | SupervisorEvent::LeftBytes(_)
            | SupervisorEvent::ShimReady
            | SupervisorEvent::ShimFailed(_)
            | SupervisorEvent::ShimClosed
            | SupervisorEvent::ShimUnheard(_)
            | SupervisorEvent::LaunchFailed(_)
            | SupervisorEvent::ExecNotSent(_)
            | SupervisorEvent::AllEnded
            | SupervisorEvent::ToolEnded
            | SupervisorEvent::OutputClosed
            | SupervisorEvent::CpuTimeSpent => SupervisorState::Killing { next, deadline },
        }
    }

    pub(super) fn settling(
        &mut self,
        deadline: Option<Instant>,
        event: SupervisorEvent,
        now: Instant,
    ) -> SupervisorState {
        match event {
            // There is nothing to kill: who is left by a race is killed by init when it leaves, and with the groups.
            SupervisorEvent::AllEnded => self.killed(AfterKill::AskLeft, now),
            SupervisorEvent::Deadline => {
                self.actions.push_back(SupervisorAction::DescribeLeftOver);
                self.kill(AfterKill::AskLeft, now)
            }
            // It takes no longer than it may, whatever happens.
            _ => SupervisorState::Settling { deadline },
        }
    }

    pub(super) fn living_on(&mut self, event: SupervisorEvent, now: Instant) -> SupervisorState {
        match event {
            SupervisorEvent::End | SupervisorEvent::RunnerGone => {
                self.kill(AfterKill::AskLeft, now)
            }
            // Also when init is gone: what it started may not be.
            _ => SupervisorState::LivingOn,
        }
    }

    pub(super) fn asking_left(
        &mut self,
        deadline: Instant,
        event: SupervisorEvent,
        now: Instant,
    ) -> SupervisorState {
        match event {
            SupervisorEvent::LeftBytes(bytes) => {
                self.end.left_bytes = bytes;
                self.leave(now)
            }
            SupervisorEvent::InitGone(_)
            | SupervisorEvent::Deadline
            // Init speaks of what it was not asked.
            | SupervisorEvent::InitReady
            | SupervisorEvent::ShimNotStarted(_) => self.leave(now),
            SupervisorEvent::End
            | SupervisorEvent::RunnerGone
            | SupervisorEvent::Go
            | SupervisorEvent::Exited(_)
            | SupervisorEvent::ShimReady
            | SupervisorEvent::ShimFailed(_)
            | SupervisorEvent::ShimClosed
            | SupervisorEvent::ShimUnheard(_)
            | SupervisorEvent::LaunchFailed(_)
            | SupervisorEvent::ExecNotSent(_)
            | SupervisorEvent::AllEnded
            | SupervisorEvent::Killed
            | SupervisorEvent::ToolEnded
            | SupervisorEvent::OutputClosed
            | SupervisorEvent::CpuTimeSpent => SupervisorState::AskingLeft { deadline },
        }
    }

    pub(super) fn leaving(&mut self, deadline: Instant, event: SupervisorEvent) -> SupervisorState {
        match event {
            SupervisorEvent::ToolEnded => self.kill_orphans(),
            SupervisorEvent::Deadline => {
                self.actions.push_back(SupervisorAction::KillTool);
                self.end
                    .notes
                    .push("the tool of its sandbox did not end and was killed".to_owned());
                self.kill_orphans()
            }
            // Only the end of the tool counts.
            _ => SupervisorState::Leaving { deadline },
        }
    }
}
