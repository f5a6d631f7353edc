use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crossbeam_channel::{Sender, bounded};
use rustix::time::ClockId;

use super::attribution::Attribution;
use super::control::{Control, Wake};
use super::destination::Destination;
use super::follower::Follower;
use super::oom::OomWatch;
use super::options::RecorderOptions;
use super::sampling::{Join, QUEUE, Sampling};
use super::settled_scope::SettledScope;
use super::sweeps::SessionNumber;
use super::writing::{Counted, Writing, seconds_of};
use super::{RecordError, Recorder, Status, manifest};
use crate::batch::Batch;
use crate::clock::{Clock, Now};
use crate::events::{ProcessEvents, ProcessExits};
use crate::machine::MachineReader;
use crate::metric::Files;
use crate::recording::{BirthsBy, ClockAnchor, Manifest, RecordingDirectory, RecordingWriter};
use crate::sampler::{Descriptors, Sampler, SamplerOptions};

/// One sweep for many recordings.
///
/// All recordings of a station are fed by one thread that samples: at each instant at which one of
/// them has a tick, and not at all while there is none. Then the station holds no descriptor and no
/// memory, and uses no CPU.
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
/// use memsample::{RecorderOptions, SamplerOptions, Station};
///
/// # let directory = std::env::temp_dir().join(format!("memsample-station-{}", std::process::id()));
/// let station = Station::new(SamplerOptions::default());
/// let every = |ms| RecorderOptions::new().interval(Duration::from_millis(ms));
/// let fine = station.start(&directory.join("fine"), every(10))?;
/// let coarse = station.start(&directory.join("coarse"), every(100))?;
/// let (fine, coarse) = (fine.stop()?, coarse.stop()?);
/// assert!(fine.manifest().totals.ticks >= coarse.manifest().totals.ticks);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Station {
    sampler: SamplerOptions,
    running: Arc<Mutex<Option<Running>>>,
}

/// A thread that samples.
pub(super) struct Running {
    joins: Sender<Join>,
    wake: Arc<Wake>,
    /// Dead if the thread panicked.
    thread: Weak<()>,
    start: Now,
    facts: SamplerFacts,
    next_session: u64,
    /// Whether it hears of processes that end, and of those that begin, or why not.
    heard: Option<(Result<(), String>, Result<(), String>)>,
    /// Sessions that have not ended hold a clone each.
    sessions: Arc<()>,
}

/// What a recording must know of the sampler that feeds it.
#[derive(Clone, Copy)]
pub(super) struct SamplerFacts {
    pub(super) supported: Files,
    pub(super) descriptors: Descriptors,
    sees_own_namespace: bool,
}

impl Station {
    /// Recordings at the same time, at most: each has a thread, a queue of up to 32 MiB when its disk
    /// stands still, and a part in each sweep.
    pub const MAX_RECORDINGS: usize = 64;

    /// Makes a station that reads as `options` say. Nothing is opened or started yet.
    #[must_use]
    pub fn new(options: SamplerOptions) -> Self {
        Self { sampler: options, running: Arc::default() }
    }

