//! Processes of an attempt, as `/proc` shows them: finding, describing and killing them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memsample::parse::{parse_stat, parse_statm};
use memsample::units::ClockTicks;
use memsample::{ProcessReader, SamplerOptions, have_one_map};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

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

/// A process that is known to be the one that was looked for, whoever gets its pid later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IdentifiedProcess {
    pid: i32,
    start: ClockTicks,
}

/// Lists all processes below `ancestor`, without itself, of whatever depth, and says where that failed.
///
/// The kernel gives orphans to the nearest subreaper or to the init of their pid namespace. If `ancestor` is one of
/// these, no process escapes.
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
    start: ClockTicks,
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
            start: stat.starttime,
            // Of a process that has ended and waits to be reaped, one is counted.
            is_dead: is_first_dead && stat.num_threads < 2,
            is_first_dead,
            is_first_ending: stat.flags & PF_EXITING != 0,
        })
    }

    /// The same of a process that has a thread that has not ended.
    fn of_living(pid: i32) -> Option<Self> {
        Self::of(pid).filter(|stat| !stat.is_dead)
    }
}

/// Returns whether a process is there and has a thread that has not ended.
pub(super) fn is_alive(pid: i32) -> bool {
    ProcessStat::of_living(pid).is_some()
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
    let stat = ProcessStat::of_living(pid)?;
    let (comm, rss_bytes) = (stat.comm, rss_bytes(pid));
    Some(LeftOverProcess { pid, comm, rss_bytes, shares_memory_with: None, held_bytes: None })
}

/// Notes how much memory they hold by descriptors, mapped or not: memfds, and removed files in `/dev/shm`. A file that
/// several of them hold is noted at the first.
pub(super) fn measure_held_files(processes: &mut [LeftOverProcess]) {
    let mut seen = HashSet::new();
    for process in processes {
        process.held_bytes = held_bytes(process.pid, &mut seen);
    }
}

/// Returns the size of such files that a process has open and that were not seen before; `None` where that cannot be told.
fn held_bytes(pid: i32, seen: &mut HashSet<(u64, u64)>) -> Option<u64> {
    let task = task_with_memory(pid);
    let Listed { found, error } =
        listed::paths(&PathBuf::from(format!("/proc/{pid}/task/{task}/fd")));
    let mut bytes = 0_u64;
    for descriptor in found {
        // It may have been closed. What else is open may be on a file system that does not answer.
        let Some(name) = there(fs::read_link(&descriptor)).ok()? else { continue };
        let name = name.into_os_string().into_vec();
        let is_memory = name.starts_with(b"/memfd:")
            || (name.starts_with(b"/dev/shm/") && name.ends_with(b" (deleted)"));
        if is_memory
            && let Some(file) = there(fs::metadata(&descriptor)).ok()?
            && seen.insert((file.dev(), file.ino()))
        {
            bytes = bytes.saturating_add(file.blocks().saturating_mul(512));
        }
    }
    error.is_none().then_some(bytes)
}

/// Returns `None` for what is not there.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Notes which of them have one memory map: each of these shows all memory of both.
pub(super) fn compare_memory(processes: &mut [LeftOverProcess]) {
    let tasks: Vec<i32> = processes.iter().map(|process| task_with_memory(process.pid)).collect();
    let mut rest = processes;
    let mut tasks = tasks.as_slice();
    while let ([first, later @ ..], [task, later_tasks @ ..]) = (rest, tasks) {
        if first.shares_memory_with.is_none() {
            for (other, other_task) in later.iter_mut().zip(later_tasks) {
                if other.shares_memory_with.is_none()
                    && have_one_map(*task, *other_task).unwrap_or(false)
                {
                    other.shares_memory_with = Some(first.pid);
                }
            }
        }
        (rest, tasks) = (later, later_tasks);
    }
}

