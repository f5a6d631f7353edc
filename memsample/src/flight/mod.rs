//! The last minutes of everything, within a bounded space, and recordings cut out of them.
//!
//! ```text
//! sampler ═ sweeps ═▶ writing: projection ─▶ batch ─▶ ring: segment, segment, segment
//!                                                             └── joining ──▶ recording
//! ```
//!
//! A segment is a journal that begins with all there is at its time, so that those before it can simply
//! be removed. A dump replays segments, as recovery does with the journal of a recorder that died.

mod dump;
mod joining;
mod live_images;
mod ring;
mod salvage;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::recorder::{Latest, RecordError, Recorder, RecorderOptions, SharedSampler, Status};
use crate::recording::{End, Recording, RecordingDirectory};
use dump::dump;
pub use dump::{DumpError, DumpOptions};
use ring::{Ring, RingWriter};
use salvage::{aside, salvage};

/// How long a dump waits for what was sampled up to now. It is on disk within half a second and a
/// tick; a tick may be an hour away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps the last minutes of what a [`SharedSampler`] sweeps, and makes recordings of them.
///
/// ```
/// use std::time::Duration;
/// use memsample::{DumpOptions, FlightOptions, FlightRecorder, SamplerOptions, SharedSampler};
///
/// # let directory = std::env::temp_dir().join(format!("memsample-flight-{}", std::process::id()));
/// let sampler = SharedSampler::new(SamplerOptions::default());
/// let kept = FlightOptions::new(Duration::from_secs(60), 16 << 20);
/// let flight = FlightRecorder::start(&sampler, &directory.join("ring"), kept)?;
/// // When something has happened that nobody had expected:
/// let recording = flight.dump(&directory.join("dump"), DumpOptions::default())?;
/// println!("{} samples of the last minute", recording.manifest().totals.samples);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Two threads are started and joined, as for a recording; it is one of those of its sampler. The
/// directory is removed at the end. What a program that died has left there is still a recording:
/// [`salvage`](Self::salvage).
pub struct FlightRecorder {
    recorder: Recorder,
    ring: Arc<Ring>,
    span: Duration,
}

/// How much a [`FlightRecorder`] keeps.
#[derive(Clone)]
pub struct FlightOptions {
    span: Duration,
    max_bytes: u64,
    recorder: RecorderOptions,
}

impl FlightOptions {
    /// Keeps the last `span`, and up to an eighth more; but no more than `max_bytes` on disk, within
    /// half a second.
    #[must_use]
    pub fn new(span: Duration, max_bytes: u64) -> Self {
        Self { span, max_bytes, recorder: RecorderOptions::new() }
    }

    /// Sets what is recorded and how often. Its limits hold for the flight recorder as a whole.
    #[must_use]
    pub fn recorder(mut self, options: RecorderOptions) -> Self {
        self.recorder = options;
        self
    }
}

impl FlightRecorder {
    /// Begins to keep what the sampler sweeps, in a new directory.
    ///
    /// # Errors
    ///
    /// Those of [`SharedSampler::start`]. A directory that exists is that of a program that died: see
    /// [`salvage`](Self::salvage).
    pub fn start(
        sampler: &SharedSampler,
        directory: &Path,
        options: FlightOptions,
    ) -> Result<Self, RecordError> {
        let FlightOptions { span, max_bytes, recorder } = options;
        let mut made = None;
        let begun = sampler.begin(directory, recorder, |manifest| {
            let directory = RecordingDirectory::create(directory)?;
            let ring = made.insert(Arc::new(Ring::new(directory)));
            let lock = ring.directory.lock()?.ok_or_else(|| io::Error::other("another has it"))?;
            RingWriter::create(Arc::clone(ring), lock, manifest, span, max_bytes)
        });
        match (begun, made) {
            (Ok(recorder), Some(ring)) => Ok(Self { recorder, ring, span }),
            (begun, made) => {
                let _ = made.map(|ring| ring.directory.remove());
                let missing = io::Error::other("it was not made");
                Err(begun
                    .err()
                    .unwrap_or_else(|| RecordError::Create(directory.to_owned(), missing)))
            }
        }
    }

    /// Makes a closed recording of the last minutes at `path`, which must not exist. The flight
    /// recorder continues meanwhile.
    ///
    /// The sums in `processes` and `recording.json` are of what is in the dump alone. A process that ended
    /// before its first tick, and whose exit the kernel reported later, is one of which only the end is
    /// known.
    ///
    /// # Errors
    ///
    /// There is nothing yet, the path exists, or the disk is full. Nothing is left behind then.
    pub fn dump(&self, path: &Path, options: DumpOptions) -> Result<Recording, DumpError> {
        if !self.recorder.is_finished() {
            self.ring.wait_for(self.recorder.now_boot_ns(), PATIENCE);
        }
        dump(&self.ring, self.span, path, options)
    }

    /// Makes a recording at `path` of all that a flight recorder has left in `directory` whose program
    /// died, and removes the directory; `None` where there was none, or no tick in it.
    ///
    /// A directory in which something is damaged is not removed: it is called
    /// [`set_aside`](Self::set_aside) from then on, whether or not a part of it became a recording.
    ///
    /// # Errors
    ///
    /// Another program has it, or the recording cannot be made. Then it stays.
    pub fn salvage(
        directory: &Path,
        path: &Path,
        labels: BTreeMap<String, String>,
    ) -> Result<Option<Recording>, DumpError> {
        salvage(directory, path, labels)
    }

    /// Returns where [`salvage`](Self::salvage) puts a directory in which something is damaged.
    #[must_use]
    pub fn set_aside(directory: &Path) -> PathBuf {
        aside(directory)
    }

    /// Returns how far back it reaches now, and what that takes on disk, in bytes.
    #[must_use]
    pub fn kept(&self) -> (Duration, u64) {
        self.ring.kept()
    }

    /// Returns what was written since it began.
    #[must_use]
    pub fn status(&self) -> Status {
        self.recorder.status()
    }

    /// Returns the present memory of all processes: see [`Recorder::latest`].
    #[must_use]
    pub fn latest(&self, count: usize) -> Option<Latest> {
        self.recorder.latest(count)
    }

    /// Returns why it has ended; `None` while it is running.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.ring.end()
    }

    /// Returns whether it has ended, such as because the disk is full. Dumps can still be made.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.recorder.is_finished()
    }
}

impl Drop for FlightRecorder {
    /// Ends it, and removes its directory.
    fn drop(&mut self) {
        self.recorder.end();
        let _ = self.ring.directory.remove();
    }
}
