//! Spans of recordings, and recordings without names: what they say is what the recording says, or null.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use arrow_array::cast::AsArray;
use memsample::schema::{ColumnKind, tables};
use memsample::{
    End, ExcerptError, Metric, Pseudonyms, Rate, Recorder, RecorderOptions, Recording,
    SamplerOptions, anonymize, cut,
};

use crate::recorded::{batches, check_consistency, int64, rows, timestamp};
use crate::scripted_clock::ScriptedClock;
use crate::simulation::Simulation;

/// Records a simulation of six seconds in which processes come, change and end.
fn record(seed: u64, path: &Path) -> Recording {
    let mut simulation = Simulation::new(seed);
    let root = simulation.tree.path().to_owned();
    let clock = ScriptedClock::new(move |tick, _| {
        if tick > 0 {
            simulation.step();
        }
    });
    let options = RecorderOptions::new()
        .interval(Duration::from_millis(100))
        .duration(Duration::from_secs(6))
        .detail(Rate::EveryTick)
        .pss(Rate::Every(Duration::from_millis(500)))
        .sampler(SamplerOptions::default().proc_root(root).clock(clock.shared()));
    clock.run(Recorder::start(path, options).unwrap())
}

/// The high-water marks of each image by instant, and whether it has a sample before `from`.
fn marks(recording: &Recording, from: i64) -> BTreeMap<i64, (bool, BTreeMap<i64, i64>)> {
    let mut marks: BTreeMap<i64, (bool, BTreeMap<i64, i64>)> = BTreeMap::new();
    for batch in batches(recording, "samples") {
        for row in 0..batch.num_rows() {
            let (process, ts) = (int64(&batch, "process", row).unwrap(), timestamp(&batch, row));
            let image = marks.entry(process).or_default();
            image.0 |= ts < from;
            if let Some(hwm) = int64(&batch, "hwm_bytes", row) {
                image.1.insert(ts, hwm);
            }
        }
    }
    marks
}

#[test]
fn a_cut_has_the_rows_of_its_span() {
    for seed in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let whole = record(seed, &directory.path().join("whole"));
        let (first, last) = whole.first_and_last_tick().unwrap().unwrap();
        for (index, (from_ms, to_ms)) in
            [(0, 6000), (1000, 2500), (2050, 2060), (3000, 3000), (5900, 9000)]
                .into_iter()
                .enumerate()
        {
            let (from, to) =
                (first + Duration::from_millis(from_ms), first + Duration::from_millis(to_ms));
            let path = directory.path().join(format!("cut{index}"));
            let made = cut(&whole, from, to, &path);
            if (from_ms, to_ms) == (2050, 2060) {
                assert!(matches!(made, Err(ExcerptError::NoTick { .. })), "{made:?}");
                assert!(!path.exists());
                continue;
            }
            made.unwrap();
            // As any other recording is opened.
            let (part, _) = Recording::open(&path).unwrap();
            check_consistency(&part);
            let span = from.as_millisecond()..=to.as_millisecond();
            let mut expected = rows(&whole);
            expected.retain(|(ts, _), _| span.contains(ts));
            let mut found = rows(&part);
            assert_eq!(found.len(), expected.len(), "{span:?}");
            for (key, (comm, metrics)) in &mut found {
                let (name, numbers) = &mut expected.get_mut(key).unwrap();
                metrics[Metric::Hwm as usize] = None;
                numbers[Metric::Hwm as usize] = None;
                assert_eq!((comm, &metrics), (name, &numbers));
            }
            let before = marks(&whole, from.as_millisecond());
            for (process, (_, found)) in marks(&part, i64::MIN) {
                let (began_before, all) = &before[&process];
                let all: Vec<_> = all.range(span.clone()).collect();
                // Of one that began before, a mark says something once it has risen.
                let known = |hwm: i64| !began_before || hwm > *all[0].1;
                let expected: BTreeMap<i64, i64> = all
                    .iter()
                    .map(|(ts, hwm)| (**ts, **hwm))
                    .filter(|(_, hwm)| known(*hwm))
                    .collect();
                assert_eq!(found, expected, "seed {seed}, image {process}");
            }
            let manifest = part.manifest();
            let of = manifest.provenance.cut.as_ref().unwrap();
            assert_eq!(of.recording, whole.manifest().provenance.id);
            assert_eq!((of.from, of.to), (from, to.min(last)));
            assert_ne!(manifest.provenance.id, of.recording);
            let is_at_end = to >= last;
            assert_eq!(manifest.end == Some(End::Cut), !is_at_end);
            assert!(manifest.recorder.is_none());
        }
    }
}

