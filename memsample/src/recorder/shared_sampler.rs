//! One sampling thread for many recordings.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, bounded};
use rustix::time::ClockId;

use super::attribution::Attribution;
use super::control::{Control, Wake};
use super::destination::Destination;
use super::error::{MAX_RECORDINGS, RecordError};
use super::handle::Recorder;
use super::manifest::{SamplerFacts, manifest};
use super::oom::OomWatch;
use super::options::RecorderOptions;
use super::projection::Projection;
use super::sampling::Sampling;
use super::sampling_thread::{Join, KernelEvents, SamplingThread};
use super::settled_scope::SettledScope;
use super::status::Status;
use super::sweeps::{QUEUE, SessionMessage, SessionNumber};
use super::usage::seconds_of;
use super::writing::{Counted, Writing};
use crate::batch::Batch;
use crate::clock::Clock;
use crate::events::KernelLog;
use crate::machine::MachineReader;
use crate::proc::ProcRoot;
use crate::recording::{
    ClockAnchor, ForksBy, Manifest, RecordingDirectory, RecordingWriter, SweepsFrom,
};
use crate::sampler::{Sampler, SamplerOptions};

/// One sweep for many recordings.
///
/// One thread samples for all recordings: at each instant at which one of them has a tick, and not at
/// all while there is no recording. Then the sampler holds no descriptor and no memory, and uses no CPU.
///
/// Each recording has the ticks that it asked for, on a grid of its own; grids whose intervals are
/// multiples of each other meet, and a tick of several recordings is one sweep. Only the first tick
/// of a recording is off its grid: that is at once. Each has its own target, tests, marks and limits,
/// and its own thread that writes, so that a slow or full disk of one does not touch the others.
///
/// What is read follows the union of what is asked for: details of who moved at each tick, PSS within
/// the largest share that one of them allows. A recording gets, at its ticks, what was read since its
/// tick before, as far as it asked for such things; the rest is null in it.
///
/// ```
/// use std::time::Duration;
/// use memsample::{RecorderOptions, SamplerOptions, SharedSampler};
///
/// # let directory = std::env::temp_dir().join(format!("memsample-shared-{}", std::process::id()));
/// let sampler = SharedSampler::new(SamplerOptions::default());
/// let every = |ms| RecorderOptions::new().interval(Duration::from_millis(ms));
/// let fine = sampler.start(&directory.join("fine"), every(10))?;
/// let coarse = sampler.start(&directory.join("coarse"), every(100))?;
/// let (coarse, fine) = (coarse.stop()?, fine.stop()?);
/// assert!(fine.manifest().totals.ticks >= coarse.manifest().totals.ticks);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SharedSampler {
    options: SamplerOptions,
    /// `None` while there is no recording.
    thread: Arc<Mutex<Option<SamplingThread>>>,
}

impl SharedSampler {
    /// Recordings at the same time, at most: each has a thread, a queue of up to 32 MiB when its disk
    /// stands still, and a part in each sweep.
    pub const MAX_RECORDINGS: usize = MAX_RECORDINGS;

    /// Makes a sampler that reads as `options` say. Nothing is opened or started yet.
    #[must_use]
    pub fn new(options: SamplerOptions) -> Self {
        Self { options, thread: Arc::default() }
    }

    /// Begins a recording in a new directory at `path`.
    ///
    /// The options say which processes, how often and how long; how to read them is as this sampler was
    /// made. When this returns, the first sweep is due.
    ///
    /// # Errors
    ///
    /// An option is out of range, the target is none, the directory exists or cannot be made, there
    /// are too many recordings, or `/proc` cannot be read. Nothing is left behind then.
    pub fn start(&self, path: &Path, options: RecorderOptions) -> Result<Recorder, RecordError> {
        let mut made = None;
        let begun = self.begin(path, options, |manifest| {
            let directory = RecordingDirectory::create(path)?;
            made = Some(directory.clone());
            let lock =
                directory.lock()?.ok_or_else(|| io::Error::other("another program writes it"))?;
            RecordingWriter::create(directory, lock, manifest)
        });
        if let (Err(_), Some(made)) = (&begun, made) {
            // Nothing was recorded yet.
            let _ = made.remove();
        }
        begun
    }

