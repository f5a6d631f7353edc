//! What a flight recorder keeps, and what is cut out of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::recorded::{Rows, batches, check_consistency, rows, timestamp};
use crate::scripted_clock::ScriptedClock;
use crate::simulation::{Random, Simulation};
use memsample::{
    DumpError, DumpOptions, End, FlightOptions, FlightRecorder, Rate, Recorder, RecorderOptions,
    Recording, RecordingState, SamplerOptions, SharedSampler, analysis,
};

const TICK_MS: u64 = 100;
const TICKS: u64 = 100;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn options() -> RecorderOptions {
    RecorderOptions::new()
        .interval(ms(TICK_MS))
        .duration(ms(TICKS * TICK_MS))
        .detail(Rate::Every(ms(1000)))
        .pss(Rate::Every(ms(1500)))
}

/// A shared sampler whose tree changes at each tick, at which `script` looks too.
fn shared(seed: u64, mut script: impl FnMut() + Send + 'static) -> (SharedSampler, ScriptedClock) {
    let mut simulation = Simulation::new(seed);
    let root = simulation.tree.path().to_owned();
    let clock = ScriptedClock::new(move |_, _| {
        simulation.step();
        script();
    });
    let sampler = SamplerOptions::default().proc_root(root).clock(clock.shared());
    (SharedSampler::new(sampler), clock)
}

/// Records everything and keeps the last `span` of it, and returns both when they have ended.
fn record(
    directory: &Path,
    seed: u64,
    span: Duration,
    max_bytes: u64,
    script: impl FnMut() + Send + 'static,
) -> (Recording, FlightRecorder) {
    let (shared, clock) = shared(seed, script);
    let held = clock.hold();
    let plain = shared.start(&directory.join("plain"), options()).unwrap();
    let kept = FlightOptions::new(span, max_bytes).recorder(options());
    let flight = FlightRecorder::start(&shared, &directory.join("ring"), kept).unwrap();
    drop(held);
    let ticks = |plain: &Recorder| plain.status().totals.ticks.min(flight.status().totals.ticks);
    while !plain.is_finished() || !flight.is_finished() {
        clock.pace(ticks(&plain));
        std::thread::yield_now();
    }
    (plain.stop().unwrap(), flight)
}

fn last_ts(recording: &Recording) -> i64 {
    let ticks = batches(recording, "ticks");
    ticks
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(|row| timestamp(batch, row)))
        .max()
        .unwrap()
}

/// Returns the rows of the last `span`.
fn last(rows: &Rows, last_ms: i64, span: Duration) -> Rows {
    let from_ms = last_ms - i64::try_from(span.as_millis()).unwrap();
    rows.range((from_ms + 1, i32::MIN)..).map(|(key, row)| (*key, row.clone())).collect()
}

#[track_caller]
fn check(dump: &Recording, expected: &Rows) {
    let dumped = rows(dump);
    for (key, row) in expected {
        assert_eq!(dumped.get(key), Some(row), "{key:?}");
    }
    assert_eq!(dumped.len(), expected.len());
    check_consistency(dump);
}

#[test]
fn a_dump_has_the_rows_of_a_recording_in_its_window() {
    for seed in 0..8 {
        let directory = tempfile::tempdir().unwrap();
        let span = ms(300 + 900 * seed);
        let (plain, flight) = record(directory.path(), seed, span, 1 << 30, || {});
        let (all, last_ms) = (rows(&plain), last_ts(&plain));
        let (kept, bytes) = flight.kept();
        assert!(kept >= span.min(ms((TICKS - 1) * TICK_MS)) - ms(TICK_MS), "{kept:?} of {span:?}");
        assert!(bytes > 0);
        for asked in [None, Some(ms(1)), Some(span / 3), Some(span / 2)] {
            let path = directory.path().join(format!("dump-{asked:?}"));
            let labels = [("why".to_owned(), "a test".to_owned())].into();
            let dump = flight.dump(&path, DumpOptions { last: asked, labels }).unwrap();
            check(&dump, &last(&all, last_ms, asked.unwrap_or(span)));
            let manifest = dump.manifest();
            assert_eq!(
                (manifest.state, &manifest.end),
                (RecordingState::Closed, &Some(End::Dumped))
            );
            assert_eq!(manifest.provenance.labels["why"], "a test");
            // Every reader opens it again.
            let (again, _) = Recording::open(&path).unwrap();
            assert_eq!(again.manifest(), manifest);
            assert!(!analysis::largest_processes(&again, 3).unwrap().is_empty());
        }
        let path = directory.path().join("plain");
        let refused = flight.dump(&path, DumpOptions::default());
        assert!(matches!(refused, Err(DumpError::Exists(_))));
        drop(flight);
        assert!(!directory.path().join("ring").exists());
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 5, "{left:?}");
    }
}

#[test]
fn it_stays_within_its_bytes() {
    const MAX_BYTES: u64 = 32 << 10;
    let directory = tempfile::tempdir().unwrap();
    let ring = directory.path().join("ring/journal");
    let sizes = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let of_script = std::sync::Arc::clone(&sizes);
    let script = move || {
        let files = fs::read_dir(&ring).into_iter().flatten();
        // One may be removed meanwhile.
        let bytes = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
        of_script.lock().unwrap().push(bytes.sum::<u64>());
    };
    let (plain, flight) = record(directory.path(), 3, ms(60_000), MAX_BYTES, script);
    let largest = *sizes.lock().unwrap().iter().max().unwrap();
    // A batch more, and a segment that is being removed.
    assert!(largest <= MAX_BYTES + MAX_BYTES / 4, "{largest} bytes");
    let (kept, bytes) = flight.kept();
    assert!(bytes <= MAX_BYTES && kept < ms(TICKS * TICK_MS), "{kept:?}, {bytes} bytes");
    // It reaches back less far, and what it holds is right.
    let dump = flight.dump(&directory.path().join("dump"), DumpOptions::default()).unwrap();
    let last_ms = last_ts(&plain);
    check(&dump, &last(&rows(&plain), last_ms, kept + ms(1)));
}

