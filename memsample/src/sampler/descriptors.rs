//! How many descriptors the sampler keeps open.

use rustix::process::{Resource, getrlimit};

/// How many descriptors the sampler keeps open, and how many it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Open now.
    pub kept: usize,
    /// At most open at a time.
    pub allowed: usize,
}

/// Descriptors below the limit that stay free, so that a file can be opened, read and closed.
const FOR_OPENING: usize = 16;

impl Descriptors {
    /// Allows `max` descriptors, or by default half of what the process may have.
    pub(super) fn new(max: Option<usize>) -> Self {
        let limit = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| limit as usize);
        Self { kept: 0, allowed: max.unwrap_or(limit / 2).min(limit.saturating_sub(FOR_OPENING)) }
    }

    /// Takes one descriptor if `spare` more are left afterwards, and says whether it did.
    pub(super) fn take(&mut self, spare: usize) -> bool {
        let fits = self.kept.saturating_add(spare) < self.allowed;
        self.kept += usize::from(fits);
        fits
    }

    pub(super) fn release(&mut self, count: usize) {
        self.kept = self.kept.saturating_sub(count);
    }
}
