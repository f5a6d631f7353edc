//! Decides whether another test may begin.

use std::fs;
use std::num::NonZeroUsize;

use memsample::parse::parse_meminfo;

use crate::sandbox::allowed_memory;

/// Decides whether another test may begin, by the memory that is free.
///
/// The predicted peak of a test is its peak in an earlier run, or else its own limit, or else half of an equal share of
/// the machine. Running tests reserve what they have not used yet. A test always begins when nothing else runs: waiting
/// longer would not help.
pub(super) struct Admission {
    jobs: u64,
}

/// What a running test counts with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claim {
    /// What it will use at its peak.
    pub(super) predicted_bytes: u64,
    /// What it uses now, as far as it is known.
    pub(super) used_bytes: u64,
}

/// The memory that there is for all tests, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct MachineMemory {
    pub(super) total_bytes: u64,
    pub(super) available_bytes: u64,
}

impl MachineMemory {
    /// Returns that of the machine, or what the control groups of the runner allow of it; `None` where
    /// `/proc/meminfo` cannot be read.
    pub(super) fn now() -> Option<Self> {
        let machine = Self::of_machine()?;
        Some(match allowed_memory() {
            Some(allowed) => Self {
                total_bytes: machine.total_bytes.min(allowed.limit_bytes),
                available_bytes: machine.available_bytes.min(allowed.free_bytes),
            },
            None => machine,
        })
    }

    fn of_machine() -> Option<Self> {
        let meminfo = parse_meminfo(&fs::read("/proc/meminfo").ok()?).ok()?;
        let bytes = |kib: memsample::units::Kibibytes| kib.0.checked_mul(1024);
        Some(Self {
            total_bytes: bytes(meminfo.mem_total?)?,
            available_bytes: bytes(meminfo.mem_available?)?,
        })
    }
}

impl Admission {
    pub(super) fn new(jobs: NonZeroUsize) -> Self {
        Self { jobs: jobs.get() as u64 }
    }

    /// Returns whether fewer run than may at once.
    pub(super) fn has_room(&self, running: usize) -> bool {
        (running as u64) < self.jobs
    }

    /// Reads the memory of the machine, where it decides anything: one test alone begins whatever it is.
    pub(super) fn memory(&self) -> Option<MachineMemory> {
        (self.jobs > 1).then(MachineMemory::now).flatten()
    }

    /// Returns what a test is taken to use at its peak.
    pub(super) fn predict(
        &self,
        earlier_bytes: Option<u64>,
        limit_bytes: Option<u64>,
        memory: Option<MachineMemory>,
    ) -> u64 {
        let share = memory.map_or(0, |memory| memory.total_bytes / (2 * self.jobs));
        // An earlier peak may be above what the test is allowed now.
        let known = [earlier_bytes, limit_bytes].into_iter().flatten().min();
        known.unwrap_or(share)
    }

    /// Returns whether a test of that size fits beside the others.
    pub(super) fn admits(
        &self,
        predicted_bytes: u64,
        running: impl Iterator<Item = Claim>,
        memory: Option<MachineMemory>,
    ) -> bool {
        let (mut count, mut to_come) = (0, 0_u64);
        for claim in running {
            count += 1;
            to_come =
                to_come.saturating_add(claim.predicted_bytes.saturating_sub(claim.used_bytes));
        }
        match (count, memory) {
            (0, _) => true,
            (count, _) if count >= self.jobs => false,
            // Where that is unknown, memory is no reason to wait.
            (_, None) => true,
            (_, Some(memory)) => to_come.saturating_add(predicted_bytes) <= memory.available_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MEMORY: Option<MachineMemory> =
        Some(MachineMemory { total_bytes: 16 * GIB, available_bytes: 8 * GIB });

    #[track_caller]
    fn check(predicted_gib: u64, running: &[(u64, u64)], admitted: bool) {
        let claim =
            |&(predicted, used)| Claim { predicted_bytes: predicted * GIB, used_bytes: used * GIB };
        let admission = Admission { jobs: 3 };
        let admits = admission.admits(predicted_gib * GIB, running.iter().map(claim), MEMORY);
        assert_eq!(admits, admitted);
    }

    #[test]
    fn a_test_begins_when_it_fits_beside_what_is_to_come() {
        // However large, when it is alone.
        check(100, &[], true);
        check(4, &[(4, 0)], true);
        check(5, &[(4, 0)], false);
        // What is used already is not available any more.
        check(5, &[(4, 4)], true);
        // More than was predicted does not give anything back.
        check(8, &[(4, 6)], true);
        check(9, &[(4, 6)], false);
        check(0, &[(0, 0), (0, 0)], true);
        check(0, &[(0, 0), (0, 0), (0, 0)], false);
    }

    #[test]
    fn memory_is_read_where_tests_run_side_by_side() {
        let of = |jobs| Admission { jobs };
        assert!(of(1).has_room(0) && !of(1).has_room(1));
        assert!(of(2).has_room(1) && !of(2).has_room(2));
        assert!(of(1).memory().is_none());
        assert!(of(2).memory().is_some_and(|memory| memory.total_bytes > 0));
    }

    #[test]
    fn a_prediction_is_the_earlier_peak_or_the_limit_or_a_share() {
        let admission = Admission { jobs: 4 };
        assert_eq!(admission.predict(Some(GIB), Some(2 * GIB), MEMORY), GIB);
        assert_eq!(admission.predict(Some(3 * GIB), Some(2 * GIB), MEMORY), 2 * GIB);
        assert_eq!(admission.predict(None, Some(2 * GIB), MEMORY), 2 * GIB);
        assert_eq!(admission.predict(None, None, MEMORY), 2 * GIB);
        assert_eq!(admission.predict(None, None, None), 0);
    }
}
