//! Many recordings of one sweep, and which test a process belongs to.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::fake_proc::{FakeProc, FakeProcess};
use crate::recorded::{batches, check_consistency, int32, rows};
use crate::scripted_clock::ScriptedClock;
use crate::simulation::Simulation;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use memsample::{
    End, MarkKind, Rate, RecordError, Recorder, RecorderOptions, Recording, SamplerOptions, Scope,
    ScopeError, SharedSampler,
};

const DURATION_MS: u64 = 6000;

fn options(interval_ms: u64) -> RecorderOptions {
    let ms = Duration::from_millis;
    RecorderOptions::new()
        .interval(ms(interval_ms))
        .duration(ms(DURATION_MS))
        .detail(Rate::Every(ms(1000)))
        .pss(Rate::Every(ms(1500)))
}

/// Records a tree that changes every 100 ms, once for each interval, by one shared sampler.
fn record(directory: &Path, seed: u64, intervals_ms: &[u64]) -> Vec<Recording> {
    let mut simulation = Simulation::new(seed);
    let root = simulation.tree.path().to_owned();
    let mut stepped = 0;
    let clock = ScriptedClock::new(move |_, now| {
        let due = (now.boot_ns - crate::scripted_clock::START.boot_ns) / 100_000_000;
        while stepped < due {
            simulation.step();
            stepped += 1;
        }
    });
    let shared =
        SharedSampler::new(SamplerOptions::default().proc_root(root).clock(clock.shared()));
    let start = |interval_ms: &u64| {
        shared.start(&directory.join(interval_ms.to_string()), options(*interval_ms)).unwrap()
    };
    // Held back until all have begun, so that they begin at one instant.
    let held = clock.hold();
    let recorders: Vec<Recorder> = intervals_ms.iter().map(start).collect();
    drop(held);
    clock.run_all(recorders, 1)
}

#[test]
fn each_of_two_has_the_rows_that_it_would_have_alone() {
    for seed in 0..3 {
        let together = tempfile::tempdir().unwrap();
        let recordings = record(together.path(), seed, &[100, 500]);
        for (recording, interval_ms) in recordings.iter().zip([100, 500]) {
            let apart = tempfile::tempdir().unwrap();
            let alone = record(apart.path(), seed, &[interval_ms]).remove(0);
            let (expected, recorded) = (rows(&alone), rows(recording));
            assert_eq!(recorded.len(), expected.len(), "seed {seed}, {interval_ms} ms");
            for (key, row) in &expected {
                assert_eq!(recorded.get(key), Some(row), "seed {seed}, {interval_ms} ms, {key:?}");
            }
            let counts = |recording: &Recording| {
                let totals = recording.manifest().totals;
                (totals.ticks, totals.samples, totals.processes, totals.late, totals.dropped)
            };
            assert_eq!(counts(recording), counts(&alone));
            assert_eq!(recording.manifest().end, Some(End::Duration));
            check_consistency(recording);
        }
    }
}

/// Returns the test of each process, by pid.
fn tests(recording: &Recording) -> BTreeMap<i32, Option<String>> {
    let mut tests = BTreeMap::new();
    for batch in batches(recording, "processes") {
        let column = batch["test"].as_string::<i32>();
        for row in 0..batch.num_rows() {
            let test = column.is_valid(row).then(|| column.value(row).to_owned());
            tests.insert(int32(&batch, "pid", row), test);
        }
    }
    tests
}

