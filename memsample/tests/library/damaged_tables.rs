//! Tables that are not what a recorder wrote: whatever is in them, they are read or refused.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use arrow_array::RecordBatch;
use memsample::schema::tables;
use memsample::view::{At, By, View, ViewOptions};
use memsample::{Pseudonyms, Rate, Recorder, RecorderOptions, Recording, SamplerOptions, analysis};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use crate::any_tables::any_rows;
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
    failed += usize::from(analysis::attempt_roles(&recording).is_err());
    failed += usize::from(analysis::marked_tests(&recording, |_| true).is_err());
    failed += usize::from(analysis::launched_command(&recording, 5).is_err());
    failed += usize::from(analysis::largest_processes_of_test(&recording, "1", 5).is_err());
    failed += usize::from(analysis::for_each_mark(&recording, |_| ()).is_err());
    failed += usize::from(analysis::for_each_image(&recording, |_| ()).is_err());
    failed += usize::from(analysis::tick_instants(&recording).is_err());
    let mut groups_of: HashMap<u64, Vec<usize>> =
        (0..4).map(|process| (process, vec![0])).collect();
    match analysis::recording_roles(&recording) {
        Ok(roles) => groups_of.extend(roles.into_values().flatten().map(|it| (it, vec![1]))),
        Err(_) => failed += 1,
    }
    failed += usize::from(analysis::sums_over_time(&recording, &groups_of, |_| ()).is_err());
    let (first, last) = first
        .map_or((0, i64::MAX), |(first, last)| (first.as_millisecond(), last.as_millisecond()));
    for span in [first..=last, i64::MIN..=i64::MAX] {
        failed += usize::from(analysis::pressure_between(&recording, span.clone()).is_err());
        let sums = analysis::sums_between(&recording, &groups_of, span.clone(), |_| ());
        failed += usize::from(sums.is_err());
        failed += usize::from(analysis::left_to_limits(&recording, *span.end()).is_err());
    }
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
