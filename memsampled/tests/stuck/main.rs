//! A process whose memory map is locked keeps nobody waiting but those who ask for its memory.
//!
//! A program of its own: every other test that looks at all processes would see this one. Slow: it records for
//! seconds, and one test at a time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the other test program uses the rest")]
#[path = "../end_to_end/command.rs"]
mod command;
#[allow(dead_code, reason = "the other test program uses the rest")]
#[path = "../end_to_end/daemon.rs"]
mod daemon;
mod frozen;
mod unanswered;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMillisecondType};
use memsample::Recording;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::command::{Running, manifest, memsample, wait_for, wait_for_journal};
use crate::daemon::Daemon;
use crate::frozen::Frozen;
use crate::unanswered::Unanswered;

/// A second stuck process would be seen by the other test.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a recording of this name ten times a second.
fn record(directory: &TempDir, options: &[&str]) -> Running {
    let options = [&["record", "--interval", "100ms", "--name"], options].concat();
    Running::start(directory.path(), &options)
}

/// Returns how many were stuck at each tick of a recording that is being written: a copy tells of all but the last half
/// second.
fn stuck_at_ticks(recording: &Path) -> Option<Vec<i32>> {
    let directory = tempdir().unwrap();
    let copy = directory.path().join("copy");
    let mut copying = Command::new("cp");
    copying.arg("-rL").args([recording, copy.as_path()]).stderr(Stdio::null());
    // A file may be replaced meanwhile.
    if !copying.status().unwrap().success() {
        return None;
    }
    let (copy, _) = Recording::open(&copy).ok()?;
    let batches: Vec<_> = copy.read_table("ticks", &["stuck"]).collect::<Result<_, _>>().ok()?;
    let stuck = batches.iter().map(|batch| batch["stuck"].as_primitive::<Int32Type>().values());
    Some(stuck.flatten().copied().collect())
}

