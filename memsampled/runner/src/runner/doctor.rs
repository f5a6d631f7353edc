//! What works on this machine, and what would make the rest work.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use memsample::KernelSource;
use rustix::process::getuid;

use super::sandbox::{
    Controllers, bubblewrap_namespaces, bubblewrap_root, controllers, pid_namespace_arguments,
};
use crate::suite::Sandbox;

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it is: a word of a suite file, the name of a control group's controller, or what the kernel
    /// tells.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether it works.
    pub result: Result<String, Missing>,
}

/// Why something does not work, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What was tried and what came of it.
    pub reason: String,
    /// The command that would install it, or what to allow; `None` where nothing is known to help.
    pub remedy: Option<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, " (try: {remedy})"))
    }
}

/// Tries everything that the runner can use, which takes about a tenth of a second.
#[must_use]
pub fn checks() -> Vec<Check> {
    let check = |name, purpose, result| Check { name, purpose, result };
    let controllers = controllers();
    let mut checks = vec![
        check("pidns", "nothing survives a test", pid_namespace()),
        check("bwrap", "a test cannot write to the machine", bubblewrap(None)),
        check("lxc", "a container for each test", lxc_tools()),
        check("memory", "memory limits, and who ran out of memory", memory(&controllers)),
        check("pids", "limits on the number of processes", pids(&controllers)),
        check("kill", "a kill that no process escapes", kill(&controllers)),
    ];
    checks.extend(KernelSource::ALL.into_iter().filter_map(source));
    checks
}

/// What the recording of a suite gets from the kernel.
fn source(source: KernelSource) -> Option<Check> {
    let privileged = "run it as root, or: setcap cap_net_admin=ep \"$(command -v memsample)\"; in a container \
                      it is not there";
    let (name, purpose, works, remedy) = match source {
        KernelSource::Processes => (
            "processes",
            "the processes of every user",
            "/proc shows all",
            "run it as root, or: mount -o remount,hidepid=0 /proc",
        ),
        KernelSource::Forks => (
            "forks",
            "forks and execs, so that no process goes unseen",
            "the proc connector",
            privileged,
        ),
        KernelSource::Exits => (
            "exits",
            "the true peak of every process: upper bounds for budgets",
            "taskstats",
            privileged,
        ),
        KernelSource::ProportionalSets => (
            "pss",
            "memory in which shared pages count once",
            "smaps_rollup",
            "Linux 4.14 or later",
        ),
        KernelSource::Pressure => (
            "psi",
            "how long processes waited for memory",
            "/proc/pressure/memory",
            "Linux 4.20 or later with CONFIG_PSI, started with psi=1",
        ),
        KernelSource::ControlGroups => (
            "cgroups",
            "the memory of control groups",
            "mounted",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
        // A later library may know more.
        _ => return None,
    };
    let missing = |reason| Missing { reason, remedy: Some(remedy.to_owned()) };
    let result = source.try_open().map(|()| works.to_owned()).map_err(missing);
    Some(Check { name, purpose, result })
}

/// Where containers are, unless LXC was built otherwise.
pub const LXC_PATH: &str = "/var/lib/lxc";

/// Says whether a sandbox works here, with containers at `lxc_path`.
///
/// # Errors
///
/// [`Missing`] says what does not work.
pub fn sandbox(sandbox: &Sandbox, lxc_path: &Path) -> Result<(), Missing> {
    match sandbox {
        Sandbox::None => Ok(()),
        Sandbox::PidNamespace => pid_namespace().map(drop),
        Sandbox::Bubblewrap { root } => bubblewrap(root.as_deref()).map(drop),
        Sandbox::Lxc { name } => lxc_tools().and_then(|_| lxc_rootfs(lxc_path, name)).map(drop),
    }
}

/// Returns the root file system of a container.
pub(super) fn lxc_rootfs(lxc_path: &Path, name: &str) -> Result<PathBuf, Missing> {
    let missing = |reason, remedy| Err(Missing { reason, remedy });
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return missing(format!("`{name}` cannot be the name of a container"), None);
    }
    let directory = lxc_path.join(name);
    let configuration = std::fs::read_to_string(directory.join("config")).unwrap_or_default();
    let configured = configuration.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let path = value.trim().trim_start_matches("dir:");
        (key.trim() == "lxc.rootfs.path").then(|| PathBuf::from(path))
    });
    let rootfs = configured.unwrap_or_else(|| directory.join("rootfs"));
    if rootfs.is_dir() {
        return Ok(rootfs);
    }
    let remedy = format!("lxc-create --name {name} --template download");
    missing(
        format!("the container `{name}` has no root file system at `{}`", rootfs.display()),
        Some(remedy),
    )
}

