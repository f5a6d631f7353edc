//! Rows as text for a person, as JSON and as CSV.

use memsample::parse::Meminfo;
use memsample::units::Kibibytes;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::plain_table::{align_right, lines, plain_table, terminal_width};
use memsample::view::{Column, ColumnKind, Sum, Table, Value};
use memsample_input::{cut, printable};

/// How sizes are printed for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// `1.5 MiB`.
    Human,
    Bytes,
    /// Of the machine's memory; of its swap space for swap.
    Percent,
}

/// Returns the rows as a table. A line is cut at the width of the terminal, if there is one.
pub(super) fn text(
    table: &Table,
    columns: &[Column],
    unit: Unit,
    totals: bool,
    meminfo: Option<&Meminfo>,
) -> String {
    let mut output = plain_table();
    output.set_header(columns.iter().map(Column::title));
    for row in &table.rows {
        let cells = columns.iter().zip(table.values(row, columns));
        output.add_row(cells.map(|(column, value)| cell(column, value, unit, meminfo)));
    }
    if totals {
        output.add_row(total_row(table, columns, unit, meminfo));
    }
    let is_number = |index: usize| columns.get(index).is_some_and(|it| it.kind != ColumnKind::Text);
    align_right(&mut output, is_number);
    let text = lines(&output);
    let Some(width) = terminal_width() else { return text };
    text.lines().map(|line| cut(line, width) + "\n").collect()
}

/// Returns the sums over all rows. The first column without a sum has the word `total`.
fn total_row(
    table: &Table,
    columns: &[Column],
    unit: Unit,
    meminfo: Option<&Meminfo>,
) -> Vec<String> {
    let label = columns.iter().position(|column| !column.adds_up);
    let cell = |(index, column): (usize, &Column)| match table.total(column) {
        Some(sum) if column.kind == ColumnKind::Size => {
            cell(column, &Value::Sum(sum), unit, meminfo)
        }
        Some(sum) => at_least(sum, sum.known.map(|count| count.to_string())),
        None if Some(index) == label => "total".to_owned(),
        None => String::new(),
    };
    columns.iter().enumerate().map(cell).collect()
}

fn cell(column: &Column, value: &Value, unit: Unit, meminfo: Option<&Meminfo>) -> String {
    match value {
        Value::Text(text) | Value::Absent(text) => printable(text),
        Value::Number(number) => number.to_string(),
        Value::Age(ms) => format!("{:.1} s", *ms as f64 / 1000.0),
        Value::Size(_) | Value::Sum(_) => {
            let sum = value.as_sum();
            at_least(sum, sum.known.and_then(|bytes| size(column, bytes, unit, meminfo)))
        }
        Value::Unknown => "-".to_owned(),
    }
}

/// Marks a sum that lacks a process, and so is too small.
fn at_least(sum: Sum, text: Option<String>) -> String {
    match text {
        Some(text) if sum.unknown > 0 => format!("≥{text}"),
        Some(text) => text,
        None => "-".to_owned(),
    }
}

fn size(column: &Column, bytes: u64, unit: Unit, meminfo: Option<&Meminfo>) -> Option<String> {
    match unit {
        Unit::Bytes => Some(bytes.to_string()),
        Unit::Human => Some(memsample_input::rounded_size(bytes)),
        Unit::Percent => {
            let whole = match column.short {
                "swap" | "swap_pss" => meminfo?.swap_total,
                _ => meminfo?.mem_total,
            };
            let whole = whole.and_then(Kibibytes::bytes).filter(|&whole| whole > 0)?;
            Some(format!("{:.2}%", 100.0 * bytes as f64 / whole as f64))
        }
    }
}

/// Returns the rows as one JSON array, on one line.
pub(super) fn json(table: &Table, columns: &[Column]) -> anyhow::Result<String> {
    let mut text = serde_json::to_string(&Rows { table, columns })?;
    text.push('\n');
    Ok(text)
}

struct Rows<'a> {
    table: &'a Table,
    columns: &'a [Column],
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.table.rows.len()))?;
        for row in &self.table.rows {
            rows.serialize_element(&Row(fields(self.table, row, self.columns)))?;
        }
        rows.end()
    }
}

struct Row<'a>(Vec<(&'static str, Field<'a>)>);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, field) in &self.0 {
            map.serialize_entry(name, field)?;
        }
        map.end()
    }
}

/// A value for a program.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Text(&'a str),
    Number(i64),
    Size(u64),
    Null,
}

/// Returns the fields of a row. A sum is followed by the number of processes that it lacks.
fn fields<'a>(
    table: &Table,
    row: &'a [Value],
    columns: &[Column],
) -> Vec<(&'static str, Field<'a>)> {
    let mut fields = Vec::with_capacity(columns.len());
    for (column, value) in columns.iter().zip(table.values(row, columns)) {
        let field = match value {
            Value::Text(text) => Field::Text(text),
            Value::Absent(_) => Field::Null,
            Value::Number(number) => Field::Number(*number),
            Value::Size(number) | Value::Age(number) => Field::Size(*number),
            Value::Sum(sum) => sum.known.map_or(Field::Null, Field::Size),
            Value::Unknown => Field::Null,
        };
        fields.push((column.name, field));
        if let Some(name) = column.unknown {
            fields.push((name, Field::Size(value.as_sum().unknown)));
        }
    }
    fields
}

/// Returns the rows as CSV, with a header. What is unknown is empty.
pub(super) fn csv(table: &Table, columns: &[Column]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = columns.iter().flat_map(|column| [Some(column.name), column.unknown]).flatten();
    writer.write_record(names)?;
    for row in &table.rows {
        for (_, field) in fields(table, row, columns) {
            match field {
                Field::Text(text) => writer.write_field(text)?,
                Field::Number(number) => writer.write_field(number.to_string())?,
                Field::Size(bytes) => writer.write_field(bytes.to_string())?,
                Field::Null => writer.write_field("")?,
            }
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
