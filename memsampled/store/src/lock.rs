//! That one at a time changes what is in a store.
//!
//! The lock is an object, which its holder writes anew every ten seconds. One that nobody has written for a minute, by
//! the clock of the store, is of nobody, and so is one of a process of this machine that has ended: whoever comes next
//! takes it over, by a write that succeeds only if the object is as it was seen.
//!
//! A holder that was stopped, or that could not reach the store, for so long that somebody else may have taken the lock
//! finds that out before its next step that cannot be taken back ([`Lock::check`]), and ends there.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use memsample_input::Span;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{ErrorKind, StoreError};
use crate::lock_holder::Holder;
use crate::seen::Version;
use crate::store::Store;

/// The directory of locks.
pub(crate) const LOCKS: &str = "locks";
/// The object that says that somebody changes what there is.
const LOCK: &str = "locks/change";
/// What it may have in bytes; a host name has 64 at most.
const MAX_BYTES: u64 = 1 << 12;
/// How often it is tried to make a lock that was there and was gone a moment later.
const TRIES: usize = 3;

/// How a lock is kept.
#[derive(Clone, Copy)]
struct Times {
    /// The pause between renewals.
    renew_every: Duration,
    /// A holder that renewed it no longer ago knows that it still has it.
    trusted: Duration,
    /// Nobody holds a lock that was not renewed for so long. A renewal was granted after it was asked for, so this is
    /// longer than `trusted` by what a step may take that was begun then.
    void_after: Duration,
}

const TIMES: Times = Times {
    renew_every: Duration::from_secs(10),
    trusted: Duration::from_secs(30),
    void_after: Duration::from_secs(60),
};

/// What the object says.
#[derive(Clone, Serialize, Deserialize)]
struct Content {
    /// When it was taken, by the clock of the holder.
    since: Timestamp,
    /// This lock and no other one.
    token: String,
    holder: Holder,
    /// How often it was written since: each time it is another object.
    renewals: u64,
}

impl Content {
    fn to_json(&self) -> Vec<u8> {
        // Text and numbers: it cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads one; what is none is of a holder that nobody knows.
    fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// That nobody else changes what there is, as long as it is held.
pub(crate) struct Lock {
    held: Arc<Held>,
    /// When it was taken, by the clock of the store: that of who takes it may be wrong.
    pub(crate) taken: Timestamp,
    /// The thread that renews it sleeps until this is gone.
    awake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    ///
    /// Of kind [`ErrorKind::Exists`] if somebody has it.
    pub(crate) fn take(store: &Store) -> Result<Self, StoreError> {
        Self::take_with(store, TIMES)
    }

    fn take_with(store: &Store, times: Times) -> Result<Self, StoreError> {
        let content = Content {
            since: Timestamp::now(),
            token: Uuid::now_v7().to_string(),
            holder: Holder::this(),
            renewals: 0,
        };
        let asked = now();
        let version = take_object(store, &content, times)?;
        let held = Arc::new(Held {
            store: store.clone(),
            times,
            state: Mutex::new(State { content, version, renewed: asked, is_lost: false }),
        });
        // It is removed if what follows fails.
        let mut lock =
            Self { held: Arc::clone(&held), taken: Timestamp::now(), awake: None, thread: None };
        lock.taken = store.written(LOCK)?;
        let (awake, is_awake) = mpsc::channel();
        let thread = std::thread::Builder::new().name("memsample-lock".to_owned());
        let thread = thread.spawn(move || {
            while is_awake.recv_timeout(times.renew_every) == Err(RecvTimeoutError::Timeout) {
                // What fails is tried again, and found out where it matters.
                if held.renew().is_err() && held.state().is_lost {
                    return;
                }
            }
        });
        let thread = thread.map_err(|error| {
            StoreError::local("cannot start the thread that renews the lock", error)
        })?;
        (lock.awake, lock.thread) = (Some(awake), Some(thread));
        Ok(lock)
    }

    /// Makes sure that it is still held: to be called before each step that cannot be taken back.
    ///
    /// # Errors
    ///
    /// Somebody else has it, or may have it since the store does not answer.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        {
            let state = self.held.state();
            let age = now().saturating_sub(state.renewed);
            if !state.is_lost && age <= self.held.times.trusted {
                return Ok(());
            }
        }
        self.held.renew()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.awake = None;
        // One that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
        // What stays is void a minute later.
        if self.check().is_ok() {
            let _ = self.held.store.remove(vec![LOCK.to_owned()]);
        }
    }
}

