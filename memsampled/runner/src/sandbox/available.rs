//! Which kinds of sandbox work on this machine, and what would make the others work.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::getuid;

use super::last_line::last_line;
use super::tool::{bubblewrap_namespaces, bubblewrap_root, pid_namespace_arguments};
use crate::suite::Sandbox;

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

/// Where containers are, unless LXC was built otherwise.
pub const LXC_PATH: &str = "/var/lib/lxc";

/// Returns whether a sandbox works here, with containers at `lxc_path`.
///
/// # Errors
///
/// [`Missing`] says what does not work.
pub fn available(sandbox: &Sandbox, lxc_path: &Path) -> Result<(), Missing> {
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

pub(crate) fn pid_namespace() -> Result<String, Missing> {
    let mut command = Command::new("unshare");
    command.args(pid_namespace_arguments(getuid().is_root())).args(["--", "true"]);
    try_tool(command, "apt-get install util-linux", NAMESPACES)
}

pub(crate) fn bubblewrap(root: Option<&Path>) -> Result<String, Missing> {
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

pub(crate) fn lxc_tools() -> Result<String, Missing> {
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
            let words = last_line(&words).unwrap_or("no reason given");
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
