//! How results are put into words.

use std::time::Duration;

use memsample_input::{printable, rounded_size};

use super::attempt::{Attempt, TestResult};
use super::budget::{BudgetResult, BudgetVerdict};
use super::group::GroupUse;
use super::leak::LeakResult;
use super::memory::{BoundedBytes, Memory, RoleMemory};
use super::outcome::{Abort, Outcome};
use crate::suite::{Action, Quantity};

/// Less shared memory that no process maps is not worth a line.
const MIN_UNMAPPED: u64 = 4 << 20;

/// Formats a size within its bounds: `1.5 MiB`, `1.5 MiB to 2.0 MiB`, `≥1.5 MiB`.
#[must_use]
pub fn bounded(bytes: BoundedBytes) -> String {
    let lower = rounded_size(bytes.lower);
    match bytes.upper.map(rounded_size) {
        None => format!("≥{lower}"),
        Some(upper) if upper == lower => lower,
        Some(upper) => format!("{lower} to {upper}"),
    }
}

/// Formats a length of time: `0.012 s`, `3m 25s`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..100 => format!("{:.3} s", duration.as_secs_f64()),
        100..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m {:02}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

/// Names an attempt: `name`, `name [2]` of the second repetition, `name (try 3)`.
pub(crate) fn label(attempt: &Attempt) -> String {
    attempt_label(&attempt.test, attempt.repetition, attempt.attempt)
}

/// The same of the attempt of a test by its numbers, from 1.
#[must_use]
pub fn attempt_label(test: &str, repetition: u32, attempt: u32) -> String {
    let mut label = printable(test);
    if repetition > 1 {
        label.push_str(&format!(" [{repetition}]"));
    }
    if attempt > 1 {
        label.push_str(&format!(" (try {attempt})"));
    }
    label
}

/// Describes why an attempt ended as it did; `None` where the word says all.
pub(crate) fn why(result: &TestResult) -> Option<String> {
    let first = match &result.outcome {
        Outcome::Failed { exit_code } => Some(format!("exit code {exit_code}")),
        Outcome::Signaled { signal } => Some(signal_name(*signal)),
        Outcome::TimedOut { after } => Some(format!("its time was {}", duration(*after))),
        Outcome::OutOfCpuTime { limit } => {
            Some(format!("its CPU time was limited to {}", duration(*limit)))
        }
        Outcome::OutOfMemory { limit_bytes } => {
            Some(format!("its memory limit is {}", rounded_size(*limit_bytes)))
        }
        Outcome::NotStarted { reason } | Outcome::Skipped { reason } => Some(reason.clone()),
        _ => None,
    };
    let breaches: Vec<String> = result.budgets.iter().filter_map(breach).collect();
    // The reason of an attempt that is judged by its budgets says the same in bytes; that of another says more.
    let judged = matches!(result.outcome, Outcome::OverBudget | Outcome::Passed);
    let reason = result.reason.clone().filter(|_| !judged || breaches.is_empty());
    let parts = first.into_iter().chain(reason).filter(|part| !part.is_empty());
    // That of one that leaks says it already.
    let warned = result.leaks.iter().filter(|it| it.leaks() && it.action == Action::Warn);
    let warned = warned.map(|it| format!("{} (a warning)", leak(it)));
    let parts: Vec<String> =
        if judged { parts.chain(breaches).chain(warned).collect() } else { parts.collect() };
    if parts.is_empty() { None } else { Some(parts.join("; ")) }
}

