//! Reads again what processes are, apart from their numbers: without an exec, a process can move into another control
//! group, give up its user, and write another title over its arguments.
//!
//! The kernel reports changes of the user, where it reports forks, and none of the others. Each process is visited once a
//! second; who has run since it was looked at is looked at then, the others each ten seconds. Rows of a BPF program show
//! another control group and another user; then the group is looked at where the row says so, and each minute.

use std::sync::Arc;

use super::apply::set_user;
use super::entry::{Addresses, Entry, EntryState, Occupant, Process};
use super::file_metrics::memory_cgroup;
use super::last_description::{DueDescription, Signs, arguments_hash};
use super::processes::Processes;
use super::reading::Reader;
use crate::identity::{Comm, Identity};
use crate::metric::Metric;
use crate::parse::{parse_stat, parse_status};
use crate::proc::{Answer, MAX_AT_ONCE, ProcFile, ProcessDir, Request};

/// Each process is visited once in this time.
const ROUND_NS: u64 = 1_000_000_000;

const CGROUP: ProcFile = ProcFile::Piece(c"cgroup");
const STATUS: ProcFile = ProcFile::Piece(c"status");
const CMDLINE: ProcFile = ProcFile::Piece(c"cmdline");
const STAT: ProcFile = ProcFile::Piece(c"stat");

/// The files that say it.
struct DescribingFiles {
    /// The control group.
    group: &'static [ProcFile],
    /// The arguments too, of a thread that stands in for the first one. If that has executed another program meanwhile, its
    /// kept descriptor says so.
    of_thread: &'static [ProcFile],
    /// The arguments too, and behind them what shows an exec: then they may be those of the next image.
    all: &'static [ProcFile],
}

/// Where the kernel reports changes of the user.
const WITHOUT_USER: DescribingFiles = DescribingFiles {
    group: &[CGROUP],
    of_thread: &[CGROUP, CMDLINE],
    all: &[CGROUP, CMDLINE, STAT],
};
const WITH_USER: DescribingFiles = DescribingFiles {
    group: &[CGROUP, STATUS],
    of_thread: &[CGROUP, STATUS, CMDLINE],
    all: &[CGROUP, STATUS, CMDLINE, STAT],
};

/// Where the visits stand, and memory for them.
pub(super) struct Redescription {
    /// Those with a smaller pid, or this one, have been visited in this round.
    visited_pid: i32,
    visited_boot_ns: u64,
    requests: Vec<Request>,
    /// The image and the pid of each request.
    asked: Vec<(u64, i32)>,
    spare: Vec<Answer>,
}

impl Redescription {
    /// Begins with no visit, and with room for the looks of a sweep.
    pub(super) fn new() -> Self {
        Self {
            visited_pid: 0,
            visited_boot_ns: 0,
            requests: Vec::with_capacity(MAX_AT_ONCE),
            asked: Vec::with_capacity(MAX_AT_ONCE),
            spare: Vec::with_capacity(MAX_AT_ONCE),
        }
    }

    /// Visits some of the processes, and looks again at those of them that are due.
    pub(super) fn redescribe(&mut self, processes: &mut Processes) {
        if !processes.reader.root.is_live() {
            return;
        }
        self.visit(processes, processes.swept_boot_ns);
        let Self { requests, asked, spare, .. } = self;
        if requests.is_empty() {
            return;
        }
        let Processes { entries, reader, counts, .. } = processes;
        reader.read_images(requests, |reader, answer| {
            let pid = asked.iter().find(|(key, _)| *key == answer.key).map_or(0, |&(_, pid)| pid);
            let index = entries.partition_point(|entry| entry.pid < pid);
            let is_its_own = |process: &Process| process.identity.process.0 == answer.key;
            if let Some(entry) = entries.get_mut(index)
                && entry.process().is_some_and(is_its_own)
            {
                apply(reader, entry, &answer);
                if let Some(process) = entry.process() {
                    reader.note_stuck(entry.pid, &answer, process.comm, counts);
                }
            }
            spare.push(answer);
        });
    }

    /// Asks for what is due of the processes whose turn it is.
    fn visit(&mut self, processes: &mut Processes, now_ns: u64) {
        let Self { visited_pid, visited_boot_ns, requests, asked, spare } = self;
        asked.clear();
        let elapsed_ns = now_ns.saturating_sub(*visited_boot_ns).min(ROUND_NS);
        *visited_boot_ns = now_ns;
        let Processes { entries, reader, source, .. } = processes;
        let by_bpf = source.is_bpf();
        let visits = (entries.len() as u64 * elapsed_ns).div_ceil(ROUND_NS);
        for _ in 0..visits {
            // 200 us of another thread.
            if requests.len() >= MAX_AT_ONCE {
                return;
            }
            let next = entries.partition_point(|entry| entry.pid <= *visited_pid);
            let Some(entry) = entries.get_mut(next) else {
                *visited_pid = 0;
                continue;
            };
            *visited_pid = entry.pid;
            if entry.read.is_empty() || entry.state.contains(EntryState::GONE) {
                continue;
            }
            let (pid, is_kept) = (entry.pid, entry.statm.is_some());
            let Some(process) = entry.process_mut() else { continue };
            let files = if reader.forks_are_reported { &WITHOUT_USER } else { &WITH_USER };
            let due = due(reader, (pid, is_kept), process, files, by_bpf, now_ns);
            let Some((directory, files)) = due else { continue };
            let key = process.identity.process.0;
            let memory = spare.pop().unwrap_or_default();
            asked.push((key, pid));
            requests.push(Request::new(key, directory, files, memory));
        }
    }
}

