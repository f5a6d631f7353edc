//! What a sweep reads.

use crate::metric::Files;

/// What a sweep reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Of every process.
    pub(crate) files: Files,
    /// In addition, of a process that is swept for the first time.
    pub(crate) newborn_files: Files,
    /// In addition, of a process whose `statm` is another than before. If `status` is among them, it
    /// then holds until that happens again.
    pub(crate) on_change: Files,
    /// When to stop reading `smaps_rollup` and leave the rest to the next sweep. One at least is
    /// read, so that a round always ends.
    pub(crate) rollups_until_boot_ns: u64,
}
