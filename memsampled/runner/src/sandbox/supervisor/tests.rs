//! The transitions of the state machine, without processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::machine::AttemptMachine;
use super::stage::StageRef;
use super::state::{SupervisorAction, SupervisorEvent, SupervisorState};
use crate::sandbox::attempt_end::{AttemptEnd, ProgramExit};
use crate::sandbox::spec::{ResolvedSandbox, Spec, Stage, StageKind};
use SupervisorEvent as Event;

const SETUP: StageRef = StageRef { kind: StageKind::Setup, index: 0 };
const PROGRAM: StageRef = StageRef { kind: StageKind::Program, index: 0 };
const CLEANUP: StageRef = StageRef { kind: StageKind::Cleanup, index: 0 };

fn spec(setup: usize, cleanup: usize) -> Spec {
    let stage =
        |name: &str| Stage { argv: vec![name.to_owned()], timeout: Duration::from_secs(100) };
    Spec {
        id: "id".to_owned(),
        sandbox: ResolvedSandbox::None,
        launcher: PathBuf::new(),
        scratch: PathBuf::new(),
        runner_scratch: None,
        stdout: PathBuf::new(),
        stderr: PathBuf::new(),
        output_limit_bytes: 0,
        memory_limit_bytes: None,
        cpu_limit: None,
        measures_group: false,
        processes_max: None,
        setup: vec![stage("prepare"); setup],
        main: stage("test"),
        cleanup: vec![stage("tidy"); cleanup],
        grace: Duration::from_secs(5),
        settle: Duration::from_millis(250),
        user: None,
        network: false,
        cwd: PathBuf::new(),
        env: BTreeMap::new(),
        expect_exit: vec![0],
        artifacts: Vec::new(),
        artifacts_variable: None,
        artifacts_directory: PathBuf::new(),
        keep_failed: None,
        keep_left_over: false,
    }
}

fn exited(exit_code: i32) -> Event {
    Event::Exited(ProgramExit {
        exit_code: Some(exit_code),
        signal: None,
        reaped_max_rss_bytes: Some(1 << 20),
        is_late: false,
    })
}

/// A machine to which events are given by hand.
#[derive(Clone)]
struct Driven<'a> {
    machine: AttemptMachine<'a>,
    now: Instant,
    /// All that was performed.
    performed: Vec<SupervisorAction>,
}

impl<'a> Driven<'a> {
    fn new(spec: &'a Spec) -> Self {
        let now = Instant::now();
        Self { machine: AttemptMachine::new(spec, now), now, performed: Vec::new() }
    }

    /// Gives an event, and performs all that comes of it. Returns that.
    fn give(&mut self, event: Event) -> Vec<SupervisorAction> {
        let first = self.performed.len();
        self.now = match (&event, self.machine.deadline()) {
            (Event::Deadline, Some(deadline)) => deadline,
            _ => self.now + Duration::from_millis(1),
        };
        self.machine.handle(event, self.now);
        while let Some(action) = self.machine.next_action() {
            self.performed.push(action);
            if matches!(action, SupervisorAction::Kill | SupervisorAction::KillOrphans) {
                self.machine.handle(Event::Killed, self.now);
            }
        }
        self.performed.split_off(first).into_iter().inspect(|it| self.performed.push(*it)).collect()
    }

    /// Begins a stage that was launched.
    fn begin(&mut self, stage: StageRef) {
        assert_eq!(self.give(Event::ShimReady), [SupervisorAction::ReportReady(stage.kind)]);
        assert_eq!(self.give(Event::Go), [SupervisorAction::SendExec(stage)]);
        // Once is enough.
        assert_eq!(self.give(Event::Go), []);
        let progress: &[SupervisorAction] =
            if stage.kind == StageKind::Cleanup { &[] } else { &[SupervisorAction::StartProgress] };
        assert_eq!(self.give(Event::ShimClosed), progress);
    }

    /// Ends it, from the question for what is left on.
    #[track_caller]
    fn finish(mut self) -> AttemptEnd {
        assert_eq!(self.give(Event::LeftBytes(Some(7))), [SupervisorAction::CloseInit]);
        assert_eq!(self.give(Event::ToolEnded), [SupervisorAction::KillOrphans]);
        assert_eq!(self.give(Event::OutputClosed), []);
        assert!(self.machine.is_done());
        self.machine.into_end().unwrap()
    }
}

