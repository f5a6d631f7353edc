//! From `/proc` to Parquet and back: what is read from the files is what the processes said.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::fake_proc::{FakeProc, FakeProcess};
use crate::recorded::{Rows, batches, check_consistency, int64, rows, string};
use crate::scripted_clock::{START, ScriptedClock};
use crate::simulation::Simulation;
use crate::summed::check_sums;
use memsample::analysis::largest_processes;
use memsample::clock::Now;
use memsample::{
    End, Files, Metric, Rate, Recorder, RecorderOptions, Recording, RecordingState, SamplerOptions,
};

const START_MS: i64 = START.utc_ns / 1_000_000;

/// Records `ticks` ticks of a tree that `script` changes before each of them.
fn record(
    directory: &Path,
    tree: &FakeProc,
    options: RecorderOptions,
    script: impl FnMut(u64, &mut Now) + Send + 'static,
) -> Recording {
    let clock = ScriptedClock::new(script);
    let sampler = SamplerOptions::default().proc_root(tree.path()).clock(clock.shared());
    let recorder = Recorder::start(&directory.join("run"), options.sampler(sampler)).unwrap();
    clock.run(recorder)
}

fn every_100_ms(ticks: u64) -> RecorderOptions {
    let interval = Duration::from_millis(100);
    RecorderOptions::new().interval(interval).duration(interval * u32::try_from(ticks).unwrap())
}