/// Puts a reason and the line of output that says more together: `exit code 1: main.c:4:9: error: …`.
#[must_use]
pub fn joined(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    match (reason, message) {
        // Of a step of a test the reason has it.
        (Some(reason), Some(message)) if reason.contains(message) => Some(reason.to_owned()),
        (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        (reason, message) => reason.or(message).map(str::to_owned),
    }
}

/// Describes what became of a budget that was not kept.
fn breach(result: &BudgetResult) -> Option<String> {
    (result.verdict != BudgetVerdict::Kept).then(|| budget(result))
}

/// Describes what became of a budget: `RSS peak 80.0 MiB, above its budget of 64.0 MiB`.
#[must_use]
pub fn budget(result: &BudgetResult) -> String {
    let budget = &result.budget;
    let per = if budget.quantity == Quantity::Growth { " a minute" } else { "" };
    let role = budget.role.as_ref();
    let role = role.map_or(String::new(), |role| format!(" of role {}", printable(role)));
    let measured = result
        .measured()
        .map_or("was not measured".to_owned(), |bytes| format!("{}{per}", bounded(bytes)));
    let limit = format!("its budget of {}{per}", rounded_size(budget.limit_bytes));
    let verdict = match result.verdict {
        BudgetVerdict::Kept => format!("within {limit}"),
        BudgetVerdict::Exceeded => format!("above {limit}"),
        BudgetVerdict::CannotTell => format!("cannot tell whether within {limit}"),
    };
    let warn = match (budget.action, result.verdict) {
        (Action::Warn, BudgetVerdict::Exceeded) => " (a warning)",
        _ => "",
    };
    format!("{}{role} {measured}, {verdict}{warn}", quantity_text(budget.quantity))
}

/// Describes whether memory leaks: `role cc leaks 5.0 MiB an hour (4.9 MiB to 5.1 MiB): it grows …`.
pub(crate) fn leak(result: &LeakResult) -> String {
    let of = match &result.role {
        Some(role) => format!("role {}", printable(role)),
        None => "all its memory".to_owned(),
    };
    let size = |bytes: i64| {
        let sign = if bytes < 0 { "-" } else { "" };
        format!("{sign}{}", rounded_size(bytes.unsigned_abs()))
    };
    let rate = result.rate_bytes_per_hour.map(|rate| {
        let interval = result.rate_bytes_per_hour_lower.zip(result.rate_bytes_per_hour_upper);
        let interval =
            interval.map(|(lower, upper)| format!(" ({} to {})", size(lower), size(upper)));
        format!(" {} an hour{}", size(rate), interval.unwrap_or_default())
    });
    match result.leaks() {
        true => format!("{of} leaks{}: {}", rate.unwrap_or_default(), result.reason),
        false => format!("{of}: {}: {}", result.verdict.words(), result.reason),
    }
}

fn quantity_text(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::RssPeak => "RSS peak",
        Quantity::PssPeak => "PSS peak",
        Quantity::AnonPeak => "anonymous peak",
        Quantity::Growth => "growth",
        Quantity::LeftOver => "memory left over",
        Quantity::GroupPeak => "peak of its control group",
        Quantity::ShmemPeak => "peak of its shared memory",
    }
}

/// Describes what a test used, in a few lines.
#[must_use]
pub fn memory_lines(memory: Option<&Memory>, roles: &[RoleMemory]) -> Vec<String> {
    let Some(memory) = memory else { return vec!["memory: not measured".to_owned()] };
    let peak = |name: &str, peak: Option<BoundedBytes>| {
        format!("{name} peak {}", peak.map_or_else(|| "not measured".to_owned(), bounded))
    };
    let peaks = [
        peak("RSS", memory.rss_peak()),
        format!("PSS peak {}", pss(memory)),
        peak("anonymous", memory.anon_peak()),
    ];
    let mut lines = vec![format!("memory: {}", peaks.join(", "))];
    for role in roles {
        lines.push(format!(
            "role {}: RSS peak {}, processes {}",
            printable(&role.role),
            bounded(role.rss_peak()),
            role.processes
        ));
    }
    lines.extend(memory_notes(memory));
    lines
}

/// Says what must be known beside the peaks of a test, a line each: growth, huge pages, what the numbers are from, why
/// they have no upper bound, CPU time.
#[must_use]
pub fn memory_notes(memory: &Memory) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(growth) = memory.growth_bytes_per_minute {
        let sign = if growth < 0 { "-" } else { "" };
        notes.push(format!(
            "growth: {sign}{} a minute of anonymous memory, as the slope over the whole test",
            rounded_size(growth.unsigned_abs())
        ));
    }
    if let Some(bytes) = memory.hugetlb_peak_bytes.filter(|&bytes| bytes > 0) {
        notes.push(format!(
            "huge pages of the reserved pool: peak ≥{}, which no RSS has",
            rounded_size(bytes)
        ));
    }
    notes.push(format!(
        "from {} samples of {} processes, {} of them known only from their exit records; {} gaps",
        memory.samples, memory.processes, memory.unsampled_processes, memory.gaps
    ));
    notes.extend(no_upper_bound(memory).into_iter().map(|why| format!("≥: {why}")));
    let unknown = || "not known".to_owned();
    let count = |count: Option<u64>| count.map_or_else(unknown, |count| count.to_string());
    notes.push(format!(
        "CPU {}, page faults {} minor and {} major",
        memory.cpu_ns.map_or_else(unknown, |ns| duration(Duration::from_nanos(ns))),
        count(memory.minor_faults),
        count(memory.major_faults)
    ));
    notes
}

