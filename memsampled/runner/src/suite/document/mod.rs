//! A file as values with their locations, whether it is TOML or YAML, and the reading of tables.

mod fields;
mod toml;
mod yaml;

use memsample_input::Location;

pub(crate) use fields::meant;
pub(super) use fields::{Fields, listed};

/// A value and its location.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) location: Location,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// YAML only.
    Null,
    Boolean(bool),
    Integer(i64),
    /// A number or date of which a suite has no use, by its kind.
    Other(&'static str),
    Text(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key of a table and its value. Keys are unique.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) location: Location,
    pub(super) node: Node,
}

impl Value {
    /// Returns what kind of value it is, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Boolean(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Other(kind) => kind,
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}
