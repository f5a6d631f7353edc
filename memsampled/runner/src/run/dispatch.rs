//! The loop that orders all that happens in a run.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use jiff::Timestamp;
use memsample::{End, MarkKind, Recorder, Recording, Scope, Station, is_disk_full};

use super::admission::{Admission, Claim, Memory};
use super::attempt::{Heard, Running, failure, spec_of_step, spec_of_test};
use super::budget::{self, Left};
use super::error::RunError;
use super::event::Event;
use super::id::next_id;
use super::layout::Layout;
use super::measure::{Usage, mark_of, measure};
use super::options::RunOptions;
use super::own_recording::{OwnRecording, Used};
use super::progress::{Ended, Progress};
use super::role_use::RoleUses;
use super::verdict::judge;
use crate::plan::{Next, Plan};
use crate::results::{Abort, Attempt, Outcome, TestResult};
use crate::sandbox::{
    AttemptEnd, Sandboxes, Spec, StageKind, SupervisorMessage, kept_artifacts, remove_left,
};
use crate::suite::{Budget, Step, Suite, Test};

/// What waits to be heard, at most: the supervisors wait then.
const MAX_HEARD: usize = 1024;
/// How often it is looked whether a test fits now that did not before.
const ADMISSION_INTERVAL: Duration = Duration::from_secs(1);

/// The loop that orders all that happens.
pub(super) struct Dispatcher<'a> {
    suite: &'a Suite,
    options: &'a RunOptions,
    layout: Layout<'a>,
    recording: u32,
    station: Station,
    recorder: Recorder,
    recording_ended: Receiver<()>,
    progress: Progress,
    /// Whether an earlier part of this run has been cut short.
    is_resumed: bool,
    signals: Receiver<i32>,
    events: &'a mut dyn FnMut(Event),
    heard: (Sender<Heard>, Receiver<Heard>),
    sandboxes: Sandboxes<'a>,
    admission: Admission,
    plan: Plan<'a>,
    active: HashMap<u64, Active>,
    /// By position of the test in the suite, repetition and attempt.
    results: BTreeMap<(usize, u32, u32), Ended>,
    began: Instant,
    aborted: Option<Abort>,
    /// A second signal came: nothing is waited for.
    in_a_hurry: bool,
}

/// An attempt that runs.
struct Active {
    /// Of the plan; `None` for a step of the suite.
    item: Option<usize>,
    attempt: Attempt,
    sandbox: String,
    spec: Spec,
    running: Running,
    claim: Claim,
    /// Whether its recording has its beginning, and not yet its end.
    is_marked: bool,
    /// A recording of it alone, where it has budgets.
    own_recording: Option<OwnRecording>,
    /// What went wrong around it that its supervisor does not know.
    notes: Vec<String>,
    started: Option<Timestamp>,
    end: Option<AttemptEnd>,
}

/// What the loop does next.
enum Turn {
    Heard(Heard),
    Signal(i32),
    SignalsClosed,
    RecordingEnded,
    Time,
}

impl Active {
    /// Tells the recording that it begins: all that `init` starts is of the test. Nothing of it has
    /// executed an instruction. A step of the suite is of no test.
    fn begin(&mut self, recorder: &Recorder, init: i32) {
        if std::mem::replace(&mut self.is_marked, true) {
            return;
        }
        // The recording may have ended, of which it tells by itself.
        if self.item.is_none() {
            let _ = recorder.mark(MarkKind::Begin, &self.attempt.test, None);
            return;
        }
        let test = &self.attempt.test;
        let _ = recorder.mark(MarkKind::Begin, &mark_of(&self.attempt), Some(test));
        if let Err(error) = recorder.assign(&Scope::Launched { by: init }, test) {
            self.notes.push(format!("what it uses cannot be recorded: {error}"));
        }
    }

    /// Begins a recording of it alone, by which its budgets are judged at its end.
    fn record_alone(&mut self, station: &Station, options: &RunOptions, init: i32) {
        let Some(directory) = self.spec.scratch.parent() else { return };
        match OwnRecording::start(station, options, directory, init, &self.attempt) {
            Ok(recording) => self.own_recording = Some(recording),
            Err(error) => self.notes.push(format!(
                "its budgets were judged when the suite had ended, for it was not recorded alone: {error}"
            )),
        }
    }

