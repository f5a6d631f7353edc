//! What is kept of a process between two sweeps.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use memsample_bpf::CpuTimes;

use super::last_description::LastDescription;
use super::last_rollup::LastRollup;
use crate::identity::{Comm, Identity, ProcessId};
use crate::metric::{Files, Metric, Metrics};
use crate::parse::Stat;
use crate::slot::Slot;
use crate::units::ClockTicks;

/// The kernel reports an exec within this time, unless a debugger holds the process up.
const REPORTED_AFTER_EXEC_NS: u64 = 10_000_000;

/// Enough for the `statm` of a process of a hundred gigabytes. A longer line is parsed each time.
const STATM_BYTES: usize = 36;

/// Stands in the place of the length of the `statm`, where a row gave the metrics.
const IS_A_ROW: u8 = u8::MAX;

/// Where a row is: the pass of a BPF program, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowPlace {
    pub(super) pass: u64,
    pub(super) index: u32,
}

/// What is known of one pid between two sweeps, as far as a sweep needs it that finds nothing changed.
///
/// One cache line, and the lines of all processes stand in a row: at ten sweeps a second the caches
/// are cold each time, and what is not touched costs nothing.
#[repr(align(64))]
pub(super) struct Entry {
    pub(super) pid: i32,
    /// Kept open while descriptors last.
    pub(super) statm: Option<OwnedFd>,
    pub(super) occupant: Occupant,
    /// The files that were read in the last sweep; none where there was nothing to read.
    pub(super) read: Files,
    pub(super) state: EntryState,
    /// 0 where none are remembered, and `IS_A_ROW` where the bytes say which row gave the metrics instead.
    statm_length: u8,
    statm_bytes: [u8; STATM_BYTES],
}

const _: () = assert!(size_of::<Entry>() == 64);

bitflags::bitflags! {
    /// What is to be done with an entry.
    #[derive(Clone, Copy)]
    pub(super) struct EntryState: u8 {
        /// The process has ended; the entry is dropped at the end of the sweep.
        const GONE = 1;
        /// It was not yet swept.
        const NEWBORN = 2;
        /// Its `smaps_rollup` is to be read in this round and was not yet.
        const ROLLUP_DUE = 4;
        /// A batch has its identity.
        const IDENTITY_REPORTED = 8;
        /// A batch has its metrics, as they are now.
        const METRICS_REPORTED = 16;
        /// A batch has its command name, user, control group, arguments and role, as they are now.
        const DESCRIPTION_REPORTED = 32;
        /// Its exit record has come.
        const EXIT_KNOWN = 64;
        /// `status` was read when `statm` was as it is now.
        const STATUS_CURRENT = 128;
        /// All that a batch can have.
        const REPORTED =
            Self::IDENTITY_REPORTED.bits() | Self::METRICS_REPORTED.bits() | Self::DESCRIPTION_REPORTED.bits();
    }
}

/// Who has a pid.
pub(super) enum Occupant {
    /// A process with memory.
    Process(Box<Process>),
    /// A process that ended and was not yet reaped, and when it began. Its `statm` tells when it is.
    Zombie(ClockTicks),
    /// A thread of the kernel, and when it began. It has no memory, and is asked only now and then
    /// whether it is still the same one.
    KernelThread(ClockTicks),
    /// A process that may not be looked at.
    Denied,
}

/// A process with memory, apart from what its entry holds.
pub(super) struct Process {
    pub(super) identity: Arc<Identity>,
    pub(super) slot: Slot,
    /// Kept open while descriptors last, from the first reading on.
    pub(super) status: Option<OwnedFd>,
    pub(super) stat: Option<OwnedFd>,
    /// The thread whose files stand in for those of the process, since its first thread has ended.
    pub(super) thread: Option<i32>,
    pub(super) comm: Comm,
    pub(super) metrics: Metrics,
    pub(super) addresses: Addresses,
    /// When the image was looked at that the identity is of.
    pub(super) image_boot_ns: u64,
    /// When the kernel last reported an exec; 0: never.
    pub(super) reported_exec_boot_ns: u64,
    /// Whether the number of the image counts an exec that only its addresses showed, and which was not reported yet.
    is_begin_awaited: bool,
    /// Whether the exec that began the image was under way when it was last looked at: it has no code, arguments and
    /// addresses yet.
    pub(super) is_in_exec: bool,
    /// The execs that were reported since the image was looked at, and did not begin it as far as is known.
    later_execs: u32,
    pub(super) rollup: LastRollup,
    /// The CPU times of the last row of which they were taken, exactly.
    pub(super) shown_times: CpuTimes,
    /// What its page tables take, as of the last reading of `status`; 0 before.
    pub(super) page_table_bytes: u64,
    /// When the present PSS was read, since boot; `None` before the first reading of the image.
    pub(super) pss_boot_ns: Option<u64>,
    /// The test that it belongs to, as far as the sampler knows.
    pub(super) test_group: Option<GroupNumber>,
    /// Whether that was found before it moved into another control group.
    pub(super) is_regrouped: bool,
    pub(super) description: LastDescription,
    /// What its row says of its control groups; 0 where it was last read from its files.
    pub(super) groups: u32,
    /// Whether more than the name is another than a batch has.
    pub(super) is_redescribed: bool,
}