/// Returns the id of a thread of a process that has its memory, which its first one has no more when it has ended.
fn task_with_memory(pid: i32) -> i32 {
    let has_memory = |tid: &i32| {
        let statm = kernel_file::bytes(format!("/proc/{pid}/task/{tid}/statm"));
        statm.is_ok_and(|statm| statm.first().is_some_and(|&digit| digit != b'0'))
    };
    let first = Some(pid).filter(has_memory);
    first.or_else(|| threads(pid).into_iter().find(has_memory)).unwrap_or(pid)
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

/// Returns the live ones of `pids`, which belong together as long as `are_still` lists them.
pub(super) fn identify(
    pids: Vec<i32>,
    are_still: impl FnOnce() -> Vec<i32>,
) -> Vec<IdentifiedProcess> {
    let mut identified: Vec<IdentifiedProcess> = pids.into_iter().filter_map(identity).collect();
    // Who was listed before may have ended, and another may have had its pid when its start was read.
    let still: BTreeSet<i32> = are_still().into_iter().collect();
    identified.retain(|process| still.contains(&process.pid));
    identified
}

/// Returns the live ones of all processes below `ancestor`, without itself.
pub(super) fn identify_descendants(ancestor: i32) -> Vec<IdentifiedProcess> {
    let pids = list_descendants(ancestor).found;
    let listed: BTreeSet<i32> = pids.iter().copied().chain([ancestor]).collect();
    let identify = |pid| {
        let stat = ProcessStat::of_living(pid)?;
        // Whoever has got its pid since has another parent.
        listed.contains(&stat.parent).then_some(IdentifiedProcess { pid, start: stat.start })
    };
    pids.into_iter().filter_map(identify).collect()
}

/// Sends a signal to each process. Processes that have ended meanwhile are ignored, and so is who has got the pid of one.
///
/// A signal for a process whose first thread has ended goes to its other threads too: by their ids the kernel finds the
/// process whatever its first thread is.
pub(super) fn signal(processes: &[IdentifiedProcess], signal: Signal) {
    for process in processes {
        let Some(pid) = Pid::from_raw(process.pid) else { continue };
        // Held before it is looked at: then it is the one that gets the signal. Linux has it since 5.3.
        let held = pidfd_open(pid, PidfdFlags::empty());
        let Some(stat) = ProcessStat::of(process.pid).filter(|it| it.start == process.start) else {
            continue;
        };
        let _ = match held {
            Ok(held) => pidfd_send_signal(held, signal),
            Err(_) => kill_process(pid, signal),
        };
        let threads = if stat.is_first_dead { threads(process.pid) } else { Vec::new() };
        for thread in threads.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(thread, signal);
        }
    }
}

/// Kills all processes below `ancestor`, and returns how many are left. `reap` takes what has ended, if
/// that is for the caller to do.
pub(super) fn kill_below(ancestor: i32, reap: impl FnMut()) -> usize {
    kill_all(|| identify_descendants(ancestor), reap)
}

/// Returns a process, to be known again whoever gets its pid; `None` if it has ended.
pub(crate) fn identity(pid: i32) -> Option<IdentifiedProcess> {
    let stat = ProcessStat::of_living(pid)?;
    Some(IdentifiedProcess { pid, start: stat.start })
}

/// Kills a process and all that descend from it, if it still lives.
pub(super) fn kill_with_descendants(process: IdentifiedProcess) {
    if identity(process.pid) == Some(process) {
        kill_below(process.pid, || ());
        signal(&[process], Signal::KILL);
    }
}

/// Kills all processes of an attempt that carry its mark, and returns how many are left.
pub(super) fn kill_by_variable(id: &str) -> usize {
    let mark = format!("{SANDBOX_VARIABLE}={id}");
    // It gives up on a process, of this attempt or another, whose memory cannot be read for now.
    let Ok(reader) = ProcessReader::open(SamplerOptions::default()) else { return 0 };
    let reader = RefCell::new(reader);
    let is_marked = |process: &IdentifiedProcess| {
        let mut reader = reader.borrow_mut();
        let Ok(mut process) = reader.process(process.pid) else { return false };
        let environment = process.environment().unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let marked = || all().found.into_iter().filter_map(identity).filter(is_marked).collect();
    kill_all(marked, || ())
}

fn kill_all(alive: impl Fn() -> Vec<IdentifiedProcess>, mut reap: impl FnMut()) -> usize {
    for _ in 0..MAX_KILL_ROUNDS {
        let mut found = alive();
        if found.is_empty() {
            reap();
            return 0;
        }
        for _ in 0..MAX_STOP_ROUNDS {
            signal(&found, Signal::STOP);
            let again = alive();
            if again.len() <= found.len() {
                break;
            }
            found = again;
        }
        signal(&found, Signal::KILL);
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

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeping() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    fn pid_of(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    #[test]
    fn who_has_got_the_pid_of_another_gets_no_signal() {
        let (mut own, mut other) = (sleeping(), sleeping());
        let identified = identity(pid_of(&own)).unwrap();
        // As if it had ended, and the other one had got its pid since.
        let start = ClockTicks(identity(pid_of(&other)).unwrap().start.0 + 1);
        let replaced = IdentifiedProcess { pid: pid_of(&other), start };
        signal(&[replaced, identified], Signal::KILL);
        assert!(!own.wait().unwrap().success());
        assert!(is_alive(pid_of(&other)));
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(identity(pid_of(&other)), None);
    }

    #[test]
    fn who_is_no_longer_listed_is_not_identified() {
        let (mut one, mut two) = (sleeping(), sleeping());
        let pids = vec![pid_of(&one), pid_of(&two)];
        let still = identify(pids.clone(), || vec![pid_of(&two)]);
        assert_eq!(still, [identity(pid_of(&two)).unwrap()]);
        let below = identify_descendants(i32::try_from(std::process::id()).unwrap());
        assert!(below.contains(&still[0]));
        for child in [&mut one, &mut two] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
