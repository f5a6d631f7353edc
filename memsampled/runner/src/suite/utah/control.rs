//! Test suites and tests: `ts_control`, `tslist.run`, `tslist.auto` and `tc_control`.

use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use memsample_input::{Location, Source, quoted};

use super::reading::{Reading, seconds};
use super::shell;
use crate::suite::document::{Fields, Node, Value};
use crate::suite::rules::{self, Named};
use crate::suite::settings::{STEP_TIMEOUT, Settings};
use crate::suite::test::TEST_TIMEOUT;
use crate::suite::{Program, Step, Test};

/// A directory with tests, and which of them are meant.
pub(super) struct TestSuite {
    pub(super) directory: PathBuf,
    /// What the names of its tests begin with.
    pub(super) prefix: String,
    pub(super) include: Option<Include>,
    pub(super) exclude: Vec<String>,
}

/// The tests that a `master.run` names, and where.
pub(super) struct Include {
    pub(super) source: Rc<Source>,
    pub(super) names: Vec<(String, Location)>,
}

/// How long a command may take that lists tests.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// The variable with which UTAH says where a test may put logs that are to be kept.
const PROBE_DIRECTORY: &str = "UTAH_PROBE_DIR";

const TS_KEYS: [&str; 4] = ["build_cmd", "timeout", "ts_setup", "ts_cleanup"];
const TC_KEYS: [&str; 12] = [
    "description",
    "dependencies",
    "action",
    "expected_results",
    "type",
    "timeout",
    "build_cmd",
    "tc_setup",
    "command",
    "tc_cleanup",
    "run_as",
    "reboot",
];

impl TestSuite {
    /// A test suite without a `master.run`.
    pub(super) fn alone(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { directory, prefix: String::new(), include: None, exclude: Vec::new() }
    }

    fn is_meant(&self, test: &str) -> bool {
        let included = |include: &Include| include.names.iter().any(|(name, _)| name == test);
        self.include.as_ref().is_none_or(included) && !self.exclude.iter().any(|name| name == test)
    }

    /// Adds a problem for each test that shall be run and is not there; `why` is the end of a sentence.
    fn miss(&self, reading: &Reading<'_>, names: &[String], why: &str) {
        let Some(include) = &self.include else { return };
        for (missing, location) in include.names.iter().filter(|(name, _)| !names.contains(name)) {
            let message = format!("`include_tests` names {}, which {why}", quoted(missing));
            reading.problems.add(&include.source, *location, message, None);
        }
    }
}

/// Reads a test suite: `ts_control`, and the tests that `tslist.run` or `tslist.auto` lists.
pub(super) fn read(reading: &mut Reading<'_>, of: &TestSuite) {
    let mut setup = Vec::new();
    if let Some((source, node)) = reading.document(&of.directory.join("ts_control"))
        && !matches!(node.value, Value::Null)
    {
        setup = ts_control(reading, of, &source, &node);
    }
    if let Some((source, node)) = reading.document(&of.directory.join("tslist.run")) {
        reading.setup.extend(setup.into_iter().map(|(part, ..)| part));
        listed(reading, of, &source, &node);
    } else if !set_up(reading, &setup) {
        // What lists the tests would not find them.
    } else if let Some((source, node)) = reading.document(&of.directory.join("tslist.auto")) {
        discovered(reading, of, &source, &node);
    }
}

