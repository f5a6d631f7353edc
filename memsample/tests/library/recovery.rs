//! What a recorder leaves behind that dies at any moment, put together.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::recorded::{Rows, batches, check_consistency, rows};
use crate::scripted_clock::{START, ScriptedClock};
use crate::simulation::Simulation;
use memsample::{
    End, Rate, Recorder, RecorderOptions, Recording, RecordingState, Recovery, SamplerOptions,
};

const START_MS: i64 = START.utc_ns / 1_000_000;
const TABLES: [&str; 5] = ["samples", "processes", "ticks", "system", "marks"];

/// A recording of one tick a second, with what was to be seen at each, and copies of its directory as
/// it was at some moments.
struct Watched {
    directory: tempfile::TempDir,
    expected: Rows,
}

impl Watched {
    /// Records `ticks` ticks, and calls `watch` with the directory before each.
    fn record(ticks: u64, mut watch: impl FnMut(u64, &Path) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        let mut simulation = Simulation::new(ticks);
        let expected = Arc::new(Mutex::new(Rows::new()));
        let root = simulation.tree.path().to_owned();
        let (sink, watched) = (Arc::clone(&expected), run.clone());
        let clock = ScriptedClock::new(move |tick, _| {
            watch(tick, &watched);
            if tick > 0 {
                simulation.step();
            }
            let ts = START_MS + 1000 * i64::try_from(tick).unwrap();
            sink.lock().unwrap().append(&mut simulation.expected(ts, true, false, false));
        });
        let interval = Duration::from_secs(1);
        let options = RecorderOptions::new()
            .interval(interval)
            .duration(interval * u32::try_from(ticks).unwrap())
            .detail(Rate::EveryTick)
            .pss(Rate::Off)
            .sampler(SamplerOptions::default().proc_root(root).clock(clock.shared()));
        clock.run(Recorder::start(&run, options).unwrap());
        let expected = std::mem::take(&mut *expected.lock().unwrap());
        Self { directory, expected }
    }

    /// Checks that `recorded` is what was to be seen up to some tick, and returns how many ticks.
    #[track_caller]
    fn check_prefix(&self, recorded: &Rows) -> usize {
        for (key, row) in recorded {
            assert_eq!(self.expected.get(key), Some(row), "{key:?}");
        }
        let Some(end) = recorded.keys().map(|key| key.0).max() else {
            return 0;
        };
        let expected = self.expected.range(..(end + 1, 0)).count();
        assert_eq!(recorded.len(), expected, "a row before the last tick is missing");
        usize::try_from((end - START_MS) / 1000 + 1).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            // A temporary file may have taken its name meanwhile.
            let _ = fs::copy(&from, &to);
        }
    }
}

#[track_caller]
fn recover(path: &Path) -> (Recording, Recovery) {
    let (recording, recovery) = Recording::open(path).unwrap();
    let manifest = recording.manifest();
    assert_eq!(
        (manifest.state, manifest.end.clone()),
        (RecordingState::Recovered, Some(End::Crashed))
    );
    assert!(!path.join("journal").exists());
    check_consistency(&recording);
    // A second time there is nothing to do.
    assert_eq!(Recording::recover(path).unwrap(), Recovery::NotNeeded);
    (recording, recovery)
}

#[test]
fn a_recorder_that_dies_at_any_tick_loses_at_most_what_was_not_handed_over() {
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().to_owned();
    // The first checkpoint is at tick 600.
    let watched = Watched::record(700, move |tick, run| {
        if tick % 23 == 22 {
            copy(run, &to.join(tick.to_string()));
        }
    });
    let mut recovered = 0;
    for entry in fs::read_dir(copies.path()).unwrap() {
        let path = entry.unwrap().path();
        let tick: usize = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let (recording, _) = recover(&path);
        let ticks = watched.check_prefix(&rows(&recording));
        // The sampler may be this far ahead of the writer here; it never is of the journal in life.
        assert!((tick.saturating_sub(10)..=tick).contains(&ticks), "{ticks} of {tick}");
        recovered += 1;
    }
    assert_eq!(recovered, 30);
    drop(watched.directory);
}

