//! The sessions there are: they are started within limits, found, stopped and closed.

use std::collections::BTreeMap;
use std::io::ErrorKind::{NotFound, PermissionDenied, QuotaExceeded, StorageFull};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use memsample::{RecordError, SamplerOptions, SharedSampler};
use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::Notify;

use super::failure::Failure;
use super::names::{base_name, check_name, check_own_labels};
use super::options::Options;
use super::peer::Peer;
use super::recordings::RecordingsDirectory;
use super::session::ActiveSession;
use super::target;
use memsample_client::wire::{ErrorCode, SessionLimits, StartRequest, Stopped};
use memsample_config::Config;
use memsample_config::Limits;

/// Sessions that ended without a stop, at most; beyond that the daemon forgets the oldest.
const MAX_ENDED: usize = 256;
/// How long the end of the daemon waits for a session that is being started, which takes milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How many names are tried for one session: another may have begun in the same second.
const MAX_NAMES: u32 = 1000;

/// The sessions there are.
pub(super) struct Sessions {
    recordings: Arc<RecordingsDirectory>,
    /// Makes one sweep for all of them. Another one after the rules by which processes are described
    /// have changed; running sessions keep theirs.
    sampler: Mutex<Arc<SharedSampler>>,
    table: Mutex<Table>,
    /// Notified when no session is being started any more.
    settled: Condvar,
    /// Notified when a session begins.
    pub(super) begun: Notify,
}

#[derive(Default)]
struct Table {
    sessions: BTreeMap<String, Arc<ActiveSession>>,
    /// Users whose session is being started, and counts already.
    starting: Vec<u32>,
    /// Those that were asked to stop, until they are closed.
    closing: Vec<Arc<ActiveSession>>,
    /// Whether the daemon ends: then no session begins.
    is_ending: bool,
}

impl Sessions {
    pub(super) fn new(recordings: Arc<RecordingsDirectory>, config: &Config) -> Self {
        Self {
            recordings,
            sampler: Mutex::new(Arc::new(sampler(config))),
            table: Mutex::new(Table::default()),
            settled: Condvar::new(),
            begun: Notify::new(),
        }
    }

    /// Describes processes by the rules of another configuration, in sessions that begin from now on.
    pub(super) fn describe_by(&self, config: &Config) {
        *self.sampler.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(sampler(config));
    }

