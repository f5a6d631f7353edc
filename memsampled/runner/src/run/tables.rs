//! The tables `tests.parquet` and `test_roles.parquet` of a run, beside `results.json`.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use memsample::schema::{AttemptKey, TestCounts, TestGroup, TestPeak, TestRoleRow, TestRow};
use memsample::write_test_tables;

use crate::results::{Attempt, EndResults, GroupUse, Memory, TestResult};

/// What the recording of an attempt says that is not in its result.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// The id of the recording.
    pub(super) recording: String,
    /// The marks of its begin and its end; `None` where nothing is known of its processes.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    /// What the lower bound of the peak of resident sets is from, in the words of `memsample peaks`.
    pub(super) rss_source: Option<&'static str>,
}

/// Writes both tables.
///
/// # Errors
///
/// A file cannot be written.
pub(super) fn write_tables(
    directory: &Path,
    suite: &str,
    results: &[TestResult],
    measured: &HashMap<Attempt, Measured>,
) -> io::Result<()> {
    let mut tests = Vec::with_capacity(results.len());
    let mut roles = Vec::new();
    for result in results {
        let measured = measured.get(&result.test);
        let Attempt { test, repetition, attempt } = result.test.clone();
        let recording = measured.map(|measured| measured.recording.clone());
        let key = AttemptKey { recording, suite: suite.to_owned(), test, repetition, attempt };
        roles.extend(result.roles.iter().map(|role| TestRoleRow {
            key: key.clone(),
            role: role.role.clone(),
            rss: TestPeak {
                bytes: role.rss_peak_bytes,
                source: None,
                bytes_upper: role.rss_peak_bytes_upper,
                at: None,
            },
            processes: role.processes,
        }));
        tests.push(row(key, result, measured));
    }
    write_test_tables(directory, tests, roles)
}

fn row(key: AttemptKey, result: &TestResult, measured: Option<&Measured>) -> TestRow {
    let end = EndResults::from(result);
    let memory = end.memory.unwrap_or_default();
    let peak = |bytes: Option<u64>, bytes_upper, at| {
        Some(TestPeak { bytes: bytes?, source: None, bytes_upper, at })
    };
    let Memory { rss_peak_bytes, rss_peak_bytes_upper, rss_peak_at, .. } = memory;
    let Memory { pss_peak_bytes, pss_peak_bytes_upper, pss_peak_at, .. } = memory;
    let Memory { anon_peak_bytes, anon_peak_bytes_upper, anon_peak_at, .. } = memory;
    let source = measured.and_then(|measured| measured.rss_source);
    let rss = peak(rss_peak_bytes, rss_peak_bytes_upper, rss_peak_at);
    TestRow {
        key,
        outcome: end.outcome.word().to_owned(),
        reason: end.reason,
        exit_code: end.exit_code.and_then(|code| u64::try_from(code).ok()),
        signal: end.signal.and_then(|signal| u64::try_from(signal).ok()),
        sandbox: end.sandbox,
        started: end.started,
        duration_ns: end.duration_ns,
        span: measured.and_then(|measured| measured.span),
        rss: rss.map(|rss| TestPeak { source, ..rss }),
        pss: peak(pss_peak_bytes, pss_peak_bytes_upper, pss_peak_at),
        anon: peak(anon_peak_bytes, anon_peak_bytes_upper, anon_peak_at),
        hugetlb_peak_bytes: memory.hugetlb_peak_bytes,
        group: group(end.group.unwrap_or_default()),
        growth_bytes_per_minute: memory.growth_bytes_per_minute,
        counts: result.memory.is_some().then_some(TestCounts {
            processes: memory.processes,
            unsampled_processes: memory.unsampled_processes,
            unbounded_images: memory.unbounded_images,
            samples: memory.samples,
            gaps: memory.gaps,
        }),
        cpu_ns: memory.cpu_ns,
        minor_faults: memory.minor_faults,
        major_faults: memory.major_faults,
    }
}

fn group(group: GroupUse) -> TestGroup {
    TestGroup {
        peak_bytes: group.group_peak_bytes,
        peak_bytes_upper: group.group_peak_bytes_upper,
        shmem_peak_bytes: group.shmem_peak_bytes,
        shmem_peak_bytes_upper: group.shmem_peak_bytes_upper,
        shmem_peak_at: group.shmem_peak_at,
        shmem_unmapped_peak_bytes: group.shmem_unmapped_peak_bytes,
        largest_bytes: group.group_largest_bytes,
        largest_at: group.group_largest_at,
        anon_bytes: group.group_anon_bytes,
        file_bytes: group.group_file_bytes,
        shmem_bytes: group.group_shmem_bytes,
        kernel_bytes: group.group_kernel_bytes,
        sock_bytes: group.group_sock_bytes,
        cpu_ns: group.group_cpu_ns,
    }
}
