//! Where the files of a recording are, and the lock that says who writes them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// What a recording is made of, apart from its tables.
const MANIFEST: &str = "recording.json";
const JOURNAL: &str = "journal";
const LOCK: &str = "lock";
const RESERVE: &str = "reserve";

/// Space kept back on disk so that a recording can still be closed when the disk is full: what a
/// segment and the small tables come to, with room to spare.
const RESERVE_BYTES: u64 = 2 << 20;

/// The directory of a recording.
#[derive(Clone, Debug)]
pub(crate) struct RecordingDirectory(PathBuf);

impl RecordingDirectory {
    /// Makes the directory, which must not exist, and those above it.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| match error.kind() {
                // Said of what should have been a directory; kept apart from a recording that exists.
                io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
                _ => error,
            })?;
        }
        fs::create_dir(path)?;
        let directory = Self(path.to_owned());
        fs::create_dir(directory.journal())?;
        Ok(directory)
    }

    pub(crate) fn existing(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.0.join(MANIFEST)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join(JOURNAL)
    }

    /// Returns the journal that follows a checkpoint.
    pub(crate) fn journal_file(&self, checkpoint: u64) -> PathBuf {
        self.journal().join(format!("{checkpoint:06}.log"))
    }

    /// Returns the journals that there are, ascending by checkpoint.
    pub(crate) fn journal_files(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.journal())? {
            let path = entry?.path();
            let checkpoint = path
                .extension()
                .filter(|extension| *extension == "log")
                .and_then(|_| path.file_stem()?.to_str()?.parse().ok());
            if let Some(checkpoint) = checkpoint {
                files.push((checkpoint, path));
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Takes the lock that every writer of the recording holds; `None` if another program has it.
    ///
    /// The kernel gives it back when the program ends, however it ends.
    pub(crate) fn lock(&self) -> io::Result<Option<Lock>> {
        let path = self.journal().join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Some network file systems have no locks; then nobody is known to write.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(Some(Lock { _file: file }))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Keeps space back for the day the disk is full.
    pub(crate) fn reserve_space(&self) -> io::Result<()> {
        let file = File::create(self.journal().join(RESERVE))?;
        let allocated =
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES);
        match allocated {
            Ok(()) => Ok(()),
            // The file system cannot reserve space, but it can write zeros.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                io::copy(&mut io::Read::take(io::repeat(0), RESERVE_BYTES), &mut &file).map(drop)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives the space back.
    pub(crate) fn release_space(&self) -> io::Result<()> {
        remove_if_exists(&self.journal().join(RESERVE))
    }

    /// Removes everything that is there only while recording.
    pub(crate) fn remove_journal(&self) -> io::Result<()> {
        fs::remove_dir_all(self.journal())?;
        self.sync()
    }

    /// Makes renames and removals in the directory survive the end of the machine.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    /// Returns the size of all files, in bytes.
    pub(crate) fn size_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(&self.0)? {
            let metadata = entry?.metadata()?;
            bytes += if metadata.is_file() { metadata.len() } else { 0 };
        }
        Ok(bytes)
    }
}

/// Says to other programs that the recording is being written. Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

pub(crate) fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
