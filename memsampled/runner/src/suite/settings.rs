//! What can be set for a test or for all of them, from its keys to a [`Test`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use memsample_input::Location;

use super::budget::{Action, Budget, LeakRule, Quantity};
use super::document::{Fields, Node, Value};
use super::sandbox::Sandbox;
use super::test::{Program, Step, Test};

/// The keys of `[defaults]`, which every test may have too.
pub(super) const KEYS: [&str; 16] = [
    "cwd",
    "env",
    "timeout",
    "grace",
    "run_as",
    "sandbox",
    "network",
    "memory_limit",
    "cpu_limit",
    "budget",
    "leak",
    "expect_exit",
    "tags",
    "artifacts",
    "repeat",
    "retries",
];

pub(super) const LEAK_KEYS: [&str; 2] = ["role", "action"];
const STEP_KEYS: [&str; 3] = ["command", "shell", "timeout"];

/// The quantities that a budget bounds, by their keys.
const QUANTITIES: [(&str, Quantity); 7] = [
    ("rss_peak", Quantity::RssPeak),
    ("pss_peak", Quantity::PssPeak),
    ("anon_peak", Quantity::AnonPeak),
    ("growth_per_minute", Quantity::Growth),
    ("left_over", Quantity::LeftOver),
    ("group_peak", Quantity::GroupPeak),
    ("shmem_peak", Quantity::ShmemPeak),
];
pub(super) const BUDGET_KEYS: [&str; 9] = [
    "rss_peak",
    "pss_peak",
    "anon_peak",
    "growth_per_minute",
    "left_over",
    "group_peak",
    "shmem_peak",
    "role",
    "action",
];

/// The same for a step around tests.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// A larger number is a wrong unit.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Of less, to start a program takes a part that matters.
const CPU_LIMIT_MIN: Duration = Duration::from_millis(10);
const GRACE_MAX: Duration = Duration::from_secs(3600);
const REPEAT_MAX: i64 = 10_000;
const RETRIES_MAX: i64 = 100;

/// What is set for a test, or for all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    cwd: Option<PathBuf>,
    env: BTreeMap<String, String>,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    run_as: Option<String>,
    sandbox: Option<Sandbox>,
    network: Option<bool>,
    memory_limit_bytes: Option<u64>,
    cpu_limit: Option<Duration>,
    budgets: Vec<Budget>,
    leak: Option<LeakRule>,
    expect_exit: Option<Vec<u8>>,
    tags: Vec<String>,
    artifacts: Vec<String>,
    repeat: Option<u32>,
    retries: Option<u32>,
}

impl Settings {
    pub(super) fn read(fields: &Fields<'_>) -> Self {
        Self {
            cwd: fields.path("cwd"),
            env: env(fields),
            timeout: fields.duration("timeout", Duration::from_millis(1), TIMEOUT_MAX),
            grace: fields.duration("grace", Duration::ZERO, GRACE_MAX),
            run_as: fields.text("run_as").map(str::to_owned),
            sandbox: sandbox(fields),
            network: fields.boolean("network"),
            memory_limit_bytes: memory_limit(fields),
            cpu_limit: fields.duration("cpu_limit", CPU_LIMIT_MIN, TIMEOUT_MAX),
            budgets: fields
                .tables("budget")
                .iter()
                .flat_map(|node| {
                    let what = format!("the budget of {}", fields.what());
                    let table = fields.table(node, what, &BUDGET_KEYS);
                    table.map(|table| budgets(&table)).unwrap_or_default()
                })
                .collect(),
            leak: leak(fields),
            expect_exit: expect_exit(fields),
            tags: owned(fields.texts("tags")),
            artifacts: artifacts(fields),
            repeat: fields.integer("repeat", 1, REPEAT_MAX).and_then(|n| u32::try_from(n).ok()),
            retries: fields.integer("retries", 0, RETRIES_MAX).and_then(|n| u32::try_from(n).ok()),
        }
    }

    /// Returns these settings, and where they say nothing, the defaults. Environments are merged, tags
    /// and artifacts added up; a budget replaces one for the same role and quantity.
    pub(super) fn or(self, defaults: &Self) -> Self {
        let budgets = defaults.budgets.iter().filter(|default| {
            let is_same =
                |own: &&Budget| own.role == default.role && own.quantity == default.quantity;
            !self.budgets.iter().any(|own| is_same(&own))
        });
        let budgets = budgets.chain(&self.budgets).cloned().collect();
        let sum = |defaults: &[String], own: &[String]| {
            let mut sum = defaults.to_vec();
            sum.extend(own.iter().filter(|word| !defaults.contains(word)).cloned());
            sum
        };
        Self {
            cwd: self.cwd.or_else(|| defaults.cwd.clone()),
            env: defaults.env.clone().into_iter().chain(self.env).collect(),
            timeout: self.timeout.or(defaults.timeout),
            grace: self.grace.or(defaults.grace),
            run_as: self.run_as.or_else(|| defaults.run_as.clone()),
            sandbox: self.sandbox.or_else(|| defaults.sandbox.clone()),
            network: self.network.or(defaults.network),
            memory_limit_bytes: self.memory_limit_bytes.or(defaults.memory_limit_bytes),
            cpu_limit: self.cpu_limit.or(defaults.cpu_limit),
            leak: self.leak.or_else(|| defaults.leak.clone()),
            expect_exit: self.expect_exit.or_else(|| defaults.expect_exit.clone()),
            tags: sum(&defaults.tags, &self.tags),
            artifacts: sum(&defaults.artifacts, &self.artifacts),
            repeat: self.repeat.or(defaults.repeat),
            retries: self.retries.or(defaults.retries),
            budgets,
        }
    }

