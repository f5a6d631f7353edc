//! Whose `smaps_rollup` is read, within a share of one CPU.
//!
//! Reading it costs 60 times as much as `statm`, and more the larger the process. So there is an account
//! of CPU time that fills with time, and once a second a queue: whose memory changed most comes first,
//! and who was not read for long is in it too. Who has just begun, and is small, has a purse of its own,
//! so that there is a reading of what lives for a moment beside what is large and changes.
//! Where there are tests, most of the income is for their processes, which come before all others.

use std::cmp::Reverse;

use super::entry::Entry;
use super::last_rollup::BASE_COST_NS;
use super::processes::Processes;
use super::test_groups::{DueGroup, DueMember, TestGroups};
use crate::identity::ProcessId;
use crate::metric::{Files, Metric};

/// How often it is decided who is next.
const PLAN_NS: u64 = 1_000_000_000;
/// How often those come into the queue who have begun since, so that of who lives for a moment there is
/// one reading, as far as the account goes.
const NEWBORN_NS: u64 = 50_000_000;
/// What may be saved up: the share of this much time. So much may be spent at once, too.
const SAVED_NS: f64 = 10_000_000_000.0;
/// What is in the account at the start: the share of this much time.
const FIRST_NS: f64 = 1_000_000_000.0;
/// The part of the income that goes to the purse of those who have just begun.
const NEWBORN_PART: f64 = 0.125;
/// What may be in that purse: the share of this much time.
const NEWBORN_SAVED_NS: f64 = 1_000_000_000.0;
/// The part of the income that is for tests as long as there are any. What is saved for them may be as much
/// as for all others, and is there from the start.
const TESTS_PART: f64 = 0.75;
/// What there is without a limit: days of it.
const UNLIMITED_NS: f64 = 1e15;
/// Who costs more waits with the others.
const NEWBORN_MAX_NS: u64 = 1_000_000;
/// The longest that a process may be held up: its memory map is locked while it is read.
const MAX_STALL_NS: u64 = 75_000_000;
/// Who did not change is read again after this time, since what it shares changes with others.
const REFRESH_NS: u64 = 20_000_000_000;
/// Or later, if it is so large that this part of a CPU would go to it alone.
const REFRESH_PER_COST: u64 = 1000;
/// Who was not read for so many times that long comes before all others.
const OVERDUE: u64 = 3;
/// A smaller change of the resident set is none.
const MIN_CHANGE_BYTES: u64 = 64 * 1024;
const MIN_CHANGE_PART: u64 = 100;

/// The account, and who is next.
pub(crate) struct Governor {
    /// CPU time for each unit of time; infinite where there is no limit.
    share: f64,
    account_ns: f64,
    /// What is put by for somebody who costs more than is in the account.
    savings_ns: f64,
    /// What that one costs.
    saving_for_ns: Option<u64>,
    credited_boot_ns: Option<u64>,
    planned_boot_ns: Option<u64>,
    /// When it was last looked who has begun, and the newest process image that was there.
    joined_boot_ns: u64,
    newest: ProcessId,
    /// Whom to read, the first last.
    queue: Vec<RollupCandidate>,
    /// Who was never read and is cheap, the first last; and what is theirs alone.
    newborns: Vec<RollupCandidate>,
    newborn_ns: f64,
    /// What is for tests alone; which of them are next, and the processes of one of them.
    tests_ns: f64,
    due_tests: Vec<DueGroup>,
    due_members: Vec<DueMember>,
}

/// Who pays for a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purse {
    Account,
    Newborns,
    Tests,
}

struct RollupCandidate {
    pid: i32,
    predicted_ns: u64,
    overdue: bool,
    change_bytes: u64,
    age_ns: u64,
}

impl Governor {
    /// Limits to `share` of one CPU, such as 0.01.
    pub(crate) fn new(share: f64) -> Self {
        Self {
            share,
            account_ns: share * FIRST_NS * (1.0 - NEWBORN_PART),
            savings_ns: 0.0,
            saving_for_ns: None,
            credited_boot_ns: None,
            planned_boot_ns: None,
            joined_boot_ns: 0,
            newest: ProcessId(0),
            queue: Vec::new(),
            newborns: Vec::new(),
            newborn_ns: share * FIRST_NS * NEWBORN_PART,
            tests_ns: (share * SAVED_NS).min(UNLIMITED_NS),
            due_tests: Vec::new(),
            due_members: Vec::new(),
        }
    }

