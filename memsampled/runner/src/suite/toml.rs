//! The suite file in TOML.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use memsample_input::{InputError, Problems, Source, quoted};

use super::document::{Fields, Node, Value};
use super::rules::{self, Named};
use super::settings::{self, Settings};
use super::suite_file::SUITE_FILE;
use super::test::{Suite, Test};

/// The keys of a suite file.
pub(super) const KEYS: [&str; 6] = ["name", "timeout", "setup", "teardown", "defaults", "test"];
/// The keys of a test that `[defaults]` does not have.
pub(super) const TEST_KEYS: [&str; 6] =
    ["name", "command", "shell", "setup", "cleanup", "requires"];

/// Reads a suite from the bytes of a TOML file.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Suite, InputError> {
    let source = Rc::new(SUITE_FILE.decode(path, bytes)?);
    let root = Node::of_toml(&source)?;
    let problems = Problems::default();
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let directory = std::path::absolute(directory).map_err(|error| {
        InputError::of_file(path, format!("its directory cannot be found: {error}"), None)
    })?;
    let suite = read(&source, &problems, &root, &directory);
    problems.or(suite)?.ok_or_else(|| InputError::of_file(path, "not a suite".to_owned(), None))
}

fn read(source: &Rc<Source>, problems: &Problems, root: &Node, directory: &Path) -> Option<Suite> {
    let fields = Fields::of(source, problems, root, "the suite".to_owned(), &KEYS)?;
    let name = fields.required_text("name").unwrap_or_default();
    if let Some(wrong) = rules::wrong_name(name) {
        fields.problem("name", fields.key_location("name"), &wrong, None);
    }
    let timeout = fields.duration("timeout", Duration::from_millis(1), settings::TIMEOUT_MAX);
    let step = |key| settings::step(&fields, fields.node(key)?, format!("[{key}]"));
    let (setup, teardown) = (step("setup"), step("teardown"));
    let defaults = fields
        .node("defaults")
        .and_then(|node| fields.table(node, "[defaults]".to_owned(), &settings::KEYS))
        .map(|table| Settings::read(&table))
        .unwrap_or_default();
    let allowed: Vec<&str> = TEST_KEYS.into_iter().chain(settings::KEYS).collect();
    let tables = match fields.node("test") {
        Some(Node { value: Value::List(items), .. }) => items.as_slice(),
        Some(node) => {
            let wrong = "must be a list of tables";
            fields.problem("test", node.location, wrong, Some("write [[test]], with two brackets"));
            return None;
        }
        None => &[],
    };
    if tables.is_empty() {
        let help = "write [[test]], and under it name = \"…\" and command = [\"…\"]";
        fields.problem_of_table("has no test", Some(help));
    }
    if tables.len() > rules::TESTS_MAX {
        let wrong = format!("has {} tests, more than {}", tables.len(), rules::TESTS_MAX);
        fields.problem_of_table(&wrong, Some("split it into several suites"));
        return None;
    }
    let mut named = Vec::new();
    let mut tests = Vec::new();
    for (index, node) in tables.iter().enumerate() {
        let Some(table) = fields.table(node, what(node, index), &allowed) else { continue };
        let (test, names) = test(source, &table, &defaults, directory);
        tests.extend(test);
        named.extend(names);
    }
    rules::check(&named, problems);
    Some(Suite {
        name: name.to_owned(),
        directory: directory.to_owned(),
        setup,
        teardown,
        is_set_up: false,
        timeout,
        tests,
        notes: Vec::new(),
    })
}

/// Returns what a test is called in messages.
fn what(node: &Node, index: usize) -> String {
    let Value::Table(entries) = &node.value else { return format!("test {}", index + 1) };
    match entries.iter().find(|entry| entry.key == "name").map(|entry| &entry.node.value) {
        Some(Value::Text(name)) if !name.is_empty() => format!("test {}", quoted(name)),
        _ => format!("the test with number {}", index + 1),
    }
}

/// Reads a test, and its names even where it cannot be understood.
fn test(
    source: &Rc<Source>,
    table: &Fields<'_>,
    defaults: &Settings,
    directory: &Path,
) -> (Option<Test>, Option<Named>) {
    let name = table.required_text("name");
    if let Some(wrong) = name.and_then(rules::wrong_name) {
        table.problem("name", table.key_location("name"), &wrong, None);
    }
    let program = settings::program(table);
    let own = Settings::read(table);
    let steps = |key: &str, what: &str| {
        let nodes = table.tables(key).iter();
        let what = || format!("the {what} of {}", table.what());
        nodes.filter_map(|node| settings::step(table, node, what())).collect::<Vec<_>>()
    };
    let (setup, cleanup) = (steps("setup", "setup"), steps("cleanup", "cleanup"));
    let requires: Vec<_> = table.texts("requires").unwrap_or_default();
    let requires: Vec<_> =
        requires.into_iter().map(|(name, location)| (name.to_owned(), location)).collect();
    let Some(name) = name else { return (None, None) };
    let test = program.map(|program| {
        let mut test = own.or(defaults).into_test(directory, name.to_owned(), program);
        test.setup = setup;
        test.cleanup = cleanup;
        test.requires = requires.iter().map(|(name, _)| name.clone()).collect();
        test
    });
    let location = table.node("name").map_or(table.location(), |node| node.location);
    (test, Some(Named { source: Rc::clone(source), name: name.to_owned(), location, requires }))
}
