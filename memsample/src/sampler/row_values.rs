//! The row of a process that a BPF program wrote, as the files of `/proc` would have shown it.

use memsample_bpf::{CpuTimes, Row};

use super::entry::Addresses;
use crate::host::Host;
use crate::metric::Metric;
use crate::parse::{Statm, Status};
use crate::units::{ClockTicks, Kibibytes, Pages};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Returns what `statm` would have said. All is 0 of what has no memory.
pub(super) fn statm_of(row: &Row, host: &Host) -> Statm {
    let page = host.page_bytes.get();
    let code_end = row.end_code.checked_next_multiple_of(page).unwrap_or(row.end_code);
    let code_start = row.start_code / page * page;
    Statm {
        size: Pages(row.total_vm_pages),
        resident: Pages(row.resident_pages()),
        shared: Pages(row.file_pages.saturating_add(row.shmem_pages)),
        text: Pages(code_end.saturating_sub(code_start) / page),
        data: Pages(row.data_vm_pages.saturating_add(row.stack_vm_pages)),
    }
}

/// Returns what `status` would have said, as far as a sample has it.
pub(super) fn status_of(row: &Row, host: &Host) -> Status<'static> {
    let size = |pages: u64| {
        let bytes = host.bytes(Pages(pages)).unwrap_or(u64::MAX);
        row.has_memory().then_some(Kibibytes(bytes / 1024))
    };
    Status {
        euid: Some(u64::from(row.euid)),
        vm_size: size(row.total_vm_pages),
        vm_hwm: size(row.peak_pages()),
        vm_rss: size(row.resident_pages()),
        rss_anon: size(row.anon_pages),
        rss_file: size(row.file_pages),
        rss_shmem: size(row.shmem_pages),
        vm_pte: row.has_memory().then_some(Kibibytes(row.page_table_bytes / 1024)),
        vm_swap: size(row.swap_pages),
        hugetlb: size(row.hugetlb_pages),
        ..Status::default()
    }
}

/// Returns the metrics that `stat` would have had with these CPU times; `None` where a time does not fit.
pub(super) fn counters_of(row: &Row, times: CpuTimes, host: &Host) -> Option<[(Metric, u64); 4]> {
    // `stat` has whole clock ticks.
    let time = |nanos| host.nanos(ticks(nanos, host));
    Some([
        (Metric::Minflt, row.minor_faults),
        (Metric::Majflt, row.major_faults),
        (Metric::Utime, time(times.utime_ns)?),
        (Metric::Stime, time(times.stime_ns)?),
    ])
}

/// Returns when it began, as `stat` would have said.
pub(super) fn start_of(row: &Row, host: &Host) -> ClockTicks {
    ticks(row.start_ns, host)
}

/// Returns the addresses that `stat` would have shown to who may see them.
pub(super) fn addresses_of(row: &Row) -> Addresses {
    Addresses { code: row.start_code, stack: row.start_stack }
}

fn ticks(nanos: u64, host: &Host) -> ClockTicks {
    let ticks =
        u128::from(nanos) * u128::from(host.ticks_per_second.get()) / u128::from(NANOS_PER_SECOND);
    ClockTicks(u64::try_from(ticks).unwrap_or(u64::MAX))
}

/// Reads all that a sweep takes of rows, each as if it were of the process whose row came before.
///
/// # Panics
///
/// The CPU time shrinks.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_any_rows(rows: &[Row]) {
    let host = Host::current();
    let mut shown = CpuTimes::default();
    for row in rows {
        let statm = statm_of(row, &host);
        assert_eq!(statm.resident, Pages(row.resident_pages()));
        let status = super::file_metrics::status_metrics(&status_of(row, &host));
        let times = row.cpu_times_after(shown);
        let sum = |times: CpuTimes| times.utime_ns.saturating_add(times.stime_ns);
        assert!(sum(times) >= sum(shown));
        shown = times;
        let counters = counters_of(row, times, &host);
        std::hint::black_box((status.is_ok(), counters, start_of(row, &host), addresses_of(row)));
    }
}