#[test]
fn a_journal_cut_anywhere_gives_all_ticks_before_the_cut() {
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("copy");
    let copied = to.clone();
    let watched = Watched::record(30, move |tick, run| {
        if tick == 29 {
            copy(run, &copied);
        }
    });
    let journal = fs::read(to.join("journal/000000.log")).unwrap();
    // What was flushed after 1, 3, 7 and 15 seconds is in the files, whatever becomes of the journal.
    let mut last = 15;
    // Each recovery waits for the disk a dozen times, so not at each byte: at a prime step, and whole.
    for length in (0..journal.len()).step_by(37).chain([journal.len() - 1, journal.len()]) {
        let cut = copies.path().join("cut");
        copy(&to, &cut);
        fs::write(cut.join("journal/000000.log"), &journal[..length]).unwrap();
        let (recording, _) = recover(&cut);
        let ticks = watched.check_prefix(&rows(&recording));
        assert!(ticks >= last, "{ticks} ticks of {length} bytes, and {last} of fewer");
        last = ticks;
        fs::remove_dir_all(&cut).unwrap();
    }
    assert!(last >= 19);
}

#[test]
fn garbage_behind_the_journal_is_left_out() {
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("copy");
    let copied = to.clone();
    let watched = Watched::record(60, move |tick, run| {
        if tick == 59 {
            copy(run, &copied);
        }
    });
    let journal = to.join("journal/000000.log");
    let whole = fs::read(&journal).unwrap();
    let mut ticks = Vec::new();
    for garbage in
        [&b""[..], b"x", b"\0\0\0\0\0\0\0\0", b"\xff\xff\xff\xff\0\0\0\0garbage", &[7; 5000]]
    {
        let damaged = copies.path().join("damaged");
        copy(&to, &damaged);
        fs::write(damaged.join("journal/000000.log"), [&whole, garbage].concat()).unwrap();
        let (recording, recovery) = recover(&damaged);
        let Recovery::Recovered { torn, .. } = recovery else { panic!("{recovery:?}") };
        // An empty block is a block.
        assert_eq!(torn, !garbage.is_empty() && garbage != b"\0\0\0\0\0\0\0\0", "{garbage:?}");
        ticks.push(watched.check_prefix(&rows(&recording)));
        fs::remove_dir_all(&damaged).unwrap();
    }
    assert!(ticks.iter().all(|&count| count == ticks[0]), "{ticks:?}");
}

#[test]
fn a_crash_between_two_tables_of_a_checkpoint_neither_loses_nor_doubles_rows() {
    let copies = tempfile::tempdir().unwrap();
    let (before, after) = (copies.path().join("before"), copies.path().join("after"));
    let old_journal = copies.path().join("old journal");
    let (to_before, to_after, link) = (before.clone(), after.clone(), old_journal.clone());
    let watched = Watched::record(640, move |tick, run| match tick {
        // The old journal is removed at the checkpoint, but not its contents while they have a name.
        0 => fs::hard_link(run.join("journal/000000.log"), &link).unwrap(),
        580 => copy(run, &to_before),
        630 => {
            assert!(run.join("journal/000001.log").exists(), "no checkpoint yet");
            copy(run, &to_after);
        }
        _ => {}
    });
    let mut results = Vec::new();
    for settled in 0..=TABLES.len() {
        let mixed = copies.path().join("mixed");
        copy(&before, &mixed);
        fs::copy(&old_journal, mixed.join("journal/000000.log")).unwrap();
        for table in &TABLES[..settled] {
            let file = format!("{table}.parquet");
            fs::copy(after.join(&file), mixed.join(&file)).unwrap();
        }
        let (recording, _) = recover(&mixed);
        let recorded = rows(&recording);
        assert!(watched.check_prefix(&recorded) >= 600);
        let counts = TABLES.map(|table| {
            batches(&recording, table).iter().map(|batch| batch.num_rows()).sum::<usize>()
        });
        results.push((recorded, counts));
        fs::remove_dir_all(&mixed).unwrap();
    }
    assert!(results.iter().all(|result| *result == results[0]));
}

