//! The loop that orders all that happens in a run.
//!
//! ```text
//! supervisors ─ AttemptMessage ─┐
//! signals ──────────────────────┤
//! end of the recording ─────────┼─▶ DispatchEvent ─▶ Dispatcher ─▶ Event
//! time ─────────────────────────┘
//! ```

mod active;
mod attempts;
mod steps;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use memsample::{End, Recorder, SharedSampler, is_disk_full};

use super::admission::Admission;
use super::attempt::AttemptMessage;
use super::budget::{budgets_of, hold_to_budgets};
use super::error::RunError;
use super::event::Event;
use super::layout::Layout;
use super::leak::judge_rest;
use super::measure::{MAX_ROLES, Usage, measure_all};
use super::options::RunOptions;
use super::own_recording::Used;
use super::progress::{EndedAttempt, ProgressLog};
use super::role_use::RoleUses;
use super::tables::write_tables;
use crate::plan::RunPlan;
use crate::results::{Abort, Attempt, TestResult};
use crate::sandbox::{Sandboxes, Supervisors};
use crate::suite::{Suite, Test};
use active::ActiveAttempt;

/// Messages of supervisors that wait to be received, at most: the supervisors wait then.
const MAX_MESSAGES: usize = 1024;
/// How often it is looked whether a test fits now that did not before.
const ADMISSION_INTERVAL: Duration = Duration::from_secs(1);

/// The loop that orders all that happens.
pub(super) struct Dispatcher<'a> {
    suite: &'a Suite,
    options: &'a RunOptions,
    layout: Layout<'a>,
    recording: u32,
    sampler: SharedSampler,
    recorder: Recorder,
    recording_ended: Receiver<()>,
    progress: ProgressLog,
    /// Whether an earlier part of this run has been cut short.
    is_resumed: bool,
    signals: Receiver<i32>,
    events: &'a mut dyn FnMut(Event),
    messages: (Sender<AttemptMessage>, Receiver<AttemptMessage>),
    sandboxes: Sandboxes<'a>,
    supervisors: Supervisors,
    admission: Admission,
    plan: RunPlan<'a>,
    active: HashMap<u64, ActiveAttempt>,
    /// By position of the test in the suite, repetition and attempt.
    results: BTreeMap<(usize, u32, u32), EndedAttempt>,
    began: Instant,
    aborted: Option<Abort>,
    /// How the setup of the suite failed, in a sentence.
    setup_failure: Option<String>,
    /// A second signal came: nothing is waited for.
    in_a_hurry: bool,
}

/// What the loop does next.
enum DispatchEvent {
    Attempt(AttemptMessage),
    Signal(i32),
    SignalsClosed,
    RecordingEnded,
    Time,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(
        suite: &'a Suite,
        options: &'a RunOptions,
        layout: Layout<'a>,
        (recording, sampler, recorder): (u32, SharedSampler, Recorder),
        (progress, resumed): (ProgressLog, Option<Vec<EndedAttempt>>),
        signals: Receiver<i32>,
        events: &'a mut dyn FnMut(Event),
    ) -> Self {
        let is_resumed = resumed.is_some();
        let ended = resumed.unwrap_or_default();
        let ended_before = ended.iter().map(|ended| &ended.result);
        let repeats = |test: &Test| options.repeats_of(test);
        let retries = |test: &Test| options.retries_of(test);
        let plan = RunPlan::new(suite, &options.selection, repeats, retries, ended_before);
        let index_of: HashMap<&str, usize> = suite
            .tests
            .iter()
            .enumerate()
            .map(|(index, test)| (test.name.as_str(), index))
            .collect();
        let with_key = |ended: EndedAttempt| {
            let Attempt { test, repetition, attempt } = &ended.result.test;
            Some(((*index_of.get(test.as_str())?, *repetition, *attempt), ended))
        };
        Self {
            suite,
            options,
            layout,
            recording,
            sampler,
            recording_ended: recorder.finished(),
            recorder,
            progress,
            is_resumed,
            signals,
            events,
            messages: bounded(MAX_MESSAGES),
            sandboxes: Sandboxes::new(options.sandbox.as_ref(), &options.lxc_path, options.degrade),
            supervisors: Supervisors::new(&options.launcher),
            admission: Admission::new(options.jobs),
            plan,
            active: HashMap::new(),
            results: ended.into_iter().filter_map(with_key).collect(),
            began: Instant::now(),
            aborted: None,
            setup_failure: None,
            in_a_hurry: false,
        }
    }

