//! Where and how a suite was run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

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
    /// The recordings of the run, relative to its directory: one, and one more for each time that it was resumed.
    pub recordings: Vec<String>,
}

impl Origin {
    /// Returns the origin of a run of this program on this machine, in the directory `cwd`.
    #[must_use]
    pub fn here(cwd: &Path, arguments: Vec<String>, labels: BTreeMap<String, String>) -> Self {
        let uname = rustix::system::uname();
        let text = |text: &std::ffi::CStr| {
            Some(text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
        };
        Self {
            host: text(uname.nodename()),
            kernel: text(uname.release()),
            commit: commit(cwd),
            arguments,
            labels,
            recordings: Vec::new(),
        }
    }
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
