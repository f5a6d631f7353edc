//! Which process the OOM killer killed, and why, from what a recording contains anyway.
//!
//! The kernel counts such kills, of the machine in `vmstat` and of each control group, and says in its log whom it
//! killed. Where the log may not be read, exit records name who ended by signal 9: a kill that was counted since the
//! reading before, and an end by signal 9 in that time or soon after, may belong together. If there are more such ends
//! than kills, somebody else has sent a signal too, and none of them is stated as a fact.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::oom_kill::{Kill, KilledExit, OomReason};
use crate::batch::Batch;
use crate::events::{KernelLog, OomLimit, OomVictim};
use crate::recording::ClockAnchor;
use crate::schema::marks::{Mark, MarkKind};

/// A killed process may need this long to end: its memory is taken from it first.
const MAX_DYING_MS: i64 = 5000;
/// Ends by signal 9 that are remembered: a test run that is aborted kills many.
const MAX_ENDS: usize = 1024;
/// Kills of one reading that are named, at most; of the rest only the number is.
const MAX_NAMED: u64 = 64;
/// Processes that are named of those that a kill may have been of, at most: the largest.
const MAX_CANDIDATES: usize = 8;

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
    /// `None` where it may not be read, or has lost something.
    log: Option<KernelLog>,
    /// Whom the log has named, of which no mark has been written yet.
    victims: VecDeque<OomVictim>,
}

impl OomWatch {
    pub(super) fn new(anchor: ClockAnchor, log: Option<KernelLog>) -> Self {
        Self {
            anchor,
            machine: None,
            groups: BTreeMap::new(),
            exits: VecDeque::new(),
            kills: VecDeque::new(),
            reasons: Vec::new(),
            log,
            victims: VecDeque::new(),
        }
    }

