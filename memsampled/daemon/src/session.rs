//! One session. The only module that knows how the library records.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use memsample::{
    LatestRole, MarkError, Rate, RecordError, Recorder, RecorderOptions, Scope, SharedSampler,
    Status, is_disk_full,
};

use super::failure::Failure;
use super::peer::Peer;
use super::recordings::{RecordingsDirectory, UID_LABEL};
use super::running_tests::RunningTests;
use memsample_client::wire::{
    ErrorCode, LiveMemory, LiveSession, MarkRequest, ProcessList, Session, SessionLimits,
    SessionState, SessionTotals, Span, StartRequest, Stopped, Summary, Target, TopProcess,
};
use memsample_config::Limits;

/// Processes and roles in an event: what fits on a screen.
const LIVE_ROWS: usize = 10;

/// A session whose last tick is so many intervals ago is not being sampled.
const OVERDUE_INTERVALS: u32 = 3;
/// And as long ago: a busy machine may be late.
const MIN_OVERDUE: Duration = Duration::from_secs(2);

/// A session that a client started.
pub(super) struct ActiveSession {
    id: String,
    owner: Peer,
    started: Timestamp,
    path: PathBuf,
    recordings: Arc<RecordingsDirectory>,
    interval: Span,
    target: Target,
    labels: BTreeMap<String, String>,
    /// In force: the narrower of what the client and the daemon allow.
    limits: EffectiveLimits,
    /// Tests whose begin was marked and whose end was not yet.
    tests: Mutex<RunningTests>,
    /// Gone when it has ended.
    recorder: RwLock<Option<Recorder>>,
    /// What the recorder said of itself when it ended.
    last_status: Mutex<Status>,
    /// How it ended.
    outcome: Mutex<Option<Result<Stopped, Failure>>>,
}

#[derive(Clone, Copy)]
struct EffectiveLimits {
    duration: Duration,
    bytes: u64,
    idle: Duration,
}

