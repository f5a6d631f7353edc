//! Regular files that are only read: nothing else is opened, and nothing is waited for.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::path::Arg;

use crate::opening::openat;

/// Opens a file whose path a person gave, to read it. Links are followed: it is theirs to say where it is.
///
/// # Errors
///
/// It cannot be opened; or, of kind `InvalidInput`, it is a directory, a pipe, a device or a socket.
pub fn open_regular(path: &Path) -> io::Result<File> {
    open(CWD, path, OFlags::empty())
}

/// Reads the whole of such a file.
///
/// # Errors
///
/// Those of [`open_regular`]; of kind `FileTooLarge`, if it has more than `bytes_max` bytes, also where it has grown
/// meanwhile.
pub fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_bounded(&open_regular(path)?, bytes_max)
}

/// Opens a regular file without waiting for the other end of a pipe or for a device.
pub(crate) fn open(directory: impl AsFd, path: impl Arg + Copy, flags: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | flags;
    let file =
        File::from(openat(directory, path, flags, Mode::empty()).map_err(|errno| match errno {
            // That of a socket, and of a device without a driver.
            rustix::io::Errno::NXIO | rustix::io::Errno::NODEV => not_regular(),
            errno => errno.into(),
        })?);
    check_regular(&file)?;
    Ok(file)
}

/// Refuses what is no regular file. What was opened is looked at, not its name.
pub(crate) fn check_regular(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() { Ok(()) } else { Err(not_regular()) }
}

pub(crate) fn read_bounded(file: &File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let message = format!("it has more than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}
