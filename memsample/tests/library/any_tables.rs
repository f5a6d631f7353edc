//! Tables of the format of a recording whose values mean nothing.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use memsample::schema::{Column, ColumnKind, Table};
use proptest::prelude::*;

/// About the end of the year 9999.
const LAST_YEAR_MS: i64 = 253_000_000_000_000;

/// A number that a column may have, and that a calculation may not expect.
fn number() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        2 => Just(None),
        2 => Just(Some(0)),
        4 => (0_i64..5).prop_map(Some),
        2 => (1_700_000_000_000_i64..1_700_000_010_000).prop_map(Some),
        2 => prop::sample::select(vec![i64::MIN, i64::MAX, -1, i64::MIN + 1]).prop_map(Some),
        1 => any::<i64>().prop_map(Some),
    ]
}

/// A column with any values of its type.
fn column(column: &Column, numbers: &[Option<i64>], has_wild_times: bool) -> ArrayRef {
    let numbers =
        numbers.iter().map(|number| if column.nullable { *number } else { number.or(Some(0)) });
    match column.kind {
        ColumnKind::Timestamp => {
            let time = |ms: i64| if has_wild_times { ms } else { ms % LAST_YEAR_MS };
            let times: Vec<_> = numbers.map(|number| number.map(time)).collect();
            Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"))
        }
        ColumnKind::Int64 => Arc::new(Int64Array::from(numbers.collect::<Vec<_>>())),
        ColumnKind::Int32 => {
            let numbers = numbers.map(|number| number.map(|number| number as i32));
            Arc::new(Int32Array::from(numbers.collect::<Vec<_>>()))
        }
        ColumnKind::Flag => {
            let flags = numbers.map(|number| number.map(|number| number % 2 == 0));
            Arc::new(BooleanArray::from(flags.collect::<Vec<_>>()))
        }
        ColumnKind::Text => {
            let texts = numbers.map(|number| number.map(|number| format!("{}", number % 3)));
            Arc::new(StringArray::from(texts.collect::<Vec<_>>()))
        }
    }
}

/// Returns a few rows of a table.
pub(crate) fn any_rows(table: Table) -> impl Strategy<Value = RecordBatch> {
    let width = table.columns.len();
    let rows = prop::collection::vec(prop::collection::vec(number(), width), 1..8);
    // A table with a time outside of all years is refused as a whole, and nothing else of it is seen.
    (rows, prop::bool::weighted(0.02)).prop_map(move |(rows, has_wild_times)| {
        let arrays = table.columns.iter().enumerate().map(|(index, known)| {
            let numbers: Vec<_> = rows.iter().map(|row| row[index]).collect();
            column(known, &numbers, has_wild_times)
        });
        RecordBatch::try_new(table.arrow_schema(), arrays.collect()).unwrap()
    })
}
