//! A recorder that is held up counts what it lost.
//!
//! Slow: it holds recorders up for seconds.

use std::fs;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::command::{Running, manifest, recordings, shell, wait_for, wait_for_journal};
use crate::daemon::Daemon;
use crate::namespaces::check_that_none_is_hidden;
use crate::tracer::Tracer;

/// How long a recorder is stopped.
const STALL: Duration = Duration::from_secs(3);

#[test]
fn a_session_that_is_not_sampled_is_a_problem_and_its_time_goes_on() {
    let daemon = Daemon::start();
    let id = daemon.session("{}");
    let path = format!("/v1/sessions/{id}");
    let session = || daemon.get(&path).json();
    wait_for("ticks", || (session()["totals"]["ticks"].as_u64()? >= 3).then_some(()));
    let tid = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().find_map(|task| {
        let task = task.unwrap().path();
        // Another one may end meanwhile.
        let comm = fs::read_to_string(task.join("comm")).ok()?;
        let tid = task.file_name().unwrap().to_str().unwrap();
        (comm.trim_end() == "memsample-read").then(|| tid.to_owned())
    });
    // A tracer holds up one thread alone, until it ends.
    let hold_up = ["-e", "inject=pread64:delay_enter=600000000:when=1"];
    let tracer = Tracer::attach(&tid.unwrap(), &hold_up);
    wait_for("a problem", || {
        let health = daemon.get("/healthz");
        (health.status == 503 && health.text().contains("has had no sample for")).then_some(())
    });
    let stalled_ms = session()["elapsed_ms"].as_u64().unwrap();
    assert!(stalled_ms >= 2000, "{stalled_ms}");
    wait_for("time", || (session()["elapsed_ms"].as_u64()? > stalled_ms).then_some(()));
    drop(tracer);
    wait_for("health", || (daemon.get("/healthz").status == 200).then_some(()));
    let summary = &daemon.stop(&id)["summary"];
    assert!(summary["missed"].as_u64().unwrap() > 0, "{summary}");
}

/// Stops the recorder of a command for long, from within it.
#[track_caller]
fn check_that_a_stall_is_counted(options: &[&str], at_end: Option<&str>) {
    let options = [&["record", "--name", "x", "--interval", "100ms"], options].concat();
    let (directory, recorder) = wait_for("a recorder that is stopped in time", || {
        let directory = tempdir().unwrap();
        let recorder = Running::start(directory.path(), &options);
        // When there was no recording, and so no tick.
        let mut before = Instant::now();
        wait_for("the recording", || {
            let now = Instant::now();
            if recordings(directory.path()).is_empty() {
                before = now;
                return None;
            }
            Some(())
        });
        wait_for_journal(&directory.path().join("recordings/x"), 500);
        recorder.signal("STOP");
        // One that had been recording for longer would miss too few ticks of its duration.
        (before.elapsed() < Duration::from_secs(2)).then_some((directory, recorder))
    });
    let began = Instant::now();
    wait_for("the stall", || (began.elapsed() >= STALL).then_some(()));
    recorder.signal("CONT");
    if let Some(signal) = at_end {
        recorder.signal(signal);
    }
    let ended = recorder.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let manifest = manifest(&directory.path().join("recordings/x"));
    let [ticks, missed] =
        ["ticks", "missed"].map(|name| manifest["totals"][name].as_u64().unwrap());
    let elapsed_seconds = manifest["recorder"]["elapsed_seconds"].as_f64().unwrap();
    match at_end {
        None => assert_eq!(ticks + missed, 30, "{ticks} {missed}"),
        // Ticks are planned from the first one on, which a busy machine delays; the instant of the end is one more.
        Some(_) => {
            let planned = elapsed_seconds * 10.0;
            assert!((ticks + missed) as f64 <= planned + 2.0, "{ticks} {missed} {planned}");
            assert!(missed >= 28, "{ticks} {missed}");
        }
    }
    assert!(missed >= 10 && elapsed_seconds >= STALL.as_secs_f64(), "{manifest}");
    let cost = ended.stdout.lines().find(|line| line.starts_with("cost:")).unwrap();
    let share = cost.split(['(', '%']).nth(1).unwrap().trim().parse::<f64>().unwrap();
    assert!(share <= 200.0, "{cost}");
}

#[test]
fn a_stall_that_reaches_the_end_of_the_duration_is_counted() {
    check_that_a_stall_is_counted(&["--duration", "3s"], None);
}

#[test]
fn a_stall_that_reaches_a_signal_is_counted() {
    check_that_a_stall_is_counted(&[], Some("INT"));
}

#[test]
fn a_loadavg_that_is_not_the_kernels_is_not_trusted() {
    let directory = tempdir().unwrap();
    let script = "cp /proc/loadavg la && mount --bind la /proc/loadavg && exec $MEMSAMPLE record --name x \
                  --interval 50ms -- sh program";
    fs::write(directory.path().join("script"), script).unwrap();
    let namespaces = "unshare --mount --pid --fork --mount-proc --kill-child";
    if shell(directory.path(), &format!("{namespaces} true")).code != Some(0) {
        return;
    }
    let line = format!("exec {namespaces} sh script");
    let stderr = check_that_none_is_hidden(directory.path(), &line).stderr;
    let manifest = manifest(&directory.path().join("recordings/x"));
    let notes = manifest["notes"].to_string();
    assert!(notes.contains("not the kernel's") && notes.contains("loadavg"), "{notes} {stderr}");
}

#[test]
fn after_a_signal_everything_is_written_however_long_that_takes() {
    // Longer than who reads what is printed has after a signal.
    let slow = ["-f", "-e", "inject=rename,renameat,renameat2:delay_enter=4000000:when=1"];
    let suite = "name = 's'\n[[test]]\nname = 'a'\nsandbox = 'none'\ncommand = ['sleep', '1000']\n";
    let commands: [(&[&str], &str); 2] = [
        (&["record", "--name", "x", "--", "sleep", "1000"], "recordings/x"),
        (&["run", "suite.toml", "--name", "x", "--json"], "runs/x/recording"),
    ];
    for (arguments, recording) in commands {
        let directory = tempdir().unwrap();
        fs::write(directory.path().join("suite.toml"), suite).unwrap();
        let running = Running::start(directory.path(), arguments);
        let recording = directory.path().join(recording);
        wait_for_journal(&recording, 500);
        let tracer = Tracer::attach(&running.pid().to_string(), &slow);
        running.signal("INT");
        let ended = running.wait();
        drop(tracer);
        assert_eq!(manifest(&recording)["state"], "closed", "{}", ended.stderr);
        if arguments[0] == "run" {
            assert!(recording.with_file_name("results.json").exists(), "{}", ended.stderr);
        }
        assert!(!ended.stderr.contains("the rest is lost"), "{}", ended.stderr);
    }
}