    /// Fills the account. Half goes to the savings while there is somebody to save for: others need
    /// not wait, and nobody waits for ever.
    fn credit(&mut self, now_ns: u64, has_tests: bool) {
        let before_ns = self.credited_boot_ns.replace(now_ns).unwrap_or(now_ns);
        let mut income_ns = self.share * now_ns.saturating_sub(before_ns) as f64;
        if has_tests && income_ns.is_finite() {
            let room_ns = (self.share * SAVED_NS - self.tests_ns).max(0.0);
            let tests_ns = (income_ns * TESTS_PART).min(room_ns);
            self.tests_ns += tests_ns;
            income_ns -= tests_ns;
        }
        let room_ns = (self.share * NEWBORN_SAVED_NS - self.newborn_ns).max(0.0);
        let newborn_ns = (income_ns * NEWBORN_PART).min(room_ns);
        self.newborn_ns += newborn_ns;
        // An income without limit is not divided.
        let income_ns = if income_ns.is_finite() { income_ns - newborn_ns } else { income_ns };
        let most_ns = self.share * SAVED_NS;
        if self.saving_for_ns.is_some() {
            self.savings_ns = (self.savings_ns + income_ns / 2.0).min(most_ns);
            self.account_ns = (self.account_ns + income_ns / 2.0).min(most_ns - self.savings_ns);
        } else {
            let all_ns = self.account_ns + self.savings_ns + income_ns;
            (self.account_ns, self.savings_ns) = (all_ns.min(most_ns), 0.0);
        }
    }

    /// Takes the next who can be paid out of the queue; who cannot is saved for.
    fn next(&mut self, now_ns: u64, until_boot_ns: u64) -> Option<(i32, Purse)> {
        if let Some(pid) = self.next_newborn(self.newborn_ns, now_ns, until_boot_ns) {
            return Some((pid, Purse::Newborns));
        }
        self.saving_for_ns = None;
        for index in (0..self.queue.len()).rev() {
            let predicted_ns = self.queue.get(index)?.predicted_ns;
            if now_ns.saturating_add(predicted_ns) > until_boot_ns {
                continue;
            }
            let cost_ns = predicted_ns as f64;
            let savings_ns = if self.saving_for_ns.is_none() { self.savings_ns } else { 0.0 };
            if cost_ns <= self.account_ns + savings_ns {
                return Some((self.queue.remove(index).pid, Purse::Account));
            }
            if self.account_ns <= BASE_COST_NS as f64 {
                // It is enough for nobody.
                self.saving_for_ns.get_or_insert(predicted_ns);
                return None;
            }
            self.saving_for_ns.get_or_insert(predicted_ns);
        }
        if self.saving_for_ns.is_some() {
            return None;
        }
        // Nobody else waits for what is in the account.
        let newborn = self.next_newborn(self.account_ns, now_ns, until_boot_ns);
        newborn.map(|pid| (pid, Purse::Account))
    }

    fn next_newborn(&mut self, purse_ns: f64, now_ns: u64, until_boot_ns: u64) -> Option<i32> {
        let predicted_ns = self.newborns.last()?.predicted_ns;
        let fits = now_ns.saturating_add(predicted_ns) <= until_boot_ns;
        (fits && predicted_ns as f64 <= purse_ns).then(|| self.newborns.pop())?.map(|it| it.pid)
    }

    fn pay(&mut self, cost_ns: u64, purse: Purse) {
        match purse {
            Purse::Newborns => return self.newborn_ns -= cost_ns as f64,
            Purse::Tests => return self.tests_ns -= cost_ns as f64,
            Purse::Account => {}
        }
        self.account_ns -= cost_ns as f64;
        if self.account_ns < 0.0 && self.saving_for_ns.is_none() {
            let taken_ns = self.savings_ns.min(-self.account_ns);
            self.savings_ns -= taken_ns;
            self.account_ns += taken_ns;
        }
    }

    /// Returns the longest reading that is made at all.
    fn max_single_ns(&self, longest_ns: u64) -> u64 {
        // The conversion of what is too large gives the largest number.
        MAX_STALL_NS.min(longest_ns).min((self.share * SAVED_NS) as u64)
    }

    /// Puts everyone into the queue who is to be read, and returns how many never will be.
    fn plan(&mut self, entries: &[Entry], now_ns: u64, longest_ns: u64) -> u32 {
        (self.planned_boot_ns, self.newest) = (Some(now_ns), ProcessId(0));
        self.queue.clear();
        self.newborns.clear();
        self.join(entries, now_ns, longest_ns)
    }

