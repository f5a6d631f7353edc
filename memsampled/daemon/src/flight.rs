//! The flight recorder: the last minutes of everything, and dumps of them.
//!
//! It is in the directory `.flight` of the recordings directory, where nothing is served from. At the end of
//! the daemon it is removed. What a daemon that was killed has left is put aside at the next start,
//! where a new one begins at once, and becomes a recording: its last minutes may show who killed it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use memsample::{
    DumpError, DumpOptions, FlightOptions, FlightRecorder, RecorderOptions, Recording,
    SharedSampler, is_disk_full,
};

use super::failure::Failure;
use super::names::{base_name, check_own_labels};
use super::peer::Peer;
use super::recordings::{RecordingsDirectory, StoredRecording, UID_LABEL};
use memsample_client::wire::{DumpRequest, ErrorCode, FlightHealth, Span, Stopped, Summary};
use memsample_config::FlightSettings;

/// Where the segments are.
const DIRECTORY: &str = ".flight";
/// Where those are that another daemon has left.
const LEFT: &str = ".flight-left-";
/// Dumps that are being made.
const UNFINISHED: &str = ".dump-";
/// The label in `recording.json` that says why a dump was made.
const REASON_LABEL: &str = "memsampled.dump";
/// The name of a dump for which the client chose none.
const NAME: &str = "flight";
/// How many names are tried for one dump.
const MAX_NAMES: u32 = 1000;
/// Directories that daemons have left and of which no recording could be made, at most: each may be as
/// large as the flight recorder.
const MAX_LEFT: usize = 4;

/// Why a dump is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Request,
    Pressure,
    OomKill,
    Crash,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Pressure => "pressure",
            Self::OomKill => "oom_kill",
            Self::Crash => "crash",
        }
    }
}

/// The flight recorder of a daemon, if it has one.
pub(super) struct Flight {
    recordings: Arc<RecordingsDirectory>,
    pub(super) settings: Option<FlightSettings>,
    recorder: Mutex<Option<Arc<FlightRecorder>>>,
    /// The trigger that the kernel has taken.
    pressure: Mutex<Option<String>>,
    /// Why it does not run, or what it lacks.
    notes: Mutex<Vec<String>>,
    /// One dump after the other, and none while the recorder is replaced.
    dumping: Arc<tokio::sync::Mutex<()>>,
    pub(super) dumps: AtomicU64,
    /// Automatic dumps that were not made, since those that are kept fill what they may.
    pub(super) dumps_refused: AtomicU64,
    /// Why the last one was refused, until one is made again.
    refusal: Mutex<Option<String>>,
    /// How often it had ended unasked and began again.
    pub(super) restarts: AtomicU64,
    /// Whether the daemon ends: then no flight recorder begins.
    is_ending: AtomicBool,
}

impl Flight {
    pub(super) fn new(
        recordings: Arc<RecordingsDirectory>,
        settings: Option<FlightSettings>,
    ) -> Self {
        Self {
            recordings,
            settings,
            recorder: Mutex::default(),
            pressure: Mutex::default(),
            notes: Mutex::default(),
            dumping: Arc::default(),
            dumps: AtomicU64::new(0),
            dumps_refused: AtomicU64::new(0),
            refusal: Mutex::default(),
            restarts: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
        }
    }

