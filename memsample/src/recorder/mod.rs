//! Recording in the background: one thread samples, one writes, and neither waits for the other.
//!
//! ```text
//! control ─▶ sampling ══ full ══▶ writing ─▶ recording
//!               ▲                    │
//!               └══════ empty ═══════┘        batches go round, so none is ever allocated for long
//! ```
//!
//! The sampling thread never blocks on the writing thread. When all batches are with the writer, the
//! samples of a tick are not kept, the tick says so, and what changed goes into a later batch.

mod control;
mod oom;
mod options;
mod sampling;
mod schedule;
mod writing;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use rustix::time::ClockId;

pub use control::MarkError;
use options::Pss;
pub use options::{OptionsError, RecorderOptions};
pub use schedule::Rate;

use crate::batch::Batch;
use crate::events::{ProcessEvents, ProcessExits};
use crate::identity::Comm;
use crate::machine::{MachineReader, hidepid_note};
use crate::metric::Files;
use crate::recording::{
    BirthsBy, ClockAnchor, Machine, Manifest, MarkKind, Provenance, Recording, RecordingWriter,
    RunDirectory, RunState, Settings, Totals, file_names,
};
use crate::sampler::Sampler;
use crate::schema::FORMAT_VERSION;
use control::Control;
use sampling::{Core, Sampling};
use writing::{Writing, seconds_of};

/// Batches that go round. At two a second the writer may stand still for a quarter of a minute before a
/// sample is dropped.
const BATCHES: usize = 32;

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
            Self::Exists(_) => None,
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
        let cpu_seconds_before = seconds_of(ClockId::ProcessCPUTime);
        options.check().map_err(RecordError::Options)?;
        let sampler = Sampler::new(options.sampler.clone()).map_err(RecordError::Proc)?;
        let machine = MachineReader::open(&options.sampler).map_err(RecordError::Proc)?;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => RecordError::Exists(path.to_owned()),
            _ => RecordError::Create(path.to_owned(), error),
        };
        let directory = RunDirectory::create(path).map_err(failed)?;
        Self::start_in(&directory, options, sampler, machine, cpu_seconds_before).map_err(|error| {
            // Nothing was recorded yet.
            let _ = std::fs::remove_dir_all(path);
            failed(error)
        })
    }

    fn start_in(
        directory: &RunDirectory,
        options: RecorderOptions,
        mut sampler: Sampler,
        mut machine: MachineReader,
        cpu_seconds_before: f64,
    ) -> io::Result<Self> {
        let lock =
            directory.lock()?.ok_or_else(|| io::Error::other("another program writes it"))?;
        let clock = options.sampler.shared_clock();
        let timer = clock.timer()?;
        let start = clock.now();
        let anchor = ClockAnchor { boot_ns: start.boot_ns, utc_ns: start.utc_ns };
        let mut manifest = manifest(directory.path(), &options, &sampler, &mut machine, anchor);
        let mut exits = None;
        if options.events && sampler.sees_own_namespace() {
            exits = ProcessExits::open().map_err(|note| manifest.notes.push(note)).ok();
            match ProcessEvents::open() {
                Ok(events) => {
                    sampler.hear(events);
                    manifest.provenance.settings.births = BirthsBy::ProcConnector;
                }
                Err(note) => manifest.notes.push(note),
            }
        }
        manifest.provenance.settings.exits = exits.is_some();
        let recording = RecordingWriter::create(directory.clone(), lock, manifest)?;
        let control = Arc::new(Control::new(Arc::clone(&clock), anchor, options.interval)?);
        let core = Core::new(&options, clock, timer, &start, sampler, machine, exits);

        let status = Arc::new(Mutex::new(Status::default()));
        let (full_sender, full) = bounded(BATCHES);
        let (empty_sender, empty) = bounded(BATCHES);
        for _ in 0..BATCHES {
            // There is room for each.
            let _ = empty_sender.send(Batch::default());
        }
        let (usage_sender, usage) = bounded(1);
        let (finished_sender, finished) = bounded(0);
        let sampling = Sampling {
            control: Arc::clone(&control),
            full: full_sender,
            empty,
            usage: usage_sender,
            core,
        };
        let writing = Writing {
            control: Arc::clone(&control),
            full,
            empty: empty_sender,
            usage,
            status: Arc::clone(&status),
            recording,
            oom: oom::OomWatch::new(anchor),
            cpu_seconds_before,
            _finished: finished_sender,
        };
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let writer = spawn("memsample-write").spawn(move || writing.run())?;
        // If this fails, its end of the channels is dropped and the writer ends too.
        spawn("memsample-read").spawn(move || sampling.run())?;
        let path = directory.path().to_owned();
        Ok(Self { path, control, status, writer: Some(writer), finished })
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
        self.control.mark(kind, name, test)
    }

    /// Returns what was written so far. Brought up to date about twice a second.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// Notes the exit code of the recorded command in `run.json`.
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
        if self.writer.is_some() {
            let _ = self.finish();
        }
    }
}

fn manifest(
    path: &Path,
    options: &RecorderOptions,
    sampler: &Sampler,
    machine: &mut MachineReader,
    anchor: ClockAnchor,
) -> Manifest {
    let supported = sampler.supported_files();
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
        max_descriptors: sampler.descriptors().allowed,
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
        state: RunState::Recording,
        end: None,
        last_tick: None,
        totals: Totals::default(),
        recorder: None,
        command_exit_code: None,
        notes,
    }
}