/// A lock, as it and the thread that renews it know it.
struct Held {
    store: Store,
    times: Times,
    state: Mutex<State>,
}

struct State {
    content: Content,
    version: Version,
    /// When the last renewal that was granted was asked for.
    renewed: Duration,
    /// Somebody else has it, or it was removed.
    is_lost: bool,
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        // What is within is whole between any two of its changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes it anew. Who checks it meanwhile waits for the answer.
    fn renew(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        let asked = now();
        match self.renew_once(&mut state) {
            Err(error) if error.kind() == ErrorKind::Exists => {}
            renewed => return renewed.map(|()| state.renewed = asked),
        }
        // It may be our own writing, whose answer was lost.
        let there = match self.store.see(LOCK, MAX_BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            seen => Some(seen?),
        };
        if let Some(there) = there
            && Content::read(&there.bytes).is_some_and(|it| it.token == state.content.token)
        {
            state.version = there.version;
            return self.renew_once(&mut state).map(|()| state.renewed = asked);
        }
        state.is_lost = true;
        Err(StoreError::new(
            ErrorKind::Exists,
            format!(
                "somebody else prunes or compacts `{}` now, since this was stopped or could not renew its lock for {}: \
                 it ends here, and what it did until then is complete",
                self.store.address(),
                Span(asked.saturating_sub(state.renewed))
            ),
        ))
    }

    fn renew_once(&self, state: &mut State) -> Result<(), StoreError> {
        let content = Content { renewals: state.content.renewals + 1, ..state.content.clone() };
        state.version = self.store.replace(LOCK, content.to_json(), &state.version)?;
        state.content = content;
        Ok(())
    }
}

/// Makes the object, or takes over one of nobody.
fn take_object(store: &Store, own: &Content, times: Times) -> Result<Version, StoreError> {
    for _ in 0..TRIES {
        match store.create(LOCK, own.to_json()) {
            Err(error) if error.kind() == ErrorKind::Exists => {}
            made => return made,
        }
        let there = match store.see(LOCK, MAX_BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            seen => seen?,
        };
        let other = Content::read(&there.bytes);
        if !other.as_ref().is_some_and(|it| it.holder.has_ended()) {
            let now = store.now(&format!("{LOCKS}/now-{}", own.token))?;
            let age = now.duration_since(there.written).unsigned_abs();
            if age < times.void_after {
                return Err(refusal(store, other.as_ref(), age, times));
            }
        }
        return store.replace(LOCK, own.to_json(), &there.version);
    }
    Err(StoreError::new(
        ErrorKind::Exists,
        format!("others prune or compact `{}` one after the other: try again", store.address()),
    ))
}

fn refusal(store: &Store, other: Option<&Content>, age: Duration, times: Times) -> StoreError {
    let who = match other {
        Some(Content { holder, since, .. }) => format!(
            "process {} of `{}` prunes or compacts `{}` since {}",
            holder.pid,
            holder.host.escape_debug(),
            store.address(),
            since.round(jiff::Unit::Second).unwrap_or(*since)
        ),
        None => format!("somebody prunes or compacts `{}`", store.address()),
    };
    let text = format!(
        "{who}, and said so {} ago: try again when it has ended; if it was killed, in {}",
        Span(Duration::from_secs(age.as_secs())),
        Span(times.void_after)
    );
    StoreError::new(ErrorKind::Exists, text)
}

