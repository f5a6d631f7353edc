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
    /// How the attempts of each test ended, since a test counts once.
    ended: BTreeMap<String, Vec<TestResult>>,
    counts: BTreeMap<Verdict, u64>,
}

impl LiveDisplay {
    pub(super) fn new(target: ProgressDrawTarget) -> Self {
        let display = MultiProgress::with_draw_target(target);
        let suite = display.add(ProgressBar::new(0));
        suite.set_style(style("{bar:24} {pos} of {len}, {elapsed}{wide_msg}"));
        let (shown, running) = (BTreeMap::new(), BTreeSet::new());
        Self { display, suite, shown, running, ended: BTreeMap::new(), counts: BTreeMap::new() }
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
                self.running.insert(test.clone());
                if self.shown.len() < MAX_SHOWN {
                    let line = self.display.add(ProgressBar::no_length());
                    line.set_style(style("  {elapsed:>4}  {wide_msg}"));
                    line.set_message(wording::label(test));
                    line.enable_steady_tick(TICK);
                    self.shown.insert(test.clone(), line);
                }
            }
            Event::TestProgress { test, rss_bytes } => {
                if let Some(line) = self.shown.get(test) {
                    let size = rounded_size(*rss_bytes);
                    line.set_message(format!("{size:>10}  {}", wording::label(test)));
                }
            }
            Event::TestFinished(result) => {
                // One that was skipped never ran; one whose command was not found was about to.
                self.running.remove(&result.test);
                if let Some(line) = self.shown.remove(&result.test) {
                    line.finish_and_clear();
                    self.display.remove(&line);
                }
                self.count(result);
            }
            Event::RestNotRun(results) => results.iter().for_each(|result| self.count(result)),
            Event::SuiteFinished { .. } => {
                self.suite.finish_and_clear();
                let _ = self.display.clear();
                return;
            }
            Event::Note(_) | Event::StepFinished(_) => return,
        }
        let counts = counts::listed(&self.counts);
        self.suite.set_message(format!("  {} running  {counts}", self.running.len()));
    }

    fn count(&mut self, result: &TestResult) {
        let attempts = self.ended.entry(result.test.test.clone()).or_default();
        let verdict = |attempts: &[TestResult]| of_test(attempts).map(|outcome| outcome.verdict());
        if let Some(before) = verdict(attempts) {
            let count = self.counts.entry(before).or_default();
            *count = count.saturating_sub(1);
        }
        attempts.push(result.clone());
        if let Some(now) = verdict(attempts) {
            *self.counts.entry(now).or_default() += 1;
        }
        // A retry belongs to what was planned.
        if result.test.attempt <= 1 {
            self.suite.inc(1);
        }
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
            Event::TestFinished(Box::new(TestResult::not_run(attempt(name), outcome)))
        };
        live.show(&started("runs"));
        live.show(&started("is not found"));
        assert!(live.suite.message().contains("2 running"), "{}", live.suite.message());
        live.show(&finished("is not found", Outcome::NotStarted { reason: String::new() }));
        live.show(&finished("is skipped", Outcome::Skipped { reason: String::new() }));
        let message = live.suite.message();
        assert_eq!(message, "  1 running  1 not_started, 1 skipped");
    }
}