#[test]
fn a_program_is_prepared_run_and_tidied_up() {
    let spec = spec(1, 1);
    let mut driven = Driven::new(&spec);
    assert_eq!(driven.give(Event::InitReady), [SupervisorAction::Launch(SETUP)]);
    driven.begin(SETUP);
    assert_eq!(driven.give(exited(0)), [SupervisorAction::Launch(PROGRAM)]);
    driven.begin(PROGRAM);
    assert_eq!(
        driven.give(exited(3)),
        [SupervisorAction::StopProgress, SupervisorAction::Launch(CLEANUP)]
    );
    driven.begin(CLEANUP);
    assert_eq!(driven.give(exited(0)), []);
    assert!(driven.machine.looks_for_processes());
    assert_eq!(driven.give(Event::AllEnded), [SupervisorAction::AskLeft]);
    let end = driven.finish();
    assert_eq!((end.exit_code, end.signal, end.not_started), (Some(3), None, None));
    assert_eq!((end.left_bytes, end.timed_out, end.lost), (Some(7), false, false));
    // Cleanup does not count.
    assert_eq!(end.duration, Duration::from_millis(1));
}

#[test]
fn a_setup_that_fails_leaves_out_the_program_but_not_the_cleanup() {
    let spec = spec(2, 2);
    let mut driven = Driven::new(&spec);
    driven.give(Event::InitReady);
    driven.begin(SETUP);
    assert_eq!(
        driven.give(exited(4)),
        [SupervisorAction::StopProgress, SupervisorAction::Launch(CLEANUP)]
    );
    driven.begin(CLEANUP);
    let second = StageRef { index: 1, ..CLEANUP };
    assert_eq!(driven.give(exited(5)), [SupervisorAction::Launch(second)]);
    driven.begin(second);
    // Nothing that was run is looked at for what it left.
    assert_eq!(driven.give(exited(0)), [SupervisorAction::Kill, SupervisorAction::AskLeft]);
    let end = driven.finish();
    assert_eq!(end.not_started.as_deref(), Some("its setup `prepare` exited with 4"));
    assert_eq!(end.notes, ["its cleanup `tidy` exited with 5"]);
}

#[test]
fn a_program_that_does_not_end_in_time_has_its_grace() {
    let spec = spec(0, 0);
    let mut driven = Driven::new(&spec);
    driven.give(Event::InitReady);
    driven.begin(PROGRAM);
    assert_eq!(driven.give(Event::Deadline), [SupervisorAction::Terminate]);
    let grace = driven.machine.deadline().unwrap() - driven.now;
    assert_eq!(grace, spec.grace);
    assert!(!driven.machine.looks_for_processes());
    let mut unwilling = driven.clone();
    // It ends, and what it started after it.
    assert_eq!(driven.give(exited(1)), []);
    assert!(driven.machine.looks_for_processes());
    assert_eq!(
        driven.give(Event::AllEnded),
        [SupervisorAction::Kill, SupervisorAction::StopProgress]
    );
    driven.give(Event::AllEnded);
    let end = driven.finish();
    assert_eq!((end.timed_out, end.exit_code), (true, Some(1)));
    // It does not, and is killed. Its end is waited for.
    assert_eq!(unwilling.give(Event::Deadline), [SupervisorAction::Kill]);
    let killed =
        Event::Exited(ProgramExit { exit_code: None, signal: Some(9), ..Default::default() });
    assert_eq!(unwilling.give(killed), [SupervisorAction::StopProgress]);
    unwilling.give(Event::AllEnded);
    let end = unwilling.finish();
    assert_eq!((end.timed_out, end.signal), (true, Some(9)));
}

#[test]
fn what_outlives_its_program_is_left_over() {
    let spec = spec(0, 0);
    let mut driven = Driven::new(&spec);
    driven.give(Event::InitReady);
    driven.begin(PROGRAM);
    driven.give(exited(0));
    let expected =
        [SupervisorAction::DescribeLeftOver, SupervisorAction::Kill, SupervisorAction::AskLeft];
    assert_eq!(driven.give(Event::Deadline), expected);
}

#[test]
fn what_the_setup_of_a_suite_started_lives_until_the_runner_ends_it() {
    let spec = Spec { keep_left_over: true, ..spec(0, 0) };
    let mut driven = Driven::new(&spec);
    driven.give(Event::InitReady);
    driven.begin(PROGRAM);
    assert_eq!(
        driven.give(exited(0)),
        [SupervisorAction::StopProgress, SupervisorAction::ReportEnd]
    );
    assert_eq!(driven.machine.deadline(), None);
    assert_eq!(driven.give(Event::InitGone(None)), []);
    assert_eq!(driven.give(Event::End), [SupervisorAction::Kill, SupervisorAction::CloseInit]);
}

#[test]
fn a_program_that_cannot_be_executed_says_why() {
    let spec = spec(0, 0);
    let mut driven = Driven::new(&spec);
    driven.give(Event::InitReady);
    driven.give(Event::ShimReady);
    driven.give(Event::Go);
    assert_eq!(driven.give(Event::ShimFailed("no such file".to_owned())), []);
    assert_eq!(driven.give(Event::ShimClosed), []);
    let expected =
        [SupervisorAction::StopProgress, SupervisorAction::Kill, SupervisorAction::AskLeft];
    assert_eq!(driven.give(exited(1)), expected);
    let end = driven.finish();
    assert_eq!(end.not_started.as_deref(), Some("no such file"));
    assert_eq!((end.exit_code, end.duration), (None, Duration::ZERO));
}

