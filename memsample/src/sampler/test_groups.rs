//! The processes of tests, whose PSS is read before that of others, all of a test in one sweep.
//!
//! Memory that processes share is divided among them, so that a sum means something only if all were read
//! at about the same instant. A test is read when the sum of its resident sets comes near the largest at which it
//! was read, and about once a second.

use std::cmp::Reverse;

use super::entry::{Entry, GroupNumber};
use super::processes::Processes;
use crate::identity::{Comm, Identity, ProcessId};
use crate::metric::Metric;
use crate::scope::is_within;
use crate::units::ClockTicks;

/// A test is read again after this time, since what its processes share changes unseen.
const REFRESH_NS: u64 = 1_000_000_000;
/// A resident set that changed by less than this part is as it was read; of a whole test likewise.
const MIN_CHANGE_PART: u64 = 50;
const MIN_CHANGE_BYTES: u64 = 64 * 1024;
/// A group without process is forgotten after this time.
const EMPTY_NS: u64 = 10_000_000_000;
/// Spreads the numbers of images, so that two sets of them rarely have the same sum.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Maximum number of generations between a process and the root of its tree.
const MAX_DEPTH: usize = 4096;

/// Who belongs to a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TestScope {
    /// A process and what descends from it, without those that have the name of a launcher.
    Tree {
        /// The process.
        pid: i32,
        /// Its start.
        start: ClockTicks,
        /// The name of the launcher.
        launcher: Option<Comm>,
    },
    /// A control group and those below.
    Cgroup(Vec<u8>),
}

/// The groups of processes that are tests.
#[derive(Default)]
pub(crate) struct TestGroups {
    groups: Vec<TestGroup>,
    next: u32,
    /// Images up to this one have been looked at since a group was added.
    newest: ProcessId,
    members: Vec<Member>,
}

struct TestGroup {
    number: GroupNumber,
    scope: TestScope,
    /// Who asked for it, and the name of the test.
    holders: Vec<(u64, String)>,
    /// The sum of resident sets in the last sweep, and in the one before.
    rss_bytes: u64,
    rss_before_bytes: u64,
    /// How many there were in it, launchers included, and when there was one.
    present: u32,
    present_boot_ns: u64,
    /// Another one when somebody has begun or ended, and when that was: what the others share changed.
    signature: u64,
    signature_now: u64,
    changed_boot_ns: u64,
    read_boot_ns: u64,
    /// The largest sum of resident sets of which nearly all was read.
    read_rss_bytes: u64,
}

/// A process of a group.
#[derive(Clone, Copy)]
struct Member {
    group: GroupNumber,
    pid: i32,
    rss_bytes: u64,
    predicted_ns: u64,
    read_boot_ns: u64,
    read_rss_bytes: u64,
}

/// A process that is to be read.
#[derive(Clone, Copy)]
pub(super) struct DueMember {
    pub(super) pid: i32,
    pub(super) predicted_ns: u64,
}

/// A test that is to be read.
#[derive(Clone, Copy)]
pub(super) struct DueGroup {
    pub(super) number: GroupNumber,
    /// What its reading costs.
    pub(super) cost_ns: u64,
    /// Whether the processes whose reading holds no longer are enough.
    is_peak_unread: bool,
    /// Whether there will be a better time: it still grows, or is read only because the last reading is old.
    pub(super) can_wait: bool,
    read_boot_ns: u64,
}

impl TestGroups {
    /// Adds the processes of a test. `holder` is a number of who asked for it.
    pub(crate) fn begin(&mut self, holder: u64, scope: TestScope, test: String, now_ns: u64) {
        if let Some(group) = self.groups.iter_mut().find(|group| group.scope == scope) {
            group.holders.push((holder, test));
            return;
        }
        self.next = self.next.saturating_add(1);
        self.newest = ProcessId(0);
        self.groups.push(TestGroup {
            number: GroupNumber(self.next),
            scope,
            holders: vec![(holder, test)],
            rss_bytes: 0,
            rss_before_bytes: 0,
            present: 0,
            present_boot_ns: now_ns,
            signature: 0,
            signature_now: 0,
            changed_boot_ns: 0,
            read_boot_ns: 0,
            read_rss_bytes: 0,
        });
    }

    /// Forgets a test, or all tests of a holder.
    pub(crate) fn end(&mut self, holder: u64, test: Option<&str>) {
        let is_other = |(by, name): &(u64, String)| {
            *by != holder || test.is_some_and(|test| test != name.as_str())
        };
        self.groups.iter_mut().for_each(|group| group.holders.retain(is_other));
        self.groups.retain(|group| !group.holders.is_empty());
    }

