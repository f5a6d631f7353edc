//! The attempts that have ended, on disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::results::TestResult;
use crate::suite::Suite;

/// The longest line that is read: a result with all its artifacts is far below.
const MAX_LINE_BYTES: usize = 4 << 20;
/// How long a resumed run waits for the supervisors of one that was killed. They kill without
/// grace, so that only a process that waits for a disk makes them wait.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// The file, in the directory of results.
pub const PROGRESS_FILE: &str = "progress.jsonl";

/// The attempts that have ended, on disk: what a resumed run need not run again.
///
/// Each is a line that is written whole, and synchronised while the next test runs. A line that a crash cut, or that a
/// power failure lost, is as if it had not been: its attempt is run again.
pub(super) struct ProgressLog {
    file: File,
    /// `None` where there is no thread for it: then each line waits for the disk.
    synchroniser: Option<Synchroniser>,
}

/// A thread that synchronises a file: a disk takes longer for that than a small test runs.
struct Synchroniser {
    /// One that waits stands for all that was written before it is taken.
    wanted: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Synchroniser {
    fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (wanted, wishes) = sync_channel(1);
        let thread = Builder::new().name("memsample-progress".to_owned());
        let thread = thread.spawn(move || wishes.iter().try_for_each(|()| file.sync_data()))?;
        Ok(Self { wanted, thread })
    }

    /// Waits until all is on disk, and says why it is not.
    fn finish(self) -> io::Result<()> {
        drop(self.wanted);
        let panicked = |_| Err(io::Error::other("the thread that synchronises has panicked"));
        self.thread.join().unwrap_or_else(panicked)
    }
}

#[derive(Serialize, Deserialize)]
enum ProgressLine {
    /// The first one: of which suite it is.
    Suite {
        name: String,
        tests: Vec<String>,
    },
    Ended(Box<EndedAttempt>),
}

/// An attempt that ended, and in which recording its memory is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EndedAttempt {
    pub(super) recording: u32,
    pub(super) result: TestResult,
}

impl ProgressLog {
    /// Returns where it is.
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join(PROGRESS_FILE)
    }

    /// Returns whether a directory has results of this suite, with the same tests.
    pub(super) fn is_of(directory: &Path, suite: &Suite) -> bool {
        let Ok(file) = File::open(Self::path(directory)) else { return false };
        let mut first = Vec::new();
        let read = BufReader::new(file.take(MAX_LINE_BYTES as u64)).read_until(b'\n', &mut first);
        let line = read.ok().and_then(|_| serde_json::from_slice::<ProgressLine>(&first).ok());
        line.is_some_and(|line| line.is_of(suite))
    }

    /// Begins anew.
    pub(super) fn create(directory: &Path, suite: &Suite) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(Self::path(directory))?;
        let mut progress = Self { file, synchroniser: None };
        progress.lock(Duration::ZERO)?;
        progress.write(&ProgressLine::of(suite))?;
        progress.file.sync_data()?;
        // The name too must survive a power failure.
        File::open(directory)?.sync_all()?;
        progress.synchroniser = Synchroniser::start(&progress.file).ok();
        Ok(progress)
    }

    /// Opens the file of a run that is resumed, and returns the attempts that have ended.
    pub(super) fn resume(directory: &Path, suite: &Suite) -> io::Result<(Self, Vec<EndedAttempt>)> {
        let path = Self::path(directory);
        let file = OpenOptions::new().append(true).open(&path)?;
        let mut progress = Self { file, synchroniser: None };
        progress.lock(MAX_WAIT)?;
        let bytes = fs::read(&path)?;
        let invalid = |reason: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("`{}` {reason}", path.display()))
        };
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut lines =
            bytes.get(..whole).unwrap_or_default().split_inclusive(|&byte| byte == b'\n');
        let parse = |line: &[u8]| -> Option<ProgressLine> {
            if line.len() > MAX_LINE_BYTES { None } else { serde_json::from_slice(line).ok() }
        };
        match lines.next().and_then(parse) {
            Some(first) if first.is_of(suite) => {}
            Some(_) => return Err(invalid("is of another suite, or of another version of it")),
            None => return Err(invalid("does not say of which suite it is")),
        }
        let mut ended = Vec::new();
        for line in lines {
            match parse(line) {
                Some(ProgressLine::Ended(line)) => ended.push(*line),
                _ => return Err(invalid("is damaged")),
            }
        }
        progress.file.set_len(whole as u64)?;
        progress.synchroniser = Synchroniser::start(&progress.file).ok();
        Ok((progress, ended))
    }

    /// Keeps other runs out as long as we live, and as long as anybody who got [`Self::held`].
    fn lock(&self, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other("another run writes these results"));
                }
            }
        }
    }

    /// Returns what holds the lock. Each supervisor gets a copy: so a run that resumes one that
    /// was killed meets none of its processes.
    pub(super) fn held(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Notes an attempt that has ended. When this returns, no end of this program loses it, and a moment later no end
    /// of the machine.
    ///
    /// # Errors
    ///
    /// It cannot be written, or an earlier one could not be synchronised.
    pub(super) fn ended(&mut self, ended: &EndedAttempt) -> io::Result<()> {
        self.write(&ProgressLine::Ended(Box::new(ended.clone())))?;
        match &self.synchroniser {
            // Where one waits already, it is for this too.
            Some(it) if !it.thread.is_finished() => {
                let _ = it.wanted.try_send(());
                Ok(())
            }
            Some(_) => self.finish(),
            None => self.file.sync_data(),
        }
    }

    /// Waits until all that has ended is on disk.
    ///
    /// # Errors
    ///
    /// It could not be synchronised.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.synchroniser.take().map_or(Ok(()), Synchroniser::finish)
    }

    fn write(&mut self, line: &ProgressLine) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)
    }
}

impl ProgressLine {
    fn of(suite: &Suite) -> Self {
        let tests = suite.tests.iter().map(|test| test.name.clone()).collect();
        Self::Suite { name: suite.name.clone(), tests }
    }

    fn is_of(&self, suite: &Suite) -> bool {
        let Self::Suite { name, tests } = self else { return false };
        *name == suite.name && tests.iter().eq(suite.tests.iter().map(|test| &test.name))
    }
}
