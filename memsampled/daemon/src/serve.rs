//! The life of the daemon: it begins, serves, reads its configuration again and ends.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use rustix::fs::Mode;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};

use super::beside::beside;
use super::connections::{self, Listener};
use super::guard::Guard;
use super::listen::{Socket, open_tcp};
use super::lock::Lock;
use super::options::{Arguments, Options};
use super::recordings::RecordingsDirectory;
use super::runtime::block_on;
use super::signals::{Request, Signals};
use super::state::State;
use super::{
    automatic_dumps, dashboard, listen, protection, recovery, retention, routes, watch as watching,
};
use memsample_config::Config;
use memsample_inherited::too_few_descriptors;

/// Descriptors that must be free at the start: for sockets, locks, the files of a recording, and some for processes.
const MIN_DESCRIPTORS: usize = 96;
/// How long answers that have begun may take when the daemon ends.
const GRACE: Duration = Duration::from_millis(200);
/// The file in the recordings directory that says that a daemon uses it.
const LOCK_FILE: &str = ".memsampled.lock";

/// Why the daemon could not begin, or had to end.
#[derive(Debug)]
#[non_exhaustive]
pub enum DaemonError {
    /// The recordings directory cannot be used.
    Recordings(PathBuf, io::Error),
    /// Another daemon uses the recordings directory.
    RecordingsInUse(PathBuf),
    /// The socket cannot be made.
    Socket(PathBuf, io::Error),
    /// TCP cannot be served.
    Tcp(io::Error),
    /// Too few files may be open.
    Descriptors(String),
    /// The kernel refused to tell of events; all recordings were closed.
    Events(io::Error),
    /// Recordings cannot be pushed.
    #[cfg(feature = "push")]
    Push(String),
    /// The dashboard cannot be served.
    Dashboard(io::Error),
    /// The system refused something else.
    System(io::Error),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recordings(path, _) => {
                write!(f, "cannot use the recordings directory `{}`", path.display())
            }
            Self::RecordingsInUse(path) => write!(
                f,
                "another daemon uses the recordings directory `{}`: stop it, or give this one another with --recordings",
                path.display()
            ),
            Self::Socket(path, _) => write!(f, "cannot listen on the socket `{}`", path.display()),
            Self::Tcp(_) => f.write_str("cannot serve HTTP over TCP"),
            Self::Descriptors(reason) => write!(f, "{reason}, or with `LimitNOFILE=` in its unit"),
            Self::Events(_) => f.write_str(
                "cannot wait for requests and signals, so the daemon has closed all recordings and ended",
            ),
            #[cfg(feature = "push")]
            Self::Push(why) => write!(f, "recordings cannot be pushed: {why}"),
            Self::Dashboard(_) => f.write_str("cannot serve the dashboard"),
            Self::System(_) => f.write_str("cannot begin"),
        }
    }
}

impl std::error::Error for DaemonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Recordings(_, error)
            | Self::Socket(_, error)
            | Self::Tcp(error)
            | Self::Events(error)
            | Self::Dashboard(error)
            | Self::System(error) => Some(error),
            #[cfg(feature = "push")]
            Self::Push(_) => None,
            Self::RecordingsInUse(_) | Self::Descriptors(_) => None,
        }
    }
}

/// How often the daemon looks whether its socket is still there.
const SOCKET_PERIOD: Duration = Duration::from_secs(2);

