//! Where the daemon listens.

use std::fmt;
use std::path::PathBuf;

/// No place for the socket is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSocket;

impl fmt::Display for NoSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no place for the socket is known, since XDG_RUNTIME_DIR is not set: give one with --socket",
        )
    }
}

impl std::error::Error for NoSocket {}

/// Returns where the daemon listens by default: `/run/memsampled/memsampled.sock` as root, else
/// `$XDG_RUNTIME_DIR/memsampled.sock`.
///
/// # Errors
///
/// There is no such directory for this user.
pub fn default_socket() -> Result<PathBuf, NoSocket> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/run/memsampled/memsampled.sock"));
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(directory) if !directory.is_empty() => {
            Ok(PathBuf::from(directory).join("memsampled.sock"))
        }
        _ => Err(NoSocket),
    }
}
