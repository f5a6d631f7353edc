//! A directory that is held open, and what is in it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, fstat, mkdirat,
    readlinkat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use crate::opening::{openat, openat2};
use crate::regular::{check_regular, open, read_bounded};
use crate::temporary::temporary_name;

/// Names that are tried for a temporary file, of which each would have to be there already.
const MAX_TRIES: u32 = 16;

/// Times that a path is resolved, each time because something was renamed meanwhile.
const MAX_RESOLUTIONS: u32 = 1000;

/// A directory that is held open, whatever becomes of its path.
///
/// Its functions take the name of an entry, never a path, and follow no link: one name at a time cannot lead out of
/// it. This is what `openat2` calls `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, also before Linux 5.6 and in containers
/// whose filter refuses that call.
#[derive(Debug)]
pub struct HeldDirectory {
    descriptor: OwnedFd,
}

/// The name of a file in a directory, and what it was when the directory was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it was; unknown on file systems that do not say.
    pub kind: FileType,
}

impl HeldDirectory {
    /// Opens a directory whose path a person or this program chose. Links in the path are followed.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { descriptor: openat(CWD, path, flags, Mode::empty())? })
    }

    /// Opens the directory of a file, and returns the name of the file in it.
    ///
    /// # Errors
    ///
    /// There is no such directory; or, of kind `InvalidInput`, the path does not end with a name.
    pub fn of_file(path: &Path) -> io::Result<(Self, &OsStr)> {
        let name = path.file_name().ok_or_else(|| invalid_name(path.as_os_str()))?;
        Ok((Self::open(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// Opens a directory in it.
    ///
    /// # Errors
    ///
    /// There is none of that name, or it is a link.
    pub fn directory(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = checked(name.as_ref())?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { descriptor: openat(&self.descriptor, name, flags, Mode::empty())? })
    }

    /// Opens a directory below it by a relative path, one name at a time.
    ///
    /// # Errors
    ///
    /// Those of [`Self::directory`], and where the path is more than names, such as `..`.
    pub fn directory_below(&self, path: &Path) -> io::Result<Self> {
        let mut directory = self.try_clone()?;
        for name in path {
            directory = directory.directory(name)?;
        }
        Ok(directory)
    }

    /// Holds a directory that is open already.
    ///
    /// # Errors
    ///
    /// There are too many open files.
    pub fn hold(descriptor: &OwnedFd) -> io::Result<Self> {
        Ok(Self { descriptor: descriptor.try_clone()? })
    }

    /// Returns a second holder of the same directory.
    ///
    /// # Errors
    ///
    /// There are too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { descriptor: self.descriptor.try_clone()? })
    }

    /// The same as [`Self::directory`], if nothing is mounted there.
    ///
    /// # Errors
    ///
    /// Those of [`Self::directory`]; of kind `CrossesDevices`, if something is mounted there.
    pub fn directory_of_same_mount(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let name = checked(name.as_ref())?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        match openat2(&self.descriptor, name, flags, Mode::empty(), resolve) {
            // Without it, a bind mount of the same file system is not seen.
            Err(Errno::NOSYS | Errno::PERM) => {
                let opened = self.directory(name)?;
                match fstat(&opened.descriptor)?.st_dev == fstat(&self.descriptor)?.st_dev {
                    true => Ok(opened),
                    false => Err(Errno::XDEV.into()),
                }
            }
            opened => Ok(Self { descriptor: opened? }),
        }
    }

    /// Opens a directory at a path that may have links, none of which leads out of this one: it is what `/` is to them.
    ///
    /// Where the kernel has no `openat2`, links are refused instead.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be opened.
    pub fn directory_in_root(&self, path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..MAX_RESOLUTIONS {
            match openat2(&self.descriptor, path, flags, Mode::empty(), resolve) {
                // Something on the machine was renamed meanwhile, so that the kernel cannot rule out that a `..`
                // has led out.
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS | Errno::PERM) => return self.directory_without_links(path),
                opened => return Ok(Self { descriptor: opened? }),
            }
        }
        Err(Errno::AGAIN.into())
    }

    fn directory_without_links(&self, path: &Path) -> io::Result<Self> {
        let mut directory = self.try_clone()?;
        for part in path.components() {
            match part {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => directory = directory.directory(name)?,
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(invalid_name(part.as_os_str()));
                }
            }
        }
        Ok(directory)
    }

    /// Makes a directory in it, which must not exist, and opens it.
    ///
    /// # Errors
    ///
    /// There is something of that name, or it cannot be made.
    pub fn create_directory(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<Self> {
        let name = name.as_ref();
        mkdirat(&self.descriptor, checked(name)?, Mode::from_raw_mode(mode))?;
        let opened = self.directory(name);
        if opened.is_err() {
            // Whoever is told that it could not be made makes it again.
            let _ = self.remove_directory(name);
        }
        opened
    }

    /// Opens a regular file in it, to read it.
    ///
    /// # Errors
    ///
    /// There is none of that name, or it is something else, which is not waited for.
    pub fn file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        open(&self.descriptor, checked(name.as_ref())?, OFlags::NOFOLLOW)
    }

    /// Reads the whole of a regular file in it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::file`]; of kind `FileTooLarge`, if it has more than `bytes_max` bytes.
    pub fn read(&self, name: impl AsRef<OsStr>, bytes_max: u64) -> io::Result<Vec<u8>> {
        read_bounded(&self.file(name)?, bytes_max)
    }

    /// Makes a file in it, which must not exist, and opens it to write to it and to read it.
    ///
    /// # Errors
    ///
    /// There is something of that name, also a link that leads nowhere, or it cannot be made.
    pub fn create_file(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = checked(name.as_ref())?;
        Ok(File::from(openat(&self.descriptor, name, flags, Mode::from_raw_mode(mode))?))
    }

    /// Opens a regular file in it to write to it, as it is, and makes it if it is missing: a file whose lock counts.
    ///
    /// # Errors
    ///
    /// It is something else, or it can be neither opened nor made.
    pub fn lock_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let name = checked(name.as_ref())?;
        let file = openat(&self.descriptor, name, flags, Mode::from_raw_mode(0o666));
        let file = File::from(file.map_err(|errno| match errno {
            Errno::LOOP | Errno::ISDIR | Errno::NXIO => {
                io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
            }
            errno => errno.into(),
        })?);
        check_regular(&file)?;
        Ok(file)
    }

    /// Replaces a file in it by `write`'s output, whole or not at all, and returns what `write` returned.
    ///
    /// The new contents are on disk before the old ones are gone. They are written under a hidden name that nobody can
    /// know; what there is under `name`, such as a link, is replaced and not followed.
    ///
    /// # Errors
    ///
    /// The file could not be written. What was there before is as it was.
    pub fn replace<T>(
        &self,
        name: impl AsRef<OsStr>,
        write: impl FnOnce(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        let name = name.as_ref();
        let (temporary, file) = self.create_temporary(checked(name)?)?;
        let outcome = write(&file).and_then(|value| {
            file.sync_data()?;
            self.rename(&temporary, name)?;
            Ok(value)
        });
        if outcome.is_err() {
            let _ = self.remove_file(&temporary);
        }
        outcome
    }

    fn create_temporary(&self, name: &OsStr) -> io::Result<(OsString, File)> {
        let mut tries = 0;
        loop {
            let temporary = temporary_name(name);
            match self.create_file(&temporary, 0o666) {
                Ok(file) => return Ok((temporary, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < MAX_TRIES => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives an entry another name, in place of what has that name.
    ///
    /// # Errors
    ///
    /// There is no such entry, or the directory cannot be written to.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        let (from, to) = (checked(from.as_ref())?, checked(to.as_ref())?);
        Ok(renameat(&self.descriptor, from, &self.descriptor, to)?)
    }

    /// Gives an entry another name, which nothing may have.
    ///
    /// # Errors
    ///
    /// Of kind `AlreadyExists`, if something has that name; else those of [`Self::rename`].
    pub fn rename_new(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        let (from, to) = (checked(from.as_ref())?, checked(to.as_ref())?);
        let flags = RenameFlags::NOREPLACE;
        match renameat_with(&self.descriptor, from, &self.descriptor, to, flags) {
            // A file system without that flag: the moment between the two cannot be excluded.
            Err(Errno::INVAL | Errno::NOSYS) if self.contains(to) => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            Err(Errno::INVAL | Errno::NOSYS) => self.rename(from, to),
            outcome => Ok(outcome?),
        }
    }

    /// Removes an entry that is no directory.
    ///
    /// # Errors
    ///
    /// There is none, it is a directory, or this directory cannot be written to.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&self.descriptor, checked(name.as_ref())?, AtFlags::empty())?)
    }

    /// Removes a directory that is empty.
    ///
    /// # Errors
    ///
    /// There is none, it is not empty, or this directory cannot be written to.
    pub fn remove_directory(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unlinkat(&self.descriptor, checked(name.as_ref())?, AtFlags::REMOVEDIR)?)
    }

    /// Reads the names in it, but for `.` and `..`, in the order of the file system.
    ///
    /// # Errors
    ///
    /// It cannot be read. Each entry is one where reading it failed.
    pub fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<Entry>>> {
        let entries = Dir::new(self.readable()?)?.filter_map(|entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => return Some(Err(errno.into())),
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            let kind = entry.file_type();
            (name != "." && name != "..").then_some(Ok(Entry { name, kind }))
        });
        Ok(entries)
    }

    /// Makes what was made, renamed and removed in it survive the end of the machine.
    ///
    /// # Errors
    ///
    /// The disk did not take it.
    pub fn sync(&self) -> io::Result<()> {
        File::from(self.readable()?).sync_all()
    }

    /// Returns whether there is something of that name in it, be it a link that leads nowhere.
    pub fn contains(&self, name: impl AsRef<OsStr>) -> bool {
        self.try_contains(name).unwrap_or(false)
    }

    /// The same, where what cannot be looked at must not be taken for what is not there.
    ///
    /// # Errors
    ///
    /// The kernel does not say; or it is more than a name.
    pub fn try_contains(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        let name = checked(name.as_ref())?;
        match statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Returns what the regular files in it come to, in bytes.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn files_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in self.entries()? {
            match statat(&self.descriptor, &entry?.name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    bytes += u64::try_from(stat.st_size).unwrap_or(0);
                }
                // What is renamed or removed meanwhile has no size.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(bytes)
    }

    /// Returns whether a path leads to it now.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        let identity = |held: &Self| fstat(&held.descriptor).map(|stat| (stat.st_dev, stat.st_ino));
        let there = Self::open(path).ok().and_then(|there| identity(&there).ok());
        there.is_some() && there == identity(self).ok()
    }

    /// Returns its path as the kernel knows it now, whatever it was when it was opened.
    ///
    /// # Errors
    ///
    /// There is no `/proc`.
    pub fn present_path(&self) -> io::Result<PathBuf> {
        let link = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        let path = readlinkat(CWD, link, Vec::new())?;
        Ok(OsString::from_vec(path.into_bytes()).into())
    }

    /// Returns the user who owns it.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(fstat(&self.descriptor)?.st_uid)
    }

    /// Opens it to be read, rather than only to be passed through.
    pub(crate) fn readable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&self.descriptor, ".", flags, Mode::empty())?)
    }
}

impl AsFd for HeldDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Refuses what is more than the name of an entry.
fn checked(name: &OsStr) -> io::Result<&OsStr> {
    match name.as_bytes() {
        b"" | b"." | b".." => Err(invalid_name(name)),
        bytes if bytes.contains(&b'/') => Err(invalid_name(name)),
        _ => Ok(name),
    }
}

fn invalid_name(name: &OsStr) -> io::Error {
    let message = format!("`{}` is not the name of a file", name.display());
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
