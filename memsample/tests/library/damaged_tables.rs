//! Tables that are not what a recorder wrote: whatever is in them, they are read or refused.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use memsample::schema::{Column, ColumnKind, Table, tables};
use memsample::view::{At, By, View, ViewOptions};
use memsample::{Pseudonyms, Rate, Recorder, RecorderOptions, Recording, SamplerOptions, analysis};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use crate::scripted_clock::ScriptedClock;
use crate::simulation::Simulation;

/// Writes a recording of a few ticks.
fn record(run: &Path) {
    let mut simulation = Simulation::new(7);
    let root = simulation.tree.path().to_owned();
    let clock = ScriptedClock::new(move |tick, _| {
        if tick > 0 {
            simulation.step();
        }
    });
    let options = RecorderOptions::new()
        .interval(Duration::from_secs(1))
        .duration(Duration::from_secs(20))
        .detail(Rate::EveryTick)
        .sampler(SamplerOptions::default().proc_root(root).clock(clock.shared()));
    clock.run(Recorder::start(run, options).unwrap());
}

/// Reads a recording by everything that reads one, and returns how much of it failed.
fn read_all(run: &Path) -> usize {
    let Ok((recording, _)) = Recording::open(run) else { return 1 };
    let mut failed = 0;
    for table in tables() {
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let batches: Vec<_> = recording.read_table(table.name, &columns).collect();
        failed += batches.iter().filter(|batch| batch.is_err()).count();
    }
    failed += usize::from(recording.last_known_pss().is_err());
    let first = recording.first_and_last_tick().ok().flatten();
    for at in [None, first.map(|(first, _)| At::Time(first))] {
        for by in [By::Process, By::Role, By::User, By::Cgroup, By::System] {
            let view = View::recorded(&recording, at, &ViewOptions::new(by), &|_| None);
            failed += usize::from(view.is_err());
        }
    }
    let (to, mut names) = (tempfile::tempdir().unwrap(), Pseudonyms::random().unwrap());
    if let Some((first, last)) = first {
        let cut = memsample::cut(&recording, first, last, &to.path().join("cut"));
        failed += usize::from(cut.is_err());
    }
    let anonymous = memsample::anonymize(&recording, &mut names, &to.path().join("anonymous"));
    failed += usize::from(anonymous.is_err());
    // What failed leaves nothing.
    let left = fs::read_dir(to.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| name == "cut" || name == "anonymous"));
    failed += usize::from(analysis::largest_processes(&recording, 5).is_err());
    failed += usize::from(analysis::process_peaks(&recording, 5, |_, _| true).is_err());
    failed += usize::from(analysis::role_peaks(&recording, 5, |_| true).is_err());
    failed += usize::from(analysis::test_peaks(&recording, 5, |_| true).is_err());
    failed += usize::from(analysis::test_usages(&recording).is_err());
    failed
}

fn write(path: &Path, batch: &RecordBatch) {
    // As the tail of a table is: what is changed then is what is read.
    let properties = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED);
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_table_with_changed_bytes_is_read_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    record(&run);
    let (recording, _) = Recording::open(&run).unwrap();
    let mut files = Vec::new();
    for name in ["samples", "processes", "ticks", "system"] {
        let path = run.join(format!("{name}.parquet"));
        let compressed = fs::read(&path).unwrap();
        let table = tables().into_iter().find(|table| table.name == name).unwrap();
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let batch = recording.read_table(name, &columns).next().unwrap().unwrap();
        let plain = directory.path().join(name);
        write(&plain, &batch.slice(0, batch.num_rows().min(20)));
        files.push((path, [compressed, fs::read(plain).unwrap()]));
    }
    assert_eq!(read_all(&run), 0);
    let mut random = crate::simulation::Random(3);
    let (mut refused, mut tried) = (0, 0);
    for (path, versions) in &files {
        for whole in versions {
            for _ in 0..8 {
                let mut bytes = whole.clone();
                for _ in 0..=random.below(3) {
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] = random.below(256) as u8;
                }
                fs::write(path, bytes).unwrap();
                refused += usize::from(read_all(&run) > 0);
                tried += 1;
            }
        }
        fs::write(path, &versions[0]).unwrap();
    }
    assert!(refused > tried / 20 && refused < tried, "{refused} of {tried} were refused");
    assert_eq!(read_all(&run), 0);
}

#[test]
fn what_lies_outside_of_the_file_is_refused_before_memory_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    record(&run);
    let path = run.join("samples.parquet");
    let whole = fs::read(&path).unwrap();
    let footer = whole.len()
        - 8
        - u32::from_le_bytes(whole[whole.len() - 8..][..4].try_into().unwrap()) as usize;
    for cut in [4, 100, footer - 4] {
        fs::write(&path, [b"PAR1", &whole[4 + cut..]].concat()).unwrap();
        let (recording, _) = Recording::open(&run).unwrap();
        let error = recording.read_table("samples", &["ts"]).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        let message = error.to_string();
        assert!(message.contains("samples.parquet` is damaged: "), "{message}");
    }
}

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
fn column(column: &Column, numbers: &[Option<i64>]) -> ArrayRef {
    let numbers =
        numbers.iter().map(|number| if column.nullable { *number } else { number.or(Some(0)) });
    match column.kind {
        ColumnKind::Timestamp => Arc::new(
            TimestampMillisecondArray::from(numbers.collect::<Vec<_>>()).with_timezone("UTC"),
        ),
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

fn any_rows(table: Table) -> impl Strategy<Value = RecordBatch> {
    let width = table.columns.len();
    let rows = prop::collection::vec(prop::collection::vec(number(), width), 1..8);
    rows.prop_map(move |rows| {
        let arrays = table.columns.iter().enumerate().map(|(index, known)| {
            let numbers: Vec<_> = rows.iter().map(|row| row[index]).collect();
            column(known, &numbers)
        });
        RecordBatch::try_new(table.arrow_schema(), arrays.collect()).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_values_are_read(
        tables in tables().into_iter().map(any_rows).collect::<Vec<_>>(),
    ) {
        thread_local! {
            static RUN: tempfile::TempDir = {
                let directory = tempfile::tempdir().unwrap();
                record(&directory.path().join("run"));
                directory
            };
        }
        RUN.with(|directory| {
            let run = directory.path().join("run");
            for (table, batch) in memsample::schema::tables().iter().zip(&tables) {
                write(&run.join(format!("{}.parquet", table.name)), batch);
            }
            // Such a table may be refused; that it does not panic is what counts.
            read_all(&run);
        });
    }
}
