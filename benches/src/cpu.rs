use std::fs;
use std::io;
use std::process::Child;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::time::{ClockId, clock_gettime};

/// Returns the CPU time of this thread, in seconds.
#[must_use]
pub fn cpu_seconds_of_thread() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Waits until a child has ended and returns the CPU time of its only thread, in seconds.
///
/// Taken from `schedstat` before the child is reaped, since `stat` has a resolution of 10 ms.
///
/// # Errors
///
/// The child was already reaped, or the kernel keeps no such statistics.
pub fn cpu_seconds_when_ended(child: &mut Child) -> io::Result<f64> {
    let pid = Pid::from_child(child);
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let statistics = fs::read_to_string(format!("/proc/{}/schedstat", child.id()))?;
    child.wait()?;
    let on_cpu_ns = statistics.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    Ok(on_cpu_ns.ok_or_else(|| io::Error::other("schedstat is not understood"))? / 1e9)
}

/// Returns the median; `NaN` of nothing.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values.get(count / 2).copied().unwrap_or(f64::NAN),
        count => {
            let middle = values.get(count / 2 - 1..=count / 2).unwrap_or_default();
            middle.iter().sum::<f64>() / 2.0
        }
    }
}
