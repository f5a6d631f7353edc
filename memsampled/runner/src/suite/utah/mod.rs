//! A directory in the format of UTAH, the Ubuntu Test Automation Harness.
//!
//! ```text
//! master.run ─▶ test suites ─ ts_control, tslist.run or tslist.auto ─▶ tests ─ tc_control
//! ```
//!
//! All files are YAML. What UTAH does and this does not (fetching, rebooting) is a problem or a note.

mod control;
mod reading;
mod runlist;
mod shell;
mod tree;

use std::path::Path;

use memsample_input::InputError;

use self::control::TestSuite;
use self::reading::{Reading, is_test_suite};
pub(super) use self::tree::Disk;
pub use self::tree::{Discover, Tree};
use super::rules;
use super::test::Suite;

/// Reads a directory.
pub(super) fn read(root: &Path, tree: &dyn Tree) -> Result<Suite, InputError> {
    let root = std::path::absolute(root)
        .map_err(|error| InputError::of_file(root, format!("cannot be found: {error}"), None))?;
    let mut reading = Reading::new(tree);
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
    if reading.tests.is_empty() && reading.problems.is_empty() && !reading.is_set_up {
        let help = Some("name directories in tslist.run: - test: DIRECTORY");
        return Err(InputError::of_file(&root, "the suite has no test".to_owned(), help));
    }
    reading.note_dependencies();
    let suite = Suite {
        name: name.into_owned(),
        directory: root,
        setup: shell::all_or_nothing(&reading.setup),
        teardown: shell::one_after_the_other(&reading.cleanup),
        is_set_up: reading.is_set_up,
        timeout,
        tests: reading.tests,
        notes: reading.notes,
    };
    let suite = reading.problems.or(suite);
    if suite.is_err() && reading.is_set_up {
        // No test is run, so nothing else cleans up. What goes wrong with it is not what is wrong here.
        for part in &reading.cleanup {
            let _ = tree.discover(&part.silent(), &part.directory, part.timeout);
        }
    }
    suite
}
