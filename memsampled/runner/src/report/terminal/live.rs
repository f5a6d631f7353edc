//! The live display: a bar for the suite, and a line for each running test.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use memsample_input::rounded_size;

use super::counts;
use crate::results::wording;
use crate::results::{Attempt, TestResult, Verdict, of_test};
use crate::run::Event;

/// Running tests that are shown, at most: more would fill the screen.
const MAX_SHOWN: usize = 8;
/// How often times are drawn anew.
const TICK: Duration = Duration::from_millis(200);

/// A bar for the suite and below it a line for each running test.
pub(super) struct LiveDisplay {
    display: MultiProgress,
    suite: ProgressBar,
    shown: BTreeMap<Attempt, ProgressBar>,
    running: BTreeSet<Attempt>,
    /// The line of a running setup or teardown.
    step: Option<ProgressBar>,
    /// How the attempts of each test ended, since a test counts once.
    ended: BTreeMap<String, Vec<TestResult>>,
    /// What each test counts as.
    verdicts: BTreeMap<String, Verdict>,
    /// Tests that are tried again and do not run yet.
    retried: BTreeSet<(String, u32)>,
}

impl LiveDisplay {
    pub(super) fn new(target: ProgressDrawTarget) -> Self {
        let display = MultiProgress::with_draw_target(target);
        let suite = display.add(ProgressBar::new(0));
        suite.set_style(style("{bar:24} {pos} of {len}, {elapsed}{wide_msg}"));
        Self {
            display,
            suite,
            shown: BTreeMap::new(),
            running: BTreeSet::new(),
            step: None,
            ended: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            retried: BTreeSet::new(),
        }
    }

    /// Prints lines above.
    pub(super) fn print(&self, lines: &[String]) {
        for line in lines {
            let _ = self.display.println(line);
        }
    }

    pub(super) fn show(&mut self, event: &Event) {
        match event {
            Event::SuiteStarted { tests, .. } => {
                self.suite.set_length(*tests as u64);
                self.suite.enable_steady_tick(TICK);
            }
            Event::TestStarted { test, .. } => {
                self.retried.remove(&(test.test.clone(), test.repetition));
                self.running.insert(test.clone());
                // The time of its setup is not its own.
                if let Some(line) = self.shown.remove(test) {
                    self.remove(&line);
                }
                self.show_line(test, wording::label(test));
            }
            Event::SetupProgress { test, rss_bytes } => {
                let size = rounded_size(*rss_bytes);
                let message = format!("{size:>10}  the setup of {}", wording::label(test));
                match self.shown.get(test) {
                    Some(line) => line.set_message(message),
                    None => self.show_line(test, message),
                }
            }
            Event::TestProgress { test, rss_bytes } => {
                if let Some(line) = self.shown.get(test) {
                    let size = rounded_size(*rss_bytes);
                    line.set_message(format!("{size:>10}  {}", wording::label(test)));
                }
            }
            Event::StepStarted { name } => {
                self.step = Some(self.line(format!("the {name} of the suite")));
            }
            Event::StepProgress { name, rss_bytes } => {
                if let Some(line) = &self.step {
                    let size = rounded_size(*rss_bytes);
                    line.set_message(format!("{size:>10}  the {name} of the suite"));
                }
            }
            Event::StepFinished(_) => {
                if let Some(line) = self.step.take() {
                    self.remove(&line);
                }
            }
            Event::TestFinished { result, is_retried } => {
                // One that was skipped never ran; one whose command was not found was about to.
                self.running.remove(&result.test);
                if let Some(line) = self.shown.remove(&result.test) {
                    self.remove(&line);
                }
                self.count(result, *is_retried);
            }
            Event::RestNotRun(results) => {
                results.iter().for_each(|result| self.count(result, false));
            }
            Event::SuiteFinished { .. } => {
                self.suite.finish_and_clear();
                let _ = self.display.clear();
                return;
            }
            Event::Note(_) => return,
        }
        let mut counts: BTreeMap<Verdict, u64> = BTreeMap::new();
        for verdict in self.verdicts.values() {
            *counts.entry(*verdict).or_default() += 1;
        }
        let doing = match (&self.step, self.running.len(), self.retried.len()) {
            (Some(_), 0, _) => String::new(),
            (_, running, 0) => format!("{running} running  "),
            (_, running, retried) => format!("{running} running, {retried} to be tried again  "),
        };
        self.suite.set_message(format!("  {doing}{}", counts::listed(&counts)));
    }

