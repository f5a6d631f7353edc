//! Processes of an attempt, as `/proc` shows them: finding, describing and killing them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use memsample::parse::{parse_stat, parse_statm};
use memsample::{ProcessReader, SamplerOptions};
use rustix::process::{Pid, Signal, kill_process};

use super::kernel_file;
use super::listed::{self, Listed};
use crate::results::LeftOverProcess;

/// Processes that one walk visits, at most: the largest `pid_max` of Linux.
const MAX_PROCESSES: usize = 4 * 1024 * 1024;
/// How often all processes are listed and killed until it is given up. What is killed can fork no
/// more, so that a few rounds do; a fork bomb on a busy machine takes longer.
const MAX_KILL_ROUNDS: u32 = 500;
/// Listings in one round, in which what is found is stopped, so that a fork bomb forks no more.
const MAX_STOP_ROUNDS: u32 = 20;
/// The time from a SIGKILL until the process has ended, usually.
const KILL_PAUSE: Duration = Duration::from_millis(2);
/// Set in the flags of a thread that ends: `include/linux/sched.h` of the kernel.
const PF_EXITING: u64 = 4;
/// The variable in the environment of all that is of an attempt, with its name. It finds what has
/// lost both its init and its supervisor, where no pid namespace and no control group does.
pub(super) const SANDBOX_VARIABLE: &str = "MEMSAMPLE_SANDBOX";

/// Returns all processes below `ancestor`, without itself, of whatever depth, that can be listed.
///
/// The kernel gives orphans to the nearest subreaper or to the init of their pid namespace. If `ancestor` is one of
/// these, no process escapes.
fn descendants(ancestor: i32) -> Vec<i32> {
    list_descendants(ancestor).found
}

/// Lists all processes below `ancestor`, without itself, of whatever depth, and says where that failed.
pub(super) fn list_descendants(ancestor: i32) -> Listed<i32> {
    let mut found = BTreeSet::new();
    let mut failed = None;
    let mut open = vec![ancestor];
    while let Some(parent) = open.pop() {
        let Some(Listed { found: children, error }) = children(parent) else {
            return descendants_by_parent(ancestor);
        };
        failed = failed.or(error);
        for child in children {
            if found.len() < MAX_PROCESSES && found.insert(child) {
                open.push(child);
            }
        }
    }
    Listed { found: found.into_iter().collect(), error: failed }
}

/// Reads the children of all threads of a process; `None` where the kernel has no such files.
fn children(pid: i32) -> Option<Listed<i32>> {
    let tasks = listed::paths(&PathBuf::from(format!("/proc/{pid}/task")));
    if tasks.error.is_some() {
        // Better those of its first thread than none: what is not found is not killed.
        let found = children_of_task(&PathBuf::from(format!("/proc/{pid}/task/{pid}")))?;
        return Some(Listed { found, error: tasks.error });
    }
    let mut children = Listed::default();
    for task in tasks.found {
        children.found.extend(children_of_task(&task)?);
    }
    Some(children)
}

/// Reads the children of one thread.
fn children_of_task(task: &Path) -> Option<Vec<i32>> {
    match kernel_file::text(task.join("children")) {
        Ok(text) => {
            Some(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
        }
        Err(_) if task.exists() => None,
        Err(_) => Some(Vec::new()),
    }
}

/// The same from the parent that every process names: slower, and works everywhere.
fn descendants_by_parent(ancestor: i32) -> Listed<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let Listed { found: all, error } = all();
    for pid in all {
        if let Some(stat) = ProcessStat::of(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let (mut found, mut open) = (BTreeSet::new(), vec![ancestor]);
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            found.insert(child);
            open.push(child);
        }
    }
    Listed { found: found.into_iter().collect(), error }
}

/// What is needed of `/proc/PID/stat`.
struct ProcessStat {
    comm: String,
    parent: i32,
    is_dead: bool,
    /// Whether its first thread has ended.
    is_first_dead: bool,
    /// Whether its first thread ends, or has ended.
    is_first_ending: bool,
}

