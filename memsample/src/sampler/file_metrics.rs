//! From what a file of a process says to metrics, in bytes.

use crate::error::ParseError;
use crate::host::Host;
use crate::metric::Metric;
use crate::parse::{SmapsRollup, Statm, Status, parse_cgroup};
use crate::units::{Kibibytes, Pages};

/// Returns what `statm` says.
pub(crate) fn statm_metrics(statm: &Statm, host: &Host) -> [(Metric, u64); 6] {
    // A number that is too large is stored as the largest one.
    let size = |pages: Pages| host.bytes(pages).unwrap_or(u64::MAX);
    let rss = size(statm.resident);
    let shared = size(statm.shared);
    [
        (Metric::Rss, rss),
        (Metric::Vsize, size(statm.size)),
        (Metric::Shared, shared),
        // Two counters of the kernel, read one after the other.
        (Metric::Anon, rss.saturating_sub(shared)),
        (Metric::Data, size(statm.data)),
        (Metric::Text, size(statm.text)),
    ]
}

/// Returns what `status` says: four metrics that `statm` has too, and five of its own.
pub(crate) fn status_metrics(status: &Status<'_>) -> Result<[(Metric, u64); 9], ParseError> {
    let value =
        |value: Option<Kibibytes>, field| Ok(bytes_of(value.ok_or(ParseError::missing(field))?));
    let file = value(status.rss_file, "RssFile")?;
    let shmem = value(status.rss_shmem, "RssShmem")?;
    Ok([
        (Metric::Rss, value(status.vm_rss, "VmRSS")?),
        (Metric::Vsize, value(status.vm_size, "VmSize")?),
        (Metric::Shared, file.saturating_add(shmem)),
        (Metric::Anon, value(status.rss_anon, "RssAnon")?),
        (Metric::File, file),
        (Metric::Shmem, shmem),
        (Metric::Swap, value(status.vm_swap, "VmSwap")?),
        (Metric::Hwm, value(status.vm_hwm, "VmHWM")?),
        // A kernel without such pages has no line.
        (Metric::Hugetlb, status.hugetlb.map_or(0, bytes_of)),
    ])
}

/// Returns what `smaps_rollup` says.
pub(crate) fn rollup_metrics(rollup: &SmapsRollup) -> Result<[(Metric, u64); 3], ParseError> {
    let uss = rollup.uss().unwrap_or(Kibibytes(u64::MAX));
    let swap_pss = rollup.swap_pss.ok_or(ParseError::missing("SwapPss"))?;
    Ok([
        (Metric::Pss, bytes_of(rollup.pss)),
        (Metric::Uss, bytes_of(uss)),
        (Metric::SwapPss, bytes_of(swap_pss)),
    ])
}

/// Returns whether a process with such a resident set has given back more than a twentieth of it before the rollup: what
/// that says does not stand for the set, as of a process that is ending.
pub(crate) fn has_shrunk(rss_bytes: u64, rollup: &SmapsRollup) -> bool {
    bytes_of(rollup.rss) < rss_bytes - rss_bytes / 20
}

/// Returns the path in the v1 memory hierarchy, or in v2 where that one has no memory controller.
pub(crate) fn memory_cgroup(bytes: &[u8]) -> Option<&[u8]> {
    let mut unified = None;
    for entry in parse_cgroup(bytes).flatten() {
        if entry.has_memory_controller() {
            return Some(entry.path);
        }
        if entry.hierarchy == 0 {
            unified = Some(entry.path);
        }
    }
    unified
}

fn bytes_of(value: Kibibytes) -> u64 {
    value.bytes().unwrap_or(u64::MAX)
}
