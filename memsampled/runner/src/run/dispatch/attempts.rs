//! Attempts: how each is started, what its supervisor reports, and what becomes of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use memsample::is_disk_full;

use super::Dispatcher;
use super::active::ActiveAttempt;
use crate::output::telling_line;
use crate::plan::NextItem;
use crate::results::{Abort, Outcome, TestResult};
use crate::run::admission::Claim;
use crate::run::attempt::{AttemptMessage, RunningAttempt, spec_of_test};
use crate::run::budget::{budgets_of, hold_to_budgets, need_recording};
use crate::run::event::Event;
use crate::run::id::next_id;
use crate::run::leak::{hold_to_leak, leak_rule_of, program_span};
use crate::run::own_recording::Used;
use crate::run::progress::EndedAttempt;
use crate::run::verdict::judge;
use crate::sandbox::{AttemptEnd, StageKind, SupervisorMessage, kept_artifacts, remove_left};

impl Dispatcher<'_> {
    /// Starts tests until none can; says whether one waits for memory.
    pub(super) fn start_what_can(&mut self) -> bool {
        while self.aborted.is_none() {
            match self.plan.next() {
                NextItem::Run(item) => {
                    let tests = self.active.values().filter(|active| active.item.is_some());
                    // The end of one of them is an event: memory, which takes a millisecond to read, is not waited for.
                    if !self.admission.has_room(tests.count()) {
                        return false;
                    }
                    let memory = self.admission.memory();
                    let Some(planned) = self.plan.item(item) else { return false };
                    let test = planned.test;
                    let earlier = self.options.predicted_bytes.get(&test.name).copied();
                    let predicted =
                        self.admission.predict(earlier, test.memory_limit_bytes, memory);
                    let tests = self.active.values().filter(|active| active.item.is_some());
                    let claims = tests.map(|active| active.claim);
                    if !self.admission.admits(predicted, claims, memory) {
                        return true;
                    }
                    self.start(item, predicted);
                }
                NextItem::Skip(item, reason) => self.skip(item, Outcome::Skipped { reason }),
                NextItem::Wait | NextItem::Nothing => return false,
            }
        }
        false
    }

    /// Starts the next attempt of an item.
    pub(super) fn start(&mut self, item: usize, predicted_bytes: u64) {
        let Some(planned) = self.plan.item(item) else { return };
        let (test, attempt, index) = (planned.test, planned.attempt(), planned.index);
        self.plan.begun(item);
        let (id, name) = next_id();
        let directory = self.layout.attempt(index, &attempt);
        // What an attempt left whose runner was killed.
        let _ = fs::remove_dir_all(&directory);
        let resolved = self.sandboxes.of(test);
        for note in self.sandboxes.take_notes() {
            (self.events)(Event::Note(note));
        }
        let sandbox = resolved.as_ref().map_or_else(|_| String::new(), |resolved| resolved.word());
        let spec = resolved
            .and_then(|resolved| spec_of_test(test, resolved, name, &directory, self.options));
        let started = spec.and_then(|spec| {
            let held = Some(self.progress.held());
            let (messages, supervisors) = (self.messages.0.clone(), &mut self.supervisors);
            let running = RunningAttempt::start(id, &spec, held, messages, supervisors);
            let running = running.map_err(|error| format!("cannot start it: {error}"))?;
            Ok((spec, running))
        });
        match started {
            Ok((spec, running)) => {
                let claim = Claim { predicted_bytes, used_bytes: 0 };
                let active =
                    ActiveAttempt::new(Some(item), attempt, sandbox, (spec, running), claim);
                self.active.insert(id, active);
            }
            Err(reason) => {
                let _ = fs::remove_dir_all(&directory);
                self.skip(item, Outcome::NotStarted { reason });
            }
        }
    }

    /// Notes the outcome of an item that was not run.
    pub(super) fn skip(&mut self, item: usize, outcome: Outcome) {
        let Some(planned) = self.plan.item(item) else { return };
        let (attempt, index) = (planned.attempt(), planned.index);
        self.finished(item, index, TestResult::not_run(attempt, outcome));
    }

    pub(super) fn receive(&mut self, message: AttemptMessage) {
        let Some(active) = self.active.get_mut(&message.id) else { return };
        match message.message {
            Some(SupervisorMessage::Ready { stage, init }) => {
                let is_first = !active.is_marked;
                active.begin(&self.recorder, init);
                let is_test = active.item.is_some();
                let planned = active.item.and_then(|item| self.plan.item(item));
                if let Some(planned) = planned.filter(|_| is_first)
                    && (need_recording(&budgets_of(planned.test, self.options))
                        || leak_rule_of(planned.test, self.options).is_some())
                {
                    active.record_alone(&self.sampler, self.options, init);
                }
                if stage == StageKind::Program {
                    active.started = Some(Timestamp::now());
                }
                if stage == StageKind::Program && is_test {
                    (self.events)(Event::TestStarted {
                        test: active.attempt.clone(),
                        sandbox: active.sandbox.clone(),
                    });
                }
                active.running.go();
                // It may have been aborted while it was made ready.
                let is_aborted = self.aborted.is_some_and(|why| why != Abort::FailFast);
                if is_aborted && is_test && stage != StageKind::Cleanup {
                    active.running.end();
                }
            }
            Some(SupervisorMessage::Progress { rss_bytes }) => {
                active.claim.used_bytes = rss_bytes;
                let test = active.attempt.clone();
                (self.events)(match (active.item, active.started) {
                    (Some(_), Some(_)) => Event::TestProgress { test, rss_bytes },
                    (Some(_), None) => Event::SetupProgress { test, rss_bytes },
                    (None, _) => Event::StepProgress { name: test.test, rss_bytes },
                });
            }
            Some(SupervisorMessage::Ended(end)) => {
                active.end(&self.recorder, end.reaped_max_rss_bytes);
                if let Some(kills) = end.oom_kills.filter(|&kills| kills > 0) {
                    let limit_bytes = active.spec.memory_limit_bytes.filter(|_| end.limit_reached);
                    let test = &active.attempt.test;
                    self.recorder.explain_oom_kills(test, kills, limit_bytes);
                }
                active.end = Some(*end);
            }
            None => {
                if let Some(active) = self.active.remove(&message.id) {
                    self.gone(active);
                }
            }
        }
    }

    /// Makes the result of an attempt whose supervisor has ended.
    pub(super) fn gone(&mut self, mut active: ActiveAttempt) {
        active.end(&self.recorder, None);
        let ActiveAttempt {
            item,
            attempt,
            sandbox,
            spec,
            running,
            identified_init,
            mut notes,
            started,
            end,
            ..
        } = active;
        running.join();
        let end = end.unwrap_or_else(|| {
            remove_left(&spec.id, identified_init);
            let _ = fs::remove_dir_all(&spec.scratch);
            let duration = started.map(|started| Timestamp::now().duration_since(started));
            AttemptEnd {
                ended_by_runner: self.in_a_hurry,
                lost: true,
                duration: duration.map_or(Duration::ZERO, |duration| duration.unsigned_abs()),
                ..AttemptEnd::default()
            }
        });
        let Some((item, planned)) = item.and_then(|item| Some((item, self.plan.item(item)?)))
        else {
            return;
        };
        let (test, index) = (planned.test, planned.index);
        let (outcome, reason) = judge(test, &end);
        // Of the others the verdict says why.
        let message = match outcome {
            Outcome::Failed { .. } | Outcome::Signaled { .. } | Outcome::NotStarted { .. } => {
                telling_line(Some(&spec.stdout), Some(&spec.stderr))
            }
            _ => None,
        };
        let started = started.filter(|_| !matches!(outcome, Outcome::NotStarted { .. }));
        let kept = kept_artifacts(&spec.artifacts_directory);
        let relative = |path: &PathBuf| self.layout.relative(path);
        let log = |path: &PathBuf| path.exists().then(|| relative(path));
        notes.extend(end.notes);
        if let Some(why) = end.unlisted.as_ref().filter(|_| !end.left_over_processes.is_empty()) {
            notes.push(format!("it may have left more processes: {why}"));
        }
        notes.extend(end.output_error.map(|error| format!("its output was not kept: {error}")));
        let mut result = TestResult {
            test: attempt,
            outcome,
            reason,
            message,
            started,
            duration: end.duration,
            exit_code: end.exit_code,
            signal: end.signal,
            sandbox,
            left_over_processes: end.left_over_processes,
            unlisted: end.unlisted,
            left_bytes: end.left_bytes,
            stdout: log(&spec.stdout),
            stderr: log(&spec.stderr),
            output_cut_bytes: end.output_cut_bytes,
            artifacts: kept.iter().map(relative).collect(),
            kept: end.kept.as_ref().map(relative),
            notes,
            tags: Vec::new(),
            recording: None,
            memory: None,
            roles: Vec::new(),
            group: end.group.filter(|_| started.is_some()),
            budgets: Vec::new(),
            leaks: Vec::new(),
            memory_limit_bytes: spec.memory_limit_bytes,
        };
        let leak_rule = leak_rule_of(test, self.options);
        let leaks_of = leak_rule.and_then(|_| program_span(&result));
        let used = active.own_recording.and_then(|own| match own.finish(leaks_of) {
            Ok(used) => Some(used),
            // What is abandoned is not judged.
            Err(_) if self.in_a_hurry => None,
            Err(error) => {
                result.notes.push(format!(
                    "its budgets were judged at the end of the suite, because its own recording cannot be \
                     read: {error}"
                ));
                None
            }
        });
        let leaks = used.as_ref().and_then(|used| used.leaks.clone());
        let budgets = budgets_of(test, self.options);
        let used = used.or_else(|| (!need_recording(&budgets)).then(Used::default));
        if let Some(used) = used {
            hold_to_budgets(&budgets, &used, &mut result);
        }
        if let Some((rule, leaks)) = leak_rule.zip(leaks) {
            hold_to_leak(rule, &leaks, &mut result);
        }
        self.finished(item, index, result);
    }

    /// Notes a result, reports it, and decides what follows.
    pub(super) fn finished(&mut self, item: usize, index: usize, result: TestResult) {
        let (result, is_final) = self.noted(item, index, result);
        (self.events)(Event::TestFinished { result: Box::new(result), is_retried: !is_final });
    }

    /// Notes a result and decides what follows; returns it whole, and whether the test is not tried again.
    fn noted(&mut self, item: usize, index: usize, mut result: TestResult) -> (TestResult, bool) {
        result.tags = self.plan.item(item).map_or_else(Vec::new, |item| item.test.tags.clone());
        let recording = self.layout.recording(self.recording);
        result.recording = result.started.map(|_| self.layout.relative(&recording));
        let ended = EndedAttempt { recording: self.recording, result };
        let result = &ended.result;
        let is_final = self.plan.ended(item, &result.outcome);
        // What was not run, or not to its end, is run when the suite is resumed.
        let is_ended = match result.outcome {
            Outcome::Skipped { .. } | Outcome::Aborted => false,
            Outcome::NotStarted { .. } => self.aborted != Some(Abort::Setup),
            _ => true,
        };
        if is_ended && let Err(error) = self.progress.ended(&ended) {
            self.abort(Abort::Disk { full: is_disk_full(&error) });
        }
        if is_final
            && self.options.fail_fast
            && !result.outcome.is_success()
            && self.aborted.is_none()
        {
            // What runs may run to its end.
            self.aborted = Some(Abort::FailFast);
        }
        let whole = result.clone();
        let key = (index, result.test.repetition, result.test.attempt);
        self.results.insert(key, ended);
        (whole, is_final)
    }

    /// Gives a result to each test that will not be run any more.
    pub(super) fn finish_rest(&mut self) {
        let outcome = match self.aborted {
            None => return,
            Some(Abort::Setup) => {
                let failed = || "the setup of the suite failed".to_owned();
                Outcome::NotStarted { reason: self.setup_failure.clone().unwrap_or_else(failed) }
            }
            Some(_) => Outcome::Skipped { reason: "the suite was ended before".to_owned() },
        };
        let mut rest = Vec::new();
        while let NextItem::Run(item) | NextItem::Skip(item, _) = self.plan.next() {
            // One that was tried before ended as it did then.
            if !self.plan.give_up(item)
                && let Some(planned) = self.plan.item(item)
            {
                let (attempt, index) = (planned.attempt(), planned.index);
                let result = TestResult::not_run(attempt, outcome.clone());
                rest.push(self.noted(item, index, result).0);
            }
        }
        if !rest.is_empty() {
            (self.events)(Event::RestNotRun(rest));
        }
    }
}
