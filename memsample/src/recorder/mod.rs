//! Recording in the background: one thread samples, one writes, and neither waits for the other.
//!
//! ```text
//! station ─▶ sampling ══ sweeps ══▶ writing: follower ─▶ batch ─▶ recording
//!               ▲  ╚════ sweeps ══▶ writing: follower ─▶ batch ─▶ recording
//!               └────── used ───────────┘
//! ```
//!
//! One thread samples for all recordings of a station, and each has a thread that writes. What was
//! swept is shared by them, and used again when the last is done with it. A follower makes of it what
//! its recording asked for: its ticks, its processes, their tests.
//!
//! The sampling thread never waits for a writing thread. When the queue of one is full, its ticks say
//! that their samples were dropped, and when there is room again it is told everything there is.

mod attribution;
mod control;
pub(crate) mod destination;
mod follower;
mod latest;
mod oom;
mod options;
mod sampling;
mod schedule;
mod settled_scope;
mod station;
mod sweeps;
mod writing;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, TryRecvError};

pub use control::MarkError;
pub use latest::{Latest, LatestProcess, LatestRole};
use options::Pss;
pub use options::{OptionsError, RecorderOptions};
pub use schedule::Rate;
pub use station::Station;

use crate::identity::Comm;
use crate::machine::{MachineReader, hidepid_note};
use crate::metric::Files;
use crate::recording::{
    ClockAnchor, Machine, Manifest, Provenance, Recording, RecordingState, Settings, file_names,
};
use crate::schema::FORMAT_VERSION;
use crate::schema::Totals;
use crate::schema::marks::MarkKind;
use crate::scope::{Scope, ScopeError};
use control::Control;
use follower::Follower;
use station::SamplerFacts;

/// Why a recording could not be begun or finished.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordError {
    /// An option is out of range.
    Options(OptionsError),
    /// There is a file or a directory at the path of the recording.
    Exists(PathBuf),
    /// The directory of the recording could not be made or written.
    Create(PathBuf, io::Error),
    /// `/proc` could not be read.
    Proc(io::Error),
    /// The target is no scope.
    Target(ScopeError),
    /// The station feeds as many recordings as it can: [`Station::MAX_RECORDINGS`].
    TooMany,
    /// The recording could not be closed. What was written is in the directory; when the cause is
    /// gone, [`Recording::recover`] puts it together.
    Close(PathBuf, io::Error),
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Options(error) => error.fmt(f),
            Self::Exists(path) => {
                write!(f, "`{}` exists: choose another name, or remove it", path.display())
            }
            Self::Create(path, _) => write!(f, "cannot begin the recording `{}`", path.display()),
            Self::Proc(_) => f.write_str("cannot sample processes"),
            Self::Target(error) => error.fmt(f),
            Self::TooMany => {
                write!(f, "{} recordings are being made: stop one first", Station::MAX_RECORDINGS)
            }
            Self::Close(path, _) => write!(
                f,
                "cannot close the recording `{path}`; what was written is kept, and `memsample recover {path}` \
                 puts it together when the cause is gone",
                path = path.display()
            ),
        }
    }
}

impl std::error::Error for RecordError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Create(_, error) | Self::Proc(error) | Self::Close(_, error) => Some(error),
            // Displayed as it is.
            Self::Options(error) => error.source(),
            Self::Target(error) => error.source(),
            Self::Exists(_) | Self::TooMany => None,
        }
    }
}

/// What a recording holds so far.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// From the first planned tick to the last one that was written.
    pub elapsed: std::time::Duration,
    /// What was written, and what was not.
    pub totals: Totals,
    /// The process with the largest resident set: its name, pid and bytes.
    pub largest: Option<(Comm, i32, u64)>,
    /// How long the sweeps of its ticks took, together.
    pub sweeping: std::time::Duration,
    /// How many kills for want of memory were marked.
    pub oom_kills: u64,
    /// Pieces of at most half a second that wait to be written, now: of 32, behind which samples are
    /// dropped.
    pub queued: usize,
}

/// A recording in the background.
///
/// ```
/// use std::time::Duration;
/// use memsample::{MarkKind, Recorder, RecorderOptions};
///
/// # let directory = std::env::temp_dir().join(format!("memsample-doc-{}", std::process::id()));
/// let recorder = Recorder::start(&directory, RecorderOptions::new().interval(Duration::from_millis(10)))?;
/// recorder.mark(MarkKind::Begin, "load", Some("test_load"))?;
/// let table: Vec<u8> = vec![1; 50 << 20]; // what is to be measured
/// recorder.mark(MarkKind::End, "load", Some("test_load"))?;
/// let recording = recorder.stop()?;
/// println!("{} samples in {}", recording.manifest().totals.samples, recording.path().display());
/// # drop(table); std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Two threads are started and joined. The program's limits and signals are left as they are, and
/// nothing is printed. If the program dies, [`Recording::open`] recovers all but the last half
/// second.
pub struct Recorder {
    path: PathBuf,
    control: Arc<Control>,
    follower: Arc<Mutex<Follower>>,
    status: Arc<Mutex<Status>>,
    writer: Option<JoinHandle<io::Result<Manifest>>>,
    /// Disconnected when the recording is closed.
    finished: Receiver<()>,
}

impl Recorder {
    /// Begins a recording in a new directory at `path`.
    ///
    /// When this returns, every process there is has been found, and the first sweep is due.
    ///
    /// # Errors
    ///
    /// An option is out of range, the directory exists or cannot be made, or `/proc` cannot be read.
    /// Nothing is left behind then.
    pub fn start(path: &Path, options: RecorderOptions) -> Result<Self, RecordError> {
        Station::new(options.sampler.clone()).start(path, options)
    }

