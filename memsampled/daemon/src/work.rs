//! What waits for the disk or for another thread, beside the thread that serves.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::beside::{NotDone, beside};
use super::failure::Failure;
use super::peer::Peer;
use memsample_client::wire::ErrorCode;

/// Slow requests that are served at once.
const PERMITS: usize = 8;
/// Those of one user: others always get a permit.
const PERMITS_OF_ONE: usize = 4;
/// How long a request waits for its permit.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds slow work, so that no user can take every thread.
pub(super) struct Work {
    all: Arc<Semaphore>,
    of_users: Mutex<HashMap<u32, Arc<Semaphore>>>,
    timeout: Duration,
}

/// A permit for one piece of slow work, until dropped.
struct Permit {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Default for Work {
    fn default() -> Self {
        Self::with_timeout(TIMEOUT)
    }
}

impl Work {
    fn with_timeout(timeout: Duration) -> Self {
        Self { all: Arc::new(Semaphore::new(PERMITS)), of_users: Mutex::default(), timeout }
    }

    /// Does slow work for a request of `peer` as soon as there is a permit.
    ///
    /// The work continues, and keeps its permit, also when the client has gone meanwhile.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        peer: Peer,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = self.permit(peer).await?;
        let work = move || {
            let _permit = permit;
            work()
        };
        match beside(work).await {
            Ok(outcome) => outcome,
            Err(error @ NotDone::NoThread(_)) => {
                Err(Failure::new(ErrorCode::Unavailable, format!("{error}: try again later")))
            }
            Err(error @ NotDone::Panicked) => Err(Failure::internal("the request", error)),
        }
    }

    /// Refuses all who wait for a permit, now and later: the daemon ends.
    pub(super) fn close(&self) {
        self.all.close();
        self.users().values().for_each(|own| own.close());
    }

    async fn permit(&self, peer: Peer) -> Result<Permit, Failure> {
        let own = self.of(peer.uid);
        let own = tokio::time::timeout(self.timeout, own.acquire_owned()).await;
        let own = own.map_err(|_| {
            Failure::new(
                ErrorCode::LimitReached,
                format!(
                    "{PERMITS_OF_ONE} slow requests of user {} are running, and this one has waited for {:?}: try again \
                     when one is done",
                    peer.uid, self.timeout
                ),
            )
        })?;
        let all = tokio::time::timeout(self.timeout, Arc::clone(&self.all).acquire_owned()).await;
        let all = all.map_err(|_| {
            Failure::new(
                ErrorCode::Unavailable,
                format!(
                    "{PERMITS} slow requests are running, and this one has waited for {:?}: try again later",
                    self.timeout
                ),
            )
        })?;
        match (all, own) {
            (Ok(all), Ok(own)) => Ok(Permit { _all: all, _own: own }),
            // They were closed.
            _ => Err(Failure::ending()),
        }
    }

    fn of(&self, uid: u32) -> Arc<Semaphore> {
        let mut users = self.users();
        // Who waits or works holds one beside the table.
        users.retain(|_, own| Arc::strong_count(own) > 1);
        let own = users.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(PERMITS_OF_ONE)));
        Arc::clone(own)
    }

    fn users(&self) -> MutexGuard<'_, HashMap<u32, Arc<Semaphore>>> {
        self.of_users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn peer(uid: u32) -> Peer {
        Peer { uid, gid: uid, pid: None }
    }

    /// Begins work that lasts until its sender is dropped, and waits until it has begun.
    async fn begin(
        work: &Arc<Work>,
        uid: u32,
    ) -> (Sender<()>, tokio::task::JoinHandle<Result<(), Failure>>) {
        let (end, ends) = channel::<()>();
        let (began, begins) = tokio::sync::oneshot::channel();
        let work = Arc::clone(work);
        let job = move || {
            let _ = began.send(());
            let _ = ends.recv();
            Ok(())
        };
        let working = tokio::spawn(async move { work.run(peer(uid), job).await });
        begins.await.unwrap();
        (end, working)
    }

    #[test]
    fn one_user_cannot_take_every_thread() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let work = Arc::new(Work::with_timeout(Duration::from_millis(20)));
            let mut going = Vec::new();
            for _ in 0..PERMITS_OF_ONE {
                going.push(begin(&work, 1).await);
            }
            let refused = work.run(peer(1), || Ok(())).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::LimitReached, "{}", refused.message);
            assert!(work.run(peer(2), || Ok(())).await.is_ok());
            for _ in 0..PERMITS_OF_ONE {
                going.push(begin(&work, 2).await);
            }
            let refused = work.run(peer(3), || Ok(())).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::Unavailable, "{}", refused.message);
            // What the daemon does unasked has threads all the same.
            beside(|| ()).await.unwrap();
            // A client that goes away does not give its permit back before its work is done.
            let (end, working) = going.remove(0);
            working.abort();
            assert!(working.await.unwrap_err().is_cancelled());
            assert!(work.run(peer(1), || Ok(())).await.is_err());
            drop(end);
            for (end, working) in going {
                drop(end);
                working.await.unwrap().unwrap();
            }
            assert!(work.run(peer(1), || Ok(())).await.is_ok());
            work.of(4);
            assert_eq!(work.users().len(), 1, "users who are gone are forgotten");
        });
    }
}
