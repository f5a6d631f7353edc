//! Which process the OOM killer killed, and why, from what a recording contains anyway.
//!
//! The kernel counts such kills, of the machine in `vmstat` and of each control group, but does not say
//! whom it killed. Exit records name who ended by signal 9. A kill that was counted since the reading
//! before, and an end by signal 9 in that time or soon after, belong together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::batch::Batch;
use crate::identity::{Comm, ProcessId, text};
use crate::recording::ClockAnchor;
use crate::schema::exits::Exit;
use crate::schema::marks::{Mark, MarkKind};
use crate::scope::is_within;

/// A killed process may need this long to end: its memory is taken from it first.
const MAX_DYING_MS: i64 = 5000;
/// Ends by signal 9 that are remembered: a test run that is aborted kills many.
const MAX_ENDS: usize = 1024;
/// Kills of one reading that are named, at most; of the rest only the number is.
const MAX_NAMED: u64 = 64;

/// Looks for kills in what is recorded.
pub(super) struct OomWatch {
    anchor: ClockAnchor,
    /// The counter of the machine, and when it was read.
    machine: Option<(i64, u64)>,
    groups: BTreeMap<Arc<[u8]>, u64>,
    /// Exits by signal 9 that belong to no kill yet, oldest first.
    exits: VecDeque<KilledExit>,
    /// Kills to which no exit belongs yet.
    kills: VecDeque<Kill>,
    /// What callers know of kills, of which no mark has been written yet.
    reasons: Vec<OomReason>,
}

/// What a caller knows of kills: the runner reads the group of a test when the test has ended, and removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OomReason {
    /// The test whose processes were killed.
    pub(super) test: String,
    /// How many of them.
    pub(super) kills: u64,
    /// The limit of the test, if that was reached.
    pub(super) limit_bytes: Option<u64>,
}

impl OomReason {
    fn text(&self) -> String {
        match self.limit_bytes {
            Some(bytes) => {
                format!("the memory limit of its test, {} MiB, was reached", bytes >> 20)
            }
            None => "the machine, or a control group above that of its test, was out of memory"
                .to_owned(),
        }
    }
}

/// An exit by signal 9.
struct KilledExit {
    ts_ms: i64,
    process: ProcessId,
    test: Option<Arc<str>>,
    pid: i32,
    comm: Comm,
    hwm_bytes: u64,
    cgroup: Option<Vec<u8>>,
}

/// Kills that were counted between two readings.
struct Kill {
    after_ms: i64,
    read_ms: i64,
    count: u64,
    /// The control groups that count one more, the innermost last.
    groups: Vec<Arc<[u8]>>,
}

impl OomWatch {
    pub(super) fn new(anchor: ClockAnchor) -> Self {
        let (groups, exits, kills) = (BTreeMap::new(), VecDeque::new(), VecDeque::new());
        Self { anchor, machine: None, groups, exits, kills, reasons: Vec::new() }
    }

    /// Takes what callers know of kills. It may come before a kill is counted, or after.
    pub(super) fn explain(&mut self, reasons: impl IntoIterator<Item = OomReason>) {
        self.reasons.extend(reasons);
        let excess = self.reasons.len().saturating_sub(MAX_ENDS);
        self.reasons.drain(..excess);
    }

    /// Adds a mark to the batch for each kill that can be attributed by now.
    pub(super) fn add_marks(&mut self, batch: &mut Batch) {
        self.read(batch);
        self.tell_what_is_due(batch);
    }

    /// Adds marks for the kills that have none yet, at the end of a recording, of which `last` holds the
    /// counters.
    pub(super) fn add_last_marks(&mut self, last: &mut Batch) {
        self.read(last);
        while let Some(kill) = self.kills.pop_front() {
            self.tell(kill, &mut last.marks);
        }
    }

    /// Notes the ends and the counters of a batch.
    fn read(&mut self, batch: &Batch) {
        self.exits
            .extend(batch.exits.iter().filter(|exit| exit.signal() == Some(9)).map(KilledExit::of));
        let excess = self.exits.len().saturating_sub(MAX_ENDS);
        self.exits.drain(..excess);
        let groups = self.groups_that_count_more(batch);
        for system in &batch.system {
            let Some(total) = system.vmstat.as_ref().and_then(|vmstat| vmstat.oom_kill) else {
                continue;
            };
            if let Some((after_ms, before)) = self.machine.replace((system.ts_ms, total))
                && total > before
            {
                let kill = Kill {
                    after_ms,
                    read_ms: system.ts_ms,
                    count: total - before,
                    groups: groups.clone(),
                };
                self.kills.push_back(kill);
            } else if let Some(kill) = self.kills.back_mut()
                && kill.groups.is_empty()
            {
                // The groups are read after the machine, and may show it one batch later.
                kill.groups.clone_from(&groups);
            }
        }
    }

