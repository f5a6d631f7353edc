//! The images and their numbers, of a simulated process that executes programs while it is looked at: at any moment of an
//! exec, with and without reports of the kernel.

use proptest::collection::vec;
use proptest::prelude::*;

use super::apply::{ImageChange, change_of_first_thread, image_change};
use super::entry::{Addresses, Process};
use crate::identity::{Comm, Identity};
use crate::metric::Metric;
use crate::slot::Slot;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The process has new memory, of which nothing is set.
    Begin,
    /// The stack is there, and its preliminary address.
    Stack,
    /// All is set.
    Complete,
    Report,
    /// The sampler takes in what was reported, if anything is, and reads the process.
    Look,
}

/// How far the last exec is.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Begun,
    HasStack,
    Complete,
    Reported,
}

struct Simulation {
    execs: u32,
    phase: Phase,
    /// Reports that were not taken in.
    reports: u32,
    are_taken_in: bool,
    /// Whether the kernel shows the addresses.
    shows: bool,
    process: Process,
    /// The number and the name of each image, in the order of looks.
    seen: Vec<(u32, u32)>,
}

impl Simulation {
    fn new(shows: bool, are_taken_in: bool) -> Self {
        let addresses = if shows { Self::set(0) } else { Addresses { code: 1, stack: 0 } };
        let mut process = Process::new(Identity::of(1, 7), Slot(0), addresses, 1);
        process.metrics.set(Metric::Text, Self::text_of(0));
        Self {
            execs: 0,
            phase: Phase::Reported,
            reports: 0,
            are_taken_in,
            shows,
            process,
            seen: vec![(0, 0)],
        }
    }

    fn set(exec: u32) -> Addresses {
        Addresses { code: 4096, stack: 0x1000 + u64::from(exec) }
    }

    /// Where the addresses are hidden, nothing but the size of the code tells programs apart.
    fn text_of(exec: u32) -> u64 {
        (1 + u64::from(exec % 2)) * 4096
    }

    fn step(&mut self, step: Step) {
        match (step, self.phase) {
            (Step::Begin, Phase::Reported) => {
                self.execs += 1;
                self.phase = Phase::Begun;
            }
            (Step::Stack, Phase::Begun) => self.phase = Phase::HasStack,
            (Step::Complete, Phase::Begun | Phase::HasStack) => self.phase = Phase::Complete,
            (Step::Report, Phase::Complete) => {
                self.reports += 1;
                self.phase = Phase::Reported;
            }
            (Step::Look, _) => {
                if self.are_taken_in {
                    (0..std::mem::take(&mut self.reports)).for_each(|_| self.process.note_exec(1));
                }
                self.look();
            }
            // Not the next one of an exec.
            (Step::Begin | Step::Stack | Step::Complete | Step::Report, _) => {}
        }
    }

    fn look(&mut self) {
        let (addresses, text) = match self.phase {
            Phase::Begun => (Addresses { code: 0, stack: 0 }, 0),
            Phase::HasStack => (Addresses { code: 0, stack: 99 }, 0),
            Phase::Complete | Phase::Reported => (Self::set(self.execs), Self::text_of(self.execs)),
        };
        let addresses = if self.shows { addresses } else { Addresses { code: 1, stack: 0 } };
        let Self { process, seen, .. } = self;
        let code_changed = process.metrics.set(Metric::Text, text);
        let change = image_change(process, Comm::new(b"x"), addresses, code_changed);
        change.note_addresses(process, addresses);
        let (mut exec, _) = *seen.last().unwrap();
        match change {
            ImageChange::None => {}
            ImageChange::Renamed(_) => panic!("it has one name"),
            ImageChange::Exec { addresses, .. } => exec += process.begin_exec(addresses),
            ImageChange::Completed { addresses, .. } => process.end_exec(addresses, 1),
        }
        seen.push((exec, self.execs));
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Begin),
        1 => Just(Step::Stack),
        2 => Just(Step::Complete),
        2 => Just(Step::Report),
        3 => Just(Step::Look),
    ]
}

/// Of a thread that has taken the place of the first, whose memory had the addresses of exec 0, and code.
#[test]
fn another_thread_has_executed_when_its_memory_is_another() {
    let simulated = |shows, has_code, is_reported| {
        let mut process = Simulation::new(shows, true).process;
        process.metrics.set(Metric::Text, u64::from(has_code) * 4096);
        (0..u32::from(is_reported)).for_each(|_| process.note_exec(u64::MAX));
        process
    };
    let (hidden, unset) = (Addresses { code: 1, stack: 0 }, Addresses { code: 0, stack: 99 });
    let (before, after) = (Simulation::set(0), Simulation::set(1));
    for (process, addresses, has_executed) in [
        (simulated(true, true, false), before, false),
        // The memory was exchanged after it was read how large it is, or before.
        (simulated(true, true, false), unset, false),
        (simulated(true, false, false), unset, true),
        (simulated(true, true, false), after, true),
        (simulated(true, true, true), before, true),
        (simulated(true, true, false), hidden, true),
        (simulated(false, true, false), hidden, true),
        (simulated(false, true, false), before, true),
    ] {
        // The thread has a name of its own.
        let change = change_of_first_thread(&process, Comm::new(b"thread"), addresses);
        let is_right = match change {
            ImageChange::None => !has_executed,
            ImageChange::Exec { addresses: of, .. } => has_executed && of == addresses,
            ImageChange::Renamed(_) | ImageChange::Completed { .. } => false,
        };
        assert!(is_right, "{addresses:?}, an exec: {has_executed}");
    }
}

proptest! {
    /// Between the end of an exec and its report lie some microseconds.
    #[test]
    fn each_look_has_the_number_of_its_exec_unless_that_is_about_to_be_reported(
        steps in vec(step(), 0..200),
        shows: bool,
    ) {
        let mut simulation = Simulation::new(shows, true);
        for step in steps {
            if matches!(step, Step::Look) {
                simulation.step(Step::Report);
            }
            simulation.step(step);
        }
        for (exec, truth) in simulation.seen {
            prop_assert_eq!(exec, truth);
        }
    }

    #[test]
    fn no_number_is_too_high_and_the_last_is_right_when_all_is_reported(
        steps in vec(step(), 0..200),
        shows: bool,
    ) {
        let mut simulation = Simulation::new(shows, true);
        let last = [Step::Complete, Step::Report, Step::Look];
        steps.into_iter().chain(last).for_each(|step| simulation.step(step));
        let seen = simulation.seen;
        for (exec, truth) in &seen {
            prop_assert!(exec <= truth, "{:?}", seen);
        }
        prop_assert_eq!(seen.last().unwrap().0, simulation.execs);
    }

    /// What was met under way, and is another one by the next look, is taken for one.
    #[test]
    fn without_reports_no_exec_begins_two_images(steps in vec(step(), 0..200), shows: bool) {
        let mut simulation = Simulation::new(shows, false);
        steps.into_iter().for_each(|step| simulation.step(step));
        for looks in simulation.seen.windows(2) {
            let [(before, truth_before), (exec, truth)] = *looks else { continue };
            prop_assert!(exec - before <= truth - truth_before, "{:?}", looks);
        }
    }
}
