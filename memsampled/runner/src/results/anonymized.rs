//! Results without the names of the run.

use memsample::Pseudonyms;

use super::file::{EndResults, Results, TestResults};
use super::origin::Origin;
use super::step::StepResult;

/// What stands in the place of notes.
const NOTE: &str = "names are pseudonyms. Reasons, messages, notes, outputs and artifacts are left out, since they may have \
                    names in them";

impl Results {
    /// Returns results with pseudonyms in place of names, and without what may have names in it: reasons, messages,
    /// notes, outputs, artifacts and the commit. Numbers, instants and verdicts stay.
    #[must_use]
    pub fn anonymized(&self, pseudonyms: &mut Pseudonyms) -> Self {
        let Self { origin, steps, tests, .. } = self;
        Self {
            suite: pseudonyms.test(&self.suite),
            notes: vec![NOTE.to_owned()],
            run: None,
            origin: anonymized_origin(origin, pseudonyms),
            steps: steps.iter().map(anonymized_step).collect(),
            tests: tests.iter().map(|test| anonymized_test(test, pseudonyms)).collect(),
            ..self.clone()
        }
    }
}

fn anonymized_origin(origin: &Origin, pseudonyms: &mut Pseudonyms) -> Origin {
    Origin {
        host: origin.host.as_deref().map(|host| pseudonyms.name(host)),
        kernel: origin.kernel.as_deref().map(|kernel| pseudonyms.kernel(kernel)),
        commit: None,
        arguments: origin.arguments.iter().map(|it| pseudonyms.name(it)).collect(),
        labels: pseudonyms.labels(&origin.labels, &[]),
        recordings: origin.recordings.iter().filter_map(|it| recording(it)).collect(),
        ..origin.clone()
    }
}

/// Steps are named `setup` and `teardown`.
fn anonymized_step(step: &StepResult) -> StepResult {
    let name = match step.name.as_str() {
        "teardown" => "teardown",
        _ => "setup",
    };
    StepResult {
        name: name.to_owned(),
        reason: None,
        message: None,
        stdout: None,
        stderr: None,
        ..step.clone()
    }
}

fn anonymized_test(test: &TestResults, pseudonyms: &mut Pseudonyms) -> TestResults {
    let attempts = test.attempts.iter().cloned().map(|mut attempt| {
        attempt.ended = anonymized_end(&attempt.ended, pseudonyms);
        attempt
    });
    let attempts = attempts.collect();
    TestResults {
        name: pseudonyms.test(&test.name),
        ended: anonymized_end(&test.ended, pseudonyms),
        tags: test.tags.iter().map(|tag| pseudonyms.test(tag)).collect(),
        repeated: test.repeated.clone(),
        attempts,
    }
}

fn anonymized_end(end: &EndResults, pseudonyms: &mut Pseudonyms) -> EndResults {
    let mut end = EndResults {
        reason: None,
        message: None,
        sandbox: end.sandbox.as_deref().map(|it| pseudonyms.sandbox(it)),
        recording: end.recording.as_deref().and_then(recording),
        stdout: None,
        stderr: None,
        artifacts: Vec::new(),
        kept: None,
        notes: Vec::new(),
        ..end.clone()
    };
    if let Some(memory) = &mut end.memory {
        let comm = memory.unbounded_image.as_deref();
        memory.unbounded_image = comm.map(|comm| pseudonyms.name(comm));
    }
    for role in &mut end.roles {
        role.role = pseudonyms.name(&role.role);
    }
    for leak in &mut end.leaks {
        leak.role = leak.role.as_deref().map(|role| pseudonyms.name(role));
    }
    for result in &mut end.budgets {
        let role = result.budget.role.as_deref();
        result.budget.role = role.map(|role| pseudonyms.name(role));
    }
    for process in &mut end.left_over_processes {
        process.comm = pseudonyms.name(&process.comm);
    }
    end
}

/// Returns the name of a recording in the directory of a run if it is one that the runner gives.
fn recording(name: &str) -> Option<String> {
    let rest = name.strip_prefix("recording")?;
    let is_own = rest.is_empty() || rest.strip_prefix('-')?.parse::<u32>().is_ok();
    is_own.then(|| name.to_owned())
}