    fn tell_what_is_due(&mut self, batch: &mut Batch) {
        let Some(now_ms) = batch.ticks.last().map(|tick| tick.tick.ts_ms) else { return };
        while let Some(kill) = self.kills.pop_front() {
            let enough = self.ends_of(&kill).count() as u64 >= kill.count;
            let late = now_ms > kill.read_ms.saturating_add(MAX_DYING_MS);
            // The groups of a kill that was only just read may come with the next batch.
            let settled = !kill.groups.is_empty() || now_ms > kill.read_ms.saturating_add(1500);
            if !(late || enough && settled) {
                self.kills.push_front(kill);
                break;
            }
            self.tell(kill, &mut batch.marks);
        }
        self.exits.retain(|end| now_ms <= end.ts_ms.saturating_add(2 * MAX_DYING_MS));
    }

    /// Returns the groups whose counter moved in this batch, shortest path first.
    fn groups_that_count_more(&mut self, batch: &Batch) -> Vec<Arc<[u8]>> {
        let mut moved = Vec::new();
        let first_ms = batch.cgroups.first().map(|row| row.ts_ms);
        let at_start = self.groups.is_empty();
        for row in &batch.cgroups {
            let Some(total) = row.events.oom_kill else { continue };
            // A group that no process was in before has counted since then: a test may join its group
            // and die there between two readings. Groups of the first reading may have counted always.
            let is_new = !(at_start && Some(row.ts_ms) == first_ms) && row.limit_bytes.is_some();
            let before = self.groups.insert(Arc::clone(&row.cgroup), total);
            let counts_more = before.map_or(is_new && total > 0, |before| total > before);
            if counts_more && !moved.contains(&row.cgroup) {
                moved.push(Arc::clone(&row.cgroup));
            }
        }
        // Only those that are still there can count.
        if let Some(last) = batch.cgroups.last() {
            let there = |group: &Arc<[u8]>| {
                batch.cgroups.iter().any(|row| row.ts_ms == last.ts_ms && row.cgroup == *group)
            };
            self.groups.retain(|group, _| there(group));
        }
        moved.sort_by_key(|group| group.len());
        moved
    }