/// A command of a test suite, its key in `ts_control`, and where that is.
type SetupPart = (shell::Part, &'static str, Rc<Source>, Location);

/// Reads `ts_control`, and returns the commands of the setup.
fn ts_control(
    reading: &mut Reading<'_>,
    of: &TestSuite,
    source: &Rc<Source>,
    node: &Node,
) -> Vec<SetupPart> {
    let what = "ts_control".to_owned();
    let Some(fields) = Fields::of(source, &reading.problems, node, what, &TS_KEYS) else {
        return Vec::new();
    };
    let timeout = seconds(&fields, "timeout").unwrap_or(STEP_TIMEOUT);
    let part = |key| {
        let command = fields.text(key)?.to_owned();
        Some(shell::Part { directory: of.directory.clone(), command, timeout })
    };
    let setup = ["build_cmd", "ts_setup"].into_iter().filter_map(|key| {
        let location = fields.node(key).map_or(node.location, |node| node.location);
        Some((part(key)?, key, Rc::clone(source), location))
    });
    let (setup, cleanup) = (setup.collect(), part("ts_cleanup"));
    reading.cleanup.extend(cleanup);
    setup
}

/// Runs the setup of a test suite before its tests are listed, as UTAH does: it often makes what is listed.
/// It is not run again before the tests. Returns whether it went well.
fn set_up(reading: &mut Reading<'_>, setup: &[SetupPart]) -> bool {
    for (part, key, source, location) in setup {
        reading.is_set_up = true;
        if let Err(wrong) = reading.tree.discover(&part.silent(), &part.directory, part.timeout) {
            let message = format!("`{key}` of ts_control: {wrong}");
            let help = "it is run before the tests are listed";
            reading.problems.add(source, *location, message, Some(help.to_owned()));
            return false;
        }
    }
    true
}

/// Reads the tests of `tslist.run`, a list of `test` and `overrides`.
fn listed(reading: &mut Reading<'_>, of: &TestSuite, source: &Rc<Source>, node: &Node) {
    let entries = match &node.value {
        Value::List(items) => items.as_slice(),
        Value::Null => &[],
        other => {
            let message = format!("tslist.run must be a list, not {}", other.kind());
            let help = Some("write - test: DIRECTORY for each test".to_owned());
            return reading.problems.add(source, node.location, message, help);
        }
    };
    let mut names = Vec::new();
    for (index, node) in entries.iter().enumerate() {
        let what = format!("the entry with number {} of tslist.run", index + 1);
        let keys = ["test", "overrides"];
        let Some(fields) = Fields::of(source, &reading.problems, node, what, &keys) else {
            continue;
        };
        let Some(name) = fields.required_text("test").map(str::to_owned) else { continue };
        let location = fields.node("test").map_or(node.location, |node| node.location);
        if !stays_below(&name) {
            fields.problem("test", location, "must be a directory below that of tslist.run", None);
        } else if let Some(wrong) = rules::wrong_name(&format!("{}{name}", of.prefix)) {
            fields.problem("test", location, &wrong, None);
        } else if is_full(reading, source, location) {
            return;
        } else {
            let overrides = fields.node("overrides").cloned();
            if of.is_meant(&name) {
                tc_control(reading, of, (source, location), &name, overrides.as_ref());
            }
            names.push(name);
        }
    }
    of.miss(reading, &names, "is not in tslist.run");
}

/// Reads the `tc_control` of a test; `overrides` of `tslist.run` take the location of what it says.
fn tc_control(
    reading: &mut Reading<'_>,
    of: &TestSuite,
    (list, location): (&Rc<Source>, Location),
    name: &str,
    overrides: Option<&Node>,
) {
    let directory = of.directory.join(name);
    let path = directory.join("tc_control");
    if !reading.tree.is_file(&path) {
        let message =
            format!("test {} has no file {}", quoted(name), quoted(&path.to_string_lossy()));
        return reading.problems.add(list, location, message, None);
    }
    let Some((source, node)) = reading.document(&path) else { return };
    let problems = &reading.problems;
    let what = format!("test {}", quoted(name));
    let Some(fields) = Fields::of(&source, problems, &node, what, &TC_KEYS) else { return };
    let what = format!("the overrides of test {}", quoted(name));
    let overrides = overrides.and_then(|node| Fields::of(list, problems, node, what, &TC_KEYS));
    let of_key = |key: &str| match &overrides {
        Some(overrides) if overrides.node(key).is_some() => overrides,
        _ => &fields,
    };
    let text = |key: &str| of_key(key).text(key).map(str::to_owned);
    let timeout = seconds(of_key("timeout"), "timeout");
    if let Some(reboot) = text("reboot")
        && reboot != "never"
    {
        let fields = of_key("reboot");
        let location = fields.node("reboot").map_or(fields.location(), |node| node.location);
        let help = "reboot: never, or two suites with a reboot between them";
        fields.problem("reboot", location, "the machine is not rebooted", Some(help));
    }
    let step_timeout = timeout.unwrap_or(STEP_TIMEOUT);
    let steps = |keys: &[&str]| {
        keys.iter().filter_map(|key| Some(step(text(key)?, step_timeout))).collect()
    };
    let (setup, cleanup) = (steps(&["build_cmd", "tc_setup"]), steps(&["tc_cleanup"]));
    let (run_as, tag) = (text("run_as"), text("type"));
    let dependencies = match of_key("dependencies").node("dependencies").map(|node| &node.value) {
        Some(Value::Text(text)) => Some(text.trim().to_owned()),
        _ => None,
    };
    let command = text("command");
    if command.is_none() && fields.node("command").is_none() {
        fields.problem_of_table("lacks a `command`", None);
    }
    // What it says of nothing, and what a template says.
    let says_nothing = |text: &String| {
        ["", "none", "n/a", "-"].contains(&text.to_lowercase().as_str()) || text == "CHANGE_ME"
    };
    reading.dependencies.extend(dependencies.filter(|text| !says_nothing(text)));
    if let Some(command) = command {
        let mut test = test(&directory, &of.prefix, name, command, timeout);
        test.setup = setup;
        test.cleanup = cleanup;
        test.run_as = run_as;
        test.tags.extend(tag);
        reading.tests.push(test);
    }
    let name = format!("{}{name}", of.prefix);
    reading.named.push(Named { source: Rc::clone(list), name, location, requires: Vec::new() });
}

/// Lists the tests of `tslist.auto`: each line that `discovery_cmd` prints replaces `{}` in
/// `test_cmd`.
fn discovered(reading: &mut Reading<'_>, of: &TestSuite, source: &Rc<Source>, node: &Node) {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut names = Vec::new();
    for node in items {
        let what = "tslist.auto".to_owned();
        let keys = ["discovery_cmd", "test_cmd"];
        let Some(fields) = Fields::of(source, &reading.problems, node, what, &keys) else {
            continue;
        };
        let discovery = fields.required_text("discovery_cmd");
        let (Some(discovery), Some(command)) = (discovery, fields.required_text("test_cmd")) else {
            continue;
        };
        let location = fields.node("discovery_cmd").map_or(node.location, |node| node.location);
        if !command.contains("{}") {
            let location = fields.node("test_cmd").map_or(node.location, |node| node.location);
            let help = "`{}` is where the name of the test goes";
            fields.problem("test_cmd", location, "is the same for every test", Some(help));
            continue;
        }
        // In the directory that contains the test suite, as the paths in it are written.
        let cwd = of.directory.parent().unwrap_or(&of.directory);
        let lines = match reading.tree.discover(discovery, cwd, DISCOVERY_TIMEOUT) {
            Ok(lines) => lines,
            Err(wrong) => {
                let help = "it is run after build_cmd and ts_setup, in the directory above";
                fields.problem("discovery_cmd", location, &wrong, Some(help));
                continue;
            }
        };
        if lines.trim().is_empty() {
            let help = "it is run after build_cmd and ts_setup, in the directory above";
            fields.problem("discovery_cmd", location, "listed no test", Some(help));
            continue;
        }
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(wrong) = rules::wrong_name(&format!("{}{line}", of.prefix)) {
                let wrong = format!("the name {}, which it printed, {wrong}", quoted(line));
                fields.problem("discovery_cmd", location, &wrong, None);
                break;
            }
            if is_full(reading, source, location) {
                return;
            }
            names.push(line.to_owned());
            if of.is_meant(line) {
                let test = discovered_test(of, line, command);
                let name = test.name.clone();
                reading.tests.push(test);
                let source = Rc::clone(source);
                reading.named.push(Named { source, name, location, requires: Vec::new() });
            }
        }
    }
    of.miss(reading, &names, "was not discovered");
}

