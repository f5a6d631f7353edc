//! What a sample costs on disk and on the way there: a real build is recorded at 10 Hz with every
//! metric of every process at every tick.
//!
//! Encoding is measured alone too: what a crash would have left is put together, which reads the journal
//! and encodes all of it as the closed recording has it.
//!
//! The workload is the build of this workspace and its tests from nothing, beside idle processes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use memsample::{Rate, Recorder, RecorderOptions, Recording, Recovery};
use memsample_benches::{Population, Table, cpu_seconds_of_thread, raise_descriptor_limit};

const IDLE: usize = 300;

fn main() {
    raise_descriptor_limit().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut table = Table::new(&[
        "metrics",
        "process-samples",
        "process images",
        "samples.parquet, bytes each",
        "all files, bytes each",
        "journal, bytes each",
        "encoding the closed files from the journal, CPU ns each",
        "all of the writing thread during the build, CPU ns each",
        "reading, CPU us each",
    ]);
    let every_tick =
        RecorderOptions::new().detail(Rate::EveryTick).pss(Rate::Every(Duration::from_secs(10)));
    let defaults = RecorderOptions::new();
    let rss_tier = RecorderOptions::new().detail(Rate::Off).pss(Rate::Off);
    for (name, options) in [
        ("all at every tick, PSS every 10 s", every_tick),
        ("default: details every second", defaults),
        ("RSS tier", rss_tier),
    ] {
        let _idle = Population::top_up_to(IDLE).unwrap();
        let run = directory.path().join(name.split([':', ',', ' ']).next().unwrap());
        let recorder = Recorder::start(&run, options).unwrap();
        build(&directory.path().join("target"));
        // What a crash at this moment would leave.
        let copy = directory.path().join("copy");
        copy_recording(&run, &copy);
        let recording = recorder.stop().unwrap();
        let before = cpu_seconds_of_thread();
        let recovery = Recording::recover(&copy).unwrap();
        let recovering_seconds = cpu_seconds_of_thread() - before;
        assert!(matches!(recovery, Recovery::Recovered { .. }));
        let (recovered, _) = Recording::open(&copy).unwrap();
        let recovered_samples = recovered.manifest().totals.samples as f64;
        fs::remove_dir_all(&copy).unwrap();
        let manifest = recording.manifest();
        assert_eq!(manifest.totals.dropped, 0);
        let usage = manifest.recorder.unwrap();
        let samples = manifest.totals.samples as f64;
        table.row([
            name.to_owned(),
            manifest.totals.samples.to_string(),
            manifest.totals.processes.to_string(),
            format!("{:.3}", size_of_samples(&run) as f64 / samples),
            format!("{:.3}", recording.size_bytes().unwrap() as f64 / samples),
            format!("{:.3}", usage.journal_bytes as f64 / samples),
            format!("{:.0}", recovering_seconds * 1e9 / recovered_samples),
            format!("{:.0}", usage.writing_cpu_seconds * 1e9 / samples),
            format!("{:.2}", usage.sampling_cpu_seconds * 1e6 / samples),
        ]);
    }
    println!("## write: the cost of a process-sample in a recording at 10 Hz of a real build\n");
    println!("{table}");
}

fn build(target: &Path) {
    let _ = fs::remove_dir_all(target);
    let status = Command::new(env!("CARGO"))
        .args(["build", "--workspace", "--all-targets", "--quiet", "--offline", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success());
}

/// Copies a recording while it grows, its journal last: so the copy lacks nothing that its files have.
fn copy_recording(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    fs::create_dir(to.join("journal")).unwrap();
    for entry in fs::read_dir(from.join("journal")).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join("journal").join(entry.file_name())).unwrap();
    }
}

fn size_of_samples(run: &Path) -> u64 {
    let files = fs::read_dir(run).unwrap().map(Result::unwrap);
    let samples = files.filter(|file| file.file_name().to_string_lossy().starts_with("samples"));
    samples.map(|file| file.metadata().unwrap().len()).sum()
}