#[test]
fn a_recovery_that_ends_between_any_two_of_its_files_is_continued_and_doubles_no_row() {
    let copies = tempfile::tempdir().unwrap();
    let (died, recovered) = (copies.path().join("died"), copies.path().join("recovered"));
    let to = died.clone();
    let watched = Watched::record(60, move |tick, run| {
        if tick == 59 {
            copy(run, &to);
        }
    });
    copy(&died, &recovered);
    let result = |path: &Path| {
        let (recording, _) = recover(path);
        let counts = TABLES.map(|table| {
            batches(&recording, table).iter().map(|batch| batch.num_rows()).sum::<usize>()
        });
        (rows(&recording), counts, recording.manifest().totals)
    };
    let expected = result(&recovered);
    assert!(watched.check_prefix(&expected.0) >= 40);
    // The tables are settled in this order, then `recording.json` says so.
    let order = ["samples", "ticks", "system", "cgroups", "marks", "exits", "processes"];
    for settled in 1..=order.len() {
        let ended = copies.path().join("ended");
        copy(&died, &ended);
        for table in &order[..settled] {
            let file = format!("{table}.parquet");
            fs::copy(recovered.join(&file), ended.join(&file)).unwrap();
        }
        assert!(result(&ended) == expected, "{settled} tables were settled");
        fs::remove_dir_all(&ended).unwrap();
    }
}

#[test]
fn a_journal_that_was_begun_and_not_opened_is_passed_over() {
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("copy");
    let copied = to.clone();
    let watched = Watched::record(40, move |tick, run| {
        if tick == 39 {
            copy(run, &copied);
        }
    });
    fs::write(to.join("journal/000001.log"), b"memsample jour").unwrap();
    let (recording, _) = recover(&to);
    assert!(watched.check_prefix(&rows(&recording)) >= 29);
}

#[test]
fn damaged_files_are_set_aside_and_said() {
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("copy");
    let copied = to.clone();
    let watched = Watched::record(40, move |tick, run| {
        if tick == 39 {
            copy(run, &copied);
        }
    });
    fs::write(to.join("samples.parquet"), b"PAR1 this is none PAR1").unwrap();
    fs::write(to.join("ticks.parquet"), b"").unwrap();
    let (recording, _) = recover(&to);
    // The journal still has everything since the last checkpoint, which here is everything.
    assert!(watched.check_prefix(&rows(&recording)) >= 29);
    let notes = recording.manifest().notes.join("\n");
    assert!(notes.contains("samples.parquet") && notes.contains("ticks.parquet"), "{notes}");
    assert!(to.join("samples.parquet.damaged").exists());
}

#[test]
fn the_files_before_a_damaged_one_go_on() {
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("copy");
    let copied = to.clone();
    let watched = Watched::record(40, move |tick, run| {
        if tick == 39 {
            copy(run, &copied);
        }
    });
    // Nothing but the first file tells of the checkpoints, so the table must not begin anew at its name.
    let checkpoint = copies.path().join("settled");
    copy(&to, &checkpoint);
    let (settled, _) = recover(&checkpoint);
    let settled_rows = rows(&settled);
    for (garbage, name) in [(&b""[..], "samples-0002"), (b"PAR1 none PAR1", "samples-0002")] {
        fs::write(checkpoint.join(format!("{name}.parquet")), garbage).unwrap();
        // As it was before the recording was closed.
        let run = fs::read_to_string(checkpoint.join("recording.json")).unwrap();
        assert!(run.contains("\"recovered\""), "{run}");
        fs::write(checkpoint.join("recording.json"), run.replace("\"recovered\"", "\"recording\""))
            .unwrap();
        fs::create_dir(checkpoint.join("journal")).unwrap();
        let (recording, _) = recover(&checkpoint);
        assert_eq!(rows(&recording), settled_rows);
        let notes = recording.manifest().notes.join("\n");
        assert!(notes.contains(&format!("{name}.parquet")), "{notes}");
        assert!(checkpoint.join(format!("{name}.parquet.damaged")).exists());
    }
    assert!(watched.check_prefix(&settled_rows) >= 29);
}

