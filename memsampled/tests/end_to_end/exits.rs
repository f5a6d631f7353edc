//! Exits that the kernel reports. It reports them to root outside of containers only; elsewhere the
//! recording has a note that it does not, and the tests check that.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::command::{Running, manifest, memsample, shell, wait_for, wait_for_tick};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use memsample::Recording;
use memsample::analysis::largest_processes;
use tempfile::tempdir;

const MIB: i64 = 1 << 20;

struct Exit {
    process: i64,
    pid: i32,
    ppid: i32,
    comm: String,
    exit_code: Option<i64>,
    signal: Option<i64>,
    hwm_bytes: i64,
    lived_ns: i64,
    minflt: i64,
    utime_ns: i64,
}

const COLUMNS: [&str; 10] = [
    "process",
    "pid",
    "exit_ppid",
    "comm",
    "exit_code",
    "signal",
    "exit_hwm_bytes",
    "lived_ns",
    "minflt",
    "utime_ns",
];

fn rows(batch: &RecordBatch) -> impl Iterator<Item = Exit> {
    let long = |name: &str| batch[name].as_primitive::<Int64Type>().clone();
    let int = |name: &str| batch[name].as_primitive::<Int32Type>().clone();
    let (process, exit_code, signal) = (long("process"), long("exit_code"), long("signal"));
    let (hwm_bytes, lived_ns) = (long("exit_hwm_bytes"), long("lived_ns"));
    let (minflt, utime_ns) = (long("minflt"), long("utime_ns"));
    let (pid, ppid) = (int("pid"), int("exit_ppid"));
    let comm = batch["comm"].as_string::<i32>().clone();
    (0..batch.num_rows()).map(move |row| Exit {
        process: process.value(row),
        pid: pid.value(row),
        ppid: ppid.value(row),
        comm: comm.value(row).to_owned(),
        exit_code: exit_code.iter().nth(row).flatten(),
        signal: signal.iter().nth(row).flatten(),
        hwm_bytes: hwm_bytes.value(row),
        lived_ns: lived_ns.value(row),
        minflt: minflt.value(row),
        utime_ns: utime_ns.value(row),
    })
}

/// Returns the exits of the children of the recorded shell, or `None` where the kernel does not report any.
fn record(directory: &Path, line: &str) -> Option<(Recording, Vec<Exit>)> {
    record_while(directory, line, |_| ())
}

/// The same, while something is done with the recording.
fn record_while(
    directory: &Path,
    line: &str,
    meanwhile: impl FnOnce(&Path),
) -> Option<(Recording, Vec<Exit>)> {
    // Without the last command, the shell would execute the one before in its place.
    let line = format!("echo $$ > pid; {line}; :");
    let run = directory.join("recordings/x");
    let running = Running::start(directory, &["record", "--name", "x", "--", "sh", "-c", &line]);
    meanwhile(&run);
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let manifest = manifest(&run);
    let (recording, _) = Recording::open(&run).unwrap();
    let exits: Vec<_> = recording
        .read_table("exits", &COLUMNS)
        .flat_map(|batch| rows(&batch.unwrap()).collect::<Vec<_>>())
        .collect();
    assert_eq!(manifest["totals"]["exits"].as_u64(), Some(exits.len() as u64));
    if manifest["settings"]["exits"] == false {
        assert!(manifest["notes"].to_string().contains("does not report exits"));
        assert!(exits.is_empty());
        return None;
    }
    let shell = std::fs::read_to_string(directory.join("pid")).unwrap();
    let shell: i32 = shell.trim().parse().unwrap();
    assert_eq!(exits.iter().filter(|exit| exit.pid == shell).count(), 1);
    let children = exits.into_iter().filter(|exit| exit.ppid == shell).collect();
    Some((recording, children))
}

#[test]
fn processes_that_live_between_two_ticks_leave_their_true_peak() {
    let directory = tempdir().unwrap();
    // dd fills one buffer and ends after some milliseconds.
    let line = "for i in $(seq 1 64); do dd if=/dev/zero of=/dev/null bs=${i}M count=1 status=none; done; \
        sh -c 'kill -9 $$'";
    let Some((recording, exits)) = record(directory.path(), line) else {
        return;
    };
    let peaks: Vec<_> =
        exits.iter().filter(|exit| exit.comm == "dd").map(|exit| exit.hwm_bytes).collect();
    assert_eq!(peaks.len(), 64);
    for (mib, peak) in (1..).zip(&peaks) {
        assert!((mib * MIB..(mib + 3) * MIB).contains(peak), "{mib} MiB: {peak}");
    }
    // Each has a row among the processes, and the list has all of them.
    let largest = largest_processes(&recording, usize::MAX).unwrap();
    let by_process: HashMap<_, _> =
        largest.iter().map(|process| (process.process.0 as i64, process)).collect();
    for exit in &exits {
        let process = by_process[&exit.process];
        assert_eq!(process.pid, exit.pid);
        // Of what SIGKILL ended, memory may have been taken away before its mark was read.
        assert_eq!(process.is_exact, exit.signal != Some(9), "{process:?}");
        assert!(process.lower.bytes >= exit.hwm_bytes.unsigned_abs());
        assert_eq!(process.samples == 0, process.rss_peak_bytes.is_none());
    }
    assert!(exits.iter().any(|exit| exit.signal == Some(9)));
    let unsampled = exits.iter().filter(|exit| by_process[&exit.process].samples == 0).count();
    assert!(unsampled > 0);
    let totals = recording.manifest().totals;
    assert!(totals.unsampled >= unsampled as u64 && totals.exits_lost == 0);
}