    /// Begins to write to what `create` makes of the manifest.
    pub(crate) fn begin<D: Destination>(
        &self,
        path: &Path,
        options: RecorderOptions,
        create: impl FnOnce(Manifest) -> io::Result<D>,
    ) -> Result<Recorder, RecordError> {
        let cpu_seconds_before = seconds_of(ClockId::ProcessCPUTime);
        let options = options.sampler(self.options.clone());
        options.check().map_err(RecordError::Options)?;
        let root = options.sampler.open_root().map_err(RecordError::Proc)?;
        let target =
            SettledScope::of_target(&options.target, &root).map_err(RecordError::Target)?;
        // One after the other: whoever is first starts the sampling for all.
        let mut shared = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unstarted = None;
        if shared.as_ref().is_none_or(|thread| thread.alive.strong_count() == 0) {
            *shared = None;
            unstarted = Some(Unstarted::new(&self.options, &self.thread)?);
        }
        let thread = match (shared.as_mut(), unstarted.as_mut()) {
            (Some(thread), _) => thread,
            (None, Some(unstarted)) => &mut unstarted.thread,
            (None, None) => return Err(RecordError::Proc(io::Error::other("no sampler"))),
        };
        if Arc::strong_count(&thread.sessions) > Self::MAX_RECORDINGS {
            return Err(RecordError::TooMany);
        }
        let machine = MachineReader::open(&options.sampler).map_err(RecordError::Proc)?;
        let asked_before = thread.kernel_events.is_some();
        let beginning = Beginning { path, options, machine, cpu_seconds_before };
        let begun = beginning.begin(thread, root, target, create);
        if begun.is_err() && !asked_before {
            // What was opened for it is closed again: the next one asks.
            thread.kernel_events = None;
        }
        let recorder = begun.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => RecordError::Exists(path.to_owned()),
            _ => RecordError::Create(path.to_owned(), error),
        })?;
        if let Some(unstarted) = unstarted {
            *shared = Some(unstarted.start().map_err(RecordError::Proc)?);
        }
        Ok(recorder)
    }
}

impl Recorder {
    /// Begins a recording in a new directory at `path`, with a sampler of its own.
    ///
    /// When this returns, every process there is has been found, and the first sweep is due.
    ///
    /// # Errors
    ///
    /// An option is out of range, the directory exists or cannot be made, or `/proc` cannot be read.
    /// Nothing is left behind then.
    // Here and not beside the type: a sampler makes recorders, so it stands above them.
    pub fn start(path: &Path, options: RecorderOptions) -> Result<Self, RecordError> {
        SharedSampler::new(options.sampler.clone()).start(path, options)
    }
}

/// A recording that is about to begin.
struct Beginning<'a> {
    path: &'a Path,
    options: RecorderOptions,
    machine: MachineReader,
    cpu_seconds_before: f64,
}

