//! What the processes of a sandbox say to each other.
//!
//! ```text
//! runner ── StarterOrder ───────▶ starter
//!        ◀── StarterMessage ─────   │ forks
//!        ── SupervisorOrder ────▶ supervisor ── InitOrder ────▶ init
//!        ◀── SupervisorMessage ──            ◀── InitMessage ──   │ starts
//!                                            ── ShimOrder ────▶ exec shim ─ exec ─▶ the program
//!                                            ◀── ShimMessage ──
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::attempt_end::AttemptEnd;
use super::path_bytes;
use super::spec::{Spec, StageKind, User};

/// From the runner to the starter of its supervisors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StarterOrder {
    /// Start a supervisor, whose standard input is the descriptor that comes along.
    Start,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StarterMessage {
    /// The supervisor runs, as a child of the runner.
    Started { pid: i32 },
    /// This process cannot be forked.
    Refused,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SupervisorOrder {
    Start(Box<Spec>),
    /// What waits may execute its first instruction.
    Go,
    /// End it; also after its end, where left-over processes were asked for.
    End,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SupervisorMessage {
    /// A stage waits for [`SupervisorOrder::Go`].
    Ready {
        stage: StageKind,
        /// Init, as a pid of the runner's namespace.
        init: i32,
    },
    Progress {
        rss_bytes: u64,
    },
    /// It ended, and lives on where left-over processes were asked for.
    Ended(Box<AttemptEnd>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum InitOrder {
    /// Start an exec shim, whose standard input is the first descriptor that comes along; in the control group of which
    /// the second one is the directory, if there is one and that is possible.
    Launch {
        /// The program of the exec shim, and its arguments.
        #[serde(with = "path_bytes")]
        program: PathBuf,
        arguments: Vec<String>,
    },
    /// Count the shared memory that is left over.
    Left,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum InitMessage {
    Ready {
        /// Whether `/dev/shm` is the sandbox's own.
        own_shm: bool,
    },
    /// The exec shim could not be started.
    ShimNotStarted(String),
    /// Init ends, since it can do nothing more, for this reason.
    Failed(String),
    /// The program that was launched last has ended.
    Exited {
        exit_code: Option<i32>,
        signal: Option<i32>,
        /// The largest resident set of all that init has reaped.
        reaped_max_rss_bytes: Option<u64>,
        /// Whether it was found only by looking now and then, and may have ended a second before.
        is_late: bool,
    },
    Left {
        bytes: Option<u64>,
    },
}

/// The program that an exec shim executes, and how.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Exec {
    pub(super) argv: Vec<String>,
    #[serde(with = "path_bytes")]
    pub(super) cwd: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    pub(super) user: Option<User>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ShimMessage {
    /// It waits, in its control groups.
    Ready,
    /// It could not become the program. When it can, the channel is closed without a word.
    Failed(String),
}

/// From the supervisor to an exec shim.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ShimOrder {
    /// Join the control groups whose files come along.
    Join {
        /// Whether the first one is `cgroup.procs` of version 2, where the exec shim may be already.
        has_unified: bool,
    },
    Exec(Box<Exec>),
}
