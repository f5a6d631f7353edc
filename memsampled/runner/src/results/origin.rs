//! Where and how a suite was run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use memsample::{Host, Machine};
use serde::{Deserialize, Serialize};

/// Where and how a suite was run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The name of the machine.
    pub host: Option<String>,
    /// The release of its kernel, as `uname -r` prints it.
    pub kernel: Option<String>,
    /// The commit that is checked out in the working directory; `None` where that is in no repository of Git, or there
    /// is no program `git`. What was changed since is not in it.
    pub commit: Option<String>,
    /// The arguments of the command, without its name.
    pub arguments: Vec<String>,
    /// What the run was labelled with.
    pub labels: BTreeMap<String, String>,
    /// The CPUs on which it could run.
    pub cpus: Option<u64>,
    /// The memory of the machine, in bytes.
    pub memory_bytes: Option<u64>,
    /// Bytes in one page.
    pub page_bytes: Option<u64>,
    /// When the kernel uses huge pages for anonymous memory: `always`, `madvise` or `never`; `None` where it has none.
    pub huge_pages: Option<String>,
    /// The CPUs that were online.
    pub cpus_online: Option<u64>,
    /// The interval between two ticks, in nanoseconds.
    pub interval_ns: Option<u64>,
    /// Whether only the suspects of a comparison were run, which were selected by what earlier runs had measured.
    pub only_suspects: bool,
    /// The recordings of the run, relative to its directory: one, and one more for each time that it was resumed.
    pub recordings: Vec<String>,
}

impl Origin {
    /// Returns the origin of a run of this program on this machine, in the directory `cwd`.
    #[must_use]
    pub fn here(cwd: &Path, arguments: Vec<String>, labels: BTreeMap<String, String>) -> Self {
        let Machine { hostname, kernel, cpus, cpus_online, page_bytes, .. } =
            Machine::current(Host::current());
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let count = |cpus: usize| cpus as u64;
        Self {
            host: text(hostname),
            kernel: text(kernel),
            commit: commit(cwd),
            arguments,
            labels,
            cpus: cpus.map(count),
            memory_bytes: memory_bytes(),
            page_bytes,
            huge_pages: huge_pages(),
            cpus_online: cpus_online.map(count),
            interval_ns: None,
            only_suspects: false,
            recordings: Vec::new(),
        }
    }
}

/// Returns the memory of the machine. The kernel reserves some, so that it differs a little from boot to boot.
fn memory_bytes() -> Option<u64> {
    let info = rustix::system::sysinfo();
    info.totalram.checked_mul(u64::from(info.mem_unit))
}

/// Returns the word that is chosen in a line such as `always [madvise] never`.
fn huge_pages() -> Option<String> {
    let line = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let (_, chosen) = line.split_once('[')?;
    Some(chosen.split_once(']')?.0.to_owned())
}

/// Asks Git which commit is checked out. A repository of another user is read as well, since CI servers check out as
/// another user than jobs run as; nothing of its configuration is executed by that.
fn commit(cwd: &Path) -> Option<String> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "rev-parse", "--verify", "--quiet", "HEAD"])
        .current_dir(cwd)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    let is_commit = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    (output.status.success() && is_commit).then_some(commit)
}
