use serde::{Deserialize, Serialize};

use super::{Field, Fields, Value};
use crate::parse::{Meminfo, Pressure, Vmstat};
use crate::schema::Table;
use crate::units::Kibibytes;

/// The machine at one tick. What this kernel does not have, or refuses, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SystemSample {
    pub(crate) ts_ms: i64,
    pub(crate) meminfo: Option<Meminfo>,
    pub(crate) pressure: Option<Pressure>,
    pub(crate) vmstat: Option<Vmstat>,
}

pub(crate) fn table() -> Table {
    FIELDS.table("system", "the machine at one tick, at most ten times a second", &["ts"])
}

macro_rules! meminfo {
    ($name:literal, $field:ident, $source:literal, $meaning:literal) => {
        Field {
            name: $name,
            source: concat!("meminfo ", $source),
            meaning: $meaning,
            value: Value::OptionalInt64(|system| {
                system.meminfo.and_then(|meminfo| meminfo.$field).and_then(Kibibytes::bytes)
            }),
        }
    };
}

macro_rules! vmstat {
    ($name:literal, $field:ident, $source:literal, $meaning:literal) => {
        Field {
            name: $name,
            source: concat!("vmstat ", $source),
            meaning: $meaning,
            value: Value::OptionalInt64(|system| system.vmstat.and_then(|vmstat| vmstat.$field)),
        }
    };
}

pub(crate) const FIELDS: Fields<SystemSample> = Fields(&[
    Field {
        name: "ts",
        source: "recorder",
        meaning: "The planned instant of the tick, as in `samples`.",
        value: Value::Timestamp(|system| system.ts_ms),
    },
    meminfo!("mem_total_bytes", mem_total, "MemTotal", "All memory that the kernel manages."),
    meminfo!("mem_free_bytes", mem_free, "MemFree", "Memory in no use at all."),
    meminfo!(
        "mem_available_bytes",
        mem_available,
        "MemAvailable",
        "The kernel's estimate of what a new program could take without swapping."
    ),
    meminfo!("buffers_bytes", buffers, "Buffers", "Cache of block devices."),
    meminfo!(
        "cached_bytes",
        cached,
        "Cached",
        "Page cache, with shared memory, without the swap cache."
    ),
    meminfo!(
        "swap_cached_bytes",
        swap_cached,
        "SwapCached",
        "Memory whose copy in swap is still valid."
    ),
    meminfo!("active_bytes", active, "Active", "Recently used pages."),
    meminfo!("inactive_bytes", inactive, "Inactive", "Pages that would be reclaimed first."),
    meminfo!("anon_bytes", anon_pages, "AnonPages", "Anonymous pages that processes map."),
    meminfo!("mapped_bytes", mapped, "Mapped", "Pages of files that processes map."),
    meminfo!("shmem_bytes", shmem, "Shmem", "Shared memory and tmpfs."),
    meminfo!(
        "slab_reclaimable_bytes",
        slab_reclaimable,
        "SReclaimable",
        "Kernel objects that can be reclaimed."
    ),
    meminfo!(
        "slab_unreclaimable_bytes",
        slab_unreclaimable,
        "SUnreclaim",
        "Kernel objects that cannot."
    ),
    meminfo!(
        "kernel_stack_bytes",
        kernel_stack,
        "KernelStack",
        "Stacks of all threads in the kernel."
    ),
    meminfo!("page_tables_bytes", page_tables, "PageTables", "Page tables."),
    meminfo!("dirty_bytes", dirty, "Dirty", "Pages that wait to be written to disk."),
    meminfo!("writeback_bytes", writeback, "Writeback", "Pages that are being written to disk."),
    meminfo!("swap_total_bytes", swap_total, "SwapTotal", "All swap space."),
    meminfo!("swap_free_bytes", swap_free, "SwapFree", "Swap space in no use."),
    meminfo!(
        "committed_bytes",
        committed,
        "Committed_AS",
        "Memory promised to processes, used or not."
    ),
    Field {
        name: "psi_some_us",
        source: "pressure/memory some total",
        meaning: "Time since boot in which at least one task waited for memory, in microseconds.",
        value: Value::OptionalInt64(|system| Some(system.pressure?.some.total_us)),
    },
    Field {
        name: "psi_full_us",
        source: "pressure/memory full total",
        meaning: "Time since boot in which all busy tasks waited for memory, in microseconds.",
        value: Value::OptionalInt64(|system| Some(system.pressure?.full?.total_us)),
    },
    vmstat!(
        "oom_kill",
        oom_kill,
        "oom_kill",
        "Processes killed for want of memory since boot, on the whole host."
    ),
    vmstat!("pgfault", pgfault, "pgfault", "Page faults of all kinds since boot."),
    vmstat!("pgmajfault", pgmajfault, "pgmajfault", "Page faults with I/O since boot."),
    vmstat!("pswpin_pages", pswpin, "pswpin", "Pages read from swap since boot."),
    vmstat!("pswpout_pages", pswpout, "pswpout", "Pages written to swap since boot."),
    vmstat!(
        "allocstall",
        allocstall,
        "allocstall_*",
        "Allocations that had to reclaim memory themselves, since boot."
    ),
]);
