//! Where the files of a recording are, and the lock that says who writes them.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{FILE as MANIFEST, Manifest};
use memsample_beneath::{HeldDirectory, PrivateDirectory, is_temporary, remove_tree};

/// What a recording is made of, apart from its tables.
const JOURNAL: &str = "journal";
const LOCK: &str = "lock";
const RESERVE: &str = "reserve";

/// Space kept back on disk so that a recording can still be closed when the disk is full: what a
/// segment and the small tables come to, with room to spare.
const RESERVE_BYTES: u64 = 2 << 20;

/// The directory of a recording. It is held open: whatever its path leads to meanwhile, what is written goes into it.
#[derive(Clone, Debug)]
pub(crate) struct RecordingDirectory {
    /// Where a person knows it.
    path: PathBuf,
    held: Arc<HeldDirectory>,
    /// Of a copy, which is gone with the last of these.
    _private: Option<Arc<PrivateDirectory>>,
}

impl RecordingDirectory {
    /// Makes the directory, which must not exist, and those above it.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let parent = path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(parent).map_err(|error| match error.kind() {
            // Said of what should have been a directory; kept apart from a recording that exists.
            io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
            _ => error,
        })?;
        Self::create_in(&HeldDirectory::open(parent)?, path)
    }

    /// The same where the directory above it is open already.
    pub(crate) fn create_in(parent: &HeldDirectory, path: &Path) -> io::Result<Self> {
        // One without a name is there, such as `..`.
        let name = path.file_name().ok_or(io::ErrorKind::AlreadyExists)?;
        let held = parent.create_directory(name, 0o777)?;
        if let Err(error) = held.create_directory(JOURNAL, 0o777) {
            let _ = parent.remove_directory(name);
            return Err(error);
        }
        Ok(Self { path: path.to_owned(), held: Arc::new(held), _private: None })
    }

    /// Opens one that there is.
    pub(crate) fn existing(path: &Path) -> io::Result<Self> {
        let held = Arc::new(HeldDirectory::open(path)?);
        Ok(Self { path: path.to_owned(), held, _private: None })
    }

    /// Makes an empty directory for a copy, which is removed when nobody uses it any more.
    pub(crate) fn create_private() -> io::Result<Self> {
        let private = PrivateDirectory::create("memsample-recording")?;
        let _private = Some(Arc::new(private));
        let path = _private.as_ref().map(|private| private.path().to_owned()).unwrap_or_default();
        let held = Arc::new(HeldDirectory::open(&path)?);
        Ok(Self { path, held, _private })
    }

    /// Returns where a person knows it; it may lead elsewhere by now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where it is, if its path does not lead to it any more.
    pub(crate) fn moved_to(&self) -> Option<PathBuf> {
        if self.held.is_at(&self.path) { None } else { self.held.present_path().ok() }
    }

    /// Returns the directory itself.
    pub(crate) fn held(&self) -> &Arc<HeldDirectory> {
        &self.held
    }

    /// Reads `recording.json`.
    ///
    /// # Errors
    ///
    /// Those of [`Manifest::read`].
    pub(crate) fn manifest(&self) -> io::Result<Manifest> {
        Manifest::read(&self.held, MANIFEST, &self.path)
    }

    /// Writes `recording.json`, whole or not at all.
    pub(crate) fn write_manifest(&self, manifest: &Manifest) -> io::Result<()> {
        manifest.write(&self.held, MANIFEST)
    }

    fn journal(&self) -> io::Result<HeldDirectory> {
        self.held.directory(JOURNAL)
    }

    /// Returns whether there is what is there only while recording.
    pub(crate) fn has_journal(&self) -> bool {
        self.held.contains(JOURNAL)
    }

    /// Makes the place of the journals.
    pub(crate) fn create_journal(&self) -> io::Result<()> {
        self.held.create_directory(JOURNAL, 0o777).map(drop)
    }

    /// Makes the journal that follows a checkpoint, which must not exist.
    pub(crate) fn create_journal_file(&self, checkpoint: u64) -> io::Result<File> {
        self.journal()?.create_file(journal_name(checkpoint), 0o666)
    }

    /// Opens the journal that follows a checkpoint, to read it.
    pub(crate) fn journal_file(&self, checkpoint: u64) -> io::Result<File> {
        self.journal()?.file(journal_name(checkpoint))
    }

    /// Removes the journal that follows a checkpoint.
    pub(crate) fn remove_journal_file(&self, checkpoint: u64) -> io::Result<()> {
        self.journal()?.remove_file(journal_name(checkpoint))
    }

    /// Returns the checkpoints of the journals that there are, ascending.
    pub(crate) fn journals(&self) -> io::Result<Vec<u64>> {
        let mut checkpoints = Vec::new();
        for entry in self.journal()?.entries()? {
            let name = entry?.name;
            let number = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
            checkpoints.extend(number.filter(|&number| name == *journal_name(number)));
        }
        checkpoints.sort_unstable();
        Ok(checkpoints)
    }

    /// Takes the lock that every writer of the recording holds; `None` if another program has it.
    ///
    /// The kernel gives it back when the program ends, however it ends.
    pub(crate) fn lock(&self) -> io::Result<Option<Lock>> {
        let file = self.journal()?.lock_file(LOCK)?;
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
        let file = self.journal()?.create_file(RESERVE, 0o666)?;
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
        match self.journal()?.remove_file(RESERVE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Returns the user who owns it, if that is somebody else. What is in it may change in any way meanwhile.
    pub(crate) fn other_owner(&self) -> io::Result<Option<u32>> {
        let owner = self.held.owner()?;
        Ok((owner != rustix::process::geteuid().as_raw()).then_some(owner))
    }

    /// Returns whether another program is known to write it, without writing anything.
    pub(crate) fn is_written(&self) -> bool {
        let lock = self.journal().and_then(|journal| journal.file(LOCK));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Copies what recovery needs into an empty directory: only regular files, of `bytes_max` bytes at most in all.
    pub(crate) fn copy_to(&self, to: &Self, bytes_max: u64) -> io::Result<()> {
        let (from, to) = (&self.held, &to.held);
        let mut left = bytes_max;
        copy_files(from, to, &mut left, |name| {
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
        // What a recorder that was killed was about to rename.
        for entry in self.held.entries()? {
            let name = entry?.name;
            if is_temporary(&name) {
                let _ = self.held.remove_file(name);
            }
        }
        remove_tree(&self.held, JOURNAL)?;
        self.sync()
    }

    /// Makes renames and removals in the directory survive the end of the machine.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.held.sync()
    }

    /// Returns the size of all files, in bytes.
    pub(crate) fn size_bytes(&self) -> io::Result<u64> {
        self.held.files_bytes()
    }

    /// Removes all that is in it, and itself if its path leads to it.
    ///
    /// # Errors
    ///
    /// Something stayed.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let names = self.held.entries()?.map(|entry| entry.map(|entry| entry.name));
        for name in names.collect::<io::Result<Vec<_>>>()? {
            remove_tree(&self.held, name)?;
        }
        // What has been put in its place is removed only if it is an empty directory.
        let (parent, name) = HeldDirectory::of_file(&self.path)?;
        parent.remove_directory(name)
    }
}

/// Says to other programs that the recording is being written. Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

fn journal_name(checkpoint: u64) -> String {
    format!("{checkpoint:06}.log")
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