    /// Puts those who have begun since the last time into the queue too, in the same order.
    fn join(&mut self, entries: &[Entry], now_ns: u64, longest_ns: u64) -> u32 {
        let max_single_ns = self.max_single_ns(longest_ns);
        let before = self.newest;
        let mut skipped = 0;
        self.joined_boot_ns = now_ns;
        let read = entries.iter().filter(|entry| !entry.read.is_empty());
        for (entry, process) in read.filter_map(|entry| Some((entry, entry.process()?))) {
            let id = process.identity.process;
            if id <= before && before != ProcessId(0) {
                continue;
            }
            self.newest = self.newest.max(id);
            let rss_bytes = process.metrics.get(Metric::Rss);
            let last = process.rollup;
            let predicted_ns = last.predict_ns(rss_bytes, process.page_table_bytes);
            if predicted_ns > max_single_ns {
                skipped += 1;
                continue;
            }
            let change_bytes = rss_bytes.abs_diff(last.rss_bytes);
            let age_ns = now_ns.saturating_sub(last.boot_ns);
            let refresh_ns = REFRESH_NS.max(predicted_ns.saturating_mul(REFRESH_PER_COST));
            let changed = change_bytes >= MIN_CHANGE_BYTES.max(last.rss_bytes / MIN_CHANGE_PART);
            if last.boot_ns == 0 || changed || age_ns >= refresh_ns {
                let overdue = last.boot_ns != 0 && age_ns >= OVERDUE * refresh_ns;
                let pid = entry.pid;
                let candidate =
                    RollupCandidate { pid, predicted_ns, overdue, change_bytes, age_ns };
                match last.boot_ns == 0 && predicted_ns <= NEWBORN_MAX_NS {
                    true => {
                        let age_ns = now_ns.saturating_sub(process.identity.start_ns);
                        self.newborns.push(RollupCandidate { age_ns, ..candidate });
                    }
                    false => self.queue.push(candidate),
                }
            }
        }
        // The youngest first: it may end first.
        self.newborns.sort_unstable_by_key(|it| Reverse(it.age_ns));
        self.queue.sort_unstable_by_key(|it| (it.overdue, it.change_bytes, it.age_ns));
        skipped
    }

    /// Reads `smaps_rollup` of those who are next, as far as the account of the governor goes, and no
    /// longer than until `until_boot_ns`, of processes that were read in this sweep.
    pub(super) fn read_rollups(
        &mut self,
        processes: &mut Processes,
        tests: &mut TestGroups,
        until_boot_ns: u64,
    ) {
        if !processes.reader.supported.contains(Files::SMAPS_ROLLUP) {
            return;
        }
        let mut now_ns = processes.reader.clock.now().boot_ns;
        self.credit(now_ns, !tests.is_empty());
        self.pay(std::mem::take(&mut processes.late_cost_ns), Purse::Account);
        if !tests.is_empty() {
            self.read_tests(processes, tests, until_boot_ns);
            now_ns = processes.reader.clock.now().boot_ns;
        }
        let planned_ns = self.planned_boot_ns;
        let longest_ns = until_boot_ns.saturating_sub(now_ns);
        if planned_ns.is_none_or(|planned_ns| now_ns >= planned_ns.saturating_add(PLAN_NS)) {
            processes.counts.rollups_skipped += self.plan(&processes.entries, now_ns, longest_ns);
        } else if now_ns >= self.joined_boot_ns.saturating_add(NEWBORN_NS) {
            // Who is too large now is counted when all are planned.
            self.join(&processes.entries, now_ns, longest_ns);
        }
        while let Some((pid, purse)) = self.next(now_ns, until_boot_ns) {
            self.read_one(processes, pid, purse, (now_ns, until_boot_ns));
            now_ns = processes.reader.clock.now().boot_ns;
        }
        processes.counts.rollups_pending =
            u32::try_from(self.queue.len() + self.newborns.len()).unwrap_or(u32::MAX);
    }

    /// Reads the processes of tests that are to be read, those of one test one after the other.
    ///
    /// What was read of a part of them counts as long as nobody begins or ends, so that a test that is larger
    /// than a tick allows is read in several.
    fn read_tests(
        &mut self,
        processes: &mut Processes,
        tests: &mut TestGroups,
        until_boot_ns: u64,
    ) {
        let now_ns = processes.reader.clock.now().boot_ns;
        let mut due = std::mem::take(&mut self.due_tests);
        let mut members = std::mem::take(&mut self.due_members);
        tests.plan(processes, now_ns, &mut due);
        let most_ns = (self.share * SAVED_NS).min(UNLIMITED_NS);
        for group in &due {
            let cost_ns = group.cost_ns as f64;
            // Half is kept for those at their peak.
            let kept_ns = if group.can_wait { most_ns / 2.0 } else { 0.0 };
            // What is larger than all that can be saved is read in parts.
            let is_affordable = cost_ns <= self.tests_ns - kept_ns
                || (cost_ns > most_ns && self.tests_ns >= most_ns / 2.0);
            if !is_affordable {
                continue;
            }
            tests.members(group, &mut members);
            for &DueMember { pid, predicted_ns } in &members {
                let now_ns = processes.reader.clock.now().boot_ns;
                if predicted_ns > MAX_STALL_NS
                    || now_ns.saturating_add(predicted_ns) > until_boot_ns
                    || predicted_ns as f64 > self.tests_ns
                {
                    continue;
                }
                self.read_one(processes, pid, Purse::Tests, (now_ns, until_boot_ns));
            }
            tests.note_read(group.number, now_ns, processes);
        }
        (self.due_tests, self.due_members) = (due, members);
    }