impl ProcessStat {
    fn of(pid: i32) -> Option<Self> {
        let bytes = kernel_file::bytes(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?;
        let stat = parse_stat(&bytes).ok()?;
        let is_first_dead = matches!(stat.state, b'Z' | b'X');
        Some(Self {
            comm: String::from_utf8_lossy(stat.comm).into_owned(),
            parent: stat.ppid,
            // Of a process that has ended and waits to be reaped, one is counted.
            is_dead: is_first_dead && stat.num_threads < 2,
            is_first_dead,
            is_first_ending: stat.flags & PF_EXITING != 0,
        })
    }
}

/// Returns whether a process is there and has a thread that has not ended.
pub(super) fn is_alive(pid: i32) -> bool {
    ProcessStat::of(pid).is_some_and(|stat| !stat.is_dead)
}

/// Returns whether a process has had a CPU since it was forked.
pub(super) fn has_run(pid: i32) -> bool {
    let text = kernel_file::text(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    text.split_ascii_whitespace().next().is_some_and(|nanoseconds| nanoseconds != "0")
}

/// Returns whether the first thread of a process ends, or has ended.
pub(super) fn is_ending(pid: i32) -> bool {
    ProcessStat::of(pid).is_none_or(|stat| stat.is_first_ending)
}

/// Describes a process; `None` if it has ended.
pub(super) fn describe(pid: i32) -> Option<LeftOverProcess> {
    let stat = ProcessStat::of(pid).filter(|stat| !stat.is_dead)?;
    Some(LeftOverProcess { pid, comm: stat.comm, rss_bytes: rss_bytes(pid) })
}

/// Reads the resident set of a process. Under its pid the kernel shows that of its first thread, which is nothing when
/// that has ended; the others have it still.
pub(super) fn rss_bytes(pid: i32) -> Option<u64> {
    let resident = |path: PathBuf| -> Option<u64> {
        let pages = parse_statm(&kernel_file::bytes(path).ok()?).ok()?.resident;
        pages.0.checked_mul(rustix::param::page_size() as u64)
    };
    match resident(PathBuf::from(format!("/proc/{pid}/statm")))? {
        0 => {
            let of_thread =
                |tid: &i32| resident(PathBuf::from(format!("/proc/{pid}/task/{tid}/statm")));
            Some(threads(pid).iter().filter_map(of_thread).max().unwrap_or(0))
        }
        bytes => Some(bytes),
    }
}

/// Returns the ids of the threads of a process.
fn threads(pid: i32) -> Vec<i32> {
    listed::ids(&PathBuf::from(format!("/proc/{pid}/task"))).found
}

/// Sends a signal to each process. Processes that have ended meanwhile are ignored.
///
/// A signal for a process whose first thread has ended goes to its other threads too: by their ids the kernel finds the
/// process whatever its first thread is.
pub(super) fn signal(pids: impl IntoIterator<Item = i32>, signal: Signal) {
    for pid in pids {
        let is_first_dead = ProcessStat::of(pid).is_some_and(|stat| stat.is_first_dead);
        let threads = if is_first_dead { threads(pid) } else { Vec::new() };
        for id in [pid].into_iter().chain(threads).filter_map(Pid::from_raw) {
            let _ = kill_process(id, signal);
        }
    }
}

/// Kills all processes below `ancestor`, and returns how many are left. `reap` takes what has ended, if
/// that is for the caller to do.
pub(super) fn kill_below(ancestor: i32, reap: impl FnMut()) -> usize {
    kill_all(|| descendants(ancestor), reap)
}

/// Kills all processes of an attempt that carry its mark, and returns how many are left.
pub(super) fn kill_by_variable(id: &str) -> usize {
    let mark = format!("{SANDBOX_VARIABLE}={id}");
    // It gives up on a process, of this attempt or another, whose memory cannot be read for now.
    let Ok(reader) = ProcessReader::open(SamplerOptions::default()) else { return 0 };
    let reader = RefCell::new(reader);
    let is_marked = |pid: &i32| {
        let mut reader = reader.borrow_mut();
        let Ok(mut process) = reader.process(*pid) else { return false };
        let environment = process.environment().unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
    };
    kill_all(|| all().found.into_iter().filter(is_marked).collect(), || ())
}

fn kill_all(find: impl Fn() -> Vec<i32>, mut reap: impl FnMut()) -> usize {
    let alive = || find().into_iter().filter(|&pid| is_alive(pid)).collect::<Vec<i32>>();
    for _ in 0..MAX_KILL_ROUNDS {
        let mut found = alive();
        if found.is_empty() {
            reap();
            return 0;
        }
        for _ in 0..MAX_STOP_ROUNDS {
            signal(found.iter().copied(), Signal::STOP);
            let again = alive();
            if again.len() <= found.len() {
                break;
            }
            found = again;
        }
        signal(found, Signal::KILL);
        reap();
        if alive().is_empty() {
            return 0;
        }
        std::thread::sleep(KILL_PAUSE);
    }
    alive().len()
}

/// Lists the pids of all processes of this machine.
fn all() -> Listed<i32> {
    listed::ids(Path::new("/proc"))
}