    /// Tells the recording that it has ended, with all that it started.
    fn end(&mut self, recorder: &Recorder) {
        if !std::mem::replace(&mut self.is_marked, false) {
            return;
        }
        if self.item.is_none() {
            let _ = recorder.mark(MarkKind::End, &self.attempt.test, None);
            return;
        }
        let test = &self.attempt.test;
        let _ = recorder.unassign(test);
        let _ = recorder.mark(MarkKind::End, &mark_of(&self.attempt), Some(test));
    }
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(
        suite: &'a Suite,
        options: &'a RunOptions,
        layout: Layout<'a>,
        (recording, station, recorder): (u32, Station, Recorder),
        (progress, resumed): (Progress, Option<Vec<Ended>>),
        signals: Receiver<i32>,
        events: &'a mut dyn FnMut(Event),
    ) -> Self {
        let is_resumed = resumed.is_some();
        let ended = resumed.unwrap_or_default();
        let ended_before = ended.iter().map(|ended| &ended.result);
        let RunOptions { selection, repeat, retries, .. } = options;
        let plan = Plan::new(suite, selection, *repeat, *retries, ended_before);
        let index_of: HashMap<&str, usize> = suite
            .tests
            .iter()
            .enumerate()
            .map(|(index, test)| (test.name.as_str(), index))
            .collect();
        let with_key = |ended: Ended| {
            let Attempt { test, repetition, attempt } = &ended.result.test;
            Some(((*index_of.get(test.as_str())?, *repetition, *attempt), ended))
        };
        Self {
            suite,
            options,
            layout,
            recording,
            station,
            recording_ended: recorder.finished(),
            recorder,
            progress,
            is_resumed,
            signals,
            events,
            heard: bounded(MAX_HEARD),
            sandboxes: Sandboxes::new(options.sandbox.as_ref(), &options.lxc_path, options.degrade),
            admission: Admission::new(options.jobs),
            plan,
            active: HashMap::new(),
            results: ended.into_iter().filter_map(with_key).collect(),
            began: Instant::now(),
            aborted: None,
            in_a_hurry: false,
        }
    }

    /// Runs everything, closes the recording and tells the results.
    pub(super) fn run(mut self) -> Result<(), RunError> {
        (self.events)(Event::SuiteStarted {
            suite: self.suite.name.clone(),
            tests: self.plan.len(),
            directory: self.options.directory.clone(),
        });
        if self.is_resumed {
            let (count, directory) = (self.results.len(), self.options.directory.display());
            let note = format!(
                "goes on with the run in {directory}, of which {count} attempts have ended"
            );
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
        let stopped = self.recorder.stop();
        if let (Some(Abort::Disk { full }), Ok(recording)) = (&mut self.aborted, &stopped) {
            *full |= recording.manifest().end == Some(End::DiskFull);
        }
        let mut ended: Vec<Ended> = self.results.into_values().collect();
        for note in measure_all(&self.layout, &mut ended) {
            (self.events)(Event::Note(note));
        }
        let mut results: Vec<TestResult> = ended.into_iter().map(|ended| ended.result).collect();
        for result in results.iter_mut().filter(|result| result.budgets.is_empty()) {
            let test = self.suite.tests.iter().find(|test| test.name == result.test.test);
            let budgets = test.map_or_else(Vec::new, |test| budgets_of(test, self.options));
            let roles = result.roles.clone();
            let usage = result.memory.clone().map(|memory| Usage { memory, roles });
            let used = Used { usage, roles: RoleUses::default() };
            judge_budgets(&budgets, &used, result);
        }
        let duration = self.began.elapsed();
        // SupervisorMessage also when the recording could not be closed: the outcomes are known.
        (self.events)(Event::SuiteFinished { results, aborted: self.aborted, duration });
        stopped.map(drop).map_err(RunError::Record)
    }

    fn run_tests(&mut self) {
        loop {
            let wants_time = self.start_what_can();
            if self.active.values().all(|active| active.item.is_none()) && !wants_time {
                return;
            }
            self.turn(wants_time.then_some(ADMISSION_INTERVAL));
        }
    }

    /// Starts tests until none can; says whether one waits for memory.
    fn start_what_can(&mut self) -> bool {
        while self.aborted.is_none() {
            match self.plan.next() {
                Next::Run(item) => {
                    let memory = Memory::now();
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
                Next::Skip(item, reason) => self.skip(item, Outcome::Skipped { reason }),
                Next::Wait | Next::Nothing => return false,
            }
        }
        false
    }

    /// Starts the next attempt of an item.
    fn start(&mut self, item: usize, predicted_bytes: u64) {
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
            let running = Running::start(id, &spec, held, self.heard.0.clone());
            let running = running.map_err(|error| format!("cannot start it: {error}"))?;
            Ok((spec, running))
        });
        match started {
            Ok((spec, running)) => {
                let active = Active {
                    item: Some(item),
                    attempt,
                    sandbox,
                    spec,
                    running,
                    claim: Claim { predicted_bytes, used_bytes: 0 },
                    is_marked: false,
                    own_recording: None,
                    notes: Vec::new(),
                    started: None,
                    end: None,
                };
                self.active.insert(id, active);
            }
            Err(reason) => {
                let _ = fs::remove_dir_all(&directory);
                self.skip(item, Outcome::NotStarted { reason });
            }
        }
    }

