//! The keys of a table, read one by one, with a problem for each that is wrong.

use std::path::PathBuf;
use std::time::Duration;

use memsample_input::{ByteSize, Location, Problems, Source, Span, quoted};

use super::{Entry, Node, Value};

/// A word at most this many edits away from a known one is taken for a misspelling.
const SLIP: usize = 3;
/// Longer words are not compared: a comparison costs the product of both lengths.
const COMPARED_MAX: usize = 64;

/// The keys of a table, read one by one. Each mistake is kept as a problem, and reading continues.
pub(in crate::suite) struct Fields<'a> {
    source: &'a Source,
    problems: &'a Problems,
    /// What the table is, such as "test `leak`".
    what: String,
    location: Location,
    entries: &'a [Entry],
}

impl<'a> Fields<'a> {
    /// Reads a table that may have these keys; `None` where it is none.
    pub(in crate::suite) fn of(
        source: &'a Source,
        problems: &'a Problems,
        node: &'a Node,
        what: String,
        allowed: &[&str],
    ) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            let message = format!("{what} must be a table, not {}", node.value.kind());
            problems.add(source, node.location, message, None);
            return None;
        };
        for entry in entries {
            if allowed.contains(&entry.key.as_str()) {
                continue;
            }
            let help = match meant(&entry.key, allowed.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("allowed are {}", listed(allowed)),
            };
            let message = format!("unknown key {} in {what}", quoted(&entry.key));
            problems.add(source, entry.location, message, Some(help));
        }
        Some(Self { source, problems, what, location: node.location, entries })
    }

    pub(in crate::suite) fn location(&self) -> Location {
        self.location
    }

    /// Returns a value; `None` where the key is absent or its value null.
    pub(in crate::suite) fn node(&self, key: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
    }

    /// Returns the location of a key; that of the table where the key is not there.
    pub(in crate::suite) fn key_location(&self, key: &str) -> Location {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map_or(self.location, |entry| entry.location)
    }

    /// Keeps a problem of a value.
    pub(in crate::suite) fn problem(
        &self,
        key: &str,
        location: Location,
        wrong: &str,
        help: Option<&str>,
    ) {
        let message = format!("`{key}` of {}: {wrong}", self.what);
        self.problems.add(self.source, location, message, help.map(str::to_owned));
    }

    /// Keeps a problem of the table.
    pub(in crate::suite) fn problem_of_table(&self, wrong: &str, help: Option<&str>) {
        let message = format!("{} {wrong}", self.what);
        self.problems.add(self.source, self.location, message, help.map(str::to_owned));
    }

    /// Returns a text that must be there and not be empty.
    pub(in crate::suite) fn required_text(&self, key: &str) -> Option<&'a str> {
        if self.node(key).is_none() {
            self.problem_of_table(&format!("lacks `{key}`"), None);
        }
        self.text(key)
    }

    /// Returns a text, which must not be empty.
    pub(in crate::suite) fn text(&self, key: &str) -> Option<&'a str> {
        let node = self.node(key)?;
        self.text_of(key, node)
    }

    /// Returns the texts of a list.
    pub(in crate::suite) fn texts(&self, key: &str) -> Option<Vec<(&'a str, Location)>> {
        let node = self.node(key)?;
        let Value::List(items) = &node.value else {
            let help = match &node.value {
                Value::Text(text) => Some(format!("write [{text:?}]")),
                _ => None,
            };
            let wrong = format!("must be a list of texts, not {}", node.value.kind());
            self.problem(key, node.location, &wrong, help.as_deref());
            return None;
        };
        Some(
            items
                .iter()
                .filter_map(|item| Some((self.text_of(key, item)?, item.location)))
                .collect(),
        )
    }

    /// Returns the words of a command; all but the first may be empty.
    pub(in crate::suite) fn texts_or_empty(&self, key: &str) -> Option<Vec<String>> {
        let node = self.node(key)?;
        let Value::List(items) = &node.value else { return self.texts(key).map(|_| Vec::new()) };
        let word = |(index, item): (usize, &'a Node)| match &item.value {
            Value::Text(text) if index > 0 && text.is_empty() => Some(String::new()),
            _ => self.text_of(key, item).map(str::to_owned),
        };
        items.iter().enumerate().map(word).collect()
    }

    /// Returns the text of a value that was found already.
    pub(in crate::suite) fn text_of(&self, key: &str, node: &'a Node) -> Option<&'a str> {
        match &node.value {
            Value::Text(text) if text.is_empty() => {
                self.problem(key, node.location, "must not be empty", None);
                None
            }
            // The kernel ends arguments, paths and names there.
            Value::Text(text) if text.contains('\0') => {
                self.problem(key, node.location, "must not contain a NUL character", None);
                None
            }
            Value::Text(text) => Some(text),
            other => {
                let wrong = format!("must be a text, not {}", other.kind());
                self.problem(key, node.location, &wrong, Some("put it in quotes"));
                None
            }
        }
    }

    pub(in crate::suite) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(in crate::suite) fn boolean(&self, key: &str) -> Option<bool> {
        let node = self.node(key)?;
        match node.value {
            Value::Boolean(boolean) => Some(boolean),
            ref other => {
                let wrong = format!("must be true or false, not {}", other.kind());
                self.problem(key, node.location, &wrong, None);
                None
            }
        }
    }

    /// Returns a whole number between two bounds, both allowed.
    pub(in crate::suite) fn integer(&self, key: &str, from: i64, to: i64) -> Option<i64> {
        let node = self.node(key)?;
        self.integer_of(key, node, from, to)
    }

    pub(in crate::suite) fn integer_of(
        &self,
        key: &str,
        node: &Node,
        from: i64,
        to: i64,
    ) -> Option<i64> {
        match node.value {
            Value::Integer(integer) if (from..=to).contains(&integer) => Some(integer),
            Value::Integer(integer) => {
                let wrong = format!("must be from {from} to {to}, not {integer}");
                self.problem(key, node.location, &wrong, None);
                None
            }
            ref other => {
                let wrong =
                    format!("must be a whole number from {from} to {to}, not {}", other.kind());
                self.problem(key, node.location, &wrong, None);
                None
            }
        }
    }

    /// Returns a length of time between two bounds, both allowed.
    pub(in crate::suite) fn duration(
        &self,
        key: &str,
        from: Duration,
        to: Duration,
    ) -> Option<Duration> {
        let node = self.node(key)?;
        let wrong = match &node.value {
            Value::Text(text) => match Span::parse(text) {
                Ok(Span(duration)) if (from..=to).contains(&duration) => return Some(duration),
                Ok(_) => format!("must be from {} to {}", Span(from), Span(to)),
                Err(wrong) => wrong,
            },
            Value::Integer(number) => format!("a unit is missing: write \"{number}s\""),
            other => format!("must be a length of time such as \"30s\", not {}", other.kind()),
        };
        self.problem(key, node.location, &wrong, None);
        None
    }

    /// Returns a size in bytes.
    pub(in crate::suite) fn bytes(&self, key: &str) -> Option<u64> {
        let node = self.node(key)?;
        let wrong = match &node.value {
            Value::Text(text) => match ByteSize::parse(text) {
                Ok(ByteSize(bytes)) => return Some(bytes),
                Err(wrong) => wrong,
            },
            Value::Integer(number) => format!("a unit is missing: write \"{number}MiB\""),
            other => format!("must be a size such as \"64MiB\", not {}", other.kind()),
        };
        self.problem(key, node.location, &wrong, None);
        None
    }

    /// Returns the tables of a list; one table alone counts as a list of one.
    pub(in crate::suite) fn tables(&self, key: &str) -> &'a [Node] {
        let Some(node) = self.node(key) else { return &[] };
        match &node.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(node),
        }
    }

    /// Returns a table within this one.
    pub(in crate::suite) fn table(
        &self,
        node: &'a Node,
        what: String,
        allowed: &[&str],
    ) -> Option<Self> {
        Self::of(self.source, self.problems, node, what, allowed)
    }

    /// Returns a table within this one whose keys are names that a person chose.
    pub(in crate::suite) fn table_of_names(
        &self,
        node: &Node,
        what: String,
        entries: &'a [Entry],
    ) -> Self {
        let (source, problems) = (self.source, self.problems);
        Self { source, problems, what, location: node.location, entries }
    }

    pub(in crate::suite) fn what(&self) -> &str {
        &self.what
    }
}

/// Returns words for a sentence: `a`, `b` and `c`.
pub(in crate::suite) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Returns the known word nearest to `word`, the first of several, if `word` may be a misspelling of it.
pub(crate) fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    known
        .filter(|known| known.len() < COMPARED_MAX)
        // It is at least that much different.
        .filter(|known| known.chars().count().abs_diff(length) <= SLIP)
        .map(|known| (strsim::damerau_levenshtein(known, word), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= SLIP && *distance < known.len())
        .map(|(_, known)| known)
}