/// Returns which files of a process are to be read, if any. `is_kept` says whether a descriptor of its `statm` is kept.
fn due(
    reader: &Reader,
    (pid, is_kept): (i32, bool),
    process: &mut Process,
    files: &DescribingFiles,
    by_bpf: bool,
    now_ns: u64,
) -> Option<(ProcessDir, &'static [ProcFile])> {
    let (rss_bytes, minflt) =
        (process.metrics.get(Metric::Rss), process.metrics.get(Metric::Minflt));
    let groups = if by_bpf { process.groups } else { 0 };
    let now = Signs { rss_bytes, minflt, groups };
    let due = process.description.due(now_ns, process.image_boot_ns, &now);
    let key = process.identity.process.0;
    // What an exec has made of it is read by the next sweep.
    let due = due.filter(|_| !process.is_exec_reported() && !reader.readers.is_stuck(key))?;
    let directory = reader.root.open_process(pid).ok()?;
    let is_group = due == DueDescription::Group;
    let (directory, files) = match process.thread {
        Some(tid) => {
            let files = if is_group || !is_kept { files.group } else { files.of_thread };
            (directory.open_thread(tid).ok()?, files)
        }
        None if is_group || process.addresses.hidden() => (directory, files.group),
        None => (directory, files.all),
    };
    process.description.note(due, now_ns, now);
    Some((directory, files))
}

/// Applies what was read again of a process.
fn apply(reader: &mut Reader, entry: &mut Entry, answer: &Answer) {
    let pid = entry.pid;
    let Entry { statm, occupant: Occupant::Process(process), state, .. } = entry else { return };
    let piece = |wanted: ProcFile| {
        let number = answer.files.iter().position(|file| file.name() == wanted.name())?;
        answer.piece(number).and_then(Result::ok)
    };
    let has_stat = answer.files.iter().any(|file| file.name() == STAT.name());
    let is_same_process = match (piece(STAT), statm) {
        // An exec since the last sweep shows in the addresses; then the next one sees it.
        (Some(stat), _) => parse_stat(stat).is_ok_and(|stat| {
            stat.starttime == process.identity.start && Addresses::of(&stat) == process.addresses
        }),
        (None, _) if has_stat => false,
        // If the kept descriptor still answers, nobody else had the pid meanwhile.
        (None, Some(statm)) => reader.buffer.read_piece(&*statm).is_ok(),
        (None, None) => reader.is_still(pid, process.identity.start).unwrap_or(false),
    };
    if !is_same_process {
        process.description.forget();
        return;
    }
    let mut is_changed = false;
    let status = piece(STATUS).and_then(|status| parse_status(status).ok());
    if let Some(uid) = status.and_then(|status| u32::try_from(status.euid?).ok()) {
        set_user(process, state, uid);
    }
    if let Some(cgroup) = piece(CGROUP).and_then(memory_cgroup)
        && process.identity.cgroup.as_deref() != Some(cgroup)
    {
        let identity = Arc::make_mut(&mut process.identity);
        // Where there was none, it could not be read.
        identity.moved |= identity.cgroup.is_some();
        identity.cgroup = Some(cgroup.to_vec());
        process.is_regrouped = true;
        // The role may depend on it.
        process.description.forget_arguments();
        is_changed = true;
    }
    // Empty where its memory is gone: it ends.
    if let Some(arguments) = piece(CMDLINE).filter(|arguments| !arguments.is_empty())
        && process.description.note_arguments(arguments_hash(&process.comm, arguments))
    {
        is_changed |= set_arguments(reader, process, arguments);
    }
    if is_changed {
        process.is_redescribed = true;
        state.remove(EntryState::DESCRIPTION_REPORTED);
    }
}

/// Sets the arguments of a process, and the role that a rule gives it by them; returns whether one of them is another than
/// before.
///
/// Without a rule the role stays: what is usual is made of the program and its script, which a title does not name.
fn set_arguments(reader: &Reader, process: &mut Process, arguments: &[u8]) -> bool {
    let redacted = reader.rules.redact(arguments);
    let kept = reader.rules.keep(&redacted);
    let kept = kept.get(..Identity::MAX_CMDLINE_BYTES).unwrap_or(kept);
    let Identity { exe, cgroup, cmdline, role, .. } = &*process.identity;
    let (comm, exe, cgroup) = (&process.comm, exe.as_deref(), cgroup.as_deref());
    let now = match role.is_empty() {
        // It could not be read before.
        true => reader.rules.role(comm, exe, &redacted, cgroup),
        false => {
            let ruled = reader.rules.ruled_role(comm, exe, &redacted, cgroup);
            ruled.unwrap_or_else(|| role.clone())
        }
    };
    if cmdline == kept && *role == now {
        return false;
    }
    let identity = Arc::make_mut(&mut process.identity);
    (identity.cmdline, identity.role) = (kept.to_vec(), now);
    true
}

/// Notes the effective user that a process has now.
pub(super) fn note_user(entry: &mut Entry, uid: u32) {
    let Occupant::Process(process) = &mut entry.occupant else { return };
    set_user(process, &mut entry.state, uid);
}

/// Notes the command name that a process has now.
pub(super) fn note_name(entry: &mut Entry, comm: Comm) {
    let Some(process) = entry.process_mut() else { return };
    if process.comm != comm {
        process.comm = comm;
        // Who changes its name changes its title too, and the role may depend on both.
        process.description.forget();
        entry.state.remove(EntryState::DESCRIPTION_REPORTED);
    }
}
