//! The setup and the teardown of a suite.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::Dispatcher;
use super::active::ActiveAttempt;
use crate::output::telling_line;
use crate::results::{Abort, Attempt, StepResult, Verdict, nanoseconds};
use crate::run::admission::Claim;
use crate::run::attempt::{RunningAttempt, spec_of_step};
use crate::run::event::Event;
use crate::run::id::next_id;
use crate::run::verdict::judge_step;
use crate::sandbox::AttemptEnd;
use crate::suite::Step;

impl Dispatcher<'_> {
    /// Runs the suite's setup; what it started lives on.
    pub(super) fn set_up(&mut self) -> Option<u64> {
        let step = self.suite.setup.as_ref()?;
        let (id, failure) = self.run_step(step, "setup", true);
        if let Some(failure) = failure {
            self.setup_failure = Some(failure);
            self.abort(Abort::Setup);
        }
        Some(id)
    }

    /// Runs the suite's teardown, and ends what its setup started.
    pub(super) fn tear_down(&mut self, setup: Option<u64>) {
        if let Some(step) = &self.suite.teardown
            && !self.in_a_hurry
        {
            self.run_step(step, "teardown", false);
        }
        if let Some(active) = setup.and_then(|setup| self.active.get(&setup)) {
            active.running.end();
        }
        while !self.active.is_empty() {
            self.next_event(None);
        }
    }

    /// Runs a step of the suite and reports how it ended; returns a sentence that says so, if it failed.
    fn run_step(
        &mut self,
        step: &Step,
        name: &'static str,
        lives_on: bool,
    ) -> (u64, Option<String>) {
        (self.events)(Event::StepStarted { name });
        let (id, end, duration) = self.end_of_step(step, name, lives_on);
        let directory = self.layout.step(name);
        let log = |file: &str| Some(directory.join(file)).filter(|path| path.exists());
        let (stdout, stderr) = (log("stdout"), log("stderr"));
        let (outcome, reason) = judge_step(step, &end);
        let is_silent = matches!(outcome, Verdict::Passed | Verdict::Aborted);
        let message =
            if is_silent { None } else { telling_line(stdout.as_deref(), stderr.as_deref()) };
        let relative = |path: PathBuf| self.layout.relative(&path);
        let result = StepResult {
            name: name.to_owned(),
            outcome,
            reason,
            message,
            exit_code: end.exit_code,
            signal: end.signal,
            duration_ns: duration.filter(|_| outcome != Verdict::NotStarted).map(nanoseconds),
            stdout: stdout.map(relative),
            stderr: stderr.map(relative),
            output_cut_bytes: end.output_cut_bytes,
        };
        let failure = (outcome != Verdict::Passed).then(|| result.sentence());
        (self.events)(Event::StepFinished(Box::new(result)));
        (id, failure)
    }

    /// Runs a step of the suite; returns how it ended, and how long its program took.
    fn end_of_step(
        &mut self,
        step: &Step,
        name: &'static str,
        lives_on: bool,
    ) -> (u64, AttemptEnd, Option<Duration>) {
        let (id, unique) = next_id();
        let directory = self.layout.step(name);
        let _ = fs::remove_dir_all(&directory);
        let cwd = self.suite.directory.clone();
        let spec = spec_of_step(step, unique, cwd, &directory, self.options, lives_on);
        let attempt = Attempt { test: name.to_owned(), repetition: 1, attempt: 1 };
        let held = Some(self.progress.held());
        let (messages, supervisors) = (self.messages.0.clone(), &mut self.supervisors);
        let running = match RunningAttempt::start(id, &spec, held, messages, supervisors) {
            Ok(running) => running,
            Err(error) => {
                let not_started = Some(error.to_string());
                return (id, AttemptEnd { not_started, ..AttemptEnd::default() }, None);
            }
        };
        let claim = Claim::default();
        let active = ActiveAttempt::new(None, attempt, "none".to_owned(), (spec, running), claim);
        self.active.insert(id, active);
        let was_aborted = self.aborted.is_some();
        loop {
            match self.active.get(&id) {
                None => return (id, AttemptEnd { lost: true, ..AttemptEnd::default() }, None),
                Some(ActiveAttempt { end: Some(end), started, .. }) => {
                    // Of a setup the supervisor knows no end: what it started lives on.
                    let duration = started.map(|it| Timestamp::now().duration_since(it));
                    let duration = duration.map(|duration| duration.unsigned_abs());
                    return (id, end.clone(), duration);
                }
                Some(active) if self.aborted.is_some() && !was_aborted => active.running.end(),
                Some(_) => {}
            }
            self.next_event(None);
        }
    }
}
