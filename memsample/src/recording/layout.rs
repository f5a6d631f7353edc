//! Where the files of a recording are, and the lock that says who writes them.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memsample_beneath::{HeldDirectory, PrivateDirectory, is_temporary};

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
pub(crate) struct RecordingDirectory {
    path: PathBuf,
    /// Of a copy, which is gone with the last of these.
    _private: Option<Arc<PrivateDirectory>>,
}

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
        let directory = Self::existing(path);
        fs::create_dir(directory.journal())?;
        Ok(directory)
    }

    pub(crate) fn existing(path: &Path) -> Self {
        Self { path: path.to_owned(), _private: None }
    }

    /// Makes an empty directory for a copy, which is removed when nobody uses it any more.
    pub(crate) fn create_private() -> io::Result<Self> {
        let private = PrivateDirectory::create("memsample-recording")?;
        Ok(Self { path: private.path().to_owned(), _private: Some(Arc::new(private)) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        self.path.join(MANIFEST)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
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
        let file = HeldDirectory::open(&self.path)?.directory(JOURNAL)?.lock_file(LOCK)?;
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
        let journal = HeldDirectory::open(&self.path)?.directory(JOURNAL)?;
        let file = journal.create_file(RESERVE, 0o666)?;
        let allocated =
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES);
        match allocated {
            Ok(()) => Ok(()),
            // The file system cannot reserve space, but it can write zeros.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                io::copy(&mut io::repeat(0).take(RESERVE_BYTES), &mut &file).map(drop)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives the space back.
    pub(crate) fn release_space(&self) -> io::Result<()> {
        remove_if_exists(&self.journal().join(RESERVE))
    }

    /// Returns the user who owns it, if that is somebody else. What is in it may change in any way meanwhile.
    pub(crate) fn other_owner(&self) -> io::Result<Option<u32>> {
        let owner = HeldDirectory::open(&self.path)?.owner()?;
        Ok((owner != rustix::process::geteuid().as_raw()).then_some(owner))
    }

    /// Returns whether another program is known to write it, without writing anything.
    pub(crate) fn is_written(&self) -> bool {
        let journal = HeldDirectory::open(&self.path).and_then(|held| held.directory(JOURNAL));
        let lock = journal.and_then(|journal| journal.file(LOCK));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Copies what recovery needs into an empty directory: only regular files, of `bytes_max` bytes at most in all.
    pub(crate) fn copy_to(&self, to: &Self, bytes_max: u64) -> io::Result<()> {
        let (from, to) = (HeldDirectory::open(&self.path)?, HeldDirectory::open(&to.path)?);
        let mut left = bytes_max;
        copy_files(&from, &to, &mut left, |name| {
            name == MANIFEST || Path::new(name).extension().is_some_and(|it| it == "parquet")
        })?;
        let journal = to.create_directory(JOURNAL, 0o700)?;
        match from.directory(JOURNAL) {
            Ok(from) => copy_files(&from, &journal, &mut left, |name| {
                Path::new(name).extension().is_some_and(|it| it == "log")
            }),
            // The recorder died before it had written anything.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes everything that is there only while recording.
    pub(crate) fn remove_journal(&self) -> io::Result<()> {
        let directory = HeldDirectory::open(&self.path)?;
        // What a recorder that was killed was about to rename.
        for entry in directory.entries()? {
            let name = entry?.name;
            if is_temporary(&name) {
                let _ = directory.remove_file(name);
            }
        }
        memsample_beneath::remove_tree(&directory, JOURNAL)?;
        self.sync()
    }

    /// Makes renames and removals in the directory survive the end of the machine.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Returns the size of all files, in bytes.
    pub(crate) fn size_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(&self.path)? {
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

/// Copies the regular files of a directory that are wanted, and takes their bytes off what is left.
fn copy_files(
    from: &HeldDirectory,
    to: &HeldDirectory,
    left: &mut u64,
    is_wanted: impl Fn(&OsStr) -> bool,
) -> io::Result<()> {
    for entry in from.entries()? {
        let name = entry?.name;
        if !is_wanted(&name) {
            continue;
        }
        let file = from.file(&name)?;
        let copied =
            io::copy(&mut file.take(left.saturating_add(1)), &mut to.create_file(&name, 0o600)?)?;
        *left = left.checked_sub(copied).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "it is too large to be copied")
        })?;
    }
    Ok(())
}
