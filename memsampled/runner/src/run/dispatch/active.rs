//! An attempt that runs, as the dispatcher knows it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use memsample::analysis::reaped_label;
use memsample::{MarkKind, Recorder, SharedSampler};
use memsample_input::with_causes;

use crate::results::Attempt;
use crate::run::admission::Claim;
use crate::run::attempt::RunningAttempt;
use crate::run::measure::mark_of;
use crate::run::options::RunOptions;
use crate::run::own_recording::{OwnRecording, scope_of};
use crate::sandbox::{AttemptEnd, IdentifiedProcess, Spec, identity};

/// An attempt that runs.
pub(super) struct ActiveAttempt {
    /// Of the plan; `None` for a step of the suite.
    pub(super) item: Option<usize>,
    pub(super) attempt: Attempt,
    pub(super) sandbox: String,
    pub(super) spec: Spec,
    pub(super) running: RunningAttempt,
    pub(super) claim: Claim,
    /// Whether its recording has its beginning, and not yet its end.
    pub(super) is_marked: bool,
    /// The process that starts and reaps its programs.
    init: Option<i32>,
    /// The same, to be known again if its supervisor is killed.
    pub(super) identified_init: Option<IdentifiedProcess>,
    /// A recording of it alone, where it has budgets.
    pub(super) own_recording: Option<OwnRecording>,
    /// What went wrong around it that its supervisor does not know.
    pub(super) notes: Vec<String>,
    pub(super) started: Option<Timestamp>,
    pub(super) end: Option<AttemptEnd>,
}

impl ActiveAttempt {
    /// Returns an attempt whose supervisor has just been started; a step of the suite is no `item` of the plan.
    pub(super) fn new(
        item: Option<usize>,
        attempt: Attempt,
        sandbox: String,
        (spec, running): (Spec, RunningAttempt),
        claim: Claim,
    ) -> Self {
        Self {
            item,
            attempt,
            sandbox,
            spec,
            running,
            claim,
            is_marked: false,
            init: None,
            identified_init: None,
            own_recording: None,
            notes: Vec::new(),
            started: None,
            end: None,
        }
    }

    /// Marks its beginning in the recording: all that `init` starts belongs to the test. Nothing of it has executed an
    /// instruction yet. A step of the suite belongs to no test.
    pub(super) fn begin(&mut self, recorder: &Recorder, init: i32) {
        if std::mem::replace(&mut self.is_marked, true) {
            return;
        }
        (self.init, self.identified_init) = (Some(init), identity(init));
        // The recording may have ended, which is an event of its own.
        if self.item.is_none() {
            let _ = recorder.mark(MarkKind::Begin, &self.attempt.test, None);
            return;
        }
        let test = &self.attempt.test;
        let _ = recorder.mark_with(
            MarkKind::Begin,
            &mark_of(&self.attempt),
            Some(test),
            BTreeMap::new(),
            Some(init),
        );
        if let Err(error) = recorder.assign(&scope_of(init, &self.spec.id), test) {
            self.notes.push(format!("what it uses cannot be recorded: {}", with_causes(&error)));
        }
    }

    /// Begins a recording of it alone, by which its budgets are judged at its end.
    pub(super) fn record_alone(
        &mut self,
        sampler: &SharedSampler,
        options: &RunOptions,
        init: i32,
    ) {
        let Some(directory) = self.spec.scratch.parent() else { return };
        let launched = (init, self.spec.id.as_str());
        match OwnRecording::start(sampler, options, directory, launched, &self.attempt) {
            Ok(recording) => self.own_recording = Some(recording),
            Err(error) => self.notes.push(format!(
                "its budgets were judged at the end of the suite, because it has no recording of its own: {error}"
            )),
        }
    }

    /// Marks its end in the recordings that it is in, with all that it started, and with what its programs had at most.
    pub(super) fn end(&mut self, recorder: &Recorder, reaped_max_rss_bytes: Option<u64>) {
        if !std::mem::replace(&mut self.is_marked, false) {
            return;
        }
        if self.item.is_none() {
            let _ = recorder.mark(MarkKind::End, &self.attempt.test, None);
            return;
        }
        let test = &self.attempt.test;
        let _ = recorder.unassign(test);
        let labels = reaped_max_rss_bytes.map(reaped_label).unwrap_or_default();
        let name = mark_of(&self.attempt);
        let _ = recorder.mark_with(MarkKind::End, &name, Some(test), labels.clone(), self.init);
        if let Some(own) = &mut self.own_recording {
            own.end(labels);
        }
    }
}