#[test]
fn how_many_files_a_table_goes_on_in_is_said() {
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("copy");
    let copied = to.clone();
    Watched::record(40, move |tick, run| {
        if tick == 39 {
            copy(run, &copied);
        }
    });
    fs::copy(to.join("samples.parquet"), to.join("samples-0002.parquet")).unwrap();
    assert!(matches!(Recording::recover(&to).unwrap(), Recovery::Recovered { .. }));
    let manifest = Recording::manifest_of(&to).unwrap();
    assert_eq!(manifest.files.into_iter().collect::<Vec<_>>(), [("samples".to_owned(), 2)]);
}

#[test]
fn without_a_journal_what_was_flushed_is_kept() {
    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("copy");
    let copied = to.clone();
    let watched = Watched::record(50, move |tick, run| {
        // The writer may be ten ticks behind, and must have flushed for the fifth time.
        if tick == 49 {
            copy(run, &copied);
        }
    });
    fs::remove_file(to.join("journal/000000.log")).unwrap();
    // The manifest may be behind: a disk that is full takes a table, and then no manifest.
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(to.join("recording.json")).unwrap()).unwrap();
    for total in ["samples", "ticks"] {
        assert!(manifest["totals"][total].as_u64() > Some(10));
        manifest["totals"][total] = 1.into();
    }
    fs::write(to.join("recording.json"), manifest.to_string()).unwrap();
    let (recording, _) = Recording::open(&to).unwrap();
    let count = |table| -> usize {
        recording.read_table(table, &["ts"]).map(|batch| batch.unwrap().num_rows()).sum()
    };
    let totals = recording.manifest().totals;
    assert_eq!(totals.samples, count("samples") as u64);
    assert_eq!(totals.ticks, count("ticks") as u64);
    // Flushed after 1, 3, 7, 15 and 31 seconds.
    assert!(watched.check_prefix(&rows(&recording)) >= 31);
    assert!(recording.manifest().notes.join("\n").contains("no journal could be read"));
}

#[test]
fn what_belongs_to_another_user_is_read_and_never_written() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let copies = tempfile::tempdir().unwrap();
    let (to, victim) = (copies.path().join("copy"), copies.path().join("victim"));
    let copied = to.clone();
    let watched = Watched::record(50, move |tick, run| {
        if tick == 49 {
            copy(run, &copied);
        }
    });
    fs::write(&victim, "VICTIM").unwrap();
    for table in ["samples.parquet", "recording.json"] {
        std::os::unix::fs::symlink(&victim, to.join(format!(".{table}.tmp"))).unwrap();
    }
    let own = |to: &Path| {
        for path in [to.to_owned(), to.join("journal")] {
            let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            for path in entries.chain([path.clone()]) {
                std::os::unix::fs::lchown(path, Some(65_534), Some(65_534)).unwrap();
            }
        }
    };
    let listed = |to: &Path| -> Vec<_> {
        let entries = [to.to_owned(), to.join("journal")].map(|path| fs::read_dir(path).unwrap());
        let mut listed: Vec<_> = (entries.into_iter().flatten())
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap()))
            .collect();
        listed.sort();
        listed
    };
    own(&to);
    let before = listed(&to);
    let error = Recording::recover(&to).unwrap_err().to_string();
    assert!(error.contains("belongs to user 65534 and is not changed"), "{error}");
    let (recording, recovery) = Recording::open(&to).unwrap();
    assert_eq!(recovery, Recovery::InCopy { owner: 65_534 });
    assert_eq!(recording.path(), to);
    // All that its owner would see.
    assert!(watched.check_prefix(&rows(&recording)) >= 39);
    assert_eq!(listed(&to), before);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "VICTIM");
    // The copy goes with the recording.
    let copy = recording.table_files("samples").remove(0).parent().unwrap().to_owned();
    assert!(copy.exists());
    drop(recording);
    assert!(!copy.exists());

    // Its owner, too, writes through no link.
    own_back(&to);
    let (recording, _) = recover(&to);
    assert!(watched.check_prefix(&rows(&recording)) >= 39);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "VICTIM");
}

