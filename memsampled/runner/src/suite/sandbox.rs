//! What is between a test and the machine, as a suite asks for it.

use std::path::PathBuf;

/// What is between a test and the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// Nothing but a process group, and a control group where one can be had.
    None,
    /// A pid namespace of its own: nothing survives the test.
    PidNamespace,
    /// bubblewrap: the host's root read-only, a `/tmp` of its own, no network unless asked for.
    Bubblewrap {
        /// Another root than the host's.
        root: Option<PathBuf>,
    },
    /// A container for each test, with an overlay on a root file system.
    Lxc {
        /// The container whose root file system is used.
        name: String,
    },
}

impl Sandbox {
    /// Reads the word that a suite file or an option has for a sandbox: `none`, `pidns`, `bwrap`,
    /// `bwrap:ROOT` or `lxc:NAME`; `None` where it is none of them.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word.split_once(':') {
            None => match word {
                "none" => Some(Sandbox::None),
                "pidns" => Some(Sandbox::PidNamespace),
                "bwrap" => Some(Sandbox::Bubblewrap { root: None }),
                _ => None,
            },
            Some(("bwrap", root)) if !root.is_empty() => {
                Some(Sandbox::Bubblewrap { root: Some(PathBuf::from(root)) })
            }
            Some(("lxc", name)) if is_container_name(name) => {
                Some(Sandbox::Lxc { name: name.to_owned() })
            }
            Some(_) => None,
        }
    }
}

/// A container is a directory of that name, and never a path.
fn is_container_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_allowed)
}
