//! What the control group of an attempt had: memory at instants, the high-water mark of the kernel, and CPU time.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memsample::cgroups::Version;
use memsample::cpus_online;
use memsample::parse::{CgroupStat, parse_cgroup_number, parse_cgroup_stat, parse_cgroup_stat_v1};

use super::groups::Groups;
use super::kernel_file;
use crate::results::{GroupUse, nanoseconds};

/// Between two looks, as between two sweeps of a recording by default.
const PAUSE: Duration = Duration::from_millis(100);
/// The same where a limit of CPU time is near.
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// The same where looks take long.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Pages that each CPU counts before it adds them to `memory.stat`: `MEMCG_CHARGE_BATCH` of the kernel.
const BATCH_PAGES: u64 = 64;
/// Of the time, a look may take one part in so many.
const SHARE: u32 = 20;

/// Looks at the control group of an attempt again and again.
pub(super) struct GroupMeter<'a> {
    groups: &'a Groups,
    cpu_limit: Option<Duration>,
    cpus: u32,
    /// What the kernel may not have added up yet in `memory.stat`.
    error_bytes: u64,
    /// `None` where there is nothing to look at.
    next: Option<Instant>,
    found: GroupUse,
    /// The high-water mark at the last look.
    mark_bytes: u64,
    /// What keeps the high-water mark from being an upper bound.
    is_unbounded: bool,
    has_moved: bool,
    /// The CPU time when the program was about to begin.
    cpu_before: Option<Duration>,
    cpu_time: Option<Duration>,
}

/// What the files of the group say at one instant, in bytes.
struct Look {
    used_bytes: u64,
    /// `None` before Linux 5.19 in version 2.
    mark_bytes: Option<u64>,
    stat: CgroupStat,
}

impl<'a> GroupMeter<'a> {
    /// Begins to look; not at all if it `is_off`.
    pub(super) fn new(groups: &'a Groups, cpu_limit: Option<Duration>, is_off: bool) -> Self {
        let is_off = is_off || (groups.memory().is_none() && groups.cpu_time().is_none());
        let cpus = cpus_online().and_then(|cpus| u32::try_from(cpus).ok());
        let memory = groups.memory();
        let counts_alone = memory.is_some_and(|(_, path)| {
            // Before Linux 5.11 a group of version 1 may leave out those below it.
            kernel_file::text(path.join("memory.use_hierarchy"))
                .is_ok_and(|text| text.trim() == "0")
        });
        Self {
            groups,
            cpu_limit,
            cpus: cpus.unwrap_or(1).max(1),
            // Of a number of CPUs that is not known, nothing is known.
            error_bytes: cpus.map_or(u64::MAX, |cpus| {
                BATCH_PAGES * rustix::param::page_size() as u64 * u64::from(cpus)
            }),
            next: (!is_off).then(Instant::now),
            found: GroupUse::default(),
            mark_bytes: 0,
            is_unbounded: counts_alone,
            has_moved: false,
            cpu_before: None,
            cpu_time: None,
        }
    }

