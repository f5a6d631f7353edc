//! A recording in the background, as the program that began it sees it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};

use super::control::{Control, MarkError};
use super::error::RecordError;
use super::latest::Latest;
use super::oom_kill::OomReason;
use super::process_state::ProcessStates;
use super::projection::Projection;
use super::status::Status;
use crate::recording::{Closed, Recording};
use crate::schema::marks::MarkKind;
use crate::scope::{Scope, ScopeError};

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
/// Two threads are started and joined, and one for what may not come back from the kernel; if such a thread is
/// stuck, it ends when the kernel lets it. The program's limits and signals are left as they are, and
/// nothing is printed. If the program dies, [`Recording::open`] recovers all but the last half
/// second.
pub struct Recorder {
    pub(super) path: PathBuf,
    pub(super) control: Arc<Control>,
    pub(super) projection: Arc<Mutex<Projection>>,
    pub(super) status: Arc<Mutex<Status>>,
    pub(super) writer: Option<JoinHandle<io::Result<Closed>>>,
    /// Disconnected when the recording is closed.
    pub(super) finished: Receiver<()>,
}

impl Recorder {
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
        self.control.mark(kind, name, test, BTreeMap::new(), None)
    }

    /// Sets a mark with labels, which are what else the caller wants to find in its row, and about a process:
    /// its resident set, its anonymous memory and its high-water mark are read now and are in the row too. The
    /// difference between two marks is then what the process gained between them, whatever the interval.
    ///
    /// `pid` is one of the pid namespace of the `/proc` that is read. Of a process that is gone or may not be
    /// looked at the row has the pid and no numbers.
    ///
    /// # Errors
    ///
    /// The same; or the labels have more than 160 KiB together.
    pub fn mark_with(
        &self,
        kind: MarkKind,
        name: &str,
        test: Option<&str>,
        labels: BTreeMap<String, String>,
        pid: Option<i32>,
    ) -> Result<(), MarkError> {
        self.control.mark(kind, name, test, labels, pid)
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
    /// that live still do.
    ///
    /// # Errors
    ///
    /// The recording has ended, or the name is too long.
    pub fn unassign(&self, test: &str) -> Result<(), ScopeError> {
        self.control.unassign(test)
    }

    /// Says why the OOM killer killed processes of a test: because its limit of `limit_bytes` was reached, or for
    /// another reason. The marks of kind [`OomKill`](MarkKind::OomKill) tell it then.
    ///
    /// For who limits a test: its control group may be gone before the recorder has read it.
    pub fn explain_oom_kills(&self, test: &str, kills: u64, limit_bytes: Option<u64>) {
        self.control.explain_oom_kills(OomReason { test: test.to_owned(), kills, limit_bytes });
    }

    /// Returns the present memory of the processes in the recording, at most half a second and a tick
    /// ago, with the `count` largest processes and roles; `None` before the first tick.
    #[must_use]
    pub fn latest(&self, count: usize) -> Option<Latest> {
        let projection = self.projection.lock().unwrap_or_else(PoisonError::into_inner);
        Latest::of(&projection, count)
    }

    /// Returns all processes in the recording, as [`latest`](Self::latest) has them at the same tick, each with what was
    /// last read of it; `None` before the first tick.
    #[must_use]
    pub fn process_states(&self) -> Option<ProcessStates> {
        let projection = self.projection.lock().unwrap_or_else(PoisonError::into_inner);
        ProcessStates::of(&projection)
    }

    /// Waits until the recording has its first tick, at most so long, and returns whether it has. What begins afterwards
    /// is seen, however short it lives, where the kernel reports forks and exits.
    #[must_use]
    pub fn wait_for_tick(&self, at_most: Duration) -> bool {
        self.control.wait_for_tick(at_most)
    }

    /// Returns what was written so far. Brought up to date about twice a second.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (elapsed, since_tick) = self.control.times();
        Status { queued: self.control.queued(), elapsed, since_tick, ..status }
    }

    /// Says that somebody still wants the recording: see [`max_idle`](crate::RecorderOptions::max_idle).
    pub fn touch(&self) {
        self.control.touch();
    }

    /// Returns whether the recording has ended without a call of [`stop`](Self::stop): its duration is over, or it could not be written.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Returns a channel that is disconnected when the recording has ended without a call of [`stop`](Self::stop): its duration is
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
    /// [`end`](crate::Manifest::end) says why it ended.
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
            Ok(closed) => Ok(Recording::from_parts(&closed.path, closed.manifest)),
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
