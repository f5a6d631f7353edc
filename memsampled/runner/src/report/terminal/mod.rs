//! What a person sees while a suite runs: plain lines in a log, and a live display on a terminal.

mod line;
mod live;
pub mod table;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::PathBuf;

use indicatif::ProgressDrawTarget;

use memsample_input::printable;

use crate::results::{Attempt, Outcome};
use crate::run::Event;
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
    directory: PathBuf,
    /// Of each running test, how many reports of its memory have come: about one a second.
    running: HashMap<Attempt, u64>,
    /// The attempts that were shown as over their budget.
    over_budget: HashSet<Attempt>,
}

impl<W: Write> Terminal<W> {
    /// Shows lines on `out`.
    pub fn lines(out: W, color: bool) -> Self {
        Self {
            out,
            live: None,
            color,
            directory: PathBuf::new(),
            running: HashMap::new(),
            over_budget: HashSet::new(),
        }
    }

    /// Shows the lines above what runs now, on `target`.
    pub fn live(out: W, color: bool, target: ProgressDrawTarget) -> Self {
        Self { live: Some(LiveDisplay::new(target)), ..Self::lines(out, color) }
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
                lines.push(format!("suite {suite}: {tests} test{plural}, results in {directory}"));
            }
            Event::Note(note) => lines.push(format!("note: {}", printable(note))),
            Event::TestStarted { test, .. } => {
                self.running.insert(test.clone(), 0);
            }
            Event::TestProgress { test, rss_bytes } => {
                let seconds = self.running.entry(test.clone()).or_default();
                *seconds += 1;
                if self.live.is_none() && seconds.is_multiple_of(SECONDS_TO_MENTION) {
                    lines.push(line::running(test, *seconds, *rss_bytes));
                }
            }
            Event::TestFinished(result) => {
                self.running.remove(&result.test);
                if result.outcome == Outcome::OverBudget {
                    self.over_budget.insert(result.test.clone());
                }
                lines.push(line::finished(result, self.color));
                lines.extend(line::output(result, &self.directory));
            }
            Event::SuiteFinished { results, .. } => {
                // Shown as passed before, where what they used is known only now.
                let over = results.iter().filter(|it| {
                    it.outcome == Outcome::OverBudget && !self.over_budget.contains(&it.test)
                });
                lines.extend(over.map(|result| line::finished(result, self.color)));
            }
        }
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
