//! What a person sees while a suite runs: plain lines in a log, and a live display on a terminal.

pub(crate) mod counts;
mod fold;
mod line;
mod live;
mod repeated;
pub mod table;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;

use indicatif::ProgressDrawTarget;

use memsample_input::printable;

use crate::results::wording;
use crate::results::{Attempt, Outcome};
use crate::run::Event;
use fold::{Line, fold};
use live::LiveDisplay;

/// How many seconds a test runs before a log says that it does, again and again.
const SECONDS_TO_MENTION: u64 = 60;

/// Shows events as they come.
///
/// Errors of the terminal are ignored: a run does not fail because its terminal is gone.
pub struct Terminal<W> {
    out: W,
    live: Option<LiveDisplay>,
    color: bool,
    width: Option<usize>,
    directory: PathBuf,
    /// Of each running test, or its setup, how many reports of its memory have come: about one a second.
    running: HashMap<Attempt, u64>,
    /// Of the setup or teardown of the suite, the same.
    step_seconds: u64,
    /// The attempts that were shown as over their budget, or leaking.
    judged: HashSet<Attempt>,
}

impl<W: Write> Terminal<W> {
    /// Shows lines on `out`.
    pub fn lines(out: W, color: bool) -> Self {
        Self {
            out,
            live: None,
            color,
            width: None,
            directory: PathBuf::new(),
            running: HashMap::new(),
            step_seconds: 0,
            judged: HashSet::new(),
        }
    }

    /// Shows the lines above what runs now, on `target`; lines alone where that shows nothing, since it is no terminal
    /// or one without control sequences.
    pub fn live(out: W, color: bool, target: ProgressDrawTarget) -> Self {
        let live = (!target.is_hidden()).then(|| LiveDisplay::new(target));
        Self { live, ..Self::lines(out, color) }
    }

    /// Folds lines between words at this many columns.
    #[must_use]
    pub fn fold_at(self, width: Option<usize>) -> Self {
        Self { width, ..self }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        let mut lines = Vec::new();
        match event {
            Event::SuiteStarted { suite, tests, directory } => {
                self.directory.clone_from(directory);
                let suite = printable(suite);
                let plural = if *tests == 1 { "" } else { "s" };
                let directory = directory.display();
                let text = format!("suite {suite}: {tests} test{plural}, results in {directory}");
                lines.push(Line::hanging(text, 4));
            }
            Event::Note(note) => {
                lines.push(Line::hanging(format!("note: {}", printable(note)), 4));
            }
            Event::StepFinished(step) => {
                lines.extend(line::step(step, &self.directory, self.color));
            }
            Event::RestNotRun(results) => lines.extend(line::rest(results, self.color)),
            Event::TestStarted { test, .. } => {
                self.running.insert(test.clone(), 0);
            }
            Event::TestProgress { test, rss_bytes } => {
                let seconds = self.running.entry(test.clone()).or_default();
                lines.extend(mentioned(seconds, &wording::label(test), *rss_bytes));
            }
            Event::SetupProgress { test, rss_bytes } => {
                let what = format!("the setup of {}", wording::label(test));
                let seconds = self.running.entry(test.clone()).or_default();
                lines.extend(mentioned(seconds, &what, *rss_bytes));
            }
            Event::StepProgress { name, rss_bytes } => {
                let what = format!("the {name} of the suite");
                lines.extend(mentioned(&mut self.step_seconds, &what, *rss_bytes));
            }
            Event::StepStarted { .. } => self.step_seconds = 0,
            Event::TestFinished { result, is_retried } => {
                self.running.remove(&result.test);
                if is_judged(&result.outcome) {
                    self.judged.insert(result.test.clone());
                }
                lines.extend(line::finished(result, *is_retried, self.color));
                lines.extend(line::output(result, &self.directory));
            }
            Event::SuiteFinished { results, .. } => {
                // Shown as passed before, where what they used is known only now.
                let late = results
                    .iter()
                    .filter(|it| is_judged(&it.outcome) && !self.judged.contains(&it.test));
                lines.extend(late.flat_map(|result| line::finished(result, false, self.color)));
            }
        }
        if self.live.is_some() && is_progress(event) {
            // It has a line of its own.
            lines.clear();
        }
        let lines: Vec<String> = match self.width {
            Some(width) => lines.iter().flat_map(|line| fold(line, width)).collect(),
            None => lines.into_iter().map(|line| line.text).collect(),
        };
        let lines: Vec<String> = lines.iter().map(|line| without_commands(line)).collect();
        match &mut self.live {
            Some(live) => {
                live.print(&lines);
                live.show(event);
            }
            None => {
                for line in lines {
                    let _ = writeln!(self.out, "{line}");
                }
                let _ = self.out.flush();
            }
        }
    }
}

/// Counts a report of what runs, and says now and then that it does.
fn mentioned(seconds: &mut u64, what: &str, rss_bytes: u64) -> Option<Line> {
    *seconds += 1;
    let is_due = seconds.is_multiple_of(SECONDS_TO_MENTION);
    is_due.then(|| line::running(what, *seconds, rss_bytes))
}

/// Returns whether an event tells only what runs.
fn is_progress(event: &Event) -> bool {
    matches!(
        event,
        Event::TestProgress { .. } | Event::SetupProgress { .. } | Event::StepProgress { .. }
    )
}

/// Returns whether what a test used decided how it ended.
fn is_judged(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::OverBudget | Outcome::Leaked)
}

/// Returns a text in which a CI server finds no command, wherever in a line it looks for one: GitHub's runner and Azure
/// Pipelines obey `##[…]` and `##vso[…]` in the midst of a line.
fn without_commands(text: &str) -> String {
    text.replace("##[", "## [").replace("##vso[", "## vso[").replace("##teamcity[", "## teamcity[")
}