    /// Begins a recording in a new directory at `path`.
    ///
    /// The options say which processes, how often and how long; the sampler is that of the station.
    /// When this returns, the first sweep is due.
    ///
    /// # Errors
    ///
    /// An option is out of range, the target is none, the directory exists or cannot be made, there
    /// are too many recordings, or `/proc` cannot be read. Nothing is left behind then.
    pub fn start(&self, path: &Path, options: RecorderOptions) -> Result<Recorder, RecordError> {
        let mut made = false;
        let begun = self.begin(path, options, |manifest| {
            let directory = RecordingDirectory::create(path)?;
            made = true;
            let lock =
                directory.lock()?.ok_or_else(|| io::Error::other("another program writes it"))?;
            RecordingWriter::create(directory, lock, manifest)
        });
        if begun.is_err() && made {
            // Nothing was recorded yet.
            let _ = std::fs::remove_dir_all(path);
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
        let options = options.sampler(self.sampler.clone());
        options.check().map_err(RecordError::Options)?;
        let root = options.sampler.open_root().map_err(RecordError::Proc)?;
        let target = SettledScope::of(&options.target, &root).map_err(RecordError::Target)?;
        // One after the other: whoever is first starts the sampling for all.
        let mut slot = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = None;
        if slot.as_ref().is_none_or(|running| running.thread.strong_count() == 0) {
            *slot = None;
            fresh = Some(Fresh::new(&self.sampler, &self.running)?);
        }
        let running = match (slot.as_mut(), fresh.as_mut()) {
            (Some(running), _) => running,
            (None, Some(fresh)) => &mut fresh.running,
            (None, None) => return Err(RecordError::Proc(io::Error::other("no sampler"))),
        };
        if Arc::strong_count(&running.sessions) > Self::MAX_RECORDINGS {
            return Err(RecordError::TooMany);
        }
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => RecordError::Exists(path.to_owned()),
            _ => RecordError::Create(path.to_owned(), error),
        };
        let clock = options.sampler.shared_clock();
        let asked_before = running.heard.is_some();
        let mut machine = MachineReader::open(&options.sampler).map_err(RecordError::Proc)?;
        let started = (|| {
            let start = clock.now();
            let anchor = ClockAnchor { boot_ns: start.boot_ns, utc_ns: start.utc_ns };
            let mut manifest = manifest(path, &options, &running.facts, &mut machine, anchor);
            let (exits, births) = running.hear(&options);
            if options.events
                && let Some((exits, births)) = &running.heard
            {
                let settings = &mut manifest.provenance.settings;
                settings.exits = exits.is_ok();
                if births.is_ok() {
                    settings.births = BirthsBy::ProcConnector;
                }
                manifest
                    .notes
                    .extend([exits, births].into_iter().filter_map(|it| it.clone().err()));
            }
            let recording = create(manifest)?;
            let wake = Arc::clone(&running.wake);
            let control = Arc::new(Control::new(Arc::clone(&clock), anchor, root, wake));
            let number = SessionNumber(running.next_session);
            running.next_session += 1;
            let attribution = Attribution::new(target, control.scopes());
            let follower = Follower::new(number, &options, &start, &running.start, attribution);
            let follower = Arc::new(Mutex::new(follower));
            // One place more, for the end.
            let (sender, queue) = bounded(QUEUE + 1);
            let (finished_sender, finished) = bounded(0);
            let status = Arc::new(Mutex::new(Status::default()));
            let writing = Writing {
                control: Arc::clone(&control),
                queue,
                follower: Arc::clone(&follower),
                batch: Batch::default(),
                status: Arc::clone(&status),
                counted: Counted::default(),
                recording,
                oom: OomWatch::new(anchor),
                max_bytes: options.max_bytes,
                max_idle: options.max_idle,
                cpu_seconds_before,
                _session: Arc::clone(&running.sessions),
                _finished: finished_sender,
            };
            let writer = std::thread::Builder::new()
                .name("memsample-write".to_owned())
                .spawn(move || writing.run())?;
            let join = Join {
                number,
                control: Arc::clone(&control),
                queue: sender,
                options,
                exits,
                births,
            };
            // There is a place for each session; it fails only if the sampling thread panicked, which
            // the writer will find out.
            let _ = running.joins.try_send(join);
            running.wake.wake();
            Ok(Recorder {
                path: path.to_owned(),
                control,
                follower,
                status,
                writer: Some(writer),
                finished,
            })
        })();
        if started.is_err() && !asked_before {
            // What was opened for it is closed again: the next one asks.
            running.heard = None;
        }
        let recorder = started.map_err(failed)?;
        if let Some(fresh) = fresh {
            let Fresh { running, sampling } = fresh;
            std::thread::Builder::new()
                .name("memsample-read".to_owned())
                .spawn(move || sampling.run())
                .map_err(RecordError::Proc)?;
            *slot = Some(running);
        }
        Ok(recorder)
    }
}

impl Running {
    /// Asks the kernel to tell of processes that begin and end, if a session wants that and none did
    /// so far.
    fn hear(&mut self, options: &RecorderOptions) -> (Option<ProcessExits>, Option<ProcessEvents>) {
        if !options.events || !self.facts.sees_own_namespace || self.heard.is_some() {
            return (None, None);
        }
        let (exits, births) = (ProcessExits::open(), ProcessEvents::open());
        let outcomes = (
            exits.as_ref().map(|_| ()).map_err(String::clone),
            births.as_ref().map(|_| ()).map_err(String::clone),
        );
        self.heard = Some(outcomes);
        (exits.ok(), births.ok())
    }
}

/// A thread that will sample.
struct Fresh {
    running: Running,
    sampling: Sampling,
}

impl Fresh {
    fn new(
        options: &SamplerOptions,
        state: &Arc<Mutex<Option<Running>>>,
    ) -> Result<Self, RecordError> {
        let sampler = Sampler::new(options.clone()).map_err(RecordError::Proc)?;
        let machine = MachineReader::open(options).map_err(RecordError::Proc)?;
        let clock: Arc<dyn Clock> = options.shared_clock();
        let timer = clock.timer().map_err(RecordError::Proc)?;
        let wake = Arc::new(Wake::new().map_err(RecordError::Proc)?);
        let (joins, waiting) = bounded(Station::MAX_RECORDINGS);
        let facts = SamplerFacts {
            supported: sampler.supported_files(),
            descriptors: sampler.descriptors(),
            sees_own_namespace: sampler.sees_own_namespace(),
        };
        let (thread, sessions) = (Arc::new(()), Arc::new(()));
        let weak = Arc::downgrade(&thread);
        let station = (Arc::clone(state), thread);
        let sampling =
            Sampling::new(clock, timer, Arc::clone(&wake), waiting, station, sampler, machine);
        let start = sampling.start();
        let running = Running {
            joins,
            wake,
            thread: weak,
            start,
            facts,
            next_session: 0,
            heard: None,
            sessions,
        };
        Ok(Self { running, sampling })
    }
}
