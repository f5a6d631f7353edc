//! All tables of a recording, and the document about them.

use std::fmt::Write as _;

use super::table::Table;
use super::tests::result_tables;
use super::{cgroups, exits, marks, processes, samples, system, ticks};

/// Returns every table of a recording.
#[must_use]
pub fn tables() -> Vec<Table> {
    vec![
        samples::samples(),
        processes::table(),
        exits::table(),
        ticks::table(),
        system::table(),
        cgroups::table(),
        marks::table(),
    ]
}

/// Returns `docs/schema.md`.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# The columns of a recording\n\n\
         Made from `memsample/src/schema/` by `make docs`; a test compares.\n\n\
         Bytes are bytes, not KiB, and times are nanoseconds unless the name says otherwise.\n\
         A null means \"not read on that tick\" or \"not known\", never zero.\n\
         A number larger than the column's type can hold is stored as the largest one.\n\
         A table may continue in a second file, so read `NAME*.parquet`.\n",
    );
    for table in tables() {
        describe(&table, &mut text);
    }
    text.push_str(
        "\n# The columns of a run\n\n\
         `memsample run` writes these tables beside `results.json`, whose keys have the same names and meanings.\n\
         Join them with the tables of a recording by `recording` and `test`.\n",
    );
    for table in result_tables() {
        describe(&table, &mut text);
    }
    text
}

fn describe(table: &Table, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n## {}\n\nOne row: {}. Sorted by {} within each row group.\n\n\
             | column | type | null | source | meaning |\n|---|---|---|---|---|\n",
        table.name,
        table.row,
        table.sorted_by.join(", "),
    );
    for column in &table.columns {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            column.name,
            column.kind.name(),
            if column.nullable { "yes" } else { "" },
            column.source.replace('|', "\\|"),
            column.meaning.replace('|', "\\|"),
        );
    }
}
