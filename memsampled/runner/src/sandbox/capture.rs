//! Captures the output of a program in a file of bounded length.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// What one reading takes, at most.
const READ_BYTES: usize = 256 * 1024;
/// Readings of one stream before the others have their turn.
const READS_IN_A_ROW: usize = 16;
/// What the pipe holds, so that a program that writes much waits little. The kernel may allow less.
const PIPE_BYTES: usize = 1024 * 1024;

/// Writes the output of a program to a file of bounded length, and never lets the program wait for long.
///
/// If the output exceeds the bound, its first and its last half of the bound are kept. The second half of the file is a
/// ring buffer meanwhile, which is put in order at the end.
pub(super) struct OutputCapture {
    path: PathBuf,
    pipe: Option<OwnedFd>,
    file: Option<File>,
    limit_bytes: u64,
    total_bytes: u64,
    error: Option<String>,
    buffer: Vec<u8>,
}

impl OutputCapture {
    /// Makes the file and the pipe, and returns its other end.
    pub(super) fn create(path: &Path, limit_bytes: u64) -> io::Result<(Self, OwnedFd)> {
        let (pipe, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        let flags = rustix::fs::fcntl_getfl(&pipe)?;
        rustix::fs::fcntl_setfl(&pipe, flags | rustix::fs::OFlags::NONBLOCK)?;
        let _ = fcntl_setpipe_size(&pipe, PIPE_BYTES);
        let (file, error) = match File::create_new(path) {
            Ok(file) => (Some(file), None),
            // The test runs all the same: its output is not its purpose.
            Err(error) => (None, Some(error.to_string())),
        };
        let capture = Self {
            path: path.to_owned(),
            pipe: Some(pipe),
            file,
            limit_bytes: limit_bytes.max(2),
            total_bytes: 0,
            error,
            buffer: vec![0; READ_BYTES],
        };
        Ok((capture, theirs))
    }

    /// Returns the pipe, until its other end is closed everywhere.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there.
    pub(super) fn pump(&mut self) {
        for _ in 0..READS_IN_A_ROW {
            let Some(pipe) = &self.pipe else { return };
            match rustix::io::read(pipe, self.buffer.as_mut_slice()) {
                Ok(0) => self.pipe = None,
                Ok(bytes) => self.keep(bytes),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(error) => {
                    self.error.get_or_insert(error.to_string());
                    self.pipe = None;
                }
            }
        }
    }

    fn head_bytes(&self) -> u64 {
        self.limit_bytes / 2
    }

    fn tail_bytes(&self) -> u64 {
        self.limit_bytes - self.head_bytes()
    }

    /// Writes the first bytes of the buffer to where they belong.
    fn keep(&mut self, bytes: usize) {
        if self.file.is_none() {
            // Drained and counted: the bound may be nothing by now.
            self.total_bytes += bytes as u64;
            return;
        }
        let (head, tail) = (self.head_bytes(), self.tail_bytes());
        let mut rest = self.buffer.get(..bytes).unwrap_or_default();
        while !rest.is_empty() {
            let (offset, room) = match self.total_bytes.checked_sub(head) {
                None => (self.total_bytes, head - self.total_bytes),
                Some(beyond) => (head + beyond % tail, tail - beyond % tail),
            };
            let length = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let (now, later) = rest.split_at(length);
            if let Some(file) = &self.file
                && let Err(error) = file.write_all_at(now, offset)
            {
                // Such as a full disk. What is there stays, the rest is drained and counted.
                self.error = Some(error.to_string());
                self.file = None;
                self.limit_bytes = self.limit_bytes.min(offset);
            }
            self.total_bytes += length as u64;
            rest = later;
        }
    }

    /// Puts the file in order, and returns how many bytes it lacks and why, if not for its bound.
    pub(super) fn finish(mut self) -> (u64, Option<String>) {
        self.pump();
        let cut_bytes = self.total_bytes.saturating_sub(self.limit_bytes);
        if let Some(mut file) = self.file.take()
            && cut_bytes > 0
            && let Err(error) = self.put_in_order(&mut file, cut_bytes)
        {
            // The head is in order anyway.
            let head = self.head_bytes();
            let _ = file.set_len(head);
            return (self.total_bytes - head, Some(error.to_string()));
        }
        (cut_bytes, self.error)
    }

    fn put_in_order(&self, file: &mut File, cut_bytes: u64) -> io::Result<()> {
        let (head, tail) = (self.head_bytes(), self.tail_bytes());
        let oldest = (self.total_bytes - head) % tail;
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".order");
        let path = self.path.with_file_name(name);
        let mut write = || {
            let mut ordered = File::create(&path)?;
            let mut copy = |from: u64, length: u64, ordered: &mut File| {
                file.seek(SeekFrom::Start(from))?;
                io::copy(&mut Read::take(&mut *file, length), ordered)
            };
            copy(0, head, &mut ordered)?;
            write!(ordered, "\n[memsample: {cut_bytes} bytes of output are cut out here]\n")?;
            copy(head + oldest, tail - oldest, &mut ordered)?;
            copy(head, oldest, &mut ordered)?;
            fs::rename(&path, &self.path)
        };
        let written = write();
        if written.is_err() {
            let _ = fs::remove_file(&path);
        }
        written
    }
}