    /// Makes a test of it, with paths that begin in `directory`.
    pub(super) fn into_test(
        self,
        directory: &std::path::Path,
        name: String,
        program: Program,
    ) -> super::Test {
        let cwd = self.cwd.map_or_else(|| directory.to_owned(), |cwd| directory.join(cwd));
        let test = Test::new(name, program, cwd);
        super::Test {
            env: self.env,
            timeout: self.timeout.unwrap_or(test.timeout),
            grace: self.grace.unwrap_or(test.grace),
            run_as: self.run_as,
            sandbox: match self.sandbox {
                Some(Sandbox::Bubblewrap { root: Some(root) }) => {
                    Some(Sandbox::Bubblewrap { root: Some(directory.join(root)) })
                }
                sandbox => sandbox,
            },
            network: self.network.unwrap_or(test.network),
            memory_limit_bytes: self.memory_limit_bytes,
            cpu_limit: self.cpu_limit,
            budgets: self.budgets,
            leak: self.leak,
            expect_exit: self.expect_exit.unwrap_or(test.expect_exit),
            tags: self.tags,
            artifacts: self.artifacts,
            repeat: self.repeat.unwrap_or(test.repeat),
            retries: self.retries.unwrap_or(test.retries),
            ..test
        }
    }
}

/// Reads what is run: one of `command` and `shell`.
pub(super) fn program(fields: &Fields<'_>) -> Option<Program> {
    match (fields.node("command"), fields.node("shell")) {
        (Some(_), Some(_)) => {
            let help = "`command` is a program and its arguments, `shell` a line for /bin/sh";
            let wrong = "stands beside `command`: only one of them can be run";
            fields.problem("shell", fields.key_location("shell"), wrong, Some(help));
            None
        }
        (Some(Node { value: Value::Text(line), location }), None) => {
            let wrong = "must be a list of texts, not a text";
            fields.problem("command", *location, wrong, Some(&instead_of(line)));
            None
        }
        (Some(node), None) => {
            let words = fields.texts_or_empty("command")?;
            if words.is_empty() {
                fields.problem("command", node.location, "must name a program", None);
                return None;
            }
            Some(Program::Command(words))
        }
        (None, Some(_)) => fields.text("shell").map(|line| Program::Shell(line.to_owned())),
        (None, None) => {
            let help =
                "write command = [\"program\", \"argument\"], or shell = \"a line for /bin/sh\"";
            fields.problem_of_table("lacks a `command` or a `shell`", Some(help));
            None
        }
    }
}

/// Returns what to write instead of a command in one text: what a shell would make of it, if it needs no shell.
fn instead_of(line: &str) -> String {
    // What JSON escapes, and how, TOML does too.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let shell = format!("shell = {}", quoted(line));
    let needs_shell = line.contains([
        '|', '&', ';', '<', '>', '(', ')', '$', '`', '*', '?', '[', '#', '~', '\n', '%', '=', '{',
        '!',
    ]);
    match shlex::split(line).filter(|words| !words.is_empty() && !needs_shell) {
        Some(words) => {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("write command = [{}], or {shell}", words.join(", "))
        }
        None => format!("write {shell}"),
    }
}

/// Reads a step, such as `[setup]`.
pub(super) fn step(fields: &Fields<'_>, node: &Node, what: String) -> Option<Step> {
    let table = fields.table(node, what, &STEP_KEYS)?;
    let timeout = table.duration("timeout", Duration::from_millis(1), TIMEOUT_MAX);
    Some(Step { program: program(&table)?, timeout: timeout.unwrap_or(STEP_TIMEOUT) })
}