fn own_back(to: &Path) {
    std::os::unix::fs::lchown(to, Some(0), Some(0)).unwrap();
}

#[test]
fn a_pipe_or_a_device_in_a_recording_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let message = |path: &Path| {
        let error = Recording::open(path).unwrap_err();
        std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string)
    };
    let pipe = |path: PathBuf| {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    pipe(directory.path().join("recording.json"));
    assert_eq!(message(directory.path()), "it is not a regular file");
    fs::remove_file(directory.path().join("recording.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", directory.path().join("recording.json")).unwrap();
    assert!(Recording::open(directory.path()).is_err());
    fs::remove_file(directory.path().join("recording.json")).unwrap();
    let large = fs::File::create(directory.path().join("recording.json")).unwrap();
    large.set_len(1 << 40).unwrap();
    assert!(message(directory.path()).contains("more than 16777216 bytes"));

    let copies = tempfile::tempdir().unwrap();
    let to = copies.path().join("copy");
    let copied = to.clone();
    drop(Watched::record(50, move |tick, run| {
        if tick == 49 {
            copy(run, &copied);
        }
    }));
    fs::remove_file(to.join("journal/lock")).unwrap();
    pipe(to.join("journal/lock"));
    assert_eq!(message(&to), "it is not a regular file");
    fs::remove_file(to.join("journal/lock")).unwrap();
    recover(&to);
    fs::remove_file(to.join("ticks.parquet")).unwrap();
    pipe(to.join("ticks.parquet"));
    let (recording, _) = Recording::open(&to).unwrap();
    let read = recording.read_table("ticks", &["ts"]).next().unwrap();
    assert!(read.unwrap_err().to_string().ends_with("ticks.parquet`: it is not a regular file"));
}

#[test]
fn a_directory_that_is_exchanged_with_a_link_is_written_and_what_the_link_leads_to_is_not() {
    const CONTENTS: &[u8] = b"of somebody else";
    // All names under which a recorder makes files; it flushes, and begins another journal behind 600 ticks.
    let names = ["recording.json", "samples.parquet", "ticks.parquet", "journal/000001.log"];
    let watched = Watched::record(650, move |tick, run| {
        if tick == 3 {
            fs::rename(run, run.with_file_name("moved")).unwrap();
            let victim = run.with_file_name("victim");
            fs::create_dir_all(victim.join("journal")).unwrap();
            names.iter().for_each(|name| fs::write(victim.join(name), CONTENTS).unwrap());
            std::os::unix::fs::symlink(victim, run).unwrap();
        }
    });
    let victim = watched.directory.path().join("victim");
    for name in names {
        assert_eq!(fs::read(victim.join(name)).unwrap(), CONTENTS, "{name}");
    }
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 4);
    assert_eq!(fs::read_dir(victim.join("journal")).unwrap().count(), 1);
    let moved = watched.directory.path().join("moved");
    let (recording, recovery) = Recording::open(&moved).unwrap();
    assert_eq!(
        (recovery, recording.manifest().state),
        (Recovery::NotNeeded, RecordingState::Closed)
    );
    assert_eq!(watched.check_prefix(&rows(&recording)), 650);
    let notes = recording.manifest().notes.join("\n");
    assert!(notes.contains("was moved") && notes.contains(moved.to_str().unwrap()), "{notes}");
}

#[test]
fn what_is_no_recording_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let message = |path: PathBuf| format!("{:#}", Recording::open(&path).unwrap_err());
    assert!(message(directory.path().to_owned()).contains("is not a recording"));
    assert!(message(directory.path().join("absent")).contains("is not a recording"));
    fs::write(directory.path().join("recording.json"), b"{\"format\":").unwrap();
    assert!(message(directory.path().to_owned()).contains("cannot read the recording"));
    // What it says is not for the terminal.
    let escape = r#"{"format": 2, "memsample": "0.1.0", "state": "\u001b[2J\u202e"}"#;
    fs::write(directory.path().join("recording.json"), escape).unwrap();
    let error = Recording::open(directory.path()).unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains(r"is damaged: unknown variant `\u{1b}[2J\u{202e}`"), "{said}");
}
