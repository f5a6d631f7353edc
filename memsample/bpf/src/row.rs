//! What the program writes of one process.

/// One process as the kernel's structures show it, in the kernel's units.
///
/// The layout is that of `struct row` in `program/row.h`. Of a process without memory (a zombie, one whose first
/// thread has ended) all that is of its memory is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its number in the pid namespace of the reader. Source: `signal->pids[PIDTYPE_TGID]`.
    pub pid: u32,
    /// The number of its parent there; 0 where the parent has none. Source: the same of `real_parent`.
    pub parent: u32,
    pub(crate) kind: u32,
    /// Threads. Source: `signal->nr_threads`.
    pub threads: u32,
    /// When it began, nanoseconds since boot. Source: `start_boottime` of its first thread.
    pub start_ns: u64,
    /// The command name of its first thread, ended by NUL.
    pub comm: [u8; 16],
    /// Resident pages of files. Source: `mm->rss_stat[MM_FILEPAGES]`, with the part of every CPU.
    pub file_pages: u64,
    /// Resident anonymous pages. Source: `mm->rss_stat[MM_ANONPAGES]`, with the part of every CPU.
    pub anon_pages: u64,
    /// Resident pages of shared memory. Source: `mm->rss_stat[MM_SHMEMPAGES]`, with the part of every CPU.
    pub shmem_pages: u64,
    /// Pages in swap. Source: `mm->rss_stat[MM_SWAPENTS]`, with the part of every CPU.
    pub swap_pages: u64,
    /// The most resident pages that the kernel noted; the kernel notes them when some are given back, so the resident
    /// pages may be more. Source: `mm->hiwater_rss`.
    pub hiwater_rss_pages: u64,
    /// Mapped pages. Source: `mm->total_vm`.
    pub total_vm_pages: u64,
    /// Private writable mapped pages, without stack. Source: `mm->data_vm`.
    pub data_vm_pages: u64,
    /// Mapped pages of stacks. Source: `mm->stack_vm`.
    pub stack_vm_pages: u64,
    /// Mapped pages of code. Source: `mm->exec_vm`.
    pub exec_vm_pages: u64,
    /// Where the program's code begins, an address. Source: `mm->start_code`.
    pub start_code: u64,
    /// Where it ends. Source: `mm->end_code`.
    pub end_code: u64,
    /// Where the stack begins, an address. Source: `mm->start_stack`.
    pub start_stack: u64,
    /// Bytes of page tables. Source: `mm->pgtables_bytes`.
    pub page_table_bytes: u64,
    /// Mapped pages of the reserved pool of huge pages, in pages of the usual size; 0 where the kernel has none.
    /// Source: `mm->hugetlb_usage`.
    pub hugetlb_pages: u64,
    /// Page faults without input, of all its threads, also of those that have ended. Source: `min_flt`.
    pub minor_faults: u64,
    /// Page faults that waited for input, likewise. Source: `maj_flt`.
    pub major_faults: u64,
    /// Nanoseconds at whose ticks it ran in user mode, likewise; see [`cpu_times`](Self::cpu_times). Source: `utime`.
    pub utime_ns: u64,
    /// Nanoseconds at whose ticks it ran in the kernel, likewise. Source: `stime`.
    pub stime_ns: u64,
    /// Nanoseconds that it ran, exactly, as of its last switch or tick. Source: `se.sum_exec_runtime`.
    pub runtime_ns: u64,
    /// The user time that `/proc` showed last, nanoseconds. Source: `signal->prev_cputime`.
    pub shown_utime_ns: u64,
    /// The system time that `/proc` showed last, nanoseconds. Source: `signal->prev_cputime`.
    pub shown_stime_ns: u64,
    /// The most resident pages of its images before the present one, and of those that a fork inherited.
    /// Source: `signal->maxrss`.
    pub maxrss_pages: u64,
    /// What its first thread does: the kernel's `__state`, or how it ended.
    pub state: u32,
    /// Its effective user in the first user namespace. Source: `real_cred->euid`.
    pub euid: u32,
    /// Twice as many as threads of it have ended; odd while one ends. Source: `signal->stats_lock`.
    pub(crate) sequence: u32,
    /// Another number than before where its first thread has moved into another control group. That of a set of groups
    /// that is gone may be used again. Source: the address in `cgroups`.
    pub groups: u32,
}

/// What the program counts on: as many bytes as `struct row` has.
const _: () = assert!(size_of::<Row>() == 232 && align_of::<Row>() == 8);

/// The CPU times of a process as `/proc/PID/stat` shows them, before it rounds them down to clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// In user mode, nanoseconds.
    pub utime_ns: u64,
    /// In the kernel, nanoseconds.
    pub stime_ns: u64,
}

impl CpuTimes {
    const fn sum_ns(self) -> u64 {
        self.utime_ns.saturating_add(self.stime_ns)
    }
}

impl Row {
    const HAS_MEMORY: u32 = 2;
    const IS_UNSTEADY: u32 = 4;
    const IS_THREAD: u32 = 8;

    /// Whether its first thread has memory.
    #[must_use]
    pub const fn has_memory(&self) -> bool {
        self.kind & Self::HAS_MEMORY != 0
    }

    /// Whether its numbers are of one instant. They are not where a part of a counter moved, a thread ended, or the process
    /// got other memory or none while it was read; then they may be those of nobody, and are to be read again.
    #[must_use]
    pub const fn is_steady(&self) -> bool {
        self.kind & Self::IS_UNSTEADY == 0
    }

