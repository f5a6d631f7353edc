//! Removes a directory with all that is in it, however deep that is.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use rustix::fs::{AtFlags, Mode, chmod, chownat, fstat, renameat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::directory::HeldDirectory;
use crate::temporary::temporary_name;

/// Directories that are removed for one call, at most: a process that is in the tree could make more for ever.
const MAX_DIRECTORIES: u64 = 10_000_000;

/// Removes a directory in `parent` with all that is in it, and whatever else has that name.
///
/// It takes neither descriptors nor stack for each level: a directory that is not empty is moved up to the one that is
/// removed. No link is followed and no other mount is entered. Each directory is taken from its owner first, where that
/// is permitted: root without `CAP_DAC_OVERRIDE` removes nothing from a directory of somebody else, and its owner adds
/// nothing to it from then on.
///
/// # Errors
///
/// The first reason why something stayed. All else is removed.
pub fn remove_tree(parent: &HeldDirectory, name: impl AsRef<OsStr>) -> io::Result<()> {
    let name = name.as_ref();
    match parent.remove_file(name) {
        Err(error) if may_be_directory(&error) => {}
        outcome => return outcome,
    }
    let top = parent.directory_of_same_mount(name)?;
    take(&top);
    let (mut failure, mut directories) = (None, 0);
    loop {
        // What is moved up meanwhile is found in the next round.
        let entries = top.entries()?.map(|entry| entry.map(|entry| entry.name));
        let entries = entries.collect::<io::Result<Vec<OsString>>>()?;
        let mut progress = false;
        for entry in &entries {
            match remove_entry(&top, entry) {
                Ok(()) => progress = true,
                Err(error) => drop(failure.get_or_insert(error)),
            }
            directories += 1;
        }
        if !progress || directories > MAX_DIRECTORIES {
            break;
        }
    }
    parent.remove_directory(name).map_err(|error| failure.unwrap_or(error))
}

/// Removes one entry of the top, or at least something in it. The directories in it become entries of the top.
fn remove_entry(top: &HeldDirectory, name: &OsStr) -> io::Result<()> {
    match top.remove_file(name) {
        Err(error) if may_be_directory(&error) => {}
        outcome => return outcome,
    }
    if top.remove_directory(name).is_ok() {
        return Ok(());
    }
    let directory = top.directory_of_same_mount(name)?;
    take(&directory);
    let (mut failure, mut progress) = (None, false);
    for entry in directory.entries()? {
        let entry = entry?.name;
        let removed = match directory.remove_file(&entry) {
            Err(error) if may_be_directory(&error) => match directory.remove_directory(&entry) {
                Ok(()) => Ok(()),
                Err(_) => move_up(&directory, &entry, top),
            },
            outcome => outcome,
        };
        match removed {
            Ok(()) => progress = true,
            Err(error) => drop(failure.get_or_insert(error)),
        }
    }
    match top.remove_directory(name) {
        // The next round removes what the file system has not listed while entries were removed.
        Err(_) if progress && failure.is_none() => Ok(()),
        outcome => outcome.map_err(|error| failure.unwrap_or(error)),
    }
}

/// Moves a directory to the top. It is taken first: whoever moves a directory to another writes its `..`.
fn move_up(from: &HeldDirectory, name: &OsStr, top: &HeldDirectory) -> io::Result<()> {
    take(&from.directory_of_same_mount(name)?);
    Ok(renameat(from, name, top, temporary_name(OsStr::new("removed")))?)
}

/// Takes a directory from its owner, so that it can be read and written here and nowhere else. Where that is not
/// permitted, the rights that there are may do.
fn take(directory: &HeldDirectory) {
    let own = geteuid();
    if fstat(directory).is_ok_and(|stat| stat.st_uid != own.as_raw()) {
        let _ = chownat(directory, "", Some(own), Some(getegid()), AtFlags::EMPTY_PATH);
    }
    // It is not open to be read, which it may refuse until its mode is changed; what this name stands for is fixed.
    let _ = chmod(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()), Mode::RWXU);
}

/// Returns whether `unlink` may have failed because of a directory: POSIX has EPERM, Linux EISDIR.
fn may_be_directory(error: &io::Error) -> bool {
    [Errno::ISDIR, Errno::PERM].iter().any(|it| error.raw_os_error() == Some(it.raw_os_error()))
}