/// Runs the daemon until SIGTERM or SIGINT, or until [its standard input](Arguments::ends_with_stdin) is closed. Changes the limits, the umask and the control group of this
/// process.
///
/// `arguments` are those that `options` were made of: they are put together with the configuration
/// again on SIGHUP.
///
/// # Errors
///
/// Why it could not begin, or had to end.
pub fn run(options: Options, arguments: &Arguments) -> Result<(), DaemonError> {
    let descriptors = protection::raise_descriptor_limit();
    if let Some(reason) = too_few_descriptors(MIN_DESCRIPTORS) {
        return Err(DaemonError::Descriptors(reason));
    }
    let failed = |error| DaemonError::Recordings(options.recordings.clone(), error);
    let recordings = RecordingsDirectory::open(&options.recordings).map_err(failed)?;
    // Recordings are for their owner.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let lock = Lock::take(&recordings.path().join(LOCK_FILE)).map_err(failed)?;
    let _lock = lock.ok_or_else(|| DaemonError::RecordingsInUse(options.recordings.clone()))?;
    let socket = Socket::open(&options)
        .map_err(|error| DaemonError::Socket(options.socket.clone(), error))?;
    let tcp = open_tcp(&options).map_err(DaemonError::Tcp)?;
    let guard = match (&tcp, &options.token_file) {
        (Some(tcp), Some(file)) => {
            let address = tcp.local_addr().map_err(DaemonError::Tcp)?;
            Some(Guard::new(address, file).map_err(DaemonError::Tcp)?)
        }
        _ => None,
    };
    let (protection, _groups) = protection::protect(options.own_cgroup);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DaemonError::System)?;
    let (ending, is_ending) = watch::channel(false);
    let state = Arc::new(State::new(Arc::new(options), protection, recordings, is_ending));
    state.flight.start(&state.sessions.sampler());
    #[cfg(feature = "push")]
    super::pusher::start(&state).map_err(DaemonError::Push)?;
    dashboard::start(&state).map_err(DaemonError::Dashboard)?;
    tracing::info!(
        "listening on `{}`{}, recordings in `{}`, {descriptors} descriptors",
        state.options().socket.display(),
        guard.as_ref().map(|guard| format!(" and http://{}", guard.address())).unwrap_or_default(),
        state.recordings.path().display(),
    );
    let serving = serve(&socket, tcp.zip(guard), &state, arguments, &ending);
    block_on(runtime, serving).map_err(|error| {
        state.flight.stop();
        state.sessions.close_all();
        DaemonError::Events(error)
    })??;
    tracing::info!("ended");
    Ok(())
}

async fn serve(
    socket: &Socket,
    tcp: Option<(std::net::TcpListener, Guard)>,
    state: &Arc<State>,
    arguments: &Arguments,
    ending: &watch::Sender<bool>,
) -> Result<(), DaemonError> {
    let failed = DaemonError::System;
    let router = routes::router(Arc::clone(state));
    let listener = socket.listener.try_clone().map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = UnixListener::from_std(listener).map_err(failed)?;
    let mut signals = Signals::new().map_err(failed)?;
    if arguments.ends_with_stdin {
        signals.end_with_stdin().map_err(failed)?;
    }
    let listener = Listener::Unix(listener);
    tokio::spawn(connections::serve(listener, router.clone(), Arc::clone(state)));
    if let Some(path) = socket.own_path() {
        tokio::spawn(remake_socket(path, router.clone(), Arc::clone(state)));
    }
    if let Some((listener, guard)) = tcp {
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let listener = Listener::guarded(listener, guard);
        tokio::spawn(connections::serve(listener, router, Arc::clone(state)));
    }
    tokio::spawn(watching::watch_sessions(Arc::clone(state)));
    tokio::spawn(watching::feed_watchdog());
    tokio::spawn(automatic_dumps::watch(Arc::clone(state)));
    tokio::spawn(tidy_up(Arc::clone(state)));
    // Fails only if systemd has gone.
    let _ = sd_notify::notify(&[NotifyState::Ready]);

    let reloads = Arc::new(Notify::new());
    tokio::spawn(reload_on_request(
        Arc::clone(state),
        arguments.clone(),
        socket.own_path(),
        Arc::clone(&reloads),
    ));
    while signals.next().await == Request::Reload {
        reloads.notify_one();
    }
    // Not waited for: systemd may be busy, and recordings are to be closed.
    let notifying = std::thread::Builder::new().name("memsampled-bye".to_owned());
    // Not of the pool, which may be unable to begin its first thread. That systemd is not told changes nothing.
    drop(notifying.spawn(|| sd_notify::notify(&[NotifyState::Stopping])));
    tracing::info!("ending: closing all recordings");
    let _ = ending.send(true);
    state.recordings.pushes.wake();
    state.work.close();
    let (closed, is_closed) = tokio::sync::oneshot::channel::<()>();
    let close = {
        let state = Arc::clone(state);
        move || {
            state.flight.stop();
            state.sessions.close_all();
        }
    };
    let close_beside = close.clone();
    // Not of the pool, whose threads may all wait for the disk.
    let closing = std::thread::Builder::new().name("memsampled-end".to_owned());
    let spawned = closing.spawn(move || {
        close_beside();
        drop(closed);
    });
    if let Err(error) = spawned {
        // The limit of threads is reached: nothing else is served any more.
        tracing::warn!("closing all recordings without a thread of its own: {error}");
        close();
    }
    tokio::select! {
        _ = is_closed => {}
        _ = signals.next_end() => tracing::warn!("received a second signal: open recordings are recovered at the next start"),
    }
    tokio::time::sleep(GRACE).await;
    Ok(())
}