/// The error of a high-water mark since Linux 6.2: each CPU keeps up to a batch of pages for each of
/// three counters (`percpu_counter_batch`, `mm_update_hiwater_rss`).
fn unfolded_bytes() -> i64 {
    let cpus = std::thread::available_parallelism().unwrap().get() as i64;
    3 * cpus * (2 * cpus).max(32) * 4096
}

#[test]
fn a_peak_just_before_the_end_is_known() {
    let directory = tempdir().unwrap();
    let line =
        "python3 -c 'import os, time; a = bytearray(40 << 20); open(\"holds\", \"w\").close()
while not os.path.exists(\"sampled\"): time.sleep(0.01)
b = bytearray(80 << 20)'";
    let begun = Instant::now();
    let mut held = Duration::ZERO;
    let recorded = record_while(directory.path(), line, |run| {
        wait_for("what it holds", || directory.path().join("holds").exists().then_some(()));
        let holds = Instant::now();
        wait_for_tick(run);
        wait_for_tick(run);
        held = holds.elapsed();
        std::fs::write(directory.path().join("sampled"), "").unwrap();
    });
    let lived_at_most = begun.elapsed();
    let Some((recording, exits)) = recorded else { return };
    let python = exits.iter().find(|exit| exit.comm.starts_with("python")).unwrap();
    assert!((120 * MIB..150 * MIB).contains(&python.hwm_bytes), "{}", python.hwm_bytes);
    let lived = Duration::from_nanos(python.lived_ns.unsigned_abs());
    assert!((held..lived_at_most).contains(&lived), "{lived:?} of {held:?} to {lived_at_most:?}");
    assert!(python.minflt > 1000 && python.utime_ns > 1_000_000);
    // It was sampled too, under the same number.
    let largest = largest_processes(&recording, 100).unwrap();
    let sampled =
        largest.iter().find(|process| process.process.0 as i64 == python.process).unwrap();
    assert!(sampled.samples >= 2 && sampled.is_exact);
    // What was sampled is exact; the mark at the end lacks what the CPUs have not yet added to it.
    let above = sampled.lower.bytes as i64 - python.hwm_bytes;
    assert!((0..=unfolded_bytes()).contains(&above), "{above}");
    assert!(sampled.rss_peak_bytes.unwrap() >= 40 << 20);
}

#[test]
fn an_end_has_its_code_or_its_signal() {
    let directory = tempdir().unwrap();
    let line = "sh -c 'exit 3'; sh -c 'kill -9 $$'; python3 -c 'import threading, os
threads = [threading.Thread(target=lambda: bytearray(1 << 20)) for _ in range(20)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]; os._exit(5)'";
    let Some((_, exits)) = record(directory.path(), line) else {
        return;
    };
    let ends: Vec<_> = exits.iter().map(|exit| (exit.exit_code, exit.signal)).collect();
    // A process of many threads ends once.
    assert_eq!(ends, [(Some(3), None), (None, Some(9)), (Some(5), None)]);
    assert!(exits[2].comm.starts_with("python"), "{}", exits[2].comm);
}

#[test]
fn without_the_right_a_note_says_what_is_missing() {
    let directory = tempdir().unwrap();
    let ended = shell(
        directory.path(),
        "setpriv --bounding-set=-net_admin --inh-caps=-net_admin $MEMSAMPLE record --name x --json \
         --duration 200ms",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let json = ended.json();
    assert_eq!(json["exits"].as_u64(), Some(0));
    assert!(json["notes"].to_string().contains("needs CAP_NET_ADMIN"), "{json}");
    let off = memsample(
        directory.path(),
        &["record", "--events", "off", "--name", "y", "--json", "--duration", "200ms"],
    );
    assert_eq!(off.json()["notes"].to_string(), "[]");
}

#[test]
fn the_peak_of_a_program_is_not_that_of_the_one_before_it() {
    let directory = tempdir().unwrap();
    // Sampled as a shell; the program that it executes usually exits before the next tick.
    let line = "for i in 1 2 3 4 5; do (sleep 0.3; exec /bin/true) & wait; done";
    let Some((recording, exits)) = record(directory.path(), line) else { return };
    if manifest(&directory.path().join("recordings/x"))["settings"]["forks"] != "proc_connector" {
        // Without the connector, an exec between two ticks is not known.
        return;
    }
    let mut images: HashMap<i64, (String, bool)> = HashMap::new();
    for batch in recording.read_table("processes", &["process", "comm", "exit_hwm_bytes"]) {
        let batch = batch.unwrap();
        let process = batch["process"].as_primitive::<Int64Type>();
        let comm = batch["comm"].as_string::<i32>();
        let hwm = batch["exit_hwm_bytes"].as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let image = (comm.value(row).to_owned(), hwm.is_valid(row));
            images.insert(process.value(row), image);
        }
    }
    let exits: Vec<&Exit> = exits.iter().filter(|exit| exit.comm == "true").collect();
    assert_eq!(exits.len(), 5);
    for exit in exits {
        assert_eq!(images[&exit.process], ("true".to_owned(), true));
    }
}