    /// Returns whether there is no test.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Finds out which processes belong to which test and what they use now, and puts the tests into `due` that
    /// are to be read, the most urgent first.
    pub(super) fn plan(&mut self, processes: &mut Processes, now_ns: u64, due: &mut Vec<DueGroup>) {
        self.assign(processes);
        self.observe(processes, now_ns);
        self.list_due(now_ns, due);
    }

    /// Puts the tests into `due` that are to be read, by what was observed last.
    fn list_due(&self, now_ns: u64, due: &mut Vec<DueGroup>) {
        due.clear();
        for group in &self.groups {
            let (mut stale_bytes, mut stale_ns, mut all_ns) = (0_u64, 0_u64, 0_u64);
            for member in self.members.iter().filter(|member| member.group == group.number) {
                all_ns = all_ns.saturating_add(member.predicted_ns);
                if member.is_stale(group.changed_boot_ns) {
                    stale_bytes = stale_bytes.saturating_add(member.rss_bytes);
                    stale_ns = stale_ns.saturating_add(member.predicted_ns);
                }
            }
            let margin = group.rss_bytes / MIN_CHANGE_PART;
            let is_peak_unread = stale_bytes > margin
                && group.rss_bytes.saturating_add(margin) >= group.read_rss_bytes;
            let is_old = now_ns.saturating_sub(group.read_boot_ns) >= REFRESH_NS;
            let grows = group.rss_bytes > group.rss_before_bytes.saturating_add(margin);
            if group.rss_bytes > 0 && (is_peak_unread || is_old) {
                due.push(DueGroup {
                    number: group.number,
                    cost_ns: if is_peak_unread { stale_ns } else { all_ns },
                    is_peak_unread,
                    can_wait: !is_peak_unread || grows,
                    read_boot_ns: group.read_boot_ns,
                });
            }
        }
        // Who was not read for longest comes first.
        due.sort_unstable_by_key(|due| (due.can_wait, due.read_boot_ns));
    }

    /// Notes what each group uses now.
    fn observe(&mut self, processes: &Processes, now_ns: u64) {
        let Self { groups, members, .. } = self;
        members.clear();
        for group in groups.iter_mut() {
            group.rss_before_bytes = std::mem::take(&mut group.rss_bytes);
            (group.present, group.signature_now) = (0, 0);
        }
        for entry in processes.entries.iter().filter(|entry| !entry.read.is_empty()) {
            let Some(process) = entry.process() else { continue };
            let of = |group: &&mut TestGroup| Some(group.number) == process.test_group;
            let Some(group) = groups.iter_mut().find(of) else { continue };
            group.present += 1;
            if !group.scope.counts(&process.comm) {
                continue;
            }
            let rss_bytes = process.metrics.get(Metric::Rss);
            let ProcessId(id) = process.identity.process;
            group.signature_now = group.signature_now.wrapping_add(id.wrapping_mul(SPREAD));
            group.rss_bytes = group.rss_bytes.saturating_add(rss_bytes);
            members.push(Member {
                group: group.number,
                pid: entry.pid,
                rss_bytes,
                predicted_ns: process.rollup.predict_ns(rss_bytes, process.page_table_bytes),
                read_boot_ns: process.rollup.boot_ns,
                read_rss_bytes: process.rollup.rss_bytes,
            });
        }
        groups.retain_mut(|group| {
            if group.signature != group.signature_now {
                (group.signature, group.changed_boot_ns) = (group.signature_now, now_ns);
            }
            if group.present > 0 {
                group.present_boot_ns = now_ns;
            }
            now_ns.saturating_sub(group.present_boot_ns) < EMPTY_NS
        });
    }

    /// Returns the processes of a test that are to be read, who was not read for longest first, so that a test for
    /// which a tick is too short is complete after some.
    pub(super) fn members(&mut self, group: &DueGroup, members: &mut Vec<DueMember>) {
        members.clear();
        let changed_boot_ns = self.groups.iter().find(|it| it.number == group.number);
        let changed_boot_ns = changed_boot_ns.map_or(0, |group| group.changed_boot_ns);
        self.members
            .sort_unstable_by_key(|member| (member.read_boot_ns, Reverse(member.rss_bytes)));
        let of_group = self.members.iter().filter(|member| {
            member.group == group.number
                && (!group.is_peak_unread || member.is_stale(changed_boot_ns))
        });
        let due = |&Member { pid, predicted_ns, .. }: &Member| DueMember { pid, predicted_ns };
        members.extend(of_group.map(due));
    }

