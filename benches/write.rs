//! What a sample costs on disk and on the way there: a real build is recorded at 10 Hz with every
//! metric of every process at every tick.
//!
//! The workload is the build of this workspace and its tests from nothing, beside idle processes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use memsample::{Rate, Recorder, RecorderOptions};
use memsample_benches::{Population, Table, raise_descriptor_limit};

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
        "encoding and writing, CPU ns each",
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
        let recording = recorder.stop().unwrap();
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

fn size_of_samples(run: &Path) -> u64 {
    let files = fs::read_dir(run).unwrap().map(Result::unwrap);
    let samples = files.filter(|file| file.file_name().to_string_lossy().starts_with("samples"));
    samples.map(|file| file.metadata().unwrap().len()).sum()
}