impl ActiveSession {
    /// Begins a recording. Takes some milliseconds.
    pub(super) fn start(
        sampler: &SharedSampler,
        recordings: &Arc<RecordingsDirectory>,
        id: &str,
        owner: Peer,
        request: &StartRequest,
        target: Scope,
        limits: &Limits,
    ) -> Result<Self, RecordError> {
        let limits = EffectiveLimits {
            duration: request
                .limits
                .duration
                .map_or(limits.duration, |span| span.0.min(limits.duration)),
            bytes: request.limits.bytes.map_or(limits.bytes, |bytes| bytes.min(limits.bytes)),
            idle: request.limits.idle.map_or(limits.idle, |span| span.0.min(limits.idle)),
        };
        let interval = request.interval.unwrap_or(Span(Duration::from_millis(100)));
        let mut labels = request.labels.clone();
        labels.insert(UID_LABEL.to_owned(), owner.uid.to_string());
        let mut options = RecorderOptions::new()
            .interval(interval.0)
            .target(target)
            .duration(limits.duration)
            .max_bytes(limits.bytes)
            .max_idle(limits.idle)
            .labels(labels);
        options = match request.pss_budget {
            None => options,
            Some(share) if share > 0.0 => options.pss_budget(share),
            Some(_) => options.pss(Rate::Off),
        };
        let path = recordings.path().join(id);
        let recorder = sampler.start(&path, options)?;
        Ok(Self {
            id: id.to_owned(),
            owner,
            started: Timestamp::now(),
            path,
            recordings: Arc::clone(recordings),
            interval,
            target: request.target.clone(),
            labels: request.labels.clone(),
            limits,
            tests: Mutex::default(),
            recorder: RwLock::new(Some(recorder)),
            last_status: Mutex::default(),
            outcome: Mutex::new(None),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn started(&self) -> Timestamp {
        self.started
    }

    pub(super) fn owner(&self) -> Peer {
        self.owner
    }

    /// Notes that a client still wants it.
    pub(super) fn touch(&self) {
        if let Some(recorder) = &*self.recorder.read().unwrap_or_else(PoisonError::into_inner) {
            recorder.touch();
        }
    }

    /// Sets a mark at the present instant, about the process with this pid. Does not wait for anything.
    pub(super) fn mark(&self, request: &MarkRequest, pid: Option<i32>) -> Result<(), Failure> {
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        let ended = || {
            Failure::new(
                ErrorCode::SessionEnded,
                format!("session `{}` ended without a stop: stop it to learn why", self.id),
            )
        };
        let recorder = recorder.as_ref().ok_or_else(ended)?;
        let MarkRequest { kind, name, test, labels, pid: _ } = request;
        let test = test.as_deref();
        recorder.mark_with((*kind).into(), name, test, labels.clone(), pid).map_err(|error| {
            match error {
                MarkError::Ended => ended(),
                MarkError::TooMany => {
                    Failure::new(ErrorCode::TooManyMarks, format!("{error}: try again in a second"))
                }
                error => Failure::new(ErrorCode::InvalidRequest, error.to_string()),
            }
        })?;
        if let Some(test) = test {
            let mut tests = self.tests.lock().unwrap_or_else(PoisonError::into_inner);
            tests.take(*kind, name, test);
        }
        Ok(())
    }

    /// Returns the contents of an event.
    pub(super) fn live(&self) -> LiveSession {
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        let recording = recorder.as_ref().filter(|recorder| !recorder.is_finished());
        LiveSession {
            session: self.describe_with(recorder.as_ref()),
            tests: self.tests.lock().unwrap_or_else(PoisonError::into_inner).names(),
            latest: recording.and_then(|it| it.latest(LIVE_ROWS)).map(LiveMemory::from),
        }
    }

    /// Returns all its processes at the latest tick.
    pub(super) fn processes(&self) -> ProcessList {
        let states = {
            let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
            let recording = recorder.as_ref().filter(|recorder| !recorder.is_finished());
            recording.and_then(Recorder::process_states)
        };
        let none = ProcessList { ts: None, processes: Vec::new() };
        let mut list = states.map_or(none, ProcessList::from);
        self.tests.lock().unwrap_or_else(PoisonError::into_inner).assign(&mut list);
        list
    }

    /// Returns what the recorder says of itself, and its `roles` largest roles; `None` when it has ended.
    pub(super) fn gauge(&self, roles: usize) -> Option<(Status, Vec<LatestRole>)> {
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        let recorder = recorder.as_ref()?;
        let latest = if roles == 0 { None } else { recorder.latest(roles) };
        Some((recorder.status(), latest.map_or(Vec::new(), |latest| latest.roles)))
    }

    /// Returns what is wrong with it now: that its processes are not sampled, for longer than a few intervals.
    pub(super) fn problem(&self) -> Option<String> {
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        let recorder = recorder.as_ref().filter(|recorder| !recorder.is_finished())?;
        let since_tick = recorder.status().since_tick;
        let overdue = since_tick > MIN_OVERDUE.max(OVERDUE_INTERVALS * self.interval.0);
        overdue.then(|| {
            format!("session `{}` has had no sample for {:.1} s", self.id, since_tick.as_secs_f64())
        })
    }

    /// Returns its description for clients.
    pub(super) fn describe(&self) -> Session {
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        self.describe_with(recorder.as_ref())
    }

    fn describe_with(&self, recorder: Option<&Recorder>) -> Session {
        let last = || self.last_status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let status = recorder.map_or_else(last, Recorder::status);
        let ended = recorder.is_none_or(Recorder::is_finished);
        let totals = status.totals;
        Session {
            id: self.id.clone(),
            state: if ended { SessionState::Ended } else { SessionState::Recording },
            uid: self.owner.uid,
            started: self.started,
            recording: self.path.display().to_string(),
            interval: self.interval,
            target: self.target.clone(),
            labels: self.labels.clone(),
            limits: SessionLimits {
                duration: Some(Span(self.limits.duration)),
                bytes: Some(self.limits.bytes),
                idle: Some(Span(self.limits.idle)),
            },
            elapsed_ms: u64::try_from(status.elapsed.as_millis()).unwrap_or(u64::MAX),
            totals: SessionTotals {
                ticks: totals.ticks,
                samples: totals.samples,
                processes: totals.processes,
                late: totals.late,
                missed: totals.missed,
                dropped: totals.dropped,
                denied: totals.denied,
                stuck: totals.stuck,
            },
            largest: status.largest.map(|(comm, pid, rss_bytes)| TopProcess {
                comm: comm.to_string(),
                pid,
                rss_bytes,
            }),
        }
    }

    /// Returns whether it is being recorded.
    pub(super) fn is_recording(&self) -> bool {
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        recorder.as_ref().is_some_and(|recorder| !recorder.is_finished())
    }

    /// Returns whether its recording was not closed yet.
    pub(super) fn is_open(&self) -> bool {
        self.recorder.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Returns whether it ended without a stop and is to be closed.
    pub(super) fn has_ended(&self) -> bool {
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        recorder.as_ref().is_some_and(Recorder::is_finished)
    }

    /// Closes the recording and returns what it holds. Takes up to a second; the second time it
    /// returns the same.
    pub(super) fn close(&self) -> Result<Stopped, Failure> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = &*outcome {
            return outcome.clone();
        }
        let note_status = |recorder: &Recorder| {
            *self.last_status.lock().unwrap_or_else(PoisonError::into_inner) = recorder.status();
        };
        let mut slot = self.recorder.write().unwrap_or_else(PoisonError::into_inner);
        let recorder = slot.take().inspect(note_status);
        drop(slot);
        let closed = match recorder {
            Some(recorder) => self.stop(recorder),
            None => Err(Failure::new(ErrorCode::Internal, "the session has no recorder")),
        };
        outcome.insert(closed).clone()
    }

    fn stop(&self, recorder: Recorder) -> Result<Stopped, Failure> {
        let failed = |error: std::io::Error| {
            Failure::internal(&format!("closing the recording of session `{}`", self.id), error)
        };
        let recording = recorder.stop().map_err(|error| match &error {
            RecordError::Close(_, cause) if is_disk_full(cause) => {
                Failure::new(ErrorCode::DiskFull, format!("{error}: {cause}"))
            }
            RecordError::Close(_, cause) => {
                failed(std::io::Error::other(format!("{error}: {cause}")))
            }
            _ => failed(std::io::Error::other(error.to_string())),
        })?;
        let summary = Summary::of(&recording).map_err(failed)?;
        // From now on this daemon only reads it, so that nothing its owner puts there is written to.
        if let Err(error) = self.recordings.give(&self.id, self.owner) {
            tracing::warn!(
                "`{}` could not be given to user {}: {error}",
                self.path.display(),
                self.owner.uid
            );
        }
        self.recordings.pushes.add(&self.id);
        Ok(Stopped { id: self.id.clone(), recording: summary.recording.clone(), summary })
    }
}