    /// Notes the outcome of an item that was not run.
    fn skip(&mut self, item: usize, outcome: Outcome) {
        let Some(planned) = self.plan.item(item) else { return };
        let (attempt, index) = (planned.attempt(), planned.index);
        self.finished(item, index, TestResult::not_run(attempt, outcome));
    }

    /// Waits for one thing to happen, at most for `time`, and does what it asks for.
    fn turn(&mut self, time: Option<Duration>) {
        let goes_on = matches!(self.aborted, None | Some(Abort::FailFast));
        let end = self.suite.timeout.filter(|_| goes_on);
        let left = end.map(|timeout| timeout.saturating_sub(self.began.elapsed()));
        let wait = [time, left].into_iter().flatten().min();
        let timer = wait.map_or_else(never, after);
        let turn = select! {
            recv(self.heard.1) -> heard => heard.map_or(Turn::Time, Turn::Heard),
            recv(self.signals) -> signal => signal.map_or(Turn::SignalsClosed, Turn::Signal),
            recv(self.recording_ended) -> _ => Turn::RecordingEnded,
            recv(timer) -> _ => Turn::Time,
        };
        match turn {
            Turn::Heard(heard) => self.hear(heard),
            Turn::Signal(signal) => self.interrupt(signal),
            Turn::SignalsClosed => self.signals = never(),
            Turn::RecordingEnded => {
                self.recording_ended = never();
                // Whether for want of room, its end tells.
                self.abort(Abort::Disk { full: false });
            }
            Turn::Time => {
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

    fn hear(&mut self, heard: Heard) {
        let Some(active) = self.active.get_mut(&heard.id) else { return };
        match heard.told {
            Some(SupervisorMessage::Ready { stage, init }) => {
                let is_first = !active.is_marked;
                active.begin(&self.recorder, init);
                let is_test = active.item.is_some();
                let planned = active.item.and_then(|item| self.plan.item(item));
                if let Some(planned) = planned.filter(|_| is_first)
                    && !budgets_of(planned.test, self.options).is_empty()
                {
                    active.record_alone(&self.station, self.options, init);
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
                if active.item.is_some() {
                    let test = active.attempt.clone();
                    (self.events)(Event::TestProgress { test, rss_bytes });
                }
            }
            Some(SupervisorMessage::Ended(end)) => {
                active.end(&self.recorder);
                active.end = Some(*end);
            }
            None => {
                if let Some(active) = self.active.remove(&heard.id) {
                    self.gone(active);
                }
            }
        }
    }

    /// Makes the result of an attempt whose supervisor has ended.
    fn gone(&mut self, mut active: Active) {
        active.end(&self.recorder);
        let Active { item, attempt, sandbox, spec, running, mut notes, started, end, .. } = active;
        let used = active.own_recording.map(OwnRecording::finish);
        running.join();
        let end = end.unwrap_or_else(|| {
            remove_left(&spec.id);
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
        let started = started.filter(|_| !matches!(outcome, Outcome::NotStarted { .. }));
        let kept = kept_artifacts(&spec.artifacts_directory);
        let relative = |path: &PathBuf| self.layout.relative(path);
        let log = |path: &PathBuf| path.exists().then(|| relative(path));
        notes.extend(end.notes);
        notes.extend(end.output_error.map(|error| format!("its output was not kept: {error}")));
        let used = used.and_then(|used| match used {
            Ok(used) => Some(used),
            // What is abandoned is not judged.
            Err(_) if self.in_a_hurry => None,
            Err(error) => {
                notes.push(format!(
                    "its budgets were judged when the suite had ended, for what was recorded of it alone \
                     cannot be read: {error}"
                ));
                None
            }
        });
        let mut result = TestResult {
            test: attempt,
            outcome,
            reason,
            started,
            duration: end.duration,
            exit_code: end.exit_code,
            signal: end.signal,
            sandbox,
            left_over_processes: end.left_over_processes,
            left_bytes: end.left_bytes,
            stdout: log(&spec.stdout),
            stderr: log(&spec.stderr),
            output_cut_bytes: end.output_cut_bytes,
            artifacts: kept.iter().map(relative).collect(),
            kept: end.kept.as_ref().map(relative),
            notes,
            memory: None,
            roles: Vec::new(),
            budgets: Vec::new(),
        };
        if let Some(used) = used {
            judge_budgets(&budgets_of(test, self.options), &used, &mut result);
        }
        self.finished(item, index, result);
    }

    /// Notes a result, tells it, and decides what follows.
    fn finished(&mut self, item: usize, index: usize, result: TestResult) {
        let ended = Ended { recording: self.recording, result };
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
        (self.events)(Event::TestFinished(Box::new(result.clone())));
        let key = (index, result.test.repetition, result.test.attempt);
        self.results.insert(key, ended);
    }

    /// Gives a result to each test that will not be run any more.
    fn finish_rest(&mut self) {
        let outcome = match self.aborted {
            None => return,
            Some(Abort::Setup) => {
                Outcome::NotStarted { reason: "the setup of the suite failed".to_owned() }
            }
            Some(_) => Outcome::Skipped { reason: "the suite was ended before".to_owned() },
        };
        loop {
            match self.plan.next() {
                Next::Run(item) | Next::Skip(item, _) => {
                    // One that was tried before ended as it did then.
                    if !self.plan.give_up(item) {
                        self.skip(item, outcome.clone());
                    }
                }
                Next::Wait | Next::Nothing => return,
            }
        }
    }

    /// Runs the suite's setup; what it started lives on.
    fn set_up(&mut self) -> Option<u64> {
        let step = self.suite.setup.as_ref()?;
        let (id, failure) = self.run_step(step, "setup", true);
        if let Some(failure) = failure {
            if self.aborted.is_none() {
                (self.events)(Event::Note(format!("the setup of the suite {failure}")));
            }
            self.abort(Abort::Setup);
        }
        Some(id)
    }

    /// Runs the suite's teardown, and ends what its setup started.
    fn tear_down(&mut self, setup: Option<u64>) {
        if let Some(step) = &self.suite.teardown
            && !self.in_a_hurry
            && let (_, Some(failure)) = self.run_step(step, "teardown", false)
        {
            (self.events)(Event::Note(format!("the teardown of the suite {failure}")));
        }
        if let Some(active) = setup.and_then(|setup| self.active.get(&setup)) {
            active.running.end();
        }
        while !self.active.is_empty() {
            self.turn(None);
        }
    }

    /// Runs a step of the suite; returns why it failed, as the end of a sentence.
    fn run_step(
        &mut self,
        step: &Step,
        name: &'static str,
        lives_on: bool,
    ) -> (u64, Option<String>) {
        let (id, unique) = next_id();
        let directory = self.layout.step(name);
        let _ = fs::remove_dir_all(&directory);
        let cwd = self.suite.directory.clone();
        let spec = spec_of_step(step, unique, cwd, &directory, self.options, lives_on);
        let attempt = Attempt { test: name.to_owned(), repetition: 1, attempt: 1 };
        let held = Some(self.progress.held());
        let running = match Running::start(id, &spec, held, self.heard.0.clone()) {
            Ok(running) => running,
            Err(error) => return (id, Some(format!("could not be started: {error}"))),
        };
        let active = Active {
            item: None,
            attempt,
            sandbox: "none".to_owned(),
            spec,
            running,
            claim: Claim::default(),
            is_marked: false,
            own_recording: None,
            notes: Vec::new(),
            started: None,
            end: None,
        };
        self.active.insert(id, active);
        let was_aborted = self.aborted.is_some();
        loop {
            match self.active.get(&id) {
                None => return (id, Some("was lost: its supervisor was killed".to_owned())),
                Some(Active { end: Some(end), .. }) => {
                    return (id, failure(end));
                }
                Some(active) if self.aborted.is_some() && !was_aborted => active.running.end(),
                Some(_) => {}
            }
            self.turn(None);
        }
    }
}

/// Fills in what each attempt used, from the recording that it is in. Returns what went wrong, a
/// sentence each.
fn measure_all(layout: &Layout<'_>, ended: &mut [Ended]) -> Vec<String> {
    let mut by_recording: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let started = |(_, ended): &(usize, &Ended)| ended.result.started.is_some();
    for (index, ended) in ended.iter().enumerate().filter(started) {
        by_recording.entry(ended.recording).or_default().push(index);
    }
    let mut notes = Vec::new();
    for (number, indices) in by_recording {
        let path = layout.recording(number);
        // One of a part that was killed is put together here.
        let measured = Recording::open(&path).map_err(|error| error.to_string());
        let measured = measured
            .and_then(|(recording, _)| measure(&recording).map_err(|error| error.to_string()));
        match measured {
            Ok(mut usages) => {
                for index in indices {
                    if let Some(Ended { result, .. }) = ended.get_mut(index) {
                        let key = (result.test.test.clone(), mark_of(&result.test));
                        if let Some(Usage { memory, roles }) = usages.remove(&key) {
                            (result.memory, result.roles) = (Some(memory), roles);
                        }
                    }
                }
            }
            Err(error) => notes.push(format!(
                "what the tests used is not known, for `{}` cannot be read: {error}",
                path.display()
            )),
        }
    }
    notes
}

/// Returns the budgets of a test: those of its suite and those of the policy.
fn budgets_of(test: &Test, options: &RunOptions) -> Vec<Budget> {
    let of_policy = options
        .policy
        .iter()
        .filter(|policy| policy.tests.as_ref().is_none_or(|tests| tests.is_match(&test.name)));
    test.budgets.iter().chain(of_policy.map(|policy| &policy.budget)).cloned().collect()
}

/// Holds what an attempt used to its budgets.
fn judge_budgets(budgets: &[Budget], used: &Used, result: &mut TestResult) {
    if result.started.is_none() || budgets.is_empty() {
        return;
    }
    let left = Left {
        left_over_processes: &result.left_over_processes,
        shared_bytes: result.left_bytes,
        // What is ended by the runner is not looked at for what it leaves.
        is_known: !matches!(result.outcome, Outcome::TimedOut { .. } | Outcome::Aborted),
    };
    let judged = budget::judge(budgets, Some(used), left);
    if result.outcome == Outcome::LeftOver && budget::allows_left(&judged) {
        result.outcome = Outcome::Passed;
        let left = result.reason.take().unwrap_or_default();
        result.notes.push(format!("{left}, which its budget allows"));
    }
    if result.outcome == Outcome::Passed
        && let Some(reason) = budget::failure(&judged)
    {
        (result.outcome, result.reason) = (Outcome::OverBudget, Some(reason));
    }
    result.budgets = judged;
}
