//! Who is at the other end of a connection, and whether they may use the daemon.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::beside::beside;
use super::options::Options;

/// The list of a user's groups may come over a network; it must not hold the client up for ever.
const GROUPS_TIMEOUT: Duration = Duration::from_secs(2);
/// Lists of groups that are asked for at once: they must not take every thread of the daemon.
pub(super) const LOOKUPS: usize = 2;

/// A user at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The process that connected, as this namespace counts; `None` where it is of another one, or did not
    /// connect over the socket.
    pub(super) pid: Option<i32>,
}

impl Peer {
    /// Asks the kernel who has connected, as of then.
    pub(super) fn of(stream: &UnixStream) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        // The kernel says 0 of a process that has no pid here.
        let pid = credentials.pid().filter(|&pid| pid > 0);
        Ok(Self { uid: credentials.uid(), gid: credentials.gid(), pid })
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Returns whether the peer may see and stop what this user has started.
    pub(super) fn may_use(&self, owner: u32) -> bool {
        self.is_root() || self.uid == owner
    }

    /// Returns whether the peer may use the daemon at all: root, the user of the daemon, the user of the
    /// configuration, and the members of its group.
    ///
    /// Of further groups the list of the system decides. The kernel knows which ones the peer had when it
    /// connected (SO_PEERGROUPS), but can be asked only by unsafe code, of which there is none in this library.
    pub(super) async fn is_allowed(self, options: &Options, lookups: &Arc<Semaphore>) -> bool {
        if self.is_root()
            || self.uid == rustix::process::geteuid().as_raw()
            || Some(self.uid) == options.user
            || Some(self.gid) == options.group
        {
            return true;
        }
        let Some(group) = options.group else { return false };
        let lookups = Arc::clone(lookups);
        let is_member = async move {
            let permit = lookups.acquire_owned().await.ok()?;
            // A member by the list of groups, not by the group at the moment: as `newgrp` would allow.
            let look_up = move || {
                let _permit = permit;
                uzers::get_user_by_uid(self.uid)
                    .and_then(|user| user.groups())
                    .is_some_and(|groups| groups.iter().any(|of_user| of_user.gid() == group))
            };
            beside(look_up).await.ok()
        };
        matches!(tokio::time::timeout(GROUPS_TIMEOUT, is_member).await, Ok(Some(true)))
    }
}