#[test]
fn a_process_that_goes_on_behind_the_span_has_not_ended_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let whole = record(11, &directory.path().join("whole"));
    let (first, _) = whole.first_and_last_tick().unwrap().unwrap();
    let to = first + Duration::from_secs(3);
    let part = cut(&whole, first, to, &directory.path().join("part")).unwrap();
    let ended = |recording: &Recording| {
        let mut ended = BTreeMap::new();
        for batch in batches(recording, "processes") {
            let flags = batch.column_by_name("ended").unwrap().as_boolean().clone();
            for row in 0..batch.num_rows() {
                ended.insert(int64(&batch, "process", row).unwrap(), flags.value(row));
            }
        }
        ended
    };
    let (of_whole, of_part) = (ended(&whole), ended(&part));
    let last_of = |recording: &Recording| {
        let mut last: BTreeMap<i64, i64> = BTreeMap::new();
        for batch in batches(recording, "samples") {
            for row in 0..batch.num_rows() {
                let last = last.entry(int64(&batch, "process", row).unwrap()).or_default();
                *last = (*last).max(timestamp(&batch, row));
            }
        }
        last
    };
    let last = last_of(&whole);
    let mut seen = BTreeSet::new();
    for (process, ended) in of_part {
        // Its end is seen at a tick behind its last sample.
        let expected = of_whole[&process] && last[&process] < to.as_millisecond();
        assert_eq!(ended, expected, "image {process}");
        seen.insert((ended, of_whole[&process]));
    }
    assert!(seen.contains(&(true, true)) && seen.contains(&(false, true)), "{seen:?}");
}

#[test]
fn an_anonymous_recording_has_its_numbers_and_none_of_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let whole = record(3, &directory.path().join("whole"));
    let mut names = Pseudonyms::with_key(b"a key of the test").unwrap();
    let made = anonymize(&whole, &mut names, &directory.path().join("made")).unwrap();
    check_consistency(&made);
    let users = ["uid", "real_uid"];
    let own = ["recording", "kind", "cgroup_version"];
    for table in tables() {
        let (before, after) = (batches(&whole, table.name), batches(&made, table.name));
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            for column in &table.columns {
                let (one, other) = (
                    before.column_by_name(column.name).unwrap(),
                    after.column_by_name(column.name).unwrap(),
                );
                if column.kind != ColumnKind::Text {
                    assert!(users.contains(&column.name) || one == other, "{}", column.name);
                    continue;
                }
                if own.contains(&column.name) {
                    continue;
                }
                // The same name has the same pseudonym, in every table.
                for (one, other) in one.as_string::<i32>().iter().zip(other.as_string::<i32>()) {
                    assert_eq!(one.map(|name| names.name(name)).as_deref(), other);
                    assert!(
                        one.is_none_or(|name| name.is_empty() || Some(name) != other),
                        "{one:?}"
                    );
                }
            }
        }
    }
    assert!(made.manifest().provenance.anonymized);
}

#[test]
fn what_exists_and_what_is_being_written_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("whole");
    let whole = record(1, &path);
    let (first, last) = whole.first_and_last_tick().unwrap().unwrap();
    assert!(matches!(cut(&whole, first, last, &path), Err(ExcerptError::Exists(_))));
    assert!(matches!(
        cut(&whole, last, first, &directory.path().join("x")),
        Err(ExcerptError::NoTick { .. })
    ));
    let text = std::fs::read_to_string(path.join("recording.json")).unwrap();
    let elsewhere = directory.path().join("running");
    let options = RecorderOptions::new().interval(Duration::from_millis(20));
    let recorder = Recorder::start(&elsewhere, options).unwrap();
    assert!(recorder.wait_for_tick(Duration::from_secs(60)));
    let (running, _) = Recording::open(&elsewhere).unwrap();
    let refused = cut(&running, first, last, &directory.path().join("x")).unwrap_err();
    assert!(matches!(refused, ExcerptError::InProgress(_)), "{refused}");
    assert!(refused.to_string().contains("memsample recover"));
    drop(recorder.stop());
    // A table that is gone is not a table without rows.
    std::fs::remove_file(path.join("samples.parquet")).unwrap();
    let missing = cut(&whole, first, last, &directory.path().join("x")).unwrap_err();
    assert!(matches!(missing, ExcerptError::Read(..)), "{missing}");
    assert_eq!(std::fs::read_to_string(path.join("recording.json")).unwrap(), text);
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