    fn ends_of(&self, kill: &Kill) -> impl Iterator<Item = usize> + '_ {
        let (after, until) = (kill.after_ms, kill.read_ms.saturating_add(MAX_DYING_MS));
        (self.exits.iter().enumerate())
            .filter(move |(_, end)| (after..=until).contains(&end.ts_ms))
            .map(|(index, _)| index)
    }

    fn tell(&mut self, kill: Kill, marks: &mut Vec<Mark>) {
        let group = kill.groups.last().map(|group| text(group));
        // The counter of the machine counts those for the limit of a group too.
        let why = |own: Option<&[u8]>| match (&group, own) {
            (Some(group), _) => format!("the control group `{group}` was at its limit"),
            (None, Some(own)) => format!(
                "the machine was out of memory, or its control group `{}`, which was not read in time",
                text(own)
            ),
            (None, None) => {
                "the machine, or a control group that was not read, was out of memory".to_owned()
            }
        };
        let mut candidates: Vec<usize> = self.ends_of(&kill).collect();
        // Somebody else may have sent a signal too. The kernel takes the largest of the group.
        let is_member = |end: &KilledExit| {
            let groups = kill.groups.last().zip(end.cgroup.as_ref());
            groups.is_none_or(|(group, path)| is_within(path, group))
        };
        candidates.sort_by_key(|&index| {
            let end = self.exits.get(index);
            let of =
                |end: &KilledExit| (self.reason_of(end).is_some(), is_member(end), end.hwm_bytes);
            std::cmp::Reverse(end.map(of))
        });
        let known = usize::try_from(kill.count.min(MAX_NAMED)).unwrap_or(usize::MAX);
        candidates.truncate(known);
        candidates.sort_unstable();
        for &index in candidates.iter().rev() {
            let Some(end) = self.exits.remove(index) else { continue };
            let mib = end.hwm_bytes >> 20;
            let why = match self.reason_of(&end) {
                Some(index) => self.use_reason(index),
                None => why(end.cgroup.as_deref()),
            };
            let name = format!("{} ({}) of {mib} MiB was killed: {why}", end.comm, end.pid);
            let test = end.test.map(|test| test.to_string());
            let process = Some(end.process);
            marks.push(Mark { test, process, ..self.mark(end.ts_ms, name) });
        }
        let unknown = kill.count.saturating_sub(candidates.len() as u64);
        if unknown > 0 {
            let why = why(None);
            let name = format!("{unknown} processes that are not known were killed: {why}");
            marks.push(self.mark(kill.read_ms, name));
        }
    }

    /// Returns which reason is about an exit, if any.
    fn reason_of(&self, end: &KilledExit) -> Option<usize> {
        let test = end.test.as_deref()?;
        self.reasons.iter().position(|reason| reason.kills > 0 && reason.test == test)
    }

    /// Returns the text of a reason, which is about one kill less from now on.
    fn use_reason(&mut self, index: usize) -> String {
        let Some(reason) = self.reasons.get_mut(index) else { return String::new() };
        reason.kills = reason.kills.saturating_sub(1);
        let text = reason.text();
        self.reasons.retain(|reason| reason.kills > 0);
        text
    }

    fn mark(&self, ts_ms: i64, name: String) -> Mark {
        let since_anchor_ns = (i128::from(ts_ms) * 1_000_000) - i128::from(self.anchor.utc_ns);
        let boot_ns = i128::from(self.anchor.boot_ns) + since_anchor_ns;
        let boot_ns = u64::try_from(boot_ns).unwrap_or(0);
        Mark {
            ts_ms,
            boot_ns,
            kind: MarkKind::OomKill,
            name,
            test: None,
            process: None,
            labels: BTreeMap::new(),
            marked: None,
        }
    }
}