/// Says why the sums of a test have no upper bound, a sentence each; none where nothing takes it away.
#[must_use]
pub fn no_upper_bound(memory: &Memory) -> Vec<String> {
    let mut reasons = Vec::new();
    if memory.unbounded_images > 0 {
        let largest = match (&memory.unbounded_image, memory.unbounded_image_bytes) {
            (Some(comm), Some(bytes @ 1..)) => format!(
                "; the largest is `{}`, which had at least {}",
                printable(comm),
                rounded_size(bytes)
            ),
            (Some(comm), _) => {
                format!("; one was never sampled, and `{}` followed it", printable(comm))
            }
            (None, _) => String::new(),
        };
        reasons.push(format!(
            "no upper bound, because the kernel does not report the peak of an image that ends with an exec: {} such{largest}",
            memory.unbounded_images
        ));
    }
    if memory.unattributed_processes > 0 {
        reasons.push(format!(
            "no upper bound, because processes may belong to it of which that is not known: {}",
            memory.unattributed_processes
        ));
    }
    reasons
}

/// Describes what the control group of a test had, in a line or two.
#[must_use]
pub fn group_lines(group: Option<&GroupUse>) -> Vec<String> {
    let Some(group) = group else { return Vec::new() };
    let Some(peak) = group.group_peak() else { return Vec::new() };
    let page_cache = group.group_file_bytes.zip(group.group_shmem_bytes);
    let page_cache = page_cache.map(|(file, shmem)| file.saturating_sub(shmem));
    let parts = [
        ("anonymous", group.group_anon_bytes),
        ("shared memory", group.group_shmem_bytes),
        ("page cache", page_cache),
        ("kernel", group.group_kernel_bytes),
        ("sockets", group.group_sock_bytes),
    ];
    let parts = parts.map(|(name, bytes)| Some(format!("{name} {}", rounded_size(bytes?))));
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let mut lines = vec![format!(
        "control group: peak {}; of {} at a look {}",
        bounded(peak),
        rounded_size(group.group_largest_bytes.unwrap_or(0)),
        parts.join(", ")
    )];
    if let Some(shmem) = group.shmem_peak() {
        lines.push(format!("shared memory peak {}", bounded(shmem)));
    }
    lines.extend(unmapped(group));
    lines
}

/// Says that a test had memory which no resident set shows, where it is more than the kernel's counters may be off.
pub(crate) fn unmapped(group: &GroupUse) -> Option<String> {
    let bytes = group.shmem_unmapped_peak_bytes.filter(|&bytes| bytes >= MIN_UNMAPPED)?;
    Some(format!(
        "it had at least {} of shared memory that no process mapped (memfd, tmpfs or System V): no RSS has it",
        rounded_size(bytes)
    ))
}

/// Describes the peak of proportional sets, of how much of the resident memory it tells and how old it is.
fn pss(memory: &Memory) -> String {
    match memory.pss_peak_bytes {
        Some(bytes) => format!("{} ({})", rounded_size(bytes), pss_note(memory)),
        None => pss_note(memory),
    }
}

/// Says how much of the resident memory the peak of proportional sets tells and how old it is, or why there is none.
#[must_use]
pub fn pss_note(memory: &Memory) -> String {
    if memory.pss_peak_bytes.is_none() {
        let why = memory.pss_missing.as_ref();
        let why = why.map_or(String::new(), |why| format!(" ({})", printable(why)));
        return format!("not measured{why}");
    }
    let covered = memory.pss_peak_covered_bytes.unwrap_or(0);
    let percent =
        (u128::from(covered) * 100).checked_div(memory.pss_peak_rss_bytes.unwrap_or(0).into());
    format!(
        "read for {} % of the RSS then, at most {} ms before",
        percent.unwrap_or(0),
        memory.pss_peak_age_ms.unwrap_or(0)
    )
}

/// Names a signal: `SIGSEGV (11)`.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => format!("{name} ({signal})"),
        None => format!("signal {signal}"),
    }
}

/// Describes why a suite was cut short.
pub(crate) fn abort(abort: Abort) -> String {
    match abort {
        Abort::Signal(signal) => format!("it was ended by {}", signal_name(signal)),
        Abort::Timeout => "the timeout of the suite had passed".to_owned(),
        Abort::FailFast => "a test failed, and --fail-fast was given".to_owned(),
        Abort::Setup => "the setup of the suite failed".to_owned(),
        Abort::Disk { full: true } => "the disk was full".to_owned(),
        Abort::Disk { full: false } => {
            "the recording or the results could not be written".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_said_where_they_differ() {
        let cases = [
            (64 << 20, Some(64 << 20), "64.0 MiB"),
            (64 << 20, Some((64 << 20) + 100), "64.0 MiB"),
            (64 << 20, Some(70 << 20), "64.0 MiB to 70.0 MiB"),
            (0, None, "≥0 B"),
        ];
        for (lower, upper, expected) in cases {
            assert_eq!(bounded(BoundedBytes { lower, upper }), expected);
        }
    }

    #[test]
    fn times_are_exact_where_they_are_short() {
        let cases =
            [(12, "0.012 s"), (99_999, "99.999 s"), (205_400, "3m 25s"), (7_384_000, "2h 03m 04s")];
        for (millis, expected) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
    }
}
