//! Runs a suite on devices over ssh, and brings what it recorded back.
//!
//! ```text
//! address, script ─▶ connection ─▶ device ─▶ run
//! hash ─▶ sent ─▶ program ─▶ payload ─▶ job ───┤
//! probe, follow, fetch ───────────────────────┘
//! ```
//!
//! - A device needs a POSIX shell and the tools of busybox; nothing is installed on it.
//! - Every step can be asked for again after a cut connection: see `docs/devices.md`.

#![forbid(unsafe_code)]

mod address;
mod connection;
mod device;
mod error;
mod fetch;
mod follow;
mod hash;
mod job;
mod patience;
mod payload;
mod probe;
mod program;
mod run;
mod script;
mod sent;

pub use address::{Address, BadAddress};
pub use error::RemoteError;
pub use job::{Job, Outcome, Returned};
pub use patience::Patience;
pub use payload::{Argument, Payload};
pub use run::run;
