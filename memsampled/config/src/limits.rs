//! The tables `[daemon.limits]` and `[daemon.retention]`, with their defaults.

use std::time::Duration;

use memsample::SharedSampler;

/// The largest `sessions`: one recording more is the flight recorder.
pub const MAX_SESSIONS: usize = SharedSampler::MAX_RECORDINGS - 1;
/// The most roles in `/metrics`: a monitor keeps a series for each that was ever among them.
pub const MAX_METRICS_ROLES: usize = 100;

/// What sessions and connections may take. Each can be set in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once, at most [`MAX_SESSIONS`]: each has a writing thread and up to 8 MiB of samples in
    /// memory, and all share one sweep.
    pub sessions: usize,
    /// Sessions at once of one user who is not root, so that one cannot take all.
    pub sessions_per_user: usize,
    /// The longest session.
    pub duration: Duration,
    /// The largest recording on disk, in bytes.
    pub bytes: u64,
    /// How long a session may be neither marked nor asked for: then its client has died.
    pub idle: Duration,
    /// The resident set beyond which nothing new is taken in, in bytes: sessions, marks, dumps.
    pub memory: u64,
    /// Connections at once: each has up to 32 KiB of buffers and one descriptor.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 32,
            sessions_per_user: 16,
            duration: Duration::from_secs(24 * 3600),
            bytes: 4 << 30,
            idle: Duration::from_secs(6 * 3600),
            memory: 384 << 20,
            connections: 1024,
        }
    }
}

/// Which recordings are kept. Only whole closed ones are removed, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// No older ones.
    pub age: Option<Duration>,
    /// No more than this many.
    pub count: Option<usize>,
    /// No more than this size together, in bytes.
    pub bytes: Option<u64>,
}