    /// Adds a line for a test, unless there are many.
    fn show_line(&mut self, test: &Attempt, message: String) {
        if self.shown.len() < MAX_SHOWN {
            let line = self.line(message);
            self.shown.insert(test.clone(), line);
        }
    }

    /// Adds a line for what runs.
    fn line(&self, message: String) -> ProgressBar {
        let line = self.display.add(ProgressBar::no_length());
        line.set_style(style("  {elapsed:>4}  {wide_msg}"));
        line.set_message(message);
        line.enable_steady_tick(TICK);
        line
    }

    fn remove(&self, line: &ProgressBar) {
        line.finish_and_clear();
        self.display.remove(line);
    }

    /// Notes how an attempt ended. One that is tried again says nothing yet of its test.
    fn count(&mut self, result: &TestResult, is_retried: bool) {
        let attempts = self.ended.entry(result.test.test.clone()).or_default();
        attempts.push(result.clone());
        if is_retried {
            self.retried.insert((result.test.test.clone(), result.test.repetition));
            return;
        }
        if let Some(outcome) = of_test(&*attempts) {
            self.verdicts.insert(result.test.test.clone(), outcome.verdict());
        }
        self.suite.inc(1);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Outcome;

    #[test]
    fn a_test_whose_command_is_not_found_does_not_run_for_ever() {
        let mut live = LiveDisplay::new(ProgressDrawTarget::hidden());
        let attempt = |name: &str| Attempt { test: name.to_owned(), repetition: 1, attempt: 1 };
        let started = |name| Event::TestStarted { test: attempt(name), sandbox: "none".to_owned() };
        let finished = |name, outcome| {
            let result = Box::new(TestResult::not_run(attempt(name), outcome));
            Event::TestFinished { result, is_retried: false }
        };
        live.show(&started("runs"));
        live.show(&started("is not found"));
        assert!(live.suite.message().contains("2 running"), "{}", live.suite.message());
        live.show(&finished("is not found", Outcome::NotStarted { reason: String::new() }));
        live.show(&finished("is skipped", Outcome::Skipped { reason: String::new() }));
        let message = live.suite.message();
        assert_eq!(message, "  1 running  1 not_started, 1 skipped");
    }

    #[test]
    fn a_test_that_is_tried_again_has_not_failed_yet() {
        let mut live = LiveDisplay::new(ProgressDrawTarget::hidden());
        let test = |attempt| Attempt { test: "a".to_owned(), repetition: 1, attempt };
        let started =
            |attempt| Event::TestStarted { test: test(attempt), sandbox: "none".to_owned() };
        let finished = |attempt, outcome, is_retried| {
            let result = Box::new(TestResult::not_run(test(attempt), outcome));
            Event::TestFinished { result, is_retried }
        };
        live.show(&started(1));
        live.show(&finished(1, Outcome::Failed { exit_code: 1 }, true));
        assert_eq!(live.suite.message(), "  0 running, 1 to be tried again  ");
        assert_eq!(live.suite.position(), 0);
        live.show(&started(2));
        assert_eq!(live.suite.message(), "  1 running  ");
        live.show(&finished(2, Outcome::Passed, false));
        assert_eq!(live.suite.message(), "  0 running  1 flaky");
        assert_eq!(live.suite.position(), 1);
    }

    #[test]
    fn a_setup_is_seen_to_run() {
        let mut live = LiveDisplay::new(ProgressDrawTarget::hidden());
        live.show(&Event::StepStarted { name: "setup" });
        assert_eq!(live.step.as_ref().unwrap().message(), "the setup of the suite");
        assert_eq!(live.suite.message(), "  ");
        live.show(&Event::StepProgress { name: "setup".to_owned(), rss_bytes: 1 << 20 });
        let message = live.step.as_ref().unwrap().message();
        assert_eq!(message, "   1.0 MiB  the setup of the suite");

        let test = Attempt { test: "a".to_owned(), repetition: 1, attempt: 1 };
        live.show(&Event::SetupProgress { test: test.clone(), rss_bytes: 2 << 20 });
        assert_eq!(live.shown[&test].message(), "   2.0 MiB  the setup of a");
        live.show(&Event::TestStarted { test: test.clone(), sandbox: "none".to_owned() });
        assert_eq!(live.shown[&test].message(), "a");
    }
}
