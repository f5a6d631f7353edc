//! The run list `master.run`: which test suites there are, and where.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use memsample_input::{Location, Source, quoted};

use super::control::{self, Include, TestSuite};
use super::reading::{Reading, is_test_suite, seconds};
use crate::suite::document::{Fields, Node, Value};

/// Reads `master.run`: a table, or as in older suites a list of one, of `testsuites`.
pub(super) fn read(
    reading: &mut Reading<'_>,
    root: &Path,
    source: &Rc<Source>,
    node: &Node,
) -> Option<Duration> {
    let node = match &node.value {
        Value::List(items) if items.len() == 1 => items.first()?,
        _ => node,
    };
    let mut found = Vec::new();
    let timeout;
    {
        let problems = &reading.problems;
        let what = "the run list".to_owned();
        let fields = Fields::of(source, problems, node, what, &["testsuites", "timeout"])?;
        timeout = seconds(&fields, "timeout");
        if fields.tables("testsuites").is_empty() {
            fields.problem_of_table("has no `testsuites`", Some("write testsuites: and a list"));
        }
        let keys = ["name", "fetch_method", "fetch_location", "include_tests", "exclude_tests"];
        for (index, node) in fields.tables("testsuites").iter().enumerate() {
            let what = format!("the test suite with number {}", index + 1);
            let Some(table) = fields.table(node, what, &keys) else { continue };
            let is_only_one = fields.tables("testsuites").len() == 1;
            found.extend(test_suite(reading, root, source, &table, is_only_one));
        }
    }
    for (test_suite, note) in found {
        reading.notes.extend(note);
        control::read(reading, &test_suite);
    }
    timeout
}

/// Finds where a test suite is, and what a reader must know of that.
fn test_suite(
    reading: &Reading<'_>,
    root: &Path,
    source: &Rc<Source>,
    table: &Fields<'_>,
    is_only_one: bool,
) -> Option<(TestSuite, Option<String>)> {
    let name = table.required_text("name")?;
    if name.contains('/') || name == "." || name == ".." {
        let location = table.node("name").map_or(table.location(), |node| node.location);
        table.problem("name", location, "must be the name of a directory", None);
        return None;
    }
    let method = table.required_text("fetch_method")?;
    let fetch_location = table.required_text("fetch_location")?;
    let location = |key| table.node(key).map_or(table.location(), |node| node.location);
    let directory = match method {
        "dev" => {
            let directory = root.join(fetch_location);
            if !is_test_suite(reading.tree, &directory) {
                let wrong = format!("{} has no tslist.run and no tslist.auto", quoted(fetch_location));
                let help = "a path begins in the directory of master.run";
                table.problem("fetch_location", location("fetch_location"), &wrong, Some(help));
                return None;
            }
            directory
        }
        "bzr" | "bzr-export" | "git" => fetched(reading, root, name, is_only_one).or_else(|| {
            let wrong = format!("test suite {} is not here, and nothing is fetched", quoted(name));
            let help = format!(
                "fetch {} into a directory `{name}` beside master.run, or write fetch_method: dev and its path",
                quoted(fetch_location)
            );
            table.problem("fetch_method", location("fetch_method"), &wrong, Some(&help));
            None
        })?,
        _ => {
            let help = "allowed are `dev`, `bzr`, `bzr-export` and `git`";
            table.problem("fetch_method", location("fetch_method"), "not a method", Some(help));
            return None;
        }
    };
    let note = (method != "dev").then(|| {
        let (name, at) = (quoted(name), quoted(&directory.to_string_lossy()));
        format!("test suite {name} was not fetched by {method}: it is run as it is in {at}")
    });
    let names = |key| {
        let names = table.node(key).and_then(|_| table.texts(key))?;
        Some(names.into_iter().map(|(name, location)| (name.to_owned(), location)).collect())
    };
    let include = names("include_tests");
    let exclude: Vec<(String, Location)> = names("exclude_tests").unwrap_or_default();
    let test_suite = TestSuite {
        directory,
        prefix: format!("{name}/"),
        include: include.map(|names| Include { source: Rc::clone(source), names }),
        exclude: exclude.into_iter().map(|(name, _)| name).collect(),
    };
    Some((test_suite, note))
}

/// Returns where a test suite was fetched to: beside `master.run`, or the directory of `master.run` is
/// the test suite itself.
fn fetched(reading: &Reading<'_>, root: &Path, name: &str, is_only_one: bool) -> Option<PathBuf> {
    let beside = root.join(name);
    if is_test_suite(reading.tree, &beside) {
        return Some(beside);
    }
    (is_only_one && is_test_suite(reading.tree, root)).then(|| root.to_owned())
}