    /// Returns what samples for sessions that begin now.
    pub(super) fn sampler(&self) -> Arc<SharedSampler> {
        Arc::clone(&self.sampler.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a session. Takes some milliseconds.
    pub(super) fn start(
        &self,
        peer: Peer,
        request: &StartRequest,
        options: &Options,
    ) -> Result<Arc<ActiveSession>, Failure> {
        let limits = &options.limits;
        check_limits(&request.limits, limits)?;
        check_own_labels(&request.labels)?;
        self.reserve(peer, limits)?;
        // Given back also if this panics.
        let reservation = Reservation { sessions: self, uid: peer.uid };
        let session = Arc::new(self.begin(peer, request, options)?);
        let mut table = self.table();
        if table.is_ending {
            // Who closes all waits for this reservation.
            drop(table);
            close_unasked(&session);
            return Err(Failure::ending());
        }
        table.sessions.insert(session.id().to_owned(), Arc::clone(&session));
        // At once, so that it never counts twice.
        reservation.give_back(&mut table);
        drop(table);
        self.begun.notify_one();
        Ok(session)
    }

    /// Reserves a slot among the sessions, before the work of starting one.
    fn reserve(&self, peer: Peer, limits: &Limits) -> Result<(), Failure> {
        let mut table = self.table();
        if table.is_ending {
            return Err(Failure::ending());
        }
        let recording: Vec<u32> = (table.sessions.values())
            .filter(|session| session.is_recording())
            .map(|session| session.owner().uid)
            .chain(table.starting.iter().copied())
            .collect();
        let refuse = |limit: usize, key: &str, whose: &str| {
            Err(Failure::new(
                ErrorCode::LimitReached,
                format!(
                    "{limit} sessions{whose} are being recorded: stop one, or raise `daemon.limits.{key}`"
                ),
            ))
        };
        if recording.len() >= limits.sessions {
            return refuse(limits.sessions, "sessions", "");
        }
        let own = recording.iter().filter(|&&uid| uid == peer.uid).count();
        if !peer.is_root() && own >= limits.sessions_per_user {
            return refuse(limits.sessions_per_user, "sessions_per_user", " of this user");
        }
        table.starting.push(peer.uid);
        Ok(())
    }

    fn begin(
        &self,
        peer: Peer,
        request: &StartRequest,
        options: &Options,
    ) -> Result<ActiveSession, Failure> {
        // The recordings directory is made once, at the start: if it is gone, its disk may be too.
        let recordings = self.recordings.path();
        self.recordings.check().map_err(|error| unusable(recordings, &error))?;
        let target = target::scope(&request.target)?;
        let sampler = self.sampler();
        let name = base_name(request.name.as_deref(), Timestamp::now());
        for number in 1..=MAX_NAMES {
            let id = if number == 1 { name.clone() } else { format!("{name}-{number}") };
            let started = ActiveSession::start(
                &sampler,
                &self.recordings,
                &id,
                peer,
                request,
                target.clone(),
                &options.limits,
            );
            match started {
                Ok(session) => return Ok(session),
                Err(RecordError::Exists(_)) => {}
                Err(RecordError::Options(error)) => {
                    return Err(Failure::new(ErrorCode::InvalidRequest, error.to_string()));
                }
                Err(RecordError::Target(error)) => return Err(target::refusal(&error)),
                Err(error @ RecordError::TooMany) => {
                    return Err(Failure::new(ErrorCode::LimitReached, error.to_string()));
                }
                Err(RecordError::Create(_, error)) => return Err(unusable(recordings, &error)),
                Err(error) => return Err(Failure::internal_caused("starting the session", &error)),
            }
        }
        Err(Failure::new(
            ErrorCode::LimitReached,
            "a thousand sessions of this name began in this second: try again in the next",
        ))
    }

    /// Returns a session that the peer may see; `None` where there is none, which
    /// [`absent`](Self::absent) explains.
    pub(super) fn find(&self, peer: Peer, id: &str) -> Result<Option<Arc<ActiveSession>>, Failure> {
        check_name(id)?;
        let session = self.table().sessions.get(id).cloned();
        Ok(session.filter(|session| peer.may_use(session.owner().uid)))
    }

    /// Returns why there is no such session: it was stopped, or there never was one. Reads the disk.
    pub(super) fn absent(&self, peer: Peer, id: &str) -> Failure {
        // What others may not see is reported as if it were not there.
        let is_session = self.table().sessions.contains_key(id);
        if !is_session && self.recordings.is_visible(peer, id) {
            return Failure::new(
                ErrorCode::AlreadyStopped,
                format!("session `{id}` was stopped: its recording is `/v1/recordings/{id}`"),
            );
        }
        Failure::new(
            ErrorCode::NoSuchSession,
            format!("there is no session `{id}`: `/v1/sessions` lists those that there are"),
        )
    }

    /// Returns the sessions that the peer may see, oldest first.
    pub(super) fn visible(&self, peer: Peer) -> Vec<Arc<ActiveSession>> {
        let mut sessions: Vec<_> = (self.table().sessions.values())
            .filter(|session| peer.may_use(session.owner().uid))
            .cloned()
            .collect();
        sessions.sort_by_key(|session| session.started());
        sessions
    }

    /// Closes a session, and forgets it. Takes up to a second.
    pub(super) fn stop(&self, peer: Peer, id: &str) -> Result<Stopped, Failure> {
        let session = self.find(peer, id)?.ok_or_else(|| self.absent(peer, id))?;
        let is_first = {
            let mut table = self.table();
            let removed = table.sessions.remove(id);
            table.closing.extend(removed.clone());
            removed.is_some()
        };
        if !is_first {
            return Err(self.absent(peer, id));
        }
        let outcome = session.close();
        self.table().closing.retain(|closing| !Arc::ptr_eq(closing, &session));
        outcome
    }

    /// Closes sessions that ended without a stop, by a limit for example, and keeps them until they are stopped.
    pub(super) fn close_ended(&self) {
        let sessions = self.all();
        for session in &sessions {
            if session.has_ended() {
                // How it went is kept for who stops it.
                let end = match session.close() {
                    Ok(stopped) => serde_json::to_string(&stopped.summary.end).unwrap_or_default(),
                    Err(failure) => failure.message,
                };
                tracing::info!("session `{}` ended without a stop: {end}", session.id());
            }
        }
        let mut ended: Vec<_> = sessions.iter().filter(|session| !session.is_recording()).collect();
        if ended.len() > MAX_ENDED {
            ended.sort_by_key(|session| session.started());
            let mut table = self.table();
            for session in ended.iter().take(ended.len() - MAX_ENDED) {
                table.sessions.remove(session.id());
            }
        }
    }

    /// Closes all, each in a thread of its own, and waits for them. None begins any more.
    pub(super) fn close_all(&self) {
        let open: Vec<_> = {
            let mut table = self.table();
            table.is_ending = true;
            table.sessions.values().chain(&table.closing).cloned().collect()
        };
        std::thread::scope(|scope| {
            for session in &open {
                let thread = std::thread::Builder::new().name("memsampled-close".to_owned());
                if thread.spawn_scoped(scope, || close_unasked(session)).is_err() {
                    // There can be no other thread: then one after the other.
                    close_unasked(session);
                }
            }
        });
        // Those that were being started are closed by who starts them.
        let are_starting = |table: &mut Table| !table.starting.is_empty();
        drop(self.settled.wait_timeout_while(self.table(), START_TIMEOUT, are_starting));
    }

    pub(super) fn all(&self) -> Vec<Arc<ActiveSession>> {
        self.table().sessions.values().cloned().collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reserved slot among the sessions that are being started.
struct Reservation<'a> {
    sessions: &'a Sessions,
    uid: u32,
}

impl Reservation<'_> {
    fn give_back(self, table: &mut Table) {
        self.remove_from(table);
        std::mem::forget(self);
    }

    fn remove_from(&self, table: &mut Table) {
        if let Some(index) = table.starting.iter().position(|&uid| uid == self.uid) {
            table.starting.swap_remove(index);
        }
        if table.starting.is_empty() {
            self.sessions.settled.notify_all();
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.remove_from(&mut self.sessions.table());
    }
}

/// Closes a session that no client has stopped.
fn close_unasked(session: &ActiveSession) {
    if let Err(failure) = session.close() {
        tracing::error!("session `{}`: {}", session.id(), failure.message);
    }
}

/// Refuses what the daemon would not keep to.
fn check_limits(asked: &SessionLimits, limits: &Limits) -> Result<(), Failure> {
    let refuse = |key: &str, limit: &dyn std::fmt::Display| {
        Err(Failure::new(
            ErrorCode::BeyondLimit,
            format!("`limits.{key}` is more than this daemon allows: at most {limit}"),
        ))
    };
    if asked.duration.is_some_and(|span| span.0 > limits.duration) {
        return refuse("duration", &memsample_input::Span(limits.duration));
    }
    if asked.idle.is_some_and(|span| span.0 > limits.idle) {
        return refuse("idle", &memsample_input::Span(limits.idle));
    }
    if asked.bytes.is_some_and(|bytes| bytes > limits.bytes) {
        return refuse("bytes", &limits.bytes);
    }
    Ok(())
}

fn unusable(recordings: &Path, error: &std::io::Error) -> Failure {
    let recordings = recordings.display();
    tracing::error!("cannot make a recording in `{recordings}`: {error}");
    match error.kind() {
        StorageFull | QuotaExceeded => Failure::new(
            ErrorCode::DiskFull,
            format!(
                "the disk of `{recordings}` is full: remove recordings, or set `daemon.retention`"
            ),
        ),
        NotFound => Failure::new(
            ErrorCode::Unavailable,
            format!(
                "the recordings directory `{recordings}` is gone: make it again and restart the daemon"
            ),
        ),
        PermissionDenied => Failure::new(
            ErrorCode::Unavailable,
            format!(
                "the daemon may not write into `{recordings}`: give it the directory, or another one with --recordings"
            ),
        ),
        _ => Failure::internal(&format!("making a recording in `{recordings}`"), error),
    }
}

/// Makes what samples for all sessions. It keeps half of the descriptors, the others are for clients
/// and files.
fn sampler(config: &Config) -> SharedSampler {
    // With an unknown limit none are kept, which is right with any.
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let sampler = SamplerOptions::default().max_descriptors(limit / 2);
    SharedSampler::new(config.clone().describe_recorded(sampler, None))
}
