//! The log of the kernel, `/dev/kmsg`: whom the OOM killer has killed, in the kernel's own words.
//!
//! A record is `priority,number,time,flags;message`. What a program writes into the log has another facility than the
//! kernel's own, so that nobody can make up a kill. The kernel limits how often it says whose limit was reached, but
//! says of every process that it killed it.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, SeekFrom, fstat, major, minor, openat, seek};
use rustix::io::{Errno, read};

/// Major and minor number of the device. In a container, something else may be at its path.
const DEVICE: (u32, u32) = (1, 11);
/// A longer record is refused by the kernel with `EINVAL`; it makes none.
const RECORD_BYTES: usize = 16 * 1024;
/// Records of one reading, at most: more than the log of the kernel holds by default.
const MAX_RECORDS: usize = 100_000;

/// The log of the kernel, `/dev/kmsg`, from when it was opened: whom the OOM killer kills.
pub struct KernelLog {
    file: OwnedFd,
    buffer: Vec<u8>,
    last_reason: Option<Reason>,
}

/// A process that the OOM killer has killed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OomVictim {
    /// Its pid in the first pid namespace.
    pub pid: i32,
    /// Its command name, as the log shows it.
    pub comm: String,
    /// What was out of memory.
    pub limit: OomLimit,
    /// Its control group, by its path from the root of the machine's hierarchy; `None` where the kernel has not said it.
    pub group: Option<String>,
}

/// What was out of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OomLimit {
    /// The machine as a whole.
    Machine,
    /// A control group, by its path from the root of the machine's hierarchy.
    Group(String),
    /// The kernel has not said it of this kill.
    NotSaid,
}

/// What was out of memory, and the process that was chosen for it.
struct Reason {
    pid: i32,
    limit: OomLimit,
    group: Option<String>,
}

impl std::fmt::Debug for KernelLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelLog").finish_non_exhaustive()
    }
}

impl KernelLog {
    /// Opens it at its end; `None` where it may not be read.
    #[must_use]
    pub fn open() -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(CWD, c"/dev/kmsg", flags, Mode::empty()).ok()?;
        let device = fstat(&file).ok()?.st_rdev;
        if (major(device), minor(device)) != DEVICE {
            return None;
        }
        seek(&file, SeekFrom::End(0)).ok()?;
        Some(Self { file, buffer: vec![0; RECORD_BYTES], last_reason: None })
    }

    /// Passes on whom the kernel has killed since the last call, and says whether nothing was lost: the log is a ring.
    pub fn drain(&mut self, mut killed: impl FnMut(OomVictim)) -> bool {
        let mut whole = true;
        for _ in 0..MAX_RECORDS {
            match read(&self.file, &mut self.buffer[..]) {
                Ok(length) => {
                    let record = self.buffer.get(..length).unwrap_or_default();
                    if let Some(victim) = victim(record, &mut self.last_reason) {
                        killed(victim);
                    }
                }
                // The oldest records were overwritten.
                Err(Errno::PIPE) => whole = false,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return whole,
                Err(_) => return false,
            }
        }
        false
    }
}

/// Reads a record; `None` where it is of no kill. Keeps what it says of the reason for the record of the kill.
fn victim(record: &[u8], last_reason: &mut Option<Reason>) -> Option<OomVictim> {
    let text = String::from_utf8_lossy(record);
    let (header, message) = text.split_once(';')?;
    let message = message.lines().next()?;
    let priority: u32 = header.split(',').next()?.parse().ok()?;
    // The lowest three bits are the level; the kernel's facility is 0.
    if priority >> 3 != 0 {
        return None;
    }
    if let Some(reason) = message.strip_prefix("oom-kill:") {
        *last_reason = parse_reason(reason);
        return None;
    }
    let (why, killed) = message.split_once("Killed process ")?;
    if !why.starts_with("Out of memory") && !why.starts_with("Memory cgroup out of memory") {
        return None;
    }
    let (pid, rest) = killed.split_once(" (")?;
    let pid = pid.parse().ok()?;
    // The name may have parentheses too.
    let (comm, _) = rest.rsplit_once(") total-vm:").or_else(|| rest.rsplit_once(')'))?;
    let (limit, group) = match last_reason.take() {
        Some(reason) if reason.pid == pid => (reason.limit, reason.group),
        _ => (OomLimit::NotSaid, None),
    };
    Some(OomVictim { pid, comm: comm.to_owned(), limit, group })
}

