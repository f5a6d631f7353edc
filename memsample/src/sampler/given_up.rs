//! A reading that was given up.

use std::ffi::CStr;

use crate::identity::Comm;

/// A reading that did not come back yet.
#[derive(Clone)]
pub(crate) struct GivenUp {
    pub(super) key: u64,
    /// Whether the kernel waits, so that it counts as stuck; else it had no more time.
    pub(crate) waits: bool,
    /// Whether a recording was told of it.
    pub(crate) is_told: bool,
    pub(crate) pid: i32,
    pub(crate) comm: Comm,
    /// The name of the file.
    pub(crate) file: &'static CStr,
}