fn pid_namespace() -> Result<String, Missing> {
    let mut command = Command::new("unshare");
    command.args(pid_namespace_arguments(getuid().is_root())).args(["--", "true"]);
    try_tool(command, "apt-get install util-linux", NAMESPACES)
}

fn bubblewrap(root: Option<&Path>) -> Result<String, Missing> {
    if let Some(root) = root.filter(|root| !root.is_dir()) {
        let reason = format!("there is no root file system at `{}`", root.display());
        return Err(Missing { reason, remedy: None });
    }
    let mut command = Command::new("bwrap");
    // The network is tried too: making one may be what is not allowed. The program is the host's, since
    // another root need not have one; what it is run with is tried by running.
    command.args(bubblewrap_namespaces(false)).args(bubblewrap_root()).args(["--", "true"]);
    try_tool(command, "apt-get install bubblewrap", NAMESPACES)
}

fn lxc_tools() -> Result<String, Missing> {
    let mut command = Command::new("lxc-execute");
    command.arg("--version");
    let version = try_tool(command, "apt-get install lxc", "")?;
    if !getuid().is_root() {
        let reason = "a container with an overlay needs root".to_owned();
        return Err(Missing { reason, remedy: Some("run it as root".to_owned()) });
    }
    let overlay = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known = overlay.lines().any(|line| line.ends_with("\toverlay"));
    if !known && !Path::new("/sys/module/overlay").exists() {
        let reason = "this kernel has no overlay file system".to_owned();
        return Err(Missing { reason, remedy: Some("modprobe overlay".to_owned()) });
    }
    Ok(format!("lxc {version}"))
}

/// What to allow where the kernel refuses a namespace.
const NAMESPACES: &str = "run it as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 \
     (Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0)";

/// Runs a tool and returns what it printed, or why it does not work.
fn try_tool(mut command: Command, install: &str, allow: &str) -> Result<String, Missing> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            let words =
                words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given");
            let words = words.strip_prefix(&format!("{name}: ")).unwrap_or(words);
            Err(Missing {
                reason: format!("`{name}` failed: {words}"),
                remedy: Some(allow.to_owned()),
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Missing {
            reason: format!("`{name}` is not installed"),
            remedy: Some(install.to_owned()),
        }),
        Err(error) => {
            Err(Missing { reason: format!("`{name}` cannot be run: {error}"), remedy: None })
        }
    }
}

fn memory(controllers: &Controllers) -> Result<String, Missing> {
    controllers
        .memory
        .map(|version| format!("control groups, version {version}"))
        .ok_or_else(no_group)
}

fn pids(controllers: &Controllers) -> Result<String, Missing> {
    controllers.pids.then(|| "pids.max".to_owned()).ok_or_else(no_group)
}

fn kill(controllers: &Controllers) -> Result<String, Missing> {
    match controllers {
        Controllers { kill_file: true, .. } => Ok("cgroup.kill".to_owned()),
        Controllers { freezer: true, .. } => Ok("the freezer".to_owned()),
        _ => Err(no_group()),
    }
}

fn no_group() -> Missing {
    Missing {
        reason: "no control group with it can be made here".to_owned(),
        remedy: Some(
            "run it as root, or by `systemd-run --user --scope --property=Delegate=yes`".to_owned(),
        ),
    }
}