#[test]
fn an_exec_shim_that_is_heard_no_more_is_no_program() {
    let spec = spec(0, 0);
    for (is_sent, closed, expected) in [
        (false, Event::ShimClosed, "it was killed before it could begin"),
        (false, Event::ShimUnheard("EIO".to_owned()), "nothing can be heard of its exec shim: EIO"),
        (true, Event::ShimUnheard("EIO".to_owned()), "whether it began is not known: EIO"),
    ] {
        let mut driven = Driven::new(&spec);
        driven.give(Event::InitReady);
        if is_sent {
            driven.give(Event::ShimReady);
            driven.give(Event::Go);
        }
        driven.give(closed);
        driven.give(exited(1));
        let end = driven.finish();
        assert!(end.not_started.unwrap_or_default().starts_with(expected), "{expected}");
        assert_eq!((end.exit_code, end.duration), (None, Duration::ZERO));
    }
}

#[test]
fn the_runner_ends_a_program_and_its_cleanup_is_run_all_the_same() {
    let spec = spec(0, 1);
    let mut driven = Driven::new(&spec);
    driven.give(Event::InitReady);
    driven.begin(PROGRAM);
    assert_eq!(driven.give(Event::End), [SupervisorAction::Terminate]);
    driven.give(exited(0));
    let expected =
        [SupervisorAction::Kill, SupervisorAction::StopProgress, SupervisorAction::Launch(CLEANUP)];
    assert_eq!(driven.give(Event::AllEnded), expected);
    driven.begin(CLEANUP);
    assert_eq!(driven.give(Event::End), []);
    assert_eq!(driven.give(exited(0)), []);
    driven.give(Event::AllEnded);
    let end = driven.finish();
    assert_eq!((end.ended_by_runner, end.exit_code), (true, Some(0)));
}

#[test]
fn a_runner_that_is_gone_ends_all_at_once() {
    let spec = spec(0, 1);
    let mut driven = Driven::new(&spec);
    driven.give(Event::InitReady);
    driven.begin(PROGRAM);
    // No grace and no cleanup, but the end of the program is waited for.
    assert_eq!(driven.give(Event::RunnerGone), [SupervisorAction::Kill]);
    assert_eq!(driven.give(exited(0)), [SupervisorAction::StopProgress]);
    assert_eq!(driven.give(Event::AllEnded), [SupervisorAction::AskLeft]);
    assert!(driven.finish().ended_by_runner);
}

#[test]
fn a_test_that_kills_its_init_is_lost() {
    let spec = spec(0, 1);
    let mut driven = Driven::new(&spec);
    driven.give(Event::InitReady);
    driven.begin(PROGRAM);
    assert_eq!(driven.give(Event::InitGone(None)), [SupervisorAction::StopProgress]);
    assert_eq!(driven.give(Event::ToolEnded), []);
    let expected = [SupervisorAction::CloseInit, SupervisorAction::KillOrphans];
    assert_eq!(driven.give(Event::AllEnded), expected);
    driven.give(Event::Deadline);
    let end = driven.machine.into_end().unwrap();
    assert!(end.lost);
    assert_eq!(end.notes, ["its cleanup `tidy` was lost: its init was killed"]);
}

#[test]
fn an_init_that_cannot_be_heard_was_not_killed_as_far_as_is_known() {
    let spec = spec(0, 1);
    let mut driven = Driven::new(&spec);
    driven.give(Event::InitReady);
    driven.begin(PROGRAM);
    driven.give(Event::InitGone(Some("no memory".to_owned())));
    driven.give(Event::AllEnded);
    driven.give(Event::ToolEnded);
    driven.give(Event::Deadline);
    let end = driven.machine.into_end().unwrap();
    assert_eq!((end.lost, end.unheard.as_deref()), (true, Some("no memory")));
    assert_eq!(
        end.notes,
        ["its cleanup `tidy` was lost: nothing can be heard of its init: no memory"]
    );
}

#[test]
fn a_sandbox_that_cannot_be_made_is_left() {
    for event in [Event::InitGone(None), Event::Deadline, Event::RunnerGone] {
        let spec = spec(0, 0);
        let mut driven = Driven::new(&spec);
        assert_eq!(driven.give(event), [SupervisorAction::CloseInit]);
        // The tool does not end.
        assert_eq!(
            driven.give(Event::Deadline),
            [SupervisorAction::KillTool, SupervisorAction::KillOrphans]
        );
        driven.give(Event::Deadline);
        assert!(driven.machine.is_done());
        assert!(driven.machine.into_end().is_none());
    }
}

