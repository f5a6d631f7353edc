//! What the processes of a sandbox say to each other.
//!
//! ```text
//! runner ── SupervisorOrder ──▶ supervisor ── InitOrder ──▶ init
//!        ◀── SupervisorMessage ──             ◀── InitMessage ──    │ starts
//!                                ── Exec ──────▶ gate ─ exec ─▶ the program
//!                                ◀── ShimMessage ──
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::results::LeftOverProcess;

/// Everything that a supervisor must know of one attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Unique on this machine: control groups and the container have this name.
    pub(crate) id: String,
    pub(crate) sandbox: ResolvedSandbox,
    /// A program that takes the roles of this module, see [`super::role`].
    pub(crate) launcher: PathBuf,
    /// A directory that nobody else uses. Removed at the end, unless it is kept.
    pub(crate) scratch: PathBuf,
    /// Another that the runner may use meanwhile, and cannot remove if it is killed.
    pub(crate) runner_scratch: Option<PathBuf>,
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
    pub(crate) output_limit_bytes: u64,
    pub(crate) memory_limit_bytes: Option<u64>,
    pub(crate) processes_max: Option<u64>,
    pub(crate) setup: Vec<Stage>,
    pub(crate) main: Stage,
    pub(crate) cleanup: Vec<Stage>,
    pub(crate) grace: Duration,
    pub(crate) user: Option<User>,
    pub(crate) network: bool,
    pub(crate) cwd: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) expect_exit: Vec<u8>,
    /// Globs of files below `cwd` that are kept, and where.
    pub(crate) artifacts: Vec<String>,
    pub(crate) artifacts_directory: PathBuf,
    /// How the scratch directory stays if the test does not go well; it does not if `None`.
    pub(crate) keep_failed: Option<Keep>,
    /// Whether processes that are left at the end are what was wanted, as of the setup of a suite:
    /// they live until the supervisor is told to end.
    pub(crate) keep_left_over: bool,
}

/// How what was written in a sandbox is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// As the directory that it was.
    Directory,
    /// As one compressed archive, which a CI server can collect whatever kinds of files are in it.
    Archive,
}

/// What is between the program and the machine, once it is known what works here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ResolvedSandbox {
    None,
    PidNamespace,
    Bubblewrap {
        root: Option<PathBuf>,
    },
    Lxc {
        name: String,
        /// The container's own configuration, which may not be there.
        configuration: PathBuf,
        rootfs: PathBuf,
    },
}

/// What a command is to its test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StageKind {
    Setup,
    Program,
    Cleanup,
}

/// One command of an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) argv: Vec<String>,
    pub(crate) timeout: Duration,
}

/// Whose rights a program gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: PathBuf,
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

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProgramExit {
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
}

/// What is known when everything has ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AttemptEnd {
    /// Why the program did not begin.
    pub(crate) not_started: Option<String>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// Its time was over.
    pub(crate) timed_out: bool,
    /// The runner ended it.
    pub(crate) ended_by_runner: bool,
    /// What lost its way out: the process that knows how the program ended was killed.
    pub(crate) lost: bool,
    /// From its first instruction until its last process ended.
    pub(crate) duration: Duration,
    pub(crate) left_over_processes: Vec<LeftOverProcess>,
    /// Bytes left in `/dev/shm` and System V shared memory, where those are the sandbox's own.
    pub(crate) left_bytes: Option<u64>,
    /// Processes in its control group that the kernel killed for want of memory.
    pub(crate) oom_kills: Option<u64>,
    /// Whether its own limit was reached then.
    pub(crate) limit_reached: bool,
    /// The kernel's kills for want of memory on the whole machine meanwhile.
    pub(crate) machine_oom_kills: Option<u64>,
    pub(crate) output_cut_bytes: u64,
    /// Why output is missing.
    pub(crate) output_error: Option<String>,
    /// What went wrong around it, such as a cleanup step that failed.
    pub(crate) notes: Vec<String>,
    /// The scratch directory, where it was kept.
    pub(crate) kept: Option<PathBuf>,
}

impl AttemptEnd {
    /// Returns the end of an attempt whose program did not begin, for a reason that is the end of a sentence.
    pub(super) fn not_started(reason: String) -> Self {
        Self { not_started: Some(reason), ..Self::default() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum InitOrder {
    /// Start a gate, whose standard input is the descriptor that comes along.
    Launch {
        /// The arguments with which this program runs as a gate here.
        argv: Vec<String>,
    },
    /// Tell what memory is left in files.
    Left,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum InitMessage {
    Ready {
        /// Whether `/dev/shm` is the sandbox's own.
        own_shm: bool,
    },
    /// The gate could not be started.
    ShimNotStarted(String),
    /// The program that was launched last has ended.
    Exited {
        exit_code: Option<i32>,
        signal: Option<i32>,
    },
    Left {
        bytes: Option<u64>,
    },
}

/// What a gate shall become.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Exec {
    pub(super) argv: Vec<String>,
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

/// To a gate.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ShimOrder {
    /// Join the control groups whose `cgroup.procs` come along.
    Join,
    Exec(Box<Exec>),
}