/// Records a simulation and compares every row.
fn check_simulation(seed: u64, ticks: u64, interval: Duration, detail: Rate, pss: Rate) {
    let interval_ms = u64::try_from(interval.as_millis()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut simulation = Simulation::new(seed);
    let expected = Arc::new(Mutex::new(Rows::new()));
    let sink = Arc::clone(&expected);
    let root = simulation.tree.path().to_owned();
    let due = move |rate: Rate, tick: u64| match rate {
        Rate::Off => false,
        Rate::EveryTick => true,
        Rate::Every(span) => {
            tick.is_multiple_of(u64::try_from(span.as_millis()).unwrap() / interval_ms)
        }
    };
    let follows = matches!(detail, Rate::Every(_));
    let clock = ScriptedClock::new(move |tick, _| {
        if tick > 0 {
            simulation.step();
        }
        let ts = START_MS + i64::try_from(interval_ms * tick).unwrap();
        // The last tick reads the details of all.
        let detailed = due(detail, tick) || (detail != Rate::Off && tick + 1 == ticks);
        let mut rows = simulation.expected(ts, detailed, follows, due(pss, tick));
        if detail == Rate::Off {
            for (_, metrics) in rows.values_mut() {
                for metric in Metric::ALL {
                    if Files::DETAIL.contains(metric.file()) {
                        metrics[metric as usize] = None;
                    }
                }
            }
        }
        sink.lock().unwrap().append(&mut rows);
    });
    let sampler = SamplerOptions::default().proc_root(root).clock(clock.shared());
    let duration = interval * u32::try_from(ticks).unwrap();
    let options = RecorderOptions::new()
        .interval(interval)
        .duration(duration)
        .detail(detail)
        .pss(pss)
        .sampler(sampler);
    let recording = clock.run(Recorder::start(&directory.path().join("run"), options).unwrap());
    let expected = std::mem::take(&mut *expected.lock().unwrap());
    let recorded = rows(&recording);
    assert_eq!(recorded.len(), expected.len(), "seed {seed}");
    for (key, row) in &expected {
        assert_eq!(recorded.get(key), Some(row), "seed {seed}, {key:?}");
    }
    assert_eq!(recording.manifest().totals.ticks, ticks);
    check_consistency(&recording);
    check_sums(&recording);
}

#[test]
fn every_row_comes_back() {
    for seed in 0..4 {
        check_simulation(
            seed,
            60,
            Duration::from_millis(100),
            Rate::Every(Duration::from_millis(300)),
            Rate::Every(Duration::from_millis(500)),
        );
    }
}

#[test]
fn every_row_comes_back_with_all_metrics_at_every_tick() {
    check_simulation(10, 60, Duration::from_millis(100), Rate::EveryTick, Rate::EveryTick);
}

#[test]
fn every_row_comes_back_with_statm_alone() {
    check_simulation(11, 60, Duration::from_millis(100), Rate::Off, Rate::Off);
}

#[test]
fn every_row_comes_back_over_checkpoints_and_flushes() {
    // A checkpoint comes after ten minutes: here are two, and some flushes behind them.
    let seconds = Duration::from_secs;
    check_simulation(12, 1300, seconds(1), Rate::Every(seconds(3)), Rate::Every(seconds(10)));
}

#[test]
fn names_that_change_and_hostile_ones_are_recorded_as_they_were() {
    let tree = FakeProc::new();
    let mut process = FakeProcess { comm: b"before".to_vec(), ..FakeProcess::new(7) };
    tree.set(&process);
    tree.set(&FakeProcess { comm: b"a) R (\n\xff".to_vec(), ..FakeProcess::new(8) });
    let directory = tempfile::tempdir().unwrap();
    let path = tree.process_path(7).join("stat");
    let options = every_100_ms(4).detail(Rate::EveryTick);
    let recording = record(directory.path(), &tree, options, move |tick, _| {
        if tick == 2 {
            process.comm = b"after".to_vec();
            std::fs::write(&path, process.stat()).unwrap();
        }
    });
    let rows = rows(&recording);
    let name = |tick: i64, pid| rows[&(START_MS + 100 * tick, pid)].0.as_str();
    assert_eq!([0, 1, 2, 3].map(|tick| name(tick, 7)), ["before", "before", "after", "after"]);
    assert_eq!(name(0, 8), "a) R (\n\\xff");
    let largest = largest_processes(&recording, 5).unwrap();
    assert!(largest.iter().any(|process| process.comm == "after"));
    check_consistency(&recording);
}

#[test]
fn a_process_that_cannot_be_read_for_a_while_has_a_gap() {
    let tree = FakeProc::new();
    let process = FakeProcess::new(7);
    tree.set(&process);
    tree.set(&FakeProcess::new(8));
    let directory = tempfile::tempdir().unwrap();
    let path = tree.process_path(7).join("statm");
    let recording = record(directory.path(), &tree, every_100_ms(6), move |tick, _| {
        let contents = if (2..4).contains(&tick) { "garbage".to_owned() } else { process.statm() };
        std::fs::write(&path, contents).unwrap();
    });
    let rows = rows(&recording);
    let ticks_of = |pid| {
        rows.keys()
            .filter(|key| key.1 == pid)
            .map(|key| (key.0 - START_MS) / 100)
            .collect::<Vec<_>>()
    };
    assert_eq!(ticks_of(7), [0, 1, 4, 5]);
    assert_eq!(ticks_of(8), [0, 1, 2, 3, 4, 5]);
    assert_eq!(recording.manifest().totals.unreadable, 2);
    check_consistency(&recording);
}

#[test]
fn the_grid_is_regular_whatever_the_wall_clock_does() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    let directory = tempfile::tempdir().unwrap();
    let recording = record(directory.path(), &tree, every_100_ms(20), |tick, now| {
        if tick == 5 {
            now.utc_ns -= 3_600_000_000_000;
        }
        if tick == 10 {
            now.utc_ns += 7_200_000_000_000;
        }
    });
    let expected: Vec<i64> = (0..20).map(|tick| START_MS + 100 * tick).collect();
    assert_eq!(rows(&recording).keys().map(|key| key.0).collect::<Vec<_>>(), expected);
    let marks: Vec<_> = batches(&recording, "marks")
        .iter()
        .flat_map(|batch| {
            (0..batch.num_rows())
                .map(|row| (string(batch, "kind", row), string(batch, "name", row)))
        })
        .collect();
    let expected =
        ["the wall clock was set by -3600000 ms", "the wall clock was set by 7200000 ms"];
    assert_eq!(marks, expected.map(|name| ("clock_step".to_owned(), name.to_owned())));
    let ticks = batches(&recording, "ticks");
    let offsets: Vec<_> =
        (0..20).map(|row| int64(&ticks[0], "clock_offset_us", row).unwrap()).collect();
    assert_eq!((offsets[4], offsets[5], offsets[10]), (0, -3_600_000_000, 3_600_000_000));
    assert_eq!(recording.manifest().totals.late, 0);
}

