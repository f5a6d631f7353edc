//! The socket, and the address of TCP.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, lchown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use rustix::fs::{FileType, Mode, OFlags};

use super::lock::Lock;
use super::options::Options;

/// A path that is longer does not fit into the address of a socket.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// A socket that clients connect to.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    /// Where it is to be removed at the end, and the lock that says whose it is; `None` of one that
    /// systemd has made.
    own: Option<(PathBuf, Lock)>,
}

impl Socket {
    /// Takes the socket that systemd passed, or makes one.
    pub(super) fn open(options: &Options) -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        if passed.len() > 0 {
            let listener = passed.take_unix_listener(0)?.ok_or_else(|| {
                io::Error::new(ErrorKind::InvalidInput, "the first socket that was passed is gone")
            })?;
            return Ok(Self { listener, own: None });
        }
        let path = &options.socket;
        if path.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "the path has more than {MAX_SOCKET_PATH_BYTES} bytes: choose a shorter one"
                ),
            ));
        }
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let busy = || io::Error::new(ErrorKind::AddrInUse, "another daemon listens there");
        let lock = Lock::take(Path::new(&lock_path))?.ok_or_else(busy)?;
        remove_stale(path)?;
        let listener = bind(path, options)?;
        Ok(Self { listener, own: Some((path.clone(), lock)) })
    }

    /// Returns where it is, if it was made by the daemon.
    pub(super) fn own_path(&self) -> Option<PathBuf> {
        self.own.as_ref().map(|(path, _)| path.clone())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.own {
            // It may be gone already.
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes a socket on which no program listens.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "there is a file that is no socket: remove it, or choose another path",
            ));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another program listens there")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn bind(path: &Path, options: &Options) -> io::Result<UnixListener> {
    // No other user may connect, from the first moment on.
    let before = rustix::process::umask(Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    give(path, options)?;
    Ok(listener)
}

/// Makes the socket again where it is gone, such as by a clean-up of temporary files; `None` where something is there.
///
/// Other threads make files meanwhile, so that the umask stays as it is.
pub(super) fn remake(path: &Path, options: &Options) -> io::Result<Option<UnixListener>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(_) => return Ok(None),
    }
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let listener = UnixListener::bind(path)?;
    give(path, options)?;
    // What was bound and no link that has taken its place.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) == FileType::Socket {
        let by_descriptor = format!("/proc/self/fd/{}", socket.as_raw_fd());
        rustix::fs::chmod(by_descriptor, Mode::from_raw_mode(0o660))?;
    }
    Ok(Some(listener))
}

/// Gives the socket to the user and the group of the configuration: who may connect is decided by the
/// kernel first, and only root can make it somebody's who is neither.
pub(super) fn give(path: &Path, options: &Options) -> io::Result<()> {
    let is_root = rustix::process::geteuid().is_root();
    let user = options.user.or(is_root.then_some(0)).filter(|_| is_root);
    let group = options.group.or(is_root.then_some(0));
    // `lchown` does not follow a link that a user has put in its place.
    lchown(path, user, group).map_err(|error| {
        let name = |id: Option<u32>| id.map_or("no other".to_owned(), |id| id.to_string());
        io::Error::new(
            error.kind(),
            format!(
                "cannot give `{}` to user {} and group {}: {error}",
                path.display(),
                name(user),
                name(group)
            ),
        )
    })
}

/// Listens on TCP, where the options say so.
pub(super) fn open_tcp(options: &Options) -> io::Result<Option<TcpListener>> {
    options.http.map(TcpListener::bind).transpose()
}
