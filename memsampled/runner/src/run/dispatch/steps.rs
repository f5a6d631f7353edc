//! The setup and the teardown of a suite.

use std::fs;

use super::Dispatcher;
use super::active::ActiveAttempt;
use crate::results::{Abort, Attempt};
use crate::run::admission::Claim;
use crate::run::attempt::{RunningAttempt, failure, spec_of_step};
use crate::run::event::Event;
use crate::run::id::next_id;
use crate::suite::Step;

impl Dispatcher<'_> {
    /// Runs the suite's setup; what it started lives on.
    pub(super) fn set_up(&mut self) -> Option<u64> {
        let step = self.suite.setup.as_ref()?;
        let (id, failure) = self.run_step(step, "setup", true);
        if let Some(failure) = failure {
            if self.aborted.is_none() {
                (self.events)(Event::Note(format!("the setup of the suite {failure}")));
            }
            self.abort(Abort::Setup);
        }
        Some(id)
    }

    /// Runs the suite's teardown, and ends what its setup started.
    pub(super) fn tear_down(&mut self, setup: Option<u64>) {
        if let Some(step) = &self.suite.teardown
            && !self.in_a_hurry
            && let (_, Some(failure)) = self.run_step(step, "teardown", false)
        {
            (self.events)(Event::Note(format!("the teardown of the suite {failure}")));
        }
        if let Some(active) = setup.and_then(|setup| self.active.get(&setup)) {
            active.running.end();
        }
        while !self.active.is_empty() {
            self.next_event(None);
        }
    }

    /// Runs a step of the suite; returns why it failed, as the end of a sentence.
    fn run_step(
        &mut self,
        step: &Step,
        name: &'static str,
        lives_on: bool,
    ) -> (u64, Option<String>) {
        let (id, unique) = next_id();
        let directory = self.layout.step(name);
        let _ = fs::remove_dir_all(&directory);
        let cwd = self.suite.directory.clone();
        let spec = spec_of_step(step, unique, cwd, &directory, self.options, lives_on);
        let attempt = Attempt { test: name.to_owned(), repetition: 1, attempt: 1 };
        let held = Some(self.progress.held());
        let running = match RunningAttempt::start(id, &spec, held, self.messages.0.clone()) {
            Ok(running) => running,
            Err(error) => return (id, Some(format!("could not be started: {error}"))),
        };
        let claim = Claim::default();
        let active = ActiveAttempt::new(None, attempt, "none".to_owned(), (spec, running), claim);
        self.active.insert(id, active);
        let was_aborted = self.aborted.is_some();
        loop {
            match self.active.get(&id) {
                None => return (id, Some("was lost: its supervisor was killed".to_owned())),
                Some(ActiveAttempt { end: Some(end), .. }) => {
                    return (id, failure(end));
                }
                Some(active) if self.aborted.is_some() && !was_aborted => active.running.end(),
                Some(_) => {}
            }
            self.next_event(None);
        }
    }
}
