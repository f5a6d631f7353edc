//! The last minutes of everything: dumps that are asked for, and those that are made by themselves.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::command::{ENVIRONMENT, MEMSAMPLE, shell, wait_for};
use crate::daemon::Daemon;
use memsample::{End, Recording, RecordingState, Recovery};
use serde_json::{Value, json};
use tempfile::tempdir;

fn flying(config: &str) -> Daemon {
    let config = format!("[daemon.flight_recorder]\nspan = '1m'\ninterval = '50ms'\n{config}");
    Daemon::start_with(tempdir().unwrap(), &config)
}

/// Waits until the flight recorder has something.
fn wait_for_ticks(daemon: &Daemon) {
    wait_for("ticks", || {
        let health = daemon.get("/healthz").json();
        health["flight_recorder"]["kept_ms"].as_u64().filter(|&kept_ms| kept_ms > 0)
    });
}

/// Returns the recording that was dumped for a reason, when there is one.
fn dumped_for(daemon: &Daemon, reason: &str) -> Option<Recording> {
    let recordings = daemon.get("/v1/recordings").json();
    let ids = recordings["recordings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|recording| recording["id"].as_str().unwrap());
    let opened = ids.map(|id| Recording::open(&daemon.recordings().join(id)).unwrap());
    let mut of_reason = opened.filter(|(recording, recovery)| {
        assert_eq!(*recovery, Recovery::NotNeeded);
        recording.manifest().provenance.labels.get("memsampled.dump").is_some_and(|it| it == reason)
    });
    of_reason.next().map(|(recording, _)| recording)
}

#[test]
fn a_dump_is_a_recording_of_the_last_minutes() {
    // Only those that are asked for: other tests run out of memory meanwhile.
    let daemon = flying("pressure = 'off'\ndumps = 0\n");
    wait_for_ticks(&daemon);
    let request = r#"{"last": "30s", "name": "stuck", "labels": {"host": "a"}}"#;
    let answer = daemon.post("/v1/dump", request);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let dumped = answer.json();
    let id = dumped["id"].as_str().unwrap();
    assert!(id.starts_with("stuck-20"), "{id}");
    assert!(answer.head.contains(&format!("location: /v1/recordings/{id}\r\n")), "{}", answer.head);
    assert_eq!(
        (&dumped["summary"]["end"], &dumped["summary"]["state"]),
        (&json!("dumped"), &json!("closed"))
    );
    assert!(dumped["summary"]["samples"].as_u64().unwrap() > 0);
    let recording = dumped_for(&daemon, "request").unwrap();
    let provenance = &recording.manifest().provenance;
    assert_eq!((provenance.name.as_str(), provenance.labels["host"].as_str()), (id, "a"));
    assert_eq!(provenance.settings.interval_ms, 50);
    // Two in one second have two names, and the command makes one too.
    let ids: Vec<Value> =
        (0..2).map(|_| daemon.post("/v1/dump", "").json()["id"].clone()).collect();
    assert_ne!(ids[0], ids[1]);
    let line = "run=$($MEMSAMPLE dump --socket s --last 1m --label k=v) && \
                $MEMSAMPLE summary \"$run\" && $MEMSAMPLE status --socket s";
    let ended = shell(daemon.directory.path(), line);
    assert_eq!(ended.code, Some(0), "{MEMSAMPLE}: {}", ended.stderr);
    assert!(ended.stdout.contains("flight recorder: "), "{}", ended.stdout);
    let health = daemon.get("/healthz").json();
    assert_eq!(health["flight_recorder"]["dumps"], 4);
    let metrics = daemon.get("/metrics").text();
    assert!(metrics.contains("\nmemsampled_flight_dumps_total 4\n"), "{metrics}");
    // A session beside it is one of the same sweep, and nothing of the ring is served.
    let session = daemon.session(r#"{"interval": "50ms"}"#);
    assert_eq!(daemon.get("/v1/recordings/.flight").status, 400);
    daemon.stop(&session);
    for (request, status, code) in [
        (r#"{"last": 5}"#, 422, "invalid_request"),
        (r#"{"name": "../x"}"#, 422, "invalid_request"),
        (r#"{"labels": {"memsampled.uid": "7"}}"#, 422, "invalid_request"),
    ] {
        assert_eq!(daemon.post("/v1/dump", request).refusal(), (status, code.to_owned()));
    }
    // It goes with the daemon.
    daemon.signal("TERM");
    let (status, directory) = daemon.wait();
    assert!(status.success());
    assert!(!directory.path().join("recordings/.flight").exists());
    let plain = Daemon::start();
    let refused = plain.post("/v1/dump", "");
    assert_eq!(refused.refusal(), (409, "no_flight_recorder".to_owned()));
    assert_eq!(plain.get("/healthz").json()["flight_recorder"], Value::Null);
}

#[test]
fn what_a_killed_daemon_kept_is_a_recording_at_the_next_start() {
    let daemon = flying("pressure = 'off'\n");
    wait_for_ticks(&daemon);
    daemon.signal("KILL");
    let (_, directory) = daemon.wait();
    assert!(directory.path().join("recordings/.flight").exists());
    // A dump that was being made.
    std::fs::create_dir(directory.path().join("recordings/.dump-x")).unwrap();
    let command = Daemon::command(directory.path());
    let daemon = Daemon::spawn(directory, command);
    let recording = wait_for("what was left", || dumped_for(&daemon, "crash"));
    let manifest = recording.manifest();
    assert_eq!((manifest.state, &manifest.end), (RecordingState::Recovered, &Some(End::Crashed)));
    assert!(manifest.totals.samples > 0);
    wait_for("order", || {
        let names = std::fs::read_dir(daemon.recordings()).unwrap();
        let names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let hidden = names.iter().filter(|name| name.starts_with('.')).count();
        // The lock, and the new ring.
        (hidden == 2).then_some(())
    });
    wait_for_ticks(&daemon);
}

#[test]
fn it_begins_anew_with_other_rules_for_arguments() {
    let daemon = flying("pressure = 'off'\n");
    wait_for_ticks(&daemon);
    let config = "redact = ['secret']\n[daemon.flight_recorder]\nspan = '1m'\ninterval = '50ms'\npressure = 'off'\n";
    std::fs::write(daemon.directory.path().join("config.toml"), config).unwrap();
    daemon.signal("HUP");
    wait_for("the new rules", || daemon.log().contains("began anew").then_some(()));
    wait_for_ticks(&daemon);
    assert_eq!(daemon.post("/v1/dump", "").status, 201);
    let recording = dumped_for(&daemon, "request").unwrap();
    assert_eq!(recording.manifest().provenance.settings.redactions, 1);
}

#[test]
fn dumps_go_on_while_it_begins_anew() {
    let daemon = flying("pressure = 'off'\n");
    wait_for_ticks(&daemon);
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let dumping = scope.spawn(|| {
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                let status = daemon.post("/v1/dump", "").status;
                // There is no tick yet, for a moment.
                assert!(matches!(status, 201 | 503), "{status}: {}", daemon.log());
            }
        });
        for round in 1..=5 {
            let config = format!(
                "redact = ['secret{round}']\n[daemon.flight_recorder]\nspan = '1m'\ninterval = '50ms'\n\
                 pressure = 'off'\n"
            );
            std::fs::write(daemon.directory.path().join("config.toml"), config).unwrap();
            daemon.signal("HUP");
            let anew = || daemon.log().matches("began anew").count();
            wait_for("the new rules", || (anew() == round).then_some(()));
            assert!(daemon.recordings().join(".flight/flight.json").exists());
        }
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        dumping.join().unwrap();
    });
    wait_for_ticks(&daemon);
    assert_eq!(daemon.post("/v1/dump", "").status, 201);
    daemon.wait_for_good_health();
}

#[test]
fn one_that_has_ended_for_want_of_space_is_told_of_and_begins_anew() {
    let directory = tempdir().unwrap();
    let config = "[daemon.flight_recorder]\nspan = '1m'\ninterval = '1ms'\npressure = 'off'\nbytes = '16MiB'\n";
    std::fs::write(directory.path().join("config.toml"), config).unwrap();
    let mut command = Command::new("unshare");
    let line = "mkdir recordings && mount -t tmpfs -o size=8m none recordings && \
                exec \"$MEMSAMPLED\" --socket s --recordings recordings --config config.toml";
    command.args(["-rm", "sh", "-c", line]).env("MEMSAMPLED", crate::daemon::MEMSAMPLED);
    command.envs(ENVIRONMENT).current_dir(directory.path());
    let daemon = Daemon::spawn(directory, command);
    wait_for_ticks(&daemon);
    let fill = format!("/proc/{}/root{}/ballast", daemon.pid(), daemon.recordings().display());
    let mut ballast = std::fs::File::create(&fill).unwrap();
    let error = std::io::copy(&mut std::io::repeat(0), &mut ballast).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    wait_for("the end", || {
        let health = daemon.get("/healthz");
        (health.text().contains("the flight recorder of 1m does not run")).then(|| {
            assert_eq!(health.status, 503);
        })
    });
    let metrics = daemon.get("/metrics").text();
    assert!(metrics.contains("\nmemsampled_flight_running 0\n"), "{metrics}");
    wait_for("the log", || {
        daemon.log().contains("the flight recorder ended: \"disk_full\"").then_some(())
    });
    drop(ballast);
    std::fs::remove_file(&fill).unwrap();
    // With another one.
    daemon.wait_for_good_health();
    wait_for_ticks(&daemon);
    // More where it began before there was space.
    let restarts = daemon.get("/healthz").json()["flight_recorder"]["restarts"].clone();
    assert!(restarts.as_u64().unwrap() >= 1, "{restarts}");
    assert!(daemon.get("/metrics").text().contains("\nmemsampled_flight_running 1\n"));
}

#[test]
fn dumps_that_nobody_asked_for_are_bounded() {
    let daemon = flying("pressure = 'off'\ndumps = 1\n");
    wait_for_ticks(&daemon);
    daemon.signal("KILL");
    let (_, directory) = daemon.wait();
    let command = Daemon::command(directory.path());
    let daemon = Daemon::spawn(directory, command);
    // Other tests run out of memory meanwhile, for which a dump is made or refused as well.
    wait_for("a dump of what was left, or the one before it", || {
        dumped_for(&daemon, "crash").or_else(|| dumped_for(&daemon, "oom_kill"))
    });
    wait_for_ticks(&daemon);
    daemon.signal("KILL");
    let (_, directory) = daemon.wait();
    let command = Daemon::command(directory.path());
    let daemon = Daemon::spawn(directory, command);
    let health = wait_for("a refusal", || {
        let flight = daemon.get("/healthz").json()["flight_recorder"].clone();
        (flight["dumps_refused"].as_u64() > Some(0)).then_some(flight)
    });
    assert!(health["notes"][0].as_str().unwrap().contains("`daemon.flight_recorder.dumps` is 1"));
    // The log has a queue of its own.
    wait_for("the log", || daemon.log().contains("no dump for `").then_some(()));
    let metrics = daemon.get("/metrics").text();
    assert!(metrics.contains("\nmemsampled_flight_dumps_refused_total "), "{metrics}");
    assert!(!metrics.contains("\nmemsampled_flight_dumps_refused_total 0\n"), "{metrics}");
    assert_eq!(daemon.get("/v1/recordings").json()["recordings"].as_array().unwrap().len(), 1);
    // What it would have been made of stays, and who asks gets one.
    assert!(daemon.recordings().join(".flight-left-1").exists());
    wait_for_ticks(&daemon);
    assert_eq!(daemon.post("/v1/dump", "").status, 201);
}

#[test]
fn a_dump_that_nobody_asked_for_needs_room() {
    let daemon = flying("pressure = 'off'\ndumps_bytes = '1B'\n");
    wait_for_ticks(&daemon);
    daemon.signal("KILL");
    let (_, directory) = daemon.wait();
    let command = Daemon::command(directory.path());
    let daemon = Daemon::spawn(directory, command);
    let note = wait_for("a refusal", || {
        let flight = daemon.get("/healthz").json()["flight_recorder"].clone();
        flight["notes"][0].as_str().map(str::to_owned)
    });
    assert!(note.contains("`daemon.flight_recorder.dumps_bytes` is 1"), "{note}");
    assert!(daemon.recordings().join(".flight-left-1").exists());
    assert!(dumped_for(&daemon, "crash").is_none());
}

#[test]
fn what_cannot_be_read_of_one_that_was_left_is_kept() {
    let daemon = flying("pressure = 'off'\n");
    wait_for_ticks(&daemon);
    daemon.signal("KILL");
    let (_, directory) = daemon.wait();
    let left = directory.path().join("recordings/.flight");
    let segment = std::fs::OpenOptions::new().write(true).open(left.join("journal/000000.log"));
    segment.unwrap().write_all_at(b"damaged!", 0).unwrap();
    let command = Daemon::command(directory.path());
    let daemon = Daemon::spawn(directory, command);
    let note = wait_for("a note", || {
        let flight = daemon.get("/healthz").json()["flight_recorder"].clone();
        flight["notes"][0].as_str().map(str::to_owned)
    });
    assert!(note.contains(".flight-left-1.damaged`, until you remove it"), "{note}");
    let kept = daemon.recordings().join(".flight-left-1.damaged/journal/000000.log");
    assert!(std::fs::read(kept).unwrap().starts_with(b"damaged!"));
}

#[test]
fn wrong_settings_say_what_to_write() {
    for (config, hint) in [
        ("span = '1s'", "from 10s to 24h"),
        ("span = '1m'\nbytes = '1B'", "at least 16 MiB"),
        ("span = '1m'\npressure = 'lots'", "no trigger of memory pressure"),
        ("span = '1m'\ngap = '1ms'", "at least 1s"),
        ("bytes = '1B'", "missing field `span`"),
    ] {
        let directory = tempdir().unwrap();
        let config = format!("[daemon.flight_recorder]\n{config}\n");
        std::fs::write(directory.path().join("config.toml"), config).unwrap();
        let output = Daemon::command(directory.path()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(hint), "{said}");
    }
}

/// A control group in which memory is short, version 1 or 2.
fn short_group() -> std::path::PathBuf {
    let first = Path::new("/sys/fs/cgroup/memory");
    let (root, limit) = match first.join("memory.limit_in_bytes").exists() {
        true => (first, "memory.limit_in_bytes"),
        false => (Path::new("/sys/fs/cgroup"), "memory.max"),
    };
    let group = root.join(format!("memsample-pressure-{}", std::process::id()));
    std::fs::create_dir(&group).unwrap();
    std::fs::write(group.join(limit), (32_u64 << 20).to_string()).unwrap();
    group
}

struct Thrashing(Child);

impl Drop for Thrashing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn memory_pressure_makes_a_dump() {
    // A ten-thousandth of half a second. A dump for another reason delays it by the gap.
    let daemon = flying("pressure = 'some 50 500000'\ngap = '1s'\n");
    if std::fs::OpenOptions::new().write(true).open("/proc/pressure/memory").is_err() {
        // Where the kernel does not tell, the daemon does.
        wait_for("a note", || {
            let health = daemon.get("/healthz").json();
            let notes = health["flight_recorder"]["notes"].to_string();
            notes.contains("/proc/pressure/memory").then_some(())
        });
        return;
    }
    let in_force = wait_for("a trigger", || {
        let flight = daemon.get("/healthz").json()["flight_recorder"].clone();
        assert_eq!(flight["notes"], json!([]));
        flight["pressure"].as_str().map(str::to_owned)
    });
    // As it was written, or, without CAP_SYS_RESOURCE, the same share of a wider window.
    assert!(["some 50 500000", "some 200 2000000"].contains(&in_force.as_str()), "{in_force}");
    wait_for_ticks(&daemon);
    let group = short_group();
    // Reads a file again and again for which the group has no room. It writes it itself, so that its
    // pages are counted in the group, and not where they would stay.
    let file = daemon.directory.path().join("file");
    let line = "echo $$ > $GROUP/cgroup.procs && head -c 96M /dev/zero > $FILE && \
                while :; do cat $FILE > /dev/null; done";
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("GROUP", &group).env("FILE", &file).stdin(Stdio::null());
    let thrashing = Thrashing(command.spawn().unwrap());
    let recording = wait_for("a dump", || dumped_for(&daemon, "pressure"));
    assert_eq!(recording.manifest().end, Some(End::Dumped));
    drop(thrashing);
    // The last `cat` ends by itself, and its group can go then.
    wait_for("an empty group", || std::fs::remove_dir(&group).ok());
}
