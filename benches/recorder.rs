//! The whole recorder, as a user runs it: `memsample record` on an idle machine.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use memsample::{Files, Sampler, SamplerOptions};
use memsample_benches::{
    Population, Table, cpu_seconds_of_thread, memsample, raise_descriptor_limit,
};
use rustix::io::pread;
use serde_json::Value;

const RSS_TIER: &[&str] = &["--detail-interval", "off", "--pss-interval", "off"];
const DEFAULT: &[&str] = &[];
const EVERYTHING: &[&str] = &["--detail-interval", "every"];
/// What one pass of BPF reads, and no more.
#[rustfmt::skip]
const BY_BPF: &[&str] = &[
    "--sweep", "bpf", "--detail-interval", "every", "--pss-interval", "off", "--cgroup-interval", "off", "--events", "off",
];

fn main() {
    raise_descriptor_limit().unwrap();
    let mut table = Table::new(&[
        "processes",
        "interval",
        "what is read",
        "seconds",
        "CPU, % of one core",
        "bare pread on the same files, % of one core",
        "peak RSS, MiB",
        "late, % of ticks",
        "dropped",
        "sweep p50, us",
        "sweep p99, us",
    ]);
    for (processes, interval_ms, tier, options, seconds) in [
        (300, 100, "RSS tier", RSS_TIER, 60),
        (300, 100, "default", DEFAULT, 60),
        (300, 100, "everything every tick", EVERYTHING, 60),
        (300, 100, "everything every tick by BPF, without PSS, groups and events", BY_BPF, 60),
        (5000, 100, "RSS tier", RSS_TIER, 30),
        (5000, 100, "default", DEFAULT, 30),
        (300, 1, "RSS tier", RSS_TIER, 20),
    ] {
        let _population = Population::top_up_to(processes).unwrap();
        let interval = Duration::from_millis(interval_ms);
        let floor = (options == RSS_TIER).then(|| cpu_share_of_bare_pread(interval, seconds));
        let result = record(interval_ms, options, seconds);
        let number = |key: &str| result.get(key).and_then(Value::as_f64).unwrap();
        let sweep_us = |key: &str| result.pointer(&format!("/sweep_us/{key}")).unwrap().to_string();
        table.row([
            processes.to_string(),
            format!("{interval_ms} ms"),
            tier.to_owned(),
            seconds.to_string(),
            format!("{:.2}", 100.0 * number("cpu_seconds") / seconds as f64),
            floor.map_or("-".to_owned(), |share| format!("{:.2}", 100.0 * share)),
            format!("{:.1}", number("peak_rss_bytes") / f64::from(1 << 20)),
            format!("{:.2}", 100.0 * number("late") / number("ticks")),
            number("dropped").to_string(),
            sweep_us("p50"),
            sweep_us("p99"),
        ]);
    }
    println!("## recorder: `memsample record` on an idle machine\n");
    println!("{table}");
}

fn record(interval_ms: u64, options: &[&str], seconds: u64) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let output = memsample()
        .unwrap()
        .args(["record", "--json", "--interval", &format!("{interval_ms}ms")])
        .args(["--duration", &format!("{seconds}s"), "--out"])
        .arg(directory.path())
        .args(options)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The floor: a program that does nothing but read the same files as often.
fn cpu_share_of_bare_pread(interval: Duration, seconds: u64) -> f64 {
    let mut sampler = Sampler::new(SamplerOptions::default()).unwrap();
    let snapshot = sampler.sweep(Files::STATM);
    let open = |pid| File::open(format!("/proc/{pid}/statm")).unwrap().into();
    let statm: Vec<OwnedFd> = snapshot.samples().map(|sample| open(sample.pid())).collect();
    drop(sampler);
    let before = cpu_seconds_of_thread();
    let begin = Instant::now();
    let mut buffer = [0; 256];
    let mut next = begin;
    while begin.elapsed().as_secs() < seconds {
        for file in &statm {
            std::hint::black_box(pread(file, &mut buffer, 0).unwrap());
        }
        next += interval;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    (cpu_seconds_of_thread() - before) / seconds as f64
}