    /// Notes which processes of a test hold a reading now.
    pub(super) fn note_read(&mut self, number: GroupNumber, now_ns: u64, processes: &Processes) {
        let Some(group) = self.groups.iter_mut().find(|group| group.number == number) else {
            return;
        };
        group.read_boot_ns = now_ns;
        let mut stale_bytes = 0_u64;
        for member in self.members.iter().filter(|member| member.group == number) {
            let index = processes.entries.partition_point(|entry| entry.pid < member.pid);
            let entry = processes.entries.get(index).filter(|entry| entry.pid == member.pid);
            let Some(process) = entry.and_then(Entry::process) else { continue };
            let read_rss_bytes = process.rollup.rss_bytes;
            let now = Member { read_boot_ns: process.rollup.boot_ns, read_rss_bytes, ..*member };
            if now.is_stale(group.changed_boot_ns) {
                stale_bytes = stale_bytes.saturating_add(member.rss_bytes);
            }
        }
        if stale_bytes <= group.rss_bytes / MIN_CHANGE_PART {
            group.read_rss_bytes = group.read_rss_bytes.max(group.rss_bytes);
        }
    }

    /// Finds the group of each image that has begun since the last call, or of all after a group was added.
    fn assign(&mut self, processes: &mut Processes) {
        let newest = self.newest;
        for index in 0..processes.entries.len() {
            let Some(process) = processes.entries.get(index).and_then(Entry::process) else {
                continue;
            };
            if process.identity.process <= newest && !process.is_regrouped {
                continue;
            }
            let group = self.group_of(&processes.entries, &process.identity);
            // Whose parent has ended keeps the group that it had.
            let group = group.or(process.test_group);
            if let Some(process) = processes.entries.get_mut(index).and_then(Entry::process_mut) {
                (process.test_group, process.is_regrouped) = (group, false);
            }
        }
        self.newest = processes.slots.newest();
    }

    fn group_of(&self, entries: &[Entry], identity: &Identity) -> Option<GroupNumber> {
        let mut identity = identity;
        for _ in 0..MAX_DEPTH {
            // The last one that was added is the innermost.
            let own = self.groups.iter().rev().find(|group| group.scope.is_root(identity));
            if let Some(group) = own {
                return Some(group.number);
            }
            let index = entries.partition_point(|entry| entry.pid < identity.ppid);
            let parent = entries.get(index).filter(|entry| entry.pid == identity.ppid)?;
            let parent = parent.process()?;
            if parent.identity.pid == identity.pid || parent.identity.start > identity.start {
                return None;
            }
            if parent.identity.process <= self.newest {
                return parent.test_group;
            }
            identity = &parent.identity;
        }
        None
    }
}

impl TestScope {
    fn is_root(&self, identity: &Identity) -> bool {
        match self {
            Self::Tree { pid, start, .. } => (*pid, *start) == (identity.pid, identity.start),
            Self::Cgroup(group) => {
                identity.cgroup.as_deref().is_some_and(|path| is_within(path, group))
            }
        }
    }

    fn counts(&self, comm: &Comm) -> bool {
        match self {
            Self::Tree { launcher, .. } => launcher.as_ref() != Some(comm),
            Self::Cgroup(_) => true,
        }
    }
}

