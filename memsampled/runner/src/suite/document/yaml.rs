//! YAML as nodes: one document, within bounds, with the plain words of YAML 1.1.

use std::collections::{HashMap, HashSet};

use memsample_input::{InputError, Location, Problems, Source, quoted};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::{Entry, Node, Value};

/// Values of a file, those that aliases repeat included: a file of a few lines can ask for billions.
const NODES_MAX: usize = 100_000;
/// Lists and tables in each other.
const DEPTH_MAX: usize = 32;

impl Node {
    /// Reads a file with one YAML document; an empty one is null.
    ///
    /// Plain words have the meaning of YAML 1.1, for which the files were written: `yes` is a boolean and `~` is
    /// null.
    pub(in crate::suite) fn of_yaml(source: &Source) -> Result<Self, InputError> {
        let problems = Problems::default();
        let mut builder =
            Builder { source, problems: &problems, anchors: HashMap::new(), nodes: 0 };
        let node = builder.document();
        let location = source.location(0..0);
        problems.or(node.unwrap_or(Self { value: Value::Null, location }))
    }

    /// How many values it is made of.
    fn count(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Self::count).sum(),
            Value::Table(entries) => entries.iter().map(|entry| entry.node.count()).sum(),
            _ => 0_usize,
        }
    }
}

struct Builder<'a> {
    source: &'a Source,
    problems: &'a Problems,
    /// What aliases may repeat, with the number of its values.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

/// A list or table that is not closed yet.
enum Open {
    List(Vec<Node>),
    Table { entries: Vec<Entry>, keys: HashSet<String>, key: Option<(String, Location)> },
}

struct Level {
    open: Open,
    anchor: usize,
    location: Location,
}

impl Builder<'_> {
    /// Returns the document; `None` where there is none, or after a problem.
    fn document(&mut self) -> Option<Node> {
        let mut parser = Parser::new_from_str(self.source.text());
        let mut levels: Vec<Level> = Vec::new();
        let mut root = None;
        loop {
            let (event, span) = match parser.next_event()? {
                Ok(event) => event,
                Err(error) => {
                    let location = location_of(Span::empty(*error.marker()));
                    return self.fail(location, format!("not YAML: {}", error.info()), None);
                }
            };
            let location = location_of(span);
            let (node, anchor) = match event {
                Event::StreamEnd => return root,
                Event::DocumentStart(_) if root.is_some() => {
                    let help = Some("put each into a file of its own".to_owned());
                    return self.fail(location, "a second document in one file".to_owned(), help);
                }
                Event::Nothing
                | Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd => continue,
                Event::Alias(id) => {
                    let Some((node, count)) = self.anchors.get(&id).cloned() else {
                        return self.fail(
                            location,
                            "an alias of something that is not closed yet".to_owned(),
                            None,
                        );
                    };
                    self.spend(location, count)?;
                    (node, 0)
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.spend(location, 1)?;
                    let is_text = style != ScalarStyle::Plain
                        || tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                    let value = if is_text { Value::Text(text.into_owned()) } else { plain(&text) };
                    (Node { value, location }, anchor)
                }
                Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                    self.spend(location, 1)?;
                    if levels.len() >= DEPTH_MAX {
                        return self.fail(
                            location,
                            format!("more than {DEPTH_MAX} levels deep"),
                            None,
                        );
                    }
                    let open = match event {
                        Event::SequenceStart(..) => Open::List(Vec::new()),
                        _ => Open::Table { entries: Vec::new(), keys: HashSet::new(), key: None },
                    };
                    levels.push(Level { open, anchor, location });
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let level = levels.pop()?;
                    let value = match level.open {
                        Open::List(items) => Value::List(items),
                        Open::Table { entries, .. } => Value::Table(entries),
                    };
                    (Node { value, location: level.location }, level.anchor)
                }
            };
            if anchor != 0 {
                let count = node.count();
                // What an anchor keeps is a copy, which counts like what an alias repeats.
                self.spend(node.location, count)?;
                self.anchors.insert(anchor, (node.clone(), count));
            }
            match levels.last_mut().map(|level| &mut level.open) {
                None => root = Some(node),
                Some(Open::List(items)) => items.push(node),
                Some(Open::Table { entries, keys, key }) => match key.take() {
                    None => {
                        let location = node.location;
                        let Some(text) = key_of(node.value) else {
                            let message = "a key that is not a word".to_owned();
                            return self.fail(location, message, None);
                        };
                        if !keys.insert(text.clone()) {
                            let message = format!("the key {} a second time", quoted(&text));
                            return self.fail(location, message, None);
                        }
                        *key = Some((text, location));
                    }
                    Some((key, location)) => entries.push(Entry { key, location, node }),
                },
            }
        }
    }

    /// Counts values; `None`, and a problem, where there are too many.
    fn spend(&mut self, location: Location, nodes: usize) -> Option<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= NODES_MAX {
            return Some(());
        }
        let message = format!("more than {NODES_MAX} values, those that aliases repeat included");
        self.fail(location, message, None)
    }

    fn fail<T>(&self, location: Location, message: String, help: Option<String>) -> Option<T> {
        self.problems.add(self.source, location, message, help);
        None
    }
}

fn key_of(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        Value::Integer(integer) => Some(integer.to_string()),
        Value::Boolean(boolean) => Some(boolean.to_string()),
        _ => None,
    }
}

/// Returns what a plain word means.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Value::Boolean(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Boolean(false);
        }
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Value::Text(text.to_owned());
    }
    match text.parse() {
        Ok(integer) => Value::Integer(integer),
        Err(_) => Value::Other("a number too large"),
    }
}

fn location_of(span: Span) -> Location {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let column = |marker: &Marker| number(marker.col().saturating_add(1));
    let is_one_line = span.start.line() == span.end.line();
    let length =
        if is_one_line { column(&span.end).saturating_sub(column(&span.start)) } else { 1 };
    Location {
        line: number(span.start.line()).max(1),
        column: column(&span.start),
        length: length.max(1),
    }
}