    /// Whether it is no process, but what a thread besides the first one adds to its process.
    pub(crate) const fn is_thread(&self) -> bool {
        self.kind & Self::IS_THREAD != 0
    }

    /// Adds what a thread of it used, as the program does where it comes to all threads at once.
    pub(crate) fn add_thread(&mut self, thread: &Self) {
        self.minor_faults = self.minor_faults.wrapping_add(thread.minor_faults);
        self.major_faults = self.major_faults.wrapping_add(thread.major_faults);
        self.utime_ns = self.utime_ns.wrapping_add(thread.utime_ns);
        self.stime_ns = self.stime_ns.wrapping_add(thread.stime_ns);
        self.runtime_ns = self.runtime_ns.wrapping_add(thread.runtime_ns);
        if thread.sequence != self.sequence {
            self.become_unsteady();
        }
    }

    /// Makes 0 of what is below: a sum without the parts of some CPUs may be.
    pub(crate) fn with_whole_counters(mut self) -> Self {
        for pages in [
            &mut self.file_pages,
            &mut self.anon_pages,
            &mut self.shmem_pages,
            &mut self.swap_pages,
        ] {
            *pages = pages.cast_signed().max(0).cast_unsigned();
        }
        self
    }

    pub(crate) fn become_unsteady(&mut self) {
        self.kind |= Self::IS_UNSTEADY;
    }

    /// Its resident pages. Pages that others share count in full.
    #[must_use]
    pub const fn resident_pages(&self) -> u64 {
        self.file_pages.wrapping_add(self.anon_pages).wrapping_add(self.shmem_pages)
    }

    /// The high-water mark of its resident pages, as `VmHWM` shows it.
    #[must_use]
    pub fn peak_pages(&self) -> u64 {
        self.hiwater_rss_pages.max(self.resident_pages())
    }

    /// Its command name, without the NUL.
    #[must_use]
    pub fn comm(&self) -> &[u8] {
        self.comm.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// Whether nothing of it ran between the two passes that gave `self` and `earlier`, and nothing of it changed.
    #[must_use]
    pub fn is_at_rest_since(&self, earlier: &Self) -> bool {
        // 0 is running, or ready to run: such a process has used time that is not counted yet. Of several threads,
        // only the first is known to rest.
        // What `/proc` showed last changes when it is read, also by others.
        let earlier = Self {
            shown_utime_ns: self.shown_utime_ns,
            shown_stime_ns: self.shown_stime_ns,
            ..*earlier
        };
        self.state != 0 && self.threads == 1 && self.is_steady() && *self == earlier
    }

    /// The CPU times that `/proc/PID/stat` would show.
    #[must_use]
    pub fn cpu_times(&self) -> CpuTimes {
        self.cpu_times_after(CpuTimes::default())
    }

    /// The CPU times that `/proc/PID/stat` would show, had it shown `earlier` when it was read last.
    ///
    /// The kernel divides the exact running time in the proportion of the ticks, and lets neither part shrink from
    /// what it showed before (`cputime_adjust`). A pass leaves no trace in the kernel, so who reads again and again
    /// keeps what it got.
    #[must_use]
    pub fn cpu_times_after(&self, earlier: CpuTimes) -> CpuTimes {
        let in_proc = CpuTimes { utime_ns: self.shown_utime_ns, stime_ns: self.shown_stime_ns };
        let shown = if in_proc.sum_ns() >= earlier.sum_ns() { in_proc } else { earlier };
        let (shown_utime_ns, shown_stime_ns) = (shown.utime_ns, shown.stime_ns);
        let runtime_ns = self.runtime_ns;
        if shown.sum_ns() >= runtime_ns {
            return shown;
        }
        let stime_ns = match (self.utime_ns, self.stime_ns) {
            (_, 0) => 0,
            (0, _) => runtime_ns,
            (utime, stime) => {
                let part = u128::from(stime) * u128::from(runtime_ns)
                    / (u128::from(utime) + u128::from(stime));
                u64::try_from(part).unwrap_or(runtime_ns)
            }
        };
        let stime_ns = stime_ns.max(shown_stime_ns);
        let utime_ns = runtime_ns.saturating_sub(stime_ns);
        if utime_ns < shown_utime_ns {
            return CpuTimes {
                utime_ns: shown_utime_ns,
                stime_ns: runtime_ns.saturating_sub(shown_utime_ns),
            };
        }
        CpuTimes { utime_ns, stime_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_divide_what_ran_and_never_shrink() {
        let mut row = Row { utime_ns: 30, stime_ns: 10, runtime_ns: 100, ..Row::default() };
        let first = row.cpu_times();
        assert_eq!(first, CpuTimes { utime_ns: 75, stime_ns: 25 });
        // By the ticks, less than before was in user mode.
        row = Row { utime_ns: 30, stime_ns: 30, runtime_ns: 120, ..row };
        assert_eq!(row.cpu_times(), CpuTimes { utime_ns: 60, stime_ns: 60 });
        let next = row.cpu_times_after(first);
        assert_eq!(next, CpuTimes { utime_ns: 75, stime_ns: 45 });
        // What `/proc` showed since stands.
        row = Row { shown_utime_ns: 70, shown_stime_ns: 55, runtime_ns: 125, ..row };
        assert_eq!(row.cpu_times_after(next), CpuTimes { utime_ns: 70, stime_ns: 55 });
        // Nothing ran.
        row = Row { utime_ns: 0, stime_ns: 0, runtime_ns: 50, ..Row::default() };
        assert_eq!(row.cpu_times(), CpuTimes { utime_ns: 50, stime_ns: 0 });
    }
}
