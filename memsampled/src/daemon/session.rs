//! One session. The only module that knows how the library records.

use std::collections::BTreeMap;
use std::io::ErrorKind::{QuotaExceeded, StorageFull};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memsample::{MarkError, Rate, RecordError, Recorder, RecorderOptions, SamplerOptions};

use super::failure::Failure;
use super::options::Options;
use super::peer::Peer;
use super::runs::{UID_LABEL, give_to};
use crate::api::{
    ErrorCode, MarkRequest, Session, SessionLimits, SessionState, SessionTotals, Span,
    StartRequest, Stopped, Summary, Target, TopProcess,
};

/// A recording that somebody started.
pub(super) struct ActiveSession {
    id: String,
    owner: Peer,
    started: Timestamp,
    began: Instant,
    path: PathBuf,
    interval: Span,
    target: Target,
    labels: BTreeMap<String, String>,
    /// In force: the narrower of what the client and the daemon allow.
    limits: EffectiveLimits,
    /// When it was last marked or asked for, in milliseconds since it began.
    used_ms: AtomicU64,
    /// Gone when it has ended.
    recorder: RwLock<Option<Recorder>>,
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
        runs: &Path,
        id: &str,
        owner: Peer,
        request: &StartRequest,
        options: &Options,
        max_descriptors: usize,
    ) -> Result<Self, RecordError> {
        let limits = &options.limits;
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
        let sampler = SamplerOptions::default().max_descriptors(max_descriptors);
        let sampler = options.recording.clone().describe_recorded(sampler, None);
        let mut options = RecorderOptions::new()
            .interval(interval.0)
            .duration(limits.duration)
            .labels(labels)
            .sampler(sampler);
        options = match request.pss_budget {
            None => options,
            Some(share) if share > 0.0 => options.pss_budget(share),
            Some(_) => options.pss(Rate::Off),
        };
        let path = runs.join(id);
        let recorder = Recorder::start(&path, options)?;
        Ok(Self {
            id: id.to_owned(),
            owner,
            started: Timestamp::now(),
            began: Instant::now(),
            path,
            interval,
            target: request.target.clone(),
            labels: request.labels.clone(),
            limits,
            used_ms: AtomicU64::new(0),
            recorder: RwLock::new(Some(recorder)),
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
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_ms.store(now, Ordering::Relaxed);
    }

    /// Sets a mark at the present instant. Does not wait for anything.
    pub(super) fn mark(&self, request: &MarkRequest) -> Result<(), Failure> {
        self.touch();
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        let ended = || {
            Failure::new(
                ErrorCode::SessionEnded,
                format!("session `{}` ended by itself: stop it to learn why", self.id),
            )
        };
        let recorder = recorder.as_ref().ok_or_else(ended)?;
        recorder.mark(request.kind.into(), &request.name, request.test.as_deref()).map_err(
            |error| match error {
                MarkError::Ended => ended(),
                MarkError::TooMany => {
                    Failure::new(ErrorCode::TooManyMarks, format!("{error}: try again in a second"))
                }
                error => Failure::new(ErrorCode::InvalidRequest, error.to_string()),
            },
        )
    }

    /// Returns what clients are told of it.
    pub(super) fn describe(&self) -> Session {
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        let status = recorder.as_ref().map(Recorder::status).unwrap_or_default();
        let ended = recorder.as_ref().is_none_or(Recorder::is_finished);
        let totals = status.totals;
        Session {
            id: self.id.clone(),
            state: if ended { SessionState::Ended } else { SessionState::Recording },
            uid: self.owner.uid,
            started: self.started,
            run: self.path.display().to_string(),
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
            },
            largest: status.largest.map(|(comm, pid, rss_bytes)| TopProcess {
                comm: comm.to_string(),
                pid,
                rss_bytes,
            }),
        }
    }

    /// Says whether it goes on.
    pub(super) fn is_recording(&self) -> bool {
        let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
        recorder.as_ref().is_some_and(|recorder| !recorder.is_finished())
    }

    /// Says whether its recording was not closed yet.
    pub(super) fn is_open(&self) -> bool {
        self.recorder.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Returns why it must be closed now, if so.
    pub(super) fn must_end(&self) -> Option<String> {
        {
            let recorder = self.recorder.read().unwrap_or_else(PoisonError::into_inner);
            if recorder.as_ref()?.is_finished() {
                return Some("it ended by itself".to_owned());
            }
        }
        let unused = self
            .began
            .elapsed()
            .saturating_sub(Duration::from_millis(self.used_ms.load(Ordering::Relaxed)));
        if unused > self.limits.idle {
            return Some(format!("no client asked for it for {}", Span(self.limits.idle)));
        }
        match size_bytes(&self.path) {
            Ok(bytes) if bytes > self.limits.bytes => Some(format!("it has {bytes} bytes on disk")),
            Ok(_) => None,
            Err(error) => Some(format!("its directory cannot be read: {error}")),
        }
    }

    /// Closes the recording and returns what it holds. Takes up to a second; the second time it
    /// returns the same.
    pub(super) fn close(&self) -> Result<Stopped, Failure> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = &*outcome {
            return outcome.clone();
        }
        let recorder = self.recorder.write().unwrap_or_else(PoisonError::into_inner).take();
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
            RecordError::Close(_, cause) if matches!(cause.kind(), StorageFull | QuotaExceeded) => {
                Failure::new(ErrorCode::DiskFull, format!("{error}: {cause}"))
            }
            RecordError::Close(_, cause) => {
                failed(std::io::Error::other(format!("{error}: {cause}")))
            }
            _ => failed(std::io::Error::other(error.to_string())),
        })?;
        let summary = Summary::of(&recording).map_err(failed)?;
        // From now on this daemon only reads it, so that nothing its owner puts there is written to.
        if let Err(error) = give_to(&self.path, self.owner) {
            super::log::warning(format_args!(
                "`{}` could not be given to user {}: {error}",
                self.path.display(),
                self.owner.uid
            ));
        }
        Ok(Stopped { id: self.id.clone(), run: summary.run.clone(), summary })
    }
}

/// Returns the size of a recording on disk, with its journal.
fn size_bytes(run: &Path) -> std::io::Result<u64> {
    let of = |directory: &Path| -> std::io::Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(directory)? {
            // A file may be renamed meanwhile.
            bytes += entry?.metadata().map_or(0, |metadata| metadata.len());
        }
        Ok(bytes)
    };
    Ok(of(run)? + of(&run.join("journal")).unwrap_or(0))
}
