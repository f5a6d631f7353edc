//! Recording in the background: one thread samples, one writes, and neither waits for the other.
//!
//! ```text
//! shared sampler ─▶ sampling ══ sweeps ══▶ writing: projection ─▶ batch ─▶ recording
//!                      ▲  ╚════ sweeps ══▶ writing: projection ─▶ batch ─▶ recording
//!                      └─── reused ───────────┘
//! ```
//!
//! One thread samples for all recordings of a [`SharedSampler`], and each recording has a thread that
//! writes. They share the sweeps, whose memory is reused when the last of them is done. A projection
//! selects what its recording asked for: its ticks, its processes, their tests.
//!
//! The sampling thread never waits for a writing thread. When the queue of one is full, its ticks say
//! that their samples were dropped; when there is room again, it gets the numbers of every process.

mod ancestry;
mod attribution;
mod control;
pub(crate) mod destination;
mod error;
mod exit_rows;
mod handle;
mod latest;
mod lineage;
mod manifest;
mod marked_process;
mod oom;
mod oom_kill;
mod options;
mod parentage;
mod process_state;
mod projected_image;
mod projection;
mod sampling;
mod sampling_thread;
mod schedule;
mod scopes;
mod session;
mod settled_scope;
mod shared_sampler;
#[cfg(test)]
mod simulated_forks;
#[cfg(test)]
mod simulated_memory;
mod status;
mod sweeps;
mod usage;
mod writing;

pub use control::MarkError;
pub use error::RecordError;
pub use handle::Recorder;
pub use latest::{Latest, LatestProcess, LatestRole};
pub use options::{OptionsError, RecorderOptions};
pub use process_state::{ProcessState, ProcessStates, PssState};
pub use schedule::Rate;
pub use shared_sampler::SharedSampler;
#[cfg(test)]
pub(crate) use simulated_memory::{Step, simulate, steps};
pub use status::Status;