    /// Runs everything, closes the recording and reports the results.
    pub(super) fn run(mut self) -> Result<(), RunError> {
        (self.events)(Event::SuiteStarted {
            suite: self.suite.name.clone(),
            tests: self.plan.len(),
            directory: self.options.directory.clone(),
        });
        if self.is_resumed {
            let (count, directory) = (self.results.len(), self.options.directory.display());
            let note =
                format!("resumes the run in {directory}, of which {count} attempts have ended");
            (self.events)(Event::Note(note));
        }
        for note in &self.suite.notes {
            (self.events)(Event::Note(note.clone()));
        }
        let setup = self.set_up();
        if self.aborted.is_none() {
            self.run_tests();
        }
        self.tear_down(setup);
        self.finish_rest();
        if let Err(error) = self.progress.finish() {
            self.abort(Abort::Disk { full: is_disk_full(&error) });
        }
        let stopped = self.recorder.stop();
        if let (Some(Abort::Disk { full }), Ok(recording)) = (&mut self.aborted, &stopped) {
            *full |= recording.manifest().end == Some(End::DiskFull);
        }
        let mut ended: Vec<EndedAttempt> = self.results.into_values().collect();
        let (measured, notes) = measure_all(&self.layout, &mut ended);
        let results = ended.iter_mut().map(|ended| &mut ended.result);
        for result in results.filter(|result| result.budgets.is_empty()) {
            let test = self.suite.tests.iter().find(|test| test.name == result.test.test);
            let budgets = test.map_or_else(Vec::new, |test| budgets_of(test, self.options));
            let roles = result.roles.clone();
            let usage = result.memory.clone().map(|memory| Usage::told(memory, roles));
            let used = Used { usage, roles: RoleUses::default(), leaks: None };
            hold_to_budgets(&budgets, &used, result);
        }
        // Behind the budgets, which may take a verdict back, as for an attempt with a recording of its own.
        let of_leaks = judge_rest(&self.layout, self.suite, self.options, &mut ended);
        for note in notes.into_iter().chain(of_leaks) {
            (self.events)(Event::Note(note));
        }
        let mut results: Vec<TestResult> = ended.into_iter().map(|ended| ended.result).collect();
        // A budget may be of any role; what is told is of the largest.
        results.iter_mut().for_each(|result| result.roles.truncate(MAX_ROLES));
        let directory = &self.options.directory;
        if let Err(error) = write_tables(directory, &self.suite.name, &results, &measured) {
            (self.events)(Event::Note(format!(
                "tests.parquet and test_roles.parquet could not be written: {error}"
            )));
        }
        let duration = self.began.elapsed();
        // Also when the recording could not be closed: the outcomes are known.
        (self.events)(Event::SuiteFinished { results, aborted: self.aborted, duration });
        stopped.map(drop).map_err(RunError::Record)
    }

    fn run_tests(&mut self) {
        loop {
            let wants_time = self.start_what_can();
            if self.active.values().all(|active| active.item.is_none()) && !wants_time {
                return;
            }
            self.next_event(wants_time.then_some(ADMISSION_INTERVAL));
        }
    }

    /// Waits for one thing to happen, at most for `time`, and does what it asks for.
    fn next_event(&mut self, time: Option<Duration>) {
        let may_time_out = matches!(self.aborted, None | Some(Abort::FailFast));
        let end = self.suite.timeout.filter(|_| may_time_out);
        let left = end.map(|timeout| timeout.saturating_sub(self.began.elapsed()));
        let wait = [time, left].into_iter().flatten().min();
        let timer = wait.map_or_else(never, after);
        let event = select! {
            recv(self.messages.1) -> message => message.map_or(DispatchEvent::Time, DispatchEvent::Attempt),
            recv(self.signals) -> signal => signal.map_or(DispatchEvent::SignalsClosed, DispatchEvent::Signal),
            recv(self.recording_ended) -> _ => DispatchEvent::RecordingEnded,
            recv(timer) -> _ => DispatchEvent::Time,
        };
        match event {
            DispatchEvent::Attempt(message) => self.receive(message),
            DispatchEvent::Signal(signal) => self.interrupt(signal),
            DispatchEvent::SignalsClosed => self.signals = never(),
            DispatchEvent::RecordingEnded => {
                self.recording_ended = never();
                // Whether the disk was full is known when it is closed.
                self.abort(Abort::Disk { full: false });
            }
            DispatchEvent::Time => {
                if end.is_some_and(|timeout| self.began.elapsed() >= timeout) {
                    self.abort(Abort::Timeout);
                }
            }
        }
    }

    fn interrupt(&mut self, signal: i32) {
        match self.aborted {
            Some(Abort::Signal(_)) => {
                self.in_a_hurry = true;
                self.active.values().for_each(|active| active.running.abandon());
            }
            _ => self.abort(Abort::Signal(signal)),
        }
    }

    /// Ends the suite: what runs is ended, and nothing is started any more.
    fn abort(&mut self, why: Abort) {
        match (self.aborted, why) {
            (None | Some(Abort::FailFast), _) | (_, Abort::Signal(_)) => self.aborted = Some(why),
            _ => {}
        }
        let tests = self.active.values().filter(|active| active.item.is_some());
        tests.for_each(|active| active.running.end());
    }
}