    /// Counts from what was read before anything that is recorded began: a kill before the first tick is one of the
    /// recording too.
    pub(super) fn counting_from(self, ts_ms: i64, kills: Option<u64>) -> Self {
        Self { machine: kills.map(|kills| (ts_ms, kills)), ..self }
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

    /// Notes what the kernel has said since the last call. Of a kill that was counted it says so within a moment.
    fn listen(&mut self) {
        let victims = &mut self.victims;
        let is_whole = self.log.as_mut().is_none_or(|log| {
            log.drain(|victim| {
                if victims.len() >= MAX_ENDS {
                    victims.pop_front();
                }
                victims.push_back(victim);
            })
        });
        if !is_whole {
            // Which kills the rest is of is not known any more.
            self.log = None;
            self.victims.clear();
        }
    }

    /// Notes the ends and the counters of a batch.
    fn read(&mut self, batch: &Batch) {
        self.listen();
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
                    others: Vec::new(),
                };
                self.kills.push_back(kill);
            } else if let Some(kill) = self.kills.back_mut()
                && kill.lacks_groups()
            {
                // The groups are read after the machine, and may show it one batch later.
                kill.add_groups(&groups);
            }
        }
    }

    fn tell_what_is_due(&mut self, batch: &mut Batch) {
        let Some(now_ms) = batch.ticks.last().map(|tick| tick.tick.ts_ms) else { return };
        while let Some(kill) = self.kills.pop_front() {
            let late = now_ms > kill.read_ms.saturating_add(MAX_DYING_MS);
            // Without the kernel's word, somebody else may still turn out to have ended in that time.
            let known = usize::try_from(kill.count).is_ok_and(|count| {
                let mut victims = self.victims.iter().take(count);
                self.victims.len() >= count
                    && victims.all(|victim| self.end_of(victim, &kill).is_some())
            });
            // The groups of a kill that was only just read may come with the next batch.
            let settled = !kill.lacks_groups() || now_ms > kill.read_ms.saturating_add(1500);
            if !(late || known && settled) {
                self.kills.push_front(kill);
                break;
            }
            self.tell(kill, &mut batch.marks);
        }
        self.exits.retain(|end| now_ms <= end.ts_ms.saturating_add(2 * MAX_DYING_MS));
    }

    /// Returns the groups whose counter moved in this batch, shortest path first, and by how much.
    fn groups_that_count_more(&mut self, batch: &Batch) -> Vec<(Arc<[u8]>, u64)> {
        let mut moved: Vec<(Arc<[u8]>, u64)> = Vec::new();
        let first_ms = batch.cgroups.first().map(|row| row.ts_ms);
        let at_start = self.groups.is_empty();
        for row in &batch.cgroups {
            let Some(total) = row.events.oom_kill else { continue };
            // A group that no process was in before has counted since then: a test may join its group
            // and die there between two readings. Groups of the first reading may have counted always.
            let is_new = !(at_start && Some(row.ts_ms) == first_ms) && row.limit_bytes.is_some();
            let before = self.groups.insert(Arc::clone(&row.cgroup), total);
            let more = total.saturating_sub(before.unwrap_or(if is_new { 0 } else { total }));
            match moved.iter_mut().find(|(group, _)| *group == row.cgroup) {
                Some((_, count)) => *count += more,
                None if more > 0 => moved.push((Arc::clone(&row.cgroup), more)),
                None => {}
            }
        }
        // Only those that are still there can count.
        if let Some(last) = batch.cgroups.last() {
            let there = |group: &Arc<[u8]>| {
                batch.cgroups.iter().any(|row| row.ts_ms == last.ts_ms && row.cgroup == *group)
            };
            self.groups.retain(|group, _| there(group));
        }
        moved.sort_by_key(|(group, _)| group.len());
        moved
    }

    fn ends_of(&self, kill: &Kill) -> impl Iterator<Item = usize> + '_ {
        let (after, until) = (kill.after_ms, kill.read_ms.saturating_add(MAX_DYING_MS));
        (self.exits.iter().enumerate())
            .filter(move |(_, end)| (after..=until).contains(&end.ts_ms))
            .map(|(index, _)| index)
    }

    /// Returns the exit of a process that the kernel has named.
    fn end_of(&self, victim: &OomVictim, kill: &Kill) -> Option<usize> {
        let mut ends = self.ends_of(kill);
        ends.find(|&index| self.exits.get(index).is_some_and(|end| end.pid == victim.pid))
    }

    fn tell(&mut self, kill: Kill, marks: &mut Vec<Mark>) {
        let named = usize::try_from(kill.count.min(MAX_NAMED)).unwrap_or(usize::MAX);
        let mut unknown = kill.count;
        for _ in 0..named {
            let Some(victim) = self.victims.pop_front() else { break };
            unknown -= 1;
            self.tell_victim(&victim, &kill, marks);
        }
        // More than are named.
        let more = usize::try_from(unknown).unwrap_or(usize::MAX).min(self.victims.len());
        self.victims.drain(..more);
        for part in kill.by_group(unknown) {
            let unknown = part.count - self.tell_candidates(&part, marks);
            if unknown > 0 {
                let why = part.why(None);
                let name = match unknown {
                    1 => format!("a process that is not known was killed: {why}"),
                    _ => format!("{unknown} processes that are not known were killed: {why}"),
                };
                marks.push(self.mark(part.read_ms, name));
            }
        }
    }

    /// Adds a mark for a process that the kernel has named.
    fn tell_victim(&mut self, victim: &OomVictim, kill: &Kill, marks: &mut Vec<Mark>) {
        let end = self.end_of(victim, kill).and_then(|index| self.exits.remove(index));
        let reason = end.as_ref().and_then(|end| self.reason_of(end));
        let why = match (reason, &victim.limit) {
            (Some(index), _) => self.use_reason(index),
            (None, OomLimit::Group(group)) => {
                format!("the control group `{group}` was at its limit")
            }
            (None, OomLimit::Machine) => "the machine was out of memory".to_owned(),
            (None, OomLimit::NotSaid) => {
                kill.why(end.as_ref().and_then(|end| end.cgroup.as_deref()))
            }
        };
        match end {
            Some(end) => marks.push(self.mark_of(&end, &why)),
            None => {
                let OomVictim { comm, pid, .. } = victim;
                let name = format!("{comm} ({pid}) was killed: {why}");
                marks.push(self.mark(kill.read_ms, name));
            }
        }
    }

    /// Adds marks for as many kills as there are ends by signal 9 that they may be, and returns of how many.
    fn tell_candidates(&mut self, kill: &Kill, marks: &mut Vec<Mark>) -> u64 {
        let mut told = 0;
        let most = usize::try_from(kill.count.min(MAX_NAMED)).unwrap_or(usize::MAX);
        // What a caller says of a test is known better than what only the time suggests.
        for of_reason in [true, false] {
            let left = most - told;
            let mut candidates: Vec<usize> = self
                .ends_of(kill)
                .filter(|&index| {
                    let end = self.exits.get(index);
                    end.is_some_and(|end| {
                        kill.is_not_elsewhere(end) && self.reason_of(end).is_some() == of_reason
                    })
                })
                .collect();
            let members: Vec<usize> = (candidates.iter().copied())
                .filter(|&index| self.exits.get(index).is_some_and(|end| kill.may_be(end)))
                .collect();
            if !members.is_empty() {
                candidates = members;
            }
            if left == 0 || candidates.is_empty() {
                continue;
            }
            if candidates.len() > left {
                marks.push(self.one_of(&candidates, left, kill));
                return kill.count;
            }
            told += candidates.len();
            for &index in candidates.iter().rev() {
                let Some(end) = self.exits.remove(index) else { continue };
                let why = match self.reason_of(&end) {
                    Some(index) => self.use_reason(index),
                    None => kill.why(end.cgroup.as_deref()),
                };
                marks.push(self.mark_of(&end, &why));
            }
        }
        told as u64
    }

    /// Returns the mark for `count` kills of which there are more candidates than kills.
    fn one_of(&mut self, candidates: &[usize], count: usize, kill: &Kill) -> Mark {
        let mut ends: Vec<&KilledExit> =
            candidates.iter().filter_map(|&index| self.exits.get(index)).collect();
        ends.sort_by_key(|end| std::cmp::Reverse(end.hwm_bytes));
        let names: Vec<String> = ends.iter().take(MAX_CANDIDATES).map(|end| end.name()).collect();
        let more = match ends.len() - names.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let last_ms = ends.iter().map(|end| end.ts_ms).max().unwrap_or(kill.read_ms);
        let test = ends.first().and_then(|end| end.test.clone());
        let test = test.filter(|test| ends.iter().all(|end| end.test.as_ref() == Some(test)));
        let reason = ends.first().and_then(|end| self.reason_of(end)).filter(|_| test.is_some());
        let number = if count == 1 { "one".to_owned() } else { count.to_string() };
        let were = if count == 1 { "was" } else { "were" };
        let names = names.join(", ");
        let why = match reason {
            Some(index) => self.use_reason(index),
            None => kill.why(None),
        };
        let name = format!("{number} of these {were} killed: {names}{more}: {why}");
        Mark { test: test.map(|test| test.to_string()), ..self.mark(last_ms, name) }
    }

    /// Returns the mark of a process that was killed.
    fn mark_of(&self, end: &KilledExit, why: &str) -> Mark {
        let name = format!("{} was killed: {why}", end.name());
        let test = end.test.as_ref().map(ToString::to_string);
        Mark { test, process: Some(end.process), ..self.mark(end.ts_ms, name) }
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

#[cfg(test)]
mod tests;