impl Member {
    fn is_stale(&self, changed_boot_ns: u64) -> bool {
        let change = self.rss_bytes.abs_diff(self.read_rss_bytes);
        self.read_boot_ns == 0
            || self.read_boot_ns < changed_boot_ns
            || change > MIN_CHANGE_BYTES.max(self.read_rss_bytes / MIN_CHANGE_PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SECOND: u64 = 1_000_000_000;

    fn tree(pid: i32) -> TestScope {
        TestScope::Tree { pid, start: ClockTicks(7), launcher: None }
    }

    /// Two tests with these sums of resident sets, now and in the sweep before, that were never read.
    fn groups(sums: [(u64, u64); 2]) -> TestGroups {
        let mut groups = TestGroups::default();
        for (pid, (rss_bytes, rss_before_bytes)) in (1..).zip(sums) {
            groups.begin(1, tree(pid), format!("test {pid}"), 0);
            let group = groups.groups.last_mut().unwrap();
            (group.rss_bytes, group.rss_before_bytes) = (rss_bytes, rss_before_bytes);
        }
        groups
    }

    /// A process of a group with 100 MiB, and what it had at its last reading.
    fn member(group: u32, pid: i32, (read_boot_ns, read_rss_bytes): (u64, u64)) -> Member {
        Member {
            group: GroupNumber(group),
            pid,
            rss_bytes: 100 * MIB,
            predicted_ns: 1_000_000,
            read_boot_ns,
            read_rss_bytes,
        }
    }

    fn due(groups: &TestGroups, now_ns: u64) -> Vec<(u32, bool, u64)> {
        let mut due = Vec::new();
        groups.list_due(now_ns, &mut due);
        due.iter().map(|due| (due.number.0, due.can_wait, due.cost_ns)).collect()
    }

    #[test]
    fn a_test_at_its_peak_comes_before_one_that_grows() {
        let mut groups = groups([(200 * MIB, 100 * MIB), (200 * MIB, 200 * MIB)]);
        groups.members = vec![member(1, 11, (0, 0)), member(2, 21, (0, 0)), member(2, 22, (0, 0))];
        assert_eq!(due(&groups, SECOND / 2), [(2, false, 2_000_000), (1, true, 1_000_000)]);
    }

    #[test]
    fn a_test_is_read_again_when_it_comes_near_its_peak_or_after_a_second() {
        let mut groups = groups([(100 * MIB, 100 * MIB), (0, 0)]);
        let read_ns = 10 * SECOND;
        groups.members = vec![member(1, 11, (read_ns, 100 * MIB))];
        let group = &mut groups.groups[0];
        (group.read_boot_ns, group.read_rss_bytes) = (read_ns, 100 * MIB);
        assert_eq!(due(&groups, read_ns + SECOND / 2), []);
        // All of it, since what its processes share may have changed.
        assert_eq!(due(&groups, read_ns + SECOND), [(1, true, 1_000_000)]);
        // It has less than when it was read, then more.
        groups.members[0].rss_bytes = 50 * MIB;
        groups.groups[0].rss_bytes = 50 * MIB;
        assert_eq!(due(&groups, read_ns + SECOND / 2), []);
        groups.members[0].rss_bytes = 110 * MIB;
        groups.groups[0].rss_bytes = 110 * MIB;
        assert_eq!(due(&groups, read_ns + SECOND / 2).len(), 1);
        // Nothing is in memory.
        groups.groups[0].rss_bytes = 0;
        assert_eq!(due(&groups, read_ns + 5 * SECOND), []);
    }

    #[test]
    fn a_reading_holds_until_somebody_begins_or_ends() {
        let read = member(1, 11, (10 * SECOND, 100 * MIB));
        assert!(!read.is_stale(9 * SECOND));
        assert!(read.is_stale(11 * SECOND), "somebody has begun since");
        assert!(member(1, 11, (0, 0)).is_stale(0), "it was never read");
        assert!(!member(1, 11, (10 * SECOND, 99 * MIB)).is_stale(0), "1 % more");
        assert!(member(1, 11, (10 * SECOND, 97 * MIB)).is_stale(0), "3 % more");
    }

    #[test]
    fn of_a_test_at_its_peak_those_are_read_whose_reading_no_longer_holds() {
        let mut groups = groups([(300 * MIB, 300 * MIB), (100 * MIB, 100 * MIB)]);
        groups.members = vec![
            member(1, 11, (5 * SECOND, 100 * MIB)),
            member(1, 12, (4 * SECOND, 10 * MIB)),
            member(1, 13, (0, 0)),
            member(2, 21, (0, 0)),
        ];
        let mut members = Vec::new();
        let group = |is_peak_unread| DueGroup {
            number: GroupNumber(1),
            cost_ns: 0,
            is_peak_unread,
            can_wait: false,
            read_boot_ns: 0,
        };
        groups.members(&group(true), &mut members);
        assert_eq!(members.iter().map(|due| due.pid).collect::<Vec<_>>(), [13, 12]);
        // Else all, who was not read for longest first.
        groups.members(&group(false), &mut members);
        assert_eq!(members.iter().map(|due| due.pid).collect::<Vec<_>>(), [13, 12, 11]);
    }

    #[test]
    fn a_test_is_known_as_long_as_somebody_asks_for_it() {
        let mut groups = TestGroups::default();
        groups.begin(1, tree(1), "a".to_owned(), 0);
        groups.begin(2, tree(1), "a".to_owned(), 0);
        groups.begin(1, tree(2), "b".to_owned(), 0);
        assert_eq!(groups.groups.len(), 2);
        groups.end(1, Some("a"));
        assert_eq!(groups.groups.len(), 2, "the other one still asks for it");
        groups.end(1, None);
        assert_eq!(groups.groups.len(), 1);
        groups.end(2, Some("a"));
        assert!(groups.is_empty());
    }
}