/// A test of `tslist.auto` runs in a directory of its own below its test suite: commands lead out of it
/// again, as in `../run_test.sh {}`.
fn discovered_test(of: &TestSuite, name: &str, command: &str) -> Test {
    let below = match name.replace('/', "_") {
        dots if dots == "." || dots == ".." => format!("_{dots}"),
        below => below,
    };
    let below = shell::word(&below);
    let command = command.replace("{}", &shell::word(name));
    let command = format!("cd ./{below} || exit\n{command}");
    let mut test = test(&of.directory, &of.prefix, name, command, None);
    test.setup.push(step(format!("mkdir -p ./{below}"), STEP_TIMEOUT));
    // What the test wrote there stays.
    test.cleanup.push(step(format!("rmdir ./{below} 2>/dev/null || :"), STEP_TIMEOUT));
    test
}

fn test(
    directory: &Path,
    prefix: &str,
    name: &str,
    command: String,
    timeout: Option<Duration>,
) -> Test {
    let program = Program::Shell(command);
    let mut test = Settings::default().into_test(directory, format!("{prefix}{name}"), program);
    test.timeout = timeout.unwrap_or(TEST_TIMEOUT);
    // UTAH isolates nothing: its tests may use the network.
    test.network = true;
    test.artifacts_variable = Some(PROBE_DIRECTORY.to_owned());
    test
}

fn step(command: String, timeout: Duration) -> Step {
    Step { program: Program::Shell(command), timeout }
}

/// Returns whether there are as many tests as a suite may have, as a problem.
fn is_full(reading: &Reading<'_>, source: &Source, location: Location) -> bool {
    let is_full = reading.named.len() >= rules::TESTS_MAX;
    if is_full {
        let message = format!("more than {} tests", rules::TESTS_MAX);
        reading.problems.add(source, location, message, None);
    }
    is_full
}

fn stays_below(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    parts.clone().next().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}