    /// Returns when the next look is due.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.next
    }

    /// Looks, if that is due. `members` returns the processes of the attempt, whatever group they are in.
    pub(super) fn look_if_due(&mut self, now: Instant, members: impl FnOnce() -> Vec<i32>) {
        if self.next.is_some_and(|next| now >= next) {
            self.look();
            self.has_moved =
                self.has_moved || members().into_iter().any(|pid| self.groups.has_lost(pid));
            // In version 1 a look at a tree of groups goes through all of them.
            let patience = (now.elapsed() * SHARE).min(MAX_PAUSE);
            self.next = Some(now + self.pause().max(patience));
        }
    }

    /// Notes that the program is about to begin: from now on its CPU time counts.
    pub(super) fn program_begins(&mut self) {
        self.cpu_before = self.groups.cpu_time();
    }

    /// Notes that the program has ended.
    pub(super) fn program_ended(&mut self) {
        if self.next.is_some() {
            self.look();
        }
        self.cpu_before = None;
    }

    /// Returns whether more CPU time was used than is allowed.
    pub(super) fn is_cpu_time_spent(&self) -> bool {
        self.cpu_limit.is_some_and(|limit| self.cpu_time.is_some_and(|used| used > limit))
    }

    /// Ends, when nothing is left of the attempt. Returns what the group had, and what is to be said about that.
    pub(super) fn finish(mut self) -> (Option<GroupUse>, Option<String>) {
        if self.next.is_none() {
            return (None, None);
        }
        self.look();
        let mut found = self.found;
        let is_bounded = !self.is_unbounded && !self.has_moved && self.mark_bytes > 0;
        found.group_peak_bytes_upper = found.group_peak_bytes.filter(|_| is_bounded);
        // A part of it.
        let upper = found.group_peak_bytes_upper.filter(|_| found.shmem_peak_bytes.is_some());
        found.shmem_peak_bytes_upper = upper.max(found.shmem_peak_bytes.filter(|_| is_bounded));
        found.group_cpu_ns = self.cpu_time.map(nanoseconds);
        let note = self.has_moved.then(|| {
            "it moved processes into another control group, so that their memory and CPU time may lack in what \
             its own group had"
                .to_owned()
        });
        (Some(found), note)
    }

    fn pause(&self) -> Duration {
        let left = self.cpu_before.and_then(|_| {
            self.cpu_limit.map(|limit| limit.saturating_sub(self.cpu_time.unwrap_or_default()))
        });
        // All CPUs may work for it.
        left.map_or(PAUSE, |left| (left / self.cpus).clamp(MIN_PAUSE, PAUSE))
    }

    fn look(&mut self) {
        if let Some(before) = self.cpu_before {
            let used = self.groups.cpu_time().map(|now| now.saturating_sub(before));
            self.cpu_time = self.cpu_time.max(used);
        }
        let Some(look) = self.groups.memory().and_then(|(version, path)| Look::at(version, path))
        else {
            return;
        };
        let found = &mut self.found;
        found.group_samples += 1;
        match look.mark_bytes {
            Some(mark) if mark >= self.mark_bytes => self.mark_bytes = mark,
            // Whoever may write to the file can set it back.
            Some(_) => self.is_unbounded = true,
            None => {}
        }
        let peak = look.used_bytes.max(look.mark_bytes.unwrap_or(0));
        found.group_peak_bytes = found.group_peak_bytes.max(Some(peak));
        let now = Timestamp::now();
        if found.group_largest_bytes.is_none_or(|largest| look.used_bytes > largest) {
            found.group_largest_bytes = Some(look.used_bytes);
            found.group_largest_at = Some(now);
            found.group_anon_bytes = look.stat.anon_bytes;
            found.group_file_bytes = look.stat.file_bytes;
            found.group_shmem_bytes = look.stat.shmem_bytes;
            found.group_kernel_bytes = look.stat.kernel_bytes;
            found.group_sock_bytes = look.stat.sock_bytes;
        }
        let Some(shmem) = look.stat.shmem_bytes else { return };
        if found.shmem_peak_bytes.is_none_or(|peak| shmem > peak) {
            (found.shmem_peak_bytes, found.shmem_peak_at) = (Some(shmem), Some(now));
        }
        // Mapped files count there too, so that this is a lower bound.
        let unmapped = look
            .stat
            .file_mapped_bytes
            .map(|mapped| shmem.saturating_sub(mapped).saturating_sub(self.error_bytes));
        found.shmem_unmapped_peak_bytes = found.shmem_unmapped_peak_bytes.max(unmapped);
    }
}

