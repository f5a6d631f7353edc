//! How many descriptors the sampler keeps open.

use nix::sys::resource::{Resource, getrlimit};

/// How many descriptors the sampler keeps open, and how many it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Open now.
    pub kept: usize,
    /// At most open at a time.
    pub allowed: usize,
}

/// Descriptors below the limit that the sampler leaves: a dozen that a recorder keeps for itself, and what several threads open,
/// read and close at a time.
const FOR_OPENING: usize = 20;

impl Descriptors {
    /// Allows `max` descriptors, or by default half of what the process may have.
    pub(super) fn new(max: Option<usize>) -> Self {
        // With an unknown limit none are kept, which is right with any.
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
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
