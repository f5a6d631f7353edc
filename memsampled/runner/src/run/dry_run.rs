//! What a run would do, without doing it.

use serde::Serialize;

use super::options::RunOptions;
use crate::plan::{NextItem, RunPlan, Selection};
use crate::results::{Outcome, nanoseconds};
use crate::sandbox::Sandboxes;
use crate::suite::{Suite, Test};

/// What a run would do with a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedTest {
    /// Its name.
    pub name: String,
    /// What would become of it.
    pub decision: Decision,
    /// Why it would not be run, as the end of a sentence; of one that would be run, what it waits for.
    pub reason: Option<String>,
    /// Its position among those that would be run one after the other, from 1.
    pub position: Option<usize>,
    /// The sandbox that it would have.
    pub sandbox: Option<String>,
    /// How long it may take, in nanoseconds.
    pub timeout_ns: u64,
    /// The most memory that it may have, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// The most CPU time that it may use, in nanoseconds.
    pub cpu_limit_ns: Option<u64>,
    /// How often it would be run.
    pub repeat: u32,
    /// How often it would be run again if it failed.
    pub retries: u32,
    /// The words by which it can be selected.
    pub tags: Vec<String>,
    /// What must have passed before.
    pub requires: Vec<String>,
}

/// What would become of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It would be run, if all that it requires passed.
    Run,
    /// It is selected, and would not be tried.
    Skip,
    /// It is selected, and could not be started here.
    NotStarted,
    /// It is not selected.
    NotSelected,
}

/// Returns what a run would do, first the tests that are selected, in the order in which they would be run, then the
/// others. It looks which sandboxes work here, and executes nothing of the suite.
///
/// The second part is what a reader must know, such as a sandbox that does not work here.
#[must_use]
pub fn dry_run(suite: &Suite, options: &RunOptions) -> (Vec<PlannedTest>, Vec<String>) {
    let mut sandboxes =
        Sandboxes::new(options.sandbox.as_ref(), &options.lxc_path, options.degrade);
    let (repeats, retries) =
        (|test: &_| options.repeats_of(test), |test: &_| options.retries_of(test));
    let mut plan = RunPlan::new(suite, &options.selection, repeats, retries, []);
    let mut planned: Vec<PlannedTest> = Vec::new();
    let mut seen = vec![false; suite.tests.len()];
    loop {
        let (item, skipped) = match plan.next() {
            NextItem::Run(item) => (item, None),
            NextItem::Skip(item, reason) => (item, Some(reason)),
            NextItem::Wait | NextItem::Nothing => break,
        };
        let Some((index, test)) = plan.item(item).map(|item| (item.index, item.test)) else {
            break;
        };
        plan.begun(item);
        let would = |decision, reason| (decision, reason, None);
        let (decision, reason, sandbox) = match skipped {
            Some(reason) => would(Decision::Skip, Some(reason)),
            None => match sandboxes.of(test) {
                Ok(sandbox) => (Decision::Run, None, Some(sandbox.word())),
                Err(reason) => would(Decision::NotStarted, Some(reason)),
            },
        };
        let outcome = match (decision, &reason) {
            (Decision::Run, _) => Outcome::Passed,
            (_, reason) => Outcome::Skipped { reason: reason.clone().unwrap_or_default() },
        };
        plan.ended(item, &outcome);
        // The repetitions of a test are one row.
        let is_seen = seen.get_mut(index).is_none_or(|seen| std::mem::replace(seen, true));
        if !is_seen {
            planned.push(PlannedTest { reason, sandbox, ..of(test, decision, options) });
        }
    }
    for (position, test) in
        planned.iter_mut().filter(|test| test.decision == Decision::Run).enumerate()
    {
        test.position = Some(position + 1);
        test.reason = waits_for(&test.requires);
    }
    for (test, _) in suite.tests.iter().zip(&seen).filter(|(_, seen)| !**seen) {
        let reason = Some(why_not(&options.selection, test));
        planned.push(PlannedTest { reason, ..of(test, Decision::NotSelected, options) });
    }
    (planned, sandboxes.take_notes())
}

fn of(test: &Test, decision: Decision, options: &RunOptions) -> PlannedTest {
    PlannedTest {
        name: test.name.clone(),
        decision,
        reason: None,
        position: None,
        sandbox: None,
        timeout_ns: nanoseconds(test.timeout),
        memory_limit_bytes: test.memory_limit_bytes,
        cpu_limit_ns: test.cpu_limit.map(nanoseconds),
        repeat: options.repeats_of(test),
        retries: options.retries_of(test),
        tags: test.tags.clone(),
        requires: test.requires.clone(),
    }
}

fn waits_for(requires: &[String]) -> Option<String> {
    let names: Vec<String> = requires.iter().map(|name| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| format!("after {}", names.join(", ")))
}

/// Describes why a test is not selected.
fn why_not(selection: &Selection, test: &Test) -> String {
    selection.why_not(test).unwrap_or_else(|| "is in another part (--shard)".to_owned())
}
