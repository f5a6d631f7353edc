//! TOML as nodes.

use memsample_input::{InputError, Problems, Source};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Entry, Node, Value};

impl Node {
    /// Reads a TOML file. Nesting is bounded by the parser, at 80.
    pub(in crate::suite) fn of_toml(source: &Source) -> Result<Self, InputError> {
        match DeTable::parse(source.text()) {
            Ok(table) => {
                let location = source.location(0..0);
                Ok(Self { value: table_of(source, table.get_ref()), location })
            }
            Err(error) => {
                let problems = Problems::default();
                let location = source.location(error.span().unwrap_or(0..0));
                let message = format!("not TOML: {}", error.message().replace('\n', ", "));
                problems.add(source, location, message, None);
                problems.or(Self { value: Value::Null, location })
            }
        }
    }
}

fn table_of(source: &Source, table: &DeTable<'_>) -> Value {
    let entries = table.iter().map(|(key, value)| Entry {
        key: key.get_ref().to_string(),
        location: source.location(key.span()),
        node: node_of(source, value),
    });
    Value::Table(entries.collect())
}

fn node_of(source: &Source, value: &Spanned<DeValue<'_>>) -> Node {
    let node = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Other("a number too large"),
        },
        DeValue::Float(_) => Value::Other("a number with a point"),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(list) => {
            Value::List(list.iter().map(|item| node_of(source, item)).collect())
        }
        DeValue::Table(table) => table_of(source, table),
    };
    Node { value: node, location: source.location(value.span()) }
}
