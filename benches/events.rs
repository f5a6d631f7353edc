//! What the kernel's events cost on an idle machine, and whether a storm of processes loses any.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::process::{Command, Stdio};
use std::time::Instant;

use memsample_benches::{Population, Table, median, memsample, raise_descriptor_limit};
use serde_json::Value;

const PROCESSES: usize = 300;
const SECONDS: u64 = 20;
/// With and without take turns, so that what else the machine does falls on both.
const TURNS: usize = 3;
const STORM_PER_SECOND: u32 = 2000;
const STORM_SECONDS: u32 = 10;

fn main() {
    raise_descriptor_limit().unwrap();
    storm();
    idle();
}

fn idle() {
    let _population = Population::top_up_to(PROCESSES).unwrap();
    let mut table = Table::new(&["events", "CPU of the recorder, % of one core", "median"]);
    let mut shares = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (shares, events) in shares.iter_mut().zip(["off", "auto"]) {
            let seconds = format!("{SECONDS}s");
            let options = ["--events", events, "--pss-budget", "off", "--duration", &seconds];
            let result = record(&options, &[]);
            shares.push(100.0 * number(&result, "cpu_seconds") / SECONDS as f64);
        }
    }
    let [off, on] = shares;
    for (events, shares) in [("off", &off), ("on", &on)] {
        let each: Vec<_> = shares.iter().map(|share| format!("{share:.3}")).collect();
        let row = [events.to_owned(), each.join(", "), format!("{:.3}", median(shares.clone()))];
        table.row(row);
    }
    println!("## events: {PROCESSES} idle processes at 10 Hz, {SECONDS} s each\n");
    println!("{table}");
    println!("Difference of the medians: {:.3} % of one core.\n", median(on) - median(off));
}

fn storm() {
    let mut table = Table::new(&[
        "children",
        "a second",
        "rows of exits",
        "exits lost",
        "events lost",
        "unseen",
        "late, % of ticks",
        "CPU, % of one core",
    ]);
    let children = STORM_PER_SECOND * STORM_SECONDS;
    // The clock keeps the pace.
    let script = format!(
        "import os, time
began = time.monotonic()
for number in range({children}):
    if os.fork() == 0: os._exit(0)
    os.wait()
    ahead = number / {STORM_PER_SECOND} - (time.monotonic() - began)
    if ahead > 0.005: time.sleep(ahead)
"
    );
    let began = Instant::now();
    let result = record(&[], &["/usr/bin/python3", "-S", "-c", &script]);
    let seconds = began.elapsed().as_secs_f64();
    let count = |key: &str| format!("{:.0}", number(&result, key));
    table.row([
        children.to_string(),
        format!("{:.0}", f64::from(children) / seconds),
        count("exits"),
        count("exits_lost"),
        count("events_lost"),
        count("unseen"),
        format!("{:.1}", 100.0 * number(&result, "late") / number(&result, "ticks")),
        format!("{:.2}", 100.0 * number(&result, "cpu_seconds") / seconds),
    ]);
    println!("## events: a storm of processes that end at once, 10 Hz\n");
    println!("{table}");
}

fn number(result: &Value, key: &str) -> f64 {
    result.get(key).and_then(Value::as_f64).unwrap()
}

fn record(options: &[&str], command: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let mut record: Command = memsample().unwrap();
    let result = directory.path().join("result.json");
    record.args(["record", "--json"]).arg(&result).arg("--out");
    record.arg(directory.path().join("recordings")).args(options);
    if !command.is_empty() {
        record.arg("--").args(command);
    }
    let output = record.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&std::fs::read(result).unwrap()).unwrap()
}
