//! What a process image is, apart from its numbers.

use super::file_metrics::memory_cgroup;
use super::last_description::arguments_hash;
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
            arguments_hash: 0,
            replaced_max_rss_bytes: None,
        }
    }

    /// Says what the process is, as far as `answer` tells.
    pub(super) fn describe(&mut self, rules: &IdentityRules, answer: &Answer) {
        let piece = |number| answer.piece(number).and_then(Result::ok);
        let (exe, cgroup) = (piece(0), piece(1).and_then(memory_cgroup));
        let arguments = piece(2).unwrap_or_default();
        self.arguments_hash = arguments_hash(&self.comm, arguments);
        let redacted = rules.redact(arguments);
        let kept = rules.keep(&redacted);
        self.cmdline = kept.get(..Identity::MAX_CMDLINE_BYTES).unwrap_or(kept).to_vec();
        self.role = rules.role(&self.comm, exe, &redacted, cgroup);
        self.exe = exe.map(<[u8]>::to_vec);
        self.cgroup = cgroup.map(<[u8]>::to_vec);
    }
}
