//! Whether the budget for PSS holds, with a process of 4 GiB among the others, and with some that change
//! all the time, so that there is more to read than it allows.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use memsample::Recording;
use memsample_benches::{Population, Table, memsample, raise_descriptor_limit};

const PROCESSES: usize = 300;
const SECONDS: u32 = 60;
/// Resident of the large process. What is left of 4 GiB is the interpreter's own.
const LARGE_MIB: u32 = 4 * 1024 - 16;
/// Processes that change, and what each of them holds. To read them at every tick would take some tens
/// of times the budget.
const CHANGING: u32 = 20;
const CHANGING_MIB: u32 = 50;
/// The share of one CPU that the budget is, and the longest that a process may be held up.
const BUDGET: f64 = 0.01;
const MAX_STALL_US: i32 = 75_000;

fn main() {
    raise_descriptor_limit().unwrap();
    let mut table = Table::new(&[
        "beside idle processes",
        "CPU of the recorder, % of one core",
        "of that PSS, % (budget 1)",
        "readings of PSS",
        "of the large or first one",
        "longest in one tick, us (bound of one reading 75000)",
        "skipped",
    ]);
    let large = format!(
        "import mmap\nm = mmap.mmap(-1, {LARGE_MIB} << 20, \
         flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)\n\
         print('ready', flush=True)\ninput()"
    );
    // Each ends when the first does, whose end of the pipe they poll.
    let changing = format!(
        "import os, select\n\
         end, kept = os.pipe()\n\
         for _ in range({CHANGING}):\n    \
             if os.fork() == 0:\n        \
                 os.close(kept)\n        \
                 held = os.urandom(1 << 20) * {CHANGING_MIB}\n        \
                 while not select.select([end], [], [], 0.05)[0]:\n            \
                     more = None\n            \
                     if not select.select([end], [], [], 0.05)[0]: more = b'x' * (1 << 20)\n        \
                 os._exit(0)\n\
         print('ready', flush=True)\ninput()"
    );
    let scenes = [
        ("none".to_owned(), None),
        (format!("one of {LARGE_MIB} MiB"), Some(large)),
        (
            format!("{CHANGING} of {CHANGING_MIB} MiB that change ten times a second"),
            Some(changing),
        ),
    ];
    for (scene, program) in scenes {
        let mut large = program.map(|program| {
            let mut child = Command::new("/usr/bin/python3")
                .args(["-c", &program])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert_eq!(lines.map_while(Result::ok).next().as_deref(), Some("ready"));
            child
        });
        let population = Population::top_up_to(PROCESSES).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let output = memsample()
            .unwrap()
            .args(["record", "--json", "--name", "x", "--duration", &format!("{SECONDS}s")])
            .arg("--out")
            .arg(directory.path())
            .output()
            .unwrap();
        drop(population);
        let pid = large.as_ref().map(std::process::Child::id);
        if let Some(large) = &mut large {
            large.kill().unwrap();
            large.wait().unwrap();
        }
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let cpu = result.get("cpu_seconds").and_then(serde_json::Value::as_f64).unwrap();
        let (recording, _) = Recording::open(&directory.path().join("x")).unwrap();
        let cost = column(&recording, "pss_cost_us");
        let share = cost.iter().map(|&us| f64::from(us)).sum::<f64>() / f64::from(SECONDS) / 1e6;
        let longest = cost.iter().copied().max().unwrap_or(0);
        table.row([
            scene,
            format!("{:.2}", 100.0 * cpu / f64::from(SECONDS)),
            format!("{:.2}{}", 100.0 * share, if share <= 1.2 * BUDGET { "" } else { " (over)" }),
            column(&recording, "pss_read").iter().sum::<i32>().to_string(),
            pid.map_or("-".to_owned(), |pid| readings_of(&recording, pid).to_string()),
            format!("{longest}{}", if longest <= MAX_STALL_US { "" } else { " (over)" }),
            column(&recording, "pss_skipped").iter().sum::<i32>().to_string(),
        ]);
    }
    println!("## governor: {PROCESSES} processes at 10 Hz, {SECONDS} s\n");
    println!("{table}");
}

fn column(recording: &Recording, name: &str) -> Vec<i32> {
    let columns = [name];
    let batches = recording.read_table("ticks", &columns);
    batches
        .flat_map(|batch| {
            let batch = batch.unwrap();
            let column = batch.column_by_name(name).unwrap().as_primitive::<Int32Type>();
            column.values().to_vec()
        })
        .collect()
}

fn readings_of(recording: &Recording, pid: u32) -> usize {
    let batches = recording.read_table("samples", &["pid", "pss_bytes"]);
    let count = batches.map(|batch| {
        let batch = batch.unwrap();
        let pids = batch.column_by_name("pid").unwrap().as_primitive::<Int32Type>();
        let pss = batch.column_by_name("pss_bytes").unwrap().as_primitive::<Int64Type>();
        let rows = pids.iter().zip(pss.iter());
        rows.filter(|row| row.0 == i32::try_from(pid).ok() && row.1.is_some()).count()
    });
    count.sum()
}