impl KilledExit {
    fn of(exit: &Exit) -> Self {
        let Exit { ts_ms, process, test, pid, comm, hwm_bytes, killed_in, .. } = exit;
        Self {
            ts_ms: *ts_ms,
            process: *process,
            test: test.clone(),
            pid: *pid,
            comm: *comm,
            hwm_bytes: *hwm_bytes,
            cgroup: killed_in.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchTick;
    use crate::parse::Vmstat;
    use crate::schema::cgroups::CgroupSample;
    use crate::schema::system::SystemSample;
    use crate::schema::ticks::Tick;

    /// A second of a recording: the counter of the machine, that of a group, and who ended by which
    /// signal with how many MiB.
    fn second(ts_ms: i64, machine: u64, group: u64, ends: &[(i32, u32, u64)]) -> Batch {
        let mut batch = Batch::default();
        let tick = Tick { ts_ms, ..Tick::default() };
        batch.ticks.push(BatchTick { tick, common_files: None, changes: 0 });
        let vmstat = Some(Vmstat { oom_kill: Some(machine), ..Vmstat::default() });
        batch.system.push(SystemSample { ts_ms, vmstat, ..SystemSample::default() });
        let mut row = CgroupSample::new(ts_ms, b"/ci/job".as_slice().into(), 1);
        row.events.oom_kill = Some(group);
        row.limit_bytes = Some(100 << 20);
        batch.cgroups.push(row);
        batch.exits.extend(ends.iter().map(|&(pid, status, mib)| Exit {
            ts_ms,
            process: ProcessId(100 + u64::from(pid.unsigned_abs())),
            unsampled: None,
            parent: None,
            test: None,
            pid,
            ppid: 1,
            uid: 0,
            comm: Comm::new(b"eater"),
            start_ns: 0,
            lived_ns: 0,
            status,
            hwm_bytes: mib << 20,
            minflt: 0,
            majflt: 0,
            utime_ns: 0,
            stime_ns: 0,
            // One of another group, which would be the largest.
            killed_in: Some(if mib == 999 { &b"/other"[..] } else { b"/ci/job" }.to_vec()),
        }));
        batch
    }

    #[track_caller]
    fn check(batches: &mut [Batch], expected: &[&str]) {
        let mut watch = OomWatch::new(ClockAnchor { boot_ns: 0, utc_ns: 0 });
        let mut marks = Vec::new();
        let (last, others) = batches.split_last_mut().unwrap();
        for batch in others {
            watch.add_marks(batch);
            marks.append(&mut batch.marks);
        }
        // Everything is reported at the end, even if the recording ends at once.
        last.ticks.clear();
        watch.add_last_marks(last);
        marks.append(&mut last.marks);
        assert!(marks.iter().all(|mark| mark.kind == MarkKind::OomKill));
        let names: Vec<&str> = marks.iter().map(|mark| mark.name.as_str()).collect();
        assert_eq!(names, expected);
    }

    const IN_GROUP: &str =
        "eater (7) of 90 MiB was killed: the control group `/ci/job` was at its limit";

    #[test]
    fn a_kill_is_named_with_its_reason() {
        check(&mut [second(0, 5, 0, &[]), second(1000, 6, 1, &[(7, 9, 90)])], &[IN_GROUP]);
        // A larger one that ended in the same second was of another group.
        check(
            &mut [second(0, 5, 0, &[]), second(1000, 6, 1, &[(8, 9, 999), (7, 9, 90)])],
            &[IN_GROUP],
        );
        // It ended only later, and another one was killed by somebody else or ended in another way.
        check(
            &mut [
                second(0, 5, 0, &[]),
                second(1000, 6, 1, &[(8, 15, 500)]),
                second(2000, 6, 1, &[(7, 9, 90), (9, 9, 3)]),
                second(9000, 6, 1, &[]),
            ],
            &[IN_GROUP],
        );
        check(
            &mut [second(0, 5, 2, &[]), second(1000, 6, 2, &[(7, 9, 90)]), second(3000, 6, 2, &[])],
            &[
                "eater (7) of 90 MiB was killed: the machine was out of memory, or its control group `/ci/job`, which was not read in time",
            ],
        );
    }

    #[test]
    fn who_limits_a_test_gives_the_reason_and_the_mark_names_test_and_image() {
        let mut watch = OomWatch::new(ClockAnchor { boot_ns: 0, utc_ns: 0 });
        let mut marks = Vec::new();
        // Two tests: of one the runner knows that its limit was reached, of the other nobody says anything.
        let mut batches = [
            second(0, 5, 2, &[]),
            second(1000, 7, 2, &[(7, 9, 90), (8, 9, 200)]),
            second(9000, 7, 2, &[]),
        ];
        for exit in &mut batches[1].exits {
            exit.test = Some(if exit.pid == 7 { "limited" } else { "other" }.into());
        }
        let reason =
            |test: &str| OomReason { test: test.to_owned(), kills: 1, limit_bytes: Some(32 << 20) };
        watch.explain([reason("limited"), reason("elsewhere")]);
        for batch in &mut batches {
            watch.add_marks(batch);
            marks.append(&mut batch.marks);
        }
        let of = |process: u64| {
            let [mark] = marks
                .iter()
                .filter(|mark| mark.process == Some(ProcessId(process)))
                .collect::<Vec<_>>()[..]
            else {
                panic!("{marks:?}");
            };
            (mark.test.as_deref(), mark.name.as_str())
        };
        let limited =
            "eater (7) of 90 MiB was killed: the memory limit of its test, 32 MiB, was reached";
        assert_eq!(of(107), (Some("limited"), limited));
        let other = "eater (8) of 200 MiB was killed: the machine was out of memory, or its control group `/ci/job`, which was not read in time";
        assert_eq!(of(108), (Some("other"), other));
        assert_eq!(watch.reasons, [reason("elsewhere")]);
    }

    #[test]
    fn what_is_not_known_is_not_named() {
        // Kills before the recording; a signal 9 that was no such kill; one long before.
        check(&mut [second(0, 5, 3, &[(7, 9, 90)]), second(1000, 5, 3, &[(8, 9, 90)])], &[]);
        check(
            &mut [
                second(0, 5, 0, &[(7, 9, 90)]),
                second(1000, 5, 0, &[]),
                second(2000, 7, 2, &[]),
                second(9000, 7, 2, &[]),
            ],
            &[
                "2 processes that are not known were killed: the control group `/ci/job` was at its limit",
            ],
        );
    }
}
