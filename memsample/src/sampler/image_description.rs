//! What a process image is, apart from its numbers.

use std::sync::Arc;

use super::entry::{EntryState, Process};
use super::file_metrics::memory_cgroup;
use super::last_description::{LastDescription, arguments_hash};
use crate::identity::{Comm, Identity};
use crate::identity_rules::IdentityRules;
use crate::proc::{Answer, ProcFile};

/// The files that say it, apart from those with numbers. The control group is under a lock of the whole machine,
/// the arguments are in the memory of the process.
pub(super) const IMAGE: &[ProcFile] =
    &[ProcFile::Exe, ProcFile::Piece(c"cgroup"), ProcFile::Piece(c"cmdline")];

/// What belongs to a process image, apart from its numbers.
pub(super) struct ImageDescription {
    pub(super) uid: Option<u32>,
    pub(super) comm: Comm,
    pub(super) exe: Option<Vec<u8>>,
    pub(super) cmdline: Vec<u8>,
    pub(super) cgroup: Option<Vec<u8>>,
    pub(super) role: String,
    /// Whether it has arguments: an exec sets them shortly before the addresses.
    pub(super) has_arguments: bool,
    /// How many execs lie between it and the image before.
    pub(super) execs_since: u32,
    /// Of what the role was made.
    pub(super) arguments_hash: u64,
    /// As in [`Identity`].
    pub(super) replaced_max_rss_bytes: Option<u64>,
}

impl ImageDescription {
    /// Describes an image of which [`IMAGE`] was not read yet.
    pub(super) fn unknown(uid: Option<u32>, comm: Comm) -> Self {
        let (cmdline, role) = (Vec::new(), String::new());
        Self {
            uid,
            comm,
            exe: None,
            cmdline,
            cgroup: None,
            role,
            has_arguments: false,
            execs_since: 0,
            arguments_hash: 0,
            replaced_max_rss_bytes: None,
        }
    }

    /// Says what the process is, as far as `answer` tells.
    pub(super) fn describe(&mut self, rules: &IdentityRules, answer: &Answer) {
        let piece = |number| answer.piece(number).and_then(Result::ok);
        let (exe, cgroup) = (piece(0), piece(1).and_then(memory_cgroup));
        let arguments = piece(2).unwrap_or_default();
        self.has_arguments = !arguments.is_empty();
        self.arguments_hash = arguments_hash(&self.comm, arguments);
        let redacted = rules.redact(arguments);
        let kept = rules.keep(&redacted);
        self.cmdline = kept.get(..Identity::MAX_CMDLINE_BYTES).unwrap_or(kept).to_vec();
        self.role = rules.role(&self.comm, exe, &redacted, cgroup);
        self.exe = exe.map(<[u8]>::to_vec);
        self.cgroup = cgroup.map(<[u8]>::to_vec);
    }

    /// Says it of a process whose exec is over, and was under way when the image began.
    pub(super) fn complete(self, process: &mut Process, state: &mut EntryState) {
        let Self { uid, comm, exe, cmdline, cgroup, role, arguments_hash, .. } = self;
        let identity = Arc::make_mut(&mut process.identity);
        // An exec moves nothing into another control group.
        let cgroup = identity.cgroup.take().or(cgroup);
        *identity = Identity { uid, comm, exe, cmdline, cgroup, role, ..identity.clone() };
        process.comm = comm;
        process.description = LastDescription::of_beginning(arguments_hash);
        process.is_redescribed = true;
        state.remove(EntryState::DESCRIPTION_REPORTED);
    }
}
