//! What a view lacks.

use jiff::Timestamp;

/// What a view lacks, or what a person who reads it must know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// The instant of the recording, and the range of its ticks.
    Instant {
        /// The tick that is shown.
        ts: Timestamp,
        /// The first tick of the recording.
        first: Timestamp,
        /// The last tick of the recording.
        last: Timestamp,
    },
    /// Samples of the tick were read and not written.
    Dropped(u64),
    /// What was not read at the tick is shown as it was last read.
    CarriedForward {
        /// The age of the oldest PSS, in milliseconds.
        oldest_pss_ms: u64,
    },
    /// PSS was not read at the tick, and what was read before is not shown.
    PssReadAt {
        /// The nearest tick at which it was read.
        nearest: Timestamp,
        /// The first tick of the recording.
        first: Timestamp,
    },
    /// The kernel refused to show files of processes, by their number.
    FilesDenied(u32),
    /// Files of processes could not be read for another reason, by their number.
    FilesUnreadable(u32),
    /// A reading of these processes did not come back, because a lock of theirs is held: their PSS, arguments, role,
    /// control group or mappings are not known.
    Stuck(Vec<i32>),
    /// The PSS and USS of processes were not read: a process is larger than
    /// [`Sampler::MAX_ROLLUP_RSS_BYTES`](crate::Sampler::MAX_ROLLUP_RSS_BYTES) and would wait meanwhile.
    RollupsSkipped(u32),
    /// What processes map could not be read.
    MappingsUnreadable {
        /// The number of those processes.
        processes: usize,
        /// The number of all processes that match.
        of: usize,
    },
    /// What processes map was not read: a process is larger than
    /// [`Sampler::MAX_ROLLUP_RSS_BYTES`](crate::Sampler::MAX_ROLLUP_RSS_BYTES).
    MappingsSkipped(usize),
    /// `/proc` is mounted so that processes of other users are missing: see
    /// [`hidepid_note`](crate::hidepid_note).
    HidePid(String),
    /// No process matches the user and name of the options.
    NoMatch,
}