impl Beginning<'_> {
    /// Makes the directory, starts the writing thread and hands the session to the sampling thread.
    fn begin<D: Destination>(
        mut self,
        thread: &mut SamplingThread,
        root: ProcRoot,
        target: SettledScope,
        create: impl FnOnce(Manifest) -> io::Result<D>,
    ) -> io::Result<Recorder> {
        let clock = self.options.sampler.shared_clock();
        let start = clock.now();
        let anchor = ClockAnchor { boot_ns: start.boot_ns, utc_ns: start.utc_ns };
        let (exits, events) = thread.open_kernel_events(&self.options);
        let recording = create(self.manifest(thread, anchor))?;
        let oom = OomWatch::new(anchor, KernelLog::open())
            .counting_from(anchor.utc_ms(start.boot_ns), self.machine.oom_kills());
        let control = Arc::new(Control::new(clock, anchor, root, Arc::clone(&thread.wake)));
        let number = SessionNumber(thread.next_session);
        thread.next_session += 1;
        let attribution = Attribution::new(target, control.scopes());
        let projection = Projection::new(number, &self.options, &start, &thread.start, attribution);
        // One place more, for the end.
        let (sender, queue) = bounded(QUEUE + 1);
        let projection = Arc::new(Mutex::new(projection));
        let recorder = self.write(thread, control, projection, queue, oom, recording)?;
        let control = Arc::clone(&recorder.control);
        let join = Join { number, control, queue: sender, options: self.options, exits, events };
        // There is a place for each session; it fails only if the sampling thread panicked, which
        // the writer will find out.
        let _ = thread.joins.try_send(join);
        thread.wake.wake();
        Ok(recorder)
    }

    /// Starts the thread that writes.
    fn write<D: Destination>(
        &self,
        thread: &SamplingThread,
        control: Arc<Control>,
        projection: Arc<Mutex<Projection>>,
        queue: Receiver<SessionMessage>,
        oom: OomWatch,
        recording: D,
    ) -> io::Result<Recorder> {
        let (finished_sender, finished) = bounded(0);
        let status = Arc::new(Mutex::new(Status::default()));
        let writing = Writing {
            control: Arc::clone(&control),
            queue,
            projection: Arc::clone(&projection),
            batch: Batch::default(),
            status: Arc::clone(&status),
            counted: Counted::default(),
            oom,
            recording,
            max_bytes: self.options.max_bytes,
            max_idle: self.options.max_idle,
            cpu_seconds_before: self.cpu_seconds_before,
            _session: Arc::clone(&thread.sessions),
            _finished: finished_sender,
        };
        let writer = std::thread::Builder::new()
            .name("memsample-write".to_owned())
            .spawn(move || writing.run())?;
        Ok(Recorder {
            path: self.path.to_owned(),
            control,
            projection,
            status,
            writer: Some(writer),
            finished,
        })
    }

    fn manifest(&mut self, thread: &SamplingThread, anchor: ClockAnchor) -> Manifest {
        let mut manifest =
            manifest(self.path, &self.options, &thread.facts, &mut self.machine, anchor);
        if self.options.events
            && let Some(KernelEvents { exits, exact_exits, forks }) = &thread.kernel_events
        {
            let settings = &mut manifest.provenance.settings;
            settings.exits = exits.is_ok();
            if forks.is_ok() {
                settings.forks = ForksBy::ProcConnector;
            }
            let notes =
                [exits, exact_exits, forks].into_iter().filter_map(|outcome| outcome.clone().err());
            manifest.notes.extend(notes);
        }
        manifest
    }
}

/// A sampling thread that is not started yet.
struct Unstarted {
    thread: SamplingThread,
    sampling: Sampling,
}

impl Unstarted {
    fn new(
        options: &SamplerOptions,
        shared: &Arc<Mutex<Option<SamplingThread>>>,
    ) -> Result<Self, RecordError> {
        let sampler = Sampler::new(options.clone()).map_err(RecordError::Proc)?;
        let machine = MachineReader::open(options).map_err(RecordError::Proc)?;
        let clock: Arc<dyn Clock> = options.shared_clock();
        let timer = clock.timer().map_err(RecordError::Proc)?;
        let wake = Arc::new(Wake::new().map_err(RecordError::Proc)?);
        let (joins, waiting) = bounded(SharedSampler::MAX_RECORDINGS);
        let facts = SamplerFacts {
            supported: sampler.supported_files(),
            descriptors: sampler.descriptors(),
            sees_own_namespace: sampler.sees_own_namespace(),
            is_live: sampler.is_live(),
            sweeps: match sampler.sweeps_by_bpf() {
                true => SweepsFrom::Bpf,
                false => SweepsFrom::Proc,
            },
            sweep_note: sampler.sweep_note().map(str::to_owned),
        };
        let life = Arc::new(());
        let alive = Arc::downgrade(&life);
        let shared = (Arc::clone(shared), life);
        let sampling =
            Sampling::new(clock, timer, Arc::clone(&wake), waiting, shared, sampler, machine);
        let start = sampling.start();
        let thread = SamplingThread {
            joins,
            wake,
            alive,
            start,
            facts,
            next_session: 0,
            kernel_events: None,
            sessions: Arc::new(()),
        };
        Ok(Self { thread, sampling })
    }

    fn start(self) -> io::Result<SamplingThread> {
        let Self { thread, sampling } = self;
        std::thread::Builder::new()
            .name("memsample-read".to_owned())
            .spawn(move || sampling.run())?;
        Ok(thread)
    }
}
