//! Chooses the sandbox of each test.

use std::collections::HashMap;
use std::path::Path;

use super::available::{available, lxc_rootfs};
use super::spec::ResolvedSandbox;
use crate::suite::{Sandbox, Test};

/// Finds what is between each test and the machine, and tries each kind only once.
pub(crate) struct Sandboxes<'a> {
    /// The sandbox of tests for which the suite names none; `None`: the best that works here.
    default: Option<&'a Sandbox>,
    lxc_path: &'a Path,
    /// Whether a test whose sandbox does not work here is run with less, or refused.
    degrade: bool,
    tried: HashMap<String, Result<(), String>>,
    /// What a reader must know, once.
    notes: Vec<String>,
}

impl<'a> Sandboxes<'a> {
    pub(crate) fn new(default: Option<&'a Sandbox>, lxc_path: &'a Path, degrade: bool) -> Self {
        Self { default, lxc_path, degrade, tried: HashMap::new(), notes: Vec::new() }
    }

    /// Returns what to run a test in, or why it cannot be run.
    pub(crate) fn of(&mut self, test: &Test) -> Result<ResolvedSandbox, String> {
        let Some(wanted) = test.sandbox.as_ref().or(self.default) else {
            return Ok(self.best());
        };
        match self.works(wanted) {
            Ok(()) => sandbox(wanted, self.lxc_path),
            Err(reason) if self.degrade => {
                let best = self.best();
                let word = word(wanted);
                self.note(format!(
                    "`{word}` does not work here, so `{}` is used: {reason}",
                    best.word()
                ));
                Ok(best)
            }
            Err(reason) => {
                Err(format!("the sandbox `{}` does not work here: {reason}", word(wanted)))
            }
        }
    }

    /// Returns the new notes for the reader: each is returned once.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The best that is given unless something else is asked for.
    fn best(&mut self) -> ResolvedSandbox {
        match self.works(&Sandbox::PidNamespace) {
            Ok(()) => ResolvedSandbox::PidNamespace,
            Err(reason) => {
                self.note(format!(
                    "tests without a sandbox of their own run with `none`, because `pidns` does not work \
                     here: {reason}"
                ));
                ResolvedSandbox::None
            }
        }
    }

    fn works(&mut self, sandbox: &Sandbox) -> Result<(), String> {
        let lxc_path = self.lxc_path;
        let tried = self.tried.entry(word(sandbox));
        let tried = tried
            .or_insert_with(|| available(sandbox, lxc_path).map_err(|missing| missing.to_string()));
        tried.clone()
    }

    fn note(&mut self, note: String) {
        // SupervisorMessage already if there is an entry of its own for it.
        if self.tried.insert(note.clone(), Ok(())).is_none() {
            self.notes.push(note);
        }
    }
}

fn sandbox(sandbox: &Sandbox, lxc_path: &Path) -> Result<ResolvedSandbox, String> {
    Ok(match sandbox {
        Sandbox::None => ResolvedSandbox::None,
        Sandbox::PidNamespace => ResolvedSandbox::PidNamespace,
        Sandbox::Bubblewrap { root } => ResolvedSandbox::Bubblewrap { root: root.clone() },
        Sandbox::Lxc { name } => {
            let rootfs = lxc_rootfs(lxc_path, name);
            let rootfs = rootfs.map_err(|missing| missing.to_string())?;
            let configuration = lxc_path.join(name).join("config");
            ResolvedSandbox::Lxc { name: name.clone(), configuration, rootfs }
        }
    })
}

/// Returns the word of a suite file.
fn word(sandbox: &Sandbox) -> String {
    match sandbox {
        Sandbox::None => "none".to_owned(),
        Sandbox::PidNamespace => "pidns".to_owned(),
        Sandbox::Bubblewrap { root: None } => "bwrap".to_owned(),
        Sandbox::Bubblewrap { root: Some(root) } => format!("bwrap:{}", root.display()),
        Sandbox::Lxc { name } => format!("lxc:{name}"),
    }
}