/// The number of a test whose processes are read together. It is not used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupNumber(pub(super) u32);

/// The addresses in `stat` that are random for each exec; 0 or 1 where the kernel hides them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Addresses {
    pub(super) code: u64,
    pub(super) stack: u64,
}

impl Addresses {
    /// None that are shown.
    const HIDDEN: Self = Self { code: 1, stack: 0 };

    /// Returns those that `stat` shows. What has no memory has none to show, which says nothing of an exec.
    pub(super) const fn of(stat: &Stat<'_>) -> Self {
        match stat.vsize_bytes {
            0 => Self::HIDDEN,
            _ => Self { code: stat.startcode, stack: stat.startstack },
        }
    }

    /// Returns whether there are none to compare: the kernel shows them to who may trace the process, when they are set.
    pub(super) const fn hidden(self) -> bool {
        self.stack == 0 || self.unset()
    }

    /// Returns whether an exec is under way that has not set them yet, which it does last: that of the code, and then that
    /// of the stack, which has a preliminary value before (Linux 6.18, `load_elf_binary`, `setup_arg_pages`). To who may
    /// not see them the kernel shows 1 as that of the code.
    pub(super) const fn unset(self) -> bool {
        self.code == 0 || (self.stack == 0 && self.code != Self::HIDDEN.code)
    }
}

impl Entry {
    pub(super) fn new(pid: i32, occupant: Occupant) -> Self {
        Self {
            pid,
            statm: None,
            occupant,
            read: Files::empty(),
            state: EntryState::NEWBORN,
            statm_length: 0,
            statm_bytes: [0; STATM_BYTES],
        }
    }

    pub(super) fn process(&self) -> Option<&Process> {
        match &self.occupant {
            Occupant::Process(process) => Some(process),
            Occupant::Zombie(_) | Occupant::KernelThread(_) | Occupant::Denied => None,
        }
    }

    pub(super) fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.occupant {
            Occupant::Process(process) => Some(process),
            Occupant::Zombie(_) | Occupant::KernelThread(_) | Occupant::Denied => None,
        }
    }

    /// Counts `status` as read where it still holds: the resident set has not moved since, and would
    /// have been followed.
    #[inline]
    pub(super) fn hold_status(&mut self, on_change: Files) {
        if self.state.contains(EntryState::STATUS_CURRENT) {
            self.read |= on_change & Files::STATUS;
        }
    }

    /// Returns how many descriptors the entry keeps.
    pub(super) fn descriptors(&self) -> usize {
        let detail = self.process().map_or(0, Process::descriptors);
        usize::from(self.statm.is_some()) + detail
    }

    /// Returns whether `bytes` are those that gave the present metrics.
    #[inline]
    pub(super) fn is_same_statm(&self, bytes: &[u8]) -> bool {
        self.statm_length != 0
            && self.statm_bytes.get(..usize::from(self.statm_length)) == Some(bytes)
    }

    /// Remembers the bytes that gave the present metrics.
    pub(super) fn keep_statm(&mut self, bytes: &[u8]) {
        // Longer ones are remembered as none.
        self.statm_length = 0;
        if let Some(place) = self.statm_bytes.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
            self.statm_length = bytes.len() as u8;
        }
    }

    /// Remembers the row that gave the present metrics of `files`.
    pub(super) fn keep_row(&mut self, place: RowPlace, files: Files) {
        let bytes = &mut self.statm_bytes;
        let values = place.pass.to_ne_bytes().into_iter().chain(place.index.to_ne_bytes());
        let values = values.chain(files.bits().to_ne_bytes());
        bytes.iter_mut().zip(values).for_each(|(to, from)| *to = from);
        self.statm_length = IS_A_ROW;
    }

    /// Returns the row that gave the present metrics, and of which files they are; `None` where it was none.
    pub(super) fn kept_row(&self) -> Option<(RowPlace, Files)> {
        if self.statm_length != IS_A_ROW {
            return None;
        }
        let (pass, rest) = self.statm_bytes.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let files = u16::from_ne_bytes(*rest.first_chunk()?);
        let place = RowPlace { pass: u64::from_ne_bytes(*pass), index: u32::from_ne_bytes(*index) };
        Some((place, Files::from_bits_truncate(files)))
    }

    /// Forgets them, because another file gave other numbers later in the same sweep.
    pub(super) fn forget_statm(&mut self) {
        self.statm_length = 0;
    }
}

