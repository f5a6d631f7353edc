use std::collections::HashMap;
use std::io;
use std::time::Duration;

use memsample::Recording;
use memsample::analysis::{SumPeak, TestUsage, test_usages};

use super::event::{Attempt, BoundedBytes, RoleMemory, Sum, TestMemory};

/// Roles of one attempt that are told, at most; the largest.
const MAX_ROLES: usize = 50;

/// Returns the name of the marks between which an attempt is: `attempt 1.2` is the second attempt of
/// the first repetition. Its processes have the name of the test alone, as those of other attempts.
pub(super) fn mark_of(attempt: &Attempt) -> String {
    format!("attempt {}.{}", attempt.repetition, attempt.attempt)
}

/// Returns what each attempt in a recording used, by the name of its test and of its marks. One of whose
/// processes nothing is known is not in it.
///
/// # Errors
///
/// A table cannot be read.
pub(super) fn measure(recording: &Recording) -> io::Result<HashMap<(String, String), TestMemory>> {
    let usages = test_usages(recording)?.into_iter();
    let measured = usages.filter(|usage| usage.processes > 0).filter_map(|mut usage| {
        let key = (std::mem::take(&mut usage.test), usage.mark.take()?);
        Some((key, TestMemory::of(usage)))
    });
    Ok(measured.collect())
}

impl TestMemory {
    fn of(usage: TestUsage) -> Self {
        let sum = |peak: SumPeak| Sum { peak: bounded(peak), at: peak.by };
        let roles = usage.roles.into_iter().take(MAX_ROLES).map(|role| RoleMemory {
            role: role.role,
            rss_peak: bounded(role.rss),
            processes: role.processes,
        });
        Self {
            rss: usage.rss.map(sum),
            pss: usage.pss.map(sum),
            anon: usage.anon.map(sum),
            growth_bytes_per_minute: usage.growth_bytes_per_minute,
            roles: roles.collect(),
            processes: usage.processes,
            unsampled: usage.unsampled,
            unbounded_images: usage.unbounded_images,
            samples: usage.samples,
            gaps: usage.gaps,
            cpu: usage.cpu_ns.map(Duration::from_nanos),
            minflt: usage.minflt,
            majflt: usage.majflt,
        }
    }
}

fn bounded(peak: SumPeak) -> BoundedBytes {
    BoundedBytes { lower: peak.lower.bytes, upper: peak.upper.map(|upper| upper.bytes) }
}