impl Look {
    fn at(version: Version, group: &Path) -> Option<Self> {
        let number =
            |file: &str| parse_cgroup_number(&kernel_file::bytes(group.join(file)).ok()?).ok();
        let stat = kernel_file::bytes(group.join("memory.stat")).ok()?;
        Some(match version {
            Version::V1 => Self {
                stat: CgroupStat {
                    kernel_bytes: number("memory.kmem.usage_in_bytes"),
                    ..parse_cgroup_stat_v1(&stat).ok()?
                },
                used_bytes: number("memory.usage_in_bytes")?,
                mark_bytes: number("memory.max_usage_in_bytes"),
            },
            Version::V2 => Self {
                stat: parse_cgroup_stat(&stat).ok()?,
                used_bytes: number("memory.current")?,
                mark_bytes: number("memory.peak"),
            },
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;

    use super::*;

    const STAT_V1: &str = "cache 1\nrss 1\ntotal_cache 700\ntotal_rss 200\ntotal_shmem 600\n\
                           total_mapped_file 50\n";
    const STAT_V2: &str = "anon 200\nfile 700\nkernel 90\nsock 10\nshmem 600\nfile_mapped 50\n";

    fn write(directory: &Path, files: &[(&str, &str)]) {
        for (file, text) in files {
            fs::write(directory.join(file), text).unwrap();
        }
    }

    /// Looks at a group twice, with what is written in between, and returns what is told at its end.
    #[track_caller]
    fn looked(version: Version, first: &[(&str, &str)], then: &[(&str, &str)]) -> GroupUse {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), first);
        let groups = Groups::with_memory(version, directory.path());
        let mut meter = GroupMeter::new(&groups, None, false);
        meter.error_bytes = 7;
        meter.look_if_due(Instant::now(), Vec::new);
        write(directory.path(), then);
        meter.finish().0.unwrap()
    }

    fn expected() -> GroupUse {
        GroupUse {
            group_peak_bytes: Some(1500),
            group_peak_bytes_upper: Some(1500),
            shmem_peak_bytes: Some(600),
            shmem_peak_bytes_upper: Some(1500),
            shmem_unmapped_peak_bytes: Some(543),
            group_largest_bytes: Some(1000),
            group_anon_bytes: Some(200),
            group_file_bytes: Some(700),
            group_shmem_bytes: Some(600),
            group_kernel_bytes: Some(90),
            group_samples: 2,
            ..GroupUse::default()
        }
    }

    /// Without instants, which differ.
    fn timeless(found: GroupUse) -> GroupUse {
        assert!(found.shmem_peak_at.is_some() && found.group_largest_at.is_some());
        GroupUse { shmem_peak_at: None, group_largest_at: None, ..found }
    }

    #[test]
    fn version_1_has_what_the_group_had_with_those_below() {
        let first = [
            ("memory.stat", STAT_V1),
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.max_usage_in_bytes", "1200\n"),
            ("memory.kmem.usage_in_bytes", "90\n"),
        ];
        let then = [
            ("memory.stat", "total_cache 0\ntotal_rss 0\ntotal_shmem 0\ntotal_mapped_file 0\n"),
            ("memory.usage_in_bytes", "0\n"),
            ("memory.max_usage_in_bytes", "1500\n"),
        ];
        assert_eq!(timeless(looked(Version::V1, &first, &then)), expected());
        let alone = [("memory.use_hierarchy", "0\n")];
        let alone = looked(Version::V1, &[&first[..], &alone].concat(), &then);
        let upper = (alone.group_peak_bytes_upper, alone.shmem_peak_bytes_upper);
        assert_eq!(upper, (None, None), "groups below are not in it");
    }

    #[test]
    fn version_2_has_sockets_too_and_before_its_mark_no_upper_bound() {
        let first =
            [("memory.stat", STAT_V2), ("memory.current", "1000\n"), ("memory.peak", "1200\n")];
        let then = [("memory.current", "900\n"), ("memory.peak", "1500\n")];
        let whole = GroupUse { group_sock_bytes: Some(10), ..expected() };
        assert_eq!(timeless(looked(Version::V2, &first, &then)), whole);
        let old = timeless(looked(Version::V2, &first[..2], &then[..1]));
        let told = GroupUse {
            group_peak_bytes: Some(1000),
            group_peak_bytes_upper: None,
            shmem_peak_bytes_upper: None,
            ..whole
        };
        assert_eq!(old, told);
    }

    #[test]
    fn a_mark_that_was_set_back_is_no_upper_bound() {
        let first =
            [("memory.stat", STAT_V2), ("memory.current", "1000\n"), ("memory.peak", "1500\n")];
        let found = looked(Version::V2, &first, &[("memory.peak", "1000\n")]);
        assert_eq!((found.group_peak_bytes, found.group_peak_bytes_upper), (Some(1500), None));
        assert_eq!((found.shmem_peak_bytes, found.shmem_peak_bytes_upper), (Some(600), None));
    }

    #[test]
    fn a_kernel_that_counts_no_shared_memory_tells_none() {
        let first = [
            ("memory.stat", "total_cache 700\ntotal_rss 200\n"),
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.max_usage_in_bytes", "1000\n"),
        ];
        let found = looked(Version::V1, &first, &[]);
        assert_eq!(found.group_peak_bytes_upper, Some(1000));
        let shmem = (found.shmem_peak_bytes, found.shmem_peak_bytes_upper);
        assert_eq!((shmem, found.shmem_unmapped_peak_bytes), ((None, None), None));
    }
}
