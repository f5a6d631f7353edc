//! Encoded rows of small tables beside the columns that Arrow makes of them.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use memsample_beneath::HeldDirectory;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::purpose::Purpose;
use super::table::{Origin, RowGroups, TableFile, Tail};
use crate::schema::{Field, Fields, Value};

/// A row with a value of each type.
#[derive(Clone, Debug)]
struct Row {
    number: u64,
    signed: i64,
    short: i32,
    text: String,
    is_known: bool,
}

macro_rules! field {
    ($name:literal, $kind:ident, $value:expr) => {
        Field { name: $name, source: "test", meaning: "", value: Value::$kind($value) }
    };
}

const FIELDS: Fields<Row> = Fields(&[
    field!("ts", Timestamp, |row| row.signed),
    field!("optional_ts", OptionalTimestamp, |row| row.is_known.then_some(row.signed)),
    field!("long", Int64, |row| row.number),
    field!("optional_long", OptionalInt64, |row| row.is_known.then_some(row.number)),
    field!("signed", Signed, |row| row.signed),
    field!("optional_signed", OptionalSigned, |row| row.is_known.then_some(row.signed)),
    field!("short", Int32, |row| row.short),
    field!("optional_short", OptionalInt32, |row| row.is_known.then_some(row.short)),
    field!("text", Text, |row| Cow::Borrowed(row.text.as_str())),
    field!("optional_text", OptionalText, |row| row.is_known.then_some(row.text.as_str().into())),
    field!("flag", Flag, |row| row.is_known),
]);

/// Compares what is read back with the rows.
fn check(rows: &[Row]) {
    let table = FIELDS.table("table", "one row", &["ts"]);
    let ids = StringArray::from_iter_values(std::iter::repeat_n("id", rows.len()));
    let mut expected: Vec<ArrayRef> = vec![Arc::new(ids)];
    expected.extend(FIELDS.arrays(rows));
    let expected = RecordBatch::try_new(table.arrow_schema(), expected).unwrap();
    for purpose in [Purpose::Settled, Purpose::SmallTail] {
        let groups = RowGroups::of_rows(&table, FIELDS, "id", purpose, rows).unwrap().unwrap();
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(groups.file(), options);
        let mut reader = builder.unwrap().with_batch_size(rows.len()).build().unwrap();
        let found = reader.next().unwrap().unwrap();
        assert_eq!(found.columns(), expected.columns());
        assert!(reader.next().is_none());
    }
}

fn row() -> impl Strategy<Value = Row> {
    // Some are equal to those beside them, some to others, and some to none.
    let number = prop_oneof![0..3_u64, Just(u64::MAX), (0..1_u64 << 40).prop_map(|it| it << 12)];
    let signed = prop_oneof![-1..2_i64, any::<i64>()];
    let short = prop_oneof![0..3_i32, any::<i32>()];
    let text = prop_oneof!["[ab]?", "[a-zé]{1,90}"];
    (number, signed, short, text, any::<bool>()).prop_map(
        |(number, signed, short, text, is_known)| Row { number, signed, short, text, is_known },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn encoded_rows_are_read_as_they_were(
        parts in prop::collection::vec((row(), 1..40_usize), 1..60),
        is_repeated in any::<bool>(),
    ) {
        let times = |times: usize| if is_repeated { times } else { 1 };
        let rows = parts.iter().flat_map(|(row, count)| std::iter::repeat_n(row.clone(), times(*count)));
        check(&rows.collect::<Vec<_>>());
    }
}

#[test]
fn no_rows_are_no_row_group() {
    let table = FIELDS.table("table", "one row", &["ts"]);
    assert!(RowGroups::of_rows(&table, FIELDS, "id", Purpose::Settled, &[]).unwrap().is_none());
}

/// A row that is like no other.
fn different_row(index: u32) -> Row {
    let number = u64::from(index).wrapping_mul(6_364_136_223_846_793_005);
    Row {
        number,
        signed: i64::from(index),
        short: index as i32,
        text: format!("{}", index % 30_000),
        is_known: index.is_multiple_of(2),
    }
}

#[test]
fn a_small_table_has_as_many_pages_as_it_needs() {
    check(&(0..50_000).map(different_row).collect::<Vec<_>>());
}

/// A row group is copied at each flush after its own, at once or, if it is large, column by column.
#[test]
fn a_row_group_that_is_copied_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let held = Arc::new(HeldDirectory::open(directory.path()).unwrap());
    let origin = Origin { id: "id".into(), provenance: "{}".into() };
    let table = FIELDS.table("table", "one row", &["ts"]);
    let mut file = TableFile::create(&held, table.clone(), origin).unwrap();
    // Which nothing compresses.
    let text = |index: u32| format!("{:02x?}", Sha256::digest(index.to_le_bytes()));
    let row = |index| Row { text: text(index), ..different_row(index) };
    let rows: Vec<Row> = (0..70_000).map(row).collect();
    let (large, small) = rows.split_at(60_000);
    for (rows, settles) in [(large, true), (&small[..9_000], false), (&small[9_000..], false)] {
        let groups = file.encode(FIELDS, Purpose::Settled, rows).unwrap();
        let (settled, tail) = if settles { (groups, None) } else { (None, groups) };
        file.publish(1, settled, Tail::Append(tail)).unwrap();
    }
    let bytes = std::fs::read(directory.path().join("table.parquet")).unwrap();
    assert!(bytes.len() > 2 << 20, "{} bytes", bytes.len());
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder =
        ParquetRecordBatchReaderBuilder::try_new_with_options(bytes::Bytes::from(bytes), options);
    let reader = builder.unwrap().with_batch_size(rows.len()).build().unwrap();
    let mut first = 0;
    for batch in reader.map(Result::unwrap) {
        let expected = FIELDS.arrays(&rows[first..first + batch.num_rows()]);
        assert_eq!(batch.columns()[1..], expected);
        first += batch.num_rows();
    }
    assert_eq!(first, rows.len());
}