    /// Puts aside what another daemon has left, and begins.
    pub(super) fn start(&self, sampler: &SharedSampler) {
        let recordings = self.recordings.path();
        let directory = recordings.join(DIRECTORY);
        if directory.exists() {
            let is_free =
                |path: &PathBuf| !path.exists() && !FlightRecorder::set_aside(path).exists();
            let aside = (1..=MAX_NAMES).map(|number| recordings.join(format!("{LEFT}{number}")));
            let aside = aside.into_iter().find(is_free);
            let moved = aside.ok_or_else(|| std::io::Error::other("too many were left"));
            if let Err(error) = moved.and_then(|aside| fs::rename(&directory, aside)) {
                tracing::error!("cannot put the last flight recorder aside: {error}");
            }
        }
        let Some(settings) = &self.settings else { return };
        let options = RecorderOptions::new().interval(settings.interval);
        let options = FlightOptions::new(settings.span, settings.bytes).recorder(options);
        let mut recorder = self.recorder();
        if self.is_ending.load(Ordering::SeqCst) {
            return;
        }
        match FlightRecorder::start(sampler, &directory, options) {
            Ok(started) => *recorder = Some(Arc::new(started)),
            Err(error) => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                tracing::error!("the flight recorder cannot begin: {error}{cause}");
            }
        }
    }

    /// Replaces the recorder, with another shared sampler: the rules that described what it kept have changed.
    pub(super) fn restart(&self, sampler: &SharedSampler) {
        if self.settings.is_some() {
            // The directory of the old one goes when the last dump of it is made.
            let _lock = Arc::clone(&self.dumping).blocking_lock_owned();
            drop(self.recorder().take());
            self.start(sampler);
            tracing::info!(
                "the flight recorder began anew, since the rules for arguments or roles have changed"
            );
        }
    }

    /// Returns whether it is to run and does not.
    pub(super) fn is_down(&self) -> bool {
        let is_running = self.recorder().as_ref().is_some_and(|recorder| !recorder.is_finished());
        self.settings.is_some() && !is_running && !self.is_ending.load(Ordering::SeqCst)
    }

    /// Describes why it has ended.
    pub(super) fn log_end(&self) {
        if let Some(recorder) = &*self.recorder() {
            let end = recorder.end().map(|end| serde_json::to_string(&end).unwrap_or_default());
            tracing::error!(
                "the flight recorder ended: {}; it starts again when it can",
                end.as_deref().unwrap_or("its thread has died")
            );
        }
    }

    /// Replaces the recorder after it failed. What it kept is lost.
    pub(super) fn restart_after_end(&self, sampler: &SharedSampler) {
        let _lock = Arc::clone(&self.dumping).blocking_lock_owned();
        drop(self.recorder().take());
        self.start(sampler);
        if !self.is_down() {
            self.restarts.fetch_add(1, Ordering::Relaxed);
            tracing::info!("the flight recorder began anew");
        }
    }

    /// Ends it, and removes what it kept.
    pub(super) fn stop(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
        // A dump that is being made holds the recorder until it is done.
        drop(self.recorder().take());
    }

    /// Makes recordings of what daemons that were killed have left, and returns how many.
    pub(super) fn salvage(&self) -> u64 {
        let recordings = self.recordings.path();
        let mut salvaged = 0;
        for name in hidden_names(recordings) {
            let path = recordings.join(&name);
            if name.starts_with(UNFINISHED) {
                if let Err(error) = fs::remove_dir_all(&path) {
                    tracing::warn!("cannot remove `{}`: {error}", path.display());
                }
            } else if name.strip_prefix(LEFT).is_some_and(|number| number.parse::<u32>().is_ok()) {
                salvaged += u64::from(self.salvage_one(&path));
            }
        }
        self.remove_left();
        salvaged
    }

    fn salvage_one(&self, path: &Path) -> bool {
        if let Err(why) = self.room(bytes_of(path)) {
            self.refuse(Reason::Crash, &why);
            return false;
        }
        let labels = labels(daemon_peer(), Reason::Crash);
        let make = |recording: &Path| FlightRecorder::salvage(path, recording, labels.clone());
        let made = self.named(None, make);
        let aside = FlightRecorder::set_aside(path);
        if aside.exists() {
            self.note(format!(
                "what a flight recorder has left is damaged: it is kept in `{}`, until you remove it",
                aside.display()
            ));
        }
        match made {
            Ok(Some((id, _))) => {
                tracing::info!("what a flight recorder had left is `{id}`");
                return true;
            }
            Ok(None) => {}
            Err(error) => tracing::error!(
                "cannot save what a flight recorder has left in `{}`: {}",
                path.display(),
                failure(&error).message
            ),
        }
        false
    }

    /// Removes the oldest of what was left and could not be made recordings, beyond what is kept of it.
    fn remove_left(&self) {
        let recordings = self.recordings.path();
        let left = hidden_names(recordings).into_iter().filter(|name| name.starts_with(LEFT));
        let mut left: Vec<_> = left
            .map(|name| {
                let path = recordings.join(name);
                (fs::metadata(&path).and_then(|metadata| metadata.modified()).ok(), path)
            })
            .collect();
        left.sort();
        let surplus = left.len().saturating_sub(MAX_LEFT);
        for (_, path) in left.into_iter().take(surplus) {
            let path_shown = path.display();
            match fs::remove_dir_all(&path) {
                Ok(()) => tracing::warn!(
                    "removed `{path_shown}`, which a flight recorder has left: {MAX_LEFT} newer ones are kept"
                ),
                Err(error) => tracing::warn!("cannot remove `{path_shown}`: {error}"),
            }
        }
    }

    /// Waits until no other dump is made.
    pub(super) async fn lock_dumps(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.dumping).lock_owned().await
    }

    /// Makes an automatic dump, if there may be one more. The caller holds the lock of dumps.
    pub(super) fn dump_automatically(&self, reason: Reason) {
        if let Err(why) = self.room(self.kept().1) {
            return self.refuse(reason, &why);
        }
        match self.dump(daemon_peer(), &DumpRequest::default(), reason) {
            Ok(_) => *self.refusal() = None,
            Err(failure) => tracing::warn!("no dump: {}", failure.message),
        }
    }

    /// Returns why there may be no further automatic dump: those that are kept fill what they may. The next one is
    /// about as large as what it is cut out of, `next_bytes`.
    fn room(&self, next_bytes: u64) -> Result<(), String> {
        let defaults = FlightSettings::new(Duration::from_secs(60));
        let settings = self.settings.as_ref().unwrap_or(&defaults);
        let (mut count, mut bytes) = (0, 0);
        for name in self.recordings.names().map_err(|error| error.to_string())? {
            // What belongs to a user says of itself what they like.
            let Some(recording) =
                self.recordings.recording(&name).ok().filter(StoredRecording::belongs_to_daemon)
            else {
                continue;
            };
            let reason = recording.manifest.provenance.labels.get(REASON_LABEL);
            if reason.is_some_and(|reason| reason != Reason::Request.as_str()) {
                count += 1;
                bytes += recording.bytes();
            }
        }
        if count >= settings.dumps {
            return Err(format!(
                "{count} automatic dumps are kept, and `daemon.flight_recorder.dumps` is {}",
                settings.dumps
            ));
        }
        if bytes + next_bytes > settings.dumps_bytes() {
            return Err(format!(
                "automatic dumps take {bytes} bytes, the next one about {next_bytes}, and \
                 `daemon.flight_recorder.dumps_bytes` is {}",
                settings.dumps_bytes()
            ));
        }
        Ok(())
    }

    fn refuse(&self, reason: Reason, why: &str) {
        self.dumps_refused.fetch_add(1, Ordering::Relaxed);
        let text = format!(
            "no dump for `{}`: {why}: remove some of them, or set `daemon.retention`",
            reason.as_str()
        );
        // Logged once: the counter says how often.
        if self.refusal().replace(text.clone()).is_none() {
            tracing::warn!("{text}");
        }
    }

    /// Makes a recording of the last minutes. The caller holds the lock of dumps.
    pub(super) fn dump(
        &self,
        owner: Peer,
        request: &DumpRequest,
        reason: Reason,
    ) -> Result<Stopped, Failure> {
        check_own_labels(&request.labels)?;
        let recorder = self.recorder().clone().ok_or_else(|| {
            Failure::new(
                ErrorCode::NoFlightRecorder,
                "this daemon keeps no last minutes: start it with --flight-recorder 5m",
            )
        })?;
        let mut all = request.labels.clone();
        all.extend(labels(owner, reason));
        let last = request.last.map(|span| span.0);
        let make = |recording: &Path| {
            let options = DumpOptions { last, labels: all.clone() };
            recorder.dump(recording, options).map(Some)
        };
        let made = self.named(request.name.as_deref(), make).map_err(|error| failure(&error))?;
        let (id, recording) = made.ok_or_else(|| failure(&DumpError::Empty))?;
        self.dumps.fetch_add(1, Ordering::Relaxed);
        let summary = Summary::of(&recording)
            .map_err(|error| Failure::internal("reading the dump", error))?;
        tracing::info!("`{id}` holds the last minutes ({})", reason.as_str());
        self.recordings.pushes.add(&id);
        Ok(Stopped { id, recording: summary.recording.clone(), summary })
    }

    /// Has a recording made under a name that is free.
    fn named(
        &self,
        name: Option<&str>,
        make: impl Fn(&Path) -> Result<Option<Recording>, DumpError>,
    ) -> Result<Option<(String, Recording)>, DumpError> {
        let base = base_name(Some(name.unwrap_or(NAME)), Timestamp::now());
        for number in 1..=MAX_NAMES {
            let id = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            match make(&self.recordings.path().join(&id)) {
                Err(DumpError::Exists(_)) => {}
                outcome => return outcome.map(|made| made.map(|recording| (id, recording))),
            }
        }
        Err(DumpError::Exists(self.recordings.path().join(base)))
    }

    /// Returns how it is; `None` where there is none.
    pub(super) fn health(&self) -> Option<FlightHealth> {
        let settings = self.settings.as_ref()?;
        let (kept, kept_bytes) = self.kept();
        Some(FlightHealth {
            span: Span(settings.span),
            max_bytes: settings.bytes,
            kept_ms: u64::try_from(kept.as_millis()).unwrap_or(u64::MAX),
            kept_bytes,
            pressure: self.pressure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            dumps: self.dumps.load(Ordering::Relaxed),
            dumps_refused: self.dumps_refused.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            notes: {
                let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
                notes.iter().cloned().chain(self.refusal().clone()).collect()
            },
        })
    }

    /// Returns how far back it reaches, and how many bytes it takes.
    pub(super) fn kept(&self) -> (Duration, u64) {
        self.recorder().as_ref().map_or((Duration::ZERO, 0), |recorder| recorder.kept())
    }

    /// Returns what it says of itself.
    pub(super) fn status(&self) -> Option<memsample::Status> {
        self.recorder().as_ref().map(|recorder| recorder.status())
    }

    /// Returns what is wrong with it now.
    pub(super) fn problem(&self) -> Option<String> {
        let settings = self.settings.as_ref().filter(|_| self.is_down())?;
        Some(format!(
            "the flight recorder of {} does not run: see the log; it is tried again",
            Span(settings.span)
        ))
    }

    fn refusal(&self) -> MutexGuard<'_, Option<String>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_pressure(&self, trigger: String) {
        *self.pressure.lock().unwrap_or_else(PoisonError::into_inner) = Some(trigger);
    }

    pub(super) fn note(&self, note: String) {
        tracing::warn!("{note}");
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }

    fn recorder(&self) -> MutexGuard<'_, Option<Arc<FlightRecorder>>> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the user of the daemon, who owns automatic dumps.
