//! A directory in the format of UTAH, the Ubuntu Test Automation Harness.
//!
//! ```text
//! master.run ─▶ test suites ─ ts_control, tslist.run or tslist.auto ─▶ tests ─ tc_control
//! ```
//!
//! All files are YAML. What UTAH does and this does not (fetching, rebooting) is a problem or a note.

mod control;
mod runlist;
mod shell;
mod tree;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use memsample_input::{InputError, Problems, Source};

use self::control::TestSuite;
pub(super) use self::tree::Disk;
pub use self::tree::{Discover, Tree};
use super::document::Node;
use super::rules::{self, Named};
use super::suite_file::SUITE_FILE;
use super::test::{Suite, Test};

/// What is read of a directory, and of all directories that its `master.run` names.
struct Reading<'a> {
    tree: &'a dyn Tree,
    problems: Problems,
    named: Vec<Named>,
    tests: Vec<Test>,
    setup: Vec<shell::Part>,
    cleanup: Vec<shell::Part>,
    notes: Vec<String>,
    /// What `dependencies` say, in the words of the files.
    dependencies: Vec<String>,
}

/// Reads a directory.
pub(super) fn read(root: &Path, tree: &dyn Tree) -> Result<Suite, InputError> {
    let root = std::path::absolute(root)
        .map_err(|error| InputError::of_file(root, format!("cannot be found: {error}"), None))?;
    let mut reading = Reading {
        tree,
        problems: Problems::default(),
        named: Vec::new(),
        tests: Vec::new(),
        setup: Vec::new(),
        cleanup: Vec::new(),
        notes: Vec::new(),
        dependencies: Vec::new(),
    };
    let name = root.file_name().map_or("suite".into(), |name| name.to_string_lossy());
    let mut timeout = None;
    if let Some((source, node)) = reading.document(&root.join("master.run")) {
        timeout = runlist::read(&mut reading, &root, &source, &node);
    } else if is_test_suite(tree, &root) {
        control::read(&mut reading, &TestSuite::alone(&root));
    } else if reading.problems.is_empty() {
        let help = "a directory in UTAH's format has a master.run, a tslist.run or a tslist.auto";
        return Err(InputError::of_file(&root, "not a suite".to_owned(), Some(help)));
    }
    rules::check(&reading.named, &reading.problems);
    if reading.tests.is_empty() && reading.problems.is_empty() {
        let help = Some("name directories in tslist.run: - test: DIRECTORY");
        return Err(InputError::of_file(&root, "the suite has no test".to_owned(), help));
    }
    reading.note_dependencies();
    let suite = Suite {
        name: name.into_owned(),
        directory: root,
        setup: shell::all_or_nothing(&reading.setup),
        teardown: shell::one_after_the_other(&reading.cleanup),
        timeout,
        tests: reading.tests,
        notes: reading.notes,
    };
    reading.problems.or(suite)
}

/// Says whether a directory holds tests.
fn is_test_suite(tree: &dyn Tree, directory: &Path) -> bool {
    ["tslist.run", "tslist.auto"].iter().any(|name| tree.is_file(&directory.join(name)))
}

impl Reading<'_> {
    /// Reads a file; `None` where it is not there, and after a problem.
    fn document(&mut self, path: &Path) -> Option<(Rc<Source>, Node)> {
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
    fn note_dependencies(&mut self) {
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

/// Reads a number of seconds.
fn seconds(fields: &super::document::Fields<'_>, key: &str) -> Option<Duration> {
    let most = i64::try_from(super::settings::TIMEOUT_MAX.as_secs()).unwrap_or(i64::MAX);
    let seconds = fields.integer(key, 1, most)?;
    u64::try_from(seconds).ok().map(Duration::from_secs)
}
