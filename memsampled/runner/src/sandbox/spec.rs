//! Everything that a supervisor must know of one attempt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::path_bytes;

/// Everything that a supervisor must know of one attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Unique on this machine: control groups and the container have this name.
    pub(crate) id: String,
    pub(crate) sandbox: ResolvedSandbox,
    /// A program that calls [`internal_program`](super::internal_program()) first.
    #[serde(with = "path_bytes")]
    pub(crate) launcher: PathBuf,
    /// A directory that nobody else uses. Removed at the end, unless it is kept.
    #[serde(with = "path_bytes")]
    pub(crate) scratch: PathBuf,
    /// Another that the runner may use meanwhile, and cannot remove if it is killed.
    #[serde(with = "path_bytes::optional")]
    pub(crate) runner_scratch: Option<PathBuf>,
    #[serde(with = "path_bytes")]
    pub(crate) stdout: PathBuf,
    #[serde(with = "path_bytes")]
    pub(crate) stderr: PathBuf,
    pub(crate) output_limit_bytes: u64,
    pub(crate) memory_limit_bytes: Option<u64>,
    /// The most CPU time that its control group may use while its program runs.
    pub(crate) cpu_limit: Option<Duration>,
    /// Whether what its control group had is measured.
    pub(crate) measures_group: bool,
    pub(crate) processes_max: Option<u64>,
    pub(crate) setup: Vec<Stage>,
    pub(crate) main: Stage,
    pub(crate) cleanup: Vec<Stage>,
    pub(crate) grace: Duration,
    /// How long a process may outlive the program and its cleanup before it counts as left over.
    pub(crate) settle: Duration,
    pub(crate) user: Option<User>,
    pub(crate) network: bool,
    #[serde(with = "path_bytes")]
    pub(crate) cwd: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) expect_exit: Vec<u8>,
    /// Globs of files below `cwd` that are kept, and where.
    pub(crate) artifacts: Vec<String>,
    /// The environment variable that tells the commands the directory in the scratch directory whose files are kept, too.
    pub(crate) artifacts_variable: Option<String>,
    #[serde(with = "path_bytes")]
    pub(crate) artifacts_directory: PathBuf,
    /// How the scratch directory stays if the test does not go well; it does not if `None`.
    pub(crate) keep_failed: Option<Keep>,
    /// Whether processes that are left at the end are what was wanted, as of the setup of a suite:
    /// they live until the runner ends the attempt.
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
        #[serde(with = "path_bytes::optional")]
        root: Option<PathBuf>,
    },
    Lxc {
        name: String,
        /// The container's own configuration, which may not be there.
        #[serde(with = "path_bytes")]
        configuration: PathBuf,
        #[serde(with = "path_bytes")]
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
    #[serde(with = "path_bytes")]
    pub(crate) home: PathBuf,
}

impl ResolvedSandbox {
    /// Returns the root file system that is not the host's.
    pub(crate) fn root(&self) -> Option<&Path> {
        match self {
            Self::None | Self::PidNamespace => None,
            Self::Bubblewrap { root } => root.as_deref(),
            Self::Lxc { rootfs, .. } => Some(rootfs),
        }
    }

    /// Returns the word of a suite file.
    pub(crate) fn word(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::PidNamespace => "pidns".to_owned(),
            Self::Bubblewrap { .. } => "bwrap".to_owned(),
            Self::Lxc { name, .. } => format!("lxc:{name}"),
        }
    }
}
