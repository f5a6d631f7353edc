//! All processes of a recording at its latest tick, each with what was last read of it.

use std::sync::Arc;

use jiff::Timestamp;

use super::projection::Projection;
use crate::identity::{Comm, Identity};
use crate::metric::Metric;

/// All processes of a recording at its latest tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStates {
    /// The planned instant of the tick.
    pub ts: Timestamp,
    /// Every process, in no order.
    pub processes: Vec<ProcessState>,
}

/// A process of a recording at its latest tick; sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessState {
    /// What it is.
    pub identity: Arc<Identity>,
    /// The command name, which a process may change.
    pub comm: Comm,
    /// The test it belongs to.
    pub test: Option<String>,
    /// The resident set (`statm`).
    pub rss_bytes: u64,
    /// The anonymous part of it (`statm`).
    pub anon_bytes: u64,
    /// Anonymous memory in swap, as it was last read (`status`); `None` where it never was.
    pub swap_bytes: Option<u64>,
    /// The high-water mark of the resident set, as it was last read (`status`); `None` where it never was.
    pub hwm_bytes: Option<u64>,
    /// The last reading of `smaps_rollup`; `None` where there was none.
    pub pss: Option<PssState>,
}

/// What a reading of `smaps_rollup` told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PssState {
    /// The proportional set in bytes.
    pub pss_bytes: u64,
    /// The unique set in bytes.
    pub uss_bytes: u64,
    /// The tick of the reading, or an earlier one: never a later one.
    pub read: Timestamp,
}

impl ProcessStates {
    /// Returns the processes of a recording; `None` before its first tick.
    pub(super) fn of(projection: &Projection) -> Option<Self> {
        let (ts_ms, images) = projection.latest()?;
        let time = |ms| Timestamp::from_millisecond(ms).ok();
        let processes = images.map(|(_, image)| {
            let get = |metric| image.metrics.get(metric);
            // A process with memory of its own has a high-water mark above zero from its first reading on.
            let is_detailed = get(Metric::Hwm) > 0;
            ProcessState {
                identity: Arc::clone(&image.identity),
                comm: image.comm,
                test: image.test().map(str::to_owned),
                rss_bytes: get(Metric::Rss),
                anon_bytes: get(Metric::Anon),
                swap_bytes: is_detailed.then(|| get(Metric::Swap)),
                hwm_bytes: is_detailed.then(|| get(Metric::Hwm)),
                pss: projection.pss_read_ms(image).and_then(time).map(|read| PssState {
                    pss_bytes: get(Metric::Pss),
                    uss_bytes: get(Metric::Uss),
                    read,
                }),
            }
        });
        Some(Self { ts: time(ts_ms)?, processes: processes.collect() })
    }
}