impl Process {
    pub(super) fn new(
        identity: Identity,
        slot: Slot,
        addresses: Addresses,
        image_boot_ns: u64,
    ) -> Self {
        Self {
            image_boot_ns,
            reported_exec_boot_ns: 0,
            // Of one that is under way, the identity counts it.
            is_begin_awaited: addresses.unset(),
            is_in_exec: addresses.unset(),
            later_execs: 0,
            comm: identity.comm,
            identity: Arc::new(identity),
            slot,
            status: None,
            stat: None,
            thread: None,
            metrics: Metrics::default(),
            addresses,
            rollup: LastRollup::default(),
            shown_times: CpuTimes::default(),
            page_table_bytes: 0,
            pss_boot_ns: None,
            test_group: None,
            is_regrouped: false,
            description: LastDescription::default(),
            groups: 0,
            is_redescribed: false,
        }
    }

    /// Returns whether the kernel reported an exec since the image was looked at.
    ///
    /// It reports an exec a moment after it happened, when the new image may have been looked at already.
    pub(super) fn is_exec_reported(&self) -> bool {
        self.later_execs > 0
    }

    /// Returns whether the kernel has reported the exec that began the image, which was under way when it was looked at.
    pub(super) fn is_begin_reported(&self) -> bool {
        self.is_in_exec && !self.is_begin_awaited
    }

    /// Returns whether the image was looked at for the first time since `boot_ns`.
    pub(super) fn is_new_since(&self, boot_ns: u64) -> bool {
        self.image_boot_ns >= boot_ns
    }

    /// Notes that the kernel reported an exec.
    pub(super) fn note_exec(&mut self, boot_ns: u64) {
        self.reported_exec_boot_ns = boot_ns;
        let awaited_until_ns = self.image_boot_ns.saturating_add(REPORTED_AFTER_EXEC_NS);
        // An exec is reported when it is over.
        let is_in_time = self.is_in_exec || boot_ns <= awaited_until_ns;
        if self.is_begin_awaited && is_in_time {
            self.is_begin_awaited = false;
        } else {
            self.later_execs = self.later_execs.saturating_add(1);
        }
    }

    /// Returns how many execs lie between the image and one that followed it: one at least.
    pub(super) fn execs_since(&self) -> u32 {
        self.later_execs.max(1)
    }

    /// Notes that another image has begun, of which its numbers and these addresses are, and returns how many execs lie
    /// between it and the one before. One that is under way is none of those that were reported.
    pub(super) fn begin_exec(&mut self, addresses: Addresses) -> u32 {
        self.is_in_exec = addresses.hidden() && self.is_without_code();
        self.addresses = addresses;
        self.is_begin_awaited = self.is_in_exec || self.later_execs == 0;
        let reported = std::mem::take(&mut self.later_execs);
        reported.saturating_add(u32::from(self.is_begin_awaited))
    }

    /// Notes that the exec is over that was under way, and left these addresses.
    pub(super) fn end_exec(&mut self, addresses: Addresses, boot_ns: u64) {
        self.is_in_exec = false;
        self.addresses = addresses;
        // The kernel reports it a moment after this.
        self.image_boot_ns = boot_ns;
    }

    /// Returns whether its last `statm` shows the memory of an exec that is under way.
    pub(super) fn is_without_code(&self) -> bool {
        self.metrics.get(Metric::Text) == 0
    }

    /// Notes a reading of `smaps_rollup`, of the process as large as it is now.
    pub(super) fn note_rollup(&mut self, boot_ns: u64, cost_ns: u64) {
        let (rss_bytes, page_table_bytes) = (self.metrics.get(Metric::Rss), self.page_table_bytes);
        self.rollup = LastRollup { boot_ns, rss_bytes, page_table_bytes, cost_ns: cost_ns.max(1) };
    }

    pub(super) fn descriptors(&self) -> usize {
        usize::from(self.status.is_some()) + usize::from(self.stat.is_some())
    }
}

/// The slots and the numbers of process images.
#[derive(Default)]
pub(super) struct Slots {
    free: Vec<Slot>,
    next_slot: u32,
    next_process: u64,
}

impl Slots {
    pub(super) fn take(&mut self) -> Slot {
        self.free.pop().unwrap_or_else(|| {
            // One for each live process image, of which the kernel allows four million.
            self.next_slot += 1;
            Slot(self.next_slot - 1)
        })
    }

    pub(super) fn give_back(&mut self, slot: Slot) {
        self.free.push(slot);
    }

    /// Returns the number that was given last.
    pub(super) fn newest(&self) -> ProcessId {
        ProcessId(self.next_process)
    }

    pub(super) fn next_process(&mut self) -> ProcessId {
        self.next_process += 1;
        ProcessId(self.next_process)
    }
}