/// Copies a ring as it is on disk, as a crash would leave it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("journal")).unwrap();
    fs::copy(from.join("flight.json"), to.join("flight.json")).unwrap();
    for file in fs::read_dir(from.join("journal")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join("journal").join(file.file_name())).unwrap();
    }
}

#[test]
fn what_a_crash_leaves_is_a_recording_up_to_where_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (plain, flight) = record(directory.path(), 5, ms(4000), 1 << 30, || {});
    let all = rows(&plain);
    let ring = directory.path().join("ring");
    let mut random = Random(7);
    for case in 0..20 {
        let left = directory.path().join(format!("left-{case}"));
        copy(&ring, &left);
        let mut files: Vec<_> = fs::read_dir(left.join("journal"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        files.sort();
        assert!(files.len() > 3, "{files:?}");
        // The last segment is cut off somewhere, or one in the middle is damaged.
        let damaged =
            if case % 2 == 0 { files.len() - 1 } else { random.below(files.len() as u64) as usize };
        let mut bytes = fs::read(&files[damaged]).unwrap();
        bytes.truncate(random.below(bytes.len() as u64) as usize);
        fs::write(&files[damaged], bytes).unwrap();
        let path = directory.path().join(format!("salvaged-{case}"));
        let labels = [("case".to_owned(), case.to_string())].into();
        let salvaged = FlightRecorder::salvage(&left, &path, labels).unwrap().unwrap();
        assert!(!left.exists());
        let manifest = salvaged.manifest();
        assert_eq!(
            (manifest.state, &manifest.end),
            (RecordingState::Recovered, &Some(End::Crashed))
        );
        let dumped = rows(&salvaged);
        let (first, last) = (dumped.keys().next().unwrap().0, dumped.keys().last().unwrap().0);
        let expected = all.range((first, i32::MIN)..=(last, i32::MAX));
        check(&salvaged, &expected.map(|(key, row)| (*key, row.clone())).collect());
    }
    // What cannot be read stays, under another name.
    for (case, file) in ["flight.json", "journal/000001.log"].into_iter().enumerate() {
        let left = directory.path().join(format!("damaged-{case}"));
        copy(&ring, &left);
        fs::write(left.join(file), "damaged").unwrap();
        let path = directory.path().join(format!("of-damaged-{case}"));
        let salvaged = FlightRecorder::salvage(&left, &path, [].into()).unwrap();
        assert_eq!(salvaged.is_some(), case == 1, "what can be read is a recording");
        let aside = FlightRecorder::set_aside(&left);
        assert_eq!(fs::read(aside.join(file)).unwrap(), b"damaged");
        assert!(!left.exists() && fs::read_dir(aside.join("journal")).unwrap().count() > 3);
    }
    drop(flight);
    // Nothing there, and nothing in it.
    let path = directory.path().join("none");
    assert!(FlightRecorder::salvage(&ring, &path, [].into()).unwrap().is_none());
    fs::create_dir_all(&ring).unwrap();
    assert!(FlightRecorder::salvage(&ring, &path, [].into()).unwrap().is_none());
    assert!(!ring.exists() && !path.exists());
}

#[test]
fn a_dump_of_this_machine_reaches_up_to_the_moment() {
    let directory = tempfile::tempdir().unwrap();
    let shared = SharedSampler::new(SamplerOptions::default());
    let kept = FlightOptions::new(Duration::from_secs(60), 64 << 20)
        .recorder(RecorderOptions::new().interval(ms(20)));
    let flight = FlightRecorder::start(&shared, &directory.path().join("ring"), kept).unwrap();
    let empty = flight.dump(&directory.path().join("early"), DumpOptions::default());
    // It waits for a first tick; on a machine that is too slow for that there is none.
    assert!(matches!(empty, Ok(_) | Err(DumpError::Empty)));
    let mut child = std::process::Command::new("sleep").arg("infinity").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let mut dumps = (0..60).map(|number| {
        let path = directory.path().join(format!("dump-{number}"));
        let asked = Instant::now();
        let dump = flight.dump(&path, DumpOptions::default());
        let has_it = dump.as_ref().is_ok_and(|it| rows(it).keys().any(|&(_, of)| of == pid));
        // It waits two seconds for a tick; on a machine that is too slow for that it lacks what has just begun.
        assert!(has_it || asked.elapsed() >= ms(2000), "{dump:?}");
        has_it
    });
    let has_it = dumps.any(|has_it| has_it);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(has_it);
    // Two programs do not share one.
    let ring = directory.path().join("ring");
    let taken = FlightRecorder::salvage(&ring, &directory.path().join("taken"), [].into());
    assert!(matches!(taken, Err(DumpError::Io(..))), "{taken:?}");
    let kept = FlightOptions::new(Duration::from_secs(60), 64 << 20);
    assert!(FlightRecorder::start(&shared, &ring, kept).is_err());
    assert!(ring.exists());
}