#[test]
fn a_program_that_uses_too_much_cpu_time_is_asked_to_end_and_then_killed() {
    let spec = spec(1, 0);
    let mut driven = Driven::new(&spec);
    driven.give(Event::InitReady);
    driven.begin(SETUP);
    assert!(!driven.machine.limits_cpu_time(), "setup has none of it");
    assert_eq!(driven.give(exited(0)), [SupervisorAction::Launch(PROGRAM)]);
    driven.begin(PROGRAM);
    assert!(driven.machine.limits_cpu_time());
    assert_eq!(driven.give(Event::CpuTimeSpent), [SupervisorAction::Terminate]);
    assert!(!driven.machine.limits_cpu_time(), "once is enough");
    assert_eq!(driven.give(exited(0)), []);
    assert_eq!(
        driven.give(Event::Deadline),
        [SupervisorAction::Kill, SupervisorAction::StopProgress]
    );
    assert_eq!(driven.give(Event::AllEnded), [SupervisorAction::AskLeft]);
    let end = driven.finish();
    assert_eq!((end.out_of_cpu_time, end.timed_out, end.exit_code), (true, false, Some(0)));
}

fn all_events() -> Vec<Event> {
    let text = || "why".to_owned();
    vec![
        Event::InitReady,
        Event::ShimNotStarted(text()),
        exited(0),
        exited(1),
        Event::LeftBytes(None),
        Event::InitGone(Some(text())),
        Event::InitGone(None),
        Event::ShimReady,
        Event::ShimFailed(text()),
        Event::ShimClosed,
        Event::ShimUnheard(text()),
        Event::LaunchFailed(text()),
        Event::ExecNotSent(text()),
        Event::Go,
        Event::End,
        Event::RunnerGone,
        Event::AllEnded,
        Event::Killed,
        Event::ToolEnded,
        Event::OutputClosed,
        Event::CpuTimeSpent,
        Event::Deadline,
    ]
}

/// Whatever happens in whatever state, and in whatever order: time alone ends the attempt, and nothing is left.
#[test]
fn every_event_in_every_state_leads_to_the_end() {
    for keep_left_over in [false, true] {
        let spec = Spec { keep_left_over, ..spec(1, 1) };
        let mut seen = BTreeSet::new();
        let mut names = BTreeSet::new();
        let mut open = vec![Driven::new(&spec)];
        while let Some(driven) = open.pop() {
            check_ends(driven.clone());
            for event in all_events() {
                let mut next = driven.clone();
                next.give(event);
                let machine = &next.machine;
                let state = format!("{:?}", machine.state());
                names.insert(state.split(' ').next().unwrap_or_default().to_owned());
                let flags = [
                    machine.is_over,
                    machine.runner_gone,
                    machine.init_gone,
                    machine.tool_ended,
                    machine.awaits_exit,
                    machine.last_exit.is_some(),
                    machine.end().not_started.is_some(),
                ];
                // Without instants, which differ.
                let key = (state.replace(|char: char| char.is_ascii_digit(), ""), flags);
                if seen.insert(key) {
                    open.push(next);
                }
            }
        }
        let mut expected = vec![
            "AskingLeft",
            "Done",
            "Draining",
            "Entering",
            "Killing",
            "Launching",
            "Leaving",
            "Running",
            "Settling",
            "Stopping",
        ];
        if keep_left_over {
            expected.insert(8, "LivingOn");
            expected.sort_unstable();
        }
        assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    }
}

/// Lets the runner end, and time pass.
fn check_ends(mut driven: Driven<'_>) {
    let launched = |driven: &Driven<'_>| {
        driven
            .performed
            .iter()
            .filter(|action| matches!(action, SupervisorAction::Launch(_)))
            .count()
    };
    driven.give(Event::RunnerGone);
    let before = launched(&driven);
    for _ in 0..20 {
        if driven.machine.is_done() {
            break;
        }
        assert!(driven.machine.deadline().is_some(), "{:?}", driven.machine.state());
        driven.give(Event::Deadline);
    }
    assert!(driven.machine.is_done(), "{:?}", driven.machine.state());
    assert_eq!(launched(&driven), before, "nothing begins without a runner");
    let is_last = |action: &&SupervisorAction| {
        matches!(action, SupervisorAction::CloseInit | SupervisorAction::KillOrphans)
    };
    let last: Vec<&SupervisorAction> = driven.performed.iter().filter(is_last).collect();
    assert_eq!(last, [&SupervisorAction::CloseInit, &SupervisorAction::KillOrphans]);
    assert!(matches!(driven.machine.state(), SupervisorState::Done));
}
