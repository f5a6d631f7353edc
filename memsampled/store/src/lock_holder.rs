//! Which process holds a lock, and whether it is known to have ended.

use std::fs;

use memsample::parse::parse_stat;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// A process, as others can recognize it that see the same processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// The name of its machine, for people.
    pub(crate) host: String,
    pub(crate) pid: i32,
    /// When it began, in clock ticks since the machine booted, from `/proc/[pid]/stat`: a pid is given again.
    started: Option<u64>,
    /// `/proc/sys/kernel/random/boot_id` and the pid namespace: where the pid means this process.
    place: Option<String>,
}

impl Holder {
    /// Returns this process.
    pub(crate) fn this() -> Self {
        let pid = rustix::process::getpid();
        Self {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: pid.as_raw_nonzero().get(),
            started: started(pid),
            place: place(),
        }
    }

    /// Returns whether it has surely ended. Of a process of another machine or container nobody can tell here.
    pub(crate) fn has_ended(&self) -> bool {
        if self.place.is_none() || self.place != place() {
            return false;
        }
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        // Not by /proc, which may hide the processes of other users.
        if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
            return true;
        }
        let now = started(pid);
        now.is_some() && self.started.is_some() && now != self.started
    }
}

fn started(pid: Pid) -> Option<u64> {
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    Some(parse_stat(&stat).ok()?.starttime.0)
}

fn place() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_has_ended_when_its_pid_is_free_or_another_one_has_it() {
        let this = Holder::this();
        assert!(!this.has_ended());
        assert!(Holder { started: Some(1), ..this.clone() }.has_ended());
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let started = started(Pid::from_raw(pid).unwrap());
        let holder = Holder { pid, started, ..this };
        let lives = !holder.has_ended();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(lives && holder.has_ended());
        // Elsewhere the same pid is another process.
        assert!(!Holder { place: Some("elsewhere".to_owned()), ..holder.clone() }.has_ended());
        assert!(!Holder { place: None, ..holder }.has_ended());
    }
}
