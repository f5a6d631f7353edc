//! The processes that a view shows.

use super::note::Note;
use super::process::Process;
use crate::parse::Meminfo;
use crate::schema::KnownPss;

/// The processes that match the options, and the memory of their machine.
pub(super) struct Population {
    /// Ascending by pid.
    pub(super) processes: Vec<Process>,
    pub(super) meminfo: Option<Meminfo>,
    pub(super) known_pss: Option<(KnownPss, Meminfo)>,
    pub(super) notes: Vec<Note>,
}
