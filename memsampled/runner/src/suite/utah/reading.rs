//! What is read of a directory in UTAH's format, file by file.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use memsample_input::{InputError, Problems, Source};

use super::shell;
use super::tree::Tree;
use crate::suite::document::{Fields, Node};
use crate::suite::rules::Named;
use crate::suite::settings::TIMEOUT_MAX;
use crate::suite::suite_file::SUITE_FILE;
use crate::suite::test::Test;

/// What is read of a directory, and of all directories that its `master.run` names.
pub(super) struct Reading<'a> {
    pub(super) tree: &'a dyn Tree,
    pub(super) problems: Problems,
    pub(super) named: Vec<Named>,
    pub(super) tests: Vec<Test>,
    pub(super) setup: Vec<shell::Part>,
    pub(super) cleanup: Vec<shell::Part>,
    /// Whether the setup of a test suite was run, since it makes what its tests are listed of.
    pub(super) is_set_up: bool,
    pub(super) notes: Vec<String>,
    /// What `dependencies` say, in the words of the files.
    pub(super) dependencies: Vec<String>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(tree: &'a dyn Tree) -> Self {
        Self {
            tree,
            problems: Problems::default(),
            named: Vec::new(),
            tests: Vec::new(),
            setup: Vec::new(),
            cleanup: Vec::new(),
            is_set_up: false,
            notes: Vec::new(),
            dependencies: Vec::new(),
        }
    }

    /// Reads a file; `None` where it is not there, and after a problem.
    pub(super) fn document(&mut self, path: &Path) -> Option<(Rc<Source>, Node)> {
        let read = || -> Result<Option<(Rc<Source>, Node)>, InputError> {
            let failed = |error: String| InputError::of_file(path, error, None);
            let Some(bytes) = self.tree.read(path).map_err(failed)? else { return Ok(None) };
            let source = Rc::new(SUITE_FILE.decode(path, &bytes)?);
            let node = Node::of_yaml(&source)?;
            Ok(Some((source, node)))
        };
        match read() {
            Ok(document) => document,
            Err(error) => {
                self.problems.append(error);
                None
            }
        }
    }

    /// Notes once what tests depend on: memsample does not check whether it is installed.
    pub(super) fn note_dependencies(&mut self) {
        self.dependencies.sort();
        self.dependencies.dedup();
        if let Some(shown) = self.dependencies.get(..self.dependencies.len().min(8))
            && !shown.is_empty()
        {
            let more = if shown.len() < self.dependencies.len() { ", …" } else { "" };
            let shown = shown.join(", ");
            self.notes
                .push(format!("`dependencies` are not installed nor looked for: {shown}{more}"));
        }
    }
}

/// Returns whether a directory holds tests.
pub(super) fn is_test_suite(tree: &dyn Tree, directory: &Path) -> bool {
    ["tslist.run", "tslist.auto"].iter().any(|name| tree.is_file(&directory.join(name)))
}

/// Reads a number of seconds.
pub(super) fn seconds(fields: &Fields<'_>, key: &str) -> Option<Duration> {
    let most = i64::try_from(TIMEOUT_MAX.as_secs()).unwrap_or(i64::MAX);
    let seconds = fields.integer(key, 1, most)?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}
