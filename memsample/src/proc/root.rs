//! A `/proc` tree and its directories, opened by descriptor.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat};
use rustix::io::Errno;

use super::ReadBuffer;
use crate::parse::{parse_stat, parse_status};

/// Processes of a machine, at most: the largest `pid_max` of Linux.
const MAX_PROCESSES: usize = 4 * 1024 * 1024;

/// A process with its numbers.
struct NumberedProcess {
    /// In the namespace of the tree, and in each one below it down to that of the process.
    pids: Vec<i32>,
    parent: i32,
}

/// A `/proc` tree: that of this machine, one mounted elsewhere, or a captured copy on disk.
pub(crate) struct ProcRoot {
    path: PathBuf,
    directory: OwnedFd,
    live: bool,
    shares_pid_namespace: bool,
}

impl ProcRoot {
    /// Opens the tree at `path`.
    ///
    /// # Errors
    ///
    /// The error of the system call, with the path in its message.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let describe = |errno: Errno| {
            let error = io::Error::from(errno);
            io::Error::new(error.kind(), format!("cannot read `{}`: {error}", path.display()))
        };
        let directory =
            openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(describe)?;
        let live = fstatfs(&directory).map_err(describe)?.f_type == PROC_SUPER_MAGIC;
        let mut root = Self { path: path.to_owned(), directory, live, shares_pid_namespace: false };
        root.shares_pid_namespace = live && root.shows_own_namespace();
        Ok(root)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the error of a tree without processes.
    pub(crate) fn is_no_tree(&self) -> io::Error {
        let message = format!("no process in `{}`: is it a /proc tree?", self.path.display());
        io::Error::new(io::ErrorKind::InvalidInput, message)
    }

    /// Returns whether the kernel answers here, so that a kept descriptor follows its process.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Returns whether the tree counts processes as this program does.
    ///
    /// `loadavg` holds the last pid of the *reader's* namespace, whichever mount it is read from, so
    /// it announces new processes of this tree only where both are the same.
    pub(crate) fn shares_pid_namespace(&self) -> bool {
        self.shares_pid_namespace
    }

    /// Returns the pid that a child of this program, or what descends from one, has in the tree: another one where the tree is
    /// that of another pid namespace. `None` if it is not there.
    pub(crate) fn pid_of_descendant(&self, pid: i32) -> Option<i32> {
        if self.shares_pid_namespace || !self.live {
            return Some(pid);
        }
        let own = self.namespaces_of(b"self")?;
        let own_pid = *own.pids.first()?;
        let level = own.pids.len().checked_sub(1)?;
        let entries = std::fs::read_dir(&self.path).ok()?.flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.take(MAX_PROCESSES).find(|&candidate| {
            let is_it = self
                .process(candidate)
                .is_some_and(|process| process.pids.get(level) == Some(&pid));
            is_it && self.descends(candidate, own_pid)
        })
    }

    fn descends(&self, mut pid: i32, ancestor: i32) -> bool {
        for _ in 0..MAX_PROCESSES {
            if pid == ancestor {
                return true;
            }
            match self.process(pid) {
                Some(process) if process.parent > 0 => pid = process.parent,
                _ => return false,
            }
        }
        false
    }

    /// Returns the children of the first thread of a process; none where the kernel does not show them.
    pub(crate) fn children(&self, pid: i32) -> Vec<i32> {
        let read = || {
            let first = self.open_process(pid).ok()?.open_thread(pid).ok()?;
            let mut buffer = ReadBuffer::new();
            let bytes = buffer.read_piece(first.open_file(c"children").ok()?).ok()?;
            let text = std::str::from_utf8(bytes).ok()?;
            Some(text.split_ascii_whitespace().map_while(|pid| pid.parse().ok()).collect())
        };
        read().unwrap_or_default()
    }

    fn process(&self, pid: i32) -> Option<NumberedProcess> {
        self.namespaces_of(decimal(pid, &mut [0_u8; 12]))
    }

    fn namespaces_of(&self, name: &[u8]) -> Option<NumberedProcess> {
        let directory = ProcessDir::open(&self.directory, name).ok()?;
        let mut buffer = ReadBuffer::new();
        let bytes = buffer.read_piece(directory.open_file(c"status").ok()?).ok()?;
        let status = parse_status(bytes).ok()?;
        let text = std::str::from_utf8(status.nspid).ok()?;
        let pids = text.split_ascii_whitespace().map_while(|pid| pid.parse().ok()).collect();
        let mut buffer = ReadBuffer::new();
        let bytes = buffer.read_piece(directory.open_file(c"stat").ok()?).ok()?;
        Some(NumberedProcess { pids, parent: parse_stat(bytes).ok()?.ppid })
    }

    fn shows_own_namespace(&self) -> bool {
        let mut buffer = ReadBuffer::new();
        let Ok(status) = self.open_file(c"self/status") else {
            return false;
        };
        let Ok(bytes) = buffer.read_piece(status) else {
            return false;
        };
        // One pid: the namespace of the mount and that of the reader are the same.
        parse_status(bytes).is_ok_and(|status| {
            !status.nspid.is_empty() && !status.nspid.iter().any(u8::is_ascii_whitespace)
        })
    }

    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Opens a file by its path below the root.
    pub(crate) fn open_file(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        openat(&self.directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens the directory of a process, which then names that process and never another one with
    /// the same pid.
    pub(crate) fn open_process(&self, pid: i32) -> Result<ProcessDir, Errno> {
        let mut digits = [0_u8; 12];
        ProcessDir::open(&self.directory, decimal(pid, &mut digits))
    }
}

/// The open directory of one process or thread.
pub(crate) struct ProcessDir(OwnedFd);

impl ProcessDir {
    fn open(parent: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        openat(parent, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map(Self)
    }

    /// Opens the same directory once more.
    pub(crate) fn duplicate(&self) -> Result<Self, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.0, 0).map(Self)
    }

    /// Opens one of the files of the process.
    pub(crate) fn open_file(&self, name: &CStr) -> Result<OwnedFd, Errno> {
        openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens the directory of a thread of the process.
    pub(crate) fn open_thread(&self, tid: i32) -> Result<Self, Errno> {
        let tasks = self.open_tasks()?;
        let mut digits = [0_u8; 12];
        Self::open(tasks, decimal(tid, &mut digits))
    }

    /// Opens the list of threads.
    pub(crate) fn open_tasks(&self) -> Result<OwnedFd, Errno> {
        openat(
            &self.0,
            c"task",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    /// Reads the path of the executable, as the kernel prints it: with ` (deleted)` behind a file
    /// that is gone.
    pub(crate) fn read_exe<'a>(&self, buffer: &'a mut ReadBuffer) -> Result<&'a [u8], Errno> {
        buffer.read_link(&self.0, c"exe")
    }
}

/// A file about the whole machine, kept open where the kernel answers.
pub(crate) struct MachineFile {
    path: &'static CStr,
    file: Option<OwnedFd>,
}

impl MachineFile {
    pub(crate) const fn new(path: &'static CStr) -> Self {
        Self { path, file: None }
    }

    /// Reads the file to its end.
    pub(crate) fn read<'a>(
        &mut self,
        root: &ProcRoot,
        buffer: &'a mut ReadBuffer,
    ) -> Result<&'a [u8], Errno> {
        // Of a file system in user space that was started again, what was kept can be read no more.
        if let Some(file) = self.file.take()
            && let Ok(length) = buffer.read_whole(&file).map(<[u8]>::len)
        {
            self.file = Some(file);
            return Ok(buffer.first(length));
        }
        let file = root.open_file(self.path)?;
        // A captured file may be replaced between two sweeps, so only the kernel's are kept.
        let file = if root.is_live() { &*self.file.insert(file) } else { &file };
        buffer.read_whole(file)
    }

    /// Returns whether the file in the tree is the kernel's, and not mounted over it as LXCFS does in a container; `true`
    /// of a tree on disk.
    pub(crate) fn is_of_the_kernel(&mut self, root: &ProcRoot) -> bool {
        if !root.is_live() {
            return true;
        }
        if self.file.is_none() {
            self.file = root.open_file(self.path).ok();
        }
        let kind = self.file.as_ref().map(fstatfs);
        !matches!(kind, Some(Ok(kind)) if kind.f_type != PROC_SUPER_MAGIC)
    }
}

/// Writes `number` in decimal into `digits` and returns the part that was written.
fn decimal(number: i32, digits: &mut [u8; 12]) -> &[u8] {
    use std::io::Write;
    let mut free = &mut digits[..];
    // A pid has at most seven digits, and an i32 eleven characters.
    let _ = write!(free, "{number}");
    let left = free.len();
    digits.get(..digits.len() - left).unwrap_or_default()
}