fn sleeper() -> Child {
    Command::new("sleep").arg("infinity").stdin(Stdio::null()).spawn().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

/// Waits for a tick that began after now.
fn wait_for_ticks(recorder: &Recorder) {
    let before = recorder.status().totals.ticks;
    while recorder.status().totals.ticks < before + 2 {
        std::thread::yield_now();
    }
}

#[test]
fn a_process_has_its_test_whether_it_was_found_before_or_after() {
    let directory = tempfile::tempdir().unwrap();
    let every = RecorderOptions::new().interval(Duration::from_millis(20)).pss(Rate::Off);
    let recorder = Recorder::start(&directory.path().join("run"), every).unwrap();
    let found = sleeper();
    wait_for_ticks(&recorder);
    recorder.assign(&Scope::Tree { pid: pid(&found) }, "found").unwrap();
    let forked = sleeper();
    recorder.assign(&Scope::Tree { pid: pid(&forked) }, "forked").unwrap();
    let other = sleeper();
    wait_for_ticks(&recorder);
    let latest = recorder.latest(5).unwrap();
    assert_eq!(latest.largest.len(), 5);
    assert!(latest.rss_bytes >= latest.largest[0].rss_bytes);
    assert!(matches!(
        recorder.assign(&Scope::Tree { pid: i32::MAX }, "none"),
        Err(ScopeError::NoProcess(i32::MAX, _))
    ));
    assert!(matches!(recorder.assign(&Scope::Machine, ""), Err(ScopeError::TestName)));
    let recording = recorder.stop().unwrap();
    let tests = tests(&recording);
    let of = |child: &Child| tests[&pid(child)].as_deref();
    assert_eq!([of(&found), of(&forked), of(&other)], [Some("found"), Some("forked"), None]);
    [found, forked, other].into_iter().for_each(end);
    check_consistency(&recording);
}

#[test]
fn a_target_keeps_others_out_and_says_how_many() {
    let tree = FakeProc::new();
    for (pid, cgroup) in [(7, "/in/deep"), (8, "/inside"), (9, "/in"), (10, "/")] {
        tree.set(&FakeProcess::new(pid));
        let lines = format!("4:memory:{cgroup}\n0::/\n");
        std::fs::write(tree.process_path(pid).join("cgroup"), lines).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let clock = ScriptedClock::new(|_, _| {});
    let sampler = SamplerOptions::default().proc_root(tree.path()).clock(clock.shared());
    let options = options(100).sampler(sampler).target(Scope::Cgroup("/in".into()));
    let recorder = Recorder::start(&directory.path().join("run"), options).unwrap();
    let recording = clock.run(recorder);
    let pids: Vec<i32> = tests(&recording).into_keys().collect();
    assert_eq!(pids, [7, 9]);
    let totals = recording.manifest().totals;
    assert_eq!((totals.ticks, totals.samples, totals.outside), (60, 120, 120));
    check_consistency(&recording);
}

#[test]
fn marks_are_kept_at_ten_thousand_a_second_and_limits_end_a_recording() {
    let directory = tempfile::tempdir().unwrap();
    let shared = SharedSampler::new(SamplerOptions::default());
    let every = || RecorderOptions::new().interval(Duration::from_millis(50)).pss(Rate::Off);
    let marked = shared.start(&directory.path().join("marked"), every()).unwrap();
    let idle = every().max_idle(Duration::from_millis(1));
    let idle = shared.start(&directory.path().join("idle"), idle).unwrap();
    let small = shared.start(&directory.path().join("small"), every().max_bytes(1)).unwrap();
    (0..20_000).for_each(|_| marked.mark(MarkKind::Point, "mark", Some("test")).unwrap());
    for (recorder, reason) in [(idle, End::Idle), (small, End::Size)] {
        // Disconnected when it has ended by itself.
        recorder.finished().recv().unwrap_err();
        assert_eq!(recorder.stop().unwrap().manifest().end, Some(reason));
    }
    let recording = marked.stop().unwrap();
    let marks: usize = batches(&recording, "marks").iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(marks, 20_000);
}

#[test]
fn limits_are_of_time_that_passes_whatever_the_wall_clock_does() {
    const DAY_NS: i64 = 86_400_000_000_000;
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    for step_ns in [DAY_NS, -DAY_NS] {
        // In memory: while one waits for a disk, the clock stands still for the sampling of both.
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let clock = ScriptedClock::new(move |tick, now| {
            if tick == 5 {
                now.utc_ns += step_ns;
            }
        });
        let sampler = SamplerOptions::default().proc_root(tree.path()).clock(clock.shared());
        let shared = SharedSampler::new(sampler);
        let every = || RecorderOptions::new().interval(Duration::from_millis(100));
        let start = |name: &str, options: RecorderOptions| {
            shared.start(&directory.path().join(name), options).unwrap()
        };
        let held = clock.hold();
        // An hour is not over because the clock was set by a day, and ten seconds do not last one.
        let patient = every().max_idle(Duration::from_secs(3600)).duration(Duration::from_secs(30));
        let patient = start("patient", patient);
        let idle = start("idle", every().max_idle(Duration::from_secs(10)));
        drop(held);
        let recordings = clock.run_all(vec![patient, idle], 2);
        let ends = recordings.iter().map(|recording| recording.manifest().end.clone().unwrap());
        assert_eq!(ends.collect::<Vec<_>>(), [End::Duration, End::Idle], "{step_ns}");
        assert_eq!(recordings[0].manifest().totals.ticks, 300);
        let ticks = recordings[1].manifest().totals.ticks;
        // Looked at after each piece of half a second, of which some wait.
        assert!((100..=300).contains(&ticks), "{ticks} ticks, {step_ns}");
    }
}

#[test]
fn there_are_so_many_recordings_and_a_place_is_free_again() {
    let tree = FakeProc::new();
    tree.set(&FakeProcess::new(7));
    let directory = tempfile::tempdir().unwrap();
    let shared = SharedSampler::new(SamplerOptions::default().proc_root(tree.path()));
    let start = |name: &str| shared.start(&directory.path().join(name), RecorderOptions::new());
    let mut recorders: Vec<Recorder> = (0..SharedSampler::MAX_RECORDINGS)
        .map(|number| start(&number.to_string()).unwrap())
        .collect();
    assert!(matches!(start("more"), Err(RecordError::TooMany)));
    assert!(!directory.path().join("more").exists());
    recorders.pop().unwrap().stop().unwrap();
    let recording = start("more").unwrap().stop().unwrap();
    assert_eq!(recording.manifest().end, Some(End::Stopped));
}
