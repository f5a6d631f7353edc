//! Whether a disk takes another recording, without waiting for a disk that stands still.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use memsample_beneath::HeldDirectory;
use memsample_inherited::patience;
use memsample_input::rounded_size;
use rustix::fs::{FallocateFlags, Mode, OFlags, StatVfsMountFlags, fallocate, fstatvfs, openat};
use rustix::io::Errno;

/// What a recording takes when it begins: the space that it keeps back for its end, and its first files.
const NEEDED_BYTES: u64 = 4 << 20;
/// The files of a recording.
const NEEDED_FILES: u64 = 16;
/// How much is written to see that something can be written.
const TRIED_BYTES: u64 = 4096;
/// How long the disk may take for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the disk of a directory, in a thread that may never come back.
#[derive(Default)]
pub(super) struct Disk {
    /// The question that is not answered yet: one thread waits for a disk that stands still, and no more.
    asked: Mutex<Option<Question>>,
}

struct Question {
    since: Instant,
    answer: Receiver<io::Result<()>>,
}

impl Disk {
    /// Returns whether a recording can be made in a directory, which `path` leads to.
    ///
    /// # Errors
    ///
    /// It cannot, for a reason of which a person can do something; or there is no answer within a second.
    pub(super) fn check(&self, directory: &OwnedFd, path: PathBuf) -> io::Result<()> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let question = match asked.take() {
            Some(question) => question,
            None => Question::ask(directory.try_clone()?, path)?,
        };
        match question.answer.recv_timeout(patience(PATIENCE)) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the thread that asks its disk has ended"))
            }
            Err(RecvTimeoutError::Timeout) => {
                let seconds = question.since.elapsed().as_secs_f64();
                *asked = Some(question);
                Err(io::Error::other(format!("its disk has not answered for {seconds:.1} s")))
            }
        }
    }
}

impl Question {
    fn ask(directory: OwnedFd, path: PathBuf) -> io::Result<Self> {
        let (sender, answer) = sync_channel(1);
        let ask = move || {
            // Nobody waits any more if the daemon ends.
            let _ = sender.send(takes_recording(&directory, &path));
        };
        std::thread::Builder::new().name("memsampled-disk".to_owned()).spawn(ask)?;
        Ok(Self { since: Instant::now(), answer })
    }
}

/// Finds out whether the path still leads to the directory, and whether there is space in it and it can be written to.
fn takes_recording(directory: &OwnedFd, path: &Path) -> io::Result<()> {
    std::fs::metadata(path)?;
    if !HeldDirectory::hold(directory)?.is_at(path) {
        return Err(io::Error::other("it was replaced by another one: restart the daemon"));
    }
    let disk = fstatvfs(directory)?;
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(io::Error::other("it is on a file system that is mounted read-only"));
    }
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free_bytes < NEEDED_BYTES {
        return Err(full(format!(
            "its disk is full: {} are left, and a recording needs {} to begin; remove what is not needed, or let \
             `daemon.retention` do it",
            rounded_size(free_bytes),
            rounded_size(NEEDED_BYTES)
        )));
    }
    // Some file systems make files as they need them, and say so by zeros.
    if disk.f_files > 0 && disk.f_favail < NEEDED_FILES {
        return Err(full(format!(
            "its file system has room for {} more files, and a recording has {NEEDED_FILES}",
            disk.f_favail
        )));
    }
    // A quota, a file system that has stopped after an error, or attributes of the directory show only so.
    write_unnamed(directory)
}

fn full(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, message)
}

/// Writes a file without a name, which is gone when it is closed.
fn write_unnamed(directory: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = match openat(directory, ".", flags, Mode::RUSR | Mode::WUSR) {
        // The file system has no files without names; with a name, a crash would leave them.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => return Ok(()),
        opened => File::from(opened?),
    };
    match fallocate(&file, FallocateFlags::empty(), 0, TRIED_BYTES) {
        Err(Errno::OPNOTSUPP) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
