//! Where the daemon listens.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The private place for the socket cannot be used.
#[derive(Debug)]
pub struct NoSocket {
    directory: PathBuf,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    /// It cannot be made or looked at.
    Io(io::Error),
    /// Another user could reach the socket, or put one in its place.
    NotPrivate,
}

impl fmt::Display for NoSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display();
        write!(f, "XDG_RUNTIME_DIR is not set, and `{directory}` cannot hold the socket: ")?;
        match &self.reason {
            Reason::Io(error) => write!(f, "{error}")?,
            Reason::NotPrivate => f.write_str(
                "it must be a directory that belongs to you and is closed to others (mode 0700)",
            )?,
        }
        f.write_str("; give another place with --socket")
    }
}

impl std::error::Error for NoSocket {
    // The message of the inner error is already in ours.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Io(error) => error.source(),
            Reason::NotPrivate => None,
        }
    }
}

/// Returns where the daemon listens by default: `/run/memsampled/memsampled.sock` as root, else
/// `$XDG_RUNTIME_DIR/memsampled.sock`. If that is not set, it is `memsampled.sock` in `/run/user/UID`, where that
/// exists, or in `/tmp/memsampled-UID`, which is made.
///
/// # Errors
///
/// `XDG_RUNTIME_DIR` is not set, and the directory in `/tmp` cannot be made, belongs to another user, or is open to
/// others.
pub fn default_socket() -> Result<PathBuf, NoSocket> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/run/memsampled/memsampled.sock"));
    }
    let directory = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if !directory.is_empty() => PathBuf::from(directory),
        _ => {
            let uid = rustix::process::geteuid().as_raw();
            let usual = PathBuf::from(format!("/run/user/{uid}"));
            match is_private(&usual, uid) {
                Ok(true) => usual,
                _ => private_directory(Path::new("/tmp"))?,
            }
        }
    };
    Ok(directory.join("memsampled.sock"))
}

/// Returns the directory of this user below a directory in which everybody may create files.
fn private_directory(shared: &Path) -> Result<PathBuf, NoSocket> {
    let uid = rustix::process::geteuid().as_raw();
    let directory = shared.join(format!("memsampled-{uid}"));
    let failed = |reason| NoSocket { directory: directory.clone(), reason };
    match DirBuilder::new().mode(0o700).create(&directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(Reason::Io(error))),
    }
    match is_private(&directory, uid) {
        Ok(true) => Ok(directory),
        Ok(false) => Err(failed(Reason::NotPrivate)),
        Err(error) => Err(failed(Reason::Io(error))),
    }
}

/// Returns whether a path is a directory of this user that nobody else may enter.
fn is_private(directory: &Path, uid: u32) -> io::Result<bool> {
    // Not that to which a link leads: whoever made the link could change it.
    let metadata = fs::symlink_metadata(directory)?;
    Ok(metadata.is_dir() && metadata.uid() == uid && metadata.mode() & 0o077 == 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_private_directory_is_made_and_found_again() {
        let shared = tempfile::tempdir().unwrap();
        let made = private_directory(shared.path()).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        assert_eq!(private_directory(shared.path()).unwrap(), made);
    }

    #[test]
    fn a_directory_that_others_can_reach_is_refused() {
        let shared = tempfile::tempdir().unwrap();
        let made = private_directory(shared.path()).unwrap();
        fs::set_permissions(&made, fs::Permissions::from_mode(0o755)).unwrap();
        let refused = private_directory(shared.path()).unwrap_err().to_string();
        assert!(refused.contains("closed to others (mode 0700)"), "{refused}");
        // A link to a directory that would do.
        fs::set_permissions(&made, fs::Permissions::from_mode(0o700)).unwrap();
        let elsewhere = shared.path().join("elsewhere");
        fs::rename(&made, &elsewhere).unwrap();
        symlink(&elsewhere, &made).unwrap();
        assert!(private_directory(shared.path()).is_err());
        fs::remove_file(&made).unwrap();
        fs::write(&made, "").unwrap();
        assert!(private_directory(shared.path()).is_err());
    }
}