/// Looks now and then whether the socket is still there, and makes it again and listens there if it is not.
async fn remake_socket(path: PathBuf, router: Router, state: Arc<State>) {
    let mut told = String::new();
    loop {
        tokio::time::sleep(SOCKET_PERIOD).await;
        let (of_task, socket) = (Arc::clone(&state), path.clone());
        let remade = beside(move || {
            let listener = listen::remake(&socket, &of_task.options())?;
            listener.map(|listener| listener.set_nonblocking(true).map(|()| listener)).transpose()
        });
        let listener = match remade.await {
            Ok(Ok(Some(listener))) => UnixListener::from_std(listener),
            Ok(Ok(None)) | Err(_) => continue,
            Ok(Err(error)) => Err(error),
        };
        match listener {
            Ok(listener) => {
                tracing::warn!("the socket `{}` was gone: it was made again", path.display());
                let listener = Listener::Unix(listener);
                tokio::spawn(connections::serve(listener, router.clone(), Arc::clone(&state)));
                told.clear();
            }
            Err(error) if error.to_string() != told => {
                told = error.to_string();
                tracing::error!(
                    "the socket `{}` is gone and cannot be made again: {told}",
                    path.display()
                );
            }
            Err(_) => {}
        }
    }
}

/// Recovers what another daemon left, and then removes what is too old, again and again.
async fn tidy_up(state: Arc<State>) {
    let of_recovery = Arc::clone(&state);
    let _ = beside(move || {
        of_recovery.recordings.finish_removals();
        let recovered =
            of_recovery.flight.salvage() + recovery::recover_all(&of_recovery.recordings);
        of_recovery.counters.recovered.fetch_add(recovered, Ordering::Relaxed);
    })
    .await;
    watching::watch_retention(state).await;
}

/// Reads the configuration each time that it is requested, beside the thread that serves: names of users
/// may be looked up over a network, and the flight recorder waits for its disk.
async fn reload_on_request(
    state: Arc<State>,
    arguments: Arguments,
    socket: Option<PathBuf>,
    requests: Arc<Notify>,
) {
    loop {
        requests.notified().await;
        let (state, arguments, socket) = (Arc::clone(&state), arguments.clone(), socket.clone());
        let reload = move || reload(&state, &arguments, socket.as_deref());
        let _ = beside(reload).await;
    }
}

/// Reads the configuration again. What it says of limits and retention holds from now on.
fn reload(state: &State, arguments: &Arguments, socket: Option<&Path>) {
    let config = match &arguments.config {
        Some(path) => Config::read_file(path),
        None => Ok(Config::default()),
    };
    let options = config.map_err(|error| error.to_string()).and_then(|config| {
        Options::new(arguments.clone(), config).map_err(|error| error.to_string())
    });
    match options {
        Ok(options) => {
            let old = state.options();
            let fixed = [
                ("socket", old.socket != options.socket),
                ("recordings", old.recordings != options.recordings),
                ("http", old.http != options.http),
                ("token_file", old.token_file != options.token_file),
                ("own_cgroup", old.own_cgroup != options.own_cgroup),
                ("flight_recorder", old.flight != options.flight),
                ("push", old.push != options.push),
                ("dashboard", old.dashboard != options.dashboard),
            ];
            for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
                tracing::warn!("`daemon.{key}` has changed: restart the daemon for it");
            }
            if !old.recording.describes_like(&options.recording) {
                state.sessions.describe_by(&options.recording);
                state.flight.restart(&state.sessions.sampler());
            }
            if (old.user, old.group) != (options.user, options.group) {
                give_socket(socket, &options);
            }
            state.set_options(options);
            let removed = retention::remove_old(&state.recordings, &state.retention());
            state.counters.removed.fetch_add(removed, Ordering::Relaxed);
            tracing::info!("the configuration was read again");
        }
        Err(error) => {
            for line in format!("the configuration stays as it was: {error}").lines() {
                tracing::error!("{line}");
            }
        }
    }
}

/// Gives the socket to the user and group that the configuration names now; peers are checked again anyway.
fn give_socket(socket: Option<&Path>, options: &Options) {
    match socket.map(|socket| listen::give(socket, options)) {
        None => tracing::warn!(
            "the socket is that of systemd: change `SocketUser` and `SocketGroup` of its unit too"
        ),
        Some(Err(error)) => tracing::error!("{error}"),
        Some(Ok(())) => {}
    }
}