/// Reads `constraint=…,…,oom_memcg=GROUP,task_memcg=GROUP,task=NAME,pid=PID,uid=UID`, in which names can hold anything.
fn parse_reason(reason: &str) -> Option<Reason> {
    let (before, _) = reason.rsplit_once(",uid=")?;
    let (before, pid) = before.rsplit_once(",pid=")?;
    let limit = match before.split_once(",oom_memcg=") {
        Some((_, group)) => OomLimit::Group(
            group.split_once(",task_memcg=").map_or(group, |(group, _)| group).to_owned(),
        ),
        None if before.contains(",global_oom,") => OomLimit::Machine,
        None => OomLimit::NotSaid,
    };
    let group = before.split_once(",task_memcg=").and_then(|(_, group)| group.split_once(",task="));
    let group = group.map(|(group, _)| group.to_owned());
    Some(Reason { pid: pid.parse().ok()?, limit, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn victims(records: &[&str]) -> Vec<OomVictim> {
        let mut reason = None;
        records.iter().filter_map(|record| victim(record.as_bytes(), &mut reason)).collect()
    }

    fn of(pid: i32, comm: &str, limit: OomLimit, group: Option<&str>) -> OomVictim {
        OomVictim { pid, comm: comm.to_owned(), limit, group: group.map(str::to_owned) }
    }

    const IN_GROUP: &str = "6,24385,12528240783,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,\
                            mems_allowed=0,oom_memcg=/a/b,task_memcg=/a/b/sub,task=python3,pid=7,uid=0\n SUBSYSTEM=x\n";
    const KILLED: &str = "3,24386,12528240784,-;Memory cgroup out of memory: Killed process 7 (python3) \
                          total-vm:49512kB, anon-rss:30112kB, file-rss:6048kB, shmem-rss:0kB, UID:0 \
                          pgtables:128kB oom_score_adj:1000\n";

    #[test]
    fn the_kernel_names_whom_it_killed_and_whose_limit_it_was() {
        let in_group = OomLimit::Group("/a/b".to_owned());
        assert_eq!(
            victims(&[IN_GROUP, "6,1,1,-;something else\n", KILLED]),
            [of(7, "python3", in_group, Some("/a/b/sub"))]
        );
        // It does not say the reason each time.
        assert_eq!(victims(&[KILLED]), [of(7, "python3", OomLimit::NotSaid, None)]);
        let other = IN_GROUP.replace("pid=7", "pid=8");
        assert_eq!(victims(&[&other, KILLED]), [of(7, "python3", OomLimit::NotSaid, None)]);
        let machine = "6,1,1,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,\
                       global_oom,task_memcg=/user,task=a,pid=9,uid=1000\n";
        let killed =
            "3,2,2,-;Out of memory: Killed process 9 (a (b),pid=1) total-vm:1kB, anon-rss:1kB\n";
        assert_eq!(
            victims(&[machine, killed]),
            [of(9, "a (b),pid=1", OomLimit::Machine, Some("/user"))]
        );
    }

    #[test]
    fn what_a_program_writes_into_the_log_is_no_kill() {
        assert!(victims(&[&KILLED.replacen('3', "11", 1)]).is_empty());
        assert!(
            victims(&["3,1,1,-;x: Out of memory: Killed process 7 (a) total-vm:1kB\n"]).is_empty()
        );
        for garbage in
            ["", ";", "3;", "x,1;Out of memory: Killed process 1 (", "3,1,1,-;oom-kill:,pid=,uid="]
        {
            assert!(victims(&[garbage]).is_empty(), "{garbage}");
        }
    }
}