#[test]
fn ticks_that_were_late_or_missed_are_counted() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    let directory = tempfile::tempdir().unwrap();
    let delay = |now: &mut Now, ms: u64| {
        now.boot_ns += ms * 1_000_000;
        now.monotonic_ns += ms * 1_000_000;
        now.utc_ns += i64::try_from(ms).unwrap() * 1_000_000;
    };
    let recording =
        record(directory.path(), &tree, every_100_ms(20), move |tick, now| match tick {
            // Late, but within its own interval.
            3 => delay(now, 60),
            // Three instants pass, and the sweep is on time for the fourth.
            7 => delay(now, 310),
            _ => {}
        });
    let totals = recording.manifest().totals;
    assert_eq!((totals.ticks, totals.late, totals.missed), (17, 4, 3));
    check_consistency(&recording);
}

#[test]
fn a_machine_that_slept_says_so() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    let directory = tempfile::tempdir().unwrap();
    let recording = record(directory.path(), &tree, every_100_ms(100), |tick, now| {
        if tick == 5 {
            now.boot_ns += 6_000_000_000;
            now.utc_ns += 6_000_000_000;
        }
    });
    let totals = recording.manifest().totals;
    assert_eq!((totals.ticks, totals.late, totals.missed), (40, 0, 60));
    let marks = batches(&recording, "marks");
    assert_eq!(string(&marks[0], "kind", 0), "suspend");
    assert_eq!(string(&marks[0], "name", 0), "the machine slept for 6000 ms");
    check_consistency(&recording);
}

#[test]
fn a_machine_without_psi_and_smaps_rollup_is_recorded_without_them() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    std::fs::remove_file(tree.process_path(7).join("smaps_rollup")).unwrap();
    std::fs::remove_dir_all(tree.path().join("pressure")).unwrap();
    std::fs::remove_file(tree.path().join("vmstat")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let recording =
        record(directory.path(), &tree, every_100_ms(3).pss(Rate::EveryTick), |_, _| {});
    let rows = rows(&recording);
    assert_eq!(rows.len(), 3);
    assert!(rows.values().all(|(_, metrics)| metrics[Metric::Pss as usize].is_none()));
    let system = batches(&recording, "system");
    assert_eq!(int64(&system[0], "mem_available_bytes", 0), Some(500 * 1024));
    assert_eq!(
        (int64(&system[0], "psi_some_us", 0), int64(&system[0], "oom_kill", 0)),
        (None, None)
    );
    let notes = recording.manifest().notes.join("\n");
    assert!(notes.contains("pressure/memory") && notes.contains("vmstat"), "{notes}");
}

#[test]
fn a_closed_recording_is_whole_and_its_journal_gone() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    let directory = tempfile::tempdir().unwrap();
    let recording = record(directory.path(), &tree, every_100_ms(3), |_, _| {});
    let manifest = recording.manifest();
    assert_eq!(
        (manifest.state, manifest.end.clone()),
        (RecordingState::Closed, Some(End::Duration))
    );
    assert!(!recording.path().join("journal").exists());
    let (opened, recovery) = Recording::open(recording.path()).unwrap();
    assert_eq!(recovery, memsample::Recovery::NotNeeded);
    assert_eq!(opened.manifest(), manifest);
}