    /// Returns the present instant, by the clock of the recording.
    pub(crate) fn now_boot_ns(&self) -> u64 {
        self.control.now().boot_ns
    }

    /// Stops, and waits until nothing is written any more.
    pub(crate) fn end(&mut self) {
        if self.writer.is_some() {
            let _ = self.finish();
        }
    }

    /// Returns the directory of the recording.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets a mark at the present instant.
    ///
    /// # Errors
    ///
    /// The recording has ended, a name is too long, or more marks wait than the queue holds.
    pub fn mark(&self, kind: MarkKind, name: &str, test: Option<&str>) -> Result<(), MarkError> {
        self.control.mark(kind, name, test, BTreeMap::new())
    }

    /// Sets a mark with labels: what else the caller wants to find in its row.
    ///
    /// # Errors
    ///
    /// The same; or the labels have more than 160 KiB together.
    pub fn mark_labelled(
        &self,
        kind: MarkKind,
        name: &str,
        test: Option<&str>,
        labels: BTreeMap<String, String>,
    ) -> Result<(), MarkError> {
        self.control.mark(kind, name, test, labels)
    }

    /// Lets every process image of `scope` belong to `test` from now on, in the column
    /// `processes.test`: those that live, and those that will.
    ///
    /// Where scopes overlap the innermost wins: the nearest tree, the longest control group; of a tree
    /// and a control group the one that was assigned later. It ends with [`unassign`](Self::unassign),
    /// or when the root of a tree and all its members have ended.
    ///
    /// # Errors
    ///
    /// The recording has ended, the scope is none, the name is too long, or 4096 scopes are live.
    pub fn assign(&self, scope: &Scope, test: &str) -> Result<(), ScopeError> {
        self.control.assign(scope, test)
    }

    /// Ends the scopes of a test: a process image that begins from now on does not belong to it, those
    /// that live go on to do so.
    ///
    /// # Errors
    ///
    /// The recording has ended, or the name is too long.
    pub fn unassign(&self, test: &str) -> Result<(), ScopeError> {
        self.control.unassign(test)
    }

    /// Returns the present memory of the processes in the recording, at most half a second and a tick
    /// ago, with the `count` largest processes and roles; `None` before the first tick.
    #[must_use]
    pub fn latest(&self, count: usize) -> Option<Latest> {
        let follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        latest::latest(&follower, count)
    }

    /// Returns what was written so far. Brought up to date about twice a second.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Status { queued: self.control.queued(), ..status }
    }

    /// Says that somebody still wants the recording: see [`max_idle`](RecorderOptions::max_idle).
    pub fn touch(&self) {
        self.control.touch();
    }

    /// Says whether the recording has ended by itself: its duration is over, or it could not be written.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Returns a channel that is disconnected when the recording has ended by itself: its duration is
    /// over, or it could not be written.
    #[must_use]
    pub fn finished(&self) -> Receiver<()> {
        self.finished.clone()
    }

    /// Notes the exit code of the recorded command in `recording.json`.
    pub fn set_command_exit_code(&self, code: i32) {
        self.control.set_command_exit_code(code);
    }

    /// Ends the recording, writes what is left and waits for it.
    ///
    /// A disk that is full is no error here: the recording is closed with what was written, and its
    /// [`end`](Manifest::end) says why it ended.
    ///
    /// # Errors
    ///
    /// The recording could not be closed.
    pub fn stop(mut self) -> Result<Recording, RecordError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<Recording, RecordError> {
        self.control.stop();
        let closed = match self.writer.take() {
            Some(writer) => {
                writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
            }
            None => Err(io::Error::other("already stopped")),
        };
        match closed {
            Ok(manifest) => Ok(Recording::from_parts(&self.path, manifest)),
            Err(error) => Err(RecordError::Close(self.path.clone(), error)),
        }
    }
}

impl Drop for Recorder {
    /// Closes the recording like [`stop`](Self::stop), and ignores the outcome.
    fn drop(&mut self) {
        self.end();
    }
}

fn manifest(
    path: &Path,
    options: &RecorderOptions,
    sampler: &SamplerFacts,
    machine: &mut MachineReader,
    anchor: ClockAnchor,
) -> Manifest {
    let supported = sampler.supported;
    let mut notes = machine.notes();
    notes.extend(hidepid_note(options.sampler.root_path()));
    if !matches!(options.pss, Pss::AtRate(Rate::Off)) && !supported.contains(Files::SMAPS_ROLLUP) {
        notes.push(
            "this kernel has no smaps_rollup (it came with Linux 4.14): PSS and USS are null"
                .to_owned(),
        );
    }
    let mut settings = Settings {
        supported_files: file_names(supported),
        max_descriptors: sampler.descriptors.allowed,
        ..options.settings()
    };
    if settings.cgroup_interval_ms.is_some() {
        let note = machine.cgroups_note();
        settings.cgroup_interval_ms = settings.cgroup_interval_ms.filter(|_| note.is_none());
        notes.extend(note);
    }
    let provenance = Provenance {
        format: FORMAT_VERSION,
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        memsample: env!("CARGO_PKG_VERSION").to_owned(),
        started: jiff::Timestamp::from_nanosecond(anchor.utc_ns.into()).unwrap_or_default(),
        clock: anchor,
        settings,
        labels: options.labels.clone(),
        machine: Machine::current(options.sampler.host_constants()),
    };
    Manifest {
        provenance,
        state: RecordingState::Recording,
        end: None,
        last_tick: None,
        totals: Totals::default(),
        recorder: None,
        command_exit_code: None,
        notes,
    }
}