/// Reads a table that bounds one or more quantities.
pub(super) fn budgets(fields: &Fields<'_>) -> Vec<Budget> {
    let role = fields.text("role").map(str::to_owned);
    let action = action(fields);
    let mut budgets = Vec::new();
    for (key, quantity) in QUANTITIES {
        if let Some(limit_bytes) = fields.bytes(key) {
            if role.is_some() && quantity.is_of_group() {
                let help = "write it into a budget of its own, without `role`";
                let wrong = "stands beside `role`: a control group is counted as a whole";
                fields.problem(key, fields.key_location(key), wrong, Some(help));
            }
            budgets.push(Budget { role: role.clone(), quantity, limit_bytes, action });
        }
    }
    let keys = QUANTITIES.map(|(key, _)| key);
    if keys.iter().all(|key| fields.node(key).is_none()) {
        fields.problem_of_table(
            "bounds nothing",
            Some(&format!("give one or more of {}", super::document::listed(&keys))),
        );
    }
    budgets
}

/// Reads `leak`: a table that may be empty.
fn leak(fields: &Fields<'_>) -> Option<LeakRule> {
    let node = fields.node("leak")?;
    let table = fields.table(node, format!("`leak` of {}", fields.what()), &LEAK_KEYS)?;
    Some(leak_rule(&table))
}

/// Reads the keys of a table about leaks.
pub(super) fn leak_rule(table: &Fields<'_>) -> LeakRule {
    LeakRule { role: table.text("role").map(str::to_owned), action: action(table) }
}

fn action(fields: &Fields<'_>) -> Action {
    match fields.text("action") {
        None | Some("fail") => Action::Fail,
        Some("warn") => Action::Warn,
        Some(_) => {
            let location = fields.node("action").map_or(fields.location(), |node| node.location);
            fields.problem("action", location, "must be \"fail\" or \"warn\"", None);
            Action::Fail
        }
    }
}

fn sandbox(fields: &Fields<'_>) -> Option<Sandbox> {
    let word = fields.text("sandbox")?;
    let sandbox = Sandbox::parse(word);
    if sandbox.is_none() {
        let location = fields.node("sandbox").map_or(fields.location(), |node| node.location);
        let help = "allowed are `none`, `pidns`, `bwrap`, `bwrap:ROOT` and `lxc:NAME`; see `memsample doctor`";
        fields.problem("sandbox", location, "not a sandbox", Some(help));
    }
    sandbox
}

fn memory_limit(fields: &Fields<'_>) -> Option<u64> {
    let bytes = fields.bytes("memory_limit")?;
    if bytes > 0 {
        return Some(bytes);
    }
    let location = fields.node("memory_limit").map_or(fields.location(), |node| node.location);
    fields.problem(
        "memory_limit",
        location,
        "must be above 0",
        Some("leave the key out for no limit"),
    );
    None
}

fn env(fields: &Fields<'_>) -> BTreeMap<String, String> {
    let Some(node) = fields.node("env") else { return BTreeMap::new() };
    let Value::Table(entries) = &node.value else {
        let wrong =
            format!("must be a table such as {{ LANG = \"C\" }}, not {}", node.value.kind());
        fields.problem("env", node.location, &wrong, None);
        return BTreeMap::new();
    };
    let table = fields.table_of_names(node, format!("`env` of {}", fields.what()), entries);
    let mut env = BTreeMap::new();
    for entry in entries {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            let wrong = "not a name of a variable";
            table.problem(&entry.key.escape_default().to_string(), entry.location, wrong, None);
        } else if matches!(entry.node.value, Value::Null) {
            // As if it was not there.
        } else if let Value::Text(value) = &entry.node.value
            && value.is_empty()
        {
            env.insert(entry.key.clone(), String::new());
        } else if let Some(value) = table.text_of(&entry.key, &entry.node) {
            env.insert(entry.key.clone(), value.to_owned());
        }
    }
    env
}

fn expect_exit(fields: &Fields<'_>) -> Option<Vec<u8>> {
    let node = fields.node("expect_exit")?;
    let code = |node: &Node| {
        fields.integer_of("expect_exit", node, 0, 255).and_then(|code| u8::try_from(code).ok())
    };
    match &node.value {
        Value::List(items) if items.is_empty() => {
            fields.problem("expect_exit", node.location, "must name an exit code", None);
            None
        }
        Value::List(items) => Some(items.iter().filter_map(code).collect()),
        _ => code(node).map(|code| vec![code]),
    }
}

fn artifacts(fields: &Fields<'_>) -> Vec<String> {
    let mut kept = Vec::new();
    for (pattern, location) in fields.texts("artifacts").unwrap_or_default() {
        let leads_out = pattern.starts_with('/') || pattern.split('/').any(|part| part == "..");
        match glob::Pattern::new(pattern) {
            _ if leads_out => {
                let help = "patterns begin in `cwd` and stay there";
                fields.problem("artifacts", location, "leads out of `cwd`", Some(help));
            }
            Err(error) => {
                fields.problem("artifacts", location, &format!("not a glob: {}", error.msg), None);
            }
            Ok(_) => kept.push(pattern.to_owned()),
        }
    }
    kept
}

fn owned(texts: Option<Vec<(&str, Location)>>) -> Vec<String> {
    texts.unwrap_or_default().into_iter().map(|(text, _)| text.to_owned()).collect()
}
