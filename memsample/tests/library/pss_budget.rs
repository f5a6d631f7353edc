//! PSS within a share of one CPU, on the live machine.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use crossbeam_channel::RecvTimeoutError;
use memsample::{Recorder, RecorderOptions, Recording};

/// Returns a column of counts of all ticks.
fn counts(recording: &Recording, column: &str) -> Vec<u64> {
    let columns = [column];
    let batches = recording.read_table("ticks", &columns);
    let values = batches.flat_map(|batch| {
        let batch = batch.unwrap();
        let values = batch[column].as_primitive::<Int32Type>();
        values.iter().flatten().map(|value| u64::try_from(value).unwrap()).collect::<Vec<_>>()
    });
    values.collect()
}

#[test]
fn who_changed_most_is_read_and_the_budget_holds() {
    const SHARE: f64 = 0.01;
    const GROWN: u64 = 100 << 20;
    // It is read again long before that, unless the machine is very busy.
    let longest = Duration::from_secs(600);
    let program = "import sys\nprint('ready', flush=True)\ninput()\nblock = b'x' * (100 << 20)\n\
                   print('grown', flush=True)\ninput()";
    let mut helper = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = i32::try_from(helper.id()).unwrap();
    let mut lines = BufReader::new(helper.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();

    let directory = tempfile::tempdir().unwrap();
    let options = RecorderOptions::new().pss_budget(SHARE).duration(longest);
    let recorder = Recorder::start(&directory.path().join("run"), options).unwrap();
    helper.stdin.as_mut().unwrap().write_all(b"grow\n").unwrap();
    lines.next().unwrap().unwrap();
    let began = Instant::now();
    let ticks = |until: &dyn Fn() -> bool| {
        while !until() {
            // Disconnected when the longest time is over.
            let over = recorder.finished().recv_timeout(Duration::from_millis(20));
            assert_eq!(over, Err(RecvTimeoutError::Timeout));
        }
        recorder.status().totals.ticks
    };
    let known = ticks(&|| {
        let largest = recorder.latest(usize::MAX).map(|latest| latest.largest).unwrap_or_default();
        let pss = largest.iter().find(|process| process.pid == pid).and_then(|it| it.pss_bytes);
        pss.is_some_and(|bytes| bytes >= GROWN)
    });
    // Time in which there is no need to read it again and again.
    ticks(&|| recorder.status().totals.ticks >= known + 30);
    let elapsed = began.elapsed();
    let recording = recorder.stop().unwrap();
    helper.kill().unwrap();
    helper.wait().unwrap();

    let mut pss = Vec::new();
    // Of a few rows, all can be of processes that are busy on a busy machine.
    let mut unknown_faults = 0;
    let columns = ["pid", "pss_bytes", "file_bytes", "minflt"];
    for batch in recording.read_table("samples", &columns) {
        let batch = batch.unwrap();
        let pids = batch["pid"].as_primitive::<Int32Type>();
        let values = batch["pss_bytes"].as_primitive::<Int64Type>();
        let rows = pids.iter().zip(values.iter()).filter(|row| row.0 == Some(pid));
        pss.extend(rows.filter_map(|row| row.1));
        // The kinds of memory hold at every tick; counters are known where they were read.
        assert_eq!(batch["file_bytes"].null_count(), 0);
        unknown_faults += batch["minflt"].null_count();
    }
    assert!(unknown_faults > 0);
    assert!(pss.last().is_some_and(|&bytes| bytes >= GROWN.cast_signed()), "{pss:?}");
    assert!(pss.len() < 10, "{pss:?}");

    assert!(counts(&recording, "pss_read").iter().sum::<u64>() > 0);
    let costs_us = counts(&recording, "pss_cost_us");
    let spent = Duration::from_micros(costs_us.iter().sum());
    // What was in the account at the start, and one reading that took longer than predicted.
    let dearest = Duration::from_micros(costs_us.iter().max().copied().unwrap());
    let one_reading = dearest.max(Duration::from_millis(60));
    let allowed = (elapsed + Duration::from_secs(1)).mul_f64(SHARE) + one_reading;
    assert!(spent <= allowed, "{spent:?} of {allowed:?}");
    assert_eq!(recording.manifest().provenance.settings.pss_budget, Some(SHARE));
}