pub(super) fn daemon_peer() -> Peer {
    Peer {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        pid: None,
    }
}

fn labels(owner: Peer, reason: Reason) -> std::collections::BTreeMap<String, String> {
    let texts = [(UID_LABEL, owner.uid.to_string()), (REASON_LABEL, reason.as_str().to_owned())];
    texts.map(|(key, value)| (key.to_owned(), value)).into()
}

/// Returns what the files in a directory and in those below it take.
fn bytes_of(directory: &Path) -> u64 {
    let files = walkdir::WalkDir::new(directory).into_iter().filter_map(Result::ok);
    let files = files.filter(|entry| entry.file_type().is_file());
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}

fn hidden_names(recordings: &Path) -> Vec<String> {
    let entries = fs::read_dir(recordings).into_iter().flatten().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with('.')).collect()
}

fn failure(error: &DumpError) -> Failure {
    match error {
        DumpError::Empty => {
            Failure::new(ErrorCode::Unavailable, format!("{error}: try again in a second"))
        }
        DumpError::Io(_, cause) if is_disk_full(cause) => {
            Failure::new(ErrorCode::DiskFull, format!("{error}: {cause}"))
        }
        DumpError::Io(_, cause) => {
            Failure::internal("making a dump", format_args!("{error}: {cause}"))
        }
        error => Failure::internal("making a dump", error),
    }
}
