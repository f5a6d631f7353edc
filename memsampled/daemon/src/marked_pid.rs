//! Which process a client means by a process id: it may run in another pid namespace than the daemon.

use std::fs;
use std::path::PathBuf;

use super::peer::Peer;

/// What a client means by a pid.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MarkedPid {
    /// The process with this pid, as the daemon counts.
    Here(i32),
    /// A process of a pid namespace in which the daemon is not, and which is yet to be looked for.
    Within(PidNamespace),
    /// Nobody can tell: the client has ended, or did not connect over the socket.
    Unknown,
}

/// A pid namespace below that of the daemon, and how deep it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidNamespace {
    link: PathBuf,
    depth: usize,
}

impl MarkedPid {
    /// Returns what a client means. Takes some microseconds, and waits for nothing.
    pub(super) fn of(peer: Peer, pid: i32) -> Self {
        // The kernel translates the pid of who has connected, so that it is one of this namespace.
        let Some(client) = peer.pid else { return Self::Unknown };
        match pids_of(client).as_deref() {
            None => Self::Unknown,
            Some([] | [_]) => Self::Here(pid),
            Some([.., own]) if *own == pid => Self::Here(client),
            Some(pids) => match fs::read_link(namespace_of(client)) {
                Ok(link) => Self::Within(PidNamespace { link, depth: pids.len() }),
                Err(_) => Self::Unknown,
            },
        }
    }
}

impl PidNamespace {
    /// Looks for the process with a pid of this namespace among all that there are.
    pub(super) fn process(&self, pid: i32) -> Option<i32> {
        let names = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.file_name());
        let mut here = names.filter_map(|name| name.to_str()?.parse().ok());
        here.find(|&candidate| {
            pids_of(candidate)
                .is_some_and(|pids| pids.len() == self.depth && pids.last() == Some(&pid))
                && fs::read_link(namespace_of(candidate)).is_ok_and(|link| link == self.link)
        })
    }
}

fn namespace_of(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/pid"))
}

/// Returns the pids of a process, from the namespace of `/proc` to its own; none where the kernel has no such
/// namespaces, and `None` where there is no such process.
fn pids_of(pid: i32) -> Option<Vec<i32>> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let pids = memsample::parse::parse_status(&status).ok()?.nspid;
    let pids = pids.split(u8::is_ascii_whitespace).filter(|text| !text.is_empty());
    pids.map(|text| std::str::from_utf8(text).ok()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_beside_the_daemon_counts_as_it_does() {
        let own = std::process::id().cast_signed();
        let peer = |pid| Peer { uid: 0, gid: 0, pid };
        assert_eq!(MarkedPid::of(peer(Some(own)), own), MarkedPid::Here(own));
        assert_eq!(MarkedPid::of(peer(Some(own)), 1), MarkedPid::Here(1));
        assert_eq!(MarkedPid::of(peer(None), own), MarkedPid::Unknown);
        // No process has so high a pid.
        assert_eq!(MarkedPid::of(peer(Some(i32::MAX)), own), MarkedPid::Unknown);
    }
}
