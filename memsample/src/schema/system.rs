//! The table `system`: the machine at one tick.

use serde::{Deserialize, Serialize};

use super::field::{Field, Fields, Value};
use super::known_pss::KnownPss;
use super::table::Table;
use crate::parse::{Meminfo, Pressure, Swaps, Vmstat, Zram};
use crate::units::Kibibytes;

/// The machine at one tick. What this kernel does not have, or refuses, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SystemSample {
    pub(crate) ts_ms: i64,
    pub(crate) meminfo: Option<Meminfo>,
    pub(crate) pressure: Option<Pressure>,
    pub(crate) vmstat: Option<Vmstat>,
    pub(crate) swaps: Option<Swaps>,
    pub(crate) zram: Option<Zram>,
    pub(crate) pss: Option<KnownPss>,
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

macro_rules! optional {
    ($name:literal, $source:literal, $value:expr, $meaning:literal) => {
        Field {
            name: $name,
            source: $source,
            meaning: $meaning,
            value: Value::OptionalInt64($value),
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
    meminfo!("mem_anon_bytes", anon_pages, "AnonPages", "Anonymous pages that processes map."),
    meminfo!("mem_mapped_bytes", mapped, "Mapped", "Pages of files that processes map."),
    meminfo!("mem_shmem_bytes", shmem, "Shmem", "Shared memory and tmpfs."),
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
        "Processes killed by the OOM killer since boot, on the whole host; in every row, as all counters. Whom: see `marks`."
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
    optional!(
        "swap_devices",
        "swaps",
        |system| Some(system.swaps?.devices),
        "Swap devices and files, once a second as what follows."
    ),
    optional!(
        "swap_used_bytes",
        "swaps Used",
        |system| system.swaps.filter(|swaps| swaps.devices > 0)?.used.bytes(),
        "Swap space in use. Null where there is no swap device."
    ),
    optional!(
        "zram_data_bytes",
        "zram*/mm_stat orig_data_size",
        |system| Some(system.zram?.data_bytes),
        "What devices of compressed memory hold, before compression. Null, as the next three, where there is none."
    ),
    optional!(
        "zram_compressed_bytes",
        "zram*/mm_stat compr_data_size",
        |system| Some(system.zram?.compressed_bytes),
        "The same compressed."
    ),
    optional!(
        "zram_used_bytes",
        "zram*/mm_stat mem_used_total",
        |system| Some(system.zram?.used_bytes),
        "The memory that it takes."
    ),
    optional!(
        "zram_used_peak_bytes",
        "zram*/mm_stat mem_used_max",
        |system| Some(system.zram?.used_peak_bytes),
        "The most memory that it took since the device was made, summed over devices that had it at different times."
    ),
    optional!(
        "pss_known_bytes",
        "smaps_rollup Pss",
        |system| Some(system.pss?.known_bytes),
        "The last known PSS of each living process, summed. Over `mem_anon_bytes` + `mem_mapped_bytes` it is the share of mapped memory that PSS explains: see docs/coverage.md."
    ),
    optional!(
        "pss_known_processes",
        "recorder",
        |system| Some(system.pss?.known_processes.into()),
        "Of how many processes that is."
    ),
    optional!(
        "pss_unknown_processes",
        "recorder",
        |system| Some(system.pss?.unknown_processes.into()),
        "Living processes of which no PSS has been read since they began, or began another program."
    ),
    optional!(
        "pss_unknown_rss_bytes",
        "statm 2",
        |system| Some(system.pss?.unknown_rss_bytes),
        "Their resident set: their PSS is no larger."
    ),
    optional!(
        "pss_oldest_ms",
        "recorder",
        |system| system.pss?.oldest_ms,
        "How long ago the oldest of these values was read. Null where none was."
    ),
    optional!(
        "pss_mean_age_ms",
        "recorder",
        |system| system.pss?.mean_age_ms,
        "How long ago they were read, each weighted with its PSS."
    ),
]);