    /// Reads a process at an instant, if that comes back before another one; both since boot.
    fn read_one(
        &mut self,
        processes: &mut Processes,
        pid: i32,
        purse: Purse,
        (now_ns, until_boot_ns): (u64, u64),
    ) {
        let index = processes.entries.partition_point(|entry| entry.pid < pid);
        let entry = processes.entries.get_mut(index);
        let Some(entry) = entry.filter(|entry| entry.pid == pid && !entry.read.is_empty()) else {
            return;
        };
        let left_ns = Some(until_boot_ns.saturating_sub(now_ns));
        let read_ns = processes.reader.read_rollup(entry, left_ns, &mut processes.counts);
        // What did not come back comes with a later sweep, if at all, and is paid then.
        let Some(cost_ns) = read_ns else { return };
        self.pay(cost_ns, purse);
        processes.counts.rollups_read += 1;
        processes.counts.add_rollup_cost(cost_ns);
        if let Some(process) = entry.process_mut() {
            process.note_rollup(now_ns, cost_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody who changed by as much as a reading is dear.
    fn candidate(pid: i32, predicted_ns: u64) -> RollupCandidate {
        RollupCandidate { pid, predicted_ns, overdue: false, change_bytes: predicted_ns, age_ns: 0 }
    }

    #[test]
    fn the_account_fills_with_time_and_not_for_ever() {
        let mut governor = Governor::new(0.01);
        let second = 1_000_000_000;
        governor.credit(5 * second, false);
        assert_eq!((governor.account_ns, governor.newborn_ns), (8_750_000.0, 1_250_000.0));
        governor.account_ns = -5_000_000.0;
        governor.credit(6 * second, false);
        assert_eq!((governor.account_ns, governor.newborn_ns), (3_750_000.0, 2_500_000.0));
        governor.credit(600 * second, false);
        assert_eq!((governor.account_ns, governor.newborn_ns), (100_000_000.0, 10_000_000.0));
        assert_eq!(governor.max_single_ns(u64::MAX), MAX_STALL_NS);
        assert_eq!(Governor::new(0.001).max_single_ns(u64::MAX), 10_000_000);
        assert_eq!(Governor::new(f64::INFINITY).max_single_ns(80_000_000), MAX_STALL_NS);
    }

    #[test]
    fn somebody_dear_is_saved_for_while_others_go_on() {
        let mut governor = Governor::new(0.01);
        let (mut cheap, mut dear) = (0, 0);
        for tick in 0..600 {
            let now_ns = tick * 100_000_000;
            governor.credit(now_ns, false);
            if tick % 10 == 0 {
                // As a plan has it: the one who changed most is last.
                governor.queue = (0..20).map(|pid| candidate(pid, 1_000_000)).collect();
                governor.queue.push(candidate(99, 50_000_000));
            }
            while let Some((pid, purse)) = governor.next(now_ns, u64::MAX) {
                let cost_ns = if pid == 99 { 50_000_000 } else { 1_000_000 };
                *(if pid == 99 { &mut dear } else { &mut cheap }) += 1;
                governor.pay(cost_ns, purse);
            }
        }
        // A minute's budget is 600 ms, and half of it goes to each.
        assert!((5..=7).contains(&dear), "{dear}");
        assert!((250..=360).contains(&cheap), "{cheap}");
        assert!(dear * 50 + cheap <= 610, "{dear}, {cheap}");
    }

    #[test]
    fn who_has_just_begun_is_read_beside_who_is_large_and_changes() {
        let mut governor = Governor::new(0.01);
        let (mut small, mut large) = (0, 0);
        for tick in 0..600 {
            let now_ns = tick * 100_000_000;
            governor.credit(now_ns, false);
            governor.queue = (0..10).map(|pid| candidate(pid, 10_000_000)).collect();
            governor.newborns.push(candidate(100, 100_000));
            while let Some((pid, purse)) = governor.next(now_ns, u64::MAX) {
                let cost_ns = if pid == 100 { 100_000 } else { 10_000_000 };
                *(if pid == 100 { &mut small } else { &mut large }) += 1;
                assert_eq!(purse == Purse::Newborns, pid == 100);
                governor.pay(cost_ns, purse);
            }
        }
        // A minute's budget is 600 ms, of which 60 go to the small ones, all of which are read.
        assert_eq!(small, 600);
        assert!((50..=55).contains(&large), "{large}");
    }
}