/// A clock that nobody sets and that goes on while the machine sleeps.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs::{self, File};
    use std::path::Path;
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::address::Address;

    const HOUR: Duration = Duration::from_secs(3600);

    fn store_in(directory: &Path) -> Store {
        Store::open(&Address::Directory(directory.to_owned())).unwrap()
    }

    fn content_in(directory: &Path) -> Content {
        Content::read(&fs::read(directory.join(LOCK)).unwrap()).unwrap()
    }

    /// Puts the lock of a process elsewhere in place of what is there, last written so long ago.
    fn put_other(directory: &Path, of: &Content, age: Duration) -> Content {
        let mut other = Content { token: Uuid::now_v7().to_string(), ..of.clone() };
        other.holder.host = "elsewhere".to_owned();
        let text = serde_json::to_string(&other).unwrap();
        // Its boot is another one.
        let place = text.split_once("\"place\":\"").unwrap().1.split_once('"').unwrap().0;
        fs::create_dir_all(directory.join(LOCKS)).unwrap();
        fs::write(directory.join(LOCK), text.replace(place, "another boot")).unwrap();
        let file = File::options().write(true).open(directory.join(LOCK)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        other
    }

    #[test]
    fn one_at_a_time_has_it_and_it_is_gone_with_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let store = store_in(directory.path());
        let first = Lock::take(&store).unwrap();
        let error = Lock::take(&store).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Exists);
        let pid = std::process::id();
        assert!(error.to_string().contains(&format!("process {pid} of ")), "{error}");
        first.check().unwrap();
        drop(first);
        assert!(!directory.path().join(LOCK).exists());
        drop(Lock::take(&store).unwrap());
    }

    #[test]
    fn it_is_renewed_as_long_as_it_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let store = store_in(directory.path());
        let often = Times { renew_every: Duration::from_millis(5), ..TIMES };
        let lock = Lock::take_with(&store, often).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while content_in(directory.path()).renewals < 3 {
            assert!(Instant::now() < end, "it is not renewed");
            std::thread::yield_now();
        }
        lock.check().unwrap();
    }

    #[test]
    fn one_that_nobody_renews_is_taken_over_after_a_minute_and_not_before() {
        let directory = tempfile::tempdir().unwrap();
        let store = store_in(directory.path());
        let lock = Lock::take(&store).unwrap();
        let own = content_in(directory.path());
        drop(lock);
        for lives in [Duration::ZERO, Duration::from_secs(50)] {
            put_other(directory.path(), &own, lives);
            let error = Lock::take(&store).err().unwrap();
            assert!(error.to_string().contains("of `elsewhere` prunes or compacts"), "{error}");
            assert!(error.to_string().contains("if it was killed, in 1m"), "{error}");
        }
        put_other(directory.path(), &own, Duration::from_secs(61));
        let lock = Lock::take(&store).unwrap();
        assert_eq!(content_in(directory.path()).holder, Holder::this());
        drop(lock);
        // What is no lock of this kind counts as one of somebody.
        fs::create_dir_all(directory.path().join(LOCKS)).unwrap();
        fs::write(directory.path().join(LOCK), "2026-11-29T00:00:00Z\n").unwrap();
        assert!(Lock::take(&store).is_err());
    }

    #[test]
    fn who_was_away_for_too_long_finds_out_that_somebody_else_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = store_in(directory.path());
        // It is never renewed by itself, and trusted for no time.
        let away = Times { renew_every: HOUR, trusted: Duration::ZERO, ..TIMES };
        let lock = Lock::take_with(&store, away).unwrap();
        lock.check().unwrap();
        let other = put_other(directory.path(), &content_in(directory.path()), Duration::ZERO);
        for _ in 0..2 {
            let error = lock.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Exists);
            assert!(error.to_string().contains("somebody else prunes or compacts"), "{error}");
        }
        drop(lock);
        assert_eq!(content_in(directory.path()).token, other.token);
        // One that was removed by hand is lost, too.
        fs::remove_file(directory.path().join(LOCK)).unwrap();
        let lock = Lock::take_with(&store, away).unwrap();
        fs::remove_file(directory.path().join(LOCK)).unwrap();
        assert_eq!(lock.check().unwrap_err().kind(), ErrorKind::Exists);
    }
}