#[test]
fn one_stuck_process_stops_nobody() {
    let _alone = alone();
    let Some(mut frozen) = Frozen::make() else { return };
    let pid = frozen.start_process();
    let directory = tempdir().unwrap();
    // Within a budget, the PSS of a process that does not change is read every 20 s, so not meanwhile.
    let by_signal =
        [&["x", "--pss-interval", "100ms"][..], &["y"]].map(|options| record(&directory, options));
    let path = |name: &str| directory.path().join("recordings").join(name);
    for name in ["x", "y"] {
        wait_for_journal(&path(name), 500);
    }
    frozen.freeze();
    let by_duration = record(&directory, &["z", "--duration", "1s"]);
    let view = memsample(directory.path(), &["view", "--json", "--columns", "pid,rss,pss,command"]);
    assert!(frozen.is_stuck());
    assert_eq!(view.code, Some(0), "{}", view.stderr);
    let rows = view.json();
    let row = rows.as_array().unwrap().iter().find(|row| row["pid"] == pid).unwrap();
    assert!(row["rss_bytes"].as_u64().unwrap() > 1 << 20, "{row}");
    assert!(row["pss_bytes"].is_null() && row["command"].is_null(), "{row}");
    assert!(view.stderr.contains(&format!("pid {pid}")), "{}", view.stderr);

    // On a busy machine ticks may be missed; a recorder that waits for the process has one or two.
    wait_for("ten ticks while it is stuck", || {
        let stuck = stuck_at_ticks(&path("x"))?;
        (stuck.iter().filter(|stuck| **stuck > 0).count() >= 10).then_some(())
    });
    wait_for("twenty ticks", || (stuck_at_ticks(&path("y"))?.len() >= 20).then_some(()));
    by_signal.iter().for_each(|recorder| recorder.signal("INT"));
    let interrupted = by_signal.map(Running::wait);
    let ended = by_duration.wait();
    assert!(frozen.is_stuck(), "it went on when that was over");
    drop(frozen);
    for ended in interrupted.iter().chain([&ended]) {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let number = |name: &str| manifest(&path("z"))["totals"][name].as_u64().unwrap();
    assert_eq!(number("ticks") + number("missed"), 10);
    let about = format!("({pid}) waits for a lock");
    assert!(manifest(&path("x"))["notes"].to_string().contains(&about));
    check_rows(&path("x"), pid, &about);
}

#[test]
fn a_file_system_in_user_space_that_does_not_answer_stops_nobody() {
    let _alone = alone();
    let directory = tempdir().unwrap();
    let daemon = Daemon::start();
    let session = daemon.session(r#"{"interval": "50ms"}"#);
    wait_for_ticks(&daemon, &session, 3);
    let Some(unanswered) = Unanswered::start() else { return };
    let by_duration = record(&directory, &["x", "--duration", "2s"]);
    let by_signal = record(&directory, &["y"]);
    let path = |name: &str| directory.path().join("recordings").join(name);
    wait_for("ten ticks while it is stuck", || {
        (stuck_at_ticks(&path("y"))?.len() >= 10).then_some(())
    });
    by_signal.signal("INT");
    let ended = [(by_signal.wait(), "y"), (by_duration.wait(), "x")];
    let view = memsample(directory.path(), &["view", "--json", "--columns", "pid,rss,command"]);
    wait_for_ticks(&daemon, &session, 10);
    let summary = daemon.stop(&session)["summary"].clone();
    assert!(unanswered.is_stuck(), "it went on when that was over");
    let pid = unanswered.pid;
    drop(unanswered);

    let about = format!("({pid}) waits for a lock");
    for (ended, name) in ended {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let manifest = manifest(&path(name));
        assert!(manifest["totals"]["stuck"].as_u64().unwrap() > 0, "{manifest}");
        assert!(manifest["notes"].to_string().contains(&about), "{}", manifest["notes"]);
    }
    let number = |name: &str| manifest(&path("x"))["totals"][name].as_u64().unwrap();
    assert_eq!(number("ticks") + number("missed"), 20);
    assert!(summary["stuck"].as_u64().unwrap() > 0, "{summary}");
    assert!(summary["notes"].to_string().contains(&about), "{summary}");
    assert_eq!(view.code, Some(0), "{}", view.stderr);
    let rows = view.json();
    let row = rows.as_array().unwrap().iter().find(|row| row["pid"] == pid).unwrap();
    assert!(row["rss_bytes"].as_u64().unwrap() > 0 && row["command"].is_null(), "{row}");
    assert!(view.stderr.contains(&format!("pid {pid}")), "{}", view.stderr);
}

/// Checks that the stuck process is sampled at all ticks, and its PSS is not told when it cannot be read.
#[track_caller]
fn check_rows(path: &Path, pid: u32, about: &str) {
    let (recording, _) = Recording::open(path).unwrap();
    let column = |table: &str, columns: &[&str]| -> Vec<_> {
        recording.read_table(table, columns).map(|batch| batch.unwrap()).collect()
    };
    let mut process = None;
    for batch in column("processes", &["process", "pid"]) {
        let pids = batch["pid"].as_primitive::<Int32Type>();
        let at = pids.values().iter().position(|&found| found == i32::try_from(pid).unwrap());
        process = at.map(|at| batch["process"].as_primitive::<Int64Type>().value(at)).or(process);
    }
    let process = process.unwrap();
    let mut stuck_ticks = Vec::new();
    for batch in column("ticks", &["ts", "stuck"]) {
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>();
        let stuck = batch["stuck"].as_primitive::<Int32Type>();
        stuck_ticks.extend(ts.values().iter().zip(stuck.values()).map(|(ts, n)| (*ts, *n)));
    }
    let first = stuck_ticks.iter().find(|(_, stuck)| *stuck > 0).unwrap().0;
    let (mut before, mut meanwhile) = (0, 0);
    for batch in column("samples", &["ts", "process", "pss_bytes"]) {
        let ts = batch["ts"].as_primitive::<TimestampMillisecondType>();
        let ids = batch["process"].as_primitive::<Int64Type>();
        for row in (0..batch.num_rows()).filter(|&row| ids.value(row) == process) {
            if ts.value(row) < first {
                before += 1;
            } else {
                meanwhile += 1;
                assert!(batch["pss_bytes"].is_null(row), "a PSS of a process that cannot be read");
            }
        }
    }
    let after = stuck_ticks.iter().filter(|(ts, _)| *ts >= first).count();
    assert!(before > 0 && meanwhile >= after - 1, "{before} {meanwhile} of {after}");
    let mut marks = Vec::new();
    for batch in column("marks", &["kind", "name"]) {
        let (kinds, names) = (batch["kind"].as_string::<i32>(), batch["name"].as_string::<i32>());
        marks.extend(
            (0..batch.num_rows()).map(|row| format!("{} {}", kinds.value(row), names.value(row))),
        );
    }
    assert!(
        marks.iter().any(|mark| mark.starts_with("stuck") && mark.contains(about)),
        "{marks:?}"
    );
}

/// Waits until a session has had so many ticks more.
fn wait_for_ticks(daemon: &Daemon, id: &str, more: u64) {
    let ticks = || {
        let session: Value = daemon.get(&format!("/v1/sessions/{id}")).json();
        session["totals"]["ticks"].as_u64()
    };
    let before = ticks().unwrap_or(0);
    wait_for("ticks", || (ticks()? >= before + more).then_some(()));
}

#[test]
fn a_process_that_is_stuck_from_birth_stops_no_daemon() {
    let _alone = alone();
    let Some(mut frozen) = Frozen::make() else { return };
    let daemon = Daemon::start();
    let first = daemon.session(r#"{"interval": "50ms"}"#);
    wait_for_ticks(&daemon, &first, 3);
    // So that the process is stuck before it is seen.
    daemon.signal("STOP");
    let pid = frozen.start_process();
    frozen.freeze();
    daemon.signal("CONT");
    wait_for_ticks(&daemon, &first, 5);
    let second = daemon.session(r#"{"interval": "50ms"}"#);
    wait_for_ticks(&daemon, &second, 5);
    daemon.wait_for_good_health();
    let summary = daemon.stop(&first)["summary"].clone();
    assert!(summary["stuck"].as_u64().unwrap() > 0, "{summary}");

    let late = Daemon::start();
    let third = late.session(r#"{"interval": "50ms"}"#);
    wait_for_ticks(&late, &third, 5);
    let summary = late.stop(&third)["summary"].clone();
    assert!(
        summary["notes"].to_string().contains(&format!("({pid}) waits for a lock")),
        "{summary}"
    );
    late.session(r#"{"interval": "50ms"}"#);
    for daemon in [daemon, late] {
        daemon.signal("TERM");
        let (status, _) = daemon.wait();
        assert!(status.success(), "{status}");
    }
    assert!(frozen.is_stuck(), "it went on when that was over");
}
