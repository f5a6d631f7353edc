//! Policies: budgets in a file of their own.

use std::path::Path;

use memsample_input::{Problems, Source};
use regex::Regex;

use super::budget::{Budget, LeakRule};
use super::document::{Fields, Node};
use super::rules;
use super::settings;
use super::suite_file::{SUITE_FILE, SuiteError};

/// A budget for all tests whose name matches.
#[derive(Clone, Debug)]
pub struct PolicyBudget {
    /// Which tests; `None`: all.
    pub tests: Option<Regex>,
    /// What they are held to.
    pub budget: Budget,
}

/// A rule about leaks, and the tests that are judged by it.
#[derive(Clone, Debug)]
pub struct PolicyLeak {
    /// Which tests; `None`: all.
    pub tests: Option<Regex>,
    /// How they are judged.
    pub rule: LeakRule,
}

/// Budgets and rules about leaks in a file of their own, for several suites: a TOML file of `[[budget]]` and `[[leak]]`
/// tables, each with the keys of a budget or of `leak`, and with `test`, a glob, or `test_regex`.
///
/// `*` in the glob matches any characters, `?` one; without either key a table holds for every test.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The budgets, in the order of the file.
    pub budgets: Vec<PolicyBudget>,
    /// The rules about leaks, in the order of the file.
    pub leaks: Vec<PolicyLeak>,
}

impl PolicyBudget {
    /// Returns whether a test is held to it.
    #[must_use]
    pub fn holds_for(&self, test: &str) -> bool {
        matches(self.tests.as_ref(), test)
    }
}

impl PolicyLeak {
    /// Returns whether a test is judged by it.
    #[must_use]
    pub fn holds_for(&self, test: &str) -> bool {
        matches(self.tests.as_ref(), test)
    }
}

fn matches(tests: Option<&Regex>, test: &str) -> bool {
    tests.is_none_or(|tests| tests.is_match(test))
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not a policy; all problems are reported at once.
    pub fn load(path: &Path) -> Result<Self, SuiteError> {
        Self::from_toml(&SUITE_FILE.read(path)?, path)
    }

    /// Reads a policy from the bytes of a file; `path` names it in errors.
    ///
    /// # Errors
    ///
    /// If it is not a policy.
    pub fn from_toml(bytes: &[u8], path: &Path) -> Result<Self, SuiteError> {
        let source = SUITE_FILE.decode(path, bytes)?;
        let root = Node::of_toml(&source)?;
        let problems = Problems::default();
        let policy = read(&source, &problems, &root);
        Ok(problems.or(policy)?)
    }
}

fn read(source: &Source, problems: &Problems, root: &Node) -> Policy {
    let mut policy = Policy::default();
    let Some(fields) =
        Fields::of(source, problems, root, "the policy".to_owned(), &["budget", "leak"])
    else {
        return policy;
    };
    if fields.tables("budget").is_empty() && fields.tables("leak").is_empty() {
        fields.problem_of_table(
            "has no budget and no leak",
            Some("write [[budget]], and under it rss_peak = \"…\""),
        );
    }
    each(&fields, "budget", &settings::BUDGET_KEYS, |table, tests| {
        let bounds = settings::budgets(table).into_iter();
        policy.budgets.extend(bounds.map(|budget| PolicyBudget { tests: tests.clone(), budget }));
    });
    each(&fields, "leak", &settings::LEAK_KEYS, |table, tests| {
        policy.leaks.push(PolicyLeak { tests, rule: settings::leak_rule(table) });
    });
    policy
}

/// Reads each table of a kind, with the tests for which it holds.
fn each(
    fields: &Fields<'_>,
    kind: &str,
    keys: &[&'static str],
    mut read: impl FnMut(&Fields<'_>, Option<Regex>),
) {
    let tables = fields.tables(kind);
    if tables.len() > rules::TESTS_MAX {
        let wrong = format!("has {} tables `{kind}`, more than {}", tables.len(), rules::TESTS_MAX);
        fields.problem_of_table(&wrong, None);
        return;
    }
    let allowed: Vec<&str> =
        ["test", "test_regex"].into_iter().chain(keys.iter().copied()).collect();
    for (index, node) in tables.iter().enumerate() {
        let what = format!("the {kind} with number {}", index + 1);
        if let Some(table) = fields.table(node, what, &allowed) {
            read(&table, tests(&table));
        }
    }
}

fn tests(table: &Fields<'_>) -> Option<Regex> {
    let location = |key| table.node(key).map_or(table.location(), |node| node.location);
    let (key, pattern) = match (table.text("test"), table.text("test_regex")) {
        (Some(_), Some(_)) => {
            let wrong = "stands beside `test`: only one of them can hold";
            table.problem("test_regex", location("test_regex"), wrong, None);
            return None;
        }
        (Some(glob), None) => ("test", regex_of_glob(glob)),
        (None, Some(regex)) => ("test_regex", regex.to_owned()),
        (None, None) => return None,
    };
    match Regex::new(&pattern) {
        Ok(regex) => Some(regex),
        Err(error) => {
            // Of its several lines the last says what is wrong.
            let error = error.to_string();
            let wrong = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            table.problem(key, location(key), &format!("not a pattern: {wrong}"), None);
            None
        }
    }
}

fn regex_of_glob(glob: &str) -> String {
    let mut pattern = String::from("^");
    for c in glob.chars() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            c => pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern.push('$');
    pattern
}
