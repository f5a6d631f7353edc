//! How a sampler reads: which tree, which clock, how much of the identity of processes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sweep_by::SweepBy;
use crate::cgroup_reader::OpenHierarchies;
use crate::clock::{Clock, SystemClock};
use crate::host::Host;
use crate::identity_rules::{IdentityRules, KeptArguments, Redaction};
use crate::proc::ProcRoot;
use crate::role_rule::RoleRule;

/// How a [`Sampler`](crate::Sampler) reads.
#[derive(Clone)]
pub struct SamplerOptions {
    pub(super) proc_root: PathBuf,
    sys_root: Option<PathBuf>,
    pub(super) host: Host,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) max_descriptors: Option<usize>,
    pub(super) rules: IdentityRules,
    pub(super) sweep_by: SweepBy,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            proc_root: PathBuf::from("/proc"),
            sys_root: None,
            host: Host::current(),
            clock: SystemClock::shared(),
            max_descriptors: None,
            rules: IdentityRules::default(),
            sweep_by: SweepBy::default(),
        }
    }
}

impl SamplerOptions {
    /// Reads another tree than `/proc`: a mount elsewhere, or a captured copy.
    ///
    /// In a copy no descriptor follows a process, so it is listed and opened at each sweep.
    #[must_use]
    pub fn proc_root(mut self, path: impl Into<PathBuf>) -> Self {
        self.proc_root = path.into();
        self
    }

    /// Reads control groups and compressed swap from another tree than `/sys`: a captured copy, with
    /// `fs/cgroup` and `block` in it.
    ///
    /// By default a live `/proc` goes with the `/sys` of this machine, and a copy with none.
    #[must_use]
    pub fn sys_root(mut self, path: impl Into<PathBuf>) -> Self {
        self.sys_root = Some(path.into());
        self
    }

    /// Takes the page size and tick rate of the machine that a captured tree is from.
    #[must_use]
    pub fn host(mut self, host: Host) -> Self {
        self.host = host;
        self
    }

    /// Takes time from another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps at most this many descriptors open; the files of further processes are opened for each
    /// reading, which costs about eight times as much.
    ///
    /// By default the sampler keeps half of what `RLIMIT_NOFILE` allows, and leaves the other half
    /// to the program that links it. It never changes the limit.
    #[must_use]
    pub fn max_descriptors(mut self, descriptors: usize) -> Self {
        self.max_descriptors = Some(descriptors);
        self
    }

    /// Reads the numbers of processes by BPF, or from the files in `/proc`, which is the default.
    #[must_use]
    pub fn sweep_by(mut self, way: SweepBy) -> Self {
        self.sweep_by = way;
        self
    }

    /// Sets what is recorded of the arguments of processes.
    #[must_use]
    pub fn arguments(mut self, kept: KeptArguments) -> Self {
        self.rules.kept = kept;
        self
    }

    /// Takes what matches out of the arguments. May be called for several patterns.
    #[must_use]
    pub fn redact(mut self, redaction: Redaction) -> Self {
        self.rules.redactions.push(redaction);
        self
    }

    /// Returns a command as its arguments are recorded, without what matches; `None` where no arguments are.
    #[must_use]
    pub fn recorded_command(&self, command: &[String]) -> Option<Vec<String>> {
        self.rules.command(command)
    }

    /// Names the processes that fit a rule. Of several rules that fit the first holds.
    #[must_use]
    pub fn role(mut self, rule: RoleRule) -> Self {
        self.rules.roles.push(rule);
        self
    }

    pub(crate) fn identity_rules(&self) -> &IdentityRules {
        &self.rules
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn root_path(&self) -> &Path {
        &self.proc_root
    }

    /// Returns the `/sys` that goes with the tree.
    pub(crate) fn sys_path(&self, live: bool) -> Option<&Path> {
        self.sys_root.as_deref().or(live.then_some(Path::new("/sys")))
    }

    /// Opens the control groups that go with the tree.
    pub(crate) fn open_cgroups(&self, live: bool) -> Option<OpenHierarchies> {
        match &self.sys_root {
            Some(root) => Some(OpenHierarchies::captured(&root.join("fs/cgroup"))),
            None => live.then(OpenHierarchies::mounted),
        }
    }

    pub(crate) fn host_constants(&self) -> Host {
        self.host
    }

    pub(crate) fn open_root(&self) -> io::Result<ProcRoot> {
        ProcRoot::open(&self.proc_root)
    }
}
